"""Randomization: does the explanation notice when the weights that it is to explain are gone?"""

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
    """Entropy of the histogram of each map's values, nats: (N,). A map of one value has none.

    Args:
        maps: (N, H, W).
        bins: of equal width between the lowest and the highest value of the map.
    """
    found = []
    for values in maps.astype(np.float64):
        counts, _ = np.histogram(values, bins)
        shares = counts[counts > 0] / values.size
        found.append(float(-(shares * np.log(shares)).sum()) + 0.0)
    return np.array(found)


def emprt(maps: np.ndarray, randomised: np.ndarray, bins: int) -> np.ndarray:
    """Rise of the entropy from the maps of the trained to those of the randomised model, nats: (N,); NaN where either
    map has one value only, whose entropy is 0 whatever the model does.

    Hedström et al. average the relative rise (after - before) / before. The mean of such ratios is above 0 even where
    before and after come from one law (Jensen's inequality), so that nearly every explainer would pass. A difference
    of two draws from one law is symmetric around 0.
    """
    before, after = entropy(maps, bins), entropy(randomised, bins)
    return np.where((before > 0) & (after > 0), after - before, np.nan)


def cascade(
    classifier: Classifier, untrained: Classifier, layers: list[str], steps: int
) -> Iterator[tuple[str, Classifier]]:
    """Models in which the layers nearest to the output have lost what they learnt, then more and more of them, at last
    all.

    Args:
        classifier: trained; left alone.
        untrained: the same network with fresh weights.
        layers: names of the network's layers, from the input to the output.
        steps: how many models, at most one a layer that has weights.

    Yields:
        The name of the layer nearest to the input that was randomised, and the model.
    """
    learnt = [name for name in layers if dict(classifier.network.named_modules())[name].state_dict()]
    fresh = dict(untrained.network.named_modules())
    model = classifier
    parts = [part.tolist() for part in np.array_split(learnt[::-1], min(steps, len(learnt)))]
    for part in parts:
        model = copy.deepcopy(model)
        own = dict(model.network.named_modules())
        for name in part:
            own[name].load_state_dict(fresh[name].state_dict())
        if part is parts[-1]:  # with weights that belong to no layer, such as a position's embedding
            model.network.load_state_dict(untrained.network.state_dict())
        yield part[-1], model
