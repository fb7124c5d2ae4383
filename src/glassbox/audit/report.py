"""The findings of an audit: a table and sentences, for people who did not see the maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from glassbox.audit import search
from glassbox.audit.candidates import Candidate, Region
from glassbox.core.text import MINUS, counted


@dataclass(frozen=True)
class Audit:
    """What classes lean on.

    Attributes:
        candidates: all that were tested, the strongest confirmed one first, without parts of others.
        table: a row for each, in their order: `class`, `candidate` in words, `source`, `carriers` (share of the class's
            images whose relevance lies there), and the columns of `search.test`.
        images: (of the search, of the tests).
        maps: by explainer, (N, H, W), of the images of the search.
        labels: (N,) their classes.
    """

    candidates: Sequence[Candidate]
    table: pd.DataFrame
    images: tuple[int, int]
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def confirmed(self) -> pd.DataFrame:
        """The rows of what is shown to be leant on."""
        return self.table[self.table["confirmed"].astype(bool)]

    def sentences(self) -> list[str]:
        """What was found, one sentence for each confirmed candidate; and how many images and candidates there were."""
        searched, tested = self.images
        tried = (
            f"{counted(len(self.table), 'candidate')} from the maps of {searched:,} images, tested on {tested:,} others"
        )
        if self.confirmed.empty:
            return [f"No class is shown to lean on a fixed region or property: {tried}."]
        known = zip(self.table.to_dict("records"), self.candidates, strict=True)
        found = [_sentence(row, candidate) for row, candidate in known if row["confirmed"]]
        return [*found, f"Confirmed: {len(found)} of {tried}. Whether a class should lean on it is yours to judge."]


def audit_of(
    candidates: Sequence[Candidate], table: pd.DataFrame, classes: Sequence[str], images: tuple[int, int]
) -> Audit:
    """The findings in their order, from the candidates, the table of `search.test` and the names of the classes."""
    order = search.ranked(candidates, table)
    kept = [candidates[place] for place in order]
    about = pd.DataFrame(
        {
            "class": [classes[one.label] for one in kept],
            "candidate": [one.words for one in kept],
            "source": [one.source for one in kept],
            "carriers": [one.carriers if isinstance(one, Region) else np.nan for one in kept],
        }
    )
    return Audit(kept, pd.concat([about, table.iloc[order].reset_index(drop=True)], axis=1), images)


def _sentence(row: dict[str, Any], candidate: Candidate) -> str:
    carried, control = "", "as large a change the other way"
    if isinstance(candidate, Region):
        share = f"{100 * candidate.carriers:.0f} %"
        carried = f", which has more relevance in {share} of its images than in nearly all others"
        control = "other regions of that size"
    falls = _effect(row, "removed", "the probability falls by {}", "whether the probability falls")
    lost = _effect(row, "lost", "{} more of the recognised ones are lost", "whether more of the recognised are lost")
    rises = _effect(row, "put", "the probability rises by {}", "whether the probability rises")
    taken = _effect(row, "taken", "{} more are taken for the class", "whether more are taken for the class")
    return (
        f"{row['class']} leans on {row['candidate']}{carried}. Its images with that of other classes, compared with "
        f"{control}: {falls}, {lost} ({row['n']} images). Images of other classes that are given it: {rises}, {taken} "
        f"({row['n_others']} images)."
    )


def _effect(row: dict[str, Any], name: str, claim: str, question: str) -> str:
    """An effect beyond the control with its interval, if there is one; or that it is undecided, where the interval
    does not lie above 0."""
    factor, digits, unit = (100, 0, " %") if name in ("lost", "taken") else (1, 2, "")
    value, low, high = (factor * row[column] for column in (name, f"{name}_low", f"{name}_high"))
    text = f"{value:.{digits}f}{unit}" + (f" [{low:.{digits}f}, {high:.{digits}f}]" if low == low else "")
    text = text.replace("-", MINUS)
    return f"{question} is undecided ({text})" if low <= 0 else claim.format(text)
