"""Whole records of any struct, and archives of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snapkit.format.schema import BY_TABLE, TYPES
from tests import forge

SECONDS = 1_795_471_701
NANOSECONDS = SECONDS * 10**9 + 682_512_345
#: The same moment as a time of Go's.
MOMENT = "2026-11-23T22:08:21.682512345Z"
GO_TIME = forge.GO_TIME


def struct(name: str, salt: str = "x", **overrides: Any) -> dict[str, Any]:
    """A struct with all fields that the newest release has."""
    return forge.example_struct(name, salt) | overrides


def records(table: str, *values: Any) -> bytes:
    """Records of a table; of the time table, one that holds all values."""
    kind = BY_TABLE[table]
    return b"".join(forge.record(kind.byte, value) for value in ([values] if table == "time_table" else values))


def archive(tables: Mapping[str, Sequence[Any]]) -> bytes:
    return forge.archive(forge.state(*(records(table, *values) for table, values in tables.items())))


def every_table() -> bytes:
    """An archive with a record of each type."""
    return archive({kind.table: [struct(kind.struct)] for kind in TYPES})
