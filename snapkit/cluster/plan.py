"""A restore as it is planned: what it will do, an id to know the plan by, and what has to be typed to have it done."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapkit.cluster.client import Client
from snapkit.cluster.effects import DECIDED, Effect, effects
from snapkit.cluster.look import Held, View, look
from snapkit.cluster.preflight import judge
from snapkit.errors import SnapshotError, SourceError
from snapkit.files import atomic
from snapkit.format.age import Identity
from snapkit.format.archive import Member, Source
from snapkit.page import AMBER, GREEN, RED, escaped, label, page, plain, table
from snapkit.state.findings.chain import canonical, digest
from snapkit.state.findings.report import Finding, Report
from snapkit.state.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "snapkit.plan/1"
CONFIRMED = 8  # characters of the live ClusterID
SHOWN = 30  # rows of a plan that a notebook's cell shows
_MANY = {"comes back": "come back", "goes away": "go away", "changes": "change"}


class RestoreError(SnapshotError):
    """A restore was not begun, or is not at its end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore will do.

    Attributes:
        archive: `source`, `sha256` (of the file as it stands), `id`, `index`, `created`, `cluster_id`.
        live: `address`, `region`, `cluster_id`, `index`, `taken`, `servers` (names with releases).
        effects: What happens to what people write.
        counts: Of the tables that servers and clients write: table, live records, records of the archive.
        report: Preflight's.
    """

    archive: Mapping[str, Any]
    live: Mapping[str, Any]
    effects: tuple[Effect, ...]
    counts: tuple[tuple[str, int, int], ...]
    report: Report

    @property
    def id(self) -> str:
        """A SHA-256 of the archive, of which cluster it is, and of the table's rows; 64 hex digits."""
        rows = [[e.table, list(e.key), e.happens, e.live, e.what] for e in self.effects]
        return digest(
            canonical({"archive": self.archive["sha256"], "cluster": self.live["cluster_id"], "effects": rows})
        )

    @property
    def confirmation(self) -> str:
        """What has to be typed: the first eight characters of the live ClusterID, or of the plan's id without one."""
        return str(self.live["cluster_id"] or self.id)[:CONFIRMED]

    def errors(self, accept: Collection[str] = ()) -> list[Finding]:
        """What preflight found that stops it: errors of checks that are not accepted."""
        return [f for f in self.report.found if f.severity == "error" and f.check not in accept]

    @property
    def table(self) -> pd.DataFrame:
        """What happens to what people write, a row an object.

        Returns:
            Table (str), Key (object; tuples), Happens (str; comes back, goes away or changes), Name (str), Live (Int64;
            the index at which the live one was written last, where that is told), What (str; the fields that change).
        """
        import pandas as pd

        columns = {
            "Table": ("table", "str"),
            "Key": ("key", "object"),
            "Happens": ("happens", "str"),
            "Name": ("name", "str"),
            "Live": ("live", "Int64"),
            "What": ("what", "str"),
        }
        return pd.DataFrame(
            {
                name: pd.Series([getattr(e, of) for e in self.effects], dtype=kind)
                for name, (of, kind) in columns.items()
            },
            columns=list(columns),
        )

    @property
    def summary(self) -> str:
        """Such as `3 come back, 1 goes away, 2 change`."""
        counts = Counter(str(effect.happens) for effect in self.effects)
        told = [f"{n:,} {what if n == 1 else many}" for what, many in _MANY.items() if (n := counts[what])]
        return ", ".join(told) or "nothing that people write changes"

    def __repr__(self) -> str:
        return plain(f"<Plan {self.id[:12]}: {self.archive['source']} into {self.live['address']}: {self.summary}>")

    def to_text(self) -> str:
        """For a change ticket."""
        return "".join(f"{plain(line)}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"Restore plan {self.id}"
        for name, value in self._facts():
            yield f"{name}: {value}"
        yield f"What happens: {self.summary}"
        for effect in self.effects:
            name = f" ({effect.name})" if effect.name else ""
            yield f"  {effect.happens}: {effect.place}{name}" + (f": {effect.what}" if effect.what else "")
        yield "Tables that servers and clients write, as they were when this was planned:"
        for name, live, wanted in self.counts:
            yield f"  {name}: {live:,} live make way for {wanted:,}"
        yield f"Preflight: {self.report.summary}"
        for finding in self.report.found:
            yield f"  {finding}"
        yield "Steps: the current state is saved and verified; the archive is uploaded; the live state is read back and"
        yield "  compared with it. A rollback restores what was saved."

    def _facts(self) -> Iterator[tuple[str, str]]:
        a, b = self.archive, self.live
        taken = _utc(a["created"]) if a["created"] else "at a time unknown"
        yield "archive", f"{a['source']}, taken {taken}, index {a['index']}, id {a['id']}"
        yield "SHA-256", str(a["sha256"])
        yield "cluster", f"{b['address']}, region {b['region'] or 'unknown'}, index {b['index']} at {_utc(b['taken'])}"
        yield "ClusterID", f"{b['cluster_id'] or 'none'}; to confirm, type {self.confirmation}"
        if b["servers"]:
            yield "servers", ", ".join(b["servers"])

    def to_html(self) -> str:
        """As a page by itself that loads nothing."""
        return page("A restore, as planned", [self._fragment(None)])

    def _repr_html_(self) -> str:
        return self._fragment(SHOWN)

    def _fragment(self, most: int | None) -> str:
        colours = {"comes back": GREEN, "goes away": RED, "changes": AMBER}
        rows = [
            [
                label(e.happens, colours[e.happens]),
                label(e.table),
                escaped("/".join(e.key)) + (f"<br><small>{escaped(e.name)}</small>" if e.name else ""),
                escaped(e.what),
            ]
            for e in self.effects[:most]
        ]
        parts = [f"<p><b>Restore plan {self.id[:12]}</b>: {escaped(self.summary)}</p>"]
        parts.append(table([[label(name), escaped(value)] for name, value in self._facts()]))
        parts.append(table(rows, ("Happens", "Table", "Object", "What")) if rows else "")
        if most is not None and len(self.effects) > most:
            parts.append(f"<p>{len(self.effects) - most:,} more: table lists all</p>")
        counts = [[escaped(name), f"{live:,}", f"{wanted:,}"] for name, live, wanted in self.counts]
        parts.append(table(counts, ("Table", "Live records", "In the archive"), (1, 2)))
        return f'<div style="overflow-wrap:anywhere">{"".join(parts)}{self.report._repr_html_()}</div>'

    def to_json(self) -> dict[str, Any]:
        """As plain data for json: `schema` is `snapkit.plan/1`."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "confirmation": self.confirmation,
            "archive": dict(self.archive),
            "live": dict(self.live),
            "effects": [asdict(effect) | {"key": list(effect.key)} for effect in self.effects],
            "counts": [list(count) for count in self.counts],
            "report": self.report.to_json(),
        }

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """As JSON in a file.

        Raises:
            TargetExistsError: There is one, and `overwrite` is false.
            SourceError: It can't be written.
        """
        with atomic(path, overwrite) as file:
            file.write(json.dumps(self.to_json(), indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """One that was saved.

        Raises:
            SourceError: It can't be read.
            RestoreError: It is no plan, or was altered.
        """
        try:
            document = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise SourceError(f"can't be read ({error.strerror})", os.fspath(path), "name a plan") from error
        except (ValueError, RecursionError) as error:
            raise _no_plan(os.fspath(path)) from error
        return cls.from_json(document, os.fspath(path))

    @classmethod
    def from_json(cls, document: Any, place: str = "the plan") -> Plan:
        """One as `to_json()` gives it.

        Raises:
            RestoreError: It is none, or was altered.
        """
        try:
            if document["schema"] != SCHEMA:
                raise _no_plan(place)
            told = document["report"]
            found = tuple(
                Finding(str(f["check"]), f["severity"], f["place"], f["message"], f["advice"]) for f in told["findings"]
            )
            report = Report(told["source"], found, told["target"], told["snapshot_id"], told["version_range"])
            members = tuple(Member(m["name"], m["size"], m["sha256"]) for m in told["members"])
            report = replace(report, members=members, levels=tuple(told["levels"]), checks=tuple(told["checks"]))
            made = cls(
                document["archive"],
                document["live"],
                tuple(Effect(**{**effect, "key": tuple(effect["key"])}) for effect in document["effects"]),
                tuple((str(name), int(live), int(wanted)) for name, live, wanted in document["counts"]),
                report,
            )
            if made.id != document["id"] or made.confirmation != document["confirmation"]:
                raise RestoreError("is not what its id says", place, "it was altered: make a new plan")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _no_plan(place) from error
        return made


def _utc(moment: Any) -> str:
    """A moment of a plan, for people."""
    try:
        return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (TypeError, ValueError, OverflowError):
        return str(moment)


def _no_plan(place: str) -> RestoreError:
    return RestoreError("is no plan", place, "make one with `snapkit restore FILE --plan -o plan.json`")


def plan(
    client: Client,
    src: Source,
    *,
    keystore: str | os.PathLike[str] | None = None,
    now: datetime | None = None,
    folder: str | os.PathLike[str] = ".",
    token_after: str | None = None,
    identity: Identity | None = None,
) -> Plan:
    """What a restore will do, with preflight's report. Nothing is changed.

    Args:
        client: The live cluster.
        src: The archive.
        keystore: See `preflight()`, as all that follow.
        now: See there.
        folder: See there.
        token_after: See there.
        identity: See there.

    Raises:
        SourceError: There is nothing to read.
        RestoreError: The cluster's state or the archive can't be read: there is nothing to plan.
    """
    with Held(src) as held, look(client, held, keystore=keystore, now=now, identity=identity) as view:
        return planned(client, view, keystore, folder, token_after)


def planned(
    client: Client,
    view: View,
    keystore: str | os.PathLike[str] | None,
    folder: str | os.PathLike[str],
    token_after: str | None,
) -> Plan:
    """As `plan()`, of what was seen already."""
    if view.live is None or view.archive is None:
        report = judge(view, keystore=keystore, folder=folder, token_after=token_after)
        first = next((finding for finding in report.found if finding.severity == "error"), None)
        if first is None:
            raise RestoreError("can't be planned", "the restore", "see preflight's report")
        raise RestoreError(first.message, first.place, first.advice)
    done = tuple(effects(view.live, view.archive))
    report = judge(view, keystore=keystore, folder=folder, token_after=token_after, done=done)
    return Plan(_about_archive(view), _about_live(client, view), done, _counts(view.live, view.archive), report)


def _about_archive(view: View) -> dict[str, Any]:
    assert view.archive is not None
    meta = view.archive.meta
    created = meta.created.isoformat() if meta.created is not None else None
    return {
        "source": view.held.path or view.held.name,
        "sha256": view.held.sha256,
        "id": meta.id,
        "index": meta.index,
        "created": created,
        "cluster_id": meta.cluster_id,
    }


def _about_live(client: Client, view: View) -> dict[str, Any]:
    assert view.live is not None
    meta = view.live.meta
    return {
        "address": client.address,
        "region": view.region,
        "cluster_id": meta.cluster_id,
        "index": meta.index,
        "taken": f"{view.now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "servers": [f"{name} {build} {status}" for name, build, status in view.servers],
    }


def _counts(live: Snapshot, wanted: Snapshot) -> tuple[tuple[str, int, int], ...]:
    now, then = (dict(zip(side.tables.index, map(int, side.tables["Count"]), strict=True)) for side in (live, wanted))
    names = [name for name in {**now, **then} if name not in DECIDED]
    return tuple((name, now.get(name, 0), then.get(name, 0)) for name in sorted(names))
