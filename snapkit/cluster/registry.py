"""The checks of a restore, before and after it: each with a stable id, what it means and what to do.

docs/preflight.md is made from them.
"""

from __future__ import annotations

from snapkit.state.findings.report import Severity
from snapkit.state.verify.registry import Check

CHECKS: dict[str, Check] = {}
LEVELS = ("preflight", "check")  # in the order in which they are made


def declare(*checks: tuple[str, Severity, str, str]) -> None:
    """Register checks, as verify's are, by id, severity, title and advice; the level is what stands before the dot."""
    for check_id, severity, title, advice in checks:
        CHECKS[check_id] = Check(check_id, severity, check_id.partition(".")[0], title, advice)


def markdown() -> str:
    """docs/preflight.md: every check, in the order in which they are made."""
    lines = [
        "# Checks of a restore",
        "",
        "What `snapkit restore` looks for before it sends anything, besides [verify's checks](checks.md) of the",
        "archive for the release of the oldest live server; and what it looks for afterwards. Made from the code:",
        "`python -m snapkit.cluster.restore > docs/preflight.md`.",
        "An error stops it, unless `--accept ID` takes it on.",
    ]
    for level in LEVELS:
        lines += ["", f"## {level}", "", "| id | severity | what it finds | what to do |", "| --- | --- | --- | --- |"]
        lines += [f"| `{c.id}` | {c.severity} | {c.title} | {c.advice} |" for c in CHECKS.values() if c.level == level]
    return "\n".join(lines) + "\n"
