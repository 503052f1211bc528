"""Exercises on a cluster: an embedded one, which answers as a real one does, with a history and with faults."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import snapkit
from snapkit.cluster.answers import ApiError
from snapkit.cluster.answers.jobspec import same_spec
from snapkit.cluster.client import Client
from snapkit.cluster.effects import Effect, effects
from snapkit.cluster.server import NO_FAULTS, Faults, ServedCluster
from snapkit.errors import SnapshotError
from snapkit.jupyter.training.answers import Wrong
from snapkit.jupyter.training.learner import LIMIT, Exercise, now
from snapkit.jupyter.training.story import packed
from snapkit.state.changes.compare import compare
from snapkit.state.snapshot import Snapshot

LEADERLESS = 6.0  # seconds
JUST = 60  # seconds that are not told, so that a notebook looks the same each time
#: What a server says, after a minute, that took a restore in and is no leader any more when it would start over.
LEADER_LOST = "timed out waiting for re-run of leader actions"

#: A table and a key in it.
Key = tuple[str, ...]


def happen(cluster: ServedCluster, calls: Iterable[tuple[str, str, dict[str, str], Any]]) -> list[Any]:
    """Writes to a cluster, by its own API; what each was answered."""
    answers = []
    for method, path, query, body in calls:
        sent = json.dumps(body).encode() if body else b""
        answers.append(cluster.answer(method, quote(path), query, cluster.token, sent)[0].body)
    return answers


class LiveExercise(Exercise):
    """An exercise on a cluster that runs in this kernel, and goes away with it."""

    archive = "last-night.snap"
    story = "slip"
    _cluster: ServedCluster | None = None

    @property
    def backup(self) -> Path:
        """The archive that the cluster was backed up to."""
        return self.folder / self.archive

    def start(self) -> None:
        """Start the cluster; once more, and it is a fresh one, as it was at the start."""
        self.stop()
        self._cluster = self._serve()

    def _serve(self) -> ServedCluster:
        cluster = ServedCluster(self.backup)
        happen(cluster, packed()[self.story])
        self._keep_initial(cluster)
        return cluster

    def _keep_initial(self, cluster: ServedCluster) -> None:
        file, _ = cluster.archive()
        with file:
            self._initial = _bytes(file)

    def stop(self) -> None:
        """End it."""
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    @property
    def cluster(self) -> ServedCluster:
        """The cluster, started if need be."""
        if self._cluster is None:
            self.start()
        assert self._cluster is not None
        return self._cluster

    @property
    def token(self) -> str:
        """A management token."""
        return self.cluster.token

    @property
    def client(self) -> Client:
        """A client of the cluster, with the token that you have."""
        return Client(self.cluster.address, token=self.token)

    def terminal(self) -> None:
        """Print what points `snapkit`, `nomad` or curl in a terminal at the cluster. It ends with this kernel."""
        print(f"export NOMAD_ADDR={self.cluster.address}\nexport NOMAD_TOKEN={self.token}")

    # -- what the checks look at

    def states(self, stack: ExitStack) -> tuple[Snapshot, Snapshot, Snapshot]:
        """The backup, the state at the start, and the state now, whatever faults there are."""
        file, _ = self.cluster.archive()
        with file:
            live = _bytes(file)
        sources = (self.backup, self._initial, live)
        return tuple(stack.enter_context(snapkit.open(one)) for one in sources)  # type: ignore[return-value]


def _bytes(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def key_of(effect: Effect) -> Key:
    return (effect.table, *effect.key)


class OneJob(LiveExercise):
    """Exercise 5: something is missing, and the rest has moved on."""

    def lost(self) -> list[Key]:
        """What the backup has and the cluster lacked at the start."""
        with ExitStack() as stack:
            backup, initial, _ = self.states(stack)
            return [key_of(effect) for effect in effects(initial, backup) if effect.happens == "comes back"]

    def moved_on(self) -> list[tuple[Key, str]]:
        """What a restore of the backup would undo, each with its name."""
        with ExitStack() as stack:
            backup, initial, _ = self.states(stack)
            undone = [effect for effect in effects(initial, backup) if effect.happens != "comes back"]
            return [(key_of(effect), effect.name) for effect in undone]

    def judge_state(self) -> Wrong:
        """Is what was lost back as it was, and all else as it is?"""
        lost = set(self.lost())
        with ExitStack() as stack:
            backup, initial, live = self.states(stack)
            wrong = [e for e in effects(live, backup) if key_of(e) in lost and not _is_the_same(e, live, backup)]
            others = [effect for effect in effects(initial, live) if key_of(effect) not in lost]
        if others and not wrong:
            return (
                f"All is back, but {len(others)} other objects changed as well: other people's work of today is gone. "
                "Begin anew with exercise.start()."
            )
        if others:
            return f"{len(others)} objects changed that were not to change. Begin anew with exercise.start()."
        missing = [effect for effect in wrong if effect.happens == "comes back"]
        if missing:
            some = "Nothing is" if len(missing) == len(lost) else "Not all is"
            return f"{some} back: the cluster still lacks {len(missing)} of {len(lost)}."
        return "It is there, but not as it was last night." if wrong else ""


def _is_the_same(effect: Effect, live: Snapshot, backup: Snapshot) -> bool:
    """What is written again differs in when and by whom, a variable in how it is encrypted: is the rest as it was?"""
    if effect.happens == "comes back":
        return False
    if effect.table == "variables":
        return bool(live.unlock()["Items"][effect.key] == backup.unlock()["Items"][effect.key])
    if effect.table != "jobs":
        return False
    ours, theirs = (state.get("jobs", *effect.key, reveal=True) | {"NomadTokenID": ""} for state in (live, backup))
    return same_spec(ours, theirs)


# -- the drill


class Clock:
    """How long the drill has taken."""

    def __init__(self, begun: datetime | None, ended: datetime | None) -> None:
        self.begun = begun
        self.ended = ended

    @property
    def minutes(self) -> float:
        """Minutes so far, or in all; 0 before it is started."""
        return ((self.ended or now()) - self.begun).total_seconds() / 60 if self.begun else 0.0

    def __repr__(self) -> str:
        if self.begun is None:
            return f"The clock stands: start() starts it. The limit is {LIMIT} minutes; it is a soft one."
        seconds = round(self.minutes * 60)
        if seconds < JUST and self.ended is None:
            return f"The clock runs: {LIMIT} minutes from now."
        told = f"{seconds // 60} min {seconds % 60:02} s of {LIMIT} min"
        over = (
            f" ({self.minutes - LIMIT:.0f} min over the limit: it counts all the same)" if self.minutes > LIMIT else ""
        )
        return f"The clock {'stopped at' if self.ended else 'says'} {told}{over}."


class FaultyCluster(ServedCluster):
    """A cluster on a bad day: the first archive that is fetched breaks off, and the first restore loses the leader.

    Both are what a real one does: a connection is cut midway, so that the Digest is not met; and a restore is taken in
    and answered with an error all the same, since leadership was lost meanwhile (Nomad: nomad/operator_endpoint.go).
    """

    _taken = False
    _election: threading.Timer | None = None

    def close(self) -> None:
        if self._election is not None:
            self._election.cancel()
        super().close()

    def begin(self) -> None:
        """From here on."""
        self.faults = Faults(cut=20_000)

    def archive(self) -> tuple[IO[bytes], bytes]:
        if self.faults.cut is not None:
            self.faults = NO_FAULTS
        return super().archive()

    def swap(self, file: IO[bytes]) -> None:
        if self._taken:
            super().swap(file)
            return
        own: Any = os.fdopen(os.dup(file.fileno()), "w+b")  # whose upload is answered with an error closes its file
        own.raw.name = file.name
        try:
            super().swap(own)
        except BaseException:
            own.close()
            raise
        self._taken = True
        self.faults = Faults(no_leader=True)
        self._election = threading.Timer(LEADERLESS, self.elect)
        self._election.daemon = True
        self._election.start()
        raise ApiError(500, LEADER_LOST)

    def elect(self) -> None:
        """There is a leader again."""
        self.faults = NO_FAULTS


class Drill(LiveExercise):
    """Exercise 6: the whole cluster, under a clock."""

    called = "drill"
    archive = "thursday.snap"
    story = "disaster"
    _token = ""

    def _serve(self) -> ServedCluster:
        with snapkit.serve(self.shared_friday) as before:
            answers = happen(before, packed()[self.story])
            self._keep_initial(before)
        self._token = next(
            answer["SecretID"] for answer in answers if isinstance(answer, dict) and "SecretID" in answer
        )
        cluster = FaultyCluster(self._initial)
        cluster.begin()
        self.place.progress.change(self.plan.number, _clock_begins)
        return cluster

    @cached_property
    def shared_friday(self) -> Path:
        from snapkit.jupyter.lab import shared

        return shared("data") / "v2.0.5" / "friday.snap"

    @property
    def token(self) -> str:
        """The management token that you were given for the night; it was made today."""
        _ = self.cluster
        return self._token

    @property
    def clock(self) -> Clock:
        """The time so far."""
        known = self.place.progress.read().get(str(self.plan.number), {}).get("clock", {})
        return Clock(_moment(known.get("begun")), _moment(known.get("ended")))

    def _after_check(self) -> None:
        if self.solved and self.clock.begun is not None and self.clock.ended is None:
            self.place.progress.change(self.plan.number, _clock_ends)

    # -- what the checks look at

    def best(self) -> str:
        """The newest backup without an error."""
        found = []
        for path in self.backups():
            if snapkit.verify(path).ok:
                with snapkit.open(path) as snapshot:
                    found.append((snapshot.meta.index or 0, path.name))
        return max(found)[1]

    def backups(self) -> list[Path]:
        """The five."""
        return [self.folder / f"{day}.snap" for day in ("monday", "tuesday", "wednesday", "thursday", "friday")]

    def judge_state(self) -> Wrong:
        """Has the cluster the backup's state, and was its own saved before?"""
        if self._cluster is None:
            return "The cluster does not run: drill.start() starts it, and the clock."
        with ExitStack() as stack:
            backup, initial, live = self.states(stack)
            nearest = self._nearest(live, initial)
            if nearest == "":
                return "The cluster is as it was: nothing was restored yet."
            if nearest != self.archive:
                return f"The cluster has the state of {nearest}. Is that the newest that is whole?"
            if any(effect.happens == "comes back" for effect in effects(live, backup)):
                return "It was restored, and something is missing again."
            if not any(_keeps(initial, path) for path in self._saved()):
                return (
                    "Restored. But what the cluster had before was not saved in this folder, so there is no "
                    "way back. In a drill that costs nothing: drill.start(), and this time save first."
                )
        return ""

    def _nearest(self, live: Snapshot, initial: Snapshot) -> str:
        """The backup whose state this is, or all but is; empty if it is that of the start."""
        away = {"": len(compare(initial, live))}
        for path in self.backups():
            with snapkit.open(path) as snapshot:
                away[path.name] = len(compare(snapshot, live))
        return min(away, key=away.__getitem__)

    def _saved(self) -> list[Path]:
        """Archives that were made here."""
        given = {path.name for path in self.backups()}
        folder = self.place.folder if self.place.private else self.folder
        return [
            path for path in sorted(folder.rglob("*.snap")) if not (path.parent == self.folder and path.name in given)
        ]

    def ended_tokens(self) -> list[tuple[str, str]]:
        """Accessor and name of each token that the restore ends."""
        with ExitStack() as stack:
            backup, initial, _ = self.states(stack)
            gone = [e for e in effects(initial, backup) if e.table == "acl_tokens" and e.happens == "goes away"]
            return [(effect.key[0], effect.name) for effect in gone]


def _keeps(state: Snapshot, path: Path) -> bool:
    """Is all that people had written in a state in this archive, as it was?"""
    try:
        with snapkit.open(path) as snapshot:
            return not [effect for effect in effects(state, snapshot) if effect.happens != "comes back"]
    except SnapshotError:
        return False


def _clock_begins(entry: dict[str, Any]) -> None:
    entry["clock"] = {"begun": now().isoformat()}


def _clock_ends(entry: dict[str, Any]) -> None:
    entry["clock"] = dict(entry.get("clock", {})) | {"ended": now().isoformat()}


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
