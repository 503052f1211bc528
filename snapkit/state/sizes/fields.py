"""What the bytes of records are of, field by field and level by level, without unpacking a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgpack
import msgspec
import pandas as pd

from snapkit.errors import RecordError
from snapkit.format.schema import ANY, TIME_TABLE, Type, fields, record_type
from snapkit.format.values import MAX_DEPTH, Buffer, text, unpack
from snapkit.state.sizes.columns import BATCH, records_by_type

if TYPE_CHECKING:
    from snapkit.state.snapshot import Snapshot

MAX_FIELDS = 1_000  # that the schema lacks, of one table: what is more is listed together


def by_field(snapshot: Snapshot) -> pd.DataFrame:
    """Count, Bytes and Own (without what is below) by Table and Path."""
    rows = []
    header = len(snapshot.header)
    for byte, records in records_by_type(snapshot).items():
        kind = record_type(byte)
        walk = _Walk()
        struct = Type("struct", struct=kind.struct)
        try:
            for start in range(0, len(records), BATCH):
                batch = records[start : start + BATCH]
                walk.add("", len(batch), sum(map(len, batch)) + len(batch))
                walk.descend("", batch, Type("list", struct) if byte == TIME_TABLE else struct, MAX_DEPTH)
        except RecordError as error:
            raise error.at(f"{kind.name} records") from error
        walk.add("", 0, header)
        header = 0
        rows += [(kind.table, path, *figures) for path, figures in walk.rows.items()]
    frame = pd.DataFrame(rows, columns=["Table", "Path", "Count", "Bytes", "Own"])
    types = {"Table": "str", "Path": "str", "Count": "Int64", "Bytes": "Int64", "Own": "Int64"}
    return frame.astype(types).set_index(["Table", "Path"])


class _Walk:
    """Goes down the fields of many records at once, level by level, without unpacking a value.

    Attributes:
        rows: Count, bytes with all that is below, and bytes without, by path.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[int]] = {}
        self._unknown = 0

    def add(self, path: str, count: int, size: int) -> None:
        row = self.rows.setdefault(path, [0, 0, 0])
        row[0] += count
        row[1] += size
        row[2] += size

    def descend(self, path: str, values: Sequence[Buffer], kind: Type, depth: int) -> None:
        """Count what is in values whose own bytes are counted.

        Raises:
            RecordError: They are nested more than 200 deep.
        """
        for name, column, names, element in self._children(path, values, kind):
            if depth == 0:
                raise RecordError(f"one is nested more than {MAX_DEPTH} deep")
            size = names + sum(map(len, column))
            self.add(name, len(column), size)
            self.rows[path][2] -= size
            if element.nested:
                self.descend(name, column, element, depth - 1)

    def _children(
        self, path: str, values: Sequence[Buffer], kind: Type
    ) -> Iterator[tuple[str, Sequence[Buffer], int, Type]]:
        """What is one level below: its path, its values, the bytes of its names, and its type."""
        if kind.kind == "any":
            firsts = [memoryview(value)[0] for value in values]
            maps = [value for value, first in zip(values, firsts, strict=True) if _is_map(first)]
            lists = [value for value, first in zip(values, firsts, strict=True) if _is_list(first)]
            yield from self._children(path, maps, Type("map", ANY)) if maps else ()
            yield from self._children(path, lists, Type("list", ANY)) if lists else ()
        elif kind.kind == "list":
            items = [item for items in lists_in(values) for item in items]
            if items:
                yield f"{path}[]", items, 0, kind.element or ANY
        elif kind.kind == "map":
            below = _maps(values)
            if items := [item for entries in below for item in entries.values()]:
                names = "".join(["".join(entries) for entries in below])
                yield _below(path, "*"), items, _name_bytes(names, len(items)), kind.element or ANY
        else:
            yield from self._fields(path, _maps(values), kind)

    def _fields(
        self, path: str, rows: Sequence[Mapping[str, Buffer]], kind: Type
    ) -> Iterator[tuple[str, Sequence[Buffer], int, Type]]:
        known = fields(kind.struct)
        names: dict[str, Any] = {}
        for row in rows:
            names.update(row)  # for its keys, in order
        for name in names:
            try:
                column = list(map(itemgetter(name), rows))
            except KeyError:
                column = [row[name] for row in rows if name in row]
            field = known.get(name)
            place = _below(path, name)
            if field is None and place not in self.rows:
                self._unknown += 1
            if field is None and place not in self.rows and self._unknown > MAX_FIELDS:
                place = _below(path, "*")
            yield place, column, _name_bytes(name * len(column), len(column)), field.type if field else ANY


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _name_bytes(names: str, count: int) -> int:
    """What names take: their letters and a byte ahead of each. What long ones take more stays with the map."""
    return len(names.encode()) - 2 * names.count("\N{REPLACEMENT CHARACTER}") + count  # which is of one byte


def _is_map(first: int) -> bool:
    return first & 0xF0 == 0x80 or first in (0xDE, 0xDF)


def _is_list(first: int) -> bool:
    return first & 0xF0 == 0x90 or first in (0xDC, 0xDD)


_MAPS = msgspec.msgpack.Decoder(list[dict[str, msgspec.Raw] | None])
_LISTS = msgspec.msgpack.Decoder(list[list[msgspec.Raw] | None])


def _maps(values: Sequence[Buffer]) -> list[Mapping[str, Buffer]]:
    """The fields of those values that are maps with any, each still packed."""
    try:
        return [entries for entries in _MAPS.decode(_joined(values)) if entries]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # some are no maps, or have odd keys
        return [entries for value in values if _is_map(memoryview(value)[0]) and (entries := dict(_entries(value)))]


def lists_in(values: Sequence[Buffer]) -> list[Sequence[Buffer]]:
    """The items of those values that are lists, each still packed."""
    try:
        return [items for items in _LISTS.decode(_joined(values)) if items]
    except (msgspec.MsgspecError, RecursionError):
        return [[item for _, item in _entries(value)] for value in values if _is_list(memoryview(value)[0])]


def _entries(value: Buffer) -> Iterator[tuple[str, Buffer]]:
    """The entries of a map or list one by one, also of a map with odd keys; those whose key is no text are left out."""
    view = memoryview(value)
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=len(view))
    unpacker.feed(view)
    named = _is_map(view[0])
    for _ in range(unpacker.read_map_header() if named else unpacker.read_array_header()):
        start = unpacker.tell()
        if named:
            unpacker.skip()
        middle = unpacker.tell()
        unpacker.skip()
        name = unpack(view[start:middle]) if named and _is_text(view[start]) else b""
        if name or not named:
            yield text(name), view[middle : unpacker.tell()]


def _is_text(first: int) -> bool:
    return first & 0xE0 == 0xA0 or first in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB)


def _joined(values: Sequence[Buffer]) -> bytes:
    return b"".join([b"\xdd", len(values).to_bytes(4, "big"), *values])
