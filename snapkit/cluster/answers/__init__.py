"""What Nomad's HTTP API answers about a state: each endpoint as a function of a snapshot, without any HTTP.

Shapes are those of 2.0.5, in the fields that the snapshot's release has: lists are stubs, single objects whole. Writes
are those that bringing single objects back takes, and some that an operator makes; nothing is scheduled.
Source: Nomad's command/agent/*_endpoint.go for the paths, nomad/*_endpoint.go for the rights that each takes.
"""

from snapkit.cluster.answers import (  # noqa: F401 - they register their routes
    access,
    agent,
    clients,
    jobs,
    nodes,
    operate,
    write_access,
    write_jobs,
)
from snapkit.cluster.answers.core import PERMISSION_DENIED, Answer, Answers, ApiError, Request, Server, compiled
from snapkit.cluster.answers.refused import refusal

__all__ = ["PERMISSION_DENIED", "Answer", "Answers", "ApiError", "Request", "Server", "compiled", "refusal"]
