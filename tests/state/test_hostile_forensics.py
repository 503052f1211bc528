"""Input made to break an investigation: each look at it is an answer or a SnapshotError, in bounded time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import SnapshotError
from snapkit.state.access.who import rights, rights_changes, subjects, who_could, who_did
from snapkit.state.changes.changes import Changes
from snapkit.state.changes.clock import Clock
from snapkit.state.changes.compare import compare
from snapkit.state.redact.leaks import leaks
from snapkit.state.sizes import By, duplication, growth, sizes
from snapkit.state.sizes.garbage import collectable
from tests import forge

from .test_hostile import SMALL, odd_records, real_state, says_what_and_where


def looks(snap: snapkit.Snapshot, other: snapkit.Snapshot) -> Iterator[Callable[[], Any]]:
    """All ways to investigate."""
    yield lambda: told(compare(snap, other, reveal=True, noise=True))
    yield lambda: told(compare(other, snap))
    yield lambda: snap.timeline(other).to_string()
    yield lambda: Clock.of(snap).contradictions.to_string()
    yield lambda: subjects(snap).to_string()
    yield lambda: rights(snap).to_string()
    yield lambda: rights_changes(snap, other).to_string()
    yield lambda: who_could(snap, "submit-job").to_string()
    yield lambda: who_could(snap, "submit-job", since=other).to_string()
    yield lambda: who_did(snap).to_string()
    yield lambda: duplication(snap).to_string()
    yield lambda: collectable(snap).to_string()
    yield lambda: snap.keyring().to_string()
    yield lambda: leaks(snap).to_string()
    yield lambda: growth(other, snap).to_string()
    yield lambda: snap.search("a.c", regex=True).to_string()
    for by in get_args(By):
        yield lambda by=by: sizes(snap, by).to_string()  # type: ignore[misc]


def told(changes: Changes) -> None:
    """All ways that changes show themselves."""
    for frame in (changes.objects, changes.fields, changes.summary, changes.noise, changes.sources, changes.findings):
        frame.to_string()
    changes.to_text()
    changes.to_html()
    json.dumps(changes.to_json())


def holds(source: bytes) -> None:
    with suppress(SnapshotError), snapkit.open(source) as snap, snapkit.open(SMALL) as other:
        for look in looks(snap, other):
            try:
                look()
            except SnapshotError as error:
                says_what_and_where(error)


@settings(max_examples=20)
@given(st.lists(odd_records(), min_size=1, max_size=3))
def test_records_with_odd_values(records: list[bytes]) -> None:
    holds(forge.archive(forge.state(*records)))


@settings(max_examples=6)
@given(st.data())
def test_a_real_state_with_some_bytes_changed(data: st.DataObject) -> None:
    state = bytearray(real_state())
    for _ in range(data.draw(st.integers(1, 5))):
        state[data.draw(st.integers(1, len(state) - 1))] = data.draw(st.integers(0, 255))
    holds(bytes(state))
