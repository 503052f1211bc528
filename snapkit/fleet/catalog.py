"""Catalog: many archives as one table, which is read again only where something changed."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pandas as pd

from snapkit.errors import SnapshotError
from snapkit.fleet import entries, frames, gaps, keeping, retention
from snapkit.fleet.entries import LEVELS, Entry, Level, checks_of
from snapkit.fleet.places import Access, Place, listed, other_names
from snapkit.fleet.questions import Questions
from snapkit.fleet.retention import Decision, Keep
from snapkit.fleet.running import Hidden, Runner
from snapkit.format.age import Identity
from snapkit.format.archive import DEFAULT_LIMITS, Limits, Progress
from snapkit.page import plain
from snapkit.progress import long_work
from snapkit.state.verify import verify
from snapkit.version import __version__

if TYPE_CHECKING:
    from distributed import Client

KEPT_EVERY = 30.0  # seconds: what is lost at most of a run that is cut short

Result = TypeVar("Result")


class Catalog(Questions):
    """Archives of one or more clusters, each read once: what they are, whether they are whole, and what is missing.

    Attributes:
        store: The folder that it is kept in; None for memory alone.
        level: How much of each archive is read.
        target: The release to be restored into; None for the one that wrote each.
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
            progress: Called with the bytes of the archives read so far and in all, where reading was not asked for.

        Raises:
            SnapshotError: An argument makes no sense.
        """
        if level not in LEVELS:
            raise SnapshotError(f"is no level {level!r:.40}", "level", f"there are {', '.join(LEVELS)}")
        if key is not None and not key:
            raise SnapshotError("is empty", "the key of fingerprints", "give some text or bytes that only you know")
        if target is not None:
            verify(b"", target, level="archive")  # says so if it is no release
        self.store = Path(store) if store is not None else None
        self.level = level
        self._sources = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        self._runner = Runner(client, workers)
        self.target = target
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
        self._new: frozenset[str] = frozenset()
        self._places: dict[str, Place] = {}

    # -- reading

    @long_work("Reading archives")
    def refresh(self, *, again: bool = False, progress: Progress | None = None) -> Self:
        """List the sources again, and read what is new or changed; what is gone is dropped.

        Args:
            again: Read all of them, also what has not changed: a disk may have.
            progress: Called with the bytes of the archives read so far and in all.

        Raises:
            SourceError: A source is not there, or can't be listed.
            SnapshotError: What is in the store is no catalog, or there is no such Dask cluster.
        """
        places = {place.location: place for place in listed(self._sources, self._access)}
        kept = self._entries if self._entries is not None else keeping.load(self.store, self.target)
        found = {at: self._listed_anew(kept[at], place) for at, place in places.items() if at in kept}
        wanted = [
            place for at, place in places.items() if again or at not in found or not found[at].is_of(place, self.level)
        ]
        if wanted or found != kept:
            with self._kept(found):
                self._read(wanted, found, progress)
        self._places, self._entries, self._new = places, found, frozenset(place.location for place in wanted)
        return self

    def _listed_anew(self, entry: Entry, place: Place) -> Entry:
        return replace(entry, source=place.source)  # by another name than when it was kept

    @contextmanager
    def _kept(self, found: Mapping[str, Entry]) -> Iterator[None]:
        """What was read is kept, also if it ends early."""
        try:
            yield
        finally:
            keeping.save(self.store, found.values(), self.target)

    def _read(self, places: Sequence[Place], found: dict[str, Entry], progress: Progress | None) -> None:
        before, total = 0, sum(place.size or 0 for place in places)
        saved = time.monotonic()

        def further(done: int, _: int | None) -> None:
            if progress is not None:
                progress(before + done, total)

        # In this process, progress is told from within archives; of others, as they are done.
        arguments: tuple[Any, ...] = (self.level, self.target, *((further,) if self._runner.here else ()))
        with closing(self._runner.run(entries.read, places, *arguments, failed=entries.unread)) as results:
            for place, entry in zip(places, results, strict=True):
                found[place.location] = replace(entry, snapkit=__version__, made_of=checks_of(entry.level))
                before += place.size or 0
                further(0, None)
                if time.monotonic() - saved > KEPT_EVERY:
                    keeping.save(self.store, found.values(), self.target)
                    saved = time.monotonic()

    def run(
        self, function: Callable[..., Result], *args: Any, failed: Callable[[Place, str], Result] | None = None
    ) -> Iterator[tuple[Place, Result]]:
        """`function(place, *args)` of each archive that can be opened, in the order of `archives`, as `Runner.run()`.

        `place.open()` gives the Snapshot, whose secrets are masked by the catalog's key; it is to be closed there.
        """
        places = self.places()
        with closing(self._runner.run(function, places, *args, failed=failed)) as results:
            yield from zip(places, results, strict=True)

    def places(self) -> list[Place]:
        """Where the archives are that can be opened, in the order of `archives`."""
        return [self._places[entry.location] for entry in self.entries() if entry.verdict in frames.USABLE]

    def entries(self) -> list[Entry]:
        """What is known of each archive, in the order of `archives`."""
        if self._entries is None:
            self.refresh(progress=self._progress)
        assert self._entries is not None
        return frames.ordered(self._entries.values())

    @property
    def new(self) -> list[Entry]:
        """What the last refresh has read, in the order of `archives`."""
        return [entry for entry in self.entries() if entry.location in self._new]

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
            (str), Snapkit (str; the version that read it), Outdated (boolean; findings are those of another snapkit or
            of one with other checks: `refresh(again=True)` makes them anew). What is not known is NA, or "" where it is
            text.
        """
        return frames.archives(self.entries())

    @property
    def tables(self) -> pd.DataFrame:
        """What is in them, a row for each archive and table, in the order of `archives`.

        Returns:
            Index Source, Table (str); Type (str; Nomad's name), Count, Bytes (Int64).
        """
        return frames.tables(self.entries())

    @property
    def findings(self) -> pd.DataFrame:
        """What verify says of them, in the order of `archives`.

        Returns:
            Index Source; Check, Severity, Place, Message, Advice (all str).
        """
        return frames.findings(self.entries())

    @property
    def clusters(self) -> pd.DataFrame:
        """The clusters that they are of.

        Returns:
            Index ClusterID (str; "" for archives whose cluster is not known); Region (str), Archives, Good, Damaged
            (Int64; how many there are, have the verdict ok, have the verdict error), Size (Int64; bytes of the files),
            First, Last (datetime64[ns, UTC]), Interval (timedelta64[ns]; the median of the last ten steps from one to
            the next).
        """
        return frames.clusters(self.entries())

    # -- what the series tells

    def gaps(
        self,
        expected: str | timedelta | None = None,
        now: datetime | None = None,
        keep: str | Keep | None = None,
    ) -> pd.DataFrame:
        """Where archives are missing: one and a half times the expected interval, or more, without a usable one.

        A damaged archive is as good as none.

        Args:
            expected: How often one is taken, such as `1h`; by default the median of each cluster's last ten steps.
            now: When it is: what is missing since the last one is a gap too. By default nothing is.
            keep: The retention rule by which older ones were removed, as of `retention()`: then only what it would
                have kept is missing.

        Returns:
            ClusterID (str), From, To (datetime64[ns, UTC]), Length, Expected (timedelta64[ns]), Missing, Damaged
            (Int64; about how many are missing, and how many damaged ones are there), Before, After (str; the sources
            at its ends; "" for now).

        Raises:
            SnapshotError: `expected` is no duration, or `keep` no rule.
        """
        interval = duration(expected, "expected") if expected is not None else None
        ends = pd.Timestamp(utc(now)) if now is not None else None
        rule = retention.parse(keep) if keep is not None else None
        return gaps.gaps(self.entries(), interval, ends, rule)

    def mixed(self) -> pd.DataFrame:
        """Archives of another cluster than most in their folder.

        Returns:
            Index Source; Folder, ClusterID, Usual (str; the cluster of most).
        """
        return frames.mixed(self.entries())

    def went_back(self) -> pd.DataFrame:
        """Where a cluster's Raft index is lower than in the archive before: it was restored elsewhere in between.

        A restore into the running cluster goes on from the higher index, and is not seen here.

        Returns:
            ClusterID (str), From, To (datetime64[ns, UTC]), IndexBefore, IndexAfter (UInt64), Before, After (str;
            sources).
        """
        return frames.went_back(self.entries())

    def newest_good(self) -> pd.DataFrame:
        """The archive of each cluster to restore: the newest that verify has no error of.

        Returns:
            Index ClusterID; Source, Region (str), Created (datetime64[ns, UTC]), Index, Term (UInt64), Version (str),
            Size, Findings (Int64), SHA256 (str). A cluster without one is not there.
        """
        return frames.newest_good(self.entries())

    # -- retention

    def retention(self, keep: str | Keep, now: datetime | None = None) -> pd.DataFrame:
        """What a retention rule would keep; nothing is removed.

        Args:
            keep: Such as `hourly=24,daily=14,monthly=12`, of last, hourly, daily, weekly, monthly and yearly; see
                `snapkit.fleet.retention`.
            now: When it is; by default now.

        Returns:
            Index Source; ClusterID (str), Created (datetime64[ns, UTC]), Size (Int64), Verdict (str), Keep (boolean),
            Reason (str), in the order of `archives`.

        Raises:
            SnapshotError: It is no rule.
        """
        return retention.frame(self._decisions(retention.parse(keep), utc(now)))

    def _decisions(self, rule: Keep, now: datetime) -> list[Decision]:
        found = self.entries()
        return retention.decide(found, rule, now, other_names(self._places.values()))

    def prune(self, keep: str | Keep, now: datetime | None = None) -> pd.DataFrame:
        """Remove what a retention rule does not keep, the oldest first.

        The newest good archive of a cluster is read once more before anything of that cluster goes: it may have been
        looked at long ago. If it is not good any more, or can't be read, nothing of the cluster is removed.

        Args:
            keep: As of `retention()`.
            now: As of `retention()`.

        Returns:
            As `retention()`, and Removed (boolean) and Error (str): why one that was to go is still there.

        Raises:
            SnapshotError: It is no rule.
        """
        rule, moment = retention.parse(keep), utc(now)
        held = self._reread([d.entry for d in self._decisions(rule, moment) if d.newest])
        decisions = [
            replace(d, keep=True, reason="its cluster's newest good archive is good no more: look at that first")
            if not d.keep and d.entry.cluster_id in held
            else d
            for d in self._decisions(rule, moment)
        ]
        removed: dict[str, str] = {}
        assert self._entries is not None
        try:
            for decision in decisions:
                if not decision.keep:
                    at = decision.entry.location
                    try:
                        self._places[at].remove()
                        del self._entries[at]
                        removed[at] = ""
                    except SnapshotError as error:
                        removed[at] = plain(str(error))
        finally:
            keeping.save(self.store, self._entries.values(), self.target)
        frame = retention.frame(decisions)
        errors = [removed.get(decision.entry.location) for decision in decisions]
        frame["Removed"] = pd.array([error == "" for error in errors], dtype="boolean")
        frame["Error"] = frames.text(error or "" for error in errors)
        return frame

    def _reread(self, newest: Sequence[Entry]) -> set[str]:
        """Read archives again that the last refresh did not read.

        Returns:
            The clusters of which one is good no more.
        """
        assert self._entries is not None
        self._read([self._places[e.location] for e in newest if e.location not in self._new], self._entries, None)
        return {entry.cluster_id for entry in newest if self._entries[entry.location].verdict != "ok"}

    # -- how it shows itself

    def __repr__(self) -> str:
        count = f"{len(self._entries):,} archives" if self._entries is not None else "not read yet"
        return f"<Catalog: {count}>"


def utc(now: datetime | None) -> datetime:
    """A moment with its time zone: UTC if none is said; by default now."""
    now = now if now is not None else datetime.now(UTC)
    return now if now.tzinfo is not None else now.replace(tzinfo=UTC)


def duration(given: str | timedelta, where: str) -> pd.Timedelta:
    """A duration such as `26h`, with its unit.

    Raises:
        SnapshotError: It is none, or not longer than nothing.
    """
    if isinstance(given, str):
        given = re.sub(r"(?<=[\d ])[dw](?![a-z])", lambda unit: unit[0].upper(), given)  # pandas wants D and W
    try:
        found = pd.Timedelta(given)
    except ValueError:
        found = pd.Timedelta(0)
    if (isinstance(given, str) and given.strip().isdigit()) or not found > pd.Timedelta(0):
        raise SnapshotError(f"is no duration {given!r:.40}", where, "give one such as 26h")
    return found
