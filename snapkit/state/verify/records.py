"""The state: what its records say of themselves and of each other's order, by the format guide's sections 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any, cast

import msgspec
import pandas as pd

from snapkit.errors import RecordError
from snapkit.format.schema import (
    BY_TABLE,
    STREAM_ORDER,
    TIME_TABLE,
    TYPES,
    Type,
    fields,
    index_row,
    record_type,
    type_name,
)
from snapkit.format.values import go_time, split_list, unpack, walk
from snapkit.state.edit import pack
from snapkit.state.verify.decoder import decoder
from snapkit.state.verify.registry import Found, check, declare
from snapkit.state.verify.subject import Subject

_EARLIER = "use an earlier copy; `--salvage` saves the records that can be read"

declare("state.framing", "error", "framing", "The stream of records breaks: a server panics on it.", _EARLIER)
declare("state.header", "error", "framing", "The state does not begin with a header: a server panics on it.", _EARLIER)
declare("state.limit", "error", "framing", "A record, or their number, passes a limit.", "raise it if it is genuine")

INDEXES = ("CreateIndex", "ModifyIndex")

NIL = b"\xc0"
EXTENSIONS = {bytes([byte]) for byte in (*range(0xC7, 0xCA), *range(0xD4, 0xD9))}
#: Plain fields that are Go times, by type: msgpack has them as it has text.
TIMES = {
    kind.byte: names
    for kind in TYPES
    if kind.byte != TIME_TABLE and (names := [n for n, f in fields(kind.struct).items() if f.type.kind == "time"])
}
_TIME_TABLE = decoder(BY_TABLE["time_table"].struct)


#: Rows of the Index table -> the table whose highest ModifyIndex they are, unless the last write was a deletion.
STAMPED: Mapping[str, str] = {
    index_row(table): table
    for table in (
        "acl_policies",
        "acl_roles",
        "acl_auth_methods",
        "acl_binding_rules",
        "acl_tokens",
        "namespaces",
        "node_pools",
        "jobs",
        "job_versions",
        "job_summaries",
        "evals",
        "deployments",
        "host_volumes",
        "periodic_launches",
        "scaling_policies",
        "scaling_events",
        "services",
        "root_keys",
        "root_key_meta",
        "variables",
    )
}
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
CLOCKS = pd.Timedelta(minutes=5)  # that servers' and clients' clocks may differ by

#: What every state has from a release on: a server makes it when it is set up.
ALWAYS: Mapping[str, tuple[int, ...]] = {
    "indexes": (0, 1),
    "scheduler_config": (0, 9),
    "namespaces": (1, 0),
    "node_pools": (1, 6),
}


def _record(subject: Subject, number: int) -> str:
    return f"state.bin record {number + 1:,} ({type_name(subject.state.type_bytes[number])})"


def name_of(key: object) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


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
    for table, (name, count) in subject.tables().items():
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
        yield "table event_sinks", f"{subject.tables()['event_sinks'][1]:,} records"


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
    known = [byte for byte, _ in groupby(subject.state.type_bytes) if byte in STREAM_ORDER]
    for earlier, later in pairwise(known):
        if STREAM_ORDER.index(earlier) >= STREAM_ORDER.index(later):
            yield f"table {record_type(later).table}", f"{type_name(later)} records stand behind {type_name(earlier)}'s"


# -- what Nomad's decoder refuses


@check(
    "state.field-type",
    "error",
    "records",
    "A field holds a value of another type than Nomad's: a server panics on it.",
    _EARLIER,
)
def field_type(subject: Subject) -> Iterator[Found]:
    decoders = {kind.byte: decoder(kind.struct) for kind in TYPES if kind.byte != TIME_TABLE}
    for number, (byte, packed) in enumerate(subject.state.raw()):
        decode = decoders.get(byte)
        try:
            if decode is not None:
                record = _decoded(decode, packed)
                for name in TIMES.get(byte, ()):
                    _check_time(name, getattr(record, name))
            elif byte == TIME_TABLE:
                for entry in split_list(packed):
                    _TIME_TABLE.decode(entry)
        except UnicodeDecodeError:
            subject.odd_text.append(number)
        except RecursionError:
            subject.too_deep.append(number)
        except (msgspec.MsgspecError, RecordError) as error:
            subject.unreadable.add(record_type(byte).table)
            if byte == TIME_TABLE or 0x80 <= packed[0] <= 0x8F or packed[0] in (0xDE, 0xDF):
                yield _record(subject, number), str(error).replace("`", "'")
            else:
                subject.no_maps.append(number)


def _decoded(decode: Any, packed: memoryview) -> Any:
    try:
        return decode.decode(packed)
    except msgspec.ValidationError:
        old = pack(unpack(packed))  # a record of the new spec has bytes where the old has text: servers take both
        if old == packed:
            raise
        return decode.decode(old)


def _check_time(name: str, packed: Any) -> None:
    """Raise RecordError for what is no time.Time."""
    raw = bytes(packed or NIL)
    if len(raw) == 16 and raw[:2] == b"\xaf\1":
        return
    if raw[:1] in EXTENSIONS:
        raise RecordError(f"is a msgpack extension, which servers do not take - at '$.{name}'")
    try:
        go_time(unpack(raw))
    except RecordError as error:
        raise RecordError(f"{error.what} - at '$.{name}'") from error


@check(
    "state.key",
    "error",
    "records",
    "A record has no key: a server panics on it.",
    _EARLIER,
)
def no_key(subject: Subject) -> Iterator[Found]:
    for kind in TYPES:
        frame = subject.columns(kind.table, ())
        if not kind.key or not subject.has(kind.table) or kind.table in subject.unreadable:
            continue
        lacking = set(kind.key) - set(frame.columns)
        if lacking:
            yield f"table {kind.table}", f"no record has {' or '.join(sorted(lacking))}"
        for name in set(kind.key) - lacking:
            for row in _rows(frame, frame[name].isna() | (frame[name] == "")):
                yield place_of(kind.table, row), f"{name} is empty"


@check("state.not-a-map", "error", "records", "A record is no map of fields: a server panics on it.", _EARLIER)
def not_a_map(subject: Subject) -> Iterator[Found]:
    for number in subject.no_maps:
        yield _record(subject, number), "it is no map of fields"


@check("state.depth", "error", "records", "A record is nested too deep to be read.", _EARLIER)
def depth(subject: Subject) -> Iterator[Found]:
    for number in subject.too_deep:
        yield _record(subject, number), "it is nested too deep"


@check(
    "state.text",
    "warning",
    "records",
    "Text that is not UTF-8: Nomad's JSON shows U+FFFD for it.",
    "look at the record with get(): a server takes it as it is",
)
def odd_text(subject: Subject) -> Iterator[Found]:
    wanted = set(subject.odd_text)
    if not wanted:
        return
    for number, (byte, packed) in enumerate(subject.state.raw()):
        if number in wanted:
            yield _record(subject, number), _not_utf8(byte, packed)


def _not_utf8(byte: int, packed: memoryview) -> str:
    for leaf in walk(unpack(packed), Type("struct", struct=record_type(byte).struct)):
        if isinstance(leaf.value, bytes) and leaf.kind.kind == "string":
            try:
                leaf.value.decode()
            except UnicodeDecodeError:
                return f"{leaf.path} is not UTF-8"
    return "the name of a field is not UTF-8"


# -- tables


@check(
    "state.duplicate",
    "warning",
    "records",
    "Two records have the same key: the last one wins on a restore.",
    "make sure that it is the right one",
)
def duplicate(subject: Subject) -> Iterator[Found]:
    for kind in TYPES:
        if kind.key and subject.has(kind.table):
            frame = subject.columns(kind.table, ())
            if set(kind.key) <= set(frame.columns):
                again = frame[list(kind.key)].duplicated()
                for row in frame[again][list(kind.key)].itertuples(index=False, name=None):
                    yield f"table {kind.table}, {name_of(row)}", "it stands there more than once"


def _indexed(subject: Subject) -> Iterator[tuple[str, pd.DataFrame]]:
    for kind in TYPES:
        frame = subject.columns(kind.table, [name for name in INDEXES if name in fields(kind.struct)])
        if "ModifyIndex" in frame and len(frame):
            yield kind.table, frame


def place_of(table: str, row: Mapping[str, Any]) -> str:
    """A table and the key of one of its rows."""
    key = BY_TABLE[table].key
    return f"table {table}" + (f", {name_of(tuple(row[name] for name in key if name in row))}" if key else "")


def _rows(frame: pd.DataFrame, wanted: Any) -> Iterator[dict[str, Any]]:
    """The rows for which it is true, as dicts."""
    yield from cast("list[dict[str, Any]]", frame[wanted.fillna(False).to_numpy(dtype=bool)].to_dict("records"))


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
    for table, frame in _indexed(subject):
        for row in _rows(frame, frame["ModifyIndex"] > index):
            yield place_of(table, row), f"ModifyIndex {row['ModifyIndex']} is above {index}"


@check(
    "state.create-after-modify",
    "warning",
    "records",
    "A record was changed before it was made.",
    "the record was altered: do not rely on it",
)
def create_after_modify(subject: Subject) -> Iterator[Found]:
    for table, frame in _indexed(subject):
        if "CreateIndex" in frame:
            for row in _rows(frame, frame["CreateIndex"] > frame["ModifyIndex"]):
                yield (
                    place_of(table, row),
                    f"CreateIndex {row['CreateIndex']} is above ModifyIndex {row['ModifyIndex']}",
                )


def _last_indexes(subject: Subject) -> dict[str, int]:
    frame = subject.columns("indexes", ("Value",))
    if not {"Key", "Value"} <= set(frame.columns):
        return {}
    return {str(key): int(value) for key, value in zip(frame["Key"], frame["Value"], strict=True) if pd.notna(value)}


def _highest(subject: Subject, table: str) -> int:
    frame = subject.columns(table, ("ModifyIndex",))
    return int(frame["ModifyIndex"].max()) if "ModifyIndex" in frame and frame["ModifyIndex"].notna().any() else 0


@check(
    "state.index-table",
    "warning",
    "records",
    "The Index table says that a table was last written before one of its records was.",
    "the record or the row was altered: do not rely on either",
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
)
def deletion(subject: Subject) -> Iterator[Found]:
    last = _last_indexes(subject)
    for row, table in STAMPED.items():
        highest = _highest(subject, table)
        if last.get(row, 0) > highest and (table not in subject.unreadable):
            what = f"the highest ModifyIndex is {highest}" if highest else "it has no records"
            yield f"table {table}", f"the last write was at index {last[row]}, and {what}"


@check(
    "state.time-future",
    "warning",
    "records",
    "Something was done after the snapshot was taken.",
    "a clock was wrong, or the record was altered",
)
def time_future(subject: Subject) -> Iterator[Found]:
    created = subject.created
    if created is None:
        return
    for table, names in PAST.items():
        frame = subject.columns(table, [name for name in names if name in fields(BY_TABLE[table].struct)])
        for name in names:
            if name in frame and isinstance(frame[name].dtype, pd.DatetimeTZDtype):
                for row in _rows(frame, frame[name] > pd.Timestamp(created) + CLOCKS):
                    yield place_of(table, row), f"{name} is {row[name].isoformat()}"


@check(
    "state.missing-table",
    "error",
    "records",
    "A table is missing that every state of its release has: the state was cut at a record's edge.",
    "use an earlier copy: a server takes this one, loses what is missing and may lock you out",
)
def missing_table(subject: Subject) -> Iterator[Found]:
    if not subject.tables():
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
    if subject.has("namespaces") and ("default",) not in subject.keys("namespaces", ("Name",)):
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
