"""glassbox: train an image classifier and explain it, as one reproducible, comparable study.

From Python, without DVC, MLflow or a parameter file:

>>> import glassbox
>>> classifier = glassbox.Classifier(network, classes=("cat", "dog"))  # doctest: +SKIP
>>> maps = glassbox.explain(classifier=classifier, images=images, explainer="grad_cam").maps  # doctest: +SKIP
>>> judgement = glassbox.judge(classifier=classifier, images=images, explainers=["grad_cam"])  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glassbox.api import (
        Classifier,
        compare,
        explain,
        judge,
        list_explainers,
        load_classifier,
        load_study,
        metrics,
        plot,
        score,
    )

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "__version__",
    "compare",
    "explain",
    "find_shortcuts",
    "judge",
    "list_explainers",
    "load_classifier",
    "load_study",
    "metrics",
    "plot",
    "score",
]


def __getattr__(name: str) -> Any:
    """The public names are imported when they are first used: PyTorch takes two seconds."""
    if name in __all__:
        return getattr(import_module("glassbox.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
