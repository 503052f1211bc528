"""A report as a person reads it: a file opened in Chromium, in light and dark, and printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit.state.output.handout import handout
from tests.browser.contrast import faint
from tests.browser.driving import SCREEN, picture

from ..conftest import path_of

SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    handout(path_of("v2.0.5/wednesday"), path_of("v2.0.5/thursday"), key="fixed").save(path)
    return path


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_reads_in_light_and_dark(scheme: str, report: Path, browser: Any) -> None:
    context = browser.new_context(viewport=SCREEN, color_scheme=scheme, java_script_enabled=False)
    asked: list[str] = []
    said: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.goto(report.as_uri())
    assert page.get_by_role("heading", level=1).inner_text().startswith("Nomad snapshots ")
    assert page.get_by_role("navigation", name="Contents").get_by_role("link").count() == 9
    page.get_by_role("link", name="Who holds strong tokens").click()
    assert page.get_by_role("heading", name="Who holds strong tokens").is_visible()
    tokens = page.get_by_role("table", name="Tokens and others")
    assert tokens.get_by_role("row").filter(has_text="Bootstrap Token").get_by_role("cell").nth(1).inner_text() == (
        "everything (management)"
    )
    drawn = page.get_by_role("img", name="events by kind")
    assert drawn.is_visible()
    drawn.scroll_into_view_if_needed()
    picture(page, {"light": "report", "dark": "report-dark"}[scheme])
    assert faint(page.locator("body")) == []
    context.close()
    assert said == []
    assert asked == [report.as_uri()]  # and nothing else


PAGES = {
    "verify": lambda: snapkit.verify(path_of("v2.0.5/thursday"), target="1.6.2").to_html(),
    "diff": lambda: snapkit.compare(path_of("v2.0.5/tuesday"), path_of("v2.0.5/wednesday"), key="fixed").to_html(),
}


@pytest.mark.parametrize("name", PAGES)
def test_other_pages_read_in_light_and_dark(name: str, browser: Any) -> None:
    for scheme in SCHEMES:
        context = browser.new_context(viewport=SCREEN, color_scheme=scheme)
        page = context.new_page()
        page.set_content(PAGES[name]())
        picture(page, f"page-{name}" if scheme == "light" else f"page-{name}-dark")
        assert faint(page.locator("body")) == []
        context.close()


def test_it_follows_the_scheme(report: Path, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 480, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.goto(report.as_uri())
    ink = "getComputedStyle(document.body).color"
    assert page.evaluate(ink) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ink) == "rgb(0, 0, 0)"
    context.close()


def test_it_prints_to_a_pdf_with_all_its_text_in_it(report: Path, browser: Any) -> None:
    pypdf = pytest.importorskip("pypdf")
    context = browser.new_context(viewport={"width": 688, "height": 1000}, color_scheme="dark")
    page = context.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"  # ink on white paper
    assert not page.get_by_role("navigation").is_visible()
    assert page.evaluate(
        "[...document.querySelectorAll('table, svg')].every(t => t.getBoundingClientRect().right <= 688)"
    )
    target = report.with_suffix(".pdf")
    page.pdf(path=target, format="A4", prefer_css_page_size=True)
    context.close()
    pages = [found.extract_text() for found in pypdf.PdfReader(target).pages]
    text = " ".join(" ".join(pages).replace("\N{LATIN SMALL LIGATURE FI}", "fi").split())
    for words in (
        "Is it whole, and will it restore?",
        "svc-backup",
        "metrics-agent",
        "acl_token.deleted",
        "About this page",
    ):
        assert words in text
    assert sum("When (UTC)" in found for found in pages) > 1  # a table's head is on each of its pages
