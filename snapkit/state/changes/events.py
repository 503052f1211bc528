"""What happened, by what each record tells of itself, and over several snapshots what was deleted; not dated yet.

No text here says who did something; where a record names the token that it was done with, the event has that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pandas as pd
from msgspec.structs import replace

from snapkit.errors import RecordError
from snapkit.format.archive import Progress
from snapkit.format.schema import BY_TABLE, STAMPED_TABLES, fields, index_row
from snapkit.format.values import go_duration, go_time, pick, text
from snapkit.state.changes.clock import NANOSECONDS, keys_of, plain_values, scaling_events
from snapkit.state.snapshot import Snapshot
from snapkit.state.snapshot.named import Named, drained, registered

NEAR = 2_000_000_000  # nanoseconds; of two times this near each other, one tells nothing that the other does not


class Event(msgspec.Struct, frozen=True):
    """Something that happened, before it is dated.

    Attributes:
        kind: What, as one word: `acl_token.created`.
        table: Of the record that tells of it.
        key: Of that record.
        what: Whom it happened to: a sentence begins with it.
        happened: The rest of the sentence.
        index: The Raft index that it was written at; None if that is not known.
        time: When, in Unix nanoseconds; None if that is not known.
        namespace: Of the job or record.
        job: Its job's ID.
        node: Its node's ID.
        loose: May the time be that of an earlier write? It is shown then only where the clock agrees.
        later: May the index be that of a later write? It is left out then where the clock does not agree with the time.
        between: It was written after the first of these indexes, and at the second one at the latest.
        token: The AccessorID of the token that it was done with, where the record names it for certain.
    """

    kind: str
    table: str
    key: tuple[Any, ...]
    what: str
    happened: str
    index: int | None = None
    time: int | None = None
    namespace: str | None = None
    job: str | None = None
    node: str | None = None
    loose: bool = False
    later: bool = False
    between: tuple[int, int] | None = None
    token: str | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        """What is the same of one event in several snapshots: of a record's events, names and statuses may differ."""
        told = self.happened if self.kind in ("task.event", "node.event", "scaling.event", _RESTORED) else ""
        return self.kind, self.table, self.key, self.index, self.time, told


def events_of(snapshots: Sequence[Snapshot], progress: Progress | None) -> list[Event]:
    """All events of snapshots, the earliest first, each once: as the last one that has it tells it."""
    found: dict[tuple[Any, ...], Event] = {}
    before: Snapshot | None = None
    mine: list[Event] = []
    for place, snapshot in enumerate(snapshots):
        gone = list(_deletions(before, snapshot, mine))
        mine = []
        for step, read in enumerate(_READERS, 1):
            mine += [event for event in read(snapshot) if event.index or event.time]
            if progress is not None:
                progress(place * len(_READERS) + step, len(snapshots) * len(_READERS))
        tokens = {(one.table, one.key, one.index): one.id for one in _named(snapshot)}
        for event in [*mine, *gone]:
            token = tokens.get((event.table, event.key, event.index)) if event.kind in _NAMED else None
            if token is None and event.identity in found:
                token = found[event.identity].token  # what made it certain may have been collected since
            found[event.identity] = event if token is None else replace(event, token=token)
        before = snapshot
    return list(found.values())


#: What is done with a token that records name.
_NAMED = ("job.submitted", "job.version", "node.event")


def _named(snapshot: Snapshot) -> Iterator[Named]:
    for one in (*registered(snapshot), *drained(snapshot)):
        if one.certain and one.by == "token" and one.index is not None:
            yield one


def last_index(snapshot: Snapshot) -> int:
    """Raft's index; of a state without one, the highest in its Index table."""
    if snapshot.meta.index is not None:
        return snapshot.meta.index
    return max(_index_rows(snapshot).values(), default=0)


def _index_rows(snapshot: Snapshot) -> dict[str, int]:
    return {str(row["Key"]): row["Value"] or 0 for _, row in _rows(snapshot, "indexes", "Value")}


# -- what the tables tell

#: Tables -> the word that their events begin with. Left out are job summaries, which change with every allocation, and
#: tables about tables.
WORDS: Mapping[str, str] = {
    "nodes": "node",
    "jobs": "job",
    "evals": "eval",
    "allocs": "alloc",
    "periodic_launches": "periodic",
    "vault_accessors": "vault_accessor",
    "job_versions": "job_version",
    "deployments": "deployment",
    "acl_policies": "acl_policy",
    "acl_tokens": "acl_token",
    "scheduler_config": "scheduler_config",
    "si_token_accessors": "si_token_accessor",
    "scaling_policies": "scaling_policy",
    "csi_plugins": "csi_plugin",
    "csi_volumes": "volume",
    "event_sinks": "event_sink",
    "services": "service",
    "variables": "variable",
    "variables_quotas": "variables_quota",
    "root_key_meta": "root_key",
    "acl_roles": "acl_role",
    "acl_auth_methods": "acl_auth_method",
    "acl_binding_rules": "acl_binding_rule",
    "node_pools": "node_pool",
    "root_keys": "root_key",
    "host_volumes": "volume",
    "namespaces": "namespace",
}

#: A record: its fields by name, as plain values; times are Unix nanoseconds.
Record = Mapping[str, Any]
Reader = Callable[[Snapshot], Iterator[Event]]
_READERS: list[Reader] = []


def _reader(read: Reader) -> Reader:
    _READERS.append(read)
    return read


@_reader
def _frame(snapshot: Snapshot) -> Iterator[Event]:
    for _, record in _rows(snapshot, "cluster_metadata", "CreateTime"):
        yield Event("cluster.created", "cluster_metadata", (), "The cluster", "was created", time=record["CreateTime"])
    if bootstrap := _index_rows(snapshot).get("acl_token_bootstrap"):
        row = ("acl_token_bootstrap",)
        yield Event("acl.bootstrapped", "indexes", row, "The ACLs", "were bootstrapped", bootstrap)
    index, created = last_index(snapshot), snapshot.meta.created
    left = f"; it was salvaged: {snapshot.salvage}" if snapshot.salvage is not None else ""
    taken = f"was taken at index {index}{left}"
    yield Event("snapshot.taken", "", (), "A snapshot", taken, index, created.value if created is not None else None)


@dataclass(frozen=True, slots=True)
class _Plain:
    """A table whose records tell when they were made and last changed, and no more.

    Attributes:
        table: Its name.
        what: What to call a record; its fields in braces.
        loose: May its times be those of earlier writes?
    """

    table: str
    what: str
    loose: bool = False


_PLAIN = (
    _Plain("acl_policies", "ACL policy {Name}"),
    _Plain("acl_roles", "ACL role {Name} ({ID:.8})"),
    _Plain("acl_auth_methods", "Auth method {Name}"),
    _Plain("acl_binding_rules", "Binding rule {ID:.8} of auth method {AuthMethod}"),
    _Plain("namespaces", "Namespace {Name}"),
    _Plain("node_pools", "Node pool {Name}"),
    _Plain("scheduler_config", "The scheduler configuration"),
    _Plain("scaling_policies", "Scaling policy {ID:.8}"),
    _Plain("services", "Service {ServiceName} of job {JobID}"),
    _Plain("variables", "Variable {Path}"),
    _Plain("variables_quotas", "The variables quota"),
    _Plain("root_keys", "Root key {KeyID:.8}", loose=True),
    _Plain("root_key_meta", "Root key {KeyID:.8}", loose=True),
    _Plain("host_volumes", "Host volume {Name} ({ID:.8})", loose=True),
    _Plain("csi_volumes", "CSI volume {ID}", loose=True),
    _Plain("csi_plugins", "CSI plugin {ID}", loose=True),
    _Plain("vault_accessors", "Vault accessor {Accessor:.8}"),
    _Plain("si_token_accessors", "Consul service identity {AccessorID:.8}"),
    _Plain("event_sinks", "Event sink {ID}"),
)
#: What every event wants to know of its record.
_USUAL = ("CreateIndex", "ModifyIndex", "CreateTime", "ModifyTime", "Namespace", "JobID", "NodeID")


@_reader
def _plain_records(snapshot: Snapshot) -> Iterator[Event]:
    for plain in _PLAIN:
        for key, record in _rows(snapshot, plain.table, *_USUAL, *re.findall(r"{(\w+)", plain.what)):
            shown = {name: "" if value is None else value for name, value in record.items()}
            what = plain.what.format_map(shown) + _in_namespace(record)
            yield from _made_and_changed(plain.table, key, what, record, loose=plain.loose)


def _made_and_changed(
    table: str, key: tuple[Any, ...], what: str, record: Record, changed: str = "was changed", *, loose: bool = False
) -> Iterator[Event]:
    """That a record was made, and if it was written again, when it was last."""
    made = Event(
        *(f"{WORDS[table]}.created", table, key, what, "was created"),
        index=record["CreateIndex"],
        time=record["CreateTime"],
        namespace=record["Namespace"],
        job=record["JobID"],
        node=record["NodeID"],
        loose=loose,
    )
    yield made
    if record["ModifyIndex"] != record["CreateIndex"]:
        kind = f"{WORDS[table]}.changed"
        yield replace(made, kind=kind, happened=changed, index=record["ModifyIndex"], time=record["ModifyTime"])


@_reader
def _tokens(snapshot: Snapshot) -> Iterator[Event]:
    for key, record in _rows(snapshot, "acl_tokens", *_USUAL, "Name", "Type", "ExpirationTime"):
        what = f"ACL token {record['Name'] or ''}{_aside(record['Type'], _short(key[0]))}"
        yield from _made_and_changed("acl_tokens", key, what, record)
        yield Event("acl_token.expires", "acl_tokens", key, what, "expires", time=record["ExpirationTime"])


@_reader
def _jobs(snapshot: Snapshot) -> Iterator[Event]:
    """Each version as it was submitted; and what else was last written to the job, or to a version."""
    written: set[tuple[Any, ...]] = set()
    for key, record in _rows(snapshot, "jobs", "ModifyIndex", "JobModifyIndex", "Status"):
        written.add((*key, record["ModifyIndex"]))
        if (index := record["ModifyIndex"]) != record["JobModifyIndex"]:
            happened = f"was updated{_aside(record['Status'])}"
            yield Event("job.changed", "jobs", key, _job(*key), happened, index, None, *key)
    versions: set[tuple[Any, ...]] = set()
    names = ("SubmitTime", "CreateIndex", "ModifyIndex", "JobModifyIndex", "Stop", "Stable", "ParentID")
    for key, record in _rows(snapshot, "job_versions", *names):
        versions.add(key)
        namespace, job, version = key
        kind, happened = "job.version", f"was changed to version {version}"
        if record["Stop"]:
            kind, happened = "job.stopped", f"was stopped (version {version})"
        elif record["JobModifyIndex"] == record["CreateIndex"]:
            kind, happened = "job.submitted", "was submitted"
            if record["ParentID"]:
                happened = f"was started by job {record['ParentID']}"
        event = Event(
            *(kind, "job_versions", key, _job(namespace, job), happened),
            index=record["JobModifyIndex"],
            time=record["SubmitTime"],
            namespace=namespace,
            job=job,
            loose=bool(record["Stop"]),  # before 1.5 or so a job that is stopped keeps its time
        )
        yield event
        index = record["ModifyIndex"]
        if index != record["JobModifyIndex"] and (namespace, job, index) not in written:
            stable = "stable" if record["Stable"] else "not stable"
            happened = f"had its version {version} updated ({stable})"
            yield replace(event, kind="job_version.changed", happened=happened, index=index, time=None, loose=False)
    for key, record in _rows(snapshot, "job_submissions", "JobModifyIndex"):
        if key not in versions:
            namespace, job, version = key
            happened = f"was submitted as version {version}, of which only the source is left"
            index, what = record["JobModifyIndex"], _job(namespace, job)
            yield Event("job.version", "job_submissions", key, what, happened, index, None, namespace, job)


@_reader
def _launches(snapshot: Snapshot) -> Iterator[Event]:
    for key, record in _rows(snapshot, "periodic_launches", "Launch", "CreateIndex", "ModifyIndex"):
        if record["ModifyIndex"] != record["CreateIndex"]:  # else it is when the job was registered
            index, what = record["ModifyIndex"], _job(*key)
            yield Event(
                "periodic.launched", "periodic_launches", key, what, "was launched", index, record["Launch"], *key
            )


@_reader
def _evaluations(snapshot: Snapshot) -> Iterator[Event]:
    for key, record in _rows(snapshot, "evals", *_USUAL, "Status", "StatusDescription", "TriggeredBy"):
        of = f"for {_of_job(record['Namespace'], record['JobID'])}" if record["JobID"] else ""
        made, *changed = _made_and_changed("evals", key, f"Evaluation {_short(key[0])} {of}".strip(), record)
        yield replace(made, happened=f"was created{_aside(record['TriggeredBy'])}")
        for event in changed:
            loose = record["Status"] == "pending"  # a plan's write moves the index alone
            changed_to = _aside(record["Status"], record["StatusDescription"])
            yield replace(event, happened=f"was updated{changed_to}", loose=loose)


@_reader
def _deployments(snapshot: Snapshot) -> Iterator[Event]:
    for key, record in _rows(snapshot, "deployments", *_USUAL, "JobVersion", "Status", "StatusDescription"):
        job = _of_job(record["Namespace"], record["JobID"])
        what = f"Deployment {_short(key[0])} of version {record['JobVersion']} of {job}"
        changed = f"was updated{_aside(record['Status'], record['StatusDescription'])}"
        yield from _made_and_changed("deployments", key, what, record, changed, loose=True)


@_reader
def _scaling(snapshot: Snapshot) -> Iterator[Event]:
    for record in snapshot.objects("scaling_events", dict.fromkeys(("Namespace", "JobID", "ScalingEvents"))):
        namespace, job = _text(record.get("Namespace")), _text(record.get("JobID"))
        for group, event in scaling_events(record):
            happened = "had a scaling event"
            if event.get("Count") is not None:
                done = "was not scaled" if event.get("Error") else "was scaled"
                happened = f"{done} from {event.get('PreviousCount')} to {event['Count']}"
            if event.get("Message"):
                happened += f': "{event["Message"]}"'
            time = event["Time"] if event["Time"] > NANOSECONDS else event["Time"] * 10**9  # seconds before 1.4 or so
            what, index = f"Group {group} of {_of_job(namespace, job)}", _index(event["CreateIndex"])
            key = (namespace, job)
            yield Event("scaling.event", "scaling_events", key, what, happened, index, _moment(time), namespace, job)


@_reader
def _nodes(snapshot: Snapshot) -> Iterator[Event]:
    wanted = ("ID", "Name", "Status", "StatusUpdatedAt", "CreateIndex", "ModifyIndex", "Events", "LastDrain")
    for record in snapshot.objects("nodes", dict.fromkeys(wanted)):
        node, made, changed = (
            _text(record.get("ID")),
            _index(record.get("CreateIndex")),
            _index(record.get("ModifyIndex")),
        )
        what = f"Node {record.get('Name')} ({_short(node)})"
        plain = Event("node.created", "nodes", (node,), what, "was registered", made, node=node)
        # The event of its registration is the only one without an index: it has the node's own.
        told = [
            replace(
                plain,
                kind="node.event",
                what=f"{what}:",
                happened=str(event.get("Message")),
                index=_index(event.get("CreateIndex")) or made,
                time=_moment(event.get("Timestamp")),
                loose=True,  # an event may have the time of the status before it
            )
            for event in _listed(record.get("Events"), "Node", "Events")
        ]
        yield from told
        indexes, moments = {event.index for event in told}, [event.time for event in told if event.time]
        if made not in indexes:
            yield plain
        if changed not in indexes | {made}:
            yield replace(plain, kind="node.changed", happened="was updated", index=changed)
        updated = _moment((_index(record.get("StatusUpdatedAt")) or 0) * 10**9)
        if not _is_near(updated, moments):
            happened = f"had its status updated{_aside(record.get('Status'))}"
            yield replace(plain, kind="node.status", happened=happened, index=None, time=updated)
        drain = _mapped(record.get("LastDrain"), "Node", "LastDrain")
        for name, happened in ("StartedAt", "began to drain"), ("UpdatedAt", f"had its drain {drain.get('Status')}"):
            if not _is_near(moment := _moment(drain.get(name)), moments):
                yield replace(plain, kind="node.drain", happened=happened, index=None, time=moment)


#: Of an allocation, what is asked for. Its task states are large, and what of them is shown is little: they are taken
#: as they are unpacked, with keys and texts as bytes.
_ALLOC = (*_USUAL, "ID", "Name", "NodeName", "ClientStatus", "DesiredStatus", "DesiredDescription")
_ALLOC_NESTED = ("TaskStates", "RescheduleTracker", "DeploymentStatus", "AllocStates")


@_reader
def _allocations(snapshot: Snapshot) -> Iterator[Event]:
    subset = dict.fromkeys((*_ALLOC, *_ALLOC_NESTED))
    for packed in snapshot.records("allocs").values():
        raw = pick(packed, subset)
        record: dict[str, Any] = {name: _text(raw.get(name.encode())) for name in _ALLOC}
        record |= {name: _index(raw.get(name.encode())) for name in ("CreateIndex", "ModifyIndex")}
        record |= {name: _moment(raw.get(name.encode())) for name in ("CreateTime", "ModifyTime")}
        what = f"Allocation {record['Name']} ({_short(record['ID'])})"
        made, *changed = _made_and_changed("allocs", (record["ID"],), what, record)
        yield replace(made, happened=f"was placed on {record['NodeName'] or _short(record['NodeID'])}")
        for event in changed:
            wanted = f"to {record['DesiredStatus']}" if record["DesiredStatus"] else ""
            status = _aside(record["ClientStatus"], wanted, record["DesiredDescription"])
            yield replace(event, happened=f"was updated{status}", loose=True)
        about = replace(made, index=None, time=None)
        states, tracker, health, changes = (raw.get(name.encode()) for name in _ALLOC_NESTED)
        yield from _tasks(about, _mapped(states, "Alloc", "TaskStates"))
        yield from _health(about, _mapped(health, "Alloc", "DeploymentStatus"))
        for change in _listed(changes, "Alloc", "AllocStates"):
            happened = f"had its status set to {_text(change.get(b'Value'))}"
            yield replace(about, kind="alloc.state", happened=happened, time=_moment(change.get(b"Time")))
        moves = _mapped(tracker, "Alloc", "RescheduleTracker").get(b"Events")
        for move in _listed(moves, "Alloc", "RescheduleTracker"):
            previous, delay = _text(move.get(b"PrevAllocID")), move.get(b"Delay")
            after = f" after {go_duration(delay)}" if isinstance(delay, int) and delay else ""
            yield replace(
                about,
                kind="alloc.rescheduled",
                key=(previous,),
                what=f"Allocation {record['Name']} ({_short(previous)})",
                happened=f"was rescheduled{after}",
                time=_moment(move.get(b"RescheduleTime")),
                node=_text(move.get(b"PrevNodeID")),
            )


def _health(alloc: Event, health: Mapping[Any, Any]) -> Iterator[Event]:
    if isinstance(healthy := health.get(b"Healthy"), bool):
        yield replace(
            alloc,
            kind="deployment.health",
            happened=f"became {'healthy' if healthy else 'unhealthy'}",
            index=_index(health.get(b"ModifyIndex")),
            time=_moment(health.get(b"Timestamp")),
            later=True,  # a promotion writes a canary's health anew (state_store.go, UpdateDeploymentPromotion)
        )


def _tasks(alloc: Event, states: Mapping[Any, Any]) -> Iterator[Event]:
    """The events of its tasks, which are the last ten of each; and when they began and ended, if that tells more."""
    for task, found in states.items():
        state = _mapped(found, "Alloc", "TaskStates")
        what = f"Task {_text(task)} of {alloc.what[0].lower()}{alloc.what[1:]}:"
        about = replace(alloc, kind="task.event", what=what)
        moments = []
        for event in _listed(state.get(b"Events"), "Alloc", "TaskStates"):
            told = event.get(b"DisplayMessage") or event.get(b"Message") or event.get(b"DriverError")
            moments.append(_moment(event.get(b"Time")))
            yield replace(about, happened=f"{_text(event.get(b'Type'))}{_aside(_text(told))}", time=moments[-1])
        for name, happened in (b"StartedAt", "started"), (b"FinishedAt", "finished"):
            if not _is_near(moment := _moment(state.get(name)), moments):
                yield replace(about, kind=f"task.{happened}", happened=happened, time=moment)


# -- what is gone

#: A job's deletion writes these rows of the Index table, whatever the job had (state_store.go, DeleteJobTxn).
_ROWS_OF_JOBS = ("jobs", "job_summaries", "scaling_events")
#: Tables whose records go with their job, and are not told of by themselves then.
_WITH_JOB = ("job_versions", "periodic_launches")


def _deletions(before: Snapshot | None, snapshot: Snapshot, told: Sequence[Event]) -> Iterator[Event]:
    """What was deleted since a snapshot before: what it had, and what only the Index table tells of.

    Every write sets its table's row in the Index table. A row that is higher than any record of the table was written
    by a deletion: at that index, the last write, something was deleted.
    """
    if snapshot.salvage is not None:
        return
    since, last = (last_index(before) if before else 0), last_index(snapshot)
    restored = _restored(before, snapshot, since) if before else None
    if restored:
        yield restored
    rows = {table: value for table, value in _last_writes(snapshot).items() if value > since}
    unexplained = {table for table, value in rows.items() if value > _highest(snapshot, table)}
    jobs: set[tuple[Any, ...]] = set()
    for table, word in WORDS.items():
        writes = [name for name in (_ROWS_OF_JOBS if table == "jobs" else (table,)) if name in rows]
        until = min((rows[name] for name in writes), default=last)
        certain = any(rows[name] == until and name in unexplained for name in writes)
        gone = dict(_gone(before, snapshot, table)) if before else {}
        if table == "jobs":
            jobs = set(gone)
        elif table in _WITH_JOB:
            gone = {key: again for key, again in gone.items() if key[:2] not in jobs}
        about = {event.key: event for event in reversed(told) if event.table == table} if gone else {}
        told_of = table in _WITH_JOB
        # What was made anew at an index of before was put in its place by a restore.
        by = {key: until if again is None or again <= since else min(until, again) for key, again in gone.items()}
        maybe_last = [key for key in gone if certain and by[key] == until]
        told_of |= bool(maybe_last)
        for key in gone:
            event = _deletion(table, key, about.get(key), since, by[key], key in maybe_last, restored is not None)
            # Of several, one may have been the last, and nobody knows which.
            yield replace(event, index=until) if maybe_last == [key] else event
        if certain and not told_of:
            what = f"A record of {table}"
            happened = f"was deleted: the last write there, at index {until}, is of no record that is left"
            yield Event(f"{word}.deleted", table, (), what, happened, until)


def _deletion(
    table: str, key: tuple[Any, ...], about: Event | None, since: int, until: int, certain: bool, restored: bool
) -> Event:
    namespace, job, node = (about.namespace, about.job, about.node) if about else (None, None, None)
    what = about.what.removesuffix(":") if about else f"{BY_TABLE[table].name} {'/'.join(map(str, key))}"
    if table == "jobs":
        (namespace, job), what = key, _job(*key)
    happened = f"was deleted{', or went by the restore' if restored else ''}, after index {since} and by index {until}"
    if certain:
        happened += ": the last write there is of no record that is left"
    kind = f"{WORDS[table]}.deleted"
    return Event(kind, table, key, what, happened, None, None, namespace, job, node, between=(since, until))


_RESTORED = "state.restored"
#: Tables that tell of a restore: small ones, of which one changes soon.
_TELLING = (
    "nodes", "jobs", "acl_policies", "acl_tokens", "variables", "root_keys", "acl_roles", "node_pools", "namespaces",
)  # fmt: skip


def _restored(before: Snapshot, snapshot: Snapshot, since: int) -> Event | None:
    """That another state was restored in between, as a restore or its rollback do.

    Each write has an index above those before it. So what is as it was written by `since`, and was not so then, was
    put there as it is.
    """
    if before.salvage is not None:
        return None  # what it lacks may have been lost
    found = []
    for table in _TELLING:
        was = {key: record["ModifyIndex"] or 0 for key, record in _rows(before, table, "ModifyIndex")}
        for key, record in _rows(snapshot, table, "ModifyIndex"):
            now = record["ModifyIndex"] or 0
            if now != was.get(key, 0) and 0 < now <= since:
                found.append(now)
    if not found:
        return None
    last = last_index(snapshot)
    records = f"{len(found):,} record{' is' if len(found) == 1 else 's are'}"
    happened = (
        f"was restored from another copy, after index {since} and by index {last}: {records} as written by index "
        f"{max(found)}, and otherwise at index {since}"
    )
    return Event(_RESTORED, "", (), "The state", happened, between=(since, last))


def _last_writes(snapshot: Snapshot) -> dict[str, int]:
    """The last write of each table, by its row in the Index table."""
    rows = _index_rows(snapshot)
    return {table: rows[index_row(table)] for table in (*WORDS, *_ROWS_OF_JOBS) if index_row(table) in rows}


def _highest(snapshot: Snapshot, table: str) -> float:
    """The last write of a table that a record tells of; infinite where the Index table runs ahead in normal work."""
    if table not in STAMPED_TABLES:
        return float("inf")
    return max((record["ModifyIndex"] or 0 for _, record in _rows(snapshot, table, "ModifyIndex")), default=0)


def _gone(before: Snapshot, after: Snapshot, table: str) -> Iterator[tuple[tuple[Any, ...], int | None]]:
    """The keys that are gone; with the index that they were made anew at, if they are there again."""
    if not BY_TABLE[table].key:
        return
    there = {key: record["CreateIndex"] for key, record in _rows(after, table, "CreateIndex")}
    for key, record in _rows(before, table, "CreateIndex"):
        if key not in there:
            yield key, None
        elif (again := there[key]) != record["CreateIndex"]:
            yield key, again


# -- values


def _rows(snapshot: Snapshot, table: str, *names: str) -> Iterator[tuple[tuple[Any, ...], Record]]:
    """The records of a table, each with its key; None for what a record or its type lacks."""
    if table not in snapshot.tables.index:
        return  # sooner than by an empty table
    kind = BY_TABLE[table]
    known = [name for name in dict.fromkeys(names) if name in fields(kind.struct) and name not in kind.key]
    frame = snapshot.table(table, known)
    keys = keys_of(frame)
    blank = dict.fromkeys(names)
    columns = [plain_values(frame[name]) for name in known]
    for key, *values in zip(keys, *columns, strict=True):
        yield key, blank | dict(zip(kind.key, key, strict=False)) | dict(zip(known, values, strict=True))


def _job(namespace: Any, job: Any) -> str:
    return f"Job {job}{_in_namespace({'Namespace': namespace})}"


def _of_job(namespace: Any, job: Any) -> str:
    return f"job {job}{_in_namespace({'Namespace': namespace})}"


def _in_namespace(record: Record) -> str:
    return f" in namespace {record['Namespace']}" if record["Namespace"] else ""


def _aside(*parts: Any) -> str:
    """What there is of some parts, in brackets."""
    known = [str(part) for part in parts if part]
    return f" ({', '.join(known)})" if known else ""


def _short(identity: Any) -> str:
    """The beginning of an ID, as Nomad's own command shows it."""
    return str(identity)[:8]


def _text(value: Any) -> str | None:
    """A value that is to be text, whatever it is."""
    if isinstance(value, bytes):
        return text(value)
    return value if isinstance(value, str | None) else str(value)


def _index(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**64 else None


def _moment(value: Any) -> int | None:
    """Unix nanoseconds, of those, of RFC 3339 or of Go's own form; None for what is no time or not set."""
    try:
        if isinstance(value, str):
            value = pd.Timestamp(value).as_unit("ns").value
        elif not isinstance(value, int):
            moment = go_time(value)
            value = None if moment is None else moment.unix_nanoseconds
    except (RecordError, ValueError, OverflowError):  # no time, or one that nanoseconds can't hold
        return None
    return value if isinstance(value, int) and 0 < value < 2**63 else None


def _is_near(moment: int | None, moments: Iterable[int | None]) -> bool:
    """Is it told of already, or no time?"""
    return moment is None or any(abs(moment - other) < NEAR for other in moments if other is not None)


def _mapped(value: Any, kind: str, field: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict | None):
        raise RecordError(f"a {type(value).__name__} is no map", f"{kind} records, field {field}")
    return value or {}


def _listed(value: Any, kind: str, field: str) -> list[Mapping[Any, Any]]:
    if not isinstance(value, list | None) or not all(isinstance(item, dict | None) for item in value or ()):
        raise RecordError("is no list of maps", f"{kind} records, field {field}")
    return [item for item in value or () if item is not None]
