"""Which images make a batch, and in what order."""

from collections.abc import Callable, Iterator

import torch

from glassbox.data.store import Split
from glassbox.training.process_group import Ranks

AHEAD = {"cpu": 2**24, "cuda": 2**28}  # bytes of images that are made at a time, by kind of device


def balanced_order(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rows (N,) of an epoch of as many images of each class, which differ by one at most, in random order. Those of a
    class are drawn with replacement, all equally likely.

    Args:
        labels: (N,) of the training images.
        generator: of the same device.
    """
    n, device = len(labels), labels.device
    rows, counts = labels.argsort(stable=True), torch.bincount(labels)  # one class after another
    present = counts.nonzero().flatten()
    present = present[torch.randperm(len(present), generator=generator, device=device)]  # the first get one more
    of_class = present[torch.arange(n, device=device) % len(present)]
    within = torch.rand(n, generator=generator, device=device, dtype=torch.float64) * counts[of_class]
    drawn = rows[counts.cumsum(0)[of_class] - counts[of_class] + within.long()]
    return drawn[torch.randperm(n, generator=generator, device=device)]


def batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """`order` in parts of `size`; a last one of a single image, which batch norm could not compare with any other,
    joins the part before."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def stream(
    split: Split,
    order: torch.Tensor,
    size: int,
    change: Callable[..., torch.Tensor],
    ranks: Ranks | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of images (B, 3, H, W) and labels (B,), in the given order. Several are made at a time, as long as they
    are small: what it takes to begin an operation is then shared.

    Args:
        split: on any device.
        order: (N,) rows, on the same.
        size: images in a batch; see `batches`.
        change: makes (B, H, W, 3) uint8 to (B, 3, H, W) float; with `own`, only these rows.
        ranks: of which this one gets its share of each batch; None is all of it.
    """
    parts = batches(order, size)
    at_once = max(1, AHEAD[split.images.device.type] // (4 * size * split.images[0].numel()))
    for start in range(0, len(parts), at_once):
        some = parts[start : start + at_once]
        rows, sizes = torch.cat(some), [len(part) for part in some]
        images, y = split.images.index_select(0, rows), split.labels.index_select(0, rows)
        if ranks:
            places = torch.arange(len(rows), device=rows.device).split(sizes)
            owned = [part[ranks.share(len(part))] for part in places]
            own, sizes = torch.cat(owned), [len(part) for part in owned]
            x, y = change(images, own=own), y[own]
        else:
            x = change(images)
        yield from zip(x.split(sizes), y.split(sizes), strict=True)
