"""state.bin at hand: in memory while small, else in a file that has no name, so that no crash leaves it behind."""

from __future__ import annotations

import mmap
import tempfile
from contextlib import suppress
from typing import IO

from snapkit.errors import SnapshotError

IN_MEMORY = 64 << 20  # bytes


class Store:
    """Takes a state.bin in pieces and gives views of it; it and the views are gone after close()."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._room = in_memory
        self._pieces: list[bytes | memoryview] = []
        self._bytes: bytes | mmap.mmap | None = None
        self._file: IO[bytes] | None = None
        self._closed = False

    def write(self, chunk: bytes | memoryview) -> None:
        if self._file is not None:
            self._file.write(chunk)
            return
        self._pieces.append(chunk)
        self._room -= len(chunk)
        if self._room < 0:
            self._file = tempfile.TemporaryFile(prefix="snapkit-")  # noqa: SIM115 - closed by close()
            self._file.writelines(self._pieces)
            self._pieces.clear()

    @property
    def bytes(self) -> bytes | mmap.mmap:
        """All of it, to be searched or sliced.

        Raises:
            SnapshotError: It was closed.
        """
        if self._closed:
            raise SnapshotError("is closed", "the snapshot", "open it again")
        if self._bytes is None:
            if self._file is not None:
                self._file.flush()
                self._bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            else:
                self._bytes = b"".join(self._pieces)
                self._pieces.clear()
        return self._bytes

    def close(self) -> None:
        """Give memory and file back. May be called twice."""
        self._closed = True
        self._pieces.clear()
        if isinstance(self._bytes, mmap.mmap):
            with suppress(BufferError):  # somebody has a view of it still, and it goes with that
                self._bytes.close()
        self._bytes = None
        if self._file is not None:
            self._file.close()
            self._file = None
