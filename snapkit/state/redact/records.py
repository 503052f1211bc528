"""Records redacted, a batch of one type at a time: by this process, or by one that works for it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable

from snapkit.errors import RecordError
from snapkit.format.schema import BY_BYTE, RecordType, type_name
from snapkit.format.values import Buffer
from snapkit.state.redact.packed import Packed
from snapkit.state.redact.profiles import Profile
from snapkit.state.redact.pseudonyms import Pseudonyms
from snapkit.state.redact.seen import Seen
from snapkit.state.redact.values import Values


class Records:
    """Redacts records.

    Args:
        profile: What to do.
        key: Of the pseudonyms.
        seen: Which fields the records of the state have, as far as they were looked at.

    Attributes:
        given: What it was made of, for another process to make the same.
        names: What stands for what.
        values: The careful way, a value at a time.
        counts: Values replaced, by table and place (`Struct.Field`).
    """

    def __init__(self, profile: Profile, key: bytes, seen: Seen) -> None:
        self.given = profile, key, seen
        self.names = Pseudonyms(hashlib.sha256(b"snapkit redact\0" + key).digest())
        if profile == "strict":
            self.names.key_id = self.names.member = self.named
        self.values = Values(profile, self.names, seen)
        self.counts: dict[str, dict[str, int]] = {}
        self._packed = Packed(self.values)
        self._handlers: dict[int, Callable[[Buffer], Buffer]] = {}

    def named(self, name: str) -> str:
        """What stands for a name."""
        return self.names.name(name.encode("utf-8", "replace")).decode()

    def redacted(self, byte: int, records: Iterable[Buffer]) -> bytes:
        """Records of one type of the schema as they stand in the new state: the type byte ahead of each.

        Raises:
            RecordError: One can't be decoded.
        """
        handle = self._handlers.get(byte)
        if handle is None:
            handle = self._handlers[byte] = self._handler(BY_BYTE[byte])
        return self.handled(byte, records, handle)

    def handled(self, byte: int, records: Iterable[Buffer], handle: Callable[[Buffer], Buffer]) -> bytes:
        """As `redacted()`, by a handler that takes a packed record and gives one."""
        self.values.counts = self.counts.setdefault(BY_BYTE[byte].table, defaultdict(int))
        ahead = byte.to_bytes()
        made: list[Buffer] = []
        try:
            for record in records:
                made += (ahead, handle(record))
        except RecordError as error:
            raise error.at(f"a record of type {type_name(byte)}") from error
        self._packed.settle()
        return b"".join(made)

    def _handler(self, kind: RecordType) -> Callable[[Buffer], Buffer]:
        return (self._packed.records if kind.table == "time_table" else self._packed.record)(kind.struct)
