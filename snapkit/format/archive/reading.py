"""One pass over a container: its layers, its members and their sums."""

from __future__ import annotations

import hashlib
import json
import os
import string
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

from snapkit.errors import ArchiveError, LimitError, RecordError, SnapshotError, SourceError
from snapkit.format.age import Identity
from snapkit.format.archive.inflate import Inflater
from snapkit.format.archive.meta import check_size, parse_meta
from snapkit.format.archive.model import (
    BLOCK,
    CHUNK,
    DEFAULT_LIMITS,
    GO_GZIP,
    GZIP_HEADER,
    INTEGRITY,
    META,
    READING,
    STATE,
    SUMS,
    Archive,
    Limits,
    Member,
    Oddity,
    Progress,
    Sink,
    Source,
)
from snapkit.format.archive.raft import read_raft_directory, read_state
from snapkit.format.archive.source import describe, plain, read_head
from snapkit.format.archive.tar import Tar
from snapkit.format.archive.threads import Behind, ahead


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
            return read_raft_directory(Path(source), sink, limits, progress, survey)
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


def read_meta(stream: IO[bytes], *, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """meta.json alone, of which no sum is known by then: no more of an archive is read than it takes.

    Raises:
        ArchiveError: It is no archive, is damaged, or does not begin with meta.json.
        LimitError: It goes beyond a limit.
    """
    head = read_head(stream)
    if head[:2] != b"\x1f\x8b":
        raise ArchiveError(f"is not a Nomad snapshot ({_looks_like(head)})", "byte 0", "a snapshot is a gzipped tar")
    pieces = chain([head], iter(lambda: stream.read(BLOCK), b""))
    for name, size, content in Tar(Inflater(pieces, limits).chunks(), limits).members():
        if name != META:
            raise ArchiveError(f"begins with {name!r:.60} and not with {META}", "tar", "read all of it")
        if size > limits.document:
            raise LimitError(f"has {size:,} bytes, more than the {limits.document:,} allowed", META)
        return parse_meta(b"".join(content))
    raise ArchiveError("is empty", "tar", "fetch it again")


def _read_stream(stream: IO[bytes], name: str, sink: Sink | None, limits: Limits, survey: bool) -> Archive:
    head = read_head(stream)
    pieces = chain([head], iter(lambda: stream.read(CHUNK // 4), b""))
    if head[:2] == b"\x1f\x8b":
        return _ArchiveReader(name, sink, limits, survey).read(head, pieces)
    if head[:1] == b"\x80":
        return read_state(pieces, name, "state file", {}, sink, limits, survey)
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
        inflater = Inflater(pieces, self._limits)
        with ahead(inflater.chunks()) as chunks:
            tar = Tar(chunks, self._limits, self._odd if self._survey else None)
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
                check_size({"Size": 0, **meta}, self._sizes.get(STATE, 0))
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
                    nomad=f"{READING}unexpected file {json.dumps(name)} in snapshot",
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
        with Behind(digest.update) as hashing:
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
                    nomad=f"{INTEGRITY}{words}",
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
                    nomad=f"{INTEGRITY}list missing hash for {json.dumps(name)}",
                    check="archive.sums",
                )
                continue
            if digest != self._hashes[name].hexdigest():
                yield ArchiveError(
                    f"hash check failed: SHA-256 is {self._hashes[name].hexdigest()}, SHA256SUMS says {digest:.80}",
                    name,
                    "the content was altered or damaged: fetch it again, or use another copy",
                    nomad=f"{INTEGRITY}hash check failed for {json.dumps(name)}",
                    check="archive.hash",
                )
            listed.add(name)
        for name in (META, STATE):
            if name not in listed and name in self._sizes and SUMS in self._sizes:
                yield ArchiveError(
                    f"has no hash for {name}",
                    SUMS,
                    "nothing vouches for it: use another copy",
                    nomad=f'{INTEGRITY}file missing for "{name}"',
                    check="archive.sums",
                )
