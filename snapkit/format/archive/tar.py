"""The tar layer, read as Go reads it, and its headers as Go writes them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator

from snapkit.errors import ArchiveError, LimitError
from snapkit.format.archive.inflate import during
from snapkit.format.archive.model import BLOCK, CHUNK, READING, Limits

EXTENSIONS = 1 << 20  # bytes of a tar's extension headers, of which Go takes none that is longer


class Tar:
    """A tar as it streams by: each header is checked, so that no damaged one passes for the end."""

    def __init__(
        self, chunks: Iterator[bytes], limits: Limits, odd: Callable[[str, bool, str, str], None] | None = None
    ) -> None:
        self._chunks = chunks
        self._limits = limits
        self._odd = odd
        self._chunk = memoryview(b"")
        self._extended = 0  # bytes of extension headers
        self.offset = 0

    def _piece(self, most: int) -> memoryview:
        """The next bytes, at most that many; empty at the end."""
        if not self._chunk:
            self._chunk = memoryview(next(self._chunks, b""))
        piece, self._chunk = self._chunk[:most], self._chunk[most:]
        self.offset += len(piece)
        return piece

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (piece := self._piece(size - len(data))):
            data += piece
        return bytes(data)

    def members(self) -> Iterator[tuple[str, int, Iterator[memoryview]]]:
        """Name, size and content of each member. The content must be used up before the next is asked for.

        Raises:
            ArchiveError: A header is damaged, or the tar ends inside a member.
            LimitError: Too many members, a name that is too long, or too many bytes of extension headers.
        """
        count = 0
        extension: dict[bytes, str] = {}
        while True:
            start = self.offset
            with during(f"{READING}failed reading snapshot"):
                block = self._exactly(BLOCK)
            if not block.strip(b"\0"):
                self._end(block, start)
                return
            header = self._header(block, start)
            self._compare_with_go(header, block, start)
            if header.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                extension |= self._extension(header, start)
                continue
            name, size = extension.get(b"path", header.name), header.size
            if b"size" in extension:
                size = self._size(extension[b"size"], start)
            extension = {}
            count += 1
            if count > self._limits.members:
                raise LimitError(f"has more than {self._limits.members} members", f"tar byte {start:,}")
            if len(name) > self._limits.name:
                raise LimitError(f"has a member with a name of {len(name):,} bytes", f"tar byte {start:,}")
            yield name, size, self._content(name, size)
            self._exactly(-size % BLOCK)

    def _end(self, block: bytes, start: int) -> None:
        """Two zero blocks end a tar; Go takes the end of the stream as well."""
        second = self._exactly(BLOCK) if len(block) == BLOCK else b""
        if len(second) < BLOCK and self._odd is not None:
            self._odd("archive.tar-end", False, f"tar byte {start:,}", "the tar does not end with two zero blocks")
        if second.strip(b"\0"):
            raise ArchiveError(
                "a zero block stands between tar headers",
                f"tar byte {start:,}",
                "fetch it again",
                check="archive.tar-header",
            )

    def _compare_with_go(self, header: tarfile.TarInfo, block: bytes, start: int) -> None:
        if self._odd is None:
            return
        place = f"tar byte {start:,}"
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE):
            contiguous = header.type == tarfile.CONTTYPE  # which Go takes for a plain one
            self._odd("archive.member-type", not contiguous, place, f"{header.name!r:.60} is no plain file")
        elif block != go_header(header.name, header.size, int(header.mtime)):
            self._odd("archive.tar-format", False, place, "the tar header is not as Nomad writes it")

    def _header(self, block: bytes, start: int) -> tarfile.TarInfo:
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except tarfile.HeaderError as error:
            raise ArchiveError(
                f"the tar header is damaged ({error})",
                f"tar byte {start:,}",
                "fetch the file again",
                nomad=f"{READING}failed reading snapshot: archive/tar: invalid tar header",
                check="archive.tar-header",
            ) from error
        if header.size < 0:
            raise ArchiveError(
                "a tar member has a negative size",
                f"tar byte {start:,}",
                "fetch the file again",
                check="archive.tar-header",
            )
        return header

    def _extension(self, header: tarfile.TarInfo, start: int) -> dict[bytes, str]:
        """What a PAX or GNU extension header says of path and size of the next member."""
        self._extended += BLOCK + header.size
        if self._extended > min(EXTENSIONS, self._limits.document):
            raise LimitError(f"has {self._extended:,} bytes of tar extension headers", f"tar byte {start:,}")
        data = b"".join(self._content("a tar extension header", header.size))
        self._exactly(-header.size % BLOCK)
        if header.type == tarfile.GNUTYPE_LONGNAME:
            return {b"path": data.rstrip(b"\0").decode("utf-8", "replace")}
        if header.type != tarfile.XHDTYPE:
            return {}
        records = {}
        at = 0
        while at < len(data):
            length, _, _ = data[at : at + 20].partition(b" ")
            if not length.isdigit() or not 0 < int(length) <= len(data) - at:
                raise ArchiveError(
                    "a PAX header is damaged", f"tar byte {start:,}", "fetch the file again", check="archive.tar-header"
                )
            key, _, value = data[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
            if key in (b"path", b"size"):
                records[key] = value.decode("utf-8", "replace")
            at += int(length)
        return records

    def _size(self, value: str, start: int) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise ArchiveError(
                f"a PAX header gives a size of {value!r:.40}",
                f"tar byte {start:,}",
                "fetch it again",
                check="archive.tar-header",
            )
        return int(value)

    def _content(self, name: str, size: int) -> Iterator[memoryview]:
        left = size
        while left:
            with during(f"{READING}failed to read or write snapshot data"):
                piece = self._piece(left)
            if not piece:
                raise ArchiveError(
                    f"the tar ends inside {name}, {left:,} bytes early",
                    f"tar byte {self.offset:,}",
                    "the archive was cut short: fetch it again",
                    nomad=f"{READING}failed to read or write snapshot data: unexpected EOF",
                    check="archive.truncated",
                )
            left -= len(piece)
            yield piece

    def drain(self) -> int:
        """How many bytes follow the end."""
        count = 0
        while piece := self._piece(CHUNK):
            count += len(piece)
        return count


def go_header(name: str, size: int, stamp: int) -> bytes:
    """A tar header as Go writes it: with device numbers of zero where Python has nothing, and the checksum for that."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, stamp
    blocks = bytearray(info.tobuf(tarfile.PAX_FORMAT))
    block = memoryview(blocks)[-BLOCK:]  # of the member itself: a PAX header may stand ahead
    block[329:345] = b"0000000\0" * 2
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(blocks)
