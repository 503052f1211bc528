"""Job diffs against those of a real 2.0.5: twelve jobs were registered there in two versions each (`jobs.snap`), and
the server asked what changed (`diffs.json`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

import snapkit
from snapkit.cluster.jobdiff import diff_jobs

from ..conftest import ARCHIVES, ORACLES, path_of

DIFFS = json.loads((ORACLES / "jobdiffs" / "diffs.json").read_text())


@pytest.fixture(scope="module")
def jobs() -> dict[str, list[dict[str, Any]]]:
    """The versions of each job, the newest first."""
    with snapkit.open(ORACLES / "jobdiffs" / "jobs.snap") as snap:
        versions = [job for job in snap.objects("job_versions", reveal=True) if job["ID"] in DIFFS]
    versions.sort(key=lambda job: -job["Version"])
    return {name: [job for job in versions if job["ID"] == name] for name in DIFFS}


def in_no_order(value: Any) -> Any:
    """Go walks its maps in a random order, and its sort can't tell all objects of a name apart."""
    if isinstance(value, dict):
        return {name: in_no_order(item) for name, item in value.items()}
    if isinstance(value, list):
        return sorted((in_no_order(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value


@pytest.mark.parametrize("job", DIFFS)
def test_a_diff_is_the_real_servers(job: str, jobs: dict[str, list[dict[str, Any]]]) -> None:
    new, old = jobs[job]
    (theirs,) = DIFFS[job]
    ours = diff_jobs(old, new)
    assert in_no_order(ours) == in_no_order(theirs)
    if job not in ("identities", "removed"):  # two volumes, and two constraints that Go's sort does not tell apart
        assert ours == theirs


@pytest.mark.parametrize("job", DIFFS)
def test_a_job_and_itself_do_not_differ(job: str, jobs: dict[str, list[dict[str, Any]]]) -> None:
    diff = diff_jobs(jobs[job][0], jobs[job][0])
    assert (diff["Type"], diff["Fields"], diff["Objects"]) == ("None", None, None)
    assert {group["Type"] for group in diff["TaskGroups"]} == {"None"}


@pytest.mark.parametrize("archive", ARCHIVES)
def test_any_two_jobs_can_be_compared(archive: str) -> None:
    with snapkit.open(path_of(archive)) as snap:
        every = list(snap.objects("job_versions", reveal=True))
    for old, new in zip(every, every[1:] + every[:1], strict=True):
        assert diff_jobs(old, new)["Type"] in ("None", "Edited")
