"""Where a container comes from: a path, a URL, bytes or a stream, decrypted if need be."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from snapkit.errors import SourceError
from snapkit.format import age
from snapkit.format.age import Identity
from snapkit.format.archive.model import BLOCK, Progress, Source


def describe(source: Source) -> str:
    """The source in a word or two, for messages. Of a URL, what may hold credentials is left out: user and query."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"{len(source):,} bytes in memory"
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        scheme, separator, rest = path.partition("://")
        return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}" if separator else path
    return str(getattr(source, "name", "a stream" if hasattr(source, "read") else "what was given"))


@contextmanager
def plain(
    source: Source,
    identity: Identity | None = None,
    *,
    progress: Progress | None = None,
    on_encrypted: Callable[[], object] = lambda: None,
) -> Iterator[IO[bytes]]:
    """What is in a source that is no directory, as a stream, decrypted if need be; closed again if opened here.

    Args:
        source: As of `read()`.
        identity: As of `read()`.
        progress: As of `read()`.
        on_encrypted: Called before the stream is given, if it is encrypted.

    Raises:
        SourceError: There is nothing to read, or it is encrypted and the identity does not open it.
        ArchiveError: What is encrypted was altered or cut short, as far as it has been read.
        OSError: It can't be read.
    """
    with opened(source) as raw:
        stream = Stream(raw, _size(source), progress)
        if not age.is_encrypted(stream.head):
            yield stream  # type: ignore[misc] # read() is all that is asked of it
            return
        on_encrypted()
        with age.decrypted(stream, stream.head, identity) as decrypted:  # type: ignore[arg-type]
            yield decrypted


@contextmanager
def opened(source: Source) -> Iterator[IO[bytes]]:
    """A source that is no directory, as a stream of its bytes as they are; closed again if it was opened here.

    Raises:
        SourceError: It is no source at all: a snapshot that is open, say.
        OSError: It can't be opened.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif not isinstance(source, str | os.PathLike):
        if not hasattr(source, "read"):
            raise SourceError(
                f"is of type {type(source).__name__}, which can't be read from",
                "",
                "give a path, URL, bytes or binary stream; of what is open already, that which it was opened from",
            )
        yield source
    elif "://" in os.fspath(source):
        import fsspec  # a tenth of a second that local files need not wait for

        url = os.fspath(source)
        with ExitStack() as stack:
            with _remote(url, "opened"):
                stream: IO[bytes] = stack.enter_context(fsspec.open(url, "rb"))
            yield _Remote(stream, url)  # type: ignore[misc] # read() is all that is asked of it
    else:
        try:
            local = open(source, "rb")  # noqa: PTH123, SIM115 - also a pipe or /dev/stdin
        except ValueError as error:  # a zero byte or a lone surrogate
            raise SourceError(f"is no name of a file ({error})", "", "check the path") from error
        with local:
            yield local


@contextmanager
def _remote(url: str, done: str) -> Iterator[None]:
    """Turns whatever a file system raises, each its own, into a SourceError that does not show the URL's secrets."""
    try:
        yield
    except Exception as error:
        reason = (str(error) or type(error).__name__).replace(url, describe(url))
        raise SourceError(f"can't be {done} ({reason})", "", "check the address and your credentials") from error


class _Remote:
    def __init__(self, stream: IO[bytes], url: str) -> None:
        self._stream = stream
        self._url = url

    def read(self, size: int) -> bytes:
        with _remote(self._url, "read"):
            return self._stream.read(size)


def _size(source: Source) -> int | None:
    if isinstance(source, bytes | bytearray | memoryview):
        return len(source)
    if isinstance(source, str | os.PathLike) and Path(source).is_file():
        return Path(source).stat().st_size
    return None


class Stream:
    """A stream whose beginning is known before it is read, and of which it is told how far it was read."""

    def __init__(self, stream: IO[bytes], size: int | None, progress: Progress | None) -> None:
        self._stream = stream
        self._size = size
        self._progress = progress
        self._done = 0
        self._ahead = self.head = read_head(stream)

    def read(self, size: int) -> bytes:
        if self._ahead:
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            piece = self._stream.read(size)
        self._done += len(piece)
        if self._progress is not None and piece:
            self._progress(self._done, self._size)
        return piece


def read_head(stream: IO[bytes]) -> bytes:
    head = b""
    while len(head) < BLOCK:
        piece = stream.read(BLOCK - len(head))
        if not isinstance(piece, bytes):
            raise SourceError("gives no bytes", "", "open the stream in binary mode")
        if not piece:
            break
        head += piece
    return head
