"""The journal of a restore: every step as a line of JSON, chained by hash, on disk before the step goes on.

A line has `number`, `previous` (the SHA-256 of the line before it), `time` (UTC), `who`, `step`, `event` (`begun`,
`done`, `failed`) and what there is to tell. One writer at a time holds it. Whoever may write to it could write all of
it anew, or cut its end off: keep the newest hash elsewhere (`Journal.head`).
"""

from __future__ import annotations

import fcntl
import getpass
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from snapkit.errors import SnapshotError, SourceError, TargetExistsError
from snapkit.page import AMBER, GREEN, RED, escaped, page, plain, table
from snapkit.state.findings.chain import GENESIS, canonical, digest, parsed
from snapkit.version import __version__

SCHEMA = "snapkit.journal/1"

Event: TypeAlias = Literal["begun", "done", "failed"]
EVENTS: tuple[Event, ...] = ("begun", "done", "failed")


class JournalError(SnapshotError):
    """A journal is not as it was written, or somebody else writes to it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a journal.

    Attributes:
        number: From 1 on.
        previous: The SHA-256 of the line before it, in hex.
        time: UTC, as `2026-11-26T08:00:00.123Z`.
        who: `user@host`, as given.
        step: Which step of the run.
        event: `begun`, `done` or `failed`.
        about: What there is to tell of it: hashes, answers, seconds.
    """

    number: int
    previous: str
    time: str
    who: str
    step: str
    event: Event
    about: Mapping[str, Any]

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.about.items() if _is_short(value))
        return plain(f"{self.number}: {self.time} {self.who}: {self.step} {self.event}{f': {told}' if told else ''}")


def whoami() -> str:
    """`user@host`, as the system has it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class Journal:
    """A journal that is written to, held alone until closed. Make one by `create()`, go on with one by `resume()`.

    Attributes:
        path: The file.
        who: Who writes, `user@host`.
    """

    def __init__(self, path: Path, handle: int, who: str, clock: Callable[[], datetime]) -> None:
        self.path = path
        self.who = who
        self._handle = handle
        self._clock = clock
        self._entries: list[Entry] = []
        self._head = GENESIS

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        who: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """A new one, mode 0600.

        Args:
            path: Where there is no file yet.
            who: `user@host`; by default as the system has it.
            clock: What time it is.

        Raises:
            TargetExistsError: There is one already.
            SourceError: It can't be written.
        """
        path = Path(path)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the name is safe only when its folder is on disk
            finally:
                os.close(folder)
        except FileExistsError as error:
            advice = "an interrupted restore goes on with `snapkit restore --resume`; for a new one name another file"
            raise TargetExistsError("is there already", str(path), advice) from error
        except OSError as error:
            raise SourceError(f"can't be written ({error.strerror})", str(path), "check the path") from error
        journal = cls(path, handle, who or whoami(), clock)
        journal._lock()
        return journal

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        *,
        who: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """One that is there, to be gone on with. A last line that was never written to its end is cut off.

        Raises:
            SourceError: It can't be read or written.
            JournalError: It was altered, or another process writes to it.
        """
        path = Path(path)
        try:
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            advice = "name a journal" if isinstance(error, FileNotFoundError) else "check whose it is, and its mode"
            raise SourceError(f"can't be written ({error.strerror})", str(path), advice) from error
        journal = cls(path, handle, who or whoami(), clock)
        try:
            journal._lock()
            journal._entries, journal._head, whole = _read(path)
            os.ftruncate(handle, whole)
        except BaseException:
            journal.close()
            raise
        return journal

    def _lock(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            advice = "wait for it, or end it"
            raise JournalError("is held by another process, which is at it", str(self.path), advice) from error

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is written so far."""
        return tuple(self._entries)

    @property
    def head(self) -> str:
        """The SHA-256 of the newest line in hex: kept elsewhere, it shows later that nothing was cut off."""
        return self._head

    def write(self, step: str, event: Event, **about: Any) -> Entry:
        """Add a line. It is on disk when this returns.

        Raises:
            SourceError: It can't be written.
        """
        moment = self._clock().astimezone(UTC)
        stamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
        entry = Entry(len(self._entries) + 1, self._head, stamp, self.who, step, event, about)
        line = canonical(
            {
                "schema": SCHEMA,
                "number": entry.number,
                "previous": entry.previous,
                "time": entry.time,
                "who": entry.who,
                "step": step,
                "event": event,
                "about": about,
                "tool": f"snapkit {__version__}",
            }
        )
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._handle, left) :]
            os.fsync(self._handle)
        except OSError as error:
            raise SourceError(f"can't be written ({error.strerror})", str(self.path), "check the disk") from error
        self._entries.append(entry)
        self._head = digest(line)
        return entry

    @contextmanager
    def step(self, step: str, **about: Any) -> Iterator[dict[str, Any]]:
        """A step: `begun` before the block; after it `done` with what the block put in the dict, or `failed`."""
        self.write(step, "begun", **about)
        started = time.monotonic()
        told: dict[str, Any] = {}
        try:
            yield told
        except SnapshotError as error:
            seconds = round(time.monotonic() - started, 3)
            self.write(step, "failed", **told, error=type(error).__name__, words=plain(str(error)), seconds=seconds)
            raise
        self.write(step, "done", **told, seconds=round(time.monotonic() - started, 3))

    def discard(self) -> None:
        """Remove it, where nothing that it tells of was done; nobody else can be at it meanwhile."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let others have it. May be called twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -- reading


def read(path: str | os.PathLike[str], *, anchor: str | None = None) -> tuple[Entry, ...]:
    """The lines of a journal, whose chain holds. A last line that was never written to its end is left out.

    Args:
        path: The journal.
        anchor: The SHA-256 of a line in hex, kept elsewhere: it must be in the chain.

    Raises:
        SourceError: It can't be read.
        JournalError: It was altered.
    """
    entries, head, _ = _read(Path(path))
    if anchor is not None and anchor not in [*(entry.previous for entry in entries[1:]), head]:
        raise JournalError(f"has no line with the SHA-256 {anchor!r:.70}", os.fspath(path), "its end was cut off")
    return tuple(entries)


def _read(path: Path) -> tuple[list[Entry], str, int]:
    """The lines, the SHA-256 of the last, and how many bytes they are."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror})", str(path), "name a journal") from error
    entries: list[Entry] = []
    head, size = GENESIS, 0
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):  # the writer was killed: what it was about to do was not begun
            break
        value, place = parsed(line), f"{path}, line {len(entries) + 1}"
        if value is None or value.get("schema") != SCHEMA:
            raise JournalError("is not a line of a journal as it is written here", place, "it was altered")
        if value.get("number") != len(entries) + 1 or value.get("previous") != head:
            raise JournalError("is not chained to the line before it", place, "one of the two was altered")
        entry = _entry(value)
        if entry is None:
            raise JournalError("is not a line of a journal as it is written here", place, "it was altered")
        entries.append(entry)
        head, size = digest(line), size + len(line)
    if not entries:
        raise JournalError("has no line", str(path), "nothing was begun by it: start anew")
    return entries, head, size


def _entry(value: Mapping[str, Any]) -> Entry | None:
    moment, who, step, event, about = (value.get(name) for name in ("time", "who", "step", "event", "about"))
    if not all(isinstance(text, str) for text in (moment, who, step)):
        return None
    if not isinstance(about, dict) or event not in EVENTS:
        return None
    return Entry(value["number"], value["previous"], str(moment), str(who), str(step), event, about)


# -- for the incident review

_COLOURS: Mapping[Event, str] = {"begun": "inherit", "done": GREEN, "failed": RED}


def to_html(entries: tuple[Entry, ...], title: str = "A restore, step by step") -> str:
    """A journal as a page by itself that loads nothing."""
    rows = []
    for entry in entries:
        event = f'<b style="color:{_COLOURS[entry.event]}">{entry.event}</b>'
        told = table([[escaped(name), _cell(value)] for name, value in entry.about.items()])
        rows.append([str(entry.number), escaped(entry.time), escaped(entry.who), escaped(entry.step), event, told])
    parts = [f'<p><b style="color:{AMBER}">It has no line.</b></p>'] if not entries else []
    if entries:
        seconds = _seconds(entries)
        first, last = entries[0], entries[-1]
        told = f"{first.time} to {last.time} ({seconds:,.0f} seconds), {len(entries)} lines; the chain of hashes holds"
        parts.append(f"<p>{escaped(told)}</p>")
    parts.append(
        f'<div style="overflow-wrap:anywhere">{table(rows, ("", "Time (UTC)", "Who", "Step", "", "What"))}</div>'
    )
    return page(title, parts)


def _seconds(entries: tuple[Entry, ...]) -> float:
    try:
        first, last = (datetime.fromisoformat(entry.time) for entry in (entries[0], entries[-1]))
    except ValueError:
        return 0.0
    return (last - first).total_seconds()


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{len(value):,} fields, in the journal itself"
    if isinstance(value, list):
        return "".join(f"<div>{escaped(str(item))}</div>" for item in value)
    return escaped(str(value))


def _is_short(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 100)
