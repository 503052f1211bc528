"""`snapkit verify`: what it prints and how it ends, for one file and many, and the evidence that it keeps."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import snapkit
import snapkit.state.verify
from snapkit.cli import verify as verify_command
from snapkit.errors import SnapshotError, SourceError
from snapkit.state.findings.report import Finding, Report
from tests import forge

from ..conftest import ARCHIVES, DATA, RAFT_DIRECTORIES, path_of
from . import Ran, failed, fine, run, spawn
from .test_errors import DAMAGED

MONDAY = path_of("v2.0.5/monday")


@pytest.fixture
def snap(tmp_path: Path) -> Path:
    """Monday's archive, as private as it should be."""
    path = Path(shutil.copyfile(MONDAY, tmp_path / "monday.snap"))
    path.chmod(0o600)
    return path


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    path = tmp_path / "cut.snap"
    path.write_bytes(MONDAY.read_bytes()[:20_000])
    path.chmod(0o600)
    return path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """verify() by the file's name alone: `error`, `warning`, `note`, `evil` or none. Gives what it was called with."""
    calls: list[dict[str, Any]] = []

    def verify(src: Any, **options: Any) -> Report:
        name = str(src)
        calls.append({"src": src} | options)
        if "gone" in name:
            raise SourceError("can't be read (No such file or directory)", name, "check the path")
        if "odd" in name:
            raise SnapshotError("is no release 'x'", "target", "give one such as 1.6.2")
        message = "\x1b]0;owned\x07\n" if "evil" in name else "a message"
        found = [
            Finding(f"made.{severity}", severity, "a place", message, "advice")
            for severity in ("error", "warning", "note")
            if severity in name or ("evil" in name and severity == "error")
        ]
        return Report(name, tuple(found), checks=("made.error", "made.warning", "made.note"))

    monkeypatch.setattr(snapkit.state.verify, "verify", verify)
    return calls


# -- exit status, by made reports


@pytest.mark.parametrize(
    ("name", "at_error", "at_warning", "at_note"),
    [("clean", 0, 0, 0), ("note", 0, 0, 1), ("warning", 0, 1, 1), ("error", 1, 1, 1), ("gone", 2, 2, 2)],
)
def test_it_fails_from_a_severity_on(name: str, at_error: int, at_warning: int, at_note: int, made: Any) -> None:
    assert run("verify", name).status == at_error
    statuses = [run("verify", name, "--fail-on", severity).status for severity in ("error", "warning", "note")]
    assert statuses == [at_error, at_warning, at_note]


@pytest.mark.parametrize(
    ("names", "status"),
    [("clean note", 0), ("clean error", 1), ("error clean", 1), ("gone error", 2), ("error gone clean", 2)],
)
def test_of_many_the_worst_counts(names: str, status: int, made: list[dict[str, Any]]) -> None:
    assert run("verify", *names.split()).status == status
    assert [call["src"] for call in made] == names.split(), "all are looked at"


def test_what_could_not_be_read_is_told_last(made: Any) -> None:
    ran = run("verify", "gone1", "error", "gone2")
    assert ran.status == 2
    assert ran.err.splitlines() == [
        f"snapkit: {name}: can't be read (No such file or directory); check the path" for name in ("gone1", "gone2")
    ]
    assert ran.out.splitlines() == [
        "error: not ok; 1 error; error: made.error: a place: a message; advice",
        "3 sources: 1 not ok, 2 could not be read",
    ]


def test_an_argument_that_is_refused_is_one_line_for_all(made: Any) -> None:
    assert failed(run("verify", "odd1", "odd2")) == "snapkit: target: is no release 'x'; give one such as 1.6.2"


@pytest.mark.parametrize("form", ["text", "json", "junit", "html"])
def test_nothing_that_could_be_read_prints_nothing(form: str, made: Any, tmp_path: Path) -> None:
    failed(run("verify", "gone", "--format", form))
    failed(run("verify", "gone", "--format", form, "--output", tmp_path / "out", "--evidence", tmp_path / "evidence"))
    assert list(tmp_path.iterdir()) == []


def test_options_are_passed_on(made: list[dict[str, Any]]) -> None:
    fine("verify", "a", "--target", "2.0.5+ent", "--keystore", "ks", "--digest", "sha-256=x", "--against", "b")
    fine("verify", "a", "--level", "framing", "--now", "2026-11-24T08:00:00+02:00")
    fine("verify", "a")
    first, second, third = [{n: v for n, v in call.items() if n not in ("src", "progress")} for call in made]
    assert first == {"target": "2.0.5+ent", "keystore": Path("ks"), "digest": "sha-256=x", "against": "b"}
    assert second["level"] == "framing"
    assert second["now"].isoformat() == "2026-11-24T08:00:00+02:00"
    assert third == {}
    assert [call["progress"] for call in made] == [None] * 3, "no terminal, no bar"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "FILE: is missing"),
        (["--check"], "--check: needs --evidence"),
        (["a", "--check", "--evidence", "e"], "--check: takes no FILE"),
        (["a", "--sign-key", "k"], "--sign-key: needs --evidence"),
        (["a", "--evidence", "e", "--public-key", "k"], "--public-key: needs --check"),
        (["a", "--anchor", "k"], "--anchor: needs --check"),
        (["--evidence", "e", "--check", "--sign-key", "k"], "--sign-key: does not go with --check"),
        (["--evidence", "e", "--check", "--format", "junit"], "--check: has no format junit"),
        (["a", "--json", "--format", "html"], "the format: is json by --json and html by --format"),
        (["a", "b", "--digest", "x"], "--digest: is of one file"),
        (["a", "b", "--salvage", "x"], "--salvage: is of one file"),
        (["-", "--salvage", "x"], "--salvage: needs a file"),
        (["a", "--salvage", "x", "--output", "x"], "x: is to be written twice"),
        (["a", "--now", "yesterday"], "--now: is no time 'yesterday'"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], words: str, made: list[Any]) -> None:
    assert words in failed(run("verify", *arguments))
    assert made == []


@pytest.mark.parametrize("option", ["--fail-on", "--format", "--level"])
def test_a_choice_that_there_is_not_is_refused(option: str, made: list[Any]) -> None:
    ran = run("verify", "a", option, "nonsense")
    assert (ran.status, ran.out, made) == (2, "", [])
    assert option in ran.err.splitlines()[-1]


# -- which files


def test_patterns_are_expanded_and_each_file_is_taken_once(
    made: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("b.snap", "a.snap", ".hidden.snap", "[x].snap", "x.snap", "deep/c.snap", "deep/er/d.snap", "a.txt"):
        (tmp_path / name).touch()

    def sources(*patterns: object) -> list[str]:
        made.clear()
        run("verify", *patterns)
        return [call["src"] for call in made]

    assert sources("*.snap") == ["[x].snap", "a.snap", "b.snap", "x.snap"]
    assert sources("b.snap", "?.snap") == ["b.snap", "a.snap", "x.snap"]
    assert sources("[x].snap") == ["[x].snap"], "a file of that very name"
    everywhere = ["[x].snap", "a.snap", "b.snap", "deep/c.snap", "deep/er/d.snap", "x.snap"]
    assert sources("**/*.snap") == everywhere
    assert sources(tmp_path / "deep" / "*.snap") == [str(tmp_path / "deep" / "c.snap")]
    assert sources("deep") == ["deep"], "a directory as it is"
    assert sources("memory://bucket/*.snap") == ["memory://bucket/*.snap"]
    assert "nothing*.snap: matches no file" in failed(run("verify", "nothing*.snap"))
    ran = run("verify", "nothing*", "a.snap")
    assert (ran.status, ran.out.splitlines()[-1]) == (2, "2 sources: 1 ok, 1 could not be read")


# -- formats


def test_one_file_has_details_and_many_a_line_each(made: Any) -> None:
    assert fine("verify", "warning").splitlines() == [
        "warning: ok; 1 warning",
        "checked: archive, framing, records, references",
        "warning: made.warning: a place: a message; advice",
    ]
    assert fine("verify", "warning", "clean", "note").splitlines() == [
        "warning: ok; 1 warning",
        "clean: ok; nothing found",
        "note: ok; 1 note",
        "3 sources: 3 ok",
    ]


def test_json_has_one_shape(made: Any) -> None:
    one, many = json.loads(fine("verify", "note", "--json")), run("verify", "note", "error", "gone", "--format", "json")
    assert [report["source"] for report in one["reports"]] == ["note"]
    data = json.loads(many.out)
    assert one.keys() == data.keys()
    assert [report["ok"] for report in data["reports"]] == [True, False]
    assert data["reports"][0] == one["reports"][0]
    assert [u["source"] for u in data["unread"]] == ["gone"]
    assert (many.status, len(many.err.splitlines())) == (2, 1)


def test_junit_follows_fail_on(made: Any) -> None:
    root = ET.fromstring(run("verify", "warning", "error", "gone", "--format", "junit").out)
    assert [suite.attrib["name"] for suite in root] == ["warning", "error", "gone"]
    assert [int(suite.attrib["failures"]) for suite in root] == [0, 1, 0]
    assert [int(suite.attrib["errors"]) for suite in root] == [0, 0, 1]
    ran = run("verify", "warning", "--format", "junit", "--fail-on", "warning")
    assert (ran.status, ET.fromstring(ran.out)[0].attrib["failures"]) == (1, "1")


def test_html_is_a_page(made: Any) -> None:
    assert fine("verify", "warning", "--format", "html").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("form", ["text", "json", "junit", "html"])
@pytest.mark.parametrize("count", [1, 2])
def test_an_archive_does_not_drive_the_terminal(form: str, count: int, made: Any) -> None:
    ran = run("verify", *["evil1", "evil2"][:count], "--format", form)
    assert ran.status == 1
    assert all(c.isprintable() or c == "\n" for c in ran.out)


@pytest.mark.parametrize("form", ["text", "json", "junit", "html"])
def test_output_is_a_private_file_and_a_line_for_each_source(form: str, made: Any, tmp_path: Path) -> None:
    path = tmp_path / "report"
    ran = run("verify", "note", "error", "--format", form, "--output", path)
    assert ran == Ran(
        1,
        "note: ok; 1 note\nerror: not ok; 1 error; error: made.error: a place: a message; advice\n"
        "2 sources: 1 ok, 1 not ok\n",
        "",
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text(encoding="utf-8")
    assert "made.error" in text
    assert "made.note" in text
    made.clear()
    assert "is there already" in failed(run("verify", "note", "--output", path, "--format", form))
    assert made == [], "told before the work, not after"
    assert path.read_text(encoding="utf-8") == text
    fine("verify", "note", "--output", path, "--format", form, "--overwrite")
    assert path.read_text(encoding="utf-8") != text
    assert list(tmp_path.iterdir()) == [path]


def test_a_terminal_without_the_letters_gets_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n.snap"
    path.write_bytes(forge.archive(forge.state()))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    for form in ("text", "html"):
        ran = spawn("verify", path, "--format", form)
        assert ran.status in (0, 1)
        assert ran.err == ""
        assert ran.out.isascii()


# -- evidence


def test_evidence_is_kept_and_checked(made: Any, tmp_path: Path) -> None:
    folder, snap = tmp_path / "evidence", tmp_path / "error.snap"
    snap.write_bytes(b"x")
    ran = run("verify", snap, "note", "--evidence", folder, "--target", "1.6.2")
    assert ran.status == 1
    [path] = folder.glob("0*.json")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert ran.out.splitlines()[-1] == f"evidence: {path}, the newest is SHA-256 {digest}"
    entry = json.loads(path.read_bytes())
    assert entry["arguments"]["target"] == "1.6.2"
    assert entry["arguments"]["files"] == [str(snap), "note"]
    assert [source["report"]["ok"] for source in entry["sources"]] == [False, True]
    said = fine("verify", "--evidence", folder, "--check")
    assert said == f"{folder}: intact; newest entry 1, SHA-256 {digest}; signatures not looked at\n"
    assert fine("verify", "--evidence", folder, "--check", "--anchor", digest) == said
    snap.write_bytes(b"y")
    ran = run("verify", "--evidence", folder, "--check")
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.splitlines()[1].startswith(f"error: file-altered: {snap}: ")
    snap.unlink()
    gone = fine("verify", "--evidence", folder, "--check")
    assert gone.splitlines()[1] == f"warning: file-missing: {snap}: it is no longer where entry 1 found it"
    path.write_bytes(path.read_bytes().replace(b"1.6.2", b"1.6.3"))
    ran = run("verify", "--evidence", folder, "--check", "--json")
    data = json.loads(ran.out)
    assert (ran.status, data["schema"], data["intact"]) == (1, "snapkit.evidence-check/1", False)
    assert [problem["kind"] for problem in data["problems"]] == ["entry-altered", "file-missing"]


@pytest.mark.parametrize("options", [[], ["--json"], ["--format", "junit"]])
def test_what_was_found_is_told_though_the_evidence_can_not_be_kept(
    options: list[str], made: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    ran = run("verify", "error", "--evidence", tmp_path / "file", *options)
    assert ran.status == 2
    assert "made.error" in ran.out
    assert ran.err == f"snapkit: {tmp_path}/file: can't be written (File exists); check its mode\n"


def test_no_evidence_is_not_intact(tmp_path: Path) -> None:
    assert "holds no evidence" in failed(run("verify", "--evidence", tmp_path, "--check"))
    assert "No such file" in failed(run("verify", "--evidence", tmp_path / "none", "--check"))


def test_evidence_is_signed(snap: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from ..state.findings.test_evidence import Keys

    keys, others, folder = Keys(tmp_path, "ours"), Keys(tmp_path, "others"), tmp_path / "evidence"
    fine("verify", snap, "--evidence", folder, "--sign-key", keys.private)
    checked = ["verify", "--evidence", folder, "--check", "--public-key"]
    assert fine(*checked, keys.public).endswith("; by that key\n")
    ran = run(*checked, others.public)
    assert ran.status == 1
    assert "signature-wrong" in ran.out
    assert "is no PEM public key" in failed(run(*checked, keys.private))


# -- salvage


@pytest.mark.parametrize("form", ["text", "json", "junit"])
def test_what_is_certain_is_salvaged_and_what_is_lost_is_told(form: str, cut: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.snap"
    ran = run("verify", cut, "--salvage", out, "--format", form)
    assert ran.status == 1, "the source is what it is"
    told = {"text": ran.out, "json": ran.out, "junit": ran.err}[form]
    assert "bytes lost, probably" in told
    assert (ran.err == "") is (form != "junit")
    if form == "json":
        account = json.loads(ran.out)["salvage"]
        assert account["path"] == str(out)
        assert not account["whole"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with snapkit.open(out) as part, snapkit.open(MONDAY) as whole:
        kept = list(part.raw())
        assert kept
        assert kept == list(whole.raw())[: len(kept)]
    assert "is there already" in failed(run("verify", cut, "--salvage", out))
    assert run("verify", cut, "--salvage", out, "--overwrite").status == 1


def test_of_what_is_whole_salvage_is_a_copy(snap: Path, tmp_path: Path) -> None:
    said = fine("verify", snap, "--salvage", tmp_path / "out.snap")
    assert said.splitlines()[-1] == f"salvage: {tmp_path / 'out.snap'}: a copy: nothing was lost"
    with snapkit.open(tmp_path / "out.snap") as copy, snapkit.open(snap) as whole:
        assert list(copy.raw()) == list(whole.raw())


def test_where_nothing_is_certain_nothing_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.snap"
    page.write_bytes(b"<!DOCTYPE html>")
    ran = run("verify", page, "--salvage", tmp_path / "out.snap")
    assert ran.status == 2
    assert "archive.not-a-snapshot" in ran.out
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out.snap").exists()


# -- real archives


@pytest.mark.parametrize("archive", ARCHIVES)
def test_real_archives_are_ok(archive: str) -> None:
    assert fine("verify", path_of(archive)).startswith(f"{path_of(archive)}: ok; ")


def test_all_of_them_at_once() -> None:
    said = fine("verify", DATA / "*" / "*.snap").splitlines()
    assert len(said) == len(ARCHIVES) + 1
    assert said[-1] == f"{len(ARCHIVES)} sources: {len(ARCHIVES)} ok"


def test_raft_directories_and_standard_input_are_taken() -> None:
    directory = DATA / RAFT_DIRECTORIES[0]
    for source, stdin in ((directory, b""), (directory.parent, b""), ("-", MONDAY.read_bytes())):
        data = json.loads(fine("verify", source, "--json", stdin=stdin))
        assert data["ok"]
        assert data["reports"][0]["snapshot_id"]


def test_a_check_that_did_not_run_is_no_case(snap: Path, cut: Path) -> None:
    def cases(*arguments: object) -> set[str]:
        suite = ET.fromstring(run("verify", *arguments, "--format", "junit").out)[0]
        return {case.attrib["name"] for case in suite.iter("testcase")}

    full = cases(snap)
    assert {"archive.hash", "refs.alloc-node"} <= full
    assert "refs.alloc-node" not in cases(snap, "--level", "archive")
    assert "refs.alloc-node" not in cases(cut)
    assert "archive.truncated" in cases(cut)


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_archive_is_a_finding(what: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.snap"
    path.write_bytes(DAMAGED[what][0])
    ran = run("verify", path)
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith(f"{path}: not ok; ")
    assert run("verify", path, MONDAY).status == 1


def test_what_can_not_be_looked_at_is_no_finding(tmp_path: Path) -> None:
    assert "No such file" in failed(run("verify", tmp_path / "none.snap"))
    assert "no snapshot" in failed(run("verify", tmp_path))
    secret = tmp_path / "secret.snap"
    secret.touch(0o000)
    if os.geteuid():
        assert "Permission denied" in failed(run("verify", secret))


def test_a_url_is_told_without_its_credentials() -> None:
    assert "hunter2" not in failed(run("verify", "nosuch://user:hunter2@host/x.snap?sig=hunter2"))


def test_it_runs_as_a_process_of_its_own(snap: Path, cut: Path) -> None:
    assert spawn("verify", snap).status == 0
    ran = spawn("verify", snap, cut)
    assert (ran.status, ran.err) == (1, "")


def test_a_file_that_changes_meanwhile_does_not_get_into_the_evidence(
    snap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = verify_command._verified

    def then_changed(*args: Any) -> list[Report]:
        reports = verified(*args)
        shutil.copyfile(path_of("v2.0.5/tuesday"), snap)
        return reports

    monkeypatch.setattr(verify_command, "_verified", then_changed)
    ran = run("verify", snap, "--evidence", tmp_path / "evidence")
    assert ran.status == 2
    assert "changed after it was verified" in ran.err
    assert not (tmp_path / "evidence").exists()


# -- many of a kind, and what a rehearsal leaves


def test_many_of_a_kind_are_told_once_unless_all_are_asked_for(tmp_path: Path) -> None:
    record = forge.record(1, {"Namespace": "default", "ID": 7})
    path = tmp_path / "odd.snap"
    path.write_bytes(forge.archive(forge.state(*[record] * 5000)))
    path.chmod(0o600)

    def told(*options: str) -> list[str]:
        ran = run("verify", path, *options)
        assert ran.status == 1
        return ran.out.splitlines()

    short = [line for line in told() if "state.field-type" in line or line.startswith("    ")]
    assert short[0].startswith("error: state.field-type: found 5,000 times; ")
    assert [line.split(":")[0] for line in short[1:4]] == [f"    state.bin record {n} (Job)" for n in (1, 2, 3)]
    assert short[4] == "    and more (--all lists all)"
    assert len([line for line in told("--all") if "state.field-type" in line]) == 5000
    listed = json.loads(run("verify", path, "--json").out)["reports"][0]["findings"]
    assert [f["place"] for f in listed if f["check"] == "state.field-type"][-1] == "and so on"
    each = json.loads(run("verify", path, "--json", "--all").out)["reports"][0]["findings"]
    assert len([f for f in each if f["check"] == "state.field-type"]) == 5000


def test_of_what_is_damaged_the_next_step_is_told(tmp_path: Path) -> None:
    (tmp_path / "cut.snap").write_bytes(MONDAY.read_bytes()[:20_000])
    (tmp_path / "page.snap").write_bytes(b"<html>")
    ran = run("verify", tmp_path / "cut.snap")
    assert "checked: archive\n" in ran.out, "no more could be"
    assert ran.out.endswith("what is certain in it: --salvage OUT writes that as a whole archive\n")
    assert "salvage" not in run("verify", tmp_path / "page.snap").out
    line = failed(run("show", tmp_path / "cut.snap"))
    assert line.endswith(f"`snapkit verify {tmp_path / 'cut.snap'} --salvage OUT` writes what is certain in it")
    assert "salvage" not in failed(run("show", tmp_path / "page.snap"))


def test_a_rehearsal_that_found_nothing_is_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nomad = tmp_path / "nomad"
    nomad.write_text("#!/bin/sh\necho 'Nomad v9.9.9'\necho more\n")
    nomad.chmod(0o700)
    monkeypatch.setenv("NOMAD_BIN", str(nomad))
    monkeypatch.setattr("snapkit.cluster.rehearse.rehearse", lambda source: [])
    text = run("verify", "--rehearse", MONDAY).out
    assert "checked: archive, framing, records, references, rehearsal\n" in text
    assert text.endswith(f"rehearsal: Nomad v9.9.9, a throwaway server by {nomad}, was asked for 1 of 1\n")
    done = json.loads(run("verify", "--rehearse", MONDAY, "--json", "--evidence", tmp_path / "evidence").out)
    assert done["rehearsal"] == {"binary": str(nomad), "release": "Nomad v9.9.9", "sources": [str(MONDAY)]}
    assert done["reports"][0]["levels"][-1] == "rehearsal"
    entry = Path(done["evidence"]["path"]).read_text()
    assert f'"rehearsal":"Nomad v9.9.9, {nomad}"' in entry
