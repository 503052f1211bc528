"""What a server makes of a job that it is sent: defaults filled in, and what it adds of its own.

Source: Nomad's api/jobs.go, api/tasks.go and api/services.go (Canonicalize), nomad/structs for the rest, and
nomad/job_endpoint_hooks.go. A job as a server gives it is whole already and comes out as it went in. Of a job that is
not, the deep blocks of Consul, Vault and volumes get no defaults; of what a real server refuses, it is the plain
mistakes alone that problems() finds.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from snapkit.format.schema import Type
from snapkit.format.values import to_json
from snapkit.state.output.edit import from_json

Object = dict[str, Any]

SECOND = 10**9
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND

_UPDATE: Mapping[str, Any] = {
    "Stagger": 30 * SECOND, "MaxParallel": 1, "HealthCheck": "checks", "MinHealthyTime": 10 * SECOND,
    "HealthyDeadline": 5 * MINUTE, "ProgressDeadline": 10 * MINUTE, "AutoRevert": False, "AutoPromote": False,
    "Canary": 0,
}  # fmt: skip
_MIGRATE: Mapping[str, Any] = {
    "MaxParallel": 1, "HealthCheck": "checks", "MinHealthyTime": 10 * SECOND, "HealthyDeadline": 5 * MINUTE,
}  # fmt: skip
_RESTART_SERVICE: Mapping[str, Any] = {
    "Attempts": 2, "Interval": 30 * MINUTE, "Delay": 15 * SECOND, "Mode": "fail", "RenderTemplates": False,
}  # fmt: skip
_RESTART_BATCH = {**_RESTART_SERVICE, "Attempts": 3, "Interval": 24 * HOUR}
_RESCHEDULE: Mapping[str, Mapping[str, Any]] = {
    "service": {
        "Attempts": 0, "Interval": 0, "Delay": 30 * SECOND, "DelayFunction": "exponential", "MaxDelay": HOUR,
        "Unlimited": True,
    },
    "batch": {
        "Attempts": 1, "Interval": 24 * HOUR, "Delay": 5 * SECOND, "DelayFunction": "constant", "MaxDelay": 0,
        "Unlimited": False,
    },
}  # fmt: skip
_JOB: Mapping[str, Any] = {"Type": "service", "Priority": 50, "Datacenters": ["*"], "NodePool": "default"}
_PERIODIC: Mapping[str, Any] = {"Enabled": True, "SpecType": "cron", "ProhibitOverlap": False, "TimeZone": "UTC"}
_DISK: Mapping[str, Any] = {"Sticky": False, "Migrate": False, "SizeMB": 300}
_LOGS: Mapping[str, Any] = {"MaxFiles": 10, "MaxFileSizeMB": 10, "Disabled": False}
_SERVICE: Mapping[str, Any] = {
    "AddressMode": "auto", "OnUpdate": "require_healthy", "Provider": "consul", "Cluster": "default",
}  # fmt: skip
_TEMPLATE: Mapping[str, Any] = {
    "ChangeMode": "restart", "Splay": 5 * SECOND, "Perms": "0644", "LeftDelim": "{{", "RightDelim": "}}",
}  # fmt: skip
_IDENTITY: Mapping[str, Any] = {"Name": "default", "Audience": ["nomadproject.io"]}
_NATIVE_SERVICES: Mapping[str, Any] = {"LTarget": "${attr.nomad.service_discovery}", "RTarget": "true", "Operand": "="}
_NATIVE_CHECKS: Mapping[str, Any] = {"LTarget": "${attr.nomad.version}", "RTarget": ">= 1.4.0", "Operand": "semver"}

#: What a server sets in a job, whatever it is sent.
SET_BY_SERVER = (
    "Status", "StatusDescription", "Stable", "SubmitTime", "CreateIndex", "ModifyIndex", "JobModifyIndex",
    "NomadTokenID", "ParentID", "Dispatched", "DispatchIdempotencyToken",
)  # fmt: skip
#: What may differ between two versions of a job that are the same to Nomad (structs.Job.SpecChanged).
_NO_CHANGE = (
    "Status", "StatusDescription", "Stable", "Version", "CreateIndex", "ModifyIndex", "JobModifyIndex", "SubmitTime",
)  # fmt: skip

JOB = Type("struct", struct="Job")


def canonical(sent: Mapping[str, Any], namespace: str, region: str) -> Object:
    """A job as it goes into the state, but for what `SET_BY_SERVER` names.

    Raises:
        RecordError: It is none.
    """
    job: Object = copy.deepcopy(dict(sent))
    for name in SET_BY_SERVER:
        job.pop(name, None)
    _fill(job, _JOB)
    _fill(job, {"Name": job["ID"]})
    job |= {"Namespace": namespace, "Region": region}
    job["Update"] = update = _update_of(job)
    if job.get("Periodic"):
        _fill(job["Periodic"], _PERIODIC)
        job["Periodic"]["Specs"] = job["Periodic"].get("Specs") or []
    if job.get("ParameterizedJob"):
        _fill(job["ParameterizedJob"], {"Payload": "optional"})
    for group in job.get("TaskGroups") or ():
        _fill_group(job, group, update)
    # At the level of the job, a server keeps no more of it.
    job["Update"] = {name: update[name] for name in ("Stagger", "MaxParallel")} if update.get("MaxParallel") else {}
    for name in ("Meta", "Constraints", "Affinities", "Spreads"):
        job[name] = job.get(name) or None
    whole: Object = as_stored(job)
    return whole


def as_stored(job: Mapping[str, Any]) -> Any:
    """A job as it is read from the state it was put into."""
    return to_json(from_json(job, JOB), JOB)


def _update_of(job: Object) -> Object:
    given = job.get("Update")
    if given is None:
        return dict(_UPDATE) if job["Type"] in ("service", "system") else {}
    return _filled(given, _UPDATE) if any(given.values()) else {}


def _fill_group(job: Object, group: Object, update: Object) -> None:
    service = job["Type"] in ("service", "system")
    scaling = group.get("Scaling")
    _fill(group, {"Count": (scaling or {}).get("Min") or 1})
    if group.get("Update") is not None:
        group["Update"] = _filled(_filled(group["Update"], update), _UPDATE)
    elif any(update.values()):
        group["Update"] = dict(update)
    group["EphemeralDisk"] = _filled(group.get("EphemeralDisk"), _DISK)
    group["RestartPolicy"] = _filled(group.get("RestartPolicy"), _RESTART_SERVICE if service else _RESTART_BATCH)
    if job["Type"] in _RESCHEDULE:
        given = _filled(group.get("ReschedulePolicy"), job.get("Reschedule") or {})
        group["ReschedulePolicy"] = _filled(given, _RESCHEDULE[job["Type"]])
    if group.get("Migrate") is not None or job["Type"] == "service":
        group["Migrate"] = _filled(_filled(group.get("Migrate"), job.get("Migrate") or {}), _MIGRATE)
    if scaling:
        _fill(scaling, {"Enabled": True, "Min": group["Count"], "Type": "horizontal"})
        scaling["Target"] = {"Namespace": job["Namespace"], "Job": job["ID"], "Group": group["Name"]}
    for consul in (group.get("Consul"), *(task.get("Consul") for task in group.get("Tasks") or ())):
        if consul is not None:
            consul["Cluster"] = consul.get("Cluster") or "default"
    for network in group.get("Networks") or ():
        _fill_ports(network)
    for service_ in group.get("Services") or ():
        _fill_service(job, service_, f"{job['Name']}-{group['Name']}")
    for task in group.get("Tasks") or ():
        _fill_task(job, group, task)
    _constrain_services(group)
    for name in ("Meta", "Constraints", "Affinities", "Spreads"):
        group[name] = group.get(name) or None


def _fill_task(job: Object, group: Object, task: Object) -> None:
    task["Resources"] = resources = dict(task.get("Resources") or {})
    _fill(resources, {"CPU": 0 if resources.get("Cores") else 100, "MemoryMB": 300})
    task["LogConfig"] = _filled(task.get("LogConfig"), _LOGS)
    task["RestartPolicy"] = _filled(task.get("RestartPolicy"), group["RestartPolicy"])
    task["KillTimeout"] = task.get("KillTimeout") or 5 * SECOND
    own = [identity for identity in task.get("Identities") or () if identity.get("Name", "default") == "default"]
    task["Identity"] = _filled(own[0] if own else task.get("Identity"), _IDENTITY)
    task["Identities"] = [one for one in task.get("Identities") or () if one not in own] or None
    for service in task.get("Services") or ():
        _fill_service(job, service, f"{job['Name']}-{group['Name']}-{task['Name']}")
        service["TaskName"] = service.get("TaskName") or task["Name"]
    for template in task.get("Templates") or ():
        _fill(template, _TEMPLATE)
    for name in ("Meta", "Config", "Env", "Constraints", "Affinities", "VolumeMounts"):
        task[name] = task.get(name) or None


def _fill_service(job: Object, service: Object, name: str) -> None:
    for field, default in {**_SERVICE, "Name": name}.items():
        service[field] = service.get(field) or default
    service["Namespace"] = job["Namespace"] if service["Provider"] == "nomad" else "default"
    for check in service.get("Checks") or ():
        check["OnUpdate"] = check.get("OnUpdate") or service["OnUpdate"]
        check["Name"] = check.get("Name") or f'service: "{service["Name"]}" check'


def _fill_ports(network: Object) -> None:
    for port in (*(network.get("DynamicPorts") or ()), *(network.get("ReservedPorts") or ())):
        port["HostNetwork"] = port.get("HostNetwork") or "default"


def _constrain_services(group: Object) -> None:
    """What a server asks of nodes for the services of a group, unless the job asks for it already."""
    holders = [group, *(group.get("Tasks") or ())]
    services = [service for holder in holders for service in holder.get("Services") or ()]
    native = [service for service in services if service["Provider"] == "nomad"]
    if native:
        _constrain(group, _NATIVE_SERVICES, ("LTarget", "RTarget", "Operand"))
    if any(service.get("Checks") for service in native):
        _constrain(group, _NATIVE_CHECKS, ("LTarget", "RTarget", "Operand"))
    for holder in holders:
        for service in holder.get("Services") or ():
            if service["Provider"] == "consul":
                cluster = "" if service["Cluster"] == "default" else f".{service['Cluster']}"
                version = {"LTarget": f"${{attr.consul{cluster}.version}}", "RTarget": ">= 1.8.0", "Operand": "semver"}
                _constrain(holder, version, ("LTarget",))


def _constrain(holder: Object, constraint: Mapping[str, Any], by: Sequence[str]) -> None:
    have = holder.get("Constraints") or []
    if not any(all(one.get(name) == constraint[name] for name in by) for one in have):
        holder["Constraints"] = [*have, dict(constraint)]


def _fill(item: Object, defaults: Mapping[str, Any]) -> None:
    for name, default in defaults.items():
        if item.get(name) is None or (item[name] in ("", []) and default):
            item[name] = copy.deepcopy(default)


def _filled(item: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> Object:
    given = {name: value for name, value in (item or {}).items() if value is not None}
    return {**copy.deepcopy(dict(defaults)), **given}


# -- of jobs that are whole


def same_spec(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Are they the same but for what a server changes by itself?"""
    return {**old, **dict.fromkeys(_NO_CHANGE)} == {**new, **dict.fromkeys(_NO_CHANGE)}


def scaling_policies(job: Mapping[str, Any]) -> Iterator[Object]:
    """Those of its groups and tasks."""
    for group in job.get("TaskGroups") or ():
        if group.get("Scaling"):
            yield group["Scaling"]
        for task in group.get("Tasks") or ():
            yield from task.get("ScalingPolicies") or ()


def policy_key(policy: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells one of a job's scaling policies from another."""
    target = policy.get("Target") or {}
    return (str(policy.get("Type")), str(target.get("Group", "")), str(target.get("Task", "")))


def keep_policy_ids(job: Mapping[str, Any], old: Iterable[Mapping[str, Any]]) -> None:
    """Give scaling policies the ids that they have, or new ones."""
    known = {policy_key(policy): policy["ID"] for policy in old}
    for policy in scaling_policies(job):
        policy["ID"] = known.get(policy_key(policy)) or str(uuid.uuid4())


# -- what is wrong with one


def problems(job: Mapping[str, Any]) -> Iterator[str]:
    """What a server says of a canonical job that can't be run, as far as it is plain.

    Source: nomad/structs (Job.Validate, TaskGroup.Validate, Task.Validate).
    """
    if not job["ID"]:
        yield "Missing job ID"
    elif " " in job["ID"]:
        yield "Job ID contains a space"
    elif "\0" in job["ID"]:
        yield "Job ID contains a null character"
    if not job["Name"]:
        yield "Missing job name"
    elif "\0" in job["Name"]:
        yield "Job Name contains a null character"
    if job["Type"] not in ("service", "batch", "system", "sysbatch"):
        yield f'Invalid job type: "{job["Type"]}"'
    if "" in job["Datacenters"]:
        yield "Job datacenter must be non-empty string"
    groups = job.get("TaskGroups") or ()
    if not groups:
        yield "Missing job task groups"
    yield from _unnamed("Job task group", "group", groups)
    for group in groups:
        if job["Type"] == "system" and group["Count"] > 1:
            words = f"Job task group {group['Name']} has count {group['Count']}."
            yield f"{words} Count cannot exceed 1 with system scheduler"
    for group in groups:
        wrong = list(_group_problems(group))
        if wrong:
            yield f"Task group {group['Name']} validation failed: {errors(wrong)}"
    for field, what in (("Periodic", "Periodic"), ("ParameterizedJob", "Parameterized job")):
        if job.get(field) and job["Type"] not in ("batch", "sysbatch"):
            yield f'{what} can only be used with "batch" or "sysbatch" scheduler'
    if not 1 <= job["Priority"] <= 100:
        yield "job priority must be between [1, 100]"


def _group_problems(group: Mapping[str, Any]) -> Iterator[str]:
    if not group["Name"]:
        yield "Missing task group name"
    if group["Count"] < 0:
        yield "Task group count can't be negative"
    tasks = group.get("Tasks") or ()
    if not tasks:
        yield "Missing tasks for task group"
    yield from _unnamed("Task", "task", tasks)
    for task in tasks:
        wrong = [*([] if task["Name"] else ["Missing task name"]), *([] if task["Driver"] else ["Missing task driver"])]
        if wrong:
            yield f"Task {task['Name']} validation failed: {errors(wrong)}"


def _unnamed(what: str, short: str, items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names: dict[str, int] = {}
    for number, item in enumerate(items, 1):
        name = item["Name"]
        if not name:
            yield f"{what} {number} missing name"
        elif name in names:
            yield f"{what} {number} redefines '{name}' from {short} {names[name]}"
        else:
            names[name] = number


def errors(found: Sequence[str]) -> str:
    """Several errors, as Go's multierror writes them."""
    count = "1 error" if len(found) == 1 else f"{len(found)} errors"
    return f"{count} occurred:\n" + "".join(f"\t* {error}\n" for error in found) + "\n"
