"""The careful way: a value unpacked and looked at as a whole, whatever it is, also where it is not as its type says."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgpack

from snapkit.errors import RecordError
from snapkit.format.schema import ANY, Type, fields
from snapkit.format.values import MAX_DEPTH, deflated, go_time, inflated, pack
from snapkit.state.redact.profiles import SEALED, How, Profile, inner, steps
from snapkit.state.redact.pseudonyms import Pseudonyms
from snapkit.state.redact.seen import Seen, shown


class Values:
    """Redacts unpacked values.

    Args:
        profile: What to do.
        names: What stands for what.
        seen: Which fields records have.

    Attributes:
        counts: Values replaced, by place (`Struct.Field`).
    """

    def __init__(self, profile: Profile, names: Pseudonyms, seen: Seen) -> None:
        self.profile: Profile = profile
        self.names = names
        self.counts: dict[str, int] = defaultdict(int)
        self.seen = seen

    def value(self, value: Any, kind: Type, how: How, place: str, depth: int = MAX_DEPTH) -> Any:
        """An unpacked value with its text replaced; as a secret's, where it is not of its field's type."""
        if how != "name" and not fits(value, kind):
            how, kind = "secret", ANY
        if type(value) is bytes:
            new = self.text(value, kind, how, place)
            if new != value:
                self.counts[place] += 1
            return new
        if type(value) is dict:
            if depth == 0:
                raise RecordError(f"is nested more than {MAX_DEPTH} deep")
            if kind.kind == "struct" and fields(kind.struct):
                return self._struct(value, kind.struct, how, depth - 1)
            return self._map(value, kind.element or ANY, how, place, depth - 1)
        if type(value) is list:
            if depth == 0:
                raise RecordError(f"is nested more than {MAX_DEPTH} deep")
            if how == "unique":
                return [self._constraint(item, kind.element or ANY, depth - 1) for item in value]
            return [self.value(item, kind.element or ANY, how, place, depth - 1) for item in value]
        if isinstance(value, msgpack.ExtType) and how != "keep":
            self.counts[place] += 1
            return msgpack.ExtType(value.code, self.names.secret(value.data))
        return value

    def _struct(self, value: dict[Any, Any], struct: str, how: How, depth: int) -> dict[Any, Any]:
        made = {}
        known = steps(struct, self.profile)
        for name, item in value.items():
            step = known.get(name)
            if step is None:
                self.seen.note_unknown(struct, shown(name))
                known_as = self.key(name) if self.profile == "strict" else name
                made[known_as] = self.value(item, ANY, "secret", f"{struct}.{shown(name)}", depth)
            elif step.place in SEALED:
                made[name] = item
            else:
                made[name] = self.value(item, step.type, inner(how, step.how), step.place, depth)
        return made

    def _map(self, value: dict[Any, Any], element: Type, how: How, place: str, depth: int) -> dict[Any, Any]:
        if how == "attributes":
            return {
                name: self.value(item, element, "name" if b"unique." in name else "talk", place, depth)
                for name, item in value.items()
            }
        if how == "unique":  # constraints, as text, that filtered nodes
            return {self.names.name(name) if b"unique" in name else name: item for name, item in value.items()}
        named = how == "name" or self.profile == "strict"
        return {
            (self.key(name) if named else name): self.value(item, element, how, place, depth)
            for name, item in value.items()
        }

    def key(self, name: Any) -> Any:
        """What the name of a map's entry becomes, where such are replaced."""
        return self.names.name(name) if isinstance(name, bytes) and self.profile != "share" else name

    def _constraint(self, item: Any, kind: Type, depth: int) -> Any:
        """A constraint, an affinity or a spread: one by what is unique to a host names hosts."""
        if isinstance(item, dict) and b"unique" in pack([item.get(b"LTarget"), item.get(b"Attribute")]):
            place = f"{kind.struct}.{'SpreadTarget' if kind.struct == 'Spread' else 'RTarget'}"
            return {name: self.value(value, ANY, "name", place, depth)
                    if name == b"RTarget" else self._targets(value, place) if name == b"SpreadTarget" else value
                    for name, value in item.items()}  # fmt: skip
        return item

    def _targets(self, value: Any, place: str) -> Any:
        return self.value(value, Type("list", Type("struct", struct="SpreadTarget")), "name", place)

    def text(self, value: bytes, kind: Type, how: How, place: str) -> bytes:
        """What a text becomes; it is not counted."""
        if not value or how in ("keep", "unique", "attributes"):
            return value
        if kind.kind == "time" and is_time(value):
            return value
        match how:
            case "secret":
                new = self._payload(value) if place == "Job.Payload" else self.names.secret(value)
            case "url":
                new = self.names.url(value)
            case "talk":
                new = self.names.talk(value)
            case "hash":
                new = self.names.noise("hash", value, len(value))
            case _:
                new = self.names.secret(value) if kind.kind == "bytes" else self.names.name(value)
        return new

    def _payload(self, value: bytes) -> bytes:
        """A dispatch payload: Snappy stays Snappy."""
        plain = inflated(value)
        if plain is None:
            return self.names.secret(value)
        return deflated(self.names.secret(plain))


def fits(value: Any, kind: Type) -> bool:
    """Is a value of the shape of its type?"""
    if isinstance(value, dict):
        return kind.kind in ("map", "struct", "any")
    if isinstance(value, list):
        return kind.kind in ("list", "bytes", "any")
    return not isinstance(value, bytes | msgpack.ExtType) or kind.kind not in ("map", "struct", "list")


def is_time(value: bytes) -> bool:
    """Is it a time as Go or msgpack has it?"""
    try:
        return go_time(value) is not None
    except RecordError:
        return False
