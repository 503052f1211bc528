"""What the bytes of a state are of: tables, namespaces, jobs, fields, objects, copies; and how they grew.

Where a grouping divides the state into parts, the parts add up to it to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgpack
import msgspec
import pandas as pd

from snapkit.errors import RecordError, SnapshotError
from snapkit.format.schema import ANY, BY_TABLE, TIME_TABLE, RecordType, Type, fields, record_type
from snapkit.format.values import MAX_DEPTH, Buffer, split_maps, text, unpack, unpack_column

if TYPE_CHECKING:
    from snapkit.state.snapshot import Snapshot

By: TypeAlias = Literal["table", "namespace", "job", "parent", "version", "group", "field", "object"]

BATCH = 512  # records that are taken apart at once, while they are in the processor's cache
MAX_FIELDS = 1_000  # that the schema lacks, of one table: what is more is listed together
NIL, EMPTY = b"\xc0", b"\x80"

#: What a child is called after its parent (Nomad: structs.DispatchLaunchSuffix, structs.PeriodicLaunchSuffix).
CHILD = re.compile(r"/(?:dispatch|periodic)-.*", re.DOTALL)


def sizes(snapshot: Snapshot, by: By = "table") -> pd.DataFrame:
    """What takes how much of the state, the largest first.

    Args:
        snapshot: The open snapshot.
        by: The grouping, which makes the index:

            - `table`: Table.
            - `namespace`: Namespace; NA for what is of none.
            - `job`: Namespace, Job: the job with its versions, allocations, evaluations and all else that names it;
              NA for what is of no job.
            - `parent`: as `job`, with dispatched and periodic jobs under the job that they came from.
            - `version`: Namespace, Job, Version; Version is NA for what names none.
            - `group`: Namespace, Job, Group: allocations by their task group, jobs taken apart into their groups.
            - `field`: Table, Path: the fields of all records, lists as `[]` and keys of maps that are no field names
              as `*`: `Job.TaskGroups[].Tasks[].Env`; the records themselves have the path "".
            - `object`: none; there are columns Table and Key (object; tuples) instead.

    Returns:
        Count (Int64; records, of `group` also parts of records, of `field` values), Bytes (Int64), Share (Float64;
        of state.bin, 0 to 1). A field counts with all below it; it has a column Own (Int64) more: the bytes that are
        of none below. Bytes add up to state.bin; of fields, Own does.

    Raises:
        SnapshotError: There is no such grouping.
        RecordError: A record can't be taken apart.
    """
    if by not in get_args(By):
        raise SnapshotError(f"is no grouping {by!r:.40}", "sizes", f"there are {', '.join(get_args(By))}")
    if by == "table":
        return snapshot.tables.drop(columns="Type")
    other = {"field": _by_field, "object": _by_object}.get(by)
    frame = other(snapshot) if other else _by_label(snapshot, by)
    frame["Share"] = frame["Bytes"].astype("Float64") / snapshot.meta.size
    return frame.sort_values("Bytes", ascending=False, kind="stable", ignore_index=by == "object")


def growth(before: Snapshot, after: Snapshot, by: By = "table") -> pd.DataFrame:
    """How sizes changed between two snapshots, what grew most first.

    Args:
        before: The earlier snapshot.
        after: The later one.
        by: As of `sizes()`.

    Returns:
        The index (of `object` the columns) of `sizes()`; CountBefore, CountAfter, BytesBefore, BytesAfter, Growth
        (Int64; Growth is in bytes).
        What only one has, counts as 0 in the other.

    Raises:
        SnapshotError: As of `sizes()`.
    """
    two = [sizes(snapshot, by) for snapshot in (before, after)]
    objects: dict[tuple[str, Any], int] = {}  # to their numbers, which pandas can merge by
    if by == "object":
        for frame in two:
            pairs = zip(frame.pop("Table"), frame.pop("Key"), strict=True)
            frame.index = pd.Index([objects.setdefault(pair, len(objects)) for pair in pairs], dtype="int64")
        two = [frame.groupby(level=0).sum() for frame in two]  # the same key may stand twice
    first, last = (frame[["Count", "Bytes"]] for frame in two)
    frame = first.merge(last, how="outer", left_index=True, right_index=True, suffixes=("Before", "After")).fillna(0)
    frame["Growth"] = frame["BytesAfter"] - frame["BytesBefore"]
    columns = ["CountBefore", "CountAfter", "BytesBefore", "BytesAfter", "Growth"]
    frame = frame[columns].astype("Int64")
    if by == "object":
        frame = pd.concat([_pairs(list(objects)), frame.sort_index()], axis="columns")
    return frame.sort_values("Growth", ascending=False, kind="stable", ignore_index=by == "object")


def duplication(snapshot: Snapshot) -> pd.DataFrame:
    """How often the same version of a job is in the state: as a job, as a version, and in each of its allocations.

    Copies are told by what they are of, not by their bytes: Nomad writes maps in any order, and some fields (Status,
    ModifyIndex) go on in one and not in the other.

    Returns:
        Index Namespace, Job, Version; Count (Int64; how often it is there), Allocs (Int64; how many of those are in
        allocations), Bytes (Int64; of all of them), Copies (Int64; of all but the largest), Share (Float64; of Copies
        in state.bin), the largest Copies first. A job that was purged and registered anew begins its versions anew,
        and has a row for each time.

    Raises:
        RecordError: A record can't be taken apart.
    """
    records = records_by_type(snapshot)
    parts = []
    for table in ("jobs", "job_versions", "allocs"):
        kind = BY_TABLE[table]
        jobs: Sequence[Buffer] = records.get(kind.byte, ())
        if table == "allocs":
            jobs = [job for job in packed(kind, jobs, ["Job"])["Job"] if len(job) > 1]
        found = unpacked(kind, jobs, ["Namespace", "ID", "Version", "CreateIndex"])
        part = _frame({"Namespace": found["Namespace"], "Job": found["ID"], "Version": found["Version"]}, jobs)
        part["CreateIndex"] = pd.array(list(map(number_of, found["CreateIndex"])), dtype="Int64")
        parts.append(part.assign(Alloc=int(table == "allocs")))
    groups = pd.concat(parts).groupby(["Namespace", "Job", "Version", "CreateIndex"], dropna=False)
    frame = groups.agg(
        Count=("Count", "sum"), Allocs=("Alloc", "sum"), Bytes=("Bytes", "sum"), Largest=("Bytes", "max")
    )
    frame = frame.astype("Int64")
    frame["Copies"] = frame["Bytes"] - frame.pop("Largest")
    frame["Share"] = frame["Copies"].astype("Float64") / snapshot.meta.size
    return frame.droplevel("CreateIndex").sort_values("Copies", ascending=False, kind="stable")


# -- records and their fields


def records_by_type(snapshot: Snapshot) -> dict[int, list[Buffer]]:
    """The packed records of each type byte, in order."""
    records: dict[int, list[Buffer]] = {}
    for byte, value in snapshot.raw():
        records.setdefault(byte, []).append(value)
    return records


def packed(kind: RecordType, records: Sequence[Buffer], names: Sequence[str]) -> dict[str, list[Buffer]]:
    """Some fields of many records, each still packed; nil where a record lacks one.

    Raises:
        RecordError: A record is not a map of fields.
    """
    columns: dict[str, list[Buffer]] = {name: [] for name in names}
    for start in range(0, len(records), BATCH):
        try:
            rows = split_maps([record if len(record) > 1 else EMPTY for record in records[start : start + BATCH]])
        except RecordError as error:
            raise error.at(f"{kind.name} records") from error
        for name, column in columns.items():
            column.extend(row.get(name, NIL) for row in rows)
    return columns


def unpacked(kind: RecordType, records: Sequence[Buffer], names: Sequence[str]) -> dict[str, list[Any]]:
    """As `packed()`, unpacked."""
    return {name: unpack_column(column) for name, column in packed(kind, records, names).items()}


def name_of(value: Any) -> str | None:
    return text(value) if isinstance(value, bytes) else None


def number_of(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**63 else None


# -- by what a record is of

_INDEX: Mapping[str, list[str]] = {
    "namespace": ["Namespace"],
    "job": ["Namespace", "Job"],
    "parent": ["Namespace", "Job"],
    "version": ["Namespace", "Job", "Version"],
    "group": ["Namespace", "Job", "Group"],
}


def _by_label(snapshot: Snapshot, by: str) -> pd.DataFrame:
    parts = [_frame({}, ())]
    header = len(snapshot.header)  # it counts with the first record, as in Nomad's inspect
    for byte, records in records_by_type(snapshot).items():
        kind = record_type(byte)
        part = _frame(labels(kind, records, by), records, header)
        part["Bytes"] += 1  # the type byte
        parts.append(_by_group(kind, records, part) if by == "group" and kind.struct == "Job" else part)
        header = 0
    frame = pd.concat(parts)
    if by == "parent":
        frame["Job"] = frame["Job"].str.replace(CHILD, "", regex=True)
    if by != "namespace":  # what is of no job counts together, whatever its namespace
        frame.loc[frame["Job"].isna(), ["Namespace", "Version", "Group"]] = None
    return frame.groupby(_INDEX[by], dropna=False)[["Count", "Bytes"]].sum()


def labels(kind: RecordType, records: Sequence[Buffer], by: str) -> dict[str, list[Any]]:
    """What each record is of: Namespace, Job, Version and Group, as far as they are known."""
    known = fields(kind.struct)
    if kind.struct == "ScalingPolicy":
        targets = packed(kind, records, ["Target"])["Target"]
        columns = unpacked(kind, targets, ["Namespace", "Job", "Group"])
    else:
        job = "JobID" if "JobID" in known else "ID" if kind.struct in ("Job", "PeriodicLaunch") else ""
        version = "JobVersion" if "JobVersion" in known else "Version" if job else ""
        group = "TaskGroup"
        sources = {"Namespace": "Namespace", "Job": job, "Version": version, "Group": group}
        wanted = {label: name for label, name in sources.items() if name in known}
        found = unpacked(kind, records, list(wanted.values())) if wanted else {}
        columns = {label: found[name] for label, name in wanted.items()}
        if kind.struct == "Allocation" and by == "version":
            jobs = packed(kind, records, ["Job"])["Job"]
            columns["Version"] = unpacked(kind, jobs, ["Version"])["Version"]
    return columns


def _frame(labels: Mapping[str, Sequence[Any]], records: Sequence[Buffer], first: int = 0) -> pd.DataFrame:
    """A row for each record: what it is of, Count (1) and Bytes, of which the first has some more."""
    unknown = [None] * len(records)
    frame: dict[str, Any] = {
        name: pd.array(list(map(name_of, labels.get(name, unknown))), dtype="str")
        for name in ("Namespace", "Job", "Group")
    }
    frame["Version"] = pd.array(list(map(number_of, labels.get("Version", unknown))), dtype="Int64")
    frame["Count"] = pd.array([1] * len(records), dtype="Int64")
    frame["Bytes"] = pd.array([len(record) + (0 if i else first) for i, record in enumerate(records)], dtype="Int64")
    return pd.DataFrame(frame)


def _by_group(kind: RecordType, jobs: Sequence[Buffer], frame: pd.DataFrame) -> pd.DataFrame:
    """Jobs without their task groups, and these."""
    of: list[int] = []  # the job that each group is of
    groups: list[Buffer] = []
    for i, packed_groups in enumerate(packed(kind, jobs, ["TaskGroups"])["TaskGroups"]):
        items = _lists([packed_groups])
        for item in items[0] if items else ():
            of.append(i)
            groups.append(item)
    parts = _frame({"Group": unpacked(kind, groups, ["Name"])["Name"]}, groups)
    parts[["Namespace", "Job"]] = frame.loc[of, ["Namespace", "Job"]].to_numpy()
    inside = parts["Bytes"].groupby(of).sum().reindex(frame.index, fill_value=0)
    return pd.concat([frame.assign(Bytes=frame["Bytes"] - inside), parts])


def _by_object(snapshot: Snapshot) -> pd.DataFrame:
    pairs: list[tuple[str, Any]] = []
    bytes_: list[int] = []
    first = snapshot.type_bytes[:1]
    for table in snapshot.tables.index:
        lengths = snapshot.record_bytes(table)
        if first and record_type(first[0]).table == table:
            lengths.iloc[0] += len(snapshot.header)
        parts = len(BY_TABLE[table].key) if table in BY_TABLE else 0
        pairs += [(table, () if parts == 0 else key if parts > 1 else (key,)) for key in lengths.index]
        bytes_ += lengths.tolist()
    return _pairs(pairs).assign(Count=pd.array([1] * len(pairs), "Int64"), Bytes=pd.array(bytes_, "Int64"))


def _pairs(pairs: Sequence[tuple[str, Any]]) -> pd.DataFrame:
    """Table and Key of some objects."""
    tables = pd.array([table for table, _ in pairs], dtype="str")
    return pd.DataFrame({"Table": tables, "Key": pd.Series([key for _, key in pairs], dtype="object")})


# -- by field


def _by_field(snapshot: Snapshot) -> pd.DataFrame:
    rows = []
    header = len(snapshot.header)
    for byte, records in records_by_type(snapshot).items():
        kind = record_type(byte)
        walk = _Walk()
        struct = Type("struct", struct=kind.struct)
        try:
            for start in range(0, len(records), BATCH):
                batch = records[start : start + BATCH]
                walk.add("", len(batch), sum(map(len, batch)) + len(batch))
                walk.descend("", batch, Type("list", struct) if byte == TIME_TABLE else struct, MAX_DEPTH)
        except RecordError as error:
            raise error.at(f"{kind.name} records") from error
        walk.add("", 0, header)
        header = 0
        rows += [(kind.table, path, *figures) for path, figures in walk.rows.items()]
    frame = pd.DataFrame(rows, columns=["Table", "Path", "Count", "Bytes", "Own"])
    types = {"Table": "str", "Path": "str", "Count": "Int64", "Bytes": "Int64", "Own": "Int64"}
    return frame.astype(types).set_index(["Table", "Path"])


class _Walk:
    """Goes down the fields of many records at once, level by level, without unpacking a value.

    Attributes:
        rows: Count, bytes with all that is below, and bytes without, by path.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[int]] = {}
        self._unknown = 0

    def add(self, path: str, count: int, size: int) -> None:
        row = self.rows.setdefault(path, [0, 0, 0])
        row[0] += count
        row[1] += size
        row[2] += size

    def descend(self, path: str, values: Sequence[Buffer], kind: Type, depth: int) -> None:
        """Count what is in values whose own bytes are counted.

        Raises:
            RecordError: They are nested more than 200 deep.
        """
        for name, column, names, element in self._children(path, values, kind):
            if depth == 0:
                raise RecordError(f"one is nested more than {MAX_DEPTH} deep")
            size = names + sum(map(len, column))
            self.add(name, len(column), size)
            self.rows[path][2] -= size
            if element.nested:
                self.descend(name, column, element, depth - 1)

    def _children(
        self, path: str, values: Sequence[Buffer], kind: Type
    ) -> Iterator[tuple[str, Sequence[Buffer], int, Type]]:
        """What is one level below: its path, its values, the bytes of its names, and its type."""
        if kind.kind == "any":
            firsts = [memoryview(value)[0] for value in values]
            maps = [value for value, first in zip(values, firsts, strict=True) if _is_map(first)]
            lists = [value for value, first in zip(values, firsts, strict=True) if _is_list(first)]
            yield from self._children(path, maps, Type("map", ANY)) if maps else ()
            yield from self._children(path, lists, Type("list", ANY)) if lists else ()
        elif kind.kind == "list":
            items = [item for items in _lists(values) for item in items]
            if items:
                yield f"{path}[]", items, 0, kind.element or ANY
        elif kind.kind == "map":
            below = _maps(values)
            if items := [item for entries in below for item in entries.values()]:
                names = "".join(["".join(entries) for entries in below])
                yield _below(path, "*"), items, _name_bytes(names, len(items)), kind.element or ANY
        else:
            yield from self._fields(path, _maps(values), kind)

    def _fields(
        self, path: str, rows: Sequence[Mapping[str, Buffer]], kind: Type
    ) -> Iterator[tuple[str, Sequence[Buffer], int, Type]]:
        known = fields(kind.struct)
        names: dict[str, Any] = {}
        for row in rows:
            names.update(row)  # for its keys, in order
        for name in names:
            try:
                column = list(map(itemgetter(name), rows))
            except KeyError:
                column = [row[name] for row in rows if name in row]
            field = known.get(name)
            place = _below(path, name)
            if field is None and place not in self.rows:
                self._unknown += 1
            if field is None and place not in self.rows and self._unknown > MAX_FIELDS:
                place = _below(path, "*")
            yield place, column, _name_bytes(name * len(column), len(column)), field.type if field else ANY


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _name_bytes(names: str, count: int) -> int:
    """What names take: their letters and a byte ahead of each. What long ones take more stays with the map."""
    return len(names.encode()) - 2 * names.count("\N{REPLACEMENT CHARACTER}") + count  # which is of one byte


def _is_map(first: int) -> bool:
    return first & 0xF0 == 0x80 or first in (0xDE, 0xDF)


def _is_list(first: int) -> bool:
    return first & 0xF0 == 0x90 or first in (0xDC, 0xDD)


_MAPS = msgspec.msgpack.Decoder(list[dict[str, msgspec.Raw] | None])
_LISTS = msgspec.msgpack.Decoder(list[list[msgspec.Raw] | None])


def _maps(values: Sequence[Buffer]) -> list[Mapping[str, Buffer]]:
    """The fields of those values that are maps with any, each still packed."""
    try:
        return [entries for entries in _MAPS.decode(_joined(values)) if entries]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # some are no maps, or have odd keys
        return [entries for value in values if _is_map(memoryview(value)[0]) and (entries := dict(_entries(value)))]


def _lists(values: Sequence[Buffer]) -> list[Sequence[Buffer]]:
    """The items of those values that are lists, each still packed."""
    try:
        return [items for items in _LISTS.decode(_joined(values)) if items]
    except (msgspec.MsgspecError, RecursionError):
        return [[item for _, item in _entries(value)] for value in values if _is_list(memoryview(value)[0])]


def _entries(value: Buffer) -> Iterator[tuple[str, Buffer]]:
    """The entries of a map or list one by one, also of a map with odd keys; those whose key is no text are left out."""
    view = memoryview(value)
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=len(view))
    unpacker.feed(view)
    named = _is_map(view[0])
    for _ in range(unpacker.read_map_header() if named else unpacker.read_array_header()):
        start = unpacker.tell()
        if named:
            unpacker.skip()
        middle = unpacker.tell()
        unpacker.skip()
        name = unpack(view[start:middle]) if named and _is_text(view[start]) else b""
        if name or not named:
            yield text(name), view[middle : unpacker.tell()]


def _is_text(first: int) -> bool:
    return first & 0xE0 == 0xA0 or first in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB)


def _joined(values: Sequence[Buffer]) -> bytes:
    return b"".join([b"\xdd", len(values).to_bytes(4, "big"), *values])
