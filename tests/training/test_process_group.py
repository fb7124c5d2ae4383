import itertools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from together import together
from torch import nn
from torch.nn.functional import cross_entropy

from glassbox import models
from glassbox.config.augment import Augment
from glassbox.core.errors import UserError
from glassbox.data.store import Split
from glassbox.execution.compute import Place
from glassbox.models import Classifier
from glassbox.provenance.resume import Checkpoint
from glassbox.training.batching import stream
from glassbox.training.loop import fit
from glassbox.training.losses import mean_loss
from glassbox.training.optimizers import OptimizerSettings, make_optimizer
from glassbox.training.process_group import Ranks
from glassbox.training.records import Diverged, Epoch
from glassbox.training.schedules import OneCycle, Plateau

PLACE = Place(torch.device("cpu"), torch.float32, 8)
CHANGED = Augment(
    flip=True, crop=1, brightness=0.2, contrast=0.2, saturation=0.2, resize_first=False, validation_and_test=True
)
PLAIN = Augment(
    flip=False, crop=0, brightness=0.0, contrast=0.0, saturation=0.0, resize_first=False, validation_and_test=False
)
CNN = {
    "conv1_filters": 4, "conv1_kernel_size": 3, "activation_func1": "relu", "leaky_relu_alpha_1": None,
    "l2_reg_1": 0.001, "pool_size_1": 2, "dropout_1": 0.2, "conv2_filters": 6, "conv2_kernel_size": 3,
    "activation_func2": "leaky_relu", "leaky_relu_alpha_2": 0.1, "l2_reg_2": 0.002, "pool_size_2": 2,
    "dense_units_1": 8, "dense_l2_reg_1": 0.003, "activation_func_dense": "relu", "leaky_relu_alpha_3": None,
    "dense_dropout_1": 0.3, "batch_norm_momentum": 0.9,
}  # fmt: skip
TORCHVISIONS = {"weights": None, "stem": "imagenet", "dropout": 0.3, "batch_norm_momentum": 0.9}
SGD = OptimizerSettings("sgd", 0.02, momentum=0.9)


@dataclass(frozen=True)
class Case:
    """A training. Of 34 images in batches of 8 the last two are a batch, so that of three ranks one has no share.

    Attributes:
        optimizer: its settings.
        options: of `fit`, but for those of all.
        network: and its hyperparameters.
        n, side: of the training images.
        input_size: to which the classifier resizes them.
        double: whether weights are of 64 bits: sums in another order then differ by next to nothing, where with fewer
            bits a value that ReLU lets pass on one side and not on the other soon leads to other weights.
        near: by how much weights and losses may differ.
        dtype, weight_decay: of the training.
    """

    optimizer: OptimizerSettings = SGD
    options: dict[str, Any] = field(default_factory=dict)
    network: tuple[str, dict[str, Any]] = ("cnn", CNN)
    n: int = 34
    side: int = 16
    input_size: int | None = None
    double: bool = True
    near: float = 1e-5  # logits are cast to 32 bits for the loss
    dtype: torch.dtype = torch.float32
    weight_decay: float = 0.0


CASES = {
    "sgd, one cycle, smoothed": Case(options={"schedule": OneCycle(0.3), "label_smoothing": 0.1}, weight_decay=0.01),
    "adam, plateau": Case(OptimizerSettings("adam", 0.003), {"schedule": Plateau(0.5, 1, 0.0), "min_delta": 0.2}),
    "rmsprop, stops early": Case(OptimizerSettings("rmsprop", 0.02, rho=0.9), {"patience": 1, "epochs": 12}),
    "class weights": Case(options={"class_weights": "balanced", "label_smoothing": 0.1, "epochs": 2}),
    "balanced sampling": Case(options={"sampling": "balanced", "epochs": 2}),
    "the last weights": Case(options={"keep": "last", "how": PLAIN}),
    "the head first": Case(options={"head_epochs": 2}),
    "resized": Case(options={"how": CHANGED.model_copy(update={"resize_first": True})}, input_size=12),
    "fewer images than ranks": Case(n=2, options={"epochs": 2}),
    "resnet18": Case(options={"epochs": 1}, network=("resnet18", TORCHVISIONS | {"stem": "cifar"}), n=10),
    # At a higher rate its loss explodes, and with it what sums in another order change.
    "efficientnet": Case(
        replace(SGD, learning_rate=0.001), {"epochs": 1}, network=("efficientnet_b0", TORCHVISIONS), n=8, side=32
    ),
    "float32": Case(double=False, near=1e-3),
    "bfloat16": Case(replace(SGD, learning_rate=0.003), double=False, dtype=torch.bfloat16, near=0.02),
}


def split(n: int, side: int, seed: int = 0) -> Split:
    """Noise, of a little more red, green or blue."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.integers(0, 120, (n, side, side, 3), dtype=np.uint8)
    images[np.arange(n), :, :, labels] += 80
    return Split(torch.from_numpy(images), torch.from_numpy(labels), None, torch.arange(n), None)


def build(case: Case, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    model = models.build(*case.network, case.side, 3, (0.4,) * 3, (0.3,) * 3, case.input_size)
    return model.double() if case.double else model


def start(case: Case, ranks: Ranks | None, model: Classifier, **options: Any):
    optimizer = make_optimizer(model, case.optimizer, case.weight_decay)
    options = {"epochs": 4, "batch_size": 8, "patience": 99, "seed": 3, "how": CHANGED} | case.options | options
    place = options.pop("place", replace(PLACE, dtype=case.dtype))
    data = split(case.n, case.side), split(13, case.side, 1)
    return fit(model, *data, optimizer, place=place, ranks=ranks, **options)


def train(case: Case, ranks: Ranks | None) -> dict[str, Any]:
    model = build(case)
    records = list(start(case, ranks, model))
    assert not any("forward" in vars(module) for module in model.modules()), "the classifier is the ordinary one"
    return {"records": records, "weights": {key: value.clone() for key, value in model.state_dict().items()}}


def killed_and_resumed(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """A training whose processes end after two of five epochs, and which other processes go on with. Each rank has a
    folder of its own, as on machines of their own."""
    case = Case(options={"epochs": 5, "schedule": OneCycle(0.3)})
    own = folder / f"folder{ranks.rank}"
    model = build(case)
    epochs = start(case, ranks, model, checkpoint=Checkpoint("train", "key", own))
    list(itertools.islice(epochs, 2))
    epochs.close()
    other = build(case, seed=1)
    records = list(start(case, ranks, other, checkpoint=Checkpoint("train", "key", own)))
    return {
        "whole": train(case, ranks), "resumed": {"records": records, "weights": other.state_dict()},
        "files": [path.name for path in own.iterdir()],
    }  # fmt: skip


def diverged(ranks: Ranks) -> str:
    """One weight of the first rank alone is no number, which the others get from it."""
    model = build(Case())
    if ranks.rank == 0:
        model.network.output.bias.data.fill_(math.nan)
    with pytest.raises(Diverged) as error:
        list(start(Case(), ranks, model))
    return str(error.value)


def sums(ranks: Ranks) -> dict[str, Any]:
    device = torch.device("cpu")
    mine = torch.tensor([ranks.rank + 1.0, 10.0])
    found = {"sum": ranks.sum(mine), "highest": ranks.highest(ranks.rank / 4, device), "mine": mine}
    found["of first"] = ranks.of_first({"rank": ranks.rank, "of": torch.tensor([ranks.rank])}, device)
    found["follow"] = ranks.follow(torch.tensor([ranks.rank + 7]))
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(ranks.rank + 5.0)
    averaging = ranks.averaging(layer)
    averaging(torch.tensor([[ranks.rank + 1.0]])).sum().backward()
    return found | {"gradient": layer.weight.grad.item(), "weight": layer.weight.item()}


def on_each_rank(ranks: Ranks, folder: Path) -> dict[str, Any]:
    found = {"ranks": ranks, "sums": sums(ranks), "diverged": diverged(ranks)}
    found["resumed"] = killed_and_resumed(ranks, folder)
    return found | {name: train(case, ranks) for name, case in CASES.items()}


@pytest.fixture(scope="module", params=[2, 3])
def found(request, tmp_path_factory) -> list[dict[str, Any]]:
    """What each of two and of three ranks finds."""
    folder = tmp_path_factory.mktemp("ranks")
    return together(on_each_rank, request.param, folder, folder)


def lasting(records: list[Epoch]) -> np.ndarray:
    """What does not depend on the clock or the machine."""
    names = [key for key in vars(records[0]) if key not in ("seconds", "images_per_second", "peak_memory")]
    return np.array([[float(getattr(record, name)) for name in names] for record in records])


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """What one process finds."""
    return {name: train(case, None) for name, case in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_ranks_find_what_one_process_finds(found, alone, name):
    expected, near = alone[name], CASES[name].near
    for rank in found:
        np.testing.assert_allclose(lasting(rank[name]["records"]), lasting(expected["records"]), rtol=near, atol=near)
        assert list(rank[name]["weights"]) == list(expected["weights"])
        for key, value in expected["weights"].items():
            torch.testing.assert_close(rank[name]["weights"][key], value, rtol=near, atol=near)
            assert torch.equal(rank[name]["weights"][key], found[0][name]["weights"][key]), "the same on all ranks"
        assert np.array_equal(lasting(rank[name]["records"]), lasting(found[0][name]["records"]))
        peaks = [[record.peak_memory for record in other[name]["records"]] for other in (rank, found[0])]
        assert peaks[0] == peaks[1], "the highest of all"


def test_the_cases_do_what_their_names_say(alone):
    records = {name: case["records"] for name, case in alone.items()}
    assert len(records["rmsprop, stops early"]) < 12
    assert len({record.learning_rate for record in records["adam, plateau"]}) > 1
    body = "network.block1.conv.weight"
    start = build(CASES["the head first"]).state_dict()[body]
    assert not torch.equal(alone["the head first"]["weights"][body], start)
    assert records["the last weights"][-1].weight_penalty > 0


def test_a_killed_training_goes_on_to_the_same_bits(found):
    for rank in found:
        whole, resumed = rank["resumed"]["whole"], rank["resumed"]["resumed"]
        assert np.array_equal(lasting(whole["records"]), lasting(resumed["records"]))
        assert len(whole["records"]) == 5
        for key, value in whole["weights"].items():
            assert torch.equal(resumed["weights"][key], value), key
    files = [rank["resumed"]["files"] for rank in found]
    assert files == [["train-key.unfinished"], *[[] for _ in found[1:]]], "the first one reads and writes for all"


def test_all_ranks_find_alike_that_the_loss_is_no_number(found):
    assert {rank["diverged"] for rank in found} == {
        "the loss is not a number after epoch 1: lower train.learning_rate (0.02)"
    }


def test_sums_by_hand(found):
    size = len(found)
    for number, rank in enumerate(found):
        assert rank["ranks"] == Ranks(number, size)
        assert rank["sums"]["sum"].tolist() == {2: [3.0, 20.0], 3: [6.0, 30.0]}[size]
        assert rank["sums"]["mine"].tolist() == [number + 1.0, 10.0]
        assert rank["sums"]["highest"] == (size - 1) / 4
        assert rank["sums"]["of first"] == {"rank": 0, "of": torch.tensor([0])}
        assert rank["sums"]["follow"].tolist() == [7]
        # The gradient of w x is x: 1 and 2, or 1, 2 and 3.
        assert rank["sums"]["gradient"] == {2: 1.5, 3: 2.0}[size]
        assert rank["sums"]["weight"] == 5.0


class Normalized(nn.Module):
    """Batch norm and a layer on the mean colour: it takes the compiler little time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.output = nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.norm(x).mean(dim=(2, 3)))

    def penalties(self) -> tuple:
        return ()


def of_normalized(ranks: Ranks | None, compiled: bool) -> tuple[list[Epoch], int]:
    model = Classifier(Normalized(), (0.4,) * 3, (0.3,) * 3)
    records = list(start(Case(n=16), ranks, model, epochs=2, place=replace(PLACE, compiled=compiled)))
    return records, torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_a_compiled_network_trains_alike(tmp_path):
    expected = lasting(of_normalized(None, False)[0])
    for records, graphs in together(of_normalized, 2, tmp_path, True):
        np.testing.assert_allclose(lasting(records), expected, atol=1e-5)
        assert graphs > 0, "it was compiled"


def test_several_ranks_have_no_cuda_graphs():
    place = replace(PLACE, compiled=True, graphs=True)
    with pytest.raises(UserError, match=r"compute\.compile is cuda_graphs, but 2 processes train together"):
        next(start(Case(), Ranks(0, 2), build(Case()), place=place))


def test_a_process_without_a_group_is_alone():
    assert Ranks.here() is None


@pytest.mark.parametrize(
    ("n", "size", "shares"), [(7, 3, [2, 2, 3]), (8, 2, [4, 4]), (2, 3, [0, 1, 1]), (0, 2, [0, 0]), (5, 1, [5])]
)
def test_shares_are_pieces_of_nearly_the_same_size(n, size, shares):
    rows = [list(range(n))[Ranks(rank, size).share(n)] for rank in range(size)]
    assert [len(part) for part in rows] == shares
    assert list(itertools.chain(*rows)) == list(range(n))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_mean_over_ranks_is_the_loss_of_the_batch(smoothing):
    logits, y = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 1])
    whole = cross_entropy(logits, y, label_smoothing=smoothing)
    assert torch.equal(mean_loss(logits, y, 5, None, smoothing), whole)
    for size in (1, 2, 3, 7):  # of seven, two have no image
        ranks = [Ranks(rank, size) for rank in range(size)]
        losses = [mean_loss(logits[r.share(5)], y[r.share(5)], 5, r, smoothing) for r in ranks]
        torch.testing.assert_close(torch.stack(losses).mean(), whole)


def test_shares_of_a_stream_are_the_rows_of_its_batches():
    data, order = split(23, 4), torch.randperm(23, generator=torch.Generator().manual_seed(0))

    def change(images: torch.Tensor, own: torch.Tensor | None = None) -> torch.Tensor:
        return (images if own is None else images[own]).permute(0, 3, 1, 2).float()

    whole = list(stream(data, order, 5, change))
    parts = [list(stream(data, order, 5, change, Ranks(rank, 4))) for rank in range(4)]
    assert [len(y) for _, y in whole] == [5, 5, 5, 5, 3]
    for number, (x, y) in enumerate(whole):
        assert torch.equal(torch.cat([part[number][0] for part in parts]), x)
        assert torch.equal(torch.cat([part[number][1] for part in parts]), y)
