"""An archive opened: its tables, its objects, its keys, and the search through it."""

from snapkit.state.snapshot.opening import open_snapshot
from snapkit.state.snapshot.snapshot import SAMPLES, Meta, Snapshot

__all__ = ["SAMPLES", "Meta", "Snapshot", "open_snapshot"]
