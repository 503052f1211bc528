"""The records of many archives, each once: what is extracted is what is there, and nothing of it in the clear."""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import snapkit
from snapkit.errors import NotInSnapshotError, SnapshotError
from snapkit.fleet import dataset as module
from snapkit.fleet import views
from snapkit.fleet.catalog import Catalog
from snapkit.fleet.check import check
from snapkit.fleet.dataset import DEFAULT, folder_name, record_schema
from snapkit.fleet.questions import LeftOutWarning
from snapkit.fleet.running import Runner
from snapkit.fleet.views import OF_SNAPSHOT, tables_in
from snapkit.format.schema import BY_TABLE, TYPES, RecordType
from snapkit.state.snapshot.tables import to_frame
from tests import forge
from tests.conftest import ARCHIVES, DATA, path_of

from .series import START, damaged, written

KEY = "a key for tests"
WEEK = [str(path_of(f"v2.0.5/{day}")) for day in ("monday", "tuesday", "wednesday", "thursday", "friday")]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """All real archives, of several clusters and releases."""
    store = tmp_path_factory.mktemp("store")
    catalog = Catalog([str(path_of(name)) for name in ARCHIVES], store=store, key=KEY, level="counts")
    catalog.extract()
    return catalog


@pytest.fixture(scope="module")
def snapshots() -> Iterator[dict[str, snapkit.Snapshot]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(snapkit.open(path_of(name), key=KEY)) for name in ARCHIVES}


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    store = tmp_path_factory.mktemp("week")
    return Catalog(WEEK, store=store, key=KEY, level="counts")


def with_jobs(count: int, hour: int = 0) -> bytes:
    """An archive with some jobs, taken at an hour."""
    jobs = [forge.record(1, {"Namespace": "default", "ID": f"job-{number}"}) for number in range(count)]
    state = forge.LITTLE + b"".join(jobs)
    milliseconds = int((START + timedelta(hours=hour)).timestamp() * 1000)
    return forge.archive(state, forge.meta_json(len(state), ID=f"2-{100 + hour}-{milliseconds}", Index=100 + hour))


# -- what is extracted


@pytest.mark.parametrize("table", DEFAULT)
def test_each_table_of_each_snapshot_is_as_the_snapshot_has_it(
    everything: Catalog, snapshots: dict[str, snapkit.Snapshot], table: str
) -> None:
    frame = everything.table(table)
    key = list(BY_TABLE[table].key)
    for archive, snapshot in snapshots.items():
        found = frame[frame["Snapshot"] == str(path_of(archive))]
        wanted = to_frame(snapshot.arrow(table, nested=True))
        unknown = {name for name in wanted if name not in found}
        assert unknown <= {name for text in found["Other"].dropna() for name in json.loads(text)}
        assert len(found) == len(wanted)
        assert found["record_bytes"].sum() == snapshot.record_bytes(table).sum()
        assert set(found["Created"].dropna()) <= {snapshot.meta.created}
        if len(wanted):
            same = [name for name in wanted if name not in unknown and name not in OF_SNAPSHOT]
            mine, theirs = (f.sort_values(key) if key else f for f in (found, wanted))
            pd.testing.assert_frame_equal(
                mine[same].reset_index(drop=True), theirs[same].reset_index(drop=True), check_column_type=False
            )


def test_equal_records_are_there_once(everything: Catalog, snapshots: dict[str, snapkit.Snapshot]) -> None:
    told = everything.extract()
    distinct = {
        (snapshot.meta.cluster_id, table, bytes(value))
        for snapshot in snapshots.values()
        for table in DEFAULT
        for value in snapshot.records(table).values()
    }
    assert told["Records"].sum() > 1.5 * len(distinct)
    assert sum(everything.dataset.records(table).count_rows() for table in DEFAULT) == len(distinct)
    for table in DEFAULT:
        found = everything.dataset.records(table).to_table(columns=["record_hash", "record_id"])
        ids = found["record_id"].to_pylist()
        assert sorted(ids) == list(range(len(ids)))


def test_what_comes_back_is_known_again(tmp_path: Path) -> None:
    for hour, jobs in enumerate((2, 0, 0, 2)):
        written(tmp_path / "in", f"{hour}.snap", with_jobs(jobs, hour))
    catalog = Catalog(str(tmp_path / "in"), store=tmp_path / "store", level="counts")
    assert catalog.extract(["jobs"])["New"].tolist() == [2, 0, 0, 0]
    assert catalog.sql("SELECT Snapshot, count(*) AS n FROM jobs GROUP BY 1 ORDER BY 1")["n"].tolist() == [2, 2]


def test_an_archive_that_was_extracted_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    written(folder, "0.snap", with_jobs(1))
    assert Catalog(str(folder), store=tmp_path / "store", level="counts").extract(["jobs"])["Status"].tolist() == [
        "extracted"
    ]
    written(folder, "1.snap", with_jobs(2, 1))
    read: list[tuple[str, tuple[str, ...]]] = []
    original = module.read

    def reading(task: module._Task) -> module._Read:
        read.append((task.place.name, task.tables))
        return original(task)

    monkeypatch.setattr(module, "read", reading)
    catalog = Catalog(str(folder), store=tmp_path / "store", level="counts")
    told = catalog.extract(["jobs"])
    assert told["Status"].tolist() == ["there already", "extracted"]
    assert told["New"].tolist() == [0, 1]
    assert read == [("1.snap", ("jobs",))]
    catalog.extract(["jobs", "nodes"])  # another table is read from both, and nothing else
    assert read[1:] == [("0.snap", ("nodes",)), ("1.snap", ("nodes",))]
    assert len(catalog.table("nodes")) == 2
    assert len(catalog.table("jobs")) == 3


def test_what_the_snapshot_before_had_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original = module._decoded

    def decoding(kind: RecordType, records: Any, mask: Any) -> bytes:
        decoded.append(len(records))
        return original(kind, records, mask)

    monkeypatch.setattr(module, "_decoded", decoding)
    told = Catalog(WEEK[:3], store=tmp_path, level="counts").extract(["jobs"])
    assert decoded == told["New"].tolist()
    decoded.clear()
    again = Catalog(WEEK[:4], store=tmp_path, level="counts").extract(["jobs"])  # in a later run, too
    assert decoded == again["New"].tolist()[3:]


def test_a_damaged_archive_is_left_out_and_told(tmp_path: Path) -> None:
    whole = with_jobs(1)
    written(tmp_path / "in", "0.snap", whole)
    written(tmp_path / "in", "1.snap", damaged(with_jobs(2, 1)))
    written(tmp_path / "in", "2.snap", whole)  # the same once more
    (tmp_path / "in" / "3.snap").write_bytes(b"no archive")
    catalog = Catalog(str(tmp_path / "in"), store=tmp_path / "store", level="counts")
    told = catalog.extract(["jobs"])
    status = dict(zip(told["Source"].str[-6:], told["Status"], strict=True))
    assert status == {"0.snap": "extracted", "1.snap": "left out", "3.snap": "left out"}
    assert told.loc[told["Status"] == "left out", "Message"].str.len().gt(20).all()
    for asked in ("catalog.table('jobs')", "catalog.growth()", "catalog.growth('job')", "catalog.sql('FROM jobs')"):
        with pytest.warns(LeftOutWarning, match=r"2 of 3 archives are left out, .*: .*1\.snap") as heard:
            exec(compile(asked, "where it was asked", "exec"), {"catalog": catalog})
        assert [warning.filename for warning in heard] == ["where it was asked"]
        (message,) = (warning.message for warning in heard)
        assert isinstance(message, LeftOutWarning)
        assert ["1.snap" in reason for reason in message.reasons].count(True) == 1


def test_fields_and_types_that_the_schema_lacks(tmp_path: Path) -> None:
    records = [
        forge.record(0, {"ID": "n1", "Name": "a", "Novelty": {"x": 1}, "id": "hostile"}),
        forge.record(0, {"ID": "n2", "Name": "b", "Novelty": 7}),
        forge.record(14, {"ClusterID": "../../x", "CreateTime": 1}),
        forge.record(200, {"Secret": "of an unknown type"}),
    ]
    written(tmp_path / "in", "0.snap", forge.archive(forge.state(*records)))
    catalog = Catalog(str(tmp_path / "in"), store=tmp_path / "store", level="counts")
    catalog.extract()
    nodes = catalog.table("nodes")
    assert [json.loads(text) for text in nodes["Other"]] == [{"Novelty": {"x": 1}, "id": "hostile"}, {"Novelty": 7}]
    assert nodes["ClusterID"].unique().tolist() == ["../../x"]
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.parquet")]
    assert all(path.parts[0] == "store" for path in files)
    assert not any(b"of an unknown type" in path.read_bytes() for path in tmp_path.rglob("*.parquet"))
    with pytest.raises(NotInSnapshotError, match="no table 'unknown_200'"):
        catalog.extract(["unknown_200"])
    with pytest.raises(NotInSnapshotError, match="no table 'time_table'"):
        catalog.table("time_table")


@pytest.mark.parametrize("cluster", ["", "..", "a/b", "x" * 300, "\N{SNOWMAN}", "a\0b"])
def test_a_cluster_id_is_one_part_of_a_path(cluster: str) -> None:
    name = f"cluster={folder_name(cluster)}"
    assert "/" not in name
    assert "\0" not in name
    assert len(name.encode()) < 255


# -- secrets


def test_secrets_are_masked_and_equal_across_archives_and_runs(week: Catalog, tmp_path: Path) -> None:
    tokens = week.table("acl_tokens")
    assert tokens["SecretID"].str.startswith("masked:").all()
    assert (tokens.groupby("AccessorID")["SecretID"].nunique() == 1).all()
    again = Catalog(WEEK[:1], store=tmp_path / "store", key=KEY, level="counts").table("acl_tokens")
    assert set(again["SecretID"]) <= set(tokens["SecretID"])
    other = Catalog(WEEK[:1], store=tmp_path / "other", level="counts").table("acl_tokens")
    assert not set(other["SecretID"]) & set(tokens["SecretID"])


def test_no_secret_is_in_any_file(everything: Catalog, snapshots: dict[str, snapkit.Snapshot]) -> None:
    secrets = {
        token["SecretID"]
        for tokens in DATA.parent.glob("tests/oracles/**/tokens.json")
        for token in json.loads(tokens.read_text())
        if isinstance(token, dict) and token.get("SecretID")
    }
    for snapshot in snapshots.values():
        secrets |= set(snapshot.table("acl_tokens", ["SecretID"], reveal=True)["SecretID"].dropna())
        secrets |= set(snapshot.table("nodes", ["SecretID"], reveal=True)["SecretID"].dropna())
    assert len(secrets) > 20
    assert everything.store is not None
    for path in everything.store.rglob("*.parquet"):
        text = "\n".join(str(column.to_pylist()) for column in pq.read_table(path).columns)
        assert not [secret for secret in secrets if secret in text], path


def test_another_key_is_refused(week: Catalog) -> None:
    week.extract(["namespaces"])
    with pytest.raises(SnapshotError, match="was made with another key"):
        Catalog(WEEK, store=week.store, key="another", level="counts").extract(["namespaces"])


# -- files


def test_files_are_of_their_owner_alone(week: Catalog) -> None:
    week.extract(["jobs"])
    assert week.store is not None
    for path in week.store.rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert path.parent == week.store.parent or stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_a_run_that_is_interrupted_leaves_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog(WEEK, store=tmp_path / "store", key=KEY, level="counts")
    original = module._Writer._write_records
    calls = iter(range(100))

    def stop(self: module._Writer, *args: Any) -> Any:
        piece = original(self, *args)
        if next(calls) == 3:
            raise KeyboardInterrupt
        return piece

    monkeypatch.setattr(module._Writer, "_write_records", stop)
    tables = ["jobs", "acl_policies"]
    with pytest.raises(KeyboardInterrupt):
        catalog.extract(tables)
    monkeypatch.undo()
    again = Catalog(WEEK, store=tmp_path / "store", key=KEY, level="counts")
    told = again.extract(tables)
    assert set(told["Status"]) == {"there already", "extracted"}
    whole = Catalog(WEEK, store=tmp_path / "whole", key=KEY, level="counts")
    for table in tables:
        pd.testing.assert_frame_equal(
            again.table(table).drop(columns="record_id"), whole.table(table).drop(columns="record_id")
        )
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    catalog = Catalog(WEEK[:1], store=tmp_path / "store", level="counts")
    with catalog.dataset._writing(), pytest.raises(SnapshotError, match="written to by another process"):
        Catalog(WEEK[:1], store=tmp_path / "store", level="counts").extract(["jobs"])


@pytest.mark.parametrize("spoil", ["cut", "gone"])
@pytest.mark.parametrize("part", ["members", "records"])
def test_files_of_a_store_that_are_damaged_are_told(tmp_path: Path, part: str, spoil: str) -> None:
    catalog = Catalog(WEEK[:2], store=tmp_path, level="counts")
    catalog.extract(["jobs", "acl_policies"])
    for path in (tmp_path / "dataset" / part).rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:50]) if spoil == "cut" else path.unlink()
    for ask in (
        lambda: catalog.table("jobs"),
        lambda: catalog.sql("SELECT count(ID) FROM jobs"),
        lambda: catalog.history("jobs", "shop", "web"),
        lambda: catalog.when("jobs", "shop", "web", "Stop == true"),
        lambda: Catalog(WEEK[:3], store=tmp_path, level="counts").extract(["jobs"]),
    ):
        with pytest.raises(SnapshotError) as raised:
            ask()
        assert "parquet" in str(raised.value)
    if part == "records":
        with pytest.raises(SnapshotError, match="parquet"):
            catalog.anomalies()


def test_what_of_a_store_was_altered_by_hand_is_told(tmp_path: Path) -> None:
    catalog = Catalog(WEEK[:1], store=tmp_path, level="counts")
    catalog.extract(["jobs"])
    path = tmp_path / "dataset" / "snapshots.json"
    text = path.read_text()
    for old, new in (
        ('"number":1', '"number":"x"'),
        ('"snapshots":[', '"snapshots":7,"x":['),
        ('"tables":{', '"rows":{'),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(SnapshotError, match="is damaged"):
            Catalog(WEEK[:1], store=tmp_path, level="counts").table("jobs")


def test_what_another_process_has_extracted_meanwhile_is_not_read_again(tmp_path: Path) -> None:
    one, other = (Catalog(WEEK[:2], store=tmp_path, level="counts") for _ in range(2))
    assert not other.dataset.has(other._whole()[0], "jobs")
    one.extract(["jobs"])
    assert other.extract(["jobs"])["Status"].tolist() == ["there already"] * 2
    shutil.rmtree(tmp_path / "dataset")
    other._dataset = None
    assert other.extract(["jobs"])["Status"].tolist() == ["extracted"] * 2


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": "snapkit.dataset/9"}', "\xff"])
def test_what_is_no_dataset_is_said_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "snapshots.json").write_text(content, "latin-1")
    with pytest.raises(SnapshotError, match=r"snapshots\.json"):
        Catalog(WEEK[:1], store=tmp_path, level="counts").extract(["jobs"])


def test_a_catalog_of_metadata_alone_can_not_answer(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="no more than metadata"):
        Catalog(WEEK[:1], level="meta").extract(["jobs"])


# -- SQL


def test_a_time_that_no_frame_can_hold_is_none(tmp_path: Path) -> None:
    """As a server whose clock is in the year 33658 would have it."""
    state = forge.LITTLE
    for number, identity in enumerate(("2-9-999999999999999", "2-8-1795471701682")):
        data = forge.archive(state, forge.meta_json(len(state), ID=identity, Index=9 - number))
        (tmp_path / f"{number}.snap").write_bytes(data)
    catalog = Catalog(str(tmp_path))
    assert catalog.table("nodes")["Created"].isna().tolist() == [True, False]
    assert len(catalog.history("nodes", "n1").states) == 1
    assert catalog.growth().shape[0] == 1
    assert check(catalog).to_text()


def test_sql_over_all_archives(week: Catalog) -> None:
    found = week.sql(
        """
        SELECT s.Snapshot, count(j.ID) AS Jobs, any_value(j."Index") AS Index
        FROM snapshots s LEFT JOIN jobs j USING (Snapshot) GROUP BY ALL ORDER BY max(s.Created)
        """
    )
    assert found["Snapshot"].tolist() == WEEK
    assert found["Jobs"].tolist() == [len(snapkit.open(path).jobs) for path in WEEK]
    assert found["Index"].tolist() == [snapkit.open(path).meta.index for path in WEEK]
    images = week.sql("SELECT DISTINCT j.TaskGroups->>'$[0].Name' AS g FROM jobs j WHERE ID = 'web'")
    assert images["g"].tolist() == ["front"]
    total = week.sql("SELECT sum(record_bytes) AS b, max(ModifyTime) AS m FROM allocs")
    assert str(total.dtypes["b"]) == "Int64"
    assert str(total.dtypes["m"]) == "datetime64[ns, UTC]"


@pytest.mark.parametrize("table", ["jobs", "evals", "allocs", "periodic_launches", "acl_tokens", "csi_volumes"])
def test_sql_has_what_the_table_has(everything: Catalog, table: str) -> None:
    """Of every dtype, times to the nanosecond."""
    by = ["Snapshot", "record_id"]
    found = everything.sql(f"SELECT * FROM {table}").sort_values(by, ignore_index=True)
    wanted = everything.table(table).sort_values(by, ignore_index=True)
    pd.testing.assert_frame_equal(found, wanted, check_column_type=False)


def test_durations_and_fields_that_are_newer_than_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = {"AccessorID": "a", "ExpirationTTL": 90_000_000_000}
    written(tmp_path / "in", "0.snap", forge.archive(forge.LITTLE + forge.record(12, token)))
    catalog = Catalog(str(tmp_path / "in"), store=tmp_path / "my [store]'s", level="counts")
    query = "SELECT ExpirationTTL, Newer FROM acl_tokens"
    with pytest.raises(SnapshotError, match="Newer"):
        catalog.sql(query)
    of_now = module.record_schema

    def newer(kind: RecordType) -> Any:
        return of_now(kind).append(pa.field("Newer", pa.int64()))

    for where in (module, views):
        monkeypatch.setattr(where, "record_schema", newer)
    (row,) = catalog.sql(query).to_dict("records")
    assert row["ExpirationTTL"] == pd.Timedelta(seconds=90)
    assert pd.isna(row["Newer"])
    assert catalog.table("acl_tokens")["Newer"].isna().all()


def test_sql_reads_no_other_file_of_the_store(week: Catalog) -> None:
    week.extract(["jobs"])
    assert week.store is not None
    for name in ("key", "catalog.parquet", "dataset/snapshots.json"):
        for function in ("read_text", "read_blob", "read_parquet"):
            with pytest.raises(SnapshotError, match="can't be answered"):
                week.sql(f"SELECT * FROM {function}('{week.store / name}') -- jobs")
    link = "(SELECT sql FROM duckdb_views() WHERE view_name = 'jobs')"
    (text,) = week.sql(f"SELECT {link} AS sql FROM jobs LIMIT 1")["sql"]
    held = str(text).partition("read_parquet")[2].split("'")[1].partition("/records/")[0]
    assert Path(held).parent == Path(tempfile.gettempdir())
    with pytest.raises(SnapshotError, match="can't be answered"):
        week.sql(f"SELECT * FROM read_text('{held}/records/../key') -- jobs")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT * FROM glob('/etc/*')",
        "COPY jobs TO 'x.csv'",
        "ATTACH 'x.db'",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW jobs",
        "SET threads = 1",
        "PRAGMA database_list",
        "INSTALL httpfs",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY jobs TO 'x.csv'",
        "",
        "   ",
        "SELEC 1",
        "SELECT * FROM nothing",
        "SELECT Nothing FROM jobs",
        "SELECT * FROM WEEK",
        "SELECT 1/'a'",
        "SELECT * FROM duckdb_secrets()",
        "SELECT '\ud800'",
        "SELECT union_value(a:=1)",
        "SELECT INTERVAL 2000000000 DAYS",
    ],
)
def test_sql_that_does_anything_else_is_an_error_that_says_what(
    week: Catalog, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    week.extract(["jobs"])
    with pytest.raises(SnapshotError) as raised:
        week.sql(query)
    assert str(raised.value).startswith("sql: ")
    assert raised.value.advice
    assert not list(tmp_path.iterdir())


def test_an_archive_that_lacks_a_table_is_not_one_whose_table_is_empty(tmp_path: Path) -> None:
    paths = [tmp_path / "a.snap", tmp_path / "b.snap"]
    for hour, path in enumerate(paths):
        path.write_bytes(with_jobs(1, hour))
    catalog = Catalog(str(tmp_path), level="counts")
    catalog.extract(["jobs"])
    paths[1].rename(tmp_path / "elsewhere")
    query = "SELECT count(*) AS n FROM snapshots"
    assert catalog.sql(query)["n"].tolist() == [2]
    assert catalog.sql(f"{query} LEFT JOIN jobs USING (Snapshot)")["n"].tolist() == [2]
    with pytest.warns(LeftOutWarning, match="1 of 2 archives"):
        assert catalog.sql(f"{query} LEFT JOIN allocs USING (Snapshot)")["n"].tolist() == [1]


def test_tables_are_found_in_queries() -> None:
    assert tables_in('select * from Jobs join "acl_tokens" using (x) -- time_table') == ["jobs", "acl_tokens"]
    assert tables_in("select jobs_of_mine from x") == []


def test_every_type_has_a_schema_without_columns_that_collide() -> None:
    for kind in TYPES:
        names = [name.lower() for name in record_schema(kind).names]
        assert len(set(names)) == len(names)


# -- where it is done


def test_more_processes_and_a_dask_cluster_give_the_same(tmp_path: Path, client: Any) -> None:
    tables = ["jobs", "allocs", "acl_tokens"]
    here = Catalog(WEEK, store=tmp_path / "here", key=KEY, level="counts")
    told = here.extract(tables)
    options: list[dict[str, Any]] = [{"workers": 2}, {"client": client}]
    for n, where in enumerate(options):
        there = Catalog(WEEK, store=tmp_path / str(n), key=KEY, level="counts", **where)
        there._entries, there._places = {e.location: e for e in here.entries()}, here._places  # tested elsewhere
        pd.testing.assert_frame_equal(there.extract(tables), told)
        for table in tables:
            pd.testing.assert_frame_equal(there.table(table), here.table(table))


def test_an_archive_that_workers_die_of_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog(WEEK[:2], store=tmp_path / "store", level="counts")
    original = Runner.run

    def dies(self, function, items, *args, failed=None):  # type: ignore[no-untyped-def]
        for item in items:
            yield failed(item, "ended several workers") if item.place.name == "monday.snap" else function(item)

    catalog.entries()
    monkeypatch.setattr(Runner, "run", dies)
    told = catalog.extract(["jobs"])
    monkeypatch.setattr(Runner, "run", original)
    assert told["Status"].tolist() == ["left out", "extracted"]
    assert told["Message"][0].endswith("monday.snap: ended several workers")
