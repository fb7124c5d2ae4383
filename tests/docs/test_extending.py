"""The examples of docs/extending.md, put where it says, in a study of their own."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import NAMES, ROOT, SHRINK, clone, shell

DOC = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
ASKED = [
    "data.source=stripes", "explain.explainers=[lime,input_x_gradient]", "tune.n_trials=1",
    "explain.correct_per_class=0", "explain.lime.stability.images=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with the examples, and a finished study with them."""
    project = clone(tmp_path_factory.mktemp("extended") / "project")
    for path, code in re.findall(r"^`(src/glassbox/\S+\.py)`:\n\n```python\n(.*?)```", DOC, re.DOTALL | re.MULTILINE):
        assert not (project / path).exists()
        (project / path).write_text(code, encoding="utf-8")
    lines = re.findall(r"in `([A-Z]+)` of\s`(src/glassbox/\S+\.py)`.*?```python\n(.*?)```", DOC, re.DOTALL)
    for table, path, line in lines:
        file = project / path
        text, found = re.subn(rf"^({table} = {{.*)$", rf"\1\n{line.rstrip()}", file.read_text(), flags=re.MULTILINE)
        assert found == 1
        file.write_text(text)
    own = {"PYTHONPATH": str(project / "src"), "GLASSBOX_TRACKING": "off"}
    shell("python", "-m", "glassbox", "select", "digits", *SHRINK, *ASKED, cwd=project, **own)
    for name in NAMES:
        shell("python", "-m", f"stages.{name}", cwd=project, **own)
    return project


def test_there_are_three_examples_and_two_lines(extended):
    changed = shell("git", "status", "--porcelain", "--untracked-files=all", "src", cwd=extended).stdout.split()
    assert sorted(changed) == sorted(
        ["M", "src/glassbox/xai_metrics/catalog.py", "M", "src/glassbox/explainers/catalog.py",
         "??", "src/glassbox/data/sources/stripes.py", "??", "src/glassbox/explainers/input_x_gradient.py",
         "??", "src/glassbox/xai_metrics/complexity.py"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("explainers/input_x_gradient.py", ["explain", "score", "report"]),
        ("explainers/catalog.py", ["explain", "score", "report"]),
        ("xai_metrics/complexity.py", ["score", "report"]),
        ("xai_metrics/catalog.py", ["score", "report"]),
        ("data/sources/stripes.py", ["prepare", "report"]),
    ],
)
def test_they_rerun_the_stages_that_use_them_and_no_others(file, stages):
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    path = f"src/glassbox/{file}"
    reads = [
        name for name, one in pipeline.items() if any(path == dep or path.startswith(f"{dep}/") for dep in one["deps"])
    ]
    assert reads == stages


def test_they_are_all_the_way_in_a_study(extended):
    card = json.loads((extended / "reports/prepare/card.json").read_text())
    assert card["classes"] == ["left", "right"]
    index = pd.read_csv(extended / "reports/explain/index.csv")
    assert set(index["explainer"]) == {"lime", "input_x_gradient", "random"}
    scores = pd.read_csv(extended / "reports/score/scorecard.csv")
    found = scores[(scores["metric"] == "complexity") & (scores["kind"] == "explainer")].set_index("explainer")["mean"]
    # At most that of a map of one value: LIME's where a network is so sure that no hidden region changes it.
    assert 0 < found["lime"] <= np.round(np.log(32 * 32), 8)
    assert 0 < found["input_x_gradient"] < np.log(32 * 32)
    ranked = json.loads((extended / "reports/score/ranking.json").read_text())["metrics"]
    assert {test["explainer"] for test in ranked["deletion_auc"]["controls"]} == {"lime", "input_x_gradient"}
    assert "complexity" not in ranked  # a description
    page = (extended / "reports/index.html").read_text()
    assert "Input x gradient" in page
    assert "complexity" in page


def test_their_answers_on_paper(extended):
    code = """
import numpy as np, torch
from conftest import LinearNetwork, plain
from glassbox.explainers.base import Request, Setup
from glassbox.explainers.input_x_gradient import make
from glassbox.xai_metrics.complexity import complexity

one, four = np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), np.float32)
one[0, 3, 3], four[0, :2, :2] = -5, 2
assert np.allclose(complexity(np.concatenate([one, four, 0 * one])), [0, np.log(4), np.log(64)])

weights = np.arange(16.0).reshape(4, 4) - 7
image = torch.full((1, 4, 4, 3), 51, dtype=torch.uint8)
image[0, 0, 0] = 255
explainer = make(Setup(None, None, None, (0, 0, 0), batch_size=4))
maps = explainer(plain(LinearNetwork(weights)), Request(image, torch.tensor([1]), (0,))).maps
assert np.allclose(maps[0], 3 * weights * image[0, :, :, 0].numpy() / 255)
"""
    folders = f"{extended / 'src'}:{ROOT / 'tests'}"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": folders}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_they_pass_the_linters(extended):
    for command in (("check",), ("format", "--check")):
        shell("python", "-m", "ruff", *command, "src", cwd=extended)
