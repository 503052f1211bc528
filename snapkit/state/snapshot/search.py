"""Search: the state is scanned as the bytes that it is, and only what may hold a hit is decoded.

The scan is RE2's, in the form that pyarrow has it: linear in time whatever the pattern, at the speed of memory, and
without Python's lock. It takes record by record, each as raw bytes, for a pattern that is wider than the one asked
for (no anchors, no lookarounds); what it finds is then looked for value by value with Python's own `re`. So a hit lies
in one value and never in the framing around it, and anchors are those of the value. Where each hit holds some literal,
that is looked for first, and in a record only those fields are decoded that hold it.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

# The tree of a pattern, as `re` itself compiles it; no public module gives it (sre_parse is deprecated).
from re import _compiler, _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from snapkit.errors import RecordError, SnapshotError
from snapkit.format.records import Index
from snapkit.format.schema import ANY, Type, fields, record_type
from snapkit.format.values import MAX_DEPTH, Buffer, Leaf, Mask, inflated, pick, text, unpack, walk
from snapkit.state.snapshot.keys import part_of_key
from snapkit.state.snapshot.store import Store

CONTEXT = 40  # characters on either side of what was searched for
KEPT = 64 << 20  # bytes of inflated payloads that are kept for the next search
ALONE = 1 << 20  # bytes that are not worth a second thread
BATCH = 16 << 20  # bytes of inflated payloads that are scanned at once
MAX_REPEAT = 1_000  # RE2's own limit; what is above widens the scan
SAMPLE = 32 << 10  # bytes at each of SAMPLES places, of which it is counted how often each is
SAMPLES = 8
SHORT = 4  # bytes of a literal that are few enough to be found where it is not
COPIED = 64 << 20  # bytes of records that are copied for the second scan; of more it is of all records
SLICES = 4  # for each thread, so that all are done at about the same time

#: The field of a job with what it was dispatched with, and the first byte of a string that is not empty.
PAYLOAD = r"Payload[\xa1-\xbf\xc4-\xc6\xd9-\xdb]"
PATHS = ("Payload", "Job.Payload")  # in jobs and job_versions, and in allocs
LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bytes of length after bin and str headers
REPLACED = "\N{REPLACEMENT CHARACTER}"  # stands for a byte that is no UTF-8
ANYTHING = r"[\x00-\xff]*"
NO_ASCII = r"[\x80-\xff]+"  # one character, or a byte that is no UTF-8
#: Letters beyond ASCII that are upper or lower case of one in it (Python: re.IGNORECASE).
FOLDED = "\u0130\u0131\u017f\u212a"
TYPE_FLAGS = re.ASCII | re.LOCALE | re.UNICODE

Pattern = re.Pattern[str] | re.Pattern[bytes]
Found = tuple[str, str, str]


class Query(NamedTuple):
    """What is searched for.

    Attributes:
        find: The first hit in a value, with what is before and after it: 40 characters or more, if there are as many.
        scan: For RE2, of bytes: it matches in every value that holds a hit, and maybe in others.
        literal: Bytes that every hit holds; empty if there are none.
    """

    find: Callable[[bytes], Found | None]
    scan: str
    literal: bytes


def query(wanted: str | bytes | Pattern, *, regex: bool = False, ignore_case: bool = False) -> Query:
    """Make a query of what somebody gave.

    Raises:
        SnapshotError: It is empty, no regular expression, or one that can match the empty string.
    """
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    if isinstance(wanted, re.Pattern):
        pattern, tree = _parsed(wanted.pattern, wanted.flags | flags)
    elif not wanted:
        raise SnapshotError("is empty", "the text to search for")
    elif regex or ignore_case:
        pattern, tree = _parsed(wanted if regex else re.escape(wanted), flags)  # type: ignore[type-var]
    else:
        return _literal(wanted)
    if tree.getwidth()[0] == 0:
        what = "can match the empty string, which is everywhere"
        raise SnapshotError(what, _named(wanted), "say what a hit must hold")
    of_text = isinstance(pattern.pattern, str)
    finder: Any = _finder_of_text if of_text else _finder_of_bytes
    literal = max(_literals(tree, pattern.flags, of_text), key=len)
    return Query(finder(pattern), _relaxed(tree, pattern.flags, of_text), literal)


def _parsed(source: Any, flags: int) -> tuple[Pattern, Any]:
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of what sets may mean one day
            pattern = re.compile(source, flags)
            return pattern, _parser.parse(source, pattern.flags)
    except (re.error, RecursionError, OverflowError) as error:
        raise SnapshotError(f"is no regular expression ({error})", _named(source)) from error


def _named(wanted: str | bytes | Pattern) -> str:
    source = wanted.pattern if isinstance(wanted, re.Pattern) else wanted
    return f"the regular expression {source!r:.60}"


def _literal(wanted: str | bytes) -> Query:
    try:
        needle = wanted.encode(errors="surrogateescape") if isinstance(wanted, str) else bytes(wanted)
    except UnicodeEncodeError as error:
        raise SnapshotError(f"is no text ({error.reason})", "the text to search for") from error

    def find(value: bytes) -> Found | None:
        start = value.find(needle)
        return None if start < 0 else _around(value, start, start + len(needle))

    return Query(find, _bytes(needle), needle)


def _finder_of_bytes(pattern: re.Pattern[bytes]) -> Callable[[bytes], Found | None]:
    def find(value: bytes) -> Found | None:
        match = pattern.search(value)
        return None if match is None else _around(value, *match.span())

    return find


def _finder_of_text(pattern: re.Pattern[str]) -> Callable[[bytes], Found | None]:
    def find(value: bytes) -> Found | None:
        match = pattern.search(text(value))
        return None if match is None else (match.string[: match.start()], match[0], match.string[match.end() :])

    return find


def _around(value: bytes, start: int, end: int) -> Found:
    reach = 4 * (CONTEXT + 2)  # bytes; what is cut in two at the far end is not shown
    return text(value[max(start - reach, 0) : start]), text(value[start:end]), text(value[end : end + reach])


# -- the scan's pattern


def _relaxed(tree: Iterable[tuple[Any, Any]], flags: int, of_text: bool, room: int = MAX_REPEAT) -> str:
    """A pattern for RE2 that matches wherever this one does in the raw bytes of a value, and maybe elsewhere.

    What looks around is left out; what RE2 has not is widened to anything.

    Args:
        tree: The pattern, parsed.
        flags: Of `re`, as they are in force here.
        of_text: Does it match text, and not bytes?
        room: How often a part may be repeated at most, with all repeats around it.
    """

    def group(inner: Iterable[tuple[Any, Any]], flags: int = flags, room: int = room) -> str:
        return f"(?:{_relaxed(inner, flags, of_text, room)})"

    parts = []
    for op, argument in tree:
        match op.name:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                parts.append(_character((op, argument), flags, of_text))
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                least, most = min(least, room), most if most <= room else None
                repeated = group(inner, room=room // max(least, most or 1, 1))
                parts.append(f"{repeated}{{{least},{'' if most is None else most}}}")
            case "SUBPATTERN":
                _, added, removed, inner = argument
                parts.append(group(inner, _combined(flags, added, removed)))
            case "ATOMIC_GROUP":
                parts.append(group(argument))
            case "BRANCH":
                parts.append(f"(?:{'|'.join(map(group, argument[1]))})")
            case "GROUPREF_EXISTS":
                parts.append(f"(?:{'|'.join(group(inner or ()) for inner in argument[1:])})")
            case "AT" | "ASSERT" | "ASSERT_NOT":
                pass
            case _:  # a group that is referred to, and whatever a newer Python may have
                parts.append(ANYTHING)
    return "".join(parts)


def _literals(tree: Iterable[tuple[Any, Any]], flags: int, of_text: bool) -> Iterator[bytes]:
    """The bytes, as far as they are told one by one, that a match holds in any case."""
    literal = b""
    for op, argument in tree:
        if op.name == "LITERAL" and _is_plain(argument, flags):
            literal += _encoded(argument, of_text)
        elif op.name not in ("AT", "ASSERT", "ASSERT_NOT"):
            yield literal
            literal = b""
            if op.name == "SUBPATTERN":
                _, added, removed, inner = argument
                yield from _literals(inner, _combined(flags, added, removed), of_text)
    yield literal


def _combined(flags: int, added: int, removed: int) -> int:
    return ((flags & ~TYPE_FLAGS if added & TYPE_FLAGS else flags) | added) & ~removed


def _is_plain(character: int, flags: int) -> bool:
    """Does it match itself alone?"""
    return not flags & re.IGNORECASE and character != ord(REPLACED)


def _encoded(character: int, of_text: bool) -> bytes:
    return chr(character).encode(errors="surrogatepass") if of_text else bytes([character])


def _character(node: tuple[Any, Any], flags: int, of_text: bool) -> str:
    """A pattern for what a part of a pattern matches that takes one character: `re` itself says what that is."""
    op, argument = node
    literal = op.name == "LITERAL"
    if literal and _is_plain(argument, flags):
        return _bytes(_encoded(argument, of_text))
    state = _parser.State()
    state.flags = flags
    matches = _compiler.compile(_parser.SubPattern(state, [node]), flags).match
    if not of_text:
        return _set([byte for byte in range(256) if matches(bytes([byte]))])
    ascii_ = _set([byte for byte in range(128) if matches(chr(byte))])
    if literal and argument < 128 and not any(map(matches, FOLDED)):
        return ascii_
    return f"(?:{ascii_}|{NO_ASCII})"


def _bytes(literal: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in literal)


def _set(members: Sequence[int]) -> str:
    return f"[{_bytes(bytes(members))}]" if members else "[^\\x00-\\xff]"


# -- the scan


class Searcher:
    """Searches one state; where its payloads are it finds out once."""

    def __init__(
        self, index: Index, store: Store, struct_of: Callable[[int], Type], place_of: Callable[[int], str]
    ) -> None:
        self._index = index
        self._store = store
        self._struct_of = struct_of
        self._place_of = place_of
        self._payloads: list[Payloads] | None = None

    def close(self) -> None:
        """Give memory back."""
        self._payloads = None

    def search(
        self, wanted: Query, types: Collection[int] | None = None, namespace: str | None = None, mask: Mask = None
    ) -> pd.DataFrame:
        """The hits, as `Snapshot.search()` gives them.

        Args:
            wanted: What to search for.
            types: Only in records of these.
            namespace: Only in records that say that they are of this.
            mask: Stands for the context of hits in secrets.
        """
        hits = [
            (record_type(self._index.types[record]).table, *hit)
            for record, whole in self._candidates(wanted)
            if types is None or self._index.types[record] in types
            for hit in self._hits(record, wanted, whole, namespace, mask)
        ]
        table, key, path, context = zip(*hits, strict=True) if hits else ((), (), (), ())
        return pd.DataFrame(
            {
                "Table": pd.array(table, dtype="str"),
                "Key": pd.Series(key, dtype="object"),
                "Path": pd.array(path, dtype="str"),
                "Context": pd.array(context, dtype="str"),
            }
        )

    def _candidates(self, wanted: Query) -> list[tuple[int, bool]]:
        """The records that may hold a hit, in order, and whether it may be in an inflated payload."""
        found = dict.fromkeys(self._scanned(self._records(), wanted), False)
        for payloads in self._inflated():
            for i in self._scanned(payloads.texts, wanted):
                found.update(dict.fromkeys(payloads.records[i], True))
        return sorted(found.items())

    def _scanned(self, texts: pa.Array, wanted: Query) -> list[int]:
        numbers = np.arange(len(texts))
        if wanted.literal:
            found = _matching(texts, _bytes(self._rare(wanted.literal)))
            offsets = _offsets(texts)
            if (offsets[found + 1] - offsets[found]).sum() <= COPIED:
                numbers, texts = found, texts.take(pa.array(found))
        scanned: list[int] = numbers[_matching(texts, wanted.scan)].tolist()
        return scanned

    def _rare(self, literal: bytes) -> bytes:
        """The end of a literal from its rarest byte on: by the first byte RE2 finds its way to where it may be."""
        starts = range(max(len(literal) - SHORT, 0) + 1)
        return literal[min(starts, key=lambda i: self._frequencies[literal[i]]) :]

    @cached_property
    def _frequencies(self) -> Any:
        """How often each byte is in some places of the state."""
        state = np.frombuffer(self._store.bytes, np.uint8)
        starts = np.linspace(0, max(len(state) - SAMPLE, 0), SAMPLES, dtype=np.int64)
        return np.bincount(np.concatenate([state[start : start + SAMPLE] for start in starts]), minlength=256)

    def _records(self) -> pa.Array:
        """All records as an array of bytes, which are not copied."""
        offsets = np.append(np.frombuffer(self._index.starts, np.int64), self._index.end)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._store.bytes)]
        return pa.Array.from_buffers(pa.large_binary(), len(self._index), buffers)

    def _inflated(self) -> Iterator[Payloads]:
        """The payloads of dispatched jobs, each once."""
        if self._payloads is not None:
            yield from self._payloads
            return
        kept: list[Payloads] = []
        size = 0
        for payloads in self._inflate():
            size += payloads.texts.nbytes
            if size <= KEPT:
                kept.append(payloads)
            yield payloads
        if size <= KEPT:
            self._payloads = kept

    def _inflate(self) -> Iterator[Payloads]:
        holders = self._payload_records()
        texts: list[bytes] = []
        records: list[Sequence[int]] = []
        room = BATCH
        for packed, numbers in holders.items():
            if (whole := inflated(packed)) is not None:
                texts.append(whole)
                records.append(numbers)
                room -= len(whole)
            if room < 0:
                yield Payloads.of(texts, records)
                texts, records, room = [], [], BATCH
        if texts:
            yield Payloads.of(texts, records)

    def _payload_records(self) -> dict[bytes, list[int]]:
        """What looks like a payload that is not empty, and the records that hold it: a job, its versions and allocs."""
        holders: dict[bytes, list[int]] = {}
        state = memoryview(self._store.bytes)
        for record in map(int, _matching(self._records(), PAYLOAD)):
            value = state[self._index.value(record)]
            for match in re.finditer(PAYLOAD.encode(), value):
                at, head = match.end(), value[match.end() - 1]
                if head in LENGTHS:
                    length = int.from_bytes(value[at : at + LENGTHS[head]], "big")
                    at += LENGTHS[head]
                else:
                    length = head - 0xA0
                holders.setdefault(bytes(value[at : at + length]), []).append(record)
        return holders

    # -- what hits

    def _hits(
        self, record: int, wanted: Query, whole: bool, namespace: str | None, mask: Mask
    ) -> Iterator[tuple[tuple[Any, ...], str, str]]:
        """Key, path and context of each hit in a record."""
        packed = memoryview(self._store.bytes)[self._index.value(record)]
        struct = self._struct_of(record)
        try:
            if namespace is not None and _fields(packed, ("Namespace",)) != (namespace,):
                return
            key = None
            narrow = wanted.literal and not whole
            for leaf in _walk_to(wanted.literal, packed, struct) if narrow else walk(unpack(packed), struct):
                context = _context(leaf, wanted, mask)
                if context is not None:
                    key = _fields(packed, record_type(self._index.types[record]).key) if key is None else key
                    yield key, leaf.path, context
        except RecordError as error:
            raise error.at(self._place_of(record)) from error


def _fields(packed: Buffer, names: Sequence[str]) -> tuple[Any, ...]:
    """Some fields of a record, strings as text; none if it is no map."""
    try:
        found = pick(packed, dict.fromkeys(names))
    except RecordError:
        return ()
    return tuple(part_of_key(found.get(name.encode())) for name in names)


_FIELDS = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.msgpack.Decoder(list[msgspec.Raw])


def _walk_to(
    literal: bytes, packed: Buffer, kind: Type, path: str = "", secret: bool = False, depth: int = MAX_DEPTH
) -> Iterator[Leaf]:
    """As `walk()`, of a packed value: only the leaves that hold a literal, and maybe others."""
    if depth == 0:
        raise RecordError(f"is nested more than {MAX_DEPTH} deep")
    try:
        entries = _FIELDS.decode(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        yield from _walk_items(literal, packed, kind, path, secret, depth)
        return
    known = fields(kind.struct)
    for name, item in entries.items():
        field = known.get(name)
        place = f"{path}.{name}" if path else name
        if field is None and literal in (raw_name := name.encode()):
            yield Leaf(place, raw_name, ANY, False)
        if literal in bytes(item):
            inner = kind.element or ANY if field is None else field.type
            hidden = secret or (field is not None and field.secret)
            yield from _walk_to(literal, item, inner, place, hidden, depth - 1)


def _walk_items(literal: bytes, packed: Buffer, kind: Type, path: str, secret: bool, depth: int) -> Iterator[Leaf]:
    """Of a list, a leaf, or a map with odd keys."""
    try:
        items = _ITEMS.decode(packed)
    except (msgspec.MsgspecError, RecursionError):
        for leaf in walk(unpack(packed), kind):
            joint = "." if path and leaf.path and not leaf.path.startswith("[") else ""
            yield leaf._replace(path=f"{path}{joint}{leaf.path}", secret=secret or leaf.secret)
        return
    for i, item in enumerate(items):
        if literal in bytes(item):
            yield from _walk_to(literal, item, kind.element or ANY, f"{path}[{i}]", secret, depth - 1)


class Payloads(NamedTuple):
    """Some payloads, inflated.

    Attributes:
        texts: What they hold, each once.
        records: The records that hold each.
    """

    texts: pa.Array
    records: Sequence[Sequence[int]]

    @classmethod
    def of(cls, texts: Sequence[bytes], records: Sequence[Sequence[int]]) -> Payloads:
        return cls(pa.array(texts, pa.large_binary()), records)


def _offsets(texts: pa.Array) -> Any:
    """Where each begins, and where the last ends."""
    return np.frombuffer(texts.buffers()[1], np.int64)[: len(texts) + 1]


def _matching(texts: pa.Array, scan: str) -> Any:
    """The numbers of those that a pattern of RE2 matches; of all, where RE2 finds the pattern too large."""
    offsets = _offsets(texts)
    threads = os.cpu_count() or 1
    steps = np.linspace(offsets[0], offsets[-1], SLICES * threads + 1)[1:-1]
    cuts = [0, *np.searchsorted(offsets, steps).tolist(), len(texts)]

    def scanned(begin: int, end: int) -> Any:
        matched = pc.match_substring_regex(texts.slice(begin, end - begin), scan)
        return begin + np.flatnonzero(matched.to_numpy(zero_copy_only=False))

    try:
        if len(texts) == 0 or offsets[-1] - offsets[0] < ALONE:
            return scanned(0, len(texts))
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(scanned, cuts[:-1], cuts[1:])))
    except pa.ArrowInvalid:
        return np.arange(len(texts))


def _context(leaf: Leaf, wanted: Query, mask: Mask) -> str | None:
    """The first hit in a value with what is around it; None if there is none."""
    if not isinstance(leaf.value, bytes):
        return None
    found = None
    if leaf.path in PATHS and leaf.kind.kind == "bytes" and (whole := inflated(leaf.value)) is not None:
        found = wanted.find(whole)
    found = found or wanted.find(leaf.value)
    if found is None:
        return None
    if leaf.secret and mask is not None:
        return mask(leaf.value)
    before, hit, after = found
    left, right = "…" * (len(before) > CONTEXT), "…" * (len(after) > CONTEXT)
    return f"{left}{before[-CONTEXT:]}{hit}{after[:CONTEXT]}{right}"
