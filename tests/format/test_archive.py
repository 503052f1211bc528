"""The container: what is read whole, what is refused, and in what words."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import fsspec
import pytest

import snapkit
from snapkit.errors import ArchiveError, LimitError, SnapshotError, SourceError
from snapkit.format import archive as container
from snapkit.format.archive import Archive, Limits
from tests import forge

from ..conftest import ARCHIVES, DATA, RAFT_DIRECTORIES, path_of

STATE = forge.state(forge.record(2, {"Key": "jobs", "Value": 7}), forge.record(0, {"ID": "n1", "Name": "client1"}))
META = forge.meta_json(len(STATE))
MEMBERS = forge.members(STATE)


class Kept:
    """Keeps state.bin as it passes."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, chunk: bytes | memoryview) -> None:
        self.data += chunk


def read(source: Any, **kwargs: Any) -> tuple[Archive, bytes]:
    sink = Kept()
    return container.read(source, sink, **kwargs), sink.data


def refused(source: Any, kind: type[SnapshotError] = ArchiveError, **kwargs: Any) -> SnapshotError:
    """The error of reading it, which is of just this kind and says where and what next."""
    with pytest.raises(kind) as caught:
        read(source, **kwargs)
    error = caught.value
    assert type(error) is kind
    assert error.what
    assert error.where
    assert error.advice
    assert str(error) == f"{error.where}: {error.what}; {error.advice}"
    assert "\n" not in str(error)
    return error


# -- what is whole


@pytest.mark.parametrize("archive", ARCHIVES)
def test_a_real_archive_is_whole(archive: str) -> None:
    path = path_of(archive)
    found, state = read(path)
    by_tarfile = forge.untar(path.read_bytes())
    assert [(m.name, m.size, m.sha256) for m in found.members] == [
        (info.name, info.size, hashlib.sha256(content).hexdigest()) for info, content in by_tarfile
    ]
    assert state == by_tarfile[1][1]
    assert found.meta == json.loads(by_tarfile[0][1])
    assert (found.kind, found.source, found.oddities) == ("archive", str(path), ())


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_members_may_stand_in_any_order(order: tuple[int, ...]) -> None:
    found, state = read(forge.squeeze(forge.tar(MEMBERS[i] for i in order)))
    assert [m.name for m in found.members] == [MEMBERS[i][0] for i in order]
    assert (state, found.oddities) == (STATE, ())


SUMS = forge.sums(*MEMBERS[:2])


@pytest.mark.parametrize(
    "sums",
    [
        SUMS,
        forge.sums(MEMBERS[1], MEMBERS[0]),
        SUMS.replace(b"\n", b"\r\n"),
        SUMS.replace(b"  ", b" "),
        SUMS.removesuffix(b"\n"),
        b"".join(line[:64].upper() + line[64:] for line in SUMS.splitlines(keepends=True)),
    ],
    ids=["meta.json first", "state.bin first", "CR LF", "one space", "no newline at the end", "upper case"],
)
def test_sums_are_taken_as_nomad_takes_them(sums: bytes) -> None:
    found, state = read(forge.squeeze(forge.tar([*MEMBERS[:2], ("SHA256SUMS", sums)])))
    assert (state, found.oddities) == (STATE, ())


def test_a_global_pax_header_is_a_member_as_it_is_to_a_server() -> None:
    header = forge.member("pax_global_header", b"16 comment=some\n", tarfile.XGLTYPE)
    error = refused(forge.squeeze(header + forge.tar(MEMBERS)))
    assert "unexpected file 'pax_global_header'" in error.what


def test_pax_headers_and_gnu_long_names_are_read() -> None:
    meta, state, sums = MEMBERS
    long_name = forge.member("././@LongLink", b"state.bin\0", tarfile.GNUTYPE_LONGNAME)
    data = (
        forge.pax(path="meta.json", mtime="1795471701.5")
        + forge.member("x", meta[1])
        + long_name
        + forge.member("state.b", state[1])
        + forge.pax(size=str(len(sums[1])))
        + forge.header("SHA256SUMS", 0)
        + sums[1]
        + bytes(-len(sums[1]) % 512)
        + bytes(1024)
    )
    found, got = read(forge.squeeze(data))
    assert (got, found.oddities) == (STATE, ())
    assert [m.name for m in found.members] == ["meta.json", "state.bin", "SHA256SUMS"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_by_tarfile_is_read_and_its_padding_noticed(form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        for name, content in MEMBERS:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    found, state = read(forge.squeeze(out.getvalue()))
    assert state == STATE
    (oddity,) = found.oddities
    assert (oddity.check, oddity.refused) == ("archive.tar-trailing", True)
    left = len(out.getvalue()) - len(forge.tar(MEMBERS))
    assert oddity.message == f"{left} unread uncompressed bytes remain"  # in Nomad's own words


@pytest.mark.parametrize("end", [b"", bytes(512)], ids=["no zero block", "one zero block"])
def test_a_tar_may_end_with_its_stream(end: bytes) -> None:
    assert read(forge.squeeze(forge.tar(MEMBERS, end)))[1] == STATE


@pytest.mark.parametrize("trailing", [b"\0", bytes(512), b"x", b"\x1f", b"hello" * 100_000], ids=len)
def test_what_follows_the_gzip_stream_is_noticed(trailing: bytes) -> None:
    whole = forge.archive(STATE)
    found, state = read(whole + trailing)
    assert state == STATE
    (oddity,) = found.oddities
    assert (oddity.check, oddity.refused) == ("archive.gzip-trailing", True)
    assert oddity.place == f"byte {len(whole):,}"
    assert oddity.message.startswith(f"{len(trailing):,} bytes follow")


@pytest.mark.parametrize("cut", [1, 512, 700, 2048])
def test_several_gzip_members_are_one_stream(cut: int) -> None:
    data = forge.tar(MEMBERS)
    pieces = [data[:cut], b"", data[cut:]]
    found, state = read(b"".join(map(forge.squeeze, pieces)))
    assert state == STATE
    assert [(o.check, o.refused) for o in found.oddities] == [("archive.gzip-members", False)]


def test_an_empty_second_member_of_a_name_is_noticed() -> None:
    found, state = read(forge.squeeze(forge.tar([*MEMBERS, ("state.bin", b"")])))
    assert state == STATE
    assert [(o.check, o.place) for o in found.oddities] == [("archive.member-twice", "state.bin")]


@pytest.mark.parametrize("size", [1, 511, 512, 513, (1 << 20) - 1024, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
@pytest.mark.parametrize("content", ["zeros", "noise"])
def test_a_state_of_any_size_is_passed_on_whole(size: int, content: str) -> None:
    noise = hashlib.shake_128(b"seed").digest(size)
    state = b"\x80" + (bytes(size) if content == "zeros" else noise)
    assert read(forge.archive(state))[1] == state


@pytest.mark.parametrize("piece", [1, 7, 512, 4096])
def test_a_stream_may_come_in_pieces_of_any_size(piece: int) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(piece, size or piece))

    data = forge.archive(STATE) + (b"" if piece > 7 else b"\0\0\0")
    found, state = read(Slow(data))
    assert state == STATE
    assert [o.check for o in found.oddities] == ([] if piece > 7 else ["archive.gzip-trailing"])


# -- where it is read from


def test_an_archive_is_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = forge.archive(STATE)
    path = tmp_path / "a.snap"
    path.write_bytes(data)
    monkeypatch.chdir(tmp_path)
    fsspec.filesystem("memory").pipe_file("/folder/a.snap", data)
    with path.open("rb") as file:
        for source, name in [
            (path, str(path)),
            (str(path), str(path)),
            ("a.snap", "a.snap"),
            (data, f"{len(data):,} bytes in memory"),
            (bytearray(data), f"{len(data):,} bytes in memory"),
            (memoryview(data), f"{len(data):,} bytes in memory"),
            (io.BytesIO(data), "a stream"),
            (file, str(path)),
            (f"file://{path}", f"file://{path}"),
            ("memory://folder/a.snap", "memory://folder/a.snap"),
        ]:
            found, state = read(source)
            assert state == STATE
            assert found.source == name


def test_a_stream_stays_open(tmp_path: Path) -> None:
    stream = io.BytesIO(forge.archive(STATE))
    read(stream)
    assert not stream.closed


def test_a_pipe_is_read() -> None:
    reader, writer = os.pipe()
    data = forge.archive(STATE)
    with os.fdopen(writer, "wb") as file:
        file.write(data)
    with os.fdopen(reader, "rb") as file:
        assert read(file)[1] == STATE


def test_progress_ends_at_the_size(tmp_path: Path) -> None:
    path = tmp_path / "a.snap"
    path.write_bytes(forge.archive(STATE + forge.record(69, os.urandom(700_000).hex())))
    told: list[tuple[int, int | None]] = []
    container.read(path, progress=lambda done, size: told.append((done, size)))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (path.stat().st_size, path.stat().st_size)
    assert {size for _, size in told} == {path.stat().st_size}
    last: tuple[int, int | None] = (0, 0)

    def keep(done: int, size: int | None) -> None:
        nonlocal last
        last = done, size

    container.read(io.BytesIO(path.read_bytes()), progress=keep)
    assert last == (path.stat().st_size, None)


def test_no_such_file_is_said(tmp_path: Path) -> None:
    error = refused(tmp_path / "none.snap", SourceError)
    assert error.where == str(tmp_path / "none.snap")
    assert "No such file" in error.what


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.snap"
    path.write_bytes(forge.archive(STATE))
    path.chmod(0)
    assert "Permission denied" in refused(path, SourceError).what


def test_a_file_that_can_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(13, "Permission denied")

    error = refused(Failing(), SourceError)
    assert "Permission denied" in error.what


def test_a_stream_that_breaks_is_said() -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 600:
                raise ConnectionResetError(104, "Connection reset by peer")
            return super().read(min(size or 100, 100))

    assert "Connection reset" in refused(Breaking(path_of(ARCHIVES[0]).read_bytes()), SourceError).what


@pytest.mark.parametrize("name", ["a\0b.snap", "\ud800.snap", "x" * 5_000])
def test_a_name_that_no_file_can_have_is_a_source_error(name: str) -> None:
    with pytest.raises(SourceError):
        read(name)


def test_a_text_stream_is_refused() -> None:
    error = refused(io.StringIO("text"), SourceError)
    assert "binary mode" in error.advice


@pytest.mark.parametrize("source", [None, 5, [b""]])
def test_what_is_no_source_is_refused(source: Any) -> None:
    error = refused(source, SourceError)
    assert type(source).__name__ in error.what
    assert error.where == "what was given"


@pytest.mark.parametrize("way", [snapkit.open, snapkit.verify, partial(snapkit.open, salvage=True)])
def test_an_open_snapshot_is_no_source(way: Callable[[Any], Any]) -> None:
    with (
        snapkit.open(path_of(ARCHIVES[0])) as snapshot,
        pytest.raises(SourceError, match=r"type Snapshot, .* that which it was opened from"),
    ):
        way(snapshot)


@pytest.mark.parametrize("url", ["memory://none.snap", "nosuchscheme://bucket/a.snap"])
def test_a_url_that_can_not_be_opened_is_said(url: str) -> None:
    assert refused(url, SourceError).where == url


def test_a_url_that_breaks_while_it_is_read_is_said() -> None:
    class BotoLikeError(Exception):
        pass

    class Breaking(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]
        protocol = "breaking"

        def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
            class File(io.BytesIO):
                def read(self, size: int | None = -1) -> bytes:
                    raise BotoLikeError("SlowDown")

            return File()

    fsspec.register_implementation("breaking", Breaking, clobber=True)
    assert "SlowDown" in refused("breaking://bucket/a.snap", SourceError).what


@pytest.mark.parametrize(
    "url",
    [
        "nosuchscheme://user:hunter2@host/a.snap",
        "nosuchscheme://host/a.snap?X-Amz-Signature=hunter2",
        "nosuchscheme://host/a.snap?sv=1&sig=hunter2",
    ],
)
def test_credentials_in_a_url_are_not_shown(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in container.describe(url)


def test_a_bare_state_is_read() -> None:
    found, state = read(STATE)
    assert (found.kind, found.meta, state) == ("state file", {}, STATE)
    assert [(m.name, m.size) for m in found.members] == [("state.bin", len(STATE))]


# -- what is no archive


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "is empty"),
        (b"hello" * 100, "begins with 68 65 6c 6c"),
        (b"<html><body>403", "HTML"),
        (b"\xef\xbb\xbf\n <!doctype", "HTML"),
        (b'{"errors": []}', "JSON"),
        (bytes(600), "zeros"),
        (forge.tar(MEMBERS), "not gzipped"),
        (b"PK\x03\x04", "50 4b"),
        (b"\x1f", "1f"),
    ],
)
def test_what_is_no_archive_is_said_with_what_it_looks_like(data: bytes, hint: str) -> None:
    error = refused(data)
    assert hint in error.what
    assert error.where.endswith("byte 0")


def test_gzip_in_gzip_is_refused() -> None:
    assert "tar header" in refused(forge.squeeze(forge.archive(STATE))).what


@pytest.mark.parametrize("archive", ARCHIVES[:1] + ARCHIVES[-1:])
@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_says_where_it_ends(archive: str, part: float) -> None:
    data = path_of(archive).read_bytes()
    cut = data[: int(len(data) * part)]
    error = refused(cut)
    assert "ends too early" in error.what
    assert error.where.endswith(f"byte {len(cut):,}")


def test_a_flipped_bit_in_a_real_archive_says_where() -> None:
    data = bytearray(path_of("v2.0.5/monday").read_bytes())
    data[len(data) // 2] ^= 1
    error = refused(bytes(data))
    assert error.where


# -- what the tar must hold


@pytest.mark.parametrize("name", ["x", "../../etc/passwd", "/etc/passwd", "./meta.json", "meta.json.bak", "a" * 90])
def test_an_extra_member_is_refused_by_name_and_never_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for at in range(4):
        members = [*MEMBERS]
        members.insert(at, (name, b"content"))
        error = refused(forge.squeeze(forge.tar(members)))
        assert f"unexpected file {name!r}" in error.what
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["meta.json", "state.bin", "SHA256SUMS"])
def test_a_missing_member_is_named(name: str) -> None:
    error = refused(forge.squeeze(forge.tar(m for m in MEMBERS if m[0] != name)))
    assert f"{name} is missing" in error.what


@pytest.mark.parametrize("name", ["meta.json", "state.bin"])
def test_a_member_that_stands_twice_has_one_hash_and_so_is_refused(name: str) -> None:
    twice = next(m for m in MEMBERS if m[0] == name)
    error = refused(forge.squeeze(forge.tar([*MEMBERS, twice])))
    assert "hash check failed" in error.what
    assert name in error.where


@pytest.mark.parametrize("name", ["meta.json", "state.bin"])
def test_a_hash_that_differs_is_refused(name: str) -> None:
    changed = [(n, c[:-1] + b" " if n == name else c) for n, c in MEMBERS]
    error = refused(forge.squeeze(forge.tar(changed)))
    assert "hash check failed" in error.what
    assert hashlib.sha256(dict(changed)[name]).hexdigest() in error.what
    assert error.where.endswith(f": {name}")


@pytest.mark.parametrize(
    ("sums", "hint"),
    [
        (b"", "no hash for meta.json"),
        (SUMS.splitlines(keepends=True)[0], "no hash for state.bin"),
        (SUMS.splitlines(keepends=True)[1], "no hash for meta.json"),
        (SUMS + b"0" * 64 + b"  ghost\n", "names 'ghost', which the archive lacks"),
        (SUMS + b"0" * 64 + b"\n", "line 3 is no hash and name"),
        (b"\xff\xfe\n", "line 1 is no hash and name"),
        (SUMS + forge.sums(("SHA256SUMS", SUMS)), "names 'SHA256SUMS'"),
        (SUMS.replace(SUMS[:64], b"0" * 64), "hash check failed"),
    ],
)
def test_sums_that_do_not_fit_are_refused(sums: bytes, hint: str) -> None:
    error = refused(forge.squeeze(forge.tar([*MEMBERS[:2], ("SHA256SUMS", sums)])))
    assert hint in error.what


@pytest.mark.parametrize("size", [0, len(STATE) - 1, len(STATE) + 1])
def test_a_size_that_differs_is_refused(size: int) -> None:
    error = refused(forge.archive(STATE, forge.meta_json(size)))
    assert f"Size says {size}" in error.what
    assert f"{len(STATE)} bytes" in error.what
    assert error.where.endswith("meta.json")


@pytest.mark.parametrize(
    ("meta", "hint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"Index": ' + b"9" * 5_000 + b"}", "not JSON"),
        (b'{"Newer": 1e999}', "too large a number"),
        (b'{"Newer": ' + b"[" * 150 + b"]" * 150 + b"}", "more than 100 deep"),
        (b'{"ID": 5}', "ID is 5"),
        (b'{"Index": "5"}', "Index is '5'"),
        (b'{"Index": null}', "Index is None"),
        (b'{"Index": 1.5}', "Index is 1.5"),
        (b'{"Term": true}', "Term is True"),
        (b'{"Size": "big"}', "Size is 'big'"),
        (b'{"Version": "one"}', "Version is 'one'"),
        (b'{"Configuration": {"Servers": 5}}', "Servers is 5"),
        (b'{"Configuration": {"Servers": [5]}}', "Servers is [5]"),
    ],
)
def test_a_meta_that_nomad_would_not_write_is_refused(meta: bytes, hint: str) -> None:
    error = refused(forge.archive(STATE, meta))
    assert hint in error.what
    assert error.where.endswith("meta.json")


def test_a_field_more_in_meta_is_kept() -> None:
    found, _ = read(forge.archive(STATE, forge.meta_json(len(STATE), Index=0, Newer={"a": 1})))
    assert found.meta["Newer"] == {"a": 1}


def test_half_a_character_in_meta_is_replaced_as_go_does(tmp_path: Path) -> None:
    odd = {"\ud800": ["\udfff", "\U0001f600"], "ID": "1-2-\ud83d"}
    found, _ = read(forge.archive(STATE, forge.meta_json(len(STATE), **odd)))
    assert found.meta["\ufffd"] == ["\ufffd", "\U0001f600"]
    assert found.meta["ID"] == "1-2-\ufffd"
    container.write(tmp_path / "again.snap", found.meta, [STATE], len(STATE))
    assert read(tmp_path / "again.snap")[0].meta == found.meta


@pytest.mark.parametrize(
    ("last", "milliseconds"),
    [
        ("1795471701682", 1_795_471_701_682),
        ("9223372036853", 9_223_372_036_853),
        ("9223372036854", 0),
        ("999999999999999", 0),
        ("9" * 5_000, 0),
        ("\u0662", 0),
        ("-1", 1),
    ],
)
def test_a_time_that_no_calendar_has_is_none(last: str, milliseconds: int) -> None:
    assert container.created_milliseconds(f"2-77-{last}") == milliseconds


# -- the tar's own structure


def damaged(data: bytes, at: int, flip: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]


def test_a_bad_later_header_is_no_end() -> None:
    """Python's tarfile stops there without a word."""
    data = forge.tar(MEMBERS)
    second = 1024  # meta.json's header and content are a block each
    assert data[second : second + 9] == b"state.bin"
    bad = damaged(data, second + 100)
    with tarfile.open(fileobj=io.BytesIO(bad)) as file:
        assert file.getnames() == ["meta.json"]
    error = refused(forge.squeeze(bad))
    assert "tar header is damaged" in error.what
    assert error.where.endswith("tar byte 1,024")


def test_a_zero_block_between_headers_is_no_end() -> None:
    members = [forge.member(*m) for m in MEMBERS]
    error = refused(forge.squeeze(members[0] + bytes(512) + members[1] + members[2] + bytes(1024)))
    assert "zero block" in error.what


@pytest.mark.parametrize("end", [100, 512, 600, 1024, 1100, 1536, 1540])
def test_a_tar_cut_short_in_a_whole_gzip_stream_is_refused(end: int) -> None:
    error = refused(forge.squeeze(forge.tar(MEMBERS)[:end]))
    assert "tar" in error.where


def test_a_negative_size_is_refused() -> None:
    block = bytearray(forge.header("meta.json", 0))
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert "size" in refused(forge.squeeze(bytes(block) + bytes(1024))).what


@pytest.mark.parametrize(
    "before",
    [
        forge.member("x", b"abc", tarfile.XHDTYPE),
        forge.member("x", b"99 a=b\n", tarfile.XHDTYPE),
        forge.member("x", b"0 a=b\n", tarfile.XHDTYPE),
        forge.member("x", b"-5 a=b\n", tarfile.XHDTYPE),
        forge.member("x", b"9" * 5_000 + b" a=b\n", tarfile.XHDTYPE),
        forge.member("x", b"5011 size=" + b"9" * 5_000 + b"\n", tarfile.XHDTYPE),
        forge.pax(size="9" * 4_000),
        forge.pax(size="-1"),
        forge.pax(size="1e3"),
        forge.pax(path="../x"),
    ],
    ids=lambda data: repr(data[512:530]),
)
def test_a_damaged_extension_header_is_a_snapshot_error(before: bytes) -> None:
    with pytest.raises(SnapshotError) as caught:
        read(forge.archive(STATE, before=before))
    assert caught.value.where


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_file_is_never_followed(kind: bytes, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(STATE)
    info = tarfile.TarInfo("state.bin")
    info.type, info.linkname = kind, str(secret)
    data = forge.member(*MEMBERS[0]) + info.tobuf(tarfile.GNU_FORMAT) + forge.member(*MEMBERS[2]) + bytes(1024)
    with pytest.raises(ArchiveError):
        read(forge.squeeze(data))


# -- limits


@pytest.mark.parametrize(
    ("limits", "data", "hint"),
    [
        (Limits(members=2), forge.archive(STATE), "more than 2 members"),
        (Limits(name=5), forge.archive(STATE), "a name of 9 bytes"),
        (Limits(document=100), forge.archive(STATE), "100 allowed"),
        (Limits(document=100), forge.archive(STATE, before=forge.pax(comment="x" * 200)), "extension headers"),
        # Some hundred KB: they took hours and all memory.
        (Limits(), forge.archive(STATE, before=forge.member("x", b"5 a=\n" * 800_000, tarfile.XHDTYPE)), "headers"),
        (Limits(), forge.archive(STATE, before=forge.pax(comment="x" * 600_000) * 2), "headers"),
        (Limits(), forge.archive(STATE, before=forge.header("x", 0, tarfile.XHDTYPE) * 3_000), "headers"),
        (Limits(), forge.squeeze(forge.tar([*MEMBERS, ("SHA256SUMS", b"a\n" * 100)])), "more than 64 lines"),
        (Limits(total=2_000), forge.archive(STATE), "more than 2,000 bytes"),
        (Limits(total=100_000), forge.archive(b"\x80" + bytes(200_000)), "more than 100,000 bytes"),
    ],
)
def test_a_limit_passed_is_said(limits: Limits, data: bytes, hint: str) -> None:
    with pytest.raises(LimitError) as caught:
        read(data, limits=limits)
    assert hint in str(caught.value)
    assert caught.value.where


def test_limits_hold_for_raft_directories_and_bare_states_too(tmp_path: Path) -> None:
    folder = raft_copy(tmp_path, "2-77-1")
    for source in (folder, STATE):
        with pytest.raises(LimitError):
            read(source, limits=Limits(total=10))
    with pytest.raises(LimitError):
        read(folder, limits=Limits(document=10))


# -- meta.json alone


@pytest.mark.parametrize("archive", ARCHIVES)
def test_meta_alone_is_that_of_the_whole_and_costs_its_beginning(archive: str) -> None:
    with path_of(archive).open("rb") as file:
        assert container.read_meta(file) == read(path_of(archive))[0].meta
    stream = io.BytesIO(path_of(archive).read_bytes())
    container.read_meta(stream)
    assert stream.tell() <= 4096


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ArchiveError),
        (STATE, ArchiveError),
        (forge.archive(STATE)[:100], ArchiveError),
        (forge.squeeze(forge.tar(MEMBERS[1:])), ArchiveError),
        (forge.squeeze(bytes(1024)), ArchiveError),
        (forge.squeeze(bytes(1023) + b"x"), ArchiveError),
        (forge.archive(STATE, b"[]"), ArchiveError),
        (forge.archive(STATE, b"{" + b" " * (17 << 20)), LimitError),
        (forge.archive(STATE, before=forge.member("x", bytes(2 << 20), tarfile.XHDTYPE)), LimitError),
        (forge.archive(STATE, before=forge.header("x", 0, tarfile.XHDTYPE) * 3_000), LimitError),
    ],
)
def test_meta_alone_is_refused_as_hostile_as_it_may_be(data: bytes, kind: type[SnapshotError]) -> None:
    with pytest.raises(kind) as caught:
        container.read_meta(io.BytesIO(data))
    assert caught.value.where


# -- raft directories


def raft_copy(above: Path, name: str, state: bytes = STATE, **changes: Any) -> Path:
    import base64

    import fastcrc

    folder = above / name
    folder.mkdir(parents=True)
    (folder / "state.bin").write_bytes(state)
    crc = base64.b64encode(fastcrc.crc64.xz(state).to_bytes(8, "big")).decode()
    meta = {**json.loads(forge.meta_json(len(state), ID=name.removesuffix(".tmp"))), "CRC": crc, **changes}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.mark.parametrize("folder", RAFT_DIRECTORIES)
def test_a_servers_own_copy_is_read_and_its_crc_checked(folder: str) -> None:
    found, state = read(DATA / folder)
    assert (found.kind, found.source, found.oddities) == ("raft directory", str(DATA / folder), ())
    assert found.meta["ID"] == folder.rpartition("/")[2]
    assert state == (DATA / folder / "state.bin").read_bytes()


@pytest.mark.parametrize("folder", RAFT_DIRECTORIES[:1])
def test_a_copy_whose_crc_differs_is_refused(folder: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(DATA / folder, copy)
    state = (copy / "state.bin").read_bytes()
    (copy / "state.bin").write_bytes(damaged(state, 5_000))
    error = refused(copy)
    assert "CRC is" in error.what
    assert str(copy) in error.where
    assert error.where.endswith("state.bin")


@pytest.mark.parametrize("below", ["", "snapshots", "raft/snapshots", "server/raft/snapshots"])
def test_the_newest_finished_copy_below_a_directory_is_read(below: str, tmp_path: Path) -> None:
    above = tmp_path / below
    for name in ("2-9-1795471701682", "2-100-1795471701000", "1-200-1795471709999", "2-100-1795471701999"):
        raft_copy(above, name)
    raft_copy(above, "3-300-1795471801682.tmp")
    found, _ = read(tmp_path)
    assert found.meta["ID"] == "2-100-1795471701999"
    assert found.source == str(above / "2-100-1795471701999")
    (oddity,) = found.oddities
    assert (oddity.check, oddity.refused) == ("archive.unfinished-copy", False)
    assert oddity.place == str(above / "3-300-1795471801682.tmp")


def test_a_copy_that_was_only_begun_is_named(tmp_path: Path) -> None:
    raft_copy(tmp_path, "2-9-1795471701682")
    begun = raft_copy(tmp_path, "2-10-1795471701683.tmp")
    (begun / "state.bin").unlink()  # Raft writes meta.json first
    found, _ = read(tmp_path)
    assert [oddity.place for oddity in found.oddities] == [str(begun)]


def test_a_directory_of_unfinished_copies_is_refused_and_they_are_named(tmp_path: Path) -> None:
    raft_copy(tmp_path, "2-9-1795471701682.tmp")
    error = refused(tmp_path, SourceError)
    assert "2-9-1795471701682.tmp" in error.what
    assert error.where == str(tmp_path)


def test_a_directory_without_a_snapshot_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    error = refused(tmp_path, SourceError)
    assert "holds no snapshot" in error.what
    assert "meta.json and state.bin" in error.advice
    (tmp_path / "monday.snap").touch()
    assert "it is archives that it holds: name one" in refused(tmp_path, SourceError).advice


def test_a_copy_whose_size_or_meta_differs_is_refused_by_place(tmp_path: Path) -> None:
    raft_copy(tmp_path, "2-9-1795471701682", Size=5)
    error = refused(tmp_path)
    assert "Size says 5" in error.what
    assert error.where == f"{tmp_path}: 2-9-1795471701682: meta.json"


# -- the inflated stream against another implementation


def test_gzip_is_checked_to_the_last_byte() -> None:
    data = forge.archive(STATE)
    for i in range(1, 9):  # CRC-32 and length
        with pytest.raises(ArchiveError):
            read(damaged(data, len(data) - i))


def test_names_comments_and_header_checksums_in_gzip_are_read() -> None:
    out = io.BytesIO()
    with gzip.GzipFile(filename="state.tar", mode="wb", fileobj=out, mtime=1) as file:
        file.write(forge.tar(MEMBERS))
    assert read(out.getvalue())[1] == STATE


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of open files")
def test_no_file_or_thread_is_left_after_an_error(tmp_path: Path) -> None:
    import threading

    path = tmp_path / "a.snap"
    path.write_bytes(forge.archive(STATE)[:-9])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        refused(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    left = [thread for thread in threading.enumerate() if thread.name.startswith("snapkit")]
    for thread in left:  # told to end, and not waited for
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)
