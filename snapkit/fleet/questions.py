"""What a catalog answers from the records of its archives: SQL, tables, histories, growth, anomalies."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from snapkit.errors import SnapshotError, SourceError
from snapkit.fleet.frames import times
from snapkit.page import plain
from snapkit.progress import long_work

if TYPE_CHECKING:
    from snapkit.fleet.dataset import Archive, Dataset
    from snapkit.fleet.entries import Entry
    from snapkit.fleet.history import History, Measure
    from snapkit.fleet.places import Access, Place
    from snapkit.fleet.running import Runner
    from snapkit.format.archive import Progress

FOLDER = "dataset"  # of a store


class LeftOutWarning(UserWarning):
    """An answer is not about all archives.

    Attributes:
        reasons: Of each that is left out, why.
    """

    def __init__(self, reasons: Sequence[str], of: int) -> None:
        self.reasons = tuple(reasons)
        told = plain("; ".join(self.reasons[:3]))
        super().__init__(f"{len(self.reasons):,} of {of:,} archives are left out, as extract() tells: {told}")


class Questions(ABC):
    """The part of a Catalog that needs the records of archives: what is asked for is extracted first, and kept.

    Records are kept in the folder `dataset` of the store (without a store: in a temporary folder, as long as the
    catalog lives), each distinct record once and with its secrets masked; an archive is read again only for a table
    that was not extracted from it. Archives that can't be read are left out: a LeftOutWarning says so, and
    `extract()` tells which. Questions are about the archives that the catalog lists now; what was extracted of others
    stays in the store and is not asked.
    """

    store: Path | None
    _access: Access
    _runner: Runner
    _places: dict[str, Place]
    _progress: Progress | None
    _dataset: Dataset | None = None

    @abstractmethod
    def entries(self) -> list[Entry]:
        """What is known of each archive."""

    @property
    @abstractmethod
    def tables(self) -> pd.DataFrame:
        """What is in them."""

    # -- extraction

    @property
    def dataset(self) -> Dataset:
        """The records that were extracted."""
        from snapkit.fleet.dataset import Dataset

        if self._dataset is None:
            folder = self.store
            if folder is None:
                folder = Path(tempfile.mkdtemp(prefix="snapkit-"))
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            self._dataset = Dataset(folder / FOLDER, self._access.key.value)
        return self._dataset

    def _whole(self) -> list[Archive]:
        """The archives that have records, by cluster and time."""
        from snapkit.fleet.dataset import Archive, in_order

        found = []
        for entry in self.entries():
            if entry.level == "meta" and entry.verdict != "error":
                advice = "make the catalog with level='counts' or 'verify'"
                raise SnapshotError("knows no more than metadata", "the catalog", advice)
            if entry.tables and entry.verdict != "unread":
                created: Any = times([entry.created])[0]
                place, taken = self._places[entry.location], None if created is pd.NaT else created
                found.append(Archive(place, entry.cluster_id, taken, entry.index, entry.sha256))
        return in_order(found)

    def _extracted(self, *tables: str) -> list[Archive]:
        """The archives, with these tables extracted."""
        archives = self._whole()
        self._warn(self._told(archives, self._extract(archives, tables)), 4)
        return archives

    def _warn(self, told: pd.DataFrame, level: int) -> None:
        """Of what is left out, where the question was asked: so many calls from here."""
        reasons = told.loc[told["Status"] == "left out", "Message"].tolist()
        if reasons:
            warnings.warn(LeftOutWarning(reasons, len(told)), stacklevel=level)

    def _told(self, archives: Sequence[Archive], extracted: pd.DataFrame) -> pd.DataFrame:
        """What was extracted, and the archives of which nothing could be."""
        told = {archive.place.source for archive in archives}
        known = {entry.sha256 for entry in self.entries() if entry.source in told}
        rows = [
            (entry.source, "left out", None, None, entry.error)
            for entry in self.entries()
            if entry.source not in told and (not entry.sha256 or entry.sha256 not in known)
        ]
        if not rows:
            return extracted
        others = pd.DataFrame(rows, columns=list(extracted.columns)).astype(extracted.dtypes.to_dict())
        return pd.concat([extracted, others], ignore_index=True)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Says so where files of the dataset are damaged or gone."""
        from pyarrow import ArrowException

        try:
            yield
        except (ArrowException, FileNotFoundError) as error:
            what = f"can't be read ({' '.join(str(error).split()):.300})"
            advice = "delete the folder to begin anew: archives are read again"
            raise SourceError(what, str(self.dataset.folder), advice) from error

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """The dataset as of now, whose files stay there while it is asked."""
        with self._readable(), self.dataset.asked():
            yield

    @long_work("Extracting records")
    def _extract(
        self, archives: Sequence[Archive], tables: Sequence[str], *, progress: Progress | None = None
    ) -> pd.DataFrame:
        with self._readable():
            return self.dataset.extract(archives, self._runner, tables, progress or self._progress)

    def extract(self, tables: Sequence[str] | None = None, *, progress: Progress | None = None) -> pd.DataFrame:
        """Extract tables of all archives, so that later questions are answered at once.

        Args:
            tables: Which; by default all but the Index table, and those of types that are not known.
            progress: Called with the bytes of the archives read so far and in all.

        Returns:
            Source (str), Status (str; extracted, there already, left out), Records (Int64; of these tables), New
            (Int64; records that no archive before had), Message (str; why it was left out), by cluster and time.

        Raises:
            NotInSnapshotError: There is no such table.
            SnapshotError: The catalog knows no more than metadata, or another process writes to the store.
        """
        from snapkit.fleet.dataset import DEFAULT

        archives = self._whole()
        names = list(DEFAULT if tables is None else dict.fromkeys(tables))
        return self._told(archives, self._extract(archives, names, progress=progress))

    # -- questions

    def sql(self, query: str) -> pd.DataFrame:
        """The answer of DuckDB to one SELECT over all archives; the tables that it is about are extracted first.

        There is a view for each table, with a row for each record of each snapshot: Snapshot (the archive's source),
        ClusterID, Created, Index, Nomad's fields (nested ones are JSON text: `Job->>'$.Name'`), Other (fields that this
        snapkit does not know, as JSON text), record_id (equal for equal records) and record_bytes. The view `snapshots`
        has the first four alone. Nothing else can be read, and nothing written.

        Raises:
            SnapshotError: It is no SELECT, or DuckDB can't answer it.
        """
        from snapkit.fleet.views import sql, tables_in

        archives = self._extracted(*tables_in(query))
        with self._asked():
            return sql(self.dataset, query, archives)

    def table(self, table: str) -> pd.DataFrame:
        """All records of a table in all archives, as the view of `sql()`, by cluster and time.

        Raises:
            NotInSnapshotError: There is no such table.
        """
        from snapkit.fleet.views import table as whole_table

        archives = self._extracted(table)
        with self._asked():
            return whole_table(self.dataset, table, archives)

    def find(self, table: str, *key: Any) -> tuple[Any, ...]:
        """The whole key of the object that is meant, where ids of UUID form may be in short; else what was given.

        Args:
            table: The table's name.
            key: The object's key fields, one by one or as one tuple.

        Raises:
            NotInSnapshotError: There is no such table.
            AmbiguousError: There are several.
        """
        from snapkit.state.snapshot.ids import may_be_short, whole

        given = _key(key)
        if not any(may_be_short(str(part)) for part in given):  # or all keys would be read for nothing
            return given
        self._extracted(table)
        with self._asked():
            keys = (tuple(map(str, each)) for each in self.dataset.keys(table))
            return whole(tuple(map(str, given)), keys, f"table {table}")

    def history(self, table: str, *key: Any, noise: bool = False) -> History:
        """Every state that an object had, while it was gone too: from which snapshot to which, and what changed.

        What changes without anybody's doing makes no state of its own, as with `compare()`: indexes and times alone,
        heartbeats, copies of jobs, entries of maps in another order.

        Args:
            table: The table's name.
            key: The object's key fields, one by one or as one tuple.
            noise: Show also what nobody did.

        Raises:
            NotInSnapshotError: There is no such table, or no archive has such an object.
        """
        from snapkit.fleet.history import history

        archives = self._extracted(table)
        with self._asked():
            return history(self.dataset, archives, table, _key(key), noise=noise)

    def when(self, table: str, *key_and_condition: Any) -> pd.DataFrame:
        """Since when and until when an object met a condition.

        As in `catalog.when("acl_policies", "anonymous", "Rules ~ 'write'")`.

        Args:
            table: The table's name.
            key_and_condition: The object's key fields, and last the condition, as `snapkit.fleet.conditions` has it.

        Returns:
            ClusterID (str), After (datetime64[ns, UTC]; when the last snapshot was taken in which it did not hold
            yet: it began between then and Since; NaT if it held from the first), Since, Until (when the first and last
            snapshot were taken in which it held), Before (when the next was taken, in which it did not; NaT if it
            still holds), SinceIndex, UntilIndex (UInt64), Snapshots (Int64; in which it held), SinceSnapshot,
            UntilSnapshot (str).

        Raises:
            NotInSnapshotError: There is no such table, or no archive has such an object.
            ConditionError: The condition can't be understood.
        """
        from snapkit.fleet.conditions import condition
        from snapkit.fleet.history import when

        if not key_and_condition:
            raise SnapshotError("is missing", "the condition", "give one such as \"Rules ~ 'write'\"")
        *key, text = key_and_condition
        condition(str(text))  # so that a wrong one fails before archives are read
        archives = self._extracted(table)
        with self._asked():
            return when(self.dataset, archives, table, _key(key), str(text))

    def growth(
        self,
        by: Literal["table", "job"] = "table",
        *,
        measure: Measure = "Bytes",
        cluster: str | None = None,
        top: int | None = None,
    ) -> pd.DataFrame:
        """How tables or jobs grew, for `snapkit.jupyter.growth_chart()`.

        Args:
            by: `table`, or `job`: all records that are a job's (its versions, evaluations, allocations and so on).
            measure: `Bytes` in state.bin, or `Count` of records.
            cluster: A ClusterID or how it begins; needed where there are several.
            top: How many columns; by default all.

        Returns:
            Index Created (datetime64[ns, UTC]); a column (int64) for each table or job (`namespace/id`), the largest at
            the end first.

        Raises:
            SnapshotError: There are several clusters and none is named, or there is no such cluster.
        """
        from snapkit.fleet.history import OF_JOBS, growth_by_job, growth_by_table, one_cluster

        if by not in ("table", "job") or measure not in ("Bytes", "Count"):
            raise SnapshotError(f"can't be {by!r:.40} and {measure!r:.40}", "growth", "by table or job, Bytes or Count")
        everything = self._whole()
        archives = one_cluster(everything, cluster)
        self._warn(self._told(everything, self._extract(archives, [] if by == "table" else list(OF_JOBS))), 3)
        if by == "table":
            return growth_by_table(self.tables, archives, measure).iloc[:, :top]
        with self._asked():
            return growth_by_job(self.dataset, [a for a in archives if self.dataset.has(a, "jobs")], measure, top)

    def anomalies(self) -> pd.DataFrame:
        """What is worth a look: rules of thumb, none of them a verdict.

        Returns:
            ClusterID (str), Kind (str; `jump`: a table is suddenly much larger or smaller, `grows`: it never shrinks,
            `acl-deletion`: of a token that did not expire, a policy, role, auth method or binding rule, `index-back`:
            Raft's index is lower than before), Table (str), Key (object; a tuple), Created (datetime64[ns, UTC]),
            Snapshot (str; the source of the one that shows it), Message (str), by cluster and time.
        """
        from snapkit.fleet.anomalies import ACL_TABLES, anomalies

        archives = self._extracted(*ACL_TABLES)
        with self._asked():
            return anomalies(self.dataset, archives, self.tables)


def _key(key: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(key[0]) if len(key) == 1 and isinstance(key[0], tuple) else tuple(key)
