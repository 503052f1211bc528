"""lab and demo: snapkit on the archives that come with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from snapkit.cli.app import app


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where your copy of notebooks and data goes.")] = Path("snapkit-lab"),
) -> None:
    """JupyterLab on your own copy of the notebooks; further arguments are JupyterLab's."""
    from snapkit.jupyter import lab_command, lab_environment, prepare_lab

    command = lab_command(prepare_lab(folder), context.args)
    print(f"Your notebooks are in {folder}/notebooks. Ctrl-C twice ends JupyterLab.", file=sys.stderr)
    os.execve(command[0], command, lab_environment())


@app.command()
def demo() -> None:
    """The main job end to end on a snapshot that comes with snapkit."""
    from snapkit.demo import run

    run()
