"""Whether the study prepares images as the owner of a network does that was trained elsewhere: its logits for the same
files, after the preprocessing of its weights and after that of the study."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from glassbox import models
from glassbox.config.data import Data
from glassbox.core.text import counted
from glassbox.data import decode, user_paths
from glassbox.data.store import Split
from glassbox.models import Card, Classifier
from glassbox.models.networks import bare, source_of
from glassbox.models.preprocessing import Preprocessing

IMAGES = 20  # test images at most, evenly spaced
TOLERANCE = 1e-5  # of logits


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        note: the result in one sentence.
        agrees: whether no logit differs by more than `TOLERANCE`; None where nothing could be compared.
        images: how many were compared.
        largest_difference: of a logit.
        other_predictions: images that get another class.
        accuracy, accuracy_of_owner: of these images, with the study's preprocessing and with that of the weights.
    """

    note: str
    agrees: bool | None = None
    images: int = 0
    largest_difference: float | None = None
    other_predictions: int | None = None
    accuracy: float | None = None
    accuracy_of_owner: float | None = None


def check(classifier: Classifier, card: Card, data: Data, test: Split, batch_size: int) -> Check | None:
    """Compare the logits of some test images with those that the network gives to the same files after the owner's
    preprocessing: that of the weights' registry, or the function `preprocess` of one's own module.

    Returns:
        None for a network that was trained here, which has no other owner.
    """
    if card.is_trained:
        return None
    source, name = source_of(card.name), bare(card.name)
    found = source.transform(name, card.weights)
    if found is None:
        return Check(
            f"The preprocessing that {card.weights} was trained with is not known, so the study's own "
            f"({classifier.preprocessing.in_words()}) could not be compared with it."
        )
    transform, whose = found
    rows, opened = _files(test, data)
    if not opened:
        return Check(f"The images are not in files here: nothing could be compared with {whose}.")
    with torch.inference_mode(), models.evaluating(classifier):
        theirs = torch.stack([transform(image) for image in opened]).to(classifier.mean.device)
        logits = torch.cat([classifier.answer(batch) for batch in theirs.split(batch_size)]).float().cpu()
    own = models.predict(classifier, test.images[rows], batch_size)
    difference = float((own - logits).abs().max())
    labels = test.labels[rows].cpu()
    others = int((own.argmax(dim=1) != logits.argmax(dim=1)).sum())
    accuracies = [float((some.argmax(dim=1) == labels).double().mean()) for some in (own, logits)]
    agrees = difference <= TOLERANCE
    note = f"On {counted(len(rows), 'test image')} the network gives the same logits as after {whose}" + (
        f" (largest difference {difference:.2g})." if difference else "."
    )
    if not agrees:
        remedy = _remedy(source.made_for(name, card.weights), classifier.preprocessing, data)
        note = (
            f"The preprocessing is not that of the network's owner: on {counted(len(rows), 'test image')} its logits "
            f"differ by up to {difference:.3g} from those after {whose}, {others} of the predictions are others, and "
            f"the accuracy is {100 * accuracies[0]:.1f} % instead of {100 * accuracies[1]:.1f} %.{remedy}"
        )
    return Check(note, agrees, len(rows), difference, others, *accuracies)


def _files(test: Split, data: Data) -> tuple[list[int], list[Image.Image]]:
    """Positions of some test images, and the images in their files as they were read; none where there are no files."""
    if test.names is None or data.path is None:
        return [], []
    root = user_paths.expanded(data.path)
    rows = np.unique(np.linspace(0, len(test) - 1, IMAGES).round().astype(int)).tolist()
    rows = [row for row in rows if user_paths.is_file(root / test.names[row])]
    return rows, [decode.read_whole(root / test.names[row], data.convert) for row in rows]


def _remedy(theirs: Preprocessing | None, ours: Preprocessing, data: Data) -> str:
    """The parameters that take the preprocessing of the weights, where it is one that they can name."""
    if theirs is None or theirs.input_size is None:
        return ""
    have = {
        "data.image_size": data.image_size,
        "data.resize": data.resize,
        "data.shorter_side": data.shorter_side,
        "data.interpolation": data.interpolation,
        "model.normalization": [list(ours.mean), list(ours.std)],
        "model.input_size": ours.input_size,
    }
    changes = as_changes({key: value for key, value in parameters_for(theirs).items() if have[key] != value})
    return f" The parameters for that are {' '.join(changes)}." if changes else ""


def parameters_for(how: Preprocessing) -> dict[str, object]:
    """The values of parameters with which a study shows a network what `how` does: the images are prepared in the
    network's own size, and nothing but their colours is left to be changed. `how.input_size` must be a number."""
    return {
        "data.image_size": how.input_size,
        "data.resize": "crop",
        "data.shorter_side": how.enlarged,
        "data.interpolation": how.interpolation,
        "model.normalization": [list(how.mean), list(how.std)],
        "model.input_size": None,
    }


def as_changes(values: dict[str, object]) -> list[str]:
    """Parameters as they stand on the command line, like "data.image_size=224"."""
    return [f"{key}={'null' if value is None else ''.join(str(value).split())}" for key, value in values.items()]
