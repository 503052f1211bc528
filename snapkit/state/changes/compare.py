"""Two snapshots compared: which objects came, went and changed, and which of their fields.

Records are told apart by their bytes first, and only those that differ are decoded: the cost follows the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from snapkit.errors import NotInSnapshotError, RecordError, SnapshotError
from snapkit.format.archive import Progress, Source
from snapkit.format.schema import TYPES, Type, table_type
from snapkit.format.values import text, unpack
from snapkit.progress import long_work
from snapkit.state.changes.changes import BOOKKEEPING, Changed, Changes, Sources, index_of, name_of, value_of
from snapkit.state.changes.fielddiff import FieldChange, differences
from snapkit.state.findings.report import Finding
from snapkit.state.snapshot import Meta, Snapshot, open_snapshot
from snapkit.state.snapshot.keyring import Keyring
from snapkit.state.snapshot.secrets import masker

#: Fields that change without anybody's doing, in whatever they stand: when and at which index something was written.
_AGE = re.compile(
    r"(?:^|\.)(?:ModifyIndex|ModifyTime|AllocModifyIndex|JobModifyIndex|LastAllocUpdateIndex|LastMissedHeartbeatIndex"
    r"|SnapshotIndex|StatusUpdatedAt|UpdateTime)$"
)
#: What a client finds out of its host anew with every fingerprint.
_FINGERPRINT = re.compile(r'^Attributes\["unique\.storage\.bytes(?:free|total)"\]$')
#: Tables that only people write to: if one of their records was written and is as it was, somebody put it back.
_WRITTEN = (
    "acl_policies", "acl_tokens", "acl_roles", "acl_auth_methods", "acl_binding_rules", "namespaces", "node_pools",
)  # fmt: skip
#: Tables of which a server moves ModifyIndex with every write of a record.
_STAMPED = (*_WRITTEN, "jobs", "job_versions", "variables")
#: Tables whose keys are names that people give: one of them may go and come again.
_NAMED = ("jobs", "acl_policies", "acl_auth_methods", "csi_volumes", "variables", "namespaces", "node_pools")
_MOST = 10  # altered objects that are told of one by one


@long_work("Comparing")
def compare(
    a: Source | Snapshot,
    b: Source | Snapshot,
    *,
    tables: Iterable[str] | None = None,
    noise: bool = False,
    reveal: bool = False,
    key: bytes | str | None = None,
    progress: Progress | None = None,
) -> Changes:
    """What changed from one snapshot to another.

    Args:
        a: The earlier: anything that `open()` takes, or an open Snapshot (which stays open).
        b: The later.
        tables: Compare these alone.
        noise: Show also what nobody did: indexes and times alone, heartbeats, the Index table, the copies of their job
            that allocations carry, variables that hold the same and were sealed anew by another root key.
        reveal: Show secrets.
        key: Of the fingerprints that stand for secrets. By default that of a snapshot that is open already.
        progress: Called with the bytes read so far and in all, of what is opened here, then of the two states.

    Raises:
        NotInSnapshotError: There is no such table.
        SnapshotError: One of them can't be opened, or a record can't be read.
    """
    with ExitStack() as stack:
        old, new = (
            side if isinstance(side, Snapshot) else stack.enter_context(open_snapshot(side, progress=progress))
            for side in (a, b)
        )
        opened = next((side.mask for side in (a, b) if isinstance(side, Snapshot)), masker())
        mask = None if reveal else masker(key) if key is not None else opened
        objects = tuple(_compared(_tables(old, new, tables), old, new, progress))
        notes = tuple(_notes(old, new, objects))
        return Changes(old.meta, new.meta, objects, notes, tuple(_sources(old, new, objects)), noise, mask)


def _tables(a: Snapshot, b: Snapshot, wanted: Iterable[str] | None) -> list[str]:
    there = {str(name) for side in (a, b) for name in side.tables.index}
    known = [kind.table for kind in TYPES if kind.table in there]
    if wanted is None:
        return known + sorted(there - set(known))
    names = list(dict.fromkeys(wanted))
    for name in names:
        a.columns(name)  # so that a wrong name is an error, and not no change
    return names


def _compared(names: Sequence[str], a: Snapshot, b: Snapshot, progress: Progress | None) -> Iterator[Changed]:
    sizes = [sum(int(side.tables["Bytes"].get(name, 0)) for side in (a, b)) for name in names]
    for place, name in enumerate(names, 1):
        yield from _compare_table(name, a, b)
        if progress is not None:
            progress(sum(sizes[:place]), sum(sizes))


def _compare_table(name: str, a: Snapshot, b: Snapshot) -> Iterator[Changed]:
    kind = table_type(name)
    assert kind is not None
    old, new = a.records(name), b.records(name)
    struct = Type("struct", struct=kind.struct)
    seals = _Seals(a, b)
    for key, packed in old.items():
        before, other = bytes(packed), new.get(key)
        if other is None:
            yield Changed(kind, key, "removed", before, None)
        elif before != (after := bytes(other)):
            if name in BOOKKEEPING:
                yield Changed(kind, key, "changed", before, after)
                continue
            try:
                found = tuple(differences(before, after, struct))
            except RecordError as error:
                raise error.at(f"table {name}, {name_of(key)}") from error
            if found:
                noise = tuple(noise_of(name, found))
                if name == "variables" and any(change.path == "KeyID" for change in found):
                    noise = tuple(seals.noise(key, before, after, found, noise))
                yield Changed(kind, key, "changed", before, after, found, noise)
    for key, packed in new.items():
        if key not in old:
            yield Changed(kind, key, "added", None, bytes(packed))


def _sources(a: Snapshot, b: Snapshot, objects: Iterable[Changed]) -> Iterator[Sources]:
    """Of the jobs that have another version: what they were submitted with, where both snapshots have it."""
    for item in objects:
        versions = [
            value_of(change)
            for field in item.fields
            if field.path == "Version"
            for change in (field.before, field.after)
        ]
        if item.kind.table == "jobs" and [type(version) for version in versions] == [int, int]:
            files = [_source(side, (*item.key, version)) for side, version in zip((a, b), versions, strict=True)]
            if files[0] is not None and files[1] is not None and files[0] != files[1]:
                yield Sources(item.key, (versions[0], versions[1]), files[0], files[1])


def _source(snapshot: Snapshot, key: tuple[Any, ...]) -> str | None:
    try:
        submission = snapshot.get("job_submissions", *key, reveal=True)
    except NotInSnapshotError:
        return None  # before 1.6.6 there are none, and a submission that is too large is not kept
    if not isinstance(submission, dict) or not isinstance(submission.get("Source"), str):
        return None
    flags = submission.get("VariableFlags")
    given = sorted(flags.items()) if isinstance(flags, dict) else ()
    lines = [submission["Source"], *(f"-var {name}={value}" for name, value in given), submission.get("Variables")]
    return "".join(f"{str(line).rstrip()}\n" for line in lines if line)


def noise_of(name: str, found: Sequence[FieldChange]) -> Iterator[str]:
    """Why each change of a record of a table means nothing by itself; "" where it does."""
    copied = name == "allocs" and any(change.path == "Job.Version" for change in found)
    for change in found:
        if _AGE.search(change.path):
            yield "age"
        elif name == "nodes" and _FINGERPRINT.match(change.path):
            yield "heartbeat"
        elif copied and change.path.startswith("Job.") and change.path != "Job.Version":
            yield "copy"  # of the job, updated in place: the job's own change tells of it
        elif change.change == "changed" and not value_of(change.before) and not value_of(change.after):
            yield "empty"  # nil became "", 0, [] or {}: another release wrote it
        else:
            yield ""


class _Seals:
    """Variables that a server sealed anew after a root key was rotated, told apart from those that somebody wrote.

    What they hold is compared and not shown. Where a key is missing (up to 1.8 it is in no archive) nothing is known.
    """

    def __init__(self, a: Snapshot, b: Snapshot) -> None:
        self._sides = a, b

    @cached_property
    def _rings(self) -> list[Keyring]:
        return [Keyring(side.table) for side in self._sides]

    def noise(
        self, key: tuple[Any, ...], before: bytes, after: bytes, found: Sequence[FieldChange], noise: Sequence[str]
    ) -> Iterator[str]:
        same = self._same(key, before, after)
        for change, reason in zip(found, noise, strict=True):
            yield "resealed" if same and change.path in ("Data", "KeyID") else reason

    def _same(self, key: tuple[Any, ...], *sides: bytes) -> bool:
        namespace, path = map(str, key)
        try:
            items = []
            for ring, packed in zip(self._rings, sides, strict=True):
                record = unpack(packed)
                key_id, data = (record[name] for name in (b"KeyID", b"Data"))
                items.append(ring.open_variable(namespace, path, str(text(key_id)), data))
        except (KeyError, TypeError, SnapshotError):
            return False
        return items[0] == items[1]


# -- what the two are to each other


def _notes(a: Snapshot, b: Snapshot, objects: Sequence[Changed]) -> Iterator[Finding]:
    old, new = a.meta, b.meta
    for side, name in ((a, "first"), (b, "second")):
        if side.salvage is not None:
            what = f"the {name} was salvaged: what it lacks may have been lost with the damage"
            yield Finding("compare.salvaged", "warning", "", what, "compare with a whole copy")
    if old.cluster_id and new.cluster_id and old.cluster_id != new.cluster_id:
        what = f"the first is of cluster {old.cluster_id}, the second of {new.cluster_id}"
        yield Finding("compare.other-cluster", "warning", "", what, "compare two snapshots of one cluster")
    elif old.created is not None and new.created is not None and new.created < old.created:
        what = f"the second was taken before the first ({new.created} and {old.created})"
        yield Finding("compare.order", "note", "", what, "what is added here was removed then: give the earlier first")
    else:
        taken = old.index if a.salvage is None else None  # what is lost may have been as it is in the second
        yield from _restored(old, new, taken, objects)
        yield from _rewritten(taken, objects)
        yield from _made_anew(taken, objects)
        altered = list(_altered(objects))
        yield from altered[:_MOST]
        if len(altered) > _MOST:
            what = f"{len(altered) - _MOST:,} more objects differ and were not written"
            yield Finding("compare.altered", "warning", "", what, altered[0].advice)


def _rewritten(taken: int | None, objects: Iterable[Changed]) -> Iterator[Finding]:
    for item in objects:
        if item.kind.table in _WRITTEN and item.change == "changed" and item.is_noise:
            was, now = (index_of(record) for record in (item.before, item.after))
            if _is_put_back(was, now, taken):
                continue  # by a restore, which is told of by itself
            what = f"it was written since (ModifyIndex {was} became {now}) and is as it was"
            place = f"table {item.kind.table}, {name_of(item.key)}"
            yield Finding("compare.rewritten", "note", place, what, "somebody may have put it back")


def _restored(old: Meta, new: Meta, taken: int | None, objects: Sequence[Changed]) -> Iterator[Finding]:
    """A later snapshot that is older: a restore lies between the two."""
    advice = "an earlier state was restored meanwhile"
    for name, before, after in (("index", old.index, new.index), ("term", old.term, new.term)):
        if before is not None and after is not None and after < before:
            what = f"Raft's {name} went back from {before} to {after}"
            yield Finding("compare.went-back", "warning", "", what, advice)
    back = [
        (item, was, now)
        for item in objects
        if item.after is not None
        and item.kind.table not in BOOKKEEPING
        and (now := index_of(item.after)) != (was := index_of(item.before))
        and _is_put_back(was, now, taken)
    ]
    if back:
        newest = max(now for _, _, now in back)
        went = all(was > now for _, was, now in back)
        what = (
            f"{len(back):,} objects {'went back to what' if went else 'are what'} they were at or before index {newest}"
        )
        if not went:
            what += f", and the first, of index {taken}, has them otherwise"
        some = ", ".join(
            f"{item.kind.table} {name_of(item.key)} ({was or 'none'} to {now})" for item, was, now in back[:5]
        )
        more = f" and {len(back) - 5:,} more" if len(back) > 5 else ""
        yield Finding("compare.restored", "warning", f"{some}{more}", what, advice)


def _is_put_back(was: int, now: int, taken: int | None) -> bool:
    """Is an object as it was written at an index before the first snapshot was taken, which has another state of it?"""
    return now < was or (taken is not None and 0 < now <= taken)


def _made_anew(taken: int | None, objects: Iterable[Changed]) -> Iterator[Finding]:
    """What bears a name that was there before, and is another: it was deleted and made in between."""
    for item in objects:
        if item.kind.table in _NAMED and item.change == "changed":
            was, now = (index_of(record, b"CreateIndex") for record in (item.before, item.after))
            if now > max(was, taken or 0):
                what = f"it was deleted and made anew in between (CreateIndex {was} became {now})"
                place = f"table {item.kind.table}, {name_of(item.key)}"
                yield Finding("compare.made-anew", "note", place, what, "the timeline dates both")


def _altered(objects: Iterable[Changed]) -> Iterator[Finding]:
    """What is another under the index of the same write: servers move the index with every write of these tables.

    What a newer release fills in where nothing was, as it starts or restores, is no such change.
    """
    for item in objects:
        if item.kind.table not in _STAMPED or item.change != "changed":
            continue
        was, now = (index_of(record) for record in (item.before, item.after))
        paths = [f.path for f, noise in zip(item.fields, item.noise, strict=True) if not noise and _was_there(f)]
        if was == now > 0 and paths:
            which = f"{', '.join(paths[:3])}{' and more' if len(paths) > 3 else ''}"
            what = f"it differs ({which}), and was not written (ModifyIndex {now} in both): one archive was altered"
            place = f"table {item.kind.table}, {name_of(item.key)}"
            yield Finding("compare.altered", "warning", place, what, "find out which: compare with other copies")


def _was_there(change: FieldChange) -> bool:
    """Is something another that was there, or has an element come or gone?"""
    if change.change in ("added", "removed"):
        return change.path.endswith("]")
    return bool(value_of(change.before)) and bool(value_of(change.after))
