"""Who may do what: rules as Nomad reads them, what they grant together, and tokens by a snapshot."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import snapkit
from snapkit.state.access.acl import (
    Acl,
    Authority,
    RulesError,
    TokenExpiredError,
    TokenNotFoundError,
    matches,
    parse_rules,
)
from tests import forge

from ...conftest import ORACLES, path_of
from .. import samples

RECORDED = [
    json.loads(line)
    for line in (ORACLES / "recorded" / "requests.jsonl").read_text().splitlines()
    if "RulesJSON" in line
]
READ = [
    "list-jobs", "parse-job", "read-job", "csi-list-volume", "csi-read-volume", "read-job-scaling",
    "list-scaling-policies", "read-scaling-policy", "host-volume-read",
]  # fmt: skip


# -- rules


def test_rules_are_read_as_the_real_server_read_them() -> None:
    policies = [r["body"] for r in RECORDED if isinstance(r["body"], dict) and r["body"].get("RulesJSON")]
    assert policies
    for policy in policies:
        assert parse_rules(policy["Rules"]) == policy["RulesJSON"]


ALL_BLOCKS = """
# a comment
namespace "default" {
  policy       = "read"
  capabilities = ["submit-job", "host-volume-register"]
  variables {
    path "nomad/*" { capabilities = ["read"] }
    path "secret"  { capabilities = ["write", "deny"] }
  }
}
namespace "dev-*" { policy = "deny" }
node_pool "gpu*" { policy = "write" }
host_volume "db" { capabilities = ["mount-readonly"] }
agent { policy = "write" }
node { policy = "read" }
operator { capabilities = ["snapshot-save"] }
quota { policy = "read" }
plugin { policy = "list" }
"""


def test_every_block_is_spelt_out() -> None:
    parsed = parse_rules(ALL_BLOCKS)
    default, dev = parsed["Namespaces"]
    assert default["Capabilities"][:2] == ["submit-job", "host-volume-register"]
    assert set(default["Capabilities"]) == {*READ, "submit-job", "host-volume-register", "host-volume-create"}
    assert default["Variables"] == {
        "Paths": [
            {"PathSpec": "nomad/*", "Capabilities": ["read", "list"]},
            {"PathSpec": "secret", "Capabilities": ["deny"]},
        ]
    }
    assert dev == {"Name": "dev-*", "Policy": "deny", "Capabilities": ["deny"], "Variables": None}
    assert parsed["NodePools"] == [{"Name": "gpu*", "Policy": "write", "Capabilities": ["delete", "read", "write"]}]
    assert parsed["HostVolumes"] == [{"Name": "db", "Policy": "", "Capabilities": ["mount-readonly"]}]
    assert parsed["Operator"] == {"Policy": "", "Capabilities": ["snapshot-save"]}
    assert [parsed[name]["Policy"] for name in ("Agent", "Node", "Quota", "Plugin")] == [
        "write",
        "read",
        "read",
        "list",
    ]
    assert parsed["Sentinel"] is None
    assert parsed["Raw"] == ALL_BLOCKS


@pytest.mark.parametrize(
    "rules",
    [
        '{"namespace": {"default": {"policy": "read"}}}',
        '{"namespace": [{"default": {"policy": "read"}}]}',
        'namespace "default" {\n  policy = "read"\n}',
        'namespace default { policy = "read" }',
        '"namespace" "default" { "policy" = "read", }',
        'namespace "default" { policy = "write" policy = "read" } # the last counts',
        'Namespace "default" { Policy = "read" }',
        'namespace "default" { policy = "read" } unheard_of "x" { y = 1 }',
    ],
)
def test_rules_may_be_hcl_or_json(rules: str) -> None:
    assert parse_rules(rules)["Namespaces"] == [
        {"Name": "default", "Policy": "read", "Capabilities": READ, "Variables": None}
    ]


def test_what_stands_twice_is_kept_twice() -> None:
    parsed = parse_rules(
        'namespace "a" { policy = "read" capabilities = ["submit-job"] } namespace "a" { policy = "deny" }\n'
        'operator { policy = "read" } operator { capabilities = ["snapshot-save"] }'
    )
    assert [namespace["Policy"] for namespace in parsed["Namespaces"]] == ["read", "deny"]
    assert parsed["Namespaces"][0]["Capabilities"] == ["submit-job", *READ]
    assert parsed["Operator"] == {
        "Policy": "read",
        "Capabilities": ["snapshot-save", "license-read", "keyring-read"],
    }


def test_no_rules_grant_nothing() -> None:
    assert parse_rules("")["Namespaces"] is None


@pytest.mark.parametrize(
    "rules",
    [
        'namespace "default" { policy = "everything" }',
        'namespace "default" { policy = read }',
        'namespace "default" { policy = "re${x}ad" }',
        'namespace { policy = "read" }',
        'namespace = { "default" = { policy = "read" } }',
        '{"namespace": {"default": [{"policy": "read"}]}}',
        'namespace "default" { capabilities = ["read"] }',
        'namespace "no dots or spaces" { policy = "read" }',
        'namespace "default" { variables { path "/" { capabilities = ["read"] } } }',
        'namespace "default" { variables { path { capabilities = ["read"] } } }',
        'namespace "default" { variables {} }',
        'namespace "default" { variables { path "x" { capabilities = ["submit-job"] } } }',
        'node_pool "default" { capabilities = ["mount-readonly"] }',
        'operator { capabilities = ["write"] }',
        " \n",
        "# nothing",
        'unheard_of { policy = "read" }',
        'namespace "default" { capabilities = "read-job" }',
        'namespace "default" { capabilities = [1] }',
        'node { policy = "list" }',
        'agent "x" { policy = "read" }',
        "namespace",
        "{",
        "[]",
        '{"namespace": 5}',
        '{"node": "read"}',
        "\x00\ufffd{{{",
        '{"a":' * 5_000,
        "a = " + "[" * 2_000,
    ],
    ids=lambda rules: rules[:40],
)
def test_rules_that_mean_nothing_are_refused(rules: str) -> None:
    with pytest.raises(RulesError):
        parse_rules(rules)


# -- what they grant


def acl(*rules: str) -> Acl:
    return Acl(map(parse_rules, rules))


def test_deny_wins_and_else_the_most_that_any_grants() -> None:
    reader = 'namespace "default" { policy = "read" }\nnode { policy = "read" }'
    writer = 'namespace "default" { policy = "write" }\nnode { policy = "write" }'
    denied = 'namespace "default" { policy = "deny" }\nnode { policy = "deny" }'
    both = acl(reader, writer)
    assert both.allow_namespace("default", "submit-job")
    assert both.allow_node("write")
    for order in ([reader, denied, writer], [denied, writer], [writer, denied]):
        none = acl(*order)
        assert not none.allow_namespace("default", "read-job")
        assert not none.allow_node("read")
        assert not none.sees_namespace("default")


def test_the_closest_glob_counts_and_a_name_before_any() -> None:
    some = acl(
        'namespace "*" { policy = "read" }\nnamespace "prod-*" { policy = "deny" }\n'
        'namespace "prod-web*" { policy = "write" }\nnamespace "prod-web-1" { capabilities = ["list-jobs"] }'
    )
    assert some.allow_namespace("dev", "read-job")
    assert not some.allow_namespace("prod-db", "read-job")
    assert some.allow_namespace("prod-web-2", "submit-job")
    assert not some.allow_namespace("prod-web-1", "submit-job")
    assert some.allow_namespace("prod-web-1", "list-jobs")
    assert some.allow_namespace("*", "submit-job"), "in any of them"
    assert not some.allow_namespace("*", "alloc-node-exec")


@given(st.text("ab*", max_size=8), st.text("ab\n\0", max_size=10))
def test_a_glob_matches_as_a_regular_expression_would(rule: str, name: str) -> None:
    expression = re.compile(".*".join(map(re.escape, rule.split("*"))), re.DOTALL)
    assert matches(rule, name) is (expression.fullmatch(name) is not None)


def test_a_glob_of_many_wildcards_comes_to_an_end() -> None:
    """The rules of a policy are as hostile as the archive: a regular expression takes years for this."""
    assert not matches("*a" * 40 + "b", "a" * 500 + "c")
    assert matches("*a" * 40, "a" * 500)


def test_a_glob_has_one_wildcard_and_no_other_magic() -> None:
    some = acl('namespace "a" { variables { path "a.c*" { capabilities = ["list"] } } }')
    assert some.allow_variable("a", "a.cd", "list")
    assert not some.allow_variable("a", "abcd", "list")
    some = acl('namespace "a" { variables { path "[ab]*" { capabilities = ["list"] } } }')
    assert not some.allow_variable("a", "ab", "list")
    assert acl('namespace "*-*" { policy = "read" }').allow_namespace("a-b", "read-job")


def test_variables_have_paths_of_their_own() -> None:
    some = acl(ALL_BLOCKS)
    assert some.allow_variable("default", "nomad/jobs/web", "read")
    assert some.allow_variable("default", "nomad/jobs/web", "list")
    assert not some.allow_variable("default", "nomad/jobs/web", "write")
    assert not some.allow_variable("default", "secret", "write")
    assert not some.allow_variable("other", "nomad/jobs/web", "read")


def test_what_a_policy_denies_of_variables_another_may_grant() -> None:
    denied = 'namespace "a" { variables { path "x" { capabilities = ["deny"] } } }'
    some = acl(denied, 'namespace "a" { variables { path "x" { capabilities = ["write"] } } }')
    assert some.allow_variable("a", "x", "write")
    assert not some.allow_variable("a", "x", "read")
    assert not acl(denied).allow_variable("a", "x", "list")


def test_levels_and_capabilities_of_single_blocks() -> None:
    some = acl(ALL_BLOCKS)
    assert some.allow_agent("read")
    assert not some.allow_node("write")
    assert some.allow_operator("snapshot-save")
    assert not some.allow_operator("read")
    assert acl('operator { policy = "write" }').allow_operator("snapshot-save")
    assert not acl('operator { policy = "read" }').allow_operator("snapshot-save")
    assert some.allow_node_pool("gpu-1", "delete")
    assert some.allow_plugin("list")
    assert not some.allow_plugin("read")
    assert Acl(management=True).allow_operator("write")
    assert some.allow_quota("read")
    assert not some.allow_quota("write")
    assert some.allow_host_volume("db", "mount-readonly")
    assert not some.allow_host_volume("db-2", "mount-readonly")
    assert not some.allow_sentinel("sentinel-read")
    assert acl('sentinel { policy = "write" }').allow_sentinel("sentinel-submit")
    assert not acl('sentinel { policy = "write" capabilities = ["deny"] } plugin { policy = "deny" }').sentinel - {
        "deny"
    }


# -- tokens


def snapshot(open_: Callable[..., snapkit.Snapshot], **tables: list[dict[str, Any]]) -> snapkit.Snapshot:
    made = {
        table: [samples.struct(TYPE[table], salt=str(i), **values) for i, values in enumerate(rows)]
        for table, rows in tables.items()
    }
    return open_(samples.archive(made))


TYPE = {"acl_tokens": "ACLToken", "acl_policies": "ACLPolicy", "acl_roles": "ACLRole"}
NEVER: dict[str, Any] = {"ExpirationTime": None, "Roles": None, "Policies": None, "Type": "client"}


def test_tokens_have_their_own_policies_and_those_of_their_roles(open_: Callable[..., snapkit.Snapshot]) -> None:
    snap = snapshot(
        open_,
        acl_tokens=[
            NEVER | {"SecretID": "s1", "AccessorID": "a1", "Name": "n1", "Policies": ["p1"], "Roles": [{"ID": "r1"}]},
            NEVER | {"SecretID": "s2", "AccessorID": "a2", "Type": "management"},
        ],
        acl_roles=[{"ID": "r1", "Policies": [{"Name": "p2"}, {"Name": "gone"}]}],
        acl_policies=[
            {"Name": "p1", "Rules": 'namespace "a" { policy = "read" }'},
            {"Name": "p2", "Rules": 'node { policy = "read" }'},
            {"Name": "anonymous", "Rules": 'agent { policy = "read" }'},
        ],
    )
    authority = Authority(snap)
    assert authority.enabled
    client = authority.resolve("s1")
    assert (client.accessor_id, client.name) == ("a1", "n1")
    assert client.policies == {"p1", "p2", "gone"}
    assert client.roles == {"r1"}
    assert client.acl.allow_namespace("a", "read-job")
    assert client.acl.allow_node("read")
    assert not client.acl.allow_agent("read")
    assert authority.resolve("s2").acl.management
    anonymous = authority.resolve("")
    assert anonymous.accessor_id is None
    assert anonymous.acl.allow_agent("read")
    assert not anonymous.acl.allow_node("read")
    with pytest.raises(TokenNotFoundError):
        authority.resolve("s3")


def test_a_policy_that_is_not_understood_grants_nothing_and_is_logged(
    open_: Callable[..., snapkit.Snapshot], caplog: pytest.LogCaptureFixture
) -> None:
    snap = snapshot(
        open_,
        acl_tokens=[NEVER | {"SecretID": "s1", "Policies": ["bad", "good"]}],
        acl_policies=[
            {"Name": "bad", "Rules": 'namespace "*" { policy = "write" }\nnode { policy = "whatever" }'},
            {"Name": "good", "Rules": 'agent { policy = "read" }'},
        ],
    )
    with caplog.at_level(logging.WARNING):
        identity = Authority(snap).resolve("s1")
    assert identity.acl.allow_agent("read")
    assert not identity.acl.allow_namespace("default", "read-job")
    assert "policy bad grants nothing" in caplog.text


def test_tokens_expire_by_the_clock_that_is_given(open_: Callable[..., snapkit.Snapshot]) -> None:
    snap = snapshot(open_, acl_tokens=[NEVER | {"SecretID": "s1", "ExpirationTime": forge.GO_TIME}])
    moment = pd.Timestamp(samples.MOMENT)
    assert Authority(snap, now=moment - timedelta(seconds=1)).resolve("s1").accessor_id
    with pytest.raises(TokenExpiredError, match="expired at"):
        Authority(snap, now=moment).resolve("s1")
    assert snap.meta.created is not None
    assert Authority(snap).now == snap.meta.created, "by default, the archive's own time"


def test_a_state_without_tokens_is_of_a_cluster_with_acls_off(open_: Callable[..., snapkit.Snapshot]) -> None:
    authority = Authority(snapshot(open_, acl_policies=[{"Name": "p"}]))
    assert not authority.enabled
    assert authority.resolve("").acl.management
    assert authority.resolve("whatever").acl.management


def test_the_tokens_of_a_real_week() -> None:
    tokens = json.loads((ORACLES / "v2.0.5" / "tokens.json").read_text())
    with snapkit.open(path_of("v2.0.5/friday")) as snap:
        authority = Authority(snap)
        deploy = authority.resolve(tokens["deploy"]["SecretID"])
        assert deploy.policies == {"shop-deploy"}
        assert deploy.acl.allow_namespace("payments", "submit-job"), "widened on Tuesday"
        with pytest.raises(TokenNotFoundError):
            authority.resolve(tokens["ops"]["SecretID"])  # deleted on Tuesday
    with snapkit.open(path_of("v2.0.5/monday")) as snap:
        deploy = Authority(snap).resolve(tokens["deploy"]["SecretID"])
        assert not deploy.acl.allow_namespace("payments", "submit-job")
