"""Search: what it finds is what looking at every value finds, in real states and in made-up ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import cramjam
import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

import snapkit
from snapkit.errors import NotInSnapshotError, RecordError, SnapshotError
from snapkit.format.schema import Type, record_type
from snapkit.format.values import Leaf, inflated, text, unpack, walk
from snapkit.state.snapshot import search as module
from snapkit.state.snapshot.keys import part_of_key
from tests import forge

from ...conftest import ARCHIVES, path_of
from .. import samples
from ..sizes.test_sizes import RECORDS

Open = Callable[..., snapkit.Snapshot]
MONDAY, WEDNESDAY = "v2.0.5/monday", "v2.0.5/wednesday"


def leaves(snap: snapkit.Snapshot) -> Iterator[tuple[str, tuple[Any, ...], Leaf]]:
    """Every text and byte string in a state, as `table, key, leaf`."""
    for byte, packed in snap.raw():
        kind = record_type(byte)
        value = unpack(packed)
        struct = Type("struct", struct=kind.struct)
        parts = [value.get(name.encode()) for name in kind.key] if isinstance(value, dict) else []
        key = tuple(map(part_of_key, parts))
        for leaf in walk(value, Type("list", struct) if kind.table == "time_table" else struct):
            if isinstance(leaf.value, bytes):
                yield kind.table, key, leaf


def forms(leaf: Leaf) -> list[bytes]:
    """A value, and what it was before Nomad compressed it."""
    if leaf.path.rpartition(".")[2] != "Payload" or leaf.kind.kind != "bytes":
        return [leaf.value]
    try:
        return [leaf.value, bytes(cramjam.snappy.decompress_raw(leaf.value))]
    except cramjam.DecompressionError:
        return [leaf.value]


def places(snap: snapkit.Snapshot, hits: Callable[[bytes], object]) -> list[tuple[str, tuple[Any, ...], str]]:
    """Where the values are that hit, by looking at all of them."""
    return [(table, key, leaf.path) for table, key, leaf in leaves(snap) if any(map(hits, forms(leaf)))]


def found(snap: snapkit.Snapshot, *args: Any, **kwargs: Any) -> list[tuple[str, tuple[Any, ...], str]]:
    frame = snap.search(*args, **kwargs)
    return list(zip(frame.Table, frame.Key, frame.Path, strict=True))


def matcher(pattern: Any) -> Callable[[bytes], object]:
    if not isinstance(pattern, re.Pattern):
        return lambda value: (pattern.encode() if isinstance(pattern, str) else pattern) in value
    if isinstance(pattern.pattern, str):
        return lambda value: pattern.search(text(value))
    return pattern.search


# -- the week


def test_the_miner_is_found_on_wednesday_alone(opened: Open) -> None:
    snap = opened(WEDNESDAY)
    hits = snap.search("stratum")
    miners = snap.allocs[snap.allocs.JobID == "metrics-agent"]
    assert len(miners) == 2
    assert set(hits.Key[hits.Table == "allocs"]) == {(alloc,) for alloc in miners.index}
    other = hits[hits.Table != "allocs"]
    assert set(other.Table) == {"jobs", "job_versions", "job_submissions"}
    assert {key[:2] for key in other.Key} == {("default", "metrics-agent")}
    for day in ("monday", "tuesday", "thursday", "friday"):
        assert len(opened(f"v2.0.5/{day}").search("stratum")) == 0


def test_the_address_of_the_miner_can_be_asked_for_as_a_pattern(opened: Open) -> None:
    snap = opened(WEDNESDAY)
    hits = snap.search(r"\bSTRATUM[.\w]*\b(?=:|$|[^\w])", regex=True, ignore_case=True, tables=["jobs"], reveal=True)
    assert list(hits.Key) == [("default", "metrics-agent")]
    assert "stratum.example.invalid" in hits.Context[0]


def dispatched(snap: snapkit.Snapshot) -> dict[tuple[str, tuple[Any, ...]], bytes]:
    """What each record with a payload was dispatched with."""
    return {(t, k): forms(leaf)[1] for t, k, leaf in leaves(snap) if len(forms(leaf)) > 1}


def test_what_a_job_was_dispatched_with_is_found(opened: Open) -> None:
    snap = opened(MONDAY)
    held = dispatched(snap)
    jobs = {key[1] for table, key in held if table == "jobs"}
    assert len(jobs) == 3
    assert all(job.startswith("encode/dispatch-") for job in jobs)
    assert {table for table, _ in held} == {"jobs", "job_versions", "allocs"}
    for whole in set(held.values()):
        tail = whole[200:300]
        assert tail not in b"".join(snap.chunks()), "Snappy has it in pieces, or this shows nothing"
        holders = {place for place, other in held.items() if tail in other}
        hits = snap.search(tail)
        assert {(t, k) for t, k in zip(hits.Table, hits.Key, strict=True)} == holders
        assert set(hits.Path) == {"Payload", "Job.Payload"}
        assert all(context.startswith("masked:") for context in hits.Context)
        assert text(tail[:20]) in snap.search(tail, reveal=True).Context[0]
        assert len(snap.search(re.compile(re.escape(tail), re.DOTALL))) == len(hits)


def test_templates_and_sources_are_searched(opened: Open) -> None:
    hits = opened(MONDAY).search("feature.checkout")
    assert {
        (table, path.rpartition("Templates[0].")[2]) for table, path in zip(hits.Table, hits.Path, strict=True)
    } == {
        ("jobs", "EmbeddedTmpl"),
        ("job_versions", "EmbeddedTmpl"),
        ("allocs", "EmbeddedTmpl"),
        ("job_submissions", "Source"),
    }
    assert all(context.startswith("masked:") for context in hits.Context)


# -- every value


@pytest.mark.parametrize("archive", ["v2.0.5/friday", "v0.12.12/tuesday", "every-table/every-table"])
def test_every_text_is_found_by_itself_at_its_path(archive: str, opened: Open) -> None:
    snap = opened(archive)
    every = [(table, key, leaf) for table, key, leaf in leaves(snap) if leaf.value]
    assert len(every) > 300
    for table, key, leaf in every[:: len(every) // 40]:
        assert (table, key, leaf.path) in found(snap, leaf.value, tables=[table])
        shown = re.escape(text(leaf.value))
        assert (table, key, leaf.path) in found(snap, rf"\A{shown}\Z", regex=True, tables=[table])
        if leaf.value.isascii():
            swapped = text(leaf.value).swapcase()
            assert (table, key, leaf.path) in found(snap, swapped, ignore_case=True, tables=[table])


PATTERNS = [
    "web",
    b"\xff",
    re.compile("^web$"),
    re.compile(r"\Aclient\d\Z"),
    re.compile(r"(?<!-)\bdefault\b(?!/)"),
    re.compile(r"(\w)\1\1"),
    re.compile(r"^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$"),
    re.compile(r"(?i)STOREFRONT|Encode"),
    re.compile(r"(?i:pay)ments(?-i:$)"),
    re.compile(r"[^\x00-\x7f]"),
    re.compile(rb"[\x80-\xff]{6}"),
    re.compile(rb"(?s)\A\x01\x00\x00\x00.{11}\Z"),
    re.compile(r"\n.*image.*\n"),
    re.compile(r"(?m)^\s*image\b.*$"),
    re.compile(r"(?x) service (?# a comment) \d*"),
    re.compile(r".{300}", re.DOTALL),
    re.compile(r"(?>a+)b|x++y"),
    re.compile(r"(a)?(?(1)b|cd)"),
    re.compile(r"\d{1,3}(?:\.\d{1,3}){3}"),
    re.compile(r"no such thing at all"),
]


@pytest.mark.parametrize("wanted", PATTERNS, ids=repr)
def test_a_search_finds_what_looking_at_every_value_finds(wanted: Any, opened: Open) -> None:
    for archive in ("v2.0.5/wednesday", "v1.4.14/tuesday"):
        snap = opened(archive)
        assert found(snap, wanted) == places(snap, matcher(wanted))


LETTERS = [
    "a",
    "b",
    "K",
    "k",
    "s",
    "\u017f",
    "\u212a",
    "é",
    "É",
    "\N{REPLACEMENT CHARACTER}",
    "\n",
    "\0",
    "_",
    "\u0130",
    "i",
]
ATOMS = st.one_of(
    st.sampled_from(LETTERS).map(re.escape),
    st.sampled_from([".", r"\w", r"\W", r"\d", r"\s", r"\S", "[a-z]", "[^a]", "[^a-zé]", r"[\Wa]", r"\x00"]),
    st.sampled_from(["^", "$", r"\b", r"\B", r"\A", r"\Z", "(?=a)", "(?!b)", "(?<=a)", "(?<!k)"]),
)
REGEXES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+?", "{2}", "{0,2}", "{1500}", "*+", "?"])).map(
            lambda t: f"(?:{t[0]}){t[1]}"
        ),
        st.tuples(
            inner, st.sampled_from(["(?:{})", "(?>{})", "(?i:{})", "(?-i:{})", "(?s:{})", "(?a:{})", "({})"])
        ).map(lambda t: t[1].format(t[0])),
        inner.map(lambda part: f"(?P<g>{part})(?P=g)" if "?P" not in part else part),
    ),
    max_leaves=6,
)
VALUES = st.lists(
    st.lists(
        st.sampled_from([*(letter.encode() for letter in LETTERS), b"\xff", b"\xc3", b"\xe2\x84"]), max_size=5
    ).map(b"".join),
    min_size=1,
    max_size=6,
)


@settings(max_examples=400)
@given(REGEXES, VALUES, st.booleans(), st.sampled_from([0, re.DOTALL, re.ASCII, re.MULTILINE]))
@example("(?i:K)b(?-i:a)", [b"kba"], False, 0)
@example("(?a:[^a])b|(?i:é)", ["Éb".encode()], False, 0)
@example("K", [b"\xe2\x84\xaa"], True, 0)
@example("[a-z]", [b"\xc5\xbf"], True, 0)
@example("\N{REPLACEMENT CHARACTER}", [b"\xff"], False, 0)
@example("(?:(?:a{900}){900}){900}|k", [b"k"], False, 0)
@example("a.b", [b"a", b"b"], False, re.DOTALL)
def test_a_pattern_matches_value_by_value(source: str, values: list[bytes], ignore_case: bool, flags: int) -> None:
    compare(source, values, ignore_case, flags)


@settings(max_examples=200)
@given(REGEXES.filter(str.isascii), VALUES, st.booleans(), st.sampled_from([0, re.DOTALL, re.MULTILINE]))
@example(r"[\x80-\xff]", [b"\xc3"], False, 0)
def test_a_pattern_of_bytes_matches_value_by_value(source: str, values: list[bytes], fold: bool, flags: int) -> None:
    compare(source.encode(), values, fold, flags)


def compare(source: Any, values: list[bytes], ignore_case: bool, flags: int) -> None:
    try:
        pattern = re.compile(source, flags | (re.IGNORECASE if ignore_case else 0))
    except (re.error, ValueError):
        return
    rows = [{"Namespace": "n", "Name": value, "ID": i} for i, value in enumerate(values)]
    state = forge.state(*(forge.record(1, row) for row in rows))
    with snapkit.open(forge.archive(state)) as snap:
        try:
            got = found(snap, pattern)
        except SnapshotError as error:
            if "can match the empty string" not in str(error):
                raise
            return
        assert got == places(snap, matcher(pattern))


@settings(max_examples=150)
@given(RECORDS, st.sampled_from([b"I", b"ID", b"a", b"Meta", b"\xff", b"xxxx", b"Odd", b"\x00", "é".encode()]))
@example([(4, {b"Job": {b"\xffID": [[b"ID"], {7: b"ID"}], b"ID": {b"ID": b"ID"}}})], b"ID")
@example(
    [(1, {b"ID": b"ID", b"Payload": {b"ID": b""}, b"VaultToken": [{b"ID": b"ID"}]}), (200, [b"ID"]), (0, b"ID")], b"ID"
)
def test_whatever_the_records_hold_is_searched(records: list[tuple[int, Any]], needle: bytes) -> None:
    state = forge.state(*(forge.record(byte, forge.pack(value)) for byte, value in records))
    with snapkit.open(forge.archive(state)) as snap:
        assert found(snap, needle) == places(snap, lambda value: needle in value)
        pattern = re.compile(re.escape(needle) + b".?")
        assert found(snap, pattern) == places(snap, matcher(pattern))
        hidden = {path for _, _, path in found(snap, needle)} - {
            leaf.path for *_, leaf in leaves(snap) if not leaf.secret
        }
        frame = snap.search(needle)
        assert all(context.startswith("masked:") for context in frame.Context[frame.Path.isin(hidden)])


@pytest.mark.parametrize(
    ("source", "flags", "literal"),
    [
        ("stratum", 0, b"stratum"),
        (r"\bab|abc", 0, b""),
        (r"^ab\bcd(?=x)e$", 0, b"abcde"),
        (r"(ab)cdef\w+gh", 0, b"cdef"),
        (r"a(?:bcd)e", 0, b"abcde"),
        (r"a(?i:bcd)ef", 0, b"ef"),
        (r"(?i)abc", 0, b""),
        (r"(?i)abc(?-i:de)", 0, b"de"),
        (r"(?:abc)?d", 0, b"d"),
        ("aé", 0, "aé".encode()),
        ("ab\N{REPLACEMENT CHARACTER}c", 0, b"ab"),
        (rb"a\xffb", 0, b"a\xffb"),
        ("a b  # c", re.VERBOSE, b"ab"),
    ],
)
def test_what_every_match_holds_is_looked_for_first(source: Any, flags: int, literal: bytes) -> None:
    assert module.query(re.compile(source, flags)).literal == literal


def test_what_spans_values_or_lies_around_them_is_not_reported(open_: Open) -> None:
    snap = open_(samples.archive({"jobs": [{"Namespace": "aa", "ID": "bb", "Name": "cc"}]}))
    for wanted in ("(?s)aa.*bb", "Namespace", r"(?s)\x83", "(?s)b.{1,9}Name", r"aa(?!\Z)", r"(?<=.)bb"):
        assert found(snap, wanted, regex=True) == []
    assert len(found(snap, r"\Abb\Z", regex=True)) == 1


def test_case_is_ignored_when_asked(open_: Open) -> None:
    snap = open_(samples.archive({"nodes": [{"ID": "n", "Name": "Größe K.", "NodeClass": "GRÖSSE"}]}))
    assert [path for *_, path in found(snap, "GRÖßE k.", ignore_case=True)] == ["Name"]
    assert [path for *_, path in found(snap, "größe", ignore_case=True)] == ["Name"]
    assert [path for *_, path in found(snap, b"gr", ignore_case=True)] == ["Name", "NodeClass"]
    assert found(snap, "GRÖßE k.") == found(snap, "größe") == found(snap, "größe.k", ignore_case=True) == []
    assert [path for *_, path in found(snap, re.compile("^gr.sse", re.NOFLAG), ignore_case=True)] == ["NodeClass"]


def test_a_context_of_a_pattern_is_its_first_match(open_: Open) -> None:
    snap = open_(samples.archive({"nodes": [{"ID": "n", "Name": "é" * 50 + "needle7" + "ü" * 50 + "needle8"}]}))
    for wanted in (re.compile(r"needle\d"), re.compile(rb"needle\d")):
        assert list(snap.search(wanted).Context) == ["…" + "é" * 40 + "needle7" + "ü" * 40 + "…"]


# -- where


def test_tables_and_namespace_narrow_a_search(opened: Open) -> None:
    snap = opened(MONDAY)
    every = snap.search("storefront")
    assert set(found(snap, "storefront", tables=["jobs"])) == {
        hit for hit in found(snap, "storefront") if hit[0] == "jobs"
    }
    assert found(snap, "storefront", tables=[]) == []
    shop = snap.search("e", namespace="shop", tables=["allocs", "jobs", "nodes"])
    assert set(shop.Table) == {"allocs", "jobs"}
    assert {key[0] for key in shop.Key[shop.Table == "jobs"]} == {"shop"}
    assert set(snap.allocs.loc[[key[0] for key in shop.Key[shop.Table == "allocs"]], "Namespace"]) == {"shop"}
    assert len(every) > len(snap.search("storefront", namespace="shop")) > 0
    with pytest.raises(NotInSnapshotError, match="did you mean jobs"):
        snap.search("x", tables=["job"])


# -- payloads


def snappy(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


def job(name: str, payload: Any) -> dict[str, Any]:
    return {"Namespace": "n", "ID": name, "Payload": payload}


def test_payloads_are_found_in_every_record_that_holds_them(open_: Open) -> None:
    whole = b"needle " * 40 + b"needle in the hay"
    records: dict[str, list[Any]] = {
        "jobs": [job("a", snappy(whole)), job("b", None), job("c", b""), job("d", snappy(b"other"))],
        "job_versions": [job("a", snappy(whole)) | {"Version": 3}],
        "allocs": [{"ID": "x", "Job": job("a", snappy(whole))}, {"ID": "y", "Job": None}],
    }
    snap = open_(samples.archive(records))
    expected = [
        ("jobs", ("n", "a"), "Payload"),
        ("job_versions", ("n", "a", 3), "Payload"),
        ("allocs", ("x",), "Job.Payload"),
    ]
    order = [hit for table in ("jobs", "job_versions", "allocs") for hit in expected if hit[0] == table]
    assert whole[-30:] not in b"".join(snap.chunks())
    for _ in range(2):  # found out, and known
        assert found(snap, "le needle in the hay") == order
        assert found(snap, r"^needle.*hay$", regex=True) == order
        assert found(snap, "LE NEEDLE IN", ignore_case=True, tables=["allocs"]) == [expected[2]]
        assert [hit[1] for hit in found(snap, "other")] == [("n", "d")]
    assert set(snap.search("hay", reveal=True).Context) == {"…" + whole.decode()[-43:]}


@pytest.mark.parametrize("wide", [None, b"\xd9", b"\xda", b"\xdb", b"\xc4", b"\xc5", b"\xc6"])
def test_a_payload_is_found_however_it_is_packed(wide: bytes | None, open_: Open) -> None:
    packed = snappy(b"abc " * 5 + b"xyz")
    assert len(packed) < 32
    length = {None: 0, b"\xd9": 1, b"\xc4": 1, b"\xda": 2, b"\xc5": 2}.get(wide, 4)
    head = bytes([0xA0 + len(packed)]) if wide is None else wide + len(packed).to_bytes(length, "big")
    value = b"\x82" + forge.pack("ID") + forge.pack("a") + forge.pack("Payload") + head + packed
    snap = open_(forge.archive(forge.state(forge.record(1, value))))
    assert [path for *_, path in found(snap, "abc abc xyz")] == ["Payload"]


@pytest.mark.parametrize(
    "payload",
    [
        b"plain needle",
        b"\xff\xff\xff\xff\x0f needle",
        b"\xff needle",
        b"\x20\x1cneedle",
        snappy(b"needle")[:-1] + b"needle",
    ],
)
def test_a_payload_that_is_no_snappy_is_searched_as_it_stands(payload: bytes, open_: Open) -> None:
    snap = open_(samples.archive({"jobs": [job("a", payload), job("b", snappy(b"the needle"))]}))
    assert [key[1] for _, key, _ in found(snap, "needle")] == ["a", "b"]
    assert [key[1] for _, key, _ in found(snap, payload)] == ["a"]


def test_a_payload_that_claims_to_be_huge_is_not_believed() -> None:
    assert inflated(b"\xff\xff\xff\xff\x0f" + bytes(100)) is None
    assert inflated(snappy(bytes(100_000))) == bytes(100_000)
    assert inflated(b"") is None


def test_text_that_looks_like_a_payload_is_none(open_: Open) -> None:
    fake = b"Payload" + forge.pack(snappy(b"abc " * 9))
    snap = open_(
        samples.archive({"jobs": [job("a", snappy(b"xyz " * 9)) | {"Meta": {"m": fake + b"Payload\xdb\xff"}}]})
    )
    assert found(snap, "abc abc abc") == []
    assert [path for *_, path in found(snap, "xyz xyz xyz")] == ["Payload"]


def test_payloads_beyond_what_is_kept_are_inflated_anew(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 0)
    monkeypatch.setattr(module, "BATCH", 10)
    rows = [job(f"{i}", snappy(b"abc " * 9 + b"%d" % (i % 5))) for i in range(20)]
    snap = open_(samples.archive({"jobs": rows}))
    for _ in range(2):
        assert [key[1] for _, key, _ in found(snap, "abc abc 3")] == ["3", "8", "13", "18"]


@pytest.mark.parametrize("threads", [1, 3, 50])
def test_a_state_in_slices_is_searched_whole(threads: int, open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALONE", 0)
    monkeypatch.setattr("os.cpu_count", lambda: threads)
    for archive in ("v2.0.5/friday", "every-table/every-table"):
        snap = open_(path_of(archive))
        assert found(snap, "e") == places(snap, lambda value: b"e" in value)
    assert found(open_(forge.archive(forge.state())), "e") == []


# -- refused


@pytest.mark.parametrize("wanted", ["a*", "", "(a|)", r"\b", "^", "$", "(?=a)", "a?b?", "(?:)", r"x{0,3}", "(?i)"])
@pytest.mark.parametrize("ignore_case", [False, True])
def test_a_pattern_that_can_match_nothing_is_refused(wanted: str, ignore_case: bool, open_: Open) -> None:
    snap = open_(forge.archive(forge.LITTLE))
    patterns: list[Any] = [re.compile(wanted), re.compile(wanted.encode())]
    for given_ in patterns:
        with pytest.raises(SnapshotError, match="can match the empty string, which is everywhere; say what"):
            snap.search(given_, ignore_case=ignore_case)
    with pytest.raises(SnapshotError, match="empty"):
        snap.search(wanted, regex=True, ignore_case=ignore_case)


@pytest.mark.parametrize(
    "wanted", ["(", "a{2}{3}", "[z-a]", "(?P<a>x)(?P<a>y)", "\\", "(" * 5000 + "a" + ")" * 5000, r"(?<=a+)b"]
)
def test_what_is_no_pattern_is_refused(wanted: str, open_: Open) -> None:
    with pytest.raises(SnapshotError, match="is no regular expression") as caught:
        open_(forge.archive(forge.LITTLE)).search(wanted, regex=True)
    assert caught.value.where.startswith("the regular expression ")
    assert len(str(caught.value)) < 250


def test_a_pattern_with_odd_sets_warns_of_nothing(open_: Open) -> None:
    assert found(open_(forge.archive(forge.LITTLE)), "[[a]zz", regex=True) == []


def test_what_comes_from_a_command_line_is_taken_as_bytes(open_: Open) -> None:
    snap = open_(samples.archive({"variables": [{"Namespace": "a", "Path": "b", "Data": b"\xff\xfe"}]}))
    assert [path for *_, path in found(snap, "\udcff\udcfe")] == ["Data"]
    with pytest.raises(SnapshotError, match="is no text"):
        snap.search("\ud800")


def test_a_candidate_that_can_not_be_decoded_is_an_error(open_: Open) -> None:
    deep: Any = "needle"
    for _ in range(250):
        deep = [deep]
    snap = open_(forge.archive(forge.state(forge.record(2, {"Key": "a"}), forge.record(0, {"ID": "n", "Meta": deep}))))
    for wanted in ("needle", re.compile("need.*")):
        with pytest.raises(RecordError, match=r"record 2 \(Node\), byte 9: is nested more than 200 deep"):
            snap.search(wanted)
    assert found(snap, "other") == []


@pytest.mark.parametrize("archive", ARCHIVES)
def test_secrets_stay_masked_whatever_the_pattern(archive: str, opened: Open) -> None:
    snap = opened(archive)
    secret = [leaf for _, _, leaf in leaves(snap) if leaf.secret and len(leaf.value) > 8]
    shown = "\n".join(
        snap.search(r"(?s)..{8}", regex=True, tables=["acl_tokens", "nodes", "evals", "job_submissions"]).Context
    )
    assert secret
    assert [leaf.path for leaf in secret if leaf.path == "SecretID" and text(leaf.value) in shown] == []
    assert "masked:" in shown
