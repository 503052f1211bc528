"""What a coverage-guided fuzzer found worth keeping (ten minutes of atheris: no crash), and a short run of its kind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from snapkit.errors import SnapshotError
from snapkit.format.schema import TYPES

from .conftest import ROOT
from .fuzz import one
from .state import samples, test_hostile_forensics

CORPUS = sorted((ROOT / "tests" / "corpus").iterdir())
SHARES = 8


@pytest.mark.parametrize("share", range(SHARES))
def test_the_corpus_is_read_or_refused(share: int) -> None:
    assert len(CORPUS) > 100
    for path in CORPUS[share::SHARES]:
        one(path.read_bytes())


def test_mutations_of_the_corpus_are_read_or_refused() -> None:
    random = Random(20261123)
    for _ in range(60):
        data = bytearray(random.choice(CORPUS).read_bytes())
        for _ in range(random.randint(1, 8)):
            if data:
                at = random.randrange(len(data))
                data[at : at + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
        one(bytes(data))


def with_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same with other values where no others are in them."""
    if isinstance(value, dict):
        return {name: with_leaves(item, change) for name, item in value.items()}
    if isinstance(value, list):
        return [with_leaves(item, change) for item in value]
    return change(value)


EXTREMES: dict[str, Callable[[Any], Any]] = {
    "the highest numbers": lambda leaf: 2**64 - 1 if type(leaf) is int else leaf,
    "the lowest numbers": lambda leaf: -(2**63) if type(leaf) is int else leaf,
    "nothing": lambda leaf: None,
    "lists": lambda leaf: [leaf],
}


@pytest.mark.parametrize("extreme", EXTREMES)
def test_extremes_everywhere_are_told_or_refused(extreme: str) -> None:
    """A number is not to be counted up to, nor anything to be of its type."""
    change = EXTREMES[extreme]
    tables = {kind.table: [with_leaves(samples.struct(kind.struct), change)] for kind in TYPES}
    with suppress(SnapshotError):
        test_hostile_forensics.holds(samples.archive(tables))
