"""Verify over the catalogue of damages: each is found by its own check first, and judged as a real server judged it."""

from __future__ import annotations

import json
from functools import cache

import pytest

from snapkit.state.findings.report import Finding
from snapkit.state.verify import verify
from tests.damage import BY_NAME, DAMAGES, damaged

from ..conftest import ORACLES, path_of

VERDICTS = json.loads((ORACLES / "verdicts.json").read_text(encoding="utf-8"))
#: All checks that find something, by damage: its own first, then those that follow from it.
FOLLOWING = json.loads((ORACLES / "findings.json").read_text(encoding="utf-8"))
TARGET = "2.0.5"  # of the server that gave the verdicts


@cache
def of_the_base(archive: str) -> frozenset[tuple[str, str, str]]:
    return frozenset((f.check, f.place, f.message) for f in verify(path_of(archive).read_bytes()).found)


def own(name: str) -> list[Finding]:
    """What is found that the base itself does not give."""
    damage = BY_NAME[name]
    base = of_the_base(damage.base)
    return [f for f in verify(damaged(damage)).found if (f.check, f.place, f.message) not in base]


@pytest.mark.parametrize("name", [damage.name for damage in DAMAGES])
def test_a_damage_is_found_by_its_own_check_first(name: str) -> None:
    found = own(name)
    assert (found[0].check if found else "") == BY_NAME[name].expects
    assert list(dict.fromkeys(finding.check for finding in found)) == FOLLOWING[name]
    assert all(finding.place and finding.message and finding.advice for finding in found)


@pytest.mark.parametrize("name", [damage.name for damage in DAMAGES])
def test_an_error_is_what_a_real_server_does_not_take_in(name: str) -> None:
    report = verify(damaged(BY_NAME[name]), TARGET)
    accepted = VERDICTS[name]["verdict"] == "accepts"
    if BY_NAME[name].stricter:
        assert report.ok != accepted, "and no reason is needed where they agree"
    else:
        assert report.ok == accepted


def test_the_catalogue_is_what_was_asked_for() -> None:
    assert len(DAMAGES) >= 60
    assert {"accepts", "refuses", "swapped", "dies", "locked"} == {v["verdict"] for v in VERDICTS.values()}
