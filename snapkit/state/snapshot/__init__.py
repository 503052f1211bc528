"""An archive opened: its tables, its objects, its keys, and the search through it."""

from snapkit.state.snapshot.snapshot import SAMPLES, Meta, Snapshot, open_snapshot

__all__ = ["SAMPLES", "Meta", "Snapshot", "open_snapshot"]
