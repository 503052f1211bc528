"""Which release wrote a snapshot: nothing in it says so, but its record types and fields come and go with releases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snapkit.format.schema import BY_BYTE, OMIT_EMPTY, TIME_TABLE, TIME_TABLE_UNTIL, Type, fields, releases
from snapkit.format.values import text


def version_range(types: Iterable[int], samples: Iterable[tuple[Any, Type]]) -> str:
    """The releases of Nomad that can have written a snapshot, as a version specifier.

    Args:
        types: The type bytes in it.
        samples: Some unpacked records with their types. A server writes all fields of a struct that it knows.

    Returns:
        Such as `>1.8.4,<1.10.5`; "" if nothing tells.
    """
    present = set(types)
    bounds = _Bounds()
    for byte in present & BY_BYTE.keys():
        bounds.at_least(BY_BYTE[byte].since, inclusive=True)
    if TIME_TABLE in present:
        bounds.below(TIME_TABLE_UNTIL)
    elif present:
        bounds.at_least(TIME_TABLE_UNTIL, inclusive=True)
    for value, kind in samples:
        _compare(value, kind, bounds)
    return str(bounds)


def parse(version: str) -> tuple[int, ...]:
    """`1.10.5` as (1, 10, 5), to be compared."""
    return tuple(int(part) for part in version.split("."))


class _Bounds:
    def __init__(self) -> None:
        self._low: tuple[tuple[int, ...], bool, str] = ((0,), True, "")
        self._high: tuple[tuple[int, ...], str] | None = None

    def at_least(self, version: str, *, inclusive: bool) -> None:
        # At the same version, "after it" says more than "from it on".
        self._low = max(self._low, (parse(version), not inclusive, version))

    def below(self, version: str) -> None:
        bound = (parse(version), version)
        self._high = min(self._high, bound) if self._high else bound

    def __str__(self) -> str:
        _, after, low = self._low
        parts = [f"{'>' if after else '>='}{low}"] if low else []
        return ",".join(parts + ([f"<{self._high[1]}"] if self._high else []))


def _compare(value: Any, kind: Type, bounds: _Bounds) -> None:
    if isinstance(value, list) and kind.element:
        for item in value:
            _compare(item, kind.element, bounds)
    elif isinstance(value, dict) and kind.kind == "map" and kind.element:
        for item in value.values():
            _compare(item, kind.element, bounds)
    elif isinstance(value, dict) and kind.kind == "struct":
        present = {text(k): v for k, v in value.items() if isinstance(k, bytes)}
        known = releases()
        for name, field in fields(kind.struct).items():
            if name in present:
                if field.since:
                    bounds.at_least(known[known.index(field.since) - 1], inclusive=False)
                if field.last:
                    bounds.below(known[known.index(field.last) + 1])
                _compare(present[name], field.type, bounds)
            elif kind.struct not in OMIT_EMPTY:
                if field.last and not field.since:
                    bounds.at_least(field.last, inclusive=False)
                if field.since and not field.last:
                    bounds.below(field.since)
