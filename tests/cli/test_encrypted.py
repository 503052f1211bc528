"""`snapkit save --encrypt-to`, and `--identity` wherever a snapshot is read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pyrage
import pytest

import snapkit
from snapkit.cluster import connection
from snapkit.cluster.server import ServedCluster

from ..conftest import path_of
from . import failed, fine, run, spawn

MONDAY, TUESDAY = path_of("v2.0.5/monday"), path_of("v2.0.5/tuesday")
IDENTITY, OTHER = (pyrage.x25519.Identity.generate() for _ in range(2))
TO_ME = str(IDENTITY.to_public())


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKOFF", (0.001,))
    for name in list(os.environ):
        if name.startswith(("NOMAD_", "SNAPKIT_")):
            monkeypatch.delenv(name)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.txt"
    path.write_text(f"# public key: {TO_ME}\n{IDENTITY}\n")
    return path


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """Monday, encrypted."""
    path = tmp_path / "monday.snap.age"
    path.write_bytes(pyrage.encrypt(MONDAY.read_bytes(), [IDENTITY.to_public()]))
    path.chmod(0o600)
    return path


#: Commands that read a snapshot, without the snapshot.
READING = [
    ["inspect", "--json"],
    ["show", "--json"],
    ["show", "jobs", "--json"],
    ["show", "--keys", "--json"],
    ["search", "stratum", "--json"],
    ["verify", "--json"],
    ["diff", str(TUESDAY), "--json"],
    ["timeline", "--json"],
    ["sizes", "--json"],
    ["sizes", "--against", str(TUESDAY), "--json"],
    ["who", "--json"],
    ["redact", "--check", "--json"],
]


def on(source: Path, command: list[str]) -> list[str]:
    return [command[0], str(source), *command[1:]]


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_what_is_encrypted_reads_as_the_plain_one(command: list[str], sealed: Path, key: Path) -> None:
    def told(*arguments: str) -> str:
        ran = run(*arguments)
        assert ran.err == ""
        assert ran.out
        return ran.out.replace(str(sealed), "it").replace(str(MONDAY), "it").replace("monday.snap.age", "monday.snap")

    encrypted, plain = told(*on(sealed, command), "--identity", str(key)), told(*on(MONDAY, command))
    if command[0] == "verify":  # which tells of the file's mode too
        assert json.loads(encrypted)["reports"][0]["members"] == json.loads(plain)["reports"][0]["members"]
    else:
        assert encrypted == plain


@pytest.mark.parametrize("command", [*READING, ["serve", "--port", "0"], ["export", "out.csv"]], ids=" ".join)
def test_without_an_identity_it_is_one_line(command: list[str], sealed: Path, tmp_path: Path) -> None:
    line = failed(run(*on(sealed, command)))
    assert "is encrypted (age); give the identity that opens it" in line
    assert "--identity" in line


def test_the_environment_may_name_the_identity(sealed: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPKIT_IDENTITY", str(key))
    assert "(archive, encrypted)" in fine("inspect", sealed)
    assert fine("show", MONDAY)
    monkeypatch.setenv("SNAPKIT_IDENTITY", "")
    assert "give the identity" in failed(run("inspect", sealed))


def test_the_other_side_may_be_encrypted_too(sealed: Path, key: Path) -> None:
    assert fine("diff", sealed, sealed, "--identity", key) == fine("diff", MONDAY, MONDAY).replace(
        str(MONDAY), str(sealed)
    )
    assert run("diff", TUESDAY, sealed, "--identity", key).status == 1
    assert fine("verify", TUESDAY, "--against", sealed, "--identity", key, "--fail-on", "error")
    assert fine("sizes", TUESDAY, "--against", sealed, "--identity", key)
    assert "events" in fine("timeline", sealed, TUESDAY, "--identity", key)


def test_from_standard_input(sealed: Path, key: Path) -> None:
    assert "encrypted" in fine("inspect", "-", "--identity", key, stdin=sealed.read_bytes())


def test_what_does_not_open_is_one_line(sealed: Path, key: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(f"{OTHER}\n")
    assert "does not open it" in failed(run("show", sealed, "--identity", other))
    assert str(tmp_path / "nowhere") in failed(run("show", sealed, "--identity", tmp_path / "nowhere"))
    other.write_text(str(OTHER)[:-3])
    line = failed(run("show", sealed, "--identity", other))
    assert "line 1 is no age identity" in line
    assert str(OTHER)[:-3] not in line
    data = sealed.read_bytes()
    for altered in (data[:-1], data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], data[:60]):
        sealed.write_bytes(altered)
        assert "altered" in (line := failed(run("show", sealed, "--identity", key))) or "cut short" in line
        ran = run("verify", sealed, "--identity", key)
        assert (ran.status, "archive.damaged" in ran.out) == (1, True)


def test_without_pyrage(sealed: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrage", None)
    assert "pip install 'snapkit[age]'" in failed(run("show", sealed, "--identity", key))
    assert "pip install 'snapkit[age]'" in failed(run("save", "--encrypt-to", TO_ME))


# -- there and back


def test_saved_encrypted_and_restored(served: ServedCluster, key: Path, tmp_path: Path) -> None:
    (tmp_path / "to.txt").write_text(f"{OTHER.to_public()}\n")
    path = tmp_path / "a.age"
    line = fine("save", path, "--encrypt-to", TO_ME, "--encrypt-to", tmp_path / "to.txt")
    assert f"{path}: {path.stat().st_size:,} bytes, encrypted, index 96; the server's Digest matches" in line
    for identity in (IDENTITY, OTHER):
        assert pyrage.decrypt(path.read_bytes(), [identity]) == MONDAY.read_bytes()
    told = json.loads(fine("save", tmp_path, "--encrypt-to", TO_ME, "--json"))
    assert told["Path"].endswith(".snap.age")
    assert (told["Encrypted"], told["Size"]) == (True, Path(told["Path"]).stat().st_size)
    with snapkit.Client(served.address, token=served.token).snapshot() as live:
        confirm = ["--confirm", str(live.meta.cluster_id)[:8]]
    journal = ["--journal", tmp_path / "restore.jsonl", "--patience", "5"]
    ran = run("restore", path, "--identity", key, *confirm, *journal)
    assert (ran.status, "has the archive's state" in ran.out) == (0, True), ran
    assert "give the identity" in failed(run("restore", path, *confirm, "--journal", tmp_path / "other.jsonl"))


def test_a_recipient_that_is_none_is_one_line(served: ServedCluster, tmp_path: Path) -> None:
    assert "is no age recipient" in failed(run("save", tmp_path, "--encrypt-to", "age1nobody"))
    line = failed(run("save", tmp_path, "--encrypt-to", str(IDENTITY)))
    assert "is a secret identity" in line
    assert str(IDENTITY) not in line
    assert list(tmp_path.iterdir()) == []


# -- what it does not do


def test_what_is_encrypted_is_not_rehearsed_and_not_salvaged(
    sealed: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nomad").write_text("")
    (tmp_path / "nomad").chmod(0o700)
    monkeypatch.setenv("NOMAD_BIN", str(tmp_path / "nomad"))
    ran = run("verify", sealed, "--identity", key, "--rehearse")
    assert (ran.status, "in the clear" in ran.err) == (2, True)
    sealed.write_bytes(sealed.read_bytes()[:-1])
    ran = run("verify", sealed, "--identity", key, "--salvage", tmp_path / "out.snap")
    assert (ran.status, "nothing is salvaged of what is encrypted" in ran.err) == (2, True)
    assert not (tmp_path / "out.snap").exists()


def test_evidence_has_the_files_hash_and_not_the_identity(sealed: Path, key: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    assert run("verify", sealed, "--identity", key, "--evidence", folder).status == 0
    (entry,) = folder.glob("0*.json")
    told = json.loads(entry.read_text())
    assert told["sources"][0]["files"][0]["size"] == sealed.stat().st_size
    assert str(key) not in entry.read_text()
    assert "intact" in fine("verify", "--evidence", folder, "--check")


def test_a_process_ends_at_once_whatever_is_wrong(sealed: Path, key: Path) -> None:
    """With threads and pipes about: nothing hangs, and nothing but the line is said."""
    sealed.write_bytes(sealed.read_bytes()[:-1])
    for identity in (key, sealed):
        ran = spawn("inspect", sealed, "--identity", identity)
        assert (ran.status, ran.out, len(ran.err.splitlines())) == (2, "", 1)
