"""Who may do what, how that differs, and who could have done a thing: made-up clusters, then the week of a real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import NotInSnapshotError, SnapshotError
from snapkit.state.access.acl import CAPABILITIES, LEVELS, Acl, parse_rules
from snapkit.state.access.scopes import ALSO, SCOPES
from snapkit.state.access.who import folded, rights, rights_changes, subjects, who_could

from ... import forge
from ...conftest import ARCHIVES, ORACLES, oracle, path_of
from .. import samples

Open = Callable[..., snapkit.Snapshot]

STRUCTS = {
    "acl_tokens": "ACLToken",
    "acl_policies": "ACLPolicy",
    "acl_roles": "ACLRole",
    "namespaces": "Namespace",
    "node_pools": "NodePool",
    "nodes": "Node",
    "jobs": "Job",
    "acl_binding_rules": "ACLBindingRule",
    "job_versions": "Job",
    "indexes": "IndexEntry",
}
TOKEN: dict[str, Any] = {"ExpirationTime": None, "Roles": None, "Policies": None, "Type": "client", "CreateTime": None}
#: A token more, so that ACLs are on.
ROOT = TOKEN | {"AccessorID": "root", "Name": "root", "SecretID": "s-root", "Type": "management"}


def token(name: str, *policies: str, **values: Any) -> dict[str, Any]:
    return TOKEN | {"AccessorID": f"a-{name}", "SecretID": f"s-{name}", "Name": name, "Policies": policies} | values


def policy(name: str, rules: str, **job: str) -> dict[str, Any]:
    return {"Name": name, "Rules": rules, "JobACL": job or None}


def cluster(open_: Open, *, policies: list[dict[str, Any]], **tables: list[dict[str, Any]]) -> snapkit.Snapshot:
    tables = {"acl_policies": policies, "namespaces": [{"Name": n} for n in ("default", "shop", "ops")]} | tables
    tables["acl_tokens"] = [ROOT, *tables.get("acl_tokens", [])]
    made = {
        table: [samples.struct(STRUCTS[table], salt=str(i), **values) for i, values in enumerate(rows)]
        for table, rows in tables.items()
    }
    return open_(samples.archive(made))


def granted(frame: pd.DataFrame, *columns: str) -> set[tuple[str, ...]]:
    return set(frame[list(columns)].itertuples(index=False, name=None))


def could(snapshot: snapkit.Snapshot, *what: Any, **how: Any) -> dict[str, str]:
    """Who, but for the management token: and whether."""
    frame = who_could(snapshot, *what, **how)
    frame = frame[frame.Type != "management"]
    return dict(zip(frame.Name, frame.Could, strict=True))


def text_of(*frames: pd.DataFrame) -> str:
    return "".join(repr(frame.to_dict("records")) for frame in frames)


# -- rights


def test_globs_are_spelt_out_for_the_namespaces_there_are(open_: Open) -> None:
    rules = 'namespace "*" { policy = "read" } namespace "s*" { capabilities = ["submit-job"] } namespace "ops" {}'
    with cluster(open_, policies=[policy("p", rules)]) as snap:
        found = rights(snap, "policy", "p")
    assert granted(found[found.Capability == "submit-job"], "Scope", "Name", "Rule", "Policy") == {
        ("namespace", "shop", "s*", "p")
    }
    assert granted(found[found.Capability == "read-job"], "Name", "Rule") == {("default", "*")}
    assert set(found[found.Name == "default"].Capability) == set(LEVELS["namespace"]["read"])
    assert "ops" not in set(found.Name), "the closest rule counts, and grants nothing"
    assert set(found.Problem) == {""}


def test_what_rules_name_and_is_not_there_is_a_row_that_says_so(open_: Open) -> None:
    rules = 'namespace "gone-*" { capabilities = ["read-job"] } namespace "prod" { capabilities = ["list-jobs"] }'
    with cluster(open_, policies=[policy("p", rules)]) as snap:
        found = rights(snap, "policy", "p")
    assert granted(found, "Name", "Capability", "Problem") == {
        ("gone-*", "read-job", "there is no such namespace"),
        ("prod", "list-jobs", "there is no such namespace"),
    }


EVERYTHING = """
namespace "shop" { variables { path "a/*" { capabilities = ["write"] } path "a/b" { capabilities = ["read"] } } }
node_pool "g*" { policy = "write" }
host_volume "d*" { policy = "read" }
agent { policy = "read" }
node { policy = "write" }
operator { policy = "read" capabilities = ["snapshot-save"] }
sentinel { policy = "read" }
quota { policy = "write" }
plugin { policy = "list" }
"""


def test_rights_to_all_that_there_are_rights_to(open_: Open) -> None:
    tables: dict[str, list[dict[str, Any]]] = {
        "node_pools": [{"Name": "default"}, {"Name": "gpu"}],
        "nodes": [{"HostVolumes": {"db": samples.struct("ClientHostVolumeConfig"), "scratch": None}}],
    }
    with cluster(open_, policies=[policy("p", EVERYTHING)], **tables) as snap:
        found = rights(snap, "policy", "p")
    assert granted(found, "Scope", "Name", "Path", "Capability") == {
        ("variable", "shop", "a/*", "write"),
        ("variable", "shop", "a/b", "read"),
        ("variable", "shop", "a/b", "list"),
        *(("node_pool", "gpu", "", one) for one in ("read", "write", "delete")),
        ("host_volume", "db", "", "mount-readonly"),
        ("agent", "", "", "read"),
        ("node", "", "", "read"),
        ("node", "", "", "write"),
        *(("operator", "", "", one) for one in ("read", "snapshot-save", "license-read", "keyring-read")),
        ("sentinel", "", "", "sentinel-read"),
        ("quota", "", "", "read"),
        ("quota", "", "", "write"),
        ("plugin", "", "", "list"),
    }
    assert set(found.Scope) | {"namespace", "management"} == SCOPES.keys()


def test_a_path_that_another_rule_is_closer_to_is_left_out(open_: Open) -> None:
    far = 'namespace "*" { variables { path "a/*" { capabilities = ["write"] } } }'
    near = 'namespace "shop" { variables { path "*" { capabilities = ["list"] } } }'
    with cluster(open_, policies=[policy("p", far + near)]) as snap:
        found = rights(snap, "policy", "p")
        assert granted(found, "Name", "Path", "Rule", "Capability") == {
            ("default", "a/*", "*", "write"),
            ("ops", "a/*", "*", "write"),
            ("shop", "*", "shop", "list"),
        }
        assert not could(snap, "write", "shop", "a/b")


def test_each_right_says_by_which_policy_and_role(open_: Open) -> None:
    with cluster(
        open_,
        policies=[
            policy("reads", 'namespace "shop" { capabilities = ["read-job", "list-jobs"] }'),
            policy("lists", 'namespace "shop" { capabilities = ["list-jobs"] } node { policy = "read" }'),
            policy("denies", 'namespace "ops" { policy = "deny" } agent { policy = "deny" }'),
            policy("all", 'namespace "ops" { policy = "write" } agent { policy = "write" }'),
        ],
        acl_roles=[{"ID": "r1", "Name": "on-call", "Policies": [{"Name": "lists"}, {"Name": "reads"}]}],
        acl_tokens=[token("t", "reads", "denies", "all", Roles=[{"ID": "r1"}])],
    ) as snap:
        found = rights(snap, "token", "a-t")
        assert granted(found, "Scope", "Capability", "Policy", "Via") == {
            ("namespace", "read-job", "reads", "token, role on-call"),
            ("namespace", "list-jobs", "reads", "token, role on-call"),
            ("namespace", "list-jobs", "lists", "role on-call"),
            ("node", "read", "lists", "role on-call"),
        }, "deny wins"
        assert rights(snap, "token", "t").equals(found), "by its name"
        assert set(rights(snap, "role", "on-call").Policy) == {"reads", "lists"}
        assert rights(snap, "role", "r1").equals(rights(snap, "role", "on-call"))


def test_a_management_token_has_one_row(open_: Open) -> None:
    with cluster(open_, policies=[]) as snap:
        found = rights(snap, "token", "root")
    assert granted(found, "Scope", "Capability", "Via") == {("management", "all", "token")}


def test_the_anonymous_have_their_policy_or_nothing(open_: Open) -> None:
    with cluster(open_, policies=[policy("anonymous", 'agent { policy = "read" }')]) as snap:
        assert granted(rights(snap), "Scope", "Capability", "Policy") == {("agent", "read", "anonymous")}
    with cluster(open_, policies=[]) as snap:
        assert rights(snap).empty
        assert list(rights(snap).columns) == ["Scope", "Name", "Path", "Rule", "Capability", "Policy", "Via", "Problem"]


def test_where_acls_are_off_anyone_may_do_all(open_: Open) -> None:
    with open_(samples.archive({"acl_policies": [samples.struct("ACLPolicy", Name="p", Rules="")]})) as snap:
        (row,) = rights(snap).to_dict("records")
        assert (row["Scope"], row["Capability"], row["Via"]) == ("management", "all", "")
        assert "ACLs were off" in row["Problem"]
        assert could(snap, "submit-job") == {"Anonymous Token": "yes"}
        assert "ACLs were off" in who_could(snap, "submit-job").Why[0]


def test_tasks_have_the_policies_that_name_their_job(open_: Open) -> None:
    with cluster(
        open_,
        policies=[
            policy("ns", 'namespace "shop" { capabilities = ["list-jobs"] }', Namespace="shop"),
            policy("job", 'namespace "shop" { capabilities = ["read-job"] }', Namespace="shop", JobID="web"),
            policy("task", 'node { policy = "read" }', Namespace="shop", JobID="web", Group="api", Task="server"),
            policy("other", 'node { policy = "write" }', Namespace="ops", JobID="web"),
            policy("none", 'node { policy = "write" }', JobID="web"),
        ],
    ) as snap:
        assert set(rights(snap, "workload", "shop/web/api/server").Policy) == {"ns", "job", "task"}
        assert set(rights(snap, "workload", "shop/web").Policy) == {"ns", "job"}
        assert set(rights(snap, "workload", "shop").Policy) == {"ns"}
        assert could(snap, "read-job", "shop") == {"shop/web": "yes", "shop/web/api/server": "yes"}
        assert could(snap, "write", scope="node") == {"ops/web": "yes"}
        with pytest.raises(NotInSnapshotError, match="has no workload 'shop/db'"):
            rights(snap, "workload", "shop/db")


# -- what can't be understood


BAD = 'namespace "*" { policy = "write" } node { policy = "whatever" }'


def test_rules_that_are_not_understood_are_never_no_rights(open_: Open) -> None:
    with cluster(
        open_,
        policies=[policy("bad", BAD), policy("worse", "{{"), policy("good", 'agent { policy = "read" }')],
        acl_roles=[{"ID": "r1", "Name": "on-call", "Policies": [{"Name": "bad"}]}],
        acl_tokens=[token("both", "good", Roles=[{"ID": "r1"}]), token("worst", "worse"), token("fine", "good")],
    ) as snap:
        found = rights(snap, "token", "both")
        assert granted(found, "Scope", "Name", "Capability", "Policy", "Via") == {
            ("agent", "", "read", "good", "token"),
            ("policy", "bad", "unknown", "bad", "role on-call"),
        }
        assert "the level 'whatever' of node means nothing" in found.Problem.iloc[-1]
        assert "can't be understood: line 1" in rights(snap, "policy", "worse").Problem[0]
        assert could(snap, "submit-job") == {"both": "unknown", "worst": "unknown"}
        assert could(snap, "read", scope="agent") == {"both": "yes", "worst": "unknown", "fine": "yes"}
        assert could(snap, "management") == {"both": "unknown", "worst": "unknown"}
        frame = who_could(snap, "submit-job")
        assert "policy bad: its rules can't be understood" in frame[frame.Name == "both"].Why.iloc[0]
        every = subjects(snap).set_index(["Kind", "Name"])
        assert "can't be understood" in every.Problem["policy", "worse"]
        assert every.Problem["token", "fine"] == ""


def test_rules_that_came_to_be_unknown_are_a_change(open_: Open) -> None:
    good = 'namespace "shop" { capabilities = ["read-job"] }'
    with (
        cluster(open_, policies=[policy("p", good)]) as before,
        cluster(open_, policies=[policy("p", BAD)]) as after,
    ):
        assert granted(rights_changes(before, after), "Change", "Scope", "Name", "Capability") == {
            ("removed", "namespace", "shop", "read-job"),
            ("added", "policy", "p", "unknown"),
        }


def test_what_is_not_there_grants_nothing_and_is_told(open_: Open) -> None:
    with cluster(open_, policies=[], acl_tokens=[token("t", "gone", Roles=[{"ID": "r9"}])]) as snap:
        found = rights(snap, "token", "t")
        assert granted(found, "Scope", "Name", "Capability", "Problem") == {
            ("policy", "gone", "", "is not in the snapshot: it grants nothing"),
            ("role", "r9", "", "is not in the snapshot: it grants nothing"),
        }
        assert could(snap, "submit-job") == {}


def test_what_a_salvage_lost_may_have_granted_anything(open_: Open) -> None:
    made = {
        "acl_tokens": [samples.struct("ACLToken", **ROOT), samples.struct("ACLToken", **token("t", "lost"))],
        "namespaces": [samples.struct("Namespace", Name="shop")],
    }
    whole = samples.archive(made)
    with open_(whole[:-40], salvage=True) as snap:
        assert snap.salvage is not None
        assert could(snap, "submit-job") == {"t": "unknown"}


# -- who could have


def test_those_who_could_and_why(open_: Open) -> None:
    with cluster(
        open_,
        policies=[
            policy("deploy", 'namespace "s*" { policy = "write" }'),
            policy("look", 'namespace "*" { policy = "read" }'),
            policy("anonymous", 'namespace "ops" { capabilities = ["submit-job"] }'),
        ],
        acl_roles=[{"ID": "r1", "Name": "on-call", "Policies": [{"Name": "deploy"}]}],
        acl_tokens=[
            token("direct", "deploy"),
            token("pager", Roles=[{"ID": "r1"}]),
            token("both", "deploy", Roles=[{"ID": "r1"}]),
            token("reader", "look"),
        ],
    ) as snap:
        frame = who_could(snap, "submit-job", "shop")
        assert granted(frame, "AccessorID", "Name", "Type", "Could", "Why") == {
            ("root", "root", "management", "yes", "a management token"),
            ("a-direct", "direct", "client", "yes", 'policy deploy: namespace "s*": submit-job'),
            ("a-both", "both", "client", "yes", 'policy deploy: namespace "s*": submit-job'),
            ("a-pager", "pager", "client", "yes", 'policy deploy through role on-call: namespace "s*": submit-job'),
        }
        assert frame.Where.map(tuple).tolist() == [(), ("shop",), ("shop",), ("shop",)]
        everywhere = who_could(snap, "submit-job").set_index("Name")
        assert everywhere.Where["Anonymous Token"] == ["ops"]
        assert pd.isna(everywhere.AccessorID["Anonymous Token"])
        assert could(snap, "submit-job", "shop-2") == dict.fromkeys(("direct", "pager", "both"), "yes"), (
            "a namespace that was there"
        )
        assert could(snap, "alloc-node-exec") == {}


def test_what_lets_do_the_same_counts(open_: Open) -> None:
    def one(*capabilities: str) -> str:
        return f'namespace "shop" {{ capabilities = {json.dumps(capabilities)} }}'

    names = ["submit-job", "register-job", "purge-job", "read-fs", "list-jobs"]
    policies = [policy(name, one(name)) for name in names] + [policy("both", one("list-jobs", "read-job"))]
    tokens = [token(p["Name"], p["Name"]) for p in policies]
    with cluster(open_, policies=policies, acl_tokens=tokens) as snap:
        assert set(could(snap, "purge-job", "shop")) == {"submit-job", "purge-job"}
        assert set(could(snap, "deregister-job", "shop")) == {"submit-job", "purge-job"}
        assert set(could(snap, "submit-job", "shop")) == {"submit-job", "register-job"}
        assert set(could(snap, "read-logs", "shop")) == {"read-fs"}
        assert set(could(snap, "list-scaling-policies", "shop")) == {"both"}
        frame = who_could(snap, "purge-job").set_index("Name")
        assert frame.Why["submit-job"] == 'policy submit-job: namespace "shop": submit-job'
    known = {one for ones in SCOPES.values() for one in ones}
    assert {one for ones in ALSO.values() for text in ones for one in text.split()} | ALSO.keys() <= known


def test_variables_by_their_path(open_: Open) -> None:
    rules = 'namespace "shop" { variables { path "psp/*" { capabilities = ["read"] } } }'
    tables: dict[str, list[dict[str, Any]]] = {
        "jobs": [{"Namespace": "shop", "ID": "web"}, {"Namespace": "shop", "ID": "a/b"}],
        "acl_tokens": [token("t", "p")],
    }
    with cluster(open_, policies=[policy("p", rules)], **tables) as snap:
        assert could(snap, "read", "shop", "psp/card") == {"t": "yes"}
        assert could(snap, "list", None, "psp/card") == {"t": "yes"}
        assert could(snap, "write", "shop", "psp/card") == {}
        assert could(snap, "read", "ops", "psp/card") == {}
        why = who_could(snap, "read", "shop", "psp/card").Why.tolist()[-1]
        assert why == 'policy p: namespace "shop", variables "psp/*": read'
        # a job's own variables
        assert could(snap, "read", "shop", "nomad/jobs") == {"shop/*": "yes"}
        assert could(snap, "read", None, "nomad/jobs/web") == {"shop/web": "yes"}
        assert could(snap, "list", "shop", "nomad/jobs/web/api/server") == {"shop/web/api/server": "yes"}
        assert could(snap, "read", "shop", "nomad/jobs/a/b/group") == {"shop/a/b/group": "yes"}
        assert could(snap, "read", "shop", "nomad/jobs/web/api/server/more") == {}
        assert could(snap, "read", "shop", "nomad/jobs/other") == {}
        assert could(snap, "read", "ops", "nomad/jobs/web") == {}
        assert could(snap, "write", "shop", "nomad/jobs/web") == {}


def test_pools_and_volumes_by_name(open_: Open) -> None:
    rules = 'node_pool "g*" { policy = "write" } host_volume "db" { policy = "write" }'
    tables: dict[str, list[dict[str, Any]]] = {
        "node_pools": [{"Name": "default"}, {"Name": "gpu"}],
        "acl_tokens": [token("t", "p")],
    }
    with cluster(open_, policies=[policy("p", rules)], **tables) as snap:
        assert could(snap, "delete") == {"t": "yes"}
        assert who_could(snap, "delete").Where.tolist()[-1] == ["gpu"]
        assert could(snap, "write", scope="node_pool", name="default") == {}
        assert could(snap, "mount-readonly", name="db") == {"t": "yes"}
        assert could(snap, "mount-readonly", name="other") == {}


def test_tokens_by_the_clock(open_: Open) -> None:
    moment = pd.Timestamp(samples.MOMENT)
    tokens = [
        token("ended", "p", ExpirationTime=samples.GO_TIME),
        token("new", "p", CreateTime=samples.GO_TIME),
        token("ever", "p"),
    ]
    with cluster(open_, policies=[policy("p", 'node { policy = "read" }')], acl_tokens=tokens) as snap:

        def valid(now: pd.Timestamp) -> dict[str, str]:
            frame = who_could(snap, "read", scope="node", now=now)
            assert frame.Expired.tolist() == [one == "expired" for one in frame.Valid]
            return dict(zip(frame.Name, frame.Valid, strict=True))

        before, after = moment - timedelta(seconds=1), moment + timedelta(seconds=1)
        assert valid(before) == {"root": "yes", "ended": "yes", "new": "not yet", "ever": "yes"}
        assert valid(after) == {"root": "yes", "ended": "expired", "new": "yes", "ever": "yes"}
        assert valid(moment) == valid(after)
        assert "expired at 2026-11-23" in rights(snap, "token", "ended", now=after).Problem[0]
        assert "made at 2026-11-23" in rights(snap, "token", "new", now=before).Problem[0]
        assert rights(snap, "token", "ended", now=before).Problem[0] == ""
        frame = who_could(snap, "read", scope="node", now=after).set_index("Name")
        assert frame.ExpirationTime["ended"] == frame.CreateTime["new"] == moment
        assert str(frame.CreateTime.dtype) == "datetime64[ns, UTC]"


@pytest.mark.parametrize(
    ("what", "how", "said"),
    [
        (["submit"], {}, "did you mean submit-job"),
        (["xyzzy"], {}, "there are: list-jobs, parse-job, "),
        (["read"], {}, "is of several scopes: variable, node_pool, operator, agent, node, quota, plugin"),
        (["read"], {"scope": "nope"}, "there are: namespace, variable, "),
        (["submit-job"], {"scope": "node"}, "is not known in the scope node; there are: read, write"),
        (["submit-job", "shop", "a/b"], {}, "is not known in the scope variable"),
        (["destroy"], {}, "give the path of one"),
        (["snapshot-save", "shop"], {}, "give no namespace with it"),
        (["management", "shop"], {}, "give no namespace with it"),
        (["submit-job"], {"name": "gpu"}, "give no name with it"),
        (["submit-job"], {"scope": "namespace", "path": "a"}, "give no path with it"),
        (["deny"], {}, "is not known"),
        (["all"], {}, ""),
    ],
)
def test_what_nobody_can_be_asked_for(open_: Open, what: list[str], how: dict[str, Any], said: str) -> None:
    with cluster(open_, policies=[]) as snap:
        if not said:
            assert who_could(snap, *what).Type.tolist() == ["management"]
            return
        with pytest.raises(SnapshotError) as raised:
            who_could(snap, *what, **how)
    assert said in str(raised.value)


def test_subjects_that_are_not_there(open_: Open) -> None:
    tokens = [token("twice", "p"), token("twice", "p", AccessorID="a-other", SecretID="s-other")]
    with cluster(open_, policies=[policy("p", "")], acl_tokens=tokens) as snap:
        for kind in ("token", "role", "policy"):
            with pytest.raises(NotInSnapshotError, match="has no record 'nope'"):
                rights(snap, kind, "nope")
        with pytest.raises(NotInSnapshotError, match="kinds are anonymous, policy, role, token and workload"):
            rights(snap, "node", "x")
        with pytest.raises(SnapshotError, match="is the name of several; give one of: a-twice, a-other"):
            rights(snap, "token", "twice")
        with pytest.raises(NotInSnapshotError, match="has no record 'nope'"):
            rights_changes(snap, snap, [("token", "nope")])


# -- as people read it


def test_rows_are_put_together_to_be_read(open_: Open) -> None:
    rules = 'namespace "*" { policy = "read" capabilities = ["submit-job"] } node { policy = "write" }'
    many = [{"Name": f"n{i}"} for i in range(9)]
    with cluster(open_, policies=[policy("p", rules + EVERYTHING)], namespaces=many) as snap:
        every = rights(snap, "policy", "p")
    found = folded(every)
    rows = granted(found, "Scope", "Name", "Capability")
    assert ("namespace", "default, n0, n1, n2, n3, n4 and 4 more", "read, submit-job") in rows
    assert ("node", "", "write") in rows
    assert ("operator", "", "read, snapshot-save") in rows
    assert ("sentinel", "", "sentinel-read") not in rows
    assert ("sentinel", "", "read") in rows
    assert list(found.columns) == list(every.columns)
    assert folded(found.iloc[:0]).empty


# -- properties


block = st.builds(
    lambda name, level, capabilities, path: (
        f'namespace "{name}" {{ {level} capabilities = {json.dumps(capabilities)} {path} }}'
    ),
    st.sampled_from(["*", "s*", "shop", "*s", "ops", "d*t"]),
    st.sampled_from(["", 'policy = "read"', 'policy = "deny"', 'policy = "scale"']),
    st.lists(st.sampled_from(["submit-job", "read-job", "purge-job", "list-jobs"]), max_size=2),
    st.sampled_from(
        [
            "",
            *(
                f'variables {{ path "{path}" {{ capabilities = ["{one}"] }} }}'
                for path in ("*", "a/*", "a/b", "*b")
                for one in ("read", "write", "deny")
            ),
        ]
    ),
)
other = st.sampled_from(['node { policy = "read" }', 'node { policy = "write" }', 'node { policy = "deny" }'])
policies = st.lists(st.lists(block | other, min_size=1, max_size=3).map("\n".join), min_size=1, max_size=3)


@settings(max_examples=40)
@given(policies)
def test_rights_are_those_that_an_acl_allows(rules: list[str]) -> None:
    names = [f"p{i}" for i in range(len(rules))]
    acl = Acl(map(parse_rules, rules))
    made = [policy(name, text) for name, text in zip(names, rules, strict=True)]
    with cluster(snapkit.open, policies=made, acl_tokens=[token("t", *names)]) as snap:
        found = rights(snap, "token", "t")
        for namespace in ("default", "shop", "ops"):
            here = found[(found.Scope == "namespace") & (found.Name == namespace)]
            allowed = {one for one in CAPABILITIES["namespace"] if acl.allow_namespace(namespace, one)}
            assert set(here.Capability) == allowed
            for capability in ("submit-job", "purge-job"):
                wanted = allowed & {capability, *ALSO[capability]}
                assert ("t" in could(snap, capability, namespace)) == bool(wanted)
            for path in ("a/b", "a/c", "c"):
                assert ("t" in could(snap, "read", namespace, path)) == acl.allow_variable(namespace, path, "read")
        assert set(found[found.Scope == "node"].Capability) == {one for one in ("read", "write") if acl.allow_node(one)}
        assert (found.Policy != "").all()


@settings(max_examples=20)
@given(policies, policies)
def test_changes_are_what_is_in_one_and_not_in_the_other(one: list[str], two: list[str]) -> None:
    sides = [[policy(f"p{i}", text) for i, text in enumerate(rules)] for rules in (one, two)]
    with cluster(snapkit.open, policies=sides[0]) as a, cluster(snapkit.open, policies=sides[1]) as b:
        columns = ("Scope", "Name", "Path", "Capability")
        for index in range(3):
            had, has = (
                granted(rights(snap, "policy", f"p{index}"), *columns) if index < len(side) else set()
                for snap, side in zip((a, b), sides, strict=True)
            )
            changes = rights_changes(a, b)
            mine = changes[changes.ID == f"p{index}"]  # noqa: SIM300
            assert granted(mine[mine.Change == "added"], *columns) == has - had
            assert granted(mine[mine.Change == "removed"], *columns) == had - has
        back = rights_changes(b, a)
        swap = {"added": "removed", "removed": "added"}
        keys = ("Kind", "ID", "Change", *columns)
        assert granted(back.assign(Change=back.Change.map(swap)), *keys) == granted(changes, *keys)
        assert rights_changes(a, a).empty


# -- the real archives


@pytest.mark.parametrize("archive", ARCHIVES)
def test_every_real_archive_is_understood(archive: str) -> None:
    with snapkit.open(path_of(archive)) as snap:
        every = subjects(snap)
        assert not every.Problem.str.contains("understood").any()
        tokens = every[every.Kind == "token"]
        assert set(tokens.ID) == {
            token["AccessorID"] for token in (oracle(archive, "api") or {}).get("tokens", [])
        } or (oracle(archive, "api") is None)
        for kind, id_ in zip(every.Kind, every.ID, strict=True):
            assert not rights(snap, kind, id_).empty or kind == "anonymous"
        shown = text_of(every, who_could(snap, "submit-job"))
        secrets = snap.table("acl_tokens", ["SecretID"], reveal=True)["SecretID"]
    assert [secret for secret in secrets if secret in shown] == []


@pytest.fixture(scope="module")
def day(opened: Callable[[str], snapkit.Snapshot]) -> Callable[[str], snapkit.Snapshot]:
    return lambda name: opened(f"v2.0.5/{name}")


NAMESPACES = {"batch", "default", "payments", "shop"}
WRITE = set(LEVELS["namespace"]["write"])
Day = Callable[[str], snapkit.Snapshot]


def test_on_wednesday_anonymous_could_do_everything(day: Day) -> None:
    changes = rights_changes(day("tuesday"), day("wednesday"), [("anonymous", "")])
    assert set(changes.Change) == {"added"}
    spaces = changes[changes.Scope == "namespace"]
    assert set(spaces.Name) == NAMESPACES
    assert {name: set(rows.Capability) for name, rows in spaces.groupby("Name")} == {
        name: WRITE - (set(LEVELS["namespace"]["read"]) if name == "default" else set()) for name in NAMESPACES
    }
    assert set(changes[changes.Scope == "node"].Capability) == {"read", "write"}
    for namespace in NAMESPACES:
        assert "Anonymous Token" in could(day("wednesday"), "submit-job", namespace)
        assert "Anonymous Token" not in could(day("tuesday"), "submit-job", namespace)
        assert "Anonymous Token" not in could(day("thursday"), "submit-job", namespace)


def test_on_thursday_all_is_as_it_was_on_tuesday(day: Day) -> None:
    assert rights_changes(day("tuesday"), day("thursday")).empty
    undone = rights_changes(day("wednesday"), day("thursday"))
    assert granted(undone, "Kind", "Subject", "Change") == {
        ("anonymous", "Anonymous Token", "removed"),
        ("policy", "anonymous", "removed"),
        ("token", "svc-backup", "removed"),
    }
    assert rights_changes(day("thursday"), day("friday")).empty


def test_on_tuesday_shop_deploy_was_widened_and_tokens_came_and_went(day: Day) -> None:
    changes = rights_changes(day("monday"), day("tuesday"))
    deploy = changes[(changes.Kind == "policy") & (changes.ID == "shop-deploy")]
    added = deploy[deploy.Change == "added"]
    assert {name: set(rows.Capability) for name, rows in added.groupby("Name")} == dict.fromkeys(
        NAMESPACES - {"shop"}, WRITE
    )
    assert granted(deploy[deploy.Change == "removed"], "Scope", "Name", "Path") == {("variable", "shop", "*")}
    assert set(changes[(changes.Kind == "token") & (changes.Change == "added")].Subject) == {
        "shop deployer",
        "pager",
        "intern",
    }
    intern = changes[changes.Subject == "intern"]
    assert granted(folded(intern), "Change", "Scope", "Name", "Capability", "Policy") == {
        ("added", "namespace", "batch, default, payments, shop", "read", "ops-read"),
        ("added", "node", "", "read", "ops-read"),
        ("added", "agent", "", "read", "ops-read"),
    }
    assert set(changes[changes.Subject == "ops dashboard"].Change) == {"removed"}


def test_who_could_have_run_the_job_that_ran_on_every_node(day: Day) -> None:
    frame = who_could(day("wednesday"), "register-job", "default").set_index("Name")
    assert frame.Why.to_dict() == {
        "Anonymous Token": 'policy anonymous: namespace "*": submit-job',
        "Bootstrap Token": "a management token",
        "shop deployer": 'policy shop-deploy: namespace "*": submit-job',
        "break glass": "a management token",
        "pager": 'policy shop-deploy through role on-call: namespace "*": submit-job',
        "svc-backup": "a management token",
        "auth method ci": 'whoever logs in by it and fits value.repo == "shop/web": '
        'policy shop-deploy: namespace "*": submit-job',
    }
    assert set(frame.Could) == {"yes"}
    assert set(could(day("wednesday"), "management")) == set()
    assert list(who_could(day("tuesday"), "management").Name) == ["Bootstrap Token", "break glass"]
    created = frame.CreateTime["svc-backup"]
    early = who_could(day("wednesday"), "management", now=created - timedelta(seconds=1)).set_index("Name")
    assert early.Valid["svc-backup"] == "not yet"
    late = who_could(day("friday"), "submit-job", "shop", now=created + timedelta(days=1)).set_index("Name")
    assert late.Valid["shop deployer"] == "expired"


def rule(id_: str, bind_type: str, bind_name: str = "", selector: str = "", **values: Any) -> dict[str, Any]:
    bound = {"ID": id_, "AuthMethod": "okta", "BindType": bind_type, "BindName": bind_name, "Selector": selector}
    return bound | {"CreateTime": samples.GO_TIME} | values


def test_a_login_could_have_whose_token_is_not_in_the_snapshot(open_: Open) -> None:
    """Tokens of logins live for minutes: who could have is whoever may log in."""
    with cluster(
        open_,
        policies=[policy("deploy", 'namespace "shop" { policy = "write" }'), policy("look", "")],
        acl_roles=[{"ID": "r1", "Name": "on-call", "Policies": [{"Name": "deploy"}]}],
        acl_binding_rules=[
            rule("a", "role", "on-call", "ops in list.groups"),
            rule("b", "policy", "deploy"),
            rule("c", "policy", "look"),
            rule("d", "role", "team-${value.team}"),
            rule("e", "management", selector="root in list.groups"),
            rule("f", "role", "gone"),
        ],
    ) as snap:
        frame = who_could(snap, "submit-job", "shop", now=pd.Timestamp(samples.MOMENT) + timedelta(minutes=1))
        logins = frame[frame.Type == "login"]
        assert set(logins.Name) == {"auth method okta"}
        assert logins.AccessorID.isna().all()
        assert list(zip(logins.Could, logins.Why, strict=True)) == [
            (
                "yes",
                "whoever logs in by it and fits ops in list.groups: "
                'policy deploy through role on-call: namespace "shop": submit-job',
            ),
            ("yes", 'whoever logs in by it: policy deploy: namespace "shop": submit-job'),
            ("unknown", "whoever logs in by it: it binds to a role that the login names (team-${value.team})"),
            ("yes", "whoever logs in by it and fits root in list.groups: a management token"),
        ]
        assert set(logins.Valid) == {"yes"}
        early = who_could(snap, "submit-job", "shop", now=logins.CreateTime.iloc[0] - timedelta(seconds=1))
        assert set(early[early.Type == "login"].Valid) == {"not yet"}
        assert "login" not in set(subjects(snap).Kind)


# -- between two snapshots

OPS = 'namespace "ops" { policy = "write" }'
SHOP = 'namespace "shop" { policy = "write" }'


def at(open_: Open, index: int, seconds: int = 0, **tables: list[dict[str, Any]]) -> snapkit.Snapshot:
    """As `cluster()`, taken at an index; what is written has the index of its record, or 5."""
    tables = {"acl_policies": [policy("ops", OPS), policy("shop", SHOP)]} | tables
    tables["acl_tokens"] = [ROOT, *tables.get("acl_tokens", [])]
    state = forge.state(
        *(
            samples.records(table, *(samples.struct(STRUCTS[table], **({"ModifyIndex": 5} | row)) for row in rows))
            for table, rows in tables.items()
        )
    )
    identity = f"2-{index}-{1_795_471_701_682 + seconds * 1_000}"
    return open_(forge.archive(state, forge.meta_json(len(state), Index=index, ID=identity)))


def between(before: snapkit.Snapshot, after: snapkit.Snapshot, **values: Any) -> dict[str, tuple[str, str]]:
    frame = who_could(after, "submit-job", "ops", since=before, **values)
    rows = frame[~frame["Name"].isin(("root", "Anonymous Token"))]
    return {name: (could, why) for name, could, why in rows[["Name", "Could", "Why"]].astype(str).to_numpy().tolist()}


def test_a_right_that_was_there_for_a_while_is_not_known_and_not_denied(open_: Open) -> None:
    """A policy or role was widened and put back: neither snapshot names who has it."""
    roles = [{"ID": "r1", "Name": "look", "Policies": [{"Name": "shop"}]}]
    tokens = [token("deployer", "shop"), token("auditor", Roles=[{"ID": "r1"}]), token("other")]
    before = at(open_, 10, acl_tokens=tokens, acl_roles=roles)
    assert set(who_could(before, "submit-job", "ops").Name) == {"root"}
    assert between(before, at(open_, 20, acl_tokens=tokens, acl_roles=roles)) == {}
    written = [policy("ops", OPS), policy("shop", SHOP) | {"ModifyIndex": 15}]
    told = between(before, at(open_, 20, acl_tokens=tokens, acl_roles=roles, acl_policies=written))
    assert told.keys() == {"deployer", "auditor"}
    why = "policy shop was written between the two, last at index 15: what it granted before that is not known"
    assert told["deployer"] == ("unknown", why)
    told = between(before, at(open_, 20, acl_tokens=tokens, acl_roles=[roles[0] | {"ModifyIndex": 16}]))
    assert told.keys() == {"auditor"}
    assert told["auditor"][1].startswith("role look was written between the two, last at index 16")
    rewritten = [tokens[0], tokens[1], tokens[2] | {"ModifyIndex": 17}]
    assert between(before, at(open_, 20, acl_tokens=rewritten, acl_roles=roles)).keys() == {"other"}
    made = [*tokens, token("late", CreateIndex=18, ModifyIndex=18)]  # never was another
    assert between(before, at(open_, 20, acl_tokens=made, acl_roles=roles)) == {}


def test_who_could_by_one_of_the_two_alone_is_named_with_which(open_: Open) -> None:
    before = at(open_, 10, acl_tokens=[token("gone", "ops"), token("narrowed", "ops")])
    after = at(open_, 20, acl_tokens=[token("narrowed", "shop") | {"ModifyIndex": 12}, token("made", "ops")])
    told = between(before, after)
    assert {name: could for name, (could, _) in told.items()} == dict.fromkeys(("gone", "narrowed", "made"), "yes")
    assert told["gone"][1].endswith("(by the earlier snapshot)")
    assert told["narrowed"][1].endswith("(by the earlier snapshot)")
    assert told["made"][1].endswith("(by the later snapshot)")


def test_between_two_snapshots_the_logins_of_either_count(open_: Open) -> None:
    rules = [rule("a", "policy", "ops"), rule("b", "policy", "ops", "gone in list.groups")]
    before = at(open_, 10, acl_binding_rules=rules)
    after = at(open_, 20, 60, acl_binding_rules=rules[:1])
    frame = who_could(after, "submit-job", "ops", since=before)
    assert [why.split(":")[0] for why in frame[frame.Type == "login"].Why] == [
        "whoever logs in by it",
        "whoever logs in by it and fits gone in list.groups",
    ]


def test_a_token_that_expired_in_between_was_valid_before(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    before = at(open_, 10)
    expires = token("short", "ops", ExpirationTime=samples.GO_TIME)  # as the first snapshot is taken, and a bit more
    early = at(open_, 10, -60, acl_tokens=[expires])
    late = at(open_, 20, 60, acl_tokens=[expires])
    assert who_could(late, "submit-job", "ops").set_index("Name").Valid["short"] == "expired"
    assert who_could(late, "submit-job", "ops", since=early).set_index("Name").Valid["short"] == "yes"
    assert who_could(late, "submit-job", "ops", since=before).set_index("Name").Valid["short"] == "expired"


def test_a_token_that_came_and_went_in_between_is_told_of(open_: Open) -> None:
    """By its accessor where a job names it, else by the Index table, whose last write is of no token that is left."""
    before = at(open_, 10)
    version = {"Namespace": "ops", "ID": "x", "Version": 1, "ParentID": "", "NomadTokenID": "a-temp"}
    after = at(open_, 20, job_versions=[version | {"CreateIndex": 14, "JobModifyIndex": 14}])
    row = who_could(after, "submit-job", "ops", since=before).iloc[-1]
    assert (row.AccessorID, row.Could, row.Valid) == ("a-temp", "unknown", "unknown")
    assert row.Why == "is in neither snapshot, and ops/x/1 names it as one that was used in between"
    deleted = at(open_, 20, indexes=[{"Key": "acl_token", "Value": 18}])
    row = who_could(deleted, "submit-job", "ops", since=before).iloc[-1]
    assert pd.isna(row.AccessorID)
    assert row.Why == "a token may have come and gone: the last write of tokens, at 18, was a deletion"
    explained = at(open_, 20, indexes=[{"Key": "acl_token", "Value": 5}])
    assert set(who_could(explained, "submit-job", "ops", since=before).Name) == {"root"}


def test_no_text_says_who_did_it(day: Day) -> None:
    told = text_of(who_could(day("wednesday"), "submit-job", "default"), subjects(day("wednesday")))
    assert not any(word in told for word in (" did ", " by whom", "registered by", "culprit", "attacker"))


def test_the_tokens_file_names_who_the_archive_does(day: Day) -> None:
    tokens = json.loads((ORACLES / "v2.0.5" / "tokens.json").read_text())
    for made in tokens.values():
        found = [d for d in ("monday", "tuesday", "wednesday") if made["AccessorID"] in set(subjects(day(d)).ID)]
        assert found, made["Name"]
