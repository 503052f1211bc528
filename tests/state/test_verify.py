"""Verify: what is said of real archives, and each finding explained; targets, keys, digests, levels."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import snapkit
from snapkit.format import archive as container
from snapkit.state.edit import edited
from snapkit.state.report import Report
from snapkit.state.verify import CHECKS, LEVELS, verify
from snapkit.state.verify.registry import REHEARSAL, markdown
from tests import forge

from ..conftest import ARCHIVES, DATA, RAFT_DIRECTORIES, ROOT, path_of
from . import samples

FRIDAY = path_of("v2.0.5/friday")


def said(report: Report, *severities: str) -> set[tuple[str, str]]:
    """Check and place of the findings."""
    return {(f.check, f.place) for f in report.found if f.severity in severities}


@pytest.fixture
def private(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of an archive that only its owner may read, as snapkit writes them."""

    def copy(archive: str) -> Path:
        path = tmp_path / f"{archive.replace('/', '-')}.snap"
        path.touch(0o600)
        path.write_bytes(path_of(archive).read_bytes())
        return path

    return copy


# -- real archives

#: What the story of each week leaves behind (data/README.md).
STORY: dict[str, dict[str, set[str]]] = {
    "v0.12.12/monday": {},
    "v0.12.12/tuesday": {
        "state.deletion": {"table acl_tokens"},  # `ops dashboard` is deleted
        "refs.eval-job": {"1 default/train"},  # purged, its evaluation is left
    },
    "v1.4.14/monday": {"refs.variable-key": {"4 variables"}, "refs.identity-key": {"15 allocations"}},
    "v1.4.14/tuesday": {
        "state.deletion": {"table acl_tokens", "table variables"},  # ops dashboard, motd
        "refs.variable-key": {"3 variables"},  # the keys are on disk up to 1.8
        "refs.identity-key": {"16 allocations"},
    },
    "v1.8.4/monday": {"refs.variable-key": {"4 variables"}, "refs.identity-key": {"13 allocations"}},
    "v1.8.4/tuesday": {
        "state.deletion": {"table acl_tokens", "table variables"},
        "refs.variable-key": {"3 variables"},
        "refs.identity-key": {"16 allocations"},
    },
    "v2.0.5/monday": {},
    "v2.0.5/tuesday": {"state.deletion": {"table acl_tokens", "table variables"}},
    "v2.0.5/wednesday": {"state.deletion": {"table variables"}},  # the thief's token is the last write to tokens
    "v2.0.5/thursday": {
        # svc-backup deleted; metrics-agent purged, with its deployment and scaling history
        "state.deletion": {"table acl_tokens", "table variables", "table deployments", "table scaling_events"},
        "refs.eval-job": {"2 default/metrics-agent"},
    },
    "v2.0.5/friday": {
        "state.deletion": {"table acl_tokens", "table variables", "table scaling_events"},  # psp/credentials, payments
        "refs.eval-job": {"9 payments/payments", "2 default/metrics-agent"},
    },
}


@pytest.mark.parametrize("archive", STORY)
def test_a_real_archive_is_ok_and_each_finding_is_in_its_story(archive: str, private: Callable[[str], Path]) -> None:
    report = verify(private(archive))
    assert report.ok
    assert report.version_range
    assert report.snapshot_id
    found: dict[str, set[str]] = {}
    jobs: dict[str, int] = {}
    for finding in report.found:
        if finding.check == "refs.eval-job":
            job = finding.message.removeprefix("its job ").removesuffix(" is not in the state")
            jobs[job] = jobs.get(job, 0) + 1
        elif finding.check in ("refs.variable-key", "refs.identity-key"):
            found.setdefault(finding.check, set()).add(
                finding.message.removeprefix("the identities of ").partition(" and nodes")[0].partition(" need it")[0]
            )
        else:
            found.setdefault(finding.check, set()).add(finding.place)
    if jobs:
        found["refs.eval-job"] = {f"{count} {job}" for job, count in jobs.items()}
    assert found == STORY[archive]


def test_the_made_up_archive_is_ok_though_its_references_lead_nowhere(private: Callable[[str], Path]) -> None:
    report = verify(private("every-table/every-table"))
    assert report.ok
    assert {f.check for f in report.found} == {
        "state.index-table",
        "state.missing-root-key",
        "refs.alloc-eval",
        "refs.service-alloc",
        "refs.service-node",
        "refs.token-policy",
        "refs.scaling-policy-job",
        "refs.variable-key",
    }


@pytest.mark.parametrize("folder", RAFT_DIRECTORIES)
def test_a_servers_own_copies_are_ok(folder: str) -> None:
    report = verify(DATA / folder)
    assert report.ok
    assert {f.check for f in report.found} <= {
        "state.deletion", "refs.eval-job", "refs.variable-key", "refs.identity-key", "state.index-table",
    }  # fmt: skip


@pytest.mark.parametrize("cluster", ["v1.4.14", "v1.8.4"])
def test_a_keystore_takes_the_warnings_about_keys_away(cluster: str) -> None:
    report = verify(path_of(f"{cluster}/tuesday"), keystore=DATA / cluster / "keystore")
    assert not {"refs.variable-key", "refs.identity-key"} & {f.check for f in report.found}


# -- arguments


@pytest.mark.parametrize(
    ("archive", "target", "checks"),
    [
        ("v2.0.5/friday", "2.0.5", set()),
        ("v2.0.5/friday", "1.6.2", {"target.unknown-type"}),
        ("v2.0.5/friday", "v1.10.0", set()),
        ("v1.8.4/tuesday", "1.9.2", {"target.time-table"}),
        ("v1.8.4/tuesday", "1.9.3", set()),
        ("v1.8.4/tuesday", "1.7.2", {"target.unknown-type"}),  # job submissions are from 1.6.6 and 1.7.3
        ("v1.8.4/tuesday", "1.6.6", set()),
        ("v1.8.4/tuesday", "1.7.3", set()),
        ("v0.12.12/tuesday", "2.0.5", set()),
        ("v0.12.12/tuesday", "0.10", {"target.unknown-type"}),
    ],
)
def test_a_target_is_judged_by_what_it_knows(archive: str, target: str, checks: set[str]) -> None:
    report = verify(path_of(archive), target)
    assert {f.check for f in report.found if f.severity == "error"} == checks
    assert report.target == target


def test_enterprise_types_kill_a_community_server_and_are_fine_on_their_own() -> None:
    data = with_records(forge.record(69, {"ID": "quota"}))
    assert ("target.unknown-type", "table unknown_69") in said(verify(data, "2.0.5"), "error")
    assert verify(data, "2.0.5+ent").ok
    assert ("state.unknown-type", "table unknown_69") in said(verify(data), "warning")
    newer = with_records(forge.record(40, {"ID": "x"}))
    assert not verify(newer, "2.0.5+ent").ok, "no Enterprise type either"


def with_records(*records: bytes) -> bytes:
    with snapkit.open(FRIDAY) as snap:
        state = b"".join(snap.chunks()) + b"".join(records)
        return rewritten(snap, state)


def rewritten(snap: snapkit.Snapshot, state: bytes, **meta: Any) -> bytes:
    out = io.BytesIO()
    container.write_to(out, {**snap.archive.meta, **meta}, [state], len(state))
    return out.getvalue()


def test_types_that_the_target_drops_are_noted() -> None:
    data = samples.archive({"vault_accessors": [samples.struct("VaultAccessor")]})
    assert ("target.dropped", "table vault_accessors") in said(verify(data, "1.10.0"), "note")
    assert "target.dropped" not in {f.check for f in verify(data, "1.9.0").found}


def test_a_digest_is_compared(private: Callable[[str], Path]) -> None:
    path = private("v2.0.5/monday")
    right = hashlib.sha256(path.read_bytes())
    for digest in (right.hexdigest(), f"sha-256={base64.b64encode(right.digest()).decode()}"):
        assert verify(path, digest=digest).found == ()
        assert verify(path.read_bytes(), digest=digest).found == ()
    assert said(verify(path, digest="0" * 64), "error") == {("archive.digest", "the archive")}


def test_an_earlier_archive_tells_when_it_is_another_cluster_or_goes_back() -> None:
    friday, monday = FRIDAY, path_of("v2.0.5/monday")
    assert "archive.against" not in {f.check for f in verify(friday, against=monday).found}
    assert "archive.against" in {f.check for f in verify(monday, against=friday).found}
    assert "archive.against" in {f.check for f in verify(friday, against=path_of("v1.8.4/monday")).found}


def test_an_earlier_snapshot_that_is_open_stays_open() -> None:
    with snapkit.open(path_of("v2.0.5/monday")) as monday:
        verify(FRIDAY, against=monday)
        assert list(monday.objects("jobs"))


def test_its_age_is_told_when_it_is_asked(private: Callable[[str], Path]) -> None:
    path = private("v2.0.5/monday")
    with snapkit.open(path) as snap:
        created = snap.meta.created
    assert created is not None
    (finding,) = verify(path, now=created + timedelta(days=3)).found
    assert (finding.check, finding.severity, finding.message) == ("archive.age", "note", "it is 3.0 days old")


def test_a_file_that_others_may_read_is_told(private: Callable[[str], Path]) -> None:
    path = private("v2.0.5/monday")
    assert verify(path).found == ()
    path.chmod(0o640)
    (finding,) = verify(path).found
    assert (finding.check, finding.message, finding.advice) == ("archive.mode", "its mode is 640", "chmod 600")


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_has_those_before_it_and_no_more(level: str) -> None:
    damaged = with_records(forge.record(0, {"ID": 5}))
    report = verify(damaged, level=level)
    assert report.levels == LEVELS[: LEVELS.index(level) + 1]
    assert {CHECKS[f.check].level for f in report.found} <= set(report.levels)
    assert report.ok == (level in ("archive", "framing"))


@pytest.mark.parametrize(
    "arguments", [{"target": "latest"}, {"target": "1"}, {"digest": "abc"}, {"level": "all"}, {"target": "1.6.2.3.4"}]
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(snapkit.SnapshotError):
        verify(FRIDAY, **arguments)  # type: ignore[arg-type]


def test_nothing_to_read_is_an_error_and_all_else_a_report(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.snap", tmp_path):
        with pytest.raises(snapkit.SnapshotError):
            verify(missing)
    for content in (b"", b"hello", b"<html>", FRIDAY.read_bytes()[:2_000], b"\x80\x00", bytes(1 << 20)):
        report = verify(content)
        assert not report.ok
        assert report.found[0].place
        assert report.found[0].advice


def test_many_findings_of_one_check_are_cut_short_and_said_to_be() -> None:
    def elsewhere(alloc: dict[bytes, Any]) -> bool:
        alloc[b"NodeID"] = b"gone"
        return True

    with snapkit.open(FRIDAY) as snap:
        data = rewritten(snap, b"".join(edited(snap, {"allocs": elsewhere})))
    found = [f for f in verify(data, most=5).found if f.check == "refs.alloc-node"]
    assert [f.place for f in found][-1] == "and so on"
    assert len(found) == 6
    assert len([f for f in verify(data, most=1_000).found if f.check == "refs.alloc-node"]) == 18


def test_a_report_is_a_dataframe_of_findings() -> None:
    frame = verify(path_of("v2.0.5/thursday")).findings
    assert list(frame.columns) == ["Check", "Severity", "Place", "Message", "Advice"]
    assert {str(dtype) for dtype in frame.dtypes} == {"str"}
    assert verify(b"").findings.Check.tolist() == ["archive.not-a-snapshot"]
    assert isinstance(frame, pd.DataFrame)


# -- the checks themselves


@pytest.mark.parametrize("check", list(CHECKS))
def test_a_check_says_what_it_finds_and_what_to_do(check: str) -> None:
    declared = CHECKS[check]
    assert declared.id == check
    assert declared.level in (*LEVELS, REHEARSAL)
    assert declared.severity in ("error", "warning", "note")
    assert declared.title.endswith(".")
    assert not declared.advice.endswith(".")


def test_the_page_of_checks_is_made_from_them() -> None:
    assert (ROOT / "docs" / "checks.md").read_text(encoding="utf-8") == markdown()


def test_every_archive_has_a_story() -> None:
    assert set(STORY) | {"every-table/every-table"} == set(ARCHIVES)
