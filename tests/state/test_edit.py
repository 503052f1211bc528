"""A state with some of its records changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit.format import archive as container
from snapkit.format.schema import BY_TABLE
from snapkit.state.edit import edited, pack, stamp
from tests import forge

from ..conftest import ARCHIVES, path_of

Open = Callable[..., snapkit.Snapshot]


def stop_web(job: dict[bytes, Any]) -> bool:
    if job[b"ID"] != b"web":
        return False
    job[b"Stop"] = True
    return True


@pytest.mark.parametrize("archive", ARCHIVES)
def test_without_changes_it_is_the_same_to_the_byte(archive: str, open_: Open) -> None:
    snap = open_(path_of(archive))
    state = b"".join(snap.chunks())
    assert b"".join(edited(snap, {})) == state
    assert b"".join(edited(snap, {"jobs": lambda _: False, "allocs": lambda _: False})) == state


@pytest.mark.parametrize("archive", ARCHIVES)
def test_what_was_unpacked_is_packed_as_go_packs_it(archive: str, open_: Open) -> None:
    """Go's own choice among the forms of an integer is not kept, and says nothing: the values are the same."""
    snap = open_(path_of(archive))
    again = open_(b"".join(edited(snap, dict.fromkeys((set(snap.tables.index) - {"time_table"}), lambda _: True))))
    for table in snap.tables.index:
        assert list(again.objects(table, reveal=True)) == list(snap.objects(table, reveal=True))
    assert again.meta.version_range == snap.meta.version_range


def test_the_changed_record_alone_differs(open_: Open, tmp_path: Path) -> None:
    snap = open_(path_of("v2.0.5/monday"))
    state = b"".join(edited(snap, {"jobs": stop_web, "indexes": stamp(999, "jobs")}))
    path = tmp_path / "edited.snap"
    container.write(path, snap.archive.meta, [state], len(state))
    again = open_(path)

    pairs = list(zip(snap.raw(), again.raw(), strict=True))
    differ = [(before[0], i) for i, (before, after) in enumerate(pairs) if before != after]
    assert [byte for byte, _ in differ] == [BY_TABLE["indexes"].byte, BY_TABLE["jobs"].byte]
    assert again.header == snap.header
    before, after = (s.get("jobs", "shop", "web", reveal=True) for s in (snap, again))
    assert (before["Stop"], after["Stop"]) == (False, True)
    assert after | {"Stop": False} == before
    assert again.indexes.Value["jobs"] == 999
    assert again.indexes.drop("jobs").equals(snap.indexes.drop("jobs"))


def test_a_stamp_is_for_the_tables_named() -> None:
    rows = [{b"Key": b"jobs", b"Value": 1}, {b"Key": b"evals", b"Value": 2}, {b"Key": b"nodes", b"Value": 3}]
    change = stamp(9, "jobs", "nodes")
    assert [change(row) for row in rows] == [True, False, True]
    assert [row[b"Value"] for row in rows] == [9, 2, 9]
    assert not stamp(9)({b"Key": b"jobs"})
    assert not stamp(9, "jobs")({})


def test_it_is_packed_in_the_old_spec() -> None:
    assert pack(b"x" * 40) == b"\xda\x00\x28" + b"x" * 40, "raw16, where the new spec has str8 or bin"
    assert pack({b"a": 2**64 - 1}) == b"\x81\xa1a\xcf" + b"\xff" * 8


def test_a_record_that_is_no_map_is_left_as_it_is(open_: Open) -> None:
    snap = open_(forge.archive(forge.state(forge.record(1, 5), forge.record(2, [b"Key"]))))
    assert b"".join(edited(snap, {"jobs": stop_web, "indexes": stamp(9, "jobs")})) == b"".join(snap.chunks())
