"""The week of v2.0.5, sentence by sentence, told from the archives alone (data/README.md has the story)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pandas as pd
import pytest

import snapkit
from snapkit.state.access.who import rights_changes, who_could
from snapkit.state.changes.changes import Changes
from snapkit.state.changes.compare import compare

from .conftest import path_of

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")


@pytest.fixture(scope="module")
def week() -> Iterator[dict[str, snapkit.Snapshot]]:
    with ExitStack() as stack:
        yield {day: stack.enter_context(snapkit.open(path_of(f"v2.0.5/{day}"))) for day in DAYS}


@pytest.fixture(scope="module")
def events(week: dict[str, snapkit.Snapshot]) -> pd.DataFrame:
    return snapkit.timeline(*week.values())


def between(week: dict[str, snapkit.Snapshot], day: str) -> Changes:
    """What changed on a day, secrets in the clear."""
    return compare(week[DAYS[DAYS.index(day) - 1]], week[day], reveal=True)


def objects(changes: Changes, table: str, change: str) -> set[str]:
    frame = changes.objects
    rows = frame[(frame["Table"] == table) & (frame["Change"] == change)]
    return {row["Name"] or "/".join(map(str, row["Key"])) for row in rows.to_dict("records")}


def fields(changes: Changes, table: str, *key: str) -> dict[str, tuple[Any, Any]]:
    rows = changes.get(table, *key).to_dict("records")
    return {row["Path"]: (row["Before"], row["After"]) for row in rows}


def said(events: pd.DataFrame, kind: str, text: str) -> pd.DataFrame:
    return events[(events["Kind"] == kind) & events["Message"].str.contains(text, regex=False)]


def made_on(events: pd.DataFrame, week: dict[str, snapkit.Snapshot], day: str) -> pd.DataFrame:
    """The events of a day, by the indexes of the archives that it lies between."""
    before, after = week[DAYS[DAYS.index(day) - 1]].meta.index, week[day].meta.index
    return events[(events["Index"] > before) & (events["Index"] <= after)]


# -- Monday


def test_monday_web_has_canaries_scaling_and_services(week: dict[str, snapkit.Snapshot]) -> None:
    front, cache = week["monday"].get("jobs", "shop", "web")["TaskGroups"]
    assert (front["Update"]["Canary"], front["Scaling"]["Max"] > 1) == (1, True)
    assert [s["Name"] for s in front["Services"] + cache["Services"]] == ["web", "cache"]


def test_monday_ledger_crashes_with_exit_code_137(week: dict[str, snapkit.Snapshot]) -> None:
    allocs = week["monday"].table("allocs", ["Name", "ClientStatus", "TaskStates"])
    ledger = allocs[allocs["Name"] == "payments.ledger[0]"]
    assert set(ledger["ClientStatus"]) == {"failed"}
    codes = [e["ExitCode"] for states in ledger["TaskStates"] for s in states.values() for e in s["Events"]]
    assert 137 in codes


def test_monday_the_other_jobs_are_of_their_kinds(week: dict[str, snapkit.Snapshot]) -> None:
    monday = week["monday"]
    assert monday.get("jobs", "default", "node-exporter")["Type"] == "system"
    assert "*/1 * * * *" in monday.get("jobs", "batch", "nightly-report")["Periodic"]["Specs"]
    assert monday.get("jobs", "batch", "encode")["ParameterizedJob"]["Payload"] == "required"
    assert sum(job.startswith("encode/dispatch-") for _, job in monday.jobs.index) == 3
    blocked = monday.evals[monday.evals["Status"] == "blocked"]
    assert blocked["JobID"].to_list() == ["train"]
    nodes = monday.nodes.set_index("Name")["NodePool"]
    assert nodes["client1"] == "gpu"


# -- Tuesday


def test_tuesday_web_goes_to_1_5_0_with_4_replicas_and_a_canary_waits(week: dict[str, snapkit.Snapshot]) -> None:
    web = fields(between(week, "tuesday"), "jobs", "shop", "web")
    assert web['TaskGroups["front"].Tasks["server"].Env.IMAGE'] == ("shop/web:1.4.2", "shop/web:1.5.0")
    assert web['TaskGroups["front"].Count'] == (3, 4)
    waiting = [d for d in week["tuesday"].objects("deployments") if d["Status"] == "running"]
    assert [(d["JobID"], d["StatusDescription"]) for d in waiting] == [
        ("web", "Deployment is running but requires manual promotion")
    ]


def test_tuesday_train_is_stopped_and_a_node_made_ineligible(
    week: dict[str, snapkit.Snapshot], events: pd.DataFrame
) -> None:
    changes = between(week, "tuesday")
    assert fields(changes, "jobs", "batch", "train")["Stop"] == (False, True)
    assert objects(changes, "nodes", "changed") == {"client1"}
    assert len(said(events, "node.event", "client1 (21d5be79): Node marked as ineligible")) == 1


def test_tuesday_tokens(week: dict[str, snapkit.Snapshot], events: pd.DataFrame) -> None:
    changes = between(week, "tuesday")
    assert objects(changes, "acl_tokens", "removed") == {"ops dashboard"}
    assert objects(changes, "acl_tokens", "added") == {"intern"}
    tuesday = made_on(events, week, "tuesday")
    assert len(said(tuesday, "acl_token.created", "intern")) == 1
    assert len(said(tuesday, "acl_token.deleted", "ops dashboard")) == 1


def test_tuesday_shop_deploy_is_widened_to_all_namespaces(week: dict[str, snapkit.Snapshot]) -> None:
    assert objects(between(week, "tuesday"), "acl_policies", "changed") == {"shop-deploy"}
    widened = rights_changes(week["monday"], week["tuesday"], [("policy", "shop-deploy")])
    submit = widened[(widened["Capability"] == "submit-job") & (widened["Change"] == "added")]
    assert set(submit["Name"]) == {"batch", "default", "payments"}  # shop it had


def test_tuesday_variables(week: dict[str, snapkit.Snapshot]) -> None:
    changes = between(week, "tuesday")
    assert objects(changes, "variables", "changed") == {"shop/nomad/jobs/web"}
    assert objects(changes, "variables", "removed") == {"default/motd"}
    monday, tuesday = (week[day].unlock()["Items"]["shop", "nomad/jobs/web"] for day in ("monday", "tuesday"))
    assert monday != tuesday


def test_tuesday_groups_are_scaled(week: dict[str, snapkit.Snapshot], events: pd.DataFrame) -> None:
    changes = between(week, "tuesday")
    assert fields(changes, "jobs", "shop", "web")['TaskGroups["cache"].Count'] == (1, 5)
    assert fields(changes, "jobs", "payments", "payments")['TaskGroups["api"].Count'] == (2, 3)
    scaled = events[events["Kind"] == "scaling.event"]
    assert len(scaled) == 2
    assert scaled["Message"].str.contains('"warm caches"', regex=False).sum() == 1
    assert scaled["Message"].str.contains('"black friday"', regex=False).sum() == 1
    tickets = {
        event["Message"]: event["Meta"]["ticket"]
        for job in week["tuesday"].objects("scaling_events")
        for group in job["ScalingEvents"].values()
        for event in group
    }
    assert tickets == {"warm caches": "OPS-2", "black friday": "OPS-1"}
    failed = [d for d in week["tuesday"].objects("deployments") if d["Status"] == "failed"]
    assert [(d["JobID"], d["StatusDescription"]) for d in failed] == [
        ("payments", "Failed due to unhealthy allocations")
    ]


# -- Wednesday


def test_wednesday_a_token_a_policy_and_a_job(week: dict[str, snapkit.Snapshot], events: pd.DataFrame) -> None:
    changes = between(week, "wednesday")
    assert objects(changes, "acl_tokens", "added") == {"svc-backup"}
    assert objects(changes, "acl_policies", "changed") == {"anonymous"}
    assert "default/metrics-agent" in objects(changes, "jobs", "added")
    wednesday = made_on(events, week, "wednesday")
    assert len(said(wednesday, "acl_token.created", "svc-backup (management")) == 1
    assert len(said(wednesday, "acl_policy.changed", "anonymous")) == 1
    assert len(said(wednesday, "job.submitted", "metrics-agent")) == 1


def test_wednesday_anonymous_could_do_everything_with_jobs(week: dict[str, snapkit.Snapshot]) -> None:
    opened = rights_changes(week["tuesday"], week["wednesday"])
    assert set(opened["Kind"]) <= {"anonymous", "policy", "token"}
    submit = opened[(opened["Kind"] == "anonymous") & (opened["Capability"] == "submit-job")]
    assert set(submit["Name"]) == {"batch", "default", "payments", "shop"}
    assert set(submit["Change"]) == {"added"}


def test_wednesday_it_took_a_management_token(week: dict[str, snapkit.Snapshot]) -> None:
    could = who_could(week["tuesday"], "management")
    assert set(could[could["Could"] == "yes"]["Name"]) == {"Bootstrap Token", "break glass"}


def test_wednesday_the_job_talks_to_a_pool_from_every_node_that_takes_jobs(week: dict[str, snapkit.Snapshot]) -> None:
    hits = {day: len(snapshot.search("stratum")) for day, snapshot in week.items()}
    assert {day for day, count in hits.items() if count} == {"wednesday"}
    wednesday = week["wednesday"]
    eligible = wednesday.nodes[wednesday.nodes["SchedulingEligibility"] == "eligible"]
    miner = wednesday.allocs[wednesday.allocs["JobID"] == "metrics-agent"]
    assert set(miner["NodeID"]) == set(eligible.index)
    assert set(miner["NodeName"]) == {"client0", "client2"}
    found = wednesday.search("stratum.example.invalid", reveal=True)
    assert "stratum.example.invalid:3333" in set(found["Context"])


# -- Thursday


def test_thursday_the_traces_are_gone(week: dict[str, snapkit.Snapshot], events: pd.DataFrame) -> None:
    changes = between(week, "thursday")
    assert "default/metrics-agent" in objects(changes, "jobs", "removed")
    assert objects(changes, "acl_policies", "changed") == {"anonymous"}
    assert objects(changes, "acl_tokens", "removed") == {"svc-backup"}
    thursday = made_on(events, week, "thursday")
    assert len(said(thursday, "job.deleted", "metrics-agent")) == 1
    assert len(said(thursday, "acl_token.deleted", "svc-backup")) == 1
    assert len(said(thursday, "acl_policy.changed", "anonymous")) == 1


def test_thursday_what_still_tells_of_it(week: dict[str, snapkit.Snapshot]) -> None:
    thursday = week["thursday"]
    evals = thursday.evals[thursday.evals["JobID"] == "metrics-agent"]
    assert set(evals["TriggeredBy"]) == {"job-register", "job-deregister"}
    assert ("default", "metrics-agent") not in thursday.jobs.index
    policies = thursday.acl_policies["ModifyIndex"]
    assert policies["anonymous"] > policies.drop("anonymous").max()
    assert thursday.indexes["Value"]["acl_token"] > thursday.acl_tokens["ModifyIndex"].max()
    report = snapkit.verify(path_of("v2.0.5/thursday")).findings
    assert "table acl_tokens" in set(report[report["Check"] == "state.deletion"]["Place"])
    note = compare(week["monday"], thursday, tables=["acl_policies"]).found
    assert [f.check for f in note] == ["compare.rewritten"]


def test_no_text_says_who_did_it(week: dict[str, snapkit.Snapshot], events: pd.DataFrame) -> None:
    told = " ".join([*events["Message"], between(week, "wednesday").to_text(), between(week, "thursday").to_text()])
    assert not any(word in told.lower() for word in (" by token", "did it", "intruder", "attacker", "stolen"))


# -- Friday


def test_friday_a_slip_of_the_hand(week: dict[str, snapkit.Snapshot], events: pd.DataFrame) -> None:
    changes = between(week, "friday")
    assert "payments/payments" in objects(changes, "jobs", "removed")
    assert objects(changes, "variables", "removed") == {"payments/psp/credentials"}
    friday = made_on(events, week, "friday")
    assert len(said(friday, "job.deleted", "payments")) == 1
    assert len(said(friday, "variable.deleted", "psp/credentials")) == 1
    assert len(said(friday, "node.event", "Node drain complete")) == 1


def test_friday_web_goes_to_1_5_1_with_2_replicas(week: dict[str, snapkit.Snapshot]) -> None:
    web = fields(between(week, "friday"), "jobs", "shop", "web")
    assert web['TaskGroups["front"].Tasks["server"].Env.IMAGE'] == ("shop/web:1.5.0", "shop/web:1.5.1")
    assert web['TaskGroups["front"].Count'] == (4, 2)


def test_nothing_is_told_of_acls_that_did_not_happen(week: dict[str, snapkit.Snapshot], events: pd.DataFrame) -> None:
    acl = events[events["Table"].str.startswith("acl_") & ~events["Kind"].isin(["acl_token.expires"])]
    later = acl[acl["Index"] > week["monday"].meta.index]
    told = sorted((row["Kind"], row["Key"][0]) for row in later.to_dict("records"))
    tokens = {name: accessor for day in week.values() for accessor, name in day.acl_tokens["Name"].items()}
    assert told == sorted(
        [
            ("acl_token.created", tokens["intern"]),
            ("acl_token.deleted", tokens["ops dashboard"]),
            ("acl_policy.changed", "shop-deploy"),
            ("acl_token.created", tokens["svc-backup"]),
            ("acl_policy.changed", "anonymous"),
            ("acl_policy.changed", "anonymous"),
            ("acl_token.deleted", tokens["svc-backup"]),
        ]
    )


def test_the_job_carries_the_token_that_it_was_registered_with(week: dict[str, snapkit.Snapshot]) -> None:
    wednesday = week["wednesday"]
    token = wednesday.get("jobs", "default", "metrics-agent")["NomadTokenID"]
    assert wednesday.acl_tokens["Name"][token] == "svc-backup"
