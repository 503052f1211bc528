"""The identities that records name: by whose token a version of a job was registered, and a node drained last.

Of nothing else does the state keep that. A token is no person: it may be shared, or stolen. And a field may be older
than the write that it stands in: a version that comes of scaling, of stopping or of a deployment that was reverted by
itself keeps the token of the version that it was made of, and a child of a periodic or parameterized job that of its
parent. So `Named.certain` tells whether it is of this very write.

Source: Nomad's nomad/job_endpoint.go (doRegister, Revert, Scale, Dispatch), nomad/periodic.go, nomad/fsm.go
(handleJobDeregister), nomad/state/state_store.go (updateNodeDrainImpl), structs.AuthenticatedIdentity.String; seen on
real servers of 1.8.4 and 2.0.5.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from snapkit.errors import RecordError
from snapkit.format.schema import fields
from snapkit.state.snapshot.snapshot import Snapshot

#: Of a version, what is asked for.
_OF_A_VERSION = ("NomadTokenID", "ParentID", "CreateIndex", "JobModifyIndex", "SubmitTime")
_COMPLETE = "Node drain complete"  # the drainer's own event, of which no request tells


@dataclass(frozen=True, slots=True)
class Named:
    """A record that names an identity.

    Attributes:
        table: Of the record: `job_versions`, `nodes`, or `allocs` (their copy of a version that is gone).
        key: Of the record.
        did: `registered` or `drained` (set a drain, changed or ended it).
        by: `token`, `anonymous`, or what else a server calls it: `alloc` (a task's own identity), `client`.
        id: A token's AccessorID; of others what the server calls it by.
        certain: Is it of the write at `index`? Else it is that, or one before. One case looks certain and is not: a
            task that reverts a job by its own identity leaves the token of the version that it reverts to.
        index: The Raft index of the write; None if that is not known.
        time: When, in Unix nanoseconds; None if that is not known.
    """

    table: str
    key: tuple[Any, ...]
    did: str
    by: str
    id: str
    certain: bool
    index: int | None
    time: int | None


def registered(snapshot: Snapshot) -> Iterator[Named]:
    """By which token each version of a job was registered. A child of a job that is there names its parent's."""
    frame = snapshot.table("job_versions", list(_OF_A_VERSION))
    jobs = set(snapshot.table("jobs", []).index)
    numbered = ((key, row) for key, row in _rows(frame) if not pd.isna(key[2]))
    versions = {key: row for key, row in numbered if (key[0], row["ParentID"]) not in jobs}
    yield from _of_versions("job_versions", {key: (key, row) for key, row in versions.items()}, snapshot)


def carried(snapshot: Snapshot) -> Iterator[Named]:
    """The same of versions that are gone and of which allocations have a copy still, as of a job that was purged."""
    there = snapshot.table("job_versions", ["CreateIndex"])["CreateIndex"].to_dict()
    found: dict[tuple[Any, ...], tuple[tuple[Any, ...], dict[str, Any]]] = {}
    wanted = {"ID": None, "Namespace": None, "JobID": None, "Job": [*_OF_A_VERSION, "Version"]}
    for alloc in snapshot.objects("allocs", wanted):
        job = alloc.get("Job")
        if isinstance(job, dict) and not job.get("ParentID") and (number := _number(job.get("Version"))) is not None:
            row: dict[str, Any] = {name: _number(job.get(name)) for name in _OF_A_VERSION}
            row |= {"NomadTokenID": _text(job.get("NomadTokenID")), "ParentID": None}
            version = _text(alloc.get("Namespace")), _text(alloc.get("JobID")), number
            if there.get(version) != row["CreateIndex"]:
                found.setdefault((*version, row["CreateIndex"]), ((_text(alloc.get("ID")),), row))
    yield from _of_versions("allocs", found, snapshot)


def _of_versions(
    table: str, versions: Mapping[tuple[Any, ...], tuple[tuple[Any, ...], Mapping[str, Any]]], snapshot: Snapshot
) -> Iterator[Named]:
    """By namespace, job, version (and more): the key of the record that tells, and its fields."""
    evaluated = _evaluated_at_once(snapshot)
    numbers: dict[tuple[Any, ...], list[int]] = {}  # of a job since it was made, its versions
    first: dict[tuple[Any, ...], dict[Any, int]] = {}  # and by token the first of them
    for (namespace, job, version, *_), (_, row) in versions.items():
        since, token = (namespace, job, row["CreateIndex"]), row["NomadTokenID"]
        numbers.setdefault(since, []).append(version)
        by_token = first.setdefault(since, {})
        by_token[token] = min(version, by_token.get(token, version))
    for known in numbers.values():
        known.sort()
    for (namespace, job, version, *_), (key, row) in versions.items():
        token, made, written = row["NomadTokenID"], row["CreateIndex"], row["JobModifyIndex"]
        if not token:
            continue
        by_token = first[namespace, job, made]
        # A version may say any number of itself: what is before it is not counted up.
        all_before = bisect_left(numbers[namespace, job, made], version) == version
        new = all_before and min(by_token[token], by_token.get(None, version)) >= version
        certain = not row["ParentID"] and (written == made or (namespace, job, written) in evaluated or new)
        yield Named(table, key, "registered", *_identity(token), certain, written or None, row["SubmitTime"] or None)


def _evaluated_at_once(snapshot: Snapshot) -> set[tuple[Any, ...]]:
    """Namespace, job and index of registrations: their evaluation is of the same entry of Raft's log.

    Those that somebody forces have the same trigger, and an index of their own.
    """
    frame = snapshot.table("evals", ["Namespace", "JobID", "TriggeredBy", "JobModifyIndex", "CreateIndex"])
    frame = frame[(frame["TriggeredBy"] == "job-register") & (frame["JobModifyIndex"] == frame["CreateIndex"])]
    return set(zip(frame["Namespace"], frame["JobID"], frame["CreateIndex"], strict=True))


def drained(snapshot: Snapshot) -> Iterator[Named]:
    """Who set, changed or ended the last drain of each node, where servers keep that (from 1.1 on)."""
    if "LastDrain" not in fields("Node"):
        return
    for node in snapshot.objects("nodes", dict.fromkeys(("ID", "LastDrain", "Events"))):
        drain = node.get("LastDrain")
        if not isinstance(drain, dict) or not drain.get("AccessorID"):
            continue
        # The request's own event is in the same entry of Raft's log. Only the last ten events are kept.
        events = node.get("Events") or []
        if not isinstance(events, list):
            raise RecordError("is no list", "Node records, field Events", "snapkit verify tells which")
        asked = [event for event in events if _asks_to_drain(event)]
        last: Mapping[str, Any] = max(asked, key=lambda event: _number(event.get("CreateIndex")) or 0, default={})
        yield Named(
            *("nodes", (str(node.get("ID")),), "drained", *_identity(str(drain["AccessorID"]))),
            *(True, _number(last.get("CreateIndex")) or None, _moment(last.get("Timestamp") or drain.get("StartedAt"))),
        )


def _asks_to_drain(event: Any) -> bool:
    if not isinstance(event, dict | None):
        raise RecordError("is no map of fields", "Node records, field Events", "snapkit verify tells which")
    return event is not None and event.get("Subsystem") == "Drain" and event.get("Message") != _COMPLETE


def _identity(text: str) -> tuple[str, str]:
    """What a server calls an identity, taken apart. Older releases have the accessor alone."""
    if text == "anonymous":
        return "anonymous", ""
    kind, colon, rest = text.partition(":")
    return (kind, rest) if colon else ("token", text)


def _text(value: Any) -> str | None:
    """A nested field may hold anything."""
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _moment(value: Any) -> int | None:
    try:
        moment = pd.Timestamp(value).as_unit("ns").value if value else 0
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment > 0 else None


def _rows(frame: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Each row by its key, as plain values; a time as Unix nanoseconds."""
    columns = [_plain(frame[name]) for name in frame.columns]
    for key, *values in zip(frame.index, *columns, strict=True):
        yield key, dict(zip(map(str, frame.columns), values, strict=True))


def _plain(column: pd.Series[Any]) -> Iterable[Any]:
    if pd.api.types.is_datetime64_any_dtype(column):
        return [None if pd.isna(value) else value.as_unit("ns").value for value in column]
    return [None if pd.isna(value) else value for value in column]
