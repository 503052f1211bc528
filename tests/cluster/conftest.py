"""What the tests of clusters share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from .raw import Raw, listening


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    """`listening()` that stops when the test ends."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(listening(*args, **kwargs))
