"""The server that answers, most of which is not in a snapshot; and the search over all."""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import UTC, datetime

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


@route("/status/leader", public=True)
def status_leader(answers: Answers, request: Request) -> Answer:
    if not answers.server.leader:
        raise ApiError(500, "No cluster leader")
    return Answer(answers.server.rpc)


@route("/status/peers", public=True)
def status_peers(answers: Answers, request: Request) -> Answer:
    return Answer([answers.server.rpc])


@route("/regions", public=True)
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
            "revision": "",
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
    raise ApiError(501, "Invalid method")  # an agent that is a client too would list them


@route("/agent/health", public=True)
def agent_health(answers: Answers, request: Request) -> Answer:
    kind = request.query.get("type")
    if kind == "client":
        return Answer({"client": {"ok": False, "message": "client not enabled"}}, status=500)
    return Answer({"server": {"ok": True, "message": "ok"}} if kind in (None, "", "server") else {})


@route("/metrics", public=True)
def metrics(answers: Answers, request: Request) -> Answer:
    """None are taken."""
    now = datetime.fromtimestamp(answers.now // 10**9, UTC)
    body: Object = {"Timestamp": f"{now:%Y-%m-%d %H:%M:%S} +0000 UTC"}
    return Answer(body | {"Counters": [], "Gauges": [], "Points": [], "Samples": []})


@route("/operator/license")
def license_(answers: Answers, request: Request) -> Answer:
    return Answer(None, status=204)


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


#: Context -> table, key, row of the Index table, and the right that it takes.
SEARCHED: Mapping[str, tuple[str, str, str, str]] = {
    "jobs": ("jobs", "ID", "jobs", "list-jobs"),
    "evals": ("evals", "ID", "evals", "read-job"),
    "allocs": ("allocs", "ID", "allocs", "read-job"),
    "deployment": ("deployments", "ID", "deployment", "read-job"),
    "volumes": ("csi_volumes", "ID", "csi_volumes", "csi-list-volume"),
    "host_volumes": ("host_volumes", "ID", "host_volumes", "host-volume-read"),
    "vars": ("variables", "Path", "variables", "variables"),
    "nodes": ("nodes", "ID", "nodes", "node"),
    "node_pools": ("node_pools", "Name", "node_pools", "node_pool"),
    "namespaces": ("namespaces", "Name", "namespaces", "namespace"),
    "plugins": ("csi_plugins", "ID", "", "plugin"),
    "scaling_policy": ("scaling_policies", "ID", "scaling_policy", "list-scaling-policies"),
}
_CONTEXTS = "allocs jobs nodes node_pools evals deployment plugins volumes scaling_policy vars namespaces host_volumes"
MOST_MATCHES = 20


@route("/search", "PUT", "POST")
def search(answers: Answers, request: Request) -> Answer:
    """Ids by prefix. Nomad leaves out what the caller may not see; so do we."""
    context, prefix = str(request.body.get("Context") or ""), str(request.body.get("Prefix") or "")
    if context == "all":
        contexts = [name for name in SEARCHED if _may_search(request, name)]
    elif context in SEARCHED:
        check(_may_search(request, context))
        contexts = [context]
    else:
        raise ApiError(500, f"context must be one of [{_CONTEXTS}] or 'all' for all contexts; got \"{context}\"")
    begins = prefix if context == "jobs" else _rounded(prefix)
    # Nomad looks ids up by their bytes: what begins no UUID is not looked for among those.
    no_uuid = not set(begins) <= set(f"{string.hexdigits}-") or len(begins.replace("-", "")) % 2 == 1
    matches: dict[str, list[str] | None] = {}
    truncated: dict[str, bool] = {}
    index = 0
    for name in contexts:
        table, key, row, right = SEARCHED[name]
        index = max(index, answers.index(row))
        if no_uuid and name in _BY_UUID:
            continue
        found = sorted(
            (str(item.get("Namespace") or ""), str(item[key]))
            for item in answers.objects(table, {"Namespace", "Target", key})
            if str(item[key]).startswith(begins) and _may_find(request, item, right, str(item[key]))
        )
        if name in _BY_UUID:
            found.sort(key=lambda pair: pair[1])
        matches[name] = [one for _, one in found[:MOST_MATCHES] if one.startswith(prefix)] or None
        truncated[name] = len(found) > MOST_MATCHES
    return Answer({"Matches": matches, "Truncations": truncated, **envelope(index)}, index)


_BY_UUID = ("evals", "allocs", "deployment", "nodes")


def _rounded(prefix: str) -> str:
    """Of a prefix of a UUID, its whole bytes: Nomad looks at the first 20 of those, and for the rest among them."""
    return prefix[:-1] if len(prefix.replace("-", "")) % 2 else prefix


def _may_search(request: Request, context: str) -> bool:
    """Is anything of it for the caller? If not, Nomad leaves it out, or refuses it where it is asked for alone."""
    acl, wanted, right = request.identity.acl, request.namespace, SEARCHED[context][3]
    if right == "node_pool":
        return acl.management or bool(acl.node_pools.by_name)
    if right == "namespace":
        return acl.sees_namespace(wanted)
    if right == "variables":
        return acl.allow_namespace_variables(wanted)
    if right in ("node", "plugin"):
        return acl.allow_node("read") if right == "node" else acl.allow_plugin("list")
    rights = {"list-jobs": ("read-job",), "list-scaling-policies": ("read-job", right)}
    rights["csi-list-volume"] = (right, "csi-read-volume", "list-jobs", "read-job")
    return any(acl.allow_namespace(wanted, one) for one in rights.get(right, (right,)))


def _may_find(request: Request, item: Object, right: str, key: str) -> bool:
    acl, wanted = request.identity.acl, request.namespace
    if right == "node":
        return acl.allow_node("read")
    if right == "node_pool":
        return acl.allow_node_pool(key, "read")
    if right == "plugin":
        return acl.allow_plugin("list")
    if right == "namespace":
        return acl.sees_namespace(key)
    in_namespace = item.get("Namespace") or (item.get("Target") or {}).get("Namespace") or "default"
    if right == "variables":  # which Nomad finds in all namespaces
        return acl.allow_variable(in_namespace, key, "list")
    if wanted not in ("*", in_namespace) or (wanted == "*" and right == "list-scaling-policies"):
        return False  # scaling policies are found in one namespace alone
    return acl.allow_namespace(in_namespace, right)
