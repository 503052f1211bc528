"""Runs code in a process of its own, with a bound on memory and on time: bombs go off there."""

from __future__ import annotations

import subprocess
import sys
import textwrap

_PRELUDE = """
import resource, sys
import pandas, pyarrow, snapkit, snapkit.state.snapshot
from tests import forge
# What is there after the imports, and so much more.
pages = int(open("/proc/self/statm").read().split()[0]) if sys.platform == "linux" else None
if pages is not None:
    most = pages * resource.getpagesize() + {memory}
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

def outcome(look, source, **kwargs):
    'What came of it: "whole", or the SnapshotError.'
    try:
        with snapkit.open(source, **kwargs) as snap:
            look(snap)
        return "whole"
    except snapkit.SnapshotError as error:
        assert error.what
        return f"{{type(error).__name__}}: {{error}}"

def look_at_all(snap):
    'Every table and both reprs: each a frame or a SnapshotError.'
    for what in (repr, lambda s: s._repr_html_(), *(lambda s, t=t: s.table(t) for t in snap.tables.index)):
        try:
            what(snap)
        except snapkit.SnapshotError as error:
            assert error.what
"""


def run(code: str, *, memory: int = 1 << 30, seconds: float = 60) -> str:
    """What `code` prints.

    Args:
        code: Sees snapkit, forge, outcome() and look_at_all().
        memory: Bytes of address space that it may take beyond its imports.
        seconds: It is killed after them: so that a hang is a failure and no hang of the tests. No measure of speed.
    """
    program = _PRELUDE.format(memory=memory) + textwrap.dedent(code)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise AssertionError(f"no end after {seconds} seconds") from None
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-1500:]}"
    return done.stdout
