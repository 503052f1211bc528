"""The six exercises: what each asks, what the truth is, and what helps. The truth is computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import snapkit
from snapkit.errors import SnapshotError
from snapkit.format.schema import BY_BYTE
from snapkit.format.values import unpack
from snapkit.jupyter.training.answers import (
    Name,
    Wrong,
    judge_mapping,
    judge_moment,
    judge_names,
    judge_number,
    name,
    only,
)
from snapkit.jupyter.training.learner import LIMIT, Exercise, Plan, Question
from snapkit.jupyter.training.story import KINDS, shelf
from snapkit.state.snapshot import Snapshot

if TYPE_CHECKING:
    from snapkit.jupyter.training.live import Drill

WEB = ("shop", "web")


@contextmanager
def _open(exercise: Exercise, *files: str) -> Iterator[list[Snapshot]]:
    with ExitStack() as stack:
        yield [stack.enter_context(snapkit.open(exercise.folder / file)) for file in files]


def _names(truth: Callable[[Exercise], list[Name]], what: str) -> Callable[[Any, Any], Wrong]:
    return lambda exercise, answer: judge_names(answer, truth(exercise), what)


def _number(truth: Callable[[Exercise], float]) -> Callable[[Any, Any], Wrong]:
    return lambda exercise, answer: judge_number(answer, truth(exercise))


def _is_number(value: float) -> Callable[[Any], bool]:
    return lambda answer: judge_number(answer, value) == ""


def _is_name(*names: Name) -> Callable[[Any], bool]:
    return lambda answer: judge_names(answer, names, "") == ""


# -- 1. What a snapshot is


def _members(exercise: Exercise) -> list[Name]:
    with _open(exercise, "backup.snap") as [snapshot]:
        return [name(member.name) for member in snapshot.archive.members]


def _sums(exercise: Exercise) -> dict[str, str]:
    with _open(exercise, "backup.snap") as [snapshot]:
        return {member.name: member.sha256 for member in snapshot.archive.members}


def _judge_sum(exercise: Exercise, answer: Any) -> Wrong:
    answer = only(answer)
    if isinstance(answer, bytes) and len(answer) == 32:
        answer = answer.hex()
    return judge_names(answer, [name(_sums(exercise)["state.bin"])], "the sum")


def _sum_traps(exercise: Exercise) -> list[tuple[Callable[[Any], bool], str]]:
    import hashlib

    data = (exercise.folder / "backup.snap").read_bytes()
    promised = _sums(exercise)
    whole = "That is the sum of the whole file; the one of state.bin, which lies in it, is asked for."
    return [
        (_is_name(name(hashlib.sha256(data).hexdigest())), whole),
        *(
            (_is_name(name(digest)), f"That is the sum of {member}; the one of state.bin is asked for.")
            for member, digest in promised.items()
            if member != "state.bin"
        ),
    ]


def _judge_created(exercise: Exercise, answer: Any) -> Wrong:
    with _open(exercise, "backup.snap") as [snapshot]:
        return judge_moment(answer, snapshot.meta.created)


def _first_record(exercise: Exercise) -> tuple[int, dict[bytes, Any]]:
    with _open(exercise, "backup.snap") as [snapshot]:
        byte, packed = next(snapshot.raw())
        return byte, unpack(packed)


def _first_type(exercise: Exercise) -> list[Name]:
    byte, _ = _first_record(exercise)
    return [name(byte) | name(f"0x{byte:02x}") | name(BY_BYTE[byte].name) | name(BY_BYTE[byte].table) | name(chr(byte))]


def _first_key(exercise: Exercise) -> list[Name]:
    return [name(_first_record(exercise)[1][b"Key"].decode())]


ONE = Plan(
    1,
    "01-what-a-snapshot-is.ipynb",
    "What a snapshot is",
    "Take a backup apart by hand, so that it is never again a black box.",
    15,
    {
        "a": Question(
            "The names of its members",
            _names(_members, "the names of members"),
            (
                "It is a tar, and a gzipped one. Python has a module for that, and so has your shell.",
                "tarfile.open(path).getnames()",
            ),
            "Three files, always these: what Raft knows of the moment, the state itself, and the sums of both.",
        ),
        "b": Question(
            "The SHA-256 of state.bin",
            _judge_sum,
            (
                "hashlib.sha256(content).hexdigest() gives the sum of some bytes.",
                "The bytes are those of the member state.bin: tar.extractfile('state.bin').read().",
                "Compare it with the line in SHA256SUMS: if the two agree, you have it.",
            ),
            "And it is what SHA256SUMS promises: not a byte of the state has changed since it was saved.",
            traps=_sum_traps,
        ),
        "c": Question(
            "When it was taken",
            _judge_created,
            (
                "meta.json is JSON: json.loads(...). Look at ID.",
                "ID is term, index and a time, with dashes between. The time is in milliseconds since 1970.",
                "datetime.fromtimestamp(milliseconds / 1000, UTC)",
            ),
            "The name of a file may lie about that, and so may its date. This can't.",
        ),
        "d": Question(
            "The type of the first record",
            _names(_first_type, "the type"),
            (
                "state.bin begins with one byte, an empty map (0x80). The record comes right after it.",
                "Each record is one byte for its type, then a value. So it is the second byte of state.bin: state[1].",
            ),
            "The state begins by saying at which write each of its tables changed last.",
        ),
        "e": Question(
            "What the first record says it is of: its Key",
            _names(_first_key, "the Key"),
            (
                "After the type byte comes a msgpack value. The cell above has an unpacker; feed it what follows.",
                "unpacker.feed(state[2:]); record = next(unpacker). It is a dict: print it.",
            ),
            "You have read a cluster's state without Nomad and without snapkit. From here on, the tool does it.",
        ),
    },
)

# -- 2. Read one


def _running(exercise: Exercise) -> int:
    with _open(exercise, "backup.snap") as [snapshot]:
        return int((snapshot.allocs["ClientStatus"] == "running").sum())


def _running_traps(exercise: Exercise) -> list[tuple[Callable[[Any], bool], str]]:
    with _open(exercise, "backup.snap") as [snapshot]:
        allocs, meant = len(snapshot.allocs), int((snapshot.allocs["DesiredStatus"] == "run").sum())
    return [
        (_is_number(allocs), "Those are all allocations. Some of them failed or are complete."),
        (_is_number(meant), "Those are meant to run (DesiredStatus). What they really do is another column."),
    ]


def _exit_code(exercise: Exercise) -> float:
    with _open(exercise, "backup.snap") as [snapshot]:
        allocs = snapshot.table("allocs", ["ClientStatus", "TaskStates"])
    failed = allocs[allocs["ClientStatus"] == "failed"]["TaskStates"]
    codes = {e["ExitCode"] for states in failed for state in states.values() for e in state["Events"] if e["ExitCode"]}
    return float(max(codes))


def _ineligible(exercise: Exercise) -> list[Name]:
    with _open(exercise, "backup.snap") as [snapshot]:
        nodes = snapshot.nodes[snapshot.nodes["SchedulingEligibility"] == "ineligible"]
    return [name(label) | name(node) for node, label in nodes["Name"].items()]


def _replicas(exercise: Exercise) -> int:
    with _open(exercise, "backup.snap") as [snapshot]:
        groups = snapshot.get("jobs", *WEB)["TaskGroups"]
    return int(next(group["Count"] for group in groups if group["Name"] == "front"))


def _replica_traps(exercise: Exercise) -> list[tuple[Callable[[Any], bool], str]]:
    with _open(exercise, "backup.snap") as [snapshot]:
        groups = snapshot.get("jobs", *WEB)["TaskGroups"]
        old = snapshot.get("job_versions", *WEB, 0)["TaskGroups"]
    return [
        (_is_number(sum(group["Count"] for group in groups)), "That is both groups together."),
        (_is_number(old[0]["Count"]), "So it was on Monday, in version 0 of the job."),
    ]


def _largest(exercise: Exercise) -> list[Name]:
    with _open(exercise, "backup.snap") as [snapshot]:
        tables = snapshot.tables
    largest = tables.sort_values("Bytes").reset_index().iloc[-1]
    return [name(largest["Table"]) | name(largest["Type"])]


def _scaled(exercise: Exercise) -> list[Name]:
    with _open(exercise, "backup.snap") as [snapshot]:
        keys = list(snapshot.search("black friday")["Key"])
    return [name(*key, alone=True) for key in dict.fromkeys(keys)]


TWO = Plan(
    2,
    "02-read-one.ipynb",
    "Read one",
    "Answer what somebody on call asks, from a backup alone.",
    20,
    {
        "a": Question(
            "How many allocations run",
            _number(_running),
            (
                "Each table is an attribute: backup.allocs is a DataFrame.",
                "What a client says of an allocation is in ClientStatus. value_counts() counts.",
            ),
            "ClientStatus is what is, DesiredStatus what is wanted. Where they differ there is work, or trouble.",
            traps=_running_traps,
        ),
        "b": Question(
            "The exit code of what failed",
            _number(_exit_code),
            (
                "Nested fields are asked for: backup.table('allocs', ['Name', 'ClientStatus', 'TaskStates']).",
                "Of those that failed (ClientStatus): each task in TaskStates has Events with an ExitCode.",
            ),
            "More than 128 is a signal: take 128 off and look it up. As a rule the memory ran out.",
        ),
        "c": Question(
            "The client that takes no new work",
            _names(_ineligible, "the client"),
            (
                "Clients are in backup.nodes.",
                "ready is not all: look at SchedulingEligibility.",
            ),
            "It is ready, and yet nothing new is placed on it: somebody took it out on purpose.",
        ),
        "d": Question(
            "How many replicas of front are wanted",
            _number(_replicas),
            (
                "One object, whole: backup.get('jobs', 'shop', 'web').",
                "TaskGroups is a list; the one that is named front has a Count.",
            ),
            "A count in the job is what is wanted; allocations are what there is.",
            traps=_replica_traps,
        ),
        "e": Question(
            "The table that is the most of it",
            _names(_largest, "the table"),
            ("backup.tables is an overview: it has Bytes.",),
            "In most clusters it is this one: each of its records carries a copy of a whole job.",
        ),
        "f": Question(
            "The job that somebody scaled for black friday",
            _names(_scaled, "the job"),
            (
                "You need not know where such a thing is kept: backup.search(text) looks everywhere.",
                "The Key of what it finds names the job.",
            ),
            "A scaling event keeps the message that a person gave. People leave more traces than they think.",
        ),
    },
)

# -- 3. Something is wrong with these backups


def _on_shelf(exercise: Exercise, wanted: Callable[[Path], bool]) -> list[Name]:
    return [_file(file) for file in shelf() if wanted(exercise.folder / file)]


def _file(file: str) -> Name:
    return name(file) | name(file.removesuffix(".snap"))


def _does_not_open(path: Path) -> bool:
    try:
        with snapkit.open(path):
            return False
    except SnapshotError:
        return True


def _whole_ones(exercise: Exercise) -> list[Name]:
    return [_file(file) for file, kind in shelf().items() if kind == "whole"]


def _shelf_traps(exercise: Exercise) -> list[tuple[Callable[[Any], bool], str]]:
    told = {
        "other cluster": "It is whole, but not ours: look at the id of its cluster.",
        "lost keyring": "It opens and would restore. But could anybody read the variables afterwards?",
        "repacked": "snapkit reads it, but a server is stricter: what does verify say?",
        "swapped member": "Its sums fit. Does all else?",
        "spoilt record": "Its sums fit. But they only say that nothing changed since they were made.",
    }
    return [(_is_name(_file(file)), told[kind]) for file, kind in shelf().items() if kind in told]


THREE = Plan(
    3,
    "03-broken-backups.ipynb",
    "Something is wrong with these backups",
    "Tell a good backup from a bad one before the day on which it is needed, and name what is wrong.",
    25,
    {
        "a": Question(
            "The files that can't be opened",
            _names(lambda exercise: _on_shelf(exercise, _does_not_open), "files that can't be opened"),
            (
                "Go through them with a loop: snapkit.open(path), and catch snapkit.SnapshotError.",
                "for path in sorted(folder.glob('*.snap')): try: snapkit.open(path).close() and so on.",
            ),
            "The worst ones are the others: those that open, and are no good.",
        ),
        "b": Question(
            "The only good one",
            _names(_whole_ones, "the good one"),
            (
                "Opening is not enough: snapkit.verify(path).findings says more. Mind the severities.",
                "Some have no error for verify and are not what we want: read its warnings, and the metadata.",
                "Our cluster's id begins with f806eeae: snapkit.open(path).meta.cluster_id.",
            ),
            "One of ten. Who would have known without looking?",
            traps=_shelf_traps,
        ),
        "c": Question(
            "What is wrong with each",
            lambda exercise, answer: judge_mapping(answer, shelf(), KINDS),
            (
                "Begin with those that can't be opened: the message says what and where.",
                "Bit flipped: gzip's own sum fails. Wrong sums: SHA256SUMS does not fit. Cut short: it ends early.",
                "Swapped member: sums fit, Size does not. Spoilt record: both fit, a value does not decode.",
                "Repacked: bytes after the tar's end. Lost keyring: verify speaks of root keys. Other cluster: its id.",
            ),
            "That is the whole catalogue of what goes wrong with backups in real life, or nearly.",
        ),
    },
)

# -- 4. The intruder


def _night_jobs(exercise: Exercise) -> list[tuple[str, str]]:
    with _open(exercise, "evening.snap", "night.snap") as [evening, night]:
        return [tuple(key) for key in snapkit.compare(evening, night, tables=["jobs"]).objects["Key"]]


def _intruders_token(exercise: Exercise) -> tuple[str, str]:
    """Of the jobs of the night, the token that no job had before."""
    with _open(exercise, "evening.snap", "night.snap") as [evening, night]:
        known = set(evening.jobs["NomadTokenID"])
        used = {night.get("jobs", *key)["NomadTokenID"] for key in _night_jobs(exercise)}
        [accessor] = used - known
        return accessor, str(night.acl_tokens["Name"][accessor])


def _known_tokens(exercise: Exercise) -> list[tuple[Callable[[Any], bool], str]]:
    with _open(exercise, "evening.snap") as [evening]:
        known = {accessor: evening.acl_tokens["Name"][accessor] for accessor in set(evening.jobs["NomadTokenID"])}
    told = "That is the one of whoever is on call, who started a job again. The other one is asked for."
    return [(_is_name(name(accessor) | name(label)), told) for accessor, label in known.items()]


def _policies(exercise: Exercise) -> list[Name]:
    with _open(exercise, "night.snap") as [night]:
        return [name(policy) for policy in night.get("acl_tokens", _intruders_token(exercise)[0])["Policies"]]


def _tasks(job: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {task["Name"]: task for group in job["TaskGroups"] for task in group["Tasks"]}


def _spy(exercise: Exercise) -> dict[str, Any]:
    with _open(exercise, "evening.snap", "night.snap") as [evening, night]:
        after = _tasks(night.get("jobs", *WEB, reveal=True))
        [added] = after.keys() - _tasks(evening.get("jobs", *WEB)).keys()
        return after[added]


def _host(exercise: Exercise) -> list[Name]:
    [value] = _spy(exercise)["Env"].values()
    return [name(value) | name(value.rpartition(":")[0])]


def _spied_version(exercise: Exercise) -> float:
    spy = _spy(exercise)["Name"]
    with _open(exercise, "morning.snap") as [morning]:
        keys = [key for key in morning.job_versions.index if key[:2] == WEB]
        [version] = [key[2] for key in keys if spy in _tasks(morning.get("job_versions", *key))]
        return float(version)


def _version_traps(exercise: Exercise) -> list[tuple[Callable[[Any], bool], str]]:
    with _open(exercise, "morning.snap") as [morning]:
        current = float(morning.get("jobs", *WEB)["Version"])
    return [
        (_is_number(current), "That is the one that is live in the morning: it is clean. Look at the ones before it.")
    ]


FOUR = Plan(
    4,
    "04-the-intruder.ipynb",
    "The intruder",
    "From three backups and a hunch to what was done, with which token, and what is left of it.",
    30,
    {
        "a": Question(
            "The jobs that were added or changed in the night",
            _names(lambda exercise: [name(*key, alone=True) for key in _night_jobs(exercise)], "the jobs"),
            (
                "snapkit.compare(evening, night) finds what differs; .objects lists it.",
                "Only the rows of the table jobs are asked for; the Key is namespace and name.",
            ),
            "One of them is known: whoever was on call started a job again. The others nobody announced.",
        ),
        "b": Question(
            "The token that was used",
            _names(lambda exercise: [frozenset().union(*map(name, _intruders_token(exercise)))], "the token"),
            (
                "A job remembers the token by which it was registered: NomadTokenID, in the night's jobs.",
                "It is an accessor; the night's acl_tokens, by their AccessorID, have its name.",
            ),
            "A token that a pipeline has, and not a person. It was never made to leave its own namespace.",
            traps=_known_tokens,
        ),
        "c": Question(
            "The policy that let it in",
            _names(_policies, "the policy"),
            (
                "night.get('acl_tokens', accessor) has Policies.",
                "Look at the rules of the policy: night.get('acl_policies', name)['Rules'].",
            ),
            "It holds for every namespace, and not for the shop alone: widened in a hurry, and never narrowed again.",
        ),
        "d": Question(
            "What was added to web",
            _names(lambda exercise: [name(_spy(exercise)["Name"])], "what was added"),
            (
                "compare(...).get('jobs', 'shop', 'web') shows field by field what changed.",
                "A path names it: TaskGroups[...].Tasks[...]. The name in the last brackets is asked for.",
            ),
            "It reads the variable nomad/jobs/web, which every task of web may read: that password has to be replaced.",
        ),
        "e": Question(
            "The host that it talked to",
            _names(_host, "the host"),
            (
                "An environment is masked, since it may hold secrets. Whoever investigates asks for it: reveal=True.",
                "night.get('jobs', 'shop', 'web', reveal=True): the Env of the task that was added.",
                "night.search(...) for a part of it shows where else it stands.",
            ),
            "The other job talks to it too. Its name is what to look for in the logs of the firewall.",
        ),
        "f": Question(
            "In the morning's backup alone: the version of web that still tells",
            _number(_spied_version),
            (
                "The job is clean again in the morning. But Nomad keeps a job's last versions: morning.job_versions.",
                "morning.get('job_versions', 'shop', 'web', n) for each n: which has a task that does not belong?",
            ),
            "Whoever cleans up forgets something. Versions, evaluations and indexes remember longer than people.",
            traps=_version_traps,
        ),
    },
)

# -- 5. One job back


def _key_names(key: tuple[str, ...], label: str = "") -> Name:
    return name(*key[1:], alone=True) | name(*key) | (name(label) if label else frozenset())


FIVE = Plan(
    5,
    "05-one-job-back.ipynb",
    "One job back",
    "Bring back what was lost, and nothing else.",
    20,
    {
        "a": Question(
            "What is missing",
            _names(lambda exercise: [_key_names(key) for key in exercise.lost()], "what is missing"),  # type: ignore[attr-defined]
            (
                "What the cluster has now is a snapshot as well: exercise.client.snapshot().",
                "snapkit.compare(backup, live): what was removed? Look at what people make, jobs and variables.",
                "Two things: a job, and what another job reads.",
            ),
            "A job that is missed at the end of the month, and a variable that is missed at another's next start.",
        ),
        "b": Question(
            "What a whole restore would have undone",
            _names(
                lambda exercise: [_key_names(*moved) for moved in exercise.moved_on()],  # type: ignore[attr-defined]
                "what it would have undone",
            ),
            (
                "The same comparison, the other way: what was added or changed since the backup?",
                "Three things, in acl_policies, acl_tokens and variables. Keys or names, as you like.",
                "Or ask beforehand: snapkit.cluster.restore.plan(exercise.client, backup_path).table.",
            ),
            "That is why one does not restore a cluster for the sake of a job.",
        ),
        "c": Question(
            "It is back, and nothing else changed",
            lambda exercise, answer: exercise.judge_state(),
            (
                "snapkit.cluster.recover has recover(client, archive, wanted); wanted is a list of tables with keys.",
                "wanted = [('jobs', namespace, name), ('variables', namespace, path)], and dry_run=True to look first.",
                "On the command line: snapkit recover FILE jobs NAMESPACE NAME variables NAMESPACE PATH.",
            ),
            "Both are as they were last night, and the work of today is untouched.",
            of_state=True,
        ),
    },
)

# -- 6. The drill


def _best(exercise: Drill) -> list[Name]:
    return [_file(exercise.best())]


def _drill_traps(exercise: Drill) -> list[tuple[Callable[[Any], bool], str]]:
    told = {
        "friday.snap": "The newest, and it opens. But is all of it there? What does verify say?",
        "wednesday.snap": "It is whole. But there is a newer one, and notebook 05 knows what Wednesday's brings back.",
    }
    return [(_is_name(_file(file)), words) for file, words in told.items()]


SIX = Plan(
    6,
    "06-the-drill.ipynb",
    "The restore drill",
    f"Restore a whole cluster, with a clock running ({LIMIT} minutes) and with what goes wrong in real life.",
    30,
    {
        "a": Question(
            "The backup to restore",
            lambda exercise, answer: judge_names(answer, _best(exercise), "the backup"),
            (
                "The newest that is good. snapkit.verify(path).ok for each of the five.",
                "It is not Friday's: its sums fit, and it ends too early.",
            ),
            "A little older, and whole. What happened since has to be done again by hand.",
            traps=_drill_traps,
        ),
        "b": Question(
            "The cluster is restored, and there was a way back",
            lambda exercise, answer: exercise.judge_state(),
            (
                "snapkit.cluster.restore: plan(client, archive); apply(client, plan, archive, journal=…, confirm=…).",
                "A fetch that breaks off is no catastrophe: ask again. Nothing half is kept.",
                "Your token was made today, and the backup lacks it: apply(…, token_after=…), or go by the envelope's.",
                "An error after the upload says nothing about the state. apply() reads it back and tells; so can you.",
                "apply() saves the state beside the journal. By hand: client.save(path), then client.restore(path).",
            ),
            "Saved, restored, read back. The error on the way was no reason to do it twice.",
            of_state=True,
        ),
        "c": Question(
            "The tokens that the restore ended",
            _names(
                lambda exercise: [name(accessor) | name(label) for accessor, label in exercise.ended_tokens()],  # type: ignore[attr-defined]
                "the tokens",
            ),
            (
                "Those that the cluster had before, and that the backup lacks. What you saved before has them.",
                "plan.table has a row for each: Table is acl_tokens, Happens is goes away. Names or accessors.",
            ),
            "Whoever holds one of these calls you in the next half hour. Call first.",
        ),
    },
)

PLANS: Mapping[int, Plan] = MappingProxyType({plan.number: plan for plan in (ONE, TWO, THREE, FOUR, FIVE, SIX)})
