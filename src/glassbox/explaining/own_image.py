"""A picture of one's own, explained by every explainer."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from glassbox import models
from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.core.errors import UserError, cut
from glassbox.core.progress import Bar
from glassbox.core.seeds import derive
from glassbox.data import store, user_paths
from glassbox.data.sources import image_folder
from glassbox.data.user_paths import shown
from glassbox.evaluation import predictions
from glassbox.execution import compute
from glassbox.explainers import factory
from glassbox.explainers.base import Request
from glassbox.explainers.catalog import EXPLAINERS, TITLES
from glassbox.explaining import explanations
from glassbox.explaining.explanations import Explained

FOLDER = Path("reports/photos")
EXPLAINED = 2  # classes: the most probable ones


@dataclass(frozen=True)
class Photo:
    """A picture, and why the classifier takes it for what it does.

    Attributes:
        name: of the file, as it is shown.
        image: (H, W, 3) uint8, as the classifier sees it.
        classes: names.
        probabilities: (K,), with the temperature of the study.
        targets: the explained classes, the most probable first.
        results: of every explainer that this network can be explained by, one map a target.
    """

    name: str
    image: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray
    targets: tuple[int, ...]
    results: list[Explained]

    def told(self) -> str:
        """What it is taken for, in words."""
        guesses = [f"{self.classes[label]} ({100 * self.probabilities[label]:.1f} %)" for label in self.targets]
        lines = [f"{self.name}: {', then '.join(guesses)}"]
        made = {result.name for result in self.results}
        lines += [f"not by {TITLES[name]}: the network has no feature maps" for name in EXPLAINERS if name not in made]
        return "\n".join(lines)


def find(given: str | Path) -> Path:
    """The picture that a user named.

    Raises:
        UserError: there is no such file, or its name is too long for the files that are named after it.
    """
    path = user_paths.expanded(given)
    if not user_paths.is_file(path):
        raise UserError(f"IMAGE={cut(shown(path))}: there is no such file")
    too_long = len(named_after(shown(path.name), b"").encode()) - files.LONGEST
    if too_long > 0:
        raise UserError(
            f"IMAGE={cut(shown(path))}: its name is {too_long} bytes too long for the figure that is named after it: "
            "rename it"
        )
    return path


def named_after(name: str, content: bytes) -> str:
    """The figure's file, the digest in whose name tells pictures of one name apart."""
    return f"{Path(name).stem}-{files.digest(content)[:6]}.png"


def explain(
    path: str | Path,
    params: Params,
    data: str | Path = "data/prepared",
    model: str | Path = "models",
    calibration: str | Path = "reports/evaluate/calibration.json",
) -> Photo:
    """Classify a picture and explain the two most probable classes, by every explainer there is (a network without
    feature maps by all but Grad-CAM), with the settings of the section `explain`. It is read as images of the study
    are: turned by its EXIF tag, made square and resized.

    Args:
        path: of the picture.
        params: of the study.
        data: folder of the prepared data, whose training images some explainers compare with.
        model: folder of the classifier.
        calibration: file of the study's temperature.

    Raises:
        UserError: the picture cannot be read, there is no classifier, or it was trained on other data.
    """
    path = find(path)
    place = compute.resolve(params.compute)
    classifier, card = models.load(model, place.device, predictions.temperature(calibration))
    description = store.describe(data)
    if description.digest != card.data_digest:
        raise UserError(f"{model} was trained on other data than {data} holds: run 'dvc repro' first")
    try:
        image = image_folder.read(path, card.image_size, params.data.resize, params.data.convert)
    except image_folder.UnreadableImage as error:
        raise UserError(f"IMAGE={cut(shown(path))} {error.reason}") from None
    pixels = torch.from_numpy(image.copy())[None]  # (1, H, W, 3)
    probabilities = models.probabilities(classifier, pixels, place.batch_size).numpy()[0]
    targets = tuple(np.argsort(-probabilities, kind="stable")[:EXPLAINED].tolist())
    seed = derive(params.study.seed, "explain", "photo")
    request = Request(pixels.repeat(len(targets), 1, 1, 1), torch.tensor(targets), (seed,) * len(targets))
    names = tuple(name for name in EXPLAINERS if name != "grad_cam" or _has_feature_maps(classifier, pixels.shape[1]))
    settings = params.explain.model_copy(update={"explainers": names})
    n = factory.n_background(settings)
    background = factory.draw_background(store.read(data, "train").images, n, params.study.seed)
    made = factory.make(settings, background, description.mean, place.batch_size)
    with Bar(total=len(names) * len(request), desc=f"explaining {cut(shown(path.name), 40)}", unit="map") as bar:
        maps = {
            name: explanations.attribute(made[name], classifier, request, place.batch_size, bar.update)
            for name in names
        }
    results = [Explained(name, attribution, scores={}) for name, attribution in maps.items()]
    return Photo(shown(path.name), image, card.classes, probabilities, targets, results)


def _has_feature_maps(classifier: models.Classifier, side: int) -> bool:
    try:
        classifier.grad_cam_layer(side)
    except UserError:
        return False
    return True
