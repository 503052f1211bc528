"""The notebooks in a real JupyterLab, driven by a real Chromium as a person would."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import nbformat
import pytest

from snapkit.jupyter import lab_command, lab_environment, prepare_lab

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")]

TOKEN = "for-this-test-alone"
PICTURES = os.environ.get("SNAPKIT_SCREENSHOTS")  # a folder to put the README's pictures in
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
}
#: Where the README's pictures begin: a heading in view.
SHOWN = {
    "01-open-and-verify": "The same with snapkit",
    "02-explore-state": "What failed, and why?",
    "03-compare-snapshots": "Which objects?",
    "04-restore-runbook": "The plan",
    "05-forensics": "When?",
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


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("lab")
    notebooks = prepare_lab(folder)
    for path in notebooks.glob("*.ipynb"):  # so that what is seen was computed now
        notebook = json.loads(path.read_text())
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
        path.write_text(json.dumps(notebook))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    cells = [nbformat.v4.new_code_cell(WIZARD)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "wizard.ipynb")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [f"--ServerApp.port={port}", "--ServerApp.open_browser=False", f"--IdentityProvider.token={TOKEN}"]
    options += ["--allow-root", "--ServerApp.port_retries=0"]
    environment = lab_environment() | {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "share"),
    }
    log = (folder / "lab.log").open("wb")
    process = subprocess.Popen(lab_command(notebooks, options), stdout=log, stderr=log, env=environment, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "lab.log").read_text()
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


def wait_until_idle(page) -> None:
    page.wait_for_function(
        "() => document.querySelector('#jp-main-statusbar')?.innerText.includes('(ipykernel) | Idle')", timeout=60_000
    )


def run_all(page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('[data-command="runmenu:run-all"]').click()
    page.wait_for_function(
        """() => {
            const panel = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)');
            const prompts = [...panel.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.textContent.trim());
            return prompts.length > 0 && prompts.every(p => /^\\[\\d+\\]:$/.test(p));
        }""",
        timeout=60_000,
    )
    wait_until_idle(page)


def use_theme(page, name: str) -> None:
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Theme", exact=True).hover()
    page.locator('[data-command="apputils:change-theme"]').filter(has_text=name).first.click()
    page.wait_for_function("n => document.body.dataset.jpThemeName === n", arg=name)


@pytest.mark.parametrize("notebook", sorted(EXPECTED))
def test_a_notebook_runs_and_shows_what_it_should(lab: str, browser, notebook: str) -> None:
    context = browser.new_context(viewport={"width": 1366, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{lab}/lab/workspaces/{notebook}/tree/notebooks/{notebook}.ipynb?token={TOKEN}&reset")
    wait_until_idle(page)
    run_all(page)
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        use_theme(page, theme)
        for text in EXPECTED[notebook]:
            assert panel.locator(".jp-OutputArea-output").filter(has_text=text).count() > 0, text
        if notebook != "04-restore-runbook":
            assert panel.locator(".jp-RenderedSVG img, .jp-RenderedSVG svg").count() > 0
        assert panel.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
        assert page.get_by_text("Jupyter news").count() == 0
        if PICTURES:
            name = notebook if theme.endswith("Light") else f"{notebook}-dark"
            heading = panel.get_by_role("heading").filter(has_text=SHOWN[notebook])
            for _ in range(3):  # what comes into view is drawn, and moves what is below
                heading.evaluate("heading => heading.scrollIntoView({block: 'start'})")
                page.wait_for_timeout(300)
            page.screenshot(path=Path(PICTURES) / f"{name}.png")
    context.close()
    assert not errors


def test_a_person_restores_with_the_wizard(lab: str, browser) -> None:
    context = browser.new_context(viewport={"width": 1366, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{lab}/lab/workspaces/wizard/tree/wizard.ipynb?token={TOKEN}&reset")
    wait_until_idle(page)
    run_all(page)
    output = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output")
    restore = output.get_by_role("button", name="2. Save the current state, then restore")
    assert restore.is_disabled()
    plan = output.get_by_role("button", name="1. See what a restore will do")
    plan.focus()
    page.keyboard.press("Space")  # as somebody without a mouse
    output.get_by_text("to confirm, type").wait_for(timeout=60_000)
    told = output.get_by_text("to confirm, type").first.inner_text()
    typed = output.get_by_placeholder("ClusterID, first 8 characters")
    typed.fill("yes")
    typed.press("Tab")
    wait_until_idle(page)
    assert restore.is_disabled()
    typed.fill(told.rpartition(" ")[2])
    typed.press("Tab")
    playwright.expect(restore).to_be_enabled()
    restore.click()
    output.get_by_text("The restore is at its end.").wait_for(timeout=60_000)
    assert output.get_by_text("restored", exact=True).count() > 0
    back = output.get_by_role("button", name="Roll back to the saved state")
    playwright.expect(back).to_be_enabled()
    back.click()
    output.get_by_text("rolled back", exact=True).first.wait_for(timeout=60_000)
    context.close()
    assert not errors
