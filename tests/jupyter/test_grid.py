"""The table: what is in its cells, what a filter leaves, how it is sorted, and what it says to the browser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import snapkit
from snapkit.errors import SnapshotError

from ..conftest import path_of

pytest.importorskip("anywidget")

from snapkit.jupyter.grid import FIRST, LONGEST, PAGE, WIDEST, Grid, shown, size, word, words

HOSTILE = "<img src=x onerror=alert(1)>"


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Name": pd.array(["web", "Web api", None, HOSTILE, "x" * 5000, "line\nbreak\u202e"], dtype="str"),
            "Count": pd.array([3, 20, None, 1000, 5, 6], dtype="Int64"),
            "Bytes": pd.array([0, 999, 1000, 147_867, None, 2 * 10**9], dtype="Int64"),
            "Time": pd.DatetimeIndex(
                ["2026-11-23T22:08:21.682512345", "NaT", *["2026-01-01T00:00:00.0"] * 4]
            ).tz_localize("UTC"),
            "Took": pd.to_timedelta(["8h", None, "1500ms", "0s", "1min", "2min"]),
            "Stop": pd.array([True, False, None, True, True, True], dtype="boolean"),
            "Key": [("shop", "web", 1), ("shop", "api"), (), ("a",), ("b",), ("c",)],
            "Roles": [[{"ID": "r1", "Name": "ops"}], ["read", "write"], None, [], {}, float("nan")],
            "Raw": pd.Series([b"masked:ab", b"\0" * 40, None, b"", b"\xff", b"x"], dtype="object"),
        }
    )


def texts(grid: Grid, column: str) -> list[str]:
    names = [each.name for each in grid._columns]
    cells = [row[names.index(column)] for row in grid.rows(0, PAGE)]
    return [cell if isinstance(cell, str) else cell[0] for cell in cells]


def left(grid: Grid, filter: str) -> list[int]:
    grid.filter = filter
    return list(grid.positions)


def said(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What it says to the browser from now on."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(type(grid.widget), "send", lambda _, message, buffers=None: messages.append(message))
    return messages


def test_cells_are_text_ready_to_read() -> None:
    grid = Grid(frame())
    assert texts(grid, "Name")[:4] == ["web", "Web api", "", HOSTILE]
    assert texts(grid, "Name")[4] == "x" * WIDEST + "… (5,000 characters)"
    assert texts(grid, "Name")[5] == "line break\N{REPLACEMENT CHARACTER}"
    assert texts(grid, "Count") == ["3", "20", "", "1,000", "5", "6"]
    assert texts(grid, "Bytes") == ["0 B", "999 B", "1 kB", "148 kB", "", "2 GB"]
    assert texts(grid, "Time")[:2] == ["2026-11-23T22:08:21Z", ""]
    assert texts(grid, "Took") == ["8h0m0s", "", "1.5s", "0s", "1m0s", "2m0s"]
    assert texts(grid, "Stop")[:3] == ["true", "false", ""]
    assert texts(grid, "Key")[:3] == ["shop/web/1", "shop/api", ""]
    assert texts(grid, "Roles") == ['[{"ID": "r1", "Name": "ops"}]', "read, write", "", "", "{}", ""]
    assert texts(grid, "Raw") == ["masked:ab", "0" * 32 + "… (40 bytes)", "", "", "ff (1 bytes)", "x"]


def test_hints_tell_the_rest() -> None:
    first, *_, long, _last = Grid(frame()).rows(0, 6)
    assert first[2] == ("0 B", None, "0 bytes")
    moment = pd.Timestamp("2026-11-23T22:08:21.682512345Z").timestamp() * 1000
    assert first[3] == ("2026-11-23T22:08:21Z", moment, "2026-11-23T22:08:21.682512345Z")
    assert isinstance(long[0], tuple)
    assert long[0][2] == "x" * LONGEST + "… (5,000 characters)"


def test_of_a_very_long_text_no_more_is_looked_at_than_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def plain(text: str) -> str:
        looked.append(len(text))
        return text

    monkeypatch.setattr("snapkit.jupyter.grid.plain", plain)
    [[cell]] = Grid(pd.DataFrame({"Name": pd.array(["x" * 3_000_000], dtype="str")})).rows(0, 1)
    told = "… (3,000,000 characters)"
    assert cell == ("x" * WIDEST + told, None, "x" * LONGEST + told)
    assert max(looked) <= LONGEST


def test_a_filter_is_words_in_any_column_and_any_case() -> None:
    grid = Grid(frame())
    assert left(grid, "") == [0, 1, 2, 3, 4, 5]
    assert left(grid, "WEB") == [0, 1]
    assert left(grid, "web API") == [1]
    assert left(grid, '"web api"') == [1]
    assert left(grid, '"api web"') == []
    assert left(grid, "22:08") == [0]
    assert left(grid, "2026-11-23T22:08:21z") == [0]
    assert left(grid, "1,000") == [2, 3]  # bytes and a count
    assert left(grid, "8h") == [0]
    assert left(grid, "false") == [1]
    assert left(grid, "shop/") == [0, 1]
    assert left(grid, "onerror=alert") == [3]
    assert left(grid, "ops") == [0]
    assert left(grid, "nothing-of-it") == []
    assert left(grid, ".*[(") == []


def test_a_filter_may_name_a_column() -> None:
    grid = Grid(frame())
    assert left(grid, "Name=web") == [0]
    assert left(grid, "Name=Web") == []
    assert left(grid, 'Name="Web api"') == [1]
    assert left(grid, "Count=3") == [0]
    assert left(grid, "Count=1,000") == [3]
    assert left(grid, "Roles=ops") == [0]
    assert left(grid, "Roles=write") == [1]
    assert left(grid, "Stop=false") == [1]
    assert left(grid, "Key=shop/web/1 web") == [0]
    assert left(grid, "Other=web") == []


@given(st.text(max_size=20))
def test_what_word_makes_is_read_back(value: str) -> None:
    assert list(words(word("Column", value))) == [("Column", value)]


@given(st.lists(st.sampled_from(["web", "WEB-1", "a.b", "ab", "", None]), max_size=30), st.sampled_from("awbAB1.-e"))
def test_a_filter_leaves_what_python_would(values: list[str | None], wanted: str) -> None:
    grid = Grid(pd.DataFrame({"Name": pd.array(values, dtype="str")}))
    expected = [i for i, value in enumerate(values) if value and wanted.lower() in value.lower()]
    assert left(grid, wanted) == expected


def test_it_sorts_by_value_and_what_has_none_is_last() -> None:
    grid = Grid(frame())
    grid.sort("Count")
    assert list(grid.positions) == [0, 4, 5, 1, 3, 2]
    grid.sort("Count", descending=True)
    assert list(grid.positions) == [3, 1, 5, 4, 0, 2]
    grid.sort("Key")
    assert list(grid.positions) == [3, 4, 5, 1, 0, 2]
    grid.filter = "web"
    assert list(grid.positions) == [1, 0]
    with pytest.raises(SnapshotError, match="no column 'Nothing'"):
        grid.sort("Nothing")


def test_the_index_is_shown_unless_it_counts() -> None:
    assert Grid(frame())._columns[0].name == "Name"
    jobs = snapkit.open(path_of("v2.0.5/friday")).jobs
    grid = Grid(jobs)
    assert [column.name for column in grid._columns[:2]] == ["Namespace", "ID"]
    assert left(grid, "Namespace=shop ID=web") == [jobs.index.get_loc(("shop", "web"))]


@pytest.mark.parametrize("empty", [pd.DataFrame(), frame().head(0), frame()[[]]])
def test_nothing_to_show(empty: pd.DataFrame) -> None:
    grid = Grid(empty)
    assert left(grid, "web") == []
    assert grid.rows(0, 10) == []


def test_a_choice_is_told_by_its_position_in_the_frame() -> None:
    chosen: list[int] = []
    grid = Grid(frame(), on_select=chosen.append)
    grid.sort("Count", descending=True)
    hear(grid, ask="choose", version=grid._version, place=1)
    assert chosen == [1]
    assert grid.selected == 1
    hear(grid, ask="choose", version=grid._version, place=4)
    assert chosen == [1, 0]
    for nonsense in ({"place": 6}, {"place": -1}, {"place": "0"}, {"version": 0, "place": 0}, {}):
        hear(grid, **{"ask": "choose", "version": grid._version, **nonsense})
    assert chosen == [1, 0]


def hear(grid: Grid, **message: Any) -> None:
    grid._hear(grid.widget, message, [])


def test_what_it_says_to_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    many = pd.DataFrame({"Number": np.arange(5000)})
    grid = Grid(many)
    messages = said(grid, monkeypatch)
    hear(grid, ask="view")
    assert messages[-1]["total"] == messages[-1]["count"] == 5000
    assert len(messages[-1]["rows"]) == FIRST
    hear(grid, ask="rows", version=grid._version, start=4900, count=10**9)
    assert [row[0] for row in messages[-1]["rows"]] == [str(n) for n in range(4900, 5000)]
    hear(grid, ask="rows", version=grid._version, start=0, count=10**9)
    assert len(messages[-1]["rows"]) == PAGE
    hear(grid, ask="sort", column=0)
    hear(grid, ask="sort", column=0)
    assert messages[-1]["sort"] == (0, True)
    assert messages[-1]["rows"][0] == ["4999"]
    hear(grid, ask="filter", text="499")
    assert messages[-1]["count"] == 15
    before = len(messages)
    for nonsense in ({"ask": "sort", "column": 9}, {"ask": "filter", "text": 1}, {"ask": "?"}, {"ask": "rows"}):
        hear(grid, **nonsense)
    assert len(messages) == before
    grid.select(4990)
    assert messages[-1]["place"] == 9
    grid.frame = frame()
    assert messages[-1]["filter"] == ""
    assert messages[-1]["sort"] is None
    assert messages[-1]["total"] == 6


def test_no_rows_are_in_the_state_that_a_notebook_keeps() -> None:
    grid = Grid(frame())
    hear(grid, ask="view")
    state = repr(grid.widget.get_state())
    assert HOSTILE not in state
    assert "Web api" not in state
    assert len(state) < 60_000


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (5 * 10**15, "5,000 TB")],
)
def test_sizes(count: int, told: str) -> None:
    assert size(count) == told


def test_every_column_of_every_table_can_be_shown() -> None:
    with snapkit.open(path_of("every-table/every-table")) as snapshot:
        for table in snapshot.tables.index:
            rows = snapshot.table(table, snapshot.columns(table))
            grid = Grid(rows)
            assert len(grid.rows(0, PAGE)) == len(rows)
            grid.sort(grid._columns[-1].name)
            grid.filter = "a"


def test_values_of_no_kind_are_text() -> None:
    assert shown(object) == "<class 'object'>"
    assert shown(pd.NA) == shown(pd.NaT) == shown(None) == ""
