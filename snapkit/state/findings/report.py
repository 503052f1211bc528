"""What verify found: findings, each with a stable id, and the report of them all, as data, text, HTML and JUnit XML.

Whatever an archive holds, no format lets it drive a terminal, a page or an XML reader: control characters show as
U+FFFD. Nothing here looks at the clock: the same findings give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeAlias
from xml.etree import ElementTree as ET

import pandas as pd

from snapkit.format.archive import Member
from snapkit.format.schema import in_words
from snapkit.page import AMBER, BLUE, GREEN, RED, brief, escaped, label, plain, table
from snapkit.page import page as html_page

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # the worst first

#: Where, and what in one sentence: a finding, before its check makes one of it.
Found: TypeAlias = tuple[str, str]

LEVELS = ("archive", "framing", "records", "references")  # of the checks; each has those before it
SHOWN = 20  # findings that a notebook's cell shows; to_html() has all
AND_SO_ON = "and so on"  # the place of a finding that says of how many of its check there are
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at_or_above(severity: Severity, threshold: Severity) -> bool:
    """Is a severity as bad as another, or worse?"""
    return SEVERITIES.index(severity) <= SEVERITIES.index(threshold)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a snapshot that somebody should know.

    Attributes:
        check: The stable id of the check, such as `refs.alloc-node`; docs/checks.md says what each is.
        severity: `error`: it would not restore, or data would be lost; `warning`: it restores with surprises; `note`.
        place: Where: a member, an offset, a record, a table and key.
        message: What, in one sentence.
        advice: What to do, in one sentence.
    """

    check: str
    severity: Severity
    place: str
    message: str
    advice: str

    def __str__(self) -> str:
        """`<severity>: <check>: <place>: <message>; <advice>`, in one line."""
        parts = ": ".join(part for part in (self.severity, self.check, self.place, self.message) if part)
        return plain(f"{parts}; {self.advice}" if self.advice else parts)


def findings_frame(found: Iterable[Finding]) -> pd.DataFrame:
    """Findings as a table: Check, Severity, Place, Message, Advice (all str)."""
    rows = [(f.check, f.severity, f.place, f.message, f.advice) for f in found]
    return pd.DataFrame(rows, columns=["Check", "Severity", "Place", "Message", "Advice"], dtype="str")


def _together(found: Iterable[Finding], most: int, hint: str) -> Iterator[str]:
    """Lines of findings, those of one kind (check, severity and advice) told together where they are many."""
    kinds: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in found:
        kinds.setdefault((finding.severity, finding.check, finding.advice), []).append(finding)
    for (severity, check, advice), alike in kinds.items():
        if len(alike) <= most:
            yield from map(str, alike)
            continue
        times = f"found {len(alike):,} times"
        if alike[-1].place == AND_SO_ON:
            times = alike[-1].message.partition(";")[0]
        yield f"{severity}: {check}: {times}; {advice}"
        yield from (f"    {finding.place}: {finding.message}" for finding in alike[:most])
        yield f"    and more{f' ({hint})' if hint else ''}"


class Unread(NamedTuple):
    """A source that there was nothing to read of, and why."""

    source: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """What verify found in one source.

    Attributes:
        source: What was verified, in words.
        found: The findings: of the container, then of the state, each in the order of the checks.
        target: The release that it was to be restored into; "" for the one that wrote it.
        snapshot_id: `<term>-<index>-<milliseconds>`; "" if that could not be read.
        version_range: The releases that can have written it; "" if that could not be told.
        members: The files in the container, with their hashes, as far as they were read.
        levels: The levels that were checked: of `archive`, `framing`, `records`, `references`.
        checks: The ids of the checks that ran, found they something or not; empty if that is not known.
    """

    source: str
    found: tuple[Finding, ...]
    target: str = ""
    snapshot_id: str = ""
    version_range: str = ""
    members: tuple[Member, ...] = ()
    levels: tuple[str, ...] = LEVELS
    checks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Is there no error?"""
        return not any(finding.severity == "error" for finding in self.found)

    @property
    def worst(self) -> Severity | None:
        """The worst severity there is; None without findings."""
        return min((f.severity for f in self.found), key=SEVERITIES.index, default=None)

    @property
    def findings(self) -> pd.DataFrame:
        """The findings.

        Returns:
            Check, Severity, Place, Message, Advice (all str).
        """
        return findings_frame(self.found)

    @property
    def summary(self) -> str:
        """Such as `not ok; 1 error, 2 warnings`."""
        counts = [f"{n:,} {name}{'' if n == 1 else 's'}" for name in SEVERITIES if (n := self._count(name))]
        return f"{'ok' if self.ok else 'not ok'}; {', '.join(counts) or 'nothing found'}"

    @property
    def verdict(self) -> str:
        """Would it restore, or what came of a restore? In a sentence that says no more than was checked."""
        surprises = ", with surprises" if self.worst == "warning" else ""
        if "check" in self.levels:
            return (
                f"The live state is as it should be{surprises}."
                if self.ok
                else "The live state is not as it should be."
            )
        into = f" into {self.target}" if self.target else ""
        if not self.ok:
            stopped = "; a restore is not begun" if "preflight" in self.levels else ""
            return f"It would not restore{into}, or data would be lost{stopped}."
        known = "" if set(LEVELS) <= set(self.levels) else f", as far as its {' and '.join(self.levels)} tell"
        return f"It would restore{into}{surprises}{known}."

    def __repr__(self) -> str:
        return plain(f"<Report {self.source}: {self.summary}>")

    def _count(self, severity: Severity) -> int:
        return sum(finding.severity == severity for finding in self.found)

    def to_json(self) -> dict[str, Any]:
        """As plain data for json: `schema` is `snapkit.report/1`, the rest has the names of the attributes."""
        return {
            "schema": "snapkit.report/1",
            "source": plain(self.source),
            "ok": self.ok,
            "worst": self.worst,
            "counts": {name: self._count(name) for name in SEVERITIES},
            "target": plain(self.target),
            "snapshot_id": plain(self.snapshot_id),
            "version_range": plain(self.version_range),
            "levels": [plain(level) for level in self.levels],
            "checks": [plain(check) for check in self.checks],
            "members": [{"name": plain(m.name), "size": m.size, "sha256": m.sha256} for m in self.members],
            "findings": [
                {
                    "check": plain(f.check),
                    "severity": f.severity,
                    "place": plain(f.place),
                    "message": plain(f.message),
                    "advice": plain(f.advice),
                }
                for f in self.found
            ],
        }

    def to_text(self, *, most: int | None = None, hint: str = "") -> str:
        """For a terminal: the verdict, what is known of the snapshot, then a line for each finding.

        Args:
            most: Tell findings of one kind that are more than that once, with so many of their places.
            hint: How to see all, where some are left out.
        """
        lines = [f"{self.source}: {self.summary}", *(f"{name}: {value}" for name, value in self.facts())]
        told = map(str, self.found) if most is None else _together(self.found, most, hint)
        return "\n".join(plain(line) for line in [*lines, *told]) + "\n"

    def to_line(self) -> str:
        """The verdict and the first error, in one line (without the line feed)."""
        first = next((f"; {f}" for f in self.found if f.severity == "error"), "")
        return plain(f"{self.source}: {self.summary}{first}")

    def to_junit(self, *, fail_on: Severity = "error", now: datetime | None = None) -> str:
        """As JUnit XML with one suite; see `junit()`."""
        return junit([self], fail_on=fail_on, now=now)

    def to_html(self) -> str:
        """As a page by itself; see `page()`."""
        return page([self])

    def _repr_html_(self) -> str:
        return _fragment(self, SHOWN)

    def facts(self) -> Iterator[tuple[str, str]]:
        """What is known of the snapshot and what was checked: names and values."""
        if self.snapshot_id or self.version_range:
            by = f"written by a Nomad {in_words(self.version_range)}" if self.version_range else ""
            yield "snapshot", ", ".join(part for part in (self.snapshot_id, by) if part)
        yield "checked", ", ".join(self.levels) + (f"; for a restore into {self.target}" if self.target else "")


# -- many


def document(reports: Iterable[Report], unread: Iterable[Unread] = ()) -> dict[str, Any]:
    """Reports as plain data for json, of the same shape for one as for many: `schema` is `snapkit.reports/1`."""
    reports = list(reports)
    return {
        "schema": "snapkit.reports/1",
        "ok": not (unread := list(unread)) and all(report.ok for report in reports),
        "reports": [report.to_json() for report in reports],
        "unread": [{"source": plain(u.source), "message": plain(u.message)} for u in unread],
    }


def junit(
    reports: Iterable[Report],
    unread: Iterable[Unread] = (),
    *,
    fail_on: Severity = "error",
    now: datetime | None = None,
) -> str:
    """Reports as JUnit XML, valid by the schemas of Ant and of Jenkins, in ASCII.

    A suite for each source; in it a case for each check that ran or found something. What is at or above `fail_on`
    fails its case, the rest is the suite's system-out. A source that can't be read is a case with an error.

    Args:
        reports: In the order to be shown.
        unread: Sources that there was nothing to read of.
        fail_on: What fails.
        now: When, for the timestamps that the schemas ask for; by default 1970.
    """
    stamp = f"{(now or EPOCH).astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
    root = ET.Element("testsuites")
    for report in reports:
        _report_suite(root, report, fail_on, stamp)
    for source, message in unread:
        suite = _suite(root, source, stamp, tests=1, failures=0, errors=1)
        ET.SubElement(suite, "properties")
        case = ET.SubElement(suite, "testcase", name="source", classname="snapkit.verify", time="0")
        ET.SubElement(case, "error", type="unread", message=plain(message)).text = plain(message)
        _outputs(suite, [])
    ET.indent(root)
    body = ET.tostring(root, encoding="us-ascii").decode("ascii")  # other characters as references
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _report_suite(root: ET.Element, report: Report, fail_on: Severity, stamp: str) -> None:
    failing: dict[str, list[Finding]] = {}
    for finding in report.found:
        if at_or_above(finding.severity, fail_on):
            failing.setdefault(_token(finding.check), []).append(finding)
    names = list(dict.fromkeys(map(_token, [*report.checks, *(f.check for f in report.found)]))) or ["verify"]
    suite = _suite(root, report.source, stamp, tests=len(names), failures=len(failing), errors=0)
    properties = ET.SubElement(suite, "properties")
    for name, value in report.facts():
        ET.SubElement(properties, "property", name=name, value=plain(value))
    for member in report.members:
        ET.SubElement(properties, "property", name=_token(f"sha256 {member.name}"), value=member.sha256)
    for name in names:
        case = ET.SubElement(suite, "testcase", name=name, classname="snapkit.verify", time="0")
        if found := failing.get(name):
            more = f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
            message = plain(f"{found[0].place}: {found[0].message}{more}")
            failure = ET.SubElement(case, "failure", type=found[0].severity, message=message)
            failure.text = "\n".join(map(str, found))
    _outputs(suite, [str(f) for f in report.found if not at_or_above(f.severity, fail_on)])


def _suite(root: ET.Element, source: str, stamp: str, *, tests: int, failures: int, errors: int) -> ET.Element:
    counts = {"tests": str(tests), "failures": str(failures), "errors": str(errors), "time": "0"}
    about = {"package": "snapkit.verify", "id": str(len(root)), "timestamp": stamp, "hostname": "localhost"}
    return ET.SubElement(root, "testsuite", {"name": _token(source)} | about | counts)


def _token(text: str) -> str:
    """As XML Schema's token: no space at an end, nor two in a row; not empty."""
    return " ".join(plain(text).split()) or "unnamed"


def _outputs(suite: ET.Element, lines: Sequence[str]) -> None:
    ET.SubElement(suite, "system-out").text = "\n".join(lines)
    ET.SubElement(suite, "system-err")


COLOURS: dict[Severity, str] = {"error": RED, "warning": AMBER, "note": BLUE}


def page(reports: Iterable[Report], unread: Iterable[Unread] = ()) -> str:
    """Reports as one HTML page, in ASCII: it loads nothing, runs nothing, and follows the reader's light or dark."""
    parts = [_fragment(report, None) for report in reports]
    parts += [
        f'<div><p><b>{escaped(u.source)}</b>: <span style="color:{RED}">could not be read</span>; '
        f"{escaped(u.message)}</p></div>"
        for u in unread
    ]
    return html_page("snapkit verify", parts)


def verdict_html(report: Report) -> str:
    """The source, the verdict on it and how many findings of each severity there are, as HTML."""
    colour = {None: GREEN, "note": GREEN, "warning": AMBER, "error": RED}[report.worst]
    told = f"{label(report.verdict, colour)} <small>{escaped(report.summary)}</small>"
    return f"<p><b>{escaped(report.source)}</b>: {told}</p>"


def _fragment(report: Report, most: int | None) -> str:
    """A report as HTML: all of it, or so much that a notebook's cell stays short."""
    parts = [verdict_html(report)]
    facts = [*report.facts(), *((m.name, f"{m.size:,} bytes, SHA-256 {m.sha256}") for m in report.members)]
    known = table([[label(name), escaped(value)] for name, value in facts])
    parts.append(known if most is None else f"<details><summary>what was checked</summary>{known}</details>")
    if report.found:
        shown = sorted(report.found, key=lambda f: SEVERITIES.index(f.severity)) if most is not None else report.found
        rows = [_row(finding, brief if most is not None else str) for finding in shown[:most]]
        parts.append(table(rows, ("Severity", "Check", "Place", "What", "What to do")))
    if most is not None and len(report.found) > most:
        parts.append(f"<p>{len(report.found) - most:,} more findings: see findings, to_text() or to_html()</p>")
    return f'<div style="overflow-wrap:anywhere">{"".join(parts)}</div>'


def _row(finding: Finding, told: Callable[[str], str]) -> list[str]:
    named = [label(finding.severity, COLOURS[finding.severity]), label(finding.check)]
    return [*named, *(escaped(told(text)) for text in (finding.place, finding.message, finding.advice))]
