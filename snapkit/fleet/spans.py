"""Spans: which of a list of snapshots hold a record, from one to another that follow each other.

What does not change is one span, however many snapshots there are: members take what changes, not what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spans:
    """Each is of one record, in the snapshots of a list from one place to another; arrays of equal length (int64).

    Attributes:
        record: The ids.
        first: Places in the list.
        last: Places in the list, themselves included.
    """

    record: Numbers
    first: Numbers
    last: Numbers

    def __len__(self) -> int:
        return len(self.record)

    def moved(self, places: Sequence[int]) -> Spans:
        """The same of another list, in any order: a span falls apart where places are not next to each other there.

        Args:
            places: Where each snapshot of this list is in the other one; -1 for those that are not there.
        """
        all_places = np.array(places, dtype="int64")
        if len(all_places) and all_places[0] >= 0 and (np.diff(all_places) == 1).all():  # as they were, but for where
            return Spans(self.record, self.first + all_places[0], self.last + all_places[0])
        there = np.flatnonzero(all_places >= 0)
        new = all_places[there]
        begin, end = np.searchsorted(there, self.first), np.searchsorted(there, self.last, "right") - 1
        some = np.flatnonzero(begin <= end)
        begin, end = begin[some], end[some]
        breaks = np.flatnonzero(np.diff(new) != 1) + 1  # where runs of neighbours begin, but for the first
        piece, last_piece = (np.searchsorted(breaks, at, "right") for at in (begin, end))
        counts = last_piece - piece + 1
        row = np.repeat(np.arange(len(some)), counts)
        number = piece[row] + np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        starts, ends = np.array([0, *breaks]), np.array([*(breaks - 1), len(new) - 1])
        first, last = np.maximum(begin[row], starts[number]), np.minimum(end[row], ends[number])
        return Spans(self.record[some][row], new[first], new[last])

    def pairs(self) -> tuple[Numbers, Numbers]:
        """Each record of each snapshot: ids, and places; by place and id."""
        counts = self.last - self.first + 1
        record = np.repeat(self.record, counts)
        place = np.repeat(self.first - (np.cumsum(counts) - counts), counts) + np.arange(len(record))
        order = np.lexsort((record, place))
        return record[order], place[order]


def united(spans: Iterable[Spans]) -> Spans:
    """All of one list, by record and place; those that touch are one."""
    found = list(spans)
    if len(found) == 1:
        record, first, last = found[0].record, found[0].first, found[0].last
    else:
        empty = np.zeros(0, dtype="int64")
        record, first, last = (
            np.concatenate([empty, *(getattr(some, name) for some in found)]) for name in ("record", "first", "last")
        )
    steps = np.diff(record)
    if not ((steps > 0) | ((steps == 0) & (np.diff(first) > 0))).all():
        order = np.lexsort((first, record))
        record, first, last = record[order], first[order], last[order]
        del order
    begins = np.ones(len(record), dtype=bool)
    begins[1:] = (record[1:] != record[:-1]) | (first[1:] > last[:-1] + 1)
    if begins.all():
        return Spans(record, first, last)
    at = np.flatnonzero(begins)
    ends = np.array([*at[1:], len(record)], dtype="int64") - 1
    return Spans(record[at], first[at], last[ends[: len(at)]])
