"""A bar in a notebook while it takes long: it shows itself unasked, can be stopped, and takes itself away.

IPython's own bar can't be taken back, and tqdm's and Rich's leave a line in the notebook's file. Of this one nothing is
stored: its place is made empty and left empty, so that outputs are the same whether it was slow or not.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snapkit.format.archive import Progress, describe
from snapkit.page import escaped
from snapkit.progress import show_by

PATIENCE = 1.0  # seconds that work may take without a bar
EVERY = 0.2  # seconds from one look of the bar to the next


def install() -> None:
    """Show long work in this notebook, from now on."""
    show_by(bar)


@contextmanager
def bar(doing: str, given: tuple[Any, ...] = ()) -> Iterator[Progress | None]:
    """A bar for one piece of work of a cell; None where there is no notebook to show it, in threads and of buttons.

    Args:
        doing: Such as "Reading".
        given: What the work was given; those that are files or URLs are named.
    """
    if not _in_a_cell():
        yield None
        return
    from IPython.display import DisplayHandle

    handle: Any = None
    started = seen = time.monotonic()
    over = False
    lock = threading.Lock()

    def tell(done: int, total: int | None) -> None:
        nonlocal handle, seen
        now = time.monotonic()
        with lock:  # what tells may be in a thread of its own, and the last of it late
            if over or now - started < PATIENCE or now - seen < EVERY or (handle is None and done == total):
                return
            seen = now
            if handle is None:
                handle = DisplayHandle()  # type: ignore[no-untyped-call]
                handle.display({}, raw=True)  # the place alone: what is stored of it
            handle.update(_shown(doing, given, done, total, now - started), raw=True)

    try:
        yield tell
    finally:
        with lock:
            over = True
            if handle is not None:
                handle.update({}, raw=True)


def _in_a_cell() -> bool:
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None or threading.current_thread() is not threading.main_thread():
        return False
    header = kernel.get_parent("shell").get("header") or {}
    return bool(header.get("msg_type") == "execute_request")  # what a button does has no cell to put out to


def _shown(doing: str, given: tuple[Any, ...], done: int, total: int | None, seconds: float) -> dict[str, str]:
    names = ", ".join(describe(part) for part in given if isinstance(part, str | os.PathLike))
    told = " ".join(part for part in (doing, names) if part)
    if total:
        part = min(done / total, 1.0)
        value, far = f' value="{part:.3f}"', f"{part:.0%}, {seconds:,.0f} s"
    else:
        value, far = "", f"{done:,} bytes, {seconds:,.0f} s"
    html = (
        f'<label>{escaped(told)} <progress max="1"{value} style="width:20em;vertical-align:middle"></progress> '
        f"{far}</label> <small>(the stop button ends it)</small>"
    )
    return {"text/html": html, "text/plain": f"{told}: {far}"}
