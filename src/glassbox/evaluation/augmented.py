"""Accuracy on test images that were changed at random, as the code in the ResNet-50 paper's appendix measures it."""

from collections.abc import Callable
from functools import partial

import torch

from glassbox.config.augment import Augment
from glassbox.core.seeds import derive
from glassbox.data.batches import augment
from glassbox.data.store import Split
from glassbox.models import Classifier, predict
from glassbox.provenance.resume import Keep, unkept


def augmented_accuracy(
    classifier: Classifier,
    test: Split,
    how: Augment,
    seed: int,
    batch_size: int,
    progress: Callable[[int], object] = int,
    keep: Keep = unkept,
) -> float:
    """Share of the images that are recognised after one random change of each.

    Args:
        classifier: on any device; left in the mode it was in.
        test: images and labels.
        how: the changes.
        seed: of the study.
        batch_size: images in one forward pass.
        progress: called with the number of images of each batch that is done.
        keep: takes the logits of each batch as soon as they are there.
    """
    device = next(classifier.parameters()).device
    generator = torch.Generator(device).manual_seed(derive(seed, "evaluate", "augment"))
    prepare = partial(augment, how=how, generator=generator, input_size=classifier.input_size)
    logits = predict(classifier, test.images, batch_size, progress, prepare, keep=keep)
    return (logits.argmax(dim=1) == test.labels.cpu()).double().mean().item()
