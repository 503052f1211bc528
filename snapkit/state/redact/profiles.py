"""The profiles: what each does to which field. For people it is in docs/redaction.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

from snapkit.format.schema import ANY, Field, RecordType, Type, fields

Profile: TypeAlias = Literal["share", "training", "strict"]

#: What is done to a field's text: nothing; nothing, but to the fields of structs below it what they ask for; replaced
#: as a secret, as a name, or as a hash; of URLs the credentials; of talk the addresses too; of Node.Attributes and of
#: constraints what names one host.
How: TypeAlias = Literal["keep", "secret", "name", "hash", "url", "talk", "attributes", "unique"]

#: Fields that a handler of their own takes care of.
SEALED = frozenset({"VariableEncrypted.Data", "RootKey.WrappedKeys"})
_UNIQUE = {"Constraint", "Affinity", "Spread"}  # structs that can name one host: `${attr.unique.hostname} = web1`


class Step(NamedTuple):
    """What is done to a field.

    Attributes:
        name: The field's.
        place: `Struct.Field`.
        type: By the schema.
        how: What is done.
    """

    name: str
    place: str
    type: Type
    how: How


_HOW: Mapping[Profile, Mapping[str, How]] = {
    "share": {"always": "secret", "may": "secret", "seldom": "secret", "url": "url"},
    "training": {"always": "secret", "may": "secret", "seldom": "secret", "url": "talk", "identifies": "name"},
    "strict": {"always": "secret", "may": "secret", "seldom": "secret"},
}


def _how(struct: str, known: Field, profile: Profile) -> How:
    place = f"{struct}.{known.name}"
    if place in SEALED:
        return "keep"
    if known.name == "Hash" and known.type.kind == "bytes":
        return "hash"  # of what was replaced, a secret perhaps
    how = _HOW[profile].get(known.sensitivity)
    if how is not None:
        return how
    if profile == "strict":
        return "name"
    if profile == "training":
        if place == "Node.Attributes":
            return "attributes"
        if place == "AllocMetric.ConstraintFiltered" or (known.type.element or ANY).struct in _UNIQUE:
            return "unique"
    return "keep"


@cache
def steps(struct: str, profile: Profile) -> Mapping[bytes, Step]:
    """What a profile does to each field of a struct."""
    return {
        name.encode(): Step(name, f"{struct}.{name}", known.type, _how(struct, known, profile))
        for name, known in fields(struct).items()
    }


def kept(kind: RecordType, profile: Profile) -> dict[str, str]:
    """The fields of text that a profile leaves in records of a type: `Struct.Field` -> sensitivity.

    ` (names)` behind one says that the names of entries alone stay, as those of environment variables do.
    """
    found: dict[str, str] = {}

    def stays(step: Step) -> bool:
        return step.how not in ("secret", "name", "hash") and step.place not in SEALED

    for struct, step in _below(kind.struct, profile, stays):
        if step.how == "secret" and profile != "strict" and _holds_names(step.type):
            found[f"{step.place} (names)"] = "free"
        if stays(step) and _holds_text(step.type):
            found[step.place] = fields(struct)[step.name].sensitivity
    if kind.table == "variables" and profile != "strict":
        found["VariableEncrypted.Data (names)"] = "free"
    return found


def _holds_names(kind: Type) -> bool:
    return kind.kind in ("map", "any") or (kind.element is not None and _holds_names(kind.element))


def _holds_text(kind: Type) -> bool:
    if kind.kind == "map":
        return True  # its keys
    return _holds_text(kind.element) if kind.element else kind.kind in ("string", "bytes", "any")


def inner(outer: How, own: How) -> How:
    """What is done to a field of a struct below one that is replaced: that, unless it is a secret."""
    return outer if outer == "secret" or (outer == "name" and own != "secret") else own


@cache
def replaced_below(struct: str, profile: Profile, unknown: frozenset[str] = frozenset()) -> frozenset[How]:
    """What a profile does to fields in a struct and below it, where it does anything.

    Args:
        struct: The struct.
        profile: The profile.
        unknown: Structs that have fields which the schema lacks; these are replaced as secrets.
    """
    below = list(_below(struct, profile, lambda step: step.how == "keep" and step.place not in SEALED))
    found = {step.how for _, step in below if step.how != "keep"}
    return frozenset(found | {"secret"} if any(name in unknown for name, _ in below) else found)


def _below(struct: str, profile: Profile, enters: Callable[[Step], bool]) -> Iterator[tuple[str, Step]]:
    """The fields of a struct and of those in its fields, where these are entered; each struct once."""
    waiting, seen = [struct], {struct}
    while waiting:
        struct = waiting.pop()
        for step in steps(struct, profile).values():
            yield struct, step
            below = struct_of(step.type)
            if below and below not in seen and enters(step):
                seen.add(below)
                waiting.append(below)


def struct_of(kind: Type) -> str:
    """The struct that a field holds, by itself or in lists and maps; "" if none."""
    return struct_of(kind.element) if kind.element is not None else kind.struct
