"""What all answers are made of: requests, rights, routes, pages and stubs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from snapkit.cluster.filters import matcher
from snapkit.errors import NotInSnapshotError, SnapshotError
from snapkit.state.access.acl import Authority, Identity
from snapkit.state.output.edit import Edits
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
    """A request, after its path was taken apart.

    Attributes:
        query: The query parameters.
        identity: Who asks.
        path: What the route's pattern captured.
        body: The JSON document sent along (searches and writes alone have one).
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
    """What a request gives.

    Attributes:
        body: As json takes it; None gives no body where it is a write's.
        index: For X-Nomad-Index; None where Nomad sends none.
        next_token: For X-Nomad-Nexttoken.
        status: Of HTTP.
        write: Was it one? Nomad says less of the state with those.
    """

    body: Any
    index: int | None = None
    next_token: str = ""
    status: int = 200
    write: bool = False


Handler = Callable[["Answers", Request], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """A path of the API: `{x}` captures a segment, `{x:path}` one or more."""

    pattern: str
    handler: Handler
    methods: tuple[str, ...] = ("GET",)


ROUTES: list[Route] = []


def route(pattern: str, *methods: str) -> Callable[[Handler], Handler]:
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


class Answers:
    """Nomad's API over one snapshot.

    Attributes:
        edits: What a write leaves behind; whoever asked puts it into the state.
        next_index: Raft's, that a write has.
        now: Of a write, in Unix nanoseconds.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        authority: Authority,
        server: Server,
        keystore: str | None = None,
        *,
        next_index: int = 0,
    ) -> None:
        self.snapshot = snapshot
        self.authority = authority
        self.server = server
        self.keystore = keystore
        self.edits = Edits()
        self.next_index = next_index
        self.now = time.time_ns()

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

    def lookup(self, table: str, *key: str | int) -> Object | None:
        """One object whole; None if there is none."""
        try:
            found: Object = self.snapshot.get(table, *key, reveal=True)
        except NotInSnapshotError:
            return None
        return found

    def written(self, body: Any = None, status: int = 200) -> Answer:
        """The answer to a write that was taken."""
        return Answer(body, self.next_index, status=status, write=True)

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


def terminal(alloc: Object) -> bool:
    return alloc["DesiredStatus"] in ("stop", "evict") or alloc["ClientStatus"] in ("complete", "failed", "lost")


def envelope(index: int) -> Object:
    return {"Index": index, "LastContact": 0, "KnownLeader": True, "NextToken": ""}


def compiled() -> list[tuple[re.Pattern[str], Route]]:
    """The routes in order, as regular expressions over the path as it was sent (`%2F` still escaped)."""
    expression = re.compile(r"\{(\w+)(:path)?\}")
    return [
        (re.compile(expression.sub(lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", route.pattern)), route)
        for route in ROUTES
    ]
