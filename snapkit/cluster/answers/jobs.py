"""Jobs, and what becomes of them: allocations, evaluations, deployments, services and scaling policies."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from urllib.parse import unquote

from snapkit.cluster.answers.core import (
    Answer,
    Answers,
    ApiError,
    Object,
    Request,
    alloc_stub,
    check,
    envelope,
    filtered,
    listed,
    page,
    pick,
    refuse_no_uuid,
    route,
    terminal,
)
from snapkit.cluster.jobdiff import diff_jobs
from snapkit.format.values import inflated

JOB_STUB = (
    "ID", "ParentID", "Name", "Namespace", "Datacenters", "NodePool", "Multiregion", "Type", "Priority", "Periodic",
    "ParameterizedJob", "Stop", "Status", "StatusDescription", "CreateIndex", "ModifyIndex", "JobModifyIndex",
    "SubmitTime", "Meta",
)  # fmt: skip
EVAL_WORDS = "eval lookup failed: "


# -- jobs


@route("/jobs")
def jobs(answers: Answers, request: Request) -> Answer:
    return page(
        request,
        answers.in_namespaces(request, "list-jobs", "jobs", filtered(request, (*JOB_STUB, "Dispatched"))),
        answers.index("jobs", "job_summary"),
        ("Namespace", "ID"),
        table="jobs",
        stub=job_stub(answers, request),
    )


def job_stub(answers: Answers, request: Request) -> Callable[[Object], Object]:
    """What a list shows of a job."""
    with_meta = request.flag("meta")
    summaries = {(s["Namespace"], s["JobID"]): s for s in answers.objects("job_summaries")}

    def stub(job: Object) -> Object:
        shown = {name: job.get(name) for name in JOB_STUB}
        shown["Periodic"] = job.get("Periodic") is not None
        shown["ParameterizedJob"] = job.get("ParameterizedJob") is not None and not job.get("Dispatched")
        shown["JobSummary"] = summaries.get((job["Namespace"], job["ID"]))
        if not with_meta:
            shown["Meta"] = None
        return shown

    return stub


def of_job(answers: Answers, request: Request, right: str = "read-job") -> Callable[[Object], bool]:
    """Does an object belong to the job of a request's path?"""
    check(request.identity.acl.allow_namespace(request.namespace, right))
    namespace, job_id = request.namespace, request.path["id"]
    return lambda item: (item.get("Namespace") or "default", item.get("JobID")) == (namespace, job_id)


@route("/job/{id:path}/allocations")
def job_allocations(answers: Answers, request: Request) -> Answer:
    own, created = of_job(answers, request), _created(answers, request)
    found = answers.allocations(
        lambda alloc: own(alloc) and created in (None, (alloc.get("Job") or {}).get("CreateIndex"))
    )
    return listed(request, found, answers.index("allocs"), stub=alloc_stub(request))


def _created(answers: Answers, request: Request) -> int | None:
    """The index that the job there is now was made at, unless objects of its forerunners are wanted too."""
    if request.query.get("all") in ("true", "1", "t", "T", "TRUE", "True"):
        return None
    job = answers.lookup("jobs", request.namespace, request.path["id"])
    return None if job is None else int(job["CreateIndex"])


@route("/job/{id:path}/evaluations")
def job_evaluations(answers: Answers, request: Request) -> Answer:
    found = filter(of_job(answers, request), answers.objects("evals"))
    return listed(request, found, answers.index("evals"), ("Status", "ID"))


@route("/job/{id:path}/deployments")
def job_deployments(answers: Answers, request: Request) -> Answer:
    return listed(request, _deployments_of(answers, request), answers.index("deployment"))


@route("/job/{id:path}/deployment")
def job_deployment(answers: Answers, request: Request) -> Answer:
    found = _deployments_of(answers, request)
    return Answer(max(found, key=lambda d: int(d["CreateIndex"]), default=None), answers.index("deployment"))


def _deployments_of(answers: Answers, request: Request) -> list[Object]:
    own, created = of_job(answers, request), _created(answers, request)
    return [d for d in answers.objects("deployments") if own(d) and created in (None, d["JobCreateIndex"])]


@route("/job/{id:path}/services")
def job_services(answers: Answers, request: Request) -> Answer:
    found = list(filter(of_job(answers, request), answers.objects("services")))
    if not found and answers.lookup("jobs", request.namespace, request.path["id"]) is None:
        raise ApiError(404, "job not found", 0)
    return listed(request, found, answers.index("service_registrations"))


@route("/job/{id:path}/actions")
def job_actions(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    found = answers.lookup("jobs", request.namespace, request.path["id"])
    if found is None:
        raise ApiError(500, f'Unknown job "{request.path["id"]}"')
    actions = [
        {"Name": action["Name"], "TaskName": task["Name"], "TaskGroupName": group["Name"]}
        for group in found["TaskGroups"] or ()
        for task in group["Tasks"] or ()
        for action in task.get("Actions") or ()
    ]
    return Answer(actions, 0)


@route("/job/{id:path}/versions")
def job_versions(answers: Answers, request: Request) -> Answer:
    with_diffs, against, tag = request.flag("diffs"), request.number("diff_version"), request.query.get("diff_tag")
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    key = (request.namespace, request.path["id"])
    found = [v for v in answers.objects("job_versions") if (v["Namespace"], v["ID"]) == key]
    if not found:
        raise ApiError(404, "job versions not found", answers.index("job_version"))
    found.sort(key=lambda v: int(v["Version"]), reverse=True)
    diffs = None
    if with_diffs and tag:
        old = next((v for v in found if (v.get("VersionTag") or {}).get("Name") == tag), None)
        diffs = [diff_jobs(_compared(old, f'tag "{tag}"'), new) for new in found]
    elif with_diffs and against is not None:
        old = next((v for v in found if int(v["Version"]) == against), None)
        diffs = [diff_jobs(_compared(old, f"version {against}"), new) for new in found]
    elif with_diffs:
        diffs = [diff_jobs(old, new) for new, old in pairwise(found)] or None
    index = max(int(v["ModifyIndex"]) for v in found)
    return Answer({"Versions": found, "Diffs": diffs, **envelope(index)}, index)


def _compared(version: Object | None, name: str) -> Object:
    if version is None:
        raise ApiError(500, f"{name} not found")
    return version


@route("/job/{id:path}/submission")
def job_submission(answers: Answers, request: Request) -> Answer:
    version = request.query.get("version", "")
    if not version.isdecimal():
        raise ApiError(400, "Unable to parse job submission version parameter")
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    missing = "job source not found"
    key = (request.namespace, request.path["id"], int(version))
    found = answers.find("job_submissions", *key, missing=missing, row="")
    found["VariableFlags"] = {
        name: unquote(value) for name, value in (found.get("VariableFlags") or {}).items()
    } or None
    return Answer(found, found["JobModifyIndex"])


@route("/job/{id:path}/summary")
def job_summary(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    key = (request.namespace, request.path["id"])
    found = answers.find("job_summaries", *key, missing="job not found", row="job_summary")
    return Answer(found, found["ModifyIndex"])


@route("/job/{id:path}/scale")
def job_scale(answers: Answers, request: Request) -> Answer:
    acl = request.identity.acl
    rights = ("read-job", "read-job-scaling")
    check(any(acl.allow_namespace(request.namespace, right) for right in rights))
    key = (request.namespace, request.path["id"])
    job = answers.lookup("jobs", *key)
    if job is None:
        raise ApiError(404, "job not found", int(answers.snapshot.indexes["Value"].max()))
    events = answers.lookup("scaling_events", *key) or {}
    index = max(int(job["ModifyIndex"]), int(events.get("ModifyIndex") or 0))
    groups = {
        group["Name"]: {
            "Desired": group["Count"],
            **dict.fromkeys(("Placed", "Running", "Healthy", "Unhealthy"), 0),
            "Events": (events.get("ScalingEvents") or {}).get(group["Name"]),
        }
        for group in job["TaskGroups"] or ()
    }
    for alloc in answers.allocations(lambda a: (a["Namespace"], a["JobID"]) == key):
        group, status = groups.get(alloc["TaskGroup"]), alloc.get("DeploymentStatus") or {}
        if group is None or terminal(alloc) or status.get("Canary"):  # Nomad does not count canaries
            continue
        group["Placed"] += 1
        group["Running"] += alloc["ClientStatus"] == "running"
        group["Healthy"] += status.get("Healthy") is True
        group["Unhealthy"] += status.get("Healthy") is False
        index = max(index, int(alloc["ModifyIndex"]))
    body = {
        "JobID": key[1],
        "Namespace": key[0],
        "JobCreateIndex": job["CreateIndex"],
        "JobModifyIndex": job["ModifyIndex"],
        "JobStopped": job["Stop"],
        "TaskGroups": groups,
    }
    return Answer(body, index)


@route("/job/{id:job}")
def job(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    found = answers.find("jobs", request.namespace, request.path["id"], missing="job not found", row="jobs")
    if found.get("Payload"):  # which the state has compressed
        payload = base64.b64decode(found["Payload"])
        plain = inflated(payload)
        found["Payload"] = base64.b64encode(payload if plain is None else plain).decode()
    return Answer(found, found["ModifyIndex"])


# -- allocations, evaluations, deployments


@route("/allocations")
def allocations(answers: Answers, request: Request) -> Answer:
    may_read = answers.readable(request, "read-job")
    return page(
        request,
        answers.allocations(lambda alloc: may_read(alloc["Namespace"]), whole=bool(request.query.get("filter"))),
        answers.index("allocs"),
        ("CreateIndex", "ID"),
        table="allocs",
        stub=alloc_stub(request),
        uuid_words="alloc lookup failed: ",
    )


@route("/allocation/{id}")
def allocation(answers: Answers, request: Request) -> Answer:
    refuse_no_uuid(request.path["id"], "alloc lookup failed: ")
    found = answers.find("allocs", request.path["id"], missing="alloc not found", row="allocs")
    if not request.identity.acl.allow_namespace(found["Namespace"], "read-job"):
        raise ApiError(500, f'Unknown allocation "{found["ID"]}"')
    return Answer(found, found["ModifyIndex"])


@route("/allocation/{id}/services")
def allocation_services(answers: Answers, request: Request) -> Answer:
    refuse_no_uuid(request.path["id"], "alloc lookup failed: ")
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    found = answers.lookup("allocs", request.path["id"])
    if found is None or found["Namespace"] != request.namespace:
        raise ApiError(404, "allocation not found", 0)
    services_ = (s for s in answers.objects("services") if s["AllocID"] == found["ID"])
    return listed(request, services_, answers.index("service_registrations"))


@route("/evaluations")
def evaluations(answers: Answers, request: Request) -> Answer:
    evals = answers.in_namespaces(request, "read-job", "evals")
    for parameter, name in (("job", "JobID"), ("status", "Status")):
        if request.query.get(parameter):
            if request.query.get("filter"):
                raise ApiError(400, "Filter expression cannot be used with other filter parameters")
            evals = [e for e in evals if e.get(name) == request.query[parameter]]
    key = ("CreateIndex", "ID")
    return page(request, evals, answers.index("evals"), key, table="evals", uuid_words=EVAL_WORDS)


@route("/evaluations/count")
def evaluations_count(answers: Answers, request: Request) -> Answer:
    index = answers.index("evals")
    return Answer({"Count": len(evaluations(answers, request).body)} | envelope(index), index)


@route("/evaluation/{id}/allocations")
def evaluation_allocations(answers: Answers, request: Request) -> Answer:
    return _allocations_by(answers, request, "EvalID")


def _allocations_by(answers: Answers, request: Request, field: str) -> Answer:
    """Whatever namespace they are in."""
    refuse_no_uuid(request.path["id"], "")
    acl = request.identity.acl
    check(acl.allow_namespace(request.namespace, "read-job"))
    found = answers.allocations(lambda alloc: alloc.get(field) == request.path["id"])
    check(all(acl.allow_namespace(alloc["Namespace"], "read-job") for alloc in found))
    return listed(request, found, answers.index("allocs"), stub=alloc_stub(request))


@route("/evaluation/{id}")
def evaluation(answers: Answers, request: Request) -> Answer:
    refuse_no_uuid(request.path["id"], f"failed to lookup eval: {EVAL_WORDS}")
    found = answers.find("evals", request.path["id"], missing="eval not found", row="evals")
    check(request.identity.acl.allow_namespace(found["Namespace"], "read-job"))
    if request.flag("related"):
        related = _related(answers, found)
        if related:
            found["RelatedEvals"] = related
    return Answer(found, found["ModifyIndex"])


def _related(answers: Answers, start: Object) -> list[Object]:
    """Stubs of the evaluations linked to one, near or far, by NextEval, PreviousEval and BlockedEval."""
    names = (
        "ID", "Priority", "Type", "TriggeredBy", "Namespace", "JobID", "NodeID", "DeploymentID", "Status",
        "StatusDescription", "WaitUntil", "NextEval", "PreviousEval", "BlockedEval", "CreateIndex", "ModifyIndex",
        "CreateTime", "ModifyTime",
    )  # fmt: skip
    every = {e["ID"]: e for e in answers.objects("evals", names)}
    todo, seen = [start["ID"]], {start["ID"]}
    while todo:
        found = every.get(todo.pop(), {})
        for link in ("NextEval", "PreviousEval", "BlockedEval"):
            if found.get(link) in every and found[link] not in seen:
                seen.add(found[link])
                todo.append(found[link])
    numbers = {"Priority", "CreateIndex", "ModifyIndex", "CreateTime", "ModifyTime"}
    blank: Object = {name: 0 if name in numbers else None if name == "WaitUntil" else "" for name in names}
    return [blank | every[eval_id] for eval_id in seen - {start["ID"]}]


@route("/deployments")
def deployments(answers: Answers, request: Request) -> Answer:
    found = answers.in_namespaces(request, "read-job", "deployments")
    key = ("CreateIndex", "ID")
    return page(request, found, answers.index("deployment"), key, table="deployments", uuid_words="")


@route("/deployment/allocations/{id}")
def deployment_allocations(answers: Answers, request: Request) -> Answer:
    return _allocations_by(answers, request, "DeploymentID")


@route("/deployment/{id}")
def deployment(answers: Answers, request: Request) -> Answer:
    refuse_no_uuid(request.path["id"], "deployment lookup failed: ")
    missing = "deployment not found"
    found = answers.find("deployments", request.path["id"], missing=missing, row="deployment")
    if not request.identity.acl.allow_namespace(found["Namespace"], "read-job"):
        raise ApiError(404, missing, answers.index("deployment"))
    return Answer(found, found["ModifyIndex"])


# -- services and scaling


@route("/services")
def services(answers: Answers, request: Request) -> Answer:
    tags: dict[str, dict[str, set[str]]] = {}
    for service_ in answers.in_namespaces(request, "read-job", "services", ("Namespace", "ServiceName", "Tags")):
        names = tags.setdefault(service_["Namespace"], {})
        names.setdefault(service_["ServiceName"], set()).update(service_["Tags"] or ())
    body = [
        {"Namespace": ns, "Services": [{"ServiceName": name, "Tags": sorted(t)} for name, t in sorted(names.items())]}
        for ns, names in sorted(tags.items())
    ]
    return Answer(body, answers.index("service_registrations"))


@route("/service/{name}")
def service(answers: Answers, request: Request) -> Answer:
    found = answers.in_namespaces(request, "read-job", "services")
    found = [s for s in found if s["ServiceName"] == request.path["name"]]
    key = ("Namespace", "ID")
    index = answers.index("service_registrations")
    answer = page(request, found, index, key, table="services", reversible=False, by_prefix=False)
    wanted = request.query.get("choose")
    return replace(answer, body=_chosen(wanted, answer.body)) if wanted else answer


def _chosen(wanted: str, services_: list[Object]) -> list[Object]:
    """So many services for a key, always the same: rendezvous hashing."""
    number, bar, key = wanted.partition("|")
    if not (bar and number.isdecimal() and "|" not in key):
        raise ApiError(400, "failed to choose services: Parameter for choose must be in form '<number>|<key>'")

    def weight(of: Object) -> bytes:
        texts = (of["AllocID"], of["ID"], of["Namespace"], of["Address"], of["ServiceName"], *(of["Tags"] or ()), key)
        return hashlib.sha256(int(of["Port"]).to_bytes(8, "big") + "".join(texts).encode()).digest()

    return sorted(services_, key=weight)[: int(number)]


@route("/scaling/policies")
def scaling_policies(answers: Answers, request: Request) -> Answer:
    names = ("ID", "Enabled", "Type", "Target", "CreateIndex", "ModifyIndex")
    may_list = answers.readable(request, "list-scaling-policies")
    found = [
        pick(policy, names)
        for policy in answers.objects("scaling_policies", names)
        if may_list(policy["Target"].get("Namespace", "default"))
    ]
    if request.query.get("job"):
        found = [policy for policy in found if policy["Target"].get("Job") == request.query["job"]]
    if request.query.get("type"):
        found = [policy for policy in found if policy["Type"].startswith(request.query["type"])]
    return listed(request, found, answers.index("scaling_policy"))


@route("/scaling/policy/{id}")
def scaling_policy(answers: Answers, request: Request) -> Answer:
    found = answers.find("scaling_policies", request.path["id"], missing="policy not found", row="scaling_policy")
    check(request.identity.acl.allow_namespace(found["Target"].get("Namespace", "default"), "read-scaling-policy"))
    return Answer(found, found["ModifyIndex"])
