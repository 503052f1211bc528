"""Changes to click through: the objects as a table, and of the one that is chosen, what of it changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from snapkit.errors import SnapshotError
from snapkit.jupyter.browser import Browser, ipywidgets, prose, stack
from snapkit.jupyter.grid import Grid
from snapkit.page import AMBER, BLUE, GREEN, RED, brief, escaped, label, moment, plain, table

if TYPE_CHECKING:
    from snapkit.state.changes.changes import Changes

#: A change is told by its sign and its word; the colour comes on top.
SIGNS = {"added": "+", "removed": "\N{MINUS SIGN}", "changed": "~", "moved": "~"}
COLOURS = {"added": GREEN, "removed": RED, "changed": AMBER, "moved": BLUE}
WIDE = 2_000  # characters of a value
LONG = 100_000  # characters of a record or a diff
FIELDS = 500  # of an object
SHOWN = 12  # objects where there is no kernel
MONO = "font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px);overflow-wrap:anywhere"


class ChangesBrowser(Browser):
    """What changed between two snapshots, to click through.

    Attributes:
        grid: The objects; choosing one shows its fields below.
        table: Which table to show, "" for all.
        change: Which change to show, "" for all.
        noise: Show also what has only grown older?
        detail: What is shown of the object that is chosen.
        again_button: Compares again; there is one where that makes sense.
    """

    def __init__(self, changes: Changes, *, again: Callable[[], Changes] | None = None) -> None:
        """Show changes.

        Args:
            changes: What compare() gave.
            again: Compares anew what may have changed by then.

        Raises:
            SnapshotError: ipywidgets or anywidget is not installed.
        """
        widgets = ipywidgets()
        self._again = again
        style = {"description_width": "initial"}
        narrow = widgets.Layout(width="max-content")
        self.table = widgets.Dropdown(description="Table", style=style, layout=narrow)
        self.change = widgets.Dropdown(description="Change", style=style, layout=narrow)
        self.noise = widgets.Checkbox(indent=False, layout=narrow)
        self.again_button = widgets.Button(description="Compare again", icon="refresh", layout=narrow)
        self.again_button.on_click(lambda _: self.again())
        self.grid = Grid(pd.DataFrame(), height=260, on_select=self._open, label="Objects that changed")
        self.detail = prose()
        self.message = prose()
        self._head = prose()
        self._lists = {"Table": self.table, "Change": self.change}
        self._take(changes)
        self.noise.observe(lambda _: self._offer(), "value")
        for control in self._lists.values():
            control.observe(lambda _: self._narrow(), "value")
        self.widget = stack(
            [
                self._head,
                widgets.HBox(
                    [self.table, self.change, self.noise, *([self.again_button, self.message] if again else [])],
                    layout=widgets.Layout(flex_flow="row wrap"),
                ),
                self.grid.widget,
                self.detail,
            ]
        )

    @property
    def changes(self) -> Changes:
        """What is shown."""
        return self._changes

    def again(self) -> None:
        """Compare again, with what is there by now; if that fails, it says why, and shows what it showed."""
        if self._again is None:
            return
        self.again_button.disabled = True
        self.message.value = "Comparing…"
        wrong = ""
        try:
            self._take(self._again())
        except SnapshotError as error:
            wrong = brief(str(error))
        except KeyboardInterrupt:  # of the stop button
            wrong = "Interrupted."
        finally:
            self.again_button.disabled = False
        self.message.value = f'<span role="status" style="color:{RED}">{escaped(wrong)}</span>' if wrong else ""

    def _take(self, changes: Changes) -> None:
        objects, noise = changes.objects, changes.noise
        noise = noise[~noise.set_index(["Table", "Key"]).index.isin(objects.set_index(["Table", "Key"]).index)]
        self._changes = changes
        self._objects = pd.concat([objects.assign(Older=False), noise.assign(Older=True)], ignore_index=True)
        self._head.value = _head(changes)
        self.noise.description = f"also what has only grown older ({len(noise):,})"
        self.noise.disabled = noise.empty
        self._offer()

    def _offer(self) -> None:
        """In the lists, what there is, with how many of each."""
        self._offering = True  # a list whose options are set lets its value go
        there = self._there()
        for column, control in self._lists.items():
            counts = {str(name): int(count) for name, count in there[column].value_counts(sort=False).items()}
            chosen = control.value if control.value in counts else ""
            told = {name: f"{SIGNS[name]} {name}" if column == "Change" else name for name in counts}
            options = [(f"{told[name]} ({count:,})", name) for name, count in counts.items()]
            control.options = [(f"all ({len(there):,})", ""), *options]
            control.value = chosen
        self._offering = False
        self._narrow()

    def _there(self) -> pd.DataFrame:
        return self._objects if self.noise.value else self._objects[~self._objects["Older"]]

    def _narrow(self) -> None:
        """Show what is asked for."""
        if self._offering:
            return
        shown = self._there()
        for column, control in self._lists.items():
            if control.value:
                shown = shown[shown[column] == control.value]
        self._shown = shown
        self.grid.show(_columns(shown), filter=self.grid.filter)
        self.detail.value = "<p>Choose an object to see what of it changed.</p>" if len(shown) else ""

    def _open(self, position: int) -> None:
        name, key = self._shown[["Table", "Key"]].iloc[position]
        self.detail.value = detail(self._changes, name, key)

    def __repr__(self) -> str:
        return plain(f"<ChangesBrowser {self._changes.a.source} to {self._changes.b.source}: {self._changes.headline}>")

    def to_html(self) -> str:
        objects = self._changes.objects
        shown = objects[["Change", "Table", "Key", "Name"]].head(SHOWN).astype("object")
        rows = [
            [_word(change), label(name), escaped(brief("/".join(map(str, key)))), escaped(brief(called))]
            for change, name, key, called in shown.itertuples(index=False)
        ]
        more = f"<p>and {len(objects) - SHOWN:,} more</p>" if len(objects) > SHOWN else ""
        return _head(self._changes) + (table(rows, ("Change", "Table", "Object", "Name")) if rows else "") + more


def _head(changes: Changes) -> str:
    found = "".join(
        f"<p>{label(f.severity, {'error': RED, 'warning': AMBER, 'note': BLUE}[f.severity])} "
        f"{': '.join(escaped(brief(text)) for text in (f.message, f.place) if text)}</p>"
        for f in changes.found[:SHOWN]
    )
    if len(changes.found) > SHOWN:
        found += f"<p>and {len(changes.found) - SHOWN:,} more: findings has all</p>"
    sides = " \N{RIGHTWARDS ARROW} ".join(
        escaped(side.source) + (f", {moment(side.created)}" if side.created is not None else "")
        for side in (changes.a, changes.b)
    )
    return f"<p><b>{escaped(changes.headline)}</b><br><small>{sides}</small></p>{found}"


def _columns(objects: pd.DataFrame) -> pd.DataFrame:
    """As the table shows them: what people look for first is first."""
    names = ["Change", "Table", "Key", "Name", "Fields", "Index"]
    told = [f"{SIGNS[change]} {change}" for change in objects["Change"]]
    told = [f"{what}, older" if older else what for what, older in zip(told, objects["Older"], strict=True)]
    fields = objects["Fields"].where(objects["Change"] == "changed")
    return objects.assign(Change=pd.array(told, dtype="str"), Fields=fields)[names].reset_index(drop=True)


def _word(change: str) -> str:
    return label(f"{SIGNS[change]} {change}", COLOURS[change])


def detail(changes: Changes, name: str, key: tuple[Any, ...]) -> str:
    """What changed of one object, as HTML: what was meant first, then what has only grown older, folded away."""
    rows = changes.told(name, *key)
    title = f"<p><b>{escaped(name)} {escaped(brief('/'.join(map(str, key))))}</b>"
    first = rows.iloc[0] if len(rows) else None
    if first is not None and not first["Path"]:
        record = first["After"] if first["Change"] == "added" else first["Before"]
        told = json.dumps(record, ensure_ascii=False, indent=2)
        return f"{title}: {_word(first['Change'])}, whole:</p>{_pre(map(escaped, _lines(told)))}"
    older = rows["Noise"] != ""
    many = int((~older & (rows["Change"] != "told")).sum())
    parts = [f"{title}: {many:,} field{'' if many == 1 else 's'} changed</p>", _fields(rows[~older])]
    if older.any():
        told = f"{older.sum():,} more that only grew older or follow from others"
        parts.append(f"<details><summary>{told}</summary>{_fields(rows[older])}</details>")
    return "".join(parts)


def _fields(rows: pd.DataFrame) -> str:
    shown = rows.head(FIELDS).to_dict("records")
    cells = [[_word(_kind(row)), _mono(brief(row["Path"])), _values(row)] for row in shown]
    more = f"<p>and {len(rows) - FIELDS:,} more: told() has all</p>" if len(rows) > FIELDS else ""
    return table(cells, ("Change", "Field", "Before \N{RIGHTWARDS ARROW} after")) + more if cells else ""


def _kind(row: dict[Any, Any]) -> str:
    return row["Change"] if row["Change"] in SIGNS else "changed"


def _values(row: dict[Any, Any]) -> str:
    if row["Diff"]:
        return _pre(map(_diff_line, _lines(row["Diff"])))
    before, after = (_mono(_told(row[name])) for name in ("Before", "After"))
    if row["Change"] == "told":
        return after
    if row["Change"] in ("added", "removed"):
        return after if row["Change"] == "added" else before
    moved = "in another order: " if row["Change"] == "moved" else ""
    return f"{moved}{before} \N{RIGHTWARDS ARROW} {after}"


def _told(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDE else f"{text[:WIDE]}… ({len(text):,} characters)"


def _lines(text: str) -> list[str]:
    cut = text if len(text) <= LONG else f"{text[:LONG]}\n… ({len(text):,} characters)"
    return cut.splitlines()


def _diff_line(line: str) -> str:
    colour = {"+": GREEN, "-": RED, "@": BLUE}.get(line[:1], "inherit")
    return f'<span style="color:{colour}">{escaped(line)}</span>'


def _mono(text: str) -> str:
    return f'<code style="{MONO}">{escaped(text)}</code>' if text else "<i>empty</i>"


def _pre(lines: Any) -> str:
    return (
        f'<pre tabindex="0" style="{MONO};margin:0;max-height:24em;overflow:auto;white-space:pre-wrap">'
        f"{'<br>'.join(lines)}</pre>"
    )
