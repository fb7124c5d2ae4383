"""The outcome of a repair: comparisons, another audit, maps before and after, and a sentence for each way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from glassbox.audit import running as auditing
from glassbox.audit import search
from glassbox.audit.candidates import Candidate, Region
from glassbox.audit.report import Audit
from glassbox.config.audit import Audit as AuditSettings
from glassbox.core import files
from glassbox.core.seeds import derive
from glassbox.explainers import factory
from glassbox.explainers.base import Request
from glassbox.explainers.running import Bookkeeping, attribute
from glassbox.models import Classifier
from glassbox.provenance.resume import Keep, unkept
from glassbox.repair import proof
from glassbox.repair.proof import CLEAN, FIXED, MOVED, ORIGINAL, Answers
from glassbox.repair.running import Repair

SHOWN = 3  # images of the class, and of others, whose maps are shown


@dataclass(frozen=True)
class Maps:
    """Maps of some test images for a candidate's class: of the original network and of those of each way."""

    images: np.ndarray  # (N, H, W, 3) uint8: of the class with the candidate, then of others on which it was put
    mask: np.ndarray | None  # (H, W) bool; None of a property
    explainer: str
    networks: Mapping[str, np.ndarray]  # (N, H, W)


@dataclass(frozen=True)
class Outcome:
    """What was repaired, and how well.

    Attributes:
        findings: the candidates in words.
        pairs, table: of `proof.pairs` and `proof.compared`.
        verdicts: of `proof.verdict`, one a way.
        audits: of the first repaired network of each way; none without a section `audit` that searches.
        maps: of the first candidate.
        planted: accuracy of each network with the planted mark on the wrong classes, where the truth is known.
    """

    findings: Sequence[str]
    pairs: pd.DataFrame
    table: pd.DataFrame
    verdicts: Sequence[dict[str, Any]]
    audits: Mapping[str, Audit]
    maps: Maps
    planted: Mapping[str, float] = field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        """One for each way."""
        return [verdict["sentence"] for verdict in self.verdicts]

    def headline(self) -> dict[str, float]:
        """Numbers for MLflow: accuracy with the candidates on the wrong classes, and whether the outcome is "fixed"."""
        first = self.table[(self.table["measure"] == MOVED) & (self.table["against"] == ORIGINAL)].set_index("way")
        numbers = {"repair_original_accuracy_moved": float(first["value_against"].iloc[0])}
        for verdict in self.verdicts:
            way = verdict["way"]
            numbers[f"repair_{way}_accuracy_moved"] = float(first.loc[way, "value"])
            numbers[f"repair_{way}_fixed"] = float(verdict["outcome"] == FIXED)
        return numbers


def of(
    repair: Repair,
    answers: Answers,
    repaired: Mapping[str, Classifier],
    settings: AuditSettings,
    classes: Sequence[str],
    control: Classifier | None = None,
    keep: Keep = unkept,
) -> Outcome:
    """Compare, audit the first repaired network of each way once more, and explain some images before and after.

    Args:
        repair, answers, repaired: the repair, and what its `run` returned.
        settings: the section `audit`; with no images there is no other audit.
        classes: names of the network's outputs.
        control: the network that learnt from the same images without the planted mark; None where there is none.
        keep: stores maps.
    """
    validation, setup = repair.splits["validation"], repair.setup
    pairs = proof.pairs(answers, repair.settings.ways)
    table, verdicts, audits = proof.compared(pairs, len(answers.labels)), [], {}
    for way, network in repaired.items():
        tests = search.test(
            network,
            repair.candidates,
            validation.images.numpy(),
            validation.labels.numpy(),
            batch_size=setup.batch_size,
            seed=setup.seed,
        )
        found = bool(tests["confirmed"].any())
        if settings.images:
            other, books = replace(setup, classifier=network), Bookkeeping(keep=keep)
            audit = auditing.audit_of_splits(other, settings, repair.splits["train"], validation, classes, books)
            found |= is_found(audit, repair.candidates)
            audits[way] = audit
        verdicts.append(proof.verdict(table, way, found))
    return Outcome(
        findings=[f"{classes[one.label]}: {one.words}" for one in repair.candidates],
        pairs=pairs,
        table=table,
        verdicts=verdicts,
        audits=audits,
        maps=_maps(repair, repaired, settings, keep),
        planted=_planted(repair, answers, control),
    )


def is_found(audit: Audit, candidates: Sequence[Candidate]) -> bool:
    """Whether an audit confirms one of some candidates, or a region of its class that touches it."""
    confirmed = [one for one, sure in zip(audit.candidates, audit.table["confirmed"], strict=True) if sure]
    return any(
        one.label == other.label
        and isinstance(one, Region) == isinstance(other, Region)
        and ((one.mask & other.mask).any() if isinstance(one, Region) else one.name == other.name)
        for one in confirmed
        for other in candidates
    )


def _planted(repair: Repair, answers: Answers, control: Classifier | None) -> dict[str, float]:
    """See `Outcome.planted`; of further trainings the mean over the repeats."""
    if proof.PLANTED not in answers.original:
        return {}
    of_arms = {
        arm: float(np.mean([answers.accuracy(arm, repeat, proof.PLANTED) for repeat in range(len(runs))]))
        for arm, runs in answers.trained.items()
    }
    found = {ORIGINAL: answers.accuracy(ORIGINAL, 0, proof.PLANTED)} | of_arms
    if control is not None:
        found["trained without the mark"] = float((repair.answers(control)[proof.PLANTED] == answers.labels).mean())
    return found


def _maps(repair: Repair, repaired: Mapping[str, Classifier], settings: AuditSettings, keep: Keep) -> Maps:
    """Maps of the first candidate by the first explainer of the section `audit`."""
    one, setup, test = repair.candidates[0], repair.setup, repair.splits["test"]
    own, others = search.carriers(one, test.images.numpy(), test.labels.numpy())
    shown = torch.cat([repair.versions[CLEAN][own[:SHOWN]], repair.versions[MOVED][others[:SHOWN]]])
    seeds = tuple(derive(setup.seed, "repair", "map", number) for number in range(len(shown)))
    request = Request(shown, torch.full((len(shown),), one.label), seeds)
    name = settings.explainers[0]
    chosen = setup.settings.model_copy(update={"explainers": (name,)})
    networks = {}
    for way, network in {ORIGINAL: setup.classifier, **repaired}.items():
        (explainer,) = factory.make(replace(setup, classifier=network, settings=chosen)).values()
        networks[way] = attribute(explainer, network, request, Bookkeeping(keep=keep), name=f"{way} maps").maps
    mask = one.mask if isinstance(one, Region) else None
    return Maps(shown.numpy(), mask, name, networks)


def write(folder: str | Path, result: Outcome) -> None:
    """Write a summary, the tables of pairs and comparisons, and the findings of each further audit."""
    folder = Path(folder)
    files.write_csv(folder / "pairs.csv", result.pairs)
    files.write_csv(folder / "comparison.csv", result.table)
    for way, audit in result.audits.items():
        files.write_csv(folder / f"audit_{way}.csv", audit.table)
    summary = {
        "repaired": True,
        "findings": result.findings,
        "verdicts": result.verdicts,
        "planted": result.planted,
        "headline": result.headline(),
        "audits": {way: audit.sentences() for way, audit in result.audits.items()},
    }
    files.write_json(folder / "repair.json", summary)
