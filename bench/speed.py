"""How fast an archive is read, against the floor: inflating it and nothing else, in the same run on the same machine.

    python -m bench.speed                          # print the figures
    python -m bench.speed --write bench/results.md # and keep them

Each measurement is a fresh process; all of them take turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.grow import grow
from bench.turns import medians, options, publish

ROOT = Path(__file__).parent.parent
SMALL = ROOT / "data" / "v2.0.5" / "friday.snap"


def floor(path: str) -> None:
    """Inflate the archive with isal."""
    from isal import isal_zlib

    inflate = isal_zlib.decompressobj(wbits=31)
    with open(path, "rb") as file:  # noqa: PTH123
        while data := file.read(1 << 18):
            while data:
                inflate.decompress(data, 1 << 20)
                data = inflate.unconsumed_tail


def inspect(path: str) -> None:
    """Count records and bytes by type, and check all hashes."""
    from snapkit.format import archive
    from snapkit.format.records import Framer

    framer = Framer(index=False)
    archive.read(path, framer)
    framer.close()


def tables(path: str) -> None:
    """All tables as DataFrames, without nested fields."""
    import snapkit

    with snapkit.open(path) as snapshot:
        for table in snapshot.tables.index:
            snapshot.table(table)


def verify_framing(path: str) -> None:
    """Verify the container and the framing."""
    from snapkit.state.verify import verify

    verify(path, level="framing")


def verify_all(path: str) -> None:
    """Verify all there is to verify."""
    from snapkit.state.verify import verify

    verify(path)


MEASURED: dict[str, Callable[[str], None]] = {
    "floor": floor,
    "inspect": inspect,
    "tables": tables,
    "verify-framing": verify_framing,
    "verify": verify_all,
}


def child(name: str, path: str) -> None:
    """Time one of them here, its imports done by then; print seconds and peak memory in KiB."""
    if name == "interpreter":
        print(0, peak_memory())
        return
    if name == "command":  # as a whole process
        command = [str(Path(sys.executable).with_name("snapkit")), "inspect", "--json", path]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        print(time.perf_counter() - started, 0)
        return
    MEASURED[name](str(SMALL))  # what is imported or set up on first use
    started = time.perf_counter()
    MEASURED[name](path)
    seconds = time.perf_counter() - started
    print(seconds, peak_memory())


def peak_memory() -> int:
    """KiB that this process has had at most; not getrusage's figure, which a child has from its parent."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))


def measure(path: Path, rounds: int) -> dict[str, tuple[float, ...]]:
    """Medians of seconds and peak memory (KiB) by name."""
    return medians({name: ("bench.speed", name, str(path)) for name in ("interpreter", *MEASURED, "command")}, rounds)


def report(figures: dict[str, tuple[float, ...]], size: int, compressed: int, rounds: int) -> str:
    """The figures as a page, each with its target."""
    base, interpreter = figures["floor"][0], figures["interpreter"][1]

    def over(name: str) -> str:
        return f"{(figures[name][1] - interpreter) / 1024:.0f} MiB"

    def row(name: str, what: str, aim: str, memory_aim: str) -> str:
        seconds = figures[name][0]
        return f"| {what} | {seconds:.3f} | {seconds / base:.2f} | {aim} | {over(name)} | {memory_aim} |"

    process = figures["command"][0] - figures["inspect"][0]
    archive = f"{size / 1e6:.0f} MB of state ({compressed / 1e6:.0f} MB compressed, {size / compressed:.1f} to 1)"
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join(
        [
            "# Speed",
            "",
            f"An archive of {archive},",
            f"made by `bench/grow.py` from Friday's. Medians of {rounds} rounds on {machine}.",
            "The floor is inflating the archive with isal and nothing else. Ratios count; times are noise.",
            "",
            "| what | seconds | of the floor | aim | memory over the interpreter's | aim |",
            "| --- | --- | --- | --- | --- | --- |",
            row("floor", "floor", "", ""),
            row("inspect", "inspect, in process", "2.5", "64 MiB"),
            row("tables", "all tables as DataFrames", "6", ""),
            row("verify-framing", "verify, archive and framing", "2.5", ""),
            row("verify", "verify, all levels", "10", ""),
            "",
            f"`snapkit inspect` as a whole process takes {process:.2f} s more than in process (aim: 0.2 s).",
            "",
        ]
    )


def main() -> None:
    parser = options(__doc__, 7)
    parser.add_argument("--source", type=Path, default=SMALL)
    parser.add_argument("--child", nargs=2, metavar=("NAME", "PATH"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.snap"
        size, compressed = grow(asked.source, path, asked.megabytes)
        page = report(measure(path, asked.rounds), size, compressed, asked.rounds)
    publish(page, asked.write)


if __name__ == "__main__":
    main()
