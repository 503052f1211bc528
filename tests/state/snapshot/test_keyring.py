"""The keyring: variables open with the right key alone, nothing altered opens, and how each root key stands."""

from __future__ import annotations

import base64
import itertools
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import snapkit
from snapkit.errors import SnapshotError, SourceError
from snapkit.state.output.edit import edited
from snapkit.state.snapshot.keyring import (
    AlteredError,
    ExternalKeyError,
    Keyring,
    KeyringError,
    MissingKeyError,
    WrongKeyError,
)

from ...conftest import ARCHIVES, DATA, ORACLES, path_of

Open = Callable[..., snapkit.Snapshot]

IN_ARCHIVE = ["v2.0.5/monday", "v2.0.5/tuesday", "v2.0.5/wednesday", "v2.0.5/thursday", "v2.0.5/friday"]
IN_KEYSTORE = ["v1.4.14/monday", "v1.4.14/tuesday", "v1.8.4/monday", "v1.8.4/tuesday"]


def known_items(archive: str) -> dict[tuple[str, str, int], Any]:
    """What the live cluster said on Monday: by namespace, path and index."""
    said = json.loads((ORACLES / archive.partition("/")[0] / "variables.json").read_text(encoding="utf-8"))
    return {(v["Namespace"], v["Path"], v["ModifyIndex"]): v["Items"] for v in said}


def keystore(archive: str) -> Path | None:
    return DATA / archive.partition("/")[0] / "keystore" if archive in IN_KEYSTORE else None


@pytest.mark.parametrize("archive", IN_ARCHIVE + IN_KEYSTORE)
def test_variables_open_to_what_the_live_cluster_said(archive: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    found = snap.unlock(keystore(archive))
    assert list(found.columns) == ["Items"]
    assert found.index.equals(snap.variables.index)
    assert all(isinstance(items, dict) and items for items in found.Items)
    known = known_items(archive)
    indexes: dict[Any, int] = snap.variables.ModifyIndex.to_dict()
    items: dict[Any, Any] = found.Items.to_dict()
    at = {(*key, index): items[key] for key, index in indexes.items()}
    same = known.keys() & at.keys()
    assert len(same) >= (len(known) if archive.endswith("monday") else 1)
    assert {key: at[key] for key in same} == {key: known[key] for key in same}


@pytest.mark.parametrize("archive", IN_KEYSTORE)
def test_without_its_keystore_the_missing_key_is_named(archive: str, open_: Open, tmp_path: Path) -> None:
    snap = open_(path_of(archive))
    key_id = snap.variables.KeyID.iloc[0]
    for folder in (None, tmp_path, str(tmp_path)):
        with pytest.raises(MissingKeyError) as caught:
            snap.unlock(folder)
        assert caught.value.where == f"root key {key_id}"
        assert "keystore" in caught.value.advice
    with pytest.raises(MissingKeyError):
        snap.unlock(DATA / ("v1.8.4" if "1.4" in archive else "v1.4.14") / "keystore")


@pytest.mark.parametrize("archive", ["v0.12.12/monday"])
def test_no_variables_are_an_empty_table(archive: str, open_: Open) -> None:
    found = open_(path_of(archive)).unlock()
    assert len(found) == 0
    assert list(found.index.names) == ["Namespace", "Path"]


def changed(archive: str, table: str, change: Callable[[dict[bytes, Any]], Any]) -> bytes:
    """The state of an archive with all records of a table changed."""
    with snapkit.open(path_of(archive)) as snap:
        return b"".join(edited(snap, {table: lambda record: (change(record), True)[1]}))


def flipped(data: bytes, at: int = -1) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + (data[at + 1 :] if at != -1 else b"")


@pytest.mark.parametrize(
    ("table", "change", "kind", "place"),
    [
        ("variables", lambda r: r.update({b"Data": flipped(r[b"Data"])}), AlteredError, "variable "),
        ("variables", lambda r: r.update({b"Data": flipped(r[b"Data"], 0)}), AlteredError, "variable "),
        ("variables", lambda r: r.update({b"Data": r[b"Data"][:5]}), AlteredError, "variable "),
        ("variables", lambda r: r.update({b"Data": b""}), AlteredError, "variable "),
        ("variables", lambda r: r.update({b"Data": None}), AlteredError, "variable "),
        ("variables", lambda r: r.pop(b"Data"), AlteredError, "variable "),
        ("variables", lambda r: r.update({b"KeyID": b"other"}), MissingKeyError, "root key other"),
        ("variables", lambda r: r.update({b"KeyID": None}), MissingKeyError, "root key "),
        ("root_keys", lambda r: r.update({b"WrappedKeys": None}), MissingKeyError, "root key "),
        ("root_keys", lambda r: r.update({b"WrappedKeys": []}), MissingKeyError, "root key "),
        ("root_keys", lambda r: r.update({b"WrappedKeys": 5}), KeyringError, "root key "),
        ("root_keys", lambda r: r.update({b"WrappedKeys": [5]}), KeyringError, "root key "),
        ("root_keys", lambda r: r[b"WrappedKeys"][0].pop(b"Provider"), KeyringError, "root key "),
        (
            "root_keys",
            lambda r: r[b"WrappedKeys"][0].update({b"KeyEncryptionKey": bytes(32)}),
            WrongKeyError,
            "root key ",
        ),
        (
            "root_keys",
            lambda r: r[b"WrappedKeys"][0].update({b"KeyEncryptionKey": b"short"}),
            WrongKeyError,
            "root key ",
        ),
        ("root_keys", lambda r: r[b"WrappedKeys"][0].update({b"Provider": b"awskms"}), ExternalKeyError, "root key "),
    ],
)
def test_what_does_not_open_is_named(
    table: str, change: Callable[[dict[bytes, Any]], Any], kind: type[SnapshotError], place: str, open_: Open
) -> None:
    snap = open_(changed("v2.0.5/monday", table, change))
    with pytest.raises(kind) as caught:
        snap.unlock()
    assert type(caught.value) is kind
    assert caught.value.where.startswith(place)
    assert caught.value.advice
    assert "battery staple" not in str(caught.value)


def test_a_variable_sealed_by_another_key_id_does_not_open(open_: Open) -> None:
    """The key's id is part of what is sealed."""
    snap = open_(path_of("v2.0.5/monday"))
    keyring = Keyring(snap.table)
    rows: dict[Any, Any] = snap.variables.to_dict("index")
    (namespace, path), row = next(iter(rows.items()))
    assert keyring.open_variable(namespace, path, row["KeyID"], row["Data"])
    key = keyring.key(row["KeyID"])
    keyring._opened["another"] = key
    with pytest.raises(AlteredError):
        keyring.open_variable(namespace, path, "another", row["Data"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b"{}",
        b'{"DEK": "!"}',
        b'{"DEK": 5}',
        b"\xff",
        b"[" * 100_000,
        b'{"WrappedDEK": 5}',
    ],
)
def test_a_file_that_is_no_keyring_is_named(content: bytes, open_: Open, tmp_path: Path) -> None:
    (tmp_path / "a.nks.json").write_bytes(content)
    with pytest.raises(KeyringError) as caught:
        open_(path_of("v1.8.4/monday")).unlock(tmp_path)
    assert "a.nks.json" in caught.value.where


def test_other_files_in_a_keystore_are_passed_over(open_: Open, tmp_path: Path) -> None:
    shutil.copytree(DATA / "v1.8.4" / "keystore", tmp_path / "keystore")
    (tmp_path / "keystore" / "README.txt").write_text("mine")
    snap = open_(path_of("v1.8.4/monday"))
    assert snap.unlock(tmp_path / "keystore").equals(snap.unlock(DATA / "v1.8.4" / "keystore"))


def test_a_keystore_file_that_was_altered_does_not_open(open_: Open, tmp_path: Path) -> None:
    for path in (DATA / "v1.8.4" / "keystore").iterdir():
        document = json.loads(path.read_text())
        (tmp_path / path.name).write_text(json.dumps(document | {"KEK": base64.b64encode(bytes(32)).decode()}))
    with pytest.raises(WrongKeyError, match="altered, or the key is of another cluster"):
        open_(path_of("v1.8.4/monday")).unlock(tmp_path)


def test_a_keystore_that_can_not_be_read_is_said(open_: Open, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="can't be read"):
        open_(path_of("v1.8.4/monday")).unlock(tmp_path / "nowhere")


# -- nothing that was altered opens


class Sealed:
    """What Keyring reads of an archive, to be altered at will."""

    def __init__(self, archive: str) -> None:
        with snapkit.open(path_of(archive)) as snap:
            self.variables = snap.table("variables", ["KeyID", "Data"])
            self.root_keys = snap.table("root_keys", ["WrappedKeys"], reveal=True)

    def table(self, name: str, columns: Any, reveal: bool = False) -> pd.DataFrame:
        return self.variables if name == "variables" else self.root_keys

    @property
    def key_id(self) -> str:
        return str(self.variables.KeyID.iloc[0])

    def with_key(self, **changes: Any) -> Sealed:
        """The one key that there is, changed."""
        (wrapped,) = self.root_keys.WrappedKeys.iloc[0]
        other = object.__new__(Sealed)
        other.variables = self.variables
        other.root_keys = pd.DataFrame({"WrappedKeys": [[{**wrapped, **changes}]]}, index=self.root_keys.index)
        return other


@pytest.fixture(scope="module")
def sealed() -> Sealed:
    return Sealed("v2.0.5/monday")


def bits(data: bytes) -> Iterator[bytes]:
    """Each with another bit flipped: every bit there is, or of long data one of each byte."""
    chosen = random.Random(len(data))
    for at in range(len(data)):
        for bit in range(8) if len(data) < 1_000 else (chosen.randrange(8),):
            yield data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_a_flipped_bit_anywhere_in_a_variable_is_refused(sealed: Sealed) -> None:
    keyring = Keyring(sealed.table)
    rows: dict[Any, Any] = sealed.variables.to_dict("index")
    for (namespace, path), row in rows.items():
        assert keyring.open_variable(namespace, path, row["KeyID"], row["Data"])
        for altered in bits(row["Data"]):
            with pytest.raises(AlteredError):
                keyring.open_variable(namespace, path, row["KeyID"], altered)


@pytest.mark.parametrize("name", ["WrappedDataEncryptionKey", "WrappedRSAKey", "KeyEncryptionKey"])
def test_a_flipped_bit_anywhere_in_a_wrapped_key_is_refused(name: str, sealed: Sealed) -> None:
    value = sealed.root_keys.WrappedKeys.iloc[0][0][name]
    text = value if isinstance(value, str) else value["ciphertext"]
    for altered in bits(base64.b64decode(text)):
        encoded = base64.b64encode(altered).decode()
        changed = encoded if isinstance(value, str) else value | {"ciphertext": encoded}
        with pytest.raises(WrongKeyError if name == "KeyEncryptionKey" else AlteredError):
            Keyring(sealed.with_key(**{name: changed}).table).key(sealed.key_id)


#: What of a keystore file no key depends on, and nothing vouches for.
LOOSE = re.compile(
    rb'"(CreateTime|CreateIndex|ModifyIndex|PublishTime)":\d+'  # of these, only the time is read, to be shown
    rb'|"Provider":"[^"]*"'  # what the provider is called; its ID tells which it is
    rb'|"key_i(nfo|d)"'
)


@pytest.mark.parametrize("release", ["v1.4.14", "v1.8.4"])
def test_a_flipped_bit_anywhere_in_a_keystore_file_is_refused(release: str, tmp_path: Path) -> None:
    (original,) = (DATA / release / "keystore").iterdir()
    sealed = Sealed(f"{release}/monday")
    key, data = Keyring(sealed.table, original.parent).key(sealed.key_id), original.read_bytes()
    loose = {place for found in LOOSE.finditer(data) for place in range(*found.span())}
    file = tmp_path / original.name
    refused = 0
    for altered in bits(data):
        file.write_bytes(altered)
        try:
            assert Keyring(sealed.table, tmp_path).key(sealed.key_id) == key
        except KeyringError:
            refused += 1
            continue
        (place,) = (i for i, (a, b) in enumerate(zip(altered, data, strict=True)) if a != b)
        assert place in loose or data[place:].isspace(), f"byte {place}: {data[place - 20 : place + 20]!r}"
    assert refused > (len(data) - len(loose)) * 0.95


def test_the_unused_bits_of_base64_are_refused(tmp_path: Path) -> None:
    (original,) = (DATA / "v1.4.14" / "keystore").iterdir()
    text = original.read_text()
    kek = json.loads(text)["KEK"]
    assert kek.endswith("U=")
    (tmp_path / original.name).write_text(text.replace(kek, kek[:-2] + "V="))
    with pytest.raises(KeyringError, match="base64"):
        Keyring(Sealed("v1.4.14/monday").table, tmp_path)


# -- what there is of a key


def test_what_an_external_kms_wraps_is_named_with_what_would_open_it(sealed: Sealed) -> None:
    blob = {"ciphertext": base64.b64encode(b"sealed").decode(), "key_info": {"key_id": "arn:aws:kms:key/42"}}
    other = sealed.with_key(
        Provider="awskms", ProviderID="awskms.main", KeyEncryptionKey=None, WrappedDataEncryptionKey=blob
    )
    keyring = Keyring(other.table)
    with pytest.raises(ExternalKeyError) as caught:
        keyring.key(sealed.key_id)
    assert caught.value.where == f"root key {sealed.key_id}"
    assert caught.value.what == "is wrapped by awskms"
    assert "'awskms.main' of the servers' keyring blocks" in caught.value.advice
    assert "'arn:aws:kms:key/42'" in caught.value.advice
    assert keyring.material(sealed.key_id) == "external"


def test_a_kms_beside_a_key_that_opens_does_not_matter(sealed: Sealed) -> None:
    (wrapped,) = sealed.root_keys.WrappedKeys.iloc[0]
    transit = wrapped | {"Provider": "transit", "ProviderID": "transit", "KeyEncryptionKey": None}
    transit["WrappedDataEncryptionKey"] = {"ciphertext": "c2VhbGVk", "key_info": {"key_id": "1"}}
    for order in itertools.permutations([transit, wrapped]):
        other = sealed.with_key()
        other.root_keys = pd.DataFrame({"WrappedKeys": [list(order)]}, index=sealed.root_keys.index)
        assert Keyring(other.table).key(sealed.key_id) == Keyring(sealed.table).key(sealed.key_id)


@pytest.mark.parametrize("kek", [None, ""])
def test_a_wrapped_key_whose_own_key_is_on_disk_alone_is_missing(kek: str | None, sealed: Sealed) -> None:
    """As a server of 1.9 writes it while others of its cluster are older."""
    keyring = Keyring(sealed.with_key(KeyEncryptionKey=kek).table)
    with pytest.raises(MissingKeyError, match="keystore"):
        keyring.key(sealed.key_id)


def keystore_file(sealed: Sealed, folder: Path, name: str = "", **changes: Any) -> Path:
    """The key of an archive of 1.9 or later, as 1.8 would have it on disk."""
    (wrapped,) = sealed.root_keys.WrappedKeys.iloc[0]
    meta = {"KeyID": sealed.key_id, "Algorithm": "aes256-gcm", "CreateTime": 1, "State": "active"}
    document = {
        "Meta": meta,
        "Provider": "aead",
        "ProviderID": "aead",
        "WrappedDEK": wrapped["WrappedDataEncryptionKey"],
        "WrappedRSAKey": wrapped["WrappedRSAKey"],
        "KEK": wrapped["KeyEncryptionKey"],
    }
    folder.mkdir(exist_ok=True)
    path = folder / (name or f"{sealed.key_id}.aead.nks.json")
    path.write_text(json.dumps({k: v for k, v in (document | changes).items() if v is not None}))
    return folder


def test_a_keystore_opens_what_the_state_has_no_material_of(sealed: Sealed, tmp_path: Path) -> None:
    keystore = keystore_file(sealed, tmp_path)
    empty = sealed.with_key(KeyEncryptionKey=None)
    assert Keyring(empty.table, keystore).key(sealed.key_id) == Keyring(sealed.table).key(sealed.key_id)


@pytest.mark.parametrize("name", ["{}.nks.json", "{}.aead.nks.json"])
def test_both_forms_of_a_keystore_files_name(name: str, sealed: Sealed, tmp_path: Path) -> None:
    keystore_file(sealed, tmp_path, name.format(sealed.key_id))
    assert Keyring(sealed.with_key(KeyEncryptionKey=None).table, tmp_path).material(sealed.key_id) == "here"


def test_the_signing_key_of_1_7_stands_under_its_old_name(sealed: Sealed, tmp_path: Path) -> None:
    (wrapped,) = sealed.root_keys.WrappedKeys.iloc[0]
    old = {
        "DEK": wrapped["WrappedDataEncryptionKey"]["ciphertext"],
        "RSAKey": wrapped["WrappedRSAKey"]["ciphertext"],
        **dict.fromkeys(("WrappedDEK", "WrappedRSAKey", "Provider", "ProviderID")),
    }
    empty = sealed.with_key(KeyEncryptionKey=None)
    keystore_file(sealed, tmp_path, f"{sealed.key_id}.nks.json", **old)
    assert Keyring(empty.table, tmp_path).material(sealed.key_id) == "here"
    keystore_file(sealed, tmp_path, f"{sealed.key_id}.nks.json", **old | {"RSAKey": old["DEK"][:-8] + "AAAAAAA="})
    assert Keyring(empty.table, tmp_path).material(sealed.key_id) == "damaged"


def test_a_kms_of_a_name_of_its_own_in_a_keystore(sealed: Sealed, tmp_path: Path) -> None:
    changes = {"Provider": "main", "ProviderID": "transit.main", "KEK": None}
    keystore_file(sealed, tmp_path, f"{sealed.key_id}.transit.main.nks.json", **changes)
    keyring = Keyring(sealed.with_key(KeyEncryptionKey=None).table, tmp_path)
    with pytest.raises(ExternalKeyError, match="only transit"):
        keyring.key(sealed.key_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"Meta": None},
        {"Meta": {"KeyID": "of another", "Algorithm": "aes256-gcm", "CreateTime": 1, "State": "active"}},
        {"Surplus": 1},
        {"ProviderID": 5},
        {"ProviderID": "transit"},
        {"KEK": "!"},
        {"WrappedDEK": None},
        {"WrappedDEK": {"ciphertext": "AAAA", "key_info": {"key_id": "another"}}},
        {"WrappedDEK": {"ciphertext": "AAAA", "key_info": 5}},
    ],
)
def test_a_keystore_file_that_is_not_as_nomad_writes_it_is_refused(
    changes: dict[str, Any], sealed: Sealed, tmp_path: Path
) -> None:
    keystore_file(sealed, tmp_path, **changes)
    with pytest.raises(KeyringError) as caught:
        Keyring(sealed.table, tmp_path)
    assert f"{sealed.key_id}.aead.nks.json" in caught.value.where
    assert caught.value.advice


def test_two_copies_of_a_key_must_be_the_same(sealed: Sealed, tmp_path: Path) -> None:
    nonce, kek = bytes(12), bytes(32)
    other = base64.b64encode(nonce + AESGCM(kek).encrypt(nonce, bytes(32), None)).decode()
    changes: dict[str, Any] = {"WrappedDEK": {"ciphertext": other}, "WrappedRSAKey": None}
    changes["KEK"] = base64.b64encode(kek).decode()
    keyring = Keyring(sealed.table, keystore_file(sealed, tmp_path, **changes))
    with pytest.raises(WrongKeyError) as caught:
        keyring.key(sealed.key_id)
    assert caught.value.what == "is not the same key twice"


@pytest.mark.parametrize("plain", [b"5", b"[]", b'{"a": 5}', b"{", b"\xff", b"[" * 100_000])
def test_a_variable_that_opens_to_no_items_is_said(plain: bytes, sealed: Sealed) -> None:
    keyring, nonce = Keyring(sealed.table), bytes(12)
    data = nonce + AESGCM(keyring.key(sealed.key_id)).encrypt(nonce, plain, sealed.key_id.encode())
    with pytest.raises(KeyringError, match="opens, but not to"):
        keyring.open_variable("n", "p", sealed.key_id, data)


def test_no_key_is_in_a_repr(sealed: Sealed) -> None:
    keyring = Keyring(sealed.table)
    key = keyring.key(sealed.key_id)
    (wrapped,) = keyring.wrapped[sealed.key_id]
    shown = repr(keyring) + repr(wrapped) + str(wrapped)
    assert sealed.key_id in shown
    for secret in (key, wrapped.kek, wrapped.wrapped):
        assert repr(secret)[2:-1] not in shown
        assert base64.b64encode(secret).decode() not in shown


# -- how keys stand

DTYPES = {
    "State": "str",
    "CreateTime": "datetime64[ns, UTC]",
    "Age": "timedelta64[ns]",
    "Providers": "str",
    "Places": "str",
    "Material": "str",
    "Variables": "Int64",
    "Allocs": "Int64",
    "Nodes": "Int64",
    "Orphaned": "str",
}


def counted(snap: snapkit.Snapshot, table: str, name: str) -> dict[str, int]:
    """How often each root key is named, by objects one by one."""
    named = [str(o.get(name) or "") for o in snap.objects(table)]
    return {key: named.count(key) for key in set(named) - {""}}


@pytest.mark.parametrize("archive", ARCHIVES)
def test_every_key_is_reported_with_what_uses_it(archive: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    found = snap.keyring(keystore(archive))
    assert found.dtypes.astype(str).to_dict() == DTYPES
    assert (found.index.name, str(found.index.dtype), found.index.is_unique) == ("KeyID", "str", True)
    uses = {
        "Variables": counted(snap, "variables", "KeyID"),
        "Allocs": counted(snap, "allocs", "SigningKeyID"),
        "Nodes": counted(snap, "nodes", "IdentitySigningKeyID"),
    }
    stated = {o["KeyID"]: o["State"] for t in ("root_key_meta", "root_keys") for o in snap.objects(t)}
    assert set(found.index) == set(stated).union(*uses.values())
    for name, of_each in uses.items():
        assert found[name].to_dict() == {key: of_each.get(key, 0) for key in found.index}
    assert found.State.dropna().to_dict() == stated
    if archive.partition("/")[0] in ("v1.4.14", "v1.8.4", "v2.0.5"):
        (row,) = found.to_dict("records")
        place = "keystore" if archive in IN_KEYSTORE else "state"
        about = {"State": "active", "Providers": "aead", "Places": place, "Material": "here", "Orphaned": ""}
        assert row.items() >= about.items()
        assert snap.meta.created is not None
        assert row["Age"] == snap.meta.created - row["CreateTime"]


def test_the_age_is_by_the_given_time(open_: Open) -> None:
    snap = open_(path_of("v2.0.5/monday"))
    created = snap.keyring().CreateTime.iloc[0]
    assert list(snap.keyring(now=created + pd.Timedelta(days=400)).Age) == [pd.Timedelta(days=400)]


@pytest.mark.parametrize(
    ("table", "change", "material", "orphaned"),
    [
        ("root_keys", lambda r: r.update({b"WrappedKeys": []}), "missing", "missing"),
        ("root_keys", lambda r: r[b"WrappedKeys"][0].update({b"KeyEncryptionKey": bytes(32)}), "damaged", "missing"),
        ("root_keys", lambda r: r[b"WrappedKeys"][0].update({b"Provider": b"awskms"}), "external", ""),
        ("root_keys", lambda r: r.update({b"State": b"inactive"}), "here", ""),
    ],
)
def test_a_key_that_is_needed_and_not_there_is_told(
    table: str, change: Callable[[dict[bytes, Any]], Any], material: str, orphaned: str, open_: Open
) -> None:
    found = open_(changed("v2.0.5/monday", table, change)).keyring()
    assert (list(found.Material), list(found.Orphaned)) == ([material], [orphaned])
    assert list(found.Variables) == [4]


@pytest.mark.parametrize(
    ("state", "orphaned"),
    [(b"active", ""), (b"prepublished", ""), (b"inactive", "unused"), (b"rekeying", "unused"), (None, "unused")],
)
def test_a_key_that_nothing_uses_is_orphaned_unless_it_is_for_what_comes(
    state: bytes | None, orphaned: str, open_: Open
) -> None:
    def other(record: dict[bytes, Any]) -> bool:
        record[b"KeyID"] = b"0" * 36
        record[b"State"] = state
        for name in (b"WrappedDataEncryptionKey", b"WrappedRSAKey"):
            del record[b"WrappedKeys"][0][name][b"KeyInfo"]
        return True

    with snapkit.open(path_of("v2.0.5/monday")) as snap:
        data = b"".join(edited(snap, {"root_keys": other}))
        used = str(snap.variables.KeyID.iloc[0])
    found = open_(data).keyring()
    assert found.Orphaned.to_dict() == {"0" * 36: orphaned, used: "missing"}
    assert found.Material.to_dict() == {"0" * 36: "here", used: "missing"}
    assert found.Variables.to_dict() == {"0" * 36: 0, used: 4}
    assert found.Nodes.to_dict() == {"0" * 36: 0, used: 3}
    assert pd.isna(found.State[used])
    assert pd.isna(found.CreateTime[used])
    assert found.Age.isna().all(), "a bare state does not say when it was taken"


def test_a_keystore_of_another_cluster_opens_nothing_and_is_unused(open_: Open) -> None:
    found = open_(path_of("v1.8.4/monday")).keyring(DATA / "v1.4.14" / "keystore")
    assert sorted(zip(found.Material, found.Orphaned, found.Places, strict=True)) == [
        ("here", "unused", "keystore"),
        ("missing", "missing", ""),
    ]


def test_the_report_shows_no_key(open_: Open) -> None:
    snap = open_(path_of("v2.0.5/monday"))
    (wrapped,) = snap.get("root_keys", *snap.root_keys.index, reveal=True)["WrappedKeys"]
    shown = snap.keyring().to_string() + str(snap.keyring().to_dict())
    assert wrapped["KeyEncryptionKey"] not in shown
    assert wrapped["WrappedDataEncryptionKey"]["ciphertext"] not in shown
