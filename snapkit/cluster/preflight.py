"""What a restore will do, seen beforehand: from the archive, the live cluster's API, and its snapshot taken now.

It changes nothing. `snapkit.cluster.look` sees what there is to judge by.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapkit.cluster.client import Client
from snapkit.cluster.effects import DECIDED, Effect, Happens, effects
from snapkit.cluster.look import Held, View, look, release
from snapkit.cluster.registry import CHECKS, declare
from snapkit.format.age import Identity
from snapkit.format.archive import Source
from snapkit.state.findings.report import SEVERITIES, Finding, Report
from snapkit.state.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

MOST = 20  # findings of one check

declare(
    ("preflight.unreachable", "error", "The cluster can't be asked.", "check NOMAD_ADDR and its family"),
    ("preflight.leader", "error", "There is no leader, which a restore needs.", "bring servers back, or wait for one"),
    ("preflight.quorum", "error", "So few servers are alive that they have no quorum.", "bring servers back first"),
    ("preflight.servers", "warning", "A server is not alive.", "it takes the state in when it is back"),
    ("preflight.versions", "warning", "The servers are not of one release.", "finish the upgrade first"),
    ("preflight.untold", "warning", "The cluster does not say something that should be known.", "look by yourself"),
    ("preflight.not-an-archive", "error", "The source is no archive that servers take.", "make an archive of it first"),
    (
        "preflight.token",
        "error",
        "The caller's token may not restore.",
        "use a management token that is not about to expire",
    ),
    (
        "preflight.token-lost",
        "error",
        "The caller's token is gone after the restore: neither check nor rollback could be made.",
        "give the secret of a management token that the archive has, as SNAPKIT_TOKEN_AFTER or token_after=",
    ),
    ("preflight.token-stays", "note", "The token to go on with after the restore.", "nothing"),
    (
        "preflight.key-missing",
        "error",
        "A root key that is needed afterwards is nowhere: variables stay sealed and nothing is scheduled.",
        "find server/keystore of a server of that time: put it into each server's data directory before the restore",
    ),
    (
        "preflight.key-in-keystore",
        "warning",
        "A root key that is needed afterwards is in the keystore given, and not with the live servers.",
        "put its file into server/keystore of each server's data directory before the restore",
    ),
    (
        "preflight.key-on-disk",
        "note",
        "A root key that is needed afterwards is not in the archive; the live servers have it.",
        "keep their data directories: it is on their disks alone",
    ),
    (
        "preflight.key-external",
        "warning",
        "A root key that is needed afterwards is wrapped by a KMS.",
        "see that the servers reach that KMS, with the keyring block that the key was made under",
    ),
    (
        "preflight.node-vanishes",
        "warning",
        "A client that runs now is not in the archive: it vanishes, and what it runs is stopped.",
        "it registers anew at its next heartbeat (seen on 2.0.5); restart its agent if it does not (issue 20024)",
    ),
    (
        "preflight.node-ghost",
        "warning",
        "A client of the archive that is gone comes back as ready; what it ran counts as running.",
        "wait until its heartbeat fails (failover_heartbeat_ttl, 5 minutes), or purge it after the restore",
    ),
    (
        "preflight.node-secret",
        "warning",
        "A client has another secret than in the archive: it can't register after the restore.",
        "restart it with a new id after the restore",
    ),
    ("preflight.allocs-stop", "warning", "Allocations that run now are not in the archive.", "clients stop them"),
    (
        "preflight.allocs-ghost",
        "warning",
        "Allocations of the archive run no more, and count as running until their clients say otherwise.",
        "see after the restore that they were replaced",
    ),
    (
        "preflight.recovery-point",
        "note",
        "How far the restore goes back.",
        "take single objects out of the archive instead if only some are wanted",
    ),
    (
        "preflight.ahead",
        "warning",
        "The archive is newer than the live state.",
        "see that this is the cluster that you mean",
    ),
    (
        "preflight.raft",
        "note",
        "What does not come back.",
        "nothing: it is so by design",
    ),
    (
        "preflight.disk",
        "error",
        "There is no room for the save of the current state.",
        "name another folder for it, or make room",
    ),
    (
        "preflight.other-cluster",
        "warning",
        "The archive is of another cluster.",
        "see that this is the cluster that you mean: it takes on the archive's id",
    ),
    (
        "preflight.region",
        "warning",
        "Jobs of the archive are of another region.",
        "see that this is the cluster that you mean: servers do not run them here",
    ),
    (
        "preflight.federation",
        "warning",
        "There are several regions, and the authoritative one sends its ACLs and namespaces to the others.",
        "know which one this is: restoring the authoritative one undoes ACLs everywhere, any other gets its own anew",
    ),
    ("preflight.jobs", "warning", "A job comes back, goes away or changes.", "tell its owners"),
    ("preflight.variables", "warning", "A variable comes back, goes away or changes.", "tell its owners"),
    (
        "preflight.tokens",
        "warning",
        "An ACL token comes back, goes away or changes: one that was deleted is valid again.",
        "delete it again after the restore, or give its owner a new one",
    ),
    (
        "preflight.policies",
        "warning",
        "An ACL policy, role, auth method or binding rule comes back, goes away or changes.",
        "see that no right comes back that was taken away for a reason",
    ),
    ("preflight.namespaces", "warning", "A namespace comes back, goes away or changes.", "tell its owners"),
    ("preflight.node-pools", "warning", "A node pool comes back, goes away or changes.", "see what runs in it"),
    (
        "preflight.volumes",
        "warning",
        "A volume comes back, goes away or changes; what is in it stays as it is now.",
        "see that it is there, and that its data fits to the older jobs",
    ),
    ("preflight.scaling-policies", "warning", "A scaling policy comes back, goes away or changes.", "see its limits"),
    ("preflight.scheduler", "warning", "The scheduler's configuration changes.", "set it again after the restore"),
    (
        "preflight.root-keys",
        "warning",
        "A root key comes back, goes away or changes.",
        "see the other findings of keys",
    ),
    ("preflight.nodes", "warning", "A client's eligibility, drain or place changes.", "set it again after the restore"),
)


def preflight(
    client: Client,
    src: Source,
    *,
    keystore: str | os.PathLike[str] | None = None,
    now: datetime | None = None,
    folder: str | os.PathLike[str] = ".",
    token_after: str | None = None,
    identity: Identity | None = None,
) -> Report:
    """What will go wrong with a restore, or surprise somebody. Nothing is changed.

    Args:
        client: The live cluster.
        src: The archive: as `Client.restore()` takes it.
        keystore: A copy of a server's keystore folder: root keys that are at hand besides the archive's own.
        now: When it is.
        folder: Where the current state is to be saved.
        token_after: The SecretID of a token to go on with after the restore, if the caller's own is not in the archive.
        identity: What opens an archive that is encrypted (age).

    Returns:
        Verify's findings of the archive for the oldest live server, and those of `CHECKS`.

    Raises:
        SourceError: There is nothing to read.
        SnapshotError: The keystore can't be used.
    """
    with Held(src) as held, look(client, held, keystore=keystore, now=now, identity=identity) as view:
        return judge(view, keystore=keystore, folder=folder, token_after=token_after)


def judge(
    view: View,
    *,
    keystore: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] = ".",
    token_after: str | None = None,
    done: Iterable[Effect] | None = None,
) -> Report:
    """The report of what was seen; `done`: the effects, if they are known already."""
    assert view.verified is not None
    own = list(view.found)
    own += _servers(view)
    if view.verified.ok and view.archive is not None and view.archive.archive.kind != "archive":
        kind = view.archive.archive.kind
        own.append(CHECKS["preflight.not-an-archive"].finding(view.held.name, f"it is a {kind}"))
    own += _token(view, token_after)
    own += _disk(view, folder)
    if view.archive is not None:
        own += _keys(view.archive, view.live, keystore)
        own += _region(view)
        if view.live is not None:
            same = _same_cluster(view.live, view.archive)
            own += _recovery_point(view, same)
            own += _clients(view.live, view.archive)
            own += _allocations(view.live, view.archive)
            own += _effects(effects(view.live, view.archive) if done is None else done)
    # What is said here of keys takes the live servers' own into account.
    kept = [f for f in view.verified.found if f.check not in ("refs.variable-key", "refs.identity-key")]
    found = sorted([*kept, *_limited(own)], key=lambda f: SEVERITIES.index(f.severity))
    checks = (*view.verified.checks, *(c for c in CHECKS if c.startswith("preflight.")))
    levels = (*view.verified.levels, "preflight")
    return replace(view.verified, source=view.held.name, found=tuple(found), levels=levels, checks=checks)


def _limited(found: Iterable[Finding]) -> Iterator[Finding]:
    counts: Counter[str] = Counter()
    rest: dict[str, Finding] = {}
    for finding in found:
        counts[finding.check] += 1
        if counts[finding.check] <= MOST:
            yield finding
        else:
            rest[finding.check] = finding
    for check, finding in rest.items():
        message = f"there are {counts[check] - MOST:,} more; the plan's table lists all"
        yield Finding(check, finding.severity, "and so on", message, finding.advice)


def _servers(view: View) -> Iterator[Finding]:
    alive = [server for server in view.servers if server[2] == "alive"]
    for name, _, status in view.servers:
        if status != "alive":
            yield CHECKS["preflight.servers"].finding(f"server {name}", f"it is {status}")
    known = view.peers or len(view.servers)
    if view.servers and known and len(alive) < known // 2 + 1:
        message = f"{len(alive)} of {known} servers are alive; it takes {known // 2 + 1}"
        yield CHECKS["preflight.quorum"].finding("the servers", message)
    builds = sorted({build for _, build, _ in alive if build}, key=lambda build: (release(build), build))
    if len(builds) > 1:
        message = f"they are of {', '.join(builds)}; the archive is judged for {view.target}"
        yield CHECKS["preflight.versions"].finding("the servers", message)


def _token(view: View, token_after: str | None) -> Iterator[Finding]:
    token, check = view.token, CHECKS["preflight.token"]
    if token and token.get("Type") != "management":
        message = (
            f"{token.get('Name') or token.get('AccessorID')!r} is a {token.get('Type')} token, no management token"
        )
        yield check.finding("the token", message)
    elif token:
        yield from _lasting(view, token, token_after)


def _lasting(view: View, token: Mapping[str, Any], token_after: str | None) -> Iterator[Finding]:
    """Which token there will be to go on with."""
    stays = CHECKS["preflight.token-stays"]
    if view.archive is None:
        return
    tokens = view.archive.table("acl_tokens", ["SecretID", "Type", "ExpirationTime"], reveal=True)
    valid = tokens[(tokens["Type"] == "management") & ~(tokens["ExpirationTime"] <= _stamp(view.now))]
    accessor = str(token.get("AccessorID") or "")
    of_state = view.live is None or accessor in view.live.table("acl_tokens", ["Type"]).index
    if accessor in valid.index and valid["SecretID"][accessor] == token.get("SecretID"):
        yield stays.finding("the token", "it is in the archive too, and a management token there")
    elif token_after is not None and (valid["SecretID"] == token_after.strip()).any():
        after = valid.index[valid["SecretID"] == token_after.strip()][0]
        yield stays.finding("the token", f"the caller's is gone after the restore; {after} of the archive takes over")
    elif token_after is not None:
        message = "the one to go on with is no management token of the archive"
        yield CHECKS["preflight.token-lost"].finding("the token", message)
    elif not accessor or not of_state:
        yield stays.finding("the token", "it is not of the state, which is all that a restore replaces")
    else:
        why = "it is not in the archive"
        if accessor in tokens.index:
            why = "the archive has it with another secret, other rights, or expired"
        yield CHECKS["preflight.token-lost"].finding(f"token {accessor}", why)


def _stamp(moment: datetime) -> pd.Timestamp:
    import pandas as pd

    return pd.Timestamp(moment)


def _disk(view: View, folder: str | os.PathLike[str]) -> Iterator[Finding]:
    place = Path(folder)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield CHECKS["preflight.disk"].finding(str(place), f"it can't be written to ({error.strerror})")
        return
    size = view.live.meta.size if view.live is not None else 0
    if free < size:  # compressed, it is less
        message = f"{free:,} bytes are free, and the current state has up to {size:,}"
        yield CHECKS["preflight.disk"].finding(str(place), message)


def _keys(wanted: Snapshot, live: Snapshot | None, keystore: str | os.PathLike[str] | None) -> Iterator[Finding]:
    ring = wanted.keyring(keystore)
    known = set() if live is None else set(live.table("root_key_meta", ["State"]).index)
    if live is not None:
        there = live.table("root_keys", ["State"]).index
        known |= set(there)
    for key_id, row in ring[ring["Orphaned"] != "unused"].iterrows():
        place = f"root key {key_id}"
        uses = [f"{int(row[name]):,} {name.lower()}" for name in ("Variables", "Allocs", "Nodes") if row[name]]
        need = f"{' and '.join(uses) or 'what comes'} need it"
        if row["Material"] == "external":
            yield CHECKS["preflight.key-external"].finding(place, f"{need}, and it takes {row['Providers']}")
        elif row["Material"] == "here" and "state" in str(row["Places"]):
            continue
        elif key_id in known:
            yield CHECKS["preflight.key-on-disk"].finding(place, f"{need}, and the live servers know it")
        elif row["Material"] == "here":
            yield CHECKS["preflight.key-in-keystore"].finding(place, f"{need}, and the live servers do not know it")
        else:
            what = "what there is of it does not open" if row["Material"] == "damaged" else "it is nowhere"
            yield CHECKS["preflight.key-missing"].finding(place, f"{need}, and {what}")


def _region(view: View) -> Iterator[Finding]:
    assert view.archive is not None
    if view.region:
        others = Counter(str(region) for region in view.archive.table("jobs", ["Region"])["Region"] if region)
        others.pop(view.region, None)
        for region, count in others.items():
            message = f"{count:,} jobs are of region {region}, and the cluster is {view.region}"
            yield CHECKS["preflight.region"].finding("table jobs", message)
    if len(view.regions) > 1:
        which = "the agent does not tell which is the authoritative one"
        if view.authoritative:
            which = f"the authoritative one is {view.authoritative}"
        message = f"there are {', '.join(view.regions)}; this is {view.region or 'one of them'}, and {which}"
        yield CHECKS["preflight.federation"].finding("the regions", message)


def _same_cluster(live: Snapshot, wanted: Snapshot) -> bool:
    return not (live.meta.cluster_id and wanted.meta.cluster_id and live.meta.cluster_id != wanted.meta.cluster_id)


def _recovery_point(view: View, same: bool) -> Iterator[Finding]:
    assert view.live is not None
    assert view.archive is not None
    live, wanted = view.live.meta, view.archive.meta
    if not same:
        message = f"it is of cluster {wanted.cluster_id}, and the live one is {live.cluster_id}"
        yield CHECKS["preflight.other-cluster"].finding(view.held.name, message)
    created, index, now_at = wanted.created, wanted.index or 0, live.index or 0
    age = (
        f"{(_stamp(view.now) - created).total_seconds() / 60:,.0f} minutes" if created is not None else "a time unknown"
    )
    if same:
        written = sum(_since(view.live, index))
        lost = f"{max(now_at - index, 0):,} indexes ({index} of {now_at})"
        message = f"{age}, {lost}; {written:,} live objects were written since"
    else:
        message = f"{age}; indexes of two clusters say nothing of each other"
    yield CHECKS["preflight.recovery-point"].finding(view.held.name, message)
    if same and index > now_at:
        yield CHECKS["preflight.ahead"].finding(view.held.name, f"its index is {index}, and the live one {now_at}")
    higher = max(index, now_at) + 1
    message = f"Raft's index goes on from the higher of the two, at {higher}; term {live.term} and the servers stay"
    yield CHECKS["preflight.raft"].finding("Raft", message)


def _since(live: Snapshot, index: int) -> Iterator[int]:
    """How many objects of each table were written after an index."""
    for table in live.tables.index:
        if "ModifyIndex" in live.columns(table):
            yield int((live.table(table, ["ModifyIndex"])["ModifyIndex"].fillna(0) > index).sum())


def _clients(live: Snapshot, wanted: Snapshot) -> Iterator[Finding]:
    columns = ["Name", "Status", "SecretID"]
    now, then = (side.table("nodes", columns, reveal=True) for side in (live, wanted))
    for node in now.index:
        name, status = now["Name"][node], now["Status"][node]
        if node not in then.index:
            if status != "down":
                message = f"{name}, {status} now, is not in the archive"
                yield CHECKS["preflight.node-vanishes"].finding(f"node {node}", message)
        elif now["SecretID"][node] != then["SecretID"][node]:
            yield CHECKS["preflight.node-secret"].finding(f"node {node}", f"{name} has another secret by now")
    for node in then.index[then["Status"].isin(("ready", "initializing"))]:
        name, status = then["Name"][node], then["Status"][node]
        if node not in now.index:
            yield CHECKS["preflight.node-ghost"].finding(f"node {node}", f"{name}, {status} in the archive, is gone")
        elif now["Status"][node] in ("down", "disconnected"):
            what = f"{name}, {status} in the archive, is {now['Status'][node]}"
            yield CHECKS["preflight.node-ghost"].finding(f"node {node}", what)


def _allocations(live: Snapshot, wanted: Snapshot) -> Iterator[Finding]:
    columns = ["Namespace", "JobID", "ClientStatus", "DesiredStatus"]
    now, then = (side.table("allocs", columns) for side in (live, wanted))
    running = ("running", "pending")
    for check, frame, other, message in (
        ("preflight.allocs-stop", now, now[~now.index.isin(then.index)], "run now and are not in the archive"),
        (
            "preflight.allocs-ghost",
            then,
            then[~then.index.isin(now.index[now["ClientStatus"].isin(running)])],
            "run in the archive and not now",
        ),
    ):
        wanted_rows = other[other["ClientStatus"].isin(running) & (other["DesiredStatus"] == "run")]
        counts = Counter(zip(wanted_rows["Namespace"], wanted_rows["JobID"], strict=True))
        assert set(wanted_rows.index) <= set(frame.index)
        for (namespace, job), count in counts.items():
            yield CHECKS[check].finding(f"job {namespace}/{job}", f"{_counted(count, 'allocation')} {message}")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_SAID: Mapping[Happens, str] = {
    "comes back": "it is in the archive alone, and comes back",
    "goes away": "it is not in the archive, and goes away",
    "changes": "it becomes what it is in the archive",
}


def _effects(done: Iterable[Effect]) -> Iterator[Finding]:
    for effect in done:
        if effect.table == "cluster_metadata" or (effect.table == "nodes" and effect.happens != "changes"):
            continue  # told by themselves
        name = f" ({effect.name})" if effect.name else ""
        said = _SAID[effect.happens] + (f": {effect.what}" if effect.what else "")
        yield CHECKS[DECIDED[effect.table]].finding(f"{effect.place}{name}", said)
