import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from glassbox.config import parameters
from glassbox.config.hyperparameters import together
from glassbox.data.batches import to_float
from glassbox.data.store import Description, Split
from glassbox.execution.compute import OutOfMemory
from glassbox.models import Classifier
from glassbox.training import loop
from glassbox.training.loop import Training
from glassbox.training.losses import assess
from glassbox.training.records import COSTS, Diverged, summary
from tests.training.toys import ADAM, CHANGED, PLACE, PLAIN, SGD, Linear, classifier, images_of, learning, run, split


def test_one_epoch_of_gradient_descent_by_hand():
    # Zero weights: both probabilities are 1/2, the loss is log 2, and the gradient of the bias is 0 for a balanced
    # batch. A red image adds -1/2 to the gradient of weight[0, red] and +1/2 to that of weight[1, red], half the time.
    model = classifier()
    (epoch,) = run(model, split(8), split(4), SGD, epochs=1)
    assert epoch.train_loss == pytest.approx(math.log(2))
    expected = torch.tensor([[0.25, 0.0, -0.25], [-0.25, 0.0, 0.25]])
    torch.testing.assert_close(model.network.weight.data, expected)
    # The margin is then 1/4 + 1/4 for the right class: validation loss log(1 + exp(-1/2)).
    assert epoch.validation_loss == pytest.approx(math.log(1 + math.exp(-0.5)))
    assert isinstance(epoch.weight_penalty, float)
    assert epoch.weight_penalty == 0.0
    assert (epoch.epoch, epoch.validation_accuracy, epoch.is_best, epoch.learning_rate) == (1, 1.0, True, 1.0)


def test_an_extra_loss_is_added_to_the_loss_and_not_recorded():
    # The gradient of the bias is 0, see above, but for the extra loss, whose gradient is 0.5 for the first one.
    model = classifier()
    (epoch,) = run(model, split(8), split(4), SGD, epochs=1, extra_loss=lambda: 0.5 * model.network.bias[0] + 7)
    torch.testing.assert_close(model.network.bias.data, torch.tensor([-0.5, 0.0]))
    assert epoch.train_loss == pytest.approx(math.log(2))


def test_the_average_of_the_weights_is_validated_and_kept():
    # One step an epoch: after the first the average is its weights, after the second 3/4 of these and 1/4 of its own.
    models = [classifier() for _ in range(3)]
    list(run(models[0], split(8), split(4), SGD, epochs=1))
    *_, plain = run(models[1], split(8), split(4), SGD, epochs=2)
    *_, mean = run(models[2], split(8), split(4), SGD, epochs=2, ema_decay=0.75, keep="last")
    first, second, average = (model.network.weight.data for model in models)
    torch.testing.assert_close(average, 0.75 * first + 0.25 * second)
    assert mean.train_loss == plain.train_loss  # the steps are the same
    assert mean.validation_loss == pytest.approx(assess(models[2], split(4), PLACE).loss)
    assert mean.validation_loss > plain.validation_loss


def test_images_are_mirrored_in_every_other_epoch(monkeypatch):
    seen = []
    monkeypatch.setattr(
        loop, "augment", lambda images, how, flipped, **_: seen.append(flipped.clone()) or to_float(images)
    )
    alternating = PLAIN.model_copy(update={"flip": "alternating"})
    images = split(64)
    list(run(classifier(), images, split(4), SGD, epochs=3, batch_size=64, augment=alternating))
    assert [int(flipped.sum()) + int(other.sum()) for flipped, other in itertools.pairwise(seen)] == [64, 64]
    assert 16 < int(seen[0].sum()) < 48


def test_the_same_seed_gives_the_same_weights():
    def weights(seed: int) -> torch.Tensor:
        model = classifier()
        list(run(model, split(30, noise=0.2), split(8), ADAM, seed=seed))
        return model.network.weight.data

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_arms_begin_alike_and_part_where_their_images_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = parameters.read(Path(__file__).resolve().parents[2] / "studies" / "watermark.yaml")
    settings = params.train.model_copy(update={"epochs": 1, "batch_size": 8})
    hyperparameters = together(params.model, settings, params.augment)
    main, noise = torch.randint(0, 256, (2, 16, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shown = Split(main, torch.arange(16) % 2, None, torch.arange(16), None, arms={"noise": noise})
    data = Description("mine", ("a", "b"), 8, {}, (0.5,) * 3, (0.3,) * 3, False, "")

    def train(part: Split, name: str, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        training = Training(hyperparameters, data, seed, name)
        model, epochs, _ = training.begin(part, shown, PLACE)
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        list(epochs)
        return before, torch.cat([p.detach().flatten() for p in model.parameters()])

    (start, end), (again, end_again) = train(shown, "one"), train(shown, "two")
    start_of_arm, end_of_arm = train(shown.arm("noise"), "noise")
    assert torch.equal(start, again)
    assert torch.equal(start, start_of_arm)
    assert torch.equal(end, end_again)
    assert not torch.equal(end, end_of_arm)
    assert not torch.equal(start, train(shown, "one", seed=1)[0])


@pytest.mark.parametrize(("keep", "epoch", "loss"), [("best", 2, 0.1), ("last", 3, 0.2)])
def test_the_summary_is_of_the_epoch_that_was_kept(keep, epoch, loss):
    rows = [(1, 0.5, 0.6, 0.5, 0.03, True), (2, 0.1, 0.9, 0.7, 0.02, True), (3, 0.2, 0.8, 0.6, 0.01, False)]
    names = ["validation_loss", "validation_accuracy", "validation_balanced_accuracy", "weight_penalty"]
    numbers = summary(pd.DataFrame(rows, columns=["epoch", *names, "is_best"]), keep)
    assert list(numbers) == [*(f"best_epoch_{name}" for name in names), "best_epoch", "epochs"]
    assert (numbers["best_epoch"], numbers["best_epoch_validation_loss"], numbers["epochs"]) == (epoch, loss, 3)


def test_a_consumer_may_take_one_epoch_and_leave():
    (epoch,) = itertools.islice(run(classifier(), split(8), split(8), ADAM, epochs=10**9), 1)
    assert epoch.epoch == 1
    assert epoch.images_per_second > 0
    assert 0.05 < epoch.peak_memory < 100
    assert set(COSTS) < set(epoch.metrics())


def test_a_loss_that_is_no_number_is_an_error():
    broken = classifier()
    broken.network.bias.data.fill_(float("inf"))
    with pytest.raises(Diverged, match=r"the loss is not a number after epoch 1: lower train.learning_rate \(0.1\)"):
        list(run(broken, split(8), split(8), ADAM))


def test_a_batch_that_does_not_fit_in_memory_is_named(monkeypatch):
    model = Classifier(Linear(), input_size=6)
    forward = model.network.forward
    monkeypatch.setattr(model.network, "forward", lambda x: torch.empty(2**50) if model.training else forward(x))
    with pytest.raises(
        OutOfMemory, match=r"^8 images of 6 x 6 pixels at once \(train.batch_size and model.input_size\) do not fit"
    ):
        list(run(model, split(8), split(8), ADAM))
    monkeypatch.setattr(model.network, "forward", lambda x: forward(x) if model.training else torch.empty(2**50))
    with pytest.raises(OutOfMemory, match=r"^64 images of 6 x 6 pixels at once \(compute.batch_size"):
        list(run(model, split(8), split(8), ADAM))


@pytest.mark.parametrize("graphs", [False, True])  # on the CPU nothing is recorded, but the way is the same
def test_a_compiled_network_trains_alike(graphs):
    def losses(compiled: bool) -> list:
        place, model = replace(PLACE, compiled=compiled, graphs=compiled and graphs), classifier()
        records = list(run(model, split(16, noise=0.2), split(8), ADAM, place=place, epochs=2))
        assert all(name.startswith(("network.", "mean", "std")) for name in model.state_dict())
        return [(record.train_loss, record.validation_loss) for record in records]

    torch._dynamo.reset()
    assert np.array(losses(compiled=True)) == pytest.approx(np.array(losses(compiled=False)), abs=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # it was compiled


def test_validation_images_are_changed_on_request():
    dark = images_of(torch.full((64, 2, 2, 3), 100, dtype=torch.uint8), torch.arange(64) % 2)
    model = classifier()
    model.network.weight.data = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    losses = {}
    for changed in (False, True):
        augment = PLAIN.model_copy(update={"brightness": 1.0, "validation_and_test": changed})
        (epoch,) = run(model, split(8), dark, learning("sgd", 1e-12, momentum=0.0), epochs=1, augment=augment)
        losses[changed] = epoch.validation_loss
    assert losses[False] == pytest.approx(assess(model, dark, PLACE)[0])
    assert losses[True] != pytest.approx(losses[False], abs=1e-3)


def test_mixed_precision_trains_as_well_and_validation_images_are_changed_as_precisely():
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        settings, place = learning("sgd", 1e-2, momentum=0.0), replace(PLACE, dtype=dtype)
        (epoch,) = run(classifier(), split(8), split(64), settings, epochs=1, augment=CHANGED, place=place)
        losses.append(epoch.validation_loss)
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
