"""`snapkit show FILE variables --reveal` and `show FILE --keys`: variables unlocked, and how root keys stand."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import snapkit

from ..conftest import DATA, ORACLES, path_of
from . import failed, fine, run

MONDAY = path_of("v2.0.5/monday")
WITH_KEYSTORE = ["v1.4.14", "v1.8.4"]


def known(release: str) -> dict[tuple[str, str], dict[str, str]]:
    """The items of variables, as the live cluster said on Monday."""
    said = json.loads((ORACLES / release / "variables.json").read_text(encoding="utf-8"))
    return {(v["Namespace"], v["Path"]): v["Items"] for v in said}


def opening(release: str) -> list[object]:
    keystore: list[object] = ["--keystore", DATA / release / "keystore"]
    return ["variables", "--reveal", *(keystore if release in WITH_KEYSTORE else [])]


@pytest.mark.parametrize("release", ["v2.0.5", *WITH_KEYSTORE])
def test_variables_are_unlocked_as_a_table_and_one_by_one(release: str) -> None:
    file = path_of(f"{release}/monday")
    rows = json.loads(fine("show", file, *opening(release), "--json"))
    assert {(row["Namespace"], row["Path"]): row["Items"] for row in rows} == known(release)
    assert all({"Data"}.isdisjoint(row) and row["KeyID"] and row["CreateIndex"] for row in rows)
    text = fine("show", file, *opening(release))
    assert "correct horse battery staple" in text
    assert text.splitlines()[1].split()[:3] == ["Namespace", "Path", "Items"]
    for key, items in known(release).items():
        for json_ in ([], ["--json"]):
            found = json.loads(fine("show", file, "variables", *key, *opening(release)[1:], *json_))
            assert (found["Items"], found["Namespace"], found["Path"]) == (items, *key)
            assert "Data" not in found


def test_without_reveal_nothing_is_unlocked() -> None:
    key = next(iter(known("v2.0.5")))
    for arguments in (["variables"], ["variables", "--json"], ["variables", *key]):
        shown = fine("show", MONDAY, *arguments)
        assert "Items" not in shown
        assert "battery" not in shown
    assert failed(run("show", MONDAY, "variables", "--columns", "Items"))


def test_columns_and_filters_of_unlocked_variables() -> None:
    def shown(*arguments: object) -> Any:
        return json.loads(fine("show", MONDAY, "variables", "--reveal", "--json", *arguments))

    rows = shown("--columns", "Items,ModifyIndex")
    assert {tuple(row) for row in rows} == {("Namespace", "Path", "Items", "ModifyIndex")}
    assert {(row["Namespace"], row["Path"]): row["Items"] for row in rows} == known("v2.0.5")
    assert {tuple(row) for row in shown("--columns", "ModifyIndex")} == {("Namespace", "Path", "ModifyIndex")}
    assert {tuple(row) for row in shown("--columns", "Data")} == {("Namespace", "Path", "Data")}
    (row,) = shown("--where", "Path == 'motd'")
    assert row["Items"] == {"text": "hello"}


def test_a_keystore_that_is_wanted_is_asked_for(tmp_path: Path) -> None:
    file = path_of("v1.8.4/monday")
    line = failed(run("show", file, "variables", "--reveal"))
    assert "has no material" in line
    assert "--keystore" in line
    assert "has no material" in failed(run("show", file, "variables", "default", "motd", "--reveal"))
    (original,) = (DATA / "v1.8.4" / "keystore").iterdir()
    document = json.loads(original.read_text())
    document["KEK"] = base64.b64encode(bytes(32)).decode()
    (tmp_path / original.name).write_text(json.dumps(document))
    assert "does not open" in failed(run("show", file, "variables", "--reveal", "--keystore", tmp_path))
    assert "can't be read" in failed(run("show", file, "variables", "--reveal", "--keystore", tmp_path / "nowhere"))


@pytest.mark.parametrize("arguments", [["jobs", "--reveal"], ["variables"], []])
def test_a_keystore_that_opens_nothing_is_refused(arguments: list[str]) -> None:
    assert "opens nothing here" in failed(run("show", MONDAY, *arguments, "--keystore", DATA / "v1.8.4" / "keystore"))


def test_the_keys_as_a_table() -> None:
    with snapkit.open(MONDAY) as snap:
        (key_id,) = snap.root_keys.index
    (row,) = json.loads(fine("show", MONDAY, "--keys", "--json"))
    assert row["KeyID"] == key_id
    assert (row["State"], row["Providers"], row["Places"], row["Material"]) == ("active", "aead", "state", "here")
    assert (row["Variables"], row["Allocs"], row["Nodes"], row["Orphaned"]) == (4, 13, 3, "")
    text = fine("show", MONDAY, "--keys")
    assert key_id in text.replace("\n", "")
    assert "0 days 00:00:18" in text
    file, keystore = path_of("v1.8.4/monday"), DATA / "v1.8.4" / "keystore"
    assert json.loads(fine("show", file, "--keys", "--json"))[0]["Orphaned"] == "missing"
    assert json.loads(fine("show", file, "--keys", "--keystore", keystore, "--json"))[0]["Material"] == "here"
    assert fine("show", path_of("v0.12.12/monday"), "--keys") == "0 rows\n"
    assert "takes no TABLE" in failed(run("show", MONDAY, "jobs", "--keys"))


def test_no_key_is_shown_but_by_asking_for_the_record() -> None:
    with snapkit.open(MONDAY) as snap:
        (wrapped,) = snap.get("root_keys", *snap.root_keys.index, reveal=True)["WrappedKeys"]
    for reveal in ([], ["--reveal"]):
        assert wrapped["KeyEncryptionKey"] not in fine("show", MONDAY, "--keys", "--json", *reveal)
        assert wrapped["KeyEncryptionKey"] not in fine("show", MONDAY, "variables", "--json", *reveal)
