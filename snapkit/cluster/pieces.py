"""Objects as an archive has them, turned into what Nomad's API takes.

A job comes back as it ran (with the counts that it had), its submitted source beside it; one that was purged, from its
versions, its submission or an allocation's copy of it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from urllib.parse import unquote

from snapkit.cluster.client import Client
from snapkit.errors import NotInSnapshotError, SnapshotError
from snapkit.format.schema import BY_TABLE, Type
from snapkit.format.values import to_json
from snapkit.state.output.edit import from_json
from snapkit.state.snapshot import Snapshot
from snapkit.state.snapshot.keyring import Keyring

Object: TypeAlias = dict[str, Any]
#: A table and a key in it: `("jobs", "shop", "web")`.
Wanted: TypeAlias = Sequence[str]

#: What can be brought back, in the order in which one may need another.
TABLES = (
    "namespaces", "node_pools", "acl_policies", "acl_roles", "acl_auth_methods", "acl_binding_rules", "acl_tokens",
    "variables", "jobs",
)  # fmt: skip

#: The fields of a kind that people set; a server sets the others.
WRITTEN: Mapping[str, tuple[str, ...]] = {
    "namespaces": (
        "Name", "Description", "Quota", "Meta", "Capabilities", "NodePoolConfiguration", "VaultConfiguration",
        "ConsulConfiguration",
    ),
    "node_pools": ("Name", "Description", "Meta", "SchedulerConfiguration", "NodeIdentityTTL"),
    "acl_policies": ("Name", "Description", "Rules", "JobACL"),
    "acl_roles": ("Name", "Description", "Policies"),
    "acl_auth_methods": ("Name", "Type", "TokenLocality", "TokenNameFormat", "MaxTokenTTL", "Default", "Config"),
    "acl_binding_rules": ("Description", "AuthMethod", "Selector", "BindType", "BindName"),
    "acl_tokens": ("Name", "Type", "Policies", "Roles", "Global", "ExpirationTime"),
}  # fmt: skip
_NOT_OF_A_JOB = (
    "Status", "StatusDescription", "Stable", "Version", "SubmitTime", "CreateIndex", "ModifyIndex", "JobModifyIndex",
    "NomadTokenID", "VersionTag", "ParentID", "Dispatched", "DispatchIdempotencyToken", "Payload", "VaultToken",
    "ConsulToken",
)  # fmt: skip
#: A server adds it to each group that needs it, each time it is sent the job, whether it is there or not.
_IMPLIED = {"LTarget": "${attr.nomad.version}", "RTarget": ">= 1.7.0-a", "Operand": "semver"}

SOURCE = "source of version "  # what a job is made of where nothing else tells of it
REDACTED = "redacted"  # what a server shows for an auth method's secrets


@dataclass(frozen=True, slots=True)
class Piece:
    """An object as an archive has it, turned into what the API takes.

    Attributes:
        table: Where it stands in the archive.
        key: Its key there.
        target: The key it is to have in the cluster.
        body: What the API takes.
        made_of: What it was taken from: `record`, or of a job that is gone, what told of it.
        needs: Tables and keys that must be live before.
        notes: What to know about it.
        submission: Of a job, the source it was submitted as.
    """

    table: str
    key: tuple[str, ...]
    target: tuple[str, ...]
    body: Object = field(repr=False)
    made_of: str = "record"
    needs: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    submission: Object | None = field(default=None, repr=False)


def pieces(
    snapshot: Snapshot,
    objects: Iterable[Wanted],
    *,
    keystore: Any = None,
    name: str | None = None,
    namespace: str | None = None,
    stopped: bool | None = None,
    same_secrets: bool = False,
) -> list[Piece]:
    """Objects of a snapshot as the API takes them, in the order in which they may need each other.

    Args and errors are those of `recover()`.
    """
    wanted = list(dict.fromkeys(_resolved(snapshot, tuple(map(str, one))) for one in objects))
    if not wanted:
        raise SnapshotError("are none", "the objects", "name some, such as ('jobs', 'shop', 'web')")
    if name is not None and len(wanted) > 1:
        raise SnapshotError("is one, for more than one object", f"the name {name!r:.60}", "bring them back one by one")
    keyring = Keyring(snapshot.table, keystore) if any(table == "variables" for table, *_ in wanted) else None
    found = []
    for table, *key in wanted:
        if table == "jobs":
            piece = _job(snapshot, tuple(key), name, namespace, stopped)
        elif table == "variables":
            assert keyring is not None
            piece = _variable(snapshot, tuple(key), keyring, name, namespace)
        else:
            piece = _other(snapshot, table, tuple(key), name, same_secrets)
        found.append(piece)
    return sorted(found, key=lambda piece: TABLES.index(piece.table))


def _resolved(snapshot: Snapshot, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """A table and a key of those that can be written."""
    table, *key = wanted or ("",)
    if table == "scaling_policies":
        target = snapshot.get("scaling_policies", *key)["Target"]
        return ("jobs", str(target.get("Namespace", "default")), str(target["Job"]))
    if table not in TABLES:
        advice = f"what can be is: {', '.join((*TABLES, 'scaling_policies'))}"
        raise SnapshotError("can't be brought back one by one", f"table {table!r:.60}", advice)
    if len(key) != len(BY_TABLE[table].key):
        takes = ", ".join(BY_TABLE[table].key)
        raise NotInSnapshotError(f"takes a key of {takes}, and got {len(key)} parts", f"table {table}")
    if table == "acl_roles":
        roles = (_whole("acl_roles", role) for role in snapshot.objects("acl_roles", {"Name": None, "ID": None}))
        names = {role["Name"]: role["ID"] for role in roles}
        key = [str(names.get(key[0], key[0]))]
    return (table, *key)


def _other(snapshot: Snapshot, table: str, key: tuple[str, ...], name: str | None, same_secrets: bool) -> Piece:
    record = _whole(table, snapshot.get(table, *key, reveal=True))
    body = {name_: record[name_] for name_ in WRITTEN[table]}
    needs: list[tuple[str, ...]] = []
    notes: list[str] = []
    if name is not None and "Name" in body:
        body["Name"] = name
    if table == "acl_roles":
        needs = [("acl_policies", str(link["Name"])) for link in _some(body["Policies"])]
    elif table == "node_pools" and not body["NodeIdentityTTL"]:
        del body["NodeIdentityTTL"]  # of an older release: a server has a default
    elif table == "acl_binding_rules":
        needs = [("acl_auth_methods", str(body["AuthMethod"]))]
        notes = ["gets a new ID unless it is live"]
    elif table == "acl_tokens":
        body["Roles"] = [{"Name": _role_name(snapshot, link)} for link in _some(body["Roles"])]
        needs = [("acl_policies", str(policy)) for policy in _some(body["Policies"])]
        needs += [("acl_roles", str(link["Name"])) for link in body["Roles"]]
        notes = ["a new token: accessor and secret are others"]
        if same_secrets:
            if body["Type"] != "client":
                advice = "make a new one: leave same_secrets (--same-secrets) out"
                raise SnapshotError("is no client's, and can't come back itself", f"token {key[0]}", advice)
            body |= {"AccessorID": record["AccessorID"], "SecretID": record["SecretID"]}
            notes = ["comes back itself, its secret too"]
    elif table == "acl_auth_methods" and REDACTED in json.dumps(body["Config"] or {}):
        notes = ["its secret is not in the archive"]
    target = (str(body["Name"]),) if table not in ("acl_binding_rules", "acl_tokens") else key
    return Piece(table, key, target, body, needs=tuple(needs), notes=tuple(notes))


def _whole(table: str, record: Mapping[str, Any]) -> Object:
    """A record with all the fields that the newest release has, those that it lacks as Go's zero.

    Raises:
        RecordError: A value is not of its field's type.
    """
    kind = Type("struct", struct=BY_TABLE[table].struct)
    whole: Object = to_json(from_json(record, kind), kind)
    return whole


def _some(items: Iterable[Any] | None) -> list[Any]:
    """Those that are there."""
    return [item for item in items or () if item is not None]


def _role_name(snapshot: Snapshot, link: Mapping[str, Any]) -> str:
    try:
        return str(snapshot.get("acl_roles", link["ID"])["Name"])
    except NotInSnapshotError:
        return str(link.get("Name") or link["ID"])


def _variable(
    snapshot: Snapshot, key: tuple[str, ...], keyring: Keyring, name: str | None, namespace: str | None
) -> Piece:
    record = _whole("variables", snapshot.get("variables", *key, reveal=True))
    data = base64.b64decode(record["Data"] or "")
    items = keyring.open_variable(key[0], key[1], str(record["KeyID"]), data)
    target = (namespace or key[0], name or key[1])
    body = {"Namespace": target[0], "Path": target[1], "Items": items}
    notes = ("it was locked: the lock does not come back",) if (record.get("Lock") or {}).get("ID") else ()
    return Piece("variables", key, target, body, needs=(("namespaces", target[0]),), notes=notes)


def _job(
    snapshot: Snapshot, key: tuple[str, ...], name: str | None, namespace: str | None, stopped: bool | None
) -> Piece:
    found, made_of = _job_of(snapshot, key)
    record = _whole("jobs", found)
    if record.get("ParentID") or record.get("Dispatched"):
        parent = record.get("ParentID") or key[1].partition("/")[0]
        what = "is one run of a periodic or parameterized job, which no API takes"
        raise SnapshotError(what, f"job {'/'.join(key)}", f"bring {parent} back, and dispatch it anew")
    target = (namespace or key[0], name or key[1])
    notes = []
    submission = _submission(snapshot, key, int(record.get("Version") or 0))
    if made_of.startswith(SOURCE):
        notes = ["its source is all that is there: the counts are those it was submitted with"]
        return Piece("jobs", key, target, {}, made_of, (("namespaces", target[0]),), tuple(notes), submission)
    body = _called(job_body(record), key, target, stopped)
    if submission is None:
        notes.append("no source was submitted with it")
    elif target != key:
        submission = None
        notes.append("its source names it otherwise, and stays behind")
    if record.get("Status") == "dead" and not body.get("Stop") and record.get("Type") in ("batch", "sysbatch"):
        notes.append("it had ended, and will run again")
    if body.get("Stop"):
        notes.append("stopped")
    needs = [("namespaces", target[0]), ("node_pools", str(record.get("NodePool") or "default"))]
    return Piece("jobs", key, target, body, made_of, tuple(needs), tuple(notes), submission)


def _called(body: Object, key: tuple[str, ...], target: tuple[str, ...], stopped: bool | None) -> Object:
    """A job by the name that it is to have, where it is to be, running or not."""
    name = target[1] if body.get("Name") in (key[1], None) else body["Name"]
    body |= {"ID": target[1], "Name": name, "Namespace": target[0]}
    return body if stopped is None else body | {"Stop": stopped}


def parsed(client: Client, piece: Piece, stopped: bool | None) -> Piece:
    """A job of which there is its source alone, as a server reads that."""
    assert piece.submission is not None
    source, variables = str(piece.submission["Source"]), str(piece.submission.get("Variables") or "")
    if piece.submission["Format"] == "json":
        given = json.loads(source)
        body = given.get("Job", given)
    else:
        flags = piece.submission.get("VariableFlags") or {}
        lines = [f"{name} = {json.dumps(value).replace('${', '$${')}" for name, value in flags.items()]
        sent = {"JobHCL": source, "Variables": "\n".join([variables, *lines]), "Canonicalize": True}
        body = client.put("/v1/jobs/parse", sent, namespace=piece.target[0]).value
    return replace(piece, body=_called(job_body(body), piece.key, piece.target, stopped))


def _job_of(snapshot: Snapshot, key: tuple[str, ...]) -> tuple[Object, str]:
    """A job and what tells of it: its record, its last version, an allocation's copy of it, or only its source."""
    if key in snapshot.records("jobs"):
        return snapshot.get("jobs", *key, reveal=True), "record"
    versions = [found for found in snapshot.records("job_versions") if tuple(found[:2]) == key]
    if versions:
        newest = max(versions, key=lambda found: int(found[2]))
        return snapshot.get("job_versions", *newest, reveal=True), f"version {newest[2]}"
    copies = [
        (int(alloc["Job"]["Version"]), str(alloc["ID"]))
        for alloc in snapshot.objects("allocs", {"ID": None, "Namespace": None, "JobID": None, "Job": ["Version"]})
        if (alloc.get("Namespace"), alloc.get("JobID")) == key and alloc.get("Job")
    ]
    if copies:
        version, alloc = max(copies)
        return snapshot.get("allocs", alloc, reveal=True)["Job"], f"version {version}, of allocation {alloc}"
    sources = [int(found[2]) for found in snapshot.records("job_submissions") if tuple(found[:2]) == key]
    if sources:
        return {"Version": max(sources)}, f"{SOURCE}{max(sources)}"
    what = "is not in the archive, nor is a version, an allocation or the source of it"
    raise NotInSnapshotError(what, f"job {'/'.join(key)}", "`snapkit search` finds what else tells of it")


def job_body(record: Mapping[str, Any]) -> Object:
    """A job's record as the API takes it: without what a server sets."""
    body: Object = {name: value for name, value in record.items() if name not in _NOT_OF_A_JOB}
    groups = []
    for group in _some(body.get("TaskGroups")):
        constraints = [one for one in _some(group.get("Constraints")) if {**one, **_IMPLIED} != one] or None
        tasks = [
            {**task, "ScalingPolicies": [_policy(one) for one in _some(task.get("ScalingPolicies"))] or None}
            for task in _some(group.get("Tasks"))
        ]
        scaling = _policy(group["Scaling"]) if group.get("Scaling") else None
        groups.append({**group, "Constraints": constraints, "Tasks": tasks, "Scaling": scaling})
    body["TaskGroups"] = groups
    return body


def _policy(policy: Mapping[str, Any]) -> Object:
    return {name: value for name, value in policy.items() if name not in ("ID", "CreateIndex", "ModifyIndex", "Target")}


def _submission(snapshot: Snapshot, key: tuple[str, ...], version: int) -> Object | None:
    try:
        found = snapshot.get("job_submissions", *key, version, reveal=True)
    except NotInSnapshotError:
        return None
    flags = {name: unquote(value) for name, value in (found.get("VariableFlags") or {}).items()}
    return {"Source": found["Source"], "Format": found["Format"], "Variables": found["Variables"]} | (
        {"VariableFlags": flags} if flags else {}
    )
