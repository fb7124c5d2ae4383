"""Training images from memory to batches of 128 float tensors, flipped, cropped with 4 pixels of padding, their colours
jittered: torchvision's transforms on PIL images in a DataLoader with 2 workers, which are running already; ours."""

from functools import partial

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import common, harness
from benchmarks.harness import Bar
from glassbox.data.batches import augment, to_float
from glassbox.data.store import Split
from glassbox.training.batching import stream

BATCH, BATCHES, EPOCHS = 128, 24, 12


class Pictures(Dataset):
    """Images as PIL, transformed one by one."""

    def __init__(self, split: Split, augmented: bool = True) -> None:
        how = common.AUGMENT
        self.images, self.labels = [Image.fromarray(image) for image in split.images.numpy()], split.labels
        changes = [
            transforms.RandomCrop(common.SIDE, how.crop), transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(how.brightness, how.contrast, how.saturation),
        ]  # fmt: skip
        self.transform = transforms.Compose([*changes * augmented, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images[place]), self.labels[place]


def check(split: Split) -> None:
    """Both make the same of images that are left alone, and the same changes of colours but for rounding to bytes."""
    images = split.images[:BATCH]
    plain = torch.stack([Pictures(split, augmented=False)[i][0] for i in range(BATCH)])
    assert torch.equal(plain, augment(images, common.OFF, torch.Generator()))
    for name, change in (("brightness", transforms.functional.adjust_brightness),
                         ("contrast", transforms.functional.adjust_contrast),
                         ("saturation", transforms.functional.adjust_saturation)):  # fmt: skip
        how = common.OFF.model_copy(update={name: 0.2})
        mine = augment(images, how, torch.Generator().manual_seed(0))
        factors = 1 + 0.2 * (2 * torch.rand(BATCH, generator=torch.Generator().manual_seed(0)) - 1)
        for i, factor in enumerate(factors.tolist()):
            theirs = transforms.functional.to_tensor(change(Image.fromarray(images[i].numpy()), factor))
            assert (theirs - mine[i]).abs().max() < 1.51 / 255, name


def main() -> None:
    device = common.place().device
    split = common.some_images(BATCH * BATCHES)
    check(split)
    loader = DataLoader(
        Pictures(split), BATCH, shuffle=True, num_workers=2, persistent_workers=True, pin_memory=device.type == "cuda"
    )
    here, generator = split.to(device), torch.Generator(device).manual_seed(0)

    def usual() -> float:
        total = sum(x.to(device).shape[0] + y.to(device).numel() for x, y in loader)
        return total / 2

    change = partial(augment, how=common.AUGMENT, generator=generator)

    def ours() -> float:
        seen = 0
        for _ in range(EPOCHS):
            order = torch.randperm(len(here), generator=generator, device=device)
            seen += sum(len(x) + y.numel() for x, y in stream(here, order, BATCH, change))
        if device.type == "cuda":
            torch.cuda.synchronize()
        return seen / 2

    def bare() -> float:
        for _ in range(EPOCHS):
            for images in here.images.split(BATCH):
                x = to_float(images)
        x.sum().item()
        return EPOCHS * len(here)

    def rate(work) -> float:
        counted: list[float] = []
        seconds = harness.seconds(lambda: counted.append(work()))()
        return counted[0] / seconds

    contenders = {"DataLoader(2)": usual, "glassbox": ours, "bytes to floats alone": bare}
    row = harness.compare(
        f"training input, batches of {BATCH} images of {common.SIDE}x{common.SIDE}", "images/s",
        {label: lambda work=work: rate(work) for label, work in contenders.items()},
        [Bar("glassbox", "DataLoader(2)", at_least=15), Bar("glassbox", "bytes to floats alone")],
    )  # fmt: skip
    harness.record("training_input", [row])
