"""The leak scan: it finds what is planted in known formats and says where; redacted archives have nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit.errors import SnapshotError
from snapkit.format.values import unpack
from snapkit.state.redact import leaks as module
from snapkit.state.redact.profiles import Profile
from snapkit.state.redact.whole import redact

from ...conftest import ARCHIVES, path_of
from .. import samples

pytest.importorskip("detect_secrets")

AWS = "AKIA" + "Q7XJ2MPLW3RT9KZD"  # made up
RANDOM = "mF7+kQ2xV9pLw0TzR4sYb8NcHd3GjK6e"
PRIVATE = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----\n"
PUBLIC = f"-----BEGIN PUBLIC KEY-----\n{RANDOM}{RANDOM}\n-----END PUBLIC KEY-----\n"


def job(**env: str) -> dict[str, Any]:
    made = samples.struct("Job", Namespace="shop", ID="web")
    made["TaskGroups"][0]["Tasks"][0]["Env"] = env
    return made


def found(*jobs: dict[str, Any]) -> list[tuple[Any, ...]]:
    frame = module.leaks(samples.archive({"jobs": list(jobs)}))
    assert list(frame) == ["Table", "Key", "Path", "Detector", "Value"]
    assert frame["Value"].str.fullmatch("masked:[0-9a-f]{12}").all()
    return [(row.Table, row.Key, row.Path, row.Detector) for row in frame.itertuples()]


@pytest.mark.parametrize(
    ("value", "detector"),
    [
        (AWS, "AWS Access Key"),
        (PRIVATE, "Private Key"),
        ("postgres://bob:hunter2secret@db/x", "Basic Auth Credentials"),
        (RANDOM, "Base64 High Entropy String"),
        (f"token = {RANDOM};", "Base64 High Entropy String"),
        ("9f3c7b1e5a8d2064f7e1c3b95a0d8e62", "Hex High Entropy String"),
    ],
)
def test_known_formats_are_found_where_they_are(value: str, detector: str) -> None:
    assert found(job(A=value)) == [("jobs", ("shop", "web"), "TaskGroups[0].Tasks[0].Env.A", detector)]


@pytest.mark.parametrize(
    "value",
    [
        "plain words in a sentence that is long enough",
        "_nomad-task-09680067-e2d2-f711-8ecf-fc64cb46cdeb-group-cache-cache-redis",
        "09680067-e2d2-f711-8ecf-fc64cb46cdeb",
        "/opt/nomad/data/host_volumes/09680067-e2d2-f711-8ecf-fc64cb46cdeb",
        PUBLIC,
        "1795471701682512345",
    ],
)
def test_what_is_no_secret_is_not_found(value: str) -> None:
    assert found(job(A=value)) == []


def test_real_archives_hold_identities_and_redacted_ones_nothing(tmp_path: Path) -> None:
    profiles: list[Profile] = ["share", "training", "strict"]
    for archive in ARCHIVES[::3]:
        with snapkit.open(path_of(archive)) as snap:
            allocs = [unpack(packed) for byte, packed in snap.raw() if byte == 4]
            signed = sum(len(alloc.get(b"SignedIdentities") or {}) for alloc in allocs)
            assert (module.leaks(snap)["Detector"] == "JSON Web Token").sum() == signed
        for profile in profiles:
            redact(path_of(archive), tmp_path / "out.snap", profile=profile, key="k", overwrite=True)
            assert module.leaks(tmp_path / "out.snap").empty, (archive, profile)


def test_planted_secrets_are_gone_after_redaction(tmp_path: Path) -> None:
    redact(samples.archive({"jobs": [job(A=AWS, B=PRIVATE, C=RANDOM)]}), tmp_path / "out.snap")
    assert module.leaks(tmp_path / "out.snap").empty


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "detect_secrets.plugins.base", None)
    with pytest.raises(SnapshotError, match="needs the package detect-secrets"):
        module.leaks(samples.archive({"jobs": [job()]}))
    module._detector.cache_clear()
