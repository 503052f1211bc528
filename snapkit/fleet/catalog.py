"""Catalog: many archives as one table, which is read again only where something changed."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pandas as pd

from snapkit.errors import SnapshotError
from snapkit.fleet import entries, keeping
from snapkit.fleet.entries import LEVELS, Entry, Level
from snapkit.fleet.places import Access, Place, listed
from snapkit.fleet.running import Hidden, Runner
from snapkit.format.age import Identity
from snapkit.format.archive import DEFAULT_LIMITS, Limits, Progress

if TYPE_CHECKING:
    from distributed import Client

KEPT_EVERY = 30.0  # seconds: what is lost at most of a run that is cut short

Result = TypeVar("Result")


class Catalog:
    """Archives of one or more clusters, each read once: what they are, whether they are whole, and what is missing.

    Attributes:
        store: The folder that it is kept in; None for memory alone.
        level: How much of each archive is read.
    """

    def __init__(
        self,
        sources: str | Sequence[str],
        *,
        store: str | os.PathLike[str] | None = None,
        client: str | Client | None = None,
        workers: int = 1,
        level: Level = "verify",
        target: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        identity: Identity | None = None,
        key: bytes | str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        progress: Progress | None = None,
    ) -> None:
        """Say what and where; nothing is read yet.

        Args:
            sources: Paths, patterns such as `backups/*.snap`, folders (of which `*.snap` is taken), and fsspec URLs
                of all these, such as `s3://bucket/nomad/*.snap`.
            store: A folder to keep it in, so that what has not changed is not read again.
            client: A Dask cluster that does the reading: its address, or a `distributed.Client`.
            workers: Without it: how many processes of this machine do.
            level: `meta`: no more than each archive's metadata, of its first bytes; `counts`: all of it, with records
                by table; `verify`: with all of verify's checks.
            target: The release to be restored into, for verify.
            storage_options: For fsspec. Workers elsewhere are given them too: better that these have their own.
            identity: What opens encrypted archives: an age identity file, or its text.
            key: Of the fingerprints that stand for secrets. By default one that is kept with the store, or new.
            limits: Bounds against hostile input.
            progress: Called with the bytes of the archives done so far and in all.

        Raises:
            SnapshotError: An argument makes no sense.
        """
        if level not in LEVELS:
            raise SnapshotError(f"is no level {level!r:.40}", "level", f"there are {', '.join(LEVELS)}")
        if key is not None and not key:
            raise SnapshotError("is empty", "the key of fingerprints", "give some text or bytes that only you know")
        self.store = Path(store) if store is not None else None
        self.level = level
        self._sources = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        self._runner = Runner(client, workers)
        self._target = target
        self._progress = progress
        if key is None:
            key = keeping.key(self.store) if self.store is not None else secrets.token_bytes(32)
        self._access = Access(
            Hidden(key if isinstance(key, bytes) else key.encode()),
            Hidden(identity),
            Hidden(dict(storage_options or {})),
            limits,
        )
        self._entries: dict[str, Entry] | None = None
        self._places: dict[str, Place] = {}

    # -- reading

    def refresh(self) -> Self:
        """List the sources again, and read what is new or changed; what is gone is dropped.

        Raises:
            SourceError: A source is not there, or can't be listed.
            SnapshotError: What is in the store is no catalog, or there is no such Dask cluster.
        """
        places = {place.location: place for place in listed(self._sources, self._access)}
        kept = self._entries if self._entries is not None else keeping.load(self.store, self._target)
        found = {location: kept[location] for location in places if location in kept}
        wanted = [place for at, place in places.items() if at not in found or not found[at].is_of(place, self.level)]
        self._places = places
        self._entries = found
        done, total = 0, sum(place.size or 0 for place in wanted)
        saved = time.monotonic()
        try:
            for place, entry in zip(wanted, self._read(wanted), strict=True):
                found[place.location] = entry
                done += place.size or 0
                if self._progress is not None:
                    self._progress(done, total)
                if time.monotonic() - saved > KEPT_EVERY:
                    self._save()
                    saved = time.monotonic()
        except BaseException:
            self._entries = None  # it is not whole; what was read is in the store
            raise
        finally:
            if wanted or found.keys() != kept.keys():
                keeping.save(self.store, found.values(), self._target)
        return self

    def _save(self) -> None:
        keeping.save(self.store, (self._entries or {}).values(), self._target)

    def _read(self, places: Sequence[Place]) -> Iterator[Entry]:
        return self._runner.run(entries.read, places, self.level, self._target, failed=entries.unread)

    def run(
        self, function: Callable[..., Result], *args: Any, failed: Callable[[Place, str], Result] | None = None
    ) -> Iterator[tuple[Place, Result]]:
        """`function(place, *args)` of each archive that can be opened, in the order of `archives`, as `Runner.run()`.

        `place.open()` gives the Snapshot, whose secrets are masked by the catalog's key, and is to be closed there.
        """
        places = self.places()
        yield from zip(places, self._runner.run(function, places, *args, failed=failed), strict=True)

    def places(self) -> list[Place]:
        """Where the archives are that can be opened, in the order of `archives`."""
        frame = self.archives
        found = self._found()
        by_source = {entry.source: entry.location for entry in found.values()}
        readable = frame.index[frame["Verdict"].isin(["ok", "unknown"])]
        return [self._places[by_source[source]] for source in readable]

    def _found(self) -> dict[str, Entry]:
        if self._entries is None:
            self.refresh()
        assert self._entries is not None
        return self._entries

    # -- what there is

    @property
    def archives(self) -> pd.DataFrame:
        """The archives, a row each, by cluster and time; they are read when this is first asked for.

        Returns:
            Index Source (str; a path or URL, without credentials); Name (str; of the file), ClusterID, Region (str),
            Created (datetime64[ns, UTC]), Index, Term (UInt64), Version (str; the releases that can have written it),
            Size, StateBytes (Int64; bytes), Level (str; how much was read), Verdict (str; `ok`: all checks made and
            no error, `error`, `unknown`: not all checks made and no error, `unread`: it could not be looked at),
            Findings (Int64), Error (str; the first), SHA256 (str), Modified (datetime64[ns, UTC]; of the file), ETag
            (str). What is not known is NA, or "" where it is text.
        """
        return keeping.archives_frame(self._found().values())

    @property
    def tables(self) -> pd.DataFrame:
        """What is in them, a row for each archive and table, in the order of `archives`.

        Returns:
            Index Source, Table (str); Type (str; Nomad's name), Count, Bytes (Int64).
        """
        return keeping.tables_frame(self._found().values())

    def __repr__(self) -> str:
        count = f"{len(self._entries):,} archives" if self._entries is not None else "not read yet"
        return f"<Catalog: {count}>"
