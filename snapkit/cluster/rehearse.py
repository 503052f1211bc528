"""Rehearse a restore: into a throwaway real server on loopback, whose state is then compared with the archive.

The only full proof. It takes a nomad binary; what the server writes is in a folder of its own, which goes with it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snapkit.cluster.client import Client
from snapkit.cluster.connection import ClusterError, RestoreUnclearError, ServerError
from snapkit.errors import SnapshotError
from snapkit.format import archive
from snapkit.format.archive import Source
from snapkit.format.schema import BY_TABLE
from snapkit.state.findings.report import Finding
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.verify import CHECKS, MOST

PATIENCE = 60.0  # seconds until a server has to have a leader, or be ready again after a restore
MOVED = {"root_key_meta": "root_keys"}  # a server from 1.9 on keeps these there
#: Fields that a newer server fills in or works out anew where an older one left them empty.
WORKED_OUT = frozenset({"Hash", "SigningKeyID"})


def rehearse(src: Source, *, binary: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Restore an archive into a throwaway server and compare what that has then.

    Args:
        src: Anything that `open()` takes.
        binary: The nomad to run; by default what NOMAD_BIN or PATH names.

    Returns:
        Findings as verify's: none if every record of the archive is there, unchanged.

    Raises:
        SnapshotError: There is no such binary, or the server does not start.
    """
    nomad = find_binary(binary)
    with tempfile.TemporaryDirectory(prefix="snapkit-rehearse-") as folder, open_snapshot(src) as wanted:
        file = Path(folder) / "archive.snap"
        meta = wanted.archive.meta or archive.BARE_META
        archive.write(file, meta, wanted.chunks(), wanted.meta.size)
        with _server(nomad, Path(folder)) as (client, process):
            found = _restore(client, process, file, _named(client))
            if found:
                return found
            with client.snapshot() as live:
                return list(_compare(wanted, live))


def find_binary(binary: str | os.PathLike[str] | None = None) -> str:
    """A nomad binary: the given one, or what NOMAD_BIN or PATH names.

    Raises:
        SnapshotError: There is none.
    """
    found = shutil.which(os.fspath(binary or os.environ.get("NOMAD_BIN") or "nomad"))
    if found is None:
        raise SnapshotError("is not there", "a nomad binary", "name one by NOMAD_BIN, or put it on PATH")
    return found


@contextmanager
def _server(nomad: str, folder: Path) -> Iterator[tuple[Client, subprocess.Popen[bytes]]]:
    """A server that has nothing yet, with ACLs off: it takes in an archive's tokens all the same."""
    http, rpc, serf = free_ports(3)
    config = {
        "data_dir": str(folder / "data"),
        "bind_addr": "127.0.0.1",
        "advertise": dict.fromkeys(("http", "rpc", "serf"), "127.0.0.1"),
        "ports": {"http": http, "rpc": rpc, "serf": serf},
        "server": {"enabled": True, "bootstrap_expect": 1},
        "disable_update_check": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [nomad, "agent", "-config", str(folder / "config.json")], stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    try:
        client = Client(f"http://127.0.0.1:{http}")
        if not _has_leader(client, process):
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SnapshotError(f"does not start ({last[0] if last else 'no word of it'})", nomad, "run it by hand")
        yield client, process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _has_leader(client: Client, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.leader() and client.get("/v1/jobs").index is not None:
                return True
        except ClusterError:
            pass
        time.sleep(0.2)
    return False


def _named(client: Client) -> str:
    """What it was rehearsed with: another release may take what this one does not."""
    releases = {str((member.get("Tags") or {}).get("build") or "") for member in client.members()}
    return f"a server of {' and '.join(sorted(releases - {''})) or 'a release unknown'}"


def _restore(client: Client, process: subprocess.Popen[bytes], file: Path, server: str) -> list[Finding]:
    try:
        client.restore(file, force=True)  # what verify says of it is known: what does a server do?
    except RestoreUnclearError as error:
        if process.poll() is not None or not _has_leader(client, process):
            return [CHECKS["rehearse.died"].finding(server, error.what)]
        return [CHECKS["rehearse.unclear"].finding(server, error.what)]
    except ServerError as error:
        return [CHECKS["rehearse.refused"].finding(server, error.what)]
    if not _has_leader(client, process):
        return [CHECKS["rehearse.died"].finding(server, "it took the archive and has no leader since")]
    return []


def _compare(wanted: Snapshot, live: Snapshot) -> Iterator[Finding]:
    """What of the archive the server lacks, or has otherwise; what it made since is its own affair."""
    index = wanted.meta.index or 0
    for table in wanted.tables.index:
        kind = BY_TABLE.get(table)
        if kind is None or table in ("time_table", "indexes") or not kind.key:
            continue
        theirs = {_key(kind.key, item): item for item in live.objects(table, reveal=True)}
        theirs |= {_key(kind.key, item): item for item in live.objects(MOVED[table])} if table in MOVED else {}
        found = []
        for item in wanted.objects(table, reveal=True):
            key = _key(kind.key, item)
            place = f"table {table}, {'/'.join(key)}"
            if key not in theirs:
                found.append(CHECKS["rehearse.missing"].finding(place, "it is not in the restored cluster"))
            elif int(theirs[key].get("ModifyIndex") or 0) <= index and table not in MOVED:
                path = _difference(item, theirs[key])
                if path is not None:
                    found.append(CHECKS["rehearse.changed"].finding(place, f"{path or 'it'} is another there"))
        yield from found[:MOST]
        if len(found) > MOST:
            yield CHECKS[found[MOST].check].finding(f"table {table}", f"{len(found) - MOST:,} more of {len(found):,}")


def _key(names: tuple[str, ...], item: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(item.get(name)) for name in names)


def _difference(wanted: Any, live: Any, path: str = "") -> str | None:
    """Where two objects differ first; what is empty in the archive may be filled in by a newer server."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        pairs = [(f"{path}.{name}".lstrip("."), value, live.get(name)) for name, value in wanted.items()]
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        pairs = [(f"{path}[{i}]", *pair) for i, pair in enumerate(zip(wanted, live, strict=True))]
    else:
        return None if wanted == live or wanted in (None, "", 0, False, [], {}) else path
    found = (_difference(a, b, place) for place, a, b in pairs if place not in WORKED_OUT)
    return next((place for place in found if place is not None), None)
