"""All pictures of the stage explain."""

from pathlib import Path

from glassbox.config.explain import Explain
from glassbox.explainers.base import Request
from glassbox.explaining.analyses import Analyses
from glassbox.explaining.explanations import Explained
from glassbox.explaining.lime_stability import Stability
from glassbox.explaining.selection import Cases, Pick
from glassbox.figures import analyses, explanations, lime_stability


def draw_all(
    folder: Path,
    cases: Cases,
    request: Request,
    results: list[Explained],
    found: Analyses,
    stability: Stability | None,
    again: list[Pick],
    settings: Explain,
) -> None:
    """`figures/` with one an image, `analyses/`, and `lime_stability.png` where it was measured.

    Args:
        folder: for the pictures.
        cases: images and explained classes.
        request: rows of the results.
        results: of every explainer.
        found: the analyses.
        stability: of LIME, or None.
        again: its images.
        settings: the section `explain`.
    """
    p, regions = cases.probabilities, settings.lime.regions
    shown = request.images.numpy()
    explanations.draw_all(folder / "figures", cases.picks, results, shown, p, cases.labels, cases.classes, regions)
    analyses.draw_all(folder / "analyses", cases, results, found, settings)
    if stability is not None:
        lime_stability.draw(folder / "lime_stability.png", stability, again, cases.images.numpy(), regions)
