"""What a stored notebook may hold: outputs of a run from top to bottom, and nothing that stays out of commits."""

import json
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
ORACLES = ROOT / "tests" / "oracles" / "v2.0.5"


def secrets() -> list[str]:
    tokens = json.loads((ORACLES / "tokens.json").read_text())
    found = [json.loads((ORACLES / "bootstrap.json").read_text())["SecretID"]]
    found += [token["SecretID"] for token in (tokens if isinstance(tokens, list) else tokens.values())]
    for variable in json.loads((ORACLES / "variables.json").read_text()):
        found += [value for value in variable["Items"].values() if len(value) > 5]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_was_run_from_top_to_bottom(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_holds_no_secret_no_machine_path_and_is_small(path: Path) -> None:
    text = path.read_text()
    assert not [secret for secret in secrets() if secret in text]
    assert str(ROOT) not in text
    assert "/root/" not in text
    assert "/home/" not in text
    assert len(text) < 400_000  # the most have charts, each as SVG and as PNG
