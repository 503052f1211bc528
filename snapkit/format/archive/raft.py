"""A state.bin that is in no archive: by itself, or in a server's own directory."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fastcrc

from snapkit.errors import ArchiveError, LimitError, SnapshotError, SourceError
from snapkit.format.archive.meta import check_size, parse_meta
from snapkit.format.archive.model import CHUNK, META, STATE, Archive, Limits, Member, Oddity, Progress, Sink
from snapkit.format.archive.threads import Behind


def read_state(
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
    with Behind(digest.update) as hashing:
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
        check_size(meta, size)
        found = base64.b64encode(crc.to_bytes(8, "big")).decode()
        if meta.get("CRC", found) != found:
            what = f"CRC is {found}, meta.json says {meta['CRC']!r:.60}"
            raise ArchiveError(what, STATE, "use another copy", check="archive.crc")
    except ArchiveError as error:
        if not survey:
            raise
        oddities.append(Oddity.of(error))
    return Archive(name, kind, meta, (Member(STATE, size, digest.hexdigest()),), tuple(oddities))


def read_raft_directory(
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

        found = read_state(pieces(), str(copy), "raft directory", meta, sink, limits, survey)
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
