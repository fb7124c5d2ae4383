"""The first page of a study that judges a network: what it predicts, and its explanations before they are scored."""

from pathlib import Path
from typing import Any

from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.core.text import counted
from glassbox.evaluation import chance_level
from glassbox.evaluation.findings import findings
from glassbox.explaining.selection import picture_of
from glassbox.report.card import network_in_words
from glassbox.report.pictures import png_uri
from glassbox.report.words import percent, render

PAGE = "reports/first.html"
SHOWN = 12  # images


def first_page(params: Params, card: dict[str, Any], reports: str | Path = "reports") -> str:
    """The page, from the results of *evaluate* and *explain*; `card` is that of the network."""
    folder = Path(reports)
    metrics = files.read_json(folder / "evaluate/metrics.json")
    index = files.read_csv(folder / "explain/index.csv")
    drawn = index[index["drawn"]].drop_duplicates("image")

    pictures = {row: folder / "explain/figures" / picture_of(row) for row in drawn["image"][:SHOWN]}
    accuracy, low, high = (percent(metrics[name]) for name in ("accuracy", "accuracy_low", "accuracy_high"))
    sentences = [
        f"Accuracy {accuracy} on {counted(metrics['images'], 'test image')} ({100 * params.evaluate.confidence:g} % "
        f"interval {low} to {high}). {chance_level.sentence(metrics)}",
        *(found.note for found in findings(metrics)),
    ]
    return render(
        "first_page.html",
        study=params.study.name,
        network=network_in_words(card["name"]),
        weights=card["weights"],
        digest=card["weights_digest"],
        notes=card["contradictions"],
        sentences=sentences,
        matrix=png_uri((folder / "evaluate/confusion_matrix.png").read_bytes()),
        figures=[(f"test image {row}", png_uri(path.read_bytes())) for row, path in pictures.items()],
        explained=len(drawn),
        scored=params.score.images,
    )
