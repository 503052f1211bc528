"""`snapkit recover`: what it shows, asks for, writes and says, against Friday as the environment names it."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit import Client
from snapkit.cluster import connection
from snapkit.cluster import recover as library
from snapkit.cluster.recover import RecoverError
from snapkit.cluster.server import ServedCluster

from ..conftest import path_of
from . import command, environment, failed, fine, run

THURSDAY = path_of("v2.0.5/thursday")
FRIDAY = path_of("v2.0.5/friday")
LOST = ("jobs", "payments", "payments", "variables", "payments", "psp/credentials")


@pytest.fixture
def friday(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedCluster]:
    monkeypatch.setattr(connection, "BACKOFF", (0.001,))
    for name in list(os.environ):
        if name.startswith("NOMAD_"):
            monkeypatch.delenv(name)
    with snapkit.serve(FRIDAY) as cluster:
        monkeypatch.setenv("NOMAD_ADDR", cluster.address)
        monkeypatch.setenv("NOMAD_TOKEN", cluster.token)
        yield cluster


def jobs(cluster: ServedCluster) -> list[str]:
    return [job["ID"] for job in Client(cluster.address, token=cluster.token).jobs()]


def test_a_dry_run_shows_what_would_be_written(friday: ServedCluster) -> None:
    said = fine("recover", "--dry-run", THURSDAY, *LOST)
    assert "payments/psp/credentials" in said
    assert "create" in said
    assert "masked:" in said
    assert "not-a-real-psp-key" not in said
    assert said.endswith(f"{friday.address}: nothing was written\n")
    assert "payments" not in jobs(friday)


def test_what_is_live_and_another_makes_a_dry_run_exit_1(friday: ServedCluster) -> None:
    ran = run("recover", "--dry-run", THURSDAY, "jobs", "shop", "web")
    assert (ran.status, ran.err) == (1, "")
    assert "keep" in ran.out
    assert "Count" in ran.out
    said = failed(run("recover", "--confirm", friday.address, THURSDAY, "jobs", "shop", "web"))
    assert "is live as another" in said
    assert "ask to overwrite it" in said
    fine("recover", "--overwrite", "--confirm", friday.address, THURSDAY, "jobs", "shop", "web")


def test_it_is_written_when_the_address_is_given(friday: ServedCluster) -> None:
    said = json.loads(fine("recover", "--json", "--confirm", friday.address, THURSDAY, *LOST))
    assert set(said) == {"Address", "Source", "DryRun", "Steps", "Fields", "Tokens"}
    assert [(step["Table"], step["Action"], step["Result"]) for step in said["Steps"]] == [
        ("variables", "create", "written"), ("jobs", "create", "written"),
    ]  # fmt: skip
    assert "not-a-real-psp-key" not in json.dumps(said)
    assert "payments" in jobs(friday)


def test_nothing_is_written_unless_it_is_confirmed(friday: ServedCluster) -> None:
    assert f"add --confirm {friday.address}, or --dry-run" in failed(run("recover", THURSDAY, *LOST))
    assert "nothing was sent" in failed(run("recover", "--confirm", "http://other", THURSDAY, *LOST))
    assert "payments" not in jobs(friday)


@pytest.mark.parametrize(("typed", "status"), [("", 0), ("http://other:4646", 2)])
def test_at_a_terminal_it_is_shown_and_asked_for(friday: ServedCluster, typed: str, status: int) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("recover", THURSDAY, *LOST), env=environment(), stdin=theirs, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(theirs)
    time.sleep(0.1)
    os.write(ours, f"{typed or friday.address}\n".encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == status, err
    assert "Type the cluster's address to write this" in err
    assert "masked:" in out
    assert ("payments" in jobs(friday)) == (status == 0)


def test_a_new_token_is_told_its_secret_where_that_is_asked_for(friday: ServedCluster, tmp_path: Path) -> None:
    with snapkit.open(path_of("v2.0.5/monday")) as snap:
        gone = [str(a) for a, row in snap.acl_tokens.iterrows() if row["Name"] == "ops dashboard"]
    said = fine("recover", "--confirm", friday.address, path_of("v2.0.5/monday"), "acl_tokens", *gone)
    assert f"token {gone[0]} is now " in said
    assert "secret masked:" in said
    said = fine("recover", "--reveal", "--confirm", friday.address, path_of("v2.0.5/monday"), "acl_tokens", *gone)
    secret = said.splitlines()[-1].partition("secret ")[2].split()[0]
    assert Client(friday.address, token=secret).self_token()["Name"] == "ops dashboard"


def test_what_was_written_before_it_failed_is_told_and_new_secrets_with_it(
    friday: ServedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(*args: Any, **options: Any) -> Any:
        error = RecoverError("broke", "the next step", "look")
        error.recovery = done(*args, **options)
        raise error

    done = library.recover
    monkeypatch.setattr(library, "recover", breaking)
    with snapkit.open(path_of("v2.0.5/monday")) as snap:
        gone = [str(a) for a, row in snap.acl_tokens.iterrows() if row["Name"] == "ops dashboard"]
    ran = run("recover", "--reveal", "--confirm", friday.address, path_of("v2.0.5/monday"), "acl_tokens", *gone)
    assert (ran.status, ran.err) == (2, "snapkit: the next step: broke; look\n")
    secret = re.findall(r"secret ([0-9a-f-]{36})", ran.out)[0]
    assert Client(friday.address, token=secret).self_token()["Name"] == "ops dashboard"


def test_files_for_the_nomad_command(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    said = fine("recover", "--to", folder, THURSDAY, *LOST)
    assert said.splitlines() == [
        f"nomad var put -in json @{folder}/payments_psp%2Fcredentials.var.json",
        f"nomad job run -json {folder}/payments_payments.job.json",
        f"# as it was submitted, before it was scaled: {folder}/payments_payments.submitted.hcl",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert "is there already" in failed(run("recover", "--to", folder, THURSDAY, *LOST))
    told = json.loads(fine("recover", "--overwrite", "--json", "--to", folder, THURSDAY, *LOST[:3]))
    assert [set(one) for one in told] == [{"Path", "Table", "Key", "Command"}] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nosuch", "x"), "is no table"),
        (("jobs", "shop"), "takes a key of Namespace, ID"),
        (("nodes", "x"), "can't be brought back one by one"),
        (("jobs", "shop", "nosuch"), "nor is a version, an allocation or the source of it"),
        (("--dry-run", "--to", "x", "jobs", "shop", "web"), "asks no cluster"),
    ],
)
def test_what_is_wrong_is_one_line(friday: ServedCluster, arguments: tuple[str, ...], words: str) -> None:
    options = [] if "--to" in arguments else ["--confirm", friday.address]
    assert words in failed(run("recover", *options, THURSDAY, *arguments))
