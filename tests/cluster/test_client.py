"""The client: what is saved and restored, what is refused, in what words, and what nobody gets to see."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import logging
import os
import pickle
import re
import socket
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest

import snapkit
from snapkit import Client
from snapkit.cluster import connection
from snapkit.cluster.client import (
    ClusterError,
    ClusterTimeoutError,
    DigestError,
    InterruptedStreamError,
    NoLeaderError,
    NoRouteError,
    NotAnArchiveError,
    PermissionDeniedError,
    RedirectError,
    RestoreUnclearError,
    ServerError,
)
from snapkit.cluster.connection import Connection
from snapkit.cluster.server import Faults, ServedCluster
from snapkit.errors import ArchiveError, RecordError, SnapshotError, SourceError, TargetExistsError
from tests import forge

from ..conftest import DATA, RAFT_DIRECTORIES, ROOT, path_of
from .raw import Raw, contents, digest, http, large, reset, silent

MONDAY = path_of("v2.0.5/monday").read_bytes()
FRIDAY = path_of("v2.0.5/friday").read_bytes()
STATE = forge.LITTLE
SMALL = forge.archive(STATE)
LARGE = large()
TOKEN = "c0ffee00-5ec7-e7aa-b1de-0123456789ab"
SNAPSHOT = "/v1/operator/snapshot"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions follow without a pause, and nothing of the shell's is used."""
    monkeypatch.setattr(connection, "BACKOFF", (0.001, 0.001, 0.001))
    for name in list(os.environ):
        if name.startswith("NOMAD_"):
            monkeypatch.delenv(name)


@pytest.fixture
def served() -> Iterator[ServedCluster]:
    """Monday as a cluster."""
    with snapkit.serve(path_of("v2.0.5/monday")) as cluster:
        yield cluster


@pytest.fixture
def client(served: ServedCluster) -> Client:
    return Client(served.address, token=served.token)


def fails(kind: type[SnapshotError], do: Callable[[], object]) -> Any:
    """The error, which is of just this kind and tells what, where and what next in one line."""
    with pytest.raises(kind) as caught:
        do()
    error = caught.value
    assert type(error) is kind
    assert error.what
    assert error.where
    assert "\n" not in str(error)
    return error


def no_save(kind: type[SnapshotError], client: Client, folder: Path, **kwargs: Any) -> Any:
    """The error of saving, to a new file as to one that is there: neither of which leaves a trace."""
    (folder / "old.snap").write_bytes(b"of yesterday")
    fails(kind, lambda: client.save(folder / "new.snap", **kwargs))
    fails(kind, lambda: client.save(folder, **kwargs))
    error = fails(kind, lambda: client.save(folder / "old.snap", overwrite=True, **kwargs))
    assert contents(folder) == {"old.snap": b"of yesterday"}
    return error


# -- save


@pytest.mark.parametrize("archive", ["v0.12.12/monday", "v2.0.5/friday", "every-table/every-table"])
def test_a_save_is_the_same_bytes_0600_and_described(archive: str, tmp_path: Path) -> None:
    data = path_of(archive).read_bytes()
    with snapkit.serve(path_of(archive)) as cluster:
        saved = Client(cluster.address, token=cluster.token).save(tmp_path / "a.snap")
    assert contents(tmp_path) == {"a.snap": data}
    assert stat.S_IMODE((tmp_path / "a.snap").stat().st_mode) == 0o600
    assert (saved.path, saved.size, saved.digest_checked) == (str(tmp_path / "a.snap"), len(data), True)
    assert saved.sha256 == hashlib.sha256(data).hexdigest()
    assert saved.meta == json.loads(forge.untar(data)[0][1])


def test_saving_asks_for_the_bytes_as_they_are(raw: Callable[..., Raw], tmp_path: Path) -> None:
    server = raw(http(SMALL))
    Client(server.address, token=TOKEN).save(tmp_path / "a.snap")
    (heard,) = server.heard
    assert (heard.method, heard.target) == ("GET", SNAPSHOT)
    assert heard.headers["accept-encoding"] == "identity"
    assert heard.headers["x-nomad-token"] == TOKEN


def test_stale_and_region_are_asked_for_and_the_namespace_is_not(raw: Callable[..., Raw], tmp_path: Path) -> None:
    server = raw(http(SMALL))
    client = Client(server.address, region="north", namespace="apps")
    client.save(tmp_path / "a.snap", stale=True)
    client.save(tmp_path / "b.snap")
    assert [heard.target for heard in server.heard] == [f"{SNAPSHOT}?region=north&stale=", f"{SNAPSHOT}?region=north"]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_in_a_folder_the_name_tells_cluster_time_and_index(scheme: str, client: Client, tmp_path: Path) -> None:
    saved = client.save(f"{scheme}{tmp_path}")
    assert contents(tmp_path) == {"nomad-127.0.0.1-20261123T220836Z-96.snap": MONDAY}
    assert Path(saved.path) == tmp_path / "nomad-127.0.0.1-20261123T220836Z-96.snap"
    client.region = "north west/1"
    assert client.default_name(saved.meta) == "nomad-north-west-1-20261123T220836Z-96.snap"


def test_without_a_name_it_is_the_current_folder(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client.save()
    assert list(contents(tmp_path).values()) == [MONDAY]


def test_in_a_folder_too_nothing_is_replaced_unless_told(client: Client, tmp_path: Path) -> None:
    name = Path(client.save(tmp_path).path)
    name.write_bytes(b"mine")
    fails(TargetExistsError, lambda: client.save(tmp_path))
    assert contents(tmp_path) == {name.name: b"mine"}
    client.save(tmp_path, overwrite=True)
    assert contents(tmp_path) == {name.name: MONDAY}


def test_a_file_that_is_there_stays_unless_told_and_the_cluster_is_not_asked(
    raw: Callable[..., Raw], tmp_path: Path
) -> None:
    server, path = raw(http(SMALL)), tmp_path / "a.snap"
    path.write_bytes(b"mine")
    client = Client(server.address)
    error = fails(TargetExistsError, lambda: client.save(path))
    assert error.where == str(path)
    assert contents(tmp_path) == {"a.snap": b"mine"}
    assert server.connections == 0
    client.save(path, overwrite=True)
    assert contents(tmp_path) == {"a.snap": SMALL}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_appears_meanwhile_stays(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.snap"

    def appear(done: int, total: int | None) -> None:
        path.write_bytes(b"mine")

    fails(TargetExistsError, lambda: client.save(path, progress=appear))
    assert contents(tmp_path) == {"a.snap": b"mine"}


def test_a_folder_that_is_not_there_is_said(client: Client, tmp_path: Path) -> None:
    error = fails(SourceError, lambda: client.save(tmp_path / "no" / "a.snap"))
    assert "No such file or directory" in error.what
    assert error.where == str(tmp_path / "no" / "a.snap")


def test_a_full_disk_is_said_and_leaves_nothing(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    error = no_save(SourceError, client, tmp_path)
    assert "No space left" in error.what


def test_progress_grows_to_the_end_and_knows_the_total_where_the_server_says_it(
    served: ServedCluster, client: Client, raw: Callable[..., Raw], tmp_path: Path
) -> None:
    told: list[tuple[int, int | None]] = []
    client.save(tmp_path / "chunked.snap", progress=lambda *args: told.append(args))
    assert told[-1] == (len(MONDAY), None)

    told.clear()
    Client(raw(http(LARGE)).address).save(tmp_path / "length.snap", progress=lambda *args: told.append(args))
    assert len(told) > 3
    assert told == sorted(told)
    assert {total for _, total in told} == {len(LARGE)}
    assert told[-1][0] == len(LARGE)


@pytest.mark.parametrize("at", [1, 2])
def test_ctrl_c_leaves_nothing(at: int, raw: Callable[..., Raw], tmp_path: Path) -> None:
    client = Client(raw(http(LARGE)).address)
    (tmp_path / "old.snap").write_bytes(b"of yesterday")
    calls = []

    def progress(done: int, total: int | None) -> None:
        calls.append(done)
        if len(calls) == at:
            raise KeyboardInterrupt

    for name in ("old.snap", "new.snap", ""):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            client.save(tmp_path / name, overwrite=True, progress=progress)
    assert contents(tmp_path) == {"old.snap": b"of yesterday"}


def test_a_stream_without_a_length_or_chunks_is_whole_when_the_archive_is(
    raw: Callable[..., Raw], tmp_path: Path
) -> None:
    saved = Client(raw(http(SMALL, Content_Length=None)).address).save(tmp_path / "a.snap")
    assert (saved.size, contents(tmp_path)) == (len(SMALL), {"a.snap": SMALL})


@pytest.mark.parametrize("length", [f"{len(SMALL)}, {len(SMALL)}", "many", "-1"])
def test_a_length_that_is_no_number_does_not_matter(length: str, raw: Callable[..., Raw], tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    server = raw(http(SMALL, Content_Length=length))
    Client(server.address).save(tmp_path / "a.snap", progress=lambda *args: told.append(args))
    assert contents(tmp_path) == {"a.snap": SMALL}
    assert told == [(len(SMALL), None)]


# -- save to other places


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_to_standard_output(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    saved = client.save("-")
    assert (saved.path, saved.size, out.getvalue()) == ("-", len(MONDAY), MONDAY)


def test_to_standard_output_only_what_is_whole(served: ServedCluster, client: Client, monkeypatch: Any) -> None:
    served.faults = Faults(corrupt=True)
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    with pytest.raises(SnapshotError):
        client.save("-")
    assert out.getvalue() == b""


def test_a_terminal_is_refused(raw: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch) -> None:
    server = raw(http(SMALL))
    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO()))
    error = fails(SourceError, lambda: Client(server.address).save("-"))
    assert "is a terminal" in error.what
    assert server.connections == 0


def test_to_a_url(client: Client) -> None:
    system = fsspec.filesystem("memory")
    system.makedirs("/to-a-url")
    try:
        assert client.save("memory://to-a-url/a.snap").path == "memory://to-a-url/a.snap"
        assert system.cat("/to-a-url/a.snap") == MONDAY
        named = client.save("memory://to-a-url/").path
        assert named == "memory://to-a-url/nomad-127.0.0.1-20261123T220836Z-96.snap"
        assert system.cat(named) == MONDAY
    finally:
        system.rm("/to-a-url", recursive=True)


def test_an_object_that_is_there_stays_unless_told(served: ServedCluster, client: Client) -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/stays/a.snap", b"mine")
    try:
        fails(TargetExistsError, lambda: client.save("memory://stays/a.snap"))
        served.faults = Faults(corrupt=True)
        with pytest.raises(SnapshotError):
            client.save("memory://stays/a.snap", overwrite=True)
        with pytest.raises(SnapshotError):
            client.save("memory://stays/b.snap")
        assert system.find("/stays") == ["/stays/a.snap"]
        assert system.cat("/stays/a.snap") == b"mine"
        served.faults = Faults()
        client.save("memory://stays/a.snap", overwrite=True)
        assert system.cat("/stays/a.snap") == MONDAY
    finally:
        system.rm("/stays", recursive=True)


def test_a_scheme_that_nobody_knows_is_said_without_its_password(client: Client) -> None:
    error = fails(SourceError, lambda: client.save("nosuchscheme://user:hunter2@host/a.snap"))
    assert "hunter2" not in str(error)


# -- what is put around it on the way


def deflated(data: bytes, window: int) -> bytes:
    compress = zlib.compressobj(6, zlib.DEFLATED, window)
    return compress.compress(data) + compress.flush()


LAYERS = {
    "gzip": forge.squeeze(SMALL),
    "x-gzip": forge.squeeze(SMALL),
    "GZip": forge.squeeze(SMALL[:100]) + forge.squeeze(SMALL[100:]),
    "deflate": deflated(SMALL, -zlib.MAX_WBITS),
    "Deflate": deflated(SMALL, zlib.MAX_WBITS),
    "deflate, gzip": forge.squeeze(deflated(SMALL, -zlib.MAX_WBITS)),
    "identity": SMALL,
    "": SMALL,
}


@pytest.mark.parametrize("coding", LAYERS)
def test_an_outer_layer_is_taken_off_and_the_digest_is_of_what_is_in_it(
    coding: str, raw: Callable[..., Raw], tmp_path: Path
) -> None:
    server = raw(http(LAYERS[coding], Content_Encoding=coding, Digest=digest(SMALL)))
    saved = Client(server.address).save(tmp_path / "a.snap")
    assert contents(tmp_path) == {"a.snap": SMALL}
    assert (saved.size, saved.digest_checked) == (len(SMALL), True)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "Deflate", "deflate, gzip"])
def test_an_outer_layer_that_ends_early_or_is_damaged_is_an_interrupted_stream(
    coding: str, raw: Callable[..., Raw], tmp_path: Path
) -> None:
    layered = LAYERS[coding]
    bad = [layered[:-1], layered[: len(layered) // 2]]
    if coding != "deflate":  # which has no checksum of its own: what is damaged in it, the Digest tells
        bad.append(layered[:30] + b"\0\xff\0\xff" + layered[34:])
    for data in bad:
        server = raw(http(data, Content_Encoding=coding, Digest=digest(SMALL)))
        error = no_save(InterruptedStreamError, Client(server.address), tmp_path)
        assert "layer around the archive" in error.what


def test_an_encoding_that_nobody_asked_for_is_said(raw: Callable[..., Raw], tmp_path: Path) -> None:
    error = no_save(ClusterError, Client(raw(http(SMALL, Content_Encoding="br")).address), tmp_path)
    assert "'br'" in error.what


@pytest.mark.parametrize(
    ("answer", "kind", "hint"),
    [
        (http(SMALL, Content_Encoding="gzip," * 10_000 + "gzip"), ClusterError, "10,001 encodings"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n" + SMALL, InterruptedStreamError, "cut"),
        (b"HTTP/1.1 302 Found\r\nLocation: //[::1\r\n\r\n", RedirectError, "points to no address"),
        (b"HTTP/1.1 500 \x1b[31m5ec4e7-70ce4\r\nContent-Length: 0\r\n\r\n", ServerError, ": [31m[secret]"),
    ],
)
def test_an_answer_that_is_made_to_confuse_is_one_of_its_errors(
    answer: bytes, kind: type[ClusterError], hint: str, raw: Callable[..., Raw], tmp_path: Path
) -> None:
    error = no_save(kind, Client(raw(*[answer] * 5).address, token="5ec4e7-70ce4"), tmp_path)
    assert hint in str(error)
    assert "5ec4e7" not in str(error)


def test_an_answer_without_end_does_not_fill_the_memory(
    raw: Callable[..., Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapkit.cluster.client.MOST_ANSWER", 1000)
    error = fails(ServerError, lambda: Client(raw(http(b"[" + b" " * 2_000 + b"]")).address).get("jobs"))
    assert "more than 1,000 bytes" in str(error)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, deflate"])
def test_what_a_served_cluster_compresses_once_more_is_the_same_archive(
    coding: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Connection.exchange

    def asking(self: Connection, *args: Any, **kwargs: Any) -> Any:
        return exchange(self, *args, **kwargs | {"headers": {"Accept-Encoding": coding}})

    monkeypatch.setattr(Connection, "exchange", asking)
    assert client.save(tmp_path / "a.snap").digest_checked
    assert contents(tmp_path) == {"a.snap": MONDAY}
    assert client.leader()


# -- what arrives altered


@pytest.mark.parametrize("header", [None, "", "md5=abc", "sha-512=AAAA"])
def test_a_digest_that_is_missing_is_reported(header: str | None, raw: Callable[..., Raw], tmp_path: Path) -> None:
    saved = Client(raw(http(SMALL, Digest=header)).address).save(tmp_path / "a.snap")
    assert not saved.digest_checked
    assert contents(tmp_path) == {"a.snap": SMALL}


@pytest.mark.parametrize("header", ["SHA-256={}", "md5=abc, sha-256={}", "sha-256={} , sha-512=AAAA"])
def test_a_digest_among_others_is_checked(header: str, raw: Callable[..., Raw], tmp_path: Path) -> None:
    right = header.format(digest(SMALL).partition("=")[2])
    assert Client(raw(http(SMALL, Digest=right)).address).save(tmp_path / "a.snap").digest_checked
    wrong = header.format(digest(LARGE).partition("=")[2])
    fails(DigestError, lambda: Client(raw(http(SMALL, Digest=wrong)).address).save(tmp_path / "b.snap"))


@pytest.mark.parametrize("header", [digest(b""), "sha-256=", "sha-256=?", "sha-256=AAAA"])
def test_a_digest_that_differs_is_an_error(header: str, raw: Callable[..., Raw], tmp_path: Path) -> None:
    error = no_save(DigestError, Client(raw(http(SMALL, Digest=header)).address), tmp_path)
    assert digest(SMALL).partition("=")[2] in error.what
    assert "save it again" in error.advice


def test_a_digest_tells_damage_on_the_way_from_damage_at_the_server(raw: Callable[..., Raw], tmp_path: Path) -> None:
    damaged = bytearray(SMALL)
    damaged[len(SMALL) // 2] ^= 1
    on_the_way = Client(raw(http(bytes(damaged), Digest=digest(SMALL))).address)
    no_save(DigestError, on_the_way, tmp_path)
    at_the_server = Client(raw(http(bytes(damaged), Digest=digest(bytes(damaged)))).address)
    error = no_save(ArchiveError, at_the_server, tmp_path)
    assert error.where.startswith(at_the_server.address)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"<html><body>Please log in</body></html>", "a page of HTML"),
        (b"\n <!DOCTYPE html>", "a page of HTML"),
        (b'{"errors": []}', "JSON"),
        (b"PK\3\4", "50 4b 03 04"),
        (b"x", "78"),
    ],
)
def test_a_page_with_status_200_is_no_archive(body: bytes, hint: str, raw: Callable[..., Raw], tmp_path: Path) -> None:
    error = no_save(NotAnArchiveError, Client(raw(http(body)).address), tmp_path)
    assert hint in error.what
    assert "proxy" in error.advice


@pytest.mark.parametrize("end", [0, 1, 2, 300, len(SMALL) - 1])
@pytest.mark.parametrize("announced", ["length", "digest", "nothing"])
def test_a_body_that_is_cut_is_an_interrupted_stream(
    end: int, announced: str, raw: Callable[..., Raw], tmp_path: Path
) -> None:
    """Nomad's guide: a stream that breaks can end as a clean-looking short body."""
    headers: dict[str, Any] = {"Content_Length": len(SMALL) if announced == "length" else None}
    if announced == "digest":
        headers["Digest"] = digest(SMALL)
    server = raw(http(SMALL[:end], **headers))
    no_save(InterruptedStreamError, Client(server.address), tmp_path)
    assert server.connections == 3, "a body that has begun is not asked for again"


def test_a_reset_in_the_middle_of_the_body_is_an_interrupted_stream(raw: Callable[..., Raw], tmp_path: Path) -> None:
    def half(server: Raw, sock: socket.socket) -> None:
        sock.sendall(http(LARGE)[: len(LARGE) // 2])
        reset(server, sock)

    no_save(InterruptedStreamError, Client(raw(half).address), tmp_path)


def test_an_archive_that_the_server_has_cut_is_not_the_networks_fault(raw: Callable[..., Raw], tmp_path: Path) -> None:
    cut = SMALL[:-9]
    error = no_save(ArchiveError, Client(raw(http(cut, Digest=digest(cut))).address), tmp_path)
    assert "ends too early" in error.what


@pytest.mark.parametrize(
    ("data", "kind", "hint"),
    [
        (forge.archive(STATE[:-1]), RecordError, "the state ends inside it"),
        (forge.archive(STATE, forge.meta_json(5)), ArchiveError, "Size"),
        (forge.archive(STATE, forge.meta_json(len(STATE), Version=9)), ArchiveError, "Version is 9"),
        (SMALL + b"more", ArchiveError, ""),
        (forge.squeeze(forge.tar([*forge.members(STATE), ("x", b"")])), ArchiveError, "unexpected file"),
    ],
    ids=["records", "size", "version", "trailing", "member"],
)
def test_a_server_that_sends_what_no_server_takes_is_told_of(
    data: bytes, kind: type[SnapshotError], hint: str, raw: Callable[..., Raw], tmp_path: Path
) -> None:
    client = Client(raw(http(data, Digest=digest(data))).address)
    error = no_save(kind, client, tmp_path)
    assert hint in error.what
    assert error.where.startswith(client.address)


# -- snapshot


def test_the_live_state_is_a_snapshot(client: Client) -> None:
    with client.snapshot() as live, snapkit.open(MONDAY) as saved:
        assert live.meta.id == saved.meta.id
        assert live.tables.equals(saved.tables)
        assert live.meta.source == client.address


def test_a_snapshot_is_checked_too(served: ServedCluster, client: Client) -> None:
    served.faults = Faults(digest="wrong")
    fails(DigestError, client.snapshot)
    served.faults = Faults(no_leader=True)
    with client.snapshot(stale=True) as live:
        assert len(live.jobs)


# -- restore

LISTS = ["jobs", "nodes", "allocations", "evaluations", "deployments", "acl/tokens", "acl/policies", "namespaces"]


def lists(cluster: ServedCluster) -> dict[str, Any]:
    client = Client(cluster.address, token=cluster.token)
    return {path: client.get(path, namespace="*").value for path in LISTS}


@pytest.mark.parametrize(("one", "other"), [("v2.0.5/monday", "v2.0.5/friday"), ("v1.8.4/monday", "v2.0.5/monday")])
def test_a_round_trip_both_ways(one: str, other: str, tmp_path: Path) -> None:
    with snapkit.serve(path_of(one)) as a, snapkit.serve(path_of(other)) as b:
        of_a, of_b = lists(a), lists(b)
        assert of_a != of_b
        clients = [Client(cluster.address, token=cluster.token) for cluster in (a, b)]
        for name, client in zip(("a.snap", "b.snap"), clients, strict=True):
            client.save(tmp_path / name)
        assert clients[1].restore(tmp_path / "a.snap").meta == json.loads(forge.untar(path_of(one).read_bytes())[0][1])
        assert lists(b) == of_a
        clients[0].restore(tmp_path / "b.snap")
        assert lists(a) == of_b
        clients[1].save(tmp_path / "again.snap")
    assert forge.state_of((tmp_path / "again.snap").read_bytes()) == forge.state_of(path_of(one).read_bytes())


def test_a_restore_goes_out_once_and_raw_with_its_length(raw: Callable[..., Raw]) -> None:
    server = raw(http())
    Client(server.address, token=TOKEN, region="north", namespace="apps").restore(LARGE)
    (put,) = server.asked("PUT")
    assert put.body == LARGE
    assert put.target == f"{SNAPSHOT}?region=north"
    assert put.headers["content-length"] == str(len(LARGE))
    assert put.headers["content-type"] == "application/octet-stream"
    assert put.headers["x-nomad-token"] == TOKEN
    assert "transfer-encoding" not in put.headers
    assert [heard.target for heard in server.asked("GET")] == ["/v1/status/leader?region=north&namespace=apps"]


def pipe(data: bytes) -> Any:
    """A stream that can't be read twice."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self._rest = data

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            piece, self._rest = self._rest[:1000], self._rest[1000:]
            return piece

    return Pipe()


@pytest.mark.parametrize("kind", ["path", "text", "file url", "url", "bytes", "memoryview", "stream", "pipe", "fifo"])
def test_whatever_the_archive_is_kept_in(kind: str, raw: Callable[..., Raw], tmp_path: Path) -> None:
    path = tmp_path / "a.snap"
    path.write_bytes(SMALL)
    fsspec.filesystem("memory").pipe("/restored.snap", SMALL)
    read, write = os.pipe()
    os.write(write, SMALL)
    os.close(write)
    sources: dict[str, Any] = {
        "path": path,
        "text": str(path),
        "file url": path.as_uri(),
        "url": "memory://restored.snap",
        "bytes": SMALL,
        "memoryview": memoryview(SMALL),
        "stream": io.BytesIO(SMALL),
        "pipe": pipe(SMALL),
        "fifo": f"/dev/fd/{read}",
    }
    server = raw(http())
    found = Client(server.address).restore(sources[kind])
    os.close(read)
    assert found.meta["Index"] == 77
    (put,) = server.asked("PUT")
    assert put.body == SMALL


def test_progress_of_a_restore_grows_to_the_end(raw: Callable[..., Raw]) -> None:
    told: list[tuple[int, int | None]] = []
    Client(raw(http()).address).restore(LARGE, progress=lambda *args: told.append(args))
    assert len(told) > 3
    assert told == sorted(set(told))
    assert told[-1] == (len(LARGE), len(LARGE))


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


HASHED = forge.members(STATE)
DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "html": b"<html>Please log in</html>",
    "not gzipped": forge.tar(HASHED),
    "gzip in gzip": forge.squeeze(SMALL),
    "cut": MONDAY[: len(MONDAY) // 2],
    "cut in its last byte": MONDAY[:-1],
    "a flipped bit": flipped(MONDAY),
    "bytes after the end": MONDAY + b"x",
    "bytes after the tar": forge.squeeze(forge.tar(HASHED) + bytes(512)),
    "a hash": forge.squeeze(forge.tar([HASHED[0], ("state.bin", STATE[:-1] + b"!"), HASHED[2]])),
    "a member missing": forge.squeeze(forge.tar(HASHED[:2])),
    "a member more": forge.squeeze(forge.tar([*HASHED, ("x", b"content")])),
    "size": forge.archive(STATE, forge.meta_json(len(STATE) + 1)),
    "version": forge.archive(STATE, forge.meta_json(len(STATE), Version=9)),
    "version missing": forge.archive(STATE, forge.meta_json(len(STATE), Version=None)),
    "the last record cut": forge.archive(STATE[:-3]),
    "no header of the state": forge.archive(b"\xc1"),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("kind", ["file", "bytes", "stream"])
def test_a_damaged_archive_is_refused_before_the_cluster_hears_of_it(
    damage: str, kind: str, raw: Callable[..., Raw], tmp_path: Path
) -> None:
    server, data, path = raw(http()), DAMAGED[damage], tmp_path / "a.snap"
    path.write_bytes(data)
    source: Any = {"file": path, "bytes": data, "stream": io.BytesIO(data)}[kind]
    with pytest.raises(SnapshotError) as caught:
        Client(server.address).restore(source)
    assert isinstance(caught.value, ArchiveError | RecordError)
    assert server.connections == 0
    if kind == "file":
        assert caught.value.where.startswith(str(path))


@pytest.mark.parametrize("source", [DATA / RAFT_DIRECTORIES[0], DATA / "v1.8.4" / "raft-snapshots"])
def test_a_servers_own_copy_is_refused_with_the_way_to_an_archive(source: Path, raw: Callable[..., Raw]) -> None:
    server = raw(http())
    error = fails(NotAnArchiveError, lambda: Client(server.address).restore(source))
    assert "archive.write(" in error.advice
    assert server.connections == 0


def test_the_way_to_an_archive_of_a_servers_own_copy_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = fails(NotAnArchiveError, lambda: Client().restore(DATA / RAFT_DIRECTORIES[0]))
    monkeypatch.chdir(tmp_path)
    exec(error.advice.partition(": ")[2], {"snapkit": snapkit})
    with snapkit.serve(MONDAY) as cluster:
        Client(cluster.address, token=cluster.token).restore("made.snap")


def test_a_bare_state_is_refused(raw: Callable[..., Raw]) -> None:
    server = raw(http())
    error = fails(NotAnArchiveError, lambda: Client(server.address).restore(STATE))
    assert "state file" in error.what
    assert server.connections == 0


@pytest.mark.parametrize("source", ["no-such-file.snap", "memory://no/such.snap", "nosuchscheme://a:hunter2@b/c"])
def test_a_source_that_can_not_be_read_is_said(source: str, raw: Callable[..., Raw]) -> None:
    server = raw(http())
    error = fails(SourceError, lambda: Client(server.address).restore(source))
    assert "hunter2" not in str(error)
    assert server.connections == 0


def test_a_stream_of_text_is_refused(raw: Callable[..., Raw]) -> None:
    server = raw(http())
    fails(SourceError, lambda: Client(server.address).restore(io.StringIO("x")))  # type: ignore[arg-type]
    assert server.connections == 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("failed to restore from snapshot: failed to decompress snapshot: gzip: invalid header", ServerError),
        ("failed to restore from snapshot: failed to read snapshot file: unexpected file", ServerError),
        ("failed to restore from snapshot: gzip: invalid header", ServerError),
        ("No cluster leader", NoLeaderError),
        ("No path to region", ServerError),
    ],
)
def test_what_the_server_refuses_is_said_in_its_words_and_is_not_unclear(
    body: str, kind: type[ServerError], raw: Callable[..., Raw]
) -> None:
    server = raw(http(body.encode(), "500 Internal Server Error"))
    error = fails(kind, lambda: Client(server.address).restore(SMALL))
    assert (error.status, error.body) == (500, body)
    assert body in error.what
    assert len(server.asked("PUT")) == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (http(b"failed to restore from snapshot: Raft error when restoring", "500 Internal Server Error"), 500),
        (http(b"rpc error: EOF", "500 Internal Server Error"), 500),
        (http(b"<html>Bad Gateway</html>", "502 Bad Gateway"), 502),
        (http(b"", "503 Service Unavailable"), 503),
        (http(b"", "504 Gateway Timeout"), 504),
        (http(b"<html>Please log in</html>"), 200),
        (reset, 0),
        (b"", 0),
        (b"SSH-2.0-OpenSSH\r\n", 0),
        (silent, 0),
    ],
    ids=["raft", "rpc", "502", "503", "504", "html", "reset", "closed", "not http", "silent"],
)
def test_what_goes_wrong_after_the_upload_began_is_unclear_and_never_sent_again(
    answer: Any, status: int, raw: Callable[..., Raw]
) -> None:
    server = raw(answer)
    error = fails(RestoreUnclearError, lambda: Client(server.address, timeout=0.5).restore(SMALL))
    assert error.status == status
    assert error.where == server.address
    assert "may have been swapped" in error.advice
    assert "save --stale" in error.advice
    assert len(server.asked("PUT")) == 1


@pytest.mark.parametrize("answer", [http(), http(b"rpc error", "500 Internal Server Error")], ids=["200", "500"])
def test_an_answer_before_the_whole_upload_arrived_is_unclear(answer: bytes, raw: Callable[..., Raw]) -> None:
    upload = large(16)
    server = raw(answer, read_body=False)
    fails(RestoreUnclearError, lambda: Client(server.address, timeout=10).restore(upload))
    assert len(server.asked("PUT")) == 1


def test_a_refusal_before_the_whole_upload_arrived_is_still_heard(raw: Callable[..., Raw]) -> None:
    """A token without the right: Nomad judges it before it reads the body, and closes as Go does."""

    def refuse(server: Raw, sock: socket.socket) -> None:
        sock.sendall(http(b"Permission denied", "403 Forbidden"))
        sock.shutdown(socket.SHUT_WR)
        server.over.wait(0.5)

    server, upload = raw(refuse, read_body=False), large(16)
    fails(PermissionDeniedError, lambda: Client(server.address, timeout=10).restore(upload))
    assert len(server.asked("PUT")) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("403 Forbidden", b"Permission denied", PermissionDeniedError),
        ("401 Unauthorized", b"", PermissionDeniedError),
        ("404 Not Found", b"404 page not found", ServerError),
        ("413 Payload Too Large", b"too large", ServerError),
    ],
)
def test_what_a_server_turns_away_is_not_unclear(
    status: str, body: bytes, kind: type[ServerError], raw: Callable[..., Raw]
) -> None:
    server = raw(http(body, status))
    error = fails(kind, lambda: Client(server.address).restore(SMALL))
    assert error.status == int(status[:3])
    assert len(server.asked("PUT")) == 1


def test_a_redirected_restore_is_not_followed(raw: Callable[..., Raw]) -> None:
    other = raw(http())
    server = raw(http(b"", "307 Temporary Redirect", Location=f"{other.address}{SNAPSHOT}"))
    fails(RedirectError, lambda: Client(server.address, token=TOKEN).restore(SMALL))
    assert other.connections == 0


@pytest.mark.parametrize("leader", [http(b'""'), http(b"No cluster leader", "500 Internal Server Error")])
def test_without_a_leader_nothing_is_sent(leader: bytes, raw: Callable[..., Raw]) -> None:
    server = raw(http(), leader=leader)
    fails(NoLeaderError, lambda: Client(server.address).restore(SMALL))
    assert server.asked("PUT") == []


def test_a_cluster_out_of_reach_is_no_unclear_restore() -> None:
    fails(NoRouteError, lambda: Client(closed_port()).restore(SMALL))


def test_a_file_that_changes_while_it_is_sent_is_noticed(raw: Callable[..., Raw], tmp_path: Path) -> None:
    path = tmp_path / "a.snap"
    path.write_bytes(LARGE)

    def change(done: int, total: int | None) -> None:
        with path.open("r+b") as file:
            file.seek(-1000, os.SEEK_END)
            file.write(b"changed")

    server = raw(http())
    error = fails(RestoreUnclearError, lambda: Client(server.address).restore(path, progress=change))
    assert f"{path} changed meanwhile" in error.what
    (put,) = server.asked("PUT")
    assert put.body != LARGE


def test_a_file_that_becomes_shorter_while_it_is_sent_is_noticed(raw: Callable[..., Raw], tmp_path: Path) -> None:
    path = tmp_path / "a.snap"
    path.write_bytes(LARGE)
    server = raw(http())
    error = fails(
        SourceError,
        lambda: Client(server.address).restore(path, progress=lambda *_: os.truncate(path, len(LARGE) // 2)),
    )
    assert "became shorter" in error.what
    assert "nothing was changed" in error.advice


def test_a_file_that_grows_while_it_is_sent_goes_out_as_it_was_checked(raw: Callable[..., Raw], tmp_path: Path) -> None:
    path = tmp_path / "a.snap"
    path.write_bytes(LARGE)

    def grow(done: int, total: int | None) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    server = raw(http())
    Client(server.address).restore(path, progress=grow)
    (put,) = server.asked("PUT")
    assert put.body == LARGE


def test_a_restore_swaps_the_tokens_too(served: ServedCluster, client: Client) -> None:
    with snapkit.open(FRIDAY) as friday, snapkit.open(MONDAY) as monday:
        new, old = (snap.table("acl_tokens", reveal=True) for snap in (friday, monday))
    fresh = new.loc[new.index.difference(old.index), "SecretID"].iloc[0]
    with pytest.raises(PermissionDeniedError):
        Client(served.address, token=fresh).self_token()
    client.restore(FRIDAY)
    assert Client(served.address, token=fresh).self_token(reveal=True)["SecretID"] == fresh


# -- kinds of error


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_nothing_listens_there(tmp_path: Path) -> None:
    error = no_save(NoRouteError, Client(closed_port()), tmp_path)
    assert "refused" in error.what
    assert "NOMAD_ADDR" in error.advice


def test_a_name_that_is_not_known() -> None:
    fails(NoRouteError, lambda: Client("http://nomad.invalid:4646").leader())


def test_silence_is_a_timeout(raw: Callable[..., Raw], tmp_path: Path) -> None:
    client = Client(raw(silent).address, timeout=0.05)
    error = fails(ClusterTimeoutError, client.jobs)
    assert "0.05 seconds" in error.what


def test_silence_in_the_middle_of_an_archive_is_a_timeout(raw: Callable[..., Raw], tmp_path: Path) -> None:
    def half(server: Raw, sock: socket.socket) -> None:
        sock.sendall(http(LARGE)[: len(LARGE) // 2])
        silent(server, sock)

    client = Client(raw(half).address, timeout=0.3)
    fails(ClusterTimeoutError, lambda: client.save(tmp_path / "a.snap"))
    assert contents(tmp_path) == {}


def test_a_connection_that_is_not_taken_is_a_timeout() -> None:
    with socket.socket() as sock, ExitStack() as stack:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(3):  # until the backlog is full
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(sock.getsockname())
        client = Client(f"http://127.0.0.1:{sock.getsockname()[1]}", timeout=0.2)
        error = fails(ClusterTimeoutError, client.leader)
    assert "did not take the connection" in error.what


def test_permission_denied(served: ServedCluster, tmp_path: Path) -> None:
    error = no_save(PermissionDeniedError, Client(served.address), tmp_path)
    assert (error.status, error.body, error.advice) == (403, "Permission denied", "set NOMAD_TOKEN")
    error = no_save(PermissionDeniedError, Client(served.address, token=TOKEN), tmp_path)
    assert "management token" in error.advice
    served.faults = Faults(forbidden=True)
    no_save(PermissionDeniedError, Client(served.address, token=served.token), tmp_path)
    error = fails(PermissionDeniedError, lambda: Client(served.address, token=served.token).restore(FRIDAY))
    assert error.status == 403


def test_a_token_without_the_right_is_denied_a_restore(served: ServedCluster) -> None:
    before = lists(served)
    fails(PermissionDeniedError, lambda: Client(served.address, token=TOKEN).restore(FRIDAY))
    assert lists(served) == before


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("400 Bad Request", b"ACL token not found"),
        ("403 Forbidden", b"ACL token expired"),
        ("500 E", b"Permission denied"),
    ],
)
def test_the_words_of_older_releases_for_a_token_that_is_no_good(
    status: str, body: bytes, raw: Callable[..., Raw], tmp_path: Path
) -> None:
    error = no_save(PermissionDeniedError, Client(raw(http(body, status)).address, token=TOKEN), tmp_path)
    assert error.body == body.decode()


def test_no_leader_is_said_with_the_way_out_which_works(served: ServedCluster, client: Client, tmp_path: Path) -> None:
    served.faults = Faults(no_leader=True)
    error = no_save(NoLeaderError, client, tmp_path)
    assert (error.status, error.body) == (500, "No cluster leader")
    assert "stale" in str(error)
    client.save(tmp_path / "stale.snap", stale=True)
    assert (tmp_path / "stale.snap").read_bytes() == MONDAY
    fails(NoLeaderError, lambda: client.restore(FRIDAY))


def test_what_a_server_says_is_kept(raw: Callable[..., Raw], tmp_path: Path) -> None:
    error = no_save(ServerError, Client(raw(http(b"disk on fire\n\x1b[31m", "500 E")).address), tmp_path)
    assert (error.status, error.body) == (500, "disk on fire [31m")
    assert "answered 500 to GET /v1/operator/snapshot: disk on fire" in error.what


def test_a_proxys_page_does_not_flood_an_error(raw: Callable[..., Raw]) -> None:
    error = fails(ServerError, Client(raw(http(b"<html>" + b"x" * 100_000, "418 Teapot")).address).jobs)
    assert "a page of HTML" in error.what
    assert len(str(error)) < 300
    assert 0 < len(error.body) <= 4096
    error = fails(ServerError, Client(raw(http(b"y" * 100_000, "418 Teapot")).address).jobs)
    assert len(str(error)) < 500


def test_another_region_is_said(client: Client) -> None:
    client.region = "mars"
    error = fails(ServerError, client.jobs)
    assert error.body == "No path to region"
    assert "NOMAD_REGION" in error.advice


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_is_not_followed_so_that_the_token_goes_nowhere_else(
    status: str, raw: Callable[..., Raw], tmp_path: Path
) -> None:
    other = raw(http(SMALL))
    place = f"{other.address}{SNAPSHOT}"
    server = raw(http(b"", status, Location=f"{place.replace('://', '://me:hunter2@')}?token={TOKEN}"))
    error = no_save(RedirectError, Client(server.address, token=TOKEN), tmp_path)
    assert place in error.what
    assert "hunter2" not in str(error)
    assert TOKEN not in str(error)
    assert other.connections == 0


def test_a_read_that_is_no_json_is_said(raw: Callable[..., Raw]) -> None:
    for body in (b"<html>Please log in</html>", b"", b"[" * 100_000, b"\xff"):
        fails(ServerError, Client(raw(http(body)).address).jobs)


def test_errors_can_be_pickled(raw: Callable[..., Raw]) -> None:
    """They come back from workers."""
    error = fails(ServerError, Client(raw(http(b"disk on fire", "500 E")).address).jobs)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status, again.body) == (str(error), 500, "disk on fire")


# -- what is repeated

AGAIN = [
    http(b"", "502 Bad Gateway"),
    http(b"", "503 Service Unavailable"),
    http(b"", "504 Gateway Timeout"),
    http(b"", "429 Too Many Requests"),
    http(b"No cluster leader", "500 Internal Server Error"),
    reset,
    b"",
]


@pytest.mark.parametrize("passing", AGAIN, ids=["502", "503", "504", "429", "no leader", "reset", "closed"])
def test_a_read_is_repeated_while_its_failure_may_pass(passing: Any, raw: Callable[..., Raw], tmp_path: Path) -> None:
    server = raw(passing, passing, http(SMALL))
    Client(server.address).save(tmp_path / "a.snap")
    assert contents(tmp_path) == {"a.snap": SMALL}
    assert server.connections == 3


@pytest.mark.parametrize("passing", AGAIN, ids=["502", "503", "504", "429", "no leader", "reset", "closed"])
def test_a_read_is_not_repeated_for_ever(passing: Any, raw: Callable[..., Raw]) -> None:
    server = raw(passing)
    with pytest.raises(ClusterError):
        Client(server.address).jobs()
    assert server.connections == 1 + len(connection.BACKOFF)


@pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden", "404 Not Found", "500 E", "501 No"])
def test_a_read_that_was_answered_is_not_repeated(status: str, raw: Callable[..., Raw]) -> None:
    server = raw(http(b"", status))
    with pytest.raises(ServerError):
        Client(server.address).jobs()
    assert server.connections == 1


def test_a_refused_connection_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    fails(NoRouteError, Client(closed_port()).leader)
    assert pauses == list(connection.BACKOFF)


def test_an_archive_whose_transfer_began_is_not_asked_for_again(raw: Callable[..., Raw], tmp_path: Path) -> None:
    server = raw(http(SMALL[:100], Content_Length=len(SMALL)), http(SMALL))
    fails(InterruptedStreamError, lambda: Client(server.address).save(tmp_path / "a.snap"))
    assert server.connections == 1


# -- secrets

LOGIN = "operator:hunter2-of-the-proxy"


def asked_everything(client: Client, folder: Path) -> Iterator[BaseException]:
    ways: list[Callable[[], object]] = [
        lambda: client.save(folder / "a.snap"),
        lambda: client.save(folder / "s.snap", stale=True),
        client.snapshot,
        lambda: client.restore(SMALL),
        client.jobs,
        client.self_token,
        client.autopilot_health,
    ]
    for do in ways:
        try:
            do()
        except SnapshotError as error:
            yield error


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "answer",
    [
        http(b"Permission denied", "403 Forbidden"),
        http(f"no such token: {TOKEN}; login {LOGIN}".encode(), "500 Internal Server Error"),
        http(f"<html>{TOKEN}</html>".encode()),
        http(b"", "302 Found", Location=f"http://127.0.0.1:1/{TOKEN}?{LOGIN}"),
        http(b"", "502 Bad Gateway"),
        http(SMALL[:-1]),
        reset,
        silent,
    ],
    ids=["403", "500 that echoes", "html", "redirect", "502", "cut", "reset", "silent"],
)
def test_no_error_repr_log_or_url_shows_a_secret(
    answer: Any, raw: Callable[..., Raw], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")
    server = raw(answer)
    client = Client(server.address, token=TOKEN, http_auth=LOGIN, timeout=0.1)
    errors = list(asked_everything(client, tmp_path))
    assert errors
    shown = [repr(client), repr(client.__dict__), str(vars(client))]
    for error in errors:
        for cause in chain(error):
            shown += [str(cause), repr(cause)]
    shown += [record.getMessage() for record in caplog.records]
    shown += [str(record.args) for record in caplog.records]
    shown += [heard.target for heard in server.heard]
    assert any("/v1/operator/snapshot" in text for text in shown), "urllib3's log is among them"
    encoded = base64.b64encode(LOGIN.encode()).decode()
    secrets = (TOKEN, LOGIN, "hunter2", encoded)
    assert [text for text in shown if any(secret in text for secret in secrets)] == []
    assert server.heard[0].headers["x-nomad-token"] == TOKEN
    assert server.heard[0].headers["authorization"] == f"Basic {encoded}"


@pytest.mark.parametrize("address", ["http://{}@{}", "http://{}@{}/"])
def test_a_login_in_the_address_is_sent_and_not_shown(address: str, raw: Callable[..., Raw]) -> None:
    server = raw(http(b"[]"))
    client = Client(address.format("operator:hunter%40", server.address.removeprefix("http://")))
    client.jobs()
    assert server.heard[0].headers["authorization"] == f"Basic {base64.b64encode(b'operator:hunter@').decode()}"
    assert "hunter" not in repr(client) + client.address + server.heard[0].target
    assert client.address == server.address


def test_the_token_of_a_file_loses_its_newline(raw: Callable[..., Raw]) -> None:
    server = raw(http(b"[]"))
    Client(server.address, token=f" {TOKEN}\n").jobs()
    assert server.heard[0].headers["x-nomad-token"] == TOKEN


@pytest.mark.parametrize("token", [f"{TOKEN}\u00e9", f"{TOKEN}\nX-Other: 1", f"{TOKEN}\0", f"\u201c{TOKEN}\u201d"])
def test_a_token_that_no_header_takes_is_refused_unseen(token: str) -> None:
    error = fails(ClusterError, lambda: Client(token=token))
    assert TOKEN not in str(error) + repr(error)
    assert "NOMAD_TOKEN" in error.advice


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:4646",
        "ftp://operator:hunter2@host",
        "http://",
        "http://operator:hunter2@host:port",
        "http://operator:hunter2@host:99999",
        "http://operator:hunter2@[::1",
        "unix://",
        "",
    ],
)
def test_what_is_no_address_is_said_without_its_password(address: str) -> None:
    with pytest.raises(ClusterError) as caught:
        Client(address)
    assert "hunter2" not in "".join(str(e) + repr(e) for e in chain(caught.value))
    assert "http://HOST:PORT" in caught.value.advice


def test_a_repr_tells_where_and_whether_with_a_token() -> None:
    assert repr(Client("http://a:4646/")) == "<Client http://a:4646, no token>"
    assert repr(Client("https://a", token=TOKEN, region="eu")) == "<Client https://a, region eu, with a token>"


# -- the environment


def test_the_environment_names_the_cluster(raw: Callable[..., Raw]) -> None:
    server = raw(http(b"[]"))
    environ = {
        "NOMAD_ADDR": server.address,
        "NOMAD_TOKEN": TOKEN,
        "NOMAD_REGION": "north",
        "NOMAD_NAMESPACE": "apps",
        "NOMAD_HTTP_AUTH": LOGIN,
    }
    client = Client.from_env(environ)
    client.get("jobs")
    (heard,) = server.heard
    assert heard.target == "/v1/jobs?region=north&namespace=apps"
    assert heard.headers["x-nomad-token"] == TOKEN
    assert heard.headers["authorization"] == f"Basic {base64.b64encode(LOGIN.encode()).decode()}"


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOMAD_ADDR", "http://a:1")
    assert Client.from_env().address == "http://a:1"


NAMES = ["ADDR", "TOKEN", "REGION", "NAMESPACE", "CACERT", "CAPATH", "CLIENT_CERT", "CLIENT_KEY", "TLS_SERVER_NAME"]
NAMES += ["SKIP_VERIFY", "HTTP_AUTH"]


@pytest.mark.parametrize("environ", [{}, {f"NOMAD_{name}": "" for name in NAMES}], ids=["unset", "empty"])
def test_empty_is_as_good_as_unset(environ: dict[str, str]) -> None:
    client = Client.from_env(environ)
    assert repr(client) == "<Client http://127.0.0.1:4646, no token>"
    assert (client.region, client.namespace) == (None, None)


@pytest.mark.parametrize("value", ["yes", "2", "truee", " "])
def test_a_skip_verify_that_is_neither_yes_nor_no_is_refused(value: str) -> None:
    error = fails(ClusterError, lambda: Client.from_env({"NOMAD_SKIP_VERIFY": value}))
    assert error.where == "NOMAD_SKIP_VERIFY"


@pytest.mark.parametrize("value", ["1", "t", "true", "TRUE", "0", "f", "false", "False"])
def test_the_words_that_go_takes_for_yes_and_no(value: str) -> None:
    Client.from_env({"NOMAD_SKIP_VERIFY": value, "NOMAD_ADDR": "https://a"})


def test_proxies_and_netrc_of_the_environment_are_not_used(
    raw: Callable[..., Raw], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = raw(http(b"[]")), raw(http(b"[]"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.address)
        monkeypatch.setenv(name.upper(), proxy.address)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / "netrc").chmod(0o600)
    Client(server.address, token=TOKEN).jobs()
    assert proxy.connections == 0
    assert server.heard[0].target == "/v1/jobs?namespace=%2A", "a proxy would be sent the whole URL"
    assert "authorization" not in server.heard[0].headers


# -- reads


def test_the_reads_that_a_runbook_needs(served: ServedCluster, client: Client) -> None:
    assert client.leader() in client.peers()
    assert [member["Tags"]["build"] for member in client.members()] == ["2.0.5"]
    assert client.autopilot_health()["Healthy"] is True
    with snapkit.open(MONDAY) as snap:
        assert sorted(job["ID"] for job in client.jobs()) == sorted(snap.jobs.index.get_level_values("ID"))
        assert sorted(node["ID"] for node in client.nodes()) == sorted(snap.nodes.index)


def test_the_secret_of_ones_own_token_is_masked_unless_asked_for(served: ServedCluster) -> None:
    with snapkit.open(MONDAY) as snap:
        secret = snap.table("acl_tokens", reveal=True).SecretID.iloc[0]
    client = Client(served.address, token=secret)
    assert client.self_token(reveal=True)["SecretID"] == secret
    assert secret not in str(client.self_token())


def test_a_read_tells_its_index_and_whether_a_leader_is_known(client: Client, raw: Callable[..., Raw]) -> None:
    answer = client.get("/v1/jobs")
    assert answer.index
    assert answer.known_leader is True
    bare = Client(raw(http(b"[]")).address).get("jobs")
    assert (bare.value, bare.index, bare.known_leader) == ([], None, None)


def test_an_unhealthy_autopilot_says_how_all_the_same(raw: Callable[..., Raw]) -> None:
    server = raw(http(b'{"Healthy": false}', "429 Too Many Requests"))
    assert Client(server.address).autopilot_health() == {"Healthy": False}
    assert server.connections == 1


# -- memory

_BIG = """
import hashlib, os, socket, sys, zlib
from tests import forge
size = int(sys.argv[1])
record = forge.record(0, {"ID": "n1", "Noise": os.urandom(1 << 20)})
state_size = 1 + size // len(record) * len(record)

def state():
    yield b"\\x80"
    for _ in range(size // len(record)):
        yield record

sha256 = hashlib.sha256()
for piece in state():
    sha256.update(piece)
meta = forge.meta_json(state_size)
sums = forge.sums(("meta.json", meta)) + f"{sha256.hexdigest()}  state.bin\\n".encode()

def archive():
    compress = zlib.compressobj(0, zlib.DEFLATED, 31)
    yield compress.compress(forge.member("meta.json", meta) + forge.header("state.bin", state_size))
    for piece in state():
        yield compress.compress(piece)
    end = bytes(-state_size % 512) + forge.member("SHA256SUMS", sums) + bytes(1024)
    yield compress.compress(end) + compress.flush()

with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    sock, _ = listener.accept()
    with sock:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
        for piece in archive():
            if piece:
                sock.sendall(b"%x\\r\\n" % len(piece) + piece + b"\\r\\n")
        sock.sendall(b"0\\r\\n\\r\\n")
"""

_MEASURED = """
import re, sys
from pathlib import Path
import snapkit
from snapkit.cluster.client import Client

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10

client, before = Client(sys.argv[1]), peak()
saved = client.save(sys.argv[2])
print(saved.size, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of the peak")
def test_saving_a_gigabyte_takes_little_memory(tmp_path: Path) -> None:
    size = 1 << 30
    server = [sys.executable, "-c", _BIG, str(size)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout
        address = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, address, str(tmp_path / "a.snap")],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=ROOT,
        )
        process.kill()
    assert done.returncode == 0, done.stderr[-1500:]
    saved, more = map(int, done.stdout.split())
    assert saved == (tmp_path / "a.snap").stat().st_size > size - (1 << 21)
    (tmp_path / "a.snap").unlink()
    assert more < 64 << 20


# -- verified before it is sent


def test_what_a_server_would_not_survive_is_not_sent(raw: Callable[..., Raw], tmp_path: Path) -> None:
    server = raw(http())
    for state, place in [
        (STATE + forge.record(0, {"ID": 5}), "state.bin record 6 (Node)"),
        (STATE + forge.record(20, {"ID": "sink"}), "table event_sinks"),
        (STATE.replace(forge.record(64, {"Name": "default"}), b""), "table namespaces"),
    ]:
        with pytest.raises(SnapshotError, match=re.escape(place)):
            Client(server.address).restore(forge.archive(state))
    assert server.heard == []


def test_it_is_sent_all_the_same_when_forced(raw: Callable[..., Raw]) -> None:
    server = raw(http())
    Client(server.address).restore(forge.archive(STATE + forge.record(0, {"ID": 5})), force=True)
    assert [heard.method for heard in server.heard] == ["GET", "PUT"]
