"""The command itself: how it begins, how it ends, and what it says when it can't."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from snapkit.cli.output import one_line
from snapkit.errors import SnapshotError
from snapkit.version import __version__

#: As `--help` lists them; what is not here comes last.
ORDER = (
    *("inspect", "show", "search", "export", "verify", "diff", "timeline", "who", "sizes", "report"),
    *("redact", "save", "restore", "recover", "serve", "fleet", "lab", "demo"),
)


@contextmanager
def _endings() -> Iterator[None]:
    """How Ctrl-C and a reader that went away (`snapkit show … | head`) end the process."""
    try:
        yield
    except KeyboardInterrupt:
        print("snapkit: interrupted", file=sys.stderr, flush=True)
        os._exit(130)  # not sys.exit: a thread may hang in a read from a pipe; temporary files are gone by now
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(0)


def _discard_stdout() -> None:
    """What could not be written is not tried again as the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Commands(TyperGroup):
    """Ends as we want it, before typer sees why and exits in its own ways."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each with its whole first sentence, in as many lines as it takes."""
        rows = [
            (name, command.get_short_help_str(limit=200))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _endings():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _endings():
            return super().invoke(ctx)


app = typer.Typer(
    name="snapkit",
    cls=_Commands,
    help="Explore and verify Nomad snapshot archives.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command; whatever goes wrong with input is one line on stderr and exit status 2."""
    try:
        with _endings():
            try:
                app(prog_name="snapkit")
            except SystemExit:
                sys.stdout.flush()  # a full disk is told of here, and not as the process ends
                raise
    except SnapshotError as error:
        _fail(str(error))
    except OSError as error:
        _discard_stdout()
        _fail(
            f"{error.filename or 'input or output'}: {error.strerror or error}; check the path, its mode and the disk"
        )


def _fail(message: str) -> None:
    print(f"snapkit: {one_line(message)}", file=sys.stderr)
    sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"snapkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


# -- subcommands
