"""The container: gzip(tar(meta.json, state.bin, SHA256SUMS)), read in one pass and written as Nomad writes it.

Source: Nomad's helper/snapshot (archive.go, snapshot.go) for the archive and hashicorp/raft's FileSnapshotStore for
the copies that a server keeps under its data directory. Nothing is ever extracted to a path taken from an archive.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import shutil
import string
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Protocol, Self, TypeAlias

import fastcrc
from isal import isal_zlib

from snapkit.errors import ArchiveError, LimitError, RecordError, SnapshotError, SourceError
from snapkit.files import atomic
from snapkit.format import age
from snapkit.format.age import Identity

META, STATE, SUMS = "meta.json", "state.bin", "SHA256SUMS"

#: For a state that came without its meta.json: the least that a server restores.
BARE_META: Mapping[str, Any] = {"Version": 1, "ID": "1-1-0", "Index": 1, "Term": 1, "Configuration": {}}

CHUNK = 1 << 20  # of the inflated stream
BLOCK = 512  # of tar
GZIP_HEADER = 10  # bytes
EXTENSIONS = 1 << 20  # bytes of a tar's extension headers, of which Go takes none that is longer
DEPTH_OF_META = 100  # Nomad's is 4 deep
GO_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # the header that Go writes

# How a server begins what it says of an archive that it refuses.
_READING = "failed to read snapshot file: "
_INTEGRITY = f"{_READING}failed checking integrity of snapshot: "
_RAFT = "Raft error when restoring snapshot: "

#: What a snapshot can be read from.
Source: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]

#: Told how many bytes of the source were read, and how many there are (None if that is not known).
Progress: TypeAlias = Callable[[int, int | None], None]


class Sink(Protocol):
    """What takes state.bin as it passes."""

    def write(self, chunk: bytes | memoryview, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds against hostile archives.

    Attributes:
        members: How many members the tar may have, and lines SHA256SUMS.
        name: Bytes of a member's name.
        document: Bytes of meta.json or SHA256SUMS.
        total: Bytes of the inflated stream.
        ratio: The inflated stream, as a multiple of the compressed one (from the first 64 MiB on). Nomad's
            archives have 5 to 30; deflate can do 1,032.
        record: Bytes of one record in state.bin.
        records: How many records it may have.
    """

    members: int = 64
    name: int = 4096
    document: int = 16 << 20
    total: int = 1 << 40
    ratio: float = 200.0
    record: int = 256 << 20
    records: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something about a container that did not keep it from being read, as verify's findings have it.

    Attributes:
        check: A stable id, `archive.…`.
        refused: Would a server refuse it?
        place: Where.
        message: What.
        advice: What to do.
    """

    check: str
    refused: bool
    place: str
    message: str
    advice: str = ""

    @classmethod
    def of(cls, error: ArchiveError) -> Oddity:
        """The same as an oddity, where reading goes on."""
        return cls(error.check, True, error.where, error.what, error.advice)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the container: its name, its size in bytes, and the SHA-256 of its bytes in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Archive:
    """What one pass over a container found.

    Attributes:
        source: What was read, in words.
        kind: `archive`, `raft directory` or `state file`.
        meta: meta.json as it stands; empty for a bare state.bin.
        members: In the order of the tar.
        oddities: What is wrong or unusual and yet left it readable.
        encrypted: Was it encrypted, by age?
    """

    source: str
    kind: str
    meta: Mapping[str, Any]
    members: tuple[Member, ...]
    oddities: tuple[Oddity, ...] = ()
    encrypted: bool = False


DEFAULT_LIMITS = Limits()


def read(
    source: Source,
    sink: Sink | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    survey: bool = False,
    identity: Identity | None = None,
    on_encrypted: Callable[[], object] = lambda: None,
) -> Archive:
    """Read a container once, from end to end, checking all that it can be checked by, and pass its state.bin on.

    Args:
        source: A path or URL of an archive, its bytes or a binary stream; a raft snapshot directory, or a data
            directory above some (the newest finished one is read); a bare state.bin.
        sink: Takes state.bin in pieces. What it was given counts only once this function has returned.
        limits: Bounds against hostile input.
        progress: Called with the bytes read so far and in all.
        survey: Go on where it can be gone on, and have what would be an error as an oddity, and also what is whole
            but not as Nomad writes it.
        identity: What opens it if it is encrypted: see `snapkit.format.age`.
        on_encrypted: Called before `sink` is given anything, if it is: what it is given should not be on disk then.

    Raises:
        SourceError: There is nothing to read, or it is encrypted and the identity does not open it.
        ArchiveError: The container is damaged; in a survey, so that no state can be had from it.
        LimitError: It goes beyond a limit.
        SnapshotError: Whatever `sink` raises.
    """
    name = describe(source)
    try:
        if isinstance(source, str | os.PathLike) and Path(source).is_dir():
            return _read_raft_directory(Path(source), sink, limits, progress, survey)
        encrypted = False

        def note_encrypted() -> None:
            nonlocal encrypted
            encrypted = True
            on_encrypted()

        with plain(source, identity, progress=progress, on_encrypted=note_encrypted) as stream:
            found = _read_stream(stream, name, sink, limits, survey)
        return replace(found, encrypted=encrypted)
    except SnapshotError as error:
        raise error.at(name) from error.__cause__
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror or error})", name, "check the path and its mode") from error


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
        stream = _Stream(raw, _size(source), progress)
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


class _Stream:
    """A stream whose beginning is known before it is read, and of which it is told how far it was read."""

    def __init__(self, stream: IO[bytes], size: int | None, progress: Progress | None) -> None:
        self._stream = stream
        self._size = size
        self._progress = progress
        self._done = 0
        self._ahead = self.head = _read_head(stream)

    def read(self, size: int) -> bytes:
        if self._ahead:
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            piece = self._stream.read(size)
        self._done += len(piece)
        if self._progress is not None and piece:
            self._progress(self._done, self._size)
        return piece


def read_meta(stream: IO[bytes], *, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """meta.json alone, of which no sum is known by then: no more of an archive is read than it takes.

    Raises:
        ArchiveError: It is no archive, is damaged, or does not begin with meta.json.
        LimitError: It goes beyond a limit.
    """
    head = _read_head(stream)
    if head[:2] != b"\x1f\x8b":
        raise ArchiveError(f"is not a Nomad snapshot ({_looks_like(head)})", "byte 0", "a snapshot is a gzipped tar")
    pieces = chain([head], iter(lambda: stream.read(BLOCK), b""))
    for name, size, content in _Tar(_Inflater(pieces, limits).chunks(), limits).members():
        if name != META:
            raise ArchiveError(f"begins with {name!r:.60} and not with {META}", "tar", "read all of it")
        if size > limits.document:
            raise LimitError(f"has {size:,} bytes, more than the {limits.document:,} allowed", META)
        return parse_meta(b"".join(content))
    raise ArchiveError("is empty", "tar", "fetch it again")


def _read_head(stream: IO[bytes]) -> bytes:
    head = b""
    while len(head) < BLOCK:
        piece = stream.read(BLOCK - len(head))
        if not isinstance(piece, bytes):
            raise SourceError("gives no bytes", "", "open the stream in binary mode")
        if not piece:
            break
        head += piece
    return head


def _read_stream(stream: IO[bytes], name: str, sink: Sink | None, limits: Limits, survey: bool) -> Archive:
    head = _read_head(stream)
    pieces = chain([head], iter(lambda: stream.read(CHUNK // 4), b""))
    if head[:2] == b"\x1f\x8b":
        return _ArchiveReader(name, sink, limits, survey).read(head, pieces)
    if head[:1] == b"\x80":
        return _read_state(pieces, name, "state file", {}, sink, limits, survey)
    words = "EOF" if not head else "unexpected EOF" if len(head) < GZIP_HEADER else "gzip: invalid header"
    raise ArchiveError(
        f"is not a Nomad snapshot ({_looks_like(head)})",
        "byte 0",
        "a snapshot is a gzipped tar",
        nomad=f"failed to decompress snapshot: {words}",
        check="archive.not-a-snapshot",
    )


def _looks_like(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head[257:262] == b"ustar":
        return "a tar that is not gzipped"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        return "it looks like HTML, perhaps a proxy's page"
    if start == b"{":
        return "it looks like JSON"
    if not head.strip(b"\0"):
        return "it begins with zeros"
    return f"it begins with {head[:4].hex(' ')} and not with gzip's 1f 8b"


DEPTH = 4  # chunks that a thread may be ahead or behind

# Threads are daemons: nobody waits for one that hangs in a read from a pipe, after an error or Ctrl-C.


@contextmanager
def _ahead(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """The same pieces, the next of which are made in another thread while the last is used."""
    made: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
    room: SimpleQueue[None] = SimpleQueue()
    ended = threading.Event()

    def make() -> None:
        try:
            for piece in pieces:
                made.put(piece)
                room.get()
                if ended.is_set():
                    return
            made.put(None)
        except BaseException as error:
            made.put(error)

    def take() -> Iterator[bytes]:
        while (piece := made.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            room.put(None)

    for _ in range(DEPTH):
        room.put(None)
    threading.Thread(target=make, name="snapkit-ahead", daemon=True).start()
    try:
        yield take()
    finally:
        ended.set()
        room.put(None)


class _Behind:
    """Gives pieces to a consumer in another thread: hashing and inflating let go of Python's lock."""

    def __init__(self, consume: Callable[[bytes | memoryview], object]) -> None:
        self._given: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._consume = consume
        for _ in range(DEPTH):
            self._room.put(None)
        self._thread = threading.Thread(target=self._run, name="snapkit-behind", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (piece := self._given.get()) is not None:
            self._consume(piece)
            self._room.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._given.put(None)
        if kind is None:
            self._thread.join()

    def write(self, piece: bytes | memoryview) -> None:
        self._room.get()
        self._given.put(piece)


class _Inflater:
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
def _while(doing: str) -> Iterator[None]:
    """What a server was doing goes ahead of what it says of a damaged stream."""
    try:
        yield
    except ArchiveError as error:
        error.nomad = f"{doing}: {error.nomad}"
        raise


class _Tar:
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
            with _while(f"{_READING}failed reading snapshot"):
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
        elif block != _go_header(header.name, header.size, int(header.mtime)):
            self._odd("archive.tar-format", False, place, "the tar header is not as Nomad writes it")

    def _header(self, block: bytes, start: int) -> tarfile.TarInfo:
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except tarfile.HeaderError as error:
            raise ArchiveError(
                f"the tar header is damaged ({error})",
                f"tar byte {start:,}",
                "fetch the file again",
                nomad=f"{_READING}failed reading snapshot: archive/tar: invalid tar header",
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
            with _while(f"{_READING}failed to read or write snapshot data"):
                piece = self._piece(left)
            if not piece:
                raise ArchiveError(
                    f"the tar ends inside {name}, {left:,} bytes early",
                    f"tar byte {self.offset:,}",
                    "the archive was cut short: fetch it again",
                    nomad=f"{_READING}failed to read or write snapshot data: unexpected EOF",
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


class _ArchiveReader:
    """One pass over an archive."""

    def __init__(self, name: str, sink: Sink | None, limits: Limits, survey: bool) -> None:
        self._name = name
        self._sink = sink
        self._limits = limits
        self._survey = survey
        self._documents = {META: bytearray(), SUMS: bytearray()}
        self._hashes: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._oddities: list[Oddity] = []
        self._unreadable: RecordError | None = None

    def read(self, head: bytes, pieces: Iterator[bytes]) -> Archive:
        if self._survey and head[:GZIP_HEADER] != GO_GZIP:
            self._odd("archive.gzip-header", False, "byte 0", "the gzip header is not as Nomad writes it")
        inflater = _Inflater(pieces, self._limits)
        with _ahead(inflater.chunks()) as chunks:
            tar = _Tar(chunks, self._limits, self._odd if self._survey else None)
            for name, size, content in tar.members():
                self._member(name, size, content)
            unread = 0
            try:
                unread = tar.drain()
            except ArchiveError as error:  # all members were there
                self._refuse(error)
        if unread:
            self._odd("archive.tar-trailing", True, "the end of the tar", f"{unread} unread uncompressed bytes remain")
        if inflater.trailing:
            place = f"byte {inflater.compressed - inflater.trailing:,}"
            self._odd("archive.gzip-trailing", True, place, f"{inflater.trailing:,} bytes follow the gzip stream")
        if inflater.members > 1:
            self._odd("archive.gzip-members", False, "gzip", f"{inflater.members} gzip members, Nomad writes one")
        members = tuple(Member(n, s, self._hashes[n].hexdigest()) for n, s in self._sizes.items())
        for wrong in self._wrong_hashes():
            self._refuse(wrong)
        meta: dict[str, Any] = {}
        try:
            if META in self._sizes:
                meta = parse_meta(bytes(self._documents[META]))
                _check_size({"Size": 0, **meta}, self._sizes.get(STATE, 0))
        except ArchiveError as error:
            self._refuse(error)
        if self._unreadable is not None:
            raise self._unreadable
        return Archive(self._name, "archive", meta, members, tuple(self._oddities))

    def _odd(self, check: str, refused: bool, place: str, message: str) -> None:
        self._oddities.append(Oddity(check, refused, place, message))

    def _refuse(self, error: ArchiveError) -> None:
        if not self._survey:
            raise error
        self._oddities.append(Oddity.of(error))

    def _member(self, name: str, size: int, content: Iterator[memoryview]) -> None:
        if name not in (META, STATE, SUMS):
            self._refuse(
                ArchiveError(
                    f"unexpected file {name!r:.200} in the archive",
                    "tar",
                    "a server refuses it: was it repacked?",
                    nomad=f"{_READING}unexpected file {json.dumps(name)} in snapshot",
                    check="archive.member-unexpected",
                )
            )
            for _ in content:
                pass
            return
        if name in self._sizes:
            # A server decodes meta.json each time, and an empty one is none.
            self._odd("archive.member-twice", name == META, name, "stands in the archive more than once")
        if name != STATE and size + len(self._documents[name]) > self._limits.document:
            raise LimitError(f"has {size:,} bytes, more than the {self._limits.document:,} allowed", name)
        self._sizes[name] = self._sizes.get(name, 0) + size
        # A name that stands twice goes into one hash, as it does on a server.
        digest = self._hashes.setdefault(name, hashlib.sha256())
        with _Behind(digest.update) as hashing:
            for piece in content:
                hashing.write(piece)
                if name != STATE:
                    self._documents[name] += piece
                elif self._sink is not None and self._unreadable is None:
                    self._pass_on(self._sink, piece)

    def _pass_on(self, sink: Sink, piece: memoryview) -> None:
        try:
            sink.write(piece)
        except RecordError as error:  # whether the container is damaged, which would explain it, is not known yet
            self._unreadable = error

    def _wrong_hashes(self) -> Iterator[ArchiveError]:
        """What is wrong with the members and their hashes, in a server's order."""
        sums = self._documents[SUMS].decode("utf-8", "replace")
        for name in (META, STATE, SUMS):
            if name not in self._sizes:
                # A server takes what is missing for empty, and so its hash for wrong.
                words = f'hash check failed for "{name}"' if name in sums else f'file missing for "{META}"'
                error = ArchiveError(
                    f"{name} is missing",
                    "tar",
                    "the archive is not whole: fetch it again",
                    nomad=f"{_INTEGRITY}{words}",
                    check="archive.member-missing",
                )
                yield error
        listed = set()
        lines = sums.splitlines()
        if len(lines) > self._limits.members:
            raise LimitError(f"has more than {self._limits.members} lines", SUMS, "Nomad's has two")
        for number, line in enumerate(lines, 1):
            parts = line.split()
            if len(parts) < 2 or set(parts[0]) - set(string.hexdigits):
                yield ArchiveError(
                    f"line {number} is no hash and name", SUMS, "fetch the file again", check="archive.sums"
                )
                continue
            digest, name = parts[0].lower(), parts[1]
            if name not in self._hashes or name == SUMS:
                yield ArchiveError(
                    f"names {name!r:.200}, which the archive lacks",
                    SUMS,
                    "was it repacked?",
                    nomad=f"{_INTEGRITY}list missing hash for {json.dumps(name)}",
                    check="archive.sums",
                )
                continue
            if digest != self._hashes[name].hexdigest():
                yield ArchiveError(
                    f"hash check failed: SHA-256 is {self._hashes[name].hexdigest()}, SHA256SUMS says {digest:.80}",
                    name,
                    "the content was altered or damaged: fetch it again, or use another copy",
                    nomad=f"{_INTEGRITY}hash check failed for {json.dumps(name)}",
                    check="archive.hash",
                )
            listed.add(name)
        for name in (META, STATE):
            if name not in listed and name in self._sizes and SUMS in self._sizes:
                yield ArchiveError(
                    f"has no hash for {name}",
                    SUMS,
                    "nothing vouches for it: use another copy",
                    nomad=f'{_INTEGRITY}file missing for "{name}"',
                    check="archive.sums",
                )


_META_TYPES: dict[str, type] = {
    "ID": str,
    "Version": int,
    "Index": int,
    "Term": int,
    "Size": int,
    "ConfigurationIndex": int,
    "Configuration": dict,
}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):  # JSON has no such number, were it to be written again
        raise ValueError(f"{number:.20} is too large a number")
    return value


def _as_go(value: Any, depth: int = DEPTH_OF_META) -> Any:
    """The same with U+FFFD for each half of a character, as Go has it: no file takes them."""
    if depth == 0:
        raise ValueError(f"it is nested more than {DEPTH_OF_META} deep")
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_as_go(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_as_go(name, depth): _as_go(item, depth - 1) for name, item in value.items()}
    return value


def parse_meta(data: bytes) -> dict[str, Any]:
    """meta.json as a dict.

    Raises:
        ArchiveError: It is not a JSON object, or a field that snapkit reads is not of its type.
    """
    advice = "it is not as Nomad writes it: use another copy"
    try:
        # Python would take other encodings, and constants that JSON does not have.
        meta = _as_go(json.loads(data.decode(), parse_constant=_refuse_constant, parse_float=_finite))
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"is not JSON ({error})", META, advice, check="archive.meta") from error
    if not isinstance(meta, dict):
        raise ArchiveError("is not a JSON object", META, advice, check="archive.meta")
    for field, kind in _META_TYPES.items():
        value = meta.get(field, kind())
        outside = isinstance(value, int) and not 0 <= value < 2**64
        if not isinstance(value, kind) or isinstance(value, bool) or outside:
            raise ArchiveError(f"{field} is {value!r:.60}", META, advice, check="archive.meta")
    servers = meta.get("Configuration", {}).get("Servers")
    servers = [] if servers is None else servers
    if not isinstance(servers, list) or not all(isinstance(server, dict) for server in servers):
        raise ArchiveError(f"Servers is {servers!r:.60}", META, advice, check="archive.meta")
    return meta


def _check_size(meta: Mapping[str, Any], size: int) -> None:
    if meta.get("Size", size) != size:
        raise ArchiveError(
            f"state.bin has {size:,} bytes and meta.json's Size says {meta['Size']:,}",
            META,
            "a server finds out only after the upload: use another copy",
            nomad=f"{_RAFT}failed to write snapshot, size didn't match ({size} != {meta['Size']})",
            check="archive.size",
        )


def _read_state(
    pieces: Iterable[bytes],
    name: str,
    kind: str,
    meta: dict[str, Any],
    sink: Sink | None,
    limits: Limits,
    survey: bool,
) -> Archive:
    """A state.bin by itself. Its CRC is checked where meta.json has one."""
    size, crc, digest = 0, 0, hashlib.sha256()
    oddities: list[Oddity] = []
    with _Behind(digest.update) as hashing:
        for piece in pieces:
            hashing.write(piece)
            if "CRC" in meta:
                crc = fastcrc.crc64.xz(piece, crc)
            size += len(piece)
            if size > limits.total:
                raise LimitError(f"has more than {limits.total:,} bytes", STATE, "raise Limits.total")
            if sink is not None:
                sink.write(piece)
    try:
        _check_size(meta, size)
        found = base64.b64encode(crc.to_bytes(8, "big")).decode()
        if meta.get("CRC", found) != found:
            what = f"CRC is {found}, meta.json says {meta['CRC']!r:.60}"
            raise ArchiveError(what, STATE, "use another copy", check="archive.crc")
    except ArchiveError as error:
        if not survey:
            raise
        oddities.append(Oddity.of(error))
    return Archive(name, kind, meta, (Member(STATE, size, digest.hexdigest()),), tuple(oddities))


def _read_raft_directory(
    folder: Path, sink: Sink | None, limits: Limits, progress: Progress | None, survey: bool
) -> Archive:
    copy, unfinished = find_raft_snapshot(folder)
    try:
        with (copy / META).open("rb") as file:
            document = file.read(limits.document + 1)
        if len(document) > limits.document:
            raise LimitError(f"has more than the {limits.document:,} bytes allowed", META)
        meta = parse_meta(document)
        size = (copy / STATE).stat().st_size

        def pieces() -> Iterator[bytes]:
            done = 0
            with (copy / STATE).open("rb") as file:
                while piece := file.read(CHUNK):
                    done += len(piece)
                    if progress is not None:
                        progress(done, size)
                    yield piece

        found = _read_state(pieces(), str(copy), "raft directory", meta, sink, limits, survey)
    except SnapshotError as error:
        raise error.at(copy.name) if copy != folder else error from error.__cause__
    passed_over = "was never finished, and is passed over"
    oddities = [Oddity("archive.unfinished-copy", False, str(path), passed_over) for path in unfinished]
    return Archive(found.source, found.kind, found.meta, found.members, (*found.oddities, *oddities))


def find_raft_snapshot(folder: Path) -> tuple[Path, list[Path]]:
    """The newest finished copy of the state in or below a server's directory, and the unfinished ones.

    `folder` is a raft snapshot directory itself, or one of `snapshots`, `raft`, `server` or the data directory above.

    Raises:
        SourceError: There is no finished one.
    """
    if (folder / META).exists() and (folder / STATE).exists():
        return folder, []
    copies: list[Path] = []
    for level in ("*", "snapshots/*", "raft/snapshots/*", "server/raft/snapshots/*"):
        copies += (path for path in folder.glob(level) if (path / META).exists())
    unfinished = sorted(path for path in copies if path.suffix == ".tmp")
    finished = [path for path in copies if path.suffix != ".tmp" and (path / STATE).exists()]
    if not finished:
        found = f", only unfinished ones ({', '.join(p.name for p in unfinished)})" if unfinished else ""
        advice = f"it needs {META} and {STATE} below it"
        if any(folder.glob("*.snap")):
            advice = "it is archives that it holds: name one, or all by a quoted pattern such as '*.snap'"
        raise SourceError(f"the directory holds no snapshot{found}", "", advice)
    return max(finished, key=lambda path: [int(n) if n.isdigit() else -1 for n in path.name.split("-")]), unfinished


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
        return self.member(META, self.text(size)) + _go_header(STATE, size, self._stamp)

    def member(self, name: str, content: bytes) -> bytes:
        """A small file of the tar."""
        return _go_header(name, len(content), self._stamp) + content + bytes(-len(content) % BLOCK)


def _write_body(out: _Deflated, state: Iterable[bytes | memoryview], document: _Document) -> int:
    """The state and what follows it. Returns the size of the state."""
    digest, size = hashlib.sha256(), 0
    with _Behind(digest.update) as hashing:
        for piece in state:
            size += len(piece)
            hashing.write(piece)
            out.write(piece)
    out.write(bytes(-size % BLOCK))
    sums = f"{hashlib.sha256(document.text(size)).hexdigest()}  {META}\n{digest.hexdigest()}  {STATE}\n"
    out.write(document.member(SUMS, sums.encode()))
    out.write(bytes(2 * BLOCK))  # and no more: Nomad refuses tarfile's padding to 10,240
    return size


def _go_header(name: str, size: int, stamp: int) -> bytes:
    """A tar header as Go writes it: with device numbers of zero where Python has nothing, and the checksum for that."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, stamp
    blocks = bytearray(info.tobuf(tarfile.PAX_FORMAT))
    block = memoryview(blocks)[-BLOCK:]  # of the member itself: a PAX header may stand ahead
    block[329:345] = b"0000000\0" * 2
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(blocks)


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


def created_milliseconds(snapshot_id: str) -> int:
    """The Unix milliseconds in `<term>-<index>-<milliseconds>`; 0 if it has none, or some beyond the year 2262."""
    last = snapshot_id.rpartition("-")[2]
    milliseconds = int(last) if last.isascii() and last.isdigit() and len(last) < 14 else 0
    return milliseconds if milliseconds < 2**63 // 10**6 else 0  # what 64 bits of nanoseconds hold
