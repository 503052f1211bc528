"""fleet: many archives at once, on this machine or on a Dask cluster."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from snapkit.cli.app import App, app
from snapkit.cli.inputs import Identity, Json, Limit, Overwrite, Target, moment_of, progress_bar, require_free
from snapkit.cli.output import one_line, print_json, print_text, show_frame
from snapkit.errors import SnapshotError

if TYPE_CHECKING:
    import pandas as pd

    from snapkit.fleet.catalog import Catalog
    from snapkit.fleet.entries import Level

fleet = App(
    name="fleet",
    help="Many archives: what there is, whether it is whole, what became of an object. See docs/fleet.md.",
    no_args_is_help=True,
)
app.add_typer(fleet)

SOURCES = "Archives: paths, quoted patterns such as 'backups/*.snap', folders, or fsspec URLs of these (s3://…/*.snap)."
Sources = Annotated[list[str], typer.Argument(help=SOURCES, metavar="SOURCES")]


@dataclass(frozen=True)
class Reading:
    """What every command is given that reads many archives: where what is known is kept, who reads, what opens them."""

    store: Annotated[
        Path | None,
        typer.Option(
            "--store", help="Keep what is known here: what has not changed is not read again.", metavar="FOLDER"
        ),
    ] = None
    workers: Annotated[
        int, typer.Option("--workers", help="Processes of this machine that do the reading.", min=1, metavar="NUMBER")
    ] = 1
    dask: Annotated[
        str | None, typer.Option("--dask", help="Let a Dask cluster do it: its address.", metavar="tcp://HOST:PORT")
    ] = None
    identity: Identity = None

    def catalog(
        self, sources: list[str], level: Level = "counts", *, target: str | None = None, again: bool = False
    ) -> Catalog:
        """A catalog that has been read."""
        from snapkit.fleet.catalog import Catalog

        where: dict[str, Any] = {"store": self.store, "client": self.dask, "workers": self.workers}
        catalog = Catalog(sources, level=level, target=target, identity=self.identity, **where)
        with progress_bar("Reading archives") as progress:
            catalog.refresh(again=again, progress=progress)
        return catalog


def reads_archives(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Reading`, which is its argument `reading`; what it leaves out is told."""
    own = inspect.signature(command, eval_str=True)
    kinds = get_type_hints(Reading, include_extras=True)
    options = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=kinds[f.name])
        for f in fields(Reading)
    ]

    @wraps(command)
    def called(**given: Any) -> None:
        reading = Reading(**{option.name: given.pop(option.name) for option in options})
        with _told():
            command(**given, reading=reading)

    parameters = [
        parameter
        for one in own.parameters.values()
        for parameter in (options if one.name == "reading" else [one.replace(kind=inspect.Parameter.KEYWORD_ONLY)])
    ]
    called.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return called


@contextmanager
def _told() -> Iterator[None]:
    """What the library warns of, that an answer leaves archives out, is a note for each of them."""
    from snapkit.fleet.questions import LeftOutWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", LeftOutWarning)
        others = warnings.showwarning

        def tell(message: Warning | str, *about: Any, **more: Any) -> None:
            if not isinstance(message, LeftOutWarning):
                others(message, *about, **more)
                return
            for reason in message.reasons:
                print(f"snapkit: note: left out: {one_line(reason)}", file=sys.stderr)

        warnings.showwarning = tell
        yield


def end(catalog: Catalog, status: int = 0) -> None:
    """Say on stderr which archives could not be looked at, and exit with 2 where there are some."""
    unread = [entry for entry in catalog.entries() if entry.verdict == "unread"]
    for entry in unread:
        print(f"snapkit: {one_line(entry.error)}", file=sys.stderr)
    if status := 2 if unread else status:
        raise typer.Exit(status)


@fleet.command(
    "list",
    examples=[
        "fleet list 'backups/*.snap'",
        "fleet list s3://backups/nomad/*.snap --level meta",
        "fleet list backups --show newest-good --store ~/.cache/fleet",
    ],
)
@reads_archives
def list_(
    sources: Sources,
    show: Annotated[
        Literal["archives", "tables", "findings", "clusters", "gaps", "mixed", "went-back", "newest-good"],
        typer.Option(help="What of it. newest-good: which to restore; went-back: where a restore lies between."),
    ] = "archives",
    level: Annotated[
        Literal["meta", "counts", "verify"],
        typer.Option(help="meta: the first bytes of each alone; counts: records by table; verify: all checks."),
    ] = "counts",
    expected: Annotated[
        str | None, typer.Option(help="Of gaps: how often an archive is taken, such as 1h. Default: the median.")
    ] = None,
    *,
    reading: Reading,
    limit: Limit = None,
    json_: Json = False,
) -> None:
    """What archives there are, a row each, and what the series of them tells. A damaged one is a row with its error."""
    if expected is not None and show != "gaps":
        raise SnapshotError("needs --show gaps", "--expected", "add it")
    needed: Level = "verify" if show in ("newest-good", "findings") else level
    catalog = reading.catalog(sources, needed)
    found = getattr(catalog, show.replace("-", "_"))
    frame = catalog.gaps(expected) if show == "gaps" else found() if callable(found) else found
    if show == "archives" and not json_:
        frame = frame[_shown(frame)]
    show_frame(frame, json_, limit)
    end(catalog)


def _shown(frame: pd.DataFrame) -> list[str]:
    """The columns that a person wants first."""
    first = ["Created", "Verdict", "Error", "ClusterID", "Index", "Version", "Size", "StateBytes", "Findings"]
    some = {"Error": frame["Error"].ne("").any(), "Outdated": frame["Outdated"].any()}
    return [name for name in [*first, "Outdated"] if some.get(name, True)]


@fleet.command(
    examples=[
        "fleet check 'backups/*.snap' --store fleet --max-age 26h",
        "fleet check backups --store fleet --keep hourly=24,daily=14,monthly=12 --prune",
    ]
)
@reads_archives
def check(
    sources: Sources,
    keep: Annotated[
        str | None,
        typer.Option(
            help="A retention rule: what it does not keep would go. The newest of each hour, day, week, month, year.",
            metavar="hourly=24,daily=14,monthly=12",
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what --keep does not keep, and not only say so.")
    ] = False,
    max_age: Annotated[
        str | None,
        typer.Option("--max-age", help="Fail if a cluster's newest good archive is older.", metavar="26h"),
    ] = None,
    target: Target = None,
    fail_on: Annotated[
        Literal["error", "warning", "note"], typer.Option(help="What makes the exit status 1.")
    ] = "error",
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Judge by what is new alone, and not by all that is there.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Read all of them again: a disk may have changed.")] = False,
    metrics: Annotated[
        Path | None, typer.Option(help="Write metrics in Prometheus' text format.", metavar="FILE.prom")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.", metavar="FILE.xml")] = None,
    overwrite: Overwrite = False,
    now: Annotated[str | None, typer.Option(help="When it is, for --keep and --max-age.", metavar="TIME|now")] = None,
    *,
    reading: Reading,
    json_: Json = False,
) -> None:
    """Verify what is new, say what is missing, and remove what a retention rule does not keep: for cron and CI.

    Exit status: 0 nothing found; 1 an archive has a finding at or above --fail-on, or a newest good one is too old;
    2 something could not be done.
    """
    from snapkit.files import atomic
    from snapkit.fleet.catalog import duration
    from snapkit.fleet.check import check as check_catalog
    from snapkit.fleet.retention import parse

    if prune and keep is None:
        raise SnapshotError("needs --keep", "--prune", "say what to keep, such as --keep hourly=24,daily=14,monthly=12")
    rule = parse(keep) if keep is not None else None  # a mistake is told before the work, as that a file is there
    oldest = duration(max_age, "--max-age") if max_age is not None else None
    require_free([path for path in (metrics, junit) if path is not None], overwrite)
    moment = moment_of(now) or datetime.now(UTC)
    catalog = reading.catalog(sources, "verify", target=target, again=again)
    found = check_catalog(
        catalog, keep=rule, prune=prune, max_age=oldest, fail_on=fail_on, only_new=only_new, now=moment
    )
    for message in found.failures:
        print(f"snapkit: {one_line(message)}", file=sys.stderr)
    if metrics is not None:
        found.write_prometheus(metrics, overwrite=overwrite)
    if junit is not None:
        with atomic(junit, overwrite) as file:
            file.write(found.to_junit().encode())
    if json_:
        print_json(found.to_json())
    else:
        print_text(found.to_text())
    if found.status:
        raise typer.Exit(found.status)
