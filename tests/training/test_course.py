"""The course from end to end: unsolved it passes nothing, by its solutions it passes all."""

from __future__ import annotations

import json
import re
import runpy
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

import snapkit
from snapkit.jupyter import training
from snapkit.jupyter.lab import shared
from snapkit.jupyter.training import live, story
from snapkit.jupyter.training.exercises import PLANS
from snapkit.jupyter.training.learner import is_copy

from ..conftest import path_of
from . import incident
from .notebooks import SOLUTIONS, listening, run


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh private copy, as one's own folder."""
    training.prepare_training(tmp_path / "course")
    monkeypatch.chdir(tmp_path / "course")
    monkeypatch.setattr(live, "LEADERLESS", 1.0)
    return tmp_path / "course"


@pytest.mark.parametrize("number", PLANS)
def test_the_solution_passes_each_check(copy: Path, number: int) -> None:
    with listening() as told:
        runpy.run_path(str(SOLUTIONS / f"exercise_{number}.py"))
    assert list(told) == list(PLANS[number].questions)
    assert [str(verdict) for verdict in told.values() if not verdict.ok] == []
    assert all(verdict.message for verdict in told.values())
    assert training.course().table["State"][number] == "done"


@pytest.mark.parametrize("number", PLANS)
def test_an_exercise_as_it_is_given_passes_no_check_and_raises_nothing(copy: Path, number: int) -> None:
    with listening() as told:
        run(copy / PLANS[number].notebook)
    assert list(told) == list(PLANS[number].questions)
    assert {verdict.ok for verdict in told.values()} == {False}
    assert all(str(verdict).startswith("✗ Not yet. ") for verdict in told.values())
    assert training.course().table["Right"].sum() == 0


def test_the_first_page_shows_how_far_one_is(copy: Path) -> None:
    [course] = run(copy / "00-start-here.ipynb")["Out"]
    assert list(course.table["State"]) == ["open"] * 6
    text = (copy / "00-start-here.ipynb").read_text()
    assert all(plan.notebook in text and plan.title in text for plan in PLANS.values())


def test_each_notebook_asks_what_the_exercise_checks(copy: Path) -> None:
    for plan in PLANS.values():
        cells = nbformat.read(copy / plan.notebook, as_version=4).cells
        headings = [cell.source for cell in cells if cell.cell_type == "markdown"]
        assert re.findall(r"^## (\w)\. ", "\n".join(headings), re.M) == list(plan.questions)
        assert headings[0].startswith(f"# {plan.number}. {plan.title}")


def test_the_trainers_page_of_answers_is_right(copy: Path) -> None:
    text = (SOLUTIONS.parent / "answers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (\w) \| (.+) \|$", text, re.M)
    answered = [(int(number), letter) for number, letter, _ in rows]
    done = [(3, "c"), (5, "c"), (6, "b")]
    assert sorted([*answered, *done]) == [(plan.number, letter) for plan in PLANS.values() for letter in plan.questions]
    with listening() as told:
        exercises = {number: training.exercise(number) for number in PLANS}
        for number, letter, answer in rows:
            exercises[int(number)].check(letter, answer)
            assert told[letter].ok, (number, letter, told[letter])
        assert exercises[3].check("c", dict(re.findall(r"^\| (\S+\.snap) \| (.+) \|$", text, re.M))).ok


# -- nothing gives the answers away


def test_a_learners_copy_has_no_solutions() -> None:
    names = [path.name for path in (shared("notebooks") / "training").rglob("*")]
    assert sorted(names) == ["00-start-here.ipynb", *(plan.notebook for plan in PLANS.values())]


#: Of the planted stories, what a learner is to find out.
PLANTED = [
    *incident.SYNC[1:],
    "log-shipper",
    incident.HOST,
    "night shift",
    "psp/limits",
    "contractor",
    incident.DEPLOYER,
]


def test_neither_the_notebooks_nor_the_checks_tell_the_answers() -> None:
    folder = Path(training.__file__).parent
    for path in [*folder.iterdir(), *(shared("notebooks") / "training").glob("*.ipynb")]:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert [word for word in PLANTED if word in text] == [], path.name


def test_what_is_packed_is_the_story_that_can_be_read() -> None:
    assert json.loads(json.dumps(incident.story())) == story.packed()


# -- what the exercises work on


def test_the_files_are_the_same_each_time(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        training.prepare_training(folder)
    one, two = ({p.relative_to(f): p.read_bytes() for p in (f / "files").rglob("*.*")} for f in folders)
    assert one == two
    assert len(one) == 1 + 1 + 10 + 3 + 1 + 6
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "one" / "files").rglob("*.*")} == {0o600}


#: What verify has to say first of each kind of damage.
FOUND = {
    "whole": None,
    "other cluster": None,
    "lost keyring": "state.missing-root-key",
    "cut short": "archive.truncated",
    "bit flipped": "archive.gzip",
    "wrong sums": "archive.hash",
    "swapped member": "archive.size",
    "spoilt record": "state.framing",
    "repacked": "archive.tar-trailing",
    "web page": "archive.not-a-snapshot",
}


def test_each_kind_of_damage_is_another(copy: Path) -> None:
    exercise = training.exercise(3)
    assert sorted(story.shelf().values()) == sorted(FOUND) == sorted(training.KINDS)
    assert list(story.shelf().values()) != list(training.KINDS), "their order tells nothing"
    for file, kind in story.shelf().items():
        findings = snapkit.verify(exercise.folder / file).findings
        told = list(findings["Check"][findings["Severity"].isin(["error", "warning"])])
        assert told[:1] == ([FOUND[kind]] if FOUND[kind] else []), kind


def test_the_planted_night_is_whole_and_of_one_piece(copy: Path) -> None:
    exercise = training.exercise(4)
    days = [exercise.folder / f"{name}.snap" for name in ("evening", "night", "morning")]
    assert days[0].read_bytes() == path_of("v2.0.5/tuesday").read_bytes()
    told = []
    for day in days:
        findings = snapkit.verify(day).findings
        told.append(list(findings["Check"][findings["Severity"] != "note"]))
    assert told == [[], [], ["refs.eval-job", "refs.eval-job"]]
    for before, after in pairwise(days):
        changes = snapkit.compare(before, after)
        assert changes.findings.empty
        assert (changes.a.index or 0) < (changes.b.index or 0)
        highest = changes.objects["Index"].max()
        assert highest <= (changes.b.index or 0)


def test_the_notebooks_run_in_a_checkout_and_leave_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exercise = training.exercise(1)
    assert not exercise.folder.is_relative_to(tmp_path)
    exercise.check("d", 17)
    assert "forgotten with the kernel" in training.course()._repr_html_()
    assert list(tmp_path.iterdir()) == []
    assert not is_copy(tmp_path)
