"""The examples of docs/extending.md, in the places that the page names, in a study of their own."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import NAMES, ROOT, SHRINK, clone, shell

DOC = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
CHANGES = [
    "data.source=stripes",
    "explain.explainers=[lime,input_x_gradient]",
    "tune.n_trials=1",
    "explain.correct_per_class=0",
    "explain.lime.stability.images=0",
]
STAGES = f"""
import importlib, sys
import stages
from glassbox import cli

cli.select("digits", *sys.argv[1:])
for name in {NAMES}:
    importlib.import_module(f"stages.{{name}}").main()
"""
ANSWERS = """
import numpy as np, torch
from conftest import LinearNetwork, plain
from glassbox.explainers.base import Request, Setup
from glassbox.explainers.input_x_gradient import make
from glassbox.xai_metrics.complexity import complexity

point, square = np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), np.float32)
point[0, 3, 3], square[0, :2, :2] = -5, 2
assert np.allclose(complexity(np.concatenate([point, square, 0 * point])), [0, np.log(4), np.log(64)])

weights = np.arange(16.0).reshape(4, 4) - 7
image = torch.full((1, 4, 4, 3), 51, dtype=torch.uint8)
image[0, 0, 0] = 255
explainer = make(Setup(None, None, None, (0, 0, 0), batch_size=4))
maps = explainer(plain(LinearNetwork(weights)), Request(image, torch.tensor([1]), (0,))).maps
assert np.allclose(maps[0], 3 * weights * image[0, :, :, 0].numpy() / 255)
print("answers as on paper")
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with the examples, a finished study with them, and its output. One process runs all stages
    and compares the examples with answers on paper."""
    project = clone(tmp_path_factory.mktemp("extended") / "project")
    for path, code in re.findall(r"^`(src/glassbox/\S+\.py)`:\n\n```python\n(.*?)```", DOC, re.DOTALL | re.MULTILINE):
        assert not (project / path).exists()
        (project / path).write_text(code, encoding="utf-8")
    lines = re.findall(r"in `([A-Z]+)` of\s`(src/glassbox/\S+\.py)`.*?```python\n(.*?)```", DOC, re.DOTALL)
    for table, path, line in lines:
        file = project / path
        text, n = re.subn(rf"^({table} = {{.*)$", rf"\1\n{line.rstrip()}", file.read_text(), flags=re.MULTILINE)
        assert n == 1
        file.write_text(text)
    code = {"PYTHONPATH": f"{project / 'src'}:{ROOT / 'tests'}", "GLASSBOX_TRACKING": "off"}
    done = shell("python", "-c", STAGES + ANSWERS, *SHRINK, *CHANGES, cwd=project, **code)
    return project, done.stdout


def test_there_are_three_examples_and_two_lines_that_pass_the_linters(extended):
    project, _ = extended
    changed = shell("git", "status", "--porcelain", "--untracked-files=all", "src", cwd=project).stdout.splitlines()
    lines = [f" M src/glassbox/{package}/catalog.py" for package in ("explainers", "xai_metrics")]
    names = ("data/sources/stripes", "explainers/input_x_gradient", "xai_metrics/complexity")
    assert sorted(changed) == [*lines, *(f"?? src/glassbox/{name}.py" for name in names)]
    for command in (("check",), ("format", "--check")):
        shell("python", "-m", "ruff", *command, "src", cwd=project)


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("explainers/input_x_gradient.py", ["explain", "score", "audit", "repair", "report"]),
        ("explainers/catalog.py", ["explain", "score", "audit", "repair", "report"]),
        ("xai_metrics/complexity.py", ["score", "report"]),
        ("xai_metrics/catalog.py", ["score", "report"]),
        ("data/sources/stripes.py", ["prepare", "report"]),
    ],
)
def test_they_rerun_the_stages_that_use_them_and_no_others(file, stages):
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    path = f"src/glassbox/{file}"
    depends = {
        name: any(path == dep or path.startswith(f"{dep}/") for dep in pipeline[name]["deps"]) for name in pipeline
    }
    assert [name for name in pipeline if depends[name]] == stages


def test_the_study_has_them_in_all_its_results(extended):
    project, output = extended
    assert "answers as on paper" in output
    card = json.loads((project / "reports/prepare/card.json").read_text())
    assert card["classes"] == ["left", "right"]
    index = pd.read_csv(project / "reports/explain/index.csv")
    assert set(index["explainer"]) == {"lime", "input_x_gradient", "random"}
    scores = pd.read_csv(project / "reports/score/scorecard.csv")
    scores = scores[(scores["metric"] == "complexity") & (scores["kind"] == "explainer")].set_index("explainer")["mean"]
    # At most that of a constant map: LIME's, where the network is so sure that no hidden region changes its answer.
    assert 0 < scores["lime"] <= np.round(np.log(32 * 32), 8)
    assert 0 < scores["input_x_gradient"] < np.log(32 * 32)
    ranked = json.loads((project / "reports/score/ranking.json").read_text())["metrics"]
    assert {test["explainer"] for test in ranked["deletion_auc"]["controls"]} == {"lime", "input_x_gradient"}
    assert "complexity" not in ranked  # a description
    page = (project / "reports/index.html").read_text()
    assert "Input x gradient" in page
    assert "complexity" in page
