"""How long a search of an open snapshot takes, and taking it apart by fields, against reading and inflating the state.

    python -m bench.search                                  # print the figures
    python -m bench.search --write bench/search-results.md  # and keep them

The floors: reading the same bytes once from a file that is in memory already, a mebibyte at a time, and inflating the
archive. A first search also finds the payloads of dispatched jobs, which the following ones know.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import snapkit
from bench.grow import grow
from bench.speed import SMALL, floor
from bench.turns import medians, options, publish
from snapkit.state import sizes as measured
from snapkit.state.sizes import garbage

RARE = "anonymous"  # one policy of this name
#: What is asked of an open snapshot, by name.
SEARCHES: dict[str, Callable[[snapkit.Snapshot], object]] = {
    "text": lambda snap: snap.search(RARE),
    "no-case": lambda snap: snap.search(RARE.upper(), ignore_case=True),
    "regex": lambda snap: snap.search(r"\bstratum(?:\+\w+)?[:.]\S+", regex=True),
    "words": lambda snap: snap.search(r"stratum|xmrig|minerd", regex=True),
    "many": lambda snap: snap.search("storefront"),
}
SIZES: dict[str, Callable[[snapkit.Snapshot], object]] = {
    "sizes-by-job": lambda snap: measured.sizes(snap, "job"),
    "sizes-by-field": lambda snap: measured.sizes(snap, "field"),
    "duplication": measured.duplication,
    "garbage": garbage.collectable,
}


def read(state: str) -> None:
    """Read a file that is in the page cache."""
    with open(state, "rb", buffering=0) as file:  # noqa: PTH123
        while file.read(1 << 20):
            pass


def child(name: str, archive: str, state: str) -> None:
    """Time one of them here; print seconds, and seconds of processors."""
    kind, _, rest = name.partition(":")
    if kind in ("read", "inflate"):
        ask = (lambda: read(state)) if kind == "read" else (lambda: floor(archive))
        ask()
        timed(ask)
        return
    question = (SEARCHES | SIZES)[rest]
    with snapkit.open(SMALL) as small, snapkit.open(archive) as snapshot:
        question(small)  # what is imported or set up on first use
        if kind == "again":
            question(snapshot)
        timed(lambda: question(snapshot))


def timed(ask: Callable[[], object]) -> None:
    started, used = time.perf_counter(), time.process_time()
    ask()
    print(time.perf_counter() - started, time.process_time() - used)


def report(figures: dict[str, tuple[float, ...]], size: int, hits: dict[str, int], rounds: int) -> str:
    """The figures as a page."""
    base, inflating = figures["read"][0], figures["inflate"][0]

    def row(name: str, what: str, aim: str = "") -> str:
        seconds, used = figures[name]
        return f"| {what} | {seconds:.3f} | {seconds / base:.1f} | {seconds / inflating:.2f} | {aim} | {used:.3f} |"

    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join(
        [
            "# Search and sizes",
            "",
            f"Of an open snapshot of {size / 1e6:.0f} MB of state, made by `bench/grow.py` from Friday's: no time here",
            f"has the opening in it. Medians of {rounds} rounds of fresh processes on {machine}.",
            "Ratios count; times are noise. A search scans with a thread for each core.",
            "",
            "| what | seconds | of reading it | of inflating it | aim, of reading it | seconds of processors |",
            "| --- | --- | --- | --- | --- | --- |",
            row("read", "reading state.bin from the page cache, 1 MiB at a time"),
            row("inflate", "inflating the archive with isal"),
            row("first:text", f"a text ({hits['text']} hits), first search"),
            row("again:text", "the same, again", "1.5"),
            row("again:no-case", "the same in another case, again"),
            row("first:regex", f"a regular expression with a literal in it ({hits['regex']} hits), first search"),
            row("again:regex", "the same, again", "1.5"),
            row("again:words", f"one with no literal that all matches hold ({hits['words']} hits), again"),
            row("again:many", f"a text with {hits['many']:,} hits, again"),
            row("first:sizes-by-job", "sizes by job"),
            row("first:sizes-by-field", "sizes by field, all levels"),
            row("first:duplication", "duplication"),
            row("first:garbage", "what garbage collection takes"),
            "",
            "A first search also looks where the payloads of dispatched jobs are, of which this state has "
            f"{hits['payloads']:,}; the following ones know.",
            "",
        ]
    )


def main() -> None:
    parser = options(__doc__, 7)
    parser.add_argument("--source", type=Path, default=SMALL)
    parser.add_argument("--child", nargs=3, metavar=("NAME", "ARCHIVE", "STATE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        path, state = Path(folder) / "big.snap", Path(folder) / "state.bin"
        size, _ = grow(asked.source, path, asked.megabytes)
        with snapkit.open(path) as snapshot, state.open("wb") as file:
            file.writelines(snapshot.chunks())
            hits = {name: len(SEARCHES[name](snapshot)) for name in ("text", "regex", "words", "many")}  # type: ignore[arg-type]
            hits["payloads"] = int((snapshot.jobs["Payload"].dropna().map(len) > 0).sum())
        names = ["read", "inflate", "first:text", "first:regex"]
        names += [f"again:{name}" for name in SEARCHES] + [f"first:{name}" for name in SIZES]
        children = {name: ("bench.search", name, str(path), str(state)) for name in names}
        page = report(medians(children, asked.rounds), size, hits, asked.rounds)
    publish(page, asked.write)


if __name__ == "__main__":
    main()
