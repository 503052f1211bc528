"""The one pass: the container surveyed, the state framed, and its records looked at as they come by; few are kept."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby, islice
from threading import Lock
from typing import TypeAlias

from snapkit.errors import ArchiveError, LimitError, RecordError, SnapshotError
from snapkit.format import archive
from snapkit.format.age import Identity
from snapkit.format.archive import Archive, Limits, Progress, Source
from snapkit.format.records import Framer, Index
from snapkit.format.schema import BY_TABLE
from snapkit.format.values import unpack
from snapkit.state.findings.report import Finding, Severity
from snapkit.state.snapshot import SAMPLES, Snapshot
from snapkit.state.snapshot.secrets import masker
from snapkit.state.snapshot.store import Store
from snapkit.state.verify.decoding import Decoding, Records
from snapkit.state.verify.registry import CHECKS
from snapkit.state.verify.subject import State

_ROOT_KEYS = BY_TABLE["root_keys"].byte
TURN = 0.0002  # seconds

#: Takes records of one type that follow one another: the type, the number of the first of them, their values.
_Take: TypeAlias = Callable[[int, int, Records], None]


class Reading:
    """What the pass over a source found.

    Attributes:
        archive: The container, as far as it could be read.
        state: The state; None if it can't be framed, or was not asked for.
        found: What came up on the way.
    """

    def __init__(
        self,
        src: Source,
        limits: Limits,
        progress: Progress | None,
        *,
        framing: bool,
        sample: bool,
        decoding: Decoding | None,
        identity: Identity | None = None,
    ) -> None:
        """Read it.

        Args:
            src: Anything that `open()` takes.
            limits: Bounds against hostile input.
            progress: Called with the bytes read so far and in all.
            framing: Is the state to be framed?
            sample: Is a sample of its records to be kept?
            decoding: Takes the records, if they are to be decoded.
            identity: What opens a source that is encrypted.
        """
        self.archive = Archive(archive.describe(src), "archive", {}, ())
        self.state: State | None = None
        self.found: list[Finding] = []
        self._framer = Framer(max_record=limits.record, max_records=limits.records)
        self._sample = _Sample() if sample or decoding is not None else None
        self._decoding = decoding
        assert self._framer.index is not None
        self._cutter = _Cutter(self._framer.index, self._take)
        self._broken: RecordError | LimitError | None = None
        try:
            with _TURNS if decoding is not None else nullcontext():
                self._read(src, limits, progress, framing, identity)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give back what was kept. It no longer refers to itself, and so is gone with its last user: its columns are
        too much to wait for Python's collector."""
        self._cutter.forget()
        if self._sample is not None:
            self._sample.close()

    def write(self, chunk: bytes | memoryview) -> None:
        """Take state.bin as it passes: what can't be framed ends the framing, and not the pass."""
        if self._broken is None:
            try:
                self._framer.write(chunk)
            except (RecordError, LimitError) as error:
                self._broken = error.with_traceback(None)  # in which this object is
                return
            if self._sample is not None:
                self._cutter.write(memoryview(chunk))

    def _stay_in_memory(self) -> None:
        if self._sample is not None:
            self._sample.stay_in_memory()

    def _take(self, byte: int, number: int, records: Records) -> None:
        assert self._sample is not None
        self._sample.take(byte, records)
        if self._decoding is not None:
            self._decoding.take(byte, number, records)

    def _read(
        self, src: Source, limits: Limits, progress: Progress | None, framing: bool, identity: Identity | None
    ) -> None:
        try:
            self.archive = archive.read(
                src,
                self if framing else None,
                limits=limits,
                progress=progress,
                survey=True,
                identity=identity,
                on_encrypted=self._stay_in_memory,
            )
        except LimitError as error:
            self._fail("archive.limit", error)
            return
        except ArchiveError as error:
            self._fail(error.check, error)
            return
        for oddity in self.archive.oddities:
            severity: Severity | None = "error" if oddity.refused else None
            self.found.append(CHECKS[oddity.check].finding(oddity.place, oddity.message, oddity.advice, severity))
        if framing and any(member.name == archive.STATE for member in self.archive.members):
            self._frame()

    def _frame(self) -> None:
        if self._broken is None:
            try:
                self._framer.close()
            except RecordError as error:
                self._broken = error.with_traceback(None)
        if self._broken is not None:
            self._fail(self._broken.check if isinstance(self._broken, RecordError) else "state.limit", self._broken)
            return
        index, tallies = self._framer.index, self._framer.tallies
        assert index is not None
        if self._sample is None:
            self.state = State(index.types, tallies)
            return
        self._cutter.close()
        sample = self._sample.snapshot(self.archive, {byte: tally.bytes for byte, tally in tallies.items()})
        self.state = State(index.types, tallies, sample, self._decoding)

    def _fail(self, check: str, error: SnapshotError) -> None:
        self.found.append(CHECKS[check].finding(error.where, error.what, error.advice))


class _Turns:
    """While one is entered, a thread that wants Python's lock has it soon.

    Decoding never lets go of it by itself. The threads that inflate and hash need it for an instant at each chunk, and
    to have it every 5 ms, as is Python's way, would be too late: there would be nothing to decode.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._entered = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, TURN))
            self._entered += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._entered -= 1
            if not self._entered:
                sys.setswitchinterval(self._before)


_TURNS = _Turns()  # of the process: its switch interval is one


class _Cutter:
    """Cuts a state into its records, by the index that a framer makes of it as it passes."""

    def __init__(self, index: Index, take: _Take) -> None:
        self._index = index
        self._take = take
        self._cut = 0  # records that were handed on
        self._held: list[memoryview] = []  # what of the state belongs to those that were not
        self._held_from = 0  # its offset
        self._end = 0  # of all that was written

    def write(self, chunk: memoryview) -> None:
        """Take what the framer has just taken. Where the last record ends, only the next one tells: it is held."""
        starts = self._index.starts[self._cut :]
        at = self._end
        self._end += len(chunk)
        if len(starts) < 2:
            self._held.append(chunk)
            return
        last = starts[-1]
        # Those that begin in what was held, in one piece with what belongs to them here.
        begun = min(bisect_left(starts, at), len(starts) - 1)
        joined = memoryview(b"".join([*self._held, chunk[: max(0, starts[begun] - at)]]))
        self._hand_on(joined, self._held_from, starts[: begun + 1])
        self._hand_on(chunk, at, starts[begun:])
        self._held = [chunk[last - at :]] if last >= at else [joined[last - self._held_from :], chunk]
        self._held_from = last

    def close(self) -> None:
        """Say that the state is at its end."""
        held = memoryview(b"".join(self._held))
        self._hand_on(held, self._held_from, [*self._index.starts[self._cut :], self._index.end])

    def forget(self) -> None:
        """Hand nothing on any more."""
        self._held = []
        self._take = lambda byte, number, records: None

    def _hand_on(self, state: memoryview, offset: int, bounds: Sequence[int]) -> None:
        """Hand records on that lie in a piece of the state from `offset` on; they begin and end at `bounds`."""
        at = 0
        for byte, run in groupby(self._index.types[self._cut : self._cut + len(bounds) - 1]):
            following = at + len(list(run))
            starts = [bound - offset + 1 for bound in bounds[at:following]]
            ends = [bound - offset for bound in bounds[at + 1 : following + 1]]
            self._take(byte, self._cut, Records(state, starts, ends))
            self._cut += following - at
            at = following


class _Sample:
    """The first records of each type, and all root keys: what the release and the keys are told from."""

    def __init__(self) -> None:
        self._framer = Framer()
        self._store = Store()
        self._write(b"\x80")  # the header

    def take(self, byte: int, records: Iterable[memoryview]) -> None:
        tally = self._framer.tallies.get(byte)
        room = None if byte == _ROOT_KEYS else SAMPLES - (tally.count if tally is not None else 0)
        for record in islice(records, room):
            if _is_map(record):
                self._write(bytes([byte]) + record)

    def snapshot(self, found: Archive, sizes: Mapping[int, int]) -> Snapshot:
        """A Snapshot that has no more records than these.

        Args:
            found: The container.
            sizes: The bytes of all records, by type byte.
        """
        self._framer.close()
        assert self._framer.index is not None
        return Snapshot(found, self._framer.index, sizes, self._store, masker())

    def stay_in_memory(self) -> None:
        """Keep them off the disk."""
        self._store.stay_in_memory()

    def close(self) -> None:
        self._store.close()

    def _write(self, piece: bytes) -> None:
        self._framer.write(piece)
        self._store.write(piece)


def _is_map(record: memoryview) -> bool:
    try:
        return isinstance(unpack(record), dict)
    except RecordError:
        return False
