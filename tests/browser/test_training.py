"""An exercise of the course in a real JupyterLab: run it, ask for a hint, answer wrongly, then rightly."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from snapkit.jupyter.training import prepare_training
from tests.browser.contrast import faint
from tests.browser.driving import PANEL, PICTURES, THEMES, Lab, picture, run_all, use_theme, wait_until_idle


@pytest.fixture(scope="module")
def course(lab: Lab) -> str:
    """A private copy below the lab's folder."""
    return prepare_training(lab.folder / "course").parent.name


def write(page: Any, cell: Any, code: str) -> Any:
    """Type into a cell in place of what it holds, and run it; its output."""
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")
    wait_until_idle(page)
    return cell.locator(".jp-OutputArea-output")


def test_a_learner_takes_an_exercise(lab: Lab, browser: Any, course: str) -> None:
    with lab.page(browser, f"{course}/02-read-one.ipynb") as page:
        run_all(page)
        panel = page.locator(PANEL)
        outputs = panel.locator(".jp-OutputArea-output")
        expect(outputs.get_by_text("Not yet.")).to_have_count(6)
        expect(outputs.get_by_text("Answer what somebody on call asks")).to_be_visible()
        first = panel.locator(".jp-CodeCell").filter(has_text='exercise.check("a", ...)')
        number = first.evaluate("cell => [...document.querySelectorAll('.jp-CodeCell')].indexOf(cell)")
        cell = page.locator(".jp-CodeCell").nth(number)
        expect(write(page, cell, 'exercise.hint("a")')).to_contain_text("Hint 1 of 2:")
        expect(write(page, cell, 'exercise.hint("a")')).to_contain_text("Hint 2 of 2:")
        wrong = write(page, cell, 'exercise.check("a", len(backup.allocs))')
        expect(wrong).to_contain_text("✗ Not yet. Those are all allocations.")
        right = write(page, cell, 'exercise.check("a", (backup.allocs["ClientStatus"] == "running").sum())')
        expect(right).to_contain_text("✔ Right. ClientStatus is what is")
        for theme in THEMES:
            use_theme(page, theme)
            assert faint(outputs) == []
            right.scroll_into_view_if_needed()
            picture(page, "training" if theme.endswith("Light") else "training-dark")


def test_the_first_page_shows_how_far_one_is_and_leads_on(lab: Lab, browser: Any, course: str) -> None:
    with lab.page(browser, f"{course}/00-start-here.ipynb") as page:
        run_all(page)
        table = page.locator(f"{PANEL} .jp-OutputArea-output table")
        expect(table.locator("tbody tr, tr").filter(has_text="The restore drill")).to_contain_text("0 of 3")
        for theme in THEMES if PICTURES else ():
            use_theme(page, theme)
            table.scroll_into_view_if_needed()
            picture(page, "training-start" if theme.endswith("Light") else "training-start-dark")
        page.locator(PANEL).get_by_role("link", name="What a snapshot is").click()
        expect(page.get_by_role("heading", name="1. What a snapshot is")).to_be_visible()
