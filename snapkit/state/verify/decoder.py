"""What Nomad's decoder refuses: a record as one of Go's structs, by a typed decoder from the schema.

Source: nomad_types.json for the fields; and what a 2.0.5 server did (tests/oracles/verdicts.json):
nil is taken for any field, unknown fields are passed over, and a value of another kind ends the server.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import msgspec

from snapkit.errors import RecordError
from snapkit.format.schema import Field, Type, fields
from snapkit.format.values import Buffer, text, unpack

_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63, "int": 63}
_UNSIGNED = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64, "uint": 64}

#: The fields of a struct as a record has them, in its order.
_Orders = dict[str, dict[str, None]]

_decoders: dict[str, msgspec.msgpack.Decoder[Any]] = {}


def decoder(struct: str, first: Buffer) -> msgspec.msgpack.Decoder[Any]:
    """What decodes a record as this struct.

    Args:
        struct: Its name.
        first: A record. Servers write fields as Go declares them, which the schema does not tell, and a decoder that
            expects them in that order is a quarter faster.
    """
    if struct not in _decoders:
        orders: _Orders = {}
        with suppress(RecordError):  # the decoder tells of it
            _learn(unpack(first), Type("struct", struct=struct), (), orders)
        _decoders[struct] = msgspec.msgpack.Decoder(_struct(struct, (), orders))
    return _decoders[struct]


def attribute(field: str) -> str:
    """A field's name as an attribute's: Nomad has some that are words of Python's."""
    return f"{field}_" if keyword.iskeyword(field) or not field.isidentifier() else field


def _learn(value: Any, kind: Type, above: tuple[str, ...], orders: _Orders) -> None:
    if isinstance(value, list) and kind.element is not None:
        for item in value:
            _learn(item, kind.element, above, orders)
    elif isinstance(value, dict) and kind.element is not None:
        for item in value.values():
            _learn(item, kind.element, above, orders)
    elif isinstance(value, dict) and kind.struct not in above:
        known = fields(kind.struct)
        for raw_name, item in value.items():
            name = text(raw_name) if isinstance(raw_name, bytes) else ""
            if name in known:
                orders.setdefault(kind.struct, {})[name] = None
                _learn(item, known[name].type, (*above, kind.struct), orders)


def _struct(name: str, above: tuple[str, ...], orders: _Orders) -> Any:
    known: Mapping[str, Field] = fields(name)
    ordered = dict.fromkeys([*orders.get(name, ()), *known])
    inside = (*above, name)
    definitions = [(attribute(n), _annotation(known[n].type, inside, orders), None) for n in ordered]
    names = {attribute(n): n for n in known}
    return msgspec.defstruct(name.replace(".", "_"), definitions, rename=names, gc=False)


def _annotation(kind: Type, above: tuple[str, ...], orders: _Orders) -> Any:
    match kind.kind:
        case "string":
            return str | None
        case "bool":
            return bool | None
        case "float64":
            return float | None
        case "duration":
            return _integer("int64") | None
        case "list":
            element = kind.element
            # Go's slices of bytes and of small integers come in several forms.
            if element is None or element.kind in ("uint8", "any"):
                return msgspec.Raw
            return list[_annotation(element, above, orders)] | None  # type: ignore[misc] # made at run time
        case "map":
            element = kind.element
            if element is None or element.kind == "any":
                return dict[str, msgspec.Raw] | None
            return dict[str, _annotation(element, above, orders)] | None  # type: ignore[misc]
        case "struct" if kind.struct not in above and fields(kind.struct):
            return _struct(kind.struct, above, orders) | None
        case name if name in _UNSIGNED or name in _BITS:
            return _integer(name) | None
    return msgspec.Raw  # bytes, times, interfaces


def _integer(kind: str) -> Any:
    if kind in _UNSIGNED:
        bits = _UNSIGNED[kind]
        return Annotated[int, msgspec.Meta(ge=0, le=2**bits - 1)] if bits < 63 else Annotated[int, msgspec.Meta(ge=0)]
    bits = _BITS[kind]
    return Annotated[int, msgspec.Meta(ge=-(2**bits), le=2**bits - 1)]
