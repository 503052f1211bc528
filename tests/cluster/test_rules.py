"""What a real server makes of rules, replayed against what was recorded: how it reads them, and what they let do.

`SNAPKIT_VERDICTS=record` writes the oracle anew, by the server that NOMAD_BIN names (2.0.5: others differ).
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests

import snapkit
from snapkit.format.schema import BY_TABLE
from snapkit.format.values import pack, unpack
from snapkit.state.access.acl import Acl, RulesError, parse_rules
from snapkit.state.access.scopes import ALSO
from tests.damage import FRIDAY, Record, stream, whole

from ..conftest import ORACLES
from .servers import RealServer, bootstrap, newest, servers

ORACLE = ORACLES / "rules.json"
PATIENCE = 30.0  # seconds until a restored server must know its tokens

LONG = "a" * 128

#: One policy each.
RULES = [
    # each block, each level
    *(f'namespace "default" {{ policy = "{level}" }}' for level in ("read", "write", "deny", "scale", "list", "")),
    *(f'node_pool "default" {{ policy = "{level}" }}' for level in ("read", "write", "deny", "scale", "list")),
    *(f'host_volume "db" {{ policy = "{level}" }}' for level in ("read", "write", "deny", "scale", "list")),
    *(f'{block} {{ policy = "{level}" }}' for block in ("agent", "node", "quota", "plugin", "operator", "sentinel")
      for level in ("read", "write", "deny", "scale", "list", "")),
    *(f"{block} {{}}" for block in ("agent", "plugin", "operator", "sentinel")),
    # capabilities, and what they imply
    'namespace "default" { capabilities = ["read-job", "submit-job", "alloc-node-exec", "purge-job"] }',
    'namespace "default" { capabilities = ["host-volume-write"] }',
    'namespace "default" { capabilities = ["host-volume-register", "host-volume-create"] }',
    'namespace "default" { policy = "read" capabilities = ["submit-job"] }',
    'namespace "default" { policy = "write" capabilities = ["deny"] }',
    'namespace "default" { capabilities = [] }',
    'namespace "default" { capabilities = ["no-such"] }',
    'namespace "default" { capabilities = "read-job" }',
    'namespace "default" { capabilities = [1, true] }',
    'namespace "default" { capabilities = [["read-job"]] }',
    'namespace "default" {}',
    'node_pool "gpu_1" { capabilities = ["delete"] }',
    'node_pool "gpu" { capabilities = ["submit-job"] }',
    'host_volume "db" { capabilities = ["mount-readwrite"] }',
    'operator { capabilities = ["snapshot-save", "keyring-rotate"] }',
    'operator { policy = "read" capabilities = ["snapshot-save"] }',
    'operator { capabilities = ["write"] }',
    'sentinel { capabilities = ["sentinel-submit"] }',
    # names and globs
    'namespace "*" { policy = "read" }',
    'namespace "prod-*-eu" { policy = "read" }',
    'namespace "a.b" { policy = "read" }',
    'namespace "a_b" { policy = "read" }',
    'node_pool "a_b" { policy = "read" }',
    'host_volume "a_b" { policy = "read" }',
    'namespace "" { policy = "read" }',
    'namespace { policy = "read" }',
    'node_pool { policy = "read" }',
    'host_volume {}',
    'agent { policy = "read" } namespace { "a" { policy = "read" } }',
    'agent { policy = "read" } node_pool = []',
    f'namespace "{LONG}" {{ policy = "read" }}',
    f'namespace "{LONG}a" {{ policy = "read" }}',
    'namespace "a" "b" { policy = "read" }',
    'namespace "a" "policy" { policy = "read" }',
    'namespace "a" "b" "c" { policy = "read" }',
    'agent "x" { policy = "read" }',
    'operator "x" { policy = "read" }',
    # variables
    'namespace "default" { variables { path "nomad/*" { capabilities = ["read"] } path "x" { capabilities = [] } } }',
    'namespace "default" { variables { path "x" { capabilities = ["write", "deny", "read"] } } }',
    'namespace "default" { variables { path "x" {} } variables { path "y" { capabilities = ["destroy", "list"] } } }',
    'namespace "default" { variables { path "x" { capabilities = ["list", "read"] } } policy = "deny" }',
    'namespace "default" { variables {} }',
    'namespace "default" { variables { path { capabilities = ["read"] } } }',
    'namespace "default" { variables { path "" { capabilities = ["read"] } } }',
    'namespace "default" { variables { path "/x" { capabilities = ["read"] } } }',
    'namespace "default" { variables { path "x" { capabilities = ["submit-job"] } } }',
    'namespace "default" { variables { path { "x" { capabilities = ["read"] } } } }',
    'namespace "default" { variables { path "x" {} } variables { path { "y" { capabilities = ["read"] } } } }',
    'namespace "default" { variables "path" "x" { capabilities = ["read"] } }',
    # what stands twice
    'namespace "a" { policy = "read" } namespace "a" { policy = "write" }',
    'namespace "a" { policy = "read" policy = "write" capabilities = ["deny"] capabilities = ["read-job"] }',
    'agent { policy = "read" } agent { policy = "write" }',
    'operator { policy = "read" } operator { capabilities = ["snapshot-save"] }',
    # how they are written
    "", " \n", "# nothing", 'unheard_of "x" {}', 'agent { policy = "read" } unheard_of { x = 1 }',
    'agent { policy = "read" } node { policy = "write" }',
    'agent { policy = "read" }, node { policy = "write" },',
    'namespace "a" { policy = "read", capabilities = ["submit-job",], }',
    '"namespace" "a" { "policy" = "read" }',
    "namespace a-b { policy = \"read\" }",
    'NAMESPACE "a" { Policy = "read" CAPABILITIES = ["submit-job"] }',
    'namespace = { "a" = { policy = "read" } }',
    'agent = { policy = "read" }',
    'agent = [{ policy = "read" }]',
    'agent = "read"',
    'agent { policy = read }',
    'agent { policy: "read" }',
    'agent { policy = "read" };',
    'agent { policy = ["read"] }',
    '# a\n// b\n/* c\n */ agent { # d\n  policy = "read" // e\n}',
    'agent {\r\n  policy = "read"\r\n}\r\n',
    'agent { policy = "r\\x65\\u0061\\144" }',
    'agent { policy = "re${"}"}ad" }',
    'agent { policy = "read }',
    'agent { policy = <<EOF\nread\nEOF\n}',
    'namespace "a" { policy = <<EOF\nEOF\ncapabilities = ["read-job"] }',
    'agent { policy = "read" ',
    'agent { policy = "read" } node {',
    'agent { policy = "read" } node =',
    'agent { policy = "read" x = } }',
    'agent { policy = "read" } \0',
    '\ufeffagent { policy = "read" }',
    # JSON
    '{"namespace": {"a": {"policy": "read"}, "b*": {"capabilities": ["submit-job"]}}, "agent": {"policy": "write"}}',
    '{"namespace": [{"a": {"policy": "read"}}, {"b": {"policy": "write"}}]}',
    '{"namespace": {"a": [{"policy": "read"}]}}',
    '{"namespace": {"a": {"policy": "read", "variables": {"path": {"x": {"capabilities": ["read"]}, "y": {}}}}}}',
    '{"namespace": {"a": {"variables": {"path": {"x": {"capabilities": ["deny"]}}}}}}',
    '{"node": [{"policy": "read"}]}',
    '{"node": {"policy": "read"}, "node": {"policy": "write"}}',
    '{"node": {"policy": null}}',
    '{"operator": {"policy": null, "capabilities": ["snapshot-save"]}}',
    '{"node": {"policy": "read"},}',
    '{"node": {"policy": "read"}} and more',
    '{"node": {"policy": "re\\u0061d"}}',
    '{"node": "read"}', "{}", "[]", '{"node": {"policy": "read"',
]  # fmt: skip

#: Those that requests of `questions()` ask for, each granted alone.
ALONE = (
    "list-jobs", "read-job", "submit-job", "dispatch-job", "scale-job", "plan-job", "read-job-scaling",
    "list-scaling-policies", "csi-list-volume", "csi-read-volume", "csi-mount-volume", "parse-job", "register-job",
    "deregister-job", "purge-job", "revert-job", "evaluate-job", "stable-job", "tag-job-version", "fail-deployment",
    "pause-deployment", "promote-deployment", "unblock-deployment", "set-alloc-health-deployment",
    "force-periodic-job", "delete-service-registration", "alloc-lifecycle",
)  # fmt: skip

READER = 'namespace "*" { policy = "read" } node { policy = "read" } agent { policy = "read" }'
#: The policies of one token each.
SETS: list[list[str]] = [
    [],
    [READER],
    ['namespace "*" { policy = "write" } node { policy = "write" }'],
    [READER, 'namespace "shop" { policy = "deny" }'],
    ['namespace "shop" { policy = "write" } namespace "shop" { policy = "deny" }'],
    ['namespace "s*" { policy = "write" }', 'namespace "*" { policy = "deny" }'],
    ['namespace "*" { policy = "write" } namespace "sh*" { capabilities = ["list-jobs"] }'],
    ['namespace "*op" { policy = "read" } namespace "sho*" { policy = "write" }'],
    ['namespace "*p" { policy = "read" } namespace "s*" { policy = "write" }'],
    ['namespace "*h*" { policy = "read" } namespace "s*" { policy = "write" }'],
    ['namespace "default" { policy = "scale" }', 'node { policy = "deny" }', READER],
    ['namespace "shop" { capabilities = ["plan-job", "dispatch-job"] }'],
    ['namespace "shop" { capabilities = ["csi-read-volume"] } plugin { policy = "list" }'],
    ['namespace "shop" { policy = "write" } host_volume "d*" { policy = "read" } plugin { policy = "read" }'],
    ['namespace "*" { policy = "write" } host_volume "d*" { policy = "write" }',
     'host_volume "db" { policy = "deny" }'],
    ['node_pool "*" { policy = "read" } node_pool "gpu" { policy = "write" } agent { policy = "write" }'],
    ['node_pool "g*" { policy = "deny" }', 'node_pool "*" { policy = "write" }', 'plugin { policy = "write" }'],
    ['operator { policy = "read" }'],
    ['operator { policy = "write" }'],
    ['operator { capabilities = ["snapshot-save", "keyring-read"] }'],
    ['operator { capabilities = ["snapshot-save"] }', 'operator { capabilities = ["deny"] }'],
    ['operator { policy = "deny" }', 'operator { policy = "write" }'],
    ['namespace "shop" { variables { path "*" { capabilities = ["write", "read", "list"] } } }'],
    ['namespace "*" { variables { path "nomad/*" { capabilities = ["read"] } } }'],
    ['namespace "shop" { variables { path "nomad/jobs/*" { capabilities = ["write"] } } }',
     'namespace "shop" { variables { path "*" { capabilities = ["read"] } } }'],
    ['namespace "*" { variables { path "nomad/jobs/web" { capabilities = ["destroy"] } } }',
     'namespace "shop" { variables { path "*" { capabilities = ["read"] } } }'],
    ['namespace "shop" { policy = "deny" variables { path "nomad/jobs/web" { capabilities = ["read"] } } }'],
    ['namespace "shop" { variables { path "nomad/jobs/web" { capabilities = ["deny"] } } }',
     'namespace "shop" { variables { path "nomad/jobs/web" { capabilities = ["write"] } } }'],
    ['namespace "shop" { variables { path "*" { capabilities = ["deny"] } } }',
     'namespace "shop" { variables { path "nomad/*" { capabilities = ["list"] } } }'],
    ['{"namespace": {"shop": {"policy": "read"}}, "node": {"policy": "read"}}'],
    ['namespace "a" "b" "c" { policy = "read" } namespace "shop" { policy = "read" } unheard_of {}'],
    [READER, 'node { policy = "whatever" }'],
    ['namespace "*" { policy = "write" } host_volume "d*" { policy = "write" }'],
    ['namespace "*" { variables { path "*" { capabilities = ["read", "write", "list", "destroy"] } } }'],
    ['namespace "shop" { capabilities = ["list-jobs", "read-job"] }'],
    *([f'namespace "shop" {{ capabilities = ["{one}"] }} plugin {{ policy = "read" }}'] for one in ALONE),
]  # fmt: skip


@dataclass(frozen=True)
class Question:
    """A request, and what of an Acl it takes.

    Attributes:
        listed: It is answered to all who may see anything: what may be seen must be in the answer.
    """

    method: str
    path: str
    needs: Callable[[Acl], bool]
    body: Any = None
    listed: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def questions() -> list[Question]:
    asked: list[Question] = []

    def ask(method: str, path: str, needs: Callable[[Acl], bool], body: Any = None, listed: bool = False) -> None:
        asked.append(Question(method, path, needs, body, listed))

    def of_variable(namespace: str, path: str, capability: str) -> Callable[[Acl], bool]:
        return lambda acl: acl.allow_variable(namespace, path, capability)

    def mounts(*capabilities: str) -> Callable[[Acl], bool]:
        return lambda acl: (
            acl.allow_namespace("shop", "submit-job") and any(acl.allow_host_volume("db", one) for one in capabilities)
        )

    def in_pool(pool: str, capability: str) -> Callable[[Acl], bool]:
        return lambda acl: acl.allow_node_pool(pool, capability)

    def to(capability: str, namespace: str = "shop") -> Callable[[Acl], bool]:
        return lambda acl: any(
            all(acl.allow_namespace(namespace, one) for one in alternative.split())
            for alternative in (capability, *ALSO.get(capability, ()))
        )

    for ns in ("default", "shop", "payments"):
        ask("GET", f"/v1/jobs?namespace={ns}", to("list-jobs", ns))
        ask("GET", f"/v1/job/web?namespace={ns}", to("read-job", ns))
        ask("PUT", f"/v1/job/probe/plan?namespace={ns}", to("plan-job", ns), {"Job": job(ns)})
        ask("PUT", f"/v1/job/none/dispatch?namespace={ns}", to("dispatch-job", ns), {})
        scale = {"Count": 1, "Target": {"Group": "none"}}
        ask("PUT", f"/v1/job/none/scale?namespace={ns}", to("scale-job", ns), scale)
        ask("GET", f"/v1/volumes?type=csi&namespace={ns}", to("csi-list-volume", ns))
    ask("GET", "/v1/job/none/scale?namespace=shop", to("read-job-scaling"))
    ask("GET", "/v1/scaling/policies?namespace=shop", to("list-scaling-policies"))
    ask("GET", "/v1/volume/csi/none?namespace=shop", to("csi-read-volume"))
    ask("PUT", "/v1/jobs/parse?namespace=shop", to("parse-job"), {"JobHCL": 'job "probe" {}'})
    ask("PUT", "/v1/jobs?namespace=shop", to("register-job"), {"Job": job("shop")})
    ask("DELETE", "/v1/job/none?namespace=shop", to("deregister-job"))
    ask("DELETE", "/v1/job/none?namespace=shop&purge=true", to("purge-job"))
    ask("PUT", "/v1/job/none/revert?namespace=shop", to("revert-job"), {"JobID": "none", "JobVersion": 0})
    ask("PUT", "/v1/job/none/evaluate?namespace=shop", to("evaluate-job"), {"JobID": "none"})
    ask("PUT", "/v1/job/none/stable?namespace=shop", to("stable-job"), {"JobID": "none", "JobVersion": 0})
    ask("PUT", "/v1/job/none/versions/a/tag?namespace=shop", to("tag-job-version"), {"Version": 0})
    ask("PUT", "/v1/job/none/periodic/force?namespace=shop", to("force-periodic-job"))
    deployment = ended_deployment()
    for word in ("fail", "pause", "promote", "unblock", "allocation-health"):
        capability = "set-alloc-health-deployment" if word == "allocation-health" else f"{word}-deployment"
        asked_of = {"DeploymentID": deployment, "Pause": True, "All": True, "HealthyAllocationIDs": [deployment]}
        ask("PUT", f"/v1/deployment/{word}/{deployment}", to(capability), asked_of)
    ask("DELETE", "/v1/service/none/none?namespace=shop", to("delete-service-registration"))
    for read_only in (True, False):
        may = ("mount-readonly", "mount-readwrite") if read_only else ("mount-readwrite",)
        mounting = job("shop", {"v": {"Type": "host", "Source": "db", "ReadOnly": read_only}})
        ask("PUT", f"/v1/jobs?namespace=shop&read_only={read_only}", mounts(*may), {"Job": mounting})
    for ns, path in (("shop", "nomad/jobs/web"), ("shop", "other"), ("payments", "nomad/jobs/web")):
        ask("GET", f"/v1/var/{path}?namespace={ns}", of_variable(ns, path, "read"))
        written = {"Namespace": ns, "Path": path, "Items": {"a": "b"}}
        ask("PUT", f"/v1/var/{path}?namespace={ns}&cas=1", of_variable(ns, path, "write"), written)
        ask("DELETE", f"/v1/var/{path}?namespace={ns}&cas=1", of_variable(ns, path, "destroy"))
    listing = of_variable("shop", "nomad/jobs/web", "list")
    ask("GET", "/v1/vars?prefix=nomad/jobs/web&namespace=shop", listing, listed=True)
    for pool in ("default", "gpu"):
        for method, capability in (("GET", "read"), ("PUT", "write"), ("DELETE", "delete")):
            body = {"Name": pool} if method == "PUT" else None
            ask(method, f"/v1/node/pool/{pool}", in_pool(pool, capability), body)
    ask("GET", "/v1/nodes", lambda acl: acl.allow_node("read"))
    none = "00000000-0000-0000-0000-000000000000"
    ask("PUT", f"/v1/node/{none}/eligibility", lambda acl: acl.allow_node("write"), {"Eligibility": "eligible"})
    ask("GET", "/v1/agent/self", lambda acl: acl.allow_agent("read"))
    ask("PUT", "/v1/agent/force-leave?node=none", lambda acl: acl.allow_agent("write"))
    ask("GET", "/v1/plugins?type=csi", lambda acl: acl.allow_plugin("list"))
    ask("GET", "/v1/plugin/csi/none", lambda acl: acl.allow_plugin("read"))
    ask("GET", "/v1/operator/autopilot/configuration", lambda acl: acl.allow_operator("read"))
    ask("PUT", "/v1/operator/scheduler/configuration?cas=1", lambda acl: acl.allow_operator("write"), {})
    ask("GET", "/v1/operator/snapshot", lambda acl: acl.allow_operator("snapshot-save"))
    ask("GET", "/v1/operator/keyring/keys", lambda acl: acl.allow_operator("keyring-read"))
    return asked


@cache
def ended_deployment() -> str:
    """One that nothing can be done to any more."""
    with snapkit.open(whole(FRIDAY)) as snap:
        found = snap.deployments
        return str(found[(found["Namespace"] == "shop") & found["Status"].isin(["successful", "cancelled"])].index[0])


def job(namespace: str, volumes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    task = {"Name": "probe", "Driver": "raw_exec", "Config": {"command": "true"}}
    group = {"Name": "probe", "Count": 0, "Tasks": [task], "Volumes": volumes}
    return {
        "ID": "probe",
        "Name": "probe",
        "Namespace": namespace,
        "Type": "service",
        "Datacenters": ["none"],
        "TaskGroups": [group],
    }


def secret(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"set {number}"))


def every_rule() -> list[str]:
    return list(dict.fromkeys([*RULES, *(rules for one in SETS for rules in one)]))


def archive() -> bytes:
    """Friday with a policy for each rule and a token for each set, past all that a server looks at in requests."""
    policies = {rules: f"rule-{number}" for number, rules in enumerate(every_rule())}

    def like(found: Sequence[Record], table: str, values: Mapping[str, Any]) -> Record:
        byte = BY_TABLE[table].byte
        first = unpack(next(packed for kind, packed in found if kind == byte))
        return byte, pack(first | {name.encode(): value for name, value in values.items()})

    def change(found: list[Record]) -> list[Record]:
        added = [
            like(found, "acl_policies", {"Name": name, "Rules": rules.encode()}) for rules, name in policies.items()
        ]
        for number, rules in enumerate(SETS):
            token = {"AccessorID": secret(number)[::-1], "SecretID": secret(number), "Name": f"set {number}"}
            granted = {"Type": "client", "Policies": [policies[one] for one in rules], "Roles": None}
            added.append(like(found, "acl_tokens", token | granted | {"ExpirationTime": None, "Global": False}))
        return [*found, *added]

    return stream(change)(whole(FRIDAY))


class Interview:
    """Asks a server."""

    def __init__(self, server: RealServer) -> None:
        self._address = server.address
        self._session = requests.Session()

    def ask(self, token: str, method: str, path: str, body: Any = None) -> requests.Response:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"X-Nomad-Token": token}
        return self._session.request(method, self._address + path, data=data, headers=headers, timeout=60)

    def written(self, token: str) -> dict[str, str]:
        """What it says to each rule, put to it as a policy: "" if it takes it."""
        said = {}
        for rules in every_rule():
            answer = self.ask(token, "PUT", "/v1/acl/policy/probe", {"Name": "probe", "Rules": rules})
            said[rules] = "" if answer.status_code == 200 else _short(answer.text)
        return said

    def restored(self, token: str) -> str:
        """A management token of the archive that it has now."""
        answer = self.ask(token, "PUT", "/v1/operator/snapshot", archive())
        assert answer.status_code == 200, answer.text
        with snapkit.open(whole(FRIDAY)) as snap:
            tokens = snap.table("acl_tokens", reveal=True)
            new = str(tokens[tokens["Type"] == "management"]["SecretID"].iloc[0])
        deadline = time.monotonic() + PATIENCE
        while self.ask(new, "GET", "/v1/nodes").status_code != 200:
            assert time.monotonic() < deadline, "the archive's tokens do not work"
            time.sleep(0.2)
        return new

    def read(self, token: str) -> dict[str, Any]:
        """Each rule as it reads it in a policy that it has, without what is empty; None if it can't."""
        found = {}
        for number, rules in enumerate(every_rule()):
            answer = self.ask(token, "GET", f"/v1/acl/policy/rule-{number}")
            read = answer.json()["RulesJSON"] if answer.status_code == 200 else None
            found[rules] = read and {name: part for name, part in read.items() if part is not None and name != "Raw"}
        return found

    def allowed(self) -> list[list[str] | None]:
        """For each set, the questions that it answers; None if it answers that a policy can't be read."""
        return [self._allowed(secret(number)) for number in range(len(SETS))]

    def _allowed(self, token: str) -> list[str] | None:
        answers = [(one, self.ask(token, one.method, one.path, one.body)) for one in questions()]
        if any(_unreadable(answer) for _, answer in answers):
            assert all(_unreadable(answer) or answer.status_code == 403 for _, answer in answers)
            return None
        return [one.name for one, answer in answers if answer.status_code != 403 and (not one.listed or answer.json())]


def _unreadable(answer: requests.Response) -> bool:
    return 'failed to parse "rule-' in answer.text[:1000]


def _short(words: str) -> str:
    """What is wrong with them, without the rules, which some errors repeat."""
    wrong = words.partition("failed to parse rules: ")[2]
    return wrong.split("\n")[0].partition(": &acl")[0][:100]


@pytest.mark.nomad
def test_a_real_server_does_what_was_recorded(tmp_path: Path) -> None:
    newest()  # skips without one
    with servers(tmp_path, 1) as (server,):
        interview = Interview(server)
        token = bootstrap(server.address)
        written = interview.written(token)
        token = interview.restored(token)
        read = interview.read(token)
        found = {
            "rules": [{"rules": rules, "said": written[rules], "read": read[rules]} for rules in every_rule()],
            "sets": [
                {"policies": policies, "allowed": allowed}
                for policies, allowed in zip(SETS, interview.allowed(), strict=True)
            ],
        }
    if os.environ.get("SNAPKIT_VERDICTS") == "record":
        ORACLE.write_text(f"{json.dumps(found, indent=1, ensure_ascii=False)}\n", encoding="utf-8")
    assert found == json.loads(ORACLE.read_text(encoding="utf-8"))


# -- what we make of them


@cache
def recorded() -> Any:
    return json.loads(ORACLE.read_text(encoding="utf-8"))


def test_what_was_recorded_is_what_is_asked() -> None:
    assert [one["rules"] for one in recorded()["rules"]] == every_rule()
    assert [one["policies"] for one in recorded()["sets"]] == SETS
    assert len(RULES) > 100
    allowed = [set(one["allowed"]) for one in recorded()["sets"] if one["allowed"] is not None]
    assert set.union(*allowed) == {question.name for question in questions()}, "each is answered to some"
    assert set.intersection(*allowed) == set(), "and to some not"


@pytest.mark.parametrize("number", range(len(every_rule())))
def test_rules_are_read_as_a_server_reads_them(number: int) -> None:
    one = recorded()["rules"][number]
    if one["read"] is None:
        with pytest.raises(RulesError):
            parse_rules(one["rules"])
    else:
        parsed = parse_rules(one["rules"])
        assert {name: part for name, part in parsed.items() if part is not None} == one["read"] | {"Raw": one["rules"]}


@pytest.mark.parametrize("one", recorded()["rules"], ids=lambda one: repr(one["rules"][:30]))
def test_a_server_takes_no_rules_that_we_do_not_read(one: dict[str, Any]) -> None:
    """It takes fewer than it reads: keys that it does not know are refused where a policy is written."""
    taken = one["said"] == ""
    assert taken == (one["read"] is not None) or "Invalid or duplicate policy keys" in one["said"]


@pytest.mark.parametrize("number", range(len(SETS)))
def test_policies_grant_together_what_a_server_lets_do(number: int) -> None:
    one = recorded()["sets"][number]
    try:
        acl = Acl(map(parse_rules, one["policies"]))
    except RulesError:
        assert one["allowed"] is None
    else:
        assert [question.name for question in questions() if question.needs(acl)] == one["allowed"]
