"""`snapkit fleet`: many archives on the command line, for cron and CI."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ARCHIVES, DATA, oracle
from ..fleet.series import HERE, START, damaged, hourly, made, written
from . import command, environment, failed, fine, run, spawn

NOW = f"{START + timedelta(hours=12):%Y-%m-%dT%H:%M:%SZ}"


def rows(*arguments: object, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fine("fleet", "list", *arguments, "--json", **more))
    return found


def test_help_is_there() -> None:
    for arguments in (("--help",), ("list", "-h"), ("check", "--help")):
        assert "Usage: snapkit fleet" in fine("fleet", *arguments)
    assert "fleet" in fine("--help")


def test_list_shows_what_there_is() -> None:
    pattern = str(DATA / "*" / "*.snap")
    found = rows(pattern)
    assert {row["Source"] for row in found} == {str(DATA / f"{archive}.snap") for archive in ARCHIVES}
    tables = [row for row in rows(pattern, "--show", "tables") if row["Source"].endswith("v2.0.5/friday.snap")]
    stats = oracle("v2.0.5/friday", "inspect")["Stats"]
    assert sorted((row["Count"], row["Bytes"]) for row in tables) == sorted((s["Count"], s["Sum"]) for s in stats)
    text = fine("fleet", "list", pattern, "--level", "meta")
    assert text.splitlines()[-1] == f"{len(ARCHIVES)} rows"
    assert "SHA256" not in text
    assert len(rows(pattern, "--show", "newest-good")) == 5
    assert len(rows(pattern, "--show", "clusters", "--limit", 2)) == 2


@pytest.mark.parametrize("show", ["archives", "tables", "findings", "clusters", "gaps", "mixed", "went-back"])
def test_every_view_has_its_table_and_its_json(tmp_path: Path, show: str) -> None:
    hourly(tmp_path, 3)
    rows(str(tmp_path), "--show", show)
    assert "row" in fine("fleet", "list", str(tmp_path), "--show", show).splitlines()[-1]


def test_list_has_damage_as_a_row(tmp_path: Path) -> None:
    hourly(tmp_path, 2)
    written(tmp_path, "bad.snap", damaged(made()))
    assert [row["Verdict"] for row in rows(str(tmp_path))] == ["unknown", "unknown", "error"]
    assert [row["Missing"] for row in rows(str(tmp_path), "--show", "gaps", "--expected", "10min")] == [5]


def test_check_is_for_cron(tmp_path: Path) -> None:
    folder, store = tmp_path / "snaps", tmp_path / "store"
    hourly(folder, 10)
    line = ("fleet", "check", str(folder / "*.snap"), "--store", store, "--now", NOW)
    first = run(*line)
    assert (first.status, first.err) == (0, "")
    assert first.out.splitlines()[-1] == "10 archives, 10 read now: 10 ok"
    written(folder, "bad.snap", damaged(made()))
    second = run(*line)
    assert (second.status, second.err) == (1, "")
    assert second.out.splitlines()[0].startswith(f"{folder}/bad.snap: not ok; 1 error; error: archive.")
    assert second.out.splitlines()[-1] == "11 archives, 1 read now: 10 ok, 1 not ok"
    assert run(*line, "--only-new").status == 0
    assert run(*line, "--only-new", "--max-age", "1h").status == 1
    assert json.loads(run(*line, "--json").out)["status"] == 1


def test_nothing_goes_without_prune(tmp_path: Path) -> None:
    folder = tmp_path / "snaps"
    hourly(folder, 5)
    line = ("fleet", "check", str(folder), "--keep", "last=2", "--now", NOW)
    told = fine(*line)
    assert len(list(folder.iterdir())) == 5
    assert told.count("\nwould go: ") == 3
    done = fine(*line, "--prune")
    assert f"\n{done}".count("\nremoved: ") == 3
    assert sorted(path.name for path in folder.iterdir()) == ["0003.snap", "0004.snap"]


def test_files_for_machines(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    folder = tmp_path / "snaps"
    hourly(folder, 3)
    out = tmp_path / "out"
    out.mkdir()
    line = ("fleet", "check", str(folder), "--metrics", out / "m.prom", "--junit", out / "j.xml", "--now", NOW)
    fine(*line)
    assert {s.value for f in parser.text_string_to_metric_families((out / "m.prom").read_text()) for s in f.samples}
    assert (out / "j.xml").read_text().count("<testsuite ") == 3
    assert [stat.S_IMODE((out / name).stat().st_mode) for name in ("m.prom", "j.xml")] == [0o644, 0o600]
    assert "is there already" in failed(run(*line))
    fine(*line, "--overwrite")
    assert sorted(path.name for path in out.iterdir()) == ["j.xml", "m.prom"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "{}", "--prune"], "--prune: needs --keep"),
        (["check", "{}", "--keep", "dayly=1"], "the retention rule: can't be understood at 'dayly=1'"),
        (["check", "{}", "--max-age", "26"], "--max-age: is no duration '26'"),
        (["check", "{}", "--now", "soon"], "--now: is no time 'soon'"),
        (["check", "{}", "--target", "x"], "target: is no release 'x'"),
        (["check", "{}/none*"], "matches no file; check the pattern"),
        (["check", "{}/none.snap"], "none.snap: can't be read (No such file or directory)"),
        (["check", "{}", "--dask", "nonsense://x"], "the Dask cluster nonsense://x: can't be reached"),
        (["check", "{}", "--dask", "tcp://127.0.0.1:9", "--workers", 2], "client and workers: exclude each other"),
        (["list", "{}", "--expected", "1h"], "--expected: needs --show gaps"),
        (["list", "{}", "--show", "gaps", "--expected", "x"], "expected: is no duration 'x'"),
        (["check", "nonsense://bucket/*.snap"], "nonsense://bucket/*.snap: can't be listed"),
    ],
)
def test_what_can_not_be_done_is_one_line(tmp_path: Path, arguments: list[object], message: str) -> None:
    hourly(tmp_path, 1)
    assert message in failed(run("fleet", *(str(a).replace("{}", str(tmp_path)) for a in arguments)))


def test_what_can_not_be_looked_at_is_2_and_the_rest_is_told(tmp_path: Path) -> None:
    hourly(tmp_path, 2)
    (tmp_path / "dangling.snap").symlink_to(tmp_path / "elsewhere")
    ran = run("fleet", "check", str(tmp_path), "--now", NOW)
    assert ran.status == 2
    assert ran.out.splitlines()[-1] == "3 archives, 3 read now: 2 ok, 1 could not be read"
    assert "dangling.snap: can't be opened" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert run("fleet", "list", str(tmp_path)).status == 2


def test_it_answers_at_once_and_imports_no_pandas_for_help() -> None:
    code = "import sys, snapkit.cli.fleet; print('pandas' in sys.modules, 'distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_several_processes_on_the_command_line(tmp_path: Path) -> None:
    hourly(tmp_path, 3)
    ran = spawn("fleet", "check", tmp_path, "--workers", 2, "--now", NOW)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == fine("fleet", "check", tmp_path, "--now", NOW)
    assert f"newest good: {HERE}" in ran.out


def test_ctrl_c_while_processes_start_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """As a terminal has it: all of them hear it, at a moment when the first is there and does not listen yet."""
    psutil = pytest.importorskip("psutil")
    hourly(tmp_path / "snaps", 3)
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        command("fleet", "check", tmp_path / "snaps", "--workers", 2, "--now", NOW),
        env=environment(TMPDIR=tmp_path / "tmp"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def started() -> list[Any]:
        found = psutil.Process(process.pid).children(recursive=True)
        return [child for child in found if any("spawn_main" in word for word in child.cmdline())]

    ends = time.monotonic() + 60
    while not started():
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.005)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "snapkit: interrupted\n")
    assert not psutil.wait_procs(children, timeout=30)[1]
    assert not list((tmp_path / "tmp").iterdir())
