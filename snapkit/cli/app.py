"""The command itself: how it begins, how it ends, and what it says when it can't."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from snapkit.cli.output import one_line
from snapkit.errors import SnapshotError
from snapkit.version import __version__

F = TypeVar("F", bound=Callable[..., Any])

#: As `--help` lists them; what is not here comes last.
ORDER = {
    "Look into a snapshot": ("inspect", "show", "search", "sizes", "report", "export"),
    "Check it": ("verify",),
    "Investigate": ("diff", "timeline", "who"),
    "Hand it on": ("redact",),
    "Clusters": ("save", "recover", "restore", "serve"),
    "Many archives": ("fleet",),
    "Learn": ("demo", "lab"),
}
OTHERS = "More"

#: What a value is called in `--help` where nothing else is said of it.
WORDS = {"str": "TEXT", "path": "PATH", "int": "NUMBER", "float": "NUMBER"}


class Ended(KeyboardInterrupt):
    """A signal asks to end: as for Ctrl-C, nothing that was begun is left behind."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _signals() -> Iterator[None]:
    """Be told to end (SIGTERM), or that the terminal is gone (SIGHUP), and not just stopped; once."""

    def end(number: int, frame: object) -> None:
        for other in caught:
            signal.signal(other, signal.SIG_IGN)
        raise Ended(number)

    here = threading.current_thread() is threading.main_thread()
    asked = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if here and hasattr(signal, name)]
    caught = [number for number in asked if signal.getsignal(number) is signal.SIG_DFL]  # under nohup, one is ignored
    for number in caught:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _endings() -> Iterator[None]:
    """How Ctrl-C, other signals and a reader that went away (`snapkit show … | head`) end the process."""
    try:
        yield
    except KeyboardInterrupt as error:
        traceback.clear_frames(error.__traceback__)  # what is open in them is closed, and its file gone
        with suppress(OSError):  # of a terminal that is gone
            print("snapkit: interrupted", file=sys.stderr, flush=True)
        number = error.number if isinstance(error, Ended) else signal.SIGINT
        os._exit(128 + number)  # not sys.exit: a thread may hang in a read from a pipe; temporary files are gone by now
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(0)


def _discard_stdout() -> None:
    """What could not be written is not tried again as the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    """Arguments and options, by what a person types, and nothing of Python's types."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        is_argument = isinstance(param, TyperArgument)
        if param.metavar is None and not param.type_descriptor.is_choice:
            kind = param.bare_type().removeprefix("list[").removesuffix("]").removesuffix(" range").lower()
            param.metavar = param.name.upper() if is_argument else WORDS.get(kind)
        if (record := param.get_help_record(ctx)) is not None:
            name = param.display_name_raw if is_argument else record[0]
            sections["Arguments" if is_argument else "Options"].append((name, record[1]))
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


class Command(TyperCommand):
    """A subcommand, which says of itself how it is called."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = [self.options_metavar] if self.options_metavar else []
        for argument in (param for param in self.params if isinstance(param, TyperArgument)):
            name = (argument.metavar or argument.name.upper()) + ("..." if argument.nargs != 1 else "")
            pieces.append(name if argument.required else f"[{name}]")
        return pieces

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_parameters(self, ctx, formatter)


class App(typer.Typer):
    """A command with subcommands."""

    def command(self, name: str | None = None, *, examples: Sequence[str] = (), **options: Any) -> Callable[[F], F]:
        """As typer's; `examples` are told by `--help`, without the word `snapkit` that each begins with."""
        lines = "\n".join(f"  $ snapkit {example}" for example in examples)
        epilog = f"\b\nFor example:\n{lines}" if examples else None
        return super().command(name, cls=Command, epilog=epilog, **options)


class _Commands(TyperGroup):
    """Ends as we want it, before typer sees why and exits in its own ways."""

    def list_commands(self, ctx: Any) -> list[str]:
        ordered = [name for names in ORDER.values() for name in names]
        return sorted(super().list_commands(ctx), key=lambda name: [*ordered, name].index(name))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        _write_parameters(self, ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """By what they are for, each with its whole first sentence, in as many lines as it takes."""
        known = self.list_commands(ctx)
        others = set(known).difference(*ORDER.values())
        width = max(map(len, known))
        for title, names in {**ORDER, OTHERS: tuple(name for name in known if name in others)}.items():
            rows = [
                (name.ljust(width), command.get_short_help_str(limit=200))
                for name in names
                if (command := self.get_command(ctx, name)) is not None and not command.hidden
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _endings():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _endings():
            return super().invoke(ctx)


app = App(
    name="snapkit",
    cls=_Commands,
    help="Read, check, compare, redact and recover Nomad's snapshot archives.",
    epilog="""\b
`snapkit COMMAND --help` has examples. New here? `snapkit demo` shows the main
job on archives that come with snapkit; `snapkit inspect FILE` is a beginning.
Exit status: 0 done; 1 done, and there is something to act on (a difference,
an error that verify found); 2 not done, and the last line says why.""",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command; whatever goes wrong with input is one line on stderr and exit status 2."""
    if sys.stderr is None:  # closed, as by 2>&-
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - to the end of the process
    try:
        if sys.stdout is None:
            raise SnapshotError("is closed", "standard output", "send it to a file, or to /dev/null")
        with _signals(), _endings():
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
