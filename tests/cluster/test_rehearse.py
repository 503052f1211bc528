"""A restore rehearsed in a throwaway real server."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit.cluster.rehearse import find_binary, rehearse
from snapkit.format import archive as container
from snapkit.state.output.edit import edited
from tests import forge

from ..conftest import DATA, path_of
from .servers import binary, release


def test_without_a_binary_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOMAD_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(snapkit.SnapshotError, match="a nomad binary: is not there; name one by NOMAD_BIN"):
        find_binary()
    with pytest.raises(snapkit.SnapshotError):
        rehearse(path_of("v2.0.5/friday"), binary=tmp_path / "nomad")


def test_a_binary_that_is_none_says_so(tmp_path: Path) -> None:
    fake = tmp_path / "nomad"
    fake.write_text("#!/bin/sh\necho I am no server\nexit 3\n")
    fake.chmod(0o700)
    with pytest.raises(snapkit.SnapshotError, match="does not start \\(I am no server\\)"):
        rehearse(path_of("v2.0.5/friday"), binary=fake)


@pytest.mark.nomad
def test_an_archive_of_its_own_release_comes_back_whole() -> None:
    assert rehearse(path_of("v2.0.5/friday"), binary=binary()) == []


@pytest.mark.nomad
def test_a_servers_own_copy_can_be_rehearsed_too() -> None:
    folder = next((DATA / "v2.0.5" / "raft-snapshots").iterdir())
    assert rehearse(folder, binary=binary()) == []


@pytest.mark.nomad
@pytest.mark.parametrize("archive", ["v1.8.4/tuesday", "v1.4.14/tuesday", "v0.12.12/tuesday"])
def test_what_a_newer_release_changes_is_named(archive: str) -> None:
    found = rehearse(path_of(archive), binary=binary())
    assert {f.check for f in found} == {"rehearse.changed"}
    assert {f.message for f in found} == {"Reserved is another there"}, "a field of nodes that 1.10 gave up"


def with_records(*records: bytes) -> bytes:
    with snapkit.open(path_of("v2.0.5/friday")) as snap:
        state = b"".join(snap.chunks()) + b"".join(records)
        out = io.BytesIO()
        container.write_to(out, snap.archive.meta, [state], len(state))
    return out.getvalue()


@pytest.mark.nomad
@pytest.mark.parametrize("records", [forge.record(200, {"ID": "x"}), forge.record(0, {"ID": 5})], ids=["type", "field"])
def test_what_kills_a_server_is_found(records: bytes) -> None:
    (finding,) = rehearse(with_records(records), binary=binary())
    assert (finding.check, finding.severity) == ("rehearse.died", "error")
    assert finding.place == f"a server of {'.'.join(map(str, release()))}", "another release may take it"


@pytest.mark.nomad
def test_what_is_lost_is_found() -> None:
    def twice(node: dict[bytes, Any]) -> bool:
        node[b"ID"] = b"00000000-0000-0000-0000-000000000000"  # three records of one key: two are lost
        return True

    with snapkit.open(path_of("v2.0.5/friday")) as snap:
        state = b"".join(edited(snap, {"nodes": twice}))
        out = io.BytesIO()
        container.write_to(out, snap.archive.meta, [state], len(state))
    found = rehearse(out.getvalue(), binary=binary())
    assert {f.check for f in found} == {"rehearse.changed"}
    assert {f.place for f in found} == {"table nodes, 00000000-0000-0000-0000-000000000000"}
