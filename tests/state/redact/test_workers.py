"""Redacting by several processes: the same archive, and none of them is left, whatever happens."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit.errors import RecordError, SnapshotError
from snapkit.format.schema import BY_TABLE
from snapkit.state.redact import workers
from snapkit.state.redact.profiles import Profile
from snapkit.state.redact.records import Records
from snapkit.state.redact.seen import Seen
from snapkit.state.redact.whole import redact
from tests import forge

from ...conftest import path_of
from .. import samples

FRIDAY = path_of("v2.0.5/friday")
EVAL = BY_TABLE["evals"].byte
SECRET = "8a7b5c3d-0000-4000-8000-000000000007"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that were started; at the end none of them runs."""
    found: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            found.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    yield found
    assert found
    assert all(process.returncode is not None for process in found)


def tar(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("profile", ["share", "strict"])
def test_two_processes_write_what_one_does(
    profile: Profile, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    told: list[int] = []
    alone = redact(FRIDAY, tmp_path / "1.snap", profile=profile, key="k", token=SECRET, workers=1)
    shared = redact(
        FRIDAY, tmp_path / "2.snap", profile=profile, key="k", token=SECRET, workers=2,
        progress=lambda done, total: told.append(done),
    )  # fmt: skip
    assert len(started) == 2
    assert tar(tmp_path / "2.snap") == tar(tmp_path / "1.snap")
    assert (shared.counts, shared.notes, shared.left) == (alone.counts, alone.notes, alone.left)
    assert told == sorted(told)


def evals(*odd: bytes) -> bytes:
    """An archive of evaluations, and what else is to be taken for one."""
    record = samples.struct("Evaluation") | {"Zorro": "zorro"}
    return forge.archive(
        forge.state(*(forge.record(EVAL, record) for _ in range(3)), *(EVAL.to_bytes() + o for o in odd))
    )


def test_what_a_process_learns_is_told(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    done = redact(evals(), tmp_path / "a.snap", workers=2)
    assert any("Evaluation.Zorro is not known" in note for note in done.notes)
    assert done.counts["evals", "Evaluation.Zorro"] == 3
    with snapkit.open(tmp_path / "a.snap") as snap:
        assert b"zorro" not in b"".join(packed for _, packed in snap.raw())


def test_what_a_process_can_not_decode_is_said_as_ever(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    with pytest.raises(RecordError) as alone:
        redact(evals(b"\xa5zorro"), tmp_path / "a.snap", profile="strict", workers=1)
    with pytest.raises(RecordError) as shared:
        redact(evals(b"\xa5zorro"), tmp_path / "a.snap", profile="strict", workers=2)
    assert str(shared.value) == str(alone.value)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_ends_it_with_one_error(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    def kill(done: int, total: int | None) -> None:
        for process in started:
            os.kill(process.pid, signal.SIGKILL)

    with snapkit.open(FRIDAY) as snap, pytest.raises(SnapshotError, match="a process that redacted records has ended"):
        redact(snap, tmp_path / "a.snap", workers=2, progress=kill)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_before_it_has_told_its_counts_is_one_error(
    started: list[subprocess.Popen[bytes]],
) -> None:
    with workers.working(Records("share", b"k", Seen()), 2) as work:
        for process in started:
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(SnapshotError, match="a process that redacted records has ended"):
            work.end()


def test_ctrl_c_leaves_nothing(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with snapkit.open(FRIDAY) as snap, pytest.raises(KeyboardInterrupt):
        redact(snap, tmp_path / "a.snap", workers=2, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_folder_where_it_is_run_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]]
) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    redact(FRIDAY, tmp_path / "a.snap", workers=2)


def test_a_worker_ends_with_who_started_it(started: list[subprocess.Popen[bytes]]) -> None:
    with workers.working(Records("share", b"k", Seen()), 2):
        pass


def test_a_process_that_can_not_be_started_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(SnapshotError, match="can't start a process"):
        redact(FRIDAY, tmp_path / "a.snap", workers=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_is_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="1 or more"):
        redact(FRIDAY, tmp_path / "a.snap", workers=count)


def test_a_small_state_is_done_here_and_a_large_one_by_as_many_as_there_are_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    assert workers.processes(None, 1 << 20) == 1
    assert workers.processes(None, 1 << 30) == 4
    assert workers.processes(1, 1 << 30) == 1
