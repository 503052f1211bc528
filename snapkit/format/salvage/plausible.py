"""What can be a record, by Nomad's own structs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from snapkit.errors import RecordError
from snapkit.format.schema import ANY, BY_BYTE, TIME_TABLE, Type, fields, record_type
from snapkit.format.values import MAX_DEPTH, go_time, unpack

_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]{0,99}")  # of a field in Go


def is_map(byte: int) -> bool:
    return 0x80 <= byte <= 0x8F or byte in (0xDE, 0xDF)


def is_array(byte: int) -> bool:
    return 0x90 <= byte <= 0x9F or byte in (0xDC, 0xDD)


def field_type(kind: Type, name: Any) -> Type:
    if kind.kind != "struct":
        return kind.element or ANY
    known = fields(kind.struct).get(name.decode("ascii", "replace")) if isinstance(name, bytes) else None
    return known.type if known else ANY


def mostly_known(names: Sequence[Any], kind: Type, share: float = 0.6) -> bool:
    """Are these field names of a struct? A newer Nomad may have some more; of an unknown struct, any names will do."""
    if kind.kind != "struct":
        return True
    if not all(isinstance(name, bytes) and _NAME.fullmatch(name) for name in names):
        return False
    known = fields(kind.struct)
    found = sum(name.decode() in known for name in names)
    return not known or found >= share * len(names) or len(names) < 3


def plausible(byte: int, packed: memoryview, *, surely: bool = False) -> bool:
    """Can this be a record of that type, by Nomad's structs? `surely`: is it one with all that tells it from others?"""
    try:
        value = unpack(packed)
    except RecordError:
        return False
    kind = record_type(byte)
    struct = Type("struct", struct=kind.struct)
    if byte == TIME_TABLE:
        return isinstance(value, list) and fits(value, Type("list", struct), MAX_DEPTH)
    if not isinstance(value, dict) or not value or not fits(value, struct, MAX_DEPTH):
        return False
    keyed = all(isinstance(value.get(name.encode()), bytes | int) for name in kind.key)
    return keyed and (not surely or (bool(kind.struct) and len(value) > 1 and mostly_known(list(value), struct, 0.9)))


def fits(value: Any, kind: Type, depth: int) -> bool:
    """Can this be a value of that Go type? Whatever Nomad can have written can."""
    match kind.kind:
        case _ if value is None or kind.kind == "any":
            return True
        case _ if depth == 0:
            return False
        case "struct":
            return (
                isinstance(value, dict)
                and mostly_known(list(value), kind)
                and all(fits(item, field_type(kind, name), depth - 1) for name, item in value.items())
            )
        case "list":
            element = kind.element or ANY
            return isinstance(value, list) and all(fits(item, element, depth - 1) for item in value)
        case "map":
            element = kind.element or ANY
            return isinstance(value, dict) and all(fits(item, element, depth - 1) for item in value.values())
        case "string":
            return isinstance(value, bytes)
        case "bytes":
            return isinstance(value, bytes | list)
        case "bool":
            return isinstance(value, bool)
        case "time":
            with suppress(RecordError):
                return go_time(value) is not None
            return False
        case "float64" | "float32":
            return isinstance(value, float | int) and not isinstance(value, bool)
    return isinstance(value, int) and not isinstance(value, bool)


@cache
def beginnings() -> re.Pattern[bytes]:
    """What a record with a key begins with: type byte, map header, one of its field names."""
    choices = []
    for kind in BY_BYTE.values():
        names = [_raw_header(len(name)) + re.escape(name.encode()) for name in fields(kind.struct)]
        choices.append(re.escape(bytes([kind.byte])) + rb"(?:[\x80-\x8f]|\xde..)(?:" + b"|".join(names) + b")")
    return re.compile(b"|".join(choices), re.DOTALL)


def _raw_header(size: int) -> bytes:
    """As go-msgpack writes it, or a writer of the new spec."""
    short = re.escape(bytes([0xA0 | size])) if size < 32 else rb"\xda\x00" + re.escape(bytes([size]))
    return short if size < 32 else b"(?:" + short + rb"|\xd9" + re.escape(bytes([size])) + b")"
