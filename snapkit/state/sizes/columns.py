"""Fields of many records at once, without decoding what else is in them; and what each record is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from snapkit.errors import RecordError
from snapkit.format.schema import RecordType, fields
from snapkit.format.values import Buffer, split_maps, text, unpack_column

if TYPE_CHECKING:
    from snapkit.state.snapshot import Snapshot

BATCH = 512  # records that are taken apart at once, while they are in the processor's cache
NIL, EMPTY = b"\xc0", b"\x80"


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
    """A field that is a name, as text; None for anything else."""
    return text(value) if isinstance(value, bytes) else None


def number_of(value: Any) -> int | None:
    """A field that is an index, a version or a time; None for anything else."""
    return value if isinstance(value, int) and 0 <= value < 2**63 else None


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
