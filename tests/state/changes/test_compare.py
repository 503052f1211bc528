"""Two snapshots compared: held to what the clusters' own API said on both days, and to the week's story."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import snapkit
from snapkit.errors import ArchiveError, NotInSnapshotError
from snapkit.format import archive
from snapkit.format.schema import BY_TABLE
from snapkit.state.changes.changes import Changes
from snapkit.state.changes.compare import compare
from snapkit.state.output.edit import edited
from snapkit.state.snapshot.keyring import Keyring

from ... import forge
from ...conftest import oracle, path_of

WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday")
PAIRS = [(f"v2.0.5/{a}", f"v2.0.5/{b}") for a, b in pairwise(WEEK)]
PAIRS += [("v2.0.5/monday", "v2.0.5/friday")]
PAIRS += [(f"{cluster}/monday", f"{cluster}/tuesday") for cluster in ("v1.8.4", "v1.4.14", "v0.12.12")]

#: Endpoint of the API -> our table.
ENDPOINTS = {
    "jobs": "jobs",
    "nodes": "nodes",
    "allocations": "allocs",
    "evaluations": "evals",
    "deployments": "deployments",
    "tokens": "acl_tokens",
    "policies": "acl_policies",
    "roles": "acl_roles",
    "auth_methods": "acl_auth_methods",
    "binding_rules": "acl_binding_rules",
    "namespaces": "namespaces",
    "node_pools": "node_pools",
    "scaling_policies": "scaling_policies",
    "variables": "variables",
    "volumes_host": "host_volumes",
}


def day(name: str) -> Path:
    return path_of(f"v2.0.5/{name}")


def of(changes: Changes, table: str) -> list[tuple[str, Any, str]]:
    """Key, change and name of each object of a table."""
    objects = changes.objects
    rows = objects[objects["Table"] == table].to_dict("records")
    return [("/".join(map(str, row["Key"])), row["Change"], row["Name"]) for row in rows]


def values(changes: Changes, table: str, *key: Any) -> dict[str, tuple[Any, Any]]:
    rows = changes.get(table, *key)
    return {row["Path"]: (row["Before"], row["After"]) for row in rows[rows["Noise"] == ""].to_dict("records")}


# -- against the API


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_objects_came_went_and_changed_as_the_api_said(a: str, b: str) -> None:
    objects = compare(path_of(a), path_of(b)).objects
    before, after = oracle(a, "api"), oracle(b, "api")
    told = 0
    for endpoint, table in ENDPOINTS.items():
        if not isinstance(before.get(endpoint), list):
            continue  # that release has no such endpoint
        key = BY_TABLE[table].key
        old, new = (
            {tuple(item.get(name, "default") for name in key): item for item in day[endpoint]}
            for day in (before, after)
        )
        wanted = {
            "added": new.keys() - old.keys(),
            "removed": old.keys() - new.keys(),
            "changed": {k for k in old.keys() & new.keys() if old[k]["ModifyIndex"] != new[k]["ModifyIndex"]},
        }
        if table == "acl_policies":  # Monday's rules stand again on Thursday, and on Friday
            wanted["changed"] = {k for k in wanted["changed"] if _policy(a, k) != _policy(b, k)}
        mine = objects[objects["Table"] == table]
        for change, keys in wanted.items():
            assert set(mine[mine["Change"] == change]["Key"]) == keys, (table, change)
            told += len(keys)
    assert told >= 10


def _policy(archive_: str, key: tuple[str, ...]) -> Any:
    with snapkit.open(path_of(archive_)) as snapshot:
        return snapshot.get("acl_policies", *key)["Rules"]


@pytest.mark.parametrize("name", WEEK)
def test_a_snapshot_does_not_differ_from_itself(name: str) -> None:
    changes = compare(day(name), day(name), noise=True)
    assert len(changes) == len(changes.objects) == len(changes.fields) == len(changes.noise) == 0
    assert changes.headline == "no differences"
    assert not changes.found


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_mirrored_it_is_the_other_way_round(a: str, b: str) -> None:
    forth, back = (compare(path_of(x), path_of(y), noise=True, reveal=True) for x, y in ((a, b), (b, a)))
    other = {"added": "removed", "removed": "added"}

    def rows(frame: pd.DataFrame, names: list[str]) -> list[str]:
        return sorted(repr([row[name] for name in names]) for row in frame.to_dict("records"))

    for names in (["Table", "Key", "Change"], ["Table", "Key", "Path", "Change", "Before", "After"]):
        one, two = ((c.fields if "Path" in names else c.objects) for c in (forth, back))
        two["Change"] = [other.get(change, change) for change in two["Change"]]
        if "Path" in names:
            two = two.rename(columns={"Before": "After", "After": "Before"})
        assert rows(one, names) == rows(two, names)


def test_what_was_added_and_removed_is_given_whole() -> None:
    with snapkit.open(day("wednesday")) as later, snapkit.open(day("thursday")) as last:
        came = compare(day("tuesday"), later, reveal=True).get("jobs", "default", "metrics-agent")
        assert came.to_dict("records") == [
            {
                "Path": "",
                "Change": "added",
                "Before": None,
                "After": later.get("jobs", "default", "metrics-agent", reveal=True),
                "Diff": "",
                "Noise": "",
            }
        ]
        went = compare(later, last).get("jobs", ("default", "metrics-agent"))
        assert went["Change"].to_list() == ["removed"]
        assert went["Before"][0]["ID"] == "metrics-agent"


def test_what_did_not_change_is_told_so() -> None:
    with pytest.raises(NotInSnapshotError, match="did not change; objects lists what did"):
        compare(day("monday"), day("tuesday")).get("namespaces", "default")


# -- the week


def test_tuesday() -> None:
    changes = compare(day("monday"), day("tuesday"), reveal=True)
    web = values(changes, "jobs", "shop", "web")
    assert web['TaskGroups["front"].Tasks["server"].Env.IMAGE'] == ("shop/web:1.4.2", "shop/web:1.5.0")
    assert web['TaskGroups["front"].Count'] == (3, 4)
    assert web['TaskGroups["cache"].Count'] == (1, 5)
    assert values(changes, "jobs", "payments", "payments")['TaskGroups["api"].Count'] == (2, 3)
    assert values(changes, "jobs", "batch", "train")["Stop"] == (False, True)
    [(node, change, name)] = of(changes, "nodes")
    assert (change, name) == ("changed", "client1")
    assert values(changes, "nodes", node)["SchedulingEligibility"] == ("eligible", "ineligible")
    assert {(change, name) for _, change, name in of(changes, "acl_tokens")} == {
        ("removed", "ops dashboard"),
        ("added", "intern"),
    }
    assert [key for key, *_ in of(changes, "acl_policies")] == ["shop-deploy"]
    policy = changes.get("acl_policies", "shop-deploy")
    assert '+namespace "*" { policy = "write" }' in policy.set_index("Path")["Diff"]["Rules"].splitlines()
    assert of(changes, "variables") == [
        ("default/motd", "removed", ""),
        ("shop/nomad/jobs/web", "changed", ""),
    ]


def test_wednesday() -> None:
    changes = compare(day("tuesday"), day("wednesday"))
    assert of(changes, "acl_tokens") == [("b11d19dc-ef33-7f21-5ff8-f259fc98a764", "added", "svc-backup")]
    assert ("default/metrics-agent", "added", "") in of(changes, "jobs")
    rules = changes.get("acl_policies", "anonymous").set_index("Path")["Diff"]["Rules"].splitlines()
    assert [line for line in rules if line[0] in "+-"] == [
        '-namespace "default" { policy = "read" }',
        '+namespace "*" { policy = "write" }',
        '+node { policy = "write" }',
    ]
    assert of(changes, "nodes") == of(changes, "variables") == of(changes, "namespaces") == []


def test_thursday() -> None:
    changes = compare(day("wednesday"), day("thursday"))
    assert ("default/metrics-agent", "removed", "") in of(changes, "jobs")
    assert of(changes, "acl_tokens") == [("b11d19dc-ef33-7f21-5ff8-f259fc98a764", "removed", "svc-backup")]
    assert of(changes, "acl_policies") == [("anonymous", "changed", "")]
    whole = compare(day("monday"), day("thursday"))
    assert "anonymous" not in [key for key, *_ in of(whole, "acl_policies")]
    [note] = whole.found
    assert (note.check, note.place) == ("compare.rewritten", "table acl_policies, anonymous")
    assert "ModifyIndex 15 became 150" in note.message


def test_friday() -> None:
    changes = compare(day("thursday"), day("friday"))
    assert ("payments/payments", "removed", "") in of(changes, "jobs")
    assert of(changes, "variables") == [("payments/psp/credentials", "removed", "")]
    [(node, change, name)] = of(changes, "nodes")
    assert (change, name) == ("changed", "client0")
    assert values(changes, "nodes", node)["LastDrain"][1]["Status"] == "complete"
    assert values(changes, "jobs", "shop", "web")['TaskGroups["front"].Count'] == (4, 2)


# -- noise


def test_what_only_grew_older_is_set_apart() -> None:
    changes = compare(day("tuesday"), day("wednesday"))
    older = changes.noise
    assert set(older["Table"]) == {"nodes", "indexes"}
    assert changes.summary["Noise"].sum() == len(older)
    shown = compare(day("tuesday"), day("wednesday"), noise=True)
    assert len(shown) == len(changes) + len(older)
    assert set(shown.fields["Noise"]) == {"", "age"}
    assert "Noise" not in changes.fields
    assert shown.headline == "14 added, 16 changed"


def test_a_copy_of_a_job_in_an_allocation_is_noise_only_where_the_job_moved_on() -> None:
    with snapkit.open(day("friday")) as friday:

        def tampered(record: dict[bytes, Any]) -> bool:
            record[b"Job"][b"Priority"] = 99
            return record[b"Name"] == b"web.cache[0]"

        state = b"".join(edited(friday, {"allocs": tampered}))
        changes = compare(friday, packed(friday, state))
    assert [row[1:] for row in of(changes, "allocs")] == [("changed", "web.cache[0]")]
    assert changes.fields["Path"].to_list() == ["Job.Priority"]


@pytest.mark.parametrize("meddled", [False, True])
def test_a_variable_that_was_sealed_anew_by_another_key_is_noise_if_it_holds_the_same(meddled: bool) -> None:
    """A rotation of the root key writes every variable: what somebody changed must not drown in it."""
    with snapkit.open(day("friday")) as friday:
        ring = Keyring(friday.table)

        new = b"5b755596-0c0e-1195-7399-d0d4fc9da575"

        def renamed(record: dict[bytes, Any]) -> bool:
            record[b"KeyID"] = new
            for name in b"WrappedDataEncryptionKey", b"WrappedRSAKey":
                record[b"WrappedKeys"][0][name][b"KeyInfo"][b"KeyId"] = new
            return True

        def sealed(record: dict[bytes, Any]) -> bool:
            name = (record[b"Namespace"].decode(), record[b"Path"].decode())
            old = record[b"KeyID"].decode()
            items = ring.open_variable(*name, old, record[b"Data"])
            if meddled and name == ("shop", "nomad/jobs/web"):
                items["db_password"] = "another"
            record[b"KeyID"] = new
            record[b"Data"] = bytes(12) + AESGCM(ring.key(old)).encrypt(bytes(12), json.dumps(items).encode(), new)
            record[b"ModifyIndex"] = 970
            return True

        state = b"".join(edited(friday, {"root_keys": renamed, "variables": sealed}))
        changes = compare(friday, packed(friday, state, Index=980))
    assert of(changes, "variables") == ([("shop/nomad/jobs/web", "changed", "")] if meddled else [])
    noise = changes.get("variables", "shop", "nomad/jobs/web").set_index("Path")["Noise"]
    assert noise["KeyID"] == noise["Data"] == ("" if meddled else "resealed")


def packed(snapshot: snapkit.Snapshot, state: bytes, **meta: Any) -> bytes:
    """An archive of a changed state."""
    file = io.BytesIO()
    archive.write_to(file, dict(snapshot.archive.meta) | meta, [state], len(state))
    return file.getvalue()


# -- what the two are to each other


def test_another_cluster_is_pointed_out() -> None:
    changes = compare(path_of("v1.8.4/monday"), day("monday"))
    assert changes.found[0].check == "compare.other-cluster"
    assert "compare.other-cluster" in changes.to_text()


def test_two_that_are_given_in_the_wrong_order_are_pointed_out() -> None:
    assert [f.check for f in compare(day("wednesday"), day("tuesday")).found] == ["compare.order"]


def test_a_restore_between_the_two_is_pointed_out() -> None:
    with snapkit.open(day("tuesday")) as tuesday, snapkit.open(day("thursday")) as thursday:
        index, term, milliseconds = 230, 5, 1795479999000
        state = b"".join(bytes(chunk) for chunk in tuesday.chunks())
        later = packed(tuesday, state, ID=f"{term}-{index}-{milliseconds}", Index=index, Term=term)
        changes = compare(thursday, later)
    [found] = [f for f in changes.found if f.check == "compare.restored"]
    assert "went back to what they were at or before index" in found.message
    assert "acl_policies anonymous (150 to 15)" in found.place
    with snapkit.open(day("tuesday")) as tuesday:
        state = b"".join(bytes(chunk) for chunk in tuesday.chunks())
        rebuilt = packed(tuesday, state, ID=f"1-20-{milliseconds}", Index=20, Term=1)
    checks = [f.message for f in compare(day("thursday"), rebuilt).found if f.check == "compare.went-back"]
    assert checks == ["Raft's index went back from 158 to 20", "Raft's term went back from 2 to 1"]


@pytest.mark.parametrize("table", ["jobs", "acl_policies"])
def test_what_was_deleted_and_made_anew_under_its_name_is_pointed_out(table: str) -> None:
    """As a job that is purged and run again: it looks like one that changed, and is another."""
    with snapkit.open(day("friday")) as friday:
        name = next(iter(friday.records(table)))

        def anew(record: dict[bytes, Any]) -> bool:
            if record[{"jobs": b"ID", "acl_policies": b"Name"}[table]].decode() != name[-1]:
                return False
            record[b"CreateIndex"] = record[b"ModifyIndex"] = 970
            return True

        state = b"".join(edited(friday, {table: anew}))
        (found,) = [f for f in compare(friday, packed(friday, state, Index=980)).found if f.check.endswith("made-anew")]
    assert (found.severity, found.place) == ("note", f"table {table}, {'/'.join(name)}")
    assert "became 970" in found.message


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [("acl_tokens", b"Name", b"another"), ("acl_policies", b"Rules", b"agent {}"), ("jobs", b"Priority", 99)],
)
def test_what_differs_under_the_index_of_one_write_was_altered(table: str, field: bytes, value: Any) -> None:
    """An archive whose records were changed and whose sums were mended verifies: an earlier copy tells."""
    with snapkit.open(day("friday")) as friday:
        before = next(iter(friday.records(table)))

        def altered(record: dict[bytes, Any]) -> bool:
            key = tuple(record[name.encode()].decode() for name in BY_TABLE[table].key)
            if key != before:
                return False
            record[field] = value
            return True

        forged = packed(friday, b"".join(edited(friday, {table: altered})))
        assert snapkit.verify(forged).ok
        found = [f for f in compare(friday, forged).found if f.check == "compare.altered"]
    assert [(f.severity, f.place) for f in found] == [("warning", f"table {table}, {'/'.join(before)}")]
    assert field.decode() in found[0].message


def test_many_that_were_altered_are_counted() -> None:
    with snapkit.open(day("friday")) as friday:

        def altered(record: dict[bytes, Any]) -> bool:
            record[b"Priority"] = 99
            return True

        state = b"".join(edited(friday, {"jobs": altered, "job_versions": altered}))
        changes = compare(friday, packed(friday, state))
        count = len(friday.records("jobs")) + len(friday.records("job_versions"))
    found = [f.message for f in changes.found if f.check == "compare.altered"]
    assert len(found) == 11 < count
    assert found[-1] == f"{count - 10} more objects differ and were not written"


@pytest.mark.parametrize("release", ["v0.12.12", "v1.4.14", "v1.8.4", "v2.0.5"])
def test_real_servers_alter_nothing(release: str) -> None:
    days = ["monday", "tuesday", *(["wednesday", "thursday", "friday"] if release == "v2.0.5" else [])]
    for a, b in pairwise(days):
        found = compare(path_of(f"{release}/{a}"), path_of(f"{release}/{b}")).found
        assert "compare.altered" not in [f.check for f in found]


def test_a_token_that_was_widened_and_put_back_is_pointed_out() -> None:
    with snapkit.open(day("friday")) as friday:

        def written(record: dict[bytes, Any]) -> bool:
            record[b"ModifyIndex"] = 970
            return record[b"Name"] == b"intern"

        state = b"".join(edited(friday, {"acl_tokens": written}))
        changes = compare(friday, packed(friday, state, Index=980))
    assert [f.check for f in changes.found] == ["compare.rewritten"]
    assert changes.objects.empty


def test_what_a_restore_put_back_is_not_said_to_have_been_written() -> None:
    """Nobody wrote it: it has an index of before, and so it is with what a rollback brings back."""
    with snapkit.open(day("monday")) as monday, snapkit.open(day("thursday")) as thursday:
        state = b"".join(bytes(chunk) for chunk in monday.chunks())
        restored = packed(monday, state, ID="2-230-1795479999000", Index=230)
        state = b"".join(bytes(chunk) for chunk in thursday.chunks())
        rolled_back = packed(thursday, state, ID="2-240-1795479999100", Index=240)
        back, forth = compare(thursday, restored), compare(restored, rolled_back)
    assert [f.check for f in back.found] == ["compare.restored"]
    (found,) = forth.found
    assert (found.check, found.severity) == ("compare.restored", "warning")
    assert "at or before index 158, and the first, of index 230, has them otherwise" in found.message


def test_what_was_salvaged_is_pointed_out() -> None:
    whole = day("friday").read_bytes()
    with snapkit.open(whole[: len(whole) * 2 // 3], salvage=True) as rest:
        assert "compare.salvaged" in [f.check for f in compare(day("friday"), rest).found]
        assert "compare.restored" not in [f.check for f in compare(rest, day("friday")).found]


# -- sources, secrets, hostile input


def test_open_snapshots_stay_open_and_others_are_closed() -> None:
    with snapkit.open(day("monday")) as monday:
        changes = compare(monday, day("tuesday").read_bytes())
        assert len(monday.jobs) == 9
    assert len(changes.fields) > 10


def test_only_some_tables() -> None:
    changes = compare(day("monday"), day("tuesday"), tables=["jobs", "jobs"])
    assert set(changes.objects["Table"]) == {"jobs"}
    with pytest.raises(NotInSnapshotError, match="did you mean jobs"):
        compare(day("monday"), day("tuesday"), tables=["job"])


def test_a_source_that_is_damaged_is_an_error() -> None:
    with pytest.raises(ArchiveError):
        compare(day("monday"), day("tuesday").read_bytes()[:5000])


def test_secrets_are_told_apart_and_not_shown() -> None:
    path = 'TaskGroups["front"].Tasks["server"].Env.IMAGE'
    changes = compare(day("monday"), day("tuesday"), key="a key")
    before, after = values(changes, "jobs", "shop", "web")[path]
    assert before.startswith("masked:")
    assert after.startswith("masked:")
    assert before != after
    for told in (changes.to_text(), changes.to_html(), json.dumps(changes.to_json()), changes._repr_html_()):
        assert "shop/web:1." not in told
    assert compare(day("monday"), day("tuesday"), key="a key").to_text() == changes.to_text()
    with snapkit.open(day("monday"), key="a key") as monday:
        assert values(compare(monday, day("tuesday")), "jobs", "shop", "web")[path] == (before, after)


def test_token_secrets_never_show() -> None:
    with snapkit.open(day("wednesday")) as snapshot:
        secrets = set(snapshot.table("acl_tokens", ["SecretID"], reveal=True)["SecretID"])
    told = compare(day("tuesday"), day("wednesday")).get("acl_tokens", "b11d19dc-ef33-7f21-5ff8-f259fc98a764")
    assert not any(secret in repr(told.to_dict("records")) for secret in secrets)


def test_unknown_types_are_told_apart_by_their_bytes() -> None:
    a = forge.archive(forge.state(forge.record(200, {"Name": "one"}), forge.record(200, {"Name": "two"})))
    b = forge.archive(forge.state(forge.record(200, {"Name": "two"}), forge.record(200, {"Name": "three"})))
    objects = compare(a, b).objects
    assert objects["Table"].to_list() == ["unknown_200", "unknown_200"]
    assert objects["Change"].to_list() == ["removed", "added"]
    assert all(key[0].startswith("sha256:") for key in objects["Key"])


def test_of_records_with_one_key_the_last_one_counts() -> None:
    first, second = (forge.record(28, {"Name": "gpu", "Description": text}) for text in ("one", "two"))
    assert len(compare(forge.archive(forge.state(first, second)), forge.archive(forge.state(second)))) == 0
    assert len(compare(forge.archive(forge.state(second, first)), forge.archive(forge.state(second)))) == 1


def test_what_an_archive_holds_drives_neither_terminal_nor_page() -> None:
    odd = {"Name": "<script>\x1b[31m", "Description": "\x1b]0;owned\x07<img>"}
    a = forge.archive(forge.state(forge.record(28, odd)))
    b = forge.archive(forge.state(forge.record(28, odd | {"Description": "a\n\x1b[2J<b>"})))
    changes = compare(a, b)
    for told in (changes.to_text(), repr(changes), changes.to_html()):
        assert "\x1b" not in told
    for told in (changes.to_html(), changes._repr_html_()):
        assert "<script>" not in told
        assert "<img>" not in told


def test_frames_have_their_types() -> None:
    changes = compare(day("monday"), day("tuesday"))
    assert {str(k): str(v) for k, v in changes.objects.dtypes.items()} == {
        **{"Table": "str", "Key": "object", "Change": "str", "Name": "str", "Index": "UInt64", "Fields": "Int64"},
    }
    assert [str(changes.fields[n].dtype) for n in ("Table", "Key", "Path", "Change", "Before", "After", "Diff")] == [
        *("str", "object", "str", "str", "object", "object", "str")
    ]
    empty = compare(day("monday"), day("monday"))
    assert list(empty.objects) == list(changes.objects)
    assert list(empty.fields) == list(changes.fields)
    assert list(empty.summary) == ["Added", "Removed", "Changed", "Noise"]


def test_the_long_ones_are_cut_in_a_notebook_and_whole_on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapkit.state.changes.changes.SHOWN", 3)
    changes = compare(day("monday"), day("tuesday"))
    assert "45 more: objects and fields list all" in changes._repr_html_()
    assert "more: objects" not in changes.to_html()


def test_a_state_of_another_release_has_fields_of_its_own_that_are_no_change() -> None:
    record = {"ID": "j", "Namespace": "default", "Priority": 50}
    a = forge.archive(forge.state(forge.record(1, record)))
    b = forge.archive(forge.state(forge.record(1, record | {"UI": None, "NodePool": "", "VersionTag": None})))
    assert len(compare(a, b)) == 0


# -- what people wrote


def test_what_was_submitted_is_compared_as_text() -> None:
    changes = compare(day("monday"), day("tuesday"), reveal=True)
    [row] = changes.sources.to_dict("records")
    assert (row["Key"], row["Before"], row["After"], row["Added"], row["Removed"]) == (("shop", "web"), 0, 2, 2, 1)
    assert [line for line in row["Diff"].splitlines() if line[0] in "+-"] == [
        "--var replicas=3",
        "+-var image=shop%2Fweb%3A1.5.0",
        "+-var replicas=4",
    ]
    assert "what was submitted (version 0 to 2):\n" in changes.to_text()
    masked = compare(day("monday"), day("tuesday"))
    assert masked.sources["Diff"].to_list() == [""]
    assert (
        "what was submitted (version 0 to 2): 2 lines added, 1 removed; shown if secrets are revealed"
        in masked.to_text()
    )
    assert masked.to_json()["sources"][0]["Added"] == 2


def test_there_is_no_source_before_nomad_kept_any() -> None:
    assert len(compare(path_of("v0.12.12/monday"), path_of("v0.12.12/tuesday")).sources) == 0
