"""The profiles: what each does to which field. For people it is in docs/redaction.md."""

from __future__ import annotations

from collections.abc import Mapping
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
    seen: set[str] = set()

    def visit(type_: Type) -> None:
        if type_.element is not None:
            visit(type_.element)
        elif type_.kind == "struct" and type_.struct not in seen:
            seen.add(type_.struct)
            for step in steps(type_.struct, profile).values():
                if step.how == "secret" and profile != "strict" and _holds_names(step.type):
                    found[f"{step.place} (names)"] = "free"
                if step.how in ("secret", "name", "hash") or step.place in SEALED:
                    continue
                if _holds_text(step.type):
                    found[step.place] = fields(type_.struct)[step.name].sensitivity
                visit(step.type)

    visit(Type("struct", struct=kind.struct))
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
    found: set[How] = set()
    seen: set[str] = set()

    def visit(type_: Type) -> None:
        if type_.element is not None:
            visit(type_.element)
        elif type_.kind == "struct" and type_.struct not in seen:
            seen.add(type_.struct)
            if type_.struct in unknown:
                found.add("secret")
            for step in steps(type_.struct, profile).values():
                if step.how != "keep":
                    found.add(step.how)
                elif step.place not in SEALED:
                    visit(step.type)

    visit(Type("struct", struct=struct))
    return frozenset(found)
