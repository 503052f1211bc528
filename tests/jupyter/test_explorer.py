"""The browser of a snapshot: tables, rows, one record, its links, the way back; whatever an archive holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

import snapkit
from snapkit.format.schema import ANY, BY_TABLE, Type, fields
from tests import forge

from ..conftest import path_of

pytest.importorskip("anywidget")

from snapkit.jupyter import links
from snapkit.jupyter.explorer import FIRST, SnapshotBrowser
from snapkit.jupyter.links import Link, link, related
from snapkit.jupyter.tree import ALL, LONGEST, MOST, Branches, Node

Open = Callable[..., snapkit.Snapshot]
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def friday(opened: Callable[[str], snapkit.Snapshot]) -> SnapshotBrowser:
    return SnapshotBrowser(opened("v2.0.5/friday"))


def choose(browser: SnapshotBrowser, **values: str) -> None:
    """Open the only record in view that has these values, as a click on its row does."""
    browser.grid.filter = " ".join(f"{name}={value}" for name, value in values.items())
    assert browser.grid.on_select is not None
    browser.grid.on_select(int(browser.grid.positions[0]))


def shown(browser: SnapshotBrowser) -> dict[str, Any]:
    return browser.tree._shown


def nodes(found: list[Node]) -> Iterator[Node]:
    for node in found:
        yield node
        yield from nodes(node.get("nodes", []))


def node(browser: SnapshotBrowser, name: str) -> Node:
    """The first node of the record that is open with this name."""
    return next(each for each in nodes(shown(browser)["nodes"]) if each["name"] == name)


def follow(browser: SnapshotBrowser, name: str) -> None:
    browser.tree._hear(None, {"ask": "link", "link": node(browser, name)["link"]}, None)


def press_related(browser: SnapshotBrowser, name: str) -> None:
    place = next(i for i, each in enumerate(shown(browser)["related"]) if each.startswith(name))
    browser.tree._hear(None, {"ask": "related", "place": place}, None)


# -- ways through it


def test_it_begins_with_the_jobs(friday: SnapshotBrowser) -> None:
    assert friday.place.table == "jobs"
    assert len(friday.grid.frame) == 10
    assert list(friday.tables.frame.columns) == ["Count", "Bytes"]
    assert friday.tables.selected == list(friday.tables.frame.index).index("jobs")
    assert "<b>jobs</b> 10 records" in friday.title.value
    assert friday.back_button.disabled
    assert friday.forward_button.disabled
    assert shown(friday)["table"] == ""


def test_an_allocation_leads_to_its_job_node_evaluation_and_deployment(friday: SnapshotBrowser) -> None:
    friday.tables.on_select(list(friday.tables.frame.index).index("allocs"))  # type: ignore[misc]
    choose(friday, JobID="web", ClientStatus="running")
    alloc = shown(friday)
    assert alloc["table"] == "allocs"
    for name, table in {"JobID": "jobs", "NodeID": "nodes", "EvalID": "evals", "DeploymentID": "deployments"}.items():
        follow(friday, name)
        assert friday.message.value == ""
        assert shown(friday)["table"] == table
        assert friday.place.table == "allocs", "the rows stay"
        friday.back()
        assert shown(friday) == alloc
    follow(friday, "NodeID")
    press_related(friday, "allocs")
    assert friday.place.filter.startswith("NodeID=")
    assert set(friday.grid.frame["NodeID"].iloc[friday.grid.positions]) == {friday.place.record.key[0]}  # type: ignore[union-attr]


def test_what_belongs_to_a_job(friday: SnapshotBrowser) -> None:
    friday.open("jobs", "shop", "web")
    told = shown(friday)["related"]
    assert [each.split()[0] for each in told] == [
        *("evals", "allocs", "job_summaries", "job_versions", "deployments", "scaling_events", "services"),
        "job_submissions",
    ]
    for each in told:
        name, count = each.rstrip(")").split(" (")
        press_related(friday, name)
        frame = friday._snapshot.table(name).reset_index()
        owner = frame["ID" if name == "job_versions" else "JobID"]
        assert (
            len(friday.grid.positions) == int(count) == int(((frame["Namespace"] == "shop") & (owner == "web")).sum())
        )
        assert shown(friday)["title"] == "shop/web", "the job stays open"


def test_tokens_lead_to_policies_and_roles_and_back(friday: SnapshotBrowser) -> None:
    friday.show("acl_tokens")
    tokens = friday.grid.frame
    with_policy = next(i for i, policies in enumerate(tokens["Policies"]) if policies)
    friday._open(with_policy)
    assert node(friday, "SecretID")["text"].startswith("masked:")
    policy = node(friday, "Policies")["nodes"][0]
    friday.tree._hear(None, {"ask": "link", "link": policy["link"]}, None)
    assert (shown(friday)["table"], shown(friday)["title"]) == ("acl_policies", policy["text"])
    press_related(friday, "acl_tokens")
    assert with_policy in friday.grid.positions
    with_role = next(i for i, roles in enumerate(tokens["Roles"]) if roles)
    friday.show("acl_tokens")
    friday._open(with_role)
    role = node(friday, "Roles")["nodes"][0]["nodes"]
    friday.tree._hear(None, {"ask": "link", "link": next(n["link"] for n in role if n["name"] == "ID")}, None)
    assert shown(friday)["table"] == "acl_roles"
    press_related(friday, "acl_tokens")
    assert list(friday.grid.positions) == [with_role]


def test_back_and_forward(friday: SnapshotBrowser) -> None:
    friday.show("nodes")
    friday.grid.filter = "client1"
    friday._open(int(friday.grid.positions[0]))
    friday.tree._hear(None, {"ask": "close"}, None)
    assert shown(friday)["table"] == ""
    friday.search("storefront")
    friday.back()
    friday.back()
    assert (friday.place.table, friday.place.filter, shown(friday)["table"]) == ("nodes", "client1", "nodes")
    friday.back()
    friday.back()
    assert friday.place.table == "jobs"
    friday.back()
    assert friday.place.table == "jobs"
    for _ in range(9):
        friday.forward()
    assert friday.place.wanted == "storefront"
    friday.back()
    friday.show("evals")
    assert friday.forward_button.disabled, "what was ahead is gone"


def test_a_search_of_all_tables_opens_what_it_finds(friday: SnapshotBrowser) -> None:
    friday.search_field.value = "STOREFRONT"
    frame = friday.grid.frame
    assert len(frame) > 1
    assert set(frame.columns) == {"Table", "Key", "Path", "Context"}
    assert friday.everything.disabled
    friday._open(0)
    assert shown(friday)["title"] == "/".join(frame["Key"].iloc[0])
    friday.show("nodes")
    assert friday.search_field.value == ""
    friday.search_field.value = "STOREFRONT"
    friday.search("   ")
    assert friday.place.wanted == "STOREFRONT"
    friday.search("nothing has this in it")
    assert len(friday.grid.frame) == 0


def test_all_columns_are_to_be_had(friday: SnapshotBrowser) -> None:
    friday.show("nodes")
    few = list(friday.grid.frame.columns)
    friday.everything.value = True
    every = list(friday.grid.frame.columns)
    assert every == list(friday._snapshot.nodes.columns)
    assert set(few) < set(every)
    friday.back()
    assert friday.everything.value is False
    assert list(friday.grid.frame.columns) == few


def test_only_what_is_shown_is_decoded(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = open_(path_of("v2.0.5/friday"))
    asked: list[tuple[str, Any]] = []
    table = type(snapshot).table

    def ask(self: snapkit.Snapshot, name: str, columns: Any = None, **rest: Any) -> pd.DataFrame:
        asked.append((name, columns))
        return table(self, name, columns, **rest)

    monkeypatch.setattr(type(snapshot), "table", ask)
    browser = SnapshotBrowser(snapshot)
    browser.show("allocs")
    assert asked == [("jobs", FIRST["jobs"]), ("allocs", FIRST["allocs"])]


@pytest.mark.parametrize("archive", ["every-table/every-table", "v0.12.12/monday", "v1.4.14/monday", "v1.8.4/tuesday"])
def test_every_record_of_every_table_opens(archive: str, opened: Callable[[str], snapkit.Snapshot]) -> None:
    browser = SnapshotBrowser(opened(archive))
    for table in browser.tables.frame.index:
        browser.show(table)
        assert browser.message.value == ""
        for position in range(min(len(browser.grid.frame), 3)):
            browser._open(position)
            assert browser.message.value == ""
            assert shown(browser)["table"] == table
            assert shown(browser)["nodes"]
        assert browser.to_html()


# -- secrets


def test_secrets_are_shown_to_those_who_ask(open_: Open) -> None:
    snapshot = open_(path_of("v2.0.5/friday"), key="test")
    secret = str(snapshot.table("acl_tokens", reveal=True)["SecretID"].iloc[0])
    for reveal in (False, True):
        browser = SnapshotBrowser(snapshot, reveal=reveal)
        browser.show("acl_tokens")
        browser.everything.value = True
        browser._open(0)
        seen = repr(browser.grid.rows(0, 100)) + repr(shown(browser)) + browser.to_html()
        assert (secret in seen) is reveal
        assert ("secrets are shown" in browser.to_html()) is reveal
        browser.search(secret)
        assert len(browser.grid.frame) == 1
        assert (secret in repr(browser.grid.rows(0, 9))) is reveal


def test_what_is_static_is_the_same_each_time_and_short(open_: Open) -> None:
    pages = set()
    for _ in range(2):
        browser = SnapshotBrowser(open_(path_of("v2.0.5/friday"), key="test"))
        browser.show("allocs")
        pages.add(browser.to_html())
    (page,) = pages
    assert "allocs" in page
    assert "147,867" in page
    assert "and 8 more" in page
    assert len(page) < 40_000


def test_nothing_of_the_archive_is_in_the_state_that_a_notebook_keeps(friday: SnapshotBrowser) -> None:
    friday.show("allocs")
    friday._open(0)
    for widget in (friday.grid.widget, friday.tables.widget, friday.tree.widget):
        state = repr(widget.get_state())
        assert "encode" not in state
        assert len(state) < 60_000


# -- whatever an archive holds


def browse(open_: Open, *records: bytes) -> SnapshotBrowser:
    return SnapshotBrowser(open_(forge.archive(forge.state(*records))))


def test_names_that_are_html_stay_text(open_: Open) -> None:
    browser = browse(open_, forge.record(0, {"ID": HOSTILE, "Name": HOSTILE, "Attributes": {HOSTILE: HOSTILE}}))
    browser._open(0)
    browser.search(HOSTILE)
    browser.open("nodes", HOSTILE + "?")
    assert "alert" in browser.to_html()
    assert "alert" in browser.title.value
    assert "alert" in browser.message.value
    for html in (browser.to_html(), browser.title.value, browser.message.value):
        assert "<script" not in html
        assert "<img" not in html


def test_odd_values_are_told_as_they_are(open_: Open) -> None:
    giant = "x" * 50_000
    value = {
        "ID": b"\xff\xfe",
        "Name": giant,
        "Meta": {"many": "line\n" * 50_000, "bidi": "a\u202eb"},
        "Events": [{"Message": str(i), "Timestamp": forge.GO_TIME} for i in range(MOST + 5)],
        "StatusUpdatedAt": 1_795_471_701,
        "NodeResources": {"Memory": {"MemoryMB": 512}},
    }
    browser = browse(open_, forge.record(0, value))
    browser._open(0)
    assert browser.message.value == ""
    assert shown(browser)["title"] == "\N{REPLACEMENT CHARACTER}" * 2
    assert node(browser, "Name")["text"] == "x" * LONGEST + "… (50,000 characters)"
    assert node(browser, "many")["text"] == "50,001 lines"
    assert len(node(browser, "many")["block"]) < 2 * LONGEST
    assert node(browser, "bidi")["text"] == "a\N{REPLACEMENT CHARACTER}b"
    assert len(node(browser, "Events")["nodes"]) == MOST + 1
    assert node(browser, "Events")["nodes"][-1]["text"] == f"{MOST} of {MOST + 5} are shown: get() has all"
    assert node(browser, "Timestamp")["text"] == "2026-11-23T22:08:21Z"
    assert node(browser, "StatusUpdatedAt")["hint"] == "2026-11-23T22:08:21Z"
    assert node(browser, "StatusUpdatedAt")["moment"] == 1_795_471_701_000
    browser.open("nodes", "\N{REPLACEMENT CHARACTER}" * 2)
    assert browser.message.value == ""


def test_unknown_types_and_tables_without_a_key(open_: Open) -> None:
    strange = [forge.record(200, {"What": what, "Deep": [[[what]]]}) for what in ("first", "second")]
    times = forge.record(5, [{"Index": i, "Time": forge.GO_TIME} for i in (1, 2, 3)])
    browser = browse(open_, times, *strange, forge.record(201, [1, 2]), forge.record(202, {}))
    browser.show("unknown_200")
    browser._open(1)
    assert (shown(browser)["title"], node(browser, "What")["text"]) == ("row 2", "second")
    browser.show("time_table")
    browser._open(2)
    assert node(browser, "Index")["text"] == "3"
    browser.search("second")
    browser._open(0)
    assert "has no key" in browser.message.value
    for table in ("unknown_201", "unknown_202"):
        browser.show(table)
        assert browser.title.value
        assert browser.to_html()


def test_a_value_of_the_wrong_type_takes_its_column_alone(open_: Open) -> None:
    browser = browse(open_, forge.record(0, {"ID": "n1", "Name": "one", "Status": "ready", "StatusUpdatedAt": "soon"}))
    assert "StatusUpdatedAt" in browser.message.value
    assert browser.grid.frame["Name"].tolist() == ["one"]
    browser._open(0)
    assert node(browser, "StatusUpdatedAt")["text"] == "soon"


def test_a_key_that_stands_twice(open_: Open) -> None:
    twice = [forge.record(0, {"ID": "n1", "Name": name}) for name in ("old", "new")]
    browser = browse(open_, *twice)
    for position, name in enumerate(("old", "new")):
        browser._open(position)
        assert node(browser, "Name")["text"] == name
    browser.open("nodes", "n1")
    assert node(browser, "Name")["text"] == "new"


def test_a_link_that_leads_nowhere_says_so(open_: Open) -> None:
    node_record = forge.record(0, {"ID": "n1"})
    browser = browse(open_, node_record, forge.record(4, {"ID": "a1", "NodeID": "gone", "JobID": "web"}))
    browser._open(0)
    assert "link" not in node(browser, "JobID"), "there are no jobs at all"
    before = shown(browser)
    follow(browser, "NodeID")
    assert "nodes gone: is not in this snapshot" in browser.message.value
    assert shown(browser) == before


def test_an_archive_with_nothing_in_it(open_: Open) -> None:
    browser = browse(open_)
    assert browser.to_html()
    browser.show("jobs")
    assert "no records" in browser.title.value
    browser.show("no_such_table")
    assert "has no table" in browser.message.value
    browser.search("x")
    assert len(browser.grid.frame) == 0


def test_a_closed_snapshot_says_so(open_: Open) -> None:
    snapshot = open_(path_of("v2.0.5/friday"))
    browser = SnapshotBrowser(snapshot)
    snapshot.close()
    browser.show("allocs")
    assert "closed" in browser.message.value


def test_a_record_is_bounded_however_it_grows() -> None:
    def none(*_: Any) -> None:
        return None

    wide = {str(i): {str(j): j for j in range(MOST)} for i in range(MOST)}
    assert len(list(nodes(Branches(none, False).of(wide, ANY)))) < ALL + 2 * MOST
    deep: Any = "end"
    for _ in range(150):
        deep = {"next": deep}
    found = list(nodes(Branches(none, False).of(deep, ANY)))
    assert len(found) < 110
    assert "nested more than" in found[-1]["text"]
    assert Branches(none, False).of("bare", ANY) == [{"name": "", "text": "bare"}]


def test_of_very_long_names_and_values_there_is_the_beginning(open_: Open) -> None:
    long = "x" * 100_000
    job = {
        "Namespace": "default",
        "ID": long,
        "Meta": {long: long},
        "Datacenters": [long],
        "TaskGroups": [{"Name": long}],
    }
    data = forge.archive(forge.state(forge.record(1, job)))
    browser = SnapshotBrowser(open_(data, limits=snapkit.Limits(ratio=1e6)))
    choose(browser, ID=long)
    assert len(str(browser.tree._shown)) < 20_000


def test_the_stop_button_ends_what_a_button_began(friday: SnapshotBrowser, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    here = friday.place
    with monkeypatch.context() as patch:
        patch.setattr(friday._snapshot, "table", stop, raising=False)
        friday.show("nodes")
    assert "Interrupted" in friday.message.value
    assert "Reading" not in friday.title.value
    assert friday.place == here
    friday.show("nodes")
    assert friday.place.table == "nodes"


def test_times_and_durations_of_any_size() -> None:
    kind = Type("struct", struct="Evaluation")
    values = {
        "CreateTime": 2**63 - 1,
        "ModifyTime": 2**64 - 1,
        "Wait": 3_600_000_000_000,
        "WaitUntil": "0001-01-01T00:00:00Z",
    }
    found = {each["name"]: each for each in Branches(lambda *_: None, False).of(values, kind)}
    assert found["CreateTime"]["text"] == "2262-04-11T23:47:16Z"
    assert found["ModifyTime"]["text"] == str(2**64 - 1)
    assert found["Wait"]["text"] == "1h0m0s"
    assert found["WaitUntil"]["text"]


# -- links


def test_links_are_of_fields_that_there_are() -> None:
    for place, table in links._PLACES.items():
        struct, field = place.split(".")
        assert field in fields(struct), place
        assert table in BY_TABLE
    for table, owners in links._BELONGS.items():
        for owner, field in owners.items():
            assert field in fields(BY_TABLE[table].struct), (table, field)
            assert owner in BY_TABLE
    assert set(links._NAMES.values()) <= set(BY_TABLE)
    for table, names in FIRST.items():
        assert set(names) <= set(fields(BY_TABLE[table].struct)), table


def test_links_lead_to_tables_that_there_are() -> None:
    tables = frozenset({"nodes", "jobs", "root_key_meta"})
    assert link("Allocation", "NodeID", "n1", "shop", tables) == Link("nodes", ("n1",))
    assert link("Allocation", "JobID", "web", "shop", tables) == Link("jobs", ("shop", "web"))
    assert link("Allocation", "EvalID", "e1", "shop", tables) is None
    assert link("Allocation", "NodeID", "", "shop", tables) is None
    assert link("Allocation", "NodeID", 7, "shop", tables) is None
    assert link("VariableEncrypted", "KeyID", "k1", "shop", tables) == Link("root_key_meta", ("k1",))
    assert list(related("unknown_200", (), tables)) == []
    assert [found.table for found in related("job_versions", ("shop", "web", "3"), tables | {"allocs"})] == [
        "jobs",
        "allocs",
    ]


def test_links_of_a_real_archive_lead_somewhere(opened: Callable[[str], snapkit.Snapshot]) -> None:
    snapshot = opened("v2.0.5/friday")
    browser = SnapshotBrowser(snapshot)
    reached: set[str] = set()
    for table in ("allocs", "evals", "acl_tokens", "acl_roles", "acl_binding_rules", "services", "variables"):
        browser.show(table)
        for position in range(len(browser.grid.frame)):
            browser._open(position)
            reached |= {found.table for found in browser.tree._links if browser._position(found) is not None}
    assert reached >= {
        *("jobs", "nodes", "evals", "allocs", "deployments", "namespaces", "node_pools", "root_keys"),
        *("acl_policies", "acl_roles", "acl_auth_methods"),
    }
