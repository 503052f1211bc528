"""The timeline: held to what the clusters' own API said, and to the week's story; from the archives alone."""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Callable
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import snapkit
from snapkit.errors import RecordError, SnapshotError, TargetExistsError
from snapkit.format.schema import BY_TABLE
from snapkit.state.changes.clock import Clock
from snapkit.state.changes.timeline import select, timeline, write

from ... import forge
from ...conftest import ARCHIVES, DATA, ORACLES, RAFT_DIRECTORIES, oracle, path_of
from .. import samples

Open = Callable[[str], snapkit.Snapshot]
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")
WEEK = tuple(f"v2.0.5/{day}" for day in DAYS)
REAL = [name for name in ARCHIVES if not name.startswith("every-table")]
PAIRS = [*pairwise(WEEK), *((f"{c}/monday", f"{c}/tuesday") for c in ("v0.12.12", "v1.4.14", "v1.8.4"))]
COLUMNS = {
    "Time": "datetime64[ns, UTC]",
    "TimeEarliest": "datetime64[ns, UTC]",
    "TimeLatest": "datetime64[ns, UTC]",
    "Kind": "str",
    "Table": "str",
    "Key": "object",
    "Namespace": "str",
    "Job": "str",
    "Node": "str",
    "Message": "str",
    "Index": "UInt64",
    "Token": "str",
}
#: Endpoint of the API -> our table, and what its creation is called.
ENDPOINTS = {
    "evaluations": ("evals", "eval.created"),
    "allocations": ("allocs", "alloc.created"),
    "deployments": ("deployments", "deployment.created"),
    "tokens": ("acl_tokens", "acl_token.created"),
    "policies": ("acl_policies", "acl_policy.created"),
    "roles": ("acl_roles", "acl_role.created"),
    "auth_methods": ("acl_auth_methods", "acl_auth_method.created"),
    "binding_rules": ("acl_binding_rules", "acl_binding_rule.created"),
    "namespaces": ("namespaces", "namespace.created"),
    "node_pools": ("node_pools", "node_pool.created"),
    "scaling_policies": ("scaling_policies", "scaling_policy.created"),
    "variables": ("variables", "variable.created"),
    "volumes_host": ("host_volumes", "volume.created"),
}


#: Tables whose records have no time of their own.
UNTIMED = {"acl_policies", "acl_roles", "namespaces", "node_pools", "scaling_policies"}


@cache
def of(*names: str) -> pd.DataFrame:
    return timeline(*(path_of(name) for name in names))


def events(frame: pd.DataFrame, **conditions: Any) -> list[dict[str, Any]]:
    wanted: dict[str, Any] = {name: [value] for name, value in conditions.items()}
    rows = select(frame, **wanted).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def only(frame: pd.DataFrame, kind: str, *key: Any) -> dict[str, Any]:
    """The one event of a kind and key."""
    (found,) = [event for event in events(frame, kinds=kind) if event["Key"] == key]
    return found


def created(name: str) -> pd.Timestamp:
    with snapkit.open(path_of(name)) as snapshot:
        assert snapshot.meta.created is not None
        return snapshot.meta.created


def moment(value: Any) -> pd.Timestamp | None:
    """A time of the API: RFC 3339, nanoseconds, or none."""
    return pd.Timestamp(value).tz_localize("UTC") if isinstance(value, int) else pd.Timestamp(value)


def archive(tables: dict[str, list[Any]], index: int, identity: str) -> bytes:
    """An archive to order, of this Raft index and ID."""
    state = forge.state(*(samples.records(table, *values) for table, values in tables.items()))
    return forge.archive(state, forge.meta_json(len(state), Index=index, ID=identity))


def listed(name: str, endpoint: str) -> list[dict[str, Any]]:
    answer = oracle(name, "api").get(endpoint)
    return answer if isinstance(answer, list) else []  # an object is an error: the release has no such endpoint


def key_of(table: str, item: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(item.get(field, "default") for field in BY_TABLE[table].key)


# -- its shape


@pytest.mark.parametrize("name", ARCHIVES)
def test_it_has_the_columns_that_are_promised(name: str, opened: Open) -> None:
    frame = opened(name).timeline()
    assert {str(column): str(dtype) for column, dtype in frame.dtypes.items()} == COLUMNS
    assert isinstance(frame.index, pd.RangeIndex)
    assert frame["Key"].map(lambda key: isinstance(key, tuple)).all()
    assert frame[["Kind", "Table", "Message"]].notna().all(axis=None)
    assert frame["Kind"].str.fullmatch(r"[a-z_]+\.[a-z_]+").all()
    assert not frame["Message"].str.contains("None|nan|<NA>").any()
    assert not frame.drop(columns="Key").duplicated(
        ["Time", "TimeEarliest", "Kind", "Table", "Message", "Index"]
    ).any() or (not frame.assign(Key=frame["Key"].map(str)).duplicated().any())


@pytest.mark.parametrize("names", [(name,) for name in REAL] + [WEEK], ids=lambda names: "+".join(names))
def test_a_time_that_is_known_is_its_own_window_and_a_window_is_in_order(names: tuple[str, ...]) -> None:
    frame = of(*names)
    exact = frame["Time"].notna()
    assert exact.sum() > len(frame) / 2
    for name in "TimeEarliest", "TimeLatest":
        assert (frame[name][exact] == frame["Time"][exact]).all()
    assert (
        frame["TimeLatest"].isna() | frame["TimeEarliest"].isna() | (frame["TimeEarliest"] <= frame["TimeLatest"])
    ).all()
    assert frame["Time"].dropna().is_monotonic_increasing
    # What is dated by its index alone stands among its neighbours, and nothing but expiries is later than the archive.
    windows = frame[~exact & frame["Index"].notna() & ~frame["Kind"].str.endswith(".deleted")]
    assert windows["Index"].is_monotonic_increasing
    past = frame[frame["Kind"] != "acl_token.expires"]
    assert past["TimeLatest"].notna().all()
    assert (past["TimeLatest"] <= created(max(names, key=lambda n: DAYS.index(n.split("/")[1])))).all()


# -- against the API


@pytest.mark.parametrize("name", REAL)
def test_what_the_cluster_has_was_made_when_it_says_and_nothing_else_was(name: str) -> None:
    frame = of(name)
    told = 0
    for endpoint, (table, kind) in ENDPOINTS.items():
        found = {event["Key"]: event for event in events(frame, kinds=kind)}
        items = {key_of(table, item): item for item in listed(name, endpoint)}
        if not items:
            continue
        assert found.keys() == items.keys()
        for key, item in items.items():
            event = found[key]
            assert event["Index"] == item["CreateIndex"]
            if item.get("CreateTime"):
                assert event["Time"] == moment(item["CreateTime"])
            elif table in UNTIMED:
                assert pd.isna(event["Time"])
            told += 1
    assert told > 30


@pytest.mark.parametrize("name", REAL)
def test_what_was_changed_was_changed_at_the_index_that_the_cluster_says(name: str) -> None:
    frame = of(name)
    for endpoint, (table, kind) in ENDPOINTS.items():
        changed = {
            key_of(table, item): item["ModifyIndex"]
            for item in listed(name, endpoint)
            if item["ModifyIndex"] != item["CreateIndex"]
        }
        found = events(frame, kinds=kind.replace(".created", ".changed"))
        assert {event["Key"]: event["Index"] for event in found} == changed
        times = {key_of(table, item): item.get("ModifyTime") for item in listed(name, endpoint)}
        for event in found:
            if table in ("evals", "variables") and times[event["Key"]]:
                assert event["Time"] == moment(times[event["Key"]])


@pytest.mark.parametrize("name", REAL)
def test_every_version_of_a_job_was_submitted_and_the_last_one_is_the_job(name: str, opened: Open) -> None:
    found = {e["Key"]: e for e in events(of(name), tables="job_versions") if e["Kind"] != "job_version.changed"}
    assert len(found) == len(opened(name).job_versions)
    for job in listed(name, "jobs"):
        last = max(
            (key for key in found if key[:2] == (job.get("Namespace", "default"), job["ID"])), key=lambda k: k[2]
        )
        event = found[last]
        assert event["Index"] == job["JobModifyIndex"]
        kind = "job.stopped" if job["Stop"] else "job.submitted" if last[2] == 0 else "job.version"
        assert event["Kind"] == kind
        if pd.notna(event["Time"]):
            assert event["Time"] == moment(job["SubmitTime"])
        else:
            assert kind == "job.stopped"


@pytest.mark.parametrize("name", REAL)
def test_every_event_of_a_task_is_told_and_no_other(name: str) -> None:
    expected = sorted(
        (alloc["ID"], task, moment(event["Time"]), event["Type"])
        for alloc in listed(name, "allocations")
        for task, state in (alloc["TaskStates"] or {}).items()
        for event in state["Events"]
    )
    found = events(of(name), kinds="task.event")
    told = sorted(
        (e["Key"][0], e["Message"].split(" ")[1], e["Time"], e["Message"].split(": ")[1].split(" (")[0]) for e in found
    )
    assert told == expected
    assert len(expected) > 30


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_what_is_gone_was_deleted_in_between_and_nothing_else(before: str, after: str) -> None:
    frame = of(before, after)
    for endpoint, (table, kind) in {
        **ENDPOINTS,
        "jobs": ("jobs", "job.created"),
        "nodes": ("nodes", "node.created"),
    }.items():
        old, new = ({key_of(table, item): item for item in listed(name, endpoint)} for name in (before, after))
        found = {e["Key"]: e for e in events(frame, kinds=kind.replace(".created", ".deleted"), tables=table)}
        gone = {key for key, item in old.items() if new.get(key, {}).get("CreateIndex") != item["CreateIndex"]}
        assert found.keys() - {()} == gone
        for key in gone:
            assert created(before) <= found[key]["TimeEarliest"] < found[key]["TimeLatest"] <= created(after)


def test_no_deletion_is_told_of_that_was_none() -> None:
    for name in REAL:
        if name.endswith("/monday"):
            assert events(of(name), kinds="*.deleted") == []
    # All that the Index table tells of is known by name, where the snapshot before is there.
    assert [event for event in events(of(*WEEK), kinds="*.deleted") if event["Key"] == ()] == []


# -- the week's story


def between(event: dict[str, Any], earlier: str, later: str) -> bool:
    """Was it between the archives of two days, for certain?"""
    return bool(
        created(f"v2.0.5/{earlier}") <= event["TimeEarliest"] <= event["TimeLatest"] <= created(f"v2.0.5/{later}")
    )


def token(name: str) -> str:
    """The accessor of a token of the week."""
    for day in WEEK:
        for item in listed(day, "tokens"):
            if item["Name"] == name:
                return str(item["AccessorID"])
    raise AssertionError(name)


def test_monday_s_story() -> None:
    frame = of(*WEEK)
    monday = created("v2.0.5/monday")
    for job in ("shop", "web"), ("payments", "payments"), ("default", "node-exporter"), ("batch", "nightly-report"):
        assert only(frame, "job.submitted", *job, 0)["Time"] < monday
    dispatched = [e for e in events(frame, kinds="job.submitted", jobs="encode/*") if e["Time"] < monday]
    assert len(dispatched) == 3
    assert {e["Message"].split(" was ")[1] for e in dispatched} == {"started by job encode"}
    crashes = [e for e in events(frame, kinds="task.event", jobs="payments") if "Exit Code: 137" in e["Message"]]
    assert crashes
    assert all("Task crasher of allocation payments.ledger[0]" in e["Message"] for e in crashes)
    assert events(frame, kinds="alloc.rescheduled", jobs="payments")
    assert any("queued-allocs" in e["Message"] for e in events(frame, kinds="eval.created", jobs="train"))
    assert only(frame, "cluster.created")["Time"] < monday


def test_tuesday_s_story() -> None:
    frame = of(*WEEK)
    (warm,) = events(frame, kinds="scaling.event", jobs="web")
    assert warm["Message"] == 'Group cache of job web in namespace shop was scaled from 1 to 5: "warm caches"'
    (friday,) = events(frame, kinds="scaling.event", jobs="payments")
    assert friday["Message"] == 'Group api of job payments in namespace payments was scaled from 2 to 3: "black friday"'
    gone = only(frame, "acl_token.deleted", token("ops dashboard"))
    made = only(frame, "acl_token.created", token("intern"))
    widened = only(frame, "acl_policy.changed", "shop-deploy")
    stopped = only(frame, "job.stopped", "batch", "train", 1)
    changed = only(frame, "variable.changed", "shop", "nomad/jobs/web")
    deleted = only(frame, "variable.deleted", "default", "motd")
    (node,) = [
        e for e in events(frame, kinds="node.event") if e["Message"].endswith("marked as ineligible for scheduling")
    ]
    for event in (warm, friday, gone, made, widened, stopped, changed, deleted, node):
        assert between(event, "monday", "tuesday"), event
    assert node["Message"].startswith("Node client1 (")
    assert only(frame, "job.version", "shop", "web", 1)["Time"] < warm["Time"]
    # The deployment of payments that failed is that of its first version, on Monday; this one did well.
    deployment = next(
        d for d in listed("v2.0.5/tuesday", "deployments") if d["JobID"] == "payments" and d["JobVersion"] == 1
    )
    told = only(frame, "deployment.changed", deployment["ID"])
    assert told["Message"].endswith(f"({deployment['Status']}, {deployment['StatusDescription']})")
    assert between(told, "monday", "tuesday")
    (failed,) = [e for e in events(frame, kinds="deployment.changed", jobs="payments") if "(failed" in e["Message"]]
    assert failed["Time"] < created("v2.0.5/monday")


def test_wednesday_s_story() -> None:
    frame = of(*WEEK)
    made = only(frame, "acl_token.created", token("svc-backup"))
    opened, put_back = [e for e in events(frame, kinds="acl_policy.changed") if e["Key"] == ("anonymous",)]
    run = only(frame, "job.submitted", "default", "metrics-agent", 0)
    assert made["Time"] == moment(
        next(t for t in listed("v2.0.5/wednesday", "tokens") if t["Name"] == "svc-backup")["CreateTime"]
    )
    assert [e["Index"] for e in (made, opened, run)] == [137, 138, 139]  # in this order
    assert pd.isna(opened["Time"])
    assert all(between(e, "tuesday", "wednesday") for e in (made, opened, run))
    placed = events(frame, kinds="alloc.created", jobs="metrics-agent")
    nodes = {node["ID"] for node in listed("v2.0.5/wednesday", "nodes") if node["SchedulingEligibility"] == "eligible"}
    assert {event["Node"] for event in placed} == nodes
    assert between(put_back, "wednesday", "thursday")


def test_thursday_s_story_from_several_archives() -> None:
    frame = of(*WEEK)
    purged = only(frame, "job.deleted", "default", "metrics-agent")
    deleted = only(frame, "acl_token.deleted", token("svc-backup"))
    assert (purged["Index"], deleted["Index"]) == (149, 151)
    for event in purged, deleted:
        assert between(event, "wednesday", "thursday")
        assert event["TimeLatest"] - event["TimeEarliest"] < pd.Timedelta(seconds=2)
    assert purged["Message"] == (
        "Job metrics-agent in namespace default was deleted, after index 148 and by index 149: "
        "the last write there is of no record that is left"
    )
    assert deleted["Message"].startswith("ACL token svc-backup (management, ")
    reasons = [e["Message"].split("(")[-1] for e in events(of(WEEK[3]), kinds="eval.created", jobs="metrics-agent")]
    assert reasons == ["job-register)", "job-deregister)"]


def test_thursday_s_story_from_thursday_s_archive_alone() -> None:
    frame = of("v2.0.5/thursday")
    assert only(frame, "acl_policy.changed", "anonymous")["Index"] == 150
    gone = {event["Kind"]: event for event in events(frame, kinds="*.deleted")}
    assert {kind: event["Index"] for kind, event in gone.items()} == {
        "variable.deleted": 124,
        "job.deleted": 149,
        "deployment.deleted": 149,
        "acl_token.deleted": 151,
    }
    assert {event["Key"] for event in gone.values()} == {()}
    assert gone["acl_token.deleted"]["Message"] == (
        "A record of acl_tokens was deleted: the last write there, at index 151, is of no record that is left"
    )
    assert not events(frame, kinds="job", jobs="metrics-agent")


def test_friday_s_story() -> None:
    frame = of(*WEEK)
    purged = only(frame, "job.deleted", "payments", "payments")
    deleted = only(frame, "variable.deleted", "payments", "psp/credentials")
    assert (purged["Index"], deleted["Index"]) == (159, 160)
    drained, complete = [e for e in events(frame, kinds="node.event") if "drain" in e["Message"]]
    assert [e["Message"].split(": ")[1] for e in (drained, complete)] == [
        "Node drain strategy set",
        "Node drain complete",
    ]
    changed = only(frame, "job.version", "shop", "web", 3)
    for event in (purged, deleted, drained, complete, changed):
        assert between(event, "thursday", "friday"), event
    assert drained["Message"].startswith("Node client0 (")


def test_no_text_says_who_did_something() -> None:
    """The accessor of the token that drained the node is in its record: it is not told of."""
    with snapkit.open(path_of("v2.0.5/friday")) as snapshot:
        (accessor,) = {
            drain["AccessorID"].removeprefix("token:")
            for node in snapshot.objects("nodes", {"LastDrain": None})
            if (drain := node["LastDrain"])
        }
    messages = of(*WEEK)[["Message", "Kind"]]
    assert not messages[messages["Kind"].str.startswith("node.")]["Message"].str.contains(accessor[:8]).any()
    assert not messages["Message"].str.contains(r"\bby (?:token|accessor|user)\b").any()


def test_a_token_that_a_record_names_is_a_column() -> None:
    """By which a version was registered, and the last drain of a node asked for; not what keeps another's."""
    frame = of(*WEEK)
    named = {
        event["Key"][-2] if event["Table"] == "job_versions" else event["Message"].split(": ")[1]: event["Token"]
        for event in frame[frame["Token"].notna()].to_dict("records")
    }
    assert named["metrics-agent"] == token("svc-backup")
    assert named["Node drain strategy set"] == token("Bootstrap Token")
    assert set(frame["Kind"][frame["Token"].notna()]) == {"job.submitted", "job.version", "node.event"}
    stopped = only(frame, "job.stopped", "batch", "train", 1)
    children = [e for e in events(frame, kinds="job.submitted") if "/" in e["Job"]]
    assert children
    assert pd.isna([stopped["Token"], *(child["Token"] for child in children)]).all()


def test_what_made_a_token_certain_may_be_in_an_earlier_snapshot_alone() -> None:
    """The evaluation of a registration is collected soon, and versions are pruned."""

    def state(index: int, evals: list[Any]) -> bytes:
        version: dict[str, Any] = {
            "Namespace": "n",
            "ID": "j",
            "Version": 3,
            "NomadTokenID": "a",
            "CreateIndex": 2,
            "ParentID": "",
        }
        job = samples.struct("Job", **version, JobModifyIndex=8, ModifyIndex=8, Stop=False)
        return archive({"job_versions": [job], "evals": evals}, index, f"2-{index}-{1_795_471_701_682 + index * 1_000}")

    made: dict[str, Any] = {
        "ID": "e",
        "Namespace": "n",
        "JobID": "j",
        "TriggeredBy": "job-register",
        "JobModifyIndex": 8,
    }
    evaluation = samples.struct("Evaluation", **made, CreateIndex=8, ModifyIndex=8)
    early, late = state(10, [evaluation]), state(20, [])
    assert pd.isna(only(timeline(late), "job.version", "n", "j", 3)["Token"])
    assert only(timeline(early, late), "job.version", "n", "j", 3)["Token"] == "a"


@pytest.mark.parametrize(("written", "index"), [(20, 20), (40, None)])
def test_a_canary_s_health_has_not_the_index_of_its_promotion(written: int, index: int | None) -> None:
    """A promotion writes the health anew, and leaves its time."""
    second, start = 10**9, samples.NANOSECONDS

    def alloc(name: str, at: int, seconds: int, **values: Any) -> dict[str, Any]:
        time = start + seconds * second
        stamps = {"CreateIndex": at, "ModifyIndex": at, "CreateTime": time, "ModifyTime": time}
        return samples.struct("Allocation", **{"ID": name, "DeploymentStatus": None, **stamps} | values)

    health = {"Healthy": True, "Timestamp": forge.GO_TIME, "Canary": False, "ModifyIndex": written}
    canary = alloc("a", 10, -2, DeploymentStatus=health)
    state = archive({"allocs": [canary, alloc("b", 30, 60)]}, 50, f"2-50-{start // 10**6 + 120_000}")
    told = only(timeline(state), "deployment.health", "a")
    assert told["Time"] == moment(samples.MOMENT)
    assert (None if pd.isna(told["Index"]) else told["Index"]) == index


# -- several snapshots


def tokens_at(index: int, last: int, **made: int) -> bytes:
    """An archive of tokens by the indexes that they were made at, with the last write of their table."""
    records = [
        {"AccessorID": name, "Name": name, "Type": "client", "CreateIndex": at, "ModifyIndex": at}
        for name, at in made.items()
    ]
    tables = {"indexes": [{"Key": "acl_token", "Value": last}], "acl_tokens": records}
    return archive(tables, index, f"2-{index}-{1_795_471_701_682 + index * 1_000}")


def test_of_several_that_are_gone_none_is_said_to_be_the_one_of_the_last_write() -> None:
    alone = timeline(tokens_at(10, 5, a=4, b=5), tokens_at(20, 18, b=5))
    assert [e["Index"] for e in events(alone, kinds="acl_token.deleted")] == [18]
    both = events(timeline(tokens_at(10, 5, a=4, b=5), tokens_at(20, 18)), kinds="acl_token.deleted")
    assert [e["Key"] for e in both] == [("a",), ("b",)]
    assert pd.isna([e["Index"] for e in both]).all()
    assert all("by index 18: the last write there is of no record that is left" in e["Message"] for e in both)


def test_a_restore_in_between_is_told_of_and_turns_no_window_around() -> None:
    """What a restore puts in the place of a later one has an index of before: it was not made anew at that."""
    before, after = tokens_at(30, 25, a=25, b=4), tokens_at(50, 12, a=12, c=11)
    frame = timeline(before, after)
    restored = only(frame, "state.restored")
    assert restored["Message"] == (
        "The state was restored from another copy, after index 30 and by index 50: "
        "2 records are as written by index 12, and otherwise at index 30"
    )
    assert pd.isna(restored["Time"])
    gone = {event["Key"]: event for event in events(frame, kinds="acl_token.deleted")}
    assert gone[("a",)]["Message"] == (
        "ACL token a (client, a) was deleted, or went by the restore, after index 30 and by index 50"
    )
    for event in restored, *gone.values():
        if event["Key"] or event is restored:
            assert event["TimeEarliest"] == moment("2026-11-23T22:08:51.682Z")
            assert event["TimeLatest"] == moment("2026-11-23T22:09:11.682Z")
    assert not events(timeline(tokens_at(30, 25, a=25, b=4), tokens_at(50, 45, a=45)), kinds="state.restored")


def test_each_of_several_restores_is_told_of() -> None:
    first, back, forth = tokens_at(30, 25, a=25), tokens_at(40, 12, a=12), tokens_at(50, 25, a=25)
    assert len(events(timeline(first, back, forth), kinds="state.restored")) == 2


def test_a_salvaged_one_before_makes_no_restore() -> None:
    content = path_of("v2.0.5/thursday").read_bytes()
    with snapkit.open(content[: len(content) * 2 // 3], salvage="suspect") as salvaged:
        assert not events(timeline(salvaged, path_of("v2.0.5/friday")), kinds="state.restored")
    assert not events(of(*WEEK), kinds="state.restored")


def test_windows_shrink_with_every_snapshot() -> None:
    one, both = of("v2.0.5/friday"), of("v2.0.5/thursday", "v2.0.5/friday")
    for event in one[one["Time"].isna() & one["Key"].map(bool)].to_dict("records"):
        same = [
            e for e in events(both, kinds=event["Kind"]) if (e["Key"], e["Index"]) == (event["Key"], event["Index"])
        ]
        assert len(same) == 1, event
        for name, worse in ("TimeEarliest", lambda a, b: a > b), ("TimeLatest", lambda a, b: a < b):
            assert pd.isna(event[name]) or not worse(event[name], same[0][name])
    assert (both["TimeLatest"] - both["TimeEarliest"]).median() <= (one["TimeLatest"] - one["TimeEarliest"]).median()


def test_sources_may_come_in_any_order_and_kind(opened: Open) -> None:
    friday = opened("v2.0.5/friday")
    mixed = timeline(friday, path_of("v2.0.5/monday").read_bytes(), str(path_of("v2.0.5/thursday")))
    pd.testing.assert_frame_equal(mixed, of("v2.0.5/monday", "v2.0.5/thursday", "v2.0.5/friday"))
    pd.testing.assert_frame_equal(friday.timeline(path_of("v2.0.5/monday")), of("v2.0.5/monday", "v2.0.5/friday"))
    assert len(friday.nodes) == 3  # it is still open


def test_the_same_snapshot_twice_tells_nothing_more() -> None:
    once = of("v2.0.5/friday")
    twice = timeline(path_of("v2.0.5/friday"), path_of("v2.0.5/friday"))
    pd.testing.assert_frame_equal(once, twice)


def test_an_earlier_snapshot_tells_of_changes_that_a_later_one_overwrote() -> None:
    statuses = [
        e["Message"] for e in events(of(*WEEK), kinds="alloc.changed", jobs="web") if e["Key"][0].startswith("07725bc9")
    ]
    assert len(statuses) >= 2


def test_different_clusters_are_refused() -> None:
    with pytest.raises(SnapshotError, match=r"are of different clusters .* make a timeline of each"):
        timeline(path_of("v2.0.5/friday"), path_of("v1.8.4/monday"))


def test_a_timeline_of_nothing_is_refused() -> None:
    with pytest.raises(SnapshotError, match="name one snapshot or more"):
        timeline()


@pytest.mark.parametrize("directory", RAFT_DIRECTORIES[::3])
def test_servers_own_copies_and_bare_states_have_a_timeline_too(directory: str) -> None:
    copy = timeline(DATA / directory)
    bare = timeline(DATA / directory / "state.bin")
    assert set(copy["Kind"]) == set(bare["Kind"])
    taken = copy[copy["Kind"] == "snapshot.taken"].iloc[0]
    assert taken["TimeLatest"] is not pd.NaT
    bounded = bare[bare["Index"].notna()]
    assert bounded["TimeLatest"].isna().sum() >= copy["TimeLatest"].isna().sum()


def test_a_record_made_anew_under_its_key_was_deleted_before() -> None:
    def state(index: int, made: int, last: int) -> bytes:
        token = {"AccessorID": "a", "Name": "n", "Type": "client", "CreateIndex": made, "ModifyIndex": made}
        tables = {"indexes": [{"Key": "acl_token", "Value": last}], "acl_tokens": [token]}
        return archive(tables, index, f"2-{index}-{1_795_471_701_682 + index * 1_000}")

    frame = timeline(state(20, 15, 18), state(10, 5, 5))
    gone, another = events(frame, kinds="acl_token.deleted")
    assert gone["Key"] == ("a",)
    assert gone["Message"] == "ACL token n (client, a) was deleted, after index 10 and by index 15"
    assert pd.isna(gone["Index"])
    assert gone["TimeEarliest"] == moment("2026-11-23T22:08:31.682Z")
    assert gone["TimeLatest"] == moment("2026-11-23T22:08:41.682Z")
    assert (another["Key"], another["Index"]) == ((), 18)  # of a token that came and went in between


def test_what_a_salvaged_snapshot_lacks_is_not_told_of_as_deleted(tmp_path: Path) -> None:
    damaged = tmp_path / "friday.snap"
    content = path_of("v2.0.5/friday").read_bytes()
    damaged.write_bytes(content[: len(content) * 2 // 3])
    with snapkit.open(damaged, salvage="suspect") as salvaged:
        assert salvaged.salvage is not None
        assert len(salvaged.tables) > 2
        frame = timeline(path_of("v2.0.5/thursday"), salvaged)
    thursday = of("v2.0.5/thursday")
    assert len(events(frame, kinds="*.deleted")) == len(events(thursday, kinds="*.deleted"))
    told = [event["Message"] for event in events(frame, kinds="snapshot.taken")]
    assert "it was salvaged" in told[-1]


# -- what is doubtful


def test_a_time_that_its_write_did_not_set_is_not_taken_for_it() -> None:
    """Friday's first deployment was written at index 195, with the time of an earlier write."""
    record = next(d for d in listed("v2.0.5/friday", "deployments") if d["ModifyIndex"] == 195)
    event = only(of("v2.0.5/friday"), "deployment.changed", record["ID"])
    stale = moment(record["ModifyTime"])
    assert pd.isna(event["Time"])
    assert stale is not None
    assert event["TimeEarliest"] - stale > pd.Timedelta(seconds=30)
    # Up to 1.4 a job that is stopped keeps the time that it was submitted at.
    stopped = only(of("v1.4.14/monday", "v1.4.14/tuesday"), "job.stopped", "batch", "train", 1)
    assert pd.isna(stopped["Time"])
    assert stopped["TimeEarliest"] >= created("v1.4.14/monday")


def test_a_clock_may_be_given() -> None:
    with snapkit.open(path_of("v2.0.5/friday")) as friday, snapkit.open(path_of("v2.0.5/wednesday")) as wednesday:
        better = timeline(friday, clock=Clock.of(friday, wednesday))
    event = only(better, "acl_policy.changed", "anonymous")
    assert event["TimeEarliest"] >= created("v2.0.5/wednesday")
    assert only(of("v2.0.5/friday"), "acl_policy.changed", "anonymous")["TimeEarliest"] < created("v2.0.5/wednesday")


# -- secrets


@pytest.mark.parametrize("name", REAL)
def test_no_secret_is_in_a_timeline(name: str) -> None:
    cluster = name.split("/")[0]
    found = [item["SecretID"] for item in json.loads((ORACLES / cluster / "tokens.json").read_text()).values()]
    found.append(json.loads((ORACLES / cluster / "bootstrap.json").read_text())["SecretID"])
    path = ORACLES / cluster / "variables.json"
    variables = json.loads(path.read_text()) if path.exists() else []
    found += [value for variable in variables for value in variable["Items"].values() if len(value) > 8]
    text = of(name).to_csv()
    assert found
    assert not [secret for secret in found if secret in text]


# -- whatever is in it


def test_every_type_has_its_events() -> None:
    frame = timeline(samples.every_table())
    untold = {"indexes", "time_table", "job_summaries", "job_submissions", "scaling_events", "cluster_metadata"}
    words = {event["Table"] for event in frame.to_dict("records")}
    assert words >= BY_TABLE.keys() - untold - {"scaling_events", "jobs", "periodic_launches"}


@pytest.mark.parametrize(
    ("table", "record"),
    [
        ("allocs", {"TaskStates": [1]}),
        ("allocs", {"TaskStates": {"web": 5}}),
        ("allocs", {"TaskStates": {"web": {"Events": {"a": 1}}}}),
        ("allocs", {"RescheduleTracker": {"Events": [7]}}),
        ("allocs", {"DeploymentStatus": "yes"}),
        ("nodes", {"Events": "no"}),
        ("nodes", {"LastDrain": [3]}),
        ("allocs", {"CreateIndex": "five"}),
        ("evals", {"ModifyTime": "noon"}),
    ],
)
def test_what_is_not_as_nomad_has_it_is_an_error(table: str, record: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="records, field"):
        timeline(samples.archive({table: [{"ID": "x", "CreateIndex": 5} | record]}))


@pytest.mark.parametrize(
    ("table", "record"),
    [
        ("allocs", {"TaskStates": {"web": {"Events": [{"Time": "noon", "Type": 7}], "StartedAt": b"\1\2"}}}),
        ("allocs", {"DeploymentStatus": {"Healthy": "yes"}, "RescheduleTracker": {"Events": [{"Delay": "x"}]}}),
        ("allocs", {"TaskStates": {"web": None}, "AllocStates": [None]}),
        ("nodes", {"StatusUpdatedAt": 2**62, "Events": [{"Timestamp": 12, "CreateIndex": None}]}),
        ("nodes", {"StatusUpdatedAt": "now"}),
        ("nodes", {"ID": [{}], "CreateIndex": 5}),
        ("allocs", {"RescheduleTracker": {"Events": [{"PrevAllocID": [], "RescheduleTime": samples.NANOSECONDS}]}}),
        ("scaling_events", {"JobID": "j", "ScalingEvents": {"g": [{"CreateIndex": 5, "Count": [], "Message": {}}]}}),
        ("acl_policies", {"Name": None, "CreateIndex": 7, "ModifyIndex": 2**64 - 1}),
        ("job_versions", {"ID": "j", "CreateIndex": None, "JobModifyIndex": None, "SubmitTime": 5}),
    ],
)
def test_odd_values_are_no_reason_to_fail(table: str, record: dict[str, Any]) -> None:
    frame = timeline(samples.archive({table: [{"ID": "x"} | record]}))
    assert {str(column): str(dtype) for column, dtype in frame.dtypes.items()} == COLUMNS


def test_an_empty_state_has_a_beginning_and_no_more() -> None:
    assert timeline(samples.archive({}))["Kind"].tolist() == ["snapshot.taken"]


def test_times_beside_what_the_events_tell() -> None:
    """A task's last ten events are kept; when it began and ended stands by itself."""
    state = {
        "Events": [{"Type": "Started", "Time": samples.NANOSECONDS}],
        "StartedAt": samples.GO_TIME,
        "FinishedAt": None,
    }
    later = forge.go_time(62_135_596_800 + samples.SECONDS + 60)
    alloc = {"ID": "a", "Name": "web", "TaskStates": {"server": state | {"FinishedAt": later}}}
    found = events(timeline(samples.archive({"allocs": [alloc]})), kinds="task")
    assert [event["Message"] for event in found] == [
        "Task server of allocation web (a): Started",
        "Task server of allocation web (a): finished",
    ]


# -- some of it


def test_events_by_kind_table_job_node_and_time() -> None:
    frame = of(*WEEK)
    assert set(select(frame, kinds=["acl_token"])["Kind"]) == {
        "acl_token.created",
        "acl_token.deleted",
        "acl_token.expires",
    }
    assert set(select(frame, kinds=["*.deleted"], tables=["jobs", "variables"])["Kind"]) == {
        "job.deleted",
        "variable.deleted",
    }
    assert set(select(frame, jobs=["encode/*"])["Job"]) == {
        e["Key"][1] for e in events(frame, kinds="job.submitted", jobs="encode/*")
    }
    node = next(item for item in listed("v2.0.5/friday", "nodes") if item["Name"] == "client0")
    assert set(select(frame, nodes=[node["ID"][:8]])["Node"]) == {node["ID"]}
    tuesday, wednesday = created("v2.0.5/tuesday"), created("v2.0.5/wednesday")
    some = select(frame, since=tuesday, until=wednesday)
    assert ("anonymous",) in some["Key"].tolist()
    assert (some["TimeLatest"] >= tuesday).all()
    assert (some["TimeEarliest"] <= wednesday).all()
    assert select(frame, kinds=["nothing"]).empty
    assert isinstance(some.index, pd.RangeIndex)


# -- as a file


def test_json_lines_as_timesketch_takes_them(tmp_path: Path) -> None:
    frame = of(*WEEK)
    target = tmp_path / "week.jsonl"
    write(frame, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(frame)
    for row, event in zip(rows, frame.to_dict("records"), strict=True):
        assert list(row)[:3] == ["message", "datetime", "timestamp_desc"]
        assert row["message"] == event["Message"]
        when = datetime.fromisoformat(row["datetime"])
        assert when.utcoffset() is not None
        if row["timestamp_desc"] == "Event Time":
            assert when == event["Time"].floor("us")
        else:
            meaning = {"Start of Window": "TimeEarliest", "End of Window": "TimeLatest"}[row["timestamp_desc"]]
            assert pd.isna(event["Time"])
            assert when == event[meaning].floor("us")
        assert tuple(map(str, event["Key"])) == tuple(row["Key"])
        assert pd.Timestamp(row["TimeLatest"]) == event["TimeLatest"]  # to the nanosecond
    assert {row["timestamp_desc"] for row in rows} == {"Event Time", "Start of Window", "End of Window"}


def test_csv_has_the_same(tmp_path: Path) -> None:
    frame = of(*WEEK)
    write(frame, tmp_path / "week.csv")
    write(frame, tmp_path / "week.json", format="jsonl")
    with (tmp_path / "week.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "week.json").read_text(encoding="utf-8").splitlines()]
    for row, line in zip(rows, lines, strict=True):
        assert row | {"Key": json.loads(row["Key"])} == {
            k: v if k == "Key" else "" if v is None else str(v) for k, v in line.items()
        }


def test_parquet_has_the_timeline_as_it_is(tmp_path: Path) -> None:
    frame = of(*WEEK)
    write(frame, tmp_path / "week.parquet")
    back = pd.read_parquet(tmp_path / "week.parquet")
    assert [tuple(key) for key in back["Key"]] == [tuple(map(str, key)) for key in frame["Key"]]
    pd.testing.assert_frame_equal(back.drop(columns="Key"), frame.drop(columns="Key"))


def test_what_nothing_bounds_is_in_a_file_all_the_same(tmp_path: Path) -> None:
    policies = [{"Name": "p", "CreateIndex": 3, "ModifyIndex": 3}]
    alone = timeline(archive({"acl_policies": policies}, 5, ""))
    assert alone[["TimeEarliest", "TimeLatest"]].isna().all(axis=None)
    write(alone, tmp_path / "alone.jsonl")
    row = json.loads((tmp_path / "alone.jsonl").read_text().splitlines()[0])
    assert (row["datetime"], row["timestamp_desc"]) == ("1970-01-01T00:00:00.000000+00:00", "Not Known")


def test_nothing_is_replaced_unless_it_may_be(tmp_path: Path) -> None:
    target = tmp_path / "week.csv"
    target.write_text("mine")
    with pytest.raises(TargetExistsError):
        write(of("v2.0.5/friday"), target)
    assert target.read_text() == "mine"
    write(of("v2.0.5/friday"), target, overwrite=True)
    assert target.read_text() != "mine"
    with pytest.raises(SnapshotError, match="there are csv, jsonl, parquet"):
        write(of("v2.0.5/friday"), tmp_path / "week.xlsx")
    assert [path.name for path in tmp_path.iterdir()] == ["week.csv"]
