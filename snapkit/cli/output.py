"""Results on stdout: tables that fit the terminal, JSON, and nothing that drives the terminal."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from snapkit.page import brief

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from snapkit.format.archive import Archive
    from snapkit.format.records import Tally

NESTED_WIDTH = 60  # characters of a nested value in a table; --json shows all


def printable(text: str) -> str:
    """Without control characters: what an archive holds must not drive the terminal."""
    return "".join(c if c.isprintable() or c in "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str) -> str:
    return printable(" ".join(text.splitlines()))


def note_oddities(found: Archive, tallies: dict[int, Tally] | None = None) -> None:
    """On stderr: what a server would refuse or a person would want to know, though it could be read."""
    from snapkit.format.schema import BY_BYTE, type_name

    for oddity in found.oddities:
        verdict = "; a server refuses this archive" if oddity.refused else ""
        print(f"snapkit: note: {one_line(f'{oddity.place}: {oddity.message}{verdict}')}", file=sys.stderr)
    for byte in sorted((tallies or {}).keys() - BY_BYTE.keys()):
        advice = "it is of Nomad Enterprise or newer than this snapkit, and is listed as it stands"
        print(f"snapkit: note: record type {type_name(byte)} is not known; {advice}", file=sys.stderr)


def print_text(text: str) -> None:
    """Text that ends its own lines, also where the terminal has no letters for it."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), end="")


def print_json(value: Any) -> None:
    print(json_text(value))


def json_text(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=not _is_utf8())
    # json leaves control characters beyond ASCII as they are, and what is no character at all.
    return re.sub("[^ -~\n]", lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def grid(*names: str, right: Sequence[int] = ()) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if any(names) else None, pad_edge=False, show_header=any(names))
    for i, name in enumerate(names):
        table.add_column(printable(name), justify="right" if i in right else "left", overflow="fold")
    return table


def _width() -> int:
    return shutil.get_terminal_size((160, 24)).columns


def draw(*tables: Table) -> None:
    from rich.console import Console

    console = Console(width=_width(), highlight=False, markup=False)
    with console.capture() as drawn:  # so that print() meets a closed pipe: rich would end the process
        for table in tables:
            console.print(table)
    print(drawn.get(), end="")


def show_frame(frame: pd.DataFrame, json_: bool, limit: int | None, *, everything: bool = False) -> None:
    """A table as JSON, or as one to read: as many rows as `limit` and as many columns as fit, saying what is left."""
    from snapkit.state.output.export import records

    if json_:
        print_json(list(records(frame if limit in (None, 0) else frame.head(limit))))
        return
    limit = (50 if sys.stdout.isatty() else 0) if limit is None else limit
    shown = frame.head(limit) if limit else frame
    rows = [{name: _cell(value) for name, value in record.items()} for record in records(shown)]
    names = list(rows[0]) if rows else [str(name) for name in frame.columns]
    fitting = names if everything else _fitting(names, rows)
    numbers = [str(n) for n in frame.columns if frame[n].dtype.kind in "iuf"]
    if not rows:
        print("0 rows")
        return
    if everything and sys.stdout.isatty() and not _words_fit(fitting, rows):
        _draw_rows(fitting, rows)
    else:
        table = grid(*fitting, right=[i for i, name in enumerate(fitting) if name in numbers])
        for row in rows:
            table.add_row(*(row[name] for name in fitting))
        draw(table)
    left = [name for name in names if name not in fitting]
    if left:
        print(f"{len(left)} more columns (--columns or --json): {one_line(', '.join(left))}")
    print(f"{len(frame):,} rows" + (f", {len(shown):,} shown (--limit 0 for all)" if len(shown) < len(frame) else ""))


def _words_fit(names: list[str], rows: list[dict[str, str]]) -> bool:
    """Is there room for the longest word of each column?"""
    columns = ([name, *(row[name] for row in rows)] for name in names)
    longest = [max((len(word) for cell in cells for word in cell.split()), default=0) for cells in columns]
    return sum(longest) + 2 * len(longest) <= _width()


def _draw_rows(names: list[str], rows: list[dict[str, str]]) -> None:
    """One row below the other, for a terminal on which a table would break ids and times in two."""
    for row in rows:
        table = grid("", "")
        for name in names:
            if row[name]:
                table.add_row(name, row[name])
        draw(table)
        print()


def _fitting(names: list[str], rows: list[dict[str, str]]) -> list[str]:
    """The leading columns that fit the terminal, without those that are empty."""
    room = _width()
    fitting: list[str] = []
    for name in names:
        cells = [row[name] for row in rows]
        room -= max(map(len, [name, *cells]), default=0) + 2
        if room < 0 and fitting:
            break
        if any(cells):
            fitting.append(name)
        else:
            room += len(name) + 2
    return fitting


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, tuple):
        return printable("/".join(str(part) for part in value))
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False)
        return printable(brief(text, NESTED_WIDTH))
    return printable(str(value))
