"""Charts: the same bytes for the same values, no network, files by their suffix, and nothing told by colour alone."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from snapkit.errors import SnapshotError, TargetExistsError
from snapkit.jupyter import Chart, bar_chart, growth_chart, timeline_chart
from snapkit.jupyter.charts import INK

TIMES = pd.DatetimeIndex(["2026-11-23T22:00:00Z", "2026-11-23T22:05:00Z", pd.NaT])
EVENTS = pd.DataFrame(
    {
        "Kind": ["job.submitted", "eval.created", "acl_policy.changed"],
        "Time": TIMES,
        "TimeEarliest": TIMES.fillna(TIMES[0]),
        "TimeLatest": TIMES.fillna(TIMES[1]),
    }
)
CHARTS = {
    "bars": bar_chart(pd.Series([3.0, 12_345.0], index=["allocs", "jobs"]), "Bytes by table"),
    "timeline": timeline_chart(EVENTS),
    "growth": growth_chart(pd.DataFrame({"allocs": [1, 2], "jobs": [3, 3]}, index=TIMES[:2]), "Bytes by table"),
    "nothing": timeline_chart(EVENTS.head(0)),
}


@pytest.fixture(params=CHARTS)
def chart(request: pytest.FixtureRequest) -> Chart:
    return CHARTS[request.param]


def test_a_picture_is_svg_that_loads_nothing(chart: Chart) -> None:
    text = chart._repr_svg_()
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    addresses = set(re.findall(r"https?://[^\s\"<]+", text))
    assert {a.split("/")[2] for a in addresses} <= {"www.w3.org", "purl.org", "creativecommons.org"}  # names, not links


def test_a_picture_has_the_same_bytes_each_time(chart: Chart) -> None:
    assert chart._repr_svg_() == chart._repr_svg_()
    assert chart._repr_png_() == chart._repr_png_()


def test_a_picture_brings_the_ground_that_its_ink_reads_on(chart: Chart) -> None:
    text = chart._repr_svg_()
    assert re.search(r'<g id="patch_1">\s*<path d="[^"]+" style="fill: #ffffff"/>', text)  # all of it
    assert INK in text
    assert int(INK[1:3], 16) <= 0x76  # as a grey: at 4.5 to 1 on white


def test_what_a_picture_shows_is_in_its_words() -> None:
    def words(name: str) -> str:
        return " ".join(re.findall(r"<!-- (.*?) -->", CHARTS[name]._repr_svg_()))

    assert "12,345" in words("bars")
    assert "Bytes by table" in words("bars")
    assert all(kind in words("timeline") for kind in EVENTS["Kind"])
    assert "allocs" in words("growth")
    assert "jobs" in words("growth")


def test_labels_of_several_parts_are_joined() -> None:
    index = pd.MultiIndex.from_tuples([("shop", "web"), (None, None), ("batch", float("nan"))])
    words = re.findall(r"<!-- (.*?) -->", bar_chart(pd.Series([3, 2, 1], index=index), "Bytes")._repr_svg_())
    assert {"shop/web", "of none", "batch"} <= set(words)


@pytest.mark.parametrize(("name", "begins"), [("a.svg", b"<?xml"), ("a.PNG", b"\x89PNG")])
def test_a_file_is_what_its_suffix_says(tmp_path: Path, name: str, begins: bytes) -> None:
    path = tmp_path / name
    CHARTS["bars"].save(path)
    assert path.read_bytes().startswith(begins)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(TargetExistsError):
        CHARTS["bars"].save(path)
    CHARTS["growth"].save(path, overwrite=True)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"call it \.svg or \.png"):
        CHARTS["bars"].save(tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_what_stands_in_a_notebook_is_small(chart: Chart) -> None:
    assert chart._repr_png_().startswith(b"\x89PNG")
    assert len(chart._repr_png_()) < 30_000


def test_each_time_of_an_axis_can_be_read_by_itself() -> None:
    def ticks(step: str) -> list[str]:
        times = pd.date_range("2026-11-23T22:08:36Z", periods=5, freq=step)
        chart = growth_chart(pd.DataFrame({"allocs": [1_000, 2_000, 3_000, 4_000, 5_000]}, index=times), "Bytes")
        return re.findall(r"<!-- (.*?) -->", chart._repr_svg_())

    assert {"22:08:40", "22:09:00", "2026-11-23 UTC", "1,000"} <= set(ticks("9s"))
    assert {"22:10", "22:30", "2026-11-23 UTC"} <= set(ticks("7min"))
    assert {"11-25", "12-01", "2026"} <= set(ticks("4D"))
