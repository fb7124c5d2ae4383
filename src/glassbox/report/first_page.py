"""The first page of a study that judges a network: what it predicts, and its explanations before they are scored."""

import base64
from pathlib import Path
from typing import Any

from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.core.text import counted
from glassbox.evaluation import chance_level
from glassbox.report.card import network_in_words
from glassbox.report.words import render

PAGE = "reports/first.html"
SHOWN = 12  # images


def first_page(params: Params, card: dict[str, Any], reports: str | Path = "reports") -> str:
    """The page, from the results of *evaluate* and *explain*; `card` is that of the network."""
    folder = Path(reports)
    metrics = files.read_json(folder / "evaluate/metrics.json")
    index = files.read_csv(folder / "explain/index.csv")
    drawn = index[index["drawn"]].drop_duplicates("image")

    def picture(path: Path) -> str:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()

    figures = sorted((folder / "explain/figures").glob("*.png"))[:SHOWN]
    interval = f"{100 * metrics['accuracy_low']:.2f} to {100 * metrics['accuracy_high']:.2f} %"
    level = f"{100 * params.evaluate.confidence:g} %"
    sentences = [
        f"Accuracy {100 * metrics['accuracy']:.2f} % on {counted(metrics['images'], 'test image')} ({level} interval "
        f"{interval}). {chance_level.sentence(metrics)}",
    ]
    if shown := metrics.get("preprocessing"):
        sentences.append(shown["note"])
    if other := metrics.get("class_order"):
        sentences.append(other["note"])
    return render(
        "first_page.html",
        study=params.study.name,
        network=network_in_words(card["name"]),
        weights=card["weights"],
        digest=card["weights_digest"],
        notes=card["contradictions"],
        sentences=sentences,
        matrix=picture(folder / "evaluate/confusion_matrix.png"),
        figures=[(path.stem, picture(path)) for path in figures],
        explained=len(drawn),
        scored=params.score.images,
    )
