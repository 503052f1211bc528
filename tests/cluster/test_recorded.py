"""Our server against a real one: what the real command asked of 2.0.5 over Friday's archive, and what it was answered.

`requests.jsonl` are the requests in order with their answers, `commands.json` what the command printed. The real server
lived: it had restored the archive a second before and started what was due, so it has some objects that are newer.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import snapkit
from snapkit.cluster.server import ServedCluster

from ..conftest import ORACLES, path_of
from .servers import newest

RECORDED = [json.loads(line) for line in (ORACLES / "recorded" / "requests.jsonl").read_text().splitlines()]
COMMANDS = json.loads((ORACLES / "recorded" / "commands.json").read_text())
TOKEN = json.loads((ORACLES / "v2.0.5" / "bootstrap.json").read_text())["SecretID"]
#: The archive's own index: what is above it is not the archive's.
INDEX = 200

#: About the one server that answers, and not about the archive.
OF_THE_SERVER = ("/v1/agent/", "/v1/status/", "/v1/operator/raft/", "/v1/operator/autopilot/")
EXCEPTIONS = {
    # The restore of the archive computed them anew; in the archive the built-in pools have none.
    r"/v1/node/pools.*:\[\d\]\.Hash": "a restored server hashes its built-in node pools",
    # Go walks its maps in a random order.
    r"/v1/services.*:\[\d\]\.Services.*": "services of a namespace come in no order",
    # The periodic job was launched once more after the restore.
    r"/v1/jobs.*:\[\d+\]\.JobSummary\.(Children\.Running|ModifyIndex)": "the real server launched a child",
    r"/v1/search:\.Index": "the real server's index had gone on",
}


@pytest.fixture(scope="module")
def friday() -> Iterator[ServedCluster]:
    with snapkit.serve(path_of("v2.0.5/friday")) as cluster:
        yield cluster


def of_the_archive(value: Any) -> Any:
    """Without the list items that the real server made after the restore."""
    if isinstance(value, list):
        return [
            of_the_archive(item)
            for item in value
            if not (isinstance(item, dict) and item.get("CreateIndex", 0) > INDEX)
        ]
    return value


def sorted_services(value: Any) -> Any:
    return sorted(value, key=lambda service: str(service["ServiceName"]))


def differences(ours: Any, theirs: Any, place: str) -> Iterator[str]:
    if any(re.fullmatch(pattern, place) for pattern in EXCEPTIONS):
        if place.endswith(".Services") and sorted_services(ours) != sorted_services(theirs):
            yield f"{place}: {ours} is {theirs}"
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for field in sorted(ours.keys() | theirs.keys()):
            if field not in ours or field not in theirs:
                yield f"{place}.{field}: {'missing' if field in theirs else 'too much'}"
            else:
                yield from differences(ours[field], theirs[field], f"{place}.{field}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(a, b, f"{place}[{i}]")
    elif ours != theirs:
        yield f"{place}: {ours!r:.100} is {theirs!r:.100}"


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda r: f"{r['method']} {r['path']}")
def test_each_request_gets_the_recorded_answer(recorded: dict[str, Any], friday: ServedCluster) -> None:
    # Of the one request with a body, its length alone was recorded.
    body = {"Prefix": "web", "Context": "all"} if recorded["request"] else None
    answer = requests.request(
        recorded["method"], friday.address + recorded["path"], json=body, headers={"X-Nomad-Token": TOKEN}, timeout=10
    )
    assert answer.status_code == recorded["status"]
    for name in ("X-Nomad-KnownLeader", "X-Nomad-LastContact"):
        assert answer.headers.get(name) == recorded["headers"].get(name.title().replace("-Last", "-Last"))
    index = recorded["headers"].get("X-Nomad-Index")
    assert ("X-Nomad-Index" in answer.headers) == (index is not None)
    if recorded["path"].startswith("/v1/operator/snapshot"):
        return  # the archive itself is compared in test_operator_snapshot.py
    assert (
        answer.headers["Content-Type"].partition(";")[0]
        == recorded["headers"].get("Content-Type", "").partition(";")[0]
        or recorded["status"] != 200
    )
    if recorded["path"].startswith(OF_THE_SERVER):
        return
    try:
        ours = answer.json()
    except ValueError:
        ours = answer.text
    path = recorded["path"].partition("?")[0]
    assert list(differences(of_the_archive(ours), of_the_archive(recorded["body"]), f"{path}:")) == []
    if index is not None and int(index) <= INDEX:
        assert int(answer.headers["X-Nomad-Index"]) <= INDEX


def test_answers_about_the_server_have_the_fields_of_a_real_one(friday: ServedCluster) -> None:
    for recorded in RECORDED:
        path = recorded["path"]
        if path.startswith(OF_THE_SERVER) and not path.startswith("/v1/agent/self"):
            answer = requests.get(friday.address + path, headers={"X-Nomad-Token": TOKEN}, timeout=10).json()
            assert shape(answer) == shape(recorded["body"]), path


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items() if name != "revision"}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


# -- the real command, pointed at our server

#: A served snapshot has no web UI to point to.
UI_HINT = re.compile(r"\n*==> View [^\n]* in the Web UI: [^\n]*\n*")
#: How long ago is another time by now; the recording kept the ends of long outputs alone.
AGO = re.compile(r"(\d+[ywdhms])+ ago")
DIFFERENT = {
    "job status -namespace=*": "the real server launched the periodic job once more",
    "eval list -namespace=*": "the real server launched the periodic job once more",
    "acl token list": "the token that expires had not expired then",
    "operator raft list-peers": "about the server",
    "operator autopilot health": "about the server",
    "server members": "about the server",
    "agent-info": "about the server",
    "operator api /v1/jobs?namespace=*": "the recording has its end alone, with the job that was launched once more",
}


@pytest.fixture(scope="session")
def nomad() -> str:
    return newest()


def plain(text: str) -> str:
    text = AGO.sub("some time ago", UI_HINT.sub("\n", text))
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


@pytest.mark.nomad
@pytest.mark.parametrize("recorded", COMMANDS, ids=lambda c: c["command"])
def test_the_real_command_prints_what_it_printed_of_a_real_server(
    recorded: dict[str, Any], friday: ServedCluster, nomad: str, tmp_path: Path
) -> None:
    env = {"NOMAD_ADDR": friday.address, "NOMAD_TOKEN": TOKEN, "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    ran = subprocess.run(
        [nomad, *shlex.split(recorded["command"])],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == recorded["exit"]
    assert plain(ran.stderr) == plain(recorded["stderr"])
    if recorded["command"] in DIFFERENT:
        assert plain(ran.stdout).splitlines()[0] == plain(recorded["stdout"]).splitlines()[0] or "api" in ran.args[1:]
        return
    ours, theirs = plain(ran.stdout), plain(recorded["stdout"])
    if recorded["command"].startswith("scaling policy info"):  # the policy is a Go map: in no order
        assert sorted(re.sub(r"[,\[\]{}]", "", ours).split()) == sorted(re.sub(r"[,\[\]{}]", "", theirs).split())
    elif recorded["command"].startswith(("node status -json", "alloc status -json", "job inspect -namespace=shop web")):
        # Recorded is the end alone, and the items of a Go map come in no order.
        whole = {line.rstrip(",") for line in ours.splitlines()}
        assert {line.rstrip(",") for line in theirs.splitlines()[1:]} <= whole
    else:
        assert ours == theirs


@pytest.mark.nomad
def test_the_real_command_restores_into_our_server(nomad: str, tmp_path: Path) -> None:
    with snapkit.serve(path_of("v2.0.5/monday")) as cluster:
        env = {"NOMAD_ADDR": cluster.address, "NOMAD_TOKEN": cluster.token, "HOME": str(tmp_path)}
        command = [nomad, "operator", "snapshot", "restore", str(path_of("v2.0.5/friday"))]
        ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert (ran.returncode, ran.stdout.strip()) == (0, "Snapshot Restored")
        env["NOMAD_TOKEN"] = TOKEN
        jobs = subprocess.run([nomad, "job", "status"], env=env, capture_output=True, text=True, timeout=60, check=True)
    with snapkit.open(path_of("v2.0.5/friday")) as snap:
        expected = {job for namespace, job in snap.jobs.index if namespace == "default"}
    assert {line.split()[0] for line in jobs.stdout.splitlines()[1:] if line} == expected
