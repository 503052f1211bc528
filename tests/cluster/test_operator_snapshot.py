"""/v1/operator/snapshot, line by line of the guide's section 4: our server, and a real one if there is a binary."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

import snapkit
from snapkit.cluster.server import Faults
from snapkit.format import archive as container
from snapkit.state.output.edit import edited
from tests import forge

from ..conftest import ORACLES, path_of
from .servers import RealServer, bootstrap, newest, servers, wait_for_leader

SNAPSHOT = "/v1/operator/snapshot"
FRIDAY = path_of("v2.0.5/friday").read_bytes()
#: Management and client tokens of Friday's archive.
ROOT = json.loads((ORACLES / "v2.0.5" / "bootstrap.json").read_text())["SecretID"]
MEMBERS = [(info.name, content) for info, content in forge.untar(FRIDAY)]
META, STATE, SUMS = (content for _, content in MEMBERS)


@dataclass
class Target:
    address: str
    token: str

    def ask(self, method: str, path: str = SNAPSHOT, token: str | None = None, **kwargs: Any) -> requests.Response:
        """Raw: what stands in the body is not decoded, no header is added but the token."""
        headers = {"X-Nomad-Token": self.token if token is None else token, "Accept-Encoding": None}
        headers |= kwargs.pop("headers", {})
        return requests.request(method, self.address + path, headers=headers, stream=True, timeout=60, **kwargs)

    def restore(self, data: bytes, token: str | None = None) -> requests.Response:
        return self.ask("PUT", data=data, token=token)

    def has(self, data: bytes) -> bool:
        """Restore what must be taken; a real server that was restored a moment ago may need another."""
        deadline = time.monotonic() + 15
        while (answer := self.restore(data)).status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.5)
        return answer.status_code == 200


@pytest.fixture(scope="module", params=["ours", pytest.param("real", marks=pytest.mark.nomad)])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A cluster that has Friday's state, with its bootstrap token."""
    if request.param == "ours":
        with snapkit.serve(path_of("v2.0.5/friday")) as cluster:
            yield Target(cluster.address, ROOT)
        return
    newest()
    with servers(tmp_path_factory.mktemp("nomad"), 1) as (server,):
        first = Target(server.address, bootstrap(server.address))
        assert first.restore(FRIDAY).status_code == 200
        yield Target(server.address, ROOT)


def body_of(answer: requests.Response) -> bytes:
    with answer:
        return b"".join(answer.raw.stream(decode_content=False))


def digest_of(answer: requests.Response) -> bytes:
    name, _, value = answer.headers["Digest"].partition("=")
    assert name == "sha-256"
    return base64.b64decode(value)


def edited_friday(table: str, change: Callable[[dict[bytes, Any]], bool]) -> bytes:
    with snapkit.open(FRIDAY) as snap:
        state = b"".join(edited(snap, {table: change}))
        out = io.BytesIO()
        container.write_to(out, snap.archive.meta, [state], len(state))
    return out.getvalue()


# -- GET


@pytest.mark.parametrize("accept", [None, "identity"])
def test_an_archive_comes_as_it_is_with_its_digest(target: Target, accept: str | None) -> None:
    answer = target.ask("GET", headers={"Accept-Encoding": accept})
    body = body_of(answer)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/x-gzip"
    assert "Content-Encoding" not in answer.headers
    assert "Content-Length" not in answer.headers
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert digest_of(answer) == hashlib.sha256(body).digest()
    with snapkit.open(body) as snap:
        assert ("shop", "web") in snap.jobs.index


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, deflate, br"])
def test_an_archive_is_compressed_once_more_when_asked(target: Target, encoding: str) -> None:
    answer = target.ask("GET", headers={"Accept-Encoding": encoding})
    body = body_of(answer)
    sent = answer.headers["Content-Encoding"]
    assert sent == encoding.partition(",")[0]
    assert "Content-Type" not in answer.headers
    inner = gzip.decompress(body) if sent == "gzip" else zlib.decompress(body, -zlib.MAX_WBITS)
    assert digest_of(answer) == hashlib.sha256(inner).digest()
    assert inner[:2] == b"\x1f\x8b"


@pytest.mark.parametrize("query", ["?index=1&wait=1m", "?stale", "?region=global"])
def test_a_query_changes_nothing(target: Target, query: str) -> None:
    started = time.monotonic()
    answer = target.ask("GET", SNAPSHOT + query)
    assert (answer.status_code, body_of(answer)[:2]) == (200, b"\x1f\x8b")
    assert time.monotonic() - started < 30, "it is no blocking query"


def test_another_region_has_no_path(target: Target) -> None:
    answer = target.ask("GET", f"{SNAPSHOT}?region=mars")
    assert (answer.status_code, answer.text.strip()) == (500, "No path to region")


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "PATCH"])
def test_other_methods_are_invalid(target: Target, method: str) -> None:
    answer = target.ask(method)
    assert answer.status_code == 405
    assert answer.text.strip() == ("" if method == "HEAD" else "Invalid method")


# -- who may


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("token", ["", "11111111-2222-3333-4444-555555555555", "no uuid"])
def test_without_a_known_token_it_is_denied(target: Target, method: str, token: str) -> None:
    answer = target.ask(method, token=token, data=FRIDAY if method == "PUT" else None)
    assert (answer.status_code, answer.text.strip()) == (403, "Permission denied")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_a_token_may_come_as_a_bearer(target: Target) -> None:
    answer = target.ask("GET", headers={"X-Nomad-Token": None, "Authorization": f"Bearer {ROOT}"})
    assert answer.status_code == 200
    body_of(answer)


@pytest.mark.parametrize("rules", ['operator { capabilities = ["snapshot-save"] }', 'operator { policy = "write" }'])
def test_a_policy_may_save_and_not_restore(target: Target, rules: str) -> None:
    def widen(policy: dict[bytes, Any]) -> bool:
        if policy[b"Name"] != b"ops-read":
            return False
        policy[b"Rules"] = rules.encode()
        policy[b"ModifyIndex"] += len(rules)  # a server caches what policies grant by it
        return True

    intern = json.loads((ORACLES / "v2.0.5" / "tokens.json").read_text())["new"]["SecretID"]
    assert target.ask("GET", token=intern).status_code == 403
    try:
        assert target.has(edited_friday("acl_policies", widen))
        deadline = time.monotonic() + 10  # a real server may resolve tokens by what it had for a moment
        while (answer := target.ask("GET", token=intern)).status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert answer.status_code == 200
        body_of(answer)
        assert target.restore(FRIDAY, token=intern).status_code == 403
    finally:
        assert target.has(FRIDAY)


# -- PUT


def test_a_restore_swaps_the_state_and_the_tokens_with_it(target: Target) -> None:
    monday = path_of("v2.0.5/monday").read_bytes()
    intern = json.loads((ORACLES / "v2.0.5" / "tokens.json").read_text())["new"]["SecretID"]
    assert target.ask("GET", "/v1/acl/token/self", token=intern).status_code == 200
    try:
        answer = target.ask("POST", data=monday)  # as good as PUT
        assert (answer.status_code, answer.text) == (200, "")
        jobs = {job["ID"] for job in target.ask("GET", "/v1/jobs?namespace=*").json()}
        assert "payments" in jobs  # purged on Friday
        assert target.ask("GET", "/v1/jobs", token=intern).status_code == 403  # made on Tuesday
    finally:
        assert target.has(FRIDAY)
    assert target.ask("GET", "/v1/acl/token/self", token=intern).status_code == 200


def sums(*members: tuple[str, bytes]) -> tuple[str, bytes]:
    return "SHA256SUMS", forge.sums(*members)


def meta(**changes: Any) -> bytes:
    return json.dumps(json.loads(META) | changes).encode()


def with_meta(data: bytes) -> bytes:
    two = [("meta.json", data), ("state.bin", STATE)]
    return forge.squeeze(forge.tar([*two, sums(*two)]))


TAR = forge.tar(MEMBERS)
WHOLE = {
    "CR LF in the sums": forge.squeeze(forge.tar([*MEMBERS[:2], ("SHA256SUMS", SUMS.replace(b"\n", b"\r\n"))])),
    "hashes in upper case": forge.squeeze(
        forge.tar([*MEMBERS[:2], ("SHA256SUMS", b"".join(s[:64].upper() + s[64:] for s in SUMS.splitlines(True)))])
    ),
    "one space in the sums": forge.squeeze(forge.tar([*MEMBERS[:2], ("SHA256SUMS", SUMS.replace(b"  ", b" "))])),
    "another order": forge.squeeze(forge.tar([MEMBERS[2], MEMBERS[1], MEMBERS[0]])),
    "PAX headers": forge.squeeze(
        b"".join(forge.pax(mtime="1795471701.5") + forge.member(name, content) for name, content in MEMBERS)
        + bytes(1024)
    ),
    "a field more in meta.json": with_meta(meta(Comment="x")),
    "Index 0": with_meta(meta(Index=0)),
}


@pytest.mark.parametrize("archive", WHOLE.values(), ids=WHOLE)
def test_what_a_server_takes_as_whole(target: Target, archive: bytes) -> None:
    try:
        answer = target.restore(archive)
        assert (answer.status_code, answer.text) == (200, "")
    finally:
        assert target.has(FRIDAY)


READING = "failed to read snapshot file: "
INTEGRITY = f"{READING}failed checking integrity of snapshot: "
RAFT = "Raft error when restoring snapshot: "
REFUSED = {
    "not gzip": (b"hello, world", "failed to decompress snapshot: gzip: invalid header"),
    "under ten bytes": (b"hello", "failed to decompress snapshot: unexpected EOF"),
    "empty": (b"", "failed to decompress snapshot: EOF"),
    "cut in the middle": (
        FRIDAY[: len(FRIDAY) // 2],
        f"{READING}failed to read or write snapshot data: unexpected EOF",
    ),
    "cut in its last bytes": (FRIDAY[:-4], "unexpected EOF"),
    "bytes after the end": (FRIDAY + b"hello, world", "gzip: invalid header"),
    "zeros after the end": (FRIDAY + bytes(16), "gzip: invalid header"),
    "bytes after the tar": (forge.squeeze(TAR + bytes(512)), "512 unread uncompressed bytes remain"),
    "gzip in gzip": (forge.squeeze(FRIDAY), f"{READING}failed reading snapshot: archive/tar: invalid tar header"),
    "a hash of state.bin": (
        forge.squeeze(forge.tar([MEMBERS[0], ("state.bin", STATE[:-1] + bytes([STATE[-1] ^ 1])), MEMBERS[2]])),
        f'{INTEGRITY}hash check failed for "state.bin"',
    ),
    "meta.json is missing": (forge.squeeze(forge.tar(MEMBERS[1:])), f'{INTEGRITY}hash check failed for "meta.json"'),
    "meta.json has no hash": (
        forge.squeeze(forge.tar([*MEMBERS[:2], ("SHA256SUMS", forge.sums(MEMBERS[1]))])),
        f'{INTEGRITY}file missing for "meta.json"',
    ),
    "a hash too much": (
        forge.squeeze(forge.tar([*MEMBERS[:2], ("SHA256SUMS", SUMS + b"0" * 64 + b"  ghost\n")])),
        f'{INTEGRITY}list missing hash for "ghost"',
    ),
    "a member too much": (
        forge.squeeze(forge.tar([*MEMBERS, ("x", b"hello")])),
        f'{READING}unexpected file "x" in snapshot',
    ),
    "Size": (
        with_meta(meta(Size=len(STATE) - 7)),
        f"{RAFT}failed to write snapshot, size didn't match ({len(STATE)} != {len(STATE) - 7})",
    ),
}


@pytest.mark.parametrize(("archive", "words"), REFUSED.values(), ids=REFUSED)
def test_what_a_server_refuses_and_in_what_words(target: Target, archive: bytes, words: str) -> None:
    answer = target.restore(archive)
    assert (answer.status_code, answer.text.strip()) == (500, f"failed to restore from snapshot: {words}")
    assert target.ask("GET", "/v1/job/web?namespace=shop").status_code == 200, "nothing was changed"


def test_another_version_is_refused(target: Target) -> None:
    answer = target.restore(with_meta(meta(Version=9)))
    assert answer.status_code == 500
    assert answer.text.startswith(f"failed to restore from snapshot: {RAFT}")
    assert "unsupported snapshot version 9" in answer.text


# -- without a leader


@pytest.fixture(scope="module", params=["ours", pytest.param("real", marks=pytest.mark.nomad)])
def leaderless(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One of three servers, the other two dead."""
    if request.param == "ours":
        with snapkit.serve(path_of("v2.0.5/friday"), faults=Faults(no_leader=True)) as cluster:
            yield Target(cluster.address, ROOT)
        return
    newest()
    with servers(tmp_path_factory.mktemp("nomad"), 3) as three:
        first = Target(three[0].address, bootstrap(three[0].address))
        alone = Target(three[0].address, ROOT)
        deadline = time.monotonic() + 60
        while (answer := first.restore(FRIDAY)).status_code != 200:  # a leader that is new may lose it again
            assert time.monotonic() < deadline, answer.text
            if alone.ask("GET", "/v1/jobs").status_code == 200:
                break  # it has happened all the same
            time.sleep(1)
        wait_until_all_have(three)
        for dead in three[1:]:
            dead.process.kill()
            dead.process.wait()
        deadline = time.monotonic() + 60
        # For some seconds it still believes in a leader that is dead.
        while alone.ask("GET").text.strip() != "No cluster leader" and time.monotonic() < deadline:
            time.sleep(0.5)
        yield alone


def wait_until_all_have(three: list[RealServer]) -> None:
    for server in three:
        wait_for_leader(server.address)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if Target(server.address, ROOT).ask("GET", "/v1/jobs?stale").status_code == 200:
                break
            time.sleep(0.2)


def test_without_a_leader_only_a_stale_save_works(leaderless: Target) -> None:
    answer = leaderless.ask("GET")
    assert (answer.status_code, answer.text.strip()) == (500, "No cluster leader")
    stale = leaderless.ask("GET", f"{SNAPSHOT}?stale")
    assert stale.status_code == 200
    body = body_of(stale)
    assert digest_of(stale) == hashlib.sha256(body).digest()


def test_without_a_leader_nothing_is_restored(leaderless: Target) -> None:
    answer = leaderless.restore(FRIDAY)
    assert (answer.status_code, answer.text.strip()) == (500, "No cluster leader")


def test_without_a_leader_stale_reads_say_so(leaderless: Target) -> None:
    answer = leaderless.ask("GET", "/v1/jobs?stale")
    assert answer.status_code == 200
    assert answer.headers["X-Nomad-KnownLeader"] == "false"


# -- the client's half of a round trip


def test_the_client_saves_from_it_what_it_has_and_restores_it(target: Target, tmp_path: Path) -> None:
    client = snapkit.Client(target.address, token=target.token)
    saved = client.save(tmp_path / "saved.snap")
    assert saved.digest_checked
    with snapkit.open(tmp_path / "saved.snap") as snap, snapkit.open(FRIDAY) as friday:
        for table in ("jobs", "nodes", "acl_tokens", "variables", "job_versions"):
            assert snap[table].index.tolist()[: len(friday[table])] or table
            assert set(friday[table].index) <= set(snap[table].index)
    client.restore(tmp_path / "saved.snap")
    assert {job["ID"] for job in client.jobs()} >= {"web", "node-exporter"}
