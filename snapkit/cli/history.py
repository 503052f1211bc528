"""fleet history, when, growth, sql, anomalies, extract: what the records of many archives tell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from snapkit.cli.fleet import SOURCES, Dask, Limit, Store, Workers, catalog_of, end, fleet
from snapkit.cli.inputs import Identity, Json, progress_bar, require_free
from snapkit.cli.output import one_line, print_json, print_text, printable, show_frame
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snapkit.fleet.catalog import Catalog

Source = Annotated[
    str,
    typer.Argument(
        help="Archives: a quoted pattern such as 'backups/*.snap', a folder, or an fsspec URL of these.",
        metavar="SOURCE",
    ),
]
Sources = Annotated[list[str], typer.Argument(help=SOURCES, metavar="SOURCES...")]
TABLE = typer.Argument(help="As `snapkit show` names it: jobs, allocs, acl_policies, …", metavar="TABLE")
Key = Annotated[list[str] | None, typer.Argument(help="The object's key: a job's is NAMESPACE ID.", metavar="KEY…")]
Cluster = Annotated[
    str | None, typer.Option("--cluster", help="A ClusterID, or how it begins; needed where there are several.")
]


def _extracted(
    sources: list[str],
    store: Path | None,
    workers: int,
    dask: str | None,
    identity: str | None,
    tables: Sequence[str],
) -> Catalog:
    """A catalog whose tables are extracted; notes on stderr which archives are left out."""
    for table in tables:
        _require(table)  # a mistake is told before archives are read
    catalog = catalog_of(sources, store, workers, dask, identity, level="counts")
    with progress_bar("Extracting records") as progress:
        told = catalog.extract(tables, progress=progress)
    for message in told.loc[told["Status"] == "left out", "Message"]:
        print(f"snapkit: note: left out: {one_line(message)}", file=sys.stderr)
    return catalog


def _require(table: str) -> None:
    from snapkit.fleet.dataset import require_table

    if "/" in table or table.endswith(".snap"):
        raise SnapshotError("is a file where a table is due", table, "quote the pattern: 'backups/*.snap'")
    require_table(table)


@fleet.command()
def extract(
    sources: Sources,
    store: Annotated[Path, typer.Option("--store", help="Where records are kept, secrets masked.")],
    table: Annotated[list[str] | None, typer.Option("--table", help="Only this table; may be repeated.")] = None,
    workers: Workers = 1,
    dask: Dask = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Keep the records of archives in a store, each once, as Parquet: later questions are answered at once.

    What is there already is not read again.
    """
    catalog = catalog_of(sources, store, workers, dask, identity, level="counts")
    with progress_bar("Extracting records") as progress:
        told = catalog.extract(table, progress=progress)
    show_frame(told, json_, 0)
    end(catalog)


@fleet.command()
def history(
    source: Source,
    table: Annotated[str, TABLE],
    key: Key = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Show also what nobody did: indexes and times alone, heartbeats.")
    ] = False,
    store: Store = None,
    workers: Workers = 1,
    dask: Dask = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Every state that an object had: from which snapshot to which, and what changed between.

    As in: snapkit fleet history 'backups/*.snap' jobs shop web
    """
    catalog = _extracted([source], store, workers, dask, identity, [table])
    found = catalog.history(table, *(key or ()), noise=noise)
    if json_:
        print_json(found.to_json())
    else:
        print_text(found.to_text())
    end(catalog)


@fleet.command()
def when(
    source: Source,
    table: Annotated[str, TABLE],
    key_and_condition: Annotated[
        list[str],
        typer.Argument(
            help="The object's key, and last a condition such as \"Rules ~ 'write'\".", metavar="KEY… CONDITION"
        ),
    ],
    store: Store = None,
    workers: Workers = 1,
    dask: Dask = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Since when, and until when, an object met a condition: ==, !=, <, <=, >, >=, ~ (a pattern), in, and, or, not.

    As in: snapkit fleet when 'backups/*.snap' acl_policies anonymous "Rules ~ 'write'"
    """
    from snapkit.fleet.conditions import condition

    condition(key_and_condition[-1])  # so that a mistake is told before archives are read
    catalog = _extracted([source], store, workers, dask, identity, [table])
    found = catalog.when(table, *key_and_condition)
    if json_:
        show_frame(found, True, 0)
    elif len(found):
        print_text("".join(f"{printable(_period(row))}\n" for row in found.to_dict("records")))
    else:
        print("never, in any of these archives")
    end(catalog)


def _period(row: dict[Any, Any]) -> str:
    import pandas as pd

    def shown(name: str) -> str:
        return f"{row[name]:%Y-%m-%d %H:%M:%S}"

    since = f"before {shown('Since')}" if pd.isna(row["After"]) else f"between {shown('After')} and {shown('Since')}"
    lasts = pd.isna(row["Before"])
    until = f"at least {shown('Until')}" if lasts else f"between {shown('Until')} and {shown('Before')}"
    snapshots = "1 snapshot" if row["Snapshots"] == 1 else f"{row['Snapshots']} snapshots"
    return f"since {since}, until {until} UTC ({snapshots}; cluster {row['ClusterID'] or 'unknown'})"


@fleet.command()
def growth(
    sources: Sources,
    by: Annotated[Literal["table", "job"], typer.Option(help="job: all records that are a job's.")] = "table",
    measure: Annotated[Literal["bytes", "count"], typer.Option(help="Bytes in the state, or records.")] = "bytes",
    top: Annotated[int, typer.Option(help="How many, the largest at the end first.", min=1)] = 8,
    cluster: Cluster = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Draw a chart: .svg or .png.", metavar="FILE")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    store: Store = None,
    workers: Workers = 1,
    dask: Dask = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """How tables or jobs grew, as a table or as a chart."""
    if output is not None:
        require_free([output], overwrite)
    catalog = catalog_of(sources, store, workers, dask, identity, level="counts")
    with progress_bar("Extracting records"):
        grown = catalog.growth(by, measure="Bytes" if measure == "bytes" else "Count", cluster=cluster)
    for entry in catalog.entries():
        if not entry.tables and entry.verdict != "unread":
            print(f"snapkit: note: left out: {one_line(entry.error)}", file=sys.stderr)
    grown = grown.iloc[:, :top]
    if output is not None:
        from snapkit.jupyter.charts import growth_chart

        title = f"{'Bytes in state.bin' if measure == 'bytes' else 'Records'} by {by}, over time (UTC)"
        growth_chart(grown, title).save(output, overwrite=overwrite)
        print_json({"Path": str(output)}) if json_ else print_text(f"{one_line(str(output))}: {grown.shape[1]} lines\n")
    else:
        show_frame(grown, json_, 0, everything=True)
    end(catalog)


@fleet.command()
def sql(
    source: Source,
    query: Annotated[str, typer.Argument(help="One SELECT, DuckDB's.", metavar="QUERY")],
    store: Store = None,
    workers: Workers = 1,
    dask: Dask = None,
    identity: Identity = None,
    limit: Limit = None,
    json_: Json = False,
) -> None:
    """Ask with SQL: a view for each table, with Snapshot, ClusterID, Created and Index beside Nomad's fields.

    As in: snapkit fleet sql 'backups/*.snap' "SELECT Created, count(*) FROM allocs GROUP BY 1"
    """
    from snapkit.fleet.views import tables_in

    catalog = _extracted([source], store, workers, dask, identity, tables_in(query))
    show_frame(catalog.sql(query), json_, limit)
    end(catalog)


@fleet.command()
def anomalies(
    sources: Sources,
    store: Store = None,
    workers: Workers = 1,
    dask: Dask = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """What is worth a look: jumps, tables that only grow, deletions in ACL tables, an index that went back.

    Exit status: 1 if there is something.
    """
    from snapkit.fleet.anomalies import ACL_TABLES

    catalog = _extracted(sources, store, workers, dask, identity, ACL_TABLES)
    found = catalog.anomalies()
    shown = found if json_ else found[["Created", "Kind", "Message"]].assign(Created=found["Created"].dt.floor("s"))
    show_frame(shown, json_, 0, everything=True)
    end(catalog, 1 if len(found) else 0)
