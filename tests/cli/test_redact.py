"""`snapkit redact`: what it writes and says, and its exit status."""

from __future__ import annotations

import json
import re
import shlex
import stat
from pathlib import Path

import pytest

import snapkit
from snapkit.state.redact.whole import redact
from tests import forge

from ..conftest import ROOT, path_of
from . import failed, fine, run

FRIDAY = path_of("v2.0.5/friday")


def test_it_writes_an_archive_and_says_what_was_replaced_and_left(tmp_path: Path) -> None:
    out = tmp_path / "out.snap"
    said = fine("redact", FRIDAY, out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert re.search(r"acl_tokens\s+ACLToken\.SecretID\s+5", said)
    assert re.search(
        r"left, and may tell something \(names persons or hosts\): ACLBindingRule\.Selector, .* and \d+ more fields\n",
        said,
    )
    assert re.fullmatch(rf"{re.escape(str(out))}: \d+ values replaced, profile share", said.splitlines()[-1])
    with snapkit.open(out) as snap, snapkit.open(FRIDAY) as was:
        assert list(snap.nodes.index) == list(was.nodes.index)


def test_json_has_all_of_it(tmp_path: Path) -> None:
    said = json.loads(fine("redact", "--json", "--profile", "strict", "--token", FRIDAY, tmp_path / "out.snap"))
    assert set(said) == {"Path", "Profile", "Replaced", "Left", "Notes", "Token"}
    assert (said["Profile"], said["Left"], said["Notes"]) == ("strict", [], [])
    assert {"Table": "acl_tokens", "Field": "ACLToken.SecretID", "Count": 5} in said["Replaced"]
    with snapkit.open(tmp_path / "out.snap") as snap:
        token = snap.get("acl_tokens", said["Token"]["AccessorID"], reveal=True)
        assert token["SecretID"] == said["Token"]["SecretID"]


def test_a_given_token_is_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "5eed5eed-0000-4000-8000-000000000002"
    monkeypatch.setenv("SNAPKIT_REDACT_TOKEN", secret)
    said = fine("redact", "--token", FRIDAY, tmp_path / "out.snap")
    assert re.search(rf"^token: {secret} \(accessor [0-9a-f-]{{36}}\), a management token$", said, re.M)
    assert secret not in fine("redact", FRIDAY, tmp_path / "none.snap")
    monkeypatch.setenv("SNAPKIT_REDACT_TOKEN", "hunter2")
    assert "is no UUID" in failed(run("redact", "--token", FRIDAY, tmp_path / "new.snap"))


def test_one_key_gives_one_archive_also_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine("redact", "--key", "k", FRIDAY, tmp_path / "1.snap")
    monkeypatch.setenv("SNAPKIT_REDACT_KEY", "k")
    fine("redact", FRIDAY, tmp_path / "2.snap")
    redact(FRIDAY, tmp_path / "3.snap", key="k")
    assert len({(tmp_path / f"{i}.snap").read_bytes() for i in (1, 2, 3)}) == 1


def test_thousands_of_fields_that_are_not_known_are_no_thousands_of_lines(tmp_path: Path) -> None:
    record = forge.record(0, {"ID": "n", **{f"Odd{i:03}": "a" for i in range(200)}})
    source = tmp_path / "odd.snap"
    source.write_bytes(forge.archive(forge.state(record)))
    done = run("redact", source, tmp_path / "out.snap")
    notes = done.err.splitlines()
    assert len(notes) == 21
    assert notes[-1] == "snapkit: note: and 180 more notes (--json has all)"
    assert len(json.loads(fine("redact", "--json", source, tmp_path / "all.snap"))["Notes"]) == 200


def test_several_processes_give_the_same_archive(tmp_path: Path) -> None:
    fine("redact", "--key", "k", "--workers", "2", FRIDAY, tmp_path / "2.snap")
    redact(FRIDAY, tmp_path / "1.snap", key="k")
    assert (tmp_path / "1.snap").read_bytes() == (tmp_path / "2.snap").read_bytes()


def test_check_is_1_where_something_is_found_and_0_where_nothing_is(tmp_path: Path) -> None:
    pytest.importorskip("detect_secrets")
    ran = run("redact", "--check", FRIDAY)
    assert (ran.status, ran.err) == (1, "")
    assert re.search(r"allocs\s+SignedIdentities\.server\s+JSON Web Token\s+6", ran.out)
    assert "eyJ" not in ran.out
    fine("redact", FRIDAY, tmp_path / "out.snap")
    assert fine("redact", "--check", tmp_path / "out.snap") == f"{tmp_path / 'out.snap'}: nothing found\n"
    rows = json.loads(run("redact", "--check", "--json", FRIDAY).out)
    assert set(rows[0]) == {"Table", "Key", "Path", "Detector", "Value"}
    assert rows[0]["Value"].startswith("masked:")
    assert json.loads(fine("redact", "--check", "--json", tmp_path / "out.snap")) == []


def test_what_cannot_be_done_is_2(tmp_path: Path) -> None:
    out = tmp_path / "out.snap"
    cut = tmp_path / "cut.snap"
    cut.write_bytes(FRIDAY.read_bytes()[:20_000])
    assert "cut.snap" in failed(run("redact", cut, out))
    assert "cut.snap" in failed(run("redact", "--check", cut))
    assert "name the archive to write" in failed(run("redact", FRIDAY))
    assert "takes one file" in failed(run("redact", "--check", FRIDAY, out))
    assert not out.exists()
    fine("redact", FRIDAY, out)
    assert "is there already" in failed(run("redact", FRIDAY, out))
    fine("redact", "--overwrite", FRIDAY, out)


def test_the_pages_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("detect_secrets")
    page = (ROOT / "docs" / "redaction.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in re.findall(r"^\$ snapkit (.*)", page, re.M)]
    assert len(commands) == page.count("\n$ snapkit ") > 3
    (tmp_path / "backups").mkdir()
    for day in ("monday", "tuesday"):
        (tmp_path / "backups" / f"{day}.snap").write_bytes(path_of(f"v2.0.5/{day}").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNAPKIT_REDACT_KEY", "a key")
    for command in commands:
        ran = run(*command)
        assert (ran.status, ran.err) == (1 if command[0] == "diff" else 0, ""), command
    summaries = [
        snapkit.compare(*(folder / f"{name}{day}.snap" for day in ("monday", "tuesday"))).summary
        for folder, name in ((tmp_path / "backups", ""), (tmp_path, "training-"))
    ]
    planted = summaries[0].loc["acl_tokens"] != summaries[1].loc["acl_tokens"]
    assert planted.any(), "Monday has a token more"
    assert summaries[0].drop("acl_tokens").equals(summaries[1].drop("acl_tokens"))


def test_the_page_says_which_options_there_are() -> None:
    page = (ROOT / "docs" / "redaction.md").read_text(encoding="utf-8")
    said = fine("redact", "--help")
    assert all(option in said for option in re.findall(r"`(--[a-z]+)", page) if option != "--salvage")
