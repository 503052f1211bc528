"""report: a page on a snapshot, or on two and what changed, for people who have no Jupyter."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import FILE, Identity, Json, Now, Overwrite, moment_of, progress_bar, require_free, source_of
from snapkit.cli.output import one_line, print_json, print_text
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    from snapkit.state.output.handout import Handout

KEY = "SNAPKIT_REPORT_KEY"


@app.command(examples=["report friday.snap -o friday.html", "report tuesday.snap wednesday.snap -o changes.html"])
def report(
    a: Annotated[str, typer.Argument(help=f"The snapshot, or the earlier of two. {FILE}", metavar="FILE")],
    b: Annotated[
        str | None, typer.Argument(help="The later of two: what changed is told, too.", metavar="LATER")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The page. Default: standard output, if no terminal.", metavar="FILE"),
    ] = None,
    overwrite: Overwrite = False,
    rows: Annotated[
        int | None, typer.Option(help="Rows of each table; 0 for all. Default: 200.", metavar="ROWS")
    ] = None,
    now: Now = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """A page (HTML) with verify's verdict, tables, sizes, timeline, strong tokens; of two, what changed. It prints.

    It loads nothing, runs nothing and shows no secret. Exits 1 if verify finds an error, 2 if a snapshot is damaged:
    the page is written then too, with what was found and what is certain. --json prints what the page holds.
    SNAPKIT_REPORT_KEY fixes the fingerprints that stand for secrets: the same snapshots then give the same page.
    """
    if a == b == "-":
        raise SnapshotError("can be read once", "standard input", "save one of the two as a file")
    if rows is not None and rows < 0:
        raise SnapshotError("are to be at least 0", "--rows", "give a number, or 0 for all")
    if output is None and not json_ and sys.stdout.isatty():
        raise SnapshotError("is nothing for a terminal", "a page", "name a file, as in -o report.html")
    if output is not None:
        require_free([output], overwrite)
    from snapkit.state.output.handout import ROWS, handout

    moment = moment_of(now)
    with progress_bar(f"Reading {a}" if b is None else f"Reading {a} and {b}") as progress:
        made = handout(
            source_of(a),
            source_of(b) if b is not None else None,
            now=moment,
            key=os.environ.get(KEY) or None,
            rows=ROWS if rows is None else rows or None,
            progress=progress,
            identity=identity,
        )
    if output is not None:
        made.save(output, overwrite=overwrite)
    if json_:
        print_json(made.to_json() | {"path": None if output is None else str(output)})
    elif output is None:
        print_text(made.to_html())
    else:
        print(one_line(f"{output}: {made.headline}"))
    _exit(made, output)


def _exit(made: Handout, output: Path | None) -> None:
    """Nothing that is wrong is silent: what could not be told is a note, damage the error."""
    for problem in made.problems:
        print(f"snapkit: note: {one_line(problem)}", file=sys.stderr)
    if damage := [told for told in made.damage if told]:
        where = "the page" if output is None else str(output)
        print(f"snapkit: {one_line(f'{damage[0]}; {where} has what can still be told')}", file=sys.stderr)
        raise typer.Exit(2)
    if not made.ok:
        raise typer.Exit(1)
