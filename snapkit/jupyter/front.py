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
    script, style = (
        "\n".join((here / f"{each}.{kind}").read_text(encoding="utf-8") for each in ("front", name))
        for kind in ("js", "css")
    )
    return type(f"Snapkit{name.title()}", (anywidget.AnyWidget,), {"_esm": script, "_css": style})


def display_beside(widget: Any, html: str, text: str) -> None:
    """Display a widget, and ahead of it what there is to see of it without a kernel.

    Lab shows of one output only the widget, and "model not found" where that is gone; so what is static is an output
    by itself, which the widget hides (front.css) once it has heard from a kernel.

    Args:
        widget: To be displayed.
        html: What is static.
        text: The same for where there is no HTML.
    """
    from IPython.display import display

    static = {"text/html": f'<div class="snapkit-static">{html}</div>', "text/plain": text}
    display(static, raw=True)  # type: ignore[no-untyped-call]
    # Empty HTML, so that what shows no widgets shows nothing a second time.
    live = dict(widget._repr_mimebundle_()) | {"text/html": "", "text/plain": ""}
    display(live, raw=True)  # type: ignore[no-untyped-call]


def front(name: str) -> Any:
    """A new widget, of the script and style sheet of this name.

    Raises:
        SnapshotError: anywidget is not installed.
    """
    return _kind(name)()
