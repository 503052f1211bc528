"""A handout: one page on a snapshot, or on what changed between two, for people who have no Jupyter.

The page loads nothing and runs nothing, prints, and shows no secret. Its size is bounded whatever the archive's: of a
long table it has the first rows (of the timeline the last), and says how many there are and which command shows all.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import pandas as pd

from snapkit.errors import SnapshotError
from snapkit.files import atomic
from snapkit.format.age import Identity
from snapkit.format.archive import DEFAULT_LIMITS, Limits, Progress, Source
from snapkit.format.salvage import held
from snapkit.format.salvage.source import Held
from snapkit.format.schema import in_words
from snapkit.page import AMBER, BLUE, GREEN, RED, brief, label, page, plain
from snapkit.page import escaped as one_line
from snapkit.state.access import who
from snapkit.state.access.acl import ANONYMOUS
from snapkit.state.changes.compare import compare
from snapkit.state.changes.timeline import timeline, told_time
from snapkit.state.findings.report import COLOURS, Report
from snapkit.state.output.picture import timeline_svg
from snapkit.state.sizes import By, growth, sizes
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.snapshot.secrets import masker
from snapkit.state.verify import verify
from snapkit.version import __version__

ROWS = 200  # of each table
FIELDS = 20  # of an object that changed; lines of a text's diff
LARGEST = 25  # groups, of what takes most bytes

#: What whoever holds a stolen token would want: the capability, its scope, and what to call it.
STRONG = (
    ("management", None, "everything (management)"),
    ("submit-job", "namespace", "submit jobs"),
    ("alloc-exec", "namespace", "run commands in allocations"),
    ("write", "node", "drain nodes"),
    ("write", "operator", "operate the servers"),
    ("write", "agent", "operate agents"),
)

_STYLE = """
h2{margin:2em 0 .5em}table{border-collapse:collapse;margin:.5em 0 1em;max-width:100%}
caption{text-align:left;font-weight:bold;padding:.5em 0}
th,td{text-align:left;vertical-align:top;padding:.25em .9em .25em 0;border-top:1px solid #80808060}
thead th{border-top:0}th[scope=row]{font-weight:normal}.n{text-align:right;font-variant-numeric:tabular-nums}
.n,.s{white-space:nowrap}.w{overflow-wrap:anywhere;min-width:9em}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.2em 0}code{overflow-wrap:anywhere}
figure{margin:1em 0}figure svg{max-width:100%;height:auto}.n svg{margin-left:.6em}
.verdict{border-left:.4em solid;padding:.3em .8em}
@page{margin:14mm}
@media print{:root{color-scheme:light}.w{min-width:5em}body{max-width:none;margin:0;padding:0;font-size:9pt}
nav{display:none}h2,h3,caption{break-after:avoid}tr,figure,.verdict{break-inside:avoid}thead{display:table-header-group}}
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        id: Stable, and its anchor in the page.
        title: Its heading.
        rows: How many rows its tables could have in all.
        shown: How many they have.
        problem: Why it could not be told; "" if it could.
    """

    id: str
    title: str
    rows: int = 0
    shown: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Handout:
    """A page, and what is in it.

    Attributes:
        title: Its heading.
        reports: What verify says of each snapshot.
        damage: Why each snapshot could not be opened as a whole, with its advice; "" of one that was.
        sections: The parts, in order.
    """

    title: str
    reports: tuple[Report, ...]
    damage: tuple[str, ...]
    sections: tuple[Section, ...]
    _html: str

    @property
    def ok(self) -> bool:
        """Is no snapshot damaged, does verify find no error, and could all be told?"""
        return all(report.ok for report in self.reports) and not any(self.damage) and not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be told, and why."""
        return tuple(f"{section.title}: {section.problem}" for section in self.sections if section.problem)

    @property
    def headline(self) -> str:
        """Source and verdict of each snapshot in one line."""
        told = (
            f"{report.source}: {'DAMAGED; ' if damage else ''}{report.summary}"
            for report, damage in zip(self.reports, self.damage, strict=True)
        )
        return plain(" | ".join(told))

    def __repr__(self) -> str:
        return f"<Handout {self.headline}>"

    def to_html(self) -> str:
        """The page, in ASCII."""
        return self._html

    def to_json(self) -> dict[str, Any]:
        """What is in the page, as plain data for json: `schema` is `snapkit.handout/1`."""
        return {
            "schema": "snapkit.handout/1",
            "title": plain(self.title),
            "ok": self.ok,
            "snapshots": [
                {
                    "source": plain(report.source),
                    "snapshot_id": plain(report.snapshot_id),
                    "ok": report.ok,
                    "summary": report.summary,
                    "damage": plain(damage),
                }
                for report, damage in zip(self.reports, self.damage, strict=True)
            ],
            "sections": [
                {"id": s.id, "title": s.title, "rows": s.rows, "shown": s.shown, "problem": plain(s.problem)}
                for s in self.sections
            ],
            "bytes": len(self._html),
        }

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the page to a file, mode 0600, whole or not at all.

        Raises:
            TargetExistsError: It is there and is not to be overwritten.
            SourceError: The folder can't be written to.
        """
        with atomic(path, overwrite) as file:
            file.write(self._html.encode("ascii"))


def handout(
    a: Source,
    b: Source | None = None,
    *,
    now: datetime | None = None,
    key: bytes | str | None = None,
    rows: int | None = ROWS,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    identity: Identity | None = None,
) -> Handout:
    """A page on a snapshot, or on two of them and what changed from one to the other.

    It has verify's verdict and findings, what the snapshot is, its tables and what their bytes are of, the timeline as
    a picture and as rows, and who holds strong tokens; of two, also what changed, how they grew and how rights differ.
    Of one that is damaged it has what verify found and what is certain in it (`snapkit.open(…, salvage=True)`), and
    says so. The same sources, `now` and `key` give the same bytes.

    Args:
        a: Anything that `snapkit.open()` takes, and the earlier one of two. It is read twice.
        b: The later.
        now: When it is, for tokens that expire and a note on the archive's age. By default as each was taken.
        key: Of the fingerprints that stand for secrets. By default new for each process.
        rows: How many rows of a table to show; None for all.
        limits: Bounds against hostile input.
        progress: Called with the bytes read so far and in all, of each pass over a source.
        identity: What opens a source that is encrypted (age): the path of an identity file, or its text.

    Raises:
        SourceError: There is nothing to read, or it is encrypted and the identity does not open it.
        SnapshotError: An argument makes no sense.
    """
    if rows is not None and rows < 1:
        raise SnapshotError(f"are to be at least 1, and not {rows}", "rows", "give a number, or None for all")
    masker(key)  # so that a key that is none is told, and not taken for damage
    with ExitStack() as stack:
        sides = []
        for source in (a, b) if b is not None else (a,):
            again = stack.enter_context(held(source, limits))
            sides.append(_side(again, stack, now, key, limits, progress, identity))
        return _Writer(sides, now, key, rows).handout()


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the snapshots: None if nothing of it can be opened."""

    report: Report
    snapshot: Snapshot | None
    damage: str = ""

    @property
    def name(self) -> str:
        return self.report.source

    @property
    def word(self) -> str:
        """The source as a shell takes it."""
        return shlex.quote(plain(self.name))


def _side(
    source: Source,
    stack: ExitStack,
    now: datetime | None,
    key: bytes | str | None,
    limits: Limits,
    progress: Progress | None,
    identity: Identity | None,
) -> _Side:
    report = verify(_again(source), now=now, limits=limits, progress=progress, identity=identity)
    try:
        opened = open_snapshot(_again(source), key=key, limits=limits, progress=progress, identity=identity)
        return _Side(report, stack.enter_context(opened))
    except SnapshotError as error:  # it can be read, as verify could
        damage = str(error)
    try:
        salvaged = open_snapshot(_again(source), key=key, limits=limits, identity=identity, salvage=True)
    except SnapshotError:  # nothing of it can be had, and what is wrong is told already
        return _Side(report, None, damage)
    return _Side(report, stack.enter_context(salvaged), damage)


def _again(source: Source) -> Source:
    """To be read from its start."""
    return Held(source.name, source.view) if isinstance(source, Held) else source  # type: ignore[return-value]


# -- the page


class _Writer:
    def __init__(self, sides: Sequence[_Side], now: datetime | None, key: bytes | str | None, rows: int | None) -> None:
        self._sides = sides
        self._now = now
        self._key = key
        self._most = rows
        self._parts: list[str] = []
        self._sections: list[Section] = []
        self._rows = self._shown = 0

    def handout(self) -> Handout:
        names = [side.name for side in self._sides]
        title = f"Nomad snapshot{'s' if len(names) > 1 else ''} {' and '.join(map(brief, names))}"
        opened = [side.snapshot for side in self._sides if side.snapshot is not None]
        self._add("verdict", "Is it whole, and will it restore?", self._verdicts)
        self._add("about", "What it is", self._about)
        if len(opened) == 2:
            before, after = opened
            self._add("changes", "What changed", lambda: self._changes(before, after))
        if opened:
            last = opened[-1]
            self._add("tables", "Tables", lambda: self._tables(opened))
            self._add("sizes", "What takes the bytes", lambda: self._sizes(opened))
            self._add("timeline", "Timeline", lambda: self._timeline(opened))
            self._add("tokens", "Who holds strong tokens", lambda: self._tokens(last))
        if len(opened) == 2:
            self._add("rights", "How rights changed", lambda: self._rights(before, after))
        self._add("page", "About this page", self._page)
        links = "".join(f'<li><a href="#{s.id}">{escaped(s.title)}</a></li>' for s in self._sections)
        parts = [f'<nav aria-label="Contents"><ul>{links}</ul></nav>', "<main>", *self._parts, "</main>"]
        return Handout(
            plain(title),
            tuple(side.report for side in self._sides),
            tuple(side.damage for side in self._sides),
            tuple(self._sections),
            page(title, parts, _STYLE),
        )

    def _add(self, id: str, title: str, told: Callable[[], Iterable[str]]) -> None:
        """A section; one that an odd record does not let be told says so, and does not take the others with it."""
        self._rows = self._shown = 0
        try:
            parts = list(told())
            section = Section(id, title, self._rows, self._shown)
        except SnapshotError as error:
            section = Section(id, title, problem=str(error))
            parts = [f'<p><b style="color:{RED}">Could not be told:</b> {escaped(section.problem)}</p>']
        self._sections.append(section)
        heading = f'<section aria-labelledby="{id}"><h2 id="{id}">{escaped(title)}</h2>'
        self._parts.append("".join([heading, *parts, "</section>"]))

    def _table(
        self,
        caption: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        count: int,
        command: str,
        most: int | None = None,
        which: str = "first",
    ) -> str:
        """A table of cells that are HTML already, as many as are to be shown, and what shows the rest.

        Args:
            caption: What it is of.
            columns: The names, each after what it is: `n:` a number, `s:` short, in one line; else it may be broken.
            rows: The rows; no more than the shown ones are asked for.
            count: How many there are.
            command: What shows all of them.
            most: How many to show.
            which: Those that are shown.
        """
        most = self._most if most is None or self._most is None else min(most, self._most)
        kinds = [name[:1] if name[1:2] == ":" else "w" for name in columns]
        names = [name[2:] if name[1:2] == ":" else name for name in columns]
        head = "".join(f'<th scope="col" class="{k}">{escaped(n)}</th>' for k, n in zip(kinds, names, strict=True))
        body = []
        for row in islice(rows, most):
            first, *rest = (f'class="{kind}">{cell}' for kind, cell in zip(kinds, row, strict=True))
            body.append(f'<tr><th scope="row" {first}</th>{"".join(f"<td {cell}</td>" for cell in rest)}</tr>')
        self._rows += count
        self._shown += len(body)
        more = ""
        if count > len(body):
            shown = f"These are the {which} {len(body):,} of {count:,}"
            more = f"<p>{shown}; <code>{escaped(command)}</code> shows all.</p>"
        caption = f"<caption>{escaped(caption)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{more}"

    # -- its parts

    def _verdicts(self) -> Iterator[str]:
        for side in self._sides:
            report = side.report
            if len(self._sides) > 1:
                yield f"<h3>{escaped(side.name)}</h3>"
            yield _verdict(side)
            levels = f"Checked: {', '.join(report.levels)}. What each finding means is in snapkit's docs/checks.md."
            yield f"<p>{escaped(levels)}</p>"
            if report.found:
                found = (
                    [label(f.severity, COLOURS[f.severity]), *map(escaped, (f.check, f.place, f.message, f.advice))]
                    for f in report.found
                )
                columns = ("s:Severity", "s:Check", "Where", "What", "What to do")
                command = f"snapkit verify {side.word}"
                yield self._table("Findings, the worst first", columns, found, len(report.found), command)

    def _about(self) -> Iterator[str]:
        known = [_facts(side) for side in self._sides]
        names = list(dict.fromkeys(name for facts in known for name in facts))
        rows = ([escaped(name), *(escaped(facts.get(name, "")) for facts in known)] for name in names)
        heads = [side.name for side in self._sides] if len(self._sides) > 1 else ["Value"]
        yield "<p>A snapshot is the backup of a whole Nomad cluster: what runs, where, and who may do what.</p>"
        yield self._table("What is known of it as a whole", ("What", *heads), rows, len(names), "", most=len(names))

    def _changes(self, before: Snapshot, after: Snapshot) -> Iterator[str]:
        changes = compare(before, after, key=self._key)
        yield f"<p><b>{escaped(changes.headline)}</b></p>"
        for finding in changes.found:
            told = ": ".join(part for part in (finding.place, finding.message) if part)
            yield f"<p>{label(finding.severity, COLOURS[finding.severity])} {escaped(told)}</p>"
        command = f"snapkit diff {self._words()}"
        summary = [
            [escaped(str(name)), *(f"{int(n):,}" for n in counts)]
            for name, *counts in changes.summary.reset_index().itertuples(index=False)
        ]
        if summary:
            columns = ("s:Table", "n:Added", "n:Removed", "n:Changed", "n:Only grew older")
            yield self._table("Objects by table", columns, summary, len(summary), f"{command} --summary")
        if len(changes):
            heads = ("s:Change", "s:Table", "Object", "What")
            yield self._table("Objects that changed", heads, changes.cells(FIELDS), len(changes), command)

    def _tables(self, snapshots: Sequence[Snapshot]) -> Iterator[str]:
        last = snapshots[-1]
        if len(snapshots) == 2:
            frame = growth(snapshots[0], last)
            heads = ("s:Table", "n:Records before", "n:Records after", "n:Bytes before", "n:Bytes after", "n:Growth")
            rows = ([escaped(str(name)), *_counts(values), _signed(grown)] for name, values, grown in _grown(frame))
            yield self._table("Tables, what grew most first", heads, rows, len(frame), f"snapkit diff {self._words()}")
            return
        frame = last.tables
        rows = (
            [escaped(str(name)), escaped(kind), f"{count:,}", f"{size:,}", _share(share)]
            for name, kind, count, size, share in frame.reset_index().itertuples(index=False)
        )
        columns = ("s:Table", "s:In Nomad", "n:Records", "n:Bytes", "n:Share")
        yield f"<p>{len(frame)} tables with {int(frame['Count'].sum()):,} records, {last.meta.size:,} bytes in all.</p>"
        yield self._table("Tables, the largest first", columns, rows, len(frame), f"snapkit show {self._last_word()}")

    def _sizes(self, snapshots: Sequence[Snapshot]) -> Iterator[str]:
        groupings: tuple[By, ...] = ("namespace", "job")
        for by in groupings:
            names = ["Namespace"] if by == "namespace" else ["Namespace", "Job"]
            if len(snapshots) == 2:
                frame = growth(snapshots[0], snapshots[1], by)
                frame = frame[frame["Growth"] != 0]
                rows = (
                    [*_group(name, len(names)), *_counts(values[2:]), _signed(grown)]
                    for name, values, grown in _grown(frame)
                )
                columns = [*names, "n:Bytes before", "n:Bytes after", "n:Growth"]
                caption = f"By {by}, what grew most first"
                command = f"snapkit sizes {self._last_word()} --by {by} --against {self._sides[0].word}"
            else:
                frame = sizes(snapshots[-1], by)
                rows = (
                    [*_group(name, len(names)), f"{count:,}", f"{size:,}", _share(share)]
                    for name, count, size, share in frame.itertuples()
                )
                columns = [*names, "n:Records", "n:Bytes", "n:Share"]
                caption = f"By {by}, the largest first"
                command = f"snapkit sizes {self._last_word()} --by {by}"
            if len(frame):
                yield self._table(caption, columns, rows, len(frame), command, most=LARGEST)
            else:
                yield f"<p>By {by}: nothing grew or shrank.</p>"

    def _timeline(self, snapshots: Sequence[Snapshot]) -> Iterator[str]:
        clusters = {s.meta.cluster_id for s in snapshots} - {None}
        if len(clusters) > 1:
            yield "<p>The two are of different clusters: this is the timeline of the second alone.</p>"
            snapshots = snapshots[-1:]
        events = timeline(*snapshots)
        words = " ".join(side.word for side in self._sides if side.snapshot in snapshots)
        taken = [s.meta.created for s in snapshots if s.meta.created is not None]
        how = (
            "A line for each kind of event: dots where the time is known (larger ones are several events), bars where "
            "only a window is. Times are UTC; by whom something was done is in a snapshot of few things."
        )
        if picture := timeline_svg(events, max(taken, default=None)):
            yield f"<figure>{picture}<figcaption>{how}</figcaption></figure>"
        shown = events if self._most is None else events.tail(self._most)
        rows = (
            [
                told_time(event, _time, _between),
                escaped(event["Kind"]),
                escaped(event["Message"]),
                _number(event["Index"]),
            ]
            for event in shown.to_dict("records")
        )
        columns = ("s:When (UTC)", "s:Kind", "What", "n:Raft index")
        yield self._table("Events in order", columns, rows, len(events), f"snapkit timeline {words}", which="last")

    def _tokens(self, snapshot: Snapshot) -> Iterator[str]:
        if snapshot.salvage is not None:
            yield "<p>Parts of the state are lost: there may be more than are told of here.</p>"
            if "acl_tokens" not in snapshot.tables.index:  # which would else read as: there were none
                yield "<p>The tokens are among what is lost: who holds one can't be told.</p>"
                return
        holders = _strong(snapshot, self._now)
        every = who.subjects(snapshot, now=self._now).to_dict("records")
        through = {
            (subject["Kind"], subject["ID"]): "; ".join(filter(None, (subject["Through"], subject["Problem"])))
            for subject in every
        }
        rows = (
            [
                escaped(name or "(no name)"),
                escaped(id or kind),
                escaped(", ".join(may)),
                escaped(through.get((kind, id), "")),
                escaped(valid),
                _time(expires),
            ]
            for (kind, id, name), (may, valid, expires) in holders.items()
        )
        yield (
            "<p>Who may do, by the rights in the snapshot, what an intruder would want. Tokens are named by their "
            "AccessorID; their secrets are in the archive, and not here.</p>"
        )
        if not holders:
            yield "<p>Nobody holds one.</p>"
            return
        columns = ("Name", "AccessorID", "May", "Through", "s:Valid", "s:Expires (UTC)")
        yield self._table("Tokens and others", columns, rows, len(holders), f"snapkit who {self._last_word()}")

    def _rights(self, before: Snapshot, after: Snapshot) -> Iterator[str]:
        frame = who.folded(who.rights_changes(before, after))
        command = f"snapkit who {self._sides[0].word} --against {self._last_word()}"
        if frame.empty:
            yield "<p>They did not.</p>"
            return
        rows = (
            [
                label(row["Change"], GREEN if row["Change"] == "added" else RED),
                *map(escaped, (row["Kind"], row["Subject"] or row["ID"], row["Scope"])),
                *map(escaped, (f"{row['Name']} {row['Path']}".strip(), row["Capability"], row["Policy"])),
            ]
            for row in frame.to_dict("records")
        )
        columns = ("s:Change", "s:Kind", "Whose", "s:Scope", "Where", "Capability", "Policy")
        yield self._table("Rights that came and went", columns, rows, len(frame), command)

    def _page(self) -> Iterator[str]:
        yield (
            f"<p>Made by snapkit {escaped(__version__)}. Sizes are bytes of the uncompressed state; times are UTC. "
            "Secrets are masked: the same <code>masked:…</code> stands for the same secret. What is no text is U+FFFD. "
            "The archive itself holds every token of the cluster in the clear: hand on this page, and not the "
            "archive.</p>"
        )

    def _words(self) -> str:
        return " ".join(side.word for side in self._sides)

    def _last_word(self) -> str:
        return [side.word for side in self._sides if side.snapshot is not None][-1]


def _verdict(side: _Side) -> str:
    if side.damage:
        told = f"<b>Damaged.</b> {escaped(side.damage)}."
        if side.snapshot is None:
            more = "Nothing in it could be opened: this page has what verify found."
        else:
            more = (
                f"What follows is of the records that are certainly as the server wrote them: {side.snapshot.salvage}."
            )
        told, colour = f"{told} {escaped(more)}", RED
    else:
        word = "Ok" if side.report.ok else "Not ok"
        colour = {"error": RED, "warning": AMBER}.get(side.report.worst or "", GREEN)
        told = f"<b>{word}.</b> {escaped(side.report.verdict)}"
    return f'<p class="verdict" style="border-color:{colour}">{told} In short: {escaped(side.report.summary)}.</p>'


def _facts(side: _Side) -> dict[str, str]:
    """What is known of a snapshot as a whole, by what to call it."""
    report = side.report
    facts = {"Source": side.name, "Snapshot": report.snapshot_id or "unknown"}
    if (snapshot := side.snapshot) is not None:
        meta = snapshot.meta
        servers = (f"{server.get('ID', '')} {server.get('Address', '')}" for server in meta.servers)
        records = int(snapshot.tables["Count"].sum())
        facts |= {
            "Taken": f"{_moment(meta.created)} UTC" if meta.created is not None else "unknown",
            "Cluster": meta.cluster_id or "unknown",
            "Raft": f"index {_known(meta.index)}, term {_known(meta.term)}",
            "Servers": ", ".join(servers) or "unknown",
            "State": f"{meta.size:,} bytes, {records:,} records in {len(snapshot.tables)} tables",
        }
        if snapshot.salvage is not None:
            facts["Salvaged"] = str(snapshot.salvage)
        if snapshot.archive.oddities:
            facts["Odd"] = "; ".join(f"{oddity.place}: {oddity.message}" for oddity in snapshot.archive.oddities)
    facts["Written by"] = f"a Nomad {in_words(report.version_range)}" if report.version_range else "unknown"
    for member in report.members:
        facts[f"{member.name}"] = f"{member.size:,} bytes, SHA-256 {member.sha256}"
    return facts


def _strong(
    snapshot: Snapshot, now: datetime | None
) -> dict[tuple[str, str, str], tuple[list[str], str, pd.Timestamp | None]]:
    """Who may do what is in `STRONG`: by kind, ID and name; what, whether valid at that time, and until when."""
    found: dict[tuple[str, str, str], tuple[list[str], str, pd.Timestamp | None]] = {}
    all_ = STRONG[0][2]
    for capability, scope, name in STRONG:
        for row in who.who_could(snapshot, capability, scope=scope, now=now).to_dict("records"):
            kind = row["Type"] if row["Type"] in (ANONYMOUS, "workload") else "token"
            id = row["Name"] if kind == "workload" else row["AccessorID"] if kind == "token" else ""
            may, *_ = found.setdefault((kind, id, row["Name"]), ([], row["Valid"], row["ExpirationTime"]))
            if all_ not in may:
                may.append(name if row["Could"] == "yes" else f"maybe {name} (its rules are not understood)")
    return found


def _grown(frame: pd.DataFrame) -> Iterator[tuple[Any, Sequence[int], int]]:
    """Rows of `growth()`: the group, CountBefore, CountAfter, BytesBefore and BytesAfter, and Growth."""
    return ((name, values, grown) for name, *values, grown in frame.itertuples())


def _group(name: Any, count: int) -> list[str]:
    parts = name if isinstance(name, tuple) else (name,)
    return [escaped(part if isinstance(part, str) else "(none)") for part in parts[:count]]


def _counts(values: Iterable[int]) -> list[str]:
    return [f"{int(value):,}" for value in values]


def _signed(value: int) -> str:
    return f"{int(value):+,}"


def _number(value: Any) -> str:
    return "" if pd.isna(value) else f"{int(value)}"


def _share(share: float) -> str:
    """A number, and a bar for the eye: drawn, as printers leave out backgrounds."""
    bar = f'<rect width="{80 * share:.1f}" height="10" fill="{BLUE}"/>'
    return f'{share:.1%}<svg width="80" height="10" viewBox="0 0 80 10" aria-hidden="true">{bar}</svg>'


def escaped(text: Any) -> str:
    """One line of text as HTML, of what is very long its beginning."""
    return one_line(brief(str(text)))


def _known(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _moment(moment: pd.Timestamp) -> str:
    return moment.tz_localize(None).isoformat(" ", "seconds")


def _time(moment: pd.Timestamp | None) -> str:
    """As HTML; "" for none."""
    if moment is None or pd.isna(moment):
        return ""
    return f'<time datetime="{moment.isoformat()}">{_moment(moment)}</time>'


def _between(earliest: pd.Timestamp, latest: pd.Timestamp) -> str:
    return f"{_time(earliest)} to<br>{_time(latest)}"
