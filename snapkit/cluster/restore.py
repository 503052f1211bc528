"""A restore, step by step: preflight → plan → apply → check → rollback, with a journal by which it goes on.

Nothing is sent without a verified archive, a save of the current state (or its refusal, typed) and the first eight
characters of the live cluster's id, typed. What goes wrong after the upload has begun is found out by reading the live
state back, before anything is declared.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from snapkit.cluster.check import PATIENCE, PAUSE, check, checked
from snapkit.cluster.client import Client
from snapkit.cluster.connection import ClusterError, ClusterTimeoutError, PermissionDeniedError, RestoreUnclearError
from snapkit.cluster.effects import Effect, Happens, effects
from snapkit.cluster.journal import Entry, Event, Journal, JournalError
from snapkit.cluster.journal import read as read_journal
from snapkit.cluster.look import Held, look, with_token
from snapkit.cluster.plan import CONFIRMED, Plan, RestoreError, plan, planned
from snapkit.cluster.preflight import preflight
from snapkit.cluster.registry import CHECKS, markdown
from snapkit.errors import SnapshotError, SourceError, TargetExistsError
from snapkit.files import refuse_existing
from snapkit.format.age import Identity
from snapkit.format.archive import Progress, Source
from snapkit.page import GREEN, RED, escaped, label, plain, table
from snapkit.state.changes.changes import Changes
from snapkit.state.findings.report import Finding, Report
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.verify import verify

__all__ = [
    "CHECKS",
    "ConfirmationError",
    "Effect",
    "Outcome",
    "Plan",
    "PlanChangedError",
    "PreflightError",
    "RestoreError",
    "SafetySaveError",
    "apply",
    "check",
    "plan",
    "preflight",
    "resume",
    "rollback",
]

ACCEPT = "I-ACCEPT"  # what refuses a safety save

Status: TypeAlias = Literal["restored", "unchanged", "rolled back", "unclear"]
Where: TypeAlias = Literal["archive", "before", "unclear", "unreadable"]
_TURNED: Mapping[Happens, Happens] = {"comes back": "goes away", "goes away": "comes back", "changes": "changes"}


class PreflightError(RestoreError):
    """Preflight has errors that nobody accepted.

    Attributes:
        report: What it found.
        errors: Those of its errors that were not accepted.
    """

    report: Report
    errors: tuple[Finding, ...]


class PlanChangedError(RestoreError):
    """The archive or the live state is not what the plan was made of. Nothing was sent."""


class ConfirmationError(RestoreError):
    """The confirmation is not the first eight characters of the live cluster's id. Nothing was sent."""


class SafetySaveError(RestoreError):
    """The current state could not be saved, or what was saved is not whole. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a restore.

    Attributes:
        status: `restored`, `unchanged` (nothing was taken in), `rolled back`, or `unclear`: read `message`.
        message: In a sentence.
        report: What the check found; None if none was made now.
        drift: What is not as in the archive; None as `report`.
        journal: Its path.
        head: The SHA-256 of the journal's newest line: keep it elsewhere.
        safety: Where the state before was saved; "" if that was refused.
    """

    status: Status
    message: str
    report: Report | None
    drift: Changes | None
    journal: str
    head: str
    safety: str

    @property
    def ok(self) -> bool:
        """Is the wanted state there, and has the check no error?"""
        return self.status in ("restored", "rolled back") and (self.report is None or self.report.ok)

    def __repr__(self) -> str:
        return plain(f"<Outcome {self.status}: {self.message}>")

    def _repr_html_(self) -> str:
        colour = GREEN if self.ok else RED
        parts = [f'<p><b style="color:{colour}">{escaped(self.status)}</b>: {escaped(self.message)}</p>']
        facts = [
            ("journal", self.journal),
            ("its newest line", self.head),
            ("state before", self.safety or "not saved"),
        ]
        parts.append(table([[label(name), escaped(value)] for name, value in facts]))
        parts += [part._repr_html_() for part in (self.report, self.drift) if part is not None]
        return f"<div>{''.join(parts)}</div>"


def apply(
    client: Client,
    plan: Plan,
    src: Source,
    *,
    journal: str | os.PathLike[str],
    confirm: str,
    safety: str | os.PathLike[str] | None = None,
    no_safety_save: str | None = None,
    accept: Collection[str] = (),
    token_after: str | None = None,
    keystore: str | os.PathLike[str] | None = None,
    identity: Identity | None = None,
    who: str | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
    patience: float = PATIENCE,
) -> Outcome:
    """Restore, as planned.

    Args:
        client: The live cluster.
        plan: What `plan()` gave.
        src: The archive that it was made of.
        journal: A file that is not there yet, or the journal of a restore of which nothing came, which this one is
            added to. Every step is in it. Where nothing was sent, a new one is not left behind.
        confirm: The plan's `confirmation`, as a person typed it.
        safety: Where to save the current state; by default beside the journal, as `<journal>-before.snap`. Where
            nothing was sent, it is not left behind either.
        no_safety_save: `I-ACCEPT`: go without one. There is no rollback then.
        accept: Ids of checks whose errors are accepted.
        token_after: See `preflight()`.
        keystore: See `preflight()`.
        identity: What opens an archive that is encrypted (age).
        who: `user@host`, for the journal; by default as the system has it.
        now: When it is.
        progress: Called with the bytes sent so far and in all.
        patience: Seconds for the cluster to be itself again.

    Raises:
        ConfirmationError: It is another one. Nothing was sent, as with all that follow.
        PreflightError: There are errors that were not accepted.
        PlanChangedError: The archive or the live state changed since the plan.
        SafetySaveError: The current state can't be saved.
        TargetExistsError: The journal or the safety save is there already.
        ClusterError: The cluster did not take it, and is as it was.
        RestoreError: It is unclear what the cluster has: the journal is open, `resume()` goes on.
    """
    if confirm != plan.confirmation:
        what = f"is {confirm!r:.40}, and not the first {CONFIRMED} characters of the live cluster's id"
        raise ConfirmationError(what, "the confirmation", "nothing was sent; the plan says what to type")
    if no_safety_save not in (None, ACCEPT):
        raise SafetySaveError(f"is refused by {ACCEPT}, not by {no_safety_save!r:.40}", "the save", "nothing was sent")
    with ExitStack() as stack:
        held = stack.enter_context(Held(src))
        if held.sha256 != plan.archive["sha256"]:
            what = f"has the SHA-256 {held.sha256 or 'of a folder'}, the plan {plan.archive['sha256']}"
            raise PlanChangedError(what, held.name, "nothing was sent: make a new plan")
        log = stack.enter_context(_log(Path(journal), who))
        is_new = not log.entries
        run: _Run | None = None
        before: Path | None = None
        try:
            if no_safety_save is None:
                before = _place_of_save(log, safety)
            log.write(
                "begin",
                "done",
                plan_id=plan.id,
                archive=held.sha256,
                source=held.path,
                snapshot=plan.archive["id"],
                address=client.address,
                cluster=plan.live["cluster_id"],
                confirmed=confirm,
                accepted=sorted(accept),
                safety=str(before.absolute()) if before is not None else "",
                refused_safety=no_safety_save or "",
                plan=plan.to_json(),
            )
            run = _Run(client, log, held, token_after, keystore, identity, now, progress, patience)
            return run.forward()
        except SnapshotError:
            if run is None or not run.sent:  # nothing of it is to be in the way of the next one
                if before is not None and run is not None and run.last("safety-save", "begun"):
                    before.unlink(missing_ok=True)
                if is_new:
                    log.discard()
            raise


def _log(path: Path, who: str | None) -> Journal:
    """A new journal, or that of a restore of which nothing came."""
    try:
        return Journal.create(path, who=who)
    except TargetExistsError:
        try:
            if not _came_to_nothing(read_journal(path)):
                raise
        except (SourceError, JournalError):  # it is another file
            pass
        else:
            log = Journal.resume(path, who=who)
            if _came_to_nothing(log.entries):
                return log
            log.close()  # somebody went on with it just now
        raise


def _came_to_nothing(entries: Sequence[Entry]) -> bool:
    """Was nothing sent by the newest restore in a journal, or nothing taken in?"""
    if entries[-1].step == "end":
        return bool(entries[-1].about["status"] == "unchanged")
    newest = _newest(entries)
    return bool(newest) and not any(entry.step == "upload" for entry in newest)


def _newest(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The lines of the newest restore in a journal; none if it is the journal of something else."""
    begun = [number for number, entry in enumerate(entries) if (entry.step, entry.event) == ("begin", "done")]
    return entries[begun[-1] :] if begun else ()


def _place_of_save(log: Journal, safety: str | os.PathLike[str] | None) -> Path:
    """Where the current state is to be saved: over nothing, also not over what an earlier restore saved."""
    if safety is not None:
        refuse_existing(safety, False)
        return Path(safety)
    place = log.path.with_name(f"{log.path.stem}-before.snap")
    numbers = itertools.count(2)
    while log.entries and os.path.lexists(place):
        place = log.path.with_name(f"{log.path.stem}-before-{next(numbers)}.snap")
    refuse_existing(place, False)
    return place


def resume(
    client: Client,
    journal: str | os.PathLike[str],
    *,
    src: Source | None = None,
    rollback: bool = False,
    confirm: str | None = None,
    token_after: str | None = None,
    keystore: str | os.PathLike[str] | None = None,
    identity: Identity | None = None,
    who: str | None = None,
    now: datetime | None = None,
    progress: Progress | None = None,
    patience: float = PATIENCE,
) -> Outcome:
    """Go on with a restore that was interrupted, from where its journal stands; or roll it back.

    Args:
        client: The live cluster.
        journal: The journal.
        src: The archive, if it is no longer where the journal says.
        rollback: Restore the safety save instead. Where the state was never sent, there is nothing to do.
        confirm: The plan's confirmation, for a rollback of a restore that is at its end. Not needed before that: it was
            given when the restore began.
        token_after: See `apply()`, as all that follow.
        keystore: See there.
        identity: See there.
        who: See there.
        now: See there.
        progress: See there.
        patience: See there.

    Returns:
        As `apply()`; for a restore that is at its end, what came of it then.

    Raises:
        JournalError: It was altered, or somebody is at it.
        ConfirmationError: See `confirm`.
        SnapshotError: As `apply()`.
    """
    with ExitStack() as stack:
        log = stack.enter_context(Journal.resume(journal, who=who))
        run = _Run(client, log, None, token_after, keystore, identity, now, progress, patience)
        rolling = run.last("rollback", "begun") is not None and run.ended is None
        if rollback or rolling:
            return run.back(confirm)
        if run.ended is not None:
            return run.told()
        run.held = stack.enter_context(Held(src if src is not None else _found(run.about["source"])))
        return run.forward()


def rollback(client: Client, journal: str | os.PathLike[str], **options: Any) -> Outcome:
    """Restore the safety save of a restore: `resume(…, rollback=True)`."""
    return resume(client, journal, rollback=True, **options)


def _found(source: str) -> str:
    if not source:
        raise RestoreError("was no file", "the archive", "give it again (src=)")
    return source


class _Run:
    """A restore as its journal has it. Each step is written before it begins and when it is done."""

    def __init__(
        self,
        client: Client,
        journal: Journal,
        held: Held | None,
        token_after: str | None,
        keystore: str | os.PathLike[str] | None,
        identity: Identity | None,
        now: datetime | None,
        progress: Progress | None,
        patience: float,
    ) -> None:
        self.client = client
        self.journal = journal
        self.held = held
        begin = self.last("begin", "done")
        if begin is None:
            raise JournalError("does not say what was begun", str(journal.path), "it is no journal of a restore")
        self.about = begin.about
        self.plan = Plan.from_json(begin.about["plan"], str(journal.path))
        self._clients = [client, *([with_token(client, token_after)] if token_after else [])]
        self._token_after = token_after
        self._keystore = keystore
        self._identity = identity
        self._now = now
        self._progress = progress
        self._patience = patience

    def last(self, step: str, event: Event | None = None) -> Entry | None:
        """The newest line of a step (and event) of this restore; None if there is none."""
        found = (e for e in reversed(_newest(self.journal.entries)) if e.step == step and event in (None, e.event))
        return next(found, None)

    @property
    def sent(self) -> bool:
        """Was anything sent to the cluster, or about to be?"""
        return self.last("upload") is not None

    @property
    def ended(self) -> Status | None:
        """What came of it; None while it is open."""
        entries = self.journal.entries
        return entries[-1].about["status"] if entries[-1].step == "end" else None

    def told(self) -> Outcome:
        """What came of a run that is at its end."""
        last = self.journal.entries[-1]
        return self._outcome(last.about["status"], last.about["message"])

    def _end(self, status: Status, message: str, report: Report | None = None, drift: Changes | None = None) -> Outcome:
        self.journal.write("end", "done", status=status, message=message)
        return self._outcome(status, message, report, drift)

    def _outcome(
        self, status: Status, message: str, report: Report | None = None, drift: Changes | None = None
    ) -> Outcome:
        safety = str(self.about["safety"])
        return Outcome(status, message, report, drift, str(self.journal.path), self.journal.head, safety)

    # -- forward

    def forward(self) -> Outcome:
        """From where the journal stands to the end."""
        assert self.held is not None
        if self.held.sha256 != self.about["archive"]:
            what = f"has the SHA-256 {self.held.sha256 or 'of a folder'}, and the plan {self.about['archive']}"
            raise PlanChangedError(what, self.held.name, "name the archive that was planned")
        begun, done = self.last("upload", "begun"), self.last("upload", "done")
        if begun is None:
            self._before()
            where, words = self._upload("upload", self.held.source, "archive", self._identity)
        elif done is not None:
            where, words = "archive", ""
        else:  # killed in it, or it was unclear: what is there now?
            where, words = self._read_back("read-back", self.held.source, self._planned_change)
            if where == "before" and self.last("upload", "failed") is None:
                self._require_same()
                where, words = self._upload("upload", self.held.source, "archive", self._identity)
        if where == "before":
            message = "the cluster did not take the archive: its state is what it was"
            return self._end("unchanged", f"{message} ({words})" if words else message)
        if where != "archive":
            raise self._unclear(where, words)
        report, drift = self._check("check", self.held.source, self._identity)
        message = f"{self.client.address} has the archive's state: the check says {report.summary}"
        if words:
            message += f"; the server said of it: {words}"
        return self._end("restored", message, report, drift)

    def _unclear(self, where: Where, words: str) -> RestoreError:
        self.journal.write("unclear", "done", where=where, words=words)
        what = "can't be read" if where == "unreadable" else "is neither the archive's nor what it was before"
        advice = (
            f"{words}; when its servers answer, `snapkit restore --resume {self.journal.path}` finds out what they "
            "have and goes on; with --rollback it restores what was saved before"
        )
        return RestoreError(f"its state {what}", self.client.address, advice)

    def _before(self) -> None:
        """All that comes ahead of the upload: is it as planned, and is the current state saved?"""
        assert self.held is not None
        folder = Path(str(self.about["safety"])).parent if self.about["safety"] else self.journal.path.parent
        refused: RestoreError | None = None
        with self.journal.step("preflight") as told:
            view = look(self.client, self.held, keystore=self._keystore, now=self._now, identity=self._identity)
            with view:
                now = planned(self.client, view, self._keystore, folder, self._token_after)
            told["summary"] = now.report.summary
            told["plan_id"] = now.id
            told["errors"] = [str(finding) for finding in now.report.found if finding.severity == "error"]
            if now.id != self.plan.id:
                refused = _changed(self.plan, now)
            elif errors := now.errors(self.about["accepted"]):
                refused = _preflight_error(now.report, errors)
            if refused is not None:
                raise refused
        if not self.about["safety"]:
            self.journal.write("safety-save", "done", refused=self.about["refused_safety"])
            return
        if self.last("safety-save", "done") is None:
            self._save(self.about["safety"], "safety-save")
        # What was saved is what was planned: nobody wrote meanwhile.
        self._require_same(self.about["safety"])

    def _save(self, path: str, step: str) -> None:
        """Save the current state, and verify what was saved."""
        with self.journal.step(step, path=path) as told:
            try:
                # A file that is there is of a save that was killed before it could be told.
                saved = self._working().save(path, overwrite=True)
            except SnapshotError as error:
                raise SafetySaveError(f"the current state can't be saved: {error.what}", path, error.advice) from error
            told |= {"sha256": saved.sha256, "size": saved.size, "index": saved.meta.get("Index")}
            report = verify(path)
            told["verified"] = report.summary
            if not report.ok:
                first = next(str(f) for f in report.found if f.severity == "error")
                advice = f"nothing was sent; without it: --no-safety-save {ACCEPT}"
                raise SafetySaveError(f"what was saved would not restore: {first}", path, advice)

    def _require_same(self, saved: str = "") -> None:
        """Is the live state (or what was saved of it) still as planned?"""
        assert self.held is not None
        with ExitStack() as stack:
            live = stack.enter_context(open_snapshot(saved) if saved else self.client.snapshot())
            wanted = stack.enter_context(open_snapshot(self.held.source, identity=self._identity))
            now = replace(self.plan, effects=tuple(effects(live, wanted)))
        if now.id != self.plan.id:
            error = _changed(self.plan, now)
            self.journal.write("preflight", "failed", plan_id=now.id, words=plain(str(error)))
            raise error

    def _upload(self, step: str, source: Source, what: str, identity: Identity | None = None) -> tuple[Where, str]:
        """Send it. What is there afterwards, and the server's words if it was an error."""
        client = self._working()
        words = ""
        self.journal.write(step, "begun", what=what)
        started = time.monotonic()
        try:
            client.restore(source, force=self._forced, progress=self._progress, identity=identity)
        except RestoreUnclearError as error:
            words = error.what
            silent = isinstance(error.__cause__, ClusterTimeoutError)
            about = {"status": error.status, "words": plain(error.what), "answer": plain(error.body), "silent": silent}
            self.journal.write(step, "failed", **about, seconds=round(time.monotonic() - started, 3))
        except SnapshotError as error:
            # Refused before it was taken in, or not sent at all.
            about = {"status": getattr(error, "status", 0), "words": plain(str(error))}
            self.journal.write(step, "failed", **about, seconds=round(time.monotonic() - started, 3))
            if step == "upload":
                self._end("unchanged", f"the cluster is as it was: {plain(str(error))}")
            raise
        else:
            self.journal.write(step, "done", status=200, seconds=round(time.monotonic() - started, 3))
            return "archive", ""
        if step == "upload":
            assert self.held is not None
            where, why = self._read_back("read-back", self.held.source, self._planned_change)
        else:
            where, why = self._read_back("rollback-read-back", source, self._rollback_change)
        if silent and where == "before":  # it may yet be at it
            return "unclear", words
        return where, why or words

    @property
    def _forced(self) -> bool:
        """Was an error of verify's accepted? Then the archive is sent though verify finds it again."""
        return any(check not in CHECKS for check in self.about["accepted"])

    # -- back

    def back(self, confirm: str | None) -> Outcome:
        """Restore what was saved before; from where the journal stands."""
        ended = self.ended
        if ended in ("unchanged", "rolled back"):
            raise RestoreError(f"is at its end, and the state is {ended}", str(self.journal.path), "nothing to do")
        if ended is not None and confirm != self.plan.confirmation:
            what = f"is {confirm!r:.40}, and not what the restore was confirmed by"
            if confirm is None:
                what = "is missing, and what was written since the restore goes away"
            raise ConfirmationError(what, "the confirmation", "give the plan's (confirm=, --confirm)")
        if self.last("upload", "begun") is None:
            return self._end("unchanged", "nothing was sent, so there is nothing to roll back")
        saved = self.last("safety-save", "done")
        if not self.about["safety"] or saved is None:
            raise RestoreError("was refused", "the save of the state before", "there is nothing to roll back to")
        safety = str(self.about["safety"])
        with Held(safety) as held:
            if held.sha256 != saved.about["sha256"]:
                what = f"has the SHA-256 {held.sha256}, and was saved with {saved.about['sha256']}"
                raise RestoreError(what, safety, "it was altered: find the one that was saved")
            return self._rolled_back(held.source)

    def _rolled_back(self, safety: Source) -> Outcome:
        done = self._since_end("rollback-upload", "done")
        where: Where = "archive"
        words = ""
        if self._since_end("rollback-upload", "begun") is None:
            if self._since_end("rollback", "begun") is None:
                self.journal.write("rollback", "begun", confirmed=self.plan.confirmation)
            if self.last("upload", "done") is None and self.plan.effects:  # was it ever taken in?
                where, _ = self._read_back("rollback-read-back", safety, self._rollback_change)
                if where == "archive":
                    return self._end("unchanged", "the cluster never took the archive: there is nothing to roll back")
            self._save_after(required=self.last("end") is not None)
            where, words = self._upload("rollback-upload", safety, "the safety save")
        elif done is None:
            where, words = self._read_back("rollback-read-back", safety, self._rollback_change)
            if where == "before":
                where, words = self._upload("rollback-upload", safety, "the safety save")
        if where != "archive":
            raise self._unclear(where, words)
        report, drift = self._check("rollback-check", safety, None)
        message = f"{self.client.address} has the state of before: the check says {report.summary}"
        return self._end("rolled back", message, report, drift)

    def _since_end(self, step: str, event: Literal["begun", "done", "failed"]) -> Any:
        """The newest such line since the run was last at its end."""
        for entry in reversed(self.journal.entries):
            if entry.step == "end":
                return None
            if entry.step == step and entry.event == event:
                return entry
        return None

    def _save_after(self, required: bool) -> None:
        """Of a restore that is at its end, what was written since is saved too; else it is tried."""
        safety = Path(str(self.about["safety"]))
        number = sum(entry.step == "rollback-save" and entry.event == "begun" for entry in self.journal.entries)
        path = safety.with_name(f"{safety.stem}-rolled-back{f'-{number}' if number else ''}.snap")
        try:
            self._save(str(path), "rollback-save")
        except SnapshotError:
            if required:
                raise

    # -- what is there now

    def _working(self) -> Client:
        """The client whose token the cluster knows now."""
        for client in self._clients[:-1]:
            try:
                client.self_token()
            except PermissionDeniedError:
                continue
            except ClusterError:
                pass
            return client
        return self._clients[-1]

    def _planned_change(self, live: Snapshot, wanted: Snapshot) -> Where:
        return _where(effects(live, wanted), self.plan.effects)

    def _rollback_change(self, live: Snapshot, wanted: Snapshot) -> Where:
        planned = tuple(replace(effect, happens=_TURNED[effect.happens]) for effect in self.plan.effects)
        return _where(effects(live, wanted), planned)

    def _read_back(self, step: str, source: Source, judged: Callable[[Snapshot, Snapshot], Where]) -> tuple[Where, str]:
        """Whose state the cluster has, asked until it answers or patience ends; a stale answer is better than none."""
        ends = time.monotonic() + self._patience
        words = ""
        identity = self._identity if step == "read-back" else None
        with self.journal.step(step) as told, open_snapshot(source, identity=identity) as wanted:
            while True:
                late = time.monotonic() >= ends
                for client in self._clients:
                    try:
                        with client.snapshot(stale=late) as live:
                            where = judged(live, wanted)
                            told |= {"where": where, "index": live.meta.index, "stale": late}
                            return where, ""
                    except SnapshotError as error:
                        words = error.what
                if late:
                    told |= {"where": "unreadable", "words": plain(words)}
                    return "unreadable", words
                time.sleep(min(PAUSE, max(ends - time.monotonic(), 0)))

    def _check(self, step: str, source: Source, identity: Identity | None) -> tuple[Report, Changes | None]:
        with ExitStack() as stack:
            told = stack.enter_context(self.journal.step(step))
            wanted = stack.enter_context(open_snapshot(source, identity=identity))
            before = None
            if step == "check" and self.about["safety"]:
                before = stack.enter_context(open_snapshot(str(self.about["safety"])))
            report, drift = checked(self._working(), wanted, before, self._patience, self._now)
            told["summary"] = report.summary
            told["findings"] = [str(finding) for finding in report.found]
            if drift is not None:
                told["drift"] = drift.headline
        return report, drift


def _where(now: Sequence[Effect], planned: Sequence[Effect]) -> Where:
    """Whose state it is, by what a restore would still do; what was written meanwhile must not hide it."""
    if not planned:  # the two do not differ in what people write: to send it once more does no harm
        return "before"
    if not now:
        return "archive"
    names = {(e.table, e.key, e.happens) for e in planned}
    left = len(names & {(e.table, e.key, e.happens) for e in now})
    if 2 * left == len(names):
        return "unclear"
    return "before" if 2 * left > len(names) else "archive"


def _preflight_error(report: Report, errors: Sequence[Finding]) -> PreflightError:
    first, more = errors[0], f" (and {len(errors) - 1:,} more errors)" if len(errors) > 1 else ""
    error = PreflightError(f"{first.check}: {first.message}{more}", first.place, f"nothing was sent; {first.advice}")
    error.report, error.errors = report, tuple(errors)
    return error


def _changed(planned: Plan, now: Plan) -> PlanChangedError:
    def rows(plan: Plan) -> dict[tuple[str, tuple[str, ...]], Effect]:
        return {(e.table, e.key): e for e in plan.effects}

    was, now_is = rows(planned), rows(now)
    others = [key for key in {**was, **now_is} if was.get(key) != now_is.get(key)]
    some = ", ".join(f"{name} {'/'.join(key)}" for name, key in others[:5])
    more = f" and {len(others) - 5:,} more" if len(others) > 5 else ""
    what = f"changed since the plan: {some}{more}" if others else "is not the cluster of the plan"
    return PlanChangedError(what, "the live state", "nothing was sent: make a new plan")


def journal_html(path: str | os.PathLike[str]) -> str:
    """A journal as a page for the incident review.

    Raises:
        SourceError: It can't be read.
        JournalError: It was altered.
    """
    from snapkit.cluster.journal import to_html

    return to_html(read_journal(path), f"A restore, step by step: {os.fspath(path)}")


if __name__ == "__main__":
    print(markdown(), end="")
