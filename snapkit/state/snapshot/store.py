"""state.bin at hand: in memory while small, else in a file that has no name, so that no crash leaves it behind.

Of an encrypted source it stays in memory, however large.
"""

from __future__ import annotations

import io
import mmap
import tempfile
from contextlib import suppress
from typing import IO

from snapkit.errors import SnapshotError

IN_MEMORY = 64 << 20  # bytes


class Store:
    """Takes a state.bin in pieces and gives views of it; it and the views are gone after close().

    Attributes:
        spills: Does it go to a file once it is large?
    """

    def __init__(self, in_memory: int = IN_MEMORY, *, spills: bool = True) -> None:
        self.spills = spills
        self._most = in_memory
        self._memory = io.BytesIO()  # whose getvalue() copies nothing
        self._bytes: bytes | mmap.mmap | None = None
        self._file: IO[bytes] | None = None
        self._closed = False

    def stay_in_memory(self) -> None:
        """Never write it to disk, whatever its size: what was encrypted is not to be there in the clear."""
        self.spills = False

    def write(self, chunk: bytes | memoryview) -> None:
        if self._file is not None:
            self._file.write(chunk)
            return
        self._memory.write(chunk)
        if self.spills and self._memory.tell() > self._most:
            self._file = tempfile.TemporaryFile(prefix="snapkit-")  # noqa: SIM115 - closed by close()
            self._file.write(self._memory.getbuffer())
            self._memory = io.BytesIO()

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
                self._bytes = self._memory.getvalue()
                self._memory = io.BytesIO()
        return self._bytes

    def close(self) -> None:
        """Give memory and file back. May be called twice."""
        self._closed = True
        self._memory = io.BytesIO()
        if isinstance(self._bytes, mmap.mmap):
            with suppress(BufferError):  # somebody has a view of it still, and it goes with that
                self._bytes.close()
        self._bytes = None
        if self._file is not None:
            self._file.close()
            self._file = None
