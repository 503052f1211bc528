"""A snapshot served as Nomad's own HTTP API, on loopback: point the `nomad` command at a backup.

Requests are answered by the answers package; what a write changes is put into the state that is served, which stays an
archive that can be saved. GET and PUT of /v1/operator/snapshot save and swap it. Queries with an index wait for what is
newer. Nothing here replicates or schedules.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import html
import ipaddress
import json
import logging
import os
import re
import secrets
import socket
import ssl
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast
from urllib.parse import unquote

from snapkit.cluster.answers import PERMISSION_DENIED, Answer, Answers, ApiError, Request, Server, compiled, refusal
from snapkit.cluster.answers.core import FALSE, TRUE
from snapkit.errors import ArchiveError, RecordError, SnapshotError, SourceError
from snapkit.format import age, archive
from snapkit.format.archive import Source, describe
from snapkit.state.access.acl import Authority, Identity, TokenExpiredError, TokenNotFoundError
from snapkit.state.output.edit import Change, Edits, edited, stamp
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.verify import verify

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import ClientDisconnect
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route
except ModuleNotFoundError as error:
    raise SnapshotError(f"needs the package {error.name}", "serving", "pip install 'snapkit[serve]'") from error

log = logging.getLogger(__name__)

CHUNK = 1 << 18
SNAPSHOT = "/v1/operator/snapshot"
HEARTBEAT = 300.0  # seconds until a client that does not report is down: Nomad's failover_heartbeat_ttl
NEWEST = "2.0.5"
WAIT, MOST_WAIT = 300.0, 600.0  # seconds that a query with an index waits for what is newer
MOST_BODY = 64 << 20  # bytes; a job's specification has some kilobytes
POLL = 1.0  # seconds until one looks whether clients have gone meanwhile


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong on purpose, for tests and training.

    Attributes:
        no_leader: There is none: only `stale` reads are answered.
        delay: Seconds before each answer.
        cut: The connection ends after so many bytes of an archive.
        digest: `wrong` or `missing` in place of the archive's.
        corrupt: One bit of the archive is flipped, and the Digest is of what is sent.
        forbidden: All is answered 403.
        html: The archive is answered with a proxy's page, status 200.
    """

    no_leader: bool = False
    delay: float = 0.0
    cut: int | None = None
    digest: str | None = None
    corrupt: bool = False
    forbidden: bool = False
    html: bool = False

    def __post_init__(self) -> None:
        if self.digest not in (None, "wrong", "missing"):
            raise SnapshotError(f"can't be {self.digest!r}", "the Digest", "say wrong or missing")


NO_FAULTS = Faults()


class _State:
    """What is served now: an archive's bytes, and what it says."""

    def __init__(self, file: IO[bytes], now: datetime | None, spill: bool = True) -> None:
        file.seek(0)
        self.file = file
        self.snapshot = open_snapshot(file, spill=spill)
        self.authority = Authority(self.snapshot, now=now)
        self.digest = _sha256(file)

    def close(self) -> None:
        self.snapshot.close()
        self.file.close()


class ServedCluster:
    """A cluster of one server that a snapshot is the state of. Ends with close() or `with`.

    Attributes:
        address: `http://127.0.0.1:PORT`, `https://…` or `unix://…`, as NOMAD_ADDR has it.
        token: A management token of this session alone, for a person who has none of the archive's.
        faults: What goes wrong on purpose; may be set at any time.
        changes: How often the state became another.
    """

    def __init__(
        self,
        source: Source,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        uds: str | os.PathLike[str] | None = None,
        keystore: str | os.PathLike[str] | None = None,
        identity: age.Identity | None = None,
        now: datetime | None = None,
        version: str = NEWEST,
        region: str = "global",
        faults: Faults = NO_FAULTS,
        tls_cert: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        tls_client_ca: str | os.PathLike[str] | None = None,
        http_auth: str | None = None,
        heartbeat: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = faults
        self.token = str(uuid.UUID(bytes=secrets.token_bytes(16)))
        self._now = now
        self._keystore = os.fspath(keystore) if keystore is not None else None
        self._http_auth = http_auth
        self._heartbeat = heartbeat
        self._clock = clock
        self._lock = threading.Lock()  # answers and swaps take turns: a swap closes what answers read
        self._source = describe(source)
        file, self._private = _archive_of(source, identity)
        self._state = _State(file, now, spill=not self._private)
        self._raft_index = self._state.snapshot.meta.index or 0
        self._alive = set(self._state.snapshot.nodes.index)
        self._restored: float | None = None
        self.changes = 0
        self._routes = compiled()
        try:
            self._listen(host, port, uds, tls_cert, tls_key, tls_client_ca)
        except BaseException:
            self._state.close()
            raise
        self._server = Server(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, self.address)),
            host=host,
            port=self._port,
            version=version,
            region=region,
        )

    # -- its life

    def _listen(
        self,
        host: str,
        port: int,
        uds: str | os.PathLike[str] | None,
        tls_cert: str | os.PathLike[str] | None,
        tls_key: str | os.PathLike[str] | None,
        tls_client_ca: str | os.PathLike[str] | None,
    ) -> None:
        if uds is not None:
            listener = socket.socket(socket.AF_UNIX)
            bound: Any = os.fspath(uds)
        else:
            # With its protocol named, asyncio has what is accepted send at once: answers took 40 ms without.
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound = (host, port)
        try:
            listener.bind(bound)
        except (OSError, OverflowError) as error:  # the second is a port beyond 65535
            listener.close()
            reason = getattr(error, "strerror", None) or error
            shown = str(bound) if uds is not None else f"{host}:{port}"
            raise SnapshotError(
                f"can't be listened on ({reason})", shown, "name another, on the command line by --port"
            ) from error
        self._uds = Path(uds) if uds is not None else None
        self._port = 0 if uds is not None else listener.getsockname()[1]
        scheme = "https" if tls_cert else "http"
        name = f"[{host}]" if ":" in host else host
        self.address = f"unix://{uds}" if uds is not None else f"{scheme}://{name}:{self._port}"
        app = Starlette(routes=[Route("/{path:path}", _Endpoint(self))])
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=tls_cert,
            ssl_keyfile=tls_key,
            ssl_ca_certs=os.fspath(tls_client_ca) if tls_client_ca else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if tls_client_ca else ssl.CERT_NONE,
        )
        try:
            config.load()  # here and not in the thread, which could not tell of a certificate that is no good
        except (OSError, AssertionError) as error:  # ssl.SSLError is an OSError; a key without a certificate
            listener.close()
            reason = getattr(error, "strerror", None) or "no certificate"
            raise SnapshotError(f"TLS can't be set up ({reason})", self.address, "name PEM files that fit") from error
        self._uvicorn = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="snapkit-serve", daemon=True)
        self._thread.start()
        while not self._uvicorn.started:
            if not self._thread.is_alive():
                listener.close()
                raise SnapshotError("did not start", self.address, "see the log")
            time.sleep(0.005)

    def _run(self) -> None:
        self._uvicorn.run(sockets=[self._listener])

    def close(self) -> None:
        """Stop answering and give everything back. May be called twice."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self._listener.close()
        if self._uds is not None:
            self._uds.unlink(missing_ok=True)
        self._state.close()

    @property
    def ending(self) -> bool:
        """Was it told to stop?"""
        return self._uvicorn.should_exit

    @property
    def ages(self) -> bool:
        """May clients that a restore brought back go down by themselves?"""
        return self._heartbeat is not None and self._restored is not None

    def wait(self) -> None:
        """Until it is stopped, by Ctrl-C as a rule."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ServedCluster {self.address}: {self._source}>"

    # -- what it answers

    def identify(self, secret: str, *, of_tokens: bool = False) -> Identity:
        """Who a token is.

        Args:
            of_tokens: Is it asked of tokens?

        Raises:
            ApiError: Nobody, or no longer: where it is not asked of tokens, a server says the same of both.
        """
        if secret and secrets.compare_digest(secret.encode(), self.token.encode()):
            return Identity.everyone("snapkit session")
        try:
            return self._state.authority.resolve(secret.lower())  # UUIDs, which are looked up by their bytes
        except TokenNotFoundError:
            raise PERMISSION_DENIED from None
        except TokenExpiredError:
            raise (ApiError(500, "ACL token expired") if of_tokens else PERMISSION_DENIED) from None

    def answer(
        self, method: str, path: str, query: dict[str, str], secret: str, body: bytes
    ) -> tuple[Answer, dict[str, str]]:
        """What a request gives, and the headers; what it writes is in the state by then.

        Raises:
            ApiError: With the status and text of what is refused.
        """
        allowed: set[str] = set()
        for pattern, route in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if method not in route.methods:
                allowed.update(route.methods)
                continue
            _check_query(query)
            document = _document(body, required=method in ("PUT", "POST") and not route.bodiless)
            with self._lock:
                self._pass_time()
                captured = {name: unquote(value) for name, value in match.groupdict().items()}
                of_tokens = route.pattern.startswith("/v1/acl/token/")
                who = self.identify("" if route.public else secret, of_tokens=of_tokens)
                request = Request(query, who, captured, document)
                server = replace(self._server, leader=not self.faults.no_leader)
                index = self._raft_index + 1
                answers = Answers(self._state.snapshot, self._state.authority, server, self._keystore, next_index=index)
                try:
                    answer = route.handler(answers, request)
                except (AttributeError, KeyError, TypeError, ValueError, RecordError) as error:
                    if method == "GET":
                        raise
                    # JSON that has other shapes than Nomad's, which a real server says in words of Go's.
                    raise ApiError(400, f"the body is not as Nomad's API has it ({error})") from error
                if answers.edits or answers.changes:
                    self._raft_index = answers.next_index
                    self._edit(self._raft_index, answers.changes, answers.edits)
            headers = {"Content-Type": "application/json"} | self.about_state(answer.index)
            if answer.write:
                headers = {name: value for name, value in headers.items() if name in ("Content-Type", "X-Nomad-Index")}
            if answer.next_token:
                headers["X-Nomad-Nexttoken"] = answer.next_token
            return answer, headers
        raise refusal(method, path, allowed)

    def about_state(self, index: int | None) -> dict[str, str]:
        """The headers by which Nomad says how fresh an answer is; none where it sends none."""
        if index is None:
            return {}
        leader = str(not self.faults.no_leader).lower()
        return {"X-Nomad-Index": str(index), "X-Nomad-Lastcontact": "0", "X-Nomad-Knownleader": leader}

    def may_snapshot(self, secret: str, restore: bool) -> bool:
        """Has a token the right to save (a management token or `snapshot-save`) or restore (a management token)?"""
        try:
            acl = self.identify(secret).acl
        except ApiError:
            return False
        return acl.management or (not restore and acl.allow_operator("snapshot-save"))

    def archive(self) -> tuple[IO[bytes], bytes]:
        """A copy of the file handle of the archive that is served, and its SHA-256."""
        with self._lock:
            self._pass_time()
            if self._raft_index > (self._state.snapshot.meta.index or 0):
                self._edit(self._raft_index)  # after a restore Raft's index goes on, also of an older archive
            return os.fdopen(os.dup(self._state.file.fileno()), "rb"), self._state.digest

    def swap(self, file: IO[bytes]) -> None:
        """Restore an archive: from here on, its state is served.

        Raises:
            ApiError: It is refused, in Nomad's words.
        """
        try:
            state = _State(file, self._now, spill=not self._private)
        except ArchiveError as error:
            raise _refused(error.nomad) from error
        except SnapshotError as error:
            raise _refused(f"{error} (a real leader panics here)") from error
        words = _oddity(state.snapshot) or _deadly(state.file)
        if words:
            state.snapshot.close()
            raise _refused(words)
        with self._lock:
            old, self._state = self._state, state
            self._raft_index = max(self._raft_index, state.snapshot.meta.index or 0) + 1
            self._restored = self._clock()
            self.changes += 1
            old.close()

    # -- a life of its own

    def _pass_time(self) -> None:
        """Clients that a restore brought back and that do not exist miss their heartbeats: they go down, as in life."""
        if self._heartbeat is None or self._restored is None or self._clock() - self._restored < self._heartbeat:
            return
        self._restored = None
        nodes = self._state.snapshot.table("nodes", ["Status"])
        gone = {node.encode() for node in nodes.index[nodes["Status"] == "ready"] if node not in self._alive}
        if not gone:
            return
        self._raft_index += 1
        index = self._raft_index

        def node_down(node: dict[bytes, Any]) -> bool:
            if node.get(b"ID") not in gone:
                return False
            node |= {b"Status": b"down", b"StatusUpdatedAt": int(time.time()), b"ModifyIndex": index}
            return True

        def alloc_lost(alloc: dict[bytes, Any]) -> bool:
            if alloc.get(b"NodeID") not in gone or alloc.get(b"ClientStatus") not in (b"running", b"pending"):
                return False
            alloc |= {
                b"DesiredStatus": b"stop",
                b"DesiredDescription": b"alloc is lost since its node is down",
                b"ClientStatus": b"lost",
                b"ModifyIndex": index,
                b"AllocModifyIndex": index,
                b"ModifyTime": time.time_ns(),
            }
            return True

        changes = {"nodes": node_down, "allocs": alloc_lost, "indexes": stamp(index, "nodes", "allocs")}
        self._edit(index, changes)

    def _edit(self, index: int, changes: Mapping[str, Change] | None = None, edits: Edits | None = None) -> None:
        old = self._state
        file = _written(old.snapshot, edited(old.snapshot, changes, edits), index, self._private)
        self._state = _State(file, self._now, spill=not self._private)
        self.changes += 1
        old.close()


def serve(source: Source, **options: Any) -> ServedCluster:
    """Serve a snapshot as Nomad's HTTP API on loopback, in this process.

    `with snapkit.serve(source) as cluster:` gives `cluster.address` and `cluster.token`.

    Args:
        source: Anything that `snapkit.open()` takes.
        options: host, port, uds (a unix socket), keystore (opens variables of 1.4 to 1.8), identity (opens a source
            that is encrypted, which is served from memory), now (judges tokens; by default the archive's created
            time), version and region to pretend, faults, tls_cert, tls_key, tls_client_ca, http_auth
            (`user:password`), heartbeat (seconds until restored nodes that do not exist go down) and clock.

    Raises:
        SnapshotError: The source can't be read or the address not be listened on.
    """
    return ServedCluster(source, **options)


def require_consent(host: str, consent: bool, tls_cert: str | os.PathLike[str] | None) -> None:
    """A served snapshot gives away a cluster's secrets: beyond loopback it takes consent and TLS.

    Raises:
        SnapshotError: They were not given.
    """
    if not _is_loopback(host) and not (consent and tls_cert):
        raise SnapshotError("is not loopback", f"--bind {host}", "add --i-know, --tls-cert and --tls-key")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -- archives


def _archive_of(source: Source, identity: age.Identity | None) -> tuple[IO[bytes], bool]:
    """The source as an archive in a file without a name, and whether that is to be kept off the disk.

    What stands at the source may change, what is served does not.
    """
    with contextlib.ExitStack() as stack:
        private = False
        if not (isinstance(source, str | os.PathLike) and Path(source).is_dir()):
            file, private = _copied(source, identity)
            source = stack.enter_context(file)
        with open_snapshot(source, spill=not private) as snapshot:
            if snapshot.archive.kind != "archive":
                stack.close()
                file = stack.enter_context(_spool(snapshot.meta.source, private))
                _write_archive(snapshot, file)
        stack.pop_all()
        return file, private


def _spool(name: str, private: bool) -> IO[bytes]:
    """A file without a name on disk, or in memory; messages call it by this one, and not by its handle's number."""
    if not private:
        file: IO[bytes] = tempfile.TemporaryFile(prefix="snapkit-serve-")  # noqa: SIM115 - closed by whose it is
    elif hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("snapkit-serve"), "w+b")
    else:
        raise SnapshotError("is served on Linux alone", f"{name}, which is encrypted", "decrypt it yourself, by age -d")
    cast("Any", file).raw.name = name
    return file


def _copied(source: Source, identity: age.Identity | None) -> tuple[IO[bytes], bool]:
    """What is in a source, in a file of our own, and whether that is to be kept off the disk."""
    name, private = archive.describe(source), False

    def note_private() -> None:
        nonlocal private
        private = True

    with contextlib.ExitStack() as stack:
        try:
            with archive.plain(source, identity, on_encrypted=note_private) as stream:
                file = stack.enter_context(_spool(name, private))
                while piece := stream.read(CHUNK):
                    file.write(piece)
        except SnapshotError as error:
            raise error.at(name) from error.__cause__
        except OSError as error:
            what = f"can't be read ({error.strerror or error})"
            raise SourceError(what, name, "check the path and its mode") from error
        file.seek(0)
        stack.pop_all()
        return file, private


def _write_archive(snapshot: Snapshot, file: IO[bytes]) -> None:
    meta = snapshot.archive.meta or archive.BARE_META
    archive.write_to(file, meta, snapshot.chunks(), snapshot.meta.size)


def _written(snapshot: Snapshot, state: Iterator[bytes], index: int, private: bool) -> IO[bytes]:
    """A new archive of a changed state, in a file without a name."""
    with contextlib.ExitStack() as stack:
        changed = stack.enter_context(_spool("what changed", private))
        for piece in state:
            changed.write(piece)
        size = changed.tell()
        changed.seek(0)
        meta = dict(snapshot.archive.meta)
        milliseconds = time.time_ns() // 1_000_000
        meta |= {"Index": index, "ID": f"{meta.get('Term', 1)}-{index}-{milliseconds}"}
        file = _spool(snapshot.meta.source, private)  # the state's from here on
        archive.write_to(file, meta, iter(lambda: changed.read(CHUNK), b""), size)
        return file


def _refused(words: str) -> ApiError:
    return ApiError(500, f"failed to restore from snapshot: {words}")


def _oddity(snapshot: Snapshot) -> str | None:
    """What a server says of an archive that could be read and that it refuses all the same."""
    version = snapshot.meta.version
    if version not in (None, 1):
        return f"Raft error when restoring snapshot: failed to open snapshot: unsupported snapshot version {version}"
    for oddity in snapshot.archive.oddities:
        if oddity.refused:
            return "gzip: invalid header" if oddity.check == "archive.gzip-trailing" else oddity.message
    return None


def _deadly(file: IO[bytes]) -> str | None:
    """What a server takes in and does not survive."""
    file.seek(0)
    deadly = {"state.field-type", "state.not-a-map", "state.depth", "state.event-sink", "target.unknown-type"}
    for finding in verify(file, NEWEST, level="records").found:
        if finding.check in deadly:
            return f"{finding.place}: {finding.message} (a real leader panics here)"
    return None


# -- HTTP


_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h)")


def _seconds(text: str) -> float:
    """A duration in Go's words, such as `1m30s`.

    Raises:
        ApiError: It is none.
    """
    parts = _DURATION.findall(text)
    if text != "0" and (not parts or "".join(parts) != text):
        raise ApiError(400, "Invalid wait time")
    return sum(float(part.rstrip("nuµmsh")) * _SECONDS[part.lstrip("0123456789.")] for part in parts)


def _check_query(query: Mapping[str, str]) -> None:
    """Refuse what all endpoints do of the parameters that they share."""
    if query.get("stale", "") not in ("", *TRUE, *FALSE):
        raise ApiError(400, "Expect `true` or `false` for `stale` query string parameter")
    if not re.fullmatch("[+-]?[0-9]{1,19}|", query.get("per_page", "")):
        raise ApiError(400, "Expect a number for `per_page` query string parameter")
    _seconds(query.get("wait") or "0")
    if not re.fullmatch("[0-9]{0,20}", query.get("index", "")):
        raise ApiError(400, "Invalid index")


def _document(body: bytes, required: bool) -> dict[str, Any]:
    """The JSON object of a body, refused in Go's words where it is none."""
    if not body and required:
        raise ApiError(400, "Request body is empty")
    if not body:
        return {}
    try:
        document = json.loads(body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, "the body is no JSON, or is nested too deep") from error
    except ValueError as error:
        place = error.pos if isinstance(error, json.JSONDecodeError) else 0
        rest = body.decode("utf-8", "replace")[place:]
        words = f"invalid character {_quoted(rest[0])} looking for beginning of value" if rest else "unexpected EOF"
        raise ApiError(400, words) from error
    if document is not None and not isinstance(document, dict):
        kind = {list: "array", str: "string", bool: "bool"}.get(type(document), "number")
        raise ApiError(400, f"json: cannot unmarshal {kind} into Go value")
    return document or {}


def _quoted(character: str) -> str:
    return f"'\\x{ord(character):02x}'" if ord(character) < 0x20 else f"'{character}'"


async def _body(request: HttpRequest) -> bytes:
    """What was sent, which is in memory before it is known who did."""
    held = bytearray()
    async for piece in request.stream():
        held += piece
        if len(held) > MOST_BODY:
            raise ApiError(413, "http: request body too large")
    return bytes(held)


class _Endpoint:
    """The one ASGI endpoint: it takes paths as they were sent, since a job's id may hold an escaped slash."""

    def __init__(self, cluster: ServedCluster) -> None:
        self._cluster = cluster

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = HttpRequest(scope, receive)
        try:
            response = await self._respond(request)
        except ApiError as error:
            response = _text(error.status, error.text)
            response.headers.update(self._cluster.about_state(error.index))
        except ClientDisconnect:
            return
        except SnapshotError as error:
            response = _text(500, str(error))
        response.headers.setdefault("Vary", "Accept-Encoding")
        response.raw_headers = [
            (_as_go_writes(name.decode("latin-1")).encode("latin-1"), value) for name, value in response.raw_headers
        ]
        await response(scope, receive, send)

    async def _respond(self, request: HttpRequest) -> Response:
        cluster = self._cluster
        faults = cluster.faults
        if faults.delay:
            await asyncio.sleep(faults.delay)
        path = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        query = dict(reversed(request.query_params.multi_items()))  # of two, the first counts
        self._check_host(request)
        self._check_http_auth(request)
        if "//" in path or path in _FOLDERS:
            return _redirect(re.sub("/+", "/", path) + "/" * (path in _FOLDERS), request.url.query)
        if faults.forbidden:
            raise ApiError(403, "Permission denied")
        if query.get("region", cluster._server.region) != cluster._server.region:
            raise ApiError(500, "No path to region")
        stale = query.get("stale") in ("", *TRUE)
        if path == SNAPSHOT and request.method not in ("GET", "PUT", "POST"):
            raise ApiError(405, "Invalid method")
        if faults.no_leader and not (stale and request.method == "GET") and not path.startswith("/v1/agent/"):
            raise ApiError(500, "No cluster leader")
        secret = _secret(request)
        if path == SNAPSHOT:
            if not cluster.may_snapshot(secret, restore=request.method != "GET"):
                raise ApiError(403, "Permission denied")
            return await (self._save(request) if request.method == "GET" else self._restore(request))
        body = await _body(request)
        method = request.method
        answer, headers = await self._answer(request, method, path, query, secret, body)
        if answer.write and answer.body is None:
            headers.pop("Content-Type")
            return Response(status_code=answer.status, headers=headers)
        if answer.body is None and answer.index is None:
            return Response(status_code=answer.status)
        pretty = query.get("pretty", "0") != "0"
        content = _encoded_json(answer.body, pretty)
        encoding = _encoding(request)
        if encoding:
            content = b"".join(_encoded([content], encoding))
            headers |= {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
        return Response(content, status_code=answer.status, headers=headers)

    async def _answer(
        self, request: HttpRequest, method: str, path: str, query: dict[str, str], secret: str, body: bytes
    ) -> tuple[Answer, dict[str, str]]:
        """The answer, at once or, if an `index` is given, when what it is about has changed since, or the time is over.

        Raises:
            ApiError: It is refused.
        """
        cluster, ends = self._cluster, 0.0
        while True:
            changes = cluster.changes
            refused: ApiError | None = None
            try:
                answer, headers = await run_in_threadpool(cluster.answer, method, path, query, secret, body)
                index = answer.index
            except ApiError as error:
                refused, index = error, error.index
            if method != "GET" or index is None or not query.get("index") or index > int(query["index"]):
                ends = -1.0
            ends = ends or time.monotonic() + min(_seconds(query.get("wait") or "0") or WAIT, MOST_WAIT)
            if time.monotonic() >= ends:
                if refused is not None:
                    raise refused
                return answer, headers
            await self._news(request, changes, ends)

    async def _news(self, request: HttpRequest, changes: int, ends: float) -> None:
        """Until there are some, or it is time to look by oneself.

        Raises:
            ClientDisconnect: Nobody waits for it any more.
        """
        cluster = self._cluster
        ends = min(ends, time.monotonic() + POLL) if cluster.ages else ends
        while cluster.changes == changes and time.monotonic() < ends:
            await asyncio.sleep(0.05)
            if await request.is_disconnected() or cluster.ending:
                raise ClientDisconnect

    def _check_host(self, request: HttpRequest) -> None:
        """A page that its name server sends here, or that has a browser ask for it, is to read and write nothing."""
        cluster = self._cluster
        if cluster._uds is not None or not _is_loopback(cluster._server.host):
            return
        for asked in (request.headers.get("Host", ""), request.headers.get("Origin", "").rpartition("//")[2]):
            name = asked[1:].partition("]")[0] if asked.startswith("[") else asked.partition(":")[0]
            if name and not _is_loopback(name.lower()):
                raise ApiError(403, f"This is {cluster.address}, and nothing to {name:.100}")

    def _check_http_auth(self, request: HttpRequest) -> None:
        wanted = self._cluster._http_auth
        if wanted is None:
            return
        expected = f"Basic {base64.b64encode(wanted.encode()).decode()}"
        if not secrets.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
            raise ApiError(401, "Unauthorized")

    async def _save(self, request: HttpRequest) -> Response:
        faults = self._cluster.faults
        if faults.html:
            return Response("<html><body>Please log in</body></html>", media_type="text/html")
        file, digest = self._cluster.archive()
        headers = {"Content-Type": "application/x-gzip"}
        encoding = _encoding(request)
        if encoding:  # as real servers do: the archive is compressed once more, and its type not told
            headers = {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}
        if faults.corrupt:
            file, digest = _flipped(file, self._cluster._private)
        if faults.digest == "wrong":
            digest = bytes(32)
        if faults.digest != "missing":
            headers["Digest"] = f"sha-256={base64.b64encode(digest).decode()}"
        pieces = _encoded(_pieces(file), encoding) if encoding else _pieces(file)
        return _ArchiveResponse(file, _cut(pieces, faults.cut), headers=headers)

    async def _restore(self, request: HttpRequest) -> Response:
        file = _spool("the archive restored last", self._cluster._private)  # the state's if taken
        try:
            async for piece in request.stream():
                await run_in_threadpool(file.write, piece)
            await run_in_threadpool(self._cluster.swap, file)
        except BaseException:
            file.close()
            raise
        return Response(status_code=200)


class _ArchiveResponse(StreamingResponse):
    """Closes the file that it sends, whether that was asked for to its end, in part or not at all."""

    def __init__(self, file: IO[bytes], pieces: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        super().__init__(pieces, headers=headers)
        self._file = file

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


def _encoded_json(body: Any, pretty: bool) -> bytes:
    """As a server writes it: what HTML means something by is escaped."""
    style: Any = {"indent": 4} if pretty else {"separators": (",", ":")}
    text = json.dumps(body, ensure_ascii=False, **style) + "\n" * pretty
    return _HTML.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


_HTML = re.compile("[<>&\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}]")


def _text(status: int, text: str) -> Response:
    log.info("answered %d %s", status, HTTPStatus(status).phrase)
    return Response(text or None, status_code=status, media_type="text/plain" if text else None)


#: What Nomad takes with a slash at the end alone.
_FOLDERS = ("/v1/job", "/v1/node", "/v1/allocation", "/v1/evaluation", "/v1/deployment", "/v1/service", "/v1/var")


def _redirect(path: str, query: str) -> Response:
    """To a path without what is empty in it, as Go's multiplexer does."""
    target = f"{path}?{query}" if query else path
    text = f'<a href="{html.escape(target)}">Temporary Redirect</a>.\n\n'
    return Response(text, status_code=307, headers={"Location": target}, media_type="text/html")


def _as_go_writes(name: str) -> str:
    """A header's name, as scripts that read them by `grep` know it."""
    return "-".join(part.capitalize() for part in name.split("-"))


def _secret(request: HttpRequest) -> str:
    bearer = request.headers.get("Authorization", "")
    scheme, _, credentials = bearer.partition(" ")
    own = request.headers.get("X-Nomad-Token", "").strip()
    return own or (credentials.split()[0] if scheme.lower() == "bearer" and credentials.strip() else "")


def _encoding(request: HttpRequest) -> str | None:
    """gzip or deflate, whichever is asked for first, as gorilla's CompressHandler has it."""
    for part in request.headers.get("Accept-Encoding", "").split(","):
        name = part.partition(";")[0].strip()
        if name in ("gzip", "deflate"):
            return name
    return None


def _encoded(pieces: Any, encoding: str) -> Iterator[bytes]:
    compress = zlib.compressobj(6, zlib.DEFLATED, 31 if encoding == "gzip" else -15)
    for piece in pieces:
        yield compress.compress(piece)
    yield compress.flush()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The file from its start, by offset: other readers share its position."""
    offset = 0
    while piece := os.pread(file.fileno(), CHUNK, offset):
        offset += len(piece)
        yield piece


def _flipped(file: IO[bytes], private: bool) -> tuple[IO[bytes], bytes]:
    damaged = _spool("a damaged archive", private)  # closed by who sends it
    with file:
        for piece in _pieces(file):
            damaged.write(piece)
    middle = damaged.tell() // 2
    damaged.seek(middle)
    byte = damaged.read(1)
    damaged.seek(middle)
    damaged.write(bytes([byte[0] ^ 1]))
    return damaged, _sha256(damaged)


def _sha256(file: IO[bytes]) -> bytes:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(CHUNK):
        digest.update(piece)
    return digest.digest()


async def _cut(pieces: Iterator[bytes], after: int | None) -> AsyncIterator[bytes]:
    """All of it, or what comes before the connection is cut."""
    left = after
    while (piece := await run_in_threadpool(next, pieces, None)) is not None:
        if left is not None:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                raise _CutError("cut on purpose")
        elif piece:
            yield piece


class _CutError(ConnectionResetError):
    """A fault that was asked for."""


#: What uvicorn says to who wants a websocket (`nomad alloc exec`); there is nothing to install.
_NO_WEBSOCKETS = ("Unsupported upgrade request", "No supported WebSocket library")


def _is_news(record: logging.LogRecord) -> bool:
    if record.getMessage().startswith(_NO_WEBSOCKETS):
        return False
    return not (record.exc_info and isinstance(record.exc_info[1], _CutError))


logging.getLogger("uvicorn.error").addFilter(_is_news)
