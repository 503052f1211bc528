"""A table to look through: sorted and filtered here, shown a screenful at a time.

A widget of our own, and not ipydatagrid: that one keeps the whole table in its state (and so in a saved notebook),
draws it on a canvas that no screen reader reads, and filters by one column at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from snapkit.errors import SnapshotError
from snapkit.format.values import go_duration
from snapkit.jupyter.front import front
from snapkit.page import plain

WIDEST = 200  # characters of a value in the table
LONGEST = 2_000  # characters of it in the hint over a cell
FIRST = 100  # rows that go with a new view: a page, as grid.js asks for them
PAGE = 500  # rows in one message at most
_WORD = re.compile(r'(?:(\w[\w.]*)=)?(?:"((?:[^"]|"")*)"|(\S+))')
_NUMBER = re.compile(r"[-\d.,]+")
_HEXADECIMAL = re.compile(r"[0-9a-f-]*")
_MOMENT = re.compile(r"[-\d:.TZ]+")

Positions = npt.NDArray[np.int64]
Choice = npt.NDArray[np.bool_]
#: What is in a cell; if need be with a moment (milliseconds of Unix) or all of a text that was shortened.
Cell = str | tuple[str, float | None, str]


class Grid:
    """A DataFrame as a table that stays quick at 100,000 rows and more.

    By keyboard: Tab to the filter and to the table, arrows to a cell (up to the column's name: Enter sorts by it),
    Enter opens the row. Values are text ready to read, as the frame has them: what is masked there stays masked.

    A filter is words that a row must all hold, in any column and any case; `Column=value` is a value that a column
    must have, and what holds spaces stands in quotes.

    Attributes:
        widget: To be put among others, or displayed.
        on_select: Called with the position in the frame of a row that was chosen, by mouse or Enter.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        height: int = 300,
        on_select: Callable[[int], None] | None = None,
        label: str = "Rows",
        bar: bool = True,
    ) -> None:
        """Show a frame.

        Args:
            frame: Its index is shown ahead of the columns, unless it merely counts.
            height: Of the table, in pixels.
            on_select: See above.
            label: What the rows are, for a screen reader.
            bar: With a field to filter by?

        Raises:
            SnapshotError: anywidget is not installed.
        """
        self.on_select = on_select
        self.widget = front("grid")
        self.widget.on_msg(self._hear)
        self._height = height
        self._bar = bar
        self._label = label
        self._version = 0
        self._sort: tuple[int, bool] | None = None  # the column's place, and whether it is descending
        self._selected: int | None = None
        self._take(frame, "")

    @property
    def frame(self) -> pd.DataFrame:
        """What is shown. Set it to show another: neither filtered nor sorted."""
        return self._frame

    @frame.setter
    def frame(self, frame: pd.DataFrame) -> None:
        self.show(frame)

    @property
    def filter(self) -> str:
        """The words that are filtered by. Set it to filter."""
        return self._filter

    @filter.setter
    def filter(self, text: str) -> None:
        self._filter = text
        self._arrange()
        self._tell()

    @property
    def positions(self) -> Positions:
        """The positions in the frame of the rows that are left by the filter, in the order that is shown."""
        return self._positions

    @property
    def selected(self) -> int | None:
        """The position in the frame of the row that was chosen last."""
        return self._selected

    def show(self, frame: pd.DataFrame, label: str | None = None, *, filter: str = "") -> None:
        """Show another frame, sorted by nothing."""
        self._label = self._label if label is None else label
        self._take(frame, filter)
        self._tell()
        self._prepare()

    def sort(self, column: str, *, descending: bool = False) -> None:
        """Sort by a column; what has no value is last.

        Raises:
            SnapshotError: There is no such column.
        """
        names = [each.name for each in self._columns]
        if column not in names:
            raise SnapshotError(f"has no column {column!r}", "the table", f"there are: {', '.join(names)}")
        self._sort = (names.index(column), descending)
        self._arrange()
        self._tell()

    def select(self, position: int | None) -> None:
        """Mark the row at a position in the frame, and bring it into view if it is left by the filter."""
        self._selected = position
        self._tell()

    # -- what is in view

    def _take(self, frame: pd.DataFrame, filter: str) -> None:
        self._frame = frame
        self._columns = [Column(name, values) for name, values in columns(frame)]
        self._filter = filter
        self._sort = self._selected = None
        self._arrange()

    def _arrange(self) -> None:
        """Filter, then sort."""
        self._version += 1
        count = len(self._frame)
        order = np.arange(count)
        if self._sort is not None:
            column, descending = self._sort
            order = self._columns[column].order(descending)
        if self._filter.strip():
            order = order[self._matching()[order]]
        self._positions = order

    def _matching(self) -> Choice:
        left = np.ones(len(self._frame), dtype=bool)
        for column, word in words(self._filter):
            named = [each for each in self._columns if each.name == column]
            found = np.zeros(len(self._frame), dtype=bool)
            if named:
                for each in named:
                    found |= each.equal(word)
            else:  # `=` as any other character
                word = word if column is None else f"{column}={word}"
                for each in self._columns:
                    found |= each.holding(word)
            left &= found
        return left

    def rows(self, start: int, count: int) -> list[list[Cell]]:
        """What is in the cells of some rows, in the order that is shown."""
        positions = self._positions[start : start + count]
        return [list(row) for row in zip(*(column.cells(positions) for column in self._columns), strict=True)]

    # -- what it says to the browser, and hears from it

    def _tell(self) -> None:
        place = [] if self._selected is None else np.flatnonzero(self._positions == self._selected).tolist()
        self.widget.send(
            {
                "tell": "view",
                "version": self._version,
                "columns": [{"name": column.name, "right": column.right} for column in self._columns],
                "total": len(self._frame),
                "count": len(self._positions),
                "sort": self._sort,
                "filter": self._filter,
                "label": self._label,
                "height": self._height,
                "bar": self._bar,
                "place": place[0] if place else None,
                "rows": self.rows(0, FIRST),
            }
        )

    def _prepare(self) -> None:
        """So that the first filter is answered as quickly as the others."""
        for column in self._columns:
            column.prepare()

    def _hear(self, _: Any, message: dict[str, Any], __: Any) -> None:
        match message:
            case {"ask": "view"}:
                self._tell()
                self._prepare()
            case {"ask": "rows", "version": self._version, "start": int(start), "count": int(count)}:
                rows = self.rows(max(start, 0), min(max(count, 0), PAGE))
                self.widget.send({"tell": "rows", "version": self._version, "start": start, "rows": rows})
            case {"ask": "filter", "text": str(text)}:
                self.filter = text
            case {"ask": "sort", "column": int(column)} if 0 <= column < len(self._columns):
                self._sort = (column, self._sort == (column, False))
                self._arrange()
                self._tell()
            case {"ask": "choose", "version": self._version, "place": int(place)} if 0 <= place < len(self._positions):
                self._selected = int(self._positions[place])
                if self.on_select is not None:
                    self.on_select(self._selected)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.widget._repr_mimebundle_(**kwargs)


def words(text: str) -> Iterator[tuple[str | None, str]]:
    """The words of a filter, each with the column that it is of, if it names one."""
    for match in _WORD.finditer(text):
        column, quoted, bare = match.groups()
        yield column, bare if quoted is None else quoted.replace('""', '"')


def word(column: str, value: Any) -> str:
    """The word of a filter for the rows that have this value in this column."""
    quoted = str(value).replace('"', '""')
    return f'{column}="{quoted}"' if re.search(r'[\s"]', quoted) or not quoted else f"{column}={quoted}"


def columns(frame: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """The columns of a frame by name, its index ahead unless that merely counts."""
    index = frame.index
    if index.nlevels > 1 or index.name is not None or not isinstance(index, pd.RangeIndex):
        for level, name in enumerate(index.names):
            yield "" if name is None else str(name), index.get_level_values(level)
    for place, name in enumerate(frame.columns):
        yield str(name), frame.iloc[:, place]


class Column:
    """A column of a table as it is shown, filtered and sorted.

    Attributes:
        name: What stands above it.
        right: Is it numbers, flush right?
    """

    def __init__(self, name: str, values: Any) -> None:
        self.name = name
        self._values: pa.Array | None = None
        self._objects: npt.NDArray[np.object_] = np.empty(0, dtype=object)
        try:
            if values.dtype == object:
                raise TypeError
            array = pa.array(values, from_pandas=True)
            self._values = array.cast(pa.large_string()) if pa.types.is_dictionary(array.type) else array
        except (pa.ArrowException, TypeError, ValueError):
            self._objects = np.asarray(values, dtype=object)
        kind = None if self._values is None else self._values.type
        self._text = kind is not None and (pa.types.is_string(kind) or pa.types.is_large_string(kind))
        self._time = kind is not None and pa.types.is_timestamp(kind)
        self._number = kind is not None and (pa.types.is_integer(kind) or pa.types.is_floating(kind))
        self.right = self._number or (kind is not None and pa.types.is_duration(kind))
        self._bytes = self._number and name.endswith("Bytes")
        self._count = self._number and name == "Count"
        self._share = self._number and name == "Share"

    def __len__(self) -> int:
        return len(self._objects if self._values is None else self._values)

    # -- as it is shown

    def cells(self, positions: Positions) -> list[Cell]:
        """What is in the cells at these positions."""
        if self._values is None:
            taken = list(self._objects[positions])
        else:
            taken = self._values.take(pa.array(positions)).to_pylist()
        return [self._cell(value) for value in taken]

    def texts(self) -> list[str]:
        """What is shown of all of them."""
        return [cell if isinstance(cell, str) else cell[0] for cell in self.cells(np.arange(len(self)))]

    def _cell(self, value: Any) -> Cell:
        if value is None or value is pd.NaT:
            return ""
        if self._time:
            stamp = pd.Timestamp(value)
            zone = "Z" if stamp.tzinfo is not None else ""
            full = stamp.isoformat().replace("+00:00", "Z")
            return stamp.strftime("%Y-%m-%dT%H:%M:%S") + zone, stamp.timestamp() * 1000 if zone else None, full
        if self._bytes:
            return size(value), None, f"{value:,} bytes"
        if self._count:
            return f"{value:,}"
        if self._share:
            return f"{value:.1%}", None, f"{value:.6g}"
        # Of a text that is megabytes, no more is looked at than is shown.
        text, count = (plain(value[:LONGEST]), len(value)) if isinstance(value, str) else (shown(value), 0)
        count = max(len(text), count)
        if count <= WIDEST:
            return text
        told = f"… ({count:,} characters)"
        return text[:WIDEST] + told, None, text[:LONGEST] + (told if count > LONGEST else "")

    # -- filtered

    def prepare(self) -> None:
        """Work out what is needed to filter, which is kept."""
        _ = self._hexadecimal if self._text else self._moments if self._time else None

    def holding(self, word: str) -> Choice:
        """Where the word is in the text that is shown, in any case."""
        if self._text:
            if self._hexadecimal and not _HEXADECIMAL.fullmatch(word.lower()):
                return self._none()
            return self._of_texts(lambda texts: pc.match_substring(texts, word, ignore_case=True))
        if self._time:
            if not _MOMENT.fullmatch(word.upper()):
                return self._none()
            return self._chosen(pc.match_substring(self._moments, word.upper().removesuffix("Z")))
        if self._number:
            if not _NUMBER.fullmatch(word):
                return self._none()
            return self._chosen(pc.match_substring(pc.cast(self._values, pa.string()), word.replace(",", "")))
        wanted = word.casefold()
        return np.fromiter((wanted in shown(value).casefold() for value in self._each()), bool, len(self))

    def equal(self, word: str) -> Choice:
        """Where the text that is shown, or one that is in a list or map, is this word."""
        if self._text:
            return self._of_texts(lambda texts: pc.equal(texts, word))
        if self._number:
            return self._chosen(pc.equal(pc.cast(self._values, pa.string()), word.replace(",", "")))
        if self._time:
            return self.holding(word)
        return np.fromiter((word in _leaves(value) for value in self._each()), bool, len(self))

    def _of_texts(self, ask: Callable[[pa.Array], pa.Array]) -> Choice:
        """The answer for each value; where values repeat a lot, each is asked about once."""
        repeated = self._repeated
        if repeated is None:
            return self._chosen(ask(self._values))
        return self._chosen(ask(repeated.dictionary).take(repeated.indices))

    @cached_property
    def _repeated(self) -> pa.DictionaryArray | None:
        encoded: Any = self._values
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        encoded = encoded.dictionary_encode()
        return encoded if len(encoded.dictionary) < len(self) / 4 else None

    @cached_property
    def _hexadecimal(self) -> bool:
        """Are all of its texts ids, in which most words can't be?"""
        texts = self._values if self._repeated is None else self._repeated.dictionary
        return bool(pc.all(pc.match_substring_regex(texts, f"^{_HEXADECIMAL.pattern}$")).as_py())

    @cached_property
    def _moments(self) -> pa.Array:
        """The times as text, to the second."""
        moments = self._values.cast(pa.timestamp("s"), safe=False)  # type: ignore[union-attr]
        return pa.array(np.datetime_as_string(moments.to_numpy(zero_copy_only=False)).astype(object), pa.string())

    def _each(self) -> Iterator[Any]:
        if self._values is None:
            yield from self._objects
        else:
            yield from (value.as_py() for value in self._values)

    def _none(self) -> Choice:
        return np.zeros(len(self), dtype=bool)

    def _chosen(self, found: Any) -> Choice:
        chosen: Choice = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        return chosen

    # -- sorted

    def order(self, descending: bool) -> Positions:
        """The positions in order; those without a value are last."""
        if self._values is None:
            texts = [shown(value) for value in self._objects]
            keys = pa.array([text or None for text in texts], pa.large_string())
        else:
            keys = self._values
        direction = "descending" if descending else "ascending"
        found: Positions = pc.sort_indices(keys, sort_keys=[("", direction)]).to_numpy()
        return found.astype(np.int64)


def shown(value: Any) -> str:
    """A value as text in one line."""
    match value:
        case None:
            return ""
        case bool() | np.bool_():
            return "true" if value else "false"
        case str():
            return plain(value)
        case bytes():
            return _bytes(value)
        case tuple():
            return "/".join(map(shown, value))
        case list() if all(isinstance(each, str) for each in value):
            return ", ".join(map(plain, value))
        case list() | dict():
            return plain(json.dumps(value, ensure_ascii=False, default=str))
        case float() | np.floating():
            return "" if value != value else f"{value:.6g}"
        case timedelta() if value is not pd.NaT:
            seconds = value.days * 86_400 + value.seconds
            return go_duration(seconds * 10**9 + value.microseconds * 1_000 + getattr(value, "nanoseconds", 0))
    return "" if value is pd.NA or value is pd.NaT else plain(str(value))


def _leaves(value: Any) -> Iterator[str]:
    """The texts in a value, however deep (Nomad's are never more than a few levels)."""
    if isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    else:
        yield shown(value)


def _bytes(value: bytes) -> str:
    """As text if it is that (so is what stands for a secret), else in hexadecimal digits, with its size."""
    text = value.decode("ascii", "replace")
    if text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text:
        return text
    return f"{value[:16].hex()}{'…' if len(value) > 16 else ''} ({len(value):,} bytes)"


def size(count: float) -> str:
    """A number of bytes with its unit, to three digits."""
    if count < 1000:
        return f"{count:,} B"
    units = iter(("kB", "MB", "GB", "TB"))
    unit = next(units)
    number = count / 1000
    while number >= 999.5 and (larger := next(units, None)):
        number, unit = number / 1000, larger
    return f"{number:.3g} {unit}" if number < 999.5 else f"{number:,.0f} {unit}"
