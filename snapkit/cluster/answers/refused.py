"""What no route answers: wrong methods, paths that Nomad has not, and what a served snapshot does not do.

Source: Nomad's command/agent/http.go, http_ce.go and *_endpoint.go.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from snapkit.cluster.answers.core import ApiError

_WRITE = ("PUT", "POST")
#: What Nomad answers and a served snapshot does not, with the methods that it takes. Of both, routes come first.
_UNANSWERED: Mapping[str, Collection[str]] = {
    "/v1/jobs": ("GET", *_WRITE),
    "/v1/jobs/parse": _WRITE,
    "/v1/jobs/statuses": ("GET", "POST"),
    "/v1/validate/job": _WRITE,
    "/v1/job/.+/(evaluate|revert|stable|dispatch|dispatch/payload|periodic/force|plan)": _WRITE,
    "/v1/job/.+/(allocations|evaluations|deployments|deployment|summary|versions|services|actions|submission)": (
        "GET",
    ),
    "/v1/job/.+/scale": ("GET", *_WRITE),
    "/v1/job/.+/action": ("GET",),
    "/v1/job/[^/]+/versions/[^/]+/tag": ("DELETE", *_WRITE),
    "/v1/job/.*": ("GET", "DELETE", *_WRITE),
    "/v1/nodes": ("GET",),
    "/v1/node/[^/]*/(evaluate|drain|eligibility|purge)": _WRITE,
    "/v1/node/[^/]*/allocations": ("GET",),
    "/v1/node/pools": ("GET", *_WRITE),
    "/v1/node/pool/.*": ("GET", "DELETE", *_WRITE),
    "/v1/node/.*": ("GET",),
    "/v1/allocations": ("GET",),
    "/v1/allocation/[^/]*/stop": _WRITE,
    "/v1/allocation/.*": ("GET",),
    "/v1/evaluations": ("GET", "DELETE"),
    "/v1/evaluations/count": ("GET",),
    "/v1/evaluation/.*": ("GET",),
    "/v1/deployments": ("GET",),
    "/v1/deployment/(fail|pause|promote|allocation-health|unblock)/.*": _WRITE,
    "/v1/deployment/.*": ("GET",),
    "/v1/volumes": ("GET", *_WRITE),
    "/v1/volumes/(external|claims)": ("GET",),
    "/v1/volumes/snapshot": ("GET", "DELETE", *_WRITE),
    "/v1/volumes/claim/.*": ("DELETE",),
    "/v1/volume/csi/.*": ("GET", "DELETE", *_WRITE),
    "/v1/volume/host/.*": ("GET", "DELETE", *_WRITE),
    "/v1/plugins": ("GET",),
    "/v1/plugin/csi/.*": ("GET",),
    "/v1/acl/(policies|tokens|roles|auth-methods|binding-rules)": ("GET",),
    "/v1/acl/policy/self": ("GET",),
    "/v1/acl/(policy|token|role|auth-method|binding-rule)/.*": ("GET", "DELETE", *_WRITE),
    "/v1/acl/(token|role|auth-method|binding-rule)": _WRITE,
    "/v1/acl/(bootstrap|login|token/onetime|token/onetime/exchange|identity/client-introduction-token)": _WRITE,
    "/v1/acl/oidc/(auth-url|complete-auth)": _WRITE,
    "/v1/client/.*": ("GET", "DELETE", *_WRITE),
    "/v1/agent/(self|members|health|host|monitor|monitor/export|schedulers)": ("GET",),
    "/v1/agent/(servers|schedulers/config)": ("GET", *_WRITE),
    "/v1/agent/(join|force-leave|reload)": _WRITE,
    "/v1/agent/keyring/list": ("GET",),
    "/v1/agent/keyring/(install|use|remove)": _WRITE,
    "/v1/agent/pprof/.*": ("GET",),
    "/v1/services": ("GET",),
    "/v1/service/[^/]+/[^/]+": ("DELETE",),
    "/v1/service/.*": ("GET",),
    "/v1/metrics": ("GET",),
    "/v1/regions": ("GET",),
    "/v1/scaling/(policies|policy/.*)": ("GET",),
    "/v1/status/(leader|peers)": ("GET",),
    "/v1/search(/fuzzy)?": _WRITE,
    "/v1/operator/raft/configuration": ("GET",),
    "/v1/operator/raft/peer": ("DELETE",),
    "/v1/operator/raft/transfer-leadership": _WRITE,
    "/v1/operator/keyring/(rotate|key/.*)": ("DELETE", *_WRITE),
    "/v1/operator/keyring/keys": ("GET",),
    "/v1/operator/autopilot/configuration": ("GET", "PUT"),
    "/v1/operator/autopilot/health": ("GET",),
    "/v1/operator/scheduler/configuration": ("GET", *_WRITE),
    "/v1/operator/utilization": _WRITE,
    "/v1/operator/upgrade-check/.*": ("GET",),
    "/v1/system/(gc|reconcile/summaries)": _WRITE,
    "/v1/event/stream": ("GET",),
    "/v1/namespaces": ("GET",),
    "/v1/namespace": _WRITE,
    "/v1/namespace/.*": ("GET", "DELETE", *_WRITE),
    "/v1/vars": ("GET",),
    "/v1/var/.*": ("GET", "DELETE", *_WRITE),
}
_ENTERPRISE = re.compile(
    r"/v1/(sentinel/(policies|policy/.*)|quotas|quota-usages|quota(/.*)?|recommendations?|recommendations/apply"
    r"|recommendation/.*|operator/utilization)"
)
#: A path that lacks what it is to name.
_NAMELESS: Mapping[str, tuple[int, str]] = {
    "/v1/namespace/": (400, "Missing Namespace Name"),
    "/v1/var/": (400, "missing variable path"),
    "/v1/acl/policy/": (400, "Missing Policy Name"),
    "/v1/acl/token/": (400, "Missing Token Accessor"),
    "/v1/acl/role/": (400, "missing ACL role ID"),
    "/v1/acl/role/name/": (400, "missing ACL role name"),
    "/v1/acl/auth-method/": (400, "missing ACL auth-method name"),
    "/v1/acl/binding-rule/": (400, "missing ACL binding rule ID"),
    "/v1/service/": (400, "missing service name"),
    "/v1/job/": (404, "job not found"),
    "/v1/node/pool/": (404, "node pool not found"),
    "/v1/scaling/policy/": (404, "policy not found"),
    "/v1/deployment/": (500, "missing deployment ID"),
    "/v1/node/": (500, "missing node ID"),
    "/v1/volume/csi/": (500, "missing volume ID"),
    "/v1/allocation/": (500, "alloc lookup failed: index error: UUID must be 36 characters"),
    "/v1/evaluation/": (500, "failed to lookup eval: eval lookup failed: index error: UUID must be 36 characters"),
}
_COMPILED = [(re.compile(pattern), methods) for pattern, methods in _UNANSWERED.items()]


def refusal(method: str, path: str, allowed: Collection[str]) -> ApiError:
    """What is said where no route answers.

    Args:
        allowed: The methods that a route of this path takes.
    """
    methods = next((methods for pattern, methods in _COMPILED if pattern.fullmatch(path)), ())
    if _ENTERPRISE.fullmatch(path) and (not methods or method in methods):
        return ApiError(501, "Nomad Enterprise only endpoint")
    if method == "GET" and path in _NAMELESS:
        return ApiError(*_NAMELESS[path])
    if method in methods:
        return ApiError(501, f"{method} {path} is not answered by a served snapshot")
    if methods or allowed:
        return ApiError(405, "Invalid method")
    return ApiError(404, "")
