"""Which archives a retention rule keeps: the newest of each of the last so many hours, days, weeks, months and years.

As restic's `forget` has it: in UTC, each rule by itself, counting only those hours (and so on) that have an archive;
and while a rule has not found as many as it asks for, the oldest archive is kept too. Beyond that, nothing goes
that can't be judged, nor the newest good archive of a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, TypeAlias

import pandas as pd

from snapkit.errors import SnapshotError
from snapkit.fleet.entries import Entry
from snapkit.fleet.frames import ordered, text, times

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)  # that a server's clock may be fast

#: What one rule tells archives apart by: those for which it is the same share a bucket. `last` has one for each.
_BUCKETS: dict[str, Callable[[datetime], Any] | None] = {
    "last": None,
    "hourly": lambda moment: (moment.date(), moment.hour),
    "daily": lambda moment: moment.date(),
    "weekly": lambda moment: moment.isocalendar()[:2],
    "monthly": lambda moment: (moment.year, moment.month),
    "yearly": lambda moment: moment.year,
}

#: How many to keep by each rule: of `last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`.
Keep: TypeAlias = Mapping[str, int]


def parse(text_: str | Keep) -> dict[str, int]:
    """`hourly=24,daily=14,monthly=12` as a dict.

    Raises:
        SnapshotError: It is no rule, or one that keeps nothing.
    """
    where, advice = "the retention rule", f"give one such as hourly=24,daily=14,monthly=12, of {', '.join(_BUCKETS)}"
    if isinstance(text_, str):
        found: dict[str, int] = {}
        for part in text_.split(","):
            match = re.fullmatch(r"\s*([a-z]+)\s*=\s*(\d{1,9})\s*", part, re.ASCII)
            if match is None or match[1] in found:
                raise SnapshotError(f"can't be understood at {part!r:.40}", where, advice)
            found[match[1]] = int(match[2])
    else:
        found = dict(text_)
    for name, count in found.items():
        if name not in _BUCKETS or type(count) is not int or count < 0:
            raise SnapshotError(f"can't be understood at {f'{name}={count}'!r:.40}", where, advice)
    if not any(found.values()):
        raise SnapshotError("keeps nothing", where, advice)
    return found


def reasons(moments: Sequence[datetime], keep: Keep) -> list[list[str]]:
    """By which rules each is kept, such as `daily 3`: the third of those.

    Args:
        moments: The newest first.
        keep: The rules.
    """
    kept: list[list[str]] = [[] for _ in moments]
    for rule, bucket in _BUCKETS.items():
        most, found, before = keep.get(rule, 0), 0, object()
        for at, moment in enumerate(moments):
            mine = bucket(moment) if bucket is not None else at
            oldest = at == len(moments) - 1
            if found < most and (mine != before or oldest):
                found += 1
                kept[at].append(f"{rule} {found}" if mine != before else f"oldest {rule}")
            before = mine
    return kept


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one archive.

    Attributes:
        entry: The archive.
        keep: Does it stay?
        reason: Why.
        newest: Is it the newest good one of its cluster?
    """

    entry: Entry
    keep: bool
    reason: str
    newest: bool = False


def decide(entries: Iterable[Entry], keep: Keep, now: datetime, other_names: Collection[str] = ()) -> list[Decision]:
    """What becomes of each archive by a rule, in the order of a catalog.

    The rule is applied to the good archives of each cluster as if there were no others. A damaged one goes where the
    rule would not keep it if it were whole, and stays if no good one of its cluster is there.

    Args:
        entries: The archives.
        keep: The rule.
        now: When it is: what says that it was taken later is not trusted.
        other_names: Locations of what is listed as a file of its own too: a link is no second copy.
    """
    return [
        decision
        for _, group in groupby(ordered(entries), key=lambda entry: entry.cluster_id)
        for decision in _decide_cluster(list(group), keep, now, other_names)
    ]


def _decide_cluster(
    entries: Sequence[Entry], keep: Keep, now: datetime, other_names: Collection[str]
) -> list[Decision]:
    decided: dict[str, tuple[bool, str]] = {}
    moments: dict[str, datetime] = {}
    for entry in entries:
        doubt = _doubt(entry, now)
        if entry.location in other_names:
            decided[entry.location] = True, "another name of an archive that is here too"
        elif doubt:
            decided[entry.location] = True, f"can't be judged: {doubt}"
        else:
            moments[entry.location] = _moment(entry)
    newest_first = [entry for entry in reversed(entries) if entry.location in moments]
    good = [entry for entry in newest_first if entry.verdict == "ok"]
    for at, (entry, why) in enumerate(zip(good, reasons([moments[e.location] for e in good], keep), strict=True)):
        why = ["newest good", *why] if at == 0 else why
        decided[entry.location] = bool(why), ", ".join(why) or "not in the rule"
    everyone = reasons([moments[e.location] for e in newest_first], keep)
    for entry, why in zip(newest_first, everyone, strict=True):
        if entry.verdict != "ok":
            told = ", ".join(why) if good else "no good one of its cluster is there"
            decided[entry.location] = bool(told), f"damaged; {told or 'not in the rule'}"
    return [Decision(entry, *decided[entry.location], entry in good[:1]) for entry in entries]


def _doubt(entry: Entry, now: datetime) -> str:
    """Why an archive can't be judged; "" if it can."""
    if entry.verdict not in ("ok", "error"):
        return "it could not be read" if entry.verdict == "unread" else "it was not verified"
    if not entry.cluster_id:
        return "its cluster is not known"
    if entry.created is None:
        return "when it was taken is not known"
    return "it says that it was taken in the future" if of_future(entry, now) else ""


def of_future(entry: Entry, now: datetime) -> bool:
    """Does it say that it was taken later than now, by more than a clock may be fast?"""
    return entry.created is not None and entry.created > (now - EPOCH + AHEAD) / timedelta(milliseconds=1)


def _moment(entry: Entry) -> datetime:
    assert entry.created is not None
    return EPOCH + timedelta(milliseconds=entry.created)


def frame(decisions: Iterable[Decision]) -> pd.DataFrame:
    """As `Catalog.retention()`."""
    rows = list(decisions)
    return pd.DataFrame(
        {
            "ClusterID": text(d.entry.cluster_id for d in rows),
            "Created": times(d.entry.created for d in rows),
            "Size": pd.array([d.entry.size for d in rows], dtype="Int64"),
            "Verdict": text(d.entry.verdict for d in rows),
            "Keep": pd.array([d.keep for d in rows], dtype="boolean"),
            "Reason": text(d.reason for d in rows),
        },
        index=pd.Index(text(d.entry.source for d in rows), name="Source"),
    )
