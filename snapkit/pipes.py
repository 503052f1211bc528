"""A pipe between two who both want to lead: one of them gets a thread. What passes is never on disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Generic, TypeVar

T = TypeVar("T")

BUFFER = 256 << 10  # bytes that are written at once
PATIENCE = 1.0  # seconds to wait for one that is given up, and may hang in a read of a pipe or socket


class _Thread(Generic[T]):
    """A call in a thread: a daemon, for nobody waits for one that hangs."""

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self._call = call
        self._result: T
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self.error = error

    def wait(self, seconds: float | None = None) -> None:
        self._thread.join(seconds)

    def result(self) -> T:
        """What it returned; raises what it raised."""
        self.wait()
        if self.error is not None:
            raise self.error
        return self._result


class Consumer(Generic[T]):
    """Takes bytes, which a function reads as a stream in a thread of its own.

    As a context it ends well with `result()` alone: left without, the function's last read raises GivenUpError, so
    that it does not take what it got for the whole.
    """

    def __init__(self, consume: Callable[[IO[bytes]], T], name: str = "snapkit-consumer") -> None:
        receiving, sending = os.pipe()
        self._out = open(sending, "wb", buffering=BUFFER)  # noqa: SIM115, PTH123 - closed by result() or __exit__
        self._given_up = False

        def run() -> T:
            with open(receiving, "rb", buffering=0) as stream:  # noqa: PTH123 - a handle
                return consume(_Until(stream, lambda: self._given_up))  # type: ignore[arg-type] # it is read only

        self._thread = _Thread(name, run)

    def __enter__(self) -> Consumer[T]:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._out.closed:
            self._given_up = True
            self._close()
            self._thread.wait(PATIENCE)

    def write(self, piece: bytes | memoryview) -> int:
        """Raises what the function raised, if it ended too early."""
        try:
            return self._out.write(piece)
        except BrokenPipeError as error:  # which means something else to a command, whose reader went away
            self._thread.result()
            raise RuntimeError("what reads ended before all was written") from error

    def result(self) -> T:
        """Say that this is all, and have what the function returns; raises what it raises."""
        self._close()
        return self._thread.result()

    def _close(self) -> None:
        with suppress(BrokenPipeError):  # what was not taken any more
            self._out.close()


class GivenUpError(Exception):
    """The writer gave up before the end."""


class _Until:
    """A stream whose end is an error if the writer gave up."""

    def __init__(self, stream: IO[bytes], given_up: Callable[[], bool]) -> None:
        self._stream = stream
        self._given_up = given_up

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if not data and self._given_up():
            raise GivenUpError
        return data


@contextmanager
def produced(produce: Callable[[IO[bytes]], Any], name: str = "snapkit-producer") -> Iterator[IO[bytes]]:
    """What a function writes in a thread of its own, as a stream to be read here.

    Whatever it raises, reading raises after the last that it wrote. It meets BrokenPipeError where nobody reads on.
    """
    receiving, sending = os.pipe()

    def run() -> None:
        with open(sending, "wb", buffering=BUFFER) as out:  # noqa: PTH123 - a handle
            produce(out)

    thread = _Thread(name, run)
    try:
        with open(receiving, "rb", buffering=0) as stream:  # noqa: PTH123 - a handle
            yield _Checked(stream, thread)  # type: ignore[misc] # read() is all that is asked of it
    finally:
        thread.wait(PATIENCE)


class _Checked:
    """A stream whose end is an error if its writer failed."""

    def __init__(self, stream: IO[bytes], thread: _Thread[None]) -> None:
        self._stream = stream
        self._thread = thread

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if not data and size:
            self._thread.result()
        return data
