"""Pieces: the Parquet files of a dataset, and how many small ones become one.

Each snapshot adds a file of members, and one of records of each table that it has something new of. Once there are
MERGED of a kind, they are made one of the next level, and so on: of n snapshots stay some MERGED times log(n) files of
each kind, and a record is written log(n) times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from snapkit.files import atomic
from snapkit.fleet.spans import Spans, united

MERGED = 16  # files of a kind that become one
LARGE = 64 << 20  # bytes: a file of this size is not merged any more
GROUP = 8 << 20  # bytes of records that are read at once, before they were compressed
ROWS = 1 << 16

_MEMBERS = pa.schema([("table", pa.string()), ("record_id", pa.int64()), ("first", pa.int64()), ("last", pa.int64())])
#: Ids and places that follow each other take next to nothing.
_ENCODINGS = dict.fromkeys(("record_id", "first", "last"), "DELTA_BINARY_PACKED")


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a dataset.

    Attributes:
        number: No other has, or ever had.
        cluster: As a folder's name.
        table: Whose records it has; "" if it has members.
        level: How often what is in it was merged.
        snapshots: The names that places of its members are of; () if it has records.
    """

    number: int
    cluster: str
    table: str
    level: int = 0
    snapshots: tuple[str, ...] = ()

    @staticmethod
    def of(found: Mapping[str, Any]) -> Piece:
        """As snapshots.json has it; raises what damage leads to."""
        cluster, table = str(found["cluster"]), str(found["table"])
        if "/" in cluster + table:
            raise ValueError(f"no part of a path: {cluster!r:.60}, {table!r:.60}")
        return Piece(int(found["number"]), cluster, table, int(found["level"]), tuple(map(str, found["snapshots"])))

    @property
    def path(self) -> Path:
        """In the folder of the dataset."""
        return self.folder / f"{self.number}.parquet"

    @property
    def folder(self) -> Path:
        """In the folder of the dataset."""
        cluster = f"cluster={self.cluster}"
        return Path("records", f"table={self.table}", cluster) if self.table else Path("members", cluster)

    # -- members

    def spans(self, base: Path, table: str, ids: Sequence[int] | None = None) -> Spans:
        """The members of a table, or of those some records, by places in `snapshots`."""
        wanted = pc.field("table") == table
        if ids is not None:
            wanted = wanted & pc.field("record_id").isin(ids)
        found = ds.dataset(str(base / self.path), schema=_MEMBERS, format="parquet")
        names = ["record_id", "first", "last"]
        batches = streamed(found, names, wanted)
        return _spans(pa.Table.from_batches(batches, pa.schema([_MEMBERS.field(name) for name in names])))

    def all_spans(self, base: Path) -> Iterator[tuple[str, Spans]]:
        """The members of each table; those of a large one in several parts."""
        with pq.ParquetFile(base / self.path) as file:
            for number in range(file.num_row_groups):
                found = file.read_row_group(number)
                yield found["table"][0].as_py(), _spans(found)

    def write_spans(self, base: Path, spans: Mapping[str, Spans]) -> None:
        """Write the file, of members by table: a row group a table, so that one is found without the others."""
        with (
            atomic(base / self.path, overwrite=True) as file,
            pq.ParquetWriter(
                file, _MEMBERS, compression="zstd", use_dictionary=["table"], column_encoding=_ENCODINGS
            ) as writer,
        ):
            for table, some in sorted((table, some) for table, some in spans.items() if len(some)):
                columns = [[table] * len(some), some.record, some.first, some.last]
                writer.write_table(pa.table(columns, schema=_MEMBERS), row_group_size=ROWS)

    # -- records

    def write_records(self, base: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Write the file, of records in row groups of so many bytes that one can be held."""
        waiting: list[pa.RecordBatch] = []
        with (
            atomic(base / self.path, overwrite=True) as file,
            pq.ParquetWriter(file, schema, compression="zstd") as writer,
        ):
            for batch in batches:
                waiting.append(batch)
                if sum(some.nbytes for some in waiting) >= GROUP or sum(some.num_rows for some in waiting) >= ROWS:
                    writer.write_table(pa.Table.from_batches(waiting, schema))
                    waiting.clear()
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting, schema))


def _spans(members: pa.Table) -> Spans:
    return Spans(*(members[name].to_numpy() for name in ("record_id", "first", "last")))


def due(base: Path, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Those that are to be merged, the oldest first."""
    kinds: dict[tuple[str, str, int], list[Piece]] = {}
    for piece in pieces:
        kinds.setdefault((piece.cluster, piece.table, piece.level), []).append(piece)
    for found in kinds.values():
        if len(found) >= MERGED:
            small = [piece for piece in found if (base / piece.path).stat().st_size < LARGE]
            for at in range(0, len(small) - MERGED + 1, MERGED):
                yield small[at : at + MERGED]


def merged(base: Path, pieces: Sequence[Piece], number: int, schema: pa.Schema | None) -> Piece:
    """One file of what is in several of a kind, which are left as they are.

    Args:
        base: The folder of the dataset.
        pieces: Of a kind.
        number: Its own.
        schema: Of the records; None of members.
    """
    first = pieces[0]
    names = tuple(dict.fromkeys(name for piece in pieces for name in piece.snapshots))
    piece = Piece(number, first.cluster, first.table, first.level + 1, names)
    if schema is not None:
        records = ds.dataset([str(base / some.path) for some in pieces], schema=schema, format="parquet")
        piece.write_records(base, schema, streamed(records))
        return piece
    place = {name: at for at, name in enumerate(names)}
    found: dict[str, list[Spans]] = {}
    for some in pieces:
        for table, spans in some.all_spans(base):
            found.setdefault(table, []).append(spans.moved([place[name] for name in some.snapshots]))
    piece.write_spans(base, {table: united(spans) for table, spans in found.items()})
    return piece


def streamed(
    found: ds.Dataset, columns: Sequence[str] | None = None, wanted: pc.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows of a dataset, piece by piece: of what is not asked for yet, no more is read than the next few pieces."""
    scanner = found.scanner(
        columns=list(columns) if columns is not None else None,
        filter=wanted,
        batch_size=ROWS,
        batch_readahead=1,
        fragment_readahead=1,
    )
    yield from scanner.to_batches()
