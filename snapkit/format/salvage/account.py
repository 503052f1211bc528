"""The account of a salvage: what is given, what is lost, and which tables that touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from snapkit.errors import RecordError
from snapkit.format.salvage.container import Found
from snapkit.format.salvage.scanner import Frames
from snapkit.format.schema import BY_BYTE, BY_TABLE, STREAM_ORDER, index_row, record_type
from snapkit.format.values import unpack

TABLES_SHOWN = 6

INDEX = BY_TABLE["indexes"].byte


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of state.bin that is not given.

    Attributes:
        offset: Where it begins, in state.bin as it was found.
        length: In bytes; to the end of the whole state, where that is known and the gap is the last or only one.
        records: How many records it probably held: its length by the average of those that were kept.
        tables: Those that have or may have lost records there, by the order that servers write them in.
    """

    offset: int
    length: int
    records: int
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Salvage:
    """The account of a salvage. Bytes are those of state.bin; they add up:

    `bytes_kept + bytes_lost == bytes_total`, and `bytes_kept + sum(gap.length) + unplaced == bytes_total`, where the
    total is known; else it stands for `bytes_read`, and what came after is not counted.

    Attributes:
        reason: What was wrong, as the ordinary reading says it.
        evidence: Why what is given is true: `sum`, `cut` or `place` (see this module); "" where nothing vouches.
        vouched: Is all that is given true? False only if suspect records were asked for and there are some.
        bytes_total: Of the whole state, by a sum, the tar header or meta.json; None if nothing tells.
        bytes_read: Of the state that could be had at all.
        bytes_kept: Of the header and the records given.
        unplaced: Bytes lost between gaps, nobody knows in which; below 0 if bytes were put in.
        records: How many are given.
        suspect: How many more could be read, with nothing that vouches for them; or, if they were asked for, how many
            of those given are.
        gaps: What is not given, in order.
    """

    reason: str
    evidence: str
    vouched: bool
    bytes_total: int | None
    bytes_read: int
    bytes_kept: int
    unplaced: int
    records: int
    suspect: int
    gaps: tuple[Gap, ...]

    @property
    def bytes_lost(self) -> int:
        return (self.bytes_read if self.bytes_total is None else self.bytes_total) - self.bytes_kept

    @property
    def records_lost(self) -> int:
        """Probably."""
        return sum(gap.records for gap in self.gaps)

    @property
    def tables(self) -> tuple[str, ...]:
        """Those that have or may have lost records."""
        return tuple(dict.fromkeys(table for gap in self.gaps for table in gap.tables))

    def __str__(self) -> str:
        of = f"of {self.bytes_total:,} bytes" if self.bytes_total is not None else "bytes of an unknown whole"
        parts = [f"{self.records:,} records, {self.bytes_kept:,} {of}"]
        if self.bytes_lost:
            parts.append(f"{self.bytes_lost:,} bytes lost, probably {self.records_lost:,} records")
            more = len(self.tables) - TABLES_SHOWN
            tables = ", ".join(self.tables[:TABLES_SHOWN]) + (f" and {more} more" if more > 0 else "")
            parts.append(f"tables touched: {tables or 'unknown'}")
        if not self.vouched:
            parts.append(f"NOTHING VOUCHES for {self.suspect:,} of the records")
        elif self.suspect:
            parts.append(f"{self.suspect:,} more can be read but may be altered")
        return f"{'; '.join(parts)} ({self.reason})"


def figures(found: Found, runs: list[Frames], counts: list[int], kept: list[tuple[int, int]]) -> dict[str, Any]:
    """The figures of an account, by attribute of `Salvage`.

    Args:
        found: What the container gave.
        runs: The records found.
        counts: How many of each run are given.
        kept: Where in the state what is given begins and ends.
    """
    read = len(found.state)
    sizes: Counter[int] = Counter()
    records: Counter[int] = Counter()
    order: list[tuple[int, int]] = []  # offset and type, where a kept run begins or ends
    for run, count in zip(runs, counts, strict=True):
        for i in range(count):
            records[run.types[i]] += 1
            sizes[run.types[i]] += run.after(i + 1) - run.starts[i]
        if count:
            order += [(run.begin, run.types[0]), (run.after(count), run.types[count - 1])]
    spans = []
    at = 0
    for start, end in [*kept, (read, read)]:
        if start > at:
            spans.append((at, start - at))
        at = max(at, end)
    bytes_kept = sum(end - start for start, end in kept)
    missing = 0 if found.total is None else found.total - read
    if missing > 0 and (not spans or spans[-1][0] + spans[-1][1] == read):
        offset, length = spans.pop() if spans and spans[-1][0] + spans[-1][1] == read else (read, 0)
        spans.append((offset, length + missing))
        missing = 0
    elif missing and len(spans) == 1 and spans[0][1] + missing > 0:
        spans = [(spans[0][0], spans[0][1] + missing)]
        missing = 0
    written = _written(found.state, runs[0], counts[0])
    gaps = []
    for offset, length in spans:
        before = [byte for place, byte in order if place <= offset]
        after = [byte for place, byte in order if place > offset]
        cut = runs[-1].cut_type if counts[-1] == len(runs[-1].types) and not after else -1
        first = cut if cut in BY_BYTE else before[-1] if before else None
        touched = _touched(first, after[0] if after else None, written)
        gaps.append(_gap(offset, length, touched, sizes, records))
    return {
        "bytes_total": found.total,
        "bytes_read": read,
        "bytes_kept": bytes_kept,
        "unplaced": missing,
        "gaps": tuple(gaps),
    }


def _gap(offset: int, length: int, touched: Sequence[int], sizes: Counter[int], records: Counter[int]) -> Gap:
    of = [byte for byte in touched if records[byte]] or list(records)
    count = sum(records[byte] for byte in of)
    average = sum(sizes[byte] for byte in of) / count if count else length
    probable = max(1, round(length / average)) if touched and length > 1 else 0
    return Gap(offset, length, probable, tuple(record_type(byte).table for byte in touched))


def _touched(first: int | None, last: int | None, written: frozenset[str] | None) -> list[int]:
    """The types that servers write from one to another, both included; as far as the Index table knows of them."""
    begin = STREAM_ORDER.index(first) if first in STREAM_ORDER else 0
    end = STREAM_ORDER.index(last) + 1 if last in STREAM_ORDER else len(STREAM_ORDER)
    between = STREAM_ORDER[begin:end]
    if written is None:
        return list(between)
    return [b for b in between if b in (first, last) or index_row(BY_BYTE[b].table) in {"", *written}]


def _written(state: memoryview, run: Frames, count: int) -> frozenset[str] | None:
    """Nomad's tables that were ever written to, by an Index table that was kept whole; None if none was."""
    last = run.types.rfind(INDEX, 0, count)
    if last in (-1, count - 1):
        return None
    names = set()
    for i in range(run.types.find(INDEX), last + 1):
        with suppress(RecordError, KeyError, TypeError, AttributeError):
            names.add(unpack(state[run.starts[i] + 1 : run.after(i + 1)])[b"Key"].decode())
    return frozenset(names)
