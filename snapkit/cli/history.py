"""fleet history, when, growth, sql, anomalies, extract: what the records of many archives tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from snapkit.cli.fleet import Reading, Sources, end, fleet, reads_archives
from snapkit.cli.inputs import Json, Limit, Overwrite, Tables, progress_bar, require_free
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
TABLE = typer.Argument(help="As `snapkit show` names it: jobs, allocs, acl_policies, …", metavar="TABLE")
Key = Annotated[list[str] | None, typer.Argument(help="The object's key: a job's is NAMESPACE ID.", metavar="KEY")]
Cluster = Annotated[
    str | None, typer.Option("--cluster", help="A ClusterID, or how it begins; needed where there are several.")
]


def _extracted(reading: Reading, sources: list[str], tables: Sequence[str]) -> Catalog:
    """A catalog whose tables are extracted."""
    for table in tables:
        _require(table)  # a mistake is told before archives are read
    catalog = reading.catalog(sources)
    with progress_bar("Extracting records") as progress:
        catalog.extract(tables, progress=progress)
    return catalog


def _require(table: str) -> None:
    from snapkit.fleet.dataset import require_table

    if "/" in table or table.endswith(".snap"):
        raise SnapshotError("is a file where a table is due", table, "quote the pattern: 'backups/*.snap'")
    require_table(table)


@fleet.command(examples=["fleet extract 'backups/*.snap' --store fleet"])
@reads_archives
def extract(
    sources: Sources,
    table: Tables = None,
    *,
    reading: Reading,
    json_: Json = False,
) -> None:
    """Keep the records of archives in a store, each once, as Parquet: later questions are answered at once.

    What is there already is not read again.
    """
    if reading.store is None:
        raise SnapshotError("is missing", "--store", "say where records are to be kept, their secrets masked")
    catalog = reading.catalog(sources)
    with progress_bar("Extracting records") as progress:
        told = catalog.extract(table, progress=progress)
    show_frame(told, json_, 0)
    end(catalog)


@fleet.command(examples=["fleet history 'backups/*.snap' jobs shop web"])
@reads_archives
def history(
    source: Source,
    table: Annotated[str, TABLE],
    key: Key = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Show also what nobody did: indexes and times alone, heartbeats.")
    ] = False,
    *,
    reading: Reading,
    json_: Json = False,
) -> None:
    """Every state that an object had: from which snapshot to which, and what changed between."""
    catalog = _extracted(reading, [source], [table])
    found = catalog.history(table, *catalog.find(table, *(key or ())), noise=noise)
    if json_:
        print_json(found.to_json())
    else:
        print_text(found.to_text())
    end(catalog)


@fleet.command(examples=["fleet when 'backups/*.snap' acl_policies anonymous \"Rules ~ 'write'\""])
@reads_archives
def when(
    source: Source,
    table: Annotated[str, TABLE],
    key_and_condition: Annotated[
        list[str],
        typer.Argument(
            help="The object's key, and last a condition such as \"Rules ~ 'write'\".", metavar="KEY|CONDITION"
        ),
    ],
    *,
    reading: Reading,
    json_: Json = False,
) -> None:
    """Since when, and until when, an object met a condition: ==, !=, <, <=, >, >=, ~ (a pattern), in, and, or, not."""
    from snapkit.fleet.conditions import condition

    condition(key_and_condition[-1])  # so that a mistake is told before archives are read
    catalog = _extracted(reading, [source], [table])
    *key, asked = key_and_condition
    found = catalog.when(table, *catalog.find(table, *key), asked)
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


@fleet.command(examples=["fleet growth 'backups/*.snap' --by job", "fleet growth backups -o growth.svg"])
@reads_archives
def growth(
    sources: Sources,
    by: Annotated[Literal["table", "job"], typer.Option(help="job: all records that are a job's.")] = "table",
    measure: Annotated[Literal["bytes", "count"], typer.Option(help="Bytes in the state, or records.")] = "bytes",
    top: Annotated[int, typer.Option(help="How many, the largest at the end first.", min=1)] = 8,
    cluster: Cluster = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Draw a chart: .svg or .png.", metavar="FILE")
    ] = None,
    overwrite: Overwrite = False,
    *,
    reading: Reading,
    json_: Json = False,
) -> None:
    """How tables or jobs grew, as a table or as a chart."""
    from snapkit.fleet.history import OF_JOBS

    if output is not None:
        require_free([output], overwrite)
    catalog = _extracted(reading, sources, list(OF_JOBS) if by == "job" else [])
    grown = catalog.growth(by, measure="Bytes" if measure == "bytes" else "Count", cluster=cluster, top=top)
    if output is not None:
        from snapkit.jupyter.charts import growth_chart

        title = f"{'Bytes in state.bin' if measure == 'bytes' else 'Records'} by {by}, over time (UTC)"
        growth_chart(grown, title).save(output, overwrite=overwrite)
        print_json({"Path": str(output)}) if json_ else print_text(f"{one_line(str(output))}: {grown.shape[1]} lines\n")
    else:
        show_frame(grown, json_, 0, everything=True)
    end(catalog)


@fleet.command(examples=["fleet sql 'backups/*.snap' \"SELECT Created, count(*) FROM allocs GROUP BY 1\""])
@reads_archives
def sql(
    source: Source,
    query: Annotated[str, typer.Argument(help="One SELECT, DuckDB's.", metavar="QUERY")],
    *,
    reading: Reading,
    limit: Limit = None,
    json_: Json = False,
) -> None:
    """Ask with SQL: a view for each table, with Snapshot, ClusterID, Created and Index beside Nomad's fields."""
    from snapkit.fleet.views import tables_in

    catalog = _extracted(reading, [source], tables_in(query))
    show_frame(catalog.sql(query), json_, limit)
    end(catalog)


@fleet.command(examples=["fleet anomalies 'backups/*.snap' --store fleet"])
@reads_archives
def anomalies(
    sources: Sources,
    *,
    reading: Reading,
    json_: Json = False,
) -> None:
    """What is worth a look: jumps, tables that only grow, deletions in ACL tables, an index that went back.

    Exit status: 1 if there is something.
    """
    from snapkit.fleet.anomalies import ACL_TABLES

    catalog = _extracted(reading, sources, ACL_TABLES)
    found = catalog.anomalies()
    shown = found if json_ else found[["Created", "Kind", "Message"]].assign(Created=found["Created"].dt.floor("s"))
    show_frame(shown, json_, 0, everything=True)
    end(catalog, 1 if len(found) else 0)
