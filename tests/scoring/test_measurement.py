"""Scoring on a network that was trained on planted glyphs, for seconds: what is right and wrong is known."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SMALL_CNN, model
from torch.nn.functional import cross_entropy

from glassbox import models
from glassbox.config.explain import GradientShap, IntegratedGradients, KernelShap, Occlusion, Superpixels
from glassbox.core.errors import UserError
from glassbox.data.batches import to_float
from glassbox.data.sources.planted import plant
from glassbox.data.store import Description, Split
from glassbox.explainers import factory
from glassbox.explainers.base import Setup
from glassbox.explainers.catalog import CONTROLS
from glassbox.explainers.running import Bookkeeping
from glassbox.scoring import exposure, measurement, planted_gate, preparation, score_tables
from glassbox.scoring.measurement import METRICS
from glassbox.scoring.preparation import Column
from glassbox.xai_metrics.catalog import MEASUREMENTS

N, TRAIN, SIDE = 3000, 2400, 16
STEPS = 500
CNN = SMALL_CNN | {
    "conv1_filters": 8, "conv1_kernel_size": 5, "dropout_1": 0.0, "conv2_filters": 24, "conv2_kernel_size": 5,
    "activation_func2": "relu", "leaky_relu_alpha_2": None, "dense_units_1": 32, "dense_dropout_1": 0.0,
}  # fmt: skip
CLASSES = ("I", "O", "T", "S", "L")


@pytest.fixture(scope="module")
def planted():
    return plant(N, SIDE, 2, "linear", "white", seed=0)


@pytest.fixture(scope="module")
def test(planted):
    part = planted.take(np.arange(TRAIN, N))
    pixels, labels, masks = (torch.from_numpy(values) for values in (part.pixels, part.labels, part.masks))
    changed = {name: torch.from_numpy(values) for name, values in part.changed.items()}
    return Split(pixels, labels, masks, torch.arange(N), None, changed)


@pytest.fixture(scope="module")
def trained(planted):
    """The network and its card."""
    x, y = to_float(torch.from_numpy(planted.pixels[:TRAIN])), torch.from_numpy(planted.labels[:TRAIN])
    about = Description("planted", planted.classes, SIDE, {}, (0.5,) * 3, (0.3,) * 3, True, "0" * 64)
    network = model("cnn", CNN)
    classifier = models.fresh(network, about, 0, torch.device("cpu")).train()
    optimizer = torch.optim.Adam(classifier.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, STEPS)
    for rows in torch.randint(0, TRAIN, (STEPS, 64), generator=torch.Generator().manual_seed(0)):
        optimizer.zero_grad()
        cross_entropy(classifier(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()
    return classifier.eval(), models.describe(network, classifier, about, [])


@pytest.fixture(scope="module")
def settings(params):
    explain, score = params.explain, params.score
    robustness = {
        "images": 4,
        "draws": 2,
        "attack_steps": 3,
        "noise": (0.05, 0.02, 0.1),
        "brightness": (0.1, 0.05, 0.2),
        "shift": (1, 2, 3),
        "attack": (0.02, 0.01, 0.04),
    }
    changes = {
        "images": 40,
        "steps": 16,
        "matched_evaluations": 185,
        "correlation": score.correlation.model_copy(update={"draws": 20}),
        "robustness": score.robustness.model_copy(update=robustness),
        "randomization": score.randomization.model_copy(update={"images": 4, "steps": 2}),
    }
    quick = {
        "explainers": ("integrated_gradients", "grad_cam", "lime", "occlusion"),  # 170 forward passes of occlusion
        "occlusion": Occlusion(window=4, stride=1),
        "lime": explain.lime.model_copy(update={"samples": 60}),
        "superpixels": Superpixels(segments=20, compactness=10.0, sigma=0.0),
        "integrated_gradients": IntegratedGradients(steps=16, baseline="mean"),
    }
    return explain.model_copy(update=quick), score.model_copy(update=changes)


@pytest.fixture(scope="module")
def ground(trained, test, settings):
    classifier, card = trained
    predicted = models.probabilities(classifier, test.images, 128).argmax(dim=1).numpy()
    explain, score = settings
    setup = Setup(classifier, explain, torch.zeros(4, SIDE, SIDE, 3, dtype=torch.uint8), (0.7,) * 3, batch_size=128)
    return preparation.prepare(setup, score, card=card, test=test, predicted=predicted)


@pytest.fixture(scope="module")
def scored(ground):
    moved = []
    made = list(measurement.score(ground, moved.append))
    assert sum(moved) == measurement.steps(ground)
    return made


def test_the_gate_opens_for_a_network_that_learnt_the_glyphs_alone(trained, test, ground):
    checks = planted_gate.check(trained[0], test, 128)
    assert [check.passed for check in checks] == [True] * 4
    assert "accuracy is 0." in planted_gate.refusal(planted_gate.check(ground.untrained, test, 128))


def test_images_are_drawn_by_the_seed_alone(ground, test):
    def rows(images: int, seed: int, n: int = 100) -> list[int]:
        return preparation.draw(np.zeros(n), images, seed, by_class=False).tolist()

    assert ground.rows.tolist() == rows(40, 0, n=len(test))
    assert torch.equal(ground.request.images, test.images[ground.rows])
    assert rows(40, 0) != rows(40, 1)
    assert len(set(rows(40, 0))) == 40
    assert sorted(rows(40, 0, n=7)) == list(range(7))  # there are no more


def test_images_are_drawn_by_class():
    labels = np.repeat([0, 1, 2], [80, 15, 5])

    def counts(images: int) -> list[int]:
        return np.bincount(labels[preparation.draw(labels, images, 0, by_class=True)]).tolist()

    assert counts(3) == [1, 1, 1]  # the first few images, which cost most, are of all classes as well
    assert counts(9) == [3, 3, 3]
    assert sorted(counts(30)) == [5, 12, 13]
    assert counts(200) == [80, 15, 5]
    first, other = (preparation.draw(labels, 30, seed, by_class=True).tolist() for seed in (0, 1))
    assert first != other


@pytest.mark.parametrize("name", ["integrated_gradients", "occlusion", "kernel_shap"])
def test_deliberately_broken_explainers_rank_below_the_intact_one(ground, name):
    explain = ground.setup.settings.model_copy(
        update={
            "explainers": (name,),
            "kernel_shap": KernelShap(coalitions=64, tolerance=None, background=1, draw_background=False, classes=0),
            "occlusion": Occlusion(window=4, stride=2),
        }
    )
    white = torch.full((1, SIDE, SIDE, 3), 255, dtype=torch.uint8)
    explainer = factory.make(replace(ground.setup, settings=explain, background=white))[name]
    maps = explainer(ground.setup.classifier, ground.request).maps
    intact = measurement.measure(ground, maps, only_first=True)
    firsts = {column.metric: column for column in reversed(intact)}  # the settings that rank
    ranked = [column for metric, column in firsts.items() if METRICS[metric].higher_is_better is not None]
    assert {METRICS[column.metric].property for column in ranked} == {"faithfulness", "localization"}
    assert len(ranked) == 8
    shifted, transposed = np.roll(maps, (8, 8), axis=(1, 2)), maps.transpose(0, 2, 1)
    for how, wrong in {"sign flipped": -maps, "shifted": shifted, "transposed": transposed}.items():
        worse = measurement.measure(ground, wrong, only_first=True)
        for column in ranked:
            gain = np.nanmean(intact[column]) - np.nanmean(worse[column])
            sign = 1 if METRICS[column.metric].higher_is_better else -1
            assert sign * gain > 0, (how, str(column))


def test_every_subject_is_measured_by_what_belongs_to_it(scored):
    kinds = {}
    for one in scored:
        kinds.setdefault(one.kind, []).append(one.name)
    names = ["integrated_gradients", "grad_cam", "lime", "occlusion"]
    matched = ["occlusion", "lime"]
    assert kinds == {"explainer": names, "control": list(CONTROLS), "untrained": names, "matched": matched}
    assert list(METRICS) == list(MEASUREMENTS)  # each has a title
    full = dict.fromkeys(METRICS, 3) | {"gini": 1}
    further_maps = ("max_sensitivity", "brightness_sensitivity", "shift_sensitivity", "attack_sensitivity", "emprt")
    first = {metric: 1 for metric in METRICS if metric not in further_maps} | {"road": 3, "faithfulness_correlation": 3}
    for one in scored:
        counted = dict(Counter(column.metric for column in one.values))
        own = one.kind in ("explainer", "control")
        if (one.kind, one.name) == ("matched", "occlusion"):  # its own maps: of all that was measured what ranks
            assert counted == dict.fromkeys(METRICS, 1)
        else:
            assert counted == (full if own else first)
        assert all(values.shape == (40,) for values in one.values.values())
        assert (one.curve is not None) == own


def test_what_takes_the_common_number_by_itself_is_not_made_anew(scored):
    own, again, _ = (subject for subject in scored if subject.name == "occlusion")
    assert again.attribution is own.attribution
    assert again.attribution.forward_passes.tolist() == [170] * 40
    for column, values in again.values.items():
        assert values is own.values[column]


def test_the_first_settings_are_those_of_the_parameters(scored):
    columns = list(scored[0].values)
    firsts = {column.metric: column.setting for column in reversed(columns)}
    expected = {"deletion_auc": "mean", "insertion_auc": "blur", "road": "all shares", "emprt": "100 bins"}
    expected |= {"faithfulness_correlation": "0.25 hidden", "max_sensitivity": "noise 0.05"}
    assert firsts.items() >= (expected | {"excess_relevance_mass": "margin 0"}).items()
    assert [Column.parse(str(column)) for column in columns] == columns


def test_random_maps_score_what_chance_does_and_gradients_more(scored):
    means = {(one.kind, one.name): {str(c): np.nanmean(v) for c, v in one.values.items()} for one in scored}
    mass = "excess_relevance_mass[margin 0]"
    assert abs(means["control", "random"][mass]) < 0.02
    assert means["explainer", "integrated_gradients"][mass] > 0.2
    assert means["untrained", "integrated_gradients"][mass] < means["explainer", "integrated_gradients"][mass] - 0.1
    assert means["control", "centre"]["attack_sensitivity[radius 0.02]"] == 0  # it looks at nothing
    assert means["explainer", "integrated_gradients"]["attack_sensitivity[radius 0.04]"] > 0


def test_a_control_does_not_notice_that_the_weights_are_gone(scored):
    rise = {one.name: one.values[Column("emprt", "100 bins")][:4] for one in scored if one.kind == "control"}
    assert all((values == 0).all() for name, values in rise.items())
    curve = next(one.curve for one in scored if one.name == "integrated_gradients")
    assert curve["step"].tolist() == [1] * 4 + [2] * 4
    assert curve["randomised_from"].tolist()[-1] == "block1.conv"
    agreement = curve.groupby("step")["rank_agreement"].mean()
    assert agreement.max() < 0.9


def test_localization_counts_only_where_the_prediction_is_right(ground):
    maps = np.random.default_rng(0).normal(size=(40, SIDE, SIDE))
    wrong = np.zeros(40, bool)
    wrong[:3] = True
    values = measurement.measure(replace(ground, right=~wrong), maps, only_first=True)
    for column, scores in values.items():
        local = METRICS[column.metric].property == "localization"
        assert np.isnan(scores).tolist() == (wrong.tolist() if local else [False] * 40)


def test_the_table_holds_every_value(scored, ground):
    flat = scored[0].attribution.maps.copy()
    flat[[0, 5]], flat[7] = 0, 2.5  # maps of one value
    first = replace(scored[0], attribution=replace(scored[0].attribution, maps=flat))
    table = score_tables.table([first, *scored[1:]], ground, CLASSES)
    assert len(table) == 40 * len(scored)
    last = scored[-1]
    of_last = (table["kind"] == last.kind) & (table["explainer"] == last.name)
    row = table[of_last & (table["image"] == ground.rows[3])].iloc[0]
    assert row["deletion_auc[mean]"] == last.values[Column("deletion_auc", "mean")][3]
    assert np.isnan(row["deletion_auc[blur]"])
    assert np.flatnonzero(table["constant_map"]).tolist() == [0, 5, 7]
    counts = score_tables.constant_maps(table)
    assert counts.pop(first.name) == {"constant": 3, "images": 40}
    assert all(count == {"constant": 0, "images": 40} for count in counts.values())
    assert {"random", "edges"} <= set(counts)
    spent = score_tables.budgets(scored).set_index(["kind", "explainer"])
    # The baseline goes forward once a batch, and 40 images are three batches.
    assert spent.loc[("explainer", "integrated_gradients")].tolist() == [18, 17 + 3 / 40, 16, 16]
    assert (spent["forward_passes"] <= spent["stated_forward_passes"]).all()
    costs = score_tables.costs(scored)
    assert costs["explainer"]["lime"]["milliseconds"] > costs["control"]["random"]["milliseconds"]


def test_only_what_is_looked_at_is_attacked(ground):
    less = {"attack": (0.01,), "images": 2}
    settings = ground.settings.model_copy(update={"robustness": ground.settings.robustness.model_copy(update=less)})
    for names, surrogates in ((("lime",), {"gradient", "regions"}), (("grad_cam",), {"gradient", "features"})):
        setup = replace(ground.setup, settings=ground.setup.settings.model_copy(update={"explainers": names}))
        variations = preparation.variations(setup, settings, ground.request)
        assert {variation.looks_at for variation in variations} - {None} == surrogates


def test_the_watermark_is_exposed_by_gradients_and_not_by_edges(probability, params, settings):
    """Two networks whose evidence is known: one looks at the mark in the corner, the other at the middle."""
    n = 20
    plain, marked = np.zeros((2, n, SIDE, SIDE, 3), np.uint8)
    plain[:, 6:10, 6:10] = marked[:, 6:10, 6:10] = 200
    marked[:, :3, :3] = 255
    of_class = np.arange(n) % 2 == 0
    images = torch.from_numpy(np.where(of_class[:, None, None, None], marked, plain))
    changed = {"unmarked": torch.from_numpy(plain), "marked": torch.from_numpy(marked)}
    test = Split(images, torch.from_numpy(of_class.astype(int)), None, torch.arange(n), None, changed)
    corner, middle = np.zeros((2, SIDE, SIDE))
    corner[:3, :3], middle[6:10, 6:10] = 0.05, 0.05
    explain = settings[0].model_copy(update={"explainers": ("integrated_gradients",)})
    score, moved = params.score.model_copy(update={"images": 10}), []
    setup = Setup(probability(corner, 0.1), explain, torch.zeros(1, SIDE, SIDE, 3), (0.0,) * 3, batch_size=64)
    books = Bookkeeping(progress=moved.append)
    made = exposure.expose(setup, score, control=probability(middle, 0.1), test=test, books=books)
    assert sum(moved) == exposure.steps(explain, score, test) == 2 * 10 * 7
    assert made.images.shape == (10, SIDE, SIDE, 3)
    assert all(mask[:3, :3].all() and mask.sum() == 9 for mask in made.masks)
    found = made.contrast.set_index("explainer")
    assert found.loc["integrated_gradients", "confounded"] == pytest.approx(1, abs=1e-6)
    assert found.loc["integrated_gradients", "control"] == pytest.approx(0, abs=1e-6)
    assert (found.drop("integrated_gradients")["contrast"] == 0).all()
    assert found.loc["integrated_gradients", "outcome"] == "better"
    assert (found.drop("integrated_gradients")["outcome"] == "undecided").all()


def test_a_transformer_is_explained_attacked_and_scored(params, settings, small_transformer):
    """Its attention has no second derivative in PyTorch's quick kernels, and its features are tokens."""
    network, classifier = small_transformer
    about = Description("toy", ("a", "b", "c"), 32, {}, (0.5,) * 3, (0.3,) * 3, False, "0" * 64)
    card = models.describe(network, classifier, about, [])
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=generator)
    test = Split(images, torch.arange(6) % 3, None, torch.arange(6), None, {})
    explain, score = settings
    names = ("lime", "kernel_shap", "gradient_shap", "integrated_gradients", "occlusion", "grad_cam")
    explain = explain.model_copy(
        update={
            "explainers": names,
            "occlusion": Occlusion(window=8, stride=8),
            "kernel_shap": params.explain.kernel_shap.model_copy(update={"coalitions": 60, "background": 1}),
            "gradient_shap": GradientShap(samples=2, background=2),
            "integrated_gradients": IntegratedGradients(steps=2, baseline="mean"),
        }
    )
    changes = {"noise": (0.05,), "brightness": (0.1,), "shift": (1,), "attack": (0.02,), "images": 1, "attack_steps": 1}
    score = score.model_copy(
        update={
            "images": 2,
            "steps": 4,
            "correlation": score.correlation.model_copy(update={"draws": 10}),
            "robustness": score.robustness.model_copy(update=changes),
            "randomization": score.randomization.model_copy(update={"images": 1, "steps": 2}),
        }
    )
    predicted = models.probabilities(classifier, images, 8).argmax(dim=1).numpy()
    setup = Setup(classifier, explain, images[:2], (0.5,) * 3, batch_size=8)
    ground = preparation.prepare(setup, score, card=card, test=test, predicted=predicted)
    assert {v.looks_at for v in ground.variations} == {None, "gradient", "features", "regions"}
    for one in measurement.score(ground):
        assert np.isfinite(one.attribution.maps).all()
        if one.kind == "explainer":
            (column,) = [column for column in one.values if column.metric == "attack_sensitivity"]
            assert np.isfinite(one.values[column][0])
    # Each attack changed its image, through surrogates that need derivatives of derivatives.
    for v in ground.variations:
        if v.looks_at:
            assert (v.images != ground.request.part(0, 1).images).any()


def test_a_network_that_only_answers_is_scored_without_what_needs_more(trained, test, settings, monkeypatch):
    classifier, card = trained
    monkeypatch.setattr(classifier.network, "has_gradients", False, raising=False)
    explain, score = settings
    setup = Setup(classifier, explain, test.images[:2], (0.5,) * 3, batch_size=128)
    predicted = models.probabilities(classifier, test.images, 128).argmax(dim=1).numpy()
    little = score.model_copy(update={"images": 4})
    with pytest.raises(UserError, match=r"^integrated_gradients and grad_cam explain by gradients, and an ONNX model "):
        list(measurement.score(preparation.prepare(setup, little, card=card, test=test, predicted=predicted)))
    black_box = explain.model_copy(update={"explainers": ("lime", "occlusion")})
    setup = Setup(classifier, black_box, test.images[:2], (0.5,) * 3, batch_size=128)
    ground = preparation.prepare(setup, little, card=card, test=test, predicted=predicted)
    assert ground.untrained is None
    assert (ground.cascade, ground.notes) == ([], (preparation.ANSWERS_ONLY,))
    moved: list[int] = []
    made = list(measurement.score(ground, moved.append))
    assert sum(moved) == measurement.steps(ground)
    assert {one.kind for one in made} == {"explainer", "control", "matched"}
    assert not {column.metric for one in made for column in one.values} & {"emprt", "attack_sensitivity"}
    assert score_tables.curves(made).empty
