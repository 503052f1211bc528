"""The records of many archives as Parquet files, each distinct record once: for SQL, for pandas, for a history.

Consecutive snapshots share most of their records. A record is known again by a keyed hash of its bytes in state.bin, so
what did not change costs some bits a snapshot. A folder of a store:

    snapshots.json                                          what counts: replaced whole, after the files that it names
    members/cluster=<ClusterID>/snapshot=<name>/0.parquet   table, record_id: what a snapshot holds
    records/table=<table>/cluster=<ClusterID>/snapshot=<name>/0.parquet   the records first met in that snapshot

The files can be read by whatever reads Parquet. Secrets are masked by the workers that read archives, with the key of
the catalog: equal ones look equal across archives and runs. Whoever has that key can try guesses against fingerprints,
and a weak secret (not Nomad's own random ones) may be found that way: keep the key as you keep the archives.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import io
import json
import os
import re
import tempfile
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from snapkit.errors import NotInSnapshotError, SnapshotError, SourceError
from snapkit.files import atomic
from snapkit.fleet.places import Place
from snapkit.fleet.running import Runner
from snapkit.format.archive import Progress
from snapkit.format.schema import BY_TABLE, TYPES, RecordType, fields
from snapkit.format.values import Buffer, Mask
from snapkit.state.snapshot.tables import SCALARS, TEXT, TIMES, Rows, to_frame

SCHEMA = "snapkit.dataset/1"
OTHER = "Other"  # the column of fields that the schema lacks, as JSON
CHUNK = 8 << 20  # bytes of records that are decoded at once
HASH = 16  # bytes
SAVED_EVERY = 5.0  # seconds of work that a process that is killed loses at most
#: Tables about other tables, in which every write moves something: extracted only if asked for by name.
NOISY = ("indexes",)
#: Not to be had: what it holds has no key, and each snapshot has all of it in one record.
WITHOUT = ("time_table",)
DEFAULT = tuple(kind.table for kind in TYPES if kind.table not in {*NOISY, *WITHOUT})
#: What a view has ahead of Nomad's fields.
OF_SNAPSHOT = ("Snapshot", "ClusterID", "Created", "Index")

_MEMBERS = pa.schema(
    [("table", pa.string()), ("record_id", pa.int64()), ("cluster", pa.string()), ("snapshot", pa.string())]
)


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that is whole, as the catalog has it.

    Attributes:
        place: Where it is.
        cluster: Its ClusterID; "" if unknown.
        created: When it was taken; None if unknown.
        index: Raft's index; None if unknown.
        sha256: Of the file.
    """

    place: Place
    cluster: str
    created: pd.Timestamp | None
    index: int | None
    sha256: str

    @property
    def name(self) -> str:
        """What the dataset calls it: equal for equal archives, wherever they are."""
        taken = f"{self.created:%Y%m%dT%H%M%SZ}" if self.created is not None else "undated"
        return f"{taken}-{self.index if self.index is not None else 'x'}-{self.sha256[:16]}"


def in_order(archives: Iterable[Archive]) -> list[Archive]:
    """By cluster, time and index; of equal archives the first."""
    undated = pd.Timestamp(0, tz="UTC")
    by_source = sorted(archives, key=lambda a: (a.cluster, a.created or undated, a.index or 0, a.place.source))
    return list({archive.name: archive for archive in reversed(by_source)}.values())[::-1]


# -- what is done to one archive, wherever that is


@dataclass(frozen=True, slots=True)
class _Task:
    place: Place
    tables: tuple[str, ...]
    known: Mapping[str, bytes] = field(repr=False)  # hashes of records that need not be decoded, by table


@dataclass(slots=True)
class _Read:
    """What a worker made of an archive: nothing of it in the clear.

    Attributes:
        hashes: Of all records of each table, one after another.
        records: Those that were not known, by table, as Arrow's stream.
        error: Why there is nothing.
    """

    hashes: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    error: str = ""


def read(task: _Task) -> _Read:
    """Hash all records of some tables of an archive, and decode those that are not known."""
    result = _Read()
    key = hashlib.sha256(task.place.access.key.value).digest()
    try:
        with task.place.open() as snapshot:
            for table in task.tables:
                values = list(snapshot.records(table).values())
                hashes = [hashlib.blake2b(value, key=key, digest_size=HASH).digest() for value in values]
                known = set(_split(task.known.get(table, b"")))
                new = [(h, v) for h, v in zip(hashes, values, strict=True) if h not in known]
                result.hashes[table] = b"".join(hashes)
                if new:
                    result.records[table] = _decoded(BY_TABLE[table], new, snapshot.mask)
                del values, new  # views of the snapshot's memory
    except SnapshotError as error:
        return _Read(error=str(error))
    return result


def _failed(task: _Task, reason: str) -> _Read:
    return _Read(error=f"{task.place.source}: {reason}")


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[i : i + HASH] for i in range(0, len(hashes), HASH)]


def _decoded(kind: RecordType, records: Sequence[tuple[bytes, Buffer]], mask: Mask) -> bytes:
    file = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    with pa.ipc.new_stream(file, record_schema(kind), options=options) as writer:
        for chunk in _chunks(records):
            writer.write_table(_table(kind, chunk, mask))
    return file.getvalue()


def _chunks(records: Sequence[tuple[bytes, Buffer]]) -> Iterator[list[tuple[bytes, Buffer]]]:
    chunk: list[tuple[bytes, Buffer]] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(memoryview(record[1]))
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _table(kind: RecordType, records: Sequence[tuple[bytes, Buffer]], mask: Mask) -> pa.Table:
    rows = Rows.split(kind, [value for _, value in records], lambda _: True)
    known = fields(kind.struct)
    others = {name: rows.objects(name, mask) for name in rows.fields if name not in known}
    rest = [
        json.dumps({name: values[i] for name, values in others.items() if values[i] is not None}, ensure_ascii=False)
        for i in range(rows.count)
    ]
    columns = {
        "record_hash": pa.array([h for h, _ in records], pa.binary(HASH)),
        "record_bytes": pa.array([len(memoryview(value)) + 1 for _, value in records], pa.int64()),
        **{name: rows.column(name, mask) for name in known},
        OTHER: pa.array([None if text == "{}" else text for text in rest], TEXT),
    }
    return pa.table(columns, schema=record_schema(kind))


@cache
def record_schema(kind: RecordType) -> pa.Schema:
    """The columns of a table's records: the same for all releases of Nomad.

    Returns:
        record_hash, record_bytes (in state.bin, type byte included), Nomad's fields with the dtypes of
        `Snapshot.table()` (nested ones as JSON text), and Other: the fields that the schema lacks, as JSON text.
    """
    known = [
        (name, TEXT if f.type.nested else TIMES if f.time_unit else SCALARS[f.type.kind])
        for name, f in fields(kind.struct).items()
    ]
    return pa.schema([("record_hash", pa.binary(HASH)), ("record_bytes", pa.int64()), *known, (OTHER, TEXT)])


# -- all of them


class _Known:
    """The records of a table and a cluster that are there already: the id of each hash."""

    def __init__(self, hashes: pa.ChunkedArray, ids: pa.ChunkedArray) -> None:
        self._hashes = hashes
        self._ids = ids

    def ids(self, hashes: pa.Array) -> pa.Array:
        """The id of each; null for those that are not there."""
        return self._ids.take(pc.index_in(hashes, value_set=self._hashes)).combine_chunks()

    def add(self, hashes: pa.Array, ids: pa.Array) -> None:
        self._hashes = pa.chunked_array([*self._hashes.chunks, hashes])
        self._ids = pa.chunked_array([*self._ids.chunks, ids])

    def hashes(self, ids: pa.Array) -> bytes:
        """The hashes of records, one after another."""
        return b"".join(self._hashes.take(pc.index_in(ids, value_set=self._ids)).to_pylist())


@dataclass(frozen=True, slots=True)
class _Entry:
    """A snapshot of the dataset.

    Attributes:
        cluster: As a folder's name.
        tables: How many records it has of each that was extracted.
        parts: How many files of members it has.
        new: Of each table, which parts have records that were first met here.
    """

    cluster: str
    tables: Mapping[str, int]
    parts: int = 0
    new: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @staticmethod
    def of(found: Mapping[str, Any]) -> _Entry:
        """As snapshots.json has it; raises what damage leads to."""
        tables = {str(table): int(count) for table, count in found["tables"].items()}
        new = {str(table): [int(part) for part in parts] for table, parts in found["new"].items()}
        return _Entry(str(found["cluster"]), tables, int(found["parts"]), new)


class Dataset:
    """The records of many archives in a folder, added to by `extract()`, asked by `sql()` and `table()`."""

    def __init__(self, folder: Path, key: bytes) -> None:
        """Open the dataset of a folder, or begin one with the first `extract()`.

        Args:
            folder: Its own.
            key: Of fingerprints and hashes: always the same.

        Raises:
            SnapshotError: It is none of this version, is damaged, or was made with another key.
        """
        self.folder = folder
        self._check = hmac.new(key, b"snapkit.dataset", hashlib.sha256).hexdigest()
        self._entries: dict[str, _Entry] = {}
        self._next: dict[str, int] = {}
        self._load()

    def _load(self) -> None:
        path = self.folder / "snapshots.json"
        advice = "delete the folder to begin anew: archives are read again"
        try:
            found = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            self._entries, self._next = {}, {}
            return
        except (OSError, ValueError) as error:
            raise SourceError(f"can't be read ({error})", str(path), advice) from error
        try:
            if found["schema"] != SCHEMA:
                raise SourceError(f"is of another version ({found['schema']!r:.40})", str(path), advice)
            if not hmac.compare_digest(str(found["key"]), self._check):
                advice = "give the key that it was made with, or delete the folder to begin anew"
                raise SnapshotError("was made with another key", str(self.folder), advice)
            self._entries = {str(name): _Entry.of(entry) for name, entry in found["snapshots"].items()}
            self._next = {str(table): int(number) for table, number in found["next"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SourceError("is damaged", str(path), advice) from error

    def _save(self) -> None:
        entries = {
            name: {"cluster": e.cluster, "tables": dict(e.tables), "parts": e.parts, "new": dict(e.new)}
            for name, e in self._entries.items()
        }
        value = {"schema": SCHEMA, "key": self._check, "next": self._next, "snapshots": entries}
        with atomic(self.folder / "snapshots.json", overwrite=True) as file:
            file.write(json.dumps(value, separators=(",", ":")).encode())

    def has(self, archive: Archive, table: str) -> bool:
        """Was a table of this archive extracted?"""
        entry = self._entries.get(archive.name)
        return entry is not None and table in entry.tables

    def count(self, archive: Archive, table: str) -> int:
        """How many records an archive has of a table that was extracted."""
        return self._entries[archive.name].tables[table]

    # -- adding to it

    def extract(
        self, archives: Iterable[Archive], runner: Runner, tables: Sequence[str], progress: Progress | None = None
    ) -> pd.DataFrame:
        """Extract what is not there yet: archives whose tables are all there are not read again.

        What was done is kept if it is interrupted. An archive that can't be read is left out, and told.

        Args:
            archives: Whole ones.
            runner: Where they are read. Files are written here.
            tables: Which.
            progress: Called with the bytes of the archives read so far and in all.

        Returns:
            Source (str), Status (str; extracted, there already, left out), Records (Int64; of these tables), New
            (Int64; those that no archive before had), Message (str; why it was left out), by cluster and time.

        Raises:
            NotInSnapshotError: There is no such table.
            SnapshotError: Another process writes to the dataset.
        """
        for table in tables:
            require_table(table)
        ordered = in_order(archives)
        done: dict[str, tuple[str, int | None, str]] = {}
        if self._lacking(ordered, tables):
            with self._locked():
                self._load()  # another process may have added to it since
                todo = self._lacking(ordered, tables)
                so_far, total = 0, sum(archive.place.size or 0 for archive in todo)
                for archive, new, error in self._added(todo, runner, tables):
                    done[archive.name] = ("left out" if error else "extracted", new, error)
                    so_far += archive.place.size or 0
                    if progress is not None:
                        progress(so_far, total)
        rows = []
        for archive in ordered:
            status, new, error = done.get(archive.name, ("there already", 0, ""))
            records = None if error else sum(self.count(archive, table) for table in tables)
            rows.append((archive.place.source, status, records, new, error))
        names = {"Source": "str", "Status": "str", "Records": "Int64", "New": "Int64", "Message": "str"}
        return pd.DataFrame(rows, columns=list(names)).astype(names)

    def _lacking(self, archives: Iterable[Archive], tables: Sequence[str]) -> list[Archive]:
        return [archive for archive in archives if any(not self.has(archive, table) for table in tables)]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise SourceError(
                f"can't be written ({error.strerror})", str(self.folder), "choose another store"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise SnapshotError("is written to by another process", str(self.folder), "wait for it to end") from error
        finally:
            os.close(handle)

    def _added(
        self, todo: Sequence[Archive], runner: Runner, tables: Sequence[str]
    ) -> Iterator[tuple[Archive, int | None, str]]:
        saved = time.monotonic()
        try:
            for cluster in dict.fromkeys(archive.cluster for archive in todo):
                writer = _Writer(self, cluster)
                for archive, found in writer.read([a for a in todo if a.cluster == cluster], runner, tables):
                    new = None if found.error else writer.write(archive, found)
                    if time.monotonic() - saved > SAVED_EVERY:
                        self._save()
                        saved = time.monotonic()
                    yield archive, new, found.error
        finally:
            self._save()

    def _path(self, *parts: str) -> Path:
        """A file of it, in folders that are there, for their owner alone."""
        folder = self.folder
        for part in parts[:-1]:
            folder /= part
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder / parts[-1]

    # -- reading it

    def members(self, archives: Iterable[Archive]) -> ds.Dataset:
        """What snapshots hold: table, record_id, cluster, snapshot (the archive's name)."""
        paths = []
        for name in (archive.name for archive in archives):
            if (entry := self._entries.get(name)) is not None:
                folder = self.folder / "members" / f"cluster={entry.cluster}" / f"snapshot={name}"
                paths += [str(folder / f"{part}.parquet") for part in range(entry.parts)]
        partitioning = ds.partitioning(pa.schema([("cluster", pa.string()), ("snapshot", pa.string())]), flavor="hive")
        base = str(self.folder / "members")
        return ds.dataset(paths, schema=_MEMBERS, format="parquet", partitioning=partitioning, partition_base_dir=base)

    def records(self, table: str, cluster: str | None = None) -> ds.Dataset:
        """The distinct records of a table: record_id, and the columns of `record_schema()`."""
        schema = record_schema(require_table(table))
        paths = [
            str(self._records_file(table, name, entry, part))
            for name, entry in self._entries.items()
            if cluster is None or entry.cluster == folder_name(cluster)
            for part in entry.new.get(table, ())
        ]
        return ds.dataset(paths, schema=schema.insert(0, pa.field("record_id", pa.int64())), format="parquet")

    def _records_file(self, table: str, name: str, entry: _Entry, part: int) -> Path:
        folder = self.folder / "records" / f"table={table}" / f"cluster={entry.cluster}" / f"snapshot={name}"
        return folder / f"{part}.parquet"

    def find(self, table: str, key: Sequence[Any]) -> pa.Table:
        """The records that ever had a key, in the order in which they were first met: as `records()`.

        Raises:
            NotInSnapshotError: The table's key has other fields.
        """
        kind = require_table(table)
        if len(key) != len(kind.key):
            names = ", ".join(kind.key) or "no key"
            raise NotInSnapshotError(f"{len(key)} key fields given, takes {len(kind.key)} ({names})", f"table {table}")
        wanted = pc.scalar(True)
        for name, part in zip(kind.key, key, strict=True):
            if fields(kind.struct)[name].type.kind == "string":
                value: Any = str(part).encode("utf-8", "backslashreplace").decode()
            else:
                try:
                    value = pa.scalar(int(str(part)), record_schema(kind).field(name).type)
                except (ValueError, OverflowError, pa.ArrowException) as error:
                    what = f"takes a number as {name}, not {part!r:.40}"
                    raise NotInSnapshotError(what, f"table {table}") from error
            wanted = wanted & (pc.field(name) == value)
        return self.records(table).to_table(filter=wanted).sort_by("record_id")

    def keys(self, table: str) -> list[tuple[Any, ...]]:
        """The keys that any record of a table ever had."""
        names = list(require_table(table).key)
        found = self.records(table).to_table(columns=names).to_pylist() if names else []
        return sorted({tuple(row[name] for name in names) for row in found}, key=str)

    def presence(self, table: str, ids: Sequence[int], archives: Iterable[Archive]) -> dict[str, int]:
        """Which of some records of one object each snapshot has, by its name."""
        wanted = (pc.field("table") == table) & pc.field("record_id").isin(ids)
        found = self.members(archives).to_table(columns=["snapshot", "record_id"], filter=wanted)
        return dict(zip(found["snapshot"].to_pylist(), found["record_id"].to_pylist(), strict=True))

    # -- asking it

    def sql(self, query: str, archives: Sequence[Archive]) -> pd.DataFrame:
        """The answer of DuckDB to one SELECT over views that are named as the tables.

        A view has a row for each record of each snapshot: Snapshot (the archive's source), ClusterID, Created, Index,
        Nomad's fields, key fields first (nested ones are JSON text: `Job->>'$.Name'`), Other, record_id (equal for
        equal records) and record_bytes. The view `snapshots` has Snapshot, ClusterID, Created and Index alone. Nothing
        but these views can be read, and nothing written. DuckDB has times to the microsecond.

        Args:
            query: One SELECT.
            archives: Those that it is about.

        Raises:
            SnapshotError: It is no SELECT, or DuckDB can't answer it.
        """
        try:
            import duckdb
        except ImportError as error:
            raise SnapshotError("needs the package duckdb", "sql", "pip install 'snapkit[fleet]'") from error
        try:
            query.encode()
        except UnicodeEncodeError as error:
            raise SnapshotError("is no text (half a character)", "sql", "give it in UTF-8") from error
        with tempfile.TemporaryDirectory(prefix="snapkit-") as spill:
            config: dict[str, Any] = {
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,  # variables of Python are no tables
                "temp_directory": spill,
            }
            with duckdb.connect(":memory:", config=config) as connection:
                try:
                    statements = connection.extract_statements(query)
                    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                        raise SnapshotError("is not one SELECT", "sql", "only reading is possible, one query at a time")
                    connection.execute("SET TimeZone = 'UTC'")
                    self._views(connection, tables_in(query), archives)
                    connection.execute("SET enable_external_access = false")
                    connection.execute("SET lock_configuration = true")
                    found = connection.sql(query).to_arrow_table()
                except duckdb.Error as error:
                    reason = " ".join(str(error).split())
                    advice = (
                        f"the tables are snapshots, {', '.join(DEFAULT[:3])} and so on; DESCRIBE jobs tells columns"
                    )
                    raise SnapshotError(f"can't be answered ({reason:.500})", "sql", advice) from error
                try:
                    return to_frame(_housed(found))
                except (pa.ArrowNotImplementedError, OverflowError) as error:
                    what = f"has an answer that is no column of a frame ({error!s:.200})"
                    raise SnapshotError(what, "sql", "cast it, such as to VARCHAR") from error

    def _views(self, connection: Any, tables: Sequence[str], archives: Sequence[Archive]) -> None:
        # Where a table could not be had of an archive, it is left out: not an archive whose table is empty.
        there = [a for a in archives if a.name in self._entries and all(self.has(a, table) for table in tables)]
        connection.register("_snapshots", _about(there))
        names = ", ".join(f'"{name}"' for name in OF_SNAPSHOT)
        connection.execute(f"CREATE VIEW snapshots AS SELECT {names} FROM _snapshots")
        connection.register("_members", self.members(there))
        for table in tables:
            records = self.records(table)
            columns = [f'{"s" if name in OF_SNAPSHOT else "r"}."{name}"' for name in view_columns(table)]
            connection.register(f"_{table}", records)
            connection.execute(
                f'CREATE VIEW "{table}" AS SELECT {", ".join(columns)} FROM _members m '
                f'JOIN _snapshots s ON m.snapshot = s.name JOIN "_{table}" r ON r.record_id = m.record_id '
                f"WHERE m.\"table\" = '{table}'"
            )

    def table(self, table: str, archives: Sequence[Archive]) -> pd.DataFrame:
        """All records of a table in all snapshots, in the columns of its view in `sql()`, by cluster, time and record.

        Raises:
            NotInSnapshotError: There is no such table.
        """
        columns = view_columns(table)
        there = [archive for archive in in_order(archives) if archive.name in self._entries]
        about, records = _about(there), self.records(table).to_table()
        members = self.members(there).to_table(columns=["snapshot", "record_id"], filter=pc.field("table") == table)
        places = pc.index_in(members["snapshot"], value_set=about["name"])
        members = members.append_column("place", places).sort_by([("place", "ascending"), ("record_id", "ascending")])
        rows = records.take(pc.index_in(members["record_id"], value_set=records["record_id"]))
        of_snapshot = about.take(members["place"])
        found = {name: (of_snapshot if name in OF_SNAPSHOT else rows)[name] for name in columns}
        return to_frame(_housed(pa.table(found)))


class _Writer:
    """Adds archives of one cluster to a dataset, in order."""

    def __init__(self, dataset: Dataset, cluster: str) -> None:
        self._dataset = dataset
        self._cluster = cluster
        self._known: dict[str, _Known] = {}
        self._live: dict[str, bytes] = {}  # hashes of the snapshot before: the next shares most of them

    def read(self, todo: Sequence[Archive], runner: Runner, tables: Sequence[str]) -> Iterator[tuple[Archive, _Read]]:
        """What workers make of archives, in order."""

        def tasks(archives: Iterable[Archive]) -> Iterator[_Task]:
            for archive in archives:  # asked for as the ones before are done, so `_live` is of a snapshot close by
                missing = tuple(table for table in tables if not self._dataset.has(archive, table))
                yield _Task(archive.place, missing, {t: self._live[t] for t in missing if t in self._live})

        for table in tables:
            if (hashes := self._hashes_of_latest(table)) is not None:
                self._live[table] = hashes
        # With nothing to go by, many workers would all decode everything: one archive goes ahead.
        ahead = 0 if runner.here or all(table in self._live for table in tables) else 1
        first = Runner() if runner.workers > 1 else runner  # processes that are started for one archive do not pay
        for some, where in ((todo[:ahead], first), (todo[ahead:], runner)):
            if some:
                with closing(where.run(read, tasks(some), failed=_failed)) as results:
                    yield from zip(some, results, strict=True)

    def _hashes_of_latest(self, table: str) -> bytes | None:
        entries = self._dataset._entries
        mine = [n for n, e in entries.items() if e.cluster == folder_name(self._cluster) and table in e.tables]
        if not mine:
            return None
        name = max(mine)
        folder = self._dataset.folder / "members" / f"cluster={entries[name].cluster}" / f"snapshot={name}"
        paths = [str(folder / f"{part}.parquet") for part in range(entries[name].parts)]
        members = ds.dataset(paths, schema=_MEMBERS, format="parquet")
        ids = members.to_table(columns=["record_id"], filter=pc.field("table") == table)["record_id"]
        return self._of(table).hashes(ids.combine_chunks())

    def _of(self, table: str) -> _Known:
        if table not in self._known:
            found = self._dataset.records(table, self._cluster).to_table(columns=["record_hash", "record_id"])
            self._known[table] = _Known(found["record_hash"], found["record_id"])
        return self._known[table]

    def write(self, archive: Archive, found: _Read) -> int:
        """Write what is new of an archive, and what it holds; says how many records are new."""
        dataset = self._dataset
        entry = dataset._entries.get(archive.name) or _Entry(folder_name(archive.cluster), {})
        part = entry.parts
        members: list[pa.Table] = []
        new = 0
        added: dict[str, list[int]] = {table: list(parts) for table, parts in entry.new.items()}
        for table in sorted(found.hashes):
            hashes = pa.array(_split(found.hashes[table]), pa.binary(HASH))
            ids = self._of(table).ids(hashes)
            if ids.null_count:
                fresh = pc.unique(hashes.filter(pc.is_null(ids)))
                self._write_records(archive, entry, part, table, found.records[table], fresh)
                added.setdefault(table, []).append(part)
                new += len(fresh)
                ids = self._of(table).ids(hashes)
            ids = ids.take(pc.sort_indices(ids))
            names = pa.array([table] * len(ids), pa.string())
            members.append(pa.table({"table": names, "record_id": ids.cast(pa.int64())}))
            self._live[table] = found.hashes[table]
        folders = "members", f"cluster={entry.cluster}", f"snapshot={archive.name}"
        with (
            atomic(dataset._path(*folders, f"{part}.parquet"), overwrite=True) as file,
            pq.ParquetWriter(
                file,
                pa.schema([_MEMBERS.field("table"), _MEMBERS.field("record_id")]),
                compression="zstd",
                use_dictionary=["table"],
                column_encoding={"record_id": "DELTA_BINARY_PACKED"},  # ids that follow each other take next to nothing
            ) as writer,
        ):
            for rows in members:
                writer.write_table(rows)  # a row group a table, so that one is found without the others
        tables = {**entry.tables, **{table: len(hashes) // HASH for table, hashes in found.hashes.items()}}
        dataset._entries[archive.name] = replace(entry, tables=tables, parts=part + 1, new=added)
        return new

    def _write_records(
        self, archive: Archive, entry: _Entry, part: int, table: str, packed: bytes, fresh: pa.Array
    ) -> None:
        dataset = self._dataset
        path = dataset._path(
            "records", f"table={table}", f"cluster={entry.cluster}", f"snapshot={archive.name}", f"{part}.parquet"
        )
        schema = record_schema(BY_TABLE[table]).insert(0, pa.field("record_id", pa.int64()))
        waiting = fresh
        with atomic(path, overwrite=True) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in pa.ipc.open_stream(packed):
                rows = pa.Table.from_batches([batch])
                rows = rows.filter(pc.is_in(rows["record_hash"], value_set=waiting))
                first = dataset._next.get(table, 0)
                ids = pa.array(range(first, first + len(rows)), pa.int64())
                dataset._next[table] = first + len(rows)
                writer.write_table(rows.add_column(0, "record_id", ids))
                self._of(table).add(rows["record_hash"].combine_chunks(), ids)


# -- odds and ends


def require_table(table: str) -> RecordType:
    """The type of a table that can be extracted.

    Raises:
        NotInSnapshotError: There is none.
    """
    if table not in BY_TABLE or table in WITHOUT:
        raise NotInSnapshotError(f"has no table {table!r:.60}", "the dataset", f"there are: {', '.join(DEFAULT)}")
    return BY_TABLE[table]


def view_columns(table: str) -> list[str]:
    """What `sql()` and `table()` have of a table: of the snapshot, the key, the other fields, of the record.

    Raises:
        NotInSnapshotError: There is no such table.
    """
    kind = require_table(table)
    names = [name for name in record_schema(kind).names if not name.startswith("record_")]
    return list(dict.fromkeys([*OF_SNAPSHOT, *kind.key, *names, "record_id", "record_bytes"]))


def tables_in(query: str) -> list[str]:
    """The tables that a query may be about."""
    words = set(re.findall(r"\w+", query.lower()))
    return [kind.table for kind in TYPES if kind.table in words and kind.table not in WITHOUT]


def folder_name(cluster: str) -> str:
    """A ClusterID as part of a folder's name, whatever is in it."""
    plain = urllib.parse.quote(cluster, safe="") or "unknown"
    return plain if len(plain) <= 100 else f"sha256-{hashlib.sha256(cluster.encode()).hexdigest()[:32]}"


def _about(archives: Sequence[Archive]) -> pa.Table:
    return pa.table(
        {
            "name": pa.array([a.name for a in archives], pa.string()),
            "Snapshot": pa.array([a.place.source for a in archives], pa.string()),
            "ClusterID": pa.array([a.cluster or None for a in archives], pa.string()),
            "Created": pa.array([a.created for a in archives], pa.timestamp("us", "UTC")),
            "Index": pa.array([a.index for a in archives], pa.uint64()),
        }
    )


def _housed(found: pa.Table) -> pa.Table:
    """What DuckDB answers in the types that all frames of ours have."""
    for i, column in enumerate(found.schema):
        kind = column.type
        if pa.types.is_string(kind):
            kind = TEXT
        elif pa.types.is_binary(kind):
            kind = pa.large_binary()
        elif pa.types.is_timestamp(kind) and kind.tz is not None:
            kind = TIMES
        elif pa.types.is_interval(kind):
            found = found.set_column(i, column.name, _durations(found.column(i)))
            continue
        elif pa.types.is_decimal(kind) and kind.scale == 0:  # a sum of integers
            kind = pa.int64()
        try:
            found = found.set_column(i, column.name, found.column(i).cast(kind))
        except pa.ArrowInvalid:
            continue  # beyond 64 bits, or the years that nanoseconds can hold: as DuckDB has it
    return found


def _durations(intervals: pa.ChunkedArray) -> pa.Array:
    """Intervals as durations, where months are 30 days, as they are to DuckDB."""
    nanoseconds = [
        None if v is None else (30 * v.months + v.days) * 86_400 * 10**9 + v.nanoseconds for v in intervals.to_pylist()
    ]
    return pa.array(nanoseconds, pa.duration("ns"))
