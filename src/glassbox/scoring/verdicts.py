"""A ranking in words: what the tests decided, what they left open, and how many images it would take. Imports next to
nothing: the report needs no torch."""

from collections.abc import Iterable
from typing import Any

from glassbox.core.text import counted, listed
from glassbox.explainers import captions
from glassbox.explainers.catalog import CONTROLS, TITLES, UNTRAINED, control_of
from glassbox.statistics.outcomes import BETTER, OUTCOMES, UNDECIDED, WORSE
from glassbox.xai_metrics import image_background
from glassbox.xai_metrics.catalog import MEASUREMENTS

TRUTH, PLAUSIBILITY = "truth", "plausibility"  # what masks are, see `mask_gate`
MIXED = "mixed"  # outcome of eMPRT that depends on the bins
BEATS, LOSES = "beats", "loses"  # every control
EMPRT_IS = "eMPRT (do maps become more complex when the network loses its learnt weights?)"
EMPRT_WORDS = {BETTER: "passes", WORSE: "fails", UNDECIDED: "undecided", MIXED: "depends on the bins"}


def plausible(gate: dict[str, Any]) -> bool:
    """Whether, by the content of gate.json, masks are not known to be the truth about the model: then what agrees with
    them is only plausible."""
    return "masks" in gate and gate["masks"]["outcome"] != TRUTH


def sentences(ranking: dict[str, Any], relu: bool = True) -> list[str]:
    """The ranking of `scorecard.rank` in sentences; `relu` is whether Grad-CAM keeps only what is positive."""
    metrics, shares = ranking["metrics"].items(), ranking.get("baselines", {})
    return [
        *(against_controls(metric, row, ranking["fewest"]) for metric, row in metrics if row["controls"]),
        *captions.constant_maps(ranking["constant_maps"], relu),
        *([emprt(ranking["emprt"])] if ranking["emprt"] else []),
        *(sentence for metric, row in metrics for sentence in settings(metric, row, shares)),
    ]


def overview(ranking: dict[str, Any]) -> str:
    """How many comparisons with controls are decided, and which explainers come out best, in two sentences. In one,
    where there are too few images for any comparison."""
    if not is_decidable(ranking):
        return best(ranking)
    tests, parts = with_controls(ranking), numbers(ranking["outcomes"])
    return f"{len(tests)} comparisons of an explainer with a control on {images(tests)}: {parts}. {best(ranking)}"


def numbers(outcomes: dict[str, int]) -> str:
    """Numbers of comparisons by outcome in words.

    >>> numbers({"better": 3, "worse": 0})
    '3 better, 0 worse'
    """
    return ", ".join(f"{n} {what}" for what, n in outcomes.items())


def measures(ranking: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of the measures by which explainers are compared with controls."""
    return {metric: row for metric, row in ranking["metrics"].items() if row["controls"]}


def with_controls(ranking: dict[str, Any]) -> list[dict[str, Any]]:
    """All comparisons with controls."""
    return [test for row in measures(ranking).values() for test in row["controls"]]


def is_decidable(ranking: dict[str, Any]) -> bool:
    """Whether the images are enough for some comparison with a control."""
    return any(row["decidable"] for row in measures(ranking).values())


def best(ranking: dict[str, Any]) -> str:
    """The most trustworthy explainer, or those between which that is undecided, in a sentence."""
    tested, names = measures(ranking), [TITLES[name] for name in candidates(ranking)]
    if not is_decidable(ranking):
        n = max((row["n"] for row in tested.values()), default=0)
        too_few = f"{counted(n)} {'is' if n == 1 else 'are'} too few"
        return f"Not tested: {too_few} for any comparison, {ranking['fewest']} at least."
    if not names:
        return "No explainer is shown to be better than every control by any measure."
    return f"{names[0] if len(names) == 1 else f'Undecided between {listed(names)}:'} {why_best(ranking)}."


def why_best(ranking: dict[str, Any]) -> str:
    """Why one explainer, or several, are the most trustworthy; the end of a sentence. There must be one."""
    found = candidates(ranking)
    by = f"better than every control by {measures_beaten(ranking)}"
    if len(found) > 1:
        return f"they are {by}; none with the most is better than all of the others"
    others = sum(n > 0 for n in wins_of(ranking).values()) - 1
    if not others:
        return f"is {by}, no other explainer by any"
    verb = "beats" if others == 1 else "beat"
    return f"is {by}, and better than {counted(others, 'other explainer')} that {verb} them by any"


def measures_beaten(ranking: dict[str, Any]) -> str:
    """By how many measures the most trustworthy explainers are better than every control, like "2 and 1 of 6
    measures"."""
    numbers = list(dict.fromkeys(map(str, candidates(ranking).values())))
    return f"{listed(numbers)} of {len(measures(ranking))} measures"


def candidates(ranking: dict[str, Any]) -> dict[str, int]:
    """The explainers of which each may be the most trustworthy, and by how many measures each is better than every
    control, most first. One alone is shown to be it: it is so by most measures, and better than each of the others that
    are so by any. Besides it, or those with as many, stand the explainers that none with the most is better than.
    """
    wins = {name: n for name, n in wins_of(ranking).items() if n}
    most = [name for name, n in wins.items() if n == max(wins.values())]

    def not_behind(names: Iterable[str], ahead: list[str]) -> list[str]:
        return [b for b in names if not any(is_better(ranking, a, b) for a in ahead if a != b)]

    first = not_behind(most, most) or most
    others = not_behind([name for name in wins if name not in first], first)
    return {name: wins[name] for name in sorted(first + others, key=lambda name: -wins[name])}


def is_better(ranking: dict[str, Any], a: str, b: str) -> bool:
    """Whether explainer `a` is better than `b` by more measures than worse, of those that have controls."""
    found = [outcome for other, outcome in with_others(ranking, a) if other == b]
    return found.count(BETTER) > found.count(WORSE)


def trusted(ranking: dict[str, Any]) -> str | None:
    """The most trustworthy explainer; None where that is undecided."""
    names = list(candidates(ranking))
    return names[0] if len(names) == 1 else None


def tally(ranking: dict[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """By explainer and measure how many of its comparisons with controls have each outcome."""
    explainers: dict[str, dict[str, dict[str, int]]] = {}
    for metric, row in ranking["metrics"].items():
        for test in row["controls"]:
            of_metric = explainers.setdefault(test["explainer"], {}).setdefault(metric, dict.fromkeys(OUTCOMES, 0))
            of_metric[test["outcome"]] += 1
    return explainers


def wins_of(ranking: dict[str, Any]) -> dict[str, int]:
    """By how many measures an explainer is better than every control that it was compared with."""
    return {
        name: sum(mark(of_metric) == BEATS for of_metric in by_metric.values())
        for name, by_metric in tally(ranking).items()
    }


def mean_ranks(ranking: dict[str, Any]) -> dict[str, float]:
    """Of each explainer the mean of its mean ranks, over the measures with controls by which all are ranked."""
    ranked = [row["mean_ranks"] for row in measures(ranking).values() if row["mean_ranks"]]
    names = dict.fromkeys(name for ranks in ranked for name in ranks)
    everywhere = [ranks for ranks in ranked if len(ranks) == len(names)]
    if not everywhere:
        return {}
    return {name: sum(ranks[name] for ranks in everywhere) / len(everywhere) for name in names}


def mark(counts: dict[str, int]) -> str:
    """What an explainer's comparisons with all controls by a measure have in common: `BEATS`, `LOSES` or nothing.
    `counts` are their numbers by outcome."""
    known = {what for what, n in counts.items() if n}
    return {BETTER: BEATS, WORSE: LOSES}.get(known.pop(), "") if len(known) == 1 else ""


def counts(ranking: dict[str, Any]) -> dict[str, dict[str, int]]:
    """By explainer how many of its comparisons with controls, by all measures, have each outcome."""
    return {
        name: {what: sum(of_metric[what] for of_metric in by_metric.values()) for what in OUTCOMES}
        for name, by_metric in tally(ranking).items()
    }


def against_others(ranking: dict[str, Any], name: str) -> dict[str, int]:
    """How many comparisons of an explainer with the other explainers, by the measures that have controls, have each
    outcome."""
    found = dict.fromkeys(OUTCOMES, 0)
    for _, outcome in with_others(ranking, name):
        found[outcome] += 1
    return found


def with_others(ranking: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """The other explainer and the outcome, seen from an explainer, of each of its comparisons with others by the
    measures that have controls."""
    turned = {BETTER: WORSE, WORSE: BETTER, UNDECIDED: UNDECIDED}
    found = []
    for row in measures(ranking).values():
        for pair in row["pairs"]:
            if pair["a"] == name:
                found.append((pair["b"], pair["outcome"]))
            elif pair["b"] == name:
                found.append((pair["a"], turned[pair["outcome"]]))
    return found


def by_outcome(tests: list[dict[str, Any]], untrained: str) -> dict[str, list[str]]:
    """Titles of the controls in an explainer's `tests`, by outcome; `untrained` is the title of its own maps of an
    untrained network."""
    titles = CONTROLS | {UNTRAINED: untrained}
    return {
        what: [titles[control_of(test["control"])] for test in tests if test["outcome"] == what] for what in OUTCOMES
    }


def against(controls: dict[str, list[str]]) -> str:
    """The controls of `by_outcome` in words."""
    words = {BETTER: "better than", WORSE: "worse than", UNDECIDED: "undecided against"}
    return ", ".join(f"{word} {listed(controls[what])}" for what, word in words.items() if controls[what])


def against_controls(metric: str, row: dict[str, Any], fewest: int) -> str:
    """Each explainer's outcomes against the controls by a metric, and the power of these tests."""
    if not row["decidable"]:
        return f"{_title(metric)}: {row['n']} images are too few to compare, {fewest} at least."
    groups: dict[str, list[str]] = {}  # explainers with the same outcomes
    for name in dict.fromkeys(test["explainer"] for test in row["controls"]):
        tests = [test for test in row["controls"] if test["explainer"] == name]
        groups.setdefault(_outcomes(tests), []).append(TITLES[name])
    parts = [f"{listed(names)} {'are' if len(names) > 1 else 'is'} {words}" for words, names in groups.items()]
    return f"{_title(metric)}: {'; '.join(parts)}. {power(row)}"


def power(row: dict[str, Any]) -> str:
    """The difference that these images detect by a metric, and how many images would detect more."""
    about = row["power"]
    if about["detectable"] is None:
        return ""
    more = ""
    if about["undecided"]:
        needed = "more than 1,000" if about["needed"] is None else f"about {about['needed']:,}"
        more = f"; half of the {about['undecided']} undecided would take {needed}"
    return (
        f"({images(row['controls'])} find a typical difference of {about['detectable']:.2g} four times in five{more}.)"
    )


def emprt(explainers: dict[str, dict[str, Any]]) -> str:
    """The outcomes of eMPRT; see `scorecard.rank`."""
    groups: dict[str, list[str]] = {}
    for name, about in explainers.items():
        groups.setdefault(about["outcome"], []).append(TITLES[name])
    n = max(row["n"] for about in explainers.values() for row in about["settings"].values())
    words = {
        BETTER: ("passes", "pass"),
        WORSE: ("fails: its maps become simpler", "fail: their maps become simpler"),
        UNDECIDED: ("is undecided", "are undecided"),
        MIXED: ("depends on the bins of the histogram", "depend on the bins of the histogram"),
    }
    parts = [f"{listed(groups[key])} {words[key][len(groups[key]) > 1]}" for key in words if key in groups]
    return f"{EMPRT_IS}, {n} images: {'; '.join(parts)}."


def settings(metric: str, row: dict[str, Any], shares: dict[str, float]) -> list[str]:
    """Explainers whose order is significantly reversed by another setting of the metric; `shares` are those of pixels
    that baselines leave as they are, see `image_background`."""
    sentences = []
    for setting in dict.fromkeys(pair["unless"] for pair in row["reversed"]):
        pairs = [pair for pair in row["reversed"] if pair["unless"] == setting]
        order = listed([f"{TITLES[pair['better']]} over {TITLES[pair['other']]}" for pair in pairs])
        sentences.append(
            f"{_title(metric)}: the order depends on the setting: {order} with {row['setting']}, the reverse with "
            f"{setting}.{image_background.cause(metric, (row['setting'], setting), shares)}"
        )
    return sentences


def _outcomes(tests: list[dict[str, Any]]) -> str:
    """An explainer's outcomes against the controls, in words."""
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
