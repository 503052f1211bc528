"""`snapkit search` with a pattern, without case, in some tables only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ..conftest import path_of
from ..state import samples
from . import failed, fine, run

MONDAY, WEDNESDAY = path_of("v2.0.5/monday"), path_of("v2.0.5/wednesday")


def hits(*arguments: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(fine("search", *arguments, "--json"))
    return rows


def test_a_pattern_and_case() -> None:
    literal = hits(WEDNESDAY, "stratum.example.invalid")
    assert len(literal) >= 5
    assert hits(WEDNESDAY, r"stratum\.\w+\.invalid", "--regex") == literal
    assert hits(WEDNESDAY, "STRATUM.EXAMPLE.INVALID", "--ignore-case") == literal
    assert hits(WEDNESDAY, r"^.*\bSTRATUM\b", "--regex", "-i") != []
    assert hits(WEDNESDAY, "STRATUM.EXAMPLE.INVALID") == []
    assert hits(WEDNESDAY, r"stratum\.\w+\.invalid") == []


def test_only_some_tables_and_a_namespace() -> None:
    assert {row["Table"] for row in hits(WEDNESDAY, "stratum", "--table", "jobs", "--table", "allocs")} == {
        "jobs",
        "allocs",
    }
    assert {row["Key"][0] for row in hits(MONDAY, "storefront", "--namespace", "shop", "--table", "jobs")} == {"shop"}
    assert hits(MONDAY, "storefront", "--namespace", "nowhere") == []


def test_a_search_without_a_hit_is_no_failure() -> None:
    for more in ([], ["--regex"], ["-i"], ["--table", "csi_volumes"]):
        assert fine("search", MONDAY, "nothing like that", *more) == "0 rows\n"


def test_a_hit_in_a_payload_is_masked_unless_it_is_asked_for() -> None:
    whole = [MONDAY, "WXYZ[", "--table", "jobs"]
    assert {row["Context"][:7] for row in hits(*whole)} == {"masked:"}
    assert all("WXYZ[" in row["Context"] for row in hits(*whole, "--reveal"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["(", "--regex"], "the regular expression '(': is no regular expression (missing )"),
        (["a*", "--regex"], "the regular expression 'a*': can match the empty string, which is everywhere; say what"),
        (["", "--regex"], "the text to search for: is empty"),
        (["x", "--table", "job"], "did you mean jobs"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str) -> None:
    assert said in failed(run("search", MONDAY, *arguments))


def test_a_key_that_is_no_text_is_told_as_text(tmp_path: Path) -> None:
    source = tmp_path / "odd.snap"
    source.write_bytes(
        samples.archive({"nodes": [{"ID": [b"\xff", 1.5], "Name": "findme"}, {"ID": 1.5, "Name": "findme"}]})
    )
    found = json.loads(fine("search", source, "findme", "--json"))
    assert [len(hit["Key"]) for hit in found] == [1, 1]
    assert all(isinstance(hit["Key"][0], str) for hit in found)
