"""Payloads of dispatched jobs, which the state has compressed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

import snapkit
from snapkit.cluster.answers.snappy import expanded, literal

from ..conftest import path_of


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        (b"\x00", b""),
        (b"\x09\x20late show", b"late show"),
        (b"\x0a\x04ab\x11\x02", b"ab" * 5),  # a copy that reaches into what it writes
        (b"\x06\x08abc\x0a\x03\x00", b"abcabc"),  # two bytes of the way back
        (b"\x06\x08abc\x0b\x03\x00\x00\x00", b"abcabc"),  # four
        (b"\x03\xf0\x02abc", b"abc"),  # a length in a byte of its own
    ],
)
def test_literals_and_copies(compressed: bytes, plain: bytes) -> None:
    assert expanded(compressed) == plain


@pytest.mark.parametrize(
    "data", [b"", b"\x09\x20late sho", b"\x05\x08abc", b"\x04\x01\x05", b"\xff" * 9, b"plain text"]
)
def test_what_is_not_snappys_stays_as_it_is(data: bytes) -> None:
    assert expanded(data) == data


@given(st.binary(max_size=64))
def test_any_bytes_give_bytes(data: bytes) -> None:
    assert isinstance(expanded(data), bytes)
    assert expanded(literal(data)) == data


def test_a_long_payload_comes_back() -> None:
    assert expanded(literal(bytes(range(256)) * 64)) == bytes(range(256)) * 64


def test_a_real_payload() -> None:
    with snapkit.open(path_of("v2.0.5/friday")) as snap:
        payloads = [job["Payload"] for job in snap.objects("jobs", reveal=True) if job["Payload"]]
    assert b"late show" in {expanded(base64.b64decode(payload)) for payload in payloads}
    assert all(len(expanded(base64.b64decode(payload))) > 8 for payload in payloads)
