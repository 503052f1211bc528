"""What a catalog knows of one archive, read in one pass over its bytes, wherever that is done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from snapkit.errors import SnapshotError, SourceError
from snapkit.fleet.places import Place
from snapkit.format import archive
from snapkit.format.archive import STATE, Progress, created_milliseconds
from snapkit.format.schema import record_type, type_name
from snapkit.page import plain
from snapkit.state.findings.report import Finding, Report
from snapkit.state.verify import LEVELS as VERIFIED
from snapkit.state.verify import verify
from snapkit.state.verify.registry import CHECKS
from snapkit.state.verify.subject import Subject
from snapkit.version import __version__

#: How much is read of an archive: its metadata, all of it, or all of it with all of verify's checks.
Level: TypeAlias = Literal["meta", "counts", "verify"]
LEVELS: tuple[Level, ...] = ("meta", "counts", "verify")

#: `ok`: all checks were made, and there is no error; `error`: there is one; `unknown`: not all were made, and no error
#: came up; `unread`: it could not be looked at.
Verdict: TypeAlias = Literal["ok", "error", "unknown", "unread"]
VERDICTS: tuple[Verdict, ...] = ("ok", "error", "unknown", "unread")

HEAD = 64 << 10  # bytes; meta.json is in the first of them
JOBS = 8  # that the region is looked for in


@dataclass(frozen=True, slots=True)
class Table:
    """How many records of a table there are, and their bytes as Nomad's inspect counts them."""

    name: str
    type: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One archive as a catalog has it. What is not known is None, or "" where it is text.

    Attributes:
        source: As it is shown.
        location: What tells it from all others.
        size: Bytes of the file, as it was listed or read.
        modified: When the file was, in nanoseconds since 1970.
        etag: Object storage's tag of its content.
        level: How much of it was read.
        verdict: What came of it.
        cluster_id: From the state's own cluster metadata.
        region: That of its jobs.
        created: When it was taken, in milliseconds since 1970.
        index: Raft's.
        term: Raft's.
        version: The releases that can have written it.
        state_bytes: The length of state.bin.
        error: The first error, in one line.
        sha256: Of the file.
        tables: Those that have records.
        found: What verify says of it.
        snapkit: The version of the snapkit that read it; "" if that was not noted.
        made_of: The ids of the checks that it had at that level, separated by spaces.
        checks: The ids of the checks that ran, of an archive read now; they are not kept.
    """

    source: str
    location: str
    size: int | None = None
    modified: int | None = None
    etag: str = ""
    level: Level = "meta"
    verdict: Verdict = "unread"
    cluster_id: str = ""
    region: str = ""
    created: int | None = None
    index: int | None = None
    term: int | None = None
    version: str = ""
    state_bytes: int | None = None
    error: str = ""
    sha256: str = ""
    tables: tuple[Table, ...] = ()
    found: tuple[Finding, ...] = ()
    snapkit: str = ""
    made_of: str = ""
    checks: tuple[str, ...] = field(default=(), compare=False)

    @property
    def findings(self) -> int | None:
        """How many there are; None where no check was made."""
        return len(self.found) if self.level != "meta" and self.verdict != "unread" else None

    @property
    def outdated(self) -> bool:
        """Are its findings those of another snapkit, or of one with other checks?"""
        return self.findings is not None and (self.snapkit, self.made_of) != (__version__, checks_of(self.level))

    def report(self, target: str | None = None) -> Report:
        """What verify says of it, as a report."""
        levels = VERIFIED if self.level == "verify" else VERIFIED[:2]
        return Report(
            self.source, self.found, target or "", version_range=self.version, levels=levels, checks=self.checks
        )

    def is_of(self, place: Place, level: Level) -> bool:
        """Does it still stand for what is there, and tell as much as is asked for?"""
        told = place.modified is not None or place.etag != ""
        same = (self.size, self.modified, self.etag) == (place.size, place.modified, place.etag)
        return told and same and self.verdict != "unread" and LEVELS.index(self.level) >= LEVELS.index(level)


@cache
def checks_of(level: Level) -> str:
    """The ids of the checks that this snapkit has at a level, separated by spaces."""
    levels = {"meta": (), "counts": VERIFIED[:2], "verify": VERIFIED}[level]
    return " ".join(sorted(check.id for check in CHECKS.values() if check.level in levels))


def _silent(done: int, total: int | None) -> None:
    pass


def read(place: Place, level: Level, target: str | None = None, progress: Progress = _silent) -> Entry:
    """Read one archive: whatever is wrong with it is in the entry.

    Args:
        place: Where it is.
        level: How much of it to read.
        target: The release to be restored into, for verify.
        progress: Called with the bytes read so far and in all.
    """
    entry = Entry(place.source, place.location, place.size, place.modified, place.etag, level)
    try:
        return _read_meta(place, entry) if level == "meta" else _read_all(place, entry, level, target, progress)
    except SnapshotError as error:
        damaged = not isinstance(error, SourceError)
        return replace(entry, verdict="error" if damaged else "unread", error=plain(str(error)))


def unread(place: Place, reason: str) -> Entry:
    """The entry of an archive that could not be looked at."""
    entry = Entry(place.source, place.location, place.size, place.modified, place.etag)
    return replace(entry, error=plain(f"{place.source}: {reason}"))


def _read_meta(place: Place, entry: Entry) -> Entry:
    try:
        with (
            place.stream(HEAD) as stream,
            archive.plain(stream, place.access.identity.value) as opened,
        ):
            meta = archive.read_meta(opened, limits=place.access.limits)
    except SnapshotError as error:
        raise error.at(place.source) from error.__cause__
    return replace(entry, verdict="unknown", **_of_meta(meta))


def _of_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "created": created_milliseconds(str(meta.get("ID", ""))) or None,
        "index": meta.get("Index"),
        "term": meta.get("Term"),
        "state_bytes": meta.get("Size"),
    }


def _read_all(place: Place, entry: Entry, level: Level, target: str | None, progress: Progress) -> Entry:
    found: dict[str, Any] = {}
    with place.stream() as stream:
        passing = _Passing(stream, place.source)
        report = verify(
            passing,  # type: ignore[arg-type] # read() is all that is asked of it
            target,
            level=VERIFIED[-1] if level == "verify" else "framing",
            limits=place.access.limits,
            identity=place.access.identity.value,
            progress=progress,
            look=lambda subject: found.update(_of_subject(subject, place)),
        )
        passing.drain()
    if place.size is not None and passing.size != place.size:  # which is no damage of the archive's
        what = f"gave {passing.size:,} bytes, and was listed with {place.size:,}"
        raise SourceError(what, place.source, "it is being written, or the connection broke: look at it again")
    first = next((finding for finding in report.found if finding.severity == "error"), None)
    sound: Verdict = "ok" if level == "verify" else "unknown"
    return replace(
        entry,
        **found,
        size=entry.size if entry.size is not None else passing.size,
        verdict=sound if first is None else "error",
        error=str(first) if first is not None else "",
        sha256=passing.digest.hexdigest(),
        found=tuple(map(_encodable, report.found)),
        checks=report.checks,
    )


def _of_subject(subject: Subject, place: Place) -> dict[str, Any]:
    if not place.remote:
        subject.path = Path(place.address.value)  # its mode is looked at
    found = _of_meta(subject.archive.meta)
    size = next((member.size for member in subject.archive.members if member.name == STATE), None)
    found["state_bytes"] = size if size is not None else found["state_bytes"]
    if subject.framed is None:
        return found
    sample = subject.sample
    tallies = sorted(subject.state.tallies.items(), key=lambda item: -item[1].bytes)
    found["tables"] = tuple(
        Table(record_type(byte).table, type_name(byte), tally.count, tally.bytes) for byte, tally in tallies
    )
    try:
        found["cluster_id"] = sample.meta.cluster_id or ""
        found["version"] = sample.meta.version_range
        jobs = islice(sample.objects("jobs", {"Region": None}), JOBS)
        found["region"] = next((region for job in jobs if isinstance(region := job.get("Region"), str)), "")
    except SnapshotError:
        pass  # a record that can't be decoded, which verify tells of
    return found


def _encodable(finding: Finding) -> Finding:
    """The same, where half a character of a file's name or of meta.json can't be written: as `\\udcff`."""
    texts = astuple(finding)
    if "".join(texts).isascii():
        return finding
    return Finding(*(text.encode("utf-8", "backslashreplace").decode() for text in texts))


class _Passing:
    """A stream that is hashed as it is read."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self.name = name
        self.size = 0
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self.digest.update(piece)
        self.size += len(piece)
        return piece

    def drain(self) -> None:
        """Read what a reader left: after the damage, or after the end."""
        while self.read(1 << 20):
            pass
