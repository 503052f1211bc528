"""`snapkit save` and `serve`: against a served cluster, by the environment that the nomad command has."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

import snapkit
from snapkit import Client
from snapkit.cluster import connection
from snapkit.cluster.server import Faults, ServedCluster
from tests import forge

from ..cluster.raw import Raw, contents, http, listening
from ..conftest import DATA, RAFT_DIRECTORIES, path_of
from . import Ran, command, environment, failed, fine, run

MONDAY = path_of("v2.0.5/monday")
FRIDAY = path_of("v2.0.5/friday")
CONFIRM = "f806eeae"  # the first characters of the week's ClusterID
NAMED = "nomad-127.0.0.1-20261123T220836Z-96.snap"


@pytest.fixture(autouse=True)
def _nobodys_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKOFF", (0.001,))
    for name in list(os.environ):
        if name.startswith("NOMAD_"):
            monkeypatch.delenv(name)


def process(*arguments: object, **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, with the environment as it is now."""
    return subprocess.run(
        command(*arguments), env=environment(), capture_output=True, timeout=60, check=False, **kwargs
    )


def jobs(cluster: ServedCluster) -> list[str]:
    return [job["ID"] for job in Client(cluster.address, token=cluster.token).jobs()]


# -- save


def test_save_says_what_it_saved(served: ServedCluster, tmp_path: Path) -> None:
    path = tmp_path / "a.snap"
    size = len(MONDAY.read_bytes())
    assert fine("save", path) == f"{path}: {size:,} bytes, index 96; the server's Digest matches\n"
    assert contents(tmp_path) == {"a.snap": MONDAY.read_bytes()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_save_in_a_folder_names_the_file(
    served: ServedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fine("save", tmp_path).startswith(f"{tmp_path / NAMED}: ")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert fine("save").startswith(f"{NAMED}: ")
    assert contents(tmp_path / "here") == {NAMED: MONDAY.read_bytes()}


def test_save_as_json(served: ServedCluster, tmp_path: Path) -> None:
    path, data = tmp_path / "a.snap", MONDAY.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    said = {"Path": str(path), "Size": len(data), "SHA256": sha256, "Digest": True, "Encrypted": False}
    assert json.loads(fine("save", "--json", path)) == said
    served.faults = Faults(digest="missing")
    assert json.loads(fine("save", "--json", "--overwrite", path)) == said | {"Digest": False}
    assert "was not sent, so nothing vouches" in fine("save", tmp_path / "b.snap")


def test_save_to_standard_output_is_the_archive_alone(served: ServedCluster) -> None:
    done = process("save", "-")
    assert (done.returncode, done.stdout, done.stderr) == (0, MONDAY.read_bytes(), b"")


def test_save_to_a_terminal_is_refused(served: ServedCluster) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        command("save", "-"), env=environment(), stdout=theirs, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(theirs)
    os.close(ours)
    assert (done.returncode, done.stderr.decode().splitlines()) == (
        2,
        ["snapkit: standard output: is a terminal; send it on to a file or a command"],
    )


def test_save_leaves_what_is_there_unless_told(served: ServedCluster, tmp_path: Path) -> None:
    path = tmp_path / "a.snap"
    path.write_bytes(b"mine")
    assert "is there already" in failed(run("save", path))
    assert contents(tmp_path) == {"a.snap": b"mine"}
    fine("save", "--overwrite", path)
    assert contents(tmp_path) == {"a.snap": MONDAY.read_bytes()}


def test_save_without_a_leader(served: ServedCluster, tmp_path: Path) -> None:
    served.faults = Faults(no_leader=True)
    line = failed(run("save", tmp_path / "a.snap"))
    assert "No cluster leader" in line
    assert "stale" in line
    fine("save", "--stale", tmp_path / "a.snap")
    assert contents(tmp_path) == {"a.snap": MONDAY.read_bytes()}


@pytest.mark.parametrize(
    ("faults", "hint"),
    [
        (Faults(cut=1000), "cut the connection"),
        (Faults(digest="wrong"), "arrived altered"),
        (Faults(corrupt=True), "fetch"),
        (Faults(forbidden=True), "answered 403 to GET /v1/operator/snapshot: Permission denied"),
        (Faults(html=True), "a page of HTML"),
    ],
)
def test_a_save_that_fails_is_one_line_and_no_file(
    faults: Faults, hint: str, served: ServedCluster, tmp_path: Path
) -> None:
    served.faults = faults
    for as_json in ([], ["--json"]):
        line = failed(run("save", *as_json, tmp_path / "a.snap"))
        assert hint in line
        assert served.address in line
        assert served.token not in line
    assert contents(tmp_path) == {}


def test_settings_that_can_not_be_used_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOMAD_ADDR", "http://me:hunter2@nowhere:port")
    assert "hunter2" not in failed(run("save", tmp_path))
    monkeypatch.setenv("NOMAD_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("NOMAD_SKIP_VERIFY", "perhaps")
    assert "NOMAD_SKIP_VERIFY" in failed(run("save", tmp_path))
    monkeypatch.delenv("NOMAD_SKIP_VERIFY")
    monkeypatch.setenv("NOMAD_TOKEN", "c0ffee\u00e9")
    assert "c0ffee" not in failed(run("save", tmp_path))


def test_a_refused_connection_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        monkeypatch.setenv("NOMAD_ADDR", f"http://127.0.0.1:{sock.getsockname()[1]}")
    assert "Connection refused" in failed(run("save", tmp_path))
    assert contents(tmp_path) == {}


def test_ctrl_c_while_saving_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = http(MONDAY.read_bytes())[:20_000]

    def half(server: Raw, sock: socket.socket) -> None:
        sock.sendall(begun)
        server.over.wait(30)

    with listening(half) as server:
        monkeypatch.setenv("NOMAD_ADDR", server.address)
        saving = subprocess.Popen(
            command("save", tmp_path / "a.snap"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with saving:
            while not server.heard:
                assert saving.poll() is None
            saving.send_signal(signal.SIGINT)
            out, err = saving.communicate(timeout=30)
    assert (saving.returncode, out, err) == (130, b"", b"snapkit: interrupted\n")
    assert contents(tmp_path) == {}


def test_save_to_s3_and_restore_from_there(served: ServedCluster, tmp_path: Path) -> None:
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    s3 = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    s3.start()
    try:
        host, port = s3.get_host_and_port()
        variables = environment(
            FSSPEC_S3_ENDPOINT_URL=f"http://{host}:{port}",
            AWS_ACCESS_KEY_ID="testing",
            AWS_SECRET_ACCESS_KEY="hunter2",
            AWS_DEFAULT_REGION="us-east-1",
            HOME=tmp_path,
        )
        requests.put(f"http://{host}:{port}/backups", timeout=60).raise_for_status()

        def snapkit_(*arguments: object) -> Ran:
            line = [sys.executable, "-c", "from snapkit.cli import main; main()", *map(str, arguments)]
            done = subprocess.run(line, env=variables, capture_output=True, text=True, timeout=60, check=False)
            return Ran(done.returncode, done.stdout, done.stderr)

        first = snapkit_("save", "s3://backups/a.snap")
        assert first == Ran(0, first.out, "")
        assert first.out.startswith("s3://backups/a.snap: 38,490 bytes")
        served.faults = Faults(cut=1000)
        assert "cut the connection" in failed(snapkit_("save", "--overwrite", "s3://backups/a.snap"))
        served.faults = Faults()
        Client(served.address, token=served.token).restore(FRIDAY)
        safe = ("--confirm", CONFIRM, "--patience", 0, "--journal", tmp_path / "j.jsonl")
        assert snapkit_("restore", "s3://backups/a.snap", *safe).status == 0
    finally:
        s3.stop()
    Client(served.address, token=served.token).save(tmp_path / "b.snap")
    assert forge.state_of((tmp_path / "b.snap").read_bytes()) == forge.state_of(MONDAY.read_bytes())


# -- serve


@contextmanager
def serving(*arguments: object, **kwargs: Any) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`snapkit serve` on a port that is free, and the variables that it says to export."""
    line = command("serve", *arguments, "--port", 0)
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, env=environment(), **streams, **kwargs) as running:
        try:
            assert running.stdout
            exported = {}
            for _ in range(2):
                said = running.stdout.readline()
                found = re.fullmatch(r"export (NOMAD_ADDR|NOMAD_TOKEN)=(\S+)\n", said)
                assert found, said or (running.stderr and running.stderr.read())
                exported[found[1]] = found[2]
            yield running, exported
        finally:
            if running.poll() is None:
                running.kill()


def test_serve_says_what_to_export_and_ends_by_ctrl_c() -> None:
    with serving(MONDAY) as (running, exported):
        assert set(exported) == {"NOMAD_ADDR", "NOMAD_TOKEN"}
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", exported["NOMAD_ADDR"])
        with Client.from_env(exported).snapshot() as live, snapkit.open(MONDAY) as saved:
            assert live.meta.id == saved.meta.id
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (0, "")
    assert err.startswith("Paste these two lines into another terminal")
    assert err.endswith("Ctrl-C ends it.\n")


def test_save_and_restore_work_with_what_serve_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(MONDAY) as (_, exported):
        for name, value in exported.items():
            monkeypatch.setenv(name, value)
        fine("save", tmp_path / "monday.snap")
        fine("restore", FRIDAY, "--confirm", CONFIRM, "--patience", 0, "--journal", tmp_path / "j.jsonl")
        fine("save", tmp_path / "friday.snap")
    assert (tmp_path / "monday.snap").read_bytes() == MONDAY.read_bytes()
    assert forge.state_of((tmp_path / "friday.snap").read_bytes()) == forge.state_of(FRIDAY.read_bytes())


def test_serve_from_standard_input_and_of_a_raft_directory() -> None:
    with MONDAY.open("rb") as stdin, serving("-", stdin=stdin) as (_, exported):
        assert Client.from_env(exported).jobs()
    with serving(DATA / RAFT_DIRECTORIES[-1]) as (_, exported):
        assert Client.from_env(exported).nodes()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--fault-no-leader"], "No cluster leader"),
        (["--fault-cut", "1000"], "cut the connection"),
        (["--fault-digest", "wrong"], "arrived altered"),
        (["--fault-corrupt"], "damaged"),
        (["--fault-forbidden"], "Permission denied"),
    ],
)
def test_serve_makes_faults(options: list[str], hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(MONDAY, *options) as (running, exported):
        for name, value in exported.items():
            monkeypatch.setenv(name, value)
        assert hint in failed(run("save", tmp_path / "a.snap"))
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert "Traceback" not in err
    assert contents(tmp_path) == {}


def test_serve_with_tls(tmp_path: Path) -> None:
    ca = trustme.CA()
    cert = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    cert.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    cert.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    options = ("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem")
    with serving(MONDAY, *options, "--version", "1.8.4") as (_, exported):
        assert exported["NOMAD_ADDR"].startswith("https://")
        client = Client.from_env(exported | {"NOMAD_CACERT": str(tmp_path / "ca.pem")})
        assert [member["Tags"]["build"] for member in client.members()] == ["1.8.4"]


@pytest.mark.parametrize("options", [[], ["--i-know"], ["--tls-cert", "a.pem", "--tls-key", "a.pem"]])
def test_serve_to_the_network_takes_consent_and_tls(options: list[str]) -> None:
    line = failed(run("serve", MONDAY, "--bind", "0.0.0.0", "--port", 0, *options))
    assert line == "snapkit: --bind 0.0.0.0: is not loopback; add --i-know, --tls-cert and --tls-key"


def test_what_can_not_be_served_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.snap").write_bytes(MONDAY.read_bytes()[:-100])
    assert str(tmp_path / "a.snap") in failed(run("serve", tmp_path / "a.snap", "--port", 0))
    assert "missing.snap" in failed(run("serve", tmp_path / "missing.snap", "--port", 0))
    line = failed(run("serve", MONDAY, "--port", 0, "--tls-cert", tmp_path / "missing.pem"))
    assert "TLS can't be set up" in line
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}: can't be listened on" in failed(run("serve", MONDAY, "--port", port))
    assert "say wrong or missing" in failed(run("serve", MONDAY, "--port", 0, "--fault-digest", "wrnog"))
