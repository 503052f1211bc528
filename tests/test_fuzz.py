"""What a coverage-guided fuzzer found worth keeping (ten minutes of atheris: no crash), and a short run of its kind."""

from __future__ import annotations

from random import Random

import pytest

from .conftest import ROOT
from .fuzz import one

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
