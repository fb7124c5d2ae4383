"""A training whose process ended continues from its checkpoint."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import model as model_of

from glassbox.config.augment import Augment
from glassbox.config.hyperparameters import together
from glassbox.config.model import Model
from glassbox.data.store import Description
from glassbox.provenance.resume import Checkpoint
from glassbox.training.loop import Training
from glassbox.training.records import COSTS
from glassbox.training.schedules import OneCycle, Plateau
from tests.training.toys import CHANGED, PLACE, PLAIN, SGD, classifier, learning, run, split

ADAM = learning("adam", 0.01)
CNN = model_of("cnn")
RUNS = {
    "adam, plateau": (ADAM, {"schedule": Plateau(0.5, 1, 0.0)}),
    "sgd, one cycle": (learning("sgd", 0.05, momentum=0.9), {"schedule": OneCycle(0.3)}),
    "adamw": (learning("adamw", 0.003, weight_decay=0.05), {}),
    "rmsprop, penalties": (learning("rmsprop", 0.003, rho=0.9, weight_decay=0.01), {}),
    "the last weights": (ADAM, {"keep": "last", "label_smoothing": 0.1}),
    "stops early": (learning("adam", 0.3), {"patience": 1, "epochs": 12}),
    "class weights": (ADAM, {"class_weights": "balanced"}),
    "balanced sampling": (ADAM, {"sampling": "balanced"}),
    "nesterov, averaged, mirrored in turn": (
        learning("sgd", 0.05, momentum=0.9, nesterov=True, weight_decay=0.01, decay_biases=False, bias_rate=3.0),
        {"ema_decay": 0.9, "augment": CHANGED.model_copy(update={"flip": "alternating", "padding": "reflect"})},
    ),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, small_cnn, name, killed_after):
    settings, options = RUNS[name]
    data = split(40, noise=0.3), split(20, seed=1, noise=0.3)

    def start(seed: int, work: str):
        model = small_cnn(4)
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(seed))
        torch.manual_seed(seed)  # as in another process, nothing is as the first one left it
        checkpoint = Checkpoint(work, "key", tmp_path)
        return model, run(model, *data, settings, checkpoint=checkpoint, **{"epochs": 5, "augment": CHANGED} | options)

    def without_costs(records):
        return [{k: v for k, v in vars(record).items() if k not in COSTS} for record in records]

    def check_weights(model):
        for key, value in whole.state_dict().items():
            assert torch.equal(model.state_dict()[key], value), key

    whole, epochs = start(0, "whole")
    expected = list(epochs)
    assert len(expected) > killed_after or name == "stops early"
    _, epochs = start(0, "killed")
    first = list(itertools.islice(epochs, killed_after))
    epochs.close()
    resumed, epochs = start(1, "killed")
    records = list(epochs)
    assert without_costs(records) == without_costs(expected)
    assert records[: len(first)] == first, "what an epoch took is not measured again"
    check_weights(resumed)
    again, epochs = start(2, "killed")  # killed once more, after the last epoch
    assert list(epochs) == records
    check_weights(again)


def test_a_damaged_checkpoint_is_reported_and_the_training_begins_anew(tmp_path, capsys):
    def losses():
        checkpoint = Checkpoint("train", "key", tmp_path)
        return [record.train_loss for record in run(classifier(), split(16), split(8), SGD, checkpoint=checkpoint)]

    expected = losses()
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert losses() == expected
    assert capsys.readouterr().err == f"{file}: this checkpoint is damaged, so train begins anew\n"
    losses()
    assert capsys.readouterr().err == f"{file}: the training goes on after epoch 3\n"


def test_no_training_goes_on_from_that_of_other_parameters_or_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy = Description("toy", ("a", "b"), 32, {}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64)

    def path(
        model: Model = CNN, augment: Augment = PLAIN, data: Description = toy, seed=0, arm="", **train: Any
    ) -> Path:
        """The checkpoint of a training."""
        hyperparameters = together(model, learning("adam", 0.1, **train), augment)
        return Training(hyperparameters, data, seed, arm).checkpoint(PLACE).path

    paths = [
        path(),
        path(model=model_of("cnn", normalization="none")),
        path(model=model_of("cnn", {"dropout_1": 0.2})),
        path(augment=CHANGED),
        path(data=replace(toy, digest="e" * 64)),
        path(seed=1),
        path(arm="noise"),
        path(epochs=7),
        path(weight_decay=0.2),
    ]
    assert path() == paths[0]
    assert len(set(paths)) == len(paths)
