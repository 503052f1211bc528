"""The nightly check: what is damaged, missing, too old or may go, for people, scripts, Prometheus and CI."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import pandas as pd

from snapkit.errors import SnapshotError
from snapkit.files import atomic
from snapkit.fleet import retention
from snapkit.fleet.catalog import Catalog, duration, utc
from snapkit.fleet.entries import VERDICTS, Entry, checks_of
from snapkit.fleet.retention import Keep, of_future
from snapkit.page import plain
from snapkit.state.findings.report import SEVERITIES, Severity, Unread, at_or_above, junit
from snapkit.state.output.export import records
from snapkit.version import __version__

PREFIX = "snapkit_fleet"
#: node_exporter reads metrics as another user; there is nothing secret in them.
METRICS_MODE = 0o644


@dataclass(frozen=True)
class Check:
    """What a check of a catalog found.

    Attributes:
        moment: When it was.
        fail_on: The severity of a finding that makes an archive bad.
        target: The release to be restored into; None for the one that wrote each.
        entries: The archives that are there now.
        new: Those that were read now.
        judged: Those that were judged: all that were there, or those that are new.
        stale: What there is to say of clusters whose newest good archive is too old, or that have none.
        gaps: As `Catalog.gaps()`, up to now.
        mixed: As `Catalog.mixed()`.
        went_back: As `Catalog.went_back()`.
        newest_good: As `Catalog.newest_good()`.
        retention: As `Catalog.retention()`, or of `Catalog.prune()` where it was to be done; None without a rule.
        pruned: Was it to be done?
    """

    moment: datetime
    fail_on: Severity
    target: str | None
    entries: tuple[Entry, ...]
    new: tuple[Entry, ...]
    judged: tuple[Entry, ...]
    stale: tuple[str, ...]
    gaps: pd.DataFrame
    mixed: pd.DataFrame
    went_back: pd.DataFrame
    newest_good: pd.DataFrame
    retention: pd.DataFrame | None
    pruned: bool

    @property
    def bad(self) -> tuple[Entry, ...]:
        """The judged archives that have a finding at or above `fail_on`."""
        return tuple(
            entry
            for entry in self.judged
            if entry.verdict == "error" or any(at_or_above(found.severity, self.fail_on) for found in entry.found)
        )

    @property
    def outdated(self) -> tuple[Entry, ...]:
        """The judged archives whose findings are those of another snapkit, or of one with other checks."""
        return tuple(entry for entry in self.judged if entry.outdated)

    @property
    def new_checks(self) -> tuple[str, ...]:
        """The checks that were not made of some of `outdated`, as the snapkit that read them did not have them."""
        had = {made_of for entry in self.outdated if (made_of := entry.made_of)}
        return tuple(sorted({check for some in had for check in {*checks_of("verify").split()} - {*some.split()}}))

    @property
    def failures(self) -> tuple[str, ...]:
        """What could not be done: archives that could not be looked at or removed."""
        unread = [entry.error for entry in self.entries if entry.verdict == "unread"]
        kept = list(self.retention["Error"]) if self.retention is not None and self.pruned else []
        return tuple(message for message in [*unread, *kept] if message)

    @property
    def status(self) -> int:
        """The exit status: 2 if something could not be done, 1 if something is bad or stale, else 0."""
        return 2 if self.failures else 1 if self.bad or self.stale else 0

    # -- in several forms

    def to_text(self) -> str:
        """For a log: a line for each thing to know, the summary last."""
        return "".join(f"{plain(line)}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (entry.report(self.target).to_line() for entry in self.bad)
        yield from self.stale
        for gap in self.gaps.to_dict("records"):
            damaged = f", {gap['Damaged']:,} damaged" if gap["Damaged"] else ""
            upto = _second(gap["To"]) if gap["After"] else "now"
            missing = f"about {gap['Missing']:,} missing from {_second(gap['From'])} to {upto}"
            yield f"gap: {gap['ClusterID']}: {missing}{damaged}"
        for found in self.mixed.reset_index().to_dict("records"):
            yield f"mixed: {found['Source']}: is of {found['ClusterID']}, and most beside it of {found['Usual']}"
        for back in self.went_back.to_dict("records"):
            indexes = f"from index {back['IndexBefore']:,} to {back['IndexAfter']:,}"
            yield f"went back: {back['ClusterID']}: {indexes}, from {back['Before']} to {back['After']}"
        if self.outdated:
            versions = ", ".join(sorted({entry.snapkit or "of unknown version" for entry in self.outdated}))
            lacks = f" (without {', '.join(self.new_checks)})" if self.new_checks else ""
            checked = f"{len(self.outdated):,} archives were checked by snapkit {versions}{lacks}"
            yield f"outdated: {checked}; this is {__version__}: --again checks them anew"
        yield from self._retention_lines()
        for found in self.newest_good.reset_index().to_dict("records"):
            yield f"newest good: {found['ClusterID']}: {found['Source']}, {_second(found['Created'])}"
        told = {"ok": "ok", "error": "not ok", "unknown": "not verified", "unread": "could not be read"}
        counts = Counter(entry.verdict for entry in self.entries)
        verdicts = ", ".join(f"{counts[name]:,} {told[name]}" for name in VERDICTS if counts[name])
        yield f"{len(self.entries):,} archives, {len(self.new):,} read now: {verdicts}"

    def _retention_lines(self) -> Iterator[str]:
        if self.retention is None:
            return
        rows = self.retention.reset_index().to_dict("records")
        going = [row for row in rows if not row["Keep"]]
        for row in going:
            done = "would go" if not self.pruned else "removed" if row["Removed"] else "not removed"
            yield f"{done}: {row['Source']} ({row['Reason']})"
        size = sum(row["Size"] for row in going if not pd.isna(row["Size"]))
        told = "were to go" if self.pruned else "would go: --prune removes them"
        yield f"retention: {len(rows) - len(going):,} archives stay, {len(going):,} ({size:,} bytes) {told}"

    def to_json(self) -> dict[str, Any]:
        """As plain data for json: `schema` is `snapkit.fleet-check/1`; rows have the names of the frames' columns."""
        document: dict[str, Any] = {
            "schema": "snapkit.fleet-check/1",
            "status": self.status,
            "archives": len(self.entries),
            "read": len(self.new),
            "verdicts": {name: sum(e.verdict == name for e in self.entries) for name in VERDICTS},
            "bad": [entry.report(self.target).to_json() for entry in self.bad],
            "outdated": {"archives": len(self.outdated), "checks": list(self.new_checks)},
            "failures": [plain(message) for message in self.failures],
            "stale": [plain(message) for message in self.stale],
            "newest_good": list(records(self.newest_good)),
            "gaps": list(records(self.gaps)),
            "mixed": list(records(self.mixed)),
            "went_back": list(records(self.went_back)),
        }
        if self.retention is not None:
            document["retention"] = {"pruned": self.pruned, "archives": list(records(self.retention))}
        return document

    def to_junit(self) -> str:
        """As JUnit XML, as `snapkit verify` has it: a suite for each archive that was judged.

        Of one that was read now, each check that ran is a case; of others, each that found something.
        """
        reports = [entry.report(self.target) for entry in self.judged if entry.verdict != "unread"]
        unread = [Unread(entry.source, entry.error) for entry in self.judged if entry.verdict == "unread"]
        return junit(reports, unread, fail_on=self.fail_on, now=self.moment)

    def to_prometheus(self) -> bytes:
        """As gauges by cluster in Prometheus' text format.

        Raises:
            SnapshotError: The package prometheus-client is not there.
        """
        try:
            from prometheus_client import CollectorRegistry, Gauge, generate_latest
        except ImportError as error:
            advice = "pip install 'snapkit[fleet]'"
            raise SnapshotError("need the package prometheus-client", "metrics", advice) from error
        registry = CollectorRegistry()

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", what, labels, registry=registry)

        gauge("check_timestamp_seconds", "When the check ran (Unix time).").set(self.moment.timestamp())
        gauge("check_status", "Its exit status: 0, 1 something is bad, 2 something could not be done.").set(self.status)
        archives = gauge("archives", "Archives by verdict.", "cluster_id", "verdict")
        outdated = gauge("outdated_archives", "Archives checked by another snapkit than this.", "cluster_id")
        size = gauge("archive_bytes", "Bytes of all archives.", "cluster_id")
        gaps = gauge("gaps", "Gaps in the series of archives.", "cluster_id")
        newest = gauge("newest_timestamp_seconds", "When the newest archive was taken (Unix time).", "cluster_id")
        good = gauge("newest_good_timestamp_seconds", "When the newest good one was taken (Unix time).", "cluster_id")
        findings = gauge("newest_good_findings", "Findings of the newest good archive.", "cluster_id", "severity")
        held = gauge("table_records", "Records by table in the newest good archive.", "cluster_id", "table")
        table_bytes = gauge("table_bytes", "Bytes of state by table in the newest good one.", "cluster_id", "table")
        holes = Counter(self.gaps["ClusterID"])
        for cluster, group in groupby(self.entries, key=lambda entry: entry.cluster_id):
            found = list(group)
            verdicts = Counter(entry.verdict for entry in found)
            for verdict in VERDICTS:
                archives.labels(cluster, verdict).set(verdicts[verdict])
            size.labels(cluster).set(sum(entry.size or 0 for entry in found))
            gaps.labels(cluster).set(holes[cluster])
            outdated.labels(cluster).set(sum(entry.outdated for entry in found))
            dated = [(entry.created, entry) for entry in found if entry.created is not None]
            # One that says it is of the future is no proof of a fresh one: nothing would ever be too old.
            told = [pair for pair in dated if not of_future(pair[1], self.moment)]
            for created, _ in told[-1:]:
                newest.labels(cluster).set(created / 1000)
            for created, _ in [pair for pair in told if pair[1].verdict == "ok"][-1:]:
                good.labels(cluster).set(created / 1000)
            for _, entry in [pair for pair in dated if pair[1].verdict == "ok"][-1:]:
                severities = Counter(finding.severity for finding in entry.found)
                for severity in SEVERITIES:
                    findings.labels(cluster, severity).set(severities[severity])
                for table in entry.tables:
                    held.labels(cluster, table.name).set(table.count)
                    table_bytes.labels(cluster, table.name).set(table.bytes)
        return bytes(generate_latest(registry))

    def write_prometheus(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write metrics where node_exporter's textfile collector finds them: whole or not at all, for all to read.

        Raises:
            TargetExistsError: `path` is there and `overwrite` is false.
            SourceError: The folder can't be written to.
        """
        data = self.to_prometheus()
        with atomic(path, overwrite) as file:
            file.write(data)
            os.fchmod(file.fileno(), METRICS_MODE)


def check(
    catalog: Catalog,
    *,
    keep: str | Keep | None = None,
    prune: bool = False,
    max_age: str | timedelta | None = None,
    fail_on: Severity = "error",
    only_new: bool = False,
    now: datetime | None = None,
) -> Check:
    """Judge a catalog as it was read last, and remove what a retention rule does not keep, if that is asked for.

    Args:
        catalog: Of the level `verify`.
        keep: A retention rule, such as `hourly=24,daily=14,monthly=12`.
        prune: Remove what it does not keep, and not only say so.
        max_age: How old the newest good archive of a cluster may be, such as `26h`.
        fail_on: The severity of a finding that makes an archive bad.
        only_new: Judge by the archives that were read by the last refresh alone.
        now: When it is; by default now.

    Raises:
        SnapshotError: An argument makes no sense.
    """
    if prune and keep is None:
        raise SnapshotError("needs a rule", "prune", "say what to keep, such as hourly=24,daily=14,monthly=12")
    rule = retention.parse(keep) if keep is not None else None
    oldest = duration(max_age, "the age") if max_age is not None else None
    moment = utc(now)
    new, before = catalog.new, catalog.new if only_new else catalog.entries()
    rows = None
    if rule is not None:
        rows = catalog.prune(rule, moment) if prune else catalog.retention(rule, moment)
    entries = catalog.entries()
    now_known = {entry.location: entry for entry in entries}  # some are gone, some were looked at once more
    return Check(
        moment,
        fail_on,
        catalog.target,
        tuple(entries),
        tuple(new),
        tuple(now_known.get(entry.location, entry) for entry in before),
        tuple(_stale(entries, oldest, moment)),
        catalog.gaps(now=moment, keep=rule),
        catalog.mixed(),
        catalog.went_back(),
        catalog.newest_good(),
        rows,
        prune,
    )


def _stale(entries: Sequence[Entry], oldest: timedelta | None, moment: datetime) -> Iterator[str]:
    if oldest is None:
        return
    clusters = sorted({entry.cluster_id for entry in entries if entry.cluster_id})
    for cluster in clusters:
        good = [entry for entry in entries if entry.cluster_id == cluster and entry.verdict == "ok"]
        told = [(e.source, e.created) for e in good if e.created is not None and not of_future(e, moment)]
        if not told:
            why = "its good archives say that they were taken in the future" if good else "it has no good archive"
            yield f"too old: {cluster}: {why}"
        elif (age := moment - pd.Timestamp(told[-1][1], unit="ms", tz="UTC")) > oldest:
            yield f"too old: {cluster}: its newest good archive is {age.floor('min')} old ({told[-1][0]})"
    if not clusters:
        yield "too old: there is no good archive of any cluster"


def _second(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment is not pd.NaT else "an unknown time"
