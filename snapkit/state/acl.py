"""Who may do what: the tokens, roles and policies of a snapshot, resolved as a server resolves them.

Source: Nomad's acl/policy.go for what rules say, acl/acl.go for what they grant, nomad/auth/auth.go for tokens.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from typing import Any, TypeAlias

import pandas as pd

from snapkit.errors import NotInSnapshotError, SnapshotError
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
_LEVELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
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
_IMPLIED: Mapping[str, tuple[str, ...]] = {
    "host-volume-write": ("host-volume-register", "host-volume-create", "host-volume-delete", "host-volume-read"),
    "host-volume-register": ("host-volume-create", "host-volume-read"),
    "host-volume-create": ("host-volume-read",),
}
_LABELLED = {"Namespaces": "namespace", "NodePools": "node_pool", "HostVolumes": "host_volume"}
_WITH_CAPABILITIES = {"Operator": "operator", "Sentinel": "sentinel"}
_PLAIN = {"Agent": "agent", "Node": "node", "Quota": "quota", "Plugin": "plugin"}


class RulesError(SnapshotError):
    """A policy's rules can't be understood."""


class TokenNotFoundError(SnapshotError):
    """No token has that secret."""


class TokenExpiredError(SnapshotError):
    """The token's time is over."""


# -- rules


def parse_rules(rules: str) -> Rules:
    """A policy's rules, HCL or JSON, in the shape of Nomad's `RulesJSON`.

    Raises:
        RulesError: They are neither, or say what Nomad knows no meaning of.
    """
    parsed: Rules = dict.fromkeys([*_LABELLED, *_WITH_CAPABILITIES, *_PLAIN, "ExtraKeysHCL"])
    parsed["Raw"] = rules
    tree = _tree(rules)
    for name, block in _LABELLED.items():
        parsed[name] = [
            {"Name": label, **_granted(body, block)} for label, body in _labelled(tree.get(block), block)
        ] or None
    for namespace, (_, body) in zip(
        parsed["Namespaces"] or (), _labelled(tree.get("namespace"), "namespace"), strict=True
    ):
        namespace["Variables"] = _variables(body.get("variables"))
    for name, block in _WITH_CAPABILITIES.items():
        single = _single(tree.get(block), block)
        parsed[name] = None if single is None else _granted(single, block)
    for name, block in _PLAIN.items():
        single = _single(tree.get(block), block)
        parsed[name] = None if single is None else {"Policy": _level(single, block)}
    return parsed


def _tree(rules: str) -> dict[str, Any]:
    """The rules as dicts, lists and strings: blocks by name, as lists; their labels as keys."""
    if not rules.strip():
        return {}
    try:
        tree = json.loads(rules) if rules.lstrip().startswith("{") else _plain(_hcl(rules))
    except (ValueError, RecursionError) as error:
        raise RulesError(f"can't be understood ({error!s:.200})", "the rules") from error
    if not isinstance(tree, dict):
        raise RulesError("are no blocks", "the rules")
    return tree


def _hcl(rules: str) -> Any:
    import hcl2  # it prepares its grammar on first use: nobody else should wait for that
    from lark.exceptions import LarkError

    try:
        return hcl2.loads(rules)
    except LarkError as error:
        raise ValueError(str(error).splitlines()[0]) from error


def _plain(value: Any) -> Any:
    """What hcl2 gives, without its marks: strings have their quotes still, and no others mean anything here."""
    if isinstance(value, dict):
        return {_unquoted(key): _plain(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str) and value[:1] != '"':
        raise ValueError(f"{value:.60} is no string")
    return _unquoted(value) if isinstance(value, str) else value


def _unquoted(text: str) -> str:
    unquoted: str = json.loads(text) if text[:1] == '"' else text
    return unquoted


def _labelled(blocks: Any, block: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Blocks with one label: `[{label: body}, …]`, or `{label: body, …}`."""
    blocks = [blocks] if isinstance(blocks, dict) else blocks or []
    if not isinstance(blocks, list):
        raise RulesError(f"{block} is no block", "the rules")
    for one in blocks:
        for label, body in one.items() if isinstance(one, dict) else [(None, None)]:
            if isinstance(body, list) and len(body) == 1:  # JSON may have a body in a list
                body = body[0]
            if not isinstance(label, str) or not isinstance(body, dict):
                raise RulesError(f"a {block} block has no label or no body", "the rules")
            yield label, body


def _single(blocks: Any, block: str) -> dict[str, Any] | None:
    """A block without a label; of several, what HCL leaves of them: the last of each field."""
    bodies = [blocks] if isinstance(blocks, dict) else blocks or []
    if not isinstance(bodies, list) or not all(isinstance(body, dict) for body in bodies):
        raise RulesError(f"{block} is no block", "the rules")
    return {name: value for body in bodies for name, value in body.items()} if bodies else None


def _granted(body: Mapping[str, Any], block: str) -> dict[str, Any]:
    """Level and capabilities of a block, what they imply spelt out."""
    level = body.get("policy", "")
    capabilities = _strings(body.get("capabilities"), block)
    if level:
        capabilities += _LEVELS[block][_level(body, block)]
    if block == "namespace":
        capabilities += [implied for capability in capabilities for implied in _IMPLIED.get(capability, ())]
    return {"Policy": level, "Capabilities": capabilities or None}


def _level(body: Mapping[str, Any], block: str) -> str:
    level = body.get("policy", "")
    if level not in (DENY, "read", "write", "scale") and (block, level) != ("plugin", "list"):
        raise RulesError(f"the level {level!r:.60} of {block} means nothing", "the rules")
    return str(level)


def _strings(value: Any, block: str) -> list[str]:
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RulesError(f"the capabilities of {block} are no list of strings", "the rules")
    return list(value)


def _variables(blocks: Any) -> dict[str, Any] | None:
    body = _single(blocks, "variables")
    if body is None:
        return None
    paths = []
    for spec, path in _labelled(body.get("path"), "path"):
        capabilities = _strings(path.get("capabilities"), "path")
        if DENY in capabilities:
            capabilities = [DENY]
        elif "read" in capabilities and "list" not in capabilities:
            capabilities.append("list")
        paths.append({"PathSpec": spec, "Capabilities": capabilities})
    return {"Paths": paths}


# -- what they grant


@dataclass(slots=True)
class _Grants:
    """Capabilities by name; a name may be a glob, and `*` is the only wildcard."""

    by_name: dict[str, set[str]] = field(default_factory=dict)

    def add(self, name: str, capabilities: Iterable[str]) -> None:
        have = self.by_name.setdefault(name, set())
        have.update(capabilities)
        if DENY in have:  # always wins
            have.intersection_update({DENY})

    def of(self, name: str) -> set[str]:
        """Those of the name itself; else of the glob that leaves the least to its wildcards."""
        if name in self.by_name and "*" not in name:
            return self.by_name[name]
        matching = [glob for glob in self.by_name if "*" in glob and _glob(glob).fullmatch(name)]
        if not matching:
            return set()
        return self.by_name[min(sorted(matching, reverse=True), key=lambda glob: glob.count("*") - len(glob))]


@cache
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


class Acl:
    """The sum of some policies, as a server sums them up: deny wins, else the most that any grants.

    Attributes:
        management: May it do all?
    """

    def __init__(self, policies: Iterable[Rules] = (), *, management: bool = False) -> None:
        self.management = management
        self._namespaces, self._variables, self._node_pools = _Grants(), _Grants(), _Grants()
        self._operator: set[str] = set()
        self._levels: dict[str, str] = {}
        for policy in policies:
            for namespace in policy["Namespaces"] or ():
                self._namespaces.add(namespace["Name"], namespace["Capabilities"] or ())
                for path in (namespace["Variables"] or {}).get("Paths", ()):
                    self._variables.add(f"{namespace['Name']}\0{path['PathSpec']}", path["Capabilities"])
            for pool in policy["NodePools"] or ():
                self._node_pools.add(pool["Name"], pool["Capabilities"] or ())
            self._operator.update((policy["Operator"] or {}).get("Capabilities") or ())
            for name in ("Agent", "Node", "Operator", "Plugin"):
                if policy[name] is not None:
                    self._levels[name] = _higher(self._levels.get(name, ""), policy[name]["Policy"])
        if DENY in self._operator:
            self._operator = {DENY}

    def allow_namespace(self, namespace: str, capability: str) -> bool:
        """Is a capability granted in a namespace? `*` asks whether it is in any."""
        if self.management:
            return True
        if namespace == "*" and any(capability in granted for granted in self._namespaces.by_name.values()):
            return True
        return capability in self._namespaces.of(namespace)

    def sees_namespace(self, namespace: str) -> bool:
        """Is anything granted in a namespace?"""
        return self.management or bool(self._namespaces.of(namespace) - {DENY})

    def allow_variable(self, namespace: str, path: str, capability: str) -> bool:
        """May a variable be listed, read, written or destroyed?"""
        return self.management or capability in self._variables.of(f"{namespace}\0{path}")

    def allow_namespace_variables(self, namespace: str) -> bool:
        """Is anything said of variables in a namespace? (Nomad looks at how the names begin, no more.)"""
        return self.management or any(name.startswith(namespace) for name in self._variables.by_name)

    def allow_node_pool(self, pool: str, capability: str) -> bool:
        return self.management or capability in self._node_pools.of(pool)

    def allow_node(self, level: str) -> bool:
        return self._at_least("Node", level)

    def allow_agent(self, level: str) -> bool:
        return self._at_least("Agent", level)

    def allow_operator(self, operation: str) -> bool:
        """`read` and `write` ask for a level, any other for a capability."""
        if operation in ("read", "write"):
            return self._at_least("Operator", operation)
        return self._at_least("Operator", "write") or operation in self._operator

    def allow_plugin(self, level: str) -> bool:
        granted = self._levels.get("Plugin", "")
        return self.management or granted == "read" or (level == "list" and granted == "list")

    def _at_least(self, name: str, level: str) -> bool:
        return self.management or self._levels.get(name, "") in ("write", level)


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
