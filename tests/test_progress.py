"""Long work tells whoever asked; where nobody did, the face at hand; and of work within work, one bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import snapkit
from snapkit import progress as library
from snapkit.progress import long_work, show_by

from .conftest import path_of

MONDAY, TUESDAY = path_of("v2.0.5/monday"), path_of("v2.0.5/tuesday")


class Face:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, tuple[Any, ...]]] = []
        self.ended = 0
        self.told: list[tuple[int, int | None]] = []

    @contextmanager
    def __call__(self, doing: str, given: tuple[Any, ...]) -> Iterator[Any]:
        self.begun.append((doing, given))
        try:
            yield lambda done, total: self.told.append((done, total))
        finally:
            self.ended += 1


@pytest.fixture
def face() -> Iterator[Face]:
    face, before = Face(), library._face
    show_by(face)
    yield face
    show_by(before)


def test_a_face_is_told_of_work_that_nobody_asked_about(face: Face) -> None:
    with snapkit.open(MONDAY) as snap:
        assert face.begun == [("Reading", (MONDAY,))]
        assert face.told[-1] == (MONDAY.stat().st_size, MONDAY.stat().st_size)
        assert snapkit.verify(MONDAY).ok
        assert face.begun[1:] == [("Verifying", (MONDAY,))]
        face.told.clear()
        snapkit.compare(snap, snap)
        assert face.begun[2][0] == "Comparing"
        assert face.told[-1][0] == face.told[-1][1], "work on what is open already is told too"
        snap.timeline()
        assert face.begun[3][0] == "Dating"
        assert face.told[-1][0] == face.told[-1][1]
    assert face.ended == len(face.begun)


def test_work_within_work_shares_the_bar(face: Face) -> None:
    snapkit.compare(MONDAY, TUESDAY)
    assert [doing for doing, _ in face.begun] == ["Comparing"]
    sizes = {path.stat().st_size for path in (MONDAY, TUESDAY)}
    assert sizes <= {total for _, total in face.told}, "of both archives it was told how far it is"


def test_who_asks_is_told_and_the_face_is_not(face: Face) -> None:
    told = []
    snapkit.open(MONDAY, progress=lambda done, total: told.append((done, total))).close()
    assert told
    assert not face.begun


def test_a_face_may_have_no_place_for_it() -> None:
    @contextmanager
    def nothing(doing: str, given: tuple[Any, ...]) -> Iterator[None]:
        yield None

    before = library._face
    show_by(nothing)
    try:
        snapkit.open(MONDAY).close()
    finally:
        show_by(before)


def test_it_ends_when_the_work_fails(face: Face) -> None:
    with pytest.raises(snapkit.SnapshotError):
        snapkit.open(b"no archive")
    assert (len(face.begun), face.ended) == (1, 1)
    with pytest.raises(snapkit.SnapshotError):
        snapkit.open(b"no archive")
    assert len(face.begun) == 2, "and the next work is by itself"


def test_what_is_marked_keeps_its_name_and_its_words() -> None:
    @long_work("Testing")
    def work(progress: Any = None) -> Any:
        """What it does."""
        return progress

    assert (work.__name__, work.__doc__) == ("work", "What it does.")
    assert work() is None, "without a face nobody is told"
