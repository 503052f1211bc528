"""What all answers are made of: requests, rights, routes, pages and stubs."""

from __future__ import annotations

import re
import string
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from snapkit.cluster.filters import FilterError, Matcher, matcher
from snapkit.errors import NotInSnapshotError
from snapkit.format.schema import BY_TABLE
from snapkit.state.access.acl import Authority, Identity
from snapkit.state.output.edit import Change, Edits
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


TRUE, FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


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
        """A parameter that is true or false.

        Raises:
            ApiError: It is neither.
        """
        value = self.query.get(name)
        if not value:
            return default
        if value not in TRUE + FALSE:
            words = f'strconv.ParseBool: parsing "{value}": invalid syntax'
            raise ApiError(500, f'Failed to parse value of "{name}" ({value}) as a bool: {words}')
        return value in TRUE

    def number(self, name: str) -> int | None:
        """A parameter that is a whole number; None if it is not given.

        Raises:
            ApiError: It is none.
        """
        value = self.query.get(name)
        if not value:
            return None
        if not value.isdecimal() or not value.isascii():
            words = f'strconv.ParseUint: parsing "{value}": invalid syntax'
            raise ApiError(500, f'Failed to parse value of "{name}" ({value}) as a uint64: {words}')
        return int(value)


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
    """A path of the API: `{x}` captures a segment, `{x:path}` one or more, `{x:job}` a job and nothing below one.

    Attributes:
        public: It is answered whatever token there is, also one that nobody has.
        bodiless: Its PUT takes no body.
    """

    pattern: str
    handler: Handler
    methods: tuple[str, ...] = ("GET",)
    public: bool = False
    bodiless: bool = False


ROUTES: list[Route] = []


def route(pattern: str, *methods: str, public: bool = False, bodiless: bool = False) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        ROUTES.append(Route(f"/v1{pattern}", handler, methods or ("GET",), public, bodiless))
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
        changes: Of tables that have no key, what becomes of their record.
        next_index: Raft's, that a write has; the last one's, if several are made.
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
        self.changes: dict[str, Change] = {}
        self.next_index = next_index
        self.now = time.time_ns()

    # -- helpers

    def index(self, *tables: str) -> int:
        """The highest last index of Nomad's own tables, by the Index table."""
        indexes = self.snapshot.indexes["Value"]
        return max((int(indexes[table]) for table in tables if table in indexes.index), default=0)

    def objects(self, table: str, fields: Iterable[str] | None = None) -> Iterator[Object]:
        return self.snapshot.objects(table, dict.fromkeys(fields) if fields else None, reveal=True)

    def find(self, table: str, *key: str | int, missing: str, row: str | None = None) -> Object:
        """One object whole, or 404 with Nomad's text, at the index of a row of the Index table ("": 0)."""
        found = self.lookup(table, *key)
        if found is None:
            raise ApiError(404, missing, None if row is None else self.index(row))
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

    def allocations(self, wanted: Callable[[Object], bool], *, whole: bool = False) -> list[Object]:
        """Those that are wanted, with what their stubs take, or whole."""
        subset: dict[str, Sequence[str] | None] = dict.fromkeys([*ALLOC_STUB, "DeploymentID"])
        subset["Job"] = ("Type", "Version", "CreateIndex")
        found = self.snapshot.objects("allocs", None if whole else subset, reveal=True)
        return [alloc for alloc in found if wanted(alloc)]


Stub = Callable[[Object], Object]


def listed(
    request: Request, items: Iterable[Object], index: int, key: Sequence[str] = ("ID",), stub: Stub | None = None
) -> Answer:
    """A list in order of a key, of what begins with `prefix`: nothing else is asked of most lists."""
    prefix = request.query.get("prefix", "")
    found = [item for item in items if str(item[key[-1]]).startswith(prefix)]
    found.sort(key=lambda item: [item[name] for name in key])
    return Answer([stub(item) for item in found] if stub else found, index)


def page(
    request: Request,
    items: list[Object],
    index: int,
    key: Sequence[str] = ("ID",),
    *,
    table: str,
    stub: Stub | None = None,
    reversible: bool = True,
    by_prefix: bool = True,
    uuid_words: str | None = None,
) -> Answer:
    """A list as `prefix`, `filter`, `reverse`, `per_page` and `next_token` want it.

    Args:
        key: What it is in order of, and what tokens are made of.
        table: What the items are of; a filter is about them whole, and not about their stubs.
        stub: What is shown of an item.
        reversible: Does Nomad turn it around?
        by_prefix: Does it look at `prefix`?
        uuid_words: What is said ahead of a prefix that begins no UUID; None if prefixes are looked up as text.
    """
    prefix = request.query.get("prefix", "") if by_prefix else ""
    if prefix:
        if uuid_words is not None:
            refuse_no_uuid(prefix, uuid_words, whole=False)
        if key[0] == "CreateIndex":
            key = key[1:]  # Nomad looks prefixes up by id, and finds them in that order
        items = [item for item in items if str(item[key[-1]]).startswith(prefix)]
    backwards = reversible and request.query.get("reverse") == "true"
    items.sort(key=lambda item: [item[name] for name in key], reverse=backwards)
    items = items[_start(request.query.get("next_token", ""), items, key, backwards) :]
    size = int(request.query.get("per_page") or 0)
    found: list[Object] = []
    matches, next_token = _filter(request, table), ""
    for item in items:
        if not _passes(matches, item):
            continue
        if size and len(found) >= size:
            next_token = _token(item, key)
            break
        found.append(item)
    return Answer([stub(item) for item in found] if stub else found, index, next_token)


def _token(item: Object, key: Sequence[str]) -> str:
    return ".".join(str(item[name]) for name in key)


def _start(token: str, items: Sequence[Object], key: Sequence[str], backwards: bool) -> int:
    """Where a page begins: at its token or, if there is none such any more, where it would be."""
    if not token:
        return 0
    number, dot, rest = token.partition(".")
    by_index = key[0] == "CreateIndex" and bool(dot) and number.isdecimal()

    def behind(item: Object) -> bool:
        if by_index:
            have, wanted = (item[key[0]], str(item[key[1]])), (int(number), rest)
            return have > wanted if backwards else have < wanted
        return _token(item, key) > token if backwards else _token(item, key) < token

    return next((i for i, item in enumerate(items) if not behind(item)), len(items))


def _filter(request: Request, table: str) -> Matcher | None:
    expression = request.query.get("filter")
    if not expression:
        return None
    try:
        return matcher(expression, BY_TABLE[table].struct)
    except FilterError as error:
        words = f"failed to create result paginator: failed to read filter expression: {error.what}"
        raise ApiError(400, words) from error


def _passes(matches: Matcher | None, item: Object) -> bool:
    try:
        return matches is None or matches(item)
    except FilterError as error:
        raise ApiError(400, f"failed to read result page: {error.what}") from error


def refuse_no_uuid(text: str, words: str, *, whole: bool = True) -> None:
    """Refuse what is no UUID, or the beginning of none, as a server does that looks it up by its bytes.

    Raises:
        ApiError: It is none; `words` say what was looked up.
    """
    digits = text.replace("-", "")
    wrong = next((c for c in digits if c not in string.hexdigits), None)
    if whole and len(text.encode()) != 36:
        why = "UUID must be 36 characters"
    elif text.count("-") > 4:
        why = f'UUID should have maximum of 4 "-"; got {text.count("-")}'
    elif len(digits.encode()) % 2:
        why = "Input (without hyphens) must be even length"
    elif wrong is not None:
        byte = wrong.encode()[0]
        shown = f"U+{byte:04X} {chr(byte)!r}" if chr(byte).isprintable() else f"U+{byte:04X}"
        why = f"Invalid UUID: encoding/hex: invalid byte: {shown}"
    else:
        return
    raise ApiError(500, f"{words}index error: {why}")


def filtered(request: Request, names: Iterable[str]) -> Iterable[str] | None:
    """The fields that a list takes, or all for a filter."""
    return None if request.query.get("filter") else names


def pick(item: Object, names: Iterable[str]) -> Object:
    return {name: item[name] for name in names if name in item}


def check(allowed: bool) -> None:
    if not allowed:
        raise PERMISSION_DENIED


def alloc_stub(request: Request) -> Stub:
    """What a list shows of an allocation."""
    resources, task_states = request.flag("resources"), request.flag("task_states", default=True)

    def stub(alloc: Object) -> Object:
        shown = {name: alloc.get(name, default) for name, default in ALLOC_STUB.items()}
        the_job = alloc.get("Job") or {}
        shown["JobType"], shown["JobVersion"] = the_job.get("Type", ""), the_job.get("Version", 0)
        shown["DesiredTransition"] = dict.fromkeys(TRANSITION) | (alloc.get("DesiredTransition") or {})
        if not resources:
            shown["AllocatedResources"] = None
        if not task_states:
            shown["TaskStates"] = None
        return shown

    return stub


def terminal(alloc: Object) -> bool:
    return alloc["DesiredStatus"] in ("stop", "evict") or alloc["ClientStatus"] in ("complete", "failed", "lost")


def envelope(index: int) -> Object:
    return {"Index": index, "LastContact": 0, "KnownLeader": True, "NextToken": ""}


def compiled() -> list[tuple[re.Pattern[str], Route]]:
    """The routes as regular expressions over a path as it was sent (`%2F` still escaped); those first that say more."""
    expression = re.compile(r"\{(\w+)(?::(path|job))?\}")
    kinds = {None: "[^/]+", "path": ".+", "job": f"(?!{_BELOW_JOB}$).+"}
    return [
        (re.compile(expression.sub(lambda m: f"(?P<{m[1]}>{kinds[m[2]]})", route.pattern)), route)
        for route in sorted(ROUTES, key=lambda route: route.pattern.endswith((":path}", ":job}")))
    ]


#: What is none, though a job's id could have such a name.
_BELOW_JOB = (
    r".*(?:/|%2[Ff])(?:evaluate|revert|stable|dispatch|payload|scale|actions?|force|versions|allocations|evaluations"
    r"|deployments?|summary|submission|services|plan|tag)"
)
