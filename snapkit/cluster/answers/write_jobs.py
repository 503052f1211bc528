"""Jobs registered, planned and stopped, with the records that a server writes along: none is scheduled.

Source: Nomad's command/agent/job_endpoint.go and nomad/job_endpoint.go for requests and rights, nomad/fsm.go and
nomad/state/state_store.go (upsertJobImpl, DeleteJobTxn) for what becomes of the state.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from snapkit.cluster.answers import jobspec
from snapkit.cluster.answers.core import Answer, Answers, ApiError, Object, Request, check, route
from snapkit.cluster.jobdiff import diff_jobs
from snapkit.errors import RecordError

TRACKED_VERSIONS = 6  # Nomad's job_tracked_versions
_UNPLANNED = "1 warning:\n\n* a served snapshot schedules nothing: what would be placed is not known"
NOTHING_SAID: Object = {"LastContact": 0, "KnownLeader": False, "NextToken": ""}


# -- what is asked for


@route("/job/{id:path}/plan", "PUT", "POST")
def plan(answers: Answers, request: Request) -> Answer:
    """What registering a job would change. What the scheduler would do of it is not said: there is none."""
    if not (request.body.get("Job") or {"ID": "x"}).get("ID"):
        raise ApiError(400, "Job must have a valid ID")
    job, namespace = _job_sent(answers, request, request.path["id"], "Job ID does not match")
    acl = request.identity.acl
    check(acl.allow_namespace(namespace, "submit-job") or acl.allow_namespace(namespace, "plan-job"))
    old = answers.lookup("jobs", namespace, job["ID"])
    _refuse_impossible(answers, old, job)
    jobspec.keep_policy_ids(job, jobspec.scaling_policies(old or {}))
    diff = None
    if request.body.get("Diff"):
        # The diff passes over what only a server knows; the rest stays as it is.
        diff = diff_jobs(old or {}, job if old is None else {**old, **_spec(job)})
        if old is None:
            diff["Type"] = "Added"
    index = int(old["JobModifyIndex"]) if old else 0
    annotations: Object = {
        "DesiredTGUpdates": {},
        "PreemptedAllocs": None,
    }  # none would be the end of the nomad command
    body = {
        "Annotations": annotations, "FailedTGAllocs": None, "JobModifyIndex": index, "CreatedEvals": None,
        "Diff": diff, "NextPeriodicLaunch": None, "Warnings": _UNPLANNED, "Index": index,
    }  # fmt: skip
    return Answer(body, index, write=True)


@route("/validate/job", "PUT", "POST")
def validate(answers: Answers, request: Request) -> Answer:
    """What is plainly wrong with a job; the configuration of its drivers is not looked at."""
    job, namespace = _job_sent(answers, request, None)
    check(request.identity.acl.allow_namespace(namespace, "read-job"))
    wrong = _problems(answers, job)
    body = {"DriverConfigValidated": True, "ValidationErrors": wrong or None, "Error": "", "Warnings": ""}
    return Answer(body | {"Error": jobspec.errors(wrong)} if wrong else body)


@route("/jobs", "PUT", "POST")
def register_any(answers: Answers, request: Request) -> Answer:
    return _register(answers, request, None)


@route("/job/{id:job}", "PUT", "POST")
def register(answers: Answers, request: Request) -> Answer:
    return _register(answers, request, request.path["id"])


def _register(answers: Answers, request: Request, job_id: str | None) -> Answer:
    job, namespace = _job_sent(answers, request, job_id)
    acl = request.identity.acl
    check(acl.allow_namespace(namespace, "submit-job") or acl.allow_namespace(namespace, "register-job"))
    return registered(answers, request, job)


def registered(answers: Answers, request: Request, job: Object) -> Answer:
    """Register a canonical job."""
    namespace = job["Namespace"]
    _check_volumes(request, job)
    old = answers.lookup("jobs", namespace, job["ID"])
    if request.body.get("EnforceIndex"):
        _enforce_index(old, int(request.body.get("JobModifyIndex") or 0))
    _refuse_impossible(answers, old, job)
    jobspec.keep_policy_ids(job, jobspec.scaling_policies(old or {}))
    job["NomadTokenID"] = request.identity.accessor_id or ""
    index = answers.next_index
    eval_ = None if runs_by_itself(job) else new_evaluation(answers, job, "job-register", request.body)
    changed = old is None or not jobspec.same_spec(old, job)
    if changed:
        submission = request.body.get("Submission")
        put_job(answers, old, job, submission if isinstance(submission, dict) else None, evaluated=bool(eval_))
    if eval_:
        put_evaluation(answers, eval_ | ({"JobModifyIndex": index} if changed else {}))
    at = index if changed or eval_ else int((old or {})["ModifyIndex"])
    body = {
        "EvalID": eval_["ID"] if eval_ else "",
        "EvalCreateIndex": index if eval_ else 0,
        "JobModifyIndex": index if changed else (old or {})["ModifyIndex"],
        "Warnings": "",
        "Index": at,
    }
    return Answer(body | NOTHING_SAID, at, write=True)


@route("/job/{id:job}", "DELETE")
def deregister(answers: Answers, request: Request) -> Answer:
    namespace, job_id, purge = request.namespace, request.path["id"], request.flag("purge")
    rights = ("submit-job", "purge-job", *(() if purge else ("deregister-job",)))
    check(any(request.identity.acl.allow_namespace(namespace, right) for right in rights))
    old = answers.lookup("jobs", namespace, job_id)
    if old is None:
        nothing = {"EvalID": "", "EvalCreateIndex": 0, "JobModifyIndex": 0, "Index": 0}
        return Answer(nothing | {"VolumeEvalID": "", "VolumeEvalIndex": 0} | NOTHING_SAID, 0, write=True)
    # Whatever the job is, its end is evaluated as a service's.
    eval_ = None if runs_by_itself(old) else new_evaluation(answers, old, "job-deregister", {}) | {"Type": "service"}
    if purge:
        _delete_job(answers, old)
    else:
        stopped = old | {"Stop": True, "SubmitTime": answers.now}
        for policy in jobspec.scaling_policies(stopped):
            policy["Enabled"] = False
        put_job(answers, old, stopped, None, evaluated=bool(eval_))
    if eval_:
        put_evaluation(answers, eval_ | {"JobModifyIndex": answers.next_index})
    index = answers.next_index
    body = {"EvalID": eval_["ID"] if eval_ else "", "EvalCreateIndex": index, "JobModifyIndex": index, "Index": index}
    return answers.written(body | {"VolumeEvalID": "", "VolumeEvalIndex": 0} | NOTHING_SAID)


def _job_sent(
    answers: Answers, request: Request, job_id: str | None, other: str = "Job ID does not match name"
) -> tuple[Object, str]:
    sent = request.body.get("Job")
    if not isinstance(sent, dict):
        raise ApiError(400, "Job must be specified")
    if not isinstance(sent.get("ID"), str):
        raise ApiError(400, "Job ID hasn't been provided")
    if job_id is not None and sent["ID"] != job_id:
        raise ApiError(400, other)
    namespace = request.query.get("namespace") or request.body.get("Namespace") or sent.get("Namespace") or "default"
    try:
        return jobspec.canonical(sent, str(namespace), answers.server.region), str(namespace)
    except (RecordError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ApiError(400, f"the job is not as Nomad's JSON has it: {error}") from error


def _spec(job: Object) -> Object:
    """What of a job was sent, and is not made up by a server."""
    return {name: value for name, value in job.items() if name not in jobspec.SET_BY_SERVER}


def _check_volumes(request: Request, job: Object) -> None:
    acl = request.identity.acl
    for group in job.get("TaskGroups") or ():
        for volume in (group.get("Volumes") or {}).values():
            if volume.get("Type") == "csi":
                check(acl.allow_namespace(job["Namespace"], "csi-mount-volume"))
            else:
                modes = ("mount-readonly", "mount-readwrite") if volume.get("ReadOnly") else ("mount-readwrite",)
                check(any(acl.allow_host_volume(str(volume.get("Source")), mode) for mode in modes))


def _enforce_index(old: Object | None, wanted: int) -> None:
    have = int(old["JobModifyIndex"]) if old else 0
    if wanted == have:
        return
    why = "job does not exist" if old is None else "job already exists"
    if wanted and old is not None:
        why = f"job exists with conflicting job modify index: {have}"
    raise ApiError(500, f"Enforcing job modify index {wanted}: {why}")


def _refuse_impossible(answers: Answers, old: Object | None, job: Object) -> None:
    """What a server says no to, by its state and, if it is plain, by the job itself."""
    wrong = _problems(answers, job)
    if wrong:
        raise ApiError(500, jobspec.errors(wrong))
    if old is None:
        return
    if old["Type"] != job["Type"]:
        raise ApiError(500, f'cannot update job from type "{old["Type"]}" to "{job["Type"]}"')
    for field, kind in (("Periodic", "periodic"), ("ParameterizedJob", "parameterized")):
        was, is_ = bool(old.get(field)), bool(job.get(field))
        if was != is_:
            one, other = (kind, f"non-{kind}") if was else (f"non-{kind}", kind)
            raise ApiError(500, f"cannot update {one} job to being {other}")


def _problems(answers: Answers, job: Object) -> list[str]:
    name, namespace, pool = job["ID"], job["Namespace"], job["NodePool"]
    wrong = []
    if answers.lookup("namespaces", namespace) is None and namespace != "default":  # before 1.0 there are no records
        wrong.append(f'job "{name}" is in nonexistent namespace "{namespace}"')
    if answers.lookup("node_pools", pool) is None and pool not in ("default", "all"):
        wrong.append(f'job "{name}" is in nonexistent node pool "{pool}"')
    return [*wrong, *jobspec.problems(job)]


def runs_by_itself(job: Mapping[str, Any]) -> bool:
    """Is it periodic or parameterized, so that there is no evaluation of it?"""
    return bool(job.get("Periodic")) or (bool(job.get("ParameterizedJob")) and not job.get("Dispatched"))


# -- what becomes of the state


def put_job(answers: Answers, old: Object | None, job: Object, submission: Object | None, *, evaluated: bool) -> None:
    index, edits = answers.next_index, answers.edits
    namespace, job_id = str(job["Namespace"]), str(job["ID"])
    if submission is None and old is not None and int(job["Version"]) <= int(old["Version"]):
        submission = answers.lookup("job_submissions", namespace, job_id, int(job["Version"]))  # as when reverting
    job["SubmitTime"] = answers.now
    job |= {"CreateIndex": old["CreateIndex"] if old else index, "ModifyIndex": index, "JobModifyIndex": index}
    if old is not None:
        job["Version"] = max(int(job["Version"]), int(old["Version"]) + 1)
    job["Status"] = job_status(answers, job, evaluated=evaluated)
    _put_summary(answers, job)
    _put_scaling(answers, job)
    edits.put("jobs", job)
    edits.put("job_versions", job)
    for version in _surplus(answers, job):
        edits.delete("job_versions", namespace, job_id, version)
    if submission is not None and answers.lookup("job_submissions", namespace, job_id, int(job["Version"])) is None:
        about = {"Namespace": namespace, "JobID": job_id, "Version": job["Version"], "JobModifyIndex": index}
        edits.put("job_submissions", submission | about)
        kept = [s for s in answers.objects("job_submissions") if (s["Namespace"], s["JobID"]) == (namespace, job_id)]
        kept.sort(key=lambda s: int(s["JobModifyIndex"]), reverse=True)
        for one in kept[TRACKED_VERSIONS - 1 :]:
            edits.delete("job_submissions", namespace, job_id, one["Version"])
    _put_launch(answers, job)
    edits.stamp(index, "jobs", "job_version", "csi_plugins")


def _surplus(answers: Answers, job: Object) -> list[int]:
    """The version that goes, for a new one to come."""
    every = [
        v
        for v in answers.objects("job_versions", ("Namespace", "ID", "Version", "Stable", "VersionTag"))
        if (v["Namespace"], v["ID"]) == (job["Namespace"], job["ID"]) and not v.get("VersionTag")
    ]
    every = [v for v in every if v["Version"] != job["Version"]] + [job]
    every.sort(key=lambda v: int(v["Version"]), reverse=True)
    if len(every) <= TRACKED_VERSIONS:
        return []
    stable = next((i for i, v in enumerate(every) if v["Stable"]), None)
    goes = TRACKED_VERSIONS - 1 if stable == TRACKED_VERSIONS else TRACKED_VERSIONS  # the last stable one stays
    return [int(every[goes]["Version"])]


def job_status(answers: Answers, job: Object, *, evaluated: bool) -> str:
    if job["Type"] == "system" or runs_by_itself(job):
        return "dead" if job["Stop"] else "running"
    key = (job["Namespace"], job["ID"])

    def own(table: str, *names: str) -> Iterator[Object]:
        found = answers.objects(table, ("Namespace", "JobID", *names))
        return (one for one in found if (one.get("Namespace"), one.get("JobID")) == key)

    if any(d["Status"] not in ("failed", "successful", "cancelled") for d in own("deployments", "Status")):
        return "running"
    ended, stopped = ("complete", "failed", "lost"), ("stop", "evict")
    allocs = own("allocs", "DesiredStatus", "ClientStatus")
    if any(a.get("DesiredStatus") not in stopped and a.get("ClientStatus") not in ended for a in allocs):
        return "running"
    evals = [e.get("Status") for e in own("evals", "Status")]
    if evaluated or any(status not in ("complete", "failed", "canceled") for status in evals):
        return "pending"
    return "dead" if evals or job["Stop"] else "pending"


def _put_summary(answers: Answers, job: Object) -> None:
    index = answers.next_index
    summary = answers.lookup("job_summaries", job["Namespace"], job["ID"])
    new = summary is None
    if summary is None:
        summary = {"JobID": job["ID"], "Namespace": job["Namespace"], "CreateIndex": index}
        summary |= {"Summary": {}, "Children": {"Pending": 0, "Running": 0, "Dead": 0}}
    missing = [g["Name"] for g in job["TaskGroups"] or () if g["Name"] not in (summary.get("Summary") or {})]
    if not (new or missing):
        return
    summary["Summary"] = {**(summary.get("Summary") or {}), **{name: {} for name in missing}}
    answers.edits.put("job_summaries", summary | {"ModifyIndex": index})
    answers.edits.stamp(index, "job_summary")


def _put_scaling(answers: Answers, job: Object) -> None:
    index, changed = answers.next_index, False
    have = {jobspec.policy_key(policy): policy for policy in _scaling_policies_of(answers, job)}
    for policy in jobspec.scaling_policies(job):
        old = have.pop(jobspec.policy_key(policy), None)
        unmarked = dict.fromkeys(("ID", "CreateIndex", "ModifyIndex"))
        if old is not None and {**old, **unmarked} == {**policy, **unmarked}:
            continue
        policy |= {"CreateIndex": old["CreateIndex"] if old else index, "ModifyIndex": index}
        answers.edits.put("scaling_policies", policy)
        changed = True
    for policy in have.values():
        answers.edits.delete("scaling_policies", policy["ID"])
        changed = True
    if changed:
        answers.edits.stamp(index, "scaling_policy")


def _scaling_policies_of(answers: Answers, job: Object) -> Iterator[Object]:
    for policy in answers.objects("scaling_policies"):
        target = policy.get("Target") or {}
        if (target.get("Namespace"), target.get("Job")) == (job["Namespace"], job["ID"]):
            yield policy


def _put_launch(answers: Answers, job: Object) -> None:
    """Of a periodic job, the time it came to be counts as its first launch."""
    periodic = job.get("Periodic")
    if not periodic or not periodic.get("Enabled") or job["Stop"] or job.get("ParameterizedJob"):
        return
    if answers.lookup("periodic_launches", job["Namespace"], job["ID"]) is None:
        index = answers.next_index
        launch = {"ID": job["ID"], "Namespace": job["Namespace"], "CreateIndex": index, "ModifyIndex": index}
        answers.edits.put("periodic_launches", launch | {"Launch": rfc3339(answers.now)})
        answers.edits.stamp(index, "periodic_launch")


def rfc3339(nanoseconds: int) -> str:
    """A moment, as Nomad's JSON has times."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def new_evaluation(answers: Answers, job: Mapping[str, Any], why: str, body: Mapping[str, Any]) -> Object:
    return {
        "ID": str(uuid.uuid4()),
        "Namespace": job["Namespace"],
        "Priority": body.get("EvalPriority") or job["Priority"],
        "Type": job["Type"],
        "TriggeredBy": why,
        "JobID": job["ID"],
        "Status": "pending",
        "CreateTime": answers.now,
        "ModifyTime": answers.now,
    }


def put_evaluation(answers: Answers, eval_: Object) -> None:
    index = answers.next_index
    answers.edits.put("evals", eval_ | {"CreateIndex": index, "ModifyIndex": index})
    answers.edits.stamp(index, "evals")


def _delete_job(answers: Answers, job: Object) -> None:
    """Purge it: with it goes what belongs to it, its evaluations stay."""
    index, edits, namespace, job_id = answers.next_index, answers.edits, str(job["Namespace"]), str(job["ID"])
    key = (namespace, job_id)
    edits.delete("jobs", *key)
    for table, id_ in (("job_versions", "ID"), ("job_submissions", "JobID")):
        for one in list(answers.objects(table, ("Namespace", id_, "Version"))):
            if (one["Namespace"], one[id_]) == key:
                edits.delete(table, *key, one["Version"])
    for table, row in (("deployments", "deployment"), ("allocs", "allocs")):
        for one in list(answers.objects(table, ("Namespace", "JobID", "ID"))):
            if (one["Namespace"], one["JobID"]) == key:
                edits.delete(table, one["ID"])
                edits.stamp(index, row)
    for one in list(answers.objects("evals")):
        if (one["Namespace"], one.get("JobID")) == key and one["Status"] == "pending":
            edits.put("evals", one | {"Status": "complete", "StatusDescription": f"job {job_id} deleted"})
    for policy in list(_scaling_policies_of(answers, job)):
        edits.delete("scaling_policies", policy["ID"])
        edits.stamp(index, "scaling_policy")
    if answers.lookup("periodic_launches", *key) is not None:
        edits.delete("periodic_launches", *key)
        edits.stamp(index, "periodic_launch")
    edits.delete("job_summaries", *key)
    edits.delete("scaling_events", *key)
    edits.stamp(index, "jobs", "job_version", "job_summary", "scaling_event", "allocs")
