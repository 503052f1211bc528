"""Redaction: no canary survives where none may, what refers still refers, and days still compare as they did."""

from __future__ import annotations

import base64
import itertools
import json
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cramjam
import msgpack
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import ArchiveError, SnapshotError, SourceError, TargetExistsError
from snapkit.format.schema import BY_BYTE, BY_TABLE, TYPES, RecordType, Type, fields
from snapkit.format.values import pack, unpack
from snapkit.state.output.salvage import write_salvaged
from snapkit.state.redact import packed
from snapkit.state.redact.profiles import Profile, kept, replaced_below, steps
from snapkit.state.redact.pseudonyms import Pseudonyms, looks_replaced
from snapkit.state.redact.whole import Redaction, Redactor, redact
from tests import forge

from ...conftest import ARCHIVES, ROOT, path_of
from .. import samples

AESGCM = pytest.importorskip("cryptography.hazmat.primitives.ciphers.aead").AESGCM

PROFILES: tuple[Profile, ...] = ("share", "training", "strict")
FRIDAY = path_of("v2.0.5/friday")
KEY = "the tests'"


def redacted(source: Any, profile: Profile, folder: Path, **options: Any) -> tuple[Path, Redaction]:
    target = folder / f"{profile}.snap"
    return target, redact(source, target, profile=profile, key=KEY, overwrite=True, **options)


@cache
def _friday(profile: Profile, folder: Path) -> Path:
    return redacted(FRIDAY, profile, folder)[0]


@pytest.fixture(scope="module")
def friday(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Profile], Path]:
    folder = tmp_path_factory.mktemp("friday")
    return lambda profile: _friday(profile, folder)


# -- canaries: a unique secret in every text of every record type


MARK = "zWhvXbJ"  # in each
CANARY = rb"Kq\d{5}zWhvXbJ"


class Planter:
    """Makes values of Go types of canaries; knows which canary is in which field."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def canary(self, place: str) -> str:
        made = f"Kq{len(self.places):05d}{MARK}"
        self.places[made] = place
        return made

    def struct(self, name: str) -> dict[str, Any]:
        return {field: self.value(known.type, f"{name}.{field}") for field, known in fields(name).items()}

    def value(self, kind: Type, place: str) -> Any:
        match kind.kind:
            case "struct":
                return self.struct(kind.struct)
            case "list":
                return [self.value(kind.element or Type("any"), place)]
            case "map":
                element = kind.element or Type("any")
                return {self.canary(f"{place} (names)"): self.value(element, place)}
            case "string":
                return self.canary(place)
            case "bytes":
                return self.canary(place).encode()
            case "any":
                return {self.canary(f"{place} (names)"): [self.canary(place), 7, None, True]}
        return forge.example(kind)


@cache
def planted() -> tuple[bytes, dict[str, str]]:
    planter = Planter()
    tables: dict[str, list[Any]] = {kind.table: [planter.struct(kind.struct)] for kind in TYPES}
    # What is sealed, signed or packed is so here too, with a canary within.
    for table in ("jobs", "job_versions"):
        payload = planter.canary("Job.Payload").encode()
        tables[table][0]["Payload"] = bytes(cramjam.snappy.compress_raw(payload))
    allocation = tables["allocs"][0]
    claims = {"sub": planter.canary("Allocation.SignedIdentities"), "exp": 1795471701}
    header = {"alg": "RS256", "kid": planter.canary("Allocation.SignedIdentities"), "x": "y"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    allocation["SignedIdentities"] = {"web": ".".join((*parts, "c2lnbmF0dXJl" * 9))}
    variable, root_key = tables["variables"][0], tables["root_keys"][0]
    dek, kek, key_id = bytes(range(32)), bytes(range(50, 82)), root_key["KeyID"]
    wrapped = root_key["WrappedKeys"][0]
    wrapped["Provider"] = wrapped["ProviderID"] = "aead"
    wrapped["KeyEncryptionKey"] = kek
    wrapped["WrappedRSAKey"] = None
    wrapped["WrappedDataEncryptionKey"] = forge.example_struct("v2.BlobInfo") | {
        "Ciphertext": bytes(12) + AESGCM(kek).encrypt(bytes(12), dek, None),
        "KeyInfo": {"KeyId": key_id},
    }
    items = {planter.canary("VariableEncrypted.Data (names)"): planter.canary("VariableEncrypted.Data")}
    variable["KeyID"] = key_id
    variable["Data"] = bytes(12) + AESGCM(dek).encrypt(bytes(12), json.dumps(items).encode(), key_id.encode())
    return samples.archive(tables), planter.places


def variants(canary: str) -> Iterator[bytes]:
    """A canary as it is and in hex; in base64 and base64url, wherever it starts."""
    raw = canary.encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for ahead in range(3):
        shifted = base64.b64encode(bytes(ahead) + raw)
        whole = shifted[-(-8 * ahead // 6) : (8 * (ahead + len(raw))) // 6]
        yield whole
        yield whole.translate(bytes.maketrans(b"+/", b"-_"))


def everything(path: Path) -> bytes:
    """All that is in an archive: its members, what opens of it with its own keys, payloads unpacked."""
    members = b"\n".join(content for _, content in forge.untar(path.read_bytes()))
    with snapkit.open(path) as snap:
        payloads = []
        for byte, packed in snap.raw():
            record = unpack(packed)
            job = record if byte in (1, 9) else record.get(b"Job") if byte == 4 else None
            if isinstance(job, dict) and job.get(b"Payload"):
                try:
                    payloads.append(bytes(cramjam.snappy.decompress_raw(job[b"Payload"])))
                except cramjam.DecompressionError:
                    payloads.append(job[b"Payload"])
        opened = json.dumps(snap.unlock()["Items"].tolist(), ensure_ascii=False).encode()
    decoded = [
        base64.urlsafe_b64decode(word + b"=" * (-len(word) % 4))
        for word in re.findall(rb"[A-Za-z0-9_-]{16,}", members)
        if len(word) % 4 != 1
    ]
    return b"\n".join((members, *payloads, opened, *decoded))


def survivors(path: Path, places: dict[str, str]) -> set[str]:
    found = everything(path)
    if not any(variant in found for variant in variants(MARK)):
        return set()  # no canary, whichever, in whichever form
    return {places[canary.decode()] for canary in re.findall(CANARY, found)} or {"in a form that is not read here"}


def text_places() -> set[str]:
    """All fields of text of all record types, by the schema alone."""
    found: set[str] = set()
    seen: set[str] = set()

    def visit(struct: str) -> None:
        if struct in seen:
            return
        seen.add(struct)
        for name, known in fields(struct).items():
            kind = known.type
            while kind.element is not None:
                if kind.kind == "map":
                    found.add(f"{struct}.{name} (names)")
                kind = kind.element
            if kind.kind in ("string", "bytes", "any"):
                found.add(f"{struct}.{name}")
            if kind.kind == "any":
                found.add(f"{struct}.{name} (names)")
            if kind.kind == "struct":
                visit(kind.struct)

    for record in TYPES:
        visit(record.struct)
    return found


def test_a_canary_is_in_every_field_of_every_type(tmp_path: Path) -> None:
    archive, places = planted()
    assert set(places.values()) >= text_places() - {"VariableEncrypted.Data"}
    assert len(set(places.values())) > 620
    source = tmp_path / "planted.snap"
    source.write_bytes(archive)
    known = {"VariableEncrypted.KeyID"}  # are not canaries here
    hidden = {place for place in places.values() if place.startswith(("WrappedKey.", "v2.", "structpb."))}
    assert survivors(source, places) >= set(places.values()) - known - hidden


def test_no_canary_survives_strict(tmp_path: Path) -> None:
    archive, places = planted()
    target, done = redacted(archive, "strict", tmp_path)
    assert survivors(target, places) == set()
    assert done.left == ()
    counted = {place for _, place in done.counts}
    fields_covered = {place.removesuffix(" (names)") for place in places.values()}
    # What is below a root key's material goes with it, and IndexEntry holds but a name.
    assert {p for p in fields_covered - counted if not p.startswith(("WrappedKey.", "v2.", "structpb."))} <= {
        place.removesuffix(" (names)") for place in places.values() if place.endswith(" (names)")
    }
    assert len(counted) > 400


def published() -> set[str]:
    """What docs/redaction.md says that `share` keeps."""
    page = (ROOT / "docs" / "redaction.md").read_text(encoding="utf-8")
    section = page.partition("## What `share` keeps")[2].partition("\n## ")[0]
    found = set()
    for struct, names in re.findall(r"^- \*\*(.+?)\*\*: (.+)$", section, re.M):
        found |= {f"{struct}.{name}" for name in names.split(", ")}
    return found


def share_keeps() -> set[str]:
    return set(itertools.chain.from_iterable(kept(kind, "share") for kind in TYPES))


def test_share_keeps_exactly_what_is_published(tmp_path: Path) -> None:
    assert published() == share_keeps()
    archive, places = planted()
    target, done = redacted(archive, "share", tmp_path)
    found = survivors(target, places)
    gone = {place for place in places.values() if place.startswith(("WrappedKey.", "v2.", "structpb."))}
    gone |= {"VariableEncrypted.KeyID"}  # no canaries there
    whole = {
        place.removesuffix(" (names)") if place.removesuffix(" (names)") in published() else place for place in found
    }
    assert whole - {"Allocation.SignedIdentities"} == published() - gone
    assert {place for _, place, _ in done.left} == published()
    assert "Allocation.SignedIdentities" not in found - {"Allocation.SignedIdentities"}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_secret_survives_any_profile(profile: Profile, tmp_path: Path) -> None:
    archive, places = planted()
    found = survivors(redacted(archive, profile, tmp_path)[0], places)
    secret = {
        f"{kind}.{name}"
        for kind in {place.partition(".")[0] for place in places.values()} | {"v2.BlobInfo", "v2.KeyInfo"}
        for name, known in fields(kind).items()
        if known.sensitivity in ("always", "may", "seldom")
    }
    allowed = {"Allocation.SignedIdentities"} if profile != "strict" else set()  # the key's id in a token's header
    assert not found & secret - allowed
    if profile == "training":
        assert not {place for place in found if any(
            fields(s).get(n) and fields(s)[n].sensitivity == "identifies"
            for s, _, n in [place.removesuffix(" (names)").rpartition(".")])}  # fmt: skip


# -- real archives


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "archive", ["v2.0.5/friday", "v1.8.4/monday", "v1.4.14/tuesday", "v0.12.12/monday", "every-table/every-table"]
)
def test_redacted_archives_verify_as_the_originals(archive: str, profile: Profile, tmp_path: Path) -> None:
    target, _ = redacted(path_of(archive), profile, tmp_path)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before, after = (snapkit.verify(src).findings for src in (path_of(archive), target))
    counts = [f[f["Check"] != "archive.mode"].groupby(["Check", "Severity"]).size() for f in (before, after)]
    pd.testing.assert_series_equal(counts[0], counts[1])
    with snapkit.open(path_of(archive)) as one, snapkit.open(target) as other:
        pd.testing.assert_series_equal(one.tables["Count"].sort_index(), other.tables["Count"].sort_index())
        assert one.meta.version_range == other.meta.version_range


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("cluster", "days"),
    [("v2.0.5", ("monday", "tuesday")), ("v2.0.5", ("tuesday", "wednesday")), ("v1.8.4", ("monday", "tuesday"))],
)
def test_two_days_compare_as_the_originals(
    cluster: str, days: tuple[str, str], profile: Profile, tmp_path: Path
) -> None:
    sources = [path_of(f"{cluster}/{day}") for day in days]
    targets = []
    for number, source in enumerate(sources):
        targets.append(tmp_path / f"{number}.snap")
        redact(source, targets[-1], profile=profile, key=KEY)
    pd.testing.assert_frame_equal(snapkit.compare(*sources).summary, snapkit.compare(*targets).summary)


# -- the fast way does what the careful way does


def both_ways(
    fast: Redactor, slow: Redactor, kind: RecordType, packed: bytes | memoryview
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A record redacted by decoding it into a struct and by unpacking it, each with what was counted."""
    results = []
    for redactor in (fast, slow):
        records = redactor.records
        records.counts.clear()
        if redactor is fast:
            record = unpack(records.redacted(kind.byte, [packed])[1:])
            counts = records.counts[kind.table]
        else:
            counts = records.values.counts = defaultdict(int)
            record = records.values.value(unpack(packed), Type("struct", struct=kind.struct), "keep", kind.struct)
        results.append({"record": record, "counts": {place: n for place, n in counts.items() if n}})
    return results[0], results[1]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("archive", ARCHIVES[::3])
def test_decoding_into_structs_does_what_unpacking_does(archive: str, profile: Profile) -> None:
    with snapkit.open(path_of(archive)) as snap:
        fast, slow = Redactor(snap, profile, KEY), Redactor(snap, profile, KEY)
        for byte, packed in snap.raw():
            kind = BY_BYTE[byte]
            if kind.table in ("variables", "root_keys", "time_table"):
                continue
            done, expected = both_ways(fast, slow, kind, packed)
            assert done == expected, kind.table


ODD = st.recursive(
    st.sampled_from(
        [None, True, -1, 7, 2**64 - 1, 1.5, b"", b"zorro", b"\xffzorro", b"z" * 40, b"https://a:zorro@b/?c=zorro"]
    )
    | st.builds(msgpack.ExtType, st.integers(0, 9), st.just(b"zorro"))
    | st.just(msgpack.Timestamp(7, 9)),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from([b"ID", b"Name", b"zorro", b"\xff", 7]), below)
    ),
    max_leaves=6,
)
HOSTILE = [BY_TABLE[table] for table in ("allocs", "jobs", "nodes", "acl_tokens", "evals", "csi_volumes", "services")]


@cache
def _pair(profile: Profile) -> tuple[Redactor, Redactor]:
    content = forge.state(*(forge.record(kind.byte, samples.struct(kind.struct)) for kind in HOSTILE))
    snap = snapkit.open(forge.archive(content))  # closed with the process
    return Redactor(snap, profile, KEY), Redactor(snap, profile, KEY)


def _looked_at(kind: RecordType, profile: Profile) -> list[str]:
    """The fields of a type that a profile does not pass over whole."""
    names = []
    for step in steps(kind.struct, profile).values():
        below = step.type
        while below.element is not None:
            below = below.element
        if step.how != "keep" or not step.type.nested or replaced_below(below.struct, profile):
            names.append(step.name)
    return names


@pytest.mark.parametrize("profile", PROFILES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_not_as_its_type_says_is_redacted_carefully(profile: Profile, data: st.DataObject) -> None:
    # A record that a profile does nothing to passes as it is, as do fields that it does nothing to.
    kind = data.draw(st.sampled_from([kind for kind in HOSTILE if replaced_below(kind.struct, profile)]))
    record = {name: pack(value) for name, value in samples.struct(kind.struct).items()}
    places = st.sampled_from(_looked_at(kind, profile)) | st.sampled_from(["Zorro", "class", "\N{SNOWMAN}"])
    pairs = [(pack(name), packed) for name, packed in record.items()]
    for name, value in data.draw(st.lists(st.tuples(places, ODD), min_size=1, max_size=4)):
        where = data.draw(st.integers(0, len(pairs)))
        if data.draw(st.booleans()):  # beside the one that is there, ahead of it or behind it
            pairs.insert(where, (pack(name), pack(value)))
        else:
            pairs = [pair for pair in pairs if pair[0] != pack(name)]
            pairs.insert(min(where, len(pairs)), (pack(name), pack(value)))
    packed = b"\xde" + len(pairs).to_bytes(2, "big") + b"".join(name + value for name, value in pairs)
    fast, slow = both_ways(*_pair(profile), kind, packed)
    assert fast == slow


def test_a_field_that_stands_twice_is_written_once(tmp_path: Path) -> None:
    token = samples.struct("ACLToken")
    pairs = [(pack(name), pack(value)) for name, value in token.items()]
    pairs.insert(0, (pack("SecretID"), pack("banana-a")))
    pairs.append((pack("SecretID"), pack("banana-b")))
    packed = b"\xde" + len(pairs).to_bytes(2, "big") + b"".join(name + value for name, value in pairs)
    content = forge.state(forge.record(12, token), b"\x0c" + packed)
    for profile in PROFILES:
        target, _ = redacted(forge.archive(content), profile, tmp_path)
        assert b"banana" not in forge.untar(target.read_bytes())[1][1]


def test_fields_that_few_records_have_are_learned_of(tmp_path: Path) -> None:
    usual = {name: value for name, value in samples.struct("Job").items() if name not in ("Payload", "VaultToken")}
    rare = samples.struct("Job") | {"VaultToken": "banana-a", "Unheard": "banana-b"}
    content = forge.state(*([forge.record(1, usual)] * 300), forge.record(1, rare), forge.record(1, usual))
    for profile in PROFILES:
        target, done = redacted(forge.archive(content), profile, tmp_path)
        assert b"banana" not in forge.untar(target.read_bytes())[1][1]
        assert any("Job.Unheard" in note for note in done.notes)


def test_what_is_remembered_is_forgotten_when_there_is_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = redacted(FRIDAY, "strict", tmp_path)
    state = forge.untar(whole[0].read_bytes())[1][1]
    monkeypatch.setattr(packed, "_ROOM", 2000)
    again = redacted(FRIDAY, "strict", tmp_path)
    assert forge.untar(again[0].read_bytes())[1][1] == state
    assert again[1].counts == whole[1].counts


def test_what_refers_still_refers(friday: Callable[[Profile], Path]) -> None:
    with snapkit.open(FRIDAY) as was, snapkit.open(friday("strict")) as snap:
        jobs = set(snap.jobs.index)
        assert jobs.isdisjoint({key for key in was.jobs.index if key[1] not in ("",)})
        namespaces = set(snap.namespaces.index)
        assert {namespace for namespace, _ in jobs} <= namespaces
        nodes = snap.nodes
        for key, alloc in snap.allocs.iterrows():
            assert alloc["NodeName"] == nodes.loc[alloc["NodeID"], "Name"]
            assert re.fullmatch(rf"{re.escape(alloc['JobID'])}\.{re.escape(alloc['TaskGroup'])}\[\d+\]", alloc["Name"])
            assert alloc["EvalID"]
            assert key not in set(was.allocs.index)
        for job in snap.objects("jobs"):
            if job["ParentID"]:
                assert job["ID"].startswith(f"{job['ParentID']}/")
                assert re.search(r"/(periodic-\d{10}|dispatch-\d{10}-\w{8})$", job["ID"])
        for service in snap.services.reset_index().itertuples():
            assert str(service.AllocID) in str(service.ID)
        policies = set(snap.acl_policies.index)
        for token in snap.objects("acl_tokens"):
            assert set(token["Policies"] or ()) <= policies
        for policy in snap.acl_policies["Rules"]:
            for name in re.findall(r'namespace "([\w-]+)"', policy):
                assert name in namespaces
        accessors = set(snap.acl_tokens.index)
        drains = [node["LastDrain"]["AccessorID"] for node in snap.objects("nodes") if node["LastDrain"]]
        assert drains
        assert {drain.removeprefix("token:") for drain in drains} <= accessors
        assert all(snap.get("jobs", *key)["NomadTokenID"] in {*accessors, ""} for key in jobs)


def test_variables_open_with_the_key_inside(friday: Callable[[Profile], Path]) -> None:
    with snapkit.open(FRIDAY) as snap:
        was = snap.unlock()["Items"].to_dict()
        sizes = snap.table("variables", ["Data"])["Data"].map(len).sort_values().tolist()
    for profile in PROFILES:
        with snapkit.open(friday(profile)) as snap:
            items = snap.unlock()["Items"].to_dict()
            assert snap.table("variables", ["Data"])["Data"].map(len).sort_values().tolist() == sizes
        if profile != "strict":
            assert {key: list(value) for key, value in items.items()} == {
                key: list(value) for key, value in was.items()
            }
        lengths = [sorted(len(text) for value in all_.values() for text in value.values()) for all_ in (was, items)]
        assert lengths[0] == lengths[1]
        secrets = {text for value in was.values() for text in value.values()}
        assert not secrets & {text for value in items.values() for text in value.values()}


def test_the_same_becomes_the_same_under_one_key_and_another_under_another(tmp_path: Path) -> None:
    one, two, other, nobodys = (tmp_path / name for name in ("1", "2", "3", "4"))
    redact(FRIDAY, one, profile="strict", key=KEY)
    redact(FRIDAY, two, profile="strict", key=KEY.encode())
    redact(FRIDAY, other, profile="strict", key="another")
    redact(FRIDAY, nobodys, profile="strict")
    assert one.read_bytes() == two.read_bytes()
    names = []
    for path in (one, other, nobodys):
        with snapkit.open(path) as snap:
            names.append(tuple(snap.nodes.index))
    assert len(set(names)) == 3


def test_a_planted_token_is_the_newest_and_no_other(tmp_path: Path) -> None:
    for archive in ("v2.0.5/friday", "v1.8.4/monday", "v0.12.12/monday"):
        target, done = redacted(path_of(archive), "strict", tmp_path, token=True)
        assert done.token is not None
        assert done.token.secret_id not in repr(done)
        with snapkit.open(path_of(archive)) as was, snapkit.open(target) as snap:
            assert len(snap.acl_tokens) == len(was.acl_tokens) + 1
            token = snap.get("acl_tokens", done.token.accessor_id, reveal=True)
            assert (token["SecretID"], token["Type"]) == (done.token.secret_id, "management")
            assert set(token) == set(next(was.objects("acl_tokens")))
        before, after = (snapkit.verify(src).findings["Check"].tolist() for src in (path_of(archive), target))
        assert sorted(set(after)) == sorted(set(before) - {"archive.mode"})
    secret = "0b0b0b0b-1111-2222-3333-444444444444"
    assert redacted(FRIDAY, "share", tmp_path, token=secret)[1].token == (
        redacted(FRIDAY, "share", tmp_path, token=secret)[1].token
    )
    with pytest.raises(SnapshotError, match="is no UUID"):
        redacted(FRIDAY, "share", tmp_path, token="hunter2")


def _decoded(token: str) -> list[dict[str, Any]]:
    return [json.loads(base64.urlsafe_b64decode(part + "===")) for part in token.split(".")[:2]]


def test_formats_and_lengths_are_kept(friday: Callable[[Profile], Path]) -> None:
    with snapkit.open(FRIDAY) as was, snapkit.open(friday("share")) as snap:
        for accessor, secret in was.table("acl_tokens", reveal=True)["SecretID"].items():
            made = snap.get("acl_tokens", accessor, reveal=True)["SecretID"]
            assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made)
            assert made != secret
        allocs = [[unpack(packed) for byte, packed in s.raw() if byte == 4] for s in (was, snap)]
        signed = 0
        for before, after in zip(*allocs, strict=True):
            for task, identity in (before.get(b"SignedIdentities") or {}).items():
                one, other = (text.decode() for text in (identity, after[b"SignedIdentities"][task]))
                assert looks_replaced(other)
                assert not looks_replaced(one)
                headers, claims = zip(*(_decoded(text) for text in (one, other)), strict=True)
                assert headers[0] == headers[1]
                assert headers[0]["kid"] == before[b"SigningKeyID"].decode()
                assert list(claims[0]) == list(claims[1])
                assert len(one) == len(other)
                signed += 1
        assert signed > 10
        env, made = (s.get("jobs", "shop", "web", reveal=True)["TaskGroups"][0]["Tasks"][0]["Env"] for s in (was, snap))
        assert list(env) == list(made)
        for name, text in env.items():
            assert len(text.encode()) == len(made[name].encode())
            assert re.sub(r"\w", "x", text) == re.sub(r"\w", "x", made[name])


# -- what is not known, not whole, or there already


def test_unknown_types_are_left_out_and_unknown_fields_replaced(tmp_path: Path) -> None:
    node = samples.struct("Node") | {"NewSecret": {"deep": ["canary-one"]}, "class": "canary-two"}
    alloc = samples.struct("Allocation")
    alloc["Job"]["TaskGroups"][0]["Tasks"][0]["Resources"]["NewThing"] = "canary-three"
    content = forge.state(forge.record(0, node), forge.record(4, alloc), forge.record(70, {"License": "canary-four"}))
    for profile in PROFILES:
        target, done = redacted(forge.archive(content), profile, tmp_path)
        assert b"canary" not in forge.untar(target.read_bytes())[1][0].name.encode()
        assert b"canary" not in forge.untar(target.read_bytes())[1][1]
        notes = " ".join(done.notes)
        assert "1 records of type Unknown(70) were left out" in notes
        assert "Node.NewSecret" in notes
        assert "Node.class" in notes
        assert "Resources.NewThing" in notes
        with snapkit.open(target) as snap:
            assert set(snap.tables.index) == {"nodes", "allocs"}


def test_what_is_damaged_or_salvaged_is_refused(tmp_path: Path) -> None:
    cut = tmp_path / "cut.snap"
    cut.write_bytes(FRIDAY.read_bytes()[:20_000])
    target = tmp_path / "out.snap"
    with pytest.raises(ArchiveError):
        redact(cut, target)
    with snapkit.open(cut, salvage=True) as snap:
        with pytest.raises(SnapshotError, match="was salvaged"):
            redact(snap, target)
        write_salvaged(snap, tmp_path / "saved.snap")
    redact(tmp_path / "saved.snap", target)
    with pytest.raises(TargetExistsError):
        redact(FRIDAY, target)
    with pytest.raises(SourceError):
        redact(tmp_path / "none.snap", tmp_path / "new.snap")
    with pytest.raises(SnapshotError, match="is no profile"):
        redact(FRIDAY, tmp_path / "new.snap", profile="all")  # type: ignore[arg-type]
    assert not (tmp_path / "new.snap").exists()


@pytest.mark.parametrize("profile", PROFILES)
def test_values_of_other_types_than_the_schemas_are_replaced_too(profile: Profile, tmp_path: Path) -> None:
    node = samples.struct("Node") | {"SecretID": ["banana-a", {"x": "banana-b"}], "Events": "banana-c", "Drivers": {}}
    token = samples.struct("ACLToken") | {"SecretID": {b"\xff": "banana-d"}, "Roles": {"0": {"ID": "banana-e"}}}
    job = samples.struct("Job") | {
        "TaskGroups": {"not": "a list", "Env": "banana-f"},
        "Payload": msgpack.ExtType(5, b"banana-g"),
    }
    content = forge.state(forge.record(0, node), forge.record(12, token), forge.record(1, job))
    target, _ = redacted(forge.archive(content), profile, tmp_path)
    state = forge.untar(target.read_bytes())[1][1]
    # What is left is in fields that are left: a node's events, a token's roles.
    assert not re.search(b"banana" if profile == "strict" else b"banana-[abdfg]", state)


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_sealed_in_another_way_is_left_out(profile: Profile, tmp_path: Path) -> None:
    variable = samples.struct("VariableEncrypted") | {"Data": {"items": "banana-a"}}
    root_key = samples.struct("RootKey") | {"WrappedKeys": {"key": "banana-b"}}
    content = forge.state(forge.record(22, variable), forge.record(30, root_key))
    target, _ = redacted(forge.archive(content), profile, tmp_path)
    assert b"banana" not in forge.untar(target.read_bytes())[1][1]
    for byte in (0, 4, 12, 22, 30):
        with pytest.raises(SnapshotError, match="map"):
            redacted(forge.archive(forge.state(forge.record(byte, ["banana"]))), profile, tmp_path)


def test_meta_names_no_host_but_in_share(tmp_path: Path) -> None:
    for profile in PROFILES:
        meta = json.loads(forge.untar(redacted(FRIDAY, profile, tmp_path)[0].read_bytes())[0][1])
        was = json.loads(forge.untar(FRIDAY.read_bytes())[0][1])
        same = meta["Configuration"] == was["Configuration"]
        assert same == (profile == "share")
        assert (meta["ID"], meta["Index"], meta["Term"]) == (was["ID"], was["Index"], was["Term"])


# -- pseudonyms

WORD = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)


@given(st.lists(WORD, max_size=30, unique=True))
def test_two_names_never_become_one(names: list[str]) -> None:
    pseudonyms = Pseudonyms(b"key")
    made = [pseudonyms.name(name.encode()) for name in names]
    assert len(set(made)) == len(made)
    assert made == [Pseudonyms(b"key").name(name.encode()) for name in names]


@given(st.sets(st.from_regex(r"[a-z]{1,3}|[0-9]{5}", fullmatch=True), min_size=2, max_size=200))
def test_short_words_and_secrets_stay_apart(words: set[str]) -> None:
    pseudonyms = Pseudonyms(b"key")
    assert len({pseudonyms.name(word.encode()) for word in words}) == len(words)
    assert len({pseudonyms.secret(word.encode()) for word in words}) == len(words)


@given(WORD)
def test_text_stays_utf8_and_keeps_its_length(text: str) -> None:
    made = Pseudonyms(b"key").secret(text.encode())
    assert len(made.decode().encode()) == len(text.encode())


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("web.front[0]", r"[a-z]{3}\.[a-z]{5}\[0\]"),
        ("nightly/periodic-1795471701", r"[a-z]{7}/periodic-1795471701"),
        ("encode/dispatch-1795471701-d33c0670", r"[a-z]{6}/dispatch-1795471701-\w{8}"),
        ("10.1.2.3:4646", r"\d+\.\d+\.\d+\.\d+:4646"),
        ("ip-10-0-0-12.ec2.internal", r"[a-z]{2}-\d+-\d+-\d+-\d+\.[a-z]{2}\d\.[a-z]{8}"),
        ("2001:db8::17", r"fd[0-9a-f:]+"),
        ("02:42:ac:11:00:02", r"([0-9a-f]{2}:){5}[0-9a-f]{2}"),
        ("127.0.0.1", r"127\.0\.0\.1"),
        ("Alice.Smith@example.org", r"[A-Z][a-z]{4}\.[A-Z][a-z]{4}@[a-z]{7}\.[a-z]{3}"),
        ("default", "default"),
        ('namespace "shop-*" { policy = "read" }', r'namespace "[a-z]{4}-\*" \{ policy = "read" \}'),
        ("token:658c8d9a-6632-ba10-798e-f993cf4181c3", r"token:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ],
)
def test_a_name_keeps_its_form(name: str, form: str) -> None:
    made = Pseudonyms(b"key").name(name.encode()).decode()
    assert re.fullmatch(form, made), made
    assert (made != name) == (name not in ("default", "127.0.0.1"))


def test_urls_lose_their_credentials_and_talk_its_addresses() -> None:
    pseudonyms = Pseudonyms(b"key")
    url = pseudonyms.url(b"get https://bob:s3cret@host.example/x?sshkey=abcdef&ref=v1 failed").decode()
    assert re.fullmatch(r"get https://\w{3}:\w{6}@host\.example/x\?sshkey=\w{6}&ref=\w\d failed", url)
    assert "s3cret" not in url
    assert "abcdef" not in url
    talk = pseudonyms.talk(b"alice@example.org met 10.0.0.9 at 12:30:00 in job web").decode()
    assert "alice" not in talk
    assert "10.0.0.9" not in talk
    assert "at 12:30:00 in job web" in talk


def test_a_payload_that_is_a_bomb_is_replaced_as_it_stands(tmp_path: Path) -> None:
    """It claims 4 GiB, which ended the process where there was no such memory."""
    bomb = b"\xff\xff\xff\xff\x0f\0a"
    source = samples.archive({"jobs": [{"Namespace": "default", "ID": "a", "Payload": bomb}]})
    redact(source, tmp_path / "out.snap", profile="strict")
    with snapkit.open(tmp_path / "out.snap") as snap:
        (job,) = snap.objects("jobs", reveal=True)
        assert base64.b64decode(job["Payload"]) != bomb


def test_a_token_is_planted_where_no_other_tells_an_index(tmp_path: Path) -> None:
    source = samples.archive({"acl_tokens": [{"AccessorID": "a", "SecretID": "b"}]})
    done = redact(source, tmp_path / "out.snap", token=True)
    assert done.token is not None
    with snapkit.open(tmp_path / "out.snap") as snap:
        assert done.token.accessor_id in set(snap.acl_tokens.index)
