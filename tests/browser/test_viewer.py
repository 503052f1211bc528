"""A .snap file that is double-clicked in JupyterLab's file browser."""

import json
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.contrast import faint
from tests.browser.driving import PANEL, THEMES, WAIT, Lab, picture, run_all, use_theme, wait_until_idle

VIEWER = ".snapkit-Viewer:visible"
expect.set_options(timeout=WAIT)
WHOLE = "✓ Whole:", "the container is as a server takes it"
LARGE = 600 << 20  # bytes: more than a Jupyter server takes or likes to give in one piece


@pytest.fixture(scope="module")
def week(lab: Lab) -> Path:
    """A folder of archives, not all of them whole."""
    folder = lab.folder / "week"
    folder.mkdir()
    shutil.copyfile(lab.folder / "data" / "v2.0.5" / "friday.snap", folder / "friday.snap")
    (folder / "friday.ipynb").write_text("somebody's")
    whole = (folder / "friday.snap").read_bytes()
    (folder / "cut.snap").write_bytes(whole[: len(whole) // 2])
    (folder / "sealed.snap.age").write_bytes(b"age-encryption.org/v1\n-> X25519 bm9ib2R5\n")
    (folder / "large.snap").write_bytes(whole)
    with (folder / "large.snap").open("r+b") as file:
        file.truncate(LARGE)  # the rest are zeros that take no room
    return folder


def open_file(page: Page, name: str) -> None:
    page.locator(".jp-DirListing-item").filter(has_text=name).dblclick()


def test_a_double_click_shows_an_archive_and_leads_into_a_notebook(lab: Lab, browser, week: Path) -> None:
    with lab.page(browser, "week") as page:
        open_file(page, "friday.snap")
        viewer = page.locator(VIEWER)
        expect(viewer.get_by_role("heading", name="friday.snap")).to_be_visible()
        expect(viewer.get_by_text("✓ Whole:")).to_be_visible()
        expect(viewer.locator("time")).to_have_text("2026-11-23 22:09:20 UTC")
        expect(viewer.locator("time")).to_have_attribute("title", "11/23/2026, 10:09:20 PM UTC, your time")
        expect(viewer.get_by_role("row", name="allocs Alloc 18 147,867 54.0%")).to_be_visible()
        for theme in THEMES:
            use_theme(page, theme)
            expect(page.locator("#jupyterlab-splash")).to_have_count(0)
            assert faint(viewer) == []
            told, plain = (viewer.get_by_text(text).evaluate("e => getComputedStyle(e).color") for text in WHOLE)
            assert told != plain, "JupyterLab's sanitizer takes colours out of styles"
            picture(page, f"viewer-{theme.split()[1].lower()}")
        page.keyboard.press("Control+s")  # must never write
        viewer.get_by_role("button", name="Verify all").click()
        expect(viewer.get_by_role("heading", name="Every record verified")).to_be_visible()
        expect(viewer.get_by_role("button", name="Verify all")).to_be_enabled()
        viewer.get_by_role("button", name="Open in a notebook").focus()
        page.keyboard.press("Enter")  # as somebody without a mouse
        wait_until_idle(page)
        run_all(page)
        panel = page.locator(PANEL)
        expect(panel.locator(".jp-OutputArea-output").filter(has_text="job_versions").first).to_be_visible()
        expect(panel.locator('[data-mime-type="application/vnd.jupyter.error"]')).to_have_count(0)
        picture(page, "viewer-notebook")
        page.keyboard.press("Control+s")
    assert (week / "friday.ipynb").read_text() == "somebody's"
    assert json.loads((week / "friday-2.ipynb").read_text())["cells"]
    assert (week / "friday.snap").read_bytes() == (lab.folder / "data" / "v2.0.5" / "friday.snap").read_bytes()


def test_damage_and_encryption_are_told_and_no_content_goes_to_the_browser(lab: Lab, browser, week: Path) -> None:
    with lab.page(browser, "week") as page:
        asked: list[tuple[str, str]] = []
        sizes: list[int] = []
        page.on("request", lambda request: asked.append((request.method, request.url)))
        page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
        viewer = page.locator(VIEWER)
        open_file(page, "cut.snap")
        expect(viewer.get_by_text("✗ Damaged:")).to_be_visible()
        expect(viewer.get_by_text("cut short").first).to_be_visible()
        expect(viewer.get_by_text("snapkit verify cut.snap --salvage cut-salvaged.snap")).to_be_visible()
        picture(page, "viewer-damaged")
        open_file(page, "sealed.snap.age")
        expect(viewer.get_by_text("Encrypted (age):")).to_be_visible()
        expect(viewer.get_by_text("snapkit inspect sealed.snap.age --identity KEYFILE")).to_be_visible()
        picture(page, "viewer-encrypted")
        open_file(page, "large.snap")
        expect(viewer.get_by_text("of 629.1 MB")).to_be_visible()
        picture(page, "viewer-reading")
        viewer.get_by_role("button", name="Stop").focus()
        page.keyboard.press("Enter")
        expect(viewer.get_by_text("Stopped: reading was not finished.")).to_be_visible()
        picture(page, "viewer-stopped")
        expect(viewer.get_by_role("button", name="Read again")).to_be_focused()
        page.keyboard.press("Enter")
        expect(viewer.get_by_role("heading", name="large.snap")).to_be_visible()
        expect(viewer.get_by_text("✗ Damaged:")).to_be_visible()
        picture(page, "viewer-large")
    about = [(method, url) for method, url in asked if ".snap" in url]
    assert len(about) >= 6
    assert {method for method, _ in about} == {"GET"}, "nothing is saved, nor kept as a checkpoint"
    assert [url for _, url in about if "/files/" in url or "content=1" in url] == []
    contents = [url for _, url in about if "/api/contents/" in url and "/checkpoints" not in url]
    assert contents
    assert [url for url in contents if "content=0" not in url or "hash=1" in url] == []
    assert sum(sizes) < 20 << 20
    assert not list(week.rglob(".ipynb_checkpoints/*.snap*"))
