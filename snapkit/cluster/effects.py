"""What a restore does to what people write: which objects come back, go away or change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from snapkit.state.changes.compare import compare
from snapkit.state.snapshot import Snapshot

Happens: TypeAlias = Literal["comes back", "goes away", "changes"]
HAPPENS: Mapping[str, Happens] = {"added": "comes back", "removed": "goes away", "changed": "changes"}

#: What people decide, by table, and which check tells of it. What servers and clients write all the time is not here.
DECIDED: Mapping[str, str] = {
    "cluster_metadata": "preflight.other-cluster",
    "nodes": "preflight.nodes",
    "node_pools": "preflight.node-pools",
    "namespaces": "preflight.namespaces",
    "jobs": "preflight.jobs",
    "scaling_policies": "preflight.scaling-policies",
    "acl_policies": "preflight.policies",
    "acl_roles": "preflight.policies",
    "acl_auth_methods": "preflight.policies",
    "acl_binding_rules": "preflight.policies",
    "acl_tokens": "preflight.tokens",
    "variables": "preflight.variables",
    "csi_volumes": "preflight.volumes",
    "host_volumes": "preflight.volumes",
    "scheduler_config": "preflight.scheduler",
    "root_keys": "preflight.root-keys",
    "root_key_meta": "preflight.root-keys",
}
#: The field that says when somebody wrote it last; ModifyIndex moves with every heartbeat or status in some tables.
WRITTEN = {"jobs": "JobModifyIndex", "nodes": "", "csi_volumes": "", "host_volumes": "", "cluster_metadata": ""}
#: Of some tables, the fields that nobody decided.
_RUNTIME = {
    "jobs": re.compile(r"(Status|StatusDescription|Stable)\b"),
    "csi_volumes": re.compile(
        r"(ReadAllocs|WriteAllocs|ReadClaims|WriteClaims|PastClaims|Schedulable|Controllers?\w*|Nodes\w*|ResourceExhausted"
        r"|AccessMode|AttachmentMode|Provider\w*)\b"
    ),
    "host_volumes": re.compile(r"(State|Allocations|CapacityBytes|HostPath)\b"),
}
#: Of nodes, those that somebody did.
_NODE = re.compile(r"(SecretID|Datacenter|Name|NodeClass|NodePool|SchedulingEligibility|DrainStrategy|Meta)\b")
#: Fields whose values are told with their names: short, and no secrets.
_TOLD = ("Version", "Stop", "SchedulingEligibility", "Type", "Priority", "NodePool", "State", "ClusterID", "Enabled")

# -- what happens to what

_Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a restore does to one object that people write.

    Attributes:
        table: Its table.
        key: Its key.
        happens: `comes back` (it is in the archive alone), `goes away` (it is live alone) or `changes`.
        name: What people call it, where the key does not tell.
        live: The index at which the live one was written last; None if there is none, or where heartbeats move it.
        what: Of one that changes, the fields, with the values of some. Secrets and long values are not told.
    """

    table: str
    key: _Key
    happens: Happens
    name: str
    live: int | None
    what: str

    @property
    def place(self) -> str:
        """As findings have it."""
        return f"table {self.table}" + (f", {'/'.join(self.key)}" if self.key else "")


def effects(live: Snapshot, wanted: Snapshot) -> list[Effect]:
    """What a restore of `wanted` into a cluster whose state is `live` does to what people write."""
    changes = compare(live, wanted, tables=DECIDED)
    told: dict[tuple[str, Any], list[str]] = {}
    fields = changes.fields
    for table, key, path, before, after in zip(
        *(fields[name] for name in ("Table", "Key", "Path", "Before", "After")), strict=True
    ):
        if path == "Hash":  # of the other fields
            continue
        runtime = _RUNTIME.get(table)
        if (runtime is not None and runtime.match(path)) or (table == "nodes" and not _NODE.match(path)):
            continue
        short = path in _TOLD and all(value is None or isinstance(value, str | int) for value in (before, after))
        told.setdefault((table, key), []).append(f"{path} {before} becomes {after}" if short else path)
    children = _children(live) | _children(wanted)
    written = {name: _written(live, name) for name in DECIDED}
    found = []
    objects = changes.objects
    for table, key, change, name in zip(*(objects[n] for n in ("Table", "Key", "Change", "Name")), strict=True):
        if (table == "jobs" and key in children) or (change == "changed" and (table, key) not in told):
            continue
        what = "; ".join(told.get((table, key), ())) if change == "changed" else ""
        found.append(
            Effect(table, tuple(map(str, key)), HAPPENS[change], name, written[table].get(tuple(map(str, key))), what)
        )
    return found


def _children(snapshot: Snapshot) -> set[Any]:
    """Jobs that a periodic or parameterized job started: they come and go by themselves."""
    parents = snapshot.table("jobs", ["ParentID"])["ParentID"]
    return set(parents.index[parents.fillna("") != ""])


def _written(snapshot: Snapshot, table: str) -> dict[_Key, int]:
    column = WRITTEN.get(table, "ModifyIndex")
    if not column:
        return {}
    frame = snapshot.table(table, [column])
    keys = [key if isinstance(key, tuple) else (key,) for key in frame.index] if frame.index.names != [None] else [()]
    return {
        tuple(map(str, key)): int(value)
        for key, value in zip(keys, frame[column], strict=False)
        if value == value and value is not None
    }
