"""Losses of batches, and loss and accuracy of a split."""

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from glassbox.data.batches import to_float
from glassbox.data.store import Split
from glassbox.execution.compute import Place, refusals
from glassbox.models import Classifier, evaluating
from glassbox.training.process_group import Ranks


def balanced_weights(labels: torch.Tensor) -> torch.Tensor:
    """Weights (K,) float32 of the classes of labels (N,): N / (K * n_k) for a class with n_k images, as scikit-learn's
    "balanced" has them, so that all classes weigh the same together and the mean weight of an image is 1."""
    counts = torch.bincount(labels)
    return len(labels) / ((counts > 0).sum() * counts.clamp_min(1)).float()


def mean_loss(
    logits: torch.Tensor,
    y: torch.Tensor,
    size: int,
    ranks: Ranks | None,
    label_smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean cross-entropy (nats) of a batch; on several ranks, a number of the own share whose mean over ranks it is.

    Args:
        logits: (B, K) of this rank's share, which may be empty.
        y: (B,) labels.
        size: images of the whole batch.
        ranks: that share it, or None.
        label_smoothing: share of the label that is spread over all classes.
        weights: (K,) by which an image's loss is multiplied, by its class; the sum is divided by the number of images,
            as Keras does, not by that of the weights.
    """
    if weights is not None:
        losses = cross_entropy(logits, y, label_smoothing=label_smoothing, reduction="none") * weights[y]
        return losses.sum() * ((ranks.size if ranks else 1) / size)
    if ranks is None:
        return cross_entropy(logits, y, label_smoothing=label_smoothing)
    return cross_entropy(logits, y, label_smoothing=label_smoothing, reduction="sum") * (ranks.size / size)


@torch.inference_mode()
def assess(
    classifier: Classifier,
    split: Split,
    place: Place,
    prepare: Callable[..., torch.Tensor] = to_float,
    ranks: Ranks | None = None,
    weights: torch.Tensor | None = None,
) -> tuple[float, float, float]:
    """Mean cross-entropy (nats), accuracy and balanced accuracy (the mean over the classes that have images of the
    share that is recognised) on a split that is on the device.

    Args:
        classifier: in any mode, which it keeps.
        split: on `place.device`.
        place: device, precision and batch size.
        prepare: makes (B, H, W, 3) uint8 to the (B, 3, H, W) float that the classifier takes; with `own`, only these
            rows.
        ranks: that share each batch; all get the sums of all. None is this process alone.
        weights: (K,) by which an image's cross-entropy is multiplied, by its class; None = 1.
    """
    of_class = torch.bincount(split.labels)  # images
    right_of = torch.zeros_like(of_class)
    loss_sum = torch.zeros((), dtype=torch.float64, device=place.device)
    side = classifier.input_size or split.images.shape[1]
    limits = refusals(place.device, "compute.batch_size", place.batch_size, side)
    with limits, evaluating(classifier):
        for images, labels in zip(
            split.images.split(place.batch_size), split.labels.split(place.batch_size), strict=True
        ):
            if ranks:
                own = ranks.share(len(images))
                x, labels = prepare(images, own=own), labels[own]
            else:
                x = prepare(images)
            with place.autocast():  # not of colours
                logits = classifier(x).float()
            if weights is None:
                loss_sum += cross_entropy(logits, labels, reduction="sum")
            else:
                loss_sum += (cross_entropy(logits, labels, reduction="none") * weights[labels]).sum()
            right_of += torch.bincount(labels[logits.argmax(1) == labels], minlength=len(of_class))
    if ranks:
        loss_sum, right_of = ranks.sum(loss_sum), ranks.sum(right_of)
    there = of_class > 0
    recalls = right_of[there].double() / of_class[there]
    return loss_sum.item() / len(split), right_of.sum().item() / len(split), recalls.mean().item()
