"""Each list, object, filter and refusal against what a real 2.0.5 server said of the same archive.

`SNAPKIT_VERDICTS=record` writes the oracle anew, by the server that NOMAD_BIN names. Both have Friday's state with a
scheduler that is paused and a periodic job that is not launched, so that nothing in it moves.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from snapkit.cluster.server import serve
from snapkit.format.schema import BY_TABLE
from snapkit.format.values import pack, unpack
from tests.damage import FRIDAY, Record, stream, whole

from ..conftest import ORACLES
from .servers import bootstrap, newest, servers
from .test_verdicts import token_of

ORACLE = ORACLES / "differential.json"
LATER = datetime(2026, 11, 26, tzinfo=UTC)  # the token of `deploy` has expired
PATIENCE = 30.0  # seconds until a restored server must know its tokens
SHORT = 240  # characters of JSON that the oracle has in the clear

ALLOC, NODE, ROLE = (
    "33fbea05-02e9-2128-94ee-2e18e7024db0", "4e5dbdec-e743-3537-2339-6d675833c741",
    "78c65ed0-c07b-4849-866c-5ec8f3ff43e4",
)  # fmt: skip
EVAL, DEPLOYMENT = "1f921de9-d992-74cb-6200-4a18cb0d8491", "bc8aad0c-5122-2bdd-9b85-b393002296b1"
INTERN, NOBODYS = "1ee34c74-5914-e20a-c0ee-3efb0952fa5d", "11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        who: `root`, `nobody`, `wrong` (a token of none), or the name of a token of the archive.
    """

    path: str
    who: str = "root"
    method: str = "GET"
    body: str = ""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path} by {self.who} {self.body}".rstrip()


def pages(path: str, *more: str) -> Iterator[str]:
    """A list with what all lists may be asked for, and more."""
    join = "&" if "?" in path else "?"
    yield path
    for query in ("reverse=true", "per_page=2", "per_page=x", "per_page=-1", "next_token=zzz", "prefix=1", *more):
        yield f"{path}{join}{query}"


LISTS: Sequence[str] = [
    *pages("/v1/jobs?namespace=*", "meta=true", "meta=x", "prefix=e", "next_token=batch.f",
    "per_page=3&next_token=a.b"),
    *pages("/v1/allocations?namespace=*", "resources=true", "task_states=false", "prefix=33fb", "prefix=zz",
    "prefix=abc"),
    *pages("/v1/evaluations?namespace=*", "status=blocked", "job=web", "next_token=39.", "per_page=2&next_token=60.f"),
    *pages("/v1/deployments?namespace=*", "prefix=bc", "prefix=xyz"),
    *pages("/v1/nodes", "resources=true", "os=true", "os=x", "prefix=21d5",
    "prefix=21d5be79-1724-f554-87cb-3dcd9450b451"),
    *pages("/v1/namespaces", "prefix=sh"),
    *(path for path in pages("/v1/vars?namespace=*", "prefix=nomad") if "=x" not in path),  # refused twice in one text
    *pages("/v1/acl/tokens", "global=true", "prefix=1e", "per_page=2&next_token=17."),
    *pages("/v1/acl/policies", "prefix=ops"), *pages("/v1/acl/roles"), *pages("/v1/acl/auth-methods"),
    *pages("/v1/acl/binding-rules"), *pages("/v1/service/web?namespace=shop", "choose=2|x", "choose=x"),
    *pages("/v1/scaling/policies?namespace=*", "job=web", "type=horizontal"),
    *pages("/v1/volumes?type=host&namespace=*", "prefix=ord", "prefix=99", "node_id=x"),
    *pages("/v1/node/pool/gpu/nodes"), *pages("/v1/node/pool/gpu/jobs?namespace=*"),
    "/v1/evaluations/count?namespace=*", "/v1/volumes", "/v1/volumes?type=csi", "/v1/volumes?type=x",
    "/v1/volumes/claims",
    "/v1/plugins", "/v1/plugins?type=csi", "/v1/plugins?type=x", "/v1/node/pool/nosuch/nodes",
    "/v1/node/pool/nosuch/jobs",
]  # fmt: skip
OF_JOBS = (
    "", "/allocations", "/allocations?all=true", "/evaluations", "/deployments", "/deployment", "/versions",
    "/versions?diffs=true", "/versions?diffs=true&diff_version=0", "/versions?diffs=x",
    "/versions?diffs=true&diff_tag=x",
    "/versions?diffs=true&diff_version=99", "/summary", "/scale", "/services", "/submission?version=0", "/submission",
)  # fmt: skip
JOBS = (
    ("shop", "web"), ("batch", "encode"), ("batch", "encode%2Fdispatch-1795471701-40f3150b"), ("batch", "train"),
    ("default", "node-exporter"), ("shop", "nosuch"), ("*", "web"),
)  # fmt: skip
OBJECTS: Sequence[str] = [
    *(f"/v1/job/{job}{of}{'&' if '?' in of else '?'}namespace={ns}" for ns, job in JOBS for of in OF_JOBS
      if of != "/scale" or (job != "nosuch" and ns != "*")),  # at an index that a server goes on from by itself
    *(f"/v1/{kind}/{key}" for kind, key in [
        ("allocation", ALLOC), ("evaluation", EVAL), ("evaluation", f"{EVAL}?related=true"), ("deployment", DEPLOYMENT),
        ("node", NODE), ("node", f"{NODE}/allocations"), ("evaluation", f"{EVAL}/allocations"),
        ("deployment/allocations", DEPLOYMENT), ("allocation", f"{ALLOC}/services"),
        ("allocation", f"{ALLOC}/services?namespace=shop"), ("allocation", f"{ALLOC}/checks"), ("node/pool", "gpu"),
        ("acl/token", INTERN), ("acl/token", "self"), ("acl/policy", "ops-read"), ("acl/policy", "self"),
        ("acl/role", ROLE), ("acl/role/name", "on-call"), ("acl/auth-method", "ci"), ("namespace", "shop"),
        ("var", "nomad/jobs/web?namespace=shop"), ("var", "nomad%2Fjobs%2Fweb?namespace=shop"),
        ("volume/host", "993c65e0-a2f7-568e-fead-db2ea01fd39d?namespace=shop"), ("operator", "scheduler/configuration"),
    ]),
    *(f"/v1/{kind}/{key}" for key in ("nosuch", NOBODYS) for kind in (
        "allocation", "evaluation", "deployment", "node", "deployment/allocations", "acl/token", "acl/policy",
        "acl/role",
        "acl/role/name", "acl/auth-method", "acl/binding-rule", "namespace", "var", "node/pool", "scaling/policy",
        "volume/host", "volume/csi", "plugin/csi", "service", "client/fs/ls", "client/fs/logs",
    )),
    *(f"/v1/{kind}/" for kind in (
        "allocation", "evaluation", "deployment", "node", "acl/token", "acl/policy", "acl/role", "acl/role/name",
        "acl/auth-method", "acl/binding-rule", "namespace", "var", "service", "volume/csi",
    )),
    "/v1/quotas", "/v1/quota/x", "/v1/recommendations", "/v1/sentinel/policies", "/v1/operator/license", "/v1/nosuch",
    "/v1/", "/v1", "/v1/jobs/", "/v1/JOBS", "//v1/jobs", "/v1//jobs", "/v1/job", "/v1/client/stats",
    f"/v1/client/stats?node_id={NODE}", f"/v1/client/stats?node_id={NOBODYS}", f"/v1/client/fs/ls/{ALLOC}?path=/",
    "/v1/agent/servers", "/v1/agent/health", "/v1/agent/health?type=x", "/v1/regions", "/v1/jobs?region=x",
    "/v1/jobs?stale=x", "/v1/jobs?index=x", "/v1/jobs?wait=x", "/v1/jobs?namespace=nowhere",
    "/v1/jobs?namespace=shop&namespace=*",
]  # fmt: skip
FILTERS: dict[str, Sequence[str]] = {
    "/v1/jobs?namespace=*": [
        'Status == "running"',
        "Status == running",
        "Priority == 50",
        'Priority == "0x32"',
        "Priority == abc",
        "Priority > 50",
        "Priority == 99999999999999999999",
        "Version == -1",
        "Stop == maybe",
        'Meta.owner == "storefront"',
        'Meta["owner"] == "storefront"',
        'Meta.nosuch == "x"',
        'Meta.nosuch != "x"',
        "Meta is empty",
        '"owner" in Meta',
        'ID contains "web"',
        'ID matches "^w"',
        'ID not matches "^w"',
        'ID matches "(?=a)"',
        "Priority is empty",
        "Periodic is nil",
        "Periodic is not nil",
        "Periodic.Enabled == true",
        "Periodic is empty",
        "JobSummary.Summary.front.Running == 2",
        'TaskGroups.0.Name == "front"',
        'TaskGroups.9.Name == "front"',
        'TaskGroups.x.Name == "front"',
        '"/TaskGroups/0/Name" == "front"',
        '"*" in Datacenters',
        '"x" in Priority',
        "Nosuch is empty",
        'ID == "we\\x62"',
        'ID == ""',
        'ID == "/a/b"',
        "nosuch == 1",
        'Affinities contains "x"',
        '(Status == "dead" or Status == "running") and Priority == 50',
        'not (Status == "running")',
        '(((Status == "running"',
        'Status == "running" and',
        "and",
        "Status",
        "Status =",
        "== 3",
        'Status == "x" "y"',
        'Status == "running"and Priority == 50',
        "  Status\n==\t`running` ",
        'any TaskGroups as tg { tg.Name == "front" }',
        "all TaskGroups as tg { tg.Count == 1 }",
        'any TaskGroups as i, tg { tg.Name == "front" }',
        "any TaskGroups as i, _ { i == 0 }",
        'any Meta as k, v { v == "storefront" }',
        "any Priority as x { x == 1 }",
        'any TaskGroups as tg { any tg.Tasks as t { t.Driver == "raw_exec" } }',
        "any TaskGroups as tg { tg.Nope == 1 }",
        'any TaskGroups as tg { tg.Count == 1 } or Status == "running"',
        "run in Status",
        "Status == ops-x",
        "Priority == 1.5",
        'Meta["a" == 1',
        "Meta[x] == 1",
        "Status.x == 1",
        "VersionTag is nil",
        "Stätus == 1",
        'Status == "unterminated',
        "Status == `unterminated",
        "Status == 'running'",
        'Datacenters == "*"',
        "a.b.c.d == 1",
    ],
    "/v1/nodes": [
        'Status == "ready"',
        'Attributes["kernel.name"] == "linux"',
        'Attributes.os.name == "x"',
        "Drain == true",
        "DrainStrategy is nil",
        "Drivers.docker.Healthy == true",
        '"docker" in Drivers',
        'Address == "127.0.0.1"',
        'Name matches "client[12]"',
        "NodeResources.Memory.MemoryMB == 1",
        "SecretID is empty",
    ],
    "/v1/allocations?namespace=*": [
        'ClientStatus == "running"',
        "JobVersion == 1",
        "Job.Version == 1",
        'TaskStates.web.State == "running"',
        "DeploymentStatus.Healthy == true",
        "DeploymentStatus is nil",
        "any TaskStates as n, s { s.Failed == true }",
        "DesiredTransition.Migrate == true",
        "AllocatedResources.Shared.DiskMB == 300",
    ],
    "/v1/evaluations?namespace=*": [
        'Status == "complete"',
        "BlockedEval is not empty",
        "WaitUntil is nil",
        "Nosuch == 1",
    ],
    "/v1/evaluations?namespace=*&status=complete": ['JobID == "web"'],
    "/v1/deployments?namespace=*": ["TaskGroups.front.DesiredTotal == 2", "JobVersion == 3"],
    "/v1/vars?namespace=*": ['Path == "big/one"', 'VariableMetadata.Path == "big/one"', "KeyID is empty"],
    "/v1/acl/tokens": ['Type == "client"', "ExpirationTime is nil", '"ops-read" in Policies'],
    "/v1/node/pool/gpu/nodes": ["Nosuch == 1"],
    "/v1/service/web?namespace=shop": ["Port == 26402", '"v1" in Tags'],
    "/v1/volumes?type=host&namespace=*": ['any RequestedCapabilities as c { c.AccessMode == "single-node-writer" }'],
    "/v1/namespaces": ['Name == "shop"', "x ="],
    "/v1/acl/policies": ["x ="],
    "/v1/job/web/versions?namespace=shop": ["Version == 1"],
}
OF_OTHERS: Sequence[str] = [
    "/v1/jobs", "/v1/jobs?namespace=*", "/v1/jobs?namespace=shop", "/v1/job/web?namespace=shop",
    "/v1/job/web/scale?namespace=shop", "/v1/allocations?namespace=*", "/v1/evaluations?namespace=shop", "/v1/nodes",
    f"/v1/node/{NODE}", f"/v1/node/{NODE}/allocations", "/v1/node/pools?per_page=x", "/v1/node/pool/gpu",
    "/v1/node/pool/gpu/nodes", "/v1/node/pool/gpu/jobs", "/v1/namespaces", "/v1/namespace/shop", "/v1/namespace/nosuch",
    "/v1/vars", "/v1/vars?namespace=*", "/v1/vars?namespace=shop", "/v1/var/nomad/jobs/web?namespace=shop",
    "/v1/var/nosuch",
    "/v1/acl/tokens", "/v1/acl/token/self", f"/v1/acl/token/{INTERN}", f"/v1/acl/token/{NOBODYS}", "/v1/acl/policies",
    "/v1/acl/policy/ops-read", "/v1/acl/policy/anonymous", "/v1/acl/policy/nosuch", "/v1/acl/policy/self",
    "/v1/acl/roles",
    f"/v1/acl/role/{ROLE}", "/v1/acl/role/name/on-call", "/v1/acl/auth-methods", "/v1/acl/auth-method/ci",
    "/v1/acl/binding-rules", "/v1/scaling/policies?namespace=*", "/v1/volumes?type=host&namespace=*", "/v1/regions",
    "/v1/plugins?type=csi", "/v1/agent/health", "/v1/operator/raft/configuration",
    "/v1/operator/scheduler/configuration",
    f"/v1/allocation/{ALLOC}", f"/v1/evaluation/{EVAL}", f"/v1/evaluation/{EVAL}/allocations",
    f"/v1/deployment/{DEPLOYMENT}",
    f"/v1/deployment/allocations/{DEPLOYMENT}", f"/v1/client/fs/ls/{ALLOC}?path=/", f"/v1/client/stats?node_id={NODE}",
    "/v1/nosuch", "/v1/system/gc",
]  # fmt: skip
WORDS = ("garbage", "{", "null", "{}", "")
SEARCHES = (
    '{"Prefix":"w","Context":"all"}', '{"Prefix":"w","Context":"jobs"}', '{"Prefix":"w","Context":"x"}',
    '{"Prefix":"w"}',
    '{"Prefix":"","Context":"all"}', '{"Prefix":"21d5b","Context":"all"}', '{"Prefix":"zz","Context":"allocs"}',
    '{"Prefix":"nomad","Context":"vars"}', '{"Prefix":"s","Context":"namespaces"}', '{"Prefix":"","Context":"plugins"}',
)  # fmt: skip
ASKED: Sequence[Asked] = list(dict.fromkeys([
    *map(Asked, LISTS),
    *map(Asked, OBJECTS),
    *(Asked(f"{path}{'&' if '?' in path else '?'}filter={quote(e)}") for path, es in FILTERS.items() for e in es),
    *(Asked(path, who) for who in ("nobody", "wrong", "new", "role", "deploy") for path in OF_OTHERS),
    *(Asked(path, method=method) for method in ("HEAD", "OPTIONS", "DELETE", "PUT") for path in (
        "/v1/jobs", "/v1/nodes", "/v1/namespaces", "/v1/status/leader", "/v1/nosuch", "/v1/search", "/v1/vars")),
    *(Asked(path, method="PUT", body=body) for body in WORDS for path in (
        "/v1/jobs", "/v1/job/x/plan", "/v1/namespace/x", "/v1/acl/policy/x", "/v1/acl/role", "/v1/var/x",
        "/v1/search")),
    *(Asked(f"/v1/search{query}", who, "PUT", body) for body in SEARCHES for query, who in (
        ("", "root"), ("?namespace=*", "root"), ("?namespace=*", "new"), ("?namespace=shop", "nobody"))),
    *(Asked("/v1/jobs", method="PUT", body=json.dumps({"Job": job})) for job in (
        {}, {"ID": ""}, {"ID": "x"}, {"ID": "x y"}, {"ID": "x", "Type": "nosuch"}, {"ID": "x", "Priority": 101},
        {"ID": "x", "TaskGroups": [{"Name": "g"}]}, {"ID": "x", "TaskGroups": [{"Name": ""}, {"Name": "g"},
        {"Name": "g"}]},
        {"ID": "x", "TaskGroups": [{"Name": "g", "Count": -1, "Tasks": [{"Name": "t"}, {"Name": "t", "Driver": "d"}]}]},
    )),
]))  # fmt: skip


@cache
def frozen() -> bytes:
    """Friday, of which a server changes nothing by itself."""

    def freeze(found: list[Record]) -> list[Record]:
        return [(byte, _still(byte, packed)) for byte, packed in found]

    return stream(freeze)(whole(FRIDAY))


def _still(byte: int, packed: bytes) -> bytes:
    if byte == BY_TABLE["scheduler_config"].byte:
        return pack(unpack(packed) | {b"PauseEvalBroker": True})
    if byte == BY_TABLE["jobs"].byte and (job := unpack(packed)).get(b"Periodic"):
        job[b"Periodic"][b"Enabled"] = False
        return pack(job)
    return packed


def tokens() -> dict[str, str]:
    of_archive = json.loads((ORACLES / "v2.0.5" / "tokens.json").read_text())
    known = {name: token["SecretID"] for name, token in of_archive.items()}
    return known | {"root": token_of(FRIDAY), "nobody": "", "wrong": NOBODYS}


def answers(address: str) -> dict[str, Any]:
    """What each request is answered, as far as it is the same each time."""
    known, found = tokens(), {}
    session = requests.Session()
    for asked in ASKED:
        request = requests.Request(asked.method, address, {"X-Nomad-Token": known[asked.who]}, data=asked.body.encode())
        prepared = session.prepare_request(request)
        prepared.url = address + asked.path  # as it stands
        answer = session.send(prepared, timeout=60, allow_redirects=False)
        found[asked.name] = said(answer)
    return found


def said(answer: requests.Response) -> list[Any]:
    """The status, X-Nomad-Index, X-Nomad-Nexttoken and the body: what is long by its hash and its items' names."""
    headers = [answer.headers.get(name, "") for name in ("X-Nomad-Index", "X-Nomad-Nexttoken", "Location")]
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    body = meaning(answer.json()) if kind == "application/json" else answer.text
    text = json.dumps(body, sort_keys=True)
    if len(text) <= SHORT:
        return [answer.status_code, *headers, body]
    names = [name_of(item) for item in body] if isinstance(body, list) else sorted(body)
    return [answer.status_code, *headers, hashlib.sha256(text.encode()).hexdigest()[:16], names]


def name_of(item: Any) -> str:
    """Of an item of a list: the beginning of its key."""
    keys = ("ID", "Name", "Path", "AccessorID", "KeyID")
    return str(next((item[key] for key in keys if key in item), ""))[:8] if isinstance(item, dict) else str(item)[:8]


def meaning(value: Any) -> Any:
    """JSON without what is empty, which some builds of a release leave out."""
    if isinstance(value, dict):
        kept = {name: meaning(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item not in (None, [], {}, "")}
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 70.0 in a job's free text: Nomad's JSON tells it from 70, ours does not
    return [meaning(item) for item in value] if isinstance(value, list) else value


@pytest.mark.nomad
def test_a_real_server_says_what_was_recorded(tmp_path: Path) -> None:
    newest()  # skips without one
    with servers(tmp_path, 1) as (server,):
        token = bootstrap(server.address)
        url, root = f"{server.address}/v1/operator/snapshot", {"X-Nomad-Token": token_of(FRIDAY)}
        answer = requests.put(url, data=frozen(), headers={"X-Nomad-Token": token}, timeout=60)
        assert answer.status_code == 200, answer.text
        deadline = time.monotonic() + PATIENCE
        while requests.get(f"{server.address}/v1/nodes", headers=root, timeout=60).status_code != 200:
            assert time.monotonic() < deadline, "the archive's tokens do not work"
            time.sleep(0.2)
        found = answers(server.address)
    if os.environ.get("SNAPKIT_VERDICTS") == "record":
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(said)}" for name, said in found.items())
        ORACLE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    assert found == recorded()


@cache
def recorded() -> Any:
    return json.loads(ORACLE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    with serve(frozen(), now=LATER) as cluster:
        return answers(cluster.address)


def test_what_was_recorded_is_what_is_asked() -> None:
    assert list(recorded()) == [asked.name for asked in ASKED]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
def test_an_answer_is_a_real_servers(asked: Asked, ours: dict[str, Any]) -> None:
    assert ours[asked.name] == recorded()[asked.name]
