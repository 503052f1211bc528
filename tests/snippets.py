"""The snippets of a page in Markdown: its commands and its Python, and how a reader runs them."""

from __future__ import annotations

import ast
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .cli import command as command_line
from .cli import environment, run

SHELLS = ("", "console", "bash", "sh", "shell")
NETWORK = (("pip", "install"), ("git", "clone"), ("python", "-m", "pip"), ("python3", "-m", "pip"))
SERVERS = (("snapkit", "lab"), ("snapkit", "serve"))


class Block(NamedTuple):
    """A fenced block: its language ("" if none is named) and its text."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\S*)[^\n]*\n(.*?)^```$", page, re.M | re.S)]


def commands(found: list[Block]) -> Iterator[tuple[str, str]]:
    """Each command of the blocks of a shell, and the output that is shown below it."""
    for language, text in found:
        if language in SHELLS:
            yield from _commands(text)


def _commands(text: str) -> Iterator[tuple[str, str]]:
    lines = text.splitlines()
    with_prompt = any(line.startswith("$ ") for line in lines)
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif with_prompt:
            assert found, f"output before any command: {line!r}"
            found[-1][1].append(line)
        elif line.strip() and not line.startswith("#"):
            found.append((line, []))
    yield from ((command, "\n".join(output)) for command, output in found)


def words_of(command: str) -> list[str]:
    return [Path(word).name if word.endswith("bin/snapkit") else word for word in shlex.split(command, comments=True)]


def runs(words: list[str]) -> bool:
    """Is it to be run here? Not what sets up a machine, nor what stays until it is stopped."""
    return words[0] != "make" and not any(tuple(words[: len(some)]) == some for some in (*NETWORK, *SERVERS))


def run_like_a_notebook(code: str, names: dict[str, Any]) -> None:
    """Run it; the value of each line that is an expression is in `names["values"]`, by its source."""
    for node in ast.parse(code).body:
        if isinstance(node, ast.Expr):
            source = ast.unparse(node)
            names["values"][source] = eval(compile(ast.Expression(node.value), source, "eval"), names)
        else:
            exec(compile(ast.Module([node], []), ast.unparse(node), "exec"), names)


class Reader:
    """Somebody who does what a page says, in its order, in the folder that is current.

    A command may say how it ends: `# exits with 1`. What serves goes on until the end, at a free port, and later
    commands have the environment that it prints.
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"values": {}}
        self._servers: list[subprocess.Popen[str]] = []

    def read(self, page: str) -> None:
        for block in blocks(page):
            if block.language == "python":
                run_like_a_notebook(block.text, self.names)
            elif block.language in SHELLS:
                for command, output in _commands(block.text):
                    self.do(command, output)

    def do(self, command: str, output: str) -> None:
        words = words_of(command)
        if tuple(words[:2]) == ("snapkit", "serve"):
            self._serve(words)
        elif words[0] == "export":
            shown = subprocess.run(["/bin/sh", "-c", f"{command}; env -0"], capture_output=True, text=True, check=True)
            before = dict(os.environ)
            for name, _, value in (line.partition("=") for line in shown.stdout.split("\0") if line):
                if name != "_" and before.get(name) != value:
                    os.environ[name] = value
        elif runs(words):
            status, out, err = self._run(command, words)
            expected = int(found[1]) if (found := re.search(r"# exits with (\d)", command)) else 0
            assert status == expected, f"{command}: {status}; {err}"
            assert expected == 2 or not err, f"{command}: {err}"
            for line in output.splitlines():
                assert line in out.splitlines(), f"{command}: {line!r} is not in {out!r}"

    def _run(self, command: str, words: list[str]) -> tuple[int, str, str]:
        if words[0] == "snapkit" and not {"|", ">", "<", "&&"} & set(words):
            ran = run(*(name for word in words[1:] for name in _expanded(word, command)))
            return ran.status, ran.out, ran.err
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def _serve(self, words: list[str]) -> None:
        port = [*words[1:], "--port", "0"]
        server = subprocess.Popen(command_line(*port), env=environment(), stdout=subprocess.PIPE, text=True)
        self._servers.append(server)
        assert server.stdout is not None
        for line in server.stdout:
            if found := re.match(r"export (\w+)=(.*)", line):
                os.environ[found[1]] = found[2]
                if found[1] == "NOMAD_TOKEN":
                    return
        raise AssertionError(f"{words}: serves nothing")

    def close(self) -> None:
        for server in self._servers:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=20)
        if "snap" in self.names:
            self.names["snap"].close()


def _expanded(word: str, command: str) -> list[str]:
    """What a shell makes of a word: its variables, and if it is not quoted its patterns."""
    quoted = f"'{word}'" in command or f'"{word}"' in command
    return sorted(map(str, Path().glob(word))) if "*" in word and not quoted else [os.path.expandvars(word)]
