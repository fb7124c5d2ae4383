"""The scorecard as the page shows it: a row for each explainer and control, the best explainer first."""

from typing import Any

from glassbox.report import contents
from glassbox.report.study import Study
from glassbox.scoring import verdicts
from glassbox.xai_metrics.catalog import MEASUREMENTS


def columns(study: Study) -> dict[str, list[dict[str, Any]]]:
    """The measures of `contents.columns`, in its two groups: `key`, `title`, `arrow`, `unit` and `direction` of each,
    and `n`, the images that have a value, "60" or "45 to 60"."""
    card = study.scorecard
    if card is None:
        return {}
    ranking = card[card["ranks"] & (card["n"] > 0)]
    groups = {}
    for group, titles in contents.columns(study).items():
        groups[group] = []
        for key in titles:
            rows = ranking[ranking["metric"] == key]
            first = rows.iloc[0]
            about = {
                "key": key,
                "title": MEASUREMENTS[key],
                "unit": first.get("unit", ""),
                "direction": first.direction,
            }
            about["arrow"] = contents.ARROWS[first.direction].strip()
            groups[group].append(about | {"n": verdicts.sizes(rows.to_dict("records"))})
    return groups


def rows(study: Study) -> list[dict[str, Any]]:
    """Explainers by their mean rank, then controls: those of `contents.explainer_table`, each with its `mean_rank`
    (None for controls) and `tested`: by measure the numbers of its comparisons with controls by outcome, and a `mark`
    where all have the same."""
    table = contents.explainer_table(study)
    if not table:
        return []
    ranks, tested = verdicts.mean_ranks(study.ranking), verdicts.tally(study.ranking)
    made = []
    for row in table:
        counts = {} if row["control"] else tested.get(row["name"], {})
        marks = {metric: verdicts.mark(of_metric) for metric, of_metric in counts.items()}
        rank = None if row["control"] else ranks.get(row["name"])
        made.append(row | {"mean_rank": rank, "tested": counts, "marks": marks})
    return sorted(made, key=lambda row: (row["control"], row["mean_rank"] is None, row["mean_rank"] or 0.0))
