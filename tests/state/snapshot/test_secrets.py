"""Secrets: masked in all that a snapshot gives unless asked for by name, and equal ones told to be equal."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

import snapkit
from snapkit.errors import RecordError, SnapshotError
from snapkit.format.schema import BY_TABLE, SECRETS, TYPES, Type, fields
from snapkit.state.output.export import export
from snapkit.state.snapshot.secrets import masker

from ...conftest import ARCHIVES, ROOT, path_of
from .. import samples

Open = Callable[..., snapkit.Snapshot]

MASKED = re.compile("masked:[0-9a-f]{12}")

#: Where the format guide (section 3) and Nomad's structs have secrets; `Struct.Field`, and all that is below it.
PLACES = [
    "ACLToken.SecretID",
    "Node.SecretID",
    "CSIVolume.Secrets",
    "VaultAccessor.Token",
    "Job.VaultToken",
    "Job.ConsulToken",
    "Job.Payload",
    "Task.Env",
    "Task.Config",
    "Template.EmbeddedTmpl",
    "SidecarTask.Env",
    "SidecarTask.Config",
    "TaskArtifact.GetterHeaders",
    "TaskArtifact.GetterOptions",
    "ServiceCheck.Header",
    "Secret.Env",
    "Secret.Config",
    "JobSubmission.Source",
    "JobSubmission.Variables",
    "JobSubmission.VariableFlags",
    "ACLAuthMethodConfig.OIDCClientSecret",
    "OIDCClientAssertion.ClientSecret",
    "OIDCClientAssertionKey.PemKey",
    "Evaluation.LeaderACL",
    "Allocation.SignedIdentities",
    "WrappedKey.KeyEncryptionKey",
    "v2.BlobInfo.Plaintext",
    "v2.KeyInfo.Key",
    "CSIMountOptions.MountFlags",
    "ConsulHTTPHeaderModifiers.Add",
    "ConsulHTTPHeaderModifiers.Set",
    "OIDCClientAssertion.ExtraHeaders",
    "ServiceCheck.Body",
]
CANARY = "canary"


def planted(value: Any, kind: Type, table: str, inside: str = "") -> Any:
    """A record in which each text and byte string in a secret place is a canary that names the place."""
    if isinstance(value, dict):
        known = fields(kind.struct)
        return {
            key: planted(item, known[key].type, table, inside or (place if place in PLACES else ""))
            if key in known and (place := f"{kind.struct}.{key}")
            else planted(item, kind.element or Type("any"), table, inside)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [planted(item, kind.element or Type("any"), table, inside) for item in value]
    if inside and isinstance(value, str | bytes):
        canary = f"{CANARY}-{table}-{inside};"
        return canary.encode() if isinstance(value, bytes) else canary
    return value


def records() -> dict[str, list[Any]]:
    """A record of each type with a canary wherever a secret can be, those of older releases too."""
    made = {}
    for kind in TYPES:
        value = samples.struct(kind.struct)
        if kind.struct == "Job":
            value |= {"VaultToken": "x", "ConsulToken": "x"}
        if kind.struct == "VaultAccessor":
            value["Token"] = "x"
        made[kind.table] = [planted(value, Type("struct", struct=kind.struct), kind.table)]
    return made


PLANTED = records()


def leaks(text: Any) -> set[str]:
    """The places whose canaries are in a text, in base64 too."""
    found = str(text)
    for word in set(re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", found)):
        with_padding = word + "=" * (-len(word) % 4)
        try:
            found += "\n" + base64.b64decode(with_padding).decode("latin-1")
        except ValueError:
            continue
    return {place for place in PLACES if f"-{place};" in found}


@pytest.fixture
def snap(open_: Open) -> snapkit.Snapshot:
    return open_(samples.archive(PLANTED))


def test_the_schema_masks_what_the_guide_names() -> None:
    assert set(PLACES) == SECRETS


def test_every_place_is_planted() -> None:
    assert leaks(PLANTED) == set(PLACES)


# -- masked everywhere


def everything(snap: snapkit.Snapshot, reveal: bool) -> dict[str, str]:
    """All that a snapshot gives, by the way it gives it."""
    shown = dict.fromkeys(("tables", "strings", "columns", "get", "objects", "arrow", "nested arrow", "subset"), "")
    for table in snap.tables.index:
        whole = snap.table(table, snap.columns(table), reveal=reveal)
        shown["tables"] += snap.table(table, reveal=reveal).to_csv()
        shown["strings"] += snap.table(table, reveal=reveal).to_string()
        shown["columns"] += whole.to_csv() + str(whole.to_dict())
        key = whole.index[0] if BY_TABLE[table].key else ()
        shown["get"] += str(snap.get(table, *((key,) if key != () else ()), reveal=reveal))
        shown["objects"] += str(list(snap.objects(table, reveal=reveal)))
        if table != "time_table":  # whose records are lists
            shown["subset"] += str(list(snap.objects(table, dict.fromkeys(snap.columns(table)), reveal=reveal)))
        shown["arrow"] += str(snap.arrow(table, reveal=reveal).to_pylist())
        shown["nested arrow"] += str(snap.arrow(table, nested=True, reveal=reveal).to_pylist())
    return shown


NOT_IN_JSON = {"Allocation.SignedIdentities"}


def test_nothing_that_it_gives_has_a_secret(snap: snapkit.Snapshot) -> None:
    shown = everything(snap, reveal=False)
    assert {way: leaks(text) for way, text in shown.items() if leaks(text)} == {}
    assert all(MASKED.search(text) for text in shown.values())
    assert leaks(repr(snap) + snap._repr_html_() + snap.tables.to_string()) == set()


def test_all_secrets_are_there_when_asked_for(snap: snapkit.Snapshot) -> None:
    shown = everything(snap, reveal=True)
    flat = {place for place in PLACES if not fields(place.rpartition(".")[0])[place.rpartition(".")[2]].type.nested}
    for way in ("columns", "nested arrow"):
        assert leaks(shown[way]) == set(PLACES), way
    for way in ("get", "objects", "subset"):
        assert leaks(shown[way]) == set(PLACES) - NOT_IN_JSON, way
    for way in ("tables", "arrow"):
        assert leaks(shown[way]) == {p for p in flat if any(p.startswith(f"{kind.struct}.") for kind in TYPES)}, way
    assert not any(MASKED.search(text) for text in shown.values())


def test_a_search_reports_hits_in_secrets_and_masks_them(snap: snapkit.Snapshot) -> None:
    for wanted in ("canary", b"canary-", "Secret", "canary-nodes"):
        found = snap.search(wanted)
        assert len(found) > 0
        assert leaks(found.to_csv()) == set()
        assert all(MASKED.fullmatch(context) for context in found.Context)
        revealed = snap.search(wanted, reveal=True)
        assert leaks(revealed.to_csv())
        assert not any(MASKED.search(context) for context in revealed.Context)
        assert list(revealed.Path) == list(found.Path)
    assert {path.rpartition(".")[2] for path in snap.search("canary-acl_tokens").Path} == {"SecretID"}
    for place in PLACES:
        assert leaks(snap.search(f"-{place};", reveal=True).to_csv()) == {place}
        assert leaks(snap.search(f"-{place};").to_csv()) == set()


def exported(snap: snapkit.Snapshot, folder: Path, form: str, reveal: bool) -> str:
    target = folder / (f"{reveal}.{form}" if form in ("sqlite", "duckdb") else str(reveal))
    export(snap, target, format=form, reveal=reveal)
    if form == "duckdb":
        with duckdb.connect(str(target), read_only=True) as connection:
            return "".join(str(connection.sql(f'SELECT * FROM "{t}"').fetchall()) for t in snap.tables.index)
    if form == "sqlite":
        with closing(sqlite3.connect(target)) as connection_:
            return "".join(str(connection_.execute(f'SELECT * FROM "{t}"').fetchall()) for t in snap.tables.index)
    if form == "parquet":
        return "".join(str(pd.read_parquet(path).to_dict()) for path in target.iterdir())
    return "".join(path.read_text(encoding="utf-8") for path in target.iterdir())


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "sqlite", "duckdb"])
def test_an_export_has_secrets_only_when_asked_for(form: str, snap: snapkit.Snapshot, tmp_path: Path) -> None:
    shown = exported(snap, tmp_path, form, reveal=False)
    assert leaks(shown) == set()
    assert MASKED.search(shown)
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert leaks(exported(snap, tmp_path, form, reveal=True)) == set(PLACES)


@pytest.mark.parametrize("value", [["canary"], {"a": "canary"}, 77_777])
@pytest.mark.parametrize(("table", "name"), [("nodes", "SecretID"), ("jobs", "Payload"), ("acl_tokens", "SecretID")])
def test_no_error_shows_a_secret_of_another_type(table: str, name: str, value: Any, open_: Open) -> None:
    snap = open_(samples.archive({table: [dict.fromkeys(BY_TABLE[table].key, "k") | {name: value}]}))
    for ask in (snap.table, snap.arrow):
        with pytest.raises(RecordError) as caught:
            ask(table)
        assert "canary" not in str(caught.value)
        assert "77777" not in str(caught.value)
    assert "canary" not in str(snap.get(table, *"k" * len(BY_TABLE[table].key)))


def test_frames_with_and_without_secrets_are_not_mixed_up(snap: snapkit.Snapshot) -> None:
    assert leaks(snap.nodes.to_csv()) == set()
    assert leaks(snap.table("nodes", reveal=True).to_csv()) == {"Node.SecretID"}
    assert leaks(snap.nodes.to_csv()) == set()


def test_an_empty_secret_is_shown_as_empty(open_: Open) -> None:
    rows = [{"ID": "a", "SecretID": ""}, {"ID": "b", "SecretID": None}]
    snap = open_(samples.archive({"nodes": rows}))
    assert snap.nodes.SecretID["a"] == ""
    assert snap.nodes.SecretID.isna()["b"]
    assert snap.get("nodes", "a")["SecretID"] == ""


# -- fingerprints


def fingerprints(source: bytes, **kwargs: Any) -> list[str]:
    with snapkit.open(source, **kwargs) as snap:
        return list(snap.nodes.SecretID)


def test_equal_secrets_have_equal_fingerprints_under_one_key() -> None:
    source = samples.archive(
        {"nodes": [{"ID": i, "SecretID": s} for i, s in [("a", "one"), ("b", "one"), ("c", "two")]]}
    )
    a, b, c = fingerprints(source)
    assert all(map(MASKED.fullmatch, (a, b, c)))
    assert a == b != c
    assert fingerprints(source) == [a, b, c], "of this process"
    kept = fingerprints(source, key="mine")
    assert fingerprints(source, key=b"mine") == kept
    assert len({a, *kept[1:], *fingerprints(source, key="other")[1:]}) == 5, "under other keys all differ"


def test_a_fingerprint_is_the_same_in_a_table_an_object_a_search_and_arrow(snap: snapkit.Snapshot) -> None:
    shown = snap.acl_tokens.SecretID.iloc[0]
    assert snap.get("acl_tokens", "text-x")["SecretID"] == shown
    assert list(snap.search("canary-acl_tokens").Context) == [shown]
    assert snap.arrow("acl_tokens")["SecretID"].to_pylist() == [shown]
    assert shown == masker()(PLANTED["acl_tokens"][0]["SecretID"].encode())  # type: ignore[misc]


#: In a process of its own: what two snapshots show of the same secrets, in every way of showing them.
LINKABLE = """
import csv, json, sys, tempfile
from pathlib import Path
import snapkit
from snapkit.state.output.export import export
from snapkit.state.snapshot.secrets import masker
from tests.state import samples

key = sys.argv[1] or None
one = samples.archive({"nodes": [{"ID": i, "SecretID": "the same secret"} for i in "ab"], "acl_tokens": []})
two = samples.archive({"nodes": [{"ID": i, "SecretID": "another secret"} for i in "ab"], "acl_tokens": []})
with snapkit.open(one, key=key) as a, snapkit.open(two, key=key) as b, tempfile.TemporaryDirectory() as folder:
    export(a, Path(folder) / "out.csv", tables=["nodes"])
    fields = snapkit.compare(a, b, key=key).fields
    print(json.dumps({
        "table": list(a.nodes.SecretID),
        "get": [a.get("nodes", "a")["SecretID"]],
        "search": list(a.search("same secret").Context),
        "export": [row["SecretID"] for row in csv.DictReader((Path(folder) / "out.csv").open())],
        "compare": list(fields[fields.Path == "SecretID"].Before),
        "masker": [masker(key)(b"the same secret")],
    }))
"""


def shown_by_a_process(key: str) -> dict[str, list[str]]:
    """The fingerprint of one secret, by the way it is shown."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LINKABLE, key], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_fingerprints_link_equal_secrets_in_one_process_and_across_processes_by_a_key_alone() -> None:
    without = [shown_by_a_process("") for _ in range(2)]
    with_key = [shown_by_a_process("mine") for _ in range(2)]
    for shown in (*without, *with_key):
        assert all(shown.values())
        assert all(MASKED.fullmatch(one) for ways in shown.values() for one in ways)
        assert len({one for ways in shown.values() for one in ways}) == 1, "however it is shown"
    one, other = (shown["table"][0] for shown in without)
    assert one != other
    assert with_key[0] == with_key[1]
    assert with_key[0]["table"][0] not in (one, other)


def test_text_and_bytes_that_are_equal_have_one_fingerprint(open_: Open) -> None:
    job = {"Namespace": "n", "ID": "j", "Payload": b"the same"}
    snap = open_(samples.archive({"nodes": [{"ID": "a", "SecretID": "the same"}], "jobs": [job]}))
    payload = snap.table("jobs", ["Payload"]).Payload.iloc[0]
    assert payload.decode() == snap.nodes.SecretID.iloc[0]
    assert MASKED.fullmatch(snap.nodes.SecretID.iloc[0])


@pytest.mark.parametrize("key", ["", b""])
def test_an_empty_key_is_refused(key: str | bytes) -> None:
    with pytest.raises(SnapshotError, match="is empty"):
        snapkit.open(path_of("v2.0.5/monday"), key=key)


# -- real archives


@pytest.mark.parametrize("archive", ARCHIVES)
def test_no_key_or_variable_is_shown_without_being_asked_for(archive: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    shown = "".join(snap.table(t, snap.columns(t)).to_csv() for t in snap.tables.index)
    assert "battery staple" not in shown
    for keys in snap.table("root_keys", ["WrappedKeys"], reveal=True).WrappedKeys:
        for key in keys or ():
            assert key["KeyEncryptionKey"] not in shown


def test_no_source_shows_a_secret_of_a_stream(open_: Open) -> None:
    assert leaks(repr(open_(io.BytesIO(samples.archive(PLANTED))))) == set()
