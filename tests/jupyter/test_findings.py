"""A report to click through: the worst first, narrowed by severity and words, and what it says of a restore."""

from __future__ import annotations

import re

import pytest

import snapkit
from snapkit.jupyter.findings import ReportBrowser
from snapkit.state.findings.report import Finding, Report

from ..conftest import path_of

pytest.importorskip("ipywidgets")

NOTE = Finding("state.deletion", "note", "table jobs", "one was deleted", "nothing")
WARNING = Finding("refs.eval-job", "warning", "table evals, e1", "its job is not in the state", "it is collected")
ERROR = Finding("archive.hash", "error", "state.bin", "hash check failed", "fetch it again")
REPORT = Report("s.snap", (NOTE, WARNING, ERROR, WARNING))


def order(text: str) -> list[str]:
    return re.findall(r"\d+ (?:error|warning|note)s?", text)


def test_the_worst_come_first_and_each_says_what_it_means() -> None:
    browser = ReportBrowser(REPORT)
    assert order(browser.view.value) == ["1 error", "2 warnings", "1 note"]
    assert "it would not restore, or data would be lost" in browser.view.value
    assert "It would not restore, or data would be lost." in browser.to_html()
    for finding in REPORT.found:
        for part in (finding.check, finding.place, finding.message, finding.advice):
            assert part in browser.view.value


def test_it_narrows_by_severity_and_words() -> None:
    browser = ReportBrowser(REPORT)
    assert [name for name, _ in browser.severity.options] == ["all (4)", "error (1)", "warning (2)", "note (1)"]
    browser.severity.value = "warning"
    assert order(browser.view.value) == ["2 warnings"]
    browser.severity.value = ""
    browser.filter.value = "HASH again"
    assert order(browser.view.value) == ["1 error"]
    browser.filter.value = "hash collected"
    assert browser.view.value == "<p>No finding has all these words.</p>"


def test_a_sound_archive_has_nothing_to_narrow() -> None:
    browser = ReportBrowser(Report("s.snap", ()))
    assert browser.view.value == "<p>Nothing was found.</p>"
    assert "It would restore." in browser.to_html()
    assert len(browser.widget.children) == 2


def test_a_real_one_and_a_damaged_one() -> None:
    sound = ReportBrowser(snapkit.verify(path_of("v2.0.5/thursday")))
    assert "It would restore, with surprises." in sound.to_html()
    assert "default/metrics-agent" in sound.to_html()
    damaged = bytearray(path_of("v2.0.5/thursday").read_bytes())
    damaged[20_000] ^= 1
    assert "It would not restore" in ReportBrowser(snapkit.verify(damaged)).to_html()


def test_what_an_archive_holds_is_text() -> None:
    evil = "<script>alert('x')</script>\u202e"
    browser = ReportBrowser(Report(evil, (Finding(evil, "error", evil, evil, evil),) * 30, version_range=evil))
    for shown in (browser.to_html(), browser.view.value, repr(browser)):
        assert "\u202e" not in shown
        assert "<script" not in shown or shown == repr(browser)
    assert "and 18 more" in browser.to_html()


def test_of_very_long_texts_there_is_the_beginning() -> None:
    long = "x" * 1_000_000
    browser = ReportBrowser(Report("s.snap", (Finding("archive.hash", "error", long, long, long),)))
    for shown in (browser.to_html(), browser.view.value, browser.report._repr_html_()):
        assert "x" * 400 in shown
        assert len(shown) < 10_000
    assert long in browser.report.to_html()
