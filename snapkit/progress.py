"""How far long work is: told to whoever asked, else to the face at hand, if it has a place for a bar.

The library knows no face. A notebook says here how it shows a bar, and what is marked as long work shows one unasked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from snapkit.format.archive import Progress

#: Shows one piece of work while the context lasts: what is done ("Reading"), and what it is given.
Face: TypeAlias = "Callable[[str, tuple[Any, ...]], AbstractContextManager[Progress | None]]"
F = TypeVar("F", bound=Callable[..., Any])

_face: Face | None = None
_outer: ContextVar[Progress | None] = ContextVar("_outer", default=None)


def show_by(face: Face | None) -> None:
    """From now on, show long work by this."""
    global _face
    _face = face


def long_work(doing: str) -> Callable[[F], F]:
    """Mark a function with an argument `progress` as one that may take long: where nobody asked, the face is told.

    What it calls shares its bar.
    """

    def marked(function: F) -> F:
        @wraps(function)
        def told(*args: Any, **given: Any) -> Any:
            if given.get("progress") is not None or _face is None:
                return function(*args, **given)
            if (outer := _outer.get()) is not None:
                return function(*args, **given | {"progress": outer})
            with _face(doing, args) as shown:
                token = _outer.set(shown)
                try:
                    return function(*args, **given | {"progress": shown})
                finally:
                    _outer.reset(token)

        return cast("F", told)

    return marked
