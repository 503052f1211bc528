"""`snapkit fleet history`, `when`, `growth`, `sql`, `anomalies` and `extract`: many archives asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ..conftest import DATA
from . import failed, fine, run

WEEK = DATA / "v2.0.5"
PATTERN = str(WEEK / "*.snap")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def told(*arguments: object) -> Any:
    return json.loads(fine("fleet", *arguments, "--json"))


def test_the_history_of_a_policy(store: Path) -> None:
    text = fine("fleet", "history", PATTERN, "acl_policies", "anonymous", "--store", store)
    lines = text.splitlines()
    assert lines[0] == "acl_policies anonymous"
    assert [line.split()[0] for line in lines[1:] if line[0] != " "] == ["there", "changed", "changed"]
    assert '      +namespace "*" { policy = "write" }' in lines
    document = told("history", PATTERN, "acl_policies", "anonymous", "--store", store)
    assert [state["Change"] for state in document["states"]] == ["there", "changed", "changed"]


def test_ids_may_be_in_short(store: Path) -> None:
    node = "65e4f3e5-0bfa-d8bf-5aa5-5bc503b44072"
    whole = fine("fleet", "history", PATTERN, "nodes", node, "--store", store)
    assert fine("fleet", "history", PATTERN, "nodes", node[:8], "--store", store) == whole
    drained = ("SchedulingEligibility == 'ineligible'", "--store", store)
    assert fine("fleet", "when", WEEK, "nodes", node[:4], *drained) == fine(
        "fleet", "when", WEEK, "nodes", node, *drained
    )
    assert "4 ids begin with '0'" in failed(run("fleet", "history", PATTERN, "allocs", "0", "--store", store))
    assert "no archive has a record" in failed(run("fleet", "history", PATTERN, "nodes", "ffff", "--store", store))


def test_since_when(store: Path) -> None:
    text = fine("fleet", "when", WEEK, "acl_policies", "anonymous", "Rules ~ 'write'", "--store", store)
    assert text.startswith(
        "since between 2026-11-23 22:08:54 and 2026-11-23 22:09:03, until between 2026-11-23 22:09:03"
    )
    (period,) = told("when", WEEK, "acl_policies", "anonymous", "Rules ~ 'write'", "--store", store)
    assert period["SinceSnapshot"].endswith("wednesday.snap")
    never = fine("fleet", "when", WEEK, "acl_policies", "anonymous", "Rules == ''", "--store", store)
    assert never == "never, in any of these archives\n"


def test_growth_as_table_and_picture(store: Path, tmp_path: Path) -> None:
    rows = told("growth", WEEK, "--top", "2", "--store", store)
    assert [len(row) for row in rows] == [3] * 5
    jobs = told("growth", WEEK, "--by", "job", "--measure", "count", "--store", store)
    assert "shop/web" in jobs[0]
    picture = tmp_path / "growth.svg"
    assert fine("fleet", "growth", WEEK, "-o", picture, "--store", store) == f"{picture}: 8 lines\n"
    assert picture.read_bytes().startswith(b"<?xml")
    assert "is there already" in failed(run("fleet", "growth", WEEK, "-o", picture, "--store", store))


def test_sql(store: Path) -> None:
    rows = told("sql", PATTERN, "SELECT Name, count(*) AS n FROM acl_policies GROUP BY 1 ORDER BY 1", "--store", store)
    assert {row["Name"]: row["n"] for row in rows}["anonymous"] == 5
    assert "5 rows" in fine("fleet", "sql", PATTERN, "SELECT * FROM snapshots", "--store", store)


def test_anomalies_are_exit_status_1(store: Path) -> None:
    done = run("fleet", "anomalies", WEEK, "--store", store)
    assert done.status == 1
    assert "svc-backup" in done.out
    assert done.err == ""


def test_extract_reads_what_is_new(store: Path) -> None:
    first = told("extract", WEEK, "--store", store, "--table", "namespaces")
    assert {row["Status"] for row in first} == {"extracted"}
    again = told("extract", WEEK, "--store", store, "--table", "namespaces")
    assert {row["Status"] for row in again} == {"there already"}


def test_a_damaged_archive_is_told_and_the_rest_is_answered(tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        shutil.copy(WEEK / f"{day}.snap", tmp_path)
    cut = tmp_path / "tuesday.snap"
    cut.write_bytes(cut.read_bytes()[:-1000])
    done = run("fleet", "history", tmp_path, "jobs", "shop", "web")
    assert done.status == 0
    assert done.err.count("left out") == 1
    assert "tuesday.snap" in done.err
    assert "(1 snapshot)" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("history", PATTERN, "jobs", "shop", "wob"), "did you mean shop/web"),
        (("history", PATTERN, "job", "web"), "has no table 'job'"),
        (("history", WEEK / "monday.snap", WEEK / "tuesday.snap", "web"), "quote the pattern"),
        (("when", PATTERN, "acl_policies", "anonymous", "Rules = 1"), "character 6"),
        (("sql", PATTERN, "SELECT * FROM read_text('/etc/hostname')"), "sql: can't be answered"),
        (("sql", PATTERN, "DROP VIEW jobs"), "sql: is not one SELECT"),
        (("growth", DATA / "v1.8.4", WEEK), "are of 2 clusters"),
        (("extract", "nowhere/*.snap", "--store", "kept"), "nowhere"),
        (("extract", WEEK), "--store: is missing"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    arguments: tuple[object, ...], message: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "extract" not in arguments:
        arguments = (*arguments, "--store", store)
    assert message in failed(run("fleet", *arguments))
