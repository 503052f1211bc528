"""`snapkit restore`: never without a verified archive, a save of the state before and a typed confirmation."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit import Client
from snapkit.cluster import connection
from snapkit.cluster.connection import PermissionDeniedError, RestoreUnclearError
from snapkit.cluster.journal import read
from snapkit.cluster.server import Faults, ServedCluster
from tests import damage, forge

from ..conftest import DATA, RAFT_DIRECTORIES, path_of
from . import Ran, command, environment, failed, fine, run

THURSDAY, FRIDAY, MONDAY_1_8 = map(path_of, ("v2.0.5/thursday", "v2.0.5/friday", "v1.8.4/monday"))
CONFIRM = "f806eeae"  # the first characters of the week's ClusterID


@pytest.fixture(autouse=True)
def _nobodys_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(connection, "BACKOFF", (0.001,))
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("NOMAD_", "SNAPKIT_")):
            monkeypatch.delenv(name)


def restore(*arguments: object, **kwargs: Any) -> Ran:
    """Without waiting for the cluster to settle."""
    return run("restore", *arguments, "--patience", 0, **kwargs)


def is_(cluster: ServedCluster, archive: Path) -> bool:
    with Client(cluster.address, token=cluster.token).snapshot() as live, snapkit.open(archive) as saved:
        return b"".join(live.chunks()) == b"".join(saved.chunks())


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_plan_then_apply_then_roll_back(friday: ServedCluster, tmp_path: Path) -> None:
    said = fine("restore", THURSDAY, "--plan", "-o", "plan.json")
    assert said.startswith("Restore plan ")
    assert "comes back: table jobs, payments/payments" in said
    assert f"to confirm, type {CONFIRM}" in said
    assert is_(friday, FRIDAY)
    assert files(tmp_path) == ["plan.json"]
    ran = restore(THURSDAY, "--apply", "plan.json", "--confirm", CONFIRM, "--journal", "j.jsonl", "--who", "ann@desk")
    assert (ran.status, ran.err) == (0, "")
    assert f"{friday.address} has the archive's state: the check says ok" in ran.out
    assert is_(friday, THURSDAY)
    assert files(tmp_path) == ["j-before.snap", "j.jsonl", "plan.json"]
    assert (tmp_path / "j-before.snap").read_bytes() == FRIDAY.read_bytes()
    (head,) = re.findall("its newest line ([0-9a-f]{64})", ran.out)
    assert {e.who for e in read("j.jsonl", anchor=head)} == {"ann@desk"}
    assert restore("--resume", "j.jsonl", "-o", "review.html").status == 0
    assert "ann@desk" in (tmp_path / "review.html").read_text()
    assert "is there already" in failed(restore("--resume", "j.jsonl", "-o", "review.html"))
    assert "is missing" in failed(restore("--resume", "j.jsonl", "--rollback"))
    assert is_(friday, THURSDAY)
    back = restore("--resume", "j.jsonl", "--rollback", "--confirm", CONFIRM)
    assert (back.status, back.err) == (0, "")
    assert "has the state of before" in back.out
    assert is_(friday, FRIDAY)


def test_a_plan_of_another_state_is_refused(friday: ServedCluster, tmp_path: Path) -> None:
    fine("restore", THURSDAY, "--plan", "-o", "plan.json")
    with Client(friday.address, token=friday.token).snapshot() as live:
        token = live.acl_tokens.index[-1]
    odd = damage.without("acl_tokens", AccessorID=token)(FRIDAY.read_bytes())
    Client(friday.address, token=friday.token).restore(odd)
    line = failed(restore(THURSDAY, "--apply", "plan.json", "--confirm", CONFIRM))
    assert f"the live state: changed since the plan: acl_tokens {token}" in line
    assert not is_(friday, THURSDAY)
    assert "has the SHA-256" in failed(restore(FRIDAY, "--apply", "plan.json", "--confirm", CONFIRM))
    assert files(tmp_path) == ["plan.json"]


def test_a_try_that_was_refused_is_not_in_the_way(
    friday: ServedCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever it was refused for, the same line does it once that is mended."""
    fine("restore", THURSDAY, "--plan", "-o", "plan.json")
    line = (THURSDAY, "--apply", "plan.json", "--confirm", CONFIRM, "--journal", "j.jsonl")
    for faults in (Faults(no_leader=True), Faults(forbidden=True)):
        friday.faults = faults
        assert restore(*line).status in (1, 2)
    friday.faults = Faults()
    assert files(tmp_path) == ["plan.json"]

    def refused(self: Client, *args: Any, **kwargs: Any) -> None:
        raise PermissionDeniedError("answered 403", self.address, "", 403, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "restore", refused)
        failed(restore(*line))
    assert files(tmp_path) == ["j-before.snap", "j.jsonl", "plan.json"], "it was sent to: that is on record"
    assert restore(*line).status == 0
    assert is_(friday, THURSDAY)
    assert "is there already; an interrupted restore goes on with" in failed(restore(*line))


def test_in_one_go_it_goes_the_same_way(friday: ServedCluster, tmp_path: Path) -> None:
    ran = restore(THURSDAY, "--confirm", CONFIRM)
    assert (ran.status, ran.err) == (0, "")
    assert is_(friday, THURSDAY)
    journal, before = sorted(tmp_path.iterdir(), key=lambda path: path.suffix)
    assert re.fullmatch(r"restore-\d{8}T\d{6}Z\.jsonl", journal.name)
    assert before.name == f"{journal.stem}-before.snap"
    assert before.read_bytes() == FRIDAY.read_bytes()


def test_as_json(friday: ServedCluster) -> None:
    planned = json.loads(fine("restore", THURSDAY, "--plan", "--json"))
    assert planned["schema"] == "snapkit.plan/1"
    assert planned["confirmation"] == CONFIRM
    ran = restore(THURSDAY, "--confirm", CONFIRM, "--json", "--journal", "j.jsonl")
    said = json.loads(ran.out)
    assert (ran.status, said["Status"], said["Journal"]) == (0, "restored", "j.jsonl")
    assert said["Check"]["ok"]


def test_from_standard_input(friday: ServedCluster) -> None:
    assert restore("-", "--confirm", CONFIRM, stdin=THURSDAY.read_bytes()).status == 0
    assert is_(friday, THURSDAY)


@pytest.mark.parametrize("confirm", [[], ["--confirm", ""], ["--confirm", "y"], ["--confirm", CONFIRM[:7]], "address"])
def test_without_the_right_confirmation_nothing_is_sent(confirm: Any, friday: ServedCluster, tmp_path: Path) -> None:
    given = ["--confirm", friday.address] if confirm == "address" else confirm
    failed(restore(THURSDAY, *given))
    done = subprocess.run(
        command("restore", THURSDAY, *given),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert is_(friday, FRIDAY)
    assert files(tmp_path) == []


def at_a_terminal(typed: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `snapkit restore` where a person types."""
    ours, theirs = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    os.write(ours, f"{typed}\n".encode())
    try:
        return subprocess.run(
            command("restore", *arguments, "--patience", 0),
            env=environment(),
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=own_terminal,
        )
    finally:
        os.close(theirs)
        os.close(ours)


@pytest.mark.parametrize("typed", [CONFIRM, "yes"])
def test_at_a_terminal_the_confirmation_is_asked_for(typed: str, friday: ServedCluster) -> None:
    done = at_a_terminal(typed, THURSDAY, "--journal", "j.jsonl")
    assert "comes back: table jobs, payments/payments" in done.stderr, "the plan is shown first"
    assert f"This replaces the whole state of {friday.address}, ACL tokens included." in done.stderr
    assert done.returncode == (0 if typed == CONFIRM else 2)
    assert is_(friday, THURSDAY if typed == CONFIRM else FRIDAY)
    if typed == CONFIRM:
        back = at_a_terminal(typed, "--resume", "j.jsonl", "--rollback")
        assert f"This takes {friday.address} back to what it was" in back.stderr
        assert back.returncode == 0
        assert is_(friday, FRIDAY)


def test_errors_of_preflight_exit_1_unless_accepted(friday: ServedCluster, tmp_path: Path) -> None:
    for way in (["--plan"], ["--confirm", CONFIRM]):
        ran = run("restore", MONDAY_1_8, *way)
        assert ran.status == 1
        assert "error: preflight.key-missing" in ran.out
    assert ran.err.startswith("snapkit: nothing was sent: error: preflight.key-missing: root key ")
    assert "Traceback" not in ran.err
    assert is_(friday, FRIDAY)
    assert files(tmp_path) == []
    ran = restore(MONDAY_1_8, "--confirm", CONFIRM, "--accept", "preflight.key-missing", "--json")
    assert ran.status == 1, "the check finds what was accepted"
    said = json.loads(ran.out)
    assert said["Status"] == "restored"
    assert "check.variable" in {f["check"] for f in said["Check"]["findings"]}


def test_a_safety_save_is_refused_by_its_words_alone(friday: ServedCluster, tmp_path: Path) -> None:
    assert "I-ACCEPT" in failed(restore(THURSDAY, "--confirm", CONFIRM, "--no-safety-save", "yes"))
    assert is_(friday, FRIDAY)
    ran = restore(THURSDAY, "--confirm", CONFIRM, "--no-safety-save", "I-ACCEPT", "--journal", "j.jsonl")
    assert ran.status == 0
    assert files(tmp_path) == ["j.jsonl"]
    assert "state before" not in ran.out
    assert "nothing to roll back to" in failed(restore("--resume", "j.jsonl", "--rollback", "--confirm", CONFIRM))


def test_the_save_may_go_elsewhere_and_replaces_nothing(friday: ServedCluster, tmp_path: Path) -> None:
    (tmp_path / "mine.snap").write_bytes(b"mine")
    assert "is there already" in failed(restore(THURSDAY, "--confirm", CONFIRM, "--safety", "mine.snap"))
    (tmp_path / "j.jsonl").write_bytes(b"mine")
    assert "is there already" in failed(restore(THURSDAY, "--confirm", CONFIRM, "--journal", "j.jsonl"))
    assert is_(friday, FRIDAY)
    assert restore(THURSDAY, "--confirm", CONFIRM, "--safety", "before.snap").status == 0
    assert (tmp_path / "before.snap").read_bytes() == FRIDAY.read_bytes()
    assert (tmp_path / "mine.snap").read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["cut", "flipped", "html", "empty", "missing", "state.bin", "raft directory"])
def test_what_is_no_whole_archive_is_not_sent(kind: str, friday: ServedCluster, tmp_path: Path) -> None:
    data = THURSDAY.read_bytes()
    path = tmp_path / "a.snap"
    made = {
        "cut": data[:-100],
        "flipped": data[:9000] + bytes([data[9000] ^ 1]) + data[9001:],
        "html": b"<html>Please log in</html>",
        "empty": b"",
        "state.bin": forge.untar(data)[1][1],
    }
    if kind in made:
        path.write_bytes(made[kind])
    source = DATA / RAFT_DIRECTORIES[0] if kind == "raft directory" else path
    ran = restore(source, "--confirm", CONFIRM)
    assert ran.status == (1 if kind in ("state.bin", "raft directory") else 2)
    assert "Traceback" not in ran.err
    assert str(source) in ran.err
    assert is_(friday, FRIDAY)
    assert [name for name in files(tmp_path) if name != "a.snap"] == []


def test_without_the_right_it_stops(friday: ServedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOMAD_TOKEN")
    line = failed(restore(THURSDAY, "--confirm", CONFIRM))
    assert "Permission denied" in line
    assert "set NOMAD_TOKEN" in line
    assert is_(friday, FRIDAY)


def test_a_token_to_go_on_with_is_of_the_environment(
    friday: ServedCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with snapkit.open(FRIDAY) as snap:
        tokens = snap.table("acl_tokens", reveal=True).set_index("Name")["SecretID"]
    (tmp_path / "a.snap").write_bytes(damage.without("acl_tokens", Name="Bootstrap Token")(THURSDAY.read_bytes()))
    monkeypatch.setenv("NOMAD_TOKEN", tokens["Bootstrap Token"])
    ran = restore("a.snap", "--confirm", CONFIRM)
    assert ran.status == 1
    assert "preflight.token-lost" in ran.err
    monkeypatch.setenv("SNAPKIT_TOKEN_AFTER", tokens["break glass"])
    ran = restore("a.snap", "--confirm", CONFIRM, "--journal", "j.jsonl")
    assert ran.status == 0
    for secret in (tokens["break glass"], tokens["Bootstrap Token"]):
        assert secret not in ran.out + (tmp_path / "j.jsonl").read_text()


def test_what_is_unclear_says_how_to_go_on(friday: ServedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def restore_(self: Client, *args: Any, **kwargs: Any) -> None:
        friday.faults = Faults(html=True)  # stands for a leader that is stuck
        raise RestoreUnclearError("answered 500: Raft error", self.address, "", 500, "Raft error")

    monkeypatch.setattr(Client, "restore", restore_)
    line = failed(restore(THURSDAY, "--confirm", CONFIRM, "--journal", "j.jsonl"))
    assert "its state can't be read" in line
    assert "snapkit restore --resume j.jsonl" in line
    friday.faults = Faults()
    ran = restore("--resume", "j.jsonl")
    assert ran.status == 2, "what was asked for is not there"
    assert "the cluster did not take the archive" in ran.err
    assert is_(friday, FRIDAY)


def test_ctrl_c_says_how_to_go_on(friday: ServedCluster, tmp_path: Path) -> None:
    friday.faults = Faults(delay=1.0)
    line = command("restore", THURSDAY, "--confirm", CONFIRM, "--journal", "j.jsonl", "--patience", 0)
    with subprocess.Popen(
        line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        journal = tmp_path / "j.jsonl"
        while not (journal.exists() and b"preflight" in journal.read_bytes().partition(b"\n")[2]):
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err.splitlines() == [
        "snapkit: `snapkit restore --resume j.jsonl` goes on, or takes it back with --rollback",
        "snapkit: interrupted",
    ]
    friday.faults = Faults()
    assert restore("--resume", "j.jsonl").status == 0
    assert is_(friday, THURSDAY)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ([], "FILE: is missing"),
        (["a", "--plan", "--apply", "p"], "--apply: does not go with --plan"),
        (["a", "--plan", "--resume", "j"], "--plan: does not go with --resume"),
        (["a", "--rollback"], "--rollback: needs --resume"),
        (["a", "-o", "p"], "--output: needs --plan or --resume"),
        (["--resume", "missing.jsonl"], "missing.jsonl: can't be written"),
        (["missing.snap", "--plan"], "missing.snap"),
        (["missing.snap", "--apply", "missing.json", "--confirm", "x"], "missing.json: can't be read"),
    ],
)
def test_what_makes_no_sense_is_one_line(options: list[str], hint: str, friday: ServedCluster) -> None:
    assert hint in failed(run("restore", *options))
