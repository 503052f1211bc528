"""What all browsers have in common: a widget where a kernel is, the same in a few words of HTML where none is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snapkit.errors import SnapshotError
from snapkit.jupyter.front import display_beside


def ipywidgets() -> Any:
    """The package.

    Raises:
        SnapshotError: It is not installed.
    """
    try:
        import ipywidgets
    except ImportError as error:
        raise SnapshotError("needs the package ipywidgets", "browse()", "pip install 'snapkit[lab]'") from error
    return ipywidgets


def prose(html: str = "") -> Any:
    """A widget for HTML of ours: it reads as in a cell's output (front.css)."""
    made = ipywidgets().HTML(html)
    made.add_class("snapkit-text")
    return made


def stack(parts: Iterable[Any]) -> Any:
    """Widgets, one below the other, in light or dark as Lab's theme is (front.css)."""
    made = ipywidgets().VBox(list(parts))
    made.add_class("snapkit-browser")
    return made


def live() -> str:
    """HTML for a widget that is made of none of ours: it hides what is static beside it (front.css)."""
    style = Path(__file__).with_name("front.css").read_text(encoding="utf-8")
    return f'<style>{style}</style><span class="snapkit-live"></span>'


class Browser:
    """Something to click through.

    Attributes:
        widget: All of it, to be displayed or put among others.
    """

    widget: Any

    def to_html(self) -> str:
        """What there is to see of it without a kernel: exported, on a code host, in a notebook that is opened again.

        It is short, and the same each time.
        """
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        display_beside(self.widget, self.to_html(), repr(self))
