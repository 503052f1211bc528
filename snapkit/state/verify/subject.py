"""What is verified: the container and the state in it, read once, and columns of its tables on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import pandas as pd

from snapkit.errors import RecordError
from snapkit.format.archive import Archive, created_milliseconds
from snapkit.format.schema import BY_TABLE
from snapkit.state.release import parse
from snapkit.state.snapshot import Snapshot

#: Plain columns that checks look at: read together, as each reading goes through all records of a table.
USED = {
    "nodes": ("NodePool", "IdentitySigningKeyID", "StatusUpdatedAt", "CreateIndex", "ModifyIndex"),
    "jobs": ("Version", "ParentID", "NodePool", "SubmitTime", "CreateIndex", "ModifyIndex"),
    "job_versions": ("SubmitTime", "CreateIndex", "ModifyIndex"),
    "evals": ("JobID", "Namespace", "CreateTime", "ModifyTime", "CreateIndex", "ModifyIndex"),
    "allocs": (
        *("Namespace", "JobID", "NodeID", "EvalID", "SigningKeyID"),
        *("CreateTime", "ModifyTime", "CreateIndex", "ModifyIndex"),
    ),
    "deployments": ("Namespace", "JobID", "CreateTime", "ModifyTime", "CreateIndex", "ModifyIndex"),
    "services": ("AllocID", "NodeID", "CreateIndex", "ModifyIndex"),
    "variables": ("KeyID", "CreateTime", "ModifyTime", "CreateIndex", "ModifyIndex"),
    "acl_tokens": ("CreateTime", "CreateIndex", "ModifyIndex"),
    "job_summaries": ("CreateIndex", "ModifyIndex"),
}


@dataclass
class Subject:
    """What the checks look at.

    Attributes:
        archive: What the pass over the container found.
        snapshot: The state; None if it could not be framed.
        path: The file, if it is one.
        target: The release to be restored into, such as (1, 6, 2); None for the one that wrote it.
        enterprise: Is the target an Enterprise server?
        keystore: A folder of keyring files.
        digest: SHA-256 of the archive, if it was asked for.
        wanted_digest: What it should be.
        against: An earlier snapshot of the same cluster.
        now: When it is, if age matters.
        unreadable: The tables that hold a record which Nomad's decoder refuses.
        no_maps: The numbers of records that are no maps; filled by state.field-type, as the next two.
        too_deep: Of those that are nested too deep.
        odd_text: Of those with text that is not UTF-8.
    """

    archive: Archive
    snapshot: Snapshot | None = None
    path: Path | None = None
    target: tuple[int, ...] | None = None
    enterprise: bool = False
    keystore: str | os.PathLike[str] | None = None
    digest: bytes | None = None
    wanted_digest: bytes | None = None
    against: Snapshot | None = None
    now: datetime | None = None
    unreadable: set[str] = field(default_factory=set)
    no_maps: list[int] = field(default_factory=list)
    too_deep: list[int] = field(default_factory=list)
    odd_text: list[int] = field(default_factory=list)
    _frames: dict[tuple[str, tuple[str, ...]], pd.DataFrame] = field(default_factory=dict)

    @property
    def state(self) -> Snapshot:
        """The state, for checks that run only where there is one."""
        assert self.snapshot is not None
        return self.snapshot

    @property
    def created(self) -> datetime | None:
        milliseconds = created_milliseconds(str(self.archive.meta.get("ID", "")))
        return pd.Timestamp(milliseconds, unit="ms", tz="UTC") if 0 < milliseconds < 2**63 // 10**6 else None

    @cached_property
    def release(self) -> tuple[int, ...]:
        """The oldest release that can have written it."""
        low = self.state.meta.version_range.partition(",")[0].lstrip(">=")
        return parse(low) if low[:1].isdigit() else (0,)

    def tables(self) -> dict[str, tuple[str, int]]:
        """Nomad's name and the number of records by table."""
        return {
            str(row["Table"]): (row["Type"], row["Count"]) for row in self.state.tables.reset_index().to_dict("records")
        }

    def has(self, table: str) -> bool:
        return table in self.state.tables.index

    def columns(self, table: str, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of a table, key fields as columns too; those that no record has are left out.

        Empty where the table is, or where a column can't be decoded: another check tells of that.
        """
        wanted = (*BY_TABLE[table].key, *names)
        used = tuple(dict.fromkeys([*BY_TABLE[table].key, *USED.get(table, ())]))
        read = used if set(wanted) <= set(used) else wanted
        if (table, read) not in self._frames:
            self._frames[table, read] = self._read(table, read)
        frame = self._frames[table, read]
        return frame[[name for name in dict.fromkeys(wanted) if name in frame]]

    def _read(self, table: str, names: tuple[str, ...]) -> pd.DataFrame:
        if not self.has(table):
            return pd.DataFrame(columns=list(dict.fromkeys(names)))
        try:
            frame = self.state.table(table, names, reveal=True)
        except RecordError:
            return pd.DataFrame(columns=list(dict.fromkeys(names)))
        frame = frame.reset_index() if BY_TABLE[table].key else frame
        return frame[[name for name in frame if frame[name].notna().any()]]

    def keys(self, table: str, names: Sequence[str]) -> pd.MultiIndex:
        """The values of some columns, row by row."""
        frame = self.columns(table, names)
        there = set(names) <= set(frame.columns)
        return pd.MultiIndex.from_frame((frame if there else pd.DataFrame(columns=list(names)))[list(names)])
