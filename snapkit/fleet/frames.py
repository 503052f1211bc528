"""Entries of a catalog as frames, and what a series of archives tells that no single one does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pandas as pd

from snapkit.fleet.entries import Entry

LATEST = 10  # steps from one archive to the next that the interval is guessed from
USABLE = ("ok", "unknown")


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    """By cluster, time and index; those of which one is not known last."""

    def place(entry: Entry) -> tuple[Any, ...]:
        unknown = not entry.cluster_id
        return unknown, entry.cluster_id, *_known(entry.created), *_known(entry.index), entry.location

    return sorted(entries, key=place)


def _known(value: int | None) -> tuple[bool, int]:
    return value is None, value or 0


def text(values: Iterable[str]) -> Any:
    """A column of text."""
    return pd.array(list(values), dtype="str")


def times(values: Iterable[int | None], unit: int = 1_000_000) -> pd.DatetimeIndex:
    """Times since 1970, each so many nanoseconds; NaT for what 64 bits of nanoseconds can't hold."""
    nat = np.iinfo(np.int64).min
    counts = [value * unit if value is not None and value * unit < 2**63 else nat for value in values]
    return pd.DatetimeIndex(np.array(counts, dtype="int64").view("M8[ns]"), tz="UTC")


def archives(entries: Iterable[Entry]) -> pd.DataFrame:
    """As `Catalog.archives`."""
    rows = ordered(entries)
    return pd.DataFrame(
        {
            "Name": text(e.source.rpartition("/")[2] for e in rows),
            "ClusterID": text(e.cluster_id for e in rows),
            "Region": text(e.region for e in rows),
            "Created": times(e.created for e in rows),
            "Index": pd.array([e.index for e in rows], dtype="UInt64"),
            "Term": pd.array([e.term for e in rows], dtype="UInt64"),
            "Version": text(e.version for e in rows),
            "Size": pd.array([e.size for e in rows], dtype="Int64"),
            "StateBytes": pd.array([e.state_bytes for e in rows], dtype="UInt64"),
            "Level": text(e.level for e in rows),
            "Verdict": text(e.verdict for e in rows),
            "Findings": pd.array([e.findings for e in rows], dtype="Int64"),
            "Error": text(e.error for e in rows),
            "SHA256": text(e.sha256 for e in rows),
            "Modified": times((e.modified for e in rows), 1),
            "ETag": text(e.etag for e in rows),
            "Snapkit": text(e.snapkit for e in rows),
            "Outdated": pd.array([e.outdated for e in rows], dtype="boolean"),
        },
        index=pd.Index(text(e.source for e in rows), name="Source"),
    )


def tables(entries: Iterable[Entry]) -> pd.DataFrame:
    """As `Catalog.tables`."""
    rows = [(e.source, t) for e in ordered(entries) for t in e.tables]
    index = [text(source for source, _ in rows), text(table.name for _, table in rows)]
    return pd.DataFrame(
        {
            "Type": text(table.type for _, table in rows),
            "Count": pd.array([table.count for _, table in rows], dtype="Int64"),
            "Bytes": pd.array([table.bytes for _, table in rows], dtype="Int64"),
        },
        index=pd.MultiIndex.from_arrays(index, names=["Source", "Table"]),
    )


def findings(entries: Iterable[Entry]) -> pd.DataFrame:
    """As `Catalog.findings`."""
    rows = [(e.source, f.check, f.severity, f.place, f.message, f.advice) for e in ordered(entries) for f in e.found]
    columns = ["Source", "Check", "Severity", "Place", "Message", "Advice"]
    return pd.DataFrame(rows, columns=columns, dtype="str").set_index("Source")


# -- of the series of each cluster


def series(entries: Iterable[Entry]) -> Iterable[tuple[str, list[Entry]]]:
    """The archives of each cluster whose time is known, in order of time."""
    dated = [entry for entry in ordered(entries) if entry.created is not None]
    return ((cluster, list(found)) for cluster, found in groupby(dated, key=lambda entry: entry.cluster_id))


def interval(found: Sequence[Entry]) -> int | None:
    """The median of the last ten steps from one archive to the next, in milliseconds; None of fewer than two.

    Of the last: older ones may have been thinned out by a retention rule.
    """
    times = sorted({entry.created for entry in found if entry.created is not None})
    steps = sorted(after - before for before, after in list(pairwise(times))[-LATEST:])
    return steps[len(steps) // 2] if len(steps) > 1 else None


def clusters(entries: Iterable[Entry]) -> pd.DataFrame:
    """As `Catalog.clusters`."""
    rows = []
    for cluster, group in groupby(ordered(entries), key=lambda entry: entry.cluster_id):
        found = list(group)
        dated = [entry.created for entry in found if entry.created is not None]
        rows.append(
            (
                cluster,
                next((e.region for e in reversed(found) if e.region), ""),
                len(found),
                sum(e.verdict == "ok" for e in found),
                sum(e.verdict == "error" for e in found),
                sum(e.size or 0 for e in found),
                min(dated, default=None),
                max(dated, default=None),
                interval(found),
            )
        )
    names, regions, counts, good, damaged, sizes, first, last, every = zip(*rows, strict=True) if rows else [()] * 9
    return pd.DataFrame(
        {
            "Region": text(regions),
            "Archives": pd.array(list(counts), dtype="Int64"),
            "Good": pd.array(list(good), dtype="Int64"),
            "Damaged": pd.array(list(damaged), dtype="Int64"),
            "Size": pd.array(list(sizes), dtype="Int64"),
            "First": times(first),
            "Last": times(last),
            "Interval": durations(every),
        },
        index=pd.Index(text(names), name="ClusterID"),
    )


def durations(milliseconds: Iterable[int | None]) -> Any:
    """A column of durations."""
    nat = np.iinfo(np.int64).min
    counts = [value * 1_000_000 if value is not None and value < 2**63 // 10**6 else nat for value in milliseconds]
    return pd.TimedeltaIndex(np.array(counts, dtype="int64").view("m8[ns]"))


def mixed(entries: Iterable[Entry]) -> pd.DataFrame:
    """As `Catalog.mixed()`."""
    folders: dict[str, dict[str, int]] = {}
    rows = ordered(entries)
    for entry in rows:
        if entry.cluster_id:
            held = folders.setdefault(entry.source.rpartition("/")[0], {})
            held[entry.cluster_id] = held.get(entry.cluster_id, 0) + 1
    strangers = []
    for entry in rows:
        folder = entry.source.rpartition("/")[0]
        held = folders.get(folder, {})
        usual = max(held, key=lambda cluster: held[cluster], default="")
        if entry.cluster_id and entry.cluster_id != usual:
            strangers.append((entry.source, folder, entry.cluster_id, usual))
    columns = ["Source", "Folder", "ClusterID", "Usual"]
    return pd.DataFrame(strangers, columns=columns, dtype="str").set_index("Source")


def went_back(entries: Iterable[Entry]) -> pd.DataFrame:
    """As `Catalog.went_back()`."""
    pairs = [
        (cluster, before, after)
        for cluster, found in series(entries)
        for before, after in pairwise([entry for entry in found if entry.index is not None])
        if (after.index or 0) < (before.index or 0)
    ]
    return pd.DataFrame(
        {
            "ClusterID": text(cluster for cluster, _, _ in pairs),
            "From": times(before.created for _, before, _ in pairs),
            "To": times(after.created for _, _, after in pairs),
            "IndexBefore": pd.array([before.index for _, before, _ in pairs], dtype="UInt64"),
            "IndexAfter": pd.array([after.index for _, _, after in pairs], dtype="UInt64"),
            "Before": text(before.source for _, before, _ in pairs),
            "After": text(after.source for _, _, after in pairs),
        }
    )


def newest_good(entries: Iterable[Entry]) -> pd.DataFrame:
    """As `Catalog.newest_good()`."""
    newest: dict[str, Entry] = {}
    for cluster, found in series(entries):
        for entry in found:
            if entry.verdict == "ok":
                newest[cluster] = entry
    frame = archives(newest.values()).reset_index().set_index("ClusterID")
    return frame[["Source", "Region", "Created", "Index", "Term", "Version", "Size", "Findings", "SHA256"]]
