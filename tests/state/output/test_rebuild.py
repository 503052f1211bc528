"""An archive out of a server's own copy: the same records, restorable, and what it says of itself."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

import snapkit
from snapkit.errors import SnapshotError, TargetExistsError
from snapkit.state.output.rebuild import rebuild

from ...cli import failed, run
from ...conftest import DATA, RAFT_DIRECTORIES, path_of


@pytest.mark.parametrize("name", RAFT_DIRECTORIES)
def test_a_servers_own_copy_becomes_an_archive_that_can_be_restored(name: str, tmp_path: Path) -> None:
    target = tmp_path / "out.snap"
    with snapkit.open(DATA / name) as copy:
        assert copy.meta.created is not None
        made = rebuild(copy, target, now=copy.meta.created + timedelta(hours=3))
        assert made.index == copy.meta.index
        assert "is 0 days 03:00:00 old" in made.to_text()
        assert [peer["id"] for peer in json.loads(made.peers)] == [server["ID"] for server in copy.meta.servers]
        assert len(snapkit.compare(copy, target, noise=True)) == 0
    report = snapkit.verify(target)
    assert report.ok
    assert not [f for f in report.found if f.check.startswith("archive.")], "it is as a server writes one"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_an_embedded_cluster_takes_it(tmp_path: Path) -> None:
    target = tmp_path / "out.snap"
    with snapkit.open(DATA / "v2.0.5" / "raft-snapshots") as copy:
        rebuild(copy, target)
    with snapkit.serve(path_of("v2.0.5/monday")) as cluster:
        client = snapkit.Client(cluster.address, token=cluster.token)
        client.restore(target)
        assert ("shop", "web") in [(job["Namespace"], job["ID"]) for job in client.jobs()]


def test_what_can_not_be_written_is_said(tmp_path: Path) -> None:
    target = tmp_path / "out.snap"
    target.write_bytes(b"")
    with snapkit.open(DATA / "v2.0.5" / "raft-snapshots") as copy:
        with pytest.raises(TargetExistsError):
            rebuild(copy, target)
        bare = b"".join(bytes(chunk) for chunk in copy.chunks())
    with snapkit.open(bare) as state, pytest.raises(SnapshotError, match=r"has no meta\.json"):
        rebuild(state, tmp_path / "other.snap")
    damaged = path_of("v2.0.5/monday").read_bytes()[:20_000]
    with snapkit.open(damaged, salvage=True) as rest, pytest.raises(SnapshotError, match="was salvaged"):
        rebuild(rest, tmp_path / "other.snap")
    assert not (tmp_path / "other.snap").exists()


def test_on_the_command_line(tmp_path: Path) -> None:
    target = tmp_path / "out.snap"
    ran = run("export", DATA / "v2.0.5" / "raft-snapshots", target, "--archive")
    assert (ran.status, ran.out) == (0, f"{target}: the whole state, index 201\n")
    assert "peers.json" in ran.err
    assert '"non_voter": false' in ran.err
    ran = run("export", path_of("v2.0.5/monday"), tmp_path / "copy.snap", "--archive", "--json")
    assert (json.loads(ran.out)["Index"], ran.err) == (96, "")
    told = failed(run("export", path_of("v2.0.5/monday"), tmp_path / "b.snap", "--archive", "--table", "jobs"))
    assert "leave out" in told
