"""What a server asks its clients for: logs, files and statistics, all of which are on nodes that are not there."""

from __future__ import annotations

from snapkit.cluster.answers.core import Answer, Answers, ApiError, Request, check, refuse_no_uuid, route

ALLOC_WORDS, NODE_WORDS = "alloc lookup failed: ", "node lookup failed: "
NO_PATH = "No path to node"


@route("/client/fs/{what}/")
def no_allocation(answers: Answers, request: Request) -> Answer:
    raise ApiError(400, "must provide a valid alloc id")


@route("/client/fs/{what}/{id:path}")
def files(answers: Answers, request: Request) -> Answer:
    logs = request.path["what"] == "logs"
    if logs and not request.query.get("task"):
        raise ApiError(400, "must provide task name")
    return _of_allocation(answers, request, ("read-logs", "read-fs") if logs else ("read-fs",))


@route("/client/allocation/{id}/{what}", "GET", "PUT", "POST", "DELETE", bodiless=True)
def allocation(answers: Answers, request: Request) -> Answer:
    lifecycle = ("restart", "signal", "gc", "pause", "resume")
    right = "alloc-lifecycle" if request.path["what"] in lifecycle else "read-job"
    return _of_allocation(answers, request, ("submit-job",) if request.path["what"] == "gc" else (right,))


@route("/allocation/{id}/checks")
def checks(answers: Answers, request: Request) -> Answer:
    return _of_allocation(answers, request, ("read-job",))


def _of_allocation(answers: Answers, request: Request, rights: tuple[str, ...]) -> Answer:
    refuse_no_uuid(request.path["id"], ALLOC_WORDS)
    found = answers.lookup("allocs", request.path["id"])
    if found is None:
        raise ApiError(404, f'Unknown allocation "{request.path["id"]}"')
    check(any(request.identity.acl.allow_namespace(found["Namespace"], right) for right in rights))
    raise ApiError(404, NO_PATH)


@route("/client/stats")
@route("/client/metadata")
@route("/client/identity")
def read_node(answers: Answers, request: Request) -> Answer:
    return _of_node(answers, request, "read")


@route("/client/gc", "GET", "PUT", "POST", bodiless=True)
@route("/client/metadata", "PUT", "POST")
@route("/client/identity/renew", "PUT", "POST")
def write_node(answers: Answers, request: Request) -> Answer:
    return _of_node(answers, request, "write")


def _of_node(answers: Answers, request: Request, right: str) -> Answer:
    node = request.query.get("node_id") or str(request.body.get("NodeID") or "")
    if not node:
        raise ApiError(400, "No local Node and node_id not provided")
    check(request.identity.acl.allow_node(right))
    refuse_no_uuid(node, NODE_WORDS)
    if answers.lookup("nodes", node) is None:
        raise ApiError(404, f"Unknown node {node}")
    raise ApiError(404, NO_PATH)
