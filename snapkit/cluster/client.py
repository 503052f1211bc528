"""A live cluster as a place that snapshots come from and go to, and the reads that a runbook needs.

Source: Nomad's command/agent/operator_endpoint.go and api/ for the requests; what real servers answer is in the format
guide, section 4.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast

from snapkit.cluster.connection import (
    CHUNK,
    ClusterError,
    ClusterTimeoutError,
    Connection,
    Credentials,
    DigestError,
    InterruptedStreamError,
    NoLeaderError,
    NoRouteError,
    NotAnArchiveError,
    PermissionDeniedError,
    RedirectError,
    RestoreUnclearError,
    ServerError,
    TLSError,
    body_of,
    parse_address,
    tls_context,
)
from snapkit.cluster.transfer import (
    NOTHING_DONE,
    Fetched,
    Named,
    Reader,
    Upload,
    Written,
    checked_archive,
    counted,
    digest_of,
    how_to_archive,
    looks_like,
    refuse_existing_object,
    reopened,
    spooled,
    writing,
)
from snapkit.errors import ArchiveError, SnapshotError, SourceError
from snapkit.files import publish, refuse_existing, temporary_name
from snapkit.format import age, archive
from snapkit.format.age import Identity, Recipient
from snapkit.format.archive import Archive, Progress, Source
from snapkit.pipes import Consumer
from snapkit.progress import long_work

if TYPE_CHECKING:
    import requests

    from snapkit.state.snapshot import Snapshot

__all__ = [
    "Answer",
    "Client",
    "ClusterError",
    "ClusterTimeoutError",
    "DigestError",
    "InterruptedStreamError",
    "NoLeaderError",
    "NoRouteError",
    "NotAnArchiveError",
    "PermissionDeniedError",
    "RedirectError",
    "RestoreUnclearError",
    "Saved",
    "ServerError",
    "TLSError",
]

SNAPSHOT = "/v1/operator/snapshot"
DEFAULT_ADDRESS = "http://127.0.0.1:4646"

GZIP = b"\x1f\x8b"
BEGINNING = 512  # bytes that tell what something is
MOST_CODINGS = 4  # one around the other, around an archive
MOST_ANSWER = 1 << 30  # bytes of JSON, which are held in memory

CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 60.0
STATE_TIMEOUT = 1800.0  # servers need minutes to gather or take in a state of gigabytes

# How a server begins its words when it gave an archive up before it touched its state.
_REFUSED = re.compile(r"failed to restore from snapshot: (failed to (decompress snapshot|read snapshot file)\b|gzip: )")
_FIND_OUT = (
    "its state may have been swapped, its ACL tokens with it: before you try again, ask it for its jobs and "
    "`snapkit save --stale` what it has now, with your token and with one of the archive's"
)


@dataclass(frozen=True, slots=True)
class Saved:
    """An archive that was saved.

    Attributes:
        path: The file or URL; `-` for standard output.
        size: In bytes.
        sha256: Of the file, in hex.
        digest_checked: Was the archive compared with the server's Digest header? There may be none.
        meta: The archive's meta.json.
        encrypted: Is the file encrypted?
    """

    path: str
    size: int
    sha256: str
    digest_checked: bool
    meta: Mapping[str, Any]
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Attributes:
        value: Of the JSON; None if there is none, which some writes have.
        index: X-Nomad-Index; None if it was not sent.
        known_leader: X-Nomad-KnownLeader; None if it was not sent.
        status: Of HTTP.
    """

    value: Any
    index: int | None
    known_leader: bool | None
    status: int = 200


class Client:
    """A cluster, by the address of one of its servers or agents. Holds nothing open, and threads may share it.

    Attributes:
        address: As given, without credentials.
        region: Asked of all requests; None for the server's own.
        namespace: Of reads that name none.
        timeout: Seconds of silence after which to give up; None for a minute, and half an hour where a state is
            gathered or taken in.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        region: str | None = None,
        namespace: str | None = None,
        ca_cert: str | os.PathLike[str] | None = None,
        ca_path: str | os.PathLike[str] | None = None,
        client_cert: str | os.PathLike[str] | None = None,
        client_key: str | os.PathLike[str] | None = None,
        tls_server_name: str | None = None,
        skip_verify: bool = False,
        http_auth: str | tuple[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Connects to nothing yet.

        Args:
            address: `http://…`, `https://…` or `unix://path`.
            token: The SecretID of an ACL token.
            region: See above.
            namespace: See above.
            ca_cert: A PEM file of the CAs to trust; by default those of the system.
            ca_path: A folder of such files, if there is no `ca_cert`.
            client_cert: A PEM file with this side's certificate, where the server wants one.
            client_key: Its key, unless that is in the same file.
            tls_server_name: The name to look for in the server's certificate, such as `server.global.nomad`.
            skip_verify: Take any certificate.
            http_auth: `user:password`, or a pair, for a proxy that wants basic authentication.
            timeout: See above.

        Raises:
            ClusterError: The address or the token can't be used.
            TLSError: A certificate file can't be used.
        """
        endpoint = parse_address(address)
        login = ":".join(http_auth) if isinstance(http_auth, tuple) else http_auth
        context = None
        if endpoint.secure:
            ca, folder, cert, key = (os.fspath(p) if p else None for p in (ca_cert, ca_path, client_cert, client_key))
            context = tls_context(ca, folder, cert, key, skip_verify)
        self.address = endpoint.shown
        self.region = region
        self.namespace = namespace
        self.timeout = timeout
        self._host = endpoint.host
        self._connection = Connection(
            endpoint, Credentials(token, login or endpoint.login), context, tls_server_name or None
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The cluster that NOMAD_ADDR and its family name, as for the nomad command. Empty is as good as unset.

        Raises:
            ClusterError: As the constructor; also for a NOMAD_SKIP_VERIFY that is neither yes nor no.
        """
        variables = os.environ if environ is None else environ

        def get(name: str) -> str | None:
            return variables.get(f"NOMAD_{name}") or None

        skip = (get("SKIP_VERIFY") or "false").lower()
        if skip not in ("1", "t", "true", "0", "f", "false"):
            raise ClusterError(f"is {skip!r:.20}", "NOMAD_SKIP_VERIFY", "say true or false")
        return cls(
            get("ADDR") or DEFAULT_ADDRESS,
            token=get("TOKEN"),
            region=get("REGION"),
            namespace=get("NAMESPACE"),
            ca_cert=get("CACERT"),
            ca_path=get("CAPATH"),
            client_cert=get("CLIENT_CERT"),
            client_key=get("CLIENT_KEY"),
            tls_server_name=get("TLS_SERVER_NAME"),
            skip_verify=skip in ("1", "t", "true"),
            http_auth=get("HTTP_AUTH"),
        )

    def __repr__(self) -> str:
        region = f", region {self.region}" if self.region else ""
        return f"<Client {self.address}{region}, {'with a' if self._connection.credentials.has_token else 'no'} token>"

    # -- snapshots

    @long_work("Saving")
    def save(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        stale: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
        encrypt_to: Recipient | Iterable[Recipient] = (),
    ) -> Saved:
        """Save a snapshot, there only if it is whole: its transfer, container and records are checked as they arrive.

        Args:
            path: A file; `-` for standard output; any fsspec URL. In a folder (by default the current one) it is named
                by cluster, time and index: `nomad-global-20261123T220821Z-205.snap`.
            stale: Let the server that is asked give its own state: works without a leader, may lag behind.
            overwrite: May a file that is there be replaced?
            progress: Called with the bytes that arrived so far and in all (None: servers don't say).
            encrypt_to: Recipients (age): `age1…`, an SSH public key, or the path of a file of them. Nothing of the
                archive is on disk in the clear then; in a folder, the name ends in `.age`.

        Raises:
            TargetExistsError: There is such a file, and `overwrite` is false.
            SourceError: The target can't be written to.
            RecipientError: A recipient is none.
            ClusterError: The cluster did not give one: one of its kinds, InterruptedStreamError, DigestError and
                NotAnArchiveError (a proxy's page, for instance) among them.
            ArchiveError: The server sent it damaged; also RecordError and LimitError.
        """
        given = [encrypt_to] if isinstance(encrypt_to, str | os.PathLike) else list(encrypt_to)
        if given:
            age.recipients_of(given)  # told before the work, and not after
        target = os.fspath(path or ".")
        if target == "-":
            return self._save_to_stdout(stale, progress, given)
        if "://" in target and not target.startswith("file://"):
            return self._save_to_url(target, stale, overwrite, progress, given)
        local = Path(target.removeprefix("file://"))
        folder = local.is_dir()
        if not folder:
            refuse_existing(local, overwrite)
        with writing(str(local)), temporary_name(local / "new" if folder else local) as temporary:
            with temporary.open("w+b") as file:
                saved = self._saved(file, stale, progress, given)
                os.fsync(file.fileno())
            if folder:
                local /= self._name(saved)
            publish(temporary, local, overwrite)
        return replace(saved, path=str(local))

    def _save_to_stdout(self, stale: bool, progress: Progress | None, recipients: list[Recipient]) -> Saved:
        if sys.stdout.isatty():
            raise SourceError("is a terminal", "standard output", "send it on to a file or a command")
        with tempfile.TemporaryFile(prefix="snapkit-") as file:
            saved = self._saved(file, stale, progress, recipients)
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer, CHUNK)
            sys.stdout.buffer.flush()
        return replace(saved, path="-")

    def _save_to_url(
        self, url: str, stale: bool, overwrite: bool, progress: Progress | None, recipients: list[Recipient]
    ) -> Saved:
        import fsspec  # a tenth of a second that local files need not wait for

        shown = archive.describe(url)
        with writing(shown, Exception), tempfile.TemporaryFile(prefix="snapkit-") as file:
            # An instance of its own: the transaction below must not take in what others write meanwhile.
            system, path = fsspec.core.url_to_fs(url, skip_instance_cache=True)
            folder = url.endswith("/") or system.isdir(path)
            if not (folder or overwrite):
                refuse_existing_object(system, path, shown)
            saved = self._saved(file, stale, progress, recipients)
            if folder:
                name = self._name(saved)
                path, shown = f"{path.rstrip('/')}/{name}", f"{shown.rstrip('/')}/{name}"
            if not overwrite:
                refuse_existing_object(system, path, shown)
            file.seek(0)
            # Without a transaction an upload that fails in the middle would still be closed, and so be there in part.
            with system.transaction, system.open(path, "wb") as out:
                shutil.copyfileobj(file, out, CHUNK)
            if (size := system.size(path)) != saved.size:
                raise SourceError(f"has {size} bytes after the upload of {saved.size:,}", shown, "save it again")
        return replace(saved, path=shown)

    @long_work("Fetching the live state")
    def snapshot(
        self, *, stale: bool = False, key: bytes | str | None = None, progress: Progress | None = None
    ) -> Snapshot:
        """The live state, taken now and checked as `save()` does it. Kept in a file without a name until closed.

        Args:
            stale: See `save()`.
            key: Of the fingerprints that stand for secrets. By default new for each process.
            progress: See `save()`.

        Raises:
            SnapshotError: As `save()`.
        """
        from snapkit.state.snapshot import open_snapshot  # pandas, that saving and restoring need not wait for

        with tempfile.TemporaryFile(prefix="snapkit-") as file:
            self._saved(file, stale, progress, [])
            file.seek(0)
            return open_snapshot(Named(file, self.address).stream, key=key, progress=progress)

    def default_name(self, meta: Mapping[str, Any]) -> str:
        """The name for an archive of this cluster: which one, when (UTC), and at which Raft index."""
        milliseconds = archive.created_milliseconds(str(meta.get("ID", "")))
        taken = datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else datetime.now(UTC)
        cluster = re.sub(r"[^A-Za-z0-9.]+", "-", self.region or self._host).strip("-.") or "local"
        return f"nomad-{cluster}-{taken:%Y%m%dT%H%M%SZ}-{meta.get('Index', 0)}.snap"

    def _name(self, saved: Saved) -> str:
        return self.default_name(saved.meta) + (age.SUFFIX if saved.encrypted else "")

    def _saved(self, file: IO[bytes], stale: bool, progress: Progress | None, recipients: list[Recipient]) -> Saved:
        """Have an archive written to `file`, encrypted if there are recipients, and checked as it passes."""
        query = self._query({"stale": stale}, namespace=False)
        written = Written(file)
        with ExitStack() as stack:
            timeout = self._timeouts(STATE_TIMEOUT)
            response = stack.enter_context(self._connection.exchange("GET", SNAPSHOT, query, timeout=timeout))
            write: Callable[[bytes], object] = written.write
            if recipients:
                write = stack.enter_context(age.encrypted(written.stream, recipients))
            checking = stack.enter_context(Consumer(self._checked_to_the_end, "snapkit-check"))
            fetched = self._received(response, (write, checking.write), progress)
            found = checking.result()
            self._require_whole(fetched, found)
        assert isinstance(found, Archive)
        file.flush()
        announced = fetched.announced is not None
        return Saved("", written.size, written.sha256, announced, found.meta, bool(recipients))

    def _checked_to_the_end(self, stream: IO[bytes]) -> Archive | SnapshotError:
        """What was found, or what is wrong; in any case all is read, so that its digest is known."""
        try:
            return checked_archive(Named(stream, self.address))
        except SnapshotError as error:
            while stream.read(CHUNK):
                pass
            return error

    def _require_whole(self, fetched: Fetched, found: Archive | SnapshotError) -> None:
        """Raise what is wrong with an archive that arrived."""
        matches = fetched.announced in (None, fetched.digest)
        if isinstance(found, SnapshotError):
            cut = isinstance(found, ArchiveError) and found.nomad.endswith("unexpected EOF")
            if cut and fetched.announced != fetched.digest:  # else the server has it like this
                what = f"the archive ended early, after {fetched.size:,} bytes"
                raise InterruptedStreamError(what, self.address, "save it again") from found
            if matches:
                raise found
            raise self._wrong_digest(fetched) from found
        if not matches:
            raise self._wrong_digest(fetched)

    def _received(
        self, response: requests.Response, takers: Iterable[Callable[[bytes], object]], progress: Progress | None
    ) -> Fetched:
        """Hand an answer's body on, less what was put around it on the way, hashing."""
        length = response.headers.get("Content-Length", "")
        pieces = counted(body_of(response), int(length) if length.isdecimal() else None, progress)
        codings = [coding.strip() for coding in response.headers.get("Content-Encoding", "").lower().split(",")]
        if len(codings) > MOST_CODINGS:
            what = f"sent the archive in {len(codings):,} encodings, one around the other"
            raise ClusterError(what, self.address, "does a proxy stand between?")
        for coding in reversed(codings):
            pieces = self._decoded(pieces, coding)
        digest, size, head = hashlib.sha256(), 0, b""
        for piece in pieces:
            if len(head) < len(GZIP):
                head = (head + piece)[:BEGINNING]
                if not GZIP.startswith(head[: len(GZIP)]):
                    what = f"answered with {looks_like(head)} and no archive"
                    raise NotAnArchiveError(
                        what, self.address, "ask a Nomad server itself: does a proxy stand between?"
                    )
            size += len(piece)
            digest.update(piece)
            for take in takers:
                take(piece)
        if not size:
            raise InterruptedStreamError("the archive ended before its first byte", self.address, "save it again")
        return Fetched(size, digest.digest(), digest_of(response.headers.get("Digest", "")))

    def _decoded(self, pieces: Iterator[bytes], coding: str) -> Iterator[bytes]:
        """Take a Content-Encoding off. Unlike urllib3's decoder this notices when it ends too early."""
        if coding in ("", "identity"):
            yield from pieces
            return
        if coding not in ("gzip", "x-gzip", "deflate"):
            what = f"sent the archive in an encoding that nobody asked for, {coding!r:.40}"
            raise ClusterError(what, self.address, "does a proxy stand between?")
        again = "save it again; does a proxy stand between?"
        inflate: Any = None
        try:
            for data in pieces:
                while data:
                    if inflate is None:
                        # `deflate` is zlib by the standard, and bare in what many send, Nomad among them.
                        bare = -zlib.MAX_WBITS if data[0] & 0x0F != zlib.DEFLATED else zlib.MAX_WBITS
                        inflate = zlib.decompressobj(bare if coding == "deflate" else 16 + zlib.MAX_WBITS)
                    yield inflate.decompress(data, CHUNK)
                    data = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
                    if inflate.eof:
                        inflate = None  # gzip may go on with another member
            if inflate is not None:
                yield inflate.flush()
        except zlib.error as error:
            what = f"the {coding} layer around the archive is damaged ({error})"
            raise InterruptedStreamError(what, self.address, again) from error
        if inflate is not None and not inflate.eof:
            raise InterruptedStreamError(f"the {coding} layer around the archive ended early", self.address, again)

    def _wrong_digest(self, fetched: Fetched) -> DigestError:
        announced = base64.b64encode(fetched.announced or b"").decode()
        what = f"the archive arrived altered: its SHA-256 is {fetched.base64}, its Digest header says {announced}"
        return DigestError(what, self.address, "save it again; does a proxy stand between?")

    @long_work("Restoring")
    def restore(
        self,
        src: Source,
        *,
        force: bool = False,
        progress: Progress | None = None,
        identity: Identity | None = None,
    ) -> Archive:
        """Replace the cluster's whole state, ACL tokens included, by an archive's.

        The archive is verified before the first byte goes out, and those bytes go out. Nothing is sent twice.

        Args:
            src: A path or URL of an archive, its bytes or a binary stream.
            force: Send it though verify finds errors in its state. A container that is damaged is never sent.
            progress: Called with the bytes sent so far and in all.
            identity: What opens an archive that is encrypted (age): the path of an identity file, or its text. It is
                decrypted as it is sent, and nowhere on disk in the clear.

        Returns:
            What was found in the archive.

        Raises:
            SourceError: There is nothing to read, or it is encrypted and the identity does not open it.
            NotAnArchiveError: It is a raft snapshot directory or a bare state.bin.
            SnapshotError: It is damaged, or a server would refuse it: ArchiveError, RecordError, LimitError.
            ClusterError: The cluster did not take it and is as it was: one of its kinds.
            RestoreUnclearError: It went wrong after the upload had begun: the state may have been swapped.
        """
        name = archive.describe(src)
        with spooled(src) as file:
            with reopened(file, name, identity) as stream:
                checked = Reader(stream, name)
                found = checked_archive(checked)
            if found.kind != "archive":
                raise NotAnArchiveError(f"is a {found.kind}, no archive", name, how_to_archive(name))
            if not force:
                self._verify(file, name, identity)
            if not self.leader():  # also: a cluster out of reach or TLS that fails should show before an upload begins
                raise NoLeaderError("has no leader, which a restore needs", self.address, "wait for an election")
            with reopened(file, name, identity) as stream:
                upload = Upload(stream, name, checked.done, progress)
                self._upload(upload)
            if upload.digest != checked.digest:
                raise self._unclear(f"took other bytes than were checked: {name} changed meanwhile")
        return found

    def _verify(self, file: IO[bytes], name: str, identity: Identity | None) -> None:
        """Refuse what verify has errors about: servers take some of it, and do not survive it."""
        from snapkit.state.verify import verify  # pandas, which a refused container need not wait for

        file.seek(0)
        found = verify(file, identity=identity).found
        error = next((finding for finding in found if finding.severity == "error"), None)
        if error is not None:
            advice = f"{error.advice} (`snapkit verify` tells all, force sends it all the same)"
            raise SnapshotError(error.message, f"{name}: {error.place}", advice)

    def _upload(self, upload: Upload) -> None:
        try:
            with self._connection.exchange(
                "PUT",
                SNAPSHOT,
                self._query({}, namespace=False),
                timeout=self._timeouts(STATE_TIMEOUT),
                headers={"Content-Type": "application/octet-stream"},
                body=upload,
            ) as response:
                words = self._connection.words(response)
        except ServerError as error:
            if error.status < 500 or isinstance(error, NoLeaderError) or "No path to region" in error.body:
                raise
            if _REFUSED.match(error.body):
                error.advice = f"it refused what it got, and {NOTHING_DONE}"
                raise
            raise self._unclear(error.what, error.status, error.body) from error
        except (InterruptedStreamError, ClusterTimeoutError, TLSError) as error:
            if not upload.done:
                raise
            what = f"{error.what}, after {upload.done:,} of {len(upload):,} bytes of the archive"
            raise self._unclear(what) from error
        if words.startswith("<") or upload.done < len(upload):
            what = (
                "answered with a page of HTML" if words.startswith("<") else "answered before it had the whole archive"
            )
            raise self._unclear(f"{what}; does a proxy stand between?", 200, words)

    def _unclear(self, what: str, status: int = 0, body: str = "") -> RestoreUnclearError:
        return RestoreUnclearError(what, self.address, _FIND_OUT, status, body)

    # -- reads

    def get(self, path: str, **query: str | int | bool | None) -> Answer:
        """Any read of the API. What it answers is shown as it is, secrets too.

        Args:
            path: `/v1/…`, or what stands after that.
            query: Parameters; True for those that have no value, None and False for those to leave out.

        Raises:
            ClusterError: One of its kinds.
        """
        return self._get(path, query)

    def _get(self, path: str, query: Mapping[str, str | int | bool | None], accept: tuple[int, ...] = ()) -> Answer:
        return self._ask("GET", path, query, accept)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int | bool | None],
        accept: tuple[int, ...] = (),
        body: bytes | None = None,
    ) -> Answer:
        path = path if path.startswith("/") else f"/v1/{path}"
        timeout = self._timeouts(READ_TIMEOUT)
        with self._connection.exchange(
            method, path, self._query(query), timeout=timeout, body=body, accept=accept
        ) as response:
            content, headers = self._content(response), response.headers
        value, status = None, response.status_code
        if content or method == "GET":
            try:
                value = json.loads(content)
            except (ValueError, RecursionError) as error:
                what = f"answered {status} to {method} {path} with {looks_like(content[:BEGINNING])} and no JSON"
                advice = "ask a Nomad agent itself: does a proxy stand between?"
                raise ServerError(what, self.address, advice, status) from error
        index, leader = headers.get("X-Nomad-Index", ""), headers.get("X-Nomad-KnownLeader")
        known = None if leader is None else leader == "true"
        return Answer(value, int(index) if index.isdecimal() else None, known, status)

    def _content(self, response: requests.Response) -> bytes:
        held, size = [], 0
        for piece in body_of(response, decoded=True):
            held.append(piece)
            size += len(piece)
            if size > MOST_ANSWER:
                raise ServerError(
                    f"answered with more than {MOST_ANSWER:,} bytes", self.address, "", response.status_code
                )
        return b"".join(held)

    def leader(self) -> str:
        """The RPC address of the leader; "" if there is none."""
        return str(self.get("/v1/status/leader").value)

    def peers(self) -> list[str]:
        """The RPC addresses of the servers."""
        return cast("list[str]", self.get("/v1/status/peers").value)

    def members(self) -> list[dict[str, Any]]:
        """The servers that gossip knows, those that failed too. The version is `Tags.build`."""
        return cast("list[dict[str, Any]]", self.get("/v1/agent/members").value["Members"])

    def autopilot_health(self) -> dict[str, Any]:
        """What autopilot says of the servers."""
        # 429 is how Nomad says that they are not healthy, and it says how all the same.
        return cast("dict[str, Any]", self._get("/v1/operator/autopilot/health", {}, accept=(429,)).value)

    def self_token(self, *, reveal: bool = False) -> dict[str, Any]:
        """The ACL token that this client has, its SecretID masked unless asked for."""
        from snapkit.state.snapshot.secrets import masker

        token = cast("dict[str, Any]", self.get("/v1/acl/token/self").value)
        mask = None if reveal else masker()
        if mask is not None and token.get("SecretID"):
            token["SecretID"] = mask(str(token["SecretID"]).encode())
        return token

    def jobs(self, namespace: str = "*") -> list[dict[str, Any]]:
        """The jobs, in short."""
        return cast("list[dict[str, Any]]", self.get("/v1/jobs", namespace=namespace).value)

    def nodes(self) -> list[dict[str, Any]]:
        """The client nodes, in short."""
        return cast("list[dict[str, Any]]", self.get("/v1/nodes").value)

    def find(self, path: str, **query: str | int | bool | None) -> Answer | None:
        """As `get()`; None if there is no such thing.

        Raises:
            ClusterError: One of its kinds.
        """
        try:
            return self.get(path, **query)
        except ServerError as error:
            if error.status == 404 and not isinstance(error, PermissionDeniedError):
                return None
            raise

    # -- writes

    def put(
        self, path: str, body: Mapping[str, Any], *, accept: tuple[int, ...] = (), **query: str | int | bool | None
    ) -> Answer:
        """Any write of the API. Sent once: after a failure nothing is known but what a read tells.

        Args:
            path: `/v1/…`, or what stands after that.
            body: Of the JSON.
            accept: Statuses that are no error, besides 2xx: 409, where a variable was to be as it was.
            query: As `get()`.

        Raises:
            ClusterError: One of its kinds.
        """
        return self._ask("PUT", path, query, accept, json.dumps(body).encode())

    def _query(self, query: Mapping[str, str | int | bool | None], namespace: bool = True) -> dict[str, str]:
        defaults = {"region": self.region or None, "namespace": (namespace and self.namespace) or None}
        asked = {name: value for name, value in (defaults | dict(query)).items() if value not in (None, False)}
        return {name: "" if value is True else str(value) for name, value in asked.items()}

    def _timeouts(self, silence: float) -> tuple[float, float]:
        return (CONNECT_TIMEOUT, silence) if self.timeout is None else (self.timeout, self.timeout)
