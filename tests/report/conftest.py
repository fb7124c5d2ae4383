"""A small finished study: ten test images of two classes, explainers LIME and Grad-CAM, controls random and edges."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from glassbox.core import files
from glassbox.evaluation import chance_level
from glassbox.evaluation.classification import classification_report
from glassbox.explainers.catalog import CONTROLS
from glassbox.explaining.analyses import MISTAKES, PAIRS, RECOGNISED
from glassbox.report import study as finished
from glassbox.report.page import page
from glassbox.report.study import Study
from glassbox.scoring import verdicts

NAMES = ("cat <b>", "dog")
TRUE = np.array([0] * 4 + [1] * 5 + [0])
PREDICTED = np.array([0] * 4 + [1] * 6)  # the last cat is taken for a dog
CONFIDENCE = np.array([0.6, 0.9, 0.8, 0.7, 0.95, 0.85, 0.75, 0.65, 0.55, 0.99])
IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
INDEX = """
map,image,explainer,true_class,predicted_class,explained_class,group,additivity_error,base_value,all_zero,drawn,squares
0,5,kernel_shap,dog,dog,dog,correct,1e-6,0.25,False,True,False
1,5,random,dog,dog,dog,correct,,,False,True,False
"""
SCORED = """
map,image,explainer,explained_class
0,5,lime,dog
1,9,lime,dog
2,5,grad_cam,dog
3,9,grad_cam,dog
"""
VALUES = """
explainer,kind,image,explained_class,deletion_auc[mean],deletion_auc[blur]
lime,explainer,5,dog,0.25,0.5
lime,explainer,9,dog,0.125,0.5
grad_cam,explainer,5,dog,0.75,0.5
grad_cam,explainer,9,dog,,0.5
lime,untrained,9,dog,0.875,0.5
"""
REGIONS = """
image,region,explained_class,probability,probability_without
5,0,dog,0.85,0.25
5,1,dog,0.85,0.875
"""
PICTURES = """
prepare/samples tune/history tune/trials tune/parallel_coordinates train/curves evaluate/confusion_matrix
evaluate/reliability evaluate/mistakes score/scorecard score/outcomes score/faithfulness_and_cost score/randomization
score/ranks/deletion_auc explain/analyses/recognised
"""


def predictions() -> pd.DataFrame:
    table = {"image": range(10), "source_index": range(10), "confidence": CONFIDENCE}
    table |= {"true_class": np.take(NAMES, TRUE), "predicted_class": np.take(NAMES, PREDICTED)}
    table |= {f"p({name})": np.where(k == PREDICTED, CONFIDENCE, 1 - CONFIDENCE) for k, name in enumerate(NAMES)}
    return pd.DataFrame(table)


def scorecard() -> pd.DataFrame:
    """LIME, also at the common number of evaluations and on an untrained network, Grad-CAM, and two controls."""
    subjects = pd.DataFrame(
        {
            "explainer": ["lime", "grad_cam", "random", "edges", "lime", "lime"],
            "kind": ["explainer", "explainer", "control", "control", "untrained", "matched"],
        }
    )
    text = """
metric,setting,ranks,direction,property,n,mean,low,high
deletion_auc,mean,True,lower is better,faithfulness,11,0.5,0.4,0.6
deletion_auc,blur,False,lower is better,faithfulness,11,0.5,0.4,0.6
emprt,mean,True,unranked,faithfulness,0,,,
emprt,blur,False,unranked,faithfulness,0,,,
forward_passes,,False,lower is better,cost,11,20.0,1,3
backward_passes,,False,lower is better,cost,11,10.0,1,3
"""
    empty = {name: [""] for name in ("mean", "low", "high")}
    return subjects.merge(pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=empty), how="cross")


def against_all(explainer: str, **outcomes: str) -> list[dict]:
    """The tests of an explainer against all controls and itself on an untrained network, by a metric of which less is
    better. Its outcome is better, where `outcomes` has no other one."""
    tests = []
    for control in [*CONTROLS, f"untrained {explainer}"]:
        outcome = outcomes.get(control.partition(" ")[0], "better")
        difference = {"better": -0.25, "worse": 0.125, "undecided": -0.03125}[outcome]
        ends = {"low": difference - 0.0625, "high": difference + 0.0625}
        about = {"explainer": explainer, "control": control, "n": 11, "p": 0.5, "p_holm": 0.5, "outcome": outcome}
        tests.append(about | {"difference": difference} | ends)
    return tests


def contents() -> dict[str, dict]:
    """The JSON files by path."""
    contents = YAML(typ="safe").load(Path(__file__).with_name("study.yaml"))
    contents["reports/evaluate/metrics.json"] |= chance_level.measure(TRUE, PREDICTED, NAMES, 0.95)
    ranking = contents["reports/score/ranking.json"]
    ranking["metrics"]["deletion_auc"]["controls"] = against_all("lime") + against_all(
        "grad_cam", edges="worse", brightness="undecided", untrained="undecided"
    )
    ranking["verdicts"] = verdicts.sentences(ranking)
    return contents


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    """The folder of the study."""
    folder = tmp_path_factory.mktemp("finished")
    reports = folder / "reports"
    for path, content in contents().items():
        files.write_json(folder / path, content)
    pair = {"a_class": [NAMES[0]], "b_class": [NAMES[1]], "a_as_b": [1], "b_as_a": [0]}
    tables = {
        "tune/trials": pd.DataFrame({"trial": [0, 1], "state": ["pruned", "complete"]}),
        "train/curves": pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, 0.4]}),
        "evaluate/classification_report": classification_report(TRUE, PREDICTED, NAMES, 0.95),
        "evaluate/predictions": predictions(),
        "evaluate/confused_pairs": pd.DataFrame(pair),
        "explain/index": pd.read_csv(io.StringIO(INDEX)),
        "explain/regions": pd.read_csv(io.StringIO(REGIONS)),
        "explain/recognised": pd.DataFrame(columns=RECOGNISED),
        "explain/mistakes": pd.DataFrame(columns=MISTAKES),
        "explain/pairs": pd.DataFrame(columns=PAIRS),
        "score/scorecard": scorecard(),
        "score/maps": pd.read_csv(io.StringIO(SCORED)),
        "score/values": pd.read_csv(io.StringIO(VALUES)),
    }
    for name, table in tables.items():
        files.write_csv(reports / f"{name}.csv", table)
    maps = np.linspace(-1, 1, 2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8)
    halves = np.repeat([[0] * 4 + [1] * 4], 8, axis=0).astype(np.uint16)[None]
    removal = np.array([[0.85, 0.5, 0.25], [0.85, 0.75, 0.25]], dtype=np.float32)
    arrays = {"maps": maps, "images": IMAGES[5:6], "regions": halves, "removal": removal}
    files.write_npz(reports / "explain/attributions.npz", arrays)
    files.write_npz(reports / "score/maps.npz", {"maps": np.repeat(maps[:1], 4, axis=0).astype(np.float16)})
    for name in PICTURES.split():
        (reports / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(reports / f"{name}.png")
    return folder


@pytest.fixture
def folder(written, tmp_path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(written, tmp_path / "copy"))


@pytest.fixture
def study(written, params) -> Study:
    return finished.read(params, written / "reports", written / "models")


def shown(study: Study) -> str:
    """The report page, its white space collapsed."""
    return " ".join(page(study, IMAGES, "0123456789abcdef").split())
