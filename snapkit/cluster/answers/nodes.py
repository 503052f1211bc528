"""What jobs run on: nodes, node pools, volumes and plugins."""

from __future__ import annotations

import base64

from snapkit.cluster.answers.core import (
    Answer,
    Answers,
    Object,
    Request,
    check,
    page,
    pick,
    route,
    terminal,
)
from snapkit.cluster.answers.jobs import jobs

NODE_STUB = (
    "HTTPAddr", "ID", "Attributes", "Datacenter", "Name", "NodePool", "NodeClass", "DrainStrategy", "Drain",
    "SchedulingEligibility", "Status", "StatusDescription", "Drivers", "HostVolumes", "LastDrain", "NodeResources",
    "ReservedResources", "CreateIndex", "ModifyIndex",
)  # fmt: skip


# -- nodes


@route("/nodes")
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


@route("/node/pools")
def node_pools(answers: Answers, request: Request) -> Answer:
    acl = request.identity.acl
    found = [pool for pool in answers.objects("node_pools") if acl.allow_node_pool(pool["Name"], "read")]
    return page(request, found, answers.index("node_pools"), ("Name",))


@route("/node/pool/{name}/nodes")
def node_pool_nodes(answers: Answers, request: Request) -> Answer:
    acl, name = request.identity.acl, request.path["name"]
    check(acl.allow_node("read") and acl.allow_node_pool(name, "read"))
    found = [_node_stub(n, request) for n in answers.objects("nodes", NODE_STUB) if name in ("all", n.get("NodePool"))]
    return page(request, found, answers.index("nodes"))


@route("/node/pool/{name}/jobs")
def node_pool_jobs(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node_pool(request.path["name"], "read"))
    listed = jobs(answers, request)
    found = [stub for stub in listed.body if stub["NodePool"] == request.path["name"]]
    return Answer(found, listed.index)


@route("/node/pool/{name}")
def node_pool(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node_pool(request.path["name"], "read"))
    found = answers.find("node_pools", request.path["name"], missing="node pool not found")
    return Answer(found, found["ModifyIndex"])


@route("/node/{id}/allocations")
def node_allocations(answers: Answers, request: Request) -> Answer:
    acl = request.identity.acl
    check(acl.allow_node("read"))
    found = [
        alloc
        for alloc in answers.objects("allocs")
        if alloc["NodeID"] == request.path["id"] and acl.allow_namespace(alloc["Namespace"], "read-job")
    ]
    found.sort(key=lambda alloc: (terminal(alloc), alloc["ID"]))
    return Answer(found, answers.index("allocs"))


@route("/node/{id}")
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
    "NodesExpected", "CreateIndex", "CreateTime", "ModifyIndex", "ModifyTime",
)  # fmt: skip


@route("/volumes")
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


@route("/volume/host/{id}")
def host_volume(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "host-volume-read"))
    missing = f"host volume not found: {request.path['id']}"
    found = answers.find("host_volumes", request.namespace, request.path["id"], missing=missing)
    found["Allocations"] = answers.allocations(request, lambda alloc: False) if not found["Allocations"] else []
    return Answer(found, found["ModifyIndex"])


@route("/volume/csi/{id}")
def csi_volume(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "csi-read-volume"))
    found = answers.find("csi_volumes", request.namespace, request.path["id"], missing="volume not found")
    if found.get("Secrets"):
        found["Secrets"] = dict.fromkeys(found["Secrets"], "[REDACTED]")  # as Nomad does
    return Answer(found, found["ModifyIndex"])


@route("/plugins")
def plugins(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_plugin("list"))
    found = [pick(plugin_, PLUGIN_STUB) for plugin_ in answers.objects("csi_plugins", PLUGIN_STUB)]
    return page(request, found, answers.index("csi_plugins"))


@route("/plugin/csi/{id}")
def plugin(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_plugin("read"))
    found = answers.find("csi_plugins", request.path["id"], missing="plugin not found")
    return Answer(found, found["ModifyIndex"])
