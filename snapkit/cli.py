"""The command: each subcommand calls one function of the library.

Results go to stdout, progress and errors to stderr. Exit status: 0 it did what was asked; 1 what was asked for is there
to act on (`verify`: findings); 2 it could not.
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
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from snapkit.errors import SnapshotError
from snapkit.version import __version__

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from rich.table import Table

    from snapkit.format.archive import Archive, Progress
    from snapkit.format.records import Tally
    from snapkit.state.report import Report, Unread
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


SeverityName = Literal["error", "warning", "note"]
FormatName = Literal["text", "json", "junit", "html"]


@app.command()
def verify(
    files: Annotated[
        list[str] | None,
        typer.Argument(help=f"{FILE} Patterns such as 'backups/*.snap' may be quoted.", metavar="FILE..."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The release to restore into: 1.6.2, or 2.0.5+ent.")] = None,
    keystore: Annotated[Path | None, typer.Option(help="A server's keystore: root keys that are at hand.")] = None,
    digest: Annotated[str | None, typer.Option(help="What the file's SHA-256 should be: hex or sha-256=….")] = None,
    against: Annotated[str | None, typer.Option(help="An earlier snapshot of the same cluster.")] = None,
    level: Annotated[
        Literal["archive", "framing", "records", "references"] | None,
        typer.Option(help="How far to go; each has those before it. Default: references."),
    ] = None,
    now: Annotated[str | None, typer.Option(help="When it is, for the age: 2026-11-24T08:00:00Z, or now.")] = None,
    fail_on: Annotated[SeverityName, typer.Option("--fail-on", help="From which severity on to exit 1.")] = "error",
    json_: Json = False,
    format_: Annotated[FormatName | None, typer.Option("--format", help="Default: text.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the report to a file.", metavar="FILE")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    salvage: Annotated[
        Path | None, typer.Option(help="Write what can be read for certain as a whole archive.", metavar="OUT")
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Restore into a throwaway real server too: NOMAD_BIN's or PATH's nomad.")
    ] = False,
    evidence: Annotated[Path | None, typer.Option(help="Add an entry to this folder of evidence.")] = None,
    sign_key: Annotated[Path | None, typer.Option(help="Sign the entry: an Ed25519 key, PEM.")] = None,
    check: Annotated[bool, typer.Option("--check", help="With --evidence: was it altered?")] = False,
    public_key: Annotated[Path | None, typer.Option(help="With --check: the key that signed it, PEM.")] = None,
    anchor: Annotated[str | None, typer.Option(help="With --check: the SHA-256 of an entry, kept elsewhere.")] = None,
) -> None:
    """Is a snapshot whole and consistent, and will it restore? Exits 1 with a finding at or above --fail-on.

    A line for each of many files, the findings of one. With --output, that too, and the report in the file.
    With --evidence DIR --check, no FILE: exits 1 if the evidence, or a file that it has the hash of, was altered.
    """
    if json_ and format_ not in (None, "json"):
        raise SnapshotError(f"is json by --json and {format_} by --format", "the format", "give one of them")
    form: FormatName = "json" if json_ else format_ or "text"
    _require_sense(files, check, evidence, {"--sign-key": sign_key}, {"--public-key": public_key, "--anchor": anchor})
    if check and evidence is not None:
        _check_evidence(evidence, public_key, anchor, form)
        return
    sources, unread = _expanded(files or [])
    for name, value in {"--digest": digest, "--salvage": salvage}.items():
        if value is not None and len(sources) + len(unread) > 1:
            raise SnapshotError("is of one file", name, "verify that file by itself")
    for name, again in {"--salvage": salvage is not None, "--rehearse": rehearse}.items():
        if again and "-" in sources:
            raise SnapshotError("needs a file, to read it again", name, "save standard input as one")
    if rehearse:
        from snapkit.cluster.rehearse import find_binary

        find_binary()  # told before the work
    _require_free([path for path in (output, salvage) if path is not None], overwrite)
    options = {"target": target, "keystore": keystore, "digest": digest, "against": against, "now": _moment(now)}
    options["level"] = level
    given = {name: value for name, value in options.items() if value is not None}
    reports = _verified(sources, unread, given, rehearse)
    done: dict[str, Any] = {}  # what was done besides, as --json has it
    failure: SnapshotError | None = None
    try:
        if reports and evidence is not None:
            used: dict[str, object] = {"files": files, **options, "now": now, "fail_on": fail_on, "salvage": salvage}
            done["evidence"] = _record(reports, evidence, sign_key, used)
        if reports and salvage is not None:
            done["salvage"] = _salvage(sources[0], salvage, overwrite)
    except SnapshotError as error:  # what was found is told first
        failure = error
    if reports:
        _report(reports, unread, form, fail_on, output, overwrite, done)
    if failure is not None:
        raise failure
    _exit_verified(reports, unread, fail_on)


def _require_free(paths: list[Path], overwrite: bool) -> None:
    """Told before the work, and not after."""
    from snapkit.files import refuse_existing

    for path in paths:
        refuse_existing(path, overwrite)
    if len(set(paths)) < len(paths):
        raise SnapshotError("is to be written twice", str(paths[0]), "name two files")


def _require_sense(
    files: list[str] | None,
    check: bool,
    evidence: Path | None,
    with_evidence: dict[str, object],
    with_check: dict[str, object],
) -> None:
    """Raise SnapshotError for options that don't go together."""
    if check and files:
        raise SnapshotError("takes no FILE", "--check", "it looks at the evidence and the files that it names")
    if not check and not files:
        raise SnapshotError("is missing", "FILE", "name one or more, or --evidence DIR --check")
    for name, value in ({"--check": check or None} | with_evidence).items():
        if value is not None and evidence is None:
            raise SnapshotError("needs --evidence", name, "name the folder of evidence")
    for name, value in with_check.items():
        if value is not None and not check:
            raise SnapshotError("needs --check", name, "add --check, without a FILE")
    if check and with_evidence["--sign-key"] is not None:
        raise SnapshotError("does not go with --check", "--sign-key", "give --public-key")


def _expanded(patterns: list[str]) -> tuple[list[str], list[Unread]]:
    """The sources, each once; of patterns that the shell left, the files. What matches nothing is listed by itself."""
    import glob

    from snapkit.state.report import Unread

    sources: list[str] = []
    unread: list[Unread] = []
    for pattern in patterns:
        if pattern == "-" or "://" in pattern or os.path.lexists(pattern) or not glob.has_magic(pattern):
            sources.append(pattern)
        elif found := sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
            sources += found
        else:
            unread.append(Unread(pattern, f"{pattern}: matches no file; check the pattern"))
    return list(dict.fromkeys(sources)), unread


def _moment(now: str | None) -> datetime | None:
    from datetime import UTC, datetime

    if now is None or now == "now":
        return None if now is None else datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(now)
    except ValueError as error:
        raise SnapshotError(f"is no time {now!r:.40}", "--now", "give one such as 2026-11-24T08:00:00Z") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _verified(sources: list[str], unread: list[Unread], options: dict[str, Any], rehearse: bool) -> list[Report]:
    """A report of each source; adds those that can't be read to `unread`."""
    from snapkit.format.archive import describe
    from snapkit.state.report import Unread
    from snapkit.state.verify import verify as verify_snapshot

    reports = []
    for number, source in enumerate(sources, 1):
        of_many = f" ({number} of {len(sources)})" if len(sources) > 1 else ""
        try:
            with _progress(f"Verifying {describe(source)}{of_many}") as progress:
                report = verify_snapshot(_source(source), progress=progress, **options)
            reports.append(_rehearsed(report, source) if rehearse else report)
        except SnapshotError as error:
            unread.append(Unread(describe(source), str(error)))
    return reports


def _rehearsed(report: Report, source: str) -> Report:
    """With what a throwaway real server makes of it; of a container that is damaged, it is not asked."""
    from dataclasses import replace

    from snapkit.cluster.rehearse import rehearse
    from snapkit.state.verify import CHECKS
    from snapkit.state.verify.registry import REHEARSAL

    if any(f.severity == "error" and CHECKS[f.check].level in ("archive", "framing") for f in report.found):
        return report
    checks = [check.id for check in CHECKS.values() if check.level == REHEARSAL]
    return replace(report, found=(*rehearse(source), *report.found), checks=(*report.checks, *checks))


def _record(
    reports: list[Report], folder: Path, sign_key: Path | None, arguments: dict[str, object]
) -> dict[str, object]:
    from datetime import UTC, datetime

    from snapkit.state.evidence import newest, record

    path = record(reports, folder, arguments=arguments, now=datetime.now(UTC), sign_key=sign_key)
    return {"path": str(path), "sha256": newest(folder).sha256}


def _salvage(source: str, target: Path, overwrite: bool) -> dict[str, object]:
    from dataclasses import asdict

    from snapkit.state.salvage import write_salvaged
    from snapkit.state.snapshot import open_snapshot

    with open_snapshot(source, salvage=True) as snapshot:
        account = snapshot.salvage
        if account is not None and not account.records:
            advice = f"{account.suspect:,} can be read and may be altered: snapkit.open(…, salvage='suspect') has them"
            raise SnapshotError("of no record is it certain that it is as it was written", source, advice)
        write_salvaged(snapshot, target, overwrite=overwrite)
    told = str(account) if account is not None else "a copy: nothing was lost"
    return {"path": str(target), "whole": account is None, "told": told} | (asdict(account) if account else {})


def _report(
    reports: list[Report],
    unread: list[Unread],
    form: FormatName,
    fail_on: SeverityName,
    output: Path | None,
    overwrite: bool,
    done: dict[str, Any],
) -> None:
    """On stdout, or in a file and then a line for each source on stdout."""
    from datetime import UTC, datetime

    from snapkit.files import atomic
    from snapkit.state.report import document, junit, page

    one = len(reports) + len(unread) == 1
    lines = "".join(f"{report.to_line()}\n" for report in reports) + ("" if one else _total(reports, unread))
    if form == "json":
        text = _json(document(reports, unread) | done) + "\n"
    elif form == "junit":
        text = junit(reports, unread, fail_on=fail_on, now=datetime.now(UTC))
    elif form == "html":
        text = page(reports, unread)
    elif one or output is not None:
        text = "\n".join(report.to_text() for report in reports)
    else:
        text = lines
    if output is None:
        _print(text)
    else:
        with atomic(output, overwrite) as file:
            file.write(text.encode("utf-8", "replace"))
        _print(lines)
    told = {"evidence": "{path}, the newest is SHA-256 {sha256}", "salvage": "{path}: {told}"}
    for name, about in done.items():
        line = _one_line(f"{name}: {told[name].format(**about)}")
        if form == "text" or output is not None:
            _print(f"{line}\n")
        elif name == "salvage" and form != "json":
            print(f"snapkit: note: {line}", file=sys.stderr)  # never silently


def _total(reports: list[Report], unread: list[Unread]) -> str:
    ok = sum(report.ok for report in reports)
    counts = {"ok": ok, "not ok": len(reports) - ok, "could not be read": len(unread)}
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f"{len(reports) + len(unread):,} sources: {told}\n"


def _exit_verified(reports: list[Report], unread: list[Unread], fail_on: SeverityName) -> None:
    from snapkit.state.report import at_or_above

    for message in dict.fromkeys(u.message for u in unread):
        print(f"snapkit: {_one_line(message)}", file=sys.stderr)
    if unread:
        raise typer.Exit(2)
    if any(at_or_above(report.worst, fail_on) for report in reports if report.worst is not None):
        raise typer.Exit(1)


def _check_evidence(folder: Path, public_key: Path | None, anchor: str | None, form: FormatName) -> None:
    from snapkit.state.evidence import check, newest

    if form not in ("text", "json"):
        raise SnapshotError(f"has no format {form}", "--check", "there are text and json")
    problems = check(folder, public_key=public_key, anchor=anchor)
    head, broken = newest(folder), any(problem.severity == "error" for problem in problems)
    if form == "json":
        found = [{"kind": p.kind, "severity": p.severity, "place": p.place, "message": p.message} for p in problems]
        about = {"schema": "snapkit.evidence-check/1", "intact": not broken, "newest": head.number}
        _print_json(about | {"sha256": head.sha256, "signatures": public_key is not None, "problems": found})
    else:
        verdict = "not intact" if broken else "intact"
        signed = "by that key" if public_key is not None else "signatures not looked at"
        _print(f"{_one_line(str(folder))}: {verdict}; newest entry {head.number}, SHA-256 {head.sha256}; {signed}\n")
        _print("".join(f"{problem}\n" for problem in problems))
    if broken:
        raise typer.Exit(1)


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


def _print(text: str) -> None:
    """Text that ends its own lines, also where the terminal has no letters for it."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), end="")


def _print_json(value: Any) -> None:
    print(_json(value))


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=not _is_utf8())
    # json leaves control characters beyond ASCII as they are, and what is no character at all.
    return re.sub("[^ -~\n]", lambda found: _escaped(found[0]), text)


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
