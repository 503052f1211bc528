"""Who may do what by a snapshot, how that differs in another one, and who could have done a given thing.

The state names no actor: what is told here is who could, and never who did. Rules that can't be understood are never
taken for rules that grant nothing: they are rows of their own. Tokens go by AccessorID and Name; no secret is read.

Source: Nomad's acl/acl.go for rights, nomad/auth/auth.go for who has which policies, the checks of its endpoints.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from snapkit.errors import NotInSnapshotError, RecordError, SnapshotError
from snapkit.state.access.acl import (
    ANONYMOUS,
    CAPABILITIES,
    DENY,
    LEVELS,
    Acl,
    Grants,
    Rules,
    RulesError,
    matches,
    parse_rules,
    variable,
)
from snapkit.state.snapshot import Snapshot

T = TypeVar("T")

#: The Capability that rules grant which can't be understood; and who has such a policy is one of whom it Could be.
UNKNOWN = "unknown"
MANAGEMENT = "management"
_LEVELS = {
    "agent": ("read", "write"),
    "node": ("read", "write"),
    "quota": ("read", "write"),
    "plugin": ("list", "read"),
}
#: Where rights are granted, each with what may be granted there.
SCOPES: Mapping[str, tuple[str, ...]] = {
    **CAPABILITIES,
    "operator": ("read", "write", *CAPABILITIES["operator"]),
    **_LEVELS,
    MANAGEMENT: ("all",),
}
#: What lets do the same as a capability of a namespace or volume: Nomad's endpoints ask for one or the other, and for
#: both where two are named.
ALSO: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "register-job", "revert-job", "stable-job", "evaluate-job", "plan-job", "tag-job-version", "purge-job",
            "fail-deployment", "pause-deployment", "promote-deployment", "unblock-deployment", "cancel-deployment",
            "set-alloc-health-deployment", "gc-allocation", "pause-allocation", "delete-service-registration",
            "scale-job", "parse-job",
        ),
        ("submit-job",),
    ),
    "submit-job": ("register-job",),
    "deregister-job": ("submit-job", "purge-job"),
    "force-periodic-job": ("dispatch-job", "submit-job"),
    "read-logs": ("read-fs",),
    "read-job-scaling": ("read-job",),
    "list-scaling-policies": ("list-jobs read-job",),
    "read-scaling-policy": ("list-jobs read-job",),
    "csi-list-volume": ("csi-read-volume", "csi-mount-volume", "list-jobs"),
    "csi-read-volume": ("csi-mount-volume", "read-job"),
    "mount-readonly": ("mount-readwrite",),
}  # fmt: skip
#: What is short for several, as `folded()` puts it. The first that fits counts.
_SHORT: Mapping[str, Mapping[str, Sequence[str]]] = {
    "namespace": {
        "write": LEVELS["namespace"]["write"],
        "read": LEVELS["namespace"]["read"],
        "write beyond read": [c for c in LEVELS["namespace"]["write"] if c not in LEVELS["namespace"]["read"]],
        "scale": LEVELS["namespace"]["scale"],
    },
    **{
        scope: {level: LEVELS[scope][level] for level in ("write", "read")}
        for scope in ("node_pool", "host_volume", "sentinel")
    },
    "operator": {"write": SCOPES["operator"], "read": ("read", *LEVELS["operator"]["read"])},
    **{scope: {levels[1]: levels} for scope, levels in _LEVELS.items()},
}
_SOME = 6  # names or capabilities that a short text lists
_DIRECT = "token"
_OWN = "nomad/jobs"  # the path that workloads' own variables lie under
_ACLS_OFF = "the snapshot has no token: ACLs were off or not bootstrapped, and anyone could do anything"
_GRANTS: Mapping[str, Callable[[Acl], Grants]] = {
    "namespace": lambda acl: acl.namespaces,
    "node_pool": lambda acl: acl.node_pools,
    "host_volume": lambda acl: acl.host_volumes,
}


class Subject(NamedTuple):
    """One that has rights.

    Attributes:
        kind: `anonymous` (whoever gives no token), `policy`, `role`, `token` or `workload` (tasks, by policies that
            name their job).
        id: A policy's name, a role's ID, a token's AccessorID, a workload as `namespace/job/group/task`.
    """

    kind: str = ANONYMOUS
    id: str = ""


# -- rights


def subjects(snapshot: Snapshot, *, now: datetime | None = None) -> pd.DataFrame:
    """All that have rights, and those rights in short.

    Args:
        snapshot: Where they are.
        now: When: a token may have expired. By default, the archive's own time.

    Returns:
        Kind, ID, Name (str), Through (str; policies, also those of roles), Rights (str; by block, as the rules name it,
        less what other policies deny), Valid (str; `yes`, `expired`, `not yet`), Problem (str).
    """
    access = _Access(snapshot, now)
    rows = [
        (
            *holder.subject,
            holder.name,
            holder.through(),
            "all" if holder.management else access.in_short(holder),
            access.valid(holder),
            "; ".join([*filter(None, [holder.note]), *(str(problem) for problem in access.problems(holder))]),
        )
        for holder in access.holders()
    ]
    return _frame(rows, "Kind", "ID", "Name", "Through", "Rights", "Valid", "Problem")


def rights(snapshot: Snapshot, kind: str = ANONYMOUS, id: str = "", *, now: datetime | None = None) -> pd.DataFrame:
    """What a token, role, policy or workload may do, or whoever gives no token.

    Args:
        snapshot: Where it is.
        kind: As in `Subject`.
        id: As in `Subject`; of tokens and roles also a name that one alone has.
        now: When: a token may have expired. By default, the archive's own time.

    Returns:
        A row for each right and each policy that grants it: Scope (str; one of `SCOPES`), Name (str; the namespace,
        node pool or host volume), Path (str; of variables), Rule (str; the name as the rules have it), Capability
        (str), Policy (str), Via (str; `token`, or the role), Problem (str). Globs are spelt out for what there is in
        the snapshot; paths are as the rules have them, those left out for which another rule counts. What `write` lets
        do as well, `read`, is a row too. A management token has one row, of the Scope `management`. Rules that can't be
        understood are a row of the Scope `policy` and Capability `unknown`; a policy or role that is not there is one
        without a Capability. Rights of a token that is not valid are there, and their Problem says so.

    Raises:
        NotInSnapshotError: There is no such subject.
        SnapshotError: Several have that name.
    """
    access = _Access(snapshot, now)
    holder = access.holder(kind, id)
    notes = {"expired": f"the token expired at {holder.expires}", "not yet": f"it was made at {holder.created}"}
    note = notes.get(access.valid(holder), holder.note)
    rows = [
        (
            *(right.scope, right.name, right.path, right.rule, right.capability, policy),
            holder.via(policy),
            "; ".join(filter(None, (note, access.lacking(right)))),
        )
        for right in access.rights(holder)
        for policy in right.policies
    ]
    rows += [
        (p.scope, p.name, "", "", p.capability, p.name if p.scope == "policy" else "", ", ".join(p.via), p.text)
        for p in access.problems(holder)
    ]
    return _frame(rows, "Scope", "Name", "Path", "Rule", "Capability", "Policy", "Via", "Problem")


def rights_changes(
    before: Snapshot, after: Snapshot, subjects: Iterable[tuple[str, str]] | None = None
) -> pd.DataFrame:
    """How rights differ between two snapshots. That a token expired meanwhile is no change.

    Args:
        before: The one.
        after: The other one.
        subjects: Those to look at, as `rights()` takes them; by default all of either. One that is not in one of them
            has no rights there.

    Returns:
        Kind, ID (str; the subject), Subject (str; its name), Change (str; `added` or `removed`), Scope, Name, Path,
        Capability (str; as in `rights()`), Policy (str; all that grant it).

    Raises:
        NotInSnapshotError: A subject is in neither of them.
        SnapshotError: Several have that name.
    """
    sides = _Access(before, None), _Access(after, None)
    if subjects is None:
        wanted = dict.fromkeys(holder.subject for side in sides for holder in side.holders())
    else:
        wanted = dict.fromkeys(found for one in subjects for found in _in_either(sides, *one))
    rows = []
    for subject in wanted:
        holders = [side.find(subject) for side in sides]
        if sides[0].means(holders[0]) == sides[1].means(holders[1]):
            continue
        name = next((holder.name for holder in reversed(holders) if holder is not None), "")
        had, has = ({} if h is None else side.granted(h) for side, h in zip(sides, holders, strict=True))
        for change, here, there in (("removed", had, has), ("added", has, had)):
            lines = ((right, policies) for right, policies in here.items() if right not in there)
            rows += [(*subject, name, change, *right, ", ".join(policies)) for right, policies in lines]
    return _frame(rows, "Kind", "ID", "Subject", "Change", "Scope", "Name", "Path", "Capability", "Policy")


def _in_either(sides: Iterable[_Access], kind: str, id: str = "") -> list[Subject]:
    found: list[Subject] = []
    missing: list[NotInSnapshotError] = []
    for side in sides:
        try:
            found.append(side.holder(kind, id).subject)
        except NotInSnapshotError as error:
            missing.append(error)
    if not found:
        raise missing[-1]
    return found


def folded(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `rights()` or `rights_changes()` put together for people to read, where they differ in little.

    Returns:
        The same columns; Capability has those of all rows that else are the same, with levels in the place of what they
        stand for, and Name the names of all rows which then are the same. Of many, some are listed.
    """
    for column, put in (("Capability", _short), ("Name", _some_names)):
        if not frame.empty:
            rest = [name for name in frame.columns if name != column]
            groups = frame.groupby(rest, sort=False)[column]
            rows = [(*key, put(str(key[rest.index("Scope")]), set(values))) for key, values in groups]
            frame = _frame(rows, *rest, column)[frame.columns]
    return frame


def _some_names(_: str, names: set[str]) -> str:
    return listed(sorted(names))


def listed(texts: Sequence[str]) -> str:
    """Texts with commas; of many, the first and how many more."""
    more = f" and {len(texts) - _SOME} more" if len(texts) > _SOME + 1 else ""
    return ", ".join(texts[:_SOME] if more else texts) + more


# -- who could have


def who_could(
    snapshot: Snapshot,
    capability: str,
    namespace: str | None = None,
    path: str | None = None,
    *,
    scope: str | None = None,
    name: str | None = None,
    now: datetime | None = None,
) -> pd.DataFrame:
    """Who could have done a given thing, by the tokens, roles and policies of a snapshot. Who did is not in the state.

    Args:
        snapshot: By which it is told. Rights that were there only before or after it are not in it.
        capability: What was done: one of those in `SCOPES`, or `management`. What lets do the same counts too: who has
            submit-job may purge a job.
        namespace: Where; by default in any.
        path: Of a variable.
        scope: Where the capability is of several, such as `read`; a path says that it is `variable`.
        name: The node pool or host volume; by default any.
        now: When it was done; by default, the archive's own time.

    Returns:
        A row for each that could, or might have been able to: AccessorID (str; missing of who needs no token of the
        snapshot's), Name (str), Type (str; `anonymous`, `client`, `management`, `workload`), Could (str; `yes`, or
        `unknown`: rules of theirs can't be understood), Where (object; lists of namespaces, node pools or host volumes;
        empty where there are none of), Why (str; by which policies and roles), Valid (str; at that time: `yes`,
        `expired`, or `not yet`: it was made later), Expired (boolean), ExpirationTime, CreateTime (datetime64[ns,
        UTC]).

    Raises:
        SnapshotError: There is no such capability, it is of several scopes, or what is given does not go with it.
    """
    wanted = _wanted(capability, namespace, path, scope, name)
    access = _Access(snapshot, now)
    rows: list[tuple[Any, ...]] = []
    for holder in access.holders():
        if holder.subject.kind not in (ANONYMOUS, "token", "workload"):
            continue
        could = access.could(holder, wanted)
        unknown = [problem for problem in access.problems(holder) if problem.capability == UNKNOWN]
        if could is None and not unknown:
            continue
        where, why = could or ((), ())
        reasons = [*why, *map(str, unknown)]
        rows.append(
            (
                *(holder.subject.id if holder.subject.kind == "token" else None, holder.name, holder.type),
                *("yes" if could else UNKNOWN, list(where), "; ".join(reasons), access.valid(holder)),
                *(access.valid(holder) == "expired", holder.expires, holder.created),
            )
        )
    for workload, where in access.own_variables(wanted):
        why = "its own variables, without a policy"
        rows.append((None, workload, "workload", "yes", [where], why, "yes", False, None, None))
    columns = (
        "AccessorID",
        "Name",
        "Type",
        "Could",
        "Where",
        "Why",
        "Valid",
        "Expired",
        "ExpirationTime",
        "CreateTime",
    )
    dtypes = {"Where": "object", "Expired": "boolean"} | dict.fromkeys(columns[-2:], "datetime64[ns, UTC]")
    return _frame(rows, *columns, dtypes=dtypes)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A thing that someone may be able to do: any of the alternatives is enough, each of one capability or more."""

    scope: str
    alternatives: tuple[str, ...]
    namespace: str | None = None
    path: str | None = None
    name: str | None = None


def _wanted(capability: str, namespace: str | None, path: str | None, scope: str | None, name: str | None) -> _Wanted:
    place = f"the capability {capability!r:.60}"
    if scope is not None and scope not in SCOPES:
        raise SnapshotError("is not known", f"the scope {scope!r:.60}", f"there are: {', '.join(SCOPES)}")
    if capability == MANAGEMENT:
        scope, capability = MANAGEMENT, "all"
    if scope is None and path is not None:
        scope = "variable"
    known = [one for one, capabilities in SCOPES.items() if capability in capabilities]
    if scope is None and len(known) > 1:
        raise SnapshotError(f"is of several scopes: {', '.join(known)}", place, "name the scope, or a variable's path")
    if scope is None and len(known) == 1:
        scope = known[0]
    if scope not in known:
        among = SCOPES[scope] if scope else list(dict.fromkeys(one for ones in SCOPES.values() for one in ones))
        close = difflib.get_close_matches(capability, among, 3, 0.5)
        advice = f"did you mean {', '.join(close)}?" if close else f"there are: {listed(among)}"
        raise SnapshotError(f"is not known{f' in the scope {scope}' if scope else ''}", place, advice)
    if scope == "variable" and path is None:
        raise SnapshotError("is one of variables", place, "give the path of one")
    for what, value, scopes in (
        ("path", path, ("variable",)),
        ("namespace", namespace, ("namespace", "variable")),
        ("name", name, ("node_pool", "host_volume")),
    ):
        if value is not None and scope not in scopes:
            raise SnapshotError(f"is one of the scope {scope}", place, f"give no {what} with it")
    also = ALSO.get(capability, ()) if scope in ("namespace", "host_volume") else ()
    return _Wanted(scope, (capability, *also), namespace, path, name)


# -- how they are found


@dataclass(frozen=True, slots=True)
class _Holder:
    """A subject and what it has.

    Attributes:
        type: As in `who_could()`.
        policies: By name, with the ways to them: `token`, or roles.
        lost: Roles that it has, and the snapshot has not.
        note: What is to be known of all its rights.
    """

    subject: Subject
    name: str
    type: str
    policies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lost: Sequence[str] = ()
    management: bool = False
    note: str = ""
    expires: pd.Timestamp | None = None
    created: pd.Timestamp | None = None

    def via(self, policy: str) -> str:
        return ", ".join(self.policies.get(policy, [_DIRECT] if self.subject.kind == "token" else []))

    def through(self) -> str:
        ways = dict.fromkeys(way for ways in self.policies.values() for way in ways)
        texts = []
        for way in ways:
            names = ", ".join(policy for policy, has in self.policies.items() if way in has)
            texts.append(f"{way}: {names}" if way.startswith("role ") else names)
        return "; ".join(texts)


class _Right(NamedTuple):
    """A capability, and the policies that grant it."""

    scope: str
    name: str
    path: str
    rule: str
    capability: str
    policies: Sequence[str] = ("",)


class _Problem(NamedTuple):
    """A policy or role of which it is not known what it grants, or which is not there."""

    scope: str
    name: str
    capability: str
    via: Sequence[str]
    text: str

    def __str__(self) -> str:
        return f"{self.scope} {self.name}: {self.text}"


class _Access:
    """A snapshot's tokens, roles and policies, and what they are about, each read once."""

    def __init__(self, snapshot: Snapshot, now: datetime | None) -> None:
        self._snapshot = snapshot
        moment = snapshot.meta.created if now is None else now
        self._now = None if moment is None else pd.Timestamp(moment)
        self._acls: dict[frozenset[str], Acl] = {}
        self._short: dict[frozenset[str], str] = {}
        self._granted: dict[frozenset[str], dict[tuple[str, ...], Sequence[str]]] = {}
        self._there: dict[str, list[str]] = {}
        self._matching: dict[tuple[str, str], list[str]] = {}

    # -- who there is

    def holders(self) -> Iterator[_Holder]:
        """All of them: the anonymous, tokens from the oldest on, roles, policies, workloads."""
        yield self._anonymous()
        yield from map(self._token, self._tokens)
        yield from map(self._role, self._roles)
        yield from map(self._policy, self._policies)
        yield from map(self._workload, self._workloads)

    def holder(self, kind: str, id: str) -> _Holder:
        """The one of a kind that has an id, or alone has it for its name."""
        tables = {"token": ("acl_tokens", self._tokens), "role": ("acl_roles", self._roles)}
        if kind in tables:
            table, records = tables[kind]
            named = [key for key, record in records.items() if record.get("Name") == id]
            if id not in records and len(named) > 1:
                raise SnapshotError("is the name of several", f"{kind} {id!r:.60}", f"give one of: {', '.join(named)}")
            id = named[0] if id not in records and named else id
            if id not in records:
                self._snapshot.get(table, id)
        elif kind == "policy" and id not in self._policies:
            self._snapshot.get("acl_policies", id)
        found = self.find(Subject(kind, id))
        if found is None:
            kinds = f"kinds are {ANONYMOUS}, policy, role, token and workload"
            raise NotInSnapshotError(f"has no {kind} {id!r:.60}", self._snapshot.meta.source, kinds)
        return found

    def find(self, subject: Subject) -> _Holder | None:
        match subject:
            case Subject("anonymous"):
                return self._anonymous()
            case Subject("token", id) if id in self._tokens:
                return self._token(id)
            case Subject("role", id) if id in self._roles:
                return self._role(id)
            case Subject("policy", id) if id in self._policies:
                return self._policy(id)
            case Subject("workload", id) if id in self._workloads:
                return self._workload(id)
        return None

    @cached_property
    def _tokens(self) -> dict[str, dict[str, Any]]:
        frame = self._snapshot.table(
            "acl_tokens", ["Name", "Type", "Policies", "Roles", "ExpirationTime", "CreateTime"]
        )
        frame = frame[~frame.index.duplicated(keep="last")].sort_values("CreateTime", kind="stable")
        rows = frame.to_dict("records")
        return {
            str(key): {str(name): value for name, value in row.items()}
            for key, row in zip(frame.index, rows, strict=True)
        }

    @cached_property
    def _roles(self) -> dict[str, dict[str, Any]]:
        return {str(role.get("ID", "")): role for role in self._records("acl_roles")}

    @cached_property
    def _policies(self) -> dict[str, dict[str, Any]]:
        return {str(policy.get("Name", "")): policy for policy in self._records("acl_policies")}

    def _records(self, table: str) -> Iterator[dict[str, Any]]:
        for record in self._snapshot.objects(table):
            if not isinstance(record, dict):
                raise RecordError("a record is no map of fields", f"table {table}", "verify tells which")
            yield record

    @cached_property
    def _workloads(self) -> dict[str, list[str]]:
        """The policies of each workload that some name. Those of a job are of its groups and tasks as well."""
        of: dict[str, tuple[str, ...]] = {}
        for name, policy in self._policies.items():
            job = _field(policy, "JobACL", dict)
            parts = [_field(job, part, str) for part in ("Namespace", "JobID", "Group", "Task")]
            length = parts.index("") if "" in parts else len(parts)
            if length:
                of[name] = tuple(parts[:length])
        return {
            "/".join(workload): [name for name, parts in of.items() if workload[: len(parts)] == parts]
            for workload in dict.fromkeys(of.values())
        }

    def _anonymous(self) -> _Holder:
        subject, name = Subject(), "Anonymous Token"
        if not self._tokens:
            return _Holder(subject, name, ANONYMOUS, management=True, note=_ACLS_OFF)
        return _Holder(subject, name, ANONYMOUS, {ANONYMOUS: [""]} if ANONYMOUS in self._policies else {})

    def _token(self, accessor: str) -> _Holder:
        token = self._tokens[accessor]
        expires, created = (None if pd.isna(token[n]) else token[n] for n in ("ExpirationTime", "CreateTime"))
        roles = list(dict.fromkeys(str(role.get("ID", "")) for role in _members(token, "Roles", dict)))
        policies: dict[str, list[str]] = {name: [_DIRECT] for name in _members(token, "Policies", str)}
        for role in roles:
            for name, way in self._of_role(role).items():
                policies.setdefault(name, []).extend(way)
        return _Holder(
            Subject("token", accessor),
            str(token["Name"]),
            str(token["Type"]),
            policies,
            [role for role in roles if role not in self._roles],
            token["Type"] == MANAGEMENT,
            expires=expires,
            created=created,
        )

    def _of_role(self, role: str) -> dict[str, list[str]]:
        found = self._roles.get(role, {})
        way = f"role {found.get('Name') or role}"
        return {str(policy.get("Name", "")): [way] for policy in _members(found, "Policies", dict)}

    def _role(self, role: str) -> _Holder:
        policies = {name: [""] for name in self._of_role(role)}
        return _Holder(Subject("role", role), str(self._roles[role].get("Name", "")), "role", policies)

    def _policy(self, name: str) -> _Holder:
        return _Holder(Subject("policy", name), name, "policy", {name: [""]})

    def _workload(self, workload: str) -> _Holder:
        policies = {name: [""] for name in self._workloads[workload]}
        return _Holder(Subject("workload", workload), workload, "workload", policies)

    def valid(self, holder: _Holder) -> str:
        if self._now is None:
            return "yes"
        if holder.created is not None and holder.created > self._now:
            return "not yet"
        return "expired" if holder.expires is not None and holder.expires <= self._now else "yes"

    # -- what they may

    def acl(self, policies: Iterable[str]) -> Acl:
        """The sum of those that can be understood."""
        key = frozenset(policies)
        if key not in self._acls:
            found = (self._rules[name] for name in sorted(key) if name in self._rules)
            self._acls[key] = Acl(rules for rules in found if not isinstance(rules, RulesError))
        return self._acls[key]

    @cached_property
    def _rules(self) -> dict[str, Rules | RulesError]:
        return {name: _parsed(_field(policy, "Rules", str)) for name, policy in self._policies.items()}

    def problems(self, holder: _Holder) -> Iterator[_Problem]:
        """Of its policies and roles."""
        salvaged = self._snapshot.salvage is not None
        lost = "is not in the snapshot" + (", of which parts are lost" if salvaged else ": it grants nothing")
        for name, via in holder.policies.items():
            rules = self._rules.get(name)
            if rules is None:
                yield _Problem("policy", name, UNKNOWN if salvaged else "", via, lost)
            elif isinstance(rules, RulesError):
                yield _Problem("policy", name, UNKNOWN, via, f"its rules can't be understood: {rules.what}")
        for role in holder.lost:
            yield _Problem("role", role, UNKNOWN if salvaged else "", [_DIRECT], lost)

    def rights(self, holder: _Holder) -> Iterator[_Right]:
        """Each right, with the policies that grant it."""
        if holder.management:
            yield _Right(MANAGEMENT, "", "", "", "all")
            return
        acl = self.acl(holder.policies)
        for scope, grants_of in _GRANTS.items():
            by_name = grants_of(acl).by_name
            granting = {
                rule: [
                    (capability, self._granting(holder, _grants(scope, rule, capability)))
                    for capability in SCOPES[scope]
                    if capability in capabilities
                ]
                for rule, capabilities in by_name.items()
            }
            for name, rule in self._deciding(scope, grants_of(acl)):
                for capability, policies in granting[rule]:
                    yield _Right(scope, name, "", rule, capability, policies)
            if scope == "namespace":
                yield from self._rights_to_variables(holder, acl)
        for scope in ("operator", "sentinel", *_LEVELS):
            for capability in SCOPES[scope]:
                if _allows(scope, capability)(acl):
                    policies = self._granting(holder, _allows(scope, capability))
                    yield _Right(scope, "", "", "", capability, policies)

    def _rights_to_variables(self, holder: _Holder, acl: Acl) -> Iterator[_Right]:
        keys = sorted((*key.split("\0", 1), key) for key in acl.variables.by_name)
        granting = {
            key: [
                (capability, self._granting(holder, _grants("variable", key, capability)))
                for capability in SCOPES["variable"]
                if capability in capabilities
            ]
            for key, capabilities in acl.variables.by_name.items()
        }
        names = self._existing("namespace")
        for namespace in [*names, *sorted({rule for rule, _, _ in keys if not self._about("namespace", rule)})]:
            for rule, path, key in keys:
                # A path's `*` stands for any text: only another `*` can match it. So this is the rule that counts for
                # what the path matches, unless one that is closer matches all of that.
                if matches(rule, namespace) and acl.variables.closest(variable(namespace, path)) == key:
                    for capability, policies in granting[key]:
                        yield _Right("variable", namespace, path, rule, capability, policies)

    def _granting(self, holder: _Holder, allows: Callable[[Acl], bool]) -> list[str]:
        return [name for name in holder.policies if allows(self.acl([name]))]

    def _deciding(self, scope: str, grants: Grants) -> Iterator[tuple[str, str]]:
        """What there is to have rights to, each with its rule; and of what the rules name, that which is not there."""
        found: dict[str, str] = {}
        for rule in grants.closest_first():
            for name in self._about(scope, rule) or [rule]:
                found.setdefault(name, rule)
        there = self._existing(scope)
        yield from ((name, found[name]) for name in there if name in found)
        yield from ((name, found[name]) for name in sorted(found.keys() - set(there)))

    def _about(self, scope: str, rule: str) -> list[str]:
        """What a rule is about, of what there is."""
        if (scope, rule) not in self._matching:
            self._matching[scope, rule] = [name for name in self._existing(scope) if matches(rule, name)]
        return self._matching[scope, rule]

    def _existing(self, scope: str) -> list[str]:
        """The namespace `default` is always there, and not in the state of old releases."""
        if scope not in self._there:
            table = self._snapshot.table
            if scope == "namespace":
                names = {"default", *table("namespaces", []).index, *table("jobs", []).index.get_level_values(0)}
            elif scope == "node_pool":
                names = set(table("node_pools", []).index)
            else:
                nodes = self._snapshot.objects("nodes", {"HostVolumes": None})
                names = {name for node in nodes for name in _field(node, "HostVolumes", dict)}
                names |= set(table("host_volumes", ["Name"])["Name"])
            self._there[scope] = sorted(map(str, names))
        return self._there[scope]

    def lacking(self, right: _Right) -> str:
        scope = "namespace" if right.scope == "variable" else right.scope
        missing = scope in _GRANTS and right.name not in self._existing(scope)
        return f"there is no such {scope.replace('_', ' ')}" if missing else ""

    def means(self, holder: _Holder | None) -> Any:
        """All that its rights follow from: if that is the same, so are they. It is had faster."""
        if holder is None:
            return None
        rules = {name: self._policies[name].get("Rules") for name in holder.policies if name in self._policies}
        there = [self._existing(scope) for scope in _GRANTS]
        salvaged = self._snapshot.salvage is not None
        return holder.management, set(holder.policies), set(holder.lost), rules, there, salvaged

    def granted(self, holder: _Holder) -> dict[tuple[str, ...], Sequence[str]]:
        """Policies by scope, name, path and capability."""
        if holder.management:
            return {(MANAGEMENT, "", "", "all"): ()}
        key = frozenset(holder.policies)
        if key not in self._granted:
            rights = self.rights(holder)
            self._granted[key] = {(r.scope, r.name, r.path, r.capability): r.policies for r in rights}
        unknown = [problem for problem in self.problems(holder) if problem.capability]
        return self._granted[key] | {(p.scope, p.name, "", p.capability): () for p in unknown}

    def in_short(self, holder: _Holder) -> str:
        key = frozenset(holder.policies)
        if key not in self._short:
            self._short[key] = "; ".join(_in_short(self.acl(key)))
        return self._short[key]

    # -- what they could have done

    def could(self, holder: _Holder, wanted: _Wanted) -> tuple[Sequence[str], Sequence[str]] | None:
        """Where and why; None if not."""
        if holder.management:
            return (), [holder.note or "a management token"]
        where: list[str] = []
        why: list[str] = []
        found = False
        for names, allows, text in self._ways(self.acl(holder.policies), wanted):
            found = True
            where += names
            for policy in self._granting(holder, allows):
                ways = [way for way in holder.policies[policy] if way.startswith("role ")]
                through = f" through {' and '.join(ways)}" if ways and _DIRECT not in holder.policies[policy] else ""
                why.append(f"policy {policy}{through}: {text}")
        return (sorted(where), why) if found else None

    def _ways(self, acl: Acl, wanted: _Wanted) -> Iterator[tuple[list[str], Callable[[Acl], bool], str]]:
        """What lets do it: the names that a rule decides about, what of an Acl is that rule, and the rule in words."""
        if wanted.scope == MANAGEMENT:
            return
        if wanted.scope not in _GRANTS and wanted.scope != "variable":
            (capability,) = wanted.alternatives
            allows = _allows(wanted.scope, capability)
            if allows(acl):
                yield [], allows, f"{wanted.scope} {capability}"
            return
        grants, decided = self._decided(acl, wanted)
        for rule, names in decided.items():
            for alternative in wanted.alternatives:
                capabilities = alternative.split()
                if grants.by_name[rule].issuperset(capabilities):
                    first, *path = rule.split("\0")
                    kind = "namespace" if wanted.scope == "variable" else wanted.scope
                    label = f'{kind} "{first}"' + "".join(f', variables "{one}"' for one in path)
                    yield names, _grants(wanted.scope, rule, alternative), f"{label}: {' and '.join(capabilities)}"
                    break

    def _decided(self, acl: Acl, wanted: _Wanted) -> tuple[Grants, dict[str, list[str]]]:
        """The names that are wanted, by the rule that decides about each."""
        by_rule: dict[str, list[str]] = {}
        if wanted.path is None:
            grants, given = _GRANTS[wanted.scope](acl), wanted.namespace if wanted.name is None else wanted.name
            pairs = self._deciding(wanted.scope, grants) if given is None else [(given, grants.closest(given))]
        else:
            grants, given = acl.variables, wanted.namespace
            rules = {key.split("\0", 1)[0] for key in grants.by_name}
            names = [*self._existing("namespace"), *(rule for rule in rules if not self._about("namespace", rule))]
            among = names if given is None else [given]
            pairs = [(name, grants.closest(variable(name, wanted.path))) for name in among]
        for name, rule in pairs:
            if rule is not None:
                by_rule.setdefault(rule, []).append(name)
        return grants, by_rule

    def own_variables(self, wanted: _Wanted) -> Iterator[tuple[str, str]]:
        """Workloads that may read and list a variable because its path is theirs, each with its namespace."""
        if wanted.path is None or wanted.alternatives[0] not in ("read", "list") or not self._tokens:
            return
        jobs = set(self._snapshot.table("jobs", []).index)
        for namespace in [wanted.namespace] if wanted.namespace is not None else self._existing("namespace"):
            if wanted.path == _OWN and any(namespace == of for of, _ in jobs):
                yield f"{namespace}/*", namespace
            parts = wanted.path.removeprefix(f"{_OWN}/").split("/") if wanted.path.startswith(f"{_OWN}/") else []
            # A job's name may hold slashes; behind it are at most a group and a task.
            if any((namespace, "/".join(parts[: len(parts) - more])) in jobs for more in range(3)):
                yield f"{namespace}/{'/'.join(parts)}", namespace


def _field(record: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """A field, empty if there is none."""
    value = record.get(name)
    if value is not None and not isinstance(value, kind):
        whose = " ".join(str(record[key]) for key in ("AccessorID", "ID", "Name") if key in record)
        place = f"{whose or 'a record'}, field {name}"
        raise RecordError("is not of its type", place, "snapkit verify tells what is wrong")
    return kind() if value is None else value


def _members(record: Mapping[str, Any], name: str, kind: type[T]) -> list[T]:
    return [_field({**record, name: member}, name, kind) for member in _field(record, name, list)]


def _parsed(rules: str) -> Rules | RulesError:
    try:
        return parse_rules(rules)
    except RulesError as error:
        return error


def _grants(scope: str, rule: str, capabilities: str) -> Callable[[Acl], bool]:
    """Does an Acl grant one of some capabilities by a rule?"""

    def grants(acl: Acl) -> bool:
        by_name = (acl.variables if scope == "variable" else _GRANTS[scope](acl)).by_name
        return not by_name.get(rule, set()).isdisjoint(capabilities.split())

    return grants


def _allows(scope: str, capability: str) -> Callable[[Acl], bool]:
    """Does an Acl allow something that has no name?"""

    def allows(acl: Acl) -> bool:
        allowed: bool = getattr(acl, f"allow_{scope}")(capability)
        return allowed

    return allows


def _in_short(acl: Acl) -> Iterator[str]:
    """An Acl block by block, as its rules name what they are about."""
    for scope, grants_of in _GRANTS.items():
        for rule, capabilities in sorted(grants_of(acl).by_name.items()):
            yield f"{scope} {rule}: {_short(scope, capabilities) or 'nothing'}"
        if scope == "namespace":
            for key, capabilities in sorted(acl.variables.by_name.items()):
                namespace, path = key.split("\0", 1)
                yield f"variables {path} of {namespace}: {_short('variable', capabilities) or 'nothing'}"
    for scope in ("operator", "sentinel", *_LEVELS):
        allowed = {capability for capability in SCOPES[scope] if _allows(scope, capability)(acl)}
        if allowed:
            yield f"{scope}: {_short(scope, allowed)}"


def _short(scope: str, capabilities: set[str]) -> str:
    """Capabilities, a level in the place of those that it stands for."""
    rest, parts = set(capabilities), []
    for level, full in _SHORT.get(scope, {}).items():
        if rest.issuperset(full):
            rest.difference_update(full)
            parts.append(level)
            break
    known = [capability for capability in (DENY, *SCOPES.get(scope, ())) if capability in rest]
    return listed([*parts, *known, *sorted(rest.difference(known))])


def _frame(rows: Sequence[Sequence[Any]], *columns: str, dtypes: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Columns of text, if nothing else is said."""
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    types = dtypes or {}
    return pd.DataFrame(
        {
            name: pd.Series(list(column), dtype=types.get(name, "str"))
            for name, column in zip(columns, values, strict=True)
        }
    )
