"""Who may do what: the tokens, roles and policies of a snapshot, resolved as a server resolves them.

Source: Nomad's acl/policy.go for what rules say (and hcl's decoder.go for how they are read into it), acl/acl.go for
what they grant, nomad/auth/auth.go for tokens.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias

import pandas as pd

from snapkit.errors import NotInSnapshotError, SnapshotError
from snapkit.state.access import hcl
from snapkit.state.access.hcl import Item, Object, Value
from snapkit.state.snapshot import Snapshot

log = logging.getLogger(__name__)

ANONYMOUS = "anonymous"
DENY = "deny"

#: A policy's rules as Nomad's `RulesJSON` has them: what is short for several capabilities is spelt out.
Rules: TypeAlias = dict[str, Any]

_NAMESPACE_READ = (
    "list-jobs", "parse-job", "read-job", "csi-list-volume", "csi-read-volume", "read-job-scaling",
    "list-scaling-policies", "read-scaling-policy", "host-volume-read",
)  # fmt: skip
_NAMESPACE_WRITE = (
    *_NAMESPACE_READ, "scale-job", "submit-job", "dispatch-job", "read-logs", "read-fs", "alloc-exec",
    "alloc-lifecycle", "csi-mount-volume", "csi-write-volume", "submit-recommendation", "host-volume-create",
)  # fmt: skip
_NAMESPACE_SCALE = (
    "list-scaling-policies", "read-scaling-policy", "read-job-scaling", "scale-job", "read-job",
    "submit-recommendation",
)  # fmt: skip
#: What a level of a block is short for.
LEVELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "namespace": {DENY: (DENY,), "read": _NAMESPACE_READ, "write": _NAMESPACE_WRITE, "scale": _NAMESPACE_SCALE},
    "node_pool": {DENY: (DENY,), "read": ("read",), "write": ("delete", "read", "write"), "scale": ()},
    "host_volume": {
        DENY: (DENY,),
        "read": ("mount-readonly",),
        "write": ("mount-readonly", "mount-readwrite"),
        "scale": (),
    },
    "operator": {
        DENY: (DENY,),
        "read": ("license-read", "keyring-read"),
        "write": ("snapshot-save", "license-read", "keyring-rotate", "keyring-read", "keyring-delete"),
        "scale": (),
    },
    "sentinel": {
        DENY: (DENY,),
        "read": ("sentinel-read",),
        "write": ("sentinel-read", "sentinel-submit", "sentinel-delete"),
        "scale": (),
    },
}
#: The capabilities of a scope: what rules may list there, `deny` left out.
CAPABILITIES: Mapping[str, tuple[str, ...]] = {
    "namespace": (
        *_NAMESPACE_WRITE, "alloc-node-exec", "sentinel-override", "csi-register-plugin", "host-volume-register",
        "host-volume-write", "host-volume-delete", "register-job", "revert-job", "deregister-job", "purge-job",
        "evaluate-job", "plan-job", "tag-job-version", "stable-job", "fail-deployment", "pause-deployment",
        "promote-deployment", "unblock-deployment", "cancel-deployment", "set-alloc-health-deployment",
        "gc-allocation", "pause-allocation", "force-periodic-job", "delete-service-registration",
    ),
    "variable": ("list", "read", "write", "destroy"),
    "node_pool": LEVELS["node_pool"]["write"],
    "host_volume": LEVELS["host_volume"]["write"],
    "operator": LEVELS["operator"]["write"],
    "sentinel": LEVELS["sentinel"]["write"],
}  # fmt: skip
_IMPLIED: Mapping[str, tuple[str, ...]] = {
    "host-volume-write": ("host-volume-register", "host-volume-create", "host-volume-delete", "host-volume-read"),
    "host-volume-register": ("host-volume-create", "host-volume-read"),
    "host-volume-create": ("host-volume-read",),
}
_LABELLED = {"Namespaces": "namespace", "NodePools": "node_pool", "HostVolumes": "host_volume"}
_LABEL = {
    "namespace": re.compile("[a-zA-Z0-9*-]{1,128}"),
    "node_pool": re.compile("[a-zA-Z0-9*_-]{1,128}"),
    "host_volume": re.compile("[a-zA-Z0-9*-]{1,128}"),
}
_WITH_CAPABILITIES = {"Operator": "operator", "Sentinel": "sentinel"}
_PLAIN = {"Agent": "agent", "Node": "node", "Quota": "quota", "Plugin": "plugin"}
_PLAIN_LEVELS = {block: (DENY, "read", "write", "list" if block == "plugin" else "scale") for block in _PLAIN.values()}


class RulesError(SnapshotError):
    """A policy's rules can't be understood."""


class TokenNotFoundError(SnapshotError):
    """No token has that secret."""


class TokenExpiredError(SnapshotError):
    """The token's time is over."""


# -- rules


def parse_rules(rules: str) -> Rules:
    """A policy's rules, HCL or JSON, in the shape of Nomad's `RulesJSON`.

    They are read as a server reads those that it has: blocks that it does not know are passed over (it refuses them
    where a policy is written).

    Raises:
        RulesError: They are neither, or say what Nomad knows no meaning of.
    """
    parsed: Rules = dict.fromkeys([*_LABELLED, *_WITH_CAPABILITIES, *_PLAIN, "ExtraKeysHCL"])
    if rules:
        try:
            items = hcl.parse(rules)
        except ValueError as error:
            raise _error(f"{error!s:.200}") from error
        parsed |= {name: _labelled(items, block) for name, block in _LABELLED.items()}
        parsed |= {name: _with_capabilities(items, block) for name, block in _WITH_CAPABILITIES.items()}
        parsed |= {name: _plain(items, block) for name, block in _PLAIN.items()}
        if not any(value is not None for value in parsed.values()):
            raise _error("no block means anything")
    return parsed | {"Raw": rules}


def _error(what: str) -> RulesError:
    return RulesError(what, "the rules")


def _labelled(items: Sequence[Item], block: str) -> list[dict[str, Any]] | None:
    """The blocks of one kind that have a label each."""
    blocks, unlabelled = _named(items, block)
    if unlabelled:
        raise _error(f"a {block} block has no label")
    parsed = []
    for item in blocks:
        label, body = item.keys[0], _body(item)
        if not _LABEL[block].fullmatch(label):
            raise _error(f"{label!r:.60} is no name of a {block}")
        capabilities = _strings(body, "capabilities")
        one = {"Name": label, **_granted(block, _string(body, "policy"), capabilities)}
        if block == "namespace":
            _refuse_unlabelled_path(item)
            one["Variables"] = _variables(body)
        parsed.append(one)
    return parsed or None


def _with_capabilities(items: Sequence[Item], block: str) -> dict[str, Any] | None:
    body = _merged(items, block)
    return None if body is None else _granted(block, _string(body, "policy"), _strings(body, "capabilities"))


def _plain(items: Sequence[Item], block: str) -> dict[str, Any] | None:
    body = _merged(items, block)
    if body is None:
        return None
    level = _string(body, "policy")
    if level not in _PLAIN_LEVELS[block]:
        raise _error(f"the level {level!r:.60} of {block} means nothing")
    return {"Policy": level}


def _granted(block: str, level: str, capabilities: list[str] | None) -> dict[str, Any]:
    """Level and capabilities of a block, what they imply spelt out."""
    for capability in capabilities or ():
        if capability not in (DENY, *CAPABILITIES[block]):
            raise _error(f"the capability {capability!r:.60} of {block} means nothing")
    if level and level not in LEVELS[block]:
        raise _error(f"the level {level!r:.60} of {block} means nothing")
    spelt = list(LEVELS[block].get(level, ()))
    if capabilities is not None or spelt:
        capabilities = [*(capabilities or ()), *spelt]
        if block == "namespace":
            capabilities += [implied for capability in capabilities for implied in _IMPLIED.get(capability, ())]
    return {"Policy": level, "Capabilities": capabilities}


def _variables(items: Sequence[Item]) -> dict[str, Any] | None:
    body = _merged(items, "variables")
    if body is None:
        return None
    paths = []
    for item in _elements(body, "path"):
        path, capabilities = item.keys[0], _strings(_body(item), "capabilities")
        if not path or path.startswith("/"):
            raise _error(f"{path!r:.60} is no path of variables")
        for capability in capabilities or ():
            if capability not in (DENY, *CAPABILITIES["variable"]):
                raise _error(f"the capability {capability!r:.60} of variables means nothing")
        if capabilities and DENY in capabilities:
            capabilities = [DENY]
        elif capabilities and "read" in capabilities and "list" not in capabilities:
            capabilities.append("list")
        paths.append({"PathSpec": path, "Capabilities": capabilities})
    if not paths:
        raise _error("variables have no path")
    return {"Paths": paths}


def _refuse_unlabelled_path(namespace: Item) -> None:
    """Of a namespace's first block of variables. (A server looks at no other.)"""
    items = namespace.value.items if isinstance(namespace.value, Object) else []
    for first in [item for item in items if _is(item, "variables")][:1]:
        if isinstance(first.value, Object) and _named(first.value.items, "path")[1]:
            raise _error("a path block has no label")


# -- items as Nomad's structs: what hcl's decoder makes of them


def _is(item: Item, name: str) -> bool:
    return item.keys[0] == name or (len(item.keys[0]) == len(name) and item.keys[0].casefold() == name)


def _named(items: Sequence[Item], name: str) -> tuple[list[Item], list[Value]]:
    """The items of a name: those with labels, without the name; and the values of those without."""
    found = [item for item in items if _is(item, name)]
    labelled = [Item(item.keys[1:], item.value) for item in found if len(item.keys) > 1]
    return labelled, [item.value for item in found if len(item.keys) == 1]


def _elements(items: Sequence[Item], name: str) -> list[Item]:
    """Blocks with a label. Within one that has none, each item counts as one."""
    labelled, values = _named(items, name)
    for value in values:
        if isinstance(value, Object):
            labelled += value.items
        elif value != []:
            raise _error(f"{name} is no block")
    return labelled


def _body(block: Item) -> list[Item]:
    """What stands in a block with a label. Of two labels the second counts as a name in it."""
    if len(block.keys) == 2:
        return [Item(block.keys[1:], block.value)]
    if isinstance(block.value, Object):
        return block.value.items
    if isinstance(block.value, str):
        return [block]
    raise _error(f"{block.keys[0]!r:.60} is no block")


def _merged(items: Sequence[Item], name: str) -> list[Item] | None:
    """What stands in the blocks of a name that takes no label, as if they were one; None if there is none."""
    labelled, values = _named(items, name)
    merged = list(labelled)
    for value in values:
        if not isinstance(value, Object):
            raise _error(f"{name} is no block")
        merged += value.items
    return merged if labelled or values else None


def _string(items: Sequence[Item], name: str) -> str:
    labelled, values = _named(items, name)
    if labelled or not all(isinstance(value, str) for value in values):
        raise _error(f"{name} is no string")
    return str(values[-1]) if values else ""


def _strings(items: Sequence[Item], name: str) -> list[str] | None:
    """Those of all lists of a name; None if there is none."""
    labelled, values = _named(items, name)
    strings: list[str] = []
    for value in values:
        members = value.items if isinstance(value, Object) else value
        if isinstance(members, str) or not all(isinstance(member, str) for member in members):
            raise _error(f"{name} is no list of strings")
        strings += map(str, members)
    if labelled:
        raise _error(f"{name} is no list of strings")
    return strings if values else None


# -- what they grant


class Grants:
    """Capabilities by name; a name may be a glob, and `*` is the only wildcard.

    Attributes:
        by_name: As rules have the names.
    """

    def __init__(self, *, deny_wins: bool = True) -> None:
        self.by_name: dict[str, set[str]] = {}
        self._deny_wins = deny_wins

    def add(self, name: str, capabilities: Iterable[str]) -> None:
        have = self.by_name.setdefault(name, set())
        have.update(capabilities)
        if self._deny_wins and DENY in have:
            have.intersection_update({DENY})

    def closest(self, name: str) -> str | None:
        """The rule that decides about a name: the name itself, else the glob that leaves the least to its wildcards."""
        if name in self.by_name and "*" not in name:
            return name
        return max((rule for rule in self.by_name if "*" in rule and matches(rule, name)), key=_closeness, default=None)

    def closest_first(self) -> list[str]:
        """The rules, each ahead of those that it would decide before."""
        return sorted(self.by_name, key=_closeness, reverse=True)

    def of(self, name: str) -> set[str]:
        """What is granted to a name."""
        rule = self.closest(name)
        return set() if rule is None else self.by_name[rule]


def matches(rule: str, name: str) -> bool:
    """Is a rule about a name? It may be a glob.

    Each piece between wildcards is taken where it first stands: a regular expression would try all ways to share a name
    among many wildcards, and not come to an end.
    """
    first, *pieces = rule.split("*")
    if not pieces:
        return rule == name
    *pieces, last = pieces
    at, end = len(first), len(name) - len(last)
    if at > end or not (name.startswith(first) and name.endswith(last)):
        return False
    for piece in pieces:
        at = name.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def _closeness(rule: str) -> tuple[int, bytes]:
    """The higher, the less is left to wildcards; of the same, a server takes the last in order."""
    text = rule.encode()
    return len(text) - text.count(b"*"), text


def variable(namespace: str, path: str) -> str:
    """The name that variables have among `Acl.variables`."""
    return f"{namespace}\0{path}"


class Acl:
    """The sum of some policies, as a server sums them up: deny wins, else the most that any grants.

    Attributes:
        management: May it do all?
        namespaces: Capabilities by namespace.
        variables: By `variable()`. Here a policy's `deny` takes nothing from what another one grants.
        node_pools: By node pool.
        host_volumes: By host volume.
        operator: Capabilities.
        sentinel: Capabilities.
        levels: Of the blocks that have one: Agent, Node, Operator, Plugin, Quota, Sentinel.
    """

    def __init__(self, policies: Iterable[Rules] = (), *, management: bool = False) -> None:
        self.management = management
        self.namespaces, self.node_pools, self.host_volumes = Grants(), Grants(), Grants()
        self.variables = Grants(deny_wins=False)
        self.operator: set[str] = set()
        self.sentinel: set[str] = set()
        self.levels: dict[str, str] = {}
        for policy in policies:
            for namespace in policy["Namespaces"] or ():
                self.namespaces.add(namespace["Name"], namespace["Capabilities"] or ())
                for path in (namespace["Variables"] or {}).get("Paths", ()):
                    self.variables.add(variable(namespace["Name"], path["PathSpec"]), path["Capabilities"] or ())
            for grants, blocks in ((self.node_pools, "NodePools"), (self.host_volumes, "HostVolumes")):
                for block in policy[blocks] or ():
                    grants.add(block["Name"], block["Capabilities"] or ())
            self.operator |= set((policy["Operator"] or {}).get("Capabilities") or ())
            self.sentinel |= set((policy["Sentinel"] or {}).get("Capabilities") or ())
            for name in (*_PLAIN, *_WITH_CAPABILITIES):
                if policy[name] is not None:
                    self.levels[name] = _higher(self.levels.get(name, ""), policy[name]["Policy"])
        for capabilities in (self.operator, self.sentinel):
            if DENY in capabilities:
                capabilities.intersection_update({DENY})

    def allow_namespace(self, namespace: str, capability: str) -> bool:
        """Is a capability granted in a namespace? `*` asks whether it is in any."""
        if self.management:
            return True
        if namespace == "*" and any(capability in granted for granted in self.namespaces.by_name.values()):
            return True
        return capability in self.namespaces.of(namespace)

    def sees_namespace(self, namespace: str) -> bool:
        """Is anything granted in a namespace?"""
        return self.management or bool(self.namespaces.of(namespace) - {DENY})

    def allow_variable(self, namespace: str, path: str, capability: str) -> bool:
        """May a variable be listed, read, written or destroyed?"""
        return self.management or capability in self.variables.of(variable(namespace, path))

    def allow_namespace_variables(self, namespace: str) -> bool:
        """Is anything said of variables in a namespace? (Nomad looks at how the names begin, no more.)"""
        return self.management or any(name.startswith(namespace) for name in self.variables.by_name)

    def allow_node_pool(self, pool: str, capability: str) -> bool:
        return self.management or capability in self.node_pools.of(pool)

    def allow_host_volume(self, volume: str, capability: str) -> bool:
        return self.management or capability in self.host_volumes.of(volume)

    def allow_node(self, level: str) -> bool:
        return self._at_least("Node", level)

    def allow_agent(self, level: str) -> bool:
        return self._at_least("Agent", level)

    def allow_quota(self, level: str) -> bool:
        return self._at_least("Quota", level)

    def allow_operator(self, operation: str) -> bool:
        """`read` and `write` ask for a level, any other for a capability."""
        if operation in ("read", "write"):
            return self._at_least("Operator", operation)
        return self._at_least("Operator", "write") or operation in self.operator

    def allow_sentinel(self, capability: str) -> bool:
        return self._at_least("Sentinel", "write") or capability in self.sentinel

    def allow_plugin(self, level: str) -> bool:
        granted = self.levels.get("Plugin", "")
        return self.management or granted == "read" or (level == "list" and granted == "list")

    def _at_least(self, name: str, level: str) -> bool:
        return self.management or self.levels.get(name, "") in ("write", level)


def _higher(a: str, b: str) -> str:
    return next((level for level in (DENY, "write", "read", "list") if level in (a, b)), "")


# -- tokens


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    Attributes:
        acl: What they may.
        accessor_id: Their token's; None for the anonymous, the session's own and where ACLs are off.
        name: The token's name.
        policies: The names of their policies, those of their roles too.
        roles: The ids of their roles.
    """

    acl: Acl
    accessor_id: str | None = None
    name: str = ""
    policies: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()

    @classmethod
    def everyone(cls, name: str) -> Identity:
        """One who may do all, without a token of the snapshot's."""
        return cls(Acl(management=True), name=name)


class Authority:
    """Resolves tokens by a snapshot.

    Attributes:
        now: When it is: an expired token is one that had expired by then. None: none has.
        enabled: Are ACLs on? A state without any token is of a cluster where they are off: all may all.
    """

    def __init__(self, snapshot: Snapshot, *, now: datetime | None = None) -> None:
        self._snapshot = snapshot
        self.now = snapshot.meta.created if now is None else now
        self._resolved: dict[str | None, Identity] = {}

    @cached_property
    def _accessors(self) -> dict[str, str]:
        tokens = self._snapshot.table("acl_tokens", ["SecretID"], reveal=True)["SecretID"]
        return {str(secret): str(accessor) for accessor, secret in tokens.items()}

    @property
    def enabled(self) -> bool:
        return bool(self._accessors)

    def resolve(self, secret: str) -> Identity:
        """Who has this secret; the anonymous for none.

        Raises:
            TokenNotFoundError: Nobody.
            TokenExpiredError: Somebody whose time was over.
        """
        if not self.enabled:
            return Identity.everyone("ACLs are off")
        if not secret:
            return self._identity(None)
        if secret not in self._accessors:
            raise TokenNotFoundError("is not known to this snapshot", "the token")
        return self._identity(self._accessors[secret])

    def _identity(self, accessor_id: str | None) -> Identity:
        if accessor_id not in self._resolved:
            self._resolved[accessor_id] = self._anonymous() if accessor_id is None else self._of_token(accessor_id)
        return self._resolved[accessor_id]

    def _anonymous(self) -> Identity:
        return Identity(self._acl([ANONYMOUS]), None, "Anonymous Token", frozenset({ANONYMOUS}))

    def _of_token(self, accessor_id: str) -> Identity:
        token = self._snapshot.get("acl_tokens", accessor_id)
        expires = token.get("ExpirationTime")
        if expires and self.now is not None and pd.Timestamp(expires) <= self.now:
            raise TokenExpiredError(f"expired at {expires}", f"token {accessor_id}")
        if token["Type"] == "management":
            return Identity(Acl(management=True), accessor_id, token["Name"])
        roles = frozenset(role["ID"] for role in token.get("Roles") or ())
        policies = frozenset([*(token["Policies"] or ()), *self._policies_of(roles)])
        return Identity(self._acl(policies), accessor_id, token["Name"], policies, roles)

    def _policies_of(self, roles: Iterable[str]) -> Iterator[str]:
        for role in roles:
            try:
                yield from (policy["Name"] for policy in self._snapshot.get("acl_roles", role)["Policies"] or ())
            except NotInSnapshotError:
                log.warning("role %s is not in the snapshot: it grants nothing", role)

    def _acl(self, policies: Iterable[str]) -> Acl:
        rules = []
        for name in policies:
            try:
                rules.append(self.rules(name))
            except NotInSnapshotError:
                log.info("policy %s is not in the snapshot: it grants nothing", name)
            except RulesError as error:
                log.warning("policy %s grants nothing: %s", name, error)
        return Acl(rules)

    def rules(self, policy: str) -> Rules:
        """A policy's rules.

        Raises:
            NotInSnapshotError: There is no such policy.
            RulesError: They can't be understood.
        """
        return parse_rules(self._snapshot.get("acl_policies", policy)["Rules"])
