"""What became of one object over many snapshots, since when something holds, and what grew.

A series knows of a moment only what a snapshot shows: what happened between two snapshots happened between their times.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from snapkit.errors import NotInSnapshotError, SnapshotError
from snapkit.fleet.conditions import condition
from snapkit.fleet.dataset import OTHER, Archive, Dataset, in_order, require_table
from snapkit.fleet.pieces import streamed
from snapkit.format.schema import TYPES, RecordType, Type, fields
from snapkit.format.values import GoTime, pack, unpack
from snapkit.page import AMBER, BLUE, GREEN, RED, escaped, label, plain, table
from snapkit.state.changes.changes import text_diff
from snapkit.state.changes.compare import noise_of
from snapkit.state.changes.fielddiff import FieldChange, differences
from snapkit.state.snapshot.tables import TEXT

#: `there`: in the first snapshot of the series, so nobody knows since when; `gone`: not in the snapshots from here on.
Kind: TypeAlias = Literal["there", "added", "changed", "gone", "returned"]
_COLOURS = {"there": BLUE, "added": GREEN, "changed": AMBER, "gone": RED, "returned": GREEN}
WIDE = 200  # characters of a value that is shown; the frames have all

_STATES = {
    "ClusterID": "str",
    "Change": "str",
    "After": "datetime64[ns, UTC]",
    "From": "datetime64[ns, UTC]",
    "To": "datetime64[ns, UTC]",
    "FromIndex": "UInt64",
    "ToIndex": "UInt64",
    "Snapshots": "Int64",
    "ModifyIndex": "UInt64",
    "Fields": "Int64",
    "FromSnapshot": "str",
    "ToSnapshot": "str",
}
_CHANGES = {
    "State": "Int64",
    "ClusterID": "str",
    "From": "datetime64[ns, UTC]",
    "Path": "str",
    "Change": "str",
    "Before": "object",
    "After": "object",
    "Diff": "str",
    "Noise": "str",
}
_PERIODS = {
    "ClusterID": "str",
    "After": "datetime64[ns, UTC]",
    "Since": "datetime64[ns, UTC]",
    "Until": "datetime64[ns, UTC]",
    "Before": "datetime64[ns, UTC]",
    "SinceIndex": "UInt64",
    "UntilIndex": "UInt64",
    "Snapshots": "Int64",
    "SinceSnapshot": "str",
    "UntilSnapshot": "str",
}


@dataclass(slots=True)
class State:
    """What an object was in some snapshots that follow each other.

    Attributes:
        kind: How it came to be so.
        before: The snapshot ahead of the first; None if that is the first of the series.
        archives: The snapshots.
        record: The object as of the last of them; None while it is gone.
        fields: What changed by it.
        noise: Why each of `fields` means nothing by itself; "" for those that do.
    """

    kind: Kind
    before: Archive | None
    archives: list[Archive]
    record: Mapping[str, Any] | None
    fields: tuple[FieldChange, ...] = ()
    noise: tuple[str, ...] = ()


class History:
    """Every state that an object had.

    Attributes:
        name: The table, and the object's key.
        found: The states, by cluster and time.
    """

    def __init__(self, name: str, found: Sequence[State], noise: bool) -> None:
        self.name = name
        self.found = tuple(found)
        self._noise = noise

    def __len__(self) -> int:
        """How many states it had."""
        return len(self.found)

    @property
    def states(self) -> pd.DataFrame:
        """The states, a row each, those in which it is gone too.

        Returns:
            ClusterID, Change (str; there, added, changed, gone, returned), After (datetime64[ns, UTC]; when the
            snapshot ahead was taken: it happened between then and From; NaT if there is none), From, To (when the
            first and last snapshot of this state were taken), FromIndex, ToIndex (UInt64; Raft's), Snapshots (Int64),
            ModifyIndex (UInt64; of the object; NA while it is gone), Fields (Int64; how many changed), FromSnapshot,
            ToSnapshot (str; sources).
        """
        rows = []
        for state in self.found:
            first, last = state.archives[0], state.archives[-1]
            rows.append(
                {
                    "ClusterID": first.cluster,
                    "Change": state.kind,
                    "After": state.before.created if state.before is not None else None,
                    "From": first.created,
                    "To": last.created,
                    "FromIndex": first.index,
                    "ToIndex": last.index,
                    "Snapshots": len(state.archives),
                    "ModifyIndex": (state.record or {}).get("ModifyIndex"),
                    "Fields": sum(not reason or self._noise for reason in state.noise),
                    "FromSnapshot": first.place.source,
                    "ToSnapshot": last.place.source,
                }
            )
        return _frame(_STATES, rows)

    @property
    def changes(self) -> pd.DataFrame:
        """What changed from each state to the next.

        Returns:
            State (Int64; the row of `states`), ClusterID (str), From (datetime64[ns, UTC]; of that state), Path, Change
            (str), Before, After (object; as Nomad's JSON has them, times as text), Diff (str; of text of several
            lines), Noise (str; only with `noise=True`).
        """
        rows = [
            {
                "State": number,
                "ClusterID": state.archives[0].cluster,
                "From": state.archives[0].created,
                "Path": change.path,
                "Change": change.change,
                "Before": before,
                "After": after,
                "Diff": text_diff(before, after),
                "Noise": reason,
            }
            for number, state in enumerate(self.found)
            for change, reason, before, after in self._shown(state)
        ]
        frame = _frame(_CHANGES, rows)
        return frame if self._noise else frame.drop(columns=["Noise"])

    def _shown(self, state: State) -> Iterator[tuple[FieldChange, str, Any, Any]]:
        for change, reason in zip(state.fields, state.noise, strict=True):
            if self._noise or not reason:
                yield change, reason, _value(change.before), _value(change.after)

    def record(self, number: int) -> Mapping[str, Any] | None:
        """The object whole in a state, by its row in `states`: by Nomad's field names; None while it is gone."""
        return self.found[number].record

    # -- how it shows itself

    def __repr__(self) -> str:
        return plain(f"<History of {self.name}: {len(self.found)} states>")

    def to_text(self) -> str:
        """For a terminal: each state, and under it what changed."""
        lines = [plain(self.name)]
        for state in self.found:
            lines.append(f"{state.kind:<8} {_when(state)}")
            for change, _, before, after in self._shown(state):
                if diff := text_diff(before, after):
                    lines.append(f"    {plain(change.path)}:")
                    lines += [f"      {plain(line)}" for line in diff.splitlines()]
                else:
                    lines.append(f"    {plain(change.path)}: {_brief(before)} -> {_brief(after)}")
        return "".join(f"{line}\n" for line in lines)

    def _repr_html_(self) -> str:
        rows = []
        for state in self.found:
            told = "".join(
                f"<div>{escaped(change.path)}: "
                + (
                    f'<pre style="margin:.2em 0">{"<br>".join(map(escaped, diff.splitlines()))}</pre>'
                    if (diff := text_diff(before, after))
                    else f"{escaped(_brief(before))} → {escaped(_brief(after))}"
                )
                + "</div>"
                for change, _, before, after in self._shown(state)
            )
            rows.append([label(state.kind, _COLOURS[state.kind]), escaped(_when(state)), told])
        return f"<p><b>{escaped(self.name)}</b></p>{table(rows, ('Change', 'When (UTC)', 'What'))}"

    def to_json(self) -> dict[str, Any]:
        """As plain data for json: `schema` is `snapkit.history/1`."""
        from snapkit.state.output.export import records

        return {
            "schema": "snapkit.history/1",
            "object": plain(self.name),
            "states": list(records(self.states)),
            "changes": list(records(self.changes)),
        }


def _value(packed: bytes | None) -> Any:
    return None if packed is None else _text(unpack(packed))


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_text(item) for item in value]
    return {_text(k): _text(v) for k, v in value.items()} if isinstance(value, dict) else value


def _brief(value: Any) -> str:
    told = plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return told if len(told) <= WIDE else f"{told[: WIDE - 1]}…"


def _when(state: State) -> str:
    first, last = state.archives[0], state.archives[-1]
    since = f"since before {_moment(first)}"
    if state.before is not None:
        since = f"between {_moment(state.before)} and {_moment(first)}"
    snapshots = "1 snapshot" if len(state.archives) == 1 else f"{len(state.archives)} snapshots"
    return f"{since}, seen until {_moment(last)} ({snapshots})"


def _moment(archive: Archive) -> str:
    return f"{archive.created:%Y-%m-%d %H:%M:%S}" if archive.created is not None else "an unknown time"


def _frame(names: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name, dtype in names.items():
        values = [row[name] for row in rows]
        if dtype.startswith("datetime"):
            columns[name] = pd.Series(pd.to_datetime(pd.Series(values, dtype="object"), utc=True), dtype=dtype)
        else:
            columns[name] = pd.Series(values, dtype=dtype)
    return pd.DataFrame(columns)


# -- the history of one object


def history(
    dataset: Dataset, archives: Iterable[Archive], name: str, key: Sequence[Any], *, noise: bool = False
) -> History:
    """Every state that an object had in archives that are extracted: see `Catalog.history()`."""
    kind = require_table(name)
    records = dataset.find(name, key)
    found = dict(zip(records["record_id"].to_pylist(), objects(kind, records), strict=True))
    states: list[State] = []
    for series in _series(dataset, archives, name):
        mine = dataset.presence(name, list(found), series)
        if mine:
            states += _states(kind, [(a, found.get(mine.get(a.name, -1))) for a in series], noise)
    called = "/".join(map(str, key))
    if not states:
        choices = ["/".join(map(str, choice)) for choice in dataset.keys(name)]
        raise NotInSnapshotError(f"no archive has a record {called!r}", f"table {name}", _suggest(called, choices))
    return History(f"{name} {called}".strip(), states, noise)


def _suggest(wanted: str, choices: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(wanted, choices, 3, 0.5)
    return f"did you mean {', '.join(close)}?" if close else f"there are: {', '.join(choices[:8])}" if choices else ""


def _series(dataset: Dataset, archives: Iterable[Archive], name: str) -> Iterator[list[Archive]]:
    """The archives of each cluster whose table was extracted, by time."""
    there = [archive for archive in in_order(archives) if dataset.has(archive, name)]
    for cluster in dict.fromkeys(archive.cluster for archive in there):
        yield [archive for archive in there if archive.cluster == cluster]


def _states(
    kind: RecordType, series: Sequence[tuple[Archive, Mapping[str, Any] | None]], noise: bool
) -> Iterator[State]:
    state: State | None = None
    before: Archive | None = None
    for archive, record in series:
        if state is None:
            if record is not None:
                state = State("added" if before is not None else "there", before, [archive], record)
        elif record is None:
            if state.record is None:
                state.archives.append(archive)
            else:
                yield state
                state = State("gone", before, [archive], None)
        elif state.record is None:
            yield state
            state = State("returned", before, [archive], record)
        else:
            changed, reasons = changes_of(kind, state.record, record)
            if any(not reason for reason in reasons) or (noise and reasons):
                yield state
                state = State("changed", before, [archive], record, changed, reasons)
            else:
                state.archives.append(archive)
                state.record = record
        before = archive
    if state is not None:
        yield state


def changes_of(
    kind: RecordType, before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[tuple[FieldChange, ...], tuple[str, ...]]:
    """What differs between two objects, and why each change means nothing by itself, as `compare()` has it."""
    if before == after:
        return (), ()
    found = tuple(differences(pack(before), pack(after), Type("struct", struct=kind.struct)))
    return found, tuple(noise_of(kind.table, found))


def objects(kind: RecordType, records: pa.Table) -> Iterator[dict[str, Any]]:
    """Records of the dataset as objects by Nomad's field names: times RFC 3339, bytes base64, durations integers."""
    known = fields(kind.struct)
    columns = {}
    for name, field in known.items():
        column = records[name]
        if field.type.nested:
            columns[name] = [None if text is None else json.loads(text) for text in column.to_pylist()]
        elif pa.types.is_timestamp(column.type):
            columns[name] = [None if n is None else _rfc3339(n) for n in column.cast(pa.int64()).to_pylist()]
        elif pa.types.is_duration(column.type):
            columns[name] = column.cast(pa.int64()).to_pylist()
        elif pa.types.is_large_binary(column.type):
            columns[name] = [None if raw is None else base64.b64encode(raw).decode() for raw in column.to_pylist()]
        else:
            columns[name] = column.to_pylist()
    others = [json.loads(text) if text else {} for text in records[OTHER].to_pylist()]
    for i, other in enumerate(others):
        yield {name: values[i] for name, values in columns.items() if values[i] is not None} | other


def _rfc3339(nanoseconds: int) -> str:
    return str(GoTime(*divmod(nanoseconds, 10**9)))


# -- since when something holds


def when(dataset: Dataset, archives: Iterable[Archive], name: str, key: Sequence[Any], text: str) -> pd.DataFrame:
    """The periods in which an object met a condition: see `Catalog.when()`."""
    meets = condition(text)
    kind = require_table(name)
    records = dataset.find(name, key)
    found = zip(records["record_id"].to_pylist(), objects(kind, records), strict=True)
    met = {number: meets(record) for number, record in found}
    rows = []
    seen = False
    for series in _series(dataset, archives, name):
        mine = dataset.presence(name, list(met), series)
        seen = seen or bool(mine)
        rows += [
            {
                "ClusterID": first.cluster,
                "After": ahead.created if ahead is not None else None,
                "Since": first.created,
                "Until": last.created,
                "Before": behind.created if behind is not None else None,
                "SinceIndex": first.index,
                "UntilIndex": last.index,
                "Snapshots": count,
                "SinceSnapshot": first.place.source,
                "UntilSnapshot": last.place.source,
            }
            for ahead, first, last, behind, count in _periods(
                [(a, met.get(mine.get(a.name, -1), False)) for a in series]
            )
        ]
    if not seen:
        history(dataset, archives, name, key)  # which says that there is no such object
    return _frame(_PERIODS, rows)


def _periods(
    series: Sequence[tuple[Archive, bool]],
) -> Iterator[tuple[Archive | None, Archive, Archive, Archive | None, int]]:
    start = None
    for i, (_, holds) in enumerate([*series, (series[-1][0], False)]):
        if holds and start is None:
            start = i
        elif not holds and start is not None:
            ahead = series[start - 1][0] if start else None
            behind = series[i][0] if i < len(series) else None
            yield ahead, series[start][0], series[i - 1][0], behind, i - start
            start = None


# -- what grew

#: The tables whose records are of a job, and the field that says of which, beside Namespace.
OF_JOBS: Mapping[str, str] = {
    "jobs": "ID",
    "job_versions": "ID",
    "job_submissions": "JobID",
    "job_summaries": "JobID",
    "evals": "JobID",
    "allocs": "JobID",
    "deployments": "JobID",
    "services": "JobID",
    "scaling_events": "JobID",
    "periodic_launches": "ID",
}
Measure: TypeAlias = Literal["Bytes", "Count"]


def growth_by_table(tables: pd.DataFrame, archives: Sequence[Archive], measure: Measure) -> pd.DataFrame:
    """Of the catalog's `tables`, a column a table; archives of one cluster."""
    rows = {archive.place.source: row for row, archive in enumerate(archives)}
    columns: dict[str, int] = {}
    numbers = np.zeros((len(archives), len(TYPES) + 256), dtype="int64")
    for (source, name), value in zip(tables.index, tables[measure], strict=True):
        if source in rows:
            numbers[rows[source], columns.setdefault(str(name), len(columns))] = value
    return _growth(numbers[:, : len(columns)], list(columns), archives)


def growth_by_job(
    dataset: Dataset, archives: Sequence[Archive], measure: Measure, top: int | None = None
) -> pd.DataFrame:
    """Of all records that are a job's, a column a job (`namespace/id`), or the first `top`; archives of one cluster."""
    numbered: dict[str, int] = {}
    found = [_of_jobs(dataset, name, archives, numbered) for name in OF_JOBS] if archives else []
    names = list(numbered)
    at_the_end, there = np.zeros(len(names)), np.zeros(len(names), dtype=bool)
    for job, _, last, size in found:
        there[job] = True
        weights = (size if measure == "Bytes" else 1) * (last == len(archives) - 1)
        at_the_end += np.bincount(job, weights, minlength=len(names))
    order = sorted(np.flatnonzero(there).tolist(), key=lambda i: (-at_the_end[i], names[i]))[:top]
    column = np.full(len(names), -1)
    column[order] = range(len(order))
    numbers = np.zeros((len(archives) + 1, len(order)), dtype="int64")
    for job, first, last, size in found:
        shown = column[job] >= 0
        size = size[shown] if measure == "Bytes" else 1
        np.add.at(numbers, (first[shown], column[job][shown]), size)
        np.subtract.at(numbers, (last[shown] + 1, column[job][shown]), size)
    return _growth(np.cumsum(numbers, axis=0, out=numbers)[:-1], [names[i] for i in order], archives)


def _of_jobs(dataset: Dataset, name: str, archives: Sequence[Archive], numbered: dict[str, int]) -> tuple[Any, ...]:
    """The spans of the records of a table: numbers of jobs (`numbered`, which is added to), first, last, bytes."""
    spans = dataset.spans(name, archives)
    job, size = (np.zeros(int(spans.record.max(initial=-1)) + 1, dtype="int64") for _ in range(2))  # by id
    records = dataset.records(name, archives[0].cluster)
    for batch in streamed(records, ["record_id", "record_bytes", "Namespace", OF_JOBS[name]]):
        ids = batch["record_id"].to_numpy()
        mine = ids < len(job)
        parts = (batch[part].fill_null("") for part in ("Namespace", OF_JOBS[name]))
        coded = pc.binary_join_element_wise(*parts, pa.scalar("/", TEXT)).dictionary_encode()
        codes = np.array([numbered.setdefault(of, len(numbered)) for of in coded.dictionary.to_pylist()], dtype="int64")
        job[ids[mine]] = codes[coded.indices.to_numpy()][mine]
        size[ids[mine]] = batch["record_bytes"].to_numpy()[mine]
    return job[spans.record], spans.first, spans.last, size[spans.record]


def _growth(numbers: Any, names: Sequence[str], archives: Sequence[Archive]) -> pd.DataFrame:
    """By time, the columns with the largest at the end first; without those of other clusters."""
    last = numbers[-1] if len(numbers) else np.zeros(len(names))
    grown = [int(i) for i in np.flatnonzero(numbers.any(axis=0))]
    order = sorted(grown, key=lambda i: (-int(last[i]), str(names[i])))
    times = pd.DatetimeIndex([archive.created for archive in archives], dtype="datetime64[ns, UTC]", name="Created")
    named = pd.Index([str(names[i]) for i in order], dtype="str")
    return pd.DataFrame(numbers[:, order], index=times, columns=named)


def one_cluster(archives: Iterable[Archive], cluster: str | None) -> list[Archive]:
    """The dated archives of one cluster, by time.

    Raises:
        SnapshotError: There are several clusters and none is named, or there is none of that name, or no archive.
    """
    dated = [archive for archive in in_order(archives) if archive.created is not None]
    clusters = list(dict.fromkeys(archive.cluster for archive in dated))
    if not dated:
        raise SnapshotError("there is none that can be read", "the archives", "see Catalog.archives for why")
    if cluster is None and len(clusters) > 1:
        advice = f"name one by cluster=: {', '.join(clusters[:5])}"
        raise SnapshotError(f"are of {len(clusters)} clusters", "the archives", advice)
    chosen = [name for name in clusters if cluster is None or name.startswith(cluster)]
    if len(chosen) != 1:
        what = "several clusters begin so" if chosen else "there is no such cluster"
        raise SnapshotError(what, f"cluster {cluster!r:.60}", f"there are {', '.join(clusters[:5]) or 'none'}")
    return [archive for archive in dated if archive.cluster == chosen[0]]
