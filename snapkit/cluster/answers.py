"""What Nomad's HTTP API answers about a state: each read endpoint as a function of a snapshot, without any HTTP.

Shapes are those of 2.0.5, in the fields that the snapshot's release has: lists are stubs, single objects whole.
Source: Nomad's command/agent/*_endpoint.go for the paths, nomad/*_endpoint.go for the rights that each takes.
"""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final
from urllib.parse import unquote

from snapkit.cluster.filters import matcher
from snapkit.cluster.jobdiff import diff_jobs
from snapkit.errors import NotInSnapshotError, SnapshotError
from snapkit.state.acl import Authority, Identity, RulesError
from snapkit.state.secrets import Keyring, KeyringError
from snapkit.state.snapshot import Snapshot

Object = dict[str, Any]


class ApiError(Exception):
    """An answer that is not 200, with the text that Nomad gives.

    Attributes:
        index: For X-Nomad-Index; None where Nomad sends none.
    """

    def __init__(self, status: int, text: str, index: int | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.index = index


PERMISSION_DENIED: Final = ApiError(403, "Permission denied")


@dataclass(frozen=True, slots=True)
class Server:
    """What the answers say of the server itself, none of which is in a snapshot.

    Attributes:
        id: Its Raft id.
        name: Its name; members add the region.
        host: Of its addresses.
        port: Of its HTTP address; RPC and Serf are said to be the next two.
        version: Of Nomad that it pretends to be.
        region: Its region.
        datacenter: Its datacenter.
        leader: Is there a leader?
    """

    id: str
    host: str
    port: int
    version: str
    name: str = "snapkit"
    region: str = "global"
    datacenter: str = "dc1"
    leader: bool = True

    @property
    def rpc(self) -> str:
        return f"{self.host}:{self.port + 1}"


@dataclass(frozen=True, slots=True)
class Request:
    """A read, after its path was taken apart.

    Attributes:
        query: The query parameters.
        identity: Who asks.
        path: What the route's pattern captured.
        body: The JSON document sent along (searches alone have one).
    """

    query: Mapping[str, str]
    identity: Identity
    path: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.query.get("namespace") or "default"

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.query.get(name)
        return default if value is None else value.lower() in ("true", "1", "t")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a read gives.

    Attributes:
        body: As json takes it.
        index: For X-Nomad-Index; None where Nomad sends none.
        next_token: For X-Nomad-Nexttoken.
        known_leader: For X-Nomad-Knownleader.
    """

    body: Any
    index: int | None = None
    next_token: str = ""


Handler = Callable[["Answers", Request], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """A path of the API: `{x}` captures a segment, `{x:path}` one or more."""

    pattern: str
    handler: Handler
    methods: tuple[str, ...] = ("GET",)


ROUTES: list[Route] = []


def _route(pattern: str, *methods: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        ROUTES.append(Route(f"/v1{pattern}", handler, methods or ("GET",)))
        return handler

    return register


ALLOC_STUB: Mapping[str, Any] = {
    "ID": "", "EvalID": "", "Name": "", "Namespace": "", "NodeID": "", "NodeName": "", "JobID": "", "JobType": "",
    "JobVersion": 0, "TaskGroup": "", "AllocatedResources": None, "DesiredStatus": "", "DesiredDescription": "",
    "ClientStatus": "", "ClientDescription": "", "DesiredTransition": None, "TaskStates": None,
    "DeploymentStatus": None, "FollowupEvalID": "", "NextAllocation": "", "RescheduleTracker": None,
    "PreemptedAllocations": None, "PreemptedByAllocation": "", "CreateIndex": 0, "ModifyIndex": 0, "CreateTime": 0,
    "ModifyTime": 0,
}  # fmt: skip
TRANSITION = ("Migrate", "Reschedule", "ForceReschedule", "NoShutdownDelay", "MigrateDisablePlacement")
JOB_STUB = (
    "ID", "ParentID", "Name", "Namespace", "Datacenters", "NodePool", "Multiregion", "Type", "Priority", "Periodic",
    "ParameterizedJob", "Stop", "Status", "StatusDescription", "CreateIndex", "ModifyIndex", "JobModifyIndex",
    "SubmitTime", "Meta",
)  # fmt: skip
NODE_STUB = (
    "HTTPAddr", "ID", "Attributes", "Datacenter", "Name", "NodePool", "NodeClass", "DrainStrategy", "Drain",
    "SchedulingEligibility", "Status", "StatusDescription", "Drivers", "HostVolumes", "LastDrain", "NodeResources",
    "ReservedResources", "CreateIndex", "ModifyIndex",
)  # fmt: skip
VARIABLE_STUB = ("Namespace", "Path", "Lock", "CreateIndex", "CreateTime", "ModifyIndex", "ModifyTime")


class Answers:
    """The reads of Nomad's API over one snapshot."""

    def __init__(self, snapshot: Snapshot, authority: Authority, server: Server, keystore: str | None = None) -> None:
        self.snapshot = snapshot
        self.authority = authority
        self.server = server
        self.keystore = keystore

    # -- helpers

    def index(self, *tables: str) -> int:
        """The highest last index of Nomad's own tables, by the Index table."""
        indexes = self.snapshot.indexes["Value"]
        return max((int(indexes[table]) for table in tables if table in indexes.index), default=0)

    def objects(self, table: str, fields: Iterable[str] | None = None) -> Iterator[Object]:
        return self.snapshot.objects(table, dict.fromkeys(fields) if fields else None, reveal=True)

    def find(self, table: str, *key: str | int, missing: str) -> Object:
        """One object whole, or 404 with Nomad's text."""
        try:
            found: Object = self.snapshot.get(table, *key, reveal=True)
        except NotInSnapshotError:
            raise ApiError(404, missing) from None
        return found

    def readable(self, request: Request, capability: str) -> Callable[[str], bool]:
        """Which namespaces of those asked for the caller has a right in."""
        wanted, acl = request.namespace, request.identity.acl
        if wanted != "*" and not acl.allow_namespace(wanted, capability):
            raise PERMISSION_DENIED
        return lambda namespace: (wanted == "*" or namespace == wanted) and acl.allow_namespace(namespace, capability)

    def in_namespaces(
        self, request: Request, capability: str, table: str, fields: Iterable[str] | None = None
    ) -> list[Object]:
        may_read = self.readable(request, capability)
        return [item for item in self.objects(table, fields) if may_read(item.get("Namespace") or "default")]

    def allocations(self, request: Request, wanted: Callable[[Object], bool] = lambda alloc: True) -> list[Object]:
        """Stubs of the allocations that the caller may read."""
        may_read = self.readable(request, "read-job")
        subset: dict[str, Sequence[str] | None] = dict.fromkeys([*ALLOC_STUB, "DeploymentID"])
        subset["Job"] = ("Type", "Version", "CreateIndex")
        return [
            alloc_stub(alloc, request)
            for alloc in self.snapshot.objects("allocs", subset, reveal=True)
            if may_read(alloc["Namespace"]) and wanted(alloc)
        ]


def page(request: Request, items: list[Object], index: int, key: Sequence[str] = ("ID",)) -> Answer:
    """A list in order of a key, as `prefix`, `filter`, `reverse`, `per_page` and `next_token` want it."""
    prefix = request.query.get("prefix", "")
    if prefix:
        key = key[-1:]  # Nomad looks prefixes up by id, and finds them in that order
        items = [item for item in items if str(item[key[-1]]).startswith(prefix)]
    if request.query.get("filter"):
        try:
            matches = matcher(request.query["filter"])
            items = [item for item in items if matches(item)]
        except SnapshotError as error:
            raise ApiError(400, f"failed to read filter expression: {error}") from error
    items.sort(key=lambda item: [item[name] for name in key], reverse=request.flag("reverse"))
    tokens = [".".join(str(item[name]) for name in key) for item in items]
    start = tokens.index(request.query["next_token"]) if request.query.get("next_token") in tokens else 0
    size = request.query.get("per_page", "0")
    end = start + int(size) if size.isdecimal() and int(size) else len(items)
    return Answer(items[start:end], index, tokens[end] if end < len(items) else "")


def pick(item: Object, names: Iterable[str]) -> Object:
    return {name: item[name] for name in names if name in item}


def check(allowed: bool) -> None:
    if not allowed:
        raise PERMISSION_DENIED


# -- jobs


@_route("/jobs")
def jobs(answers: Answers, request: Request) -> Answer:
    summaries = {(s["Namespace"], s["JobID"]): s for s in answers.objects("job_summaries")}
    stubs = []
    for job in answers.in_namespaces(request, "list-jobs", "jobs", (*JOB_STUB, "Dispatched")):
        stub = {name: job.get(name) for name in JOB_STUB}
        stub["Periodic"] = job.get("Periodic") is not None
        stub["ParameterizedJob"] = job.get("ParameterizedJob") is not None and not job.get("Dispatched")
        stub["JobSummary"] = summaries.get((job["Namespace"], job["ID"]))
        if not request.flag("meta"):
            stub["Meta"] = None
        stubs.append(stub)
    return page(request, stubs, answers.index("jobs", "job_summary"), ("Namespace", "ID"))


@_route("/job/{id:path}/allocations")
def job_allocations(answers: Answers, request: Request) -> Answer:
    job_id, created = request.path["id"], _created(answers, request)
    stubs = answers.allocations(
        request,
        lambda alloc: alloc["JobID"] == job_id and created in (None, (alloc.get("Job") or {}).get("CreateIndex")),
    )
    return page(request, stubs, answers.index("allocs"))


def _created(answers: Answers, request: Request) -> int | None:
    """The index that the job there is now was made at, unless objects of its forerunners are wanted too."""
    if request.flag("all"):
        return None
    try:
        job = answers.find("jobs", request.namespace, request.path["id"], missing="")
    except ApiError:
        return None
    return int(job["CreateIndex"])


@_route("/job/{id:path}/evaluations")
def job_evaluations(answers: Answers, request: Request) -> Answer:
    evals = [e for e in answers.in_namespaces(request, "read-job", "evals") if e.get("JobID") == request.path["id"]]
    return page(request, evals, answers.index("evals"))


@_route("/job/{id:path}/deployments")
def job_deployments(answers: Answers, request: Request) -> Answer:
    return page(request, _deployments_of(answers, request), answers.index("deployment"))


@_route("/job/{id:path}/deployment")
def job_deployment(answers: Answers, request: Request) -> Answer:
    found = _deployments_of(answers, request)
    newest = max(found, key=lambda d: int(d["CreateIndex"]), default=None)
    return Answer(newest, answers.index("deployment") if newest is None else newest["ModifyIndex"])


def _deployments_of(answers: Answers, request: Request) -> list[Object]:
    created = _created(answers, request)
    return [
        d
        for d in answers.in_namespaces(request, "read-job", "deployments")
        if d["JobID"] == request.path["id"] and created in (None, d["JobCreateIndex"])
    ]


@_route("/job/{id:path}/versions")
def job_versions(answers: Answers, request: Request) -> Answer:
    job_id = request.path["id"]
    found = [v for v in answers.in_namespaces(request, "read-job", "job_versions") if v["ID"] == job_id]
    if not found:
        raise ApiError(404, "job versions not found")
    found.sort(key=lambda v: int(v["Version"]), reverse=True)
    diffs = None
    if request.flag("diffs"):
        diffs = [diff_jobs(old, new) for new, old in pairwise(found)]
    index = max(int(v["ModifyIndex"]) for v in found)
    return Answer({"Versions": found, "Diffs": diffs, **_envelope(index)}, index)


def _envelope(index: int) -> Object:
    return {"Index": index, "LastContact": 0, "KnownLeader": True, "NextToken": ""}


@_route("/job/{id:path}/submission")
def job_submission(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    version = request.query.get("version", "")
    if not version.isdecimal():
        raise ApiError(400, f'Failed to parse value of "version" ({version!r}) as a uint64')
    missing = "job source not found"
    found = answers.find("job_submissions", request.namespace, request.path["id"], int(version), missing=missing)
    found["VariableFlags"] = {
        name: unquote(value) for name, value in (found.get("VariableFlags") or {}).items()
    } or None
    return Answer(found, found["JobModifyIndex"])


@_route("/job/{id:path}/summary")
def job_summary(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    found = answers.find("job_summaries", request.namespace, request.path["id"], missing="job not found")
    return Answer(found, found["ModifyIndex"])


@_route("/job/{id:path}/scale")
def job_scale(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    job_id = request.path["id"]
    job = answers.find("jobs", request.namespace, job_id, missing="job not found")
    try:
        events = answers.find("scaling_events", request.namespace, job_id, missing="")["ScalingEvents"]
    except ApiError:
        events = {}
    groups = {
        group["Name"]: {
            "Desired": group["Count"],
            **dict.fromkeys(("Placed", "Running", "Healthy", "Unhealthy"), 0),
            "Events": (events or {}).get(group["Name"]),
        }
        for group in job["TaskGroups"] or ()
    }
    for alloc in answers.allocations(request, lambda a: a["JobID"] == job_id):
        group = groups.get(alloc["TaskGroup"])
        if group is None or _terminal(alloc):
            continue
        group["Placed"] += 1
        group["Running"] += alloc["ClientStatus"] == "running"
        health = (alloc["DeploymentStatus"] or {}).get("Healthy")
        group["Healthy"] += health is True
        group["Unhealthy"] += health is False
    body = {
        "JobID": job_id,
        "Namespace": request.namespace,
        "JobCreateIndex": job["CreateIndex"],
        "JobModifyIndex": job["JobModifyIndex"],
        "JobStopped": job["Stop"],
        "TaskGroups": groups,
    }
    return Answer(body, job["ModifyIndex"])


@_route("/job/{id:path}")
def job(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    found = answers.find("jobs", request.namespace, request.path["id"], missing="job not found")
    return Answer(found, found["ModifyIndex"])


# -- allocations, evaluations, deployments


def alloc_stub(alloc: Object, request: Request) -> Object:
    stub = {name: alloc.get(name, default) for name, default in ALLOC_STUB.items()}
    the_job = alloc.get("Job") or {}
    stub["JobType"], stub["JobVersion"] = the_job.get("Type", ""), the_job.get("Version", 0)
    stub["DesiredTransition"] = dict.fromkeys(TRANSITION) | (alloc.get("DesiredTransition") or {})
    if not request.flag("resources"):
        stub["AllocatedResources"] = None
    if not request.flag("task_states", default=True):
        stub["TaskStates"] = None
    return stub


@_route("/allocations")
def allocations(answers: Answers, request: Request) -> Answer:
    return page(request, answers.allocations(request), answers.index("allocs"), ("CreateIndex", "ID"))


@_route("/allocation/{id}")
def allocation(answers: Answers, request: Request) -> Answer:
    found = answers.find("allocs", request.path["id"], missing="alloc not found")
    check(request.identity.acl.allow_namespace(found["Namespace"], "read-job"))
    return Answer(found, found["ModifyIndex"])


@_route("/allocation/{id}/services")
def allocation_services(answers: Answers, request: Request) -> Answer:
    found = answers.find("allocs", request.path["id"], missing="alloc not found")
    check(request.identity.acl.allow_namespace(found["Namespace"], "read-job"))
    services_ = [s for s in answers.objects("services") if s["AllocID"] == found["ID"]]
    return page(request, services_, answers.index("service_registrations"))


@_route("/evaluations")
def evaluations(answers: Answers, request: Request) -> Answer:
    evals = answers.in_namespaces(request, "read-job", "evals")
    for parameter, name in (("job", "JobID"), ("status", "Status")):
        if request.query.get(parameter):
            evals = [e for e in evals if e.get(name) == request.query[parameter]]
    return page(request, evals, answers.index("evals"), ("CreateIndex", "ID"))


@_route("/evaluations/count")
def evaluations_count(answers: Answers, request: Request) -> Answer:
    return Answer({"Count": len(evaluations(answers, request).body)}, answers.index("evals"))


@_route("/evaluation/{id}/allocations")
def evaluation_allocations(answers: Answers, request: Request) -> Answer:
    stubs = answers.allocations(request, lambda alloc: alloc.get("EvalID") == request.path["id"])
    return page(request, stubs, answers.index("allocs"))


@_route("/evaluation/{id}")
def evaluation(answers: Answers, request: Request) -> Answer:
    found = answers.find("evals", request.path["id"], missing="eval not found")
    check(request.identity.acl.allow_namespace(found["Namespace"], "read-job"))
    if request.flag("related"):
        related = _related(answers, found)
        if related:
            found["RelatedEvals"] = related
    return Answer(found, found["ModifyIndex"])


def _related(answers: Answers, start: Object) -> list[Object]:
    """Stubs of the evaluations linked to one, near or far, by NextEval, PreviousEval and BlockedEval."""
    names = (
        "ID", "Priority", "Type", "TriggeredBy", "Namespace", "JobID", "NodeID", "DeploymentID", "Status",
        "StatusDescription", "WaitUntil", "NextEval", "PreviousEval", "BlockedEval", "CreateIndex", "ModifyIndex",
        "CreateTime", "ModifyTime",
    )  # fmt: skip
    every = {e["ID"]: e for e in answers.objects("evals", names)}
    todo, seen = [start["ID"]], {start["ID"]}
    while todo:
        found = every.get(todo.pop(), {})
        for link in ("NextEval", "PreviousEval", "BlockedEval"):
            if found.get(link) in every and found[link] not in seen:
                seen.add(found[link])
                todo.append(found[link])
    numbers = {"Priority", "CreateIndex", "ModifyIndex", "CreateTime", "ModifyTime"}
    blank: Object = {name: 0 if name in numbers else None if name == "WaitUntil" else "" for name in names}
    return [blank | every[eval_id] for eval_id in seen - {start["ID"]}]


@_route("/deployments")
def deployments(answers: Answers, request: Request) -> Answer:
    found = answers.in_namespaces(request, "read-job", "deployments")
    return page(request, found, answers.index("deployment"), ("CreateIndex", "ID"))


@_route("/deployment/allocations/{id}")
def deployment_allocations(answers: Answers, request: Request) -> Answer:
    stubs = answers.allocations(request, lambda alloc: alloc.get("DeploymentID") == request.path["id"])
    return page(request, stubs, answers.index("allocs"))


@_route("/deployment/{id}")
def deployment(answers: Answers, request: Request) -> Answer:
    found = answers.find("deployments", request.path["id"], missing="deployment not found")
    check(request.identity.acl.allow_namespace(found["Namespace"], "read-job"))
    return Answer(found, found["ModifyIndex"])


# -- nodes


@_route("/nodes")
def nodes(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node("read"))
    return page(request, [_node_stub(n, request) for n in answers.objects("nodes", NODE_STUB)], answers.index("nodes"))


def _node_stub(node_: Object, request: Request) -> Object:
    attributes = node_.get("Attributes") or {}
    stub = {name: node_.get(name) for name in NODE_STUB if name not in ("HTTPAddr", "DrainStrategy")}
    stub["Address"] = (node_.get("HTTPAddr") or "").rpartition(":")[0].strip("[]")
    stub["Version"] = attributes.get("nomad.version", "")
    stub["Drain"] = node_.get("DrainStrategy") is not None
    keep = {name: value for name, value in attributes.items() if name.startswith("os.")}
    stub["Attributes"] = keep if request.flag("os") else None
    if not request.flag("resources"):
        stub["NodeResources"] = stub["ReservedResources"] = None
    _show_topology(stub)
    return stub


@_route("/node/pools")
def node_pools(answers: Answers, request: Request) -> Answer:
    acl = request.identity.acl
    found = [pool for pool in answers.objects("node_pools") if acl.allow_node_pool(pool["Name"], "read")]
    return page(request, found, answers.index("node_pools"), ("Name",))


@_route("/node/pool/{name}/nodes")
def node_pool_nodes(answers: Answers, request: Request) -> Answer:
    acl, name = request.identity.acl, request.path["name"]
    check(acl.allow_node("read") and acl.allow_node_pool(name, "read"))
    found = [_node_stub(n, request) for n in answers.objects("nodes", NODE_STUB) if name in ("all", n.get("NodePool"))]
    return page(request, found, answers.index("nodes"))


@_route("/node/pool/{name}/jobs")
def node_pool_jobs(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node_pool(request.path["name"], "read"))
    listed = jobs(answers, request)
    found = [stub for stub in listed.body if stub["NodePool"] == request.path["name"]]
    return Answer(found, listed.index)


@_route("/node/pool/{name}")
def node_pool(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node_pool(request.path["name"], "read"))
    found = answers.find("node_pools", request.path["name"], missing="node pool not found")
    return Answer(found, found["ModifyIndex"])


@_route("/node/{id}/allocations")
def node_allocations(answers: Answers, request: Request) -> Answer:
    acl = request.identity.acl
    check(acl.allow_node("read"))
    found = [
        alloc
        for alloc in answers.objects("allocs")
        if alloc["NodeID"] == request.path["id"] and acl.allow_namespace(alloc["Namespace"], "read-job")
    ]
    found.sort(key=lambda alloc: (_terminal(alloc), alloc["ID"]))
    return Answer(found, answers.index("allocs"))


def _terminal(alloc: Object) -> bool:
    return alloc["DesiredStatus"] in ("stop", "evict") or alloc["ClientStatus"] in ("complete", "failed", "lost")


@_route("/node/{id}")
def node(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node("read"))
    found = answers.find("nodes", request.path["id"], missing="node not found")
    found["SecretID"] = ""  # Nomad never shows it
    found["Drain"] = found.get("DrainStrategy") is not None
    _show_topology(found)
    return Answer(found, found["ModifyIndex"])


def _show_topology(node_: Object) -> None:
    """The API's own form of what the state has in another."""
    topology = ((node_.get("NodeResources") or {}).get("Processors") or {}).get("Topology") or {}
    topology.pop("BusAssociativity", None)
    if isinstance(topology.get("Nodes"), str):
        topology["Nodes"] = list(base64.b64decode(topology["Nodes"]))  # bytes to the state, numbers to the API


# -- namespaces, variables, services


@_route("/namespaces")
def namespaces(answers: Answers, request: Request) -> Answer:
    acl = request.identity.acl
    found = [n for n in answers.objects("namespaces") if acl.sees_namespace(n["Name"])]
    return page(request, found, answers.index("namespaces"), ("Name",))


@_route("/namespace/{name}")
def namespace(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.sees_namespace(request.path["name"]))
    found = answers.find("namespaces", request.path["name"], missing="Namespace not found")
    return Answer(found, found["ModifyIndex"])


@_route("/vars")
def variables(answers: Answers, request: Request) -> Answer:
    acl, wanted = request.identity.acl, request.namespace
    found = [
        {name: v.get(name) for name in VARIABLE_STUB}
        for v in answers.objects("variables", VARIABLE_STUB)
        if wanted in ("*", v["Namespace"]) and acl.allow_variable(v["Namespace"], v["Path"], "list")
    ]
    if not found and wanted != "*":
        check(acl.allow_namespace_variables(wanted))
    return page(request, found, answers.index("variables"), ("Namespace", "Path"))


@_route("/var/{path:path}")
def variable(answers: Answers, request: Request) -> Answer:
    path = request.path["path"]
    check(request.identity.acl.allow_variable(request.namespace, path, "read"))
    try:
        found = answers.snapshot.get("variables", request.namespace, path, reveal=True)
    except NotInSnapshotError:
        raise ApiError(404, "variable not found", answers.index("variables")) from None
    try:
        keyring = Keyring(answers.snapshot, answers.keystore)
        items = keyring.open_variable(request.namespace, path, found["KeyID"], base64.b64decode(found["Data"]))
    except KeyringError as error:
        raise ApiError(500, f"failed to decrypt variable: {error}") from error
    return Answer(pick(found, VARIABLE_STUB) | {"Items": items}, found["ModifyIndex"])


@_route("/services")
def services(answers: Answers, request: Request) -> Answer:
    tags: dict[str, dict[str, set[str]]] = {}
    for service_ in answers.in_namespaces(request, "read-job", "services", ("Namespace", "ServiceName", "Tags")):
        names = tags.setdefault(service_["Namespace"], {})
        names.setdefault(service_["ServiceName"], set()).update(service_["Tags"] or ())
    body = [
        {"Namespace": ns, "Services": [{"ServiceName": name, "Tags": sorted(t)} for name, t in sorted(names.items())]}
        for ns, names in sorted(tags.items())
    ]
    return Answer(body, answers.index("service_registrations"))


@_route("/service/{name}")
def service(answers: Answers, request: Request) -> Answer:
    found = answers.in_namespaces(request, "read-job", "services")
    found = [s for s in found if s["ServiceName"] == request.path["name"]]
    return page(request, found, answers.index("service_registrations"))


# -- ACL

#: What the token of the session says of itself: the snapshot does not have it.
SESSION_TOKEN: Mapping[str, Any] = {
    "AccessorID": "", "SecretID": "", "Name": "", "Type": "management", "Policies": None, "Roles": None,
    "Global": False, "Hash": None, "CreateTime": None, "ExpirationTime": None, "ExpirationTTL": "", "CreateIndex": 0,
    "ModifyIndex": 0,
}  # fmt: skip


@_route("/acl/tokens")
def acl_tokens(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    hidden = ("SecretID", "ExpirationTTL")
    found = [{n: v for n, v in token.items() if n not in hidden} for token in answers.objects("acl_tokens")]
    if request.query.get("global"):
        found = [token for token in found if token["Global"] == request.flag("global")]
    prefix = request.query.get("prefix", "")
    found = [token for token in found if token["AccessorID"].startswith(prefix)]
    return page(request, found, answers.index("acl_token"), ("CreateIndex", "AccessorID"))


@_route("/acl/token/self")
def acl_token_self(answers: Answers, request: Request) -> Answer:
    accessor = request.identity.accessor_id
    if accessor is None and request.identity.acl.management and answers.authority.enabled:
        return Answer({**SESSION_TOKEN, "Name": request.identity.name}, answers.index("acl_token"))
    if accessor is None:
        raise PERMISSION_DENIED
    found = answers.find("acl_tokens", accessor, missing="ACL token not found")
    return Answer(found, found["ModifyIndex"])


@_route("/acl/token/{id}")
def acl_token(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management or request.path["id"] == request.identity.accessor_id)
    found = answers.find("acl_tokens", request.path["id"], missing="ACL token not found")
    return Answer(found, found["ModifyIndex"])


@_route("/acl/policies")
def acl_policies(answers: Answers, request: Request) -> Answer:
    own = request.identity.policies
    found = [
        {name: value for name, value in policy.items() if name not in ("Rules", "RulesJSON")}
        for policy in answers.objects("acl_policies")
        if request.identity.acl.management or policy["Name"] in own
    ]
    return page(request, found, answers.index("acl_policy"), ("Name",))


@_route("/acl/policy/self")
def acl_policy_self(answers: Answers, request: Request) -> Answer:
    found = [p for p in answers.objects("acl_policies") if p["Name"] in request.identity.policies]
    return page(request, found, answers.index("acl_policy"), ("Name",))


@_route("/acl/policy/{name}")
def acl_policy(answers: Answers, request: Request) -> Answer:
    name = request.path["name"]
    check(request.identity.acl.management or name in request.identity.policies)
    found = answers.find("acl_policies", name, missing="ACL policy not found")
    with suppress(RulesError):
        found["RulesJSON"] = answers.authority.rules(name)
    return Answer(found, found["ModifyIndex"])


@_route("/acl/roles")
def acl_roles(answers: Answers, request: Request) -> Answer:
    identity = request.identity
    found = [r for r in answers.objects("acl_roles") if identity.acl.management or r["ID"] in identity.roles]
    return page(request, found, answers.index("acl_roles"))


@_route("/acl/role/name/{name}")
def acl_role_by_name(answers: Answers, request: Request) -> Answer:
    found = next((r for r in answers.objects("acl_roles") if r["Name"] == request.path["name"]), None)
    return _acl_role(request, found)


@_route("/acl/role/{id}")
def acl_role(answers: Answers, request: Request) -> Answer:
    return _acl_role(request, next((r for r in answers.objects("acl_roles") if r["ID"] == request.path["id"]), None))


def _acl_role(request: Request, found: Object | None) -> Answer:
    identity = request.identity
    check(identity.acl.management or (found is not None and found["ID"] in identity.roles))
    if found is None:
        raise ApiError(404, "ACL role not found")
    return Answer(found, found["ModifyIndex"])


@_route("/acl/auth-methods")
def acl_auth_methods(answers: Answers, request: Request) -> Answer:
    names = ("Name", "Type", "Default", "Hash", "CreateIndex", "ModifyIndex")
    found = [pick(method, names) for method in answers.objects("acl_auth_methods", names)]
    return page(request, found, answers.index("acl_auth_methods"), ("Name",))


@_route("/acl/auth-method/{name}")
def acl_auth_method(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    found = answers.find("acl_auth_methods", request.path["name"], missing="ACL auth-method not found")
    config = found.get("Config") or {}
    if config.get("OIDCClientSecret"):
        config["OIDCClientSecret"] = "redacted"  # as Nomad does
    assertion = config.get("OIDCClientAssertion") or {}
    for holder, name in ((assertion, "ClientSecret"), (assertion.get("PrivateKey") or {}, "PemKey")):
        if holder.get(name):
            holder[name] = "redacted"
    return Answer(found, found["ModifyIndex"])


@_route("/acl/binding-rules")
def acl_binding_rules(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    names = ("ID", "Description", "AuthMethod", "Hash", "CreateIndex", "ModifyIndex")
    found = [pick(rule, names) for rule in answers.objects("acl_binding_rules", names)]
    return page(request, found, answers.index("acl_binding_rules"))


@_route("/acl/binding-rule/{id}")
def acl_binding_rule(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    found = answers.find("acl_binding_rules", request.path["id"], missing="ACL binding rule not found")
    return Answer(found, found["ModifyIndex"])


# -- scaling, volumes, plugins


@_route("/scaling/policies")
def scaling_policies(answers: Answers, request: Request) -> Answer:
    names = ("ID", "Enabled", "Type", "Target", "CreateIndex", "ModifyIndex")
    may_list = answers.readable(request, "list-scaling-policies")
    found = [
        pick(policy, names)
        for policy in answers.objects("scaling_policies", names)
        if may_list(policy["Target"].get("Namespace", "default"))
    ]
    if request.query.get("job"):
        found = [policy for policy in found if policy["Target"].get("Job") == request.query["job"]]
    if request.query.get("type"):
        found = [policy for policy in found if policy["Type"].startswith(request.query["type"])]
    return page(request, found, answers.index("scaling_policy"))


@_route("/scaling/policy/{id}")
def scaling_policy(answers: Answers, request: Request) -> Answer:
    found = answers.find("scaling_policies", request.path["id"], missing="policy not found")
    check(request.identity.acl.allow_namespace(found["Target"].get("Namespace", "default"), "read-scaling-policy"))
    return Answer(found, found["ModifyIndex"])


HOST_VOLUME_STUB = (
    "Namespace", "ID", "Name", "PluginID", "NodePool", "NodeID", "CapacityBytes", "State", "CreateIndex", "CreateTime",
    "ModifyIndex", "ModifyTime",
)  # fmt: skip
CSI_VOLUME_STUB = (
    "ID", "Namespace", "Name", "ExternalID", "Topologies", "AccessMode", "AttachmentMode", "Schedulable", "PluginID",
    "Provider", "ControllerRequired", "ControllersHealthy", "ControllersExpected", "NodesHealthy", "NodesExpected",
    "ResourceExhausted", "CreateIndex", "CreateTime", "ModifyIndex", "ModifyTime",
)  # fmt: skip
PLUGIN_STUB = (
    "ID", "Provider", "ControllerRequired", "ControllersHealthy", "ControllersExpected", "NodesHealthy",
    "NodesExpected", "CreateIndex", "CreateTime", "ModifyIndex", "ModifyTime",
)  # fmt: skip


@_route("/volumes")
def volumes(answers: Answers, request: Request) -> Answer:
    if request.query.get("type") == "host":
        found = answers.in_namespaces(request, "host-volume-read", "host_volumes", HOST_VOLUME_STUB)
        for parameter, name in (("node_id", "NodeID"), ("node_pool", "NodePool")):
            if request.query.get(parameter):
                found = [v for v in found if v[name] == request.query[parameter]]
        return page(request, found, answers.index("host_volumes"))
    listed = answers.in_namespaces(request, "csi-list-volume", "csi_volumes")
    found = [
        pick(v, CSI_VOLUME_STUB)
        | {"CurrentReaders": len(v.get("ReadAllocs") or ()), "CurrentWriters": len(v.get("WriteAllocs") or ())}
        for v in listed
    ]
    if request.query.get("plugin_id"):
        found = [v for v in found if v["PluginID"] == request.query["plugin_id"]]
    return page(request, found, answers.index("csi_volumes"))


@_route("/volume/host/{id}")
def host_volume(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "host-volume-read"))
    missing = f"host volume not found: {request.path['id']}"
    found = answers.find("host_volumes", request.namespace, request.path["id"], missing=missing)
    found["Allocations"] = answers.allocations(request, lambda alloc: False) if not found["Allocations"] else []
    return Answer(found, found["ModifyIndex"])


@_route("/volume/csi/{id}")
def csi_volume(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "csi-read-volume"))
    found = answers.find("csi_volumes", request.namespace, request.path["id"], missing="volume not found")
    if found.get("Secrets"):
        found["Secrets"] = dict.fromkeys(found["Secrets"], "[REDACTED]")  # as Nomad does
    return Answer(found, found["ModifyIndex"])


@_route("/plugins")
def plugins(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_plugin("list"))
    found = [pick(plugin_, PLUGIN_STUB) for plugin_ in answers.objects("csi_plugins", PLUGIN_STUB)]
    return page(request, found, answers.index("csi_plugins"))


@_route("/plugin/csi/{id}")
def plugin(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_plugin("read"))
    found = answers.find("csi_plugins", request.path["id"], missing="plugin not found")
    return Answer(found, found["ModifyIndex"])


# -- the server itself


@_route("/status/leader")
def status_leader(answers: Answers, request: Request) -> Answer:
    if not answers.server.leader:
        raise ApiError(500, "No cluster leader")
    return Answer(answers.server.rpc)


@_route("/status/peers")
def status_peers(answers: Answers, request: Request) -> Answer:
    return Answer([answers.server.rpc])


@_route("/regions")
def regions(answers: Answers, request: Request) -> Answer:
    return Answer([answers.server.region])


@_route("/agent/members")
def agent_members(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node("read"))
    server = answers.server
    body = {"ServerName": server.name, "ServerRegion": server.region, "ServerDC": server.datacenter}
    return Answer(body | {"Members": [_member(server)]})


def _member(server: Server) -> Object:
    return {
        "Name": f"{server.name}.{server.region}",
        "Addr": server.host,
        "Port": server.port + 2,
        "Tags": {
            "role": "nomad",
            "region": server.region,
            "dc": server.datacenter,
            "build": server.version,
            "vsn": "1",
            "bootstrap": "1",
            "expect": "1",
            "raft_vsn": "3",
            "id": server.id,
            "rpc_addr": server.host,
            "port": str(server.port + 1),
        },
        "Status": "alive",
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    }


@_route("/agent/self")
def agent_self(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_agent("read"))
    server = answers.server
    config = {
        "ACL": {"Enabled": answers.authority.enabled},
        "BindAddr": server.host,
        "Datacenter": server.datacenter,
        "Name": server.name,
        "Region": server.region,
        "Ports": {"HTTP": server.port, "RPC": server.port + 1, "Serf": server.port + 2},
        "AdvertiseAddrs": {"HTTP": f"{server.host}:{server.port}", "RPC": server.rpc},
        "Server": {"Enabled": True, "BootstrapExpect": 1},
        "Client": {"Enabled": False},
        "UI": {"Enabled": False, "ShowCLIHints": False},
        "Version": {"Version": server.version, "VersionPrerelease": "", "VersionMetadata": "", "Revision": ""},
    }
    stats = {
        "nomad": {
            "server": "true",
            "leader": str(server.leader).lower(),
            "leader_addr": server.rpc,
            "bootstrap": "true",
            "known_regions": "1",
        },
        "raft": {
            "state": "Leader",
            "num_peers": "0",
            "last_log_index": str(answers.snapshot.meta.index or 0),
            "last_log_term": str(answers.snapshot.meta.term or 0),
        },
    }
    return Answer({"config": config, "member": _member(server), "stats": stats})


@_route("/agent/servers")
def agent_servers(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_agent("read"))
    return Answer([answers.server.rpc])


@_route("/agent/health")
def agent_health(answers: Answers, request: Request) -> Answer:
    return Answer({"server": {"ok": True, "message": "ok"}})


@_route("/operator/raft/configuration")
def raft_configuration(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_operator("read"))
    server = answers.server
    peer = {
        "ID": server.id,
        "Node": f"{server.name}.{server.region}",
        "Address": server.rpc,
        "Leader": server.leader,
        "Voter": True,
        "RaftProtocol": "3",
    }
    return Answer({"Servers": [peer], "Index": 0})


@_route("/operator/autopilot/health")
def autopilot_health(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_operator("read"))
    server = answers.server
    health = {
        "ID": server.id,
        "Name": f"{server.name}.{server.region}",
        "Address": server.rpc,
        "SerfStatus": "alive",
        "Version": server.version,
        "Leader": server.leader,
        "LastContact": "0s",
        "LastTerm": answers.snapshot.meta.term or 0,
        "LastIndex": answers.snapshot.meta.index or 0,
        "Healthy": server.leader,
        "Voter": True,
        "StableSince": "1970-01-01T00:00:00Z",
    }
    body = {"Healthy": server.leader, "FailureTolerance": 0, "Leader": server.id, "Voters": [server.id]}
    return Answer(body | {"Servers": [health]})


@_route("/operator/autopilot/configuration")
def autopilot_configuration(answers: Answers, request: Request) -> Answer:
    """Autopilot's configuration is not in a snapshot: these are Nomad's defaults."""
    check(request.identity.acl.allow_operator("read"))
    body = {
        "CleanupDeadServers": True,
        "LastContactThreshold": "200ms",
        "MaxTrailingLogs": 250,
        "MinQuorum": 0,
        "ServerStabilizationTime": "10s",
        "EnableRedundancyZones": False,
        "DisableUpgradeMigration": False,
        "EnableCustomUpgrades": False,
        "CreateIndex": 0,
        "ModifyIndex": 0,
    }
    return Answer(body)


@_route("/operator/scheduler/configuration")
def scheduler_configuration(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_operator("read"))
    found = answers.find("scheduler_config", missing="scheduler config not found")
    index = int(found["ModifyIndex"])
    return Answer({"SchedulerConfig": found, **_envelope(index)}, index)


@_route("/operator/keyring/keys")
def keyring_keys(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    found = [{n: v for n, v in key.items() if n != "WrappedKeys"} for key in answers.objects("root_keys")]
    found += list(answers.objects("root_key_meta"))
    return page(request, found, answers.index("root_keys", "root_key_meta"), ("CreateIndex", "KeyID"))


SEARCHED: Mapping[str, tuple[str, str, str]] = {
    "jobs": ("jobs", "ID", "list-jobs"),
    "evals": ("evals", "ID", "read-job"),
    "allocs": ("allocs", "ID", "read-job"),
    "deployment": ("deployments", "ID", "read-job"),
    "volumes": ("csi_volumes", "ID", "csi-list-volume"),
    "host_volumes": ("host_volumes", "ID", "host-volume-read"),
    "vars": ("variables", "Path", "variables"),
    "nodes": ("nodes", "ID", "node"),
    "node_pools": ("node_pools", "Name", "node_pool"),
    "namespaces": ("namespaces", "Name", "namespace"),
    "plugins": ("csi_plugins", "ID", "plugin"),
    "scaling_policy": ("scaling_policies", "ID", "list-scaling-policies"),
}
MOST_MATCHES = 20


@_route("/search", "PUT", "POST")
def search(answers: Answers, request: Request) -> Answer:
    """Ids by prefix. Nomad leaves out what the caller may not see; so do we."""
    context, prefix = str(request.body.get("Context", "all")), str(request.body.get("Prefix", ""))
    if context != "all" and context not in SEARCHED:
        raise ApiError(400, f"invalid context {json.dumps(context)}")
    # Nomad looks ids up by their bytes: what begins no UUID is not looked for among those.
    no_uuid = not set(prefix) <= set(f"{string.hexdigits}-")
    matches: dict[str, list[str] | None] = {}
    truncated: dict[str, bool] = {}
    wanted = request.namespace
    for name in SEARCHED if context == "all" else [context]:
        if no_uuid and name in ("evals", "allocs", "deployment", "nodes"):
            continue
        table, key, right = SEARCHED[name]
        found = [
            str(item[key])
            for item in answers.objects(table, {"Namespace", "Target", key})
            if str(item[key]).startswith(prefix) and _may_find(request, item, right, wanted, str(item[key]))
        ]
        matches[name] = sorted(found)[:MOST_MATCHES] or None
        truncated[name] = len(found) > MOST_MATCHES
    index = answers.snapshot.meta.index or 0
    return Answer({"Matches": matches, "Truncations": truncated, **_envelope(index)}, index)


def _may_find(request: Request, item: Object, right: str, wanted: str, key: str) -> bool:
    acl = request.identity.acl
    if right == "node":
        return acl.allow_node("read")
    if right == "node_pool":
        return acl.allow_node_pool(key, "read")
    if right == "plugin":
        return acl.allow_plugin("list")
    if right == "namespace":
        return acl.sees_namespace(key)
    in_namespace = item.get("Namespace") or (item.get("Target") or {}).get("Namespace") or "default"
    if wanted not in ("*", in_namespace):
        return False
    if right == "variables":
        return acl.allow_variable(in_namespace, key, "list")
    return acl.allow_namespace(in_namespace, right)


def compiled() -> list[tuple[re.Pattern[str], Route]]:
    """The routes in order, as regular expressions over the path as it was sent (`%2F` still escaped)."""
    expression = re.compile(r"\{(\w+)(:path)?\}")
    return [
        (re.compile(expression.sub(lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", route.pattern)), route)
        for route in ROUTES
    ]
