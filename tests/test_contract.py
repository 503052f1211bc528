"""snapkit's promise against real archives: what Nomad's own tools and its live API said of each.

`inspect.json` is `nomad operator snapshot inspect -json`, `state.json` is `nomad operator snapshot state`, and
`api.json` the live cluster's answers at about the time of the save.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

import snapkit
from snapkit.format import archive as container
from snapkit.format.records import Framer
from snapkit.format.schema import BY_TABLE, type_name

from .conftest import ARCHIVES, DATA, ORACLES, RAFT_DIRECTORIES, oracle, path_of, with_oracle

Open = Callable[[str], snapkit.Snapshot]

CLUSTERS = sorted({archive.partition("/")[0] for archive in ARCHIVES})
#: The folder's name is the release; every-table was written by the state store of 2.0.5.
RELEASES = {cluster: "2.0.5" if cluster == "every-table" else cluster.removeprefix("v") for cluster in CLUSTERS}


def test_the_archives_of_all_clusters_are_here() -> None:
    assert CLUSTERS == ["every-table", "v0.12.12", "v1.4.14", "v1.8.4", "v2.0.5"]
    assert len(ARCHIVES) == 12
    assert len(RAFT_DIRECTORIES) == 7
    assert with_oracle("inspect") == ARCHIVES
    assert len(with_oracle("state")) == 5
    assert len(with_oracle("api")) == 11


# -- counts and bytes


def stats(archive: str) -> list[tuple[str, int, int]]:
    return sorted((s["Name"], s["Count"], s["Sum"]) for s in oracle(archive, "inspect")["Stats"])


@pytest.mark.parametrize("archive", ARCHIVES)
def test_framing_counts_what_nomad_inspect_counts(archive: str) -> None:
    framer = Framer(index=False)
    container.read(path_of(archive), framer)
    framer.close()
    assert sorted((type_name(b), t.count, t.bytes) for b, t in framer.tallies.items()) == stats(archive)


@pytest.mark.parametrize("archive", ARCHIVES)
def test_snap_tables_counts_what_nomad_inspect_counts(archive: str, opened: Open) -> None:
    tables = opened(archive).tables
    assert sorted((r.Type, r.Count, r.Bytes) for r in tables.itertuples()) == stats(archive)
    assert list(tables.Bytes) == sorted(tables.Bytes, reverse=True)
    assert tables.Share.sum() == pytest.approx(1)
    assert {t: len(opened(archive)[t]) for t in tables.index if t != "time_table"} == {
        t: n for t, n in tables.Count.items() if t != "time_table"
    }


@pytest.mark.parametrize("archive", ARCHIVES)
def test_meta_is_what_nomad_inspect_says(archive: str, opened: Open) -> None:
    said = oracle(archive, "inspect")["Meta"]
    found = container.read(path_of(archive))
    assert found.kind == "archive"
    assert {field: found.meta[field] for field in said} == said
    assert found.oddities == ()
    assert [m.name for m in found.members] == ["meta.json", "state.bin", "SHA256SUMS"]

    meta = opened(archive).meta
    assert (meta.id, meta.index, meta.term, meta.version) == (said["ID"], said["Index"], said["Term"], said["Version"])
    assert (meta.size, meta.configuration_index) == (said["Size"], said["ConfigurationIndex"])
    assert list(meta.servers) == said["Configuration"]["Servers"]
    assert meta.created is not None
    assert f"{meta.created.value // 10**6}" == said["ID"].rpartition("-")[2]
    assert meta.source == str(path_of(archive))


@pytest.mark.parametrize("archive", with_oracle("api"))
def test_the_cluster_id_is_the_live_ones(archive: str, opened: Open) -> None:
    frame = opened(archive).cluster_metadata
    assert opened(archive).meta.cluster_id == frame.ClusterID.iloc[0]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", frame.ClusterID.iloc[0])


# -- the release


@pytest.mark.parametrize("archive", ARCHIVES)
def test_the_guessed_range_holds_the_release_that_wrote_it(archive: str, opened: Open) -> None:
    guessed = SpecifierSet(opened(archive).meta.version_range)
    release = RELEASES[archive.partition("/")[0]]
    assert release in guessed
    others = set(RELEASES.values()) - {release}
    assert not others & set(guessed.filter(others)), "it tells the releases here apart"


@pytest.mark.parametrize("folder", RAFT_DIRECTORIES)
def test_a_servers_own_copy_tells_of_the_same_release(folder: str, open_: Callable[..., snapkit.Snapshot]) -> None:
    snap = open_(DATA / folder)
    assert RELEASES[folder.partition("/")[0]] in SpecifierSet(snap.meta.version_range)
    assert snap.meta.id == folder.rpartition("/")[2]
    assert snap.meta.cluster_id


# -- every record of `nomad operator snapshot state`

#: Its name for a kind of object -> our table.
IN_STATE = {
    "ACLPolicies": "acl_policies",
    "ACLTokens": "acl_tokens",
    "Allocs": "allocs",
    "CSIPlugins": "csi_plugins",
    "CSIVolumes": "csi_volumes",
    "Deployments": "deployments",
    "Evals": "evals",
    "Indexes": "indexes",
    "JobSummaries": "job_summaries",
    "JobVersions": "job_versions",
    "Jobs": "jobs",
    "Nodes": "nodes",
    "PeriodicLaunches": "periodic_launches",
    "ScalingEvents": "scaling_events",
    "ScalingPolicies": "scaling_policies",
}
#: Nomad restores the archive into a state store and prints that. What it leaves out of its JSON then:
NOT_IN_JSON = {
    "ExpirationTTL",  # as text, and not at all where it is not set
    "SignedIdentities",
    "Reserved",  # of Node: until 1.10 alone
    "Resources",
}
#: What it works out anew from the job (every-table's objects are made up and do not agree):
REWRITTEN = (".Scaling.Target.Job", ".Scaling.Target.Namespace")
#: What it fills in where an older release left it empty:
FILLED_IN = (
    ".Identity",
    ".Services[].Namespace",
    ".Services[].Provider",
    ".NodePool",
    ".NodeResources.Processors",
    ".Scaling.Type",
    "scaling_policies.Type",
)
#: Rows of the Index table that a restore adds for the objects that every cluster has:
ADDED_ON_RESTORE = {"namespaces": 1, "node_pools": 1}


def is_empty(value: Any) -> bool:
    """Nil, zero and 'not set' are one thing to Go's JSON, which leaves them out here and prints them there."""
    if isinstance(value, dict):
        return all(map(is_empty, value.values()))
    return value in (None, "", 0, False, [], "0001-01-01T00:00:00Z")


def differences(ours: Any, theirs: Any, path: str) -> Iterator[str]:
    """Where two JSON values differ, but for the exceptions above."""
    place = re.sub(r"\[\d+\]", "[]", path)
    if is_empty(ours) and (is_empty(theirs) or place.endswith(FILLED_IN)):
        return
    if place.endswith(REWRITTEN):
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for field in sorted(ours.keys() | theirs.keys()):
            if field in NOT_IN_JSON and is_empty(theirs.get(field)):
                continue
            yield from differences(ours.get(field), theirs.get(field), f"{path}.{field}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(a, b, f"{path}[{i}]")
    elif ours != theirs or type(ours) is not type(theirs):
        yield f"{path}: {ours!r} is {theirs!r} in Nomad's"


@pytest.mark.parametrize("archive", with_oracle("state"))
@pytest.mark.parametrize("kind", IN_STATE)
def test_get_gives_the_json_of_nomad_snapshot_state(archive: str, kind: str, opened: Open) -> None:
    table = IN_STATE[kind]
    found = []
    for theirs in oracle(archive, "state").get(kind) or []:
        key = [theirs[field] for field in BY_TABLE[table].key]
        if table == "indexes" and theirs["Value"] == ADDED_ON_RESTORE.get(theirs["Key"]):
            continue
        ours = opened(archive).get(table, *key, reveal=True)
        assert json.loads(json.dumps(ours)) == ours, "Python's json module takes it as it is"
        found += list(differences(ours, theirs, table))
    assert found == []


def test_the_comparison_can_tell_a_difference() -> None:
    ours, theirs = {"A": 1, "B": [{"C": "x"}], "D": None}, {"A": 1, "B": [{"C": "y"}], "D": 0, "E": 2}
    assert list(differences(ours, theirs, "t")) == ["t.B[0].C: 'x' is 'y' in Nomad's", "t.E: None is 2 in Nomad's"]


@pytest.mark.parametrize("archive", ARCHIVES)
def test_every_record_can_be_had_by_its_key(archive: str, opened: Open) -> None:
    snap = opened(archive)
    for table in snap.tables.index:
        fields = BY_TABLE[table].key
        if fields:
            for key in snap[table].index:
                shown = snap.get(table, key if isinstance(key, tuple) else (key,), reveal=True)
                assert [shown[f] for f in fields] == list(key if isinstance(key, tuple) else (key,))
        else:
            assert snap.get(table)


# -- the live API

#: Its endpoint -> our table, and the fields that must agree where a release has them.
IN_API: dict[str, tuple[str, list[str]]] = {
    "jobs": ("jobs", ["Type", "Priority", "Status", "Stop"]),
    "nodes": ("nodes", ["Name", "Datacenter", "Status", "SchedulingEligibility"]),
    "allocations": ("allocs", ["JobID", "NodeID", "TaskGroup", "ClientStatus", "DesiredStatus"]),
    "evaluations": ("evals", ["JobID", "Status", "TriggeredBy", "Type"]),
    "deployments": ("deployments", ["JobID", "Status", "JobVersion"]),
    "tokens": ("acl_tokens", ["Name", "Type", "Global"]),
    "policies": ("acl_policies", ["Description"]),
    "roles": ("acl_roles", ["Name", "Description"]),
    "namespaces": ("namespaces", ["Description"]),
    "node_pools": ("node_pools", ["Description"]),
    "variables": ("variables", []),
}


@pytest.mark.parametrize("archive", with_oracle("api"))
@pytest.mark.parametrize("endpoint", IN_API)
def test_tables_agree_with_the_live_api(archive: str, endpoint: str, opened: Open) -> None:
    table, fields = IN_API[endpoint]
    answers = oracle(archive, "api").get(endpoint)
    if not isinstance(answers, list) or not answers:
        pytest.skip("this release has none")
    frame = opened(archive)[table].reset_index()
    key = [field for field in BY_TABLE[table].key if field in frame]
    ours = {tuple(row[field] for field in key): row for row in frame.to_dict("records")}
    moved, wrong = 0, []
    for theirs in answers:
        row = ours[tuple(theirs.get(field, "default") for field in key)]
        if row.get("ModifyIndex") != theirs.get("ModifyIndex", row.get("ModifyIndex")):
            moved += 1  # between the answer and the save
            continue
        wrong += [(f, row.get(f), theirs[f]) for f in fields if f in theirs and row.get(f) != theirs[f]]
    assert wrong == []
    assert moved <= len(answers) / 5


@pytest.mark.parametrize("archive", with_oracle("api"))
def test_times_of_tokens_agree_with_the_live_api(archive: str, opened: Open) -> None:
    tokens = opened(archive).acl_tokens
    for theirs in oracle(archive, "api")["tokens"]:
        ours = opened(archive).get("acl_tokens", theirs["AccessorID"])
        assert ours["CreateTime"] == theirs["CreateTime"]
        assert ours["Hash"] == theirs["Hash"]
        fraction = tokens.CreateTime[theirs["AccessorID"]].isoformat().removesuffix("+00:00")
        assert theirs["CreateTime"].startswith(fraction.rstrip("0"))


# -- secrets of real clusters


@pytest.mark.parametrize("archive", with_oracle("api"))
def test_no_display_shows_a_real_token(archive: str, opened: Open) -> None:
    cluster = archive.partition("/")[0]
    known = [json.loads((ORACLES / cluster / "bootstrap.json").read_text())]
    known += json.loads((ORACLES / cluster / "tokens.json").read_text()).values()
    snap = opened(archive)
    shown = snap.acl_tokens.to_string() + repr(snap) + snap._repr_html_()
    shown += "".join(str(snap.get("acl_tokens", accessor)) for accessor in snap.acl_tokens.index)
    shown += "".join(snap.search(token["SecretID"]).to_string() for token in known)
    assert [token["Name"] for token in known if token["SecretID"] in shown] == []

    revealed = snap.table("acl_tokens", reveal=True)
    assert known[0]["SecretID"] == revealed.SecretID[known[0]["AccessorID"]]
