"""Ids in short, wherever a command takes an id; as Nomad's own command prints and takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import snapkit

from ..conftest import path_of
from . import failed, fine, run

WEDNESDAY, FRIDAY = path_of("v2.0.5/wednesday"), path_of("v2.0.5/friday")
INTERN, ON_CALL = "1ee34c74-5914-e20a-c0ee-3efb0952fa5d", "78c65ed0-c07b-4849-866c-5ec8f3ff43e4"


@pytest.mark.parametrize("table", ["allocs", "evals", "nodes", "deployments", "acl_tokens"])
def test_show_takes_eight_characters(table: str) -> None:
    with snapkit.open(FRIDAY) as snap:
        ids = list(snap.table(table, []).index)
    for id_ in ids[:2]:
        key = "AccessorID" if table == "acl_tokens" else "ID"
        assert json.loads(fine("show", FRIDAY, table, id_[:8]))[key] == id_


def test_where_several_begin_so_they_are_told() -> None:
    line = failed(run("show", FRIDAY, "allocs", "0"))
    assert line == (
        "snapkit: table allocs: 3 ids begin with '0'; give more of it: 07725bc9-7bed-7c9e-d99a-b3ef35a00218, "
        "09680067-e2d2-f711-8ecf-fc64cb46cdeb, 02423c8f-68f9-25cc-2373-aaacd060511f"
    )
    for name in ("we", "w"):
        assert "has no record" in failed(run("show", FRIDAY, "jobs", "shop", name)), "names are whole"


def test_who_takes_them_and_a_name_is_a_name() -> None:
    whole = fine("who", WEDNESDAY, "--token", INTERN, "--json")
    assert fine("who", WEDNESDAY, "--token", INTERN[:8], "--json") == whole
    assert fine("who", WEDNESDAY, "--token", "intern", "--json") == whole
    role = fine("who", WEDNESDAY, "--role", ON_CALL, "--json")
    assert fine("who", WEDNESDAY, "--role", ON_CALL[:6], "--json") == role
    assert "2 ids begin with '1'" in failed(run("who", WEDNESDAY, "--token", "1"))
    assert "has no record" in failed(run("who", WEDNESDAY, "--token", "inter"))
    changes = run("who", path_of("v2.0.5/tuesday"), "--against", WEDNESDAY, "--token", "b11d19dc", "--json")
    assert changes.status == 1, "it is in the later one alone"
    assert json.loads(changes.out)


def test_timeline_takes_them() -> None:
    with snapkit.open(WEDNESDAY) as snap:
        id_, name = next(iter(snap.table("nodes", ["Name"])["Name"].items()))
    events = fine("timeline", WEDNESDAY, "--node", id_, "--json")
    assert json.loads(events)
    for node in (str(id_)[:8], name):
        assert fine("timeline", WEDNESDAY, "--node", node, "--json") == events
    unknown = run("timeline", WEDNESDAY, "--node", "ffffffff", "--job", "nosuch", "--kind", "job", "--kind", "jib")
    assert (unknown.status, unknown.out) == (0, "0 events\n")
    first, second, third = unknown.err.splitlines()
    assert first == "snapkit: note: node ffffffff is in none of the snapshots"
    assert second == "snapkit: note: job nosuch is in none of the snapshots"
    assert third.startswith("snapkit: note: no event is of kind jib; there are acl.bootstrapped, ")


def test_recover_takes_them(tmp_path: Path) -> None:
    fine("recover", FRIDAY, "acl_roles", ON_CALL[:8], "--to", tmp_path / "files")
    assert json.loads((tmp_path / "files" / "on-call.role.json").read_text())["Name"] == "on-call"
    failed(run("recover", FRIDAY, "acl_roles", "ffff", "--to", tmp_path / "more"))
    assert "ids begin with ''" not in failed(run("recover", FRIDAY, "acl_roles", "", "--to", tmp_path / "more"))
    assert not (tmp_path / "more").exists()
