"""What was salvaged as an archive that is whole again."""

from __future__ import annotations

import os
from typing import Any

from snapkit.format import archive
from snapkit.format.schema import TIME_TABLE
from snapkit.format.values import pick
from snapkit.state.snapshot import Snapshot


def write_salvaged(snapshot: Snapshot, target: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the records of a salvaged snapshot as a new archive, its sums and Size right.

    meta.json is the old one; where that was lost, ID, Index and Term are made up: the highest index in the records,
    term 1, and no time. That the archive was salvaged can't be told from it: a server refuses any member but its own.

    Args:
        snapshot: The open snapshot; one that was whole is written just so.
        target: The file; mode 0600, there only when it is whole.
        overwrite: May it be replaced?

    Raises:
        TargetExistsError: `target` is there and `overwrite` is false.
        RecordError: A record that the index is to be taken from can't be decoded.
    """
    found = snapshot.archive.meta
    known = found.get("Version") == 1 and all(found.get(name) for name in ("ID", "Index", "Term"))
    meta = found if known else _made_up(snapshot) | {name: value for name, value in found.items() if value}
    archive.write(target, {**meta, "Version": 1}, snapshot.chunks(), snapshot.meta.size, overwrite=overwrite)


def _made_up(snapshot: Snapshot) -> dict[str, Any]:
    index = 1
    for byte, packed in snapshot.raw():
        if byte != TIME_TABLE:
            picked = pick(packed, {"ModifyIndex": None, "Value": None})
            index = max([index, *(value for value in picked.values() if isinstance(value, int))])
    return {
        "Version": 1,
        "ID": f"1-{index}-0",
        "Index": index,
        "Term": 1,
        "Peers": "kA==",
        "Configuration": {"Servers": []},
        "ConfigurationIndex": 0,
    }
