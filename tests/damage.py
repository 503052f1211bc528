"""A catalogue of damaged archives, built from real ones: what verify and a real server have to say of each.

`verdicts.json` beside the oracles has what a Nomad 2.0.5 server did when each was put to it, recorded by
`cluster/test_verdicts.py`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgpack

import snapkit
from snapkit.format.schema import BY_TABLE
from snapkit.format.values import pack, unpack
from tests import forge

DATA = Path(__file__).resolve().parent.parent / "data"

FRIDAY = "v2.0.5/friday"
TUESDAY_1_8 = "v1.8.4/tuesday"
TUESDAY_1_4 = "v1.4.14/tuesday"
TUESDAY_0_12 = "v0.12.12/tuesday"
EVERY_TABLE = "every-table/every-table"

Builder: TypeAlias = Callable[[bytes], bytes]
#: A type byte and a packed value.
Record: TypeAlias = tuple[int, bytes]
#: A record's fields, as they are unpacked: names and texts are bytes.
Fields: TypeAlias = dict[bytes, Any]


@dataclass(frozen=True)
class Damage:
    """One way in which an archive is not as Nomad wrote it.

    Attributes:
        name: Short and plain, and told from all others.
        base: The archive it starts from, as `<cluster>/<day>`.
        build: Makes the damaged archive of the whole one.
        expects: The check whose finding must come first, of those that the base itself does not give: errors ahead of
            warnings and notes, and those in the order of the checks. "" if it is harmless and nothing is found.
        stricter: Why verify with the target 2.0.5 is stricter or laxer than that server, if it is.
    """

    name: str
    base: str
    build: Builder
    expects: str
    stricter: str = ""


@cache
def whole(base: str) -> bytes:
    """The bytes of a real archive."""
    return (DATA / f"{base}.snap").read_bytes()


@cache
def damaged(damage: Damage) -> bytes:
    """The bytes of a damaged one."""
    return damage.build(whole(damage.base))


# -- the container, as Go writes it

GO_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
ZEROS = bytes(2 * forge.BLOCK)
META, STATE, SUMS = "meta.json", "state.bin", "SHA256SUMS"


def squeeze(data: bytes, header: bytes = GO_GZIP) -> bytes:
    """One gzip member."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    return header + body + zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")


@cache
def inflated(data: bytes) -> bytes:
    """The tar in an archive."""
    return gzip.decompress(data)


def signed(block: bytes | bytearray) -> bytes:
    """A tar header with its checksum, as Go writes it."""
    made = bytearray(block)
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def header(data: bytes, name: str, size: int, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """A tar header like those of the archive `data`, for another member."""
    block = bytearray(inflated(data)[: forge.BLOCK])
    block[:100] = name.encode().ljust(100, b"\0")
    block[124:136] = b"%011o\0" % size
    block[156:157] = kind
    block[157:257] = link.encode().ljust(100, b"\0")
    return signed(block)


def member(data: bytes, name: str, content: bytes, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    return header(data, name, len(content), kind, link) + content + bytes(-len(content) % forge.BLOCK)


@cache
def members(data: bytes) -> dict[str, bytes]:
    """The three files of a whole archive."""
    return {info.name: content for info, content in forge.untar(data)}


def tarred(data: bytes, files: Iterable[tuple[str, bytes]], end: bytes = ZEROS) -> bytes:
    return b"".join(member(data, name, content) for name, content in files) + end


def sums(meta: bytes, state: bytes) -> bytes:
    return forge.sums((META, meta), (STATE, state))


def fitting(data: bytes, meta: bytes, state: bytes) -> bytes:
    """An archive of these two whose hashes fit."""
    return squeeze(tarred(data, [(META, meta), (STATE, state), (SUMS, sums(meta, state))]))


def files(change: Callable[[dict[str, bytes]], Iterable[tuple[str, bytes]]]) -> Builder:
    """Other members, and the rest as it is."""
    return lambda data: squeeze(tarred(data, change(members(data))))


def replaced(name: str, change: Callable[[bytes], bytes]) -> Builder:
    """One member changed, and SHA256SUMS as it was."""
    return files(lambda m: (m | {name: change(m[name])}).items())


def ending(end: bytes) -> Builder:
    """Another end of the tar."""
    return lambda data: squeeze(inflated(data)[: -len(ZEROS)] + end)


def raw_meta(change: Callable[[bytes], bytes]) -> Builder:
    """meta.json changed, with hashes that fit."""
    return lambda data: fitting(data, change(members(data)[META]), members(data)[STATE])


GONE: Final = object()


def dumps(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(meta, separators=(",", ":")).encode() + b"\n"


def meta(**changes: Any) -> Builder:
    """Fields of meta.json changed, with hashes that fit."""

    def change(document: bytes) -> bytes:
        changed = json.loads(document) | changes
        return dumps({name: value for name, value in changed.items() if value is not GONE})

    return raw_meta(change)


def size_off_by(difference: int) -> Builder:
    return raw_meta(lambda document: dumps((was := json.loads(document)) | {"Size": was["Size"] + difference}))


def with_python(kind: int, padded: bool = True) -> Builder:
    """Packed again by Python's tarfile."""

    def build(data: bytes) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as file:
            for name, content in members(data).items():
                info = tarfile.TarInfo(name)
                info.size, info.mode, info.mtime = len(content), 0o600, 1_795_471_760
                file.addfile(info, io.BytesIO(content))
            end = file.offset
        return squeeze(out.getvalue() if padded else out.getvalue()[:end] + ZEROS)

    return build


def with_gnu_tar(prefix: str = "", padded: bool = True) -> Builder:
    """Packed again by `tar czf`: with an owner and GNU's magic, padded to 10,240 bytes."""

    def build(data: bytes) -> bytes:
        made = b""
        if prefix:
            folder = tarfile.TarInfo(prefix)
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, 1_795_471_760
            folder.uname = folder.gname = "root"
            made += folder.tobuf(tarfile.GNU_FORMAT)
        for name, content in members(data).items():
            info = tarfile.TarInfo(prefix + name)
            info.size, info.mode, info.mtime = len(content), 0o600, 1_795_471_760
            info.uname = info.gname = "root"
            made += info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % forge.BLOCK)
        made += ZEROS
        return squeeze(made + bytes(-len(made) % 10_240 if padded else 0), b"\x1f\x8b\x08\0\0\0\0\0\0\x03")

    return build


def with_bsdtar(data: bytes) -> bytes:
    """Packed again by bsdtar, also Windows' tar.exe: a PAX header ahead of each, and no padding."""
    made = b""
    for name, content in members(data).items():
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(content), 0o600, 1_795_471_760
        made += forge.pax(atime="1795471760.25", ctime="1795471760.25", mtime="1795471760.5")
        made += info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % forge.BLOCK)
    return squeeze(made + ZEROS)


def tar_block(number: int, change: Callable[[bytearray], None], again: bool = True) -> Builder:
    """The header of a member changed in place; with a checksum that fits, or not."""

    def build(data: bytes) -> bytes:
        tar = bytearray(inflated(data))
        start = 0
        for content in [*members(data).values()][:number]:
            start += forge.BLOCK + len(content) + -len(content) % forge.BLOCK
        block = bytearray(tar[start : start + forge.BLOCK])
        change(block)
        tar[start : start + forge.BLOCK] = signed(block) if again else block
        return squeeze(bytes(tar))

    return build


def put_bytes(at: int, value: bytes) -> Callable[[bytearray], None]:
    def change(block: bytearray) -> None:
        block[at : at + len(value)] = value

    return change


def flipped(at: Callable[[bytes], int]) -> Builder:
    """One bit of the file."""

    def build(data: bytes) -> bytes:
        made = bytearray(data)
        made[at(data)] ^= 1 << 4
        return bytes(made)

    return build


def odd_member(name: str, kind: bytes, link: str = "", keep: bool = False) -> Builder:
    """A member of another kind than a file; its content after it, or none."""

    def build(data: bytes) -> bytes:
        return squeeze(
            b"".join(
                member(data, n, content if n != name or keep else b"", kind if n == name else b"0", link * (n == name))
                for n, content in members(data).items()
            )
            + ZEROS
        )

    return build


def global_pax(data: bytes) -> bytes:
    """As `git archive` writes one, with a comment."""
    body = b"22 comment=packed now\n"
    return squeeze(member(data, "pax_global_header", body, tarfile.XGLTYPE) + inflated(data))


def twice(name: str, second: Callable[[bytes], bytes]) -> Builder:
    def change(m: dict[str, bytes]) -> list[tuple[str, bytes]]:
        return [pair for n, content in m.items() for pair in [(n, content), (n, second(content))][: 1 + (n == name)]]

    return files(change)


def split(data: bytes) -> bytes:
    """One gzip member for each 64 KiB, as parallel compressors write them."""
    tar = inflated(data)
    return b"".join(squeeze(tar[i : i + 65_536]) for i in range(0, len(tar), 65_536))


def line(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Each line of SHA256SUMS changed."""
    return lambda text: b"".join(change(one) for one in text.splitlines(keepends=True))


HTML = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n"
GZIP_BY_NAME = b"\x1f\x8b\x08\x08" + (1_795_471_760).to_bytes(4, "little") + b"\0\x03backup.tar\0"
GZIP_WITH_ALL = b"\x1f\x8b\x08\x1c\0\0\0\0\2\0" + b"\4\0abcd" + b"backup.tar\0" + b"by the night job\0"


CONTAINER = [
    Damage("not gzip", FRIDAY, lambda data: b"hello, world, this is no archive", "archive.not-a-snapshot"),
    Damage("empty file", FRIDAY, lambda data: b"", "archive.not-a-snapshot"),
    Damage("five letters", FRIDAY, lambda data: b"hello", "archive.not-a-snapshot"),
    Damage("first five bytes", FRIDAY, lambda data: data[:5], "archive.truncated"),
    Damage("gzip header alone", FRIDAY, lambda data: data[:10], "archive.truncated"),
    Damage("HTML page", FRIDAY, lambda data: HTML, "archive.not-a-snapshot"),
    Damage("JSON error", FRIDAY, lambda data: b'{"errors":["1 error occurred"]}\n', "archive.not-a-snapshot"),
    Damage("zeros of its length", FRIDAY, lambda data: bytes(len(data)), "archive.not-a-snapshot"),
    Damage("gunzipped", FRIDAY, inflated, "archive.not-a-snapshot"),
    Damage("first hundred bytes missing", FRIDAY, lambda data: data[100:], "archive.not-a-snapshot"),
    Damage("cut in the middle", FRIDAY, lambda data: data[: len(data) // 2], "archive.truncated"),
    Damage("cut in the last bytes", FRIDAY, lambda data: data[:-4], "archive.truncated"),
    Damage("cut by one byte", FRIDAY, lambda data: data[:-1], "archive.truncated"),
    Damage("cut at 16 KiB", FRIDAY, lambda data: data[: 16 << 10], "archive.truncated"),
    Damage("cut at 16 KiB, 1.4", TUESDAY_1_4, lambda data: data[: 16 << 10], "archive.truncated"),
    Damage("flipped bit in the deflate data", FRIDAY, flipped(lambda data: len(data) // 2), "archive.gzip"),
    Damage("flipped bit near the start", FRIDAY, flipped(lambda data: 40), "archive.gzip"),
    Damage("flipped bit near the end", FRIDAY, flipped(lambda data: len(data) - 40), "archive.gzip"),
    Damage("wrong CRC of gzip", FRIDAY, flipped(lambda data: len(data) - 8), "archive.gzip"),
    Damage("wrong length of gzip", FRIDAY, flipped(lambda data: len(data) - 4), "archive.gzip"),
    Damage("512 zero bytes appended", FRIDAY, lambda data: data + bytes(512), "archive.gzip-trailing"),
    Damage("one zero byte appended", FRIDAY, lambda data: data + b"\0", "archive.gzip-trailing"),
    Damage("text appended", FRIDAY, lambda data: data + b"\nsaved at 02:00\n", "archive.gzip-trailing"),
    Damage("newline appended", FRIDAY, lambda data: data + b"\n", "archive.gzip-trailing"),
    Damage("CR LF for each LF", FRIDAY, lambda data: data.replace(b"\n", b"\r\n"), "archive.gzip"),
    Damage("two archives concatenated", FRIDAY, lambda data: data + whole("v2.0.5/monday"), "archive.tar-trailing"),
    Damage("several gzip members", FRIDAY, split, "archive.gzip-members"),
    Damage("empty gzip member appended", FRIDAY, lambda data: data + squeeze(b""), "archive.gzip-members"),
    Damage("second gzip member cut", FRIDAY, lambda data: data + squeeze(b"")[:12], "archive.truncated"),
    Damage("gzip in gzip", FRIDAY, squeeze, "archive.tar-header"),
    Damage(
        "archive inside a gzipped tar",
        FRIDAY,
        lambda data: squeeze(tarred(data, [("backup.snap", data)])),
        "archive.member-unexpected",
    ),
    Damage(
        "archive inside a tar",
        FRIDAY,
        lambda data: tarred(data, [("backup.snap", data)]),
        "archive.not-a-snapshot",
    ),
    Damage(
        "gzipped again with name and time",
        FRIDAY,
        lambda data: squeeze(inflated(data), GZIP_BY_NAME),
        "archive.gzip-header",
    ),
    Damage(
        "gzipped again with comment and extra field",
        FRIDAY,
        lambda data: squeeze(inflated(data), GZIP_WITH_ALL),
        "archive.gzip-header",
    ),
    Damage(
        "gzipped again by Python, 0.12", TUESDAY_0_12, lambda data: forge.squeeze(inflated(data)), "archive.gzip-header"
    ),
    Damage("GNU tar", FRIDAY, with_gnu_tar(), "archive.tar-trailing"),
    Damage("GNU tar of a folder", FRIDAY, with_gnu_tar("./"), "archive.member-type"),
    Damage("GNU tar headers without padding", FRIDAY, with_gnu_tar(padded=False), "archive.gzip-header"),
    Damage("tarfile, ustar", FRIDAY, with_python(tarfile.USTAR_FORMAT), "archive.tar-trailing"),
    Damage("tarfile, GNU", FRIDAY, with_python(tarfile.GNU_FORMAT), "archive.tar-trailing"),
    Damage("tarfile, PAX", FRIDAY, with_python(tarfile.PAX_FORMAT), "archive.tar-trailing"),
    Damage("tarfile without padding", FRIDAY, with_python(tarfile.PAX_FORMAT, padded=False), "archive.tar-format"),
    Damage("bsdtar with PAX headers", FRIDAY, with_bsdtar, "archive.tar-format"),
    Damage("global PAX header", FRIDAY, global_pax, "archive.member-unexpected"),
    Damage("mode of state.bin 0644", FRIDAY, tar_block(1, put_bytes(100, b"0000644")), "archive.tar-format"),
    Damage("old-style type of state.bin", FRIDAY, tar_block(1, put_bytes(156, b"\0")), "archive.tar-format"),
    Damage("no zero blocks", FRIDAY, ending(b""), "archive.tar-end"),
    Damage("one zero block", FRIDAY, ending(bytes(512)), "archive.tar-end"),
    Damage("three zero blocks", FRIDAY, ending(bytes(3 * 512)), "archive.tar-trailing"),
    Damage(
        "padded to 10,240 bytes",
        FRIDAY,
        lambda data: squeeze((tar := inflated(data)) + bytes(-len(tar) % 10_240)),
        "archive.tar-trailing",
    ),
    Damage("text after the tar", FRIDAY, lambda data: squeeze(inflated(data) + b"hello"), "archive.tar-trailing"),
    Damage(
        "zero block between members", FRIDAY, lambda data: squeeze(bytes(512) + inflated(data)), "archive.tar-header"
    ),
    Damage("tar cut inside state.bin", FRIDAY, lambda data: squeeze(inflated(data)[:100_000]), "archive.truncated"),
    Damage(
        "tar cut after state.bin",
        FRIDAY,
        files(lambda m: [(META, m[META]), (STATE, m[STATE])]),
        "archive.member-missing",
    ),
    Damage(
        "checksum of the first tar header",
        FRIDAY,
        tar_block(0, put_bytes(148, b"000000\0 "), False),
        "archive.tar-header",
    ),
    Damage(
        "checksum of the last tar header",
        FRIDAY,
        tar_block(2, put_bytes(148, b"000000\0 "), False),
        "archive.tar-header",
    ),
    Damage(
        "no number as the size in a tar header",
        FRIDAY,
        tar_block(1, put_bytes(124, b"xxxxxxxxxxx")),
        "archive.tar-header",
    ),
    # SHA256SUMS
    Damage("CR LF in SHA256SUMS", FRIDAY, replaced(SUMS, lambda text: text.replace(b"\n", b"\r\n")), ""),
    Damage("upper-case hashes", FRIDAY, replaced(SUMS, line(lambda one: one[:64].upper() + one[64:])), ""),
    Damage("one space in SHA256SUMS", FRIDAY, replaced(SUMS, lambda text: text.replace(b"  ", b" ")), ""),
    Damage("no last newline in SHA256SUMS", FRIDAY, replaced(SUMS, bytes.rstrip), ""),
    Damage(
        "lines of SHA256SUMS the other way round",
        FRIDAY,
        replaced(SUMS, lambda t: b"".join(t.splitlines(True)[::-1])),
        "",
    ),
    Damage("empty line in SHA256SUMS", FRIDAY, replaced(SUMS, lambda text: text + b"\n"), "archive.sums"),
    Damage("comment in SHA256SUMS", FRIDAY, replaced(SUMS, lambda text: b"# made by hand\n" + text), "archive.sums"),
    Damage(
        "binary marks in SHA256SUMS", FRIDAY, replaced(SUMS, lambda text: text.replace(b"  ", b" *")), "archive.sums"
    ),
    Damage("paths in SHA256SUMS", FRIDAY, replaced(SUMS, lambda text: text.replace(b"  ", b"  ./")), "archive.sums"),
    Damage(
        "BSD style in SHA256SUMS",
        FRIDAY,
        replaced(SUMS, line(lambda o: b"SHA256 (%s) = %s\n" % (o[66:-1], o[:64]))),
        "archive.sums",
    ),
    Damage(
        "words after the names in SHA256SUMS", FRIDAY, replaced(SUMS, lambda t: t.replace(b"\n", b" checked\n")), ""
    ),
    Damage("BOM in SHA256SUMS", FRIDAY, replaced(SUMS, lambda text: b"\xef\xbb\xbf" + text), "archive.sums"),
    Damage("UTF-16 SHA256SUMS", FRIDAY, replaced(SUMS, lambda text: text.decode().encode("utf-16")), "archive.sums"),
    Damage("empty SHA256SUMS", FRIDAY, replaced(SUMS, lambda text: b""), "archive.sums"),
    Damage("half a hash", FRIDAY, replaced(SUMS, line(lambda one: one[32:])), "archive.hash"),
    Damage(
        "SHA-512 in SHA256SUMS",
        FRIDAY,
        files(
            lambda m: [
                (META, m[META]),
                (STATE, m[STATE]),
                (
                    SUMS,
                    b"".join(
                        hashlib.sha512(m[n]).hexdigest().encode() + b"  " + n.encode() + b"\n" for n in (META, STATE)
                    ),
                ),
            ]
        ),
        "archive.hash",
    ),
    Damage(
        "SHA256SUMS lists a ghost", FRIDAY, replaced(SUMS, lambda text: text + b"0" * 64 + b"  ghost\n"), "archive.sums"
    ),
    Damage(
        "SHA256SUMS lists itself",
        FRIDAY,
        replaced(SUMS, lambda text: text + b"0" * 64 + b"  SHA256SUMS\n"),
        "archive.sums",
    ),
    Damage(
        "SHA256SUMS lacks meta.json",
        FRIDAY,
        replaced(SUMS, line(lambda one: b"" if b"meta" in one else one)),
        "archive.sums",
    ),
    Damage(
        "SHA256SUMS lacks state.bin",
        FRIDAY,
        replaced(SUMS, line(lambda one: b"" if b"state" in one else one)),
        "archive.sums",
    ),
    Damage("a line of SHA256SUMS twice", FRIDAY, replaced(SUMS, lambda text: text + text), ""),
    Damage(
        "hash of meta.json", FRIDAY, replaced(META, lambda text: text.replace(b'"Term":2', b'"Term":3')), "archive.hash"
    ),
    Damage(
        "hash of state.bin",
        FRIDAY,
        replaced(STATE, lambda data: data.replace(b"node-exporter", b"node-exporteR", 1)),
        "archive.hash",
    ),
    Damage(
        "hash of state.bin, 1.8",
        TUESDAY_1_8,
        replaced(STATE, lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        "archive.hash",
    ),
    Damage("newline missing in meta.json", FRIDAY, replaced(META, bytes.rstrip), "archive.hash"),
    # members
    Damage(
        "meta.json missing", FRIDAY, files(lambda m: [(STATE, m[STATE]), (SUMS, m[SUMS])]), "archive.member-missing"
    ),
    Damage("state.bin missing", FRIDAY, files(lambda m: [(META, m[META]), (SUMS, m[SUMS])]), "archive.member-missing"),
    Damage(
        "SHA256SUMS missing, 0.12",
        TUESDAY_0_12,
        files(lambda m: [(META, m[META]), (STATE, m[STATE])]),
        "archive.member-missing",
    ),
    Damage("no members", FRIDAY, files(lambda m: []), "archive.member-missing"),
    Damage("another order of members", FRIDAY, files(lambda m: [*m.items()][::-1]), ""),
    Damage(
        "names in capitals",
        FRIDAY,
        files(lambda m: [(n.upper(), content) for n, content in m.items()]),
        "archive.member-unexpected",
    ),
    Damage("extra member", FRIDAY, files(lambda m: [*m.items(), ("notes.txt", b"hello")]), "archive.member-unexpected"),
    Damage(
        "extra member of macOS",
        FRIDAY,
        files(lambda m: [("._meta.json", bytes(163)), *m.items()]),
        "archive.member-unexpected",
    ),
    Damage(
        "extra member with an absolute path",
        FRIDAY,
        files(lambda m: [*m.items(), ("/etc/passwd", b"x")]),
        "archive.member-unexpected",
    ),
    Damage(
        "extra member outside",
        FRIDAY,
        files(lambda m: [*m.items(), ("../../state.bin", b"x")]),
        "archive.member-unexpected",
    ),
    Damage(
        "keystore packed with it",
        TUESDAY_1_8,
        files(lambda m: [*m.items(), ("keystore/key.nks.json", b"{}")]),
        "archive.member-unexpected",
    ),
    Damage("state.bin twice, second empty", FRIDAY, twice(STATE, lambda content: b""), "archive.member-twice"),
    Damage("state.bin twice", FRIDAY, twice(STATE, lambda content: content), "archive.hash"),
    Damage("meta.json twice, second empty", FRIDAY, twice(META, lambda content: b""), "archive.member-twice"),
    Damage("meta.json twice", FRIDAY, twice(META, lambda content: content), "archive.member-twice"),
    Damage("SHA256SUMS twice", FRIDAY, twice(SUMS, lambda content: content), "archive.member-twice"),
    Damage(
        "state.bin a symlink", FRIDAY, odd_member(STATE, tarfile.SYMTYPE, "/var/lib/state.bin"), "archive.member-type"
    ),
    Damage(
        "state.bin a hard link with content",
        FRIDAY,
        odd_member(STATE, tarfile.LNKTYPE, META, keep=True),
        "archive.member-type",
    ),
    Damage("state.bin a directory", FRIDAY, odd_member(STATE, tarfile.DIRTYPE), "archive.member-type"),
    Damage("SHA256SUMS a symlink", FRIDAY, odd_member(SUMS, tarfile.SYMTYPE, "/dev/null"), "archive.member-type"),
    Damage(
        "state.bin a contiguous file", FRIDAY, odd_member(STATE, tarfile.CONTTYPE, keep=True), "archive.member-type"
    ),
    # meta.json
    Damage("UTF-16 meta.json", FRIDAY, raw_meta(lambda text: text.decode().encode("utf-16")), "archive.meta"),
    Damage("BOM in meta.json", FRIDAY, raw_meta(lambda text: b"\xef\xbb\xbf" + text), "archive.meta"),
    Damage("meta.json is no JSON", FRIDAY, raw_meta(lambda text: b"hello\n"), "archive.meta"),
    Damage("meta.json is empty", FRIDAY, raw_meta(lambda text: b""), "archive.meta"),
    Damage("meta.json is cut", FRIDAY, raw_meta(lambda text: text[: len(text) // 2]), "archive.meta"),
    Damage("meta.json is a list", FRIDAY, raw_meta(lambda text: b"[]\n"), "archive.meta"),
    Damage("meta.json is null", FRIDAY, raw_meta(lambda text: b"null\n"), "archive.meta"),
    Damage("meta.json without fields", FRIDAY, raw_meta(lambda text: b"{}\n"), "archive.meta-version"),
    Damage("words after meta.json's object", FRIDAY, raw_meta(lambda text: text + b"hello\n"), "archive.meta"),
    Damage("NaN in meta.json", FRIDAY, meta(Comment=float("nan")), "archive.meta"),
    Damage("meta.json spread over lines", FRIDAY, raw_meta(lambda t: json.dumps(json.loads(t), indent=2).encode()), ""),
    Damage("Index a string", FRIDAY, meta(Index="200"), "archive.meta"),
    Damage("Index below zero", FRIDAY, meta(Index=-1), "archive.meta"),
    Damage("Index a fraction", FRIDAY, meta(Index=200.5), "archive.meta"),
    Damage("Term a bool", FRIDAY, meta(Term=True), "archive.meta"),
    Damage("ID a number", FRIDAY, meta(ID=200), "archive.meta"),
    Damage("Servers a map", FRIDAY, meta(Configuration={"Servers": {}}), "archive.meta"),
    Damage("Size a string", FRIDAY, meta(Size="273895"), "archive.meta"),
    Damage("Size missing", FRIDAY, meta(Size=GONE), "archive.size"),
    Damage("Size too small", FRIDAY, size_off_by(-7), "archive.size"),
    Damage("Size too big", FRIDAY, size_off_by(7), "archive.size"),
    Damage("Size too big, 1.4", TUESDAY_1_4, size_off_by(512), "archive.size"),
    Damage("Version missing", FRIDAY, meta(Version=GONE), "archive.meta-version"),
    Damage("Version 0", FRIDAY, meta(Version=0), "archive.meta-version"),
    Damage("Version 9", FRIDAY, meta(Version=9), "archive.meta-version"),
    Damage("ID missing", FRIDAY, meta(ID=GONE), "archive.meta-id"),
    Damage("ID of another index", FRIDAY, meta(ID="2-199-1795471760665"), "archive.meta-id"),
    Damage("ID of another term", FRIDAY, meta(ID="3-200-1795471760665"), "archive.meta-id"),
    Damage("ID without a time", FRIDAY, meta(ID="2-200"), "archive.meta-id"),
    Damage("Term missing", FRIDAY, meta(Term=GONE), "archive.meta-id"),
    Damage("Index missing", FRIDAY, meta(Index=GONE), "archive.meta-id"),
    Damage("Configuration missing", FRIDAY, meta(Configuration=GONE, ConfigurationIndex=GONE, Peers=GONE), ""),
    Damage("a field more in meta.json", FRIDAY, meta(Comment="the night job"), ""),
]


# -- the state

GHOST = "00000000-dead-beef-0000-000000000000"
FUTURE = 4_102_444_800_000_000_000  # 2100-01-01, in nanoseconds


@cache
def records(data: bytes) -> tuple[Record, ...]:
    """The records of a whole archive."""
    with snapkit.open(data) as snap:
        return tuple((byte, bytes(packed)) for byte, packed in snap.raw())


def state(change: Callable[[bytes], bytes]) -> Builder:
    """state.bin changed, with Size and hashes that fit."""

    def build(data: bytes) -> bytes:
        made = change(members(data)[STATE])
        document = dumps(json.loads(members(data)[META]) | {"Size": len(made)})
        return fitting(data, document, made)

    return build


def stream(change: Callable[[list[Record]], Iterable[Record]]) -> Builder:
    """The records changed."""

    def build(data: bytes) -> bytes:
        made = forge.state(*(forge.record(byte, packed) for byte, packed in change([*records(data)])))
        return state(lambda _: made)(data)

    return build


def fits(record: Fields, where: Mapping[str, Any]) -> bool:
    return all(record.get(name.encode()) == (v.encode() if isinstance(v, str) else v) for name, v in where.items())


def edited(table: str, change: Callable[[Fields], bytes | None], **where: Any) -> Builder:
    """The first record of a table that fits changed in place; or other bytes in its stead."""
    byte = BY_TABLE[table].byte

    def build(found: list[Record]) -> list[Record]:
        for i, (kind, packed) in enumerate(found):
            if kind == byte and fits(record := unpack(packed), where):
                instead = change(record)
                found[i] = (kind, pack(record) if instead is None else instead)
                return found
        raise AssertionError(f"{table} has no record with {where}")

    return stream(build)


def put(table: str, values: Mapping[str, Any], **where: Any) -> Builder:
    """Fields of the first record of a table that fits set."""

    def change(record: Fields) -> None:
        for name, value in values.items():
            assert name.encode() in record, name
            record[name.encode()] = value

    return edited(table, change, **where)


def instead(table: str, packed: bytes, **where: Any) -> Builder:
    return edited(table, lambda record: packed, **where)


def without(*tables: str, **where: Any) -> Builder:
    """Tables without the records that fit."""
    bytes_ = {BY_TABLE[table].byte for table in tables}

    def change(found: list[Record]) -> list[Record]:
        left = [one for one in found if one[0] not in bytes_ or not fits(unpack(one[1]), where)]
        assert len(left) < len(found), tables
        return left

    return stream(change)


def again(table: str, values: Mapping[str, Any] | None = None, **where: Any) -> Builder:
    """A record of a table once more behind it, perhaps with other fields."""
    byte = BY_TABLE[table].byte

    def change(found: list[Record]) -> list[Record]:
        for i, (kind, packed) in enumerate(found):
            if kind == byte and fits(record := unpack(packed), where):
                record |= {name.encode(): value for name, value in (values or {}).items()}
                return [*found[: i + 1], (kind, pack(record)), *found[i + 1 :]]
        raise AssertionError(f"{table} has no record with {where}")

    return stream(change)


def plus(byte: int, value: Any, first: bool = False) -> Builder:
    """A record more, at the end or the start."""
    one = (byte, value if isinstance(value, bytes) else pack(value))
    return stream(lambda found: [one, *found] if first else [*found, one])


def cut_before(table: str) -> Builder:
    """Cut at a record's edge: the first record of a table and all behind it are gone."""
    byte = BY_TABLE[table].byte
    return stream(lambda found: found[: [kind for kind, _ in found].index(byte)])


def inside_last(data: bytes) -> bytes:
    return data[:-10]


def nested(depth: int) -> Builder:
    """A list in a list, and so on, where a scaling policy may hold anything."""
    mark = b"put something deep here"

    def change(record: Fields) -> bytes:
        record[b"Policy"] = {b"deep": mark}
        return pack(record).replace(pack(mark), b"\x91" * depth + b"\xc0")

    return edited("scaling_policies", change)


def by_new_spec(record: Fields) -> bytes:
    """With bin where the old msgpack has raw."""
    packed: bytes = msgpack.packb(record, use_bin_type=True)
    return packed


def reordered(found: list[Record]) -> list[Record]:
    """The variables ahead of the nodes."""
    late = [one for one in found if one[0] == BY_TABLE["variables"].byte]
    rest = [one for one in found if one[0] != BY_TABLE["variables"].byte]
    start = [kind for kind, _ in rest].index(BY_TABLE["nodes"].byte)
    return [*rest[:start], *late, *rest[start:]]


def scattered(found: list[Record]) -> list[Record]:
    """The last job behind everything."""
    last = max(i for i, (kind, _) in enumerate(found) if kind == BY_TABLE["jobs"].byte)
    return [*found[:last], *found[last + 1 :], found[last]]


def task(change: Callable[[Fields], None]) -> Builder:
    """The first task of the job web changed."""

    def edit(job: Fields) -> None:
        change(job[b"TaskGroups"][0][b"Tasks"][0])

    return edited("jobs", edit, ID="web")


def in_task(name: str, value: Any) -> Builder:
    def change(found: Fields) -> None:
        assert name.encode() in found, name
        found[name.encode()] = value

    return task(change)


STATES = [
    Damage("state cut inside a record", FRIDAY, state(inside_last), "state.framing"),
    Damage("state cut in the middle", FRIDAY, state(lambda data: data[: len(data) // 2]), "state.framing"),
    Damage("state cut after a type byte", FRIDAY, stream(lambda found: [*found, (31, b"")]), "state.framing"),
    Damage("state cut inside a record, 0.12", TUESDAY_0_12, state(inside_last), "state.framing"),
    Damage("empty state.bin", FRIDAY, state(lambda data: b""), "state.header"),
    Damage("header alone", FRIDAY, state(lambda data: data[:1]), "state.missing-table"),
    Damage(
        "header a list",
        FRIDAY,
        state(lambda data: b"\x90" + data[1:]),
        "state.header",
        "Nomad's decoder takes a list for a struct; no Nomad writes one",
    ),
    Damage("header a number", FRIDAY, state(lambda data: b"\x07" + data[1:]), "state.header"),
    Damage(
        "header nil",
        FRIDAY,
        state(lambda data: b"\xc0" + data[1:]),
        "state.header",
        "Nomad's decoder takes nil for an empty struct; no Nomad writes it",
    ),
    Damage("header missing", FRIDAY, state(lambda data: data[1:]), "state.header"),
    Damage("header with content", FRIDAY, state(lambda data: pack({"Version": 2}) + data[1:]), ""),
    Damage("header as a long map", FRIDAY, state(lambda data: b"\xde\0\0" + data[1:]), ""),
    Damage("unknown type 200", FRIDAY, plus(200, {"ID": "x"}), "state.unknown-type"),
    Damage("a type of Nomad Enterprise", FRIDAY, plus(65, {"Name": "x"}), "state.unknown-type"),
    Damage("EventSink record", FRIDAY, plus(20, {"ID": "sink", "Type": "webhook"}), "state.event-sink"),
    Damage("one zero byte at the end", FRIDAY, state(lambda data: data + b"\0"), "state.framing"),
    Damage("two zero bytes at the end", FRIDAY, state(lambda data: data + b"\0\0"), "state.not-a-map"),
    Damage("512 zero bytes at the end", FRIDAY, state(lambda data: data + bytes(512)), "state.not-a-map"),
    Damage("one byte lost", FRIDAY, state(lambda data: data[:100_000] + data[100_001:]), "state.field-type"),
    Damage("a byte that msgpack does not use", FRIDAY, instead("nodes", b"\xc1"), "state.framing"),
    Damage("state twice", FRIDAY, state(lambda data: data + data[1:]), "state.duplicate"),
    # records
    Damage("a record that is text", FRIDAY, instead("nodes", pack("hello")), "state.not-a-map"),
    Damage("a record that is a list", FRIDAY, instead("nodes", pack(["hello"])), "state.not-a-map"),
    Damage("a record that is nil", FRIDAY, instead("evals", pack(None)), "state.not-a-map"),
    Damage("Node.ID an integer", FRIDAY, put("nodes", {"ID": 7}), "state.field-type"),
    Damage("Job.Priority text", FRIDAY, put("jobs", {"Priority": "high"}), "state.field-type"),
    Damage("Job.Priority text, 1.4", TUESDAY_1_4, put("jobs", {"Priority": "high"}), "state.field-type"),
    Damage("Job.Priority a fraction", FRIDAY, put("jobs", {"Priority": 50.5}), "state.field-type"),
    Damage(
        "Job.Stop one",
        FRIDAY,
        put("jobs", {"Stop": 1}),
        "state.field-type",
        "Nomad's decoder takes the integers 0 and 1 for bools, and dies of any other",
    ),
    Damage("Job.Stop seven", FRIDAY, put("jobs", {"Stop": 7}), "state.field-type"),
    Damage("Job.Stop text", FRIDAY, put("jobs", {"Stop": "no"}), "state.field-type"),
    Damage("a job as the new msgpack has it", FRIDAY, edited("jobs", by_new_spec, ID="web"), ""),
    Damage(
        "token's CreateTime a msgpack timestamp",
        FRIDAY,
        put("acl_tokens", {"CreateTime": msgpack.Timestamp(1_795_471_701, 7)}, Name="intern"),
        "state.field-type",
    ),
    Damage("a job without an ID", FRIDAY, put("jobs", {"ID": ""}), "state.key"),
    Damage("Job.Name nil", FRIDAY, put("jobs", {"Name": None}, ID="web"), ""),
    Damage(
        "Job.Datacenters a map",
        FRIDAY,
        put("jobs", {"Datacenters": {"dc1": "x"}}),
        "state.field-type",
        "Nomad's decoder makes a list of a map's keys and values: not what was meant",
    ),
    Damage("Job.Meta a list", FRIDAY, put("jobs", {"Meta": ["x"]}), "state.field-type"),
    Damage("Job.ModifyIndex below zero", FRIDAY, put("jobs", {"ModifyIndex": -1}), "state.field-type"),
    Damage(
        "Job.Priority beyond 64 bits",
        FRIDAY,
        put("jobs", {"Priority": 2**64 - 1}),
        "state.field-type",
        "Nomad's decoder lets the number overflow: the priority would be -1",
    ),
    Damage("Task.Name an integer, deep in a job", FRIDAY, in_task("Name", 7), "state.field-type"),
    Damage("Task.Config text", FRIDAY, in_task("Config", "x"), "state.field-type"),
    Damage(
        "token's CreateTime of three bytes",
        FRIDAY,
        put("acl_tokens", {"CreateTime": b"\1\2\3"}, Name="intern"),
        "state.field-type",
    ),
    Damage(
        "token's CreateTime a number",
        FRIDAY,
        put("acl_tokens", {"CreateTime": 1_795_471_701}, Name="intern"),
        "state.field-type",
    ),
    Damage("Job.Name not UTF-8", FRIDAY, put("jobs", {"Name": b"w\xffb"}, ID="web"), "state.text"),
    Damage("a field more in a job", FRIDAY, edited("jobs", lambda job: pack(job | {b"Banana": [1, {b"a": b"b"}]})), ""),
    Damage(
        "fields missing in a job",
        FRIDAY,
        edited("jobs", lambda job: pack({n: v for n, v in job.items() if n not in (b"UI", b"VersionTag", b"Meta")})),
        "",
    ),
    Damage("nested 300 deep", FRIDAY, nested(300), ""),
    Damage("nested 5,000 deep", FRIDAY, nested(5_000), "state.depth"),
    Damage("a node without an ID", FRIDAY, put("nodes", {"ID": ""}), "state.key"),
    Damage("a record without fields", FRIDAY, plus(3, {}), "state.key"),
    Damage("a node's ID not a UUID", FRIDAY, put("host_volumes", {"ID": "orders"}), ""),
    # tables
    Damage("an allocation twice", FRIDAY, again("allocs", {"ClientStatus": "lost"}), "state.duplicate"),
    Damage("an allocation twice, 1.8", TUESDAY_1_8, again("allocs"), "state.duplicate"),
    Damage("a token twice", FRIDAY, again("acl_tokens", {"Name": "old"}, Name="intern"), "state.duplicate"),
    Damage("cut before the tokens", FRIDAY, cut_before("acl_tokens"), "state.missing-table"),
    Damage("cut before the tokens, 1.8", TUESDAY_1_8, cut_before("acl_tokens"), "state.missing-table"),
    Damage("cut before the jobs", FRIDAY, cut_before("jobs"), "state.missing-table"),
    Damage("cut before the namespaces", FRIDAY, cut_before("namespaces"), "state.missing-table"),
    Damage(
        "cut before the scheduler configuration",
        FRIDAY,
        cut_before("scheduler_config"),
        "state.missing-table",
        "the server makes itself a new one; variables, root keys and roles are gone",
    ),
    Damage("cut before the root keys", FRIDAY, cut_before("root_keys"), "state.missing-root-key"),
    Damage("cut before the last type", FRIDAY, cut_before("host_volumes"), "state.deletion"),
    Damage(
        "namespace default missing",
        FRIDAY,
        without("namespaces", Name="default"),
        "state.missing-default-namespace",
        "the server makes itself a new one; every whole state has it, so this one was altered",
    ),
    Damage("no cluster metadata", FRIDAY, without("cluster_metadata"), "state.missing-cluster-metadata"),
    Damage(
        "no scheduler configuration",
        FRIDAY,
        without("scheduler_config"),
        "state.missing-table",
        "the server makes itself a new one, with the defaults; every whole state has one",
    ),
    Damage(
        "no Index table",
        FRIDAY,
        without("indexes"),
        "state.missing-table",
        "the server takes it, and gives 0 as the index of tables; every whole state has it",
    ),
    Damage(
        "no node pools",
        FRIDAY,
        without("node_pools"),
        "state.missing-table",
        "the server makes itself the two built-in ones, and the others are gone; every whole state has two",
    ),
    Damage("no tokens", FRIDAY, without("acl_tokens"), "state.missing-table"),
    Damage("no launch of a periodic job", FRIDAY, without("periodic_launches"), "refs.periodic-launch"),
    Damage(
        "no job summaries",
        FRIDAY,
        without("job_summaries"),
        "refs.job-summary",
        "the server takes it, and answers 400 to every list of jobs from then on",
    ),
    Damage("an Index row too low", FRIDAY, put("indexes", {"Value": 100}, Key="jobs"), "state.index-table"),
    Damage("an Index row missing", FRIDAY, without("indexes", Key="jobs"), "state.index-table"),
    Damage(
        "ModifyIndex above the snapshot's", FRIDAY, put("jobs", {"ModifyIndex": 5_000}, ID="web"), "state.index-above"
    ),
    Damage(
        "CreateIndex above ModifyIndex",
        FRIDAY,
        put("jobs", {"CreateIndex": 170}, ID="web"),
        "state.create-after-modify",
    ),
    Damage("types in another order", FRIDAY, stream(reordered), "state.order"),
    Damage("a job behind everything", FRIDAY, stream(scattered), "state.order"),
    Damage(
        "times in the far future",
        FRIDAY,
        put("allocs", {"CreateTime": FUTURE, "ModifyTime": FUTURE}),
        "state.time-future",
    ),
    Damage(
        "time table in 2.0.5", FRIDAY, plus(5, [{"Index": 7, "Time": forge.GO_TIME}], first=True), "state.time-table"
    ),
]


# -- references


def inner(table: str, field: str, values: Mapping[str, Any], **where: Any) -> Builder:
    """Fields of a struct in a record set."""

    def change(record: Fields) -> None:
        assert isinstance(record[field.encode()], dict)
        record[field.encode()] |= {name.encode(): value for name, value in values.items()}

    return edited(table, change, **where)


def sealed_elsewhere(record: Fields) -> None:
    """As after an upgrade from 1.8: the key's record is there, and its material on disk alone."""
    record[b"WrappedKeys"] = None


GHOST_VERSION = {"ID": "ghost", "Name": "ghost", "Version": 0}

REFERENCES = [
    Damage("allocation of a missing node", FRIDAY, put("allocs", {"NodeID": GHOST}), "refs.alloc-node"),
    Damage("allocation of a missing node, 0.12", TUESDAY_0_12, put("allocs", {"NodeID": GHOST}), "refs.alloc-node"),
    Damage("allocation of a missing job", FRIDAY, put("allocs", {"JobID": "ghost"}), "refs.alloc-job"),
    Damage("allocation of a missing evaluation", FRIDAY, put("allocs", {"EvalID": GHOST}), "refs.alloc-eval"),
    Damage("a node missing", FRIDAY, without("nodes", Name="client2"), "refs.alloc-node"),
    Damage("deployment of a missing job", FRIDAY, put("deployments", {"JobID": "ghost"}), "refs.deployment-job"),
    Damage("job without its version", FRIDAY, without("job_versions", ID="web", Version=3), "refs.job-version"),
    Damage(
        "version without its job", FRIDAY, again("job_versions", GHOST_VERSION, ID="web", Version=3), "refs.version-job"
    ),
    Damage(
        "child without its parent",
        FRIDAY,
        put("jobs", {"ParentID": "ghost"}, ParentID="nightly-report"),
        "refs.child-parent",
    ),
    Damage("service of a missing allocation", FRIDAY, put("services", {"AllocID": GHOST}), "refs.service-alloc"),
    Damage("service of a missing node", FRIDAY, put("services", {"NodeID": GHOST}), "refs.service-node"),
    Damage("role with a missing policy", FRIDAY, without("acl_policies", Name="shop-deploy"), "refs.role-policy"),
    Damage(
        "token with a missing policy",
        FRIDAY,
        put("acl_tokens", {"Policies": ["ghost"]}, Name="intern"),
        "refs.token-policy",
    ),
    Damage(
        "token with a missing policy, 1.4",
        TUESDAY_1_4,
        put("acl_tokens", {"Policies": ["ghost"]}, Type="client"),
        "refs.token-policy",
    ),
    Damage(
        "token with a missing role",
        FRIDAY,
        put("acl_tokens", {"Roles": [{"ID": GHOST, "Name": ""}]}, Name="pager"),
        "refs.token-role",
    ),
    Damage("the role missing", FRIDAY, without("acl_roles"), "refs.token-role"),
    Damage(
        "binding rule of a missing method",
        FRIDAY,
        put("acl_binding_rules", {"AuthMethod": "ghost"}),
        "refs.binding-rule-auth-method",
    ),
    Damage("volume of a missing plugin", EVERY_TABLE, put("csi_volumes", {"PluginID": "ghost"}), "refs.volume-plugin"),
    Damage("volume on a missing node", FRIDAY, put("host_volumes", {"NodeID": GHOST}), "refs.volume-node"),
    Damage("node in a missing pool", FRIDAY, put("nodes", {"NodePool": "ghost"}, Name="client2"), "refs.node-pool"),
    Damage("job in a missing pool", FRIDAY, put("jobs", {"NodePool": "ghost"}, ID="web"), "refs.job-pool"),
    Damage("namespace of a periodic job missing", FRIDAY, without("namespaces", Name="batch"), "refs.job-namespace"),
    Damage(
        "namespace of a service job missing",
        FRIDAY,
        without("namespaces", Name="shop"),
        "refs.job-namespace",
        "the server takes it, as the job is not periodic; it can be read, and to stop it is answered by 500",
    ),
    Damage("no root keys", FRIDAY, without("root_keys"), "state.missing-root-key"),
    Damage("root key without material", FRIDAY, edited("root_keys", sealed_elsewhere), "refs.variable-key"),
    Damage("variable of a missing root key", FRIDAY, put("variables", {"KeyID": GHOST}), "refs.variable-key"),
    Damage("no root keys, 1.8", TUESDAY_1_8, without("root_key_meta"), "state.missing-root-key"),
    Damage(
        "scaling policy of a missing job",
        FRIDAY,
        inner("scaling_policies", "Target", {"Job": "ghost"}),
        "refs.scaling-policy-job",
    ),
    Damage("identities of a missing root key", FRIDAY, put("allocs", {"SigningKeyID": GHOST}), "refs.identity-key"),
    Damage("evaluation of a missing job", FRIDAY, put("evals", {"JobID": "ghost"}, JobID="web"), "refs.eval-job"),
    Damage(
        "pending evaluation of a missing job",
        FRIDAY,
        put("evals", {"JobID": "ghost", "Status": "pending"}, JobID="web"),
        "refs.eval-job",
    ),
]

DAMAGES: list[Damage] = [*CONTAINER, *STATES, *REFERENCES]
BY_NAME: Mapping[str, Damage] = {damage.name: damage for damage in DAMAGES}
