"""The bar in a real kernel: for long work alone, nothing of it is stored, and the stop button leaves nothing behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from snapkit.jupyter import progress
from snapkit.jupyter.progress import bar

from ..conftest import ROOT, path_of

manager = pytest.importorskip("jupyter_client.manager")

MONDAY, TUESDAY = path_of("v2.0.5/monday"), path_of("v2.0.5/tuesday")
SETUP = f"""
import os, tempfile, threading, time
import snapkit

class Slow:
    def __init__(self, path, pause):
        self.name, self.pause, self.file = "slow.snap", pause, open(path, "rb")

    def read(self, size=-1):
        time.sleep(self.pause)
        return self.file.read(256)

def left():
    links = [f"/proc/self/fd/{{name}}" for name in os.listdir("/proc/self/fd")]
    files = sorted(os.readlink(link) for link in links if os.path.exists(link) and "(deleted)" in os.readlink(link))
    return sorted(thread.name for thread in threading.enumerate()), files, os.listdir(tempfile.gettempdir())

monday = {os.fspath(MONDAY)!r}
tuesday = {os.fspath(TUESDAY)!r}
snap = snapkit.open(monday)
"""


class Kernel:
    """A kernel as JupyterLab has one."""

    def __init__(self, folder: Path) -> None:
        self._manager = manager.KernelManager(kernel_name="python3")
        self._manager.start_kernel(cwd=str(folder), env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)})
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(60)

    def run(self, code: str, *, stop_at: str = "") -> list[tuple[str, dict[str, Any]]]:
        """What a cell puts out: the kinds of messages and what is in them. The kernel is stopped at the first kind."""
        asked = self._client.execute(code)
        found: list[tuple[str, dict[str, Any]]] = []
        while True:
            message = self._client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return found
            if kind not in ("status", "execute_input"):
                found.append((kind, content))
                if kind == stop_at:
                    self._manager.interrupt_kernel()
                    stop_at = ""

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    try:
        assert kernel.run(SETUP) == []
        yield kernel
    finally:
        kernel.close()


def text_of(output: list[tuple[str, dict[str, Any]]]) -> str:
    return "".join(content["text"] for kind, content in output if kind == "stream")


def test_short_work_shows_nothing(kernel: Kernel) -> None:
    assert kernel.run("snapkit.open(monday).close(); report = snapkit.verify(monday)") == []


def test_long_work_shows_a_bar_of_which_nothing_is_stored(kernel: Kernel) -> None:
    place, *updates, last = kernel.run("snapkit.open(Slow(monday, 0.02)).close()")
    assert place[0] == "display_data"
    assert place[1]["data"] == {}, "a notebook's file has the place alone"
    assert updates
    assert all(kind == "update_display_data" for kind, _ in updates)
    assert all("<progress" in content["data"]["text/html"] for _, content in updates)
    assert all(content["data"]["text/plain"].startswith("Reading: ") for _, content in updates)
    assert last == ("update_display_data", place[1])


def test_work_in_a_thread_shows_none_and_is_done_all_the_same(kernel: Kernel) -> None:
    work = "thread = threading.Thread(target=lambda: snapkit.open(Slow(monday, 0.015)).close())"
    assert kernel.run(f"{work}; thread.start(); thread.join()") == []


class Dripping(BaseHTTPRequestHandler):
    """A server whose archive begins like one and has no end."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(MONDAY.read_bytes())
                time.sleep(0.02)
        except OSError:  # nobody listens any more
            pass

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def dripping() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


WORK = {
    "open": "snapkit.open(Slow(monday, 0.05))",
    "verify": "snapkit.verify(Slow(monday, 0.05))",
    "compare": "snapkit.compare(snap, Slow(tuesday, 0.05))",
    "timeline": "snapkit.timeline(snap, Slow(tuesday, 0.05))",
    "save": "snapkit.Client('{address}').save('saved.snap')",
    "live": "snapkit.Client('{address}').snapshot()",
}


@pytest.mark.parametrize("work", WORK)
def test_the_stop_button_stops_it_and_nothing_is_left(kernel: Kernel, work: str) -> None:
    before = text_of(kernel.run("print(left())"))
    with dripping() as address:
        output = kernel.run(WORK[work].format(address=address), stop_at="update_display_data")
    assert output[-1][0] == "error"
    assert output[-1][1]["ename"] == "KeyboardInterrupt"
    cleared = [content for kind, content in output if kind == "update_display_data"][-1]
    assert cleared["data"] == {}
    deadline = time.monotonic() + 5  # a thread that reads may be in the middle of it
    while (after := text_of(kernel.run("print(left())"))) != before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert after == before


def test_where_there_is_no_notebook_there_is_no_bar() -> None:
    with bar("Reading") as told:
        assert told is None


def test_what_is_shown_is_escaped_and_says_how_far() -> None:
    shown = progress._shown("Reading", (Path("<b>.snap"), b"bytes"), 30, 40, 12.3)
    assert shown["text/plain"] == "Reading <b>.snap: 75%, 12 s"
    assert "&lt;b&gt;.snap" in shown["text/html"]
    assert 'value="0.750"' in shown["text/html"]
    unknown = progress._shown("Saving", (), 1_234_567, None, 2)
    assert unknown["text/plain"] == "Saving: 1,234,567 bytes, 2 s"
    url = progress._shown("Reading", ("s3://user:word@bucket/key?sig=secret",), 0, None, 2)
    assert url["text/plain"].startswith("Reading s3://bucket/key:")
