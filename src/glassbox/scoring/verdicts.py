"""A ranking in words: what the tests decided, what they left open, and how many images it would take. Imports next to
nothing: the report needs no torch."""

from typing import Any

from glassbox.core.text import counted, listed
from glassbox.explainers import captions
from glassbox.explainers.catalog import CONTROLS, TITLES, UNTRAINED, control_of
from glassbox.statistics.outcomes import BETTER, OUTCOMES, UNDECIDED, WORSE
from glassbox.xai_metrics import image_background
from glassbox.xai_metrics.catalog import MEASUREMENTS

MIXED = "mixed"  # outcome of eMPRT that depends on the bins
EMPRT_IS = "eMPRT (do maps become more complex when the network loses its learnt weights?)"
EMPRT_WORDS = {BETTER: "passes", WORSE: "fails", UNDECIDED: "undecided", MIXED: "depends on the bins"}


def sentences(ranking: dict[str, Any], relu: bool = True) -> list[str]:
    """All that the ranking says of explainers.

    Args:
        ranking: of `scorecard.rank`.
        relu: whether Grad-CAM keeps only what is positive.
    """
    tested = {metric: row for metric, row in ranking["metrics"].items() if row["controls"]}
    said = [against_controls(metric, row, ranking["fewest"]) for metric, row in tested.items()]
    said += captions.constant_maps(ranking["constant_maps"], relu)
    if ranking["emprt"]:
        said.append(emprt(ranking["emprt"]))
    shares = ranking.get("baselines", {})
    said += [one for metric, row in ranking["metrics"].items() for one in settings(metric, row, shares)]
    return said


def overview(ranking: dict[str, Any]) -> str:
    """How many comparisons with controls are decided, and which explainers come out best, in two sentences."""
    tests = [test for row in ranking["metrics"].values() for test in row["controls"]]
    if not tests:
        return best(ranking)
    parts = ", ".join(f"{n} {what}" for what, n in ranking["outcomes"].items())
    return f"{len(tests)} comparisons of an explainer with a control on {images(tests)}: {parts}. {best(ranking)}"


def best(ranking: dict[str, Any]) -> str:
    """Which explainers are better than every control by most measures, in a sentence; what was not tested, or is
    undecided, is said to be that."""
    tested = [row for row in ranking["metrics"].values() if row["controls"]]
    if not any(row["decidable"] for row in tested):
        n = max((row["n"] for row in tested), default=0)
        too_few = f"{counted(n)} {'is' if n == 1 else 'are'} too few"
        return f"Not tested: {too_few} for any comparison, {ranking['fewest']} at least."
    wins = wins_of(ranking)
    most = max(wins.values())
    if most == 0:
        return "No explainer is shown to be better than every control by any measure."
    names = [TITLES[name] for name, n in wins.items() if n == most]
    verb = "is" if len(names) == 1 else "are"
    return f"{listed(names)} {verb} better than every control by {most} of {len(tested)} measures."


def tally(ranking: dict[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """By explainer and measure how many of its comparisons with controls have each outcome."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for metric, row in ranking["metrics"].items():
        for test in row["controls"]:
            of_metric = found.setdefault(test["explainer"], {}).setdefault(metric, dict.fromkeys(OUTCOMES, 0))
            of_metric[test["outcome"]] += 1
    return found


def wins_of(ranking: dict[str, Any]) -> dict[str, int]:
    """By how many measures an explainer is better than every control that it was compared with."""
    return {
        name: sum(of_metric[BETTER] == sum(of_metric.values()) for of_metric in by_metric.values())
        for name, by_metric in tally(ranking).items()
    }


def counts(ranking: dict[str, Any]) -> dict[str, dict[str, int]]:
    """By explainer how many of its comparisons with controls, by all measures, have each outcome."""
    return {
        name: {what: sum(of_metric[what] for of_metric in by_metric.values()) for what in OUTCOMES}
        for name, by_metric in tally(ranking).items()
    }


def by_outcome(tests: list[dict[str, Any]], untrained: str) -> dict[str, list[str]]:
    """Titles of the controls that an explainer was tested against, by outcome.

    Args:
        tests: of the explainer by a metric, rows of `controls` in the ranking.
        untrained: what its own maps of an untrained network are called.
    """
    titles = CONTROLS | {UNTRAINED: untrained}
    return {
        what: [titles[control_of(test["control"])] for test in tests if test["outcome"] == what] for what in OUTCOMES
    }


def against(controls: dict[str, list[str]]) -> str:
    """The controls of `by_outcome` in words."""
    words = {BETTER: "better than", WORSE: "worse than", UNDECIDED: "undecided against"}
    return ", ".join(f"{word} {listed(controls[what])}" for what, word in words.items() if controls[what])


def against_controls(metric: str, row: dict[str, Any], fewest: int) -> str:
    """What each explainer is against the controls by a metric, and the power of these tests."""
    if not row["decidable"]:
        return f"{_title(metric)}: {row['n']} images are too few to compare, {fewest} at least."
    groups: dict[str, list[str]] = {}  # explainers of which the same is said
    for name in dict.fromkeys(test["explainer"] for test in row["controls"]):
        tests = [test for test in row["controls"] if test["explainer"] == name]
        groups.setdefault(_standing(tests), []).append(TITLES[name])
    parts = [f"{listed(names)} {'are' if len(names) > 1 else 'is'} {what}" for what, names in groups.items()]
    return f"{_title(metric)}: {'; '.join(parts)}. {power(row)}"


def power(row: dict[str, Any]) -> str:
    """What the images at hand can tell by a metric, and how many would tell more."""
    about = row["power"]
    if about["detectable"] is None:
        return ""
    said = f"({images(row['controls'])} find a typical difference of {about['detectable']:.2g} four times in five"
    if about["undecided"]:
        needed = "more than 1,000" if about["needed"] is None else f"about {about['needed']:,}"
        said += f"; half of the {about['undecided']} undecided would take {needed}"
    return said + ".)"


def emprt(found: dict[str, dict[str, Any]]) -> str:
    """Which explainers notice that the weights are lost."""
    groups: dict[str, list[str]] = {}
    for name, about in found.items():
        groups.setdefault(about["outcome"], []).append(TITLES[name])
    n = max(row["n"] for about in found.values() for row in about["settings"].values())
    words = {
        BETTER: ("passes", "pass"),
        WORSE: ("fails: its maps become simpler", "fail: their maps become simpler"),
        UNDECIDED: ("is undecided", "are undecided"),
        MIXED: ("depends on the bins of the histogram", "depend on the bins of the histogram"),
    }
    parts = [f"{listed(groups[what])} {words[what][len(groups[what]) > 1]}" for what in words if what in groups]
    return f"{EMPRT_IS}, {n} images: {'; '.join(parts)}."


def settings(metric: str, row: dict[str, Any], shares: dict[str, float]) -> list[str]:
    """Where the order of two explainers turns round with another setting of the metric, both by a test.

    Args:
        metric: name.
        row: of the ranking.
        shares: of pixels that baselines leave as they are, see `baselines`.
    """
    said = []
    for setting in dict.fromkeys(one["unless"] for one in row["reversed"]):
        pairs = [one for one in row["reversed"] if one["unless"] == setting]
        turned = listed([f"{TITLES[one['better']]} over {TITLES[one['other']]}" for one in pairs])
        said.append(
            f"{_title(metric)}: the order depends on the setting: {turned} with {row['setting']}, the reverse with "
            f"{setting}.{image_background.cause(metric, (row['setting'], setting), shares)}"
        )
    return said


def _standing(tests: list[dict[str, Any]]) -> str:
    """What an explainer is against the controls, from its tests with them."""
    controls = by_outcome(tests, untrained="its own map of an untrained network")
    for what, words in ((BETTER, "better than"), (UNDECIDED, "undecided against")):
        if len(controls[what]) == len(tests):
            return f"{words} every control"
    return against(controls)


def sizes(tests: list[dict[str, Any]]) -> str:
    """The numbers of images of tests, "60" or "45 to 60": fewer where an explainer's maps are constant."""
    fewest, most = min(test["n"] for test in tests), max(test["n"] for test in tests)
    return f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"


def images(tests: list[dict[str, Any]]) -> str:
    """The same with its noun."""
    return "1 image" if sizes(tests) == "1" else f"{sizes(tests)} images"


def _title(metric: str) -> str:
    title = MEASUREMENTS[metric]
    return title[0].upper() + title[1:]
