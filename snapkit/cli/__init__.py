"""The command: each subcommand calls one function of the library.

Results go to stdout, progress and errors to stderr. Exit status: 0 it did what was asked; 1 what was asked for is there
to act on (`verify`: findings; `diff`: differences); 2 it could not.
Only what a subcommand needs is imported, so that it answers at once.
"""

from __future__ import annotations

from snapkit.cli import (  # noqa: F401 - they register subcommands
    cluster,
    diff,
    fleet,
    history,
    lab,
    read,
    recover,
    redact,
    report,
    restore,
    sizes,
    timeline,
    verify,
    who,
)
from snapkit.cli.app import main

__all__ = ["main"]
