"""The public API, as a notebook uses it: any network, no DVC, no MLflow, no parameter file."""

import doctest
import subprocess
import sys
from inspect import isfunction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, LinearNetwork

import glassbox
from glassbox import api
from glassbox.api_arguments import DEFAULTS
from glassbox.config import parameters
from glassbox.config.explain import Explain
from glassbox.config.loading import load
from glassbox.config.score import Score
from glassbox.core.errors import UserError

SCRIPT = """
import sys

import glassbox
import numpy
import torchvision

network = torchvision.models.resnet18(num_classes=4)
classifier = glassbox.Classifier(network, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), classes=("a", "b", "c", "d"))
images = numpy.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=numpy.uint8)
maps = glassbox.explain(classifier=classifier, images=images, explainer="grad_cam").maps
scores = glassbox.score(classifier=classifier, images=images, maps=maps, metrics=["deletion_auc"])
figure = glassbox.plot(image=images[0], attribution=maps[0])
print(maps.shape, scores.shape[0], len(figure.axes))
print(sorted({"mlflow", "dvc", "optuna", "ray"} & set(sys.modules)))
"""


def test_a_script_of_fifteen_lines_explains_a_network_of_torchvision(tmp_path):
    """Somewhere else, without DVC, MLflow or a parameter file. It writes nothing, and imports glassbox at once."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", SCRIPT],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["(5, 64, 64) 5 3", "[]"], done.stderr[-2000:]
    (line,) = [line for line in done.stderr.splitlines() if line.split("|")[-1].strip() == "glassbox"]
    assert int(line.split("|")[1]) < 100_000, line  # microseconds
    assert [*tmp_path.iterdir()] == []
    assert len(SCRIPT.strip().splitlines()) <= 16


def test_public_names_exist_and_others_do_not():
    assert set(glassbox.__all__) <= set(dir(glassbox))
    assert all(getattr(glassbox, name) is not None for name in glassbox.__all__)
    defined = {name for name, value in vars(api).items() if isfunction(value) and value.__module__ == api.__name__}
    public = {name for name in defined if not name.startswith("_")} | {"Classifier"}
    assert public == set(glassbox.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'explian'"):
        _ = glassbox.explian


def test_the_examples_in_docstrings_run():
    assert doctest.testmod(api).failed == 0


def test_defaults_are_those_of_the_default_study():
    shipped = parameters.read(ROOT / "studies/digits.yaml")
    explain, score = load(Explain, Score, file=DEFAULTS)
    assert (explain, score) == (shipped.explain, shipped.score)


WEIGHTS = np.arange(64.0).reshape(8, 8) - 20


@pytest.fixture
def linear() -> glassbox.Classifier:
    """The logit of class 1 is a weighted sum of the colours, that of class 0 is zero."""
    return glassbox.Classifier(LinearNetwork(WEIGHTS / 3))


def test_integrated_gradients_of_a_linear_network_is_weight_times_difference(linear):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    settings = {"baseline": "black", "steps": 8}
    maps = glassbox.explain(classifier=linear, images=images, targets=[1, 1, 1], settings=settings).maps
    assert maps == pytest.approx(WEIGHTS * images.mean(axis=3) / 255, abs=1e-4)


def test_the_same_seed_gives_the_same_maps_and_the_classifier_is_left_as_it_was(linear):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    background = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    before = {name: value.clone() for name, value in linear.state_dict().items()}
    first, again, other = (
        glassbox.explain(
            classifier=linear,
            images=images,
            explainer="kernel_shap",
            background=background,
            settings={"coalitions": 64, "background": 5, "superpixels": {"segments": 16}},
            seed=seed,
        ).maps
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert first.shape == other.shape == (2, 8, 8)
    assert all(torch.equal(value, before[name]) for name, value in linear.state_dict().items())


def test_scores_have_a_row_an_image_and_prefer_the_right_map(linear):
    images = np.full((3, 8, 8, 3), 200, dtype=np.uint8)
    right = np.repeat(WEIGHTS[None], 3, axis=0).astype(np.float32)
    masks = np.repeat((WEIGHTS > 30)[None], 3, axis=0)
    arguments = {"classifier": linear, "images": images, "targets": [1, 1, 1], "masks": masks}
    good, bad = (glassbox.score(maps=maps, **arguments) for maps in (right, -right))
    assert len(good) == 3
    first = {name: next(column for column in good if column.startswith(name)) for name in ("deletion", "excess_rank")}
    assert (good[first["excess_rank"]] > bad[first["excess_rank"]]).all()
    assert {column.partition("[")[0] for column in good} <= set(glassbox.metrics())
    some = glassbox.score(maps=right, metrics=["excess_rank_accuracy"], **arguments)
    pd.testing.assert_series_equal(some[first["excess_rank"]], good[first["excess_rank"]])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"explainer": "magic"}, "explainer is 'magic', but must be one of lime, kernel_shap"),
        (
            {"explainer": "kernel_shap", "settings": {"background": 1}},
            "kernel_shap needs a background of 1 images, and none are given",
        ),
        ({"images": np.zeros((2, 8, 8, 3))}, r"images are \(2, 8, 8, 3\) float64, but must be \(N, H, W, 3\) uint8"),
        ({"images": np.zeros((2, 8, 8), np.uint8)}, r"images are \(2, 8, 8\) uint8, but must be"),
        ({"targets": [1]}, r"targets are \(1,\), but there are 2 images"),
        ({"targets": [0, 2]}, r"targets are \[0, 2\], but must be from 0 to 1"),
        ({"settings": {"stepz": 3}}, "stepz"),
        ({"settings": {"steps": 0}}, "steps"),
    ],
)
def test_a_wrong_argument_is_one_sentence(linear, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        glassbox.explain(**({"classifier": linear, "images": np.zeros((2, 8, 8, 3), np.uint8)} | changes))


def test_a_wrong_map_or_metric_is_one_sentence(linear):
    images, maps = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), np.float32)
    with pytest.raises(UserError, match=r"maps have the shape \(1, 8, 8\), but the images require \(2, 8, 8\)"):
        glassbox.score(classifier=linear, images=images, maps=maps[:1])
    with pytest.raises(UserError, match="metrics has 'excess_rank_accuracy', but must be of deletion_auc"):
        glassbox.score(classifier=linear, images=images, maps=maps, metrics=["excess_rank_accuracy"])


def test_a_finished_study_is_read_and_compared(made_study, tmp_path):
    project: Path = made_study[0]
    study = glassbox.load_study(folder=project)
    assert study.metrics["images"] > 0
    classifier = glassbox.load_classifier(folder=project / "models")
    assert classifier.classes == tuple(study.card["classes"])
    sides = glassbox.compare(a=project, b=project)
    assert not sides.found.metrics["outcome"].isin(["better", "worse"]).any()
