"""Reports as data, text, JUnit XML and HTML: the same bytes each time, and harmless whatever an archive holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapkit.format.archive import Member
from snapkit.page import plain
from snapkit.state.findings.report import (
    AND_SO_ON,
    LEVELS,
    SEVERITIES,
    Finding,
    Report,
    Severity,
    Unread,
    at_or_above,
    document,
    junit,
    page,
)

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
HASH = Finding("archive.hash", "error", "state.bin", "hash check failed", "fetch the file again")
HASH_TOO = Finding("archive.hash", "error", "meta.json", "hash check failed", "fetch the file again")
ORPHAN = Finding("refs.eval-job", "warning", "table evals, e1", "its job is not in the state", "nothing")
DELETION = Finding("state.deletion", "note", "table acl_tokens", "the last write was at 9", "")
MEMBERS = (Member("meta.json", 340, "a" * 64), Member("state.bin", 12_345, "b" * 64))
REPORT = Report(
    "backups/monday.snap",
    (HASH, HASH_TOO, ORPHAN, DELETION),
    "1.6.2",
    "2-96-1795471716265",
    ">1.10.5",
    MEMBERS,
    checks=("archive.size", "archive.hash", "refs.eval-job"),
)
CLEAN = Report("clean.snap", ())

#: What must not get through to a terminal, an XML reader or a page.
HOSTILE = "\x1b]0;owned\x07\x9b2J\r\n\t\0\u202e\u2028\ud800\ufffe</script><b>&\"']]>"
EVIL = Report(
    HOSTILE,
    (Finding(HOSTILE, "error", HOSTILE, HOSTILE, HOSTILE),),
    HOSTILE,
    HOSTILE,
    HOSTILE,
    (Member(HOSTILE, 1, ""),),
    levels=(HOSTILE,),
    checks=(HOSTILE, "other"),
)

FORMATS: dict[str, Callable[[Report], str]] = {
    "json": lambda report: json.dumps(report.to_json(), ensure_ascii=False),
    "text": Report.to_text,
    "line": Report.to_line,
    "junit": Report.to_junit,
    "html": Report.to_html,
    "fragment": Report._repr_html_,
    "repr": repr,
}


# -- what it is


def test_a_report_is_ok_without_errors() -> None:
    assert (CLEAN.ok, CLEAN.worst, CLEAN.summary) == (True, None, "ok; nothing found")
    warned = Report("a", (DELETION, ORPHAN))
    assert (warned.ok, warned.worst, warned.summary) == (True, "warning", "ok; 1 warning, 1 note")
    assert (REPORT.ok, REPORT.worst, REPORT.summary) == (False, "error", "not ok; 2 errors, 1 warning, 1 note")
    assert repr(REPORT) == "<Report backups/monday.snap: not ok; 2 errors, 1 warning, 1 note>"


def test_the_findings_are_a_table() -> None:
    frame = REPORT.findings
    assert list(frame.columns) == ["Check", "Severity", "Place", "Message", "Advice"]
    assert list(frame.Check) == ["archive.hash", "archive.hash", "refs.eval-job", "state.deletion"]
    assert [str(dtype) for dtype in CLEAN.findings.dtypes] == ["str"] * 5


def test_severities_are_in_order() -> None:
    order: list[tuple[Severity, list[Severity]]] = [
        (t, [s for s in SEVERITIES if at_or_above(s, t)]) for t in SEVERITIES
    ]
    assert order == [("error", ["error"]), ("warning", ["error", "warning"]), ("note", ["error", "warning", "note"])]


# -- JSON


def test_json_has_all_and_a_schema() -> None:
    data = json.loads(json.dumps(REPORT.to_json()))
    assert {name: value for name, value in data.items() if name not in ("findings", "members")} == {
        "schema": "snapkit.report/1",
        "source": "backups/monday.snap",
        "ok": False,
        "worst": "error",
        "counts": {"error": 2, "warning": 1, "note": 1},
        "target": "1.6.2",
        "snapshot_id": "2-96-1795471716265",
        "version_range": ">1.10.5",
        "levels": ["archive", "framing", "records", "references"],
        "checks": ["archive.size", "archive.hash", "refs.eval-job"],
    }
    assert data["members"] == [{"name": m.name, "size": m.size, "sha256": m.sha256} for m in MEMBERS]
    names = [name.lower() for name in REPORT.findings.columns]
    assert [list(finding) for finding in data["findings"]] == [names] * 4
    assert data["findings"] == json.loads(REPORT.findings.rename(columns=str.lower).to_json(orient="records"))


def test_a_document_has_one_shape_for_one_and_for_many() -> None:
    nothing = document([])
    assert nothing == {"schema": "snapkit.reports/1", "ok": True, "reports": [], "unread": []}
    many = document([CLEAN, REPORT], [Unread("gone.snap", "gone.snap: can't be read")])
    assert many["reports"] == [CLEAN.to_json(), REPORT.to_json()]
    assert many["unread"] == [{"source": "gone.snap", "message": "gone.snap: can't be read"}]
    assert many.keys() == nothing.keys()
    assert [document([CLEAN])["ok"], document([REPORT])["ok"], document([CLEAN], [Unread("a", "b")])["ok"]] == [
        True,
        False,
        False,
    ]


# -- text


def test_text_is_a_verdict_and_a_line_for_each_finding() -> None:
    assert REPORT.to_text().splitlines() == [
        "backups/monday.snap: not ok; 2 errors, 1 warning, 1 note",
        "snapshot: 2-96-1795471716265, written by a Nomad newer than 1.10.5",
        "checked: archive, framing, records, references; for a restore into 1.6.2",
        "error: archive.hash: state.bin: hash check failed; fetch the file again",
        "error: archive.hash: meta.json: hash check failed; fetch the file again",
        "warning: refs.eval-job: table evals, e1: its job is not in the state; nothing",
        "note: state.deletion: table acl_tokens: the last write was at 9",
    ]
    assert CLEAN.to_text() == "clean.snap: ok; nothing found\nchecked: archive, framing, records, references\n"


def test_many_of_a_kind_are_told_once() -> None:
    many = [Finding("refs.eval-job", "warning", f"table evals, e{n}", "its job is gone", "nothing") for n in range(11)]
    other = Finding("refs.eval-job", "warning", "here", "its job is gone", "something else")
    found = Report("a.snap", (*many, other, *REPORT.found[:2]))
    assert found.to_text(most=3, hint="--all lists all").splitlines()[2:] == [
        "warning: refs.eval-job: found 11 times; nothing",
        "    table evals, e0: its job is gone",
        "    table evals, e1: its job is gone",
        "    table evals, e2: its job is gone",
        "    and more (--all lists all)",
        "warning: refs.eval-job: here: its job is gone; something else",
        *map(str, REPORT.found[:2]),
    ]
    assert len(found.to_text().splitlines()) == 2 + 14
    more = Finding("refs.eval-job", "warning", AND_SO_ON, "found 5,000 times; the first 11 are listed", "nothing")
    told = Report("a.snap", (*many, more)).to_text(most=1).splitlines()[2:]
    assert told == [
        "warning: refs.eval-job: found 5,000 times; nothing",
        "    table evals, e0: its job is gone",
        "    and more",
    ]


def test_a_line_has_the_first_error() -> None:
    assert REPORT.to_line() == (
        "backups/monday.snap: not ok; 2 errors, 1 warning, 1 note; "
        "error: archive.hash: state.bin: hash check failed; fetch the file again"
    )
    assert Report("a", (ORPHAN,)).to_line() == "a: ok; 1 warning"


# -- JUnit

TOKEN = re.compile(r"\S+( \S+)*")
#: Of Ant's schema (JUnit.xsd), the stricter one: attributes of each element, and what they look like.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "testsuites": {},
    "testsuite": {
        "name": TOKEN.pattern,
        "package": TOKEN.pattern,
        "id": r"\d+",
        "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
        "hostname": "localhost",
        "tests": r"\d+",
        "failures": r"\d+",
        "errors": r"\d+",
        "time": "0",
    },
    "properties": {},
    "property": {"name": TOKEN.pattern, "value": ".*"},
    "testcase": {"name": TOKEN.pattern, "classname": TOKEN.pattern, "time": "0"},
    "failure": {"type": "error|warning|note", "message": ".*"},
    "error": {"type": "unread", "message": ".*"},
    "system-out": {},
    "system-err": {},
}
#: The children of each, in order, a space after each name.
CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"properties (testcase )*system-out system-err ",
    "properties": r"(property )*",
    "testcase": r"((failure|error) )?",
}


def valid(text: str) -> ET.Element:
    """The root of JUnit XML, once it was held to the schema, and its counts to what is in it."""
    root = ET.fromstring(text.encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        assert element.attrib.keys() == ATTRIBUTES[element.tag].keys()
        for name, value in element.attrib.items():
            assert re.fullmatch(ATTRIBUTES[element.tag][name], value), (element.tag, name, value)
        assert re.fullmatch(CHILDREN.get(element.tag, ""), "".join(f"{child.tag} " for child in element))
        if element.tag in ("testsuites", "testsuite", "properties", "testcase"):
            assert not (element.text or "").strip()
    for number, suite in enumerate(root):
        found = {"id": number, "tests": len(suite.findall("testcase"))}
        found |= {"failures": len(suite.findall(".//failure")), "errors": len(suite.findall(".//error"))}
        assert {name: int(suite.attrib[name]) for name in found} == found
        cases = [case.attrib["name"] for case in suite.findall("testcase")]
        assert cases
        assert len(cases) == len(set(cases))
    return root


def test_junit_has_a_case_for_each_check_that_ran_or_found_something() -> None:
    [suite] = valid(REPORT.to_junit(now=NOW))
    assert suite.attrib["name"] == "backups/monday.snap"
    assert suite.attrib["timestamp"] == "2026-11-24T08:00:00"
    cases = {case.attrib["name"]: case for case in suite.findall("testcase")}
    assert list(cases) == ["archive.size", "archive.hash", "refs.eval-job", "state.deletion"]
    [failure] = suite.findall(".//failure")
    assert failure in list(cases["archive.hash"])
    assert failure.attrib == {"type": "error", "message": "state.bin: hash check failed (and 1 more)"}
    assert failure.text == f"{HASH}\n{HASH_TOO}"
    assert suite.findtext("system-out") == f"{ORPHAN}\n{DELETION}"
    properties = {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")}
    assert properties["sha256 state.bin"] == "b" * 64
    assert properties["snapshot"].startswith("2-96-1795471716265")


@pytest.mark.parametrize(("fail_on", "failing"), [("error", 1), ("warning", 2), ("note", 3)])
def test_junit_fails_from_a_severity_on(fail_on: Severity, failing: int) -> None:
    [suite] = valid(REPORT.to_junit(fail_on=fail_on))
    assert int(suite.attrib["failures"]) == failing
    out = (suite.findtext("system-out") or "").splitlines()
    assert len(out) == 3 - failing


def test_junit_has_a_suite_for_each_source_and_an_error_for_what_could_not_be_read() -> None:
    root = valid(junit([CLEAN, REPORT], [Unread("gone.snap", "gone.snap: can't be read")], now=NOW))
    assert [suite.attrib["name"] for suite in root] == ["clean.snap", "backups/monday.snap", "gone.snap"]
    [error] = root.iter("error")
    assert error.attrib["message"] == "gone.snap: can't be read"
    assert len(valid(junit([]))) == 0


def test_junit_times_are_utc() -> None:
    east = datetime(2026, 11, 24, 9, 30, tzinfo=timezone(timedelta(hours=1, minutes=30)))
    assert CLEAN.to_junit(now=east) == CLEAN.to_junit(now=NOW)
    assert CLEAN.to_junit() != CLEAN.to_junit(now=NOW)


# -- HTML


class Page(HTMLParser):
    """A page's tags, each closed by its own, and its text."""

    VOID: tuple[str, ...] = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_has_all_and_needs_nothing() -> None:
    found = Page(page([REPORT, CLEAN], [Unread("gone.snap", "can't be read")]))
    for text in (*(getattr(f, n) for f in REPORT.found for n in ("check", "place", "message", "advice")), "gone.snap"):
        assert text in found.text
    assert MEMBERS[0].sha256 in found.text
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "a"}
    attributes = {name for _, attributes in found.tags for name in attributes}
    assert attributes <= {"lang", "charset", "name", "content", "http-equiv", "style"}
    text = page([REPORT])
    assert "default-src 'none'" in text
    assert "color-scheme:light dark" in text
    assert not re.search(r"https?:|url\(|@import", text)


Colour = tuple[float, float, float]

#: What is behind a text, and the colour of the text around it: in pages, and in JupyterLab's themes.
PLACES: dict[str, tuple[Colour, Colour]] = {
    "white": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    "black": ((0.07, 0.07, 0.07), (1.0, 1.0, 1.0)),
    "a row in light": ((0.96, 0.96, 0.96), (0.13, 0.13, 0.13)),
    "a row in dark": ((0.13, 0.13, 0.13), (0.87, 0.87, 0.87)),
}


def contrast(colour: Colour, ground: Colour) -> float:
    def light(rgb: Colour) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted([light(colour), light(ground)], reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("place", PLACES)
def test_its_colours_read_in_light_and_dark(place: str) -> None:
    ground, around = PLACES[place]
    colours = set(re.findall(r'[";]color:color-mix\(in srgb,#([0-9a-f]{6}) (\d\d)%,currentColor\)', REPORT.to_html()))
    assert len(colours) == 3
    for colour, share in colours:
        own = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (
            mine * int(share) / 100 + other * (1 - int(share) / 100) for mine, other in zip(own, around, strict=True)
        )
        assert contrast((red, green, blue), ground) >= 4.5, colour


def test_a_cell_shows_some_and_says_how_many_are_left() -> None:
    many = Report("many", (ORPHAN,) * 250)
    assert Page(many._repr_html_()).text.count(ORPHAN.place) == 20
    assert "230 more findings" in many._repr_html_()
    assert Page(many.to_html()).text.count(ORPHAN.place) == 250
    assert "<html" not in many._repr_html_()
    assert "<style" not in many._repr_html_()


def verdict(*severities: Severity, levels: tuple[str, ...] = LEVELS, target: str = "") -> str:
    found = tuple(Finding("a", severity, "p", "m", "d") for severity in severities)
    return Report("s", found, target, levels=levels).verdict


def test_its_verdict_says_no_more_than_was_checked() -> None:
    assert verdict() == verdict("note") == "It would restore."
    assert verdict("warning", "note", target="1.6.2") == "It would restore into 1.6.2, with surprises."
    assert verdict("note", "error") == "It would not restore, or data would be lost."
    assert verdict(levels=LEVELS[:2]) == "It would restore, as far as its archive and framing tell."
    assert verdict("error", levels=(*LEVELS, "preflight")).endswith("; a restore is not begun.")
    assert verdict(levels=(*LEVELS, "preflight")) == "It would restore."
    assert verdict(levels=("check",)) == "The live state is as it should be."
    assert verdict("error", levels=("check",)) == "The live state is not as it should be."


# -- whatever an archive holds


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("form", FORMATS)
def test_control_characters_get_nowhere(form: str) -> None:
    text = FORMATS[form](EVIL)
    assert harmless(text)
    text.encode("utf-8")
    if form in ("text", "line", "repr"):
        assert len(text.rstrip("\n").splitlines()) == (4 if form == "text" else 1)
    if form == "junit":
        valid(text)
        assert harmless("".join(ET.fromstring(text).itertext()))
    if form in ("html", "fragment"):
        found = Page(text)
        assert "script" not in {tag for tag, _ in found.tags}
        assert "</script><b>" in found.text


@pytest.mark.parametrize("form", ["junit", "html"])
def test_what_is_marked_up_is_ascii_and_loses_nothing(form: str) -> None:
    text = FORMATS[form](Report("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n \N{SNOWMAN}", ()))
    assert text.isascii()
    shown = valid(text)[0].attrib["name"] if form == "junit" else Page(text).text
    assert "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n \N{SNOWMAN}" in shown


TEXTS = st.text(max_size=20)
FINDINGS = st.builds(Finding, TEXTS, st.sampled_from(SEVERITIES), TEXTS, TEXTS, TEXTS)
MADE = st.builds(
    Report,
    TEXTS,
    st.lists(FINDINGS, max_size=4).map(tuple),
    TEXTS,
    TEXTS,
    TEXTS,
    st.lists(st.builds(Member, TEXTS, st.integers(0, 9), st.just("c" * 64)), max_size=2).map(tuple),
)


@given(MADE)
def test_any_report_is_well_formed_and_the_same_twice(report: Report) -> None:
    again = Report(*(getattr(report, name) for name in Report.__slots__))
    for form in FORMATS.values():
        assert harmless(form(report))
        assert form(report) == form(again)
    suites = valid(report.to_junit())
    assert bool(list(suites.iter("failure"))) is not report.ok
    Page(report.to_html())
    data: Any = report.to_json()
    assert [f["message"] for f in data["findings"]] == [plain(f.message) for f in report.found]
