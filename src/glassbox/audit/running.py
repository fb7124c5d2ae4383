"""A whole audit: maps of some images, candidates in them, and their tests on other images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from glassbox.audit import search
from glassbox.audit.report import Audit, audit_of
from glassbox.config.audit import Audit as Settings
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.data.store import Split
from glassbox.explainers import factory
from glassbox.explainers.base import Request, Setup
from glassbox.explainers.running import ALONE, Bookkeeping, attribute
from glassbox.models.last_features import last_features


def audit_of_splits(
    setup: Setup,
    settings: Settings,
    train: Split,
    validation: Split,
    classes: Sequence[str],
    books: Bookkeeping = ALONE,
) -> Audit:
    """The audit of a study: candidates from random training images of every class, tested on the validation images. No
    test image is seen.

    Args:
        setup: of any explainers; those of the section `audit` are taken.
        settings: the section `audit`.
        train, validation: the splits.
        classes: names of the network's outputs.
        books: see `audit`; `len(drawn(...))` maps for each explainer.
    """
    if not setup.classifier.has_gradients:
        factory.check_black_box(settings.explainers, "audit.explainers")
    explain = setup.settings.model_copy(update={"explainers": settings.explainers})
    rows = drawn(train.labels, settings.images, setup.seed)
    return audit(
        replace(setup, settings=explain),
        images=train.images[rows],
        labels=train.labels[rows],
        held_out=validation.images,
        held_out_labels=validation.labels,
        classes=classes,
        books=books,
    )


def drawn(labels: torch.Tensor, n: int, seed: int) -> torch.Tensor:
    """Rows of `n` images of every class, drawn at random, as far as there are so many."""
    order = torch.from_numpy(np.random.default_rng(derive(seed, "audit", "images")).permutation(len(labels)))
    shuffled = labels[order]
    rows = [order[(shuffled == label).nonzero().flatten()[:n]] for label in labels.unique()]
    return torch.cat(rows).sort().values


def audit(
    setup: Setup,
    *,
    images: torch.Tensor,
    labels: torch.Tensor,
    held_out: torch.Tensor,
    held_out_labels: torch.Tensor,
    classes: Sequence[str],
    books: Bookkeeping = ALONE,
) -> Audit:
    """What classes lean on where others do not.

    Args:
        setup: of the explainers whose maps are searched, in `explain.explainers`.
        images, labels: (N, H, W, 3) uint8 and (N,) true classes, to find candidates in.
        held_out, held_out_labels: others, to test them on.
        classes: names.
        books: where maps are kept and progress is reported, a step a map.

    Raises:
        UserError: all images are of one class, the others are not of their size, an explainer cannot explain this
            network, or the device refuses.
    """
    if len(labels.unique()) < 2:
        raise UserError(
            "labels name one class: a shortcut is what one class has and others have not, so take two or more"
        )
    if images.shape[1:] != held_out.shape[1:]:
        sizes = [" x ".join(map(str, shown.shape[1:3])) for shown in (images, held_out)]
        raise UserError(f"images have {sizes[0]} pixels, held_out {sizes[1]}: they must be of one size")
    seeds = tuple(derive(setup.seed, "audit", number) for number in range(len(images)))
    request = Request(images, labels, seeds)
    maps = {
        name: attribute(explainer, setup.classifier, request, books, name=f"audit {name}").maps
        for name, explainer in factory.make(setup).items()
    }
    features = last_features(setup.classifier, images, setup.batch_size)
    found = search.find(
        maps, None if features is None else features.numpy(), images.numpy(), labels.numpy(), seed=setup.seed
    )
    table = search.test(
        setup.classifier,
        found,
        held_out.numpy(),
        held_out_labels.numpy(),
        batch_size=setup.batch_size,
        seed=setup.seed,
    )
    return replace(audit_of(found, table, classes, (len(images), len(held_out))), maps=maps, labels=labels.numpy())
