"""Real Nomad servers on loopback, for the tests marked `nomad`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from snapkit.cluster.rehearse import free_ports


def binary() -> str:
    """The nomad binary that NOMAD_BIN or PATH names; skips the test without one."""
    found = os.environ.get("NOMAD_BIN") or shutil.which("nomad")
    if not found:
        pytest.skip("no nomad binary: name one by NOMAD_BIN")
    return found


def release() -> tuple[int, ...]:
    """The binary's release, such as (2, 0, 5)."""
    told = subprocess.run([binary(), "version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", told)
    assert found is not None
    return tuple(map(int, found.groups()))


def newest() -> str:
    """The binary, if it is of the release that the oracles were recorded of; skips the test otherwise.

    An older one says other words, and does not survive an archive of the newer.
    """
    if release()[:2] != (2, 0):
        pytest.skip("NOMAD_BIN is not 2.0, of which the oracles are")
    return binary()


@dataclass
class RealServer:
    """One that runs.

    Attributes:
        address: `http://127.0.0.1:PORT`.
        process: To be killed by tests that want it dead.
    """

    address: str
    process: subprocess.Popen[bytes]


@contextmanager
def servers(folder: Path, count: int) -> Iterator[list[RealServer]]:
    """So many servers in one cluster, ACLs on, not bootstrapped."""
    nomad = binary()
    ports = [free_ports(3) for _ in range(count)]
    running: list[RealServer] = []
    try:
        for i, (http, rpc, serf) in enumerate(ports):
            config = {
                "name": f"server{i}",
                "data_dir": str(folder / f"data{i}"),
                "bind_addr": "127.0.0.1",
                "disable_update_check": True,
                "ports": {"http": http, "rpc": rpc, "serf": serf},
                "advertise": {"http": "127.0.0.1", "rpc": "127.0.0.1", "serf": "127.0.0.1"},
                "server": {
                    "enabled": True,
                    "bootstrap_expect": count,
                    "server_join": {"retry_join": [f"127.0.0.1:{p[2]}" for p in ports], "retry_interval": "1s"},
                },
                "acl": {"enabled": True},
            }
            file = folder / f"server{i}.json"
            file.write_text(json.dumps(config))
            with (folder / f"server{i}.log").open("wb") as log:
                process = subprocess.Popen([nomad, "agent", "-config", str(file)], stdout=log, stderr=log)
            running.append(RealServer(f"http://127.0.0.1:{http}", process))
        wait_for_leader(running[0].address)
        yield running
    finally:
        for server in running:
            server.process.kill()
            server.process.wait()


def wait_for_leader(address: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{address}/v1/status/leader", timeout=5).text.strip('"\n') not in (
                "",
                "No cluster leader",
            ):
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise AssertionError("no leader was elected")


def early_in_a_minute() -> None:
    """A leader launches periodic jobs as each minute begins: what must not be disturbed begins after that."""
    if (second := time.time() % 60) > 15:
        time.sleep(61 - second)


def wait_for_key(address: str, token: str, seconds: float = 60) -> None:
    """Until a new leader has made its root key, which is a change of the state."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        url = f"{address}/v1/operator/keyring/keys"
        answer = requests.get(url, headers={"X-Nomad-Token": token}, timeout=10)
        if answer.ok and answer.json():
            return
        time.sleep(0.2)
    raise AssertionError("no root key was made")


def bootstrap(address: str) -> str:
    """The secret of the first management token."""
    for _ in range(50):
        secret = str(uuid.uuid4())
        answer = requests.put(f"{address}/v1/acl/bootstrap", json={"BootstrapSecret": secret}, timeout=10)
        if answer.ok:
            return secret
        time.sleep(0.2)  # a new leader is not ready at once
    raise AssertionError(answer.text)
