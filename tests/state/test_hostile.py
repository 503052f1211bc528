"""Input made to break it: whatever it is, it is a snapshot or a SnapshotError, in bounded time and memory."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import SnapshotError
from snapkit.format.schema import BY_TABLE, TYPES
from tests import capped, forge

from ..conftest import DATA, path_of
from . import samples
from .snapshot.test_snapshot import all_tables

SMALL = samples.archive(
    {
        "indexes": [{"Key": "jobs", "Value": 7}],
        "nodes": [{"ID": "n1", "Name": "client1", "SecretID": "s"}],
        "acl_tokens": [{"AccessorID": "a", "CreateTime": samples.GO_TIME, "Policies": ["p"]}],
        "cluster_metadata": [{"ClusterID": "c", "CreateTime": 5}],
    }
)


def looks(snap: snapkit.Snapshot) -> list[Callable[[], Any]]:
    """All ways to look at it."""
    ways: list[Callable[[], Any]] = [
        lambda: repr(snap),
        snap._repr_html_,
        lambda: snap.meta,
        lambda: snap.tables,
        lambda: snap.search("a"),
        lambda: snap.search(b"\xa1", reveal=True),
        snap.unlock,
    ]
    for table in snap.tables.index:
        ways += [
            lambda t=table: snap.table(t).to_string(),  # type: ignore[misc]
            lambda t=table: snap.table(t, snap.columns(t), reveal=True),  # type: ignore[misc]
            lambda t=table: snap.arrow(t, nested=True),  # type: ignore[misc]
            lambda t=table: json.dumps(list(snap.objects(t))),  # type: ignore[misc]
            lambda t=table: snap.record_bytes(t),  # type: ignore[misc]
        ]
    return ways


def says_what_and_where(error: SnapshotError) -> None:
    assert error.what
    assert error.where


def holds(source: bytes) -> bool:
    """It opens, or is refused with a place; and so is each look at it. Is it open?"""
    try:
        snap = snapkit.open(source)
    except SnapshotError as error:
        says_what_and_where(error)
        return False
    with snap:
        for look in looks(snap):
            try:
                look()
            except SnapshotError as error:
                says_what_and_where(error)
    return True


# -- whatever it is


@given(st.binary(max_size=300))
def test_any_bytes_are_a_snapshot_or_an_error(data: bytes) -> None:
    holds(data)


@settings(max_examples=200)
@given(st.binary(max_size=100))
def test_any_state_is_a_snapshot_or_an_error(data: bytes) -> None:
    holds(b"\x80" + data)
    holds(forge.archive(b"\x80" + data))


keys = st.none() | st.booleans() | st.integers(-5, 5) | st.binary(max_size=3) | st.sampled_from([b"ID", b"Name"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=20)
    | st.sampled_from([samples.GO_TIME, forge.go_time(0), b"\x01" * 15, b"\x02" * 16])
)
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=3), max_leaves=8)


@st.composite
def odd_records(draw: st.DrawFn) -> bytes:
    """A record with some of its fields, and values in them that belong to any type or none."""
    kind = draw(st.sampled_from(TYPES))
    if draw(st.integers(0, 9)) == 0:
        return forge.record(kind.byte, forge.pack(draw(values)))
    whole = samples.struct(kind.struct)
    names = draw(st.lists(st.sampled_from(sorted(whole)), max_size=4, unique=True))
    kept = draw(st.booleans())
    row = (whole if kept else {}) | {name: draw(values) for name in names}
    return forge.record(kind.byte, [row] if kind.table == "time_table" else row)


@settings(max_examples=100)
@given(st.lists(odd_records(), min_size=1, max_size=3))
def test_records_with_odd_values_are_shown_or_an_error_names_them(records: list[bytes]) -> None:
    assert holds(forge.archive(forge.state(*records)))


@cache
def real_state() -> bytes:
    return forge.untar(path_of("v0.12.12/monday").read_bytes())[1][1]


@settings(max_examples=30)
@given(st.data())
def test_a_real_state_with_some_bytes_changed(data: st.DataObject) -> None:
    state = bytearray(real_state())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(state) - 1))
        if data.draw(st.booleans()):
            state[at] = data.draw(st.integers(0, 255))
        else:
            del state[at : at + data.draw(st.integers(1, 50))]
    holds(bytes(state) if state[:1] == b"\x80" else forge.archive(bytes(state)))


@settings(max_examples=30)
@given(st.data())
def test_a_real_archive_with_some_bytes_changed_is_refused_with_a_place(data: st.DataObject) -> None:
    archive = bytearray(path_of("v0.12.12/monday").read_bytes())
    at = data.draw(st.integers(10, len(archive) - 1))
    archive[at] ^= data.draw(st.integers(1, 255))
    assert not holds(bytes(archive))


# -- cut and flipped


def test_cut_at_every_byte_it_is_refused_with_a_place() -> None:
    assert holds(SMALL)
    for length in range(len(SMALL)):
        with pytest.raises(SnapshotError) as caught:
            snapkit.open(SMALL[:length])
        assert caught.value.where, length
        assert caught.value.advice, length


def inflated(data: bytes) -> bytes | None:
    """By zlib: None if it is no whole gzip stream."""
    stream = zlib.decompressobj(31)
    with suppress(zlib.error):
        content = stream.decompress(data)
        return content if stream.eof and not stream.unused_data else None
    return None


def test_with_any_bit_flipped_it_is_refused_with_a_place_or_the_same() -> None:
    """The same: the flip is in gzip's time and flags, or inflates to the same bytes all the same."""
    with snapkit.open(SMALL) as snap:
        whole = all_tables(snap)
    same = set()
    for at in range(len(SMALL)):
        for bit in range(8) if at < 12 else [at % 8]:
            flipped = SMALL[:at] + bytes([SMALL[at] ^ (1 << bit)]) + SMALL[at + 1 :]
            harmless = inflated(flipped) == inflated(SMALL)
            try:
                with snapkit.open(flipped) as snap:
                    assert harmless or at == 3, at  # gzip's flags: zlib minds those that mean nothing, Go does not
                    assert all_tables(snap) == whole
                    same.add(at)
            except SnapshotError as error:
                says_what_and_where(error)
    assert same >= {4, 5, 6, 7, 8, 9}
    assert len(same) < 20


def test_a_state_without_hashes_cut_at_every_byte_is_refused_or_the_records_before() -> None:
    """A bare state.bin that is cut between two records can't be told from a whole one."""
    state = forge.untar(SMALL)[1][1]
    with snapkit.open(state) as snap:
        count = len(list(snap.raw()))
    opened = [length for length in range(len(state)) if holds(state[:length])]
    assert len(opened) == count, "after the header and after each record but the last"


@pytest.mark.parametrize("name", ["state.bin", "meta.json"])
def test_a_raft_directory_with_any_bit_flipped_is_refused(name: str, tmp_path: Any) -> None:
    source = DATA / "v0.12.12" / "raft-snapshots" / "2-95-1795471831204"
    copy = tmp_path / source.name
    shutil.copytree(source, copy)
    data = (source / name).read_bytes()
    passed, places = 0, []
    for at in range(0, len(data), max(len(data) // 40, 1)):
        (copy / name).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            snapkit.open(copy).close()
            passed += 1
        except SnapshotError as error:
            places.append(error.where)
    assert all(str(copy) in place for place in places)
    assert passed == 0 or name == "meta.json", "no hash covers meta.json"


# -- bombs, with little memory to go off in

BOMB = """
    import zlib

    class Bomb:
        "8 GB of zeros in one member, in some 8 MB of gzip made as they are read."

        def __init__(self, name, first=b""):
            squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
            head = forge.header(name, 8 * 2**30 - 1) + first
            if name == "state.bin":
                head = forge.member("meta.json", forge.meta_json(8 * 2**30 - 1)) + head
            self._ahead = squeeze.compress(head) + squeeze.flush(zlib.Z_FULL_FLUSH)
            # A full flush forgets what came before it: the piece can be said again.
            self._piece = squeeze.compress(bytes(1 << 24)) + squeeze.flush(zlib.Z_FULL_FLUSH)
            self.pieces = 0

        def read(self, size=-1):
            while size < 0 or len(self._ahead) < size:
                if self.pieces == 512:
                    break
                self._ahead += self._piece
                self.pieces += 1
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data

    inside_a_record = bytes([0x80, 0, 0xC6, 255, 255, 255, 255])
    free = snapkit.Limits(ratio=1e9)
    print(outcome(look_at_all, Bomb("state.bin", inside_a_record)))
    print(outcome(look_at_all, Bomb("state.bin", inside_a_record), limits=free))
    print(outcome(look_at_all, Bomb("state.bin", inside_a_record), limits=snapkit.Limits(ratio=1e9, total=100 << 20)))
    print(outcome(look_at_all, Bomb("meta.json")))
    print(outcome(look_at_all, Bomb("meta.json"), limits=free))
    print(outcome(look_at_all, Bomb("x"), limits=free))
"""


def test_8_gb_in_8_mb_are_refused_before_they_fill_the_memory() -> None:
    ratio, record, total, *metas, other = capped.run(BOMB).splitlines()
    assert ratio.startswith("LimitError: ")
    assert record.startswith("LimitError: ")
    assert "state.bin record 1 (Node)" in record
    assert total.startswith("LimitError: ")
    assert "104,857,600" in total
    assert all(meta.startswith("LimitError: ") for meta in metas)
    assert other.startswith("ArchiveError: ")


CLAIMS = """
    claims = {
        "map of 2**32-1": b"\\xdf" + b"\\xff" * 4,
        "array of 2**32-1": b"\\xdd" + b"\\xff" * 4,
        "raw of 2**32-1": b"\\xdb" + b"\\xff" * 4,
        "bin of 2**32-1": b"\\xc6" + b"\\xff" * 4,
        "ext of 2**32-1": b"\\xc9" + b"\\xff" * 4 + b"\\1",
        "maps in maps": b"\\xdf\\xff\\xff\\xff\\xff\\1" * 900,
        "arrays in arrays": b"\\xdd\\xff\\xff\\xff\\xff" * 900,
    }
    for name, claim in claims.items():
        field = b"\\x82" + forge.pack("ID") + forge.pack("a") + forge.pack("Attributes") + claim
        sources = [b"\\x80\\0" + claim, b"\\x80\\0" + field, b"\\x80\\x05\\x91" + claim, claim, b"\\x80\\xc8" + claim]
        for state in sources:
            for source in (state, forge.archive(state)):
                print(outcome(look_at_all, source))
"""


def test_claims_of_billions_of_items_are_refused_without_room_for_them() -> None:
    outcomes = capped.run(CLAIMS, memory=256 << 20).splitlines()
    assert len(outcomes) == 7 * 5 * 2
    assert {line.partition(":")[0] for line in outcomes} <= {"RecordError", "ArchiveError"}


DEPTHS = """
    for depth in (190, 250, 1_000, 1_020, 5_000, 1_000_000):
        for opener in (b"\\x91", b"\\x81\\xa1a", b"\\x81\\x91" if depth > 1_020 else b"\\x91"):
            deep = opener * depth + b"\\xc0"
            for state in (
                b"\\x80\\0" + deep,
                b"\\x80\\0\\x82" + forge.pack("ID") + forge.pack("a") + forge.pack("Meta") + deep,
                b"\\x80\\xc8\\x81" + forge.pack("x") + deep,
                b"\\x80\\5\\x91" + deep,
            ):
                print(depth, outcome(look_at_all, forge.archive(state)).partition(":")[0])
"""


def test_however_deep_it_is_a_snapshot_or_an_error() -> None:
    lines = capped.run(DEPTHS).splitlines()
    assert len(lines) == 6 * 3 * 4
    assert {line for line in lines if int(line.split()[0]) < 1_000} == {"190 whole", "250 whole"}
    assert {line for line in lines if int(line.split()[0]) > 1_020} == {"5000 RecordError", "1000000 RecordError"}


WIDE = """
    wide = forge.record(0, {str(i): 0 for i in range(40_000)})
    keys = forge.record(0, {"ID": "a", "Meta": {str(i): "x" for i in range(40_000)}})
    long = forge.record(0, {"ID": "a" * (16 << 20), "Name": b"\\xff" * (16 << 20)})
    many = forge.record(0, {"ID": "a"}) * 40_000
    types = b"".join(forge.record(byte, {"ID": "a"}) for byte in range(256))
    for state in (wide, keys, long, many, types):
        print(outcome(look_at_all, forge.archive(b"\\x80" + state), limits=snapkit.Limits(ratio=1e9)))
"""


def test_wide_long_and_many_records_are_read() -> None:
    assert capped.run(WIDE).splitlines() == ["whole"] * 5


def test_each_type_byte_is_a_table(open_: Callable[..., snapkit.Snapshot]) -> None:
    snap = open_(forge.archive(forge.state(*(forge.record(byte, {"a": 1}) for byte in range(256) if byte != 5))))
    assert len(snap.tables) == 255
    assert set(snap.tables.index) >= BY_TABLE.keys() - {"time_table"}
    assert all(len(snap[table]) == 1 for table in snap.tables.index)
