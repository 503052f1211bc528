"""References: what a record names and the state lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import pandas as pd

from snapkit.state.secrets import Keyring, KeyringError
from snapkit.state.verify.records import name_of, place_of
from snapkit.state.verify.registry import Found, Run, check
from snapkit.state.verify.subject import Subject

_SURPRISE = "the restore works; the record stays behind alone until it is collected"


def _dangling(frame: pd.DataFrame, names: Sequence[str], keys: pd.MultiIndex) -> list[dict[str, Any]]:
    """Rows whose columns name no row of another table; an empty last one names none on purpose."""
    if not set(names) <= set(frame.columns):
        return []
    last = frame[names[-1]]
    missing = last.notna() & (last != "") & ~pd.MultiIndex.from_frame(frame[list(names)]).isin(keys)
    return cast("list[dict[str, Any]]", frame[missing.to_numpy(dtype=bool)].to_dict("records"))


def _reference(table: str, names: tuple[str, ...], other: str, key: tuple[str, ...], noun: str) -> Run:
    def run(subject: Subject) -> Iterator[Found]:
        for row in _dangling(subject.columns(table, names), names, subject.keys(other, key)):
            wanted = name_of(tuple(row[name] for name in names))
            yield place_of(table, row), f"its {noun} {wanted} is not in the state"

    return run


#: id -> table, its columns, the other table, its columns, what it is called, title.
PLAIN: Mapping[str, tuple[str, tuple[str, ...], str, tuple[str, ...], str, str]] = {
    "refs.alloc-node": ("allocs", ("NodeID",), "nodes", ("ID",), "node", "An allocation's node"),
    "refs.alloc-job": ("allocs", ("Namespace", "JobID"), "jobs", ("Namespace", "ID"), "job", "An allocation's job"),
    "refs.alloc-eval": ("allocs", ("EvalID",), "evals", ("ID",), "evaluation", "An allocation's evaluation"),
    "refs.deployment-job": (
        "deployments", ("Namespace", "JobID"), "jobs", ("Namespace", "ID"), "job", "A deployment's job",
    ),
    "refs.eval-job": ("evals", ("Namespace", "JobID"), "jobs", ("Namespace", "ID"), "job", "An evaluation's job"),
    "refs.job-version": (
        "jobs", ("Namespace", "ID", "Version"), "job_versions", ("Namespace", "ID", "Version"), "version",
        "A job's own version",
    ),
    "refs.version-job": (
        "job_versions", ("Namespace", "ID"), "jobs", ("Namespace", "ID"), "job", "The job of a version",
    ),
    "refs.child-parent": (
        "jobs", ("Namespace", "ParentID"), "jobs", ("Namespace", "ID"), "parent", "The parent of a dispatched or "
        "periodic job",
    ),
    "refs.service-alloc": ("services", ("AllocID",), "allocs", ("ID",), "allocation", "A service's allocation"),
    "refs.service-node": ("services", ("NodeID",), "nodes", ("ID",), "node", "A service's node"),
    "refs.binding-rule-auth-method": (
        "acl_binding_rules", ("AuthMethod",), "acl_auth_methods", ("Name",), "auth method",
        "A binding rule's auth method",
    ),
    "refs.volume-plugin": ("csi_volumes", ("PluginID",), "csi_plugins", ("ID",), "plugin", "A volume's plugin"),
    "refs.volume-node": ("host_volumes", ("NodeID",), "nodes", ("ID",), "node", "A host volume's node"),
    "refs.node-pool": ("nodes", ("NodePool",), "node_pools", ("Name",), "node pool", "A node's pool"),
    "refs.job-pool": ("jobs", ("NodePool",), "node_pools", ("Name",), "node pool", "A job's pool"),
}  # fmt: skip

for _id, (_table, _names, _other, _key, _noun, _title) in PLAIN.items():
    check(_id, "warning", "references", f"{_title} is not in the state.", _SURPRISE)(
        _reference(_table, _names, _other, _key, _noun)
    )


@check(
    "refs.job-namespace",
    "error",
    "references",
    "A job's namespace is not in the state: a server answers 500 and has swapped its state all the same.",
    "use an earlier copy, or take the job out",
)
def job_namespace(subject: Subject) -> Iterator[Found]:
    if not subject.has("namespaces"):
        return  # before 1.0 there are none, and after it state.missing-table tells
    keys = subject.keys("namespaces", ("Name",))
    for row in _dangling(subject.columns("jobs", ("Namespace",)), ("Namespace",), keys):
        yield place_of("jobs", row), f"its namespace {row['Namespace']} is not in the state"


def _without(subject: Subject, keys: pd.MultiIndex, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[str]:
    """Jobs that should have a row elsewhere and have none."""
    frame = subject.columns("jobs", ("Namespace", "ID", "ParentID", "Stop", "Periodic"))
    for row in cast("list[dict[str, Any]]", frame.to_dict("records")):
        if (row["Namespace"], row["ID"]) not in keys and wanted(row):
            yield place_of("jobs", row)


@check(
    "refs.periodic-launch",
    "error",
    "references",
    "A periodic job has no record of its last launch: a server answers 500 and has swapped its state all the same.",
    "use an earlier copy, or take the job out",
)
def periodic_launch(subject: Subject) -> Iterator[Found]:
    def launches(row: dict[str, Any]) -> bool:
        periodic, parent = row.get("Periodic"), row.get("ParentID")
        stopped = row.get("Stop") is True or (isinstance(parent, str) and parent != "")
        return isinstance(periodic, dict) and bool(periodic.get("Enabled")) and not stopped

    for place in _without(subject, subject.keys("periodic_launches", ("Namespace", "ID")), launches):
        yield place, "its last launch is not in the state"


@check(
    "refs.job-summary",
    "error",
    "references",
    "A job has no summary: a server that takes the state in does not get ready again.",
    "use an earlier copy",
)
def job_summary(subject: Subject) -> Iterator[Found]:
    keys = subject.keys("job_summaries", ("Namespace", "JobID"))
    for place in _without(subject, keys, lambda row: True):
        yield place, "its summary is not in the state"


def _named(values: Any) -> Iterable[str]:
    for value in values if isinstance(values, list) else ():
        yield str(value.get("Name", "")) if isinstance(value, dict) else str(value)


@check(
    "refs.role-policy",
    "warning",
    "references",
    "A role's policy is not in the state.",
    "it grants nothing: mend the role",
)
def role_policy(subject: Subject) -> Iterator[Found]:
    yield from _listed(subject, "acl_roles", "Policies", "policy", subject.keys("acl_policies", ("Name",)))


@check(
    "refs.token-policy",
    "warning",
    "references",
    "A token's policy is not in the state.",
    "it grants nothing: mend the token",
)
def token_policy(subject: Subject) -> Iterator[Found]:
    yield from _listed(subject, "acl_tokens", "Policies", "policy", subject.keys("acl_policies", ("Name",)))


@check(
    "refs.token-role",
    "warning",
    "references",
    "A token's role is not in the state.",
    "it grants nothing: mend the token",
)
def token_role(subject: Subject) -> Iterator[Found]:
    keys = subject.keys("acl_roles", ("ID",))
    frame = subject.columns("acl_tokens", ("Roles",))
    for row in frame.to_dict("records") if "Roles" in frame else ():
        for role in row["Roles"] if isinstance(row["Roles"], list) else ():
            if isinstance(role, dict) and (role.get("ID"),) not in keys:
                yield f"table acl_tokens, {row['AccessorID']}", f"its role {role.get('ID')} is not in the state"


def _listed(subject: Subject, table: str, column: str, noun: str, keys: pd.MultiIndex) -> Iterator[Found]:
    frame = subject.columns(table, (column,))
    for row in cast("list[dict[str, Any]]", frame.to_dict("records")) if column in frame else ():
        for name in _named(row[column]):
            if (name,) not in keys:
                yield place_of(table, row), f"its {noun} {name} is not in the state"


@check(
    "refs.scaling-policy-job",
    "warning",
    "references",
    "A scaling policy's job is not in the state.",
    _SURPRISE,
)
def scaling_policy_job(subject: Subject) -> Iterator[Found]:
    keys = subject.keys("jobs", ("Namespace", "ID"))
    frame = subject.columns("scaling_policies", ("ID", "Target"))
    for row in frame.to_dict("records") if "Target" in frame else ():
        target = row["Target"] if isinstance(row["Target"], dict) else {}
        wanted = (target.get("Namespace", "default"), target.get("Job"))
        if wanted[1] and wanted not in keys:
            yield f"table scaling_policies, {row['ID']}", f"its job {name_of(wanted)} is not in the state"


# -- keys

_KEYSTORE = "keep a server's keystore with the archive, and give it as keystore="


def _unusable(subject: Subject, wanted: Iterable[str]) -> dict[str, str]:
    """Root keys that are needed and can't be opened, with the reason."""
    try:
        keyring = Keyring(subject.state.table, subject.keystore)
    except KeyringError as error:
        return dict.fromkeys(wanted, str(error))
    reasons = {}
    for key_id in set(wanted):
        try:
            keyring.key(key_id)
        except KeyringError as error:
            reasons[key_id] = error.what
    return reasons


@check(
    "refs.variable-key",
    "warning",
    "references",
    "Variables can't be read after a restore: their root key is neither in the archive nor in the keystore.",
    _KEYSTORE,
)
def variable_key(subject: Subject) -> Iterator[Found]:
    frame = subject.columns("variables", ("Namespace", "Path", "KeyID"))
    if "KeyID" not in frame:
        return
    reasons = _unusable(subject, (str(key_id) for key_id in frame["KeyID"]))
    for key_id, reason in sorted(reasons.items()):
        count = int((frame["KeyID"] == key_id).sum())
        yield f"table variables, root key {key_id}", f"{count:,} variables need it, and it {reason}"


@check(
    "refs.identity-key",
    "warning",
    "references",
    "Workload identities were signed by a root key that is neither in the archive nor in the keystore.",
    _KEYSTORE,
)
def identity_key(subject: Subject) -> Iterator[Found]:
    needed: dict[str, int] = {}
    for table, column in (("allocs", "SigningKeyID"), ("nodes", "IdentitySigningKeyID")):
        frame = subject.columns(table, ("ID", column))
        if column in frame:
            for key_id, count in frame[column].dropna().astype(str).value_counts().to_dict().items():
                if key_id != "":
                    needed[str(key_id)] = needed.get(str(key_id), 0) + int(count)
    for key_id, reason in sorted(_unusable(subject, needed).items()):
        yield (
            f"root key {key_id}",
            f"the identities of {needed[key_id]:,} allocations and nodes need it, and it {reason}",
        )
