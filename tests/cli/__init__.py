"""The command, run as `snapkit` runs it: in this process where that tells the same, else as a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple
from unittest import mock

from snapkit import cli

from ..conftest import ROOT

#: Runs a program with Ctrl-C as a shell has it (a test runner in the background may have it off) and little memory.
_LAUNCH = """
import os, resource, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
if int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
os.execv(sys.executable, [sys.executable, "-W", "error", "-c", "from snapkit.cli import main; main()", *sys.argv[2:]])
"""


class Ran(NamedTuple):
    """What came of a command: its exit status, and what it wrote."""

    status: int
    out: str
    err: str


def run(*arguments: object, stdin: bytes = b"", columns: int = 200) -> Ran:
    """Run `snapkit` with these arguments in this process."""
    status: Any = 0
    with ExitStack() as stack:
        # Real files: the command may turn the one behind stdout off, which leaves the other handle to it.
        files = [stack.enter_context(TemporaryFile()) for _ in range(2)]
        streams = [stack.enter_context(open(os.dup(f.fileno()), "w", encoding="utf-8")) for f in files]  # noqa: PTH123
        stack.enter_context(mock.patch.object(sys, "argv", ["snapkit", *map(str, arguments)]))
        stack.enter_context(mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))))
        stack.enter_context(mock.patch.dict(os.environ, {"COLUMNS": str(columns)}))
        stack.enter_context(redirect_stdout(streams[0]))
        stack.enter_context(redirect_stderr(streams[1]))
        try:
            cli.main()
        except SystemExit as error:
            status = error.code or 0
        for stream in streams:
            stream.flush()
        written = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode() for file in files]
    return Ran(status, *written)


def fine(*arguments: object, **kwargs: Any) -> str:
    """The output of a command that must do well, saying nothing else."""
    ran = run(*arguments, **kwargs)
    assert (ran.status, ran.err) == (0, "")
    return ran.out


def failed(ran: Ran) -> str:
    """The one line of a command that must fail."""
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith("snapkit: ")
    assert ran.err.endswith("\n")
    assert len(ran.err.splitlines()) == 1
    assert "Traceback" not in ran.err
    assert all(c.isprintable() for c in ran.err[:-1])
    return ran.err[:-1]


def command(*arguments: object, memory: int = 0) -> list[str]:
    """The command line of a process of its own, with at most so many bytes of address space."""
    return [sys.executable, "-c", _LAUNCH, str(memory), *map(str, arguments)]


def environment(**changes: object) -> dict[str, str]:
    """Without what would make Python write what is printed at once."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | {name: str(value) for name, value in changes.items()}


def spawn(*arguments: object, memory: int = 0, cwd: Path | None = None, **kwargs: Any) -> Ran:
    """Run `snapkit` as a process of its own."""
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(
        command(*arguments, memory=memory), env=environment(), cwd=cwd, timeout=60, check=False, **(streams | kwargs)
    )
    return Ran(done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode())
