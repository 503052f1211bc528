"""What the bytes of a state are of: tables, namespaces, jobs, fields, objects, copies; and how they grew.

Where a grouping divides the state into parts, the parts add up to it to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import pandas as pd

from snapkit.errors import SnapshotError
from snapkit.format.schema import BY_TABLE, RecordType, record_type
from snapkit.format.values import Buffer
from snapkit.state.sizes.columns import labels, name_of, number_of, packed, records_by_type, unpacked
from snapkit.state.sizes.fields import by_field, lists_in

if TYPE_CHECKING:
    from snapkit.state.snapshot import Snapshot

By: TypeAlias = Literal["table", "namespace", "job", "parent", "version", "group", "field", "object"]

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
    other = {"field": by_field, "object": _by_object}.get(by)
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
        items = lists_in([packed_groups])
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
