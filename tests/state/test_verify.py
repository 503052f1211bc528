"""Verify: what is said of real archives, and each finding explained; targets, keys, digests, levels."""

from __future__ import annotations

import base64
import gc
import hashlib
import io
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.format import archive as container
from snapkit.format.schema import BY_TABLE, fields
from snapkit.state.findings.report import Report
from snapkit.state.output.edit import edited
from snapkit.state.verify import CHECKS, LEVELS, Check, verify
from snapkit.state.verify.decoding import Decoding
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
        assert "records" not in report.levels, "none could be looked at"


def test_many_findings_of_one_check_are_cut_short_and_said_to_be() -> None:
    def elsewhere(alloc: dict[bytes, Any]) -> bool:
        alloc[b"NodeID"] = b"gone"
        return True

    with snapkit.open(FRIDAY) as snap:
        data = rewritten(snap, b"".join(edited(snap, {"allocs": elsewhere})))
    found = [f for f in verify(data, most=5).found if f.check == "refs.alloc-node"]
    assert (found[-1].place, found[-1].message) == ("and so on", "found 18 times; the first 5 are listed")
    assert len(found) == 6
    assert len([f for f in verify(data, most=1_000).found if f.check == "refs.alloc-node"]) == 18


def test_records_that_do_not_decode_are_counted_too() -> None:
    """And no more of them is kept than is listed."""
    record = forge.record(1, {"Namespace": "default", "ID": 7})
    found = [
        f for f in verify(forge.archive(forge.state(*[record] * 50)), most=2).found if f.check == "state.field-type"
    ]
    assert [f.place for f in found] == ["state.bin record 1 (Job)", "state.bin record 2 (Job)", "and so on"]
    assert found[-1].message == "found 50 times; the first 2 are listed"


def test_a_report_is_a_dataframe_of_findings() -> None:
    frame = verify(path_of("v2.0.5/thursday")).findings
    assert list(frame.columns) == ["Check", "Severity", "Place", "Message", "Advice"]
    assert {str(dtype) for dtype in frame.dtypes} == {"str"}
    assert verify(b"").findings.Check.tolist() == ["archive.not-a-snapshot"]
    assert isinstance(frame, pd.DataFrame)


# -- the pass over the records


class Dribble(io.BytesIO):
    """A stream that gives no more at a time than it is told to, over and over."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data)
        self._sizes = cycle(sizes)

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, next(self._sizes)))


@cache
def speckled() -> tuple[bytes, list[str]]:
    """Friday's state.bin with a record that no server takes after each nine; and where those are."""
    pieces, places = [], []
    with snapkit.open(FRIDAY) as snap:
        pieces.append(snap.header)
        for number, (byte, packed) in enumerate(snap.raw(), 1):
            pieces.append(bytes([byte]) + packed)
            if number % 9 == 0:
                pieces.append(forge.record(25, {"ID": f"role{number}", "Name": 5}))
                places.append(f"state.bin record {number + number // 9} (ACLRole)")
    return b"".join(pieces), places


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=5))
@example([1 << 20])
@example([1, 20_000])
@example([513, 1, 1])
def test_however_the_state_comes_in_each_record_is_looked_at_once(sizes: list[int]) -> None:
    state, places = speckled()
    whole = verify(state, most=100)
    assert [f.place for f in whole.found if f.check == "state.field-type"] == places
    assert {f.check for f in whole.found if f.severity == "error"} == {"state.field-type"}
    assert verify(Dribble(state, sizes), most=100).found == whole.found


def test_a_level_that_needs_no_records_decodes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(*_: object) -> None:
        raise AssertionError("decodes")

    monkeypatch.setattr(Decoding, "take", take)
    assert verify(FRIDAY, level="framing", against=path_of("v2.0.5/monday")).ok
    with pytest.raises(AssertionError):
        verify(FRIDAY, level="records")


def test_threads_and_the_collector_are_as_before_once_it_is_done() -> None:
    before = sys.getswitchinterval()
    with ThreadPoolExecutor(4) as pool:
        assert all(report.ok for report in pool.map(verify, [FRIDAY] * 12))
    assert not verify(b"\x80\x00").ok
    with pytest.raises(snapkit.SnapshotError):
        verify(ROOT / "nothing here")
    assert sys.getswitchinterval() == before
    assert gc.isenabled()


EXTENSION = b"\xc7\x03\xff\1\2\3"  # a timestamp of three bytes, which msgpack does not have


@pytest.mark.parametrize(
    ("record", "check"),
    [
        (b"\x1e\1", "state.not-a-map"),  # a root key
        (b"\x1e\x90", "state.not-a-map"),
        (forge.record(30, {"KeyID": 5}), "state.field-type"),
        (forge.record(30, {"KeyID": "k", "WrappedKeys": 5}), "state.field-type"),
        (b"\x0e\1", "state.not-a-map"),  # cluster metadata
        (b"\x01\x82\xa2ID\xa1x\xa4Meta" + EXTENSION, "state.field-type"),
        (b"\x45\x81\xa2ID" + EXTENSION, "state.unknown-type"),
        (b"\x01\x83\xa9Namespace\xa1x\xa2ID\xa1\xff\xa1?" + b"\x81\xa1a" * 300 + b"\xc0", "state.text"),
        (b"\x01\x83\xa9Namespace\xa1x\xa2ID\xa1\xff\xa1?" + b"\x81\xa1a" * 800 + b"\xc0", "state.text"),
        (b"\x01\x83\xa9Namespace\xa1x\xa2ID\x05\xa1?" + b"\x81\xa1a" * 800 + b"\xc0", "state.field-type"),
    ],
)
def test_a_record_that_makes_no_sense_is_a_finding_and_no_failure(record: bytes, check: str) -> None:
    found = {f.check: f.place for f in verify(with_records(record)).found}
    assert found[check].startswith("state.bin record 158 " if check != "state.unknown-type" else "table unknown_69")


def with_each(table: str, **values: Any) -> bytes:
    """Friday with some fields of each record of a table set."""

    def change(record: dict[bytes, Any]) -> bool:
        record.update({name.encode(): value for name, value in values.items()})
        return True

    with snapkit.open(FRIDAY) as snap:
        return rewritten(snap, b"".join(edited(snap, {table: change})))


def new_in(data: bytes) -> set[str]:
    """The checks that find something which they did not find on Friday."""
    everything = ("error", "warning", "note")
    found = said(verify(data, most=100), *everything) - said(verify(FRIDAY.read_bytes(), most=100), *everything)
    return {check for check, _ in found}


def test_what_is_readable_of_a_record_that_is_refused_counts() -> None:
    """Its allocations' node is there, if with a name that no server takes; one index is read and one is none."""
    assert new_in(with_each("nodes", Name=5, ModifyIndex=-1, CreateIndex=2**40)) == {"state.field-type"}


def test_a_record_with_odd_text_is_looked_at_as_any_other() -> None:
    assert new_in(with_each("jobs", Name=b"\xff")) == {"state.text"}
    assert new_in(with_each("jobs", Name=b"\xff", Stop=5)) == {"state.field-type"}
    elsewhere = new_in(with_each("jobs", Name=b"\xff", Namespace=b"none"))
    assert {"state.text", "refs.job-namespace", "refs.job-summary", "refs.periodic-launch"} <= elsewhere


def test_a_time_that_nanoseconds_can_not_hold_is_told_of() -> None:
    found = verify(with_each("nodes", StatusUpdatedAt=2**36)).found
    messages = {f.message for f in found if f.check == "state.time-future"}
    assert messages == {"StatusUpdatedAt is 4147-08-20T07:32:16Z"}


# -- the checks themselves


@pytest.mark.parametrize("check", [check for check in CHECKS.values() if check.columns], ids=lambda check: check.id)
def test_the_columns_that_a_check_looks_at_are_there(check: Check) -> None:
    for table, names in check.columns.items():
        assert set(names) <= set(fields(BY_TABLE[table].struct))


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
