"""An archive that may be handed on: whole and restorable, its secrets replaced and, by profile, its names as well.

What each profile does is in docs/redaction.md. Records pass one by one. Where only some fields are to be replaced,
these alone are decoded, and their new bytes are put where the old ones were.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import os
import re
import secrets
import types
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import cramjam
import msgpack
import msgspec
import pyarrow as pa

from snapkit.errors import RecordError, SnapshotError
from snapkit.files import refuse_existing
from snapkit.format import archive
from snapkit.format.archive import Progress, Source
from snapkit.format.schema import ANY, BY_BYTE, BY_TABLE, STREAM_ORDER, Field, RecordType, Type, fields, type_name
from snapkit.format.values import MAX_DEPTH, UNIX_EPOCH, Buffer, go_time, split_list, split_map, unpack
from snapkit.state.edit import pack
from snapkit.state.keyring import AEAD, NONCE, Keyring, KeyringError
from snapkit.state.pseudonyms import TABLES, Pseudonyms
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.store import Store

if TYPE_CHECKING:
    import pandas as pd

Profile: TypeAlias = Literal["share", "training", "strict"]

#: What is done to a field's text: nothing; nothing, but to the fields of structs below it what they ask for; replaced
#: as a secret, as a name, or as a hash; of URLs the credentials; of talk the addresses too; of Node.Attributes and of
#: constraints what names one host.
How: TypeAlias = Literal["keep", "secret", "name", "hash", "url", "talk", "attributes", "unique"]

#: Fields that a handler of their own takes care of.
_SEALED = {"VariableEncrypted.Data", "RootKey.WrappedKeys"}
_UNIQUE = {"Constraint", "Affinity", "Spread"}  # structs that can name one host: `${attr.unique.hostname} = web1`
_SPOKEN = re.compile(rb"://|[?@]|\d\.\d|[0-9a-f]:[0-9a-f]*:")  # no talk without one of these is changed
_PIECE = 1 << 20  # bytes that are written at once
_SAMPLES = 32  # records of each type that are looked at for fields that are not known
_ROOM = 64 << 20  # bytes of values that are remembered
_TOKEN = BY_TABLE["acl_tokens"].byte
#: First bytes of what has no text in it: numbers, nil, booleans, and what is empty.
_NO_TEXT = frozenset({*range(0x81), 0x90, 0xA0, 0xC0, 0xC2, 0xC3, *range(0xCA, 0xD4), *range(0xE0, 0x100)})
_TAG = 16  # bytes of AES-GCM's tag
#: Structs as Go writes them with nothing in them.
_EMPTY: Mapping[str, dict[str, Any]] = {
    struct: {name: {"string": "", "bool": False}.get(f.type.kind, 0 if "int" in f.type.kind else None)
             for name, f in fields(struct).items()}
    for struct in ("WrappedKey", "v2.BlobInfo", "v2.KeyInfo")
}  # fmt: skip


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
        size = redactor.write(out, planted, progress)
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


# -- what is done to which field


class Step(NamedTuple):
    """What is done to a field.

    Attributes:
        name: The field's.
        place: `Struct.Field`.
        type: By the schema.
        how: What is done.
    """

    name: str
    place: str
    type: Type
    how: How


_HOW: Mapping[Profile, Mapping[str, How]] = {
    "share": {"always": "secret", "may": "secret", "seldom": "secret", "url": "url"},
    "training": {"always": "secret", "may": "secret", "seldom": "secret", "url": "talk", "identifies": "name"},
    "strict": {"always": "secret", "may": "secret", "seldom": "secret"},
}


def _how(struct: str, known: Field, profile: Profile) -> How:
    place = f"{struct}.{known.name}"
    if place in _SEALED:
        return "keep"
    if known.name == "Hash" and known.type.kind == "bytes":
        return "hash"  # of what was replaced, a secret perhaps
    how = _HOW[profile].get(known.sensitivity)
    if how is not None:
        return how
    if profile == "strict":
        return "name"
    if profile == "training":
        if place == "Node.Attributes":
            return "attributes"
        if place == "AllocMetric.ConstraintFiltered" or (known.type.element or ANY).struct in _UNIQUE:
            return "unique"
    return "keep"


@cache
def steps(struct: str, profile: Profile) -> Mapping[bytes, Step]:
    """What a profile does to each field of a struct."""
    return {
        name.encode(): Step(name, f"{struct}.{name}", known.type, _how(struct, known, profile))
        for name, known in fields(struct).items()
    }


#: A field's new bytes, and what was replaced in it: places with counts.
_Done: TypeAlias = tuple[bytes, tuple[tuple[str, int], ...]]
#: A field's key packed, what it is, what is done to it, and what was done to values of it.
_Row: TypeAlias = tuple[bytes, Step, How, dict[bytes, _Done]]


def kept(kind: RecordType, profile: Profile) -> dict[str, str]:
    """The fields of text that a profile leaves in records of a type: `Struct.Field` -> sensitivity.

    ` (names)` behind one says that the names of entries alone stay, as those of environment variables do.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()

    def visit(type_: Type) -> None:
        if type_.element is not None:
            visit(type_.element)
        elif type_.kind == "struct" and type_.struct not in seen:
            seen.add(type_.struct)
            for step in steps(type_.struct, profile).values():
                if step.how == "secret" and profile != "strict" and _holds_names(step.type):
                    found[f"{step.place} (names)"] = "free"
                if step.how in ("secret", "name", "hash") or step.place in _SEALED:
                    continue
                if _holds_text(step.type):
                    found[step.place] = fields(type_.struct)[step.name].sensitivity
                visit(step.type)

    visit(Type("struct", struct=kind.struct))
    if kind.table == "variables" and profile != "strict":
        found["VariableEncrypted.Data (names)"] = "free"
    return found


def _holds_names(kind: Type) -> bool:
    return kind.kind in ("map", "any") or (kind.element is not None and _holds_names(kind.element))


def _holds_text(kind: Type) -> bool:
    if kind.kind == "map":
        return True  # its keys
    return _holds_text(kind.element) if kind.element else kind.kind in ("string", "bytes", "any")


# -- a plan of the fields to be replaced, as msgspec decodes them: all others are passed over without a look


class _Node(NamedTuple):
    """What is to be found below a value.

    Attributes:
        shape: `leaf`, `struct`, `list` or `map`.
        fields: Of a struct: name and node of each field wanted.
        inner: Of a list or map.
        step: Of a leaf.
    """

    shape: str
    fields: tuple[tuple[str, _Node], ...] = ()
    inner: _Node | None = None
    step: Step | None = None


_NOTHING = msgspec.Raw(b"")


class _Planner:
    def __init__(self, profile: Profile, unknown: set[tuple[str, str]]) -> None:
        self._profile = profile
        self._unknown = unknown
        self._structs: dict[str, tuple[Any, _Node] | None] = {}

    def plan(self, kind: Type) -> tuple[Any, _Node] | None:
        """The type that msgspec decodes and what is in it; None if nothing below is replaced."""
        if kind.element is not None:
            inner = self.plan(kind.element)
            if inner is None:
                return None
            of = inner[0]
            decoded: Any = (
                types.GenericAlias(list, (of,)) if kind.kind == "list" else types.GenericAlias(dict, (str, of))
            )
            return decoded | None, _Node(kind.kind, inner=inner[1])
        if kind.kind != "struct":
            return None
        if kind.struct not in self._structs:
            self._structs[kind.struct] = None  # should it hold itself
            self._structs[kind.struct] = self._struct(kind.struct)
        return self._structs[kind.struct]

    def _struct(self, struct: str) -> tuple[Any, _Node] | None:
        wanted: list[tuple[str, Any, _Node]] = []
        for step in steps(struct, self._profile).values():
            if step.how != "keep":
                wanted.append((step.name, msgspec.Raw, _Node("leaf", step=step)))
            elif step.place not in _SEALED and (below := self._below(step)) is not None:
                wanted.append((step.name, *below))
        for owner, name in self._unknown:
            if owner == struct:
                step = Step(name, f"{struct}.{name}", ANY, "secret")
                wanted.append((name, msgspec.Raw, _Node("leaf", step=step)))
        if not wanted:
            return None
        made = msgspec.defstruct(
            f"_{re.sub('[^A-Za-z]', '', struct)}",
            [(name, kind, _NOTHING if kind is msgspec.Raw else None) for name, kind, _ in wanted],
            gc=False,
        )
        return made | None, _Node("struct", tuple((name, node) for name, _, node in wanted))

    def _below(self, step: Step) -> tuple[Any, _Node] | None:
        found = self.plan(step.type)
        if found is None or not _only_spoken(found[1]):
            return found
        spoken: How = "url" if self._profile == "share" else "talk"
        return msgspec.Raw, _Node("leaf", step=step._replace(how=spoken))


def _only_spoken(node: _Node) -> bool:
    """Is all below it to be changed only where there is a URL or an address in it? That is told without decoding."""
    if node.step is not None:
        return node.step.how in ("url", "talk")
    if node.inner is not None:
        return _only_spoken(node.inner)
    return all(_only_spoken(inner) for _, inner in node.fields)


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
        self._profile: Profile = profile
        self._names = Pseudonyms(hashlib.sha256(b"snapkit redact\0" + secret_key).digest())
        if profile == "strict":
            self._names.key_id = self._names.member = self._named
        self._counts: Counter[str] = Counter()
        self._by_table: dict[str, Counter[str]] = {}
        self._dropped: Counter[int] = Counter()
        self._unknown: set[tuple[str, str]] = set()
        self._caches: dict[tuple[str, How], dict[bytes, _Done]] = {}
        self._rows: dict[tuple[str, How], dict[str, _Row]] = {}
        self._room = _ROOM
        self._notes: list[str] = []

    def _named(self, name: str) -> str:
        return self._names.name(name.encode("utf-8", "replace")).decode()

    # -- the whole

    def write(self, out: Store, token: Token | None, progress: Progress | None) -> int:
        """Write the new state.bin; give its length.

        Raises:
            RecordError: A record can't be decoded.
        """
        snapshot = self._snapshot
        self._find_unknown()
        handlers = {byte: self._handler(kind) for byte, kind in BY_BYTE.items()}
        planted = [self._planted(token)] if token is not None else []
        header = unpack(snapshot.header) or {}
        if not isinstance(header, dict):
            raise RecordError("is no map", "the header of state.bin")
        pending: list[bytes | memoryview] = [pack(self._value(header, ANY, "secret", "header"))]
        waiting, size, done, total = len(pending[0]), 0, 0, snapshot.meta.size
        last, handle, table = -1, None, ""
        for byte, packed in snapshot.raw():
            if byte != last:
                handle = handlers.get(byte)
                last, table = byte, BY_BYTE[byte].table if byte in BY_BYTE else ""
                self._counts = self._by_table.setdefault(table, Counter())
                if planted and _behind_tokens(byte):
                    record = planted.pop()
                    pending.append(record)
                    waiting += len(record)
            done += len(packed) + 1
            if handle is None:
                self._dropped[byte] += 1
                continue
            try:
                new = handle(packed)
            except RecordError as error:
                raise error.at(f"a record of type {type_name(byte)}") from error
            pending.append(byte.to_bytes())
            pending.append(new)
            waiting += len(new) + 1
            if waiting >= _PIECE:
                size += waiting
                out.write(b"".join(pending))
                pending.clear()
                waiting = 0
                if progress is not None:
                    progress(done, total)
        pending += planted
        joined = b"".join(pending)
        out.write(joined)
        return size + len(joined)

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
        for struct, name in sorted(self._unknown):
            self._notes.append(f"the field {struct}.{name} is not known; all text in it was replaced as a secret")
        tables = [BY_BYTE[byte] for byte in sorted(set(self._snapshot.type_bytes)) if byte in BY_BYTE]
        left = [(kind.table, *item) for kind in tables for item in kept(kind, self._profile).items()]
        counts = {(table, place): n for table, places in self._by_table.items() for place, n in places.items() if n}
        return Redaction(path, self._profile, counts, tuple(left), tuple(self._notes), token)

    def _find_unknown(self) -> None:
        """Fields that the schema lacks: a server writes all fields of a struct, so that some records tell of all."""
        starts: dict[int, list[int]] = {}
        types = self._snapshot.type_bytes
        for byte in set(types) & BY_BYTE.keys():
            count = types.count(byte)
            stride = max(1, count // _SAMPLES)
            starts[byte] = list(range(0, count, stride))
        seen: Counter[int] = Counter()
        wanted = {byte: set(numbers) for byte, numbers in starts.items()}
        for byte, packed in self._snapshot.raw():
            if byte in wanted and seen[byte] in wanted[byte]:
                self._look_for_unknown(unpack(packed), Type("struct", struct=BY_BYTE[byte].struct), MAX_DEPTH)
            seen[byte] += 1

    def _look_for_unknown(self, value: Any, kind: Type, depth: int) -> None:
        if depth == 0:
            raise RecordError(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(value, list):
            for item in value:
                self._look_for_unknown(item, kind.element or (kind if kind.kind == "struct" else ANY), depth - 1)
        elif isinstance(value, dict):
            known = steps(kind.struct, self._profile) if kind.kind == "struct" else {}
            for name, item in value.items():
                step = known.get(name)
                if step is not None:
                    if isinstance(item, dict | list):
                        self._look_for_unknown(item, step.type, depth - 1)
                elif known:
                    self._unknown.add((kind.struct, _shown(name)))
                elif kind.element is not None and isinstance(item, dict | list):
                    self._look_for_unknown(item, kind.element, depth - 1)

    # -- a record

    def _handler(self, kind: RecordType) -> Callable[[memoryview], bytes | memoryview]:
        whole = Type("struct", struct=kind.struct)
        if kind.table == "variables":
            return lambda packed: pack(self._variable(unpack(packed)))
        if kind.table == "root_keys":
            return lambda packed: pack(self._root_key(unpack(packed)))
        if kind.table == "time_table":
            whole = Type("list", whole)

        def thorough(packed: Buffer) -> bytes:
            record = unpack(packed)
            if not _fits(record, whole):
                raise RecordError(f"is a {type(record).__name__} and not a map of fields")
            return pack(self._value(record, whole, "keep", kind.struct))

        if self._profile == "strict" and whole.kind == "struct":
            return lambda packed: self._packed_struct(packed, kind.struct, "keep")
        if self._profile == "strict" or not all(_is_name(name) for _, name in self._unknown):
            return thorough
        found = _Planner(self._profile, self._unknown).plan(whole)
        if found is None:
            return lambda packed: packed
        decode, root = msgspec.msgpack.Decoder(found[0]).decode, found[1]

        def spliced(packed: memoryview) -> bytes | memoryview:
            try:
                decoded = decode(packed)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return thorough(packed)  # of other types than the schema says, or no UTF-8
            leaves: list[tuple[msgspec.Raw, Step]] = []
            if decoded is not None:
                _collect(decoded, root, leaves)
            if not leaves:
                return packed
            base = pa.py_buffer(packed).address
            changes = []
            for raw, step in leaves:
                view = pa.py_buffer(raw)
                if view.size > 1:  # else it is nil, false, a small number or empty
                    old = bytes(raw)
                    new = self._leaf(old, step)
                    if new != old:
                        changes.append((view.address - base, view.size, new))
            if not changes:
                return packed
            changes.sort()
            pieces: list[bytes | memoryview] = []
            at = 0
            for start, length, new in changes:
                pieces.append(packed[at:start])
                pieces.append(new)
                at = start + length
            pieces.append(packed[at:])
            return b"".join(pieces)

        return spliced

    def _leaf(self, old: bytes, step: Step) -> bytes:
        """The new bytes of a field, counted."""
        if step.how == "url" and b"://" not in old and b"?" not in old:
            return old
        if step.how == "talk" and not _SPOKEN.search(old):
            return old
        if step.how == "unique" and b"unique" not in old:
            return old
        return self._packed(old, step, step.how)

    # -- a record of which all is replaced: no deeper than what was not met before

    def _packed_struct(self, packed: Buffer, struct: str, how: How) -> bytes:
        rows = self._rows.get((struct, how)) or self._make_rows(struct, how)
        parts = split_map(packed)
        made = [_header(len(parts), 0x80, 0xDE)]
        for name, part in parts.items():
            head, step, inner, remembered = rows.get(name) or self._unknown_row(struct, name)
            old = bytes(part)
            if old[0] not in _NO_TEXT:
                found = remembered.get(old) or self._remember(old, step, inner, remembered)
                for place, count in found[1]:
                    self._counts[place] += count
                old = found[0]
            made += (head, old)
        return b"".join(made)

    def _make_rows(self, struct: str, how: How) -> dict[str, _Row]:
        """By the name of a field: its key packed, what is done to it in a field of `how`, and what is known of it."""
        rows = self._rows[struct, how] = {}
        for step in steps(struct, self._profile).values():
            inner = _inner(how, step.how)
            rows[step.name] = _packed_name(step.name), step, inner, self._caches.setdefault((step.place, inner), {})
        return rows

    def _unknown_row(self, struct: str, name: str) -> _Row:
        return _packed_name(self._named(name)), Step(name, f"{struct}.{name}", ANY, "secret"), "secret", {}

    def _packed(self, old: bytes, step: Step, how: How) -> bytes:
        if old[0] in _NO_TEXT:
            return old
        remembered = self._caches.setdefault((f"{step.place} {step.type.kind}", how), {})
        found = remembered.get(old) or self._remember(old, step, how, remembered)
        for place, count in found[1]:
            self._counts[place] += count
        return found[0]

    def _remember(self, old: bytes, step: Step, how: How, remembered: dict[bytes, _Done]) -> _Done:
        """A field's new bytes, with what is to be counted; kept, for values that come again."""
        if step.place in _SEALED or (step.type.kind == "time" and len(old) == 16 and _is_time(old[1:])):
            return old, ()
        counts, self._counts = self._counts, Counter()
        try:
            done = self._fresh(old, step, how), tuple(self._counts.items())
        finally:
            self._counts = counts
        if len(old) < 4096:
            self._room -= len(old) + len(done[0]) + 200  # of the objects around them
            if self._room < 0:
                self._room = _ROOM
                for cache in self._caches.values():
                    cache.clear()
            remembered[old] = done
        return done

    def _fresh(self, old: bytes, step: Step, how: How) -> bytes:
        kind, inner = step.type, step.type.element
        if how == "name" and self._profile == "strict":
            if kind.kind == "struct" and _is_map(old):
                return self._packed_struct(old, kind.struct, how)
            if inner is not None and kind.kind == "list" and _is_list(old):
                items = split_list(old)
                below = step._replace(type=inner)
                return _header(len(items), 0x90, 0xDC) + b"".join([self._packed(bytes(i), below, how) for i in items])
            if inner is not None and inner.kind == "struct" and _is_map(old):
                parts, below = split_map(old), step._replace(type=inner)
                made = [_header(len(parts), 0x80, 0xDE)]
                for name, part in parts.items():
                    made += (_packed_name(self._named(name)), self._packed(bytes(part), below, how))
                return b"".join(made)
        return pack(self._value(unpack(old), kind, how, step.place))

    # -- a value

    def _value(self, value: Any, kind: Type, how: How, place: str, depth: int = MAX_DEPTH) -> Any:
        """An unpacked value with its text replaced; as a secret's, where it is not of its field's type."""
        if how != "name" and not _fits(value, kind):
            how, kind = "secret", ANY
        if type(value) is bytes:
            return self._text(value, kind, how, place)
        if type(value) is dict:
            if depth == 0:
                raise RecordError(f"is nested more than {MAX_DEPTH} deep")
            if kind.kind == "struct" and fields(kind.struct):
                return self._struct(value, kind.struct, how, depth - 1)
            return self._map(value, kind.element or ANY, how, place, depth - 1)
        if type(value) is list:
            if depth == 0:
                raise RecordError(f"is nested more than {MAX_DEPTH} deep")
            if how == "unique":
                return [self._constraint(item, kind.element or ANY, depth - 1) for item in value]
            return [self._value(item, kind.element or ANY, how, place, depth - 1) for item in value]
        if isinstance(value, msgpack.ExtType) and how != "keep":
            self._counts[place] += 1
            return msgpack.ExtType(value.code, self._names.secret(value.data))
        return value

    def _struct(self, value: dict[Any, Any], struct: str, how: How, depth: int) -> dict[Any, Any]:
        made = {}
        known = steps(struct, self._profile)
        for name, item in value.items():
            step = known.get(name)
            if step is None:
                known_as = self._key(name) if self._profile == "strict" else name
                made[known_as] = self._value(item, ANY, "secret", f"{struct}.{_shown(name)}", depth)
            elif step.place in _SEALED:
                made[name] = item
            else:
                made[name] = self._value(item, step.type, _inner(how, step.how), step.place, depth)
        return made

    def _map(self, value: dict[Any, Any], element: Type, how: How, place: str, depth: int) -> dict[Any, Any]:
        if how == "attributes":
            return {
                name: self._value(item, element, "name" if b"unique." in name else "talk", place, depth)
                for name, item in value.items()
            }
        if how == "unique":  # constraints, as text, that filtered nodes
            return {self._names.name(name) if b"unique" in name else name: item for name, item in value.items()}
        named = how == "name" or self._profile == "strict"
        return {
            (self._key(name) if named else name): self._value(item, element, how, place, depth)
            for name, item in value.items()
        }

    def _key(self, name: Any) -> Any:
        return self._names.name(name) if isinstance(name, bytes) and self._profile != "share" else name

    def _constraint(self, item: Any, kind: Type, depth: int) -> Any:
        """A constraint, an affinity or a spread: one by what is unique to a host names hosts."""
        if isinstance(item, dict) and b"unique" in pack([item.get(b"LTarget"), item.get(b"Attribute")]):
            place = f"{kind.struct}.{'SpreadTarget' if kind.struct == 'Spread' else 'RTarget'}"
            return {name: self._value(value, ANY, "name", place, depth)
                    if name == b"RTarget" else self._targets(value, place) if name == b"SpreadTarget" else value
                    for name, value in item.items()}  # fmt: skip
        return item

    def _targets(self, value: Any, place: str) -> Any:
        return self._value(value, Type("list", Type("struct", struct="SpreadTarget")), "name", place)

    def _text(self, value: bytes, kind: Type, how: How, place: str) -> bytes:
        if not value or how in ("keep", "unique", "attributes"):
            return value
        if kind.kind == "time" and _is_time(value):
            return value
        match how:
            case "secret":
                new = self._payload(value) if place == "Job.Payload" else self._names.secret(value)
            case "url":
                new = self._names.url(value)
            case "talk":
                new = self._names.talk(value)
            case "hash":
                new = self._names.noise("hash", value, len(value))
            case _:
                new = self._names.secret(value) if kind.kind == "bytes" else self._names.name(value)
        if new != value:
            self._counts[place] += 1
        return new

    def _payload(self, value: bytes) -> bytes:
        """A dispatch payload: Snappy stays Snappy."""
        try:
            plain = bytes(cramjam.snappy.decompress_raw(value))
        except cramjam.DecompressionError:
            return self._names.secret(value)
        return bytes(cramjam.snappy.compress_raw(self._names.secret(plain)))

    # -- variables and their keys

    def _variable(self, record: Any) -> Any:
        if not isinstance(record, dict):
            raise RecordError("is no map")
        made = self._value(record, Type("struct", struct="VariableEncrypted"), "keep", "VariableEncrypted")
        data = record.get(b"Data")
        if not isinstance(data, bytes) and b"Data" in made:
            made[b"Data"] = None
        elif data:
            made[b"Data"] = self._sealed(record, made.get(b"KeyID"), data)
            self._counts["VariableEncrypted.Data"] += 1
        return made

    def _sealed(self, record: dict[bytes, Any], key_id: Any, data: bytes) -> bytes:
        """A variable's ciphertext: of dummy items, of the same length, under the new key."""
        size = len(data) - NONCE - _TAG
        if size < 2 or not isinstance(key_id, bytes):
            return self._names.noise("data", data, len(data))
        plain = self._dummy(record, data, size)
        nonce = self._names.noise("nonce", data, NONCE)
        sealed: bytes = _aead(self._key_of(key_id, "dek")).encrypt(nonce, plain, key_id)
        return nonce + sealed

    @cached_property
    def _keyring(self) -> Keyring | None:
        """None where a root key is not as Nomad writes it."""
        try:
            return Keyring(self._snapshot.table)
        except KeyringError:
            return None

    def _items(self, record: dict[bytes, Any], data: bytes) -> dict[str, str] | None:
        """A variable's items, where the archive has what opens it."""
        namespace, path, key_id = (_shown(record.get(name) or b"") for name in (b"Namespace", b"Path", b"KeyID"))
        try:
            return self._keyring.open_variable(namespace, path, key_id, data) if self._keyring else None
        except KeyringError:
            return None

    def _dummy(self, record: dict[bytes, Any], data: bytes, size: int) -> bytes:
        """JSON of so many bytes: of items of the same names and lengths, or of one where they can't be had."""
        items = self._items(record, data)
        if items is not None:
            dummy = {self._names.member(n): self._secret(i) for n, i in items.items()}
            plain = json.dumps(dummy, ensure_ascii=False, separators=(",", ":")).encode()
            if len(plain) <= size:
                return plain.ljust(size)
        around = b'{"value":""}'
        if size < len(around):
            return b"{}".ljust(size)
        filler = self._names.noise("value", data, size - len(around)).translate(TABLES["lower"])
        return around[:-2] + filler + around[-2:]

    def _secret(self, value: str) -> str:
        return self._names.secret(value.encode("utf-8", "replace")).decode()

    def _key_of(self, key_id: bytes, which: str) -> bytes:
        return self._names.noise(which, key_id, 32)

    def _root_key(self, record: Any) -> Any:
        """A root key with other material: an AEAD key that the archive carries, and no RSA key (EdDSA signs then)."""
        if not isinstance(record, dict):
            raise RecordError("is no map")
        made = self._value(record, Type("struct", struct="RootKey"), "keep", "RootKey")
        wrapped, key_id = record.get(b"WrappedKeys"), made.get(b"KeyID")
        if not isinstance(wrapped, list) or not isinstance(key_id, bytes):
            made[b"WrappedKeys"] = None
        elif any(isinstance(item, dict) and item.get(b"WrappedDataEncryptionKey") for item in wrapped):
            made[b"WrappedKeys"] = [self._wrapped(key_id)]
            self._counts["RootKey.WrappedKeys"] += len(wrapped)
        else:
            made[b"WrappedKeys"] = []
        return made

    def _wrapped(self, key_id: bytes) -> dict[str, Any]:
        kek, nonce = self._key_of(key_id, "kek"), self._names.noise("kek nonce", key_id, NONCE)
        sealed = nonce + _aead(kek).encrypt(nonce, self._key_of(key_id, "dek"), None)
        info = _EMPTY["v2.KeyInfo"] | {"KeyId": key_id}
        return _EMPTY["WrappedKey"] | {
            "Provider": AEAD,
            "ProviderID": AEAD,
            "WrappedDataEncryptionKey": _EMPTY["v2.BlobInfo"] | {"Ciphertext": sealed, "KeyInfo": info},
            "WrappedRSAKey": _EMPTY["v2.BlobInfo"],
            "KeyEncryptionKey": kek,
        }

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


def _inner(outer: How, own: How) -> How:
    """What is done to a field of a struct below one that is replaced: that, unless it is a secret."""
    return outer if outer == "secret" or (outer == "name" and own != "secret") else own


def _collect(value: Any, node: _Node, leaves: list[tuple[msgspec.Raw, Step]]) -> None:
    if node.shape == "struct":
        for name, inner in node.fields:
            item = getattr(value, name)
            if inner.step is not None:
                leaves.append((item, inner.step))
            elif item:  # not nil, and no list or map without items
                _collect(item, inner, leaves)
    elif node.inner is not None:
        for item in value if node.shape == "list" else value.values():
            if item is not None:
                _collect(item, node.inner, leaves)


def _header(size: int, short: int, long: int) -> bytes:
    """What msgpack puts ahead of a map's or list's items."""
    if size < 16:
        return bytes([short | size])
    return bytes([long]) + size.to_bytes(2, "big") if size < 1 << 16 else bytes([long + 1]) + size.to_bytes(4, "big")


@lru_cache(1 << 16)
def _packed_name(name: str) -> bytes:
    return pack(name)


def _is_map(packed: bytes) -> bool:
    return 0x80 <= packed[0] <= 0x8F or packed[0] in (0xDE, 0xDF)


def _is_list(packed: bytes) -> bool:
    return 0x90 <= packed[0] <= 0x9F or packed[0] in (0xDC, 0xDD)


def _is_name(name: str) -> bool:
    """Can a struct of ours have a field of this name?"""
    return name.isidentifier() and not name.startswith("_") and not keyword.iskeyword(name)


def _fits(value: Any, kind: Type) -> bool:
    """Is a value of the shape of its type?"""
    if isinstance(value, dict):
        return kind.kind in ("map", "struct", "any")
    if isinstance(value, list):
        return kind.kind in ("list", "bytes", "any")
    return not isinstance(value, bytes | msgpack.ExtType) or kind.kind not in ("map", "struct", "list")


def _is_time(value: bytes) -> bool:
    try:
        return go_time(value) is not None
    except RecordError:
        return False


def _behind_tokens(byte: int) -> bool:
    """Do records of this type stand behind the tokens?"""
    return byte not in STREAM_ORDER or STREAM_ORDER.index(byte) > STREAM_ORDER.index(_TOKEN)


def _shown(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _aead(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise KeyringError("needs the package cryptography", "redaction", "pip install 'snapkit[keys]'") from error
    return AESGCM(key)
