"""A Snapshot to click through: its tables, the rows of one, and one record with links to others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from snapkit.errors import RecordError, SnapshotError
from snapkit.format.schema import ANY, Type, fields, in_words, table_type
from snapkit.jupyter.browser import Browser, ipywidgets, prose, stack
from snapkit.jupyter.grid import Column, Grid, shown, size, word
from snapkit.jupyter.grid import columns as columns_of
from snapkit.jupyter.links import Link, Related, link, related
from snapkit.jupyter.tree import Tree
from snapkit.page import RED, brief, escaped, moment, plain, table

if TYPE_CHECKING:
    from snapkit.state.snapshot import Snapshot

#: The columns that are shown first, after the key: what people look for. Of other tables, all that are not nested.
FIRST = {
    "acl_policies": ("Description", "ModifyIndex"),
    "acl_roles": ("Name", "Description", "Policies"),
    "acl_tokens": ("Name", "Type", "Global", "Policies", "Roles", "CreateTime", "ExpirationTime"),
    "allocs": ("JobID", "TaskGroup", "ClientStatus", "DesiredStatus", "NodeName", "Namespace", "ModifyTime"),
    "csi_volumes": ("Name", "PluginID", "Schedulable", "AccessMode", "NodesHealthy", "NodesExpected"),
    "deployments": ("JobID", "JobVersion", "Status", "StatusDescription", "Namespace"),
    "evals": ("JobID", "Status", "TriggeredBy", "Type", "StatusDescription", "Namespace", "ModifyTime"),
    "host_volumes": ("Name", "State", "NodePool", "NodeID", "CapacityBytes", "CreateTime"),
    "job_submissions": ("Format", "JobModifyIndex"),
    "job_versions": ("Type", "Status", "Stable", "Stop", "Priority", "SubmitTime"),
    "jobs": ("Type", "Status", "Stop", "Priority", "Version", "NodePool", "SubmitTime"),
    "namespaces": ("Description", "Quota"),
    "nodes": ("Name", "Status", "SchedulingEligibility", "NodePool", "Datacenter", "NodeClass", "StatusUpdatedAt"),
    "services": ("ServiceName", "JobID", "Address", "Port", "Namespace", "NodeID", "AllocID"),
    "variables": ("KeyID", "CreateTime", "ModifyTime"),
}
START = ("jobs", "allocs", "nodes")  # the table that is shown first, of those that are there
HEIGHT = 400  # of the table, in pixels
FEW = 5_000  # records of a table that are counted unasked
KEPT = 2  # tables that are kept at hand
STEPS = 200  # that can be gone back
LINES, CELLS = 10, 8  # of the table in view, where there is no kernel


@dataclass(frozen=True)
class Record:
    """One record: its table, its row in that, and its key (none in a table that has none)."""

    table: str
    position: int
    key: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(self.key) if self.key else f"row {self.position + 1:,}"


@dataclass(frozen=True)
class Place:
    """Where one is: the rows in view, and the record that is open.

    Attributes:
        table: Whose rows are in view; "" for the hits of a search.
        wanted: What was searched for.
        filter: What the rows are filtered by.
        everything: Are all columns shown that are not nested?
        more: Columns that are shown beside the first ones.
        record: What is open.
    """

    table: str = ""
    wanted: str = ""
    filter: str = ""
    everything: bool = False
    more: tuple[str, ...] = ()
    record: Record | None = None

    @property
    def rows(self) -> Place:
        """The same, whatever the filter and the record."""
        return replace(self, filter="", record=None)


class SnapshotBrowser(Browser):
    """The tables of a snapshot with their counts and bytes, the rows of one of them, and one record as a tree.

    Only what is looked at is decoded. Secrets are masked.

    Attributes:
        tables: The tables; choosing one shows its rows.
        grid: The rows, or the hits of a search; choosing one opens its record.
        tree: The record.
    """

    def __init__(self, snapshot: Snapshot, *, reveal: bool = False) -> None:
        """Show a snapshot, and the jobs in it.

        Args:
            snapshot: It has to stay open.
            reveal: Show secrets.

        Raises:
            SnapshotError: ipywidgets or anywidget is not installed.
        """
        widgets = ipywidgets()
        self._snapshot = snapshot
        self._reveal = reveal
        self._tables = snapshot.tables
        counts = self._tables[["Count", "Bytes"]]
        #: Records and bytes of each table.
        self._counts: dict[str, tuple[int, int]] = {
            name: (int(count), int(bytes_)) for name, count, bytes_ in counts.itertuples()
        }
        self._names = frozenset(self._counts)
        self._frames: dict[Place, pd.DataFrame] = {}
        self._small: dict[Place, pd.DataFrame] = {}
        self._indexes: dict[str, Any] = {}
        self._related: list[Related] = []
        first = next((name for name in START if name in self._names), next(iter(self._counts), ""))
        self._steps = [Place(first)]
        self._step = 0
        self._in_view: Place | None = None

        narrow = widgets.Layout(width="max-content")
        self.back_button = widgets.Button(description="Back", icon="arrow-left", layout=narrow)
        self.forward_button = widgets.Button(description="Forward", icon="arrow-right", layout=narrow)
        self.search_field = widgets.Text(
            placeholder="a text in any table, then Enter",
            continuous_update=False,
            description="Search",
            style={"description_width": "initial"},
            layout=widgets.Layout(width="26em"),
        )
        self.message = widgets.HTML()
        self.title = widgets.HTML()
        self.everything = widgets.ToggleButton(description="All columns", layout=narrow)
        self.tables = Grid(counts, height=HEIGHT + 40, on_select=self._choose_table, label="Tables", bar=False)
        self.grid = Grid(pd.DataFrame(), height=HEIGHT, on_select=self._open)
        self.tree = Tree(on_link=self._follow, on_related=self._show_related, on_close=self._close)

        self.back_button.on_click(lambda _: self.back())
        self.forward_button.on_click(lambda _: self.forward())
        self.search_field.observe(self._search_for, "value")
        self.everything.observe(self._widen, "value")
        strip = widgets.HBox([self.back_button, self.forward_button, self.search_field, self.message])
        above = widgets.HBox([self.title, self.everything])
        count = widgets.HBox([widgets.HTML(f"<b>{len(self._tables)} tables</b>")])
        for box in (strip, above, count):
            box.add_class("snapkit-strip")
        left, middle = widgets.VBox([count, self.tables.widget]), widgets.VBox([above, self.grid.widget])
        left.add_class("snapkit-tables")
        middle.add_class("snapkit-rows")
        self.tree.widget.add_class("snapkit-record")
        panes = widgets.HBox([left, middle, self.tree.widget])
        panes.add_class("snapkit-panes")
        self.widget = stack([prose(self._head()), strip, panes])
        self.widget.add_class("snapkit-explorer")
        self._do(lambda: self._show(self._steps[0]))

    @property
    def place(self) -> Place:
        """Where one is."""
        return replace(self._steps[self._step], filter=self.grid.filter)

    # -- ways to go

    def back(self) -> None:
        """To where one was before."""
        self._leap(-1)

    def forward(self) -> None:
        """To where one went back from."""
        self._leap(1)

    def _leap(self, steps: int) -> None:
        there = self._step + steps
        if 0 <= there < len(self._steps):
            self._do(
                lambda: self._move([*self._steps[: self._step], self.place, *self._steps[self._step + 1 :]], there)
            )

    def go(self, place: Place) -> None:
        """To another place, from which one can go back."""
        self._do(lambda: self._go(place))

    def _go(self, place: Place) -> None:
        here = self.place
        if place != here:
            steps = [*self._steps[: self._step], here, place][-STEPS:]
            self._move(steps, len(steps) - 1)

    def _move(self, steps: list[Place], step: int) -> None:
        """To one of these places; if that fails, all is as it was."""
        self._show(steps[step])
        self._steps, self._step = steps, step

    def open(self, table: str, *key: Any) -> None:
        """Open a record by its key."""
        self._do(lambda: self._open_key(Link(table, tuple(map(str, key)))))

    def show(self, table: str, filter: str = "") -> None:
        """Show the rows of a table."""
        self.go(Place(table, filter=filter))

    def search(self, wanted: str) -> None:
        """Show what holds a text, in any case, in all tables."""
        if wanted.strip():
            self.go(Place(wanted=wanted.strip()))

    def _choose_table(self, position: int) -> None:
        self.show(self._tables.index[position])

    def _open(self, position: int) -> None:
        """Open the record of a row in view."""
        frame, place = self.grid.frame, self.place
        if place.table:
            kind = table_type(place.table)
            key = frame.index[position] if kind is not None and kind.key else ()
            parts = key if isinstance(key, tuple) else (key,)
            self.go(replace(place, record=Record(place.table, position, tuple(map(shown, parts)))))
            return
        name, key = frame["Table"].iloc[position], frame["Key"].iloc[position]
        self._do(lambda: self._open_key(Link(name, tuple(map(str, key)))))

    def _open_key(self, found: Link) -> None:
        where = f"{found.table} {'/'.join(found.key)}"
        if not found.key and self._counts.get(found.table, (0, 0))[0] != 1:
            raise SnapshotError("has no key", f"a record of {found.table}", "look for it among the rows of the table")
        position = self._position(found) if found.key else 0
        if position is None:
            raise SnapshotError("is not in this snapshot", where)
        self._go(replace(self.place, record=Record(found.table, position, found.key)))

    def _position(self, found: Link) -> int | None:
        """The row of a key in its table: the last one, as after a restore, should it stand twice."""
        index = self._index(found.table)
        if index.nlevels != len(found.key):
            return None
        there: Any = True
        for level, part in enumerate(found.key):
            there = there & np.asarray(index.get_level_values(level).astype("str") == part)
        rows = np.flatnonzero(there)
        return int(rows[-1]) if len(rows) else None

    def _index(self, name: str) -> Any:
        if name not in self._indexes:
            at_hand = [frame.index for place, frame in self._frames.items() if place.table == name]
            self._tell_reading(name)
            self._indexes[name] = at_hand[0] if at_hand else self._snapshot.table(name, []).index
        return self._indexes[name]

    def _follow(self, found: Link) -> None:
        self._do(lambda: self._open_key(found))

    def _show_related(self, place: int) -> None:
        found = self._related[place]
        filter = " ".join(word(field, value) for field, value in found.values.items())
        self.go(Place(found.table, filter=filter, more=tuple(found.values), record=self.place.record))

    def _close(self) -> None:
        self.go(replace(self.place, record=None))

    def _search_for(self, change: Any) -> None:
        if self._in_view is None or change["new"] != self._in_view.wanted:  # by a person
            self.search(change["new"])

    def _widen(self, change: Any) -> None:
        if self._in_view is not None and change["new"] != self._in_view.everything:  # by a person
            self.go(replace(self.place, everything=change["new"]))

    # -- what it shows

    def _do(self, step: Callable[[], None]) -> None:
        """One step; what goes wrong is said, and all else stays as it is."""
        self.message.value = ""
        try:
            step()
        except SnapshotError as error:
            self._say(brief(str(error)), RED)
        except KeyboardInterrupt:  # of the stop button, while a button of ours reads
            self._say("Interrupted.", RED)
        self.title.value = self._title(self._steps[self._step])
        self.back_button.disabled = self._step == 0
        self.forward_button.disabled = self._step == len(self._steps) - 1

    def _say(self, text: str, colour: str = "") -> None:
        style = f' style="color:{colour}"' if colour else ""
        self.message.value = f'<span role="status"{style} title="{escaped(text)}">{escaped(text)}</span>'

    def _tell_reading(self, what: str) -> None:
        """Seen only where that takes a while."""
        self.title.value = f"Reading {escaped(what)}…"

    def _show(self, place: Place) -> None:
        """All that can fail comes first."""
        frame = None if self._in_view == place.rows else self._frame(place.rows)
        draw = self.tree.close if place.record is None else self._opened(place.record)
        if frame is not None:
            self._in_view = place.rows
            self.grid.show(frame, place.table or f"Hits of {plain(place.wanted)}", filter=place.filter)
            names = list(self._counts)
            self.tables.select(names.index(place.table) if place.table in names else None)
            self.everything.disabled = not place.table
            self.everything.value = place.everything
            self.search_field.value = place.wanted
        elif self.grid.filter != place.filter:
            self.grid.filter = place.filter
        draw()

    def _title(self, place: Place) -> str:
        if not place.table:
            return f"Search: <b>{escaped(place.wanted)}</b>"
        if place.table not in self._names:
            return f"<b>{escaped(place.table)}</b> no records"
        count, bytes_ = self._counts[place.table]
        records = "record" if count == 1 else "records"
        return (
            f'<b>{escaped(place.table)}</b> {count:,} {records}, <span title="{bytes_:,} bytes">{size(bytes_)}</span>'
        )

    def _frame(self, rows: Place) -> pd.DataFrame:
        """What is in view, before it is filtered."""
        if rows not in self._frames:
            while len(self._frames) >= KEPT:
                del self._frames[next(iter(self._frames))]
            self._tell_reading(rows.table or "all tables")
            self._frames[rows] = self._read(rows)
        return self._frames[rows]

    def _read(self, rows: Place) -> pd.DataFrame:
        if not rows.table:
            if not rows.wanted:
                return pd.DataFrame()
            return self._snapshot.search(rows.wanted, ignore_case=True, reveal=self._reveal)
        first = FIRST.get(rows.table)
        columns = None if first is None or rows.everything else tuple(dict.fromkeys([*first, *rows.more]))
        try:
            frame = self._snapshot.table(rows.table, columns, reveal=self._reveal)
        except RecordError as error:
            self._say(str(error), RED)
            frame = self._sound(rows.table, columns)
        if columns is not None and len(frame):  # what this release did not have yet
            frame = frame.loc[:, [name in rows.more or bool(frame[name].notna().any()) for name in frame.columns]]
        return frame

    def _sound(self, name: str, columns: Sequence[str] | None) -> pd.DataFrame:
        """The columns that can be read, one by one."""
        kind = table_type(name)
        if columns is None:
            known = {} if kind is None else fields(kind.struct)
            columns = [
                each for each in self._snapshot.columns(name) if each not in known or not known[each].type.nested
            ]
        frame = self._snapshot.table(name, [], reveal=self._reveal)
        for column in columns:
            if column not in frame.index.names:
                try:
                    frame = frame.join(
                        self._snapshot.table(name, [column], reveal=self._reveal)[column].set_axis(frame.index)
                    )
                except RecordError:
                    continue
        return frame

    def _opened(self, record: Record) -> Callable[[], None]:
        """Read a record, and what is known of what belongs to it: what shows it."""
        kind = table_type(record.table)
        value = self._snapshot.at(record.table, record.position, reveal=self._reveal)
        counts = [(found, self._count(found)) for found in related(record.table, record.key, self._names)]
        belonging = [found for found, count in counts if count != 0]
        names = [
            found.table if count is None else f"{found.table} ({count:,})" for found, count in counts if count != 0
        ]

        def draw() -> None:
            self._related = belonging
            self.tree.show(
                record.table,
                str(record),
                value,
                ANY if kind is None or not kind.struct else Type("struct", struct=kind.struct),
                lambda *named: self._link(record, *named),
                names,
                self._reveal,
            )

        return draw

    def _count(self, found: Related) -> int | None:
        """How many they are; None where it takes long to tell."""
        if self._counts[found.table][0] > FEW:
            return None
        place = Place(found.table, more=tuple(found.values))
        if place not in self._small:
            self._small[place] = self._snapshot.table(found.table, place.more).reset_index()
        frame = self._small[place]
        chosen = [Column(name, frame[name]).equal(value) for name, value in found.values.items()]
        return int(np.logical_and.reduce(chosen).sum())

    def _link(self, record: Record, struct: str, field: str, value: Any, namespace: str) -> Link | None:
        """The record that a value names; none if that is the one that is open."""
        found = link(struct, field, value, namespace, self._names)
        return None if found is not None and (found.table, found.key) == (record.table, record.key) else found

    # -- how it shows itself

    def __repr__(self) -> str:
        return plain(f"<SnapshotBrowser {self._snapshot.meta.source}: {len(self._tables)} tables>")

    def _head(self) -> str:
        meta = self._snapshot.meta
        taken = moment(meta.created) if meta.created is not None else "unknown"
        parts = [
            f"<b>{escaped(meta.source)}</b>",
            f"taken {taken}",
            f"Nomad {escaped(in_words(meta.version_range) or 'unknown')}",
            f'<span title="{meta.size:,} bytes">{size(meta.size)}</span> of state',
        ]
        if self._snapshot.salvage is not None:
            parts.append(f'<b style="color:{RED}">salvaged</b>: {escaped(str(self._snapshot.salvage))}')
        if self._reveal:
            parts.append(f'<b style="color:{RED}">secrets are shown</b>')
        return " · ".join(parts)

    def to_html(self) -> str:
        """The tables, and the first rows of the one in view."""
        counts = [
            [escaped(name), f"{row.Count:,}", f"{row.Bytes:,}", f"{row.Share:.1%}"]
            for name, row in zip(self._tables.index, self._tables.itertuples(), strict=True)
        ]
        parts = [f"<p>{self._head()}</p>", table(counts, ("Table", "Count", "Bytes", "Share"), (1, 2, 3))]
        frame = self.grid.frame
        if len(frame):
            columns = [Column(name, values) for name, values in columns_of(frame.head(LINES))][:CELLS]
            cells = zip(*(column.texts() for column in columns), strict=True)
            rows = [[escaped(text) for text in row] for row in cells]
            more = f"<p>and {len(frame) - LINES:,} more</p>" if len(frame) > LINES else ""
            numbers = [place for place, column in enumerate(columns) if column.right]
            names = [escaped(column.name) for column in columns]
            parts += [f"<p>{self._title(self.place)}</p>", table(rows, names, numbers), more]
        return "".join(parts)
