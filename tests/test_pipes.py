"""A pipe between two who both want to lead: all that is written arrives, and errors go the right way."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapkit.pipes import Consumer, GivenUpError, produced

LONG = os.urandom(1 << 20)  # more than a pipe and its buffers hold


def whole(stream: IO[bytes]) -> bytes:
    return b"".join(iter(lambda: stream.read(1 << 16), b""))


def fail(stream: IO[bytes]) -> None:
    stream.read(10)
    raise ValueError("full")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    def there() -> tuple[set[str], int]:
        handles = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
        return {thread.name for thread in threading.enumerate()}, handles

    before = there()
    yield
    assert there() == before


@given(st.lists(st.binary(max_size=100), max_size=20), st.integers(1, 50))
def test_what_is_written_arrives_either_way(pieces: list[bytes], size: int) -> None:
    def produce(out: IO[bytes]) -> None:
        out.writelines(pieces)

    with Consumer(whole) as consumer:
        for piece in pieces:
            assert consumer.write(piece) == len(piece)
        assert consumer.result() == b"".join(pieces)
    with produced(produce) as stream:
        assert b"".join(iter(lambda: stream.read(size), b"")) == b"".join(pieces)
        assert stream.read(1) == b""


def test_what_a_consumer_raises_is_raised_where_it_is_written_to() -> None:
    with Consumer(fail) as consumer, pytest.raises(ValueError, match="full"):
        consumer.write(100 * LONG)


def test_a_consumer_that_takes_a_part_alone_is_a_mistake() -> None:
    with Consumer(lambda stream: stream.read(10)) as consumer, pytest.raises(RuntimeError, match="ended before"):
        consumer.write(100 * LONG)


def test_what_a_consumer_raises_at_the_end_is_its_result() -> None:
    with Consumer(fail) as consumer:
        consumer.write(b"little")
        with pytest.raises(ValueError, match="full"):
            consumer.result()


def test_a_consumer_that_is_given_up_does_not_take_the_part_for_the_whole() -> None:
    ended: list[object] = []

    def consume(stream: IO[bytes]) -> None:
        try:
            ended.append(whole(stream))
        except GivenUpError as error:
            ended.append(type(error))
            raise

    def give_up() -> None:
        with Consumer(consume) as consumer:
            consumer.write(LONG)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert ended == [GivenUpError]


@pytest.mark.parametrize("written", [b"", b"some", LONG])
def test_what_a_producer_raises_is_raised_after_what_it_wrote(written: bytes) -> None:
    def produce(out: IO[bytes]) -> None:
        out.write(written)
        raise ValueError("altered")

    found = b""
    with produced(produce) as stream, pytest.raises(ValueError, match="altered"):  # noqa: PT012 - it is the last read
        while True:
            found += stream.read(1 << 16)
    assert found == written


@pytest.mark.parametrize("read", [0, 1, 1 << 16])
def test_a_producer_that_nobody_reads_ends(read: int) -> None:
    ended: list[type[BaseException]] = []

    def produce(out: IO[bytes]) -> None:
        try:
            while True:
                out.write(LONG)
        except BaseException as error:
            ended.append(type(error))
            raise

    with produced(produce) as stream:
        stream.read(read)
    assert ended == [BrokenPipeError]


def test_errors_of_the_reader_are_its_own() -> None:
    def read(make: Callable[[], object]) -> None:
        with produced(lambda out: out.write(LONG)) as stream:
            stream.read(5)
            make()

    with pytest.raises(ZeroDivisionError):
        read(lambda: 1 // 0)
