"""Image sources by name."""

from collections.abc import Callable, Iterable
from pathlib import Path

from glassbox import config
from glassbox.data import cifar10, digits, image_folder, planted
from glassbox.data.base import Images
from glassbox.errors import UserError


def load_source(
    data: config.Data, seed: int, progress: Callable[[Iterable], Iterable] = iter, kept: str | Path | None = None
) -> Images:
    """The images that the section `data` asks for, unlimited and not yet split.

    `seed` is the study's, for sources that draw; `progress` wraps the iteration over image files, as tqdm does; `kept`
    is a folder for what a killed process has read of them.

    A new source is one file with a function that returns `Images`, and one line here.
    """
    if data.source == "planted":
        p, scenes = data.planted, None
        if p.background not in ("white", "noise"):
            scenes = load_source(data.model_copy(update={"source": p.background}), seed, progress, kept).pixels
        return planted.plant(p.images, data.image_size, p.cell, p.variant, p.background, seed, scenes, p.watermark)
    if data.source == "digits":
        return digits.load(data.image_size)
    if data.source == "cifar10":
        if data.image_size != cifar10.SIZE:
            raise UserError(
                f"data.image_size is {data.image_size}: with data.source = cifar10 it must be {cifar10.SIZE}"
            )
        return cifar10.load(data.path)
    how = {"bad_images": data.bad_images, "convert": data.convert, "kept": kept}
    return image_folder.load(data.path, data.image_size, data.resize, progress, **how)
