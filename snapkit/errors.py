"""What can go wrong with input, each as one sentence that says what, where and what to do next."""

from __future__ import annotations

import copy


class SnapshotError(Exception):
    """The root of all errors that input can cause.

    Attributes:
        what: What is wrong, in one clause.
        where: The place: a file, a member of the archive, an offset, a record. Empty if there is none.
        advice: What to do next. Empty if nothing can be said.
    """

    def __init__(self, what: str, where: str = "", advice: str = "") -> None:
        super().__init__(what, where, advice)  # what copy and pickle make another one from
        self.what = what
        self.where = where
        self.advice = advice

    def __str__(self) -> str:
        sentence = f"{self.where}: {self.what}" if self.where else self.what
        return f"{sentence}; {self.advice}" if self.advice else sentence

    def at(self, source: str) -> SnapshotError:
        """The same error, with the source that it was found in ahead of its place."""
        located = copy.copy(self)
        located.where = f"{source}: {self.where}" if self.where else source
        return located


class SourceError(SnapshotError):
    """There is nothing to read: no such file, no permission, no snapshot in the directory."""


class ArchiveError(SnapshotError):
    """The container is damaged: gzip, tar, meta.json or a checksum.

    Attributes:
        nomad: What a server says when it is asked to restore it, after `failed to restore from snapshot:`.
        check: The id of verify's check that finds it.
    """

    def __init__(self, what: str, where: str = "", advice: str = "", nomad: str = "", check: str = "") -> None:
        super().__init__(what, where, advice)
        self.nomad = nomad or what
        self.check = check or "archive.damaged"


class RecordError(SnapshotError):
    """state.bin, or a record in it, can't be read.

    Attributes:
        check: The id of verify's check that finds it as state.bin is framed.
    """

    def __init__(self, what: str, where: str = "", advice: str = "", check: str = "") -> None:
        super().__init__(what, where, advice)
        self.check = check or "state.framing"


class LimitError(SnapshotError):
    """The input asks for more than a limit allows."""


class NotInSnapshotError(SnapshotError, KeyError):
    """The snapshot has no such table, column or record."""

    __str__ = SnapshotError.__str__  # KeyError would print the repr


class AmbiguousError(SnapshotError):
    """An id in short is how several begin."""


class TargetExistsError(SnapshotError):
    """The file to write is there already."""
