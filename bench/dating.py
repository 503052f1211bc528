"""How well Raft indexes date what has no time: the times of each table are hidden in turn, and dated by the rest.

    python -m bench.dating                        # print the figures
    python -m bench.dating --write bench/dating.md # and keep them

Measured on all archives of real clusters in data/, and on a made week whose true times are known: with leaders whose
clocks differ, one that is ten minutes ahead for two hours and is set back, records that kept an old time, and ones
that another region made. Not on data/every-table: the times of its made-up objects are not those of their indexes.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

import snapkit
from snapkit.format import archive
from snapkit.format.schema import BY_TABLE
from snapkit.format.values import UNIX_EPOCH, pack
from snapkit.state.changes.clock import STAMPS, TOLERANCE, UNTRUSTED, Clock, Stamp, nanoseconds, pairs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path(__file__).parent.parent / "data"
MADE_UP = "every-table"
ENOUGH = 0.95  # of the true times inside their window, on every archive: else it is no clock

SECOND = 1_000_000_000
DAY = 86_400 * SECOND
MONDAY = 1_795_392_000 * SECOND  # 2026-11-23


class Share(NamedTuple):
    """How many hidden times lie inside the window that the rest gives, and how wide that is."""

    pairs: int
    inside: int
    width: float  # the median, in seconds, both tolerances included

    @property
    def share(self) -> float:
        return self.inside / self.pairs


def hidden(
    clock: Clock, snapshots: Sequence[snapkit.Snapshot], stamp: Stamp, truth: Mapping[int, int] | None = None
) -> Share | None:
    """Hide the times of a table and date its indexes by the rest; None if it has none.

    Args:
        clock: Of the snapshots.
        snapshots: Of one cluster.
        stamp: Of the table.
        truth: When each index was written, in Unix nanoseconds; by default the hidden times are taken for true.
    """
    pairs = pd.concat([pairs_of(snapshot, stamp) for snapshot in snapshots])[["Index", "Time"]].drop_duplicates()
    if pairs.empty:
        return None
    rest = Clock(clock.pairs[clock.pairs["Table"] != stamp.table])
    indexes = pairs["Index"].tolist()
    return share(rest, indexes, nanoseconds(pairs["Time"]) if truth is None else [truth[index] for index in indexes])


def share(clock: Clock, indexes: Sequence[int], true: Sequence[int] | NDArray[np.int64]) -> Share:
    """How many true times (Unix nanoseconds) lie inside the windows of their indexes."""
    windows = clock.windows(indexes).reset_index(drop=True)
    moments = pd.Series(pd.to_datetime(np.asarray(true), utc=True))
    early, late = windows["TimeEarliest"], windows["TimeLatest"]
    inside = (early.isna() | (early <= moments)) & (late.isna() | (moments <= late))
    return Share(len(inside), int(inside.sum()), float((late - early).dt.total_seconds().median()))


# -- a week whose true times are known


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of Raft's log."""

    index: int
    moment: int  # when it was applied, in truth
    stamp: int  # what the leader's clock showed as it made it


def make_week(target: Path, seed: int = 0, entries: int = 6_000) -> dict[int, int]:
    """Write the archive of a made-up week.

    Returns:
        When each index was written, in Unix nanoseconds.
    """
    chosen = random.Random(seed)
    log = list(_log(chosen, entries))
    state = b"".join([b"\x80", *_records(chosen, log)])
    end = log[-1].moment + 60 * SECOND
    meta = {"Version": 1, "ID": f"2-{log[-1].index}-{end // 1_000_000}", "Index": log[-1].index, "Term": 2}
    archive.write(target, meta, [state], len(state), overwrite=True)
    return {entry.index: entry.moment for entry in log}


def _log(chosen: random.Random, entries: int) -> Iterator[Entry]:
    """Entries in bursts by day and few by night, stamped by the clock of who led then."""
    moments = sorted(
        MONDAY + day * DAY + int(chosen.triangular(0, 24, 14) * 3_600 * SECOND)
        for day in range(7)
        for _ in range(entries // 7)
    )
    terms = sorted(chosen.randrange(len(moments)) for _ in range(9))  # where another server was elected
    skews = [chosen.gauss(0, 0.1) for _ in range(3)]  # seconds, of the clock of each server
    ahead = range(MONDAY + 2 * DAY + 14 * 3_600 * SECOND, MONDAY + 2 * DAY + 16 * 3_600 * SECOND)
    for index, moment in enumerate(moments, start=8):
        skew = skews[bisect(terms, index) % 3]
        if moment in ahead:
            skew += 600  # until it was set back
        delay = min(chosen.expovariate(1 / 0.02), 0.5)
        yield Entry(index, moment, moment + int((skew - delay) * SECOND))


def _records(chosen: random.Random, log: Sequence[Entry]) -> Iterator[bytes]:
    """One record of each entry, of a table by chance; older evaluations are collected, and their indexes unknown."""
    yield _record("cluster_metadata", {"ClusterID": "made-up", "CreateTime": MONDAY})
    for number, entry in enumerate(log):
        table = chosen.choices(
            ("evals", "allocs", "job_versions", "variables", "acl_tokens", "acl_policies", "deployments", "nodes"),
            (40, 20, 5, 8, 1, 6, 5, 15),
        )[0]
        old = entry.stamp - int(chosen.expovariate(1 / 3_600) * SECOND)  # the time of an earlier write
        name = f"{table}-{entry.index}"
        made: dict[str, Any] = {"CreateIndex": entry.index, "ModifyIndex": entry.index, "Namespace": "default"}
        match table:
            case "evals" if number < len(log) * 0.7:
                continue
            case "evals":
                earlier = log[max(0, number - chosen.randrange(1, 6))]
                made |= {"ID": name, "Status": "complete", "CreateIndex": earlier.index, "CreateTime": earlier.stamp}
                made["ModifyTime"] = old if chosen.random() < 0.03 else entry.stamp
            case "allocs":
                made |= {"ID": name, "CreateTime": entry.stamp, "ModifyTime": old}
            case "job_versions":
                stop = chosen.random() < 0.1
                made |= {"ID": name, "Version": 0, "Stop": stop, "JobModifyIndex": entry.index}
                made["SubmitTime"] = old if stop else entry.stamp
            case "variables":
                made |= {"Path": name, "CreateTime": entry.stamp, "ModifyTime": entry.stamp}
            case "acl_tokens":  # a few are copies of what another region made long before
                stamp = entry.stamp - (400 * DAY if chosen.random() < 0.1 else 0)
                made |= {"AccessorID": name, "Name": name, "CreateTime": _go_time(stamp)}
            case "deployments":
                made |= {
                    "ID": name,
                    "CreateTime": entry.stamp - int(chosen.expovariate(20) * SECOND),
                    "ModifyTime": old,
                }
            case "acl_policies":
                made |= {"Name": name}
            case "nodes":
                made |= {"ID": name, "Name": name}
        yield _record(table, made)


def _record(table: str, fields: Mapping[str, Any]) -> bytes:
    return bytes([BY_TABLE[table].byte]) + pack(fields)


def _go_time(nanoseconds: int) -> bytes:
    """As Go's time.Time.MarshalBinary has it."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return b"\1" + (seconds + UNIX_EPOCH).to_bytes(8, "big") + rest.to_bytes(4, "big") + b"\xff\xff"


# -- the page


def real_archives() -> list[Path]:
    return sorted(path for path in DATA.rglob("*.snap") if path.parent.name != MADE_UP)


def report() -> str:
    """The figures as a page."""
    named: dict[str, list[Path]] = {str(p.relative_to(DATA).with_suffix("")): [p] for p in real_archives()}
    named["v2.0.5, the week"] = [path for path in real_archives() if path.parent.name == "v2.0.5"]
    found: dict[str, dict[str, Share]] = {}
    for name, paths in named.items():
        snapshots = [snapkit.open(path) for path in paths]
        clock = Clock.of(*snapshots)
        for stamp in (*STAMPS, *UNTRUSTED):
            if (one := hidden(clock, snapshots, stamp)) is not None:
                found.setdefault(stamp.name, {})[name] = one
    about = __doc__.split("\n\n")
    lines = [
        "# Dating by Raft index\n",
        about[0] + "\n",
        about[2].rstrip() + "\n",
        f"The tolerance is {TOLERANCE.total_seconds():g} s on either side, and in the widths.",
        f"What has less than {ENOUGH:.0%} of its true times inside their windows on any archive is no clock.\n",
        "## Trusted\n",
        *_table(found, STAMPS),
        "\n## Not trusted\n",
        "Some would pass on these archives; what speaks against them is in `snapkit/state/changes/clock.py`.\n",
        *_table(found, UNTRUSTED),
        "\n## By archive\n",
        *_by_archive(found, list(named)),
        "\n## A made week\n",
        *_made(),
    ]
    return "\n".join(lines) + "\n"


def _table(found: Mapping[str, Mapping[str, Share]], stamps: Sequence[Stamp]) -> Iterator[str]:
    yield "| time | archives | pairs | inside, at least | median width |\n| --- | --- | --- | --- | --- |"
    for stamp in stamps:
        shares = found.get(stamp.name, {})
        least = f"{min(one.share for one in shares.values()):.0%}" if shares else "none has it"
        width = f"{_median([one.width for one in shares.values()])}"
        yield f"| {stamp.name} | {len(shares)} | {sum(one.pairs for one in shares.values())} | {least} | {width} |"


def _by_archive(found: Mapping[str, Mapping[str, Share]], names: Sequence[str]) -> Iterator[str]:
    """Each cell: times inside of those hidden, and the median width."""
    yield "Times inside of those hidden, and the median width.\n"
    yield f"| time | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}"
    for stamp in STAMPS:
        shares = found.get(stamp.name, {})
        cells = [
            f"{one.inside}/{one.pairs}, {_median([one.width])}" if (one := shares.get(name)) else "" for name in names
        ]
        yield f"| {stamp.name} | {' | '.join(cells)} |"


def _made() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "week.snap"
        truth = make_week(target)
        with snapkit.open(target) as snapshot:
            clock = Clock.of(snapshot)
            yield f"{len(truth):,} entries of Raft's log; {clock.note}.\n"
            yield "| what | indexes | inside | median width |\n| --- | --- | --- | --- |"
            for table in "acl_policies", "nodes":
                indexes = snapshot[table]["ModifyIndex"].tolist()
                yield _made_row(f"{table}, which have no times", share(clock, indexes, [truth[i] for i in indexes]))
            for stamp in STAMPS:
                if (one := hidden(clock, [snapshot], stamp, truth)) is not None:
                    yield _made_row(f"{stamp.name}, hidden", one)


def _made_row(what: str, one: Share) -> str:
    return f"| {what} | {one.pairs} | {one.share:.1%} | {_median([one.width])} |"


def _median(widths: Sequence[float]) -> str:
    known = [width for width in widths if width == width]
    return f"{np.median(known):.2f} s" if known else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    page = report()
    print(page, end="")
    if options.write:
        options.write.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
