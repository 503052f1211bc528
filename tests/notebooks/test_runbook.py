"""The runbook with other parameters, as papermill runs it: against a cluster given by its address."""

from __future__ import annotations

from pathlib import Path

import pytest

import snapkit
from snapkit.cluster.journal import read

from ..conftest import ROOT, path_of

papermill = pytest.importorskip("papermill")

RUNBOOK = ROOT / "notebooks" / "04-restore-runbook.ipynb"


def outputs(notebook: object) -> str:
    cells = notebook.cells  # type: ignore[attr-defined]
    return "".join(o.get("text", "") for cell in cells for o in cell.get("outputs", ()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")
def test_the_runbook_runs_against_a_cluster_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with snapkit.serve(path_of("v2.0.5/friday")) as cluster:
        monkeypatch.setenv("NOMAD_TOKEN", cluster.token)
        done = papermill.execute_notebook(
            str(RUNBOOK),
            str(tmp_path / "out.ipynb"),
            parameters={
                "address": cluster.address,
                "archive": str(path_of("v2.0.5/thursday")),
                "work": str(tmp_path),
                "patience": 0.5,
            },
            cwd=str(RUNBOOK.parent),
            kernel_name="python3",
            progress_bar=False,
        )
        told = outputs(done)
        assert "restored and as it should be" in told
        assert "rolled back and as it should be" in told
        assert cluster.token not in (tmp_path / "out.ipynb").read_text()
        client = snapkit.Client(cluster.address, token=cluster.token)
        with client.snapshot() as live:
            assert ("payments", "payments") in live.jobs.index, "recovered, and there again after the rollback"
    assert read(tmp_path / "restore.journal")[-1].step == "end"
    assert (tmp_path / "restore-before.snap").exists()
