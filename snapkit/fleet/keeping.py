"""How a catalog is kept: one Parquet file in a folder of its own, and the key of its fingerprints beside it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from sys import intern
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snapkit.errors import SnapshotError, SourceError, TargetExistsError
from snapkit.files import atomic
from snapkit.fleet.entries import Entry, Table
from snapkit.state.findings.report import Finding

CATALOG, KEY = "catalog.parquet", "key"
SCHEMA = "snapkit.catalog/2"
BEFORE = "snapkit.catalog/1"  # which did not note by which snapkit
KEY_BYTES = 32

_TABLES = pa.list_(
    pa.struct([("name", pa.string()), ("type", pa.string()), ("count", pa.int64()), ("bytes", pa.int64())])
)
_FINDINGS = pa.list_(pa.struct([(f.name, pa.string()) for f in fields(Finding)]))
_KINDS = {
    "size": pa.int64(),
    "modified": pa.int64(),
    "created": pa.int64(),
    "index": pa.uint64(),
    "term": pa.uint64(),
    "state_bytes": pa.uint64(),
    "tables": _TABLES,
    "found": _FINDINGS,
}
_NOT_KEPT = "checks"
_COLUMNS = pa.schema([(f.name, _KINDS.get(f.name, pa.string())) for f in fields(Entry) if f.name != _NOT_KEPT])


def _folder(store: Path) -> Path:
    """The folder of a store, made if need be: for its owner alone."""
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"can't be made ({error.strerror})", str(store), "choose a folder that you own") from error
    return store


def key(store: Path) -> bytes:
    """The key of fingerprints that belongs to a store; made when it is first asked for.

    Raises:
        SourceError: It can't be read or written.
        SnapshotError: What is there is none.
    """
    path = _folder(store) / KEY
    try:
        with atomic(path) as file:
            file.write(secrets.token_bytes(KEY_BYTES))
    except TargetExistsError:
        pass
    try:
        found = path.read_bytes()
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror})", str(path), "check its mode") from error
    if len(found) != KEY_BYTES:
        raise SnapshotError("is no key of fingerprints", str(path), "move it away: a new one is made")
    return found


def load(store: Path | None, target: str | None) -> dict[str, Entry]:
    """The entries that are kept, by location; none if nothing is kept, or it was verified for another target.

    Raises:
        SourceError: It can't be read.
        SnapshotError: It is no catalog, or was altered.
    """
    if store is None or not (path := store / CATALOG).exists():
        return {}
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
        about = table.schema.metadata or {}
        if about.get(b"snapkit") == BEFORE.encode():
            for name in ("snapkit", "made_of"):
                table = table.append_column(name, pa.array([""] * len(table)))
        elif about.get(b"snapkit") != SCHEMA.encode():
            raise ValueError(f"it is not of {SCHEMA}")
        if about.get(b"target", b"").decode() != (target or ""):
            return {}
        rows = table.cast(_COLUMNS).to_pylist()
        entries = [Entry(**row | _from_lists(row)) for row in rows]
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror or error})", str(path), "check its mode") from error
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        advice = "move it away, and all archives are read again"
        raise SnapshotError(f"is no catalog as it is kept here ({reason:.200})", str(path), advice) from error
    return {entry.location: entry for entry in entries}


def _from_lists(row: dict[str, Any]) -> dict[str, Any]:
    # Texts that thousands of archives have in common are there once.
    found = (Finding(**f | {name: intern(f[name]) for name in ("check", "severity", "advice")}) for f in row["found"])
    shared = {name: intern(row[name]) for name in ("snapkit", "made_of")}
    return shared | {"tables": tuple(Table(**t) for t in row["tables"]), "found": tuple(found)}


def save(store: Path | None, entries: Iterable[Entry], target: str | None) -> None:
    """Keep entries in place of those that are kept.

    Raises:
        SourceError: It can't be written.
    """
    if store is None:
        return
    rows = [asdict(entry) for entry in entries]
    schema = _COLUMNS.with_metadata({"snapkit": SCHEMA, "target": target or ""})
    with atomic(_folder(store) / CATALOG, overwrite=True) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema), file, compression="zstd")
