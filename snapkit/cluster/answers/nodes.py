"""What jobs run on: nodes, node pools, volumes and plugins."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

from snapkit.cluster.answers.core import (
    Answer,
    Answers,
    ApiError,
    Object,
    Request,
    Stub,
    alloc_stub,
    check,
    filtered,
    listed,
    page,
    pick,
    refuse_no_uuid,
    route,
    terminal,
)
from snapkit.cluster.answers.jobs import JOB_STUB, job_stub

NODE_STUB = (
    "HTTPAddr", "ID", "Attributes", "Datacenter", "Name", "NodePool", "NodeClass", "DrainStrategy", "Drain",
    "SchedulingEligibility", "Status", "StatusDescription", "Drivers", "HostVolumes", "LastDrain", "NodeResources",
    "ReservedResources", "CreateIndex", "ModifyIndex",
)  # fmt: skip


# -- nodes


NODE_WORDS = "node lookup failed: "


@route("/nodes")
def nodes(answers: Answers, request: Request) -> Answer:
    try:
        stub = _node_stub(request)
    except ApiError as error:
        raise ApiError(400, f"Failed to parse node list fields: {error.text}") from error
    check(request.identity.acl.allow_node("read"))
    return _page_of_nodes(answers, request, list(answers.objects("nodes", filtered(request, NODE_STUB))), stub)


def _page_of_nodes(answers: Answers, request: Request, found: list[Object], stub: Stub) -> Answer:
    index = answers.index("nodes")
    return page(request, found, index, table="nodes", stub=stub, reversible=False, uuid_words=NODE_WORDS)


def _node_stub(request: Request) -> Stub:
    """What a list shows of a node."""
    resources, os = request.flag("resources"), request.flag("os")

    def stub(node_: Object) -> Object:
        attributes = node_.get("Attributes") or {}
        shown = {name: node_.get(name) for name in NODE_STUB if name not in ("HTTPAddr", "DrainStrategy")}
        shown["Address"] = (node_.get("HTTPAddr") or "").rpartition(":")[0].strip("[]")
        shown["Version"] = attributes.get("nomad.version", "")
        shown["Drain"] = node_.get("DrainStrategy") is not None
        shown["Attributes"] = {"os.name": attributes.get("os.name", "")} if os else None
        if not resources:
            shown["NodeResources"] = shown["ReservedResources"] = None
        _show_topology(shown)
        return shown

    return stub


@route("/node/pools")
def node_pools(answers: Answers, request: Request) -> Answer:
    acl = request.identity.acl
    found = [pool for pool in answers.objects("node_pools") if acl.allow_node_pool(pool["Name"], "read")]
    return page(request, found, answers.index("node_pools"), ("Name",), table="node_pools")


@route("/node/pool/{name}/nodes")
def node_pool_nodes(answers: Answers, request: Request) -> Answer:
    acl, name = request.identity.acl, request.path["name"]
    check(acl.allow_node("read") and acl.allow_node_pool(name, "read"))
    _refuse_prefix(request)
    if answers.lookup("node_pools", name) is None:
        return Answer([], 0)
    every = answers.objects("nodes", filtered(request, NODE_STUB))
    return _page_of_nodes(
        answers, request, [n for n in every if name in ("all", n.get("NodePool"))], _node_stub(request)
    )


def _refuse_prefix(request: Request) -> None:
    if request.query.get("prefix"):
        raise ApiError(400, "prefix argument not allowed")


@route("/node/pool/{name}/jobs")
def node_pool_jobs(answers: Answers, request: Request) -> Answer:
    name = request.path["name"]
    check(request.identity.acl.allow_node_pool(name, "read"))
    _refuse_prefix(request)
    if answers.lookup("node_pools", name) is None:
        return Answer([], 0)
    of_jobs = filtered(request, (*JOB_STUB, "Dispatched"))
    found = [job for job in answers.in_namespaces(request, "list-jobs", "jobs", of_jobs) if job["NodePool"] == name]
    key, index = ("Namespace", "ID"), answers.index("jobs", "job_summary")
    return page(request, found, index, key, table="jobs", stub=job_stub(answers, request), reversible=False)


@route("/node/pool/{name:path}")
def node_pool(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node_pool(request.path["name"], "read"))
    found = answers.find("node_pools", request.path["name"], missing="node pool not found", row="node_pools")
    return Answer(found, found["ModifyIndex"])


@route("/node/{id}/allocations")
def node_allocations(answers: Answers, request: Request) -> Answer:
    acl = request.identity.acl
    check(acl.allow_node("read"))
    there = [alloc for alloc in answers.objects("allocs") if alloc["NodeID"] == request.path["id"]]
    index = max((int(alloc["ModifyIndex"]) for alloc in there), default=answers.index("allocs") or 1)
    found = [alloc for alloc in there if acl.allow_namespace(alloc["Namespace"], "read-job")]
    found.sort(key=lambda alloc: (terminal(alloc), alloc["ID"]))
    return Answer(found, index)


@route("/node/{id}")
def node(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node("read"))
    refuse_no_uuid(request.path["id"], NODE_WORDS)
    found = answers.find("nodes", request.path["id"], missing="node not found", row="nodes")
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
    if topology.get("Distances"):
        rows = topology["Distances"]
        topology["Distances"] = [list(base64.b64decode(row)) if isinstance(row, str) else row for row in rows]


# -- volumes and plugins

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
    "NodesExpected", "CreateIndex", "ModifyIndex",
)  # fmt: skip


@route("/volumes")
def volumes(answers: Answers, request: Request) -> Answer:
    kind = request.query.get("type")
    if kind is None:
        return Answer([])
    if kind == "host":
        return _host_volumes(answers, request)
    if kind != "csi":
        raise ApiError(404, "resource not found")
    found = answers.in_namespaces(request, "csi-list-volume", "csi_volumes")
    for parameter, wanted in request.query.items():
        if parameter == "plugin_id" and wanted:
            found = [v for v in found if v["PluginID"] == wanted]
        if parameter == "node_id" and wanted:
            found = [v for v in found if any(claim["NodeID"] == wanted for claim in _claims(v))]
    health = _health(answers)
    key, index = ("Namespace", "ID"), answers.index("csi_volumes")
    return page(
        request,
        found,
        index,
        key,
        table="csi_volumes",
        stub=lambda volume: _csi_volume_stub(health(volume)),
        reversible=False,
    )


def _claims(volume: Object) -> Iterator[Object]:
    for name in ("ReadClaims", "WriteClaims"):
        yield from (volume.get(name) or {}).values()


def _health(answers: Answers) -> Callable[[Object], Object]:
    """A volume is as well as its plugin: Nomad looks when it is asked, and what the state has is old."""
    plugins_ = {plugin_["ID"]: plugin_ for plugin_ in answers.objects("csi_plugins")}
    counts = ("ControllersHealthy", "NodesHealthy", "ControllersExpected", "NodesExpected")

    def health(volume: Object) -> Object:
        of = plugins_.get(volume["PluginID"])
        if of is None:
            return volume | {"ControllersHealthy": 0, "NodesHealthy": 0, "Schedulable": False}
        told = {name: of[name] for name in ("Provider", "ControllerRequired", *counts)}
        schedulable = of["NodesHealthy"] > 0 and (of["ControllersHealthy"] > 0 or not of["ControllerRequired"])
        return volume | told | {"ProviderVersion": of["Version"], "Schedulable": schedulable}

    return health


def _csi_volume_stub(volume: Object) -> Object:
    readers, writers = len(volume.get("ReadAllocs") or ()), len(volume.get("WriteAllocs") or ())
    return pick(volume, CSI_VOLUME_STUB) | {"CurrentReaders": readers, "CurrentWriters": writers}


def _host_volumes(answers: Answers, request: Request) -> Answer:
    """In all namespaces, Nomad asks for a right in the namespace `*`, and a prefix may be one of the name."""
    wanted, prefix = request.namespace, request.query.get("prefix", "")
    found = []
    if request.identity.acl.allow_namespace(wanted, "host-volume-read"):
        found = [
            volume
            for volume in answers.objects("host_volumes", filtered(request, HOST_VOLUME_STUB))
            if wanted in ("*", volume["Namespace"]) and prefix in ("", *_beginnings(volume, len(prefix)))
        ]
    for parameter, name in (("node_id", "NodeID"), ("node_pool", "NodePool")):
        if request.query.get(parameter):
            found = [v for v in found if v[name] == request.query[parameter]]
    key, index = ("Namespace", "ID"), answers.index("host_volumes")
    return page(
        request,
        found,
        index,
        key,
        table="host_volumes",
        by_prefix=False,
        stub=lambda v: {n: v[n] for n in HOST_VOLUME_STUB},
    )


def _beginnings(volume: Object, length: int) -> tuple[str, str]:
    return volume["ID"][:length], volume["Name"][:length]


@route("/volumes/claims")
def volume_claims(answers: Answers, request: Request) -> Answer:
    """Of task groups, on host volumes: none that the records here have."""
    return Answer([], answers.index("task_group_host_volume_claim") or 1)


@route("/volume/host/{id}")
def host_volume(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "host-volume-read"))
    key = (request.namespace, request.path["id"])
    found = answers.find("host_volumes", *key, missing="volume not found", row="host_volumes")
    found["Allocations"] = []
    return Answer(found, found["ModifyIndex"])


@route("/volume/csi/{id}")
def csi_volume(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "csi-read-volume"))
    key = (request.namespace, request.path["id"])
    found = answers.find("csi_volumes", *key, missing="volume not found", row="csi_volumes")
    claiming = {claim["AllocationID"] for claim in _claims(found)}
    allocs = answers.allocations(lambda alloc: alloc["ID"] in claiming)
    found = _health(answers)(found) | {"Allocations": [alloc_stub(request)(alloc) for alloc in allocs]}
    if found.get("Secrets"):
        found["Secrets"] = None  # which Nomad shows to nobody
    return Answer(found, answers.index("csi_volumes"))


@route("/plugins")
def plugins(answers: Answers, request: Request) -> Answer:
    kind = request.query.get("type")
    if kind is None:
        return Answer([])
    if kind != "csi":
        return Answer(None)
    check(request.identity.acl.allow_plugin("list"))
    found = answers.objects("csi_plugins", PLUGIN_STUB)
    return listed(request, found, answers.index("csi_plugins"), stub=lambda plugin_: pick(plugin_, PLUGIN_STUB))


@route("/plugin/csi/{id}")
def plugin(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_plugin("read"))
    found = answers.find("csi_plugins", request.path["id"], missing="plugin not found", row="")
    return Answer(found, found["ModifyIndex"])
