"""What garbage collection will take of a state, and when: Nomad's own rules, asked of records.

A server asks again and again whether a thing is old enough. Turned around, each object has a moment from which it may
be taken, or none; where one waits for others (a job for its evaluations), that is the latest of theirs.
Source: nomad/core_sched.go, nomad/state/schema.go (jobIsGCable) and state_store.go (DeleteJobTxn, DeleteEval) of
Nomad 2.0.5; of 1.8.4 for states with a time table: before 1.9.2 age was told by Raft's indexes and that table.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pandas as pd

from snapkit.errors import SnapshotError
from snapkit.format.schema import BY_TABLE
from snapkit.format.values import Buffer, text
from snapkit.state.sizes.columns import labels, name_of, number_of, records_by_type, unpacked

if TYPE_CHECKING:
    from snapkit.state.snapshot import Snapshot

HOUR = 3_600 * 10**9  # nanoseconds
NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How old things must be: the server's settings of the same names, with their defaults; nanoseconds.

    Source: nomad/config.go, DefaultConfig.
    """

    job_gc_threshold: int = 4 * HOUR
    eval_gc_threshold: int = HOUR
    batch_eval_gc_threshold: int = 24 * HOUR
    deployment_gc_threshold: int = HOUR
    node_gc_threshold: int = 24 * HOUR


def collectable(snapshot: Snapshot, now: datetime | None = None, thresholds: Thresholds | None = None) -> pd.DataFrame:
    """What garbage collection takes, now or later, if nothing changes: an object a row, the soonest first.

    Dead jobs with all that is theirs, terminal evaluations with their allocations, deployments and nodes. Not here:
    expired tokens, CSI volumes and plugins, keys. Nomad collects an allocation by its evaluation or its job; one
    that has neither is never taken.

    Args:
        snapshot: The open snapshot.
        now: When it is; by default when the snapshot was taken.
        thresholds: The server's settings; by default its defaults.

    Returns:
        Table (str), Key (object; tuples), Namespace, Job (str; NA for nodes), Collector (str; `job`, `eval`,
        `deployment` or `node`), Due (datetime64[ns, UTC]; from when it may be taken), Now (boolean; it may be taken
        now), Bytes (Int64; of the state).

    Raises:
        SnapshotError: It is not known when the snapshot was taken, and `now` is not given.
        RecordError: A record can't be taken apart.
    """
    moment = snapshot.meta.created if now is None else pd.Timestamp(now)
    if moment is None:
        raise SnapshotError("does not say when it was taken", snapshot.meta.source, "say what time to judge by: now=")
    moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment
    taken = sorted(_Collection(snapshot, thresholds or Thresholds()).taken(), key=lambda each: each.due)
    due = pd.Series(pd.to_datetime([each.due for each in taken], unit="ns", utc=True))
    return pd.DataFrame(
        {
            "Table": pd.array([each.table for each in taken], dtype="str"),
            "Key": pd.Series([each.key for each in taken], dtype="object"),
            "Namespace": pd.array([each.job[0] if each.job else None for each in taken], dtype="str"),
            "Job": pd.array([each.job[1] if each.job else None for each in taken], dtype="str"),
            "Collector": pd.array([each.collector for each in taken], dtype="str"),
            "Due": due.astype("datetime64[ns, UTC]"),
            "Now": (due <= moment).astype("boolean"),
            "Bytes": pd.array([each.bytes for each in taken], dtype="Int64"),
        }
    )


def by_table(taken: pd.DataFrame) -> pd.DataFrame:
    """What `collectable()` found, in numbers.

    Returns:
        Index Collector, Table; Count, Bytes (Int64; of what may be taken now), CountLater, BytesLater (Int64; of the
        rest), the most bytes first.
    """
    now, later = (part.groupby(["Collector", "Table"])["Bytes"] for part in (taken[taken.Now], taken[~taken.Now]))
    columns = {"Count": now.size(), "Bytes": now.sum(), "CountLater": later.size(), "BytesLater": later.sum()}
    frame = pd.DataFrame(columns).fillna(0).astype("Int64")
    return frame.sort_values(["Bytes", "BytesLater"], ascending=False, kind="stable")


#: What goes with a job that is taken.
OF_A_JOB = (
    *("jobs", "job_versions", "job_summaries", "job_submissions", "periodic_launches", "scaling_policies"),
    *("scaling_events", "deployments", "evals", "allocs"),
)
#: The fields that are asked for, by table: taken out of the records at once.
READ: Mapping[str, tuple[str, ...]] = {
    "jobs": (
        *("Status", "Stop", "Type", "VersionTag", "Periodic", "ParameterizedJob", "Dispatched"),
        *("SubmitTime", "CreateIndex", "JobModifyIndex"),
    ),
    "job_versions": ("VersionTag",),
    "allocs": (
        *("EvalID", "NodeID", "DeploymentID", "ClientStatus", "DesiredStatus", "TaskGroup", "NextAllocation"),
        *("ModifyTime", "ModifyIndex", "CreateIndex"),
    ),
    "evals": ("Namespace", "JobID", "Status", "Type", "ModifyTime", "ModifyIndex"),
    "deployments": ("Status", "ModifyTime", "ModifyIndex"),
    "nodes": ("Status", "StatusUpdatedAt", "ModifyIndex"),
    "services": ("AllocID",),
}
JobKey: TypeAlias = tuple[str | None, str | None]


class _Taken(NamedTuple):
    table: str
    key: tuple[Any, ...]
    job: JobKey | None
    collector: str
    due: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Job:
    due: int  # by its own age and state alone
    dead: bool
    stop: bool
    modify_index: int
    record: Buffer

    def reschedule_policy(self, group: Any) -> dict[bytes, Any]:
        """Of one of its task groups; empty if there is none."""
        for each in map(_map, _items(_field("jobs", self.record, "TaskGroups"))):
            if each.get(b"Name") == group:
                return _map(each.get(b"ReschedulePolicy"))
        return {}


@dataclass(frozen=True, slots=True)
class _Alloc:
    number: int  # of its record in the table
    since: int
    client: Any
    desired: Any
    group: Any
    successor: Any
    create_index: int
    record: Buffer

    @property
    def terminal(self) -> bool:
        return self.desired in (b"stop", b"evict") or self.client in (b"complete", b"failed", b"lost")

    def last_reschedule(self) -> dict[bytes, Any]:
        """The last attempt to run it elsewhere; empty if there was none."""
        tracker = _map(_field("allocs", self.record, "RescheduleTracker"))
        return _map((_items(tracker.get(b"Events")) or [None])[-1])


@dataclass(frozen=True, slots=True)
class _Eval:
    job: JobKey
    since: int
    terminal: bool
    batch: bool
    allocs: Sequence[_Alloc]


class _Collection:
    """Works out from when each object may be taken, and by which collector."""

    def __init__(self, snapshot: Snapshot, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._records = records_by_type(snapshot)
        self._columns: dict[str, dict[str, list[Any]]] = {}
        self._witness = _witness(snapshot)
        self._jobs = self._read_jobs()
        self._allocs = self._read_allocs()

    def taken(self) -> Iterator[_Taken]:
        """All that may ever be taken."""
        evals = self._read_evals()
        by_eval = [NEVER] * len(self._allocs)
        eval_due = []
        for evaluation in evals:
            batch, thresholds = evaluation.batch, self._thresholds
            threshold = thresholds.batch_eval_gc_threshold if batch else thresholds.eval_gc_threshold
            due, with_it = self._eval_with_allocs(evaluation, threshold, False)
            eval_due.append(due)
            for alloc, due in zip(evaluation.allocs, with_it, strict=True):
                by_eval[alloc.number] = min(by_eval[alloc.number], due)
        job_due = self._jobs_due(evals, eval_due)
        allocs = list(self._dated("allocs", "eval", by_eval, job_due))
        dues = [each.due for each in allocs]
        dated: dict[str, Iterable[_Taken]] = {
            "allocs": allocs,
            "evals": self._dated("evals", "eval", eval_due, job_due),
            "deployments": self._dated("deployments", "deployment", self._deployments_due(dues), job_due),
            "nodes": self._dated("nodes", "node", self._nodes_due(dues), {}),
            "services": self._dated("services", "eval", self._services_due(dues), {}),
        }
        for table in dict.fromkeys((*OF_A_JOB, *dated)):
            found = dated[table] if table in dated else self._dated(table, "job", None, job_due)
            yield from (each for each in found if each.due < NEVER)

    def _dated(
        self, table: str, collector: str, own: Sequence[int] | None, job_due: Mapping[JobKey, int]
    ) -> Iterator[_Taken]:
        """All records of a table: each is due by itself, or with its job if that is sooner."""
        kind = BY_TABLE[table]
        records = self._of(table)
        keys = self._rows(table, *kind.key)
        names = labels(kind, records, "job") if records else {}
        nothing = [None] * len(records)
        jobs = zip(names.get("Namespace", nothing), names.get("Job", nothing), strict=True)
        dues = own if own is not None else [NEVER] * len(records)
        for record, key, job, due in zip(records, keys, jobs, dues, strict=True):
            of = (name_of(job[0]), name_of(job[1]))
            with_job = job_due.get(of, NEVER)
            shown = tuple(text(part) if isinstance(part, bytes) else part for part in key)
            by = collector if due <= with_job else "job"
            yield _Taken(table, shown, of if of[1] else None, by, min(due, with_job), len(record) + 1)

    def _rows(self, table: str, *names: str) -> Iterator[tuple[Any, ...]]:
        """Some fields of the records of a table, unpacked."""
        if table not in self._columns:
            kind = BY_TABLE[table]
            wanted = dict.fromkeys((*kind.key, *READ.get(table, ())))
            self._columns[table] = unpacked(kind, self._of(table), list(wanted))
        return zip(*(self._columns[table][name] for name in names), strict=True)

    def _since(self, time: Any, index: Any) -> int:
        """What the age of an object is told from: a time of its own, or the time table's for an index of its own."""
        return self._witness(number_of(index) or 0) if self._witness else number_of(time) or 0

    # -- what there is

    def _read_jobs(self) -> dict[JobKey, _Job]:
        tagged = {
            (name_of(namespace), name_of(job))
            for namespace, job, tag in self._rows("job_versions", "Namespace", "ID", "VersionTag")
            if tag is not None
        }
        states = self._rows("jobs", "Namespace", "ID", "Status", "Stop", "Type", "VersionTag")
        kinds = self._rows("jobs", "Periodic", "ParameterizedJob", "Dispatched")
        numbers = self._rows("jobs", "SubmitTime", "CreateIndex", "JobModifyIndex")
        jobs = {}
        for record, state, kind, number in zip(self._of("jobs"), states, kinds, numbers, strict=True):
            namespace, name, status, stop, type_, tag = state
            periodic, parameterized, dispatched = kind
            submitted, created, modified = number
            key = (name_of(namespace), name_of(name))
            dead = status == b"dead"
            ended = dead and (stop or type_ in (b"batch", b"sysbatch"))
            if _map(periodic).get(b"Enabled") or (parameterized is not None and not dispatched):
                ended = stop
            due = self._since(submitted, created) + self._thresholds.job_gc_threshold
            kept = not ended or tag is not None or key in tagged
            jobs[key] = _Job(NEVER if kept else due, dead, bool(stop), number_of(modified) or 0, record)
        return jobs

    def _read_allocs(self) -> list[_Alloc]:
        numbers = self._rows("allocs", "ModifyTime", "ModifyIndex", "CreateIndex")
        states = self._rows("allocs", "ClientStatus", "DesiredStatus", "TaskGroup", "NextAllocation")
        allocs: list[_Alloc] = []
        for record, (time, index, created), state in zip(self._of("allocs"), numbers, states, strict=True):
            client, desired, group, successor = state
            since, create_index = self._since(time, index), number_of(created) or 0
            allocs.append(_Alloc(len(allocs), since, client, desired, group, successor, create_index, record))
        return allocs

    def _read_evals(self) -> list[_Eval]:
        made_by: dict[str | None, list[_Alloc]] = defaultdict(list)
        for alloc, (of,) in zip(self._allocs, self._rows("allocs", "EvalID"), strict=True):
            made_by[name_of(of)].append(alloc)
        names = ("ID", "Namespace", "JobID", "ModifyTime", "ModifyIndex", "Status", "Type")
        return [
            _Eval(
                (name_of(namespace), name_of(job)),
                self._since(time, index),
                status in (b"complete", b"failed", b"canceled"),
                type_ == b"batch",
                made_by.get(name_of(of), ()),
            )
            for of, namespace, job, time, index, status, type_ in self._rows("evals", *names)
        ]

    def _of(self, table: str) -> Sequence[Buffer]:
        return self._records.get(BY_TABLE[table].byte, ())

    # -- from when it may be taken

    def _eval_with_allocs(self, evaluation: _Eval, threshold: int, dead_is_enough: bool) -> tuple[int, list[int]]:
        """An evaluation, and each of its allocations (Nomad: gcEval)."""
        if not evaluation.terminal:
            return NEVER, [NEVER] * len(evaluation.allocs)
        oldest = evaluation.since + threshold
        job = self._jobs.get(evaluation.job)
        if evaluation.batch and job is not None and not (job.dead and (job.stop or dead_is_enough)):
            # Of a batch job that may yet run: only what an older version of it left.
            allocs = [
                alloc.since + threshold + 1 if alloc.terminal and alloc.create_index < job.modify_index else NEVER
                for alloc in evaluation.allocs
            ]
        else:
            allocs = [self._alloc(alloc, job, threshold) for alloc in evaluation.allocs]
        allocs = [max(oldest, due) for due in allocs]
        return max([oldest, *allocs]), allocs

    def _alloc(self, alloc: _Alloc, job: _Job | None, threshold: int) -> int:
        """An allocation, as far as it is up to it (Nomad: allocGCEligible)."""
        if not alloc.terminal or alloc.client == b"running":
            return NEVER
        due = alloc.since + threshold
        if job is None or job.stop or job.dead or alloc.desired == b"stop" or alloc.client != b"failed":
            return due
        policy = job.reschedule_policy(alloc.group)
        if alloc.successor or not (policy.get(b"Unlimited") or policy.get(b"Attempts")):
            return due
        last = alloc.last_reschedule()
        if policy.get(b"Unlimited") or not last:
            return NEVER
        return max(due, (number_of(last.get(b"RescheduleTime")) or 0) + (number_of(policy.get(b"Interval")) or 0) + 1)

    def _jobs_due(self, evals: Sequence[_Eval], eval_due: Sequence[int]) -> dict[JobKey, int]:
        """Jobs: they wait until all of their evaluations are taken, or may be with them (Nomad: jobGC)."""
        due = {key: job.due for key, job in self._jobs.items()}
        for evaluation, own in zip(evals, eval_due, strict=True):
            if due.get(evaluation.job, NEVER) < NEVER:
                with_job, _ = self._eval_with_allocs(evaluation, self._thresholds.job_gc_threshold, True)
                due[evaluation.job] = max(due[evaluation.job], min(own, with_job))
        return due

    def _deployments_due(self, alloc_due: Sequence[int]) -> list[int]:
        """Deployments that are over: they wait for their allocations to end or to be taken (Nomad: deploymentGC)."""
        waits = self._waits("DeploymentID", alloc_due)
        active = (b"running", b"paused", b"blocked", b"unblocking", b"initializing", b"pending")
        return [
            NEVER
            if status in active
            else max(self._since(time, index) + self._thresholds.deployment_gc_threshold, waits[name_of(of)])
            for of, status, time, index in self._rows("deployments", "ID", "Status", "ModifyTime", "ModifyIndex")
        ]

    def _nodes_due(self, alloc_due: Sequence[int]) -> list[int]:
        """Nodes that are down: they wait for their allocations as deployments do (Nomad: nodeGC)."""
        waits = self._waits("NodeID", alloc_due)
        rows = self._rows("nodes", "ID", "Status", "StatusUpdatedAt", "ModifyIndex")
        return [
            max(
                self._since((number_of(at) or 0) * 10**9, index) + self._thresholds.node_gc_threshold,
                waits[name_of(of)],
            )
            if status == b"down"
            else NEVER
            for of, status, at, index in rows
        ]

    def _waits(self, field: str, alloc_due: Sequence[int]) -> dict[str | None, int]:
        """Until when the last allocation that is not terminal is in the way of what it names."""
        waits: dict[str | None, int] = defaultdict(int)
        for alloc, due, (of,) in zip(self._allocs, alloc_due, self._rows("allocs", field), strict=True):
            if not alloc.terminal:
                waits[name_of(of)] = max(waits[name_of(of)], due)
        return waits

    def _services_due(self, alloc_due: Sequence[int]) -> list[int]:
        """Services, which go with their allocations."""
        due = dict(zip((name_of(of) for (of,) in self._rows("allocs", "ID")), alloc_due, strict=True))
        return [due.get(name_of(of), NEVER) for (of,) in self._rows("services", "AllocID")]


def _witness(snapshot: Snapshot) -> Callable[[int], int] | None:
    """The moment by which the time table knows that an index was there; None if there is no time table.

    Of an index that it does not know yet that is when the snapshot was taken, at the earliest.
    """
    table = snapshot.table("time_table", ["Index", "Time"]).dropna().sort_values("Time")
    if table.empty:
        return None
    times = table["Time"].astype("int64").tolist()
    indexes = list(accumulate(table["Index"].tolist(), max))
    created = snapshot.meta.created
    times.append(times[-1] if created is None else max(times[-1], created.value))
    return lambda index: times[bisect_left(indexes, index)]


def _field(table: str, record: Buffer, name: str) -> Any:
    return unpacked(BY_TABLE[table], [record], [name])[name][0]


def _map(value: Any) -> dict[bytes, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
