"""Redacting an archive: its records pass one by one, and are written as a new archive."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import secrets
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from snapkit.errors import RecordError, SnapshotError
from snapkit.files import refuse_existing
from snapkit.format import archive
from snapkit.format.archive import Progress, Source
from snapkit.format.schema import ANY, BY_BYTE, BY_TABLE, STREAM_ORDER, Type, type_name
from snapkit.format.values import UNIX_EPOCH, Buffer, pack, unpack
from snapkit.state.redact.profiles import Profile, kept
from snapkit.state.redact.records import Records
from snapkit.state.redact.sealed import Sealed
from snapkit.state.redact.seen import Seen
from snapkit.state.redact.workers import Work, finished, processes, working
from snapkit.state.snapshot import Snapshot, open_snapshot

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 1 << 20  # bytes of records that are redacted at once
_SAMPLES = 64  # records of each type that are looked at for the fields that they have
_SPREAD = 2_654_435_761  # a prime: what comes every so often in the state is met all the same
_TOKEN = BY_TABLE["acl_tokens"].byte
_VARIABLE = BY_TABLE["variables"].byte
_SEALED = frozenset({_VARIABLE, BY_TABLE["root_keys"].byte})  # whose keys the snapshot has


class Token(NamedTuple):
    """A management token that was planted."""

    accessor_id: str
    secret_id: str


@dataclass(frozen=True, slots=True)
class Redaction:
    """What was done.

    Attributes:
        path: Of the new archive.
        profile: `share`, `training` or `strict`.
        counts: Values replaced, by table and `Struct.Field`.
        left: Fields of text that were left, by table: `Struct.Field` and its sensitivity by the schema.
        notes: What else is worth knowing.
        token: The planted one, if there is.
    """

    path: str
    profile: Profile
    counts: Mapping[tuple[str, str], int]
    left: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]
    token: Token | None = field(default=None, repr=False)

    @property
    def replaced(self) -> pd.DataFrame:
        """Table, Field (str), Count (Int64; values)."""
        import pandas as pd

        rows = [(table, place, count) for (table, place), count in sorted(self.counts.items())]
        return pd.DataFrame(rows, columns=["Table", "Field", "Count"]).astype({"Count": "Int64"})

    @property
    def may_tell(self) -> pd.DataFrame:
        """Table, Field, Sensitivity (str): what was left, and may still tell something. Names and ids have ""."""
        import pandas as pd

        return pd.DataFrame(list(self.left), columns=["Table", "Field", "Sensitivity"], dtype="str")


def redact(
    src: Source | Snapshot,
    target: str | os.PathLike[str],
    *,
    profile: Profile = "share",
    key: bytes | str | None = None,
    token: bool | str = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Redaction:
    """Write a whole archive in which secrets, and by profile names, are replaced.

    Args:
        src: Anything that `open()` takes, or an open snapshot. One that is damaged is refused, also if salvaged.
        target: The file; mode 0600, there only when it is whole.
        profile: `share` replaces secrets; `training` also what names a person or a host; `strict` all text but Nomad's
            own words.
        key: Under one key the same becomes the same, in several archives too. By default a new one each time, which
            nobody has afterwards.
        token: Plant a management token: True makes one up, a string is its secret (a UUID).
        overwrite: May `target` be replaced?
        progress: Told bytes of the state done, and in all.
        workers: How many processes redact the records; 1 is this one. By default one for each core if the state is
            large, and this one alone if it is not. The archive is the same.

    Raises:
        TargetExistsError: `target` is there and `overwrite` is false.
        SnapshotError: The source can't be read, was salvaged, or a record of it can't be decoded.
        KeyringError: It has variables or root keys, and the package cryptography is missing.
    """
    if profile not in get_args(Profile):
        raise SnapshotError(f"is no profile {profile!r:.40}", "profile", f"take one of {', '.join(get_args(Profile))}")
    refuse_existing(target, overwrite)
    planted = _token(token)
    with ExitStack() as stack:
        snapshot = src if isinstance(src, Snapshot) else stack.enter_context(open_snapshot(src))
        if snapshot.salvage is not None:
            advice = "write what was salvaged as an archive, verify that, and redact it"
            raise SnapshotError("was salvaged: what is missing can't be told from what was removed",
                                snapshot.meta.source, advice)  # fmt: skip
        redactor = Redactor(snapshot, profile, key, workers)
        collects = gc.isenabled()
        gc.disable()  # nothing here goes round in circles, and looking for such takes a third of the time
        stack.callback(gc.enable if collects else gc.disable)
        archive.write(target, redactor.meta(), redactor.pieces(planted, progress), overwrite=overwrite)
        return redactor.result(str(target), planted)


def _token(token: bool | str) -> Token | None:
    if token is False:
        return None
    secret = str(uuid.uuid4()) if token is True else token
    try:
        uuid.UUID(secret)
    except ValueError as error:
        raise SnapshotError("is no UUID", "the token's secret", "give one, or have one made up") from error
    accessor = uuid.UUID(bytes=hashlib.sha256(f"accessor {secret}".encode()).digest()[:16])
    return Token(str(accessor), secret)


# -- doing it


class Redactor:
    """Redacts the state of one snapshot.

    Args:
        snapshot: The open snapshot.
        profile: What to do.
        key: Of the pseudonyms.
        workers: How many processes redact the records; by default as many as pay.

    Attributes:
        records: Redacts them.
    """

    def __init__(
        self, snapshot: Snapshot, profile: Profile, key: bytes | str | None, workers: int | None = None
    ) -> None:
        self._snapshot = snapshot
        self._profile = profile
        secret_key = key.encode() if isinstance(key, str) else key or secrets.token_bytes(32)
        self._workers = processes(workers, snapshot.meta.size)
        self.records = Records(profile, secret_key, self._look())
        self._sealed = Sealed(self.records.values, snapshot.table)
        self._dropped: Counter[int] = Counter()

    # -- the whole

    def pieces(self, token: Token | None = None, progress: Progress | None = None) -> Iterator[bytes]:
        """The new state.bin.

        Raises:
            RecordError: A record can't be decoded.
        """
        done, total = 0, self._snapshot.meta.size
        waiting: deque[tuple[int, Future[bytes]]] = deque()
        with working(self.records, self._workers) as work:
            for size, new in self._given(work, token):
                waiting.append((size, new))
                while len(waiting) > work.ahead:
                    size, new = waiting.popleft()
                    yield new.result()
                    done += size
                    if progress is not None:
                        progress(done, total)
            for _, new in waiting:
                yield new.result()
            work.end()

    def _given(self, work: Work, token: Token | None) -> Iterator[tuple[int, Future[bytes]]]:
        """What becomes of the header and of each batch of records, and their bytes."""
        planted = [finished(self._planted(token))] if token is not None else []
        yield len(self._snapshot.header), finished(self._header())
        for byte, size, records in _batches(self._snapshot.raw()):
            if planted and _behind_tokens(byte):
                yield 0, planted.pop()
            if byte not in BY_BYTE:
                self._dropped[byte] += len(records)
            elif byte in _SEALED:
                yield size, finished(self.records.handled(byte, records, self._seal(byte)))
            else:
                yield size, work.redacted(byte, records)
        for new in planted:
            yield 0, new

    def _header(self) -> bytes:
        header = unpack(self._snapshot.header) or {}
        if not isinstance(header, dict):
            raise RecordError("is no map", "the header of state.bin")
        return pack(self.records.values.value(header, ANY, "secret", "header"))

    def _seal(self, byte: int) -> Callable[[Buffer], bytes]:
        """What redacts variables, or root keys."""
        redact = self._sealed.variable if byte == _VARIABLE else self._sealed.root_key
        return lambda packed: pack(redact(unpack(packed)))

    def meta(self) -> dict[str, Any]:
        """meta.json: what a server needs of it. Its servers are hosts."""
        found = self._snapshot.archive.meta or archive.BARE_META
        meta = {
            name: found[name]
            for name in ("Version", "ID", "Index", "Term", "Peers", "Configuration", "ConfigurationIndex")
            if name in found
        }
        if not re.fullmatch(r"\d+-\d+-\d+", str(meta.get("ID"))):
            meta["ID"] = f"{meta.get('Term', 1)}-{meta.get('Index', 1)}-0"
        servers = meta.get("Configuration")
        listed = servers.get("Servers") if isinstance(servers, dict) else None
        hidden = self._profile != "share"
        meta["Configuration"] = {
            "Servers": [
                {
                    "Suffrage": server.get("Suffrage", 0),
                    **{name: self.records.named(text) if hidden else text
                       for name in ("ID", "Address") if isinstance(text := server.get(name), str)},
                }
                for server in listed or ()
                if isinstance(server, dict)
            ]
        }  # fmt: skip
        if hidden and "Peers" in meta:
            meta["Peers"] = "kA=="  # what raft read before it had a configuration: an empty list
        return meta

    def result(self, path: str, token: Token | None) -> Redaction:
        """What was done."""
        notes = []
        for byte, count in sorted(self._dropped.items()):
            why = "of Nomad Enterprise or newer than this snapkit, so that its secrets are not known"
            notes.append(f"{count:,} records of type {type_name(byte)} were left out: {why}")
        for struct, name in sorted(self.records.values.seen.unknown):
            notes.append(f"the field {struct}.{name} is not known; all text in it was replaced as a secret")
        tables = [BY_BYTE[byte] for byte in sorted(set(self._snapshot.type_bytes)) if byte in BY_BYTE]
        left = [(kind.table, *item) for kind in tables for item in kept(kind, self._profile).items()]
        found = self.records.counts
        counts = {(table, place): n for table, places in found.items() for place, n in places.items() if n}
        return Redaction(path, self._profile, counts, tuple(left), tuple(notes), token)

    def _look(self) -> Seen:
        """See which fields the records have: some of each type, which tell of nearly all."""
        seen = Seen()
        types = self._snapshot.type_bytes
        counts = {byte: types.count(byte) for byte in set(types) & BY_BYTE.keys()}
        wanted = {byte: {number * _SPREAD % count for number in range(_SAMPLES)} for byte, count in counts.items()}
        number: Counter[int] = Counter()
        for byte, packed in self._snapshot.raw():
            if byte in wanted:
                if number[byte] in wanted[byte]:
                    seen.look(unpack(packed), Type("struct", struct=BY_BYTE[byte].struct))
                number[byte] += 1
        return seen

    # -- the token

    def _planted(self, token: Token) -> bytes:
        """A record, its type byte ahead. Its index is that of the newest token, so that the Index table still fits."""
        there = self._snapshot.table("acl_tokens", ["ModifyIndex"])["ModifyIndex"].dropna()
        meta = self._snapshot.meta
        index = int(there.max()) if len(there) else meta.index or 1
        created = meta.created.value if meta.created is not None else 0
        seconds, nanoseconds = divmod(created, 10**9)
        record = {
            "AccessorID": token.accessor_id,
            "SecretID": token.secret_id,
            "Name": "planted by snapkit redact",
            "Type": "management",
            "Policies": None,
            "Roles": None,
            "Global": True,
            "Hash": hashlib.blake2b(b"planted by snapkit redactmanagementglobal", digest_size=32).digest(),
            "CreateTime": b"\1"
            + (seconds + UNIX_EPOCH).to_bytes(8, "big")
            + nanoseconds.to_bytes(4, "big")
            + b"\xff\xff",
            "ExpirationTime": None,
            "ExpirationTTL": 0,
            "CreateIndex": index,
            "ModifyIndex": index,
        }
        known = self._snapshot.columns("acl_tokens") if len(there) else list(record)
        return _TOKEN.to_bytes() + pack({name: value for name, value in record.items() if name in known})


def _batches(raw: Iterable[tuple[int, memoryview]]) -> Iterator[tuple[int, int, list[memoryview]]]:
    """Records of one type that follow each other, about a mebibyte of them: the type, their bytes in the state."""
    batch: list[memoryview] = []
    last, size = -1, 0
    for byte, packed in raw:
        if batch and (byte != last or size >= _BATCH):
            yield last, size, batch
            batch, size = [], 0
        last = byte
        size += len(packed) + 1
        batch.append(packed)
    if batch:
        yield last, size, batch


def _behind_tokens(byte: int) -> bool:
    """Do records of this type stand behind the tokens?"""
    return byte not in STREAM_ORDER or STREAM_ORDER.index(byte) > STREAM_ORDER.index(_TOKEN)
