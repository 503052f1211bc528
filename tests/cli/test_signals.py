"""Whatever ends a command from outside, nothing half made is left and the exit status says what it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import path_of
from . import command, environment

#: A command that writes a file, and never comes to its end.
HANGS = """
import signal, sys, time
from snapkit.cli.app import app, main
from snapkit.files import atomic

@app.command()
def hang() -> None:
    with atomic("out") as file:
        print("begun", flush=True)
        time.sleep(60)

# A test runner in the background, or under nohup, has them off.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_IGN if len(sys.argv) > 1 else signal.SIG_DFL)
sys.argv[1:] = ["hang"]
main()
"""


def hanging(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HANGS, *arguments],
        env=environment(),
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert len(list(folder.iterdir())) == 1
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    process = hanging(tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + number, "snapkit: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_under_nohup_a_terminal_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    process = hanging(tmp_path, "nohup")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("closed", "status"), [(1, 2), (2, 0)])
def test_a_stream_that_is_closed_is_no_traceback(closed: int, status: int) -> None:
    script = f'"$@" {closed}>&-'
    words = ["sh", "-c", script, "sh", *command("inspect", path_of("v2.0.5/monday"))]
    done = subprocess.run(words, capture_output=True, env=environment(), timeout=60, check=False, text=True)
    assert done.returncode == status
    told = "snapkit: standard output: is closed; send it to a file, or to /dev/null\n"
    assert done.stderr == (told if closed == 1 else "")
    assert bool(done.stdout) is (closed == 2)
