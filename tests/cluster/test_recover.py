"""Single objects back into a live cluster: what comes back, what comes with it, and what is refused.

What a real server makes of each kind is recorded: `SNAPKIT_VERDICTS=record` writes it anew, by the server that
NOMAD_BIN names (2.0.5).
"""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests

import snapkit
from snapkit import Client, SnapshotError
from snapkit.cluster import recover as module
from snapkit.cluster.connection import (
    ClusterTimeoutError,
    InterruptedStreamError,
    PermissionDeniedError,
    ServerError,
)
from snapkit.cluster.pieces import TABLES, pieces
from snapkit.cluster.recover import RecoverError, recover, write_files
from snapkit.cluster.server import ServedCluster
from snapkit.errors import TargetExistsError
from snapkit.format import archive as container
from snapkit.format.schema import BY_TABLE
from snapkit.format.values import pack, unpack
from snapkit.state.output.edit import Edits, edited
from tests.damage import FRIDAY as FRIDAY_ARCHIVE

from ..conftest import DATA, ORACLES, path_of
from .servers import binary, bootstrap, release, servers
from .test_verdicts import token_of

ORACLE = ORACLES / "recovered.json"
THURSDAY = path_of("v2.0.5/thursday")
FRIDAY = path_of("v2.0.5/friday")
LOST = [("jobs", "payments", "payments"), ("variables", "payments", "psp/credentials")]
PATIENCE = 30.0
KINDS = sorted(set(TABLES) - {"acl_tokens"} | {"job_versions", "job_submissions", "job_summaries", "scaling_policies"})


@pytest.fixture
def friday() -> Iterator[ServedCluster]:
    with snapkit.serve(FRIDAY) as cluster:
        yield cluster


def client_of(cluster: ServedCluster) -> Client:
    return Client(cluster.address, token=cluster.token)


def items(snap: snapkit.Snapshot) -> dict[str, str]:
    """Of the variable that was lost."""
    return dict(snap.unlock()["Items"].to_dict()["payments", "psp/credentials"])


def changed(cluster: ServedCluster, since: Any = FRIDAY) -> set[tuple[str, str, str]]:
    """Table, key and change of what differs since then, but for the Index table."""
    with client_of(cluster).snapshot() as after:
        found = snapkit.compare(since, after)
        return {(r["Table"], "/".join(map(str, r["Key"])), r["Change"]) for r in found.objects.to_dict("records")}


def without(tables: Iterable[str], tmp_path: Path) -> Path:
    """Friday, all records of some tables gone but the variables' and jobs' own namespaces and what must be there."""
    with snapkit.open(FRIDAY) as snap:
        edits = Edits()
        for table in tables:
            for key in snap.records(table):
                if (table, key[0]) not in {("namespaces", "default"), ("node_pools", "all"), ("node_pools", "default")}:
                    edits.delete(table, *key)
        state = b"".join(edited(snap, {}, edits))
        path = tmp_path / "without.snap"
        container.write(path, snap.archive.meta, [state], len(state))
    return path


def every_object(path: Path = FRIDAY) -> list[tuple[str, ...]]:
    """Of an archive, those that can be brought back; tokens of Friday's alone."""
    tables = TABLES if path == FRIDAY else [table for table in TABLES if table != "acl_tokens"]
    with snapkit.open(path) as snap:
        every = [(table, *map(str, key)) for table in tables for key in snap.records(table)]
    runs = ("dispatch-", "periodic-")
    return [one for one in every if not any(run in one[-1] for run in runs) and one[1:] not in (("all",), ("default",))]


# -- the week's end


def test_what_was_lost_on_friday_comes_back_from_thursday_and_nothing_else_changes(friday: ServedCluster) -> None:
    done = recover(client_of(friday), THURSDAY, LOST)
    assert done.steps["Table"].tolist() == ["variables", "jobs"]
    assert done.steps["Action"].tolist() == ["create", "create"]
    assert done.steps["Result"].tolist() == ["written", "written"]
    assert "reads back" not in " ".join(done.steps["Note"])
    differs = changed(friday)
    evals = {one for one in differs if one[0] == "evals"}
    assert [change for _, _, change in evals] == ["added"]
    assert differs - evals == {
        ("jobs", "payments/payments", "added"),
        ("job_versions", "payments/payments/0", "added"),
        ("job_submissions", "payments/payments/0", "added"),
        ("job_summaries", "payments/payments", "added"),
        ("variables", "payments/psp/credentials", "added"),
        ("variables_quotas", "payments", "changed"),
    }
    with client_of(friday).snapshot() as after, snapkit.open(THURSDAY) as before:
        fields = snapkit.compare(before, after, tables=["jobs"]).fields
        ours = fields[fields["Key"] == ("payments", "payments")]
        assert set(ours["Path"]) == {"NomadTokenID", "Status", "Stable", "Version", "SubmitTime", "CreateIndex"}
        assert items(after) == items(before)
        source = after.get("job_submissions", "payments", "payments", 0, reveal=True)["Source"]
        assert source == before.get("job_submissions", "payments", "payments", 1, reveal=True)["Source"]


def test_a_dry_run_shows_it_and_writes_nothing(friday: ServedCluster) -> None:
    with snapkit.open(THURSDAY, key="k") as thursday:
        shown = recover(client_of(friday), thursday, LOST, dry_run=True)
        secrets = items(thursday).values()
    assert shown.dry_run
    assert shown.steps["Result"].tolist() == ["", ""]
    assert "the server's plan: Added" in shown.steps["Note"].iloc[1]
    assert set(shown.fields["Path"][shown.fields["Table"] == "variables"]) == {'Items["key"]', 'Items["pem"]'}
    told = "".join(map(str, (shown, shown.steps.to_json(), shown.fields.to_json(), shown._repr_html_())))
    assert not [secret for secret in secrets if secret in told or json.dumps(secret)[1:-1] in told]
    assert changed(friday) == set()
    file, _ = friday.archive()
    with file:
        file.seek(0)
        assert file.read() == FRIDAY.read_bytes()


def test_what_is_live_as_it_was_is_not_written_again(friday: ServedCluster) -> None:
    recover(client_of(friday), THURSDAY, LOST)
    index = friday._raft_index
    again = recover(client_of(friday), THURSDAY, LOST)
    assert again.steps["Action"].tolist() == ["same", "same"]
    assert friday._raft_index == index


def test_what_is_live_and_another_is_kept_unless_it_is_asked_for(friday: ServedCluster) -> None:
    web = ("jobs", "shop", "web")
    shown = recover(client_of(friday), THURSDAY, [web, *LOST], dry_run=True)
    assert dict(zip(shown.steps["Target"], shown.steps["Action"], strict=True))["shop", "web"] == "keep"
    assert "live since index 166; the archive is of index 158 of its cluster" in " ".join(shown.steps["Note"])
    with pytest.raises(RecoverError, match="is live as another: 3 fields differ") as caught:
        recover(client_of(friday), THURSDAY, [web, *LOST])
    assert caught.value.recovery is not None
    assert changed(friday) == set(), "nothing was written, the others neither"
    done = recover(client_of(friday), THURSDAY, [web, *LOST], overwrite=True)
    assert set(done.steps["Result"]) == {"written"}
    with client_of(friday).snapshot() as after:
        found = after.get("jobs", "shop", "web")
        assert [group["Count"] for group in found["TaskGroups"]] == [4, 5], "scaled to what it had"
        assert found["Version"] == 4


@pytest.mark.parametrize("lost", LOST, ids=lambda one: one[0])
def test_what_somebody_writes_meanwhile_is_not_overwritten(
    friday: ServedCluster, lost: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, real = client_of(friday), module._write

    def late(*args: Any) -> None:
        monkeypatch.setattr(module, "_write", real)
        recover(client, THURSDAY, [lost])
        real(*args)

    monkeypatch.setattr(module, "_write", late)
    with pytest.raises(RecoverError, match="can't be written") as caught:
        recover(client, THURSDAY, [lost])
    assert caught.value.recovery is not None
    assert caught.value.recovery.steps["Result"].tolist() == ["failed"]


def test_after_a_failure_it_is_said_how_far_it_came(friday: ServedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    client, real = client_of(friday), module._write

    def fails(client_: Client, step: Any, snapshot: Any) -> None:
        if step.piece.table == "jobs":
            raise SnapshotError("is gone", "the network")
        real(client_, step, snapshot)

    monkeypatch.setattr(module, "_write", fails)
    with pytest.raises(RecoverError, match="is gone") as caught:
        recover(client, THURSDAY, [*LOST, ("jobs", "shop", "web")], overwrite=True)
    assert caught.value.recovery is not None
    assert caught.value.recovery.steps["Result"].tolist() == ["written", "failed", "not tried"]
    assert "written: variables payments/psp/credentials; not tried: jobs shop/web" in str(caught.value)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_write_without_an_answer_is_read_back_and_never_called_undone(
    arrives: bool, friday: ServedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server does that dies on it, or a proxy that gives up: the write may be in Raft all the same."""
    real = Client.put

    def cut(client: Client, path: str, *args: Any, **query: Any) -> Any:
        if arrives or "/v1/var/" not in path:
            answer = real(client, path, *args, **query)
        if "/v1/var/" in path:
            raise InterruptedStreamError("cut the connection", client.address, "ask again")
        return answer

    monkeypatch.setattr(Client, "put", cut)
    if arrives:
        done = recover(client_of(friday), THURSDAY, LOST)
        assert done.steps["Result"].tolist() == ["written", "written"]
        assert done.steps["Note"].iloc[0] == "its answer was lost; it reads back as it was written"
        return
    with pytest.raises(RecoverError, match="it may have been written") as caught:
        recover(client_of(friday), THURSDAY, LOST)
    assert caught.value.recovery is not None
    assert caught.value.recovery.steps["Result"].tolist() == ["unclear", "not tried"]
    assert changed(friday) == set()


def test_a_token_that_got_no_answer_is_not_called_written(
    friday: ServedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows the accessor of a new token whose answer was lost, nor its secret."""

    def silent(client: Client, *args: Any, **query: Any) -> Any:
        raise ClusterTimeoutError("was silent for 30 seconds", client.address, "ask again")

    with snapkit.open(path_of("v2.0.5/monday")) as monday:
        (gone,) = monday.acl_tokens.index[monday.acl_tokens["Name"] == "ops dashboard"]
    monkeypatch.setattr(Client, "put", silent)
    with pytest.raises(RecoverError, match="it may have been written"):
        recover(client_of(friday), path_of("v2.0.5/monday"), [("acl_tokens", gone)])


def test_who_may_not_see_what_a_job_needs_may_bring_it_back_all_the_same(
    friday: ServedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a real server lets one do whose token has submit-job alone: it looks after pools and namespaces by itself."""
    real = Client.find

    def blind(client: Client, path: str, **query: Any) -> Any:
        if "/node/pool/" in path or "/namespace/" in path:
            raise PermissionDeniedError("answered 403", client.address, "", status=403)
        return real(client, path, **query)

    monkeypatch.setattr(Client, "find", blind)
    assert recover(client_of(friday), THURSDAY, LOST).steps["Result"].tolist() == ["written", "written"]


# -- every kind


def outcome(client: Client, objects: list[tuple[str, ...]]) -> list[dict[str, Any]]:
    """What became of each, but for what is another each time."""
    done = recover(client, FRIDAY, objects)
    return [
        {name: list(row[name]) if name == "Key" else row[name] for name in ("Table", "Key", "Action", "Result", "Note")}
        for row in done.steps.to_dict("records")
    ]


#: Where what came back may differ from what was, and the tables whose keys are new.
MAY_DIFFER = {
    "CreateIndex", "ModifyIndex", "JobModifyIndex", "CreateTime", "ModifyTime", "SubmitTime", "Version", "Stable",
    "Status", "NomadTokenID", "KeyID", "Data", "ID", "Hash", "Scaling",
}  # fmt: skip


def test_each_kind_comes_back_as_it_was(tmp_path: Path) -> None:
    lost = set(TABLES) - {"acl_tokens"} | {"job_versions", "job_submissions", "job_summaries", "scaling_policies"}
    with snapkit.serve(without(lost, tmp_path)) as cluster:
        client = client_of(cluster)
        found = outcome(client, [one for one in every_object() if one[0] != "acl_tokens"])
        assert {row["Result"] for row in found} == {"written"}
        assert not [row for row in found if "reads back" in row["Note"]]
        assert [row["Table"] for row in found] == sorted((row["Table"] for row in found), key=TABLES.index)
        with client.snapshot() as after, snapkit.open(FRIDAY) as before:
            for table in set(TABLES) - {"acl_tokens", "variables"}:
                was, now = (records(snap, table) for snap in (before, after))
                assert now == was, table
            pd_equal = after.unlock().sort_index()["Items"].tolist() == before.unlock().sort_index()["Items"].tolist()
            assert pd_equal
            assert len(after.scaling_policies) == len(before.scaling_policies) == 1


def records(snap: snapkit.Snapshot, table: str) -> list[Any]:
    """A table's objects without what may differ, in order of their names; of jobs, those that are not runs of one."""
    found = [o for o in snap.objects(table, reveal=True) if not (o.get("ParentID") or o.get("Dispatched"))]
    plain = [{name: value for name, value in one.items() if name not in MAY_DIFFER} for one in found]
    for one in plain:
        for group in one.get("TaskGroups") or ():
            if group.get("Scaling"):
                group["Scaling"] |= {"ID": "", "CreateIndex": 0, "ModifyIndex": 0}
    return sorted(plain, key=lambda one: json.dumps(one, sort_keys=True))


def test_a_new_token_has_the_same_rights(tmp_path: Path) -> None:
    tokens = [one for one in every_object() if one[0] == "acl_tokens"]
    root = token_of(FRIDAY_ARCHIVE)
    with snapkit.open(FRIDAY) as snap:
        lost = [("acl_tokens", str(a)) for a, row in snap.acl_tokens.iterrows() if row["Type"] == "client"]
        edits = Edits()
        for one in lost:
            edits.delete(*one)
        state = b"".join(edited(snap, {}, edits))
        container.write(tmp_path / "less.snap", snap.archive.meta, [state], len(state))
    assert 0 < len(lost) < len(tokens)
    with snapkit.serve(tmp_path / "less.snap") as cluster:
        client = Client(cluster.address, token=root)
        live = [one for one in tokens if one not in lost]
        assert set(recover(client, FRIDAY, live).steps["Action"]) == {"same"}
        done = recover(client, FRIDAY, [one for one in lost if not expired(one[1])])
        made, shown = done.tokens(reveal=True), done.tokens()
        assert not set(made["SecretID"]) & set(shown["SecretID"])
        assert list(made.index) == [one[1] for one in lost if not expired(one[1])]
        with snapkit.open(FRIDAY) as snap:
            for old, row in made.iterrows():
                was = snap.get("acl_tokens", old, reveal=True)
                now = Client(cluster.address, token=row["SecretID"]).self_token()
                same = ("Name", "Type", "Policies", "Global", "ExpirationTime")
                assert {name: now[name] or None for name in same} == {name: was[name] or None for name in same}
                assert [r["ID"] for r in now["Roles"] or ()] == [r["ID"] for r in was["Roles"] or ()]
                assert (row["NewAccessorID"], row["SecretID"]) != (old, was["SecretID"])


def test_a_clients_token_comes_back_itself_if_that_is_asked_for(tmp_path: Path) -> None:
    with snapkit.open(FRIDAY) as snap:
        tokens = snap.table("acl_tokens", reveal=True)
        management = str(tokens.index[tokens["Type"] == "management"][0])
        lost = next(str(a) for a in tokens.index[tokens["Type"] == "client"] if not expired(str(a)))
        secret = str(tokens.loc[lost, "SecretID"])
        edits = Edits()
        edits.delete("acl_tokens", lost)
        state = b"".join(edited(snap, {}, edits))
    with snapkit.serve(state) as cluster:
        client = client_of(cluster)
        shown = recover(client, FRIDAY, [("acl_tokens", lost)], dry_run=True, same_secrets=True)
        assert secret not in shown.fields.to_json() + shown.steps.to_json()
        done = recover(client, FRIDAY, [("acl_tokens", lost)], same_secrets=True)
        assert done.steps["Result"].tolist() == ["written"]
        assert Client(cluster.address, token=secret).self_token()["AccessorID"] == lost
        assert changed(cluster, state) == {("acl_tokens", lost, "added")}
        with pytest.raises(SnapshotError, match="is no client's, and can't come back itself"):
            recover(client, FRIDAY, [("acl_tokens", management)], same_secrets=True)


def expired(accessor: str) -> bool:
    with snapkit.open(FRIDAY) as snap:
        return bool(snap.get("acl_tokens", accessor).get("ExpirationTime"))


#: With how many objects can be brought back.
OLDER = [("v1.8.4/tuesday", 19), ("v1.4.14/tuesday", 16), ("v0.12.12/monday", 7)]


@pytest.mark.parametrize(("archive", "count"), OLDER)
def test_an_older_archive_gives_its_objects_back_too(archive: str, count: int, tmp_path: Path) -> None:
    """With what servers of today fill in, and so it is the same once it is there."""
    keystore = DATA / archive.partition("/")[0] / "keystore"
    options: Any = {"keystore": keystore if keystore.is_dir() else None}
    objects = every_object(path_of(archive))
    with snapkit.serve(without(KINDS, tmp_path)) as cluster:
        client = client_of(cluster)
        done = recover(client, path_of(archive), objects, overwrite=True, **options)
        assert len(done.steps) == count
        assert "written" in set(done.steps["Result"]) <= {"written", ""}
        assert not [note for note in done.steps["Note"] if "reads back" in note]
        again = recover(client, path_of(archive), objects, **options)
        assert set(again.steps["Action"]) == {"same"}


# -- what is needed, and what it may be called


def test_what_an_object_needs_must_be_live_or_come_along(tmp_path: Path) -> None:
    with snapkit.serve(without(["namespaces", "acl_policies", "jobs"], tmp_path)) as cluster:
        client = client_of(cluster)
        with pytest.raises(RecoverError, match="needs namespaces shop, which is not live: bring that back too"):
            recover(client, FRIDAY, [("jobs", "shop", "web")])
        both = [("jobs", "shop", "web"), ("namespaces", "shop")]
        assert recover(client, FRIDAY, both).steps["Table"].tolist() == ["namespaces", "jobs"]


def test_a_dry_run_goes_on_where_a_job_waits_for_what_comes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server answers 500 to the plan of a job whose namespace is not there yet (seen on 2.0.5)."""
    real = Client.put

    def put(client: Client, path: str, *args: Any, **query: Any) -> Any:
        if path.endswith("/plan"):
            raise ServerError("answered 500", client.address, "", status=500)
        return real(client, path, *args, **query)

    monkeypatch.setattr(Client, "put", put)
    with snapkit.serve(without(["namespaces", "jobs"], tmp_path)) as cluster:
        both = [("jobs", "shop", "web"), ("namespaces", "shop")]
        shown = recover(client_of(cluster), FRIDAY, both, dry_run=True)
        assert shown.steps["Action"].tolist() == ["create", "create"]
        assert "the server plans it when there is namespaces shop" in shown.steps["Note"].iloc[1]
        recover(client_of(cluster), FRIDAY, both[1:])
        with pytest.raises(ServerError, match="answered 500"):
            recover(client_of(cluster), FRIDAY, both[:1], dry_run=True)


def test_under_another_name_and_in_another_namespace(friday: ServedCluster) -> None:
    client = client_of(friday)
    done = recover(client, THURSDAY, LOST[:1], name="payments-2", namespace="shop", stopped=True)
    assert done.steps["Target"].tolist() == [("shop", "payments-2")]
    assert "its source names it otherwise" in done.steps["Note"].iloc[0]
    job = client.get("/v1/job/payments-2", namespace="shop").value
    assert (job["ID"], job["Name"], job["Namespace"], job["Stop"]) == ("payments-2", "payments-2", "shop", True)
    assert job["TaskGroups"][0]["Services"][0]["Namespace"] == "shop"
    recover(client, THURSDAY, LOST[1:], name="psp/old", namespace="shop")
    assert client.get("/v1/var/psp/old", namespace="shop").value["Items"]
    with pytest.raises(SnapshotError, match="for more than one object"):
        recover(client, THURSDAY, LOST, name="x")


def test_a_scaling_policy_comes_with_its_job_and_a_role_by_its_name(friday: ServedCluster) -> None:
    with snapkit.open(FRIDAY) as snap:
        policy = str(snap.scaling_policies.index[0])
        found = pieces(snap, [("scaling_policies", policy), ("acl_roles", "on-call")])
    assert [(piece.table, piece.target) for piece in found] == [("acl_roles", ("on-call",)), ("jobs", ("shop", "web"))]


# -- jobs that are gone


def gone(snap: snapkit.Snapshot, *tables: str) -> bytes:
    edits = Edits()
    for table in tables:
        for key in snap.records(table):
            edits.delete(table, *key)
    return b"".join(edited(snap, {}, edits))


def test_a_job_that_is_gone_is_made_of_what_tells_of_it() -> None:
    with snapkit.open(THURSDAY) as thursday:
        (whole,) = pieces(thursday, LOST[:1])
        with snapkit.open(gone(thursday, "jobs")) as snap:
            (versions,) = pieces(snap, LOST[:1])
        with snapkit.open(gone(thursday, "jobs", "job_versions")) as snap:
            (copy,) = pieces(snap, LOST[:1])
        with snapkit.open(gone(thursday, "jobs", "job_versions", "allocs")) as snap:
            (source,) = pieces(snap, LOST[:1])
    assert whole.made_of == "record"
    assert versions.made_of == "version 1"
    assert copy.made_of.startswith("version 1, of allocation ")
    assert versions.body == copy.body == whole.body
    assert versions.submission == whole.submission == source.submission
    assert source.made_of == "source of version 1"
    assert 'job "payments"' in str((source.submission or {})["Source"])


def test_a_source_alone_is_read_by_the_server_or_written_as_it_is(friday: ServedCluster, tmp_path: Path) -> None:
    with snapkit.open(THURSDAY) as thursday:
        state = gone(thursday, "jobs", "job_versions", "allocs")
    (written,) = write_files(state, LOST[:1], tmp_path)
    assert written.command == f"nomad job run {tmp_path}/payments_payments.job.hcl"
    assert written.path.read_text().startswith('job "payments" {')
    with pytest.raises(SnapshotError, match="/v1/jobs/parse is not answered by a served snapshot"):
        recover(client_of(friday), state, LOST[:1])


def test_a_single_run_of_a_job_is_refused() -> None:
    with snapkit.open(THURSDAY) as snap:
        run = next(key for key in snap.records("jobs") if "dispatch-" in key[1])
        with pytest.raises(SnapshotError, match="bring encode back"):
            pieces(snap, [("jobs", *run)])


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ([("nodes", "x")], "can't be brought back one by one"),
        ([("jobs", "shop")], "takes a key of Namespace, ID"),
        ([("jobs", "shop", "nosuch")], "nor is a version, an allocation or the source of it"),
        ([("variables", "shop", "nosuch")], "has no record"),
        ([], "are none"),
    ],
)
def test_what_can_not_be_brought_back_is_said(wanted: list[tuple[str, ...]], words: str) -> None:
    with snapkit.open(THURSDAY) as snap, pytest.raises(SnapshotError, match=words):
        pieces(snap, wanted)


WRONG: tuple[Any, ...] = ("gone", None, 3, b"x", [], {}, [3], [None], [{}], {b"a": 3}, {b"a": None}, -1, 1.5, True)


@pytest.mark.parametrize("table", TABLES)
def test_a_record_of_another_shape_is_an_error_and_no_traceback(table: str, tmp_path: Path) -> None:
    with snapkit.open(FRIDAY) as snap:
        key = ("shop", "web") if table == "jobs" else list(snap.records(table))[-1]
        record = unpack(snap.records(table)[key])
        for name in record:
            for value in WRONG:
                edits = Edits()
                changed_ = {n: v for n, v in (record | {name: value}).items() if (n, value) != (name, "gone")}
                edits.records[table] = {tuple(map(str, key)): changed_}
                with suppress(SnapshotError), snapkit.open(b"".join(edited(snap, {}, edits))) as other:
                    for piece in pieces(other, [(table, *key)]):
                        assert list(module._differing(piece, None, other.mask)) is not None
                        assert list(module._differing(piece, dict(piece.body), other.mask)) == []
                        assert list(module._files_of(piece, tmp_path))


def test_a_token_that_may_not_write_is_told_so(friday: ServedCluster) -> None:
    with snapkit.open(FRIDAY) as snap:
        tokens = snap.table("acl_tokens", ["Name", "SecretID"], reveal=True).set_index("Name")["SecretID"]
    weak = Client(friday.address, token=str(tokens["intern"]) if "intern" in tokens else None)
    with pytest.raises(SnapshotError, match="Permission denied"):
        recover(weak, THURSDAY, LOST)
    assert changed(friday) == set()


# -- files


def test_files_are_whole_private_and_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    written = write_files(THURSDAY, LOST, folder)
    assert {w.path.name for w in written} == {path.name for path in folder.iterdir()}
    assert [w.path.name for w in written] == [
        "payments_psp%2Fcredentials.var.json", "payments_payments.job.json", "payments_payments.submitted.hcl",
    ]  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert json.loads(written[1].path.read_text())["Job"]["TaskGroups"][0]["Count"] == 3
    with pytest.raises(TargetExistsError):
        write_files(THURSDAY, LOST, folder)
    write_files(THURSDAY, LOST, folder, overwrite=True)


# -- real servers


@cache
def recorded() -> Any:
    return json.loads(ORACLE.read_text(encoding="utf-8"))


def test_the_served_cluster_takes_back_what_a_real_one_takes_back(tmp_path: Path) -> None:
    with snapkit.serve(without(KINDS, tmp_path)) as cluster:
        assert outcome(client_of(cluster), every_object()) == recorded()["outcome"]


@pytest.mark.nomad
def test_a_real_server_takes_it_back_as_was_recorded_and_so_does_its_command(tmp_path: Path) -> None:
    nomad = binary()
    if release() < (1, 9):
        pytest.skip("NOMAD_BIN is too old for the archives of 2.0.5")
    with servers(tmp_path, 1) as (server,):
        path = without(KINDS, tmp_path)
        client, root = restored(server.address, FRIDAY)
        with snapkit.open(THURSDAY) as thursday:
            state = gone(thursday, "jobs", "job_versions", "allocs")
        recover(client, state, LOST[:1])
        as_submitted = recover(client, THURSDAY, LOST[:1], dry_run=True).fields
        assert as_submitted["Path"].tolist() == ['TaskGroups["api"].Count'], "which was scaled"
        client, root = restored(server.address, path)
        found: dict[str, Any] = {"outcome": outcome(client, every_object())}
        again = recover(client, FRIDAY, every_object(), dry_run=True)
        assert set(again.steps["Action"]) == {"same"}
        for archive, count in OLDER:
            client, _ = restored(server.address, path)
            keystore = DATA / archive.partition("/")[0] / "keystore"
            options: Any = {"keystore": keystore if keystore.is_dir() else None, "overwrite": True}
            done = recover(client, path_of(archive), every_object(path_of(archive)), **options)
            assert len(done.steps) == count
            assert not [note for note in done.steps["Note"] if "reads back" in note], archive
        client, root = restored(server.address, path)
        files = write_files(FRIDAY, [one for one in every_object() if one[0] != "acl_tokens"], tmp_path / "files")
        environment = os.environ | {"NOMAD_ADDR": server.address, "NOMAD_TOKEN": root}
        found["commands"] = {}
        for one in files:
            if one.command.startswith("#"):
                continue
            command = one.command.replace("nomad ", f"{nomad} ", 1).replace("job run", "job run -detach")
            ran = subprocess.run(command, shell=True, env=environment, capture_output=True, timeout=60, check=False)
            assert ran.returncode == 0, (one.command, ran.stdout, ran.stderr)
            found["commands"][one.command.replace(str(tmp_path), "")] = ran.returncode
        again = recover(client, FRIDAY, every_object(), dry_run=True)
        assert set(again.steps["Action"]) == {"same"}, again.fields.to_string()
    if os.environ.get("SNAPKIT_VERDICTS") == "record":
        text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
        ORACLE.write_text(f"{text}\n", encoding="utf-8")
    assert found == recorded()


@pytest.mark.nomad
@pytest.mark.parametrize("count", [1, 3])
def test_new_real_clusters_take_back_each_kind(count: int, tmp_path: Path) -> None:
    """Everything that people wrote in an archive of the servers' own release."""
    archive = path_of("v1.8.4/monday") if release() < (1, 9) else FRIDAY
    with servers(tmp_path, count) as running:
        client = Client(running[-1].address, token=bootstrap(running[-1].address))
        wanted = [one for one in every_object(archive) if one[0] != "acl_tokens"]
        keystore = DATA / "v1.8.4" / "keystore" if release() < (1, 9) else None
        options: dict[str, Any] = {"keystore": keystore, "overwrite": True}
        deadline = time.monotonic() + PATIENCE
        while not client.get("/v1/operator/keyring/keys").value:
            assert time.monotonic() < deadline, "it makes itself no root key"
            time.sleep(0.2)
        done = recover(client, archive, wanted, **options)
        assert set(done.steps["Result"]) <= {"written", ""}
        assert not [note for note in done.steps["Note"] if "reads back" in note]
        again = recover(client, archive, wanted, dry_run=True, **options)
        assert set(again.steps["Action"]) == {"same"}, again.fields.to_string()


def restored(address: str, path: Path) -> tuple[Client, str]:
    """A server with an archive's state, its scheduler paused, and a client with a management token."""
    config = BY_TABLE["scheduler_config"].byte
    with snapkit.open(path) as snap:
        pairs = [(b, pack(unpack(p) | {b"PauseEvalBroker": True}) if b == config else bytes(p)) for b, p in snap.raw()]
        state = snap.header + b"".join(bytes([b]) + p for b, p in pairs)
        file = io.BytesIO()
        container.write_to(file, snap.archive.meta, iter([state]), len(state))
    root = token_of(FRIDAY_ARCHIVE)
    headers = {"X-Nomad-Token": root}
    if requests.get(f"{address}/v1/nodes", headers=headers, timeout=60).status_code != 200:
        headers = {"X-Nomad-Token": bootstrap(address)}
    answer = requests.put(f"{address}/v1/operator/snapshot", data=file.getvalue(), headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    client, deadline = Client(address, token=root), time.monotonic() + PATIENCE
    while True:
        try:
            client.nodes()
            return client, root
        except SnapshotError:
            assert time.monotonic() < deadline, "the archive's tokens do not work"
            time.sleep(0.2)


def test_the_files_are_still_those_that_the_command_took(tmp_path: Path) -> None:
    files = write_files(FRIDAY, [one for one in every_object() if one[0] != "acl_tokens"], tmp_path / "files")
    commands = {one.command.replace(str(tmp_path), "") for one in files if not one.command.startswith("#")}
    assert commands == set(recorded()["commands"])


@pytest.mark.nomad
def test_the_real_command_writes_to_a_served_snapshot(friday: ServedCluster, tmp_path: Path) -> None:
    nomad = binary()
    job, hcl = (one.path for one in write_files(THURSDAY, LOST[:1], tmp_path))
    (variable,) = (one.path for one in write_files(THURSDAY, LOST[1:], tmp_path))
    environment = os.environ | {"NOMAD_ADDR": friday.address, "NOMAD_TOKEN": friday.token}
    payments = ("-namespace", "payments")
    for arguments, status in (
        (("var", "put", "-in", "json", f"@{variable}"), 0),
        (("job", "plan", "-json", job), 0),
        (("job", "run", "-detach", "-json", job), 0),
        (("job", "plan", hcl), 0),
        (("job", "run", "-detach", hcl), 0),
        (("job", "history", "-p", *payments, "payments"), 0),
        (("job", "stop", "-detach", "-purge", *payments, "payments"), 0),
        (("var", "purge", *payments, "psp/credentials"), 0),
        (("acl", "token", "create", "-name=new", "-policy=ops-read"), 0),
        (("namespace", "apply", "new"), 0),
    ):
        ran = subprocess.run([nomad, *arguments], env=environment, capture_output=True, timeout=60, check=False)
        assert ran.returncode == status, (arguments, ran.stdout, ran.stderr)
