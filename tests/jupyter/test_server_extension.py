"""The server extension in a real Jupyter server: who gets what of which file, and how it reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import requests

from snapkit.jupyter import lab_environment

from ..conftest import path_of
from .test_viewer import Page

pytest.importorskip("jupyter_server")

TOKEN = "for-this-test-alone"
HEADERS = {"Authorization": f"token {TOKEN}"}
LARGE = 256 << 30  # bytes: nobody reads that in a minute
FORBIDDEN = "X-Forbidden"  # a header that names what its sender may not do

#: A server, one of whose views stumbles over one file, and whose users may do what a header does not forbid.
SERVER = f"""
import sys
from jupyter_server.auth import Authorizer
from jupyter_server.serverapp import ServerApp
from snapkit.jupyter import viewer

class ByHeader(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return handler.request.headers.get("{FORBIDDEN}") != f"{{action}} {{resource}}"

def stumble(path, name, **_):
    if name == "stumble.snap":
        raise RuntimeError(f"at {{path}}")
    return summary(path, name, **_)

summary = viewer.summary
viewer.summary = stumble
ServerApp.authorizer_class = ByHeader
ServerApp.launch_instance(sys.argv[1:])
"""


class Server(NamedTuple):
    address: str
    folder: Path

    def ask(self, what: str, path: str | None, method: str = "GET", **options: Any) -> requests.Response:
        headers = HEADERS | options.pop("headers", {})
        params = {} if path is None else {"path": path}
        address = f"{self.address}/snapkit/{what}"
        return requests.request(method, address, params=params, headers=headers, timeout=60, **options)

    def html(self, what: str, path: str) -> str:
        response = self.ask(what, path)
        assert response.status_code == 200, response.text
        assert response.headers["Content-Type"] == "application/x-ndjson"
        *far, last = map(json.loads, response.text.splitlines())
        assert all(answer.keys() == {"done", "total"} for answer in far)
        return last["html"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    above = tmp_path_factory.mktemp("jupyter")
    folder = above / "root"
    (folder / "below" / ".hidden").mkdir(parents=True)
    (folder / "below" / "directory.snap").mkdir()
    for name in ("outside.snap", "root/friday.snap", "root/below/ž ü#?&.snap", "root/.secret.snap", "root/ x .snap "):
        shutil.copyfile(path_of("v2.0.5/friday"), above / name)
    shutil.copyfile(path_of("v2.0.5/friday"), folder / "below" / ".hidden" / "friday.snap")
    shutil.copyfile(path_of("v2.0.5/friday"), folder / "stumble.snap")
    (folder / "link.snap").symlink_to(above / "outside.snap")
    (folder / "dangling.snap").symlink_to("nowhere.snap")
    os.mkfifo(folder / "pipe.snap")
    shutil.copyfile(path_of("v2.0.5/friday"), folder / "large.snap")
    os.truncate(folder / "large.snap", LARGE)  # the rest are zeros that take no room
    environment = lab_environment() | {
        "JUPYTER_CONFIG_DIR": str(above / "config"),
        "JUPYTER_DATA_DIR": str(above / "share"),
        "JUPYTER_RUNTIME_DIR": str(above / "runtime"),
    }
    options = [f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={TOKEN}", "--ServerApp.open_browser=False"]
    options += ["--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    with (above / "log").open("wb") as log:
        words = [sys.executable, "-c", SERVER, *options]
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, cwd=above)
    try:
        for _ in range(600):
            try:
                [found] = (above / "runtime").glob("jpserver-*.json")
                address = json.loads(found.read_text())["url"].rstrip("/")
                break
            except ValueError:  # not there, or not written to its end
                assert process.poll() is None, (above / "log").read_text()
                time.sleep(0.1)
        yield Server(address, folder)
    finally:
        process.terminate()
        process.wait(20)


def test_it_answers_with_html_in_lines_of_json(server: Server) -> None:
    for name in ("friday.snap", "/friday.snap", "below/ž ü#?&.snap"):
        page = Page(server.html("summary", name))
        assert "✓ Whole:" in page.words
        assert name.rpartition("/")[2] in page.words
    assert "Every record verified" in Page(server.html("verify", "friday.snap")).words
    assert str(server.folder) not in server.html("summary", "friday.snap") + server.html("verify", "friday.snap")


ALL = [("GET", "summary"), ("GET", "verify"), ("POST", "notebook")]


@pytest.mark.parametrize(("method", "what"), ALL)
def test_nobody_is_answered_who_is_not_known_or_not_allowed(server: Server, method: str, what: str) -> None:
    before = sorted(server.folder.iterdir())
    for path in ("friday.snap", "gone.snap"):  # not even whether there is such a file
        for token in ("", "token wrong"):
            response = server.ask(what, path, method, headers={"Authorization": token})
            assert response.status_code == 403
            assert "friday" not in response.text
        action = "read contents" if method == "GET" else "write contents"
        assert server.ask(what, path, method, headers={FORBIDDEN: action}).status_code == 403
    assert sorted(server.folder.iterdir()) == before


SHOWN = ["friday.snap", " x .snap ", "/friday.snap", "./friday.snap", "below//ž ü#?&.snap", "link.snap"]
NOT_SHOWN = [
    *("../outside.snap", "/../outside.snap", "below/../../outside.snap", "%2e%2e/outside.snap", "..\\outside.snap"),
    *("below/../friday.snap", "../root/friday.snap", "//../outside.snap", "./../outside.snap"),
    *(".secret.snap", "below/.hidden/friday.snap", "dangling.snap", "pipe.snap", "gone.snap", "friday.snap/x"),
    *("", "/", "..", "below", "below/directory.snap", "~/x.snap", "file:///etc/passwd", "s3://bucket/x.snap"),
    *("x\0.snap", "x" * 5000),
]


@pytest.mark.parametrize("path", SHOWN)
def test_it_reads_what_the_contents_manager_shows(server: Server, path: str) -> None:
    """Through a link as well: so does the contents manager."""
    quoted = quote(path.strip("/").replace("//", "/"))
    assert requests.get(f"{server.address}/api/contents/{quoted}?content=0", headers=HEADERS, timeout=60).ok
    assert "✓ Whole:" in server.html("summary", path)


@pytest.mark.parametrize("path", NOT_SHOWN)
def test_it_reads_nothing_else(server: Server, path: str) -> None:
    for method, what in ALL:
        response = server.ask(what, path, method)
        assert response.status_code == 404
        assert response.json()["message"] == "There is no such file here, or none that may be read."


def test_an_absolute_path_is_one_below_the_root(server: Server) -> None:
    assert server.ask("summary", str(server.folder / "friday.snap")).status_code == 404
    assert server.ask("summary", None).status_code == 400


def test_reading_keeps_nobody_waiting_and_ends_when_nobody_waits(server: Server) -> None:
    streams = [server.ask("summary", "large.snap", stream=True) for _ in range(2)]  # as many as are read at once
    try:
        lines = streams[0].iter_lines()
        far = [json.loads(next(lines)) for _ in range(2)]
        assert far[0]["total"] == LARGE
        assert far[0]["done"] <= far[1]["done"] < LARGE
        assert requests.get(f"{server.address}/api", timeout=5).status_code == 200
    finally:
        for stream in streams:
            stream.close()
    assert "✓ Whole:" in server.html("summary", "friday.snap")  # once there is room for it
    assert "Uncaught" not in (server.folder.parent / "log").read_text()


def test_a_server_starts_without_waiting_for_pandas() -> None:
    code = "import sys, snapkit.jupyter.server; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


def test_what_goes_wrong_in_snapkit_is_one_sentence(server: Server) -> None:
    lines = server.ask("summary", "stumble.snap").text.splitlines()
    message = json.loads(lines[-1])["message"]
    assert message.startswith("snapkit stumbled over stumble.snap")
    assert "RuntimeError" in (server.folder.parent / "log").read_text()
    assert "Traceback" not in "".join(lines)
    assert str(server.folder) not in "".join(lines)


def test_a_notebook_is_made_beside_the_file(server: Server) -> None:
    (server.folder / "below" / "new").mkdir()
    shutil.copyfile(path_of("v2.0.5/friday"), server.folder / "below" / "new" / "friday.snap")
    for expected in ("below/new/friday.ipynb", "below/new/friday-2.ipynb"):
        response = server.ask("notebook", "below/new/friday.snap", "POST")
        assert (response.status_code, response.json()) == (201, {"path": expected})
        assert (server.folder / expected).is_file()
    assert server.ask("notebook", "friday.snap", "GET").status_code == 405


def test_what_keeps_a_notebook_from_being_made_is_one_sentence(server: Server) -> None:
    name = f"{'x' * 250}.snap"  # as long as a name may be; .ipynb is longer
    shutil.copyfile(path_of("v2.0.5/friday"), server.folder / "below" / name)
    response = server.ask("notebook", f"below/{name}", "POST")
    said = response.json()["message"]
    assert (response.status_code, said) == (
        409,
        f"{'x' * 250}.ipynb: can't be written (File name too long); choose a name and a folder that you may write to",
    )
