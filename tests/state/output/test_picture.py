"""The timeline's picture: each event has its mark, it stays small, and any times have a place."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapkit.state.output.picture import LEFT, LINES, RIGHT, WIDTH, timeline_svg

BASE = pd.Timestamp("2026-11-23T22:00:00Z")
MOMENTS = st.integers(-(2**63) + 1, 2**63 - 1)


def events(*rows: tuple[str, Any, Any]) -> pd.DataFrame:
    """Kind, earliest and latest; of what is known, these are the same."""
    frame = pd.DataFrame(
        {
            "Kind": pd.array([row[0] for row in rows], dtype="str"),
            "TimeEarliest": pd.to_datetime([row[1] for row in rows], utc=True).as_unit("ns"),
            "TimeLatest": pd.to_datetime([row[2] for row in rows], utc=True).as_unit("ns"),
        }
    )
    known = frame["TimeEarliest"] == frame["TimeLatest"]
    return frame.assign(Time=frame["TimeEarliest"].where(known))


def at(seconds: float) -> pd.Timestamp:
    return BASE + pd.Timedelta(seconds=seconds)


def marks(svg: str) -> dict[str, list[str]]:
    """The paths of each kind, by its name."""
    root = ET.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    return {
        str(line.findtext(f"{space}text")): [path.attrib["d"] for path in line.iter(f"{space}path")]
        for line in root.iter(f"{space}g")
    }


def test_nothing_that_has_a_time_is_no_picture() -> None:
    assert timeline_svg(events()) == ""
    assert timeline_svg(events(("a", None, None), ("b", BASE, None))) == ""


def test_marks_stand_where_their_times_are() -> None:
    rows = [("begin", at(0), at(0)), ("half", at(50), at(50)), ("window", at(25), at(75)), ("end", at(100), at(100))]
    found = marks(timeline_svg(events(*rows)))
    assert found["begin"] == [f"M{LEFT} 8h0"]
    assert found["half"] == [f"M{LEFT + WIDTH // 2} 24h0"]
    assert found["window"] == [f"M{LEFT + WIDTH // 4} 40H{LEFT + 3 * WIDTH // 4}"]
    assert found["end"] == [f"M{LEFT + WIDTH} 56h0"]


def test_many_at_once_are_a_larger_mark_and_their_number() -> None:
    svg = timeline_svg(events(*[("a", at(0), at(0))] * 150, ("b", at(9), at(9))))
    assert re.findall(r'd="M\d+ 8h0" stroke="[^"]+" stroke-width="(\d+)"', svg) == ["10"]
    assert "<title>a: 150 events</title>" in svg
    assert ">150</text>" in svg
    assert "151 events by kind, from 2026-11-23 22:00:00 to 2026-11-23 22:00:09 UTC" in svg


def test_what_is_later_than_the_end_stands_beside_it_and_few_early_ones_at_the_begin() -> None:
    rows = [("late", at(10**7), at(10**7)), ("early", at(-(10**7)), at(-(10**7)))]
    rows += [("now", at(i), at(i)) for i in range(100)]
    found = marks(timeline_svg(events(*rows), at(100)))
    [late], [early], [now] = found["late"], found["early"], found["now"]
    assert LEFT + WIDTH < int(late[1:].split()[0]) < LEFT + WIDTH + RIGHT
    assert int(early[1:].split()[0]) < LEFT
    assert now.count("M") > 90  # not all in one place


def test_it_stays_small() -> None:
    rows = [(f"kind-{i % 60}", at(i * 7919 % 100_000), at(i * 7919 % 100_000 + (i % 3))) for i in range(30_000)]
    svg = timeline_svg(events(*rows))
    assert len(svg) < 300_000
    found = marks(svg)
    assert len(found) == LINES
    assert list(found)[-1] == f"{60 - LINES + 1} other kinds"
    assert sum(int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) events</title>", svg)) == 30_000


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b.c", "<&\x1b\u202e"]), MOMENTS, st.integers(0, 10**12)),
        min_size=1,
        max_size=6,
    ),
    MOMENTS,
)
def test_any_times_make_a_picture(rows: list[tuple[str, int, int]], end: int) -> None:
    made = events(*((kind, pd.Timestamp(t), pd.Timestamp(min(t + more, 2**63 - 1))) for kind, t, more in rows))
    for svg in (timeline_svg(made), timeline_svg(made, pd.Timestamp(end, tz="UTC"))):
        ET.fromstring(svg)
        places = [int(x) for x in re.findall(r"[MH](-?\d+)", svg)]
        assert all(LEFT - 2 <= x <= LEFT + WIDTH + RIGHT for x in places)


@pytest.mark.parametrize("span", [0, 1, 59, 3_600, 86_400, 10**7, 10**9])
def test_the_axis_has_few_ticks(span: int) -> None:
    svg = timeline_svg(events(("a", at(0), at(0)), ("a", at(span), at(span))))
    assert len(re.findall("#80808060", svg)) <= 7
