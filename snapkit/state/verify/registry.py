"""The checks: each with a stable id, what it means and what to do. docs/checks.md is made from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from snapkit.state.findings.report import LEVELS as LEVELS
from snapkit.state.findings.report import Finding, Severity
from snapkit.state.findings.report import Found as Found

if TYPE_CHECKING:
    from snapkit.state.verify.subject import Subject

Run: TypeAlias = "Callable[[Subject], Iterator[Found]]"
#: Names of columns by table.
Columns: TypeAlias = Mapping[str, Sequence[str]]

REHEARSAL = "rehearsal"  # what takes a real server: cluster/rehearse.py


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that verify looks for.

    Attributes:
        id: Stable: scripts rely on it.
        severity: Of what it finds.
        level: Of `LEVELS`, or `REHEARSAL`.
        title: What it finds, as one sentence.
        advice: What to do, as one sentence.
        run: What finds it; None where that comes up as the container or the stream is read.
        columns: What it looks at by table, besides key fields, CreateIndex and ModifyIndex.
    """

    id: str
    severity: Severity
    level: str
    title: str
    advice: str
    run: Run | None = None
    columns: Columns = field(default_factory=dict)

    def finding(self, place: str, message: str, advice: str = "", severity: Severity | None = None) -> Finding:
        """One that it found; advice and severity are the check's own unless given."""
        return Finding(self.id, severity or self.severity, place, message, advice or self.advice)


CHECKS: dict[str, Check] = {}


def markdown() -> str:
    """docs/checks.md: every check by level, in the order in which they run."""
    lines = [
        "# Checks",
        "",
        "What `snapkit verify` looks for. Made from the code: `python -m snapkit.state.verify > docs/checks.md`.",
        "An error: it would not restore, or data would be lost. A warning: it restores with surprises.",
    ]
    for level in (*LEVELS, REHEARSAL):
        lines += ["", f"## {level}", "", "| id | severity | what it finds | what to do |", "| --- | --- | --- | --- |"]
        lines += [f"| `{c.id}` | {c.severity} | {c.title} | {c.advice} |" for c in CHECKS.values() if c.level == level]
    return "\n".join(lines) + "\n"


def declare(check_id: str, severity: Severity, level: str, title: str, advice: str) -> None:
    """Register a check whose findings come up while the snapshot is read."""
    CHECKS[check_id] = Check(check_id, severity, level, title, advice)


def check(
    check_id: str, severity: Severity, level: str, title: str, advice: str, columns: Columns | None = None
) -> Callable[[Run], Run]:
    """Register the function below as a check: the obvious way to add one.

    Of records it sees the key fields, CreateIndex and ModifyIndex, and the columns that it names here.
    """

    def register(run: Run) -> Run:
        CHECKS[check_id] = Check(check_id, severity, level, title, advice, run, columns or {})
        return run

    return register


def columns_of(levels: Sequence[str]) -> dict[str, set[str]]:
    """The columns that the checks of some levels look at, by table."""
    wanted: dict[str, set[str]] = {}
    for one in CHECKS.values():
        for table, names in one.columns.items() if one.level in levels else ():
            wanted.setdefault(table, set()).update(names)
    return wanted
