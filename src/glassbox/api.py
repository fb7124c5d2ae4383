"""The public API, for notebooks and scripts: `import glassbox`. It uses no DVC, MLflow or parameter file, and writes
nothing.

Images are (N, H, W, 3) uint8, as arrays or tensors. Maps are raw and signed, (N, H, W) float32, in units of the
explained score: positive values are evidence for the class.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from glassbox import models, results
from glassbox.api_arguments import (
    DEFAULTS,
    Images,
    check_shape,
    class_names,
    classes_of,
    explain_settings,
    explanation_of,
    ground_for,
    mean_colour,
    metrics_of,
    pixels_of,
    request_for,
    setup_for,
)
from glassbox.audit import running
from glassbox.audit.report import Audit
from glassbox.comparing import studies
from glassbox.comparing.studies import Sides
from glassbox.config import parameters
from glassbox.config.explain import Explain
from glassbox.config.loading import load
from glassbox.core.errors import UserError
from glassbox.core.progress import Bar
from glassbox.evaluation import predictions
from glassbox.explainers import factory
from glassbox.explainers.base import Setup
from glassbox.explainers.catalog import CONTROLLED, EXPLAINER, EXPLAINERS, TITLES
from glassbox.explainers.controls import all_controls
from glassbox.explainers.running import Bookkeeping, attribute
from glassbox.figures.grid import NotebookFigure
from glassbox.figures.maps import blend, colour_bar, frame, normalise
from glassbox.models import Classifier
from glassbox.report import study
from glassbox.report.study import Study
from glassbox.results import Explanation, Judgement
from glassbox.scoring import measurement, score_tables
from glassbox.scoring.measurement import Scored
from glassbox.xai_metrics.base import Metric


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
) -> Explanation:
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
        Maps, times, numbers of forward and backward passes, and details such as LIME's local R2. A notebook shows the
        images with their maps.

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
    sections = {"superpixels": changes.pop("superpixels", {}), explainer: changes}
    chosen = explain_settings([explainer], sections)
    request, probabilities = request_for(classifier, images, targets, seed, batch_size)
    setup = setup_for(classifier, chosen, request.images, background, seed, batch_size)
    attribution = attribute(factory.make(setup)[explainer], classifier, request)
    return explanation_of(explainer, attribution, classifier, request, probabilities)


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
    request, _ = request_for(classifier, images, targets, seed, batch_size)
    check_shape("maps", maps, request)
    chosen = metrics_of(metrics, masks, request)
    colour = tuple(mean or mean_colour(request.images))
    setup = Setup(classifier, load(Explain, file=DEFAULTS)[0], request.images[:0], colour, batch_size, seed)
    ground = ground_for(setup, request, chosen, masks, np.ones(len(request), bool))
    values = measurement.measure(ground, maps, metrics=chosen)
    return pd.DataFrame({str(column): scores for column, scores in values.items()})


def find_shortcuts(
    *,
    classifier: Classifier,
    images: Images,
    labels: Sequence[int],
    held_out: Images,
    held_out_labels: Sequence[int],
    explainers: Sequence[str] = ("integrated_gradients", "grad_cam"),
    background: Images | None = None,
    seed: int = 0,
    batch_size: int = 64,
    settings: Mapping[str, Any] | None = None,
) -> Audit:
    """What classes lean on where other classes do not: fixed regions, found in the maps of some images by spectral
    relevance analysis (Lapuschkin et al. 2019), and properties of whole images. Each candidate is tested on other
    images by intervention: it is taken from images of its class and put on those of others, beside a control of the
    same size. The tests are corrected together, so that the chance of any false finding is 5 % at most.

    Args:
        classifier: the classifier to search; it is not changed.
        images: (N, H, W, 3) uint8, to find candidates in; a hundred of each class are enough.
        labels: (N,) their true classes.
        held_out, held_out_labels: as many others, to test the candidates on. Leave the test images out of both.
        explainers: some of `list_explainers`, whose maps are searched.
        background: see `explain`; None takes the first of `images`.
        seed: seed of everything random.
        batch_size: images in one forward pass.
        settings: changes of the default study's section `explain`, as in `judge`.

    Returns:
        The candidates with their tests as a DataFrame, and sentences.

    Raises:
        UserError: an unknown explainer or setting, or wrong shapes or labels.

    >>> import glassbox, numpy, torch
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> images = numpy.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=numpy.uint8)
    >>> given = {"images": images[:12], "labels": [0, 1] * 6, "held_out": images[12:], "held_out_labels": [0, 1] * 6}
    >>> audit = glassbox.find_shortcuts(classifier=glassbox.Classifier(network), explainers=["occlusion"], **given)
    >>> len(audit.confirmed)  # noise has no shortcut
    0
    """
    chosen = explain_settings(explainers, settings or {})
    pixels, others = pixels_of(images, "images"), pixels_of(held_out, "held_out")
    known = class_names(classifier, models.probabilities(classifier, pixels[:1], batch_size).shape[1])
    setup = setup_for(classifier, chosen, pixels, pixels if background is None else background, seed, batch_size)
    return running.audit(
        setup,
        images=pixels,
        labels=classes_of("labels", labels, pixels, len(known)),
        held_out=others,
        held_out_labels=classes_of("held_out_labels", held_out_labels, others, len(known)),
        classes=known,
    )


def judge(
    *,
    classifier: Classifier,
    images: Images,
    explainers: Sequence[str] = ("lime", "occlusion", "integrated_gradients"),
    labels: Sequence[int] | None = None,
    masks: np.ndarray | None = None,
    background: Images | None = None,
    metrics: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 64,
    settings: Mapping[str, Any] | None = None,
) -> Judgement:
    """Which explanation to believe: explain the predicted classes by several explainers and by the model-blind
    controls, measure all maps as `score` does, and compare them by the paired tests of a study.

    Take images that the classifier was not trained on. Intervals of means need 40 of them, tests about a dozen; the
    result says how many would decide more.

    Args:
        classifier: the classifier to explain.
        images: (N, H, W, 3) uint8.
        explainers: some of `list_explainers`.
        labels: (N,) true classes: with them localization counts only images that are classified correctly, for only
            there do the masks tell where the evidence is.
        masks: (N, H, W) bool, the location of the evidence.
        background: see `explain`; its mean colour takes the place of deleted pixels, too.
        metrics: names, as `score` takes them; None takes all of them.
        seed: seed of everything random.
        batch_size: images in one forward pass.
        settings: changes of the default study's section `explain`, as in params.yaml: {"lime": {"samples": 300}}.

    Returns:
        Values, means, and outcomes as DataFrames. A notebook shows tables.

    Raises:
        UserError: an unknown explainer, metric or setting, a missing background, wrong shapes, or an explainer that
            cannot explain this network.

    >>> import glassbox, numpy, torch
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2))
    >>> images = numpy.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=numpy.uint8)
    >>> arguments = {"explainers": ["integrated_gradients"], "metrics": ["deletion_auc"]}
    >>> judgement = glassbox.judge(classifier=glassbox.Classifier(network), images=images, **arguments)
    >>> len(judgement.against_controls)  # one explainer, six controls, one metric
    6
    """
    for place, name in enumerate(explainers):
        if name not in EXPLAINERS or name in explainers[:place]:
            raise UserError(f"explainers has {name!r}, but must be different ones of {', '.join(EXPLAINERS)}")
    chosen = explain_settings(explainers, settings or {})
    request, probabilities = request_for(classifier, images, None, seed, batch_size)
    right = np.ones(len(request), bool)
    if labels is not None:
        right = (request.targets == classes_of("labels", labels, request.images, probabilities.shape[1])).numpy()
    measures = metrics_of(metrics, masks, request)
    setup = setup_for(classifier, chosen, request.images, background, seed, batch_size)
    side = request.images.shape[1]
    made = factory.make(setup)
    for explainer in made.values():  # one that cannot explain this network refuses before the others take their time
        explainer(classifier, request.part(0, 1))
    subjects = [
        *((EXPLAINER, name, explainer) for name, explainer in made.items()),
        *((CONTROLLED, name, control) for name, control in all_controls(chosen.superpixels, side).items()),
    ]
    scored, explanations = [], {}
    with Bar(total=2 * len(request) * len(subjects), desc="judging", unit="map") as bar:
        ground = ground_for(setup, request, measures, masks, right)
        for kind, name, explainer in subjects:
            attribution = attribute(explainer, classifier, request, Bookkeeping(progress=bar.update))
            values = measurement.measure(ground, attribution.maps, metrics=measures)
            bar.update(len(request))
            scored.append(Scored(name, kind, values, explainer.budget(side), attribution, memory=np.nan))
            if kind == EXPLAINER:
                explanations[name] = explanation_of(name, attribution, classifier, request, probabilities)
    table = score_tables.table(scored, ground, class_names(classifier, probabilities.shape[1]))
    return results.judged(table, explanations, seed, relu=chosen.grad_cam.relu)


def plot(
    *,
    explanations: Explanation | Sequence[Explanation] | None = None,
    scale: Literal["own", "absolute"] = "own",
    image: np.ndarray | None = None,
    attribution: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Images, and beside them maps in red (for the class) and blue (against it).

    Args:
        explanations: of the same images, by one explainer or several: a row for each image, a column for each
            explainer.
        scale: "own" for each map, up to its largest value; "absolute" for one scale in each column, with its numbers in
            the unit of the explained score. Explainers have different units, so that no scale holds for all columns.
        image: (H, W, 3) uint8, instead of explanations; with numbers at its scale.
        attribution: (H, W) signed, of that image.
        title: of the figure; of the map where there is one alone.

    Raises:
        UserError: neither explanations nor an image with its map, or both; explanations of different images; an
            unknown scale.

    >>> import glassbox, numpy
    >>> image, attribution = numpy.zeros((8, 8, 3), dtype=numpy.uint8), numpy.eye(8)
    >>> len(glassbox.plot(image=image, attribution=attribution).axes)
    3
    """
    if scale not in ("own", "absolute"):
        raise UserError(f"scale is {scale!r}, but must be 'own' or 'absolute'")
    if explanations is not None and image is None and attribution is None:
        shown = [explanations] if isinstance(explanations, Explanation) else [*explanations]
        return results.draw(shown, absolute=scale == "absolute", title=title)
    if explanations is not None or image is None or attribution is None:
        raise UserError("plot needs either explanations, or image and attribution")
    drawing = NotebookFigure(figsize=(5.2, 2.6), layout="constrained")
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
