"""Has a cluster an archive's state after a restore, and does it work?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import quote

from snapkit.cluster.client import Client
from snapkit.cluster.connection import ClusterError, ServerError
from snapkit.cluster.effects import DECIDED
from snapkit.cluster.registry import CHECKS, declare
from snapkit.errors import SnapshotError
from snapkit.format.age import Identity
from snapkit.format.archive import Source
from snapkit.state.changes.changes import Changes
from snapkit.state.changes.compare import compare
from snapkit.state.findings.report import SEVERITIES, Finding, Report, Severity
from snapkit.state.snapshot import Snapshot, open_snapshot

PATIENCE = 30.0  # seconds for a cluster to be itself again
PAUSE = 0.5  # seconds between two looks
READ = 50  # variables that are read after a restore, at least one by each root key

#: Tables that a server drops, or writes to another one, as it takes them in.
_NOT_AS_IT_WAS = {"vault_accessors", "si_token_accessors", "root_key_meta", "time_table", "indexes"}

declare(
    ("check.leader", "error", "There is no leader that answers.", "see the servers' logs; `--resume` checks again"),
    ("check.unreadable", "error", "The live state can't be read.", "see the servers' logs; `--resume` checks again"),
    (
        "check.index",
        "warning",
        "Raft's index is below the archive's or what it was before.",
        "blocking queries of old clients may hang: restart what watches the cluster",
    ),
    ("check.index-table", "error", "The last index of a table is below the archive's.", "roll back, and ask why"),
    ("check.missing", "error", "An object of the archive is not there.", "roll back, or take it out of the archive"),
    ("check.extra", "error", "An object is there that the archive lacks, and older than the restore.", "roll back"),
    ("check.changed", "warning", "An object is not as in the archive, and nobody wrote it since.", "compare the two"),
    ("check.counts", "warning", "A table has fewer records than in the archive.", "compare the two"),
    ("check.drift", "note", "Something was written since the restore.", "nothing, if you know by whom"),
    (
        "check.variable",
        "error",
        "A variable can't be read: its root key is not with the servers.",
        "put server/keystore of a server of that time into each data directory, and restart",
    ),
    (
        "check.node-vanished",
        "warning",
        "A client that ran before is not in the state.",
        "it registers anew at its next heartbeat; restart its agent if it does not",
    ),
    (
        "check.node-ghost",
        "warning",
        "A client counts as ready and was not there before.",
        "wait until its heartbeat fails (5 minutes), or purge it",
    ),
    ("check.node-not-back", "warning", "A client is not ready yet.", "see its agent's log"),
    ("check.evals-pending", "warning", "Evaluations are not processed yet.", "see the servers' logs for errors"),
    ("check.evals-failed", "warning", "Evaluations failed since the restore.", "see the servers' logs for errors"),
    ("check.blocked", "warning", "A job is blocked that was not in the archive.", "see what it lacks"),
)


def check(
    client: Client,
    src: Source,
    *,
    before: Source | None = None,
    identity: Identity | None = None,
    patience: float = PATIENCE,
    now: datetime | None = None,
) -> Report:
    """Has a cluster an archive's state, and does it work? Nothing is changed.

    Args:
        client: The live cluster.
        src: The archive that was restored.
        before: The state before the restore: which clients there were then.
        identity: What opens an archive that is encrypted (age).
        patience: Seconds for it to be itself again.
        now: When it is.

    Raises:
        SnapshotError: One of the two can't be read.
    """
    with ExitStack() as stack:
        wanted = stack.enter_context(open_snapshot(src, identity=identity))
        earlier = stack.enter_context(open_snapshot(before)) if before is not None else None
        return checked(client, wanted, earlier, patience, now)[0]


def checked(
    client: Client, wanted: Snapshot, before: Snapshot | None, patience: float, now: datetime | None
) -> tuple[Report, Changes | None]:
    found: list[Finding] = []

    def say(check_id: str, place: str, message: str, severity: Severity | None = None) -> None:
        found.append(CHECKS[check_id].finding(place, message, severity=severity))

    drift = None
    ends = time.monotonic() + patience
    if not _answers(client, ends):
        say("check.leader", client.address, f"there is none after {patience:g} seconds")
    _settle(client, before, ends)
    try:
        live = client.snapshot()
    except SnapshotError as error:
        say("check.unreadable", client.address, error.what)
    else:
        with live:
            drift = compare(wanted, live)
            _indexes(live, wanted, before, say)
            _objects(drift, live, wanted, now or datetime.now(UTC), say)
            _variables(client, wanted, live, say)
            _nodes(live, wanted, before, say)
            _evaluations(live, wanted, say)
    found.sort(key=lambda f: SEVERITIES.index(f.severity))
    report = Report(
        wanted.meta.source,
        tuple(found),
        snapshot_id=wanted.meta.id,
        version_range=wanted.meta.version_range,
        levels=("check",),
        checks=tuple(name for name in CHECKS if name.startswith("check.")),
    )
    return report, drift


_Say: TypeAlias = Callable[..., None]


def _answers(client: Client, ends: float) -> bool:
    """Is there a leader that serves consistent reads?"""
    while True:
        try:
            if client.leader() and client.get("/v1/jobs", namespace="*").known_leader is not False:
                return True
        except ClusterError:
            pass
        if time.monotonic() >= ends:
            return False
        time.sleep(PAUSE)


def _settle(client: Client, before: Snapshot | None, ends: float) -> None:
    """Wait for clients to be back and evaluations to be processed."""
    expected = _ready(before) if before is not None else set()
    while time.monotonic() < ends:
        try:
            ready = {node["ID"] for node in client.nodes() if node["Status"] == "ready"}
            pending = client.get("/v1/evaluations", namespace="*", status="pending").value or []
            if expected <= ready and not [e for e in pending if e.get("Status") == "pending"]:
                return
        except ClusterError:
            pass
        time.sleep(min(PAUSE, max(ends - time.monotonic(), 0)))


def _ready(snapshot: Snapshot) -> set[str]:
    status = snapshot.table("nodes", ["Status"])["Status"]
    return set(map(str, status.index[status == "ready"]))


def _indexes(live: Snapshot, wanted: Snapshot, before: Snapshot | None, say: _Say) -> None:
    lowest = max(side.meta.index or 0 for side in (wanted, before) if side is not None)
    if (live.meta.index or 0) < lowest:
        say("check.index", "Raft", f"its index is {live.meta.index}, and it was {lowest} before or in the archive")
    now, then = (side.table("indexes", ["Value"])["Value"] for side in (live, wanted))
    for name, value in zip(map(str, then.index), then, strict=True):
        if name in now.index and now[name] < value:
            say("check.index-table", f"table {name}", f"its last index is {now[name]}, and {value} in the archive")


def _objects(drift: Changes, live: Snapshot, wanted: Snapshot, now: datetime, say: _Say) -> None:
    """What is not as in the archive. What was written since has an index above that of the restore."""
    index = wanted.meta.index or 0
    expired = _expired(wanted, now)
    created = {name: _column(live, name, "CreateIndex") for name in DECIDED}
    written = {name: _column(live, name, "ModifyIndex") for name in DECIDED}
    others: Counter[tuple[str, str]] = Counter()
    objects = drift.objects
    fields = drift.fields.groupby("Table", observed=True)
    for name, key, change in zip(objects["Table"], objects["Key"], objects["Change"], strict=True):
        if name in _NOT_AS_IT_WAS:
            continue
        if name not in DECIDED:
            others[(name, change)] += 1
            continue
        place = f"table {name}, {'/'.join(map(str, key))}"
        if change == "removed":
            gone = name == "acl_tokens" and key in expired
            say("check.drift" if gone else "check.missing", place, "it expired" if gone else "it is not there")
        elif change == "added":
            since = created[name].get(key, index + 1) > index
            say("check.drift" if since else "check.extra", place, "it is there, and not in the archive")
        else:
            rows = fields.get_group(name)
            paths = [path for path, of in zip(rows["Path"], rows["Key"], strict=True) if of == key]
            if paths == ["Hash"]:
                continue  # a server works those of its own node pools out anew as it takes them in
            since = written[name].get(key, index + 1) > index
            say("check.drift" if since else "check.changed", place, f"it differs in {', '.join(paths[:8])}")
    for (name, change), count in others.items():
        say("check.drift", f"table {name}", f"{count:,} {change}")
    now_counts, then_counts = (dict(zip(s.tables.index, s.tables["Count"], strict=True)) for s in (live, wanted))
    for name, count in then_counts.items():
        if name not in DECIDED and name not in _NOT_AS_IT_WAS and (less := int(now_counts.get(name, 0))) < count:
            say("check.counts", f"table {name}", f"it has {less:,} records, and {count:,} in the archive")


def _expired(snapshot: Snapshot, now: datetime) -> set[Any]:
    import pandas as pd

    times = snapshot.table("acl_tokens", ["ExpirationTime"])["ExpirationTime"]
    return {(key,) for key in times.index[times <= pd.Timestamp(now)]}


def _column(snapshot: Snapshot, name: str, column: str) -> dict[Any, int]:
    if column not in snapshot.columns(name):
        return {}
    values = snapshot.table(name, [column])[column]
    if values.index.names == [None]:
        return dict.fromkeys([()], int(values.iloc[0])) if len(values) else {}
    return {key if isinstance(key, tuple) else (key,): int(value) for key, value in values.items()}


def _variables(client: Client, wanted: Snapshot, live: Snapshot, say: _Say) -> None:
    """Read some by each root key: the server has to open them."""
    keys = wanted.table("variables", ["KeyID"])["KeyID"]
    there = live.table("variables", ["KeyID"]).index
    first = list(keys.index[~keys.duplicated()])
    chosen = [*first, *(key for key in keys.index if key not in set(first))][: max(READ, len(first))]
    for namespace, path in chosen:
        if (namespace, path) not in there:
            continue  # told already
        try:
            client.get(f"/v1/var/{quote(path)}", namespace=namespace)
        except ServerError as error:
            say("check.variable", f"variable {namespace}/{path}", error.what)
        except ClusterError as error:
            say("check.variable", f"variable {namespace}/{path}", f"it can't be asked for: {error.what}")
            return


def _nodes(live: Snapshot, wanted: Snapshot, before: Snapshot | None, say: _Say) -> None:
    now = live.table("nodes", ["Name", "Status"])
    ready = _ready(wanted)
    if before is not None:
        then = before.table("nodes", ["Name", "Status"])
        for node in then.index[then["Status"] != "down"]:
            if node not in now.index:
                say("check.node-vanished", f"node {node}", f"{then['Name'][node]}, {then['Status'][node]} before")
        for node in now.index[now["Status"] == "ready"]:
            if node in ready and node not in then.index[then["Status"] == "ready"]:
                say("check.node-ghost", f"node {node}", f"{now['Name'][node]} counts as ready")
        ready &= _ready(before)
    for node in sorted(ready):
        if node in now.index and now["Status"][node] != "ready":
            say("check.node-not-back", f"node {node}", f"{now['Name'][node]} is {now['Status'][node]}")


def _evaluations(live: Snapshot, wanted: Snapshot, say: _Say) -> None:
    columns = ["Namespace", "JobID", "Status", "StatusDescription"]
    now, then = (side.table("evals", columns) for side in (live, wanted))
    if pending := int((now["Status"] == "pending").sum()):
        say("check.evals-pending", "table evals", f"{pending:,} are pending")
    blocked = {tuple(row) for row in then.loc[then["Status"] == "blocked", ["Namespace", "JobID"]].to_numpy()}
    for namespace, job in {tuple(row) for row in now.loc[now["Status"] == "blocked", columns[:2]].to_numpy()} - blocked:
        say("check.blocked", f"job {namespace}/{job}", "an evaluation of it is blocked")
    for row in now[(now["Status"] == "failed") & ~now.index.isin(then.index)].itertuples():
        say("check.evals-failed", f"job {row.Namespace}/{row.JobID}", str(row.StatusDescription))
