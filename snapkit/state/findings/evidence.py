"""Evidence: what was verified, when, with what and what was found, as entries that are chained by their hashes.

A folder holds an entry for each run of verify, `000001-<utc time>.json`, canonical JSON, whose `previous` is the
SHA-256 of the entry before it; `head.json` names the newest, so that entries that are cut off the end are missed.
Whoever may write to the folder could write the whole chain anew: sign the entries with a key that is kept elsewhere,
or keep the newest hash elsewhere (`anchor`).
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from snapkit.errors import SnapshotError, SourceError
from snapkit.files import atomic
from snapkit.format import archive
from snapkit.format.age import IdentityMissingError
from snapkit.page import plain
from snapkit.state.findings.chain import GENESIS, SHA256, canonical, is_sha256, parsed
from snapkit.state.findings.report import Report, Severity
from snapkit.version import __version__

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SCHEMA = "snapkit.evidence/1"
HEAD_SCHEMA = "snapkit.evidence-head/1"
HEAD, LOCK = "head.json", ".lock"
LOCK_SECONDS = 60.0

#: What reads the bytes of an archive and judges them; versions of it are recorded.
LIBRARIES = ("cramjam", "fastcrc", "fsspec", "isal", "msgpack", "msgspec", "numpy", "pandas", "pyarrow")

_NAME = re.compile(r"(\d{6,})-\d{8}T\d{6}Z\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a folder of evidence that is not as it was written.

    Attributes:
        kind: Of the chain: `entry-missing`, `entry-twice`, `entry-altered`, `entry-unreadable`, `head-missing`,
            `head-altered`, `head-behind`, `anchor-missing`, `unexpected-file`, `signature-missing`,
            `signature-wrong`. Of the files that were verified: `file-altered`, `file-missing`, `file-unreadable`,
            `file-replaced` (altered, and recorded again since).
        severity: `error`: the evidence does not hold; `warning`: it holds, and somebody should know.
        place: A file in the folder, or one that was verified.
        message: What, in one sentence.
    """

    kind: str
    severity: Severity
    place: str
    message: str

    def __str__(self) -> str:
        return plain(f"{self.severity}: {self.kind}: {self.place}: {self.message}")


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry: its number (0 if there is none), and the SHA-256 of its bytes in hex."""

    number: int
    sha256: str


# -- writing


def record(
    reports: Iterable[Report],
    folder: str | os.PathLike[str],
    *,
    arguments: Mapping[str, object],
    now: datetime,
    sign_key: str | os.PathLike[str] | None = None,
) -> Path:
    """Add an entry to a folder of evidence, which is made if need be. Nothing that is there is changed.

    Files that the reports name are hashed. A file whose members are no longer those that its report has is refused.

    Args:
        reports: What verify found.
        folder: The evidence.
        arguments: Of the run, by name; of URLs, what may hold credentials is left out.
        now: When, with a time zone.
        sign_key: A PEM file with an Ed25519 private key: a signature of the entry's bytes stands beside it as `.sig`.

    Returns:
        The entry's path.

    Raises:
        SourceError: A file or the folder can't be read or written, or a file changed since it was verified.
        SnapshotError: The evidence is broken, another writer does not end, or the key can't be used.
    """
    folder = Path(folder)
    key = _private_key(sign_key) if sign_key is not None else None
    if now.tzinfo is None:
        raise SnapshotError("has no time zone", "now", "give a time such as datetime.now(UTC)")
    moment = now.astimezone(UTC)
    sources = [_source(report) for report in reports]
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        with _locked(folder):
            previous = _end(folder)
            if not (folder / HEAD).exists():
                _write_head(folder, previous, key)
            entry = {
                "schema": SCHEMA,
                "number": previous.number + 1,
                "previous": previous.sha256,
                "recorded": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
                "tool": _tool(signing=key is not None),
                "arguments": {str(name): _argument(value) for name, value in arguments.items()},
                "sources": sources,
            }
            path = folder / f"{previous.number + 1:06d}-{moment:%Y%m%dT%H%M%SZ}.json"
            _publish(path, canonical(entry), key)
    except OSError as error:
        raise SourceError(f"can't be written ({error.strerror or error})", str(folder), "check its mode") from error
    return path


def _publish(path: Path, data: bytes, key: Ed25519PrivateKey | None) -> None:
    """The signature first and the head last: whatever comes between, the entry is whole and the next writer goes on."""
    if key is not None:
        with atomic(_signature(path), overwrite=True) as file:  # one that is there belongs to no entry
            file.write(key.sign(data))
    with atomic(path) as file:
        file.write(data)
    _write_head(path.parent, Head(int(path.name.partition("-")[0]), hashlib.sha256(data).hexdigest()), key)


def _write_head(folder: Path, head: Head, key: Ed25519PrivateKey | None) -> None:
    """From before the first entry on, so that it can't be missing but by somebody's hand."""
    document: dict[str, Any] = {"schema": HEAD_SCHEMA, "number": head.number, "sha256": head.sha256}
    if key is not None:
        document["signature"] = base64.b64encode(key.sign(canonical(document))).decode()
    with atomic(folder / HEAD, overwrite=True) as file:
        file.write(canonical(document))


def _argument(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        values = [_argument(item) for item in value]
        return sorted(values, key=str) if isinstance(value, set | frozenset) else values
    if isinstance(value, Mapping):
        return {str(name): _argument(item) for name, item in value.items()}
    if isinstance(value, bytes | bytearray | memoryview | os.PathLike):
        return archive.describe(value)
    return archive.describe(value if isinstance(value, str) else str(value))


def _tool(signing: bool) -> dict[str, Any]:
    versions = {}
    for name in (*LIBRARIES, *(["cryptography"] if signing else [])):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    python = ".".join(map(str, sys.version_info[:3]))
    return {"name": "snapkit", "version": __version__, "python": python, "libraries": versions}


def _source(report: Report) -> dict[str, Any]:
    """A report with the files behind it. Of a URL or a stream there are none, and only the members' hashes."""
    path = Path(report.source)
    files: list[dict[str, Any]] = []
    try:
        if path.is_dir():
            copy, _ = archive.find_raft_snapshot(path)
            files = [_file(copy / name) for name in (archive.META, archive.STATE)]
            states = {member.sha256 for member in report.members if member.name == archive.STATE}
            if states - {files[1]["sha256"]}:
                raise _changed(report.source)
        elif path.is_file():
            files = [_file(path)]
            _compare(path, report)
            if _file_state(path.stat()) != (files[0]["size"], files[0]["modified_ns"]):
                raise _changed(report.source)
    except SnapshotError as error:
        raise error if report.source in error.where else error.at(report.source) from error.__cause__
    except (OSError, ValueError) as error:
        raise SourceError(f"can't be read ({error})", report.source, "check the path and its mode") from error
    members = [{"name": m.name, "size": m.size, "sha256": m.sha256} for m in report.members]
    source = archive.describe(report.source)
    return {"source": source, "files": files, "members": members, "report": report.to_json() | {"source": source}}


def _compare(path: Path, report: Report) -> None:
    """The file's hash is to vouch for what the report is about, so it must still be that."""
    if not report.members:
        return
    try:
        members = archive.read(path, survey=True).members
    except IdentityMissingError:  # encrypted: what opens it is not here, and the file's hash vouches for it
        return
    except SourceError:
        raise
    except SnapshotError:  # as the report will say
        return
    if members != report.members:
        raise _changed(report.source)


def _changed(source: str) -> SourceError:
    return SourceError("changed after it was verified", source, "verify it again while nobody writes to it")


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if _file_state(before) != _file_state(after):
        raise _changed(str(path))
    size, modified = _file_state(after)
    seconds, nanoseconds = divmod(modified, 10**9)
    stamp = ""
    with suppress(ValueError, OverflowError, OSError):  # a file may say that it is of the year 60,000
        stamp = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
    return {
        "path": str(path.absolute()),
        "size": size,
        "modified": stamp,
        "modified_ns": modified,
        "sha256": digest,
    }


def _file_state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


@contextmanager
def _locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Alone with the folder, or with other readers. The lock ends with the process, however that ends."""
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    try:
        handle = os.open(folder / LOCK, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        if not shared:
            raise
        yield  # a copy of the folder, or one that can't be written to: nobody writes
        return
    try:
        ends = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > ends:
                    advice = "end the process that holds it"
                    raise SnapshotError("is held by another process", str(folder / LOCK), advice) from error
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _end(folder: Path) -> Head:
    """What the next entry is chained to.

    Raises:
        SnapshotError: Entries are missing at the end, or the newest is not the one that was written: to go on would
            hide it.
    """
    names = _names(folder)
    number = max(names, default=0)
    head = _read_head(folder)
    if number:
        data = _read(folder / names[number][0])
        last = Head(number, hashlib.sha256(data or b"").hexdigest())
        entry = _parse(data, number)
        # A writer that was killed leaves an entry that the head does not name yet.
        behind = entry is not None and head == Head(number - 1, entry["previous"])
        whole = len(names[number]) == 1 and entry is not None and (last == head or behind)
    else:
        last = Head(0, GENESIS)
        whole = head == last or not os.path.lexists(folder / HEAD)
    if not whole:
        advice = "see what `snapkit verify --evidence … --check` says, and go on in a new folder"
        raise SnapshotError("the evidence is broken at its end, so nothing is added", str(folder), advice)
    return last


# -- reading


def newest(folder: str | os.PathLike[str]) -> Head:
    """The newest entry as it stands. Keep its hash elsewhere, to show later that none was cut off (`anchor`)."""
    folder = Path(folder)
    names = _names(folder)
    if not names:
        return Head(0, GENESIS)
    return Head(max(names), hashlib.sha256(_read(folder / names[max(names)][0]) or b"").hexdigest())


def check(
    folder: str | os.PathLike[str],
    *,
    public_key: str | os.PathLike[str] | None = None,
    anchor: str | None = None,
) -> tuple[Problem, ...]:
    """Is the evidence as it was written, and are the files that it speaks of?

    Args:
        folder: The evidence.
        public_key: A PEM file with an Ed25519 public key, by which every entry must be signed. Without it,
            signatures are not looked at.
        anchor: The SHA-256 of an entry in hex, kept elsewhere: it must be in the chain.

    Returns:
        Empty if it is intact. Problems of the chain first, then those of files.

    Raises:
        SourceError: There is no evidence, or it can't be read.
        SnapshotError: The key can't be used, or `anchor` is no SHA-256.
    """
    folder = Path(folder)
    key = _public_key(public_key) if public_key is not None else None
    if anchor is not None and not SHA256.fullmatch(anchor.lower()):
        raise SnapshotError("is no SHA-256", "anchor", "give 64 hex digits, as `snapkit verify --evidence` prints them")
    try:
        with _locked(folder, shared=True):
            problems, entries = _check_chain(folder, key, anchor.lower() if anchor else None)
        return (*problems, *_check_files(entries))
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror or error})", str(folder), "check the path") from error


def _check_chain(
    folder: Path, key: Ed25519PublicKey | None, anchor: str | None
) -> tuple[list[Problem], dict[int, dict[str, Any]]]:
    names = _names(folder)
    if not names and (_read_head(folder) == Head(0, GENESIS) or not os.path.lexists(folder / HEAD)):
        raise SourceError("holds no evidence", str(folder), "name a folder that `snapkit verify --evidence` wrote")
    problems: list[Problem] = []
    entries: dict[int, dict[str, Any]] = {}
    hashes = {0: GENESIS}

    def say(kind: str, place: str, message: str, severity: Severity = "error") -> None:
        problems.append(Problem(kind, severity, place, message))

    for before, number in pairwise([0, *sorted(names)]):
        if number > before + 1:
            say("entry-missing", str(folder), f"{_span(before + 1, number - 1)} not there")
        name = names[number][0]
        if len(names[number]) > 1:
            say("entry-twice", name, f"there are {len(names[number])} entries of this number")
        data = _read(folder / name)
        entry = _parse(data, number)
        hashes[number] = hashlib.sha256(data or b"").hexdigest()
        if entry is None:
            say("entry-unreadable", name, "it is not an entry as it is written here, or one of another number")
        else:
            entries[number] = entry
            if number - 1 in hashes and entry["previous"] != hashes[number - 1]:
                place = names[before][0] if before else "the beginning"
                say("entry-altered", place, f"it is not what {name} was chained to: one of the two was altered")
        if key is not None:
            _check_signature(folder / name, data or b"", key, say)
    _check_head(folder, names, hashes, entries, key, say)
    if anchor is not None and anchor not in [digest for number, digest in hashes.items() if number]:
        say("anchor-missing", str(folder), f"no entry has the SHA-256 {anchor}")
    known = {HEAD} | {name for several in names.values() for name in several}
    known |= {_signature(Path(name)).name for name in known - {HEAD}}
    for path in sorted(folder.iterdir()):
        if path.name not in known and not path.name.startswith("."):
            say("unexpected-file", path.name, "it does not belong to the evidence", "warning")
    return problems, entries


def _check_head(
    folder: Path,
    names: Mapping[int, list[str]],
    hashes: Mapping[int, str],
    entries: Mapping[int, dict[str, Any]],
    key: Ed25519PublicKey | None,
    say: Any,
) -> None:
    head, number = _read_head(folder), max(names, default=0)
    if head is None and os.path.lexists(folder / HEAD):
        say("head-altered", HEAD, "it is not as it is written here")
    elif head is None:
        say("head-missing", HEAD, "it is not there, so nothing says which entry is the newest")
    elif head.number > number:
        say("entry-missing", str(folder), f"{_span(number + 1, head.number)} not there, though {HEAD} counts them")
    elif head.number == number and head.sha256 != hashes[number]:
        say("entry-altered", names[number][0], f"it is not what {HEAD} names")
    elif head.number == number - 1 and number in entries and entries[number]["previous"] == head.sha256:
        say("head-behind", HEAD, "a writer was killed before it named its entry; the next one mends it", "warning")
    elif head.number < number:
        say("head-altered", HEAD, f"it names entry {head.number}, and there are {number}")
    if key is not None and head is not None:
        document = json.loads(_read(folder / HEAD) or b"{}")
        signature = document.pop("signature", None)
        if not isinstance(signature, str):
            say("signature-missing", HEAD, "it is not signed")
        elif not _signed(key, canonical(document), _decoded(signature)):
            say("signature-wrong", HEAD, "its signature is not of this key and content")


def _span(first: int, last: int) -> str:
    return f"entries {first} to {last} are" if last > first else f"entry {first} is"


def _check_signature(path: Path, data: bytes, key: Ed25519PublicKey, say: Any) -> None:
    signature = _read(_signature(path))
    if signature is None:
        say("signature-missing", path.name, "it is not signed")
    elif not _signed(key, data, signature):
        say("signature-wrong", path.name, "its signature is not of this key and content")


def _check_files(entries: Mapping[int, dict[str, Any]]) -> Iterator[Problem]:
    """The files where they were: each against the newest entry that has it, the older ones against that."""
    recorded: dict[str, dict[int, str]] = {}
    for number, entry in entries.items():
        for source in entry["sources"]:
            for file in source["files"]:
                recorded.setdefault(file["path"], {})[number] = file["sha256"]
    for path, hashes in recorded.items():
        number = max(hashes)
        for older, digest in sorted(hashes.items()):
            if digest != hashes[number]:
                message = f"entry {older} has other content than entry {number}: it was replaced, and verified again"
                yield Problem("file-replaced", "warning", path, message)
        try:
            if not Path(path).is_file():
                yield Problem("file-missing", "warning", path, f"it is no longer where entry {number} found it")
                continue
            with Path(path).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError) as error:
            yield Problem("file-unreadable", "warning", path, f"it can't be read ({error})")
            continue
        if found != hashes[number]:
            yield Problem("file-altered", "error", path, f"its SHA-256 is {found}, entry {number} has {hashes[number]}")


def _names(folder: Path) -> dict[int, list[str]]:
    """The entries' file names by number; only if somebody meddled is there more than one."""
    found: dict[int, list[str]] = {}
    try:
        for name in sorted(path.name for path in folder.iterdir()):
            if match := _NAME.fullmatch(name):
                found.setdefault(int(match[1]), []).append(name)
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"can't be read ({reason})", str(folder), "name a folder of evidence") from error
    found.pop(0, None)
    return found


def _signature(path: Path) -> Path:
    return path.with_name(f"{path.name}.sig")


def _read(path: Path) -> bytes | None:
    """A plain file's bytes; None if it is none: a link could lead to a file that is never altered."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read() if stat.S_ISREG(os.fstat(handle).st_mode) else None


def _parse(data: bytes | None, number: int) -> dict[str, Any] | None:
    """An entry, with as much of its shape as is relied on; None if it is not one, or not as it is written here."""
    entry = parsed(data)
    if entry is None or entry.get("schema") != SCHEMA or entry.get("number") != number:
        return None
    sources = entry.get("sources")
    if not is_sha256(entry.get("previous")) or not isinstance(sources, list):
        return None
    return entry if all(map(_is_source, sources)) else None


def _is_source(source: object) -> bool:
    files = source.get("files") if isinstance(source, dict) else None
    return isinstance(files, list) and all(
        isinstance(f, dict) and isinstance(f.get("path"), str) and is_sha256(f.get("sha256")) for f in files
    )


def _read_head(folder: Path) -> Head | None:
    head = parsed(_read(folder / HEAD))
    if head is None or head.get("schema") != HEAD_SCHEMA:
        return None
    number, digest = head.get("number"), head.get("sha256")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0 or not is_sha256(digest):
        return None
    return Head(number, str(digest))


# -- signatures


def _private_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    ed25519, serialization = _cryptography()
    try:
        key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror})", os.fspath(path), "check the path") from error
    except Exception as error:  # of several types; what it says may quote the key
        advice = "openssl genpkey -algorithm ed25519 makes one"
        raise SnapshotError("is no PEM private key without a password", os.fspath(path), advice) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SnapshotError("is no Ed25519 key", os.fspath(path), "openssl genpkey -algorithm ed25519 makes one")
    return cast("Ed25519PrivateKey", key)


def _public_key(path: str | os.PathLike[str]) -> Ed25519PublicKey:
    ed25519, serialization = _cryptography()
    try:
        key = serialization.load_pem_public_key(Path(path).read_bytes())
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror})", os.fspath(path), "check the path") from error
    except Exception as error:
        advice = "openssl pkey -pubout makes it of the private key"
        raise SnapshotError("is no PEM public key", os.fspath(path), advice) from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise SnapshotError("is no Ed25519 key", os.fspath(path), "openssl pkey -pubout makes it of the private key")
    return cast("Ed25519PublicKey", key)


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise SnapshotError("needs the package cryptography", "signing", "pip install 'snapkit[keys]'") from error
    return ed25519, serialization


def _signed(key: Ed25519PublicKey, data: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
