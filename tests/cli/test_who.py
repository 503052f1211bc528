"""`snapkit who`: what tokens may do, how that differs, and who could have done a thing."""

from __future__ import annotations

import json
from typing import Any

import pytest

import snapkit
from snapkit.state.access.who import rights, rights_changes, subjects, who_could, who_did

from ..conftest import ORACLES, path_of
from ..state import samples
from . import Ran, failed, fine, run

MONDAY, TUESDAY, WEDNESDAY = (path_of(f"v2.0.5/{day}") for day in ("monday", "tuesday", "wednesday"))


def rows(*arguments: object) -> Any:
    return json.loads(fine("who", *arguments, "--json"))


def lines(text: str) -> list[list[str]]:
    """The words of a table's lines, without rules."""
    return [words for line in text.splitlines() if (words := line.split()) and "─" not in line]


def test_json_is_what_the_library_gives() -> None:
    with snapkit.open(MONDAY) as snap, snapkit.open(TUESDAY) as later:
        for found, frame in (
            (rows(MONDAY), subjects(snap)),
            (rows(MONDAY, "--token", "shop deployer"), rights(snap, "token", "shop deployer")),
            (rows(MONDAY, "--role", "on-call"), rights(snap, "role", "on-call")),
            (rows(MONDAY, "--policy", "ops-read"), rights(snap, "policy", "ops-read")),
            (rows(MONDAY, "--anonymous"), rights(snap)),
            (rows(MONDAY, "--can", "submit-job"), who_could(snap, "submit-job")),
            (rows(TUESDAY, "--can", "submit-job", "--since", MONDAY), who_could(later, "submit-job", since=snap)),
            (rows(TUESDAY, "--did"), who_did(later)),
        ):
            assert len(found) == len(frame) > 0
            assert list(found[0]) == list(frame.columns)
            assert [row[frame.columns[1]] for row in found] == [
                value if value == value else None for value in frame[frame.columns[1]]
            ]
        ran = run("who", MONDAY, "--against", TUESDAY, "--json")
        assert (ran.status, ran.err) == (1, "")
        assert len(json.loads(ran.out)) == len(rights_changes(snap, later))


def test_everybody_at_a_glance() -> None:
    found = lines(fine("who", WEDNESDAY))
    assert found[0] == ["Kind", "ID", "Name", "Through", "Rights", "Valid"], "no column without anything in it"
    assert [
        "anonymous",
        "Anonymous",
        "Token",
        "anonymous",
        "namespace",
        "*:",
        "write;",
        "node:",
        "write",
        "yes",
    ] in found
    assert found[-1] == ["11", "rows"]


def test_rights_are_short_for_people() -> None:
    found = lines(fine("who", MONDAY, "--token", "shop deployer"))
    assert found[1:] == [
        ["namespace", "shop", "shop", "write", "shop-deploy", "token"],
        ["variable", "shop", "*", "shop", "list,", "read,", "write", "shop-deploy", "token"],
        ["2", "rows"],
    ]


def test_who_could_have_and_that_it_is_hardly_known_who_did() -> None:
    text = fine("who", WEDNESDAY, "--can", "submit-job", "--namespace", "shop", columns=300)
    assert 'policy shop-deploy through role on-call: namespace "*": submit-job' in text
    assert text.endswith(
        "\n7 rows\nWho could have, by the rights in the snapshot. Of who did, it tells little: --did.\n"
    )
    assert {
        row["Name"] for row in rows(MONDAY, "--can", "write", "--path", "psp/credentials", "--namespace", "shop")
    } == {
        "Bootstrap Token",
        "break glass",
        "shop deployer",
        "pager",
        "auth method ci",
    }
    assert [row["Name"] for row in rows(MONDAY, "--can", "read", "--scope", "agent", "--now", "now")] == [
        "Bootstrap Token",
        "ops dashboard",
        "break glass",
        "pager",
    ]
    late = rows(MONDAY, "--can", "submit-job", "--namespace", "shop", "--now", "2026-12-01")
    assert {row["Name"]: row["Valid"] for row in late}["shop deployer"] == "expired"


def test_which_token_did_what_is_told_where_the_state_has_it() -> None:
    said = lines(fine("who", WEDNESDAY, "--did"))
    assert said[1] == [
        *("2026-11-23T22:08:55Z", "139", "registered", "job_versions", "default/metrics-agent/0"),
        *("token", "b11d19dc-ef33-7f21-5ff8-f259fc98a764", "svc-backup", "management", "True"),
    ]
    assert " ".join(said[-1]).startswith("Of nothing else does the state keep")


def test_a_namespace_that_is_not_there_is_pointed_out() -> None:
    ran = run("who", WEDNESDAY, "--can", "submit-job", "--namespace", "shpo")
    assert ran.status == 0
    assert ran.err == "snapkit: note: namespace shpo is not in the snapshot\n"
    assert "Anonymous Token" in ran.out


def test_differences_are_status_one_and_their_absence_none() -> None:
    ran = run("who", TUESDAY, "--against", WEDNESDAY, "--anonymous")
    assert (ran.status, ran.err) == (1, "")
    words = lines(ran.out)
    assert ["anonymous", "Anonymous", "Token", "added", "node", "write", "anonymous"] in words
    assert words[-1] == ["3", "rows"]
    assert fine("who", TUESDAY, "--against", path_of("v2.0.5/thursday")) == "0 rows\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--can", "submit"], "did you mean submit-job"),
        (["--can", "read"], "is of several scopes: variable, node_pool"),
        (["--token", "nope"], "has no record 'nope'"),
        (["--policy", "ops"], "did you mean ops-read"),
        (["--token", "pager", "--anonymous"], "--anonymous and --token: can't be asked for together"),
        (["--token", "pager", "--can", "submit-job"], "can't be asked for together"),
        (["--can", "submit-job", "--against", "x"], "--can and --against: can't be asked for together"),
        (["--did", "--can", "submit-job"], "--can and --did: can't be asked for together"),
        (["--did", "--against", "x"], "--against and --did: can't be asked for together"),
        (["--did", "--since", "x"], "--since: needs --can"),
        (["--namespace", "shop"], "--namespace: needs --can"),
        (["--token", "pager", "--path", "a"], "--path: needs --can"),
        (["--against", "no-such-file"], "no-such-file"),
        (["--against", str(TUESDAY), "--token", "nope"], "has no record 'nope'"),
        (["--against", str(TUESDAY), "--now", "now"], "does not go with --against"),
        (["--can", "submit-job", "--now", "yesterday"], "is no time 'yesterday'"),
    ],
)
def test_a_mistake_is_one_line_that_helps(arguments: list[str], said: str) -> None:
    assert said in failed(run("who", MONDAY, *arguments))


def test_standard_input_can_be_read_once() -> None:
    assert "can be read once" in failed(run("who", "-", "--against", "-"))


def test_no_secret_is_shown() -> None:
    tokens = [*json.loads((ORACLES / "v2.0.5" / "tokens.json").read_text()).values()]
    text = "".join(
        run("who", WEDNESDAY, *more, *form, columns=400).out
        for more in ([], ["--can", "management"], ["--against", TUESDAY], ["--token", "intern"])
        for form in ([], ["--json"])
    )
    assert tokens
    assert [token["Name"] for token in tokens if token["SecretID"] in text] == []


EVIL = "\x1b[31m\x9b2J\u202e\r\x7f"


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("arguments", [[], ["--policy", EVIL], ["--can", "submit-job"], ["--token", "no"]], ids=str)
def test_control_characters_never_reach_the_terminal(arguments: list[str], form: list[str], tmp_path: Any) -> None:
    token: dict[str, Any] = {
        "AccessorID": "a",
        "SecretID": "s",
        "Name": EVIL,
        "Policies": [EVIL],
        "Roles": None,
        "Type": "client",
    }
    made = {
        "acl_tokens": [samples.struct("ACLToken", **token)],
        "acl_policies": [samples.struct("ACLPolicy", Name=EVIL, Rules=f'namespace "{EVIL}" {{ policy = "read" }}')],
        "namespaces": [samples.struct("Namespace", Name=EVIL)],
    }
    path = tmp_path / "hostile.snap"
    path.write_bytes(samples.archive(made))
    ran: Ran = run("who", path, *arguments, *form)
    assert ran.status in (0, 2)
    assert [c for c in ran.out + ran.err if not c.isprintable() and c != "\n"] == []
    if arguments[:1] != ["--token"]:
        assert "unknown" in ran.out or not arguments
        assert "understood" in ran.out


@pytest.mark.parametrize(
    ("table", "struct", "values"),
    [
        ("acl_tokens", "ACLToken", {"Policies": 5}),
        ("acl_tokens", "ACLToken", {"Policies": [5]}),
        ("acl_tokens", "ACLToken", {"Roles": ["r"]}),
        ("acl_roles", "ACLRole", {"Policies": {"a": 1}}),
        ("acl_policies", "ACLPolicy", {"Rules": 5}),
        ("acl_policies", "ACLPolicy", {"Rules": [5]}),
        ("acl_policies", "ACLPolicy", {"JobACL": "job"}),
        ("acl_policies", "ACLPolicy", {"JobACL": {"Namespace": 5}}),
        ("nodes", "Node", {"HostVolumes": "volume"}),
    ],
)
def test_what_is_not_of_its_type_ends_in_one_line(
    table: str, struct: str, values: dict[str, Any], tmp_path: Any
) -> None:
    made = {
        "acl_tokens": [samples.struct("ACLToken", AccessorID="root", Type="management")],
        "acl_policies": [samples.struct("ACLPolicy", Name="p", Rules='host_volume "x" { policy = "read" }')],
    }
    path = tmp_path / "hostile.snap"
    path.write_bytes(samples.archive(made | {table: [*made.get(table, []), samples.struct(struct, **values)]}))
    ran = [run("who", path, *more) for more in ([], ["--policy", "p"])]
    assert [failed(one) for one in ran if one.status], "one of the two needs it"
