"""How long redacting an archive takes, and how much memory, against the floor: inflating it and nothing else.

python -m bench.redact                                                   # print the figures
python -m bench.redact --megabytes 1000 --write bench/redact-results.md  # and keep them
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import snapkit
from bench.grow import grow
from bench.speed import SMALL, floor
from bench.turns import medians, options, publish
from snapkit.format import archive
from snapkit.state.redact.profiles import Profile
from snapkit.state.redact.whole import redact

PROFILES: tuple[Profile, ...] = ("share", "training", "strict")
LOOK = 0.05  # seconds between two looks at the memory


def zlib_floor(path: str) -> None:
    """Inflate the archive as Python's own gzip does."""
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def opening(path: str) -> None:
    snapkit.open(path).close()


def copying(path: str) -> None:
    """What is left of redacting where nothing is redacted."""
    with snapkit.open(path) as snapshot:
        archive.write(Path(path).with_suffix(".copy"), snapshot.archive.meta, snapshot.chunks(), overwrite=True)


def whole(profile: Profile, workers: int | None, path: str) -> None:
    redact(path, Path(path).with_suffix(f".{profile}"), profile=profile, key="bench", overwrite=True, workers=workers)


MEASURED: dict[str, Callable[[str], None]] = {
    "isal": floor,
    "zlib": zlib_floor,
    "open": opening,
    "copy": copying,
    **{f"one-{profile}": partial(whole, profile, 1) for profile in PROFILES},
    **{f"all-{profile}": partial(whole, profile, None) for profile in PROFILES},
}
TITLES = {
    "isal": "inflating by isal, as snapkit does",
    "zlib": "inflating by zlib, as Python's gzip does",
    "open": "opening (inflating, hashing, framing, keeping)",
    "copy": "opening, and writing the same as an archive",
    **{f"one-{profile}": f"`{profile}`, in one process" for profile in PROFILES},
    **{f"all-{profile}": f"`{profile}`, as `snapkit redact` does it" for profile in PROFILES},
}


class Memory:
    """Looks how much memory this process and those that it started have of their own: without mapped files."""

    def __init__(self) -> None:
        self.most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """The most at once, in KiB."""
        self._ended.set()
        self._thread.join()
        return self.most

    def _look(self) -> None:
        while not self._ended.wait(LOOK):
            self.most = max(self.most, sum(map(_own, [os.getpid(), *_children()])))


def _children() -> list[int]:
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        found += [int(pid) for pid in path.read_text().split()]
    return found


def _own(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def processor() -> float:
    """Seconds of the processor, of the processes that this one started and that have ended too."""
    return sum(os.times()[:4])


def child(name: str, path: str) -> None:
    run = MEASURED[name]
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.snap"
        small.write_bytes(SMALL.read_bytes())
        run(str(small))  # what is imported or set up on first use
    memory = Memory()
    spent, started = processor(), time.perf_counter()
    run(path)
    print(time.perf_counter() - started, processor() - spent, memory.end())


def report(figures: dict[str, tuple[float, ...]], size: int, compressed: int, rounds: int) -> str:
    isal, zlib = figures["isal"][0], figures["zlib"][0]
    lines = [
        f"| {TITLES[name]} | {seconds:.2f} | {seconds / zlib:.1f} | {seconds / isal:.1f} | {spent:.2f}"
        f" | {own / 1024:.0f} MiB |"
        for name, (seconds, spent, own) in figures.items()
    ]
    return "\n".join(
        [
            "# Redacting",
            "",
            f"An archive of {size / 1e6:.0f} MB of state ({size / compressed:.1f} to 1), made by `bench/grow.py` from",
            "Friday's: next to no two allocations of it have the same job. Medians of",
            f"{rounds} rounds that take turns, {os.cpu_count()} cores, Python {platform.python_version()}. Seconds are",
            "those that one waits, and those of the processor in all processes. Memory is what all of these have of",
            "their own at most, without the pages of the mapped state, which the system takes back when it needs them.",
            "Aim: 12 times inflating.",
            "",
            "| what | seconds | of zlib's | of isal's | of the processor | memory |",
            "| --- | --- | --- | --- | --- | --- |",
            *lines,
            "",
        ]
    )


def main() -> None:
    parser = options(__doc__, 3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.snap"
        size, compressed = grow(SMALL, path, asked.megabytes)
        commands = {name: ("bench.redact", name, str(path)) for name in MEASURED}
        page = report(medians(commands, asked.rounds), size, compressed, asked.rounds)
    publish(page, asked.write)


if __name__ == "__main__":
    main()
