"""Who there is: a snapshot's tokens, roles, policies and workloads, and what each may do by all that it has.

Source: Nomad's acl/acl.go for rights, nomad/auth/auth.go for who has which policies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from snapkit.errors import NotInSnapshotError, RecordError, SnapshotError
from snapkit.state.access.acl import ANONYMOUS, Acl, Grants, Rules, RulesError, matches, parse_rules, variable
from snapkit.state.access.scopes import (
    GRANTS,
    LEVELLED,
    MANAGEMENT,
    SCOPES,
    UNKNOWN,
    Wanted,
    allowed_in,
    granted_by,
    in_short,
)
from snapkit.state.snapshot import Snapshot

T = TypeVar("T")

_DIRECT = "token"
_OWN = "nomad/jobs"  # the path that workloads' own variables lie under
_ACLS_OFF = "the snapshot has no token: ACLs were off or not bootstrapped, and anyone could do anything"


class Subject(NamedTuple):
    """One that has rights.

    Attributes:
        kind: `anonymous` (whoever gives no token), `policy`, `role`, `token` or `workload` (tasks, by policies that
            name their job).
        id: A policy's name, a role's ID, a token's AccessorID, a workload as `namespace/job/group/task`.
    """

    kind: str = ANONYMOUS
    id: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
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


class Right(NamedTuple):
    """A capability, and the policies that grant it."""

    scope: str
    name: str
    path: str
    rule: str
    capability: str
    policies: Sequence[str] = ("",)


class Problem(NamedTuple):
    """A policy or role of which it is not known what it grants, or which is not there."""

    scope: str
    name: str
    capability: str
    via: Sequence[str]
    text: str

    def __str__(self) -> str:
        return f"{self.scope} {self.name}: {self.text}"


class Access:
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

    def holders(self) -> Iterator[Holder]:
        """All of them: the anonymous, tokens from the oldest on, roles, policies, workloads."""
        yield self._anonymous()
        yield from map(self._token, self._tokens)
        yield from map(self._role, self._roles)
        yield from map(self._policy, self._policies)
        yield from map(self._workload, self._workloads)

    def holder(self, kind: str, id: str) -> Holder:
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

    def find(self, subject: Subject) -> Holder | None:
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

    def _anonymous(self) -> Holder:
        subject, name = Subject(), "Anonymous Token"
        if not self._tokens:
            return Holder(subject, name, ANONYMOUS, management=True, note=_ACLS_OFF)
        return Holder(subject, name, ANONYMOUS, {ANONYMOUS: [""]} if ANONYMOUS in self._policies else {})

    def _token(self, accessor: str) -> Holder:
        token = self._tokens[accessor]
        expires, created = (None if pd.isna(token[n]) else token[n] for n in ("ExpirationTime", "CreateTime"))
        roles = list(dict.fromkeys(str(role.get("ID", "")) for role in _members(token, "Roles", dict)))
        policies: dict[str, list[str]] = {name: [_DIRECT] for name in _members(token, "Policies", str)}
        for role in roles:
            for name, way in self._of_role(role).items():
                policies.setdefault(name, []).extend(way)
        return Holder(
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

    def _role(self, role: str) -> Holder:
        policies = {name: [""] for name in self._of_role(role)}
        return Holder(Subject("role", role), str(self._roles[role].get("Name", "")), "role", policies)

    def _policy(self, name: str) -> Holder:
        return Holder(Subject("policy", name), name, "policy", {name: [""]})

    def _workload(self, workload: str) -> Holder:
        policies = {name: [""] for name in self._workloads[workload]}
        return Holder(Subject("workload", workload), workload, "workload", policies)

    def logins(self) -> Iterator[tuple[Holder, str]]:
        """What a login gets by each binding rule, and what is not known of it: a name that the login fills in.

        Source: Nomad's lib/auth/binder.go.
        """
        made = self._snapshot.table("acl_binding_rules", ["CreateTime"])["CreateTime"].to_dict()
        for rule in self._records("acl_binding_rules"):
            kind, name = _field(rule, "BindType", str), _field(rule, "BindName", str)
            selector = _field(rule, "Selector", str)
            filled_in = "${" in name
            policies: dict[str, Sequence[str]] = {}
            if kind == "policy" and not filled_in:
                policies[name] = [""]
            elif kind == "role" and not filled_in:
                of = (self._of_role(id) for id, role in self._roles.items() if role.get("Name") == name)
                policies |= next(of, {})
            created = made.get(rule.get("ID"))
            holder = Holder(
                Subject("login", str(rule.get("ID", ""))),
                f"auth method {rule.get('AuthMethod')}",
                "login",
                policies,
                management=kind == MANAGEMENT,
                note=f"whoever logs in by it and fits {selector}" if selector else "whoever logs in by it",
                created=None if pd.isna(created) else created,
            )
            yield holder, f"it binds to a {kind} that the login names ({name})" if filled_in else ""

    def valid(self, holder: Holder) -> str:
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

    def problems(self, holder: Holder) -> Iterator[Problem]:
        """Of its policies and roles."""
        salvaged = self._snapshot.salvage is not None
        lost = "is not in the snapshot" + (", of which parts are lost" if salvaged else ": it grants nothing")
        for name, via in holder.policies.items():
            rules = self._rules.get(name)
            if rules is None:
                yield Problem("policy", name, UNKNOWN if salvaged else "", via, lost)
            elif isinstance(rules, RulesError):
                yield Problem("policy", name, UNKNOWN, via, f"its rules can't be understood: {rules.what}")
        for role in holder.lost:
            yield Problem("role", role, UNKNOWN if salvaged else "", [_DIRECT], lost)

    def rights(self, holder: Holder) -> Iterator[Right]:
        """Each right, with the policies that grant it."""
        if holder.management:
            yield Right(MANAGEMENT, "", "", "", "all")
            return
        acl = self.acl(holder.policies)
        for scope, grants_of in GRANTS.items():
            by_name = grants_of(acl).by_name
            granting = {
                rule: [
                    (capability, self._granting(holder, granted_by(scope, rule, capability)))
                    for capability in SCOPES[scope]
                    if capability in capabilities
                ]
                for rule, capabilities in by_name.items()
            }
            for name, rule in self._deciding(scope, grants_of(acl)):
                for capability, policies in granting[rule]:
                    yield Right(scope, name, "", rule, capability, policies)
            if scope == "namespace":
                yield from self._rights_to_variables(holder, acl)
        for scope in ("operator", "sentinel", *LEVELLED):
            for capability in SCOPES[scope]:
                if allowed_in(scope, capability)(acl):
                    policies = self._granting(holder, allowed_in(scope, capability))
                    yield Right(scope, "", "", "", capability, policies)

    def _rights_to_variables(self, holder: Holder, acl: Acl) -> Iterator[Right]:
        keys = sorted((*key.split("\0", 1), key) for key in acl.variables.by_name)
        granting = {
            key: [
                (capability, self._granting(holder, granted_by("variable", key, capability)))
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
                        yield Right("variable", namespace, path, rule, capability, policies)

    def _granting(self, holder: Holder, allows: Callable[[Acl], bool]) -> list[str]:
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

    def lacking(self, right: Right) -> str:
        scope = "namespace" if right.scope == "variable" else right.scope
        missing = scope in GRANTS and right.name not in self._existing(scope)
        return f"there is no such {scope.replace('_', ' ')}" if missing else ""

    def means(self, holder: Holder | None) -> Any:
        """All that its rights follow from: if that is the same, so are they. It is had faster."""
        if holder is None:
            return None
        rules = {name: self._policies[name].get("Rules") for name in holder.policies if name in self._policies}
        there = [self._existing(scope) for scope in GRANTS]
        salvaged = self._snapshot.salvage is not None
        return holder.management, set(holder.policies), set(holder.lost), rules, there, salvaged

    def granted(self, holder: Holder) -> dict[tuple[str, ...], Sequence[str]]:
        """Policies by scope, name, path and capability."""
        if holder.management:
            return {(MANAGEMENT, "", "", "all"): ()}
        key = frozenset(holder.policies)
        if key not in self._granted:
            rights = self.rights(holder)
            self._granted[key] = {(r.scope, r.name, r.path, r.capability): r.policies for r in rights}
        unknown = [problem for problem in self.problems(holder) if problem.capability]
        return self._granted[key] | {(p.scope, p.name, "", p.capability): () for p in unknown}

    def in_short(self, holder: Holder) -> str:
        key = frozenset(holder.policies)
        if key not in self._short:
            self._short[key] = "; ".join(in_short(self.acl(key)))
        return self._short[key]

    # -- what they could have done

    def could(self, holder: Holder, wanted: Wanted) -> tuple[Sequence[str], Sequence[str]] | None:
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

    def _ways(self, acl: Acl, wanted: Wanted) -> Iterator[tuple[list[str], Callable[[Acl], bool], str]]:
        """What lets do it: the names that a rule decides about, what of an Acl is that rule, and the rule in words."""
        if wanted.scope == MANAGEMENT:
            return
        if wanted.scope not in GRANTS and wanted.scope != "variable":
            (capability,) = wanted.alternatives
            allows = allowed_in(wanted.scope, capability)
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
                    yield names, granted_by(wanted.scope, rule, alternative), f"{label}: {' and '.join(capabilities)}"
                    break

    def _decided(self, acl: Acl, wanted: Wanted) -> tuple[Grants, dict[str, list[str]]]:
        """The names that are wanted, by the rule that decides about each."""
        by_rule: dict[str, list[str]] = {}
        if wanted.path is None:
            grants, given = GRANTS[wanted.scope](acl), wanted.namespace if wanted.name is None else wanted.name
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

    def own_variables(self, wanted: Wanted) -> Iterator[tuple[str, str]]:
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
