"""Our answers over each archive against the live cluster's a moment before the save (`api.json`), list by list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
import requests

import snapkit
from snapkit.cluster.server import ServedCluster

from ..conftest import oracle, path_of, with_oracle

#: Endpoint of `api.json` -> the request, as it was made (older releases know no `meta` or `resources`), and
#: the fields that tell its items apart.
LISTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "allocations": ("/v1/allocations?namespace=*&resources=true", ("ID",)),
    "auth_methods": ("/v1/acl/auth-methods", ("Name",)),
    "binding_rules": ("/v1/acl/binding-rules", ("ID",)),
    "deployments": ("/v1/deployments?namespace=*", ("ID",)),
    "evaluations": ("/v1/evaluations?namespace=*", ("ID",)),
    "jobs": ("/v1/jobs?namespace=*&meta=true", ("Namespace", "ID")),
    "keys": ("/v1/operator/keyring/keys", ("KeyID",)),
    "namespaces": ("/v1/namespaces", ("Name",)),
    "node_pools": ("/v1/node/pools", ("Name",)),
    "nodes": ("/v1/nodes?resources=true", ("ID",)),
    "policies": ("/v1/acl/policies", ("Name",)),
    "roles": ("/v1/acl/roles", ("ID",)),
    "scaling_policies": ("/v1/scaling/policies?namespace=*", ("ID",)),
    "services": ("/v1/services?namespace=*", ("Namespace",)),
    "tokens": ("/v1/acl/tokens", ("AccessorID",)),
    "variables": ("/v1/vars?namespace=*", ("Namespace", "Path")),
    "volumes_host": ("/v1/volumes?type=host&namespace=*", ("ID",)),
}
#: (endpoint, field) -> why it may differ. The order of items is compared where the release lists as 2.0.5 does.
EXCEPTIONS = {
    ("allocations", "DesiredTransition"): "a stub of 2.0.5 has all transitions, an older release's those that it knew",
    ("services", "Services"): "Go walks its maps in a random order: compared as a set",
}
#: Lists in the order of ids alone; and one that Go's random order of maps makes.
OTHER_ORDER = {"v0.12.12": ("allocations", "evaluations", "tokens")}
NO_ORDER = ("services",)


@pytest.fixture(scope="module")
def served() -> Iterator[Callable[[str], ServedCluster]]:
    with ExitStack() as stack:
        yield cache(lambda archive: stack.enter_context(snapkit.serve(path_of(archive))))


def agree(ours: Any, theirs: Any) -> bool:
    """Equal, but for what Nomad's JSON leaves out where it is empty (`Hostname` of a network, in 1.4's)."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() >= theirs.keys() and all(
            agree(value, theirs[name]) if name in theirs else value in ("", None) for name, value in ours.items()
        )
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(agree, ours, theirs))
    return bool(ours == theirs)


def ask(cluster: ServedCluster, path: str) -> Any:
    answer = requests.get(cluster.address + path, headers={"X-Nomad-Token": cluster.token}, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("archive", with_oracle("api"))
@pytest.mark.parametrize("endpoint", LISTS)
def test_lists_are_the_live_clusters(archive: str, endpoint: str, served: Callable[[str], ServedCluster]) -> None:
    theirs = oracle(archive, "api").get(endpoint)
    if not isinstance(theirs, list):
        pytest.skip("this release has no such endpoint")
    path, key = LISTS[endpoint]
    ours = ask(served(archive), path)

    def keys(items: list[dict[str, Any]]) -> list[tuple[str, ...]]:
        return [tuple(item.get(field, "default") for field in key) for item in items]  # 0.12 has one namespace

    if endpoint in NO_ORDER or endpoint in OTHER_ORDER.get(archive.partition("/")[0], ()):
        assert sorted(keys(ours)) == sorted(keys(theirs))
    else:
        assert keys(ours) == keys(theirs)
    by_key = dict(zip(keys(ours), ours, strict=True))
    wrong = []
    for item in theirs:
        same = by_key[keys([item])[0]]
        for field in item.keys() & same.keys():
            if (endpoint, field) not in EXCEPTIONS and not agree(same[field], item[field]):
                wrong.append((item[key[-1]], field, same[field], item[field]))
    assert wrong == []


@pytest.mark.parametrize("archive", with_oracle("api"))
def test_what_is_compared_otherwise_agrees_too(archive: str, served: Callable[[str], ServedCluster]) -> None:
    answers = oracle(archive, "api")
    stubs = {alloc["ID"]: alloc for alloc in ask(served(archive), LISTS["allocations"][0])}
    for alloc in answers["allocations"]:
        transition = alloc["DesiredTransition"]
        assert {name: stubs[alloc["ID"]]["DesiredTransition"][name] for name in transition} == transition
    if isinstance(answers["services"], list):

        def as_sets(namespaces: list[dict[str, Any]]) -> dict[str, dict[str, set[str]]]:
            return {n["Namespace"]: {s["ServiceName"]: set(s["Tags"]) for s in n["Services"]} for n in namespaces}

        assert as_sets(ask(served(archive), LISTS["services"][0])) == as_sets(answers["services"])
    scheduler = ask(served(archive), "/v1/operator/scheduler/configuration")
    shared = answers["scheduler"]["SchedulerConfig"].keys() & scheduler["SchedulerConfig"].keys()
    assert {f: scheduler["SchedulerConfig"][f] for f in shared} == {
        f: answers["scheduler"]["SchedulerConfig"][f] for f in shared
    }
