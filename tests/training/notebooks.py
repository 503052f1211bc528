"""Runs the cells of an exercise in this process, as a kernel would, and gives what each check said."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

from snapkit.jupyter.training.learner import Exercise, Verdict

SOLUTIONS = Path(__file__).parent / "solutions"


@contextmanager
def listening() -> Iterator[dict[str, Verdict]]:
    """What each check says, by question; the clusters of exercises that were made end with it."""
    told: dict[str, Verdict] = {}
    made: list[Exercise] = []
    check, begin = Exercise.check, Exercise.__init__

    def heard(self: Exercise, question: str, answer: Any = ...) -> Verdict:
        told[question] = check(self, question, answer)
        return told[question]

    def noted(self: Exercise, *args: Any) -> None:
        made.append(self)
        begin(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exercise, "check", heard)
        patch.setattr(Exercise, "__init__", noted)
        try:
            yield told
        finally:
            for exercise in made:
                getattr(exercise, "stop", lambda: None)()


def run(notebook: Path) -> dict[str, Any]:
    """Each code cell, from top to bottom; what the last lines of the cells gave, as `Out`."""
    names: dict[str, Any] = {"Out": []}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        *statements, last = ast.parse(cell.source).body
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([*statements, last], []), notebook.name, "exec"), names)
            continue
        exec(compile(ast.Module(statements, []), notebook.name, "exec"), names)
        names["Out"].append(eval(compile(ast.Expression(last.value), notebook.name, "eval"), names))
    return names
