"""lab and demo: snapkit on the archives that come with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from snapkit.cli.app import app
from snapkit.errors import SnapshotError


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where your copy goes: snapkit-lab; the course's: snapkit-training, or the one you are in."),
    ] = None,
    training: Annotated[bool, typer.Option("--training", help="The course: exercises that check the answers.")] = False,
    reset: Annotated[
        str | None,
        typer.Option(help="With --training: an exercise's number, or `all`: as new; what you did is moved to old/."),
    ] = None,
) -> None:
    """JupyterLab on your own copy of the notebooks; further arguments are JupyterLab's."""
    from snapkit.jupyter import lab_command, lab_environment, prepare_lab

    if reset is not None and not training:
        raise SnapshotError("is for the course", "--reset", "add --training")
    if training:
        from snapkit.jupyter.training import is_copy, prepare_training

        folder = folder or (Path() if is_copy(Path()) else Path("snapkit-training"))
        if reset is not None:
            _reset(folder, reset)
            return
        first, told = prepare_training(folder), f"Your course is in {folder}"
    else:
        folder = folder or Path("snapkit-lab")
        first, told = prepare_lab(folder), f"Your notebooks are in {folder}/notebooks"
    command = lab_command(first, context.args)
    print(f"{told}. Ctrl-C twice ends JupyterLab.", file=sys.stderr)
    os.execve(command[0], command, lab_environment())


def _reset(folder: Path, which: str) -> None:
    """Say what was set aside, and where."""
    from snapkit.jupyter.training import reset_training

    if which != "all" and not (which.isascii() and which.isdigit()):
        raise SnapshotError(f"is {which!r:.40}", "--reset", "give the number of an exercise, or `all`")
    done = reset_training(folder, None if which == "all" else int(which))
    numbers = ", ".join(map(str, done.numbers))
    print(f"As new: {'exercise' if len(done.numbers) == 1 else 'exercises'} {numbers}.")
    if done.place is not None:
        print(f"What you did is in {done.place}; close its notebook in JupyterLab and open it anew.")


@app.command()
def demo() -> None:
    """The main job end to end on a snapshot that comes with snapkit."""
    from snapkit.demo import run

    run()
