"""Records of one type as an Arrow table: a column a field, with the dtype that the schema gives it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from snapkit.errors import LimitError, RecordError
from snapkit.format.schema import ANY, Field, RecordType, Type, columns, fields
from snapkit.format.values import (
    UNIX_EPOCH,
    Buffer,
    Mask,
    go_time,
    split_map,
    split_maps,
    to_json,
    unpack_column,
    unpack_texts,
)

NIL = b"\xc0"
BATCH = 512  # records
LESSONS = 50  # how often fields not met before are looked for in records of one type
MAX_FIELDS = 1_000  # of one table; Nomad's widest record has some 40
TEXT = pa.large_string()
TIMES = pa.timestamp("ns", "UTC")
INTEGERS = {
    "int8": pa.int8(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "int": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "uint": pa.uint64(),
}
SCALARS = INTEGERS | {
    "string": TEXT,
    "bytes": pa.large_binary(),
    "bool": pa.bool_(),
    "float64": pa.float64(),
    "time": TIMES,
    "duration": pa.duration("ns"),
}
#: What is raised for a record that has another field or a value of another type, or one that Arrow's type can't hold.
_ODD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, pa.ArrowException, OverflowError)


@dataclass(frozen=True, slots=True)
class Rows:
    """Records of one type, taken apart into fields.

    Attributes:
        kind: Their type.
        count: How many they are.
        fields: The fields that any row has, in Nomad's order.
        decoded: The texts, whole numbers and bools of the fields that were kept, in pieces; null where a row lacks it.
        packed: The packed values of the other fields that were kept, in pieces; nil where a row lacks it.
    """

    kind: RecordType
    count: int
    fields: list[str]
    decoded: Mapping[str, list[pa.Array]]
    packed: Mapping[str, list[bytes]]

    @classmethod
    def split(cls, kind: RecordType, records: Iterable[Buffer], keep: Callable[[str], bool]) -> Rows:
        """Take records apart, keeping the values of the fields that are asked for.

        Raises:
            RecordError: One is not a map of fields.
            LimitError: They have more than 1,000 different fields.
        """
        splitter = _Splitter(kind, keep)
        remaining = iter(records)
        while batch := list(islice(remaining, BATCH)):  # from rows to columns while it is in the processor's cache
            splitter.add(batch)
        return cls(kind, splitter.count, list(splitter.fields), splitter.decoded, splitter.packed)

    def unpacked(self, name: str) -> list[Any]:
        """The values of a field; those that were decoded as text, and not as bytes."""
        if name in self.decoded:
            return _values(self.decoded[name])
        return unpack_column(self._pieces(name), self.count)

    def _pieces(self, name: str) -> list[bytes]:
        return self.packed.get(name) or [NIL * self.count]

    def field(self, name: str) -> Field:
        """The definition of a field; for one that the schema lacks, one by the kind of values it has."""
        known = fields(self.kind.struct).get(name)
        return known or Field(name, _guess_type(self.unpacked(name)), name)

    def names(self) -> list[str]:
        """The fields that are columns by default: those that are not nested."""
        if not self.count:
            return [field.name for field in columns(self.kind.struct)]
        return [name for name in self.fields if not self.field(name).type.nested]

    def arrow(self, names: Sequence[str], mask: Mask) -> pa.Table:
        """The named fields as columns, nested ones as JSON text.

        Raises:
            RecordError: A value is not of its field's type.
        """
        return pa.table({name: self.column(name, mask) for name in names})

    def column(self, name: str, mask: Mask) -> pa.Array:
        """The values of a field; JSON text if it is nested.

        Raises:
            RecordError: A value is not of the field's type.
        """
        field = self.field(name)
        if field.type.nested:
            values = self.objects(name, mask)
            return pa.array([None if v is None else json.dumps(v, ensure_ascii=False) for v in values], TEXT)
        try:
            if name in self.decoded:
                return _decoded_column(self.decoded[name], field)
            return _column(self._pieces(name), self.count, field, mask)
        except (pa.ArrowException, RecordError, OverflowError, TypeError, ValueError) as error:
            raise RecordError(
                f"a value is no {field.type.kind} ({error})",
                f"{self.kind.name} records, field {name}",
                "name the columns that you want and leave this one out; get() shows a record as it is",
            ) from error

    def objects(self, name: str, mask: Mask) -> list[Any]:
        """The values of a field as Nomad's JSON has them: for the nested ones.

        Raises:
            RecordError: One is nested more than 200 deep.
        """
        field = self.field(name)
        try:
            return [to_json(v, field.type, mask, secret=field.secret) for v in self.unpacked(name)]
        except RecordError as error:
            raise error.at(f"{self.kind.name} records, field {name}") from error


class _Splitter:
    """Turns rows into columns, a batch at a time: see `Rows`.

    Records are decoded into a struct of the fields met so far, each of its type by the schema. From the first value of
    another type on all values stay packed, and what was decoded is packed again: what is wrong with one is said once
    its column is asked for.
    """

    def __init__(self, kind: RecordType, keep: Callable[[str], bool]) -> None:
        self.count = 0
        self.fields: dict[str, None] = {}
        self.decoded: dict[str, list[pa.Array]] = {}
        self.packed: dict[str, list[bytes]] = {}
        self._known = fields(kind.struct)
        self._name = kind.name
        self._keep = keep
        self._lessons = LESSONS
        self._prepare()

    def add(self, batch: Sequence[Buffer]) -> None:
        while self._lessons:
            rows: list[Any] = []
            try:
                for record in batch:
                    rows.append(self._decode(record))
                self._add_decoded(rows)
                return
            except _ODD:
                new = len(rows) < len(batch) and self._learn([split_map(batch[len(rows)])])
                self._lessons = self._lessons - 1 if new and self._prepare() else 0
        for name, arrays in self.decoded.items():
            self.packed[name] = [b"".join(map(msgspec.msgpack.encode, _values(arrays)))]
        self.decoded.clear()
        self._add_packed(split_maps(batch))

    def _add_decoded(self, rows: Sequence[Any]) -> None:
        arrays = {
            name: pa.array(list(map(self._values_of[name], rows)), _stored(self._known[name])) for name in self.decoded
        }
        for name, array in arrays.items():
            self.decoded[name].append(array)
        for name, pieces in self.packed.items():
            pieces.append(b"".join(map(self._values_of[name], rows)))
        self.count += len(rows)

    def _add_packed(self, rows: Sequence[Mapping[str, Buffer]]) -> None:
        self._learn(rows)
        for name, pieces in self.packed.items():
            pieces.append(b"".join([row.get(name, NIL) for row in rows]))
        self.count += len(rows)

    def _learn(self, rows: Sequence[Mapping[str, Buffer]]) -> bool:
        """Take up the fields that were not met before. Are there any?"""
        seen: dict[str, Any] = {}
        for row in rows:
            seen.update(row)  # for its keys, in order
            if len(seen) > MAX_FIELDS:
                raise LimitError(f"have more than {MAX_FIELDS:,} fields", f"{self._name} records")
        new = [name for name in seen if name not in self.fields]
        self.fields.update(dict.fromkeys(new))
        if len(self.fields) > MAX_FIELDS:
            raise LimitError(f"have more than {MAX_FIELDS:,} fields", f"{self._name} records")
        for name in filter(self._keep, new):
            field = self._known.get(name)
            stored = _stored(field) if field and self._lessons else None
            if stored is None:
                self.packed[name] = [NIL * self.count]
            else:
                self.decoded[name] = [pa.nulls(self.count, stored)]
        return bool(new)

    def _prepare(self) -> bool:
        """Make what decodes a record of the fields met so far, and no others. Can it be made?"""
        attributes = {name: f"f{number}" for number, name in enumerate(self.fields)}
        members = [
            (attributes[name], _python(self._known[name]), None)
            if name in self.decoded
            else (attributes[name], msgspec.Raw, NIL)
            for name in self.fields
        ]
        names = {attribute: name for name, attribute in attributes.items()}
        try:
            struct = msgspec.defstruct("Record", members, rename=names, forbid_unknown_fields=True, gc=False)
        except ValueError:  # quotes or control characters in a name
            return False
        self._decode = msgspec.msgpack.Decoder(struct).decode
        self._values_of = {name: attrgetter(attribute) for name, attribute in attributes.items()}
        return True


def _values(pieces: Iterable[pa.Array]) -> list[Any]:
    return list(chain.from_iterable(piece.to_pylist() for piece in pieces))


def _stored(field: Field) -> pa.DataType | None:
    """What values of a field are kept as when they are decoded; None if they stay packed."""
    kind = field.type.kind
    if field.secret:
        return None
    if field.time_unit or kind == "duration":
        return pa.int64()
    return SCALARS[kind] if kind in ("string", "bool") else INTEGERS.get(kind)


def _python(field: Field) -> Any:
    return {"string": str | None, "bool": bool | None}.get(field.type.kind, int | None)


def _column(packed: Sequence[bytes], count: int, field: Field, mask: Mask) -> pa.Array:
    kind = field.type.kind
    if kind == "string" and not (field.secret and mask is not None):
        return pa.array(unpack_texts(packed, count), SCALARS[kind])
    if kind == "time":
        return _go_times(packed, count)
    values = unpack_column(packed, count)
    if field.secret and mask is not None:
        shown = [mask(v) if v else v for v in map(_raw, values)]
        return pa.array([v.encode() if isinstance(v, str) and kind == "bytes" else v for v in shown], SCALARS[kind])
    if (kind in INTEGERS or kind == "duration") and not set(map(type, values)) <= {int, type(None)}:
        raise TypeError("not a whole number")  # Arrow would cut off what is after the point
    if field.time_unit:
        return _integer_times(values, field.time_unit)
    if kind == "bytes":
        return pa.array(map(_raw, values), SCALARS[kind], size=count)
    if kind == "float64" and bool in set(map(type, values)):
        raise TypeError("a bool")  # Arrow would take it for a number
    return pa.array(values, SCALARS[kind])


def _decoded_column(pieces: Sequence[pa.Array], field: Field) -> pa.Array | pa.ChunkedArray:
    if field.type.kind == "string":
        return pa.chunked_array(pieces)  # put together only by what needs them so
    values = pa.concat_arrays(pieces)
    return _integer_times(values, field.time_unit) if field.time_unit else values.cast(SCALARS[field.type.kind])


def _raw(value: Any) -> bytes | None:
    if not isinstance(value, bytes | None):
        raise TypeError(f"a {type(value).__name__} is not a byte string")  # it may be a secret: do not show it
    return value


def _integer_times(values: list[Any] | pa.Array, unit: str) -> pa.Array:
    """Unix seconds or nanoseconds; 0 is 'not set'."""
    factor = 1_000_000_000 if unit == "s" else 1
    try:
        moments = pc.multiply_checked(pa.array(values, pa.int64()), factor)
    except (pa.ArrowInvalid, OverflowError):  # one that 64 bits of nanoseconds can't hold
        numbers = values if isinstance(values, list) else values.to_pylist()
        moments = pa.array([None if v is None else _moment(v * factor) for v in numbers], pa.int64())
    return pc.if_else(pc.equal(moments, 0), None, moments).cast(TIMES)


def _moment(nanoseconds: int) -> int | None:
    """None for a time that 64 bits of nanoseconds (1677 to 2262) can't hold."""
    return nanoseconds if -(2**63) < nanoseconds < 2**63 else None


_GO_TIME = np.dtype([("raw", "u1"), ("version", "u1"), ("seconds", ">i8"), ("nanoseconds", ">i4"), ("zone", ">i2")])


def _go_times(packed: Sequence[bytes], count: int) -> pa.Array:
    joined = b"".join(packed)
    if len(joined) == _GO_TIME.itemsize * count:
        raw = np.frombuffer(joined, _GO_TIME)
        seconds = raw["seconds"].astype("i8") - UNIX_EPOCH
        plain = (raw["raw"] == 0xAF) & (raw["version"] == 1) & (raw["nanoseconds"] >= 0) & (raw["nanoseconds"] < 10**9)
        if plain.all():
            fits = np.abs(seconds) < 2**63 // 10**9
            moments = np.where(fits, seconds, 0) * 10**9 + raw["nanoseconds"]
            return pa.array(moments, TIMES, mask=~fits)
    times = [go_time(value) for value in unpack_column(packed, count)]
    return pa.array([None if t is None or t.is_zero else _moment(t.unix_nanoseconds) for t in times], TIMES)


def _guess_type(values: list[Any]) -> Type:
    """The type of a field that the schema lacks, from all its values: a newer Nomad, or an Enterprise type."""
    kinds = {type(v) for v in values if v is not None}
    if kinds == {bytes}:
        try:
            for value in values:
                (value or b"").decode()
        except UnicodeDecodeError:
            return Type("bytes")
        return Type("string")
    if kinds == {bool}:
        return Type("bool")
    numbers = [v for v in values if v is not None]
    if kinds == {int}:
        if max(numbers) < 2**63:
            return Type("int64")
        return Type("uint64") if min(numbers) >= 0 else ANY
    if kinds == {float} or (kinds == {int, float} and all(abs(v) <= 2**53 for v in numbers if isinstance(v, int))):
        return Type("float64")
    return ANY


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a DataFrame: strings in pandas' Arrow-backed str, nullable integers and booleans."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=_DTYPES.get)
    return frame


_DTYPES = {
    pa.large_string(): pd.StringDtype("pyarrow", na_value=np.nan),
    pa.large_binary(): pd.ArrowDtype(pa.large_binary()),
    pa.bool_(): pd.BooleanDtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}
