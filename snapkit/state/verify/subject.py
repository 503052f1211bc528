"""What is verified: the container and the state in it, read once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

from snapkit.format.archive import Archive, created_milliseconds
from snapkit.format.records import Tally
from snapkit.format.schema import BY_TABLE, record_type, type_name
from snapkit.state.snapshot import Snapshot
from snapkit.state.snapshot.keyring import Keyring
from snapkit.state.snapshot.release import parse
from snapkit.state.verify.decoding import Decoding

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class State:
    """What the pass over state.bin found.

    Attributes:
        types: The type byte of each record, in order.
        tallies: How many records there are and how many bytes they have, by type byte.
        sample: The first records of each type and all root keys; None where the pass went no further than framing.
        decoded: What decoding all records gave; None as before.
    """

    types: Sequence[int]
    tallies: Mapping[int, Tally]
    sample: Snapshot | None = None
    decoded: Decoding | None = None


@dataclass
class Subject:
    """What the checks look at.

    Attributes:
        archive: What the pass over the container found.
        framed: The state; None if it could not be framed.
        path: The file, if it is one.
        target: The release to be restored into, such as (1, 6, 2); None for the one that wrote it.
        enterprise: Is the target an Enterprise server?
        keystore: A folder of keyring files.
        digest: SHA-256 of the archive, if it was asked for.
        wanted_digest: What it should be.
        against: An earlier snapshot of the same cluster.
        now: When it is, if age matters.
    """

    archive: Archive
    framed: State | None = None
    path: Path | None = None
    target: tuple[int, ...] | None = None
    enterprise: bool = False
    keystore: str | os.PathLike[str] | None = None
    digest: bytes | None = None
    wanted_digest: bytes | None = None
    against: Snapshot | None = None
    now: datetime | None = None
    _keys: dict[tuple[str, tuple[str, ...]], set[Any]] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """The state, for checks that run only where there is one."""
        assert self.framed is not None
        return self.framed

    @property
    def sample(self) -> Snapshot:
        """The first of its records, for checks that run only where records are looked at."""
        assert self.state.sample is not None
        return self.state.sample

    @property
    def decoded(self) -> Decoding:
        """What decoding its records gave, for checks that run only where records are looked at."""
        assert self.state.decoded is not None
        return self.state.decoded

    @property
    def created(self) -> datetime | None:
        milliseconds = created_milliseconds(str(self.archive.meta.get("ID", "")))
        try:
            return _EPOCH + timedelta(milliseconds=milliseconds) if milliseconds else None
        except OverflowError:
            return None

    @cached_property
    def release(self) -> tuple[int, ...]:
        """The oldest release that can have written it."""
        low = self.sample.meta.version_range.partition(",")[0].lstrip(">=")
        return parse(low) if low[:1].isdigit() else (0,)

    @cached_property
    def keyring(self) -> Keyring:
        """The root keys in the state and in the keystore.

        Raises:
            SourceError: The keystore can't be read.
            KeyringError: What is there is not as Nomad writes it; RecordError as well.
        """
        return Keyring(self.sample.table, self.keystore)

    @cached_property
    def tables(self) -> dict[str, tuple[str, int]]:
        """Nomad's name and the number of records by table, the largest first."""
        tallies = sorted(self.state.tallies.items(), key=lambda item: -item[1].bytes)
        return {record_type(byte).table: (type_name(byte), tally.count) for byte, tally in tallies}

    def has(self, table: str) -> bool:
        """Does it hold records of a table?"""
        return table in self.tables

    def column(self, table: str, name: str) -> list[Any]:
        """The values of a column, row by row: one that the check has declared, a key field or an index."""
        columns = self.decoded.columns.get(table)
        return columns[name] if columns is not None else []

    def rows(self, table: str, names: Sequence[str]) -> Iterable[Any]:
        """The values of one column, or tuples of the values of several, row by row."""
        columns = [self.column(table, name) for name in names]
        return columns[0] if len(columns) == 1 else zip(*columns, strict=True)

    def keyed(self, table: str, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """As tuples the key (as of `rows()`; None for a table without a key) and the values of some columns."""
        columns = [self.column(table, name) for name in names]
        key = BY_TABLE[table].key
        return zip(self.rows(table, key) if key else repeat(None, len(columns[0])), *columns, strict=True)

    def keys(self, table: str, names: Sequence[str] = ()) -> set[Any]:
        """What `rows()` gives, each once; by default of the key fields."""
        names = tuple(names) or BY_TABLE[table].key
        if (table, names) not in self._keys:
            self._keys[table, names] = set(self.rows(table, names))
        return self._keys[table, names]
