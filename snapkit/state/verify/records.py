"""The state: what its records say of themselves and of each other's order, by the format guide's sections 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise, repeat

from snapkit.format.archive import created_milliseconds
from snapkit.format.schema import (
    BY_TABLE,
    STAMPED_TABLES,
    STREAM_ORDER,
    TYPES,
    fields,
    index_row,
    record_type,
    type_name,
)
from snapkit.format.values import GoTime
from snapkit.state.verify.decoding import INDEXES
from snapkit.state.verify.registry import Found, Run, check, declare
from snapkit.state.verify.subject import Subject

_EARLIER = "use an earlier copy; `--salvage` saves the records that can be read"

declare("state.framing", "error", "framing", "The stream of records breaks: a server panics on it.", _EARLIER)
declare("state.header", "error", "framing", "The state does not begin with a header: a server panics on it.", _EARLIER)
declare("state.limit", "error", "framing", "A record, or their number, passes a limit.", "raise it if it is genuine")

#: Rows of the Index table -> the table that they tell of.
STAMPED: Mapping[str, str] = {index_row(table): table for table in STAMPED_TABLES}
#: Rows that run ahead of their records in normal work, by heartbeats and client updates.
AHEAD: Mapping[str, str] = {"nodes": "nodes", "allocs": "allocs"}

#: Times at which something was done: none can lie after the snapshot was taken.
PAST: Mapping[str, tuple[str, ...]] = {
    "nodes": ("StatusUpdatedAt",),
    "jobs": ("SubmitTime",),
    "job_versions": ("SubmitTime",),
    "evals": ("CreateTime", "ModifyTime"),
    "allocs": ("CreateTime", "ModifyTime"),
    "deployments": ("CreateTime", "ModifyTime"),
    "acl_tokens": ("CreateTime",),
    "variables": ("CreateTime", "ModifyTime"),
    "root_keys": ("CreateTime",),
    "cluster_metadata": ("CreateTime",),
    "host_volumes": ("CreateTime", "ModifyTime"),
    "acl_auth_methods": ("CreateTime", "ModifyTime"),
    "acl_binding_rules": ("CreateTime", "ModifyTime"),
}
CLOCKS = 5 * 60 * 1000  # milliseconds that servers' and clients' clocks may differ by

#: What every state has from a release on: a server makes it when it is set up.
ALWAYS: Mapping[str, tuple[int, ...]] = {
    "indexes": (0, 1),
    "scheduler_config": (0, 9),
    "namespaces": (1, 0),
    "node_pools": (1, 6),
}


@check(
    "state.unknown-type",
    "warning",
    "framing",
    "A record type that snapkit does not know: of Nomad Enterprise, or newer.",
    "restore it into a server of that kind alone: any other panics",
)
def unknown_type(subject: Subject) -> Iterator[Found]:
    if subject.target is not None:
        return  # target.unknown-type tells of it
    for table, (name, count) in subject.tables.items():
        if table.startswith("unknown_"):
            yield f"table {table}", f"{count:,} records of type {name}"


@check(
    "state.event-sink",
    "error",
    "framing",
    "An EventSink record of 1.0's pre-releases: servers up to 1.9.3 report success, restore nothing; later ones die.",
    "take the records out, or restore an archive without them",
)
def event_sink(subject: Subject) -> Iterator[Found]:
    if subject.has("event_sinks"):
        yield "table event_sinks", f"{subject.tables['event_sinks'][1]:,} records"


@check(
    "state.time-table",
    "note",
    "framing",
    "A time table, which no release from 1.9.2 on writes, beside records that only later ones write.",
    "ask who made the archive",
)
def time_table(subject: Subject) -> Iterator[Found]:
    if subject.has("time_table") and subject.has("root_keys"):
        yield "table time_table", "it stands beside root_keys, which are from 1.9 on"


@check(
    "state.order",
    "note",
    "framing",
    "Records are not in the order that servers write them in.",
    "a server takes them; ask who made the archive",
)
def order(subject: Subject) -> Iterator[Found]:
    known = [byte for byte, _ in groupby(subject.state.types) if byte in STREAM_ORDER]
    for earlier, later in pairwise(known):
        if STREAM_ORDER.index(earlier) >= STREAM_ORDER.index(later):
            yield f"table {record_type(later).table}", f"{type_name(later)} records stand behind {type_name(earlier)}'s"


# -- what decoding the records told


def _told(check_id: str) -> Run:
    def run(subject: Subject) -> Iterator[Found]:
        yield from subject.decoded.found.get(check_id, ())
        yield from repeat(("", ""), subject.decoded.more[check_id])  # for who counts

    return run


for _id, _title in (
    ("state.field-type", "A field holds a value of another type than Nomad's: a server panics on it."),
    ("state.not-a-map", "A record is no map of fields: a server panics on it."),
    ("state.depth", "A record is nested too deep to be read."),
):
    check(_id, "error", "records", _title, _EARLIER)(_told(_id))

check(
    "state.text",
    "warning",
    "records",
    "Text that is not UTF-8: Nomad's JSON shows U+FFFD for it.",
    "look at the record with get(): a server takes it as it is",
)(_told("state.text"))


# -- tables


def name_of(key: object) -> str:
    """A key as one word."""
    parts = key if isinstance(key, tuple) else (key,)
    return "/".join("" if part is None else str(part) for part in parts)


def place_of(table: str, key: object) -> str:
    """A table and the key of one of its rows, if it has one."""
    name = name_of(key)
    return f"table {table}, {name}" if name.strip("/") else f"table {table}"


@check(
    "state.key",
    "error",
    "records",
    "A record has no key: a server panics on it.",
    _EARLIER,
)
def no_key(subject: Subject) -> Iterator[Found]:
    for kind in TYPES:
        if kind.table in subject.decoded.refused:
            continue
        for name in kind.key:
            column = subject.column(kind.table, name)
            if None in column or "" in column:
                for key, value in subject.keyed(kind.table, (name,)):
                    if value in (None, ""):
                        yield place_of(kind.table, key), f"{name} is empty"


@check(
    "state.duplicate",
    "warning",
    "records",
    "Two records have the same key: the last one wins on a restore.",
    "make sure that it is the right one",
)
def duplicate(subject: Subject) -> Iterator[Found]:
    for kind in TYPES:
        if kind.key and len(subject.keys(kind.table)) < len(subject.column(kind.table, kind.key[0])):
            seen = set()
            for key in subject.rows(kind.table, kind.key):
                if key in seen and (None not in key if isinstance(key, tuple) else key is not None):
                    yield place_of(kind.table, key), "it stands there more than once"
                seen.add(key)


@check(
    "state.index-above",
    "warning",
    "records",
    "A record was changed after the index that the snapshot says it was taken at.",
    "meta.json or the record was altered: do not rely on either",
)
def index_above(subject: Subject) -> Iterator[Found]:
    index = subject.archive.meta.get("Index")
    if not isinstance(index, int) or not index:
        return
    for kind in TYPES:
        if _highest(subject, kind.table) > index:
            for key, modified in subject.keyed(kind.table, ("ModifyIndex",)):
                if (modified or 0) > index:
                    yield place_of(kind.table, key), f"ModifyIndex {modified} is above {index}"


@check(
    "state.create-after-modify",
    "warning",
    "records",
    "A record was changed before it was made.",
    "the record was altered: do not rely on it",
)
def create_after_modify(subject: Subject) -> Iterator[Found]:
    for kind in TYPES:
        if set(INDEXES) <= fields(kind.struct).keys():
            for key, made, modified in subject.keyed(kind.table, INDEXES):
                if made is not None and modified is not None and made > modified:
                    yield place_of(kind.table, key), f"CreateIndex {made} is above ModifyIndex {modified}"


_LAST_INDEXES = {"indexes": ("Value",)}


def _last_indexes(subject: Subject) -> dict[str, int]:
    return {key: value for key, value in subject.rows("indexes", ("Key", "Value")) if value is not None}


def _highest(subject: Subject, table: str) -> int:
    """The highest ModifyIndex; 0 without records, or if they have none."""
    if "ModifyIndex" not in fields(BY_TABLE[table].struct):
        return 0
    return max((value for value in subject.column(table, "ModifyIndex") if value is not None), default=0)


@check(
    "state.index-table",
    "warning",
    "records",
    "The Index table says that a table was last written before one of its records was.",
    "the record or the row was altered: do not rely on either",
    _LAST_INDEXES,
)
def index_table(subject: Subject) -> Iterator[Found]:
    last = _last_indexes(subject)
    if not last:
        return
    for row, table in {**STAMPED, **AHEAD}.items():
        highest = _highest(subject, table)
        if highest > last.get(row, 0):
            yield f"table indexes, {row}", f"it says {last.get(row, 'nothing')}, and {table} has {highest}"


@check(
    "state.deletion",
    "note",
    "records",
    "The last write to a table left no record: it was a deletion.",
    "nothing, unless you wonder what is missing: compare with an earlier archive",
    _LAST_INDEXES,
)
def deletion(subject: Subject) -> Iterator[Found]:
    last = _last_indexes(subject)
    for row, table in STAMPED.items():
        highest = _highest(subject, table)
        if last.get(row, 0) > highest and table not in subject.decoded.refused:
            what = f"the highest ModifyIndex is {highest}" if highest else "it has no records"
            yield f"table {table}", f"the last write was at index {last[row]}, and {what}"


@check(
    "state.time-future",
    "warning",
    "records",
    "Something was done after the snapshot was taken.",
    "a clock was wrong, or the record was altered",
    PAST,
)
def time_future(subject: Subject) -> Iterator[Found]:
    created = created_milliseconds(str(subject.archive.meta.get("ID", "")))
    if not created:
        return
    for table, names in PAST.items():
        for name in names:
            unit = 1 if fields(BY_TABLE[table].struct)[name].time_unit == "s" else 10**9
            latest = (created + CLOCKS) * unit // 1000
            if any(value > latest for value in subject.column(table, name) if value is not None):
                for key, value in subject.keyed(table, (name,)):
                    if (value or 0) > latest:
                        moment = GoTime(value // unit, value % unit)
                        yield place_of(table, key), f"{name} is {moment}"


@check(
    "state.missing-table",
    "error",
    "records",
    "A table is missing that every state of its release has: the state was cut at a record's edge.",
    "use an earlier copy: a server takes this one, loses what is missing and may lock you out",
    _LAST_INDEXES,
)
def missing_table(subject: Subject) -> Iterator[Found]:
    if not subject.tables:
        yield "state.bin", "it has no records at all"
    for table, since in ALWAYS.items():
        if subject.release >= since and not subject.has(table):
            yield f"table {table}", f"it has no records, and a state has some from {'.'.join(map(str, since))} on"
    last = _last_indexes(subject)
    if last.get("acl_token_bootstrap") and not subject.has("acl_tokens"):
        yield "table acl_tokens", "ACLs were set up, and there is no token: nobody could get in"


@check(
    "state.missing-root-key",
    "warning",
    "records",
    "There is no root key, and a cluster has one from 1.4 on.",
    "a restored cluster makes itself a new one; what the old one sealed stays sealed",
)
def missing_root_key(subject: Subject) -> Iterator[Found]:
    if subject.release >= (1, 4) and not subject.has("root_keys") and not subject.has("root_key_meta"):
        yield f"table {'root_keys' if subject.release >= (1, 9) else 'root_key_meta'}", "it has no records"


@check(
    "state.missing-default-namespace",
    "error",
    "records",
    "The namespace default is missing, which every cluster has.",
    "use an earlier copy",
)
def missing_default_namespace(subject: Subject) -> Iterator[Found]:
    if subject.has("namespaces") and "default" not in subject.keys("namespaces"):
        yield "table namespaces", "it has no default"


@check(
    "state.missing-cluster-metadata",
    "warning",
    "records",
    "The cluster has no id.",
    "a restored cluster makes itself a new one",
)
def missing_cluster_metadata(subject: Subject) -> Iterator[Found]:
    if subject.release >= (0, 10, 4) and not subject.has("cluster_metadata"):
        yield "table cluster_metadata", "it has no record"
