"""What there is to judge a restore by: the archive, the live cluster's API, and its snapshot taken now."""

from __future__ import annotations

import copy
import hashlib
import os
import re
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from snapkit.cluster.client import Client
from snapkit.cluster.connection import ClusterError, Credentials, NoLeaderError, PermissionDeniedError, ServerError
from snapkit.cluster.registry import CHECKS
from snapkit.errors import SnapshotError, SourceError
from snapkit.format import archive
from snapkit.format.age import Identity
from snapkit.format.archive import Source
from snapkit.state.findings.report import Finding, Report, Severity
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.snapshot.release import parse
from snapkit.state.verify import verify

CHUNK = 1 << 20


# -- a source that is read several times


class Held:
    """A source that can be read again and again, and is told by the SHA-256 of its bytes.

    Attributes:
        name: In words.
        sha256: Of its bytes as they stand, encrypted or not, in hex; "" of a folder.
    """

    def __init__(self, source: Source) -> None:
        self.name = archive.describe(source)
        self._source = source
        self._file: IO[bytes] | None = None
        try:
            if isinstance(source, bytes | bytearray | memoryview):
                self.sha256 = hashlib.sha256(source).hexdigest()
            elif not isinstance(source, str | os.PathLike):
                self._file = tempfile.TemporaryFile(prefix="snapkit-")  # noqa: SIM115 - closed by close()
                shutil.copyfileobj(source, self._file, CHUNK)
                self._file.seek(0)
                self.sha256 = hashlib.file_digest(self._file, "sha256").hexdigest()
            else:
                self.sha256 = _sha256(os.fspath(source))
        except OSError as error:
            self.close()
            raise SourceError(f"can't be read ({error.strerror or error})", self.name, "check the path") from error

    @property
    def source(self) -> Source:
        """It, from its start."""
        if self._file is None:
            return self._source
        self._file.seek(0)
        return self._file

    @property
    def path(self) -> str:
        """Where it is, for who goes on with it later; "" if it is nowhere."""
        if not isinstance(self._source, str | os.PathLike):
            return ""
        path = os.fspath(self._source)
        return path if "://" in path else str(Path(path).absolute())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sha256(path: str) -> str:
    if "://" in path:
        import fsspec

        with fsspec.open(path, "rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(CHUNK):
                digest.update(piece)
            return digest.hexdigest()
    if Path(path).is_dir():
        return ""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- what is seen


@dataclass(slots=True)
class View:
    """What there is to judge by, as far as it could be had. Close it.

    Attributes:
        held: The archive as bytes.
        verified: Verify's report of it, for the oldest live server.
        archive: It, open; None if it can't be read.
        live: The live state, taken now.
        servers: Names, versions and statuses of the servers of this region.
        region: The live one; "" if it was not told.
        peers: How many servers Raft knows; 0 if it was not told.
        regions: All that gossip knows.
        authoritative: The authoritative region; "" if it was not told.
        found: What was found out while looking.
    """

    held: Held
    now: datetime
    verified: Report | None = None
    archive: Snapshot | None = None
    live: Snapshot | None = None
    leader: bool = False
    token: dict[str, Any] = field(default_factory=dict)
    servers: list[tuple[str, str, str]] = field(default_factory=list)
    peers: int = 0
    region: str = ""
    regions: list[str] = field(default_factory=list)
    authoritative: str = ""
    found: list[Finding] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def target(self) -> str:
        """The release of the oldest live server, as verify takes it; "" if none was told."""
        alive = [build for _, build, status in self.servers if status == "alive" and release(build)]
        oldest = min(alive, key=release, default="")
        return ".".join(map(str, release(oldest))) + ("+ent" if "+ent" in oldest else "") if oldest else ""

    def close(self) -> None:
        self.stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, check: str, place: str, message: str, advice: str = "", severity: Severity | None = None) -> None:
        self.found.append(CHECKS[check].finding(place, message, advice, severity))


def release(build: str) -> tuple[int, ...]:
    """Of a server's build; () for what is none."""
    match = re.match(r"v?(\d{1,4}\.\d{1,4}\.\d{1,4})", build)
    return parse(match[1]) if match else ()


def with_token(client: Client, secret: str) -> Client:
    """The same cluster, asked with another token."""
    other = copy.copy(client)
    login = client._connection.credentials._login
    other._connection = replace(client._connection, credentials=Credentials(secret, login))
    return other


def look(
    client: Client,
    held: Held,
    *,
    keystore: str | os.PathLike[str] | None = None,
    now: datetime | None = None,
    identity: Identity | None = None,
) -> View:
    """See all that there is to judge by: nothing that can't be had is an error, but a source that can't be read."""
    view = View(held, now or datetime.now(UTC))
    try:
        _ask_cluster(client, view)
        view.verified = verify(held.source, view.target or None, keystore=keystore, now=view.now, identity=identity)
        try:
            view.archive = view.stack.enter_context(open_snapshot(held.source, identity=identity))
        except SourceError:
            raise
        except SnapshotError:  # verify's report says it
            pass
    except BaseException:
        view.close()
        raise
    return view


def _ask_cluster(client: Client, view: View) -> None:
    try:
        # Asked of this server first: where it knows none, each consistent read would wait for one for seconds.
        view.leader = bool(client.get("/v1/status/leader", stale=True).value) and bool(client.leader())
        if not view.leader:
            view.say("preflight.leader", client.address, "there is no leader")
    except NoLeaderError:
        view.say("preflight.leader", client.address, "there is no leader")
    except PermissionDeniedError as error:
        view.say("preflight.token", client.address, error.what, error.advice)
    except ClusterError as error:
        view.say("preflight.unreachable", client.address, error.what, error.advice)
        return
    _ask_servers(client, view)
    _ask_token(client, view)
    try:
        view.live = view.stack.enter_context(client.snapshot(stale=not view.leader))
    except PermissionDeniedError as error:
        if not any(finding.check == "preflight.token" for finding in view.found):
            view.say("preflight.token", client.address, error.what, error.advice)
    except SnapshotError as error:
        what = f"its state can't be had: {error.what}"
        view.say("preflight.untold", client.address, what, error.advice, severity="error")


def _ask_servers(client: Client, view: View) -> None:
    stale = not view.leader
    try:
        answer = client.get("/v1/agent/members").value
        view.region = str(answer.get("ServerRegion") or "")
        for member in answer.get("Members") or ():
            tags = member.get("Tags") or {}
            if tags.get("region") in (None, "", view.region) or not view.region:
                about = (str(member.get("Name")), str(tags.get("build") or ""), str(member.get("Status")))
                view.servers.append(about)
    except (ClusterError, AttributeError) as error:
        view.say("preflight.untold", client.address, f"which servers there are, and of which release ({error})")
    try:
        view.peers = len(client.get("/v1/status/peers", stale=stale).value)
        view.regions = [str(region) for region in client.get("/v1/regions", stale=stale).value]
        if len(view.regions) > 1:
            config = client.get("/v1/agent/self").value.get("config") or {}
            view.authoritative = str((config.get("Server") or {}).get("AuthoritativeRegion") or "")
    except (ClusterError, AttributeError, TypeError):
        pass  # told by _federation, where there are several


def _ask_token(client: Client, view: View) -> None:
    try:
        view.token = client.get("/v1/acl/token/self", stale=not view.leader).value
    except NoLeaderError:
        view.say("preflight.untold", client.address, "whether the token may restore: there is no leader to ask")
    except ServerError as error:
        if "ACL support disabled" in error.body:
            view.token = {"Type": "management", "AccessorID": ""}
        else:
            view.say("preflight.token", client.address, error.what, error.advice)
    except ClusterError as error:
        view.say("preflight.untold", client.address, f"whether the token may restore ({error.what})")
