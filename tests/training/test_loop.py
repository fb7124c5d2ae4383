import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from glassbox.config import parameters
from glassbox.config.augment import Augment
from glassbox.data.store import Description, Split
from glassbox.execution.compute import OutOfMemory, Place
from glassbox.models import Classifier
from glassbox.provenance.resume import Checkpoint
from glassbox.search import hyperparameters
from glassbox.training import batching
from glassbox.training.batching import batches, stream
from glassbox.training.loop import Training, fit
from glassbox.training.losses import assess, balanced_weights, mean_loss
from glassbox.training.optimizers import OptimizerSettings, make_optimizer
from glassbox.training.process_group import Ranks
from glassbox.training.records import COSTS, Diverged, summary
from glassbox.training.schedules import OneCycle, Plateau, make_schedule

PLACE = Place(torch.device("cpu"), torch.float32, 64)
PLAIN = Augment(
    flip=False, crop=0, brightness=0.0, contrast=0.0, saturation=0.0, resize_first=False, validation_and_test=False
)


class Linear(nn.Module):
    """A logistic regression on the mean colour, with a penalty on its weights."""

    def __init__(self, penalty: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))
        self.bias = nn.Parameter(torch.zeros(2))
        self.penalty = penalty

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) @ self.weight.T + self.bias

    def penalties(self):
        return ((self.weight, self.penalty),)


def classifier(penalty: float = 0.0) -> Classifier:
    return Classifier(Linear(penalty), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def split(n: int, seed: int = 0, noise: float = 0.0) -> Split:
    """Red images are of class 0, blue ones of class 1; `noise` is the share of wrong labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = np.zeros((n, 4, 4, 3), np.uint8)
    images[labels == 0, ..., 0] = 255
    images[labels == 1, ..., 2] = 255
    wrong = rng.random(n) < noise
    labels = np.where(wrong, 1 - labels, labels)
    return Split(torch.from_numpy(images), torch.from_numpy(labels), None, torch.arange(n), None)


def run(model: Classifier, train: Split, validation: Split, settings: OptimizerSettings, **options):
    options = {"epochs": 3, "batch_size": 8, "patience": 99, "seed": 0, "how": PLAIN, "place": PLACE} | options
    optimizer = make_optimizer(model, settings, options.pop("weight_decay", 0.0))
    return fit(model, train, validation, optimizer, **options)


def test_one_epoch_of_gradient_descent_by_hand():
    # Zero weights: both probabilities are 1/2, the loss is log 2, and the gradient of the bias is 0 for a balanced
    # batch. A red image adds -1/2 to the gradient of weight[0, red] and +1/2 to that of weight[1, red], half the time.
    model = classifier()
    (epoch,) = run(model, split(8), split(4), OptimizerSettings("sgd", 1.0, momentum=0.0), epochs=1)
    assert epoch.train_loss == pytest.approx(math.log(2))
    expected = torch.tensor([[0.25, 0.0, -0.25], [-0.25, 0.0, 0.25]])
    torch.testing.assert_close(model.network.weight.data, expected)
    # The margin is then 1/4 + 1/4 for the right class: validation loss log(1 + exp(-1/2)).
    assert epoch.validation_loss == pytest.approx(math.log(1 + math.exp(-0.5)))
    assert epoch.weight_penalty == 0.0
    assert (epoch.epoch, epoch.validation_accuracy, epoch.is_best, epoch.learning_rate) == (1, 1.0, True, 1.0)


def test_the_penalty_is_lambda_times_the_sum_of_squares():
    # Keras's gradient of lambda * sum(w^2) is 2 * lambda * w; on white images with both labels nothing else pulls.
    model = classifier(penalty=0.1)
    model.network.weight.data.fill_(1.0)
    model.network.bias.data.fill_(1.0)
    white = Split(torch.full((2, 4, 4, 3), 255, dtype=torch.uint8), torch.tensor([0, 1]), None, torch.arange(2), None)
    (epoch,) = run(model, white, white, OptimizerSettings("sgd", 0.5, momentum=0.0), epochs=1, batch_size=2)
    torch.testing.assert_close(model.network.weight.data, torch.full((2, 3), 1.0 - 0.5 * 2 * 0.1))
    torch.testing.assert_close(model.network.bias.data, torch.ones(2))
    assert epoch.weight_penalty == pytest.approx(0.1 * 6 * 0.9**2)
    assert epoch.validation_loss == pytest.approx(math.log(2))


def test_a_network_without_penalties_has_a_penalty_of_zero(monkeypatch):
    model = classifier()
    monkeypatch.setattr(model.network, "penalties", tuple)
    (epoch,) = run(model, split(8), split(8), OptimizerSettings("adam", 0.1), epochs=1)
    assert isinstance(epoch.weight_penalty, float)
    assert epoch.weight_penalty == 0.0


def test_optimizers_have_kerass_constants():
    rmsprop = make_optimizer(classifier(), OptimizerSettings("rmsprop", 0.01, rho=0.85))
    sgd = make_optimizer(classifier(0.2), OptimizerSettings("sgd", 0.01, momentum=0.8))
    assert (rmsprop.defaults["eps"], rmsprop.defaults["alpha"]) == (1e-7, 0.85)
    assert sgd.defaults["momentum"] == 0.8
    assert [group["weight_decay"] for group in sgd.param_groups] == [0.4, 0.0]


def test_one_step_of_each_optimizer_by_hand():
    # Keras: Adam's first step is rate * g / (|g| + epsilon / sqrt(1 - 0.999)), RMSprop's is
    # rate * g / sqrt((1 - rho) * g^2 + epsilon); test_against_keras.py has more of them.
    g = 1e-5
    for settings, expected in (
        (OptimizerSettings("adam", 0.1), -0.1 * g / (g + 1e-7 / math.sqrt(0.001))),
        (OptimizerSettings("rmsprop", 0.1, rho=0.8), -0.1 * g / math.sqrt(0.2 * g**2 + 1e-7)),
        (OptimizerSettings("sgd", 0.1, momentum=0.9), -0.1 * g),
    ):
        model = classifier()
        optimizer = make_optimizer(model, settings)
        model.network.weight.grad = torch.full((2, 3), g)
        optimizer.step()
        torch.testing.assert_close(model.network.weight.data, torch.full((2, 3), expected), rtol=1e-4, atol=0)
        assert not model.network.bias.any()  # without a gradient it stays


@pytest.mark.parametrize(("watch", "best"), [("penalized_loss", [True] * 3), ("loss", [True, False])])
def test_early_stopping_watches_the_loss_with_or_without_the_weight_penalty(watch, best):
    # Every label of the validation split is wrong, so its loss only grows; but the penalty falls faster.
    model = classifier(penalty=10.0)
    model.network.weight.data.fill_(1.0)
    settings = OptimizerSettings("sgd", 0.01, 0.0)
    epochs = list(run(model, split(8), split(8, noise=1.0), settings, patience=1, watch=watch))
    losses = [epoch.validation_loss for epoch in epochs]
    assert losses == sorted(losses)
    assert [epoch.is_best for epoch in epochs] == best


def test_it_stops_early_and_restores_the_best_weights():
    # A rate of 40 overshoots on noisy labels: some epoch is best, and later ones are worse.
    model = classifier()
    validation = split(40, seed=1, noise=0.3)
    epochs = list(
        run(model, split(40, noise=0.3), validation, OptimizerSettings("sgd", 40.0, 0.9), epochs=50, patience=4)
    )
    losses = [epoch.validation_loss for epoch in epochs]
    best = int(np.argmin(losses))
    assert len(epochs) == best + 1 + 4 < 50
    assert [epoch.epoch for epoch in epochs if epoch.is_best][-1] == best + 1
    assert assess(model, validation, PLACE)[0] == pytest.approx(losses[best])


def test_the_rate_falls_on_a_plateau():
    model = classifier()
    plateau = Plateau(factor=0.5, patience=1, minimum=0.15)
    epochs = run(model, split(8), split(8, noise=1.0), OptimizerSettings("sgd", 1.0, 0.0), epochs=8, schedule=plateau)
    # Every label of the validation split is wrong, so its loss only grows: the first epoch is the best one, and each
    # later one halves the rate.
    assert [epoch.learning_rate for epoch in epochs] == [1.0, 1.0, 0.5, 0.25, 0.15, 0.15, 0.15, 0.15]


def test_the_rate_waits_for_as_many_epochs_as_it_is_told():
    plateau = Plateau(factor=0.5, patience=3, minimum=0.0)
    epochs = run(
        classifier(), split(8), split(8, noise=1.0), OptimizerSettings("sgd", 1.0, 0.0), epochs=8, schedule=plateau
    )
    assert [epoch.learning_rate for epoch in epochs] == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]


def test_the_rate_of_one_cycle_rises_and_falls_step_by_step():
    model, steps = classifier(), []
    optimizer = make_optimizer(model, OptimizerSettings("sgd", 0.5, 0.0))
    optimizer.register_step_pre_hook(lambda *_: steps.append(optimizer.param_groups[0]["lr"]))
    epochs = list(
        fit(model, split(16), split(8), optimizer, place=PLACE, epochs=5, batch_size=8, how=PLAIN, patience=99,
            schedule=OneCycle(warmup=0.4), seed=0)
    )  # fmt: skip
    # Ten steps, from 0 to 9: up until the third (0.4 x 10 - 1), from 0.5 / 25 to 0.5, then down to 0.02 / 10,000.
    assert len(steps) == 10
    assert (steps[0], steps[3], steps[9]) == pytest.approx((0.02, 0.5, 2e-6))
    assert steps[1] == pytest.approx(0.02 + 0.48 * (1 - math.cos(math.pi / 3)) / 2)
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx(steps[::2])


def test_schedules_by_name(params):
    names = [make_schedule(params.train.model_copy(update={"schedule": name})) for name in ("plateau", "constant")]
    assert names == [Plateau(0.5, 3, 1e-6), None]
    assert make_schedule(params.train.model_copy(update={"schedule": "one_cycle", "warmup": 0.2})) == OneCycle(0.2)


def test_one_step_with_weight_decay_by_hand():
    model = classifier(penalty=0.25)
    model.network.weight.data.fill_(2.0)
    model.network.bias.data.fill_(-1.0)
    list(run(model, split(8), split(4), OptimizerSettings("sgd", 0.5, 0.0), epochs=1, weight_decay=0.1))
    # Equal logits: the loss adds 0 to the gradient of the bias and 0 to that of green. Green loses 0.5 x (2 x 0.25 +
    # 0.1) x 2 = 0.6, the bias, which has no penalty, 0.5 x 0.1 x -1.
    assert model.network.weight.data[:, 1].tolist() == pytest.approx([1.4, 1.4])
    assert model.network.bias.data.tolist() == pytest.approx([-0.95, -0.95])


def test_one_step_with_smoothed_labels_by_hand():
    model = classifier()
    (epoch,) = run(model, split(8), split(4), OptimizerSettings("sgd", 1.0, 0.0), epochs=1, label_smoothing=0.2)
    # The label 1 becomes 0.9: a red image adds 0.5 - 0.9 = -0.4 to the gradient of weight[0, red], half the time.
    assert model.network.weight.data[:, 0].tolist() == pytest.approx([0.2, -0.2])
    assert epoch.train_loss == pytest.approx(math.log(2))  # without smoothing


def test_the_last_weights_are_kept_on_request():
    for keep in ("best", "last"):
        model, validation = classifier(), split(8, noise=1.0)
        *_, last = run(model, split(8), validation, OptimizerSettings("sgd", 1.0, 0.0), epochs=4, keep=keep)
        # With only wrong labels to validate on, the first epoch is the best one.
        kept = assess(model, validation, PLACE)[0]
        assert (kept == pytest.approx(last.validation_loss)) == (keep == "last")


class TwoLayers(Linear):
    """The logistic regression on colours that a layer before it mixes, after batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
        self.last = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.body(x).mean(dim=(2, 3)))

    def head(self) -> nn.Module:
        return self.last


@pytest.mark.parametrize(
    "settings",
    [
        OptimizerSettings("adam", 0.1),
        OptimizerSettings("sgd", 0.1, momentum=0.9),
        OptimizerSettings("rmsprop", 0.1, rho=0.9),
    ],
)
def test_the_head_learns_first_and_then_all_of_it(settings):
    torch.manual_seed(0)
    model = Classifier(TwoLayers(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def state(part: str) -> list[torch.Tensor]:
        return [value.clone() for name, value in model.state_dict().items() if name.startswith(f"network.{part}")]

    body, head, seen = state("body"), state("last"), []
    for epoch in run(model, split(16), split(8), settings, epochs=4, head_epochs=2, keep="last"):
        same = [all(map(torch.equal, before, state(part))) for part, before in (("body", body), ("last", head))]
        seen.append((epoch.epoch, *same))
    # Running statistics belong to what is frozen.
    assert seen == [(1, True, False), (2, True, False), (3, False, False), (4, False, False)]


def test_patience_does_not_end_the_training_before_all_of_it_learns():
    def epochs(**options) -> int:
        torch.manual_seed(0)
        model = Classifier(TwoLayers(), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        # No loss is better by so much: every epoch but the first is a stale one.
        options = {"epochs": 12, "patience": 2, "min_delta": 100.0} | options
        records = list(run(model, split(16), split(8), OptimizerSettings("sgd", 1e-4, 0.0), **options))
        assert all(p.requires_grad for p in model.parameters()) == (options.get("head_epochs", 0) < options["epochs"])
        return len(records)

    assert epochs() == 3
    assert epochs(head_epochs=5) == 7
    assert epochs(head_epochs=12) == 3  # nothing but the head ever learns


def test_the_same_seed_gives_the_same_weights():
    def weights(seed: int) -> torch.Tensor:
        model = classifier()
        list(run(model, split(30, noise=0.2), split(8), OptimizerSettings("adam", 0.1), seed=seed))
        return model.network.weight.data

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_arms_begin_alike_and_part_where_their_images_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = parameters.read(Path(__file__).resolve().parents[2] / "studies" / "watermark.yaml")
    network, optimizer, _ = hyperparameters.resolve(params.model, params.train, {}, None)
    settings = params.train.model_copy(update={"epochs": 1, "batch_size": 8})
    rng = np.random.default_rng(0)
    images = {arm: torch.from_numpy(rng.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)) for arm in ("main", "noise")}
    shown = Split(images["main"], torch.arange(16) % 2, None, torch.arange(16), None, arms={"noise": images["noise"]})
    about = Description("mine", ("a", "b"), 8, {}, (0.5,) * 3, (0.3,) * 3, False, "")

    def train(part: Split, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        work = str(len(list(tmp_path.rglob("*.unfinished"))))  # each one from its own beginning
        loop = Training(network, about, optimizer, settings, params.augment, seed, work)
        model, epochs, _ = loop.begin(part, shown, PLACE)
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        list(epochs)
        return before, torch.cat([p.detach().flatten() for p in model.parameters()])

    (start, end), (again, end_again), (of_arm, end_of_arm) = train(shown), train(shown), train(shown.arm("noise"))
    assert torch.equal(start, again)
    assert torch.equal(start, of_arm)
    assert torch.equal(end, end_again)
    assert not torch.equal(end, end_of_arm)
    assert not torch.equal(start, train(shown, seed=1)[0])


@pytest.mark.parametrize(("keep", "epoch", "loss"), [("best", 2, 0.1), ("last", 3, 0.2)])
def test_the_summary_is_of_the_epoch_that_was_kept(keep, epoch, loss):
    rows = [(1, 0.5, 0.6, 0.5, 0.03, True), (2, 0.1, 0.9, 0.7, 0.02, True), (3, 0.2, 0.8, 0.6, 0.01, False)]
    columns = ["epoch", "validation_loss", "validation_accuracy", "validation_balanced_accuracy", "weight_penalty",
               "is_best"]  # fmt: skip
    found = summary(pd.DataFrame(rows, columns=columns), keep)
    assert list(found) == [
        "best_epoch_validation_loss", "best_epoch_validation_accuracy", "best_epoch_validation_balanced_accuracy",
        "best_epoch_weight_penalty", "best_epoch", "epochs",
    ]  # fmt: skip
    assert (found["best_epoch"], found["best_epoch_validation_loss"], found["epochs"]) == (epoch, loss, 3)


def test_a_consumer_may_take_one_epoch_and_leave():
    (first,) = itertools.islice(run(classifier(), split(8), split(8), OptimizerSettings("adam", 0.1), epochs=10**9), 1)
    assert first.epoch == 1
    assert first.images_per_second > 0


def test_a_loss_that_is_no_number_is_said():
    broken = classifier()
    broken.network.bias.data.fill_(float("inf"))
    with pytest.raises(Diverged, match=r"the loss is not a number after epoch 1: lower train.learning_rate \(0.1\)"):
        list(run(broken, split(8), split(8), OptimizerSettings("sgd", 0.1, 0.0)))


def test_mixed_precision_trains_as_well():
    place = Place(torch.device("cpu"), torch.bfloat16, 64)
    epochs = list(run(classifier(), split(32), split(8), OptimizerSettings("adam", 0.1), place=place, epochs=5))
    assert epochs[-1].validation_accuracy == 1.0


def test_a_batch_that_does_not_fit_in_memory_is_named(monkeypatch):
    model = classifier()
    model.input_size = 6
    forward = model.network.forward
    monkeypatch.setattr(model.network, "forward", lambda x: torch.empty(2**50) if model.training else forward(x))
    with pytest.raises(
        OutOfMemory, match=r"^8 images of 6 x 6 pixels at once \(train.batch_size and model.input_size\) do not fit"
    ):
        list(run(model, split(8), split(8), OptimizerSettings("adam", 0.1)))
    with pytest.raises(OutOfMemory, match=r"\(tune.batch_size"):
        list(run(model, split(8), split(8), OptimizerSettings("adam", 0.1), section="tune"))
    monkeypatch.setattr(model.network, "forward", lambda x: forward(x) if model.training else torch.empty(2**50))
    with pytest.raises(OutOfMemory, match=r"^64 images of 6 x 6 pixels at once \(compute.batch_size"):
        list(run(model, split(8), split(8), OptimizerSettings("adam", 0.1)))


@pytest.mark.parametrize("graphs", [False, True])  # on the CPU nothing is recorded, but the way is the same
def test_a_compiled_network_trains_alike(graphs):
    def epochs(compiled: bool) -> list:
        place = replace(PLACE, compiled=compiled, graphs=compiled and graphs)
        model = classifier()
        records = list(run(model, split(30, noise=0.2), split(8), OptimizerSettings("adam", 0.1), place=place))
        assert all(name.startswith(("network.", "mean", "std")) for name in model.state_dict())
        return [(record.train_loss, record.validation_loss) for record in records]

    torch._dynamo.reset()
    assert np.array(epochs(compiled=True)) == pytest.approx(np.array(epochs(compiled=False)), abs=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # it was compiled


def test_peak_memory_is_recorded():
    (epoch,) = run(classifier(), split(8), split(8), OptimizerSettings("adam", 0.1), epochs=1)
    assert 0.05 < epoch.peak_memory < 100
    assert "peak_memory" in epoch.metrics()
    assert set(COSTS) < set(epoch.metrics())


def test_validation_images_are_changed_on_request():
    dark = Split(torch.full((64, 2, 2, 3), 100, dtype=torch.uint8), torch.arange(64) % 2, None, torch.arange(64), None)
    model = classifier()
    model.network.weight.data = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    losses = {}
    for changed in (False, True):
        how = PLAIN.model_copy(update={"brightness": 1.0, "validation_and_test": changed})
        (epoch,) = run(model, split(8), dark, OptimizerSettings("sgd", 1e-12, 0.0), epochs=1, how=how)
        losses[changed] = epoch.validation_loss
    assert losses[False] == pytest.approx(assess(model, dark, PLACE)[0])
    assert losses[True] != pytest.approx(losses[False], abs=1e-3)


def test_validation_images_are_changed_as_precisely_in_mixed_precision():
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        place, how = replace(PLACE, dtype=dtype), SOME.model_copy(update={"validation_and_test": True})
        (epoch,) = run(
            classifier(), split(8), split(64), OptimizerSettings("sgd", 1e-2, 0.0), epochs=1, how=how, place=place
        )
        losses.append(epoch.validation_loss)
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)


def test_assess_by_hand():
    model = classifier()
    model.network.bias.data = torch.tensor([math.log(3), 0.0])  # probabilities 3/4 and 1/4, whatever the image
    loss, accuracy, _ = assess(model, split(8), PLACE)
    assert loss == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert accuracy == 0.5
    assert model.training


@pytest.mark.parametrize(("n", "size", "sizes"), [(5, 2, [2, 3]), (6, 2, [2, 2, 2]), (1, 2, [1]), (7, 3, [3, 4])])
def test_no_batch_of_one_is_left_over(n, size, sizes):
    parts = batches(torch.arange(n), size)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), torch.arange(n))


@pytest.mark.parametrize("ahead", [1, 2**16, 2**30])  # bytes: one batch, some, all at a time
def test_batches_come_in_order_however_many_are_made_at_a_time(monkeypatch, ahead):
    n, size = 131, 10  # the last image joins the batch before
    monkeypatch.setitem(batching.AHEAD, "cpu", ahead)
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 12, 12, 3).contiguous()
    split = Split(images, torch.arange(n), None, torch.arange(n), None)
    order, asked = torch.randperm(n, generator=torch.Generator().manual_seed(0)), []

    def change(some: torch.Tensor) -> torch.Tensor:
        asked.append(len(some))
        return some.permute(0, 3, 1, 2).float()

    parts = list(stream(split, order, size, change))
    assert [len(y) for _, y in parts] == [*[10] * 12, 11]
    assert torch.equal(torch.cat([y for _, y in parts]), order)
    assert torch.equal(torch.cat([x[:, 0, 0, 0] for x, _ in parts]), order.float())
    assert len(asked) == {1: 13, 2**16: 5, 2**30: 1}[ahead]


SOME = Augment(
    flip=True, crop=1, brightness=0.2, contrast=0.2, saturation=0.2, resize_first=False, validation_and_test=True
)
RUNS = {
    "adam, plateau": (OptimizerSettings("adam", 0.01), {"schedule": Plateau(0.5, 1, 0.0)}),
    "sgd, one cycle": (OptimizerSettings("sgd", 0.05, momentum=0.9), {"schedule": OneCycle(0.3)}),
    "rmsprop, penalties": (OptimizerSettings("rmsprop", 0.003, rho=0.9), {"weight_decay": 0.01}),
    "the last weights": (OptimizerSettings("adam", 0.01), {"keep": "last", "label_smoothing": 0.1}),
    "stops early": (OptimizerSettings("adam", 0.3), {"patience": 1, "epochs": 12}),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, small_cnn, name, killed_after):
    settings, options = RUNS[name]
    data = split(40, noise=0.3), split(20, seed=1, noise=0.3)

    def start(seed: int, work: str):
        torch.manual_seed(seed)  # as in another process, nothing is as the first one left it
        model = small_cnn(4)
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(seed))
        checkpoint = Checkpoint(work, "key", tmp_path)
        return model, run(model, *data, settings, epochs=options.get("epochs", 5), how=SOME, checkpoint=checkpoint,
                          **{key: value for key, value in options.items() if key != "epochs"})  # fmt: skip

    def without_costs(records):
        return [{k: v for k, v in vars(record).items() if k not in COSTS} for record in records]

    whole, epochs = start(0, "whole")
    expected = list(epochs)
    assert len(expected) > killed_after or name == "stops early"
    _, epochs = start(0, "killed")
    first = list(itertools.islice(epochs, killed_after))
    epochs.close()
    resumed, epochs = start(1, "killed")
    found = list(epochs)
    assert without_costs(found) == without_costs(expected)
    assert found[: len(first)] == first, "what an epoch took is not measured again"
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    again, epochs = start(2, "killed")  # killed once more, after the last epoch
    assert list(epochs) == found
    for key, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_a_damaged_checkpoint_is_said_and_the_training_begins_anew(tmp_path, capsys):
    data = split(16), split(8)

    def records():
        return list(run(classifier(), *data, OptimizerSettings("sgd", 0.1, momentum=0.0),
                        checkpoint=Checkpoint("train", "key", tmp_path)))  # fmt: skip

    expected = records()
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert [record.train_loss for record in records()] == [record.train_loss for record in expected]
    assert capsys.readouterr().err == f"{file}: this checkpoint is damaged, so train begins anew\n"
    records()
    assert capsys.readouterr().err == f"{file}: the training goes on after epoch 3\n"


def test_no_training_goes_on_from_that_of_other_parameters_or_data(tmp_path, monkeypatch, params):
    monkeypatch.chdir(tmp_path)
    network = hyperparameters.unsearched(
        "resnet18",
        "none",
        None,
        weights=None,
        stem="cifar",
        dropout=0.0,
        batch_norm_momentum=0.9,
    )

    def path(seed=0, digest="d" * 64, settings=params.train, rate=0.1, how=PLAIN, arm=""):
        data = Description("toy", ("a", "b"), 32, {}, (0.5,) * 3, (0.2,) * 3, False, digest)
        return Training(network, data, OptimizerSettings("adam", rate), settings, how, seed, arm).checkpoint(PLACE).path

    paths = [
        path(), path(seed=1), path(digest="e" * 64), path(how=SOME), path(arm="noise"),
        path(settings=params.train.model_copy(update={"epochs": 7})), path(rate=0.2),
    ]  # fmt: skip
    assert path() == paths[0]
    assert len(set(paths)) == len(paths)


def imbalanced(n: int, n_rare: int) -> Split:
    """Images of which nothing tells the class; the last `n_rare` of the `n` are of class 1."""
    labels = (torch.arange(n) >= n - n_rare).long()
    return Split(torch.full((n, 4, 4, 3), 128, dtype=torch.uint8), labels, None, torch.arange(n), None)


def test_balanced_weights_are_those_of_scikit_learn():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 2, 2, 3])  # nobody is of class 1
    assert balanced_weights(labels)[[0, 2, 3]].tolist() == pytest.approx([9 / 18, 9 / 6, 9 / 3])
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels.numpy())
    assert balanced_weights(labels)[[0, 2, 3]].tolist() == pytest.approx(expected)
    assert balanced_weights(labels)[labels].mean() == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_weighted_loss_by_hand(smoothing):
    # Three images of class 0 and one of class 1: weights 2/3 and 2; probabilities 3/4 and 1/4 whatever the image.
    logits, y = torch.tensor([[math.log(3), 0.0]]).expand(4, 2), torch.tensor([0, 0, 0, 1])
    first, second = -math.log(0.75), -math.log(0.25)
    of_0, of_1 = ((1 - smoothing) * own + smoothing * (first + second) / 2 for own in (first, second))
    weights = balanced_weights(y)
    loss = mean_loss(logits, y, 4, None, smoothing, weights)
    assert loss.item() == pytest.approx((3 * 2 / 3 * of_0 + 2 * of_1) / 4)
    for size in (2, 3):
        parts = [Ranks(rank, size) for rank in range(size)]
        losses = [mean_loss(logits[r.share(4)], y[r.share(4)], 4, r, smoothing, weights) for r in parts]
        torch.testing.assert_close(torch.stack(losses).mean(), loss)


def test_validation_of_a_balanced_training_by_hand():
    model, images = classifier(), imbalanced(4, 1)
    model.network.bias.data = torch.tensor([math.log(3), 0.0])
    plain = assess(model, images, PLACE)
    assert plain == pytest.approx((-(3 * math.log(0.75) + math.log(0.25)) / 4, 0.75, 0.5))
    weighted = assess(model, images, PLACE, weights=balanced_weights(images.labels))
    assert weighted == pytest.approx((-(math.log(0.75) + math.log(0.25)) / 2, 0.75, 0.5))


def test_an_epoch_of_balanced_sampling_draws_every_class_as_often():
    labels = torch.tensor([0] * 90 + [2] * 9 + [5])
    generator = torch.Generator().manual_seed(0)
    orders = [batching.balanced_order(labels, generator) for _ in range(300)]
    for order in orders:
        counts = torch.bincount(labels[order])[[0, 2, 5]]
        assert counts.sum() == 100
        assert sorted(counts.tolist()) == [33, 33, 34]
        assert len(set(labels[order][:20].tolist())) > 1  # not one class after another
    drawn = torch.bincount(torch.cat(orders), minlength=100)
    assert drawn[99] == pytest.approx(10_000, rel=0.01)  # the only one of its class
    assert drawn[90:99].tolist() == pytest.approx([10_000 / 9] * 9, rel=0.15)
    assert drawn[:90].min() > 60  # of 111 expected: everyone has a turn
    again = torch.Generator().manual_seed(0)
    assert torch.equal(batching.balanced_order(labels, again), orders[0])
    assert not torch.equal(orders[0], orders[1])


@pytest.mark.parametrize("how", [{"class_weights": "balanced"}, {"sampling": "balanced"}])
def test_balanced_training_recognises_the_rare_class(how):
    """Images of two classes that overlap, nine of ten of one: the other is not worth answering, unless balanced."""
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 10 == 0).astype(np.int64)
    red = np.clip(rng.normal(110 + 35 * labels, 25), 0, 255)
    images = np.zeros((400, 4, 4, 3), np.uint8)
    images[..., 0] = red[:, None, None]
    data = Split(torch.from_numpy(images), torch.from_numpy(labels), None, torch.arange(400), None)
    settings = {"epochs": 30, "batch_size": 32}
    adam = OptimizerSettings("adam", 0.05)
    *_, plain = run(classifier(), data, data, adam, **settings)
    *_, balanced = run(classifier(), data, data, adam, **settings, **how)
    assert plain.validation_balanced_accuracy < 0.6
    assert balanced.validation_balanced_accuracy > 0.7
    assert balanced.validation_accuracy < plain.validation_accuracy
    assert balanced.validation_loss != pytest.approx(plain.validation_loss)


@pytest.mark.parametrize("how", [{"class_weights": "balanced"}, {"sampling": "balanced"}])
def test_a_balanced_training_goes_on_to_the_same_bits(how, tmp_path):
    data = split(24, noise=0.2)

    def train(checkpoint: Checkpoint, epochs: int | None = None) -> tuple[Classifier, list]:
        torch.manual_seed(0)
        model = classifier()
        options = {"epochs": 4, "how": SOME, "checkpoint": checkpoint} | how
        return model, list(itertools.islice(run(model, data, data, OptimizerSettings("adam", 0.1), **options), epochs))

    whole, _ = train(Checkpoint("train", "whole", tmp_path))
    train(Checkpoint("train", "cut", tmp_path), epochs=2)
    resumed, records = train(Checkpoint("train", "cut", tmp_path))
    assert len(records) == 4
    for name, values in whole.state_dict().items():
        assert torch.equal(values, resumed.state_dict()[name]), name
