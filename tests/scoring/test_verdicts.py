"""Which explainer may be called the most trustworthy."""

import pytest

from glassbox.explainers.catalog import CONTROLS
from glassbox.scoring import verdicts

MEASURES = ("deletion_auc", "insertion_auc", "road")


def ranking(wins: dict[str, int], pairs: dict[tuple[str, str], tuple[str, ...]]) -> dict:
    """A ranking by three measures. By the first `wins` of them an explainer is better than every control, by the others
    it is undecided against one; `pairs` holds the outcomes of comparisons of two explainers by the first measures."""
    rows = {}
    for place, measure in enumerate(MEASURES):
        controls = [
            {"explainer": name, "control": control, "outcome": "better" if place < n or number else "undecided"}
            for name, n in wins.items()
            for number, control in enumerate(CONTROLS)
        ]
        outcomes = {names: found[place] for names, found in pairs.items() if place < len(found)}
        rows[measure] = {
            "controls": controls,
            "pairs": [{"a": a, "b": b, "outcome": outcome} for (a, b), outcome in outcomes.items()],
        }
    return {"metrics": rows}


BETTER, WORSE, OPEN = "better", "worse", "undecided"


@pytest.mark.parametrize(
    ("wins", "pairs", "names"),
    [
        ({"lime": 0, "rise": 0}, {}, []),
        ({"lime": 1, "rise": 0}, {}, ["lime"]),  # no other is better than every control by any measure
        ({"lime": 1, "rise": 3}, {}, ["rise", "lime"]),  # most measures are not enough
        ({"lime": 1, "rise": 3}, {("lime", "rise"): (WORSE,)}, ["rise"]),
        ({"lime": 1, "rise": 3}, {("lime", "rise"): (WORSE, BETTER)}, ["rise", "lime"]),
        ({"lime": 1, "rise": 3}, {("rise", "lime"): (BETTER, BETTER, WORSE)}, ["rise"]),
        ({"lime": 1, "rise": 3}, {("rise", "lime"): (WORSE,)}, ["rise", "lime"]),  # fewer, but better in pairs
        ({"lime": 2, "rise": 2}, {("rise", "lime"): (OPEN, OPEN)}, ["lime", "rise"]),
        ({"lime": 2, "rise": 2}, {("rise", "lime"): (BETTER, OPEN)}, ["rise"]),
        # Of two with as many one is better than the other, and the third only worse than that other.
        (
            {"lime": 2, "rise": 2, "shap": 1},
            {("rise", "lime"): (BETTER,), ("lime", "shap"): (BETTER,)},
            ["rise", "shap"],
        ),
        # Of three with as many the first is better than the second alone, and the second than the third.
        (
            {"lime": 2, "rise": 2, "shap": 2},
            {("lime", "rise"): (BETTER,), ("rise", "shap"): (BETTER,), ("lime", "shap"): (OPEN,)},
            ["lime", "shap"],
        ),
        # Each of three is better than the next: no order.
        (
            {"lime": 1, "rise": 1, "shap": 1},
            {("lime", "rise"): (BETTER,), ("rise", "shap"): (BETTER,), ("lime", "shap"): (WORSE,)},
            ["lime", "rise", "shap"],
        ),
    ],
)
def test_one_explainer_is_first_only_if_it_is_better_than_the_others(wins, pairs, names):
    assert verdicts.candidates(ranking(wins, pairs)) == {name: wins[name] for name in names}
