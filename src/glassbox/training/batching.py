"""Which images make a batch, and in what order."""

from collections.abc import Callable, Iterator

import torch

from glassbox.data.store import Split
from glassbox.training.process_group import ALONE, Ranks

AHEAD = {"cpu": 2**24, "cuda": 2**28}  # bytes of images prepared at a time, by kind of device


def balanced_order(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rows (N,) of an epoch with equally many images of each class, up to one, in random order. Those of a class are
    drawn with replacement, all equally likely. Labels (N,) and generator are on the same device."""
    n, device = len(labels), labels.device
    rows, counts = labels.argsort(stable=True), torch.bincount(labels)  # one class after another
    present = counts.nonzero().flatten()
    present = present[torch.randperm(len(present), generator=generator, device=device)]  # the first get one more
    classes = present[torch.arange(n, device=device) % len(present)]
    within = torch.rand(n, generator=generator, device=device, dtype=torch.float64) * counts[classes]
    drawn = rows[counts.cumsum(0)[classes] - counts[classes] + within.long()]
    return drawn[torch.randperm(n, generator=generator, device=device)]


def batches(order: torch.Tensor, size: int) -> list[torch.Tensor]:
    """`order` in parts of `size`. A last part of a single image, which batch norm cannot normalise, joins the part
    before."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def stream(
    split: Split,
    order: torch.Tensor,
    size: int,
    change: Callable[..., torch.Tensor],
    ranks: Ranks = ALONE,
    flipped: torch.Tensor | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of images (B, 3, H, W) and labels (B,), in the given order. Several small ones are prepared at a time,
    which spares the start of many operations.

    Args:
        split, order: images on any device, and (N,) rows on the same.
        size: images in a batch; see `batches`.
        change: makes (B, H, W, 3) uint8 to (B, 3, H, W) float; with `own`, only these rows.
        ranks: processes that share each batch; only this rank's share comes.
        flipped: (N,) bool, which images `change` is to mirror; None leaves that to it.
    """
    parts = batches(order, size)
    at_once = max(1, AHEAD[split.images.device.type] // (4 * size * split.images[0].numel()))
    for start in range(0, len(parts), at_once):
        group = parts[start : start + at_once]
        rows = torch.cat(group)
        images, labels = split.images.index_select(0, rows), split.labels.index_select(0, rows)
        positions = torch.arange(len(rows), device=rows.device).split([len(part) for part in group])
        shares = [part[ranks.share(len(part))] for part in positions]
        own, sizes = torch.cat(shares), [len(share) for share in shares]
        given = {} if flipped is None else {"flipped": flipped[rows]}
        yield from zip(change(images, own=own, **given).split(sizes), labels[own].split(sizes), strict=True)
