"""JupyterLab on a private copy of the notebooks and their data, with the viewer for archives."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from snapkit.errors import SnapshotError, SourceError

SHARED = ("notebooks", "data")


def shared(name: str) -> Path:
    """The folder of notebooks or data that comes with snapkit, in a checkout or in an installed wheel.

    Raises:
        SourceError: It is not there.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "_share" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise SourceError(f"{name}/ is missing", str(package.parent), "install snapkit anew")


def prepare_lab(folder: str | os.PathLike[str]) -> Path:
    """A private copy of the notebooks and their data in `folder`, to work in. What is there already is left alone."""
    folder = Path(folder)
    for name in SHARED:
        source = shared(name)
        for file in sorted(source.rglob("*")):
            if file.is_dir() or ".ipynb_checkpoints" in file.parts:
                continue
            target = folder / name / file.relative_to(source)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
    return folder / "notebooks"


def lab_command(notebooks: Path, arguments: list[str]) -> list[str]:
    """The command that starts JupyterLab on a folder of notebooks: on loopback, asking nobody for news or updates.

    Raises:
        SnapshotError: JupyterLab is not installed.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise SnapshotError("is not installed", "JupyterLab", "pip install 'snapkit[lab]'")
    return [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={notebooks.parent.absolute()}",
        f"--LabApp.default_url=/lab/tree/{notebooks.name}",
        "--ServerApp.ip=127.0.0.1",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--LabApp.extra_labextensions_path={Path(__file__).parent / 'labextensions'}",
        *arguments,
    ]


def lab_environment() -> dict[str, str]:
    """The environment that JupyterLab is started in: this one, with our settings ahead (no news unasked, the viewer's
    part of the server)."""
    path = os.environ.get("JUPYTER_CONFIG_PATH", "")
    ours = str(Path(__file__).parents[1] / "config")
    return os.environ | {"JUPYTER_CONFIG_PATH": f"{ours}{os.pathsep}{path}" if path else ours}
