"""What a person sees who opens an archive from a file browser, and the notebook to go on in.

Whatever an archive holds, and its name, is text that is escaped.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from snapkit.errors import SnapshotError, SourceError, TargetExistsError
from snapkit.files import atomic
from snapkit.format import age
from snapkit.format.archive import BLOCK, DEFAULT_LIMITS, Limits, Progress
from snapkit.format.schema import in_words, record_type, type_name
from snapkit.page import AMBER, BLUE, GREEN, RED, brief, escaped, label, moment, plain, table
from snapkit.state.findings.report import Report
from snapkit.state.verify import verify
from snapkit.state.verify.subject import Subject

#: Colour of a text -> its class in the viewer's style (labextensions/snapkit/viewer.js).
_KINDS = {RED: "snapkit-red", AMBER: "snapkit-amber", BLUE: "snapkit-blue", GREEN: "snapkit-green"}
_SUFFIXES = re.compile(r"(\.snap)?(\.age)?$", re.IGNORECASE)


def summary(
    path: str | os.PathLike[str], name: str, *, limits: Limits = DEFAULT_LIMITS, progress: Progress | None = None
) -> str:
    """What is in an archive, told by one pass over it: verify's verdict on container and framing, metadata, tables.

    Of a damaged one it says what is wrong with it, of an encrypted one how to open it.

    Args:
        path: The archive.
        name: What to call it.
        limits: Bounds against hostile input.
        progress: Called with the bytes read so far and in all.

    Returns:
        A piece of HTML.
    """
    parts: list[str] = []
    try:
        report = verify(
            path, level="framing", limits=limits, progress=progress, look=lambda found: parts.extend(_contents(found))
        )
    except age.IdentityMissingError:
        parts = list(_encrypted(Path(path), name))
    except SnapshotError as error:
        parts = [_unread(error)]
    else:
        parts = [*_verdict(report, name), *parts, "<h3>Container and framing verified</h3>", report._repr_html_()]
    return _named(path, name, f"<h2>{escaped(_last(name))}</h2>{''.join(parts)}")


def verified(
    path: str | os.PathLike[str], name: str, *, limits: Limits = DEFAULT_LIMITS, progress: Progress | None = None
) -> str:
    """All that verify finds, down to every record; otherwise as `summary()`."""
    try:
        said = verify(path, limits=limits, progress=progress)._repr_html_()
    except SnapshotError as error:
        said = _unread(error)
    return _named(path, name, f"<h3>Every record verified</h3>{said}")


def _named(path: str | os.PathLike[str], name: str, said: str) -> str:
    """The same as the viewer needs it.

    With a file's name for its path: where it lies on the server's disk is of no use in a browser. And with classes for
    colours, which JupyterLab's sanitizer would take out.
    """
    for colour, kind in _KINDS.items():
        said = said.replace(f'color:{colour}"', f'" class="{kind}"')
    return f'<div style="overflow-wrap:anywhere">{said.replace(escaped(os.fspath(path)), escaped(name))}</div>'


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _unread(error: SnapshotError) -> str:
    return f"<p>{label('✗ Not read:', RED)} {escaped(str(error))}</p>"


def _verdict(report: Report, name: str) -> Iterator[str]:
    worst = next((finding for finding in report.found if finding.severity == "error"), None)
    if worst is None:
        yield f"<p>{label('✓ Whole:', GREEN)} the container is as a server takes it, and every record is there from "
        yield "end to end. “Verify all” looks into the records, too.</p>"
        return
    said = "; ".join(part for part in (worst.message, worst.advice) if part)
    yield f"<p>{label('✗ Damaged:', RED)} {escaped(f'{worst.place}: {said}' if worst.place else said)}</p>"
    if worst.check not in ("archive.not-a-snapshot", "archive.limit"):
        saved = _shell(f"{_stem(name)}-salvaged.snap")
        yield "<p>What of it is certain makes a whole archive again:</p>"
        yield _code(f"snapkit verify {_shell(name)} --salvage {saved}")


def _encrypted(path: Path, name: str) -> Iterator[str]:
    yield f"<p>{label('Encrypted (age):', AMBER)} {path.stat().st_size:,} bytes, of which nothing can be told without "
    yield "an identity that it was encrypted to.</p><p>With the file that holds one:</p>"
    yield _code(f"snapkit inspect {_shell(name)} --identity KEYFILE")
    yield _code(f'snap = snapkit.open({_last(name)!r}, identity="KEYFILE")')
    yield "<p>What was encrypted with a passphrase, <code>age -d</code> decrypts first.</p>"


def _contents(found: Subject) -> Iterator[str]:
    """Metadata and tables, as far as they could be read."""
    meta = found.archive.meta
    if not meta and found.framed is None:
        return
    servers = (meta.get("Configuration") or {}).get("Servers") or []
    facts = [
        ["Taken", moment(found.created) if found.created is not None else "unknown"],
        ["Raft", escaped(f"index {meta.get('Index', 'unknown')}, term {meta.get('Term', 'unknown')}")],
        ["Servers", escaped(brief(", ".join(str(server.get("Address")) for server in servers)) or "unknown")],
    ]
    if found.framed is None:
        yield table(facts)
        return
    with suppress(SnapshotError):  # of a record that can't be decoded, “Verify all” tells
        sample = found.sample.meta
        facts.append(["Cluster", escaped(sample.cluster_id or "unknown")])
        facts.append([label("Written by"), escaped(f"Nomad {in_words(sample.version_range) or 'unknown'}")])
    tallies = sorted(found.state.tallies.items(), key=lambda item: -item[1].bytes)
    total = sum(tally.bytes for _, tally in tallies)
    records = sum(tally.count for _, tally in tallies)
    facts.append(["State", f"{total:,} bytes, {records:,} records in {len(tallies):,} tables"])
    yield table(facts)
    yield "<h3>Tables</h3>"
    rows = [
        [
            escaped(record_type(byte).table),
            escaped(type_name(byte)),
            *map(_number, (f"{tally.count:,}", f"{tally.bytes:,}", f"{tally.bytes / total:.1%}")),
        ]
        for byte, tally in tallies
    ]
    yield table(rows, ["Table", "Type", *map(_number, ("Records", "Bytes", "Share"))])


def _number(text: str) -> str:
    return f'<div style="text-align:right">{text}</div>'


def _code(line: str) -> str:
    return f"<pre>{escaped(line)}</pre>"


def _shell(name: str) -> str:
    return shlex.quote(re.sub("^-", "./-", _last(name)))  # no name is taken for an option


def _stem(name: str) -> str:
    return _SUFFIXES.sub("", _last(name))


def write_notebook(path: str | os.PathLike[str]) -> Path:
    """A notebook beside an archive, whose cells verify, open and browse it; never in the place of another file.

    Returns:
        Where it is: of the archive's name, with a number where that is taken.

    Raises:
        SourceError: The archive can't be read, or the folder can't be written to.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            encrypted = age.is_encrypted(file.read(BLOCK))
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror})", path.name, "check the file and its mode") from error
    identity = ", identity=identity" if encrypted else ""
    about = (
        f"# {_markdown(path.name)}\n\nA snapshot of a Nomad cluster. Run the cells from the top: they verify it, "
        "open it and show what is in it. Secrets stay masked unless you ask for them by name."
    )
    code = {
        "verify": f"import snapkit\n\nsource = {path.name!r}\n"
        + ('identity = "KEYFILE"  # an age identity that opens it\n' if encrypted else "")
        + f"report = snapkit.verify(source{identity})\nreport",
        "open": f"# Of a damaged archive, what is certain.\n"
        f"snap = snapkit.open(source, salvage=not report.ok{identity})\nsnap",
        "tables": "snap.tables",
        "browse": "snapkit.browse(snap)",
    }
    empty: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    notebook = {
        "cells": [
            {"cell_type": "markdown", "id": "about", "metadata": {}, "source": about},
            *(empty | {"id": name, "source": source} for name, source in code.items()),
        ],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    for number in count(1):
        target = path.with_name(f"{_stem(path.name)}{f'-{number}' if number > 1 else ''}.ipynb")
        try:
            with atomic(target) as file:
                file.write(json.dumps(notebook, indent=1).encode())
        except TargetExistsError:
            continue
        except OSError as error:
            raise SourceError(f"can't be written ({error.strerror})", str(target), "rename the archive") from error
        break
    return target


def _markdown(text: str) -> str:
    """One line of text as Markdown that shows it as it is."""
    return re.sub(r"([^\w\s])", r"\\\1", plain(text), flags=re.ASCII)
