"""The command: each subcommand calls one function of the library.

Results go to stdout, progress and errors to stderr. Exit status: 0 it did what was asked; 2 it could not.
Only what a subcommand needs is imported, so that it answers at once.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from snapkit.errors import SnapshotError
from snapkit.version import __version__

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from snapkit.format.archive import Archive, Progress
    from snapkit.format.records import Tally
    from snapkit.state.snapshot import Snapshot


@contextmanager
def _endings() -> Iterator[None]:
    """How Ctrl-C and a reader that went away (`snapkit show … | head`) end the process."""
    try:
        yield
    except KeyboardInterrupt:
        print("snapkit: interrupted", file=sys.stderr, flush=True)
        os._exit(130)  # not sys.exit: a thread may hang in a read from a pipe; temporary files are gone by now
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(0)


def _discard_stdout() -> None:
    """What could not be written is not tried again as the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Commands(TyperGroup):
    """Ends as we want it, before typer sees why and exits in its own ways."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _endings():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _endings():
            return super().invoke(ctx)


app = typer.Typer(
    name="snapkit",
    cls=_Commands,
    help="Explore and verify Nomad snapshot archives.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

NESTED_WIDTH = 60  # characters of a nested value in a table; --json shows all

FILE = "An archive, a raft snapshot or data directory, a state.bin, any fsspec URL; - for standard input."
File = Annotated[str, typer.Argument(help=FILE, metavar="FILE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show secrets in the clear.")]


def main() -> None:
    """Run the command; whatever goes wrong with input is one line on stderr and exit status 2."""
    try:
        with _endings():
            try:
                app(prog_name="snapkit")
            except SystemExit:
                sys.stdout.flush()  # a full disk is told of here, and not as the process ends
                raise
    except SnapshotError as error:
        _fail(str(error))
    except OSError as error:
        _discard_stdout()
        _fail(
            f"{error.filename or 'input or output'}: {error.strerror or error}; check the path, its mode and the disk"
        )


def _fail(message: str) -> None:
    print(f"snapkit: {_one_line(message)}", file=sys.stderr)
    sys.exit(2)


def _printable(text: str) -> str:
    """Without control characters: what an archive holds must not drive the terminal."""
    return "".join(c if c.isprintable() or c in "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _one_line(text: str) -> str:
    return _printable(" ".join(text.splitlines()))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"snapkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


# -- subcommands


@app.command()
def inspect(file: File, json_: Json = False) -> None:
    """What an archive is: its Raft metadata, and count and bytes of each record type.

    With --json, the keys of `nomad operator snapshot inspect -json`.
    """
    from snapkit.format import archive
    from snapkit.format.records import Framer
    from snapkit.format.schema import type_name

    framer = Framer(index=False)
    with _progress(f"Reading {file}") as progress:
        found = archive.read(_source(file), framer, progress=progress)
        try:
            framer.close()
        except SnapshotError as error:
            raise error.at(found.source) from error
    tallies = sorted(framer.tallies.items(), key=lambda item: -item[1].bytes)
    stats = [{"Name": type_name(byte), "Count": tally.count, "Sum": tally.bytes} for byte, tally in tallies]
    if json_:
        _print_json({"Meta": dict(found.meta), "Stats": stats})
    else:
        _print_inspected(found, stats)
    _note_oddities(found, framer.tallies)


def _print_inspected(found: Archive, stats: list[dict[str, Any]]) -> None:
    total = sum(row["Sum"] for row in stats)
    grid = _grid("", "")
    meta = found.meta
    servers = (meta.get("Configuration") or {}).get("Servers") or []
    for name, value in {
        "Source": f"{found.source} ({found.kind})",
        "ID": meta.get("ID", "unknown"),
        "Taken": _utc(str(meta.get("ID", ""))),
        "Index, term": f"{meta.get('Index', 'unknown')}, {meta.get('Term', 'unknown')}",
        "Servers": ", ".join(str(server.get("Address")) for server in servers) or "unknown",
        "State": f"{total:,} bytes, SHA-256 {next(m.sha256 for m in found.members if m.name == 'state.bin')}",
    }.items():
        grid.add_row(name, _printable(str(value)))
    table = _grid("Type", "Count", "Bytes", "Share", right=(1, 2, 3))
    for row in stats:
        table.add_row(row["Name"], f"{row['Count']:,}", f"{row['Sum']:,}", f"{row['Sum'] / total:.1%}")
    _draw(grid, table)


def _utc(snapshot_id: str) -> str:
    from datetime import UTC, datetime

    from snapkit.format.archive import created_milliseconds

    milliseconds = created_milliseconds(snapshot_id)
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC" if milliseconds else "unknown"


def _note_oddities(found: Archive, tallies: dict[int, Tally] | None = None) -> None:
    """On stderr: what a server would refuse or a person would want to know, though it could be read."""
    from snapkit.format.schema import BY_BYTE, type_name

    for oddity in found.oddities:
        verdict = "; a server refuses this archive" if oddity.refused else ""
        print(f"snapkit: note: {_one_line(f'{oddity.place}: {oddity.message}{verdict}')}", file=sys.stderr)
    for byte in sorted((tallies or {}).keys() - BY_BYTE.keys()):
        advice = "it is of Nomad Enterprise or newer than this snapkit, and is listed as it stands"
        print(f"snapkit: note: record type {type_name(byte)} is not known; {advice}", file=sys.stderr)


@app.command()
def show(
    file: File,
    table: Annotated[str | None, typer.Argument(help="A table, such as jobs; without one, all are listed.")] = None,
    key: Annotated[list[str] | None, typer.Argument(help="The key fields of one object.", metavar="[KEY]...")] = None,
    where: Annotated[str | None, typer.Option(help="A filter, such as \"ClientStatus == 'failed'\".")] = None,
    columns: Annotated[str | None, typer.Option(help="Nomad's field names, separated by commas.")] = None,
    limit: Annotated[int | None, typer.Option(help="Rows to show; 0 for all. Default: 50 on a terminal.")] = None,
    json_: Json = False,
    reveal: Reveal = False,
) -> None:
    """The tables of a snapshot, one of them, or one object by its key."""
    with _opened(file) as snapshot:
        if table is None:
            _show_frame(snapshot.tables, json_, limit)
        elif key:
            _print_json(snapshot.get(table, *key, reveal=reveal))
        else:
            names = [name.strip() for name in columns.split(",")] if columns else None
            frame = snapshot.table(table, names, reveal=reveal)
            _show_frame(_where(frame, where), json_, limit, everything=names is not None)


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


@app.command()
def search(
    file: File,
    text: Annotated[str, typer.Argument(help="Taken literally; upper and lower case differ.", metavar="TEXT")],
    json_: Json = False,
    reveal: Reveal = False,
) -> None:
    """Every value in the state that holds a text, with its table, key and path."""
    with _opened(file) as snapshot:
        _show_frame(snapshot.search(text, reveal=reveal), json_, 0, everything=True)


@app.command()
def export(
    file: File,
    dest: Annotated[Path, typer.Argument(help="A file, whose suffix tells the format, or a folder.", metavar="DEST")],
    table: Annotated[list[str] | None, typer.Option("--table", help="Only this table; may be repeated.")] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="csv, jsonl, parquet, sqlite or duckdb. Of a folder: parquet."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json_: Json = False,
    reveal: Reveal = False,
) -> None:
    """Write tables as CSV, JSON lines or Parquet (a folder, or one file for one table), SQLite or DuckDB (one file)."""
    from snapkit.state.export import export as export_tables

    with _opened(file) as snapshot:
        done = export_tables(snapshot, dest, format=format_, tables=table, reveal=reveal, overwrite=overwrite)
    if json_:
        _print_json([{"Table": e.table, "Rows": e.rows, "Path": str(e.path)} for e in done])
    else:
        tables = done[0].table if len(done) == 1 else f"{len(done)} tables"
        rows = f"{sum(e.rows for e in done):,} rows"
        print(f"{_one_line(str(dest))}: {tables}, {rows}{'' if reveal else ', secrets masked'}")


@app.command()
def save(
    dest: Annotated[str, typer.Argument(help="A file, a folder, - or any fsspec URL.", metavar="DEST")] = ".",
    stale: Annotated[bool, typer.Option("--stale", help="From the server that is asked, leader or not.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json_: Json = False,
) -> None:
    """Save a snapshot of the cluster that NOMAD_ADDR and its family name, verified as it arrives."""
    from snapkit.cluster.client import Client

    with _progress("Saving") as progress:
        saved = Client.from_env().save(dest, stale=stale, overwrite=overwrite, progress=progress)
    if json_:
        _print_json({"Path": saved.path, "Size": saved.size, "SHA256": saved.sha256, "Digest": saved.digest_checked})
    elif dest != "-":
        digest = "matches" if saved.digest_checked else "was not sent, so nothing vouches for the transfer"
        print(f"{saved.path}: {saved.size:,} bytes, index {saved.meta.get('Index')}; the server's Digest {digest}")


@app.command()
def restore(
    file: File,
    confirm: Annotated[str | None, typer.Option(help="The cluster's address, to restore without being asked.")] = None,
    json_: Json = False,
) -> None:
    """Replace the whole state of the cluster that NOMAD_ADDR names by an archive's, after checking the archive."""
    from snapkit.cluster.client import Client

    client = Client.from_env()
    if confirm is None:
        if not sys.stdin.isatty():
            raise SnapshotError("is not confirmed", "restore", f"add --confirm {client.address}")
        print(f"This replaces the whole state of {client.address}, ACL tokens included.", file=sys.stderr)
        confirm = typer.prompt("Type the address to go on", err=True)
    if confirm != client.address:
        raise SnapshotError(f"is {client.address}, not {_printable(confirm)}", "the cluster", "nothing was sent")
    with _progress(f"Restoring {file}") as progress:
        client.restore(_source(file), progress=progress)
    if json_:
        _print_json({"Restored": file, "Address": client.address})
    else:
        print(f"{client.address} took {file}: its state is the archive's now, and so are its ACL tokens")


@app.command()
def serve(
    file: File,
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 4646,
    bind: Annotated[str, typer.Option(help="An address; any but loopback takes --i-know and TLS.")] = "127.0.0.1",
    i_know: Annotated[bool, typer.Option("--i-know", help="Serve secrets to the network.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="A certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    keystore: Annotated[Path | None, typer.Option(help="A server's keystore, to read variables of 1.4 to 1.8.")] = None,
    version: Annotated[str, typer.Option(help="Of Nomad, to pretend.")] = "2.0.5",
    heartbeat: Annotated[float | None, typer.Option(help="Seconds until restored nodes that are gone go down.")] = None,
    no_leader: Annotated[bool, typer.Option("--fault-no-leader", help="Pretend that there is no leader.")] = False,
    delay: Annotated[float, typer.Option("--fault-delay", help="Seconds before each answer.")] = 0.0,
    cut: Annotated[int | None, typer.Option("--fault-cut", help="Cut an archive after so many bytes.")] = None,
    digest: Annotated[str | None, typer.Option("--fault-digest", help="wrong or missing.")] = None,
    corrupt: Annotated[bool, typer.Option("--fault-corrupt", help="Flip a bit of the archive.")] = False,
    forbidden: Annotated[bool, typer.Option("--fault-forbidden", help="Answer 403 to all.")] = False,
) -> None:
    """Serve a snapshot as Nomad's HTTP API: point the nomad command at it by NOMAD_ADDR."""
    from snapkit.cluster.server import Faults, require_consent
    from snapkit.cluster.server import serve as serve_snapshot

    require_consent(bind, i_know, tls_cert)
    faults = Faults(no_leader, delay, cut, digest, corrupt, forbidden)
    with serve_snapshot(
        _source(file),
        host=bind,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        keystore=keystore,
        version=version,
        heartbeat=heartbeat,
        faults=faults,
    ) as cluster:
        print(f"export NOMAD_ADDR={cluster.address}\nexport NOMAD_TOKEN={cluster.token}", flush=True)
        print("A management token of this session. Ctrl-C ends it.", file=sys.stderr)
        with suppress(KeyboardInterrupt):
            cluster.wait()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where your copy of notebooks and data goes.")] = Path("snapkit-lab"),
) -> None:
    """JupyterLab on your own copy of the notebooks; further arguments are JupyterLab's."""
    from snapkit.jupyter import lab_command, lab_environment, prepare_lab

    command = lab_command(prepare_lab(folder), context.args)
    print(f"Your notebooks are in {folder}/notebooks. Ctrl-C twice ends JupyterLab.", file=sys.stderr)
    os.execve(command[0], command, lab_environment())


@app.command()
def demo() -> None:
    """The main job end to end on a snapshot that comes with snapkit."""
    from snapkit.demo import run

    run()


# -- input and output


def _source(file: str) -> Any:
    return sys.stdin.buffer if file == "-" else file


@contextmanager
def _opened(file: str) -> Iterator[Snapshot]:
    from snapkit.state.snapshot import open_snapshot

    with _progress(f"Reading {file}") as progress:
        snapshot = open_snapshot(_source(file), progress=progress)
    with snapshot:
        _note_oddities(snapshot.archive)
        yield snapshot


@contextmanager
def _progress(what: str) -> Iterator[Progress | None]:
    """A bar on stderr, only on a terminal and only for what takes over a second."""
    if not sys.stderr.isatty():
        yield None
        return
    started = time.monotonic()
    bar: Any = None
    task: Any = None

    def progress(done: int, total: int | None) -> None:
        nonlocal bar, task
        if bar is None and time.monotonic() - started > 1:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            bar = Bar(*columns, console=Console(stderr=True), transient=True)
            bar.start()
            task = bar.add_task(_printable(what), total=total)
        if bar is not None:
            bar.update(task, completed=done)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.stop()


def _print_json(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=not _is_utf8())
    # json leaves control characters beyond ASCII as they are, and what is no character at all.
    print(re.sub("[^ -~\n]", lambda found: _escaped(found[0]), text))


def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _grid(*names: str, right: Sequence[int] = ()) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if any(names) else None, pad_edge=False, show_header=any(names))
    for i, name in enumerate(names):
        table.add_column(_printable(name), justify="right" if i in right else "left", overflow="fold")
    return table


def _width() -> int:
    return shutil.get_terminal_size((160, 24)).columns


def _draw(*tables: Table) -> None:
    from rich.console import Console

    console = Console(width=_width(), highlight=False, markup=False)
    with console.capture() as drawn:  # so that print() meets a closed pipe: rich would end the process
        for table in tables:
            console.print(table)
    print(drawn.get(), end="")


def _show_frame(frame: pd.DataFrame, json_: bool, limit: int | None, *, everything: bool = False) -> None:
    """A table as JSON, or as one to read: as many rows as `limit` and as many columns as fit, saying what is left."""
    from snapkit.state.export import records

    if json_:
        _print_json(list(records(frame if limit in (None, 0) else frame.head(limit))))
        return
    limit = (50 if sys.stdout.isatty() else 0) if limit is None else limit
    shown = frame.head(limit) if limit else frame
    rows = [{name: _cell(value) for name, value in record.items()} for record in records(shown)]
    names = list(rows[0]) if rows else [str(name) for name in frame.columns]
    fitting = names if everything else _fitting(names, rows)
    numbers = [str(n) for n in frame.columns if frame[n].dtype.kind in "iuf"]
    if not rows:
        print("0 rows")
        return
    table = _grid(*fitting, right=[i for i, name in enumerate(fitting) if name in numbers])
    for row in rows:
        table.add_row(*(row[name] for name in fitting))
    _draw(table)
    left = [name for name in names if name not in fitting]
    if left:
        print(f"{len(left)} more columns (--columns or --json): {_one_line(', '.join(left))}")
    print(f"{len(frame):,} rows" + (f", {len(shown):,} shown (--limit 0 for all)" if len(shown) < len(frame) else ""))


def _fitting(names: list[str], rows: list[dict[str, str]]) -> list[str]:
    """The leading columns that fit the terminal, without those that are empty."""
    room = _width()
    fitting: list[str] = []
    for name in names:
        cells = [row[name] for row in rows]
        room -= max(map(len, [name, *cells]), default=0) + 2
        if room < 0 and fitting:
            break
        if any(cells):
            fitting.append(name)
        else:
            room += len(name) + 2
    return fitting


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, tuple):
        return _printable("/".join(str(part) for part in value))
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False)
        return _printable(text if len(text) <= NESTED_WIDTH else text[: NESTED_WIDTH - 1] + "…")
    return _printable(str(value))
