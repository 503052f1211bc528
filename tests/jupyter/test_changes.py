"""Changes to click through: what the lists offer, what they narrow to, and what is shown of an object."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator

import pytest

import snapkit
from snapkit.jupyter.changes import ChangesBrowser, detail
from snapkit.state.changes.changes import Changes

from .. import forge
from ..conftest import ORACLES, path_of

pytest.importorskip("ipywidgets")


@pytest.fixture(scope="module")
def changes() -> Iterator[Changes]:
    with (
        snapkit.open(path_of("v2.0.5/monday"), key="k") as monday,
        snapkit.open(path_of("v2.0.5/tuesday"), key="k") as tuesday,
    ):
        yield snapkit.compare(monday, tuesday)


def words(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", text))


def test_a_change_is_told_by_sign_and_word(changes: Changes) -> None:
    browser = ChangesBrowser(changes)
    shown = browser.grid.frame
    assert set(shown["Change"]) == {"+ added", "\N{MINUS SIGN} removed", "~ changed"}
    assert len(shown) == len(changes)
    assert shown["Fields"][shown["Change"] != "~ changed"].isna().all()
    assert [option for option, _ in browser.change.options] == [
        "all (48)",
        "~ changed (15)",
        "+ added (31)",
        "\N{MINUS SIGN} removed (2)",
    ]


def test_it_narrows_to_a_table_and_a_change(changes: Changes) -> None:
    browser = ChangesBrowser(changes)
    browser.table.value = "acl_tokens"
    assert browser.grid.frame["Change"].tolist() == ["\N{MINUS SIGN} removed", "+ added"]
    browser.change.value = "added"
    assert len(browser.grid.frame) == 1
    browser.grid.filter = "no such thing"
    browser.table.value = ""
    assert browser.grid.filter == "no such thing", "what was typed stays"
    assert len(browser.grid.frame) == 31


def test_what_only_grew_older_is_shown_on_request(changes: Changes) -> None:
    browser = ChangesBrowser(changes)
    assert "indexes" not in dict(browser.table.options).values()
    browser.table.value = "nodes"
    assert len(browser.grid.frame) == 1
    browser.noise.value = True
    assert browser.table.value == "nodes", "what was chosen stays"
    assert browser.grid.frame["Change"].tolist() == ["~ changed", "~ changed, older", "~ changed, older"]
    browser.table.value = "indexes"
    browser.noise.value = False
    assert browser.table.value == "", "there are none now"
    with_noise = ChangesBrowser(snapkit.compare(path_of("v2.0.5/monday"), path_of("v2.0.5/tuesday"), noise=True))
    assert len(with_noise.grid.frame) == 63
    assert with_noise.noise.disabled


def test_choosing_an_object_shows_its_fields(changes: Changes) -> None:
    browser = ChangesBrowser(changes)
    browser.table.value = "jobs"
    place = list(browser.grid.frame["Key"]).index(("shop", "web"))
    assert browser.grid.on_select is not None
    browser.grid.on_select(place)
    told = words(browser.detail.value)
    assert "jobs shop/web : 7 fields changed" in " ".join(told.split())
    assert 'TaskGroups["front"].Count' in told
    assert re.search(r"Env\.IMAGE +masked:\w+ +→ +masked:\w+", " ".join(told.split()))
    assert "2026-11-23T22:08:" in told, "times are for people"
    assert "Stable true → false" in " ".join(told.split())
    assert "2 lines added, 1 removed" in told
    assert "3 more that only grew older" in told


def test_a_whole_record_is_shown_with_its_secrets_masked(changes: Changes) -> None:
    added = changes.objects[(changes.objects["Table"] == "acl_tokens") & (changes.objects["Change"] == "added")]
    told = words(detail(changes, "acl_tokens", added["Key"].iloc[0]))
    assert "+ added , whole" in told
    assert '"SecretID": "masked:' in told
    secrets = [token["SecretID"] for token in json.loads((ORACLES / "v2.0.5" / "tokens.json").read_text()).values()]
    browser = ChangesBrowser(changes)
    for place in range(len(browser.grid.frame)):
        browser._open(place)
        assert not [secret for secret in secrets if secret in browser.detail.value]


def test_text_is_a_diff(changes: Changes) -> None:
    with snapkit.open(path_of("v2.0.5/tuesday")) as tuesday, snapkit.open(path_of("v2.0.5/wednesday")) as wednesday:
        told = detail(snapkit.compare(tuesday, wednesday), "acl_policies", ("anonymous",))
    assert ">+namespace &quot;*&quot; { policy = &quot;write&quot; }</span>" in told
    assert ">-namespace &quot;default&quot; { policy = &quot;read&quot; }</span>" in told


EVIL = "<script>alert('x')</script>\u202e"


def test_what_an_archive_holds_is_text() -> None:
    def state(description: str) -> bytes:
        policy = {"Name": EVIL, "Description": description, "Rules": f"{EVIL}\n{description}\n"}
        return forge.archive(forge.state(forge.record(11, policy)))

    changes = snapkit.compare(state("a"), state(EVIL))
    browser = ChangesBrowser(changes)
    browser._open(0)
    for shown in (browser.to_html(), browser.detail.value):
        assert "<script" not in shown
        assert "\u202e" not in shown
        assert "&lt;script&gt;" in shown


def test_of_no_changes_it_says_so() -> None:
    browser = ChangesBrowser(snapkit.compare(path_of("v2.0.5/monday"), path_of("v2.0.5/monday")))
    assert "no differences" in browser.to_html()
    assert len(browser.grid.frame) == 0


def test_what_is_shown_of_an_object_is_bounded() -> None:
    def job(value: str) -> bytes:
        meta = {f"k{i}{'x' * 1000}": value for i in range(1000)}
        record = forge.record(1, {"Namespace": "default", "ID": "n" * 100_000, "ModifyIndex": 5, "Meta": meta})
        return forge.archive(forge.state(record))

    limits = snapkit.Limits(ratio=1e6)
    with snapkit.open(job("a"), limits=limits) as one, snapkit.open(job("b"), limits=limits) as other:
        browser = ChangesBrowser(snapkit.compare(one, other))
        browser._open(0)
        assert "and 500 more: told() has all" in browser.detail.value
        assert len(browser.detail.value) < 1_000_000
        assert len(browser.to_html()) < 5_000
