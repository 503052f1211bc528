"""Solution of exercise 4, as a learner may write it."""

import snapkit
from snapkit.jupyter import training

exercise = training.exercise(4)
evening, night, morning = (
    snapkit.open(exercise.folder / f"{name}.snap", key="training") for name in ("evening", "night", "morning")
)

changes = snapkit.compare(evening, night)
objects = changes.objects
jobs = objects[objects["Table"] == "jobs"]
exercise.check("a", jobs["Key"])

tokens = {night.get("jobs", *key)["NomadTokenID"] for key in jobs["Key"]}
names = {night.acl_tokens["Name"][accessor] for accessor in tokens}
exercise.check("b", names - {"Bootstrap Token"})

[accessor] = [token for token in tokens if night.acl_tokens["Name"][token] != "Bootstrap Token"]
exercise.check("c", night.get("acl_tokens", accessor)["Policies"])

fields = changes.get("jobs", "shop", "web")
[path] = [path for path in fields["Path"] if "Tasks[" in path]
exercise.check("d", path.rpartition("[")[2].strip("]"))

tasks = night.get("jobs", "shop", "web", reveal=True)["TaskGroups"][0]["Tasks"]
exercise.check("e", tasks[-1]["Env"]["TARGET"])

versions = [key[2] for key in morning.job_versions.index if key[:2] == ("shop", "web")]
exercise.check(
    "f",
    [v for v in versions if len(morning.get("job_versions", "shop", "web", v)["TaskGroups"][0]["Tasks"]) > 1],
)
for snapshot in (evening, night, morning):
    snapshot.close()
