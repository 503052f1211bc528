"""Writing an archive as Nomad does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from typing import IO, Any

from isal import isal_zlib

from snapkit.errors import ArchiveError
from snapkit.files import atomic
from snapkit.format.archive.meta import created_milliseconds
from snapkit.format.archive.model import BLOCK, CHUNK, GO_GZIP, META, STATE, SUMS
from snapkit.format.archive.tar import go_header
from snapkit.format.archive.threads import Behind


def write(
    target: str | os.PathLike[str],
    meta: Mapping[str, Any],
    state: Iterable[bytes | memoryview],
    size: int | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write an archive that a real server restores.

    Args:
        target: The file; mode 0600, there only when it is whole.
        meta: For meta.json; Size is set to that of the state, and CRC (of a server's own copy) left out.
        state: state.bin in pieces.
        size: Its length in bytes. If it is not known ahead, the compressed state waits in a file without a name.
        overwrite: May `target` be replaced?

    Raises:
        TargetExistsError: `target` is there and `overwrite` is false.
        ArchiveError: `state` is not `size` bytes long.
    """
    with atomic(target, overwrite) as file:
        write_to(file, meta, state, size)


def write_to(
    file: IO[bytes], meta: Mapping[str, Any], state: Iterable[bytes | memoryview], size: int | None = None
) -> None:
    """As `write()`, to an open binary file."""
    document = _Document(meta)
    file.write(GO_GZIP)
    out = _Deflated(file)
    if size is not None:
        out.write(document.head(size))
        written = _write_body(out, state, document)
        if written != size:
            raise ArchiveError(f"has {written:,} bytes, not the {size:,} announced", STATE)
        out.end(isal_zlib.Z_FINISH)
        crc, length = out.crc, out.size
    else:
        with tempfile.TemporaryFile(prefix="snapkit-") as waiting:
            body = _Deflated(waiting)
            written = _write_body(body, state, document)
            body.end(isal_zlib.Z_FINISH)
            out.write(document.head(written))
            out.end(isal_zlib.Z_FULL_FLUSH)
            waiting.seek(0)
            shutil.copyfileobj(waiting, file, CHUNK)
        crc, length = _crc_of_both(out.crc, body.crc, body.size), out.size + body.size
    file.write(crc.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little"))


class _Document:
    """meta.json, in which the size of the state stands, and what else does not wait for the state."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self._meta = {name: value for name, value in meta.items() if name != "CRC"}
        self._stamp = created_milliseconds(str(meta.get("ID", ""))) // 1000

    def text(self, size: int) -> bytes:
        document = json.dumps(self._meta | {"Size": size}, separators=(",", ":"), ensure_ascii=False)
        return document.encode() + b"\n"  # Go's encoder ends with one, and the hash covers it

    def head(self, size: int) -> bytes:
        """What stands ahead of a state of so many bytes."""
        return self.member(META, self.text(size)) + go_header(STATE, size, self._stamp)

    def member(self, name: str, content: bytes) -> bytes:
        """A small file of the tar."""
        return go_header(name, len(content), self._stamp) + content + bytes(-len(content) % BLOCK)


def _write_body(out: _Deflated, state: Iterable[bytes | memoryview], document: _Document) -> int:
    """The state and what follows it. Returns the size of the state."""
    digest, size = hashlib.sha256(), 0
    with Behind(digest.update) as hashing:
        for piece in state:
            size += len(piece)
            hashing.write(piece)
            out.write(piece)
    out.write(bytes(-size % BLOCK))
    sums = f"{hashlib.sha256(document.text(size)).hexdigest()}  {META}\n{digest.hexdigest()}  {STATE}\n"
    out.write(document.member(SUMS, sums.encode()))
    out.write(bytes(2 * BLOCK))  # and no more: Nomad refuses tarfile's padding to 10,240
    return size


class _Deflated:
    """A part of a gzip member's stream.

    Attributes:
        crc: CRC-32 of what was written.
        size: Its bytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._deflate = isal_zlib.compressobj(3, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
        self.crc = 0
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self.crc = isal_zlib.crc32(data, self.crc)
        self.size += len(data)
        self._file.write(self._deflate.compress(data))

    def end(self, how: int) -> None:
        """Write what is held back; with Z_FULL_FLUSH another part may follow."""
        self._file.write(self._deflate.flush(how))


def _crc_of_both(first: int, second: int, size: int) -> int:
    """CRC-32 of one part and another of so many bytes: what it starts from adds to it as it would to zeros."""
    started, plain = first, 0
    zeros = bytes(CHUNK)
    for done in range(0, size, CHUNK):
        piece = zeros[: size - done]
        started, plain = isal_zlib.crc32(piece, started), isal_zlib.crc32(piece, plain)
    return second ^ started ^ plain
