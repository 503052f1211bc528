"""A private copy of the course, and its reset: nobody's work is ever overwritten or deleted."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from snapkit.errors import SnapshotError, SourceError
from snapkit.files import atomic
from snapkit.jupyter.lab import shared
from snapkit.jupyter.training.exercises import PLANS
from snapkit.jupyter.training.learner import FILES, PROGRESS, Progress, is_copy, lay_out, now

FIRST_PAGE = "00-start-here.ipynb"
OLD = "old"


def prepare_training(folder: str | os.PathLike[str]) -> Path:
    """A private copy of the course in `folder`, without solutions. What is there already is left alone.

    Returns:
        The course's first page.

    Raises:
        SourceError: The folder can't be made or written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _notebooks():
            _copy(name, folder)
        for number in PLANS:
            lay_out(folder, number)
        if not (folder / PROGRESS).exists():
            Progress(folder / PROGRESS).write({})
    except OSError as error:
        advice = "choose a folder that you may write to"
        raise SourceError(f"can't be written ({error.strerror})", str(folder), advice) from error
    return folder / FIRST_PAGE


def _notebooks() -> list[str]:
    return sorted(path.name for path in (shared("notebooks") / "training").glob("*.ipynb"))


def _copy(name: str, folder: Path) -> None:
    if not (folder / name).exists():
        with atomic(folder / name) as file:
            file.write((shared("notebooks") / "training" / name).read_bytes())


@dataclass(frozen=True)
class Reset:
    """What a reset did.

    Attributes:
        numbers: The exercises that are as new.
        moved: What was set aside, below the folder.
        place: Where it is now; None if there was nothing to set aside.
    """

    numbers: tuple[int, ...]
    moved: tuple[str, ...]
    place: Path | None


def reset_training(folder: str | os.PathLike[str], number: int | None = None) -> Reset:
    """Make one exercise, or all, as they were at first. A learner's notebooks, files and progress are moved to `old/`.

    Raises:
        SourceError: The folder is no copy of the course, or can't be written to.
        SnapshotError: There is no exercise of this number.
    """
    folder = Path(folder)
    if not is_copy(folder):
        raise SourceError("is no copy of the course", str(folder), "`snapkit lab --training` makes one")
    if number is not None and number not in PLANS:
        raise SnapshotError("is none", f"exercise {number!r:.20}", f"they go from 1 to {len(PLANS)}")
    numbers = tuple(PLANS) if number is None else (number,)
    try:
        moved, place = _set_aside(folder, numbers, all_of_it=number is None)
        prepare_training(folder)
    except OSError as error:
        raise SourceError(f"can't be reset ({error.strerror})", str(folder), "check its mode") from error
    return Reset(numbers, moved, place)


def _set_aside(folder: Path, numbers: tuple[int, ...], all_of_it: bool) -> tuple[tuple[str, ...], Path | None]:
    progress = Progress(folder / PROGRESS)
    known = progress.read()
    names = [PLANS[number].notebook for number in numbers] + ([FIRST_PAGE] if all_of_it else [])
    paths = [folder / name for name in names if _is_changed(folder / name)]
    paths += [folder / FILES / str(number) for number in numbers if (folder / FILES / str(number)).exists()]
    begun = [number for number in numbers if known.get(str(number))]
    if not paths and not begun:
        return (), None
    place = _fresh(folder / OLD / f"{now():%Y%m%dT%H%M%SZ}")
    shutil.copyfile(folder / PROGRESS, place / PROGRESS)
    for path in paths:
        target = place / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    progress.write({key: entry for key, entry in known.items() if key not in {str(number) for number in numbers}})
    return tuple(str(path.relative_to(folder)) for path in paths), place


def _is_changed(path: Path) -> bool:
    original = shared("notebooks") / "training" / path.name
    return path.exists() and not (original.exists() and path.read_bytes() == original.read_bytes())


def _fresh(place: Path) -> Path:
    """A new folder, by this name or, if that is taken, with a number behind it."""
    number = 0
    while True:
        candidate = place.with_name(f"{place.name}-{number}") if number else place
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return candidate
