"""What can still be had from a damaged source: the records that are certainly true, and an account of the rest.

A record is *true* if its bytes are those that the server wrote. Nothing in state.bin vouches for a single record, so
that is known in three ways only, of which `Salvage.evidence` names the one that was used:

- `sum`: a sum over the whole of state.bin holds (SHA256SUMS, a raft directory's CRC, or, where the archive lost its
  SHA256SUMS, gzip's own). The damage is elsewhere, and every record is true.
- `cut`: the source ends too early, and up to there nothing is amiss: no error in the stream, each tar header and each
  record as it should be, the one that was cut included. Every record that ends before the cut is true.
- `place`: the damage shows where it is. In a state that is not compressed (a bare state.bin, a raft directory, a
  gzip stream that fits its CRC) a record that can't be framed, or is not plausible by Nomad's own structs, gives it
  away; the records before it are true but for the last one, and so are those after it, from where framing is found
  again. In a compressed stream one wrong bit spoils an unknown part of what follows, without an error: the records
  are true up to 1 to 2 KiB of the compressed stream ahead of where garbage begins (or right up to a run of 64 or
  more equal bytes where it does, as a lost sector reads), if from there on nothing can be made sense of, and none are
  if it can: then the damage is more subtle than what showed, and may lie anywhere before it.

The last two hold for one damage: one cut, or one run of bytes changed, zeroed, lost or put in. They can't hold for
bytes changed all over the source (of compressed archives with two changes far apart, 6 in 100 gave an altered record),
for a bare state that lost bytes so that what is left beside the hole makes a record, for bytes overwritten by other
valid records, or for somebody who forges records (only a sum can, and even that not against one who forges it too). A
bare state.bin has no sum at all: a byte changed inside a text is noticed by nobody. What framing can read beyond what
is true is *suspect*: counted always, given only if it is asked for, and then nothing is vouched for.
"""

from __future__ import annotations

import base64
import hashlib
import mmap
import os
import re
import tarfile
import tempfile
import zlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import fastcrc
import msgpack

from snapkit.errors import ArchiveError, LimitError, RecordError, SnapshotError, SourceError
from snapkit.format import archive
from snapkit.format.archive import BLOCK, CHUNK, META, STATE, SUMS, Archive, Limits, Member, Sink, Source
from snapkit.format.schema import ANY, BY_BYTE, BY_TABLE, STREAM_ORDER, TIME_TABLE, Type, fields, index_row, record_type
from snapkit.format.values import MAX_DEPTH, go_time, unpack

STEP = 1024  # compressed bytes that are inflated at once; damage is placed no finer
RUN = 64  # equal bytes in a row that deflate does not write by itself
TABLES_SHOWN = 6
IN_MEMORY = 64 << 20  # bytes; more go to a file without a name

INDEX = BY_TABLE["indexes"].byte

_Bytes: TypeAlias = memoryview


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of state.bin that is not given.

    Attributes:
        offset: Where it begins, in state.bin as it was found.
        length: In bytes; to the end of the whole state, where that is known and the gap is the last or only one.
        records: How many records it probably held: its length by the average of those that were kept.
        tables: Those that have or may have lost records there, by the order that servers write them in.
    """

    offset: int
    length: int
    records: int
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Salvage:
    """The account of a salvage. Bytes are those of state.bin; they add up:

    `bytes_kept + bytes_lost == bytes_total`, and `bytes_kept + sum(gap.length) + unplaced == bytes_total`, where the
    total is known; else it stands for `bytes_read`, and what came after is not counted.

    Attributes:
        reason: What was wrong, as the ordinary reading says it.
        evidence: Why what is given is true: `sum`, `cut` or `place` (see this module); "" where nothing vouches.
        vouched: Is all that is given true? False only if suspect records were asked for and there are some.
        bytes_total: Of the whole state, by a sum, the tar header or meta.json; None if nothing tells.
        bytes_read: Of the state that could be had at all.
        bytes_kept: Of the header and the records given.
        unplaced: Bytes lost between gaps, nobody knows in which; below 0 if bytes were put in.
        records: How many are given.
        suspect: How many more could be read, with nothing that vouches for them; or, if they were asked for, how many
            of those given are.
        gaps: What is not given, in order.
    """

    reason: str
    evidence: str
    vouched: bool
    bytes_total: int | None
    bytes_read: int
    bytes_kept: int
    unplaced: int
    records: int
    suspect: int
    gaps: tuple[Gap, ...]

    @property
    def bytes_lost(self) -> int:
        return (self.bytes_read if self.bytes_total is None else self.bytes_total) - self.bytes_kept

    @property
    def records_lost(self) -> int:
        """Probably."""
        return sum(gap.records for gap in self.gaps)

    @property
    def tables(self) -> tuple[str, ...]:
        """Those that have or may have lost records."""
        return tuple(dict.fromkeys(table for gap in self.gaps for table in gap.tables))

    def __str__(self) -> str:
        of = f"of {self.bytes_total:,} bytes" if self.bytes_total is not None else "bytes of an unknown whole"
        parts = [f"{self.records:,} records, {self.bytes_kept:,} {of}"]
        if self.bytes_lost:
            parts.append(f"{self.bytes_lost:,} bytes lost, probably {self.records_lost:,} records")
            more = len(self.tables) - TABLES_SHOWN
            tables = ", ".join(self.tables[:TABLES_SHOWN]) + (f" and {more} more" if more > 0 else "")
            parts.append(f"tables touched: {tables or 'unknown'}")
        if not self.vouched:
            parts.append(f"NOTHING VOUCHES for {self.suspect:,} of the records")
        elif self.suspect:
            parts.append(f"{self.suspect:,} more can be read but may be altered")
        return f"{'; '.join(parts)} ({self.reason})"


@contextmanager
def held(source: Source, limits: Limits = archive.DEFAULT_LIMITS) -> Iterator[Source]:
    """A source that can be read twice: itself, or what a stream or URL gives, kept for as long as the block lasts.

    Raises:
        SourceError: There is nothing to read.
        LimitError: It is longer than `limits.total`.
    """
    if isinstance(source, bytes | bytearray | memoryview) or (isinstance(source, str | os.PathLike) and _local(source)):
        yield source
    else:
        name = archive.describe(source)
        try:
            with archive.opened(source) as stream, _Spool(limits.total) as spool:
                while piece := stream.read(CHUNK):
                    if not isinstance(piece, bytes):
                        raise SourceError("gives no bytes", "", "open the stream in binary mode")
                    spool.write(piece)
                with spool.view() as view:
                    yield _Held(name, view)  # type: ignore[misc] # read() and name are all that is asked of it
        except OSError as error:
            raise SourceError(f"can't be read ({error.strerror or error})", name, "check the path") from error


def _local(path: str | os.PathLike[str]) -> bool:
    """Is it a file or folder here, and no pipe?"""
    try:
        return Path(path).is_file() or Path(path).is_dir()
    except ValueError:
        return False


class _Held:
    def __init__(self, name: str, view: _Bytes) -> None:
        self.name = name
        self.view = view
        self._at = 0

    def read(self, size: int) -> bytes:
        piece = bytes(self.view[self._at : self._at + size])
        self._at += len(piece)
        return piece


class _Spool:
    """Bytes that may be many, to be looked at as a whole once all are there."""

    def __init__(self, most: int) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="snapkit-")  # noqa: SIM115 - closed by __exit__
        self._most = most
        self.size = 0

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self._most:
            raise LimitError(f"has more than {self._most:,} bytes", "", "raise Limits.total")
        self._file.write(piece)

    @contextmanager
    def view(self) -> Iterator[_Bytes]:
        self._file.seek(0)
        if self.size <= IN_MEMORY:
            yield memoryview(self._file.read())
            return
        self._file.flush()
        with _mapped(self._file.fileno()) as view:
            yield view


@contextmanager
def _mapped(number: int) -> Iterator[_Bytes]:
    mapped = mmap.mmap(number, 0, access=mmap.ACCESS_READ)
    try:
        yield memoryview(mapped)
    finally:
        with suppress(BufferError):  # an error's traceback has a view of it still, and it goes with that
            mapped.close()


@contextmanager
def _file_view(path: Path) -> Iterator[_Bytes]:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield memoryview(b"")
            return
        with _mapped(file.fileno()) as view:
            yield view


# -- the container


@dataclass(slots=True)
class _Found:
    """What the container gave: a state, and what is known of it.

    Attributes:
        state: As much of it as there is.
        total: Its whole length, if that is known.
        sound: Does a sum over all of it hold? None if there is none that could.
        cut: Does the source end too early, with no other sign of damage?
        stream: Of a damaged compressed stream, to say where its damage may begin.
        start: Of the state in that stream.
        amiss: The first place in the stream that is not as it should be.
        meta: meta.json; empty if it was not to be had, or not to be trusted.
    """

    kind: str
    name: str
    state: _Bytes
    total: int | None = None
    sound: bool | None = None
    cut: bool = False
    stream: _Inflated | None = None
    start: int = 0
    amiss: int | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    meta_end: int = 0  # in the stream, if only that it lies ahead of all damage could vouch for it


@dataclass(slots=True)
class _Inflated:
    """A gzip stream without its gzip: after `fed[i]` compressed bytes there were `had[i]` inflated ones."""

    data: _Bytes  # compressed
    begin: int  # of the deflate stream in it
    fed: array[int] = field(default_factory=lambda: array("Q"))
    had: array[int] = field(default_factory=lambda: array("Q"))
    whole: bool = False  # to the end, and gzip's own sum fits
    cut: bool = False  # ends too early, without an error
    failed: bool = False  # ends in an error

    @property
    def size(self) -> int:
        return self.had[-1] if self.had else 0

    def safe(self, amiss: int) -> int:
        """How far the inflated bytes lie ahead of a damage that shows at `amiss`."""
        step = bisect_right(self.had, amiss)
        safe = self.had[step - 2] if step >= 2 else 0
        near = self.fed[step - 1] if step else self.begin
        far = self.fed[step] if step < len(self.fed) else near + STEP
        run = re.compile(rb"(.)\1{%d,}" % (RUN - 1), re.DOTALL).search(self.data, max(self.begin, near - 2 * STEP), far)
        return max(safe, self._inflate_to(run.start())) if run else safe

    def _inflate_to(self, end: int) -> int:
        size = 0
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        with suppress(zlib.error):
            for at in range(self.begin, end, STEP):
                size += len(inflater.decompress(self.data[at : min(at + STEP, end)]))
        return size


def _inflate(data: _Bytes, begin: int, spool: _Spool, limits: Limits) -> _Inflated:
    found = _Inflated(data, begin)
    at, sum_, size, total = begin, 0, 0, 0
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while True:
        if at >= len(data):
            found.cut = True
            return found
        piece = data[at : at + STEP]
        try:
            chunk = inflater.decompress(piece)
        except zlib.error:
            found.failed = True
            return found
        at += len(piece) - len(inflater.unused_data)
        sum_, size, total = zlib.crc32(chunk, sum_), size + len(chunk), total + len(chunk)
        if total > max(IN_MEMORY, (at - begin) * limits.ratio):
            what = f"inflates to more than {limits.ratio:g} times its size, as a bomb does"
            raise LimitError(what, f"before byte {at:,}", "raise Limits.ratio if it is genuine")
        spool.write(chunk)
        found.fed.append(at)
        found.had.append(total)
        if inflater.eof:
            trailer = data[at : at + 8]
            if len(trailer) < 8:
                found.cut = True
                return found
            if trailer != sum_.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little"):
                return found
            at += 8
            if bytes(data[at : at + 2]) != b"\x1f\x8b":
                found.whole = True
                return found
            at = _after_header(data, at)  # another gzip member
            sum_, size, inflater = 0, 0, zlib.decompressobj(-zlib.MAX_WBITS)


def _after_header(data: _Bytes, at: int) -> int:
    """Where the deflate stream begins, by the gzip header at `at`."""
    flags = data[at + 3] if len(data) > at + 3 else 0
    at += archive.GZIP_HEADER
    if flags & 4:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            end = bytes(data[at : at + archive.DEFAULT_LIMITS.name]).find(b"\0")
            at += end + 1 if end >= 0 else len(data)
    return at + (2 if flags & 2 else 0)


def _begin(data: _Bytes) -> int | None:
    """Where the deflate stream of an archive begins, also behind a damaged gzip header; None if there is none."""
    magic = bytes(data[:2]) == b"\x1f\x8b"
    choices = dict.fromkeys([_after_header(data, 0), archive.GZIP_HEADER] if magic else [archive.GZIP_HEADER])
    for at in choices:
        with suppress(zlib.error):
            if zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at : at + STEP], BLOCK)[257:262] == b"ustar":
                return at
    return next(iter(choices)) if magic else None


@dataclass(slots=True)
class _Tar:
    """What a tar has of what should be in it: offset and size of each member, and where it is not as it should be."""

    members: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    amiss: int | None = None
    ended: bool = False


def _untar(flat: _Bytes, limits: Limits) -> _Tar:
    """What can be made of a tar, which may be damaged anywhere or end too early."""
    found = _Tar()
    at, name, size = 0, "", None
    count = 0
    while at + BLOCK <= len(flat) and count < 4 * limits.members:
        count += 1
        block = bytes(flat[at : at + BLOCK])
        if not block.strip(b"\0") and STATE in found.members:
            found.ended = True
            return found
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
            if header.size < 0:
                raise tarfile.HeaderError("negative size")
        except tarfile.HeaderError:
            found.amiss = at if found.amiss is None else found.amiss
            at = _beyond_damaged_header(flat, at, found)
            continue
        at += BLOCK
        if header.type == tarfile.XHDTYPE:
            text = bytes(flat[at : at + min(header.size, 1 << 16)])
            if path := re.search(rb"^\d+ path=(.*)$", text, re.MULTILINE):
                name = path[1].decode("utf-8", "replace")
            if length := re.search(rb"^\d+ size=(\d{1,18})$", text, re.MULTILINE):
                size = int(length[1])
        elif header.type not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            length_ = header.size if size is None else size
            found.members.setdefault(name or header.name, (at, length_))
            at, name, size = at + length_ + -length_ % BLOCK, "", None
            continue
        at += header.size + -header.size % BLOCK
    return found


def _beyond_damaged_header(flat: _Bytes, at: int, found: _Tar) -> int:
    """Where the tar goes on after a damaged header; what stands there is told by what it should be."""
    following = at + BLOCK
    if STATE not in found.members and bytes(flat[following : following + 1]) == b"\x80":
        size = _meta(flat, found).get("Size")
        found.members[STATE] = following, size
        return following + size + -size % BLOCK if size is not None else len(flat)
    if META not in found.members and bytes(flat[following : following + 1]) == b"{":
        document = bytes(flat[following : following + (1 << 20)])
        found.members[META] = following, document.find(b"\n") + 1
    for place in range(following, min(len(flat), following + (1 << 20)), BLOCK):
        if bytes(flat[place + 257 : place + 262]) == b"ustar":
            return place
    return len(flat)


def _document(flat: _Bytes, found: _Tar, name: str, most: int) -> bytes:
    at, size = found.members.get(name, (0, 0))
    return bytes(flat[at : at + min(size or 0, most)])


def _meta(flat: _Bytes, found: _Tar) -> dict[str, Any]:
    try:
        return archive.parse_meta(_document(flat, found, META, archive.DEFAULT_LIMITS.document))
    except ArchiveError:
        return {}


def _from_tar(name: str, flat: _Bytes, stream: _Inflated, tar: _Tar, limits: Limits) -> _Found:
    """The state in a tar, and what vouches for it."""
    meta = _meta(flat, tar)
    sums = _document(flat, tar, SUMS, limits.document).decode("utf-8", "replace")
    listed = {p[1]: p[0].lower() for p in map(str.split, sums.splitlines()) if len(p) > 1}
    at, size = tar.members.get(STATE, (0, None))
    if STATE not in tar.members and tar.amiss is None and stream.cut:
        raise RecordError("no record is left", STATE, "the archive was cut ahead of its state: fetch it again")
    sizes = [n for n in (size, meta.get("Size")) if n is not None and n >= 0]
    sound: bool | None = None
    for total in dict.fromkeys(sizes):
        if STATE in listed and at + total <= len(flat):
            sound = hashlib.sha256(flat[at : at + total]).hexdigest() == listed[STATE]
            if sound:
                sizes = [total]
                break
    total_ = sizes[0] if sizes else None
    if STATE not in listed and stream.whole and total_ is not None and tar.amiss is None:
        sound = at + total_ <= len(flat)  # gzip's own sum is all there is
    state = flat[at : at + total_] if total_ is not None else flat[at:]
    found = _Found("archive", name, state if STATE in tar.members else flat[:0], total_, sound, start=at, meta=meta)
    document = _document(flat, tar, META, limits.document)
    sure = sound is not None and hashlib.sha256(document).hexdigest() == listed.get(META)
    if not stream.whole and not sound:
        found.cut = stream.cut and tar.amiss is None and not (tar.ended or sound is False)
        found.stream = stream
        found.amiss = tar.amiss
        if not sure and META in tar.members:
            found.meta_end = tar.members[META][0] + len(document)
    return found


def _from_state(kind: str, name: str, state: _Bytes, meta: dict[str, Any]) -> _Found:
    total = meta.get("Size")
    found = _Found(kind, name, state, total, meta=meta)
    if "CRC" in meta:
        sum_ = 0
        for at in range(0, len(state), CHUNK):
            sum_ = fastcrc.crc64.xz(bytes(state[at : at + CHUNK]), sum_)
        found.sound = base64.b64encode(sum_.to_bytes(8, "big")).decode() == meta["CRC"]
        if found.sound:
            found.total = len(state)
    found.cut = not found.sound and (total is None or len(state) < total)
    return found


# -- records


@dataclass(slots=True)
class _Frames:
    """Records one after another, up to where that ends."""

    begin: int
    types: bytearray = field(default_factory=bytearray)
    starts: array[int] = field(default_factory=lambda: array("Q"))
    end: int = 0  # of the last record
    why: str = ""  # it ends there: "end" of the state, "cut" inside a record, "amiss"
    cut_type: int = -1  # of the record that was cut

    def after(self, count: int) -> int:
        """Where the record after the first `count` begins."""
        return self.starts[count] if count < len(self.starts) else self.end


class _Scanner:
    def __init__(self, state: _Bytes, total: int | None, limits: Limits, plausibly: bool) -> None:
        self._state = state
        # Where the whole state ends, or may.
        self._most = len(state) + limits.record if total is None else max(total, len(state))
        self._limits = limits
        self._plausibly = plausibly
        self._budget = 8 * len(state) + (64 << 20)  # bytes to be looked at in vain: hostile input could ask for n²
        self._count = 0

    def runs(self) -> list[_Frames]:
        """The records from the start, and again from wherever framing is certain."""
        at = 0
        with suppress(ValueError):
            if self._state and _is_map(self._state[0]):
                at = self._value_end(0) or 0
        runs = [self._run(at) if at else _Frames(0, why="amiss")]
        while runs[-1].why == "amiss" and (following := self._again(runs[-1].end + 1)) is not None:
            runs.append(self._run(following))
        return runs

    def _run(self, at: int) -> _Frames:
        state, stop = self._state, len(self._state)
        run = _Frames(at, end=at)
        while at < stop:
            try:
                end = self._value_end(at + 1)
            except ValueError:
                run.why = "amiss"
                return run
            if end is None:
                cut = stop < self._most and self._plausible_start(at)
                run.why, run.cut_type = ("cut", state[at]) if cut else ("amiss", -1)
                return run
            if self._plausibly and not _plausible(state[at], state[at + 1 : end]):
                run.why = "amiss"
                return run
            run.types.append(state[at])
            run.starts.append(at)
            at = run.end = end
            self._count += 1
            if self._count > self._limits.records:
                raise LimitError(f"has more than {self._limits.records:,} records", STATE, "raise Limits.records")
        run.why = "end"
        return run

    def _value_end(self, at: int) -> int | None:
        """Where the value at `at` ends; None if the state ends first. ValueError: it can't be one, or is too long."""
        window = 4096
        most = self._limits.record
        while True:
            end = min(at + window, len(self._state))
            unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=max(window, 1 << 16))
            unpacker.feed(self._state[at:end])
            try:
                unpacker.skip()
            except msgpack.OutOfData:
                if window > most:
                    raise ValueError("too long") from None
                if end == len(self._state):
                    return None
                self._budget -= window
                window *= 8
                continue
            size: int = unpacker.tell()
            if size > most:
                raise ValueError("too long")
            return at + size

    def _again(self, at: int) -> int | None:
        """The next place where a record surely begins: it and the one after it are all that their types ask for."""
        pattern = _beginnings()
        while self._budget > 0 and (match := pattern.search(self._state, at)):
            at = match.start()
            first = self._sure_end(at)
            if first is not None and (first == len(self._state) or self._sure_end(first) is not None):
                return at
            at += 1
        return None

    def _sure_end(self, at: int) -> int | None:
        try:
            end = self._value_end(at + 1) if at + 1 < len(self._state) else None
        except ValueError:
            end = None
        if end is not None and _plausible(self._state[at], self._state[at + 1 : end], surely=True):
            return end
        self._budget -= max(STEP, (end or at) - at)
        return None

    def _plausible_start(self, at: int) -> bool:
        """Can this be the beginning of a true record, which the state ends in?"""
        kind = Type("struct", struct=record_type(self._state[at]).struct)
        if self._state[at] == TIME_TABLE:
            kind = Type("list", kind)
        try:
            return self._begun(at + 1, kind, MAX_DEPTH)
        except (ValueError, RecordError):
            return False

    def _begun(self, at: int, kind: Type, depth: int) -> bool:
        """Can a value of this type begin here, which the state ends in? ValueError or RecordError: no."""
        if at >= len(self._state):
            return True
        head = self._state[at]
        width = _RAW_WIDTHS.get(head, 0)
        if width or 0xA0 <= head <= 0xBF:
            length = self._state[at + 1 : at + 1 + width]
            size = int.from_bytes(length, "big") if width else head & 31
            fits = len(length) < width or at + 1 + width + size <= self._most
            return fits and kind.kind in ("string", "bytes", "time", "any")
        is_map = _is_map(head)
        if not is_map and not _is_array(head):
            return not kind.nested and kind.kind != "string"  # a number
        if depth == 0 or kind.kind not in (("struct", "map", "any") if is_map else ("list", "bytes", "any")):
            return False
        width = {0xDC: 2, 0xDE: 2, 0xDD: 4, 0xDF: 4}.get(head, 0)
        length = self._state[at + 1 : at + 1 + width]
        count = int.from_bytes(length, "big") if width else head & 15
        at += 1 + width
        if len(length) < width:
            return True
        return at + count <= self._most and self._begun_items(at, kind, count, is_map, depth - 1)

    def _begun_items(self, at: int, kind: Type, count: int, is_map: bool, depth: int) -> bool:
        names: list[Any] = []
        for _ in range(count):
            self._budget -= BLOCK
            if self._budget < 0:
                return False
            element = kind.element or ANY
            if is_map:
                end = self._value_end(at)
                if end is None:
                    return _mostly_known(names, kind) and self._begun(at, Type("string"), depth)
                names.append(unpack(self._state[at:end]))
                at = end
                element = _field_type(kind, names[-1])
            end = self._value_end(at)
            if end is None:
                return _mostly_known(names, kind) and self._begun(at, element, depth)
            if not _fits(unpack(self._state[at:end]), element, depth):
                return False
            at = end
        return False  # it is whole


def _is_map(byte: int) -> bool:
    return 0x80 <= byte <= 0x8F or byte in (0xDE, 0xDF)


def _is_array(byte: int) -> bool:
    return 0x90 <= byte <= 0x9F or byte in (0xDC, 0xDD)


_RAW_WIDTHS = {0xC4: 1, 0xD9: 1, 0xC5: 2, 0xDA: 2, 0xC6: 4, 0xDB: 4}  # of the length ahead of a raw string

_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]{0,99}")  # of a field in Go


def _field_type(kind: Type, name: Any) -> Type:
    if kind.kind != "struct":
        return kind.element or ANY
    known = fields(kind.struct).get(name.decode("ascii", "replace")) if isinstance(name, bytes) else None
    return known.type if known else ANY


def _mostly_known(names: Sequence[Any], kind: Type, share: float = 0.6) -> bool:
    """Are these field names of a struct? A newer Nomad may have some more; of an unknown struct, any names will do."""
    if kind.kind != "struct":
        return True
    if not all(isinstance(name, bytes) and _NAME.fullmatch(name) for name in names):
        return False
    known = fields(kind.struct)
    found = sum(name.decode() in known for name in names)
    return not known or found >= share * len(names) or len(names) < 3


def _plausible(byte: int, packed: _Bytes, *, surely: bool = False) -> bool:
    """Can this be a record of that type, by Nomad's structs? `surely`: is it one with all that tells it from others?"""
    try:
        value = unpack(packed)
    except RecordError:
        return False
    kind = record_type(byte)
    struct = Type("struct", struct=kind.struct)
    if byte == TIME_TABLE:
        return isinstance(value, list) and _fits(value, Type("list", struct), MAX_DEPTH)
    if not isinstance(value, dict) or not value or not _fits(value, struct, MAX_DEPTH):
        return False
    keyed = all(isinstance(value.get(name.encode()), bytes | int) for name in kind.key)
    return keyed and (not surely or (bool(kind.struct) and len(value) > 1 and _mostly_known(list(value), struct, 0.9)))


def _fits(value: Any, kind: Type, depth: int) -> bool:
    """Can this be a value of that Go type? Whatever Nomad can have written can."""
    match kind.kind:
        case _ if value is None or kind.kind == "any":
            return True
        case _ if depth == 0:
            return False
        case "struct":
            return (
                isinstance(value, dict)
                and _mostly_known(list(value), kind)
                and all(_fits(item, _field_type(kind, name), depth - 1) for name, item in value.items())
            )
        case "list":
            element = kind.element or ANY
            return isinstance(value, list) and all(_fits(item, element, depth - 1) for item in value)
        case "map":
            element = kind.element or ANY
            return isinstance(value, dict) and all(_fits(item, element, depth - 1) for item in value.values())
        case "string":
            return isinstance(value, bytes)
        case "bytes":
            return isinstance(value, bytes | list)
        case "bool":
            return isinstance(value, bool)
        case "time":
            with suppress(RecordError):
                return go_time(value) is not None
            return False
        case "float64" | "float32":
            return isinstance(value, float | int) and not isinstance(value, bool)
    return isinstance(value, int) and not isinstance(value, bool)


@cache
def _beginnings() -> re.Pattern[bytes]:
    """What a record with a key begins with: type byte, map header, one of its field names."""
    choices = []
    for kind in BY_BYTE.values():
        names = [_raw_header(len(name)) + re.escape(name.encode()) for name in fields(kind.struct)]
        choices.append(re.escape(bytes([kind.byte])) + rb"(?:[\x80-\x8f]|\xde..)(?:" + b"|".join(names) + b")")
    return re.compile(b"|".join(choices), re.DOTALL)


def _raw_header(size: int) -> bytes:
    """As go-msgpack writes it, or a writer of the new spec."""
    short = re.escape(bytes([0xA0 | size])) if size < 32 else rb"\xda\x00" + re.escape(bytes([size]))
    return short if size < 32 else b"(?:" + short + rb"|\xd9" + re.escape(bytes([size])) + b")"


# -- what is true of it


def salvage(
    source: Source, sink: Sink, reason: str, *, limits: Limits = archive.DEFAULT_LIMITS, suspect: bool = False
) -> tuple[Archive, Salvage]:
    """Pass on, as a state.bin, the header and every record of a damaged source that is certainly true.

    Args:
        source: As of `archive.read()`, but none that can be read only once: see `held()`.
        sink: Takes them in pieces.
        reason: What is wrong with it, for the account.
        limits: Bounds against hostile input.
        suspect: Pass on also the records that may be altered.

    Returns:
        What was found, of state.bin what was passed on; and the account.

    Raises:
        SourceError: There is nothing to read.
        RecordError: Not a single record can be had, not even a suspect one.
        LimitError: It goes beyond a limit.
    """
    name = archive.describe(source)
    try:
        with _found(source, name, limits) as found:
            return _given(found, sink, reason, limits, suspect)
    except SnapshotError as error:
        raise error.at(name) from error.__cause__
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror or error})", name, "check the path and its mode") from error


@contextmanager
def _found(source: Source, name: str, limits: Limits) -> Iterator[_Found]:
    if isinstance(source, _Held):
        data = memoryview(source.view)
    elif isinstance(source, bytes | bytearray | memoryview):
        data = memoryview(source)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            alone = (path / STATE).exists()
            copy = path if alone else archive.find_raft_snapshot(path)[0]
            with _file_view(copy / STATE) as state:
                yield _from_state("raft directory", str(copy), state, _meta_of(copy, limits))
            return
        with _file_view(path) as view, _found(view, name, limits) as found:
            yield found
        return
    else:
        raise SourceError("can't be read twice", "", "use held()")
    begin = _begin(data)
    if begin is None:
        if not data or not _is_map(data[0]):
            raise ArchiveError("is not a Nomad snapshot", "byte 0", "nothing in it can be salvaged")
        yield _from_state("state file", name, data, {})
        return
    with _Spool(limits.total) as spool:
        stream = _inflate(data, begin, spool, limits)
        with spool.view() as flat:
            yield _from_tar(name, flat, stream, _untar(flat, limits), limits)


def _meta_of(copy: Path, limits: Limits) -> dict[str, Any]:
    with suppress(OSError, ArchiveError), (copy / META).open("rb") as file:
        return archive.parse_meta(file.read(limits.document))
    return {}


def _given(found: _Found, sink: Sink, reason: str, limits: Limits, suspect: bool) -> tuple[Archive, Salvage]:
    runs = _Scanner(found.state, found.total, limits, plausibly=not found.sound).runs()
    true, evidence, safe = _true(found, runs)
    doubtful = sum(len(run.types) for run in runs) - sum(true)
    if not sum(true) and not doubtful:
        raise RecordError("not a single record can be had", STATE, "use another copy")
    counts = [len(run.types) for run in runs] if suspect else true
    header = runs[0].begin  # its length, 0 if it is damaged
    digest, size = hashlib.sha256(), 0

    def give(piece: _Bytes | bytes) -> None:
        nonlocal size
        for at in range(0, len(piece), CHUNK):
            chunk = bytes(piece[at : at + CHUNK])
            digest.update(chunk)
            sink.write(chunk)
        size += len(piece)

    give(found.state[:header] if header else b"\x80")
    kept = [(0, header)] if header else []
    for run, count in zip(runs, counts, strict=True):
        if count:
            kept.append((run.begin, run.after(count)))
            give(found.state[run.begin : run.after(count)])
    meta = found.meta if safe is None or found.start + safe >= found.meta_end else {}
    account = _account(found, runs, counts, kept, reason)
    whole = Salvage(
        reason,
        evidence if not (suspect and doubtful) else "",
        not (suspect and doubtful),
        records=sum(counts),
        suspect=doubtful,
        **account,
    )
    return Archive(found.name, found.kind, meta, (Member(STATE, size, digest.hexdigest()),)), whole


def _true(found: _Found, runs: list[_Frames]) -> tuple[list[int], str, int | None]:
    """How many records of each run are true, why, and how far a damaged compressed stream is."""
    every = [len(run.types) for run in runs]
    none = [0] * len(runs)
    amiss = [run for run in runs if run.why == "amiss"]
    if found.sound:
        return every, "sum", None
    # A state by itself that ends between two records may as well have lost some in its middle.
    if found.cut and not amiss and (found.stream is not None or runs[-1].why == "cut"):
        return every, "cut", None
    if found.stream is not None:
        places = [found.start + run.end for run in amiss[:1]]
        places += [found.amiss] if found.amiss is not None else []
        places += [found.stream.size] if found.stream.failed else []
        if not places or any(every[1:]):
            return none, "", 0
        safe = found.stream.safe(min(places)) - found.start
        count = every[0] if runs[0].end <= safe else max(0, bisect_right(runs[0].starts, safe) - 1)
        return [count, *none[1:]], "place" if count else "", max(0, safe)
    if not amiss:
        return none, "", None
    return [max(0, n - (run.why == "amiss")) for n, run in zip(every, runs, strict=True)], "place", None


def _account(
    found: _Found, runs: list[_Frames], counts: list[int], kept: list[tuple[int, int]], reason: str
) -> dict[str, Any]:
    read = len(found.state)
    sizes: Counter[int] = Counter()
    records: Counter[int] = Counter()
    order: list[tuple[int, int]] = []  # offset and type, where a kept run begins or ends
    for run, count in zip(runs, counts, strict=True):
        for i in range(count):
            records[run.types[i]] += 1
            sizes[run.types[i]] += run.after(i + 1) - run.starts[i]
        if count:
            order += [(run.begin, run.types[0]), (run.after(count), run.types[count - 1])]
    spans = []
    at = 0
    for start, end in [*kept, (read, read)]:
        if start > at:
            spans.append((at, start - at))
        at = max(at, end)
    bytes_kept = sum(end - start for start, end in kept)
    missing = 0 if found.total is None else found.total - read
    if missing > 0 and (not spans or spans[-1][0] + spans[-1][1] == read):
        offset, length = spans.pop() if spans and spans[-1][0] + spans[-1][1] == read else (read, 0)
        spans.append((offset, length + missing))
        missing = 0
    elif missing and len(spans) == 1 and spans[0][1] + missing > 0:
        spans = [(spans[0][0], spans[0][1] + missing)]
        missing = 0
    written = _written(found.state, runs[0], counts[0])
    gaps = []
    for offset, length in spans:
        before = [byte for place, byte in order if place <= offset]
        after = [byte for place, byte in order if place > offset]
        cut = runs[-1].cut_type if counts[-1] == len(runs[-1].types) and not after else -1
        first = cut if cut in BY_BYTE else before[-1] if before else None
        touched = _touched(first, after[0] if after else None, written)
        gaps.append(_gap(offset, length, touched, sizes, records))
    return {
        "bytes_total": found.total,
        "bytes_read": read,
        "bytes_kept": bytes_kept,
        "unplaced": missing,
        "gaps": tuple(gaps),
    }


def _gap(offset: int, length: int, touched: Sequence[int], sizes: Counter[int], records: Counter[int]) -> Gap:
    of = [byte for byte in touched if records[byte]] or list(records)
    count = sum(records[byte] for byte in of)
    average = sum(sizes[byte] for byte in of) / count if count else length
    probable = max(1, round(length / average)) if touched and length > 1 else 0
    return Gap(offset, length, probable, tuple(record_type(byte).table for byte in touched))


def _touched(first: int | None, last: int | None, written: frozenset[str] | None) -> list[int]:
    """The types that servers write from one to another, both included; as far as the Index table knows of them."""
    begin = STREAM_ORDER.index(first) if first in STREAM_ORDER else 0
    end = STREAM_ORDER.index(last) + 1 if last in STREAM_ORDER else len(STREAM_ORDER)
    between = STREAM_ORDER[begin:end]
    if written is None:
        return list(between)
    return [b for b in between if b in (first, last) or index_row(BY_BYTE[b].table) in {"", *written}]


def _written(state: _Bytes, run: _Frames, count: int) -> frozenset[str] | None:
    """Nomad's tables that were ever written to, by an Index table that was kept whole; None if none was."""
    last = run.types.rfind(INDEX, 0, count)
    if last in (-1, count - 1):
        return None
    names = set()
    for i in range(run.types.find(INDEX), last + 1):
        with suppress(RecordError, KeyError, TypeError, AttributeError):
            names.add(unpack(state[run.starts[i] + 1 : run.after(i + 1)])[b"Key"].decode())
    return frozenset(names)
