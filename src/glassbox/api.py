"""The public API, for notebooks and scripts: `import glassbox`. It uses no DVC, MLflow or parameter file, and writes
nothing.

Images are (N, H, W, 3) uint8, as arrays or tensors. Maps are raw and signed, (N, H, W) float32, in units of the
explained score: positive values are evidence for the class.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from glassbox import models
from glassbox.comparing import studies
from glassbox.comparing.studies import Sides
from glassbox.config import parameters
from glassbox.config.explain import Explain
from glassbox.config.loading import load
from glassbox.config.messages import checked
from glassbox.config.score import Score
from glassbox.core.errors import UserError
from glassbox.core.seeds import derive
from glassbox.evaluation import predictions
from glassbox.explainers import factory
from glassbox.explainers.base import Attribution, Request, Setup
from glassbox.explainers.catalog import EXPLAINERS, TITLES
from glassbox.explainers.running import attribute
from glassbox.figures.maps import blend, colour_bar, frame, normalise
from glassbox.models import Classifier
from glassbox.report import study
from glassbox.report.study import Study
from glassbox.scoring import measurement
from glassbox.xai_metrics import correlation
from glassbox.xai_metrics.base import Metric, Sample

DEFAULTS = Path(__file__).with_name("defaults.yaml")  # the sections `explain` and `score` of the default study
Images = np.ndarray | torch.Tensor


def load_study(*, folder: str | Path = ".") -> Study:
    """A finished study: its metrics, predictions, maps, scores and verdicts.

    Args:
        folder: the study's folder, with params.yaml, reports/ and models/.

    Raises:
        UserError: a file is missing, or is not what a stage wrote.
    """
    folder = Path(folder)
    return study.read(parameters.read(folder / "params.yaml"), folder / "reports", folder / "models")


def load_classifier(*, folder: str | Path = "models", device: str = "cpu") -> Classifier:
    """The classifier that a study has trained, in evaluation mode, with the study's temperature.

    Args:
        folder: the study's models/; the temperature is read from reports/ beside it.
        device: a device of PyTorch, such as "cuda".

    Raises:
        UserError: a file is missing, or is not what a stage wrote.
    """
    temperature = predictions.temperature(Path(folder).parent / "reports/evaluate/calibration.json")
    return models.load(folder, device, temperature)[0]


def list_explainers() -> dict[str, str]:
    """Titles of the explainers, by the name that `explain` takes.

    >>> import glassbox
    >>> glassbox.list_explainers()["kernel_shap"]
    'Shapley values (superpixels)'
    """
    return {name: TITLES[name] for name in EXPLAINERS}


def metrics() -> dict[str, Metric]:
    """The scorecard's metrics by name, each with property, direction, unit and citation.

    >>> import glassbox
    >>> glassbox.metrics()["deletion_auc"].direction
    'lower is better'
    """
    return dict(measurement.METRICS)


def explain(
    *,
    classifier: Classifier,
    images: Images,
    explainer: str = "integrated_gradients",
    targets: Sequence[int] | None = None,
    background: Images | None = None,
    seed: int = 0,
    batch_size: int = 64,
    settings: Mapping[str, Any] | None = None,
) -> Attribution:
    """Explain images by one explainer. The classifier is not changed.

    Args:
        classifier: the classifier to explain.
        images: (N, H, W, 3) uint8.
        explainer: one of `list_explainers`.
        targets: (N,) classes whose score is explained; None takes the predicted ones.
        background: (B, H, W, 3) uint8 images like the training images; Shapley values and GradientSHAP compare with
            them, and Integrated Gradients with their mean colour.
        seed: seed of everything random.
        batch_size: images in one forward pass.
        settings: the explainer's settings that differ from the default study's, as in params.yaml: {"samples": 500} for
            "lime"; "superpixels" is a mapping of its own.

    Returns:
        Maps, times, numbers of forward and backward passes, and details such as LIME's local R2.

    Raises:
        UserError: unknown explainer or setting, a missing background, or no such images.

    >>> import glassbox, numpy, torch
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> images = numpy.zeros((5, 8, 8, 3), dtype=numpy.uint8)
    >>> classifier = glassbox.Classifier(network, classes=("cat", "dog"))
    >>> glassbox.explain(classifier=classifier, images=images, explainer="occlusion").maps.shape
    (5, 8, 8)
    """
    if explainer not in EXPLAINERS:
        raise UserError(f"explainer is {explainer!r}, but must be one of {', '.join(EXPLAINERS)}")
    changes = dict(settings or {})
    tree = load(Explain, file=DEFAULTS)[0].model_dump(mode="json") | {"explainers": [explainer]}
    tree["superpixels"] |= changes.pop("superpixels", {})
    if changes or explainer in tree:  # not every explainer has settings
        tree[explainer] = tree.get(explainer, {}) | changes
    chosen = checked(Explain, tree, "settings")
    request = _request(classifier, images, targets, seed, batch_size)
    backdrop = request.images[:0] if background is None else _pixels(background, "background")
    needed = getattr(getattr(chosen, explainer, None), "background", 0)  # images that the explainer compares with
    if len(backdrop) < needed:
        raise UserError(f"{explainer} needs a background of {needed} images, and {len(backdrop) or 'none'} are given")
    mean = _mean_colour(request.images if background is None else backdrop)
    setup = Setup(classifier, chosen, backdrop, mean, batch_size, seed)
    return attribute(factory.make(setup)[explainer], classifier, request)


def score(
    *,
    classifier: Classifier,
    images: Images,
    maps: np.ndarray,
    targets: Sequence[int] | None = None,
    masks: np.ndarray | None = None,
    metrics: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> pd.DataFrame:
    """Measure maps by the metrics that need only maps and classifier: faithfulness, sparseness, and, with masks,
    localization.

    Args:
        classifier: the explained classifier.
        images: (N, H, W, 3) uint8.
        maps: (N, H, W) signed.
        targets: (N,) explained classes; None takes the predicted ones.
        masks: (N, H, W) bool, the location of the evidence.
        metrics: names, see `glassbox.metrics`; None takes all of them.
        mean: colour of deleted pixels, 0..1 for each channel; None takes the mean colour of `images`.
        seed: seed of everything random.
        batch_size: images in one forward pass.

    Returns:
        A row for each image; a column for each metric and setting, NaN where an image has no score.

    Raises:
        UserError: wrong shapes, or a metric that is unknown or needs more than this.

    >>> import glassbox, numpy, torch
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> images = numpy.zeros((5, 8, 8, 3), dtype=numpy.uint8)
    >>> maps = numpy.random.default_rng(0).normal(size=(5, 8, 8)).astype("float32")
    >>> classifier = glassbox.Classifier(network)
    >>> list(glassbox.score(classifier=classifier, images=images, maps=maps, metrics=["gini"]).columns)
    ['gini[all pixels]']
    """
    request = _request(classifier, images, targets, seed, batch_size)
    n, h, w = request.images.shape[:3]
    for name, array in (("maps", maps), ("masks", masks)):
        if array is not None and array.shape != (n, h, w):
            raise UserError(f"{name} have the shape {array.shape}, but the images require {(n, h, w)}")
    available = measurement.measured_on_maps(with_masks=masks is not None)
    for name in metrics or ():
        if name not in available:
            raise UserError(f"metrics has {name!r}, but must be of {', '.join(available)}")
    chosen = set(metrics or available)
    explain_settings, settings = load(Explain, Score, file=DEFAULTS)
    colour = tuple(mean or _mean_colour(request.images))
    correlated = settings.correlation
    hidden = {
        share: correlation.hide(
            classifier,
            request,
            side=correlated.cells,
            share=share,
            draws=correlated.draws,
            colour=colour,
            batch_size=batch_size,
        )
        for share in (correlated.shares if "faithfulness_correlation" in chosen else ())
    }
    sample = Sample(
        maps=maps,
        classifier=classifier,
        request=request,
        masks={} if masks is None else {0: masks},
        right=np.ones(n, bool),
        hidden=hidden,
        mean=colour,
        explain=explain_settings,
        settings=settings,
        batch_size=batch_size,
    )
    return pd.DataFrame(measurement.measured(sample, chosen))


def plot(*, image: np.ndarray, attribution: np.ndarray, title: str = "") -> Figure:
    """An image, and beside it a map in red (for the class) and blue (against it).

    Args:
        image: (H, W, 3) uint8.
        attribution: (H, W) signed.
        title: the map's title.

    >>> import glassbox, numpy
    >>> image, attribution = numpy.zeros((8, 8, 3), dtype=numpy.uint8), numpy.eye(8)
    >>> len(glassbox.plot(image=image, attribution=attribution).axes)
    3
    """
    drawing = Figure(figsize=(5.2, 2.6), layout="constrained")
    left, right = drawing.subplots(1, 2)
    left.imshow(image)
    right.imshow(blend(image, normalise(attribution)))
    right.set_title(title, fontsize=8)
    for axis in (left, right):
        frame(axis)
    colour_bar(drawing, [left, right], "attribution", float(np.abs(attribution).max()) or None)
    return drawing


def compare(*, a: str | Path, b: str | Path) -> Sides:
    """Compare two finished studies on the same test images: in which metrics one is better, and which are undecided.

    Args:
        a, b: folders, each with params.yaml, reports/ and models/; one has data/prepared.

    Raises:
        UserError: a file is missing, or the two have different test images.
    """
    first, second = (studies.read(str(name), Path(name)) for name in (a, b))
    studies.same_images(first, second)
    folders = [Path(folder) / "data/prepared" for folder in (a, b)]
    data = next((folder for folder in folders if (folder / "data.json").exists()), folders[0])
    return studies.compare(first, second, data)


def _mean_colour(images: torch.Tensor) -> tuple[float, ...]:
    return tuple((images.double().mean(dim=(0, 1, 2)) / 255).tolist())


def _pixels(images: Images, name: str) -> torch.Tensor:
    pixels = torch.as_tensor(images)
    if pixels.dtype != torch.uint8 or pixels.dim() != 4 or pixels.shape[3] != 3 or not len(pixels):
        kind = str(pixels.dtype).removeprefix("torch.")
        raise UserError(f"{name} are {tuple(pixels.shape)} {kind}, but must be (N, H, W, 3) uint8")
    return pixels


def _request(
    classifier: Classifier, images: Images, targets: Sequence[int] | None, seed: int, batch_size: int
) -> Request:
    pixels = _pixels(images, "images")
    if targets is None:
        labels = models.probabilities(classifier, pixels, batch_size).argmax(dim=1)
    else:
        n_classes = models.probabilities(classifier, pixels[:1], batch_size).shape[1]
        labels = torch.as_tensor(targets, dtype=torch.int64)
        if labels.shape != pixels.shape[:1]:
            raise UserError(f"targets are {tuple(labels.shape)}, but there are {len(pixels)} images")
        if labels.min() < 0 or labels.max() >= n_classes:
            raise UserError(f"targets are {labels.tolist()}, but must be from 0 to {n_classes - 1}")
    return Request(pixels, labels, tuple(derive(seed, "image", number) for number in range(len(pixels))))
