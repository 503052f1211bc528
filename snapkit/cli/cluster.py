"""save, restore, serve: a cluster over HTTP, real or of a snapshot."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import File, Identity, Json, progress_bar, source_of
from snapkit.cli.output import print_json, printable
from snapkit.errors import SnapshotError


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
    file: File,
    confirm: Annotated[str | None, typer.Option(help="The cluster's address, to restore without being asked.")] = None,
    identity: Identity = None,
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
        raise SnapshotError(f"is {client.address}, not {printable(confirm)}", "the cluster", "nothing was sent")
    with progress_bar(f"Restoring {file}") as progress:
        client.restore(source_of(file), progress=progress, identity=identity)
    if json_:
        print_json({"Restored": file, "Address": client.address})
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
