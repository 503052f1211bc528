"""Many snapshots: a catalog, what became of an object, and where the work is done."""
