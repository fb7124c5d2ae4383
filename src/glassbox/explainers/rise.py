"""RISE: how the probability goes with which parts of the image random masks show."""

from dataclasses import dataclass

import torch

from glassbox.config.explain import Rise as Settings
from glassbox.config.types import Precision
from glassbox.data.batches import to_float
from glassbox.execution import compute
from glassbox.explainers.base import Attribution, Budget, MapsAndDetails, Request, Setup, image_by_image
from glassbox.models import Classifier, device_of


def make(setup: Setup) -> "Rise":
    """The explainer of a study."""
    return Rise(setup.settings.rise, setup.mean, setup.batch_size, setup.settings.precision)


@dataclass
class Rise:
    """Randomized input sampling for explanation (Petsiuk, Das & Saenko 2018).

    Each mask is a grid of cells that are shown with `probability`, enlarged bilinearly and shifted at random. What it
    hides takes the training images' `mean` colour, which is what the authors' code does: it multiplies normalised
    colours by the mask.

    A map holds, at each pixel, the covariance over the masks of the target's probability p and the mask M there,
    divided by E[M]: an unbiased estimate of E[p M] / E[M] - E[p]. The first term is the paper's map (equation 6); the
    second is the same for all pixels, so that the ranking is the paper's, and the map has the sign of the evidence. As
    the means are those of the masks that were drawn, a pixel that many of them happened to show does not gain by it.
    Unit: probability. Where the probability does not vary by more than rounding (`compute.varies`) the map is zero.
    """

    settings: Settings
    mean: tuple[float, ...]  # 0..1 a channel
    batch_size: int
    precision: Precision = "float32"  # of the network's products

    looks_at = "regions"
    together = 1

    def budget(self, _: int) -> Budget:
        return Budget(self.settings.masks)

    def __call__(self, classifier: Classifier, request: Request) -> Attribution:
        return image_by_image(self._explain, classifier, request, at_once=True)

    @torch.inference_mode()
    def _explain(self, classifier: Classifier, image: torch.Tensor, targets: list[int], seed: int) -> MapsAndDetails:
        device = device_of(classifier)
        number = compute.number(self.precision, device)
        shown = to_float(image[None].to(device))  # (1, 3, H, W)
        hidden = torch.tensor(self.mean, device=device).view(1, 3, 1, 1)
        cells, shifts = draw(self.settings, seed)
        answers = torch.empty(len(cells), len(targets), dtype=torch.float64)
        sums = torch.zeros(1 + len(targets), image[..., 0].numel(), dtype=torch.float64, device=device)
        for rows in torch.arange(len(cells)).split(self.batch_size):
            mask = masks(cells[rows].to(device), shifts[rows].to(device), image.shape[0], image.shape[1])  # (B, H, W)
            with compute.autocast(device, number):
                logits = classifier(torch.lerp(hidden, shown, mask[:, None]))
            p = logits.double().softmax(dim=1)[:, targets]  # (B, T)
            answers[rows] = p.cpu()
            sums += torch.cat([p.new_ones(len(p), 1), p], dim=1).T @ mask.flatten(1).double()
        of_masks, products = sums.cpu().split([1, len(targets)])  # (1, H * W), (T, H * W)
        covariance = (products - answers.mean(dim=0)[:, None] * of_masks) / (len(cells) - 1)
        covariance[~torch.from_numpy(compute.varies(answers.numpy(), number))] = 0  # else the noise of rounding
        return (covariance / self.settings.probability).view(-1, *image.shape[:2]).numpy(), {}


def draw(settings: Settings, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells (M, C, C) of 0 and 1, two more along a side than lie within the image, and by how much of a cell each grid
    is shifted, down and to the right (M, 2), both float32."""
    generator, side = torch.Generator().manual_seed(seed), settings.cells + 2
    cells = torch.rand(settings.masks, side, side, generator=generator) < settings.probability
    return cells.float(), torch.rand(settings.masks, 2, generator=generator)


def masks(cells: torch.Tensor, shifts: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Grids of `draw` enlarged bilinearly: (M, height, width) in 0..1.

    Every pixel lies between four cells, wherever it is in the image. So masks vary alike everywhere, where the paper's,
    which have no cells beyond the border, vary more there.
    """
    n = cells.shape[1]
    rows, columns = (
        (torch.arange(side, device=cells.device) + 0.5) * (n - 2) / side + shift[:, None]  # (M, side), in cells
        for side, shift in zip((height, width), shifts.T, strict=True)
    )
    places = torch.arange(n, device=cells.device)
    down, right = ((1 - (at[..., None] - places).abs()).clamp_min(0) for at in (rows, columns))  # (M, side, C)
    return down @ cells @ right.transpose(1, 2)
