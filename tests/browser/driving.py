"""What a person does in JupyterLab, as functions of a page of a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from snapkit.jupyter import lab_command, lab_environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "for-this-test-alone"
PICTURES = os.environ.get("SNAPKIT_SCREENSHOTS")  # a folder to put the README's pictures in
THEMES = ("JupyterLab Dark", "JupyterLab Light")
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
SCREEN = {"width": 1366, "height": 900}
WAIT = 60_000  # milliseconds


@dataclass
class Lab:
    """A JupyterLab that runs: where it is, and the folder that it shows."""

    address: str
    folder: Path

    def write(self, name: str, *cells: str) -> str:
        """A notebook of these cells; its path below the folder."""
        kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=kernel), self.folder / f"{name}.ipynb")
        return f"{name}.ipynb"

    @contextmanager
    def page(self, browser: Any, path: str = "") -> Iterator[Any]:
        """A page of its own on a file, a notebook's kernel being ready; in the end, nothing may be on the console."""
        context = browser.new_context(viewport=SCREEN)
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        workspace = "".join(c if c.isalnum() else "-" for c in path) or "plain"
        page.goto(f"{self.address}/lab/workspaces/{workspace}{f'/tree/{path}' if path else ''}?token={TOKEN}&reset")
        if path.endswith(".ipynb"):
            wait_until_idle(page)
        yield page
        context.close()
        assert not errors


@contextmanager
def running_lab(folder: Path, notebooks: Path) -> Iterator[Lab]:
    """JupyterLab on a folder of notebooks, with settings of its own below `folder`."""
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
        yield Lab(address, folder)
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def wait_until_idle(page: Any) -> None:
    page.wait_for_function(
        "() => document.querySelector('#jp-main-statusbar')?.innerText.includes('(ipykernel) | Idle')", timeout=WAIT
    )


def run_all(page: Any) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('[data-command="runmenu:run-all"]').click()
    page.wait_for_function(
        """() => {
            const panel = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)');
            const prompts = [...panel.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.textContent.trim());
            return prompts.length > 0 && prompts.every(p => /^\\[\\d+\\]:$/.test(p));
        }""",
        timeout=WAIT,
    )
    wait_until_idle(page)


def use_theme(page: Any, name: str) -> None:
    """A theme by its name, one of THEMES."""
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Theme", exact=True).hover()
    page.locator('[data-command="apputils:change-theme"]').filter(has_text=name).first.click()
    page.wait_for_function("n => document.body.dataset.jpThemeName === n", arg=name)


def picture(page: Any, name: str) -> None:
    """Keep what is seen as `name`.png, where pictures are wanted."""
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")
