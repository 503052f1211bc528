"""Who may do what by a snapshot, how that differs in another one, who could have done a thing, and what names who did.

What is told here is who could. Who did stands in the state of two things alone, and as a token: `who_did()` has those
records. Rules that can't be understood are never taken for rules that grant nothing: they are rows of their own. Tokens
go by AccessorID and Name; no secret is read.

Who there is, and what each may do, is found in `snapkit.state.access.holders`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd

from snapkit.errors import NotInSnapshotError
from snapkit.state.access.acl import ANONYMOUS
from snapkit.state.access.holders import Access, Holder, Subject
from snapkit.state.access.scopes import UNKNOWN, Wanted, listed, short, wanted_of
from snapkit.state.snapshot import Snapshot
from snapkit.state.snapshot.named import carried, drained, registered

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
    since: Snapshot | None = None,
) -> pd.DataFrame:
    """Who could have done a given thing, by the tokens, roles and policies of a snapshot. For who did see `who_did()`.

    Args:
        snapshot: By which it is told. Rights that were there only before or after it are not in it.
        capability: What was done: one of those in `SCOPES`, or `management`. What lets do the same counts too: who has
            submit-job may purge a job.
        namespace: Where; by default in any.
        path: Of a variable.
        scope: Where the capability is of several, such as `read`; a path says that it is `variable`.
        name: The node pool or host volume; by default any.
        now: When it was done; by default, the archive's own time, with `since` the time between the two.
        since: An earlier snapshot of the cluster: it was done between the two. Who could by either of them is told
            then; and those whose token, role or policy was written in between, and of which nobody knows what it
            granted meanwhile; and tokens that came and went.

    Returns:
        A row for each that could, or might have been able to: AccessorID (str; missing of who needs no token of the
        snapshot's), Name (str), Type (str; `anonymous`, `client`, `management`, `workload`, or `login`: who had no
        token of the snapshot's, and gets one by a binding rule of an auth method), Could (str; `yes`, or
        `unknown`: rules of theirs can't be understood, or were others for a while), Where (object; lists of namespaces,
        node pools or host volumes; empty where there are none of), Why (str; by which policies and roles), Valid (str;
        at that time: `yes`, `expired`, or `not yet`: it was made later; `unknown` of a token that is gone), Expired
        (boolean), ExpirationTime, CreateTime (datetime64[ns, UTC]).

    Raises:
        SnapshotError: There is no such capability, it is of several scopes, or what is given does not go with it.
    """
    wanted = wanted_of(capability, namespace, path, scope, name)
    access = Access(snapshot, now)
    if since is not None:
        rows = list(_could_between(since, snapshot, wanted, now))
    else:
        rows = [row for holder in access.holders() if (row := _could(access, holder, wanted)) is not None]
    rows += _could_by_login([access] if since is None else [access, Access(since, now)], wanted)
    for workload, where in access.own_variables(wanted):
        why = "its own variables, without a policy"
        rows.append(_Could(None, workload, "workload", "yes", [where], why, "yes", False, None, None))
    dtypes = {"Where": "object", "Expired": "boolean"} | dict.fromkeys(_TIMES, "datetime64[ns, UTC]")
    return _frame(rows, *_Could._fields, dtypes=dtypes)


class _Could(NamedTuple):
    """A row of `who_could()`."""

    AccessorID: str | None
    Name: str
    Type: str
    Could: str
    Where: list[str]
    Why: str
    Valid: str
    Expired: bool
    ExpirationTime: pd.Timestamp | None
    CreateTime: pd.Timestamp | None


_TIMES = ("ExpirationTime", "CreateTime")


def _could(access: Access, holder: Holder, wanted: Wanted, meanwhile: Sequence[str] = ()) -> _Could | None:
    """A row for a holder that could, or may have been able to; `meanwhile`: why its rights may have been others."""
    if holder.subject.kind not in (ANONYMOUS, "token", "workload", "login"):
        return None
    could = access.could(holder, wanted)
    unknown = [str(p) for p in access.problems(holder) if p.capability == UNKNOWN]
    unknown += meanwhile if could is None else []
    if could is None and not unknown:
        return None
    where, why = could or ((), ())
    valid = access.valid(holder)
    return _Could(
        AccessorID=holder.subject.id if holder.subject.kind == "token" else None,
        Name=holder.name,
        Type=holder.type,
        Could="yes" if could else UNKNOWN,
        Where=list(where),
        Why="; ".join([*why, *unknown]),
        Valid=valid,
        Expired=valid == "expired",
        ExpirationTime=holder.expires,
        CreateTime=holder.created,
    )


def _could_by_login(accesses: Sequence[Access], wanted: Wanted) -> Iterable[_Could]:
    """Those who had no token yet, and might have got one; what several snapshots say alike once."""
    rows: dict[tuple[str, ...], _Could] = {}
    for access in accesses:
        for holder, doubt in access.logins():
            row = _could(access, holder, wanted, [doubt] if doubt else ())
            if row is not None:
                why = f"{holder.note}: {'a management token' if holder.management else row.Why}"
                rows.setdefault((holder.name, why), row._replace(Why=why))
    return rows.values()


# -- between two snapshots


def _could_between(since: Snapshot, snapshot: Snapshot, wanted: Wanted, now: datetime | None) -> Iterator[_Could]:
    """As `who_could()`, of the time between the two."""
    first, last = Access(since, now), Access(snapshot, now)
    written = _Written(since, snapshot)
    seen = dict.fromkeys(holder.subject for access in (last, first) for holder in access.holders())
    for subject in seen:
        rows = []
        for access, which in ((last, "later"), (first, "earlier")):
            holder = access.find(subject)
            row = None if holder is None else _could(access, holder, wanted, written.of(holder))
            if row is not None:
                rows.append((row, which))
        if not rows:
            continue
        # What is sure goes before what is not known, and the later before the earlier.
        row, which = min(rows, key=lambda one: one[0].Could != "yes")
        if row.Could == "yes" and (len(rows) < 2 or rows[0][0].Could != rows[1][0].Could):
            row = row._replace(Why=f"{row.Why} (by the {which} snapshot)")
        if any(one.Valid == "yes" for one, _ in rows):
            row = row._replace(Valid="yes", Expired=False)
        yield row
    yield from written.gone()


class _Written:
    """What of tokens, roles and policies was written between two snapshots, other than it is in either."""

    _TABLES = ("acl_policies", "acl_roles", "acl_tokens")

    def __init__(self, since: Snapshot, snapshot: Snapshot) -> None:
        self._since, self._snapshot = since, snapshot
        self._taken = since.meta.index or 0
        self._tokens: dict[str, set[str]] = {}  # accessors -> the roles that they have in either
        self._at: dict[tuple[str, str], int | None] = {}  # table and key -> the last write; None: it is gone
        self._roles: dict[str, str] = {}  # names by ID
        for side in (since, snapshot):
            for accessor, roles in side.table("acl_tokens", ["Roles"])["Roles"].items():
                ids = {str(role.get("ID", "")) for role in roles or () if isinstance(role, dict)}
                self._tokens.setdefault(str(accessor), set()).update(ids)
            self._roles |= {str(key): str(name) for key, name in side.table("acl_roles", ["Name"])["Name"].items()}
        for table in self._TABLES:
            old, frame = (side.table(table, ["CreateIndex", "ModifyIndex"]) for side in (since, snapshot))
            written = frame[frame["ModifyIndex"] > self._taken]
            if table != "acl_policies":  # whose names may come again: an ID that was made in between is as it was made
                written = written[written["CreateIndex"] != written["ModifyIndex"]]
            self._at |= {(table, str(key)): int(index) for key, index in written["ModifyIndex"].items()}
            self._at |= {(table, str(key)): None for key in set(old.index) - set(frame.index)}

    def of(self, holder: Holder) -> list[str]:
        """Why a holder may have had other rights for a while."""
        of = [("acl_policies", name) for name in holder.policies]
        if holder.subject.kind == "token":
            of += [("acl_roles", role) for role in sorted(self._tokens[holder.subject.id])]
            of.append(("acl_tokens", holder.subject.id))
        return [self._told(*one) for one in of if one in self._at]

    def _told(self, table: str, key: str) -> str:
        index = self._at[table, key]
        role = f"role {self._roles.get(key) or key}"
        what = {"acl_policies": f"policy {key}", "acl_roles": role, "acl_tokens": "the token"}[table]
        when = f"was written between the two, last at index {index}" if index else "was deleted between the two"
        return f"{what} {when}: what it granted before that is not known"

    def gone(self) -> Iterator[_Could]:
        """Tokens that came and went in between: those that records name, or one that the Index table tells of."""
        named = dict.fromkeys(
            (one.id, one.key)
            for one in (*registered(self._snapshot), *carried(self._snapshot), *drained(self._snapshot))
            if one.by == "token" and one.certain and (one.index or 0) > self._taken and one.id not in self._tokens
        )
        for accessor, key in named:
            why = f"is in neither snapshot, and {'/'.join(map(str, key))} names it as one that was used in between"
            yield _gone(accessor, why)
        rows = self._snapshot.table("indexes", ["Value"])["Value"]
        last = int(rows.get("acl_token", 0))
        known = self._snapshot.table("acl_tokens", ["ModifyIndex"])["ModifyIndex"].max()
        if not named and last > max(self._taken, 0 if pd.isna(known) else int(known)):
            yield _gone(None, f"a token may have come and gone: the last write of tokens, at {last}, was a deletion")


def _gone(accessor: str | None, why: str) -> _Could:
    return _Could(accessor, "", "", UNKNOWN, [], why, UNKNOWN, False, None, None)


# -- who did


def who_did(snapshot: Snapshot) -> pd.DataFrame:
    """What names who did: by which token each version of a job was registered, and the last drain of each node.

    Of nothing else does a state keep that. A token is no person: it may be shared, or stolen.

    Args:
        snapshot: Where it stands.

    Returns:
        A row for each, the last write first: Time (datetime64[ns, UTC]), Index (UInt64; of the write), Did (str;
        `registered`, or `drained`: set a drain, changed or ended it), Table (str; `allocs`: their copy of a version
        that is gone), Key (object; tuples), By (str; `token`, `anonymous`, or what else it was, such as `alloc`), ID
        (str; a token's AccessorID), Name, Type (str; of the token; missing if it is not in the snapshot), Certain
        (bool; is it of this very write? a version that came of scaling, stopping or reverting by itself has the token
        of one before, and so has a child of a job that is gone).
    """
    tokens = snapshot.table("acl_tokens", ["Name", "Type"])
    known = dict(zip(tokens.index, zip(tokens["Name"], tokens["Type"], strict=True), strict=True))
    found = [*registered(snapshot), *carried(snapshot), *drained(snapshot)]
    found.sort(key=lambda one: one.index or 0, reverse=True)
    rows = [
        (
            *(pd.NaT if one.time is None else pd.Timestamp(one.time, tz="UTC"), one.index, one.did, one.table, one.key),
            *(one.by, one.id, *known.get(one.id, (None, None)), one.certain),
        )
        for one in found
    ]
    dtypes = {"Time": "datetime64[ns, UTC]", "Index": "UInt64", "Key": "object", "Certain": "bool"}
    return _frame(rows, *("Time", "Index", "Did", "Table", "Key", "By", "ID", "Name", "Type", "Certain"), dtypes=dtypes)


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
