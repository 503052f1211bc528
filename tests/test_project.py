"""The project as it is handed over: its wheel, its dependencies, and what its files may not hold."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from snapkit import __version__

from .conftest import DATA, ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


@cache
def tracked() -> list[Path]:
    """The files that git knows, new ones that it would take too."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    # A checkout may belong to somebody else, as in a container.
    git = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(git, cwd=ROOT, capture_output=True, check=True)
    return [path for name in done.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


# -- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from what git knows, so that nothing else gets in or is missed."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed here, and a build would fetch it from the network")
    folder = tmp_path_factory.mktemp("wheel")
    for path in tracked():
        target = folder / "source" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*words, str(folder / "source")], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_notebooks_data_and_types(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {"snapkit/py.typed", "snapkit/cli/app.py", "snapkit/format/nomad_types.json"} <= names
    assert "snapkit/config/labconfig/default_setting_overrides.json" in names
    for source in ("notebooks", "data"):
        files = [path.relative_to(ROOT) for path in tracked() if path.is_relative_to(ROOT / source)]
        assert files
        assert {f"snapkit/_share/{path}" for path in files} <= names
    assert wheel.read("snapkit/_share/data/v2.0.5/monday.snap") == (DATA / "v2.0.5" / "monday.snap").read_bytes()


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"snapkit", f"snapkit-{__version__}.dist-info", f"snapkit-{__version__}.data"}
    parts = {part for name in wheel.namelist() for part in name.split("/")}
    assert not parts & {"tests", "bench", "docs", "oracles", "__pycache__", ".ipynb_checkpoints", "conftest.py"}
    assert not [name for name in wheel.namelist() if name.endswith((".pyc", ".orig"))]


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    about = f"snapkit-{__version__}.dist-info"
    metadata = wheel.read(f"{about}/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    scripts = wheel.read(f"{about}/entry_points.txt").decode()
    assert scripts.split() == ["[console_scripts]", "snapkit", "=", "snapkit.cli:main"]


def test_jupyter_finds_the_viewer_in_an_environment_with_the_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    pytest.importorskip("jupyterlab")
    venv.create(tmp_path / "venv", symlinks=True)
    python, packages = tmp_path / "venv" / "bin" / "python", next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))  # all that the wheel needs

    def run(*words: str) -> str:
        environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "NO_COLOR": "1"}
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr)

    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps")
    run(*pip, str(wheel.filename))
    lab = run(str(python), "-m", "jupyterlab.labextensions", "list")
    assert re.search(rf"^ *snapkit v{re.escape(__version__)} enabled +OK \(python, snapkit\)$", lab, re.M), lab
    server = run(str(python), "-m", "jupyter_server", "extension", "list")
    assert re.search(rf"^ *snapkit\.jupyter\.server {re.escape(__version__)} OK$", server, re.M), server


def test_the_viewer_has_the_version_of_the_package() -> None:
    viewer = json.loads((ROOT / "snapkit/jupyter/labextensions/snapkit/package.json").read_text())
    assert viewer["version"] == __version__


# -- dependencies


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def extras() -> dict[str, list[str]]:
    found: dict[str, list[str]] = PROJECT["optional-dependencies"]
    return found


#: They need a browser's worth of packages, a server or a cloud; who only reads archives has none of them.
HEAVY = [
    "jupyterlab",
    "ipywidgets",
    "matplotlib",
    "plotly",
    "starlette",
    "uvicorn",
    "dask",
    "distributed",
    "duckdb",
    "sqlite-utils",
    "s3fs",
    "gcsfs",
    "adlfs",
    "cryptography",
    "pyrage",
    "hypothesis",
    "pytest",
    "playwright",
]


@pytest.mark.parametrize("heavy", HEAVY)
def test_what_only_some_need_is_an_extra(heavy: str) -> None:
    assert heavy not in names(PROJECT["dependencies"])
    assert heavy in names([text for name, texts in extras().items() if name != "all" for text in texts])


def test_all_has_every_extra() -> None:
    [everything] = extras()["all"]
    assert Requirement(everything).name == "snapkit"
    assert Requirement(everything).extras == extras().keys() - {"all"}


#: Modules of what comes with another of our dependencies, by an API that the other gives out: its bounds are theirs.
WITH_ANOTHER = {"IPython": "ipykernel", "numpy": "pandas", "tornado": "jupyter-server", "urllib3": "requests"}


def test_what_the_package_imports_is_a_dependency() -> None:
    known = names([text for texts in [PROJECT["dependencies"], *extras().values()] for text in texts])
    distributions = packages_distributions()
    missing = set()
    for path in tracked():
        if path.suffix != ".py" or not path.is_relative_to(ROOT / "snapkit"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for module in {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"snapkit"}:
                needed = WITH_ANOTHER.get(module) or distributions.get(module, [module])[0]
                if canonicalize_name(needed) not in known:
                    missing.add(f"{path.name} imports {module}, of {needed}")
    assert missing == set()


PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;#]+)(?: ?;[^#]+)?(?:\s*#.*)?")


def test_constraints_are_pins_and_nothing_else() -> None:
    lines = [line for line in CONSTRAINTS if line.strip() and not line.startswith("#")]
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    assert [line for line in CONSTRAINTS if "://" in line or line.startswith("-")] == []
    for line in lines:
        pin = Requirement(line.partition("#")[0].strip())
        Version(str(pin.specifier).removeprefix("=="))
        assert not pin.url


def test_constraints_pin_what_the_project_names_within_its_bounds() -> None:
    pins = [Requirement(line.partition("#")[0]) for line in CONSTRAINTS if line.strip() and not line.startswith("#")]
    asked = [Requirement(text) for texts in [PROJECT["dependencies"], *extras().values()] for text in texts]
    assert len(asked) > 40
    for requirement in asked:
        if requirement.name == "snapkit":
            continue
        versions = [
            str(pin.specifier).removeprefix("==")
            for pin in pins
            if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        ]
        assert versions, f"{requirement.name} is not pinned"
        assert all(version in requirement.specifier for version in versions), f"{requirement} has {versions}"


# -- what no file may hold

#: Put together here, so that this file does not hold them.
PATHS = [f"/{name}/" for name in ("work", "root", "home")]
HOSTS = ["python" + "hosted.org", "artifact" + "ory", "npm" + "js.org", "nexus" + "."]
#: Recorded from real clusters, as they were; and what a fuzzer made.
RECORDED = ("data/", "tests/oracles/", "tests/corpus/")
#: These look for such paths themselves.
LOOKING = ("tests/notebooks/test_clean.py",)


def texts() -> list[tuple[str, str]]:
    """Name and content of the files that somebody wrote."""
    named = [(path.relative_to(ROOT).as_posix(), path.read_bytes()) for path in tracked()]
    return [
        (name, content.decode("utf-8"))
        for name, content in named
        if not name.startswith(RECORDED) and name not in LOOKING and b"\0" not in content
    ]


def test_there_are_files_to_look_through() -> None:
    found = [name for name, _ in texts()]
    assert {"README.md", "Makefile", "pyproject.toml", "constraints.txt", "tests/test_project.py"} <= set(found)


@pytest.mark.parametrize("path", PATHS)
def test_no_file_holds_a_path_of_a_machine(path: str) -> None:
    pattern = re.compile(rf"(?<![\w.}}/]){re.escape(path)}")
    assert [name for name, text in texts() if pattern.search(text)] == []
    assert [name for name, text in texts() if str(ROOT) in text] == []


@pytest.mark.parametrize("host", HOSTS)
def test_no_file_holds_a_registrys_host(host: str) -> None:
    assert [name for name, text in texts() if host in text.lower()] == []


def test_no_file_is_a_link_or_larger_than_a_repository_likes() -> None:
    assert [path for path in tracked() if path.is_symlink()] == []
    assert [path for path in tracked() if path.stat().st_size > 5 << 20] == []
