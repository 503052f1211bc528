"""Where state.bin is kept while a snapshot is open."""

from __future__ import annotations

import mmap
import sys
import tempfile
from pathlib import Path

import pytest

import snapkit
from snapkit.errors import SnapshotError
from snapkit.state.snapshot import store as store_module
from snapkit.state.snapshot.store import Store

from ...conftest import path_of

DATA = bytes(range(256)) * 4


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files go to."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def filled(in_memory: int, step: int = 100) -> Store:
    store = Store(in_memory)
    for i in range(0, len(DATA), step):
        store.write(memoryview(DATA)[i : i + step] if i % 2 else DATA[i : i + step])
    return store


@pytest.mark.parametrize("in_memory", [0, 1, 99, 100, 101, len(DATA) - 1, len(DATA), len(DATA) + 1])
def test_what_was_written_is_there_in_memory_or_in_a_file(in_memory: int, temporary: Path) -> None:
    store = filled(in_memory)
    assert store.bytes[:] == DATA
    assert store.bytes[5:7] == DATA[5:7]
    assert store.bytes.find(b"\x10\x11") == 16
    assert isinstance(store.bytes, mmap.mmap) == (in_memory < len(DATA))
    assert list(temporary.iterdir()) == [], "the file has no name"
    store.close()


@pytest.mark.parametrize("when", ["made", "before it is written to"])
def test_what_is_to_stay_in_memory_does_at_any_size(
    when: str, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    store = Store(0, spills=when != "made")
    store.stay_in_memory()
    for i in range(0, len(DATA), 100):
        store.write(DATA[i : i + 100])
    assert store.bytes == DATA
    assert store.bytes is store.bytes, "and is not copied again and again"
    assert not store.spills
    store.close()


def test_nothing_written_is_no_bytes() -> None:
    assert Store().bytes == b""
    assert Store(0).bytes == b""


@pytest.mark.parametrize("in_memory", [0, 10_000])
def test_after_close_it_says_so(in_memory: int) -> None:
    store = filled(in_memory)
    assert store.bytes
    store.close()
    store.close()
    with pytest.raises(SnapshotError, match="is closed; open it again"):
        _ = store.bytes


@pytest.mark.parametrize("in_memory", [0, 10_000])
def test_a_view_taken_before_outlives_close(in_memory: int) -> None:
    store = filled(in_memory)
    view = memoryview(store.bytes)
    store.close()
    assert view == DATA


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of open files")
def test_close_gives_the_file_back(temporary: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    store = filled(0)
    assert store.bytes
    assert open_files() > before
    store.close()
    assert open_files() == before


def test_a_snapshot_from_a_file_is_the_same_as_from_memory(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    path = path_of("every-table/every-table")
    with snapkit.open(path) as in_memory:
        monkeypatch.setattr(store_module.Store.__init__, "__defaults__", (1_000,))
        with snapkit.open(path) as in_file:
            assert b"".join(in_file.chunks()) == b"".join(in_memory.chunks())
            assert in_file.tables.equals(in_memory.tables)
            for table in in_memory.tables.index:
                assert in_file[table].equals(in_memory[table])
            assert list(temporary.iterdir()) == []
        with pytest.raises(SnapshotError, match="is closed"):
            in_file.get("indexes", "jobs")


def test_an_archive_that_is_refused_leaves_no_file(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setattr(store_module.Store.__init__, "__defaults__", (1_000,))
    with pytest.raises(SnapshotError):
        snapkit.open(path_of("every-table/every-table").read_bytes()[:-1])
    assert list(temporary.iterdir()) == []
