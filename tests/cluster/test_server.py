"""The served cluster beyond its answers: who may ask, pages and filters, what it refuses, and its life of its own."""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import nomad
import pandas as pd
import pytest
import requests

import snapkit
from snapkit.cluster.server import ServedCluster, require_consent
from snapkit.format import archive as container
from snapkit.state.output.edit import Change, edited

from ..conftest import ARCHIVES, DATA, ORACLES, RAFT_DIRECTORIES, path_of
from ..state import samples

FRIDAY = path_of("v2.0.5/friday")
TOKENS = json.loads((ORACLES / "v2.0.5" / "tokens.json").read_text())
UNKNOWN = "11111111-2222-3333-4444-555555555555"
ROOT = json.loads((ORACLES / "v2.0.5" / "bootstrap.json").read_text())["SecretID"]


@pytest.fixture(scope="module")
def friday() -> Iterator[ServedCluster]:
    with snapkit.serve(FRIDAY) as cluster:
        yield cluster


@pytest.fixture
def serve() -> Iterator[Callable[..., ServedCluster]]:
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(snapkit.serve(*args, **kwargs))


def ask(cluster: ServedCluster, path: str, token: str | None = None, **kwargs: Any) -> requests.Response:
    headers = {"X-Nomad-Token": cluster.token if token is None else token}
    return requests.get(cluster.address + path, headers=headers, timeout=10, **kwargs)


def with_changes(changes: Mapping[str, Change]) -> bytes:
    with snapkit.open(FRIDAY) as snap:
        state = b"".join(edited(snap, changes))
        out = io.BytesIO()
        container.write_to(out, snap.archive.meta, [state], len(state))
    return out.getvalue()


# -- what can be served


@pytest.mark.parametrize("archive", ARCHIVES)
def test_every_archive_can_be_served_and_saved_again(archive: str, serve: Callable[..., ServedCluster]) -> None:
    cluster = serve(path_of(archive))
    with (
        snapkit.Client(cluster.address, token=cluster.token).snapshot() as live,
        snapkit.open(path_of(archive)) as snap,
    ):
        assert b"".join(live.chunks()) == b"".join(snap.chunks())
        assert live.meta.id == snap.meta.id


def test_whatever_opens_can_be_served(serve: Callable[..., ServedCluster]) -> None:
    with snapkit.open(FRIDAY) as snap:
        state = b"".join(snap.chunks())
    sources = [
        FRIDAY.read_bytes(),
        io.BytesIO(FRIDAY.read_bytes()),
        DATA / RAFT_DIRECTORIES[0],
        state,
        f"file://{FRIDAY}",
    ]
    for source in sources:
        assert ask(serve(source), "/v1/jobs?namespace=*").json()


def test_what_can_not_be_read_is_said(serve: Callable[..., ServedCluster]) -> None:
    for source in ["/no/such/file.snap", b"hello", FRIDAY.read_bytes()[:-9]]:
        with pytest.raises(snapkit.SnapshotError):
            serve(source)


def test_a_port_that_is_taken_is_said(serve: Callable[..., ServedCluster]) -> None:
    first = serve(FRIDAY)
    with pytest.raises(snapkit.SnapshotError, match="can't be listened on"):
        serve(FRIDAY, port=int(first.address.rpartition(":")[2]))


def test_it_ends_when_told_and_twice_is_no_harm() -> None:
    with snapkit.serve(FRIDAY) as cluster:
        assert ask(cluster, "/v1/status/leader").ok
    cluster.close()
    with pytest.raises(requests.ConnectionError):
        ask(cluster, "/v1/status/leader")


def test_it_shows_its_source_and_no_token(friday: ServedCluster) -> None:
    assert repr(friday) == f"<ServedCluster {friday.address}: {FRIDAY}>"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.invalid"])
def test_beyond_loopback_it_takes_consent_and_tls(host: str) -> None:
    for consent, certificate in [(False, None), (True, None), (False, "cert.pem")]:
        with pytest.raises(snapkit.SnapshotError, match="is not loopback"):
            require_consent(host, consent, certificate)
    require_consent(host, True, "cert.pem")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_takes_none(host: str) -> None:
    require_consent(host, False, None)


# -- who may


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:4646"}, 200),
        ({"Host": "[::1]:4646"}, 200),
        ({"Origin": "http://127.0.0.1:8888"}, 200),
        ({"Host": "pages.example"}, 403),
        ({"Host": "pages.example:4646"}, 403),
        ({"Host": "127.0.0.1.pages.example"}, 403),
        ({"Origin": "https://pages.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_page_in_a_browser_reads_and_writes_nothing(
    headers: dict[str, str], status: int, serve: Callable[..., ServedCluster]
) -> None:
    """Without tokens in the state all may all: a page could have its own name lead here, or post to this address."""
    cluster = serve(samples.archive({"namespaces": [{"Name": "default"}]}))
    assert requests.get(f"{cluster.address}/v1/jobs", headers=headers, timeout=10).status_code == status
    posted = requests.post(f"{cluster.address}/v1/search", headers=headers, data="{}", timeout=10).status_code
    assert (posted == 403) is (status == 403)


@pytest.mark.parametrize("query", ["per_page=", "index="])
def test_a_number_without_end_is_refused(query: str, friday: ServedCluster) -> None:
    assert ask(friday, f"/v1/jobs?{query}{'9' * 5_000}", friday.token).status_code == 400


def test_a_body_without_end_is_refused_before_it_fills_the_memory(
    friday: ServedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapkit.cluster.server.MOST_BODY", 1000)
    answer = requests.put(f"{friday.address}/v1/jobs", data=b"{" + b" " * 2_000 + b"}", timeout=10)
    assert (answer.status_code, answer.text) == (413, "http: request body too large")


def test_tokens_of_the_snapshot_see_what_their_policies_say(friday: ServedCluster) -> None:
    intern, deploy = TOKENS["new"]["SecretID"], TOKENS["deploy"]["SecretID"]  # namespaces: read all; write all
    assert ask(friday, "/v1/jobs?namespace=*", intern).ok
    assert ask(friday, "/v1/nodes", intern).ok
    assert ask(friday, "/v1/nodes", deploy).status_code == 403
    assert ask(friday, "/v1/acl/tokens", intern).status_code == 403
    assert ask(friday, "/v1/acl/token/self", intern).json()["SecretID"] == intern
    assert [p["Name"] for p in ask(friday, "/v1/acl/policies", intern).json()] == ["ops-read"]
    assert ask(friday, "/v1/var/nomad/jobs/web?namespace=shop", intern).status_code == 403
    assert ask(friday, "/v1/var/nomad/jobs/web?namespace=shop", ROOT).json()["Items"]


def test_rafts_configuration_is_for_management_alone(serve: Callable[..., ServedCluster]) -> None:
    def reads(policy: dict[bytes, Any]) -> bool:
        policy[b"Rules"] = b'operator { policy = "read" }'
        return True

    cluster = serve(with_changes({"acl_policies": reads}))
    intern = TOKENS["new"]["SecretID"]
    assert ask(cluster, "/v1/operator/autopilot/configuration", intern).ok
    assert ask(cluster, "/v1/operator/raft/configuration", intern).status_code == 403
    assert ask(cluster, "/v1/operator/raft/configuration", ROOT).ok


def test_without_a_token_the_anonymous_policy_applies(friday: ServedCluster) -> None:
    assert {job["Namespace"] for job in ask(friday, "/v1/jobs?namespace=*", "").json()} == {"default"}
    assert ask(friday, "/v1/jobs?namespace=shop", "").status_code == 403
    assert ask(friday, "/v1/nodes", "").status_code == 403
    assert ask(friday, "/v1/status/leader", "").ok


def test_an_unknown_token_is_nobody(friday: ServedCluster) -> None:
    answer = ask(friday, "/v1/jobs", "11111111-2222-3333-4444-555555555555")
    assert (answer.status_code, answer.text) == (403, "Permission denied")
    for path in ["/v1/status/leader", "/v1/regions", "/v1/agent/health", "/v1/acl/auth-methods"]:
        assert ask(friday, path, "11111111-2222-3333-4444-555555555555").ok, "open to all"


def test_a_token_may_come_in_any_header_and_case(friday: ServedCluster) -> None:
    for headers in [{"X-Nomad-Token": ROOT.upper()}, {"Authorization": f"bearer  {ROOT}"},
                    {"X-Nomad-Token": "", "Authorization": f"Bearer {ROOT}"}]:  # fmt: skip
        assert requests.get(f"{friday.address}/v1/nodes", headers=headers, timeout=10).ok
    for headers in [{"Authorization": f"Basic {ROOT}"}, {"Authorization": ROOT}, {"Authorization": "Bearer"}]:
        assert requests.get(f"{friday.address}/v1/nodes", headers=headers, timeout=10).status_code == 403


def test_the_sessions_token_may_do_all_and_says_who_it_is(friday: ServedCluster) -> None:
    own = ask(friday, "/v1/acl/token/self").json()
    assert (own["Type"], own["Name"], own["SecretID"]) == ("management", "snapkit session", "")
    assert ask(friday, "/v1/acl/tokens").ok


def test_an_expired_token_is_judged_by_the_clock_that_is_given(serve: Callable[..., ServedCluster]) -> None:
    deploy = TOKENS["deploy"]  # the one that expires
    expires = pd.Timestamp(deploy["ExpirationTime"]).ceil("s").to_pydatetime()
    assert ask(serve(FRIDAY), "/v1/jobs?namespace=shop", deploy["SecretID"]).ok, "by default, the archive's own time"
    for now, status in [(expires - timedelta(seconds=1), 200), (expires, 403), (datetime(2030, 1, 1, tzinfo=UTC), 403)]:
        answer = ask(serve(FRIDAY, now=now), "/v1/jobs?namespace=shop", deploy["SecretID"])
        assert answer.status_code == status
        assert status == 200 or answer.text == "Permission denied"


def test_without_any_token_in_the_state_all_may_all(serve: Callable[..., ServedCluster]) -> None:
    cluster = serve(samples.archive({"namespaces": [samples.struct("Namespace", Name="default")]}))
    for token in ["", "whatever"]:
        assert ask(cluster, "/v1/namespaces", token).ok
        assert ask(cluster, "/v1/acl/tokens", token).json() == []


# -- lists


def test_pages_follow_each_other_to_the_end(friday: ServedCluster) -> None:
    for path, key in [
        ("jobs", ("Namespace", "ID")),
        ("allocations", ("ID",)),
        ("evaluations", ("ID",)),
        ("vars", ("Path",)),
    ]:
        url = f"/v1/{path}?namespace=*"
        whole = ask(friday, url).json()
        found, token = [], ""
        while True:
            answer = ask(friday, f"{url}&per_page=2&next_token={token}")
            assert len(answer.json()) <= 2
            found += answer.json()
            token = answer.headers.get("X-Nomad-NextToken", "")
            if not token:
                break
        assert [[item[k] for k in key] for item in found] == [[item[k] for k in key] for item in whole]
        turned = ask(friday, f"{url}&reverse=true").json()
        assert turned == (whole if path == "vars" else whole[::-1]), "Nomad does not turn variables around"
        beyond = ask(friday, f"{url}&next_token=zzz")
        assert (beyond.status_code, beyond.json()) == (200, [])


def test_lists_are_filtered_by_expression_and_prefix(friday: ServedCluster) -> None:
    failed = ask(friday, "/v1/allocations?namespace=*", params={"filter": 'ClientStatus == "complete"'}).json()
    every = ask(friday, "/v1/allocations?namespace=*").json()
    assert [a["ID"] for a in failed] == [a["ID"] for a in every if a["ClientStatus"] == "complete"]
    assert 0 < len(failed) < len(every)
    assert {a["ID"][:2] for a in ask(friday, f"/v1/allocations?namespace=*&prefix={every[0]['ID'][:2]}").json()} == {
        every[0]["ID"][:2]
    }
    broken = ask(friday, "/v1/allocations", params={"filter": "=="})
    assert broken.status_code == 400
    assert "failed to read filter expression" in broken.text


def test_an_id_may_hold_a_slash(friday: ServedCluster) -> None:
    child = next(j["ID"] for j in ask(friday, "/v1/jobs?namespace=*").json() if "/" in j["ID"])
    for path in (child, child.replace("/", "%2F")):
        assert ask(friday, f"/v1/job/{path}?namespace=batch").json()["ID"] == child
        assert ask(friday, f"/v1/job/{path}/summary?namespace=batch").json()["JobID"] == child


def test_a_volume_is_as_well_as_its_plugin(serve: Callable[..., ServedCluster]) -> None:
    """Nomad looks when it is asked: what the state has of it is old. Its secrets are shown to nobody."""
    cluster = serve(path_of("every-table/every-table"))
    plugins = {plugin["ID"]: plugin for plugin in ask(cluster, "/v1/plugins?type=csi").json()}
    volumes = ask(cluster, "/v1/volumes?type=csi&namespace=*").json()
    assert volumes
    for stub in volumes:
        volume = ask(cluster, f"/v1/volume/csi/{stub['ID']}?namespace={stub['Namespace']}").json()
        of = plugins[stub["PluginID"]]
        for one in (stub, volume):
            assert one["NodesHealthy"] == of["NodesHealthy"] > 0
            assert one["Schedulable"] is True
        assert (volume["Secrets"], volume["Allocations"]) == (None, [])
    assert ask(cluster, f"/v1/volumes?type=csi&namespace=*&node_id={UNKNOWN}").json() == []


# -- what it refuses


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "/v1/jobs", 405),
        ("HEAD", "/v1/jobs", 405),
        ("PATCH", "/v1/nodes", 405),
        ("PUT", "/v1/namespaces", 405),
        ("GET", "/v1/job/web/evaluate", 405),
        ("DELETE", "/v1/job/web/dispatch", 405),
        ("POST", "/v1/job/web/dispatch", 500),
        ("PUT", "/v1/jobs", 400),
        ("GET", "/v1/client/fs/ls/x", 500),
        ("GET", "/v1/client/stats", 400),
        ("GET", "/v1/event/stream", 501),
        ("PUT", "/v1/acl/bootstrap", 400),
        ("PUT", "/v1/job/web/periodic/force", 501),
        ("GET", "/v1/quotas", 501),
        ("GET", "/v1/namespace/", 400),
        ("GET", "/v1/job/nosuch", 404),
        ("GET", "/v1/node/nosuch", 500),
        ("GET", "/v1/allocation/nosuch", 500),
        ("GET", "/v1/evaluation/nosuch", 500),
        ("GET", "/v1/deployment/nosuch", 500),
        ("GET", "/v1/node/11111111-2222-3333-4444-555555555555", 404),
        ("GET", "/v1/namespace/nosuch", 404),
        ("GET", "/v1/acl/policy/nosuch", 404),
        ("GET", "/v1/acl/token/nosuch", 500),
        ("GET", "/v1/acl/role/nosuch", 404),
        ("GET", "/v1/jobs?per_page=x", 400),
        ("GET", "/v1/jobs?index=x", 400),
        ("GET", "/v1/jobs?wait=x", 400),
        ("GET", "/v1/jobs?stale=x", 400),
        ("GET", "/v1/jobs?meta=x", 500),
        ("GET", "/v1/job/web/submission?version=x", 400),
    ],
)
def test_the_rest_is_refused_with_a_sentence(method: str, path: str, status: int, friday: ServedCluster) -> None:
    answer = requests.request(
        method, friday.address + path, headers={"X-Nomad-Token": friday.token}, json={}, timeout=10
    )
    assert answer.status_code == status
    assert answer.text or method == "HEAD"
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/ui/", "/v1/nosuch", "/", "/v1", "/v1/jobs/"])
def test_a_path_that_nomad_has_not_is_not_found(path: str, friday: ServedCluster) -> None:
    answer = ask(friday, path)
    assert (answer.status_code, answer.text) == (404, "")


@pytest.mark.parametrize("name", ["evaluate", "dispatch", "versions", "versions/x/tag", "tag"])
def test_what_is_below_a_job_is_never_taken_for_a_job(name: str, friday: ServedCluster) -> None:
    """Or a command would say that it was done."""
    headers = {"X-Nomad-Token": friday.token}
    for method in ("DELETE", "PUT"):
        url = f"{friday.address}/v1/job/web/{name}?namespace=shop"
        answer = requests.request(method, url, headers=headers, timeout=10)
        done = (method, name) == ("PUT", "evaluate")
        assert answer.ok == done, (method, answer.text)


def test_slashes_too_many_lead_elsewhere(friday: ServedCluster) -> None:
    for path, target in [
        ("//v1/jobs?namespace=*", "/v1/jobs?namespace=*"),
        ("/v1//jobs", "/v1/jobs"),
        ("/v1/job", "/v1/job/"),
    ]:
        answer = requests.get(friday.address + path, allow_redirects=False, timeout=10)
        assert (answer.status_code, answer.headers["Location"]) == (307, target)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "Request body is empty"),
        (b"garbage", "invalid character 'g' looking for beginning of value"),
        (b"{", "unexpected EOF"),
        (b"[]", "json: cannot unmarshal array into Go value"),
        (b"1", "json: cannot unmarshal number into Go value"),
        (b"null", "Job must be specified"),
        (b"[" * 100_000, "the body is no JSON, or is nested too deep"),
        (
            b'{"Job":{"ID":""}}',
            "3 errors occurred:\n\t* Missing job ID\n\t* Missing job name\n\t* Missing job task groups\n\n",
        ),
        (b'{"Job":{"ID":"x y"}}', "2 errors occurred:\n\t* Job ID contains a space\n\t* Missing job task groups\n\n"),
    ],
)
def test_a_body_that_is_no_job_is_refused_in_gos_words(body: bytes, words: str, friday: ServedCluster) -> None:
    headers = {"X-Nomad-Token": friday.token}
    answer = requests.put(f"{friday.address}/v1/jobs", data=body, headers=headers, timeout=10)
    assert not answer.ok
    assert answer.text == words


def test_names_of_headers_are_written_as_a_server_writes_them(friday: ServedCluster) -> None:
    """Scripts look for them by grep."""
    host, _, port = friday.address.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/v1/jobs?namespace=*&per_page=1", headers={"X-Nomad-Token": friday.token})
    names = [name for name, _ in connection.getresponse().getheaders()]
    connection.close()
    wanted = {
        "Content-Type",
        "Vary",
        "X-Nomad-Index",
        "X-Nomad-Knownleader",
        "X-Nomad-Lastcontact",
        "X-Nomad-Nexttoken",
    }
    assert wanted <= set(names)


def test_json_may_be_compressed_and_pretty(friday: ServedCluster) -> None:
    plain = ask(friday, "/v1/jobs")
    headers = {"X-Nomad-Token": friday.token, "Accept-Encoding": "identity"}
    bare = requests.get(f"{friday.address}/v1/jobs", headers=headers, timeout=10)
    assert plain.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in bare.headers
    assert plain.json() == bare.json()
    assert ask(friday, "/v1/jobs?pretty").text.startswith("[\n    {")
    assert ask(friday, "/v1/jobs?pretty").text.endswith("]\n")
    assert ask(friday, "/v1/jobs?pretty=0").text.startswith("[{")


# -- waiting for what is newer


def test_a_query_with_an_index_waits_for_a_change(serve: Callable[..., ServedCluster]) -> None:
    cluster = serve(FRIDAY)
    index = ask(cluster, "/v1/namespaces").headers["X-Nomad-Index"]
    found: list[requests.Response] = []
    waiting = threading.Thread(
        target=lambda: found.append(ask(cluster, "/v1/namespaces", params={"index": index, "wait": "9s"}))
    )
    waiting.start()
    time.sleep(0.2)
    assert not found, "nothing has changed yet"
    headers = {"X-Nomad-Token": cluster.token}
    assert requests.put(f"{cluster.address}/v1/namespace/new", json={"Name": "new"}, headers=headers, timeout=10).ok
    waiting.join(5)
    assert "new" in {n["Name"] for n in found[0].json()}
    assert int(found[0].headers["X-Nomad-Index"]) > int(index)


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/jobs", 200), ("/v1/job/nosuch", 404), ("/v1/nodes?filter=Name == x", 200)]
)
def test_without_a_change_it_waits_its_time(path: str, status: int, friday: ServedCluster) -> None:
    began = time.monotonic()
    answer = ask(friday, path, params={"index": "99999", "wait": "200ms"})
    assert answer.status_code == status
    assert 0.2 <= time.monotonic() - began < 5


@pytest.mark.parametrize(
    "path", ["/v1/jobs?index=1", "/v1/jobs?index=0", "/v1/regions?index=99999", "/v1/jobs?wait=5s"]
)
def test_what_need_not_wait_does_not(path: str, friday: ServedCluster) -> None:
    began = time.monotonic()
    assert ask(friday, path).ok
    assert time.monotonic() - began < 4


def test_who_waits_does_not_hold_up_the_end() -> None:
    with snapkit.serve(FRIDAY) as cluster:
        waiting = threading.Thread(target=lambda: _any_end(cluster), daemon=True)
        waiting.start()
        time.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    waiting.join(5)
    assert not waiting.is_alive()


def _any_end(cluster: ServedCluster) -> None:
    with suppress(requests.RequestException):
        ask(cluster, "/v1/jobs?index=99999&wait=60s")


# -- a life of its own


def test_restored_nodes_that_do_not_exist_go_down_after_a_while(serve: Callable[..., ServedCluster]) -> None:
    now = 0.0
    cluster = serve(path_of("v1.8.4/monday"), heartbeat=30, clock=lambda: now)
    client = snapkit.Client(cluster.address, token=cluster.token)
    client.restore(FRIDAY)
    index = client.get("/v1/nodes").index
    before = {node["ID"]: node["Status"] for node in client.nodes()}
    assert "ready" in before.values()
    now = 29.0
    assert {node["ID"]: node["Status"] for node in client.nodes()} == before
    now = 31.0
    after = client.get("/v1/nodes")
    assert {node["Status"] for node in after.value} == {"down"}
    assert index is not None
    assert after.index is not None
    assert after.index > index
    running = client.get("/v1/allocations", namespace="*", filter='ClientStatus == "running"').value
    assert running == []
    with client.snapshot() as live, snapkit.open(FRIDAY) as snap:
        assert live.meta.index is not None
        assert live.meta.index > (snap.meta.index or 0), "and a save tells of it"
        assert (live.nodes["Status"] == "down").all()
        assert live.jobs.index.tolist() == snap.jobs.index.tolist()


def test_nodes_that_were_there_before_live_on(serve: Callable[..., ServedCluster]) -> None:
    now = 0.0
    cluster = serve(path_of("v2.0.5/monday"), heartbeat=30, clock=lambda: now)
    client = snapkit.Client(cluster.address, token=cluster.token)
    client.restore(FRIDAY)
    before = {node["ID"]: node["Status"] for node in client.nodes()}
    now = 1_000.0
    assert {node["ID"]: node["Status"] for node in client.nodes()} == before


def test_without_a_heartbeat_nothing_changes_by_itself(serve: Callable[..., ServedCluster]) -> None:
    cluster = serve(path_of("v1.8.4/monday"), clock=lambda: 1e9)
    client = snapkit.Client(cluster.address, token=cluster.token)
    client.restore(FRIDAY)
    assert "ready" in {node["Status"] for node in client.nodes()}


# -- another client


def test_python_nomad_looks_around(friday: ServedCluster) -> None:
    host, _, port = friday.address.removeprefix("http://").partition(":")
    other = nomad.Nomad(host=host, port=int(port), token=ROOT, namespace="shop", timeout=10)
    assert [job["ID"] for job in other.jobs.get_jobs()] == ["web"]
    assert other.job.get_job("web")["Version"] == 3
    assert {v["Version"] for v in other.job.get_versions("web")["Versions"]} == {0, 1, 2, 3}
    assert len(other.nodes.get_nodes()) == 3
    assert other.allocations.get_allocations()
    assert other.deployments.get_deployments()
    assert [n["Name"] for n in other.namespaces.get_namespaces()] == ["batch", "default", "payments", "shop"]
    assert other.acl.get_tokens()
    assert other.variables.get_variables() == [], "it asks in namespace default, which has none"
    assert other.status.leader.get_leader()
    assert other.agent.get_members()["Members"]
    with pytest.raises(nomad.api.exceptions.URLNotFoundNomadException):
        other.job.get_job("nosuch")


def test_a_state_with_secrets_in_a_policy_stays_itself(serve: Callable[..., ServedCluster]) -> None:
    def rename(policy: dict[bytes, Any]) -> bool:
        policy[b"Rules"] = b'namespace "default" { policy = "bogus" }'
        return True

    cluster = serve(with_changes({"acl_policies": rename}))
    answer = ask(cluster, "/v1/acl/policy/ops-read")
    assert answer.ok
    assert answer.json()["Rules"].endswith('"bogus" }'), "shown, though it grants nothing"
    assert ask(cluster, "/v1/nodes", TOKENS["new"]["SecretID"]).status_code == 403
