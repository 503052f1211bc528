"""A state with some of its records changed, added or gone: what a write to a served cluster leaves behind."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from snapkit.errors import RecordError
from snapkit.format.schema import ANY, BY_BYTE, BY_TABLE, OMIT_EMPTY, STREAM_ORDER, Field, Type, fields
from snapkit.format.values import UNIX_EPOCH, pack, text, unpack
from snapkit.state.snapshot import Snapshot
from snapkit.state.snapshot.keys import keys

#: A record as unpacked from msgpack: keys and raw strings are bytes.
Record = dict[bytes, Any]
#: Changes a record in place; says whether it did.
Change = Callable[[Record], bool]


class Edits:
    """Whole records to be put in place of those that have their keys, or added, or taken out.

    Attributes:
        records: By table and key (as text); None for one that is to go.
    """

    def __init__(self) -> None:
        self.records: dict[str, dict[tuple[str, ...], Record | None]] = {}

    def __bool__(self) -> bool:
        return bool(self.records)

    def put(self, table: str, value: Mapping[str, Any]) -> None:
        """Put a record, given as Nomad's JSON has it.

        Raises:
            RecordError: A value is not of its field's type.
        """
        kind = BY_TABLE[table]
        record = from_json(value, Type("struct", struct=kind.struct))
        key = tuple(text(part) if isinstance(part := record[name.encode()], bytes) else str(part) for name in kind.key)
        self.records.setdefault(table, {})[key] = record

    def delete(self, table: str, *key: str | int) -> None:
        """Take a record out."""
        self.records.setdefault(table, {})[tuple(map(str, key))] = None

    def stamp(self, index: int, *names: str) -> None:
        """Set the last index of Nomad's own tables in the Index table."""
        for name in names:
            self.put("indexes", {"Key": name, "Value": index})


def edited(
    snapshot: Snapshot, changes: Mapping[str, Change] | None = None, edits: Edits | None = None
) -> Iterator[bytes]:
    """The bytes of state.bin with records changed, the order of those that stay kept.

    What is added stands behind the last record of its type; of a type that the state lacks, where servers write it.

    Args:
        snapshot: The state to start from.
        changes: For a table, what changes a record of it.
        edits: Whole records put or taken out.

    Raises:
        RecordError: A record of such a table can't be decoded.
    """
    by_type = {BY_TABLE[table].byte: change for table, change in (changes or {}).items()}
    put = {BY_TABLE[table].byte: dict(records) for table, records in (edits.records if edits else {}).items()}
    left = {byte: snapshot.type_bytes.count(byte) for byte in put}
    found = {byte: iter(_keys_of(snapshot, byte)) for byte in put}
    waiting = sorted((byte for byte in put if not left[byte]), key=_order)
    yield snapshot.header
    for byte, packed in snapshot.raw():
        while waiting and byte in STREAM_ORDER and _order(byte) > _order(waiting[0]):
            yield from _added(waiting[0], put[waiting.pop(0)])
        yield from _one(byte, packed, by_type.get(byte), put.get(byte), next(found[byte]) if byte in found else ())
        if byte in left:
            left[byte] -= 1
            if not left[byte]:
                yield from _added(byte, put[byte])
    for byte in waiting:
        yield from _added(byte, put[byte])


def _order(byte: int) -> int:
    return STREAM_ORDER.index(byte) if byte in STREAM_ORDER else len(STREAM_ORDER)


def _keys_of(snapshot: Snapshot, byte: int) -> list[tuple[str, ...]]:
    found = keys(BY_BYTE[byte], (packed for kind, packed in snapshot.raw() if kind == byte))
    return [tuple(str(part) for part in key) for key in found]


def _one(
    byte: int,
    packed: memoryview,
    change: Change | None,
    put: dict[tuple[str, ...], Record | None] | None,
    key: tuple[str, ...],
) -> Iterator[bytes]:
    if put is not None and key in put:
        record = put.pop(key)
        if record is not None:
            yield bytes([byte]) + pack(record)
        return
    yield bytes([byte])
    if change is not None:
        record = unpack(packed)
        if isinstance(record, dict) and change(record):
            yield pack(record)
            return
    yield bytes(packed)


def _added(byte: int, put: Mapping[tuple[str, ...], Record | None]) -> Iterator[bytes]:
    yield from (bytes([byte]) + pack(record) for record in put.values() if record is not None)


def stamp(index: int, *tables: str) -> Change:
    """Sets the last index of Nomad's own tables in the Index table."""
    names = {table.encode() for table in tables}

    def change(row: Record) -> bool:
        if row.get(b"Key") not in names:
            return False
        row[b"Value"] = index
        return True

    return change


# -- from JSON: what `values.to_json()` made of a record, as a record again

#: Fields of what is written here that Go has behind a pointer (nil where there is no value), though not nested.
_NILABLE = frozenset(
    {
        "ACLToken.ExpirationTime",
        "ConsulGatewayProxy.ConnectTimeout",
        "ConsulIngressService.MaxConcurrentRequests",
        "ConsulIngressService.MaxConnections",
        "ConsulIngressService.MaxPendingRequests",
        "DisconnectStrategy.Replace",
        "DisconnectStrategy.StopOnClientAfter",
        "NodePoolSchedulerConfiguration.MemoryOversubscriptionEnabled",
        "SidecarTask.KillTimeout",
        "SidecarTask.ShutdownDelay",
        "TaskGroup.MaxClientDisconnect",
        "TaskGroup.MaxRunDuration",
        "TaskGroup.ShutdownDelay",
        "TaskGroup.StopAfterClientDisconnect",
        "Template.Gid",
        "Template.Uid",
        "WaitConfig.Max",
        "WaitConfig.Min",
    }
)
#: Structs that stand in another as such, and so are never nil.
_EMBEDDED = frozenset({"ConsulUpstream.MeshGateway", "Job.Update"})

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def from_json(value: Any, kind: Type) -> Any:
    """A value of Nomad's JSON as msgpack has it: the way back from `values.to_json()`.

    Of a struct, every field of the newest release is there, those that the JSON lacks as Go's zero; fields that no
    release has are passed over. JSON does not tell 70 from 70.0: where Nomad has no type, numbers become floats, as
    they do in a server that is sent such JSON.

    Raises:
        RecordError: A value is not of its field's type.
    """
    match kind.kind:
        case "struct" if value is not None:
            return _struct(_of(value, dict, kind), kind.struct)
        case "list" if value is not None:
            return [from_json(item, kind.element or ANY) for item in _of(value, list, kind)]
        case "map" if value is not None:
            return {key.encode(): from_json(item, kind.element or ANY) for key, item in _of(value, dict, kind).items()}
        case "any":
            return _any(value)
        case "struct" | "list" | "map":
            return None
        case "string":
            return _of("" if value is None else value, str, kind).encode()
        case "bytes":
            return None if value is None else base64.b64decode(_of(value, str, kind))
        case "bool":
            return _of(bool(value) if value is None else value, bool, kind)
        case "time":
            return _time(value, kind)
        case "duration":
            return nanoseconds(value)
        case name if name.startswith("float"):
            return float(_of(value or 0, (int, float), kind))
    return int(_of(0 if value is None else value, (int, float), kind))


def _of(value: Any, wanted: type | tuple[type, ...], kind: Type) -> Any:
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise RecordError(f"is no {kind.struct or kind.kind}: {value!r:.60}")
    return value


def _struct(value: Mapping[str, Any], struct: str) -> Record:
    record: Record = {}
    for name, field in fields(struct).items():
        if field.last:
            continue
        given = value.get(field.json or name)
        if not given and struct in OMIT_EMPTY:
            continue
        try:
            record[name.encode()] = _field(given, field, f"{struct}.{name}")
        except RecordError as error:
            raise error.at(f"{struct}.{name}") from error.__cause__
    return record


def _field(value: Any, field: Field, place: str) -> Any:
    if value is None and place in _NILABLE:
        return None
    return from_json({} if value is None and place in _EMBEDDED else value, field.type)


def _any(value: Any) -> Any:
    match value:
        case dict():
            return {key.encode(): _any(item) for key, item in value.items()}
        case list():
            return [_any(item) for item in value]
        case str():
            return value.encode()
        case bool() | None:
            return value
    return float(value)


def _time(value: Any, kind: Type) -> bytes:
    """As time.Time.MarshalBinary has it, in UTC; Go's zero time for none."""
    if value is None:
        return bytes([1]) + bytes(12) + b"\xff\xff"
    found = re.fullmatch(r"(.*?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", _of(value, str, kind))
    try:
        moment = datetime.fromisoformat(f"{found[1]}{found[3]}" if found else value).astimezone(UTC)
    except ValueError as error:
        raise RecordError(f"is no time: {value!r:.60}") from error
    fraction = int(((found[2] if found else None) or "").ljust(9, "0"))
    seconds = int(moment.timestamp()) + UNIX_EPOCH
    return bytes([1]) + seconds.to_bytes(8, "big", signed=True) + fraction.to_bytes(4, "big") + b"\xff\xff"


def nanoseconds(value: Any) -> int:
    """A duration: an integer as it is, text as Go prints it (`8h0m0s`), 0 for none.

    Raises:
        RecordError: It is neither.
    """
    if value is None or value == "":
        return 0
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        digits = value.removeprefix("-")
        parts = _DURATION.findall(digits)
        if digits == "0" or (parts and "".join(map("".join, parts)) == digits):
            total = sum(int(Decimal(number) * _UNITS[unit]) for number, unit in parts)
            return -total if value.startswith("-") else total
    raise RecordError(f"is no duration: {value!r:.60}")
