"""`snapkit inspect`: the same as `nomad operator snapshot inspect`, of whatever a snapshot is kept in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snapkit import __version__
from tests import forge

from ..conftest import ARCHIVES, DATA, RAFT_DIRECTORIES, ROOT, oracle, path_of
from . import environment, fine, run

MONDAY = path_of("v2.0.5/monday")
STATE = forge.state(forge.record(2, {"Key": "jobs", "Value": 7}), forge.record(0, {"ID": "n1", "Name": "client1"}))


def inspected(*arguments: object, **kwargs: Any) -> Any:
    return json.loads(fine("inspect", "--json", *arguments, **kwargs))


def stats(answer: Any) -> list[tuple[str, int, int]]:
    return sorted((row["Name"], row["Count"], row["Sum"]) for row in answer["Stats"])


def state_of(archive: str) -> bytes:
    return {info.name: content for info, content in forge.untar(path_of(archive).read_bytes())}["state.bin"]


# -- against Nomad


@pytest.mark.parametrize("archive", ARCHIVES)
def test_json_is_what_nomad_inspect_says(archive: str) -> None:
    ours, theirs = inspected(path_of(archive)), oracle(archive, "inspect")
    assert ours["Meta"] == theirs["Meta"]
    assert stats(ours) == stats(theirs)
    assert all(row.keys() == {"Name", "Count", "Sum"} for row in ours["Stats"])
    assert sum(row["Sum"] for row in ours["Stats"]) == len(state_of(archive))
    assert [row["Sum"] for row in ours["Stats"]] == sorted((row["Sum"] for row in ours["Stats"]), reverse=True)


# -- whatever it is kept in


@pytest.mark.parametrize("folder", RAFT_DIRECTORIES)
def test_a_raft_directory(folder: str) -> None:
    found = inspected(DATA / folder)
    assert found["Meta"] == json.loads((DATA / folder / "meta.json").read_text())
    assert sum(row["Sum"] for row in found["Stats"]) == (DATA / folder / "state.bin").stat().st_size
    assert "(raft directory)" in fine("inspect", DATA / folder)


def test_the_newest_copy_of_several() -> None:
    assert inspected(DATA / "v1.8.4" / "raft-snapshots")["Meta"]["ID"] == "2-132-1795471921572"


def test_a_bare_state_bin(tmp_path: Path) -> None:
    (tmp_path / "state.bin").write_bytes(state_of("v1.8.4/monday"))
    found = inspected(tmp_path / "state.bin")
    assert found["Meta"] == {}
    assert stats(found) == stats(oracle("v1.8.4/monday", "inspect"))
    shown = fine("inspect", tmp_path / "state.bin")
    assert "(state file)" in shown
    assert "unknown" in shown


@pytest.mark.parametrize("content", [MONDAY.read_bytes(), state_of("v2.0.5/monday")], ids=["archive", "state.bin"])
def test_standard_input(content: bytes) -> None:
    assert stats(inspected("-", stdin=content)) == stats(oracle("v2.0.5/monday", "inspect"))


def test_a_url() -> None:
    assert inspected(MONDAY.as_uri()) == inspected(MONDAY)
    assert MONDAY.as_uri() in fine("inspect", MONDAY.as_uri())


def test_a_file_whose_name_begins_with_a_dash_or_has_spaces(tmp_path: Path) -> None:
    for name in ("-x.snap", "a b ü.snap"):
        (tmp_path / name).write_bytes(MONDAY.read_bytes())
        assert inspected(tmp_path / name) == inspected(MONDAY)
    assert inspected("--", tmp_path / "-x.snap") == inspected(MONDAY)


# -- for people


def test_people_are_told_what_it_is() -> None:
    shown = fine("inspect", MONDAY)
    rows = {tuple(line.split()) for line in shown.splitlines()}
    assert shown.startswith(f"Source       {MONDAY} (archive)")
    for row in [
        "ID 2-96-1795471716265",
        "Taken 2026-11-23 22:08:36 UTC",
        "Index, term 96, 2",
        "Servers 127.0.0.1:15661, 127.0.0.1:15641, 127.0.0.1:15651",
        "Alloc 13 101,402 51.5%",
        "ClusterMetadata 1 71 0.0%",
    ]:
        assert tuple(row.split()) in rows
    assert len(rows) >= len(oracle("v2.0.5/monday", "inspect")["Stats"]) + 6


def test_a_state_without_records_is_no_reason_to_fail() -> None:
    assert inspected("-", stdin=forge.archive(forge.state()))["Stats"] == []
    assert "0 bytes" in fine("inspect", "-", stdin=forge.archive(forge.state()))


def test_the_version() -> None:
    assert fine("--version") == f"snapkit {__version__}\n"


# -- what is odd is a note


def test_an_unknown_record_type_is_noted() -> None:
    data = forge.archive(forge.state(forge.record(200, {"ID": "x"}), forge.record(0, {"ID": "n"})))
    ran = run("inspect", "--json", "-", stdin=data)
    assert ran.status == 0
    assert [count for _, count, _ in stats(json.loads(ran.out))] == [1, 1]
    assert ran.err.startswith("snapkit: note: record type ")
    assert "200" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("subcommand", [["inspect"], ["inspect", "--json"], ["show"], ["show", "--json"]])
def test_what_a_server_refuses_is_noted_where_it_can_be_read(subcommand: list[str]) -> None:
    ran = run(*subcommand, "-", stdin=MONDAY.read_bytes() + bytes(512))
    assert ran.status == 0
    assert "Alloc" in ran.out
    assert ran.err.startswith("snapkit: note: ")
    assert ran.err.endswith("; a server refuses this archive\n")
    assert ran.err.count("\n") == 1


# -- it answers at once

HEAVY = {"pandas", "numpy", "pyarrow", "fsspec", "requests", "rich", "IPython", "jupyterlab", "cryptography", "duckdb"}


def imported(code: str) -> set[str]:
    """The packages of Python that a process has when `code` has run."""
    program = f"{code}\nprint(sorted({{name.partition('.')[0] for name in sys.modules}}), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}"], capture_output=True, env=environment(), check=True, cwd=ROOT
    )
    return {name.strip(" '") for name in done.stderr.decode().strip().strip("[]").split(",")}


def as_command(*arguments: object) -> str:
    words = ["snapkit", *map(str, arguments)]
    return f"from snapkit import cli\nsys.argv = {words!r}\ntry: cli.main()\nexcept SystemExit as e: assert not e.code"


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import snapkit", set()),
        (as_command("inspect", "--json", MONDAY), set()),
        (as_command("inspect", MONDAY), {"rich"}),
        (as_command("--help"), set()),
    ],
    ids=["import snapkit", "inspect --json", "inspect", "--help"],
)
def test_nothing_is_imported_that_it_need_not_wait_for(code: str, allowed: set[str]) -> None:
    found = imported(code)
    assert "snapkit" in found
    assert found & HEAVY <= allowed
    if "json" not in code and "cli" not in code:
        assert not found & {"typer", "msgpack", "isal", "json"}


def test_this_can_tell_what_is_imported() -> None:
    assert {"pandas", "pyarrow"} <= imported(as_command("show", MONDAY, "--json"))
