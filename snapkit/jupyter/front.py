"""Widgets of our own: a script and a style sheet beside this file, that follow Lab's theme and load nothing.

What an archive holds goes to the browser in messages, a screenful at a time, and never into a widget's state: that is
what a notebook is saved with.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from snapkit.errors import SnapshotError


@cache
def _kind(name: str) -> Any:
    try:
        import anywidget
    except ImportError as error:
        raise SnapshotError("needs the package anywidget", "a widget", "pip install 'snapkit[lab]'") from error
    here = Path(__file__).parent
    script = (here / f"{name}.js").read_text(encoding="utf-8")
    style = (here / f"{name}.css").read_text(encoding="utf-8")
    return type(f"Snapkit{name.title()}", (anywidget.AnyWidget,), {"_esm": script, "_css": style})


def front(name: str) -> Any:
    """A new widget, of the script and style sheet of this name.

    Raises:
        SnapshotError: anywidget is not installed.
    """
    return _kind(name)()
