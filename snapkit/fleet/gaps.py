"""Where archives are missing in a series, and not because a retention rule has removed them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from snapkit.fleet import frames
from snapkit.fleet.entries import Entry
from snapkit.fleet.retention import EPOCH, Keep, reasons

LATE = 1.5  # of the expected interval: what is longer is a gap
MOST = 10_000  # archives that may be missing in a gap for a rule to be asked about each


class Gap(NamedTuple):
    """A stretch of time without a usable archive. Times are milliseconds since 1970.

    Attributes:
        cluster: Of which cluster.
        start: When the archive before it was taken.
        end: When the one after it was, or now.
        expected: The interval that was expected.
        damaged: How many damaged ones there are in it.
        before: The source of the archive before it.
        after: That of the one after it; "" for now.
    """

    cluster: str
    start: int
    end: int
    expected: int
    damaged: int
    before: str
    after: str

    @property
    def missing(self) -> int:
        """About how many archives are missing."""
        return max(round((self.end - self.start) / self.expected) - 1, 1)


def gaps(
    entries: Iterable[Entry], expected: pd.Timedelta | None, now: pd.Timestamp | None, keep: Keep | None = None
) -> pd.DataFrame:
    """As `Catalog.gaps()`."""
    found = [
        gap for cluster, series in frames.series(entries) for gap in _of_series(cluster, series, expected, now, keep)
    ]
    return pd.DataFrame(
        {
            "ClusterID": frames.text(gap.cluster for gap in found),
            "From": frames.times(gap.start for gap in found),
            "To": frames.times(gap.end for gap in found),
            "Length": frames.durations(gap.end - gap.start for gap in found),
            "Expected": frames.durations(gap.expected for gap in found),
            "Missing": pd.array([gap.missing for gap in found], dtype="Int64"),
            "Damaged": pd.array([gap.damaged for gap in found], dtype="Int64"),
            "Before": frames.text(gap.before for gap in found),
            "After": frames.text(gap.after for gap in found),
        }
    )


def _of_series(
    cluster: str, series: Sequence[Entry], expected: pd.Timedelta | None, now: pd.Timestamp | None, keep: Keep | None
) -> list[Gap]:
    interval = int(expected / pd.Timedelta(1, "ms")) if expected is not None else frames.interval(series)
    if not interval:
        return []
    moments = [(entry.created or 0, entry.source) for entry in series if entry.verdict in frames.USABLE]
    if now is not None and moments:
        moments.append((int(now.timestamp() * 1000), ""))
    found = []
    for (start, before), (end, after) in pairwise(moments):
        if end - start > LATE * interval:
            damaged = sum(start < (e.created or 0) < end and e.verdict not in frames.USABLE for e in series)
            found.append(Gap(cluster, start, end, interval, damaged, before, after))
    return found if keep is None else _not_thinned_out(found, [moment for moment, source in moments if source], keep)


def _not_thinned_out(found: Sequence[Gap], moments: Sequence[int], keep: Keep) -> list[Gap]:
    """The gaps in which the rule would have kept an archive, had there been one."""
    asked = {gap: range(gap.start + gap.expected, gap.end - gap.expected // 2, gap.expected) for gap in found}
    asked = {gap: missing for gap, missing in asked.items() if len(missing) <= MOST}
    everything = sorted({*moments, *(moment for missing in asked.values() for moment in missing)}, reverse=True)
    try:
        times = [EPOCH + timedelta(milliseconds=moment) for moment in everything]
    except OverflowError:  # beyond the year 9999
        return list(found)
    kept = {moment for moment, why in zip(everything, reasons(times, keep), strict=True) if why}
    return [gap for gap in found if gap not in asked or any(moment in kept for moment in asked[gap])]
