"""What names who did: made-up jobs and nodes, then the week. The rules were seen on real servers of 1.8.4 and 2.0.5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import snapkit
from snapkit.errors import SnapshotError
from snapkit.state.access.who import who_did
from snapkit.state.snapshot.named import Named, carried, drained, registered

from ...conftest import path_of
from .. import samples

Open = Callable[..., snapkit.Snapshot]
JOB: dict[str, Any] = {
    "Namespace": "shop",
    "ID": "web",
    "CreateIndex": 10,
    "ParentID": "",
    "SubmitTime": samples.NANOSECONDS,
}


def version(number: int, token: str, written: int, **values: Any) -> dict[str, Any]:
    return samples.struct(
        "Job", **{**JOB, "Version": number, "NomadTokenID": token, "JobModifyIndex": written} | values
    )


def evaluation(trigger: str, made: int, of: int, name: str = "e", **values: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"ID": f"{name}{made}", "Namespace": "shop", "JobID": "web", "TriggeredBy": trigger}
    return samples.struct("Evaluation", **record, CreateIndex=made, JobModifyIndex=of, **values)


def told(open_: Open, *versions: dict[str, Any], evals: list[dict[str, Any]] | None = None) -> dict[Any, Any]:
    """By version, the identity and whether it is certain."""
    jobs = [samples.struct("Job", **JOB)]
    with open_(samples.archive({"jobs": jobs, "job_versions": versions, "evals": evals or []})) as snap:
        return {one.key[2]: (one.id, one.certain) for one in registered(snap)}


# -- jobs


def test_the_first_version_is_certain_and_another_token_is_where_all_before_are_known(open_: Open) -> None:
    assert told(open_, version(0, "a", 10), version(1, "b", 20)) == {0: ("a", True), 1: ("b", True)}


def test_a_version_that_may_have_kept_the_token_of_one_before_is_not_certain(open_: Open) -> None:
    """Scaling, stopping and a deployment that reverts by itself make versions that keep it."""
    assert told(open_, version(0, "a", 10), version(1, "a", 20, Stop=True)) == {0: ("a", True), 1: ("a", False)}
    scaled = evaluation("job-scaling", 20, 20)
    assert told(open_, version(0, "a", 10), version(1, "a", 20), evals=[scaled])[1] == ("a", False)
    assert told(open_, version(3, "a", 40)) == {3: ("a", False)}, "a version before it may have had the same"
    assert told(open_, version(0, "a", 10), version(2, "b", 40))[2] == ("b", False), "version 1 is not known"


def test_the_evaluation_of_a_registration_makes_it_certain_and_one_that_was_forced_does_not(open_: Open) -> None:
    versions = version(0, "a", 10), version(1, "a", 20)
    assert told(open_, *versions, evals=[evaluation("job-register", 20, 20)])[1] == ("a", True)
    assert told(open_, *versions, evals=[evaluation("job-register", 33, 20)])[1] == ("a", False)
    other = evaluation("job-register", 20, 20) | {"JobID": "another"}
    assert told(open_, *versions, evals=[other])[1] == ("a", False)


def test_a_child_names_the_token_of_its_parent_and_is_told_of_only_where_that_is_gone(open_: Open) -> None:
    """Who dispatched it is not in the state."""
    child = {"ID": "web/dispatch-1", "ParentID": "web", "CreateIndex": 30}
    assert told(open_, version(0, "a", 10), version(0, "a", 30, **child)) == {0: ("a", True)}
    orphan = version(0, "a", 30, ID="gone/dispatch-1", ParentID="gone", CreateIndex=30)
    assert told(open_, orphan) == {0: ("a", False)}


def test_without_acls_nothing_is_named_and_the_anonymous_token_is_no_accessor(open_: Open) -> None:
    assert told(open_, version(0, "", 10)) == {}
    with open_(samples.archive({"job_versions": [version(0, "anonymous", 10)]})) as snap:
        (one,) = registered(snap)
        assert (one.by, one.id) == ("anonymous", "")


def test_of_a_job_that_was_purged_its_allocations_tell(open_: Open) -> None:
    def alloc(name: str, number: int, token: str, written: int, job: str = "web", made: int = 10) -> dict[str, Any]:
        copy = version(number, token, written, ID=job, CreateIndex=made)
        return samples.struct("Allocation", ID=name, Namespace="shop", JobID=job, Job=copy)

    allocs = [alloc("x", 0, "a", 10), alloc("y", 0, "a", 10), alloc("z", 1, "b", 20), alloc("w", 0, "c", 5, made=5)]
    tables = {"job_versions": [version(1, "b", 20)], "allocs": [*allocs, alloc("v", 0, "d", 7, "other", 7)]}
    with open_(samples.archive(tables)) as snap:
        found = {one.id: (one.table, one.certain, one.index) for one in carried(snap)}
    # Of the job that is there, version 0; of the one of that name before it, and of another that is gone.
    assert found == {"a": ("allocs", True, 10), "c": ("allocs", True, 5), "d": ("allocs", True, 7)}


@pytest.mark.parametrize("value", [-1, {"a": 1}, [1], "x", 2**64 - 1])
def test_a_number_that_is_none_is_no_traceback(value: Any, open_: Open) -> None:
    copy = version(0, "a", 10) | {"JobModifyIndex": value}
    drain = [{"CreateIndex": value, "Subsystem": "Drain", "Message": "m", "Timestamp": samples.GO_TIME}] * 2
    made = samples.struct("Node", LastDrain={"AccessorID": "token:a"}, Events=drain)
    for tables in ({"allocs": [samples.struct("Allocation", Job=copy)]}, {"nodes": [made]}):
        with open_(samples.archive(tables)) as snap:
            assert who_did(snap)["Index"].isna().all()


# -- nodes


def node(identity: str, *events: tuple[int, str, str], **drain: Any) -> dict[str, Any]:
    made = [
        {
            "CreateIndex": index,
            "Subsystem": subsystem,
            "Message": message,
            "Timestamp": samples.GO_TIME,
            "Details": None,
        }
        for index, subsystem, message in events
    ]
    return samples.struct("Node", ID="n", LastDrain={"AccessorID": identity} | drain, Events=made)


@pytest.mark.parametrize(
    ("identity", "by", "id_"),
    [("token:abc", "token", "abc"), ("abc", "token", "abc"), ("alloc:x", "alloc", "x"), ("anonymous", "anonymous", "")],
)
def test_a_drain_names_the_last_that_asked_for_it(identity: str, by: str, id_: str, open_: Open) -> None:
    events = [
        (5, "Drain", "Node drain strategy set"),
        (7, "Drain", "Node drain strategy updated"),
        (9, "Drain", "Node drain complete"),  # which the server does by itself
        (11, "Cluster", "Node marked as eligible for scheduling"),  # which may be another's request
    ]
    with open_(samples.archive({"nodes": [node(identity, *events)]})) as snap:
        (one,) = drained(snap)
    assert one == Named("nodes", ("n",), "drained", by, id_, True, 7, samples.NANOSECONDS)


def test_a_drain_without_its_events_is_told_of_without_an_index(open_: Open) -> None:
    never = samples.struct("Node", "y", ID="m", LastDrain=None)
    with open_(samples.archive({"nodes": [node("token:abc"), never]})) as snap:
        (one,) = drained(snap)
    assert (one.id, one.index) == ("abc", None)


def test_events_that_are_no_list_are_an_error(open_: Open) -> None:
    made = samples.struct("Node", LastDrain={"AccessorID": "token:a"}, Events=-1)
    with open_(samples.archive({"nodes": [made]})) as snap, pytest.raises(SnapshotError, match="is no list"):
        who_did(snap)


# -- the week


def test_wednesday_s_job_was_registered_by_the_token_that_was_made_before_it(open_: Open) -> None:
    with open_(path_of("v2.0.5/wednesday")) as snap:
        frame = who_did(snap)
        first = frame.iloc[0]
        assert (first["Key"], first["Name"], first["Certain"]) == (("default", "metrics-agent", 0), "svc-backup", True)
        assert first["Type"] == "management"
        assert frame["Index"].is_monotonic_decreasing
    with open_(path_of("v2.0.5/thursday")) as snap:
        # The job is purged and the token deleted: where an allocation carries the job still, its accessor is left.
        left = who_did(snap)
        gone = left[left["Key"].map(lambda key: "metrics-agent" in key) | (left["Table"] == "allocs")]
        assert gone["Name"].isna().all()


def test_friday_s_drain_names_a_token(open_: Open) -> None:
    with open_(path_of("v2.0.5/friday")) as snap:
        frame = who_did(snap)
        (drain,) = frame[frame["Did"] == "drained"].to_dict("records")
    assert (drain["By"], drain["Name"], drain["Certain"]) == ("token", "Bootstrap Token", True)
    assert drain["Time"] is not None


@pytest.mark.parametrize("name", ["v0.12.12/tuesday", "v1.4.14/tuesday", "v1.8.4/tuesday"])
def test_older_releases_name_them_too(name: str, open_: Open) -> None:
    with open_(path_of(name)) as snap:
        frame = who_did(snap)
        known = set(snap.table("acl_tokens", []).index)
    assert len(frame)
    assert set(frame["ID"][frame["Name"].notna()]) <= known


#: As no server writes it: the highest number, which is not to be counted up to.
HOSTILE = {
    "Namespace": "d",
    "ID": "j",
    "Version": 2**64 - 1,
    "NomadTokenID": "t",
    "CreateIndex": 5,
    "JobModifyIndex": 9,
}


def test_a_version_of_any_number_is_told_at_once() -> None:
    with snapkit.open(samples.archive({"job_versions": [HOSTILE]})) as snap:
        assert [(n.id, n.certain) for n in registered(snap)] == [("t", False)]


@pytest.mark.parametrize(
    "field", ["Version", "NomadTokenID", "ParentID", "CreateIndex", "JobModifyIndex", "SubmitTime"]
)
@pytest.mark.parametrize("value", [None, "x", 5, [1], {"a": 1}])
def test_whatever_an_allocations_copy_holds_is_no_traceback(field: str, value: Any) -> None:
    alloc = {"ID": "a", "Namespace": "d", "JobID": "j", "Job": HOSTILE | {field: value}}
    with snapkit.open(samples.archive({"allocs": [alloc]})) as snap:
        assert len(list(carried(snap))) <= 1


def test_whatever_a_drain_holds_is_no_traceback() -> None:
    events = [{"Subsystem": "Drain", "CreateIndex": index} for index in ("x", 5, [1])]
    node = {"ID": "n", "LastDrain": {"AccessorID": [1], "StartedAt": "x"}, "Events": events}
    with snapkit.open(samples.archive({"nodes": [node]})) as snap:
        assert [n.index for n in drained(snap)] == [5]
