"""Solution of exercise 5, as a learner may write it."""

import snapkit
from snapkit.cluster.recover import recover
from snapkit.jupyter import training

exercise = training.exercise(5)
backup = exercise.folder / "last-night.snap"
client = exercise.client  # type: ignore[attr-defined]

with client.snapshot() as live:
    changes = snapkit.compare(backup, live, tables=["jobs", "variables", "acl_policies", "acl_tokens"]).objects
missing = changes[changes["Change"] == "removed"]
exercise.check("a", missing["Key"])
exercise.check("b", changes[changes["Change"] != "removed"]["Key"])

wanted = [(table, *key) for table, key in zip(missing["Table"], missing["Key"], strict=True)]
recover(client, backup, wanted, dry_run=True)
recover(client, backup, wanted)
exercise.check("c")
