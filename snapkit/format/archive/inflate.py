"""The gzip layer, taken off within the limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from isal import isal_zlib

from snapkit.errors import ArchiveError, LimitError
from snapkit.format.archive.model import CHUNK, Limits


class Inflater:
    """Takes the gzip layer off, member after member as Go does, within the limits."""

    def __init__(self, pieces: Iterator[bytes], limits: Limits) -> None:
        self._pieces = pieces
        self._limits = limits
        self.compressed = 0
        self.inflated = 0
        self.members = 0
        self.trailing = 0  # bytes after the last gzip member

    def chunks(self) -> Iterator[bytes]:
        """The inflated stream.

        Raises:
            ArchiveError: It is damaged or ends too early.
            LimitError: It is longer than the limits allow.
        """
        data = b""
        while True:
            self.members += 1
            member = isal_zlib.decompressobj(wbits=31)
            while not member.eof:
                data = data or self._next()
                if not data:
                    raise ArchiveError(
                        "the gzip stream ends too early",
                        f"byte {self.compressed:,}",
                        "the file was cut short: fetch it again",
                        nomad="unexpected EOF",
                        check="archive.truncated",
                    )
                chunk = self._inflate(member, data)
                data = member.unconsumed_tail
                if chunk:
                    yield chunk
            data = member.unused_data
            while len(data) < 2 and (more := self._next()):
                data += more
            if data[:2] != b"\x1f\x8b":
                break
        while data:
            self.trailing += len(data)
            data = self._next()

    def _next(self) -> bytes:
        piece = next(self._pieces, b"")
        self.compressed += len(piece)
        return piece

    def _inflate(self, member: Any, data: bytes) -> bytes:
        try:
            chunk: bytes = member.decompress(data, CHUNK)
        except isal_zlib.error as error:  # type: ignore[misc] # its stub says it is an instance
            raise ArchiveError(
                f"the gzip stream is damaged ({error})",
                f"before byte {self.compressed:,}",
                "fetch the file again",
                check="archive.gzip",
            ) from error
        self.inflated += len(chunk)
        ratio = self._limits.ratio
        if self.inflated > self._limits.total:
            raise LimitError(f"inflates to more than {self._limits.total:,} bytes", "", "raise Limits.total")
        if self.inflated > max(64 << 20, self.compressed * ratio):
            raise LimitError(
                f"inflates to more than {ratio:g} times its size, as a bomb does",
                f"before byte {self.compressed:,}",
                "raise Limits.ratio if it is genuine",
            )
        return chunk


@contextmanager
def during(doing: str) -> Iterator[None]:
    """What a server was doing goes ahead of what it says of a damaged stream."""
    try:
        yield
    except ArchiveError as error:
        error.nomad = f"{doing}: {error.nomad}"
        raise
