"""The main job from end to end, told in the terminal to somebody who may never have seen Nomad."""

from __future__ import annotations

import shutil
import tempfile
import textwrap
from pathlib import Path

from snapkit.cluster.client import Client
from snapkit.cluster.recover import recover
from snapkit.cluster.server import serve
from snapkit.format.schema import in_words
from snapkit.jupyter import shared
from snapkit.state.access.who import who_could
from snapkit.state.changes.compare import compare
from snapkit.state.changes.timeline import timeline
from snapkit.state.findings.report import Report
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.verify import verify

INTRODUCTION = """\
Nomad runs programs ("jobs") on a group of machines (a "cluster"). All that the cluster knows can be saved into one
file: a snapshot. Nomad can restore such a file and count what is in it; to see what it says, one has to restore it
somewhere. snapkit reads it as it is. Here are five files of one cluster, a real one, saved on the days of one week."""


def run() -> None:
    """A week: a backup is fetched, checked and read; then an intruder; then a slip of the hand."""
    week = shared("data") / "v2.0.5"
    print(_wrapped(INTRODUCTION))
    with tempfile.TemporaryDirectory(prefix="snapkit-demo-") as folder:
        say("Monday. Fetch a backup from the cluster, which snapkit itself plays here.")
        with serve(week / "monday.snap") as cluster:
            saved = Client(cluster.address, token=cluster.token).save(folder)
        digest = "is the one the cluster announced" if saved.digest_checked else "was not announced"
        print(f"   {Path(saved.path).name}: {saved.size:,} bytes; their sum {digest}")
        with open_snapshot(saved.path) as snapshot:
            tell(snapshot, verify(saved.path))
    with open_snapshot(week / "tuesday.snap") as before, open_snapshot(week / "wednesday.snap") as after:
        investigate(before, after)
    take_back(week / "friday.snap", week / "thursday.snap")
    say("That was the whole circle: fetched, checked, read, investigated, recovered. Nothing is left on your disk.")
    print(_wrapped("Next: `make lab`, or `snapkit lab`, opens the notebooks in JupyterLab: click through all of it."))


def say(chapter: str) -> None:
    print(f"\n{_wrapped(chapter)}")


def _wrapped(text: str) -> str:
    """Lines that a terminal does not break in a word."""
    return textwrap.fill(text, min(shutil.get_terminal_size((120, 24)).columns, 120))


def tell(snapshot: Snapshot, report: Report) -> None:
    """Whether an archive is whole and restorable, what is in it, and what failed."""
    say("Is it whole? A backup that nobody checked is a hope. Each part against the sum that was saved with it:")
    for member in snapshot.archive.members:
        verdict = "matches SHA256SUMS" if member.name != "SHA256SUMS" else "holds the sums of the other two"
        print(f"   {member.name:11} {member.size:>9,} bytes  SHA-256 {member.sha256[:16]}…  {verdict}")
    meta = snapshot.meta
    by = in_words(meta.version_range)
    print(f"   Taken {meta.created:%Y-%m-%d %H:%M:%S} UTC at Raft index {meta.index} by a Nomad {by}.")
    print(
        f"   And would a server take it? {len(report.checks)} checks of every record: {'yes' if report.ok else 'NO'}."
    )

    say(f"What is in it? The five largest of its {len(snapshot.tables)} tables (allocs: the copies of jobs that run):")
    for row in snapshot.tables.head(5).reset_index().itertuples():
        print(f"   {row.Table:16} {row.Count:>4} records {row.Bytes:>9,} bytes  {row.Share:>4.0%}")

    say("What went wrong? The copies that failed, and where (137: killed, often for want of memory):")
    for line in failed_allocations(snapshot):
        print(f"   {line}")


def investigate(before: Snapshot, after: Snapshot) -> None:
    """What changed from one day to the next in who may do what and in what runs, when, and who could have done it."""
    say("Wednesday. All machines are slow, and nobody did anything. What changed since Tuesday in rights and jobs?")
    changes = compare(before, after, tables=["acl_tokens", "acl_policies", "jobs"])
    for row in changes.objects.to_dict("records"):
        if not row["Name"] and "/periodic-" in row["Key"][-1]:
            continue  # the runs of a report, as every day
        print(f"   {row['Change']:8} {row['Table']:13} {row['Name'] or '/'.join(row['Key'])}")
    print(
        _wrapped(
            "Somebody made a token, and a job that runs everywhere. And the policy of those who have no token at all:"
        )
    )
    for line in changes.get("acl_policies", "anonymous").set_index("Path")["Diff"]["Rules"].splitlines()[1:]:
        print(f"      {line}")

    say("When? A policy carries no time, but its place in the cluster's log lies between two moments that are known:")
    events = timeline(before, after)
    for row in events[events["Kind"] == "acl_policy.changed"].tail(1).to_dict("records"):
        print(f"   {row['TimeEarliest']:%H:%M:%S} to {row['TimeLatest']:%H:%M:%S} UTC: {row['Message']}")

    say("Who could have? No snapshot says who changed a policy, but it tells whose token was able to:")
    could = who_could(before, "management")
    for row in could[could["Could"] == "yes"].to_dict("records"):
        print(f"   {row['Name']} ({row['AccessorID'][:8]}): {row['Why']}")


def take_back(now: Path, backup: Path) -> None:
    """One job out of yesterday's backup, back into the cluster as it is now."""
    say(
        "Friday. By a slip of the hand the job payments is gone. A restore of Thursday's backup would undo a whole "
        "day; so take back this job and the secret that it needs, and leave all else alone:"
    )
    wanted = [("jobs", "payments", "payments"), ("variables", "payments", "psp/credentials")]
    with serve(now) as cluster:
        client = Client(cluster.address, token=cluster.token)
        for row in recover(client, backup, wanted).steps.reset_index().to_dict("records"):
            print(f"   {row['Action']:8} {row['Table']:10} {'/'.join(row['Key'])}: {row['Result']}")
        with client.snapshot() as live, open_snapshot(backup) as then:
            same = (
                live.get("jobs", "payments", "payments")["TaskGroups"]
                == then.get("jobs", "payments", "payments")["TaskGroups"]
            )
    print(f"   Read back from the cluster: it is {'what the backup has' if same else 'NOT what the backup has'}.")


def failed_allocations(snapshot: Snapshot) -> list[str]:
    """A line for each failed allocation: which, where, and what its tasks ended with."""
    allocs = snapshot.table("allocs", ["Name", "NodeName", "ClientStatus", "TaskStates"])
    lines = []
    for alloc in allocs[allocs["ClientStatus"] == "failed"].to_dict("records"):
        for task, state in (alloc["TaskStates"] or {}).items():
            codes = [event["ExitCode"] for event in state["Events"] or [] if event["Type"] == "Terminated"]
            lines.append(f"{alloc['Name']} on {alloc['NodeName']}: task {task} ended with exit codes {codes}")
    return lines
