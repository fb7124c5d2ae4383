"""Trainings and batch norms on two and three processes."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL_CNN
from together import together
from torch import nn

from glassbox import models
from glassbox.config.train import Train
from glassbox.core.errors import UserError
from glassbox.data.store import Split
from glassbox.models import Classifier
from glassbox.models.preprocessing import Preprocessing
from glassbox.provenance.resume import Checkpoint
from glassbox.training import data_parallel
from glassbox.training.loop import fit
from glassbox.training.optimizers import make_optimizer
from glassbox.training.process_group import ALONE, Ranks
from glassbox.training.recipe import Recipe
from glassbox.training.records import COSTS, Diverged, Epoch
from glassbox.training.schedules import OneCycle, Plateau
from tests.training.toys import CHANGED, PLACE, PLAIN, images_of, learning

CNN = SMALL_CNN | {
    "l2_reg_1": 0.001, "dropout_1": 0.2, "conv2_filters": 6, "l2_reg_2": 0.002, "dense_l2_reg_1": 0.003,
    "dense_dropout_1": 0.3,
}  # fmt: skip
EFFICIENTNET = {"dropout": 0.3, "batch_norm_momentum": 0.9}
SGD = learning("sgd", 0.02, momentum=0.9)


@dataclass(frozen=True)
class Case:
    """A training. Of 34 images in batches of 8 the last two are a batch, so that of three ranks one has no share.

    Weights have 64 bits if `double`: sums in another order then differ by next to nothing. With fewer bits, a value on
    the other side of ReLU's kink soon leads to other weights. `near` is the tolerance, `sizes` are numbers of ranks.
    """

    settings: Train = SGD
    options: dict[str, Any] = field(default_factory=dict)
    network: tuple[str, dict[str, Any]] = ("cnn", CNN)
    n: int = 34
    side: int = 16
    input_size: int | None = None
    double: bool = True
    near: float = 1e-5  # logits are cast to 32 bits for the loss
    dtype: torch.dtype = torch.float32
    sizes: tuple[int, ...] = (2,)


CASES = {
    "sgd, one cycle, smoothed": Case(
        learning("sgd", 0.02, momentum=0.9, weight_decay=0.01),
        {"schedule": OneCycle(0.3), "label_smoothing": 0.1},
        sizes=(2, 3),
    ),
    "averaged, mirrored in turn": Case(
        learning("sgd", 0.02, momentum=0.9, nesterov=True),
        {"ema_decay": 0.8, "augment": CHANGED.model_copy(update={"flip": "alternating"})},
    ),
    "adam, plateau": Case(learning("adam", 0.003), {"schedule": Plateau(0.5, 1, 0.0), "min_delta": 0.2, "epochs": 4}),
    "rmsprop, stops early": Case(learning("rmsprop", 0.02, rho=0.9), {"patience": 1, "epochs": 12}),
    "class weights, the last kept": Case(
        options={"class_weights": "balanced", "label_smoothing": 0.1, "keep": "last", "augment": PLAIN}, sizes=(2, 3)
    ),
    "balanced sampling, the head first": Case(options={"sampling": "balanced", "head_epochs": 1}),
    "resized": Case(options={"augment": CHANGED.model_copy(update={"resize_first": True})}, input_size=12),
    "fewer images than ranks": Case(n=2, sizes=(2, 3)),
    # At a higher rate its loss explodes, and with it what sums in another order change.
    "efficientnet": Case(
        learning("sgd", 0.001, momentum=0.9),
        {"epochs": 1},
        network=("torchvision/efficientnet_b0", EFFICIENTNET),
        n=8,
        side=32,
    ),
    "float32": Case(double=False, near=1e-3),
    # 0.03: one of 34 training images may be on the other side.
    "bfloat16": Case(learning("sgd", 0.003, momentum=0.9), double=False, dtype=torch.bfloat16, near=0.03),
}
RUNS = [(name, size) for name, case in CASES.items() for size in case.sizes]


def split(n: int, side: int, seed: int = 0) -> Split:
    """Noise, of a little more red, green or blue."""
    labels = np.arange(n) % 3
    images = np.random.default_rng(seed).integers(0, 120, (n, side, side, 3), dtype=np.uint8)
    images[np.arange(n), :, :, labels] += 80
    return images_of(images, labels)


def build(case: Case, seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    model = models.build(*case.network, Preprocessing((0.4,) * 3, (0.3,) * 3, case.input_size), case.side, 3)
    return model.double() if case.double else model


def start(
    case: Case, ranks: Ranks, model: Classifier, checkpoint: Checkpoint | None = None, **place: Any
) -> Iterator[Epoch]:
    common = {"epochs": 2, "batch_size": 8, "patience": 99, "seed": 3, "augment": CHANGED}
    return fit(
        model,
        split(case.n, case.side),
        split(13, case.side, 1),
        make_optimizer(model, case.settings),
        Recipe(**common | case.options),
        place=replace(PLACE, batch_size=8, dtype=case.dtype, **place),
        checkpoint=checkpoint,
        ranks=ranks,
    )


def train(case: Case, ranks: Ranks) -> dict[str, Any]:
    model = build(case)
    records = list(start(case, ranks, model))
    assert not any("forward" in vars(module) for module in model.modules()), "the classifier is the ordinary one"
    return {"records": records, "weights": {key: value.clone() for key, value in model.state_dict().items()}}


def killed_and_resumed(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """A training whose processes end after one of three epochs, and which other processes go on with. Each rank has a
    folder of its own, as on machines of their own."""
    case, own_folder = Case(options={"epochs": 3, "schedule": OneCycle(0.3)}), folder / f"folder{ranks.rank}"
    epochs = start(case, ranks, build(case), Checkpoint("train", "key", own_folder))
    next(epochs)
    epochs.close()
    model = build(case, seed=1)
    records = list(start(case, ranks, model, Checkpoint("train", "key", own_folder)))
    return {
        "whole": train(case, ranks),
        "resumed": {"records": records, "weights": model.state_dict()},
        "files": [path.name for path in own_folder.iterdir()],
    }


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
    values = torch.tensor([ranks.rank + 1.0, 10.0])
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(ranks.rank + 5.0)
    averaging = ranks.averaging(layer)
    averaging(torch.tensor([[ranks.rank + 1.0]])).sum().backward()
    return {
        "sum": ranks.sum(values).tolist(),
        "values": values.tolist(),
        "highest": ranks.highest(ranks.rank / 4, device),
        "of first": ranks.of_first({"rank": ranks.rank, "tensor": torch.tensor([ranks.rank])}, device),
        "follow": ranks.follow(torch.tensor([ranks.rank + 7])).tolist(),
        "averaged gradient": layer.weight.grad.item(),
        "weight": layer.weight.item(),
    }


SHARES = [[3, 2], [4, 1], [5, 0]]  # of five images on two ranks
NORMS = {
    "float64": (partial(nn.BatchNorm2d, 4, dtype=torch.float64), (5, 4, 3, 2), 1e-12),
    "float32": (partial(nn.BatchNorm2d, 4), (5, 4, 3, 2), 1e-6),
    "of vectors": (partial(nn.BatchNorm1d, 4, eps=1e-3, momentum=0.3), (5, 4), 1e-6),
    "without weights": (partial(nn.BatchNorm2d, 4, affine=False), (5, 4, 3, 2), 1e-6),
    "cumulative": (partial(nn.BatchNorm2d, 4, momentum=None), (5, 4, 3, 2), 1e-6),
    "without statistics": (partial(nn.BatchNorm2d, 4, track_running_stats=False), (5, 4, 3, 2), 1e-6),
}


def norm_and_values(name: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A batch norm with random weights, its input and the gradient of its output."""
    make, shape, _ = NORMS[name]
    torch.manual_seed(0)
    layer, dtype = make(), torch.float64 if name == "float64" else torch.float32
    if layer.affine:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    x, gradient = (torch.randn(shape, dtype=dtype) + offset for offset in (2.0, 0.0))
    if x.ndim == 4:
        x, gradient = (values.contiguous(memory_format=torch.channels_last) for values in (x, gradient))
    return layer, x, gradient


def two_steps(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs and gradients of two steps, the second one of larger values; statistics and evaluation after them."""
    results = {}
    for step in range(2):
        values = (x.detach() * (1 + step)).requires_grad_()
        y = layer(values)
        y.backward(gradient)
        results |= {f"y{step}": y.detach(), f"dx{step}": values.grad}
    results |= {f"d{name}": weight.grad for name, weight in layer.named_parameters()}
    results |= {name: buffer.clone() for name, buffer in layer.named_buffers()}
    return results if layer.running_mean is None else results | {"y in evaluation": layer.eval()(x).detach()}


def joined(layer: nn.Module, ranks: Ranks, images: int) -> nn.Module:
    """The layer for a share of a batch."""
    twin, batch = data_parallel.joined(Classifier(nn.Sequential(layer)), ranks)
    batch.images = images
    return twin.network[0]


def norm_of_bfloat16(ranks: Ranks) -> torch.Tensor:
    """A batch norm of bfloat16 values, whose mean is large for their deviation."""
    layer = joined(nn.BatchNorm2d(2), ranks, images=6)
    x = (10 + torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        return layer(x[ranks.share(6)]).detach()


def norm_of_one_value(ranks: Ranks) -> str:
    with pytest.raises(ValueError, match="more than one value a channel") as error:
        joined(nn.BatchNorm1d(3), ranks, images=1)(torch.zeros(1 - ranks.rank, 3))
    return str(error.value)


def norms(ranks: Ranks) -> dict[Any, Any]:
    results: dict[Any, Any] = {"bfloat16": norm_of_bfloat16(ranks), "one value": norm_of_one_value(ranks)}
    for name, shares in itertools.product(NORMS, SHARES):
        layer, *values = norm_and_values(name)
        own_values = (value.split(shares)[ranks.rank] for value in values)
        results[name, tuple(shares)] = two_steps(joined(layer, ranks, images=5), *own_values)
    return results


class Normalized(nn.Sequential):
    """Batch norm and a layer on the mean colour."""

    def penalties(self) -> tuple:
        return ()


def train_compiled(ranks: Ranks, compiled: bool = True) -> tuple[list[Epoch], int]:
    """Records of a training, and the number of graphs. The compiler makes no machine code, which would take long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.compile", partial(torch.compile, backend="aot_eager"))
        torch.manual_seed(0)
        network = Normalized(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
        model = Classifier(network, (0.4,) * 3, (0.3,) * 3)
        records = list(start(Case(n=16, options={"epochs": 1}), ranks, model, compiled=compiled))
    return records, torch._dynamo.utils.counters["stats"]["unique_graphs"] if compiled else 0


def on_each_rank(ranks: Ranks, folder: Path) -> dict[str, Any]:
    results = {name: train(case, ranks) for name, case in CASES.items() if ranks.size in case.sizes}
    results |= {"ranks": ranks, "sums": sums(ranks), "diverged": diverged(ranks)}
    results["resumed"] = killed_and_resumed(ranks, folder)
    if ranks.size == 2:
        results |= {"norms": norms(ranks), "compiled": train_compiled(ranks)}
    return results


@pytest.fixture(scope="module")
def by_size(tmp_path_factory) -> dict[int, list[dict[str, Any]]]:
    """Results of each of two and of three ranks."""
    folders = {size: tmp_path_factory.mktemp("ranks") for size in (2, 3)}
    return {size: together(on_each_rank, size, folder, folder) for size, folder in folders.items()}


@pytest.fixture(params=[2, 3])
def results(request, by_size) -> list[dict[str, Any]]:
    return by_size[request.param]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """Results of one process."""
    return {name: train(case, ALONE) for name, case in CASES.items()}


def lasting(records: list[Epoch]) -> np.ndarray:
    """What does not depend on the clock or the machine."""
    names = [key for key in vars(records[0]) if key not in COSTS]
    return np.array([[float(getattr(record, name)) for name in names] for record in records])


@pytest.mark.parametrize(("name", "size"), RUNS)
def test_ranks_find_what_one_process_finds(by_size, alone, name, size):
    expected, near, first = alone[name], CASES[name].near, by_size[size][0][name]
    for rank in by_size[size]:
        records, weights = rank[name]["records"], rank[name]["weights"]
        np.testing.assert_allclose(lasting(records), lasting(expected["records"]), rtol=near, atol=near)
        assert list(weights) == list(expected["weights"])
        for key, value in expected["weights"].items():
            torch.testing.assert_close(weights[key], value, rtol=near, atol=near)
            assert torch.equal(weights[key], first["weights"][key]), "the same on all ranks"
        assert np.array_equal(lasting(records), lasting(first["records"]))
        peaks = [[record.peak_memory for record in one] for one in (records, first["records"])]
        assert peaks[0] == peaks[1], "the highest of all"


def test_the_cases_do_what_their_names_say(alone):
    records = {name: case["records"] for name, case in alone.items()}
    assert len(records["rmsprop, stops early"]) < 12
    assert len({record.learning_rate for record in records["adam, plateau"]}) > 1
    body, name = "network.block1.conv.weight", "balanced sampling, the head first"
    assert not torch.equal(alone[name]["weights"][body], build(CASES[name]).state_dict()[body])
    assert records["class weights, the last kept"][-1].weight_penalty > 0


def test_a_killed_training_goes_on_to_the_same_bits(results):
    for rank in results:
        whole, resumed = rank["resumed"]["whole"], rank["resumed"]["resumed"]
        assert np.array_equal(lasting(whole["records"]), lasting(resumed["records"]))
        assert len(whole["records"]) == 3
        for key, value in whole["weights"].items():
            assert torch.equal(resumed["weights"][key], value), key
    files = [rank["resumed"]["files"] for rank in results]
    assert files == [["train-key.unfinished"], *[[] for _ in results[1:]]], "the first one reads and writes for all"


def test_all_ranks_find_alike_that_the_loss_is_no_number(results):
    assert {rank["diverged"] for rank in results} == {
        "the loss is not a number after epoch 1: lower train.learning_rate (0.02)"
    }


def test_sums_by_hand(results):
    size = len(results)
    for number, rank in enumerate(results):
        assert rank["ranks"] == Ranks(number, size)
        assert rank["sums"] == {
            "sum": {2: [3.0, 20.0], 3: [6.0, 30.0]}[size],
            "values": [number + 1.0, 10.0],
            "highest": (size - 1) / 4,
            "of first": {"rank": 0, "tensor": torch.tensor([0])},
            "follow": [7],
            "averaged gradient": {2: 1.5, 3: 2.0}[size],  # that of w x is x: 1 and 2, or 1, 2 and 3
            "weight": 5.0,
        }


@pytest.mark.parametrize("shares", SHARES, ids=str)
@pytest.mark.parametrize("name", NORMS)
def test_batch_norm_on_two_ranks_is_that_of_the_joined_batch(by_size, name, shares):
    tolerance = NORMS[name][2]
    ranks = [rank["norms"][name, tuple(shares)] for rank in by_size[2]]
    for key, value in two_steps(*norm_and_values(name)).items():
        parts = [rank[key] for rank in ranks]
        if key.startswith(("y", "dx")):
            assert [len(part) for part in parts] == shares
            whole = torch.cat(parts)
        else:
            whole = parts[0] + parts[1] if key.startswith("d") else parts[0]
            assert key.startswith("d") or torch.equal(*parts)
        torch.testing.assert_close(whole, value, rtol=tolerance, atol=tolerance, msg=lambda m, key=key: key + m)


def test_statistics_of_bfloat16_values_are_not_rounded_to_it(by_size):
    joined = torch.cat([rank["norms"]["bfloat16"] for rank in by_size[2]])
    assert joined.dtype == torch.bfloat16
    torch.testing.assert_close(joined.float(), norm_of_bfloat16(ALONE).float(), rtol=2**-8, atol=0)


def test_one_value_on_all_ranks_together_is_refused_by_all(by_size):
    assert {rank["norms"]["one value"] for rank in by_size[2]} == {
        "batch norm needs more than one value a channel in training, and 1 is there"
    }


def test_a_compiled_network_trains_alike_on_ranks(by_size):
    expected = lasting(train_compiled(ALONE, compiled=False)[0])
    for records, graphs in (rank["compiled"] for rank in by_size[2]):
        np.testing.assert_allclose(lasting(records), expected, atol=1e-5)
        assert graphs > 0, "it was compiled"


def test_several_ranks_have_no_cuda_graphs():
    with pytest.raises(UserError, match=r"compute\.compile is cuda_graphs, but 2 processes train together"):
        next(start(Case(), Ranks(0, 2), build(Case()), compiled=True, graphs=True))


def test_a_process_without_a_group_is_alone():
    assert Ranks.here() == ALONE


@pytest.mark.parametrize(
    ("n", "size", "shares"), [(7, 3, [2, 2, 3]), (8, 2, [4, 4]), (2, 3, [0, 1, 1]), (0, 2, [0, 0]), (5, 1, [5])]
)
def test_shares_are_pieces_of_nearly_the_same_size(n, size, shares):
    rows = [list(range(n))[Ranks(rank, size).share(n)] for rank in range(size)]
    assert [len(part) for part in rows] == shares
    assert list(itertools.chain(*rows)) == list(range(n))
