"""Where the work on many archives is done: in this process, on all cores of this machine, or on a Dask cluster.

Nothing here schedules: where there are more processes, Dask does. It keeps what it was given until it has a result of
it, so a worker that dies loses nothing: its archives go to the others.
"""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from snapkit.errors import SnapshotError
from snapkit.version import __version__

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

AHEAD = 4  # items in flight for each thread of a worker: some must wait for an earlier one
PATIENCE = 10.0  # seconds that a Dask cluster has to answer

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Hidden(Generic[T]):
    """A value that goes to the workers and is not shown on the way: not in a repr, a log or a dashboard."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<hidden>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


class Runner:
    """Applies a function to items, here or elsewhere, with the same results in the same order.

    Attributes:
        workers: How many processes of this machine; 1 for this one alone.
    """

    def __init__(self, client: str | Client | None = None, workers: int = 1) -> None:
        """Say where.

        Args:
            client: A Dask cluster: its scheduler's address, such as `tcp://scheduler:8786`, or a `distributed.Client`.
            workers: Without it: how many processes of this machine. They are started for each run and end with it.

        Raises:
            SnapshotError: Both are given, or `workers` is less than 1.
        """
        if workers < 1:
            raise SnapshotError(f"is {workers}", "workers", "give the number of processes, 1 or more")
        if client is not None and workers != 1:
            raise SnapshotError("exclude each other", "client and workers", "a Dask cluster has workers of its own")
        self._client = client
        self.workers = workers

    def __repr__(self) -> str:
        where = "a Dask cluster" if self._client is not None else f"{self.workers} processes of this machine"
        return f"<Runner: {'this process' if self.here else where}>"

    def run(
        self,
        function: Callable[..., Result],
        items: Iterable[Item],
        *args: Any,
        failed: Callable[[Item, str], Result] | None = None,
    ) -> Generator[Result, None, None]:
        """`function(item, *args)` of each item, in their order, each as soon as it and those before it are there.

        However many items there are, only a few are in flight, so memory is bounded. Elsewhere than in this process,
        `function` must be had by its name (module level), and items, `args` and results are pickled: what is secret
        in items or args goes as `Hidden`, and no result has a secret in the clear.

        Args:
            function: Returns errors of one item as a result: what it raises ends the run.
            items: What it is applied to.
            args: Its further arguments.
            failed: Makes a result for an item that workers died of, and of the reason; by default the run ends.

        Raises:
            SnapshotError: There is no such cluster, it went away, or its workers can't do it.
        """
        if self.here:
            for item in items:
                yield function(item, *args)
            return
        with self._connected() as client:
            yield from _run(client, function, items, args, failed)

    @property
    def here(self) -> bool:
        """Is it all done in this process?"""
        return self._client is None and self.workers == 1

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        try:
            import distributed
        except ImportError as error:
            advice = "pip install 'snapkit[fleet]'"
            raise SnapshotError("needs the package distributed", "more than one process", advice) from error
        if isinstance(self._client, distributed.Client):
            yield self._client
        elif self._client is not None:
            with _client_of(str(self._client)) as client:
                yield client
        else:
            with _local_cluster(self.workers) as cluster, distributed.Client(cluster, set_as_default=False) as client:
                yield client


def _client_of(address: str) -> Client:
    import distributed

    try:
        return distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        what = f"can't be reached ({_reason(error)})"
        raise SnapshotError(what, f"the Dask cluster {address}", "check its address, and that it runs") from error


#: No pages, and no more looking at itself than it must: by default that takes a tenth of the time that work takes.
_QUIET: dict[str, Any] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}


@contextmanager
def _local_cluster(workers: int) -> Iterator[LocalCluster]:
    """Processes on loopback that take nothing from anybody else: TLS by certificates that are gone with them.

    Ctrl-C is for this process, which ends them: they do not hear it, as a thread that does not starts them. It waits
    until they have started, as what is half started could be ended by nobody.
    """
    resource_tracker.ensure_running()  # which would let them hear it, if it were started with the first of them
    with TemporaryDirectory(prefix="snapkit-") as folder, ThreadPoolExecutor(1, initializer=_hear_no_ctrl_c) as thread:
        started = thread.submit(_start, workers, folder)
        try:
            yield started.result()
        finally:
            with suppress(SnapshotError):  # told by then
                started.result().close()


def _hear_no_ctrl_c() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # of this thread, and of what is started by it


def _start(workers: int, folder: str) -> LocalCluster:
    import dask
    import distributed

    try:
        with dask.config.set(_QUIET | {"temporary-directory": folder}):
            return distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                security=True,
                silence_logs=logging.CRITICAL,
                memory_limit=None,  # at one, it would end workers; archives are streamed
            )
    except ImportError as error:
        advice = "pip install 'snapkit[fleet]'"
        raise SnapshotError("needs the package cryptography", "more than one process", advice) from error
    except (RuntimeError, OSError, TimeoutError) as error:
        advice = "a script that asks for some needs `if __name__ == '__main__':` around what it does"
        raise SnapshotError(f"could not be started ({_reason(error)})", f"{workers} processes", advice) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _run(
    client: Client,
    function: Callable[..., Result],
    items: Iterable[Item],
    args: tuple[Any, ...],
    failed: Callable[[Item, str], Result] | None,
) -> Generator[Result, None, None]:
    from distributed import KilledWorker

    _require_same_version(client)
    most = AHEAD * max(sum(client.nthreads().values()), 1)
    flying: deque[tuple[Item, Any]] = deque()

    def landed() -> Result:
        item, future = flying[0]
        try:
            result: Result = future.result()
        except KilledWorker as error:
            what = "ended the workers that were at work on it, one after another"
            if failed is None:
                raise SnapshotError(what, "", "see the logs of the workers: were they out of memory?") from error
            result = failed(item, what)
        except (CancelledError, OSError) as error:
            advice = "see that its scheduler runs, and begin again"
            raise SnapshotError(f"went away ({_reason(error)})", "the Dask cluster", advice) from error
        flying.popleft()
        return result

    try:
        for item in items:
            flying.append((item, client.submit(function, item, *args, pure=False)))
            if len(flying) >= most:
                yield landed()
        while flying:
            yield landed()
    finally:  # what is in flight when the caller wants no more
        with suppress(Exception):
            client.cancel([future for _, future in flying])


def _version() -> str:
    return __version__


def _require_same_version(client: Client) -> None:
    """Raise SnapshotError if a worker has another snapkit: its results would not be those of this one."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
        versions = client.run(_version)
    except Exception as error:  # whatever a worker without snapkit raises
        advice = "start workers that have the same snapkit as here"
        raise SnapshotError(f"has no workers that answer ({_reason(error)})", "the Dask cluster", advice) from error
    others = sorted({version for version in versions.values() if version != __version__})
    if others:
        advice = "install the same snapkit on all workers"
        what = f"has workers with snapkit {', '.join(others)}, and this is {__version__}"
        raise SnapshotError(what, "the Dask cluster", advice)
