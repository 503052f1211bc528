"""What leads from one record of a snapshot to others: which fields name a record, and what names this one.

The fields are those of Nomad's struct definitions, as schema.py has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from snapkit.format.schema import BY_TABLE, TYPES


class Link(NamedTuple):
    """A record by its table and key."""

    table: str
    key: tuple[str, ...]


class Related(NamedTuple):
    """The records of a table that have these values, which may be in lists, in these fields."""

    table: str
    values: Mapping[str, str]


#: Field -> the table that it names a record of, in whatever struct it stands.
_NAMES: Mapping[str, str] = {
    "AllocID": "allocs",
    "AllocationID": "allocs",
    "NextAllocation": "allocs",
    "PreemptedAllocations": "allocs",
    "PreemptedByAllocation": "allocs",
    "PrevAllocID": "allocs",
    "PreviousAllocation": "allocs",
    "AuthMethod": "acl_auth_methods",
    "NomadTokenID": "acl_tokens",
    "DeploymentID": "deployments",
    "BlockedEval": "evals",
    "EvalID": "evals",
    "FollowupEvalID": "evals",
    "NextEval": "evals",
    "PreviousEval": "evals",
    "JobID": "jobs",
    "ParentID": "jobs",
    "Namespace": "namespaces",
    "NodePool": "node_pools",
    "NodeID": "nodes",
    "PrevNodeID": "nodes",
    "IdentitySigningKeyID": "root_keys",
    "KeyID": "root_keys",
    "SigningKeyID": "root_keys",
}
#: The same, for fields whose name alone does not say it: `Struct.Field`.
_PLACES: Mapping[str, str] = {
    "ACLRolePolicyLink.Name": "acl_policies",
    "ACLToken.Policies": "acl_policies",
    "ACLTokenRoleLink.ID": "acl_roles",
    "AllocListStub.ID": "allocs",
    "Allocation.ID": "allocs",
    "CSIVolume.PluginID": "csi_plugins",
    "DrainMetadata.AccessorID": "acl_tokens",
    "EvaluationStub.ID": "evals",
    "Job.ID": "jobs",
    "PeriodicLaunch.ID": "jobs",
}
#: Up to 1.8 a root key has no record of its own: what stands for it.
_INSTEAD: Mapping[str, str] = {"root_keys": "root_key_meta"}
#: A table and its fields that say which records of another they belong to; a field with a key of two comes after
#: Namespace. Of several fields that name the same table, the one that people go by.
_BELONGS: Mapping[str, Mapping[str, str]] = {
    "acl_binding_rules": {"acl_auth_methods": "AuthMethod"},
    "acl_roles": {"acl_policies": "Policies"},
    "acl_tokens": {"acl_policies": "Policies", "acl_roles": "Roles"},
    "allocs": {"nodes": "NodeID", "jobs": "JobID", "evals": "EvalID", "deployments": "DeploymentID"},
    "csi_volumes": {"csi_plugins": "PluginID"},
    "deployments": {"jobs": "JobID"},
    "evals": {"nodes": "NodeID", "jobs": "JobID", "deployments": "DeploymentID"},
    "host_volumes": {"nodes": "NodeID", "node_pools": "NodePool"},
    "job_submissions": {"jobs": "JobID"},
    "job_summaries": {"jobs": "JobID"},
    "job_versions": {"jobs": "ID"},
    "jobs": {"jobs": "ParentID", "node_pools": "NodePool", "acl_tokens": "NomadTokenID", "namespaces": "Namespace"},
    "nodes": {"node_pools": "NodePool"},
    "periodic_launches": {"jobs": "ID"},
    "scaling_events": {"jobs": "JobID"},
    "services": {"jobs": "JobID", "nodes": "NodeID", "allocs": "AllocID"},
    "si_token_accessors": {"nodes": "NodeID", "allocs": "AllocID"},
    "variables": {"root_keys": "KeyID", "root_key_meta": "KeyID", "namespaces": "Namespace"},
    "vault_accessors": {"nodes": "NodeID", "allocs": "AllocID"},
}
#: What is kept of a job in tables of its own.
_OF_A_JOB = frozenset({"job_submissions", "job_summaries", "job_versions", "periodic_launches", "scaling_events"})


def link(struct: str, field: str, value: Any, namespace: str, tables: frozenset[str]) -> Link | None:
    """The record that a value names, if its field names records of a table that is there.

    Args:
        struct: What the field is of.
        field: Its name.
        value: What it says.
        namespace: That of the record, or of what around it has one.
        tables: Those that the snapshot has.
    """
    table = _PLACES.get(f"{struct}.{field}") or _NAMES.get(field)
    if table is not None and table not in tables:
        table = _INSTEAD.get(table)
    if table is None or table not in tables or not isinstance(value, str) or not value:
        return None
    return Link(table, (namespace, value) if len(BY_TABLE[table].key) > 1 else (value,))


def related(table: str, key: tuple[str, ...], tables: frozenset[str]) -> Iterator[Related]:
    """The records that belong to this one, by the tables that are there."""
    if table not in BY_TABLE or not key:
        return
    # A version, a summary and such are of the job: what belongs to the job belongs to them.
    owner = "jobs" if table in _OF_A_JOB else table
    own = key[: len(BY_TABLE[owner].key)]
    for other in (kind.table for kind in TYPES if kind.table in tables and kind.table != table):
        yield from _belonging(other, owner, own)
    if table == owner:
        yield from _belonging(table, owner, own)


def _belonging(other: str, owner: str, key: tuple[str, ...]) -> Iterator[Related]:
    field = _BELONGS.get(other, {}).get(owner)
    if field is not None:
        names = ("Namespace", field) if len(key) > 1 else (field,)
        yield Related(other, dict(zip(names, key, strict=True)))
