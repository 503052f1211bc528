"""age: what is encrypted opens with an identity of its own alone, and nothing altered or cut passes."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import ArchiveError, LimitError, RecordError, SnapshotError, SourceError
from snapkit.format import age, archive
from snapkit.format.age import IdentityError, IdentityMissingError, RecipientError, WrongIdentityError
from snapkit.state.snapshot import store
from tests import forge

from ..cluster.raw import large
from ..conftest import path_of

IDENTITY, OTHER = (pyrage.x25519.Identity.generate() for _ in range(2))
MINE, THEIRS = str(IDENTITY), str(OTHER)
TO_ME, TO_THEM = str(IDENTITY.to_public()), str(OTHER.to_public())
CHUNK = 1 << 16  # of age's

SMALL = forge.archive(forge.LITTLE)
LARGE = large(1)


def encrypt(data: bytes, *recipients: Any) -> bytes:
    out = io.BytesIO()
    with age.encrypted(out, recipients or TO_ME) as write:
        for at in range(0, len(data), 50_000):
            write(data[at : at + 50_000])
    return out.getvalue()


def nameless(value: object) -> str:
    """The id of a parameter that holds a key made here: test runners that share the work want the same ids."""
    return type(value).__name__


SEALED = encrypt(SMALL)
SEALED_LARGE = encrypt(LARGE)


def decrypt(source: Any, identity: Any = MINE) -> bytes:
    with archive.plain(source, identity) as stream:
        return b"".join(iter(lambda: stream.read(10_000), b""))


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Threads end by themselves, if not at once."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("snapkit"):
            thread.join(5)
            assert not thread.is_alive(), thread.name


# -- there and back


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_what_is_encrypted_is_the_same_again(size: int) -> None:
    data = random.Random(size).randbytes(size)
    sealed = encrypt(data)
    assert pyrage.decrypt(sealed, [IDENTITY]) == data, "any other age can read it"
    assert decrypt(sealed) == data
    assert decrypt(pyrage.encrypt(data, [IDENTITY.to_public()], armored=True)) == data
    for secret in (data[:64], data[-64:]):
        assert len(secret) < 64 or secret not in sealed


@pytest.mark.parametrize("armored", [False, True])
@pytest.mark.parametrize("name", ["v0.12.12/monday", "v2.0.5/friday", "every-table/every-table"])
def test_an_encrypted_archive_opens_as_the_plain_one(name: str, armored: bool, tmp_path: Path) -> None:
    data = path_of(name).read_bytes()
    sealed = pyrage.encrypt(data, [IDENTITY.to_public()], armored=armored)
    (tmp_path / "a.age").write_bytes(sealed)
    key = tmp_path / "key"
    key.write_text(f"# created by age-keygen\n# public key: {TO_ME}\n{MINE}\n")
    with snapkit.open(data) as plain:
        assert not plain.archive.encrypted
        for source in (sealed, io.BytesIO(sealed), tmp_path / "a.age", str(tmp_path / "a.age")):
            with snapkit.open(source, identity=key) as snap:
                assert snap.archive.encrypted
                assert snap.tables.equals(plain.tables)
                assert snap.archive.members == plain.archive.members
                assert b"".join(snap.chunks()) == b"".join(plain.chunks())
    report = snapkit.verify(sealed, identity=MINE)
    assert report.members == snapkit.verify(data).members


def test_a_bare_state_may_be_encrypted_too() -> None:
    with snapkit.open(encrypt(forge.LITTLE), identity=MINE) as snap:
        assert (snap.archive.kind, snap.archive.encrypted) == ("state file", True)


def test_progress_is_that_of_the_encrypted_file(tmp_path: Path) -> None:
    path = tmp_path / "a.age"
    path.write_bytes(SEALED_LARGE)
    told: list[tuple[int, int | None]] = []
    archive.read(path, identity=MINE, progress=lambda *done: told.append(done))
    assert told == sorted(told)
    assert told[-1] == (len(SEALED_LARGE), len(SEALED_LARGE))


def test_limits_hold_for_what_is_inside() -> None:
    bomb = encrypt(forge.archive(forge.state(forge.record(0, {"ID": "n", "Name": "x" * (80 << 20)}))))
    with pytest.raises(LimitError):
        snapkit.open(bomb, identity=MINE, limits=snapkit.Limits(ratio=2.0))


# -- who may open it


def test_each_of_several_recipients_may_open_it(tmp_path: Path) -> None:
    recipients = tmp_path / "recipients.txt"
    recipients.write_text(f"# the ones on call\n\n{TO_THEM}\n")
    sealed = encrypt(SMALL, TO_ME, recipients)
    assert decrypt(sealed, MINE) == decrypt(sealed, THEIRS) == SMALL
    assert decrypt(sealed, f"{pyrage.x25519.Identity.generate()}\n{THEIRS}\n") == SMALL, "one of several identities"


@pytest.mark.parametrize("make", [Ed25519PrivateKey.generate, lambda: generate_private_key(65537, 2048)])
def test_ssh_keys_are_recipients_and_identities(make: Callable[[], Any], tmp_path: Path) -> None:
    private = make()
    public = private.public_key().public_bytes(pem.Encoding.OpenSSH, pem.PublicFormat.OpenSSH).decode()
    text = private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.OpenSSH, pem.NoEncryption()).decode()
    (tmp_path / "id.pub").write_text(f"{public} somebody@somewhere\n")
    (tmp_path / "id").write_text(text)
    for recipient in (public, f"{public} somebody@somewhere", tmp_path / "id.pub"):
        sealed = encrypt(SMALL, recipient)
        assert decrypt(sealed, tmp_path / "id") == decrypt(sealed, text) == SMALL
    with pytest.raises(WrongIdentityError):
        decrypt(sealed, MINE)


def test_an_ssh_key_with_a_passphrase_is_said(tmp_path: Path) -> None:
    program = shutil.which("ssh-keygen")
    if program is None:
        pytest.skip("no ssh-keygen")
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "id"], check=True)
    error = fails(IdentityError, lambda: snapkit.open(encrypt(SMALL, tmp_path / "id.pub"), identity=tmp_path / "id"))
    assert str(tmp_path / "id") in error.where
    assert "must be decrypted first" in error.what


def fails(kind: type[SnapshotError], do: Callable[[], object]) -> Any:
    with pytest.raises(kind) as caught:
        do()
    error = caught.value
    assert type(error) is kind
    assert error.where
    assert error.advice
    assert "\n" not in str(error)
    for secret in (MINE, THEIRS, "AGE-SECRET-KEY-1"):
        assert secret not in str(error).replace("AGE-SECRET-KEY-1…", "")
    return error


def test_without_an_identity_it_is_said_what_it_is_and_what_to_give() -> None:
    error = fails(IdentityMissingError, lambda: snapkit.open(SEALED))
    assert error.what == "is encrypted (age)"
    assert "--identity" in error.advice
    fails(IdentityMissingError, lambda: snapkit.verify(SEALED))
    armored = pyrage.encrypt(SMALL, [IDENTITY.to_public()], armored=True)
    fails(IdentityMissingError, lambda: snapkit.open(armored))
    fails(IdentityMissingError, lambda: snapkit.open(b"\n" + armored))


def test_of_what_is_not_encrypted_the_identity_does_not_matter() -> None:
    with snapkit.open(SMALL, identity="/nowhere") as snap:
        assert not snap.archive.encrypted


def test_the_wrong_identity_is_said() -> None:
    for do in (snapkit.open, snapkit.verify):
        error = fails(WrongIdentityError, lambda do=do: do(SEALED, identity=THEIRS))  # type: ignore[misc]
        assert "does not open it" in error.what


def test_a_passphrase_is_said() -> None:
    sealed = pyrage.passphrase.encrypt(SMALL, "correct horse")
    assert "passphrase" in fails(WrongIdentityError, lambda: snapkit.open(sealed, identity=MINE)).what


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but a comment\n",
        "AGE-SECRET-KEY-1NONSENSE",
        f"{MINE}\nnonsense\n",
        TO_ME + "\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        "\ufeff",
        pyrage.encrypt(MINE.encode(), [OTHER.to_public()], armored=True).decode(),
    ],
    ids=nameless,
)
def test_what_is_no_identity_is_said_without_being_shown(text: str, tmp_path: Path) -> None:
    path = tmp_path / "identity"
    path.write_text(text)
    fails(IdentityError, lambda: snapkit.open(SEALED, identity=path))
    if text.count("\n") > 1:
        fails(IdentityError, lambda: snapkit.open(SEALED, identity=text))


def test_an_identity_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    error = fails(IdentityError, lambda: snapkit.open(SEALED, identity=tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in error.where
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    fails(IdentityError, lambda: snapkit.open(SEALED, identity=tmp_path / "binary"))
    fails(IdentityError, lambda: snapkit.open(SEALED, identity=tmp_path))


@pytest.mark.parametrize(
    "recipients", [[], [""], ["nobody"], ["age1nobody"], ["ssh-rsa AAAA"], [TO_ME, "nobody"], [MINE]], ids=nameless
)
def test_what_is_no_recipient_is_said_and_nothing_written(recipients: Sequence[str], tmp_path: Path) -> None:
    out = io.BytesIO()

    def save() -> None:
        with age.encrypted(out, recipients) as write:
            write(SMALL)

    fails(RecipientError, save)
    assert out.getvalue() == b""


@pytest.mark.parametrize("text", ["", "# none\n", "nonsense\n", f"{MINE}\n", "age1nobody"], ids=nameless)
def test_a_file_without_recipients_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipients").write_text(text)
    error = fails(RecipientError, lambda: age.recipients_of(tmp_path / "recipients"))
    assert str(tmp_path / "recipients") in error.where


def test_without_pyrage_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrage", None)
    for do in (lambda: snapkit.open(SEALED, identity=MINE), lambda: age.recipients_of(TO_ME)):
        error = fails(SnapshotError, do)
        assert "pip install 'snapkit[age]'" in error.advice
    with snapkit.open(SMALL):
        pass
    fails(IdentityMissingError, lambda: snapkit.open(SEALED))


# -- what was altered or cut


def refused(data: bytes) -> SnapshotError:
    """What is said of it; never that it is whole."""
    with pytest.raises(SnapshotError) as caught:
        snapkit.open(data, identity=MINE)
    error = caught.value
    assert isinstance(error, ArchiveError | WrongIdentityError)
    assert "\n" not in str(error)
    return error


def test_a_flipped_bit_in_any_byte_is_refused() -> None:
    chosen = random.Random(1)
    for at in range(len(SEALED)):
        refused(SEALED[:at] + bytes([SEALED[at] ^ 1 << chosen.randrange(8)]) + SEALED[at + 1 :])


@settings(max_examples=50)
@given(st.integers(0, len(SEALED_LARGE) - 1), st.integers(1, 255))
def test_an_altered_byte_of_a_long_one_is_refused(at: int, change: int) -> None:
    refused(SEALED_LARGE[:at] + bytes([SEALED_LARGE[at] ^ change]) + SEALED_LARGE[at + 1 :])


def test_every_cut_is_refused() -> None:
    for end in [*range(0, len(SEALED), 7), len(SEALED) - 1]:
        error = refused(SEALED[:end])
        if end >= body(SEALED):
            assert "cut short" in error.what
            assert "decrypts to 0 bytes" in error.what


def body(sealed: bytes) -> int:
    """Where the chunks begin: after the header and 16 bytes of nonce."""
    return sealed.index(b"\n", sealed.index(b"\n--- ") + 1) + 1 + 16


def test_chunks_can_not_be_left_out_or_moved() -> None:
    begin, size = body(SEALED_LARGE), CHUNK + 16
    head, chunks = SEALED_LARGE[:begin], SEALED_LARGE[begin:]
    pieces = [chunks[at : at + size] for at in range(0, len(chunks), size)]
    assert len(pieces) > 3
    for altered in (
        pieces[:-1],
        pieces[1:],
        [pieces[1], pieces[0], *pieces[2:]],
        [*pieces[:2], *pieces[3:]],
        [*pieces, pieces[-1]],
        [*pieces[:1], *pieces],
    ):
        refused(head + b"".join(altered))
    assert "altered or cut short" in refused(SEALED_LARGE[: begin + 2 * size]).what
    assert decrypt(head + b"".join(pieces)) == LARGE


@pytest.mark.parametrize("tail", [b"x", b"\n", bytes(100), SEALED, SMALL], ids=nameless)
def test_what_follows_the_end_is_refused(tail: bytes) -> None:
    refused(SEALED + tail)
    refused(SEALED_LARGE + tail)


def test_another_version_of_the_format_is_said() -> None:
    assert "age header" in refused(SEALED.replace(b"org/v1", b"org/v9", 1)).what


def test_verify_finds_it() -> None:
    for altered in (SEALED[:-1], SEALED[:100], SEALED_LARGE[:-70_000]):
        report = snapkit.verify(altered, identity=MINE)
        assert not report.ok
        assert list(report.findings.Check) == ["archive.damaged"]


def test_what_is_damaged_inside_is_told_as_ever() -> None:
    error = refused(encrypt(SMALL[:-20]))
    assert "gzip stream" in error.what
    with pytest.raises(RecordError):
        snapkit.open(encrypt(forge.archive(forge.LITTLE + b"\x01")), identity=MINE)
    assert "is not a Nomad snapshot" in refused(encrypt(b"something else")).what


def test_of_what_is_encrypted_nothing_is_salvaged() -> None:
    for damaged in (SEALED_LARGE[:-1], encrypt(LARGE[:-1000])):
        for source in (damaged, io.BytesIO(damaged)):
            with pytest.raises(ArchiveError) as caught:
                snapkit.open(source, identity=MINE, salvage=True)
            assert "nothing is salvaged of what is encrypted" in caught.value.advice
    with snapkit.open(SEALED, identity=MINE, salvage=True) as snap:
        assert snap.salvage is None


# -- errors on the way


class Failing(io.BytesIO):
    def __init__(self, data: bytes, error: BaseException) -> None:
        super().__init__(data)
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 100_000:
            raise self.error
        return super().read(size)

    def write(self, data: Any) -> int:
        if self.tell() > 100_000:
            raise self.error
        return super().write(data)


def test_errors_of_a_source_are_its_own() -> None:
    broken = Failing(SEALED_LARGE, OSError(5, "Input/output error"))
    error = fails(SourceError, lambda: snapkit.open(broken, identity=MINE))
    assert "Input/output error" in error.what
    with pytest.raises(KeyboardInterrupt):
        snapkit.open(Failing(SEALED_LARGE, KeyboardInterrupt()), identity=MINE)


def test_errors_of_a_target_are_its_own_and_leave_it_unfinished() -> None:
    out = Failing(b"", OSError(28, "No space left on device"))

    def save() -> None:
        with age.encrypted(out, TO_ME) as write:
            write(LARGE)

    with pytest.raises(OSError, match="No space left"):
        save()
    refused(out.getvalue())


def test_an_error_while_it_is_written_leaves_no_whole_file() -> None:
    out = io.BytesIO()

    def save() -> None:
        with age.encrypted(out, TO_ME) as write:
            write(LARGE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        save()
    refused(out.getvalue())


# -- nothing in the clear on disk

CANARY = b"canary-that-no-disk-may-see"


def on_disk() -> list[str]:
    """The files that this process has open and that hold the canary in the clear; those in memory do not count."""
    found = []
    for handle in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(handle)  # noqa: PTH115 - a file without a name is no path
            if target.startswith("/") and not target.startswith(("/memfd:", "/dev/")) and CANARY in handle.read_bytes():
                found.append(target)
        except OSError:
            continue
    return found


@pytest.fixture
def spilling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of temporary files, where a state goes that has over a kilobyte."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(store.Store.__init__, "__defaults__", (1_000,))
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of open files")
def test_the_state_of_an_encrypted_source_is_never_on_disk(spilling: Path) -> None:
    data = forge.archive(forge.state(*(forge.record(0, {"ID": f"{i}", "Name": CANARY.decode()}) for i in range(999))))
    with snapkit.open(data) as snap:
        assert len(snap.nodes) == 999
        assert on_disk(), "a plain one is, or this would see nothing"
    with snapkit.open(data, spill=False) as snap:
        assert len(snap.nodes) == 999
        assert on_disk() == []
    for source in (encrypt(data), io.BytesIO(encrypt(data))):
        for salvage in (False, True):
            with snapkit.open(source, identity=MINE, salvage=salvage) as snap:
                assert len(snap.nodes) == 999
                assert len(snap.search(CANARY)) == 999
                assert on_disk() == []
            if isinstance(source, io.BytesIO):
                source.seek(0)
    seen: list[str] = []
    snapkit.verify(encrypt(data), identity=MINE, progress=lambda *_: seen.extend(on_disk()))
    assert seen == []
    assert list(spilling.iterdir()) == []


def test_who_may_read_the_file_does_not_matter_where_it_is_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "a.snap.age"
    path.write_bytes(SEALED)
    path.chmod(0o644)
    assert "archive.mode" not in set(snapkit.verify(path, identity=MINE).findings.Check)
