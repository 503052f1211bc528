"""A state with some of its records changed: what a write to a served cluster leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgpack

from snapkit.format.schema import BY_TABLE
from snapkit.format.values import unpack
from snapkit.state.snapshot import Snapshot

#: A record as unpacked from msgpack: keys and raw strings are bytes. Changes it in place; says whether it did.
Change = Callable[[dict[bytes, Any]], bool]


def edited(snapshot: Snapshot, changes: Mapping[str, Change]) -> Iterator[bytes]:
    """The bytes of state.bin with records changed, table by table, and the order of records kept.

    Args:
        snapshot: The state to start from.
        changes: For a table, what changes a record of it.

    Raises:
        RecordError: A record of such a table can't be decoded.
    """
    by_type = {BY_TABLE[table].byte: change for table, change in changes.items()}
    yield snapshot.header
    for byte, packed in snapshot.raw():
        yield bytes([byte])
        change = by_type.get(byte)
        if change is not None:
            record = unpack(packed)
            if isinstance(record, dict) and change(record):
                yield pack(record)
                continue
        yield bytes(packed)


def pack(value: Any) -> bytes:
    """msgpack as go-msgpack writes it: the old spec, without bin and str8."""
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


def stamp(index: int, *tables: str) -> Change:
    """Sets the last index of Nomad's own tables in the Index table."""
    names = {table.encode() for table in tables}

    def change(row: dict[bytes, Any]) -> bool:
        if row.get(b"Key") not in names:
            return False
        row[b"Value"] = index
        return True

    return change
