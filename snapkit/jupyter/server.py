"""A Jupyter server extension: tells what is in an archive to the viewer in JupyterLab (labextensions/snapkit).

The server reads a file where it lies, and only files that its own contents manager would give out: by its rules of
what is below its root and what is hidden, to who is authorized to read contents. It reads in threads, two files at a
time, and stops when nobody waits for the answer any more.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.services.contents.filemanager import FileContentsManager
from jupyter_server.utils import ApiPath, ensure_async, to_os_path, url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

from snapkit.errors import SnapshotError
from snapkit.version import __version__

__all__ = ["__version__"]  # `jupyter server extension list` shows it

T = TypeVar("T")

AT_ONCE = 2  # files
STEP = 0.25  # seconds between two words about how far it is
TYPE = "application/x-ndjson"
VIEWS = {"summary": "summary", "verify": "verified"}  # what is asked for -> the function of `viewer` that tells it


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "snapkit.jupyter.server"}]


def _load_jupyter_server_extension(app: Any) -> None:
    base = app.web_app.settings["base_url"]
    room = asyncio.Semaphore(AT_ONCE)
    views = [
        (url_path_join(base, "snapkit", name), ViewHandler, {"view": view, "room": room})
        for name, view in VIEWS.items()
    ]
    app.web_app.add_handlers(".*$", [*views, (url_path_join(base, "snapkit", "notebook"), NotebookHandler)])


class _GoneError(Exception):
    """Nobody waits for the answer."""


class _Handler(APIHandler):
    auth_resource = "contents"

    async def local(self) -> tuple[Path, str]:
        """The file that the argument `path` names, on this server's disk, and its name below the root.

        Raises:
            HTTPError: There is no such file, or it is not to be given out.
        """
        name = self.get_query_argument("path", strip=False).strip("/")
        manager: Any = self.contents_manager
        if not isinstance(self.contents_manager, FileContentsManager):
            raise web.HTTPError(404, "The files here are not on this server's disk: snapkit can't read them there.")
        try:
            shown = ".." not in name.split("/")
            shown &= manager.allow_hidden or not await ensure_async(manager.is_hidden(name))
            await ensure_async(manager.get(name, content=False, type="file"))
            path = Path(to_os_path(ApiPath(name), str(Path(manager.root_dir).absolute())))
            regular = stat.S_ISREG(path.stat().st_mode)  # a pipe would keep us waiting for its other end
        except (web.HTTPError, OSError, ValueError):
            shown = regular = False
        if not (shown and regular):
            raise web.HTTPError(404, "There is no such file here, or none that may be read.")
        return path, name


class ViewHandler(_Handler):
    """What is to be told of a file: lines of JSON, with `done` and `total` (bytes) while it is read, then `html`."""

    def initialize(self, view: str, room: asyncio.Semaphore) -> None:
        self.view = view
        self.room = room
        self.gone = threading.Event()

    def on_connection_close(self) -> None:
        self.gone.set()

    @web.authenticated
    @authorized
    async def get(self) -> None:
        path, name = await self.local()
        far = {"done": 0, "total": path.stat().st_size}

        def progress(done: int, total: int | None) -> None:
            if self.gone.is_set():
                raise _GoneError
            far["done"] = done

        self.set_header("Content-Type", TYPE)
        async with self.room:
            answer = _in_thread(lambda: getattr(_viewer(), self.view)(path, name, progress=progress))
            while not answer.done():
                await asyncio.wait([answer], timeout=STEP)
                await self._tell(far)
        try:
            last = {"html": answer.result()}
        except _GoneError:
            return
        except Exception:
            self.log.exception("snapkit could not read %s", name)
            last = {"message": f"snapkit stumbled over {name}: the Jupyter server's log says where. Please report it."}
        await self._tell(last)
        self.finish(set_content_type=TYPE)

    async def _tell(self, what: dict[str, Any]) -> None:
        try:
            self.write(json.dumps(what) + "\n")
            await self.flush()
        except StreamClosedError:
            self.gone.set()


class NotebookHandler(_Handler):
    """A new notebook beside a file: its `path`."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        path, name = await self.local()
        try:
            made = await _in_thread(lambda: _viewer().write_notebook(path))
        except SnapshotError as error:
            self.set_status(409)
            self.finish(json.dumps({"message": str(error).replace(f"{path.parent}{os.sep}", "")}))
            return
        self.set_status(201)
        self.finish(json.dumps({"path": "/".join([*name.split("/")[:-1], made.name])}))


def _viewer() -> ModuleType:
    """The module that tells; no server waits for it, and for pandas, before somebody opens an archive."""
    from snapkit.jupyter import viewer

    return viewer


def _in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Work done in a thread that, unlike those of a pool, does not keep a server from ending."""
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="snapkit-view", daemon=True).start()
    return asyncio.wrap_future(outcome)
