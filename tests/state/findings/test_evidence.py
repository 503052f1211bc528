"""Evidence: a chain of entries in which whatever is altered, removed or put elsewhere is found."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from snapkit.errors import SnapshotError, SourceError
from snapkit.format import archive
from snapkit.state.findings import evidence
from snapkit.state.findings.chain import GENESIS, canonical
from snapkit.state.findings.evidence import HEAD, check, newest, record
from snapkit.state.findings.report import Finding, Report

from ...conftest import DATA, path_of

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
FOUND = (Finding("archive.mode", "warning", "its mode", "is \x1b[2J 644", "chmod 600"),)


def report_of(path: Path) -> Report:
    return Report(str(path), FOUND, "", "2-1-3", ">1.8", archive.read(path, survey=True).members)


@pytest.fixture
def snap(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(path_of("v2.0.5/monday"), tmp_path / "monday.snap"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


def add(folder: Path, *reports: Report, number: int = 0, **kwargs: Any) -> Path:
    arguments = kwargs.pop("arguments", {})
    return record(reports, folder, arguments=arguments, now=NOW + timedelta(seconds=number), **kwargs)


@pytest.fixture
def chain(folder: Path, snap: Path) -> list[Path]:
    """The paths of five entries."""
    return [add(folder, report_of(snap), number=n) for n in range(5)]


def kinds(folder: Path, **kwargs: Any) -> list[str]:
    return [problem.kind for problem in check(folder, **kwargs)]


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes()))


# -- what an entry is


def test_an_entry_says_what_was_verified_with_what_and_what_was_found(folder: Path, snap: Path) -> None:
    report = report_of(snap)
    path = add(folder, report, arguments={"target": "1.6.2", "fail_on": "error"})
    assert path == folder / "000001-20261124T080000Z.json"
    entry = load(path)
    assert entry.keys() == {"schema", "number", "previous", "recorded", "tool", "arguments", "sources"}
    assert (entry["schema"], entry["number"], entry["previous"]) == ("snapkit.evidence/1", 1, GENESIS)
    assert entry["recorded"] == "2026-11-24T08:00:00Z"
    assert entry["arguments"] == {"target": "1.6.2", "fail_on": "error"}
    assert {"isal", "msgpack", "pandas", "pyarrow"} <= entry["tool"]["libraries"].keys()
    [source] = entry["sources"]
    [file] = source["files"]
    data = snap.read_bytes()
    assert (file["path"], file["size"]) == (str(snap), len(data))
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert file["modified_ns"] == snap.stat().st_mtime_ns
    assert [m["name"] for m in source["members"]] == ["meta.json", "state.bin", "SHA256SUMS"]
    assert source["report"] == report.to_json()
    assert "\x1b" not in source["report"]["findings"][0]["message"]


def test_an_entry_is_canonical_private_and_the_same_for_the_same(tmp_path: Path, snap: Path) -> None:
    paths = [add(tmp_path / name, report_of(snap)) for name in ("one", "two")]
    one, two = (path.read_bytes() for path in paths)
    assert one == two
    assert one == json.dumps(json.loads(one), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths[0].parent.iterdir()} == {0o600}
    assert stat.S_IMODE(paths[0].parent.stat().st_mode) == 0o700


def test_each_entry_is_chained_to_the_one_before_it(folder: Path, chain: list[Path]) -> None:
    previous = GENESIS
    for number, path in enumerate(chain, 1):
        entry = load(path)
        assert (entry["number"], entry["previous"]) == (number, previous)
        previous = hashlib.sha256(path.read_bytes()).hexdigest()
    assert newest(folder) == (head := evidence.Head(5, previous))
    assert load(folder / HEAD)["sha256"] == head.sha256
    assert check(folder) == ()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [".lock"]


@pytest.mark.parametrize("secret", ["https://user:hunter2@host/x.snap?sig=hunter2", "s3://key:hunter2@bucket/x"])
def test_credentials_in_addresses_are_left_out(folder: Path, secret: str) -> None:
    arguments = {"files": [secret, Path("a")], "against": secret, "level": None, "check": True, "more": {"at": secret}}
    path = add(folder, Report(secret, ()), arguments=arguments)
    text = path.read_text(encoding="ascii")
    assert "hunter2" not in text
    assert load(path)["arguments"]["files"] == [archive.describe(secret), "a"]
    assert load(path)["sources"][0]["files"] == []


def test_a_raft_directory_and_the_data_directory_above_it_are_hashed_by_their_files(folder: Path) -> None:
    copy = sorted((DATA / "v2.0.5" / "raft-snapshots").iterdir())[-1]
    path = add(folder, report_of(copy), report_of(copy.parent))
    first, second = load(path)["sources"]
    assert [Path(file["path"]).name for file in first["files"]] == ["meta.json", "state.bin"]
    assert first["files"] == second["files"]
    assert first["files"][1]["sha256"] == first["members"][0]["sha256"]


def test_what_is_no_archive_and_what_is_no_file_are_recorded(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(b"<html>")
    add(folder, Report(str(tmp_path / "page.html"), FOUND), Report("<stdin>", ()), Report("9 bytes in memory", ()))
    assert check(folder) == ()


def test_a_file_that_changed_since_it_was_verified_is_refused(folder: Path, snap: Path) -> None:
    report = report_of(snap)
    shutil.copyfile(path_of("v2.0.5/tuesday"), snap)
    with pytest.raises(SourceError, match=r"monday\.snap: changed after it was verified"):
        add(folder, report)
    assert not folder.exists()


def test_a_file_of_a_name_that_is_no_text_is_recorded(folder: Path, snap: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"gr\xfcn\x1b.snap")
    snap.rename(odd)
    add(folder, report_of(odd))
    assert check(folder) == ()
    odd.write_bytes(b"")
    [problem] = check(folder)
    assert problem.kind == "file-altered"
    assert str(problem).isprintable()


def test_a_time_needs_a_zone(folder: Path) -> None:
    with pytest.raises(SnapshotError, match="no time zone"):
        record([], folder, arguments={}, now=datetime(2026, 11, 24))


# -- what is done to a chain


def swap(a: Path, b: Path) -> None:
    one, two = a.read_bytes(), b.read_bytes()
    a.write_bytes(two)
    b.write_bytes(one)


def alter(path: Path) -> None:
    """As canonical as before, and another time."""
    path.write_bytes(path.read_bytes().replace(b'"recorded":"2026', b'"recorded":"2025'))


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def move_behind_a_link(path: Path) -> None:
    target = path.parent.parent / "elsewhere"
    path.rename(target)
    path.symlink_to(target)


def rewrite_head(folder: Path, number: int, path: Path) -> None:
    head = {
        "number": number,
        "schema": "snapkit.evidence-head/1",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (folder / HEAD).write_bytes(canonical(head))


TAMPERED: dict[str, tuple[Callable[[Path, list[Path]], object], list[str]]] = {
    "the first altered": (lambda f, c: alter(c[0]), ["entry-altered"]),
    "one in the middle altered": (lambda f, c: alter(c[2]), ["entry-altered"]),
    "the newest altered": (lambda f, c: alter(c[4]), ["entry-altered"]),
    "a byte added": (lambda f, c: c[2].write_bytes(c[2].read_bytes() + b" "), ["entry-unreadable", "entry-altered"]),
    "emptied": (lambda f, c: c[2].write_bytes(b""), ["entry-unreadable", "entry-altered"]),
    "the first removed": (lambda f, c: remove(c[0]), ["entry-missing"]),
    "one in the middle removed": (lambda f, c: remove(c[2]), ["entry-missing"]),
    "two in the middle removed": (lambda f, c: remove(c[1], c[2]), ["entry-missing"]),
    "the newest removed": (lambda f, c: remove(c[4]), ["entry-missing"]),
    "all removed": (lambda f, c: remove(*c), ["entry-missing"]),
    "two swapped": (lambda f, c: swap(c[1], c[2]), ["entry-unreadable"] * 2 + ["entry-altered"]),
    "removed and renumbered": (
        lambda f, c: c[3].replace(c[2]),
        ["entry-unreadable", "entry-missing"],
    ),
    "one twice": (lambda f, c: shutil.copy(c[1], f / "000002-20261124T090000Z.json"), ["entry-twice"]),
    "the head removed": (lambda f, c: remove(f / HEAD), ["head-missing"]),
    "the newest and the head removed": (lambda f, c: remove(c[4], f / HEAD), ["head-missing"]),
    "the head is garbage": (lambda f, c: (f / HEAD).write_bytes(b"{"), ["head-altered"]),
    "the head of long ago": (lambda f, c: rewrite_head(f, 2, c[1]), ["head-altered"]),
    "a link in place of an entry": (
        lambda f, c: move_behind_a_link(c[2]),
        ["entry-unreadable", "entry-altered"],
    ),
    "a stranger": (lambda f, c: (f / "000002.json").write_bytes(b"{}"), ["unexpected-file"]),
    "a number beyond all": (
        lambda f, c: (f / f"{'9' * 40}-20261124T090000Z.json").write_bytes(b"[" * 9999),
        ["entry-missing", "entry-unreadable", "head-altered"],
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_found(what: str, folder: Path, chain: list[Path]) -> None:
    tamper, expected = TAMPERED[what]
    tamper(folder, chain)
    found = kinds(folder)
    assert set(found) == set(expected)
    assert {p.severity for p in check(folder)} == ({"warning"} if what == "a stranger" else {"error"})


@pytest.mark.parametrize("what", ["the newest altered", "the newest removed", "all removed", "the head removed"])
def test_nothing_is_added_to_what_is_broken_at_its_end(what: str, folder: Path, chain: list[Path], snap: Path) -> None:
    TAMPERED[what][0](folder, chain)
    before = sorted(folder.iterdir())
    with pytest.raises(SnapshotError, match="broken at its end"):
        add(folder, report_of(snap), number=9)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("position", [0, 100, -2])
def test_any_byte_counts(position: int, folder: Path, chain: list[Path]) -> None:
    for path in [*chain, folder / HEAD]:
        data = path.read_bytes()
        changed = bytearray(data)
        changed[position if abs(position) < len(data) else 50] ^= 1
        path.write_bytes(changed)
        assert [p for p in check(folder) if p.severity == "error"]
        path.write_bytes(data)
    assert check(folder) == ()


def test_entries_cut_off_with_the_head_made_to_fit_are_found_by_an_anchor(folder: Path, chain: list[Path]) -> None:
    anchor = newest(folder).sha256
    assert check(folder, anchor=anchor.upper()) == ()
    chain[4].unlink()
    rewrite_head(folder, 4, chain[3])
    assert kinds(folder) == []
    assert kinds(folder, anchor=anchor) == ["anchor-missing"]
    assert kinds(folder, anchor=GENESIS) == ["anchor-missing"]
    with pytest.raises(SnapshotError, match="no SHA-256"):
        check(folder, anchor="abc")


def test_a_writer_that_was_killed_does_not_break_the_chain(
    folder: Path, chain: list[Path], snap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evidence, "_write_head", killed)
        with pytest.raises(KeyboardInterrupt):
            add(folder, report_of(snap), number=5)
    assert [(p.kind, p.severity) for p in check(folder)] == [("head-behind", "warning")]
    add(folder, report_of(snap), number=6)
    assert check(folder) == ()
    assert newest(folder).number == 7


@pytest.mark.parametrize("made", [False, True])
def test_where_there_is_no_evidence_nothing_is_intact(folder: Path, made: bool) -> None:
    if made:
        folder.mkdir()
    with pytest.raises(SourceError):
        check(folder)
    if made:
        evidence._write_head(folder, evidence.Head(0, GENESIS), None)
        with pytest.raises(SourceError, match="holds no evidence"):
            check(folder)
        add(folder)
        assert check(folder) == ()


# -- the files


def test_files_are_looked_at_where_they_were(folder: Path, chain: list[Path], snap: Path) -> None:
    data = snap.read_bytes()
    snap.write_bytes(data[:-1] + b"\1")
    [problem] = check(folder)
    assert (problem.kind, problem.severity, problem.place) == ("file-altered", "error", str(snap))
    snap.unlink()
    assert [(p.kind, p.severity) for p in check(folder)] == [("file-missing", "warning")]
    os.mkfifo(snap)
    assert kinds(folder) == ["file-missing"]
    snap.unlink()
    snap.write_bytes(data)
    assert check(folder) == ()


def test_a_file_that_was_replaced_and_verified_again_is_a_warning(folder: Path, snap: Path) -> None:
    add(folder, report_of(snap))
    shutil.copyfile(path_of("v2.0.5/tuesday"), snap)
    assert kinds(folder) == ["file-altered"]
    add(folder, report_of(snap), number=1)
    [problem] = check(folder)
    assert (problem.kind, problem.severity) == ("file-replaced", "warning")
    assert "entry 1" in problem.message


# -- several writers


def write_some(job: tuple[str, str, int]) -> list[str]:
    folder, snap, writer = job
    return [add(Path(folder), report_of(Path(snap)), number=100 * writer + n).name for n in range(4)]


@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_writers_at_once_make_one_chain(folder: Path, snap: Path, processes: bool) -> None:
    jobs = [(str(folder), str(snap), writer) for writer in range(4)]
    if processes:
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            names = [name for written in pool.map(write_some, jobs) for name in written]
    else:
        with ThreadPoolExecutor(4) as pool:
            names = [name for written in pool.map(write_some, jobs) for name in written]
    assert len(names) == 16
    assert sorted(int(name[:6]) for name in names) == list(range(1, 17))
    assert check(folder) == ()


def test_a_writer_that_does_not_end_is_not_waited_for_forever(
    folder: Path, chain: list[Path], snap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "LOCK_SECONDS", 0.05)
    with evidence._locked(folder), pytest.raises(SnapshotError, match="held by another process"):
        add(folder, report_of(snap), number=9)
    add(folder, report_of(snap), number=9)


def test_readers_need_neither_lock_nor_leave_to_write(folder: Path, chain: list[Path]) -> None:
    (folder / ".lock").unlink()
    before = sorted(folder.iterdir())
    assert check(folder) == ()
    assert sorted(folder.iterdir()) == before


def test_a_folder_that_can_not_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match="can't be written"):
        add(tmp_path / "file" / "evidence")


# -- signatures


class Keys:
    """A pair of keys in PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        serialization: Any = pytest.importorskip("cryptography.hazmat.primitives.serialization")
        ed25519: Any = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
        pem = serialization.Encoding.PEM
        key = ed25519.Ed25519PrivateKey.generate()
        none = serialization.NoEncryption()
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        self.private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        self.public.write_bytes(key.public_key().public_bytes(pem, public))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path, "ours")


def test_a_signed_chain_is_checked_by_the_public_key(folder: Path, snap: Path, keys: Keys, tmp_path: Path) -> None:
    paths = [add(folder, report_of(snap), number=n, sign_key=keys.private) for n in range(3)]
    assert check(folder) == check(folder, public_key=keys.public) == ()
    assert [len(path.with_name(f"{path.name}.sig").read_bytes()) for path in paths] == [64] * 3
    others = Keys(tmp_path, "others")
    assert kinds(folder, public_key=others.public) == ["signature-wrong"] * 4
    alter(paths[2])
    rewrite_head(folder, 3, paths[2])  # the whole end made to fit, without the key
    assert kinds(folder) == []
    assert kinds(folder, public_key=keys.public) == ["signature-wrong", "signature-missing"]


def test_an_entry_without_a_signature_is_found(folder: Path, snap: Path, keys: Keys) -> None:
    path = add(folder, report_of(snap), sign_key=keys.private)
    add(folder, report_of(snap), number=1)
    assert kinds(folder, public_key=keys.public) == ["signature-missing"] * 2  # the entry, and the head
    path.with_name(f"{path.name}.sig").unlink()
    assert kinds(folder, public_key=keys.public) == ["signature-missing"] * 3


def test_a_signature_of_no_entry_is_told_and_in_nobodys_way(folder: Path, snap: Path, keys: Keys) -> None:
    folder.mkdir()
    (folder / "000001-20261124T080000Z.json.sig").write_bytes(b"left by a writer that was killed")
    add(folder, report_of(snap), sign_key=keys.private)
    assert check(folder, public_key=keys.public) == ()
    (folder / "000009-20261124T080000Z.json.sig").write_bytes(b"")
    assert kinds(folder) == ["unexpected-file"]


@pytest.mark.parametrize("which", ["sign_key", "public_key"])
def test_a_key_that_can_not_be_used_is_an_error_that_does_not_show_it(
    which: str, folder: Path, snap: Path, keys: Keys, tmp_path: Path
) -> None:
    add(folder, report_of(snap), sign_key=keys.private)

    def use(path: Path) -> None:
        if which == "sign_key":
            add(folder, report_of(snap), number=1, sign_key=path)
        else:
            check(folder, public_key=path)

    (tmp_path / "garbage.pem").write_bytes(b"hunter2")
    wrong = {"sign_key": keys.public, "public_key": keys.private}[which]
    for path, words in [(tmp_path / "none", "can't be read"), (tmp_path / "garbage.pem", "no PEM"), (wrong, "no PEM")]:
        with pytest.raises(SnapshotError, match=words) as caught:
            use(path)
        assert "hunter2" not in str(caught.value)
    assert newest(folder).number == 1
