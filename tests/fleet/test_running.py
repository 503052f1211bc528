"""Where to run: the same results in the same order, a bounded number in flight, and what comes of workers that die."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from snapkit import SnapshotError
from snapkit.fleet import running
from snapkit.fleet.running import AHEAD, Hidden, Runner

from . import work

distributed = pytest.importorskip("distributed")


def test_here_it_is_one_after_another() -> None:
    runner = Runner()
    assert runner.here
    started: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            started.append(number)
            yield number

    results = runner.run(work.double, items(), 1)
    assert [next(results) for _ in range(3)] == [1, 3, 5]
    assert started == [0, 1, 2]
    assert {*Runner().run(work.process, range(3))} == {os.getpid()}


def test_elsewhere_it_is_the_same_in_the_same_order(client: Any) -> None:
    assert list(Runner(client).run(work.double, range(100), 1)) == list(Runner().run(work.double, range(100), 1))
    assert list(Runner(client).run(work.double, [])) == []
    pids = set(Runner(client).run(work.process, range(20)))
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_few_are_in_flight_however_many_there_are(client: Any) -> None:
    started: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            started.append(number)
            yield number

    results = Runner(client).run(work.double, items())
    assert [next(results) for _ in range(5)] == [0, 2, 4, 6, 8]
    assert len(started) <= AHEAD * 2 + 5
    results.close()  # and what was in flight is forgotten
    assert list(Runner(client).run(work.double, range(3))) == [0, 2, 4]


def test_secrets_go_hidden(client: Any) -> None:
    [(item, key, shown)] = Runner(client).run(work.revealed, [Hidden("canary")], Hidden(b"key"))
    assert (item, key) == ("canary", b"key")
    assert shown == "(<hidden>, <hidden>)"


def test_a_mistake_of_ours_ends_the_run(client: Any) -> None:
    for runner in (Runner(), Runner(client)):
        with pytest.raises(ValueError, match="no 0"):
            list(runner.run(work.fail, range(3)))


def test_a_cluster_that_is_not_there_is_told() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "PATIENCE", 0.5)
        with pytest.raises(SnapshotError, match=r"the Dask cluster tcp://127\.0\.0\.1:9: can't be reached"):
            list(Runner("tcp://127.0.0.1:9").run(work.double, range(3)))
    with pytest.raises(SnapshotError, match="the Dask cluster nonsense://x: can't be reached"):
        list(Runner("nonsense://x").run(work.double, range(3)))


def test_workers_with_another_snapkit_are_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "__version__", "99.0")
    with pytest.raises(SnapshotError, match=r"has workers with snapkit .*, and this is 99\.0; install the same"):
        list(Runner(client).run(work.double, range(3)))


def test_nothing_of_it_listens_to_anybody_else(client: Any) -> None:
    import psutil  # type: ignore[import-untyped]

    assert client.scheduler.address.startswith("tls://127.0.0.1:")
    me = psutil.Process()
    listening = [c for p in (me, *me.children(recursive=True)) for c in p.net_connections() if c.status == "LISTEN"]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
    with pytest.raises((OSError, TimeoutError)):  # who has no certificate of this run is not let in
        distributed.Client(client.scheduler.address.replace("tls", "tcp"), timeout=1, set_as_default=False)


def test_processes_that_do_not_start_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a script without a guard, which begins anew in each process."""

    def start(*arguments: Any, **more: Any) -> Any:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(distributed, "LocalCluster", start)
    with pytest.raises(SnapshotError, match=r"2 processes: could not be started .*needs `if __name__ == '__main__':`"):
        list(Runner(workers=2).run(work.double, range(3)))
