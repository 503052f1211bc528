"""README.md does what it says: its commands run, its Python runs, its links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import snapkit

from .cli import environment, fine
from .conftest import ROOT
from .snippets import SHELLS, blocks, commands, run_like_a_notebook, runs, words_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = blocks(README)
COMMANDS = list(commands(BLOCKS))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands need of a checkout, to write in as they like."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("data", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def test_the_readme_has_what_is_tested_here() -> None:
    assert README.count("```") == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS} <= {*SHELLS, "python"}
    assert [block for block in BLOCKS if block.language == "python"]
    assert len([command for command, _ in COMMANDS if runs(words_of(command))]) >= 5


@pytest.mark.parametrize(("command", "output"), [c for c in COMMANDS if runs(words_of(c[0]))])
def test_a_command_runs(command: str, output: str, checkout: Path) -> None:
    words = words_of(command)
    assert words[0] in ("snapkit", "python", "python3"), "a program that this test knows how to run"
    program = ["-c", "from snapkit.cli import main; main()"] if words[0] == "snapkit" else []
    done = subprocess.run(
        [sys.executable, "-W", "error", *program, *words[1:]],
        capture_output=True,
        cwd=checkout,
        env=environment(),
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    differ = 1 if words[:2] == ["snapkit", "diff"] else 0
    assert (done.returncode, done.stderr.decode()) == (differ, "")
    said = done.stdout.decode()
    assert said.strip()
    if output:
        assert [line.rstrip() for line in said.strip().splitlines()] == [line.rstrip() for line in output.splitlines()]


@pytest.mark.parametrize("target", sorted({w[1] for c, _ in COMMANDS if (w := words_of(c))[0] == "make"}))
def test_a_target_of_make_is_there(target: str) -> None:
    assert target in make_targets()


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.M))


def test_make_is_spoken_of_only_as_it_is() -> None:
    spoken = set(re.findall(r"`make ([\w-]+)", README))
    assert spoken | {"demo", "test"} <= make_targets()


SUBCOMMANDS = {words[1] for command, _ in COMMANDS if (words := words_of(command))[0] == "snapkit"}


@pytest.mark.parametrize("subcommand", sorted(SUBCOMMANDS | {"lab"}))
def test_a_subcommand_is_there(subcommand: str) -> None:
    assert fine(subcommand, "--help").startswith(f"Usage: snapkit {subcommand}")


# -- Python


@pytest.fixture(scope="module")
def namespace(checkout: Path) -> Iterator[dict[str, Any]]:
    """What the README's Python leaves behind, with the value of each line that is an expression in `values`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        names: dict[str, Any] = {"values": {}}
        for block in BLOCKS:
            if block.language == "python":
                run_like_a_notebook(block.text, names)
        yield names
        if "snap" in names:
            names["snap"].close()


def test_the_python_runs_and_gives_what_its_comments_say(namespace: dict[str, Any]) -> None:
    assert isinstance(namespace["snap"], snapkit.Snapshot)
    values = namespace["values"]
    assert list(values["snap.tables"].columns) == ["Type", "Count", "Bytes", "Share"]
    assert isinstance(values["snap.allocs"], pd.DataFrame)
    assert values["snap.get('jobs', 'shop', 'web')"]["ID"] == "web"
    assert len(values["snap.search('storefront')"]) > 5
    assert not [source for source, value in values.items() if value is None]
    assert len(values["changes.objects"]) == 17
    unlocked = values["snap.unlock()"]
    assert all(unlocked.Items.map(len))


# -- links


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


LINKS = re.findall(r"\]\(([^)\s]+)\)", README) + re.findall(r'(?:src|href)="([^"]+)"', README)


@pytest.mark.parametrize("link", sorted({link for link in LINKS if "://" not in link}))
def test_a_link_leads_somewhere(link: str) -> None:
    name, _, anchor = link.partition("#")
    path = ROOT / name if name else ROOT / "README.md"
    assert path.exists()
    assert path.resolve().is_relative_to(ROOT)
    if anchor:
        assert anchor in anchors(path.read_text(encoding="utf-8"))
    if path.suffix == ".png":
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_there_are_links_and_pictures() -> None:
    assert len(LINKS) > 3
    assert [link for link in LINKS if link.endswith(".png")]


def test_the_extras_are_those_of_the_project() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    [sentence] = re.findall(r"Extras: (.*?)\.\n", README, re.S)
    assert set(re.findall(r"`(\w+)`", sentence)) <= extras
