"""A timeline as a picture that stands by itself in a page: SVG without a library, a script or a font of its own.

It stays small whatever it shows: times are put into steps of a few pixels, kinds that are too many into one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from snapkit.page import AMBER, BLUE, escaped
from snapkit.state.changes.clock import NAT, nanoseconds

if TYPE_CHECKING:
    from snapkit.state.changes.clock import Flags, Integers

LINES = 50  # of kinds
LEFT, WIDTH, RIGHT, LINE = 170, 640, 120, 16  # of the names, of the time, of what lies beyond it, of a kind; in pixels
BEYOND = 48  # pixels from the end of time to what is later
STEP = 2  # pixels that count as one moment
SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
DAYS = (1, 2, 7, 14, 30, 60, 91, 182, 365, 730, 1826, 3652, 36524, 365242)
SECOND, DAY = 10**9, 86_400 * 10**9  # in nanoseconds


def timeline_svg(events: pd.DataFrame, end: pd.Timestamp | None = None, *, id: str = "timeline") -> str:
    """A line for each kind of event: dots where the time is known, the larger the more; bars where only a window is.

    Args:
        events: As `timeline()` gives them: Kind, Time, TimeEarliest, TimeLatest.
        end: Where time ends; what is later (an expiry) stands beside it. By default with the last event.
        id: Of the picture in its page.

    Returns:
        An <svg> in ASCII with a title and a description; "" where nothing has a time.
    """
    time, first, last = (nanoseconds(events[name]) for name in ("Time", "TimeEarliest", "TimeLatest"))
    dated = (first != NAT) & (last != NAT)
    if not dated.any():
        return ""
    begin, end_ = _span(first[dated], last[dated], end)
    lines = []
    for place, (name, kinds) in enumerate(_kinds(events["Kind"], dated)):
        mine = dated & kinds
        known = mine & (time != NAT)
        windows = mine & ~known
        line = _Line(place * LINE + LINE // 2, begin, end_)
        lines.append(
            f"<g><title>{escaped(f'{name}: {int(mine.sum()):,} events')}</title>"
            f'<text x="{LEFT - 8}" y="{line.y + 4}" text-anchor="end">{escaped(name)}</text>'
            f"{line.bars(first[windows], last[windows])}{line.dots(time[known])}"
            f'<text x="{LEFT + WIDTH + RIGHT}" y="{line.y + 4}" text-anchor="end">{int(mine.sum()):,}</text></g>'
        )
    height = len(lines) * LINE
    title = f"{int(dated.sum()):,} events by kind, from {_moment(begin)} to {_moment(end_)} UTC"
    how = (
        "A line for each kind; dots are events whose time is known, bars windows in which one was. What is earlier "
        "stands at the left end, what is later beyond the right one. Counts are on the right."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{id}-title {id}-how" '
        f'viewBox="0 0 {LEFT + WIDTH + RIGHT} {height + 2 * LINE}" width="{LEFT + WIDTH + RIGHT}" '
        f'font-size="11" fill="currentColor"><title id="{id}-title">{escaped(title)}</title>'
        f'<desc id="{id}-how">{how}</desc>'
        f"{''.join(_axis(begin, end_, height))}{''.join(lines)}</svg>"
    )


def _kinds(column: pd.Series[Any], dated: Flags) -> Iterator[tuple[str, Flags]]:
    """Each kind that has a time, and which events are of it; the fewest of too many as one."""
    codes, every = pd.factorize(column)
    counts = np.bincount(codes[dated], minlength=len(every))
    order = [int(code) for code in pd.unique(codes[dated])]
    most = sorted(order, key=lambda code: -counts[code])[: LINES if len(order) <= LINES else LINES - 1]
    for code in order:
        if code in most:
            yield str(every[code]), codes == code
    if left := len(order) - len(most):
        yield f"{left} other kinds", ~np.isin(codes, most)


class _Line:
    """Where the marks of one kind go."""

    def __init__(self, y: int, begin: int, end: int) -> None:
        self.y = y
        self._begin = begin
        self._end = end

    def _places(self, times: Integers) -> Integers:
        """Pixels; what is earlier than the axis goes to its left end, what is later beyond its right one."""
        part = (times.astype(np.float64) - self._begin) / max(self._end - self._begin, 1)
        places = LEFT + np.floor(np.clip(part, 0, 1) * WIDTH / STEP).astype(np.int64) * STEP
        return np.where(times > self._end, LEFT + WIDTH + BEYOND, np.where(times < self._begin, LEFT - 2, places))

    def dots(self, times: Integers) -> str:
        places, counts = np.unique(self._places(times), return_counts=True)
        sizes = np.select([counts >= 100, counts >= 10, counts >= 2], [10, 8, 6], 4)
        paths = []
        for size in np.unique(sizes):
            marks = "".join(f"M{x} {self.y}h0" for x in places[sizes == size])
            paths.append(
                f'<path d="{marks}" stroke="{BLUE}" stroke-width="{size}" stroke-linecap="round" fill="none"/>'
            )
        return "".join(paths)

    def bars(self, first: Integers, last: Integers) -> str:
        marks = "".join(
            f"M{begin} {self.y}H{max(end, begin + STEP)}"
            for begin, end in _joined(zip(self._places(first).tolist(), self._places(last).tolist(), strict=True))
        )
        return f'<path d="{marks}" stroke="{AMBER}" stroke-width="3" fill="none"/>' if marks else ""


def _joined(windows: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Windows that overlap as one."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(windows):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((begin, end))
    return joined


def _span(first: Integers, last: Integers, end: pd.Timestamp | None) -> tuple[int, int]:
    """What the axis is of; where one event in twenty lies far ahead of the others, without those."""
    until = int(last.max()) if end is None else int(end.as_unit("ns").value)
    begin = min(int(first.min()), until)
    most = min(int(np.quantile(first, 0.05, method="lower")), until)
    if 0 < until - most < (until - begin) / 10:
        return max(begin, most - (until - most) // 10), until
    return begin, until


def _axis(begin: int, end: int, height: int) -> Iterable[str]:
    yield f'<path d="M{LEFT} {height}H{LEFT + WIDTH}" stroke="#808080" fill="none"/>'
    step = _step(end - begin)
    form = "%Y-%m-%d" if step >= DAY else "%H:%M:%S" if step < 60 * SECOND else "%m-%d %H:%M"
    for moment in range(-(-begin // step) * step, end + 1, step):
        x = LEFT + round((moment - begin) / max(end - begin, 1) * WIDTH)
        shown = pd.Timestamp(moment, unit="ns").strftime(form)
        yield f'<path d="M{x} 0V{height + 4}" stroke="#80808060" fill="none"/>'
        yield f'<text x="{x}" y="{height + LINE}" text-anchor="middle">{shown}</text>'
    yield f'<text x="{LEFT - 8}" y="{height + LINE}" text-anchor="end">{_moment(begin)[:10]}</text>'
    yield f'<text x="{LEFT + WIDTH + BEYOND}" y="{height + LINE}" text-anchor="middle">later</text>'


def _step(span: int) -> int:
    """Between ticks: a round one that makes at most six."""
    steps: Sequence[int] = [*(n * SECOND for n in SECONDS), *(n * DAY for n in DAYS)]
    return next((step for step in steps if span / step <= 6), steps[-1])


def _moment(nanoseconds_: int) -> str:
    return pd.Timestamp(nanoseconds_, unit="ns").strftime("%Y-%m-%d %H:%M:%S")
