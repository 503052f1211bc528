"""What Nomad's decoder refuses: a record as one of Go's structs, by a typed decoder from the schema.

Source: nomad_types.json for the fields; and what a 2.0.5 server did (tests/oracles/verdicts.json):
nil is taken for any field, unknown fields are passed over, and a value of another kind ends the server.
"""

from __future__ import annotations

import keyword
from functools import cache
from typing import Annotated, Any

import msgspec

from snapkit.format.schema import Type, fields

_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63, "int": 63}
_UNSIGNED = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64, "uint": 64}


def _integer(kind: str) -> Any:
    if kind in _UNSIGNED:
        bits = _UNSIGNED[kind]
        return Annotated[int, msgspec.Meta(ge=0, le=2**bits - 1)] if bits < 63 else Annotated[int, msgspec.Meta(ge=0)]
    bits = _BITS[kind]
    return Annotated[int, msgspec.Meta(ge=-(2**bits), le=2**bits - 1)]


def _annotation(kind: Type, above: tuple[str, ...]) -> Any:
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
            return list[_annotation(element, above)] | None  # type: ignore[misc] # made at run time
        case "map":
            element = kind.element
            if element is None or element.kind == "any":
                return dict[str, msgspec.Raw] | None
            return dict[str, _annotation(element, above)] | None  # type: ignore[misc]
        case "struct" if kind.struct not in above and fields(kind.struct):
            return _struct(kind.struct, above) | None
        case name if name in _UNSIGNED or name in _BITS:
            return _integer(name) | None
    return msgspec.Raw  # bytes, times, interfaces


def _struct(name: str, above: tuple[str, ...] = ()) -> Any:
    known = fields(name)
    definitions = [(attribute(n), _annotation(field.type, (*above, name)), None) for n, field in known.items()]
    names = {attribute(n): n for n in known}
    return msgspec.defstruct(name.replace(".", "_"), definitions, rename=names, gc=False)


def attribute(field: str) -> str:
    """A field's name as an attribute's: Nomad has some that are words of Python's."""
    return f"{field}_" if keyword.iskeyword(field) or not field.isidentifier() else field


@cache
def decoder(struct: str) -> msgspec.msgpack.Decoder[Any]:
    """What decodes a record as this struct."""
    return msgspec.msgpack.Decoder(_struct(struct))
