"""A snapshot as a whole: tables, single objects, bytes, search and how it shows itself."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import snapkit
from snapkit.errors import NotInSnapshotError, RecordError, SnapshotError
from snapkit.format.schema import TYPES, record_type
from tests import forge

from ...conftest import ARCHIVES, DATA, RAFT_DIRECTORIES, path_of
from .. import samples

Open = Callable[..., snapkit.Snapshot]

WEEK = [archive for archive in ARCHIVES if archive.startswith("v2.0.5")]
FRIDAY = "v2.0.5/friday"
HOSTILE = "<script>alert('x')</script>&\"\n"


def no_such(ask: Callable[[], Any]) -> NotInSnapshotError:
    with pytest.raises(NotInSnapshotError) as caught:
        ask()
    assert isinstance(caught.value, SnapshotError)
    assert isinstance(caught.value, KeyError)
    return caught.value


# -- where it comes from


def all_tables(snap: snapkit.Snapshot) -> Mapping[str, str]:
    return {table: snap.table(table, snap.columns(table), reveal=True).to_csv() for table in snap.tables.index}


@pytest.mark.parametrize("archive", ["v0.12.12/monday", FRIDAY])
def test_all_sources_of_the_same_state_give_the_same_tables(archive: str, open_: Open, tmp_path: Path) -> None:
    path = path_of(archive)
    state = forge.untar(path.read_bytes())[1][1]
    (tmp_path / "state.bin").write_bytes(state)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "state.bin").write_bytes(state)
    (tmp_path / "copy" / "meta.json").write_bytes(forge.meta_json(len(state)))
    sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), memoryview(path.read_bytes())]
    sources += [f"file://{path}", tmp_path / "state.bin", state, tmp_path / "copy"]
    first, *rest = (all_tables(open_(source)) for source in sources)
    assert len(first) > 10
    assert all(tables == first for tables in rest)


@pytest.mark.parametrize("folder", RAFT_DIRECTORIES)
def test_a_raft_directory_is_its_state_bin(folder: str, open_: Open) -> None:
    copy, bare = open_(DATA / folder), open_(DATA / folder / "state.bin")
    assert all_tables(copy) == all_tables(bare)
    assert (copy.archive.kind, bare.archive.kind) == ("raft directory", "state file")
    assert (bare.meta.id, bare.meta.index, bare.meta.created, bare.meta.servers) == ("", None, None, ())


def test_progress_is_told(open_: Open) -> None:
    path = path_of(FRIDAY)
    told: list[tuple[int, int | None]] = []
    open_(path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (path.stat().st_size, path.stat().st_size)
    assert told == sorted(told)


@pytest.mark.parametrize("milliseconds", ["999999999999999", "9223372036855", "0", "x", "9" * 400])
def test_a_time_that_can_not_be_shown_is_unknown(milliseconds: str, open_: Open) -> None:
    state = forge.state()
    snap = open_(forge.archive(state, forge.meta_json(len(state), ID=f"2-77-{milliseconds}")))
    assert snap.meta.created is None
    assert "Taken unknown" in repr(snap)


# -- tables by name


def test_a_table_is_had_by_attribute_and_by_item(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    for kind in TYPES:
        assert getattr(snap, kind.table).equals(snap[kind.table])
        assert snap.table(kind.table).equals(snap[kind.table])


def test_names_are_completed(open_: Open) -> None:
    snap = open_(forge.archive(forge.state(forge.record(200, {"a": 1}), forge.record(2, {"Key": "a"}))))
    names = {kind.table for kind in TYPES} | {"unknown_200"}
    assert names | {"tables", "meta", "get", "search"} <= set(dir(snap))
    assert set(snap._ipython_key_completions_()) == names
    assert list(snap.tables.index) == ["unknown_200", "indexes"] or set(snap.tables.index) == {"unknown_200", "indexes"}


@pytest.mark.parametrize("name", ["job", "Jobs", "unknown_0", "unknown_256", "nonsense"])
def test_an_attribute_that_is_no_table_is_an_attribute_error(name: str, open_: Open) -> None:
    snap = open_(forge.archive(forge.state()))
    assert not hasattr(snap, name)
    with pytest.raises(AttributeError, match=f"'{name}'"):
        getattr(snap, name)


def test_private_names_that_notebooks_ask_for_are_not_there(open_: Open) -> None:
    snap = open_(forge.archive(forge.state()))
    assert not hasattr(snap, "_repr_png_")
    assert not hasattr(snap, "_ipython_canary_method_should_not_exist_")


@pytest.mark.parametrize(
    ("wanted", "advice"),
    [
        ("job", "jobs"),
        ("alloc", "allocs"),
        ("acl_token", "acl_tokens"),
        ("variable", "variables"),
        ("zzz", "there are:"),
    ],
)
def test_a_table_that_is_not_there_is_told_with_suggestions(wanted: str, advice: str, open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    for ask in (snap.table, snap.__getitem__, snap.columns, snap.arrow, snap.record_bytes, snap.get):
        error = no_such(lambda ask=ask: ask(wanted))  # type: ignore[misc]
        assert f"no table {wanted!r}" in error.what
        assert advice in error.advice
    with pytest.raises(NotInSnapshotError):
        list(snap.objects(wanted))


def test_columns_come_as_they_were_asked_for(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    frame = snap.table("jobs", ["TaskGroups", "Stop", "Priority", "Stop", "ID", "Meta"])
    assert list(frame.columns) == ["TaskGroups", "Stop", "Priority", "Meta"]
    assert list(frame.index.names) == ["Namespace", "ID"]
    web: Any = frame.loc[("shop", "web")]
    assert isinstance(web.TaskGroups, list)
    assert isinstance(web.TaskGroups[0], dict)
    assert web.TaskGroups == snap.get("jobs", "shop", "web")["TaskGroups"]
    assert list(snap.table("jobs", []).columns) == []
    assert len(snap.table("jobs", [])) == len(snap.jobs)
    assert len(snap.table("scheduler_config", [])) == 1


def test_a_column_that_is_not_there_is_told_with_suggestions(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    error = no_such(lambda: snap.table("jobs", ["Priorty"]))
    assert error.where == "table jobs"
    assert "Priority" in error.advice
    assert "Priority" in str(error)
    assert list(snap.table("jobs", ["VaultToken"]).VaultToken.isna()), "older releases have it"


@pytest.mark.parametrize("archive", ARCHIVES)
def test_all_columns_of_all_tables_can_be_shown(archive: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    for table in snap.tables.index:
        frame = snap.table(table, snap.columns(table))
        assert set(snap[table].columns) <= set(frame.columns)
        arrow = snap.arrow(table, nested=True)
        assert arrow.column_names == snap.columns(table)
        assert len(arrow) == len(frame)


def test_frames_are_copies(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    before = snap.jobs
    for changed in (snap.jobs, snap["jobs"], snap.table("jobs")):
        changed["Priority"] = 1
        changed.iloc[0, changed.columns.get_loc("Name")] = "changed"  # type: ignore[index]
        changed["New"] = "x"
        del changed["Status"]
        assert snap.jobs.equals(before)
    tables = snap.tables
    tables["Count"] = 0
    assert snap.tables.Count.sum() > 0


# -- single objects


def test_an_object_is_got_by_its_key_in_parts_or_as_a_tuple(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    job = snap.get("jobs", "shop", "web")
    assert (job["Namespace"], job["ID"]) == ("shop", "web")
    assert snap.get("jobs", ("shop", "web")) == job
    version = snap.job_versions.index[0]
    assert snap.get("job_versions", *version) == snap.get("job_versions", version)
    assert snap.get("job_versions", version)["Version"] == version[2]
    assert snap.get("scheduler_config")["SchedulerAlgorithm"]
    assert json.loads(json.dumps(job)) == job


def test_an_object_that_is_not_there_is_told_with_suggestions(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    error = no_such(lambda: snap.get("jobs", "shop", "wbe"))
    assert error.what == "has no record 'shop/wbe'"
    assert error.where == "table jobs"
    assert "shop/web" in error.advice
    assert "takes 2 (Namespace, ID)" in no_such(lambda: snap.get("jobs", "web")).what
    assert "takes 0 (no key)" in no_such(lambda: snap.get("scheduler_config", "x")).what
    assert "it is empty" in no_such(lambda: snap.get("csi_volumes", "a", "b")).advice
    assert "it is empty" in no_such(lambda: snap.get("unknown_200")).advice


def test_of_records_with_one_key_the_last_wins(open_: Open) -> None:
    rows = [{"ID": "a", "Name": name} for name in ("first", "second", "last")]
    snap = open_(samples.archive({"nodes": [*rows, {"ID": "b", "Name": "other"}]}))
    assert snap.get("nodes", "a")["Name"] == "last"
    assert list(snap.nodes.Name) == ["first", "second", "last", "other"], "the table has all of them"
    assert list(snap.nodes.loc["a"].Name) == ["first", "second", "last"]


def test_objects_are_all_in_order(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    for table in snap.tables.index:
        found = list(snap.objects(table))
        assert len(found) == snap.tables.Count[table]
        if table == "jobs":
            assert found == [snap.get(table, key) for key in snap.jobs.index]


def test_a_subset_of_objects_is_what_was_asked_for(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    whole = list(snap.objects("allocs"))
    part = list(snap.objects("allocs", {"ID": None, "Job": ["ID", "Meta"], "Metrics": None, "NoSuch": None}))
    assert part == [
        {"ID": a["ID"], "Job": a["Job"] and {"ID": a["Job"]["ID"], "Meta": a["Job"]["Meta"]}, "Metrics": a["Metrics"]}
        for a in whole
    ]
    assert list(snap.objects("allocs", {})) == [{}] * len(whole)


def test_an_object_that_can_not_be_shown_is_named(open_: Open) -> None:
    deep: Any = "needle"
    for _ in range(250):
        deep = [deep]
    snap = open_(forge.archive(forge.state(forge.record(2, {"Key": "a"}), forge.record(0, {"ID": "n", "Meta": deep}))))
    place = "state.bin record 2 (Node), byte 9"
    for ask in (lambda: snap.get("nodes", "n"), lambda: list(snap.objects("nodes")), lambda: snap.search("needle")):
        with pytest.raises(RecordError, match="nested more than 200 deep") as caught:
            ask()
        assert caught.value.where == place
    for table in (lambda: snap.table("nodes", ["Meta"]), lambda: snap.arrow("nodes", nested=True)):
        with pytest.raises(RecordError, match="nested more than 200 deep") as caught:
            table()
        assert caught.value.where == "Node records, field Meta"
    assert len(snap.nodes) == 1


# -- as bytes and as Arrow


@pytest.mark.parametrize("archive", ARCHIVES)
def test_the_bytes_of_records_add_up(archive: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    first = record_type(next(snap.raw())[0]).table
    for table in snap.tables.index:
        sizes = snap.record_bytes(table)
        assert (sizes.name, str(sizes.dtype)) == ("Bytes", "Int64")
        header = len(snap.header) if table == first else 0
        assert sizes.sum() + header == snap.tables.Bytes[table]
        if table != "time_table":
            assert sizes.index.equals(snap[table].index)
    assert sum(snap.record_bytes(table).sum() for table in snap.tables.index) + len(snap.header) == snap.meta.size
    assert snap.tables.Bytes.sum() == snap.meta.size


@pytest.mark.parametrize("archive", ARCHIVES)
def test_header_records_and_chunks_are_state_bin(archive: str, open_: Open) -> None:
    state = forge.untar(path_of(archive).read_bytes())[1][1]
    snap = open_(path_of(archive))
    assert snap.header == b"\x80"
    assert b"".join(snap.chunks()) == state
    assert b"".join(snap.chunks(1_000)) == state
    assert [len(chunk) for chunk in snap.chunks(len(state) - 1)] == [len(state) - 1, 1]
    assert snap.header + b"".join(bytes([byte]) + value for byte, value in snap.raw()) == state


@pytest.mark.parametrize("header", [b"\x80", b"\x81\xa1a\x01", b"\xde\x00\x01\xa1a\x01"])
def test_a_header_that_is_not_empty_stands_apart(header: bytes, open_: Open) -> None:
    snap = open_(forge.archive(header + forge.record(2, {"Key": "a"})))
    assert snap.header == header
    assert [byte for byte, _ in snap.raw()] == [2]
    assert open_(forge.archive(header)).header == header


def test_arrow_has_the_columns_of_the_table(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    flat, nested = snap.arrow("jobs"), snap.arrow("jobs", nested=True)
    assert set(flat.column_names) == {*snap.jobs.columns, "Namespace", "ID"}
    assert set(nested.column_names) == set(snap.columns("jobs"))
    groups = [json.loads(text) for text in nested["TaskGroups"].to_pylist()]
    assert groups == [snap.get("jobs", key)["TaskGroups"] for key in snap.jobs.index]
    assert flat["CreateIndex"].to_pylist() == list(snap.jobs.CreateIndex)
    assert snap.arrow("csi_volumes").num_rows == 0


# -- search


def test_a_search_names_table_key_path_and_context(open_: Open) -> None:
    group = {
        "Name": "front",
        "Tasks": [{"Name": "a"}, {"Name": "b", "Meta": {"owner": "x" * 50 + "needle" + "y" * 50}}],
    }
    jobs = [{"Namespace": "shop", "ID": "web", "TaskGroups": [group]}, {"Namespace": "shop", "ID": "needle"}]
    snap = open_(samples.archive({"jobs": jobs, "acl_policies": [{"Name": "p", "Rules": 'a = "needle"'}]}))
    found = snap.search("needle")
    assert [*found.itertuples(index=False, name=None)] == [
        ("jobs", ("shop", "web"), "TaskGroups[0].Tasks[1].Meta.owner", "…" + "x" * 40 + "needle" + "y" * 40 + "…"),
        ("jobs", ("shop", "needle"), "ID", "needle"),
        ("acl_policies", ("p",), "Rules", 'a = "needle"'),
    ]
    assert {name: str(kind) for name, kind in found.dtypes.items()} == {
        "Table": "str",
        "Key": "object",
        "Path": "str",
        "Context": "str",
    }
    assert [*snap.search(b"needle").itertuples()] == [*found.itertuples()]


@pytest.mark.parametrize(("length", "ellipsis"), [(0, ""), (1, ""), (40, ""), (41, "…")])
@pytest.mark.parametrize("letter", ["x", "é", "\N{HOT BEVERAGE}", "\N{SNOWMAN}"])
def test_context_is_40_characters_whole_ones(length: int, ellipsis: str, letter: str, open_: Open) -> None:
    snap = open_(samples.archive({"nodes": [{"ID": "n", "Name": letter * length + "needle" + letter * length}]}))
    around = letter * min(length, 40)
    assert list(snap.search("needle").Context) == [f"{ellipsis}{around}needle{around}{ellipsis}"]


def test_a_search_finds_keys_of_maps(open_: Open) -> None:
    snap = open_(samples.archive({"nodes": [{"ID": "n", "Attributes": {"the needle": "x", "b": "y"}}]}))
    assert [*snap.search("needle").itertuples(index=False, name=None)] == [
        ("nodes", ("n",), "Attributes.the needle", "the needle")
    ]


def test_a_search_finds_bytes(open_: Open) -> None:
    snap = open_(samples.archive({"variables": [{"Namespace": "a", "Path": "b", "Data": b"\xff\x00needle\xfe"}]}))
    assert list(snap.search(b"\xff\x00").Path) == ["Data"]
    assert list(snap.search(b"\x00need").Context) == ["\N{REPLACEMENT CHARACTER}\0needle\N{REPLACEMENT CHARACTER}"]


def test_a_search_finds_more_than_one_place_in_a_record_and_misses_none_after_a_false_one(open_: Open) -> None:
    row = {"ID": "n", "Name": "needle needle", "Links": {"a": "needle", "b": "needle"}}
    # The type byte 64 is "@", and the text ends one record: "@n" is nowhere in a value but at last.
    rows = forge.record(64, {"Name": "x"}), forge.record(0, {"ID": "a@n"}), forge.record(0, row)
    snap = open_(forge.archive(forge.state(*rows)))
    assert list(snap.search("needle").Path) == ["Name", "Links.a", "Links.b"]
    assert list(snap.search(b"@\x81").Path) == []
    assert list(snap.search("@n").Key) == [("a@n",)]
    assert list(snap.search(b"\x80@").Path) == [], "in the header"


def test_a_search_knows_case_and_finds_nothing_where_there_is_nothing(open_: Open) -> None:
    snap = open_(path_of(FRIDAY))
    for nothing in ("NOMAD-NOWHERE", b"\xde\xad\xbe\xef\x99", "JobModifyIndex"):
        found = snap.search(nothing)
        assert len(found) == 0
        assert list(found.columns) == ["Table", "Key", "Path", "Context"]
        assert str(found.Context.dtype) == "str"


@pytest.mark.parametrize("nothing", ["", b""])
def test_an_empty_search_is_refused(nothing: str | bytes, open_: Open) -> None:
    with pytest.raises(SnapshotError, match="the text to search for: is empty"):
        open_(forge.archive(forge.state())).search(nothing)


@pytest.mark.parametrize("archive", WEEK)
def test_every_job_is_found_by_its_id(archive: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    for namespace, job in snap.jobs.index:
        found = snap.search(job)
        hits = found[(found.Table == "jobs") & (found.Path == "ID") & (found.Context == job)]
        assert (namespace, job) in list(hits.Key)


# -- how it shows itself


@pytest.mark.parametrize("archive", ARCHIVES)
def test_it_shows_what_it_is(archive: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    for shown in (repr(snap), snap._repr_html_()):
        assert str(path_of(archive)) in shown
        assert snap.meta.cluster_id is None or snap.meta.cluster_id in shown
        assert f"index {snap.meta.index}" in shown
        assert f"{snap.meta.size:,} bytes" in shown
        assert snap.tables.Type.iloc[0] in shown
    assert "\n" not in repr(snap)


def test_hostile_strings_are_escaped_in_html(open_: Open, tmp_path: Path) -> None:
    state = forge.state(forge.record(14, {"ClusterID": HOSTILE}))
    source = io.BytesIO(forge.archive(state, forge.meta_json(len(state), ID=HOSTILE, Configuration={"Servers": []})))
    source.name = HOSTILE  # type: ignore[misc]
    snap = open_(source)
    assert snap.meta.cluster_id == HOSTILE
    shown = snap._repr_html_()
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&amp;&quot;") == 2, "source and cluster"


def test_an_empty_snapshot_shows_itself(open_: Open) -> None:
    snap = open_(forge.archive(forge.state()))
    assert "0 records in 0 tables" in repr(snap)
    assert "no records" in snap._repr_html_()
    assert len(snap.tables) == 0
    assert snap.meta.cluster_id is None
    assert snap.meta.version_range == ""


def test_oddities_are_shown(open_: Open) -> None:
    snap = open_(forge.archive(forge.state()) + bytes(16))
    (oddity,) = snap.archive.oddities
    assert oddity.message in repr(snap)
    assert "Note" in snap._repr_html_()


# -- the end of it


def test_after_close_frames_stay_and_nothing_else(open_: Open) -> None:
    with snapkit.open(path_of(FRIDAY)) as snap:
        jobs, tables = snap.jobs, snap.tables
        whole = snap.table("jobs", ["TaskGroups"])
        arrow = snap.arrow("jobs")
        copies = jobs.copy(deep=True), whole.copy(deep=True)
        raw = next(snap.raw())[1]
    gc.collect()
    assert jobs.equals(copies[0])
    assert whole.equals(copies[1])
    assert len(tables) > 10
    assert arrow.num_rows == len(jobs)
    assert bytes(raw)
    asks: list[Callable[[], Any]] = [
        lambda: snap.jobs,
        lambda: snap["evals"],
        lambda: snap.table("evals", ["ID"]),
        lambda: snap.arrow("jobs"),
        lambda: snap.columns("jobs"),
        lambda: snap.get("jobs", "shop", "web"),
        lambda: list(snap.objects("jobs")),
        lambda: list(snap.raw()),
        lambda: list(snap.chunks()),
        lambda: snap.header,
        lambda: snap.search("web"),
        lambda: snap.record_bytes("jobs"),
        lambda: snap.unlock(),
    ]
    for ask in asks:
        with pytest.raises(SnapshotError, match="is closed"):
            ask()
    snap.close()


def test_with_closes_after_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), snapkit.open(path_of(FRIDAY)) as snap:
        _ = 1 / 0
    with pytest.raises(SnapshotError, match="is closed"):
        _ = snap.jobs


def test_record_bytes_of_an_empty_table(open_: Open) -> None:
    sizes = open_(forge.archive(forge.state())).record_bytes("jobs")
    assert len(sizes) == 0
    assert isinstance(sizes, pd.Series)
    assert list(sizes.index.names) == ["Namespace", "ID"]


@pytest.mark.parametrize("archive", ["every-table/every-table", "v1.4.14/monday"])
def test_a_row_is_its_object(archive: str, opened: Callable[[str], snapkit.Snapshot]) -> None:
    snapshot = opened(archive)
    for table in snapshot.tables.index:
        frame = snapshot.table(table, [])
        objects = [snapshot.at(table, position) for position in range(len(frame))]
        expected: Any = list(snapshot.objects(table))
        assert objects == (expected[0] if table == "time_table" else expected)
        for position in (-1, len(frame)):
            with pytest.raises(NotInSnapshotError, match="has no row"):
                snapshot.at(table, position)
