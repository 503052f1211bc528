"""The records of a day of hourly archives in a dataset: its size and the time, against those of one archive.

Each archive is the one before with 1% of its records changed: 0.8% written anew (another ModifyIndex, and a text of
some), 0.1% gone, 0.1% new.

    python -m bench.dataset big.snap folder --hours 24
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import snapkit
from bench.speed import peak_memory
from snapkit.fleet.catalog import Catalog
from snapkit.format import archive
from snapkit.format.schema import BY_BYTE
from snapkit.format.values import pack, text, unpack
from snapkit.state.snapshot import Snapshot

ROOT = Path(__file__).parent.parent
QUESTIONS = {
    "SQL: jobs by snapshot": lambda c: c.sql("SELECT Snapshot, count(*) FROM jobs GROUP BY ALL"),
    "SQL: failed allocations by snapshot and job": lambda c: c.sql(
        "SELECT Snapshot, JobID, count(*) FROM allocs WHERE ClientStatus = 'failed' GROUP BY ALL"
    ),
    "SQL: first task of all versions of jobs": lambda c: c.sql(
        "SELECT DISTINCT ID, TaskGroups->>'$[0].Tasks[0].Name' FROM job_versions"
    ),
    "SQL: bytes of allocations by snapshot and job": lambda c: c.sql(
        "SELECT Snapshot, JobID, sum(record_bytes) FROM allocs GROUP BY ALL"
    ),
    "SQL: one allocation, whole": lambda c: c.sql("SELECT * FROM allocs WHERE ID = (SELECT min(ID) FROM allocs)"),
    "history of a job": lambda c: c.history("jobs", *first(c)),
    "since when a job has a priority": lambda c: c.when("jobs", *first(c), "Priority >= 50"),
    "growth by job": lambda c: c.growth("job"),
    "growth by job, the first eight": lambda c: c.growth("job", top=8),
    "anomalies": lambda c: c.anomalies(),
}


def first(catalog: Catalog) -> tuple[str, ...]:
    return catalog.dataset.keys("jobs")[0]


def hours(source: Path, folder: Path, count: int) -> Iterator[Path]:
    """Archives, an hour each."""
    folder.mkdir(parents=True, exist_ok=True)
    for hour in range(count):
        target = folder / f"{hour:03d}.snap"
        if not target.exists():
            with snapkit.open(source if hour == 0 else folder / f"{hour - 1:03d}.snap") as snapshot:
                pieces = list(_state(snapshot, hour))
                meta = dict(snapshot.archive.meta)
                term, index, milliseconds = map(int, meta["ID"].split("-"))
                step = 1 if hour else 0
                meta["Index"] = index + 1000 * step
                meta["ID"] = f"{term}-{meta['Index']}-{milliseconds + 3_600_000 * step}"
                archive.write(target, meta, pieces, sum(map(len, pieces)))
        yield target


def _state(snapshot: Snapshot, hour: int) -> Iterator[bytes]:
    yield snapshot.header
    for number, (byte, value) in enumerate(snapshot.raw()):
        draw = int.from_bytes(hashlib.blake2b(b"%d-%d" % (hour, number), digest_size=4).digest(), "big") % 1000
        kind = BY_BYTE.get(byte)
        if hour == 0 or draw >= 10 or kind is None or kind.table in ("indexes", "cluster_metadata"):
            yield bytes([byte]) + value
            continue
        if draw == 0:
            continue
        record = unpack(value)
        if draw == 1 and kind.key:  # beside what is there, another one
            yield bytes([byte]) + value
            name = kind.key[-1].encode()
            if isinstance(record.get(name), bytes):
                record[name] = (text(record[name]) + f"-{hour}").encode()
        record[b"ModifyIndex"] = 1_000_000 + hour
        if b"StatusDescription" in record:
            record[b"StatusDescription"] = b"of hour %d" % hour
        yield bytes([byte]) + pack(record)


def size_of(folder: Path) -> tuple[int, int]:
    """Bytes and files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


def in_another_process(*arguments: object) -> str:
    """What this says of one piece of work in a fresh process: its memory is no other's."""
    command = [sys.executable, "-m", "bench.dataset", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def extracting(pattern: str, store: Path, workers: int) -> str:
    catalog = Catalog(pattern, store=store, level="counts", workers=workers).refresh()
    before, started, busy = peak_memory(), time.perf_counter(), time.process_time()
    told = catalog.extract()
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    size, files = size_of(store / "dataset")
    return (
        f"{busy:.1f} s of processor, {seconds:.1f} s, {size / 1e6:.1f} MB in {files} files, "
        f"{told['Records'].sum():,} records, {told['New'].sum():,} of them distinct, "
        f"{(peak_memory() - before) / 1024:,.0f} MiB of memory"
    )


def asking(pattern: str, store: Path, question: str) -> str:
    """How long one question takes, and how much memory above what the process had."""
    import duckdb  # noqa: F401 - which would count for the question else
    import pyarrow.dataset  # noqa: F401

    catalog = Catalog(pattern, store=store, level="counts").refresh()
    before, started, busy = peak_memory(), time.perf_counter(), time.process_time()
    answer = QUESTIONS[question](catalog)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    memory = (peak_memory() - before) / 1024
    return f"{busy:.2f} s of processor, {seconds:.2f} s, {memory:,.0f} MiB of memory, {len(answer):,} rows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--child", nargs=3, metavar=("PATTERN", "STORE", "QUESTION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        pattern, store, question = options.child
        store = Path(store)
        print(asking(pattern, store, question) if question else extracting(pattern, store, options.workers))
        return
    paths = list(hours(options.source, options.folder / "archives", options.hours))
    print(f"{len(paths)} archives, {sum(path.stat().st_size for path in paths) / 1e6:,.0f} MB")
    sizes = []
    same = (options.source, options.folder, "--workers", options.workers, "--child")
    patterns = {"one": paths[0], "all": options.folder / "archives" / "*.snap"}
    for name, pattern in patterns.items():
        store = options.folder / f"store-{name}"
        shutil.rmtree(store, ignore_errors=True)
        print(f"extracting {name}: {in_another_process(*same, pattern, store, '')}")
        sizes.append(size_of(store / "dataset")[0])
    print(f"all are {sizes[1] / sizes[0]:.2f} times one (at most 3)")
    for question in QUESTIONS:
        for name, pattern in patterns.items():
            told = in_another_process(*same, pattern, options.folder / f"store-{name}", question)
            print(f"{question}, of {name}: {told}")


if __name__ == "__main__":
    main()
