"""Where archives are: files and what is in object storage, listed, opened, and never shown with credentials."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from snapkit.errors import SnapshotError, SourceError
from snapkit.fleet.running import Hidden
from snapkit.format import archive
from snapkit.format.age import Identity
from snapkit.format.archive import DEFAULT_LIMITS, Limits
from snapkit.page import plain

if TYPE_CHECKING:
    from snapkit.state.snapshot import Snapshot

BLOCK = 8 << 20  # bytes that are fetched at once from object storage
SUFFIX = "*.snap"  # what is taken of a folder


@dataclass(frozen=True, slots=True)
class Access:
    """What opens archives: it goes to the workers, and is shown nowhere.

    Attributes:
        key: Of the fingerprints that stand for secrets.
        identity: What opens an encrypted archive.
        storage_options: Of the file system.
        limits: Bounds against hostile input.
    """

    key: Hidden[bytes]
    identity: Hidden[Identity | None]
    storage_options: Hidden[Mapping[str, Any]]
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class Place:
    """One archive, as it was listed; to be had from any process that reaches its storage.

    Attributes:
        source: As it is shown: without what may hold credentials.
        location: What tells it from all others: as `source`, a file's path in full.
        address: What it is opened by.
        access: What opens it.
        size: In bytes; None if unknown.
        modified: When, in nanoseconds since 1970; None if unknown.
        etag: Object storage's tag of its content; "" if it has none.
    """

    source: str
    location: str
    address: Hidden[str]
    access: Access
    size: int | None = None
    modified: int | None = None
    etag: str = ""

    @property
    def name(self) -> str:
        """Its file name."""
        return self.source.rpartition("/")[2]

    @property
    def remote(self) -> bool:
        return "://" in self.address.value

    @contextmanager
    def stream(self, block: int = BLOCK) -> Iterator[IO[bytes]]:
        """Its bytes, of which at most `block` are fetched ahead.

        Raises:
            SourceError: It can't be opened; also from what reads it.
        """
        with ExitStack() as stack:
            with self.told("opened"):
                if self.remote:
                    system, path = _file_system(self.address.value, self.access)
                    opened = system.open(path, "rb", block_size=block, cache_type="readahead", size=self.size)
                else:
                    _require_regular(self.address.value)
                    opened = archive.opened(self.address.value)
                stream = stack.enter_context(opened)
            yield _Told(stream, self)  # type: ignore[misc] # read() is all that is asked of it

    def open(self) -> Snapshot:
        """As `snapkit.open()`: its secrets are masked by the catalog's key.

        Raises:
            SnapshotError: It can't be read, or is damaged.
        """
        from snapkit.state.snapshot import open_snapshot

        access = self.access
        with self.stream() as stream:
            try:
                return open_snapshot(stream, key=access.key.value, limits=access.limits, identity=access.identity.value)
            except SnapshotError as error:
                where = error.where.removeprefix(archive.describe(stream)).removeprefix(": ")
                error.where = f"{self.source}: {where}" if where else self.source
                raise

    def remove(self) -> None:
        """Delete it, if it is still what was listed.

        Raises:
            SourceError: It can't be deleted.
            SnapshotError: It is another than was listed.
        """
        with self.told("removed"):
            if self.remote:
                system, path = _file_system(self.address.value, self.access)
                system.invalidate_cache()
                now = _of_remote(self.address.value, system.info(path), self.access)
            else:
                now = _of_file(self.address.value, self.access)
            if (now.size, now.modified, now.etag) != (self.size, self.modified, self.etag):
                what, advice = "was changed since it was looked at, and is not removed", "look at it again"
                raise SnapshotError(what, self.source, advice)
            if self.remote:
                system.rm_file(path)
            else:
                Path(self.address.value).unlink()

    @contextmanager
    def told(self, done: str) -> Iterator[None]:
        """Turns whatever a file system raises into a SourceError that shows no credentials."""
        try:
            yield
        except SnapshotError:
            raise
        except Exception as error:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            reason = without_credentials(str(words), self.access, self.address.value)
            advice = "check the address and your credentials" if self.remote else "check the path and its mode"
            # Not `from error`: what it holds is not to be seen in a traceback either.
            raise SourceError(f"can't be {done} ({reason})", self.source, advice) from None


class _Told:
    def __init__(self, stream: IO[bytes], place: Place) -> None:
        self._stream = stream
        self._place = place
        self.name = place.source

    def read(self, size: int = -1) -> bytes:
        with self._place.told("read"):
            return self._stream.read(size)


def without_credentials(text: str, access: Access, *addresses: str) -> str:
    """A message in one line, without what storage options, addresses or the environment's variables hold."""
    for address in addresses:
        text = text.replace(address, archive.describe(address))
    secrets = _credentials(access)
    for address in addresses:  # also by itself, where a message has no more than a bucket's name
        path, _, query = address.partition("://")[2].partition("?")
        user = path.rpartition("@")[0]
        secrets |= {user, user.partition(":")[2], query} - {""}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    text = re.sub(r"(?<=://)[^/\s@]*@", "", text)
    text = re.sub(r"(\w://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text)
    return plain(text)[:500]


_TELLING = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL|CONNECTION_STRING|SAS", re.IGNORECASE)


def _credentials(access: Access) -> set[str]:
    """What may be a secret of storage: all texts of its options, and variables whose names say so."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                if not isinstance(inner, str) or name not in ("endpoint_url", "region_name"):
                    yield from texts(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                yield from texts(inner)
        elif isinstance(value, str):
            yield value

    named = {value for name, value in os.environ.items() if _TELLING.search(name)}
    return {value for value in [*texts(access.storage_options.value), *named] if len(value) > 3}


def _file_system(address: str, access: Access) -> tuple[Any, str]:
    import fsspec  # a tenth of a second that local files need not wait for

    system, path = fsspec.url_to_fs(address, **access.storage_options.value)
    return system, path


def listed(sources: str | Sequence[str], access: Access) -> list[Place]:
    """The archives that are there, each once, in the order of the sources; those of a pattern by name.

    Args:
        sources: Paths, patterns such as `backups/*.snap`, folders (of which `*.snap` is taken), and fsspec URLs of
            all these.
        access: What opens them.

    Raises:
        SourceError: A source is not there, matches nothing or can't be listed.
        SnapshotError: No source is given, or two differ only in what may not be shown.
    """
    sources = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if not all(sources) or not sources:
        raise SnapshotError("is missing", "sources", "name archives, such as 'backups/*.snap'")
    places: dict[str, Place] = {}
    for source in map(os.fspath, sources):
        source = source.removeprefix("file://")
        for place in _remote(source, access) if "://" in source else _local(source, access):
            other = places.setdefault(place.location, place)
            if other.address.value != place.address.value and place.remote:
                advice = "catalog one of them"
                raise SnapshotError("two addresses differ only in user or query", place.source, advice)
    return list(places.values())


def _local(source: str, access: Access) -> Iterator[Place]:
    pattern = str(Path(glob.escape(source)) / SUFFIX) if os.path.isdir(source) else source  # noqa: PTH112
    if pattern != source:
        try:
            os.scandir(source).close()  # a pattern says nothing of a folder that can't be read
        except OSError as error:
            what, advice = f"can't be listed ({error.strerror})", "check the path and its mode"
            raise SourceError(what, shown(source), advice) from error
    if os.path.lexists(pattern) or not glob.has_magic(pattern):
        found = [pattern]
    else:
        found = [path for path in sorted(glob.glob(pattern, recursive=True)) if not Path(path).is_dir()]  # noqa: PTH207
    if not found:
        raise SourceError("matches no file", shown(pattern), "check the pattern")
    for path in found:
        try:
            yield _of_file(path, access)
        except (OSError, ValueError) as error:
            if path != pattern:  # one of many, as a link to nothing: it is for whoever reads it to say so
                yield Place(shown(path), _location(path), Hidden(path), access)
                continue
            reason = getattr(error, "strerror", None) or error
            raise SourceError(f"can't be read ({reason})", shown(path), "check the path and its mode") from error


def _require_regular(path: str) -> None:
    """Raise OSError for what would be waited for, or never end: a pipe, a socket, a device."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def _location(path: str) -> str:
    return shown(os.path.abspath(path))  # noqa: PTH100 - links are left as they are


def other_names(places: Iterable[Place]) -> frozenset[str]:
    """The locations by which a local file is listed once more, as through a link, beside its own."""
    by_file: dict[str, list[str]] = {}
    for place in places:
        if not place.remote:
            by_file.setdefault(shown(os.path.realpath(place.address.value)), []).append(place.location)
    own = {file if file in names else names[0] for file, names in by_file.items()}
    return frozenset(name for names in by_file.values() for name in names if name not in own)


def _of_file(path: str, access: Access) -> Place:
    about = Path(path).stat()
    return Place(shown(path), _location(path), Hidden(path), access, about.st_size, about.st_mtime_ns)


def shown(path: str) -> str:
    """A path as text that can be written anywhere: bytes that are no UTF-8 as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _remote(source: str, access: Access) -> Iterator[Place]:
    whole = Place(archive.describe(source), "", Hidden(source), access)
    with whole.told("listed"):
        system, path = _file_system(source, access)
        system.invalidate_cache()
        if _is_pattern(path):
            found: Iterable[Mapping[str, Any]] = system.glob(path, detail=True).values()
        else:
            about = system.info(path)
            folder = about.get("type") == "directory"
            found = system.glob(f"{path.rstrip('/')}/{SUFFIX}", detail=True).values() if folder else [about]
        files = sorted((about for about in found if about.get("type") != "directory"), key=lambda about: about["name"])
        if not files:
            system.ls(re.split(r"[*\[]", path)[0].rpartition("/")[0])  # says why, where a pattern only matches nothing
    if not files:
        raise SourceError("matches nothing", whole.source, "check the pattern")
    for about in files:
        address = source if len(files) == 1 and not _is_pattern(path) else system.unstrip_protocol(about["name"])
        yield _of_remote(address, about, access)


def _of_remote(address: str, about: Mapping[str, Any], access: Access) -> Place:
    size, etag = about.get("size"), about.get("ETag") or about.get("etag") or about.get("md5Hash") or ""
    return Place(
        archive.describe(address),
        archive.describe(address),
        Hidden(address),
        access,
        int(size) if size is not None else None,
        _modified(about),
        str(etag).strip('"'),
    )


def _is_pattern(path: str) -> bool:
    return "*" in path or "[" in path  # a question mark begins the query


def _modified(about: Mapping[str, Any]) -> int | None:
    """When, in nanoseconds since 1970, in whatever form a file system says it."""
    import pandas as pd

    for name in ("LastModified", "last_modified", "updated", "mtime"):
        if (value := about.get(name)) is not None:
            moment = (
                pd.to_datetime(value, unit="s", utc=True) if isinstance(value, int | float) else pd.Timestamp(value)
            )
            return int(moment.tz_localize("UTC").value if moment.tz is None else moment.value)
    return None
