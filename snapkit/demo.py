"""The main job from end to end, told in the terminal."""

from __future__ import annotations

import tempfile

from snapkit.cluster.client import Client
from snapkit.cluster.server import serve
from snapkit.jupyter import shared
from snapkit.state.compare import compare
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.timeline import timeline
from snapkit.state.who import who_could


def run() -> None:
    """Fetch the week's Monday from the embedded cluster, check it, say what went wrong; then look into Wednesday."""
    week = shared("data") / "v2.0.5"
    with tempfile.TemporaryDirectory(prefix="snapkit-demo-") as folder:
        with serve(week / "monday.snap") as cluster:
            print(f"1. Fetch a snapshot from a cluster: an embedded one at {cluster.address}, that is Monday's.")
            saved = Client(cluster.address, token=cluster.token).save(folder)
        digest = "matches" if saved.digest_checked else "is missing"
        print(f"   {saved.path.rpartition('/')[2]}: {saved.size:,} bytes; the server's Digest {digest}")
        with open_snapshot(saved.path) as snapshot:
            tell(snapshot)
    with open_snapshot(week / "tuesday.snap") as before, open_snapshot(week / "wednesday.snap") as after:
        investigate(before, after)
    print("\nNext: `make lab` opens the notebooks in JupyterLab (01 and 05 tell this story step by step).")


def tell(snapshot: Snapshot) -> None:
    """What an archive is, what is in it, and what failed."""
    print("\n2. Check it: its hashes, and every record to the end.")
    for member in snapshot.archive.members:
        verdict = "matches SHA256SUMS" if member.name != "SHA256SUMS" else "holds the sums of the other two"
        print(f"   {member.name:11} {member.size:>9,} bytes  SHA-256 {member.sha256[:16]}…  {verdict}")
    meta = snapshot.meta
    print(f"   Taken {meta.created:%Y-%m-%d %H:%M:%S} UTC at Raft index {meta.index} by Nomad {meta.version_range}.")

    print("\n3. What is in it: the five largest tables of", len(snapshot.tables))
    for row in snapshot.tables.head(5).reset_index().itertuples():
        print(f"   {row.Table:16} {row.Count:>4} records {row.Bytes:>9,} bytes  {row.Share:>4.0%}")

    print("\n4. What went wrong: the allocations that failed, and why.")
    for line in failed_allocations(snapshot):
        print(f"   {line}")


def investigate(before: Snapshot, after: Snapshot) -> None:
    """What changed from one day to the next in who may do what and in what runs, when, and who could have done it."""
    print("\n5. Two days later somebody says that the clients are slow. What changed from Tuesday to Wednesday?")
    changes = compare(before, after, tables=["acl_tokens", "acl_policies", "jobs"])
    for row in changes.objects.to_dict("records"):
        print(f"   {row['Change']:8} {row['Table']:13} {row['Name'] or '/'.join(row['Key'])}")
    for line in changes.get("acl_policies", "anonymous").set_index("Path")["Diff"]["Rules"].splitlines()[1:]:
        print(f"      {line}")

    print("\n6. When? A policy has no time, but its Raft index lies between two moments that are known.")
    events = timeline(before, after)
    for row in events[events["Kind"] == "acl_policy.changed"].tail(1).to_dict("records"):
        print(f"   {row['TimeEarliest']:%H:%M:%S} to {row['TimeLatest']:%H:%M:%S} UTC: {row['Message']}")

    print("\n7. Who could have? The state never says who did; these tokens could have written a policy:")
    could = who_could(before, "management")
    for row in could[could["Could"] == "yes"].to_dict("records"):
        print(f"   {row['Name']} ({row['AccessorID'][:8]}): {row['Why']}")


def failed_allocations(snapshot: Snapshot) -> list[str]:
    """A line for each failed allocation: which, where, and what its tasks ended with."""
    allocs = snapshot.table("allocs", ["Name", "NodeName", "ClientStatus", "TaskStates"])
    lines = []
    for alloc in allocs[allocs["ClientStatus"] == "failed"].to_dict("records"):
        for task, state in (alloc["TaskStates"] or {}).items():
            codes = [event["ExitCode"] for event in state["Events"] or [] if event["Type"] == "Terminated"]
            lines.append(f"{alloc['Name']} on {alloc['NodeName']}: task {task} ended with exit codes {codes}")
    return lines
