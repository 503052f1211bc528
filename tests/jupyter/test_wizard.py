"""The restore wizard: what each button unlocks, what stops it, and that it stands where the journal says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import snapkit
from snapkit.cluster.journal import read
from snapkit.cluster.server import ServedCluster
from snapkit.jupyter.wizard import RestoreWizard

from ..conftest import path_of

pytest.importorskip("ipywidgets")

THURSDAY, FRIDAY = path_of("v2.0.5/thursday"), path_of("v2.0.5/friday")


@pytest.fixture
def cluster() -> Iterator[ServedCluster]:
    with snapkit.serve(FRIDAY) as cluster:
        yield cluster


def wizard(cluster: ServedCluster, folder: Path, src: Any = THURSDAY) -> RestoreWizard:
    client = snapkit.Client(cluster.address, token=cluster.token)
    return RestoreWizard(client, src, folder / "restore.journal", patience=5)


def status(steps: RestoreWizard) -> str:
    return steps.outcome.status if steps.outcome is not None else ""


def test_its_steps_unlock_one_after_the_other(cluster: ServedCluster, tmp_path: Path) -> None:
    steps = wizard(cluster, tmp_path)
    assert steps.stage == "new"
    assert steps.restore_button.disabled
    assert steps.confirm.disabled
    assert steps.go_on_button.disabled
    assert steps.back_button.disabled
    steps.plan_button.click()
    assert steps.stage == "planned", steps.message.value
    assert steps.plan is not None
    assert "payments" in steps.plan_view.value
    assert steps.restore_button.disabled
    steps.confirm.value = "y"
    assert steps.restore_button.disabled
    steps.restore_button.click()
    assert steps.stage == "planned", "nothing was begun"
    steps.confirm.value = steps.plan.confirmation
    assert not steps.restore_button.disabled
    steps.restore_button.click()
    assert steps.stage == "ended", steps.message.value
    assert steps.outcome is not None
    assert steps.outcome.status == "restored"
    assert Path(steps.outcome.safety).exists()
    assert steps.plan_button.disabled
    assert steps.restore_button.disabled


def test_it_stands_where_the_journal_says_and_rolls_back(cluster: ServedCluster, tmp_path: Path) -> None:
    first = wizard(cluster, tmp_path)
    first.plan_button.click()
    assert first.plan is not None
    first.confirm.value = first.plan.confirmation
    first.restore_button.click()
    again = wizard(cluster, tmp_path)  # "restart and run all"
    assert again.stage == "ended"
    assert again.outcome is not None
    assert again.outcome.status == "restored"
    assert not again.back_button.disabled
    again.back_button.click()
    assert "confirmation" in again.message.value
    assert status(again) == "restored"
    again.confirm.value = first.plan.confirmation
    again.back_button.click()
    assert status(again) == "rolled back", again.message.value
    client = snapkit.Client(cluster.address, token=cluster.token)
    with client.snapshot() as live:
        assert ("payments", "payments") not in live.jobs.index
    assert status(wizard(cluster, tmp_path)) == "rolled back"


def test_a_damaged_archive_is_a_red_stop(cluster: ServedCluster, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.snap"
    damaged.write_bytes(THURSDAY.read_bytes()[:-20])
    steps = wizard(cluster, tmp_path, damaged)
    steps.plan_button.click()
    assert steps.stage in ("new", "stopped")
    assert "color:" in steps.message.value
    assert steps.restore_button.disabled
    assert not (tmp_path / "restore.journal").exists()


def test_one_that_was_interrupted_goes_on(
    cluster: ServedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = wizard(cluster, tmp_path)
    steps.plan_button.click()
    assert steps.plan is not None
    steps.confirm.value = steps.plan.confirmation

    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(snapkit.Client, "restore", stop)
        steps.restore_button.click()
    assert steps.stage == "interrupted"
    assert "interrupted" in steps.message.value
    again = wizard(cluster, tmp_path)
    assert again.stage == "interrupted"
    assert not again.go_on_button.disabled
    again.go_on_button.click()
    assert again.stage == "ended", again.message.value
    assert again.outcome is not None
    assert again.outcome.status == "restored"
    assert read(tmp_path / "restore.journal")[-1].step == "end"


def test_a_journal_that_was_altered_is_told(cluster: ServedCluster, tmp_path: Path) -> None:
    steps = wizard(cluster, tmp_path)
    steps.plan_button.click()
    (tmp_path / "restore.journal").write_text("this is none\n")
    steps.plan_button.click()
    assert "altered" in steps.message.value
    assert steps.restore_button.disabled


def test_without_a_kernel_it_is_a_page(cluster: ServedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = wizard(cluster, tmp_path)
    steps.plan_button.click()
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    steps._ipython_display_()
    static, live = shown
    assert "application/vnd.jupyter.widget-view+json" in live
    assert "Restore plan" in static["text/html"]
    assert static["text/plain"] == "<RestoreWizard planned>"
    assert cluster.token not in static["text/html"]
