"""Work on pieces in another thread: hashing and inflating let go of Python's lock.

Threads are daemons: nobody waits for one that hangs in a read from a pipe, after an error or Ctrl-C.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Self

DEPTH = 4  # chunks that a thread may be ahead or behind


@contextmanager
def ahead(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """The same pieces, the next of which are made in another thread while the last is used."""
    made: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
    room: SimpleQueue[None] = SimpleQueue()
    ended = threading.Event()

    def make() -> None:
        try:
            for piece in pieces:
                made.put(piece)
                room.get()
                if ended.is_set():
                    return
            made.put(None)
        except BaseException as error:
            made.put(error)

    def take() -> Iterator[bytes]:
        while (piece := made.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            room.put(None)

    for _ in range(DEPTH):
        room.put(None)
    threading.Thread(target=make, name="snapkit-ahead", daemon=True).start()
    try:
        yield take()
    finally:
        ended.set()
        room.put(None)


class Behind:
    """Gives pieces to a consumer in another thread: hashing and inflating let go of Python's lock."""

    def __init__(self, consume: Callable[[bytes | memoryview], object]) -> None:
        self._given: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._consume = consume
        for _ in range(DEPTH):
            self._room.put(None)
        self._thread = threading.Thread(target=self._run, name="snapkit-behind", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (piece := self._given.get()) is not None:
            self._consume(piece)
            self._room.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._given.put(None)
        if kind is None:
            self._thread.join()

    def write(self, piece: bytes | memoryview) -> None:
        self._room.get()
        self._given.put(piece)
