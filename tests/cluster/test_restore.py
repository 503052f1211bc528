"""The recovery runbook: preflight names beforehand what goes wrong, apply does it or says why not, check finds it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pyrage
import pytest

import snapkit
from snapkit import Client
from snapkit.cluster import connection
from snapkit.cluster import preflight as looking
from snapkit.cluster.check import check
from snapkit.cluster.connection import ClusterError, ClusterTimeoutError, PermissionDeniedError, RestoreUnclearError
from snapkit.cluster.effects import DECIDED
from snapkit.cluster.journal import Journal, JournalError, read
from snapkit.cluster.registry import CHECKS
from snapkit.cluster.rehearse import free_ports
from snapkit.cluster.restore import (
    ConfirmationError,
    Outcome,
    Plan,
    PlanChangedError,
    PreflightError,
    RestoreError,
    SafetySaveError,
    apply,
    journal_html,
    plan,
    preflight,
    resume,
    rollback,
)
from snapkit.cluster.server import Faults, ServedCluster
from snapkit.errors import NotInSnapshotError, SourceError, TargetExistsError
from snapkit.state.findings.report import Report
from snapkit.state.output.rebuild import rebuild
from tests import damage, forge

from ..conftest import DATA, ORACLES, ROOT, path_of
from .servers import binary, bootstrap, release, servers, wait_for_key

THURSDAY, FRIDAY = path_of("v2.0.5/thursday"), path_of("v2.0.5/friday")
MONDAY_1_8, TUESDAY_1_8 = path_of("v1.8.4/monday"), path_of("v1.8.4/tuesday")
RUNBOOK = ORACLES / "runbook.json"  # what came of it on a real 2.0.5
KEYSTORE_1_8 = DATA / "v1.8.4" / "keystore"
CONFIRM = "f806eeae"  # of the week's cluster
CLIENT1 = "21d5be79-1724-f554-87cb-3dcd9450b451"
CLIENT2 = "4e5dbdec-e743-3537-2339-6d675833c741"
KEY_1_8 = "9a566108-5812-a10c-c6bd-04823147011c"
INTERN = "1ee34c74-5914-e20a-c0ee-3efb0952fa5d"
NOW = datetime(2026, 11, 23, 23, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKOFF", (0.001,))


@cache
def shared() -> ServedCluster:
    """One served cluster for this module: its state is swapped, which is much quicker than another server."""
    return snapkit.serve(FRIDAY)


@pytest.fixture(autouse=True, scope="module")
def _closing() -> Iterator[None]:
    yield
    shared().close()
    shared.cache_clear()


@contextmanager
def serving(state: bytes | Path, **options: Any) -> Iterator[ServedCluster]:
    if options:
        with snapkit.serve(state, **options) as cluster:
            yield cluster
        return
    cluster, file = shared(), TemporaryFile()  # noqa: SIM115 - the cluster's from here on
    file.write(state if isinstance(state, bytes) else state.read_bytes())
    cluster.faults = Faults()
    cluster.swap(file)
    cluster._raft_index = cluster._state.snapshot.meta.index or 0  # as one to which nothing was restored
    yield cluster
    cluster.faults = Faults()


@pytest.fixture
def friday() -> Iterator[ServedCluster]:
    with serving(FRIDAY) as cluster:
        yield cluster


@cache
def thursdays_plan(address: str, token: str) -> Plan:
    """Of Thursday into Friday."""
    return plan(Client(address, token=token), THURSDAY)


def client_of(cluster: ServedCluster, token: str | None = None) -> Client:
    return Client(cluster.address, token=cluster.token if token is None else token)


def found(report: Report, check: str) -> list[str]:
    """The places and messages of a check's findings."""
    return [f"{f.place}: {f.message}" for f in report.found if f.check == check]


def errors(report: Report) -> list[str]:
    return [f.check for f in report.found if f.severity == "error"]


def secret_of(archive: Path, name: str = "Bootstrap Token") -> str:
    with snapkit.open(archive) as snap:
        tokens = snap.table("acl_tokens", reveal=True)
        return str(tokens["SecretID"][tokens["Name"] == name].iloc[0])


def built(*builders: damage.Builder, base: Path = FRIDAY) -> bytes:
    """An archive with some records changed."""
    data = base.read_bytes()
    for build in builders:
        data = build(data)
    return data


def looked(live: bytes | Path, wanted: bytes | Path, *, serve: dict[str, Any] | None = None, **options: Any) -> Report:
    """Preflight of an archive into a served state."""
    with serving(live, **(serve or {})) as cluster:
        return preflight(client_of(cluster), wanted, **{"now": NOW, **options})


def state(cluster: ServedCluster) -> bytes:
    out = io.BytesIO()
    with client_of(cluster).snapshot() as live:
        out.writelines(live.chunks())
    return out.getvalue()


def state_of(archive: Path) -> bytes:
    with snapkit.open(archive) as snap:
        return b"".join(snap.chunks())


# -- preflight: what goes wrong in real life


def test_thursday_into_friday_says_what_comes_back() -> None:
    report = looked(FRIDAY, THURSDAY)
    assert report.ok
    assert report.target == "2.0.5"
    assert found(report, "preflight.jobs") == [
        "table jobs, shop/web: it becomes what it is in the archive: "
        'TaskGroups["front"].Count; TaskGroups["front"].Tasks["server"].Env.IMAGE; TaskGroups["cache"].Count; '
        "Version 3 becomes 2; SubmitTime",
        "table jobs, payments/payments: it is in the archive alone, and comes back",
    ]
    assert found(report, "preflight.variables") == [
        "table variables, payments/psp/credentials: it is in the archive alone, and comes back"
    ]
    assert found(report, "preflight.nodes") == [
        "table nodes, 65e4f3e5-0bfa-d8bf-5aa5-5bc503b44072 (client0): it becomes what it is in the archive: "
        "SchedulingEligibility ineligible becomes eligible"
    ]
    assert found(report, "preflight.allocs-stop") == ["job shop/web: 2 allocations run now and are not in the archive"]
    assert len(found(report, "preflight.allocs-ghost")) == 3
    assert found(report, "preflight.recovery-point") == [
        f"{THURSDAY}: 51 minutes, 42 indexes (158 of 200); 29 live objects were written since"
    ]
    assert found(report, "preflight.raft") == [
        "Raft: Raft's index goes on from the higher of the two, at 201; term 2 and the servers stay"
    ]
    assert set(report.checks) >= {c for c in CHECKS if c.startswith("preflight.")}
    assert report.levels[-1] == "preflight"


def test_the_same_archive_changes_nothing() -> None:
    report = looked(FRIDAY, FRIDAY)
    assert {f.check for f in report.found if f.check.startswith("preflight.")} == {
        "preflight.token-stays",
        "preflight.recovery-point",
        "preflight.raft",
    }


def test_a_lost_keyring_is_named() -> None:
    """Issues 16640 and 23665: an archive of 1.8 has no keys, and this cluster has others."""
    need = f"root key {KEY_1_8}: 4 variables and 13 allocs need it, and "
    report = looked(FRIDAY, MONDAY_1_8)
    assert found(report, "preflight.key-missing") == [f"{need}it is nowhere"]
    assert errors(report) == ["preflight.key-missing"]
    with_keystore = looked(FRIDAY, MONDAY_1_8, keystore=KEYSTORE_1_8)
    assert with_keystore.ok
    assert found(with_keystore, "preflight.key-in-keystore") == [f"{need}the live servers do not know it"]
    same = looked(TUESDAY_1_8, MONDAY_1_8, serve={"version": "1.8.4"})
    assert same.ok
    assert found(same, "preflight.key-on-disk") == [f"{need}the live servers know it"]


def test_material_of_a_key_that_is_gone_after_an_upgrade_is_named() -> None:
    """From 1.9 on there is a record without material where the key is on disk alone."""
    with snapkit.open(FRIDAY) as snap:
        (key,) = snap.table("root_keys", ["State"]).index
    bare = built(damage.put("root_keys", {"WrappedKeys": None}))
    other = built(damage.put("root_keys", {"KeyID": b"00000000-0000-0000-0000-000000000000"}))
    assert found(looked(other, bare), "preflight.key-missing")[0].startswith(f"root key {key}: 2 variables")
    assert found(looked(FRIDAY, bare), "preflight.key-on-disk")[0].startswith(f"root key {key}: 2 variables")


def test_clients_that_vanish_and_clients_that_are_gone_are_named() -> None:
    """Issues 20024 and 16640."""
    without = built(damage.without("nodes", ID=CLIENT1))
    assert found(looked(FRIDAY, without), "preflight.node-vanishes") == [
        f"node {CLIENT1}: client1, ready now, is not in the archive"
    ]
    assert found(looked(without, FRIDAY), "preflight.node-ghost") == [
        f"node {CLIENT1}: client1, ready in the archive, is gone"
    ]
    down = built(damage.put("nodes", {"Status": b"down"}, ID=CLIENT1))
    assert found(looked(down, FRIDAY), "preflight.node-ghost") == [
        f"node {CLIENT1}: client1, ready in the archive, is down"
    ]
    assert found(looked(down, without), "preflight.node-vanishes") == []
    anew = built(damage.put("nodes", {"SecretID": b"00000000-0000-0000-0000-000000000000"}, ID=CLIENT1))
    assert found(looked(anew, FRIDAY), "preflight.node-secret") == [
        f"node {CLIENT1}: client1 has another secret by now"
    ]


@pytest.mark.parametrize(
    ("version", "archive", "check"),
    [
        ("1.6.2", FRIDAY, "target.unknown-type"),
        ("1.9.2", TUESDAY_1_8, "target.time-table"),
    ],
)
def test_what_the_live_release_can_not_take_is_named(version: str, archive: Path, check: str) -> None:
    """Issues 20072 (1.6.2 dies) and 24411 (1.9.2 restores nothing)."""
    report = looked(TUESDAY_1_8, archive, serve={"version": version})
    assert report.target == version
    assert check in errors(report)


@pytest.mark.parametrize("token", ["Bootstrap Token", "intern"])
def test_a_token_that_may_not_restore_or_is_lost_is_named(token: str) -> None:
    secret = secret_of(FRIDAY, token)
    if token == "intern":
        report = looked_with(secret, FRIDAY)
        assert found(report, "preflight.token") == ["the token: 'intern' is a client token, no management token"] or (
            "Permission denied" in found(report, "preflight.token")[0]
        )
        return
    assert found(looked_with(secret, FRIDAY), "preflight.token-stays") == [
        "the token: it is in the archive too, and a management token there"
    ]
    gone = built(damage.without("acl_tokens", Name="Bootstrap Token"))
    report = looked_with(secret, gone)
    assert errors(report) == ["preflight.token-lost"]
    assert found(report, "preflight.token-lost")[0].endswith("it is not in the archive")
    other = built(damage.put("acl_tokens", {"SecretID": b"x"}, Name="Bootstrap Token"))
    assert "with another secret" in found(looked_with(secret, other), "preflight.token-lost")[0]
    weaker = built(damage.put("acl_tokens", {"Type": b"client"}, Name="Bootstrap Token"))
    assert errors(looked_with(secret, weaker)) == ["preflight.token-lost"]
    glass = secret_of(FRIDAY, "break glass")
    after = looked_with(secret, gone, token_after=glass)
    assert after.ok
    assert "takes over" in found(after, "preflight.token-stays")[0]
    assert errors(looked_with(secret, gone, token_after="no such")) == ["preflight.token-lost"]


def looked_with(token: str, wanted: bytes | Path, **options: Any) -> Report:
    with serving(FRIDAY) as cluster:
        return preflight(client_of(cluster, token), wanted, now=NOW, **options)


def test_old_tokens_come_back_and_new_ones_go() -> None:
    gone = built(damage.without("acl_tokens", AccessorID=INTERN))
    assert found(looked(gone, FRIDAY), "preflight.tokens") == [
        f"table acl_tokens, {INTERN} (intern): it is in the archive alone, and comes back"
    ]
    assert found(looked(FRIDAY, gone), "preflight.tokens") == [
        f"table acl_tokens, {INTERN} (intern): it is not in the archive, and goes away"
    ]


@pytest.mark.parametrize(
    ("build", "check"),
    [
        (lambda data: data[:-100], "archive.truncated"),
        (lambda data: data + bytes(512), "archive.gzip-trailing"),
        (damage.cut_before("acl_policies"), "state.missing-table"),
    ],
    ids=["truncated", "padded", "cut at a record's edge"],
)
def test_a_half_taken_archive_is_named(build: Callable[[bytes], bytes], check: str) -> None:
    """Issues consul 6893 and 3933, vault 12168."""
    assert check in errors(looked(FRIDAY, build(FRIDAY.read_bytes())))


def test_another_cluster_and_another_region_are_named() -> None:
    other = looked(TUESDAY_1_8, FRIDAY)
    assert "it is of cluster f806eeae-" in found(other, "preflight.other-cluster")[0]
    assert "indexes of two clusters say nothing" in found(other, "preflight.recovery-point")[0]
    (region,) = found(looked(FRIDAY, FRIDAY, serve={"region": "mars"}), "preflight.region")
    assert region == "table jobs: 10 jobs are of region global, and the cluster is mars"
    assert found(looked(THURSDAY, FRIDAY), "preflight.ahead") == [f"{FRIDAY}: its index is 200, and the live one 158"]


def test_namespaces_pools_volumes_and_policies_are_named() -> None:
    fewer = built(
        damage.without("host_volumes"),
        damage.without("node_pools", Name="gpu"),
        damage.put("acl_policies", {"Rules": b"x"}, Name="anonymous"),
        damage.put("scheduler_config", {"SchedulerAlgorithm": b"spread"}),
    )
    report = looked(FRIDAY, fewer)
    assert "goes away" in found(report, "preflight.volumes")[0]
    assert found(report, "preflight.node-pools") == ["table node_pools, gpu: it is not in the archive, and goes away"]
    assert found(report, "preflight.policies") == [
        "table acl_policies, anonymous: it becomes what it is in the archive: Rules"
    ]
    assert found(report, "preflight.scheduler") == [
        "table scheduler_config: it becomes what it is in the archive: SchedulerAlgorithm"
    ]


def test_a_cluster_that_can_not_do_it_is_named(friday: ServedCluster) -> None:
    client = client_of(friday)
    friday.faults = Faults(no_leader=True)
    report = preflight(client, THURSDAY)
    assert errors(report) == ["preflight.leader"]
    assert found(report, "preflight.jobs"), "judged by the stale state all the same"
    friday.faults = Faults(forbidden=True)
    assert "preflight.token" in errors(preflight(client, THURSDAY))
    friday.faults = Faults(html=True)
    assert errors(preflight(client, THURSDAY)) == ["preflight.untold"]
    friday.faults = Faults()
    assert set(errors(preflight(Client(friday.address), THURSDAY))) == {"preflight.token"}, "the anonymous may nothing"
    assert errors(preflight(Client("http://127.0.0.1:1"), THURSDAY)) == ["preflight.unreachable"]


class Told(Client):
    """A cluster that answers some reads otherwise."""

    answers: dict[str, Any]

    def get(self, path: str, **query: Any) -> Any:
        answer = super().get(path, **query)
        return type(answer)(self.answers[path], None, None) if path in self.answers else answer


def member(name: str, build: str, status: str = "alive") -> dict[str, Any]:
    return {"Name": name, "Status": status, "Tags": {"region": "global", "build": build}}


def test_servers_of_several_releases_without_quorum_and_of_several_regions(friday: ServedCluster) -> None:
    client = Told(friday.address, token=friday.token)
    here = [member("a", "2.0.5"), member("b", "1.10.5"), member("c", "1.9.0+ent", "failed")]
    far = {**member("x", "1.6.2"), "Tags": {"region": "mars", "build": "1.6.2"}}
    client.answers = {
        "/v1/agent/members": {"ServerRegion": "global", "Members": [*here, far]},
        "/v1/status/peers": ["a", "b", "c"],
        "/v1/regions": ["global", "mars"],
        "/v1/agent/self": {"config": {"Server": {"AuthoritativeRegion": "global"}}},
    }
    report = preflight(client, THURSDAY)
    assert report.target == "1.10.5"
    assert found(report, "preflight.versions") == [
        "the servers: they are of 1.10.5, 2.0.5; the archive is judged for 1.10.5"
    ]
    assert found(report, "preflight.servers") == ["server c: it is failed"]
    assert found(report, "preflight.quorum") == []
    assert found(report, "preflight.federation") == [
        "the regions: there are global, mars; this is global, and the authoritative one is global"
    ]
    client.answers["/v1/agent/members"]["Members"] = here[:1] + here[2:]
    assert found(preflight(client, THURSDAY), "preflight.quorum") == [
        "the servers: 1 of 3 servers are alive; it takes 2"
    ]


def test_no_room_for_the_save_is_named(friday: ServedCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Usage(1000))
    assert "1,000 bytes are free" in found(preflight(client_of(friday), THURSDAY), "preflight.disk")[0]
    monkeypatch.undo()
    assert errors(preflight(client_of(friday), THURSDAY, folder=tmp_path / "no")) == ["preflight.disk"]


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_what_is_no_archive_is_named_and_what_is_not_there_raises(friday: ServedCluster, tmp_path: Path) -> None:
    folder = next((DATA / "v2.0.5" / "raft-snapshots").iterdir())
    assert errors(preflight(client_of(friday), folder)) == ["preflight.not-an-archive"]
    with pytest.raises(SourceError):
        preflight(client_of(friday), tmp_path / "none.snap")


def test_many_findings_of_one_check_are_cut_short(friday: ServedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MOST", 1)
    told = found(preflight(client_of(friday), THURSDAY), "preflight.allocs-ghost")
    assert told[1:] == ["and so on: there are 2 more; the plan's table lists all"]


def test_no_secret_is_told(friday: ServedCluster) -> None:
    secrets = [secret_of(FRIDAY, name) for name in ("Bootstrap Token", "intern", "break glass")]
    planned = plan(client_of(friday, secrets[0]), MONDAY_1_8, keystore=KEYSTORE_1_8, token_after=secrets[2])
    for text in (planned.to_text(), json.dumps(planned.to_json()), planned.to_html(), repr(planned)):
        assert not [secret for secret in [*secrets, friday.token] if secret in text]


def test_every_check_stands_in_the_documentation() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snapkit.cluster.restore"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "preflight.md").read_text(encoding="utf-8") == done.stdout


# -- plan


def test_a_plan_is_a_table_a_ticket_and_a_file(friday: ServedCluster, tmp_path: Path) -> None:
    planned = plan(client_of(friday), THURSDAY, now=NOW)
    table = planned.table
    assert list(table.columns) == ["Table", "Key", "Happens", "Name", "Live", "What"]
    assert [str(dtype) for dtype in table.dtypes] == ["str", "object", "str", "str", "Int64", "str"]
    assert list(zip(table["Table"], table["Key"], table["Happens"], strict=True)) == [
        ("nodes", ("65e4f3e5-0bfa-d8bf-5aa5-5bc503b44072",), "changes"),
        ("jobs", ("shop", "web"), "changes"),
        ("jobs", ("payments", "payments"), "comes back"),
        ("variables", ("payments", "psp/credentials"), "comes back"),
    ]
    assert planned.confirmation == CONFIRM
    assert re.fullmatch("[0-9a-f]{64}", planned.id)
    text = planned.to_text()
    assert planned.id in text
    assert planned.archive["sha256"] in text
    assert "comes back: table jobs, payments/payments" in text
    assert planned._repr_html_().count(">comes back</b>") == 2
    planned.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == planned
    with pytest.raises(TargetExistsError):
        planned.save(tmp_path / "plan.json")


def test_the_id_is_of_what_people_write_and_not_of_heartbeats(friday: ServedCluster) -> None:
    planned = plan(client_of(friday), THURSDAY)
    assert plan(client_of(friday), THURSDAY).id == planned.id

    def of(*builders: damage.Builder) -> str:
        with serving(built(*builders)) as cluster:
            return plan(client_of(cluster), THURSDAY.read_bytes()).id

    alive = {"StatusUpdatedAt": 1, "ModifyIndex": 300, "LastMissedHeartbeatIndex": 5}
    assert of(damage.put("nodes", alive, ID=CLIENT1)) == planned.id
    assert of(damage.put("jobs", {"Status": b"pending", "ModifyIndex": 301}, ID="web")) == planned.id
    assert of(damage.without("evals"), damage.put("allocs", {"ClientStatus": b"failed"})) == planned.id
    child = damage.again("jobs", {"ID": b"nightly-report/periodic-1", "ParentID": b"nightly-report"}, ID="web")
    assert of(child) == planned.id
    for changed in (
        damage.put("jobs", {"JobModifyIndex": 300}, ID="web"),
        damage.put("jobs", {"Stop": True}, ID="node-exporter"),
        damage.put("variables", {"ModifyIndex": 300, "Data": b"x"}),
        damage.without("acl_tokens", AccessorID=INTERN),
        damage.put("nodes", {"SchedulingEligibility": b"ineligible"}, ID=CLIENT2),
        damage.put("cluster_metadata", {"ClusterID": b"another"}),
    ):
        assert of(changed) != planned.id
    with serving(FRIDAY):
        other = plan(client_of(friday), built(damage.without("evals"), base=THURSDAY))
    assert other.effects == planned.effects
    assert other.id != planned.id


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["effects"].pop(),
        lambda d: d["archive"].update(sha256="0" * 64),
        lambda d: d["live"].update(cluster_id="0" * 8),
        lambda d: d.update(confirmation="y"),
        lambda d: d.update(schema="snapkit.plan/2"),
        lambda d: d.pop("report"),
        lambda d: d.update(effects=[{}]),
        lambda d: d.update(effects=7),
    ],
)
def test_an_altered_plan_is_refused(change: Callable[[Any], Any], friday: ServedCluster, tmp_path: Path) -> None:
    document = plan(client_of(friday), THURSDAY).to_json()
    change(document)
    (tmp_path / "p").write_text(json.dumps(document))
    with pytest.raises(RestoreError):
        Plan.load(tmp_path / "p")


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"{}", b"\xff", b"null"])
def test_what_is_no_plan_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(RestoreError, match="is no plan"):
        Plan.load(tmp_path / "p")
    with pytest.raises(SourceError):
        Plan.load(tmp_path / "none")


def test_without_a_state_there_is_nothing_to_plan(friday: ServedCluster) -> None:
    with pytest.raises(RestoreError, match="Connection refused"):
        plan(Client("http://127.0.0.1:1"), THURSDAY)
    with pytest.raises(RestoreError, match="cut"):
        plan(client_of(friday), THURSDAY.read_bytes()[:-100])


MATRIX = ["v0.12.12/tuesday", "v1.4.14/tuesday", "v1.8.4/tuesday", "v2.0.5/friday", "every-table/every-table"]


@pytest.mark.parametrize(("live", "wanted"), [*zip(MATRIX, MATRIX[1:] + MATRIX[:1], strict=True)])
def test_any_archive_into_any_cluster_can_be_planned(live: str, wanted: str, tmp_path: Path) -> None:
    with serving(path_of(live)) as cluster, snapkit.open(path_of(live)) as now, snapkit.open(path_of(wanted)) as then:
        planned = plan(client_of(cluster), path_of(wanted))
        for happens, here, there in (("goes away", now, then), ("comes back", then, now)):
            keys = {
                (table, tuple(map(str, key)))
                for table in DECIDED
                for key in here.records(table).keys() - there.records(table).keys()
            }
            told = {(e.table, e.key) for e in planned.effects if e.happens == happens}
            assert told <= keys
            assert {table for table, _ in keys - told} <= {"jobs"}, "but for jobs that others started"
        planned.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == planned


def test_where_a_cluster_has_no_id_the_plans_own_is_typed() -> None:
    with serving(built(damage.without("cluster_metadata"))) as cluster:
        planned = plan(client_of(cluster), THURSDAY)
    assert planned.confirmation == planned.id[:8]


# -- apply


class Runs:
    """A run against Friday: what it takes, and what came of it."""

    def __init__(self, cluster: ServedCluster, folder: Path) -> None:
        self.cluster = cluster
        self.client = client_of(cluster)
        self.journal = folder / "j.jsonl"
        self.safety = folder / "j-before.snap"
        self.plan = thursdays_plan(cluster.address, cluster.token)

    def apply(self, src: Any = THURSDAY, **options: Any) -> Outcome:
        given = {"journal": self.journal, "confirm": CONFIRM, "who": "ann@desk", "patience": 0, **options}
        return apply(given.pop("client", self.client), given.pop("plan", self.plan), src, **given)

    def resume(self, **options: Any) -> Outcome:
        return resume(options.pop("client", self.client), self.journal, **{"patience": 0, **options})

    @property
    def steps(self) -> list[str]:
        return [f"{e.step} {e.event}" for e in read(self.journal)]

    def is_friday(self) -> bool:
        return state(self.cluster) == state_of(FRIDAY)

    def is_thursday(self) -> bool:
        return state(self.cluster) == state_of(THURSDAY)


@pytest.fixture
def runs(friday: ServedCluster, tmp_path: Path) -> Runs:
    return Runs(friday, tmp_path)


WHOLE = [
    "begin done",
    "preflight begun",
    "preflight done",
    "safety-save begun",
    "safety-save done",
    "upload begun",
    "upload done",
    "check begun",
    "check done",
    "end done",
]


@pytest.mark.parametrize("kind", ["path", "bytes", "stream"])
def test_it_is_restored_checked_and_told(kind: str, runs: Runs) -> None:
    sent: list[tuple[int, int | None]] = []
    src = {"path": THURSDAY, "bytes": THURSDAY.read_bytes(), "stream": io.BytesIO(THURSDAY.read_bytes())}[kind]
    outcome = runs.apply(src, progress=lambda done, total: sent.append((done, total)))
    assert runs.is_thursday()
    assert (outcome.status, outcome.ok) == ("restored", True)
    assert outcome.report is not None
    assert outcome.report.ok
    assert outcome.drift is not None
    assert not len(outcome.drift), "compare proves it"
    assert runs.steps == WHOLE
    assert sent[-1] == (THURSDAY.stat().st_size,) * 2
    assert runs.safety.read_bytes() == FRIDAY.read_bytes()
    entries = read(runs.journal, anchor=outcome.head)
    assert {e.who for e in entries} == {"ann@desk"}
    assert entries[0].about["confirmed"] == CONFIRM
    assert entries[0].about["archive"] == runs.plan.archive["sha256"]
    assert runs.cluster.token not in runs.journal.read_text()
    assert "restored" in outcome._repr_html_()
    assert "ann@desk" in journal_html(runs.journal)
    assert runs.resume().status == "restored", "it is at its end: nothing is done again"
    assert runs.steps == WHOLE


@pytest.mark.parametrize("confirm", ["", "y", "yes", CONFIRM[:7], f"{CONFIRM}-", CONFIRM.upper()])
def test_without_the_typed_confirmation_nothing_is_sent(confirm: str, runs: Runs) -> None:
    with pytest.raises(ConfirmationError):
        runs.apply(confirm=confirm)
    assert runs.is_friday()
    assert not runs.journal.exists()


def test_a_live_state_that_changed_since_the_plan_is_refused(runs: Runs) -> None:
    runs.client.restore(built(damage.put("jobs", {"JobModifyIndex": 300, "Stop": True}, ID="node-exporter")))
    changed = state(runs.cluster)
    with pytest.raises(PlanChangedError, match=r"changed since the plan: jobs default/node-exporter; nothing was sent"):
        runs.apply()
    assert state(runs.cluster) == changed
    assert list(runs.journal.parent.iterdir()) == [], "nothing happened, and nothing is in the way of the next try"
    assert runs.apply(plan=plan(runs.client, THURSDAY)).status == "restored"


def test_a_live_state_that_changes_while_it_is_saved_is_refused(runs: Runs) -> None:
    class Late(Client):
        def save(self, *args: Any, **kwargs: Any) -> Any:
            runs.client.restore(built(damage.without("acl_tokens", AccessorID=INTERN)))
            return super().save(*args, **kwargs)

    with pytest.raises(PlanChangedError, match=f"acl_tokens {INTERN}"):
        runs.apply(client=Late(runs.cluster.address, token=runs.cluster.token))
    assert not runs.is_thursday()
    assert list(runs.journal.parent.iterdir()) == [], "nor is the save that was made"


def test_another_archive_or_cluster_than_planned_is_refused(runs: Runs) -> None:
    with pytest.raises(PlanChangedError, match="has the SHA-256"):
        runs.apply(path_of("v2.0.5/wednesday"))
    with snapkit.serve(TUESDAY_1_8) as other, pytest.raises(PlanChangedError):
        runs.apply(client=client_of(other))
    assert runs.is_friday()


def test_errors_of_preflight_stop_it_unless_accepted(runs: Runs) -> None:
    planned = plan(runs.client, MONDAY_1_8)
    assert [f.check for f in planned.errors()] == ["preflight.key-missing"]
    with pytest.raises(PreflightError, match=r"preflight\.key-missing: 4 variables") as caught:
        runs.apply(MONDAY_1_8, plan=planned)
    assert errors(caught.value.report) == ["preflight.key-missing"]
    assert runs.is_friday()
    outcome = runs.apply(MONDAY_1_8, plan=planned, accept=["preflight.key-missing"])
    assert outcome.status == "restored"
    assert outcome.report is not None
    assert len(found(outcome.report, "check.variable")) == 4, "preflight named it, and check finds it"
    assert not outcome.ok
    assert read(runs.journal)[0].about["accepted"] == ["preflight.key-missing"]


def test_a_safety_save_is_made_and_whole_or_refused_by_name(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(SafetySaveError, match="refused by I-ACCEPT"):
        runs.apply(no_safety_save="yes")
    runs.safety.write_bytes(b"mine")
    with pytest.raises(TargetExistsError):
        runs.apply()
    assert runs.safety.read_bytes() == b"mine"
    runs.safety.unlink()
    runs.cluster.faults = Faults(corrupt=True)
    with pytest.raises((RestoreError, ClusterError)):
        runs.apply()
    runs.cluster.faults = Faults()
    assert runs.is_friday()
    assert runs.apply(no_safety_save="I-ACCEPT").status == "restored"
    assert not runs.safety.exists()
    with pytest.raises(RestoreError, match="nothing to roll back to"):
        runs.resume(rollback=True, confirm=CONFIRM)


def test_what_was_saved_must_be_such_that_it_restores(tmp_path: Path) -> None:
    broken = built(damage.without("job_summaries"))
    with serving(broken) as cluster:
        client = client_of(cluster)
        planned = plan(client, THURSDAY)
        with pytest.raises(SafetySaveError, match=r"refs\.job-summary.*--no-safety-save I-ACCEPT"):
            apply(client, planned, THURSDAY, journal=tmp_path / "j", confirm=CONFIRM, patience=0)
        assert state(cluster) != state_of(THURSDAY)
    assert list(tmp_path.iterdir()) == []


class Failing(Client):
    """Its upload goes wrong, before or after the state was swapped."""

    swaps = True
    error: Exception

    def restore(self, *args: Any, **kwargs: Any) -> Any:
        if self.swaps:
            super().restore(*args, **kwargs)
        raise self.error


def failing(runs: Runs, error: Exception, swaps: bool) -> Failing:
    client = Failing(runs.cluster.address, token=runs.cluster.token)
    client.error, client.swaps = error, swaps
    return client


@pytest.mark.parametrize("swaps", [True, False])
@pytest.mark.parametrize("status", [500, 0])
def test_after_an_unclear_answer_the_state_is_read_back(swaps: bool, status: int, runs: Runs) -> None:
    error = RestoreUnclearError("answered 500 to PUT: nonexistent namespace", "x", "", status, "nonexistent namespace")
    outcome = runs.apply(client=failing(runs, error, swaps))
    assert outcome.status == ("restored" if swaps else "unchanged")
    assert "nonexistent namespace" in outcome.message
    assert outcome.ok is swaps
    assert runs.is_thursday() if swaps else runs.is_friday()
    assert runs.steps[5:9] == ["upload begun", "upload failed", "read-back begun", "read-back done"]
    assert read(runs.journal)[8].about["where"] == ("archive" if swaps else "before")


def test_a_server_that_is_silent_may_yet_be_at_it(runs: Runs) -> None:
    error = RestoreUnclearError("was silent for 1 seconds", "x")
    error.__cause__ = ClusterTimeoutError("was silent")
    with pytest.raises(RestoreError, match="--resume"):
        runs.apply(client=failing(runs, error, False))
    assert runs.resume().status == "unchanged"
    runs.journal.unlink()
    runs.safety.unlink()
    with pytest.raises(RestoreError):
        runs.apply(client=failing(runs, error, False))
    runs.client.restore(THURSDAY)  # it was at it
    assert runs.resume().status == "restored"


def test_a_state_that_can_not_be_read_back_leaves_the_journal_open(runs: Runs) -> None:
    client = failing(runs, RestoreUnclearError("cut the connection", "x"), True)

    def restore(*args: Any, **kwargs: Any) -> Any:
        try:
            Failing.restore(client, *args, **kwargs)
        finally:
            runs.cluster.faults = Faults(html=True)  # stands for a leader that is stuck

    client.restore = restore  # type: ignore[method-assign]
    with pytest.raises(RestoreError, match="its state can't be read"):
        runs.apply(client=client)
    runs.cluster.faults = Faults()
    assert runs.steps[-1] == "unclear done"
    assert runs.resume().status == "restored"


def test_what_is_refused_leaves_all_as_it_was(runs: Runs) -> None:
    error = PermissionDeniedError("answered 403", "x", "is it a management token?", 403, "Permission denied")
    with pytest.raises(PermissionDeniedError):
        runs.apply(client=failing(runs, error, False))
    assert runs.steps[-2:] == ["upload failed", "end done"]
    assert runs.resume().status == "unchanged"
    with pytest.raises(RestoreError, match="nothing to do"):
        runs.resume(rollback=True)
    assert runs.apply().status == "restored", "by the same words: the journal goes on"
    assert runs.safety.read_bytes() == FRIDAY.read_bytes(), "what was saved is never saved over"
    second = runs.safety.with_name("j-before-2.snap")
    assert read(runs.journal)[-1].step == "end"
    assert [e.about["safety"] for e in read(runs.journal) if e.step == "begin"] == [str(runs.safety), str(second)]
    assert runs.steps[-len(WHOLE) :] == WHOLE
    with pytest.raises(TargetExistsError, match="--resume"):
        runs.apply()
    assert runs.resume(rollback=True, confirm=CONFIRM).status == "rolled back"
    assert runs.is_friday()
    with pytest.raises(TargetExistsError):
        runs.apply()


def test_drift_does_not_hide_whose_state_it_is(runs: Runs) -> None:
    drifted = built(damage.put("jobs", {"Priority": 77, "JobModifyIndex": 900}, ID="node-exporter"), base=THURSDAY)
    client = failing(runs, RestoreUnclearError("cut", "x"), False)

    def restore(*args: Any, **kwargs: Any) -> Any:
        runs.client.restore(drifted)
        return Failing.restore(client)

    client.restore = restore  # type: ignore[method-assign]
    outcome = runs.apply(client=client)
    assert outcome.status == "restored"
    assert outcome.report is not None
    assert "table jobs, default/node-exporter" in str(outcome.report.findings["Place"].tolist())


def test_another_token_takes_over_where_the_callers_is_gone(tmp_path: Path) -> None:
    gone = built(damage.without("acl_tokens", Name="Bootstrap Token"), base=THURSDAY)
    secret, glass = secret_of(FRIDAY), secret_of(FRIDAY, "break glass")
    with serving(FRIDAY) as cluster:
        client = client_of(cluster, secret)
        planned = plan(client, gone, token_after=glass, now=NOW)
        options: dict[str, Any] = {"token_after": glass, "patience": 0, "now": NOW}
        outcome = apply(client, planned, gone, journal=tmp_path / "j", confirm=CONFIRM, **options)
        assert (outcome.status, outcome.ok) == ("restored", True)
        back = rollback(client, tmp_path / "j", confirm=CONFIRM, **options)
        assert (back.status, back.ok) == ("rolled back", True)
        assert state(cluster) == state_of(FRIDAY)
    told = (tmp_path / "j").read_text()
    assert secret not in told
    assert glass not in told


def test_an_archive_that_is_encrypted_is_restored_too(runs: Runs, tmp_path: Path) -> None:
    key = pyrage.x25519.Identity.generate()
    sealed = tmp_path / "thursday.snap.age"
    sealed.write_bytes(pyrage.encrypt(THURSDAY.read_bytes(), [key.to_public()]))
    with pytest.raises(SourceError):
        plan(runs.client, sealed)
    planned = plan(runs.client, sealed, identity=str(key))
    assert planned.effects == runs.plan.effects
    error = RestoreUnclearError("cut", "x")
    outcome = runs.apply(sealed, plan=planned, identity=str(key), client=failing(runs, error, True))
    assert (outcome.status, outcome.ok) == ("restored", True)
    assert runs.is_thursday()
    assert str(key) not in runs.journal.read_text()
    assert runs.resume(rollback=True, confirm=CONFIRM).status == "rolled back"


# -- rollback and resume


def test_a_rollback_brings_the_state_before_back_and_saves_what_was_since(runs: Runs) -> None:
    runs.apply()
    for confirm in (None, "nope"):
        with pytest.raises(ConfirmationError):
            runs.resume(rollback=True, confirm=confirm)
    assert runs.is_thursday()
    outcome = rollback(runs.client, runs.journal, confirm=CONFIRM, patience=0)
    assert (outcome.status, outcome.ok) == ("rolled back", True)
    assert runs.is_friday()
    saved = runs.safety.with_name("j-before-rolled-back.snap")
    assert forge.state_of(saved.read_bytes()) == forge.state_of(THURSDAY.read_bytes())
    assert runs.steps == [
        *WHOLE,
        "rollback begun",
        "rollback-save begun",
        "rollback-save done",
        "rollback-upload begun",
        "rollback-upload done",
        "rollback-check begun",
        "rollback-check done",
        "end done",
    ]
    with pytest.raises(RestoreError, match="nothing to do"):
        runs.resume(rollback=True, confirm=CONFIRM)


def test_a_safety_save_that_was_altered_is_not_restored(runs: Runs) -> None:
    runs.apply()
    runs.safety.write_bytes(path_of("v2.0.5/monday").read_bytes())
    with pytest.raises(RestoreError, match="it was altered"):
        runs.resume(rollback=True, confirm=CONFIRM)
    assert runs.is_thursday()


def test_a_rollback_that_is_refused_or_unclear_goes_on(runs: Runs) -> None:
    runs.apply()
    refusing = failing(runs, PermissionDeniedError("answered 403", "x", "", 403), False)
    with pytest.raises(PermissionDeniedError):
        runs.resume(client=refusing, rollback=True, confirm=CONFIRM)
    unclear = failing(runs, RestoreUnclearError("cut", "x"), False)
    with pytest.raises(RestoreError):
        runs.resume(client=unclear)
    assert runs.is_thursday()
    assert runs.resume().status == "rolled back", "it goes on with the rollback, unasked"
    assert runs.is_friday()


def test_a_rollback_of_what_is_at_its_end_takes_a_save(runs: Runs) -> None:
    runs.apply()
    runs.cluster.faults = Faults(html=True)
    for options in ({"confirm": CONFIRM}, {}):  # and when it goes on
        with pytest.raises(SafetySaveError):
            runs.resume(rollback=True, **options)
    runs.cluster.faults = Faults()
    assert runs.is_thursday()
    assert runs.resume().status == "rolled back"


def test_a_journal_that_was_altered_is_not_gone_on_with(runs: Runs) -> None:
    runs.apply()
    text = runs.journal.read_text()
    runs.journal.write_text(text.replace(CONFIRM, "aaaaaaaa"))
    with pytest.raises(JournalError):
        runs.resume(rollback=True, confirm=CONFIRM)
    with Journal.create(runs.journal.with_name("k"), who="a@b") as other:
        other.write("begun", "done")
    with pytest.raises(JournalError, match="no journal of a restore"):
        resume(runs.client, other.path)


#: Forks for each run, which is much quicker than a process of its own: one process, one thread.
_ZYGOTE = """
import os, signal, sys
from snapkit import Client
from snapkit.cluster import journal, restore
import snapkit.state.verify, snapkit.state.snapshot, snapkit.state.changes.compare

def run(address, token, archive, path, plan, number, when, mode):
    write = journal.Journal.write
    def killed(self, step, event, **about):
        if len(self.entries) + 1 == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        entry = write(self, step, event, **about)
        if entry.number == number and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return entry
    journal.Journal.write = killed
    client = Client(address, token=token)
    if mode == "apply":
        plan = restore.Plan.load(plan)
        restore.apply(client, plan, archive, journal=path, confirm=plan.confirmation, patience=0, who="a@b")
    else:
        restore.resume(client, path, rollback=True, confirm="f806eeae", patience=0, who="a@b")

for line in sys.stdin:
    address, token, archive, path, plan, number, when, mode = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        try:
            run(address, token, archive, path, plan, int(number), when, mode)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def killed() -> Iterator[Callable[..., int]]:
    """Runs a restore in a process that is killed (SIGKILL) before or after the n-th line of its journal is written."""
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _ZYGOTE], cwd=ROOT, **streams) as zygote:

        def run(runs: Runs | None, number: int, when: str, mode: str = "apply", about: Any = None) -> int:
            if runs is not None:
                saved = runs.journal.with_name("plan.json")
                if not saved.exists():
                    runs.plan.save(saved)
                about = (runs.cluster.address, runs.cluster.token, runs.journal, saved)
            address, token, journal, saved = about
            line = (address, token, THURSDAY, journal, saved, number, when, mode)
            assert zygote.stdin is not None
            assert zygote.stdout is not None
            zygote.stdin.write("\t".join(map(str, line)) + "\n")
            zygote.stdin.flush()
            return int(zygote.stdout.readline())

        try:
            yield run
        finally:
            assert zygote.stdin is not None
            zygote.stdin.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(2, len(WHOLE) + 1))
def test_killed_at_each_step_it_goes_on(number: int, when: str, runs: Runs, killed: Callable[..., int]) -> None:
    """Killed after a line is on disk and before what it announces is done, or after that and before it is told."""
    assert killed(runs, number, when) == -9
    assert runs.steps == WHOLE[: number if when == "after" else number - 1]
    swapped = number >= 7  # the seventh tells that the upload is done
    assert runs.is_thursday() if swapped else runs.is_friday()
    outcome = runs.resume(who="bob@desk")
    assert (outcome.status, outcome.ok) == ("restored", True)
    assert runs.is_thursday()
    assert read(runs.journal, anchor=outcome.head)[-1].step == "end"
    assert runs.safety.read_bytes() == FRIDAY.read_bytes(), "never saved over by the archive's state"


@pytest.mark.parametrize(("number", "when"), [*((n, "after") for n in range(2, len(WHOLE) + 1)), (7, "before")])
def test_killed_at_each_step_it_is_rolled_back(number: int, when: str, runs: Runs, killed: Callable[..., int]) -> None:
    assert killed(runs, number, when) == -9
    taken = runs.is_thursday()
    over = runs.steps[-1] == "end done"
    outcome = runs.resume(rollback=True, **({"confirm": CONFIRM} if over else {}))
    assert outcome.status == ("rolled back" if taken else "unchanged")
    assert runs.is_friday()
    assert read(runs.journal, anchor=outcome.head)[-1].step == "end"


@pytest.mark.parametrize("number", range(len(WHOLE) + 1, len(WHOLE) + 9))
def test_a_rollback_killed_at_each_step_goes_on(number: int, runs: Runs, killed: Callable[..., int]) -> None:
    runs.apply()
    assert killed(runs, number, "before", "rollback") == -9
    over = runs.steps[-1] == "end done"
    outcome = runs.resume(**({"rollback": True, "confirm": CONFIRM} if over else {}))
    assert (outcome.status, outcome.ok) == ("rolled back", True)
    assert runs.is_friday()


def test_a_state_that_changes_while_it_lay_killed_is_refused(runs: Runs, killed: Callable[..., int]) -> None:
    assert killed(runs, 6, "after") == -9  # the upload is begun, and nothing was sent
    runs.client.restore(built(damage.without("acl_tokens", AccessorID=INTERN)))
    changed = state(runs.cluster)
    with pytest.raises(PlanChangedError, match=INTERN):
        runs.resume()
    assert runs.resume(rollback=True).status == "unchanged"
    assert state(runs.cluster) == changed, "what was written meanwhile is not undone"


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_what_lay_killed_before_anything_was_sent_makes_way(
    number: int, runs: Runs, killed: Callable[..., int]
) -> None:
    """The cluster went on meanwhile: going on is refused, and a new plan takes the same names."""
    assert killed(runs, number, "after") == -9
    runs.client.restore(built(damage.without("acl_tokens", AccessorID=INTERN)))
    changed = state(runs.cluster)
    with pytest.raises(PlanChangedError):
        runs.resume()
    with pytest.raises(PlanChangedError):
        runs.apply()
    assert state(runs.cluster) == changed
    before = read(runs.journal)
    outcome = runs.apply(plan=plan(runs.client, THURSDAY))
    assert outcome.status == "restored"
    assert read(runs.journal, anchor=outcome.head)[: len(before)] == before
    assert runs.resume(rollback=True, confirm=CONFIRM).status == "rolled back"
    assert state(runs.cluster) == changed, "not what was saved for the first try"


def test_a_file_that_is_no_such_journal_is_never_written_to(runs: Runs) -> None:
    with Journal.create(runs.journal.with_name("other"), who="a@b") as other:
        other.write("begun", "done")
    for data in (b"", b"mine", b"mine\n", other.path.read_bytes()):
        runs.journal.write_bytes(data)
        with pytest.raises(TargetExistsError):
            runs.apply()
        assert runs.journal.read_bytes() == data
    runs.journal.unlink()
    with Journal.create(runs.journal, who="a@b") as held:
        held.write("begin", "done")
        with pytest.raises(JournalError, match="held by another process"):
            runs.apply()


def test_an_archive_that_moved_is_named_anew(runs: Runs, killed: Callable[..., int], tmp_path: Path) -> None:
    assert killed(runs, 3, "after") == -9
    with pytest.raises(PlanChangedError, match="name the archive"):
        runs.resume(src=path_of("v2.0.5/wednesday"))
    (tmp_path / "moved.snap").write_bytes(THURSDAY.read_bytes())
    assert runs.resume(src=tmp_path / "moved.snap").status == "restored"


# -- check


def checked(live: bytes | Path, wanted: bytes | Path, **options: Any) -> Report:
    with serving(live, **options.pop("serve", {})) as cluster:
        return check(client_of(cluster), wanted, **{"patience": 0, "now": NOW, **options})


def test_check_finds_nothing_where_all_is_as_it_was() -> None:
    assert checked(FRIDAY, FRIDAY, before=FRIDAY).found == ()


@pytest.mark.parametrize(
    ("build", "check", "place"),
    [
        (damage.without("acl_tokens", AccessorID=INTERN), "check.missing", f"table acl_tokens, {INTERN}"),
        (
            damage.put("acl_policies", {"Rules": b"x"}, Name="anonymous"),
            "check.changed",
            "table acl_policies, anonymous",
        ),
        (
            damage.put("acl_policies", {"Rules": b"x", "ModifyIndex": 900}, Name="anonymous"),
            "check.drift",
            "table acl_policies, anonymous",
        ),
        (damage.again("namespaces", {"Name": b"new"}), "check.extra", "table namespaces, new"),
        (
            damage.again("namespaces", {"Name": b"new", "CreateIndex": 900, "ModifyIndex": 900}),
            "check.drift",
            "table namespaces, new",
        ),
        (damage.without("evals", Status="canceled"), "check.counts", "table evals"),
        (damage.put("indexes", {"Value": 1}, Key="nodes"), "check.index-table", "table nodes"),
        (damage.put("evals", {"Status": b"pending"}), "check.evals-pending", "table evals"),
        (damage.put("evals", {"Status": b"blocked"}, JobID="web"), "check.blocked", "job shop/web"),
        (damage.put("nodes", {"Status": b"down"}, ID=CLIENT1), "check.node-not-back", f"node {CLIENT1}"),
        (damage.meta(Index=100), "check.index", "Raft"),
    ],
)
def test_check_finds_what_is_not_as_it_was(build: damage.Builder, check: str, place: str) -> None:
    report = checked(built(build), FRIDAY)
    assert (check, place) in [(f.check, f.place) for f in report.found]
    assert report.ok == (CHECKS[check].severity != "error")


def test_check_finds_clients_that_vanished_and_clients_that_are_not_there() -> None:
    without = built(damage.without("nodes", ID=CLIENT1))
    assert found(checked(without, without, before=FRIDAY), "check.node-vanished") == [
        f"node {CLIENT1}: client1, ready before"
    ]
    assert found(checked(FRIDAY, FRIDAY, before=without), "check.node-ghost") == [
        f"node {CLIENT1}: client1 counts as ready"
    ]


def test_check_finds_variables_that_can_not_be_read() -> None:
    report = checked(TUESDAY_1_8, TUESDAY_1_8)
    assert [f.severity for f in report.found if f.check == "check.variable"] == ["error"] * 3
    assert found(checked(TUESDAY_1_8, TUESDAY_1_8, serve={"keystore": KEYSTORE_1_8}), "check.variable") == []


def test_check_finds_that_there_is_no_leader_or_no_state(friday: ServedCluster) -> None:
    friday.faults = Faults(no_leader=True)
    report = check(client_of(friday), FRIDAY, patience=0)
    assert errors(report) == ["check.leader", "check.unreadable"]


def test_tokens_that_expired_are_no_loss() -> None:
    gone = built(damage.without("acl_tokens", Name="shop deployer"))
    later = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert "check.missing" not in {f.check for f in checked(gone, FRIDAY, now=later).found}
    assert "check.missing" in {f.check for f in checked(gone, FRIDAY, now=NOW - timedelta(days=1)).found}


def test_restoring_into_a_cluster_whose_clients_are_gone(tmp_path: Path) -> None:
    """The whole of it on the served cluster, which lets ghosts go down as servers do."""
    without = built(damage.without("nodes", ID=CLIENT1))
    with serving(without) as cluster:
        client = client_of(cluster)
        planned = plan(client, FRIDAY)
        assert found(planned.report, "preflight.node-ghost")
        outcome = apply(client, planned, FRIDAY, journal=tmp_path / "j", confirm=CONFIRM, patience=0)
        assert outcome.report is not None
        assert found(outcome.report, "check.node-ghost") == [f"node {CLIENT1}: client1 counts as ready"]


# -- real servers


def bootstrapped(address: str) -> str:
    """The token of a new cluster that has its root key: it comes by itself, and would change a plan that is made."""
    token = bootstrap(address)
    wait_for_key(address, token)
    return token


@pytest.mark.nomad
def test_the_whole_runbook_on_a_real_server(tmp_path: Path) -> None:
    """A fresh server takes Friday, by a token that is gone with it; then Thursday, and back."""
    with servers(tmp_path, 1) as (server,):
        first = Client(server.address, token=bootstrapped(server.address))
        bare = plan(first, FRIDAY)
        assert {f.check for f in bare.errors()} == {"preflight.token-lost"}
        secret = secret_of(FRIDAY)
        planned = plan(first, FRIDAY, token_after=secret)
        assert planned.errors() == []
        assert found(planned.report, "preflight.other-cluster") or not planned.live["cluster_id"]
        outcome = apply(
            first,
            planned,
            FRIDAY,
            journal=tmp_path / "friday.jsonl",
            confirm=planned.confirmation,
            token_after=secret,
            patience=20,
        )
        assert outcome.status == "restored", outcome
        assert outcome.report is not None
        assert errors(outcome.report) == [], outcome.report.to_text()
        client = Client(server.address, token=secret)
        assert first.address == client.address
        with pytest.raises(PermissionDeniedError):
            first.self_token()

        came = runbook(client, tmp_path)
        with client.snapshot() as live:
            assert (live.meta.index or 0) > 200
    if os.environ.get("SNAPKIT_VERDICTS") == "record":
        RUNBOOK.write_text(json.dumps(came, indent=1) + "\n", encoding="utf-8")
    assert came == json.loads(RUNBOOK.read_text(encoding="utf-8"))


def runbook(client: Client, folder: Path) -> dict[str, Any]:
    """Thursday into a cluster that is Friday, and back: what was said and what came of it."""
    thursday = plan(client, THURSDAY)
    effects = [[e.table, "/".join(e.key), e.happens] for e in thursday.effects]
    assert ["jobs", "payments/payments", "comes back"] in effects
    assert ["variables", "payments/psp/credentials", "comes back"] in effects
    assert plan(client, THURSDAY).id == thursday.id, "nothing that a server does by itself changes it"
    journal = folder / "thursday.jsonl"
    with pytest.raises(ConfirmationError):
        apply(client, thursday, THURSDAY, journal=journal, confirm="y")
    options: dict[str, Any] = {"journal": journal, "confirm": thursday.confirmation, "patience": 20}
    outcome = apply(client, thursday, THURSDAY, **options)
    assert (outcome.status, outcome.ok) == ("restored", True), outcome.report and outcome.report.to_text()
    items = client.get("/v1/var/psp/credentials", namespace="payments").value["Items"]
    jobs = sorted(job["ID"] for job in client.jobs() if "/periodic-" not in job["ID"])
    back = rollback(client, journal, confirm=thursday.confirmation, patience=20)
    assert (back.status, back.ok) == ("rolled back", True), back.report and back.report.to_text()
    assert "payments" not in [job["ID"] for job in client.jobs()]
    with client.snapshot() as live, pytest.raises(NotInSnapshotError):
        live.get("variables", "payments", "psp/credentials")
    assert read(journal, anchor=back.head)[-1].about["status"] == "rolled back"
    return {
        "effects": effects,
        "errors": [finding.check for finding in thursday.errors()],
        "restored": {"jobs": jobs, "items": sorted(items)},
        "steps": [f"{entry.step} {entry.event}" for entry in read(journal)],
    }


def test_the_served_cluster_goes_through_the_runbook_as_a_real_server_did(
    friday: ServedCluster, tmp_path: Path
) -> None:
    assert runbook(client_of(friday), tmp_path) == json.loads(RUNBOOK.read_text(encoding="utf-8"))


@contextmanager
def real_client(folder: Path, server: str) -> Iterator[None]:
    """A real client agent."""
    http, rpc, serf = free_ports(3)
    options = {"fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean,consul,vault,cni"}
    config = {
        "name": "client9",
        "data_dir": str(folder / "client"),
        "bind_addr": "127.0.0.1",
        "ports": {"http": http, "rpc": rpc, "serf": serf},
        "advertise": dict.fromkeys(("http", "rpc", "serf"), "127.0.0.1"),
        "client": {"enabled": True, "servers": [server], "options": options},
        "acl": {"enabled": True},
        "disable_update_check": True,
    }
    (folder / "client.json").write_text(json.dumps(config))
    with (folder / "client.log").open("wb") as log:
        line = [binary(), "agent", "-config", str(folder / "client.json")]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        process = subprocess.Popen(line, stdout=log, stderr=log, env=kept)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.2)


@pytest.mark.nomad
@pytest.mark.skipif(os.geteuid() != 0, reason="a client needs root")
def test_a_real_client_vanishes_and_is_back(tmp_path: Path) -> None:
    """Named beforehand and found afterwards; by its next heartbeat (of 2.0.5) it registers anew."""
    with servers(tmp_path, 1) as (server,):
        client = Client(server.address, token=bootstrap(server.address))
        until(lambda: client.get("/v1/operator/keyring/keys").value)
        client.save(tmp_path / "before.snap")
        with real_client(tmp_path, client.leader()):
            until(lambda: [node for node in client.nodes() if node["Status"] == "ready"])
            planned = plan(client, tmp_path / "before.snap")
            (named,) = found(planned.report, "preflight.node-vanishes")
            assert named.endswith("client9, ready now, is not in the archive")
            options: dict[str, Any] = {"confirm": planned.confirmation, "patience": 0}
            outcome = apply(client, planned, tmp_path / "before.snap", journal=tmp_path / "j", **options)
            assert outcome.ok
            assert outcome.report is not None
            (place,) = found(outcome.report, "check.node-vanished")
            assert "client9, ready before" in place
            report = check(client, tmp_path / "before.snap", before=tmp_path / "j-before.snap", patience=60)
            assert found(report, "check.node-vanished") == []
            assert "client9" in [node["Name"] for node in client.nodes()]


@pytest.mark.nomad
def test_two_of_three_real_servers_dead_are_named(tmp_path: Path) -> None:
    with servers(tmp_path, 3) as running:
        first = Client(running[0].address, token=bootstrapped(running[0].address))
        secret = secret_of(FRIDAY)
        planned = plan(first, FRIDAY, token_after=secret)
        assert planned.errors() == []
        for server in running[1:]:
            server.process.kill()
            server.process.wait()
        until(lambda: sum(member["Status"] == "alive" for member in first.members()) == 1, 60)
        report = preflight(first, FRIDAY, token_after=secret)
        assert {"preflight.leader", "preflight.quorum"} <= set(errors(report))
        assert len(found(report, "preflight.servers")) == 2
        assert found(report, "preflight.token-stays"), "asked of the server that is left"
        with pytest.raises(RestoreError):
            apply(first, planned, FRIDAY, journal=tmp_path / "j", confirm=planned.confirmation, token_after=secret)
        assert not (tmp_path / "j").exists(), "refused before anything was sent, it leaves no journal"


@pytest.mark.nomad
def test_three_real_servers_take_it_killed_on_the_way_and_go_on(tmp_path: Path, killed: Callable[..., int]) -> None:
    """SIGKILL with the archive taken in and not told; then, on a server that is no leader, it goes on."""
    with servers(tmp_path, 3) as running:
        address, token, secret = running[0].address, bootstrapped(running[0].address), secret_of(FRIDAY)
        first, client = Client(address, token=token), Client(running[1].address, token=secret)
        until(lambda: first.get("/v1/operator/keyring/keys").value)  # a plan made before would not hold
        apply(
            first,
            planned := plan(first, FRIDAY, token_after=secret),
            FRIDAY,
            journal=tmp_path / "first",
            confirm=planned.confirmation,
            token_after=secret,
            patience=20,
        )
        thursday = plan(client, THURSDAY)
        thursday.save(tmp_path / "plan.json")
        about = (client.address, secret, tmp_path / "j", tmp_path / "plan.json")
        assert killed(None, 7, "before", "apply", about) == -9
        assert [f"{e.step} {e.event}" for e in read(tmp_path / "j")][-1] == "upload begun"
        outcome = resume(client, tmp_path / "j", patience=20)
        assert (outcome.status, outcome.ok) == ("restored", True), outcome.report and outcome.report.to_text()
        for server in running:  # all three have it
            with Client(server.address, token=secret).snapshot(stale=True) as live:
                assert live.get("jobs", "payments", "payments")
        back = rollback(client, tmp_path / "j", confirm=thursday.confirmation, patience=20)
        assert (back.status, back.ok) == ("rolled back", True), back.report and back.report.to_text()


@pytest.mark.nomad
def test_a_lost_keyring_on_a_real_server_is_named_and_found(tmp_path: Path) -> None:
    """An archive of 1.8 without its keystore: variables stay sealed (here on whatever release NOMAD_BIN is)."""
    with servers(tmp_path, 1) as (server,):
        first = Client(server.address, token=bootstrapped(server.address))
        secret = secret_of(MONDAY_1_8)
        planned = plan(first, MONDAY_1_8, token_after=secret)
        assert {f.check for f in planned.errors()} == {"preflight.key-missing"}
        options: dict[str, Any] = {"confirm": planned.confirmation, "token_after": secret, "patience": 5}
        options["accept"] = ["preflight.key-missing"]
        outcome = apply(first, planned, MONDAY_1_8, journal=tmp_path / "j", **options)
        assert outcome.status == "restored"
        assert outcome.report is not None
        assert not outcome.ok
        assert found(outcome.report, "check.variable") or "check.leader" in errors(outcome.report)


@pytest.mark.nomad
def test_the_whole_runbook_on_an_older_real_server(tmp_path: Path) -> None:
    """Before 1.9 the keyring is on disk alone: what that means for variables is said, and accepted here."""
    if release() >= (1, 9):
        pytest.skip("NOMAD_BIN is no release before 1.9")
    with servers(tmp_path, 1) as (server,):
        first = Client(server.address, token=bootstrapped(server.address))
        assert "target.unknown-type" in errors(preflight(first, FRIDAY)), "2.0.5's archive would kill it"
        secret = secret_of(MONDAY_1_8)
        options: dict[str, Any] = {"accept": ["preflight.key-missing"], "patience": 5}
        planned = plan(first, MONDAY_1_8, token_after=secret)
        apply(
            first, planned, MONDAY_1_8, journal=tmp_path / "monday", confirm=planned.confirmation, token_after=secret,
            **options,
        )  # fmt: skip
        client = Client(server.address, token=secret)
        tuesday = plan(client, TUESDAY_1_8)
        outcome = apply(client, tuesday, TUESDAY_1_8, journal=tmp_path / "j", confirm=tuesday.confirmation, **options)
        assert outcome.status == "restored"
        assert outcome.report is not None
        assert {"check.variable"} >= set(errors(outcome.report)), outcome.report.to_text()
        assert "web" in [job["ID"] for job in client.jobs()]
        back = rollback(client, tmp_path / "j", confirm=tuesday.confirmation, patience=5)
        assert back.status == "rolled back"


@pytest.mark.nomad
def test_a_real_server_takes_an_archive_of_a_servers_own_copy(tmp_path: Path) -> None:
    folder = DATA / ("v1.8.4" if release() < (1, 9) else "v2.0.5") / "raft-snapshots"
    with snapkit.open(folder) as copy:
        rebuild(copy, tmp_path / "copy.snap")
        jobs = set(copy.jobs.index)
        tokens = copy.table("acl_tokens", ["SecretID", "Type"], reveal=True)
    secret = str(tokens["SecretID"][tokens["Type"] == "management"].iloc[0])
    with servers(tmp_path, 1) as (server,):
        Client(server.address, token=bootstrap(server.address)).restore(tmp_path / "copy.snap")
        client = Client(server.address, token=secret)
        until(lambda: {(job["Namespace"], job["ID"]) for job in client.jobs()} >= jobs)


@pytest.mark.nomad
def test_a_real_server_that_swaps_and_answers_500_is_read_back(tmp_path: Path) -> None:
    """A namespace that jobs need is missing: the format guide, section 1."""
    odd = built(damage.without("namespaces", Name="batch"))
    with servers(tmp_path, 1) as (server,):
        first = Client(server.address, token=bootstrapped(server.address))
        secret = secret_of(FRIDAY)
        planned = plan(first, odd, token_after=secret)
        assert "refs.job-namespace" in {f.check for f in planned.errors()}, "named beforehand"
        options: dict[str, Any] = {"confirm": planned.confirmation, "token_after": secret, "patience": 5}
        options["accept"] = ["refs.job-namespace"]
        outcome = apply(first, planned, odd, journal=tmp_path / "j", **options)
        assert outcome.status == "restored"
        assert "answered 500" in outcome.message
        steps = [f"{e.step} {e.event}" for e in read(tmp_path / "j")]
        assert "upload failed" in steps
        assert "read-back done" in steps
