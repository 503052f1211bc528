"""The filter expressions of Nomad's lists."""

from __future__ import annotations

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
    "JobSummary": {"Summary": {"front": {"Running": 2}}},
}


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ('Status == "running"', True),
        ("Status == running", True),
        ('Status != "running"', False),
        ("Priority == 50", True),
        ("Stop == false", True),
        ("Stop == true", False),
        ('Meta.owner == "storefront"', True),
        ('Meta["a.b"] == "dotted"', True),
        ('"/Meta/owner" == storefront', False),  # a value on the left: no selector
        ("JobSummary.Summary.front.Running == 2", True),
        ('"public" in Tags', True),
        ('"private" not in Tags', True),
        ('Tags contains "v1"', True),
        ('Tags not contains "v1"', False),
        ('ID contains "web"', True),
        ('"owner" in Meta', True),
        ("Datacenters is empty", True),
        ("Tags is not empty", True),
        ("Nothing is empty", True),
        ('ID matches "^web-[0-9]$"', True),
        ("ID matches `^web`", True),
        ('ID not matches "^db"', True),
        ('Missing == ""', True),
        ('Missing.deeper == "x"', False),
        ('not Status == "running"', False),
        ('Status == "dead" or ID == "web-1"', True),
        ('Status == "dead" or Status == "running" and Priority == 60', False),
        ('(Status == "dead" or Status == "running") and Priority == 50', True),
        ("not (Stop == true or Priority == 1)", True),
        ('"5" in Priority', False),
        ('Status == "with \\"quotes\\""', False),
    ],
)
def test_an_expression_matches_or_not(expression: str, matches: bool) -> None:
    assert matcher(expression)(ITEM) is matches


@pytest.mark.parametrize(
    "expression",
    ["", "Status", "Status ==", '== "x"', '(Status == "x"', 'Status == "x")', 'Status == "x" "y"', 'ID matches "("',
     'Status = "x"', 'Status == "x', "(" * 200 + 'a == "b"' + ")" * 200, "not " * 200 + 'a == "b"'],
)  # fmt: skip
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(FilterError):
        matcher(expression)(ITEM)


@given(st.text(alphabet='aS("`)[].=!\\ \tnotinorandcontainsmatches', max_size=40))
@example("a" * 40)
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    try:
        matches = matcher(text)
        assert matches(ITEM) in (True, False)
    except FilterError as error:
        assert error.what  # noqa: PT017
