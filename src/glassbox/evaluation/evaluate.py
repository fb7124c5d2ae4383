"""Test scores of a classifier, their intervals and its calibration."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox.config.augment import Augment
from glassbox.config.evaluate import Evaluate
from glassbox.core.seeds import derive
from glassbox.data.batches import augment, to_float
from glassbox.data.store import Split
from glassbox.evaluation import calibration, chance_level, class_order, classification
from glassbox.evaluation.findings import findings
from glassbox.evaluation.preprocessing_check import Check
from glassbox.models import Classifier, device_of, predict
from glassbox.provenance.resume import Keep, unkept

SCORES = {  # by metric, their names in the table
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "ece": "calibration error",
}


@dataclass(frozen=True)
class Evaluation:
    """All results of a classifier on its test split.

    The metrics include those of `chance_level.measure`; `macro_f1_without_interval` is the reason why the macro F1 has
    no interval, or None. `preprocessing` is there for a network that is taken as it is, see
    `preprocessing_check`. `class_order` is there where the outputs seem to be in another order than the classes: the
    result of `class_order.another_order` with a sentence, `note`. Predictions have a row for each test image: image,
    source_index, file if the source has files, true_class, predicted_class, confidence, then a probability for each
    class.

    A network may have more outputs than the data have classes. Then tables and the confusion matrix hold the K classes
    that occur: those of the data, and others that were predicted.
    """

    metrics: dict[str, Any]
    classes: tuple[str, ...]  # K names
    report: pd.DataFrame  # precision, recall and F1 of each class with intervals, and support
    matrix: np.ndarray  # (K, K) confusion matrix, rows are true classes
    pairs: list[classification.ConfusedPair]  # all pairs of classes, most confused first
    predictions: pd.DataFrame
    probabilities: np.ndarray  # (N, K), those of the study: after temperature scaling if it is used, else as trained
    scaling: calibration.Scaling
    reliability: pd.DataFrame  # confidence bins of these probabilities
    reliability_as_trained: pd.DataFrame

    def reliability_tables(self) -> dict[str, pd.DataFrame]:
        """Tables of confidence bins by the name of the probabilities: both if temperature scaling is used."""
        tables = {"as trained": self.reliability_as_trained}
        if self.scaling.scaling_used:
            tables[f"after temperature scaling (T = {self.scaling.temperature:.3g})"] = self.reliability
        return tables

    def summary(self, confidence: float) -> list[str]:
        """The result in sentences; `confidence` is the level of the intervals, 0..1."""
        m = self.metrics
        sentences = [f"{'warning: ' if found.is_fault else ''}{found.note}" for found in findings(m)]
        if "augmented_accuracy" in m:
            sentences.append(f"test accuracy on images changed at random {100 * m['augmented_accuracy']:.2f} %")
        if "mirrored_accuracy" in m:
            sentences.append(f"test accuracy of images and their mirror images {100 * m['mirrored_accuracy']:.2f} %")
        interval = f"{100 * m['accuracy_low']:.2f} to {100 * m['accuracy_high']:.2f}"
        return [
            *sentences,
            f"test accuracy {100 * m['accuracy']:.2f} % ({100 * confidence:g} % interval {interval})",
            self.scaling.reason,
            f"balanced accuracy {chance_level.balanced(m)}. {chance_level.sentence(m)}",
        ]

    def tables(self, most_pairs: int) -> dict[str, pd.DataFrame]:
        """All tables by name, with at most `most_pairs` rows of confused pairs."""
        classes = self.classes
        matrix = pd.DataFrame(self.matrix, columns=list(classes))
        matrix.insert(0, "true_class", classes, allow_duplicates=True)  # a class may have that name
        pairs = [
            {"a_class": classes[p.a], "b_class": classes[p.b], "a_as_b": p.ab, "b_as_a": p.ba}
            for p in self.pairs[:most_pairs]
        ]
        ends = {"value": "", "low": "_low", "high": "_high"}
        scores = [
            {"score": title} | {end: self.metrics.get(f"{name}{ending}") for end, ending in ends.items()}
            for name, title in SCORES.items()
        ]
        return {
            "scores": pd.DataFrame(scores).astype(dict.fromkeys(ends, float)),
            "classification_report": self.report,
            "confusion_matrix": matrix,
            "predictions": self.predictions,
            "confused_pairs": pd.DataFrame(pairs),
            "reliability": self.reliability,
            "reliability_as_trained": self.reliability_as_trained,
        }


def evaluate(
    validation_logits: np.ndarray,
    validation_labels: np.ndarray,
    logits: np.ndarray,
    labels: np.ndarray,
    source_index: np.ndarray,
    classes: tuple[str, ...],
    settings: Evaluate,
    seed: int,
    files: tuple[str, ...] | None = None,
    n_classes: int | None = None,
    preprocessing: Check | None = None,
) -> Evaluation:
    """Evaluate logits (N, L) and labels (N,) of the test images; those of the validation images, (M, L) and (M,), serve
    only to fit the temperature. `source_index` (N,) are the images' positions in their source, `files` (N,) their names
    if the source has them; `seed` is the study's. `classes` are the names of the L outputs; the
    first `n_classes` of them, None: all, are those of the data. `preprocessing` is kept among the metrics.

    Probabilities are those of the study (see `calibration`). The metrics hold log loss, Brier score and calibration
    error (ECE) twice: `ece` from the study's probabilities, `ece_as_trained` from the softmax of the logits.
    """
    scaling = calibration.scale(validation_logits, validation_labels, derive(seed, "evaluate", "calibration"))
    log_p, log_p_as_trained = (calibration.log_probabilities(logits, t) for t in (scaling.temperature, 1.0))
    p, p_as_trained = np.exp(log_p), np.exp(log_p_as_trained)
    predicted = p.argmax(axis=1)
    right = predicted == labels
    occurring = np.union1d(np.arange(n_classes or len(classes)), predicted)  # positions of K classes
    place = np.searchsorted(occurring, predicted)
    shown = tuple(classes[number] for number in occurring)
    matrix = classification.confusion(labels, place, len(shown))
    report = classification.classification_report(labels, place, shown, settings.confidence, n_classes)
    macro = report.iloc[-1]
    bins = [calibration.reliability(q, labels, settings.calibration_bins) for q in (p, p_as_trained)]
    accuracy, low, high = classification.accuracy_interval(int(right.sum()), len(labels), settings.confidence)
    too_few = classification.no_macro_f1_interval(matrix, shown)
    f1_ends = (None, None) if too_few else classification.macro_f1_interval(matrix, settings.confidence)
    metrics = {
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "macro_precision": float(macro["precision"]),
        "macro_recall": float(macro["recall"]),
        "macro_f1": float(macro["f1"]),
        "macro_f1_low": f1_ends[0],
        "macro_f1_high": f1_ends[1],
        "macro_f1_without_interval": too_few,
        "log_loss": calibration.log_loss(log_p, labels),
        "brier": calibration.brier(p, labels),
        "ece": calibration.expected_calibration_error(bins[0]),
        "log_loss_as_trained": calibration.log_loss(log_p_as_trained, labels),
        "brier_as_trained": calibration.brier(p_as_trained, labels),
        "ece_as_trained": calibration.expected_calibration_error(bins[1]),
        "ece_by_chance": calibration.ece_by_chance(p, settings.calibration_bins, derive(seed, "evaluate", "ece")),
        "temperature": scaling.temperature,
        "images": len(labels),
        "mistakes": int((~right).sum()),
    } | chance_level.measure(labels, predicted, classes, settings.confidence)
    validation_predicted = validation_logits.argmax(axis=1)
    other = class_order.another_order(validation_labels, validation_predicted, labels, predicted, classes)
    if other is not None:
        metrics["class_order"] = other | {"note": class_order.sentence(other, accuracy, classes)}
    if preprocessing is not None:
        metrics["preprocessing"] = asdict(preprocessing)
    names = np.array(classes, dtype=object)
    columns = {
        "image": np.arange(len(labels)),
        "source_index": source_index,
        **({"file": files} if files else {}),
        "true_class": names[labels],
        "predicted_class": names[predicted],
        "confidence": p.max(axis=1),
    }
    by_class = pd.DataFrame(p, columns=[f"p({name})" for name in classes])
    return Evaluation(
        metrics=metrics,
        classes=shown,
        report=report,
        matrix=matrix,
        pairs=classification.confused_pairs(matrix, p[:, occurring], labels),
        predictions=pd.concat([pd.DataFrame(columns), by_class], axis=1),
        probabilities=p,
        scaling=scaling,
        reliability=bins[0],
        reliability_as_trained=bins[1],
    )


def mirrored_accuracy(
    classifier: Classifier,
    test: Split,
    logits: np.ndarray,
    batch_size: int,
    progress: Callable[[int], object] = int,
    keep: Keep = unkept,
) -> float:
    """Accuracy of the mean probabilities of each test image and its mirror image, left to right.

    Args:
        logits: (N, K) of the images as they are.
        batch_size: images in one forward pass.
        progress: called with the number of images of each finished batch.
        keep: takes the logits of each batch as soon as they are there.
    """
    mirror = predict(classifier, test.images, batch_size, progress, lambda images: to_float(images.flip(2)), keep=keep)
    p = torch.from_numpy(logits).softmax(dim=1) + mirror.softmax(dim=1)
    return (p.argmax(dim=1) == test.labels.cpu()).double().mean().item()


def augmented_accuracy(
    classifier: Classifier,
    test: Split,
    how: Augment,
    seed: int,
    batch_size: int,
    progress: Callable[[int], object] = int,
    keep: Keep = unkept,
) -> float:
    """Accuracy on test images after one random change of each (`how`), as the code in the ResNet-50 paper's appendix
    measures it. The classifier, on any device, is left in the mode it was in.

    Args:
        seed: the study's seed.
        batch_size: images in one forward pass.
        progress: called with the number of images of each finished batch.
        keep: takes the logits of each batch as soon as they are there.
    """
    device = device_of(classifier)
    generator = torch.Generator(device).manual_seed(derive(seed, "evaluate", "augment"))
    prepare = partial(augment, how=how, generator=generator, input_size=classifier.input_size)
    logits = predict(classifier, test.images, batch_size, progress, prepare, keep=keep)
    return (logits.argmax(dim=1) == test.labels.cpu()).double().mean().item()
