"""What an operator does to what is there: deletes it, evaluates, reverts and tags it, sets the scheduler.

As with all writes here, the records are changed as a server changes them and nothing is scheduled.
Source: Nomad's nomad/*_endpoint.go for rights and refusals, nomad/state/state_store*.go for what becomes of the state.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from snapkit.cluster.answers.core import (
    Answer,
    Answers,
    ApiError,
    Object,
    Request,
    check,
    refuse_no_uuid,
    route,
)
from snapkit.cluster.answers.jobspec import errors
from snapkit.cluster.answers.write_jobs import (
    NOTHING_SAID,
    job_status,
    new_evaluation,
    put_evaluation,
    put_job,
    registered,
    runs_by_itself,
)
from snapkit.format.schema import BY_TABLE, Type
from snapkit.format.values import deflated
from snapkit.state.output.edit import from_json

# -- gone


def _delete(answers: Answers, table: str, row: str, key: tuple[str, ...], missing: ApiError) -> Answer:
    if answers.lookup(table, *key) is None:
        raise missing
    answers.edits.delete(table, *key)
    answers.edits.stamp(answers.next_index, row)
    return answers.written()


@route("/acl/policy/{name}", "DELETE")
def delete_policy(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    name = request.path["name"]
    if answers.lookup("acl_policies", name) is not None:  # to Nomad, one that is not there is gone as well
        answers.edits.delete("acl_policies", name)
    answers.edits.stamp(answers.next_index, "acl_policy")
    return answers.written()


@route("/acl/token/{id}", "DELETE")
def delete_token(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    accessor = request.path["id"]
    try:
        refuse_no_uuid(accessor, "acl token lookup failed: ")
    except ApiError as error:
        raise ApiError(400, f"token lookup failed: {error.text}") from error
    missing = ApiError(400, f"Cannot delete nonexistent tokens: {accessor}")
    return _delete(answers, "acl_tokens", "acl_token", (accessor,), missing)


@route("/acl/role/{id}", "DELETE")
def delete_role(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    missing = ApiError(500, "ACL role not found")
    return _delete(answers, "acl_roles", "acl_roles", (request.path["id"],), missing)


@route("/acl/auth-method/{name}", "DELETE")
def delete_auth_method(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    missing = ApiError(500, "ACL auth method not found")
    return _delete(answers, "acl_auth_methods", "acl_auth_methods", (request.path["name"],), missing)


@route("/acl/binding-rule/{id}", "DELETE")
def delete_binding_rule(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    missing = ApiError(500, "ACL binding rule not found")
    return _delete(answers, "acl_binding_rules", "acl_binding_rules", (request.path["id"],), missing)


@route("/namespace/{name}", "DELETE")
def delete_namespace(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    name = request.path["name"]
    if name == "default":
        raise ApiError(500, "can not delete default namespace")
    used = [
        *(["non-terminal jobs"] if _any(answers, "jobs", name, "Status", _DEAD) else []),
        *(["non-terminal allocations"] if _any(answers, "allocs", name, "ClientStatus", _ENDED) else []),
        *(["volumes associated with it"] if _any(answers, "csi_volumes", name) else []),
        *(["variables associated with it"] if _any(answers, "variables", name) else []),
    ]
    if used:
        region = answers.server.region
        raise ApiError(500, errors([f'namespace "{name}" has {use} in regions: [{region}]' for use in used]))
    return _delete(answers, "namespaces", "namespaces", (name,), ApiError(500, "namespace not found"))


_DEAD, _ENDED = ("dead",), ("complete", "failed", "lost")


def _any(answers: Answers, table: str, namespace: str, field: str = "Namespace", but: Collection[str] = ()) -> bool:
    found = answers.objects(table, ("Namespace", field))
    return any(item["Namespace"] == namespace and item[field] not in but for item in found)


@route("/node/pool/{name}", "DELETE")
def delete_node_pool(answers: Answers, request: Request) -> Answer:
    name = request.path["name"]
    check(request.identity.acl.allow_node_pool(name, "delete"))
    region = answers.server.region
    wrong = []
    if any(job["NodePool"] == name and job["Status"] != "dead" for job in answers.objects("jobs")):
        wrong.append(f'node pool "{name}" has non-terminal jobs in regions: [{region}]')
    if any(node["NodePool"] == name for node in answers.objects("nodes")):
        wrong.append(f'node pool "{name}" has nodes in regions: [{region}]')
    if wrong:
        raise ApiError(500, errors(wrong))
    if name in ("all", "default"):
        raise ApiError(500, f"deleting node pool {name} is not allowed")
    return _delete(answers, "node_pools", "node_pools", (name,), ApiError(500, f"node pool {name} not found"))


@route("/service/{name}/{id}", "DELETE")
def delete_service(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_namespace(request.namespace, "submit-job"))
    key = (request.namespace, request.path["id"])
    missing = ApiError(500, "service registration not found")
    return _delete(answers, "services", "service_registrations", key, missing)


# -- jobs


@route("/job/{id:path}/evaluate", "PUT", "POST", bodiless=True)
def evaluate(answers: Answers, request: Request) -> Answer:
    """Make an evaluation, which stays pending: there is no scheduler."""
    if request.body:
        _same_job(request, "JobID not same as job name")
    acl = request.identity.acl
    check(any(acl.allow_namespace(request.namespace, right) for right in ("submit-job", "evaluate-job")))
    job = _job(answers, request, "job not found")
    if runs_by_itself(job):
        kind = "periodic" if job.get("Periodic") else "parameterized"
        raise ApiError(500, f"can't evaluate {kind} job")
    eval_ = new_evaluation(answers, job, "job-register", {}) | {"JobModifyIndex": job["ModifyIndex"]}
    _put_evaluation_of(answers, job, eval_)
    index = answers.next_index
    body = {"EvalID": eval_["ID"], "EvalCreateIndex": index, "JobModifyIndex": job["ModifyIndex"], "Warnings": ""}
    return answers.written(body | {"Index": index} | NOTHING_SAID)


def _put_evaluation_of(answers: Answers, job: Object, eval_: Object) -> None:
    """Put an evaluation, which a dead job comes to life by."""
    put_evaluation(answers, eval_)
    status = job_status(answers, job, evaluated=True)
    if status != job["Status"]:
        job |= {"Status": status, "ModifyIndex": answers.next_index}
        answers.edits.put("jobs", job)
        answers.edits.put("job_versions", job)
        answers.edits.stamp(answers.next_index, "jobs", "job_version")


def _job(answers: Answers, request: Request, missing: str) -> Object:
    found = answers.lookup("jobs", request.namespace, request.path["id"])
    if found is None:
        raise ApiError(500, missing)
    return found


@route("/job/{id:path}/revert", "PUT", "POST")
def revert(answers: Answers, request: Request) -> Answer:
    """Register an old version anew."""
    job_id = request.path["id"]
    _same_job(request)
    acl, namespace = request.identity.acl, request.namespace
    check(any(acl.allow_namespace(namespace, right) for right in ("submit-job", "revert-job")))
    job = _job(answers, request, f'job "{job_id}" not found')
    version = int(request.body.get("JobVersion") or 0)
    if version == job["Version"]:
        raise ApiError(500, "can't revert to current version")
    enforced = request.body.get("EnforcePriorVersion")
    old = _version(answers, request, version)
    if enforced is not None and int(enforced) != job["Version"]:
        raise ApiError(500, f"Current job has version {job['Version']}; enforcing version {int(enforced)}")
    return registered(answers, request, old | {"VersionTag": None, "Stable": False})


def _same_job(request: Request, other: str = "Job ID does not match") -> None:
    job_id = str(request.body.get("JobID") or "")
    if not job_id:
        raise ApiError(400, "JobID must be specified")
    if job_id != request.path["id"]:
        raise ApiError(400, other)


def _version(answers: Answers, request: Request, version: int) -> Object:
    job_id, namespace = request.path["id"], request.namespace
    found = answers.lookup("job_versions", namespace, job_id, version)
    if found is None:
        raise ApiError(500, f'job "{job_id}" in namespace "{namespace}" at version {version} not found')
    return found


@route("/job/{id:path}/stable", "PUT", "POST")
def stable(answers: Answers, request: Request) -> Answer:
    _same_job(request)
    acl = request.identity.acl
    check(any(acl.allow_namespace(request.namespace, right) for right in ("submit-job", "stable-job")))
    found = _version(answers, request, int(request.body.get("JobVersion") or 0))
    _put_version(answers, found | {"Stable": bool(request.body.get("Stable")), "ModifyIndex": answers.next_index})
    answers.edits.stamp(answers.next_index, "jobs", "csi_plugins")
    return answers.written({"Index": answers.next_index})


@route("/job/{id}/versions/{name}/tag", "PUT", "POST", "DELETE", bodiless=True)
def tag(answers: Answers, request: Request) -> Answer:
    """Give a version a name, or take one away: a request without a body is the latter."""
    acl, name = request.identity.acl, request.path["name"]
    check(any(acl.allow_namespace(request.namespace, right) for right in ("submit-job", "tag-job-version")))
    job_id = request.path["id"]
    versions = [v for v in answers.objects("job_versions") if (v["Namespace"], v["ID"]) == (request.namespace, job_id)]
    tagged = next((v for v in versions if (v.get("VersionTag") or {}).get("Name") == name), None)
    if not request.body:
        if tagged is None:
            raise ApiError(500, f'tag "{name}" not found on job "{job_id}"')
        _put_version(answers, tagged | {"VersionTag": None, "ModifyIndex": answers.next_index})
        return answers.written(_TAGGED | {"Index": answers.next_index})
    version = request.body.get("Version")
    number = max((int(v["Version"]) for v in versions), default=0) if version is None else int(version)
    if tagged is not None and int(tagged["Version"]) != number:
        raise ApiError(500, f'tag "{name}" already exists on a different version of job "{job_id}"')
    found = next((v for v in versions if int(v["Version"]) == number), None)
    if found is None:
        raise ApiError(500, f'job "{job_id}" version {number} not found')
    description = str(request.body.get("Description") or "")
    new = {"Name": name, "Description": description, "TaggedTime": answers.now}
    _put_version(answers, found | {"VersionTag": new, "ModifyIndex": answers.next_index})
    return answers.written(_TAGGED | new | {"Index": answers.next_index})


_TAGGED: Object = {"Name": "", "Description": "", "TaggedTime": 0, **NOTHING_SAID}


def _put_version(answers: Answers, version: Object) -> None:
    """Of the newest version there is a copy, which is the job."""
    job = answers.lookup("jobs", version["Namespace"], version["ID"])
    if job is not None and job["Version"] == version["Version"]:
        answers.edits.put("jobs", version)
    answers.edits.put("job_versions", version)
    answers.edits.stamp(answers.next_index, "job_version")


MOST_PAYLOAD = 16 << 10  # bytes


@route("/job/{id:path}/dispatch", "PUT", "POST")
def dispatch(answers: Answers, request: Request) -> Answer:
    """Make a child of a parameterized job, which stays pending: there is no scheduler."""
    job_id, namespace = request.path["id"], request.namespace
    if request.body.get("JobID") not in (None, "", job_id):
        raise ApiError(400, "Job ID does not match")
    check(any(request.identity.acl.allow_namespace(namespace, right) for right in ("dispatch-job", "submit-job")))
    parent = _job(answers, request, "parameterized job not found")
    if not parent.get("ParameterizedJob") or parent.get("Dispatched"):
        raise ApiError(500, f'Specified job "{job_id}" is not a parameterized job')
    if parent["Stop"]:
        raise ApiError(500, f'Specified job "{job_id}" is stopped')
    payload = base64.b64decode(str(request.body.get("Payload") or ""))
    meta = {str(name): str(value) for name, value in (request.body.get("Meta") or {}).items()}
    priority = int(request.body.get("Priority") or parent["Priority"])
    _refuse_dispatch(parent["ParameterizedJob"], payload, meta, priority)
    token = str(request.body.get("IdempotencyToken") or request.query.get("idempotency_token") or "")
    same = token and next((j for j in answers.objects("jobs") if j.get("DispatchIdempotencyToken") == token), None)
    if same:
        body = {"DispatchedJobID": same["ID"], "JobCreateIndex": same["CreateIndex"], "Index": same["ModifyIndex"]}
        return Answer({"EvalID": "", "EvalCreateIndex": 0, **body}, int(same["ModifyIndex"]), write=True)
    prefix = str(request.body.get("IdPrefixTemplate") or "")
    launch = f"{answers.now // 10**9}-{uuid.uuid4().hex[:8]}"
    child_id = f"{job_id}/dispatch-{prefix}-{launch}" if prefix else f"{job_id}/dispatch-{launch}"
    child = parent | {
        "ID": child_id, "Name": child_id, "ParentID": job_id, "Dispatched": True, "Status": "", "StatusDescription": "",
        "DispatchIdempotencyToken": token, "Priority": priority, "Meta": {**(parent["Meta"] or {}), **meta} or None,
        "Payload": base64.b64encode(deflated(payload)).decode(),
    }  # fmt: skip
    eval_ = new_evaluation(answers, child, "job-register", {}) | {"JobModifyIndex": answers.next_index}
    put_job(answers, None, child, None, evaluated=True)
    put_evaluation(answers, eval_)
    index = answers.next_index
    summary = answers.lookup("job_summaries", namespace, job_id)
    if summary is not None:
        children = summary.get("Children") or {"Pending": 0, "Running": 0, "Dead": 0}
        children = children | {"Pending": children["Pending"] + 1}
        answers.edits.put("job_summaries", summary | {"Children": children, "ModifyIndex": index})
        answers.edits.stamp(index, "job_summary")
    body = {"DispatchedJobID": child_id, "EvalID": eval_["ID"], "EvalCreateIndex": index, "JobCreateIndex": index}
    return answers.written(body | {"Index": index})


def _refuse_dispatch(takes: Object, payload: bytes, meta: Mapping[str, str], priority: int) -> None:
    required, optional = set(takes.get("MetaRequired") or ()), set(takes.get("MetaOptional") or ())
    unknown, missing = sorted(meta.keys() - required - optional), sorted(required - meta.keys())
    for wrong, words in (
        (takes["Payload"] == "required" and not payload, "Payload is not provided but required by parameterized job"),
        (takes["Payload"] == "forbidden" and payload, "Payload provided but forbidden by parameterized job"),
        (len(payload) > MOST_PAYLOAD, f"Payload exceeds maximum size; {len(payload)} > {MOST_PAYLOAD}"),
        (unknown, f"Dispatch request included unpermitted metadata keys: [{' '.join(unknown)}]"),
        (missing, f"Dispatch did not provide required meta keys: [{' '.join(missing)}]"),
        (not 1 <= priority <= 100, "dispatch job priority must be between [1, 100]"),
    ):
        if wrong:
            raise ApiError(500, words)


@route("/job/{id:path}/scale", "PUT", "POST")
def scale(answers: Answers, request: Request) -> Answer:
    """Set a group's count, or note that it could not be: three writes, as a server makes them."""
    target, job_id, namespace = request.body.get("Target") or {}, request.path["id"], request.namespace
    if target.get("Job") not in (None, "", job_id):
        raise ApiError(400, "job ID in payload did not match URL")
    acl, name = request.identity.acl, str(target.get("Group") or "")
    check(any(acl.allow_namespace(namespace, right) for right in ("scale-job", "submit-job")))
    count = request.body.get("Count")
    for wrong, words in (
        (target.get("Namespace") not in (None, "", namespace), "namespace in payload did not match header"),
        (not name, "missing task group name for scaling action"),
        (count is not None and int(count) < 0, "scaling action count can't be negative"),
        (count is not None and request.body.get("Error"), "scaling action should not contain count if error is true"),
    ):
        if wrong:
            raise ApiError(400, words)
    job = answers.lookup("jobs", namespace, job_id)
    if job is None:
        raise ApiError(404, f'job "{job_id}" not found')
    group = next((group for group in job["TaskGroups"] if group["Name"] == name), None)
    if group is None:
        raise ApiError(400, f'task group "{name}" specified for scaling does not exist in job')
    event: Object = {
        "Time": answers.now, "PreviousCount": group["Count"], "Count": count, "Error": bool(request.body.get("Error")),
        "Message": str(request.body.get("Message") or ""), "Meta": request.body.get("Meta"),
    }  # fmt: skip
    body: Object = {"EvalID": "", "EvalCreateIndex": 0, "JobModifyIndex": job["ModifyIndex"], "Warnings": ""}
    if count is not None:
        _refuse_count(answers, job, group, int(count))
        group["Count"] = int(count)
        body["JobModifyIndex"] = answers.next_index
        put_job(answers, answers.lookup("jobs", namespace, job_id), job, None, evaluated=False)
        answers.next_index += 1
        if not runs_by_itself(job):
            eval_ = new_evaluation(answers, job, "job-scaling", {}) | {"JobModifyIndex": body["JobModifyIndex"]}
            _put_evaluation_of(answers, job, eval_)
            body |= {"EvalID": eval_["ID"], "EvalCreateIndex": answers.next_index}
            event["EvalID"] = eval_["ID"]
            answers.next_index += 1
    index = answers.next_index
    found = answers.lookup("scaling_events", namespace, job_id) or {"Namespace": namespace, "JobID": job_id}
    events = {**(found.get("ScalingEvents") or {})}
    events[name] = [event | {"CreateIndex": index}, *(events.get(name) or ())][:TRACKED_EVENTS]
    answers.edits.put("scaling_events", found | {"ScalingEvents": events, "ModifyIndex": index})
    _keep_nil(answers.edits.records["scaling_events"][namespace, job_id], events)
    answers.edits.stamp(index, "scaling_event")
    return answers.written(body | NOTHING_SAID | {"Index": index, "KnownLeader": True})


TRACKED_EVENTS = 20


def _keep_nil(record: Any, events: Mapping[str, Sequence[Object]]) -> None:
    """An event's count and evaluation may be none, which is not 0 and not empty."""
    for group, of_group in record[b"ScalingEvents"].items():
        for packed, event in zip(of_group, events[group.decode()], strict=True):
            packed |= {name.encode(): None for name in ("Count", "EvalID") if event.get(name) is None}


def _refuse_count(answers: Answers, job: Object, group: Object, count: int) -> None:
    if job["Type"] == "system" and count > 1:
        raise ApiError(400, 'jobs of type "system" can only be scaled between 0 and 1')
    policy = group.get("Scaling")
    if policy and count < policy["Min"]:
        raise ApiError(400, f"group count was less than scaling policy minimum: {count} < {policy['Min']}")
    if policy and count > policy["Max"]:
        raise ApiError(400, f"group count was greater than scaling policy maximum: {count} > {policy['Max']}")
    of_job = [
        d
        for d in answers.objects("deployments")
        if (d["Namespace"], d["JobID"], d["JobCreateIndex"]) == (job["Namespace"], job["ID"], job["CreateIndex"])
    ]
    newest = max(of_job, key=lambda d: int(d["CreateIndex"]), default=None)
    if newest is not None and newest["Status"] not in ("failed", "successful", "cancelled"):
        raise ApiError(400, "job scaling blocked due to active deployment")


# -- the server


@route("/operator/scheduler/configuration", "PUT", "POST")
def set_scheduler(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_operator("write"))
    sent = request.body
    algorithm = str(sent.get("SchedulerAlgorithm") or "")
    if algorithm not in ("", "binpack", "spread"):
        raise ApiError(400, f"invalid scheduler algorithm: {algorithm}")
    old = answers.lookup("scheduler_config")
    if old is None:
        raise ApiError(501, "this state has no scheduler configuration to change")
    index = answers.next_index
    if "cas" in request.query:
        if not request.query["cas"].isdecimal():
            words = f'strconv.ParseUint: parsing "{request.query["cas"]}": invalid syntax'
            raise ApiError(400, f"Error parsing cas value: {words}")
        if int(request.query["cas"]) != int(old.get("ModifyIndex") or 0):
            return answers.written({"Updated": False, "Index": index})
    flags = ("MemoryOversubscriptionEnabled", "RejectJobRegistration", "PauseEvalBroker")
    preemption = sent.get("PreemptionConfig") or {}
    kinds = ("SystemSchedulerEnabled", "SysBatchSchedulerEnabled", "BatchSchedulerEnabled", "ServiceSchedulerEnabled")
    config = {
        "SchedulerAlgorithm": algorithm,
        **{name: bool(sent.get(name)) for name in flags},
        "PreemptionConfig": {name: bool(preemption.get(name)) for name in kinds},
        "CreateIndex": old.get("CreateIndex") or index,
        "ModifyIndex": index,
    }
    packed = from_json(config, Type("struct", struct=BY_TABLE["scheduler_config"].struct))

    def change(record: dict[bytes, Any]) -> bool:
        record |= packed
        return True

    answers.changes["scheduler_config"] = change
    return answers.written({"Updated": True, "Index": index})


@route("/acl/bootstrap", "PUT", "POST", public=True, bodiless=True)
def bootstrap(answers: Answers, request: Request) -> Answer:
    if not answers.authority.enabled:
        raise ApiError(501, "ACLs are off in this state, and a served snapshot does not turn them on")
    reset = answers.index("acl_token_bootstrap")
    raise ApiError(400, f"ACL bootstrap already done (reset index: {reset})")


@route("/system/gc", "PUT", "POST", bodiless=True)
def collect_garbage(answers: Answers, request: Request) -> Answer:
    """What a scheduler would do by and by: nothing is collected here."""
    check(request.identity.acl.management)
    return Answer(None)


@route("/system/reconcile/summaries", "PUT", "POST", bodiless=True)
def reconcile_summaries(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    return Answer(None)


@route("/node/{id}/eligibility", "PUT", "POST")
def set_eligibility(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.allow_node("write"))
    refuse_no_uuid(request.path["id"], "node lookup failed: ")
    wanted = str(request.body.get("Eligibility") or "")
    if wanted not in ("eligible", "ineligible"):
        raise ApiError(500, f'invalid scheduling eligibility "{wanted}"')
    node = answers.lookup("nodes", request.path["id"])
    if node is None:
        raise ApiError(500, "node not found")
    if node.get("DrainStrategy") is not None and wanted == "eligible":
        raise ApiError(500, "can not set node's scheduling eligibility to eligible while it is draining")
    index = answers.next_index
    if node["SchedulingEligibility"] != wanted:
        answers.edits.put("nodes", node | {"SchedulingEligibility": wanted, "ModifyIndex": index})
        answers.edits.stamp(index, "nodes")
    return answers.written({"EvalIDs": None, "EvalCreateIndex": 0, "NodeModifyIndex": 0, "Index": index})
