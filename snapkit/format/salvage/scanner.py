"""Records, found again where framing is lost."""

from __future__ import annotations

from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgpack

from snapkit.errors import LimitError, RecordError
from snapkit.format.archive import BLOCK, STATE, Limits
from snapkit.format.salvage.plausible import beginnings, field_type, fits, is_array, is_map, mostly_known, plausible
from snapkit.format.schema import ANY, TIME_TABLE, Type, record_type
from snapkit.format.values import MAX_DEPTH, unpack

LEAST = 1024  # bytes that a look at a place in vain counts for

_RAW_WIDTHS = {0xC4: 1, 0xD9: 1, 0xC5: 2, 0xDA: 2, 0xC6: 4, 0xDB: 4}  # of the length ahead of a raw string


@dataclass(slots=True)
class Frames:
    """Records one after another, up to where that ends."""

    begin: int
    types: bytearray = field(default_factory=bytearray)
    starts: array[int] = field(default_factory=lambda: array("Q"))
    end: int = 0  # of the last record
    why: str = ""  # it ends there: "end" of the state, "cut" inside a record, "amiss"
    cut_type: int = -1  # of the record that was cut

    def after(self, count: int) -> int:
        """Where the record after the first `count` begins."""
        return self.starts[count] if count < len(self.starts) else self.end


class Scanner:
    """Finds the records of a state that may be damaged anywhere, or end too early."""

    def __init__(self, state: memoryview, total: int | None, limits: Limits, plausibly: bool) -> None:
        self._state = state
        # Where the whole state ends, or may.
        self._most = len(state) + limits.record if total is None else max(total, len(state))
        self._limits = limits
        self._plausibly = plausibly
        self._budget = 8 * len(state) + (64 << 20)  # bytes to be looked at in vain: hostile input could ask for n²
        self._count = 0

    def runs(self) -> list[Frames]:
        """The records from the start, and again from wherever framing is certain."""
        at = 0
        with suppress(ValueError):
            if self._state and is_map(self._state[0]):
                at = self._value_end(0) or 0
        runs = [self._run(at) if at else Frames(0, why="amiss")]
        while runs[-1].why == "amiss" and (following := self._again(runs[-1].end + 1)) is not None:
            runs.append(self._run(following))
        return runs

    def _run(self, at: int) -> Frames:
        state, stop = self._state, len(self._state)
        run = Frames(at, end=at)
        while at < stop:
            try:
                end = self._value_end(at + 1)
            except ValueError:
                run.why = "amiss"
                return run
            if end is None:
                cut = stop < self._most and self._plausible_start(at)
                run.why, run.cut_type = ("cut", state[at]) if cut else ("amiss", -1)
                return run
            if self._plausibly and not plausible(state[at], state[at + 1 : end]):
                run.why = "amiss"
                return run
            run.types.append(state[at])
            run.starts.append(at)
            at = run.end = end
            self._count += 1
            if self._count > self._limits.records:
                raise LimitError(f"has more than {self._limits.records:,} records", STATE, "raise Limits.records")
        run.why = "end"
        return run

    def _value_end(self, at: int) -> int | None:
        """Where the value at `at` ends; None if the state ends first. ValueError: it can't be one, or is too long."""
        window = 4096
        most = self._limits.record
        while True:
            end = min(at + window, len(self._state))
            unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=max(window, 1 << 16))
            unpacker.feed(self._state[at:end])
            try:
                unpacker.skip()
            except msgpack.OutOfData:
                if window > most:
                    raise ValueError("too long") from None
                if end == len(self._state):
                    return None
                self._budget -= window
                window *= 8
                continue
            size: int = unpacker.tell()
            if size > most:
                raise ValueError("too long")
            return at + size

    def _again(self, at: int) -> int | None:
        """The next place where a record surely begins: it and the one after it are all that their types ask for."""
        pattern = beginnings()
        while self._budget > 0 and (match := pattern.search(self._state, at)):
            at = match.start()
            first = self._sure_end(at)
            if first is not None and (first == len(self._state) or self._sure_end(first) is not None):
                return at
            at += 1
        return None

    def _sure_end(self, at: int) -> int | None:
        try:
            end = self._value_end(at + 1) if at + 1 < len(self._state) else None
        except ValueError:
            end = None
        if end is not None and plausible(self._state[at], self._state[at + 1 : end], surely=True):
            return end
        self._budget -= max(LEAST, (end or at) - at)
        return None

    def _plausible_start(self, at: int) -> bool:
        """Can this be the beginning of a true record, which the state ends in?"""
        kind = Type("struct", struct=record_type(self._state[at]).struct)
        if self._state[at] == TIME_TABLE:
            kind = Type("list", kind)
        try:
            return self._begun(at + 1, kind, MAX_DEPTH)
        except (ValueError, RecordError):
            return False

    def _begun(self, at: int, kind: Type, depth: int) -> bool:
        """Can a value of this type begin here, which the state ends in? ValueError or RecordError: no."""
        if at >= len(self._state):
            return True
        head = self._state[at]
        width = _RAW_WIDTHS.get(head, 0)
        if width or 0xA0 <= head <= 0xBF:
            length = self._state[at + 1 : at + 1 + width]
            size = int.from_bytes(length, "big") if width else head & 31
            has_room = len(length) < width or at + 1 + width + size <= self._most
            return has_room and kind.kind in ("string", "bytes", "time", "any")
        mapping = is_map(head)
        if not mapping and not is_array(head):
            return not kind.nested and kind.kind != "string"  # a number
        if depth == 0 or kind.kind not in (("struct", "map", "any") if mapping else ("list", "bytes", "any")):
            return False
        width = {0xDC: 2, 0xDE: 2, 0xDD: 4, 0xDF: 4}.get(head, 0)
        length = self._state[at + 1 : at + 1 + width]
        count = int.from_bytes(length, "big") if width else head & 15
        at += 1 + width
        if len(length) < width:
            return True
        return at + count <= self._most and self._begun_items(at, kind, count, mapping, depth - 1)

    def _begun_items(self, at: int, kind: Type, count: int, mapping: bool, depth: int) -> bool:
        names: list[Any] = []
        for _ in range(count):
            self._budget -= BLOCK
            if self._budget < 0:
                return False
            element = kind.element or ANY
            if mapping:
                end = self._value_end(at)
                if end is None:
                    return mostly_known(names, kind) and self._begun(at, Type("string"), depth)
                names.append(unpack(self._state[at:end]))
                at = end
                element = field_type(kind, names[-1])
            end = self._value_end(at)
            if end is None:
                return mostly_known(names, kind) and self._begun(at, element, depth)
            if not fits(unpack(self._state[at:end]), element, depth):
                return False
            at = end
        return False  # it is whole
