"""What the tests share: the real archives, what Nomad's own tools say of them, and how to open one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import snapkit

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
ORACLES = ROOT / "tests" / "oracles"

#: Every real archive, as `<cluster>/<day>`.
ARCHIVES = sorted(str(path.relative_to(DATA).with_suffix("")) for path in DATA.rglob("*.snap"))
#: Every copy that a server kept under its data directory.
RAFT_DIRECTORIES = sorted(str(path.parent.relative_to(DATA)) for path in DATA.rglob("raft-snapshots/*/meta.json"))

# The same examples each time, as fast or slow as the machine is: a test that fails here fails everywhere.
hypothesis.settings.register_profile(
    "snapkit",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("snapkit")


def path_of(archive: str) -> Path:
    """The file of one of `ARCHIVES`."""
    return DATA / f"{archive}.snap"


@cache
def oracle(archive: str, kind: str) -> Any:
    """What Nomad said of an archive: `inspect`, `state` or `api`. None if it was not asked."""
    path = ORACLES / f"{archive}.{kind}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def with_oracle(kind: str) -> list[str]:
    """The archives that Nomad was asked about."""
    return [archive for archive in ARCHIVES if (ORACLES / f"{archive}.{kind}.json").exists()]


@pytest.fixture(scope="module")
def opened() -> Iterator[Callable[[str], snapkit.Snapshot]]:
    """Opens one of `ARCHIVES`, once for each module."""
    with ExitStack() as stack:
        yield cache(lambda archive: stack.enter_context(snapkit.open(path_of(archive))))


@pytest.fixture
def open_() -> Iterator[Callable[..., snapkit.Snapshot]]:
    """`snapkit.open()` that closes when the test ends."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(snapkit.open(*args, **kwargs))
