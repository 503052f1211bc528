"""A salvaged snapshot: it works as any other, and says what it is wherever it goes."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet
import pytest

import snapkit
from snapkit.errors import ArchiveError, RecordError, SnapshotError, TargetExistsError
from snapkit.format.salvage import Salvage
from snapkit.state.output.export import export
from snapkit.state.output.salvage import write_salvaged
from tests import forge

from ...conftest import ARCHIVES, RAFT_DIRECTORIES, path_of
from ...conftest import DATA as ROOT

Open = Callable[..., snapkit.Snapshot]

PATH = path_of("v1.4.14/tuesday")
DATA = PATH.read_bytes()
CUT = DATA[: len(DATA) // 2]


def account_of(snap: snapkit.Snapshot) -> Salvage:
    assert snap.salvage is not None
    return snap.salvage


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_is_whole_is_opened_as_ever(name: str, opened: Open, open_: Open) -> None:
    whole, snap = opened(name), open_(path_of(name), salvage=True, key=b"k")
    assert snap.salvage is None
    assert (snap.archive, snap.meta) == (whole.archive, whole.meta)
    assert repr(snap) == repr(whole)
    assert list(snap.raw()) == list(whole.raw())


@pytest.mark.parametrize("name", RAFT_DIRECTORIES)
def test_a_whole_raft_directory_is_opened_as_ever(name: str, open_: Open) -> None:
    assert open_(ROOT / name, salvage=True).salvage is None


def test_without_salvage_damage_is_an_error() -> None:
    with pytest.raises(ArchiveError):
        snapkit.open(CUT)


@pytest.mark.parametrize("source", ["bytes", "path", "stream", "url"])
def test_a_cut_archive_gives_what_is_ahead_of_the_cut(source: str, open_: Open, opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "cut.snap"
    path.write_bytes(CUT)
    sources: dict[str, Any] = {"bytes": CUT, "path": path, "stream": io.BytesIO(CUT), "url": f"file://{path}"}
    whole, snap = opened("v1.4.14/tuesday"), open_(sources[source], salvage=True)
    account = account_of(snap)
    raw = list(snap.raw())
    assert raw == list(whole.raw())[: len(raw)]
    assert account.records == len(raw) == snap.tables["Count"].sum()
    assert (account.reason, account.evidence) == ("the gzip stream ends too early", "cut")
    assert (snap.meta.id, snap.meta.index) == (whole.meta.id, whole.meta.index)
    assert snap.meta.size == account.bytes_kept < account.bytes_total == whole.meta.size  # type: ignore[operator]
    assert snap.jobs.equals(whole.jobs)
    assert len(snap.acl_tokens) == 0


def test_it_says_so_wherever_it_shows_itself(open_: Open) -> None:
    snap = open_(CUT, salvage=True)
    assert f": SALVAGED: {snap.salvage}; " in repr(snap)
    assert "SALVAGED:" in snap._repr_html_()
    assert "bytes lost, probably" in snap._repr_html_()


def test_a_changed_byte_that_nothing_places_gives_no_record_but_counts_them(open_: Open) -> None:
    meta, (name, state), sums = forge.members(
        forge.state(*(forge.record(2, {"Key": f"t{i}", "Value": i}) for i in range(9)))
    )
    data = forge.squeeze(forge.tar([meta, (name, state.replace(b"t5", b"T5")), sums]))
    snap = open_(data, salvage=True)
    assert (len(list(snap.raw())), account_of(snap).suspect, len(snap.tables)) == (0, 9, 0)
    assert "9 more can be read but may be altered" in repr(snap)
    assert snap.indexes.empty
    snap = open_(data, salvage="suspect")
    assert (len(snap.indexes), account_of(snap).vouched) == (9, False)
    assert "NOTHING VOUCHES for 9 of the records" in repr(snap)


def test_of_many_damages_each_gives_true_records_or_an_error() -> None:
    dice = random.Random(3)
    with snapkit.open(PATH) as whole:
        true = {(byte, bytes(packed)) for byte, packed in whole.raw()}
        size = whole.meta.size
    for _ in range(100):
        data = bytearray(DATA)
        place = dice.randrange(len(data))
        data[place : place + dice.choice([1, 8, 512])] = dice.randbytes(dice.choice([0, 1, 8, 512]))
        with suppress(RecordError, ArchiveError), snapkit.open(bytes(data), salvage=True) as snap:
            assert true.issuperset((byte, bytes(packed)) for byte, packed in snap.raw())
            if snap.salvage is not None and snap.salvage.records:
                assert snap.salvage.bytes_kept + snap.salvage.bytes_lost == size


# -- exports


@pytest.fixture
def cut(open_: Open) -> snapkit.Snapshot:
    return open_(CUT, salvage=True)


def test_a_folder_has_a_note(cut: snapkit.Snapshot, tmp_path: Path) -> None:
    export(cut, tmp_path / "out", tables=["jobs", "nodes"])
    note = tmp_path / "out" / "SALVAGED.txt"
    assert sorted(p.name for p in note.parent.iterdir()) == ["SALVAGED.txt", "jobs.parquet", "nodes.parquet"]
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    lines = dict(line.split(": ", 1) for line in note.read_text().splitlines())
    assert lines["salvaged"] == str(cut.salvage)
    assert int(lines["bytes_kept"]) + int(lines["bytes_lost"]) == int(lines["bytes_total"])
    assert lines["vouched"] == "yes"
    metadata = pyarrow.parquet.read_schema(note.parent / "jobs.parquet").metadata
    assert json.loads(metadata[b"snapkit.salvage"]) == lines


def test_a_database_has_a_table_that_says_so(cut: snapkit.Snapshot, tmp_path: Path) -> None:
    for form in ("sqlite", "duckdb"):
        export(cut, tmp_path / f"out.{form}")
        connect: Any = sqlite3.connect if form == "sqlite" else duckdb.connect
        connection = connect(str(tmp_path / f"out.{form}"))
        try:
            rows = dict(connection.execute("SELECT name, value FROM _snapkit_salvage").fetchall())
            count = connection.execute("SELECT count(*) FROM jobs").fetchone()
        finally:
            connection.close()
        assert rows["reason"] == "the gzip stream ends too early"
        assert count == (len(cut.jobs),)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_by_itself_must_say_so_in_its_name(suffix: str, cut: snapkit.Snapshot, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=rf"call it jobs\.salvaged\{suffix}"):
        export(cut, tmp_path / f"jobs{suffix}", tables=["jobs"])
    assert list(tmp_path.iterdir()) == []
    export(cut, tmp_path / f"jobs.salvaged{suffix}", tables=["jobs"])


def test_nothing_is_noted_of_what_is_whole(opened: Open, tmp_path: Path) -> None:
    snap = opened("v1.4.14/tuesday")
    export(snap, tmp_path / "out", tables=["jobs"])
    export(snap, tmp_path / "out.sqlite", tables=["jobs"])
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["jobs.parquet"]
    assert b"snapkit.salvage" not in (pyarrow.parquet.read_schema(tmp_path / "out/jobs.parquet").metadata or {})
    connection = sqlite3.connect(tmp_path / "out.sqlite")
    try:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("jobs",)]
    finally:
        connection.close()


# -- a whole archive again


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_what_was_salvaged_is_written_as_a_whole_archive(share: float, open_: Open, tmp_path: Path) -> None:
    snap = open_(DATA[: int(len(DATA) * share)], salvage=True)
    write_salvaged(snap, tmp_path / "new.snap")
    again = open_(tmp_path / "new.snap")
    assert list(again.raw()) == list(snap.raw())
    assert again.meta.size == snap.meta.size
    assert (again.meta.id, again.meta.index, again.meta.term) == (snap.meta.id, snap.meta.index, snap.meta.term)
    assert (again.archive.oddities, again.salvage) == ((), None)
    with pytest.raises(TargetExistsError):
        write_salvaged(snap, tmp_path / "new.snap")
    write_salvaged(snap, tmp_path / "new.snap", overwrite=True)


def test_where_meta_json_was_lost_a_plausible_one_is_made_up(open_: Open, tmp_path: Path) -> None:
    with snapkit.open(PATH) as whole:
        state = b"".join(whole.chunks())
        highest = int(whole.indexes["Value"].max())
    snap = open_(state[:-10], salvage=True)
    assert (snap.meta.id, snap.meta.index) == ("", None)
    write_salvaged(snap, tmp_path / "new.snap")
    again = open_(tmp_path / "new.snap")
    assert (again.meta.id, again.meta.index, again.meta.term) == (f"1-{highest}-0", highest, 1)
    assert (again.meta.created, again.archive.meta["Version"]) == (None, 1)
    assert list(again.raw()) == list(snap.raw())
