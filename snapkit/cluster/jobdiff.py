"""What changed between two versions of a job, in the shape of Nomad's JobDiff: for `job/…/versions?diffs=true`.

Source: Nomad's nomad/structs/diff.go and helper/flatmap. The contextual form, as that endpoint has it: an object that
changed shows its unchanged fields too. Of `connect` and `multiregion`, the deeper blocks are compared by the general
rule (fields, lists by position) and not by a rule of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from snapkit.format.schema import Type, fields

Object: TypeAlias = Mapping[str, Any]
Diff: TypeAlias = dict[str, Any]
Key: TypeAlias = Callable[[Object], str]

ADDED, DELETED, EDITED, NONE = "Added", "Deleted", "Edited", "None"
_ORDER = {EDITED: 0, ADDED: 1, DELETED: 2, NONE: 3}


@dataclass(frozen=True, slots=True)
class _Block:
    """How a nested block of a struct is compared.

    Attributes:
        field: The struct's field.
        name: What the diff calls it.
        how: `object`; `set` (objects told apart by `key`, or by all they hold); `list` (by position); `matched`
            (services); `strings` (a set of them); `whole` (flattened all the way down).
        struct: Of the objects; "" where they have no blocks of their own.
        key: For a `set`.
    """

    field: str
    name: str
    how: str = "object"
    struct: str = ""
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is compared of a struct: its plain fields but for some, then its blocks.

    Attributes:
        without: Plain fields that are left out.
        pointers: Plain fields behind a pointer, which Nomad's flattening passes over.
        blocks: In Nomad's order.
        context: Do unchanged fields show?
    """

    without: frozenset[str] = frozenset()
    pointers: frozenset[str] = frozenset()
    blocks: Sequence[_Block] = field(default_factory=tuple)
    context: bool = True


def _named(item: Object) -> str:
    return str(item.get("Name"))


def _constraint(item: Object) -> str:
    return json.dumps([item.get("LTarget"), item.get("Operand"), item.get("RTarget"), item.get("Weight")])


def _artifact(item: Object) -> str:
    return str(item.get("RelativeDest") or "") or json.dumps(item, sort_keys=True)


_CONSTRAINTS = (
    _Block("Constraints", "Constraint", "set", "Constraint", _constraint),
    _Block("Affinities", "Affinity", "set", "Affinity", _constraint),
)
_RULES: Mapping[str, _Rule] = {
    "Job": _Rule(
        frozenset(
            {"ID", "Status", "StatusDescription", "Version", "Stable", "CreateIndex", "ModifyIndex", "JobModifyIndex"}
            | {"Update", "SubmitTime", "NomadTokenID", "VaultToken"}
        ),
        blocks=(
            _Block("Datacenters", "Datacenters", "changed strings"),
            *_CONSTRAINTS,
            _Block("Periodic", "Periodic", struct="PeriodicConfig"),
            _Block("ParameterizedJob", "ParameterizedJob", struct="ParameterizedJobConfig"),
            _Block("Multiregion", "Multiregion", struct="Multiregion"),
            _Block("UI", "UI", struct="JobUIConfig"),
        ),
        context=False,
    ),
    "TaskGroup": _Rule(
        frozenset({"Name"}),
        frozenset({"StopAfterClientDisconnect", "MaxClientDisconnect", "MaxRunDuration"}),
        blocks=(
            *_CONSTRAINTS,
            _Block("RestartPolicy", "RestartPolicy"),
            _Block("Migrate", "Migrate"),
            _Block("ReschedulePolicy", "ReschedulePolicy"),
            _Block("EphemeralDisk", "EphemeralDisk"),
            _Block("Consul", "Consul"),
            _Block("Update", "Update", struct="UpdateStrategy"),
            _Block("Disconnect", "Disconnect", "whole"),
            _Block("Networks", "Network", "set", "NetworkResource"),
            _Block("Scaling", "Scaling", struct="ScalingPolicy"),
            _Block("Services", "Service", "matched", "Service"),
            _Block("Volumes", "Volume", "set", "VolumeRequest", _named),
        ),
        context=False,
    ),
    "Task": _Rule(
        frozenset({"Name"}),
        blocks=(
            *_CONSTRAINTS,
            _Block("Config", "Config", "whole"),
            _Block("Resources", "Resources", struct="Resources"),
            _Block("LogConfig", "LogConfig"),
            _Block("DispatchPayload", "DispatchPayload"),
            _Block("Artifacts", "Artifact", "set", "TaskArtifact", _artifact),
            _Block("Services", "Service", "matched", "Service"),
            _Block("Vault", "Vault"),
            _Block("Secrets", "Secret", "whole set", key=_named),
            _Block("Consul", "Consul"),
            _Block("Templates", "Template", "set", "Template", lambda item: str(item.get("DestPath"))),
            _Block("Identity", "Identity", struct="WorkloadIdentity"),
            _Block("Identities", "Identity", "set", "WorkloadIdentity", _named),
            _Block("Actions", "Action", "list", "Action"),
            _Block("VolumeMounts", "VolumeMount", "list", "VolumeMount"),
            _Block("Schedule", "Schedule", struct="TaskSchedule"),
        ),
        context=False,
    ),
    "PeriodicConfig": _Rule(blocks=(_Block("Specs", "Specs", "changed strings"),)),
    "ParameterizedJobConfig": _Rule(
        blocks=(
            _Block("MetaOptional", "MetaOptional", "strings"),
            _Block("MetaRequired", "MetaRequired", "strings"),
        )
    ),
    "JobUIConfig": _Rule(blocks=(_Block("Links", "Link", "list"),)),
    "Multiregion": _Rule(
        blocks=(_Block("Regions", "Region", "set", "MultiregionRegion", _named), _Block("Strategy", "Strategy"))
    ),
    "MultiregionRegion": _Rule(blocks=(_Block("Datacenters", "Datacenters", "strings"),)),
    "UpdateStrategy": _Rule(frozenset({"Stagger"})),
    "ScalingPolicy": _Rule(
        frozenset(["CreateIndex", "ModifyIndex", "ID", "Type", "Target[Job]", "Target[Group]", "Target[Namespace]"]),
        blocks=(_Block("Policy", "Policy", "whole edited"),),
        context=False,
    ),
    "Service": _Rule(
        blocks=(
            _Block("CanaryTags", "CanaryTags", "strings"),
            _Block("Tags", "Tags", "strings"),
            _Block("Checks", "Check", "list", "ServiceCheck"),
            _Block("Connect", "ConsulConnect", struct="ConsulConnect"),
            _Block("Identity", "Identity", struct="WorkloadIdentity"),
            _Block("Weights", "Weights"),
        )
    ),
    "ServiceCheck": _Rule(
        blocks=(_Block("Header", "Header", "whole"), _Block("CheckRestart", "CheckRestart", struct="CheckRestart"))
    ),
    "ConsulConnect": _Rule(
        blocks=(
            _Block("SidecarService", "SidecarService", struct="ConsulSidecarService"),
            _Block("SidecarTask", "SidecarTask", struct="SidecarTask"),
            _Block("Gateway", "Gateway", "whole"),
        )
    ),
    "ConsulSidecarService": _Rule(
        blocks=(_Block("Tags", "Tags", "strings"), _Block("Proxy", "ConsulProxy", struct="ConsulProxy"))
    ),
    "ConsulProxy": _Rule(
        blocks=(
            _Block("Upstreams", "ConsulUpstreams", "set", "ConsulUpstream", lambda item: str(item["DestinationName"])),
            _Block("Expose", "Expose", "whole"),
            _Block("Config", "Config", "whole"),
        )
    ),
    "SidecarTask": _Rule(
        pointers=frozenset({"KillTimeout", "ShutdownDelay"}),
        blocks=(
            _Block("Config", "Config", "whole"),
            _Block("Resources", "Resources", struct="Resources"),
            _Block("LogConfig", "LogConfig"),
        ),
    ),
    "Template": _Rule(
        blocks=(_Block("Wait", "Template", "whole"), _Block("ChangeScript", "ChangeScript", struct="ChangeScript"))
    ),
    "ChangeScript": _Rule(blocks=(_Block("Args", "Args", "strings"),)),
    "WorkloadIdentity": _Rule(blocks=(_Block("Audience", "Audience", "strings"),)),
    "Action": _Rule(blocks=(_Block("Args", "Args", "strings"),)),
    "TaskSchedule": _Rule(blocks=(_Block("Cron", "Cron"),)),
    "Resources": _Rule(
        blocks=(
            _Block("Networks", "Network", "set", "NetworkResource"),
            _Block("Devices", "Device", "set", "RequestedDevice", _named),
            _Block("NUMA", "NUMA"),
        )
    ),
    "NetworkResource": _Rule(
        frozenset({"Device", "CIDR", "IP", "MBits"}),
        blocks=(
            _Block("ReservedPorts", "Static Port", "set", "Port", lambda item: str(item.get("Label"))),
            _Block("DynamicPorts", "Dynamic Port", "set", "dynamic Port", lambda item: str(item.get("Label"))),
            _Block("DNS", "DNS", "joined"),
            _Block("CNI", "CNIConfig", "whole"),
        ),
    ),
    "dynamic Port": _Rule(frozenset({"Value", "IgnoreCollision"})),
    "VolumeRequest": _Rule(blocks=(_Block("MountOptions", "MountOptions", struct="CSIMountOptions"),)),
    "CSIMountOptions": _Rule(blocks=(_Block("MountFlags", "MountFlags", "strings"),)),
}
_GENERAL = _Rule()


def diff_jobs(old: Object, new: Object) -> Diff:
    """What changed from one version of a job to another, both as Nomad's JSON has them."""
    diff = _compare(_RULES["Job"], "Job", old, new)
    groups = _by_name("TaskGroup", old.get("TaskGroups"), new.get("TaskGroups"), _group)
    changed = diff["Fields"] or diff["Objects"] or any(group["Type"] != NONE for group in groups)
    return {"Type": EDITED if changed else NONE, "ID": new["ID"], **diff, "TaskGroups": groups or None}


def _group(old: Object | None, new: Object | None) -> Diff:
    diff = _compare(_RULES["TaskGroup"], "TaskGroup", old or {}, new or {})
    tasks = _by_name("Task", (old or {}).get("Tasks"), (new or {}).get("Tasks"), _task)
    return _head(old, new) | diff | {"Tasks": tasks or None, "Updates": None}


def _task(old: Object | None, new: Object | None) -> Diff:
    return _head(old, new) | _compare(_RULES["Task"], "Task", old or {}, new or {}) | {"Annotations": None}


def _head(old: Object | None, new: Object | None) -> Diff:
    kind = ADDED if old is None else DELETED if new is None else NONE if old == new else EDITED
    return {"Type": kind, "Name": str((new or old or {}).get("Name"))}


def _by_name(struct: str, old: Any, new: Any, compare: Callable[[Object | None, Object | None], Diff]) -> list[Diff]:
    before, after = {_named(item): item for item in old or ()}, {_named(item): item for item in new or ()}
    return [compare(before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())]


def _compare(rule: _Rule, struct: str, old: Object | None, new: Object | None) -> Diff:
    """Fields and Objects of two objects of one struct; None for one that is not there."""
    objects: list[Diff] = []
    for block in rule.blocks:
        objects += _blocks(block, (old or {}).get(block.field), (new or {}).get(block.field))
    before, after = _plain(rule, struct, old), _plain(rule, struct, new)
    return {"Fields": _fields(before, after, rule.context) or None, "Objects": objects or None}


def _plain(rule: _Rule, struct: str, item: Object | None) -> dict[str, str]:
    """The plain fields of a struct and those of its maps of plain values, as text."""
    if not item:
        return {}
    known = fields(struct)
    complete = {n: _zero(f.type) for n, f in known.items() if not f.last and n not in rule.pointers} | dict(item)
    blocks = {block.field for block in rule.blocks}
    flat: dict[str, str] = {}
    for name, value in complete.items():
        if name in blocks or name in rule.pointers:
            continue
        if isinstance(value, Mapping) and (name not in known or known[name].type.kind == "map"):
            flat |= {f"{name}[{key}]": _text(part) for key, part in value.items() if _is_plain(part)}
        elif _is_plain(value):
            flat[name] = _text(value)
    return {name: value for name, value in flat.items() if name not in rule.without}


def _zero(kind: Type) -> Any:
    """Go's zero value of a plain type: what the JSON of a struct may leave out."""
    if kind.kind == "string":
        return ""
    if kind.kind == "bool":
        return False
    return None if kind.nested or kind.kind in ("bytes", "time") else 0


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _text(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """All the way down: `volumes[0]`, `args[1]`, `port_map[0].db`."""
    if isinstance(value, Mapping):
        pieces = ((f"{prefix}[{key}]" if prefix else key, item) for key, item in value.items())
    elif isinstance(value, list):
        pieces = ((f"{prefix}[{i}]", item) for i, item in enumerate(value))
    else:
        return {prefix: _text(value)}
    return {name: text for key, item in pieces for name, text in _flat(item, key).items()}


def _fields(old: Mapping[str, str], new: Mapping[str, str], context: bool) -> list[Diff]:
    found = (_field(name, old.get(name, ""), new.get(name, ""), context) for name in sorted({*old, *new}))
    return [diff for diff in found if diff is not None]


def _field(name: str, old: str, new: str, context: bool) -> Diff | None:
    if old == new and not context:
        return None
    kind = NONE if old == new else ADDED if old == "" else DELETED if new == "" else EDITED
    return {"Type": kind, "Name": name, "Old": old, "New": new, "Annotations": None}


def _blocks(block: _Block, old: Any, new: Any) -> list[Diff]:
    match block.how:
        case "strings" | "changed strings":
            diff = _strings(block.name, old or (), new or ())
            return [diff] if diff and (diff["Type"] != NONE or block.how == "strings") else []
        case "joined":
            return _object(block, _joined(old), _joined(new))
        case "whole" | "whole edited":
            return _whole(block, old, new)
        case "object":
            return _object(block, old, new)
        case "list":
            before, after = list(old or ()), list(new or ())
            length = max(len(before), len(after))
            pairs: Iterable[tuple[Any, Any]] = zip(_padded(before, length), _padded(after, length), strict=True)
        case "matched":
            pairs = _matched(list(old or ()), list(new or ()))
        case _:
            pairs = _paired(block, old, new)
    compare = _whole if block.how.startswith("whole") else _object
    return _sorted(diff for a, b in pairs for diff in compare(block, a, b))


def _padded(items: list[Any], length: int) -> list[Any]:
    return items + [None] * (length - len(items))


def _joined(item: Object | None) -> Object | None:
    return None if item is None else {name: ",".join(texts) for name, texts in item.items() if texts}


def _object(block: _Block, old: Object | None, new: Object | None) -> list[Diff]:
    if (old or None) == (new or None):
        return []
    diff = _compare(_RULES.get(block.struct, _GENERAL), block.struct.removeprefix("dynamic "), old, new)
    kind = ADDED if not old else DELETED if not new else EDITED
    changed = any(found["Type"] != NONE for part in ("Fields", "Objects") for found in diff[part] or ())
    if not changed and not block.struct:
        return []
    return [{"Type": kind, "Name": block.name, **diff}]


def _whole(block: _Block, old: Any, new: Any) -> list[Diff]:
    if (old or None) == (new or None):
        return []
    before, after = _flat(old) if old else {}, _flat(new) if new else {}
    kind = ADDED if not old else DELETED if not new else EDITED
    found = _fields(before, after, context=block.how == "whole")
    return [{"Type": kind, "Name": block.name, "Fields": found or None, "Objects": None}]


def _strings(name: str, old: Sequence[str], new: Sequence[str]) -> Diff | None:
    before, after = set(old), set(new)
    parts = [
        _field(name, text if text in before else "", text if text in after else "", True) for text in before | after
    ]
    found = sorted((part for part in parts if part is not None), key=lambda part: (part["Old"], part["New"]))
    if not found:
        return None
    added, removed = after - before, before - after
    kind = EDITED if added and removed else ADDED if added else DELETED if removed else NONE
    return {"Type": kind, "Name": name, "Fields": found, "Objects": None}


def _paired(block: _Block, old: Any, new: Any) -> list[tuple[Object | None, Object | None]]:
    """Objects told apart by their key; without one by all they hold, so that a changed one is gone and another new."""

    def keyed(items: Any) -> dict[str, Object]:
        listed = [v | {"Name": k} for k, v in items.items()] if isinstance(items, Mapping) else items or ()
        return {block.key(i) if block.key else json.dumps(i, sort_keys=True): i for i in listed}

    before, after = keyed(old), keyed(new)
    return [(before.get(key), after.get(key)) for key in dict.fromkeys([*before, *after])]


def _matched(old: list[Object], new: list[Object]) -> list[tuple[Object | None, Object | None]]:
    """Services have no identity: the likeliest match is by name, then port, then place."""
    if len(old) == 1 == len(new):
        return [(old[0], new[0])]
    left = dict(enumerate(new))
    pairs: list[tuple[Object | None, Object | None]] = []
    for place, service in enumerate(old):
        scores = {
            i: (i == place)
            + 2 * (service.get("PortLabel") == other.get("PortLabel"))
            + 3 * (service.get("Name") == other.get("Name"))
            for i, other in left.items()
        }
        best = max(scores, key=lambda i: scores[i], default=None)
        pairs.append((service, left.pop(best) if best is not None and scores[best] > 2 else None))
    return pairs + [(None, service) for service in left.values()]


def _sorted(diffs: Iterable[Diff]) -> list[Diff]:
    def key(diff: Diff) -> Any:
        found = diff["Fields"] or []
        texts = [(part["Name"], part["Old"], part["New"]) for part in found]
        return diff["Name"], _ORDER[diff["Type"]], len(found), len(diff["Objects"] or ()), texts

    return sorted(diffs, key=key)
