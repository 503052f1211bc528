"""What writes leave behind: a real server was asked, and the served snapshot does as it did.

`SNAPKIT_VERDICTS=record` writes the oracle anew, by the server that NOMAD_BIN names (2.0.5: others differ). Both begin
with Friday's state and a scheduler that is paused, since the served cluster has none.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests

import snapkit
from snapkit.cluster.answers import ApiError
from snapkit.cluster.server import serve
from snapkit.format.schema import BY_TABLE
from snapkit.format.values import inflated, pack, unpack
from tests.damage import FRIDAY, Record, stream, whole

from ..conftest import DATA, ORACLES, path_of
from .servers import bootstrap, early_in_a_minute, newest, servers
from .test_differential import meaning
from .test_verdicts import token_of

ORACLE = ORACLES / "writes.json"
PATIENCE = 30.0  # seconds until a restored server must know its tokens

#: What the writes touch; in other tables a live server has changes of its own.
TABLES = (
    "jobs", "job_versions", "job_summaries", "job_submissions", "evals", "scaling_policies", "scaling_events",
    "periodic_launches",
    "variables", "variables_quotas", "namespaces", "node_pools", "acl_policies", "acl_roles", "acl_auth_methods",
    "acl_binding_rules", "acl_tokens", "scheduler_config", "indexes",
)  # fmt: skip
#: Rows of the Index table that a live server writes by itself.
OWN_ROWS = {"nodes", "allocs", "service_registrations", "root_keys", "deployment"}
INDEXES = {"CreateIndex", "ModifyIndex", "JobModifyIndex", "JobCreateIndex", "EvalCreateIndex", "Index", "Value"}
TIMES = {"CreateTime", "ModifyTime", "SubmitTime", "ExpirationTime", "Launch", "TaggedTime", "Time"}
UUID = re.compile(r"(?<=/dispatch-)\d{10}-[0-9a-f]{8}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Step:
    """A request.

    Attributes:
        who: `root`, a management token; `nobody`, none; or the name of a token of the archive.
    """

    method: str
    path: str
    body: Any = None
    who: str = "root"

    @property
    def name(self) -> str:
        return f"{self.method} {self.path} by {self.who}"


@cache
def thursday(table: str, *key: str) -> Any:
    with snapkit.open(path_of("v2.0.5/thursday")) as snap:
        return snap.get(table, *key, reveal=True)


def changed(job: Any, **values: Any) -> Any:
    again = json.loads(json.dumps(job))
    again["TaskGroups"][0]["Count"] = values.pop("count", again["TaskGroups"][0]["Count"])
    return again | values


PAYMENTS = thursday("jobs", "payments", "payments")
WEB = thursday("jobs", "shop", "web")
REPORT = thursday("jobs", "batch", "nightly-report")
ENCODE = thursday("jobs", "batch", "encode")
EXPORTER = thursday("jobs", "default", "node-exporter")
SOURCE = {name: thursday("job_submissions", "payments", "payments", "1")[name] for name in ("Source", "Format")}
SMALL = {"ID": "small", "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": "raw_exec"}]}]}
SMALL_BATCH = {
    "ID": "small/batch", "Type": "batch", "Priority": 70, "Meta": {"a": "b"},
    "TaskGroups": [{
        "Name": "g", "Count": 2, "Scaling": {"Max": 5, "Enabled": False},
        "Networks": [{"DynamicPorts": [{"Label": "http"}]}],
        "Services": [{"Name": "s", "Provider": "nomad", "PortLabel": "http"}],
        "Tasks": [{"Name": "t", "Driver": "raw_exec", "Config": {"command": "true"}, "Resources": {"CPU": 50}}],
    }],
}  # fmt: skip
SERVICES = {
    "ID": "services", "Datacenters": ["dc1"],
    "TaskGroups": [
        {"Name": "a", "Networks": [{"DynamicPorts": [{"Label": "http"}]}], "Services": [
            {"Name": "n", "Provider": "nomad", "PortLabel": "http",
             "Checks": [{"Type": "tcp", "Interval": 10**10, "Timeout": 10**9}]},
        ], "Tasks": [{"Name": "t", "Driver": "raw_exec"}]},
        {"Name": "b", "Services": [{}], "Count": 0, "Tasks": [
            {"Name": "t", "Driver": "raw_exec", "Services": [{"Name": "c"}], "Templates": [
                {"EmbeddedTmpl": "x", "DestPath": "local/x"}]}]},
    ],
}  # fmt: skip
JWT = {
    "Name": "jwt", "Type": "JWT", "MaxTokenTTL": "1h0m0s", "TokenLocality": "local",
    "Config": {"JWKSURL": "https://idp.example.invalid/keys", "BoundAudiences": ["nomad"],
               "ClaimMappings": {"team": "team"}},
}  # fmt: skip
BACK, GONE = "b4bb83a0-0000-4000-8000-000000000001", "b4bb83a0-0000-4000-8000-000000000002"
NODE = "4e5dbdec-e743-3537-2339-6d675833c741"
RULES = 'namespace "shop" { policy = "read" }'

STEPS: Mapping[str, list[Step]] = {
    "jobs": [
        Step("POST", "/v1/job/payments/plan?namespace=payments", {"Job": PAYMENTS, "Diff": True}),
        Step("PUT", "/v1/jobs?namespace=payments", {"Job": changed(PAYMENTS, Version=0), "Submission": SOURCE}),
        Step("PUT", "/v1/jobs?namespace=payments", {"Job": PAYMENTS}),
        Step("POST", "/v1/job/payments/plan?namespace=payments", {"Job": changed(PAYMENTS, count=7), "Diff": True}),
        Step("PUT", "/v1/job/payments?namespace=payments", {"Job": changed(PAYMENTS, count=7)}),
        Step("PUT", "/v1/jobs?namespace=payments",
             {"Job": changed(PAYMENTS, count=8), "EnforceIndex": True, "JobModifyIndex": 3}),
        Step("PUT", "/v1/jobs", {"Job": changed(PAYMENTS, ID="new", Name="new", Namespace="shop", Version=0),
                                 "EnforceIndex": True, "JobModifyIndex": 0}),
        Step("PUT", "/v1/jobs", {"Job": SMALL}),
        Step("PUT", "/v1/jobs", {"Job": SMALL_BATCH}),
        Step("PUT", "/v1/jobs", {"Job": SERVICES}),
        Step("PUT", "/v1/jobs?namespace=shop", {"Job": WEB}),
        Step("PUT", "/v1/jobs?namespace=batch", {"Job": changed(REPORT, Priority=60)}),
        Step("PUT", "/v1/jobs?namespace=batch", {"Job": changed(REPORT, ID="again", Name="again")}),
        Step("PUT", "/v1/jobs?namespace=batch", {"Job": changed(ENCODE, Priority=60)}),
        Step("PUT", "/v1/jobs", {"Job": EXPORTER}),
    ],
    "refused jobs": [
        Step("PUT", "/v1/jobs", {}),
        Step("PUT", "/v1/jobs", {"Job": {"Name": "x"}}),
        Step("PUT", "/v1/job/other", {"Job": SMALL}),
        Step("PUT", "/v1/jobs?namespace=nowhere", {"Job": SMALL}),
        Step("PUT", "/v1/jobs", {"Job": SMALL | {"NodePool": "nowhere"}}),
        Step("PUT", "/v1/jobs", {"Job": SMALL | {"Type": "batch"}}),
        Step("PUT", "/v1/jobs", {"Job": SMALL}, who="nobody"),
        Step("POST", "/v1/job/small/plan", {"Job": SMALL}, who="nobody"),
        Step("DELETE", "/v1/job/small", who="nobody"),
        Step("DELETE", "/v1/job/not-there"),
    ],
    "stops": [
        Step("DELETE", "/v1/job/payments?namespace=payments"),
        Step("DELETE", "/v1/job/small%2Fbatch"),
        Step("DELETE", "/v1/job/again?namespace=batch&purge=true"),
        Step("DELETE", "/v1/job/new?namespace=shop&purge=true"),
    ],
    "variables": [
        Step("PUT", "/v1/var/psp/credentials?namespace=payments&cas=0", {"Items": {"a": "<b>"}}),
        Step("PUT", "/v1/var/psp/credentials?namespace=payments&cas=0", {"Items": {"a": "c"}}),
        Step("PUT", "/v1/var/psp/credentials?namespace=payments", {"Items": {"a": "longer", "é": "ü"}}),
        Step("PUT", "/v1/var/not/there?cas=7", {"Items": {"a": "c"}}),
        Step("PUT", "/v1/var/here", {"Items": {"a": "c"}}),
        Step("PUT", "/v1/var/there", {"Items": {}}),
        Step("PUT", "/v1/var/a.b", {"Items": {"a": "c"}}),
        Step("PUT", "/v1/var/nomad", {"Items": {"a": "c"}}),
        Step("PUT", "/v1/var/nomad/other", {"Items": {"a": "c"}}),
        Step("PUT", "/v1/var/big", {"Items": {"a": "c" * 70_000}}),
        Step("PUT", "/v1/var/here", {"Items": {"a": "c"}}, who="nobody"),
        Step("DELETE", "/v1/var/here", who="nobody"),
        Step("DELETE", "/v1/var/here?cas=3"),
        Step("DELETE", "/v1/var/not/there"),
        Step("DELETE", "/v1/var/nomad/jobs/web?namespace=shop"),
    ],
    "access": [
        Step("PUT", "/v1/namespace/new", {"Name": "new", "Description": "n", "Meta": {"b": "2", "a": "1"},
                                          "Capabilities": {"EnabledTaskDrivers": ["docker"]}}),
        Step("PUT", "/v1/namespace/new", {"Name": "new", "Description": "m"}),
        Step("PUT", "/v1/namespace/new", {"Name": "other"}),
        Step("PUT", "/v1/namespace/new", {"Name": "new"}, who="nobody"),
        Step("PUT", "/v1/node/pool/new", {"Name": "new", "Description": "n", "Meta": {"b": "2", "a": "1"}}),
        Step("PUT", "/v1/node/pools", {"Name": "default"}),
        Step("PUT", "/v1/node/pools", {"Name": "new"}, who="nobody"),
        Step("PUT", "/v1/acl/policy/new", {"Name": "new", "Description": "n", "Rules": RULES}),
        Step("PUT", "/v1/acl/policy/anonymous", {"Name": "anonymous", "Rules": RULES}),
        Step("PUT", "/v1/acl/policy/new", {"Name": "new", "Rules": RULES}, who="nobody"),
        Step("PUT", "/v1/acl/role", {"Name": "new", "Policies": [{"Name": "new"}, {"Name": "new"}]}),
        Step("PUT", "/v1/acl/role", {"Name": "new", "Policies": [{"Name": "new"}]}),
        Step("PUT", "/v1/acl/role", {"Name": "newer", "Policies": [{"Name": "nowhere"}]}),
        Step("PUT", "/v1/acl/role", {"Name": "newer"}),
        Step("PUT", "/v1/acl/role", {"ID": "78c65ed0-c07b-4849-866c-5ec8f3ff43e4", "Name": "on-call",
                                     "Policies": [{"Name": "new"}]}),
        Step("PUT", "/v1/acl/role", {"ID": "00000000-c07b-4849-866c-5ec8f3ff43e4", "Name": "x",
                                     "Policies": [{"Name": "new"}]}),
        Step("PUT", "/v1/acl/auth-method", JWT),
        Step("PUT", "/v1/acl/auth-method/jwt", {"Name": "jwt", "MaxTokenTTL": "2h0m0s"}),
        Step("PUT", "/v1/acl/auth-method", JWT, who="nobody"),
        Step("PUT", "/v1/acl/binding-rule", {"AuthMethod": "jwt", "BindType": "role", "BindName": "new",
                                             "Selector": 'value.team == "a"'}),
        Step("PUT", "/v1/acl/binding-rule", {"AuthMethod": "nowhere", "BindType": "role", "BindName": "new"}),
        Step("PUT", "/v1/acl/binding-rule", {"AuthMethod": "jwt", "BindType": "other"}),
        Step("PUT", "/v1/acl/token", {"Name": "new", "Type": "client", "Policies": ["new"],
                                      "Roles": [{"Name": "on-call"}], "ExpirationTTL": "8h0m0s"}),
        Step("PUT", "/v1/acl/token", {"Name": "back", "Type": "client", "Policies": ["new"], "AccessorID": BACK,
                                      "SecretID": BACK}),
        Step("PUT", "/v1/acl/token", {"Name": "back", "Type": "management", "AccessorID": GONE, "SecretID": BACK}),
        Step("PUT", f"/v1/acl/token/{GONE}", {"Name": "back", "Type": "client", "AccessorID": GONE}),
        Step("PUT", f"/v1/acl/token/{GONE}", {"Name": "back", "Type": "client", "AccessorID": BACK}),
        Step("PUT", "/v1/acl/token", {"Name": "new", "Type": "client"}),
        Step("PUT", "/v1/acl/token", {"Name": "new", "Type": "management", "Global": True}),
        Step("PUT", "/v1/acl/token", {"Name": "new", "Type": "client", "Roles": [{"Name": "nowhere"}]}),
        Step("PUT", "/v1/acl/token", {"Name": "new", "Type": "client", "Policies": ["new"]}, who="nobody"),
    ],
    "operations": [
        Step("PUT", "/v1/job/web/evaluate?namespace=shop"),
        Step("PUT", "/v1/job/nightly-report/evaluate?namespace=batch"),
        Step("PUT", "/v1/job/encode/evaluate?namespace=batch"),
        Step("PUT", "/v1/job/nosuch/evaluate"),
        Step("PUT", "/v1/job/web/evaluate?namespace=shop", who="nobody"),
        Step("PUT", "/v1/job/web/evaluate?namespace=shop", {"JobID": "other"}),
        Step("PUT", "/v1/job/web/revert?namespace=shop", {"JobID": "web", "JobVersion": 1}),
        Step("PUT", "/v1/job/web/revert?namespace=shop", {"JobVersion": 1}),
        Step("PUT", "/v1/job/web/revert?namespace=shop", {"JobID": "web", "JobVersion": 99}),
        Step("PUT", "/v1/job/web/revert?namespace=shop", {"JobID": "web", "JobVersion": 0, "EnforcePriorVersion": 2}),
        Step("PUT", "/v1/job/web/revert?namespace=shop", {"JobID": "other", "JobVersion": 1}),
        Step("PUT", "/v1/job/nosuch/revert", {"JobID": "nosuch", "JobVersion": 1}),
        Step("PUT", "/v1/job/web/revert?namespace=shop", {"JobID": "web", "JobVersion": 1}, who="nobody"),
        Step("PUT", "/v1/job/web/stable?namespace=shop", {"JobID": "web", "JobVersion": 5, "Stable": True}),
        Step("PUT", "/v1/job/web/stable?namespace=shop", {"JobID": "web", "JobVersion": 99, "Stable": True}),
        Step("PUT", "/v1/job/web/versions/golden/tag?namespace=shop", {"Version": 2, "Description": "d"}),
        Step("PUT", "/v1/job/web/versions/golden/tag?namespace=shop", {"Version": 1}),
        Step("PUT", "/v1/job/web/versions/silver/tag?namespace=shop", {"Version": 99}),
        Step("DELETE", "/v1/job/web/versions/nosuch/tag?namespace=shop"),
        Step("DELETE", "/v1/job/web/versions/golden/tag?namespace=shop", who="nobody"),
        Step("DELETE", "/v1/job/web/versions/golden/tag?namespace=shop"),
        Step("PUT", "/v1/job/encode/dispatch?namespace=batch", {"Payload": "bGF0ZSBzaG93", "Meta": {"title": "1"}}),
        Step("PUT", "/v1/job/encode/dispatch?namespace=batch", {"Payload": "bGF0ZSBzaG93", "Meta": {"x": "1"}}),
        Step("PUT", "/v1/job/encode/dispatch?namespace=batch", {"Payload": "bGF0ZSBzaG93"}),
        Step("PUT", "/v1/job/encode/dispatch?namespace=batch", {"Meta": {"title": "1"}}),
        Step("PUT", "/v1/job/encode/dispatch?namespace=batch", {"JobID": "x"}),
        Step("PUT", "/v1/job/web/dispatch?namespace=shop", {"Payload": "bGF0ZSBzaG93"}),
        Step("PUT", "/v1/job/nosuch/dispatch?namespace=shop", {"Payload": "bGF0ZSBzaG93"}),
        Step("PUT", "/v1/job/encode/dispatch?namespace=batch", {"Payload": "bGF0ZSBzaG93"}, who="nobody"),
        Step("PUT", "/v1/job/train/scale?namespace=batch",
             {"Count": 3, "Target": {"Group": "train"}, "Message": "more", "Meta": {"a": 1}}),
        Step("PUT", "/v1/job/train/scale?namespace=batch",
             {"Target": {"Group": "train"}, "Message": "no", "Error": True}),
        Step("PUT", "/v1/job/train/scale?namespace=batch", {"Count": -1, "Target": {"Group": "train"}}),
        Step("PUT", "/v1/job/train/scale?namespace=batch", {"Count": 1, "Target": {"Group": "x"}}),
        Step("PUT", "/v1/job/train/scale?namespace=batch", {"Count": 1}),
        Step("PUT", "/v1/job/train/scale?namespace=batch", {"Count": 1, "Target": {"Job": "x"}}),
        Step("PUT", "/v1/job/train/scale?namespace=batch", {"Count": 1, "Target": {"Group": "train"}}, who="nobody"),
        Step("PUT", "/v1/job/web/scale?namespace=shop", {"Count": 3, "Target": {"Group": "front"}}),
        Step("PUT", "/v1/job/web/scale?namespace=shop", {"Count": 99, "Target": {"Group": "front"}}),
        Step("PUT", "/v1/job/node-exporter/scale", {"Count": 2, "Target": {"Group": "exporter"}}),
        Step("PUT", "/v1/job/nosuch/scale", {"Count": 1, "Target": {"Group": "x"}}),
        Step("PUT", "/v1/validate/job", {"Job": SMALL}),
        Step("PUT", "/v1/validate/job", {"Job": {"ID": "x y"}}),
        Step("PUT", "/v1/operator/scheduler/configuration", {"SchedulerAlgorithm": "spread", "PauseEvalBroker": True}),
        Step("PUT", "/v1/operator/scheduler/configuration?cas=1", {"PauseEvalBroker": True}),
        Step("PUT", "/v1/operator/scheduler/configuration", {"SchedulerAlgorithm": "other"}),
        Step("PUT", "/v1/operator/scheduler/configuration", {"PauseEvalBroker": True}, who="nobody"),
        Step("PUT", "/v1/system/gc"),
        Step("PUT", "/v1/system/gc", who="nobody"),
        Step("PUT", f"/v1/node/{GONE}/eligibility", {"NodeID": GONE, "Eligibility": "ineligible"}),
        Step("PUT", f"/v1/node/{NODE}/eligibility", {"NodeID": NODE, "Eligibility": "other"}),
        Step("PUT", f"/v1/node/{NODE}/eligibility", {"NodeID": NODE, "Eligibility": "ineligible"}),
        Step("PUT", f"/v1/node/{NODE}/eligibility", {"NodeID": NODE, "Eligibility": "eligible"}, who="nobody"),
    ],
    "deletes": [
        Step("DELETE", "/v1/acl/binding-rule/7aeeec1d-d5ad-1ed9-eade-14393bcba868", who="nobody"),
        Step("DELETE", "/v1/acl/binding-rule/7aeeec1d-d5ad-1ed9-eade-14393bcba868"),
        Step("DELETE", "/v1/acl/binding-rule/nosuch"),
        Step("DELETE", "/v1/acl/auth-method/ci"),
        Step("DELETE", "/v1/acl/auth-method/nosuch"),
        Step("DELETE", "/v1/acl/role/78c65ed0-c07b-4849-866c-5ec8f3ff43e4"),
        Step("DELETE", "/v1/acl/role/nosuch"),
        Step("DELETE", "/v1/acl/token/1ee34c74-5914-e20a-c0ee-3efb0952fa5d"),
        Step("DELETE", "/v1/acl/token/nosuch"),
        Step("DELETE", f"/v1/acl/token/{GONE}"),
        Step("DELETE", "/v1/acl/policy/ops-read"),
        Step("DELETE", "/v1/acl/policy/nosuch"),
        Step("DELETE", "/v1/namespace/new"),
        Step("DELETE", "/v1/namespace/default"),
        Step("DELETE", "/v1/namespace/nosuch"),
        Step("DELETE", "/v1/namespace/shop"),
        Step("DELETE", "/v1/namespace/payments"),
        Step("DELETE", "/v1/namespace/batch", who="nobody"),
        Step("DELETE", "/v1/node/pool/new"),
        Step("DELETE", "/v1/node/pool/gpu"),
        Step("DELETE", "/v1/node/pool/default"),
        Step("DELETE", "/v1/node/pool/nosuch"),
        Step("DELETE", "/v1/service/web/nosuch?namespace=shop"),
    ],
}  # fmt: skip


@cache
def before() -> bytes:
    """Friday, its scheduler paused."""

    def pause(found: list[Record]) -> list[Record]:
        config = BY_TABLE["scheduler_config"].byte
        return [(b, pack(unpack(p) | {b"PauseEvalBroker": True}) if b == config else p) for b, p in found]

    return stream(pause)(whole(FRIDAY))


# -- what is another each time


def steady(value: Any, base: int) -> Any:
    """Without times and new ids; new indexes by their order in the record."""
    found = sorted({number for number in _indexes(value) if number > base})
    return _steady(value, {number: f"new {i + 1}" for i, number in enumerate(found)})


def _indexes(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name in INDEXES and isinstance(item, int):
                yield item
            else:
                yield from _indexes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _indexes(item)


def _steady(value: Any, names: Mapping[int, str], field: str = "", by_id: bool = False) -> Any:
    if isinstance(value, dict):
        return {name: _steady(item, names, name, "BindType" in value) for name, item in sorted(value.items())}
    if isinstance(value, list):
        return [_steady(item, names) for item in value]
    if field in INDEXES:
        return names.get(value, value)
    if field in TIMES and value:
        return "some time"
    if field == "Hash" and by_id:
        return "of the id too"
    if field == "KeyID":
        return "some key"  # a leader that is restored at once may still make a key of its own
    if field == "Payload" and value:
        payload = base64.b64decode(value)  # as does a rule about payloads, which has the same name
        return (inflated(payload) or payload).hex()
    if field == "Data":
        return len(value)
    if isinstance(value, str) and field != "NomadTokenID":
        return UUID.sub("some id", value)
    return value


# -- asking


def outcome(address: str, root: str, base: int) -> Iterator[tuple[str, Any]]:
    """What each step is answered, and after each chapter the records that differ from those before it."""
    session = requests.Session()
    first = last = records(archive_of(session, address, root))
    for chapter, steps in STEPS.items():
        answers = {}
        for number, step in enumerate(steps):
            headers = {} if step.who == "nobody" else {"X-Nomad-Token": root}
            url = address + step.path
            answer = session.request(step.method, url, json=step.body, headers=headers, timeout=60)
            answers[f"{number}: {step.name}"] = [answer.status_code, said(answer, base)]
        now = records(archive_of(session, address, root))
        differ = [
            {"table": table, "key": "/".join(map(str, key)) if (table, key) in first else steady_key(key), "is": record}
            for table, key in {*last, *now}
            if last.get((table, key)) != now.get((table, key)) and not (table == "indexes" and key[0] in OWN_ROWS)
            for record in [steady(now.get((table, key)), base)]
        ]
        yield chapter, {"answers": answers, "records": sorted(differ, key=json.dumps)}
        last = now


def steady_key(key: tuple[Any, ...]) -> str:
    return UUID.sub("some id", "/".join(map(str, key)))


def said(answer: requests.Response, base: int) -> Any:
    try:
        return steady(meaning(answer.json()), base)
    except ValueError:
        return re.sub(r"\b\d+\b", lambda n: "new" if int(n[0]) > base else n[0], UUID.sub("some id", answer.text))


def archive_of(session: requests.Session, address: str, root: str) -> bytes:
    answer = session.get(f"{address}/v1/operator/snapshot", headers={"X-Nomad-Token": root}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.content


def records(archive: bytes) -> dict[tuple[str, tuple[Any, ...]], Any]:
    with snapkit.open(archive) as snap:
        return {(t, key): snap.get(t, *key, reveal=True) for t in TABLES for key in snap.records(t)}


@pytest.mark.nomad
def test_a_real_server_does_what_was_recorded(tmp_path: Path) -> None:
    newest()  # skips without one
    with servers(tmp_path, 1) as (server,):
        token = bootstrap(server.address)
        url = f"{server.address}/v1/operator/snapshot"
        answer = requests.put(url, data=before(), headers={"X-Nomad-Token": token}, timeout=60)
        assert answer.status_code == 200, answer.text
        root = token_of(FRIDAY)
        deadline = time.monotonic() + PATIENCE
        while (
            requests.get(f"{server.address}/v1/nodes", headers={"X-Nomad-Token": root}, timeout=60).status_code != 200
        ):
            assert time.monotonic() < deadline, "the archive's tokens do not work"
            time.sleep(0.2)
        time.sleep(1)  # a new leader writes a little of its own
        early_in_a_minute()
        with snapkit.open(archive_of(requests.Session(), server.address, root)) as snap:
            base = snap.meta.index or 0
        found = dict(outcome(server.address, root, base))
    if os.environ.get("SNAPKIT_VERDICTS") == "record":
        text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
        ORACLE.write_text(f"{text}\n", encoding="utf-8")
    assert found == json.loads(ORACLE.read_text(encoding="utf-8"))


# -- what we make of them


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    with serve(before()) as cluster:
        return dict(outcome(cluster.address, token_of(FRIDAY), cluster._raft_index))


@cache
def recorded() -> Any:
    return json.loads(ORACLE.read_text(encoding="utf-8"))


#: What a served snapshot does not say, since it warns of nothing and schedules nothing.
UNSAID = ("Warnings", "Annotations", "Updates")


def without_scheduler(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_scheduler(item) for name, item in value.items() if name not in UNSAID}
    return [without_scheduler(item) for item in value] if isinstance(value, list) else value


def test_what_was_recorded_is_what_is_asked() -> None:
    asked = {chapter: [f"{i}: {step.name}" for i, step in enumerate(steps)] for chapter, steps in STEPS.items()}
    assert {chapter: sorted(found["answers"]) for chapter, found in recorded().items()} == {
        chapter: sorted(names) for chapter, names in asked.items()
    }
    statuses = {answer[0] for found in recorded().values() for answer in found["answers"].values()}
    assert statuses == {200, 204, 400, 403, 404, 409, 500}


@pytest.mark.parametrize(
    ("chapter", "name"), [(c, f"{i}: {step.name}") for c, steps in STEPS.items() for i, step in enumerate(steps)]
)
def test_a_write_is_answered_as_a_server_answers_it(ours: dict[str, Any], chapter: str, name: str) -> None:
    said, wanted = ours[chapter]["answers"][name], recorded()[chapter]["answers"][name]
    assert without_scheduler(said) == without_scheduler(wanted)


@pytest.mark.parametrize("chapter", STEPS)
def test_a_write_leaves_behind_what_a_server_leaves_behind(ours: dict[str, Any], chapter: str) -> None:
    assert ours[chapter]["records"] == recorded()[chapter]["records"]


def test_the_state_stays_an_archive(tmp_path: Path) -> None:
    """That is whole, that verify has no errors about, and that can be put back."""
    with serve(before()) as cluster:
        client = snapkit.Client(cluster.address, token=cluster.token)
        root = {"X-Nomad-Token": cluster.token}
        job = {"Job": PAYMENTS}
        url = f"{cluster.address}/v1/jobs?namespace=payments"
        assert requests.put(url, json=job, headers=root, timeout=10).status_code == 200
        url = f"{cluster.address}/v1/var/a/b?namespace=payments&cas=0"
        assert requests.put(url, json={"Items": {"a": "b"}}, headers=root, timeout=10).status_code == 200
        client.save(tmp_path / "after.snap")
        assert not [f for f in snapkit.verify(tmp_path / "after.snap").found if f.severity == "error"]
        with snapkit.open(tmp_path / "after.snap") as snap:
            assert snap.unlock().loc[("payments", "a/b"), "Items"] == {"a": "b"}
            assert snap.meta.index == int(snap.indexes["Value"].max()) == cluster._raft_index
        client.restore(tmp_path / "after.snap")


@pytest.mark.parametrize("release", ["v1.8.4", "v1.4.14", "v0.12.12"])
def test_an_older_state_is_written_to_as_well(release: str) -> None:
    """In the newest shapes, which is what a server of today would make of it."""
    path = next(path for path in sorted((DATA / release).glob("*.snap")))
    keystore = DATA / release / "keystore"
    with serve(path, keystore=keystore if keystore.is_dir() else None) as cluster:
        root = {"X-Nomad-Token": cluster.token}
        answer = requests.put(f"{cluster.address}/v1/jobs", json={"Job": SMALL}, headers=root, timeout=10)
        assert answer.status_code == 200, answer.text
        client = snapkit.Client(cluster.address, token=cluster.token)
        with client.snapshot() as after, snapkit.open(path) as before:
            found = snapkit.compare(before, after).objects
            added = {"jobs", "job_versions", "job_summaries", "evals"}
            assert set(found["Table"]) == added
            assert set(found["Change"]) == {"added"}
        url = f"{cluster.address}/v1/var/a"
        answer = requests.put(url, json={"Items": {"a": "b"}}, headers=root, timeout=10)
        if not keystore.is_dir():
            assert (answer.status_code, answer.text.startswith("variable error: encrypt")) == (500, True)
            return
        assert answer.status_code == 200, answer.text
        with client.snapshot() as after:
            assert after.unlock(keystore).loc[("default", "a"), "Items"] == {"a": "b"}


WRONG: tuple[Any, ...] = (3, [None], [{}], {"a": 3})


def test_a_body_of_another_shape_is_refused_in_a_sentence() -> None:
    """And leaves a state that can be read, if it is taken."""
    bodies = {step.path: (step.method, step.body) for steps in STEPS.values() for step in steps if step.body}
    with serve(before()) as cluster:
        root = {"X-Nomad-Token": cluster.token}
        for path, (method, body) in bodies.items():
            job = body.get("Job")
            wrong = [body | {name: value} for name in body for value in WRONG]
            if job and path == "/v1/jobs?namespace=payments":
                wrong += [{"Job": job | {name: value}} for name in job for value in WRONG]
                group, *_ = job["TaskGroups"]
                wrong += [{"Job": job | {"TaskGroups": [group | {name: v}]}} for name in group for v in WRONG]
            for one in wrong:
                answer = cluster_answer(cluster, method, path, one, root)
                assert answer, (path, one)
        with snapkit.Client(cluster.address, token=cluster.token).snapshot() as after:
            for table in after.tables.index:
                list(after.objects(table, reveal=True))


def cluster_answer(cluster: Any, method: str, path: str, body: Any, headers: dict[str, str]) -> bool:
    """Asked without HTTP, which takes its time: is it answered, or refused as Nomad refuses?"""
    path, _, query = path.partition("?")
    pairs = dict(pair.split("=") for pair in query.split("&") if pair)
    try:
        cluster.answer(method, path, pairs, headers["X-Nomad-Token"], json.dumps(body).encode())
    except ApiError as error:
        return 400 <= error.status < 600 and bool(error.text)
    return True
