"""Training of the CNN paper's network on 32x32 images: `fit` against the loop that most people write.

A, the usual: torchvision transforms on PIL images in a DataLoader, float32, contiguous memory, `.item()` every step.
B, ours: uint8 images on the device, whole batches augmented there, precision and memory order as chosen by "auto".
Both flip, crop with 4 pixels of padding and jitter colours, and take a step of Adam for every batch of 128.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import harness
from glassbox import compute, config, models, training
from glassbox.data.batches import augment, to_float
from glassbox.data.store import Split

BATCH, STEPS, SIDE, CLASSES = 128, 20, 32, 10
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
AUGMENT = config.Augment(
    flip=True, crop=4, brightness=0.2, contrast=0.2, saturation=0.2, resize_first=False, validation_and_test=False
)
# The paper's best values (its figure 11).
NETWORK = {
    "conv1_filters": 32, "conv1_kernel_size": 3, "activation_func1": "relu", "leaky_relu_alpha_1": None,
    "l2_reg_1": 4.732752932786752e-05, "pool_size_1": 3, "dropout_1": 0.3483260393937059, "conv2_filters": 256,
    "conv2_kernel_size": 3, "activation_func2": "relu", "leaky_relu_alpha_2": None, "l2_reg_2": 0.003343648880295255,
    "pool_size_2": 2, "dense_units_1": 64, "dense_l2_reg_1": 0.00013916755655764762,
    "activation_func_dense": "leaky_relu", "leaky_relu_alpha_3": 0.15102871289677247,
    "dense_dropout_1": 0.25226452604864213, "batch_norm_momentum": 0.99,
}  # fmt: skip


class Pictures(Dataset):
    """Images as PIL, transformed one by one."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = [Image.fromarray(image) for image in split.images.numpy()], split.labels
        b, c, s = AUGMENT.brightness, AUGMENT.contrast, AUGMENT.saturation
        self.transform = transforms.Compose(
            [transforms.RandomCrop(SIDE, AUGMENT.crop), transforms.RandomHorizontalFlip(),
             transforms.ColorJitter(b, c, s), transforms.ToTensor()]
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images[place]), self.labels[place]


def some_images(n: int) -> Split:
    """Random colours in 8x8 patches; speed does not depend on what they show."""
    g = np.random.default_rng(0)
    small = g.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    images = torch.from_numpy(small.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2))
    labels = torch.from_numpy(g.integers(0, CLASSES, n))
    return Split(images, labels, None, torch.arange(n), None)


def make(device: torch.device) -> tuple[models.Classifier, torch.optim.Optimizer]:
    torch.manual_seed(0)
    classifier = models.build("cnn", NETWORK, SIDE, CLASSES, MEAN, STD).to(device)
    return classifier, training.make_optimizer(classifier, training.OptimizerSettings("adam", 1e-3))


def usual(split: Split, device: torch.device, workers: int) -> float:
    """Images a second of a plain loop, without the start of its workers."""
    classifier, optimizer = make(device)
    classifier.to(memory_format=torch.contiguous_format).train()
    loader = DataLoader(Pictures(split), BATCH, shuffle=True, num_workers=workers, drop_last=True)
    start, seen, total = None, 0, 0.0
    for x, y in loader:
        loss = cross_entropy(classifier(x.to(device)), y.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if start is None:
            start = time.perf_counter()
        else:
            seen += len(y)
    assert np.isfinite(total)
    return seen / (time.perf_counter() - start)


def ours(split: Split, place: compute.Place) -> float:
    """Images a second of the training part of one epoch."""
    classifier, optimizer = make(place.device)
    here = split.to(place.device)
    few = Split(here.images[:BATCH], here.labels[:BATCH], None, here.index[:BATCH], None)
    epochs = training.fit(
        classifier, here, few, optimizer, place=place, epochs=1, batch_size=BATCH, how=AUGMENT, patience=1, seed=0
    )
    return next(epochs).images_per_second


def check(split: Split, place: compute.Place) -> None:
    """Both loops see the same images and compute the same loss from them."""
    off = config.Augment(
        flip=False, crop=0, brightness=0.0, contrast=0.0, saturation=0.0, resize_first=False, validation_and_test=False
    )
    images, labels = split.images[:BATCH], split.labels[:BATCH]
    plain = torch.stack([transforms.ToTensor()(Image.fromarray(image)) for image in images.numpy()])
    mine = augment(images, off, torch.Generator())
    assert torch.equal(plain, mine)
    classifier, _ = make(torch.device("cpu"))
    exact = replace(place, device=torch.device("cpu"), dtype=torch.float32)
    with torch.inference_mode(), exact.autocast():
        loss = cross_entropy(classifier.eval()(to_float(images)), labels).item()
        other = cross_entropy(classifier.to(memory_format=torch.contiguous_format)(plain), labels).item()
    assert abs(loss - other) < 1e-5 * abs(loss), (loss, other)


def main() -> None:
    place = compute.resolve(config.read("params.yaml").compute)
    split = some_images(BATCH * (STEPS + 1))
    check(split, place)
    print(f"training of {CLASSES} classes, {SIDE}x{SIDE}, batch {BATCH}; ours on {place}")
    exact = replace(place, dtype=torch.float32)
    rows = [
        harness.compare(
            f"training, DataLoader with {workers} workers", ("usual", lambda n=workers: usual(split, place.device, n)),
            ("ours", lambda: ours(split, place)), "images/s",
        )
        for workers in (0, 2)
    ]  # fmt: skip
    rows.append(
        harness.compare(
            "our training, precision", ("float32", lambda: ours(split, exact)), ("auto", lambda: ours(split, place)),
            "images/s",
        )
    )  # fmt: skip
    harness.record("training", rows)
