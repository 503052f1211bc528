"""The course's parts: answers in any form, hints, progress, the private copy and its reset, and the live exercises."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.cluster.client import Client
from snapkit.cluster.connection import ClusterError, RestoreUnclearError
from snapkit.cluster.recover import recover
from snapkit.errors import SnapshotError
from snapkit.jupyter import training
from snapkit.jupyter.training import live
from snapkit.jupyter.training.answers import (
    NOTHING,
    judge_mapping,
    judge_moment,
    judge_names,
    judge_number,
    name,
)
from snapkit.jupyter.training.exercises import PLANS
from snapkit.jupyter.training.learner import PROGRESS, Exercise

from ..cli import failed, run
from ..conftest import path_of


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private copy that nobody changes."""
    folder = tmp_path_factory.mktemp("course")
    training.prepare_training(folder)
    return folder


@pytest.fixture
def here(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One's own folder: the shelf, with no progress in it."""
    monkeypatch.chdir(shelf)
    (shelf / PROGRESS).write_text('{"exercises": {}}')
    yield shelf
    (shelf / PROGRESS).write_text('{"exercises": {}}')


# -- answers

JOBS = [name("shop", "web", alone=True), name("batch", "train", alone=True)]
FRAME = pd.DataFrame(
    {"Status": ["running", "dead"]},
    index=pd.MultiIndex.from_tuples([("shop", "web"), ("batch", "train")], names=["Namespace", "ID"]),
)


@pytest.mark.parametrize(
    "answer",
    [
        ["web", "train"],
        ("train", "web"),
        {"web", "train"},
        frozenset({"web", "train"}),
        ["web", "train", "web"],
        [("shop", "web"), ("batch", "train")],
        ["shop/web", "batch/train"],
        {"web": 1, "train": 2},
        "web, train",
        "web\ntrain".replace("\n", ","),
        [" Web ", "'train'"],
        [b"web", b"train"],
        np.array(["web", "train"]),
        np.array([["shop", "web"], ["batch", "train"]]),
        pd.Series(["web", "train"]),
        pd.Series([("shop", "web"), ("batch", "train")], index=[7, 9]),
        pd.Series([1, 2], index=["web", "train"]),
        pd.Index(["web", "train"]),
        FRAME,
        FRAME.index,
        FRAME["Status"],
        FRAME.index.to_frame(index=False),
        pd.DataFrame({"ID": ["web", "train"]}),
        (item for item in ("web", "train")),
        map(str, ["web", "train"]),
        {"web": None, "train": None}.keys(),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_names_may_come_in_any_form(answer: Any) -> None:
    assert judge_names(answer, JOBS, "jobs") == ""


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (["web"], "something is still missing"),
        (["web", "train", "encode"], "1 does not"),
        (["encode"], "not that one"),
        (["encode", "other"], "None of these"),
        ([], "could be read as jobs"),
        (17, "not that one"),
        (object(), "could be read as jobs"),
        ("web train", "not that one"),
    ],
)
def test_what_is_wrong_with_names_is_told_in_kind(answer: Any, told: str) -> None:
    wrong = judge_names(answer, JOBS, "jobs")
    assert told in wrong
    assert "train" not in wrong
    assert "web" not in wrong


@pytest.mark.parametrize("answer", [1234, 1234.0, "1234", "1,234", " 1_234 ", np.int64(1234), np.array([1234]), [1234]])
def test_a_number_may_come_in_any_form(answer: Any) -> None:
    assert judge_number(answer, 1234) == ""
    assert judge_number(pd.Series([answer if np.isscalar(answer) else 1234]), 1234) == ""


@pytest.mark.parametrize("answer", [1235, -1234, "many", [1, 2], None, float("nan"), float("inf"), True, {}, "12345"])
def test_another_number_is_refused(answer: Any) -> None:
    assert "number" in judge_number(answer, 1234)


MOMENT = pd.Timestamp("2026-11-23T22:08:54.918Z")


@pytest.mark.parametrize(
    "answer",
    [
        MOMENT,
        MOMENT.to_pydatetime(),
        MOMENT.tz_convert("Asia/Tokyo"),
        datetime(2026, 11, 23, 22, 8, 54, 500_000),
        datetime(2026, 11, 24, 0, 8, 54, 918_000, tzinfo=timezone(timedelta(hours=2))),
        "2026-11-23 22:08:54",
        "2026-11-23T22:08:54.918Z",
        b"2026-11-23 22:08:55",
        np.datetime64("2026-11-23T22:08:54.918"),
        [MOMENT],
        pd.Series([MOMENT]),
    ],
)
def test_a_moment_may_come_in_any_form(answer: Any) -> None:
    assert judge_moment(answer, MOMENT) == ""


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("2026-11-23 22:08", "The minute is right"),
        ("2026-11-23 23:08:54.918", "time zone"),
        ("yesterday evening", "can't be read"),
        (1_795_471_734_918, "another moment"),
        (pd.NaT, "wanted"),
        ([], "wanted"),
        (datetime.max, "another moment"),
        ("2026-11-24 22:08:54", "another moment"),
    ],
)
def test_another_moment_is_refused(answer: Any, told: str) -> None:
    assert told in judge_moment(answer, MOMENT)


KIND_OF = {"backup-01.snap": "whole", "backup-02.snap": "cut short"}


def test_a_mapping_is_judged_file_by_file() -> None:
    def judge(answer: Any) -> str:
        return judge_mapping(answer, KIND_OF, training.KINDS)

    assert (
        judge(KIND_OF) == judge(pd.Series(KIND_OF)) == judge({"backup-01": "Whole", "backup-02": " cut  short"}) == ""
    )
    assert judge(KIND_OF | {"backup-02.snap": "whole"}) == "1 of 2 are right: backup-01.snap."
    assert judge({"backup-01.snap": "whole", "backup-02.snap": ...}).endswith("1 are without an answer.")
    assert judge(dict.fromkeys(KIND_OF, ...)) == NOTHING
    assert "is not one of the kinds" in judge({"backup-01.snap": "broken"})
    assert "A dict is wanted" in judge(["whole"])


class Odd:
    """Whatever is asked of it, it fails."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("no")

    __iter__ = __eq__ = __len__ = __hash__ = __str__ = __bool__ = __getattr__ = _fail


def loop() -> list[Any]:
    knot: list[Any] = []
    knot.append(knot)
    return knot


ODD: list[Callable[[], Any]] = [
    Odd,
    loop,
    lambda: itertools.count(),
    lambda: 10**5000,
    lambda: "9" * 5000,
    lambda: b"\xff\xfe",
    lambda: pd.NA,
    lambda: pd.NaT,
    lambda: float("nan"),
    lambda: [None, ..., object()],
    lambda: {None: None},
    lambda: type,
    lambda: (1 / 0 for _ in [1]),
    lambda: np.zeros((2, 2, 2)),
    lambda: pd.DataFrame(),
    lambda: "\ud800",
    lambda: [[["a"]]],
    lambda: {"backup-01.snap": {"a": 1}},
    lambda: memoryview(b"abc"),
    lambda: np.array(None),
    lambda: lambda: 1,
]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_no_answer_is_too_odd_to_be_refused(here: Path, number: int) -> None:
    exercise = training.exercise(number)
    for letter in exercise.plan.questions:
        for make in ODD if number == 3 else ODD[:4]:
            verdict = exercise.check(letter, make())
            assert not verdict.ok
            assert len(str(verdict)) < 300


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=8,
    )
)
def test_judges_never_raise(answer: Any) -> None:
    assert judge_names(answer, JOBS, "jobs")
    assert judge_number(answer, 0.123456)
    assert judge_moment(answer, MOMENT)
    assert judge_mapping(answer, KIND_OF, training.KINDS)


def test_a_question_that_is_not_there(here: Path) -> None:
    exercise = training.exercise(1)
    for asked in ("z", 17, None, ["a"]):
        assert "a, b, c, d, e" in str(exercise.check(asked, 1))  # type: ignore[arg-type]
        assert "a, b, c, d, e" in str(exercise.hint(asked))  # type: ignore[arg-type]
    with pytest.raises(SnapshotError, match="from 1 to 6"):
        training.exercise(7)


#: What people answer first, and what they are told.
TYPICAL = [
    (1, "b", "0" * 64, "not that one"),
    (1, "c", datetime(2026, 11, 23, 22, 8, tzinfo=UTC), "The minute is right"),
    (1, "d", 128, "not that one"),
    (2, "a", 19, "Those are all allocations"),
    (2, "d", 9, "both groups together"),
    (2, "c", "client0", "not that one"),
    (2, "f", "web", "not that one"),
    (3, "b", "backup-10.snap", "look at the id of its cluster"),
    (3, "b", "backup-05", "read the variables"),
    (4, "a", ["web", "train"], "still missing"),
    (4, "b", "Bootstrap Token", "whoever is on call"),
    (4, "c", "anonymous", "not that one"),
    (4, "f", 4, "It is clean".casefold()),
    (6, "a", "friday.snap", "is all of it there"),
    (6, "a", "wednesday", "there is a newer one"),
    (6, "a", "monday", "not that one"),
]


@pytest.mark.parametrize(("number", "letter", "answer", "told"), TYPICAL)
def test_a_typical_wrong_answer_is_told_what_it_is(
    here: Path, number: int, letter: str, answer: Any, told: str
) -> None:
    verdict = training.exercise(number).check(letter, answer)
    assert not verdict.ok
    assert told in verdict.message
    assert not verdict
    assert "✗ Not yet." in verdict._repr_html_()


def test_what_a_learner_wrote_is_escaped(here: Path) -> None:
    verdict = training.exercise(3).check("c", {"backup-01.snap": "<script>alert(1)</script>"})
    assert "<script" not in verdict._repr_html_()
    assert "&lt;script&gt;" in verdict._repr_html_()


# -- hints


def test_hints_come_in_order_and_only_when_asked_for(here: Path) -> None:
    exercise = training.exercise(4)
    hints = PLANS[4].questions["a"].hints
    shown = repr(exercise) + exercise._repr_html_() + repr(exercise.check("a", "x"))
    assert not [hint for hint in hints if hint in shown]
    told = [repr(exercise.hint("a")) for _ in hints]
    assert told == [f"Hint {n} of {len(hints)}: {hint}" for n, hint in enumerate(hints, 1)]
    assert "These were all" in repr(exercise.hint("a"))
    assert repr(exercise.hint("A ")) == told[0]
    assert repr(training.exercise(4).hint("a")) == told[0], "a new kernel begins with the first"
    assert training.course().table["Hints"][4] == len(hints)
    assert "Hint 1 of" in training.exercise(4).hint("b")._repr_html_()


def test_each_question_has_hints() -> None:
    for plan in PLANS.values():
        assert all(question.hints and question.title and question.right for question in plan.questions.values())


# -- progress


def test_progress_is_kept_and_counts(here: Path) -> None:
    exercise = training.exercise(2)
    exercise.check("e", "jobs")
    exercise.check("e")
    assert exercise.check("e", "allocs").ok
    exercise.check("e", "jobs")  # what is solved stays so
    row = training.course().table.loc[2]
    assert (row["Right"], row["Tries"], row["State"]) == (1, 2, "begun")
    shown = training.exercise(2)._repr_html_()
    assert "✔ right" in shown
    assert shown.count(">open<") == 5
    assert "1 of 6" in training.course()._repr_html_()
    assert json.loads((here / PROGRESS).read_text())["exercises"]["2"]["questions"]["e"]["solved"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"exercises": []}',
        '{"exercises": {"1": 5}}',
        '{"exercises": {"6": {"questions": {}, "clock": "noon"}}}',
        '{"exercises": {"1": {"questions": {"a": {"tries": "x"}}}}}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_a_progress_file_that_can_not_be_read_is_set_aside(here: Path, content: str) -> None:
    (here / PROGRESS).write_text(content, errors="surrogateescape")
    assert training.course().table["Right"].sum() == 0
    assert training.exercise(2).check("e", "allocs").ok
    [aside] = here.glob("progress-unreadable-*.json")
    assert aside.read_text(errors="surrogateescape") == content
    aside.unlink()
    assert training.is_copy(here)
    assert training.course().table["Right"].sum() == 1


def test_progress_that_is_odd_is_shown_as_far_as_it_goes(here: Path) -> None:
    entry: dict[str, Any] = {"questions": {letter: {"solved": "then"} for letter in PLANS[3].questions}}
    (here / PROGRESS).write_text(json.dumps({"exercises": {"3": entry, "99": {"questions": {}}}}))
    assert training.course().table["State"][3] == "done"
    assert "done" in training.course()._repr_html_()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_not_be_written_to_stops_nobody(here: Path) -> None:
    exercise = training.exercise(2)
    here.chmod(0o500)
    try:
        assert exercise.check("e", "allocs").ok
    finally:
        here.chmod(0o700)


# -- the private copy


def test_a_copy_leaves_alone_what_is_there(tmp_path: Path) -> None:
    first = training.prepare_training(tmp_path / "new" / "course")
    assert first == tmp_path / "new" / "course" / "00-start-here.ipynb"
    assert first.is_file()
    one = first.with_name("01-what-a-snapshot-is.ipynb")
    one.write_text("mine")
    (first.parent / PROGRESS).write_text('{"exercises": {"1": {"questions": {}}}}')
    damaged = first.parent / "files" / "3" / "backup-01.snap"
    damaged.unlink()
    (first.parent / "files" / "1" / "backup.snap").write_bytes(b"mine")
    training.prepare_training(str(first.parent))
    assert one.read_text() == "mine"
    assert '"1"' in (first.parent / PROGRESS).read_text()
    assert damaged.exists()
    assert (first.parent / "files" / "1" / "backup.snap").read_bytes() == b"mine"


def test_a_reset_of_one_sets_aside_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training.prepare_training(tmp_path)
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        training.exercise(number).check("a", 14)
    notebook = tmp_path / PLANS[2].notebook
    fresh = notebook.read_bytes()
    notebook.write_text("my work")
    (tmp_path / "files" / "2" / "mine.txt").write_text("mine")
    done = training.reset_training(tmp_path, 2)
    assert done.numbers == (2,)
    assert done.place is not None
    assert notebook.read_bytes() == fresh
    assert (done.place / notebook.name).read_text() == "my work"
    assert (done.place / "files" / "2" / "mine.txt").read_text() == "mine"
    assert '"2"' in (done.place / PROGRESS).read_text()
    assert list((tmp_path / "files" / "2").iterdir()) == [tmp_path / "files" / "2" / "backup.snap"]
    table = training.course().table
    assert list(table["State"][[1, 2]]) == ["begun", "open"]
    again = training.reset_training(tmp_path, 2)
    assert again.place != done.place
    assert (done.place / notebook.name).read_text() == "my work"


def test_a_reset_goes_without_a_progress_file_that_can_be_read(tmp_path: Path) -> None:
    training.prepare_training(tmp_path)
    (tmp_path / PROGRESS).write_text("{")
    (tmp_path / PLANS[2].notebook).write_text("my work")
    done = training.reset_training(tmp_path)
    assert done.place is not None
    assert (done.place / PLANS[2].notebook).read_text() == "my work"
    assert training.is_copy(tmp_path)
    (tmp_path / PROGRESS).write_text("{")
    assert training.reset_training(tmp_path, 1).numbers == (1,)
    assert {path.read_text() for path in tmp_path.glob("progress-unreadable-*.json")} == {"{"}


def test_a_reset_of_all_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training.prepare_training(tmp_path)
    monkeypatch.chdir(tmp_path)
    training.exercise(1).check("d", 2)
    for path in tmp_path.glob("*.ipynb"):
        path.write_text(f"mine {path.name}")
    (tmp_path / "notes.txt").write_text("mine")
    done = training.reset_training(tmp_path)
    assert done.place is not None
    assert done.numbers == tuple(PLANS)
    assert {path.name: path.read_text() for path in done.place.glob("*.ipynb")} == {
        path.name: f"mine {path.name}" for path in tmp_path.glob("*.ipynb")
    }
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert training.course().table["Tries"].sum() == 0
    assert len(list((tmp_path / "files" / "3").iterdir())) == 10


def test_what_is_no_copy_is_not_reset(tmp_path: Path) -> None:
    (tmp_path / "01-what-a-snapshot-is.ipynb").write_text("mine")
    with pytest.raises(SnapshotError, match="is no copy of the course"):
        training.reset_training(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["01-what-a-snapshot-is.ipynb"]
    training.prepare_training(tmp_path)
    with pytest.raises(SnapshotError, match="from 1 to 6"):
        training.reset_training(tmp_path, 9)


# -- the command


@pytest.mark.parametrize("folder", ["mine", None])
def test_snapkit_lab_opens_the_course(folder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jupyterlab")
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda program, command, environment: started.append(command))
    monkeypatch.chdir(tmp_path)
    ran = run("lab", "--training", *(["--folder", folder] if folder else []), "--no-browser")
    folder = folder or "snapkit-training"
    assert ran == (0, "", f"Your course is in {folder}. Ctrl-C twice ends JupyterLab.\n")
    [command] = started
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={tmp_path / folder}" in command
    assert "--LabApp.default_url=/lab/tree/00-start-here.ipynb" in command
    assert command[-1] == "--no-browser"


def test_the_command_resets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("a reset starts nothing"))
    training.prepare_training(tmp_path)
    first = run("lab", "--training", "--folder", tmp_path, "--reset", "3")
    assert (first.status, first.err) == (0, "")
    assert first.out.startswith("As new: exercise 3.\nWhat you did is in ")
    every = run("lab", "--training", "--folder", tmp_path, "--reset", "all")
    assert every.out.startswith("As new: exercises 1, 2, 3, 4, 5, 6.\n")
    monkeypatch.chdir(tmp_path)  # as in a terminal of the course's JupyterLab
    assert run("lab", "--training", "--reset", "1").out.startswith("As new: exercise 1.\n")
    for wrong in ("0", "7", "-1", "two", "²"):
        assert "--reset" in failed(run("lab", "--training", "--folder", tmp_path, "--reset", wrong)) or wrong in "07"
    assert "no copy of the course" in failed(run("lab", "--training", "--folder", tmp_path / "no", "--reset", "all"))
    assert "--training" in failed(run("lab", "--folder", tmp_path, "--reset", "all"))


# -- on a cluster


@pytest.fixture
def one_job(here: Path) -> Iterator[live.OneJob]:
    exercise = training.exercise(5)
    assert isinstance(exercise, live.OneJob)
    yield exercise
    exercise.stop()


def test_a_whole_restore_is_not_what_was_asked_for(one_job: live.OneJob) -> None:
    one_job.client.restore(one_job.backup)
    told = one_job.check("c")
    assert not told.ok
    assert "other people's work of today is gone" in told.message
    one_job.start()
    assert "Nothing is back" in one_job.check("c").message


def test_half_of_it_is_not_all_of_it(one_job: live.OneJob) -> None:
    job, variable = one_job.lost()
    recover(one_job.client, one_job.backup, [job])
    assert "still lacks 1 of 2" in one_job.check("c").message
    path = f"/v1/var/{'/'.join(variable[2:])}"
    body = {"Namespace": variable[1], "Path": variable[2], "Items": {"db_password": "guessed"}}
    one_job.client.put(path, body, namespace=variable[1])
    assert "not as it was last night" in one_job.check("c").message
    recover(one_job.client, one_job.backup, [variable], overwrite=True)
    assert one_job.check("c").ok


def test_the_command_recovers_as_well(one_job: live.OneJob, capsys: pytest.CaptureFixture[str]) -> None:
    one_job.terminal()
    lines = capsys.readouterr().out.splitlines()
    told = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    assert Client.from_env(told).leader()
    wanted = [part for key in one_job.lost() for part in key]
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in told.items():
            patch.setenv(variable, value)
        assert run("recover", one_job.backup, *wanted, "--confirm", told["NOMAD_ADDR"]).status == 0
    assert one_job.check("c").ok


@pytest.fixture
def drill(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[live.Drill]:
    monkeypatch.setattr(live, "LEADERLESS", 600.0)  # until a test elects one
    exercise = training.exercise(6)
    assert isinstance(exercise, live.Drill)
    yield exercise
    exercise.stop()
    for path in exercise._saved():
        path.unlink()


def elect(exercise: live.Drill) -> None:
    """A leader."""
    assert isinstance(exercise.cluster, live.FaultyCluster)
    exercise.cluster.elect()


def test_the_drill_by_hand_with_all_its_faults(drill: live.Drill, here: Path) -> None:
    assert "does not run" in drill.check("b").message
    assert "start() starts it" in repr(drill.clock)
    drill.start()
    assert "The clock runs" in repr(drill.clock)
    client, backup = drill.client, drill.folder / "thursday.snap"
    safe = drill.folder / "safe.snap"
    with pytest.raises(ClusterError):  # the first fetch breaks off, and nothing half is kept
        client.save(safe)
    assert not safe.exists()
    client.save(safe)
    with pytest.raises(RestoreUnclearError, match="timed out waiting for re-run of leader actions"):
        client.restore(backup)
    with pytest.raises(ClusterError, match="No cluster leader"):
        client.jobs()
    assert drill.check("b").ok, "the error did not mean that nothing happened"
    elect(drill)
    with pytest.raises(ClusterError, match="Permission denied"):
        client.jobs()
    glass = (drill.folder / "envelope.txt").read_text().strip()
    with Client(drill.cluster.address, token=glass).snapshot() as after, snapkit.open(safe) as before:
        assert len(after.jobs) > 5
        assert (after.meta.index or 0) > (before.meta.index or 0), "Raft's index goes on"
    assert not drill.check("c", "intern").ok
    assert drill.check("c", ["drill", "contractor"]).ok
    assert drill.clock.ended is None
    assert drill.check("a", backup).ok
    assert "The clock stopped at " in repr(drill.clock)
    assert repr(training.exercise(6).clock) == repr(drill.clock)  # type: ignore[attr-defined]
    assert training.course().table["State"][6] == "done"


def test_without_a_way_back_it_does_not_count(drill: live.Drill) -> None:
    drill.start()
    assert "nothing was restored yet" in drill.check("b").message
    with pytest.raises(RestoreUnclearError):
        drill.client.restore(drill.folder / "tuesday.snap")
    assert "the state of tuesday.snap" in drill.check("b").message
    elect(drill)
    glass = (drill.folder / "envelope.txt").read_text().strip()
    Client(drill.cluster.address, token=glass).restore(drill.folder / "thursday.snap")
    assert "was not saved in this folder" in drill.check("b").message
    (drill.folder / "safe.snap").write_bytes(path_of("v2.0.5/monday").read_bytes())
    (drill.folder / "worse.snap").write_bytes(b"nothing")
    assert "was not saved in this folder" in drill.check("b").message


def test_the_newest_backup_opens_and_is_not_all_there(drill: live.Drill) -> None:
    friday = drill.folder / "friday.snap"
    with snapkit.open(friday) as snapshot:
        assert not snapshot.archive.oddities
    assert not snapkit.verify(friday).ok
    assert drill.best() == "thursday.snap"


def test_the_clock_goes_on_over_the_limit() -> None:
    begun = datetime.now(UTC) - timedelta(minutes=44, seconds=5)
    assert repr(live.Clock(begun, None)).startswith("The clock says 44 min 0")
    assert "14 min over the limit: it counts all the same" in repr(live.Clock(begun, None))
    assert live.Clock(None, None).minutes == 0


def test_a_state_that_can_not_be_looked_at_is_told(one_job: live.OneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.OneJob, "states", lambda self, stack: 1 / 0)
    told = Exercise.check(one_job, "c")
    assert not told.ok
    assert "can't be looked at" in told.message


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "stopped", "by itself"])
def test_outside_a_copy_its_files_go_with_the_kernel_however_that_ends(
    end: signal.Signals | None, tmp_path: Path
) -> None:
    code = "from snapkit.jupyter import training; print(training.exercise(3).folder, flush=True); input()"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
    ) as kernel:
        assert kernel.stdout is not None
        folder = Path(kernel.stdout.readline().strip())
        assert list(folder.iterdir())
        assert folder.is_relative_to(tmp_path)
        if end is None:
            kernel.communicate("\n", timeout=60)
            assert list(tmp_path.iterdir()) == []
        else:
            os.killpg(kernel.pid, end)  # as a server of kernels does it
    patience = time.monotonic() + 20
    while list(tmp_path.iterdir()):
        assert time.monotonic() < patience
        time.sleep(0.05)
