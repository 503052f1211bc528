"""state.bin: where records start and end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snapkit.errors import LimitError, RecordError, SnapshotError
from snapkit.format.records import Framer
from tests import forge

from .test_values import TREES


def frame(data: bytes, step: int = 1 << 20, **kwargs: Any) -> Framer:
    framer = Framer(**kwargs)
    for i in range(0, len(data), step):
        framer.write(data[i : i + step])
    framer.close()
    return framer


@given(st.lists(st.tuples(st.integers(0, 255), TREES), max_size=8), st.integers(1, 50))
def test_records_are_found_wherever_the_stream_is_cut(records: list[tuple[int, Any]], step: int) -> None:
    packed = [(byte, forge.pack(value)) for byte, value in records]
    data = forge.state(*(forge.record(byte, value) for byte, value in packed))
    framer = frame(data, step)
    assert framer.index is not None
    assert bytes(framer.index.types) == bytes(byte for byte, _ in packed)
    assert [data[framer.index.value(i)] for i in range(len(packed))] == [value for _, value in packed]
    assert framer.index.end == len(data)
    assert sum(t.count for t in framer.tallies.values()) == len(packed)
    assert sum(t.bytes for t in framer.tallies.values()) == (len(data) if packed else 0)
    for byte in set(framer.index.types):
        assert list(framer.index.of_type(byte)) == [i for i, (b, _) in enumerate(packed) if b == byte]


def test_the_headers_byte_counts_with_the_first_record() -> None:
    framer = frame(forge.state(forge.record(2, {"Key": "a"}), forge.record(2, {"Key": "b"}), forge.record(69, None)))
    assert [(b, t.count, t.bytes) for b, t in framer.tallies.items()] == [(2, 2, 17), (69, 1, 2)]
    assert framer.index is not None
    assert list(framer.index.starts) == [1, 9, 17]


@pytest.mark.parametrize("header", [b"\x80", b"\x81\xa1a\x01", b"\xde\x00\x00", b"\xdf\x00\x00\x00\x00"])
def test_a_header_is_any_map(header: bytes) -> None:
    framer = frame(header + forge.record(0, {}), 1)
    assert framer.tallies[0].bytes == len(header) + 2


@pytest.mark.parametrize("first", [b"\x00", b"\x90", b"\xc0", b"\xa1", b"\x1f", b"\xff"])
def test_what_begins_with_no_map_is_no_state(first: bytes) -> None:
    with pytest.raises(RecordError) as caught:
        frame(first + b"abc")
    assert "not a map" in caught.value.what
    assert caught.value.where == "state.bin header, byte 0"


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\xa1a"])
def test_a_state_that_ends_in_its_header_says_so(data: bytes) -> None:
    with pytest.raises(RecordError) as caught:
        frame(data)
    assert "ends inside" in caught.value.what
    assert caught.value.where == "state.bin header, byte 0"


def test_a_state_that_ends_inside_a_record_names_it() -> None:
    data = forge.state(forge.record(2, {"Key": "a", "Value": 1}), forge.record(0, {"ID": "abc"}))
    second = len(forge.state(forge.record(2, {"Key": "a", "Value": 1})))
    for end in range(second + 1, len(data)):
        with pytest.raises(RecordError) as caught:
            frame(data[:end])
        assert caught.value.where == f"state.bin record 2 (Node), byte {second}"
        assert caught.value.advice


def test_bytes_that_are_no_msgpack_name_their_record() -> None:
    with pytest.raises(RecordError, match=r"not msgpack at byte \d+") as caught:
        frame(forge.state(forge.record(2, {}), forge.record(69, b"\xc1")))
    assert caught.value.where == "state.bin record 2 (Unknown(69)), byte 3"


@pytest.mark.parametrize("opener", [b"\x91", b"\x81\x01", b"\xdd\x00\x00\x00\x01"])
def test_a_record_nested_100_000_deep_is_refused(opener: bytes) -> None:
    with pytest.raises(RecordError, match="nested too deep"):
        frame(forge.state(forge.record(0, opener * 100_000 + b"\xc0")))


@pytest.mark.parametrize("claim", [b"\xdb", b"\xdd", b"\xdf", b"\xc6"])
def test_a_claim_of_4_gb_is_a_record_cut_short(claim: bytes) -> None:
    with pytest.raises(SnapshotError) as caught:
        frame(forge.state(forge.record(0, claim + b"\xff\xff\xff\xff" + b"\1" * 100)))
    assert caught.value.where == "state.bin record 1 (Node), byte 1"


@pytest.mark.parametrize("step", [1, 700, 1 << 20])
@pytest.mark.parametrize(
    "value",
    [{"ID": "x" * 5_000}, {"ID": ["x"] * 3_000}, {"ID": [{}] * 5_000}, {str(i): i for i in range(1000)}],
    ids=["a long string", "many strings", "many maps", "many fields"],
)
def test_a_record_longer_than_the_limit_is_refused_whatever_it_holds(value: Any, step: int) -> None:
    data = forge.state(forge.record(2, {}), forge.record(0, value))
    frame(data, step)
    with pytest.raises(LimitError, match=r"longer than 2,000 bytes") as caught:
        frame(data, step, max_record=2_000)
    assert caught.value.where == "state.bin record 2 (Node), byte 3"
    assert caught.value.advice


@pytest.mark.parametrize("step", [1, 700, 1 << 20])
def test_a_record_within_the_limit_is_taken(step: int) -> None:
    data = forge.state(*(forge.record(0, {"ID": "x" * 1_900}) for _ in range(20)))
    assert frame(data, step, max_record=2_000).tallies[0].count == 20


@given(st.binary(max_size=200), st.integers(1, 20))
@example(b"\x80" + b"\0" * 100, 3)
def test_any_bytes_are_records_or_a_snapshot_error_and_the_same_one_however_cut(data: bytes, step: int) -> None:
    def outcome(step: int) -> Any:
        try:
            return frame(b"\x80" + data, step).tallies
        except SnapshotError as error:
            return error.where

    assert outcome(step) == outcome(1000) != ""


def test_more_records_than_allowed_are_refused() -> None:
    data = b"\x80" + b"\0\xc0" * 100
    assert frame(data, 7, max_records=100).tallies[0].count == 100
    with pytest.raises(LimitError, match="more than 99 records"):
        frame(data, 7, max_records=99)
