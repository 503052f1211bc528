"""Writing an archive that a real server restores, or nothing at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapkit.errors import ArchiveError, SourceError, TargetExistsError
from snapkit.format import archive as container
from tests import forge

from ..conftest import ARCHIVES, DATA, RAFT_DIRECTORIES, path_of
from .test_archive import META, STATE, Kept, read


def write(target: Path, state: bytes = STATE, **kwargs: bool) -> bytes:
    container.write(target, json.loads(META), [state], len(state), **kwargs)
    return target.read_bytes()


@pytest.mark.parametrize("archive", ARCHIVES)
def test_what_is_read_and_written_is_what_go_wrote(archive: str, tmp_path: Path) -> None:
    """The same bytes in the tar, but for the time of its members and the order of the sums."""
    original = path_of(archive).read_bytes()
    kept = Kept()
    found = container.read(path_of(archive), kept)
    container.write(tmp_path / "b.snap", found.meta, [kept.data[:1000], kept.data[1000:]], len(kept.data))
    written = (tmp_path / "b.snap").read_bytes()

    again, state = read(tmp_path / "b.snap")
    assert (state, again.meta, again.oddities) == (kept.data, found.meta, ())

    def told(data: bytes) -> list[object]:
        tar = gzip.decompress(data)
        headers = [
            bytearray(tar[tar.index(name) :][:512]) for name in (b"meta.json\0", b"state.bin\0", b"SHA256SUMS\0")
        ]
        for header in headers:
            header[136:156] = b""  # mtime and, as it follows from it, the checksum
        contents = [sorted(content.splitlines()) for _, content in forge.untar(data)]
        return [written[:10], len(tar), headers, contents, tar[-1024:] == bytes(1024)]

    assert told(written) == told(original)


def test_the_layout_is_gos_to_the_byte(tmp_path: Path) -> None:
    data = write(tmp_path / "a.snap")
    assert data[:10] == bytes.fromhex("1f8b08000000000000ff")
    inflater = zlib.decompressobj(31)
    tar = inflater.decompress(data)
    assert inflater.eof
    assert inflater.unused_data == b"", "one gzip member, nothing after it"
    members = forge.untar(data)
    assert [info.name for info, _ in members] == ["meta.json", "state.bin", "SHA256SUMS"]
    assert {(info.mode, info.uid, info.gid, info.uname, info.type) for info, _ in members} == {(0o600, 0, 0, "", b"0")}
    end = sum(512 + -(-len(content) // 512) * 512 for _, content in members)
    assert tar[end:] == bytes(1024), "exactly two zero blocks"
    meta, state, sums = (content for _, content in members)
    assert (meta, state) == (META, STATE)
    assert meta.endswith(b"}\n")
    lines = {line.split("  ")[1]: line.split("  ")[0] for line in sums.decode().splitlines()}
    assert lines == {"meta.json": hashlib.sha256(meta).hexdigest(), "state.bin": hashlib.sha256(state).hexdigest()}
    assert sums.endswith(b"\n")
    assert (tmp_path / "a.snap").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "a.snap"]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1_000_000])
def test_a_state_of_any_size_is_read_back(size: int, tmp_path: Path) -> None:
    state = b"\x80" * size
    write(tmp_path / "a.snap", state)
    assert read(tmp_path / "a.snap")[1] == state


@pytest.mark.parametrize("size", [0, 1, 512, 1_000_000, 3 << 20])
def test_a_state_whose_size_is_not_known_ahead_is_the_same_tar(size: int, tmp_path: Path) -> None:
    """One gzip member too, whose CRC-32 is made of those of its parts."""
    state = random.Random(size).randbytes(size)
    pieces = (state[i : i + 100_000] for i in range(0, size, 100_000))
    container.write(tmp_path / "b.snap", json.loads(META), pieces)
    inflater = zlib.decompressobj(31)
    tar = inflater.decompress((tmp_path / "b.snap").read_bytes())
    assert inflater.eof
    assert inflater.unused_data == b""
    assert tar == gzip.decompress(write(tmp_path / "a.snap", state))


@pytest.mark.parametrize("folder", RAFT_DIRECTORIES[:1])
def test_an_archive_made_from_a_servers_own_copy_has_no_crc(folder: str, tmp_path: Path) -> None:
    found, state = read(DATA / folder)
    container.write(tmp_path / "a.snap", found.meta, [state], len(state))
    again, _ = read(tmp_path / "a.snap")
    assert "CRC" in found.meta
    assert again.meta == {k: v for k, v in found.meta.items() if k != "CRC"}


def test_size_is_set_to_what_was_written(tmp_path: Path) -> None:
    container.write(tmp_path / "a.snap", {"ID": "1-1-1", "Size": 5}, [STATE], len(STATE))
    assert read(tmp_path / "a.snap")[0].meta["Size"] == len(STATE)


def test_members_carry_the_time_of_the_snapshot(tmp_path: Path) -> None:
    assert {info.mtime for info, _ in forge.untar(write(tmp_path / "a.snap"))} == {1_795_471_701}


@pytest.mark.parametrize("snapshot_id", ["", "x", "1-1-", "1-1-abc", "2-77-" + "9" * 15, "2-77-" + "9" * 400, "1-1-²"])
def test_an_id_without_a_sound_time_is_written_all_the_same(snapshot_id: str, tmp_path: Path) -> None:
    container.write(tmp_path / "a.snap", {"ID": snapshot_id}, [STATE], len(STATE))
    assert read(tmp_path / "a.snap")[1] == STATE


def test_it_refuses_to_overwrite_unless_told(tmp_path: Path) -> None:
    target = tmp_path / "a.snap"
    target.write_bytes(b"precious")
    with pytest.raises(TargetExistsError) as caught:
        write(target)
    assert caught.value.where == str(target)
    assert caught.value.advice
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]
    write(target, overwrite=True)
    assert read(target)[1] == STATE
    assert target.stat().st_mode & 0o777 == 0o600


def test_it_refuses_to_write_through_a_dangling_link(tmp_path: Path) -> None:
    link = tmp_path / "a.snap"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TargetExistsError):
        write(link)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "a.snap"

    def pieces() -> Iterator[bytes]:
        target.write_bytes(b"precious")
        yield STATE

    with pytest.raises(TargetExistsError):
        container.write(target, {}, pieces(), len(STATE))
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_can_not_be_written_to_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        write(tmp_path / "none" / "a.snap")


@pytest.mark.parametrize("claimed", [len(STATE) - 1, len(STATE) + 1])
def test_a_state_of_another_size_is_refused_and_leaves_nothing(claimed: int, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="announced"):
        container.write(tmp_path / "a.snap", {}, [STATE], claimed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError, SystemExit])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_left_behind_when_writing_is_broken_off(
    error: type[BaseException], overwrite: bool, tmp_path: Path
) -> None:
    if overwrite:
        (tmp_path / "a.snap").write_bytes(b"precious")

    def pieces() -> Iterator[bytes]:
        yield STATE[:5]
        raise error

    with pytest.raises(error):
        container.write(tmp_path / "a.snap", {}, pieces(), len(STATE), overwrite=overwrite)
    assert [p.name for p in tmp_path.iterdir()] == (["a.snap"] if overwrite else [])
    if overwrite:
        assert (tmp_path / "a.snap").read_bytes() == b"precious"


def test_a_long_name_that_the_file_system_takes_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("a" * 250 + ".snap")
    write(target)
    assert read(target)[1] == STATE
