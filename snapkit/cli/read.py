"""inspect, show, search, export: what is in a snapshot."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import (
    File,
    Identity,
    Json,
    Keystore,
    Limit,
    Overwrite,
    Reveal,
    Tables,
    opened,
    progress_bar,
    salvage_told,
    source_of,
)
from snapkit.cli.output import cell, draw, grid, note_oddities, one_line, print_json, printable, show_frame
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    import pandas as pd

    from snapkit.format.archive import Archive
    from snapkit.state.snapshot import Snapshot


@app.command(examples=["inspect friday.snap", "inspect --json friday.snap", "inspect /var/lib/nomad/server/raft"])
def inspect(file: File, identity: Identity = None, json_: Json = False) -> None:
    """What an archive is: its Raft metadata, and count and bytes of each record type.

    With --json, the keys of `nomad operator snapshot inspect -json`.
    """
    from snapkit.format import archive
    from snapkit.format.records import Framer
    from snapkit.format.schema import type_name

    framer = Framer(index=False)
    with progress_bar(f"Reading {file}") as progress, salvage_told(file):
        found = archive.read(source_of(file), framer, progress=progress, identity=identity)
        try:
            framer.close()
        except SnapshotError as error:
            raise error.at(found.source) from error
    tallies = sorted(framer.tallies.items(), key=lambda item: -item[1].bytes)
    stats = [{"Name": type_name(byte), "Count": tally.count, "Sum": tally.bytes} for byte, tally in tallies]
    if json_:
        print_json({"Meta": dict(found.meta), "Stats": stats})
    else:
        _print_inspected(found, stats)
    note_oddities(found, framer.tallies)


def _print_inspected(found: Archive, stats: list[dict[str, Any]]) -> None:
    total = sum(row["Sum"] for row in stats)
    summary = grid("", "")
    meta = found.meta
    servers = (meta.get("Configuration") or {}).get("Servers") or []
    for name, value in {
        "Source": f"{found.source} ({found.kind}{', encrypted' if found.encrypted else ''})",
        "ID": meta.get("ID", "unknown"),
        "Taken": _utc(str(meta.get("ID", ""))),
        "Index, term": f"{meta.get('Index', 'unknown')}, {meta.get('Term', 'unknown')}",
        "Servers": ", ".join(str(server.get("Address")) for server in servers) or "unknown",
        "State": f"{total:,} bytes, SHA-256 {next(m.sha256 for m in found.members if m.name == 'state.bin')}",
    }.items():
        summary.add_row(name, cell(str(value)))
    table = grid("Type", "Count", "Bytes", "Share", right=(1, 2, 3))
    for row in stats:
        table.add_row(row["Name"], f"{row['Count']:,}", f"{row['Sum']:,}", f"{row['Sum'] / total:.1%}")
    draw(summary, table)


def _utc(snapshot_id: str) -> str:
    from datetime import UTC, datetime

    from snapkit.format.archive import created_milliseconds

    milliseconds = created_milliseconds(snapshot_id)
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC" if milliseconds else "unknown"


@app.command(
    examples=[
        "show friday.snap",
        "show friday.snap allocs --where \"ClientStatus == 'failed'\" --columns Name,NodeName",
        "show friday.snap jobs shop web",
        "show friday.snap allocs 8f3c12ab --json | jq .TaskStates",
        "show friday.snap variables --reveal",
    ]
)
def show(
    file: File,
    table: Annotated[
        str | None, typer.Argument(help="A table, such as jobs; without one, all are listed.", metavar="TABLE")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Argument(help="Of one object: NAMESPACE ID of a job, an id or how it begins of others.", metavar="KEY"),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="A filter, such as \"ClientStatus == 'failed'\".", metavar="CONDITION")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Nomad's field names, separated by commas.", metavar="NAMES")
    ] = None,
    limit: Limit = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="The root keys: how each stands, and what is sealed or signed by it.")
    ] = False,
    keystore: Keystore = None,
    identity: Identity = None,
    json_: Json = False,
    reveal: Reveal = False,
) -> None:
    """The tables of a snapshot, one of them, or one object by its key.

    With --reveal, variables are unlocked: their Items in the clear.
    """
    if table is not None and ("/" in table or table.endswith(".snap")):
        raise SnapshotError("is a file where a table is due", table, "show one FILE; `snapkit fleet` is for many")
    unlocks = table == "variables" and reveal
    if keys and table is not None:
        raise SnapshotError("takes no TABLE", "--keys", "leave it out")
    if keystore is not None and not (keys or unlocks):
        raise SnapshotError("opens nothing here", "--keystore", "add --keys, or look at variables with --reveal")
    with opened(file, identity) as snapshot:
        if keys:
            frame = snapshot.keyring(keystore)
            ages = frame["Age"].dt.floor("s").map(str, na_action="ignore")
            short = frame.assign(CreateTime=frame["CreateTime"].dt.floor("s"), Age=ages)
            show_frame(frame if json_ else short, json_, limit, everything=True)
        elif table is None:
            show_frame(snapshot.tables, json_, limit)
        elif key:
            found = snapshot.get(table, snapshot.find(table, *key), reveal=reveal)
            print_json(_unlocked(snapshot, found, keystore) if unlocks else found)
        else:
            names = [name.strip() for name in columns.split(",")] if columns else None
            reads = unlocks and (names is None or ITEMS in names)
            unseen = [name for name in snapshot.columns(table) if name not in names] if names and where else []
            further = _mentioned(where or "", unseen)
            asked = [*names, *further] if names is not None else None
            frame = _variables(snapshot, asked, keystore) if reads else snapshot.table(table, asked, reveal=reveal)
            frame = _where(frame, where).drop(columns=further, errors="ignore")
            first = () if names else (ITEMS, *_first(table)) if reads else _first(table)
            show_frame(frame, json_, limit, everything=names is not None, first=first)


def _first(table: str) -> Sequence[str]:
    """The columns that a person wants first: those that the browser of snapshots has first."""
    from snapkit.jupyter.explorer import FIRST

    return FIRST.get(table, ())


ITEMS = "Items"  # as Nomad's API calls what is in a variable


def _variables(snapshot: Snapshot, names: list[str] | None, keystore: Path | None) -> pd.DataFrame:
    """The variables in the clear: Items ahead of the columns that they have, or among those asked for."""
    items = snapshot.unlock(keystore)[ITEMS]
    if names is None:
        frame = snapshot.variables.drop(columns="Data", errors="ignore")
        frame.insert(0, ITEMS, items.array)
        return frame
    frame = snapshot.table("variables", [name for name in names if name != ITEMS])
    frame[ITEMS] = items.array
    return frame[[name for name in names if name in frame]]


def _unlocked(snapshot: Snapshot, variable: dict[str, Any], keystore: Path | None) -> dict[str, Any]:
    """One variable in the clear, whatever the others are like: Items in place of Data."""
    import base64

    from snapkit.state.snapshot.keyring import Keyring

    place = str(variable.get("Namespace")), str(variable.get("Path")), str(variable.get("KeyID"))
    items = Keyring(snapshot.table, keystore).open_variable(*place, base64.b64decode(variable.get("Data") or ""))
    return {name: value for name, value in variable.items() if name != "Data"} | {ITEMS: items}


def _where(frame: pd.DataFrame, condition: str | None) -> pd.DataFrame:
    if condition is None:
        return frame
    try:
        _refuse_effects(condition)
        return frame.query(condition, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # pandas passes on whatever the expression raises
        names = ", ".join([str(n) for n in frame.index.names if n] + [str(c) for c in frame.columns])
        raise SnapshotError(
            f"can't be evaluated ({error})", f"--where {condition!r}", f"the fields are {names}"
        ) from error


def _mentioned(condition: str, columns: list[str]) -> list[str]:
    """Those columns that a condition looks at."""
    try:
        nodes = list(ast.walk(ast.parse(condition.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # said where it is evaluated
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return [name for name in columns if name in names]


HARMLESS = {"str", "dt", "isna", "isnull", "notna", "notnull", "isin", "between"}


def _refuse_effects(condition: str) -> None:
    """A filter is not to write files, as pandas' `ID.to_csv('…')` would: of methods, only those that look at values."""
    if "`" in condition:  # pandas' own quotes, which Python's parser does not know
        raise ValueError("` is not allowed")
    for node in ast.walk(ast.parse(condition.strip(), mode="eval")):
        if isinstance(node, ast.Attribute) and node.attr not in HARMLESS:
            of_values = isinstance(node.value, ast.Attribute) and node.value.attr in ("str", "dt")
            if not of_values or node.attr.startswith("_"):
                raise ValueError(f".{node.attr} is not allowed")


@app.command(examples=["search friday.snap stratum", "search friday.snap '10\\.0\\.\\d+\\.7' --regex --table jobs"])
def search(
    file: File,
    text: Annotated[str, typer.Argument(help="Taken literally; upper and lower case differ.", metavar="TEXT")],
    regex: Annotated[bool, typer.Option("--regex", help="Take TEXT as a regular expression, Python's.")] = False,
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", "-i", help="Do not tell upper and lower case apart.")
    ] = False,
    table: Tables = None,
    namespace: Annotated[str | None, typer.Option(help="Only objects of this namespace.")] = None,
    identity: Identity = None,
    json_: Json = False,
    reveal: Reveal = False,
) -> None:
    """Every value in the state that holds a text, with its table, key and path."""
    with opened(file, identity) as snapshot:
        hits = snapshot.search(
            text, regex=regex, ignore_case=ignore_case, tables=table, namespace=namespace, reveal=reveal
        )
        show_frame(hits, json_, 0, everything=True)


@app.command(examples=["export friday.snap friday.sqlite", "export friday.snap allocs.csv --table allocs"])
def export(
    file: File,
    dest: Annotated[Path, typer.Argument(help="A file, whose suffix tells the format, or a folder.", metavar="DEST")],
    table: Tables = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="csv, jsonl, parquet, sqlite or duckdb. Of a folder: parquet.", metavar="FORMAT"),
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Write the whole state as an archive: of a server's own copy, say.")
    ] = False,
    overwrite: Overwrite = False,
    identity: Identity = None,
    json_: Json = False,
    reveal: Reveal = False,
) -> None:
    """Write tables as CSV, JSON lines or Parquet (a folder, or one file for one table), SQLite or DuckDB (one file).

    With --archive, a raft snapshot directory or a server's data directory becomes an archive that can be restored.
    """
    from snapkit.state.output.export import export as export_tables

    if archive:
        if table or format_ is not None or reveal:
            raise SnapshotError("is the whole state as it stands", "--archive", "leave out --table, --format, --reveal")
        _export_archive(file, dest, overwrite, identity, json_)
        return
    with opened(file, identity) as snapshot:
        done = export_tables(snapshot, dest, format=format_, tables=table, reveal=reveal, overwrite=overwrite)
    if json_:
        print_json([{"Table": e.table, "Rows": e.rows, "Path": str(e.path)} for e in done])
    else:
        tables = done[0].table if len(done) == 1 else f"{len(done)} tables"
        rows = f"{sum(e.rows for e in done):,} rows"
        print(f"{one_line(str(dest))}: {tables}, {rows}{'' if reveal else ', secrets masked'}")


def _export_archive(file: str, dest: Path, overwrite: bool, identity: str | None, json_: bool) -> None:
    from snapkit.state.output.rebuild import RAFT_DIRECTORY, rebuild

    with opened(file, identity) as snapshot:
        made = rebuild(snapshot, dest, overwrite=overwrite)
        is_copy = snapshot.archive.kind == RAFT_DIRECTORY
    if json_:
        seconds = made.age.total_seconds() if made.age is not None else None
        print_json({"Path": made.path, "Index": made.index, "AgeSeconds": seconds, "Peers": json.loads(made.peers)})
        return
    print(f"{one_line(made.path)}: the whole state, index {made.index}")
    if is_copy:
        print(printable(made.to_text()), file=sys.stderr)
