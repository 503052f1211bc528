"""Many archives, verified by one core and by two, against each other in the same run on the same machine.

200 archives of four releases, one an hour, 10 of them damaged, are made from the real ones: a few large states
(bench/grow.py), each in many archives with an index and a time of its own.

    python -m bench.fleet                                # print the figures
    python -m bench.fleet --write bench/fleet-results.md # and keep them

Each measurement is a fresh process that reads all archives anew; all of them take turns, and the medians are compared.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import snapkit
from bench.grow import grow
from bench.speed import peak_memory
from bench.turns import publish
from snapkit.fleet.catalog import Catalog
from snapkit.format import archive

ROOT = Path(__file__).parent.parent
BASES = ("v2.0.5/friday", "v1.8.4/tuesday", "v1.4.14/tuesday", "v0.12.12/tuesday")
HOUR = 3_600_000  # milliseconds
START = 1_788_220_800_000
DAMAGED = 20  # one of so many
TURN = 40  # archives


def make(folder: Path, count: int, megabytes: int) -> tuple[int, int]:
    """Make the archives.

    Returns:
        The bytes of their states and of the archives, on average.
    """
    folder.mkdir(parents=True, exist_ok=True)
    states, sizes = 0, 0
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        for at, base in enumerate(BASES):
            grown = Path(temporary) / "grown.snap"
            grow(ROOT / "data" / f"{base}.snap", grown, megabytes, seed=at)
            with snapkit.open(grown) as snapshot:
                for number in range(at, count, len(BASES)):
                    target = folder / f"{number:04d}.snap"
                    meta = dict(snapshot.archive.meta)
                    index = int(meta["Index"]) + number
                    meta |= {"Index": index, "ID": f"{meta['Term']}-{index}-{START + number * HOUR}"}
                    archive.write(target, meta, snapshot.chunks(), snapshot.meta.size, overwrite=True)
                    if number % DAMAGED == DAMAGED - 1:
                        damage(target, number)
                    states += snapshot.meta.size
                    sizes += target.stat().st_size
    return states // count, sizes // count


def sizes_of(folder: Path) -> tuple[int, int]:
    """As `make()`, of archives that are there."""
    frame = Catalog(str(folder), level="meta").archives
    return int(frame["StateBytes"].dropna().mean()), int(frame["Size"].mean())


def damage(path: Path, number: int) -> None:
    """Cut an archive short, or alter some bytes of it."""
    data = bytearray(path.read_bytes())
    at = len(data) * (number % 7 + 1) // 8
    if number // DAMAGED % 2:
        data[at : at + 3] = bytes(255 - byte for byte in data[at : at + 3])
    else:
        del data[at:]
    path.write_bytes(data)


def one_process(sources: list[str]) -> tuple[Catalog, float, float]:
    """In this process; with the CPU seconds and the peak of its memory in KiB."""
    before = time.process_time()
    catalog = Catalog(sources).refresh()
    return catalog, time.process_time() - before, peak_memory()


def one_core(sources: list[str]) -> tuple[Catalog, float, float]:
    """In this process, on one core: it inflates and hashes in threads, and would use more than one."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return one_process(sources)


def two_processes(sources: list[str]) -> tuple[Catalog, float, float]:
    """By two processes of this machine, their start included; CPU of all, and the highest peak of the two."""
    import distributed

    from snapkit.fleet import running

    before = time.process_time()
    with running._local_cluster(2) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        catalog = Catalog(sources, client=client).refresh()
        cpu = sum(client.run(time.process_time).values()) + time.process_time() - before
        return catalog, cpu, max(client.run(peak_memory).values())


MEASURED: dict[str, Any] = {"one core": one_core, "one process": one_process, "two processes": two_processes}


def child(name: str, folder: str, count: int) -> None:
    """Time one of them here, its imports done by then; print seconds, CPU seconds and peak memory in KiB."""
    sources = [str(path) for path in sorted(Path(folder).glob("*.snap"))[:count]]
    Catalog([str(ROOT / "data" / f"{base}.snap") for base in BASES]).refresh()  # what is imported on first use
    if name == "nothing":
        print(0, 0, peak_memory())
        return
    started = time.perf_counter()
    catalog, cpu, peak = MEASURED[name](sources)
    seconds = time.perf_counter() - started
    assert catalog.archives["Error"].str.startswith("error: archive.").sum() == count // DAMAGED
    print(seconds, cpu, peak)


def steady(folder: Path, count: int, turns: int) -> list[float]:
    """How often faster two processes are than one core, once they run: the medians of short turns, against each other.

    Returns:
        Seconds of one core, seconds of two processes, and the median of the ratio of each two turns.
    """
    import distributed

    from snapkit.fleet import running

    sources = [str(path) for path in sorted(folder.glob("*.snap"))[:count]]
    everywhere = os.sched_getaffinity(0)
    found = []
    with running._local_cluster(2) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        Catalog(sources, client=client).refresh()  # what is imported on first use
        for _ in range(turns):
            started = time.perf_counter()
            os.sched_setaffinity(0, {min(everywhere)})
            Catalog(sources).refresh()
            os.sched_setaffinity(0, everywhere)
            halfway = time.perf_counter()
            Catalog(sources, client=client).refresh()
            found.append((halfway - started, time.perf_counter() - halfway))
    seconds = [statistics.median(column) for column in zip(*found, strict=True)]
    return [*seconds, statistics.median(one / two for one, two in found)]


def measure(folder: Path, counts: list[int], rounds: int) -> dict[tuple[str, int], list[float]]:
    """Medians of seconds, CPU seconds and peak memory (KiB), by name and count; all take turns."""
    turns: dict[tuple[str, int], list[list[float]]] = {}
    for _ in range(rounds):
        for name, count in [("nothing", 0), *((name, count) for count in counts for name in MEASURED)]:
            command = [sys.executable, "-m", "bench.fleet", "--child", name, str(folder), str(count)]
            output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
            turns.setdefault((name, count), []).append([float(word) for word in output.split()])
            print(name, count, output.strip(), file=sys.stderr)
    return {key: [statistics.median(column) for column in zip(*found, strict=True)] for key, found in turns.items()}


def report(
    figures: dict[tuple[str, int], list[float]],
    turns: list[float],
    counts: list[int],
    sizes: tuple[int, int],
    rounds: int,
    load: float,
) -> str:
    """The figures as a page, each with its aim."""
    least, most = counts
    empty = figures["nothing", 0][2]

    def row(name: str, count: int) -> str:
        seconds, cpu, peak = figures[name, count]
        rate = count * sizes[0] / seconds / 1e6
        faster = figures["one core", count][0] / seconds
        cells = (f"{seconds:.1f}", f"{seconds / count * 1000:.0f}", f"{rate:.0f}", f"{faster:.2f}", f"{cpu:.1f}")
        return f"| {name} | {count} | {' | '.join(cells)} | {(peak - empty) / 1024:.0f} MiB |"

    def each(name: str, figure: int) -> float:
        """What one archive more costs: the start is in both."""
        return (figures[name, most][figure] - figures[name, least][figure]) / (most - least)

    including = figures["one core", most][0] / figures["two processes", most][0]
    constant = each("one core", 0) / (figures["one core", least][0] / least)
    return f"""# Many archives

{most} archives of four releases, {most // DAMAGED} of them damaged, of {sizes[0] / 1e6:.0f} MB of state each ({sizes[1] / 1e6:.1f} MB compressed):
all checks of verify, and the SHA-256 of each file. Made and measured by `bench/fleet.py`: medians of {rounds} rounds in fresh
processes that take turns, {os.cpu_count()} cores, Python {platform.python_version()}. Ratios count; times are noise: the load was {load:.1f} as it began.

| how | archives | seconds | ms an archive | MB of state a second | of one core | CPU seconds | memory of a process |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(row(name, count) for count in counts for name in MEASURED)}

"one core" is a process that is held to one; "one process" inflates and hashes in threads beside decoding. Memory is what
the highest peak is above that of a process that has read four small archives.

- Two processes that run already, in turns of {TURN} archives against one core: {turns[2]:.2f} times as fast ({turns[1]:.1f} s, {turns[0]:.1f} s; aim: 1.6).
- With their start, {most} archives by two processes: {including:.2f} times one core.
- Time an archive beyond the first {least}: {constant:.2f} of what it was for these (aim: 1).
- CPU an archive: {each("one core", 1):.3f} s, {sizes[0] / each("one core", 1) / 1e6:.0f} MB of state a CPU second.
"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archives", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="Where they are, or are made and left; by default nowhere for long."
    )
    parser.add_argument("--write", type=Path)
    parser.add_argument("--child", nargs=3, metavar=("NAME", "FOLDER", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1], int(options.child[2]))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="snapkit-fleet-")) / "archives"
    try:
        sizes = make(folder, options.archives, options.megabytes) if not folder.exists() else sizes_of(folder)
        counts = [DAMAGED, options.archives]
        load = os.getloadavg()[0]
        figures = measure(folder, counts, options.rounds)
        page = report(figures, steady(folder, TURN, 5), counts, sizes, options.rounds, load)
    finally:
        if options.folder is None:
            shutil.rmtree(folder.parent)
    publish(page, options.write)


if __name__ == "__main__":
    main()
