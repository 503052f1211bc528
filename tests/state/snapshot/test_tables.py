"""Tables: each of the 33 record types read from records that hold all their fields, and from odd ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import LimitError, RecordError, SnapshotError
from snapkit.format import schema
from snapkit.format.schema import BY_TABLE, INTEGER_TIMES, TYPES, RecordType
from tests import forge

from ...conftest import path_of
from .. import samples
from ..samples import GO_TIME, MOMENT, NANOSECONDS, SECONDS

Open = Callable[..., snapkit.Snapshot]

STRUCTS: dict[str, dict[str, str]] = json.loads(
    (Path(schema.__file__).parent / "nomad_types.json").read_text(encoding="utf-8")
)["structs"] | {
    "EventSink": dict.fromkeys(["ID", "Type", "Address"], "string")
    | dict.fromkeys(["LatestIndex", "CreateIndex", "ModifyIndex"], "uint64")
}
DTYPES = {
    "string": "str",
    "bytes": "large_binary[pyarrow]",
    "bool": "boolean",
    "time": "datetime64[ns, UTC]",
    "duration": "timedelta64[ns]",
    "float64": "Float64",
    "int": "Int64",
    "int64": "Int64",
    "int32": "Int32",
    "int8": "Int8",
    "uint": "UInt64",
    "uint64": "UInt64",
    "uint16": "UInt16",
    "uint8": "UInt8",
}
#: What `samples.struct()` holds of each, as a table has it.
SHOWN = {
    "string": "text-x",
    "bytes": b"\xff\xfex",
    "bool": True,
    "time": pd.Timestamp(MOMENT),
    "duration": pd.Timedelta(seconds=90),
    "int": NANOSECONDS,
    "int64": NANOSECONDS,
    "uint": 2**64 - 1,
    "uint64": 2**64 - 1,
}
each_table = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.table)


def flat_fields(kind: RecordType) -> dict[str, str]:
    """The fields of the newest release that are not nested, and their Go types, straight from nomad_types.json."""
    now = {
        name: definition.partition(";")[0]
        for name, definition in STRUCTS[kind.struct].items()
        if "last in" not in definition
    }
    plain = {name: definition.partition(" (")[0].removesuffix("?") for name, definition in now.items()}
    return {name: go_type for name, go_type in plain.items() if go_type in DTYPES}


def dtype(kind: RecordType, name: str) -> str:
    return DTYPES["time" if f"{kind.struct}.{name}" in INTEGER_TIMES else flat_fields(kind)[name]]


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    """Of all columns, those of the index too."""
    return {str(name): str(kind) for name, kind in frame.reset_index().dtypes.items() if name != "index"}


@each_table
def test_a_table_has_all_fields_with_their_types_and_values(kind: RecordType, open_: Open) -> None:
    values = [samples.struct(kind.struct, salt) for salt in ("x", "y", "z")]
    snap = open_(samples.archive({kind.table: values}))
    frame = snap.table(kind.table, reveal=True)
    assert len(frame) == 3
    assert list(frame.index.names) == list(kind.key or [None])
    assert list(frame.columns) == [name for name in flat_fields(kind) if name not in kind.key]
    assert dtypes(frame) == {name: dtype(kind, name) for name in flat_fields(kind)}

    cells: dict[Any, Any] = frame.reset_index().iloc[0].to_dict()
    for name, value in cells.items():
        if name == "index":
            continue
        expected = SHOWN[flat_fields(kind)[name]]
        if INTEGER_TIMES.get(f"{kind.struct}.{name}") == "s":
            expected = pd.Timestamp(SECONDS, unit="s", tz="UTC")
        elif f"{kind.struct}.{name}" in INTEGER_TIMES:
            expected = pd.Timestamp(MOMENT)
        assert value == expected, name
    assert snap.tables.Count.to_dict() == {kind.table: 1 if kind.table == "time_table" else 3}


@each_table
def test_an_empty_table_has_the_same_types(kind: RecordType, open_: Open) -> None:
    empty = open_(forge.archive(forge.state()))[kind.table]
    full = open_(samples.archive({kind.table: [samples.struct(kind.struct)]}))[kind.table]
    assert len(empty) == 0
    assert dtypes(empty) == dtypes(full)
    assert list(empty.columns) == list(full.columns)
    assert empty.index.names == full.index.names


@each_table
def test_nil_is_missing_and_keeps_the_types(kind: RecordType, open_: Open) -> None:
    value = samples.struct(kind.struct)
    nil = {name: value[name] if name in kind.key else None for name in value}
    frame = open_(samples.archive({kind.table: [nil]})).table(kind.table)
    assert frame.isna().all(axis=None)
    assert dtypes(frame) == {name: dtype(kind, name) for name in flat_fields(kind)}


@each_table
def test_all_columns_can_be_had_nested_ones_as_dicts_and_lists(kind: RecordType, open_: Open) -> None:
    snap = open_(samples.archive({kind.table: [samples.struct(kind.struct)]}))
    frame = snap.table(kind.table, snap.columns(kind.table))
    nested = [name for name in frame.columns if name not in flat_fields(kind)]
    assert {type(value) for name in nested for value in frame[name]} <= {dict, list}
    assert all(frame[name].dtype == object for name in nested)
    assert set(snap.columns(kind.table)) == samples.struct(kind.struct).keys()


def only(open_: Open, table: str, *values: Any, columns: list[str] | None = None, reveal: bool = False) -> pd.DataFrame:
    return open_(samples.archive({table: values})).table(table, columns, reveal=reveal)


@pytest.mark.parametrize("number", [0, 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_indexes_are_kept_exactly(number: int, open_: Open) -> None:
    rows = [{"Key": "jobs", "Value": number}, {"Key": "nil", "Value": None}]
    value = only(open_, "indexes", *rows).Value
    assert value["jobs"] == number
    assert value["nil"] is pd.NA


def test_a_payload_that_happens_to_be_text_is_bytes(open_: Open) -> None:
    job = {"Namespace": "default", "ID": "encode", "Payload": "just text"}
    frame = only(open_, "jobs", job, reveal=True)
    assert frame.Payload.iloc[0] == b"just text"
    assert str(frame.Payload.dtype) == "large_binary[pyarrow]"


def test_a_time_whose_bytes_are_utf8_is_a_time(open_: Open) -> None:
    moment = forge.go_time(0x0E62_6262_62, 0x0101_0101, 0)
    assert moment.decode("utf-8")
    frame = only(open_, "acl_tokens", {"AccessorID": "a", "CreateTime": moment})
    assert frame.CreateTime.iloc[0] == pd.Timestamp(0x0E62_6262_62 - 62_135_596_800, unit="s", tz="UTC").as_unit(
        "ns"
    ) + pd.Timedelta(0x0101_0101)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (GO_TIME, MOMENT),
        (forge.go_time(62_135_596_800 + SECONDS, 5, 120), "2026-11-23T22:08:21.000000005Z"),
        (b"\2" + forge.go_time(62_135_596_800, 1)[1:] + b"\0", "1970-01-01T00:00:00.000000001Z"),
        (msgpack.Timestamp(SECONDS, 0).to_bytes(), "2026-11-23T22:08:21Z"),
        (msgpack.Timestamp(SECONDS, 7).to_bytes(), "2026-11-23T22:08:21.000000007Z"),
        (msgpack.Timestamp(2**34, 7).to_bytes(), None),
        (forge.go_time(0), None),
        (forge.go_time(0, 0, 0), None),
        (forge.go_time(1), None),
        (forge.go_time(62_135_596_800 + 2**63 // 10**9 + 1), None),
        (forge.go_time(2**62), None),
        (forge.go_time(-(2**62)), None),
        (None, None),
    ],
)
@pytest.mark.parametrize("beside", [[], [GO_TIME], [None]], ids=["alone", "beside another", "beside nil"])
def test_times_are_moments_or_not_set(raw: Any, shown: str | None, beside: list[Any], open_: Open) -> None:
    rows = [{"AccessorID": str(i), "CreateTime": time} for i, time in enumerate([raw, *beside])]
    frame = only(open_, "acl_tokens", *rows)
    assert str(frame.CreateTime.dtype) == "datetime64[ns, UTC]"
    assert frame.CreateTime.iloc[0] == pd.Timestamp(shown) if shown else frame.CreateTime.iloc[0] is pd.NaT


@pytest.mark.parametrize("table", ["nodes", "evals"])
@pytest.mark.parametrize("number", [0, 2**63, 2**64 - 1, None])
def test_an_integer_time_that_is_0_or_too_large_is_not_set(table: str, number: int | None, open_: Open) -> None:
    name, now, unit = ("StatusUpdatedAt", SECONDS, "s") if table == "nodes" else ("CreateTime", NANOSECONDS, "ns")
    frame = only(open_, table, {"ID": "a", name: now}, {"ID": "b", name: number})
    assert frame[name]["a"] == pd.Timestamp(now, unit=unit, tz="UTC")
    assert frame[name]["b"] is pd.NaT


@pytest.mark.parametrize("number", [-1, 1, 2**63 - 1, -(2**63) + 1])
def test_a_duration_of_any_length_is_a_duration(number: int, open_: Open) -> None:
    frame = only(open_, "acl_tokens", {"AccessorID": "a", "ExpirationTTL": number})
    assert frame.ExpirationTTL.iloc[0].value == number


# -- what the schema lacks


def test_a_type_not_known_is_listed_and_readable(open_: Open) -> None:
    values = [{"Name": "gold", "Size": 2**64 - 1, "Blob": b"\xff", "More": {"a": [1]}}, {"Name": "iron", "New": True}]
    snap = open_(forge.archive(forge.state(*(forge.record(200, value) for value in values))))
    assert snap.tables.Type.to_dict() == {"unknown_200": "Unknown(200)"}
    assert snap.tables.Count["unknown_200"] == 2
    frame = snap.unknown_200
    assert isinstance(frame.index, pd.RangeIndex)
    assert dtypes(frame) == {"Name": "str", "Size": "UInt64", "Blob": "large_binary[pyarrow]", "New": "boolean"}
    assert list(frame.Name) == ["gold", "iron"]
    assert list(frame.New) == [pd.NA, True]
    assert snap.table("unknown_200", ["More"]).More[0] == {"a": [1]}
    assert snap.get("unknown_200") == {"Name": "iron", "New": True}, "the last one"


@pytest.mark.parametrize(
    ("values", "guessed", "shown"),
    [
        (["a", None], "str", ["a", None]),
        ([b"\xff", "a"], "large_binary[pyarrow]", [b"\xff", b"a"]),
        ([True, None], "boolean", [True, None]),
        ([-5, 2**63 - 1], "Int64", [-5, 2**63 - 1]),
        ([5, 2**64 - 1], "UInt64", [5, 2**64 - 1]),
        ([0.5, None], "Float64", [0.5, None]),
        ([0.5, 2], "Float64", [0.5, 2]),
        # Nothing holds them all: as nested ones, if asked for.
        ([-5, 2**64 - 1], None, [-5, 2**64 - 1]),
        ([0.5, 2**53 + 1], None, [0.5, 2**53 + 1]),
        (["a", 1], None, ["a", 1]),
        ([True, 1], None, [True, 1]),
        ([[1], {"b": 2}], None, [[1], {"b": 2}]),
        ([None, None], None, [None, None]),
    ],
)
def test_a_field_not_known_is_guessed_by_its_values(
    values: list[Any], guessed: str | None, shown: list[Any], open_: Open
) -> None:
    rows = [{"ID": str(i), "Newer": value} for i, value in enumerate(values)]
    snap = open_(samples.archive({"nodes": rows}))
    assert ("Newer" in snap.nodes) == (guessed is not None)
    column = snap.table("nodes", ["Newer"]).Newer
    assert str(column.dtype) == (guessed or "object")
    assert [None if value is pd.NA or value is None or value != value else value for value in column] == shown


@settings(max_examples=100)
@given(
    st.lists(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.binary(max_size=3)
        | st.text(max_size=3),
        max_size=4,
    )
)
def test_a_guess_never_stands_in_the_way(values: list[Any]) -> None:
    rows = [{"ID": str(i), "Newer": value} for i, value in enumerate(values)]
    with snapkit.open(samples.archive({"nodes": rows})) as snap:
        assert len(snap.nodes) == len(values)
        assert len(snap.arrow("nodes", nested=True)) == len(values)


def test_a_field_that_some_records_lack_is_missing_there(open_: Open) -> None:
    rows: list[dict[str, Any]] = [{"ID": str(i)} for i in range(600)]
    rows[300]["Name"] = "late"
    rows[599] = {"Name": "last", "ID": "599"}
    frame = only(open_, "nodes", *rows)
    assert list(frame.index) == [str(i) for i in range(600)]
    assert frame["Name"].dropna().to_dict() == {"300": "late", "599": "last"}


def test_a_field_of_older_releases_is_shown_where_it_is(open_: Open) -> None:
    assert "Drain" not in only(open_, "nodes")
    assert only(open_, "nodes", {"ID": "a", "Drain": True}).Drain["a"]


@pytest.mark.parametrize("row", [{}, {"Name": "x"}])
def test_a_record_without_its_key_is_a_row_all_the_same(row: dict[str, Any], open_: Open) -> None:
    snap = open_(samples.archive({"nodes": [row], "jobs": [{"ID": "web"}]}))
    assert snap.nodes.index.isna().all()
    assert snap.nodes.index.name == "ID"
    assert len(snap.nodes) == 1
    assert list(snap.jobs.index.names) == ["Namespace", "ID"]
    assert snap.arrow("nodes").num_rows == 1
    assert list(snap.jobs.index.get_level_values("ID")) == ["web"]


# -- what is not as the schema has it


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ("nodes", "CreateIndex", "seven"),
        ("nodes", "CreateIndex", -1),
        ("nodes", "CreateIndex", 1.5),
        ("nodes", "CreateIndex", True),
        ("nodes", "StatusUpdatedAt", 1.5),
        ("acl_tokens", "ExpirationTTL", 1.5),
        ("nodes", "CreateIndex", 2.0**64),
        ("nodes", "TLSEnabled", 1),
        ("nodes", "Name", 5),
        ("nodes", "Name", ["x"]),
        ("nodes", "SecretID", ["x"]),
        ("nodes", "StatusUpdatedAt", "now"),
        ("acl_tokens", "CreateTime", "now"),
        ("acl_tokens", "CreateTime", 5),
        ("acl_tokens", "Hash", 5),
        ("acl_tokens", "ExpirationTTL", "1h"),
        ("acl_tokens", "ExpirationTTL", 2**63),
        ("nodes", "Attributes", forge.pack(0)),
    ],
)
def test_a_value_of_another_type_is_named_and_can_be_left_out(table: str, name: str, value: Any, open_: Open) -> None:
    key = BY_TABLE[table].key[0]
    snap = open_(samples.archive({table: [{key: "a", "Fine": 1, name: value}]}))
    if name == "Attributes":
        assert snap.table(table, [name])[name]["a"] == "\0", "a nested one is shown as it is"
        return
    with pytest.raises(RecordError) as caught:
        snap.table(table)
    assert caught.value.where == f"{BY_TABLE[table].name} records, field {name}"
    assert caught.value.advice
    assert snap.table(table, ["Fine"]).Fine["a"] == 1
    assert name in snap.get(table, "a")


# -- decoded at once, or one by one where a record is odd

ODD_ROWS: dict[str, dict[Any, Any]] = {
    "nothing odd": {},
    "a number that is text": {"ModifyIndex": "seven"},
    "a number too large": {"StatusUpdatedAt": 2**64 - 1},
    "a time too large": {"StatusUpdatedAt": 2**62},
    "text that is not UTF-8": {"Name": b"\xff"},
    "text that is a number": {"Name": 5},
    "a field that is new": {"Newer": 5},
    "a name with a quote": {'New"er': 5},
    "a nested value": {"Attributes": {"a": "b"}},
    "a key that is no text": {5: 5},
}


def shown(source: Any, tables: Sequence[str], reveal: bool = False) -> dict[tuple[str, bool], Any]:
    """Tables with and without their nested fields; or why not."""
    found: dict[tuple[str, bool], Any] = {}
    with snapkit.open(source) as snap:
        for table in tables:
            for nested in (False, True):
                try:
                    columns = snap.columns(table) if nested else None
                    found[table, nested] = snap.table(table, columns, reveal=reveal)
                except SnapshotError as error:
                    found[table, nested] = str(error)
    return found


def same_one_by_one(
    source: Any, tables: Sequence[str], monkeypatch: pytest.MonkeyPatch, reveal: bool = False
) -> dict[tuple[str, bool], Any]:
    """They are the same with all values looked at one by one."""
    at_once = shown(source, tables, reveal)
    with monkeypatch.context() as patch:
        patch.setattr("snapkit.state.snapshot.tables.LESSONS", 0)
        one_by_one = shown(source, tables, reveal)
    for ask, frame in at_once.items():
        if isinstance(frame, str):
            assert frame == one_by_one[ask]
        else:
            pd.testing.assert_frame_equal(frame, one_by_one[ask], check_exact=True)
    return at_once


@pytest.mark.parametrize("odd", ODD_ROWS.values(), ids=ODD_ROWS)
@pytest.mark.parametrize("at", [0, 700, 1_199])
def test_an_odd_record_changes_no_other(odd: dict[Any, Any], at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[Any, Any]] = [
        {"ID": str(i), "Name": f"node-{i}", "ModifyIndex": i, "StatusUpdatedAt": SECONDS + i, "TLSEnabled": i % 2 == 0}
        for i in range(1_200)
    ]
    rows[at] |= odd
    asked = same_one_by_one(samples.archive({"nodes": rows}), ["nodes"], monkeypatch)
    frame = asked["nodes", False]
    if not isinstance(frame, str):
        assert list(frame.Name.drop(str(at))) == [f"node-{i}" for i in range(1_200) if i != at]
        assert list(frame.ModifyIndex) == list(range(1_200))


def test_records_of_many_sorts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"ID": str(i), "Name": f"node-{i}", f"Field{i}": i} for i in range(200)]
    frame = same_one_by_one(samples.archive({"nodes": rows}), ["nodes"], monkeypatch)["nodes", False]
    assert isinstance(frame, pd.DataFrame)
    assert list(frame) == ["Name", *(f"Field{i}" for i in range(200))]
    assert all(frame[f"Field{i}"].dropna().to_dict() == {str(i): i} for i in range(200))


@pytest.mark.parametrize(("name", "reveal"), [("v0.12.12/tuesday", True), ("v2.0.5/friday", False)])
def test_a_real_snapshot_reads_the_same_one_by_one(name: str, reveal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = same_one_by_one(path_of(name), list(BY_TABLE), monkeypatch, reveal)
    assert all(isinstance(frame, pd.DataFrame) for frame in asked.values())


@pytest.mark.parametrize("value", [5, None, [1], "text", 1.5])
@pytest.mark.parametrize("byte", [0, 1, 5, 14, 200])
def test_a_record_that_is_no_map_is_an_error_that_names_its_type(byte: int, value: Any, open_: Open) -> None:
    snap = open_(forge.archive(forge.state(forge.record(byte, value))))
    for ask in (snap.table, snap.columns, snap.arrow):
        with pytest.raises(RecordError) as caught:
            ask(str(snap.tables.index[0]))
        assert snap.tables.Type.iloc[0] in caught.value.where


def test_a_record_of_very_many_fields_is_refused(open_: Open) -> None:
    snap = open_(samples.archive({"nodes": [{f"{i}-{j}": 0 for j in range(600)} for i in range(2)]}))
    with pytest.raises(LimitError, match="1,000 fields"):
        snap.table("nodes")


def test_names_of_fields_may_be_anything(open_: Open) -> None:
    row = {"": 1, "index": 2, 'a"b': 3, "a\0b": 4, b"\xff": 5, "level_0": 6}
    frame = only(open_, "nodes", {"ID": "a"} | row)  # type: ignore[dict-item]
    assert list(frame.columns) == ["", "index", 'a"b', "a\0b", "\N{REPLACEMENT CHARACTER}", "level_0"]
    assert list(frame.iloc[0]) == [1, 2, 3, 4, 5, 6]
