"""redact: an archive that may be handed on; and what in one looks like a secret."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import FILE, Identity, Json, Overwrite, opened, progress_bar, require_free
from snapkit.cli.output import cell, counted, draw, grid, one_line, print_json
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    from snapkit.state.redact.whole import Redaction

KEY, TOKEN = "SNAPKIT_REDACT_KEY", "SNAPKIT_REDACT_TOKEN"
FEW = 6  # fields of each kind that are told of those that are left
NOTES = 20  # of those that are printed: a hostile archive can have thousands of fields that are not known
_TELLING = {"identifies": "names persons or hosts", "url": "text, but for credentials", "free": "free text"}


@app.command(
    examples=[
        "redact friday.snap shared.snap",
        "redact --profile strict --token friday.snap training.snap",
        "redact --check shared.snap",
    ]
)
def redact(
    file: Annotated[str, typer.Argument(help=FILE, metavar="IN")],
    out: Annotated[Path | None, typer.Argument(help="The archive to write.", metavar="OUT")] = None,
    profile: Annotated[
        Literal["share", "training", "strict"],
        typer.Option(help="share: secrets. training: persons and hosts too. strict: all but Nomad's own words."),
    ] = "share",
    key: Annotated[
        str | None,
        typer.Option(
            help=f"What the same becomes the same by, in several archives too; {KEY} if not given. Default: nobody's.",
            show_default=False,
        ),
    ] = None,
    token: Annotated[
        bool,
        typer.Option("--token", help=f"Plant a management token and print it: a new one, or {TOKEN} is its secret."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that redact. Default: one for each core, if the state is large.",
            show_default=False,
            min=1,
            metavar="NUMBER",
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing: look for what looks like a secret.")] = False,
    overwrite: Overwrite = False,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Write a whole, restorable archive in which secrets and, by profile, names are replaced; say what was and was not.

    With --check: exit status 1 if anything in IN looks like a secret.
    """
    if check:
        if out is not None:
            raise SnapshotError("takes one file", "--check", "leave the second out")
        _check(file, identity, json_)
        return
    if out is None:
        raise SnapshotError("is missing", "OUT", "name the archive to write")
    require_free([out], overwrite)
    from snapkit.state.redact.whole import redact as redacted

    with opened(file, identity) as snapshot, progress_bar(f"Redacting {file}") as progress:
        done = redacted(
            snapshot,
            out,
            profile=profile,
            key=key or os.environ.get(KEY) or None,
            token=token and (os.environ.get(TOKEN) or True),
            overwrite=overwrite,
            progress=progress,
            workers=workers,
        )
    if json_:
        print_json(_as_json(done))
    else:
        _show(done)


def _as_json(done: Redaction) -> dict[str, object]:
    token = done.token
    return {
        "Path": done.path,
        "Profile": done.profile,
        "Replaced": [{"Table": t, "Field": place, "Count": n} for (t, place), n in sorted(done.counts.items())],
        "Left": [{"Table": t, "Field": place, "Sensitivity": kind} for t, place, kind in done.left],
        "Notes": list(done.notes),
        "Token": None if token is None else {"AccessorID": token.accessor_id, "SecretID": token.secret_id},
    }


def _show(done: Redaction) -> None:
    rows = grid("Table", "Field", "Replaced", right=(2,))
    for (table, place), count in sorted(done.counts.items()):
        rows.add_row(table, cell(place), f"{count:,}")
    if done.counts:
        draw(rows)
    for kind, what in _TELLING.items():
        places = sorted({place for _, place, found in done.left if found == kind})
        if places:
            more = f" and {counted(len(places) - FEW, 'more field')}" if len(places) > FEW else ""
            print(f"left, and may tell something ({what}): {', '.join(places[:FEW])}{more}")
    names = len({place for _, place, kind in done.left if not kind})
    if names:
        print(f"left as well: names, ids and states in {names} fields (--json lists all, docs/redaction.md too)")
    for note in done.notes[:NOTES]:
        print(f"snapkit: note: {one_line(note)}", file=sys.stderr)
    if len(done.notes) > NOTES:
        print(f"snapkit: note: and {counted(len(done.notes) - NOTES, 'more note')} (--json has all)", file=sys.stderr)
    if done.token is not None:
        print(f"token: {done.token.secret_id} (accessor {done.token.accessor_id}), a management token")
    print(f"{one_line(done.path)}: {sum(done.counts.values()):,} values replaced, profile {done.profile}")


def _check(file: str, identity: str | None, json_: bool) -> None:
    from snapkit.state.redact.leaks import leaks

    with opened(file, identity) as snapshot:
        found = leaks(snapshot)
    rows = found.to_dict("records")
    if json_:
        print_json([{**row, "Key": list(row["Key"])} for row in rows])
    else:
        counts = Counter((row["Table"], _place(row["Path"]), row["Detector"]) for row in rows)
        table = grid("Table", "Field", "Looks like", "Found", right=(3,))
        for (name, place, detector), count in sorted(counts.items()):
            table.add_row(name, cell(place), detector, f"{count:,}")
        if counts:
            draw(table)
        told = f"{len(rows):,} values look like secrets (--json lists each); `snapkit redact IN OUT` replaces secrets"
        print(f"{one_line(file)}: {told if rows else 'nothing found'}")
    if rows:
        sys.exit(1)


def _place(path: str) -> str:
    """A path without the positions in lists."""
    import re

    return re.sub(r"\[\d+\]", "[]", path)
