"""`snapkit timeline`: what happened and when, for people, scripts and Timesketch."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from snapkit.state.changes.timeline import timeline

from ..conftest import path_of
from ..state.samples import archive
from . import failed, fine, run

WEEK = [path_of(f"v2.0.5/{day}") for day in ("monday", "tuesday", "wednesday", "thursday", "friday")]
THURSDAY = WEEK[3]


def told(*arguments: object, **kwargs: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fine("timeline", *arguments, "--json", **kwargs))
    return found


def lines(*arguments: object) -> list[str]:
    """What people are shown, without rules and empty lines."""
    text = fine("timeline", *arguments, columns=300)
    return [line.strip() for line in text.splitlines() if line.strip() and "─" not in line]


# -- for people


def test_people_see_moments_windows_and_what_happened() -> None:
    wanted = (
        "--kind",
        "acl_token",
        "--kind",
        "acl_policy",
        "--since",
        "2026-11-23T22:08:50Z",
        "--until",
        "2026-11-23T22:09:09Z",
    )
    head, *rows, last = lines(*WEEK, *wanted)
    assert head.split("  ")[0] == "When (UTC)"
    assert [" ".join(row.split()) for row in rows] == [
        "2026-11-23 22:08:55.373 acl_token.created ACL token svc-backup (management, b11d19dc) was created 137",
        "2026-11-23 22:08:54.918 to 22:08:56.439 acl_policy.changed ACL policy anonymous was changed 138",
        "2026-11-23 22:09:03.553 to 22:09:04.984 acl_policy.changed ACL policy anonymous was changed 150",
        "2026-11-23 22:09:03.553 to 22:09:04.984 acl_token.deleted ACL token svc-backup (management, b11d19dc) was "
        "deleted, after index 148 and by index 151: the last write there is of no record that is left 151",
    ]
    assert last == "4 events"


def test_a_window_that_is_open_on_a_side_says_so() -> None:
    assert lines(THURSDAY, "--kind", "namespace.created", "--limit", 1)[1].startswith("before 2026-11-23 22:08:18.569")
    bare = path_of("v2.0.5/monday").parent / "raft-snapshots" / "2-201-1795471761094" / "state.bin"
    rows = lines(bare, "--kind", "snapshot.taken")
    assert rows[1].startswith("after 2026-11-23 22:09:1")


def test_no_more_rows_than_asked_for_and_how_many_there_are() -> None:
    rows = lines(THURSDAY, "--limit", 3)
    assert len(rows) == 5
    assert rows[-1].endswith(" events, 3 shown (--limit 0 for all)")
    assert lines(THURSDAY, "--kind", "nothing*") == ["0 events"]


def test_nothing_in_an_archive_drives_the_terminal(tmp_path: Path) -> None:
    target = tmp_path / "odd.snap"
    target.write_bytes(archive({"namespaces": [{"Name": "a\x1b[2Jb\nc", "CreateIndex": 5, "ModifyIndex": 5}]}))
    text = fine("timeline", target)
    assert "\x1b" not in text
    assert "Namespace a\N{REPLACEMENT CHARACTER}[2Jb c was created" in text


def test_a_clock_that_contradicts_itself_is_a_note(tmp_path: Path) -> None:
    noon = 1_795_435_200_000_000_000
    evals = [
        {"ID": f"e{index}", "CreateIndex": index, "CreateTime": noon + seconds * 10**9}
        for index, seconds in ((5, 0), (6, 10), (7, -90), (8, 20))
    ]
    target = tmp_path / "odd.snap"
    target.write_bytes(archive({"evals": evals}))
    ran = run("timeline", target)
    assert ran.status == 0
    assert ran.err.splitlines() == [
        "snapkit: note: 1 of 5 pairs of index and time contradict the rest (indexes 7 to 7, by up to 100.0 s): "
        "a server's clock was set back, or these records kept an old time"
    ]


# -- for scripts


def test_json_has_the_timeline() -> None:
    two = WEEK[1:3]
    rows = told(*two)
    frame = timeline(*two)
    assert len(rows) == len(frame)
    assert list(rows[0]) == list(frame.columns)
    made = next(row for row in rows if row["Kind"] == "acl_token.created" and "svc-backup" in row["Message"])
    assert made["Time"] == made["TimeEarliest"] == made["TimeLatest"] == "2026-11-23T22:08:55.373418922Z"
    assert (made["Index"], made["Table"], made["Node"]) == (137, "acl_tokens", None)
    assert len(told(THURSDAY, "--limit", 7)) == 7


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--kind", "scaling.event"], {"scaling.event"}),
        (["--kind", "*.deleted", "--table", "jobs"], {"job.deleted"}),
        (["--job", "metrics-agent"], {"eval.created", "eval.changed"}),
        (["--job", "metrics*", "--kind", "eval.created"], {"eval.created"}),
        (["--node", "client1", "--kind", "node"], {"node.event"}),
        (["--until", "2026-11-23T22:08:19Z", "--kind", "cluster"], {"cluster.created"}),
        (["--since", "2026-11-24"], {"acl_token.expires"}),
        (["--since", "2026-11-24 01:00+02:00"], {"acl_token.expires"}),
    ],
)
def test_some_of_the_events(options: list[str], expected: set[str]) -> None:
    assert {row["Kind"] for row in told(THURSDAY, *options)} == expected


def test_a_node_by_its_id() -> None:
    by_name = told(THURSDAY, "--node", "client1")
    (node,) = {row["Node"] for row in by_name}
    assert told(THURSDAY, "--node", node[:8]) == by_name


def test_files_by_a_pattern_each_once() -> None:
    monday, tuesday = path_of("v1.8.4/monday"), path_of("v1.8.4/tuesday")
    assert told(monday.parent / "*.snap", tuesday, "--kind", "job") == told(tuesday, monday, "--kind", "job")


def test_standard_input() -> None:
    assert told("-", stdin=THURSDAY.read_bytes()) == told(THURSDAY)


# -- as a file


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_it_is_written_as_its_suffix_says(suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"week.{suffix}"
    assert fine("timeline", THURSDAY, "--kind", "eval", "-o", target) == f"{target}: 50 events\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    if suffix == "parquet":
        assert len(pd.read_parquet(target)) == 50
    else:
        assert len(target.read_text(encoding="utf-8").splitlines()) == 50 + (suffix == "csv")


def test_another_format_and_the_outcome_as_json(tmp_path: Path) -> None:
    target = tmp_path / "events"
    written = fine("timeline", THURSDAY, "--limit", 5, "--format", "jsonl", "--output", target, "--json")
    assert json.loads(written) == {"Path": str(target), "Events": 5}
    assert [
        set(json.loads(line)) >= {"message", "datetime", "timestamp_desc"} for line in target.read_text().splitlines()
    ] == [True] * 5


def test_nothing_is_replaced_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "events.csv"
    target.write_text("mine")
    assert "is there already" in failed(run("timeline", THURSDAY, "-o", target))
    assert target.read_text() == "mine"
    fine("timeline", THURSDAY, "-o", target, "--overwrite")
    assert target.read_text().startswith('"message"')


# -- what can't be done


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([THURSDAY, path_of("v1.8.4/monday")], "are of different clusters"),
        ([THURSDAY, "--since", "yesterday-ish"], "--since: is no time 'yesterday-ish'; give one such as 2026-11-24"),
        ([THURSDAY, "--until", "NaT"], "--until: is no time 'NaT'"),
        ([THURSDAY, "--table", "job"], "has no table 'job'; did you mean jobs"),
        ([THURSDAY, "--format", "csv"], "--format: needs --output"),
        ([THURSDAY, "-o", "events.xlsx"], "is no format"),
        (["/nowhere/*.snap"], "/nowhere/*.snap: matches no file"),
        (["/nowhere/a.snap"], "/nowhere/a.snap"),
    ],
)
def test_one_line_says_what_is_wrong(arguments: list[object], expected: str) -> None:
    assert expected in failed(run("timeline", *arguments))


@pytest.mark.parametrize(("name", "begins"), [("a.svg", b"<?xml"), ("a.png", b"\x89PNG")])
def test_a_picture(tmp_path: Path, name: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib")
    told = fine("timeline", path_of("v2.0.5/monday"), "--job", "web", "-o", tmp_path / name)
    assert told.startswith(f"{tmp_path / name}: ")
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert "is there already" in failed(run("timeline", path_of("v2.0.5/monday"), "-o", tmp_path / name))
