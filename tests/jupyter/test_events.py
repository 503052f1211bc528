"""A timeline to click through: what is in view, what is drawn of it, and what is said of what is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.jupyter.events import COLUMNS, MOST, STEPS, TimelineBrowser, is_timeline

from ..conftest import path_of

pytest.importorskip("anywidget")

START = pd.Timestamp("2026-11-23T22:00:00Z")


def events(*rows: tuple[float | None, float | None, float | None, str]) -> pd.DataFrame:
    """Events of seconds after a moment: Time, TimeEarliest, TimeLatest, Kind."""
    times = [
        pd.DatetimeIndex([pd.NaT if (s := row[i]) is None else START + pd.Timedelta(s, "s") for row in rows], tz="UTC")
        for i in (0, 1, 2)
    ]
    frame = pd.DataFrame(dict(zip(COLUMNS[:3], times, strict=True))).astype("datetime64[ns, UTC]")
    frame["Kind"] = pd.array([row[3] for row in rows], dtype="str")
    frame["Table"] = pd.array(["jobs"] * len(rows), dtype="str")
    frame["Key"] = pd.Series([("default", str(i)) for i in range(len(rows))], dtype="object")
    for name in ("Namespace", "Job", "Node"):
        frame[name] = pd.array([None] * len(rows), dtype="str")
    frame["Message"] = pd.array([f"Event {i} <b>" for i in range(len(rows))], dtype="str")
    frame["Index"] = pd.array(range(1, len(rows) + 1), dtype="UInt64")
    return frame


def known(second: float, kind: str = "job.submitted") -> tuple[float, float, float, str]:
    return second, second, second, kind


SOME = events(known(0), (None, 5, 10, "acl_policy.changed"), known(20), known(86_400, "acl_token.expires"))


def told(browser: TimelineBrowser) -> dict[str, Any]:
    """What the picture is told."""
    sent: list[dict[str, Any]] = []
    browser.picture.send = sent.append
    browser._hear(None, {"ask": "view"}, None)
    return sent[-1]


def test_what_lies_ahead_is_not_in_view_at_first_and_is_by_home() -> None:
    browser = TimelineBrowser(SOME)
    assert len(browser.shown) == 3
    assert (told(browser)["count"], told(browser)["total"]) == (3, 4)
    browser.zoom()
    assert len(browser.shown) == 4


def test_zooming_narrows_the_table_and_a_window_is_in_view_where_it_may_have_been() -> None:
    browser = TimelineBrowser(SOME)
    browser.zoom("2026-11-23T22:00:09", "2026-11-23T22:00:30Z")
    assert browser.shown["Message"].tolist() == ["Event 1 <b>", "Event 2 <b>"]
    assert browser.grid.frame["Message"].tolist() == browser.shown["Message"].tolist()
    assert browser.grid.frame["Time"].isna().tolist() == [True, False]
    assert browser.grid.frame["Not before"].isna().tolist() == [False, True]
    browser._hear(None, {"ask": "zoom", "from": START.value / 1e6 + 11_000, "to": START.value / 1e6 + 19_000}, None)
    assert len(browser.shown) == 0
    browser.grid.filter = "submitted"
    browser.zoom()
    assert browser.grid.filter == "submitted", "what was typed stays"


def test_a_view_stays_within_what_there_is() -> None:
    browser = TimelineBrowser(SOME)
    browser.zoom()
    whole = browser.view
    browser.zoom("1970-01-01", "2200-01-01")
    assert browser.view == whole
    browser.zoom("2026-11-23T22:00:05", "2026-11-23T22:00:05")
    first, last = browser.view
    assert last - first == pd.Timedelta("1ms")
    for nonsense in ({"ask": "zoom", "from": "a", "to": 1}, {"ask": "choose", "position": 99}, {"ask": "x"}, {}):
        browser._hear(None, nonsense, None)
    assert browser.selected is None


def test_what_is_drawn_tells_the_known_from_windows() -> None:
    marks = told(TimelineBrowser(SOME))["marks"]
    start = START.value / 1e6
    assert marks == [
        [0, True, start, start, 1, 0, "Event 0 <b>"],
        [1, False, start + 5_000, start + 10_000, 1, 1, "Event 1 <b>"],
        [0, True, start + 20_000, start + 20_000, 1, 2, "Event 2 <b>"],
    ]


def test_choosing_by_mark_marks_the_row_and_by_row_the_mark() -> None:
    browser = TimelineBrowser(SOME)
    browser._hear(None, {"ask": "choose", "position": 1}, None)
    assert browser.selected == browser.grid.selected == 1
    chosen = told(browser)["chosen"]
    assert chosen["text"] == "Event 1 <b>"
    assert not chosen["exact"]
    assert chosen["last"] - chosen["first"] == 5_000
    assert dict(chosen["facts"]) == {"Table": "jobs", "Key": "default/1", "Index": "2"}
    browser.zoom("2026-11-23T22:00:15", "2026-11-23T22:00:30")
    assert browser.grid.selected is None, "it is not in view"
    assert browser.selected == 1
    assert browser.grid.on_select is not None
    browser.grid.on_select(0)
    assert browser.selected == 2
    assert told(browser)["chosen"]["exact"]


def test_it_narrows_to_one_kind() -> None:
    browser = TimelineBrowser(SOME)
    assert [name for name, _ in browser.kind.options] == ["all (4)", "job (2)", "acl_policy (1)", "acl_token (1)"]
    browser.kind.value = "acl_token"
    assert browser.shown["Kind"].tolist() == ["acl_token.expires"], "and if there is nothing else, that is in view"
    assert told(browser)["lanes"] == [["acl_token", 1]]
    browser.kind.value = ""
    assert len(told(browser)["lanes"]) == 3


SECONDS = st.one_of(st.none(), st.floats(0, 1e6))
ROWS = st.lists(
    st.one_of(
        st.floats(0, 1e6).map(known),
        st.tuples(st.none(), SECONDS, SECONDS, st.sampled_from(["acl_policy.changed", "job.submitted"])),
    ),
    max_size=30,
)


@settings(max_examples=25)
@given(ROWS, st.floats(0, 1e6), st.floats(0, 1e6))
def test_marks_count_each_event_in_view_once(rows: list[Any], one: float, other: float) -> None:
    browser = TimelineBrowser(events(*rows))
    for zoom in (False, True):
        if zoom:
            browser.zoom(START + pd.Timedelta(min(one, other), "s"), START + pd.Timedelta(max(one, other), "s"))
        said = told(browser)
        assert sum(mark[4] for mark in said["marks"]) == said["count"] == len(browser.shown)
        assert sum(count for _, count in said["lanes"]) == said["count"]
        assert {mark[5] for mark in said["marks"]} <= set(browser.shown.index)
    assert f"{len(rows):,} events" in browser.to_html() or not rows


def test_many_events_are_few_marks() -> None:
    rng = np.random.default_rng(0)
    many = events(*(known(float(second)) for second in rng.uniform(0, 1e6, 20_000)))
    browser = TimelineBrowser(many)
    said = told(browser)
    assert sum(mark[4] for mark in said["marks"]) == 20_000
    assert len(said["marks"]) <= STEPS + 1 < MOST
    assert len(browser.to_html()) < 1_500


@pytest.mark.parametrize("ends", [("1970", "2026"), ("1677-09-22", "2262-04-11"), (pd.Timestamp.min, pd.Timestamp.max)])
def test_times_may_be_as_far_apart_as_times_can_be(ends: tuple[Any, Any]) -> None:
    moments = pd.DatetimeIndex(ends, tz="UTC").as_unit("ns")
    found = events(known(0), known(0))
    for name in COLUMNS[:3]:
        found[name] = moments
    browser = TimelineBrowser(found)
    [first, last] = told(browser)["marks"]
    assert [first[2], last[2]] == pytest.approx([moment.timestamp() * 1000 for moment in moments])
    assert f">\N{FULL BLOCK}{' ' * 38}\N{FULL BLOCK}<" in browser.to_html()
    assert browser.view[0] < moments[0]
    assert moments[1] < browser.view[1]


def test_a_real_week() -> None:
    week = [path_of(f"v2.0.5/{day}") for day in ("monday", "tuesday", "wednesday")]
    found = snapkit.timeline(*week)
    assert is_timeline(found)
    assert not is_timeline(found.drop(columns="Kind"))
    browser = TimelineBrowser(found)
    assert repr(browser) == f"<TimelineBrowser of {len(found)} events>"
    assert "acl_policy" in browser.to_html()
    browser.kind.value = "acl_policy"
    assert set(browser.shown["Kind"]) == {"acl_policy.created", "acl_policy.changed"}


def test_of_nothing_it_says_so() -> None:
    browser = TimelineBrowser(SOME.head(0))
    assert browser.to_html() == "<p><b>no events</b></p>"
    assert told(browser)["marks"] == []
