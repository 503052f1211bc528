"""No secret planted in a masked field appears in anything that shows, writes, tells or fails, unless asked for."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import SnapshotError
from snapkit.format.schema import BY_TABLE, SECRETS, TYPES, Type, fields
from snapkit.state import sizes
from snapkit.state.access import who
from snapkit.state.output.export import export
from snapkit.state.redact.whole import redact
from snapkit.state.sizes import garbage
from tests import forge

from ..cli import run
from . import samples

#: Letters that no encoding in between changes; in no made-up value of samples.
SECRET = st.text("QXZVJKWqxzvjkw79", min_size=14, max_size=40)


def planted(value: Any, kind: Type, secret: str, inside: bool = False) -> Any:
    """The same with a secret for each text and byte string at or below a masked field."""
    if isinstance(value, dict):
        known = fields(kind.struct)
        return {
            name: planted(item, known[name].type, secret, inside or known[name].secret)
            if name in known
            else planted(item, kind.element or Type("any"), secret, inside)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [planted(item, kind.element or Type("any"), secret, inside) for item in value]
    if inside and isinstance(value, str | bytes):
        return secret if isinstance(value, str) else secret.encode()
    return value


def records(secret: str) -> dict[str, list[Any]]:
    made = {}
    for kind in TYPES:
        value = {name: forge.example(known.type) for name, known in fields(kind.struct).items()}
        made[kind.table] = [planted(value, Type("struct", struct=kind.struct), secret)]
    return made


def forms(secret: str) -> Iterator[str]:
    yield secret
    yield secret.encode().hex()
    for ahead in range(3):
        encoded = base64.b64encode(bytes(ahead) + secret.encode()).decode()
        yield encoded[-(-8 * ahead // 6) : 8 * (ahead + len(secret)) // 6]


def shows(text: str, *secrets: str) -> bool:
    return any(form in text for secret in secrets for form in forms(secret))


def snapshot_says(snap: snapkit.Snapshot) -> Iterator[tuple[str, str]]:
    yield "repr", repr(snap)
    yield "html", snap._repr_html_()
    for table in snap.tables.index:
        yield f"table {table}", snap.table(table, snap.columns(table)).to_csv()
        yield f"table {table} as html", snap.table(table).to_html()
        key = snap.table(table, []).index[0] if BY_TABLE[table].key else ()
        yield f"get {table}", str(snap.get(table, *((key,) if key != () else ())))
        yield f"arrow {table}", str(snap.arrow(table, nested=True).to_pylist())
    yield "timeline", snap.timeline().to_csv()
    for by in get_args(sizes.By):
        yield f"sizes by {by}", sizes.sizes(snap, by).to_csv()
    yield "subjects", who.subjects(snap).to_csv()
    yield "rights", who.rights(snap).to_csv()
    yield "garbage", garbage.collectable(snap).to_csv()
    yield "keyring", snap.keyring().to_csv()


def files_say(folder: Path) -> str:
    return "".join(path.read_text("latin-1") for path in folder.rglob("*") if path.is_file())


@settings(max_examples=3)
@given(st.lists(SECRET, min_size=2, max_size=2, unique=True))
def test_no_secret_is_shown(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, secrets: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("masking")
    archives = [samples.archive(records(secret)) for secret in secrets]
    said: dict[str, str] = {}
    with caplog.at_level(logging.DEBUG), snapkit.open(archives[0]) as one, snapkit.open(archives[1]) as other:
        assert shows(one.table("nodes", reveal=True).to_csv(), secrets[0])
        said |= dict(snapshot_says(one))
        found = one.search(secrets[0])
        assert {path.rpartition(".")[2] for path in found["Path"]} >= {"SecretID", "Source"}
        said["search"] = found.to_csv() + found.to_html()
        changes = snapkit.compare(one, other)
        assert len(changes.fields)
        said["compare"] = repr(changes) + changes.to_text() + json.dumps(changes.to_json(), default=str)
        said["compare as html"] = changes.to_html() + changes._repr_html_()
        said["compare as frames"] = "".join(
            frame.to_csv()
            for frame in (changes.objects, changes.fields, changes.summary, changes.sources, changes.noise)
        )
        said["growth"] = sizes.growth(one, other).to_csv()
        for form in ("csv", "jsonl", "sqlite"):
            export(one, folder / form, format=form)
    said["exports"] = files_say(folder)
    report = snapkit.verify(archives[0])
    said["verify"] = (
        repr(report) + report.to_text() + report.to_html() + report.to_junit() + json.dumps(report.to_json())
    )
    done = redact(archives[0], folder / "redacted.snap")
    said["redact"] = repr(done) + done.replaced.to_csv() + done.may_tell.to_csv()
    said["log"] = caplog.text
    assert [what for what, text in said.items() if shows(text, *secrets)] == []


COMMANDS: tuple[Callable[[str, Path], tuple[object, ...]], ...] = (
    lambda path, _: ("inspect", path),
    lambda path, _: ("show", path, "nodes", "--json"),
    lambda path, _: ("show", path, "acl_tokens", "--columns", "SecretID"),
    lambda path, _: ("search", path, "ID"),
    lambda path, _: ("verify", path, "--json"),
    lambda path, _: ("timeline", path),
    lambda path, _: ("sizes", path),
    lambda path, folder: ("redact", path, folder / "out.snap", "--json"),
    lambda path, _: ("redact", "--check", path),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_a_secret(command: Callable[[str, Path], tuple[object, ...]], tmp_path: Path) -> None:
    secret = "QXZVjkw79QXZVjkw79QXZ"
    source = tmp_path / "planted.snap"
    source.write_bytes(samples.archive(records(secret)))
    source.chmod(0o600)
    ran = run(*command(str(source), tmp_path))
    assert ran.out
    assert not shows(ran.out + ran.err, secret)


@given(SECRET, st.sampled_from(sorted(SECRETS)), st.integers(0, 2), st.sampled_from(["list", "map", "cut"]))
@settings(max_examples=60)
def test_no_error_shows_a_secret(secret: str, place: str, seed: int, damage: str) -> None:
    struct, _, name = place.rpartition(".")
    kind = next((kind for kind in TYPES if kind.struct == struct), None)
    if kind is None:
        return
    wrong: Any = [secret] if damage == "list" else {secret: [secret]} if damage == "map" else secret
    archive = samples.archive({kind.table: [samples.struct(struct) | {name: wrong}]})
    if damage == "cut":
        archive = archive[: len(archive) * (seed + 1) // 4]
    said = []
    asked: tuple[Callable[[], object], ...] = (
        lambda: snapkit.open(archive).table(kind.table),
        lambda: snapkit.open(archive).arrow(kind.table, nested=True),
        lambda: snapkit.open(archive).timeline(),
        lambda: list(snapkit.open(archive).objects(kind.table)),
        lambda: snapkit.verify(archive).to_text(),
    )
    for ask in asked:
        with suppress(SnapshotError):
            try:
                said.append(str(ask()))
            except SnapshotError as error:
                said.append(f"{error} {error!r} {error.__cause__!r}")
                raise
    assert not shows("".join(text for text in said if damage != "map"), secret)
