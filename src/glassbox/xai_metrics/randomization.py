"""Randomization: does the explanation change when the weights of the model are randomised?"""

import copy
from collections.abc import Iterator

import numpy as np

from glassbox.models import Classifier
from glassbox.xai_metrics.base import Metric

EMPRT = Metric(
    "emprt",
    "dependence on the weights",
    None,
    "rise of the map's entropy, nats",
    "after Hedström et al. 2024, Sanity Checks Revisited: An Exploration to Repair the Model Parameter Randomisation "
    "Test, efficient MPRT, as a paired difference; Adebayo et al. 2018, Sanity Checks for Saliency Maps",
)
METRICS = (EMPRT,)  # `scoring` has the explainer explain the randomised models


def entropy(maps: np.ndarray, bins: int) -> np.ndarray:
    """Entropy of the histogram of each map's (N, H, W) values, nats: (N,), with bins of equal width between the lowest
    and the highest value. A map of one value has entropy 0."""
    entropies = []
    for values in maps.astype(np.float64):
        counts, _ = np.histogram(values, bins)
        shares = counts[counts > 0] / values.size
        entropies.append(0.0 - (shares * np.log(shares)).sum())
    return np.array(entropies)


def emprt(maps: np.ndarray, randomised: np.ndarray, bins: int) -> np.ndarray:
    """Rise of the entropy from the maps of the trained to those of the randomised model, nats: (N,); NaN if either map
    has only one value, and so entropy 0.

    Hedström et al. average the relative rise (after - before) / before. The mean of such ratios is above 0 even if
    before and after have the same distribution (Jensen's inequality), so that almost every explainer would pass. The
    difference of two draws from the same distribution is symmetric around 0.
    """
    before, after = entropy(maps, bins), entropy(randomised, bins)
    return np.where((before > 0) & (after > 0), after - before, np.nan)


def cascade(
    classifier: Classifier, untrained: Classifier, layers: list[str], steps: int
) -> Iterator[tuple[str, Classifier]]:
    """Copies of a classifier with ever more layers, at last all, as in the untrained network, from the output to the
    input.

    Args:
        layers: names of the network's layers, from the input to the output.
        steps: number of models, at most one for each layer with weights.

    Yields:
        The name of the randomised layer nearest to the input, and the model.
    """
    learnt = [name for name in layers if dict(classifier.network.named_modules())[name].state_dict()]
    fresh = dict(untrained.network.named_modules())
    model = classifier
    parts = [part.tolist() for part in np.array_split(learnt[::-1], min(steps, len(learnt)))]
    for part in parts:
        model = copy.deepcopy(model)
        modules = dict(model.network.named_modules())
        for name in part:
            modules[name].load_state_dict(fresh[name].state_dict())
        if part is parts[-1]:  # also weights outside layers, such as a position embedding
            model.network.load_state_dict(untrained.network.state_dict())
        yield part[-1], model
