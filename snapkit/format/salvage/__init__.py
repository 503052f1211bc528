"""What can still be had from a damaged source: the records that are certainly true, and an account of the rest.

A record is *true* if its bytes are those that the server wrote. Nothing in state.bin vouches for a single record, so
that is known in three ways only, of which `Salvage.evidence` names the one that was used:

- `sum`: a sum over the whole of state.bin holds (SHA256SUMS, a raft directory's CRC, or, where the archive lost its
  SHA256SUMS, gzip's own). The damage is elsewhere, and every record is true.
- `cut`: the source ends too early, and up to there nothing is amiss: no error in the stream, each tar header and each
  record as it should be, the one that was cut included. Every record that ends before the cut is true.
- `place`: the damage shows where it is. In a state that is not compressed (a bare state.bin, a raft directory, a
  gzip stream that fits its CRC) a record that can't be framed, or is not plausible by Nomad's own structs, gives it
  away; the records before it are true but for the last one, and so are those after it, from where framing is found
  again. In a compressed stream one wrong bit spoils an unknown part of what follows, without an error: the records
  are true up to 1 to 2 KiB of the compressed stream ahead of where garbage begins (or right up to a run of 64 or
  more equal bytes where it does, as a lost sector reads), if from there on nothing can be made sense of, and none are
  if it can: then the damage is more subtle than what showed, and may lie anywhere before it.

The last two hold for one damage: one cut, or one run of bytes changed, zeroed, lost or put in. They can't hold for
bytes changed all over the source (of compressed archives with two changes far apart, 6 in 100 gave an altered record),
for a bare state that lost bytes so that what is left beside the hole makes a record, for bytes overwritten by other
valid records, or for somebody who forges records (only a sum can, and even that not against one who forges it too). A
bare state.bin has no sum at all: a byte changed inside a text is noticed by nobody. What framing can read beyond what
is true is *suspect*: counted always, given only if it is asked for, and then nothing is vouched for.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from snapkit.errors import ArchiveError, RecordError, SnapshotError, SourceError
from snapkit.format import archive
from snapkit.format.archive import CHUNK, META, STATE, Archive, Limits, Member, Sink, Source
from snapkit.format.salvage.account import Gap, Salvage, figures
from snapkit.format.salvage.container import Found, deflate_begin, from_state, from_tar, inflate, untar
from snapkit.format.salvage.plausible import is_map
from snapkit.format.salvage.scanner import Frames, Scanner
from snapkit.format.salvage.source import Held, Spool, file_view, held

__all__ = ["Gap", "Salvage", "held", "salvage"]


def salvage(
    source: Source, sink: Sink, reason: str, *, limits: Limits = archive.DEFAULT_LIMITS, suspect: bool = False
) -> tuple[Archive, Salvage]:
    """Pass on, as a state.bin, the header and every record of a damaged source that is certainly true.

    Args:
        source: As of `archive.read()`, but none that can be read only once: see `held()`.
        sink: Takes them in pieces.
        reason: What is wrong with it, for the account.
        limits: Bounds against hostile input.
        suspect: Pass on also the records that may be altered.

    Returns:
        What was found, of state.bin what was passed on; and the account.

    Raises:
        SourceError: There is nothing to read.
        RecordError: Not a single record can be had, not even a suspect one.
        LimitError: It goes beyond a limit.
    """
    name = archive.describe(source)
    try:
        with _found(source, name, limits) as found:
            return _given(found, sink, reason, limits, suspect)
    except SnapshotError as error:
        raise error.at(name) from error.__cause__
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror or error})", name, "check the path and its mode") from error


@contextmanager
def _found(source: Source, name: str, limits: Limits) -> Iterator[Found]:
    if isinstance(source, Held):
        data = memoryview(source.view)
    elif isinstance(source, bytes | bytearray | memoryview):
        data = memoryview(source)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            alone = (path / STATE).exists()
            copy = path if alone else archive.find_raft_snapshot(path)[0]
            with file_view(copy / STATE, limits) as state:
                yield from_state("raft directory", str(copy), state, _meta_of(copy, limits))
            return
        with file_view(path, limits) as view, _found(view, name, limits) as found:
            yield found
        return
    else:
        raise SourceError("can't be read twice", "", "use held()")
    begin = deflate_begin(data)
    if begin is None:
        if not data or not is_map(data[0]):
            raise ArchiveError("is not a Nomad snapshot", "byte 0", "nothing in it can be salvaged")
        yield from_state("state file", name, data, {})
        return
    with Spool(limits.total) as spool:
        stream = inflate(data, begin, spool, limits)
        with spool.view() as flat:
            yield from_tar(name, flat, stream, untar(flat, limits), limits)


def _meta_of(copy: Path, limits: Limits) -> dict[str, Any]:
    with suppress(OSError, ArchiveError), (copy / META).open("rb") as file:
        return archive.parse_meta(file.read(limits.document))
    return {}


def _given(found: Found, sink: Sink, reason: str, limits: Limits, suspect: bool) -> tuple[Archive, Salvage]:
    runs = Scanner(found.state, found.total, limits, plausibly=not found.sound).runs()
    true, evidence, safe = _true(found, runs)
    doubtful = sum(len(run.types) for run in runs) - sum(true)
    if not sum(true) and not doubtful:
        raise RecordError("not a single record can be had", STATE, "use another copy")
    counts = [len(run.types) for run in runs] if suspect else true
    header = runs[0].begin  # its length, 0 if it is damaged
    digest, size = hashlib.sha256(), 0

    def give(piece: memoryview | bytes) -> None:
        nonlocal size
        for at in range(0, len(piece), CHUNK):
            chunk = bytes(piece[at : at + CHUNK])
            digest.update(chunk)
            sink.write(chunk)
        size += len(piece)

    give(found.state[:header] if header else b"\x80")
    kept = [(0, header)] if header else []
    for run, count in zip(runs, counts, strict=True):
        if count:
            kept.append((run.begin, run.after(count)))
            give(found.state[run.begin : run.after(count)])
    meta = found.meta if safe is None or found.start + safe >= found.meta_end else {}
    whole = Salvage(
        reason,
        evidence if not (suspect and doubtful) else "",
        not (suspect and doubtful),
        records=sum(counts),
        suspect=doubtful,
        **figures(found, runs, counts, kept),
    )
    return Archive(found.name, found.kind, meta, (Member(STATE, size, digest.hexdigest()),)), whole


def _true(found: Found, runs: list[Frames]) -> tuple[list[int], str, int | None]:
    """How many records of each run are true, why, and how far a damaged compressed stream is."""
    every = [len(run.types) for run in runs]
    none = [0] * len(runs)
    amiss = [run for run in runs if run.why == "amiss"]
    if found.sound:
        return every, "sum", None
    # A state by itself that ends between two records may as well have lost some in its middle.
    if found.cut and not amiss and (found.stream is not None or runs[-1].why == "cut"):
        return every, "cut", None
    if found.stream is not None:
        places = [found.start + run.end for run in amiss[:1]]
        places += [found.amiss] if found.amiss is not None else []
        places += [found.stream.size] if found.stream.failed else []
        if not places or any(every[1:]):
            return none, "", 0
        safe = found.stream.safe(min(places)) - found.start
        count = every[0] if runs[0].end <= safe else max(0, bisect_right(runs[0].starts, safe) - 1)
        return [count, *none[1:]], "place" if count else "", max(0, safe)
    if not amiss:
        return none, "", None
    return [max(0, n - (run.why == "amiss")) for n, run in zip(every, runs, strict=True)], "place", None
