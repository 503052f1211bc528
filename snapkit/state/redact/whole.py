"""Redacting an archive: its records pass one by one, and are written as a new archive."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import secrets
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from snapkit.errors import RecordError, SnapshotError
from snapkit.files import refuse_existing
from snapkit.format import archive
from snapkit.format.archive import Progress, Source
from snapkit.format.schema import ANY, BY_BYTE, BY_TABLE, STREAM_ORDER, RecordType, Type, type_name
from snapkit.format.values import UNIX_EPOCH, Buffer, pack, unpack
from snapkit.state.redact.packed import Packed
from snapkit.state.redact.profiles import Profile, kept
from snapkit.state.redact.pseudonyms import Pseudonyms
from snapkit.state.redact.sealed import Sealed
from snapkit.state.redact.values import Values
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.snapshot.store import Store

if TYPE_CHECKING:
    import pandas as pd

_PIECE = 1 << 20  # bytes that are written at once
_SAMPLES = 64  # records of each type that are looked at for the fields that they have
_SPREAD = 2_654_435_761  # a prime: what comes every so often in the state is met all the same
_TOKEN = BY_TABLE["acl_tokens"].byte


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
        out = Store()
        stack.callback(out.close)
        redactor = Redactor(snapshot, profile, key)
        collects = gc.isenabled()
        gc.disable()  # nothing here goes round in circles, and looking for such takes a third of the time
        stack.callback(gc.enable if collects else gc.disable)
        size = 0
        for piece in redactor.pieces(planted, progress):
            out.write(piece)
            size += len(piece)
        state = memoryview(out.bytes)
        stack.callback(state.release)
        pieces = (state[i : i + _PIECE] for i in range(0, size, _PIECE))
        archive.write(target, redactor.meta(), pieces, size, overwrite=overwrite)
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
    """Redacts the records of one snapshot.

    Args:
        snapshot: The open snapshot.
        profile: What to do.
        key: Of the pseudonyms.
    """

    def __init__(self, snapshot: Snapshot, profile: Profile, key: bytes | str | None) -> None:
        secret_key = key.encode() if isinstance(key, str) else key or secrets.token_bytes(32)
        self._snapshot = snapshot
        self._names = Pseudonyms(hashlib.sha256(b"snapkit redact\0" + secret_key).digest())
        if profile == "strict":
            self._names.key_id = self._names.member = self._named
        self.values = Values(profile, self._names)
        self.packed = Packed(self.values)
        self._look()
        self._by_table: dict[str, dict[str, int]] = {}
        self._dropped: Counter[int] = Counter()
        self._notes: list[str] = []

    def _named(self, name: str) -> str:
        return self._names.name(name.encode("utf-8", "replace")).decode()

    # -- the whole

    def pieces(self, token: Token | None = None, progress: Progress | None = None) -> Iterator[bytes]:
        """The new state.bin.

        Raises:
            RecordError: A record can't be decoded.
        """
        snapshot = self._snapshot
        handlers = {byte: self.handler(kind) for byte, kind in BY_BYTE.items()}
        planted = [self._planted(token)] if token is not None else []
        header = unpack(snapshot.header) or {}
        if not isinstance(header, dict):
            raise RecordError("is no map", "the header of state.bin")
        pending: list[Buffer] = [pack(self.values.value(header, ANY, "secret", "header"))]
        waiting, done, total = 0, 0, snapshot.meta.size
        last, handle, table = -1, None, ""
        for byte, packed in snapshot.raw():
            if byte != last:
                handle = handlers.get(byte)
                last, table = byte, BY_BYTE[byte].table if byte in BY_BYTE else ""
                self.packed.settle()
                self.values.counts = self._by_table.setdefault(table, defaultdict(int))
                if planted and _behind_tokens(byte):
                    pending.append(planted.pop())
            done += len(packed) + 1
            if handle is None:
                self._dropped[byte] += 1
                continue
            try:
                new = handle(packed)
            except RecordError as error:
                raise error.at(f"a record of type {type_name(byte)}") from error
            pending += (byte.to_bytes(), new)
            waiting += len(packed)
            if waiting >= _PIECE:
                self.packed.settle()
                yield b"".join(pending)
                pending.clear()
                waiting = 0
                if progress is not None:
                    progress(done, total)
        self.packed.settle()
        yield b"".join([*pending, *planted])

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
        hidden = self.values.profile != "share"
        meta["Configuration"] = {
            "Servers": [
                {
                    "Suffrage": server.get("Suffrage", 0),
                    **{name: self._named(text) if hidden else text
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
        for byte, count in sorted(self._dropped.items()):
            why = "of Nomad Enterprise or newer than this snapkit, so that its secrets are not known"
            self._notes.append(f"{count:,} records of type {type_name(byte)} were left out: {why}")
        for struct, name in sorted(self.values.seen.unknown):
            self._notes.append(f"the field {struct}.{name} is not known; all text in it was replaced as a secret")
        tables = [BY_BYTE[byte] for byte in sorted(set(self._snapshot.type_bytes)) if byte in BY_BYTE]
        left = [(kind.table, *item) for kind in tables for item in kept(kind, self.values.profile).items()]
        counts = {(table, place): n for table, places in self._by_table.items() for place, n in places.items() if n}
        return Redaction(path, self.values.profile, counts, tuple(left), tuple(self._notes), token)

    def _look(self) -> None:
        """See which fields the records have: some of each type, which tell of nearly all."""
        types = self._snapshot.type_bytes
        counts = {byte: types.count(byte) for byte in set(types) & BY_BYTE.keys()}
        wanted = {byte: {number * _SPREAD % count for number in range(_SAMPLES)} for byte, count in counts.items()}
        number: Counter[int] = Counter()
        for byte, packed in self._snapshot.raw():
            if byte in wanted:
                if number[byte] in wanted[byte]:
                    self.values.seen.look(unpack(packed), Type("struct", struct=BY_BYTE[byte].struct))
                number[byte] += 1

    def handler(self, kind: RecordType) -> Callable[[Buffer], Buffer]:
        """What redacts a packed record of a type."""
        sealed = Sealed(self.values, self._snapshot.table)
        if kind.table == "variables":
            return lambda packed: pack(sealed.variable(unpack(packed)))
        if kind.table == "root_keys":
            return lambda packed: pack(sealed.root_key(unpack(packed)))
        if kind.table == "time_table":
            return self.packed.records(kind.struct)
        return self.packed.record(kind.struct)

    # -- the token

    def _planted(self, token: Token) -> bytes:
        """A record, its type byte ahead. Its index is that of the newest token, so that the Index table still fits."""
        there = self._snapshot.table("acl_tokens", ["ModifyIndex"])["ModifyIndex"]
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


def _behind_tokens(byte: int) -> bool:
    """Do records of this type stand behind the tokens?"""
    return byte not in STREAM_ORDER or STREAM_ORDER.index(byte) > STREAM_ORDER.index(_TOKEN)
