"""`snapkit show` and `snapkit search`: tables, single objects and every value, with secrets masked."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit.cli.output import show_frame
from tests import forge

from ..conftest import ARCHIVES, ORACLES, oracle, path_of
from ..state import samples
from . import failed, fine, run

MONDAY = path_of("v2.0.5/monday")
Open = Callable[[str], snapkit.Snapshot]


def shown(*arguments: object, **kwargs: Any) -> Any:
    return json.loads(fine("show", *arguments, "--json", **kwargs))


def lines(*arguments: object, **kwargs: Any) -> list[list[str]]:
    """The words of the lines that people are shown, without rules and empty ones."""
    text = fine("show", MONDAY, *arguments, **kwargs)
    return [words for line in text.splitlines() if (words := line.split()) and "─" not in line]


@cache
def secrets(cluster: str = "v2.0.5") -> dict[str, str]:
    """The secret id of each token that the cluster had, by its accessor."""
    tokens = list(json.loads((ORACLES / cluster / "tokens.json").read_text()).values())
    tokens.append(json.loads((ORACLES / cluster / "bootstrap.json").read_text()))
    return {token["AccessorID"]: token["SecretID"] for token in tokens}


# -- tables


@pytest.mark.parametrize("archive", ARCHIVES)
def test_the_list_of_tables(archive: str) -> None:
    found = shown(path_of(archive))
    stats = oracle(archive, "inspect")["Stats"]
    assert sorted((r["Type"], r["Count"], r["Bytes"]) for r in found) == sorted(
        (s["Name"], s["Count"], s["Sum"]) for s in stats
    )
    assert [r["Bytes"] for r in found] == sorted((r["Bytes"] for r in found), reverse=True)


def test_the_list_of_tables_for_people() -> None:
    head, first, *_, last = lines()
    assert head == ["Table", "Type", "Count", "Bytes", "Share"]
    assert first == ["allocs", "Alloc", "13", "101,402", "51.5%"]
    assert last == ["25", "rows"]
    assert len(lines("--limit", 3)) == 5


@pytest.mark.parametrize("table", ["nodes", "acl_tokens", "time_table", "scheduler_config", "csi_volumes", "evals"])
@pytest.mark.parametrize("archive", ["v2.0.5/monday", "v0.12.12/tuesday", "every-table/every-table"])
def test_json_of_a_table_has_all_its_rows_and_columns(archive: str, table: str, opened: Open) -> None:
    frame = opened(archive)[table]
    rows = shown(path_of(archive), table)
    assert len(rows) == len(frame)
    names = [*(n for n in frame.index.names if n), *frame.columns]
    assert all(list(row) == names for row in rows)


def test_json_of_a_table_has_plain_values() -> None:
    job = next(row for row in shown(MONDAY, "jobs") if row["ID"] == "web")
    assert (job["Namespace"], job["Type"], job["Priority"], job["Stop"]) == ("shop", "service", 50, False)
    alloc = shown(MONDAY, "allocs", "--columns", "CreateTime", "--limit", 1)[0]
    assert alloc["CreateTime"].startswith("2026-11-23T")
    assert alloc["CreateTime"].endswith("Z")


def test_a_table_fits_the_terminal_and_tells_what_it_left_out() -> None:
    text = fine("show", MONDAY, "jobs", columns=80)
    assert max(len(line) for line in text.splitlines()[:-2]) <= 80
    *_, left, count = text.splitlines()
    assert "more columns (--columns or --json): " in left
    assert "Priority" in left
    assert count == "9 rows"


def test_an_empty_table_is_no_error() -> None:
    assert fine("show", MONDAY, "csi_volumes") == "0 rows\n"
    assert shown(MONDAY, "csi_volumes") == []


def test_where_looks_at_what_is_not_shown() -> None:
    found = shown(MONDAY, "allocs", "--where", "ClientStatus == 'failed'", "--columns", "Name,NodeName")
    assert {row["Name"] for row in found} == {"payments.ledger[0]"}
    assert all(set(row) == {"ID", "Name", "NodeName"} for row in found)


def test_a_narrow_terminal_breaks_no_id(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, opened: Open
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    frame = opened("v2.0.5/monday").table("allocs", ["Name", "NodeID", "EvalID"])
    show_frame(frame, False, None, everything=True)
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    assert [line.split()[1] for line in shown if line.startswith("EvalID")] == list(frame["EvalID"])
    assert shown[-1] == "13 rows"


def test_where_picks_rows() -> None:
    found = lines("allocs", "--where", "ClientStatus == 'failed'", "--columns", "Name,NodeName,ClientStatus")
    assert found[0] == ["ID", "Name", "NodeName", "ClientStatus"]
    assert sorted(row[1:] for row in found[1:-1]) == [
        ["payments.ledger[0]", "client0", "failed"],
        ["payments.ledger[0]", "client2", "failed"],
    ]
    assert found[-1] == ["2", "rows"]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("Priority >= 70", {"node-exporter"}),
        ("Namespace == 'shop' and Type == 'service'", {"web"}),
        ("ID.str.startswith('encode')", {"encode"}),
        ("ID == 'no such job'", set()),
        ("Type in ['system', 'sysbatch']", {"node-exporter"}),
        ("not Stop and Priority > 10", {"web"}),
        ("ID.str.contains('e@b|encode', regex=True)", {"encode"}),
        ("SubmitTime > '2026-11-23T22:00Z' and SubmitTime.dt.year == 2026", {"web"}),
        ("ParentID.isna() | ParentID.isin([''])", {"web"}),
    ],
)
def test_where_knows_numbers_keys_and_text(where: str, ids: set[str], opened: Open) -> None:
    frame = opened("v2.0.5/monday").jobs.reset_index()
    expected = set(frame.query(where, engine="python").ID)
    found = {row["ID"] for row in shown(MONDAY, "jobs", "--where", where)}
    assert found == expected
    assert {name.partition("/")[0] for name in found} >= ids
    assert bool(found) == bool(ids)


def test_columns_are_those_asked_for_nested_ones_too() -> None:
    rows = shown(MONDAY, "allocs", "--columns", "JobID, TaskStates")
    assert [list(row) for row in rows] == [["ID", "JobID", "TaskStates"]] * 13
    crashed = next(row for row in rows if "crasher" in (row["TaskStates"] or {}))
    assert "Terminated" in {event["Type"] for event in crashed["TaskStates"]["crasher"]["Events"]}
    assert "…" in fine("show", MONDAY, "allocs", "--columns", "TaskStates")


@pytest.mark.parametrize(("limit", "rows"), [(1, 1), (4, 4), (0, 13), (100, 13)])
def test_limit_bounds_the_rows(limit: int, rows: int) -> None:
    assert len(shown(MONDAY, "allocs", "--limit", limit)) == rows
    found = lines("allocs", "--columns", "Name", "--limit", limit)
    assert len(found) == rows + 2
    told = ["13", "rows"] if rows == 13 else ["13", "rows,", str(rows), "shown", "(--limit", "0", "for", "all)"]
    assert found[-1] == told


# -- one object


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("nodes", 0),
        ("jobs", ("shop", "web")),
        ("job_versions", ("shop", "web", "0")),
        ("scheduler_config", ()),
    ],
)
def test_one_object_by_its_key(table: str, key: Any, opened: Open) -> None:
    snap = opened("v2.0.5/monday")
    if key == 0:
        first = snap[table].index[0]
        key = first if isinstance(first, tuple) else (first,)
    if key:
        found = json.loads(fine("show", MONDAY, table, *key, "--reveal"))
        assert found == shown(MONDAY, table, *key, "--reveal") == snap.get(table, *key, reveal=True)


def test_an_object_is_nomads_json() -> None:
    job = json.loads(fine("show", MONDAY, "jobs", "shop", "web"))
    assert (job["ID"], job["Namespace"], job["Meta"]["owner"]) == ("web", "shop", "storefront")
    assert [group["Name"] for group in job["TaskGroups"]]


# -- secrets


def everything(cluster: str, archive: str) -> list[str]:
    """All ways to see a token without asking for it."""
    path = path_of(f"{cluster}/{archive}")
    return [
        fine("show", path, "acl_tokens"),
        fine("show", path, "acl_tokens", "--json"),
        fine("show", path, "acl_tokens", "--columns", "SecretID,Policies"),
        *(fine("show", path, "acl_tokens", row["AccessorID"]) for row in shown(path, "acl_tokens")),
        *(fine("search", path, secret, *more) for secret in secrets(cluster).values() for more in ([], ["--json"])),
        fine("inspect", path),
    ]


@pytest.mark.parametrize("cluster", ["v0.12.12", "v1.4.14", "v1.8.4", "v2.0.5"])
def test_secrets_are_masked(cluster: str) -> None:
    text = "".join(everything(cluster, "monday"))
    assert [accessor for accessor, secret in secrets(cluster).items() if secret in text] == []
    assert text.count("masked:") > 3 * len(shown(path_of(f"{cluster}/monday"), "acl_tokens"))


def test_reveal_shows_them() -> None:
    rows = {row["AccessorID"]: row["SecretID"] for row in shown(MONDAY, "acl_tokens", "--reveal")}
    known = {accessor: secret for accessor, secret in secrets().items() if accessor in rows}
    assert len(known) >= 3
    assert {accessor: rows[accessor] for accessor in known} == known
    accessor, secret = next(iter(known.items()))
    assert json.loads(fine("show", MONDAY, "acl_tokens", accessor, "--reveal"))["SecretID"] == secret
    assert json.loads(fine("show", MONDAY, "acl_tokens", accessor))["SecretID"].startswith("masked:")
    assert secret in fine("search", MONDAY, secret, "--reveal")


def test_where_can_not_be_asked_for_secrets() -> None:
    secret = next(iter(secrets().values()))
    assert shown(MONDAY, "acl_tokens", "--where", f"SecretID == '{secret}'") == []


# -- mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["job"], "did you mean jobs"),
        (["xyzzy"], "there are: nodes, jobs"),
        (["jobs", "--columns", "ID,Priorty"], "did you mean Priority"),
        (["jobs", "--where", "Foo == 1"], "the fields are Namespace, ID, "),
        (["jobs", "--where", "ID =="], "the fields are Namespace, ID, "),
        (["jobs", "--where", "ID == (\n'web'"], "the fields are Namespace, ID, "),
        (["jobs", "--where", ""], "the fields are Namespace, ID, "),
        (["jobs", "shop", "wed"], "did you mean shop/web"),
        (["jobs", "web"], "takes 2 (Namespace, ID); did you mean shop web?"),
        (["jobs", "wed"], "takes 2 (Namespace, ID)"),
        (["backups/friday.snap"], "backups/friday.snap: is a file where a table is due"),
        (["jobs", "shop", "web", "1"], "takes 2 (Namespace, ID)"),
        (["scheduler_config", "x"], "takes 0"),
        (["nodes", "\x1b[31m"], "has no record"),
    ],
)
def test_a_mistake_is_one_line_that_helps(arguments: list[str], said: str) -> None:
    assert said in failed(run("show", MONDAY, *arguments))


EXECUTES = [
    "@__import__('os').system('touch {0}')",
    "__import__('os').system('touch {0}')",
    "ID.__class__.__mro__[1].__subclasses__()",
    "@pd.io.common.os.system('touch {0}')",
    "@os.system('touch {0}')",
    "ID == @__builtins__",
    "ID.map(@exec)",
    "ID.to_csv('{0}')",
    "ID.to_pickle('{0}')",
    "ID.to_json('{0}')",
    "ID.array.to_numpy().tofile('{0}')",
    "[x for x in ().__class__.__base__.__subclasses__()]",
    "(lambda: 1)()",
    "index.to_series().to_csv('{0}')",
    "`ID`.to_csv('{0}')",
    "ID.str._data.to_csv('{0}')",
    "ID.str.lower().to_csv('{0}')",
    "ID == '`' or ID.to_csv('{0}')",
]


@pytest.mark.parametrize("where", EXECUTES)
def test_where_runs_no_code_and_writes_no_file(where: str, tmp_path: Path) -> None:
    failed(run("show", MONDAY, "jobs", "--where", where.format(tmp_path / "written")))
    assert list(tmp_path.iterdir()) == []


# -- search


def test_search_finds_every_value_that_holds_a_text(opened: Open) -> None:
    rows = json.loads(fine("search", MONDAY, "storefront", "--json"))
    assert {(row["Table"], row["Path"]) for row in rows} >= {
        ("jobs", "Meta.owner"),
        ("allocs", "Job.Meta.owner"),
        ("job_versions", "Meta.owner"),
        ("namespaces", "Meta.team"),
    }
    assert len(rows) == len(opened("v2.0.5/monday").search("storefront"))
    text = fine("search", MONDAY, "storefront")
    assert text.splitlines()[-1] == f"{len(rows)} rows"
    assert "shop/web" in text


def test_search_takes_the_text_literally() -> None:
    for text in ("store.ront", "STOREFRONT", "no such text at all", "[s]torefront", "store%"):
        assert json.loads(fine("search", MONDAY, text, "--json")) == []
    assert fine("search", MONDAY, "no such text at all") == "0 rows\n"


# -- what an archive holds does not drive the terminal

EVIL = "\x1b[31m\x1b]0;owned\x07\x9b2J\u202e\r\x7f"


def hostile() -> bytes:
    content = forge.state(
        forge.record(1, {"Namespace": EVIL, "ID": EVIL, "Name": EVIL, "Meta": {EVIL: EVIL}, "Type": "service"}),
        forge.record(201, {"ID": "x", EVIL: "value"}),
    )
    servers = {"Servers": [{"Suffrage": 0, "ID": EVIL, "Address": EVIL}]}
    return forge.archive(content, forge.meta_json(len(content), ID=EVIL, Configuration=servers))


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect"],
        ["inspect", "--json"],
        ["show"],
        ["show", "jobs"],
        ["show", "jobs", "--json"],
        ["show", "jobs", "--columns", "Meta"],
        ["show", "jobs", EVIL, EVIL],
        ["show", "jobs", "a", "b"],
        ["show", "UNKNOWN"],
        ["show", "UNKNOWN", "--json"],
        ["show", "UNKNOWN", "--where", "nothing == 1"],
        ["search", "owned"],
        ["search", "owned", "--json"],
    ],
    ids=lambda words: " ".join(words).replace(EVIL, "EVIL"),
)
@pytest.mark.parametrize("columns", [20, 200])
def test_control_characters_never_reach_the_terminal(arguments: list[str], columns: int, tmp_path: Path) -> None:
    path = tmp_path / "hostile.snap"
    path.write_bytes(hostile())
    with snapkit.open(path) as snap:
        unknown = str(snap.tables.index[snap.tables.Type != "Job"][0])
    first, *rest = [unknown if word == "UNKNOWN" else word for word in arguments]
    ran = run(first, path, *rest, columns=columns)
    assert ran.status in (0, 2)
    assert ran.out or ran.err
    assert [c for c in ran.out + ran.err if not c.isprintable() and c != "\n"] == []
    if "--json" in arguments:
        assert "owned" in repr(json.loads(ran.out)) or arguments[0] == "inspect"


def test_json_gives_control_characters_back() -> None:
    job = shown(
        "-", "jobs", EVIL, EVIL, stdin=forge.archive(forge.state(forge.record(1, {"Namespace": EVIL, "ID": EVIL})))
    )
    assert (job["ID"], job["Namespace"]) == (EVIL, EVIL)


@pytest.mark.parametrize(
    "words",
    [["show", "jobs"], ["sizes", "--by", "job"], ["sizes", "--by", "field"], ["inspect"], ["timeline"]],
    ids=" ".join,
)
def test_a_long_name_does_not_make_every_line_as_long(words: list[str], tmp_path: Path) -> None:
    long = "n" * 1_000_000
    job = {"Namespace": "default", "ID": long, "Name": long, "SubmitTime": 1_795_471_701_682_512_345, long: 1}
    state = forge.state(samples.records("jobs", job))
    meta = forge.meta_json(len(state), Configuration={"Servers": [{"Address": "a"}] * 10_000})
    source = tmp_path / "long.snap"
    source.write_bytes(forge.archive(state, meta))
    command, *rest = words
    assert len(fine(command, source, *rest)) < 50_000
