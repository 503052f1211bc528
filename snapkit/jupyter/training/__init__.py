"""A course for a team with no cluster at hand: six exercises that check their answers.

In a notebook: `exercise(3)` is the third, its `check("a", answer)` checks an answer, its `hint("a")` gives the next
hint, and `course()` says how far one is. `snapkit lab --training` makes a private copy.
"""

from __future__ import annotations

from snapkit.errors import SnapshotError
from snapkit.jupyter.training.exercises import PLANS
from snapkit.jupyter.training.learner import Course, Exercise, Hint, Verdict, here, is_copy
from snapkit.jupyter.training.setup import Reset, prepare_training, reset_training
from snapkit.jupyter.training.story import KINDS

__all__ = [
    "KINDS",
    "Course",
    "Exercise",
    "Hint",
    "Reset",
    "Verdict",
    "course",
    "exercise",
    "is_copy",
    "prepare_training",
    "reset_training",
]


def exercise(number: int) -> Exercise:
    """An exercise of the course, 1 to 6, with its files laid out in this notebook's folder.

    Raises:
        SnapshotError: There is none of this number, or its files can't be made.
    """
    if number not in PLANS:
        raise SnapshotError("is none", f"exercise {number!r:.20}", f"they go from 1 to {len(PLANS)}")
    kind = Exercise
    if number in (5, 6):  # a cluster takes a while to import
        from snapkit.jupyter.training.live import Drill, OneJob

        kind = OneJob if number == 5 else Drill
    return kind(PLANS[number], here())


def course() -> Course:
    """How far one is in this folder's copy of the course."""
    return Course(PLANS, here())
