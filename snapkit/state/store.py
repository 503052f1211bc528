"""state.bin at hand: in memory while small, else in a file that has no name, so that no crash leaves it behind."""

from __future__ import annotations

import mmap
import tempfile
from typing import IO

from snapkit.errors import SnapshotError

IN_MEMORY = 64 << 20  # bytes


class Store:
    """Takes a state.bin in pieces and gives views of it; it and the views are gone after close()."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._bytes: bytearray | mmap.mmap | None = bytearray()
        self._file: IO[bytes] | None = None

    def write(self, chunk: bytes | memoryview) -> None:
        if self._file is None and isinstance(self._bytes, bytearray):
            self._bytes += chunk
            if len(self._bytes) > self._in_memory:
                self._file = tempfile.TemporaryFile(prefix="snapkit-")  # noqa: SIM115 - closed by close()
                self._file.write(self._bytes)
                self._bytes = None
        elif self._file is not None:
            self._file.write(chunk)

    @property
    def bytes(self) -> bytearray | mmap.mmap:
        """All of it, to be searched or sliced.

        Raises:
            SnapshotError: It was closed.
        """
        if self._bytes is None:
            if self._file is None:
                raise SnapshotError("is closed", "the snapshot", "open it again")
            self._file.flush()
            self._bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._bytes

    def close(self) -> None:
        """Give memory and file back. May be called twice."""
        if isinstance(self._bytes, mmap.mmap):
            self._bytes.close()
        self._bytes = None
        if self._file is not None:
            self._file.close()
            self._file = None
