"""The course: a folder of exercises, each of which checks its answers and remembers how far a person is.

In a private copy (`snapkit lab --training`) that is kept in `progress.json`, and nothing leaves the folder. Elsewhere,
as in a checkout, the files are in a folder that goes away with the kernel.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapkit.errors import SnapshotError
from snapkit.files import atomic
from snapkit.jupyter.lab import shared
from snapkit.jupyter.training.answers import NOTHING, Wrong, is_nothing
from snapkit.jupyter.training.story import material
from snapkit.page import AMBER, BLUE, GREEN, escaped, label, table

if TYPE_CHECKING:
    import pandas as pd

PROGRESS = "progress.json"
COURSE = "snapkit training"
FILES = "files"
LIMIT = 30  # minutes of the drill: soft


def now() -> datetime:
    """This moment, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


# -- what is shown


@dataclass(frozen=True)
class Verdict:
    """What came of an answer.

    Attributes:
        ok: Was it right?
        message: If so, what it means; if not, what is wrong with it, in kind.
    """

    ok: bool
    message: str

    def __bool__(self) -> bool:
        return self.ok

    @property
    def _head(self) -> str:
        return "✔ Right." if self.ok else "✗ Not yet."

    def __repr__(self) -> str:
        return f"{self._head} {self.message}"

    def _repr_html_(self) -> str:
        return f"<p>{label(self._head, GREEN if self.ok else AMBER)} {escaped(self.message)}</p>"


@dataclass(frozen=True)
class Hint:
    """One hint of several."""

    number: int
    count: int
    text: str

    def __repr__(self) -> str:
        return f"Hint {self.number} of {self.count}: {self.text}" if self.number else self.text

    def _repr_html_(self) -> str:
        head = label(f"Hint {self.number} of {self.count}:", BLUE) if self.number else ""
        return f"<p>{head} {escaped(self.text)}</p>"


# -- what an exercise is made of


@dataclass(frozen=True)
class Question:
    """One question of an exercise.

    Attributes:
        title: In a few words; the notebook has it whole.
        judge: Given the exercise and the answer, says what is wrong with it; empty if nothing is.
        hints: From a nudge to nearly the way.
        right: What to know, once it is answered.
        of_state: Is it answered by what was done, and not by an answer?
        traps: Given the exercise, answers that are often given, each with what to say of it.
    """

    title: str
    judge: Callable[[Any, Any], Wrong]
    hints: tuple[str, ...]
    right: str = ""
    of_state: bool = False
    traps: Callable[[Any], list[tuple[Callable[[Any], bool], str]]] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Plan:
    """An exercise as the course has it.

    Attributes:
        number: From 1.
        notebook: The name of its notebook.
        title: Its title.
        goal: What one can do afterwards.
        minutes: How long it takes, about.
        questions: By letter.
    """

    number: int
    notebook: str
    title: str
    goal: str
    minutes: int
    questions: Mapping[str, Question]


# -- where a person is


class Progress:
    """How far a person is, in a small file; in memory where there is no private copy.

    A file that can't be read is set aside, and it begins anew: it is no reason to stop.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._memory: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """By exercise: `begun`, `questions` by letter (`tries`, `hints`, `solved`), and what else one keeps."""
        if self.path is None:
            return self._memory
        try:
            document = json.loads(self.path.read_bytes())
            exercises = document["exercises"]
            sound = isinstance(exercises, dict) and all(_is_sound(one) for one in exercises.values())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            sound, exercises = False, {}
        if not sound:
            with suppress(SnapshotError, OSError):  # without the file, the folder would be no copy of the course
                self.path.replace(self.path.with_name(f"{self.path.stem}-unreadable-{now():%Y%m%dT%H%M%SZ}.json"))
                self.write({})
            return {}
        return dict(exercises)

    def change(self, number: int, change: Callable[[dict[str, Any]], None]) -> None:
        """Change what is known of an exercise; what can't be written (a full disk) is let go."""
        exercises = self.read()
        change(exercises.setdefault(str(number), {"begun": now().isoformat(), "questions": {}}))
        if self.path is None:
            return
        with suppress(SnapshotError, OSError):
            self.write(exercises)

    def write(self, exercises: Mapping[str, Any]) -> None:
        """Put it in the file."""
        assert self.path is not None
        document = json.dumps({"course": COURSE, "version": 1, "exercises": exercises}, indent=1) + "\n"
        with atomic(self.path, overwrite=True) as file:
            file.write(document.encode())


def _is_sound(entry: Any) -> bool:
    questions = entry.get("questions") if isinstance(entry, dict) else None
    if not isinstance(questions, dict) or not isinstance(entry.get("clock", {}), dict):
        return False
    return all(
        isinstance(one, dict) and all(isinstance(one.get(name, 0), int) for name in ("tries", "hints"))
        for one in questions.values()
    )


class Place:
    """Where a course is taken: a private copy, or a folder that goes away."""

    def __init__(self, folder: Path | None) -> None:
        self.private = folder is not None
        if folder is None:
            folder = _passing()
        self.folder = folder
        self.progress = Progress(self.folder / PROGRESS if self.private else None)

    def files(self, number: int) -> Path:
        """The folder of an exercise's files, those that are missing made."""
        return lay_out(self.folder, number)


def _passing() -> Path:
    """A folder that goes away with this process, also where that is killed, as nbval ends its kernels.

    A small process waits for the end: that of a pipe, which only this one holds.
    """
    folder = tempfile.mkdtemp(prefix="snapkit-training-")
    code = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"
    waiting = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # out of reach of what ends this one
    )
    atexit.register(waiting.communicate)  # whoever looks once this process has ended by itself finds it gone
    return Path(folder)


def lay_out(folder: Path, number: int) -> Path:
    """Make an exercise's files below a folder. What is there already is left alone."""
    target = folder / FILES / str(number)
    target.mkdir(parents=True, exist_ok=True)
    if not (made := _material(number)).keys() <= {path.name for path in target.iterdir()}:
        for name, content in made.items():
            if not (target / name).exists():
                with atomic(target / name) as file:
                    file.write(content)
    return target


@cache
def _material(number: int) -> Mapping[str, bytes]:
    return material(number, shared("data"))


def is_copy(folder: Path) -> bool:
    """Is it a private copy of the course?"""
    return (folder / PROGRESS).is_file() and (folder / FILES).is_dir()


@cache
def _temporary_place() -> Place:
    return Place(None)


def here(folder: Path | None = None) -> Place:
    """The place of this notebook."""
    folder = Path.cwd() if folder is None else folder
    return Place(folder) if is_copy(folder) else _temporary_place()


# -- an exercise


class Exercise:
    """An exercise as a learner has it: files to work on, questions to answer, hints to ask for.

    Attributes:
        plan: What the course has of it.
        folder: Its files; what a learner makes may go there too.
    """

    called = "exercise"  # in its notebook

    def __init__(self, plan: Plan, place: Place) -> None:
        self.plan = plan
        self.place = place
        self.folder = place.files(plan.number)
        self._hinted: dict[str, int] = {}
        place.progress.change(plan.number, lambda entry: None)

    def check(self, question: str, answer: Any = ...) -> Verdict:
        """Is an answer right? Asked as often as you like; it says what is wrong in kind, and never raises."""
        asked = self.plan.questions.get(str(question).strip().casefold())
        if asked is None:
            return Verdict(False, f"There is no question {question!r:.20}: they are {', '.join(self.plan.questions)}.")
        if is_nothing(answer) and not asked.of_state:
            return Verdict(False, NOTHING)
        try:
            wrong = self._wrong(asked, answer)
        except Exception as error:
            wrong = f"That can't be read as an answer ({type(error).__name__})."
            if asked.of_state:
                wrong = f"The state can't be looked at just now: {error}"
        self._note(str(question).strip().casefold(), solved=not wrong)
        if wrong:
            return Verdict(False, wrong)
        return Verdict(True, asked.right)

    def _wrong(self, question: Question, answer: Any) -> Wrong:
        wrong = question.judge(self, answer)
        if wrong and question.traps is not None:
            for caught, told in question.traps(self):
                if caught(answer):
                    return told
        return wrong

    def _note(self, letter: str, *, solved: bool) -> None:
        def change(entry: dict[str, Any]) -> None:
            one = entry["questions"].setdefault(letter, {})
            if not one.get("solved"):
                one["tries"] = one.get("tries", 0) + 1
                one["solved"] = now().isoformat() if solved else None

        self.place.progress.change(self.plan.number, change)
        self._after_check()

    def _after_check(self) -> None:
        """What else a check does."""

    def hint(self, question: str) -> Hint:
        """The next hint for a question."""
        letter = str(question).strip().casefold()
        asked = self.plan.questions.get(letter)
        if asked is None:
            return Hint(0, 0, f"There is no question {question!r:.20}: they are {', '.join(self.plan.questions)}.")
        number = self._hinted.get(letter, 0) + 1
        if number > len(asked.hints):
            self._hinted[letter] = 0
            return Hint(0, 0, "These were all hints; the next one is the first again. The trainer has the answers.")
        self._hinted[letter] = number

        def change(entry: dict[str, Any]) -> None:
            one = entry["questions"].setdefault(letter, {})
            one["hints"] = max(number, one.get("hints", 0))

        self.place.progress.change(self.plan.number, change)
        return Hint(number, len(asked.hints), asked.hints[number - 1])

    @property
    def solved(self) -> bool:
        """Are all questions answered?"""
        return solved(self.plan, self.place.progress.read())

    # -- how it shows itself

    def _states(self) -> list[tuple[str, str, str]]:
        known = self.place.progress.read().get(str(self.plan.number), {}).get("questions", {})
        rows = []
        for letter, question in self.plan.questions.items():
            one = known.get(letter, {})
            state = "✔ right" if one.get("solved") else "✗ not yet" if one.get("tries") else "open"
            rows.append((letter, question.title, state))
        return rows

    def __repr__(self) -> str:
        lines = [f"{self.plan.number}. {self.plan.title}: {self.plan.goal}"]
        return "\n".join(lines + [f"   {letter}  {title}: {state}" for letter, title, state in self._states()])

    def _repr_html_(self) -> str:
        cells = [(escaped(letter), escaped(title), _coloured(state)) for letter, title, state in self._states()]
        files = ", ".join(
            sorted(path.name for path in self.folder.iterdir() if path.name in _material(self.plan.number))
        )
        return (
            f"<p><b>Goal:</b> {escaped(self.plan.goal)} <b>Time:</b> about {self.plan.minutes} minutes.</p>"
            + (f"<p><b>Files:</b> {escaped(files)}</p>" if files else "")
            + table(cells, ["", "Question", "State"])
            + f'<p>Stuck? <code>{self.called}.hint("a")</code> gives a hint for a; once more, the next.</p>'
        )


def _coloured(state: str) -> str:
    return label(state, GREEN if state.startswith("✔") else AMBER if state.startswith("✗") else "")


def solved(plan: Plan, known: Mapping[str, Any]) -> bool:
    """Are all questions of an exercise answered?"""
    questions = known.get(str(plan.number), {}).get("questions", {})
    return all(questions.get(letter, {}).get("solved") for letter in plan.questions)


# -- the course as a whole


class Course:
    """How far one is."""

    def __init__(self, plans: Mapping[int, Plan], place: Place) -> None:
        self._plans = plans
        self._place = place

    @property
    def table(self) -> pd.DataFrame:
        """By exercise.

        Returns:
            Index Exercise (int64); Title (str), Minutes (Int64; planned), Right (Int64; questions), Questions (Int64),
            Tries (Int64), Hints (Int64), Took (timedelta64[s]; from its first cell to its last right answer), State
            (str; `open`, `begun`, `done`).
        """
        import pandas as pd

        known = self._place.progress.read()
        rows = [self._row(plan, known.get(str(number), {})) for number, plan in self._plans.items()]
        names = ["Title", "Minutes", "Right", "Questions", "Tries", "Hints", "Took", "State"]
        frame = pd.DataFrame(rows, columns=names, index=pd.Index(list(self._plans), name="Exercise"))
        frame["Took"] = pd.array([row[names.index("Took")] for row in rows], dtype="timedelta64[s]")
        return frame.astype(
            dict.fromkeys(["Minutes", "Right", "Questions", "Tries", "Hints"], "Int64")
            | {"Title": "str", "State": "str"}
        )

    def _row(self, plan: Plan, entry: Mapping[str, Any]) -> list[Any]:
        import pandas as pd

        questions = [entry.get("questions", {}).get(letter, {}) for letter in plan.questions]
        right = [one["solved"] for one in questions if one.get("solved")]
        tries, hints = (sum(one.get(name, 0) for one in questions) for name in ("tries", "hints"))
        done = len(right) == len(questions)
        took: Any = pd.NaT
        if done:
            with suppress(KeyError, TypeError, ValueError):
                took = pd.Timestamp(max(right)) - pd.Timestamp(entry["begun"])
        state = "done" if done else "begun" if tries or hints else "open"
        return [plan.title, plan.minutes, len(right), len(questions), tries, hints, took, state]

    def __repr__(self) -> str:
        return str(self.table.to_string())

    def _repr_html_(self) -> str:
        rows = []
        for number, row in zip(self._plans, self.table.to_dict("records"), strict=True):
            took = (
                f"{row['Took'].total_seconds() / 60:.0f} min"
                if row["State"] == "done" and row["Took"] == row["Took"]
                else ""
            )
            state = {"done": "✔ done", "begun": "begun", "open": "open"}[row["State"]]
            rows.append(
                [
                    str(number),
                    escaped(row["Title"]),
                    f"about {row['Minutes']} min",
                    f"{row['Right']} of {row['Questions']}",
                    str(row["Hints"]),
                    took,
                    _coloured(state),
                ]
            )
        where = (
            ""
            if self._place.private
            else "<p>This is no private copy: how far you are is forgotten with the kernel.</p>"
        )
        return table(rows, ["", "Exercise", "Time", "Right", "Hints", "Took", "State"]) + where
