"""`snapkit sizes`: what takes how much, how it grew, what is copies, what is garbage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit.state import sizes as measured
from snapkit.state.sizes import garbage

from ..conftest import oracle, path_of
from . import failed, fine, run

MONDAY, FRIDAY = path_of("v2.0.5/monday"), path_of("v2.0.5/friday")
Open = Callable[[str], snapkit.Snapshot]


def rows(*arguments: object, **kwargs: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fine("sizes", *arguments, "--json", **kwargs))
    return found


def test_by_table_it_is_what_nomad_counts() -> None:
    stats = oracle("v2.0.5/friday", "inspect")["Stats"]
    found = rows(FRIDAY)
    assert sorted((row["Count"], row["Bytes"]) for row in found) == sorted((s["Count"], s["Sum"]) for s in stats)
    assert list(found[0]) == ["Table", "Count", "Bytes", "Share"]
    assert found[0]["Table"] == "allocs"
    head, _, first, *_, last = [line.split() for line in fine("sizes", FRIDAY).splitlines() if line.strip()]
    assert head == ["Table", "Count", "Bytes", "Share"]
    assert first[:3] == ["allocs", str(found[0]["Count"]), f"{found[0]['Bytes']:,}"]
    assert last == [str(len(found)), "rows"]


@pytest.mark.parametrize("by", ["namespace", "job", "parent", "version", "group", "field", "object"])
def test_by_whatever_the_library_groups(by: Any, opened: Open) -> None:
    frame = measured.sizes(opened("v2.0.5/friday"), by)
    found = rows(FRIDAY, "--by", by)
    assert [row["Bytes"] for row in found] == frame.Bytes.tolist()
    assert list(found[0]) == [*(name for name in frame.index.names if name), *frame.columns]
    assert len(rows(FRIDAY, "--by", by, "--limit", 3)) == 3
    text = fine("sizes", FRIDAY, "--by", by, "--limit", 3)
    assert text.splitlines()[-1].startswith(f"{len(frame):,} rows")


def test_what_is_of_nothing_has_no_name() -> None:
    apart = [row for row in rows(FRIDAY, "--by", "version") if row["Job"] is None]
    assert [(row["Namespace"], row["Version"]) for row in apart] == [(None, None)]
    assert "nan" not in fine("sizes", FRIDAY, "--by", "version").lower().replace("tenant", "")
    assert "<NA>" not in fine("sizes", FRIDAY, "--by", "version")


def test_growth_since_an_earlier_one(opened: Open) -> None:
    found = rows(FRIDAY, "--against", MONDAY)
    frame = measured.growth(opened("v2.0.5/monday"), opened("v2.0.5/friday"))
    assert [row["Growth"] for row in found] == frame.Growth.tolist()
    assert found[0]["Table"] == "allocs"
    assert sum(row["Growth"] for row in found) == opened("v2.0.5/friday").meta.size - opened("v2.0.5/monday").meta.size
    assert {row["Growth"] for row in rows(FRIDAY, "--against", FRIDAY, "--by", "field")} == {0}
    piped = rows("-", "--against", MONDAY, stdin=FRIDAY.read_bytes())
    assert piped == found


def test_duplication(opened: Open) -> None:
    frame = measured.duplication(opened("v2.0.5/friday"))
    found = rows(FRIDAY, "--duplication")
    assert [row["Copies"] for row in found] == frame.Copies.tolist()
    assert (found[0]["Job"], found[0]["Version"]) == ("web", 2)


def test_garbage(opened: Open) -> None:
    taken = garbage.collectable(opened("v2.0.5/friday"))
    found = rows(FRIDAY, "--gc")
    assert {row["Collector"] for row in found} == set(taken.Collector)
    assert [row["Bytes"] for row in found] == [0] * len(found)
    assert sum(row["BytesLater"] for row in found) == taken.Bytes.sum()
    later = rows(FRIDAY, "--gc", "--now", "2030-01-01")
    assert sum(row["Bytes"] for row in later) == taken.Bytes.sum()
    each = rows(FRIDAY, "--gc", "--by", "object")
    assert len(each) == len(taken)
    assert list(each[0]) == ["Table", "Key", "Namespace", "Job", "Collector", "Due", "Now", "Bytes"]
    assert each[0]["Due"].endswith("Z")
    said = fine("sizes", FRIDAY, "--gc", "--by", "object", "--limit", 2)
    assert "2 shown (--limit 0 for all)\n" in said
    assert said.endswith("the state does not hold those that are configured.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gc", "--duplication"], "--against, --gc and --duplication: exclude each other"),
        (["--gc", "--by", "job"], "--gc: has groupings of its own; leave out --by"),
        (["--duplication", "--by", "object"], "--duplication: has groupings of its own"),
        (["--now", "now"], "--now: needs --gc"),
        (["--gc", "--now", "soon"], "--now: is no time 'soon'"),
        (["--against", "nothing.snap"], "nothing.snap"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str) -> None:
    assert said in failed(run("sizes", FRIDAY, *arguments))


def test_standard_input_is_read_once() -> None:
    assert "can be read once" in failed(run("sizes", "-", "--against", "-"))
    assert run("sizes", FRIDAY, "--by", "planet").status == 2


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "sizes.svg"
    assert fine("sizes", path_of("v2.0.5/friday"), "--by", "job", "--limit", "5", "-o", picture) == (
        f"{picture}: the 5 largest\n"
    )
    assert "shop/web" in picture.read_text()
    assert "is there already" in failed(run("sizes", path_of("v2.0.5/friday"), "-o", picture))
    assert "leave out" in failed(run("sizes", path_of("v2.0.5/friday"), "--gc", "-o", tmp_path / "b.svg"))
    assert "call it .svg" in failed(run("sizes", path_of("v2.0.5/friday"), "-o", tmp_path / "b.gif"))
