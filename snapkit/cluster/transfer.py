"""Bytes on their way to and from a cluster: of any source, hashed as they pass, checked to their end."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from snapkit.cluster.connection import CHUNK, NotAnArchiveError
from snapkit.errors import ArchiveError, SnapshotError, SourceError, TargetExistsError
from snapkit.format import archive
from snapkit.format.age import Identity
from snapkit.format.archive import Archive, Progress, Source
from snapkit.format.records import Framer

NOTHING_DONE = "nothing was changed"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What arrived, and the SHA-256 that a server announced of it (None if it announced none)."""

    size: int
    digest: bytes
    announced: bytes | None  # by the server

    @property
    def base64(self) -> str:
        return base64.b64encode(self.digest).decode()


class Written:
    """A file as it is written: how long it is, and its hash."""

    def __init__(self, file: IO[bytes]) -> None:
        self.size = 0
        self._file = file
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def stream(self) -> IO[bytes]:
        """It, as what writes to binary streams wants to see it."""
        return cast("IO[bytes]", self)


class Named:
    """A stream, called by a name in messages."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.name = name
        self._stream = stream

    def read(self, most: int = -1) -> bytes:
        return self._stream.read(most)

    @property
    def stream(self) -> IO[bytes]:
        """It, as what takes binary streams wants to see it."""
        return cast("IO[bytes]", self)


class Reader(Named):
    """A stream, hashed as it is read."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        super().__init__(stream, name)
        self.done = 0
        self._sha256 = hashlib.sha256()

    def read(self, most: int = -1) -> bytes:
        data = super().read(most)
        self.done += len(data)
        self._sha256.update(data)
        return data

    @property
    def digest(self) -> bytes:
        return self._sha256.digest()


class Upload(Reader):
    """So many bytes of a stream, no more and no less: the length is announced ahead."""

    def __init__(self, stream: IO[bytes], name: str, size: int, progress: Progress | None) -> None:
        super().__init__(stream, name)
        self._size = size
        self._progress = progress

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:  # requests streams only what has it
        return iter(lambda: self.read(CHUNK), b"")

    def read(self, most: int = -1) -> bytes:
        left = self._size - self.done
        advice = f"the server got a part, which it does not take in: {NOTHING_DONE}"
        try:
            data = super().read(left if most < 0 else min(most, left))
        except OSError as error:  # of the file: urllib3 would take it for one of the connection
            raise SourceError(f"can't be read ({error.strerror})", self.name, advice) from error
        except SnapshotError as error:  # it was encrypted, and changed since it was checked
            raise SourceError(error.what, self.name, advice) from error
        if left and not data:
            raise SourceError("became shorter while it was sent", self.name, advice)
        if self._progress is not None and data:
            self._progress(self.done, self._size)
        return data


def checked_archive(source: Named) -> Archive:
    """Read an archive to its end: container, framing of the records, and what a server refuses besides.

    Raises:
        SnapshotError: It is damaged, or would be refused.
    """
    framer = Framer(index=False)
    found = archive.read(source.stream, framer)
    try:
        framer.close()
        for oddity in found.oddities:
            if oddity.refused:
                raise ArchiveError(oddity.message, oddity.place, "a server refuses it: use another copy")
        if found.kind == "archive" and found.meta.get("Version") != 1:
            version = f"Version is {found.meta.get('Version')!r:.20}, and servers take 1 alone"
            raise ArchiveError(version, archive.META, "use another copy")
    except SnapshotError as error:
        raise error.at(source.name) from error.__cause__
    return found


@contextmanager
def reopened(file: IO[bytes], name: str, identity: Identity | None) -> Iterator[IO[bytes]]:
    """What is in a file, decrypted if need be, from its start."""
    file.seek(0)
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(archive.plain(file, identity))
        except SnapshotError as error:
            raise error.at(name) from error.__cause__
        yield stream


@contextmanager
def spooled(source: Source) -> Iterator[IO[bytes]]:
    """A source as a file that can be read twice: itself if it is one, else a copy in a file without a name."""
    name = archive.describe(source)
    with ExitStack() as stack:
        try:
            if isinstance(source, bytes | bytearray | memoryview):
                file: IO[bytes] = io.BytesIO(source)
            elif not isinstance(source, str | os.PathLike):
                file = _copied(stack, source, name)
            elif "://" in os.fspath(source):
                import fsspec

                file = _copied(stack, stack.enter_context(fsspec.open(os.fspath(source), "rb")), name)
            elif Path(source).is_dir():
                folder, _ = archive.find_raft_snapshot(Path(source))
                raise NotAnArchiveError("is a server's own copy, no archive", "", how_to_archive(str(folder)))
            else:
                file = stack.enter_context(Path(source).open("rb"))
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    file = _copied(stack, file, name)
        except SnapshotError as error:
            raise error.at(name) from error.__cause__
        except Exception as error:  # each file system raises its own
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise SourceError(
                f"can't be read ({reason})", name, "check the path, its mode and your credentials"
            ) from error
        yield file


def _copied(stack: ExitStack, stream: IO[bytes], name: str) -> IO[bytes]:
    file: IO[bytes] = stack.enter_context(tempfile.TemporaryFile(prefix="snapkit-"))  # noqa: SIM115 - the stack's
    while data := stream.read(CHUNK):
        if not isinstance(data, bytes):
            raise SourceError("gives no bytes", "", "open the stream in binary mode")
        file.write(data)
    return file


def how_to_archive(source: str) -> str:
    """Advice for what is no archive and can be one."""
    return (
        f"make an archive of it, as old as its index says: snap = snapkit.open({source!r}); "
        "snapkit.format.archive.write('made.snap', snap.archive.meta, snap.chunks(), snap.meta.size)"
    )


@contextmanager
def writing(where: str, kinds: type[Exception] = OSError) -> Iterator[None]:
    """What keeps a file from being written is a SourceError."""
    try:
        yield
    except SnapshotError:
        raise
    except kinds as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SourceError(f"can't be written ({reason})", where, "check the path, the space and your rights") from error


def refuse_existing_object(system: Any, path: str, shown: str) -> None:
    """As `refuse_existing()`, in a file system of fsspec."""
    if system.exists(path):
        raise TargetExistsError(
            "is there already", shown, "name another file, or replace it: --overwrite, in Python overwrite=True"
        )


def digest_of(header: str) -> bytes | None:
    """The SHA-256 in a Digest header; None if there is none, no bytes if it can't be read."""
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "sha-256":
            try:
                return base64.b64decode(value, validate=True)
            except ValueError:
                return b""
    return None


def counted(pieces: Iterator[bytes], total: int | None, progress: Progress | None) -> Iterator[bytes]:
    """Pieces as they pass, told of."""
    done = 0
    for piece in pieces:
        done += len(piece)
        if progress is not None:
            progress(done, total)
        yield piece


def looks_like(head: bytes) -> str:
    """What begins so, in words, if it is no archive."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        return "a page of HTML"
    if start in (b"{", b"["):
        return "JSON"
    return f"bytes that begin with {head[:4].hex(' ')}" if head else "nothing"
