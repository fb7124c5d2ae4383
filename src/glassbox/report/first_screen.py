"""The first screen of the report: three answers, one picture, four numbers. What stands here stands nowhere else on the
page in the same words."""

from collections.abc import Iterable
from typing import Any

from glassbox.core.text import MINUS, counted, listed
from glassbox.evaluation import chance_level
from glassbox.explainers.catalog import TITLES
from glassbox.report import calibration, hypotheses
from glassbox.report.study import Study
from glassbox.report.words import percent
from glassbox.scoring import verdicts

HOW_GOOD, WHICH_MAP, WHAT_FAILS = "How good is it?", "Which map to look at first?", "What fails, and why?"
UNDECIDED, NOT_TESTED = "Undecided", "Not tested"


def answers(study: Study) -> list[dict[str, str]]:
    """The three answers, each with its `question`, what is `first` in it, and the `rest`, which says how sure it is."""
    return [
        {"question": HOW_GOOD} | _how_good(study),
        {"question": WHICH_MAP} | _which_map(study),
        {"question": WHAT_FAILS} | _what_fails(study),
    ]


def tiles(study: Study) -> list[dict[str, str]]:
    """The numbers, each with its `term` of the glossary, its `value`, and what is `about` it: interval and n."""
    m = study.metrics
    scaled = f"; {percent(m['ece_as_trained'], 1)} as trained" if study.calibration["scaling_used"] else ""
    return [
        {"term": "accuracy", "value": percent(m["accuracy"]), "about": f"{study.accuracy_ends}, n = {m['images']:,}"},
        {"term": "balanced", "value": percent(m["balanced_accuracy"]), "about": chance_level.ends(m)},
        {"term": "ece", "value": percent(m["ece"], 1), "about": calibration.which(study.calibration) + scaled},
        {"term": "trustworthy"} | _trusted(study.ranking),
    ]


def picture(study: Study, cases: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The image that is shown first: a mistake of the classes that are confused most, or else another mistake, or else
    any image; with its maps by the explainer of the second answer. None where no map may be shown.

    Args:
        cases: the images of the page, see `cases.cases`.

    Returns:
        The `case`, and of its maps the `title` of their explainer and `maps`, each with its `class` and `map`.
    """
    name, confused = study.first_explainer, _most_confused(study)

    def place(case: dict[str, Any]) -> tuple[bool, bool]:
        taken = (case["truth"], case["guess"])
        return case["truth"] == case["guess"], confused is None or taken != confused[:2]

    for case in sorted(cases, key=place):
        maps = [
            {"class": row["class"], "map": shown["map"]}
            for row in case["explained"]
            for shown in row["maps"]
            if shown["name"] == name and shown["map"]
        ]
        if maps:
            return {"case": case, "title": TITLES[name], "maps": maps}
    return None


def _how_good(study: Study) -> dict[str, str]:
    m = study.metrics
    rest = f"({study.accuracy_ends}). Always answering {m['majority_class']} recognises {percent(m['majority_share'])}."
    return {"first": f"It recognises {percent(m['accuracy'])} of {m['images']:,} test images", "rest": rest}


def _trusted(ranking: dict[str, Any] | None) -> dict[str, str]:
    """The tile of the most trustworthy explainer."""
    if ranking is None:
        return {"value": NOT_TESTED, "about": "explainers were not scored"}
    if not verdicts.is_decidable(ranking):
        return {"value": NOT_TESTED, "about": "too few images"}
    names, n = _candidates(ranking)
    if len(names) == 1:
        return {"value": names[0], "about": f"better than every control by {verdicts.measures_beaten(ranking)}, {n}"}
    why = f"between {listed(names)}" if names else "none is better than every control"
    return {"value": UNDECIDED, "about": f"{why}, {n}"}


def _which_map(study: Study) -> dict[str, str]:
    ranking = study.ranking
    if ranking is None:
        return {"first": f"{NOT_TESTED}.", "rest": study.gate["refusal"]}
    if not verdicts.is_decidable(ranking):
        return {"first": f"{NOT_TESTED}.", "rest": verdicts.best(ranking).removeprefix("Not tested: ").capitalize()}
    names, n = _candidates(ranking)
    if not names:
        return {
            "first": f"{UNDECIDED}: none of {len(verdicts.tally(ranking))} explainers",
            "rest": "is shown to be better than every control by any of "
            f"{len(verdicts.measures(ranking))} measures ({n}).",
        }
    why = verdicts.why_best(ranking)
    if len(names) > 1:
        return {"first": f"{UNDECIDED} between {listed(names)}:", "rest": f"{why} ({n})."}
    (name,) = verdicts.candidates(ranking)
    controls, others = verdicts.counts(ranking)[name], verdicts.against_others(ranking, name)
    rest = f"{why}. Comparisons with controls: {verdicts.numbers(controls)}"
    if sum(others.values()):
        rest += f"; with the other explainers: {verdicts.numbers(others)}"
    return {"first": names[0], "rest": f"{rest} ({n})."}


def _candidates(ranking: dict[str, Any]) -> tuple[list[str], str]:
    """Titles of the explainers of `verdicts.candidates`, and the numbers of images."""
    names = [TITLES[name] for name in verdicts.candidates(ranking)]
    return names, f"n = {verdicts.sizes(verdicts.with_controls(ranking))}"


def _what_fails(study: Study) -> dict[str, str]:
    confused = _most_confused(study)
    if confused is None:
        return {"first": "No test image is misclassified", "rest": f"of {study.metrics['images']:,}."}
    truth, guess, taken, of_class, is_tied = confused
    mistakes = study.metrics["mistakes"]
    how_often = f"the most frequent of {counted(mistakes, 'mistake')}"
    if is_tied:
        how_often = f"as often as other kinds of mistakes ({mistakes:,} in all)"
    rest = f"in {taken} of {counted(of_class)}, {how_often}. {_why(study)}"
    return {"first": f"{truth} is taken for {guess}", "rest": rest}


def _why(study: Study) -> str:
    """Whether hiding what maps blame for mistakes corrects more of them than hiding random regions."""
    check = hypotheses.check(study)[2]["checks"][0]
    if check["value"] is None:
        return "Why was not tested."
    name = TITLES[study.analyst]
    ends = "" if check["low"] is None else f" [{percent(check['low'], 0)}, {percent(check['high'], 0)}]"
    more = f"{percent(check['value'], 0)}{ends}".replace("-", MINUS)
    numbers = (
        f"without the regions that {name} blames, {more} more of {check['images']} mistakes turn right than without "
        "random regions"
    )
    found = {
        hypotheses.SUPPORTED: "Maps find what misleads it",
        hypotheses.REFUTED: "Maps do not find what misleads it",
    }
    return f"{found.get(check['verdict'], 'Whether maps find what misleads it is undecided')}: {numbers}."


def _most_confused(study: Study) -> tuple[str, str, int, int, bool] | None:
    """The most frequent mistake: true class, predicted class, how many images, how many the true class has, and whether
    another kind is as frequent, of which the first in predictions.csv is taken. None where there are no mistakes."""
    table, wrong = study.predictions, study.misclassified
    if wrong.empty:
        return None
    counts = wrong.groupby(["true_class", "predicted_class"], sort=False).size()
    truth, guess = counts.idxmax()
    is_tied = bool((counts == counts.max()).sum() > 1)
    return truth, guess, int(counts.max()), int((table["true_class"] == truth).sum()), is_tied
