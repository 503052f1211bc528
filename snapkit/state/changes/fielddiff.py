"""Two records of one kind, field by field: what differs, and where.

Records are taken apart no further than they differ: what has equal bytes is equal. Nomad writes maps in any order, so
records of other bytes may be equal too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple, TypeAlias

from snapkit.errors import RecordError
from snapkit.format.schema import ANY, LIST_NAMES, Type, fields
from snapkit.format.values import MAX_DEPTH, Buffer, Mask, pack, split_list, split_map, text, to_json, unpack

NIL = b"\xc0"
MAX_PAIRS = 1_000_000  # of list items, that are aligned one by one
_WORD = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)

Change: TypeAlias = Literal["added", "removed", "changed", "moved"]


class FieldChange(NamedTuple):
    """A value that two records have otherwise, or that one of them lacks.

    Attributes:
        path: Where, by Nomad's field names: `TaskGroups["cache"].Count`, `Attributes["cpu.arch"]`, `Args[0]`. Items of
            lists go by their name where they have one, else by position: in the later record, but of one that was
            removed in the earlier.
        change: `added` and `removed` of entries of maps and lists; `moved`: the items of a named list are the same but
            for their order, before and after being their names; else `changed`.
        before: The earlier value, packed; None if it was added.
        after: The later one; None if it was removed.
        kind: Its type by the schema.
        secret: Is it masked by default?
        time_unit: "ns" or "s" if it is an integer that is a time, else "".
    """

    path: str
    change: Change
    before: bytes | None
    after: bytes | None
    kind: Type
    secret: bool
    time_unit: str = ""

    def values(self, mask: Mask) -> tuple[Any, Any]:
        """The earlier and the later value as Nomad's JSON has them; None for one that is not there."""
        earlier, later = (
            None if packed is None else to_json(unpack(packed), self.kind, mask, secret=self.secret)
            for packed in (self.before, self.after)
        )
        return earlier, later


def differences(before: Buffer, after: Buffer, kind: Type) -> Iterator[FieldChange]:
    """What differs between two packed records, in Nomad's order of fields.

    A struct's field that a record lacks is nil, as it is to a server.

    Raises:
        RecordError: One of them can't be read, or is nested more than 200 deep.
    """
    return _compare(bytes(before), bytes(after), kind, "", False, MAX_DEPTH)


def _compare(
    before: bytes, after: bytes, kind: Type, path: str, secret: bool, depth: int, time_unit: str = ""
) -> Iterator[FieldChange]:
    if before == after:
        return
    if depth == 0:
        raise RecordError(f"is nested more than {MAX_DEPTH} deep")
    shapes = _shape(before), _shape(after)
    if len(before) == len(after) and "other" not in shapes and _same(unpack(before), unpack(after), depth):
        return  # as is most of what has other bytes, which is told faster at once than map by map
    if shapes == ("map", "map"):
        yield from _compare_maps(before, after, kind, path, secret, depth - 1)
    elif shapes == ("list", "list"):
        yield from _compare_lists(before, after, kind, path, secret, depth - 1)
    elif "other" not in shapes or not _equal(unpack(before), unpack(after)):
        yield FieldChange(path, "changed", before, after, kind, secret, time_unit)


def _shape(packed: bytes) -> str:
    first = packed[0]
    if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
        return "map"
    return "list" if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD) else "other"


def _equal(before: Any, after: Any) -> bool:
    """Is it one value, written in two ways (a short integer in eight bytes)? 1 is not True, and NaN is NaN."""
    return type(before) is type(after) and (before == after or (before != before and after != after))


def _same(before: Any, after: Any, depth: int) -> bool:
    """Are they certainly the same value, maps in any order?"""
    if type(before) is not type(after) or depth == 0:
        return False
    if type(before) is dict:
        if len(before) != len(after):
            return False
        for key, was in before.items():
            if type(key) is not bytes or key not in after:
                return False
            now = after[key]
            if type(was) is dict or type(was) is list:
                if not _same(was, now, depth - 1):
                    return False
            elif was != now or type(was) is not type(now):
                return False
        return True
    if type(before) is list:
        if len(before) != len(after):
            return False
        for i, was in enumerate(before):  # noqa: SIM110 - a generator takes longer
            if not _same(was, after[i], depth - 1):
                return False
        return True
    return bool(before == after)


def _compare_maps(
    before: bytes, after: bytes, kind: Type, path: str, secret: bool, depth: int
) -> Iterator[FieldChange]:
    known = fields(kind.struct)
    old, new = split_map(before), split_map(after)
    for name in dict.fromkeys([*old, *new]):
        packed = old.get(name), new.get(name)
        if packed[0] == packed[1]:
            continue
        field = known.get(name)
        place = f"{path}{_step(name)}" if path else _step(name).removeprefix(".")
        if field is not None:
            was, now = (NIL if value is None else bytes(value) for value in packed)
            yield from _compare(was, now, field.type, place, secret or field.secret, depth, field.time_unit)
        elif packed[0] is None or packed[1] is None:
            yield _one_sided(place, packed[0], packed[1], kind.element or ANY, secret)
        else:
            yield from _compare(bytes(packed[0]), bytes(packed[1]), kind.element or ANY, place, secret, depth)


def _step(name: str) -> str:
    return f".{name}" if _WORD.fullmatch(name) else f"[{json.dumps(name, ensure_ascii=False)}]"


def _one_sided(path: str, before: Buffer | None, after: Buffer | None, kind: Type, secret: bool) -> FieldChange:
    was, now = (None if value is None else bytes(value) for value in (before, after))
    return FieldChange(path, "added" if was is None else "removed", was, now, kind, secret)


def _compare_lists(
    before: bytes, after: bytes, kind: Type, path: str, secret: bool, depth: int
) -> Iterator[FieldChange]:
    element = kind.element or ANY
    old, new = ([bytes(item) for item in split_list(packed)] for packed in (before, after))
    names = _names(old, element), _names(new, element)
    if names[0] is not None and names[1] is not None:
        yield from _compare_named(
            dict(zip(names[0], old, strict=True)), dict(zip(names[1], new, strict=True)), element, path, secret, depth
        )
    else:
        yield from _compare_positions(old, new, element, path, secret, depth)


def _names(items: Sequence[bytes], kind: Type) -> list[str] | None:
    """The name of each item; None if not all have one of their own."""
    field = LIST_NAMES.get(kind.struct)
    if field is None or any(_shape(item) != "map" for item in items):
        return None
    found = [unpack(split_map(item).get(field, NIL)) for item in items]
    names = [text(name) for name in found if isinstance(name, bytes) and name]
    return names if len(names) == len(set(names)) == len(items) else None


def _compare_named(
    old: Mapping[str, bytes], new: Mapping[str, bytes], kind: Type, path: str, secret: bool, depth: int
) -> Iterator[FieldChange]:
    for name in dict.fromkeys([*old, *new]):
        was, now = old.get(name), new.get(name)
        place = f"{path}[{json.dumps(name, ensure_ascii=False)}]"
        if was is None or now is None:
            yield _one_sided(place, was, now, kind, secret)
        else:
            yield from _compare(was, now, kind, place, secret, depth)
    if not _follows(old, new) or not _follows(new, old):
        was, now = (pack(list(names)) for names in (old, new))
        yield FieldChange(path, "moved", was, now, Type("list", Type("string")), secret)


def _follows(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> bool:
    """Is the new order the old one, without what was removed and with what was added at its end?"""
    return [name for name in old if name in new] + [name for name in new if name not in old] == list(new)


def _compare_positions(
    old: Sequence[bytes], new: Sequence[bytes], kind: Type, path: str, secret: bool, depth: int
) -> Iterator[FieldChange]:
    kept = _aligned([_canonical(item) for item in old], [_canonical(item) for item in new])
    if len(old) == len(new) and all(i == j for i, j in kept):
        for i, (was, now) in enumerate(zip(old, new, strict=True)):
            yield from _compare(was, now, kind, f"{path}[{i}]", secret, depth)
        return
    left, right = {i for i, _ in kept}, {j for _, j in kept}
    for i, was in enumerate(old):
        if i not in left:
            yield FieldChange(f"{path}[{i}]", "removed", was, None, kind, secret)
    for j, now in enumerate(new):
        if j not in right:
            yield FieldChange(f"{path}[{j}]", "added", None, now, kind, secret)


def _canonical(packed: bytes) -> bytes:
    """Equal for equal values: maps in one order."""
    return pack(_ordered(unpack(packed), MAX_DEPTH))


def _ordered(value: Any, depth: int) -> Any:
    if depth == 0:
        raise RecordError(f"is nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        return dict(sorted(((k, _ordered(v, depth - 1)) for k, v in value.items()), key=lambda item: repr(item[0])))
    return [_ordered(item, depth - 1) for item in value] if isinstance(value, list) else value


def _aligned(old: list[bytes], new: list[bytes]) -> list[tuple[int, int]]:
    """The positions of items that stayed, in both lists; the same ones whichever list is the earlier."""
    if len(old) * len(new) > MAX_PAIRS:
        return _ends(old, new)
    first, second = (old, new) if old <= new else (new, old)
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    pairs = [(i + k, j + k) for i, j, size in blocks for k in range(size)]
    return pairs if first is old else [(j, i) for i, j in pairs]


def _ends(old: list[bytes], new: list[bytes]) -> list[tuple[int, int]]:
    """Those at the beginning and the end that stayed: of lists too long for more."""
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    tail = next((i for i in range(shorter - head) if old[-1 - i] != new[-1 - i]), shorter - head)
    start = [(i, i) for i in range(head)]
    return start + [(len(old) - i, len(new) - i) for i in range(tail, 0, -1)]
