"""docs/ does what it says: the workflow's and cron's commands run, on archives of `data/`."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .cli import environment
from .conftest import DATA, ROOT

GUIDE = ROOT / "docs" / "verify-in-ci.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.M | re.S)


def block(language: str) -> str:
    [text] = [text for name, text in BLOCKS if name == language]
    return str(text)


def workflow() -> dict[Any, Any]:
    yaml: Any = pytest.importorskip("yaml")
    return dict(yaml.safe_load(block("yaml")))


def shell_commands() -> list[str]:
    lines = [line for name, text in BLOCKS if not name for line in text.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


class Cron(NamedTuple):
    """A crontab: its variables, and the commands of its jobs."""

    variables: dict[str, str]
    commands: list[str]


def crontab() -> Cron:
    variables, commands = {}, []
    for line in block("cron").splitlines():
        if found := re.fullmatch(r"([A-Z]+)=(.*)", line):
            variables[found[1]] = found[2]
        else:
            fields = line.split(" ", 5)
            assert all(re.fullmatch(r"[\d*/,-]+", field) for field in fields[:5])
            assert "%" not in fields[5], "cron takes it for a line feed"
            commands.append(fields[5])
    return Cron(variables, commands)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with backups, and `snapkit` in `bin`."""
    (tmp_path / "backups").mkdir()
    for day in ("monday", "tuesday"):
        copy = Path(shutil.copyfile(DATA / "v2.0.5" / f"{day}.snap", tmp_path / "backups" / f"{day}.snap"))
        copy.chmod(0o600)
    program = tmp_path / "bin" / "snapkit"
    program.parent.mkdir()
    run = shlex.join([sys.executable, "-W", "error", "-c", "from snapkit.cli import main; main()"])
    program.write_text(f'#!/bin/sh\nexec {run} "$@"\n', encoding="utf-8")
    program.chmod(0o700)
    return tmp_path


def shell(command: str, place: Path, **variables: object) -> tuple[int, str, str]:
    path = environment()["PATH"]
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=place,
        env=environment(PATH=f"{place / 'bin'}:{path}", **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_there_is_what_is_tested_here() -> None:
    assert TEXT.count("```") == 2 * len(BLOCKS)
    assert {name for name, _ in BLOCKS} == {"", "yaml", "cron"}
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXT):
        assert (GUIDE.parent / link).exists() or link == "checks.md"  # made from the checks


def test_the_workflow_runs(place: Path) -> None:
    [job] = workflow()["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    ours = [command for command in commands if not command.startswith("pip install ")]
    assert len(ours) == 1
    for command in ours:
        status, out, err = shell(command, place)
        assert (status, err) == (0, "")
        assert out.splitlines()[-1] == "2 sources: 2 ok"
    [uploaded] = [step["with"]["path"] for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
    assert (place / uploaded).read_text(encoding="utf-8").count("<testsuite ") == 2


def test_the_workflow_fails_for_a_damaged_backup(place: Path) -> None:
    damaged = place / "backups" / "tuesday.snap"
    damaged.write_bytes(damaged.read_bytes()[:20_000])
    [command] = [s["run"] for s in workflow()["jobs"]["verify"]["steps"] if "snapkit verify" in s.get("run", "")]
    status, out, _ = shell(command, place)
    assert status == 1
    assert "backups/tuesday.snap: not ok" in out
    assert "<failure " in (place / "verify.xml").read_text(encoding="utf-8")


def test_the_crontab_says_nothing_while_all_is_well_and_tells_of_what_is_not(place: Path) -> None:
    variables, commands = crontab()
    assert set(variables) == {"BACKUPS", "EVIDENCE"}
    here = {"BACKUPS": place / "backups", "EVIDENCE": place / "evidence"}
    for _ in range(2):
        assert [shell(command, place, **here) for command in commands] == [(0, "", "")] * 2
    damaged = place / "backups" / "monday.snap"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    told = [shell(command, place, **here)[1] for command in commands]
    assert "monday.snap: not ok" in told[0]
    assert told[1] == ""  # replaced, and verified again: the evidence tells of it, and holds
    assert "file-replaced" in (place / "backups" / "check.log").read_text(encoding="utf-8")
    damaged.write_bytes(b"")
    assert "file-altered" in shell(commands[1], place, **here)[1]


def test_the_commands_run_and_openssl_takes_the_signatures(place: Path) -> None:
    pytest.importorskip("cryptography")
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    for command in shell_commands():
        status, out, err = shell(command, place)
        assert status == 0, err
        if command.startswith("snapkit"):
            assert err == ""
            assert ": ok; " in out or ": intact; " in out
    [verify] = re.findall(r"`(openssl pkeyutl [^`]*)`", TEXT)
    [entry] = (place / "signed").glob("000001-*.json")
    assert shell(verify.replace("ENTRY", f"signed/{entry.name}"), place)[0] == 0
    entry.write_bytes(entry.read_bytes() + b" ")
    assert shell(verify.replace("ENTRY", f"signed/{entry.name}"), place)[0] != 0
