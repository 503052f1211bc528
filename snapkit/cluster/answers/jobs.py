"""Jobs, and what becomes of them: allocations, evaluations, deployments, services and scaling policies."""

from __future__ import annotations

from itertools import pairwise
from urllib.parse import unquote

from snapkit.cluster.answers.core import (
    Answer,
    Answers,
    ApiError,
    Object,
    Request,
    check,
    envelope,
    page,
    pick,
    route,
    terminal,
)
from snapkit.cluster.jobdiff import diff_jobs

JOB_STUB = (
    "ID", "ParentID", "Name", "Namespace", "Datacenters", "NodePool", "Multiregion", "Type", "Priority", "Periodic",
    "ParameterizedJob", "Stop", "Status", "StatusDescription", "CreateIndex", "ModifyIndex", "JobModifyIndex",
    "SubmitTime", "Meta",
)  # fmt: skip


# -- jobs


@route("/jobs")
def jobs(answers: Answers, request: Request) -> Answer:
    summaries = {(s["Namespace"], s["JobID"]): s for s in answers.objects("job_summaries")}
    stubs = []
    for job in answers.in_namespaces(request, "list-jobs", "jobs", (*JOB_STUB, "Dispatched")):
        stub = {name: job.get(name) for name in JOB_STUB}
        stub["Periodic"] = job.get("Periodic") is not None
        stub["ParameterizedJob"] = job.get("ParameterizedJob") is not None and not job.get("Dispatched")
        stub["JobSummary"] = summaries.get((job["Namespace"], job["ID"]))
        if not request.flag("meta"):
            stub["Meta"] = None
        stubs.append(stub)
    return page(request, stubs, answers.index("jobs", "job_summary"), ("Namespace", "ID"))


@route("/job/{id:path}/allocations")
def job_allocations(answers: Answers, request: Request) -> Answer:
    job_id, created = request.path["id"], _created(answers, request)
    stubs = answers.allocations(
        request,
        lambda alloc: alloc["JobID"] == job_id and created in (None, (alloc.get("Job") or {}).get("CreateIndex")),
    )
    return page(request, stubs, answers.index("allocs"))


def _created(answers: Answers, request: Request) -> int | None:
    """The index that the job there is now was made at, unless objects of its forerunners are wanted too."""
    if request.flag("all"):
        return None
    try:
        job = answers.find("jobs", request.namespace, request.path["id"], missing="")
    except ApiError:
        return None
    return int(job["CreateIndex"])


@route("/job/{id:path}/evaluations")
def job_evaluations(answers: Answers, request: Request) -> Answer:
    evals = [e for e in answers.in_namespaces(request, "read-job", "evals") if e.get("JobID") == request.path["id"]]
    return page(request, evals, answers.index("evals"))


@route("/job/{id:path}/deployments")
def job_deployments(answers: Answers, request: Request) -> Answer:
    return page(request, _deployments_of(answers, request), answers.index("deployment"))


@route("/job/{id:path}/deployment")
def job_deployment(answers: Answers, request: Request) -> Answer:
    found = _deployments_of(answers, request)
    newest = max(found, key=lambda d: int(d["CreateIndex"]), default=None)
    return Answer(newest, answers.index("deployment") if newest is None else newest["ModifyIndex"])


def _deployments_of(answers: Answers, request: Request) -> list[Object]:
    created = _created(answers, request)
    return [
        d
        for d in answers.in_namespaces(request, "read-job", "deployments")
        if d["JobID"] == request.path["id"] and created in (None, d["JobCreateIndex"])
    ]


@route("/job/{id:path}/versions")
def job_versions(answers: Answers, request: Request) -> Answer:
    job_id = request.path["id"]
    found = [v for v in answers.in_namespaces(request, "read-job", "job_versions") if v["ID"] == job_id]
    if not found:
        raise ApiError(404, "job versions not found")
    found.sort(key=lambda v: int(v["Version"]), reverse=True)
    diffs = None
    if request.flag("diffs"):
        diffs = [diff_jobs(old, new) for new, old in pairwise(found)]
    index = max(int(v["ModifyIndex"]) for v in found)
    return Answer({"Versions": found, "Diffs": diffs, **envelope(index)}, index)


@route("/job/{id:path}/submission")
def job_submission(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    version = request.query.get("version", "")
    if not version.isdecimal():
        raise ApiError(400, f'Failed to parse value of "version" ({version!r}) as a uint64')
    missing = "job source not found"
    found = answers.find("job_submissions", request.namespace, request.path["id"], int(version), missing=missing)
    found["VariableFlags"] = {
        name: unquote(value) for name, value in (found.get("VariableFlags") or {}).items()
    } or None
    return Answer(found, found["JobModifyIndex"])


@route("/job/{id:path}/summary")
def job_summary(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    found = answers.find("job_summaries", request.namespace, request.path["id"], missing="job not found")
    return Answer(found, found["ModifyIndex"])


@route("/job/{id:path}/scale")
def job_scale(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    job_id = request.path["id"]
    job = answers.find("jobs", request.namespace, job_id, missing="job not found")
    try:
        events = answers.find("scaling_events", request.namespace, job_id, missing="")["ScalingEvents"]
    except ApiError:
        events = {}
    groups = {
        group["Name"]: {
            "Desired": group["Count"],
            **dict.fromkeys(("Placed", "Running", "Healthy", "Unhealthy"), 0),
            "Events": (events or {}).get(group["Name"]),
        }
        for group in job["TaskGroups"] or ()
    }
    for alloc in answers.allocations(request, lambda a: a["JobID"] == job_id):
        group = groups.get(alloc["TaskGroup"])
        if group is None or terminal(alloc):
            continue
        group["Placed"] += 1
        group["Running"] += alloc["ClientStatus"] == "running"
        health = (alloc["DeploymentStatus"] or {}).get("Healthy")
        group["Healthy"] += health is True
        group["Unhealthy"] += health is False
    body = {
        "JobID": job_id,
        "Namespace": request.namespace,
        "JobCreateIndex": job["CreateIndex"],
        "JobModifyIndex": job["JobModifyIndex"],
        "JobStopped": job["Stop"],
        "TaskGroups": groups,
    }
    return Answer(body, job["ModifyIndex"])


@route("/job/{id:path}")
def job(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "read-job"))
    found = answers.find("jobs", request.namespace, request.path["id"], missing="job not found")
    return Answer(found, found["ModifyIndex"])


# -- allocations, evaluations, deployments


@route("/allocations")
def allocations(answers: Answers, request: Request) -> Answer:
    return page(request, answers.allocations(request), answers.index("allocs"), ("CreateIndex", "ID"))


@route("/allocation/{id}")
def allocation(answers: Answers, request: Request) -> Answer:
    found = answers.find("allocs", request.path["id"], missing="alloc not found")
    check(request.identity.acl.allow_namespace(found["Namespace"], "read-job"))
    return Answer(found, found["ModifyIndex"])


@route("/allocation/{id}/services")
def allocation_services(answers: Answers, request: Request) -> Answer:
    found = answers.find("allocs", request.path["id"], missing="alloc not found")
    check(request.identity.acl.allow_namespace(found["Namespace"], "read-job"))
    services_ = [s for s in answers.objects("services") if s["AllocID"] == found["ID"]]
    return page(request, services_, answers.index("service_registrations"))


@route("/evaluations")
def evaluations(answers: Answers, request: Request) -> Answer:
    evals = answers.in_namespaces(request, "read-job", "evals")
    for parameter, name in (("job", "JobID"), ("status", "Status")):
        if request.query.get(parameter):
            evals = [e for e in evals if e.get(name) == request.query[parameter]]
    return page(request, evals, answers.index("evals"), ("CreateIndex", "ID"))


@route("/evaluations/count")
def evaluations_count(answers: Answers, request: Request) -> Answer:
    return Answer({"Count": len(evaluations(answers, request).body)}, answers.index("evals"))


@route("/evaluation/{id}/allocations")
def evaluation_allocations(answers: Answers, request: Request) -> Answer:
    stubs = answers.allocations(request, lambda alloc: alloc.get("EvalID") == request.path["id"])
    return page(request, stubs, answers.index("allocs"))


@route("/evaluation/{id}")
def evaluation(answers: Answers, request: Request) -> Answer:
    found = answers.find("evals", request.path["id"], missing="eval not found")
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
    return page(request, found, answers.index("deployment"), ("CreateIndex", "ID"))


@route("/deployment/allocations/{id}")
def deployment_allocations(answers: Answers, request: Request) -> Answer:
    stubs = answers.allocations(request, lambda alloc: alloc.get("DeploymentID") == request.path["id"])
    return page(request, stubs, answers.index("allocs"))


@route("/deployment/{id}")
def deployment(answers: Answers, request: Request) -> Answer:
    found = answers.find("deployments", request.path["id"], missing="deployment not found")
    check(request.identity.acl.allow_namespace(found["Namespace"], "read-job"))
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
    return page(request, found, answers.index("service_registrations"))


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
    return page(request, found, answers.index("scaling_policy"))


@route("/scaling/policy/{id}")
def scaling_policy(answers: Answers, request: Request) -> Answer:
    found = answers.find("scaling_policies", request.path["id"], missing="policy not found")
    check(request.identity.acl.allow_namespace(found["Target"].get("Namespace", "default"), "read-scaling-policy"))
    return Answer(found, found["ModifyIndex"])
