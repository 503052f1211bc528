"""What is told of a container, within which bounds it is read, and the names and sizes in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol, TypeAlias

from snapkit.errors import ArchiveError

META, STATE, SUMS = "meta.json", "state.bin", "SHA256SUMS"

#: For a state that came without its meta.json: the least that a server restores.
BARE_META: Mapping[str, Any] = {"Version": 1, "ID": "1-1-0", "Index": 1, "Term": 1, "Configuration": {}}
CHUNK = 1 << 20  # of the inflated stream
BLOCK = 512  # of tar
GZIP_HEADER = 10  # bytes
GO_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # the header that Go writes

# How a server begins what it says of an archive that it refuses.
READING = "failed to read snapshot file: "
INTEGRITY = f"{READING}failed checking integrity of snapshot: "
RAFT = "Raft error when restoring snapshot: "

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
