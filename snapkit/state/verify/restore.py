"""The server that it is to be restored into: what its release does with what is in the state."""

from __future__ import annotations

from collections.abc import Iterator

from snapkit.format.schema import BY_BYTE, table_type
from snapkit.state.snapshot.release import parse
from snapkit.state.verify.registry import Found, check, declare
from snapkit.state.verify.subject import Subject

for _id, _severity, _title, _advice in (
    ("rehearse.refused", "error", "A real server refused it.", "read the server's words"),
    ("rehearse.died", "error", "A real server died of it, or has no leader since.", "do not restore it there"),
    ("rehearse.unclear", "error", "A real server answered an error and may have swapped its state.", "read its words"),
    ("rehearse.missing", "error", "A real server took it, and lacks a record of it.", "do not rely on this archive"),
    ("rehearse.changed", "warning", "A real server took it, and has a record otherwise.", "compare the two"),
):
    declare(_id, _severity, "rehearsal", _title, _advice)  # type: ignore[arg-type] # literals, as a tuple's items

ENTERPRISE = 65  # the first type byte of Nomad Enterprise
DROPPED = {"vault_accessors": (1, 10), "si_token_accessors": (1, 10)}


@check(
    "target.unknown-type",
    "error",
    "framing",
    "The target does not know a record type: it refuses to restore, and dies on every start from its own copy.",
    "restore into a release that knows it",
)
def unknown_type(subject: Subject) -> Iterator[Found]:
    if subject.target is None:
        return
    shown = ".".join(map(str, subject.target))
    for table, (name, count) in subject.tables.items():
        kind = table_type(table)
        assert kind is not None
        if kind.byte not in BY_BYTE:
            if not (subject.enterprise and kind.byte >= ENTERPRISE):
                yield f"table {table}", f"{count:,} records of type {name}, which {shown} does not know"
        elif not _knows(subject.target, kind.table, kind.since):
            yield f"table {table}", f"{name} records are from {kind.since} on, and the target is {shown}"


def _knows(target: tuple[int, ...], table: str, since: str) -> bool:
    if table == "job_submissions" and target[:2] == (1, 7):  # both 1.6.6 and 1.7.3 brought it
        return target >= (1, 7, 3)
    return target >= parse(since)


@check(
    "target.time-table",
    "error",
    "framing",
    "1.9.2 stops at a time table: it reports success and restores nothing.",
    "restore into 1.9.3 or later",
)
def time_table(subject: Subject) -> Iterator[Found]:
    if subject.target == (1, 9, 2) and subject.has("time_table"):
        yield "table time_table", "the archive has one, and the target is 1.9.2"


@check(
    "target.dropped",
    "note",
    "framing",
    "The target drops records of a type that it has no more use for.",
    "nothing, if you do not need them",
)
def dropped(subject: Subject) -> Iterator[Found]:
    for table, since in DROPPED.items():
        if subject.target is not None and subject.target >= since and subject.has(table):
            yield f"table {table}", f"{subject.tables[table][1]:,} records are dropped on restore"
