"""Who may do what, and what only some may: tokens, policies and roles, namespaces, variables and root keys."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from snapkit.cluster.answers.core import (
    PERMISSION_DENIED,
    Answer,
    Answers,
    ApiError,
    Object,
    Request,
    check,
    page,
    pick,
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
    return page(request, found, answers.index("namespaces"), ("Name",))


@route("/namespace/{name}")
def namespace(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.sees_namespace(request.path["name"]))
    found = answers.find("namespaces", request.path["name"], missing="Namespace not found")
    return Answer(found, found["ModifyIndex"])


@route("/vars")
def variables(answers: Answers, request: Request) -> Answer:
    acl, wanted = request.identity.acl, request.namespace
    found = [
        {name: v.get(name) for name in VARIABLE_STUB}
        for v in answers.objects("variables", VARIABLE_STUB)
        if wanted in ("*", v["Namespace"]) and acl.allow_variable(v["Namespace"], v["Path"], "list")
    ]
    if not found and wanted != "*":
        check(acl.allow_namespace_variables(wanted))
    return page(request, found, answers.index("variables"), ("Namespace", "Path"))


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
    return Answer(pick(found, VARIABLE_STUB) | {"Items": items}, found["ModifyIndex"])


@route("/operator/keyring/keys")
def keyring_keys(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    found = [{n: v for n, v in key.items() if n != "WrappedKeys"} for key in answers.objects("root_keys")]
    found += list(answers.objects("root_key_meta"))
    return page(request, found, answers.index("root_keys", "root_key_meta"), ("CreateIndex", "KeyID"))


# -- ACL

#: What the token of the session says of itself: the snapshot does not have it.
SESSION_TOKEN: Mapping[str, Any] = {
    "AccessorID": "", "SecretID": "", "Name": "", "Type": "management", "Policies": None, "Roles": None,
    "Global": False, "Hash": None, "CreateTime": None, "ExpirationTime": None, "ExpirationTTL": "", "CreateIndex": 0,
    "ModifyIndex": 0,
}  # fmt: skip


@route("/acl/tokens")
def acl_tokens(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    hidden = ("SecretID", "ExpirationTTL")
    found = [{n: v for n, v in token.items() if n not in hidden} for token in answers.objects("acl_tokens")]
    if request.query.get("global"):
        found = [token for token in found if token["Global"] == request.flag("global")]
    prefix = request.query.get("prefix", "")
    found = [token for token in found if token["AccessorID"].startswith(prefix)]
    return page(request, found, answers.index("acl_token"), ("CreateIndex", "AccessorID"))


@route("/acl/token/self")
def acl_token_self(answers: Answers, request: Request) -> Answer:
    accessor = request.identity.accessor_id
    if accessor is None and request.identity.acl.management and answers.authority.enabled:
        return Answer({**SESSION_TOKEN, "Name": request.identity.name}, answers.index("acl_token"))
    if accessor is None:
        raise PERMISSION_DENIED
    found = answers.find("acl_tokens", accessor, missing="ACL token not found")
    return Answer(found, found["ModifyIndex"])


@route("/acl/token/{id}")
def acl_token(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management or request.path["id"] == request.identity.accessor_id)
    found = answers.find("acl_tokens", request.path["id"], missing="ACL token not found")
    return Answer(found, found["ModifyIndex"])


@route("/acl/policies")
def acl_policies(answers: Answers, request: Request) -> Answer:
    own = request.identity.policies
    found = [
        {name: value for name, value in policy.items() if name not in ("Rules", "RulesJSON")}
        for policy in answers.objects("acl_policies")
        if request.identity.acl.management or policy["Name"] in own
    ]
    return page(request, found, answers.index("acl_policy"), ("Name",))


@route("/acl/policy/self")
def acl_policy_self(answers: Answers, request: Request) -> Answer:
    found = [p for p in answers.objects("acl_policies") if p["Name"] in request.identity.policies]
    return page(request, found, answers.index("acl_policy"), ("Name",))


@route("/acl/policy/{name}")
def acl_policy(answers: Answers, request: Request) -> Answer:
    name = request.path["name"]
    check(request.identity.acl.management or name in request.identity.policies)
    found = answers.find("acl_policies", name, missing="ACL policy not found")
    with suppress(RulesError):
        found["RulesJSON"] = answers.authority.rules(name)
    return Answer(found, found["ModifyIndex"])


@route("/acl/roles")
def acl_roles(answers: Answers, request: Request) -> Answer:
    identity = request.identity
    found = [r for r in answers.objects("acl_roles") if identity.acl.management or r["ID"] in identity.roles]
    return page(request, found, answers.index("acl_roles"))


@route("/acl/role/name/{name}")
def acl_role_by_name(answers: Answers, request: Request) -> Answer:
    found = next((r for r in answers.objects("acl_roles") if r["Name"] == request.path["name"]), None)
    return _acl_role(request, found)


@route("/acl/role/{id}")
def acl_role(answers: Answers, request: Request) -> Answer:
    return _acl_role(request, next((r for r in answers.objects("acl_roles") if r["ID"] == request.path["id"]), None))


def _acl_role(request: Request, found: Object | None) -> Answer:
    identity = request.identity
    check(identity.acl.management or (found is not None and found["ID"] in identity.roles))
    if found is None:
        raise ApiError(404, "ACL role not found")
    return Answer(found, found["ModifyIndex"])


@route("/acl/auth-methods")
def acl_auth_methods(answers: Answers, request: Request) -> Answer:
    names = ("Name", "Type", "Default", "Hash", "CreateIndex", "ModifyIndex")
    found = [pick(method, names) for method in answers.objects("acl_auth_methods", names)]
    return page(request, found, answers.index("acl_auth_methods"), ("Name",))


@route("/acl/auth-method/{name}")
def acl_auth_method(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    found = answers.find("acl_auth_methods", request.path["name"], missing="ACL auth-method not found")
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
    found = [pick(rule, names) for rule in answers.objects("acl_binding_rules", names)]
    return page(request, found, answers.index("acl_binding_rules"))


@route("/acl/binding-rule/{id}")
def acl_binding_rule(answers: Answers, request: Request) -> Answer:
    check(request.identity.acl.management)
    found = answers.find("acl_binding_rules", request.path["id"], missing="ACL binding rule not found")
    return Answer(found, found["ModifyIndex"])
