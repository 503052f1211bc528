"""Whatever goes wrong: one line on stderr, exit status 2, nothing on stdout, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests import forge

from ..conftest import path_of
from . import command, environment, failed, run, spawn

MONDAY = path_of("v2.0.5/monday")
STATE = forge.state(forge.record(2, {"Key": "jobs", "Value": 7}), forge.record(0, {"ID": "n1", "Name": "client1"}))
MEMBERS = forge.members(STATE)
READERS = [["inspect"], ["inspect", "--json"], ["show"], ["search", "TEXT"], ["export", "DEST"]]

#: What is wrong -> the file's bytes, and what is said of it.
DAMAGED: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "the file is empty"),
    "no gzip": (b"hello" * 100, "it begins with 68 65 6c 6c"),
    "an HTML page": (b"<!DOCTYPE html><html>502 Bad Gateway</html>", "it looks like HTML"),
    "JSON": (b'{"errors": ["permission denied"]}', "it looks like JSON"),
    "a tar that is not gzipped": (forge.tar(MEMBERS), "a tar that is not gzipped"),
    "a truncated download": (MONDAY.read_bytes()[:20_000], "the file was cut short: fetch it again"),
    "gzip's header alone": (MONDAY.read_bytes()[:10], "the file was cut short: fetch it again"),
    "an extra member": (forge.squeeze(forge.tar([*MEMBERS, ("../../etc/passwd", b"x")])), "passwd"),
    "a hash that differs": (
        forge.squeeze(forge.tar([MEMBERS[0], ("state.bin", STATE[:-1] + b"2"), MEMBERS[2]])),
        "state.bin",
    ),
    "a Size that differs": (forge.archive(STATE, forge.meta_json(len(STATE) + 1)), "state.bin"),
    "a state.bin that ends inside a record": (forge.archive(STATE[:-3]), "state.bin"),
    "a state.bin without its header": (forge.archive(b"\x00" + STATE), "state.bin"),
    "a meta.json that is no JSON": (forge.archive(STATE, b"{"), "meta.json"),
    "no meta.json": (forge.squeeze(forge.tar(MEMBERS[1:])), "meta.json"),
}


def without_a_result(subcommand: list[str], file: object, folder: Path, **kwargs: Any) -> str:
    """The line of a subcommand that fails on a file."""
    first, *rest = [str(folder / "out.sqlite") if word == "DEST" else word for word in subcommand]
    options = [word for word in rest if word.startswith("--")]
    line = failed(run(first, *options, file, *(word for word in rest if word not in options), **kwargs))
    assert not (folder / "out.sqlite").exists()
    return line


@pytest.mark.parametrize("subcommand", READERS, ids=" ".join)
@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_one_line(what: str, subcommand: list[str], tmp_path: Path) -> None:
    content, said = DAMAGED[what]
    path = tmp_path / "some.snap"
    path.write_bytes(content)
    line = without_a_result(subcommand, path, tmp_path)
    assert line.startswith(f"snapkit: {path}: ")
    assert said in line
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("subcommand", READERS, ids=" ".join)
@pytest.mark.parametrize(
    "name", ["missing.snap", "folder", "some.snap/below", "\0", "file:///no/such/file", "bogus://x"]
)
def test_where_there_is_nothing_to_read_is_one_line(name: str, subcommand: list[str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "some.snap").write_bytes(MONDAY.read_bytes())
    line = without_a_result(subcommand, name if "://" in name else tmp_path / name, tmp_path)
    assert name.partition("\0")[0] in line
    assert "; " in line, "it says what to do"


def test_a_file_without_permission_is_one_line(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "x.snap").write_bytes(MONDAY.read_bytes())
    (tmp_path / "x.snap").chmod(0)
    assert "Permission denied" in without_a_result(["inspect"], tmp_path / "x.snap", tmp_path)


@pytest.mark.parametrize("what", ["an empty file", "no gzip", "a truncated download"])
def test_standard_input_fails_alike(what: str, tmp_path: Path) -> None:
    content, said = DAMAGED[what]
    assert said in without_a_result(["inspect"], "-", tmp_path, stdin=content)


def test_a_process_fails_alike(tmp_path: Path) -> None:
    """As all other tests see it, too: a line and a status, and no word of Python's."""
    for content, said in DAMAGED.values():
        (tmp_path / "some.snap").write_bytes(content)
        assert said in failed(run("inspect", tmp_path / "some.snap"))
    ran = spawn("inspect", tmp_path / "missing.snap")
    assert "missing.snap" in failed(ran)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["inspect"],
        ["inspect", "--bogus", "x"],
        ["inspect", "x", "y"],
        ["show", "x", "jobs", "--limit", "many"],
        ["export", "x"],
        ["--bogus"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_tells_the_usage(arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("Usage: snapkit")
    assert "Error: " in ran.err
    assert "Traceback" not in ran.err


# -- bombs

PIECE = 64 << 20


def bomb(path: Path, size: int) -> None:
    """An archive whose state.bin is that many bytes, nearly all of them zeros, in a thousandth of them."""
    state = tarfile.TarInfo("state.bin")
    state.size = size
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = deflate.compress(forge.member("meta.json", forge.meta_json(size)) + state.tobuf(tarfile.GNU_FORMAT))
    start += deflate.compress(b"\x80") + deflate.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the same bytes deflate to the same, so that one piece will do for all.
    record = forge.record(0, b"\xdb" + (PIECE - 6).to_bytes(4, "big") + bytes(PIECE - 6))
    piece = deflate.compress(record) + deflate.flush(zlib.Z_FULL_FLUSH)
    with path.open("wb") as file:
        file.write(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + start)
        for _ in range(size // PIECE):
            file.write(piece)


@pytest.mark.parametrize("subcommand", ["inspect", "show"])
def test_a_bomb_is_not_let_off(subcommand: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.snap"
    bomb(path, 10 << 30)
    assert 9 << 20 < path.stat().st_size < 11 << 20
    line = failed(spawn(subcommand, path, memory=2 << 30))
    assert "as a bomb does" in line


# -- the terminal is not driven by names and bytes of others


@pytest.mark.parametrize("name", ["\x1b[31mred", "two\nlines", "\x9b2J", "bell\x07\r", "\u202eto", "\udcff"])
@pytest.mark.parametrize("subcommand", [["inspect"], ["show"]], ids=" ".join)
def test_control_characters_in_a_file_name_are_not_printed(name: str, subcommand: list[str], tmp_path: Path) -> None:
    without_a_result(subcommand, tmp_path / name, tmp_path)
    (tmp_path / name).write_bytes(b"<html>")
    without_a_result(subcommand, tmp_path / name, tmp_path)
    (tmp_path / name).write_bytes(MONDAY.read_bytes() + b"more")
    ran = run(*subcommand, tmp_path / name)
    assert ran.status == 0
    assert all(c.isprintable() or c == "\n" for c in ran.out + ran.err)


def test_control_characters_in_a_damaged_archive_are_not_printed(tmp_path: Path) -> None:
    evil = "\x1b[31mx\x07"
    cases = [
        forge.squeeze(forge.tar([*MEMBERS, (evil, b"x")])),
        forge.squeeze(forge.tar([*MEMBERS[:2], ("SHA256SUMS", MEMBERS[2][1] + b"0" * 64 + b"  " + evil.encode())])),
        forge.archive(STATE, forge.meta_json(len(STATE), Size=evil)),
        forge.archive(STATE, forge.meta_json(len(STATE), Version=evil)),
        f"{evil}\n{evil}".encode(),
    ]
    for content in cases:
        (tmp_path / "evil.snap").write_bytes(content)
        failed(run("inspect", tmp_path / "evil.snap"))


# -- output that can't be written

PRINTING = [
    ["inspect", MONDAY],
    ["inspect", "--json", MONDAY],
    ["show", MONDAY],
    ["show", MONDAY, "jobs", "--json"],
    ["show", MONDAY, "jobs", "shop", "web"],
    ["search", MONDAY, "web"],
    ["demo"],
    ["--version"],
    ["--help"],
]
several = pytest.mark.parametrize("arguments", PRINTING, ids=lambda words: " ".join(Path(str(w)).name for w in words))


@several
def test_a_reader_that_goes_away_is_no_error(arguments: list[object]) -> None:
    there, here = os.pipe()
    os.close(there)
    try:
        ran = spawn(*arguments, stdout=here)
    finally:
        os.close(here)
    assert (ran.status, ran.err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@several
def test_a_full_disk_is_one_line(arguments: list[object]) -> None:
    with Path("/dev/full").open("wb") as full:
        assert "No space left on device" in failed(spawn(*arguments, stdout=full))


def test_head_gets_its_line(tmp_path: Path) -> None:
    script = 'set -o pipefail; "$@" | head -1'
    words = ["bash", "-c", script, "bash", *command("show", MONDAY, "jobs", "--json")]
    done = subprocess.run(words, capture_output=True, env=environment(), timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"[\n", b"")


# -- Ctrl-C


@pytest.mark.parametrize("subcommand", [["inspect"], ["show"], ["export", "DEST"]], ids=" ".join)
def test_ctrl_c_ends_a_read_that_would_never_end(subcommand: list[str], tmp_path: Path) -> None:
    folders = [tmp_path / "tmp", tmp_path / "out"]
    for folder in folders:
        folder.mkdir()
    first, *rest = [str(folders[1] / "out.sqlite") if word == "DEST" else word for word in subcommand]
    data = forge.archive(forge.state(forge.record(0, {"ID": "n", "Name": os.urandom(2 << 20)})))
    process = subprocess.Popen(
        command(first, "-", *rest),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=folders[0]),
        cwd=folders[1],
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    try:
        process.stdin.write(data[: 1 << 20])  # more than a pipe holds, so when this returns the reading is under way
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"snapkit: interrupted\n")
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    assert [list(folder.iterdir()) for folder in folders] == [[], []]
