"""What the tests of networks in files share."""

import torch
from conftest import model

from glassbox import models
from glassbox.data.store import Description

SIDE = 16
SIZES = {"train": 8, "validation": 4, "test": 4}
DATA = Description("mine", ("a", "b", "c"), SIDE, SIZES, (0.5,) * 3, (0.3,) * 3, False, "")
CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (4, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
PIXELS = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


def taken(
    name: str, file: str, arguments: dict | None = None, explainers: tuple[str, ...] = (), **changes: object
) -> models.Classifier:
    """The network in a file, of the source `name`, checked for these explainers and taken as it is."""
    asked = model(name, arguments, weights=file, **({"normalization": "half"} | changes))
    assert models.check(asked, [], SIDE, explainers) == []
    return models.fresh(asked, DATA, 0, CPU).eval()
