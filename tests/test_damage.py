"""The catalogue of damages in itself: whole, repeatable, and with a verdict for each."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from typing import Any

import pytest

import snapkit
from snapkit.format.values import unpack
from tests import damage as catalogue
from tests.damage import DAMAGES, Damage, damaged, whole

from .conftest import ORACLES

VERDICTS: dict[str, dict[str, Any]] = json.loads((ORACLES / "verdicts.json").read_text(encoding="utf-8"))
EACH = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)


def test_there_are_enough_and_no_name_stands_twice() -> None:
    assert len(DAMAGES) >= 65
    assert [name for name, count in Counter(damage.name for damage in DAMAGES).items() if count > 1] == []


def test_each_has_a_verdict_and_each_verdict_a_damage() -> None:
    assert list(VERDICTS) == [damage.name for damage in DAMAGES]


@EACH
def test_it_is_built_the_same_each_time_and_is_not_its_base(damage: Damage) -> None:
    base = whole(damage.base)
    made = damage.build(base)
    assert made == damage.build(base) == damaged(damage)
    assert made != base


@EACH
def test_its_check_has_an_id(damage: Damage) -> None:
    assert re.fullmatch(r"|(archive|state|refs)\.[a-z]+(-[a-z]+)*", damage.expects)


@EACH
def test_its_verdict_makes_sense(damage: Damage) -> None:
    found = VERDICTS[damage.name]
    statuses = {"accepts": {200}, "refuses": {500}, "swapped": {500}, "locked": {200, 500}, "dies": {0}}
    assert found["status"] in statuses[found["verdict"]]
    assert bool(found["words"]) is (found["status"] != 200)


@EACH
def test_what_no_server_takes_is_not_harmless(damage: Damage) -> None:
    assert damage.expects or VERDICTS[damage.name]["verdict"] == "accepts"


@pytest.mark.parametrize("base", sorted({damage.base for damage in DAMAGES}))
def test_what_is_not_damaged_is_built_as_it_was(base: str) -> None:
    """A damage does what its name says, and nothing else: the rest is as Go wrote it."""
    data = whole(base)
    files = catalogue.members(data)
    assert gzip.decompress(catalogue.squeeze(catalogue.tarred(data, files.items()))) == gzip.decompress(data)
    assert catalogue.squeeze(b"")[:10] == data[:10]
    with snapkit.open(data) as snap, snapkit.open(catalogue.stream(list)(data)) as rebuilt:
        assert list(rebuilt.raw()) == list(snap.raw())
        assert json.loads(catalogue.dumps(snap.archive.meta)) == dict(rebuilt.archive.meta)
    packed_again = catalogue.records(catalogue.edited("jobs", lambda job: None)(data))
    assert [(byte, unpack(packed)) for byte, packed in packed_again] == [
        (byte, unpack(packed)) for byte, packed in catalogue.records(data)
    ]
