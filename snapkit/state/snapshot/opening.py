"""A source opened: the one pass over its container, or what can be salvaged of one that is damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from snapkit.errors import ArchiveError, LimitError, RecordError, SnapshotError, SourceError
from snapkit.format import archive
from snapkit.format.age import Identity
from snapkit.format.archive import DEFAULT_LIMITS, STATE, Limits, Progress, Source
from snapkit.format.records import Framer
from snapkit.format.salvage import Salvage, held
from snapkit.format.salvage import salvage as salvage_from
from snapkit.format.values import Mask
from snapkit.progress import long_work
from snapkit.state.snapshot.secrets import masker
from snapkit.state.snapshot.snapshot import Snapshot
from snapkit.state.snapshot.store import Store


@long_work("Reading")
def open_snapshot(
    source: Source,
    *,
    key: bytes | str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    salvage: bool | Literal["suspect"] = False,
    identity: Identity | None = None,
    spill: bool = True,
) -> Snapshot:
    """Open a snapshot: one pass that checks the container and finds the records; none is decoded until asked for.

    Args:
        source: A `.snap` file, its bytes or a binary stream; a raft snapshot directory or a server's data directory;
            a bare state.bin; any fsspec URL of a file.
        key: Of the fingerprints that stand for secrets. By default new for each process.
        limits: Bounds against hostile input.
        progress: Called with the bytes read so far and in all (None if unknown).
        salvage: Of a damaged source, take the records that are certainly those the server wrote, maybe none, and say
            so in `Snapshot.salvage`; `"suspect"`: take also those that can be read and may be altered. What is certain
            is said in `snapkit.format.salvage`. A source that is whole is opened as ever.
        identity: What opens a source that is encrypted (age): the path of an identity file, or its text.
        spill: May a large state be kept in a file without a name? That of an encrypted source never is.

    Raises:
        SnapshotError: There is nothing to read (SourceError), the container (ArchiveError) or the state (RecordError)
            is damaged, or a limit is passed (LimitError). In a salvage, damage is an error only where not a single
            record can be read.
    """
    if not salvage:
        return _open(source, masker(key), limits, progress, identity, Store(spills=spill))
    with held(source, limits) as again:
        store = Store(spills=spill)
        try:
            return _open(again, masker(key), limits, progress, identity, store)
        except (ArchiveError, RecordError, LimitError) as error:
            if spill and not store.spills:
                advice = "nothing is salvaged of what is encrypted: use another copy"
                raise type(error)(error.what, error.where, advice) from error
            reason = error.what
        except SourceError:
            if not _has_state(again):
                raise
            reason = "meta.json is missing"
        return _open_salvaged(again, masker(key), limits, reason, salvage == "suspect")


def _open(
    source: Source,
    mask: Mask,
    limits: Limits,
    progress: Progress | None,
    identity: Identity | None,
    store: Store,
) -> Snapshot:
    framer = Framer(max_record=limits.record, max_records=limits.records)
    try:
        found = archive.read(
            source,
            _Both(framer, store),
            limits=limits,
            progress=progress,
            identity=identity,
            on_encrypted=store.stay_in_memory,
        )
        try:
            framer.close()
        except SnapshotError as error:
            raise error.at(found.source) from error.__cause__
    except BaseException:
        store.close()
        raise
    return _snapshot(found, framer, store, mask, None)


def _has_state(source: Source) -> bool:
    return isinstance(source, str | os.PathLike) and (Path(source) / STATE).is_file()


def _open_salvaged(source: Source, mask: Mask, limits: Limits, reason: str, suspect: bool) -> Snapshot:
    store = Store()
    framer = Framer(max_record=limits.record, max_records=limits.records)
    try:
        found, account = salvage_from(source, _Both(framer, store), reason, limits=limits, suspect=suspect)
        framer.close()
    except BaseException:
        store.close()
        raise
    return _snapshot(found, framer, store, mask, account)


def _snapshot(found: archive.Archive, framer: Framer, store: Store, mask: Mask, account: Salvage | None) -> Snapshot:
    assert framer.index is not None
    sizes = {byte: tally.bytes for byte, tally in framer.tallies.items()}
    return Snapshot(found, framer.index, sizes, store, mask, account)


class _Both:
    def __init__(self, framer: Framer, store: Store) -> None:
        self._framer = framer
        self._store = store

    def write(self, chunk: bytes | memoryview) -> None:
        self._framer.write(chunk)
        self._store.write(chunk)
