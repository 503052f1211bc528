"""A Dask cluster: equal frames wherever the work is done, also where a worker is killed in the middle of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from snapkit import Catalog
from snapkit.fleet.running import Runner

from ..conftest import DATA, ROOT, path_of
from . import work
from .series import damaged, hourly, written

distributed = pytest.importorskip("distributed")

CANARY = "hunter2-canary"


class Dask:
    """A scheduler and some workers, each a process of its own, on loopback.

    Attributes:
        address: Of the scheduler.
        workers: The processes, none of which anybody starts again.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        about = folder / "scheduler.json"
        self._folder = folder
        self._variables = os.environ | {"PYTHONPATH": str(ROOT), "AWS_SECRET_ACCESS_KEY": CANARY}
        common = ("--host", "127.0.0.1", "--no-dashboard")
        self._scheduler = self._start("scheduler", *common, "--port", "0", "--scheduler-file", str(about))
        ends = time.monotonic() + 30
        while not about.exists() or not about.read_text():
            assert time.monotonic() < ends, (folder / "scheduler.log").read_text()
            time.sleep(0.05)
        self.address: str = json.loads(about.read_text())["address"]
        one = ("--nworkers", "1", "--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
        self.workers = [self._start(f"worker {n}", self.address, *common, *one) for n in range(workers)]
        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=30)

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", name.partition(" ")[0], *arguments]
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=self._variables, cwd=self._folder)

    def logs(self) -> str:
        return "".join(path.read_text() for path in self._folder.glob("*.log"))

    def stop(self) -> None:
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    cluster = Dask(tmp_path_factory.mktemp("dask"), 2)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Archives of all releases, made ones, and damaged ones."""
    folder = tmp_path_factory.mktemp("archives")
    hourly(folder, 20)
    whole = path_of("v2.0.5/friday").read_bytes()
    written(folder, "altered.snap", damaged(whole))
    written(folder, "cut.snap", whole[:9000])
    written(folder, "rubbish.snap", b"rubbish")
    return [str(folder), str(DATA / "*" / "*.snap")]


@pytest.fixture(scope="module")
def local(sources: list[str]) -> Catalog:
    return Catalog(sources, key="fixed").refresh()


def assert_same(one: Catalog, other: Catalog) -> None:
    for frame in ("archives", "tables", "findings", "clusters"):
        pd.testing.assert_frame_equal(getattr(one, frame), getattr(other, frame))
    assert one.gaps().equals(other.gaps())


@pytest.mark.usefixtures("client")
def test_two_processes_give_what_one_gives(sources: list[str], local: Catalog) -> None:
    assert_same(Catalog(sources, workers=2, key="fixed"), local)


def test_a_cluster_gives_what_one_process_gives(sources: list[str], local: Catalog, dask: Dask) -> None:
    assert len(local.archives) == 35
    assert local.archives["Verdict"].value_counts().to_dict() == {"ok": 32, "error": 3}
    told: list[int] = []
    catalog = Catalog(sources, client=dask.address, key="fixed")
    catalog.refresh(progress=lambda done, total: told.append(done))
    assert_same(catalog, local)
    assert len(told) == 35
    assert told == sorted(told)
    with distributed.Client(dask.address, set_as_default=False) as client:
        assert_same(Catalog(sources, client=client, key="fixed"), local)
        assert client.status == "running"  # it is whoever's who gave it


def test_what_cannot_be_had_there_is_a_row(tmp_path: Path, dask: Dask) -> None:
    """As where a worker does not reach the storage that the archives are in: here, for a moment, none does."""
    [path] = hourly(tmp_path / "a", 1)
    catalog = Catalog(str(tmp_path / "a"), client=dask.address)
    catalog._runner.run = _moving(path, catalog._runner.run)  # type: ignore[method-assign]
    row = catalog.archives.iloc[0]
    assert (row.Verdict, "can't be opened (No such file or directory)" in row.Error) == ("unread", True)


def _moving(path: Path, run: Any) -> Any:
    def moved(*arguments: Any, **more: Any) -> Any:
        path.rename(path.with_suffix(".gone"))
        return run(*arguments, **more)

    return moved


def test_no_secret_is_in_a_log_or_a_result(dask: Dask) -> None:
    options = {"secret": CANARY, "key": "AKIACANARY", "endpoint_url": "http://127.0.0.1:9"}
    address = "s3://backups/a.snap"
    with distributed.Client(dask.address, set_as_default=False) as client:
        catalog = Catalog(str(path_of("v2.0.5/friday")), client=client, storage_options=options, identity=CANARY)
        [(place, masked)] = catalog.run(_tokens)
        assert masked == _tokens(place)
        assert all(secret.startswith("masked:") for secret in masked)
        with pytest.raises(ValueError, match="our own mistake"):
            list(catalog.run(_mistaken))  # whose arguments Dask writes to the log of a worker
        told = str(client.get_task_stream()) + str(client.get_worker_logs()) + str(client.get_scheduler_logs())
    assert "our own mistake" in told + dask.logs()
    for secret in (CANARY, "AKIACANARY", address):
        assert secret not in told + dask.logs()


def _tokens(place: Any) -> list[str]:
    with place.open() as snap:
        return [str(secret) for secret in snap.acl_tokens["SecretID"]]


def _mistaken(place: Any) -> None:
    raise ValueError("our own mistake")


def test_a_worker_that_is_killed_changes_nothing(sources: list[str], local: Catalog, dask: Dask) -> None:
    """The last test of this file: fewer workers are left each time."""
    killed: list[int] = []

    def kill(done: int, total: int | None) -> None:
        if not killed and done:
            dask.workers[0].send_signal(signal.SIGKILL)
            killed.append(dask.workers[0].wait())

    catalog = Catalog(sources, client=dask.address, key="fixed").refresh(progress=kill)
    assert killed == [-signal.SIGKILL]
    assert_same(catalog, local)
    # What kills all who touch it is given up, and is the result of one item.
    with distributed.Client(dask.address, set_as_default=False) as client:
        client.run_on_scheduler(_give_up_at_once)
        [result] = Runner(client).run(work.die, [1], failed=work.dead)
        assert result == (1, "ended the workers that were at work on it, one after another")
    assert dask.workers[1].wait() == -signal.SIGKILL


def _give_up_at_once(dask_scheduler: Any) -> None:
    dask_scheduler.allowed_failures = 0
