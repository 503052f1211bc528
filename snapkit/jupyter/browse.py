"""`snapkit.browse()`: something to click through, of whatever it is given."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    from snapkit.jupyter.browser import Browser
    from snapkit.jupyter.changes import ChangesBrowser
    from snapkit.jupyter.explorer import SnapshotBrowser
    from snapkit.state.changes.changes import Changes

TAKES = (
    "a snapshot (or its path or URL), changes of compare(), a timeline of timeline(), several snapshots (their "
    "timeline), a report of verify(), or a client (its live state); or two of snapshots, paths and clients, for what "
    "changed"
)


def browse(x: Any, to: Any = None, *, reveal: bool = False) -> SnapshotBrowser | Browser:
    """Something to click through, in Jupyter.

    With two, what changed from one to the other: `browse("monday.snap", client)` shows what has happened in the live
    cluster since that backup, and `browse(client, "monday.snap")` what a restore of it would change. A button compares
    again, with the cluster as it is by then.

    Args:
        x: A Snapshot, or anything that `open()` takes by path or URL; what `compare()`, `timeline()` or `verify()`
            gave; several snapshots in a list, for their timeline; a Client, for the live state, taken now.
        to: What to compare it with, if anything; then each is a Snapshot, its path or URL, or a Client.
        reveal: Show secrets. Of what compare() gave, `compare(…, reveal=True)` does.

    Raises:
        SnapshotError: It is nothing of these, can't be opened, or ipywidgets or anywidget is not installed.
    """
    import pandas as pd

    from snapkit.cluster.client import Client
    from snapkit.cluster.restore import Plan
    from snapkit.state.changes.changes import Changes
    from snapkit.state.findings.report import Report
    from snapkit.state.snapshot import Snapshot, open_snapshot

    if to is not None:
        return _between(x, to, reveal)
    if isinstance(x, str | os.PathLike):
        x = open_snapshot(x)
    elif isinstance(x, Client):
        x = x.snapshot()
    if isinstance(x, Snapshot):
        from snapkit.jupyter.explorer import SnapshotBrowser

        return SnapshotBrowser(x, reveal=reveal)
    if isinstance(x, Changes):
        if reveal and not x.revealed:
            raise SnapshotError("were compared with secrets masked", "the changes", "ask compare(…, reveal=True)")
        from snapkit.jupyter.changes import ChangesBrowser

        return ChangesBrowser(x)
    if isinstance(x, Report):
        from snapkit.jupyter.findings import ReportBrowser

        return ReportBrowser(x)
    if isinstance(x, list | tuple) and x and all(isinstance(each, Snapshot | str | os.PathLike) for each in x):
        from snapkit.state.changes.timeline import timeline

        x = timeline(*x)
    if isinstance(x, pd.DataFrame):
        from snapkit.jupyter.events import COLUMNS, TimelineBrowser, is_timeline

        if not is_timeline(x):
            lacks = ", ".join(name for name in COLUMNS if name not in x.columns)
            raise SnapshotError(f"is a table without {lacks}", "browse()", f"it takes {TAKES}")
        return TimelineBrowser(x)
    if isinstance(x, Plan):
        advice = "snapkit.jupyter.wizard.RestoreWizard(client, archive, journal) goes through it step by step"
        raise SnapshotError("is not enough by itself", "a plan", advice)
    raise SnapshotError(f"takes no {type(x).__name__}", "browse()", f"it takes {TAKES}")


def _between(x: Any, to: Any, reveal: bool) -> ChangesBrowser:
    """What changed from one to the other."""
    from snapkit.cluster.client import Client
    from snapkit.jupyter.changes import ChangesBrowser
    from snapkit.state.changes.compare import compare
    from snapkit.state.snapshot import Snapshot

    sides = (x, to)
    for each in sides:
        if not isinstance(each, Snapshot | Client | str | os.PathLike):
            raise SnapshotError(f"takes no {type(each).__name__}", "browse() of two", f"it takes {TAKES}")

    def compared() -> Changes:
        with ExitStack() as stack:
            a, b = (stack.enter_context(each.snapshot()) if isinstance(each, Client) else each for each in sides)
            return compare(a, b, reveal=reveal)

    live = any(isinstance(each, Client) for each in sides)
    return ChangesBrowser(compared(), again=compared if live else None)
