"""The container, however damaged: where the state is in it, and what vouches for that."""

from __future__ import annotations

import base64
import hashlib
import re
import tarfile
import zlib
from array import array
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import fastcrc

from snapkit.errors import ArchiveError, LimitError, RecordError
from snapkit.format import archive
from snapkit.format.archive import BLOCK, CHUNK, META, STATE, SUMS, Limits
from snapkit.format.salvage.source import IN_MEMORY, Spool

STEP = 1024  # compressed bytes that are inflated at once; damage is placed no finer
RUN = 64  # equal bytes in a row that deflate does not write by itself


@dataclass(slots=True)
class Found:
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
    state: memoryview
    total: int | None = None
    sound: bool | None = None
    cut: bool = False
    stream: Inflated | None = None
    start: int = 0
    amiss: int | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    meta_end: int = 0  # in the stream, if only that it lies ahead of all damage could vouch for it


@dataclass(slots=True)
class Inflated:
    """A gzip stream without its gzip: after `fed[i]` compressed bytes there were `had[i]` inflated ones."""

    data: memoryview  # compressed
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


def inflate(data: memoryview, begin: int, spool: Spool, limits: Limits) -> Inflated:
    found = Inflated(data, begin)
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


def _after_header(data: memoryview, at: int) -> int:
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


def deflate_begin(data: memoryview) -> int | None:
    """Where the deflate stream of an archive begins, also behind a damaged gzip header; None if there is none."""
    magic = bytes(data[:2]) == b"\x1f\x8b"
    choices = dict.fromkeys([_after_header(data, 0), archive.GZIP_HEADER] if magic else [archive.GZIP_HEADER])
    for at in choices:
        with suppress(zlib.error):
            if zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at : at + STEP], BLOCK)[257:262] == b"ustar":
                return at
    return next(iter(choices)) if magic else None


@dataclass(slots=True)
class Tar:
    """What a tar has of what should be in it: offset and size of each member, and where it is not as it should be."""

    members: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    amiss: int | None = None
    ended: bool = False


def untar(flat: memoryview, limits: Limits) -> Tar:
    """What can be made of a tar, which may be damaged anywhere or end too early."""
    found = Tar()
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


def _beyond_damaged_header(flat: memoryview, at: int, found: Tar) -> int:
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


def _document(flat: memoryview, found: Tar, name: str, most: int) -> bytes:
    at, size = found.members.get(name, (0, 0))
    return bytes(flat[at : at + min(size or 0, most)])


def _meta(flat: memoryview, found: Tar) -> dict[str, Any]:
    try:
        return archive.parse_meta(_document(flat, found, META, archive.DEFAULT_LIMITS.document))
    except ArchiveError:
        return {}


def from_tar(name: str, flat: memoryview, stream: Inflated, tar: Tar, limits: Limits) -> Found:
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
    found = Found("archive", name, state if STATE in tar.members else flat[:0], total_, sound, start=at, meta=meta)
    document = _document(flat, tar, META, limits.document)
    sure = sound is not None and hashlib.sha256(document).hexdigest() == listed.get(META)
    if not stream.whole and not sound:
        found.cut = stream.cut and tar.amiss is None and not (tar.ended or sound is False)
        found.stream = stream
        found.amiss = tar.amiss
        if not sure and META in tar.members:
            found.meta_end = tar.members[META][0] + len(document)
    return found


def from_state(kind: str, name: str, state: memoryview, meta: dict[str, Any]) -> Found:
    total = meta.get("Size")
    found = Found(kind, name, state, total, meta=meta)
    if "CRC" in meta:
        sum_ = 0
        for at in range(0, len(state), CHUNK):
            sum_ = fastcrc.crc64.xz(bytes(state[at : at + CHUNK]), sum_)
        found.sound = base64.b64encode(sum_.to_bytes(8, "big")).decode() == meta["CRC"]
        if found.sound:
            found.total = len(state)
    found.cut = not found.sound and (total is None or len(state) < total)
    return found
