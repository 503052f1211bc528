"""What a real server does when a damaged archive is put to it, replayed against what was recorded: two minutes.

`SNAPKIT_VERDICTS=record` writes the oracle anew, by the server that NOMAD_BIN names (2.0.5: others differ).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue

import pytest
import requests

import snapkit
from tests.damage import DAMAGES, FRIDAY, Damage, again, damaged, whole

from ..conftest import ORACLES
from .servers import RealServer, bootstrap, newest, servers

ORACLE = ORACLES / "verdicts.json"
JUDGES = 4  # servers at a time: most of it is waiting

SNAPSHOT = "/v1/operator/snapshot"
SETTLED = 1.0  # seconds in which a server that took something in may yet die of it
PATIENCE = 10.0  # seconds until a leader that is not ready counts as locked

#: Friday with a namespace more: where that is gone, the state was swapped.
BEFORE = again("namespaces", {"Name": "before"}, Name="shop")(whole(FRIDAY))
#: In the names of damages that have a server each: one that held a key in memory would hide that it is missing.
OWN_SERVER = "root key"


@dataclass(frozen=True)
class Verdict:
    """What a server did.

    Attributes:
        verdict: `accepts`; `refuses`: an error, and the old state is there; `swapped`: an error, and the new state is
            there (and is served for five seconds: then the leader fails to establish itself again, and is not ready
            any more); `dies`; `locked`: the archive's tokens do not work, or the leader is not ready from the start.
        status: Of the answer; 0 without one.
        words: The answer's; or the last of a server that died.
    """

    verdict: str
    status: int
    words: str


@cache
def token_of(base: str) -> str:
    """The secret of a management token in a whole archive."""
    with snapkit.open(whole(base)) as snap:
        tokens = snap.table("acl_tokens", reveal=True)
        return str(tokens[tokens["Type"] == "management"]["SecretID"].iloc[0])


class Judge:
    """Puts one damaged archive after the other to a server, a new one whenever the last no longer works."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._running = ExitStack()
        self._server: RealServer | None = None
        self._token = ""

    def close(self) -> None:
        self._running.close()
        self._server = None

    def judge(self, damage: Damage) -> Verdict:
        server = self._ready(OWN_SERVER in damage.name)
        status, words = 0, ""
        try:
            answer = self._ask("PUT", SNAPSHOT, self._token, damaged(damage))
            status, words = answer.status_code, steady(answer.text.strip())
        except requests.RequestException:
            self._wait_for_end(server, PATIENCE)
        self._wait_for_end(server, SETTLED)
        if server.process.poll() is not None:
            words = self._last_words()
            self.close()
            return Verdict("dies", status, words)
        which = self._which_state(token_of(damage.base))
        if which == "old":
            return Verdict("refuses" if status != 200 else "ignores", status, words)
        if which == "new":
            self._token = token_of(damage.base)
            return Verdict("accepts" if status == 200 else "swapped", status, words)
        self.close()
        return Verdict("dies" if which == "dead" else "locked", status, words)

    def _ready(self, own: bool) -> RealServer:
        """A server that has the state before."""
        if own or self._server is None or not self._restored():
            self.close()
            folder = self._folder / str(self._count)
            folder.mkdir()
            self._count += 1
            (self._server,) = self._running.enter_context(servers(folder, 1))
            self._log = folder / "server0.log"
            self._token = bootstrap(self._server.address)
            if own:
                answer = self._ask("PUT", "/v1/namespace/before", self._token, b'{"Name": "before"}')
                assert answer.status_code == 200, answer.text
            else:
                assert self._restored()
        return self._server

    def _restored(self) -> bool:
        try:
            if self._ask("PUT", SNAPSHOT, self._token, BEFORE).status_code != 200:
                return False
        except requests.RequestException:
            return False
        self._token = token_of(FRIDAY)
        return self._which_state("") == "old"

    def _which_state(self, token: str) -> str:
        """`old` or `new`; `dead` or `locked` if it can't be had."""
        deadline = time.monotonic() + PATIENCE
        assert self._server is not None
        while time.monotonic() < deadline:
            try:
                marker = self._ask("GET", "/v1/namespace/before", self._token)
                if marker.status_code == 200:
                    return "old"
                if token and self._ask("GET", "/v1/nodes", token).status_code == 200:
                    return "new"
            except requests.RequestException:
                pass
            if self._server.process.poll() is not None:
                return "dead"
            time.sleep(0.2)
        return "locked"

    def _ask(self, method: str, path: str, token: str, data: bytes | None = None) -> requests.Response:
        assert self._server is not None
        headers = {"X-Nomad-Token": token}
        return requests.request(method, self._server.address + path, data=data, headers=headers, timeout=60)

    def _wait_for_end(self, server: RealServer, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while server.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def _last_words(self) -> str:
        """Of a server that died: what it panicked of, without what is another each time."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        panics = [line.strip() for line in lines if line.startswith(("panic:", "fatal error:"))]
        return steady(panics[-1]) if panics else ""


def steady(words: str) -> str:
    """Words without what is another each time.

    That is the id of the server's own copy, the time of a periodic job's child, and which of two files that have no
    hash Go's map gives first.
    """
    words = re.sub(r"periodic-\d{10}\b", "periodic-<time>", re.sub(r"\b\d+-\d+-\d{13}\b", "<id>", words))
    return re.sub(r'file missing for "[a-z.]+"', 'file missing for "<name>"', words)


def judged(damages: Sequence[Damage], folder: Path) -> Iterator[tuple[Damage, Verdict]]:
    """The verdicts of several judges at a time."""
    idle: SimpleQueue[Judge] = SimpleQueue()
    for number in range(JUDGES):
        (folder / str(number)).mkdir()
        idle.put(Judge(folder / str(number)))

    def one(damage: Damage) -> Verdict:
        judge = idle.get()
        try:
            return judge.judge(damage)
        except BaseException:
            judge.close()
            raise
        finally:
            idle.put(judge)

    with ThreadPoolExecutor(JUDGES) as pool:
        try:
            futures: list[tuple[Damage, Future[Verdict]]] = [(damage, pool.submit(one, damage)) for damage in damages]
            for damage, future in futures:
                yield damage, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
            while not idle.empty():
                idle.get().close()


@pytest.mark.nomad
def test_a_real_server_does_what_was_recorded(tmp_path: Path) -> None:
    newest()  # skips without one
    found = {damage.name: asdict(verdict) for damage, verdict in judged(DAMAGES, tmp_path)}
    if os.environ.get("SNAPKIT_VERDICTS") == "record":
        text = json.dumps(found, indent=1, ensure_ascii=False)
        ORACLE.write_text(f"{text}\n", encoding="utf-8")
    assert found == json.loads(ORACLE.read_text(encoding="utf-8"))
