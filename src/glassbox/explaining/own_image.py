"""An image of the user, explained by every explainer."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from glassbox import models
from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.core.errors import UserError, cut
from glassbox.core.progress import Bar
from glassbox.core.seeds import derive
from glassbox.data import decode, store, user_paths
from glassbox.data.user_paths import shown
from glassbox.evaluation import predictions
from glassbox.execution import compute
from glassbox.explainers import factory
from glassbox.explainers.base import Request
from glassbox.explainers.catalog import BLACK_BOX, EXPLAINERS, TITLES
from glassbox.explainers.running import Bookkeeping, attribute
from glassbox.explaining.explanations import Explained

FOLDER = Path("reports/photos")
NEED_GRADIENTS = set(EXPLAINERS) - set(BLACK_BOX)
EXPLAINED = 2  # classes: the most probable ones


@dataclass(frozen=True)
class Photo:
    """An image, its prediction and explanations."""

    name: str  # the file's name, as it is shown
    image: np.ndarray  # (H, W, 3) uint8, as the classifier sees it
    classes: tuple[str, ...]  # names
    probabilities: np.ndarray  # (K,), with the temperature of the study
    targets: tuple[int, ...]  # the explained classes, the most probable first
    results: list[Explained]  # of every explainer that can explain this network, one map a target

    def told(self) -> str:
        """The prediction in words."""
        guesses = [f"{self.classes[label]} ({100 * self.probabilities[label]:.1f} %)" for label in self.targets]
        lines = [f"{self.name}: {', then '.join(guesses)}"]
        names = {result.name for result in self.results}
        why = "the network has no feature maps" if names & NEED_GRADIENTS else "an ONNX model has no gradients"
        lines += [f"not by {TITLES[name]}: {why}" for name in EXPLAINERS if name not in names]
        return "\n".join(lines)


def find(given: str | Path) -> Path:
    """The file of an image.

    Raises:
        UserError: there is no such file, or its name is too long for the files that are named after it.
    """
    path = user_paths.expanded(given)
    name = f"IMAGE={cut(shown(path))}"
    if not user_paths.is_file(path):
        raise UserError(f"{name}: there is no such file")
    excess = len(named_after(shown(path.name), b"").encode()) - files.LONGEST
    if excess > 0:
        raise UserError(f"{name}: its name is {excess} bytes too long for the figure that is named after it: rename it")
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
    """Classify an image and explain the two most probable classes, by every explainer that can explain the network,
    with the settings of the section `explain`. It is read as images of the study are: turned by its EXIF tag, made
    square and resized. Some explainers compare with training images of `data`.

    Raises:
        UserError: the image cannot be read, there is no classifier, or it was trained on other data.
    """
    path = find(path)
    place = compute.resolve(params.compute)
    classifier, card = models.load(model, place.device, predictions.temperature(calibration))
    description = store.describe(data)
    if description.digest != card.data_digest:
        raise UserError(f"{model} was trained on other data than {data} holds: run 'dvc repro' first")
    shape = replace(decode.Shape.of(params.data), size=card.image_size)
    try:
        image = decode.read(path, shape, params.data.convert)
    except decode.UnreadableImage as error:
        raise UserError(f"IMAGE={cut(shown(path))} {error.reason}") from None
    pixels = torch.from_numpy(image.copy())[None]  # (1, H, W, 3)
    probabilities = models.probabilities(classifier, pixels, place.batch_size).numpy()[0]
    targets = tuple(np.argsort(-probabilities, kind="stable")[:EXPLAINED].tolist())
    seed = derive(params.study.seed, "explain", "photo")
    request = Request(pixels.repeat(len(targets), 1, 1, 1), torch.tensor(targets), (seed,) * len(targets))
    names = BLACK_BOX if not classifier.has_gradients else EXPLAINERS
    if "grad_cam" in names and not _has_feature_maps(classifier, pixels.shape[1]):
        names = tuple(name for name in names if name != "grad_cam")
    setup = factory.setup(
        classifier=classifier,
        settings=params.explain.model_copy(update={"explainers": names}),
        train=store.read(data, "train").images,
        mean=description.mean,
        batch_size=place.batch_size,
        seed=params.study.seed,
    )
    with Bar(total=len(names) * len(request), desc=f"explaining {cut(shown(path.name), 40)}", unit="map") as bar:
        books = Bookkeeping(progress=bar.update)
        results = [
            Explained(name, attribute(explainer, classifier, request, books), scores={})
            for name, explainer in factory.make(setup).items()
        ]
    return Photo(shown(path.name), image, card.classes, probabilities, targets, results)


def _has_feature_maps(classifier: models.Classifier, side: int) -> bool:
    try:
        classifier.grad_cam_layer(side)
    except UserError:
        return False
    return True
