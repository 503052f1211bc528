"""The filter expressions of Nomad's lists. What a real server makes of them is in test_differential.py."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snapkit.cluster.filters import FilterError, matcher

ITEM: dict[str, Any] = {
    "ID": "web-1",
    "Status": "running",
    "Priority": 50,
    "Stop": False,
    "Meta": {"owner": "storefront", "a.b": "dotted"},
    "Tags": ["public", "v1"],
    "Datacenters": [],
    "Nothing": None,
    "TaskGroups": [{"Name": "front", "Count": 2}, {"Name": "cache", "Count": 1}],
}


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ('Status == "running"', True),
        ("Status == running", True),
        ('Status=="running"', True),
        ('Status != "running"', False),
        ("Priority == 50", True),
        ('Priority == "0x32"', True),
        ("Stop == false", True),
        ("Stop == T", False),
        ('Meta.owner == "storefront"', True),
        ('Meta["a.b"] == "dotted"', True),
        ('"/Meta/owner" == storefront', True),
        ('Meta.none == ""', False),
        ('Meta.none != "x"', True),
        ("Meta.none is empty", True),
        ('"public" in Tags', True),
        ('"private" not in Tags', True),
        ('Tags contains "v1"', True),
        ('Tags not contains "v1"', False),
        ('ID contains "web"', True),
        ('"owner" in Meta', True),
        ("Datacenters is empty", True),
        ("Tags is not empty", True),
        ("Nothing is nil", True),
        ("Tags is not nil", True),
        ('ID matches "^web-[0-9]$"', True),
        ("ID matches `^web`", True),
        ('ID not matches "^db"', True),
        ('not Status == "running"', False),
        ("not not Stop == false", True),
        ('Status == "dead" or ID == "web-1"', True),
        ('Status == "dead" or Status == "running" and Priority == 60', False),
        ('(Status == "dead" or Status == "running") and Priority == 50', True),
        ("not (Stop == true or Priority == 1)", True),
        ('TaskGroups.1.Name == "cache"', True),
        ("any TaskGroups as g { g.Count == 2 }", True),
        ("all TaskGroups as g { g.Count == 2 }", False),
        ("any TaskGroups as i, _ { i == 1 }", True),
        ('any Meta as k, v { k == "owner" and v == "storefront" }', True),
        ('Status == "dead" or any TaskGroups as _, g { g.Name == "front" }', True),
        ('Status == "a\\x62"', False),
    ],
)
def test_an_expression_matches_or_not(expression: str, matches: bool) -> None:
    assert matcher(expression)(ITEM) is matches


@pytest.mark.parametrize(
    "expression",
    ["", "Status", "Status ==", '== "x"', '(Status == "x"', 'Status == "x")', 'Status == "x" "y"', 'ID matches "("',
     'Status = "x"', 'Status == "x', "(" * 200 + 'a == "b"' + ")" * 200, "not " * 200 + 'a == "b"', "Status == a-b",
     'Status == "\\q"', 'Missing == ""', "Missing.deeper == x", "Nothing is empty", '"5" in Priority',
     'ID matches "(?=w)"', "any TaskGroups as g { g.Count == 1 } or Stop == true", "Priority == 1.5",
     "any Priority as p { p == 1 }"],
)  # fmt: skip
def test_what_is_no_expression_or_does_not_fit_is_refused(expression: str) -> None:
    with pytest.raises(FilterError):
        matcher(expression)(ITEM)


def test_a_field_that_a_record_has_not_is_told_from_one_that_is_not_set() -> None:
    assert matcher('ParentID == ""', "Job")({"ID": "x"})
    assert matcher("Meta is empty", "Job")({"ID": "x", "Meta": None})
    with pytest.raises(FilterError, match='couldn\'t find key: struct field with name "Parent"'):
        matcher('Parent == ""', "Job")({"ID": "x"})


@given(st.text(alphabet='aS("`)[].=!\\ \tnotinorandcontainsmatches{},_as', max_size=40))
@example("a" * 40)
@example("any a as a { a == 1 }")
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    try:
        matches = matcher(text)
        assert matches(ITEM) in (True, False)
    except FilterError as error:
        assert error.what  # noqa: PT017


@pytest.mark.parametrize("text", ["(" * 49 + "a", '("' * 30, "not " * 40, "a[" * 500, "a." * 500, "(a == 1 or " * 45])
def test_no_expression_takes_long(text: str) -> None:
    """A parser that went back would double its work with each parenthesis."""
    began = time.process_time()
    with pytest.raises(FilterError):
        matcher(text)
    assert time.process_time() - began < 1
