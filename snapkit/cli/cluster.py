"""save, restore, serve: a cluster over HTTP, real or of a snapshot."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import File, Identity, Json, progress_bar, require_free, source_of
from snapkit.cli.output import one_line, print_json, print_text
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    from snapkit.cluster.client import Client
    from snapkit.cluster.restore import Outcome, Plan
    from snapkit.state.findings.report import Finding


@app.command()
def save(
    dest: Annotated[str, typer.Argument(help="A file, a folder, - or any fsspec URL.", metavar="DEST")] = ".",
    stale: Annotated[bool, typer.Option("--stale", help="From the server that is asked, leader or not.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    encrypt_to: Annotated[
        list[str] | None,
        typer.Option(
            "--encrypt-to",
            help="Encrypt (age) to age1…, an SSH public key, or a file of them; may be repeated.",
            metavar="RECIPIENT",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Save a snapshot of the cluster that NOMAD_ADDR and its family name, verified as it arrives.

    With --encrypt-to, nothing of it is on disk in the clear.
    """
    from snapkit.cluster.client import Client

    with progress_bar("Saving") as progress:
        saved = Client.from_env().save(
            dest, stale=stale, overwrite=overwrite, progress=progress, encrypt_to=encrypt_to or ()
        )
    if json_:
        told = {"Path": saved.path, "Size": saved.size, "SHA256": saved.sha256, "Digest": saved.digest_checked}
        print_json(told | {"Encrypted": saved.encrypted})
    elif dest != "-":
        digest = "matches" if saved.digest_checked else "was not sent, so nothing vouches for the transfer"
        size = f"{saved.size:,} bytes{', encrypted' if saved.encrypted else ''}"
        print(f"{saved.path}: {size}, index {saved.meta.get('Index')}; the server's Digest {digest}")


@app.command()
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
        typer.Option("--output", "-o", help="The plan, for --apply; with --resume the journal, as a page."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that file.")] = False,
    journal: Annotated[
        Path | None, typer.Option(help="A new file for every step; default: restore-<time>.jsonl here.")
    ] = None,
    safety: Annotated[
        Path | None, typer.Option(help="Where to save the current state; default: beside the journal.")
    ] = None,
    no_safety_save: Annotated[
        str | None,
        typer.Option("--no-safety-save", help="I-ACCEPT: save nothing. No rollback then.", metavar="I-ACCEPT"),
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Go on in spite of this check's errors; may be repeated.", metavar="ID")
    ] = None,
    keystore: Annotated[Path | None, typer.Option(help="A server's keystore: root keys that are at hand.")] = None,
    patience: Annotated[float, typer.Option(help="Seconds for the cluster to be itself again.")] = 30.0,
    who: Annotated[str | None, typer.Option(help="Who does this, for the journal: user@host.")] = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Replace the whole state of the cluster that NOMAD_ADDR names by an archive's: planned, saved first, checked.

    Exits 1 if preflight or the check afterwards has errors. A token to go on with, where the caller's own is not in
    the archive, is SNAPKIT_TOKEN_AFTER's.
    """
    given = {"--apply": apply_ is not None, "--plan": plan_, "--resume": resume_ is not None}
    _require_one_way(given, file, rollback, output)
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
            confirm = str(typer.prompt("Type the first eight characters of its ClusterID to go on", err=True))
        _apply(client, planned, source(), file, json_, confirm, log, safety, no_safety_save, accept or [], running)


def _require_one_way(given: dict[str, bool], file: str | None, rollback: bool, output: Path | None) -> None:
    """Raise SnapshotError for options that don't go together."""
    names = [name for name, there in given.items() if there]
    if len(names) > 1:
        raise SnapshotError(f"does not go with {names[1]}", names[0], "give one of them")
    if file is None and not given["--resume"]:
        raise SnapshotError("is missing", "FILE", "name an archive, or --resume JOURNAL")
    if rollback and not given["--resume"]:
        raise SnapshotError("needs --resume", "--rollback", "name the journal of the restore to take back")
    if output is not None and not (given["--plan"] or given["--resume"]):
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
            print_text(f"To do it: {one_line(command)} --journal JOURNAL\n")
    if not planned.report.ok:
        raise typer.Exit(1)


def _stopped(errors: Sequence[Finding]) -> typer.Exit:
    """Nothing was sent: exits 1, and says why on stderr."""
    for finding in errors:
        print(f"snapkit: nothing was sent: {one_line(str(finding))}", file=sys.stderr)
    return typer.Exit(1)


def _apply(
    client: Client,
    planned: Plan,
    source: Any,
    file: str,
    json_: bool,
    confirm: str,
    log: Path,
    safety: Path | None,
    no_safety_save: str | None,
    accept: list[str],
    options: dict[str, Any],
) -> None:
    from snapkit.cluster.restore import PreflightError, apply

    given: dict[str, Any] = {"journal": log, "confirm": confirm, "safety": safety, "no_safety_save": no_safety_save}
    try:
        with progress_bar(f"Restoring {file}") as progress:
            outcome = apply(client, planned, source, accept=accept, progress=progress, **given, **options)
    except PreflightError as error:
        print_text(error.report.to_text())
        raise _stopped(error.errors) from error
    except KeyboardInterrupt:
        if log.exists():
            advice = f"`snapkit restore --resume {log}` goes on, or takes it back with --rollback"
            print(f"snapkit: {one_line(advice)}", file=sys.stderr)
        raise
    _show_outcome(outcome, json_)


def _resume(
    client: Client, path: Path, options: dict[str, Any], output: Path | None, overwrite: bool, json_: bool
) -> None:
    from snapkit.cluster.restore import PreflightError, journal_html, resume
    from snapkit.files import atomic

    try:
        with progress_bar(f"Going on with {path}") as progress:
            outcome = resume(client, path, progress=progress, **options)
    except PreflightError as error:
        print_text(error.report.to_text())
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
    if outcome.status in ("unchanged", "unclear"):
        advice = (
            "--resume finds out and goes on" if outcome.status == "unclear" else "make a new plan, with a new journal"
        )
        raise SnapshotError(outcome.message, outcome.journal, advice)
    if not outcome.ok:
        raise typer.Exit(1)


@app.command()
def serve(
    file: File,
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 4646,
    bind: Annotated[str, typer.Option(help="An address; any but loopback takes --i-know and TLS.")] = "127.0.0.1",
    i_know: Annotated[bool, typer.Option("--i-know", help="Serve secrets to the network.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="A certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    keystore: Annotated[Path | None, typer.Option(help="A server's keystore, to read variables of 1.4 to 1.8.")] = None,
    identity: Identity = None,
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
        source_of(file),
        host=bind,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        keystore=keystore,
        identity=identity,
        version=version,
        heartbeat=heartbeat,
        faults=faults,
    ) as cluster:
        print(f"export NOMAD_ADDR={cluster.address}\nexport NOMAD_TOKEN={cluster.token}", flush=True)
        print("A management token of this session. Ctrl-C ends it.", file=sys.stderr)
        with suppress(KeyboardInterrupt):
            cluster.wait()
