"""What browsing 100,000 allocations costs: in a real JupyterLab, driven by a real Chromium as a person would.

    python -m bench.browse --write bench/browse-results.md
    python -m bench.browse --archive many.snap   # one that was kept by --keep many.snap: making it takes minutes

The aims: a filter is answered in under a second on the user's side, opening adds at most 200 MB to the kernel, and the
saved notebook stays under 1 MB, also where Lab saves the widgets' state. The allocations are those of Friday's archive
many times over, each with ids, names and times of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import snapkit
from bench.grow import Copier
from bench.speed import SMALL
from bench.turns import publish
from snapkit.format import archive
from snapkit.format.schema import BY_TABLE
from snapkit.jupyter import prepare_lab
from tests.browser.driving import CHROMIUM, PANEL, SCREEN, TOKEN, Lab, run_all, running_lab, wait_until_idle

ALLOC = BY_TABLE["allocs"].byte
MANY = "many.snap"
#: What is typed, one after the other.
WORDS = ("web", "front running", "2026-11", "a1b2", "encode", "nothing-has-this", "complete", "JobID=web")
SETUP = """
def memory():
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return {name: int(lines[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile")}

import snapkit
snap = snapkit.open("many.snap")
print(memory())
"""
#: From the key that is pressed to rows that are seen.
FILTER = """
word => new Promise(done => {
    const rows = document.querySelector('.snapkit-rows');
    const [field, grid, status] = ['input', '[role=grid]', '[role=status]'].map(each => rows.querySelector(each));
    const start = performance.now();
    new MutationObserver((_, watcher) => {
        if (grid.getAttribute('aria-busy') !== 'false') return;
        watcher.disconnect();
        requestAnimationFrame(() => setTimeout(() => done([performance.now() - start, status.textContent])));
    }).observe(grid, {attributeFilter: ['aria-busy']});
    field.value = word;
    field.dispatchEvent(new Event('input'));
})
"""


def many(target: Path, count: int) -> None:
    """Friday's archive with so many allocations."""
    with snapkit.open(SMALL) as snapshot, tempfile.TemporaryFile() as state:
        allocs = [bytes(value) for byte, value in snapshot.raw() if byte == ALLOC]
        copier = Copier({str(name).encode() for name in snapshot.allocs["Name"]}, 0)
        state.write(snapshot.header)
        for byte in dict.fromkeys(byte for byte, _ in snapshot.raw()):
            if byte == ALLOC:
                for number in range(count):
                    turn, place = divmod(number, len(allocs))
                    state.write(bytes([byte]) + copier.copy(byte, allocs[place], turn))
            else:
                state.writelines(bytes([byte]) + bytes(value) for other, value in snapshot.raw() if other == byte)
        size = state.tell()
        state.seek(0)
        pieces = iter(lambda: state.read(1 << 20), b"")
        archive.write(target, snapshot.archive.meta, pieces, size, overwrite=True)


@contextmanager
def saving_lab(folder: Path) -> Iterator[Lab]:
    """A JupyterLab that saves the state of widgets."""
    notebooks = prepare_lab(folder)
    settings = folder / "config/lab/user-settings/@jupyter-widgets/jupyterlab-manager/plugin.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"saveState": True}))
    with running_lab(folder, notebooks) as lab:
        yield lab


def measure(lab: Lab, rounds: int) -> dict[str, Any]:
    """Open the browser, its allocations and one of them; filter; save."""
    from playwright.sync_api import sync_playwright

    name = lab.write("browse", SETUP, "browser = snapkit.browse(snap)\nbrowser", "memory()")
    found: dict[str, Any] = {"filters": {word: [] for word in WORDS}}
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_context(viewport=SCREEN).new_page()  # type: ignore[arg-type]
        page.set_default_timeout(300_000)
        page.goto(f"{lab.address}/lab/workspaces/bench/tree/{name}?token={TOKEN}&reset")
        wait_until_idle(page)
        run_all(page)
        cells = page.locator(f"{PANEL} .jp-CodeCell")
        found["before"] = json.loads(cells.nth(0).locator(".jp-OutputArea-output").inner_text().replace("'", '"'))
        status = page.locator(".snapkit-rows [role=status]")
        started = time.perf_counter()
        page.locator(".snapkit-tables .snapkit-row").filter(has_text="allocs").first.click()
        page.wait_for_function(
            "() => /^\\d\\d+,\\d{3} rows$/.test(document.querySelector('.snapkit-rows [role=status]').textContent)"
        )
        found["opening"] = time.perf_counter() - started
        found["rows"] = status.inner_text()
        page.wait_for_timeout(1000)
        for _ in range(rounds):
            for word in WORDS:
                milliseconds, told = page.evaluate(FILTER, word)
                found["filters"][word].append((milliseconds / 1000, told))
                page.wait_for_timeout(200)
        page.locator(".snapkit-rows .snapkit-row").first.click()
        page.locator(".snapkit-tree summary").first.wait_for()
        cells.nth(2).click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(1000)
        wait_until_idle(page)
        found["after"] = json.loads(cells.nth(2).locator(".jp-OutputArea-output").inner_text().replace("'", '"'))
        page.keyboard.press("Control+s")
        page.wait_for_timeout(3000)
        chromium.close()
    saved = (lab.folder / name).read_text(encoding="utf-8")
    found["saved"] = len(saved.encode())
    found["state"] = len(json.dumps(json.loads(saved)["metadata"].get("widgets", "")))
    return found


def report(found: dict[str, Any]) -> str:
    """The figures as a page."""
    added = {name: found["after"][name] - found["before"][name] for name in found["before"]}
    slowest = max(seconds for times in found["filters"].values() for seconds, _ in times)
    count = found["rows"].removesuffix(" rows")
    lines = [
        "# Browsing",
        "",
        f"Of an archive with {count} allocations, Friday's many times over ({found['bytes'] / 1e6:,.0f} MB of state),",
        "in JupyterLab and Chromium, by `python -m bench.browse`.",
        f"{os.cpu_count()} cores, Python {platform.python_version()}. {found['note']}".rstrip(),
        "",
        "| what | figure | aim |",
        "| --- | --- | --- |",
        f"| the slowest filter, from key to rows that are seen | {slowest:.2f} s | 1 s |",
        f"| memory that browser, allocations and one record add to the kernel | {added['RssAnon']} MB | 200 MB |",
        f"| the first look at the table of allocations, all of which are read | {found['opening']:.1f} s | |",
        f"| the saved notebook, with the widgets' state | {found['saved'] / 1e6:.2f} MB | 1 MB |",
        f"| of that, the widgets' state | {found['state'] / 1e6:.2f} MB | |",
        "",
        "Memory is what the kernel has for itself (RssAnon). It also maps the state from a temporary file,",
        f"{added['RssFile']} MB of it, which the system takes back when it needs room.",
        "",
        "| filter | rows | median, s | slowest, s |",
        "| --- | --- | --- | --- |",
    ]
    for word, times in found["filters"].items():
        seconds = [each for each, _ in times]
        rows = times[-1][1].split(" of ")[0].removesuffix(" rows")
        lines.append(f"| `{word}` | {rows} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |")
    return "\n".join([*lines, "", "Of each filter, 0.12 s pass before it is asked: a person may type on.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--archive", type=Path, help="one that was kept")
    parser.add_argument("--keep", type=Path, help="keep the archive there")
    parser.add_argument("--note", default="", help="a sentence about the machine")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.archive:
            shutil.copyfile(options.archive, folder / MANY)
        else:
            many(folder / MANY, options.count)
        if options.keep:
            shutil.copyfile(folder / MANY, options.keep)
        with saving_lab(folder) as lab:
            found = measure(lab, options.rounds)
        with snapkit.open(folder / MANY) as snapshot:
            found |= {"bytes": snapshot.meta.size, "note": options.note}
    page = report(found)
    publish(page, options.write)


if __name__ == "__main__":
    main()
