"""Which fields the records of an archive have, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import Any

from snapkit.errors import RecordError
from snapkit.format.schema import ANY, Type, fields
from snapkit.format.values import MAX_DEPTH

_MOST = 1000  # names of fields that are not known: more of them nobody reads


class Seen:
    """What was seen of the structs in unpacked values.

    Attributes:
        unknown: Fields that the schema lacks: struct and name.
    """

    def __init__(self) -> None:
        self.unknown: set[tuple[str, str]] = set()
        self._ahead: dict[str, dict[str, set[str]]] = {}  # of a struct's field, those that stood just ahead of it
        self._fields = 0

    def look(self, value: Any, kind: Type, depth: int = MAX_DEPTH) -> bool:
        """Look at all that is in a value. Was there a field that was not seen before?

        Raises:
            RecordError: Nested more than 200 deep.
        """
        before = self._fields
        self._look(value, kind, depth)
        return self._fields > before

    def _look(self, value: Any, kind: Type, depth: int) -> None:
        if depth == 0:
            raise RecordError(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(value, list):
            for item in value:
                self._look(item, kind.element or (kind if kind.kind == "struct" else ANY), depth - 1)
        elif isinstance(value, dict):
            known = fields(kind.struct) if kind.kind == "struct" else {}
            names = [shown(name) for name in value]
            if known:
                self._note(kind.struct, names)
            for name, item in zip(names, value.values(), strict=True):
                field = known.get(name)
                if known and field is None:
                    self.note_unknown(kind.struct, name)
                elif isinstance(item, dict | list):
                    self._look(item, field.type if field is not None else kind.element or ANY, depth - 1)

    def note_unknown(self, struct: str, name: str) -> None:
        """The schema lacks a field."""
        if len(self.unknown) < _MOST:
            self.unknown.add((struct, name))

    def _note(self, struct: str, names: Iterable[str]) -> None:
        ahead, last = self._ahead.setdefault(struct, {}), ""
        for name in names:
            if name not in ahead:
                if len(ahead) >= _MOST:
                    continue
                ahead[name] = set()
                self._fields += 1
            if last:
                ahead[name].add(last)
            last = name

    def order(self, struct: str) -> list[str]:
        """The fields of a struct in their order; none if it was not seen, or there is no such order."""
        try:
            return list(TopologicalSorter(self._ahead.get(struct, {})).static_order())
        except CycleError:
            return []


def shown(name: Any) -> str:
    """A name of a field, whatever it is, as text."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
