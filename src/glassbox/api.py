"""The public API, for notebooks and scripts: `import glassbox`. It needs neither DVC nor MLflow nor a parameter file,
and writes no file.

Images are (N, H, W, 3) uint8, as arrays or tensors. Maps are raw and signed, (N, H, W) float32, in units of the
explained score: positive where a pixel speaks for the class.
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
        folder: of the study, with params.yaml, reports/ and models/.

    Raises:
        UserError: a file is missing, or is not what a stage wrote.

    >>> import glassbox
    >>> study = glassbox.load_study(folder="my-study")  # doctest: +SKIP
    >>> study.metrics["accuracy"], study.verdicts[0]  # doctest: +SKIP
    """
    folder = Path(folder)
    return study.read(parameters.read(folder / "params.yaml"), folder / "reports", folder / "models")


def load_classifier(*, folder: str | Path = "models", device: str = "cpu") -> Classifier:
    """The classifier that a study has trained, in evaluation mode, with the study's temperature.

    Args:
        folder: models/ of the study; the temperature is read from reports/ beside it.
        device: "cpu", "cuda" or another of PyTorch's.

    Raises:
        UserError: a file is missing, or is not what a stage wrote.

    >>> import glassbox
    >>> classifier = glassbox.load_classifier(folder="my-study/models")  # doctest: +SKIP
    >>> classifier.classes  # doctest: +SKIP
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
    """What the scorecard measures, by name: property, direction, unit and citation of each metric.

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
    """Explain images by one explainer. The classifier is left as it was.

    Args:
        classifier: what is explained.
        images: (N, H, W, 3) uint8.
        explainer: one of `list_explainers`.
        targets: (N,) classes whose score is explained; None takes the predicted ones.
        background: (B, H, W, 3) uint8 images like those that the classifier was trained on; Shapley values and
            GradientSHAP compare with them, and Integrated Gradients with their mean colour.
        seed: of what is random.
        batch_size: images in one forward pass.
        settings: those of the explainer that differ from the default study's, as in params.yaml: {"samples": 500} for
            "lime"; "superpixels" is a mapping of its own.

    Returns:
        Maps, times, numbers of forward and backward passes, and details such as LIME's local R2.

    Raises:
        UserError: unknown explainer or setting, a background that is missing, images of another kind.

    >>> import glassbox, numpy, torch
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> images = numpy.zeros((5, 8, 8, 3), dtype=numpy.uint8)
    >>> classifier = glassbox.Classifier(network, classes=("cat", "dog"))
    >>> glassbox.explain(classifier=classifier, images=images, explainer="occlusion").maps.shape
    (5, 8, 8)
    """
    if explainer not in EXPLAINERS:
        raise UserError(f"explainer is {explainer!r}, but must be one of {', '.join(EXPLAINERS)}")
    own = dict(settings or {})
    tree = load(Explain, file=DEFAULTS)[0].model_dump(mode="json") | {"explainers": [explainer]}
    tree["superpixels"] |= own.pop("superpixels", {})
    tree[explainer] = tree.get(explainer, {}) | own
    chosen = checked(Explain, tree, "settings")
    shown = None if background is None else _pixels(background, "background")
    needed = getattr(getattr(chosen, explainer, None), "background", 0)  # images that the explainer compares with
    if needed and (shown is None or len(shown) < needed):
        given = "none" if shown is None else len(shown)
        raise UserError(f"{explainer} needs a background of {needed} images, and {given} are given")
    request = _request(classifier, images, targets, seed, batch_size)
    colours = request.images if shown is None else shown
    mean = tuple((colours.double().mean(dim=(0, 1, 2)) / 255).tolist())
    setup = Setup(classifier, chosen, request.images[:0] if shown is None else shown, mean, batch_size, seed)
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
    """Measure maps by those metrics of the scorecard that need only the maps and the classifier: faithfulness, with
    masks localization, and sparseness.

    Args:
        classifier: that the maps explain.
        images: (N, H, W, 3) uint8.
        maps: (N, H, W) signed.
        targets: (N,) explained classes; None takes the predicted ones.
        masks: (N, H, W) bool, where the evidence is.
        metrics: names, see `glassbox.metrics`; None takes all of them.
        mean: colour of the training images, 0..1 a channel, which deleted pixels take; None takes that of `images`.
        seed: of what is random.
        batch_size: images in one forward pass.

    Returns:
        A row an image; a column for each metric and setting, NaN where an image has no score.

    Raises:
        UserError: shapes that do not go together, or a metric that is unknown or not to be had this way.

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
    for name, given in (("maps", maps), ("masks", masks)):
        if given is not None and given.shape != (n, h, w):
            raise UserError(f"{name} have the shape {given.shape}, but the images ask for {(n, h, w)}")
    wanted = measurement.measured_on_maps(with_masks=masks is not None)
    for name in metrics or ():
        if name not in wanted:
            raise UserError(f"metrics has {name!r}, but must be of {', '.join(wanted)}")
    chosen = set(metrics or wanted)
    explain_settings, settings = load(Explain, Score, file=DEFAULTS)
    colour = tuple(mean or (request.images.double().mean(dim=(0, 1, 2)) / 255).tolist())
    how = settings.correlation
    hidden = {
        share: correlation.hide(
            classifier,
            request.images,
            request.targets,
            request.seeds,
            side=how.cells,
            share=share,
            draws=how.draws,
            colour=colour,
            batch_size=batch_size,
        )
        for share in (how.shares if "faithfulness_correlation" in chosen else ())
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
        title: above the map.

    Returns:
        A matplotlib figure, which notebooks show; `figure.savefig` writes it.

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
    """Compare two finished studies on the same test images: in which metrics is one better, and what is undecided?

    Args:
        a, b: folders, each with params.yaml, reports/ and models/; one has data/prepared.

    Raises:
        UserError: a file is missing, or the two have other test images.

    >>> import glassbox
    >>> glassbox.compare(a="slow", b="fast").found.metrics  # doctest: +SKIP
    """
    first, second = (studies.read(str(name), Path(name)) for name in (a, b))
    studies.same_images(first, second)
    data = next((one for one in (Path(a), Path(b)) if (one / "data/prepared/data.json").exists()), Path(a))
    return studies.compare(first, second, data / "data/prepared")


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
