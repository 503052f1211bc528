"""The container: what a server checks as it restores, in its order and meaning, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from snapkit.format.archive import created_milliseconds
from snapkit.state.verify.registry import Found, check, declare
from snapkit.state.verify.subject import Subject

_AGAIN = "fetch it again, or use another copy"
_REPACKED = "it was repacked: ask who did, or fetch the original"

for _id, _title, _advice in (
    ("archive.not-a-snapshot", "The source is no archive, raft directory or state.bin.", "name a snapshot"),
    ("archive.truncated", "The archive ends too early.", "it was cut short: fetch it again"),
    ("archive.gzip", "The gzip stream is damaged.", _AGAIN),
    ("archive.gzip-trailing", "Bytes follow the gzip stream: a server refuses them.", "cut them off, or " + _AGAIN),
    ("archive.tar-header", "A tar header is damaged.", _AGAIN),
    ("archive.tar-trailing", "Bytes follow the end of the tar: a server refuses them.", _REPACKED),
    ("archive.member-unexpected", "A member that does not belong there: a server refuses it.", _REPACKED),
    ("archive.member-missing", "A member is missing.", _AGAIN),
    ("archive.sums", "SHA256SUMS does not list just what it has to.", _REPACKED),
    ("archive.hash", "A member's hash is not the one that SHA256SUMS promises.", _AGAIN),
    ("archive.size", "state.bin is not as long as meta.json says: found out only after the upload.", _AGAIN),
    ("archive.meta", "meta.json can't be read, or a field is not of its type.", _AGAIN),
    ("archive.crc", "The CRC of a server's own copy is wrong.", "use another copy"),
    ("archive.limit", "A limit against hostile input was passed.", "raise the limit if the archive is genuine"),
    ("archive.damaged", "The container is damaged in another way.", _AGAIN),
):
    declare(_id, "error", "archive", _title, _advice)

for _id, _title, _advice in (
    ("archive.gzip-members", "Several gzip members, where Nomad writes one.", _REPACKED),
    ("archive.gzip-header", "The gzip header is not as Nomad writes it.", _REPACKED),
    ("archive.tar-format", "A tar header is not as Nomad writes it.", _REPACKED),
    ("archive.tar-end", "The tar does not end with two zero blocks.", _REPACKED),
    ("archive.member-type", "A member is no plain file.", _REPACKED),
    ("archive.member-twice", "A member stands in the archive more than once.", _REPACKED),
    ("archive.unfinished-copy", "A server's copy was never finished, and is passed over.", "nothing"),
):
    declare(_id, "note", "archive", _title, _advice)


@check(
    "archive.meta-version",
    "error",
    "archive",
    "meta.json's Version is not 1: a server refuses it.",
    "it is not as Nomad writes it: use another copy",
)
def meta_version(subject: Subject) -> Iterator[Found]:
    found = subject.archive
    there = found.kind == "raft directory" or any(member.name == "meta.json" for member in found.members)
    if there and "Version" not in found.meta and any(o.check == "archive.meta" for o in found.oddities):
        return  # it could not be read at all
    if there and found.meta.get("Version") != 1:
        yield "meta.json", f"Version is {found.meta.get('Version')!r:.40}, and servers take 1 alone"


@check(
    "archive.meta-id",
    "warning",
    "archive",
    "meta.json's ID does not fit its Index and Term.",
    "a server takes it, but somebody edited it: do not trust its index and age",
)
def meta_id(subject: Subject) -> Iterator[Found]:
    meta = subject.archive.meta
    if not meta:
        return
    term, index, milliseconds = [*str(meta.get("ID", "")).split("-"), "", "", ""][:3]
    if (term, index) != (str(meta.get("Term")), str(meta.get("Index"))) or not created_milliseconds(milliseconds):
        yield "meta.json", f"ID is {meta.get('ID')!r:.60}, Term {meta.get('Term')!r}, Index {meta.get('Index')!r}"


@check(
    "archive.digest",
    "error",
    "archive",
    "The archive's SHA-256 is not the given one.",
    "it is not the archive that was saved: find that",
)
def digest(subject: Subject) -> Iterator[Found]:
    if subject.wanted_digest is not None and subject.digest != subject.wanted_digest:
        found = subject.digest.hex() if subject.digest is not None else "unknown: it is no file or bytes"
        yield "the archive", f"its SHA-256 is {found}, and {subject.wanted_digest.hex()} was given"


@check(
    "archive.mode",
    "warning",
    "archive",
    "Others than its owner may read the file: it holds every token of the cluster.",
    "chmod 600",
)
def mode(subject: Subject) -> Iterator[Found]:
    if isinstance(subject.path, Path) and subject.path.is_file() and not subject.archive.encrypted:
        bits = subject.path.stat().st_mode & 0o777
        if bits & 0o077:
            yield str(subject.path), f"its mode is {bits:03o}"


@check("archive.age", "note", "archive", "How old the archive is, where it was asked.", "nothing, or take a new one")
def age(subject: Subject) -> Iterator[Found]:
    created = subject.created
    if subject.now is not None and created is not None and subject.now > created:
        days = (subject.now - created).total_seconds() / 86_400
        yield "meta.json", f"it is {days:.1f} days old"


@check(
    "archive.against",
    "warning",
    "archive",
    "It is of another cluster than the given earlier one, or goes back behind it.",
    "make sure that it is the archive you mean",
)
def against(subject: Subject) -> Iterator[Found]:
    earlier = subject.against
    if earlier is None or subject.framed is None:
        return
    mine, its = subject.sample.meta, earlier.meta
    if mine.cluster_id != its.cluster_id:
        yield "cluster_metadata", f"its cluster is {mine.cluster_id}, that of {its.source} is {its.cluster_id}"
    elif (mine.term or 0, mine.index or 0) < (its.term or 0, its.index or 0):
        what = f"term {mine.term}, index {mine.index}"
        yield "meta.json", f"{what} is behind {its.source} (term {its.term}, index {its.index}): a restore lies between"
