"""Sizes: each grouping adds up to what Nomad's inspect counts, and says the same as a slow look at every value."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any, get_args

import hypothesis.strategies as st
import msgpack
import pandas as pd
import pytest
from hypothesis import example, given, settings

import snapkit
from snapkit.errors import RecordError, SnapshotError
from snapkit.format.schema import ANY, BY_TABLE, Type, fields, record_type
from snapkit.format.values import text, unpack
from snapkit.state.sizes import By, duplication, growth, sizes
from snapkit.state.sizes import fields as module
from tests import forge

from ...conftest import ARCHIVES, oracle
from .. import samples

Open = Callable[..., snapkit.Snapshot]
FRIDAY = "v2.0.5/friday"
GROUPINGS: list[By] = list(get_args(By))


def entries(packed: bytes) -> dict[str, bytes]:
    """The fields of a packed map, and the items of a packed list by their numbers, each still packed."""
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
    unpacker.feed(packed)
    found = {}
    named = packed[0] & 0xF0 == 0x80 or packed[0] in (0xDE, 0xDF)
    for i in range(unpacker.read_map_header() if named else unpacker.read_array_header()):
        name = unpacker.unpack() if named else str(i)
        start = unpacker.tell()
        unpacker.skip()
        found[name] = packed[start : unpacker.tell()]
    return found


def own(frame: pd.DataFrame) -> int:
    """All bytes, each once."""
    return int(frame["Own" if "Own" in frame else "Bytes"].sum())


# -- they add up


@pytest.mark.parametrize("archive", ARCHIVES)
def test_every_grouping_adds_up_to_what_nomad_counts(archive: str, opened: Open) -> None:
    snap = opened(archive)
    stats = oracle(archive, "inspect")["Stats"]
    total, count = sum(s["Sum"] for s in stats), sum(s["Count"] for s in stats)
    for by in GROUPINGS:
        frame = sizes(snap, by)
        assert own(frame) == total
        types = {name: str(kind) for name, kind in frame.dtypes.items()}
        own_ = {"Own": "Int64"} if by == "field" else {}
        of = {"Table": "str", "Key": "object"} if by == "object" else {}
        assert types == of | {"Count": "Int64", "Bytes": "Int64"} | own_ | {"Share": "Float64"}
        assert list(frame["Bytes"]) == sorted(frame["Bytes"], reverse=True)
        assert frame["Share"].astype(float).tolist() == pytest.approx((frame["Bytes"] / total).astype(float).tolist())
        assert len(plain(frame)) == len(frame)
        if by not in ("group", "field"):
            assert frame["Count"].sum() == count
    by_type = {s["Name"]: (s["Count"], s["Sum"]) for s in stats}
    records = sizes(snap, "field").xs("", level="Path")
    for frame in (sizes(snap), pd.DataFrame(records)):
        assert {
            BY_TABLE[t].name: (c, b) for t, c, b in zip(frame.index, frame.Count, frame.Bytes, strict=True)
        } == by_type


@pytest.mark.parametrize(
    ("by", "index"),
    [
        ("table", ["Table"]),
        ("namespace", ["Namespace"]),
        ("job", ["Namespace", "Job"]),
        ("parent", ["Namespace", "Job"]),
        ("version", ["Namespace", "Job", "Version"]),
        ("group", ["Namespace", "Job", "Group"]),
        ("field", ["Table", "Path"]),
        ("object", [None]),
    ],
)
def test_the_index_says_what_it_is_by(by: By, index: list[str | None], opened: Open, open_: Open) -> None:
    assert list(sizes(opened(FRIDAY), by).index.names) == index
    empty = sizes(open_(forge.archive(forge.state())), by)
    assert (len(empty), list(empty.index.names)) == (0, index)


def test_a_grouping_that_is_none_is_refused(opened: Open) -> None:
    with pytest.raises(SnapshotError, match="is no grouping 'node'; there are table, namespace, job"):
        sizes(opened(FRIDAY), "node")  # type: ignore[arg-type]


# -- by what records are of


def labelled(snap: snapkit.Snapshot) -> list[tuple[str, Any, Any, Any, Any, int]]:
    """Table, namespace, job, version, group and bytes of each record, by hand."""
    rows = []
    header = len(snap.header)
    for byte, packed in snap.raw():
        table = record_type(byte).table
        value = msgpack.unpackb(packed, raw=False, unicode_errors="replace", strict_map_key=False)
        value = value if isinstance(value, dict) else {}
        target = value.get("Target") or {} if table == "scaling_policies" else {}
        job = value["ID"] if table in ("jobs", "job_versions", "periodic_launches") else value.get("JobID")
        version = value.get("Version") if table in ("jobs", "job_versions", "job_submissions") else None
        if table == "allocs":
            version = value["Job"] and value["Job"]["Version"]
        elif table == "deployments":
            version = value["JobVersion"]
        group = target.get("Group") or (value["TaskGroup"] if table == "allocs" else None)
        namespace = target.get("Namespace") or value.get("Namespace")
        rows.append((table, namespace, job or target.get("Job"), version, group, len(packed) + 1 + header))
        header = 0
    return rows


def plain(frame: pd.DataFrame) -> dict[Any, int]:
    """Bytes by index, with None for NA; of objects by Table and Key."""
    if "Key" in frame:
        return dict(zip(zip(frame.Table, frame.Key, strict=True), frame.Bytes.tolist(), strict=True))
    index: list[Any] = list(frame.index) if frame.index.nlevels > 1 else [(key,) for key in frame.index]
    keys = [tuple(part if not pd.isna(part) else None for part in key) for key in index]
    return dict(zip(keys, frame.Bytes.tolist(), strict=True))


@pytest.mark.parametrize("archive", ARCHIVES)
def test_records_are_grouped_by_what_they_name(archive: str, opened: Open) -> None:
    snap = opened(archive)
    namespaces, jobs, parents, versions = Counter[Any](), Counter[Any](), Counter[Any](), Counter[Any]()
    for _, namespace, job, version, _, size in labelled(snap):
        parent = job and job.split("/dispatch-")[0].split("/periodic-")[0]
        namespaces[(namespace,)] += size
        jobs[(namespace, job) if job else (None, None)] += size
        parents[(namespace, parent) if job else (None, None)] += size
        versions[(namespace, job, version) if job else (None, None, None)] += size
    assert plain(sizes(snap, "namespace")) == namespaces
    assert plain(sizes(snap, "job")) == jobs
    assert plain(sizes(snap, "parent")) == parents
    assert plain(sizes(snap, "version")) == versions


@pytest.mark.parametrize("archive", [FRIDAY, "v1.4.14/monday", "every-table/every-table"])
def test_groups_are_those_of_allocations_and_inside_jobs(archive: str, opened: Open) -> None:
    snap = opened(archive)
    expected = Counter[Any]()
    for (_, namespace, job, _, group, size), (byte, packed) in zip(labelled(snap), snap.raw(), strict=True):
        inside = 0
        if record_type(byte).struct == "Job":
            groups = entries(bytes(packed))["TaskGroups"]
            for item in entries(groups).values() if groups != b"\xc0" else ():
                expected[(namespace, job, text(unpack(item)[b"Name"]))] += len(item)
                inside += len(item)
        expected[(namespace, job, group) if job else (None, None, None)] += size - inside
    assert plain(sizes(snap, "group")) == expected


@pytest.mark.parametrize("archive", ARCHIVES)
def test_objects_are_the_records(archive: str, opened: Open) -> None:
    snap = opened(archive)
    frame = sizes(snap, "object")
    assert (frame.Count == 1).all()
    expected = Counter((table, size) for table, *_, size in labelled(snap))
    assert Counter(zip(frame.Table, frame.Bytes.tolist(), strict=True)) == expected
    for table, key in list(zip(frame.Table, frame.Key, strict=True))[:: len(frame) // 10]:
        assert table == "time_table" or snap.get(table, key)


# -- by field


def measured(snap: snapkit.Snapshot) -> dict[tuple[str, str], list[int]]:
    """Count and bytes of every path, value by value."""
    rows: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])

    def walk(table: str, path: str, packed: bytes, kind: Type, extra: int) -> None:
        rows[table, path][0] += 1
        rows[table, path][1] += len(packed) + extra
        if not kind.nested:
            return
        unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
        unpacker.feed(packed)
        first = packed[0]
        if first & 0xF0 == 0x80 or first in (0xDE, 0xDF):
            for _ in range(unpacker.read_map_header()):
                key = unpacker.unpack()
                start = unpacker.tell()
                unpacker.skip()
                field = fields(kind.struct).get(text(key))
                name = text(key) if kind.kind == "struct" else "*"
                inner = field.type if field else kind.element or ANY
                walk(table, f"{path}.{name}" if path else name, packed[start : unpacker.tell()], inner, len(key) + 1)
        elif first & 0xF0 == 0x90 or first in (0xDC, 0xDD):
            for _ in range(unpacker.read_array_header()):
                start = unpacker.tell()
                unpacker.skip()
                walk(table, f"{path}[]", packed[start : unpacker.tell()], kind.element or ANY, 0)

    header = len(snap.header)
    for byte, packed in snap.raw():
        kind = record_type(byte)
        struct = Type("struct", struct=kind.struct)
        walk(kind.table, "", bytes(packed), Type("list", struct) if kind.table == "time_table" else struct, 1 + header)
        header = 0
    return rows


@pytest.mark.parametrize("archive", ["v2.0.5/monday", "v0.12.12/tuesday", "every-table/every-table"])
def test_fields_are_what_a_slow_look_at_every_value_says(archive: str, opened: Open) -> None:
    snap = opened(archive)
    frame = sizes(snap, "field")
    found = {key: [c, b] for key, c, b in zip(frame.index, frame.Count.tolist(), frame.Bytes.tolist(), strict=True)}
    assert found == measured(snap)
    assert ("allocs", "Job.TaskGroups[].Tasks[].Env") in found
    assert ("allocs", "TaskStates.*.Events[].Details.*") in found
    adds_up(frame, snap)


def adds_up(frame: pd.DataFrame, snap: snapkit.Snapshot) -> None:
    """What is of a field and of none below it is never negative, and with what is below it, its bytes."""
    assert frame.Own.sum() == (snap.meta.size if snap.type_bytes else 0)
    assert (frame.Own >= 0).all()
    below: dict[tuple[str, str], int] = Counter()
    for (table, path), size in zip(frame.index, frame.Own.tolist(), strict=True):
        parent = path
        below[table, path] += size
        while parent:
            parent = parent.removesuffix("[]") if parent.endswith("[]") else parent.rpartition(".")[0]
            below[table, parent] += size
    assert below == dict(zip(frame.index, frame.Bytes.tolist(), strict=True))


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=40), st.floats())
KEYS = st.sampled_from(
    [b"ID", b"Job", b"TaskGroups", b"Meta", b"Tasks", b"Env", b"Odd", b"x" * 40, "é".encode(), b"Target"]
)
ODD_KEYS = st.one_of(KEYS, st.sampled_from([b"\xff\xfe", 7, None, -1, 2**40]))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(ODD_KEYS, inner, max_size=3),
    ),
    max_leaves=12,
)
RECORDS = st.lists(st.tuples(st.sampled_from([0, 1, 4, 5, 16, 29, 200]), VALUES), max_size=6)


@settings(max_examples=150)
@given(RECORDS, st.sampled_from([b"\x80", b"\x81\xa1a\x01"]))
@example([(4, {b"Job": [1]}), (4, {b"Job": {b"ID": b"a"}}), (4, {b"Job": 5})], b"\x80")
@example([(1, {b"Meta": {b"\xff": b"", 7: b"", b"a": b"xy"}})], b"\x80")
@example([(200, {b"a": {b"b": [b"c", {b"d": 1}]}}), (200, [1, 2]), (200, None)], b"\x80")
def test_fields_of_whatever_there_is_add_up(records: list[tuple[int, Any]], header: bytes) -> None:
    state = header + b"".join(forge.record(byte, forge.pack(value)) for byte, value in records)
    with snapkit.open(forge.archive(state)) as snap:
        adds_up(sizes(snap, "field"), snap)
        for by in GROUPINGS:
            with suppress(RecordError) if by not in ("table", "field") else nullcontext():  # of what is no map
                assert own(sizes(snap, by)) == (snap.meta.size if records else 0)


def test_keys_that_are_written_at_length_stay_with_their_map(open_: Open) -> None:
    packed = b"\x82\xa2ID\xa1a\xda\x00\x04Meta\x81\xdb\x00\x00\x00\x01k\xa2vw"
    frame = sizes(open_(forge.archive(forge.state(forge.record(1, packed)))), "field").loc["jobs"]
    assert frame.Bytes.to_dict() == {"": len(packed) + 2, "ID": 5, "Meta": 15, "Meta.*": 5}
    assert frame.Own.to_dict() == {"": 5, "ID": 5, "Meta": 10, "Meta.*": 5}


def test_many_names_that_the_schema_lacks_are_listed_together(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FIELDS", 3)
    rows = [{f"new{i}": i} for i in range(20)]
    snap = open_(forge.archive(forge.state(*(forge.record(200, row) for row in rows), forge.record(0, {"ID": "n"}))))
    frame = sizes(snap, "field")
    assert set(frame.loc["unknown_200"].index) == {"", "new0", "new1", "new2", "*"}
    assert set(frame.loc["nodes"].index) == {"", "ID"}
    adds_up(frame, snap)


def test_what_is_nested_too_deep_is_named(open_: Open) -> None:
    deep: Any = "x"
    for _ in range(250):
        deep = [deep]
    snap = open_(forge.archive(forge.state(forge.record(0, {"ID": "n", "Meta": {"m": deep}, "Odd": deep}))))
    with pytest.raises(RecordError, match="Node records: one is nested more than 200 deep"):
        sizes(snap, "field")


def test_numbers_and_names_of_the_wrong_type_are_of_nothing(open_: Open) -> None:
    jobs = [{"Namespace": 5, "ID": "a", "Version": 2**64 - 1}, {"Namespace": "n", "ID": "a", "Version": -1}]
    snap = open_(samples.archive({"jobs": jobs, "evals": [{"ID": "e", "JobID": b"\xff", "Namespace": "n"}]}))
    assert set(plain(sizes(snap, "version"))) == {
        (None, "a", None),
        ("n", "a", None),
        ("n", "\N{REPLACEMENT CHARACTER}", None),
    }
    assert set(plain(sizes(snap, "namespace"))) == {(None,), ("n",)}


# -- growth


@pytest.mark.parametrize("by", GROUPINGS)
def test_growth_is_the_difference_of_sizes(by: By, opened: Open) -> None:
    monday, friday = opened("v2.0.5/monday"), opened(FRIDAY)
    frame = growth(monday, friday, by)
    before, after = plain(sizes(monday, by)), plain(sizes(friday, by))
    expected = {key: after.get(key, 0) - before.get(key, 0) for key in before.keys() | after.keys()}
    assert plain(frame.rename(columns={"Growth": "Bytes"})) == expected
    assert {str(kind) for kind in frame.dtypes[-5:]} == {"Int64"}
    assert (frame.BytesAfter - frame.BytesBefore == frame.Growth).all()
    assert list(frame.Growth) == sorted(frame.Growth, reverse=True)
    assert list(frame.index.names) == list(sizes(monday, by).index.names)
    assert (growth(friday, friday, by).Growth == 0).all()
    if by not in ("field", "group"):
        assert frame.Growth.sum() == friday.meta.size - monday.meta.size


# -- duplication


@pytest.mark.parametrize("archive", ARCHIVES)
def test_copies_are_all_but_one_of_each_version(archive: str, opened: Open) -> None:
    snap = opened(archive)
    held: dict[Any, list[tuple[str, int]]] = defaultdict(list)
    for byte, packed in snap.raw():
        table = record_type(byte).table
        if table not in ("jobs", "job_versions", "allocs"):
            continue
        value = bytes(packed) if table != "allocs" else entries(bytes(packed))["Job"]
        if job := unpack(value):
            key = tuple(text(v) if isinstance(v := job[k], bytes) else v for k in (b"Namespace", b"ID", b"Version"))
            held[(*key, job[b"CreateIndex"])].append((table, len(value)))
    frame = duplication(snap)
    found = sorted(zip(frame.index, *(frame[c].tolist() for c in ("Count", "Allocs", "Bytes", "Copies")), strict=True))
    assert found == sorted(
        (
            key[:3],
            len(copies),
            sum(table == "allocs" for table, _ in copies),
            sum(size for _, size in copies),
            sum(size for _, size in copies) - max(size for _, size in copies),
        )
        for key, copies in held.items()
    )
    assert frame.Share.sum() == pytest.approx(frame.Copies.sum() / snap.meta.size)
    assert list(frame.Copies) == sorted(frame.Copies, reverse=True)


def test_a_job_registered_anew_is_no_copy(open_: Open) -> None:
    job = {"Namespace": "n", "ID": "a", "Version": 0, "CreateIndex": 5, "Meta": {"k": "v"}}
    allocs = [{"ID": "x", "Job": job}, {"ID": "y", "Job": job | {"CreateIndex": 9}}, {"ID": "z", "Job": None}]
    frame = duplication(open_(samples.archive({"jobs": [job], "allocs": allocs})))
    size = len(forge.pack(job))
    assert frame.Copies.to_list() == [size, 0]
    assert frame.Count.to_list() == [2, 1]
    assert frame.Allocs.to_list() == [1, 1]
    assert list(frame.index) == [("n", "a", 0)] * 2
    assert len(duplication(open_(forge.archive(forge.LITTLE)))) == 0
