"""How a cluster is reached, with real sockets: TLS by a private CA, client certificates, unix sockets, a login."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

import snapkit
from snapkit import Client
from snapkit.cluster import connection
from snapkit.cluster.client import (
    ClusterError,
    InterruptedStreamError,
    NoRouteError,
    PermissionDeniedError,
    TLSError,
)
from snapkit.cluster.connection import parse_address
from snapkit.cluster.server import ServedCluster, require_consent
from snapkit.errors import ArchiveError, SnapshotError
from tests import forge

from ..conftest import path_of
from .raw import http, listening

MONDAY = path_of("v2.0.5/monday")
#: Where a name has to fit, it is this one and no address.
NAME = "server.global.nomad"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKOFF", (0.001,))


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """PEM files: two CAs, and the certificates (with their keys) of servers and clients."""
    folder = tmp_path_factory.mktemp("pem")
    ours, other = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(folder / "ca.pem"))
    other.cert_pem.write_to_path(str(folder / "other-ca.pem"))
    for name, ca, identity in (
        ("server", ours, "127.0.0.1"),
        ("named", ours, NAME),
        ("client", ours, "client.global.nomad"),
        ("other-client", other, "client.global.nomad"),
    ):
        cert = ca.issue_cert(identity)
        cert.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
        cert.private_key_pem.write_to_path(str(folder / f"{name}-key.pem"))
        cert.cert_chain_pems[0].write_to_path(str(folder / f"{name}-cert.pem"))
    for name in ("ca-folder", "empty-folder"):
        (folder / name).mkdir()
    (folder / "ca-folder" / "a.pem").write_bytes((folder / "other-ca.pem").read_bytes())
    (folder / "ca-folder" / "below").mkdir()
    (folder / "ca-folder" / "below" / "b.crt").write_bytes((folder / "ca.pem").read_bytes())
    (folder / "ca-folder" / "README").write_text("no certificate")
    return folder.joinpath


@pytest.fixture(scope="module")
def served(pem: Callable[[str], Path]) -> Iterator[Callable[..., ServedCluster]]:
    """Clusters of Monday, one for each set of options, for the whole module."""
    with ExitStack() as stack:
        made: dict[str, ServedCluster] = {}

        def serve(**options: Any) -> ServedCluster:
            key = repr(sorted(options.items()))
            if key not in made:
                made[key] = stack.enter_context(snapkit.serve(MONDAY, **options))
            return made[key]

        yield serve


def refused(kind: type[SnapshotError], do: Callable[[], object]) -> SnapshotError:
    with pytest.raises(kind) as caught:
        do()
    assert type(caught.value) is kind
    assert caught.value.where
    assert caught.value.advice
    return caught.value


def of_environment(environ: dict[str, str]) -> list[dict[str, Any]]:
    return Client.from_env(environ).jobs()


def works(client: Client, folder: Path) -> None:
    """A read, a save and a restore all go through."""
    assert client.jobs()
    client.save(folder / "works.snap", overwrite=True)
    assert forge.state_of((folder / "works.snap").read_bytes()) == forge.state_of(MONDAY.read_bytes())
    client.restore(MONDAY)


# -- the server's certificate


@pytest.mark.parametrize("by", [{"ca_cert": "ca.pem"}, {"ca_path": "ca-folder"}], ids=["file", "folder"])
def test_a_private_ca(by: dict[str, str], served: Any, pem: Callable[[str], Path], tmp_path: Path) -> None:
    cluster = served(tls_cert=pem("server.pem"))
    assert cluster.address.startswith("https://")
    options: dict[str, Any] = {name: pem(file) for name, file in by.items()}
    works(Client(cluster.address, token=cluster.token, **options), tmp_path)


def test_a_ca_file_goes_before_a_folder(served: Any, pem: Callable[[str], Path]) -> None:
    cluster = served(tls_cert=pem("server.pem"))
    client = Client(cluster.address, ca_cert=pem("other-ca.pem"), ca_path=pem("ca-folder"))
    refused(TLSError, client.leader)


@pytest.mark.parametrize("trusted", [None, "other-ca.pem"])
def test_an_unknown_ca_is_said_with_what_to_set(
    trusted: str | None, served: Any, pem: Callable[[str], Path], tmp_path: Path
) -> None:
    cluster = served(tls_cert=pem("server.pem"))
    client = Client(cluster.address, token=cluster.token, ca_cert=pem(trusted) if trusted else None)
    error = refused(TLSError, lambda: client.save(tmp_path / "a.snap"))
    assert "certificate is not accepted" in error.what
    assert "NOMAD_CACERT" in error.advice
    refused(TLSError, lambda: client.restore(MONDAY))
    assert list(tmp_path.iterdir()) == []


def test_another_name_in_the_certificate(served: Any, pem: Callable[[str], Path], tmp_path: Path) -> None:
    cluster = served(tls_cert=pem("named.pem"))

    def client(name: str | None) -> Client:
        return Client(cluster.address, token=cluster.token, ca_cert=pem("ca.pem"), tls_server_name=name)

    works(client(NAME), tmp_path)
    for wrong in (None, "", "client.global.nomad"):
        error = refused(TLSError, client(wrong).leader)
        assert "certificate is not accepted" in error.what
        assert "NOMAD_TLS_SERVER_NAME" in error.advice


@pytest.mark.parametrize("name", ["server.pem", "named.pem"])
def test_skip_verify_takes_any_certificate(name: str, served: Any, pem: Callable[[str], Path], tmp_path: Path) -> None:
    cluster = served(tls_cert=pem(name))
    works(Client(cluster.address, token=cluster.token, skip_verify=True), tmp_path)


def test_the_environment_names_certificates(served: Any, pem: Callable[[str], Path]) -> None:
    cluster = served(tls_cert=pem("named.pem"), tls_client_ca=pem("ca.pem"))
    environ = {
        "NOMAD_ADDR": cluster.address,
        "NOMAD_TOKEN": cluster.token,
        "NOMAD_CACERT": str(pem("ca.pem")),
        "NOMAD_CLIENT_CERT": str(pem("client-cert.pem")),
        "NOMAD_CLIENT_KEY": str(pem("client-key.pem")),
        "NOMAD_TLS_SERVER_NAME": NAME,
    }
    assert Client.from_env(environ).jobs()
    by_folder = environ | {"NOMAD_CACERT": "", "NOMAD_CAPATH": str(pem("ca-folder"))}
    assert Client.from_env(by_folder).jobs()
    unverified = environ | {"NOMAD_CACERT": "", "NOMAD_TLS_SERVER_NAME": "", "NOMAD_SKIP_VERIFY": "true"}
    assert Client.from_env(unverified).jobs()
    for left_out in ("NOMAD_CACERT", "NOMAD_TLS_SERVER_NAME", "NOMAD_CLIENT_KEY"):
        lacking = environ | {left_out: ""}
        refused(TLSError, partial(of_environment, lacking))


def test_a_restore_that_fails_before_its_upload_is_not_unclear(
    served: Any, pem: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a certificate that was changed between two requests."""
    monkeypatch.setattr(Client, "leader", lambda self: "127.0.0.1:4647")
    cluster = served(tls_cert=pem("server.pem"))
    refused(TLSError, lambda: Client(cluster.address, ca_cert=pem("other-ca.pem")).restore(MONDAY))


# -- the client's certificate


def test_a_client_certificate_where_one_is_wanted(served: Any, pem: Callable[[str], Path], tmp_path: Path) -> None:
    cluster = served(tls_cert=pem("server.pem"), tls_client_ca=pem("ca.pem"))
    common: dict[str, Any] = {"token": cluster.token, "ca_cert": pem("ca.pem")}
    works(Client(cluster.address, client_cert=pem("client.pem"), **common), tmp_path)
    apart: dict[str, Any] = {"client_cert": pem("client-cert.pem"), "client_key": pem("client-key.pem")}
    works(Client(cluster.address, **apart, **common), tmp_path)


@pytest.mark.parametrize("cert", [None, "other-client.pem"])
def test_without_one_that_it_takes_it_is_asked_for(cert: str | None, served: Any, pem: Callable[[str], Path]) -> None:
    """Python's asyncio, on the other side here, cuts the connection without a word of TLS's."""
    cluster = served(tls_cert=pem("server.pem"), tls_client_ca=pem("ca.pem"))
    client = Client(cluster.address, ca_cert=pem("ca.pem"), client_cert=pem(cert) if cert else None)
    for do in (client.leader, client.snapshot, lambda: client.restore(MONDAY)):
        with pytest.raises((TLSError, InterruptedStreamError)) as caught:
            do()
        assert "certificate" in str(caught.value)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("cert", [None, "other-client.pem"])
def test_a_server_that_says_so_is_told_of(
    version: ssl.TLSVersion, cert: str | None, pem: Callable[[str], Path]
) -> None:
    """As Go does, in an alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem("server.pem"))
    context.load_verify_locations(pem("ca.pem"))
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version

    def shake_hands(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock.dup() as underneath:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(sock, server_side=True)
            sock.close()
            underneath.shutdown(socket.SHUT_WR)
            while underneath.recv(1 << 16):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        shaken = threads.submit(shake_hands, listener)
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        client = Client(address, ca_cert=pem("ca.pem"), client_cert=pem(cert) if cert else None)
        error = refused(TLSError, client.leader)
        shaken.result(10)
    assert "does not accept this client" in error.what
    assert "NOMAD_CLIENT_CERT" in error.advice


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"ca_cert": "missing.pem"}, "missing.pem"),
        ({"ca_cert": "ca-folder/README"}, "README"),
        ({"ca_path": "missing"}, "missing"),
        ({"ca_path": "empty-folder"}, "empty-folder"),
        ({"client_cert": "missing.pem"}, "missing.pem"),
        ({"client_cert": "client-cert.pem"}, "client-cert.pem"),
        ({"client_cert": "client-cert.pem", "client_key": "server-key.pem"}, "client-cert.pem"),
        ({"client_key": "client-key.pem"}, "client-key.pem"),
    ],
)
def test_a_file_that_is_no_good_is_named(options: dict[str, str], place: str, pem: Callable[[str], Path]) -> None:
    paths: Any = {name: pem(file) for name, file in options.items()}
    error = refused(TLSError, lambda: Client("https://127.0.0.1:1", **paths))
    assert error.where.endswith(place)


def test_files_of_tls_are_not_looked_at_where_there_is_none() -> None:
    assert Client("http://127.0.0.1:1", ca_cert="missing.pem", client_key="missing.pem").address


# -- the wrong scheme


def test_https_to_a_port_that_speaks_http(served: Any) -> None:
    address = served().address.replace("http://", "https://")
    error = refused(TLSError, Client(address, skip_verify=True).leader)
    assert "does not speak https" in error.what
    assert "http://" in error.advice


def test_http_to_a_port_that_speaks_https(served: Any, pem: Callable[[str], Path]) -> None:
    """Which cuts the connection; a real server answers in clear text."""
    address = served(tls_cert=pem("server.pem")).address.replace("https://", "http://")
    refused(InterruptedStreamError, Client(address).leader)
    words = b"Client sent an HTTP request to an HTTPS server.\n"
    with listening(http(words, "400 Bad Request"), leader=None) as raw:
        error = refused(TLSError, Client(raw.address).leader)
        assert "use https://" in error.advice
        refused(TLSError, lambda: Client(raw.address).restore(MONDAY))
        assert raw.asked("PUT") == []


def test_what_speaks_neither_is_said() -> None:
    with listening(b"SSH-2.0-OpenSSH_9.6\r\n", leader=None) as raw, pytest.raises(ClusterError) as caught:
        Client(raw.address).leader()
    assert caught.value.where == raw.address


# -- unix sockets


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "a b.sock"
    with snapkit.serve(MONDAY, uds=path) as cluster:
        assert cluster.address == f"unix://{path}"
        client = Client(cluster.address, token=cluster.token)
        works(client, tmp_path)
        saved = client.save(tmp_path)
        assert re.fullmatch(r"nomad-local-\d{8}T\d{6}Z-97\.snap", Path(saved.path).name), "Raft's index went on"
        assert repr(client) == f"<Client unix://{path}, with a token>"
    assert not path.exists()
    error = refused(NoRouteError, client.leader)
    assert error.where == f"unix://{path}"


def test_a_unix_socket_that_is_no_socket_or_has_too_long_a_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(NoRouteError, Client(f"unix://{tmp_path}/file").leader)
    with pytest.raises(ClusterError):
        Client(f"unix://{tmp_path}/{'x' * 200}").leader()


# -- a proxy's login


@pytest.mark.parametrize("login", ["operator:p:ss w\u00f6rd", ("operator", "p:ss w\u00f6rd")])
def test_a_login(login: Any, served: Any, tmp_path: Path) -> None:
    cluster = served(http_auth="operator:p:ss w\u00f6rd")
    works(Client(cluster.address, token=cluster.token, http_auth=login), tmp_path)


def test_a_login_without_a_token() -> None:
    """A cluster without ACLs behind a proxy that has its own."""
    with snapkit.serve(MONDAY, http_auth="operator:hunter2") as cluster:
        assert Client(cluster.address, http_auth="operator:hunter2").leader()
        with pytest.raises(PermissionDeniedError) as caught:
            Client(cluster.address).leader()
    assert caught.value.status == 401


@pytest.mark.parametrize("login", [None, "operator:wrong-hunter", "somebody:hunter2"])
def test_a_wrong_login_is_said_and_not_shown(login: str | None, served: Any, tmp_path: Path) -> None:
    cluster = served(http_auth="operator:hunter2")
    client = Client(cluster.address, token=cluster.token, http_auth=login)
    error = refused(PermissionDeniedError, lambda: client.save(tmp_path / "a.snap"))
    assert "NOMAD_HTTP_AUTH" in error.advice
    assert "hunter" not in str(error)
    assert list(tmp_path.iterdir()) == []


# -- addresses


@pytest.mark.parametrize(
    ("address", "url", "host", "port"),
    [
        ("http://a:4646", "http://a:4646", "a", 4646),
        ("https://a", "https://a", "a", None),
        (" http://a:1/\n", "http://a:1", "a", 1),
        ("http://[::1]:4646", "http://[::1]:4646", "[::1]", 4646),
        ("http://a/nomad/", "http://a/nomad", "a", None),
        ("http://me:secret@a:1", "http://a:1", "a", 1),
    ],
)
def test_an_address_is_taken_apart(address: str, url: str, host: str, port: int | None) -> None:
    endpoint = parse_address(address)
    assert (endpoint.url, endpoint.shown, endpoint.host, endpoint.port) == (url, url, host, port)


def test_a_cluster_below_a_path() -> None:
    with listening(http(b"[]"), leader=None) as raw:
        Client(f"{raw.address}/proxied/nomad/").jobs()
    assert raw.heard[0].target == "/proxied/nomad/v1/jobs?namespace=%2A"


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with snapkit.serve(MONDAY, host="::1") as cluster:
        assert Client(cluster.address, token=cluster.token).jobs()


# -- the server's side


@pytest.mark.parametrize(
    "options",
    [
        {"tls_cert": "missing.pem"},
        {"tls_cert": "ca-folder/README"},
        {"tls_cert": "server-cert.pem", "tls_key": "client-key.pem"},
        {"tls_key": "server-key.pem"},
        {"tls_cert": "server.pem", "tls_client_ca": "missing.pem"},
    ],
)
def test_a_certificate_that_can_not_be_served_is_said(options: dict[str, str], pem: Callable[[str], Path]) -> None:
    paths = {name: pem(file) for name, file in options.items()}
    error = refused(SnapshotError, lambda: snapkit.serve(MONDAY, **paths))
    assert "TLS can't be set up" in error.what


def test_an_address_that_is_taken_or_can_not_be_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused(SnapshotError, lambda: snapkit.serve(MONDAY, port=port))
        assert f"127.0.0.1:{port}" in error.where
        assert "in use" in error.what
    impossible: list[dict[str, Any]] = [{"port": 99999}, {"host": "192.0.2.1"}, {"uds": tmp_path / "no" / "a.sock"}]
    for options in impossible:
        refused(SnapshotError, partial(snapkit.serve, MONDAY, **options))


def test_beyond_loopback_it_takes_consent_and_tls() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        require_consent(host, False, None)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        for consent, cert in ((False, None), (True, None), (False, "a.pem")):
            refused(SnapshotError, partial(require_consent, host, consent, cert))
        require_consent(host, True, "a.pem")


def test_close_gives_everything_back_and_may_be_called_twice(tmp_path: Path) -> None:
    def handles() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0  # noqa: PTH110, PTH208

    before = handles()
    cluster = snapkit.serve(MONDAY)
    Client(cluster.address, token=cluster.token).save(tmp_path / "a.snap")
    Client(cluster.address, token=cluster.token).restore(MONDAY)
    cluster.close()
    cluster.close()
    assert handles() == before
    refused(NoRouteError, Client(cluster.address).leader)


def test_a_served_cluster_is_told_by_its_repr() -> None:
    with snapkit.serve(MONDAY) as cluster:
        assert cluster.address in repr(cluster)
        assert str(MONDAY) in repr(cluster)
        assert cluster.token not in repr(cluster)


@pytest.mark.parametrize("source", [MONDAY, str(MONDAY), MONDAY.as_uri(), MONDAY.read_bytes()], ids=type)
def test_a_damaged_archive_is_not_served_and_named(source: Any, tmp_path: Path) -> None:
    snapkit.serve(source).close()
    data = MONDAY.read_bytes()[:-100]
    path = tmp_path / "cut.snap"
    path.write_bytes(data)
    bad = data if isinstance(source, bytes) else path.as_uri() if "://" in str(source) else type(source)(path)
    error = refused(ArchiveError, partial(snapkit.serve, bad))
    assert error.where.startswith(f"{len(data):,} bytes in memory" if isinstance(source, bytes) else str(bad))
