"""The nightly check: what is damaged, missing, too old or may go, in every form that somebody reads."""

from __future__ import annotations

import json
import os
import re
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest

import snapkit
from snapkit import Catalog, SnapshotError
from snapkit.errors import TargetExistsError
from snapkit.fleet import catalog as catalog_module
from snapkit.fleet import keeping
from snapkit.fleet.check import Check, check
from snapkit.fleet.entries import checks_of
from snapkit.version import __version__
from tests import forge

from ..conftest import ROOT, path_of
from .series import HERE, START, THERE, damaged, hourly, made, written

NOW = START + timedelta(hours=12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten hours of one cluster without the sixth, a damaged one, and one of another cluster."""
    folder = tmp_path / "snaps"
    hourly(folder, 10)[5].unlink()
    written(folder, "bad.snap", damaged(made()))
    written(folder, "stranger.snap", made(THERE, START, 7))
    return folder


def checked(folder: Path, **more: Any) -> Check:
    return check(Catalog(str(folder)).refresh(), **({"now": NOW} | more))


def test_all_is_well(tmp_path: Path) -> None:
    hourly(tmp_path, 4)
    found = checked(tmp_path, now=START + timedelta(hours=4), max_age="2h")
    assert (found.status, found.bad, found.stale, found.failures) == (0, (), (), ())
    assert found.to_text().splitlines() == [
        f"newest good: {HERE}: {tmp_path}/0003.snap, 2026-11-01 03:00:00 UTC",
        "4 archives, 4 read now: 4 ok",
    ]
    assert found.to_json() | {"newest_good": []} == {
        "schema": "snapkit.fleet-check/1",
        "status": 0,
        "archives": 4,
        "read": 4,
        "verdicts": {"ok": 4, "error": 0, "unknown": 0, "unread": 0},
        "bad": [],
        "outdated": {"archives": 0, "checks": []},
        "failures": [],
        "stale": [],
        "newest_good": [],
        "gaps": [],
        "mixed": [],
        "went_back": [],
    }


def test_what_there_is_to_say(folder: Path) -> None:
    written(folder, "back.snap", made(HERE, START + timedelta(hours=9.5), 50))
    found = checked(folder, keep="last=2", max_age="1h")
    assert found.status == 1
    lines = found.to_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"{folder}/bad.snap",
        *["too old"] * 2,
        "gap",  # the rule would not have kept the one that is missing before
        "mixed",
        "went back",
        *["would go"] * 8,
        "retention",
        *["newest good"] * 2,
        "12 archives, 12 read now",
    ]
    assert "not ok; 1 error" in lines[0]
    assert lines[1] == f"too old: {HERE}: its newest good archive is 0 days 02:30:00 old ({folder}/back.snap)"
    assert lines[3].endswith("about 1 missing from 2026-11-01 09:30:00 UTC to now")
    assert lines[4] == f"mixed: {folder}/stranger.snap: is of {THERE}, and most beside it of {HERE}"
    assert lines[5].startswith(f"went back: {HERE}: from index 109 to 50, from ")
    assert lines[-4].endswith("bytes) would go: --prune removes them")
    assert lines[-1].endswith(": 11 ok, 1 not ok")
    json.dumps(found.to_json())
    gap = f"gap: {HERE}: about 1 missing from 2026-11-01 04:00:00 UTC to 2026-11-01 06:00:00 UTC"
    assert gap in checked(folder).to_text().splitlines()


def test_what_makes_it_fail(folder: Path) -> None:
    assert checked(folder).status == 1
    (folder / "bad.snap").unlink()
    assert checked(folder).status == 0
    assert checked(folder, fail_on="note").status == 1
    assert checked(folder, max_age="3d").status == 0
    assert checked(folder, max_age="1h").status == 1
    for path in folder.glob("0*"):
        path.write_bytes(damaged(path.read_bytes()))
    stale = checked(folder, max_age="3d", only_new=True)
    assert stale.stale == ()  # of which cluster the damaged ones are, nobody can tell
    (folder / "stranger.snap").unlink()
    assert checked(folder, max_age="3d").stale == ("too old: there is no good archive of any cluster",)


def test_an_archive_of_the_future_is_no_fresh_one(tmp_path: Path) -> None:
    """Or a clock that was wrong once would keep the alarm silent for ever."""
    written(tmp_path, "0.snap", made())
    written(tmp_path, "9.snap", made(created=NOW + timedelta(days=900)))
    found = checked(tmp_path, max_age="1h")
    assert [text.partition(" is ")[2] for text in found.stale] == [f"0 days 12:00:00 old ({tmp_path}/0.snap)"]
    told = re.findall(
        r"^snapkit_fleet_newest(?:_good)?_timestamp_seconds{.*} (.*)$", found.to_prometheus().decode(), re.M
    )
    assert [float(moment) for moment in told] == [START.timestamp()] * 2
    (tmp_path / "0.snap").unlink()
    assert checked(tmp_path, max_age="1h").stale == (
        f"too old: {HERE}: its good archives say that they were taken in the future",
    )


def test_a_moment_without_a_zone_is_utc(folder: Path) -> None:
    one, other = (checked(folder, max_age="1h", now=now) for now in (NOW, NOW.replace(tzinfo=None)))
    assert (one.moment, one.stale) == (other.moment, other.stale)


def test_what_another_snapkit_has_checked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store = tmp_path / "snaps", tmp_path / "store"
    hourly(folder, 3)

    def line(**more: Any) -> list[str]:
        found = check(Catalog(str(folder), store=store).refresh(**more), now=NOW)
        assert found.status == 0
        assert found.to_json()["outdated"]["archives"] == len(found.outdated)
        return [text for text in found.to_text().splitlines() if text.startswith("outdated")]

    def gauge() -> str:
        found = check(Catalog(str(folder), store=store).refresh(), now=NOW)
        [told] = re.findall(r"^snapkit_fleet_outdated_archives{.*} (.*)$", found.to_prometheus().decode(), re.M)
        return str(told)

    with monkeypatch.context() as older:
        older.setattr(catalog_module, "__version__", "0.0.9")
        older.setattr(catalog_module, "checks_of", lambda level: checks_of(level).replace("refs.alloc-node ", ""))
        assert line() == [
            "outdated: 3 archives were checked by snapkit 0.0.9 (without refs.alloc-node); "
            f"this is {__version__}: --again checks them anew"
        ]
    written(folder, "9.snap", made(created=START + timedelta(hours=9), index=109))
    assert [text.partition(" were")[0] for text in line()] == ["outdated: 3 archives"]
    frame = Catalog(str(folder), store=store).archives
    assert frame["Snapkit"].tolist() == ["0.0.9"] * 3 + [__version__]
    assert frame["Outdated"].tolist() == [True] * 3 + [False]
    assert gauge() == "3.0"
    assert line(again=True) == line() == []
    assert gauge() == "0.0"


def test_a_store_that_notes_no_version_is_read_and_told(tmp_path: Path) -> None:
    folder, store = tmp_path / "snaps", tmp_path / "store"
    hourly(folder, 2)
    Catalog(str(folder), store=store).refresh()
    kept = pq.read_table(store / keeping.CATALOG)
    about = {**kept.schema.metadata, b"snapkit": keeping.BEFORE.encode()}
    pq.write_table(kept.drop_columns(["snapkit", "made_of"]).replace_schema_metadata(about), store / keeping.CATALOG)
    found = check(Catalog(str(folder), store=store).refresh(), now=NOW)
    assert not found.new
    assert f"outdated: 2 archives were checked by snapkit of unknown version; this is {__version__}" in found.to_text()
    assert Catalog(str(folder), level="meta").archives["Outdated"].tolist() == [False] * 2  # nothing was checked


def test_by_what_is_new_alone(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert check(Catalog(str(folder), store=store).refresh(), now=NOW, only_new=True).status == 1
    again = check(Catalog(str(folder), store=store).refresh(), now=NOW, only_new=True)
    assert (again.status, again.new) == (0, ())
    assert check(Catalog(str(folder), store=store).refresh(), now=NOW).status == 1  # it is there still


def test_what_a_rule_has_thinned_out_is_no_gap(tmp_path: Path) -> None:
    """Each night for three weeks by a rule of hours and days, and then a day without a backup."""
    keep, folder = "hourly=24,daily=7", tmp_path / "snaps"
    for hour in range(24 * 15):
        written(folder, f"{hour:04d}.snap", made(HERE, START + timedelta(hours=hour), 100 + hour))
    for day in (5, 9, 12, 15):
        Catalog(str(folder)).prune(keep, START + timedelta(days=day))
    now = START + timedelta(days=15)
    assert len(list(folder.iterdir())) == 30
    assert len(Catalog(str(folder)).gaps()) == 5
    assert checked(folder, keep=keep, now=now).gaps.empty
    lost = START + timedelta(days=12, hours=23)
    (folder / f"{24 * 12 + 23:04d}.snap").unlink()
    found = checked(folder, keep=keep, now=now).gaps
    assert list(zip(found["From"], found["To"], strict=True)) == [(lost - timedelta(days=1), lost + timedelta(days=1))]
    (folder / f"{24 * 15 - 4:04d}.snap").unlink()
    assert checked(folder, keep=keep, now=now).gaps["Missing"].tolist() == [47, 1]
    assert len(checked(folder, keep=keep, now=now + timedelta(hours=3)).gaps) == 3


def test_prune_tells_what_it_did(folder: Path) -> None:
    found = checked(folder, keep="last=2", prune=True)
    assert found.status == 1
    assert sum(line.startswith("removed: ") for line in found.to_text().splitlines()) == 7
    assert sorted(path.name for path in folder.iterdir()) == ["0008.snap", "0009.snap", "bad.snap", "stranger.snap"]
    assert len(found.entries) == 4
    assert found.to_json()["retention"]["pruned"] is True
    with pytest.raises(SnapshotError, match="prune: needs a rule"):
        checked(folder, prune=True)


def test_what_could_not_be_removed_is_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlink(self: Path, *arguments: Any, **more: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    catalog = Catalog(str(folder)).refresh()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        found = check(catalog, keep="last=2", prune=True, now=NOW)
    assert found.status == 2
    assert len(found.failures) == 7
    assert all("can't be removed (Permission denied)" in message for message in found.failures)
    assert "not removed: " in found.to_text()


def test_the_verdict_is_of_what_was_looked_at_last(folder: Path, tmp_path: Path) -> None:
    """To prune reads the newest good one again: that it is good no more is no secret."""
    (folder / "bad.snap").unlink()
    store, newest = tmp_path / "store", folder / "0009.snap"
    Catalog(str(folder), store=store).refresh()
    about = newest.stat()
    newest.write_bytes(damaged(newest.read_bytes()))
    os.utime(newest, ns=(about.st_atime_ns, about.st_mtime_ns))
    catalog = Catalog(str(folder), store=store).refresh()
    assert check(catalog, keep="last=1", now=NOW).status == 0
    found = check(catalog, keep="last=1", prune=True, now=NOW)
    assert found.status == 1
    assert [entry.source for entry in found.bad] == [str(newest)]
    assert len(list(folder.iterdir())) == 10


# -- for machines


def test_metrics_are_as_prometheus_reads_them(folder: Path, tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    written(folder, "friday.snap", path_of("v2.0.5/friday").read_bytes())
    found = checked(folder, keep="last=2")
    path = tmp_path / "snapkit.prom"
    found.write_prometheus(path)
    families = {family.name: family for family in parser.text_string_to_metric_families(path.read_text())}
    assert all(name.startswith("snapkit_fleet_") for name in families)
    assert all(family.type == "gauge" and family.documentation for family in families.values())

    def value(name: str, **labels: str) -> float:
        [sample] = [s for s in families[f"snapkit_fleet_{name}"].samples if s.labels == labels]
        number: float = sample.value
        return number

    assert value("check_status") == 1
    assert value("check_timestamp_seconds") == NOW.timestamp()
    assert value("archives", cluster_id=HERE, verdict="ok") == 9
    assert value("archives", cluster_id="", verdict="error") == 1
    assert value("gaps", cluster_id=HERE) == 1
    assert value("newest_good_timestamp_seconds", cluster_id=HERE) == (START + timedelta(hours=9)).timestamp()
    with snapkit.open(path_of("v2.0.5/friday")) as snap:
        cluster = str(snap.meta.cluster_id)
        for table, row in snap.tables.iterrows():
            assert value("table_records", cluster_id=cluster, table=str(table)) == row["Count"]
            assert value("table_bytes", cluster_id=cluster, table=str(table)) == row["Bytes"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644  # node_exporter is somebody else
    with pytest.raises(TargetExistsError):
        found.write_prometheus(path)
    found.write_prometheus(path, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_alerts_of_the_guide_are_of_metrics_that_there_are(folder: Path) -> None:
    guide = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    names = set(re.findall(r"snapkit_fleet_\w+", guide))
    assert len(names) == 5
    there = checked(folder).to_prometheus().decode()
    assert [name for name in names if f"\n# TYPE {name} gauge\n" not in there] == []


def test_labels_are_escaped(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    cluster = 'a"b\\c\nsnapkit_fleet_archives{x="y"} 1 # \x1b[31m'
    written(tmp_path, "a.snap", made(cluster))
    text = checked(tmp_path).to_prometheus().decode()
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert {s.labels["cluster_id"] for s in families["snapkit_fleet_archives"].samples} == {cluster}


def test_junit_is_verifys_own(folder: Path, tmp_path: Path) -> None:
    (folder / "0000.snap").write_bytes(path_of("v2.0.5/friday").read_bytes())
    store = tmp_path / "store"
    first = check(Catalog(str(folder), store=store).refresh(), now=NOW, fail_on="warning")
    again = check(Catalog(str(folder), store=store).refresh(), now=NOW, fail_on="warning")
    suites = {}
    for name, found in (("first", first), ("again", again)):
        root = ET.fromstring(found.to_junit())
        suites[name] = {suite.get("name"): suite for suite in root}
        assert len(root) == len(found.entries) == 11
    whole = ET.fromstring(snapkit.verify(folder / "0000.snap").to_junit(fail_on="warning", now=NOW))[0]
    friday = str(folder / "0000.snap")
    names = [case.get("name") for case in whole.iter("testcase")]
    assert [case.get("name") for case in suites["first"][friday].iter("testcase")] == names
    assert {failure.text for failure in suites["first"][friday].iter("failure")} == {
        f.text for f in whole.iter("failure")
    }
    # What was not read now has its failures still, and no case for each check that found nothing.
    assert {f.text for f in suites["again"][friday].iter("failure")} == {f.text for f in whole.iter("failure")}
    assert len(list(suites["again"][friday].iter("testcase"))) < len(names)
    assert suites["again"][str(folder / "bad.snap")].get("failures") == "1"


def test_hostile_text_is_one_line(tmp_path: Path) -> None:
    written(tmp_path, "a\n\x1b[31m.snap", made("cluster\nnewest good: faked: \x1b[2J\u202e"))
    state = forge.LITTLE + forge.record(200, {"a": "<script>"})
    written(tmp_path, "b.snap", forge.archive(state))
    found = checked(tmp_path, keep="last=1", max_age="1h")
    for line in found.to_text().split("\n"):
        assert line.isprintable()
    assert "\nnewest good: faked" not in found.to_text()
    assert ET.fromstring(found.to_junit()) is not None
