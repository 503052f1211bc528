"""state.bin: where each record starts and ends.

A state.bin is one msgpack map (the header, empty today), then until the end one type byte and one msgpack value for
each record, with no lengths or checksums in between (Nomad: nomad/fsm.go, Persist and restoreImpl).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import msgpack

from snapkit.errors import LimitError, RecordError
from snapkit.format.schema import type_name

MAX_RECORD = 256 << 20  # bytes; Nomad's largest records are some megabytes
MAX_RECORDS = 10_000_000  # the index has 9 bytes of each; a state of 24 GB has as many
STEP = 1 << 20  # bytes that msgpack is fed at once


@dataclass(slots=True)
class Tally:
    """How many records of one type there are, and their bytes as Nomad's inspect counts them (type byte included)."""

    count: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Index:
    """Where the records are, in the order of the stream.

    Attributes:
        types: The type byte of each record.
        starts: The offset of each record's type byte in state.bin.
        end: The length of state.bin.
    """

    types: bytearray = field(default_factory=bytearray)
    starts: array[int] = field(default_factory=lambda: array("Q"))
    end: int = 0

    def __len__(self) -> int:
        return len(self.types)

    def value(self, record: int) -> slice:
        """Where the msgpack value of a record stands in state.bin."""
        following = record + 1
        return slice(self.starts[record] + 1, self.starts[following] if following < len(self.starts) else self.end)

    def values(self) -> Iterator[slice]:
        """Where the msgpack value of each record stands in state.bin, in order."""
        for start, following in pairwise([*self.starts, self.end]):
            yield slice(start + 1, following)

    def values_of_type(self, byte: int) -> Iterator[slice]:
        """Where the msgpack values of the records of one type stand in state.bin, in order."""
        find, starts, last = self.types.find, self.starts, len(self.starts) - 1
        record = find(byte)
        while record != -1:
            yield slice(starts[record] + 1, starts[record + 1] if record < last else self.end)
            record = find(byte, record + 1)

    def of_type(self, byte: int) -> Iterator[int]:
        """The numbers of the records of one type, in order."""
        record = self.types.find(byte)
        while record != -1:
            yield record
            record = self.types.find(byte, record + 1)


class Framer:
    """Takes a state.bin in pieces and finds its records.

    Attributes:
        tallies: Count and bytes by type byte, in order of appearance.
        index: Where each record is; None if it was not asked for.
    """

    def __init__(self, index: bool = True, max_record: int = MAX_RECORD, max_records: int = MAX_RECORDS) -> None:
        self.tallies: dict[int, Tally] = {}
        self.index = Index() if index else None
        self._max_record = max_record
        self._max_records = max_records
        self._unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=max_record + STEP)
        self._fed = 0
        self._begun = False  # has the header's first byte been seen
        self._header_read = False
        self._records = 0
        self._type = -1  # of the record being read; -1 between two
        self._start = 0  # of that record; the header's byte counts with the first

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            RecordError: They can't be msgpack, or the stream does not begin with a header.
            LimitError: A record is longer than `max_record`, or there are more than `max_records`.
        """
        view = memoryview(chunk)
        if not self._begun and view:
            self._begun = True
            if not (0x80 <= view[0] <= 0x8F or view[0] in (0xDE, 0xDF)):
                raise RecordError("is not a map, so this is no state of Nomad's", self._place(), check="state.header")
        for i in range(0, len(view), STEP):
            piece = view[i : i + STEP]
            self._fed += len(piece)
            try:
                self._unpacker.feed(piece)
                self._read_records()
            except msgpack.OutOfData:
                self._check_length(self._fed)
            except ValueError as error:
                deep = isinstance(error, msgpack.StackError)
                reason = "nested too deep" if deep else "not msgpack"
                raise RecordError(
                    f"can't be read ({reason} at byte {self._unpacker.tell():,})",
                    self._place(),
                    "the state is damaged from here on or before: fetch or restore an earlier copy",
                    "state.depth" if deep else self._check(),
                ) from error

    def _read_records(self) -> None:
        """Read all that is there; ends with msgpack.OutOfData."""
        unpacker = self._unpacker
        skip, tell, read_bytes = unpacker.skip, unpacker.tell, unpacker.read_bytes
        tallies = self.tallies
        if not self._header_read:
            skip()
            self._header_read = True
        while True:
            if self._type < 0:
                start = tell()
                byte = read_bytes(1)
                if not byte:
                    return
                self._type, self._start = byte[0], start
            skip()
            end = tell()
            kind = self._type
            tally = tallies.get(kind)
            if tally is None:
                tally = tallies[kind] = Tally()
            if end - self._start > self._max_record:
                self._check_length(end)
            tally.count += 1
            tally.bytes += end - (self._start if self._records else 0)
            if self.index is not None:
                self.index.types.append(kind)
                self.index.starts.append(self._start)
            self._records += 1
            self._type = -1
            if self._records > self._max_records:
                what = f"is one of more than {self._max_records:,} records"
                raise LimitError(what, self._place(), "raise Limits.records if it is genuine")

    def _check_length(self, end: int) -> None:
        if end - self._start > self._max_record:
            raise LimitError(
                f"is longer than {self._max_record:,} bytes", self._place(), "raise Limits.record if it is genuine"
            )

    def close(self) -> None:
        """Say that the stream is at its end.

        Raises:
            RecordError: It ended inside the header or inside a record.
        """
        end = self._unpacker.tell()
        if not self._header_read or self._type >= 0:
            raise RecordError(
                "the state ends inside it",
                self._place(),
                "the state was cut short: fetch or restore an earlier copy",
                self._check(),
            )
        if self.index is not None:
            self.index.end = end

    def _check(self) -> str:
        return "state.framing" if self._header_read else "state.header"

    def _place(self) -> str:
        if not self._header_read:
            return "state.bin header, byte 0"
        if self._type < 0:
            return f"state.bin byte {self._unpacker.tell():,}"
        return f"state.bin record {self._records + 1:,} ({type_name(self._type)}), byte {self._start:,}"
