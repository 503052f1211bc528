"""Results on stdout: tables that fit the terminal, JSON, and nothing that drives the terminal."""

from __future__ import annotations

import json
import os
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
CELL_WIDTH = 2_000  # of any value in one: as wide as the widest is every line written
GAP = 3  # between two columns
WIDE = 160  # columns of what is no terminal: so many are chosen
ENDLESS = 1 << 20  # and lines of it are never broken: whoever reads a pipe takes them line by line
SHORT = 8  # characters of an id, as Nomad's own command prints it and takes it back
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
AMOUNTS = re.compile(r"Count|Bytes|Rows|Records|Size|Growth|Copies")  # columns of numbers that are read with commas


def printable(text: str) -> str:
    """Without control characters: what an archive holds must not drive the terminal."""
    return "".join(c if c.isprintable() or c in "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def cell(text: str) -> str:
    """As much of a text as a table's cell takes; --json shows all."""
    return printable(brief(text, CELL_WIDTH))


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
        table.add_column(cell(name), justify="right" if i in right else "left", overflow="fold")
    return table


def width() -> int:
    """Columns of the terminal; where there is none, of what is written all the same."""
    return shutil.get_terminal_size((WIDE, 24)).columns


def _line_width() -> int:
    return width() if sys.stdout.isatty() or "COLUMNS" in os.environ else ENDLESS


def draw(*tables: Table) -> None:
    from rich.console import Console

    # A dumb terminal's width is heard only with a height.
    console = Console(width=_line_width(), height=24, highlight=False, markup=False)
    with console.capture() as drawn:  # so that print() meets a closed pipe: rich would end the process
        for table in tables:
            console.print(table)
    print_text("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))


def counted(number: int, what: str) -> str:
    """Such as `1 row` or `1,024 rows`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def show_frame(
    frame: pd.DataFrame,
    json_: bool,
    limit: int | None,
    *,
    everything: bool = False,
    first: Sequence[str] = (),
) -> None:
    """A table as JSON, or as one to read: as many rows as `limit` and as many columns as fit, saying what is left.

    Args:
        frame: The table.
        json_: As JSON, all of its columns.
        limit: Rows; 0 for all. Default: 50 on a terminal.
        everything: All columns, fit they or not; ids are shown whole.
        first: The columns that come ahead of others, after the key's.
    """
    from snapkit.state.output.export import records

    if json_:
        print_json(list(records(frame if limit in (None, 0) else frame.head(limit))))
        return
    limit = (50 if sys.stdout.isatty() else 0) if limit is None else limit
    shown = frame.head(limit) if limit else frame
    keys = [str(name) for name in frame.index.names if name]
    rows = [
        {name: "(none)" if value is None and name in keys else _cell(value, name) for name, value in record.items()}
        for record in records(shown)
    ]
    if not rows:
        print("0 rows")
        return
    names = list(rows[0])
    names = list(dict.fromkeys([*keys, *(name for name in first if name in names), *names]))
    shortened = not everything and sys.stdout.isatty() and _shorten(rows, keys)
    fitting = names if everything else _fitting(names, rows)
    narrow = bool(first) and set(fitting) <= set(keys)
    if narrow:  # only what identifies a row fits
        fitting = names[: len(keys) + len(first)]
    titles = fitting
    if everything and sys.stdout.isatty() and not _words_fit(titles, fitting, rows):
        titles = [re.sub(r"(?<=[a-z])(?=[A-Z])", "\n", name) for name in fitting]
        narrow = not _words_fit(titles, fitting, rows)
    if narrow:
        _draw_rows(fitting, rows)
    else:
        numbers = [str(n) for n in frame.columns if frame[n].dtype.kind in "iuf"]
        table = grid(*titles, right=[i for i, name in enumerate(fitting) if name in numbers])
        for row in rows:
            table.add_row(*(row[name] for name in fitting))
        draw(table)
    if left := [name for name in names if name not in fitting]:
        print(f"{counted(len(left), 'more column')} (--columns or --json): {one_line(', '.join(left))}")
    ids = "; ids are short, and taken so: --columns or --json has them whole" if shortened else ""
    less = f", {len(shown):,} shown (--limit 0 for all)" if len(shown) < len(frame) else ""
    print(f"{counted(len(frame), 'row')}{less}{ids}")


def _shorten(rows: list[dict[str, str]], keys: Sequence[str]) -> bool:
    """Ids in short, in place, where they still tell the rows apart; was there one?"""
    short = [{name: v[:SHORT] if UUID.fullmatch(v) else v for name, v in row.items()} for row in rows]
    if short == rows or len({tuple(row[key] for key in keys) for row in short}) < len(rows):
        return False
    rows[:] = short
    return True


def _words_fit(titles: list[str], names: list[str], rows: list[dict[str, str]]) -> bool:
    """Is there room for the longest word of each column?"""
    columns = ([title, *(row[name] for row in rows)] for title, name in zip(titles, names, strict=True))
    longest = [max((len(word) for cell in cells for word in cell.split()), default=0) for cells in columns]
    return sum(longest) + GAP * len(longest) - 1 <= width()


def _draw_rows(names: list[str], rows: list[dict[str, str]]) -> None:
    """One row below the other, for a terminal on which a table would break ids and times in two."""
    for row in rows:
        table = grid("", "")
        for name in names:
            if row[name]:
                table.add_row(cell(name), row[name])
        draw(table)
        print()


def _fitting(names: list[str], rows: list[dict[str, str]]) -> list[str]:
    """The leading columns that fit the terminal, without those that are empty."""
    room = width() + 1
    fitting: list[str] = []
    for name in names:
        cells = [row[name] for row in rows]
        room -= max(map(len, [name, *cells]), default=0) + GAP
        if room < 0 and fitting:
            break
        if any(cells):
            fitting.append(name)
        else:
            room += len(name) + GAP
    return fitting


def _cell(value: Any, name: str) -> str:
    if value is None:
        return ""
    if name == "Share" and isinstance(value, float):
        return f"{value:.1%}"
    if isinstance(value, int) and not isinstance(value, bool) and AMOUNTS.search(name):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, tuple):
        return cell("/".join(str(part) for part in value))
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False)
        return printable(brief(text, NESTED_WIDTH))
    return cell(str(value))
