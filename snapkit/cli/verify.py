"""verify: is it whole, is it consistent, will it restore."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from snapkit.cli.app import app
from snapkit.cli.inputs import (
    FILE,
    Identity,
    Json,
    Keystore,
    Now,
    Output,
    Overwrite,
    Target,
    expanded,
    moment_of,
    progress_bar,
    require_free,
    source_of,
)
from snapkit.cli.output import json_text, one_line, print_json, print_text
from snapkit.errors import SnapshotError, SourceError

if TYPE_CHECKING:
    from snapkit.state.findings.report import Report, Unread

SeverityName = Literal["error", "warning", "note"]
FormatName = Literal["text", "json", "junit", "html"]

ALIKE = 3  # findings of one kind that the text tells one by one


@app.command(
    examples=[
        "verify friday.snap",
        "verify --target 1.10.0 'backups/*.snap'",
        "verify damaged.snap --salvage salvaged.snap",
        "verify --evidence evidence friday.snap",
        "verify --evidence evidence --check",
    ]
)
def verify(
    files: Annotated[
        list[str] | None,
        typer.Argument(help=f"{FILE} Patterns such as 'backups/*.snap' may be quoted.", metavar="FILE"),
    ] = None,
    target: Target = None,
    keystore: Keystore = None,
    digest: Annotated[
        str | None, typer.Option(help="What the file's SHA-256 should be: hex or sha-256=….", metavar="SHA256")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="An earlier snapshot of the same cluster.", metavar="EARLIER")
    ] = None,
    level: Annotated[
        Literal["archive", "framing", "records", "references"] | None,
        typer.Option(help="How far to go; each has those before it. Default: references."),
    ] = None,
    now: Now = None,
    all_: Annotated[
        bool, typer.Option("--all", help="List all findings of a check, and not the first 20 (the text: 3 of many).")
    ] = False,
    fail_on: Annotated[SeverityName, typer.Option("--fail-on", help="From which severity on to exit 1.")] = "error",
    json_: Json = False,
    format_: Annotated[FormatName | None, typer.Option("--format", help="Default: text.")] = None,
    output: Output = None,
    overwrite: Overwrite = False,
    salvage: Annotated[
        Path | None, typer.Option(help="Write what can be read for certain as a whole archive.", metavar="OUT")
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Restore into a throwaway real server too: NOMAD_BIN's or PATH's nomad.")
    ] = False,
    evidence: Annotated[
        Path | None, typer.Option(help="Add an entry to this folder of evidence.", metavar="FOLDER")
    ] = None,
    sign_key: Annotated[
        Path | None, typer.Option(help="Sign the entry: an Ed25519 key, PEM.", metavar="KEYFILE")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="With --evidence: was it altered?")] = False,
    public_key: Annotated[
        Path | None, typer.Option(help="With --check: the key that signed it, PEM.", metavar="KEYFILE")
    ] = None,
    anchor: Annotated[
        str | None, typer.Option(help="With --check: the SHA-256 of an entry, kept elsewhere.", metavar="SHA256")
    ] = None,
    identity: Identity = None,
) -> None:
    """Is a snapshot whole and consistent, and will it restore? Exits 1 with a finding at or above --fail-on.

    A line for each of many files, the findings of one. With --output, that too, and the report in the file.
    With --evidence DIR --check, no FILE: exits 1 if the evidence, or a file that it has the hash of, was altered.
    """
    if json_ and format_ not in (None, "json"):
        raise SnapshotError(f"is json by --json and {format_} by --format", "the format", "give one of them")
    form: FormatName = "json" if json_ else format_ or "text"
    _require_sense(files, check, evidence, {"--sign-key": sign_key}, {"--public-key": public_key, "--anchor": anchor})
    if check and evidence is not None:
        _check_evidence(evidence, public_key, anchor, form)
        return
    sources, unread = expanded(files or [])
    for name, value in {"--digest": digest, "--salvage": salvage}.items():
        if value is not None and len(sources) + len(unread) > 1:
            raise SnapshotError("is of one file", name, "verify that file by itself")
    for name, again in {"--salvage": salvage is not None, "--rehearse": rehearse}.items():
        if again and "-" in sources:
            raise SnapshotError("needs a file, to read it again", name, "save standard input as one")
    if rehearse:
        from snapkit.cluster.rehearse import find_binary

        find_binary()  # told before the work
    require_free([path for path in (output, salvage) if path is not None], overwrite)
    options = {"target": target, "keystore": keystore, "digest": digest, "against": against, "now": moment_of(now)}
    options["level"] = level
    # The identity is of no evidence, and may be a secret.
    given: dict[str, Any] = {
        name: value for name, value in {**options, "identity": identity}.items() if value is not None
    }
    if all_:
        given["most"] = sys.maxsize
    reports = _verified(sources, unread, given, rehearse)
    done: dict[str, Any] = {}  # what was done besides, as --json has it
    if reports and rehearse:
        done["rehearsal"] = _rehearsal(reports)
    failure: SnapshotError | None = None
    try:
        if reports and evidence is not None:
            used: dict[str, object] = {"files": files, **options, "now": now, "fail_on": fail_on, "salvage": salvage}
            if rehearse:
                used["rehearsal"] = "{release}, {binary}".format(**done["rehearsal"])
            done["evidence"] = _record(reports, evidence, sign_key, used)
        if reports and salvage is not None:
            done["salvage"] = _salvage(sources[0], salvage, overwrite, identity)
    except SnapshotError as error:  # what was found is told first
        failure = error
    if reports:
        _report(reports, unread, form, fail_on, output, overwrite, done, None if all_ else ALIKE)
    if failure is not None:
        raise failure
    _exit_verified(reports, unread, fail_on)


def _require_sense(
    files: list[str] | None,
    check: bool,
    evidence: Path | None,
    with_evidence: dict[str, object],
    with_check: dict[str, object],
) -> None:
    """Raise SnapshotError for options that don't go together."""
    if check and files:
        raise SnapshotError("takes no FILE", "--check", "it looks at the evidence and the files that it names")
    if not check and not files:
        raise SnapshotError("is missing", "FILE", "name one or more, or --evidence DIR --check")
    for name, value in ({"--check": check or None} | with_evidence).items():
        if value is not None and evidence is None:
            raise SnapshotError("needs --evidence", name, "name the folder of evidence")
    for name, value in with_check.items():
        if value is not None and not check:
            raise SnapshotError("needs --check", name, "add --check, without a FILE")
    if check and with_evidence["--sign-key"] is not None:
        raise SnapshotError("does not go with --check", "--sign-key", "give --public-key")


def _verified(sources: list[str], unread: list[Unread], options: dict[str, Any], rehearse: bool) -> list[Report]:
    """A report of each source; adds those that can't be read to `unread`."""
    from snapkit.format.archive import describe
    from snapkit.state.findings.report import Unread
    from snapkit.state.verify import verify as verify_snapshot

    reports = []
    for number, source in enumerate(sources, 1):
        of_many = f" ({number} of {len(sources)})" if len(sources) > 1 else ""
        try:
            with progress_bar(f"Verifying {describe(source)}{of_many}") as progress:
                report = verify_snapshot(source_of(source), progress=progress, **options)
            reports.append(_rehearsed(report, source) if rehearse else report)
        except SnapshotError as error:
            unread.append(Unread(describe(source), str(error)))
    return reports


def _rehearsed(report: Report, source: str) -> Report:
    """With what a throwaway real server makes of it; of a container that is damaged, it is not asked."""
    from dataclasses import replace

    from snapkit.cluster.rehearse import rehearse
    from snapkit.format.age import IdentityMissingError
    from snapkit.state.verify import CHECKS
    from snapkit.state.verify.registry import REHEARSAL

    if any(f.severity == "error" and CHECKS[f.check].level in ("archive", "framing") for f in report.found):
        return report
    checks = [check.id for check in CHECKS.values() if check.level == REHEARSAL]
    try:
        found = rehearse(source)
    except IdentityMissingError as error:
        what = "is encrypted, and a rehearsal would write it to disk in the clear"
        raise SourceError(what, source, "decrypt it with `age -d`, and rehearse that") from error
    levels = (*report.levels, REHEARSAL)
    return replace(report, found=(*found, *report.found), levels=levels, checks=(*report.checks, *checks))


def _rehearsal(reports: list[Report]) -> dict[str, object]:
    """By which server, and which of the sources: those that it was not asked for are damaged."""
    import subprocess

    from snapkit.cluster.rehearse import find_binary
    from snapkit.state.verify.registry import REHEARSAL

    binary = find_binary()
    try:
        told = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        told = ""
    sources = [report.source for report in reports if REHEARSAL in report.levels]
    return {"binary": binary, "release": told.partition("\n")[0] or "unknown", "sources": sources}


def _record(
    reports: list[Report], folder: Path, sign_key: Path | None, arguments: dict[str, object]
) -> dict[str, object]:
    from datetime import UTC, datetime

    from snapkit.state.findings.evidence import newest, record

    path = record(reports, folder, arguments=arguments, now=datetime.now(UTC), sign_key=sign_key)
    return {"path": str(path), "sha256": newest(folder).sha256}


def _salvage(source: str, target: Path, overwrite: bool, identity: str | None) -> dict[str, object]:
    from dataclasses import asdict

    from snapkit.state.output.salvage import write_salvaged
    from snapkit.state.snapshot import open_snapshot

    with open_snapshot(source, salvage=True, identity=identity) as snapshot:
        account = snapshot.salvage
        if account is not None and not account.records:
            advice = f"{account.suspect:,} can be read and may be altered: snapkit.open(…, salvage='suspect') has them"
            raise SnapshotError("of no record is it certain that it is as it was written", source, advice)
        write_salvaged(snapshot, target, overwrite=overwrite)
    told = str(account) if account is not None else "a copy: nothing was lost"
    return {"path": str(target), "whole": account is None, "told": told} | (asdict(account) if account else {})


def _report(
    reports: list[Report],
    unread: list[Unread],
    form: FormatName,
    fail_on: SeverityName,
    output: Path | None,
    overwrite: bool,
    done: dict[str, Any],
    most: int | None,
) -> None:
    """On stdout, or in a file and then a line for each source on stdout."""
    from datetime import UTC, datetime

    from snapkit.files import atomic
    from snapkit.state.findings.report import document, junit, page

    one = len(reports) + len(unread) == 1
    lines = "".join(f"{report.to_line()}\n" for report in reports) + ("" if one else _total(reports, unread))
    if form == "json":
        text = json_text(document(reports, unread) | done) + "\n"
    elif form == "junit":
        text = junit(reports, unread, fail_on=fail_on, now=datetime.now(UTC))
    elif form == "html":
        text = page(reports, unread)
    elif one or output is not None:
        text = "\n".join(report.to_text(most=most, hint="--all lists all") for report in reports)
    else:
        text = lines
    if output is None:
        print_text(text)
    else:
        with atomic(output, overwrite) as file:
            file.write(text.encode("utf-8", "replace"))
        print_text(lines)
    told = {"evidence": "{path}, the newest is SHA-256 {sha256}", "salvage": "{path}: {told}"}
    told["rehearsal"] = "{release}, a throwaway server by {binary}, was asked for {count}"
    for name, about in done.items():
        about = about | {"count": f"{len(about['sources'])} of {len(reports)}"} if name == "rehearsal" else about
        line = one_line(f"{name}: {told[name].format(**about)}")
        if form == "text" or output is not None:
            print_text(f"{line}\n")
        elif name == "salvage" and form != "json":
            print(f"snapkit: note: {line}", file=sys.stderr)  # never silently
    if one and reports and form == "text" and "salvage" not in done and _is_damaged(reports[0]):
        print_text("what is certain in it: --salvage OUT writes that as a whole archive\n")


def _is_damaged(report: Report) -> bool:
    """Is the container or its framing damaged, of what is a snapshot?"""
    from snapkit.state.verify import CHECKS

    errors = {f.check for f in report.found if f.severity == "error"}
    levels = {CHECKS[check].level for check in errors & CHECKS.keys()}
    return "archive.not-a-snapshot" not in errors and not levels.isdisjoint(("archive", "framing"))


def _total(reports: list[Report], unread: list[Unread]) -> str:
    ok = sum(report.ok for report in reports)
    counts = {"ok": ok, "not ok": len(reports) - ok, "could not be read": len(unread)}
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f"{len(reports) + len(unread):,} sources: {told}\n"


def _exit_verified(reports: list[Report], unread: list[Unread], fail_on: SeverityName) -> None:
    from snapkit.state.findings.report import at_or_above

    for message in dict.fromkeys(u.message for u in unread):
        print(f"snapkit: {one_line(message)}", file=sys.stderr)
    if unread:
        raise typer.Exit(2)
    if any(at_or_above(report.worst, fail_on) for report in reports if report.worst is not None):
        raise typer.Exit(1)


def _check_evidence(folder: Path, public_key: Path | None, anchor: str | None, form: FormatName) -> None:
    from snapkit.state.findings.evidence import check, newest

    if form not in ("text", "json"):
        raise SnapshotError(f"has no format {form}", "--check", "there are text and json")
    problems = check(folder, public_key=public_key, anchor=anchor)
    head, broken = newest(folder), any(problem.severity == "error" for problem in problems)
    if form == "json":
        found = [{"kind": p.kind, "severity": p.severity, "place": p.place, "message": p.message} for p in problems]
        about = {"schema": "snapkit.evidence-check/1", "intact": not broken, "newest": head.number}
        print_json(about | {"sha256": head.sha256, "signatures": public_key is not None, "problems": found})
    else:
        verdict = "not intact" if broken else "intact"
        signed = "by that key" if public_key is not None else "signatures not looked at"
        print_text(f"{one_line(str(folder))}: {verdict}; newest entry {head.number}, SHA-256 {head.sha256}; {signed}\n")
        print_text("".join(f"{problem}\n" for problem in problems))
    if broken:
        raise typer.Exit(1)
