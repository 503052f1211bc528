"""What Nomad's HTTP API answers about a state: each read endpoint as a function of a snapshot, without any HTTP.

Shapes are those of 2.0.5, in the fields that the snapshot's release has: lists are stubs, single objects whole.
Source: Nomad's command/agent/*_endpoint.go for the paths, nomad/*_endpoint.go for the rights that each takes.
"""

from snapkit.cluster.answers import access, agent, jobs, nodes  # noqa: F401 - they register their routes
from snapkit.cluster.answers.core import Answers, ApiError, Request, Server, compiled

__all__ = ["Answers", "ApiError", "Request", "Server", "compiled"]
