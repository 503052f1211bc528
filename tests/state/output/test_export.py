"""Exports, read back by pandas, pyarrow, sqlite3 and duckdb."""

from __future__ import annotations

import base64
import json
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet
import pytest

import snapkit
from snapkit.errors import NotInSnapshotError, SnapshotError, SourceError, TargetExistsError
from snapkit.state.output import export as export_module
from snapkit.state.output.export import export

from .. import samples

Open = Callable[[str], snapkit.Snapshot]

each_archive = pytest.mark.parametrize("archive", ["v2.0.5/friday", "every-table/every-table"])
each_format = pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "sqlite", "duckdb"])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def read_back(path: Path, table: str) -> list[dict[str, Any]]:
    """The rows of an exported table, as the format has them."""
    match path.suffix:
        case ".csv":
            frame = pd.read_csv(path, dtype="str", keep_default_na=False)
            return frame.to_dict("records")  # type: ignore[return-value]
        case ".jsonl":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        case ".parquet":
            return pyarrow.parquet.read_table(path).to_pylist()
        case ".sqlite":
            with closing(sqlite3.connect(path)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')]
    with duckdb.connect(str(path), read_only=True) as connection:
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def as_text(value: Any) -> Any:
    """What any format has for a value, in words: nested ones as JSON, times by their seconds, bytes as base64."""
    if value is None or value is pd.NaT or value == "" or value != value:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, pd.Timedelta):
        return str(value.value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, str):
        if value[:1] in "[{" and value[-1:] in "]}":
            return json.dumps(json.loads(value), sort_keys=True)
        if len(value) > 18 and value[:2] in ("20", "19") and value[4] == "-" and value[10] in "T ":
            return value[:10] + "T" + value[11:19]
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%dT%H:%M:%S}"
    return str(value)


def expected(snap: snapkit.Snapshot, table: str) -> list[dict[str, str]]:
    frame = snap.table(table, snap.columns(table))
    if snap.columns(table)[:1] and not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    return [
        {str(name): "" if value is pd.NA else as_text(value) for name, value in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]


@each_archive
@each_format
def test_all_tables_are_read_back_as_they_are_shown(archive: str, form: str, opened: Open, tmp_path: Path) -> None:
    snap = opened(archive)
    single = form in ("sqlite", "duckdb")
    target = tmp_path / (f"out.{form}" if single else "out")
    exported = export(snap, target, format=form)
    assert [e.table for e in exported] == list(snap.tables.index)
    if single:
        assert {e.path for e in exported} == {target}
        assert mode(target) == 0o600
    else:
        assert sorted(target.iterdir()) == sorted(target / f"{table}.{form}" for table in snap.tables.index)
        assert {mode(path) for path in target.iterdir()} == {0o600}
    assert [p.name for p in tmp_path.iterdir()] == [target.name], "nothing is left beside it"

    for table, rows, path in exported:
        found = read_back(path, table)
        assert len(found) == rows == len(snap[table])
        ours = expected(snap, table)
        theirs = [{name: as_text(value) for name, value in row.items()} for row in found]
        if form == "sqlite":  # which has no bool
            flags = {name for row in ours for name in row if row[name] in ("true", "false")}
            words = {"1": "true", "0": "false"}
            theirs = [{n: words.get(v, v) if n in flags else v for n, v in row.items()} for row in theirs]
        assert theirs == ours


@each_format
def test_values_of_each_kind_keep_all_their_digits(
    form: str, open_: Callable[..., snapkit.Snapshot], tmp_path: Path
) -> None:
    token = samples.struct("ACLToken", CreateTime=samples.GO_TIME, ModifyIndex=2**64 - 1, CreateIndex=7)
    nothing = {"AccessorID": "empty", **{name: None for name in token if name != "AccessorID"}}
    snap = open_(samples.archive({"acl_tokens": [token, nothing]}))
    path = tmp_path / f"tokens.{form}"
    assert export(snap, path, tables=["acl_tokens"]) == [("acl_tokens", 2, path)]
    assert mode(path) == 0o600
    row, empty = read_back(path, "acl_tokens")
    assert str(row["ModifyIndex"]) == str(2**64 - 1)
    assert str(row["CreateIndex"]) == "7"
    assert row["Name"] == "text-x"
    assert row["SecretID"].startswith("masked:")
    assert str(row["Global"]).lower() in ("true", "1")
    policies = row["Policies"] if form == "jsonl" else json.loads(row["Policies"])
    assert policies == ["text-x"]
    hash_ = base64.b64encode(b"\xff\xfex").decode()
    match form:
        case "csv":
            assert row["CreateTime"] == "2026-11-23 22:08:21.682512345"
            assert (row["ExpirationTTL"], row["Hash"]) == ("90000000000", hash_)
        case "jsonl":
            assert row["CreateTime"] == samples.MOMENT
            assert (row["ExpirationTTL"], row["Hash"]) == (90_000_000_000, hash_)
        case "parquet":
            assert row["CreateTime"] == pd.Timestamp(samples.MOMENT)
            assert (row["ExpirationTTL"], row["Hash"]) == (pd.Timedelta("90s"), b"\xff\xfex")
        case "sqlite":
            assert row["CreateTime"] == samples.MOMENT
            assert (row["ExpirationTTL"], row["Hash"]) == (90_000_000_000, hash_)
        case "duckdb":
            assert str(row["CreateTime"]).startswith("2026-11-23 22:08:21.682512")
            assert (row["ExpirationTTL"], row["Hash"]) == (90_000_000_000, hash_)
    assert {value for name, value in empty.items() if name != "AccessorID"} <= {None, "", pd.NaT}
    assert empty.keys() == row.keys()


def test_no_folder_is_called_like_a_file_by_mistake(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="has no suffix of a format"):
        export(opened("v2.0.5/monday"), tmp_path / "out.xlsx")
    assert list(tmp_path.iterdir()) == []
    export(opened("v2.0.5/monday"), tmp_path / "2026.11", tables=["jobs"])
    assert (tmp_path / "2026.11").is_dir()


@pytest.mark.parametrize("suffix", [".ndjson", ".sqlite3", ".db", ".CSV"])
def test_the_suffix_tells_the_format(suffix: str, opened: Open, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    export(opened("v2.0.5/friday"), path, tables=["nodes"])
    head = path.read_bytes()[:8]
    assert head[:1] == b"{" if suffix == ".ndjson" else head == b"SQLite f" if suffix != ".CSV" else b'"ID"' in head


def test_a_folder_is_parquet_by_default(opened: Open, tmp_path: Path) -> None:
    export(opened("v2.0.5/friday"), tmp_path / "out", tables=["nodes", "jobs"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["jobs.parquet", "nodes.parquet"]


def test_an_empty_table_is_exported_with_its_columns(opened: Open, tmp_path: Path) -> None:
    snap = opened("v2.0.5/friday")
    export(snap, tmp_path / "out.parquet", tables=["csi_volumes"])
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert (table.num_rows, table.column_names) == (0, snap.columns("csi_volumes"))
    export(snap, tmp_path / "out.sqlite", tables=["csi_volumes"])
    assert read_back(tmp_path / "out.sqlite", "csi_volumes") == []


@each_format
@pytest.mark.parametrize("there", ["file", "link"])
def test_it_refuses_to_overwrite_unless_told(form: str, there: str, opened: Open, tmp_path: Path) -> None:
    snap = opened("v2.0.5/friday")
    target = tmp_path / f"out.{form}"
    if there == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(TargetExistsError):
        export(snap, target, tables=["nodes"])
    assert target.is_symlink() or target.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]

    export(snap, target, tables=["nodes"], overwrite=True)
    assert not target.is_symlink()
    assert mode(target) == 0o600
    assert len(read_back(target, "nodes")) == len(snap.nodes)


def test_a_folder_is_never_replaced(opened: Open, tmp_path: Path) -> None:
    for overwrite in (False, True):
        with pytest.raises(TargetExistsError):
            export(opened("v2.0.5/friday"), tmp_path, tables=["nodes"], overwrite=overwrite)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "kwargs", "kind", "message"),
    [
        ("out.xlsx", {"format": "xlsx"}, SnapshotError, "there are csv, jsonl, parquet, sqlite, duckdb"),
        ("out.csv", {}, SnapshotError, "holds one table, and 21 are to be exported"),
        ("out.csv", {"tables": ["nodes", "jobs"]}, SnapshotError, "holds one table, and 2 are"),
        ("out.csv", {"tables": []}, SnapshotError, "holds one table, and 0 are"),
        ("out.sqlite", {"tables": ["job"]}, NotInSnapshotError, "did you mean jobs"),
        ("out", {"tables": ["nodes", "job"]}, NotInSnapshotError, "did you mean jobs"),
        ("no/such/folder/out.csv", {"tables": ["nodes"]}, SourceError, "can't be written"),
        ("no/such/folder/out.duckdb", {}, SourceError, "can't be written"),
        ("no/such/folder/out", {}, SourceError, "can't be written"),
    ],
)
def test_what_can_not_be_exported_is_said_and_leaves_nothing(
    target: str, kwargs: dict[str, Any], kind: type[SnapshotError], message: str, opened: Open, tmp_path: Path
) -> None:
    snap = opened("v2.0.5/friday")
    with pytest.raises(kind) as caught:
        export(snap, tmp_path / target, **kwargs)
    assert message.replace("21", str(len(snap.tables))) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@each_format
@pytest.mark.parametrize("whole", [True, False], ids=["all tables", "one table"])
def test_a_record_that_can_not_be_read_leaves_nothing(
    form: str, whole: bool, open_: Callable[..., snapkit.Snapshot], tmp_path: Path
) -> None:
    snap = open_(samples.archive({"jobs": [samples.struct("Job")], "nodes": [{"ID": "a", "CreateIndex": "x"}]}))
    target = tmp_path / ("out" if whole and form in ("csv", "jsonl", "parquet") else f"out.{form}")
    with pytest.raises(SnapshotError):
        export(snap, target, format=form, tables=None if whole else ["nodes"])
    assert list(tmp_path.iterdir()) == []


@each_format
def test_breaking_it_off_leaves_nothing(
    form: str, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snap = opened("v2.0.5/friday")

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(snap, "arrow", interrupted)
    monkeypatch.setattr(export_module, "records", interrupted)
    for target in (tmp_path / f"out.{form}", tmp_path / "folder"):
        with pytest.raises(KeyboardInterrupt):
            export(snap, target, format=form, tables=["nodes"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["sqlite", "duckdb"])
def test_a_missing_library_is_named_and_leaves_nothing(
    form: str, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(export_module, "import_module", missing)
    with pytest.raises(SnapshotError, match=r"pip install 'snapkit\[export\]'"):
        export(opened("v2.0.5/friday"), tmp_path / f"out.{form}")
    assert list(tmp_path.iterdir()) == []


@each_format
def test_hostile_names_of_fields_and_values_stay_values(
    form: str, open_: Callable[..., snapkit.Snapshot], tmp_path: Path
) -> None:
    row = {"ID": 'a"; DROP TABLE "nodes"; --', "Name": "line\nbreak, \"quoted\"; 'x'", "x'\"; --": "strange"}
    snap = open_(samples.archive({"nodes": [row]}))
    path = tmp_path / f"out.{form}"
    export(snap, path, tables=["nodes"])
    (found,) = read_back(path, "nodes")
    assert list(found.values()) == list(row.values())
    assert list(found) == list(row)


@pytest.mark.parametrize(
    ("form", "tables"),
    [
        ("sqlite", {"nodes": [{"ID": "a", "x\0y": 1}]}),
        ("sqlite", {"nodes": [{"ID": "a", "id": 2}]}),
        ("sqlite", {"scheduler_config": [{}]}),
        ("duckdb", {"scheduler_config": [{}]}),
    ],
)
def test_what_a_database_does_not_take_is_said(
    form: str, tables: dict[str, Any], open_: Callable[..., snapkit.Snapshot], tmp_path: Path
) -> None:
    """Field names are the archive's."""
    target = tmp_path / f"out.{form}"
    with pytest.raises(SnapshotError, match="can't be written") as caught:
        export(open_(samples.archive(tables)), target)
    assert caught.value.where == str(target)
    assert list(tmp_path.iterdir()) == []


def test_duckdb_writes_where_no_other_may_look(
    open_: Callable[..., snapkit.Snapshot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes its file by the umask."""
    connect, modes = duckdb.connect, []

    def noted(path: str) -> Any:
        modes.append(Path(path).parent.stat().st_mode & 0o777)
        return connect(path)

    monkeypatch.setattr(duckdb, "connect", noted)
    export(open_(samples.archive({"nodes": [{"ID": "a"}]})), tmp_path / "out.duckdb", reveal=True)
    assert modes == [0o700]
    assert [path.name for path in tmp_path.iterdir()] == ["out.duckdb"]
    assert (tmp_path / "out.duckdb").stat().st_mode & 0o777 == 0o600
