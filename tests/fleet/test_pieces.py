"""Many small files become few: nothing is lost or counted twice, whenever it ends and whoever asks meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapkit.errors import SnapshotError
from snapkit.fleet import dataset as module
from snapkit.fleet import pieces
from snapkit.fleet.catalog import Catalog
from snapkit.fleet.dataset import Dataset
from snapkit.fleet.running import Runner
from snapkit.fleet.spans import Spans, united
from snapkit.fleet.views import table
from snapkit.format.schema import BY_TABLE
from tests import forge

from .series import HERE, START, written

TABLES = ["jobs", "acl_policies", "scheduler_config"]
SCHEDULER = BY_TABLE["scheduler_config"].byte
HOURS = 7


# -- spans

Held = Mapping[int, set[int]]  # places by record


def spans_of(held: Held, places: int) -> Spans:
    rows = [(record, place, place) for record, found in held.items() for place in sorted(found) if place < places]
    columns = np.array(rows, dtype="int64").reshape(-1, 3).T
    return united([Spans(*columns)])


def held_by(spans: Spans) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for record, place in zip(*(part.tolist() for part in spans.pairs()), strict=True):
        assert place not in found.setdefault(record, set())
        found[record].add(place)
    return found


HELD = st.dictionaries(st.integers(0, 5), st.sets(st.integers(0, 9), min_size=1), max_size=4)


@given(HELD)
def test_spans_hold_what_they_are_made_of(held: Held) -> None:
    spans = spans_of(held, 10)
    assert held_by(spans) == held
    neighbours = sum(place + 1 in found for found in held.values() for place in found)
    assert len(spans) == sum(map(len, held.values())) - neighbours


@given(HELD, st.permutations(range(10)), st.sets(st.integers(0, 9)))
def test_spans_are_moved_to_any_other_list(held: Held, order: list[int], gone: set[int]) -> None:
    places = [-1 if place in gone else place for place in order]
    moved = {record: {places[at] for at in found} - {-1} for record, found in held.items()}
    assert held_by(spans_of(held, 10).moved(places)) == {record: found for record, found in moved.items() if found}


@given(HELD, st.integers(0, 10))
def test_spans_of_two_lists_are_united(held: Held, at: int) -> None:
    before = {record: {place for place in found if place < at} for record, found in held.items()}
    after = {record: {place - at for place in found if place >= at} for record, found in held.items()}
    both = united([spans_of(before, at).moved(range(at)), spans_of(after, 10 - at).moved(range(at, 10))])
    whole = spans_of(held, 10)
    for name in ("record", "first", "last"):
        assert getattr(both, name).tolist() == getattr(whole, name).tolist()


# -- files


@pytest.fixture(scope="module", autouse=True)
def hasty() -> Iterator[None]:
    """Files need not survive a power cut here, and there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hours of a cluster whose jobs come, change, go and come back."""
    folder = tmp_path_factory.mktemp("archives")
    for hour in range(HOURS):
        jobs = [{"Namespace": "default", "ID": f"{n}", "Priority": hour // (n + 2)} for n in range(5) if (hour + n) % 4]
        twice = [{"SchedulerAlgorithm": "spread", "CreateIndex": 1}] * 2  # as after a restore: the last one counts
        records = [forge.record(14, {"ClusterID": HERE}), *(forge.record(1, job) for job in jobs)]
        state = forge.state(*records, *(forge.record(SCHEDULER, config) for config in twice))
        milliseconds = int(START.timestamp() + 3600 * hour) * 1000
        meta = forge.meta_json(len(state), ID=f"2-{100 + hour}-{milliseconds}", Index=100 + hour)
        written(folder, f"{hour:02d}.snap", forge.archive(state, meta))
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> Catalog:
    """As no file was merged."""
    catalog = Catalog(str(folder), level="counts", key="k")
    catalog.extract(TABLES)
    return catalog


def answers(catalog: Catalog) -> list[pd.DataFrame]:
    """Of every kind of question."""
    jobs = catalog.history("jobs", "default", "2")
    query = "SELECT Snapshot, ID, Priority, record_bytes FROM jobs ORDER BY ALL"
    return [
        *(catalog.table(name) for name in TABLES),
        *(jobs.states, jobs.changes, catalog.when("jobs", "default", "3", "Priority >= 1")),
        *(catalog.growth("job"), catalog.anomalies(), catalog.sql(query)),
        catalog.sql("SELECT Snapshot, count(*) AS n FROM scheduler_config GROUP BY ALL ORDER BY ALL"),
    ]


def assert_same(mine: Catalog, theirs: Catalog) -> None:
    for one, other in zip(answers(mine), answers(theirs), strict=True):
        pd.testing.assert_frame_equal(one, other)


def files_of(store: Path) -> list[Path]:
    return sorted((store / "dataset").rglob("*.parquet"))


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files are many, three rows fill a row group, and what is done counts at once."""
    monkeypatch.setattr(pieces, "MERGED", 2)
    monkeypatch.setattr(pieces, "ROWS", 3)
    monkeypatch.setattr(module, "SAVED_EVERY", 0.0)


@pytest.mark.usefixtures("often")
def test_answers_are_the_same_before_and_after(folder: Path, whole: Catalog, tmp_path: Path) -> None:
    catalog = Catalog(str(folder), store=tmp_path, level="counts", key="k")
    catalog.extract(TABLES)
    members = [path for path in files_of(tmp_path) if "members" in path.parts]
    assert len(members) == HOURS.bit_count()  # as a binary number: two of a level are one of the next
    assert_same(catalog, whole)
    assert_same(Catalog(str(folder), store=tmp_path, level="counts", key="k"), whole)
    for path in (tmp_path / "dataset").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert catalog.sql("SELECT count(*) AS n FROM scheduler_config")["n"].tolist() == [HOURS]


def _without_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """Ids, and with them the order of records, are as records were met first."""
    if "record_id" not in frame:
        return frame
    rest = frame.drop(columns="record_id")
    return rest.sort_values([*rest.columns], key=lambda s: s.astype(str)).reset_index(drop=True)


@pytest.mark.usefixtures("often")
def test_in_any_order_and_table_by_table(folder: Path, whole: Catalog, tmp_path: Path) -> None:
    """Nights that were missed are extracted later, and tables as they are asked for."""
    paths = sorted(folder.iterdir())
    Catalog([str(path) for path in paths[::2]], store=tmp_path, level="counts", key="k").extract(TABLES[1:])
    Catalog([str(path) for path in paths[1::3]], store=tmp_path, level="counts", key="k").extract(TABLES[:2])
    catalog = Catalog(str(folder), store=tmp_path, level="counts", key="k")
    catalog.extract(TABLES)
    for one, other in zip(answers(catalog), answers(whole), strict=True):
        pd.testing.assert_frame_equal(_without_ids(one), _without_ids(other))


@pytest.mark.usefixtures("often")
def test_killed_at_any_moment_nothing_is_lost_or_counted_twice(
    folder: Path, whole: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk before each step that changes it is what a process that is killed there leaves."""
    store, images = tmp_path / "dataset", tmp_path / "images"
    seen: set[tuple[str, ...]] = set()
    numbers = count()

    def before(step: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*args: Any, **more: Any) -> Any:
            names = tuple(sorted(str(path) for path in store.rglob("*") if not path.name.startswith(".")))
            with suppress(FileNotFoundError):
                names += ((store / "snapshots.json").read_text(),)
            if names not in seen:
                seen.add(names)
                shutil.copytree(store, images / str(next(numbers)))
            return step(*args, **more)

        return stepping

    archives = whole._whole()
    key = whole._access.key.value
    dataset = Dataset(store, key)
    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, before(getattr(Path, name)))
        dataset.extract(archives, Runner(), TABLES)
    expected = {name: table(dataset, name, archives).drop(columns="record_id") for name in TABLES}
    assert len(seen) > 40
    assert max(len(list(image.rglob("*.parquet"))) for image in images.iterdir()) > len(list(store.rglob("*.parquet")))
    for image in images.iterdir():
        left = Dataset(image, key)
        there = {archive.place.source for archive in archives if left.has(archive, "jobs")}
        for name, frame in expected.items():
            mine = table(left, name, archives).drop(columns="record_id")
            pd.testing.assert_frame_equal(mine, frame[frame["Snapshot"].isin(there)].reset_index(drop=True))
    for image in sorted(images.iterdir(), key=lambda path: int(path.name))[::7]:  # and going on from there is whole
        left = Dataset(image, key)
        left.extract(archives, Runner(), TABLES)
        for name, frame in expected.items():
            pd.testing.assert_frame_equal(table(left, name, archives).drop(columns="record_id"), frame)
        assert not list(image.rglob("*.tmp"))
        named = {image / piece.path for piece in left._pieces}
        assert set(image.rglob("*.parquet")) == named


@pytest.mark.usefixtures("often")
def test_what_is_asked_stays_while_another_process_merges(folder: Path, whole: Catalog, tmp_path: Path) -> None:
    paths = [str(path) for path in sorted(folder.iterdir())]
    asking = Catalog(paths[:5], store=tmp_path, level="counts", key="k")
    asking.extract(TABLES)
    wanted = asking.table("jobs")
    with asking.dataset.asked():
        held = set(files_of(tmp_path))
        writing = Catalog(paths, store=tmp_path, level="counts", key="k")
        writing.extract(TABLES)
        assert held < set(files_of(tmp_path))
        pd.testing.assert_frame_equal(table(asking.dataset, "jobs", asking._whole()), wanted)
    assert_same(Catalog(str(folder), store=tmp_path, level="counts", key="k"), whole)
    pd.testing.assert_frame_equal(asking.table("jobs"), wanted)  # by the files that are there now
    writing.extract(["nodes"])
    assert not held <= set(files_of(tmp_path))
    assert set(files_of(tmp_path)) == {tmp_path / "dataset" / piece.path for piece in writing.dataset._pieces}


def test_what_a_process_that_was_killed_left_goes_with_the_next_that_writes(folder: Path, tmp_path: Path) -> None:
    catalog = Catalog(str(folder), store=tmp_path, level="counts", key="k")
    catalog.extract(["jobs"])
    left = [tmp_path / "dataset" / name for name in ("members/9.parquet", ".snapkit-a.tmp", "records/.snapkit-b.tmp")]
    other = tmp_path / "dataset" / "notes.txt"
    for path in (*left, other):
        path.write_bytes(b"")
    assert len(catalog.table("jobs")) > 0
    catalog.extract(["nodes"])
    assert [path.exists() for path in (*left, other)] == [False, False, False, True]


def test_large_files_are_let_be(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MERGED", 2)
    monkeypatch.setattr(pieces, "LARGE", 1)
    Catalog(str(folder), store=tmp_path, level="counts").extract(["jobs"])
    assert len([path for path in files_of(tmp_path) if "members" in path.parts]) == HOURS


def test_a_disk_that_is_full_while_files_are_merged_loses_nothing(
    folder: Path, whole: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "MERGED", 4)
    catalog = Catalog(str(folder), store=tmp_path, level="counts", key="k")
    with monkeypatch.context() as patch:
        patch.setattr(module, "merged", _full)
        with pytest.raises(OSError, match="No space"):
            catalog.extract(TABLES)
    document = json.loads((tmp_path / "dataset" / "snapshots.json").read_text())
    assert len(document["snapshots"]) == 4
    assert_same(catalog, whole)


def _full(*_: Any) -> Any:
    raise OSError(28, os.strerror(28))


def test_a_path_that_leads_elsewhere_is_damage(folder: Path, tmp_path: Path) -> None:
    Catalog(str(folder), store=tmp_path, level="counts", key="k").extract(["jobs"])
    path = tmp_path / "dataset" / "snapshots.json"
    path.write_text(path.read_text().replace(f'"cluster":"{HERE}","table"', '"cluster":"../..","table"'))
    with pytest.raises(SnapshotError, match="is damaged"):
        Catalog(str(folder), store=tmp_path, level="counts", key="k").table("jobs")
