"""A timeline to click through: a picture that zooms, and under it the table of what is in view.

The picture is drawn by a script of ours (`events.js`): it is told what to draw of the part in view, never all events,
so it stays quick however many there are. A chart library would be megabytes, and has no zoom by keyboard.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from snapkit.jupyter.browser import Browser, ipywidgets, stack
from snapkit.jupyter.front import front
from snapkit.jupyter.grid import Grid
from snapkit.page import label, plain, table
from snapkit.state.changes.clock import NAT, nanoseconds

COLUMNS = ("Time", "TimeEarliest", "TimeLatest", "Kind", "Table", "Key", "Namespace", "Job", "Node", "Message", "Index")
STEPS = 300  # parts of the view that are told apart
MOST = 3_000  # marks in one message
TOLD = 500  # marks up to which each single one tells its event
NARROWEST = 1_000  # microseconds across the view
LONGEST = 2_000  # characters of what is told of one event
BARS = " \N{LOWER ONE EIGHTH BLOCK}\N{LOWER ONE QUARTER BLOCK}\N{LOWER THREE EIGHTHS BLOCK}\N{LOWER HALF BLOCK}"
BARS += "\N{LOWER FIVE EIGHTHS BLOCK}\N{LOWER THREE QUARTERS BLOCK}\N{LOWER SEVEN EIGHTHS BLOCK}\N{FULL BLOCK}"

#: Unix microseconds. In nanoseconds, the time from one end of what 64 bits hold to the other has no room in 64 bits.
Moments = npt.NDArray[np.int64]
Choice = npt.NDArray[np.bool_]


def is_timeline(frame: pd.DataFrame) -> bool:
    """Is it what `timeline()` gives, or rows of it?"""
    return set(COLUMNS) <= set(frame.columns)


class TimelineBrowser(Browser):
    """What can be dated, to click through.

    In the picture: drag over a part to zoom in, or use the buttons; by keyboard the arrows (up and down zoom), Home for
    all of it; Ctrl and the wheel. What is in view is in the table; choosing a row marks it in the picture.

    Attributes:
        kind: Which kind of thing to show, "" for all.
        grid: The events in view.
        picture: The widget that draws.
    """

    def __init__(self, events: pd.DataFrame) -> None:
        """Show events.

        Args:
            events: As `timeline()` gives them, or rows of it.

        Raises:
            SnapshotError: ipywidgets or anywidget is not installed.
        """
        widgets = ipywidgets()
        self._events = events.reset_index(drop=True)
        self._take(self._events)
        words = [kind.partition(".")[0] for kind in self._events["Kind"]]
        self._lanes = list(dict.fromkeys(words))
        self._lane = pd.Categorical(words, categories=self._lanes).codes.astype(np.int64)
        counts = np.bincount(self._lane, minlength=len(self._lanes))
        self.kind = widgets.Dropdown(
            description="Kind",
            options=[(f"all ({len(events):,})", "")]
            + [(f"{name} ({count:,})", name) for name, count in zip(self._lanes, counts, strict=True)],
            style={"description_width": "initial"},
            layout=widgets.Layout(width="max-content"),
        )
        self._selected: int | None = None
        self._left: npt.NDArray[np.int64] = np.arange(0)
        self.picture = front("events")
        self.picture.on_msg(self._hear)
        self.grid = Grid(_columns(self._events), height=240, on_select=self._chose_row, label="Events in view")
        self._view = self._whole = (0, 1)
        self.kind.observe(lambda _: self._narrow(), "value")
        self._narrow()
        self.widget = stack([self.kind, self.picture, self.grid.widget])

    def _take(self, events: pd.DataFrame) -> None:
        time, first, last = (nanoseconds(events[name]) for name in ("Time", "TimeEarliest", "TimeLatest"))
        self._exact = time != NAT
        ends = np.concatenate([first[first != NAT], last[last != NAT]])
        begin, end = (int(ends.min()), int(ends.max())) if len(ends) else (0, 0)
        self._span = (begin // 1000, end // 1000)
        # What nothing bounds on a side reaches to the end of the picture there.
        self._first: Moments = np.where(self._exact, time, np.where(first == NAT, begin, first)) // 1000
        self._last: Moments = np.where(self._exact, time, np.where(last == NAT, end, last)) // 1000

    # -- what is in view

    @property
    def view(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """From when to when the picture shows, UTC. `zoom()` changes it."""
        first, last = (pd.Timestamp(moment, unit="us", tz="UTC") for moment in self._view)
        return first, last

    @property
    def shown(self) -> pd.DataFrame:
        """The events in view."""
        return self._events.iloc[self._left]

    @property
    def selected(self) -> int | None:
        """The position in the timeline of the event that was chosen last."""
        return self._selected

    def zoom(self, first: Any = None, last: Any = None) -> None:
        """Show from one moment to another, by default all: timestamps, or text that pandas takes for one (UTC)."""
        begin, end = (_moment(moment, whole) for moment, whole in zip((first, last), self._whole, strict=True))
        self._zoom(begin, end)

    def select(self, position: int) -> None:
        """Mark an event, by its position in the timeline, in the picture and in the table."""
        self._selected = position
        place = np.flatnonzero(self._left == position)
        self.grid.select(int(place[0]) if len(place) else None)
        self._tell()

    def _of_kind(self) -> Choice:
        if not self.kind.value:
            return np.ones(len(self._events), dtype=bool)
        chosen: Choice = self._lane == self._lanes.index(self.kind.value)
        return chosen

    def _narrow(self) -> None:
        """To one kind, and all of its time; but what lies ahead (an expiry) is not in view at first."""
        mine = self._of_kind()
        if not mine.any():
            self._whole = (self._span[0], self._span[1] + NARROWEST)
            self._zoom(*self._whole)
            return
        begin, end = int(self._first[mine].min()), int(self._last[mine].max())
        self._whole = _padded(begin, end)
        happened = mine & ~self._events["Kind"].str.endswith(".expires").to_numpy(dtype=bool)
        self._zoom(*(_padded(begin, int(self._last[happened].max())) if happened.any() else self._whole))

    def _zoom(self, begin: int, end: int) -> None:
        low, high = self._whole
        width = min(max(end - begin, NARROWEST), high - low)
        begin = min(max(begin, low), high - width)
        self._view = (begin, begin + width)
        inside = self._of_kind() & (self._first <= begin + width) & (self._last >= begin)
        self._left = np.flatnonzero(inside)
        self.grid.show(_columns(self.shown), filter=self.grid.filter)
        if self._selected is not None:
            place = np.flatnonzero(self._left == self._selected)
            self.grid.select(int(place[0]) if len(place) else None)
        self._tell()

    # -- what it says to the browser, and hears from it

    def _tell(self) -> None:
        begin, end = self._view
        present = np.unique(self._lane[self._of_kind()])
        rows = {int(lane): row for row, lane in enumerate(present)}
        counts = np.bincount(self._lane[self._left], minlength=len(self._lanes))
        marks = [[rows[mark[0]], *mark[1:]] for mark in self.marks()]
        self.picture.send(
            {
                "tell": "view",
                "from": begin / 1e3,
                "to": end / 1e3,
                "first": self._whole[0] / 1e3,
                "last": self._whole[1] / 1e3,
                "lanes": [[self._lanes[lane], int(counts[lane])] for lane in present],
                "marks": marks,
                "count": len(self._left),
                "total": int(self._of_kind().sum()),
                "chosen": self._chosen(rows),
            }
        )

    def marks(self) -> list[list[Any]]:
        """What is drawn of the view: lane, is the time known, first and last (ms), how many, a position, a text.

        Events of a lane that fall together are one mark; of the windows, those that fall together on both sides.
        """
        begin, end = self._view
        step = max((end - begin) // STEPS, 1)
        left = self._left
        frame = pd.DataFrame(
            {
                "lane": self._lane[left],
                "exact": self._exact[left],
                "from": (np.maximum(self._first[left], begin) - begin) // step,
                "to": (np.minimum(self._last[left], end) - begin) // step,
                "first": self._first[left],
                "last": self._last[left],
                "position": left,
            }
        )
        every = frame.groupby(["lane", "exact", "from", "to"], sort=False)
        marks = every.agg(first=("first", "min"), last=("last", "max"), n=("position", "size"), at=("position", "min"))
        marks = marks.reset_index().sort_values("n", kind="stable", ascending=False).head(MOST).sort_values("at")
        told = marks["n"].eq(1) if len(marks) <= TOLD else marks["n"].eq(0)
        texts = self._events["Message"].iloc[marks["at"]].where(told.to_numpy(), "")
        columns = [marks[name].tolist() for name in ("lane", "exact", "first", "last", "n", "at")]
        return [
            [lane, exact, first / 1e3, last / 1e3, n, at, plain(str(text)[:160])]
            for lane, exact, first, last, n, at, text in zip(*columns, texts, strict=True)
        ]

    def _chosen(self, rows: dict[int, int]) -> dict[str, Any] | None:
        if self._selected is None:
            return None
        event = self._events.iloc[self._selected]
        facts = [(name, event[name]) for name in ("Table", "Key", "Namespace", "Job", "Node", "Index")]
        shown = [(n, "/".join(map(str, v)) if isinstance(v, tuple) else str(v)) for n, v in facts if not _missing(v)]
        return {
            "lane": rows.get(int(self._lane[self._selected])),
            "exact": bool(self._exact[self._selected]),
            "first": float(self._first[self._selected]) / 1e3,
            "last": float(self._last[self._selected]) / 1e3,
            "kind": str(event["Kind"]),
            "text": plain(str(event["Message"])[:LONGEST]),
            "facts": [[name, plain(value[:LONGEST])] for name, value in shown],
        }

    def _hear(self, _: Any, message: dict[str, Any], __: Any) -> None:
        match message:
            case {"ask": "view"}:
                self._tell()
            case {"ask": "zoom", "from": int() | float() as begin, "to": int() | float() as end}:
                self._zoom(int(begin * 1e3), int(end * 1e3))
            case {"ask": "choose", "position": int(position)} if 0 <= position < len(self._events):
                self.select(position)

    def _chose_row(self, place: int) -> None:
        self._selected = int(self._left[place])
        self._tell()

    # -- how it shows itself

    def __repr__(self) -> str:
        return f"<TimelineBrowser of {len(self._events):,} events>"

    def to_html(self) -> str:
        first, last = (_text(moment) for moment in self._span)
        told = f"<p><b>{len(self._events):,} events</b> from {first} to {last} UTC</p>"
        if not len(self._events):
            return "<p><b>no events</b></p>"
        steps = self._steps(40)
        rows = [
            [
                label(name),
                f'<code style="white-space:pre">{_line(np.bincount(steps[self._lane == lane], minlength=40))}</code>',
                f"{int((self._lane == lane).sum()):,}",
            ]
            for lane, name in enumerate(self._lanes)
        ]
        begin, end = (_text(moment) for moment in self._view)
        return told + table(rows, ("Kind", f"{begin} to {end} UTC; what is beyond is at the ends", "Events"), (2,))

    def _steps(self, count: int) -> npt.NDArray[np.int64]:
        begin, end = self._view
        found: npt.NDArray[np.int64] = np.clip((self._first - begin) * count // max(end - begin, 1), 0, count - 1)
        return found


def _padded(begin: int, end: int) -> tuple[int, int]:
    """With some room on both sides, so that nothing is drawn on the edge."""
    room = max((end - begin) // 50, NARROWEST)
    return begin - room, end + room


def _moment(moment: Any, otherwise: int) -> int:
    if moment is None:
        return otherwise
    stamp = pd.Timestamp(moment)
    return int((stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp).as_unit("ns").value // 1000)


def _text(moment: int) -> str:
    return f"{pd.Timestamp(moment, unit='us', tz='UTC'):%Y-%m-%d %H:%M:%S}"


def _line(counts: npt.NDArray[np.int64]) -> str:
    """Counts as bars of text; whatever is there is seen."""
    most = max(int(counts.max()), 1)
    return "".join(BARS[0 if not n else max(1, round(8 * n / most))] for n in counts.tolist())


def _missing(value: Any) -> bool:
    return value == () if isinstance(value, tuple) else bool(pd.isna(value))


def _columns(events: pd.DataFrame) -> pd.DataFrame:
    """As the table shows them: a time where it is known, else the window that it was in."""
    unknown = events["Time"].isna()
    shown = pd.DataFrame(
        {
            "Time": events["Time"],
            "Not before": events["TimeEarliest"].where(unknown),
            "Not after": events["TimeLatest"].where(unknown),
        }
    )
    return pd.concat([shown, events[["Kind", "Message", "Namespace", "Job", "Index"]]], axis=1).reset_index(drop=True)
