"""What changed from one snapshot to another, to look at: as tables, as text, as data and as a page."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal, TypeAlias

import pandas as pd

from snapkit.errors import NotInSnapshotError
from snapkit.format.schema import RecordType, Type, fields
from snapkit.format.values import GoTime, Mask, to_json, unpack
from snapkit.page import AMBER, BLUE, GREEN, RED, brief, escaped, label, page, plain, table
from snapkit.state.changes.fielddiff import FieldChange
from snapkit.state.findings.report import Finding, findings_frame
from snapkit.state.snapshot import Meta

ObjectChange: TypeAlias = Literal["added", "removed", "changed"]
CHANGES: tuple[ObjectChange, ...] = ("added", "removed", "changed")
_COLOURS = {"added": GREEN, "removed": RED, "changed": AMBER, "moved": BLUE}
SHOWN = 100  # objects that a notebook's cell shows; to_html() has all
WIDE = 200  # characters of a value in HTML and text; the DataFrames have all

#: Tables about other tables: any write moves them.
BOOKKEEPING = {"indexes", "time_table"}
#: What a person calls a record whose key says nothing.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "nodes": ("Name",),
    "allocs": ("Name",),
    "evals": ("JobID", "TriggeredBy"),
    "deployments": ("JobID", "JobVersion"),
    "acl_tokens": ("Name",),
    "acl_roles": ("Name",),
    "acl_binding_rules": ("AuthMethod", "BindName"),
    "services": ("ServiceName",),
    "host_volumes": ("Name",),
    "csi_volumes": ("Name",),
    "scaling_policies": ("Type",),
}


@dataclass(frozen=True, slots=True)
class Changed:
    """One object that two snapshots have otherwise.

    Attributes:
        kind: Its record type.
        key: Its key.
        change: `added`, `removed` or `changed`.
        before: The earlier record, packed; None if it was added.
        after: The later one; None if it was removed.
        fields: Of one that changed, what of it.
        noise: Why each of `fields` means nothing by itself; "" for those that do.
    """

    kind: RecordType
    key: tuple[Any, ...]
    change: ObjectChange
    before: bytes | None
    after: bytes | None
    fields: tuple[FieldChange, ...] = ()
    noise: tuple[str, ...] = ()

    @property
    def is_noise(self) -> bool:
        """Has it only grown older?"""
        return self.kind.table in BOOKKEEPING or (self.change == "changed" and all(self.noise))


@dataclass(frozen=True, slots=True)
class Sources:
    """What a job was submitted with: as it stands in the earlier snapshot, and in the later.

    Attributes:
        key: Namespace and ID of the job.
        versions: Of the job, earlier and later.
        before: The job's file, and after it the variables that were given with it, a line each.
        after: The same of the later version.
    """

    key: tuple[Any, ...]
    versions: tuple[int, int]
    before: str
    after: str

    @property
    def diff(self) -> str:
        """A unified diff."""
        return _unified(self.before, self.after)


class Changes:
    """What changed from one snapshot to another.

    Attributes:
        a: What is known of the earlier snapshot.
        b: Of the later.
        found: What the two are to each other: another cluster, a restore between them.
    """

    def __init__(
        self,
        a: Meta,
        b: Meta,
        objects: Sequence[Changed],
        found: tuple[Finding, ...],
        sources: tuple[Sources, ...],
        noise: bool,
        mask: Mask,
    ) -> None:
        self.a = a
        self.b = b
        self.found = found
        self._all = objects
        self._sources = sources
        self._noise = noise
        self._mask = mask
        self._objects = [item for item in objects if noise or not item.is_noise]

    @property
    def revealed(self) -> bool:
        """Are secrets shown in it?"""
        return self._mask is None

    def __len__(self) -> int:
        """How many objects changed."""
        return len(self._objects)

    @property
    def findings(self) -> pd.DataFrame:
        """What the two snapshots are to each other.

        Returns:
            Check, Severity, Place, Message, Advice (all str).
        """
        return findings_frame(self.found)

    @cached_property
    def _summary(self) -> pd.DataFrame:
        counts: dict[str, list[int]] = {}
        for item in self._all:
            column = 3 if item.is_noise and not self._noise else CHANGES.index(item.change)
            counts.setdefault(item.kind.table, [0, 0, 0, 0])[column] += 1
        index = pd.Index(list(counts), dtype="str", name="Table")
        return pd.DataFrame(
            {
                name: pd.array([row[i] for row in counts.values()], dtype="Int64")
                for i, name in enumerate(("Added", "Removed", "Changed", "Noise"))
            },
            index=index,
        )

    @property
    def summary(self) -> pd.DataFrame:
        """How many objects of each table.

        Returns:
            Index Table (str); Added, Removed, Changed, and Noise: those set apart as having only grown older (Int64).
        """
        return self._summary.copy()

    @cached_property
    def _objects_frame(self) -> pd.DataFrame:
        return _objects_frame(self._objects, self._mask)

    @property
    def objects(self) -> pd.DataFrame:
        """The objects that changed, in the order of tables and keys.

        Returns:
            Table (str), Key (object; tuples), Change (str; added, removed or changed), Name (str; what people call it
            where the key does not tell), Index (UInt64; its ModifyIndex, of the later record), Fields (Int64; how many
            of its fields changed).
        """
        return self._objects_frame.copy()

    @cached_property
    def _fields_frame(self) -> pd.DataFrame:
        return _fields_frame(self._objects, self._mask, self._noise)

    @property
    def fields(self) -> pd.DataFrame:
        """The fields of the objects that changed.

        Returns:
            Table (str), Key (object; tuples), Path (str; as `FieldChange.path`), Change (str; added, removed, changed
            or moved), Before and After (object; as Nomad's JSON has them), Diff (str; a unified diff of text of
            several lines, else ""), Noise (str; why it means nothing by itself: only with `noise=True`).
        """
        return self._fields_frame.copy()

    @cached_property
    def _submitted(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The rows of `sources`, by key: a diff takes long, and all that shows changes asks for it."""
        rows = {}
        for source in self._sources:
            diff = source.diff
            lines = diff.splitlines()
            rows[source.key] = {
                "Table": "jobs",
                "Key": source.key,
                "Before": source.versions[0],
                "After": source.versions[1],
                "Added": sum(line.startswith("+") for line in lines),
                "Removed": sum(line.startswith("-") for line in lines),
                "Diff": diff if self._mask is None else "",
            }
        return rows

    @property
    def sources(self) -> pd.DataFrame:
        """What people submitted (the job's file, and the variables given with it), of jobs with another version.

        Returns:
            Table (str; jobs), Key (object; tuples), Before and After (UInt64; versions), Added and Removed (Int64;
            lines), Diff (str; a unified diff; "" unless secrets are revealed, as what is submitted may hold some).
        """
        frame = _frame(("Table", "Key", "Before", "After", "Added", "Removed", "Diff"), list(self._submitted.values()))
        numbers = dict.fromkeys(("Before", "After"), "UInt64") | dict.fromkeys(("Added", "Removed"), "Int64")
        return frame.astype(numbers)

    @property
    def noise(self) -> pd.DataFrame:
        """What was set apart: the objects that have only grown older.

        Returns:
            As `objects`.
        """
        return _objects_frame([item for item in self._all if item.is_noise], self._mask)

    def get(self, table: str, *key: Any) -> pd.DataFrame:
        """One object's change, field by field, with what is set apart as noise elsewhere.

        Returns:
            Path (str), Change (str), Before and After (object), Diff (str), Noise (str). An object that was added or
            removed has one row, with the path "".

        Raises:
            NotInSnapshotError: It did not change.
        """
        item = self._item(table, key)
        frame = _fields_frame([item], self._mask, True)
        if item.change != "changed":
            before, after = (_shown(packed, item.kind, self._mask) for packed in (item.before, item.after))
            row = {"Path": "", "Change": item.change, "Before": before, "After": after, "Diff": "", "Noise": ""}
            frame = _frame(_FIELDS, [{"Table": table, "Key": item.key} | row])
        return frame.drop(columns=["Table", "Key"])

    def told(self, table: str, *key: Any) -> pd.DataFrame:
        """As `get()`, for a person: times in UTC, and of a job also what was submitted.

        Raises:
            NotInSnapshotError: It did not change.
        """
        item = self._item(table, key)
        if item.change != "changed":
            return self.get(table, *key)
        rows = [row | dict(zip(("Before", "After"), row["told"], strict=True)) for row in self._rows(item, noise=True)]
        blank = {"Table": table, "Key": item.key, "Noise": ""}
        return _frame(_FIELDS, [blank | row for row in rows]).drop(columns=["Table", "Key"])

    def _item(self, table: str, key: tuple[Any, ...]) -> Changed:
        if len(key) == 1 and isinstance(key[0], tuple):
            key = key[0]
        wanted = tuple(map(str, key))
        for item in self._all:
            if item.kind.table == table and tuple(map(str, item.key)) == wanted:
                return item
        raise NotInSnapshotError("did not change", f"table {table}, {name_of(key)}", "objects lists what did")

    # -- how it shows itself

    def __repr__(self) -> str:
        return plain(f"<Changes {self.a.source} to {self.b.source}: {self.headline}>")

    @property
    def headline(self) -> str:
        """Such as `3 added, 1 removed, 2 changed; 17 have only grown older`."""
        counts = {name: sum(item.change == name for item in self._objects) for name in CHANGES}
        told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "no differences"
        set_apart = len(self._all) - len(self._objects)
        return f"{told}; {set_apart:,} have only grown older" if set_apart else told

    def to_json(self) -> dict[str, Any]:
        """As plain data for json: `schema` is `snapkit.changes/1`."""
        return {
            "schema": "snapkit.changes/1",
            "a": _side(self.a),
            "b": _side(self.b),
            "same": not self._objects,
            "findings": [
                {"check": f.check, "severity": f.severity, "place": plain(f.place), "message": f.message}
                for f in self.found
            ],
            "summary": [
                {"Table": str(name), **{str(column): int(count) for column, count in row.items()}}
                for name, row in zip(self._summary.index, self._summary.to_dict("records"), strict=True)
            ],
            "objects": _rows(self._objects_frame),
            "fields": _rows(self._fields_frame),
            "sources": _rows(self.sources),
        }

    def to_text(self) -> str:
        """For a terminal: what the two are, then each object and under it each field, as a diff has it."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield plain(f"--- {_title(self.a)}")
        yield plain(f"+++ {_title(self.b)}")
        for finding in self.found:
            yield str(finding)
        for item in self._objects:
            sign = {"added": "+", "removed": "-", "changed": "~"}[item.change]
            name = _called(item, self._mask)
            yield plain(f"{sign} {item.kind.table} {name_of(item.key)}" + (f" ({name})" if name else ""))
            for row in self._rows(item):
                yield from _field_lines(row)
        yield self.headline

    def _rows(self, item: Changed, noise: bool | None = None) -> Iterator[dict[str, Any]]:
        """What is shown of an object: its fields, and of a job the file that it was submitted with."""
        yield from _field_rows(item, self._mask, self._noise if noise is None else noise)
        if item.kind.table == "jobs" and (row := self._submitted.get(item.key)) is not None:
            told = f"{row['Added']} lines added, {row['Removed']} removed; shown if secrets are revealed"
            path = f"what was submitted (version {row['Before']} to {row['After']})"
            yield {"Path": path, "Change": "told", "Diff": row["Diff"], "told": ["", told]}

    def to_html(self) -> str:
        """As a page by itself that loads nothing: for people who have no Jupyter."""
        return page("snapkit diff", self._parts(None))

    def _repr_html_(self) -> str:
        return "".join(self._parts(SHOWN))

    def _parts(self, most: int | None) -> Iterator[str]:
        yield f"<p><b>{escaped(self.headline)}</b></p>"
        sides = [("from", _title(self.a)), ("to", _title(self.b))]
        yield table([[escaped(name), escaped(title)] for name, title in sides])
        for finding in self.found:
            colour = {"error": RED, "warning": AMBER, "note": BLUE}[finding.severity]
            told = escaped(": ".join(part for part in (finding.place, finding.message) if part))
            yield f'<p><b style="color:{colour}">{finding.severity}</b> {told}</p>'
        if self._all:
            yield table(
                [
                    [escaped(str(name)), *(f"{count:,}" for count in row)]
                    for name, *row in self._summary.reset_index().to_numpy().tolist()
                ],
                ("Table", "Added", "Removed", "Changed", "Only older"),
                range(1, 5),
            )
        if self._objects:
            rows = islice(self.cells(), most)
            yield f'<div style="overflow-wrap:anywhere">{table(rows, ("Change", "Table", "Object", "What"))}</div>'
        if most is not None and len(self._objects) > most:
            yield f"<p>{len(self._objects) - most:,} more: objects and fields list all</p>"

    def cells(self, most: int | None = None) -> Iterator[list[str]]:
        """A row of cells that are HTML for each object that changed: Change, Table, Object, What.

        Args:
            most: How many of an object's fields to show, and lines of a diff; What says how many more there are.
        """
        for item in self._objects:
            name = _called(item, self._mask)
            called = escaped(_brief(name_of(item.key)))
            called += f"<br><small>{escaped(_brief(name))}</small>" if name else ""
            rows = self._rows(item)
            what = [_field_html(row, most) for row in islice(rows, most)]
            if left := sum(1 for _ in rows):
                what.append(f"<div>and {left:,} more fields</div>")
            yield [label(item.change, _COLOURS[item.change]), label(item.kind.table), called, "".join(what)]


_FIELDS = ("Table", "Key", "Path", "Change", "Before", "After", "Diff", "Noise")
_OBJECTS = ("Table", "Key", "Change", "Name", "Index", "Fields")
_DTYPES = {"Key": "object", "Before": "object", "After": "object", "Index": "UInt64", "Fields": "Int64"}


def _frame(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=_DTYPES.get(name, "str")) for name in names},
        columns=list(names),
    )


def _objects_frame(objects: Iterable[Changed], mask: Mask) -> pd.DataFrame:
    rows = [
        {
            "Table": item.kind.table,
            "Key": item.key,
            "Change": item.change,
            "Name": _called(item, mask),
            "Index": index_of(item.after if item.after is not None else item.before) or None,
            "Fields": sum(not noise for noise in item.noise),
        }
        for item in objects
    ]
    return _frame(_OBJECTS, rows)


def _called(item: Changed, mask: Mask) -> str:
    names = _NAMES.get(item.kind.table, ())
    if not names:
        return ""
    known = fields(item.kind.struct)
    record = value_of(item.after if item.after is not None else item.before)
    if not isinstance(record, dict):
        return ""
    shown = [to_json(record.get(n.encode()), known[n].type, mask, secret=known[n].secret) for n in names if n in known]
    return " ".join(str(part) for part in shown if part not in (None, ""))


def _fields_frame(objects: Iterable[Changed], mask: Mask, noise: bool) -> pd.DataFrame:
    rows = [row for item in objects for row in _field_rows(item, mask, noise)]
    frame = _frame(_FIELDS, rows)
    return frame if noise else frame.drop(columns=["Noise"])


def _field_rows(item: Changed, mask: Mask, noise: bool) -> Iterator[dict[str, Any]]:
    for change, reason in zip(item.fields, item.noise, strict=True):
        if noise or not reason:
            before, after = change.values(mask)
            told = [_moment(value, change.time_unit) for value in (before, after)]
            yield {
                "Table": item.kind.table,
                "Key": item.key,
                "Path": change.path,
                "Change": change.change,
                "Before": before,
                "After": after,
                "Diff": text_diff(before, after),
                "Noise": reason,
                "told": told,
            }


def _moment(value: Any, unit: str) -> Any:
    """A time that is an integer, for a person; anything else as it is."""
    if not unit or not isinstance(value, int) or value == 0:
        return value
    seconds, nanoseconds = divmod(value, 10**9) if unit == "ns" else (value, 0)
    return str(GoTime(seconds, nanoseconds))


def _shown(packed: bytes | None, kind: RecordType, mask: Mask) -> Any:
    return None if packed is None else to_json(unpack(packed), Type("struct", struct=kind.struct), mask)


def text_diff(before: Any, after: Any) -> str:
    """A unified diff of text that people wrote in lines; "" of anything else."""
    in_lines = isinstance(before, str) and isinstance(after, str) and ("\n" in before or "\n" in after)
    return _unified(before, after) if in_lines else ""


def _unified(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="", n=2)
    return "\n".join(islice(lines, 2, None))  # without the names


def _side(meta: Meta) -> dict[str, Any]:
    created = meta.created.isoformat() if meta.created is not None else None
    return {
        "source": plain(meta.source),
        "id": meta.id,
        "index": meta.index,
        "created": created,
        "cluster_id": meta.cluster_id,
    }


def _title(meta: Meta) -> str:
    created = f"{meta.created:%Y-%m-%d %H:%M:%S} UTC" if meta.created is not None else "taken at a time unknown"
    return f"{meta.source}: {created}, index {meta.index if meta.index is not None else 'unknown'}"


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows as plain data: NA as null, keys as lists."""
    rows = frame.astype("object").where(frame.notna(), None).to_dict("records")
    return [{str(name): list(v) if isinstance(v, tuple) else v for name, v in row.items()} for row in rows]


def _brief(value: Any) -> str:
    return brief(plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)), WIDE)


def _field_lines(row: Mapping[str, Any]) -> Iterator[str]:
    path, before, after = map(_brief, (row["Path"], *row["told"]))
    if row["Diff"]:
        yield plain(f"    {path}:")
        for line in row["Diff"].splitlines():
            yield f"      {plain(line)}"
    elif row["Change"] == "told":
        yield plain(f"    {path}: {after}")
    elif row["Change"] in ("changed", "moved"):
        yield plain(f"    {path}: {'order ' if row['Change'] == 'moved' else ''}{before} -> {after}")
    else:
        sign, value = ("+", after) if row["Change"] == "added" else ("-", before)
        yield plain(f"    {sign} {path}: {value}")


def _field_html(row: Mapping[str, Any], most: int | None) -> str:
    if not row["Diff"]:
        return "".join(f"<div>{escaped(line.strip())}</div>" for line in _field_lines(row))
    colours = {"+": GREEN, "-": RED, "@": BLUE}
    every = row["Diff"].splitlines()
    shown = every if most is None else map(_brief, every[:most])
    lines = [f'<span style="color:{colours.get(line[:1], "inherit")}">{escaped(line)}</span>' for line in shown]
    if len(every) > len(lines):
        lines.append(f"and {len(every) - len(lines):,} more lines")
    return f'<div>{escaped(_brief(row["Path"]))}:<pre style="margin:.2em 0">{"<br>".join(lines)}</pre></div>'


# -- of a record that is packed


def value_of(packed: bytes | None) -> Any:
    """A packed value as Python has it."""
    return None if packed is None else unpack(packed)


def name_of(key: tuple[Any, ...]) -> str:
    """A key as people write it."""
    return "/".join(map(str, key))


def index_of(packed: bytes | None, name: bytes = b"ModifyIndex") -> int:
    """An index that a packed record has; 0 where there is none."""
    record = value_of(packed)
    index = record.get(name) if isinstance(record, dict) else None
    return index if isinstance(index, int) and 0 <= index < 2**64 else 0
