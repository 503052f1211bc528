"""A damaged source at hand as bytes: to be read twice, and looked at anywhere."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from snapkit.errors import LimitError, SourceError
from snapkit.format import archive
from snapkit.format.archive import CHUNK, Limits, Source

IN_MEMORY = 64 << 20  # bytes; more go to a file without a name


@contextmanager
def held(source: Source, limits: Limits = archive.DEFAULT_LIMITS) -> Iterator[Source]:
    """A source that can be read twice: itself, or what a stream or URL gives, kept for as long as the block lasts.

    Raises:
        SourceError: There is nothing to read.
        LimitError: It is longer than `limits.total`.
    """
    if isinstance(source, bytes | bytearray | memoryview) or (isinstance(source, str | os.PathLike) and _local(source)):
        yield source
    else:
        name = archive.describe(source)
        try:
            with archive.opened(source) as stream, Spool(limits.total) as spool:
                while piece := stream.read(CHUNK):
                    if not isinstance(piece, bytes):
                        raise SourceError("gives no bytes", "", "open the stream in binary mode")
                    spool.write(piece)
                with spool.view() as view:
                    yield Held(name, view)  # type: ignore[misc] # read() and name are all that is asked of it
        except OSError as error:
            raise SourceError(f"can't be read ({error.strerror or error})", name, "check the path") from error


def _local(path: str | os.PathLike[str]) -> bool:
    """Is it a file or folder here, and no pipe?"""
    try:
        return Path(path).is_file() or Path(path).is_dir()
    except ValueError:
        return False


class Held:
    def __init__(self, name: str, view: memoryview) -> None:
        self.name = name
        self.view = view
        self._at = 0

    def read(self, size: int) -> bytes:
        piece = bytes(self.view[self._at : self._at + size])
        self._at += len(piece)
        return piece


class Spool:
    """Bytes that may be many, to be looked at as a whole once all are there."""

    def __init__(self, most: int) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="snapkit-")  # noqa: SIM115 - closed by __exit__
        self._most = most
        self.size = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self._most:
            raise LimitError(f"has more than {self._most:,} bytes", "", "raise Limits.total")
        self._file.write(piece)

    @contextmanager
    def view(self) -> Iterator[memoryview]:
        self._file.seek(0)
        if self.size <= IN_MEMORY:
            yield memoryview(self._file.read())
            return
        self._file.flush()
        with _mapped(self._file.fileno()) as view:
            yield view


@contextmanager
def _mapped(number: int) -> Iterator[memoryview]:
    mapped = mmap.mmap(number, 0, access=mmap.ACCESS_READ)
    try:
        yield memoryview(mapped)
    finally:
        with suppress(BufferError):  # an error's traceback has a view of it still, and it goes with that
            mapped.close()


@contextmanager
def file_view(path: Path, limits: Limits) -> Iterator[memoryview]:
    """The bytes of a file, copied: whoever cuts a file that is mapped ends the process that looks at it."""
    with path.open("rb") as file, Spool(limits.total) as spool:
        while piece := file.read(CHUNK):
            spool.write(piece)
        with spool.view() as view:
            yield view
