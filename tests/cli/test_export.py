"""`snapkit export`: every format read back by its own library, with secrets masked, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import snapkit

from ..conftest import path_of
from . import failed, fine, run
from .test_show import secrets

MONDAY = path_of("v2.0.5/monday")
Open = Callable[[str], snapkit.Snapshot]
ONE_TABLE = ["csv", "jsonl", "parquet"]
DATABASES = ["sqlite", "duckdb"]


def read(path: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table in an exported file."""
    match path.suffix:
        case ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        case ".jsonl":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        case ".parquet":
            rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
            return rows
        case ".sqlite":
            with closing(sqlite3.connect(path)) as connection:
                cursor = connection.execute(f'SELECT * FROM "{table}"')
                return [dict(zip([c[0] for c in cursor.description], row, strict=True)) for row in cursor]
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(path), read_only=True) as connection:
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        return [dict(zip([c[0] for c in cursor.description], row, strict=True)) for row in cursor.fetchall()]


@pytest.mark.parametrize("form", [*ONE_TABLE, *DATABASES])
def test_a_table_comes_back_from_every_format(form: str, tmp_path: Path, opened: Open) -> None:
    dest = tmp_path / f"out.{form}"
    said = fine("export", MONDAY, dest, "--table", "allocs")
    assert said == f"{dest}: allocs, 13 rows, secrets masked\n"
    rows = read(dest, "allocs")
    snap = opened("v2.0.5/monday")
    assert [list(row) for row in rows] == [snap.columns("allocs")] * 13
    assert [row["ID"] for row in rows] == list(snap.allocs.index)
    assert {row["ClientStatus"] for row in rows} == set(snap.allocs.ClientStatus)
    states = rows[0]["TaskStates"]
    assert states == {} or "State" in str(states)


@pytest.mark.parametrize("form", DATABASES)
def test_a_database_takes_all_tables(form: str, tmp_path: Path, opened: Open) -> None:
    done = json.loads(fine("export", MONDAY, tmp_path / f"all.{form}", "--json"))
    tables = opened("v2.0.5/monday").tables
    assert [(e["Table"], e["Rows"]) for e in done] == list(tables.Count.items())
    for table in tables.index:
        assert len(read(tmp_path / f"all.{form}", table)) == tables.Count[table]


@pytest.mark.parametrize("form", [None, *ONE_TABLE])
def test_a_folder_takes_a_file_for_each_table(form: str | None, tmp_path: Path, opened: Open) -> None:
    said = fine("export", MONDAY, tmp_path / "folder", *(["--format", form] if form else []))
    tables = opened("v2.0.5/monday").tables
    assert said == f"{tmp_path / 'folder'}: {len(tables)} tables, {tables.Count.sum():,} rows, secrets masked\n"
    suffix = form or "parquet"
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {f"{table}.{suffix}" for table in tables.index}
    for table in ("jobs", "acl_tokens", "indexes"):
        assert len(read(tmp_path / "folder" / f"{table}.{suffix}", table)) == tables.Count[table]


def test_table_may_be_repeated(tmp_path: Path) -> None:
    fine("export", MONDAY, tmp_path / "two", "--table", "jobs", "--table", "nodes")
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"jobs.parquet", "nodes.parquet"}
    fine("export", MONDAY, tmp_path / "two.sqlite", "--table", "jobs", "--table", "nodes")
    assert (len(read(tmp_path / "two.sqlite", "jobs")), len(read(tmp_path / "two.sqlite", "nodes"))) == (9, 3)
    with pytest.raises(sqlite3.OperationalError):
        read(tmp_path / "two.sqlite", "allocs")


# -- secrets and modes


def content(path: Path) -> bytes:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return b"".join(file.read_bytes() for file in files)


@pytest.mark.parametrize("target", ["x.csv", "x.jsonl", "x.sqlite", "x.duckdb", "folder"])
def test_secrets_are_masked_unless_they_are_asked_for(target: str, tmp_path: Path) -> None:
    only = ["--table", "acl_tokens"]
    fine("export", MONDAY, tmp_path / target, *only)
    masked = content(tmp_path / target)
    assert [accessor for accessor, secret in secrets().items() if secret.encode() in masked] == []
    assert b"masked:" in masked or target == "folder"

    revealed = tmp_path / f"revealed-{target}"
    assert "masked" not in fine("export", MONDAY, revealed, *only, "--reveal").partition(": ")[2]
    shown = content(revealed)
    assert sum(secret.encode() in shown for secret in secrets().values()) >= 3 or target == "folder"


def test_parquet_is_masked_too(tmp_path: Path) -> None:
    fine("export", MONDAY, tmp_path / "all")
    rows = read(tmp_path / "all" / "acl_tokens.parquet", "acl_tokens")
    assert rows
    assert all(row["SecretID"].startswith("masked:") for row in rows)
    nodes = read(tmp_path / "all" / "nodes.parquet", "nodes")
    assert all(row["SecretID"].startswith("masked:") for row in nodes)


@pytest.mark.parametrize("target", ["x.csv", "x.jsonl", "x.parquet", "x.sqlite", "x.duckdb", "folder"])
def test_what_is_written_is_for_its_owner_alone(target: str, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        fine("export", MONDAY, tmp_path / target, "--table", "jobs")
    finally:
        os.umask(before)
    path = tmp_path / target
    for file in path.iterdir() if path.is_dir() else [path]:
        assert file.stat().st_mode & 0o777 == 0o600
    if path.is_dir():
        assert path.stat().st_mode & 0o077 == 0
    assert [p.name for p in tmp_path.iterdir()] == [target]


# -- whole or not at all


@pytest.mark.parametrize("target", ["x.csv", "x.jsonl", "x.parquet", "x.sqlite", "x.duckdb", "folder"])
def test_nothing_is_replaced_unasked(target: str, tmp_path: Path) -> None:
    (tmp_path / target).write_text("mine")
    line = failed(run("export", MONDAY, tmp_path / target, "--table", "jobs"))
    assert "is there already" in line
    assert str(tmp_path / target) in line
    assert (tmp_path / target).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("form", [*ONE_TABLE, *DATABASES])
def test_overwrite_replaces(form: str, tmp_path: Path) -> None:
    dest = tmp_path / f"x.{form}"
    dest.write_text("mine")
    dest.chmod(0o644)
    fine("export", MONDAY, dest, "--table", "jobs", "--overwrite")
    assert len(read(dest, "jobs")) == 9
    assert dest.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [dest]


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    failed(run("export", MONDAY, tmp_path / "folder", "--overwrite"))
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("x.csv", [], "holds one table"),
        ("x.csv", ["--table", "job"], "did you mean jobs"),
        ("x", ["--format", "xlsx"], "csv, jsonl, parquet, sqlite, duckdb"),
        ("no/such/folder/x.csv", ["--table", "jobs"], "No such file or directory"),
        ("no/such/folder/x", ["--table", "jobs"], "No such file or directory"),
    ],
)
def test_a_mistake_leaves_nothing_behind(target: str, options: list[str], said: str, tmp_path: Path) -> None:
    assert said in failed(run("export", MONDAY, tmp_path / target, *options))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_archive_leaves_nothing_behind(tmp_path: Path) -> None:
    failed(run("export", "-", tmp_path / "x.sqlite", stdin=MONDAY.read_bytes()[:20_000]))
    assert list(tmp_path.iterdir()) == []


def test_control_characters_in_the_name_of_the_target_are_not_printed(tmp_path: Path) -> None:
    said = fine("export", MONDAY, tmp_path / "\x1b[31m\nx.csv", "--table", "jobs")
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
