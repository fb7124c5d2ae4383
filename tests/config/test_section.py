"""Rules between sections: what they refuse, and when they are asked."""

import pytest
from conftest import ROOT
from every_key import base, sentence_for, with_value

from glassbox.config import parameters
from glassbox.config.loading import load
from glassbox.config.parameters import Params
from glassbox.config.section import Section, rule
from glassbox.core.errors import UserError


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"data.source": "image_folder"},
            "data.path is null: with data.source = image_folder it must name the folder of the images",
        ),
        (
            {"data.source": "cifar10", "data.image_size": 64},
            "data.image_size is 64: with data.source = cifar10 it must be 32",
        ),
        (
            {"data.source": "planted"},
            "data.planted is missing: data.source = planted needs it, see studies/planted.yaml",
        ),
        ({"model.stem": "cifar"}, "model.stem is 'cifar': with model.name = cnn it must be imagenet"),
        ({"model.dropout": 0.5}, "model.dropout is 0.5: with model.name = cnn it must be 0.0"),
        ({"model.weights": "a.pth"}, "model.weights is 'a.pth': with model.name = cnn it must be null"),
        (
            {"augment.resize_first": "true"},
            "augment.resize_first is true: model.input_size must then be a number, not null",
        ),
        (
            {"train.class_weights": "balanced", "train.sampling": "balanced"},
            "train.class_weights is balanced: with train.sampling = balanced it must be null, for each of the two "
            "alone makes every class count the same",
        ),
        (
            {"data.groups": "groups.csv"},
            "data.groups is 'groups.csv': with data.source = digits it must be null; only images in files have names",
        ),
        (
            {"train.head_epochs": 9, "train.epochs": 8},
            "train.head_epochs is 9: it must not be above train.epochs, 8",
        ),
        (
            {"explain.occlusion.stride": 9},
            "explain.occlusion: stride is 9: it must not be above window, 8, or pixels would never be covered",
        ),
        (
            {"explain.explainers": "[occlusion]", "explain.occlusion.window": 32},
            "explain.occlusion.window is 32: with data.image_size = 32 it must be below 32, or one square would cover "
            "the whole image",
        ),
        (
            {"score.robustness.shift": "[2, 32]"},
            "score.robustness.shift has 32: with data.image_size = 32 it must be below 32, or nothing of the image "
            "would be left",
        ),
        (
            {"explain.superpixels.segments": 65, "data.image_size": 8, "explain.kernel_shap.coalitions": 200},
            "explain.superpixels.segments is 65: with data.image_size = 8 it must not be above 64, the number of "
            "pixels",
        ),
        (
            {"data.image_size": 10},
            "explain.superpixels.segments is 50, but with data.image_size = 10 SLIC makes 100 regions of it, more than "
            "Shapley values have coalitions for: take 44 or 67",
        ),
        (
            {"tune.n_trials": 0, "model.activation_func1": "relu", "train.optimizer": "sgd"},
            "model.conv1_filters, model.conv1_kernel_size, model.l2_reg_1, model.pool_size_1, model.dropout_1, "
            "model.conv2_filters, model.conv2_kernel_size, model.activation_func2, model.l2_reg_2, model.pool_size_2, "
            "model.dense_units_1, model.dense_l2_reg_1, model.activation_func_dense, model.dense_dropout_1, "
            "train.learning_rate, train.momentum must be given a value: 'tuned' stands there, but tune.n_trials is 0",
        ),
    ],
)
def test_sections_that_do_not_go_together_are_refused_before_any_work(changes, sentence):
    with pytest.raises(UserError) as refused:
        parameters.edit(ROOT / "params.yaml", [f"{key}={value}" for key, value in changes.items()])
    assert str(refused.value) == f"{ROOT / 'params.yaml'}: {sentence}"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"device": "cuda"},
            "compute.device is cuda: with compute.engine = ray and compute.gpus = 0 it must be auto or cpu",
        ),
        (
            {"device": "cpu", "gpus": 1},
            "compute.device is cpu: with compute.engine = ray and compute.gpus = 1 it must be auto or cuda",
        ),
        (
            {"gpus": 0.25},
            "compute.gpus is 0.25: with train.workers = 2 it must be 0 or a whole number, for those who train together "
            "cannot share a GPU",
        ),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(changes, sentence):
    tree = with_value(base(("compute", "engine")), ("compute", "engine"), "ray")
    tree = with_value(tree, ("train", "workers"), 2)
    for key, value in changes.items():
        tree = with_value(tree, ("compute", key), value)
    assert sentence_for(tree) == sentence


class Cup(Section):
    volume: int

    @rule
    def _holds_something(self) -> None:
        if self.volume == 0:
            raise ValueError("cup.volume is 0")


class Tea(Section):
    drunk: int

    @rule
    def _fits(self, cup: Cup) -> None:
        if self.drunk > cup.volume:
            raise ValueError(f"tea.drunk is {self.drunk}: it must not be above cup.volume, {cup.volume}")


@pytest.mark.parametrize(
    ("text", "asked", "sentence"),
    [
        ("cup: {volume: 2}\ntea: {drunk: 2}", (Cup, Tea), None),
        ("cup: {volume: 2}\ntea: {drunk: 3}", (Tea, Cup), "tea.drunk is 3: it must not be above cup.volume, 2"),
        ("cup: {volume: 2}\ntea: {drunk: 3}", (Tea,), None),
        ("cup: {volume: 2}\ntea: {drunk: 3}", (Cup,), None),
        ("cup: {volume: 0}\ntea: {drunk: 3}", (Cup,), "cup.volume is 0"),
        ("cup: {volume: 0}\ntea: {drunk: 3}", (Tea,), None),
    ],
)
def test_a_rule_is_asked_wherever_all_its_sections_are_loaded(text, asked, sentence, tmp_path):
    (tmp_path / "p.yaml").write_text(text)
    if sentence is None:
        assert [type(section) for section in load(*asked, file=tmp_path / "p.yaml")] == list(asked)
    else:
        with pytest.raises(UserError) as refused:
            load(*asked, file=tmp_path / "p.yaml")
        assert str(refused.value) == f"{tmp_path / 'p.yaml'}: {sentence}"


def test_a_rule_names_sections_that_there_are():
    """One that does not would never be asked."""
    rules = [
        (name, method)
        for name, field in Params.model_fields.items()
        for method in vars(field.annotation).values()
        if hasattr(method, "others")
    ]
    assert len(rules) > 10
    for name, method in rules:
        assert set(method.others) <= set(Params.model_fields) - {name}, method
