"""Files that are whole or not there: whatever stands at their place, and however their making ends."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from snapkit.errors import SourceError, TargetExistsError
from snapkit.files import atomic, temporary_name


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


MAKE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": bound,
    "a device": lambda path: path.symlink_to("/dev/null"),
    "a link to a folder": lambda path: path.symlink_to("."),
}


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_never_replaced(kind: str, overwrite: bool, tmp_path: Path) -> None:
    """Root would have a file for its /dev/null."""
    target = tmp_path / "out"
    MAKE[kind](target)
    before = target.lstat()
    with pytest.raises(SourceError if overwrite else TargetExistsError), atomic(target, overwrite) as file:
        file.write(b"new")
    assert target.lstat() == before
    assert names(tmp_path) == ["out"]


def test_a_folder_that_appears_meanwhile_is_left(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(SourceError, match="is no file"), atomic(target, True):
        target.mkdir()
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_is_said_with_the_name_that_was_given(code: int, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(SourceError) as caught, atomic(target):
        raise OSError(code, os.strerror(code))
    assert caught.value.where == str(target)
    assert os.strerror(code) in caught.value.what
    assert names(tmp_path) == []


def test_an_error_about_another_file_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="other") as caught, atomic(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "full", "other")
    assert not isinstance(caught.value, SourceError)
    assert names(tmp_path) == []


def test_interrupted_as_it_is_made_nothing_is_left(tmp_path: Path) -> None:
    made = os.open

    def interrupted(*args: object) -> int:
        os.close(made(*args))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        mock.patch("os.open", interrupted),
        temporary_name(tmp_path / "out"),
    ):
        raise AssertionError
    assert names(tmp_path) == []


def test_a_folder_that_can_not_be_flushed_is_no_error(tmp_path: Path) -> None:
    """The file is there by then."""
    made = os.open

    def refused(path: str, flags: int, *mode: int) -> int:
        if os.path.isdir(path):  # noqa: PTH112
            raise PermissionError(errno.EACCES, "no", path)
        return made(path, flags, *mode)

    with mock.patch("os.open", refused), atomic(tmp_path / "out") as file:
        file.write(b"new")
    assert (tmp_path / "out").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["a\0b", "missing/out", "a" * 300])
def test_a_name_that_no_file_can_have_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="can't be written"), atomic(tmp_path / name):
        raise AssertionError
    assert names(tmp_path) == []


def test_whatever_the_umask_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with atomic(tmp_path / "out") as file:
            assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
