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
        {"term": "accuracy", "value": percent(m["accuracy"]), "about": f"{_ends(study)}, n = {m['images']:,}"},
        {"term": "balanced", "value": percent(m["balanced_accuracy"]), "about": chance_level.ends(m)},
        {"term": "ece", "value": percent(m["ece"], 1), "about": calibration.which(study.calibration) + scaled},
        {"term": "explainer", "label": "most trustworthy explainer"} | _trusted(study.ranking),
    ]


def picture(study: Study, cases: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The image that is shown first: a mistake of the classes that are confused most, or else another mistake, or else
    any image; with its maps by the explainer of the second answer. None where no map may be shown.

    Args:
        cases: the images of the page, see `page.cases`.

    Returns:
        The `case`, and of its maps the `title` of their explainer and `maps`, each with its `class` and `map`.
    """
    leading, _ = verdicts.leaders(study.ranking) if study.ranking else ([], 0)
    name = leading[0] if len(leading) == 1 else study.analyst
    confused = _most_confused(study)

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


def _ends(study: Study) -> str:
    """The interval of the accuracy, with its level."""
    low, high = (percent(study.metrics[f"accuracy_{end}"]) for end in ("low", "high"))
    return f"{100 * study.params.evaluate.confidence:g} % interval {low} to {high}"


def _how_good(study: Study) -> dict[str, str]:
    m = study.metrics
    rest = f"({_ends(study)}). Always answering {m['majority_class']} recognises {percent(m['majority_share'])}."
    return {"first": f"It recognises {percent(m['accuracy'])} of {m['images']:,} test images", "rest": rest}


def _trusted(ranking: dict[str, Any] | None) -> dict[str, str]:
    """The tile of the most trustworthy explainer."""
    if ranking is None:
        return {"value": NOT_TESTED, "about": "explainers were not scored"}
    tests = _against_controls(ranking)
    if not any(row["decidable"] for row in ranking["metrics"].values() if row["controls"]):
        return {"value": NOT_TESTED, "about": "too few images"}
    names, most = verdicts.leaders(ranking)
    tested = sum(1 for row in ranking["metrics"].values() if row["controls"])
    n = f"n = {verdicts.sizes(tests)}"
    if len(names) == 1:
        return {"value": TITLES[names[0]], "about": f"better than every control by {most} of {tested} measures, {n}"}
    why = f"between {listed([TITLES[name] for name in names])}" if names else "none is better than every control"
    return {"value": UNDECIDED, "about": f"{why}, {n}"}


def _which_map(study: Study) -> dict[str, str]:
    ranking = study.ranking
    if ranking is None:
        return {"first": f"{NOT_TESTED}.", "rest": study.gate["refusal"]}
    tested = [row for row in ranking["metrics"].values() if row["controls"]]
    if not any(row["decidable"] for row in tested):
        return {"first": f"{NOT_TESTED}.", "rest": verdicts.best(ranking).removeprefix("Not tested: ").capitalize()}
    names, most = verdicts.leaders(ranking)
    n = f"n = {verdicts.sizes(_against_controls(ranking))}"
    if not names:
        return {
            "first": f"{UNDECIDED}: none of {len(verdicts.tally(ranking))} explainers",
            "rest": f"is shown to be better than every control by any of {len(tested)} measures ({n}).",
        }
    by = f"better than every control by {most} of {len(tested)} measures"
    if len(names) > 1:
        first = f"{UNDECIDED} between {listed([TITLES[name] for name in names])}."
        return {"first": first, "rest": f"Each is {by} ({n})."}
    controls, others = verdicts.counts(ranking)[names[0]], verdicts.against_others(ranking, names[0])
    rest = f"is {by}, no other explainer by as many. Comparisons with controls: {_numbers(controls)}"
    if sum(others.values()):
        rest += f"; with the other explainers: {_numbers(others)}"
    return {"first": TITLES[names[0]], "rest": f"{rest} ({n})."}


def _numbers(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in outcomes.items())


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
    ends = ends.replace("-", MINUS)
    numbers = (
        f"without the regions that {name} blames, {percent(check['value'], 0)}{ends} more of {check['images']} "
        "mistakes turn right than without random regions"
    )
    found = {
        hypotheses.SUPPORTED: "Maps find what misleads it",
        hypotheses.REFUTED: "Maps do not find what misleads it",
    }
    return f"{found.get(check['verdict'], 'Whether maps find what misleads it is undecided')}: {numbers}."


def _most_confused(study: Study) -> tuple[str, str, int, int, bool] | None:
    """The most frequent mistake: true class, predicted class, how many images, how many the true class has, and whether
    another kind is as frequent, of which the first in predictions.csv is taken. None where there are no mistakes."""
    table = study.predictions
    wrong = table[table["true_class"] != table["predicted_class"]]
    if wrong.empty:
        return None
    counts = wrong.groupby(["true_class", "predicted_class"], sort=False).size()
    truth, guess = counts.idxmax()
    is_tied = bool((counts == counts.max()).sum() > 1)
    return truth, guess, int(counts.max()), int((table["true_class"] == truth).sum()), is_tied


def _against_controls(ranking: dict[str, Any]) -> list[dict[str, Any]]:
    return [test for row in ranking["metrics"].values() for test in row["controls"]]
