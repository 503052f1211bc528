"""Who may do what by a snapshot, how that differs in another one, and who could have done a given thing.

The state names no actor: what is told here is who could, and never who did. Rules that can't be understood are never
taken for rules that grant nothing: they are rows of their own. Tokens go by AccessorID and Name; no secret is read.

Who there is, and what each may do, is found in `snapkit.state.access.holders`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from snapkit.errors import NotInSnapshotError
from snapkit.state.access.acl import ANONYMOUS
from snapkit.state.access.holders import Access, Subject
from snapkit.state.access.scopes import UNKNOWN, listed, short, wanted_of
from snapkit.state.snapshot import Snapshot

# -- rights


def subjects(snapshot: Snapshot, *, now: datetime | None = None) -> pd.DataFrame:
    """All that have rights, and those rights in short.

    Args:
        snapshot: Where they are.
        now: When: a token may have expired. By default, the archive's own time.

    Returns:
        Kind, ID, Name (str), Through (str; policies, also those of roles), Rights (str; by block, as the rules name it,
        less what other policies deny), Valid (str; `yes`, `expired`, `not yet`), Problem (str).
    """
    access = Access(snapshot, now)
    rows = [
        (
            *holder.subject,
            holder.name,
            holder.through(),
            "all" if holder.management else access.in_short(holder),
            access.valid(holder),
            "; ".join([*filter(None, [holder.note]), *(str(problem) for problem in access.problems(holder))]),
        )
        for holder in access.holders()
    ]
    return _frame(rows, "Kind", "ID", "Name", "Through", "Rights", "Valid", "Problem")


def rights(snapshot: Snapshot, kind: str = ANONYMOUS, id: str = "", *, now: datetime | None = None) -> pd.DataFrame:
    """What a token, role, policy or workload may do, or whoever gives no token.

    Args:
        snapshot: Where it is.
        kind: As in `Subject`.
        id: As in `Subject`; of tokens and roles also a name that one alone has.
        now: When: a token may have expired. By default, the archive's own time.

    Returns:
        A row for each right and each policy that grants it: Scope (str; one of `SCOPES`), Name (str; the namespace,
        node pool or host volume), Path (str; of variables), Rule (str; the name as the rules have it), Capability
        (str), Policy (str), Via (str; `token`, or the role), Problem (str). Globs are spelt out for what there is in
        the snapshot; paths are as the rules have them, those left out for which another rule counts. What `write` lets
        do as well, `read`, is a row too. A management token has one row, of the Scope `management`. Rules that can't be
        understood are a row of the Scope `policy` and Capability `unknown`; a policy or role that is not there is one
        without a Capability. Rights of a token that is not valid are there, and their Problem says so.

    Raises:
        NotInSnapshotError: There is no such subject.
        SnapshotError: Several have that name.
    """
    access = Access(snapshot, now)
    holder = access.holder(kind, id)
    notes = {"expired": f"the token expired at {holder.expires}", "not yet": f"it was made at {holder.created}"}
    note = notes.get(access.valid(holder), holder.note)
    rows = [
        (
            *(right.scope, right.name, right.path, right.rule, right.capability, policy),
            holder.via(policy),
            "; ".join(filter(None, (note, access.lacking(right)))),
        )
        for right in access.rights(holder)
        for policy in right.policies
    ]
    rows += [
        (p.scope, p.name, "", "", p.capability, p.name if p.scope == "policy" else "", ", ".join(p.via), p.text)
        for p in access.problems(holder)
    ]
    return _frame(rows, "Scope", "Name", "Path", "Rule", "Capability", "Policy", "Via", "Problem")


def rights_changes(
    before: Snapshot, after: Snapshot, subjects: Iterable[tuple[str, str]] | None = None
) -> pd.DataFrame:
    """How rights differ between two snapshots. That a token expired meanwhile is no change.

    Args:
        before: The one.
        after: The other one.
        subjects: Those to look at, as `rights()` takes them; by default all of either. One that is not in one of them
            has no rights there.

    Returns:
        Kind, ID (str; the subject), Subject (str; its name), Change (str; `added` or `removed`), Scope, Name, Path,
        Capability (str; as in `rights()`), Policy (str; all that grant it).

    Raises:
        NotInSnapshotError: A subject is in neither of them.
        SnapshotError: Several have that name.
    """
    sides = Access(before, None), Access(after, None)
    if subjects is None:
        wanted = dict.fromkeys(holder.subject for side in sides for holder in side.holders())
    else:
        wanted = dict.fromkeys(found for one in subjects for found in _in_either(sides, *one))
    rows = []
    for subject in wanted:
        holders = [side.find(subject) for side in sides]
        if sides[0].means(holders[0]) == sides[1].means(holders[1]):
            continue
        name = next((holder.name for holder in reversed(holders) if holder is not None), "")
        had, has = ({} if h is None else side.granted(h) for side, h in zip(sides, holders, strict=True))
        for change, here, there in (("removed", had, has), ("added", has, had)):
            lines = ((right, policies) for right, policies in here.items() if right not in there)
            rows += [(*subject, name, change, *right, ", ".join(policies)) for right, policies in lines]
    return _frame(rows, "Kind", "ID", "Subject", "Change", "Scope", "Name", "Path", "Capability", "Policy")


def _in_either(sides: Iterable[Access], kind: str, id: str = "") -> list[Subject]:
    found: list[Subject] = []
    missing: list[NotInSnapshotError] = []
    for side in sides:
        try:
            found.append(side.holder(kind, id).subject)
        except NotInSnapshotError as error:
            missing.append(error)
    if not found:
        raise missing[-1]
    return found


def folded(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `rights()` or `rights_changes()` put together for people to read, where they differ in little.

    Returns:
        The same columns; Capability has those of all rows that else are the same, with levels in the place of what they
        stand for, and Name the names of all rows which then are the same. Of many, some are listed.
    """
    for column, put in (("Capability", short), ("Name", _some_names)):
        if not frame.empty:
            rest = [name for name in frame.columns if name != column]
            groups = frame.groupby(rest, sort=False)[column]
            rows = [(*key, put(str(key[rest.index("Scope")]), set(values))) for key, values in groups]
            frame = _frame(rows, *rest, column)[frame.columns]
    return frame


def _some_names(_: str, names: set[str]) -> str:
    return listed(sorted(names))


# -- who could have


def who_could(
    snapshot: Snapshot,
    capability: str,
    namespace: str | None = None,
    path: str | None = None,
    *,
    scope: str | None = None,
    name: str | None = None,
    now: datetime | None = None,
) -> pd.DataFrame:
    """Who could have done a given thing, by the tokens, roles and policies of a snapshot. Who did is not in the state.

    Args:
        snapshot: By which it is told. Rights that were there only before or after it are not in it.
        capability: What was done: one of those in `SCOPES`, or `management`. What lets do the same counts too: who has
            submit-job may purge a job.
        namespace: Where; by default in any.
        path: Of a variable.
        scope: Where the capability is of several, such as `read`; a path says that it is `variable`.
        name: The node pool or host volume; by default any.
        now: When it was done; by default, the archive's own time.

    Returns:
        A row for each that could, or might have been able to: AccessorID (str; missing of who needs no token of the
        snapshot's), Name (str), Type (str; `anonymous`, `client`, `management`, `workload`), Could (str; `yes`, or
        `unknown`: rules of theirs can't be understood), Where (object; lists of namespaces, node pools or host volumes;
        empty where there are none of), Why (str; by which policies and roles), Valid (str; at that time: `yes`,
        `expired`, or `not yet`: it was made later), Expired (boolean), ExpirationTime, CreateTime (datetime64[ns,
        UTC]).

    Raises:
        SnapshotError: There is no such capability, it is of several scopes, or what is given does not go with it.
    """
    wanted = wanted_of(capability, namespace, path, scope, name)
    access = Access(snapshot, now)
    rows: list[tuple[Any, ...]] = []
    for holder in access.holders():
        if holder.subject.kind not in (ANONYMOUS, "token", "workload"):
            continue
        could = access.could(holder, wanted)
        unknown = [problem for problem in access.problems(holder) if problem.capability == UNKNOWN]
        if could is None and not unknown:
            continue
        where, why = could or ((), ())
        reasons = [*why, *map(str, unknown)]
        rows.append(
            (
                *(holder.subject.id if holder.subject.kind == "token" else None, holder.name, holder.type),
                *("yes" if could else UNKNOWN, list(where), "; ".join(reasons), access.valid(holder)),
                *(access.valid(holder) == "expired", holder.expires, holder.created),
            )
        )
    for workload, where in access.own_variables(wanted):
        why = "its own variables, without a policy"
        rows.append((None, workload, "workload", "yes", [where], why, "yes", False, None, None))
    columns = (
        "AccessorID",
        "Name",
        "Type",
        "Could",
        "Where",
        "Why",
        "Valid",
        "Expired",
        "ExpirationTime",
        "CreateTime",
    )
    dtypes = {"Where": "object", "Expired": "boolean"} | dict.fromkeys(columns[-2:], "datetime64[ns, UTC]")
    return _frame(rows, *columns, dtypes=dtypes)


def _frame(rows: Sequence[Sequence[Any]], *columns: str, dtypes: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Columns of text, if nothing else is said."""
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    types = dtypes or {}
    return pd.DataFrame(
        {
            name: pd.Series(list(column), dtype=types.get(name, "str"))
            for name, column in zip(columns, values, strict=True)
        }
    )
