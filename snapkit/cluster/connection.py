"""How a cluster is reached: its address, TLS and credentials, one request at a time, and each failure as its own type.

Proxies and ~/.netrc of the environment are not used: either could hand a management token to somebody else.
"""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection, HTTPSConnection

from snapkit.errors import SnapshotError
from snapkit.version import __version__

log = logging.getLogger(__name__)

CHUNK = 1 << 18  # bytes sent or received at once
WORDS = 4096  # bytes of an answer that an error keeps
BACKOFF = (0.2, 0.6, 1.8)  # seconds before each repetition
PASSING = (429, 502, 503, 504)  # the server or a proxy is busy: what is safe to repeat is repeated

_KEEPALIVE = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # A server may be silent for long while it gathers its state: so a dead one must show in another way.
    *((socket.IPPROTO_TCP, getattr(socket, name), 60) for name in ("TCP_KEEPIDLE",) if hasattr(socket, name)),
]


class ClusterError(SnapshotError):
    """A cluster can't be asked, or did not do what it was asked."""


class NoRouteError(ClusterError):
    """Nothing listens there, or there is no way to it: connection refused, name not known."""


class TLSError(ClusterError):
    """One side does not accept the other's certificate, or does not speak TLS at all."""


class ClusterTimeoutError(ClusterError):
    """The cluster was silent for too long."""


class InterruptedStreamError(ClusterError):
    """The connection was cut, or the answer ended before its end."""


class DigestError(ClusterError):
    """An archive arrived altered: it is not what the server's Digest header says."""


class NotAnArchiveError(ClusterError):
    """Where an archive should be is something else, such as a proxy's page or a directory."""


class ServerError(ClusterError):
    """The server answered, and not with success.

    Attributes:
        status: Of HTTP.
        body: What it said; the beginning if that is long.
    """

    def __init__(self, what: str, where: str = "", advice: str = "", status: int = 0, body: str = "") -> None:
        super().__init__(what, where, advice)
        self.status = status
        self.body = body


class PermissionDeniedError(ServerError):
    """The token is missing, unknown, or lacks the right."""


class NoLeaderError(ServerError):
    """The cluster has no leader."""


class RedirectError(ServerError):
    """The server points elsewhere. It is not followed: the token is for this address alone."""


class RestoreUnclearError(ServerError):
    """A restore failed after its upload had begun: the state may have been swapped. Status 0: there was no answer."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address taken apart.

    Attributes:
        shown: As given, without credentials.
        url: What the paths of requests are appended to.
        host: The name or IP address; "" for a unix socket.
        port: None for the scheme's own.
        socket: The path of a unix socket; "" if it is none.
        login: `user:password`, if the address had one.
    """

    shown: str
    url: str
    host: str
    port: int | None
    socket: str = ""
    login: str | None = None

    @property
    def secure(self) -> bool:
        return self.url.startswith("https:")


def parse_address(address: str) -> Endpoint:
    """Take NOMAD_ADDR apart: http://, https:// or unix://path.

    Raises:
        ClusterError: It is none of these.
    """
    advice = "give http://HOST:PORT, https://HOST:PORT or unix://PATH"
    scheme, separator, rest = address.strip().partition("://")
    if scheme == "unix" and rest:
        return Endpoint(f"unix://{rest}", "http://localhost", "", None, socket=rest)
    shown = f"{scheme}{separator}{rest.rpartition('@')[2]}"
    try:
        parts = urlsplit(address.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ClusterError(f"is no address ({error})", shown, advice) from None  # its text may hold a password
    if parts.scheme not in ("http", "https") or not host:
        raise ClusterError("is no address of a cluster", shown, advice)
    login = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    where = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{where}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    return Endpoint(url, url, where, port, login=login)


def tls_context(
    ca_cert: str | None, ca_path: str | None, client_cert: str | None, client_key: str | None, skip_verify: bool
) -> ssl.SSLContext:
    """What a server's certificate is judged by, as for the nomad command: a CA file, else a folder, else the system.

    Raises:
        TLSError: A file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # Go trusts what it is given, root or not
    if skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_cert:
        with _using("CA file", ca_cert):
            context.load_verify_locations(ca_cert)
    elif ca_path:
        with _using("CA folder", ca_path):
            _load_folder(context, Path(ca_path))
    else:
        context.load_default_certs()
    if client_cert:
        with _using("client certificate", client_cert):
            # A password would be asked for at the terminal, or nowhere: an empty one makes it an error.
            context.load_cert_chain(client_cert, client_key, password="")
    elif client_key:
        raise TLSError("is a client's key without its certificate", client_key, "set NOMAD_CLIENT_CERT as well")
    return context


def _load_folder(context: ssl.SSLContext, folder: Path) -> None:
    """Every certificate below a folder, as Go does it: OpenSSL by itself wants names that are hashes."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                context.load_verify_locations(path)
            except ssl.SSLError:
                log.debug("%s is no certificate", path)
    if not context.cert_store_stats()["x509"]:
        raise OSError(None, "no certificate in it" if folder.is_dir() else "no such folder")


@contextmanager
def _using(what: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else error.strerror or "not PEM"
        raise TLSError(f"the {what} can't be used ({reason})", path, "name a PEM file that you may read") from error


class Credentials(AuthBase):
    """The token and the login of a proxy, added to each request as it goes out and shown nowhere.

    Raises:
        ClusterError: The token can't be sent in a header.
    """

    def __init__(self, token: str | None, login: str | None) -> None:
        self._token = (token or "").strip()  # a newline ends most files that tokens are kept in
        self._login = login or ""
        if not (self._token.isascii() and self._token.isprintable()):
            # requests would say so with the token in its words.
            raise ClusterError("has characters that no HTTP header takes", "the token", "check NOMAD_TOKEN")

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["X-Nomad-Token"] = self._token
        if self._login:
            request.headers["Authorization"] = f"Basic {base64.b64encode(self._login.encode()).decode()}"
        return request

    @property
    def has_token(self) -> bool:  # no __bool__: requests leaves out what is false
        return bool(self._token)

    def __repr__(self) -> str:
        return "<Credentials>"

    def scrub(self, text: str) -> str:
        """The text without any secret: there are proxies that send back what they were sent."""
        for secret in (self._token, self._login, self._login.partition(":")[2]):
            if len(secret) > 3:
                text = text.replace(secret, "[secret]")
        return text


class _UnixConnection(HTTPConnection):
    def __init__(self, *args: Any, socket_path: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._socket_path = socket_path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._socket_path)
        except OSError as error:
            sock.close()
            raise urllib3_errors.NewConnectionError(self, str(error)) from error
        self.sock = sock


class _UnixPool(HTTPConnectionPool):
    ConnectionCls = _UnixConnection


class _UnverifiedConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.is_verified = True  # it was asked for: no need for urllib3's warning at each request


class _UnverifiedPool(HTTPSConnectionPool):
    ConnectionCls = _UnverifiedConnection


class _Session(requests.Session):
    """Requests takes a redirection apart, and fails over some, though it was told not to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None that it could fail over."""


class _Adapter(HTTPAdapter):
    """Sends everything through one pool, whatever the URL says: to the one address, under its own rules of TLS."""

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__()
        self._pool = pool

    def get_connection_with_tls_context(self, *args: object, **kwargs: object) -> Any:
        return self._pool

    def cert_verify(self, *args: object, **kwargs: object) -> None:
        """Nothing: the pool's context does it, and requests would add its own CAs."""

    def close(self) -> None:
        self._pool.close()
        super().close()


@dataclass(frozen=True, slots=True)
class Connection:
    """How one cluster is asked. It holds nothing open between requests, and so needs no closing.

    Attributes:
        endpoint: Its address.
        credentials: Sent along.
        context: Of TLS; None without it.
        server_name: That the server's certificate is for, if not the address's.
    """

    endpoint: Endpoint
    credentials: Credentials
    context: ssl.SSLContext | None = None
    server_name: str | None = None

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        timeout: tuple[float, float],
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        accept: tuple[int, ...] = (),
    ) -> Iterator[requests.Response]:
        """Ask, and have the answer's head; its body is still to be read, from `raw`.

        A GET is repeated while there was no answer to it or a passing one, anything else never.

        Args:
            method: Of HTTP.
            path: From the root, `/v1/…`.
            query: As text.
            timeout: Seconds until a connection stands, and of silence after that.
            headers: More of them.
            body: Bytes or a file, with a length.
            accept: Statuses that are no error, besides 2xx.

        Raises:
            ClusterError: One of its kinds; also for what happens in the block while the body is read.
        """
        with ExitStack() as stack:
            for pause in (*(BACKOFF if method == "GET" else ()), None):
                try:
                    response = stack.enter_context(self._once(method, path, query, timeout, headers, body, accept))
                    break
                except ClusterError as error:
                    if pause is None or not _passing(error):
                        raise
                    log.info("%s; asking again in %g seconds", error, pause)
                    time.sleep(pause)
            try:
                yield response
            except (requests.RequestException, urllib3_errors.HTTPError) as error:
                raise self._failure(error, timeout) from error

    @contextmanager
    def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        timeout: tuple[float, float],
        headers: Mapping[str, str] | None,
        body: Any,
        accept: tuple[int, ...],
    ) -> Iterator[requests.Response]:
        with _Session() as session:
            session.trust_env = False  # no proxies, no ~/.netrc: see the top
            session.auth = self.credentials
            adapter = _Adapter(self._pool())
            for scheme in ("http://", "https://"):
                session.mount(scheme, adapter)
            # Servers compress an archive once more unless told otherwise. A connection kept alive may be dead by the
            # next request, and a PUT can't be repeated to find out.
            session.headers = {
                "User-Agent": f"snapkit/{__version__}",
                "Accept-Encoding": "identity",
                "Connection": "close",
                **(headers or {}),
            }
            try:
                response = session.request(
                    method,
                    self.endpoint.url + path,
                    params=query,
                    data=body,
                    timeout=timeout,
                    stream=True,
                    allow_redirects=False,
                )
            except (requests.RequestException, urllib3_errors.HTTPError) as error:
                raise self._failure(error, timeout) from error
            with response:
                if not 200 <= response.status_code < 300 and response.status_code not in accept:
                    raise self._refusal(response, f"{method} {path}")
                yield response

    def _pool(self) -> HTTPConnectionPool:
        endpoint = self.endpoint
        if endpoint.socket:
            return _UnixPool("localhost", socket_path=endpoint.socket, blocksize=CHUNK)
        common: dict[str, Any] = {"blocksize": CHUNK, "socket_options": _KEEPALIVE}
        if self.context is None:
            return HTTPConnectionPool(endpoint.host, endpoint.port, **common)
        pool = HTTPSConnectionPool if self.context.verify_mode else _UnverifiedPool
        return pool(endpoint.host, endpoint.port, ssl_context=self.context, server_hostname=self.server_name, **common)

    def words(self, response: requests.Response) -> str:
        """The beginning of an answer as one printable line without secrets."""
        try:
            data = response.raw.read(WORDS, decode_content=True)
        except urllib3_errors.HTTPError:
            data = b""
        return self._said(data.decode("utf-8", "replace"))

    def _said(self, text: str) -> str:
        text = "".join(c if c.isprintable() else " " for c in text)
        return self.credentials.scrub(" ".join(text.split()))

    def _refusal(self, response: requests.Response, asked: str) -> ClusterError:
        """The error that an answer other than success is."""
        status, body, where = response.status_code, self.words(response), self.endpoint.shown
        reason = self._said(response.reason or "")
        said = "a page of HTML" if body.startswith("<") else f"{body or reason:.300}" or "nothing more"
        what = f"answered {status} to {asked}: {said}"
        if "HTTP request to an HTTPS server" in body:
            return TLSError("speaks https, and the address says http", where, "use https:// in NOMAD_ADDR")
        if 300 <= status < 400:
            place = self._said(_without_secrets(response.headers.get("Location", "")))
            return RedirectError(
                f"answered {status} to {asked} and points to {place}",
                where,
                "it was not followed, so that your token goes nowhere else: is that the address to use?",
                status,
                body,
            )
        if status == 401:
            return PermissionDeniedError(what, where, "a proxy wants a login: set NOMAD_HTTP_AUTH", status, body)
        if status == 403 or (status in (400, 500) and ("Permission denied" in body or "token not found" in body)):
            advice = (
                "is NOMAD_TOKEN a management token of this cluster?"
                if self.credentials.has_token
                else "set NOMAD_TOKEN"
            )
            return PermissionDeniedError(what, where, advice, status, body)
        if "No cluster leader" in body:
            advice = "wait for an election; `stale` reads or saves from the server that is asked, without a leader"
            return NoLeaderError(what, where, advice, status, body)
        if "No path to region" in body:
            return ServerError(what, where, "check NOMAD_REGION", status, body)
        return ServerError(what, where, "", status, body)

    def _failure(self, error: Exception, timeout: tuple[float, float]) -> ClusterError:
        """The error that a failure on the way is, by the exceptions that it was made of."""
        where, causes = self.endpoint.shown, list(_causes(error))

        def find(*kinds: type[BaseException]) -> BaseException | None:
            return next((cause for cause in causes if isinstance(cause, kinds)), None)

        reason = next((e.strerror for e in causes if isinstance(e, OSError) and e.strerror), type(causes[-1]).__name__)
        if find(urllib3_errors.NewConnectionError):
            return NoRouteError(f"can't be reached ({reason})", where, "is the server up, and is NOMAD_ADDR right?")
        if find(ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return InterruptedStreamError("cut the TLS connection", where, "ask again; does it take your certificate?")
        if isinstance(cause := find(ssl.SSLError), ssl.SSLError):
            return _tls_failure(cause, where)
        if find(urllib3_errors.ConnectTimeoutError):
            advice = "is NOMAD_ADDR right, does a firewall stand between?"
            return ClusterTimeoutError(f"did not take the connection within {timeout[0]:g} seconds", where, advice)
        if find(urllib3_errors.ReadTimeoutError, requests.ReadTimeout):
            return ClusterTimeoutError(f"was silent for {timeout[1]:g} seconds", where, "ask again, or wait for longer")
        if find(urllib3_errors.ProtocolError):
            why = next((f" ({e.strerror})" for e in causes if isinstance(e, OSError) and e.strerror), "")
            advice = "ask again; does it take your certificate?" if self.context else "ask again"
            return InterruptedStreamError(f"cut the connection{why}", where, advice)
        return ClusterError(f"can't be asked ({type(error).__name__}: {reason})", where, "is NOMAD_ADDR right?")


def _without_secrets(location: str) -> str:
    try:
        target = urlsplit(location)
    except ValueError:
        return "no address"
    return f"{target.scheme or 'http'}://{target.netloc.rpartition('@')[2]}{target.path}"


def body_of(response: requests.Response, *, decoded: bool = False) -> Iterator[bytes]:
    """An answer's body in pieces; `decoded`: without what a Content-Encoding put around it."""
    try:
        yield from response.iter_content(CHUNK) if decoded else response.raw.stream(CHUNK, decode_content=False)
    except ValueError as error:  # Python's own, of a chunk whose length is below zero
        raise urllib3_errors.ProtocolError("a chunk of less than nothing") from error


def _passing(error: ClusterError) -> bool:
    if isinstance(error, ServerError):
        return error.status in PASSING or isinstance(error, NoLeaderError)
    return isinstance(error, NoRouteError | InterruptedStreamError)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that one was made of, itself first. urllib3 and requests hide them in several places."""
    queue, seen = [error], set()
    while queue:
        error = queue.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        inner = (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__)
        queue += [cause for cause in inner if isinstance(cause, BaseException)]


def _tls_failure(error: ssl.SSLError, where: str) -> TLSError:
    reason = error.reason or error.strerror or "unknown"
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message or reason
        if error.verify_code in (62, 64):  # OpenSSL: hostname or IP address mismatch
            advice = "set NOMAD_TLS_SERVER_NAME to a name in it, often server.REGION.nomad"
        else:
            advice = "name the CA that signed it by NOMAD_CACERT or NOMAD_CAPATH"
        return TLSError(f"its certificate is not accepted ({message.rstrip('.')})", where, advice)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"):
        return TLSError("does not speak https", where, "use http:// in NOMAD_ADDR")
    if "ALERT" in reason:
        words = reason.partition("ALERT_")[2].replace("_", " ").lower() or reason
        return TLSError(
            f"does not accept this client ({words})", where, "set NOMAD_CLIENT_CERT and NOMAD_CLIENT_KEY as it wants"
        )
    return TLSError(f"TLS failed ({reason})", where, "check the NOMAD_* settings of TLS")
