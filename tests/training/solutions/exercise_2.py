"""Solution of exercise 2, as a learner may write it."""

import snapkit
from snapkit.jupyter import training

exercise = training.exercise(2)
backup = snapkit.open(exercise.folder / "backup.snap", key="training")

exercise.check("a", (backup.allocs["ClientStatus"] == "running").sum())

allocs = backup.table("allocs", ["Name", "ClientStatus", "TaskStates"])
failed = allocs[allocs["ClientStatus"] == "failed"]
codes = {
    event["ExitCode"]
    for states in failed["TaskStates"]
    for state in states.values()
    for event in state["Events"]
    if event["Type"] == "Terminated"
}
exercise.check("b", codes)

nodes = backup.nodes
exercise.check("c", nodes[nodes["SchedulingEligibility"] != "eligible"]["Name"])

[front] = [group for group in backup.get("jobs", "shop", "web")["TaskGroups"] if group["Name"] == "front"]
exercise.check("d", front["Count"])

exercise.check("e", backup.tables["Bytes"].astype(int).idxmax())

exercise.check("f", backup.search("black friday")["Key"])
backup.close()
