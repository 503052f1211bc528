"""The container: gzip(tar(meta.json, state.bin, SHA256SUMS)), read in one pass and written as Nomad writes it.

Source: Nomad's helper/snapshot (archive.go, snapshot.go) for the archive and hashicorp/raft's FileSnapshotStore for
the copies that a server keeps under its data directory. Nothing is ever extracted to a path taken from an archive.
"""

from snapkit.format.archive.meta import created_milliseconds, parse_meta
from snapkit.format.archive.model import (
    BARE_META,
    BLOCK,
    CHUNK,
    DEFAULT_LIMITS,
    GO_GZIP,
    GZIP_HEADER,
    META,
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
from snapkit.format.archive.raft import find_raft_snapshot
from snapkit.format.archive.reading import read, read_meta
from snapkit.format.archive.source import describe, opened, plain
from snapkit.format.archive.writing import write, write_to

__all__ = [
    "BARE_META",
    "BLOCK",
    "CHUNK",
    "DEFAULT_LIMITS",
    "GO_GZIP",
    "GZIP_HEADER",
    "META",
    "STATE",
    "SUMS",
    "Archive",
    "Limits",
    "Member",
    "Oddity",
    "Progress",
    "Sink",
    "Source",
    "created_milliseconds",
    "describe",
    "find_raft_snapshot",
    "opened",
    "parse_meta",
    "plain",
    "read",
    "read_meta",
    "write",
    "write_to",
]
