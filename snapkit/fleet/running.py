"""Where the work on many archives is done: in this process, on all cores of this machine, or on a Dask cluster.

Nothing here schedules: where there are more processes, Dask does. It keeps what it was given until it has a result of
it, so a worker that dies loses nothing: its archives go to the others.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from snapkit.errors import SnapshotError
from snapkit.version import __version__

if TYPE_CHECKING:
    from distributed import Client

AHEAD = 4  # items in flight for each thread of a worker: some must wait for an earlier one

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
        return f"<Runner: {where if self._client is not None or self.workers > 1 else 'this process'}>"

    def run(
        self,
        function: Callable[..., Result],
        items: Iterable[Item],
        *args: Any,
        failed: Callable[[Item, str], Result] | None = None,
    ) -> Iterator[Result]:
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
        if self._client is None and self.workers == 1:
            for item in items:
                yield function(item, *args)
            return
        with self._connected() as client:
            yield from _run(client, function, items, args, failed)

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        try:
            import distributed
        except ImportError as error:
            advice = "pip install 'snapkit[fleet]'"
            raise SnapshotError("needs the package distributed", "more than one process", advice) from error
        if isinstance(self._client, distributed.Client):
            yield self._client
            return
        if self._client is not None:
            address = str(self._client)
            try:
                client = distributed.Client(address, timeout="10s", set_as_default=False)
            except (OSError, ValueError, TypeError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise SnapshotError(
                    f"can't be reached ({reason:.200})", address, "check its address, and that it runs"
                ) from error
            with client:
                yield client
            return
        cluster = distributed.LocalCluster(
            n_workers=self.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            memory_limit=None,  # what it does with one is to end workers, and archives are streamed
        )
        with cluster, distributed.Client(cluster, set_as_default=False) as client:
            yield client


def _run(
    client: Client,
    function: Callable[..., Result],
    items: Iterable[Item],
    args: tuple[Any, ...],
    failed: Callable[[Item, str], Result] | None,
) -> Iterator[Result]:
    from distributed import KilledWorker

    _require_same_version(client)
    threads = sum(client.nthreads().values())
    flying: deque[tuple[Item, Any]] = deque()

    def landed() -> Result:
        item, future = flying.popleft()
        try:
            result: Result = future.result()
        except KilledWorker as error:
            what = "ended several workers that were at work on it"
            if failed is None:
                raise SnapshotError(what, "", "see the logs of the workers: were they out of memory?") from error
            result = failed(item, what)
        finally:
            future.release()
        return result

    try:
        for item in items:
            flying.append((item, client.submit(function, item, *args, pure=False)))
            if len(flying) >= AHEAD * max(threads, 1):
                yield landed()
        while flying:
            yield landed()
    finally:
        client.cancel([future for _, future in flying])


def _version() -> str:
    return __version__


def _require_same_version(client: Client) -> None:
    """Raise SnapshotError if a worker has another snapkit: its results would not be those of this one."""
    try:
        client.wait_for_workers(1, timeout=10)
        versions = client.run(_version)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        advice = "it needs workers with the same snapkit as here"
        raise SnapshotError(f"its workers don't answer ({reason:.200})", "the Dask cluster", advice) from error
    others = sorted({version for version in versions.values() if version != __version__})
    if others:
        advice = "install the same snapkit on all workers"
        what = f"has workers with snapkit {', '.join(others)}, and this is {__version__}"
        raise SnapshotError(what, "the Dask cluster", advice)
