"""One record as a tree that unfolds, with links to others.

It goes to the browser in a message when it is shown, and never into the widget's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

import pandas as pd

from snapkit.format.schema import ANY, Field, Type, fields
from snapkit.format.values import go_duration
from snapkit.jupyter.front import front
from snapkit.jupyter.grid import size
from snapkit.jupyter.links import Link
from snapkit.page import brief, plain

LONGEST = 4_000  # characters of one value
MOST = 500  # entries of one list or map
ALL = 20_000  # entries of one record
DEEPEST = 100  # levels
EMPTY: tuple[Any, ...] = (None, "", [], {})

Follow = Callable[[str, str, Any, str], Link | None]
Node = dict[str, Any]


class Tree:
    """A record to unfold: what is empty is put aside, times and durations are readable, links are buttons.

    By keyboard: Tab goes from one fold or link to the next, Enter opens it, Escape goes back to the table.

    Attributes:
        widget: To be put among others.
    """

    def __init__(
        self, *, on_link: Callable[[Link], None], on_related: Callable[[int], None], on_close: Callable[[], None]
    ) -> None:
        """Nothing yet.

        Args:
            on_link: Called with the record that a link leads to.
            on_related: Called with the place of what was chosen of what belongs to the record.
            on_close: Called when it is closed.

        Raises:
            SnapshotError: anywidget is not installed.
        """
        self.widget = front("tree")
        self.widget.on_msg(self._hear)
        self._on_link, self._on_related, self._on_close = on_link, on_related, on_close
        self._links: list[Link] = []
        self._shown: dict[str, Any] = {"title": "", "table": "", "related": [], "nodes": []}

    def show(
        self, table: str, title: str, value: Any, kind: Type, follow: Follow, related: Sequence[str], reveal: bool
    ) -> None:
        """Show a record.

        Args:
            table: What it is of.
            title: Its key.
            value: As `Snapshot.get()` has it.
            kind: Its type.
            follow: Struct, field, value and namespace -> the record that is named, if any.
            related: What belongs to it.
            reveal: Are secrets shown?
        """
        branches = Branches(follow, reveal)
        nodes = branches.of(value, kind)
        self._links = branches.links
        self._shown = {"title": plain(brief(title)), "table": plain(table), "related": list(related), "nodes": nodes}
        self._tell()

    def close(self) -> None:
        """Show nothing."""
        self._links = []
        self._shown = {"title": "", "table": "", "related": [], "nodes": []}
        self._tell()

    def _tell(self) -> None:
        self.widget.send({"tell": "record", **self._shown})

    def _hear(self, _: Any, message: dict[str, Any], __: Any) -> None:
        match message:
            case {"ask": "view"}:
                self._tell()
            case {"ask": "link", "link": int(number)} if 0 <= number < len(self._links):
                self._on_link(self._links[number])
            case {"ask": "related", "place": int(place)} if 0 <= place < len(self._shown["related"]):
                self._on_related(place)
            case {"ask": "close"}:
                self._on_close()


class Branches:
    """A value of Nomad's JSON as what the browser draws, by what the schema says of it.

    A node has `name`, and of these what it needs: `text` (one line), `hint` (more of it), `moment` (milliseconds of
    Unix), `block` (text of several lines), `link` (the place in `links`), `nodes` (what it holds).

    Attributes:
        links: The records that are linked to.
    """

    def __init__(self, follow: Follow, reveal: bool) -> None:
        self.links: list[Link] = []
        self._follow = follow
        self._reveal = reveal
        self._left = ALL

    def of(self, value: Any, kind: Type) -> list[Node]:
        """The nodes of what a record holds."""
        if isinstance(value, dict | list):
            return self._nodes(value, kind, "", DEEPEST)
        return [self._node("", value, kind, "", DEEPEST)]

    def _nodes(self, value: dict[str, Any] | list[Any], kind: Type, namespace: str, depth: int) -> list[Node]:
        """A node for each entry; of a map, those that are empty are put aside."""
        if depth == 0:
            return [_note(f"nested more than {DEEPEST} deep: get() has it")]
        inner = kind.element or ANY
        if isinstance(value, list):
            nodes = [self._node(str(i), each, inner, namespace, depth) for i, each in self._some(enumerate(value))]
            return nodes + self._rest(len(nodes), len(value))
        namespace = str(value.get("Namespace") or namespace)
        known = _by_json(kind.struct)
        full: list[Node] = []
        empty: list[Node] = []
        for name, each in self._some(value.items()):
            field = known.get(name)
            node = self._node(name, each, field.type if field else inner, namespace, depth, kind.struct, field)
            (empty if each in EMPTY else full).append(node)
        full += self._rest(len(full) + len(empty), len(value))
        aside = {"name": f"Empty ({len(empty)})", "text": "", "aside": True, "nodes": empty}
        return [*full, aside] if empty else full

    def _some(self, entries: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        """As many as there is room for."""
        for entry in islice(entries, MOST):
            if self._left <= 0:
                return
            self._left -= 1
            yield entry

    def _rest(self, shown: int, count: int) -> list[Node]:
        return [_note(f"{shown:,} of {count:,} are shown: get() has all")] if shown < count else []

    def _node(
        self,
        name: str,
        value: Any,
        kind: Type,
        namespace: str,
        depth: int,
        struct: str = "",
        field: Field | None = None,
    ) -> Node:
        node: Node = {"name": plain(brief(name))}
        own = field.name if field is not None else name
        if isinstance(value, list) and struct and all(isinstance(each, str) for each in value):
            nodes = [
                self._linked({"name": str(i), **_text(each, self._reveal)}, struct, own, each, namespace)
                for i, each in self._some(enumerate(value))
            ]
            return node | {"text": _told(value), "nodes": nodes + self._rest(len(nodes), len(value))}
        if isinstance(value, dict | list):
            return node | {"text": _told(value), "nodes": self._nodes(value, kind, namespace, depth - 1)}
        return self._linked(node | _scalar(value, kind, field, self._reveal), struct, own, value, namespace)

    def _linked(self, node: Node, struct: str, field: str, value: Any, namespace: str) -> Node:
        found = self._follow(struct, field, value, namespace)
        if found is not None:
            node["link"] = len(self.links)
            node["hint"] = plain(f"open {brief('/'.join(found.key))} of {found.table}")
            self.links.append(found)
        return node


def _note(text: str) -> Node:
    return {"name": "…", "text": text}


@cache
def _by_json(struct: str) -> Mapping[str, Field]:
    return {field.json: field for field in fields(struct).values() if field.json is not None}


def _told(value: Any) -> str:
    """What is in a list or map, in a few words."""
    if not value:
        return "none"
    if isinstance(value, list):
        if all(isinstance(each, str | int | float) for each in value):
            few = ", ".join(plain(brief(str(each))) for each in value[:4])
            return f"{few[:80]}{', …' if len(value) > 4 or len(few) > 80 else ''}"
        return f"{len(value):,} entries" if len(value) > 1 else "1 entry"
    for name in ("Name", "ID", "Path", "Type"):
        if isinstance(value.get(name), str) and value[name]:
            return plain(value[name][:80])
    names = ", ".join(plain(brief(str(name))) for name in list(value)[:4])
    return f"{names[:80]}{', …' if len(value) > 4 or len(names) > 80 else ''}"


def _scalar(value: Any, kind: Type, field: Field | None, reveal: bool) -> Node:
    if value is None:
        return {"text": "null"}
    if isinstance(value, bool):
        return {"text": "true" if value else "false"}
    if isinstance(value, int):
        if field is not None and field.time_unit:
            return _moment(value, field.time_unit) if value else {"text": "0", "hint": "not set"}
        if kind.kind == "duration":
            return {"text": go_duration(value), "hint": f"{value:,} ns"}
        if field is not None and field.name.endswith("Bytes"):
            return {"text": size(value), "hint": f"{value:,} bytes"}
        return {"text": str(value)}
    if isinstance(value, str):
        if kind.kind == "time" and value:
            return _moment(value, "")
        return _text(value, reveal)
    return {"text": plain(str(value))}


def _moment(value: Any, unit: str) -> Node:
    """A time in UTC; what no time can hold as it is."""
    try:
        stamp = pd.Timestamp(value, unit=unit, tz="UTC") if unit else pd.Timestamp(value).tz_convert("UTC")
    except (ValueError, OverflowError, TypeError):
        return {"text": plain(str(value))}
    full = stamp.isoformat().replace("+00:00", "Z")
    return {"text": stamp.strftime("%Y-%m-%dT%H:%M:%SZ"), "hint": full, "moment": stamp.timestamp() * 1000}


def _text(value: str, reveal: bool) -> Node:
    if not value:
        return {"text": '""'}
    told = f"… ({len(value):,} characters)" if len(value) > LONGEST else ""
    if not reveal and value.startswith("masked:"):
        return {"text": plain(value[:LONGEST]), "hint": "a secret: browse(snapshot, reveal=True) shows it"}
    if "\n" in value.strip():
        lines = value[:LONGEST].split("\n")
        block = "\n".join(plain(line.replace("\t", "    ")) for line in lines)
        return {"text": f"{value.count(chr(10)) + 1:,} lines", "block": block + told}
    return {"text": plain(value[:LONGEST]) + told}
