"""How the pages are built: `make docs`. The reference of the command and of the library is made from the code."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from docutils import nodes
from docutils.statemachine import StringList
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import snapkit
from snapkit.cli.app import app as command

ROOT = Path(__file__).parent.parent
WIDTH = 90  # characters of what a command says of itself

project = "snapkit"
author = "the snapkit authors"
version = release = snapkit.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "furo"
html_title = f"snapkit {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True


class Commands(SphinxDirective):
    """A section for each subcommand, with what `--help` says of it."""

    def run(self) -> list[nodes.Node]:
        group = typer.main.get_command(command)
        context = group.make_context("snapkit", ["--help"], resilient_parsing=True, terminal_width=WIDTH)
        return list(self._sections(group, context, "snapkit"))

    def _sections(self, group: Any, context: Any, name: str) -> Iterator[nodes.Node]:
        for word in group.list_commands(context):
            one = group.get_command(context, word)
            called = f"{name} {word}"
            inner = one.make_context(word, [], parent=context, resilient_parsing=True, terminal_width=WIDTH)
            section = nodes.section(ids=[called.replace(" ", "-")], names=[called])
            section += nodes.title(called, called)
            section += nodes.literal_block(text := one.get_help(inner), text, language="text")
            if hasattr(one, "list_commands"):
                section += list(self._sections(one, inner, called))
            yield section


class Names(SphinxDirective):
    """Names of a module with their docstrings; without names, all that it offers."""

    required_arguments = 1
    optional_arguments = 20

    def run(self) -> list[nodes.Node]:
        module, *names = self.arguments
        names = names or [name for name in import_module(module).__all__ if not name.startswith("__")]
        lines: list[str] = []
        for name in names:
            found = getattr(import_module(module), name)
            kind = "class" if inspect.isclass(found) else "function" if callable(found) else "data"
            kind = "exception" if kind == "class" and issubclass(found, BaseException) else kind
            lines += [f".. auto{kind}:: {module}.{name}"]
            lines += ["   :members:", "   :inherited-members: Exception"] if kind == "exception" else []
            lines += ["   :members:"] if kind == "class" else []
            lines += [""]
        section = nodes.Element()
        self.state.nested_parse(StringList(lines, source=module), 0, section)
        return section.children


OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)#]+)\)")


def link_outside(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links to files of the project that are no pages lead to copies of them, as they lead to them on a code host."""
    source[0] = OUTSIDE.sub(r'<a href="project/\2">\1</a>', source[0])


def copy_outside(app: Sphinx, error: Exception | None) -> None:
    """The files that pages link to."""
    for page in ROOT.glob("docs/*.md") if error is None else ():
        for _, name in OUTSIDE.findall(page.read_text(encoding="utf-8")):
            target = app.outdir / "project" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


def code(app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """What docstrings have in backticks, as reStructuredText has code; before napoleon looks for colons."""
    lines[:] = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines)).split("\n")


def setup(app: Sphinx) -> None:
    app.add_directive("commands", Commands)
    app.add_directive("names", Names)
    app.add_lexer("cron", TextLexer)
    app.connect("autodoc-process-docstring", code, priority=400)
    app.connect("source-read", link_outside)
    app.connect("build-finished", copy_outside)
