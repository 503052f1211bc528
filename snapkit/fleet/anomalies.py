"""What is worth a look in a series of snapshots: jumps, tables that only grow, deletions in ACL tables, steps back.

Rules of thumb with fixed bounds, so that the same archives always have the same anomalies: none of them is a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import pandas as pd

from snapkit.fleet.dataset import Archive, Dataset, in_order
from snapkit.format.schema import BY_TABLE, fields

#: A step is a jump if it is all of these: so much by itself, so much of what was there, so many times a usual step.
LEAST = {"Count": 20, "Bytes": 64 << 10}
SHARE = 0.5
USUAL = 5
#: A table only grows if it never shrinks in so many snapshots, most steps are up, and it is so many times the size.
GROWS_OVER = 5
GROWS_BY = 1.5
#: Tables that say who may do what: nothing in them goes by itself, but for tokens that expire.
ACL_TABLES = ("acl_policies", "acl_tokens", "acl_roles", "acl_auth_methods", "acl_binding_rules")

_DTYPES = {
    "ClusterID": "str",
    "Kind": "str",
    "Table": "str",
    "Key": "object",
    "Created": "datetime64[ns, UTC]",
    "Snapshot": "str",
    "Message": "str",
}


class Anomaly(NamedTuple):
    """Something worth a look.

    Attributes:
        archive: The snapshot that shows it first.
        kind: `jump`, `grows`, `acl-deletion` or `index-back`.
        table: Of which table; "" if of none.
        key: Of which object; () if of none.
        message: In one sentence.
    """

    archive: Archive
    kind: str
    table: str
    key: tuple[Any, ...]
    message: str


def anomalies(dataset: Dataset, archives: Sequence[Archive], tables: pd.DataFrame) -> pd.DataFrame:
    """What is worth a look: see `Catalog.anomalies()`. The ACL tables are extracted.

    Args:
        dataset: With the ACL tables of the archives.
        archives: Whole ones.
        tables: The catalog's: Count and Bytes by Source and Table.
    """
    found: list[Anomaly] = []
    dated = [archive for archive in in_order(archives) if archive.created is not None]
    for cluster in dict.fromkeys(archive.cluster for archive in dated):
        series = [archive for archive in dated if archive.cluster == cluster]
        found += [*_by_size(series, tables), *_deletions(dataset, series), *_back(series)]
    rows = [
        {
            "ClusterID": item.archive.cluster,
            "Kind": item.kind,
            "Table": item.table,
            "Key": item.key,
            "Created": item.archive.created,
            "Snapshot": item.archive.place.source,
            "Message": item.message,
        }
        for item in sorted(found, key=lambda i: (i.archive.cluster, i.archive.created, i.kind, i.table, str(i.key)))
    ]
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in _DTYPES.items()})


def _by_size(series: Sequence[Archive], tables: pd.DataFrame) -> Iterator[Anomaly]:
    sizes: dict[str, dict[str, Mapping[str, int]]] = {}
    for (source, table), count, size in zip(tables.index, tables["Count"], tables["Bytes"], strict=True):
        sizes.setdefault(str(table), {})[str(source)] = {"Count": int(count), "Bytes": int(size)}
    for table, by_source in sorted(sizes.items()):
        values = {
            measure: [by_source.get(a.place.source, {}).get(measure, 0) for a in series]
            for measure in ("Count", "Bytes")
        }
        yield from _jumps(series, table, values)
        yield from _growth(series, table, values["Count"])


def _jumps(series: Sequence[Archive], table: str, values: Mapping[str, Sequence[int]]) -> Iterator[Anomaly]:
    for i in range(1, len(series)):
        for measure, unit in (("Count", "records"), ("Bytes", "bytes")):
            numbers = values[measure]
            steps = [abs(b - a) for a, b in pairwise(numbers)]
            before, after, step = numbers[i - 1], numbers[i], steps[i - 1]
            if step < max(LEAST[measure], SHARE * before):
                continue
            if step >= USUAL * median(steps[: i - 1] + steps[i:] or [0]):
                what = f"from {before:,} to {after:,} {unit} from one snapshot to the next"
                yield Anomaly(series[i], "jump", table, (), f"{table} {'grew' if after > before else 'shrank'} {what}")
                break


def _growth(series: Sequence[Archive], table: str, counts: Sequence[int]) -> Iterator[Anomaly]:
    if len(series) < GROWS_OVER:
        return
    steps = [b - a for a, b in pairwise(counts)]
    rising = sum(step > 0 for step in steps)
    if (
        min(steps) >= 0
        and 2 * rising > len(steps)
        and counts[-1] >= max(GROWS_BY * counts[0], counts[0] + LEAST["Count"])
    ):
        what = f"{table} only grows: from {counts[0]:,} to {counts[-1]:,} records in {len(series)} snapshots"
        yield Anomaly(series[-1], "grows", table, (), what)


def _deletions(dataset: Dataset, series: Sequence[Archive]) -> Iterator[Anomaly]:
    for table in ACL_TABLES:
        kind = BY_TABLE[table]
        there = [archive for archive in series if dataset.has(archive, table)]
        wanted = [n for n in ("Name", "Type", "ExpirationTime") if n in fields(kind.struct) and n not in kind.key]
        spans = dataset.spans(table, there)
        records = dataset.records(table).to_table(columns=["record_id", *kind.key, *wanted]).to_pylist()
        by_id = {row["record_id"]: row for row in records}
        key_of = {number: tuple(row[name] for name in kind.key) for number, row in by_id.items()}
        held: dict[tuple[Any, ...], list[tuple[int, int, int]]] = {}
        for number, first, last in zip(spans.record.tolist(), spans.first.tolist(), spans.last.tolist(), strict=True):
            held.setdefault(key_of[number], []).append((first, last, number))
        for key, periods in held.items():
            for _, end, number in periods:
                if end + 1 == len(there) or any(first <= end + 1 <= last for first, last, _ in periods):
                    continue
                row, before, after = by_id[number], there[end], there[end + 1]
                if not _expired(row, after):
                    called = f" {row['Name']!r}" if row.get("Name") else ""
                    of_type = f" ({row['Type']})" if row.get("Type") else ""
                    what = f"{kind.name} {'/'.join(map(str, key))}{called}{of_type} was deleted"
                    since = f"between {before.created:%Y-%m-%d %H:%M:%S} and {after.created:%Y-%m-%d %H:%M:%S} UTC"
                    yield Anomaly(after, "acl-deletion", table, key, f"{what} {since}")


def _expired(row: Mapping[str, Any], archive: Archive) -> bool:
    expires = row.get("ExpirationTime")
    return expires is not None and archive.created is not None and pd.Timestamp(expires) <= archive.created


def _back(series: Sequence[Archive]) -> Iterator[Anomaly]:
    for before, after in pairwise(series):
        if before.index is not None and after.index is not None and after.index < before.index:
            what = f"Raft's index went back from {before.index} to {after.index}: a restore lies in between"
            yield Anomaly(after, "index-back", "", (), what)
