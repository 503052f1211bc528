"""What may be granted: the scopes of capabilities, what lets do the same as what, and capabilities in few words.

Source: Nomad's acl/policy.go, and what its endpoints ask for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from snapkit.errors import SnapshotError
from snapkit.state.access.acl import CAPABILITIES, DENY, LEVELS, Acl, Grants

#: The Capability that rules grant which can't be understood; and who has such a policy is one of whom it Could be.
UNKNOWN = "unknown"
MANAGEMENT = "management"
LEVELLED = {
    "agent": ("read", "write"),
    "node": ("read", "write"),
    "quota": ("read", "write"),
    "plugin": ("list", "read"),
}
#: Where rights are granted, each with what may be granted there.
SCOPES: Mapping[str, tuple[str, ...]] = {
    **CAPABILITIES,
    "operator": ("read", "write", *CAPABILITIES["operator"]),
    **LEVELLED,
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
    **{scope: {levels[1]: levels} for scope, levels in LEVELLED.items()},
}
_SOME = 6  # names or capabilities that a short text lists
GRANTS: Mapping[str, Callable[[Acl], Grants]] = {
    "namespace": lambda acl: acl.namespaces,
    "node_pool": lambda acl: acl.node_pools,
    "host_volume": lambda acl: acl.host_volumes,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A thing that someone may be able to do: any of the alternatives is enough, each of one capability or more."""

    scope: str
    alternatives: tuple[str, ...]
    namespace: str | None = None
    path: str | None = None
    name: str | None = None


def wanted_of(capability: str, namespace: str | None, path: str | None, scope: str | None, name: str | None) -> Wanted:
    """A capability as `who_could()` takes it, with what lets do the same; it must be one that there is."""
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
    return Wanted(scope, (capability, *also), namespace, path, name)


# -- what of an Acl grants it


def granted_by(scope: str, rule: str, capabilities: str) -> Callable[[Acl], bool]:
    """Does an Acl grant one of some capabilities by a rule?"""

    def grants(acl: Acl) -> bool:
        by_name = (acl.variables if scope == "variable" else GRANTS[scope](acl)).by_name
        return not by_name.get(rule, set()).isdisjoint(capabilities.split())

    return grants


def allowed_in(scope: str, capability: str) -> Callable[[Acl], bool]:
    """Does an Acl allow something that has no name?"""

    def allows(acl: Acl) -> bool:
        allowed: bool = getattr(acl, f"allow_{scope}")(capability)
        return allowed

    return allows


def in_short(acl: Acl) -> Iterator[str]:
    """An Acl block by block, as its rules name what they are about."""
    for scope, grants_of in GRANTS.items():
        for rule, capabilities in sorted(grants_of(acl).by_name.items()):
            yield f"{scope} {rule}: {short(scope, capabilities) or 'nothing'}"
        if scope == "namespace":
            for key, capabilities in sorted(acl.variables.by_name.items()):
                namespace, path = key.split("\0", 1)
                yield f"variables {path} of {namespace}: {short('variable', capabilities) or 'nothing'}"
    for scope in ("operator", "sentinel", *LEVELLED):
        allowed = {capability for capability in SCOPES[scope] if allowed_in(scope, capability)(acl)}
        if allowed:
            yield f"{scope}: {short(scope, allowed)}"


def short(scope: str, capabilities: set[str]) -> str:
    """Capabilities, a level in the place of those that it stands for."""
    rest, parts = set(capabilities), []
    for level, full in _SHORT.get(scope, {}).items():
        if rest.issuperset(full):
            rest.difference_update(full)
            parts.append(level)
            break
    known = [capability for capability in (DENY, *SCOPES.get(scope, ())) if capability in rest]
    return listed([*parts, *known, *sorted(rest.difference(known))])


def listed(texts: Sequence[str]) -> str:
    """Texts with commas; of many, the first and how many more."""
    more = f" and {len(texts) - _SOME} more" if len(texts) > _SOME + 1 else ""
    return ", ".join(texts[:_SOME] if more else texts) + more
