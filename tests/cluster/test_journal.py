"""The journal of a restore: chained, on disk, and told if it was altered."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapkit.cluster.journal import Journal, JournalError, read, to_html, whoami
from snapkit.errors import SnapshotError, SourceError, TargetExistsError
from snapkit.state.findings.chain import GENESIS, digest

from ..conftest import ROOT

NOW = datetime(2026, 11, 26, 8, 0, 0, 123_000, tzinfo=UTC)


def written(path: Path) -> Journal:
    with Journal.create(path, who="ann@desk", clock=lambda: NOW) as journal:
        journal.write("begin", "done", archive="a.snap")
        with journal.step("upload", size=7) as told:
            told["status"] = 200
    return journal


def test_lines_are_chained_private_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = written(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_bytes().splitlines(keepends=True)
    entries = read(path)
    assert entries == journal.entries
    assert [(e.number, e.step, e.event) for e in entries] == [
        (1, "begin", "done"),
        (2, "upload", "begun"),
        (3, "upload", "done"),
    ]
    assert [e.previous for e in entries] == [GENESIS, digest(lines[0]), digest(lines[1])]
    assert journal.head == digest(lines[2])
    assert {(e.time, e.who) for e in entries} == {("2026-11-26T08:00:00.123Z", "ann@desk")}
    assert entries[2].about["status"] == 200
    assert entries[2].about["seconds"] >= 0
    assert str(entries[0]) == "1: 2026-11-26T08:00:00.123Z ann@desk: begin done: archive a.snap"


def test_a_step_that_fails_says_so(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j", who="a@b") as journal:
        with pytest.raises(SnapshotError), journal.step("upload") as told:  # noqa: PT012 - the step is what raises
            told["sent"] = 3
            raise SnapshotError("broke", "here")
        with pytest.raises(KeyboardInterrupt), journal.step("upload"):
            raise KeyboardInterrupt  # nothing more is written: it stands where it stood
    assert [e.event for e in read(tmp_path / "j")] == ["begun", "failed", "begun"]
    failed = read(tmp_path / "j")[1]
    assert (failed.about["error"], failed.about["words"], failed.about["sent"]) == ("SnapshotError", "here: broke", 3)


def test_it_goes_on_where_it_stood_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path)
    with pytest.raises(TargetExistsError, match="--resume"):
        Journal.create(path)
    with Journal.resume(path, who="bob@desk") as journal:
        journal.write("end", "done")
    assert [e.who for e in read(path)] == ["ann@desk"] * 3 + ["bob@desk"]


def test_what_is_discarded_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path)
    with Journal.resume(path) as journal:
        journal.discard()
    assert list(tmp_path.iterdir()) == []
    Journal.create(path).close()


def test_a_line_that_was_never_ended_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path)
    whole = path.read_bytes()
    for cut in (1, 40):
        path.write_bytes(whole + whole[:-1][-cut:])
        assert len(read(path)) == 3
    with Journal.resume(path) as journal:
        journal.write("end", "done")
    assert [e.step for e in read(path)] == ["begin", "upload", "upload", "end"]


def test_two_do_not_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path)
    with Journal.resume(path), pytest.raises(JournalError, match="held by another process"):
        Journal.resume(path)
    Journal.resume(path).close()


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom snapkit.cluster.journal import Journal\n"
        "journal = Journal.create(sys.argv[1], who='a@b')\njournal.write('begin', 'done')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "j")], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -9, done.stderr
    with Journal.resume(tmp_path / "j") as journal:
        assert [e.step for e in journal.entries] == ["begin"]


@given(data=st.data())
def test_whatever_is_altered_is_told(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = written(path)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != whole[place]))
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    last = whole[:-1].rindex(b"\n") + 1
    if place < last:
        with pytest.raises(JournalError):
            read(path)
    else:  # nothing is chained to the last line: its hash, kept elsewhere, tells
        with pytest.raises(JournalError):
            read(path, anchor=journal.head)


def test_lines_that_are_missing_are_told(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for left in (lines[1:], lines[:1] + lines[2:], [lines[0], lines[0]], lines[::-1]):
        path.write_bytes(b"".join(left))
        with pytest.raises(JournalError):
            read(path)
    path.write_bytes(b"".join(lines[:2]))
    assert len(read(path)) == 2
    with pytest.raises(JournalError, match="cut off"):
        read(path, anchor=journal.head)


@pytest.mark.parametrize("content", [b"", b"{", b"{}\n", b"\n", b"\xff\n", b'{"schema":"snapkit.journal/1"}\n'])
def test_what_is_no_journal_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(JournalError):
        read(tmp_path / "j")
    with pytest.raises(JournalError):
        Journal.resume(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == content
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(SourceError):
            read(missing)
        with pytest.raises(SourceError):
            Journal.resume(missing)
    with pytest.raises(SourceError):
        Journal.create(tmp_path / "no" / "folder")


def test_the_page_is_of_ascii_and_lets_nothing_run(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script>\x1b[2J"é'
    with Journal.create(tmp_path / "j", who=f"{evil}@host") as journal:
        journal.write(evil, "failed", words=evil, findings=[evil, "two"])
        html = to_html(journal.entries)
    assert html.isascii()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "chain of hashes holds" in html
    assert "It has no line" in to_html(())


def test_who_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "@" in whoami()
    monkeypatch.setattr("getpass.getuser", lambda: (_ for _ in ()).throw(KeyError("uid")))
    assert whoami().startswith(f"{os.getuid()}@")
