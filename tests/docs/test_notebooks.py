"""The notebooks of docs/notebooks run, and their results have what their text says."""

import json

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

from glassbox.explainers.catalog import CONTROLS

NOTEBOOK = ROOT / "docs/notebooks/own-model.ipynb"
CHECK = """
import json
import sys

print(json.dumps({
    "scores": [len(judgement.scores), sorted(judgement.scores["explainer"].unique())],
    "intervals": bool(judgement.table.query("ranks")[["low", "high"]].notna().all(axis=None)),
    "tests": judgement.against_controls.groupby(["explainer", "metric"]).size().unique().tolist(),
    "images": int(judgement.against_controls["n"].max()),
    "outcomes": sorted(judgement.against_controls["outcome"].unique()),
    "detectable": judgement.power["detectable"].gt(0).tolist(),
    "imported": sorted({"mlflow", "dvc", "optuna", "ray"} & {*sys.modules}),
}))
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after a run in a folder of its own, with a cell more, which prints what is checked."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(CHECK))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "src"))
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(folder / name))
        work = folder / "work"
        work.mkdir()
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": work}}).execute()
    assert [*work.iterdir()] == []  # it writes nothing
    return notebook


def test_no_cell_fails_and_figures_and_tables_are_shown(executed):
    shown = [output.get("data", {}) for cell in executed.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in data for data in shown) == 3
    assert any("Outcomes against the controls" in data.get("text/html", "") for data in shown)


def test_the_dataframes_have_what_the_text_says(executed):
    result = json.loads(executed.cells[-1].outputs[-1].text)
    explainers = ["lime", "kernel_shap", "integrated_gradients", "grad_cam"]
    assert result["scores"] == [50 * (4 + len(CONTROLS)), sorted([*explainers, *CONTROLS])]
    assert result["intervals"]
    assert result["tests"] == [len(CONTROLS)]
    assert result["images"] == 50
    assert set(result["outcomes"]) <= {"better", "worse", "undecided"}
    assert result["detectable"] == [True, True]
    assert result["imported"] == []


def test_the_notebook_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
