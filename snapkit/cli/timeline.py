"""timeline: what happened, and when, by one snapshot or several of a cluster."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from glob import has_magic
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import FILE, Identity, Json, Limit, Output, Overwrite, Tables, expanded, opened, require_free
from snapkit.cli.output import cell, draw, grid, one_line, print_json, print_text, show_frame, width
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from snapkit.state.snapshot import Snapshot


NARROW = 110  # columns of a terminal, on which a message would stand in a column of a few words


@app.command(
    examples=[
        "timeline tuesday.snap wednesday.snap --table acl_policies",
        "timeline 'backups/*.snap' --job web --since 2026-11-24",
        "timeline wednesday.snap thursday.snap -o timeline.jsonl",
    ]
)
def timeline(
    files: Annotated[list[str], typer.Argument(help=f"Of one cluster, in any order. {FILE}", metavar="FILE")],
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only this kind, such as job.submitted, job or 'acl_*'.", metavar="KIND"),
    ] = None,
    table: Tables = None,
    job: Annotated[
        list[str] | None, typer.Option("--job", help="Only this job, such as web or 'web*'.", metavar="JOB")
    ] = None,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", help="Only this node: its name, its ID or how that begins.", metavar="NODE"),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only what may have been at this time (UTC) or later.", metavar="TIME")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only what may have been at this time (UTC) or earlier.", metavar="TIME")
    ] = None,
    limit: Limit = None,
    output: Output = None,
    format_: Annotated[
        Literal["csv", "jsonl", "parquet"] | None,
        typer.Option(
            "--format",
            help="Of the file. Default: by its suffix; .svg and .png are pictures. csv and jsonl: for Timesketch.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Everything that can be dated, in order of time (UTC). Several snapshots narrow the windows and tell of deletions.

    What has no time of its own is dated by its Raft index: it happened between two moments. --kind, --table, --job and
    --node may be repeated.
    """
    if format_ is not None and output is None:
        raise SnapshotError("needs --output", "--format", "name a file, or take --json")
    if output is not None:
        require_free([output], overwrite)
    first, last = _moment(since, "--since"), _moment(until, "--until")
    sources, unread = expanded(files)
    if unread:
        raise SnapshotError("matches no file", unread[0].source, "check the pattern")
    if sources.count("-") > 1:
        raise SnapshotError("can be read once", "standard input", "save the snapshots as files")
    with ExitStack() as stack:
        snapshots = [stack.enter_context(opened(source, identity)) for source in sources]
        found = _found(snapshots, kind or (), table or (), job or (), node or (), first, last)
    if output is not None:
        _write(found.head(limit) if limit else found, output, format_, overwrite, json_)
    elif json_:
        show_frame(found, True, limit)
    else:
        _show(found, limit)


def _found(
    snapshots: Sequence[Snapshot],
    kinds: Sequence[str],
    tables: Sequence[str],
    jobs: Sequence[str],
    nodes: Sequence[str],
    since: pd.Timestamp | None,
    until: pd.Timestamp | None,
) -> pd.DataFrame:
    from snapkit.state.changes.clock import Clock
    from snapkit.state.changes.timeline import select
    from snapkit.state.changes.timeline import timeline as timeline_of
    from snapkit.state.snapshot.ids import whole

    for table in tables:
        snapshots[0].columns(table)  # so that a wrong name is told
    named = {
        str(row.ID): str(row.Name) for s in snapshots for row in s.table("nodes", ["Name"]).reset_index().itertuples()
    }
    wanted = [identity for identity, name in named.items() if name in nodes] + [
        whole(node, named, "table nodes") for node in nodes if node not in named.values()
    ]
    clock = Clock.of(*snapshots)
    found = timeline_of(*snapshots, clock=clock)
    ids, known = set(found["Job"].dropna()), {*named, *found["Node"].dropna()}
    notes = [f"node {n} is in none of the snapshots" for n in wanted if not any(k.startswith(n) for k in known)]
    notes += [f"job {job} is in none of the snapshots" for job in jobs if not has_magic(job) and job not in ids]
    there = sorted(set(found["Kind"]))
    among = {*there, *(kind.split(".")[0] for kind in there)}
    for kind in (kind for kind in kinds if not has_magic(kind) and kind not in among):
        notes.append(f"no event is of kind {kind}; there are {', '.join(there)}")
    for note in [clock.note, *notes]:
        if note:
            print(f"snapkit: note: {one_line(note)}", file=sys.stderr)
    return select(found, kinds=kinds, tables=tables, jobs=jobs, nodes=wanted, since=since, until=until)


def _moment(text: str | None, option: str) -> pd.Timestamp | None:
    import pandas as pd

    if text is None:
        return None
    moment = pd.to_datetime(text, errors="coerce")
    if pd.isna(moment):
        raise SnapshotError(f"is no time {text!r:.40}", option, "give one such as 2026-11-24 or 2026-11-24T08:00:00Z")
    return moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")


def _write(found: pd.DataFrame, output: Path, form: str | None, overwrite: bool, json_: bool) -> None:
    from snapkit.jupyter.charts import PICTURES, timeline_chart
    from snapkit.state.changes.timeline import write

    if form is None and output.suffix.lower() in PICTURES:
        timeline_chart(found).save(output, overwrite=overwrite)
    else:
        write(found, output, format=form, overwrite=overwrite)
    if json_:
        print_json({"Path": str(output), "Events": len(found)})
    else:
        print(f"{one_line(str(output))}: {len(found):,} events")


def _show(found: pd.DataFrame, limit: int | None) -> None:
    from snapkit.state.changes.timeline import told_time

    limit = (50 if sys.stdout.isatty() else 0) if limit is None else limit
    shown = found.head(limit) if limit else found
    narrow = sys.stdout.isatty() and width() < NARROW
    rows = grid("When (UTC)", "Kind", "What", "Index", right=(3,))
    for event in shown.to_dict("records"):
        index = "" if event["Index"] is None or event["Index"] != event["Index"] else str(event["Index"])
        when, what = told_time(event, _shown, _between), one_line(cell(event["Message"]))
        if narrow:
            print_text(f"{when}  {event['Kind']}{f'  index {index}' if index else ''}\n")
            indent = " " * 4
            print_text(fill(what, max(width(), 20), initial_indent=indent, subsequent_indent=indent) + "\n")
        else:
            rows.add_row(when, event["Kind"], what, index)
    if rows.row_count:
        draw(rows)
    left = f", {len(shown):,} shown (--limit 0 for all)" if len(shown) < len(found) else ""
    print(f"{len(found):,} events{left}")


def _between(earliest: pd.Timestamp, latest: pd.Timestamp) -> str:
    """Two moments; of one day, the day once."""
    same_day = earliest.date() == latest.date()
    return f"{_shown(earliest)} to {_shown(latest)[11:] if same_day else _shown(latest)}"


def _shown(moment: pd.Timestamp) -> str:
    return str(moment.tz_localize(None).isoformat(" ", "milliseconds"))
