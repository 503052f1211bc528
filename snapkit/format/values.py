"""The values in a record: msgpack as go-msgpack writes it, Go's times and durations, and all of them as Nomad's JSON.

go-msgpack writes the old msgpack spec, in which text and byte strings are both 'raw'. So a value is decoded with its
raw strings as bytes, and the schema says which of them are text, which are times and which are just bytes.
"""

from __future__ import annotations

import base64
import codecs
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import cramjam
import msgpack
import msgspec

from snapkit.errors import RecordError
from snapkit.format.schema import ANY, Field, Type, fields

MAX_DEPTH = 200  # Nomad's own records are some 15 deep
UNIX_EPOCH = 62_135_596_800  # seconds from Go's zero time, 0001-01-01T00:00:00Z, to 1970
SNAPPY_RATIO = 22  # bytes that one byte of Snappy stands for at most: a copy of 3 bytes gives 64

#: A packed value: bytes, or a view of some.
Buffer: TypeAlias = bytes | memoryview | msgspec.Raw

#: Gives what stands for a secret; None shows it as it is.
Mask: TypeAlias = Callable[[bytes], str] | None


def _replace_as_go_does(error: UnicodeError) -> tuple[str, int]:
    """One U+FFFD for each byte that is not UTF-8, as Go's JSON has it (Python joins some)."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\N{REPLACEMENT CHARACTER}" * (error.end - error.start), error.end


codecs.register_error("go", _replace_as_go_does)


def text(raw: bytes) -> str:
    """A raw string as text, U+FFFD for each byte that is not UTF-8."""
    return raw.decode("utf-8", errors="go")


def unpack(data: Buffer) -> Any:
    """Decode one msgpack value, of the old spec or the new; raw strings, str and bin alike, are bytes.

    Returns:
        None, bool, int (all 64 bits kept), float, bytes, list, dict, `msgpack.Timestamp` or `msgpack.ExtType`.

    Raises:
        RecordError: `data` is not exactly one msgpack value, or one nested more than 1,024 deep.
    """
    try:
        return msgpack.unpackb(data, raw=True, strict_map_key=False, use_list=True)
    except (ValueError, TypeError, msgpack.UnpackException, OverflowError) as error:
        raise RecordError(f"is not a msgpack value ({_reason(error)})") from error


def pack(value: Any) -> bytes:
    """msgpack as go-msgpack writes it: the old spec, without bin and str8."""
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or {
        "FormatError": "a byte that msgpack does not use",
        "StackError": "nested more than 1,024 deep",
    }.get(type(error).__name__, type(error).__name__)


def inflated(payload: bytes) -> bytes | None:
    """What a dispatched job's Payload holds: Nomad keeps it in Snappy's block format. None if it is no such thing, or a
    bomb.

    Source: nomad/job_endpoint.go, Dispatch.
    """
    try:
        if cramjam.snappy.decompress_raw_len(payload) > SNAPPY_RATIO * len(payload):
            return None
        return bytes(cramjam.snappy.decompress_raw(payload))
    except cramjam.DecompressionError:
        return None


def deflated(payload: bytes) -> bytes:
    """A payload as Nomad keeps it: what `inflated()` takes."""
    return bytes(cramjam.snappy.compress_raw(payload))


class GoTime(NamedTuple):
    """A moment as Go's time.Time holds it.

    Attributes:
        seconds: Unix seconds.
        nanoseconds: 0 to 999,999,999.
        offset: Of the zone, in seconds east of UTC.
    """

    seconds: int
    nanoseconds: int
    offset: int = 0

    @property
    def is_zero(self) -> bool:
        """Go's zero time, which means 'not set'."""
        return self.seconds == -UNIX_EPOCH and self.nanoseconds == 0

    @property
    def unix_nanoseconds(self) -> int:
        return self.seconds * 1_000_000_000 + self.nanoseconds

    def __str__(self) -> str:
        """RFC 3339 as Go's JSON has it: the fraction without trailing zeros, Z for UTC."""
        cycle = 12_622_780_800  # seconds in 400 years: Go's years are not bounded by Python's 1 to 9999
        cycles, local = divmod(self.seconds + self.offset + UNIX_EPOCH, cycle)
        moment = datetime(1, 1, 1) + timedelta(seconds=local)
        fraction = f".{self.nanoseconds:09d}".rstrip("0") if self.nanoseconds else ""
        minutes = abs(self.offset) // 60
        zone = f"{'+' if self.offset > 0 else '-'}{minutes // 60:02d}:{minutes % 60:02d}" if self.offset else "Z"
        return f"{moment.year + 400 * cycles:04d}-{moment:%m-%dT%H:%M:%S}{fraction}{zone}"


def go_time(raw: Any) -> GoTime | None:
    """Read a time.Time: Go's binary form (15 or 16 bytes) or a msgpack timestamp (4, 8 or 12 bytes); None for nil.

    Source: Go's time.Time.MarshalBinary; the msgpack spec's timestamp extension.

    Raises:
        RecordError: The value is not a time.
    """
    match raw:
        case None:
            return None
        case msgpack.Timestamp():
            return GoTime(raw.seconds, raw.nanoseconds)
        case bytes() if (raw[:1] == b"\1" and len(raw) == 15) or (raw[:1] == b"\2" and len(raw) == 16):
            minutes = int.from_bytes(raw[13:15], "big", signed=True)
            offset = 0 if minutes == -1 else minutes * 60 + (raw[15] if len(raw) == 16 else 0)
            nanoseconds = int.from_bytes(raw[9:13], "big", signed=True)
            if 0 <= nanoseconds < 1_000_000_000:
                return GoTime(int.from_bytes(raw[1:9], "big", signed=True) - UNIX_EPOCH, nanoseconds, offset)
        case bytes() if len(raw) in (4, 8, 12):
            with suppress(ValueError):  # of more nanoseconds than a second has
                stamp = msgpack.Timestamp.from_bytes(raw)
                return GoTime(stamp.seconds, stamp.nanoseconds)
    raise RecordError(f"is not a time: {raw!r:.60}")


def go_duration(nanoseconds: int) -> str:
    """A duration as Go prints it: `8h0m0s`, `1.5s`, `300ms`, `0s`."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if rest < size * 1_000 and rest < 1_000_000_000:
            return f"{sign}{_decimal(rest, size)}{unit}"
    minutes, rest = divmod(rest, 60_000_000_000)
    seconds = f"{_decimal(rest, 1_000_000_000)}s"
    if minutes >= 60:
        return f"{sign}{minutes // 60}h{minutes % 60}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else f"{sign}{seconds}"


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    return f"{whole}.{part:0{len(str(unit)) - 1}d}".rstrip("0") if part else str(whole)


def to_json(value: Any, kind: Type, mask: Mask = None, *, secret: bool = False) -> Any:
    """An unpacked value as Nomad's JSON API prints it, as Python's json module takes it.

    Bytes are base64, times RFC 3339 (null if not set), durations integers; fields are renamed or left out as Nomad
    does; a value that is not of its type is shown by its own.

    Args:
        value: What `unpack()` gave.
        kind: The type by the schema.
        mask: What to show for a secret; None shows secrets.
        secret: Is all of it?

    Raises:
        RecordError: Nested more than 200 deep.
    """
    return _json(value, kind, mask, secret, MAX_DEPTH)


def _json(value: Any, kind: Type, mask: Mask, secret: bool, depth: int) -> Any:
    if depth == 0:
        raise RecordError(f"is nested more than {MAX_DEPTH} deep")
    match value:
        case dict():
            known: Mapping[str, Field] = fields(kind.struct)
            element = kind.element or ANY
            result = {}
            for raw_key, item in value.items():
                key = text(raw_key) if isinstance(raw_key, bytes) else str(raw_key)
                field = known.get(key)
                if field is None:
                    result[key] = _json(item, element, mask, secret, depth - 1)
                elif field.json is not None:
                    result[field.json] = _field(item, field, mask, secret, depth - 1)
            return result
        case list() if kind.kind == "bytes" and all(isinstance(i, int) and 0 <= i < 256 for i in value):
            return base64.b64encode(bytes(value)).decode()  # a Go slice of a named byte type, such as numalib's
        case list():
            return [_json(item, kind.element or ANY, mask, secret, depth - 1) for item in value]
        case bytes():
            return _raw(value, kind, mask if secret else None)
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)  # Go prints 137, not 137.0
        case float() if not math.isfinite(value):
            return str(value)  # JSON has no such number
        case msgpack.Timestamp():
            return str(go_time(value))
        case msgpack.ExtType():
            return _raw(value.data, Type("bytes"), mask if secret else None)
    return value


def _field(value: Any, field: Field, mask: Mask, secret: bool, depth: int) -> Any:
    if field.text_duration and isinstance(value, int):
        return go_duration(value) if value else ""
    return _json(value, field.type, mask, secret or field.secret, depth)


def _raw(value: bytes, kind: Type, mask: Mask) -> str | None:
    if mask is not None and value:
        return mask(value)
    if kind.kind == "time":
        try:
            time = go_time(value)
            return None if time is None or time.is_zero else str(time)
        except RecordError:
            return base64.b64encode(value).decode()
    return base64.b64encode(value).decode() if kind.kind == "bytes" else text(value)


def walk(value: Any, kind: Type) -> Iterator[Leaf]:
    """The leaves of an unpacked value, and the keys of maps that are not Nomad's field names, in order.

    Raises:
        RecordError: Nested more than 200 deep.
    """
    return _walk(value, kind, "", False, MAX_DEPTH)


def _walk(value: Any, kind: Type, path: str, secret: bool, depth: int) -> Iterator[Leaf]:
    if depth == 0:
        raise RecordError(f"is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        known = fields(kind.struct)
        for raw_key, item in value.items():
            key = text(raw_key) if isinstance(raw_key, bytes) else str(raw_key)
            place = f"{path}.{key}" if path else key
            field = known.get(key)
            if field is None:
                yield Leaf(place, raw_key, ANY, False)
                yield from _walk(item, kind.element or ANY, place, secret, depth - 1)
            else:
                yield from _walk(item, field.type, place, secret or field.secret, depth - 1)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _walk(item, kind.element or ANY, f"{path}[{i}]", secret, depth - 1)
    else:
        yield Leaf(path, value, kind, secret)


class Leaf(NamedTuple):
    """A value in a record that holds no others.

    Attributes:
        path: Where, by Nomad's field names: `TaskGroups[0].Tasks[1].Env.POOL`.
        value: As `unpack()` gives it.
        kind: Its type by the schema.
        secret: Is it masked by default?
    """

    path: str
    value: Any
    kind: Type
    secret: bool


_FIELDS = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_MAPS = msgspec.msgpack.Decoder(list[dict[str, msgspec.Raw]])
_ITEMS = msgspec.msgpack.Decoder(list[msgspec.Raw])
_TEXTS = msgspec.msgpack.Decoder(list[str | None])
#: What msgspec raises: not of that shape, not UTF-8, nested too deep.
_MSGSPEC_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def split_map(data: Buffer) -> Mapping[str, Buffer]:
    """The fields of a msgpack map, each still packed.

    Raises:
        RecordError: `data` is not exactly one msgpack map.
    """
    try:
        return _FIELDS.decode(data)
    except _MSGSPEC_ERRORS:  # no map, or keys that are not text
        value = unpack(data)
        if not isinstance(value, dict):
            raise RecordError(f"is a {type(value).__name__} and not a map of fields") from None
        try:
            return {text(k) if isinstance(k, bytes) else str(k): msgpack.packb(v) for k, v in value.items()}
        except ValueError as error:
            raise RecordError(f"can't be taken apart ({_reason(error)})") from error


def split_maps(records: Sequence[Buffer]) -> Sequence[Mapping[str, Buffer]]:
    """`split_map()` of many records at once, which is faster than one by one.

    Raises:
        RecordError: One of them is not exactly one msgpack map.
    """
    try:
        return _MAPS.decode(_joined(records, None))
    except _MSGSPEC_ERRORS:
        return [split_map(record) for record in records]


_NIL = memoryview(b"\xc0")


def pick(data: Buffer, subset: Mapping[str, Sequence[str] | None]) -> dict[bytes, Any]:
    """Some fields of a packed map, unpacked; of those with a subset of their own (in a map or nil), only that.

    Raises:
        RecordError: `data` is not exactly one msgpack map.
    """
    picked: dict[bytes, Any] = {}
    for name, packed in split_map(data).items():
        if name in subset:
            inner = subset[name]
            whole = inner is None or memoryview(packed) == _NIL
            picked[name.encode()] = unpack(packed) if whole else pick(packed, dict.fromkeys(inner or ()))
    return picked


def split_list(data: Buffer) -> Sequence[Buffer]:
    """The items of a msgpack array, each still packed.

    Raises:
        RecordError: `data` is not exactly one msgpack array.
    """
    try:
        return _ITEMS.decode(data)
    except _MSGSPEC_ERRORS as error:
        raise RecordError("is not an array") from error


def unpack_column(packed: Sequence[Buffer], count: int | None = None) -> list[Any]:
    """`unpack()` of many packed values at once, which is much faster than one by one.

    Args:
        packed: The values, one by one or several to a piece.
        count: How many there are; by default one to a piece.
    """
    values: list[Any] = unpack(_joined(packed, count))
    return values


def unpack_texts(packed: Sequence[Buffer], count: int | None = None) -> list[str | None]:
    """As `unpack_column()`, of strings: as text, U+FFFD for each byte that is not UTF-8.

    Raises:
        RecordError: One of them is neither a string nor nil.
    """
    joined = _joined(packed, count)
    try:
        return _TEXTS.decode(joined)
    except _MSGSPEC_ERRORS:  # a string that is not UTF-8, or none
        values = []
        for value in unpack(joined):
            if not isinstance(value, bytes | None):
                raise RecordError(f"is not text: {value!r:.60}") from None
            values.append(None if value is None else text(value))
        return values


def _joined(packed: Sequence[Buffer], count: int | None) -> bytes:
    return b"".join([b"\xdd", (len(packed) if count is None else count).to_bytes(4, "big"), *packed])
