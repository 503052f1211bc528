"""What goes wrong on purpose: for each fault, the right error, and no file or the old one left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit import Client
from snapkit.cluster import connection
from snapkit.cluster.client import (
    ClusterTimeoutError,
    DigestError,
    InterruptedStreamError,
    NoLeaderError,
    NotAnArchiveError,
    PermissionDeniedError,
    RestoreUnclearError,
)
from snapkit.cluster.server import Faults, ServedCluster
from snapkit.errors import ArchiveError, SnapshotError

from ..conftest import path_of

MONDAY = path_of("v2.0.5/monday").read_bytes()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKOFF", (0.001,))


@pytest.fixture(scope="module")
def cluster() -> Iterator[ServedCluster]:
    with snapkit.serve(path_of("v2.0.5/monday")) as cluster:
        yield cluster


@pytest.fixture
def faulty(cluster: ServedCluster) -> Iterator[Callable[..., Client]]:
    """Sets the faults, and gives a client that has little patience with a delay."""

    def set_faults(faults: Faults) -> Client:
        cluster.faults = faults
        return Client(cluster.address, token=cluster.token, timeout=0.2 if faults.delay else 20)

    yield set_faults
    cluster.faults = Faults()


FAULTS: dict[str, tuple[Faults, type[SnapshotError], str]] = {
    "cut at once": (Faults(cut=0), InterruptedStreamError, "ended before its first byte|cut the connection"),
    "cut in the header": (Faults(cut=1), InterruptedStreamError, "cut the connection"),
    "cut in the middle": (Faults(cut=len(MONDAY) // 2), InterruptedStreamError, "cut the connection"),
    "cut in the last byte": (Faults(cut=len(MONDAY) - 1), InterruptedStreamError, "cut the connection"),
    "wrong digest": (Faults(digest="wrong"), DigestError, "arrived altered"),
    "corrupt": (Faults(corrupt=True), ArchiveError, "damaged|hash check failed"),
    "corrupt, wrong digest": (Faults(corrupt=True, digest="wrong"), DigestError, "arrived altered"),
    "corrupt, no digest": (Faults(corrupt=True, digest="missing"), ArchiveError, "damaged|hash check failed"),
    "forbidden": (Faults(forbidden=True), PermissionDeniedError, "answered 403 .*: Permission denied"),
    "no leader": (Faults(no_leader=True), NoLeaderError, "answered 500 .*: No cluster leader"),
    "html": (Faults(html=True), NotAnArchiveError, "a page of HTML"),
    "delay": (Faults(delay=1.0), ClusterTimeoutError, r"silent for 0\.2 seconds"),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", ["new", "old", "folder", "url", "snapshot"])
def test_a_fault_is_named_and_leaves_no_file_or_the_old_one(
    fault: str, place: str, faulty: Callable[..., Client], tmp_path: Path
) -> None:
    faults, kind, hint = FAULTS[fault]
    client = faulty(faults)
    (tmp_path / "old.snap").write_bytes(b"of yesterday")
    places: dict[str, Callable[[], Any]] = {
        "new": lambda: client.save(tmp_path / "new.snap"),
        "old": lambda: client.save(tmp_path / "old.snap", overwrite=True),
        "folder": lambda: client.save(tmp_path),
        "url": lambda: client.save(f"local://{tmp_path}/url.snap"),
        "snapshot": client.snapshot,
    }
    with pytest.raises(kind, match=hint) as caught:
        places[place]()
    assert type(caught.value) is kind
    assert caught.value.where.startswith(client.address)
    assert contents(tmp_path) == {"old.snap": b"of yesterday"}


@pytest.mark.parametrize("place", ["new.snap", "old.snap"])
def test_a_missing_digest_is_no_failure_and_is_reported(
    place: str, faulty: Callable[..., Client], tmp_path: Path
) -> None:
    (tmp_path / "old.snap").write_bytes(b"of yesterday")
    saved = faulty(Faults(digest="missing")).save(tmp_path / place, overwrite=True)
    assert not saved.digest_checked
    assert (tmp_path / place).read_bytes() == MONDAY


def test_a_delay_that_is_borne_is_no_failure(faulty: Callable[..., Client], tmp_path: Path) -> None:
    client = faulty(Faults(delay=0.05))
    client.timeout = None
    assert client.save(tmp_path / "a.snap").digest_checked


def test_without_a_fault_it_is_whole_again(faulty: Callable[..., Client], tmp_path: Path) -> None:
    with pytest.raises(SnapshotError):
        faulty(Faults(cut=100)).save(tmp_path / "a.snap")
    faulty(Faults()).save(tmp_path / "a.snap")
    assert contents(tmp_path) == {"a.snap": MONDAY}


@pytest.mark.parametrize("stale", [False, True])
def test_a_stale_save_works_without_a_leader(stale: bool, faulty: Callable[..., Client], tmp_path: Path) -> None:
    client = faulty(Faults(no_leader=True))
    if stale:
        client.save(tmp_path / "a.snap", stale=True)
        assert contents(tmp_path) == {"a.snap": MONDAY}
        assert client.get("/v1/jobs", stale=True).known_leader is False
    else:
        with pytest.raises(NoLeaderError, match="`stale`"):
            client.save(tmp_path / "a.snap")


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        (Faults(forbidden=True), PermissionDeniedError),
        (Faults(no_leader=True), NoLeaderError),
        (Faults(delay=1.0), ClusterTimeoutError),
    ],
)
def test_a_restore_that_fails_leaves_the_state(
    faults: Faults, kind: type[SnapshotError], cluster: ServedCluster, faulty: Callable[..., Client]
) -> None:
    before = Client(cluster.address, token=cluster.token).jobs()
    with pytest.raises(kind) as caught:
        faulty(faults).restore(path_of("v2.0.5/friday"))
    assert not isinstance(caught.value, RestoreUnclearError)
    cluster.faults = Faults()
    assert Client(cluster.address, token=cluster.token).jobs() == before


def test_a_cut_leaves_nothing_in_the_log(
    faulty: Callable[..., Client], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was asked for: no traceback of the server's."""
    with pytest.raises(InterruptedStreamError):
        faulty(Faults(cut=100)).save(tmp_path / "a.snap")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
