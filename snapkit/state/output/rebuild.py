"""An archive out of a server's own copy of its state: the fallback where the data directory is not whole any more."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from snapkit.errors import SnapshotError
from snapkit.format import archive
from snapkit.state.snapshot import Snapshot

RAFT_DIRECTORY = "raft directory"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What an archive was made of, and what it lacks.

    Attributes:
        path: The archive.
        index: Raft's index that it ends at.
        age: How old it is; None if the copy does not say when it was made.
        peers: raft/peers.json of a recovery on the whole data directory, with the servers that the copy names.
    """

    path: str
    index: int
    age: pd.Timedelta | None
    peers: str

    def to_text(self) -> str:
        """What to know before it is used, for a person."""
        age = f"{self.age.floor('s')} old" if self.age is not None else "of an unknown age"
        return "\n".join(
            [
                f"This copy ends at Raft index {self.index} and is {age}. A server makes one every 8,192 entries:",
                "what came after it is in raft.db (or the WAL) beside it, and not in the archive.",
                "Where the data directory is whole, this comes first, and loses nothing: stop all servers, put the",
                "lines below into server/raft/peers.json of each server that is left (those that are gone taken out of",
                "it), and start them. Only where that can't be done, restore the archive into a new cluster.",
                self.peers,
            ]
        )


def rebuild(
    snapshot: Snapshot, target: str | os.PathLike[str], *, overwrite: bool = False, now: datetime | None = None
) -> Rebuilt:
    """Write a server's own copy (a raft directory) as an archive that can be restored.

    Source: Nomad's outage recovery guide for peers.json; hashicorp/raft's ReadConfigJSON for its form.

    Args:
        snapshot: The open copy. A whole archive is written anew: same records, other bytes.
        target: The file; mode 0600, there only when it is whole.
        overwrite: May it be replaced?
        now: When it is; by default as the system has it.

    Raises:
        TargetExistsError: `target` is there and `overwrite` is false.
        SnapshotError: It was salvaged, or has no meta.json.
    """
    if snapshot.salvage is not None:
        raise SnapshotError("was salvaged", snapshot.meta.source, "verify --salvage writes what is left of it")
    meta = snapshot.archive.meta
    if not meta.get("ID") or snapshot.meta.index is None:
        raise SnapshotError("has no meta.json", snapshot.meta.source, "name the folder that the state.bin lies in")
    kept = {name: value for name, value in meta.items() if name != "CRC"}  # which archives do not have
    archive.write(target, kept, snapshot.chunks(), snapshot.meta.size, overwrite=overwrite)
    moment = pd.Timestamp.now("UTC") if now is None else pd.Timestamp(now)
    created = snapshot.meta.created
    peers = [
        {"id": server.get("ID"), "address": server.get("Address"), "non_voter": server.get("Suffrage") == 1}
        for server in snapshot.meta.servers
    ]
    age = moment - created if created is not None else None
    return Rebuilt(os.fspath(target), snapshot.meta.index, age, json.dumps(peers, indent=2))
