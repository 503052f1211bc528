"""sizes: what the bytes of a state are of, how they grew, and what of them is copies or garbage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import File, Identity, Json, Limit, Now, Overwrite, moment_of, opened, require_free
from snapkit.cli.output import one_line, show_frame
from snapkit.errors import SnapshotError

LARGEST = 20  # bars of a picture


@app.command(
    examples=["sizes friday.snap --by job", "sizes friday.snap --gc", "sizes friday.snap --by job -o sizes.svg"]
)
def sizes(
    file: File,
    by: Annotated[
        Literal["table", "namespace", "job", "parent", "version", "group", "field", "object"],
        typer.Option(help="What bytes are counted by. parent: jobs with all that they dispatched or launched."),
    ] = "table",
    against: Annotated[
        str | None, typer.Option(help="How it grew since this earlier snapshot.", metavar="EARLIER")
    ] = None,
    gc: Annotated[
        bool, typer.Option("--gc", help="What garbage collection takes, now and later; each object with --by object.")
    ] = False,
    now: Now = None,
    duplication: Annotated[
        bool, typer.Option("--duplication", help="How often each version of a job is there: every allocation has it.")
    ] = False,
    limit: Limit = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Draw the largest in a .svg or .png file.", metavar="FILE")
    ] = None,
    overwrite: Overwrite = False,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """What takes how many bytes of a state, the largest first."""
    if [against is not None, gc, duplication].count(True) > 1:
        raise SnapshotError("exclude each other", "--against, --gc and --duplication", "give one of them")
    if (duplication and by != "table") or (gc and by not in ("table", "object")):
        raise SnapshotError("has groupings of its own", "--duplication" if duplication else "--gc", "leave out --by")
    if now is not None and not gc:
        raise SnapshotError("needs --gc", "--now", "add --gc")
    if file == against == "-":
        raise SnapshotError("can be read once", "standard input", "save one of the two as a file")
    if output is not None:
        if by == "object" or gc or duplication or against is not None or json_:
            raise SnapshotError("draws sizes by group alone", "--output", "leave out the other options but --by")
        require_free([output], overwrite)
    from snapkit.state import sizes as measured
    from snapkit.state.sizes import garbage

    moment = moment_of(now)
    with opened(file, identity) as snapshot:
        if gc:
            taken = garbage.collectable(snapshot, moment)
            frame = taken if by == "object" else garbage.by_table(taken)
        elif duplication:
            frame = measured.duplication(snapshot)
        elif against is not None:
            with opened(against, identity) as earlier:
                frame = measured.growth(earlier, snapshot, by)
        else:
            frame = measured.sizes(snapshot, by)
        if output is None:
            show_frame(frame, json_, limit, everything=True)
            if gc and not json_:
                print("By the servers' default thresholds: the state does not hold those that are configured.")
        else:
            from snapkit.jupyter.charts import bar_chart

            largest = frame["Bytes"].head(limit or LARGEST)
            bar_chart(largest, f"Bytes of state by {by}").save(output, overwrite=overwrite)
            print(f"{one_line(str(output))}: the {len(largest)} largest")
