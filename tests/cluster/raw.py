"""An HTTP server of bare sockets on loopback: it answers what no well-behaved server would."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests import forge

Answer = bytes | Callable[["Raw", socket.socket], None]


class Heard(NamedTuple):
    """A request that arrived."""

    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes


def digest(data: bytes) -> str:
    """As Nomad's header Digest has it."""
    return f"sha-256={base64.b64encode(hashlib.sha256(data).digest()).decode()}"


def contents(folder: Path) -> dict[str, bytes]:
    """Hidden files too: temporary ones are."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def http(body: bytes = b"", status: str = "200 OK", **headers: str | int | None) -> bytes:
    """An answer with a fitting Content-Length, unless that is named; None leaves it out."""
    fields = {"Content-Length": len(body)} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


LEADER = http(b'"127.0.0.1:4647"')


def reset(raw: Raw, sock: socket.socket) -> None:
    """Ends the connection as a crash does, without an answer."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(raw: Raw, sock: socket.socket) -> None:
    """Says nothing for as long as the test lasts."""
    raw.over.wait(30)


class Raw:
    """Gives its answers one by one, one for each connection, and the last one from then on.

    Attributes:
        address: As NOMAD_ADDR has it.
        heard: The requests so far. Those for the leader are answered by `leader` and stand here too.
        connections: How many there were.
    """

    def __init__(self, *answers: Answer, leader: Answer | None = LEADER, read_body: bool = True) -> None:
        self.heard: list[Heard] = []
        self.connections = 0
        self.over = threading.Event()
        self._answers = list(answers)
        self._leader = leader
        self._read_body = read_body
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def asked(self, method: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.method == method]

    def close(self) -> None:
        self.over.set()
        with suppress(OSError), socket.create_connection(self._listener.getsockname()):
            pass
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            with sock, suppress(OSError):
                if self.over.is_set():
                    return
                sock.settimeout(30)
                self.connections += 1
                self._converse(sock)

    def _converse(self, sock: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(1 << 16)
            if not piece:
                return
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        request, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = request.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0)) if self._read_body else 0
        while len(body) < length:
            piece = sock.recv(1 << 16)
            if not piece:
                break
            body += piece
        self.heard.append(Heard(method, target, headers, body))
        answer = self._next(target)
        if isinstance(answer, bytes):
            sock.sendall(answer)
        else:
            answer(self, sock)

    def _next(self, target: str) -> Answer:
        if self._leader is not None and target.startswith("/v1/status/leader"):
            return self._leader
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@contextmanager
def listening(*answers: Answer, leader: Answer | None = LEADER, read_body: bool = True) -> Iterator[Raw]:
    raw = Raw(*answers, leader=leader, read_body=read_body)
    try:
        yield raw
    finally:
        raw.close()


def large(megabytes: int = 3) -> bytes:
    """A whole archive that does not compress."""
    noise = b"".join(_noise(i) for i in range(megabytes * 32))
    return forge.archive(forge.LITTLE + forge.record(0, {"ID": "n2", "NodePool": "default", "Noise": noise}))


def _noise(seed: int) -> bytes:
    from random import Random

    return Random(seed).randbytes(1 << 15)
