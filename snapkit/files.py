"""Files written whole or not at all: 0600, under a temporary name, flushed, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from snapkit.errors import SourceError, TargetExistsError


def refuse_existing(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Raise TargetExistsError if there is something at `path` and it may not be replaced."""
    if not overwrite and os.path.lexists(path):
        raise TargetExistsError(
            "is there already", str(path), "name another file, or replace it: --overwrite, in Python overwrite=True"
        )


@contextmanager
def atomic(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[BinaryIO]:
    """A binary file, mode 0600, that appears at `path` when the block ends without an error.

    Nothing is left behind otherwise, Ctrl-C included.

    Raises:
        TargetExistsError: `path` is there and `overwrite` is false (also if it appeared meanwhile).
        SourceError: the folder can't be written to.
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
    try:
        handle, name = tempfile.mkstemp(prefix=".snapkit-", suffix=".tmp", dir=path.parent)
    except OSError as error:
        advice = "choose a folder that you may write to"
        raise SourceError(f"can't be written ({error.strerror})", str(path), advice) from error
    os.close(handle)
    try:
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def publish(temporary: Path, path: Path, overwrite: bool = False) -> None:
    """Give a finished temporary file its name. Without `overwrite`, fails if the name was taken meanwhile."""
    if overwrite:
        temporary.replace(path)
    else:
        try:
            os.link(temporary, path)  # unlike a rename, refuses to replace
        except FileExistsError:
            refuse_existing(path, overwrite)
        except OSError:  # a file system without hard links
            refuse_existing(path, overwrite)
            temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name is safe only when its folder is on disk
    finally:
        os.close(folder)
