"""restore: the whole state of a cluster replaced, as planned; gone on with, or taken back."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import Identity, Json, Keystore, Overwrite, progress_bar, require_free, source_of
from snapkit.cli.output import one_line, print_json, print_text
from snapkit.cli.verify import ALIKE
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    from snapkit.cluster.client import Client
    from snapkit.cluster.restore import Outcome, Plan
    from snapkit.state.findings.report import Finding


PROMPT = "Type the first eight characters of its ClusterID to go on"


@app.command(
    examples=[
        "restore friday.snap --plan -o plan.json",
        "restore friday.snap --apply plan.json",
        "restore --resume restore-20261124T031500Z.jsonl",
        "restore --resume restore-20261124T031500Z.jsonl --rollback",
    ]
)
def restore(
    file: Annotated[str | None, typer.Argument(help="The archive; - for standard input.", metavar="FILE")] = None,
    plan_: Annotated[bool, typer.Option("--plan", help="Only say what would happen.")] = False,
    apply_: Annotated[Path | None, typer.Option("--apply", help="Restore as this plan says.", metavar="PLAN")] = None,
    resume_: Annotated[
        Path | None, typer.Option("--resume", help="Go on with a restore that was interrupted.", metavar="JOURNAL")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="With --resume: restore what was saved before.")] = False,
    confirm: Annotated[
        str | None,
        typer.Option(help="The first eight characters of the live ClusterID, as --plan tells.", metavar="XXXXXXXX"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The plan, for --apply; with --resume the journal, as a page.", metavar="FILE"
        ),
    ] = None,
    overwrite: Overwrite = False,
    journal: Annotated[
        Path | None,
        typer.Option(help="A new file for every step. Default: restore-<time>.jsonl here.", metavar="JOURNAL"),
    ] = None,
    safety: Annotated[
        Path | None,
        typer.Option(help="Where to save the current state. Default: beside the journal.", metavar="FILE"),
    ] = None,
    no_safety_save: Annotated[
        str | None,
        typer.Option("--no-safety-save", help="I-ACCEPT: save nothing. No rollback then.", metavar="I-ACCEPT"),
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Go on in spite of this check's errors; may be repeated.", metavar="CHECK")
    ] = None,
    keystore: Keystore = None,
    patience: Annotated[
        float, typer.Option(help="How long the cluster has to be itself again.", metavar="SECONDS")
    ] = 30.0,
    who: Annotated[
        str | None,
        typer.Option(help="Who does this, for the journal. Default: as the system has it.", metavar="USER@HOST"),
    ] = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Replace the whole state of the cluster that NOMAD_ADDR names by an archive's: planned, saved first, checked.

    Exits 1 if preflight or the check afterwards has errors. A token to go on with, where the caller's own is not in
    the archive, is SNAPKIT_TOKEN_AFTER's.
    """
    ways = {"--apply": apply_ is not None, "--plan": plan_, "--resume": resume_ is not None}
    _require_one_way(ways, file, rollback, output)
    from snapkit.cluster.client import Client

    client = Client.from_env()
    options: dict[str, Any] = {"keystore": keystore, "identity": identity}
    options["token_after"] = os.environ.get("SNAPKIT_TOKEN_AFTER") or None
    running = {**options, "who": who, "patience": patience}
    if output is not None:
        require_free([output], overwrite)
    if resume_ is not None:
        src = source_of(file) if file is not None else None
        _resume(
            client, resume_, {**running, "src": src, "rollback": rollback, "confirm": confirm}, output, overwrite, json_
        )
        return
    assert file is not None
    unattended = confirm is not None or not sys.stdin.isatty() or file == "-"
    if not plan_ and confirm is None and unattended:
        advice = "add --confirm with the first eight characters of the live ClusterID: --plan tells them"
        raise SnapshotError("is not confirmed", f"the restore into {client.address}", advice)
    log = journal if journal is not None else Path(f"restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")
    with _held(file) as source:
        planned = _plan(client, source(), apply_, {**options, "folder": (safety or log).parent})
        if plan_:
            _show_plan(planned, file, output, overwrite, json_)
            return
        if errors := planned.errors(accept or ()):
            print_text(planned.to_text())
            raise _stopped(errors)
        if confirm is None:
            print(planned.to_text(), file=sys.stderr, end="")
            print(f"This replaces the whole state of {client.address}, ACL tokens included.", file=sys.stderr)
            confirm = str(typer.prompt(PROMPT, err=True))
        given = {"journal": log, "confirm": confirm, "safety": safety, "no_safety_save": no_safety_save}
        _apply(client, planned, source(), file, {**running, **given, "accept": accept or ()}, json_)


def _require_one_way(ways: dict[str, bool], file: str | None, rollback: bool, output: Path | None) -> None:
    """Raise SnapshotError for options that don't go together."""
    names = [name for name, there in ways.items() if there]
    if len(names) > 1:
        raise SnapshotError(f"does not go with {names[1]}", names[0], "give one of them")
    if file is None and not ways["--resume"]:
        raise SnapshotError("is missing", "FILE", "name an archive, or --resume JOURNAL")
    if rollback and not ways["--resume"]:
        raise SnapshotError("needs --resume", "--rollback", "name the journal of the restore to take back")
    if output is not None and not (ways["--plan"] or ways["--resume"]):
        raise SnapshotError("needs --plan or --resume", "--output", "add one of them")


@contextmanager
def _held(file: str) -> Iterator[Callable[[], Any]]:
    """What gives the source from its start, however often: standard input is kept in a file without a name."""
    if file != "-":
        yield lambda: file
        return
    import shutil
    import tempfile

    with tempfile.TemporaryFile(prefix="snapkit-") as copy:
        cast("Any", copy).raw.name = "standard input"  # what messages call it
        shutil.copyfileobj(sys.stdin.buffer, copy)

        def rewound() -> Any:
            copy.seek(0)
            return copy

        yield rewound


def _plan(client: Client, source: Any, path: Path | None, options: dict[str, Any]) -> Plan:
    from snapkit.cluster.restore import Plan, plan

    return Plan.load(path) if path is not None else plan(client, source, **options)


def _show_plan(planned: Plan, file: str, output: Path | None, overwrite: bool, json_: bool) -> None:
    if output is not None:
        planned.save(output, overwrite=overwrite)
    if json_:
        print_json(planned.to_json())
    else:
        print_text(planned.to_text())
        if output is not None:
            confirm = f"--confirm {planned.confirmation}"
            command = f"snapkit restore {shlex.quote(file)} --apply {shlex.quote(str(output))} {confirm}"
            print_text(f"To do it: {one_line(command)}\n")
    if not planned.report.ok:
        raise typer.Exit(1)


def _stopped(errors: Sequence[Finding]) -> typer.Exit:
    """Nothing was sent: exits 1, and says why on stderr."""
    for finding in errors:
        print(f"snapkit: nothing was sent: {one_line(str(finding))}", file=sys.stderr)
    return typer.Exit(1)


def _apply(client: Client, planned: Plan, source: Any, file: str, options: dict[str, Any], json_: bool) -> None:
    from snapkit.cluster.restore import PreflightError, apply

    try:
        with progress_bar(f"Restoring {file}") as progress:
            outcome = apply(client, planned, source, progress=progress, **options)
    except PreflightError as error:
        print_text(error.report.to_text(most=ALIKE, hint="--plan --json lists all"))
        raise _stopped(error.errors) from error
    except KeyboardInterrupt:
        if (log := options["journal"]).exists():
            advice = f"`snapkit restore --resume {shlex.quote(str(log))}` goes on, or takes it back with --rollback"
            print(f"snapkit: {one_line(advice)}", file=sys.stderr)
        raise
    _show_outcome(outcome, json_)


def _resume(
    client: Client, path: Path, options: dict[str, Any], output: Path | None, overwrite: bool, json_: bool
) -> None:
    from snapkit.cluster.restore import ConfirmationError, PreflightError, journal_html, resume
    from snapkit.files import atomic

    def go_on(confirm: str | None) -> Outcome:
        with progress_bar(f"Going on with {path}") as progress:
            return resume(client, path, progress=progress, **{**options, "confirm": confirm})

    try:
        try:
            outcome = go_on(options["confirm"])
        except ConfirmationError:
            if options["confirm"] is not None or not sys.stdin.isatty():
                raise
            print(f"This takes {client.address} back to what it was, without what came since.", file=sys.stderr)
            outcome = go_on(str(typer.prompt(PROMPT, err=True)))
    except PreflightError as error:
        print_text(error.report.to_text(most=ALIKE, hint="--plan --json lists all"))
        raise _stopped(error.errors) from error
    finally:
        if output is not None:  # whatever came of it
            with atomic(output, overwrite) as file:
                file.write(journal_html(path).encode("ascii"))
    _show_outcome(outcome, json_)


def _show_outcome(outcome: Outcome, json_: bool) -> None:
    """What came of it; exits 1 if the check has errors, 2 if the wanted state is not there."""
    told = {"Status": outcome.status, "Message": outcome.message, "Journal": outcome.journal, "Head": outcome.head}
    told["Safety"] = outcome.safety
    if json_:
        print_json(told | {"Check": outcome.report.to_json() if outcome.report is not None else None})
    else:
        print_text(f"{one_line(outcome.message)}\n")
        for finding in outcome.report.found if outcome.report is not None else ():
            print_text(f"{finding}\n")
        print_text(f"journal: {one_line(outcome.journal)}, its newest line {outcome.head}\n")
        if outcome.safety and Path(outcome.safety).exists():
            print_text(f"state before: {one_line(outcome.safety)}\n")
            if outcome.status == "restored":
                back = f"snapkit restore --resume {shlex.quote(outcome.journal)} --rollback"
                print_text(f"to take it back: {one_line(back)}\n")
    if outcome.status in ("unchanged", "unclear"):
        advice = "--resume finds out and goes on" if outcome.status == "unclear" else "make a new plan, and apply it"
        raise SnapshotError(outcome.message, outcome.journal, advice)
    if not outcome.ok:
        raise typer.Exit(1)
