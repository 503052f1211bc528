"""Single objects from an archive back into a live cluster, without restoring it.

What is written is shown first, against what is live; what is there and is another is replaced only if that is asked
for, and only if it still is as it was seen.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from snapkit.cluster.answers import jobspec
from snapkit.cluster.client import Answer, Client
from snapkit.cluster.connection import (
    ClusterError,
    ClusterTimeoutError,
    InterruptedStreamError,
    PermissionDeniedError,
    ServerError,
)
from snapkit.cluster.pieces import (
    REDACTED,
    SOURCE,
    WRITTEN,
    Object,
    Piece,
    Wanted,
    job_body,
    parsed,
    pieces,
)
from snapkit.errors import RecordError, SnapshotError
from snapkit.files import atomic, refuse_existing
from snapkit.format.age import Identity
from snapkit.format.archive import Source
from snapkit.format.schema import BY_TABLE, Type
from snapkit.format.values import Mask, pack, to_json
from snapkit.page import AMBER, GREEN, RED, escaped, label, plain
from snapkit.page import table as html_table
from snapkit.state.changes.fielddiff import differences
from snapkit.state.output.edit import from_json
from snapkit.state.snapshot import Snapshot, open_snapshot

SHOWN = 30  # objects, and fields of one, that a notebook's cell shows
_COLOURS = {"create": GREEN, "update": AMBER, "keep": AMBER, "blocked": RED}
_COLOURS |= {"written": GREEN, "failed": RED, "unclear": RED, "not tried": AMBER}

_PATHS: Mapping[str, str] = {
    "namespaces": "/v1/namespace/{}",
    "node_pools": "/v1/node/pool/{}",
    "acl_policies": "/v1/acl/policy/{}",
    "acl_roles": "/v1/acl/role/name/{}",
    "acl_auth_methods": "/v1/acl/auth-method/{}",
    "acl_tokens": "/v1/acl/token/{}",
    "variables": "/v1/var/{}",
    "jobs": "/v1/job/{}",
}


class RecoverError(SnapshotError):
    """Not all was brought back.

    Attributes:
        recovery: What was to be done, and how far it came.
    """

    recovery: Recovery | None = None


@dataclass(slots=True)
class Step:
    """What is to be done about one object, and what was.

    Attributes:
        piece: The object.
        action: `create`; `update`; `same`: it is live as it is here; `keep`: what is live is another, and it was not
            asked to replace it; `blocked`: it can't be done, see `note`.
        fields: What differs from what is live: path, live value, value here, secrets masked.
        note: What to know.
        result: Empty until it is done: `written`; `failed`; `unclear`: no answer came, and it does not read back;
            `not tried`.
        index: Of the write.
    """

    piece: Piece
    action: str
    live: Object | None = field(default=None, repr=False)
    live_index: int = 0
    fields: list[tuple[str, Any, Any]] = field(default_factory=list)
    note: str = ""
    result: str = ""
    index: int | None = None
    answer: Object | None = field(default=None, repr=False)


class Recovery:
    """What was to be brought back into a cluster, and what came of it.

    Attributes:
        dry_run: Was nothing written?
        address: The cluster's.
        source: The archive.
    """

    def __init__(self, steps: Sequence[Step], address: str, source: str, mask: Mask, dry_run: bool) -> None:
        self.dry_run = dry_run
        self.address = address
        self.source = source
        self._steps = list(steps)
        self._mask = mask

    @property
    def steps(self) -> pd.DataFrame:
        """In the order in which they are done.

        Returns:
            Table (str), Key, Target (object; tuples; in the archive, in the cluster), Action, From (str), Fields
            (Int64; how many differ), Result, Note (str), Index (Int64; of the write).
        """
        rows = self._steps
        return pd.DataFrame(
            {
                "Table": pd.array([step.piece.table for step in rows], dtype="str"),
                "Key": pd.Series([step.piece.key for step in rows], dtype="object"),
                "Target": pd.Series([step.piece.target for step in rows], dtype="object"),
                "Action": pd.array([step.action for step in rows], dtype="str"),
                "From": pd.array([step.piece.made_of for step in rows], dtype="str"),
                "Fields": pd.array([len(step.fields) for step in rows], dtype="Int64"),
                "Result": pd.array([step.result for step in rows], dtype="str"),
                "Note": pd.array([step.note for step in rows], dtype="str"),
                "Index": pd.array([step.index for step in rows], dtype="Int64"),
            }
        )

    @property
    def fields(self) -> pd.DataFrame:
        """What is live and what is written in its place, secrets masked.

        Returns:
            Table (str), Target (object; tuples), Path (str), Live, Written (object; None where there is nothing).
        """
        rows = [
            (step.piece.table, step.piece.target, *difference) for step in self._steps for difference in step.fields
        ]
        frame = pd.DataFrame(rows, columns=["Table", "Target", "Path", "Live", "Written"], dtype="object")
        return frame.astype({"Table": "str", "Path": "str"})

    def tokens(self, *, reveal: bool = False) -> pd.DataFrame:
        """The tokens that were made in place of old ones, whose secrets no API gives back.

        Args:
            reveal: Show the new secrets; they can't be had later but from the cluster.

        Returns:
            Index AccessorID (str; the old one); NewAccessorID, SecretID, Name, Type (str).
        """
        made = [step for step in self._steps if step.piece.table == "acl_tokens" and step.answer is not None]
        answers = [step.answer or {} for step in made]
        shown = [
            str(a["SecretID"]) if reveal or self._mask is None else self._mask(a["SecretID"].encode()) for a in answers
        ]
        return pd.DataFrame(
            {
                "NewAccessorID": pd.array([str(a["AccessorID"]) for a in answers], dtype="str"),
                "SecretID": pd.array(shown, dtype="str"),
                "Name": pd.array([str(a["Name"]) for a in answers], dtype="str"),
                "Type": pd.array([str(a["Type"]) for a in answers], dtype="str"),
            },
            index=pd.Index([step.piece.key[0] for step in made], dtype="str", name="AccessorID"),
        )

    def __repr__(self) -> str:
        return plain(f"<Recovery of {self.source} into {self.address}: {self.summary}>")

    @property
    def summary(self) -> str:
        """Such as `2 objects looked at, nothing written: 1 keep, 1 same`."""
        counts = Counter(step.result or step.action for step in self._steps)
        did = "looked at, nothing written" if self.dry_run else "asked for"
        objects = f"{len(self._steps):,} object{'' if len(self._steps) == 1 else 's'}"
        return f"{objects} {did}: {', '.join(f'{n:,} {what}' for what, n in counts.items())}"

    def _repr_html_(self) -> str:
        rows = [
            [
                label(step.result or step.action, _COLOURS.get(step.result or step.action, "")),
                label(step.piece.table),
                escaped("/".join(step.piece.key)) + _renamed(step.piece),
                "".join(f"<div>{escaped(_difference(*told))}</div>" for told in step.fields[:SHOWN])
                + (f"<div>and {len(step.fields) - SHOWN:,} more fields</div>" if len(step.fields) > SHOWN else ""),
                escaped(step.note),
            ]
            for step in self._steps[:SHOWN]
        ]
        more = f"<p>{len(self._steps) - SHOWN:,} more: steps lists all</p>" if len(self._steps) > SHOWN else ""
        head = f"<p><b>{escaped(self.summary)}</b> <small>{escaped(f'{self.source} into {self.address}')}</small></p>"
        names = ("What", "Table", "Object", "Live, and what is written in its place", "Note")
        return f'<div style="overflow-wrap:anywhere">{head}{html_table(rows, names) if rows else ""}{more}</div>'


def recover(
    client: Client,
    src: Source | Snapshot,
    objects: Iterable[Wanted],
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    keystore: Any = None,
    identity: Identity | None = None,
    name: str | None = None,
    namespace: str | None = None,
    stopped: bool | None = None,
    same_secrets: bool = False,
) -> Recovery:
    """Bring single objects of an archive back into a live cluster.

    All are looked at before the first is written, and none is if one can't be. They are written in the order in which
    they need each other, each only if what is live is still what was seen (jobs and variables; Nomad has no such check
    for the others), and read back.

    Args:
        client: The cluster, with a token that may write them: a management token for all that is ACL.
        src: The archive, or a snapshot that is open.
        objects: Tables and keys, such as `("jobs", "payments", "payments")`. Roles may go by name. A scaling policy
            comes with its job. Of tokens, new ones are made with the same rights: see `Recovery.tokens()`.
        dry_run: Write nothing, and have the server plan the jobs.
        overwrite: Replace what is live and is another.
        keystore: A copy of a server's keystore: up to 1.8 a variable's keys are there alone.
        identity: What opens an archive that is encrypted (age).
        name: Another name (of a variable: path) for it, if it is one object.
        namespace: Another namespace for jobs and variables.
        stopped: Should jobs be stopped? By default as they were.
        same_secrets: Bring client tokens back themselves, with the accessors and secrets that they had: servers of
            2.0.5 take them, those of 1.8.4 do not. Management tokens can't be.

    Raises:
        NotInSnapshotError: The archive has no such object, and nothing tells of it.
        KeyringError: A variable does not open.
        RecoverError: One can't be brought back, or what is live is another and `overwrite` is false: nothing was
            written; or a write failed: those before it were.
        ClusterError: The cluster can't be asked.
    """
    with ExitStack() as stack:
        snapshot = src if isinstance(src, Snapshot) else stack.enter_context(open_snapshot(src, identity=identity))
        options: Any = {"keystore": keystore, "name": name, "namespace": namespace, "stopped": stopped}
        options["same_secrets"] = same_secrets
        found = [
            parsed(client, piece, stopped) if piece.made_of.startswith(SOURCE) else piece
            for piece in pieces(snapshot, objects, **options)
        ]
        steps = [_planned(client, piece, snapshot, overwrite) for piece in found]
        _block_what_lacks(client, steps)
        recovery = Recovery(steps, client.address, snapshot.meta.source, snapshot.mask, dry_run)
        if dry_run:
            for step in steps:
                if step.piece.table == "jobs" and step.action in ("create", "update"):
                    made = {(one.piece.table, *one.piece.target) for one in steps if one.action == "create"}
                    _plan_job(client, step, [need for need in step.piece.needs if need in made])
            return recovery
        _refuse(recovery, steps)
        for number, step in enumerate(steps):
            if step.action == "same":
                continue
            try:
                _write(client, step, snapshot)
            except SnapshotError as error:
                lost = isinstance(error, InterruptedStreamError | ClusterTimeoutError)
                if lost and _is_written(client, step, snapshot):
                    step.result = "written"
                    step.note = _joined(step.note, "its answer was lost; it reads back as it was written")
                    continue
                step.result, step.note = "unclear" if lost else "failed", _joined(step.note, str(error))
                for later in steps[number + 1 :]:
                    later.result = "not tried" if later.action != "same" else ""
                what = f"can't be written: {error.what}"
                if lost:
                    what = f"got no answer to its write ({error.what}): it may have been written"
                raise _error(what, step, _joined(error.advice, _how_far(steps)), recovery) from error
        return recovery


def _how_far(steps: Sequence[Step]) -> str:
    """What was written before a failure, and what was not tried."""
    done = [step for step in steps if step.result == "written"]
    left = [step for step in steps if step.result == "not tried"]
    told = [f"{word}: {', '.join(map(_name, some))}" for word, some in (("written", done), ("not tried", left)) if some]
    if any(step.piece.table == "acl_tokens" for step in done):
        told.append("the secrets of new tokens are in what recover() raised, and nowhere else")
    return _joined("nothing else was written" if not done else "", *told)


def _is_written(client: Client, step: Step, snapshot: Snapshot) -> bool:
    """After a write without an answer: is what is live now as it was sent? Of a new token nobody knows the accessor."""
    try:
        live = None if step.piece.table == "acl_tokens" else _live(client, step.piece)[0]
        return live is not None and not list(_differing(step.piece, live, snapshot.mask))
    except SnapshotError:
        return False


def _refuse(recovery: Recovery, steps: Sequence[Step]) -> None:
    """Before anything is written."""
    for step in steps:
        if step.action == "blocked":
            raise _error(step.note, step, "nothing was written", recovery)
        if step.action == "keep":
            what = f"is live as another: {len(step.fields)} fields differ ({step.note})"
            raise _error(what, step, "nothing was written: look at a dry run, and ask to overwrite it", recovery)


def _name(step: Step) -> str:
    return f"{step.piece.table} {'/'.join(step.piece.target)}"


def _error(what: str, step: Step, advice: str, recovery: Recovery) -> RecoverError:
    error = RecoverError(what, _name(step), advice)
    error.recovery = recovery
    return error


def _renamed(piece: Piece) -> str:
    """As what it comes back, if that is another name."""
    return "" if piece.target == piece.key else f"<br><small>as {escaped('/'.join(piece.target))}</small>"


def _difference(path: str, live: Any, written: Any) -> str:
    before, after = (plain(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)) for v in (live, written))
    return f"{path}: {before[:200]} → {after[:200]}"


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


# -- what is live


def _planned(client: Client, piece: Piece, snapshot: Snapshot, overwrite: bool) -> Step:
    live, index = _live(client, piece)
    step = Step(piece, "create", live, index, note=_joined(*piece.notes))
    if piece.table == "acl_tokens":
        _judge_token(step, snapshot)
        return step
    step.fields = list(_differing(piece, live, snapshot.mask))
    if live is None:
        return step
    if not step.fields:
        step.action = "same"
        return step
    age = f"live since index {index}; the archive is of index {snapshot.meta.index or 0} of its cluster"
    step.action, step.note = "update" if overwrite else "keep", _joined(step.note, age)
    return step


def _judge_token(step: Step, snapshot: Snapshot) -> None:
    expires = step.piece.body.get("ExpirationTime")
    if step.live is not None:
        step.action, step.note = "same", "is live, its secret too"
    elif expires and pd.Timestamp(expires) <= pd.Timestamp.now("UTC"):
        step.action, step.note = "blocked", f"had a time, which was over at {expires}"
    step.fields = [] if step.live else list(_differing(step.piece, None, snapshot.mask))


def _live(client: Client, piece: Piece) -> tuple[Object | None, int]:
    """The object that is there, and the index by which a write can be made to depend on it."""
    if piece.table == "acl_binding_rules":
        found = _live_rule(client, piece)
    else:
        namespace = {"namespace": piece.target[0]} if piece.table in ("jobs", "variables") else {}
        path = _PATHS[piece.table].format(quote(piece.target[-1], safe=""))
        answer = client.find(path, **namespace)
        found = None if answer is None else answer.value
    if not isinstance(found, dict):
        return None, 0
    return found, int(found.get("JobModifyIndex" if piece.table == "jobs" else "ModifyIndex") or 0)


def _live_rule(client: Client, piece: Piece) -> Object | None:
    """By its ID, else one that says the same."""
    answer = client.find(f"/v1/acl/binding-rule/{quote(piece.key[0], safe='')}")
    if answer is not None:
        return dict(answer.value)
    for stub in client.get("/v1/acl/binding-rules").value or ():
        rule = client.find(f"/v1/acl/binding-rule/{quote(stub['ID'], safe='')}")
        same = rule and all((rule.value.get(n) or "") == (piece.body.get(n) or "") for n in WRITTEN[piece.table])
        if rule and same:
            return dict(rule.value)
    return None


def _differing(piece: Piece, live: Object | None, mask: Mask) -> Iterator[tuple[str, Any, Any]]:
    """Path, live value and value here of what differs."""
    if piece.table == "variables":
        shown: Callable[[str | None], Any] = lambda text: text if text is None or mask is None else mask(text.encode())  # noqa: E731
        was, now = (live or {}).get("Items") or {}, piece.body["Items"]
        for name in sorted({*was, *now}):
            if was.get(name) != now.get(name):
                yield f"Items[{json.dumps(name)}]", shown(was.get(name)), shown(now.get(name))
        return
    kind = Type("struct", struct=BY_TABLE[piece.table].struct)
    ours = from_json(piece.body, kind)
    if live is None:
        yield from ((name, None, value) for name, value in to_json(ours, kind, mask).items() if value)
        return
    if piece.table == "jobs":
        ours = from_json(_as_registered(piece, piece.body), kind)
    for change in differences(pack(from_json(_comparable(piece, live), kind)), pack(ours), kind):
        before, after = change.values(mask)
        if before != REDACTED:
            yield change.path, before, after


def _comparable(piece: Piece, live: Object) -> Object:
    """Of what is live, what is written of its kind."""
    if piece.table == "jobs":
        return _as_registered(piece, job_body(live))
    found: Object = {name: live.get(name) for name in piece.body}
    if isinstance(found.get("Config"), dict):  # a secret that a server does not show is not known to differ
        ours = piece.body.get("Config") or {}
        config: Object = found["Config"]
        found["Config"] = {name: ours.get(name) if value == REDACTED else value for name, value in config.items()}
    return found


def _as_registered(piece: Piece, body: Object) -> Object:
    """A job with what today's servers fill in where it says nothing, as one of an older release does."""
    try:
        return jobspec.canonical(body, piece.target[0], str(body.get("Region") or "global"))
    except (AttributeError, KeyError, TypeError) as error:
        raise RecordError(f"is not as Nomad writes it ({error})", f"job {'/'.join(piece.key)}") from error


def _is_there(client: Client, need: tuple[str, ...]) -> bool:
    """Is something live that another needs? What the token may not see is left to the server, which refuses by itself.

    Who may register a job may not see its node pool as a rule.
    """
    try:
        return client.find(_PATHS[need[0]].format(quote(need[1], safe=""))) is not None
    except PermissionDeniedError:
        return True


def _block_what_lacks(client: Client, steps: Sequence[Step]) -> None:
    coming = {(step.piece.table, *step.piece.target) for step in steps}
    live: dict[tuple[str, ...], bool] = {}
    for step in steps:
        if step.action in ("same", "blocked"):
            continue
        for need in step.piece.needs:
            if need in coming:
                continue
            if need not in live:
                live[need] = _is_there(client, need)
            if not live[need]:
                step.action = "blocked"
                step.note = _joined(f"needs {need[0]} {need[1]}, which is not live: bring that back too", step.note)
                break


# -- writing


def _plan_job(client: Client, step: Step, waits_for: Sequence[tuple[str, ...]]) -> None:
    """What the server says it would make of it; nothing while there is not yet what comes back with it."""
    piece = step.piece
    path = f"/v1/job/{quote(piece.target[1], safe='')}/plan"
    try:
        plan = client.put(path, {"Job": piece.body, "Diff": True}, namespace=piece.target[0]).value
    except ServerError as error:
        if not waits_for or isinstance(error, PermissionDeniedError):
            raise
        names = " and ".join(" ".join(need) for need in waits_for)
        step.note = _joined(step.note, f"the server plans it when there is {names}")
        return
    told = [f"the server's plan: {(plan.get('Diff') or {}).get('Type') or 'not said'}"]
    failed = plan.get("FailedTGAllocs") or {}
    if failed:
        told.append(f"it could not place {', '.join(sorted(failed))}")
    step.note = _joined(step.note, *told, " ".join(str(plan.get("Warnings") or "").split()))


def _write(client: Client, step: Step, snapshot: Snapshot) -> None:
    piece, body = step.piece, dict(step.piece.body)
    if piece.table == "jobs":
        sent = {"Job": body, "EnforceIndex": True, "JobModifyIndex": step.live_index}
        if piece.submission is not None:
            sent["Submission"] = piece.submission
        answer = client.put("/v1/jobs", sent, namespace=piece.target[0])
    elif piece.table == "variables":
        path = _PATHS["variables"].format(quote(piece.target[1], safe=""))
        query = {"namespace": piece.target[0], "cas": str(step.live_index)}
        answer = client.put(path, body, accept=(409,), **query)
        if answer.status == 409:
            raise ClusterError("was written by somebody else meanwhile, or is locked", client.address, "look again")
    else:
        answer = _write_other(client, step, body)
    step.answer = answer.value if isinstance(answer.value, dict) else None
    step.result, step.index = "written", answer.index
    if piece.table == "acl_tokens":
        return
    key = (str(answer.value["ID"]),) if piece.table == "acl_binding_rules" else piece.key
    live, _ = _live(client, replace(piece, key=key))
    left = [path for path, *_ in _differing(piece, live, snapshot.mask)] if live else ["all of it"]
    if left:
        step.note = _joined(step.note, f"reads back otherwise: {', '.join(left[:5])}")


def _write_other(client: Client, step: Step, body: Object) -> Answer:
    table, name = step.piece.table, quote(step.piece.target[-1], safe="")
    if table in ("acl_roles", "acl_binding_rules"):  # by their ids, which a new one gets from the server
        given = {"ID": step.live["ID"]} if step.live else {}
        path = "/v1/acl/role" if table == "acl_roles" else "/v1/acl/binding-rule"
        return client.put(f"{path}/{given['ID']}" if given else path, body | given)
    if table == "acl_tokens":
        return client.put("/v1/acl/token", body)
    if table == "acl_auth_methods":
        return client.put(f"/v1/acl/auth-method/{name}" if step.live else "/v1/acl/auth-method", body)
    return client.put(_PATHS[table].format(name), body)


# -- without a cluster


@dataclass(frozen=True, slots=True)
class Written:
    """A file to bring an object back by hand.

    Attributes:
        path: The file.
        table: Of the object.
        key: Of the object.
        command: What takes it.
    """

    path: Path
    table: str
    key: tuple[str, ...]
    command: str


def write_files(
    src: Source | Snapshot,
    objects: Iterable[Wanted],
    folder: str | Path,
    *,
    overwrite: bool = False,
    keystore: Any = None,
    identity: Identity | None = None,
    name: str | None = None,
    namespace: str | None = None,
    stopped: bool | None = None,
    same_secrets: bool = False,
) -> list[Written]:
    """Write objects of an archive as files that the nomad command takes, secrets in the clear, mode 0600.

    Args:
        folder: Made if it is not there.
        overwrite: Replace files that are there.

    The others and what is raised are those of `recover()`; also:

    Raises:
        TargetExistsError: A file is there, and `overwrite` is false: none was written.
        SourceError: The folder can't be written to.
    """
    with ExitStack() as stack:
        snapshot = src if isinstance(src, Snapshot) else stack.enter_context(open_snapshot(src, identity=identity))
        options: Any = {"keystore": keystore, "name": name, "namespace": namespace, "stopped": stopped}
        found = pieces(snapshot, objects, same_secrets=same_secrets, **options)
    folder = Path(folder)
    contents: list[tuple[Written, bytes]] = []
    for piece in found:
        contents += _files_of(piece, folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for written, _ in contents:
        refuse_existing(written.path, overwrite)
    for written, content in contents:
        with atomic(written.path, overwrite) as file:
            file.write(content)
    return [written for written, _ in contents]


def _files_of(piece: Piece, folder: Path) -> Iterator[tuple[Written, bytes]]:
    stem = "_".join(quote(part, safe="") for part in piece.target)

    def file(suffix: str, command: str, content: str) -> tuple[Written, bytes]:
        path = folder / f"{stem}.{suffix}"
        return Written(path, piece.table, piece.key, command.format(shlex.quote(str(path)))), content.encode()

    body = json.dumps(piece.body, indent=2, ensure_ascii=False)
    match piece.table:
        case "jobs":
            if piece.made_of.startswith(SOURCE):
                assert piece.submission is not None
                given = str(piece.submission["Source"])
                json_ = piece.submission["Format"] == "json"
                yield file("job.json" if json_ else "job.hcl", f"nomad job run {'-json ' if json_ else ''}{{}}", given)
                return
            yield file("job.json", "nomad job run -json {}", json.dumps({"Job": piece.body}, indent=2))
            if piece.submission is not None and piece.submission["Format"] == "hcl2":
                source = str(piece.submission["Source"])
                yield file("submitted.hcl", "# as it was submitted, before it was scaled: {}", source)
        case "variables":
            yield file("var.json", "nomad var put -in json @{}", body)
        case "acl_policies":
            told = shlex.quote(f"-description={piece.body.get('Description') or ''}")
            for_job = "".join(
                f" -{flag}={shlex.quote(str(job[name]))}"
                for job in [piece.body.get("JobACL") or {}]
                for flag, name in (("namespace", "Namespace"), ("job", "JobID"), ("group", "Group"), ("task", "Task"))
                if job.get(name)
            )
            command = f"nomad acl policy apply {told}{for_job} {piece.body['Name']} "
            yield file("policy.hcl", command.replace("{", "{{").replace("}", "}}") + "{}", str(piece.body["Rules"]))
        case "namespaces":
            yield file("namespace.json", "nomad namespace apply -json {}", body)
        case "node_pools":
            yield file("pool.json", "nomad node pool apply -json {}", body)
        case table:
            path = {"acl_roles": "role", "acl_auth_methods": "auth-method", "acl_binding_rules": "binding-rule",
                    "acl_tokens": "token"}[table]  # fmt: skip
            yield file(f"{path}.json", f"nomad operator api /v1/acl/{path} < {{}}", body)
