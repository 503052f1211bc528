"""How long redacting an archive takes, and how much memory, against the floor: inflating it and nothing else.

    python -m bench.redact                                  # print the figures
    python -m bench.redact --write bench/redact-results.md  # and keep them

Seconds are of the processor, all threads together: what else the machine does does not meet them. The rows that
redact the records do so in an open snapshot; what else the whole takes is opening it and compressing the new archive.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import snapkit
from bench.grow import grow
from bench.speed import SMALL, floor, peak_memory
from bench.turns import medians, options, publish
from snapkit.format import archive
from snapkit.state.redact.profiles import Profile
from snapkit.state.redact.whole import Redactor, redact
from snapkit.state.snapshot.store import Store

PROFILES: tuple[Profile, ...] = ("share", "training", "strict")


def opening(path: str) -> Callable[[], object]:
    return lambda: snapkit.open(path).close()


def writing(path: str) -> Callable[[], object]:
    snapshot = snapkit.open(path)
    target = Path(path).with_suffix(".copy")
    write = partial(archive.write, target, snapshot.archive.meta, overwrite=True)
    return lambda: write(snapshot.chunks(), snapshot.meta.size)


def records(profile: Profile, path: str) -> Callable[[], object]:
    snapshot = snapkit.open(path)

    def run() -> None:
        gc.disable()  # as redact() does
        out = Store()
        for piece in Redactor(snapshot, profile, "bench").pieces():
            out.write(piece)

    return run


def whole(profile: Profile, path: str) -> Callable[[], object]:
    target = Path(path).with_suffix(f".{profile}")
    return lambda: redact(path, target, profile=profile, key="bench", overwrite=True)


MEASURED: dict[str, Callable[[str], Callable[[], object]]] = {
    "floor": lambda path: partial(floor, path),
    "open": opening,
    "write": writing,
    **{f"records-{profile}": partial(records, profile) for profile in PROFILES},
    **{f"whole-{profile}": partial(whole, profile) for profile in PROFILES},
}
TITLES = {
    "floor": "inflating",
    "open": "opening (inflating, hashing, framing, keeping)",
    "write": "writing the same state as an archive",
    **{f"records-{profile}": f"redacting the records, `{profile}`" for profile in PROFILES},
    **{f"whole-{profile}": f"`snapkit redact --profile {profile}`" for profile in PROFILES},
}


def child(name: str, path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.snap"
        small.write_bytes(SMALL.read_bytes())
        MEASURED[name](str(small))()  # what is imported or set up on first use
    run = MEASURED[name](path)
    started = time.process_time()
    run()
    print(time.process_time() - started, peak_memory())


def report(figures: dict[str, tuple[float, float]], size: int, rounds: int) -> str:
    base = figures["floor"][0]
    lines = [
        f"| {TITLES[name]} | {seconds:.2f} | {seconds / base:.1f} | {peak / 1024:.0f} MiB |"
        for name, (seconds, peak) in figures.items()
    ]
    return "\n".join(
        [
            "# Redacting",
            "",
            f"An archive of {size / 1e6:.0f} MB of state, made by `bench/grow.py` from Friday's. Medians of {rounds}",
            "rounds, taking turns; seconds of the processor. Memory is what the process had at most: the old and the",
            "new state lie in unnamed files that are mapped, and their pages are counted while they are in use.",
            "Aim of the whole: 12 times inflating, of which opening and writing alone take most.",
            "",
            "| what | seconds | of inflating | peak memory of the process |",
            "| --- | --- | --- | --- |",
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
        size, _ = grow(SMALL, path, asked.megabytes)
        commands = {name: ("bench.redact", name, str(path)) for name in MEASURED}
        page = report(medians(commands, asked.rounds), size, asked.rounds)
    publish(page, asked.write)


if __name__ == "__main__":
    main()
