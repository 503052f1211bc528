"""The lab's own copy of the notebooks, what starts JupyterLab, and the demo."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from snapkit.errors import SnapshotError, SourceError
from snapkit.jupyter import lab as jupyter
from snapkit.jupyter import lab_command, lab_environment, prepare_lab, shared

from .cli import failed, fine, run
from .conftest import DATA, ORACLES, ROOT


def files(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for what Jupyter puts beside notebooks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".ipynb_checkpoints" not in path.parts
    }


def test_a_lab_has_a_copy_of_notebooks_and_data(tmp_path: Path) -> None:
    assert prepare_lab(tmp_path / "new" / "lab") == tmp_path / "new" / "lab" / "notebooks"
    lab = tmp_path / "new" / "lab"
    assert files(lab / "notebooks") == files(ROOT / "notebooks")
    assert files(lab / "data") == files(DATA)
    assert {path.name for path in lab.iterdir()} == {"notebooks", "data"}
    assert not [path for path in lab.rglob("*") if path.is_symlink()]


def test_a_second_run_keeps_what_was_changed_and_brings_what_is_missing(tmp_path: Path) -> None:
    notebooks = prepare_lab(tmp_path)
    first, second = sorted(notebooks.glob("*.ipynb"))[:2]
    first.write_text("mine")
    second.unlink()
    (notebooks / "mine.ipynb").write_text("{}")
    prepare_lab(str(tmp_path))
    assert first.read_text() == "mine"
    assert second.read_bytes() == (ROOT / "notebooks" / second.name).read_bytes()
    assert (notebooks / "mine.ipynb").read_text() == "{}"


def test_checkpoints_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    (source / ".ipynb_checkpoints").mkdir(parents=True)
    (source / ".ipynb_checkpoints" / "x-checkpoint.ipynb").touch()
    (source / "x.ipynb").touch()
    monkeypatch.setattr(jupyter, "shared", lambda name: source)
    prepare_lab(tmp_path / "lab")
    assert set(files(tmp_path / "lab")) == {"notebooks/x.ipynb", "data/x.ipynb"}
    assert not list((tmp_path / "lab").rglob(".ipynb_checkpoints"))


def test_what_is_shared_is_in_the_wheel_or_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared("data") == DATA
    package = tmp_path / "site" / "snapkit"
    package.mkdir(parents=True)
    monkeypatch.setattr(jupyter, "__file__", str(package / "jupyter" / "lab.py"))
    with pytest.raises(SourceError, match="data/ is missing"):
        shared("data")
    shutil.copytree(ROOT / "notebooks", package / "_share" / "notebooks")
    assert shared("notebooks") == package / "_share" / "notebooks"


# -- what starts JupyterLab


def test_jupyterlab_is_started_on_loopback_and_asks_nobody_for_news(tmp_path: Path) -> None:
    pytest.importorskip("jupyterlab")
    command = lab_command(tmp_path / "notebooks", ["--no-browser", "--port=9999"])
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={tmp_path}" in command
    assert "--LabApp.default_url=/lab/tree/notebooks" in command
    assert "--ServerApp.ip=127.0.0.1" in command
    assert "--LabApp.news_url=None" in command
    assert "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate" in command
    [viewer] = [word.partition("=")[2] for word in command if word.startswith("--LabApp.extra_labextensions_path=")]
    assert (Path(viewer) / "snapkit" / "package.json").is_file()
    assert command[-2:] == ["--no-browser", "--port=9999"], "further arguments have the last word"


def test_without_jupyterlab_there_is_a_way_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SnapshotError, match=re.escape("pip install 'snapkit[lab]'")):
        lab_command(tmp_path, [])
    assert "snapkit[lab]" in failed(run("lab", "--folder", tmp_path / "lab"))


@pytest.mark.parametrize("already", [None, "/etc/theirs"])
def test_our_settings_are_ahead_of_the_users(already: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)
    if already:
        monkeypatch.setenv("JUPYTER_CONFIG_PATH", already)
    ours, *theirs = lab_environment()["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert theirs == ([already] if already else [])
    settings = json.loads((Path(ours) / "labconfig" / "default_setting_overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    server = json.loads((Path(ours) / "jupyter_server_config.d" / "snapkit.json").read_text())
    assert server["ServerApp"]["jpserver_extensions"] == {"snapkit.jupyter.server": True}
    assert os.environ.get("JUPYTER_CONFIG_PATH") == already


@pytest.mark.parametrize("folder", ["mine", None])
def test_snapkit_lab_becomes_jupyterlab(folder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jupyterlab")
    started: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.chdir(tmp_path)
    ran = run("lab", *(["--folder", folder] if folder else []), "--no-browser", "--ServerApp.port=9999")
    folder = folder or "snapkit-lab"
    assert ran.status == 0
    assert ran.err == f"Your notebooks are in {folder}/notebooks. Ctrl-C twice ends JupyterLab.\n"
    assert set(files(tmp_path / folder / "notebooks")) == set(files(ROOT / "notebooks"))
    [(program, command, environment)] = started
    assert program == command[0] == sys.executable
    assert f"--ServerApp.root_dir={tmp_path / folder}" in command
    assert command[-2:] == ["--no-browser", "--ServerApp.port=9999"]
    assert environment["JUPYTER_CONFIG_PATH"]


def test_a_folder_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in failed(run("lab", "--folder", tmp_path / "file" / "lab"))


# -- the demo


def test_the_demo_tells_the_story() -> None:
    said = fine("demo")
    matching = re.findall(r"^   (\S+) +[\d,]+ bytes  SHA-256 [0-9a-f]{16}…  matches SHA256SUMS$", said, re.M)
    assert matching == ["meta.json", "state.bin"]
    assert re.search(r"^   SHA256SUMS .* holds the sums of the other two$", said, re.M)
    assert "Taken 2026-11-23 22:08:36 UTC at Raft index 96 by a Nomad newer than 1.10.5." in said
    tables = re.findall(r"^   (\w+) +(\d+) records +([\d,]+) bytes +(\d+)%$", said, re.M)
    assert tables == [
        ("allocs", "13", "101,402", "51"),
        ("jobs", "9", "22,743", "12"),
        ("job_versions", "9", "22,743", "12"),
        ("nodes", "3", "11,776", "6"),
        ("evals", "15", "9,428", "5"),
    ]
    failures = re.findall(r"^   (\S+) on (\S+): task (\S+) ended with exit codes \[(.*)\]$", said, re.M)
    assert sorted(failures) == [
        ("payments.ledger[0]", "client0", "crasher", "137, 137"),
        ("payments.ledger[0]", "client2", "crasher", "137, 137"),
    ]
    assert "checks of every record: yes." in said
    assert re.search(r"^   created? +jobs +payments/payments: written$", said, re.M)
    assert "Read back from the cluster: it is what the backup has." in said
    assert said.splitlines()[-1].startswith("Next: `make lab`, or `snapkit lab`, opens")
    assert max(map(len, said.splitlines())) <= 120


def test_the_demo_shows_no_secret() -> None:
    said = fine("demo")
    tokens = [
        token["SecretID"] for path in ORACLES.rglob("tokens.json") for token in json.loads(path.read_text()).values()
    ]
    tokens += [json.loads(path.read_text())["SecretID"] for path in ORACLES.rglob("bootstrap.json")]
    assert len(tokens) > 10
    assert [token for token in tokens if token in said] == []
