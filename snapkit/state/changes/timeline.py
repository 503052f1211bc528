"""Everything in a state that can be dated, in order; and over several snapshots of a cluster, what went in between.

What has a time of its own is dated by that. What has only the Raft index that it was written at is dated by the clock
that the rest makes (`snapkit.state.changes.clock`), as a window. No text here says who did something; which token
it was done with, where a record names one, is a column.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from snapkit.errors import SnapshotError
from snapkit.files import publish, refuse_existing, temporary_name
from snapkit.format.archive import Progress, Source
from snapkit.progress import long_work
from snapkit.state.changes.clock import NAT, Clock, nanoseconds, times
from snapkit.state.changes.events import Event, events_of, last_index
from snapkit.state.snapshot import Snapshot, open_snapshot


@long_work("Dating")
def timeline(*sources: Source | Snapshot, clock: Clock | None = None, progress: Progress | None = None) -> pd.DataFrame:
    """Everything that can be dated in one snapshot, or in several ones of the same cluster.

    With several, windows shrink by what each of them knows, and what is in one and not in the next was deleted in
    between. A snapshot that was salvaged tells of no deletion: what it lacks may have been lost.

    Args:
        sources: Anything that `snapkit.open()` takes, or open snapshots, in any order.
        clock: What to date by; by default one made of them all.
        progress: Called with the bytes read so far and in all, of what is opened here; then with steps of the work.

    Returns:
        Time (when, if that is known; else NaT), TimeEarliest, TimeLatest (its window; both are Time where that is
        known, NaT where nothing bounds it), all datetime64[ns, UTC]; Kind (str; one word such as `job.submitted`);
        Table (str), Key (object; a tuple): the record that tells of it, () where that is not known; Namespace, Job,
        Node (str; its ID); Message (str; one sentence); Index (UInt64; the Raft index that it was written at: of what
        was deleted the last write of its table, where nothing else that is known is gone from it); Token (str; the
        AccessorID of the token that it was done with, where its record names that for certain: of versions of jobs that
        were registered, and of the last request to drain a node). In order of time; by index where only that is known.
        An expiry may lie ahead.

    Raises:
        SnapshotError: No source; one can't be opened or read; they are of different clusters.
    """
    if not sources:
        raise SnapshotError("is of nothing", "the timeline", "name one snapshot or more")
    with ExitStack() as stack:
        snapshots = [
            s if isinstance(s, Snapshot) else stack.enter_context(open_snapshot(s, progress=progress)) for s in sources
        ]
        snapshots.sort(key=_age)
        _refuse_strangers(snapshots)
        return _dated(events_of(snapshots, progress), clock or Clock.of(*snapshots))


def _age(snapshot: Snapshot) -> tuple[int, int]:
    created = snapshot.meta.created
    return last_index(snapshot), created.value if created is not None else 0


def _refuse_strangers(snapshots: Sequence[Snapshot]) -> None:
    """Raise if two snapshots are known to be of different clusters; those that do not say are taken at their word."""
    clusters = {s.meta.cluster_id: s.meta.source for s in snapshots if s.meta.cluster_id is not None}
    if len(clusters) > 1:
        (one, source), (other, another), *_ = clusters.items()
        what = f"are of different clusters ({one} and {other})"
        raise SnapshotError(what, f"{source} and {another}", "make a timeline of each cluster")


def _dated(events: Sequence[Event], clock: Clock) -> pd.DataFrame:
    moments = np.array([NAT if event.time is None else event.time for event in events], np.int64)
    indexes = np.array([event.index or 0 for event in events], np.uint64)
    loose = np.array([event.loose for event in events], bool) & (indexes > 0)
    later = np.array([event.later for event in events], bool) & (indexes > 0) & (moments != NAT)
    wrong = (loose | later) & ~clock.agrees(indexes, moments)
    moments[wrong & loose] = NAT
    indexes[wrong & later] = 0
    exact = moments != NAT
    windows = clock.windows(indexes)
    ranged = [place for place, event in enumerate(events) if event.between]
    since, until = (np.array([event.between[side] for event in events if event.between], np.uint64) for side in (0, 1))
    windows.iloc[ranged] = clock.windows(since, until)
    known = clock.last_known(indexes)
    known[ranged] = np.where(indexes[ranged] > 0, known[ranged], clock.last_known(since, after=True))
    indexes_by = indexes.copy()
    indexes_by[ranged] = until
    order = np.lexsort((indexes_by, np.where(exact, moments, known)))
    frame = pd.DataFrame(
        {
            "Time": times(moments),
            "TimeEarliest": times(np.where(exact, moments, nanoseconds(windows["TimeEarliest"]))),
            "TimeLatest": times(np.where(exact, moments, nanoseconds(windows["TimeLatest"]))),
            "Kind": pd.array([event.kind for event in events], dtype="str"),
            "Table": pd.array([event.table for event in events], dtype="str"),
            "Key": pd.Series([event.key for event in events], dtype="object"),
            "Namespace": pd.array([event.namespace for event in events], dtype="str"),
            "Job": pd.array([event.job for event in events], dtype="str"),
            "Node": pd.array([event.node for event in events], dtype="str"),
            "Message": pd.array([f"{event.what} {event.happened}" for event in events], dtype="str"),
            "Index": pd.array([index or None for index in indexes.tolist()], dtype="UInt64"),
            "Token": pd.array([event.token for event in events], dtype="str"),
        }
    )
    return frame.iloc[order].reset_index(drop=True)


# -- what is done with it


def select(
    frame: pd.DataFrame,
    *,
    kinds: Sequence[str] = (),
    tables: Sequence[str] = (),
    jobs: Sequence[str] = (),
    nodes: Sequence[str] = (),
    since: pd.Timestamp | None = None,
    until: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """Some events of a timeline: those that fit each of the conditions that are given.

    Args:
        frame: What `timeline()` gave.
        kinds: Kinds, or their first words (`acl_token`); may have `*` and `?`.
        tables: Tables.
        jobs: IDs of jobs; may have `*` and `?`.
        nodes: IDs of nodes, or how they begin.
        since: What happened at this moment or later, or may have.
        until: What happened at this moment or earlier, or may have.
    """
    keep = pd.Series(True, index=frame.index)
    if kinds:
        keep &= frame["Kind"].map(
            lambda kind: any(fnmatchcase(k, p) for p in kinds for k in (kind, kind.split(".")[0]))
        )
    if tables:
        keep &= frame["Table"].isin(tables)
    if jobs:
        keep &= frame["Job"].fillna("").map(lambda job: any(fnmatchcase(job, pattern) for pattern in jobs))
    if nodes:
        keep &= frame["Node"].fillna("").map(lambda node: node.startswith(tuple(nodes)))
    if since is not None:
        keep &= frame["TimeLatest"].isna() | (frame["TimeLatest"] >= since)
    if until is not None:
        keep &= frame["TimeEarliest"].isna() | (frame["TimeEarliest"] <= until)
    return frame[keep.astype(bool)].reset_index(drop=True)


def told_time(
    event: Mapping[Any, Any],
    shown: Callable[[pd.Timestamp], str],
    between: Callable[[pd.Timestamp, pd.Timestamp], str],
) -> str:
    """When an event of a timeline was, for a person: at a moment, between two, or before or after one."""
    if pd.notna(event["Time"]):
        return shown(event["Time"])
    earliest, latest = event["TimeEarliest"], event["TimeLatest"]
    if pd.isna(earliest):
        return f"before {shown(latest)}" if pd.notna(latest) else "unknown"
    return f"after {shown(earliest)}" if pd.isna(latest) else between(earliest, latest)


def write(frame: pd.DataFrame, target: str | Path, *, format: str | None = None, overwrite: bool = False) -> None:
    """Write a timeline to a file, mode 0600, that is there only when it is whole.

    CSV and JSON lines have the columns that Timesketch takes, ahead of ours: `message`, `datetime` (ISO 8601, UTC) and
    `timestamp_desc`, which says whether that is when it happened or the start (or, without one, the end) of the window
    in which it did; what nothing bounds is at 1970. Parquet has the timeline as it is, keys as lists of text.

    Args:
        frame: What `timeline()` gave, or some rows of it.
        target: The file.
        format: `csv`, `jsonl` or `parquet`; by default by the target's suffix.
        overwrite: May a file that is there be replaced?

    Raises:
        TargetExistsError: The target is there.
        SnapshotError: The format is not known, or the folder can't be written to.
    """
    target = Path(target)
    form = format or _SUFFIXES.get(target.suffix.lower(), target.suffix)
    if form not in _FORMATS:
        raise SnapshotError(f"is no format {form!r}", str(target), f"there are {', '.join(_FORMATS)}")
    refuse_existing(target, overwrite)
    with temporary_name(target) as temporary:
        _FORMATS[form](frame, temporary)
        publish(temporary, target, overwrite)


#: What the time of a row is, in the order of preference -> what Timesketch is told that it is.
_MEANINGS = {"Time": "Event Time", "TimeEarliest": "Start of Window", "TimeLatest": "End of Window"}


def _for_timesketch(frame: pd.DataFrame) -> pa.Table:
    plain = _arrow(frame)
    moments = pc.coalesce(*(plain[name] for name in _MEANINGS), pa.scalar(0, pa.timestamp("ns", "UTC")))
    known = [pc.if_else(pc.is_valid(plain[name]), meaning, None) for name, meaning in _MEANINGS.items()]
    head = {
        "message": plain["Message"],
        "datetime": _texts(pc.cast(moments, pa.timestamp("us", "UTC"), safe=False), "+00:00"),
        "timestamp_desc": pc.coalesce(*known, "Not Known"),
    }
    rest = {name: plain[name] for name in plain.column_names if name != "Message"}
    return pa.table(head | rest | {name: _texts(plain[name], "Z") for name in _MEANINGS})


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """A timeline with its keys as lists of text."""
    keys = pa.array([[str(part) for part in key] for key in frame["Key"]], pa.list_(pa.string()))
    plain = pa.Table.from_pandas(frame.drop(columns="Key"), preserve_index=False)
    return plain.add_column(list(frame.columns).index("Key"), "Key", keys)


def _texts(moments: pa.ChunkedArray, zone: str) -> pa.ChunkedArray:
    """Times as RFC 3339, with as many digits as their unit has."""
    return pc.binary_join_element_wise(pc.strftime(moments, "%Y-%m-%dT%H:%M:%S"), zone, "")


def _csv(frame: pd.DataFrame, path: Path) -> None:
    plain = _for_timesketch(frame)
    keys = pa.array([json.dumps(key, ensure_ascii=False) for key in plain["Key"].to_pylist()], pa.large_string())
    pyarrow.csv.write_csv(plain.set_column(plain.column_names.index("Key"), "Key", keys), path)


def _jsonl(frame: pd.DataFrame, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in _for_timesketch(frame).to_batches(max_chunksize=10_000):
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    pyarrow.parquet.write_table(_arrow(frame), path)


_FORMATS: Mapping[str, Callable[[pd.DataFrame, Path], None]] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
