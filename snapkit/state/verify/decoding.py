"""Each record decoded as Nomad would, once, as it passes: what that refuses, and the columns that checks look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from snapkit.errors import RecordError
from snapkit.format.schema import BY_BYTE, TIME_TABLE, RecordType, Type, fields, type_name
from snapkit.format.values import UNIX_EPOCH, Buffer, go_time, pack, split_list, split_map, text, unpack, walk
from snapkit.state.findings.report import Found
from snapkit.state.verify.decoder import attribute, decoder

INDEXES = ("CreateIndex", "ModifyIndex")

NIL = b"\xc0"
EXTENSIONS = {bytes([byte]) for byte in (*range(0xC7, 0xCA), *range(0xD4, 0xD9))}
#: Go's zero time as it writes it: raw string, version, seconds, nanoseconds, zone.
_NOT_SET = b"\xaf\1" + bytes(12) + b"\xff\xff"

#: What decoding a record raises.
_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, RecordError)


@dataclass(frozen=True, slots=True)
class Records:
    """Packed records in a piece of the state, cut out only as they are used: 10,000 views are work for Python's gc.

    Attributes:
        state: The piece.
        starts: Where each begins in it.
        ends: Where each ends.
    """

    state: memoryview
    starts: Sequence[int]
    ends: Sequence[int]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, at: int) -> memoryview:
        return self.state[self.starts[at] : self.ends[at]]

    def __iter__(self) -> Iterator[memoryview]:
        return map(self.state.__getitem__, map(slice, self.starts, self.ends))


class Decoding:
    """Takes the records of a state, and keeps of them what the checks need.

    Attributes:
        columns: By table and name the values, row by row: key fields, CreateIndex, ModifyIndex and what else was
            asked for. Times are Unix nanoseconds, or seconds where Nomad has those; nested values are structs of the
            decoder's. A row is there also for a record that was refused, if it is a map: with what of it can be read.
        found: What is wrong with records, by the id of the check.
        more: How many more there are of it, by the id of the check.
        refused: The tables that hold a record which Nomad's decoder refuses.
    """

    def __init__(self, wanted: Mapping[str, Iterable[str]], most: int) -> None:
        """Begin.

        Args:
            wanted: The columns that checks look at besides, by table.
            most: How many findings of one check are kept; those beyond are counted.
        """
        self.columns: dict[str, dict[str, list[Any]]] = {}
        self.found: dict[str, list[Found]] = {}
        self.more: Counter[str] = Counter()
        self.refused: set[str] = set()
        self._wanted = wanted
        self._most = most
        self._tables: dict[int, _Table] = {}

    def take(self, byte: int, number: int, records: Records) -> None:
        """Take records of one type that follow one another, the first of which is the `number`th of all, from 0."""
        if byte == TIME_TABLE:
            for at, record in enumerate(records, number):
                self._take_time_table(at, record)
            return
        table = self._tables.get(byte)
        if table is None:
            if byte not in BY_BYTE:
                return
            kind = BY_BYTE[byte]
            table = self._tables[byte] = _Table(kind, self._wanted.get(kind.table, ()), records[0])
            self.columns[kind.table] = table.columns
        values: list[Any] = []  # row by row, and no tuples, which would be work for Python's gc
        remaining = iter(records)
        done = 0
        while done < len(records):
            try:
                for row in map(table.row, map(table.decode, remaining)):
                    values.extend(row)
                    done += 1
            except _ERRORS as error:
                values.extend(self._mended(table, number + done, records[done], error))
                done += 1
        table.add(values)

    def _take_time_table(self, number: int, record: memoryview) -> None:
        kind = BY_BYTE[TIME_TABLE]
        try:
            for entry in split_list(record):
                decoder(kind.struct, entry).decode(entry)
        except _ERRORS as error:
            self._refuse(kind, number, error)

    def _mended(self, table: _Table, number: int, record: memoryview, error: Exception) -> tuple[Any, ...]:
        """The row of a record that does not decode as it stands; empty if it has none. Tells of what is wrong with it.

        What a server takes all the same: text that is not UTF-8, and bytes of the new msgpack spec for text.
        """
        kind = table.kind
        try:
            if not isinstance(error, UnicodeDecodeError | msgspec.ValidationError):
                raise error
            value = unpack(record)
            again = pack(_in_utf8(value, Type("struct", struct=kind.struct)))
            if again == record:
                raise error
            row = table.row(table.decode(again))
            if isinstance(error, UnicodeDecodeError):
                self._tell("state.text", kind, number, _not_utf8(value, kind))
            return row
        except RecursionError:
            self._tell("state.depth", kind, number, "it is nested too deep")
        except (msgspec.MsgspecError, RecordError) as final:
            if not _is_map(record):
                self.refused.add(kind.table)
                self._tell("state.not-a-map", kind, number, "it is no map of fields")
                return ()
            self._refuse(kind, number, final)
        except ValueError:  # it is nested deeper than msgpack writes, outside the fields that are known
            if isinstance(error, UnicodeDecodeError):
                self._tell("state.text", kind, number, _not_utf8(value, kind))
            else:
                self._refuse(kind, number, error)
        finally:
            error.__traceback__ = None  # or it and this frame would hold each other, and the record
        return table.readable(record)

    def _refuse(self, kind: RecordType, number: int, error: Exception) -> None:
        self.refused.add(kind.table)
        self._tell("state.field-type", kind, number, str(error).replace("`", "'"))

    def _tell(self, check: str, kind: RecordType, number: int, message: str) -> None:
        found = self.found.setdefault(check, [])
        if len(found) < self._most:
            found.append((f"state.bin record {number + 1:,} ({type_name(kind.byte)})", message))
        else:
            self.more[check] += 1


class _Table:
    """The columns of one table, and what makes a row of a record."""

    def __init__(self, kind: RecordType, wanted: Iterable[str], first: Buffer) -> None:
        known = fields(kind.struct)
        names = [name for name in dict.fromkeys([*kind.key, *INDEXES, *wanted]) if name in known]
        self.kind = kind
        self.columns: dict[str, list[Any]] = {name: [] for name in names}
        self.decode: Callable[[Buffer], Any] = decoder(kind.struct, first).decode
        self.row: Callable[[Any], tuple[Any, ...]] = _reader(names, [n for n in known if known[n].type.kind == "time"])

    def add(self, values: Sequence[Any]) -> None:
        """Add rows, given value by value."""
        for at, column in enumerate(self.columns.values()):
            column.extend(values[at :: len(self.columns)])

    def readable(self, record: Buffer) -> tuple[Any, ...]:
        """As much of a row as can be read of a record that is refused; empty if it can't be taken apart."""
        try:
            packed = split_map(record)
        except RecordError:
            return ()
        return tuple(_readable(packed.get(name, NIL), fields(self.kind.struct)[name].type) for name in self.columns)


def _reader(names: Sequence[str], times: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the named fields out of a decoded record; times are all looked at, as a server does."""
    attributes = [attribute(name) for name in names]
    fields_of: Callable[[Any], tuple[Any, ...]]
    if len(attributes) > 1:
        fields_of = attrgetter(*attributes)
    else:

        def fields_of(record: Any) -> tuple[Any, ...]:
            return tuple(getattr(record, name) for name in attributes)

    if not times:
        return fields_of
    moments = [(name, attribute(name), name in names) for name in times]

    def read(record: Any) -> tuple[Any, ...]:
        for name, place, kept in moments:
            packed = getattr(record, place)
            if packed is not None:
                moment = _moment(name, bytes(packed))
                if kept:
                    setattr(record, place, moment)
        return fields_of(record)

    return read


def _moment(name: str, raw: bytes) -> int | None:
    """Unix nanoseconds of a time.Time; None for 'not set'.

    Raises:
        RecordError: It is none.
    """
    if raw == _NOT_SET:  # most are
        return None
    if len(raw) == 16 and raw[:2] == b"\xaf\1":
        seconds = int.from_bytes(raw[2:10], "big", signed=True) - UNIX_EPOCH
        return seconds * 1_000_000_000 + int.from_bytes(raw[10:14], "big", signed=True)
    if raw[:1] in EXTENSIONS:
        raise RecordError(f"is a msgpack extension, which servers do not take - at '$.{name}'")
    try:
        time = go_time(unpack(raw))
    except RecordError as error:
        raise RecordError(f"{error.what} - at '$.{name}'") from error
    return None if time is None or time.is_zero else time.unix_nanoseconds


def _readable(packed: Buffer, kind: Type) -> Any:
    """A value by itself, if it is of its type and not nested; else None."""
    try:
        value = unpack(packed)
        if kind.kind == "time":
            return _moment("", bytes(packed))
    except RecordError:
        return None
    if kind.kind == "string":
        return text(value) if isinstance(value, bytes) else None
    if type(value) is not (bool if kind.kind == "bool" else int) or kind.nested:
        return None
    return None if kind.kind.startswith("uint") and value < 0 else value


def _in_utf8(value: Any, kind: Type) -> Any:
    """The same value, with text and the keys of maps in UTF-8: U+FFFD for each byte that is not."""
    if isinstance(value, list) and kind.element is not None:
        return [_in_utf8(item, kind.element) for item in value]
    if isinstance(value, bytes) and kind.kind == "string":
        return text(value).encode()
    if not isinstance(value, dict) or kind.kind not in ("map", "struct"):
        return value
    known = fields(kind.struct)
    mended = {}
    for raw_name, item in value.items():
        name = text(raw_name) if isinstance(raw_name, bytes) else ""
        inner = known[name].type if name in known else kind.element
        mended[name.encode() or raw_name] = item if inner is None else _in_utf8(item, inner)
    return mended


def _not_utf8(value: Any, kind: RecordType) -> str:
    try:
        for leaf in walk(value, Type("struct", struct=kind.struct)):
            if isinstance(leaf.value, bytes) and leaf.kind.kind == "string":
                try:
                    leaf.value.decode()
                except UnicodeDecodeError:
                    return f"{leaf.path} is not UTF-8"
    except RecordError:
        return "a text in it is not UTF-8"  # behind something that is nested deeper than Nomad does
    return "the name of a field is not UTF-8"


def _is_map(record: memoryview) -> bool:
    return 0x80 <= record[0] <= 0x8F or record[0] in (0xDE, 0xDF)
