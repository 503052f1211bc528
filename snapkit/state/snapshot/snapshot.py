"""Snapshot: the state of a cluster as tables, as single objects, and as something to search."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import chain, islice
from typing import Any, Self

import pandas as pd
import pyarrow as pa

from snapkit.errors import NotInSnapshotError, RecordError
from snapkit.format import archive
from snapkit.format.archive import Source
from snapkit.format.records import Index
from snapkit.format.salvage import Salvage
from snapkit.format.schema import (
    TIME_TABLE,
    TYPES,
    RecordType,
    Type,
    fields,
    in_words,
    record_type,
    table_type,
    type_name,
)
from snapkit.format.values import Buffer, Mask, pick, split_list, to_json, unpack
from snapkit.page import escaped, label, table
from snapkit.state.snapshot.ids import beginning, whole
from snapkit.state.snapshot.keyring import report as keyring_report
from snapkit.state.snapshot.keyring import unlock
from snapkit.state.snapshot.keys import keys
from snapkit.state.snapshot.release import version_range
from snapkit.state.snapshot.search import Pattern, Searcher, query
from snapkit.state.snapshot.store import Store
from snapkit.state.snapshot.tables import Rows, to_frame

SAMPLES = 8  # records of each type that the release is guessed from


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a snapshot as a whole.

    Attributes:
        id: `<term>-<index>-<Unix milliseconds>`; "" for a bare state.bin.
        index: Raft's index; None if unknown, as all that follow.
        term: Raft's term.
        version: Of the snapshot format: 1.
        created: When it was taken, UTC.
        size: Of state.bin, in bytes.
        servers: Raft's configuration: dicts with ID, Address and Suffrage.
        configuration_index: The index that the configuration was written at.
        cluster_id: From the state's own cluster metadata.
        version_range: The releases that can have written it, as a version specifier such as `>1.8.4,<1.10.5`.
        source: What was read.
    """

    id: str
    index: int | None
    term: int | None
    version: int | None
    created: pd.Timestamp | None
    size: int
    servers: tuple[dict[str, Any], ...]
    configuration_index: int | None
    cluster_id: str | None
    version_range: str
    source: str


class Snapshot:
    """The state of a Nomad cluster at one moment.

    Tables are had by name, as `snap.jobs` or `snap["jobs"]`; `dir(snap)` and tab completion list them. Secrets are
    masked in all that it gives, unless `reveal=True` asks for them.

    Attributes:
        archive: What the pass over the container found.
        salvage: What was lost, if the source was damaged and not all of it is here; None if it was whole.
    """

    def __init__(
        self,
        found: archive.Archive,
        index: Index,
        sizes: Mapping[int, int],
        store: Store,
        mask: Mask,
        salvage: Salvage | None = None,
    ) -> None:
        self.archive = found
        self.salvage = salvage
        self._index = index
        self._sizes = sizes
        self._store = store
        self._mask = mask
        self._searcher = Searcher(index, store, self._struct, self._place)
        self._frames: dict[str, pd.DataFrame] = {}
        self._keys: dict[int, dict[tuple[Any, ...], int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and temporary file back. DataFrames taken from it stay."""
        self._frames.clear()
        self._searcher.close()
        self._store.close()

    # -- what it is

    @property
    def mask(self) -> Mask:
        """What stands for its secrets."""
        return self._mask

    @cached_property
    def meta(self) -> Meta:
        """What is known of the snapshot as a whole."""
        meta = self.archive.meta
        milliseconds = archive.created_milliseconds(meta.get("ID", ""))
        servers = meta.get("Configuration") or {}
        return Meta(
            id=meta.get("ID", ""),
            index=meta.get("Index"),
            term=meta.get("Term"),
            version=meta.get("Version"),
            created=_moment(milliseconds),
            size=self._index.end,
            servers=tuple(servers.get("Servers") or ()) if isinstance(servers, dict) else (),
            configuration_index=meta.get("ConfigurationIndex"),
            cluster_id=self._cluster_id(),
            version_range=version_range(self._sizes, self._samples()),
            source=self.archive.source,
        )

    def _cluster_id(self) -> str | None:
        for record in self._records("cluster_metadata"):
            value = self._json(record, mask=None)
            return str(value["ClusterID"]) if isinstance(value, dict) and "ClusterID" in value else None
        return None

    def _samples(self) -> Iterator[tuple[Any, Type]]:
        for byte in self._sizes:
            kind = Type("struct", struct=record_type(byte).struct)
            for record, _ in zip(self._index.of_type(byte), range(SAMPLES), strict=False):
                yield self._unpacked(record), kind

    @cached_property
    def _tables(self) -> pd.DataFrame:
        rows = sorted(self._sizes.items(), key=lambda item: -item[1])
        counts = [self._index.types.count(byte) for byte, _ in rows]
        return pd.DataFrame(
            {
                "Type": pd.array([type_name(byte) for byte, _ in rows], dtype="str"),
                "Count": pd.array(counts, dtype="Int64"),
                "Bytes": pd.array([size for _, size in rows], dtype="Int64"),
                "Share": pd.array([size / self._index.end for _, size in rows], dtype="Float64"),
            },
            index=pd.Index([record_type(byte).table for byte, _ in rows], dtype="str", name="Table"),
        )

    @property
    def tables(self) -> pd.DataFrame:
        """The tables that have records, the largest first.

        Returns:
            Index Table (str); Type (str; Nomad's name), Count (Int64; records), Bytes (Int64; in state.bin, as
            Nomad's inspect counts them), Share (Float64; of state.bin, 0 to 1).
        """
        return self._tables.copy()

    # -- tables

    def __getitem__(self, table: str) -> pd.DataFrame:
        return self.table(table)

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name.startswith("_") or table_type(name) is None:
            raise AttributeError(f"a snapshot has no table or attribute {name!r}", name=name, obj=self)
        return self.table(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._ipython_key_completions_()]

    def _ipython_key_completions_(self) -> list[str]:
        unknown = [record_type(byte).table for byte in self._sizes if not record_type(byte).struct]
        return [kind.table for kind in TYPES] + unknown

    def table(self, table: str, columns: Sequence[str] | None = None, *, reveal: bool = False) -> pd.DataFrame:
        """The records of one type, a row each; a table that the snapshot lacks is empty.

        Args:
            table: Its name, as in `tables`.
            columns: Nomad's field names; by default all that are not nested. Nested ones come as Nomad's JSON has
                them: dicts and lists.
            reveal: Show secrets.

        Returns:
            Index: the key fields (a RangeIndex where there is no key). Columns by Nomad's types: string -> str,
            integers -> Int64, UInt64 and so on, bool -> boolean, float64 -> Float64, []byte -> large_binary,
            times -> datetime64[ns, UTC] (NaT for 'not set' and for what nanoseconds can't hold), durations ->
            timedelta64[ns], nested -> object.

        Raises:
            NotInSnapshotError: There is no such table or column.
            RecordError: A value is not of its field's type.
        """
        if columns is None and not reveal:
            if table not in self._frames:
                self._frames[table] = self._frame(table, None, self._mask)
            return self._frames[table].copy(deep=False)  # pandas copies on write
        return self._frame(table, columns, None if reveal else self._mask)

    def _frame(self, table: str, columns: Sequence[str] | None, mask: Mask) -> pd.DataFrame:
        rows = self._rows(table, columns)
        names = self._names(rows, columns)
        flat = [name for name in names if not rows.field(name).type.nested]
        frame = to_frame(rows.arrow(flat, mask)) if flat else pd.DataFrame(index=pd.RangeIndex(rows.count))
        for name in names:
            if name not in frame:
                frame[name] = pd.Series(rows.objects(name, mask), dtype="object", index=frame.index)
        if names != list(frame):
            frame = frame[names]
        return frame.set_index(list(rows.kind.key)) if rows.kind.key else frame

    def _names(self, rows: Rows, columns: Sequence[str] | None) -> list[str]:
        """The columns asked for, key fields first; by default those that are not nested."""
        if columns is None:
            names = rows.names()
            return [*(name for name in rows.kind.key if name not in names), *names]
        known = list(dict.fromkeys([*rows.fields, *fields(rows.kind.struct)]))
        for name in columns:
            if name not in known:
                raise NotInSnapshotError(f"has no column {name!r}", f"table {rows.kind.table}", _suggest(name, known))
        return list(dict.fromkeys([*rows.kind.key, *columns]))

    def columns(self, table: str) -> list[str]:
        """The fields that a table can show, nested ones too and key fields first, in Nomad's order.

        Raises:
            NotInSnapshotError: There is no such table.
        """
        rows = self._rows(table, ())
        names = rows.fields if rows.count else fields(rows.kind.struct)
        return list(dict.fromkeys([*rows.kind.key, *names]))

    def arrow(self, table: str, *, nested: bool = False, reveal: bool = False) -> pa.Table:
        """As `table()`, as an Arrow table: the key fields are columns, nested ones (if asked for) JSON text.

        Raises:
            NotInSnapshotError: There is no such table.
            RecordError: A value is not of its field's type.
        """
        names = self.columns(table) if nested else None
        rows = self._rows(table, names)
        return rows.arrow(self._names(rows, names), None if reveal else self._mask)

    def _rows(self, table: str, columns: Sequence[str] | None) -> Rows:
        """A table's records, taken apart into these columns (by default those that are not nested)."""
        kind = self._type(table)
        known = fields(kind.struct)

        def keep(name: str) -> bool:
            if columns is None:
                return name not in known or not known[name].type.nested
            return name in columns or name in kind.key

        state = memoryview(self._store.bytes)
        records: Iterable[Buffer] = map(state.__getitem__, self._index.values_of_type(kind.byte))
        if kind.byte == TIME_TABLE:
            records = (entry for record in records for entry in split_list(record))
        try:
            return Rows.split(kind, records, keep)
        except RecordError as error:
            raise error.at(f"{kind.name} records") from error

    def _type(self, table: str) -> RecordType:
        kind = table_type(table)
        if kind is None:
            raise NotInSnapshotError(f"has no table {table!r}", "", _suggest(table, self._ipython_key_completions_()))
        return kind

    def record_bytes(self, table: str) -> pd.Series[int]:
        """How many bytes of the state each record takes, its type byte included.

        Returns:
            Int64, named Bytes; the index of the table (a RangeIndex of records where there is no key).

        Raises:
            NotInSnapshotError: There is no such table.
        """
        kind = self._type(table)
        spans = self._index.values_of_type(kind.byte)
        sizes = pd.Series([span.stop - span.start + 1 for span in spans], dtype="Int64", name="Bytes")
        return sizes.set_axis(self.table(table, []).index) if kind.key else sizes

    # -- single objects

    def get(self, table: str, *key: Any, reveal: bool = False) -> Any:
        """One object whole, as Nomad's JSON API has it.

        Bytes are base64, times RFC 3339, durations integers (of nanoseconds); fields that Nomad's JSON leaves out are
        left out. Of records with the same key it is the last, as after a restore.

        Args:
            table: The table's name.
            key: Its key fields, whole, one by one or as one tuple; none for a table without a key. A program that was
                given half an id is not given another object: `find()` has the key that ids in short mean.
            reveal: Show secrets.

        Raises:
            NotInSnapshotError: There is no such table or record.
            RecordError: The record can't be decoded.
        """
        return self._json(self._find(table, _key(key)), None if reveal else self._mask)

    def find(self, table: str, *key: Any) -> tuple[str, ...]:
        """The whole key of the object that is meant where ids of UUID form may be in short, as for Nomad's command.

        `snap.get("allocs", *snap.find("allocs", "8f3c12ab"))`. Names are taken whole.

        Args:
            table: The table's name.
            key: Its key fields, one by one or as one tuple.

        Raises:
            NotInSnapshotError: There is no such table, or no record that begins so.
            AmbiguousError: There are several.
        """
        kind, wanted = self._type(table), tuple(str(part) for part in _key(key))
        if len(wanted) == len(kind.key) and wanted not in (keys := self._keys_of(kind)):
            wanted = whole(wanted, keys, f"table {table}")
        self._find(table, wanted)
        return wanted

    def at(self, table: str, position: int, *, reveal: bool = False) -> Any:
        """One object whole, by its row in `table()`: as `get()`, also where there is no key or one stands twice.

        Args:
            table: The table's name.
            position: Of the row, from 0.
            reveal: Show secrets.

        Raises:
            NotInSnapshotError: There is no such table or row.
            RecordError: The record can't be decoded.
        """
        if position >= 0 and self._type(table).byte == TIME_TABLE:  # whose rows are entries of a record
            for entry in islice(chain.from_iterable(self.objects(table, reveal=reveal)), position, None):
                return entry
        elif position >= 0:
            for record in islice(self._records(table), position, None):
                return self._json(record, None if reveal else self._mask)
        raise NotInSnapshotError(f"has no row {position:,}", f"table {table}")

    def objects(
        self, table: str, subset: Mapping[str, Sequence[str] | None] | None = None, *, reveal: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The records of a table one by one as `get()` gives them, decoding no more than was asked for.

        Args:
            table: Its name.
            subset: The fields wanted, each with the fields wanted of it in turn (None for all of it); all by default.
            reveal: Show secrets.

        Raises:
            NotInSnapshotError: There is no such table.
            RecordError: A record can't be decoded.
        """
        mask = None if reveal else self._mask
        for record in self._records(table):
            if subset is None:
                yield self._json(record, mask)
                continue
            try:
                value = pick(self._packed(record), subset)
                yield to_json(value, self._struct(record), mask)
            except RecordError as error:
                raise error.at(self._place(record)) from error

    def _packed(self, record: int) -> memoryview:
        return memoryview(self._store.bytes)[self._index.value(record)]

    def _find(self, table: str, key: tuple[Any, ...]) -> int:
        kind = self._type(table)
        if len(key) != len(kind.key):
            fields_, tail = ", ".join(kind.key) or "no key", tuple(str(part) for part in key)
            meant = [" ".join(k) for k in self._keys_of(kind) if tail and k[-len(tail) :] == tail][:3]
            raise NotInSnapshotError(
                f"{len(key)} key fields given, takes {len(kind.key)} ({fields_})",
                f"table {table}",
                f"did you mean {', '.join(meant)}?" if meant else "",
            )
        keys = self._keys_of(kind)
        record = keys.get(tuple(str(part) for part in key))
        if record is None:
            choices = ["/".join(k) for k in keys]
            wanted = "/".join(str(part) for part in key)
            meant = ["/".join(k) for k in beginning(tuple(str(part) for part in key), keys)]
            raise NotInSnapshotError(f"has no record {wanted!r}", f"table {table}", _suggest(wanted, choices, meant))
        return record

    def _keys_of(self, kind: RecordType) -> dict[tuple[str, ...], int]:
        """The record of each key, as text; the last one where a key stands twice."""
        if kind.byte not in self._keys:
            found = zip(self._record_keys(kind), self._index.of_type(kind.byte), strict=True)
            self._keys[kind.byte] = {tuple(str(part) for part in key): record for key, record in found}
        return self._keys[kind.byte]

    def _record_keys(self, kind: RecordType) -> list[tuple[Any, ...]]:
        """The key of each record of a type, in the order of the stream."""
        spans = self._index.values_of_type(kind.byte)
        if not kind.key:
            return [() for _ in spans]
        try:
            return keys(kind, map(memoryview(self._store.bytes).__getitem__, spans))
        except RecordError as error:
            raise error.at(f"{kind.name} records") from error

    def records(self, table: str) -> dict[tuple[Any, ...], memoryview]:
        """The packed value of each record by its key; the last one where a key stands twice, as after a restore.

        A type that is not known has no key: there it is `("sha256:…",)`, of the record's bytes.

        Raises:
            NotInSnapshotError: There is no such table.
            RecordError: A record has no fields.
        """
        kind = self._type(table)
        values = map(memoryview(self._store.bytes).__getitem__, self._index.values_of_type(kind.byte))
        if not kind.struct:
            return {(f"sha256:{hashlib.sha256(value).hexdigest()}",): value for value in values}
        return dict(zip(self._record_keys(kind), values, strict=True))

    def _records(self, table: str) -> Iterator[int]:
        return self._index.of_type(self._type(table).byte)

    def _unpacked(self, record: int) -> Any:
        try:
            return unpack(self._packed(record))
        except RecordError as error:
            raise error.at(self._place(record)) from error

    def _json(self, record: int, mask: Mask) -> Any:
        value = self._unpacked(record)
        try:
            return to_json(value, self._struct(record), mask)
        except RecordError as error:
            raise error.at(self._place(record)) from error

    def _struct(self, record: int) -> Type:
        kind = record_type(self._index.types[record])
        struct = Type("struct", struct=kind.struct)
        return Type("list", struct) if kind.byte == TIME_TABLE else struct

    def _place(self, record: int) -> str:
        name = type_name(self._index.types[record])
        return f"state.bin record {record + 1:,} ({name}), byte {self._index.starts[record]:,}"

    def unlock(self, keystore: str | os.PathLike[str] | None = None) -> pd.DataFrame:
        """The variables in the clear, by the keys in the archive itself (from 1.9) or in a keystore folder.

        Args:
            keystore: A copy of `server/keystore` from a server's data directory: up to 1.8 the keys are there alone.

        Returns:
            Index Namespace, Path; Items (object; dicts of strings).

        Raises:
            MissingKeyError: There is no material of a key that a variable needs.
            ExternalKeyError: It takes an external KMS.
            WrongKeyError: A root key does not open: the key beside it is not its own, or it was altered.
            AlteredError: A variable was altered.
        """
        return unlock(self.table, keystore)

    def keyring(self, keystore: str | os.PathLike[str] | None = None, now: datetime | None = None) -> pd.DataFrame:
        """Every root key that there is or that something needs: how it stands, and what uses it. No key is shown.

        Args:
            keystore: As `unlock()`.
            now: When it is; by default when the snapshot was taken.

        Returns:
            Index KeyID (str); State (str; active, inactive, rekeying, prepublished), CreateTime (datetime64[ns,
            UTC]), Age (timedelta64[ns]), Providers (str; those that wrap it, by their names in the servers'
            configuration), Places (str; where that was found: `state`, `keystore`), Material (str; `here`: it opens by
            what is here, `external`: a KMS opens it, `damaged`: it does not open, `missing`), Variables, Allocs, Nodes
            (Int64; how many are sealed or signed by it), Orphaned (str; `unused`: by nothing, nor is it for what
            comes, `missing`: it is needed, and there is nothing that opens; else empty).

        Raises:
            SourceError: The keystore can't be read.
            KeyringError: A key is not as Nomad writes it.
        """
        return keyring_report(self.table, keystore, self.meta.created if now is None else now)

    # -- as bytes

    def raw(self) -> Iterator[tuple[int, memoryview]]:
        """Each record's type byte and msgpack value, in the order of the stream."""
        state = memoryview(self._store.bytes)
        return zip(self._index.types, map(state.__getitem__, self._index.values()), strict=True)

    @property
    def type_bytes(self) -> bytes:
        """The type byte of each record, in the order of the stream."""
        return bytes(self._index.types)

    @property
    def header(self) -> bytes:
        """What stands ahead of the first record."""
        end = self._index.starts[0] if len(self._index) else self._index.end
        return bytes(self._store.bytes[:end])

    def chunks(self, size: int = 1 << 20) -> Iterator[memoryview]:
        """state.bin in pieces."""
        state = memoryview(self._store.bytes)
        return (state[start : start + size] for start in range(0, self._index.end, size))

    # -- search

    def search(
        self,
        wanted: str | bytes | Pattern,
        *,
        regex: bool = False,
        ignore_case: bool = False,
        tables: Iterable[str] | None = None,
        namespace: str | None = None,
        reveal: bool = False,
    ) -> pd.DataFrame:
        """Every value that holds a text, bytes or a match of a regular expression.

        The state is scanned as the bytes that it is, and only records that may hold a hit are decoded. Values are
        texts and bytes, and keys of maps that are no field names; numbers and times are not searched. Of the payload
        a job was dispatched with, that is what it was before Nomad compressed it too. What is base64 is not undone.

        Args:
            wanted: Text or bytes, taken literally, or a compiled pattern: of text for values as text (U+FFFD for each
                byte that is not UTF-8), of bytes for values as bytes. It is matched value by value by Python's `re`:
                one that takes for ever on some text takes for ever here.
            regex: Take text or bytes as a regular expression.
            ignore_case: Do not tell upper and lower case apart.
            tables: Search only these; by default all.
            namespace: Search only records with a field Namespace that says this.
            reveal: Show the context of hits in secrets; by default it is masked.

        Returns:
            Table (str), Key (object; tuples), Path (str; by Nomad's field names), Context (str; the first hit in the
            value and up to 40 characters on either side), in the order of the state.

        Raises:
            SnapshotError: Nothing to search for; no regular expression, or one that can match the empty string.
            NotInSnapshotError: There is no such table.
            RecordError: A record that may hold a hit can't be decoded.
        """
        types = None if tables is None else {self._type(table).byte for table in tables}
        asked = query(wanted, regex=regex, ignore_case=ignore_case)
        return self._searcher.search(asked, types, namespace, None if reveal else self._mask)

    # -- what happened

    def timeline(self, *others: Source | Snapshot) -> pd.DataFrame:
        """Everything in it that can be dated, in order: see `snapkit.state.changes.timeline.timeline()`.

        Args:
            others: More snapshots of the cluster, as `snapkit.open()` takes them or open; windows shrink by them, and
                deletions are told of.

        Returns:
            Time, TimeEarliest, TimeLatest, Kind, Table, Key, Namespace, Job, Node, Message, Index.

        Raises:
            SnapshotError: They are of different clusters, or one can't be read.
        """
        from snapkit.state.changes.timeline import timeline

        return timeline(self, *others)

    # -- how it shows itself

    def __repr__(self) -> str:
        source, *rest = self._summary().items()
        return f"<Snapshot {source[1]}: {'; '.join(f'{name} {value}' for name, value in rest)}>"

    def _repr_html_(self) -> str:
        return table([[f"<b>{label(name)}</b>", escaped(value)] for name, value in self._summary().items()])

    def _summary(self) -> dict[str, str]:
        meta = self.meta
        top = [f"{row.Type} {row.Share:.0%}" for row in self._tables.head(3).itertuples()]
        oddities = [oddity.message for oddity in self.archive.oddities]
        salvaged = {"SALVAGED:": str(self.salvage)} if self.salvage is not None else {}
        return {
            "Source": meta.source,
            **salvaged,
            "Cluster": f"{meta.cluster_id or 'unknown'}, Nomad {in_words(meta.version_range) or 'unknown'}",
            "Taken": f"{meta.created:%Y-%m-%d %H:%M:%S} UTC" if meta.created is not None else "unknown",
            "Raft": f"index {meta.index}, term {meta.term}, {len(meta.servers)} servers",
            "State": f"{meta.size:,} bytes, {len(self._index):,} records in {len(self._tables)} tables",
            "Largest": ", ".join(top) or "no records",
        } | ({"Note": "; ".join(oddities)} if oddities else {})


def _moment(milliseconds: int) -> pd.Timestamp | None:
    """None for 0, and for what 64 bits of nanoseconds can't hold."""
    if not 0 < milliseconds < 2**63 // 10**6:
        return None
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC").as_unit("ns")


def _key(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Key fields that were given one by one or as one tuple."""
    return key[0] if len(key) == 1 and isinstance(key[0], tuple) else key


def _suggest(wanted: str, choices: Sequence[str], meant: Sequence[str] = ()) -> str:
    close = meant[:3] or difflib.get_close_matches(wanted, choices, 3, 0.5)
    if close:
        return f"did you mean {', '.join(close)}?"
    some = ", ".join(choices[:8]) + (" and more" if len(choices) > 8 else "")
    return f"there are: {some}" if choices else "it is empty"
