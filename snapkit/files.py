"""Files written whole or not at all: 0600, under a temporary name, flushed, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from snapkit.errors import SourceError, TargetExistsError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def refuse_existing(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Raise TargetExistsError if there is something at `path` and it may not be replaced, SourceError if it never is:
    a folder, device or pipe."""
    if not overwrite and os.path.lexists(path):
        raise TargetExistsError(
            "is there already", str(path), "name another file, or replace it: --overwrite, in Python overwrite=True"
        )
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - no error for what no name is
        raise SourceError("is no file that could be replaced", str(path), "name another file")


@contextmanager
def atomic(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[BinaryIO]:
    """A binary file, mode 0600, that appears at `path` when the block ends without an error.

    Nothing is left behind otherwise, Ctrl-C included.

    Raises:
        TargetExistsError: `path` is there and `overwrite` is false (also if it appeared meanwhile).
        SourceError: the folder can't be written to, or is full.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    with temporary_name(path) as temporary:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path, overwrite)


@contextmanager
def temporary_name(path: Path) -> Iterator[Path]:
    """An empty file, mode 0600, beside `path`, for a library that wants a name; deleted when the block ends."""
    temporary = path.parent / f".snapkit-{secrets.token_hex(8)}.tmp"
    try:
        _make(temporary, path)
        yield temporary
    except OSError as error:
        if error.errno in _FULL and error.filename in (None, str(temporary)):
            advice = "make room there, and where temporary files are (TMPDIR)"
            raise SourceError(f"can't be written ({error.strerror})", str(path), advice) from error
        raise
    finally:  # also of Ctrl-C while it is made
        with suppress(OSError):
            temporary.unlink()


def _make(temporary: Path, path: Path) -> None:
    try:
        os.lstat(path)  # or ValueError tells that no file can have such a name
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise _unwritable(error, path) from error
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise _unwritable(error, path) from error


def _unwritable(error: Exception, path: Path) -> SourceError:
    reason = getattr(error, "strerror", None) or str(error)
    return SourceError(f"can't be written ({reason})", str(path), "choose a name and a folder that you may write to")


def publish(temporary: Path, path: Path, overwrite: bool = False) -> None:
    """Give a finished temporary file its name. Without `overwrite`, fails if the name was taken meanwhile.

    Raises:
        TargetExistsError: `path` is there and `overwrite` is false.
        SourceError: What is there is no file.
    """
    if overwrite:
        refuse_existing(path, overwrite)
        temporary.replace(path)
    else:
        try:
            os.link(temporary, path)  # unlike a rename, refuses to replace
        except FileExistsError:
            refuse_existing(path, overwrite)
        except OSError:  # a file system without hard links
            refuse_existing(path, overwrite)
            temporary.replace(path)
    with suppress(OSError):  # the name is safe only when its folder is on disk; not all can be read, or flushed
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
