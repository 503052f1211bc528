"""Explore and verify Nomad snapshot archives: `import snapkit; snap = snapkit.open("backup.snap")`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from snapkit.errors import SnapshotError
from snapkit.version import __version__

if TYPE_CHECKING:
    from snapkit.cluster.client import Client
    from snapkit.cluster.server import serve
    from snapkit.fleet.catalog import Catalog
    from snapkit.format.archive import Limits
    from snapkit.jupyter.browse import browse
    from snapkit.state.changes.changes import Changes
    from snapkit.state.changes.compare import compare
    from snapkit.state.changes.timeline import timeline
    from snapkit.state.output.handout import handout
    from snapkit.state.snapshot import Snapshot
    from snapkit.state.snapshot import open_snapshot as open
    from snapkit.state.verify import verify

__all__ = [
    "Catalog",
    "Changes",
    "Client",
    "Limits",
    "Snapshot",
    "SnapshotError",
    "__version__",
    "browse",
    "compare",
    "handout",
    "open",
    "serve",
    "timeline",
    "verify",
]

# Looked up when first used, so that the command does not wait for pandas where it needs none.
_LAZY = {
    "Catalog": ("snapkit.fleet.catalog", "Catalog"),
    "Changes": ("snapkit.state.changes.changes", "Changes"),
    "Client": ("snapkit.cluster.client", "Client"),
    "Limits": ("snapkit.format.archive", "Limits"),
    "Snapshot": ("snapkit.state.snapshot", "Snapshot"),
    "browse": ("snapkit.jupyter.browse", "browse"),
    "compare": ("snapkit.state.changes.compare", "compare"),
    "handout": ("snapkit.state.output.handout", "handout"),
    "open": ("snapkit.state.snapshot", "open_snapshot"),
    "serve": ("snapkit.cluster.server", "serve"),
    "timeline": ("snapkit.state.changes.timeline", "timeline"),
    "verify": ("snapkit.state.verify", "verify"),
}

if "ipykernel" in sys.modules:  # in a notebook
    from snapkit.jupyter.progress import install

    install()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return globals().setdefault(name, getattr(import_module(module), attribute))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
