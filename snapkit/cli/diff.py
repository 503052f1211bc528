"""diff: what changed from one snapshot to another."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import FILE, Identity, Json, Output, Overwrite, Reveal, Tables, opened, require_free
from snapkit.cli.output import json_text, one_line, print_text, show_frame
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    from snapkit.state.changes.changes import Changes
    from snapkit.state.snapshot import Snapshot


@app.command(
    examples=[
        "diff tuesday.snap wednesday.snap",
        "diff --summary tuesday.snap wednesday.snap",
        "diff --format html -o changes.html tuesday.snap wednesday.snap",
        "diff friday.snap --live",
    ]
)
def diff(
    a: Annotated[str, typer.Argument(help=f"The earlier. {FILE}", metavar="A")],
    b: Annotated[str | None, typer.Argument(help="The later, as A; or --live.", metavar="B")] = None,
    live: Annotated[bool, typer.Option("--live", help="B is the cluster that NOMAD_ADDR names, now.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="With --live: from a server without a leader too.")] = False,
    table: Tables = None,
    noise: Annotated[bool, typer.Option("--noise", help="Also what has only grown older.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Only how many objects of each table.")] = False,
    json_: Json = False,
    format_: Annotated[Literal["text", "json", "html"] | None, typer.Option("--format", help="Default: text.")] = None,
    output: Output = None,
    overwrite: Overwrite = False,
    reveal: Reveal = False,
    identity: Identity = None,
) -> None:
    """What changed from A to B: objects that came, went and changed, field by field. Exits 1 if they differ.

    What has only grown older (indexes and times alone, heartbeats) is set apart, and is no difference.
    """
    from snapkit.state.changes.compare import compare

    if live == (b is not None):
        raise SnapshotError("is to be one of B and --live", "what A is compared with", "give one of them")
    if stale and not live:
        raise SnapshotError("needs --live", "--stale", "add --live")
    if a == b == "-":
        raise SnapshotError("can be read once", "standard input", "save one of the two as a file")
    if json_ and format_ not in (None, "json"):
        raise SnapshotError(f"is json by --json and {format_} by --format", "the format", "give one of them")
    form = "json" if json_ else format_ or "text"
    if summary and (output is not None or form == "html"):
        raise SnapshotError("goes to standard output, as text or JSON", "--summary", "leave out --output and --format")
    if output is not None:
        require_free([output], overwrite)
    with ExitStack() as stack:
        before = stack.enter_context(opened(a, identity))
        after = stack.enter_context(_live(stale) if b is None else opened(b, identity))
        changes = compare(before, after, tables=table, noise=noise, reveal=reveal)
    if summary and form == "text":
        show_frame(changes.summary, False, 0, everything=True)
    else:
        _write(_rendered(changes, form, summary), changes, output, overwrite)
    if len(changes):
        raise typer.Exit(1)


def _rendered(changes: Changes, form: str, summary: bool) -> str:
    if form == "json":
        document = changes.to_json()
        return json_text(document["summary"] if summary else document) + "\n"
    return changes.to_html() if form == "html" else changes.to_text()


def _write(text: str, changes: Changes, output: Path | None, overwrite: bool) -> None:
    from snapkit.files import atomic

    if output is None:
        print_text(text)
        return
    with atomic(output, overwrite) as file:
        file.write(text.encode("utf-8", "replace"))
    print_text(f"{one_line(str(output))}: {changes.headline}\n")


def _live(stale: bool) -> Snapshot:
    from snapkit.cluster.client import Client

    return Client.from_env().snapshot(stale=stale)
