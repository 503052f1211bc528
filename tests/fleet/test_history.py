"""What became of an object: over the real week, and exactly what was edited in series made at random."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import NotInSnapshotError, SnapshotError
from snapkit.fleet import pieces
from snapkit.fleet.anomalies import ACL_TABLES, _jumps
from snapkit.fleet.catalog import Catalog
from snapkit.fleet.conditions import ConditionError, condition, select
from snapkit.fleet.questions import LeftOutWarning
from snapkit.format.schema import BY_TABLE
from tests import forge
from tests.conftest import path_of

from .conftest import SECRET, Storage
from .series import HERE, START, THERE, written

KEY = "a key for tests"
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")
WEEK = [str(path_of(f"v2.0.5/{day}")) for day in DAYS]
CREATED = {day: snapkit.open(path).meta.created for day, path in zip(DAYS, WEEK, strict=True)}


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    catalog = Catalog(WEEK, store=tmp_path_factory.mktemp("store"), key=KEY, level="counts")
    catalog.extract(["jobs", "nodes", "allocs", "variables", "scheduler_config", *ACL_TABLES])
    return catalog


def hour_of(moment: Any) -> int:
    return int((moment - START) // timedelta(hours=1))


def told(history: Any) -> list[tuple[str, pd.Timestamp, pd.Timestamp]]:
    states = history.states
    return list(zip(states["Change"], states["From"], states["To"], strict=True))


# -- the real week


def test_anonymous_was_open_on_wednesday(week: Catalog) -> None:
    found = week.history("acl_policies", "anonymous")
    assert told(found) == [
        ("there", CREATED["monday"], CREATED["tuesday"]),
        ("changed", CREATED["wednesday"], CREATED["wednesday"]),
        ("changed", CREATED["thursday"], CREATED["friday"]),
    ]
    states = found.states
    assert states["After"].tolist()[1:] == [CREATED["tuesday"], CREATED["wednesday"]]
    assert pd.isna(states["After"][0])
    assert states["Snapshots"].tolist() == [2, 1, 2]
    assert states["FromSnapshot"].tolist() == [WEEK[0], WEEK[2], WEEK[3]]
    changes = found.changes
    rules = changes[changes["Path"] == "Rules"]
    assert rules["State"].tolist() == [1, 2]
    assert '+namespace "*" { policy = "write" }' in rules["Diff"].iloc[0]
    assert found.record(1)["Rules"] == rules["After"].iloc[0]  # type: ignore[index]


def test_a_purged_job_is_gone(week: Catalog) -> None:
    kinds = [kind for kind, _, _ in told(week.history("jobs", "payments", "payments"))]
    assert kinds == ["there", "changed", "gone"]
    miner = told(week.history("jobs", ("default", "metrics-agent")))
    assert miner == [
        ("added", CREATED["wednesday"], CREATED["wednesday"]),
        ("gone", CREATED["thursday"], CREATED["friday"]),
    ]


def test_a_record_without_a_key_has_a_history(week: Catalog) -> None:
    assert told(week.history("scheduler_config")) == [("there", CREATED["monday"], CREATED["friday"])]


@pytest.mark.parametrize("table", ["jobs", "nodes", "variables", "acl_policies", "acl_tokens"])
def test_changes_are_those_of_compare(week: Catalog, table: str) -> None:
    """Day by day, of each object: the same paths, noise aside, and the same values where neither is a time."""
    opened = [snapkit.open(path, key=KEY) for path in WEEK]
    wanted: dict[tuple[Any, ...], list[tuple[str, str]]] = {}
    values: dict[tuple[Any, ...], list[tuple[Any, Any, Any]]] = {}
    for before, after in pairwise(opened):
        changes = snapkit.compare(before, after, tables=[table])
        for item in changes.objects.to_dict("records"):
            wanted.setdefault(item["Key"], []).append((item["Change"], str(after.meta.created)))
        for item in changes.fields.to_dict("records"):
            if "Time" not in item["Path"]:
                values.setdefault(item["Key"], []).append((item["Path"], item["Before"], item["After"]))
    assert wanted
    kinds = {"added": "added", "returned": "added", "gone": "removed", "changed": "changed"}
    for key in week.dataset.keys(table):
        found = week.history(table, *key)
        mine = [(kinds[kind], str(since)) for kind, since, _ in told(found) if kind != "there"]
        assert mine == wanted.get(key, []), key
        changes_ = found.changes
        rows = zip(changes_["Path"], changes_["Before"], changes_["After"], strict=True)
        in_order = sorted((row for row in rows if "Time" not in row[0]), key=str)
        assert in_order == sorted(values.get(key, []), key=str), key


def test_noise_is_shown_if_asked_for(week: Catalog) -> None:
    with snapkit.open(WEEK[0]) as snapshot:
        nodes = [key for (key,) in snapshot.nodes.reset_index()[["ID"]].itertuples(index=False)]
    quiet = sum(len(week.history("nodes", node)) for node in nodes)
    loud = [week.history("nodes", node, noise=True) for node in nodes]
    assert sum(map(len, loud)) > quiet
    assert {"age"} <= set(pd.concat([found.changes for found in loud])["Noise"])


def test_what_never_was_is_an_error_that_suggests(week: Catalog) -> None:
    with pytest.raises(NotInSnapshotError, match=r"no archive has a record 'shop/wob'.*did you mean shop/web"):
        week.history("jobs", "shop", "wob")
    with pytest.raises(NotInSnapshotError, match="takes 2"):
        week.history("jobs", "web")
    with pytest.raises(NotInSnapshotError, match="no table 'job'"):
        week.history("job", "web")
    for number in ("latest", "--5", -1, 2**70, "9" * 5000):
        with pytest.raises(NotInSnapshotError, match="takes a number as Version"):
            week.history("job_versions", "shop", "web", number)
    with pytest.raises(NotInSnapshotError, match="no archive has a record 'shop/w"):
        week.history("jobs", "shop", "w\udcff")
    with pytest.raises(NotInSnapshotError, match="no archive has a record 'ghost'"):
        week.when("acl_policies", "ghost", "Rules ~ 'x'")


def test_it_shows_itself(week: Catalog) -> None:
    found = week.history("jobs", "shop", "web")
    assert repr(found) == "<History of jobs shop/web: 3 states>"
    text = found.to_text()
    assert 'TaskGroups["front"].Count: 3 -> 4' in text
    page = found._repr_html_()
    assert "TaskGroups[&quot;front&quot;].Count: 3 → 4" in page
    assert "shop/web:1.5.0" not in text + page  # what is in Env is masked
    document = json.loads(json.dumps(found.to_json()))
    assert document["schema"] == "snapkit.history/1"
    assert len(document["states"]) == 3
    assert document["changes"][0].keys() >= {"Path", "Before", "After"}


def test_what_an_archive_holds_is_escaped(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\x1b[31m"
    write(tmp_path, [{("node_pools", (hostile,)): {"Name": hostile, "Description": "a"}}] * 1, [0])
    catalog = Catalog(str(tmp_path), level="counts")
    found = catalog.history("node_pools", hostile)
    assert "<script>" not in found._repr_html_()
    assert "\x1b" not in found.to_text()


# -- since when


def test_since_when_anonymous_was_open(week: Catalog) -> None:
    found = week.when("acl_policies", "anonymous", "Rules ~ 'write'")
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["After"], row["Since"], row["Until"], row["Before"]) == tuple(
        CREATED[day] for day in DAYS[1:3] + DAYS[2:4]
    )
    assert row["SinceSnapshot"] == WEEK[2]
    still = week.when("jobs", "shop", "web", 'TaskGroups["front"].Count >= 2').iloc[0]
    assert pd.isna(still["After"])
    assert pd.isna(still["Before"])
    assert still["Snapshots"] == 5
    assert len(week.when("jobs", "shop", "web", "Priority > 100")) == 0
    assert week.when("jobs", "shop", "web", "Priority > 100").dtypes.to_dict() == found.dtypes.to_dict()


RECORD: Mapping[str, Any] = {
    "Name": "it's",
    "Rules": 'namespace "*" {\n  policy = "write"\n}',
    "Count": 3,
    "Share": 0.5,
    "Stop": False,
    "Empty": "",
    "None": None,
    "When": "2026-11-23T22:08:21.5Z",
    "Policies": ["ops", "dev"],
    "Groups": [{"Name": "a b", "Count": 1, "Env": {"X.y": "1"}}, {"Name": "c", "Count": 9}],
}


@pytest.mark.parametrize(
    ("text", "meets"),
    [
        ("Rules ~ 'write'", True),
        ("Rules !~ 'write'", False),
        ("Rules ~ '^namespace .*\\{$'", False),
        ("Rules ~ '(?m)^namespace .*\\{$'", True),
        ("Count == 3", True),
        ("Count == 3.0", True),
        ("Count == '3'", False),
        ("Count != 4", True),
        ("Count > 2 and Count <= 3", True),
        ("Count < 3 or Share < 1", True),
        ("not (Count < 3 or Share < 0.1)", True),
        ("Name == 'it\\'s'", True),
        ('Name == "it\'s"', True),
        ("Stop == false", True),
        ("Stop == 0", False),
        ("Stop < 1", False),
        ("None == null", True),
        ("Missing == null", True),
        ("Missing != 1", True),
        ("Missing < 1", False),
        ("Missing ~ 'x'", False),
        ("Empty == ''", True),
        ("When < '2026-11-23T22:08:22Z'", True),
        ("When > '2026-11-23'", True),
        ("'ops' in Policies", True),
        ("'root' in Policies", False),
        ("Policies == 'dev'", True),
        ("Count in (1, 2, 3)", True),
        ("Name in ('a', 'b')", False),
        ("Groups.Count > 8", True),
        ('Groups["c"].Count > 8', True),
        ('Groups["a b"].Count > 8', False),
        ("Groups[0].Count == 1", True),
        ("Groups[7].Count == 1", False),
        ('Groups["a b"].Env["X.y"] == "1"', True),
        ("Groups.Count != 9", False),
    ],
)
def test_conditions(text: str, meets: bool) -> None:
    assert condition(text)(RECORD) is meets


@pytest.mark.parametrize(
    "text",
    [
        *("", "Rules", "Rules ~", "Rules = 'x'", "'x' == Rules", "Rules ~ write", "(Count == 3", "Rules ~ '('", "and"),
        *("Count == 3 Count == 3", "Count == 3 and", "__import__('os')", "Rules.__class__()", "Count in ()"),
        *("a" + "(" * 200, "not " * 200 + "Count == 3", "(" * 200, "x == 'unclosed", "Count in 5"),
        *("Count > " + "9" * 5000, f"Groups[{'9' * 5000}].Count == 1"),
    ],
)
def test_what_is_no_condition_says_where(text: str) -> None:
    with pytest.raises(ConditionError) as raised:
        condition(text)(RECORD)
    assert "character" in raised.value.where
    assert raised.value.advice


@settings(max_examples=120, deadline=None)
@given(st.text(alphabet="Rab.[]\"'~!=<>() 0123,\\not inadr", max_size=40))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    with suppress(ConditionError):
        assert condition(text)(RECORD) in (True, False)


def test_a_path_that_leads_nowhere_is_null() -> None:
    assert select({}, "a.b.c") == [None]
    assert select({"a": [{"b": 1}, {"c": 2}]}, "a.b") == [1, None]


# -- exactly what was edited

Key = tuple[str, tuple[str, ...]]
Model = Mapping[Key, Mapping[str, Any]]
OBJECTS: list[Key] = [
    ("jobs", ("default", "a")),
    ("jobs", ("shop", "a")),
    ("acl_policies", ("ops",)),
    ("acl_policies", ("dev",)),
    ("node_pools", ("gpu",)),
]
PLAIN = {"jobs": ("Priority", "Type"), "acl_policies": ("Rules", "Description"), "node_pools": ("Description",)}
MAPS = {"jobs": "Meta", "node_pools": "Meta", "acl_policies": ""}
TEXTS = st.sampled_from(["", "x", "y\nz", "y\nw", "\N{SNOWMAN}"])


@st.composite
def _record(draw: st.DrawFn, key: Key) -> dict[str, Any]:
    table, parts = key
    record: dict[str, Any] = dict(zip(BY_TABLE[table].key, parts, strict=True))
    for name in PLAIN[table]:
        record[name] = draw(st.integers(1, 3)) if name == "Priority" else draw(TEXTS)
    if MAPS[table]:
        record[MAPS[table]] = draw(st.dictionaries(st.sampled_from(["k", "l", "m n"]), st.sampled_from(["1", "2"])))
    return record


@st.composite
def _series(draw: st.DrawFn) -> list[Model]:
    """States of a cluster: in each, some objects are put, changed, taken out, put back; the others are as they were."""
    model: dict[Key, Mapping[str, Any]] = {}
    series: list[Model] = []
    for _ in range(draw(st.integers(2, 5))):
        for key in OBJECTS:
            action = draw(st.sampled_from(["keep", "put", "delete", "put"]))
            if action == "put":
                model[key] = draw(_record(key))
            elif action == "delete":
                model.pop(key, None)
        series.append(dict(model))
    return series


def write(folder: Path, series: Sequence[Model], seeds: Sequence[int], cluster: str = HERE) -> None:
    """Archives of them, an hour each, with maps and records in an order of their own and indexes that move."""
    for hour, (model, seed) in enumerate(zip(series, seeds, strict=True)):
        shuffled = random.Random(seed)
        records = [forge.record(14, {"ClusterID": cluster, "CreateTime": 1}), forge.record(28, {"Name": "all"})]
        items = list(model.items())
        shuffled.shuffle(items)
        for (table, _), record in sorted(items, key=lambda item: BY_TABLE[item[0][0]].byte):
            moving = {**record, "ModifyIndex": 100 + shuffled.randrange(50), "CreateIndex": 7}
            records.append(forge.record(BY_TABLE[table].byte, _shuffled(moving, shuffled)))
        state = forge.state(*records)
        milliseconds = int((START + timedelta(hours=hour)).timestamp() * 1000)
        meta = forge.meta_json(len(state), ID=f"2-{100 + hour}-{milliseconds}", Index=100 + hour)
        written(folder, f"{cluster[0]}-{hour}.snap", forge.archive(state, meta))


def _shuffled(value: Any, shuffled: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    items = list(value.items())
    shuffled.shuffle(items)
    return {name: _shuffled(inner, shuffled) for name, inner in items}


def _edits(key: Key, series: Sequence[Model]) -> list[tuple[str, int, int, dict[str, tuple[Any, Any]]]]:
    """What history is to give back: change, first and last hour, and the fields."""
    edits: list[tuple[str, int, int, dict[str, tuple[Any, Any]]]] = []
    for hour, model in enumerate(series):
        now = model.get(key)
        was = series[hour - 1].get(key) if hour else None
        if now is None and was is None:
            kind = ""
        elif now is None:
            kind = "gone"
        elif was is None:
            kind = "returned" if edits else "added" if hour else "there"
        else:
            kind = "changed" if now != was else ""
        if kind:
            edits.append((kind, hour, hour, _fields(key[0], was, now) if kind == "changed" else {}))
        elif edits:
            edits[-1] = (*edits[-1][:2], hour, edits[-1][3])
    return edits


def _fields(table: str, was: Any, now: Any) -> dict[str, tuple[Any, Any]]:
    fields = {name: (was[name], now[name]) for name in PLAIN[table] if was[name] != now[name]}
    if name := MAPS[table]:
        for key in {*was[name], *now[name]}:
            values = was[name].get(key), now[name].get(key)
            if values[0] != values[1]:
                fields[f'{name}["{key}"]' if " " in key else f"{name}.{key}"] = values
    return fields


@pytest.fixture(scope="module")
def hasty() -> Iterator[None]:
    """Files need not survive a power cut here, and there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.mark.usefixtures("hasty")
@settings(max_examples=12, deadline=None)
@given(_series(), st.data())
def test_history_gives_back_exactly_the_edits(
    tmp_path_factory: pytest.TempPathFactory, series: list[Model], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("edits")
    seeds = data.draw(st.lists(st.integers(0, 99), min_size=len(series), max_size=len(series)))
    write(folder, series, seeds)
    catalog = Catalog(str(folder), level="counts", key=KEY)
    with pytest.MonkeyPatch.context() as patch:  # as it is, and where two small files become one
        patch.setattr(pieces, "MERGED", data.draw(st.sampled_from([2, pieces.MERGED])))
        catalog.extract([*PLAIN])
    for key in OBJECTS:
        wanted = _edits(key, series)
        if not wanted:
            with pytest.raises(NotInSnapshotError):
                catalog.history(key[0], *key[1])
            continue
        found = catalog.history(key[0], *key[1])
        states, changes = found.states, found.changes
        mine = [
            (
                row.Change,
                hour_of(row.From),
                hour_of(row.To),
                {c.Path: (c.Before, c.After) for c in changes[changes["State"] == row.Index].itertuples()},
            )
            for row in states.itertuples()
        ]
        assert mine == wanted
        path = PLAIN[key[0]][0]
        for value in (1 if path == "Priority" else "x",):
            literal = json.dumps(value)
            holds = [hour for hour, model in enumerate(series) if key in model and model[key][path] == value]
            periods = catalog.when(key[0], *key[1], f"{path} == {literal}")
            hours = [hour for row in periods.itertuples() for hour in range(hour_of(row.Since), hour_of(row.Until) + 1)]
            assert hours == holds


def test_an_object_goes_and_comes_back(tmp_path: Path) -> None:
    key: Key = ("node_pools", ("gpu",))
    there = {key: {"Name": "gpu", "Description": "a", "Meta": {}}}
    write(tmp_path, [{}, there, there, {}, {}, there], range(6))
    found = Catalog(str(tmp_path), level="counts").history("node_pools", "gpu")
    mine = [(kind, hour_of(since), hour_of(until)) for kind, since, until in told(found)]
    assert mine == [("added", 1, 2), ("gone", 3, 4), ("returned", 5, 5)]
    assert len(found.changes) == 0


def test_a_state_has_the_object_as_it_was_seen_last(tmp_path: Path) -> None:
    for hour, index in enumerate((5, 9)):
        pool = {"Name": "gpu", "Description": "a", "ModifyIndex": index}
        state = forge.state(forge.record(28, pool))
        meta = forge.meta_json(len(state), ID=f"2-{hour}-{int(START.timestamp() + 3600 * hour) * 1000}", Index=hour)
        written(tmp_path, f"{hour}.snap", forge.archive(state, meta))
    found = Catalog(str(tmp_path), level="counts").history("node_pools", "gpu")
    assert found.states["ModifyIndex"].tolist() == [9]
    assert found.record(0) == {"Name": "gpu", "Description": "a", "ModifyIndex": 9}
    assert len(Catalog(str(tmp_path), level="counts").history("node_pools", "gpu", noise=True)) == 2


def test_objects_of_two_clusters_have_a_history_each(tmp_path: Path) -> None:
    key: Key = ("node_pools", ("gpu",))
    record = {"Name": "gpu", "Description": "a", "Meta": {}}
    write(tmp_path, [{key: record}, {}], [1, 2], HERE)
    write(tmp_path, [{}, {key: record}], [3, 4], THERE)
    states = Catalog(str(tmp_path), level="counts").history("node_pools", "gpu").states
    assert list(zip(states["ClusterID"], states["Change"], strict=True)) == [
        (HERE, "there"),
        (HERE, "gone"),
        (THERE, "added"),
    ]


def test_an_archive_that_is_left_out_is_no_deletion(tmp_path: Path) -> None:
    key: Key = ("node_pools", ("gpu",))
    write(tmp_path, [{key: {"Name": "gpu", "Description": "a", "Meta": {}}}] * 3, [1, 2, 3])
    middle = tmp_path / f"{HERE[0]}-1.snap"
    middle.write_bytes(middle.read_bytes()[:-40])
    with pytest.warns(LeftOutWarning, match="1 of 3 archives"):
        states = Catalog(str(tmp_path), level="counts").history("node_pools", "gpu").states
    assert (states["Change"].tolist(), states["Snapshots"].tolist()) == (["there"], [2])


def test_archives_in_object_storage_have_a_history(s3: Storage, week: Catalog, tmp_path: Path) -> None:
    for path in WEEK:
        s3.put(f"nomad/{Path(path).name}", Path(path).read_bytes())
    catalog = Catalog("s3://backups/nomad", level="counts", store=tmp_path, key=KEY, storage_options=s3.options)
    found = catalog.history("acl_policies", "anonymous")
    assert told(found) == told(week.history("acl_policies", "anonymous"))
    assert found.states["FromSnapshot"].tolist()[1] == "s3://backups/nomad/wednesday.snap"
    assert SECRET not in "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())


# -- growth


def test_growth_by_table_is_what_the_snapshots_have(week: Catalog) -> None:
    for measure in ("Bytes", "Count"):
        grown = week.growth(measure=measure)  # type: ignore[arg-type]
        assert grown.index.tolist() == list(CREATED.values())
        for path, row in zip(WEEK, grown.to_dict("records"), strict=True):
            with snapkit.open(path) as snapshot:
                assert {k: v for k, v in row.items() if v} == snapshot.tables[measure].to_dict()
    assert grown.columns[0] == "evals"


def test_growth_by_job_is_all_that_is_a_jobs(week: Catalog) -> None:
    grown = week.growth("job", measure="Count")
    with snapkit.open(WEEK[-1]) as friday:
        wanted = sum(
            (friday.table(t).reset_index()[["Namespace", f]].apply(tuple, axis=1) == ("shop", "web")).sum()
            for t, f in {
                **dict.fromkeys(("jobs", "job_versions", "periodic_launches"), "ID"),
                **dict.fromkeys(("evals", "allocs", "deployments", "services", "job_summaries"), "JobID"),
                **dict.fromkeys(("job_submissions", "scaling_events"), "JobID"),
            }.items()
            if len(friday.table(t))
        )
    assert grown["shop/web"].iloc[-1] == wanted
    assert grown["payments/payments"].iloc[-1] < grown["payments/payments"].iloc[-2]  # purged on Friday
    assert grown.iloc[-1].is_monotonic_decreasing
    assert set(grown.dtypes) == {np.dtype("int64")}


def test_growth_is_of_one_cluster(tmp_path: Path) -> None:
    write(tmp_path, [{}, {}], [1, 2], HERE)
    write(tmp_path, [{}], [3], THERE)
    catalog = Catalog(str(tmp_path), level="counts")
    with pytest.raises(SnapshotError, match="are of 2 clusters"):
        catalog.growth()
    assert len(catalog.growth(cluster=HERE[:8])) == 2
    with pytest.raises(SnapshotError, match="no such cluster"):
        catalog.growth(cluster="9")
    (tmp_path / "none").mkdir()
    written(tmp_path / "none", "0.snap", b"no archive")
    with pytest.raises(SnapshotError, match="none that can be read"):
        Catalog(str(tmp_path / "none"), level="counts").growth()
    with pytest.raises(SnapshotError, match="by table or job"):
        catalog.growth("namespace")  # type: ignore[arg-type]


# -- anomalies


def test_tokens_that_were_deleted_in_the_week(week: Catalog) -> None:
    found = week.anomalies()
    deleted = found[found["Kind"] == "acl-deletion"]
    assert deleted["Table"].tolist() == ["acl_tokens"] * 2
    assert deleted["Created"].tolist() == [CREATED["tuesday"], CREATED["thursday"]]
    assert "'ops dashboard'" in deleted["Message"].iloc[0]
    assert "'svc-backup' (management)" in deleted["Message"].iloc[1]
    pd.testing.assert_frame_equal(found, week.anomalies())


def _jobs(*counts: int) -> list[Model]:
    return [
        {
            ("jobs", ("default", f"{n}")): {"Namespace": "default", "ID": f"{n}", "Priority": 1, "Type": "", "Meta": {}}
            for n in range(count)
        }
        for count in counts
    ]


@pytest.mark.parametrize(
    ("counts", "kinds"),
    [
        ((10, 10, 60, 60, 60, 60), [("jump", 2)]),
        ((60, 60, 60, 10, 10), [("jump", 3)]),
        ((10, 11, 12, 13, 12, 11), []),
        ((10, 18, 26, 34, 42, 50), [("grows", 5)]),
        ((10, 18, 26, 34, 33, 50), []),
        ((10, 12, 14), []),
        ((0, 0), []),
    ],
)
def test_jumps_and_growth(tmp_path: Path, counts: Sequence[int], kinds: list[tuple[str, int]]) -> None:
    write(tmp_path, _jobs(*counts), range(len(counts)))
    found = Catalog(str(tmp_path), level="counts").anomalies()
    mine = [(row.Kind, hour_of(row.Created)) for row in found.itertuples() if row.Table == "jobs"]
    assert mine == kinds


def test_a_token_that_expired_was_not_deleted_and_an_index_goes_back(tmp_path: Path) -> None:
    expires = forge.go_time(62_135_596_800 + int(START.timestamp()) + 1800)
    tokens = [
        {"AccessorID": "1", "Name": "short", "Type": "client", "ExpirationTime": expires},
        {"AccessorID": "2", "Name": "gone", "Type": "client", "ExpirationTime": None},
    ]
    for hour, (kept, index) in enumerate(((tokens, 500), ([], 400))):
        records = [forge.record(14, {"ClusterID": HERE}), *(forge.record(12, token) for token in kept)]
        state = forge.state(*records)
        milliseconds = int((START + timedelta(hours=hour)).timestamp() * 1000)
        meta = forge.meta_json(len(state), ID=f"2-{index}-{milliseconds}", Index=index)
        written(tmp_path, f"{hour}.snap", forge.archive(state, meta))
    found = Catalog(str(tmp_path), level="counts").anomalies()
    assert list(zip(found["Kind"], found["Key"], strict=True)) == [("acl-deletion", ("2",)), ("index-back", ())]
    assert "from 500 to 400" in found["Message"].iloc[1]


@pytest.mark.parametrize(
    ("counts", "jumps"),
    [
        ([100, 101, 102, 103, 203], [4]),  # many times a usual step
        ([10, 40, 70, 130, 160], []),  # as large as usual
        ([100, 100, 140, 140], []),  # less than half of what was there
        ([1, 1, 15, 15], []),  # little by itself
        ([400, 400, 100, 100], [2]),
    ],
)
def test_a_jump_is_large_by_itself_by_what_was_there_and_by_what_is_usual(counts: list[int], jumps: list[int]) -> None:
    places: Any = list(range(len(counts)))
    measured = {"Count": counts, "Bytes": [0] * len(counts)}
    found: list[Any] = [jump.archive for jump in _jumps(places, "evals", measured)]
    assert found == jumps
