"""All figures of the stage *explain*."""

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
    findings: Analyses,
    stability: Stability | None,
    again: list[Pick],
    settings: Explain,
) -> None:
    """`figures/` with one per image, `analyses/`, and `lime_stability.png` where it was measured on the images `again`.
    The request and the results have the same rows."""
    p, regions = cases.probabilities, settings.lime.regions
    shown = request.images.numpy()
    about = (cases.labels, cases.classes, regions, cases.masks)
    explanations.draw_all(folder / "figures", cases.picks, results, shown, p, *about)
    analyses.draw_all(folder / "analyses", cases, results, findings, settings)
    if stability is not None:
        lime_stability.draw(folder / "lime_stability.png", stability, again, cases.images.numpy(), regions, cases.masks)
