"""Steps of training the CNN paper's network on 32x32 images, batches of 128, Adam: the loop that most people write,
eager and in float32, on float images that lie ready; `fit`, in float32 and in the precision that "auto" chooses."""

import copy
from dataclasses import replace

import torch
from torch.nn.functional import cross_entropy

from benchmarks import common, harness
from benchmarks.harness import Bar
from glassbox.data.batches import to_float
from glassbox.data.store import Split
from glassbox.execution import compute
from glassbox.training import loop, optimizers, recipe

BATCH, STEPS = 128, 24


def check(split: Split, place: compute.Place) -> None:
    """Without dropout a step of the plain loop and one of ours give the same loss and the same weights."""
    exact = replace(place, dtype=torch.float32)
    ours = common.cnn(exact.device)
    for name in ("dropout1", "dropout2"):
        getattr(ours.network, name).p = 0.0
    ours.network.l2 = (0.0, 0.0, 0.0)
    plain = common.usual(copy.deepcopy(ours)).train()
    few = Split(split.images[:BATCH], split.labels[:BATCH], None, split.index[:BATCH], None)
    optimizer = torch.optim.Adam(plain.parameters(), 1e-3, eps=optimizers.KERAS_EPSILON)
    loss = cross_entropy(plain(to_float(few.images)), few.labels)
    loss.backward()
    optimizer.step()
    one_step = recipe.Recipe(epochs=1, batch_size=BATCH, augment=common.OFF, seed=0, patience=1, keep="last")
    epochs = loop.fit(ours, few, few, optimizers.make_optimizer(ours, common.training()), one_step, place=exact)
    assert abs(next(epochs).train_loss - loss.item()) < 1e-5 * loss.item()
    for a, b in zip(plain.parameters(), ours.parameters(), strict=True):
        # Adam's first step has the length of the rate, whichever the gradient; its sign is rounding where that is 0.
        assert (a - b).abs().median() < 1e-6


def products(place: compute.Place, n: int):
    """The step's convolutions and matrix products alone, forward and backward, n times: the least that it can take."""
    net, middle = common.cnn(place.device).network, common.SIDE // common.NETWORK["pool_size_1"]
    shapes = {
        net.block1.conv: (3, common.SIDE, common.SIDE), net.block2.conv: (net.block2.conv.in_channels, middle, middle),
        net.dense: (net.dense.in_features,), net.output: (net.output.in_features,),
    }  # fmt: skip
    inputs = [(layer, torch.rand(BATCH, *shape, device=place.device)) for layer, shape in shapes.items()]
    inputs = [(m, x.to(memory_format=torch.channels_last) if x.ndim == 4 else x) for m, x in inputs]
    inputs = [(m, x.requires_grad_(m is not net.block1.conv)) for m, x in inputs]  # images need no gradient
    with place.autocast():
        gradients = [torch.rand_like(layer(x)) for layer, x in inputs]

    def work() -> None:
        for _ in range(n):
            for (layer, x), gradient in zip(inputs, gradients, strict=True):
                with place.autocast():
                    out = layer(x)
                needed = [layer.weight, *([x] if x.requires_grad else [])]
                found = torch.autograd.grad(out, needed, gradient)
        found[0].sum().item()  # waits for the device

    return work


def main() -> None:
    place = common.place()
    split = common.some_images(BATCH * STEPS).to(place.device)
    check(split, place)
    x, y = to_float(split.images).contiguous().split(BATCH), split.labels.split(BATCH)
    plain = common.usual(common.cnn(place.device)).train()
    optimizer = torch.optim.Adam(plain.parameters(), common.training().learning_rate)

    def eager() -> float:
        total = 0.0
        for images, labels in zip(x, y, strict=True):
            loss = cross_entropy(plain(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    def of_fit(place: compute.Place):
        epochs = common.training_epochs(common.cnn(place.device), split, place, common.OFF, BATCH)
        return lambda: next(epochs).images_per_second

    seconds, bare = harness.seconds(eager), harness.seconds(products(place, STEPS))
    contenders = {
        "eager float32": lambda: len(split) / seconds(), "glassbox": of_fit(place),
        "glassbox float32": of_fit(replace(place, dtype=torch.float32)), "products alone": lambda: len(split) / bare(),
    }  # fmt: skip
    row = harness.compare(
        f"training steps of {BATCH} images of {common.SIDE}x{common.SIDE}", "images/s", contenders,
        [Bar("glassbox", "eager float32", at_least=2), Bar("glassbox float32", "eager float32"),
         Bar("glassbox", "products alone")],
        pairs=9,
    )  # fmt: skip
    harness.record("training_step", [row])
