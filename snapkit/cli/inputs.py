"""What subcommands are given: their common arguments, sources that are opened, times; and a bar while it takes."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapkit.cli.output import note_oddities, printable
from snapkit.errors import ArchiveError, RecordError, SnapshotError

if TYPE_CHECKING:
    from datetime import datetime

    from snapkit.format.archive import Progress
    from snapkit.state.findings.report import Unread
    from snapkit.state.snapshot import Snapshot

FILE = "An archive, a raft snapshot or data directory, a state.bin, any fsspec URL; - for standard input."
File = Annotated[str, typer.Argument(help=FILE, metavar="FILE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show secrets in the clear.")]
Identity = Annotated[
    str | None,
    typer.Option(
        "--identity",
        envvar="SNAPKIT_IDENTITY",
        help="What opens an encrypted snapshot: an age identity file or SSH private key.",
        metavar="KEYFILE",
    ),
]
Keystore = Annotated[
    Path | None,
    typer.Option(
        "--keystore",
        help="A copy of a server's keystore folder: up to Nomad 1.8, the keys of variables are there alone.",
        metavar="FOLDER",
    ),
]
Tables = Annotated[list[str] | None, typer.Option("--table", help="Only this table; may be repeated.", metavar="TABLE")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", help="Rows to show; 0 for all. Default: 50 on a terminal.", metavar="ROWS", min=0),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file.", metavar="FILE")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]
Now = Annotated[
    str | None,
    typer.Option(
        "--now", help="When it is, such as 2026-11-24T08:00:00Z. Default: when it was taken.", metavar="TIME|now"
    ),
]
Target = Annotated[
    str | None, typer.Option("--target", help="The release to restore into: 1.6.2, or 2.0.5+ent.", metavar="RELEASE")
]


def source_of(file: str) -> Any:
    return sys.stdin.buffer if file == "-" else file


@contextmanager
def opened(file: str, identity: str | None = None) -> Iterator[Snapshot]:
    from snapkit.state.snapshot import open_snapshot

    with progress_bar(f"Reading {file}") as progress, salvage_told(file):
        snapshot = open_snapshot(source_of(file), progress=progress, identity=identity)
    with snapshot:
        note_oddities(snapshot.archive)
        yield snapshot


@contextmanager
def salvage_told(file: str) -> Iterator[None]:
    """Of a file that is damaged, say also what can still be had of it."""
    try:
        yield
    except (ArchiveError, RecordError) as error:
        if file != "-" and error.check != "archive.not-a-snapshot":
            salvage = f"`snapkit verify {shlex.quote(file)} --salvage OUT` writes what is certain in it"
            error.advice = f"{error.advice}; {salvage}" if error.advice else salvage
        raise


@contextmanager
def progress_bar(what: str) -> Iterator[Progress | None]:
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
            task = bar.add_task(printable(what), total=total)
        if bar is not None:
            bar.update(task, completed=done)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.stop()


def require_free(paths: list[Path], overwrite: bool) -> None:
    """Told before the work, and not after."""
    from snapkit.files import refuse_existing

    for path in paths:
        refuse_existing(path, overwrite)
    if len(set(paths)) < len(paths):
        raise SnapshotError("is to be written twice", str(paths[0]), "name two files")


def expanded(patterns: list[str]) -> tuple[list[str], list[Unread]]:
    """The sources, each once; of patterns that the shell left, the files. What matches nothing is listed by itself."""
    import glob

    from snapkit.state.findings.report import Unread

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


def moment_of(now: str | None) -> datetime | None:
    from datetime import UTC, datetime

    if now is None or now == "now":
        return None if now is None else datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(now)
    except ValueError as error:
        raise SnapshotError(f"is no time {now!r:.40}", "--now", "give one such as 2026-11-24T08:00:00Z") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
