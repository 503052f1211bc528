"""Who redacts the records: this process, or several that work for it, each of which takes a batch and gives it back.

A worker is started anew, as a program: nothing of a notebook's threads and locks is in it. What passes to and fro are
records, by a pair of sockets that only the two have; nothing of it is on disk. It ends when its other end does.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import accumulate, pairwise
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from snapkit.errors import SnapshotError
from snapkit.format.values import Buffer
from snapkit.state.redact.profiles import Profile
from snapkit.state.redact.records import Records
from snapkit.state.redact.seen import Seen

LARGE = 64 << 20  # bytes of a state from which it pays to start processes
MOST = 8  # processes: what they are given, and what they give, one process reads and writes
PATIENCE = 5.0  # seconds for a worker to end
_HOME = str(Path(__file__).parents[3])  # where snapkit is, which may have come from the folder where it is run


class Work(Protocol):
    """Who takes batches of records.

    Attributes:
        ahead: How many batches to give before the first is waited for.
    """

    ahead: int

    def redacted(self, byte: int, records: Sequence[Buffer]) -> Future[bytes]:
        """As `Records.redacted()`."""

    def end(self) -> None:
        """Have what is counted in `Records.counts` and its `values.seen`."""


def processes(asked: int | None, size: int) -> int:
    """How many are to redact a state of so many bytes.

    Raises:
        SnapshotError: Less than one was asked for.
    """
    if asked is not None:
        if asked < 1:
            raise SnapshotError(f"is {asked}", "workers", "give the number of processes, 1 or more")
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST) if size >= LARGE and sys.executable else 1


@contextmanager
def working(records: Records, count: int) -> Iterator[Work]:
    """Who redacts: this process if `count` is 1, else so many others, which are gone afterwards.

    Raises:
        SnapshotError: They can't be started.
    """
    if count == 1:
        yield _Here(records)
        return
    with ThreadPoolExecutor(count, "snapkit-redact") as threads, ExitStack() as stack:
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        yield _There(records, threads, [stack.enter_context(_started(records.given)) for _ in range(count)])


def finished(new: bytes) -> Future[bytes]:
    """What is there already."""
    done: Future[bytes] = Future()
    done.set_result(new)
    return done


class _Here:
    ahead = 0

    def __init__(self, records: Records) -> None:
        self._records = records

    def redacted(self, byte: int, records: Sequence[Buffer]) -> Future[bytes]:
        return finished(self._records.redacted(byte, records))

    def end(self) -> None:
        pass


class _There:
    """A thread for each worker gives it a batch and waits until it gives it back."""

    def __init__(self, records: Records, threads: ThreadPoolExecutor, workers: list[Connection]) -> None:
        self._records = records
        self._threads = threads
        self._workers = workers
        self.ahead = 2 * len(workers)
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        for worker in workers:
            self._idle.put(worker)

    def redacted(self, byte: int, records: Sequence[Buffer]) -> Future[bytes]:
        return self._threads.submit(self._call, byte, records)

    def _call(self, byte: int, records: Sequence[Buffer]) -> bytes:
        worker = self._idle.get()
        try:
            with _asking():
                worker.send((byte, array("Q", map(len, records))))
                worker.send_bytes(b"".join(records))
                error = worker.recv()
                if error is None:
                    return worker.recv_bytes()
        finally:
            self._idle.put(worker)
        raise error

    def end(self) -> None:
        with _asking():
            for worker in self._workers:
                worker.send(None)
            told = [worker.recv() for worker in self._workers]
        for counts, unknown in told:
            for table, places in counts.items():
                there = self._records.counts.setdefault(table, {})
                for place, count in places.items():
                    there[place] = there.get(place, 0) + count
            for struct, name in sorted(unknown):
                self._records.values.seen.note_unknown(struct, name)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        advice = "was there too little memory? Do it in one process: workers=1, --workers 1"
        raise SnapshotError("a process that redacted records has ended", "redaction", advice) from error


@contextmanager
def _started(given: tuple[Profile, bytes, Seen]) -> Iterator[Connection]:
    ours, theirs = Pipe()
    with ours:
        path = os.pathsep.join(folder for folder in (*sys.path, _HOME) if folder)  # not the folder where it is run
        try:
            with theirs:
                worker = subprocess.Popen(
                    [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # what goes wrong is sent
                    env=os.environ | {"PYTHONPATH": path},
                )
        except OSError as error:
            advice = "do it in one: workers=1, --workers 1"
            raise SnapshotError(f"can't start a process ({error.strerror})", "redaction", advice) from error
        try:
            with suppress(OSError):  # it ended at once: what asks it first says so
                ours.send(given)
            yield ours
        finally:
            worker.kill()
            worker.wait(PATIENCE)


def work(other: Connection) -> None:
    """What a worker does until there is no more to do, or nobody to do it for."""
    records = Records(*other.recv())
    while (batch := other.recv()) is not None:
        byte, sizes = batch
        data = memoryview(other.recv_bytes())
        try:
            made = records.redacted(byte, [data[a:b] for a, b in pairwise(accumulate(sizes, initial=0))])
        except Exception as error:
            other.send(error)
        else:
            other.send(None)
            other.send_bytes(made)
    other.send((records.counts, records.values.seen.unknown))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who reads and writes
    gc.disable()
    with Connection(int(sys.argv[1])) as other, suppress(EOFError, ConnectionError):
        work(other)


if __name__ == "__main__":
    main()
