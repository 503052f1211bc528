"""Garbage collection foretold: by hand-made cases of each rule, and held against what a real server takes."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings

import snapkit
from snapkit.errors import SnapshotError
from snapkit.format.schema import record_type
from snapkit.format.values import unpack
from snapkit.state.sizes.garbage import Thresholds, by_table, collectable
from tests import forge

from ...cluster.servers import binary
from ...conftest import ARCHIVES, path_of
from .. import samples
from .test_sizes import RECORDS

Open = Callable[..., snapkit.Snapshot]
HOUR = 3_600 * 10**9
START = samples.NANOSECONDS  # when all of them ended
FRIDAY = "v2.0.5/friday"


def dues(snap: snapkit.Snapshot, **kwargs: Any) -> dict[tuple[str, Any], tuple[str, float]]:
    """By table and key: the collector, and hours after START."""
    frame = collectable(snap, **kwargs)
    hours = (frame.Due.astype("int64") - START) / HOUR
    pairs = zip(frame.Table, (key[-1] for key in frame.Key), strict=True)
    return dict(zip(pairs, zip(frame.Collector, hours, strict=True), strict=True))


def job(**fields: Any) -> dict[str, Any]:
    return {
        "Namespace": "n",
        "ID": "j",
        "Type": "service",
        "Status": "dead",
        "Stop": True,
        "SubmitTime": START,
    } | fields


def evaluation(**fields: Any) -> dict[str, Any]:
    made = {"ID": "e", "Namespace": "n", "JobID": "j", "Type": "service", "Status": "complete", "ModifyTime": START}
    return made | fields


def alloc(**fields: Any) -> dict[str, Any]:
    made = {
        "ID": "a",
        "Namespace": "n",
        "JobID": "j",
        "EvalID": "e",
        "NodeID": "n",
        "TaskGroup": "g",
        "ModifyTime": START,
    }
    return made | {"DesiredStatus": "run", "ClientStatus": "complete", "CreateIndex": 5} | fields


def policy(**fields: Any) -> dict[str, Any]:
    return {"TaskGroups": [{"Name": "g", "ReschedulePolicy": fields}, {"Name": "h"}]}


RUNNING = {"Status": "running", "Stop": False, "JobModifyIndex": 9}
LIMITED = policy(Attempts=2, Interval=10 * HOUR, Unlimited=False)
UNLIMITED = policy(Attempts=0, Unlimited=True)
TRIED = {"RescheduleTracker": {"Events": [{"RescheduleTime": 1}, {"RescheduleTime": START}]}}
FAILED = {"ClientStatus": "failed"}


# -- jobs


@pytest.mark.parametrize(
    ("fields", "hours"),
    [
        ({}, 4),
        ({"SubmitTime": START + HOUR}, 5),
        ({"Stop": False}, None),
        ({"Stop": False, "Type": "batch"}, 4),
        ({"Stop": False, "Type": "sysbatch"}, 4),
        ({"Stop": False, "Type": "system"}, None),
        ({"Status": "running"}, None),
        ({"Status": "pending", "Type": "batch"}, None),
        ({"Type": "batch", "Stop": False, "Periodic": {"Enabled": True}}, None),
        ({"Type": "batch", "Stop": False, "Periodic": {"Enabled": False}}, 4),
        ({"Status": "running", "Periodic": {"Enabled": True}}, 4),
        ({"Type": "batch", "Stop": False, "ParameterizedJob": {}}, None),
        ({"Type": "batch", "Stop": False, "ParameterizedJob": {}, "Dispatched": True}, 4),
        ({"Status": "running", "ParameterizedJob": {}}, 4),
        ({"VersionTag": {"Name": "golden"}}, None),
    ],
)
def test_a_job_is_taken_when_it_is_dead(fields: dict[str, Any], hours: float | None, open_: Open) -> None:
    found = dues(open_(samples.archive({"jobs": [job(**fields)]})))
    assert found == ({} if hours is None else {("jobs", "j"): ("job", hours)})


def test_all_that_is_a_jobs_goes_with_it(open_: Open) -> None:
    of = {"Namespace": "n", "JobID": "j"}
    target = {"Target": {"Namespace": "n", "Job": "j"}}
    other = {"Namespace": "n", "JobID": "k"}
    snap = open_(
        samples.archive(
            {
                "jobs": [job()],
                "job_versions": [job(Version=0), job(Version=1), job(ID="k")],
                "job_summaries": [of, other],
                "job_submissions": [of | {"Version": 1}, other],
                "periodic_launches": [{"Namespace": "n", "ID": "j"}],
                "scaling_policies": [{"ID": "s"} | target, {"ID": "t", "Target": None}],
                "scaling_events": [of, other],
                "deployments": [{"ID": "d", "Status": "running"} | of],
                "evals": [evaluation(), evaluation(ID="f", JobID="k", Status="blocked")],
                "allocs": [
                    alloc(),
                    alloc(ID="b", EvalID="gone", ClientStatus="running"),
                    alloc(ID="c", JobID="k", EvalID="f"),
                ],
            }
        )
    )
    assert dues(snap) == {
        ("jobs", "j"): ("job", 4),
        ("job_versions", 0): ("job", 4),
        ("job_versions", 1): ("job", 4),
        ("job_summaries", "j"): ("job", 4),
        ("job_submissions", 1): ("job", 4),
        ("periodic_launches", "j"): ("job", 4),
        ("scaling_policies", "s"): ("job", 4),
        ("scaling_events", "j"): ("job", 4),
        ("deployments", "d"): ("job", 4),
        ("evals", "e"): ("eval", 1),
        ("allocs", "a"): ("eval", 1),
        ("allocs", "b"): ("job", 4),
    }


@pytest.mark.parametrize(
    ("evals", "allocs", "hours"),
    [
        ([evaluation(ModifyTime=START + 9 * HOUR)], [], 10),  # taken by itself by then
        ([evaluation(Type="batch", ModifyTime=START + 9 * HOUR)], [], 13),  # with the job: by its threshold, not 24 h
        ([evaluation(Status="blocked")], [], None),
        ([evaluation()], [alloc(ModifyTime=START + 9 * HOUR)], 10),
        ([evaluation()], [alloc(ClientStatus="running")], None),
        ([evaluation(JobID="other", Status="pending")], [], 4),
    ],
)
def test_a_job_waits_for_its_evaluations(evals: Any, allocs: Any, hours: float | None, open_: Open) -> None:
    found = dues(open_(samples.archive({"jobs": [job()], "evals": evals, "allocs": allocs})))
    assert found.get(("jobs", "j")) == (None if hours is None else ("job", hours))


def test_a_tagged_version_keeps_its_job(open_: Open) -> None:
    tagged = job(Version=1, VersionTag={"Name": "golden"})
    assert dues(open_(samples.archive({"jobs": [job(Version=2)], "job_versions": [tagged, job()]}))) == {}


# -- evaluations and allocations


@pytest.mark.parametrize(
    ("job_", "eval_", "alloc_", "hours"),
    [
        # The allocation, and with it the evaluation.
        (RUNNING, {}, {}, (1, 1)),
        (RUNNING, {"ModifyTime": START + HOUR}, {}, (2, 2)),
        (RUNNING, {}, {"ModifyTime": START + HOUR}, (2, 2)),
        (RUNNING, {"Status": "failed"}, {"ClientStatus": "lost"}, (1, 1)),
        (RUNNING, {"Status": "canceled"}, {"DesiredStatus": "evict", "ClientStatus": "pending"}, (1, 1)),
        (RUNNING, {"Status": "pending"}, {}, (None, None)),
        (RUNNING, {}, {"ClientStatus": "running"}, (None, None)),
        (RUNNING, {}, {"ClientStatus": "running", "DesiredStatus": "stop"}, (None, None)),
        (RUNNING, {}, {"ClientStatus": "unknown"}, (None, None)),
        # One that failed may be wanted to run again.
        (RUNNING, {}, FAILED, (1, 1)),
        (RUNNING | LIMITED, {}, FAILED, (None, None)),
        (RUNNING | LIMITED, {}, FAILED | TRIED, (10, 10)),
        (RUNNING | LIMITED, {}, FAILED | TRIED | {"NextAllocation": "b"}, (1, 1)),
        (RUNNING | LIMITED, {}, FAILED | {"DesiredStatus": "stop"}, (1, 1)),
        (RUNNING | LIMITED, {}, FAILED | {"DesiredStatus": "evict"}, (None, None)),
        (RUNNING | LIMITED, {}, FAILED | {"TaskGroup": "h"}, (1, 1)),
        (RUNNING | LIMITED, {}, FAILED | {"TaskGroup": "no such group"}, (1, 1)),
        (RUNNING | LIMITED | {"Stop": True}, {}, FAILED, (1, 1)),
        (RUNNING | UNLIMITED, {}, FAILED | TRIED, (None, None)),
        (RUNNING | policy(Attempts=0), {}, FAILED | TRIED, (1, 1)),
        # Batch jobs: the newest stay as long as the job may run again.
        (RUNNING, {"Type": "batch"}, {}, (24, 24)),
        (RUNNING | {"JobModifyIndex": 5}, {"Type": "batch"}, {}, (None, None)),
        (RUNNING | {"JobModifyIndex": 5, "Status": "dead"}, {"Type": "batch"}, {}, (None, None)),
        (
            RUNNING | {"JobModifyIndex": 5, "Status": "dead", "Stop": True, "VersionTag": {}},
            {"Type": "batch"},
            {},
            (24, 24),
        ),
        (RUNNING | LIMITED, {"Type": "batch"}, FAILED, (24, 24)),
        (RUNNING, {"Type": "sysbatch"}, {}, (1, 1)),
        # No such job any more.
        ({"ID": "other"}, {}, FAILED, (1, 1)),
        ({"ID": "other"}, {"Type": "batch"}, {}, (24, 24)),
    ],
)
def test_an_evaluation_is_taken_with_its_allocations(
    job_: dict[str, Any], eval_: dict[str, Any], alloc_: dict[str, Any], hours: tuple[Any, Any], open_: Open
) -> None:
    found = dues(
        open_(samples.archive({"jobs": [job(**job_)], "evals": [evaluation(**eval_)], "allocs": [alloc(**alloc_)]}))
    )
    expected = {("allocs", "a"): hours[0], ("evals", "e"): hours[1]}
    got = {key: found[key] for key in expected if key in found}
    assert {key: collector for key, (collector, _) in got.items()} == dict.fromkeys(got, "eval")
    assert {key: round(due, 6) for key, (_, due) in got.items()} == {k: v for k, v in expected.items() if v is not None}


def test_allocations_are_taken_before_an_evaluation_that_has_others(open_: Open) -> None:
    allocs = [alloc(), alloc(ID="b", ClientStatus="running"), alloc(ID="c", EvalID="none")]
    snap = open_(samples.archive({"jobs": [job(**RUNNING)], "evals": [evaluation()], "allocs": allocs}))
    assert dues(snap) == {("allocs", "a"): ("eval", 1)}
    services = [{"ID": "s", "AllocID": "a", "JobID": "j"}, {"ID": "t", "AllocID": "b", "JobID": "j"}]
    snap = open_(samples.archive({"evals": [evaluation()], "allocs": allocs, "services": services}))
    assert dues(snap)["services", "s"] == ("eval", 1)
    assert ("services", "t") not in dues(snap)


# -- deployments and nodes


@pytest.mark.parametrize(
    ("status", "client", "hours"),
    [
        ("successful", "complete", 1),
        ("failed", "complete", 1),
        ("cancelled", "failed", 1),
        ("failed", "running", None),
        ("running", "complete", None),
        ("paused", "complete", None),
        ("blocked", "complete", None),
    ],
)
def test_a_deployment_is_taken_when_it_and_its_allocations_are_over(
    status: str, client: str, hours: float | None, open_: Open
) -> None:
    deployment = {"ID": "d", "Namespace": "n", "JobID": "j", "Status": status, "ModifyTime": START}
    allocs = [alloc(DeploymentID="d", ClientStatus=client), alloc(ID="b", ClientStatus="running")]
    snap = open_(samples.archive({"jobs": [job(**RUNNING)], "deployments": [deployment], "allocs": allocs}))
    assert dues(snap) == ({} if hours is None else {("deployments", "d"): ("deployment", hours)})


@pytest.mark.parametrize(
    ("status", "client", "hours"),
    [("down", "complete", 24), ("down", "running", None), ("ready", "complete", None), ("disconnected", "lost", None)],
)
def test_a_node_is_taken_when_it_is_down_and_empty(status: str, client: str, hours: Any, open_: Open) -> None:
    node = {"ID": "n", "Status": status, "StatusUpdatedAt": START // 10**9}
    found = dues(open_(samples.archive({"nodes": [node], "allocs": [alloc(ClientStatus=client)]})))
    assert {key: round(due, 3) for key, (_, due) in found.items()} == ({} if hours is None else {("nodes", "n"): hours})


def test_a_node_waits_for_what_goes_with_a_job(open_: Open) -> None:
    node = {"ID": "n", "Status": "down", "StatusUpdatedAt": 1}
    allocs = [alloc(EvalID="gone", ClientStatus="running")]
    assert dues(open_(samples.archive({"nodes": [node], "jobs": [job()], "allocs": allocs})))["nodes", "n"] == (
        "node",
        4,
    )


# -- by Raft's indexes


def test_a_state_with_a_time_table_is_judged_by_that(open_: Open) -> None:
    def at(hours: int) -> bytes:
        return forge.go_time(62_135_596_800 + samples.SECONDS + 3_600 * hours, 682_512_345)

    created = samples.SECONDS * 1_000 + 30 * 3_600_000
    witnesses = [{"Index": 10, "Time": at(0)}, {"Index": 30, "Time": at(2)}, {"Index": 20, "Time": at(1)}]
    tables = {
        "time_table": witnesses,
        "nodes": [{"ID": "n", "Status": "down", "StatusUpdatedAt": 1, "ModifyIndex": 10}],
        "jobs": [job(CreateIndex=1, SubmitTime=1), job(ID="k", CreateIndex=20)],
        "evals": [evaluation(ID=f"e{i}", JobID="x", ModifyTime=1, ModifyIndex=i) for i in (10, 11, 20, 29, 31)],
        "deployments": [{"ID": "d", "Status": "failed", "ModifyIndex": 25}],
    }
    state = forge.state(*(samples.records(table, *values) for table, values in tables.items()))
    snap = open_(forge.archive(state, forge.meta_json(len(state), ID=f"2-77-{created}")))
    found = {key[1]: round(hours, 3) for key, (_, hours) in dues(snap).items()}
    late = 30 - samples.NANOSECONDS % 10**9 / HOUR
    assert found == {"n": 24, "j": 4, "k": 5, "e10": 1, "e11": 2, "e20": 2, "e29": 3, "e31": round(late + 1, 3), "d": 3}


# -- the frame


@pytest.mark.parametrize("archive", ARCHIVES)
def test_the_frame_of_a_real_archive(archive: str, opened: Open) -> None:
    snap = opened(archive)
    frame = collectable(snap)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "Table": "str",
        "Key": "object",
        "Namespace": "str",
        "Job": "str",
        "Collector": "str",
        "Due": "datetime64[ns, UTC]",
        "Now": "boolean",
        "Bytes": "Int64",
    }
    assert frame.Due.is_monotonic_increasing
    assert set(frame.Collector) <= {"job", "eval", "deployment", "node"}
    assert (frame.Now == (frame.Due <= snap.meta.created)).all()
    for table, key, size in zip(frame.Table, frame.Key, frame.Bytes, strict=True):
        sizes = snap.record_bytes(table)
        assert sizes.loc[key if len(key) > 1 else key[0]] == size
    assert len(collectable(snap, thresholds=Thresholds(*[10**17] * 5))) == len(frame)
    later = collectable(snap, now=pd.Timestamp("2100-01-01"))
    assert later.Now.all()
    summary = by_table(frame)
    assert summary.Bytes.sum() + summary.BytesLater.sum() == frame.Bytes.sum()
    assert summary.Count.sum() == frame.Now.sum()
    assert summary.Count.sum() + summary.CountLater.sum() == len(frame)


def test_what_friday_leaves_to_collect(opened: Open) -> None:
    snap = opened(FRIDAY)
    frame = collectable(snap)
    assert not frame.Now.any(), "all of it is minutes old"
    jobs = {key[1].split("/")[0] for key in frame.Key[frame.Table == "jobs"]}
    assert jobs == {"encode", "nightly-report", "train"}, "children and what was stopped; their parents stay"
    assert not {"web", "node-exporter"} & set(frame.Job[frame.Collector == "job"])
    assert snap.meta.created is not None
    hours = (frame.Due - snap.meta.created).dt.total_seconds() / 3_600
    assert hours.between(0.5, 24).all()


def test_without_a_time_it_must_be_said(open_: Open) -> None:
    snap = open_(forge.archive(forge.LITTLE, forge.meta_json(len(forge.LITTLE), ID="")))
    with pytest.raises(SnapshotError, match="does not say when it was taken; say what time to judge by: now="):
        collectable(snap)
    assert len(collectable(snap, now=pd.Timestamp("2026-01-01"))) == 0


@settings(max_examples=150)
@given(RECORDS)
def test_whatever_the_records_hold_there_is_an_answer(records: list[tuple[int, Any]]) -> None:
    extra = [
        (4, {b"EvalID": [1], b"ClientStatus": b"failed", b"JobID": b"j"}),
        (3, {b"ID": [1], b"Status": b"complete"}),
    ]
    state = b"\x80" + b"".join(forge.record(byte, forge.pack(value)) for byte, value in [*records, *extra])
    with snapkit.open(forge.archive(state)) as snap:
        try:
            collectable(snap)
        except SnapshotError as error:
            if not error.where:
                raise


# -- held against a real server


def keys(snap: snapkit.Snapshot) -> set[tuple[str, Any]]:
    apart = {"indexes", "time_table", "scheduler_config", "cluster_metadata"}
    tables = [table for table in snap.tables.index if table not in apart]
    index = [(table, key) for table in tables for key in snap.record_bytes(table).index]
    return {(table, key if isinstance(key, tuple) else (key,)) for table, key in index}


def forced(path: Path, folder: Path) -> tuple[set[Any], set[Any]]:
    """What a server takes that is told to collect all it may, and what of it was foretold."""
    import requests

    from snapkit.cluster.rehearse import _server

    with _server(binary(), folder) as (client, _):
        client.restore(path, force=True)
        before = settled(client)
        requests.put(f"{client.address}/v1/system/gc", timeout=10).raise_for_status()
        with before, settled(client) as after:
            foretold = collectable(before, now=pd.Timestamp.now("UTC"), thresholds=Thresholds(*[10**6] * 5))
            foretold = foretold[foretold.Now]
            return keys(before) - keys(after), set(zip(foretold.Table, foretold.Key, strict=True))


def settled(client: Any) -> snapkit.Snapshot:
    """Its state once that stays the same for some seconds."""
    snap: snapkit.Snapshot = client.snapshot()
    for _ in range(20):
        time.sleep(2)
        again = client.snapshot()
        same = keys(snap) == keys(again)
        snap.close()
        snap = again
        if same:
            break
    return snap


@pytest.mark.nomad
def test_a_real_server_takes_what_was_foretold(tmp_path: Path) -> None:
    taken, foretold = forced(path_of(FRIDAY), tmp_path)
    assert len(taken) > 50
    assert taken == foretold


def made_up() -> Iterator[bytes]:
    """Friday's state, and jobs with an evaluation and an allocation in all sorts of states."""
    with snapkit.open(path_of(FRIDAY)) as snap:
        records = [(byte, unpack(value)) for byte, value in snap.raw()]
        yield snap.header
    first = {record_type(byte).table: value for byte, value in reversed(records)}
    chance = random.Random(6)
    extra: dict[int, list[Any]] = {1: [], 3: [], 4: []}
    choices = itertools.product(
        ["service", "batch", "sysbatch"],
        ["dead", "running"],
        [True, False],
        ["complete", "failed", "canceled", "blocked"],
    )
    for i, (kind, status, stop, eval_status) in enumerate([*choices] * 4):
        name = b"made-up-%d" % i
        reschedule = chance.choice(
            [None, {b"Attempts": 2, b"Interval": HOUR}, {b"Attempts": 2, b"Interval": 10**18}, {b"Unlimited": True}]
        )
        group = first["jobs"][b"TaskGroups"][0] | {b"Name": b"g", b"ReschedulePolicy": reschedule}
        job_ = first["jobs"] | {
            b"ID": name,
            b"Name": name,
            b"Type": kind.encode(),
            b"Status": status.encode(),
            b"Stop": stop,
        }
        job_ |= {
            b"TaskGroups": [group],
            b"JobModifyIndex": chance.choice([5, 500]),
            b"Periodic": None,
            b"ParameterizedJob": None,
        }
        job_ |= {b"VersionTag": chance.choice([None, None, None, {b"Name": b"golden"}])}
        eval_id, alloc_id = b"00000000-0000-4000-8000-%012x" % i, b"00000000-0000-4000-9000-%012x" % i
        of = {b"Namespace": job_[b"Namespace"], b"JobID": name}
        extra[1].append(job_)
        extra[3].append(first["evals"] | of | {b"ID": eval_id, b"Type": kind.encode(), b"Status": eval_status.encode()})
        tracker: Any = chance.choice([None, {b"Events": []}, {b"Events": [{b"RescheduleTime": START}]}])
        state = {
            b"ClientStatus": chance.choice([b"complete", b"failed", b"failed", b"failed", b"lost", b"running"]),
            b"DesiredStatus": chance.choice([b"run", b"run", b"stop", b"evict"]),
            b"NextAllocation": chance.choice([b"", b"", b"00000000-0000-4000-9000-000000000000"]),
            b"RescheduleTracker": tracker,
        }
        extra[4].append(
            first["allocs"]
            | of
            | state
            | {b"ID": alloc_id, b"EvalID": eval_id, b"Job": job_, b"TaskGroup": b"g", b"CreateIndex": 50}
        )
    for byte in dict.fromkeys(byte for byte, _ in records):
        for value in [*(value for other, value in records if other == byte), *extra.get(byte, ())]:
            yield forge.record(byte, forge.pack(value))


@pytest.mark.nomad
def test_a_real_server_takes_what_was_foretold_of_all_sorts_of_states(tmp_path: Path) -> None:
    path = tmp_path / "made-up.snap"
    path.write_bytes(forge.archive(b"".join(made_up())))
    taken, foretold = forced(path, tmp_path)
    assert len({key for table, key in taken if table == "allocs" and "-4000-9000-" in key[0]}) > 50
    assert taken == foretold
