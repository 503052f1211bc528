"""who: what tokens, roles and policies may do, how that differs, and who could have done a thing."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import FILE, File, Identity, Json, Now, moment_of, opened
from snapkit.cli.output import one_line, show_frame
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    import pandas as pd

    from snapkit.state.snapshot import Snapshot

KINDS = ("anonymous", "policy", "role", "token", "workload")


@app.command(
    examples=[
        "who wednesday.snap",
        "who wednesday.snap --anonymous",
        "who wednesday.snap --can submit-job --namespace default",
        "who wednesday.snap --can management --since tuesday.snap",
        "who wednesday.snap --did",
        "who tuesday.snap --against wednesday.snap",
    ]
)
def who(
    file: File,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", help="A token's rights: its AccessorID, how that begins, or its name.", metavar="TOKEN"
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option("--role", help="A role's rights: its ID, how that begins, or its name.", metavar="ROLE"),
    ] = None,
    policy: Annotated[str | None, typer.Option("--policy", help="What a policy grants.", metavar="NAME")] = None,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload", help="The rights of tasks, by policies for them.", metavar="NAMESPACE/JOB/GROUP/TASK"
        ),
    ] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="The rights of whoever gives no token.")] = False,
    can: Annotated[
        str | None,
        typer.Option("--can", help="Who could have done this, such as submit-job or management.", metavar="CAPABILITY"),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", help="With --can: where. Default: anywhere.", metavar="NAMESPACE")
    ] = None,
    path: Annotated[str | None, typer.Option("--path", help="With --can: of this variable.", metavar="PATH")] = None,
    scope: Annotated[
        str | None,
        typer.Option("--scope", help="With --can: node, agent, operator, node_pool, host_volume …", metavar="SCOPE"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="With --can: the node pool or host volume.", metavar="NAME")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", help="With --can: it was done after this earlier snapshot was taken.", metavar="EARLIER"
        ),
    ] = None,
    did: Annotated[
        bool, typer.Option("--did", help="Which token registered each version of a job, or drained a node last.")
    ] = False,
    against: Annotated[
        str | None, typer.Option("--against", help=f"How rights differ in this later one. {FILE}", metavar="FILE")
    ] = None,
    now: Now = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Who may do what: tokens, roles and policies, whoever gives no token, and tasks.

    With --can, who could have done a thing; who did is in the state of few things alone: --did. With --against, exits 1
    if rights differ. Text has levels for capabilities and shortens long lists; JSON has a row for each right.
    """
    from snapkit.state.access import who as library
    from snapkit.state.access.scopes import listed

    named = dict(zip(KINDS, ("" if anonymous else None, policy, role, token, workload), strict=True))
    subjects = [(kind, id_) for kind, id_ in named.items() if id_ is not None]
    others = {"--can": can, "--against": against, "--did": did or None}
    asked = [*(f"--{kind}" for kind, _ in subjects), *(option for option, given in others.items() if given is not None)]
    if len(subjects) > 1 or (len(asked) > 1 and (can is not None or did)):
        raise SnapshotError("can't be asked for together", " and ".join(asked), "give one of them")
    place = {"--namespace": namespace, "--path": path, "--scope": scope, "--name": name, "--since": since}
    alone = next((option for option, value in place.items() if value is not None), None)
    if can is None and alone is not None:
        raise SnapshotError("needs --can", alone, "say what was done by --can CAPABILITY")
    if against is not None and now is not None:
        raise SnapshotError("does not go with --against", "--now", "leave it out: that tokens expire is no difference")
    if file == "-" and "-" in (against, since):
        raise SnapshotError("can be read once", "standard input", "save one of the two as a file")
    moment = moment_of(now)
    with opened(file, identity) as snapshot:
        if against is not None:
            with opened(against, identity) as later:
                changes = library.rights_changes(snapshot, later, _whole(subjects, snapshot, later) or None)
            _show(changes, library.folded(changes), json_)
            if len(changes):
                raise typer.Exit(1)
        elif can is not None:
            _note_missing(snapshot, namespace)
            with opened(since, identity) if since is not None else nullcontext() as earlier:
                given: dict[str, Any] = {"scope": scope, "name": name, "now": moment, "since": earlier}
                found = library.who_could(snapshot, can, namespace, path, **given)
            times = {column: found[column].dt.floor("s") for column in ("ExpirationTime", "CreateTime")}
            where = [listed(names) for names in found["Where"]]
            _show(found, found.drop(columns="Expired").assign(Where=where, **times), json_)
            if not json_:
                print("Who could have, by the rights in the snapshot. Of who did, it tells little: --did.")
        elif did:
            found = library.who_did(snapshot)
            _show(found, found.assign(Time=found["Time"].dt.floor("s")), json_)
            if not json_:
                print("Of nothing else does the state keep by which token it was done; and a token is no person.")
        elif subjects:
            rights = library.rights(snapshot, *_whole(subjects, snapshot)[0], now=moment)
            _show(rights, library.folded(rights), json_)
        else:
            every = library.subjects(snapshot, now=moment)
            _show(every, every, json_)


def _whole(subjects: list[tuple[str, str]], *snapshots: Snapshot) -> list[tuple[str, str]]:
    """With whole ids for ids in short; a name is a name."""
    from snapkit.state.snapshot.ids import whole

    found = []
    for kind, wanted in subjects:
        if (table := {"token": "acl_tokens", "role": "acl_roles"}.get(kind)) is not None:
            named = [snapshot.table(table, ["Name"])["Name"] for snapshot in snapshots]
            if not any(names.eq(wanted).any() for names in named):
                wanted = whole(wanted, [str(id_) for names in named for id_ in names.index], f"table {table}")
        found.append((kind, wanted))
    return found


def _show(frame: pd.DataFrame, short: pd.DataFrame, json_: bool) -> None:
    """JSON as it is, text in short; no column that says something is left out of either."""
    if not json_:
        filled = [column for column in short.columns if any(map(_says, short[column]))]
        frame = short[filled]
    show_frame(frame, json_, 0, everything=True)


def _says(value: object) -> bool:
    return bool(value) and value == value  # not missing: NaN and NaT differ from themselves


def _note_missing(snapshot: Snapshot, namespace: str | None) -> None:
    if namespace is not None and namespace not in {"default", *snapshot.table("namespaces", []).index}:
        print(f"snapkit: note: {one_line(f'namespace {namespace} is not in the snapshot')}", file=sys.stderr)
