"""Tables as files: CSV, JSON lines, Parquet, SQLite and DuckDB, each by the library that does it well."""

from __future__ import annotations

import base64
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from snapkit.errors import SnapshotError, SourceError
from snapkit.files import publish, refuse_existing, temporary_name
from snapkit.state.snapshot import Snapshot

SALVAGED = "SALVAGED.txt"
NOTE = "_snapkit_salvage"

Write = Callable[[Snapshot, str, Path, bool], int]


class Exported(NamedTuple):
    """A table that was exported: how many rows, and where to."""

    table: str
    rows: int
    path: Path


def records(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a table as dicts for json: times RFC 3339, durations in nanoseconds, bytes base64, None for NA."""
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    columns = [[_plain(value) for value in frame[name].array] for name in frame.columns]
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, dict | list | tuple | str | bool):
        return value
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, pd.Timedelta):
        return value.value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.item() if hasattr(value, "item") else value


def export(
    snapshot: Snapshot,
    target: str | Path,
    *,
    format: str | None = None,
    tables: Sequence[str] | None = None,
    reveal: bool = False,
    overwrite: bool = False,
) -> list[Exported]:
    """Write tables to a file or a folder, with all their fields; secrets are masked.

    A `.sqlite`, `.db` or `.duckdb` file takes all tables. A `.csv`, `.jsonl` or `.parquet` file takes one table;
    any other target is a folder with a file for each table. Nested fields are JSON as Nomad has it.

    What was salvaged never looks whole: a folder has a SALVAGED.txt, a database a table `_snapkit_salvage`, Parquet
    files the metadata `snapkit.salvage`, and the name of a file by itself must have "salvaged" in it.

    Args:
        snapshot: The open snapshot.
        target: The file or folder; there only when it is whole.
        format: `csv`, `jsonl`, `parquet`, `sqlite` or `duckdb`; by default by the target's suffix, and Parquet for a
            folder.
        tables: Which; by default all that have records.
        reveal: Write secrets in the clear.
        overwrite: May a file that is there be replaced? A folder is never replaced.

    Raises:
        TargetExistsError: The target is there.
        SnapshotError: The format is not known, or its library is not installed; or a file would not show that its
            table was salvaged.
    """
    target = Path(target)
    chosen = list(tables) if tables is not None else list(snapshot.tables.index)
    for table in chosen:
        snapshot.columns(table)  # so that a wrong name fails before anything is written
    by_suffix = _SUFFIXES.get(target.suffix.lower())
    form = format or by_suffix or "parquet"
    if form == "parquet" and by_suffix is None and format is None and _LIKE_A_FILE.fullmatch(target.suffix):
        known = ", ".join(_SUFFIXES)
        raise SnapshotError("has no suffix of a format", str(target), f"there are {known}; a folder has none")
    if form not in {*_TABLE_FORMATS, *_DATABASES}:
        raise SnapshotError(f"is no format {form!r}", "", f"there are {', '.join([*_TABLE_FORMATS, *_DATABASES])}")
    if form in _DATABASES:
        return _to_database(snapshot, chosen, target, form, reveal, overwrite)
    if by_suffix is None:
        return _to_folder(snapshot, chosen, target, form, reveal)
    if len(chosen) != 1:
        advice = "name one with --table, or a folder or a .sqlite or .duckdb file"
        raise SnapshotError(f"holds one table, and {len(chosen)} are to be exported", str(target), advice)
    if snapshot.salvage is not None and "salvaged" not in target.name.lower():
        advice = f"call it {target.stem}.salvaged{target.suffix}, or export to a folder or database"
        raise SnapshotError("would not show that the snapshot was salvaged", str(target), advice)
    refuse_existing(target, overwrite)
    with temporary_name(target) as temporary:
        rows = _TABLE_FORMATS[form](snapshot, chosen[0], temporary, reveal)
        publish(temporary, target, overwrite)
    return [Exported(chosen[0], rows, target)]


def _to_folder(snapshot: Snapshot, tables: Sequence[str], target: Path, form: str, reveal: bool) -> list[Exported]:
    refuse_existing(target, False)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".snapkit-", dir=target.parent))
    except OSError as error:
        raise SourceError(f"can't be written ({error.strerror})", str(target), "choose another folder") from error
    try:
        exported = []
        for table in tables:
            name = f"{table}.{form}"
            path = temporary / name
            path.touch(0o600)
            exported.append(Exported(table, _TABLE_FORMATS[form](snapshot, table, path, reveal), target / name))
        if snapshot.salvage is not None:
            note = temporary / SALVAGED
            note.touch(0o600)
            note.write_text("".join(f"{name}: {value}\n" for name, value in _account(snapshot).items()), "utf-8")
        temporary.rename(target)
        return exported
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _to_database(
    snapshot: Snapshot, tables: Sequence[str], target: Path, form: str, reveal: bool, overwrite: bool
) -> list[Exported]:
    refuse_existing(target, overwrite)
    with temporary_name(target) as temporary:
        try:
            rows = _DATABASES[form](snapshot, tables, temporary, reveal)
        except Exception as error:  # of sqlite3, sqlite_utils or DuckDB: no column, two of a name, no room
            if isinstance(error, SnapshotError | OSError):
                raise
            reason = str(error).partition("\n")[0]
            advice = "is there room? Else export to a folder, or leave a table out by --table"
            raise SnapshotError(f"can't be written ({reason})", str(target), advice) from error
        publish(temporary, target, overwrite)
    return [Exported(table, count, target) for table, count in zip(tables, rows, strict=True)]


def _account(snapshot: Snapshot) -> dict[str, str]:
    """What was salvaged and what was lost, to go with what is exported; empty if the source was whole."""
    account = snapshot.salvage
    if account is None:
        return {}
    of = "unknown" if account.bytes_total is None else str(account.bytes_total)
    return {
        "salvaged": str(account),
        "source": snapshot.archive.source,
        "reason": account.reason,
        "vouched": "yes" if account.vouched else "no: records may be altered",
        "evidence": account.evidence or "none",
        "bytes_total": of,
        "bytes_kept": str(account.bytes_kept),
        "bytes_lost": str(account.bytes_lost),
        "records": str(account.records),
        "records_lost_probably": str(account.records_lost),
        "records_suspect": str(account.suspect),
        "tables_touched": ", ".join(account.tables),
        "gaps": ", ".join(f"{gap.length} bytes at {gap.offset}" for gap in account.gaps),
    }


def _plainer(arrow: pa.Table) -> pa.Table:
    """Types that every reader knows: bytes as base64, durations as nanoseconds, times without a zone (all are UTC)."""
    for i, field in enumerate(arrow.schema):
        column = arrow.column(i)
        if pa.types.is_large_binary(field.type):
            encoded = [None if v is None else base64.b64encode(v).decode() for v in column.to_pylist()]
            arrow = arrow.set_column(i, field.name, pa.array(encoded, pa.large_string()))
        elif pa.types.is_duration(field.type):
            arrow = arrow.set_column(i, field.name, pc.cast(column, pa.int64()))
        elif pa.types.is_timestamp(field.type):
            arrow = arrow.set_column(i, field.name, pc.cast(column, pa.timestamp("ns")))
    return arrow


def _csv(snapshot: Snapshot, table: str, path: Path, reveal: bool) -> int:
    arrow = _plainer(snapshot.arrow(table, nested=True, reveal=reveal))
    pyarrow.csv.write_csv(arrow, path)
    return int(arrow.num_rows)


def _parquet(snapshot: Snapshot, table: str, path: Path, reveal: bool) -> int:
    arrow = snapshot.arrow(table, nested=True, reveal=reveal)
    if account := _account(snapshot):
        arrow = arrow.replace_schema_metadata({"snapkit.salvage": json.dumps(account)})
    pyarrow.parquet.write_table(arrow, path)
    return int(arrow.num_rows)


def _jsonl(snapshot: Snapshot, table: str, path: Path, reveal: bool) -> int:
    frame = snapshot.table(table, snapshot.columns(table), reveal=reveal)
    with path.open("w", encoding="utf-8") as file:
        for record in records(frame):
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return len(frame)


def _sqlite(snapshot: Snapshot, tables: Sequence[str], path: Path, reveal: bool) -> list[int]:
    sqlite_utils = _library("sqlite_utils")
    database = sqlite_utils.Database(path)
    try:
        if account := _account(snapshot):
            database[NOTE].insert_all({"name": name, "value": value} for name, value in account.items())
        return [_to_sqlite(database, snapshot, table, reveal) for table in tables]
    finally:
        database.conn.close()


def _to_sqlite(database: Any, snapshot: Snapshot, table: str, reveal: bool) -> int:
    frame = snapshot.table(table, snapshot.columns(table), reveal=reveal)
    types = {name: _sqlite_type(frame[name]) for name in frame.columns}
    key = [name for name in frame.index.names if name is not None]
    database[table].create(dict.fromkeys(key, str) | types)
    rows = ({name: _sqlite_value(value) for name, value in record.items()} for record in records(frame))
    database[table].insert_all(rows)
    return len(frame)


def _sqlite_type(column: pd.Series[Any]) -> type:
    dtype: Any = column.dtype
    if isinstance(dtype, pd.UInt64Dtype) and (column >= 2**63).any():
        return str  # a column of integers would round them
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_integer_dtype(dtype) or dtype.kind == "m":
        return int
    return float if pd.api.types.is_float_dtype(dtype) else str


def _sqlite_value(value: Any) -> Any:
    """SQLite has no integers beyond 63 bits: they are text there."""
    return str(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def _duckdb(snapshot: Snapshot, tables: Sequence[str], path: Path, reveal: bool) -> list[int]:
    duckdb = _library("duckdb")
    rows: list[int] = []
    with tempfile.TemporaryDirectory(prefix=".snapkit-", dir=path.parent) as folder:  # which no other may look into
        made = Path(folder) / "new.duckdb"  # DuckDB makes it itself, by the umask, and more beside it
        _fill_duckdb(duckdb, snapshot, tables, made, reveal, rows)
        made.chmod(0o600)
        made.replace(path)
    return rows


def _fill_duckdb(
    duckdb: Any, snapshot: Snapshot, tables: Sequence[str], path: Path, reveal: bool, rows: list[int]
) -> None:
    with duckdb.connect(str(path)) as connection:
        if account := _account(snapshot):
            connection.execute(f"CREATE TABLE {NOTE} (name VARCHAR, value VARCHAR)")
            connection.executemany(f"INSERT INTO {NOTE} VALUES (?, ?)", [list(item) for item in account.items()])
        for table in tables:
            arrow = _plainer(snapshot.arrow(table, nested=True, reveal=reveal))
            connection.register("arrow_table", arrow)
            connection.execute(f'CREATE TABLE "{table}" AS SELECT * FROM arrow_table')
            connection.unregister("arrow_table")
            rows.append(int(arrow.num_rows))


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise SnapshotError(f"needs {name}", "this format", "pip install 'snapkit[export]'") from error


_TABLE_FORMATS: dict[str, Write] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
_DATABASES: dict[str, Callable[[Snapshot, Sequence[str], Path, bool], list[int]]] = {
    "sqlite": _sqlite,
    "duckdb": _duckdb,
}
_LIKE_A_FILE = re.compile(r"\.[A-Za-z]\w{1,6}")
_SUFFIXES = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
    ".duckdb": "duckdb",
}
