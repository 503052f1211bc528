"""References: what a record names and the state lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from snapkit.errors import RecordError
from snapkit.state.snapshot.keyring import KeyringError
from snapkit.state.verify.records import name_of, place_of
from snapkit.state.verify.registry import Found, Run, check
from snapkit.state.verify.subject import Subject

_SURPRISE = "the restore works; the record stays behind alone until it is collected"


def _reference(table: str, names: tuple[str, ...], other: str, key: tuple[str, ...], noun: str) -> Run:
    """Finds rows whose columns name no row of another table; an empty last one names none on purpose."""

    def run(subject: Subject) -> Iterator[Found]:
        keys = subject.keys(other, key)
        if all(map(keys.__contains__, subject.rows(table, names))):
            return
        rows = subject.keyed(table, names[-1:])
        for (place, last), wanted in zip(rows, subject.rows(table, names), strict=True):
            if wanted not in keys and last not in (None, ""):
                yield place_of(table, place), f"its {noun} {name_of(wanted)} is not in the state"

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
    check(_id, "warning", "references", f"{_title} is not in the state.", _SURPRISE, {_table: _names, _other: _key})(
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
    if subject.has("namespaces"):  # before 1.0 there are none, and after it state.missing-table tells
        yield from _reference("jobs", ("Namespace",), "namespaces", ("Name",), "namespace")(subject)


def _jobs_without(subject: Subject, table: str, wanted: Callable[[Any, Any, Any], bool]) -> Iterator[str]:
    """Jobs that should have a row elsewhere, by their ParentID, Stop and Periodic, and have none."""
    keys = subject.keys(table)
    for key, *about in subject.keyed("jobs", ("ParentID", "Stop", "Periodic")):
        if key not in keys and wanted(*about):
            yield place_of("jobs", key)


@check(
    "refs.periodic-launch",
    "error",
    "references",
    "A periodic job has no record of its last launch: a server answers 500 and has swapped its state all the same.",
    "use an earlier copy, or take the job out",
    {"jobs": ("ParentID", "Stop", "Periodic")},
)
def periodic_launch(subject: Subject) -> Iterator[Found]:
    def launches(parent: Any, stop: Any, periodic: Any) -> bool:
        return periodic is not None and bool(periodic.Enabled) and not stop and not parent

    for place in _jobs_without(subject, "periodic_launches", launches):
        yield place, "its last launch is not in the state"


@check(
    "refs.job-summary",
    "error",
    "references",
    "A job has no summary: a server that takes the state in does not get ready again.",
    "use an earlier copy",
)
def job_summary(subject: Subject) -> Iterator[Found]:
    keys = subject.keys("job_summaries")
    for key in subject.rows("jobs", ("Namespace", "ID")):
        if key not in keys:
            yield place_of("jobs", key), "its summary is not in the state"


def _listed(
    subject: Subject, table: str, column: str, noun: str, named: Callable[[Any], Any], keys: set[Any]
) -> Iterator[Found]:
    """What the items of a list name and is not there."""
    for key, items in subject.keyed(table, (column,)):
        for name in (named(item) for item in items or () if item is not None):
            if name not in keys:
                yield place_of(table, key), f"its {noun} {name} is not in the state"


@check(
    "refs.role-policy",
    "warning",
    "references",
    "A role's policy is not in the state.",
    "it grants nothing: mend the role",
    {"acl_roles": ("Policies",)},
)
def role_policy(subject: Subject) -> Iterator[Found]:
    yield from _listed(subject, "acl_roles", "Policies", "policy", attrgetter("Name"), subject.keys("acl_policies"))


@check(
    "refs.token-policy",
    "warning",
    "references",
    "A token's policy is not in the state.",
    "it grants nothing: mend the token",
    {"acl_tokens": ("Policies",)},
)
def token_policy(subject: Subject) -> Iterator[Found]:
    yield from _listed(subject, "acl_tokens", "Policies", "policy", str, subject.keys("acl_policies"))


@check(
    "refs.token-role",
    "warning",
    "references",
    "A token's role is not in the state.",
    "it grants nothing: mend the token",
    {"acl_tokens": ("Roles",)},
)
def token_role(subject: Subject) -> Iterator[Found]:
    yield from _listed(subject, "acl_tokens", "Roles", "role", attrgetter("ID"), subject.keys("acl_roles"))


@check(
    "refs.scaling-policy-job",
    "warning",
    "references",
    "A scaling policy's job is not in the state.",
    _SURPRISE,
    {"scaling_policies": ("Target",)},
)
def scaling_policy_job(subject: Subject) -> Iterator[Found]:
    keys = subject.keys("jobs")
    for key, target in subject.keyed("scaling_policies", ("Target",)):
        wanted = (target.get("Namespace", "default"), target.get("Job")) if target else ("", "")
        if wanted[1] and wanted not in keys:
            yield place_of("scaling_policies", key), f"its job {name_of(wanted)} is not in the state"


# -- keys

_KEYSTORE = "keep a server's keystore with the archive, and give it: --keystore, in Python keystore="


def _unusable(subject: Subject, wanted: Iterable[str]) -> dict[str, str]:
    """Root keys that are needed and can't be opened, with the reason."""
    try:
        keyring = subject.keyring
    except (KeyringError, RecordError) as error:
        return dict.fromkeys(wanted, str(error))
    reasons = {}
    for key_id in wanted:
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
    {"variables": ("KeyID",)},
)
def variable_key(subject: Subject) -> Iterator[Found]:
    needed = Counter(name_of(key_id) for key_id in subject.column("variables", "KeyID"))
    for key_id, reason in sorted(_unusable(subject, needed).items()):
        yield f"table variables, root key {key_id}", f"{needed[key_id]:,} variables need it, and it {reason}"


@check(
    "refs.identity-key",
    "warning",
    "references",
    "Workload identities were signed by a root key that is neither in the archive nor in the keystore.",
    _KEYSTORE,
    {"allocs": ("SigningKeyID",), "nodes": ("IdentitySigningKeyID",)},
)
def identity_key(subject: Subject) -> Iterator[Found]:
    signed = [*subject.column("allocs", "SigningKeyID"), *subject.column("nodes", "IdentitySigningKeyID")]
    needed = Counter(filter(None, signed))
    for key_id, reason in sorted(_unusable(subject, needed).items()):
        what = f"the identities of {needed[key_id]:,} allocations and nodes need it, and it {reason}"
        yield f"root key {key_id}", what
