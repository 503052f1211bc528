"""The story behind exercise 4, where a learner does not look: what is planted on Tuesday's state.

`python -m tests.training.incident` writes it, packed, to where the course reads it. The intruder has the token of the
shop's deployer, which may do more than it should since its policy was widened:

- `evening`: Tuesday, as it was.
- `night`: whoever is on call starts `train` again (known). The intruder registers the job `invoice-sync` in the
  namespace payments, and a version of `web` with one task more, which reads its variable. A canary runs.
- `morning`: the job is purged, `web` is what it was. Version 3 of it stays among its versions, its canary among the
  allocations, and the evaluations of a job that does not exist.
"""

from __future__ import annotations

import base64
import copy
import json
import textwrap
import uuid
import zlib
from typing import Any

import snapkit

from ..conftest import DATA, ROOT

PACKED = ROOT / "snapkit" / "jupyter" / "training" / "incident.txt"

WEB, SYNC, TRAIN = ("shop", "web"), ("payments", "invoice-sync"), ("batch", "train")
DEPLOYER, ON_CALL = "abc240bf-5227-addf-1f09-4d66f24261bf", "658c8d9a-6632-ba10-798e-f993cf4181c3"
HOST = "collector.example.invalid:8443"
CLIENT0, CLIENT2 = "65e4f3e5-0bfa-d8bf-5aa5-5bc503b44072", "4e5dbdec-e743-3537-2339-6d675833c741"

NIGHT, MORNING = 1_795_471_744_000_000_000, 1_795_471_756_000_000_000  # Unix nanoseconds
SECOND = 10**9


def ident(number: int) -> str:
    """A UUID that looks like the others."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"snapkit training {number}"))


#: Exercise 5, on Thursday's state: somebody tidied up, and others went on with their work.
SLIP: list[list[Any]] = [
    ["DELETE", "/v1/job/nightly-report", {"namespace": "batch", "purge": "true"}, None],
    ["DELETE", "/v1/var/nomad/jobs/web", {"namespace": "shop"}, None],
    [
        "PUT",
        "/v1/acl/policy/ops-read",
        {},
        {
            "Name": "ops-read",
            "Description": "look, but do not touch",
            "Rules": 'namespace "*" { policy = "read" }\nnode { policy = "read" }\n',
        },
    ],
    ["PUT", "/v1/acl/token", {}, {"Name": "night shift", "Type": "client", "Policies": ["ops-read"]}],
    [
        "PUT",
        "/v1/var/psp/limits",
        {"namespace": "payments"},
        {"Namespace": "payments", "Path": "psp/limits", "Items": {"daily": "5000"}},
    ],
]
#: Exercise 6, on Friday's state: a script for a test cluster ran against the real one.
DISASTER: list[list[Any]] = [
    ["PUT", "/v1/acl/token", {}, {"Name": "drill", "Type": "management"}],
    ["PUT", "/v1/acl/token", {}, {"Name": "contractor", "Type": "client", "Policies": ["ops-read"]}],
    ["DELETE", "/v1/job/web", {"namespace": "shop", "purge": "true"}, None],
    ["DELETE", "/v1/job/node-exporter", {"namespace": "default", "purge": "true"}, None],
    ["DELETE", "/v1/job/encode", {"namespace": "batch", "purge": "true"}, None],
    ["DELETE", "/v1/job/nightly-report", {"namespace": "batch", "purge": "true"}, None],
    ["DELETE", "/v1/var/nomad/jobs/web", {"namespace": "shop"}, None],
]
BREAK_GLASS = "10d74b3a-267a-a3a1-8a01-174067a48d27"  # the accessor of the management token in the envelope


class Writer:
    """Collects what is put into and taken out of a state, as Nomad's JSON has it."""

    def __init__(self) -> None:
        self.put: list[tuple[str, dict[str, Any]]] = []
        self.deleted: list[list[Any]] = []
        self.stamps: dict[str, int] = {}

    def write(self, table: str, row: str, value: dict[str, Any], index: int) -> dict[str, Any]:
        value["ModifyIndex"] = index
        value.setdefault("CreateIndex", index)
        self.put.append((table, copy.deepcopy(value)))
        self.stamp(index, row)
        return value

    def stamp(self, index: int, *rows: str) -> None:
        for row in rows:
            self.stamps[row] = max(index, self.stamps.get(row, 0))

    def delete(self, table: str, *key: Any) -> None:
        self.deleted.append([table, *key])

    def register(self, job: dict[str, Any], index: int, now: int) -> None:
        """A job's new version, as it stands in two tables."""
        job |= {"JobModifyIndex": index, "SubmitTime": now, "Stable": False}
        self.write("jobs", "jobs", job, index)
        self.write("job_versions", "job_version", job, index)

    def document(self, index: int, created: int) -> dict[str, Any]:
        return {"index": index, "created": created, "put": self.put, "deleted": self.deleted, "stamps": self.stamps}


def evaluation(template: dict[str, Any], job: dict[str, Any], number: int, index: int, now: int, **more: Any) -> Any:
    return template | {
        "ID": ident(number),
        "Namespace": job["Namespace"],
        "JobID": job["ID"],
        "Priority": job["Priority"],
        "Type": job["Type"],
        "JobModifyIndex": index,
        "SnapshotIndex": index,
        "CreateIndex": index,
        "CreateTime": now,
        "ModifyTime": now + SECOND // 20,
        "PlanAnnotations": None,
        "QueuedAllocations": {group["Name"]: 0 for group in job["TaskGroups"]},
        "DeploymentID": "",
        **more,
    }


def allocation(
    template: dict[str, Any],
    job: dict[str, Any],
    group: int,
    number: int,
    eval_: int,
    index: int,
    now: int,
    **more: Any,
) -> dict[str, Any]:
    """A running allocation of a group, all of its tasks alike."""
    made = copy.deepcopy(template)
    tasks = [task["Name"] for task in job["TaskGroups"][group]["Tasks"]]
    name = job["TaskGroups"][group]["Name"]
    started = next(iter(made["TaskStates"].values()))
    for event in started["Events"]:
        event["Time"] = now + SECOND // 10
    started["StartedAt"] = None
    return made | {
        "ID": ident(number),
        "Namespace": job["Namespace"],
        "EvalID": ident(eval_),
        "Name": f"{job['ID']}.{name}[0]",
        "JobID": job["ID"],
        "Job": copy.deepcopy(job),
        "TaskGroup": name,
        "TaskResources": dict.fromkeys(tasks, next(iter(made["TaskResources"].values()))),
        "AllocatedResources": made["AllocatedResources"]
        | {
            "Tasks": dict.fromkeys(tasks, next(iter(made["AllocatedResources"]["Tasks"].values()))),
            "TaskLifecycles": dict.fromkeys(tasks),
        },
        "TaskStates": dict.fromkeys(tasks, started),
        "CreateIndex": index,
        "AllocModifyIndex": index,
        "CreateTime": now,
        "ModifyTime": now + SECOND,
        **more,
    }


def deployment(template: dict[str, Any], job: dict[str, Any], number: int, index: int, now: int, canary: str) -> Any:
    made = copy.deepcopy(template)
    groups = {
        group["Name"]: made["TaskGroups"]["front"]
        | {
            "DesiredTotal": group["Count"],
            "DesiredCanaries": 1 if canary and group["Name"] == "front" else 0,
            "PlacedCanaries": [canary] if canary and group["Name"] == "front" else None,
            "PlacedAllocs": 1 if group["Name"] == "front" else group["Count"],
            "HealthyAllocs": 1 if group["Name"] == "front" else group["Count"],
            "RequireProgressBy": None,
        }
        for group in job["TaskGroups"]
    }
    return made | {
        "ID": ident(number),
        "Namespace": job["Namespace"],
        "JobID": job["ID"],
        "JobVersion": job["Version"],
        "JobModifyIndex": job["JobModifyIndex"],
        "JobSpecModifyIndex": job["JobModifyIndex"],
        "JobCreateIndex": job["CreateIndex"],
        "TaskGroups": groups,
        "EvalPriority": job["Priority"],
        "CreateIndex": index,
        "CreateTime": now,
        "ModifyTime": now + SECOND,
    }


def story() -> dict[str, Any]:
    """What is written by night and by morning, on top of Tuesday's state."""
    with snapkit.open(DATA / "v2.0.5/tuesday.snap") as tuesday, snapkit.open(DATA / "v2.0.5/wednesday.snap") as later:

        def get(table: str, *key: Any, of: snapkit.Snapshot = tuesday) -> dict[str, Any]:
            return copy.deepcopy(of.get(table, *key, reveal=True))

        web, train = get("jobs", *WEB), get("jobs", *TRAIN)
        old_deployment = get("deployments", "269efb8c-8034-dafd-d9eb-b063944ebd25")
        eval_template = get("evals", "172e55ba-2f5d-2064-e9c3-e044a7e3f54a", of=later)
        alloc_template = get("allocs", "032c3df9-7213-f04d-4a13-59ca1c2fc586", of=later)
        canary_template = get("allocs", "02423c8f-68f9-25cc-2373-aaacd060511f")
        sync = get("jobs", "default", "metrics-agent", of=later)
        blocked = get("evals", tuesday.evals.index[tuesday.evals["JobID"] == "train"][0])
        summaries = {key: get("job_summaries", *key) for key in (WEB, TRAIN)}
        deregistration = get("evals", _eval_of("metrics-agent", "job-deregister"), of=_thursday())

    night = Writer()
    # 137: known work: `train` is started again.
    train |= {"Stop": False, "Version": 2, "Status": "pending", "NomadTokenID": ON_CALL}
    night.register(train, 137, NIGHT)
    e = evaluation(blocked, train, 1, 137, NIGHT, Status="complete", TriggeredBy="job-register", QueuedAllocations={})
    e["QueuedAllocations"] = {group["Name"]: 1 for group in train["TaskGroups"]}
    night.write("evals", "evals", e, 138)
    summary = summaries[TRAIN]
    for counts in summary["Summary"].values():
        counts["Queued"] = 1
    night.write("job_summaries", "job_summary", summary, 138)

    # 139: a job in a namespace that is not the deployer's.
    now = NIGHT + 3 * SECOND
    group = sync["TaskGroups"][0]
    group |= {"Name": "sync", "ReschedulePolicy": web["TaskGroups"][0]["ReschedulePolicy"]}
    task = group["Tasks"][0]
    task |= {"Name": "sync", "Env": {"UPLINK": HOST, "EVERY": "30s"}}
    sync |= {"Namespace": SYNC[0], "ID": SYNC[1], "Name": SYNC[1], "Type": "service", "Priority": 50}
    sync |= {"NomadTokenID": DEPLOYER, "CreateIndex": 139}
    night.register(sync, 139, now)
    night.write("evals", "evals", evaluation(eval_template, sync, 2, 139, now, DeploymentID=ident(4)), 141)
    running = allocation(alloc_template, sync, 0, 3, 2, 140, now, DeploymentID=ident(4))
    running |= {"NodeID": CLIENT2, "NodeName": "client2"}
    night.write("allocs", "allocs", running, 142)
    rolled = deployment(old_deployment, sync, 4, 140, now, "")
    rolled["TaskGroups"]["sync"] |= {"PlacedAllocs": 1, "HealthyAllocs": 1}
    rolled |= {"Status": "successful", "StatusDescription": "Deployment completed successfully"}
    night.write("deployments", "deployment", rolled, 142)
    sync_summary = {
        "JobID": SYNC[1],
        "Namespace": SYNC[0],
        "Summary": {"sync": summaries[WEB]["Summary"]["front"] | {"Running": 1, "Complete": 0}},
        "Children": {"Pending": 0, "Running": 0, "Dead": 0},
        "CreateIndex": 139,
    }
    night.write("job_summaries", "job_summary", sync_summary, 142)

    # 143: `web` with one task more, which reads what its neighbour may read.
    now = NIGHT + 5 * SECOND
    before = copy.deepcopy(web)
    spy = copy.deepcopy(web["TaskGroups"][0]["Tasks"][0])
    read = '{{ with nomadVar "nomad/jobs/web" }}{{ .db_user }}:{{ .db_password }}{{ end }}\n'
    spy["Templates"][0] |= {"DestPath": "local/labels.txt", "EmbeddedTmpl": read}
    spy |= {"Name": "log-shipper", "Env": {"TARGET": HOST}}
    web["TaskGroups"][0]["Tasks"].append(spy)
    web |= {"Version": 3, "NomadTokenID": DEPLOYER}
    night.register(web, 143, now)
    night.write("evals", "evals", evaluation(eval_template, web, 5, 143, now, DeploymentID=ident(7)), 145)
    canary = allocation(canary_template, web, 0, 6, 5, 144, now, DeploymentID=ident(7))
    canary |= {"NodeID": CLIENT0, "NodeName": "client0"}
    canary["DeploymentStatus"] = {"Healthy": True, "Timestamp": None, "Canary": True, "ModifyIndex": 146}
    night.write("allocs", "allocs", canary, 146)
    night.write(
        "deployments",
        "deployment",
        old_deployment
        | {"Status": "cancelled", "StatusDescription": "Cancelled due to newer version of job", "ModifyTime": now},
        144,
    )
    night.write("deployments", "deployment", deployment(old_deployment, web, 7, 144, now, ident(6)), 146)
    summaries[WEB]["Summary"]["front"]["Running"] += 1
    night.write("job_summaries", "job_summary", summaries[WEB], 146)

    morning = Writer()
    # 147: the job goes, and all that is of it.
    now = MORNING
    morning.delete("jobs", *SYNC)
    morning.delete("job_versions", *SYNC, 0)
    morning.delete("job_summaries", *SYNC)
    morning.delete("deployments", ident(4))
    morning.delete("allocs", ident(3))
    morning.stamp(147, "jobs", "job_version", "job_summary", "deployment")
    gone = evaluation(deregistration, sync, 8, 147, now, Type="service", QueuedAllocations={})
    gone["QueuedAllocations"] = None
    morning.write("evals", "evals", gone, 149)
    # 150: `web` is what it was, under a new number.
    now = MORNING + 2 * SECOND
    before |= {"Version": 4, "NomadTokenID": DEPLOYER}
    morning.register(before, 150, now)
    morning.write("evals", "evals", evaluation(eval_template, before, 9, 150, now, DeploymentID=ident(10)), 152)
    stopped = copy.deepcopy(canary) | {
        "DesiredStatus": "stop",
        "DesiredDescription": "alloc not needed due to job update",
        "ClientStatus": "complete",
        "ClientDescription": "All tasks have completed",
        "AllocModifyIndex": 151,
        "ModifyTime": now + SECOND,
    }
    for state in stopped["TaskStates"].values():
        state["State"] = "dead"
    morning.write("allocs", "allocs", stopped, 153)
    fresh = allocation(canary_template, before, 0, 11, 9, 151, now, DeploymentID=ident(10))
    fresh |= {"NodeID": CLIENT2, "NodeName": "client2"}
    fresh["DeploymentStatus"] = {"Healthy": True, "Timestamp": None, "Canary": True, "ModifyIndex": 154}
    morning.write("allocs", "allocs", fresh, 154)
    spied = deployment(old_deployment, web, 7, 144, NIGHT + 5 * SECOND, ident(6))
    spied |= {"Status": "cancelled", "StatusDescription": "Cancelled due to newer version of job", "ModifyTime": now}
    morning.write("deployments", "deployment", spied, 151)
    morning.write("deployments", "deployment", deployment(old_deployment, before, 10, 151, now, ident(11)), 154)
    summaries[WEB]["Summary"]["front"]["Complete"] += 1
    morning.write("job_summaries", "job_summary", summaries[WEB], 154)
    return {
        "slip": SLIP,
        "disaster": DISASTER,
        "envelope": BREAK_GLASS,
        "night": night.document(147 - 1, NIGHT + 9 * SECOND),
        "morning": morning.document(154, MORNING + 6 * SECOND),
    }


def _thursday() -> snapkit.Snapshot:
    return snapkit.open(DATA / "v2.0.5/thursday.snap")


def _eval_of(job: str, why: str) -> str:
    with _thursday() as snapshot:
        evals = snapshot.evals
        return str(evals.index[(evals["JobID"] == job) & (evals["TriggeredBy"] == why)][0])


def packed() -> str:
    """As the course keeps it: nothing that is read by chance."""
    text = json.dumps(story(), sort_keys=True, separators=(",", ":")).encode()
    return textwrap.fill(base64.b85encode(zlib.compress(text, 9)).decode(), 120, break_on_hyphens=False) + "\n"


if __name__ == "__main__":
    PACKED.write_text(packed(), encoding="ascii")
