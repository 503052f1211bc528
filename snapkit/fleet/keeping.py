"""How a catalog is kept: one Parquet file in a folder of its own, and the key of its fingerprints beside it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from snapkit.errors import SnapshotError, SourceError, TargetExistsError
from snapkit.files import atomic
from snapkit.fleet.entries import Entry, Table

CATALOG, KEY = "catalog.parquet", "key"
SCHEMA = "snapkit.catalog/1"
KEY_BYTES = 32

_TABLES = pa.list_(
    pa.struct([("name", pa.string()), ("type", pa.string()), ("count", pa.int64()), ("bytes", pa.int64())])
)
_KINDS = {
    "size": pa.int64(),
    "modified": pa.int64(),
    "created": pa.int64(),
    "index": pa.uint64(),
    "term": pa.uint64(),
    "state_bytes": pa.uint64(),
    "findings": pa.int64(),
    "tables": _TABLES,
}
_COLUMNS = pa.schema([(f.name, _KINDS.get(f.name, pa.string())) for f in fields(Entry) if f.name != "report"])


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
        if about.get(b"snapkit") != SCHEMA.encode():
            raise ValueError(f"it is not of {SCHEMA}")
        if about.get(b"target", b"").decode() != (target or ""):
            return {}
        rows = table.cast(_COLUMNS).to_pylist()
        entries = [Entry(**row | {"tables": tuple(Table(**t) for t in row["tables"])}) for row in rows]
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror or error})", str(path), "check its mode") from error
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        advice = "move it away, and all archives are read again"
        raise SnapshotError(f"is no catalog as it is kept here ({reason:.200})", str(path), advice) from error
    return {entry.location: entry for entry in entries}


def save(store: Path | None, entries: Iterable[Entry], target: str | None) -> None:
    """Keep entries in place of those that are kept.

    Raises:
        SourceError: It can't be written.
    """
    if store is None:
        return
    rows = []
    for entry in entries:
        row = {f.name: getattr(entry, f.name) for f in fields(entry) if f.name != "report"}
        rows.append(row | {"tables": [asdict(table) for table in entry.tables]})
    schema = _COLUMNS.with_metadata({"snapkit": SCHEMA, "target": target or ""})
    with atomic(_folder(store) / CATALOG, overwrite=True) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema), file, compression="zstd")


# -- as frames


def _ordered(entries: Iterable[Entry]) -> list[Entry]:
    """By cluster, time and index; those of which one is not known last."""

    def place(entry: Entry) -> tuple[Any, ...]:
        unknown = not entry.cluster_id
        return unknown, entry.cluster_id, *_known(entry.created), *_known(entry.index), entry.location

    return sorted(entries, key=place)


def _known(value: int | None) -> tuple[bool, int]:
    return value is None, value or 0


def archives_frame(entries: Iterable[Entry]) -> pd.DataFrame:
    """As `Catalog.archives`."""
    ordered = _ordered(entries)

    def text(values: Iterable[str]) -> Any:
        return pd.array(list(values), dtype="str")

    def times(values: Iterable[int | None], unit: int) -> Any:
        nanoseconds = [value * unit if value is not None and value * unit < 2**63 else None for value in values]
        return pd.to_datetime(pd.array(nanoseconds, dtype="Int64"), unit="ns", utc=True)

    return pd.DataFrame(
        {
            "Name": text(e.source.rpartition("/")[2] for e in ordered),
            "ClusterID": text(e.cluster_id for e in ordered),
            "Region": text(e.region for e in ordered),
            "Created": times((e.created for e in ordered), 1_000_000),
            "Index": pd.array([e.index for e in ordered], dtype="UInt64"),
            "Term": pd.array([e.term for e in ordered], dtype="UInt64"),
            "Version": text(e.version for e in ordered),
            "Size": pd.array([e.size for e in ordered], dtype="Int64"),
            "StateBytes": pd.array([e.state_bytes for e in ordered], dtype="UInt64"),
            "Level": text(e.level for e in ordered),
            "Verdict": text(e.verdict for e in ordered),
            "Findings": pd.array([e.findings for e in ordered], dtype="Int64"),
            "Error": text(e.error for e in ordered),
            "SHA256": text(e.sha256 for e in ordered),
            "Modified": times((e.modified for e in ordered), 1),
            "ETag": text(e.etag for e in ordered),
        },
        index=pd.Index(text(e.source for e in ordered), name="Source"),
    )


def tables_frame(entries: Iterable[Entry]) -> pd.DataFrame:
    """As `Catalog.tables`."""
    rows = [(e.source, t) for e in _ordered(entries) for t in e.tables]
    index = pd.MultiIndex.from_arrays(
        [
            pd.Index([source for source, _ in rows], dtype="str"),
            pd.Index([table.name for _, table in rows], dtype="str"),
        ],
        names=["Source", "Table"],
    )
    return pd.DataFrame(
        {
            "Type": pd.array([table.type for _, table in rows], dtype="str"),
            "Count": pd.array([table.count for _, table in rows], dtype="Int64"),
            "Bytes": pd.array([table.bytes for _, table in rows], dtype="Int64"),
        },
        index=index,
    )
