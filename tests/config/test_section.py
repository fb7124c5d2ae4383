"""Rules between sections: what they refuse, and when they are checked."""

import re

import pytest
from every_key import refusal

from glassbox.config.loading import load
from glassbox.config.parameters import Params
from glassbox.config.section import Section, rule
from glassbox.core.errors import UserError

RULES = {
    "data.source=image_folder": (
        "data.path is null: with data.source = image_folder it must name the folder of the images"
    ),
    "data.source=cifar10 data.image_size=64": "data.image_size is 64: with data.source = cifar10 it must be 32",
    "data.source=planted": "data.planted is missing: data.source = planted needs it, see studies/planted.yaml",
    "model.weights=DEFAULT": (
        "model.weights is 'DEFAULT': with model.name = cnn it must be null or a file; only registries have weights by "
        "name"
    ),
    "model.classes=imagenet-1k": (
        "model.classes is given: with model.weights = null it must be null, for fresh outputs have no names"
    ),
    "model.weights=a.pth model.normalization=weights data.shorter_side=32": (
        "model.normalization is weights: with data.shorter_side = 32 it must be something else, like imagenet, or the "
        "weights' own crop would be taken of a crop"
    ),
    "data.shorter_side=9": (
        "data.shorter_side is 9: it must be at least data.image_size, 32, or the crop would be larger than the image"
    ),
    "data.resize=pad data.shorter_side=32": (
        "data.shorter_side is 32: with data.resize = pad it must be null; only a crop has one"
    ),
    "model.normalization=weights": ("model.normalization is weights: model.weights must then name some, not be null"),
    "train.optimizer=sgd train.momentum=null": (
        "train.momentum is null: with train.optimizer = sgd it must be a number"
    ),
    "train.optimizer=rmsprop train.rho=null": ("train.rho is null: with train.optimizer = rmsprop it must be a number"),
    "augment.resize_first=true": "augment.resize_first is true: model.input_size must then be a number, not null",
    "train.class_weights=balanced train.sampling=balanced": (
        "train.class_weights is balanced: with train.sampling = balanced it must be null, for each of the two alone "
        "balances the classes"
    ),
    "data.groups=groups.csv": (
        "data.groups is 'groups.csv': with data.source = digits it must be null; only images in files have names"
    ),
    "tune.n_trials=0 train.epochs=0 train.optimizer=adam train.learning_rate=0.1 model.arguments=null "
    "model.name=timm/resnet18": (
        "model.weights is null: with train.epochs = 0 it must name weights: nothing is trained"
    ),
    "train.epochs=0 model.name=timm/resnet18 model.weights=DEFAULT": (
        "tune.n_trials is 10: with train.epochs = 0 it must be 0"
    ),
    "model.name=exported": (
        "model.weights is null: with model.name = exported it must be a file that ends in .pt2 and holds the network"
    ),
    "model.name=exported model.weights=own.pth": (
        "model.weights is 'own.pth': with model.name = exported it must be a file that ends in .pt2 and holds the "
        "network"
    ),
    "model.name=timm/resnet18 model.weights=own.pt2": (
        "model.name is 'timm/resnet18': with model.weights = own.pt2 it must be exported"
    ),
    "model.name=exported model.weights=own.pt2": (
        "train.epochs is 15: with model.name = exported it must be 0, for the network in that file is taken as it is"
    ),
    "train.optimizer=adam train.nesterov=true": (
        "train.nesterov is true: with train.optimizer = adam it must be false"
    ),
    "train.optimizer=sgd train.nesterov=true train.momentum=0": (
        "train.nesterov is true: with train.momentum = 0 it must be false"
    ),
    "data.image_size=8 augment.padding=reflect augment.crop=8": (
        "augment.crop is 8: with augment.padding = reflect it must be below the images' side, 8"
    ),
    "train.workers=2": "train.workers is 2: with compute.engine = local it must be 1",
    "train.head_epochs=9 train.epochs=8": "train.head_epochs is 9: it must not be above train.epochs, 8",
    "explain.explainers=[occlusion] explain.occlusion.window=32": (
        "explain.occlusion.window is 32: with data.image_size = 32 it must be below 32, or one square would cover the "
        "whole image"
    ),
    "explain.explainers=[rise] explain.rise.cells=33": (
        "explain.rise.cells is 33: with data.image_size = 32 it must not be above 32, or cells would be smaller than "
        "pixels"
    ),
    "score.matched_evaluations=100": (
        "score.matched_evaluations is 100: with kernel_shap it must be at least 1 more than three times "
        "explain.superpixels.segments, 151"
    ),
    "score.robustness.shift=[2,32]": (
        "score.robustness.shift has 32: with data.image_size = 32 it must be below 32, or nothing of the image would "
        "be left"
    ),
    "explain.superpixels.segments=65 data.image_size=8 explain.kernel_shap.coalitions=200": (
        "explain.superpixels.segments is 65: with data.image_size = 8 it must not be above 64, the number of pixels"
    ),
    "data.image_size=10": (
        "explain.superpixels.segments is 50, but with data.image_size = 10 SLIC makes 100 regions of it, more than "
        "Shapley values have coalitions for: take 44 or 67"
    ),
    "tune.n_trials=0 model.arguments.activation_func1=relu train.optimizer=sgd": (
        "model.arguments.conv1_filters, model.arguments.conv1_kernel_size, model.arguments.l2_reg_1, "
        "model.arguments.pool_size_1, model.arguments.dropout_1, model.arguments.conv2_filters, "
        "model.arguments.conv2_kernel_size, model.arguments.activation_func2, model.arguments.l2_reg_2, "
        "model.arguments.pool_size_2, model.arguments.dense_units_1, model.arguments.dense_l2_reg_1, "
        "model.arguments.activation_func_dense, model.arguments.dense_dropout_1, train.learning_rate, train.momentum "
        "must be given a value: 'tuned' stands there, but tune.n_trials is 0"
    ),
    "tune.n_trials=0 tune.space=null train.optimizer=adam train.learning_rate=0.1 model.arguments=null": (
        "train.momentum, train.rho must be given a value: 'tuned' stands there, but tune.n_trials is 0"
    ),
    "train.patience=tuned": "train.patience is 'tuned': tune.space must then say how it is drawn",
    "model.arguments.padding=tuned": "model.arguments.padding is 'tuned': tune.space must then say how it is drawn",
    "tune.space.train.learning_rate={sgd_lr: {choices: [0.1], when: {train.optimizer: sgd}}}": (
        "tune.space.train.learning_rate must have an option for train.optimizer = adam: train.learning_rate needs a "
        "value then, too"
    ),
    "tune.space.train.learning_rate={sgd_lr: {choices: [0.1], when: {train.optimizer: [sgd, adam]}}}": (
        "tune.space.train.learning_rate must have an option for train.optimizer = rmsprop: train.learning_rate needs "
        "a value then, too"
    ),
    "tune.space.train.batch_size=[16, 1]": "tune.space.train.batch_size has 1, but must be greater than or equal to 2",
    "tune.space.train.batch_size={low: 16, high: 32.0}": (
        "tune.space.train.batch_size has 32.0, but must be a whole number"
    ),
    "tune.space.train.learning_rate.adam_lr.high=20": (
        "tune.space.train.learning_rate.adam_lr has 20, but must be less than or equal to 10"
    ),
    "tune.space.train.optimizer=[adam, adamm]": (
        "tune.space.train.optimizer has 'adamm', but must be 'adam', 'adamw', 'sgd' or 'rmsprop'"
    ),
    "tune.space.train.optimizer=[adam, tuned]": (
        "tune.space.train.optimizer has 'tuned', but must be 'adam', 'adamw', 'sgd' or 'rmsprop'"
    ),
    "tune.space.model.weights=[DEFAULT, 3]": "tune.space.model.weights has 3, but must be text",
    "tune.space.model.arguments.conv-1=[1]": (
        "tune.space.model.arguments.conv-1 is not a parameter: the name of an argument must be of letters, digits and _"
    ),
    "tune.space={augment.validation_and_test: [true]}": (
        "tune.space.augment.validation_and_test is not a parameter that can be searched; allowed here: flip, crop, "
        "padding, brightness, contrast, saturation, cutout, resize_first"
    ),
    "tune.space={augment: {flips: [true]}}": (
        "tune.space.augment.flips is not a parameter that can be searched; did you mean flip? allowed here: flip, "
        "crop, padding, brightness, contrast, saturation, cutout, resize_first"
    ),
    "tune.space.train.learning_rate.adam_lr.when={train.optimiser: adam}": (
        "tune.space.train.learning_rate.adam_lr.when: train.optimiser is not a parameter; did you mean "
        "train.optimizer? allowed here: dotted keys"
    ),
    "tune.space.train.learning_rate.adam_lr.when={train.optimizer: adamm}": (
        "tune.space.train.learning_rate.adam_lr.when: train.optimizer is 'adamm', but must be 'adam', 'adamw', 'sgd' "
        "or 'rmsprop'"
    ),
    "compute.engine=ray compute.device=cuda": (
        "compute.device is cuda: with compute.engine = ray and compute.gpus = 0 it must be auto or cpu"
    ),
    "compute.engine=ray compute.device=cpu compute.gpus=1": (
        "compute.device is cpu: with compute.engine = ray and compute.gpus = 1 it must be auto or cuda"
    ),
    "compute.engine=ray train.workers=2 compute.gpus=0.25": (
        "compute.gpus is 0.25: with train.workers = 2 it must be 0 or a whole number, for processes that train "
        "together cannot share a GPU"
    ),
}


CHANGE = re.compile(r" (?=[a-z0-9_.]+=)")


@pytest.mark.parametrize(("changes", "sentence"), RULES.items(), ids=RULES)
def test_sections_that_contradict_each_other_are_refused(changes, sentence):
    assert refusal(*CHANGE.split(changes)) == sentence


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


def test_a_rule_is_checked_if_all_its_sections_are_loaded(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("cup: {volume: 2}\ntea: {drunk: 2}")
    assert load(Tea, Cup, file=file) == (Tea(drunk=2), Cup(volume=2))
    file.write_text("cup: {volume: 2}\ntea: {drunk: 3}")
    load(Tea, file=file)
    load(Cup, file=file)
    with pytest.raises(UserError, match=r"p.yaml: tea.drunk is 3: it must not be above cup.volume, 2$"):
        load(Tea, Cup, file=file)
    file.write_text("cup: {volume: 0}\ntea: {drunk: 3}")
    load(Tea, file=file)
    with pytest.raises(UserError, match=r"p.yaml: cup.volume is 0$"):
        load(Cup, file=file)


def test_a_rule_names_sections_that_exist():
    """One that does not would never be checked."""
    rules = [
        (name, method)
        for name, field in Params.model_fields.items()
        for method in vars(field.annotation).values()
        if hasattr(method, "others")
    ]
    assert len(rules) > 10
    for name, method in rules:
        assert set(method.others) <= set(Params.model_fields) - {name}, method
