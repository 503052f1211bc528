"""How long comparing two archives takes that differ in 1 record of 100, against scanning both.

    python -m bench.compare                                   # print the figures
    python -m bench.compare --write bench/compare-results.md  # and keep them

Scanning both is opening both: inflating, hashing and framing, no record decoded. The floor, inflating both and nothing
else, is in the table too. A server writes the entries of maps in any order, so that a real later archive has records of
other bytes that are equal all the same: the last row is of such a one.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import snapkit
from bench.grow import grow
from bench.speed import SMALL, floor, peak_memory
from bench.turns import medians, options, publish
from snapkit.format import archive
from snapkit.format.values import pack, unpack

EVERY = 100  # one record of so many differs


def inflate(earlier: str, later: str) -> None:
    for path in (earlier, later):
        floor(path)


def scan(earlier: str, later: str) -> None:
    for path in (earlier, later):
        snapkit.open(path).close()


def compare(earlier: str, later: str) -> None:
    changes = snapkit.compare(earlier, later)
    len(changes.fields)


MEASURED: dict[str, Callable[[str, str], None]] = {"inflate": inflate, "scan": scan, "compare": compare}


def later(path: Path, target: Path, *, shuffled: bool) -> int:
    """Write the archive that comes after another; give how many records differ."""
    chosen = random.Random(0)
    changed = 0

    def state(snapshot: snapkit.Snapshot) -> Iterator[bytes]:
        nonlocal changed
        yield snapshot.header
        for number, (byte, value) in enumerate(snapshot.raw()):
            differs = number % EVERY == 0 and b"ModifyIndex" in (record := unpack(value))
            if shuffled:
                record = reordered(unpack(value), chosen)
            if differs:
                record[b"ModifyIndex"] += 1
                for field in (b"StatusDescription", b"Description", b"ClientDescription", b"Name"):
                    if field in record:
                        record[field] = b"changed"
                        break
                changed += 1
            yield bytes([byte]) + (pack(record) if differs or shuffled else bytes(value))

    with snapkit.open(path) as snapshot, tempfile.TemporaryFile() as file:
        for piece in state(snapshot):
            file.write(piece)
        size = file.tell()
        file.seek(0)
        archive.write(target, snapshot.archive.meta, iter(lambda: file.read(1 << 20), b""), size)
    return changed


def reordered(value: Any, chosen: random.Random) -> Any:
    """Maps of a record in another order, as Go ranges over them; a struct's fields stay."""

    def inner(value: Any, top: bool) -> Any:
        if isinstance(value, dict):
            items = [(key, inner(item, False)) for key, item in value.items()]
            if not top and not all(key[:1].isupper() for key in value if isinstance(key, bytes)):
                chosen.shuffle(items)
            return dict(items)
        return [inner(item, False) for item in value] if isinstance(value, list) else value

    return inner(value, True)


def child(name: str, *paths: str) -> None:
    MEASURED[name](str(SMALL), str(SMALL.with_name("thursday.snap")))  # what is imported or set up on first use
    started = time.perf_counter()
    MEASURED[name](*paths)
    print(time.perf_counter() - started, peak_memory())


def report(figures: dict[str, tuple[float, ...]], size: int, changed: int, rounds: int) -> str:
    scanned, base = figures["scan"][0], figures["inflate"][0]
    rows = {
        "inflate": "inflating both",
        "scan": "scanning both (`open`)",
        "compare": "`compare`, and all its fields",
        "compare-shuffled": "the same, maps in another order",
    }
    lines = [
        f"| {what} | {figures[name][0]:.3f} | {figures[name][0] / scanned:.2f} | {figures[name][0] / base:.2f} | "
        f"{figures[name][1] / 1024:.0f} MiB |"
        for name, what in rows.items()
    ]
    return "\n".join(
        [
            "# Comparing",
            "",
            f"Two archives of {size / 1e6:.0f} MB of state each, made by `bench/grow.py` from Friday's;",
            f"{changed:,} records (1 of {EVERY}) differ.",
            f"Medians of {rounds} rounds, taking turns. Aim: at most 3 times scanning both.",
            "",
            "| what | seconds | of scanning | of inflating | peak memory of the process |",
            "| --- | --- | --- | --- | --- |",
            *lines,
            "",
        ]
    )


def main() -> None:
    parser = options(__doc__, 5)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        earlier, after, shuffled = (Path(folder) / name for name in ("a.snap", "b.snap", "c.snap"))
        size, _ = grow(SMALL, earlier, asked.megabytes)
        changed = later(earlier, after, shuffled=False)
        later(earlier, shuffled, shuffled=True)
        commands = {name: ("bench.compare", name, str(earlier), str(after)) for name in MEASURED}
        commands["compare-shuffled"] = ("bench.compare", "compare", str(earlier), str(shuffled))
        page = report(medians(commands, asked.rounds), size, changed, asked.rounds)
    publish(page, asked.write)


if __name__ == "__main__":
    main()
