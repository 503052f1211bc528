"""Who may do what, and what only some may: tokens, policies and roles, namespaces, variables and root keys."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from snapkit.cluster.answers.core import (
    Answer,
    Answers,
    ApiError,
    Object,
    Request,
    check,
    filtered,
    listed,
    page,
    pick,
    refuse_no_uuid,
    route,
)
from snapkit.errors import NotInSnapshotError
from snapkit.state.access.acl import RulesError
from snapkit.state.snapshot.keyring import Keyring, KeyringError

VARIABLE_STUB = ("Namespace", "Path", "Lock", "CreateIndex", "CreateTime", "ModifyIndex", "ModifyTime")


# -- namespaces, variables, root keys


@route("/namespaces")
def namespaces(answers: Answers, request: Request) -> Answer:
    acl = request.identity.acl
    found = [n for n in answers.objects("namespaces") if acl.sees_namespace(n["Name"])]
    return listed(request, found, answers.index("namespaces"), ("Name",))


@route("/namespace/{name}")
def namespace(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.sees_namespace(request.path["name"]))
    found = answers.find("namespaces", request.path["name"], missing="Namespace not found", row="namespaces")
    return Answer(found, found["ModifyIndex"])


@route("/vars")
def variables(answers: Answers, request: Request) -> Answer:
    acl, wanted = request.identity.acl, request.namespace
    found = [
        v
        for v in answers.objects("variables", filtered(request, VARIABLE_STUB))
        if wanted in ("*", v["Namespace"]) and acl.allow_variable(v["Namespace"], v["Path"], "list")
    ]
    key, index = ("Namespace", "Path"), answers.index("variables")
    return page(request, found, index, key, table="variables", stub=_metadata, reversible=False)


def _metadata(variable_: Object) -> Object:
    """What is told of a variable, whose items are encrypted."""
    return {name: variable_.get(name) for name in VARIABLE_STUB}


@route("/var/{path:path}")
def variable(answers: Answers, request: Request) -> Answer:
    path = request.path["path"]
    check(request.identity.acl.allow_variable(request.namespace, path, "read"))
    try:
        found = answers.snapshot.get("variables", request.namespace, path, reveal=True)
    except NotInSnapshotError:
        raise ApiError(404, "variable not found", answers.index("variables")) from None
    try:
        keyring = Keyring(answers.snapshot.table, answers.keystore)
        items = keyring.open_variable(request.namespace, path, found["KeyID"], base64.b64decode(found["Data"]))
    except KeyringError as error:
        raise ApiError(500, f"failed to decrypt variable: {error}") from error
    return Answer(_metadata(found) | {"Items": items}, found["ModifyIndex"])


@route("/operator/keyring/keys")
def keyring_keys(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    found = [{n: v for n, v in key.items() if n != "WrappedKeys"} for key in answers.objects("root_keys")]
    found += list(answers.objects("root_key_meta"))
    return listed(request, found, answers.index("root_keys", "root_key_meta"), ("CreateIndex", "KeyID"))


# -- ACL

#: What the token of the session says of itself: the snapshot does not have it.
SESSION_TOKEN: Mapping[str, Any] = {
    "AccessorID": "", "SecretID": "", "Name": "", "Type": "management", "Policies": None, "Roles": None,
    "Global": False, "Hash": None, "CreateTime": None, "ExpirationTime": None, "ExpirationTTL": "", "CreateIndex": 0,
    "ModifyIndex": 0,
}  # fmt: skip


#: And what who has none is told.
ANONYMOUS_TOKEN: Mapping[str, Any] = {
    **SESSION_TOKEN, "AccessorID": "anonymous", "Name": "Anonymous Token", "Type": "client", "Policies": ["anonymous"],
    "CreateTime": "0001-01-01T00:00:00Z",
}  # fmt: skip
TOKEN_WORDS = "acl token lookup failed: "


@route("/acl/tokens")
def acl_tokens(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    key, index = ("CreateIndex", "AccessorID"), answers.index("acl_token")
    return page(
        request, list(answers.objects("acl_tokens")), index, key, table="acl_tokens", stub=_token_stub,
        uuid_words=TOKEN_WORDS,
    )  # fmt: skip


def _token_stub(token: Object) -> Object:
    return {name: value for name, value in token.items() if name not in ("SecretID", "ExpirationTTL")}


@route("/acl/token/self")
def acl_token_self(answers: Answers, request: Request) -> Answer:
    accessor = request.identity.accessor_id
    if accessor is not None:
        return _acl_token(answers, accessor)
    if request.identity.acl.management and answers.authority.enabled:
        return Answer({**SESSION_TOKEN, "Name": request.identity.name}, answers.index("acl_token"))
    check(answers.authority.enabled)
    return Answer(ANONYMOUS_TOKEN, 0)


@route("/acl/token/{id}")
def acl_token(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management or request.path["id"] == request.identity.accessor_id)
    refuse_no_uuid(request.path["id"], TOKEN_WORDS)
    return _acl_token(answers, request.path["id"])


def _acl_token(answers: Answers, accessor: str) -> Answer:
    """A token whole; the names of its roles are those that they have now."""
    found = answers.find("acl_tokens", accessor, missing="ACL token not found", row="acl_token")
    if found.get("Roles"):
        names = {role["ID"]: role["Name"] for role in answers.objects("acl_roles", ("ID", "Name"))}
        found["Roles"] = [link | {"Name": names[link["ID"]]} for link in found["Roles"] if link["ID"] in names]
        found["Policies"] = found["Policies"] or []
    return Answer(found, found["ModifyIndex"])


@route("/acl/policies")
def acl_policies(answers: Answers, request: Request) -> Answer:
    own = request.identity.policies
    found = [p for p in answers.objects("acl_policies") if request.identity.acl.management or p["Name"] in own]
    return listed(request, found, answers.index("acl_policy") or 1, ("Name",), stub=_policy_stub)


def _policy_stub(policy: Object) -> Object:
    return {name: value for name, value in policy.items() if name not in ("Rules", "RulesJSON")}


@route("/acl/policy/self")
def acl_policy_self(answers: Answers, request: Request) -> Answer:
    check(request.identity.accessor_id is not None or request.identity.acl.management)
    return acl_policies(answers, request)


@route("/acl/policy/{name}")
def acl_policy(answers: Answers, request: Request) -> Answer:
    name = request.path["name"]
    check(request.identity.acl.management or name == "anonymous" or name in request.identity.policies)
    found = answers.find("acl_policies", name, missing="ACL policy not found", row="acl_policy")
    with suppress(RulesError):
        found["RulesJSON"] = answers.authority.rules(name)
    return Answer(found, found["ModifyIndex"])


@route("/acl/roles")
def acl_roles(answers: Answers, request: Request) -> Answer:
    identity = request.identity
    found = [r for r in answers.objects("acl_roles") if identity.acl.management or r["ID"] in identity.roles]
    return listed(request, found, answers.index("acl_roles"))


@route("/acl/role/name/{name}")
def acl_role_by_name(answers: Answers, request: Request) -> Answer:
    found = next((r for r in answers.objects("acl_roles") if r["Name"] == request.path["name"]), None)
    return _acl_role(answers, request, found)


@route("/acl/role/{id}")
def acl_role(answers: Answers, request: Request) -> Answer:
    return _acl_role(answers, request, answers.lookup("acl_roles", request.path["id"]))


def _acl_role(answers: Answers, request: Request, found: Object | None) -> Answer:
    identity = request.identity
    check(identity.acl.management or (found is not None and found["ID"] in identity.roles))
    if found is None:
        raise ApiError(404, "ACL role not found", answers.index("acl_roles"))
    return Answer(found, found["ModifyIndex"])


@route("/acl/auth-methods", public=True)
def acl_auth_methods(answers: Answers, request: Request) -> Answer:
    names = ("Name", "Type", "Default", "Hash", "CreateIndex", "ModifyIndex")
    found = sorted(answers.objects("acl_auth_methods", names), key=lambda method: str(method["Name"]))
    return Answer([pick(method, names) for method in found], answers.index("acl_auth_methods"))


@route("/acl/auth-method/{name}")
def acl_auth_method(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    found = answers.find(
        "acl_auth_methods", request.path["name"], missing="ACL auth-method not found", row="acl_auth_methods"
    )
    config = found.get("Config") or {}
    if config.get("OIDCClientSecret"):
        config["OIDCClientSecret"] = "redacted"  # as Nomad does
    assertion = config.get("OIDCClientAssertion") or {}
    for holder, name in ((assertion, "ClientSecret"), (assertion.get("PrivateKey") or {}, "PemKey")):
        if holder.get(name):
            holder[name] = "redacted"
    return Answer(found, found["ModifyIndex"])


@route("/acl/binding-rules")
def acl_binding_rules(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    names = ("ID", "Description", "AuthMethod", "Hash", "CreateIndex", "ModifyIndex")
    found = sorted(answers.objects("acl_binding_rules", names), key=lambda rule: str(rule["ID"]))
    return Answer([pick(rule, names) for rule in found], answers.index("acl_binding_rules"))


@route("/acl/binding-rule/{id}")
def acl_binding_rule(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    missing = "ACL binding rule not found"
    found = answers.find("acl_binding_rules", request.path["id"], missing=missing, row="acl_binding_rules")
    return Answer(found, found["ModifyIndex"])
