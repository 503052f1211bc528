"""The server that answers, most of which is not in a snapshot; and the search over all."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping

from snapkit.cluster.answers.core import (
    Answer,
    Answers,
    ApiError,
    Object,
    Request,
    Server,
    check,
    envelope,
    route,
)

# -- the server itself


@route("/status/leader")
def status_leader(answers: Answers, request: Request) -> Answer:
    if not answers.server.leader:
        raise ApiError(500, "No cluster leader")
    return Answer(answers.server.rpc)


@route("/status/peers")
def status_peers(answers: Answers, request: Request) -> Answer:
    return Answer([answers.server.rpc])


@route("/regions")
def regions(answers: Answers, request: Request) -> Answer:
    return Answer([answers.server.region])


@route("/agent/members")
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


@route("/agent/self")
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


@route("/agent/servers")
def agent_servers(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_agent("read"))
    return Answer([answers.server.rpc])


@route("/agent/health")
def agent_health(answers: Answers, request: Request) -> Answer:
    return Answer({"server": {"ok": True, "message": "ok"}})


@route("/operator/raft/configuration")
def raft_configuration(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
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


@route("/operator/autopilot/health")
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


@route("/operator/autopilot/configuration")
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


@route("/operator/scheduler/configuration")
def scheduler_configuration(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_operator("read"))
    found = answers.find("scheduler_config", missing="scheduler config not found")
    index = int(found["ModifyIndex"])
    return Answer({"SchedulerConfig": found, **envelope(index)}, index)


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


@route("/search", "PUT", "POST")
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
    return Answer({"Matches": matches, "Truncations": truncated, **envelope(index)}, index)


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
