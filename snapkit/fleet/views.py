"""Tables of all snapshots as views: for SQL, or as a frame."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from snapkit.errors import SnapshotError
from snapkit.fleet.dataset import DEFAULT, WITHOUT, Archive, Dataset, in_order, record_schema, require_table
from snapkit.format.schema import TYPES
from snapkit.state.snapshot.tables import TEXT, TIMES, to_frame

#: What a view has ahead of Nomad's fields.
OF_SNAPSHOT = ("Snapshot", "ClusterID", "Created", "Index")


def sql(dataset: Dataset, query: str, archives: Sequence[Archive]) -> pd.DataFrame:
    """The answer of DuckDB to one SELECT over views that are named as the tables.

    A view has a row for each record of each snapshot: Snapshot (the archive's source), ClusterID, Created, Index,
    Nomad's fields, key fields first (nested ones are JSON text: `Job->>'$.Name'`), Other, record_id (equal for
    equal records) and record_bytes. The view `snapshots` has Snapshot, ClusterID, Created and Index alone. Nothing
    but these views can be read, and nothing written. DuckDB has durations to the microsecond.

    Records are read by DuckDB itself, piece by piece and the columns that are asked for.

    Args:
        dataset: With the tables that the query is about.
        query: One SELECT.
        archives: Those that it is about.

    Raises:
        SnapshotError: It is no SELECT, or DuckDB can't answer it.
    """
    try:
        import duckdb
    except ImportError as error:
        raise SnapshotError("needs the package duckdb", "sql", "pip install 'snapkit[fleet]'") from error
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise SnapshotError("is no text (half a character)", "sql", "give it in UTF-8") from error
    with tempfile.TemporaryDirectory(prefix="snapkit-") as spill:
        config: dict[str, Any] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,  # variables of Python are no tables
            "temp_directory": spill,
        }
        with duckdb.connect(":memory:", config=config) as connection:
            try:
                statements = connection.extract_statements(query)
                if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                    raise SnapshotError("is not one SELECT", "sql", "only reading is possible, one query at a time")
                connection.execute("SET TimeZone = 'UTC'")
                _make_views(connection, dataset, tables_in(query), archives, Path(spill))
                connection.execute("SET enable_external_access = false")
                connection.execute("SET lock_configuration = true")
                found = connection.sql(query).to_arrow_table()
            except duckdb.Error as error:
                reason = " ".join(str(error).split())
                advice = f"the tables are snapshots, {', '.join(DEFAULT[:3])} and so on; DESCRIBE jobs tells columns"
                raise SnapshotError(f"can't be answered ({reason:.500})", "sql", advice) from error
            try:
                return to_frame(_housed(found))
            except (pa.ArrowNotImplementedError, OverflowError) as error:
                what = f"has an answer that is no column of a frame ({error!s:.200})"
                raise SnapshotError(what, "sql", "cast it, such as to VARCHAR") from error


def _make_views(
    connection: Any, dataset: Dataset, tables: Sequence[str], archives: Sequence[Archive], own: Path
) -> None:
    # Where a table could not be had of an archive, it is left out: not an archive whose table is empty.
    there = [archive for archive in archives if all(dataset.has(archive, table) for table in tables)]
    connection.register("_snapshots", _about(there))
    names = ", ".join(f'"{name}"' for name in OF_SNAPSHOT)
    connection.execute(f"CREATE VIEW snapshots AS SELECT {names} FROM _snapshots")
    link = own / "records"  # a path in which nothing is a pattern, whatever the store is called
    link.symlink_to(dataset.folder.resolve())
    allowed: list[str] = []
    for table in tables:
        spans = dataset.spans(table, there)
        connection.register(f"_{table}_spans", pa.table({"id": spans.record, "a": spans.first, "b": spans.last}))
        paths = dataset.files(table)
        stored = {name for path in paths for name in pq.read_schema(dataset.folder / path).names}
        files = [str(link / path) for path in paths]
        if not files:
            connection.register(f"_{table}", _empty(table))
        records = f"read_parquet([{', '.join(map(_quoted, files))}], union_by_name = true)" if files else f'"_{table}"'
        columns = ", ".join(_column(table, name, stored if files else None) for name in view_columns(table))
        allowed += files
        connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, allowed))}]")
        connection.execute(
            f'CREATE VIEW "{table}" AS SELECT {columns} FROM '
            f"(SELECT r.*, unnest(range(p.a, p.b + 1)) AS _place FROM {records} r "
            f'JOIN "_{table}_spans" p ON r.record_id = p.id) m JOIN _snapshots s ON s._place = m._place'
        )


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"


def _column(table: str, name: str, stored: set[str] | None) -> str:
    """A column of a view, of the types that DuckDB has: Parquet knows no durations."""
    if name in OF_SNAPSHOT:
        return f's."{name}"'
    if stored is not None and name not in stored:  # extracted by a snapkit that did not know it yet
        return f'NULL AS "{name}"'
    is_duration = pa.types.is_duration(_types(table)[name])
    return f'to_microseconds(m."{name}" // 1000) AS "{name}"' if is_duration else f'm."{name}"'


def _types(table: str) -> dict[str, pa.DataType]:
    return {"record_id": pa.int64()} | {field.name: field.type for field in record_schema(require_table(table))}


def _empty(table: str) -> pa.Table:
    kinds = {n: pa.int64() if pa.types.is_duration(kind) else kind for n, kind in _types(table).items()}
    return pa.schema(kinds).empty_table()


def table(dataset: Dataset, name: str, archives: Sequence[Archive]) -> pd.DataFrame:
    """All records of a table in all snapshots, in the columns of its view in `sql()`, by cluster, time and record.

    Raises:
        NotInSnapshotError: There is no such table.
    """
    there = [archive for archive in in_order(archives) if dataset.has(archive, name)]
    about, records = _about(there), dataset.records(name).to_table()
    numbers, places = dataset.spans(name, there).pairs()
    rows = records.take(pc.index_in(pa.array(numbers, pa.int64()), value_set=records["record_id"]))
    of_snapshot = about.take(pa.array(places))
    found = {column: (of_snapshot if column in OF_SNAPSHOT else rows)[column] for column in view_columns(name)}
    return to_frame(_housed(pa.table(found)))


def view_columns(table: str) -> list[str]:
    """What `sql()` and `table()` have of a table: of the snapshot, the key, the other fields, of the record.

    Raises:
        NotInSnapshotError: There is no such table.
    """
    kind = require_table(table)
    names = [name for name in record_schema(kind).names if not name.startswith("record_")]
    return list(dict.fromkeys([*OF_SNAPSHOT, *kind.key, *names, "record_id", "record_bytes"]))


def tables_in(query: str) -> list[str]:
    """The tables that a query may be about."""
    words = set(re.findall(r"\w+", query.lower()))
    return [kind.table for kind in TYPES if kind.table in words and kind.table not in WITHOUT]


def _about(archives: Sequence[Archive]) -> pa.Table:
    return pa.table(
        {
            "_place": pa.array(range(len(archives)), pa.int64()),
            "Snapshot": pa.array([a.place.source for a in archives], pa.string()),
            "ClusterID": pa.array([a.cluster or None for a in archives], pa.string()),
            "Created": pa.array([a.created for a in archives], pa.timestamp("us", "UTC")),
            "Index": pa.array([a.index for a in archives], pa.uint64()),
        }
    )


def _housed(found: pa.Table) -> pa.Table:
    """What DuckDB answers in the types that all frames of ours have."""
    for i, column in enumerate(found.schema):
        kind = column.type
        if pa.types.is_string(kind):
            kind = TEXT
        elif pa.types.is_binary(kind):
            kind = pa.large_binary()
        elif pa.types.is_timestamp(kind) and kind.tz is not None:
            kind = TIMES
        elif pa.types.is_interval(kind):
            found = found.set_column(i, column.name, _durations(found.column(i)))
            continue
        elif pa.types.is_decimal(kind) and kind.scale == 0:  # a sum of integers
            kind = pa.int64()
        try:
            found = found.set_column(i, column.name, found.column(i).cast(kind))
        except pa.ArrowInvalid:
            continue  # beyond 64 bits, or the years that nanoseconds can hold: as DuckDB has it
    return found


def _durations(intervals: pa.ChunkedArray) -> pa.Array:
    """Intervals as durations, where months are 30 days, as they are to DuckDB."""
    nanoseconds = [
        None if v is None else (30 * v.months + v.days) * 86_400 * 10**9 + v.nanoseconds for v in intervals.to_pylist()
    ]
    return pa.array(nanoseconds, pa.duration("ns"))
