"""The notebooks in a real JupyterLab, driven by a real Chromium as a person would."""

import shutil

import pytest
from playwright.sync_api import expect

from tests.browser.contrast import faint
from tests.browser.driving import PANEL, PICTURES, THEMES, Lab, picture, run_all, use_theme, wait_until_idle

from ..conftest import ROOT

EXPECTED = {
    "01-open-and-verify": ["meta.json", "as promised", "masked:", "the file was cut short: fetch it again"],
    "02-explore-state": ["payments.ledger[0]", "137", "node-exporter", "storefront"],
    "03-compare-snapshots": [
        "31 added, 2 removed, 15 changed",
        "shop/web:1.5.0",
        "warm caches",
        "compare.other-cluster",
    ],
    "04-restore-runbook": ["rolled back and as it should be", "may go on", "psp/credentials"],
    "05-forensics": ["svc-backup", 'namespace "*" { policy = "write" }', "break glass", "stratum.example.invalid"],
    "06-fleet": ["wednesday.snap", "2026-11-28.snap", "evals only grows", "'svc-backup' (management) was deleted"],
}
#: Where the README's pictures begin: a heading in view.
SHOWN = {
    "01-open-and-verify": "The same with snapkit",
    "02-explore-state": "What failed, and why?",
    "03-compare-snapshots": "Which objects?",
    "04-restore-runbook": "The plan",
    "05-forensics": "When?",
    "06-fleet": "Since when was",
}


#: A person at the restore wizard.
WIZARD = """
import tempfile
from pathlib import Path

import snapkit
from snapkit.jupyter.wizard import RestoreWizard

cluster = snapkit.serve("data/v2.0.5/friday.snap")
client = snapkit.Client(cluster.address, token=cluster.token)
folder = Path(tempfile.mkdtemp(dir="."))
RestoreWizard(client, "data/v2.0.5/thursday.snap", folder / "restore.journal", patience=5)
"""


@pytest.mark.parametrize("notebook", sorted(EXPECTED))
def test_a_notebook_runs_and_shows_what_it_should(lab: Lab, browser, notebook: str) -> None:
    with lab.page(browser, f"notebooks/{notebook}.ipynb") as page:
        run_all(page)
        panel = page.locator(PANEL)
        for theme in THEMES:
            use_theme(page, theme)
            for text in EXPECTED[notebook]:
                assert panel.locator(".jp-OutputArea-output").filter(has_text=text).count() > 0, text
            if notebook != "04-restore-runbook":
                assert panel.locator(".jp-RenderedSVG img, .jp-RenderedSVG svg").count() > 0
            assert panel.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
            assert page.get_by_text("Jupyter news").count() == 0
            assert faint(panel.locator(".jp-OutputArea-output")) == []
            if PICTURES:
                heading = panel.get_by_role("heading").filter(has_text=SHOWN[notebook])
                for _ in range(3):  # what comes into view is drawn, and moves what is below
                    heading.evaluate("heading => heading.scrollIntoView({block: 'start'})")
                    page.wait_for_timeout(300)
                picture(page, notebook if theme.endswith("Light") else f"{notebook}-dark")


def test_a_notebook_that_nobody_ran_here_shows_what_it_holds(lab: Lab, browser) -> None:
    """JupyterLab trusts none, and shows of those neither widgets nor SVG."""
    shutil.copyfile(ROOT / "notebooks" / "02-explore-state.ipynb", lab.folder / "not-run.ipynb")
    with lab.page(browser, "not-run.ipynb") as page:
        outputs = page.locator(f"{PANEL} .jp-OutputArea-output")
        picture_ = outputs.locator("img")
        picture_.first.scroll_into_view_if_needed()
        expect(picture_.first).to_be_visible()
        expect(outputs.get_by_text("<Chart")).to_have_count(0)
        expect(outputs.locator(".snapkit-static")).to_be_visible()
        expect(outputs.locator(".snapkit-static").get_by_text("197 kB of state")).to_be_visible()
        assert faint(outputs) == []


def test_a_person_restores_with_the_wizard(lab: Lab, browser) -> None:
    with lab.page(browser, lab.write("wizard", WIZARD)) as page:
        run_all(page)
        output = page.locator(f"{PANEL} .jp-OutputArea-output")
        restore = output.get_by_role("button", name="2. Save the current state, then restore")
        assert restore.is_disabled()
        plan = output.get_by_role("button", name="1. See what a restore will do")
        plan.focus()
        page.keyboard.press("Space")  # as somebody without a mouse
        output.get_by_text("to confirm, type").wait_for(timeout=60_000)
        for theme in THEMES:
            use_theme(page, theme)
            assert faint(output) == []
        told = output.get_by_text("to confirm, type").first.inner_text()
        typed = output.get_by_placeholder("ClusterID, first 8 characters")
        typed.fill("yes")
        typed.press("Tab")
        wait_until_idle(page)
        assert restore.is_disabled()
        typed.fill(told.rpartition(" ")[2])
        typed.press("Tab")
        expect(restore).to_be_enabled()
        restore.click()
        output.get_by_text("The restore is at its end.").wait_for(timeout=60_000)
        assert output.get_by_text("restored", exact=True).count() > 0
        back = output.get_by_role("button", name="Roll back to the saved state")
        expect(back).to_be_enabled()
        back.click()
        output.get_by_text("rolled back", exact=True).first.wait_for(timeout=60_000)
