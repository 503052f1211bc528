"""recover: single objects of an archive back into the cluster, or as files that the nomad command takes."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import File, Identity, Json, Keystore, opened
from snapkit.cli.output import one_line, print_json, printable, show_frame
from snapkit.errors import NotInSnapshotError, SnapshotError

if TYPE_CHECKING:
    from snapkit.cluster.recover import Recovery
    from snapkit.state.snapshot import Snapshot


@app.command(
    examples=[
        "recover thursday.snap jobs payments payments --dry-run",
        "recover thursday.snap jobs payments payments variables payments psp/credentials",
        "recover thursday.snap jobs payments payments --to recovered",
    ]
)
def recover(
    file: File,
    objects: Annotated[
        list[str],
        typer.Argument(help="A table and the key of an object in it, and more of them.", metavar="TABLE KEY"),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; the server plans the jobs.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is live and is another; of --to, files that are there.")
    ] = False,
    namespace: Annotated[
        str | None, typer.Option(help="Another namespace for jobs and variables.", metavar="NAMESPACE")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Another name (of a variable: path); for one object.", metavar="NAME")
    ] = None,
    stopped: Annotated[
        bool | None, typer.Option("--stopped/--running", help="Jobs so; default: as they were.", show_default=False)
    ] = None,
    same_secrets: Annotated[
        bool, typer.Option("--same-secrets", help="Client tokens themselves, and no new ones (Nomad 2.0.5 takes them).")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Write files there instead, for the nomad command: secrets in the clear, 0600.", metavar="FOLDER"
        ),
    ] = None,
    confirm: Annotated[
        str | None, typer.Option(help="The cluster's address, to go on without being asked.", metavar="ADDRESS")
    ] = None,
    keystore: Keystore = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the secrets of new tokens.")] = False,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Bring single objects back into the cluster that NOMAD_ADDR names: shown first, written if that is confirmed.

    With --dry-run: exit status 1 if something can't be written, or only with --overwrite.
    """
    wanted = _wanted(objects)
    options: dict[str, Any] = {"namespace": namespace, "name": name, "stopped": stopped, "keystore": keystore}
    options["same_secrets"] = same_secrets
    if to is not None and (dry_run or confirm is not None):
        raise SnapshotError("asks no cluster", "--to", "leave --dry-run and --confirm out")
    with opened(file, identity) as snapshot:
        wanted = [_whole(snapshot, *one) for one in wanted]
        if to is not None:
            _write_files(snapshot, wanted, to, {**options, "overwrite": overwrite}, json_)
            return
        _recover(snapshot, wanted, {**options, "overwrite": overwrite}, dry_run, confirm, json_, reveal)


def _wanted(words: list[str]) -> list[tuple[str, ...]]:
    """Each table with as many parts of a key as it has."""
    from snapkit.format.schema import BY_TABLE

    left, wanted = list(words), []
    while left:
        table = left.pop(0)
        if table not in BY_TABLE:
            advice = "name a table and its key, such as jobs shop web; `snapkit show FILE` lists tables"
            raise SnapshotError("is no table", repr(printable(table))[:60], advice)
        parts = len(BY_TABLE[table].key)
        if len(left) < parts:
            takes = ", ".join(BY_TABLE[table].key)
            raise SnapshotError(f"takes a key of {takes}", f"table {table}", f"`snapkit show FILE {table}` lists them")
        wanted.append((table, *left[:parts]))
        del left[:parts]
    return wanted


def _whole(snapshot: Snapshot, table: str, *key: str) -> tuple[str, ...]:
    """With whole ids for ids in short."""
    with suppress(NotInSnapshotError):  # of a job that is gone, other tables may tell
        key = snapshot.find(table, *key)
    return (table, *key)


def _recover(
    snapshot: Snapshot,
    wanted: list[tuple[str, ...]],
    options: dict[str, Any],
    dry_run: bool,
    confirm: str | None,
    json_: bool,
    reveal: bool,
) -> None:
    from snapkit.cluster.client import Client
    from snapkit.cluster.recover import RecoverError
    from snapkit.cluster.recover import recover as recovered

    client = Client.from_env()
    if not dry_run and confirm is None and (json_ or not sys.stdin.isatty()):
        raise SnapshotError("is not confirmed", "recover", f"add --confirm {client.address}, or --dry-run")
    if confirm not in (None, client.address):
        raise SnapshotError(f"is {client.address}, not {printable(confirm or '')}", "the cluster", "nothing was sent")
    if dry_run or confirm is None:
        planned = recovered(client, snapshot, wanted, dry_run=True, **options)
        _show(planned, json_, reveal)
        if dry_run:
            if set(planned.steps["Action"]) & {"keep", "blocked"}:
                sys.exit(1)
            return
        if typer.prompt("Type the cluster's address to write this", err=True) != client.address:
            raise SnapshotError(f"is {client.address}", "the cluster", "nothing was sent")
    try:
        _show(recovered(client, snapshot, wanted, **options), json_, reveal)
    except RecoverError as error:
        if error.recovery is not None and (error.recovery.steps["Result"] == "written").any():
            _show(error.recovery, json_, reveal)  # the secrets of new tokens are told here or nowhere
        raise


def _show(recovery: Recovery, json_: bool, reveal: bool) -> None:
    from snapkit.state.output.export import records

    steps, fields, tokens = recovery.steps, recovery.fields, recovery.tokens(reveal=reveal)
    if json_:
        told = {"Address": recovery.address, "Source": recovery.source, "DryRun": recovery.dry_run}
        frames = {"Steps": steps, "Fields": fields, "Tokens": tokens.reset_index()}
        print_json(told | {name: list(records(frame)) for name, frame in frames.items()})
        return
    show_frame(steps.drop(columns="Key"), False, 0, everything=True)
    if recovery.dry_run and len(fields):
        show_frame(fields[["Table", "Target", "Path", "Live", "Written"]], False, 0, everything=True)
    for old, token in tokens.iterrows():
        print(f"token {old} is now {token['NewAccessorID']}, secret {token['SecretID']} ({one_line(token['Name'])})")
    if recovery.dry_run:
        print(f"{one_line(recovery.address)}: nothing was written")


def _write_files(
    snapshot: Snapshot, wanted: list[tuple[str, ...]], folder: Path, options: dict[str, Any], json_: bool
) -> None:
    from snapkit.cluster.recover import write_files

    written = write_files(snapshot, wanted, folder, **options)
    if json_:
        print_json([{"Path": str(w.path), "Table": w.table, "Key": list(w.key), "Command": w.command} for w in written])
        return
    for one in written:
        print(one_line(one.command))
