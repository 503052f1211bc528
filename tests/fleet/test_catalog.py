"""The catalog: what Nomad says of each archive, damage as rows, nothing read twice, and what the series tells."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import stat
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import snapkit
from snapkit import Catalog, SnapshotError
from snapkit.errors import SourceError
from snapkit.fleet import entries
from snapkit.fleet.entries import Level
from snapkit.fleet.places import Place
from snapkit.state.verify.decoding import Decoding
from snapkit.state.verify.reading import Reading
from tests import forge

from ..conftest import ARCHIVES, DATA, oracle, path_of, with_oracle
from .series import HERE, START, THERE, damaged, hourly, made, written


@pytest.fixture(scope="module")
def real() -> Catalog:
    return Catalog(str(DATA / "*" / "*.snap")).refresh()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the archives that are read in this process, as they are."""
    seen: list[str] = []
    original = entries.read

    def read(place: Place, *arguments: Any) -> entries.Entry:
        seen.append(place.name)
        return original(place, *arguments)

    monkeypatch.setattr(entries, "read", read)
    return seen


# -- what there is


def test_a_row_for_each_archive_with_what_it_says_of_itself(real: Catalog) -> None:
    frame = real.archives
    assert sorted(frame.index) == [str(path_of(archive)) for archive in ARCHIVES]
    for archive in ARCHIVES:
        row: Any = frame.loc[str(path_of(archive))]
        with snapkit.open(path_of(archive)) as snap:
            meta = snap.meta
        known: tuple[Any, ...] = (meta.cluster_id, meta.created, meta.index, meta.term)
        assert (row.ClusterID, row.Created, row.Index, row.Term) == known
        assert (row.Version, row.StateBytes, row.Region) == (meta.version_range, meta.size, "global")
        data = path_of(archive).read_bytes()
        assert (row.Size, row.SHA256) == (len(data), hashlib.sha256(data).hexdigest())
        assert (row.Verdict, row.Level, row.Error) == ("ok", "verify", "")


def test_findings_are_verifys_own(real: Catalog) -> None:
    for archive in ARCHIVES:
        report = snapkit.verify(path_of(archive))
        mine = real.findings[real.findings.index == str(path_of(archive))].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, report.findings)
        assert real.archives.loc[str(path_of(archive)), "Findings"] == len(report.found)


@pytest.mark.parametrize("archive", with_oracle("inspect"))
def test_counts_are_nomads(real: Catalog, archive: str) -> None:
    stats = {(s["Name"], s["Count"], s["Sum"]) for s in oracle(archive, "inspect")["Stats"]}
    mine = real.tables.loc[str(path_of(archive))]
    assert set(zip(mine["Type"], mine["Count"], mine["Bytes"], strict=True)) == stats


def test_they_are_sorted_by_cluster_and_time(real: Catalog) -> None:
    frame = real.archives
    assert frame.equals(frame.sort_values(["ClusterID", "Created", "Index"], kind="stable"))
    assert list(dict.fromkeys(real.tables.index.get_level_values("Source"))) == list(frame.index)
    dtypes = frame.dtypes.astype(str).to_dict()
    assert {dtypes[name] for name in ("Name", "ClusterID", "Version", "Verdict", "Error", "SHA256")} == {"str"}
    assert {dtypes[name] for name in ("Created", "Modified")} == {"datetime64[ns, UTC]"}
    assert {dtypes[name] for name in ("Size", "Findings")} == {"Int64"}


def test_clusters_and_the_newest_good_of_each(real: Catalog) -> None:
    clusters = real.clusters
    assert clusters["Archives"].sum() == clusters["Good"].sum() == len(ARCHIVES)
    week: Any = real.archives.loc[str(path_of("v2.0.5/friday"))]
    newest: Any = real.newest_good().loc[week.ClusterID]
    assert (newest.Source, newest.SHA256) == (str(path_of("v2.0.5/friday")), week.SHA256)
    assert clusters.loc[week.ClusterID, "Archives"] == 5
    assert clusters.loc[week.ClusterID, "Last"] == week.Created


def test_an_empty_fleet_is_an_error_and_an_empty_frame_has_its_columns(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="matches no file; check the pattern"):
        Catalog(str(tmp_path / "*.snap")).refresh()
    with pytest.raises(SourceError, match=r"none\.snap: can't be read"):
        Catalog(str(tmp_path / "none.snap")).refresh()
    with pytest.raises(SnapshotError, match="sources: is missing"):
        Catalog([]).refresh()
    written(tmp_path, "a.snap", b"rubbish")
    catalog = Catalog(str(tmp_path))
    for frame in (catalog.tables, catalog.gaps(), catalog.mixed(), catalog.went_back(), catalog.newest_good()):
        assert frame.empty
        assert len(frame.columns)
    assert catalog.archives["Verdict"].tolist() == ["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "all"}, "level: is no level 'all'; there are meta, counts, verify"),
        ({"workers": 0}, "workers: is 0"),
        ({"workers": 2, "client": "tcp://127.0.0.1:1"}, "exclude each other"),
        ({"key": b""}, "the key of fingerprints: is empty"),
        ({"target": "yesterday"}, "target: is no release"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SnapshotError, match=message):
        Catalog("x.snap", **arguments)


# -- damage is a row


def test_a_damaged_archive_is_a_row_with_its_error(tmp_path: Path) -> None:
    whole = path_of("v2.0.5/friday").read_bytes()
    written(tmp_path, "whole.snap", whole)
    written(tmp_path, "cut.snap", whole[: len(whole) // 2])
    written(tmp_path, "altered.snap", damaged(whole))
    written(tmp_path, "empty.snap", b"")
    written(tmp_path, "page.snap", b"<html>502 Bad Gateway</html>")
    written(tmp_path, "locked.snap", whole).chmod(0)
    levels: tuple[Level, ...] = ("verify", "counts")
    for level in levels:
        frame: Any = Catalog(str(tmp_path), level=level).archives.set_index("Name")
        assert len(frame) == 6
        assert frame.loc["whole.snap", "Verdict"] == ("ok" if level == "verify" else "unknown")
        for name in ("cut.snap", "altered.snap", "empty.snap", "page.snap"):
            assert frame.loc[name, "Verdict"] == "error"
            assert frame.loc[name, "Error"].startswith("error: archive.")
            assert frame.loc[name, "SHA256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        if os.getuid():
            assert frame.loc["locked.snap", "Verdict"] == "unread"


def test_a_file_that_goes_away_meanwhile_is_unread_and_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in hourly(tmp_path / "a", 3):
        path.rename(tmp_path / path.name)
    catalog = Catalog(str(tmp_path), store=tmp_path / "store")
    moved = tmp_path / "0001.snap"
    original = Place.stream

    def stream(self: Place, *arguments: Any) -> Any:
        if self.name == moved.name and moved.exists():
            moved.rename(tmp_path / "elsewhere")
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "stream", stream)
        frame: Any = catalog.archives.set_index("Name")
    assert frame["Verdict"].to_dict() == {"0000.snap": "ok", "0001.snap": "unread", "0002.snap": "ok"}
    assert "0001.snap: can't be opened (No such file or directory); check the path" in frame.loc["0001.snap", "Error"]
    (tmp_path / "elsewhere").rename(moved)
    again = Catalog(str(tmp_path), store=tmp_path / "store")
    assert again.archives["Verdict"].tolist() == ["ok"] * 3
    assert [entry.source for entry in again.new] == [str(moved)]


def test_a_short_answer_of_storage_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [path] = hourly(tmp_path, 1)
    data = path.read_bytes()
    monkeypatch.setattr(Place, "stream", lambda self, block=0: nullcontext(io.BytesIO(data[:300])))
    row = Catalog(str(tmp_path)).archives.iloc[0]
    assert row.Verdict == "unread"
    assert f"gave 300 bytes, and was listed with {len(data)}" in row.Error


def test_hostile_metadata_is_no_trouble(tmp_path: Path) -> None:
    state = forge.LITTLE
    big = 2**64 - 1
    for number, (identity, index) in enumerate(
        [("2-1-999999999999999", 1), ("\ud800-1-5", 2), ("", big), ("x" * 10_000, 4), ("9-9-0", 5)]
    ):
        meta = forge.meta_json(len(state), ID=identity, Index=index, Term=big)
        written(tmp_path, f"{number}.snap", forge.archive(state, meta))
    levels: tuple[Level, ...] = ("meta", "verify")
    for level in levels:
        catalog = Catalog(str(tmp_path), store=tmp_path / f"store-{level}", level=level)
        frame: Any = catalog.archives.set_index("Name")
        assert sorted(frame["Index"].tolist()) == [1, 2, 4, 5, big]
        assert pd.isna(frame.loc["0.snap", "Created"])  # the year 33658
        assert len(catalog.gaps("1h", now=at(0))) <= 4
        assert len(catalog.went_back()) <= 4
        again = Catalog(str(tmp_path), store=tmp_path / f"store-{level}", level=level)
        pd.testing.assert_frame_equal(again.archives, catalog.archives)
        assert not again.new


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff<b>\x1b[31m.snap"))
    path.write_bytes(made())
    catalog = Catalog(str(tmp_path), store=tmp_path / "store")
    [source] = catalog.archives.index
    assert source.endswith("/b\\xff<b>\x1b[31m.snap")
    assert Catalog(str(tmp_path), store=tmp_path / "store").archives.index.tolist() == [source]


def test_a_folder_that_can_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceError, match=r"can't be listed \(Permission denied\)"):
        Catalog(str(tmp_path)).refresh()


def test_a_folder_is_no_pattern(tmp_path: Path) -> None:
    hourly(tmp_path / "b[1]*", 1)
    hourly(tmp_path / "b1x", 2)
    assert Catalog(str(tmp_path / "b[1]*")).archives["Name"].tolist() == ["0000.snap"]


@pytest.mark.parametrize("level", ["meta", "counts", "verify"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, level: Level) -> None:
    os.mkfifo(tmp_path / "pipe.snap")
    (tmp_path / "zero.snap").symlink_to("/dev/zero")
    frame = Catalog(str(tmp_path), level=level).archives
    assert frame["Verdict"].tolist() == ["unread"] * 2
    assert frame["Error"].str.contains("can't be opened \\(it is no regular file\\)").all()


def test_what_was_read_is_gone_at_once(tmp_path: Path) -> None:
    """And not with the next round of Python's collector: of many archives, that would be many columns."""
    paths = [written(tmp_path, "whole.snap", path_of("v2.0.5/friday").read_bytes())]
    paths.append(written(tmp_path, "cut.snap", forge.archive(forge.LITTLE[:-3])))
    Catalog(str(tmp_path)).refresh()  # what is made on first use
    gc.collect()
    before = sum(isinstance(one, Reading | Decoding) for one in gc.get_objects())
    gc.disable()
    try:
        Catalog([str(path) for path in paths]).refresh()
        assert sum(isinstance(one, Reading | Decoding) for one in gc.get_objects()) == before
    finally:
        gc.enable()


# -- no more is read than is asked for


def test_the_metadata_is_had_from_the_first_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = os.urandom(3 << 20)
    state = forge.LITTLE + forge.record(22, {"Namespace": "default", "Path": "noise", "Data": noise})
    path = written(tmp_path, "big.snap", forge.archive(state))
    counts = [0]
    original = Place.stream

    def stream(self: Place, block: int = 0) -> Any:
        class Counting:
            def __enter__(self) -> Any:
                self.inner = manager.__enter__()
                return self

            def __exit__(self, *error: Any) -> Any:
                return manager.__exit__(*error)

            def read(self, size: int) -> bytes:
                piece: bytes = self.inner.read(size)
                counts[0] += len(piece)
                return piece

        manager = original(self, block)
        return Counting()

    monkeypatch.setattr(Place, "stream", stream)
    row = Catalog(str(path), level="meta").archives.iloc[0]
    assert (row.Index, row.Term, row.StateBytes) == (77, 2, len(state))
    assert (row.Level, row.Verdict, row.SHA256, row.ClusterID) == ("meta", "unknown", "", "")
    assert counts[0] < 64 << 10 < path.stat().st_size
    for bad in (b"", b"rubbish", path.read_bytes()[:40], forge.squeeze(b"no tar" * 200), forge.squeeze(bytes(2048))):
        path.write_bytes(bad)
        found = Catalog(str(path), level="meta").archives.iloc[0]
        assert (found.Verdict, bool(found.Error)) == ("error", True)


def test_metadata_alone_is_what_all_of_it_says(real: Catalog) -> None:
    known = ["Created", "Index", "Term", "StateBytes", "Size"]
    meta = Catalog(str(DATA / "*" / "*.snap"), level="meta").archives
    pd.testing.assert_frame_equal(meta[known].sort_index(), real.archives[known].sort_index())


def test_counts_need_no_check_of_records(real: Catalog) -> None:
    counts = Catalog(str(DATA / "*" / "*.snap"), level="counts")
    pd.testing.assert_frame_equal(counts.tables, real.tables)
    same = ["ClusterID", "Version", "SHA256", "Region"]
    pd.testing.assert_frame_equal(counts.archives[same], real.archives[same])


# -- nothing is read twice


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, reads: list[str]) -> None:
    paths = hourly(tmp_path / "snaps", 4)
    sources, store = str(tmp_path / "snaps" / "*.snap"), tmp_path / "store"
    first = Catalog(sources, store=store)
    expected = first.archives
    assert reads == [path.name for path in paths]
    reads.clear()
    pd.testing.assert_frame_equal(Catalog(sources, store=store).archives, expected)
    pd.testing.assert_frame_equal(first.refresh().archives, expected)
    assert reads == []
    paths[0].write_bytes(made(index=5))  # another content, and size or time
    os.utime(paths[0], ns=(1, 1))
    paths[1].unlink()
    written(tmp_path / "snaps", "new.snap", made(created=START + timedelta(days=9), index=999))
    catalog = Catalog(sources, store=store)
    assert sorted(catalog.archives["Name"]) == ["0000.snap", "0002.snap", "0003.snap", "new.snap"]
    assert (
        sorted(reads) == sorted(entry.source.rpartition("/")[2] for entry in catalog.new) == ["0000.snap", "new.snap"]
    )
    reads.clear()
    catalog.refresh(again=True)
    assert len(reads) == 4


def test_a_higher_level_reads_again_and_a_lower_one_does_not(tmp_path: Path, reads: list[str]) -> None:
    hourly(tmp_path / "snaps", 2)
    sources, store = str(tmp_path / "snaps"), tmp_path / "store"
    turns: list[tuple[Level, int]] = [("meta", 2), ("counts", 2), ("meta", 0), ("verify", 2), ("counts", 0)]
    for level, count in turns:
        reads.clear()
        assert len(Catalog(sources, store=store, level=level).archives) == 2
        assert len(reads) == count
    reads.clear()
    assert len(Catalog(sources, store=store, target="1.10.0").archives) == 2  # another question
    assert len(reads) == 2


def test_a_run_that_is_cut_short_keeps_what_it_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    hourly(tmp_path / "snaps", 4)
    sources, store = str(tmp_path / "snaps"), tmp_path / "store"
    counting = entries.read

    def interrupted(place: Place, *arguments: Any) -> entries.Entry:
        if place.name == "0002.snap":
            raise KeyboardInterrupt
        return counting(place, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(entries, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Catalog(sources, store=store).refresh()
    assert reads == ["0000.snap", "0001.snap"]
    reads.clear()
    assert len(Catalog(sources, store=store).archives) == 4
    assert reads == ["0002.snap", "0003.snap"]


def test_a_file_has_one_row_by_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]) -> None:
    hourly(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    catalog = Catalog(["*.snap", "0000.snap", str(tmp_path / "0000.snap"), f"file://{tmp_path}/0000.snap"], store="s")
    assert catalog.archives.index.tolist() == ["0000.snap"]
    assert Catalog(str(tmp_path), store="s").archives.index.tolist() == [str(tmp_path / "0000.snap")]
    assert reads == ["0000.snap"]


# -- how it is kept


def test_the_store_is_for_its_owner_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    hourly(tmp_path / "snaps", 1)
    store = tmp_path / "deep" / "store"
    Catalog(str(tmp_path / "snaps"), store=store).refresh()
    assert sorted(path.name for path in store.iterdir()) == ["catalog.parquet", "key"]
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.iterdir()} == {0o600}


@pytest.mark.parametrize("spoil", ["rubbish", "foreign", "cut", "altered", "columns"])
def test_a_store_that_is_not_as_it_was_kept_is_an_error_and_is_left_alone(tmp_path: Path, spoil: str) -> None:
    hourly(tmp_path / "snaps", 2)
    store = tmp_path / "store"
    Catalog(str(tmp_path / "snaps"), store=store).refresh()
    path = store / "catalog.parquet"
    data = path.read_bytes()
    if spoil == "foreign":
        pq.write_table(pa.table({"a": [1]}), path)
    elif spoil == "columns":
        table = pq.read_table(path)
        pq.write_table(table.drop_columns(["sha256"]).replace_schema_metadata(table.schema.metadata), path)
    else:
        path.write_bytes({"rubbish": b"rubbish", "cut": data[:-20], "altered": damaged(data)}[spoil])
    left = path.read_bytes()
    if spoil == "altered":  # Parquet has no hash of its own by default: what can be read is what it says
        return
    with pytest.raises(SnapshotError, match=r"catalog\.parquet: is no catalog .*; move it away, and all archives"):
        Catalog(str(tmp_path / "snaps"), store=store).refresh()
    assert path.read_bytes() == left


def test_the_key_of_fingerprints_stays_with_the_store_and_is_not_shown(tmp_path: Path) -> None:
    hourly(tmp_path / "snaps", 1)
    store = tmp_path / "store"
    one, two = (Catalog(str(tmp_path / "snaps"), store=store).refresh() for _ in range(2))
    key = (store / "key").read_bytes()
    [place] = one.places()
    assert place.access.key.value == key == two.places()[0].access.key.value
    assert repr(key) not in repr(place)
    assert "hidden" in repr(place)
    (store / "key").write_bytes(b"")
    with pytest.raises(SnapshotError, match="is no key of fingerprints"):
        Catalog(str(tmp_path / "snaps"), store=store)


def test_secrets_are_masked_alike_by_all_who_open(tmp_path: Path) -> None:
    catalog = Catalog(str(path_of("v2.0.5/friday")), key="canary")
    [place] = catalog.places()
    with place.open() as snap, snapkit.open(path_of("v2.0.5/friday"), key="canary") as same:
        assert snap.acl_tokens["SecretID"].tolist() == same.acl_tokens["SecretID"].tolist()
        assert all(secret.startswith("masked:") for secret in snap.acl_tokens["SecretID"])


def test_run_applies_a_function_to_all_that_can_be_opened(tmp_path: Path) -> None:
    hourly(tmp_path, 3)
    written(tmp_path, "bad.snap", b"rubbish")
    found = list(Catalog(str(tmp_path)).run(lambda place, more: place.name + more, "!"))
    assert [(place.name, result) for place, result in found] == [(f"000{n}.snap", f"000{n}.snap!") for n in range(3)]


def test_encrypted_archives(tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    written(tmp_path, "a.snap", pyrage.encrypt(made(), [identity.to_public()]))
    closed = Catalog(str(tmp_path)).archives.iloc[0]
    assert (closed.Verdict, "encrypted" in closed.Error) == ("unread", True)
    levels: tuple[Level, ...] = ("meta", "verify")
    for level in levels:
        opened = Catalog(str(tmp_path), identity=str(identity), level=level).archives.iloc[0]
        assert (opened.Index, opened.Verdict) == (100, "ok" if level == "verify" else "unknown")


# -- what the series tells


@pytest.fixture
def series(tmp_path: Path) -> Callable[..., Catalog]:
    """A catalog of archives, each given as cluster, hours since the start, index and whether it is damaged."""

    def make(*archives: tuple[str, float, int, bool], folder: str = "snaps") -> Catalog:
        for number, (cluster, hours, index, bad) in enumerate(archives):
            data = made(cluster, START + timedelta(hours=hours), index)
            if bad:  # its hash is wrong, and all else can be read
                data = forge.squeeze(_with_wrong_hash(data))
            written(tmp_path / folder, f"{number}.snap", data)
        return Catalog(str(tmp_path / "snaps"))

    return make


def _with_wrong_hash(data: bytes) -> bytes:
    members = [(info.name, content) for info, content in forge.untar(data)]
    members[2] = (members[2][0], members[2][1].replace(b"a", b"b").replace(b"0", b"1"))
    return forge.tar(members)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def test_gaps_are_where_usable_archives_are_missing(series: Callable[..., Catalog]) -> None:
    catalog = series(*((HERE, hour, 100 + hour, hour == 7) for hour in (0, 1, 2, 3, 6, 7, 8, 9)))
    gaps = catalog.gaps()
    assert list(zip(gaps["From"], gaps["To"], gaps["Missing"], gaps["Damaged"], strict=True)) == [
        (at(3), at(6), 2, 0),
        (at(6), at(8), 1, 1),
    ]
    assert set(gaps["Expected"]) == {pd.Timedelta("1h")}
    assert [Path(source).name for source in gaps["Before"]] == ["3.snap", "4.snap"]
    assert catalog.gaps("3h").empty
    assert catalog.gaps("1d").empty
    assert catalog.gaps("1w").empty
    late = catalog.gaps(now=at(12.2)).iloc[-1]
    assert (late["From"], late["To"], late["Missing"], late["After"]) == (at(9), at(12.2), 2, "")
    assert catalog.gaps(now=at(10.4)).equals(gaps)
    for bad in ("soon", "-1h", "0h", "3"):
        with pytest.raises(SnapshotError, match="expected: is no duration"):
            catalog.gaps(bad)


def test_of_two_archives_no_interval_is_guessed(series: Callable[..., Catalog]) -> None:
    catalog = series((HERE, 0, 1, False), (HERE, 100, 2, False))
    assert catalog.gaps().empty
    assert pd.isna(catalog.clusters["Interval"].iloc[0])
    assert catalog.gaps("1h")["Missing"].tolist() == [99]


def test_an_index_that_went_back_is_told(series: Callable[..., Catalog]) -> None:
    catalog = series(*((HERE, hour, index, False) for hour, index in enumerate([100, 200, 150, 160, 155, 155])))
    back = catalog.went_back()
    assert list(zip(back["From"], back["To"], back["IndexBefore"], back["IndexAfter"], strict=True)) == [
        (at(1), at(2), 200, 150),
        (at(3), at(4), 160, 155),
    ]
    assert [Path(source).name for source in back["After"]] == ["2.snap", "4.snap"]


def test_clusters_that_are_mixed_up_are_told(series: Callable[..., Catalog]) -> None:
    catalog = series(*((THERE if n == 2 else HERE, n, 100 + n, False) for n in range(4)))
    mixed = catalog.mixed()
    assert [Path(source).name for source in mixed.index] == ["2.snap"]
    assert mixed.iloc[0][["ClusterID", "Usual"]].tolist() == [THERE, HERE]


def test_the_newest_good_passes_over_damaged_ones(series: Callable[..., Catalog]) -> None:
    catalog = series((HERE, 0, 1, False), (HERE, 1, 2, False), (HERE, 2, 3, True), (THERE, 0, 1, True))
    assert catalog.archives["Verdict"].tolist() == ["ok", "ok", "error", "error"]
    newest = catalog.newest_good()
    assert newest.index.tolist() == [HERE]
    assert newest["Index"].tolist() == [2]


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    hourly(tmp_path, 3)
    told: list[tuple[int, int | None]] = []
    Catalog(str(tmp_path)).refresh(progress=lambda done, total: told.append((done, total)))
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
