"""Charts that render without a network, read in light and dark, and have the same bytes for the same values.

They bring their own white ground: a picture can't know the theme of the page around it, and no ink reads on both.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapkit.errors import SnapshotError
from snapkit.files import atomic

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

INK = "#4d4d4d"
FILL = "#4c8bf5"
WIDTH = 7.5  # inches
PICTURES = (".svg", ".png")
#: Of years, months, days, hours, minutes and seconds: of ticks, which can each be read by itself; of those that begin a
#: year, month, day, hour or minute; and of the axis as a whole.
TICKS = ("%Y", "%Y-%m", "%m-%d", "%H:%M", "%H:%M", "%H:%M:%S.%f")
FIRST = ("", "%Y", "%m-%d", "%m-%d", "%H:%M", "%H:%M:%S")
AXIS = ("", "%Y", "%Y", "%Y-%m-%d UTC", "%Y-%m-%d UTC", "%Y-%m-%d UTC")
LINES = ("-", "--", "-.", ":")  # so that nothing is told by colour alone


class Chart:
    """A picture: SVG and PNG in a notebook, either in a file."""

    def __init__(self, draw: Callable[[Axes], None], height: float, title: str) -> None:
        self._draw = draw
        self._height = height
        self._title = title

    def _repr_svg_(self) -> str:
        return self._rendered("svg").decode("utf-8")

    def _repr_png_(self) -> bytes:
        """Beside the SVG, which JupyterLab shows in no notebook that was not run yet: it trusts none."""
        return self._rendered("png", dpi=100)

    def __repr__(self) -> str:
        return f"<Chart {self._title}>"

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write it to a `.svg` or `.png` file, for a report.

        Raises:
            SnapshotError: The suffix is neither, the file is there and is not to be overwritten, or matplotlib is not
                installed.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in PICTURES:
            raise SnapshotError(f"has no suffix of a picture ({suffix or 'none'})", str(path), "call it .svg or .png")
        rendered = self._rendered(suffix.removeprefix("."))
        with atomic(path, overwrite) as file:
            file.write(rendered)

    def _rendered(self, form: str, dpi: int = 150) -> bytes:
        try:
            import matplotlib as mpl
        except ImportError as error:
            raise SnapshotError("needs the package matplotlib", "a chart", "pip install 'snapkit[lab]'") from error
        from matplotlib.figure import Figure

        names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
        style: Any = dict.fromkeys(names, INK) | {"svg.hashsalt": "snapkit", "font.size": 9.0}
        with mpl.rc_context(style):
            figure = Figure(figsize=(WIDTH, self._height), layout="constrained")
            axes = figure.add_subplot()
            axes.set_title(self._title, loc="left")
            axes.spines[["top", "right"]].set_visible(False)
            self._draw(axes)
            file = BytesIO()
            metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
            figure.savefig(file, format=form, metadata=metadata, dpi=dpi)
        return file.getvalue()


def bar_chart(values: pd.Series[Any], title: str) -> Chart:
    """Bars, the first on top.

    Args:
        values: Numbers by label.
        title: With the unit of the numbers.
    """
    labels = [_label(label) for label in values.index][::-1]
    numbers = values.to_numpy(dtype=float)[::-1]

    def draw(axes: Axes) -> None:
        bars = axes.barh(labels, numbers, color=FILL)
        axes.bar_label(bars, [f"{value:,.0f}" for value in numbers], padding=3)
        axes.spines[["bottom"]].set_visible(False)
        axes.xaxis.set_visible(False)
        axes.margins(x=0.12)

    return Chart(draw, 0.28 * len(values) + 0.7, title)


def _label(label: Any) -> str:
    """A label, or the parts of one; what is of no group has none."""
    parts = label if isinstance(label, tuple) else (label,)
    return "/".join(str(part) for part in parts if part == part and part is not None) or "of none"


def timeline_chart(events: pd.DataFrame, title: str = "Events by kind, UTC") -> Chart:
    """A line for each kind, a mark for each event: a dot where the time is known, a bar where only its window is.

    Args:
        events: As `timeline()` gives them: Kind, Time, TimeEarliest, TimeLatest.
        title: Of the picture.
    """
    dated = events[events["TimeEarliest"].notna() & events["TimeLatest"].notna() | events["Time"].notna()]
    kinds = list(dict.fromkeys(dated["Kind"]))
    known = dated[dated["Time"].notna()]
    windows = dated[dated["Time"].isna()]

    def draw(axes: Axes) -> None:
        place = {kind: row for row, kind in enumerate(reversed(kinds))}
        axes.scatter(
            known["Time"].dt.tz_localize(None).to_numpy(), [place[kind] for kind in known["Kind"]], s=14, color=FILL
        )
        starts = windows["TimeEarliest"].dt.tz_localize(None).to_numpy()
        ends = windows["TimeLatest"].dt.tz_localize(None).to_numpy()
        axes.hlines([place[kind] for kind in windows["Kind"]], starts, ends, color="#b26a00", linewidth=4, alpha=0.6)
        axes.set_yticks(list(place.values()), list(place))
        axes.set_ylim(-0.7, max(len(kinds), 1) - 0.3)
        axes.grid(axis="y", color=INK, alpha=0.2)
        _date_axis(axes)

    return Chart(draw, 0.22 * len(kinds) + 1.0, title)


def growth_chart(values: pd.DataFrame, title: str) -> Chart:
    """A line for each column, over the times of the index; each ends in its name.

    Args:
        values: Numbers, by time.
        title: With the unit of the numbers.
    """

    import pandas as pd

    def draw(axes: Axes) -> None:
        times = pd.DatetimeIndex(values.index).tz_localize(None)
        for i, name in enumerate(values.columns):
            numbers = values[name].to_numpy(dtype=float)
            axes.plot(times.to_numpy(), numbers, LINES[i % len(LINES)], marker="o", markersize=3, label=str(name))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=INK, alpha=0.2)
        _date_axis(axes)

    return Chart(draw, 3.2, title)


def _date_axis(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(  # type: ignore[no-untyped-call]
            locator, formats=TICKS, zero_formats=FIRST, offset_formats=AXIS
        )
    )
