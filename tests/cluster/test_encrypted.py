"""Encrypted at rest: saved, restored and served without anything in the clear on disk."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pyrage
import pytest

import snapkit
from snapkit import Client
from snapkit.cluster import connection
from snapkit.cluster.client import DigestError, InterruptedStreamError, NotAnArchiveError
from snapkit.cluster.server import Faults
from snapkit.errors import ArchiveError, SnapshotError, SourceError, TargetExistsError
from snapkit.format.age import IdentityMissingError, RecipientError, WrongIdentityError
from snapkit.state.snapshot import store
from tests import forge

from ..conftest import ROOT, path_of
from .raw import Raw, contents, digest, http, large

IDENTITY, OTHER = (pyrage.x25519.Identity.generate() for _ in range(2))
MINE, THEIRS = str(IDENTITY), str(OTHER)
TO_ME, TO_THEM = str(IDENTITY.to_public()), str(OTHER.to_public())

MONDAY = path_of("v2.0.5/monday").read_bytes()
LARGE = large()
SEALED = pyrage.encrypt(MONDAY, [IDENTITY.to_public()])
NAMED = "nomad-127.0.0.1-20261123T220836Z-96.snap.age"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKOFF", (0.001,))


def fails(kind: type[SnapshotError], do: Callable[[], object]) -> Any:
    with pytest.raises(kind) as caught:
        do()
    assert type(caught.value) is kind
    assert caught.value.where
    assert "\n" not in str(caught.value)
    return caught.value


# -- save


def test_a_save_is_encrypted_0600_and_the_archive_again(raw: Callable[..., Raw], tmp_path: Path) -> None:
    client = Client(raw(http(LARGE, Digest=digest(LARGE))).address)
    path = tmp_path / "a.age"
    saved = client.save(path, encrypt_to=TO_ME)
    data = path.read_bytes()
    assert pyrage.decrypt(data, [IDENTITY]) == LARGE
    assert path.stat().st_mode & 0o777 == 0o600
    assert (saved.path, saved.size, saved.sha256) == (str(path), len(data), hashlib.sha256(data).hexdigest())
    assert (saved.digest_checked, saved.encrypted) == (True, True)
    with snapkit.open(path, identity=MINE) as snap:
        assert saved.meta == snap.archive.meta
    assert not client.save(tmp_path / "plain.snap").encrypted


def test_to_several_recipients(raw: Callable[..., Raw], tmp_path: Path) -> None:
    client = Client(raw(http(MONDAY)).address)
    (tmp_path / "them").write_text(f"# on call\n{TO_THEM}\n")
    client.save(tmp_path / "a.age", encrypt_to=[TO_ME, tmp_path / "them"])
    for identity in (IDENTITY, OTHER):
        assert pyrage.decrypt((tmp_path / "a.age").read_bytes(), [identity]) == MONDAY


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_in_a_folder_the_name_ends_in_age(scheme: str, raw: Callable[..., Raw], tmp_path: Path) -> None:
    saved = Client(raw(http(MONDAY)).address).save(f"{scheme}{tmp_path}", encrypt_to=TO_ME)
    assert Path(saved.path) == tmp_path / NAMED
    assert list(contents(tmp_path)) == [NAMED]


def test_to_standard_output_and_a_url(raw: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch) -> None:
    client, out = Client(raw(http(MONDAY)).address), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    client.save("-", encrypt_to=TO_ME)
    assert pyrage.decrypt(out.getvalue(), [IDENTITY]) == MONDAY
    system = fsspec.filesystem("memory")
    system.makedirs("/encrypted")
    try:
        assert client.save("memory://encrypted/", encrypt_to=TO_ME).path == f"memory://encrypted/{NAMED}"
        assert pyrage.decrypt(system.cat(f"/encrypted/{NAMED}"), [IDENTITY]) == MONDAY
        with snapkit.open(f"memory://encrypted/{NAMED}", identity=MINE) as snap:
            assert snap.archive.encrypted
    finally:
        system.rm("/encrypted", recursive=True)


def test_a_recipient_that_is_none_is_told_before_the_cluster_is_asked(raw: Callable[..., Raw], tmp_path: Path) -> None:
    server = raw(http(MONDAY))
    for recipients in (["age1nobody"], ["nobody"], [MINE], [TO_ME, ""]):
        fails(RecipientError, partial(Client(server.address).save, tmp_path / "a", encrypt_to=recipients))
    assert (server.connections, contents(tmp_path)) == (0, {})


ALTERED = LARGE[:-30] + bytes([LARGE[-30] ^ 1]) + LARGE[-29:]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http(LARGE, Digest=digest(MONDAY)), DigestError),
        (http(LARGE[:-100], Digest=digest(LARGE)), InterruptedStreamError),
        (http(LARGE[:-100], Content_Length=len(LARGE)), InterruptedStreamError),
        (http(LARGE[:-100]), InterruptedStreamError),
        (http(ALTERED), ArchiveError),
        (http(ALTERED, Digest=digest(ALTERED)), ArchiveError),
        (http(ALTERED, Digest=digest(LARGE)), DigestError),
        (http(b"<html>log in</html>"), NotAnArchiveError),
        (http(b""), InterruptedStreamError),
        (http(SEALED), NotAnArchiveError),
    ],
)
def test_what_is_not_whole_is_not_saved(
    answer: bytes, kind: type[SnapshotError], raw: Callable[..., Raw], tmp_path: Path
) -> None:
    client = Client(raw(answer).address)
    (tmp_path / "old.age").write_bytes(b"of yesterday")
    fails(kind, lambda: client.save(tmp_path / "old.age", encrypt_to=TO_ME, overwrite=True))
    fails(kind, lambda: client.save(tmp_path, encrypt_to=TO_ME))
    assert contents(tmp_path) == {"old.age": b"of yesterday"}
    fails(TargetExistsError, lambda: client.save(tmp_path / "old.age", encrypt_to=TO_ME))


@pytest.mark.parametrize("when", [1, 30])
def test_ctrl_c_and_a_full_disk_leave_nothing(
    when: int, raw: Callable[..., Raw], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, calls = Client(raw(http(LARGE)).address), []

    def progress(done: int, total: int | None) -> None:
        calls.append(done)
        if len(calls) == when or done == len(LARGE):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.save(tmp_path / "a.age", encrypt_to=TO_ME, progress=progress)
    assert contents(tmp_path) == {}

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    error = fails(SourceError, lambda: client.save(tmp_path / "a.age", encrypt_to=TO_ME))
    assert "No space left" in error.what
    assert contents(tmp_path) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_disk_that_fills_up_while_it_is_saved_is_said(raw: Callable[..., Raw], monkeypatch: Any) -> None:
    client = Client(raw(http(LARGE)).address)
    opened = tempfile.TemporaryFile

    def full(*args: Any, **kwargs: Any) -> Any:
        opened(*args, **kwargs).close()
        return open("/dev/full", "w+b", buffering=0)  # noqa: PTH123 - no path

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    error = fails(SourceError, lambda: client.save("memory://full.age", encrypt_to=TO_ME))
    assert "No space left" in error.what


# -- restore


@pytest.mark.parametrize("kind", ["path", "bytes", "stream", "url"])
def test_a_restore_sends_the_archive_decrypted(kind: str, raw: Callable[..., Raw], tmp_path: Path) -> None:
    sealed = pyrage.encrypt(LARGE, [IDENTITY.to_public()])
    (tmp_path / "a.age").write_bytes(sealed)
    fsspec.filesystem("memory").pipe("/restore.age", sealed)
    source: Any = {
        "path": tmp_path / "a.age",
        "bytes": sealed,
        "stream": io.BytesIO(sealed),
        "url": "memory://restore.age",
    }[kind]
    server = raw(http())
    told: list[tuple[int, int | None]] = []
    Client(server.address).restore(source, identity=MINE, progress=lambda *args: told.append(args), force=True)
    (put,) = server.asked("PUT")
    assert put.body == LARGE
    assert put.headers["content-length"] == str(len(LARGE))
    assert told[-1] == (len(LARGE), len(LARGE))
    fsspec.filesystem("memory").rm("/restore.age")


def test_a_restore_is_verified_as_ever(raw: Callable[..., Raw]) -> None:
    server = raw(http())
    client = Client(server.address)
    twice = forge.archive(forge.LITTLE + forge.record(69, {"ID": "x"}) + forge.record(20, {"ID": "an event sink"}))
    sealed = pyrage.encrypt(twice, [IDENTITY.to_public()])
    fails(SnapshotError, lambda: client.restore(sealed, identity=MINE))
    assert server.asked("PUT") == []
    client.restore(sealed, identity=MINE, force=True)
    assert server.asked("PUT")[0].body == twice


def test_what_does_not_open_is_not_sent(raw: Callable[..., Raw], tmp_path: Path) -> None:
    server = raw(http())
    client = Client(server.address)
    path = tmp_path / "a.age"
    path.write_bytes(SEALED)
    assert str(path) in fails(IdentityMissingError, lambda: client.restore(path)).where
    fails(WrongIdentityError, lambda: client.restore(path, identity=THEIRS))
    path.write_bytes(SEALED[:-1])
    fails(ArchiveError, lambda: client.restore(path, identity=MINE))
    path.write_bytes(SEALED[:-9] + bytes([SEALED[-9] ^ 1]) + SEALED[-8:])
    fails(ArchiveError, lambda: client.restore(path, identity=MINE))
    assert server.connections == 0


def test_a_file_that_is_altered_after_it_was_checked_is_told(raw: Callable[..., Raw], tmp_path: Path) -> None:
    sealed = bytearray(pyrage.encrypt(LARGE, [IDENTITY.to_public()]))
    path = tmp_path / "a.age"
    path.write_bytes(sealed)
    sealed[-1_000] ^= 1

    def alter(done: int, total: int | None) -> None:
        path.write_bytes(sealed)

    error = fails(
        SourceError, lambda: Client(raw(http()).address).restore(path, identity=MINE, force=True, progress=alter)
    )
    assert "altered" in error.what
    assert "nothing was changed" in error.advice


# -- serve


def test_a_served_one_is_the_archive_itself(tmp_path: Path) -> None:
    with snapkit.serve(SEALED, identity=MINE) as cluster:
        client = Client(cluster.address, token=cluster.token)
        client.save(tmp_path / "a.snap")
        assert (tmp_path / "a.snap").read_bytes() == MONDAY
        assert {job["ID"] for job in client.jobs()} >= {"web", "payments"}
        cluster.faults = Faults(corrupt=True)
        with pytest.raises(SnapshotError):
            client.save(tmp_path / "b.snap")
        cluster.faults = Faults()
        client.restore(path_of("v2.0.5/friday"))
        client.restore(SEALED, identity=MINE)
    fails(IdentityMissingError, lambda: snapkit.serve(SEALED))
    fails(WrongIdentityError, lambda: snapkit.serve(SEALED, identity=THEIRS))
    fails(ArchiveError, lambda: snapkit.serve(SEALED[:-1], identity=MINE))


# -- nothing in the clear on disk


def files() -> dict[str, bytes]:
    """What this process has open on disk; what is in memory alone does not count."""
    found = {}
    for handle in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(handle)  # noqa: PTH115 - a file without a name is no path
            if target.startswith("/") and not target.startswith(("/memfd:", "/dev/", "/proc/")):
                found[target] = handle.read_bytes()
        except OSError:
            continue
    return found


class Watch:
    """Looks, whenever it is called, for parts of an archive or its state in any file."""

    def __init__(self, folder: Path, *secrets: bytes) -> None:
        self.folder = folder
        self.secrets = secrets
        self.seen: set[str] = set()
        self.looks = 0

    def __call__(self, *_: object) -> None:
        self.looks += 1
        there = files() | {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        self.seen |= {name for name, data in there.items() if any(secret in data for secret in self.secrets)}


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Over a folder of temporary files, where a state goes that has over a kilobyte."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(store.Store.__init__, "__defaults__", (1_000,))
    state = forge.untar(LARGE)[1][1]
    return Watch(tmp_path, LARGE[:64], LARGE[100_000:100_064], state[100_000:100_064])


linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of open files")


@linux
def test_a_save_has_nothing_in_the_clear_on_disk(raw: Callable[..., Raw], watch: Watch, tmp_path: Path) -> None:
    client = Client(raw(http(LARGE)).address)
    client.save(tmp_path / "a.age", encrypt_to=TO_ME, progress=watch)
    client.save("memory://watched.age", encrypt_to=TO_ME, progress=watch)
    assert (watch.seen, watch.looks > 10) == (set(), True)
    client.save(tmp_path / "a.snap", progress=watch)
    assert watch.seen, "a plain one has, or this would see nothing"
    fsspec.filesystem("memory").rm("/watched.age")


@linux
def test_a_restore_has_nothing_in_the_clear_on_disk(raw: Callable[..., Raw], watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "a.age"
    path.write_bytes(pyrage.encrypt(LARGE, [IDENTITY.to_public()]))
    client = Client(raw(http()).address)
    for source in (path, io.BytesIO(path.read_bytes())):
        client.restore(source, identity=MINE, progress=watch)
    assert (watch.seen, watch.looks > 5) == (set(), True)
    client.restore(io.BytesIO(LARGE), progress=watch)
    assert watch.seen, "a plain one has, or this would see nothing"


@linux
def test_a_served_one_has_nothing_in_the_clear_on_disk(watch: Watch) -> None:
    state = forge.untar(MONDAY)[1][1]
    watch.secrets = (MONDAY[:64], MONDAY[20_000:20_064], state[100_000:100_064])
    seconds = [0.0]
    with snapkit.serve(SEALED, identity=MINE, heartbeat=50, clock=lambda: seconds[0]) as cluster:
        watch()
        client = Client(cluster.address, token=cluster.token)
        assert client.jobs()
        cluster.faults = Faults(corrupt=True)
        with pytest.raises(SnapshotError):
            client.save("memory://served.snap", encrypt_to=TO_ME, progress=watch)
        cluster.faults = Faults()
        client.restore(SEALED, identity=MINE, progress=watch)
        cluster._alive.clear()
        seconds[0] = 100.0
        assert {node["Status"] for node in client.nodes()} == {"down"}, "the state was changed"
        watch()
    assert (watch.seen, watch.looks > 3) == (set(), True)
    with snapkit.serve(MONDAY):
        watch()
    assert watch.seen, "a plain one has, or this would see nothing"


MEASURED = """
import resource, sys
from pathlib import Path
import pyrage
from snapkit import Client
from snapkit.state import verify

client = Client(sys.argv[1])
client.save(Path(sys.argv[2]) / "first.age", encrypt_to=sys.argv[3])  # with all that it loads
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
client.save(Path(sys.argv[2]) / "second.age", encrypt_to=sys.argv[3])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@linux
def test_a_save_takes_no_more_memory_for_a_large_archive(raw: Callable[..., Raw], tmp_path: Path) -> None:
    server = raw(http(MONDAY), http(large(48)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, server.address, str(tmp_path), TO_ME],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "second.age").stat().st_size > 48 << 20
    assert int(done.stdout) < 16 << 10, "KiB"
