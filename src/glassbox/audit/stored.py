"""An audit as files: a table for people, and its candidates for the repair."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from glassbox.audit.candidates import PROPERTIES, Candidate, Property, Region
from glassbox.audit.report import Audit
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.core.text import counted, listed

SUMMARY, FINDINGS, CANDIDATES = "audit.json", "findings.csv", "candidates.npz"


def write(folder: str | Path, audit: Audit) -> None:
    """Write a summary, a table with a row for each candidate by its number, and the candidates' pixels."""
    folder = Path(folder)
    numbers = pd.Series(range(1, len(audit.table) + 1), name="finding")
    names = pd.Series([one.name if isinstance(one, Property) else "" for one in audit.candidates], name="property")
    files.write_csv(folder / FINDINGS, pd.concat([numbers, audit.table, names], axis=1))
    files.write_npz(folder / CANDIDATES, _arrays(audit.candidates))
    files.write_json(folder / SUMMARY, summary(audit))


def summary(audit: Audit) -> dict[str, Any]:
    """What was searched, how much was found, and the sentences."""
    searched, tested = audit.images
    return {
        "searched": True,
        "images": searched,
        "tested_on": tested,
        "candidates": len(audit.table),
        "confirmed": len(audit.confirmed),
        "sentences": audit.sentences(),
    }


def _arrays(candidates: Sequence[Candidate]) -> dict[str, np.ndarray]:
    """Candidates in arrays: the numbers of classes (C,), masks (C, H, W) and, of regions, templates (C, H, W, 3), NaN
    where there is none, and thresholds (C,)."""
    regions = [one for one in candidates if isinstance(one, Region)]
    shape = regions[0].mask.shape if regions else (0, 0)
    arrays = {
        "label": np.array([one.label for one in candidates], np.int64),
        "mask": np.zeros((len(candidates), *shape), bool),
        "template": np.full((len(candidates), *shape, 3), np.nan),
        "threshold": np.full(len(candidates), -np.inf),
    }
    for place, one in enumerate(candidates):
        if isinstance(one, Region):
            arrays["mask"][place], arrays["threshold"][place] = one.mask, one.threshold
            if one.template is not None:
                arrays["template"][place] = one.template
    return arrays


def read(folder: str | Path) -> list[Candidate]:
    """The candidates of an audit in their order.

    Raises:
        UserError: a file is missing or damaged.
    """
    table, arrays = files.read_csv(Path(folder) / FINDINGS), files.mapped_npz(Path(folder) / CANDIDATES)
    found: list[Candidate] = []
    for place, row in enumerate(table.to_dict("records")):
        label, name = int(arrays["label"][place]), row["property"]
        if isinstance(name, str) and name:
            found.append(Property(label, row["source"], name))
            continue
        mask, template = (np.asarray(arrays[what][place]) for what in ("mask", "template"))
        known = None if np.isnan(template).any() else template
        found.append(Region(label, row["source"], mask, row["carriers"], known, float(arrays["threshold"][place])))
    return found


def accepted(
    findings: Sequence[int | str], folder: str | Path, classes: Sequence[str], side: int, margin: int = 0
) -> list[Candidate]:
    """The candidates that `repair.findings` names: numbers of an audit's table, regions CLASS:LEFT,TOP,WIDTH,HEIGHT in
    pixels, or properties CLASS:PROPERTY. Regions of the audit are widened by `margin` pixels.

    Raises:
        UserError: there is no such finding, class or property.
    """
    numbered = read(folder) if any(isinstance(finding, int) for finding in findings) else []
    chosen: list[Candidate] = []
    for finding in findings:
        if isinstance(finding, int):
            if finding > len(numbered):
                raise UserError(
                    f"repair.findings has {finding}, but {Path(folder) / FINDINGS} has "
                    f"{counted(len(numbered), 'finding')}"
                )
            one = numbered[finding - 1]
            chosen.append(one.widened(margin) if isinstance(one, Region) else one)
            continue
        name, _, what = finding.rpartition(":")
        if name not in classes:
            raise UserError(f"repair.findings has {finding!r}: {name!r} must be one of the classes {listed(classes)}")
        chosen.append(_own(classes.index(name), what, finding, side))
    return chosen


def _own(label: int, what: str, finding: str, side: int) -> Candidate:
    """A candidate that a person describes."""
    if what in PROPERTIES:
        return Property(label, "params.yaml", what)
    try:
        left, top, width, height = (int(number) for number in what.split(","))
    except ValueError:
        raise UserError(
            f"repair.findings has {finding!r}: after the class it must have LEFT,TOP,WIDTH,HEIGHT in pixels, or one of "
            f"{', '.join(PROPERTIES)}"
        ) from None
    mask = np.zeros((side, side), bool)
    mask[top : top + height, left : left + width] = True
    return Region(label, "params.yaml", mask)
