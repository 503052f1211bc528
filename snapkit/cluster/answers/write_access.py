"""Variables, namespaces, node pools and what ACLs are made of, written as a server writes them.

Source: Nomad's nomad/variables_endpoint.go and nomad/state/state_store_variables.go, nomad/acl_endpoint.go,
nomad/namespace_endpoint.go, nomad/node_pool_endpoint.go; nomad/structs/*.go (SetHash) for the hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from snapkit.cluster.answers.core import Answer, Answers, ApiError, Object, Request, check, route
from snapkit.cluster.answers.jobspec import errors
from snapkit.cluster.answers.write_jobs import rfc3339
from snapkit.errors import RecordError
from snapkit.format.values import go_duration
from snapkit.state.access.acl import RulesError, parse_rules
from snapkit.state.output.edit import nanoseconds
from snapkit.state.snapshot.keyring import Keyring, KeyringError

_VARIABLE_PATH = re.compile("[a-zA-Z0-9-_~/]{1,128}")
_NAME = re.compile("[a-zA-Z0-9-]{1,128}")
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_POOL_NAME = re.compile("[a-zA-Z0-9-_]{1,128}")
_RPC = "RPC Error:: 400,"  # how such an error comes from the leader
_MOST = 64 << 10  # bytes in a variable's items
_DAY = 24 * 3600 * 10**9
_META = ("Namespace", "Path", "CreateIndex", "CreateTime", "ModifyIndex", "ModifyTime")


# -- variables


@route("/var/{path:path}", "PUT", "POST")
def put_variable(answers: Answers, request: Request) -> Answer:
    """Set a variable: always, or if it stands at `cas` still (0: if there is none)."""
    if {"acquire", "lock-acquire", "lock-release", "lock-renew"} & request.query.keys():
        raise ApiError(501, "locks are not taken in a served snapshot")
    items = request.body.get("Items")
    if not items:
        raise ApiError(400, "variable missing required Items object")
    if not isinstance(items, dict) or not all(isinstance(value, str) for value in items.values()):
        raise ApiError(400, "Items are not all text")
    namespace, path = str(request.body.get("Namespace") or request.namespace), request.path["path"]
    cas = _cas(request)
    check(request.identity.acl.allow_variable(namespace, path, "write"))
    _refuse_path(path)
    if sum(len(key.encode()) + len(value.encode()) for key, value in items.items()) > _MOST:
        raise ApiError(400, f"{_RPC}variables are limited to 64KiB in total size")
    old = answers.lookup("variables", namespace, path)
    if cas is not None and cas != (int(old["ModifyIndex"]) if old else 0):
        return _conflict(answers, request, old or {"Namespace": namespace, "Path": path})
    if old is not None and (old.get("Lock") or {}).get("ID"):
        return _conflict(answers, request, {"Namespace": namespace, "Path": path})
    key_id, data = _sealed(answers, items)
    index, now = answers.next_index, answers.now
    meta = {"Namespace": namespace, "Path": path, "ModifyIndex": index, "ModifyTime": now}
    meta |= {"CreateIndex": old["CreateIndex"] if old else index, "CreateTime": old["CreateTime"] if old else now}
    answers.edits.put("variables", meta | {"KeyID": key_id, "Data": base64.b64encode(data).decode(), "Lock": None})
    _charge(answers, namespace, len(data) - _size(old))
    answers.edits.stamp(index, "variables")
    return answers.written(meta | {"Lock": None, "Items": items})


@route("/var/{path:path}", "DELETE")
def delete_variable(answers: Answers, request: Request) -> Answer:
    namespace, path = request.namespace, request.path["path"]
    cas = _cas(request)
    check(request.identity.acl.allow_variable(namespace, path, "destroy"))
    old = answers.lookup("variables", namespace, path)
    if cas is not None and cas != (int(old["ModifyIndex"]) if old else 0):
        return _conflict(answers, request, old or {"Namespace": namespace, "Path": path})
    if old is not None:
        answers.edits.delete("variables", namespace, path)
        quota = answers.lookup("variables_quotas", namespace)
        if quota is not None:
            size = max(0, int(quota["Size"]) - _size(old))
            answers.edits.put("variables_quotas", quota | {"Size": size, "ModifyIndex": answers.next_index})
        answers.edits.stamp(answers.next_index, "variables")
    return answers.written(status=204)


def _cas(request: Request) -> int | None:
    given = request.query.get("cas")
    if not given:
        return None
    if not given.isdecimal():
        raise ApiError(400, f'can not parse cas: strconv.ParseUint: parsing "{given}": invalid syntax')
    return int(given)


def _refuse_path(path: str) -> None:
    if not _VARIABLE_PATH.fullmatch(path):
        raise ApiError(400, f'{_RPC}invalid path "{path}"')
    first, *rest = path.split("/")
    if first == "nomad" and not rest:
        words = (
            '"nomad" is a reserved top-level directory path, but you may write variables to "nomad/jobs", '
            '"nomad/job-templates", "nomad/sentinel", or below'
        )
        raise ApiError(400, _RPC + words)
    if first == "nomad" and rest[0] not in ("jobs", "job-templates", "sentinel"):
        words = 'only paths at "nomad/jobs" or "nomad/job-templates" and below are valid paths under the top-level '
        raise ApiError(400, f'{_RPC}{words}"nomad" directory')


def _conflict(answers: Answers, request: Request, old: Object) -> Answer:
    """What stands there, if the caller may read it."""
    blank: Object = {"Namespace": "", "Path": "", "CreateIndex": 0, "CreateTime": 0, "ModifyIndex": 0, "ModifyTime": 0}
    body = blank | {name: old[name] for name in _META if name in old} | {"Lock": None, "Items": None}
    if old.get("KeyID") and request.identity.acl.allow_variable(old["Namespace"], old["Path"], "read"):
        try:
            keyring = Keyring(answers.snapshot.table, answers.keystore)
            data = base64.b64decode(old["Data"])
            body["Items"] = keyring.open_variable(old["Namespace"], old["Path"], old["KeyID"], data)
        except KeyringError as error:
            raise ApiError(500, f"failed to decrypt variable: {error}") from error
    return Answer(body, int(body["ModifyIndex"]), status=409, write=True)


def _size(variable: Object | None) -> int:
    return len(base64.b64decode(variable["Data"])) if variable else 0


def _sealed(answers: Answers, items: Mapping[str, str]) -> tuple[str, bytes]:
    """The active root key's id, and items sealed under it: nonce, ciphertext and tag, the key's id authenticated."""
    active = next(
        (key["KeyID"] for table in ("root_keys", "root_key_meta") for key in answers.objects(table, ("KeyID", "State"))
         if key["State"] == "active"),
        None,
    )  # fmt: skip
    if active is None:
        raise ApiError(500, "variable error: encrypt: keyring has not been initialized yet")
    plain = json.dumps(items, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}":  # as Go's JSON has them
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    try:
        key = Keyring(answers.snapshot.table, answers.keystore).key(active)
    except KeyringError as error:
        raise ApiError(500, f"variable error: encrypt: {error}") from error
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # the keyring could not have opened without it

    nonce = os.urandom(12)
    return active, nonce + AESGCM(key).encrypt(nonce, plain.encode(), active.encode())


def _charge(answers: Answers, namespace: str, more: int) -> None:
    """Count what a namespace's variables take."""
    if not more:
        return
    index = answers.next_index
    quota = answers.lookup("variables_quotas", namespace) or {"Namespace": namespace, "Size": 0, "CreateIndex": index}
    size = max(0, int(quota["Size"]) + more)
    answers.edits.put("variables_quotas", quota | {"Size": size, "ModifyIndex": index})


# -- what all others share


def _put(answers: Answers, table: str, row: str, key: str, sent: Object, hash_of: Callable[[Object], bytes]) -> Object:
    """Put an object with its hash and indexes; gives it as it is read back."""
    index = answers.next_index
    old = answers.lookup(table, sent[key])
    digest = base64.b64encode(hash_of(sent)).decode()
    whole = sent | {"CreateIndex": old["CreateIndex"] if old else index, "ModifyIndex": index, "Hash": digest}
    try:
        answers.edits.put(table, whole)
    except (RecordError, ValueError) as error:
        raise ApiError(400, str(error)) from error
    answers.edits.stamp(index, row)
    return whole


def _blake(parts: Iterable[Any]) -> bytes:
    """BLAKE2b-256 over the texts of some values one after the other, as Nomad hashes what it has been sent."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update((str(part).lower() if isinstance(part, bool) else str(part or "")).encode())
    return digest.digest()


def _sorted_pairs(meta: Mapping[str, str] | None) -> Iterable[str]:
    return (text for pair in sorted((meta or {}).items()) for text in pair)


def _named(request: Request, what: str, name: str | None) -> Object:
    sent: Object = dict(request.body)
    sent["Name"] = str(sent.get("Name") or "")
    if name is not None and sent["Name"] != name:
        raise ApiError(400, f"{what} name does not match request path")
    return sent


# -- namespaces and node pools


@route("/namespace", "PUT", "POST")
@route("/namespace/{name}", "PUT", "POST")
def put_namespace(answers: Answers, request: Request) -> Answer:
    sent = _named(request, "Namespace", request.path.get("name"))
    check(request.identity.acl.management)
    if not _NAME.fullmatch(sent["Name"]):
        raise ApiError(500, f'Invalid namespace "{sent["Name"]}": invalid name "{sent["Name"]}"')
    _put(answers, "namespaces", "namespaces", "Name", sent, _namespace_hash)
    return answers.written()


def _namespace_hash(sent: Object) -> bytes:
    parts: list[Any] = [sent["Name"], sent.get("Description"), sent.get("Quota")]
    capabilities = sent.get("Capabilities") or {}
    for name in ("EnabledTaskDrivers", "DisabledTaskDrivers", "EnabledNetworkModes", "DisabledNetworkModes"):
        parts += capabilities.get(name) or ()
    for name in ("NodePoolConfiguration", "VaultConfiguration", "ConsulConfiguration"):
        config = sent.get(name) or {}
        parts += [config.get("Default"), *(config.get("Allowed") or ()), *(config.get("Denied") or ())]
    return _blake([*parts, *_sorted_pairs(sent.get("Meta"))])


@route("/node/pools", "PUT", "POST")
@route("/node/pool/{name}", "PUT", "POST")
def put_node_pool(answers: Answers, request: Request) -> Answer:
    sent = _named(request, "Node pool", request.path.get("name"))
    name = sent["Name"]
    check(request.identity.acl.allow_node_pool(name, "write"))
    if not _POOL_NAME.fullmatch(name):
        raise ApiError(400, f'invalid node pool "{name}": invalid name "{name}"')
    if name in ("all", "default"):
        raise ApiError(400, f'modifying node pool "{name}" is not allowed')
    sent["NodeIdentityTTL"] = nanoseconds(sent.get("NodeIdentityTTL")) or _DAY
    _put(answers, "node_pools", "node_pools", "Name", sent, _node_pool_hash)
    return answers.written()


def _node_pool_hash(sent: Object) -> bytes:
    parts: list[Any] = [sent["Name"], sent.get("Description"), go_duration(sent["NodeIdentityTTL"])]
    scheduler = sent.get("SchedulerConfiguration")
    if scheduler:
        parts.append(scheduler.get("SchedulerAlgorithm"))
        over = scheduler.get("MemoryOversubscriptionEnabled")
        if over is not None:
            parts.append(f"memory_oversubscription_{'enabled' if over else 'disabled'}")
    return _blake([*parts, *_sorted_pairs(sent.get("Meta"))])


# -- ACL


@route("/acl/policy/{name}", "PUT", "POST")
def put_policy(answers: Answers, request: Request) -> Answer:
    sent = _named(request, "ACL policy", request.path["name"])
    check(request.identity.acl.management)
    try:
        parse_rules(str(sent.get("Rules") or ""))
    except RulesError as error:
        raise ApiError(400, f"policy 0 invalid: 1 error occurred:\n\t* failed to parse rules: {error}") from error
    if not _NAME.fullmatch(sent["Name"]):
        raise ApiError(400, f"policy 0 invalid: 1 error occurred:\n\t* invalid name '{sent['Name']}'")
    sent.pop("RulesJSON", None)
    _put(answers, "acl_policies", "acl_policy", "Name", sent, _policy_hash)
    return answers.written()


def _policy_hash(sent: Object) -> bytes:
    job = sent.get("JobACL") or {}
    about = [job.get(name) for name in ("Namespace", "JobID", "Group", "Task")]
    return _blake([sent["Name"], sent.get("Description"), sent.get("Rules"), *about])


@route("/acl/role", "PUT", "POST")
@route("/acl/role/{id}", "PUT", "POST")
def put_role(answers: Answers, request: Request) -> Answer:
    sent: Object = dict(request.body)
    if request.path.get("id") not in (None, sent.get("ID")):
        raise ApiError(400, "ACL role ID does not match request path")
    check(request.identity.acl.management)
    links = list({link["Name"]: {"Name": link["Name"]} for link in sent.get("Policies") or ()}.values())
    wrong = [
        *([] if _NAME.fullmatch(str(sent.get("Name") or "")) else [f"invalid name '{sent.get('Name') or ''}'"]),
        *([] if links else ["at least one policy should be specified"]),
    ]
    if wrong:
        raise ApiError(400, _errors("role", wrong))
    if sent.get("ID"):
        if answers.lookup("acl_roles", sent["ID"]) is None:
            raise ApiError(400, f"cannot find role {sent['ID']}")
    elif any(role["Name"] == sent["Name"] for role in answers.objects("acl_roles", ("Name",))):
        raise ApiError(400, f"role with name {sent['Name']} already exists")
    for link in links:
        if answers.lookup("acl_policies", link["Name"]) is None:
            raise ApiError(400, f"cannot find policy {link['Name']}")
    sent |= {"ID": sent.get("ID") or str(uuid.uuid4()), "Description": sent.get("Description") or "", "Policies": links}
    sent = {name: sent[name] for name in ("ID", "Name", "Description", "Policies")}

    def hash_of(role: Object) -> bytes:
        return _blake([role["Name"], role["Description"], *(link["Name"] for link in links)])

    return answers.written(_put(answers, "acl_roles", "acl_roles", "ID", sent, hash_of))


def _errors(what: str, wrong: list[str]) -> str:
    return f"{what} 0 invalid: {errors(wrong)}"


@route("/acl/auth-method", "PUT", "POST")
@route("/acl/auth-method/{name}", "PUT", "POST")
def put_auth_method(answers: Answers, request: Request) -> Answer:
    """Write an auth method. Of one that is there, what is not sent stays."""
    sent = _named(request, "ACL auth-method", request.path.get("name"))
    check(request.identity.acl.management)
    name = sent["Name"]
    old = answers.lookup("acl_auth_methods", name)
    merged = {**(old or {}), **{field: value for field, value in sent.items() if value not in (None, "", 0)}}
    merged["Config"] = {**((old or {}).get("Config") or {}), **(sent.get("Config") or {})}
    merged["TokenNameFormat"] = merged.get("TokenNameFormat") or "${auth_method_type}-${auth_method_name}"
    wrong = [
        *([] if _NAME.fullmatch(name) else [f"invalid name '{name}'"]),
        *([] if merged.get("TokenLocality") in ("local", "global") else
          [f"invalid token locality '{merged.get('TokenLocality', '')}'"]),
        *([] if merged.get("Type") in ("OIDC", "JWT") else [f"invalid token type '{merged.get('Type', '')}'"]),
    ]  # fmt: skip
    if wrong:
        raise ApiError(400, _errors("auth method", wrong))
    if merged.get("Default"):
        for other in answers.objects("acl_auth_methods", ("Name", "Default")):
            if other["Default"] and other["Name"] != name:
                raise ApiError(400, f"default method already exists: {other['Name']}")
    now = rfc3339(answers.now)
    merged |= {"CreateTime": (old or {}).get("CreateTime") or now, "ModifyTime": now}
    try:
        _put(answers, "acl_auth_methods", "acl_auth_methods", "Name", merged, _auth_method_hash)
    except RecordError as error:
        raise ApiError(400, str(error)) from error
    return answers.written(_redacted(_read_back(answers, "acl_auth_methods", name)))


def _auth_method_hash(method: Object) -> bytes:
    config = method["Config"]
    parts: list[Any] = [method["Name"], method["Type"], method["TokenLocality"], method["TokenNameFormat"]]
    parts += [go_duration(nanoseconds(method.get("MaxTokenTTL"))), bool(method.get("Default"))]
    for name in ("JWKSURL", "JWKSCACert", "OIDCDiscoveryURL", "OIDCClientID", "OIDCClientSecret"):
        parts.append(config.get(name))
    parts += [bool(config.get(name)) for name in ("OIDCEnablePKCE", "OIDCDisableUserInfo", "VerboseLogging")]
    for name in ("ExpirationLeeway", "NotBeforeLeeway", "ClockSkewLeeway"):
        parts.append(go_duration(nanoseconds(config.get(name))))
    for name in ("BoundAudiences", "BoundIssuer", "AllowedRedirectURIs", "DiscoveryCaPem", "OIDCScopes", "SigningAlgs",
                 "JWTValidationPubKeys"):  # fmt: skip
        parts += config.get(name) or ()
    for name in ("ClaimMappings", "ListClaimMappings"):  # a server takes these in any order
        parts += _sorted_pairs(config.get(name))
    assertion = config.get("OIDCClientAssertion")
    if assertion:
        parts += [assertion.get("KeySource"), assertion.get("KeyAlgorithm"), *(assertion.get("Audience") or ())]
        parts += _sorted_pairs(assertion.get("ExtraHeaders"))
        key = assertion.get("PrivateKey") or {}
        names = ("KeyIDHeader", "KeyID", "PemKey", "PemKeyFile", "PemCert", "PemCertFile")
        parts += [key.get(name) for name in names]
    return _blake(parts)


def _redacted(method: Object) -> Object:
    if (method.get("Config") or {}).get("OIDCClientSecret"):
        method["Config"]["OIDCClientSecret"] = "redacted"  # as Nomad does
    return method


def _read_back(answers: Answers, table: str, *key: str) -> Any:
    """What was put, as it will be read."""
    from snapkit.format.schema import BY_TABLE, Type
    from snapkit.format.values import to_json

    return to_json(answers.edits.records[table][key], Type("struct", struct=BY_TABLE[table].struct))


@route("/acl/binding-rule", "PUT", "POST")
@route("/acl/binding-rule/{id}", "PUT", "POST")
def put_binding_rule(answers: Answers, request: Request) -> Answer:
    sent: Object = dict(request.body)
    if request.path.get("id") not in (None, sent.get("ID")):
        raise ApiError(400, "ACL binding rule ID does not match request path")
    check(request.identity.acl.management)
    old = None
    if sent.get("ID"):
        old = answers.lookup("acl_binding_rules", sent["ID"])
        if old is None:
            raise ApiError(400, f"cannot find binding rule {sent['ID']}")
        sent = {**old, **{field: value for field, value in sent.items() if value not in (None, "")}}
        if sent["AuthMethod"] != old["AuthMethod"]:
            raise ApiError(400, "cannot update auth method for binding rule, create a new rule instead")
    kind, name = str(sent.get("BindType") or ""), str(sent.get("BindName") or "")
    wrong = [
        *([] if sent.get("AuthMethod") else ["auth method is missing"]),
        *(["bind name is missing"] if kind in ("role", "policy") and not name else []),
        *(["bind type is missing"] if not kind else []),
        *([f'unsupported bind type: "{kind}"'] if kind not in ("", "role", "policy", "management") else []),
    ]
    if wrong:
        raise ApiError(400, _errors("binding rule", wrong))
    if answers.lookup("acl_auth_methods", sent["AuthMethod"]) is None:
        raise ApiError(400, f"ACL auth method {sent['AuthMethod']} not found")
    now = rfc3339(answers.now)
    sent |= {"ID": sent.get("ID") or str(uuid.uuid4()), "ModifyTime": now}
    sent["CreateTime"] = old["CreateTime"] if old else now
    names = ("ID", "Description", "AuthMethod", "Selector", "BindType", "BindName")
    _put(answers, "acl_binding_rules", "acl_binding_rules", "ID", sent, lambda r: _blake([r.get(n) for n in names]))
    return answers.written(_read_back(answers, "acl_binding_rules", sent["ID"]))


@route("/acl/token", "PUT", "POST")
@route("/acl/token/{id}", "PUT", "POST")
def put_token(answers: Answers, request: Request) -> Answer:
    """Make a new token, of a client by the ids that are sent if both are. One that is there is not changed here."""
    sent: Object = dict(request.body)
    if request.path.get("id") not in (None, sent.get("AccessorID")):
        raise ApiError(400, "ACL token accessor does not match request path")
    check(request.identity.acl.management)
    accessor, secret = str(sent.get("AccessorID") or ""), str(sent.get("SecretID") or "")
    kind, policies, roles = str(sent.get("Type") or ""), sent.get("Policies") or None, []
    if accessor and answers.lookup("acl_tokens", accessor) is not None:
        raise ApiError(501, "a served snapshot makes new tokens, and changes none")
    if accessor and not (_UUID.fullmatch(accessor) and _UUID.fullmatch(secret) and kind != "management"):
        raise ApiError(400, f"cannot find token {accessor}")
    wrong = [
        *([] if kind in ("client", "management") else ["token type must be client or management"]),
        *(["client token missing policies or roles"] if kind == "client" and not (policies or sent.get("Roles"))
          else []),
        *(["management token cannot be associated with policies or roles"]
          if kind == "management" and (policies or sent.get("Roles")) else []),
    ]  # fmt: skip
    if wrong:
        raise ApiError(400, _errors("token", wrong))
    known = {role["ID"]: role["Name"] for role in answers.objects("acl_roles", ("ID", "Name"))}
    for link in sent.get("Roles") or ():
        role = link.get("ID") or next((i for i, name in known.items() if name == link.get("Name")), None)
        if role not in known:
            raise ApiError(400, f"cannot find role {link.get('ID') or link.get('Name')}")
        roles.append({"ID": role, "Name": ""})
    ttl = nanoseconds(sent.get("ExpirationTTL"))
    expires = sent.get("ExpirationTime") or (rfc3339(answers.now + ttl) if ttl else None)
    token: Object = {
        "AccessorID": accessor or str(uuid.uuid4()),
        "SecretID": secret if accessor else str(uuid.uuid4()),
        "Name": str(sent.get("Name") or ""),
        "Type": kind,
        "Policies": policies,
        "Roles": roles or None,
        "Global": bool(sent.get("Global")),
        "CreateTime": rfc3339(answers.now),
        "ExpirationTime": expires,
        "ExpirationTTL": ttl,
    }
    scope = "global" if token["Global"] else "local"
    ids = [link["ID"] for link in roles]
    _put(answers, "acl_tokens", "acl_token", "AccessorID", token,
         lambda t: _blake([t["Name"], t["Type"], *(policies or ()), scope, *ids]))  # fmt: skip
    found = _read_back(answers, "acl_tokens", token["AccessorID"])
    for link in found.get("Roles") or ():
        link["Name"] = known[link["ID"]]
    return answers.written(found)
