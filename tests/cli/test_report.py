"""`snapkit report`: where the page goes, what is said beside it, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import stat
from pathlib import Path

import pytest

from ..conftest import path_of
from ..state import samples
from . import failed, fine, run, spawn

THURSDAY, FRIDAY = path_of("v2.0.5/thursday"), path_of("v2.0.5/friday")


def test_a_page_in_a_file_never_over_another_unless_asked(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert fine("report", FRIDAY, "-o", page) == f"{page}: {FRIDAY}: ok; 12 warnings, 3 notes\n"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text("ascii")
    assert text.startswith("<!DOCTYPE html>")
    assert f"<h1>Nomad snapshot {FRIDAY}</h1>" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "is there already" in failed(run("report", THURSDAY, "-o", page))
    assert page.read_text("ascii") == text
    fine("report", THURSDAY, "-o", page, "--overwrite")
    assert f"<h1>Nomad snapshot {THURSDAY}</h1>" in page.read_text("ascii")


def test_of_two_that_differ_the_status_is_0_as_the_page_is_what_was_asked_for(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    told = fine("report", THURSDAY, FRIDAY, "-o", page)
    assert told.count(": ok; ") == 2
    assert "What changed" in page.read_text("ascii")


def test_without_a_file_it_goes_to_standard_output_and_from_standard_input() -> None:
    text = fine("report", "-", "--rows", 3, stdin=FRIDAY.read_bytes())
    assert text.startswith("<!DOCTYPE html>")
    assert "These are the last 3 of 280; <code>snapkit timeline " in text


def test_a_terminal_is_no_place_for_a_page() -> None:
    ours, theirs = pty.openpty()
    try:
        ran = spawn("report", FRIDAY, stdout=theirs)
        assert ran.status == 2
        assert ran.err == "snapkit: a page: is nothing for a terminal; name a file, as in -o report.html\n"
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)
    finally:
        os.close(ours)
        os.close(theirs)


def test_json_tells_where_it_is_and_what_it_holds(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    told = json.loads(fine("report", FRIDAY, "-o", page, "--json"))
    assert told["path"] == str(page)
    assert told["bytes"] == page.stat().st_size
    assert told["ok"] is True
    assert {section["id"] for section in told["sections"]} >= {"verdict", "tables", "timeline", "tokens"}
    assert json.loads(fine("report", FRIDAY, "--json"))["path"] is None


def test_the_same_page_twice_by_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPKIT_REPORT_KEY", "fixed")
    files = [tmp_path / name for name in ("a.snap", "b.snap")]
    for file in files:
        file.write_bytes(samples.archive({"nodes": [{"ID": "n", "SecretID": file.name}]}))
    page = run("report", *files).out
    assert "masked:" in page
    assert spawn("report", *files).out == page


def test_an_error_of_verify_is_status_1(tmp_path: Path) -> None:
    source, page = tmp_path / "odd.snap", tmp_path / "report.html"
    source.write_bytes(samples.archive({"nodes": [{"ID": 7}]}))
    source.chmod(0o600)
    ran = run("report", source, "-o", page)
    assert ran.status == 1
    assert ": not ok; " in ran.out
    assert all(line.startswith("snapkit: note: ") for line in ran.err.splitlines())  # what could not be told
    assert "Not ok." in page.read_text("ascii")


def test_a_damaged_one_is_status_2_and_its_page_is_there_all_the_same(tmp_path: Path) -> None:
    source, page = tmp_path / "cut.snap", tmp_path / "report.html"
    source.write_bytes(FRIDAY.read_bytes()[:30_000])
    ran = run("report", source, "-o", page)
    assert ran.status == 2
    assert ran.out == f"{page}: {source}: DAMAGED; not ok; 1 error, 1 warning\n"
    [line] = ran.err.splitlines()
    assert line.startswith(f"snapkit: {source}: byte 30,000: the gzip stream ends too early")
    assert line.endswith(f"{page} has what can still be told")
    assert "Damaged." in page.read_text("ascii")
    told = json.loads(run("report", FRIDAY, source, "--json").out)
    assert [bool(snapshot["damage"]) for snapshot in told["snapshots"]] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.snap"], "can't be read"),
        (["-", "-"], "can be read once"),
        ([FRIDAY, "--rows", -1], "at least 0"),
        ([FRIDAY, "--now", "noon"], "is no time"),
        ([FRIDAY, "-o", "none/report.html"], "can't be written"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    arguments: list[object], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in failed(run("report", *arguments))
    assert list(tmp_path.iterdir()) == []
