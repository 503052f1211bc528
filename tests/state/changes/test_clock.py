"""Dating by Raft index: what is dated so is held to times that are known, on real archives and on a made week."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import snapkit
from bench.dating import ENOUGH, Share, hidden, make_week, real_archives, share
from snapkit.errors import RecordError
from snapkit.format.schema import BY_TABLE, fields
from snapkit.state.changes.clock import NAT, STAMPS, TOLERANCE, UNTRUSTED, Clock, longest_run, pairs_of

from ...conftest import DATA, path_of
from ..samples import archive

REAL = [str(path.relative_to(DATA).with_suffix("")) for path in real_archives()]
WEEK = [name for name in REAL if name.startswith("v2.0.5/")]
SECOND = 1_000_000_000
NOON = 1_795_435_200 * SECOND  # 2026-11-23T12:00Z


def at(seconds: float) -> pd.Timestamp:
    return pd.Timestamp(NOON + int(seconds * SECOND), tz="UTC")


def clock_of(*pairs: tuple[int, float]) -> Clock:
    """A clock that evaluations make: index, and seconds after noon."""
    records = [
        {"ID": f"e{number}", "CreateIndex": index, "CreateTime": NOON + int(seconds * SECOND)}
        for number, (index, seconds) in enumerate(pairs)
    ]
    with snapkit.open(archive({"evals": records})) as snapshot:
        # Without the moment that an archive made to order was taken at.
        return Clock(pairs_of(snapshot, STAMPS[0]))


# -- how well it dates


@cache
def shares(*names: str) -> dict[str, Share]:
    snapshots = [snapkit.open(path_of(name)) for name in names]
    try:
        clock = Clock.of(*snapshots)
        return {s.name: one for s in (*STAMPS, *UNTRUSTED) if (one := hidden(clock, snapshots, s)) is not None}
    finally:
        for snapshot in snapshots:
            snapshot.close()


@pytest.mark.parametrize("names", [(name,) for name in REAL] + [tuple(WEEK)], ids="+".join)
def test_hidden_times_of_every_trusted_table_lie_in_the_windows_that_the_rest_gives(names: Sequence[str]) -> None:
    found = shares(*names)
    trusted = {stamp.name for stamp in STAMPS} & found.keys()
    assert len(trusted) >= 5
    assert {name: found[name].share for name in trusted if found[name].share < ENOUGH} == {}


def test_every_trusted_table_was_held_to_a_real_archive() -> None:
    assert {stamp.name for stamp in STAMPS} <= set().union(*(shares(name) for name in REAL))


@pytest.mark.parametrize("name", ["allocs.ModifyTime", "deployments.ModifyTime", "host_volumes.ModifyTime"])
def test_what_keeps_old_times_under_new_indexes_would_not_have_passed(name: str) -> None:
    assert min(found[name].share for found in map(shares, REAL) if name in found) < ENOUGH


def test_stamps_are_fields_of_their_records() -> None:
    for stamp in (*STAMPS, *UNTRUSTED):
        struct = {"scaling_events": "ScalingEvent"}.get(stamp.table) or BY_TABLE[stamp.table].struct
        assert {stamp.index, stamp.time, *(stamp.unless or ())[:1]} <= fields(struct).keys()
        assert stamp.why
    assert not {s.name for s in STAMPS} & {s.name for s in UNTRUSTED}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_made_week_is_dated_by_what_is_known_of_it(tmp_path: Path, seed: int) -> None:
    target = tmp_path / "week.snap"
    truth = make_week(target, seed)
    with snapkit.open(target) as snapshot:
        clock = Clock.of(snapshot)
        for table in "acl_policies", "nodes":
            indexes = snapshot[table]["ModifyIndex"].tolist()
            assert share(clock, indexes, [truth[index] for index in indexes]).share >= ENOUGH
        for stamp in STAMPS:
            one = hidden(clock, [snapshot], stamp, truth)
            assert one is None or one.share >= ENOUGH, stamp.name
        # The clock that was set back, the old times and the other region's tokens are told of.
        assert {"evals", "acl_tokens"} <= set(clock.contradictions["Table"])
        assert clock.note.startswith(f"{len(clock.contradictions)} of {len(clock.pairs):,} pairs")


# -- windows


def test_what_was_written_between_two_known_moments_was_written_between_them() -> None:
    clock = clock_of((10, 0), (20, 60), (30, 120))
    assert clock.window(25) == (at(60) - TOLERANCE, at(120) + TOLERANCE)
    assert clock.window(20) == (at(60) - TOLERANCE, at(60) + TOLERANCE)
    earliest, latest = clock.window(5)
    assert pd.isna(earliest)
    assert latest == at(0) + TOLERANCE
    earliest, latest = clock.window(31)
    assert earliest == at(120) - TOLERANCE
    assert pd.isna(latest)


def test_what_was_written_between_two_indexes() -> None:
    clock = clock_of((10, 0), (20, 60), (30, 120))
    found = clock.windows([10, 15], [20, 31])
    assert found["TimeEarliest"].tolist() == [at(0) - TOLERANCE] * 2
    assert found["TimeLatest"][0] == at(60) + TOLERANCE
    assert pd.isna(found["TimeLatest"][1])


def test_an_archive_bounds_what_is_in_it_and_what_came_after() -> None:
    with snapkit.open(path_of("v2.0.5/tuesday")) as tuesday, snapkit.open(path_of("v2.0.5/wednesday")) as wednesday:
        assert (tuesday.meta.index, wednesday.meta.index) == (136, 148)
        assert tuesday.meta.created is not None
        assert wednesday.meta.created is not None
        one, both = Clock.of(tuesday), Clock.of(wednesday, tuesday)
        assert one.window(136)[1] <= tuesday.meta.created
        assert one.window(137)[0] == tuesday.meta.created  # and no tolerance: it is not early
        assert pd.isna(one.window(137)[1])
        # Between the archives, from both: anonymous was changed at 138.
        earliest, latest = both.window(138)
        assert tuesday.meta.created <= earliest < latest <= wednesday.meta.created
        assert latest - earliest < pd.Timedelta(seconds=2)
        assert Clock.of(wednesday).window(138)[0] < earliest


def test_a_cluster_s_beginning_bounds_what_entries_made_and_not_what_servers_begin_with() -> None:
    with snapkit.open(path_of("v2.0.5/monday")) as snapshot:
        clock = Clock.of(snapshot)
        made = snapshot.cluster_metadata["CreateTime"][0]
        assert pd.isna(clock.window(1)[0])
        assert clock.window(2)[0] == made - TOLERANCE


def test_a_clock_of_nothing_bounds_nothing() -> None:
    clock = Clock.of()
    assert clock.windows([1, 2]).isna().all(axis=None)
    assert clock.note == ""
    assert clock.contradictions.empty
    assert clock.agrees([7], np.array([NOON])).tolist() == [True]
    assert clock.last_known([7]).tolist() == [NAT]


@given(st.data())
def test_without_contradictions_every_true_time_lies_in_its_window(data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.integers(0, 10 * SECOND), min_size=1, max_size=30))
    truth = dict(enumerate((NOON + np.cumsum(gaps)).tolist(), start=2))
    stamped = data.draw(st.sets(st.sampled_from(sorted(truth))))
    late = data.draw(st.lists(st.integers(0, SECOND // 2), min_size=len(stamped), max_size=len(stamped)))
    clock = clock_of(*((i, (truth[i] - late - NOON) / SECOND) for i, late in zip(stamped, late, strict=True)))
    assert share(clock, list(truth), list(truth.values())).share == 1
    assert clock.contradictions.empty


# -- contradictions


def test_a_time_that_does_not_fit_is_told_of_and_bounds_nothing() -> None:
    clock = clock_of((10, 0), (20, 60), (25, -3_600), (30, 120), (40, 180))
    row = clock.contradictions.iloc[0].to_dict()
    assert len(clock.contradictions) == 1
    assert (row["Index"], row["Time"], row["Table"], row["Key"], row["Field"]) == (
        25,
        at(-3_600),
        "evals",
        ("e2",),
        "CreateTime",
    )
    assert row["Off"] == pd.Timedelta(seconds=-3_660)
    assert clock.window(26) == (at(60) - TOLERANCE, at(120) + TOLERANCE)
    assert "1 of 5 pairs of index and time contradict the rest (indexes 25 to 25, by up to 3,660.0 s)" in clock.note
    assert clock.pairs["Used"].tolist() == [True, True, False, True, True]


def test_within_the_tolerance_nothing_contradicts() -> None:
    assert clock_of((10, 0), (20, 60), (25, 59.5), (30, 120)).contradictions.empty


def test_of_one_entry_s_times_the_latest_counts() -> None:
    """A drain writes many allocations at one index, and each may have kept a time of its own."""
    clock = clock_of((10, 0), (20, 50), (30, 10), (30, 20), (30, 30), (30, 100), (40, 120))
    assert clock.window(30) == (at(100) - TOLERANCE, at(100) + TOLERANCE)
    assert clock.window(25) == (at(50) - TOLERANCE, at(100) + TOLERANCE)
    assert clock.contradictions["Off"].tolist() == [pd.Timedelta(seconds=-s) for s in (90, 80, 70)]


def test_of_two_that_contradict_each_other_the_later_time_counts() -> None:
    assert clock_of((10, 100), (11, 50), (12, 120)).contradictions["Index"].tolist() == [11]


def test_a_clock_that_was_ahead_is_told_of_and_the_windows_span_both_stories() -> None:
    ahead = [(index, 3_600 + index) for index in range(40, 50)]
    clock = clock_of(
        *((index, float(index)) for index in range(10, 40)), *ahead, *((i, float(i)) for i in range(50, 90))
    )
    assert clock.contradictions["Index"].tolist() == list(range(40, 50))
    assert (clock.contradictions["Off"] > pd.Timedelta(hours=0.9)).all()
    earliest, latest = clock.window(45)
    assert earliest == at(39) - TOLERANCE
    assert latest == at(3_645) + TOLERANCE


def test_a_clock_that_was_set_back_for_a_while_is_told_of_too() -> None:
    back = [(index, index - 3_600) for index in range(40, 50)]
    clock = clock_of(*((i, float(i)) for i in range(10, 40)), *back, *((i, float(i)) for i in range(50, 90)))
    assert (clock.contradictions["Off"] < -pd.Timedelta(hours=0.9)).all()
    assert clock.window(45) == (at(45 - 3_600) - TOLERANCE, at(50) + TOLERANCE)


def test_does_an_index_agree_with_a_time() -> None:
    clock = clock_of((10, 0), (20, 60))
    moments = np.array([NOON + seconds * SECOND for seconds in (30, -5, 70)])
    assert clock.agrees([15, 15, 15], moments).tolist() == [True, False, False]


@given(st.lists(st.integers(0, 20), max_size=9))
def test_the_longest_run_is_the_longest(times: list[int]) -> None:
    run = longest_run(np.array(times, np.int64)).tolist()
    assert run == sorted(set(run))
    values = [times[place] for place in run]
    assert values == sorted(values)
    longest = max(
        (size for size in range(len(times) + 1) for some in combinations(times, size) if list(some) == sorted(some)),
        default=0,
    )
    assert len(run) == longest


# -- what is no clock


def test_records_that_another_write_moved_are_left_out() -> None:
    with snapkit.open(path_of("v1.4.14/tuesday")) as snapshot:
        stopped = snapshot.job_versions.query("Stop")
        used = pairs_of(snapshot, next(s for s in STAMPS if s.table == "job_versions"))
        assert len(stopped) == 1
        assert len(used) == len(snapshot.job_versions) - 1
    pending = {
        "ID": "e",
        "Status": "pending",
        "CreateIndex": 5,
        "CreateTime": NOON,
        "ModifyIndex": 9,
        "ModifyTime": NOON,
    }
    with snapkit.open(archive({"evals": [pending, pending | {"ID": "f", "Status": "complete"}]})) as snapshot:
        assert pairs_of(snapshot, STAMPS[1])["Key"].tolist() == [("f",)]


@pytest.mark.parametrize(
    "odd", [{"CreateIndex": 0}, {"CreateTime": 0}, {"CreateTime": -5}, {"CreateTime": 2**63 - 1}, {"CreateIndex": None}]
)
def test_what_is_not_set_or_no_time_of_a_server_is_left_out(odd: dict[str, Any]) -> None:
    record = {"ID": "e", "CreateIndex": 5, "CreateTime": NOON} | odd
    with snapkit.open(archive({"evals": [record]})) as snapshot:
        assert pairs_of(snapshot, STAMPS[0]).empty


def test_indexes_as_large_as_they_come() -> None:
    clock = clock_of((2**64 - 1, 60), (5, 0))
    assert clock.window(2**61) == (at(0) - TOLERANCE, at(60) + TOLERANCE)


def test_scaling_events_in_seconds_are_left_out() -> None:
    events = {"web": [{"Time": NOON // SECOND, "CreateIndex": 5}, {"Time": NOON, "CreateIndex": 6}]}
    record = {"Namespace": "n", "JobID": "j", "ScalingEvents": events}
    with snapkit.open(archive({"scaling_events": [record]})) as snapshot:
        found = pairs_of(snapshot, next(s for s in STAMPS if s.table == "scaling_events"))
    assert found[["Index", "Key"]].to_numpy().tolist() == [[6, ("n", "j")]]


@pytest.mark.parametrize("odd", [[1], {"web": 5}, {"web": [7]}, {"web": [{"Time": "noon", "CreateIndex": 3}]}])
def test_scaling_events_that_are_none_are_an_error(odd: Any) -> None:
    record = {"Namespace": "n", "JobID": "j", "ScalingEvents": odd}
    with (
        snapkit.open(archive({"scaling_events": [record]})) as snapshot,
        pytest.raises(RecordError, match="ScalingEvents records"),
    ):
        Clock.of(snapshot)
