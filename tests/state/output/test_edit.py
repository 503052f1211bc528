"""A state with some of its records changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

import snapkit
from snapkit.errors import RecordError
from snapkit.format import archive as container
from snapkit.format.schema import BY_TABLE, STREAM_ORDER, TYPES, Type
from snapkit.format.values import go_duration, go_time, pack, to_json, unpack
from snapkit.state.output.edit import Edits, edited, from_json, nanoseconds, stamp
from tests import forge

from ...conftest import ARCHIVES, path_of

Open = Callable[..., snapkit.Snapshot]


def stop_web(job: dict[bytes, Any]) -> bool:
    if job[b"ID"] != b"web":
        return False
    job[b"Stop"] = True
    return True


@pytest.mark.parametrize("archive", ARCHIVES)
def test_without_changes_it_is_the_same_to_the_byte(archive: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    state = b"".join(snap.chunks())
    assert b"".join(edited(snap, {})) == state
    assert b"".join(edited(snap, {"jobs": lambda _: False, "allocs": lambda _: False})) == state


@pytest.mark.parametrize("archive", ARCHIVES)
def test_what_was_unpacked_is_packed_as_go_packs_it(archive: str, open_: Open) -> None:
    """Go's own choice among the forms of an integer is not kept, and says nothing: the values are the same."""
    snap = open_(path_of(archive))
    again = open_(b"".join(edited(snap, dict.fromkeys((set(snap.tables.index) - {"time_table"}), lambda _: True))))
    for table in snap.tables.index:
        assert list(again.objects(table, reveal=True)) == list(snap.objects(table, reveal=True))
    assert again.meta.version_range == snap.meta.version_range


def test_the_changed_record_alone_differs(open_: Open, tmp_path: Path) -> None:
    snap = open_(path_of("v2.0.5/monday"))
    state = b"".join(edited(snap, {"jobs": stop_web, "indexes": stamp(999, "jobs")}))
    path = tmp_path / "edited.snap"
    container.write(path, snap.archive.meta, [state], len(state))
    again = open_(path)

    pairs = list(zip(snap.raw(), again.raw(), strict=True))
    differ = [(before[0], i) for i, (before, after) in enumerate(pairs) if before != after]
    assert [byte for byte, _ in differ] == [BY_TABLE["indexes"].byte, BY_TABLE["jobs"].byte]
    assert again.header == snap.header
    before, after = (s.get("jobs", "shop", "web", reveal=True) for s in (snap, again))
    assert (before["Stop"], after["Stop"]) == (False, True)
    assert after | {"Stop": False} == before
    assert again.indexes.Value["jobs"] == 999
    assert again.indexes.drop("jobs").equals(snap.indexes.drop("jobs"))


def test_a_stamp_is_for_the_tables_named() -> None:
    rows = [{b"Key": b"jobs", b"Value": 1}, {b"Key": b"evals", b"Value": 2}, {b"Key": b"nodes", b"Value": 3}]
    change = stamp(9, "jobs", "nodes")
    assert [change(row) for row in rows] == [True, False, True]
    assert [row[b"Value"] for row in rows] == [9, 2, 9]
    assert not stamp(9)({b"Key": b"jobs"})
    assert not stamp(9, "jobs")({})


def test_it_is_packed_in_the_old_spec() -> None:
    assert pack(b"x" * 40) == b"\xda\x00\x28" + b"x" * 40, "raw16, where the new spec has str8 or bin"
    assert pack({b"a": 2**64 - 1}) == b"\x81\xa1a\xcf" + b"\xff" * 8


def test_a_record_that_is_no_map_is_left_as_it_is(open_: Open) -> None:
    snap = open_(forge.archive(forge.state(forge.record(1, 5), forge.record(2, [b"Key"]))))
    assert b"".join(edited(snap, {"jobs": stop_web, "indexes": stamp(9, "jobs")})) == b"".join(snap.chunks())


# -- whole records


def test_records_are_put_in_place_added_behind_their_kind_and_taken_out(open_: Open) -> None:
    snap = open_(path_of("v2.0.5/monday"))
    edits = Edits()
    edits.put("jobs", snap.get("jobs", "shop", "web", reveal=True) | {"Priority": 99})
    edits.put("jobs", snap.get("jobs", "shop", "web", reveal=True) | {"ID": "other"})
    edits.delete("jobs", "payments", "payments")
    edits.stamp(999, "jobs", "no-such-row")
    again = open_(b"".join(edited(snap, {}, edits)))
    kept = [key for key in snap.records("jobs") if key != ("payments", "payments")]
    assert list(again.records("jobs")) == [*kept, ("shop", "other")]
    assert again.get("jobs", "shop", "web")["Priority"] == 99
    assert again.indexes["Value"][["jobs", "no-such-row"]].tolist() == [999, 999]
    changed = {"jobs", "indexes"}
    for table in set(snap.tables.index) - changed:
        assert list(again.records(table).values()) == list(snap.records(table).values())
    assert again.type_bytes.count(BY_TABLE["jobs"].byte) == snap.type_bytes.count(BY_TABLE["jobs"].byte)


@pytest.mark.parametrize("table", [kind.table for kind in TYPES if kind.key and kind.byte in STREAM_ORDER])
def test_a_kind_that_was_not_there_stands_where_servers_write_it(table: str, open_: Open) -> None:
    snap = open_(path_of("every-table/every-table"))
    kind = BY_TABLE[table]
    gone, back = Edits(), Edits()
    for key in snap.records(table):
        gone.delete(table, *key)
    without = open_(b"".join(edited(snap, {}, gone)))
    assert not without.records(table)
    back.records[table] = {("x",) * len(kind.key): from_json({}, Type("struct", struct=kind.struct))}
    bytes_ = open_(b"".join(edited(without, {}, back))).type_bytes
    assert bytes_.count(kind.byte) == 1
    assert sorted(bytes_, key=STREAM_ORDER.index) == list(bytes_)


@pytest.mark.parametrize("archive", ["v2.0.5/friday", "every-table/every-table"])
@pytest.mark.parametrize("table", ["jobs", "job_versions", "evals", "acl_tokens", "acl_auth_methods", "acl_policies",
                                   "acl_roles", "acl_binding_rules", "namespaces", "node_pools", "variables",
                                   "job_summaries", "job_submissions", "scaling_policies"])  # fmt: skip
def test_json_is_turned_back_into_the_record_it_came_from(archive: str, table: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    kind = Type("struct", struct=BY_TABLE[table].struct)
    for packed in snap.records(table).values():
        record = unpack(packed)
        assert from_json(to_json(record, kind), kind) == record


@pytest.mark.parametrize(
    "value", ["2026-11-23T22:09:20.665Z", "0001-01-01T00:00:00.000000001Z", "2026-11-23T22:09:20Z"]
)
def test_times_are_turned_back(value: str) -> None:
    assert str(go_time(from_json(value, Type("time")))) == value


def test_a_zone_is_turned_into_utc_and_no_time_into_gos_zero() -> None:
    assert str(go_time(from_json("2026-11-23T23:09:20.5+01:00", Type("time")))) == "2026-11-23T22:09:20.5Z"
    zero = go_time(from_json(None, Type("time")))
    assert zero is not None
    assert zero.is_zero


@hypothesis.given(strategies.integers(-(2**62), 2**62))
def test_durations_are_read_as_go_prints_them(value: int) -> None:
    assert nanoseconds(go_duration(value)) == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [({"ID": 3}, "Job"), ({"Priority": "x"}, "Job"), ({"Datacenters": "x"}, "Job"), ("x", "Job"),
     ({"CreateTime": "yesterday"}, "ACLToken"), ({"ExpirationTTL": "long"}, "ACLToken"), ({"Stop": 1}, "Job"),
     ({"Priority": True}, "Job")],
)  # fmt: skip
def test_what_is_not_of_its_type_is_an_error(value: Any, kind: str) -> None:
    with pytest.raises(RecordError):
        from_json(value, Type("struct", struct=kind))
