"""`snapkit diff`: the exit status of diff, what changed in text, JSON and HTML, and a live cluster on one side."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

import snapkit

from ..conftest import path_of
from . import failed, fine, run, spawn

TUESDAY, WEDNESDAY = path_of("v2.0.5/tuesday"), path_of("v2.0.5/wednesday")


def differs(*arguments: object, **kwargs: Any) -> str:
    """The output of a diff that finds something."""
    ran = run("diff", *arguments, **kwargs)
    assert (ran.status, ran.err) == (1, "")
    return ran.out


def test_no_difference_is_status_0() -> None:
    assert fine("diff", TUESDAY, TUESDAY).splitlines()[-1] == "no differences"
    assert json.loads(fine("diff", "--json", TUESDAY, TUESDAY))["same"] is True


def test_what_changed_is_status_1_and_told_as_a_diff_has_it() -> None:
    lines = differs(TUESDAY, WEDNESDAY).splitlines()
    assert lines[0] == f"--- {TUESDAY}: 2026-11-23 22:08:54 UTC, index 136"
    assert lines[1] == f"+++ {WEDNESDAY}: 2026-11-23 22:09:03 UTC, index 148"
    assert "+ jobs default/metrics-agent" in lines
    assert "+ acl_tokens b11d19dc-ef33-7f21-5ff8-f259fc98a764 (svc-backup)" in lines
    start = lines.index("~ acl_policies anonymous")
    assert lines[start + 1 : start + 6] == [
        "    Rules:",
        "      @@ -1 +1,2 @@",
        '      -namespace "default" { policy = "read" }',
        '      +namespace "*" { policy = "write" }',
        '      +node { policy = "write" }',
    ]
    assert lines[-1] == "14 added, 3 changed; 13 have only grown older"


def test_what_cannot_be_compared_is_status_2(tmp_path: Path) -> None:
    cut = tmp_path / "cut.snap"
    cut.write_bytes(WEDNESDAY.read_bytes()[:9000])
    assert "cut.snap" in failed(run("diff", TUESDAY, cut))
    assert "No such file" in failed(run("diff", TUESDAY, tmp_path / "none.snap"))
    assert "has no table 'job'; did you mean jobs" in failed(run("diff", TUESDAY, WEDNESDAY, "--table", "job"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([TUESDAY], "give one of them"),
        ([TUESDAY, WEDNESDAY, "--live"], "give one of them"),
        ([TUESDAY, WEDNESDAY, "--stale"], "add --live"),
        (["-", "-"], "can be read once"),
        ([TUESDAY, WEDNESDAY, "--json", "--format", "html"], "give one of them"),
        ([TUESDAY, WEDNESDAY, "--summary", "--format", "html"], "leave out"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[object], told: str) -> None:
    assert told in failed(run("diff", *arguments))


def test_one_side_may_come_from_standard_input() -> None:
    assert "+++ a stream" in differs(TUESDAY, "-", stdin=WEDNESDAY.read_bytes())


def test_json_has_all_of_it() -> None:
    document = json.loads(differs("--json", TUESDAY, WEDNESDAY))
    assert list(document) == [*("schema", "a", "b", "same", "findings", "summary", "objects", "fields", "sources")]
    assert document["b"]["index"] == 148
    assert {"Table": "acl_policies", "Added": 0, "Removed": 0, "Changed": 1, "Noise": 0} in document["summary"]
    [token] = [item for item in document["objects"] if item["Table"] == "acl_tokens"]
    assert token == {
        "Table": "acl_tokens",
        "Key": ["b11d19dc-ef33-7f21-5ff8-f259fc98a764"],
        "Change": "added",
        "Name": "svc-backup",
        "Index": 137,
        "Fields": 0,
    }
    assert {row["Path"] for row in document["fields"] if row["Table"] == "acl_policies"} == {"Rules", "Hash"}


def test_a_summary_alone() -> None:
    assert ["acl_policies", "0", "0", "1", "0"] in [
        line.split() for line in differs("--summary", TUESDAY, WEDNESDAY).splitlines()
    ]
    summary = json.loads(differs("--summary", "--json", TUESDAY, WEDNESDAY))
    assert {"Table": "acl_tokens", "Added": 1, "Removed": 0, "Changed": 0, "Noise": 0} in summary


def test_only_some_tables_and_the_noise_too() -> None:
    text = differs("--table", "acl_policies", "--table", "nodes", "--noise", TUESDAY, WEDNESDAY)
    assert "LastAllocUpdateIndex: " in text
    assert text.splitlines()[-1] == "3 changed"
    assert fine("diff", "--table", "nodes", TUESDAY, WEDNESDAY).splitlines()[-1] == (
        "no differences; 2 have only grown older"
    )


def test_secrets_are_masked_unless_asked_for() -> None:
    monday = path_of("v2.0.5/monday")
    assert "shop/web:1." not in differs(monday, TUESDAY) + differs("--json", monday, TUESDAY)
    assert "Env.IMAGE: shop/web:1.4.2 -> shop/web:1.5.0" in differs("--reveal", monday, TUESDAY)


def test_a_page_in_a_file(tmp_path: Path) -> None:
    page = tmp_path / "changes.html"
    told = differs("--format", "html", "-o", page, TUESDAY, WEDNESDAY)
    assert told == f"{page}: 14 added, 3 changed; 13 have only grown older\n"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text("ascii")
    assert text.startswith("<!DOCTYPE html>")
    assert "svc-backup" in text
    assert "is there already" in failed(run("diff", "--format", "html", "-o", page, TUESDAY, WEDNESDAY))
    differs("--format", "html", "-o", page, "--overwrite", TUESDAY, TUESDAY.with_name("friday.snap"))
    assert "svc-backup" not in page.read_text("ascii")


def test_against_a_live_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    with snapkit.serve(WEDNESDAY) as cluster:
        monkeypatch.setenv("NOMAD_ADDR", cluster.address)
        monkeypatch.setenv("NOMAD_TOKEN", cluster.token)
        text = differs(TUESDAY, "--live")
        assert f"+++ {cluster.address}" in text
        assert "+ jobs default/metrics-agent" in text
        assert fine("diff", WEDNESDAY, "--live", "--stale").splitlines()[-1].startswith("no differences")


def test_as_a_process_of_its_own() -> None:
    assert spawn("diff", TUESDAY, TUESDAY).status == 0
    ran = spawn("diff", TUESDAY, WEDNESDAY)
    assert (ran.status, ran.err) == (1, "")
