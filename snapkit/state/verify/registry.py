"""The checks: each with a stable id, what it means and what to do. docs/checks.md is made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from snapkit.state.report import Severity

if TYPE_CHECKING:
    from snapkit.state.verify.subject import Subject

#: Where, and what in one sentence.
Found: TypeAlias = tuple[str, str]
Run: TypeAlias = "Callable[[Subject], Iterator[Found]]"

LEVELS = ("archive", "framing", "records", "references")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that verify looks for.

    Attributes:
        id: Stable: scripts rely on it.
        severity: Of what it finds.
        level: Of `LEVELS`.
        title: What it finds, as one sentence.
        advice: What to do, as one sentence.
        run: What finds it; None where that comes up as the container or the stream is read.
    """

    id: str
    severity: Severity
    level: str
    title: str
    advice: str
    run: Run | None = None


CHECKS: dict[str, Check] = {}


def declare(check_id: str, severity: Severity, level: str, title: str, advice: str) -> None:
    """Register a check whose findings come up while the snapshot is read."""
    CHECKS[check_id] = Check(check_id, severity, level, title, advice)


def check(check_id: str, severity: Severity, level: str, title: str, advice: str) -> Callable[[Run], Run]:
    """Register the function below as a check: the obvious way to add one."""

    def register(run: Run) -> Run:
        CHECKS[check_id] = Check(check_id, severity, level, title, advice, run)
        return run

    return register
