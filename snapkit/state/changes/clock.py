"""When was a Raft index written? The records that have both an index and a time tell of those that have an index alone.

One entry of Raft's log is one moment, and indexes only grow. So a policy that was changed at index 138 was changed
after the last moment known below 138 and before the first one known above it.

A pair of index and time is a moment only where the write that set the index set the time too: `STAMPS` are the pairs
of fields of which that is so, `UNTRUSTED` those of which it is not. Servers take the time before they hand the entry
to Raft, and each by its own clock: hence `TOLERANCE`. A pair may be wrong all the same (a clock that was set back, a
record that another region made): the clock is the longest run of pairs whose times never fall as the indexes grow, and
what does not fit into it is listed in `Clock.contradictions`. How well this dates is measured in bench/dating.md.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from snapkit.errors import RecordError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snapkit.state.snapshot import Snapshot

    Integers: TypeAlias = NDArray[np.int64]
    Flags: TypeAlias = NDArray[np.bool_]
    Indexes: TypeAlias = Sequence[int] | pd.Series[int] | NDArray[np.uint64]

#: By how much a stamp may differ from the moment that its entry was applied: for the way through Raft (client updates
#: wait up to 0.2 s to be written in one entry) and for clocks of servers that differ. Archives have their own created
#: time as it is, without a tolerance: nothing in them is later.
TOLERANCE = pd.Timedelta(seconds=1).as_unit("ns")

NAT: int = np.iinfo(np.int64).min  # pandas' NaT as an integer
NANOSECONDS = 10**14  # from here on an integer that is a time is of nanoseconds, below it of seconds
_LARGEST = 2**62 - 1  # what a larger index is taken for, so that twice as much fits into 64 bits


@dataclass(frozen=True, slots=True)
class Stamp:
    """Two fields of a record, an index and a time, that one write sets together, or seems to.

    Attributes:
        table: The table of the records.
        index: The field with the index.
        time: The field with the time.
        why: Who takes the time, or why it can't be trusted (Nomad's source, 2.0.5 and 1.8.4, below nomad/).
        unless: A field and the value that it has in records of which it is not so.
    """

    table: str
    index: str
    time: str
    why: str
    unless: tuple[str, str | bool] | None = None

    @property
    def name(self) -> str:
        return f"{self.table}.{self.time}"


#: Of these, one write sets both, and the server that makes the entry takes the time.
STAMPS: tuple[Stamp, ...] = (
    Stamp("evals", "CreateIndex", "CreateTime", "whoever makes it: job, node and alloc endpoints, drainer, worker.go"),
    Stamp(
        *("evals", "ModifyIndex", "ModifyTime", "Evaluation.UpdateModifyTime in worker.go and leader.go"),
        unless=("Status", "pending"),  # state_store.go, updateEvalModifyIndex: a plan moves the index alone
    ),
    Stamp("allocs", "CreateIndex", "CreateTime", "plan_apply.go, updateAllocTimestamps"),
    Stamp(
        *("job_versions", "JobModifyIndex", "SubmitTime", "job_endpoint.go, periodic.go, deployment_watcher_shims.go"),
        unless=("Stop", True),  # fsm.go, handleJobDeregister: before 1.5 or so a stopped job keeps its time
    ),
    Stamp("deployments", "CreateIndex", "CreateTime", "structs.NewDeployment, as the plan is made (from 1.9 or so)"),
    Stamp("scaling_events", "CreateIndex", "Time", "job_endpoint.go, Scale (nanoseconds; seconds are not used)"),
    Stamp("acl_tokens", "CreateIndex", "CreateTime", "ACLToken.Canonicalize in acl_endpoint.go; kept by updates"),
    Stamp("acl_auth_methods", "CreateIndex", "CreateTime", "ACLAuthMethod.Canonicalize in acl_endpoint.go"),
    Stamp("acl_auth_methods", "ModifyIndex", "ModifyTime", "ACLAuthMethod.Canonicalize in acl_endpoint.go"),
    Stamp("acl_binding_rules", "CreateIndex", "CreateTime", "ACLBindingRule.Canonicalize in acl_endpoint.go"),
    Stamp("acl_binding_rules", "ModifyIndex", "ModifyTime", "ACLBindingRule.Canonicalize in acl_endpoint.go"),
    Stamp("variables", "CreateIndex", "CreateTime", "variables_endpoint.go, Apply"),
    Stamp("variables", "ModifyIndex", "ModifyTime", "variables_endpoint.go, Apply"),
    Stamp("time_table", "Index", "Time", "timetable.go, Witness: as the entry is applied (up to 1.9.1)"),
)

#: These look like stamps and are none.
UNTRUSTED: tuple[Stamp, ...] = (
    Stamp("allocs", "ModifyIndex", "ModifyTime", "transitions, promotions and successors move the index alone"),
    Stamp("deployments", "ModifyIndex", "ModifyTime", "what it is set to may be an allocation's time, or an old one"),
    Stamp("host_volumes", "CreateIndex", "CreateTime", "taken before the client makes the volume, for minutes maybe"),
    Stamp("host_volumes", "ModifyIndex", "ModifyTime", "a node that reports the volume moves the index alone"),
    Stamp("csi_volumes", "CreateIndex", "CreateTime", "taken before the plugin makes the volume, for minutes maybe"),
    Stamp("csi_volumes", "ModifyIndex", "ModifyTime", "no archive of a real cluster here shows it"),
    Stamp("root_keys", "CreateIndex", "CreateTime", "the key's own age, which it keeps as it moves into this table"),
    Stamp("root_key_meta", "CreateIndex", "CreateTime", "the key's own age, which it keeps as it is replicated"),
    Stamp("periodic_launches", "ModifyIndex", "Launch", "when it was due; for a job just registered, the applier's"),
    Stamp("nodes", "ModifyIndex", "StatusUpdatedAt", "whole seconds, and drains move the index alone"),
)


class Clock:
    """Dates Raft indexes by what is known of others.

    Attributes:
        pairs: All that it was made of: Index (UInt64), After (bool; the moment lies after this index was written and
            before the next one was, as that of an archive does), Time (datetime64[ns, UTC]), Tolerance
            (timedelta64[ns]), Table (str; "" for an archive), Key (object; tuples), Field (str; the time's), and Used
            (bool): is it one of those that agree?
    """

    def __init__(self, pairs: pd.DataFrame) -> None:
        position = 2 * _indexes(pairs["Index"]) + pairs["After"].to_numpy(np.int64)
        time = nanoseconds(pairs["Time"])
        tolerance = nanoseconds(pairs["Tolerance"])
        order = np.lexsort((time, position))
        # One entry is one moment. Of the times that records of one index have, the latest is nearest to it: a stamp is
        # taken before it, and what this entry did not stamp kept an older one.
        moments = order[np.diff(position[order], append=NAT) != 0]
        kept = moments[longest_run(time[moments])]
        self._position, self._time = position[kept], time[kept]
        self._earliest = np.maximum.accumulate(time[kept] - tolerance[kept])
        self._latest = np.minimum.accumulate((time[kept] + tolerance[kept])[::-1])[::-1]
        off = self._off(position, time)
        wrong = np.abs(off) > TOLERANCE.value
        self._off_by = pd.Series(pd.to_timedelta(off), index=pairs.index)
        self.pairs = pairs.assign(Used=np.isin(np.arange(len(pairs)), kept))
        neighbours = moments[wrong[moments] | np.isin(moments, kept)]
        self._neighbours = position[neighbours], time[neighbours], wrong[neighbours]

    @classmethod
    def of(cls, *snapshots: Snapshot) -> Clock:
        """A clock of all that these snapshots of one cluster tell.

        Args:
            snapshots: Open, in any order.

        Raises:
            RecordError: A value that it needs is not of its field's type.
        """
        frames = [_pairs([], [], [], "", "")]
        for snapshot in snapshots:
            frames += _frame_of(snapshot)
            frames += [pairs_of(snapshot, stamp) for stamp in STAMPS if stamp.table in snapshot.tables.index]
        return cls(pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True))

    @property
    def contradictions(self) -> pd.DataFrame:
        """The pairs that do not fit, by more than the tolerance.

        Of many near each other, or of several tables: a server's clock was set back, or one that is ahead led
        meanwhile. A single early one: its record kept an old time, or is a copy from another region.

        Returns:
            Index (UInt64), Time, Table, Key, Field as in `pairs`; Off (timedelta64[ns]; by how much it is later than
            the rest allows, or, negative, earlier). By index; each once, also if several snapshots have it.
        """
        frame = self.pairs.assign(Off=self._off_by)[self._off_by.abs() > TOLERANCE]
        frame = frame.sort_values(["Index", "Time"])[["Index", "Time", "Table", "Key", "Field", "Off"]]
        return frame.drop_duplicates(ignore_index=True)

    @property
    def note(self) -> str:
        """What a person should know before trusting it, in one sentence; empty if there is nothing."""
        wrong = self.contradictions
        if wrong.empty:
            return ""
        first, last, most = wrong["Index"].min(), wrong["Index"].max(), wrong["Off"].abs().max().total_seconds()
        return (
            f"{len(wrong):,} of {len(self.pairs):,} pairs of index and time contradict the rest (indexes {first} to "
            f"{last}, by up to {most:,.1f} s): a server's clock was set back, or these records kept an old time"
        )

    def windows(self, indexes: Indexes, until: Indexes | None = None) -> pd.DataFrame:
        """Between which moments something was written.

        Where pairs contradict the rest and not each other, the windows between them span both stories.

        Args:
            indexes: The Raft index of each write.
            until: If given, it was a later index than that of `indexes`, and this one at most.

        Returns:
            TimeEarliest, TimeLatest (datetime64[ns, UTC]), the tolerance included; NaT where nothing bounds it.
        """
        low = 2 * _indexes(indexes)
        low, high = (low, low) if until is None else (low + 1, 2 * _indexes(until))
        before, behind = self._around(low, high)
        earliest, latest = _at(self._earliest, before), _at(self._latest, behind)
        position, time, wrong = self._neighbours
        left = np.searchsorted(position, low, "right") - 1
        right = np.searchsorted(position, high, "left")
        left_time, right_time = _at(time, left), _at(time, right)
        spans = _at(wrong, left, False) & _at(wrong, right, False) & (left_time <= right_time)
        earliest = np.where(spans & (earliest != NAT), np.minimum(earliest, left_time - TOLERANCE.value), earliest)
        latest = np.where(spans & (latest != NAT), np.maximum(latest, right_time + TOLERANCE.value), latest)
        return pd.DataFrame({"TimeEarliest": times(earliest), "TimeLatest": times(latest)})

    def window(self, index: int) -> tuple[pd.Timestamp, pd.Timestamp]:
        """As `windows()`, of one index."""
        row = self.windows([index]).iloc[0]
        return row["TimeEarliest"], row["TimeLatest"]

    def last_known(self, indexes: Indexes, *, after: bool = False) -> Integers:
        """The last moment known up to each index, or after it and before the next one, to put them in order by.

        Returns:
            Unix nanoseconds; `NAT` if none is known.
        """
        return _at(self._time, np.searchsorted(self._position, 2 * _indexes(indexes) + after, "right") - 1)

    def agrees(self, indexes: Indexes, moments: Integers) -> Flags:
        """Can these indexes have been written at these moments (Unix nanoseconds), within the tolerance?"""
        agree: Flags = np.abs(self._off(2 * _indexes(indexes), moments)) <= TOLERANCE.value
        return agree

    def _around(self, low: Integers, high: Integers) -> tuple[Integers, Integers]:
        """Of the pairs that agree, the last one up to a position, and the first one from another one on."""
        return np.searchsorted(self._position, low, "right") - 1, np.searchsorted(self._position, high, "left")

    def _off(self, position: Integers, time: Integers) -> Integers:
        """By how much times are later than the pairs that agree allow, or earlier (negative), without a tolerance."""
        before, behind = self._around(position, position)
        early = time - _at(self._time, before, NAT)
        late = time - _at(self._time, behind, np.iinfo(np.int64).max)
        return np.where((before >= 0) & (early < 0), early, np.where((behind < len(self._time)) & (late > 0), late, 0))


def longest_run(times: Integers) -> Integers:
    """The places of the longest sequence of times that never falls; of several, one whose times are late.

    Late, because what is wrong is early as a rule: a record that kept an old time.
    """
    # Patience sorting, from the last to the first: `heads` are the latest times that runs of each length begin with.
    heads: list[int] = []  # negated, so that they rise
    places: list[int] = []
    following = np.full(len(times), -1)
    for place in range(len(times) - 1, -1, -1):
        length = bisect_right(heads, -int(times[place]))
        if length:
            following[place] = places[length - 1]
        heads[length : length + 1] = [-int(times[place])]
        places[length : length + 1] = [place]
    run = []
    place = places[-1] if places else -1
    while place >= 0:
        run.append(place)
        place = int(following[place])
    return np.array(run, np.int64)


# -- pairs of index and time


def pairs_of(snapshot: Snapshot, stamp: Stamp) -> pd.DataFrame:
    """The pairs of one kind that a snapshot has, as `Clock` takes them.

    Raises:
        RecordError: A value is not of its field's type.
    """
    if stamp.table == "scaling_events":
        return _pairs(*_scaling_pairs(snapshot), stamp.table, stamp.time)
    names = [stamp.index, stamp.time, *(stamp.unless[:1] if stamp.unless else ())]
    frame = snapshot.table(stamp.table, names)
    moments = nanoseconds(frame[stamp.time])
    known = frame[stamp.index].fillna(0).to_numpy(np.uint64) > 0
    known &= (moments > 0) & (moments < 2**62)  # 1970 to 2116: no server's clock shows others
    if stamp.unless:
        known &= ~(frame[stamp.unless[0]] == stamp.unless[1]).fillna(False).to_numpy(bool)
    keys = [key for key, wanted in zip(keys_of(frame), known, strict=True) if wanted]
    return _pairs(frame[stamp.index][known].tolist(), moments[known].tolist(), keys, stamp.table, stamp.time)


def _scaling_pairs(snapshot: Snapshot) -> tuple[list[int], list[int], list[tuple[Any, ...]]]:
    found = [
        (event["CreateIndex"], event["Time"], (record.get("Namespace"), record.get("JobID")))
        for record in snapshot.objects("scaling_events", dict.fromkeys(("Namespace", "JobID", "ScalingEvents")))
        for _, event in scaling_events(record)
        if event["CreateIndex"] > 0 and NANOSECONDS < event["Time"] < 2**62
    ]
    return [index for index, _, _ in found], [time for _, time, _ in found], [key for _, _, key in found]


def scaling_events(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The events in a record of scaling_events, each with its task group, and with integers as its index and time.

    Raises:
        RecordError: They are not as Nomad has them.
    """
    groups = record.get("ScalingEvents") or {}
    try:
        events = [(group, dict(event)) for group, listed in groups.items() for event in listed or ()]
        for _, event in events:
            for name in ("CreateIndex", "Time"):
                event[name] = operator.index(event.get(name) or 0)
    except (AttributeError, TypeError, ValueError) as error:
        raise RecordError(
            "is not lists of events by task group", "ScalingEvents records, field ScalingEvents"
        ) from error
    return events


def _frame_of(snapshot: Snapshot) -> list[pd.DataFrame]:
    """What bounds all that is in a snapshot: the cluster's beginning, and the moment that it was taken at."""
    frames = []
    made = nanoseconds(snapshot.table("cluster_metadata", ["CreateTime"])["CreateTime"])
    if made := made[(made > 0) & (made < 2**62)][:1].tolist():
        # A leader makes it among the first entries. What has index 1 no entry made: each server begins with it.
        frames.append(_pairs([1], made, [()], "cluster_metadata", "CreateTime", after=True))
    if snapshot.meta.index is not None and snapshot.meta.created is not None:
        created = [snapshot.meta.created.value]
        frames.append(_pairs([snapshot.meta.index], created, [()], "", "created", after=True, tolerance=0))
    return frames


def _pairs(
    indexes: Sequence[int],
    moments: Sequence[int],
    keys: Sequence[tuple[Any, ...]],
    table: str,
    field: str,
    *,
    after: bool = False,
    tolerance: int = TOLERANCE.value,
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Index": pd.array(indexes, dtype="UInt64"),
            "After": np.full(len(indexes), after),
            "Time": times(np.array(moments, np.int64)),
            "Tolerance": pd.array(np.full(len(indexes), tolerance), dtype="timedelta64[ns]"),
            "Table": pd.array([table] * len(indexes), dtype="str"),
            "Key": pd.Series(list(keys), dtype="object"),
            "Field": pd.array([field] * len(indexes), dtype="str"),
        }
    )


# -- arrays


def keys_of(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The keys of a table's rows, as tuples; () where it has none."""
    if isinstance(frame.index, pd.RangeIndex):
        return [()] * len(frame)
    levels = [frame.index.get_level_values(level).to_series() for level in range(frame.index.nlevels)]
    return list(zip(*map(plain_values, levels), strict=True))


def plain_values(column: pd.Series[Any]) -> list[Any]:
    """A column as Python's own values: times and durations as integers of nanoseconds, None for what is missing."""
    if column.dtype.kind in "mM":
        return [None if value == NAT else value for value in nanoseconds(column).tolist()]
    return [None if missing else value for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)]


def nanoseconds(column: pd.Series[Any]) -> Integers:
    """Times or durations as integers of nanoseconds; `NAT` for NaT."""
    kind = "timedelta64[ns]" if column.dtype.kind == "m" else "datetime64[ns]"
    return column.to_numpy(kind).astype(np.int64)


def times(moments: Integers) -> pd.DatetimeIndex:
    """Unix nanoseconds as times, UTC; NaT for `NAT`."""
    return pd.DatetimeIndex(moments.astype("datetime64[ns]")).tz_localize("UTC")


def _indexes(indexes: Indexes) -> Integers:
    return np.minimum(np.asarray(indexes, np.uint64), _LARGEST).astype(np.int64)


def _at(values: NDArray[Any], places: Integers, missing: int = NAT) -> NDArray[Any]:
    """The values at some places; for places that there are none at, another."""
    if not len(values):
        return np.full(len(places), missing)
    there = (places >= 0) & (places < len(values))
    return np.where(there, values[np.where(there, places, 0)], missing)
