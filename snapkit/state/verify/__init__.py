"""Verify: is it whole, is it consistent, will it restore, and where?"""

from __future__ import annotations

import base64
import binascii
import gc
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path

from snapkit.errors import SnapshotError
from snapkit.format import archive
from snapkit.format.age import Identity
from snapkit.format.archive import DEFAULT_LIMITS, Limits, Progress, Source
from snapkit.progress import long_work
from snapkit.state.findings.report import AND_SO_ON, SEVERITIES, Finding, Report
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.snapshot.release import parse
from snapkit.state.verify import container, records, references, restore  # noqa: F401 - they register their checks
from snapkit.state.verify.decoding import Decoding
from snapkit.state.verify.reading import Reading
from snapkit.state.verify.registry import CHECKS, LEVELS, REHEARSAL, Check, columns_of
from snapkit.state.verify.subject import Subject

__all__ = ["CHECKS", "LEVELS", "Check", "verify"]

MOST = 20  # findings of one check
COUNTED = 1_000_000  # that are counted beyond those


@long_work("Verifying")
def verify(
    src: Source,
    target: str | None = None,
    *,
    keystore: str | os.PathLike[str] | None = None,
    digest: str | None = None,
    against: Source | Snapshot | None = None,
    level: str = LEVELS[-1],
    now: datetime | None = None,
    most: int = MOST,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    identity: Identity | None = None,
    look: Callable[[Subject], object] | None = None,
) -> Report:
    """Check a snapshot in one pass over its bytes: all that a server checks on a restore, and what it does not.

    Args:
        src: Anything that `open()` takes.
        target: The release to be restored into, such as `1.6.2`, or `2.0.5+ent` for an Enterprise server. By default
            the one that wrote it.
        keystore: A copy of a server's keystore folder: the root keys that are at hand besides the archive's own.
        digest: What the archive's SHA-256 should be: hex, or a Digest header's value.
        against: An earlier snapshot of the same cluster.
        level: How far to go: `archive`, `framing`, `records` or `references`; each has those before it.
        now: When it is, for a note on the archive's age.
        most: How many findings of one check to list; one more then says how many there are.
        limits: Bounds against hostile input.
        progress: Called with the bytes read so far and in all.
        identity: What opens a source that is encrypted (age): the path of an identity file, or its text.
        look: Called with what was read, before it is closed: for who wants to know more of it than the report tells.

    Raises:
        SourceError: There is nothing to read, or it is encrypted and the identity does not open it.
        SnapshotError: An argument makes no sense.
    """
    if level not in LEVELS:
        raise SnapshotError(f"is no level {level!r:.40}", "level", f"there are {', '.join(LEVELS)}")
    wanted = _digest(digest) if digest is not None else None
    release, enterprise = _release(target) if target is not None else (None, False)
    levels = LEVELS[: LEVELS.index(level) + 1]
    decoding = Decoding(columns_of(levels), most + 1) if "records" in levels else None
    with ExitStack() as stack:  # of what is opened here: a Snapshot that the caller gave stays open
        reading = Reading(
            src,
            limits,
            progress,
            framing="framing" in levels,
            sample=against is not None or look is not None,
            decoding=decoding,
            identity=identity,
        )
        stack.callback(reading.close)
        subject = Subject(
            reading.archive,
            reading.state,
            path=Path(src) if isinstance(src, str | os.PathLike) and "://" not in os.fspath(src) else None,
            target=release,
            enterprise=enterprise,
            keystore=keystore,
            digest=_sha256(src) if wanted is not None else None,
            wanted_digest=wanted,
            now=now,
        )
        if isinstance(against, Snapshot):
            subject.against = against
        elif against is not None:
            subject.against = stack.enter_context(open_snapshot(against, identity=identity))
        if look is not None:
            look(subject)
        with _uncollected():
            found = reading.found + _run(subject, levels, most)
        sample = reading.state.sample if reading.state is not None else None
        ranges = sample.meta.version_range if sample is not None else ""
        snapshot_id = str(reading.archive.meta.get("ID", ""))
        members = reading.archive.members
        found.sort(key=_rank)
        ran = tuple(check.id for check in CHECKS.values() if _can_run(check, subject, levels))
        looked_at = {CHECKS[id_].level for id_ in (*ran, *(finding.check for finding in found))}
        levels = tuple(level for level in levels if level in looked_at)
        return Report(archive.describe(src), tuple(found), target or "", snapshot_id, ranges, members, levels, ran)


def _rank(finding: Finding) -> tuple[int, int, bool]:
    """The worst first, then the container's; Size last of these: Raft finds it out when all else is right."""
    levels = (*LEVELS, REHEARSAL)
    level = levels.index(CHECKS[finding.check].level)
    return SEVERITIES.index(finding.severity), level, finding.check == "archive.size"


def _can_run(check: Check, subject: Subject, levels: tuple[str, ...]) -> bool:
    """The container's checks always run; of a state that can't be framed, no other does."""
    return check.level in levels and (check.level == "archive" or subject.framed is not None)


def _run(subject: Subject, levels: tuple[str, ...], most: int) -> list[Finding]:
    found: list[Finding] = []
    for check in CHECKS.values():
        if check.run is None or not _can_run(check, subject, levels):
            continue
        told = iter(check.run(subject))
        found += [check.finding(place, message) for place, message in islice(told, most)]
        if more := sum(1 for _ in islice(told, COUNTED)):
            times = f"{most + more:,}" if more < COUNTED else f"over {most + more - 1:,}"
            found.append(check.finding(AND_SO_ON, f"found {times} times; the first {most:,} are listed"))
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """While it lasts, Python's collector rests: sets of keys are many tuples, none of them garbage, and it would go
    through all that there is for each 700 of them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _release(target: str) -> tuple[tuple[int, ...], bool]:
    match = re.fullmatch(r"v?(\d{1,4}(?:\.\d{1,4}){1,2})(\+ent)?", target)
    if match is None:
        raise SnapshotError(f"is no release {target!r:.40}", "target", "give one such as 1.6.2 or 2.0.5+ent")
    version = parse(match[1])
    return (*version, 0)[:3], match[2] is not None


def _digest(text: str) -> bytes:
    value = text.strip()
    value = value[8:] if value.lower().startswith("sha-256=") else value
    try:
        raw = (
            bytes.fromhex(value) if re.fullmatch(r"[0-9a-fA-F]{64}", value) else base64.b64decode(value, validate=True)
        )
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != 32:
        raise SnapshotError("is no SHA-256", "digest", "give 64 hex digits, or a Digest header's sha-256=…")
    return raw


def _sha256(src: Source) -> bytes | None:
    """The SHA-256 of a file or bytes; None of what can't be read twice."""
    if isinstance(src, bytes | bytearray | memoryview):
        return hashlib.sha256(src).digest()
    if isinstance(src, str | os.PathLike) and "://" not in os.fspath(src) and Path(src).is_file():
        with Path(src).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    return None
