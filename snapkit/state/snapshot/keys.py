"""The keys of records, read without decoding what else is in them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec

from snapkit.errors import RecordError
from snapkit.format.schema import RecordType
from snapkit.format.values import Buffer, text, unpack

#: What msgspec raises: not of that shape, not UTF-8, nested too deep.
_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def keys(kind: RecordType, values: Iterable[Buffer]) -> list[tuple[Any, ...]]:
    """The key of each record: text, and integers as such; None for a field that a record lacks.

    Args:
        kind: A type that has key fields.
        values: Packed records.

    Raises:
        RecordError: One is not a map of fields.
    """
    decode, fields_of = _reader(kind)
    found = []
    for value in values:
        try:
            found.append(fields_of(decode(value)))
        except _ERRORS:  # bytes that are not UTF-8, a key that is no text, or no map at all
            found.append(_slowly(kind, value))
    return found


@cache
def _reader(kind: RecordType) -> tuple[Any, Any]:
    struct = msgspec.defstruct(f"{kind.name}Key", [(name, str | int | None, None) for name in kind.key], gc=False)
    decode = msgspec.msgpack.Decoder(struct).decode
    if len(kind.key) > 1:
        return decode, attrgetter(*kind.key)
    one = attrgetter(*kind.key)
    return decode, lambda record: (one(record),)


def _slowly(kind: RecordType, value: Buffer) -> tuple[Any, ...]:
    record = unpack(value)
    if not isinstance(record, dict):
        raise RecordError(f"is a {type(record).__name__} and not a map of fields")
    return tuple(part_of_key(record.get(name.encode())) for name in kind.key)


def part_of_key(value: Any) -> str | int | None:
    """An unpacked value as a part of a key: text, an integer or None, whatever an archive has in its place."""
    if isinstance(value, bytes):
        return text(value)
    return value if isinstance(value, int | None) else str(value)
