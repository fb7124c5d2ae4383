"""Losses of batches, and loss and accuracy of a split."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from glassbox.data.batches import to_float
from glassbox.data.store import Split
from glassbox.execution.compute import Place, refusals
from glassbox.models import Classifier, evaluating
from glassbox.training.process_group import ALONE, Ranks


class Assessment(NamedTuple):
    """Loss and scores of a split."""

    loss: float  # mean cross-entropy, nats
    accuracy: float
    balanced_accuracy: float  # mean recall over the classes that have images
    macro_f1: float  # mean F1 over these classes


def balanced_weights(labels: torch.Tensor) -> torch.Tensor:
    """Weights (K,) float32 of the classes of labels (N,): N / (K * n_k) for a class with n_k images, scikit-learn's
    "balanced". All classes have the same sum of weights, and the mean weight of an image is 1."""
    counts = torch.bincount(labels)
    return len(labels) / ((counts > 0).sum() * counts.clamp_min(1)).float()


def mean_loss(
    logits: torch.Tensor,
    y: torch.Tensor,
    size: int,
    ranks: Ranks = ALONE,
    label_smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean cross-entropy (nats) of a batch. On several ranks, a number for this rank's share; the mean of these numbers
    over the ranks is the batch's loss.

    Args:
        logits: (B, K) of this rank's share, which may be empty.
        y: (B,) labels.
        size: images of the whole batch.
        ranks: processes that share it.
        label_smoothing: share of the label that is spread over all classes.
        weights: (K,) by which an image's loss is multiplied, by its class; the sum is divided by the number of images,
            as in Keras, not by the sum of weights.
    """
    if weights is None and ranks.size == 1:
        return cross_entropy(logits, y, label_smoothing=label_smoothing)
    return _sum_of_losses(logits, y, weights, label_smoothing) * (ranks.size / size)


def _sum_of_losses(
    logits: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None, label_smoothing: float = 0.0
) -> torch.Tensor:
    if weights is None:
        return cross_entropy(logits, y, label_smoothing=label_smoothing, reduction="sum")
    return (cross_entropy(logits, y, label_smoothing=label_smoothing, reduction="none") * weights[y]).sum()


@torch.inference_mode()
def assess(
    classifier: Classifier,
    split: Split,
    place: Place,
    prepare: Callable[..., torch.Tensor] = to_float,
    ranks: Ranks = ALONE,
    weights: torch.Tensor | None = None,
) -> Assessment:
    """Loss and scores of a split that is on the device.

    Args:
        classifier: in any mode, which it keeps.
        split, place: images on the device; precision and batch size.
        prepare: makes (B, H, W, 3) uint8 to the (B, 3, H, W) float that the classifier takes; with `own`, only these
            rows.
        ranks: processes that share each batch; all get the same result.
        weights: (K,) by which an image's cross-entropy is multiplied, by its class; None = 1.
    """
    per_class = torch.bincount(split.labels)  # images
    correct, predicted = torch.zeros_like(per_class), torch.zeros_like(per_class)
    loss_sum = torch.zeros((), dtype=torch.float64, device=place.device)
    side = classifier.input_size or split.images.shape[1]
    batches = zip(split.images.split(place.batch_size), split.labels.split(place.batch_size), strict=True)
    with refusals(place.device, "compute.batch_size", place.batch_size, side), evaluating(classifier):
        for images, all_labels in batches:
            own = ranks.share(len(images))
            x, labels = prepare(images, own=own), all_labels[own]  # (B, 3, H, W), (B,)
            with place.autocast():  # not of colours
                logits = classifier(x).float()
            loss_sum += _sum_of_losses(logits, labels, weights)
            answers = logits.argmax(1)
            correct += torch.bincount(labels[answers == labels], minlength=len(per_class))
            # A class that is predicted, but has no image and comes after all that do, counts for no score of another.
            predicted += torch.bincount(answers, minlength=len(per_class))[: len(per_class)]
    correct, predicted = ranks.sum(correct), ranks.sum(predicted)
    has_images = per_class > 0
    hits = correct[has_images].double()
    return Assessment(
        loss=ranks.sum(loss_sum).item() / len(split),
        accuracy=correct.sum().item() / len(split),
        balanced_accuracy=(hits / per_class[has_images]).mean().item(),
        macro_f1=(2 * hits / (per_class + predicted)[has_images]).mean().item(),
    )
