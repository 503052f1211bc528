"""A report of verify to click through: would it restore, and what was found, the worst first."""

from __future__ import annotations

from collections.abc import Sequence

from snapkit.jupyter.browser import Browser, ipywidgets, live, prose, stack
from snapkit.page import brief, escaped, label, plain, table
from snapkit.state.findings.report import COLOURS, SEVERITIES, Finding, Report, Severity, verdict_html

MEANINGS: dict[Severity, str] = {
    "error": "it would not restore, or data would be lost",
    "warning": "it restores, with surprises",
    "note": "good to know",
}
SHOWN = 12  # findings of a severity where there is no kernel
LONG = 2_000  # characters of a text


class ReportBrowser(Browser):
    """What verify found in one source, to click through. Each finding opens by mouse, or by Enter.

    Attributes:
        severity: Which severity to show, "" for all.
        filter: Words that a finding must all hold, in any case.
        view: The findings.
    """

    def __init__(self, report: Report) -> None:
        """Show a report.

        Raises:
            SnapshotError: ipywidgets is not installed.
        """
        widgets = ipywidgets()
        self._report = report
        counts = {name: sum(f.severity == name for f in report.found) for name in SEVERITIES}
        style = {"description_width": "initial"}
        self.severity = widgets.Dropdown(
            description="Severity",
            options=[(f"all ({len(report.found):,})", "")]
            + [(f"{name} ({count:,})", name) for name, count in counts.items() if count],
            style=style,
            layout=widgets.Layout(width="max-content"),
        )
        self.filter = widgets.Text(
            description="Filter",
            placeholder="words in check, place, message or advice",
            style=style,
            layout=widgets.Layout(width="30em"),
        )
        self.view = prose()
        for control in (self.severity, self.filter):
            control.observe(lambda _: self._narrow(), "value")
        self._narrow()
        controls = widgets.HBox([self.severity, self.filter], layout=widgets.Layout(flex_flow="row wrap"))
        parts = [prose(_head(report) + live()), *([controls] if report.found else []), self.view]
        self.widget = stack(parts)

    @property
    def report(self) -> Report:
        """What is shown."""
        return self._report

    def _narrow(self) -> None:
        wanted = self.filter.value.casefold().split()
        left = [
            finding
            for finding in self._report.found
            if self.severity.value in ("", finding.severity) and all(word in str(finding).casefold() for word in wanted)
        ]
        nothing = "Nothing was found." if not self._report.found else "No finding has all these words."
        self.view.value = _groups(left, None) or f"<p>{nothing}</p>"

    def __repr__(self) -> str:
        return plain(f"<ReportBrowser {self._report.source}: {self._report.summary}>")

    def to_html(self) -> str:
        return _head(self._report) + _groups(self._report.found, SHOWN)


def _head(report: Report) -> str:
    facts = table([[label(name), escaped(value)] for name, value in report.facts()])
    return f"{verdict_html(report)}<details><summary>what was checked</summary>{facts}</details>"


def _groups(found: Sequence[Finding], most: int | None) -> str:
    parts = []
    for severity in SEVERITIES:
        mine = [finding for finding in found if finding.severity == severity]
        if mine:
            told = "".join(map(_finding, mine[:most]))
            more = f"<p>and {len(mine) - most:,} more</p>" if most is not None and len(mine) > most else ""
            name = f"{len(mine):,} {severity}{'' if len(mine) == 1 else 's'}"
            parts.append(
                f"<details open><summary>{label(name, COLOURS[severity])}: {MEANINGS[severity]}</summary>"
                f'<div style="margin-left:1em">{told}{more}</div></details>'
            )
    return "".join(parts)


def _finding(finding: Finding) -> str:
    rows = [("where", finding.place), ("what to do", finding.advice), ("check", finding.check)]
    cells = [[label(name), escaped(brief(value, LONG))] for name, value in rows if value]
    return (
        f'<details style="overflow-wrap:anywhere"><summary>{escaped(brief(finding.message))} '
        f"<small>{escaped(brief(finding.place))}</small></summary>"
        f'<div style="margin-left:1em">{table(cells)}</div></details>'
    )
