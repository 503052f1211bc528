"""What the command says of itself: in words that a person types, by what it is for, with examples that are right."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from snapkit.cli.app import ORDER, OTHERS, app

from . import fine, run

GROUP: Any = typer.main.get_command(app)


def commands(group: Any = GROUP, *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command with its words, without `snapkit`."""
    for name, command in group.commands.items():
        yield (*above, name), command
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)


ALL = dict(commands())
EACH = pytest.mark.parametrize("words", ALL, ids=" ".join)


def test_all_are_listed_by_what_they_are_for() -> None:
    listed = [name for names in ORDER.values() for name in names]
    assert sorted(listed) == sorted(GROUP.commands)
    text = fine("--help")
    assert [line.rstrip(":") for line in text.splitlines() if re.fullmatch(r"\S.*:", line)] == [*ORDER, "Options"]
    assert OTHERS not in text
    assert [line.split()[0] for line in text.splitlines() if re.match(r"  [a-z]+  ", line)] == listed
    assert "snapkit demo" in text, "where to begin"


@EACH
def test_no_word_is_of_python(words: tuple[str, ...]) -> None:
    text = fine(*words, "-h", columns=80)
    assert text == fine(*words, "--help", columns=80)
    assert re.findall(r"<(?:str|int|path|float|list)|[{}]|\.{4}|range>", text) == []
    commands_ = [line for line in text.splitlines() if not line.startswith("    $ ")]
    assert max(map(len, commands_)) <= 80, "it fits a terminal"


@EACH
def test_examples_are_of_this_command_and_its_options(words: tuple[str, ...]) -> None:
    command = ALL[words]
    examples = re.findall(r"^    \$ snapkit (.*)$", fine(*words, "-h"), re.MULTILINE)
    assert examples or hasattr(command, "commands") or words in {("lab",), ("demo",)}
    for example in examples:
        given = shlex.split(example.partition(" | ")[0])
        assert tuple(given[: len(words)]) == words
        with command.make_context("x", [], resilient_parsing=True) as context:
            command.make_parser(context).parse_args(given[len(words) :])


@pytest.mark.parametrize("words", [["show"], ["export", "x"], ["fleet", "history"], ["recover", "x"]], ids=" ".join)
def test_a_line_that_lacks_something_says_what_and_where_to_look(words: list[str]) -> None:
    ran = run(*words)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("Usage: snapkit ")
    assert re.search(r"Error: Missing argument '[A-Z ]+'\.\n$", ran.err)
