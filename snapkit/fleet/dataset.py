"""The records of many archives as Parquet files, each distinct record once: for SQL, for pandas, for a history.

Consecutive snapshots share most of their records. A record is known again by a keyed hash of its bytes in state.bin, so
what did not change costs nothing but its place. A folder of a store:

    snapshots.json                                  what counts: replaced whole, after the files that it names
    members/cluster=<ClusterID>/<n>.parquet         table, record_id, first, last: in which of the snapshots that
                                                    snapshots.json has of this file, from place to place, a record is
    records/table=<table>/cluster=<ClusterID>/<n>.parquet   the distinct records, with the columns of record_schema()

Small files become larger ones by themselves (pieces.py) while archives are extracted. A file never changes: what
replaces it has a name of its own, counts when snapshots.json says so, and only then does the old one go. What a process
that was killed left behind counts for nothing, and goes with the next that writes. One process writes at a time; those
that ask hold a lock that keeps the files there.

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
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from snapkit.errors import NotInSnapshotError, SnapshotError, SourceError
from snapkit.files import atomic
from snapkit.fleet.pieces import Piece, due, merged, streamed
from snapkit.fleet.places import Place
from snapkit.fleet.running import Runner
from snapkit.fleet.spans import Spans, united
from snapkit.format.archive import Progress
from snapkit.format.schema import BY_TABLE, TYPES, RecordType, fields
from snapkit.format.values import Buffer, Mask
from snapkit.state.snapshot.tables import SCALARS, TEXT, TIMES, Rows

SCHEMA = "snapkit.dataset/2"
OTHER = "Other"  # the column of fields that the schema lacks, as JSON
CHUNK = 8 << 20  # bytes of records that are decoded at once
HASH = 16  # bytes
SAVED_EVERY = 5.0  # seconds of work that a process that is killed loses at most
#: Tables about other tables, in which every write moves something: extracted only if asked for by name.
NOISY = ("indexes",)
#: Not to be had: what it holds has no key, and each snapshot has all of it in one record.
WITHOUT = ("time_table",)
DEFAULT = tuple(kind.table for kind in TYPES if kind.table not in {*NOISY, *WITHOUT})


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
        there = pc.is_in(self._hashes, value_set=hashes)  # these are few, beside those of all archives
        return self._ids.filter(there).take(pc.index_in(hashes, value_set=self._hashes.filter(there))).combine_chunks()

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
    """

    cluster: str
    tables: Mapping[str, int]

    @staticmethod
    def of(found: Mapping[str, Any]) -> _Entry:
        """As snapshots.json has it; raises what damage leads to."""
        return _Entry(str(found["cluster"]), {str(table): int(count) for table, count in found["tables"].items()})


class Dataset:
    """The records of many archives in a folder: added to by `extract()`, asked by views.py and history.py."""

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
        self._pieces: list[Piece] = []
        self._next: dict[str, int] = {}  # the id of the next record of a table
        self._number = 0  # of the next piece
        self._loaded: tuple[int, ...] = ()
        self._load()

    def _load(self) -> None:
        """Read snapshots.json, if it is another than the one that was read last."""
        path = self.folder / "snapshots.json"
        advice = "delete the folder to begin anew: archives are read again"
        try:
            with path.open("rb") as file:
                about = os.fstat(file.fileno())
                loaded = about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size
                if loaded == self._loaded:
                    return
                found = json.loads(file.read())
        except FileNotFoundError:
            self._entries, self._pieces, self._next, self._number, self._loaded = {}, [], {}, 0, ()
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
            self._pieces = [Piece.of(piece) for piece in found["pieces"]]
            self._next = {str(table): int(number) for table, number in found["next"].items()}
            self._number = int(found["number"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SourceError("is damaged", str(path), advice) from error
        self._loaded = loaded

    def _save(self) -> None:
        value = {
            "schema": SCHEMA,
            "key": self._check,
            "next": self._next,
            "number": self._number,
            "snapshots": {name: {"cluster": e.cluster, "tables": dict(e.tables)} for name, e in self._entries.items()},
            "pieces": [asdict(piece) for piece in self._pieces],
        }
        with atomic(self.folder / "snapshots.json", overwrite=True) as file:
            file.write(json.dumps(value, separators=(",", ":")).encode())
        self._loaded = ()

    def _sweep(self) -> None:
        """Remove the files that count for nothing: replaced ones, and what a process that was killed has left.

        As snapshots.json stands. If somebody asks right now, they stay until the next time.
        """
        named = {self.folder / piece.path for piece in self._pieces}
        with suppress(BlockingIOError), self._locked_by(fcntl.LOCK_EX | fcntl.LOCK_NB, "members"):
            for place in (self.folder, self.folder / "members", self.folder / "records"):
                for path in place.glob("*" if place == self.folder else "**/*"):
                    left = path.suffix == ".parquet" and place != self.folder and path not in named
                    if left or (path.name.startswith(".snapkit-") and path.suffix == ".tmp"):
                        path.unlink(missing_ok=True)

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
            with self._writing():  # another process may have added to it since
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
    def _writing(self) -> Iterator[None]:
        """Alone, with what is there as of now.

        Raises:
            SnapshotError: Another process writes to it.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path("members", "")
        except OSError as error:
            what = f"can't be written ({error.strerror})"
            raise SourceError(what, str(self.folder), "choose another store") from error
        try:
            with self._locked_by(fcntl.LOCK_EX | fcntl.LOCK_NB):
                self._loaded = ()
                self._load()
                self._sweep()
                yield
        except BlockingIOError as error:
            raise SnapshotError("is written to by another process", str(self.folder), "wait for it to end") from error

    @contextmanager
    def asked(self) -> Iterator[None]:
        """As of now, and nothing of it goes while it is asked: what another process merges meanwhile is left there."""
        with self._locked_by(fcntl.LOCK_SH, "members"):
            self._load()
            yield

    @contextmanager
    def _locked_by(self, how: int, *parts: str) -> Iterator[None]:
        try:
            handle = os.open(self.folder.joinpath(*parts), os.O_RDONLY)
        except FileNotFoundError:  # nothing was ever written
            yield
            return
        except OSError as error:
            raise SourceError(f"can't be read ({error.strerror})", str(self.folder), "choose another store") from error
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)

    def _added(
        self, todo: Sequence[Archive], runner: Runner, tables: Sequence[str]
    ) -> Iterator[tuple[Archive, int | None, str]]:
        saved = time.monotonic()
        merging = False
        try:
            for cluster in dict.fromkeys(archive.cluster for archive in todo):
                writer = _Writer(self, cluster)
                for archive, found in writer.read([a for a in todo if a.cluster == cluster], runner, tables):
                    new = None if found.error else writer.write(archive, found)
                    merging = self._merge() or merging
                    if time.monotonic() - saved > SAVED_EVERY:
                        self._save()
                        if merging:
                            self._sweep()
                        saved, merging = time.monotonic(), False
                    yield archive, new, found.error
        finally:
            self._save()
            self._sweep()

    def _merge(self) -> bool:
        """Make many small files one; says if there were any."""
        some = False
        while groups := list(due(self.folder, self._pieces)):
            for group in groups:
                piece = merged(self.folder, group, self._new_number(), self._stored_schema(group[0].table))
                gone = set(group)
                at = self._pieces.index(group[0])
                self._pieces = [
                    *self._pieces[:at],
                    piece,
                    *(other for other in self._pieces[at:] if other not in gone),
                ]
                some = True
        return some

    def _new_number(self) -> int:
        self._number += 1
        return self._number - 1

    def _stored_schema(self, table: str) -> pa.Schema | None:
        """Of the files of a table's records; None of members."""
        return record_schema(BY_TABLE[table]).insert(0, pa.field("record_id", pa.int64())) if table else None

    def _path(self, *parts: str) -> Path:
        """A file of it, in folders that are there, for their owner alone."""
        folder = self.folder
        for part in parts[:-1]:
            folder /= part
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder / parts[-1]

    # -- reading it

    def spans(self, table: str, archives: Sequence[Archive], ids: Sequence[int] | None = None) -> Spans:
        """Which records of a table (of these ids, or all) each of some archives has, by places in `archives`."""
        places: dict[str, int] = {}
        for at, archive in enumerate(archives):
            places[archive.name] = at
        found = []
        for piece in self._pieces:
            if not piece.table and any(name in places for name in piece.snapshots):
                spans = piece.spans(self.folder, table, ids)
                found.append(spans.moved([places.get(name, -1) for name in piece.snapshots]))
        return united(found)

    def files(self, table: str, cluster: str | None = None) -> list[Path]:
        """The files of the distinct records of a table, in `folder`."""
        require_table(table)
        mine = (piece for piece in self._pieces if piece.table == table)
        return [piece.path for piece in mine if cluster is None or piece.cluster == folder_name(cluster)]

    def records(self, table: str, cluster: str | None = None) -> ds.Dataset:
        """The distinct records of a table: record_id, and the columns of `record_schema()`."""
        paths = [str(self.folder / path) for path in self.files(table, cluster)]
        return ds.dataset(paths, schema=self._stored_schema(table), format="parquet")

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
        found = self.records(table)
        ids = [n for batch in streamed(found, ["record_id"], wanted) for n in batch["record_id"].to_pylist()]
        mine = (
            streamed(found, wanted=pc.field("record_id").isin(ids)) if ids else ()
        )  # whole, of the pieces that matter
        return pa.Table.from_batches(mine, found.schema).sort_by("record_id")

    def keys(self, table: str) -> list[tuple[Any, ...]]:
        """The keys that any record of a table ever had."""
        names = list(require_table(table).key)
        found: set[tuple[Any, ...]] = set()
        for batch in streamed(self.records(table), names) if names else ():
            found.update(zip(*(batch[name].to_pylist() for name in names), strict=True))
        return sorted(found, key=str)

    def presence(self, table: str, ids: Sequence[int], archives: Sequence[Archive]) -> dict[str, int]:
        """Which of some records of one object each snapshot has, by its name."""
        numbers, places = self.spans(table, archives, ids).pairs()
        return {archives[place].name: number for number, place in zip(numbers.tolist(), places.tolist(), strict=True)}


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
        dataset = self._dataset
        mine = [n for n, e in dataset._entries.items() if e.cluster == folder_name(self._cluster) and table in e.tables]
        if not mine:
            return None
        name = max(mine)
        spans = united(
            piece.spans(dataset.folder, table).moved([0 if other == name else -1 for other in piece.snapshots])
            for piece in dataset._pieces
            if name in piece.snapshots
        )
        return self._of(table).hashes(pa.array(spans.record))

    def _of(self, table: str) -> _Known:
        if table not in self._known:
            found = self._dataset.records(table, self._cluster).to_table(columns=["record_hash", "record_id"])
            self._known[table] = _Known(found["record_hash"], found["record_id"])
        return self._known[table]

    def write(self, archive: Archive, found: _Read) -> int:
        """Write what is new of an archive, and what it holds; says how many records are new."""
        dataset = self._dataset
        entry = dataset._entries.get(archive.name) or _Entry(folder_name(archive.cluster), {})
        members: dict[str, Spans] = {}
        pieces: list[Piece] = []
        new = 0
        for table in sorted(found.hashes):
            hashes = pa.array(_split(found.hashes[table]), pa.binary(HASH))
            ids = self._of(table).ids(hashes)
            if ids.null_count:
                fresh = pc.unique(hashes.filter(pc.is_null(ids)))
                pieces.append(self._write_records(entry, table, found.records[table], fresh))
                new += len(fresh)
                ids = self._of(table).ids(hashes)
            numbers = np.unique(ids.cast(pa.int64()).to_numpy())
            members[table] = Spans(numbers, np.zeros_like(numbers), np.zeros_like(numbers))
            self._live[table] = found.hashes[table]
        piece = Piece(dataset._new_number(), entry.cluster, "", snapshots=(archive.name,))
        dataset._path(*piece.folder.parts, "")
        piece.write_spans(dataset.folder, members)
        tables = {**entry.tables, **{table: len(hashes) // HASH for table, hashes in found.hashes.items()}}
        dataset._pieces = [*dataset._pieces, *pieces, piece]
        dataset._entries[archive.name] = _Entry(entry.cluster, tables)
        return new

    def _write_records(self, entry: _Entry, table: str, packed: bytes, fresh: pa.Array) -> Piece:
        dataset = self._dataset
        piece = Piece(dataset._new_number(), entry.cluster, table)
        schema = dataset._stored_schema(table)

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in pa.ipc.open_stream(packed):
                rows = batch.filter(pc.is_in(batch["record_hash"], value_set=fresh))
                first = dataset._next.get(table, 0)
                ids = pa.array(range(first, first + len(rows)), pa.int64())
                dataset._next[table] = first + len(rows)
                self._of(table).add(rows["record_hash"], ids)
                yield pa.RecordBatch.from_arrays([ids, *rows.columns], schema=schema)

        dataset._path(*piece.folder.parts, "")
        piece.write_records(dataset.folder, schema, batches())
        return piece


# -- odds and ends


def require_table(table: str) -> RecordType:
    """The type of a table that can be extracted.

    Raises:
        NotInSnapshotError: There is none.
    """
    if table not in BY_TABLE or table in WITHOUT:
        raise NotInSnapshotError(f"has no table {table!r:.60}", "the dataset", f"there are: {', '.join(DEFAULT)}")
    return BY_TABLE[table]


def folder_name(cluster: str) -> str:
    """A ClusterID as part of a folder's name, whatever is in it."""
    plain = urllib.parse.quote(cluster, safe="") or "unknown"
    return plain if len(plain) <= 100 else f"sha256-{hashlib.sha256(cluster.encode()).hexdigest()[:32]}"
