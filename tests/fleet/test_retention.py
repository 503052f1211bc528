"""Retention: the rule is restic's, and whatever it says, nothing goes that should not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapkit import Catalog, SnapshotError
from snapkit.fleet import entries, retention
from snapkit.fleet.entries import Entry, Verdict
from snapkit.fleet.places import Place
from snapkit.fleet.retention import decide, parse, reasons

from .series import HERE, START, THERE, damaged, hourly, made, written

NOW = START + timedelta(days=400)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def entry(
    hours: float, cluster: str = HERE, verdict: Verdict = "ok", name: str = "", created: bool = True, **more: Any
) -> Entry:
    milliseconds = round((START + timedelta(hours=hours) - EPOCH) / timedelta(milliseconds=1))
    location = name or f"{cluster}-{hours}-{verdict}"
    known = {"level": "verify", "verdict": verdict, "cluster_id": cluster, "created": milliseconds if created else None}
    return Entry(location, location, size=1, **(known | more))


def kept(found: Sequence[Entry], **keep: int) -> list[str]:
    return [decision.entry.location for decision in decide(found, keep, NOW) if decision.keep]


# -- the rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("hourly=24,daily=14,monthly=12", {"hourly": 24, "daily": 14, "monthly": 12}),
        (" last = 1 ", {"last": 1}),
        ("weekly=0,yearly=3", {"weekly": 0, "yearly": 3}),
        ({"daily": 7}, {"daily": 7}),
    ],
)
def test_rules(text: Any, rule: dict[str, int]) -> None:
    assert parse(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        *("", "daily", "daily=", "daily=-1", "daily=1.5", "daily=1,daily=2", "minutely=1", "daily=1;weekly=2"),
        *("daily=0", "daily=٣", {}, {"daily": -1}, {"daily": True}, {"daily": "1"}, {"never": 1}),
    ],
)
def test_what_is_no_rule(text: Any) -> None:
    with pytest.raises(SnapshotError, match=r"the retention rule: (can't be understood|keeps nothing)"):
        parse(text)


def test_the_newest_of_each_of_the_last_hours_days_weeks_months_and_years_in_utc() -> None:
    day = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    moments = [day - timedelta(minutes=20 * n) for n in range(7)]  # 23:59, 23:39, 23:19, 22:59, …
    assert reasons(moments, {"hourly": 2}) == [["hourly 1"], [], [], ["hourly 2"], [], [], []]
    assert reasons(moments, {"last": 2}) == [["last 1"], ["last 2"], [], [], [], [], []]
    days = [datetime(2026, 12, d, 0, 30, tzinfo=UTC) for d in (2, 1)] + [day]
    assert reasons(days, {"daily": 3, "monthly": 2}) == [
        ["daily 1", "monthly 1"],
        ["daily 2"],
        ["daily 3", "monthly 2"],
    ]
    sunday = [datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC), datetime(2025, 12, 29, tzinfo=UTC)]
    assert reasons(sunday, {"weekly": 2}) == [["weekly 1"], ["weekly 2"], []]  # ISO weeks: Monday to Sunday
    assert reasons(sunday, {"yearly": 2}) == [["yearly 1"], [], ["yearly 2"]]


def test_while_a_rule_has_not_found_enough_the_oldest_is_kept_too() -> None:
    moments = [START + timedelta(hours=n) for n in (3, 2, 1, 0)]
    assert reasons(moments, {"daily": 3}) == [["daily 1"], [], [], ["oldest daily"]]
    assert reasons(moments, {"daily": 1}) == [["daily 1"], [], [], []]


_BUCKETS = {
    "last": "%Y-%m-%d %H:%M:%S.%f",
    "hourly": "%Y-%m-%d %H",
    "daily": "%Y-%m-%d",
    "weekly": "%G-%V",
    "monthly": "%Y-%m",
    "yearly": "%Y",
}
_MINUTES = st.lists(st.integers(0, 60 * 24 * 380), min_size=1, max_size=40, unique=True)
_KEEP = st.dictionaries(st.sampled_from(sorted(_BUCKETS)), st.integers(0, 8), min_size=1)


@given(_MINUTES, _KEEP)
@settings(max_examples=100)
def test_it_keeps_what_grouping_by_bucket_keeps(minutes: list[int], keep: dict[str, int]) -> None:
    moments = sorted((START + timedelta(minutes=m) for m in minutes), reverse=True)
    expected = set()
    for rule, count in keep.items():
        buckets: dict[str, datetime] = {}
        for moment in reversed(moments):
            buckets[moment.strftime(_BUCKETS[rule])] = moment  # the newest of each stays
        newest = sorted(buckets.values(), reverse=True)
        expected |= set(newest[:count])
        if len(newest) < count:
            expected.add(moments[-1])
    assert {m for m, why in zip(moments, reasons(moments, keep), strict=True) if why} == expected


@given(_MINUTES, _KEEP)
@settings(max_examples=100)
def test_to_prune_each_night_keeps_what_to_prune_once_keeps(minutes: list[int], keep: dict[str, int]) -> None:
    """What an earlier night removed is never what a later one would have kept, but for those that it kept as oldest."""
    left: list[datetime] = []
    everything = sorted(START + timedelta(minutes=m) for m in minutes)
    for moment in everything:
        left = [moment, *left]
        left = [m for m, why in zip(left, reasons(left, keep), strict=True) if why] or left[:1]
    newest_first = everything[::-1]
    once = [
        m for m, why in zip(newest_first, reasons(newest_first, keep), strict=True) if any("old" not in w for w in why)
    ]
    assert set(once) <= set(left) | {everything[0]}


# -- what never goes

_VERDICTS: tuple[Verdict, ...] = ("ok", "error", "unknown", "unread")
_ENTRIES = st.lists(
    st.builds(
        entry,
        st.integers(-24 * 40, 24 * 420),
        st.sampled_from([HERE, THERE, ""]),
        st.sampled_from(_VERDICTS),
        created=st.sampled_from([True, True, True, False]),
    ),
    max_size=30,
    unique_by=lambda e: e.location,
)


@given(_ENTRIES, _KEEP)
@settings(max_examples=100)
def test_nothing_goes_that_should_not(found: list[Entry], keep: dict[str, int]) -> None:
    decisions = {d.entry.location: d for d in decide(found, keep, NOW)}
    assert decisions.keys() == {e.location for e in found}
    future = (NOW - EPOCH + timedelta(days=1)) / timedelta(milliseconds=1)
    for one in found:
        decided = decisions[one.location]
        judged = one.verdict in ("ok", "error") and one.cluster_id and one.created is not None and one.created <= future
        if not judged:
            assert decided.keep
            assert decided.reason.startswith("can't be judged: ")
    for cluster in (HERE, THERE):
        mine = [e for e in found if e.cluster_id == cluster and not decisions[e.location].reason.startswith("can't")]
        good = sorted((e for e in mine if e.verdict == "ok"), key=lambda e: e.created or 0)
        if good:
            assert decisions[good[-1].location].keep
        else:
            assert all(decisions[e.location].keep for e in mine)
        # What is damaged, and what can't be judged, changes nothing for those that are good.
        alone = {d.entry.location: d.keep for d in decide(good, keep, NOW)}
        assert {e.location: decisions[e.location].keep for e in good} == alone


def test_a_damaged_one_counts_for_nothing_and_stays_where_a_good_one_would() -> None:
    found = [entry(0), entry(24), entry(30, verdict="error"), entry(48), entry(60, verdict="error"), entry(61)]
    assert kept(found, daily=3) == [f"{HERE}-{n}-ok" for n in (0, 24)] + [f"{HERE}-30-error", f"{HERE}-61-ok"]
    assert kept(found, daily=1) == [f"{HERE}-61-ok"]


def test_archives_from_the_future_push_nothing_out() -> None:
    """Whoever may write to the folder could else have all others removed, by their own rule."""
    forged = [entry(24 * (500 + n), name=f"forged-{n}") for n in range(5)]
    true = [entry(24 * n) for n in range(3)]
    assert set(kept([*true, *forged], daily=3)) == {e.location for e in [*true, *forged]}
    assert len(kept([*true, *forged], daily=1)) == 6


# -- done


def test_what_is_not_kept_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder, store = tmp_path / "snaps", tmp_path / "store"
    hourly(folder, 50)
    written(folder, "bad.snap", damaged(made()))
    written(folder, "other.txt", b"not ours")
    catalog = Catalog(str(folder), store=store)
    plan = catalog.retention("hourly=3,daily=2", NOW)
    assert len(list(folder.iterdir())) == 52
    assert plan[~plan["Keep"]].shape[0] == 47
    done = catalog.prune("hourly=3,daily=2", NOW)
    assert (done["Keep"] == plan["Keep"]).all()
    assert (done["Removed"] == ~done["Keep"]).all()
    assert not done["Error"].any()
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["0047.snap", "0048.snap", "0049.snap", "bad.snap", "other.txt"]  # bad.snap: of no known cluster
    assert sorted(catalog.archives["Name"]) == [name for name in names if name != "other.txt"]
    again = Catalog(str(folder), store=store)
    assert sorted(again.archives["Name"]) == sorted(catalog.archives["Name"])
    assert again.prune("hourly=3,daily=2", NOW)["Keep"].all()


def test_what_changed_since_it_was_looked_at_is_not_removed(tmp_path: Path) -> None:
    paths = hourly(tmp_path, 3)
    catalog = Catalog(str(tmp_path)).refresh()
    paths[0].write_bytes(made(THERE))
    os.utime(paths[0], ns=(1, 1))
    done = catalog.prune("last=1", NOW)
    assert done["Removed"].tolist() == [False, True, False]
    assert "was changed since it was looked at" in done["Error"].iloc[0]
    assert paths[0].exists()
    assert not paths[1].exists()


def test_one_that_can_not_be_removed_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = hourly(tmp_path, 3)
    catalog = Catalog(str(tmp_path)).refresh()
    original = Path.unlink

    def unlink(self: Path, *arguments: Any, **more: Any) -> None:
        if self.name == paths[0].name:
            raise PermissionError(13, "Permission denied", str(self))
        original(self, *arguments, **more)

    monkeypatch.setattr(Path, "unlink", unlink)
    done = catalog.prune("last=1", NOW)
    assert done["Removed"].tolist() == [False, True, False]
    assert "can't be removed (Permission denied)" in done["Error"].iloc[0]


def test_nothing_of_a_cluster_goes_if_its_newest_good_one_is_good_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may change without a word, and what a store says of an archive may be a year old."""
    folder, store = tmp_path / "snaps", tmp_path / "store"
    paths = hourly(folder, 3)
    Catalog(str(folder), store=store).refresh()
    about = paths[-1].stat()
    paths[-1].write_bytes(damaged(paths[-1].read_bytes()))
    os.utime(paths[-1], ns=(about.st_atime_ns, about.st_mtime_ns))
    catalog = Catalog(str(folder), store=store)
    assert catalog.archives["Verdict"].tolist() == ["ok"] * 3
    done = catalog.prune("last=1", NOW)
    assert done["Keep"].all()
    assert all(path.exists() for path in paths)
    assert "error" in catalog.archives["Verdict"].tolist()


def test_the_newest_is_read_once_more_only_where_it_was_not_just_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly(tmp_path / "a", 2)
    seen: list[str] = []
    original = entries.read

    def read(place: Place, *arguments: Any) -> Entry:
        seen.append(place.name)
        return original(place, *arguments)

    monkeypatch.setattr(entries, "read", read)
    Catalog(str(tmp_path / "a"), store=tmp_path / "s").prune("last=2", NOW)
    assert seen == ["0000.snap", "0001.snap"]
    Catalog(str(tmp_path / "a"), store=tmp_path / "s").prune("last=2", NOW)
    assert seen[2:] == ["0001.snap"]


def test_a_link_is_no_second_copy(tmp_path: Path) -> None:
    """`latest.snap` may point at the newest: to remove that one would leave a link to nothing."""
    folder = tmp_path / "snaps"
    paths = hourly(folder, 3)
    (folder / "latest.snap").symlink_to(paths[2].name)
    (tmp_path / "again").symlink_to(folder)
    catalog = Catalog([str(folder), str(tmp_path / "again")])
    done = catalog.prune("last=1", NOW)
    assert done.loc[done["Removed"]].index.tolist() == [str(path) for path in paths[:2]]
    others = [str(folder / "latest.snap"), *(str(tmp_path / "again" / path.name) for path in paths)]
    told = done.loc[others, "Reason"]
    assert set(told) == {"another name of an archive that is here too"}
    assert sorted(path.name for path in folder.iterdir()) == ["0002.snap", "latest.snap"]
    # Where the file is not listed by its own name, one of the others stands for it.
    (tmp_path / "links").mkdir()
    for name in ("a", "b"):
        (tmp_path / "links" / f"{name}.snap").symlink_to(paths[2])
    assert Catalog(str(tmp_path / "links")).retention("last=1", NOW)["Keep"].all()


def test_the_newest_good_one_is_read_once_more_and_not_one_of_the_future(tmp_path: Path) -> None:
    folder, store = tmp_path / "snaps", tmp_path / "store"
    paths = hourly(folder, 3)
    written(folder, "future.snap", made(created=NOW + timedelta(days=9)))
    Catalog(str(folder), store=store).refresh()
    about = paths[-1].stat()
    paths[-1].write_bytes(damaged(paths[-1].read_bytes()))
    os.utime(paths[-1], ns=(about.st_atime_ns, about.st_mtime_ns))
    assert Catalog(str(folder), store=store).prune("last=1", NOW)["Keep"].all()


def test_without_all_checks_nothing_is_judged(tmp_path: Path) -> None:
    hourly(tmp_path, 3)
    for level in entries.LEVELS[:2]:
        assert Catalog(str(tmp_path), level=level).prune("last=1", NOW)["Keep"].all()
    assert timedelta(days=1) == retention.AHEAD
