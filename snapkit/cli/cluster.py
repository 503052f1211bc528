"""save, serve: a cluster over HTTP, real or of a snapshot."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import File, Identity, Json, Keystore, Overwrite, progress_bar, source_of
from snapkit.cli.output import one_line, print_json


@app.command(examples=["save", "save backups/friday.snap", "save --encrypt-to age1… backups"])
def save(
    dest: Annotated[
        str, typer.Argument(help="A file, a folder, any fsspec URL; - for standard output.", metavar="DEST")
    ] = ".",
    stale: Annotated[bool, typer.Option("--stale", help="From the server that is asked, leader or not.")] = False,
    overwrite: Overwrite = False,
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
        print(f"{one_line(str(saved.path))}: {size}, index {saved.meta.get('Index')}; the server's Digest {digest}")


@app.command(examples=["serve friday.snap", "serve friday.snap --port 0"])
def serve(
    file: File,
    port: Annotated[int, typer.Option(help="0 for any that is free.", metavar="PORT")] = 4646,
    bind: Annotated[
        str, typer.Option(help="An address; any but loopback takes --i-know and TLS.", metavar="ADDRESS")
    ] = "127.0.0.1",
    i_know: Annotated[bool, typer.Option("--i-know", help="Serve secrets to the network.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="A certificate chain, PEM.", metavar="FILE")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.", metavar="FILE")] = None,
    keystore: Keystore = None,
    identity: Identity = None,
    version: Annotated[str, typer.Option(help="The release of Nomad to pretend.", metavar="RELEASE")] = "2.0.5",
    heartbeat: Annotated[
        float | None, typer.Option(help="Seconds until restored nodes that are gone go down.", metavar="SECONDS")
    ] = None,
    no_leader: Annotated[bool, typer.Option("--fault-no-leader", help="Pretend that there is no leader.")] = False,
    delay: Annotated[float, typer.Option("--fault-delay", help="Seconds before each answer.", metavar="SECONDS")] = 0.0,
    cut: Annotated[
        int | None, typer.Option("--fault-cut", help="Cut an archive after so many bytes.", metavar="BYTES")
    ] = None,
    digest: Annotated[
        str | None, typer.Option("--fault-digest", help="The Digest of an archive is that.", metavar="wrong|missing")
    ] = None,
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
        told = "Paste these two lines into another terminal; the token may do all, in this session. Ctrl-C ends it."
        print(told, file=sys.stderr)
        with suppress(KeyboardInterrupt):
            cluster.wait()
