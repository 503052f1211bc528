"""HTML that a person can read: pages by themselves and parts of a notebook, whatever an archive holds.

A page loads nothing and runs nothing, and follows the reader's light or dark. Parts have their style in their
elements: a notebook may take a style sheet away.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

#: Colours of CSS for text, each mixed with that of the text around it: so they read at 4.5 to 1 and better on white and
#: on JupyterLab's dark, as no single colour does, whatever the theme. What knows no `color-mix` shows text as it is.
RED, AMBER, BLUE, GREEN = (
    f"color-mix(in srgb,{colour} 65%,currentColor)" for colour in ("#e5484d", "#b26a00", "#3f7fd0", "#2f8f4e")
)
_CELL = "text-align:left;vertical-align:top;padding:.25em .75em .25em 0;border-top:1px solid #80808060"
_NUMBER = _CELL.replace("text-align:left", "text-align:right")


def plain(text: str) -> str:
    """One line without control characters, nor any that reorder a line or are half of one: U+FFFD in their place."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def brief(text: str, most: int = 500) -> str:
    """Of a text that is very long, its beginning."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def escaped(text: str) -> str:
    """One line of text as HTML."""
    return html.escape(plain(text))


def label(text: str, colour: str = "") -> str:
    """A word or two as HTML that stay in one line; bold if coloured."""
    style = f"white-space:nowrap{f';color:{colour}' if colour else ''}"
    return f'<{"b" if colour else "span"} style="{style}">{escaped(text)}</{"b" if colour else "span"}>'


def moment(when: datetime) -> str:
    """A time as HTML, which is in UTC already; a script may add the reader's own (jupyter/front.js, the viewer)."""
    shown = f"{when:%Y-%m-%d %H:%M:%S} UTC"
    return f'<time datetime="{when:%Y-%m-%dT%H:%M:%SZ}" style="white-space:nowrap">{shown}</time>'


def table(rows: Iterable[Sequence[str]], names: Sequence[str] = (), numbers: Collection[int] = ()) -> str:
    """A table of cells that are HTML already; the columns at the places of `numbers` are flush right."""

    def line(tag: str, row: Sequence[str]) -> str:
        cells = (f'<{tag} style="{_NUMBER if i in numbers else _CELL}">{cell}</{tag}>' for i, cell in enumerate(row))
        return f"<tr>{''.join(cells)}</tr>"

    head = line("th", [f'<span style="white-space:nowrap">{name}</span>' for name in names]) if names else ""
    body = "".join(line("td", row) for row in rows)
    return f'<table style="border-collapse:collapse">{f"<thead>{head}</thead>" if head else ""}{body}</table>'


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """A page of parts that are HTML already, and a style sheet of its own, in ASCII."""
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escaped(title)}</title>\n"
        "<style>:root{color-scheme:light dark}body{font:16px/1.4 system-ui,sans-serif;margin:2em auto;"
        f"max-width:80em;padding:0 1em}}table{{margin:.5em 0 1.5em}}{style}</style>\n</head>\n<body>\n"
        f"<h1>{escaped(title)}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")
