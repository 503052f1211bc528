"""What a real server makes of redacted archives: it takes them, serves jobs and variables, and knows the planted token.

`SNAPKIT_VERDICTS=record` writes the oracle anew, by the server that NOMAD_BIN names (2.0.5). The archives are made
under one key, and so are the same each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

import snapkit
from snapkit.cluster.rehearse import rehearse
from snapkit.state.redact.profiles import Profile
from snapkit.state.redact.whole import redact

from ..conftest import ORACLES, path_of
from .servers import bootstrap, newest, servers

ORACLE = ORACLES / "redacted.json"
PROFILES: tuple[Profile, ...] = ("share", "training", "strict")
ARCHIVE = "v2.0.5/friday"
KEY = "the tests'"
TOKEN = "5eed5eed-0000-4000-8000-000000000001"
PATIENCE = 20.0  # seconds until a restored server must be ready

pytest.importorskip("cryptography")


def made(profile: Profile, folder: Path) -> Path:
    target = folder / f"{profile}.snap"
    redact(path_of(ARCHIVE), target, profile=profile, key=KEY, token=TOKEN)
    return target


def wanted(path: Path) -> dict[str, Any]:
    """What a server should answer, by the archive itself."""
    with snapkit.open(path) as snap:
        unlocked: dict[Any, Any] = snap.unlock()["Items"].to_dict()
        accessor = snap.table("acl_tokens", reveal=True).query("SecretID == @TOKEN").index[0]
        return {
            "jobs": sorted([namespace, job] for namespace, job in snap.jobs.index),
            "nodes": sorted([node, name] for node, name in snap.nodes["Name"].items()),
            "policies": dict(snap.acl_policies["Rules"].items()),
            "variables": sorted([namespace, path, items] for (namespace, path), items in unlocked.items()),
            "token": [accessor, "management"],
        }


class Restored:
    """A server that an archive was put to."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._token = TOKEN

    def restore(self, archive: bytes, token: str) -> tuple[int, str]:
        answer = requests.put(
            f"{self._address}/v1/operator/snapshot", data=archive, headers={"X-Nomad-Token": token}, timeout=60
        )
        return answer.status_code, answer.text.strip()

    def get(self, path: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = requests.get(self._address + path, headers={"X-Nomad-Token": self._token}, timeout=30)
            if answer.ok:
                return answer.json()
            if time.monotonic() > deadline:
                raise AssertionError(f"{path}: {answer.status_code} {answer.text}")
            time.sleep(0.2)  # the leader is not ready at once

    def answers(self) -> dict[str, Any]:
        token = self.get("/v1/acl/token/self")
        variables = []
        for variable in self.get("/v1/vars?namespace=*"):
            namespace = quote(variable["Namespace"], safe="")
            found = self.get(f"/v1/var/{quote(variable['Path'])}?namespace={namespace}")
            variables.append([found["Namespace"], found["Path"], found["Items"]])
        policies = [self.get(f"/v1/acl/policy/{quote(p['Name'], safe='')}") for p in self.get("/v1/acl/policies")]
        return {
            "jobs": sorted([job["Namespace"], job["ID"]] for job in self.get("/v1/jobs?namespace=*&meta=true")),
            "nodes": sorted([node["ID"], node["Name"]] for node in self.get("/v1/nodes")),
            "policies": {policy["Name"]: policy["Rules"] for policy in policies},
            "variables": sorted(variables),
            "token": [token["AccessorID"], token["Type"]],
        }


def digest(path: Path) -> str:
    """Of state.bin: the compressor may be another elsewhere."""
    with snapkit.open(path) as snap:
        return hashlib.sha256(b"".join(snap.chunks())).hexdigest()


@pytest.mark.nomad
def test_a_real_server_serves_redacted_archives(tmp_path: Path) -> None:
    newest()  # skips without one
    found: dict[str, Any] = {}
    for profile in PROFILES:
        archive = made(profile, tmp_path)
        folder = tmp_path / f"server-{profile}"
        folder.mkdir()
        with servers(folder, 1) as (server,):
            restored = Restored(server.address)
            status, words = restored.restore(archive.read_bytes(), bootstrap(server.address))
            answers = restored.answers()
            there = wanted(archive)["jobs"]  # others are launches that fell due
            answers["jobs"] = [job for job in answers["jobs"] if job in there or "/periodic-" not in job[1]]
            assert server.process.poll() is None
        found[profile] = {"sha256": digest(archive), "status": status, "words": words, "answers": answers}
    if os.environ.get("SNAPKIT_VERDICTS") == "record":
        ORACLE.write_text(f"{json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)}\n", encoding="utf-8")
    assert found == json.loads(ORACLE.read_text(encoding="utf-8"))


@pytest.mark.nomad
@pytest.mark.parametrize("profile", PROFILES)
def test_a_real_server_has_every_record_unchanged(profile: Profile, tmp_path: Path) -> None:
    newest()
    changed = {(finding.check, finding.place) for finding in rehearse(made(profile, tmp_path))}
    original = {finding.check for finding in rehearse(path_of(ARCHIVE))}
    assert {check for check, _ in changed} <= original


@pytest.mark.parametrize("profile", PROFILES)
def test_what_was_recorded_is_what_the_archives_hold(profile: Profile, tmp_path: Path) -> None:
    recorded = json.loads(ORACLE.read_text(encoding="utf-8"))[profile]
    archive = made(profile, tmp_path)
    assert (recorded["status"], recorded["words"]) == (200, "")
    assert digest(archive) == recorded["sha256"], "redacts otherwise than when it was recorded: record anew"
    assert recorded["answers"] == json.loads(json.dumps(wanted(archive)))
