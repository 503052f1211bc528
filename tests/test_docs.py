"""docs/ does what it says: it builds, its links lead somewhere, its commands and its Python run on `data/`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import unquote, urlsplit

import pytest
import typer

import snapkit
from snapkit.cli.app import app

from .cli import environment
from .conftest import DATA, ROOT
from .snippets import SHELLS, Reader, blocks

DOCS = ROOT / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))
GUIDE = DOCS / "verify-in-ci.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = blocks(TEXT)
#: Pages whose snippets have a test of their own: tests/cli/test_redact.py and below.
ELSEWHERE = ("redaction", "verify-in-ci")


# -- for readers on a code host


def anchors(text: str) -> set[str]:
    """The anchors that code hosts give to headings."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere_on_a_code_host(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            path = DOCS / name if name else DOCS / f"{page}.md"
            assert path.is_file(), link
            assert path.resolve().is_relative_to(ROOT)
            assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), link


# -- as pages


class Page(HTMLParser):
    """A page's ids, and what it links to and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag in ("a", "area"):
            self.links += [found["href"]] if "href" in found else []
        else:
            self.loads += [found[name] for name in ("src", "srcset", "href", "data", "action") if name in found]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built anew; each warning is an error."""
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("docs")
    words = [sys.executable, "-m", "sphinx", "-W", "-q", "-d", str(folder / "cache"), str(DOCS), str(folder / "pages")]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "pages"


@cache
def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_every_page_is_built_and_nothing_is_left_in_the_sources(built: Path) -> None:
    assert {f"{page}.html" for page in PAGES} <= {path.name for path in built.iterdir()}
    assert {path.name for path in DOCS.iterdir() if path.is_dir()} <= {"images", "_static", "__pycache__"}
    listed = read(built / "index.html").links
    assert [page for page in PAGES if f"{page}.html" not in listed and page != "index"] == []


def test_no_page_loads_anything_from_elsewhere(built: Path) -> None:
    for path in built.glob("*.html"):
        assert [link for link in read(path).loads if "//" in link] == [], path.name
    for path in (built / "_static").rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", text), path.name


def test_links_between_pages_lead_somewhere(built: Path) -> None:
    for path in built.glob("*.html"):
        for link in [*read(path).links, *read(path).loads]:
            parts = urlsplit(link)
            if parts.scheme in ("", "file") and link not in ("", "#"):
                target = built / unquote(parts.path) if parts.path else path
                assert target.is_file(), f"{path.name}: {link}"
                if parts.fragment and target.suffix == ".html":
                    assert unquote(parts.fragment) in read(target).ids, f"{path.name}: {link}"


def test_every_subcommand_is_in_its_page(built: Path) -> None:
    group: Any = typer.main.get_command(app)
    text = (built / "commands.html").read_text(encoding="utf-8")
    for name, command in group.commands.items():
        assert f"snapkit-{name}" in read(built / "commands.html").ids
        assert f"Usage: snapkit {name}" in text
        for inner in getattr(command, "commands", {}):
            assert f"snapkit-{name}-{inner}" in read(built / "commands.html").ids
    assert len(group.commands) > 15


def test_every_public_name_is_in_the_reference_and_no_private_one(built: Path) -> None:
    documented = {name for name in read(built / "api.html").ids if name.startswith("snapkit.")}
    assert {f"snapkit.{name}" for name in snapkit.__all__ if not name.startswith("__")} <= documented
    assert {"snapkit.Snapshot.get", "snapkit.Changes.fields", "snapkit.state.access.who.who_could"} <= documented
    assert [name for name in documented if any(part.startswith("_") for part in name.split("."))] == []


# -- as somebody does what they say


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout") / "data"
    shutil.copytree(DATA, folder)
    for path in folder.rglob("*.snap"):
        path.chmod(0o600)
    return folder


@pytest.fixture
def reader(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """In a folder of their own, with the archives."""
    (tmp_path / "data").symlink_to(checkout)
    monkeypatch.chdir(tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NOMAD_", "SNAPKIT_"))}
    with mock.patch.dict(os.environ, kept, clear=True):
        reader = Reader()
        yield reader
        reader.close()


def has_snippets(page: str) -> bool:
    return any(block.language in (*SHELLS, "python") for block in blocks((DOCS / f"{page}.md").read_text("utf-8")))


@pytest.mark.parametrize("page", [page for page in PAGES if has_snippets(page) and page not in ELSEWHERE])
def test_what_a_page_says_runs(page: str, reader: Reader) -> None:
    reader.read((DOCS / f"{page}.md").read_text(encoding="utf-8"))


def test_each_kind_of_people_has_a_page_of_commands() -> None:
    for page in ("analyst", "on-call", "trainer", "platform"):
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        assert text.count("$ snapkit ") >= 8
        assert text.count("```") == 2 * len(blocks(text))


# -- verify-in-ci.md


def block(language: str) -> str:
    [text] = [text for name, text in BLOCKS if name == language]
    return text


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
