"""Object storage: the same as files, no more read than is asked for, and no credentials anywhere."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from snapkit import Catalog, SnapshotError
from snapkit.errors import SourceError
from snapkit.fleet.check import check
from tests import forge

from ..conftest import ARCHIVES, ROOT, path_of
from .conftest import KEY_ID, SECRET, Storage
from .series import START, damaged, made

NOW = START + timedelta(days=9)


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The GET requests that are made: path and range."""
    from aiobotocore.httpsession import AIOHTTPSession  # type: ignore[import-untyped]

    seen: list[tuple[str, str]] = []
    original = AIOHTTPSession.send

    async def send(self: Any, request: Any) -> Any:
        if request.method == "GET":
            range_ = request.headers.get("Range", "")
            seen.append(
                (request.url.partition("/backups")[2], range_.decode() if isinstance(range_, bytes) else range_)
            )
        return await original(self, request)

    monkeypatch.setattr(AIOHTTPSession, "send", send)
    return seen


def hours(s3: Storage, count: int) -> None:
    for number in range(count):
        s3.put(f"nomad/{number}.snap", made(created=START + timedelta(hours=number), index=100 + number))


def test_it_is_the_same_as_files(s3: Storage, requested: list[tuple[str, str]], tmp_path: Path) -> None:
    for archive in ARCHIVES:
        s3.put(f"nomad/{archive.replace('/', '-')}.snap", path_of(archive).read_bytes())
    catalog = Catalog("s3://backups/nomad/*.snap", store=tmp_path, storage_options=s3.options)
    frame = catalog.archives
    local = Catalog([str(path_of(archive)) for archive in ARCHIVES]).archives
    others = ("Name", "Modified", "ETag", "Findings")  # files have modes, and a finding of these
    same = [name for name in frame.columns if name not in others]
    one, other = (f[same].sort_values("SHA256").reset_index(drop=True) for f in (frame, local))
    pd.testing.assert_frame_equal(one, other)
    assert all(source.startswith("s3://backups/nomad/") for source in frame.index)
    assert frame["ETag"].str.fullmatch("[0-9a-f]{32}").all()
    assert frame["Modified"].notna().all()
    requested.clear()
    again = Catalog("s3://backups/nomad", store=tmp_path, storage_options=s3.options)
    pd.testing.assert_frame_equal(again.archives, frame)
    assert all("?" in path for path, _ in requested)  # listed, and nothing more
    s3.put("nomad/v2.0.5-friday.snap", path_of("v2.0.5/monday").read_bytes())
    assert [entry.source for entry in again.refresh().new] == ["s3://backups/nomad/v2.0.5-friday.snap"]


def test_metadata_costs_no_download(s3: Storage, requested: list[tuple[str, str]]) -> None:
    state = forge.LITTLE + forge.record(22, {"Namespace": "default", "Path": "noise", "Data": os.urandom(2 << 20)})
    for number in range(3):
        s3.put(f"big/{number}.snap", forge.archive(state))
    frame = Catalog("s3://backups/big/*.snap", level="meta", storage_options=s3.options).archives
    assert frame["Index"].tolist() == [77] * 3
    assert frame["StateBytes"].tolist() == [len(state)] * 3
    ranges = [range_ for path, range_ in requested if path.startswith("/big/")]
    assert len(ranges) == 3
    for range_ in ranges:
        first, _, last = range_.removeprefix("bytes=").partition("-")
        assert (int(first), int(last) < 100_000) == (0, True)


def test_a_snapshot_is_opened_from_there_with_its_secrets_masked(s3: Storage) -> None:
    s3.put("a.snap", path_of("v2.0.5/friday").read_bytes())
    [place] = Catalog("s3://backups/a.snap", storage_options=s3.options).places()
    with place.open() as snap:
        assert snap.meta.source == "s3://backups/a.snap"
        assert len(snap.jobs)
        assert all(secret.startswith("masked:") for secret in snap.acl_tokens["SecretID"])


def test_check_and_prune(s3: Storage, tmp_path: Path) -> None:
    hours(s3, 30)
    s3.put("nomad/bad.snap", damaged(made()))
    s3.put("nomad/notes.txt", b"not ours")
    catalog = Catalog("s3://backups/nomad/*.snap", store=tmp_path, storage_options=s3.options).refresh()
    plan = check(catalog, keep="hourly=2,daily=2", now=NOW)
    assert (plan.status, len(s3.names())) == (1, 32)
    done = check(catalog, keep="hourly=2,daily=2", prune=True, now=NOW)
    assert done.status == 1
    assert not done.failures
    left = ["nomad/23.snap", "nomad/28.snap", "nomad/29.snap", "nomad/bad.snap", "nomad/notes.txt"]
    assert sorted(s3.names()) == left
    assert "28 archives" not in done.to_text()
    assert sorted(
        Catalog("s3://backups/nomad/*.snap", store=tmp_path, storage_options=s3.options).archives["Name"]
    ) == [
        "23.snap",
        "28.snap",
        "29.snap",
        "bad.snap",
    ]


def test_what_was_replaced_meanwhile_is_not_removed(s3: Storage) -> None:
    hours(s3, 3)
    catalog = Catalog("s3://backups/nomad/*.snap", storage_options=s3.options).refresh()
    s3.put("nomad/0.snap", made(index=7))
    done = catalog.prune("last=1", NOW)
    assert done["Removed"].tolist() == [False, True, False]
    assert sorted(s3.names()) == ["nomad/0.snap", "nomad/2.snap"]


# -- credentials


@pytest.fixture
def spoken(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="snapkit")
    for name in ("s3fs", "fsspec"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def clean(text: str) -> None:
    for secret in (KEY_ID, SECRET, "sig-canary", "user-canary"):
        assert secret not in text


def test_no_credentials_in_what_is_shown_kept_or_logged(
    s3: Storage, spoken: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    hours(s3, 2)
    catalog = Catalog("s3://backups/nomad/*.snap", store=tmp_path, storage_options=s3.options).refresh()
    clean(repr(catalog) + repr(catalog.places()) + repr(vars(catalog)) + catalog.archives.to_csv())
    assert len(list(tmp_path.iterdir())) == 2
    for path in tmp_path.iterdir():
        clean(path.read_bytes().decode("latin-1"))
    clean(str(check(catalog, keep="last=1", now=NOW).to_json()))
    clean(spoken.text)


@pytest.mark.parametrize("reason", ["bucket", "user", "bucket with user", "nowhere", "boom"])
def test_no_credentials_in_an_error(s3: Storage, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = dict(s3.options)
    source = "s3://backups/nomad/*.snap"
    if reason == "bucket":
        source = "s3://no-such-bucket/x/*.snap"
    elif reason == "user":
        source = "https://user-canary:sig-canary@127.0.0.1:9/backups/a.snap?X-Signature=sig-canary"
        options = {}
    elif reason == "bucket with user":
        source = "s3://user-canary:sig-canary@backups/nomad/*.snap?X-Signature=sig-canary"
    elif reason == "nowhere":
        options["endpoint_url"] = "http://127.0.0.1:9"
        options["config_kwargs"] = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    else:
        import s3fs

        async def boom(*arguments: Any, **more: Any) -> Any:
            raise OSError(f"signed by {SECRET} of {KEY_ID} at https://user-canary:x@host/p?X-Signature=sig-canary&b=c")

        monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", boom)
    with pytest.raises(SourceError) as caught:
        Catalog(source, storage_options=options).refresh()
    clean(str(caught.value))
    clean("".join(traceback.format_exception(caught.value)))
    assert "check the address and your credentials" in str(caught.value)


def test_a_pattern_that_matches_nothing(s3: Storage) -> None:
    hours(s3, 1)
    with pytest.raises(SourceError, match=r"s3://backups/nomad/x\*\.snap: matches nothing; check the pattern"):
        Catalog("s3://backups/nomad/x*.snap", storage_options=s3.options).refresh()
    with pytest.raises(SourceError, match=r"s3://backups/nomad/x\.snap: can't be listed"):
        Catalog("s3://backups/nomad/x.snap", storage_options=s3.options).refresh()


def test_an_error_in_the_middle_of_an_archive_is_a_row(s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    hours(s3, 3)
    original = s3fs.core.S3File._fetch_range

    def fetch(self: Any, start: int, end: int) -> Any:
        if self.path.endswith("1.snap"):
            raise OSError(f"signed by {SECRET}")
        return original(self, start, end)

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", fetch)
    frame = Catalog("s3://backups/nomad/*.snap", storage_options=s3.options).archives
    assert frame["Verdict"].tolist() == ["ok", "ok", "unread"]  # the last: nothing is known of it
    assert "s3://backups/nomad/1.snap: can't be read (signed by …)" in frame["Error"].iloc[2]


def test_addresses_that_differ_only_in_secrets_are_refused() -> None:
    two = ["memory://a/b.snap?token=1", "memory://a/b.snap?token=2"]
    import fsspec

    system = fsspec.filesystem("memory")
    for address in two:
        with system.open(address, "wb") as file:
            file.write(made())
    with pytest.raises(SnapshotError, match="differ only in user or query"):
        Catalog(two).refresh()


def test_the_command_by_the_environment(s3: Storage, tmp_path: Path) -> None:
    hours(s3, 3)
    line = [sys.executable, "-c", "from snapkit.cli import main; main()", "fleet", "check", "s3://backups/nomad/*.snap"]
    line += ["--store", str(tmp_path / "store"), "--keep", "last=1", "--prune", "--now", "2026-11-09"]
    variables = os.environ | s3.variables | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert s3.names() == ["nomad/2.snap"]
    assert "removed: s3://backups/nomad/0.snap" in done.stdout
    clean(done.stdout)
