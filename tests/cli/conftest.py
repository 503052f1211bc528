"""Clusters that the environment names, as a person has exported it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import snapkit
from snapkit.cluster.server import ServedCluster

from ..conftest import path_of


@contextmanager
def named(archive: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedCluster]:
    with snapkit.serve(path_of(archive)) as cluster:
        monkeypatch.setenv("NOMAD_ADDR", cluster.address)
        monkeypatch.setenv("NOMAD_TOKEN", cluster.token)
        yield cluster


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedCluster]:
    """Monday, named by the environment."""
    with named("v2.0.5/monday", monkeypatch) as cluster:
        yield cluster


@pytest.fixture
def friday(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedCluster]:
    """Friday, named by the environment."""
    with named("v2.0.5/friday", monkeypatch) as cluster:
        yield cluster
