"""docs/shortcuts.md: does an audit find shortcuts that were planted, and none where there is none?

    python -m docs.shortcuts measure KIND SEED ...   # KIND: one of `KINDS`; about a minute a seed on one core
    python -m docs.shortcuts repair KIND WAY,WAY SEED ...  # repair the first finding; some minutes a seed on one core
    python -m docs.shortcuts                         # write the page from what was measured

The network and its recipe are those of studies/watermark.yaml, with fewer images and epochs. The audit does not get the
watermark. It sees training images and validation images, and no test image.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
import torch
from safetensors.torch import load_file, save_file

import glassbox
from docs.runs import table
from glassbox.audit.candidates import Property, Region
from glassbox.audit.report import Audit
from glassbox.config import parameters
from glassbox.config.hyperparameters import together
from glassbox.config.train import Train
from glassbox.core import files
from glassbox.core.errors import UserError, run
from glassbox.core.seeds import derive
from glassbox.core.text import MINUS
from glassbox.data import store
from glassbox.data.base import NOISE, Images
from glassbox.data.sources.planted import MARKS, plant
from glassbox.data.store import Split
from glassbox.evaluation.classification import accuracy_interval
from glassbox.execution import compute
from glassbox.explainers.base import Setup
from glassbox.models import Classifier, predict
from glassbox.repair import outcome, proof, running
from glassbox.training import loop

HERE = Path(__file__).resolve().parent
MEASURED, PAGE = HERE / "shortcuts", HERE / "shortcuts.md"
NETWORKS = HERE.parent / "data/shortcuts"  # trained ones are kept there
PARAMS = HERE.parent / "studies/watermark.yaml"
IMAGES, EPOCHS, RATE = 5000, 12, 0.002  # in all; of training
SEARCHED = 100  # images of each class, in whose maps the audit searches
NEAR = 2  # pixels around a mark, within which half of a region must lie that is taken for it
TARGET = "I"
EXPLAINERS = ("integrated_gradients", "grad_cam")
FURTHER = 3  # epochs of a repair
ENOUGH = 5  # repaired networks, for a test
# What one class carries, in what share of its images.
KINDS = {
    "ring": ("ring", 1.0),
    "partial": ("ring", 0.6),
    "border": ("border", 1.0),
    "cast": ("cast", 1.0),
    "brightness": ("brightness", 1.0),
    "none": ("ring", 1.0),  # of the arm in which the ring is drawn independently of the class
}
TITLES = {
    "ring": "a ring in the lower left corner",
    "partial": "the ring, on 60 % of the class",
    "border": "a border",
    "cast": "a colour cast",
    "brightness": "30 of 255 brighter",
    "none": "none: the ring is on images of all classes",
}


def measure(kind: str, seeds: Sequence[int]) -> None:
    """Train and audit a network for each seed, and add a row each to the kind's table."""
    for seed in seeds:
        began = time.perf_counter()
        images, splits = made(kind, seed)
        classifier = trained(kind, images, splits, seed)
        minutes = (time.perf_counter() - began) / 60
        audit = audited(classifier, splits, seed)
        row = {"seed": seed} | about(kind, audit) | accuracies(classifier, splits)
        row |= {"training_minutes": minutes, "audit_minutes": (time.perf_counter() - began) / 60 - minutes}
        keep(kind, "seed", seed, pd.DataFrame([row]))
        print(kind, row, flush=True)


def repair(kind: str, chosen: Sequence[str], seeds: Sequence[int]) -> None:
    """Repair the first finding of each seed's network in the ways chosen, and add all pairs of networks to the kind's
    table."""
    for seed in seeds:
        images, splits = made(kind, seed)
        classifier = trained(kind, images, splits, seed)
        first, params = audited(classifier, splits, seed).candidates[0], parameters.read(PARAMS)
        asked = running.Repair(
            setup=Setup(
                classifier=classifier,
                settings=params.explain,
                background=splits["train"].images[:0],
                mean=(0.5, 0.5, 0.5),
                batch_size=128,
                seed=seed,
            ),
            candidates=[first.widened(params.repair.margin) if isinstance(first, Region) else first],
            splits=splits,
            recipe=together(params.model, recipe(params.train), params.augment),
            settings=params.repair.model_copy(update={"ways": tuple(chosen), "repeats": 1, "epochs": FURTHER}),
            place=compute.resolve(params.compute),
        )
        answers, repaired = asked.run()
        control = trained("none", images, made("none", seed)[1], seed)
        table = proof.pairs(answers, chosen).assign(repeat=seed)
        table["trained_without_the_mark"] = (asked.answers(control)[proof.PLANTED] == answers.labels).mean()
        for way, network in repaired.items():
            again = audited(network, splits, seed)
            table.loc[table["way"] == way, "still_found"] = outcome.is_found(again, asked.candidates)
        keep(f"repair-{kind}", "repeat", seed, table)
        print(kind, seed, table.to_string(), flush=True)


def keep(name: str, column: str, seed: int, rows: pd.DataFrame) -> None:
    """Add the rows of a seed to a table, in place of older ones."""
    path = MEASURED / f"{name}.csv"
    known = files.read_csv(path) if path.exists() else pd.DataFrame({column: []})
    path.parent.mkdir(exist_ok=True)
    both = pd.concat([known[known[column] != seed], rows]) if len(known) else rows
    files.write_csv(path, both.sort_values(column, kind="stable"))


def made(kind: str, seed: int) -> tuple[Images, dict[str, Split]]:
    """Images with the kind's shortcut, and their splits at random: 64, 16 and 20 %."""
    settings = parameters.read(PARAMS).data
    planted, (mark, share) = settings.planted, KINDS[kind]
    images = plant(
        n=IMAGES,
        size=settings.image_size,
        cell=planted.cell,
        variant=planted.variant,
        background=planted.background,
        seed=seed,
        watermark=TARGET,
        mark=mark,
        share=share,
    )
    pixels = images.arms[NOISE] if kind == "none" else images.pixels
    order = np.random.default_rng(derive(seed, "shortcuts")).permutation(IMAGES)
    ends = (0, int(0.64 * IMAGES), int(0.8 * IMAGES), IMAGES)
    splits = {}
    for name, start, stop in zip(("train", "validation", "test"), ends, ends[1:], strict=False):
        rows = np.sort(order[start:stop])
        changed = {key: torch.from_numpy(images.changed[key][rows]) for key in ("unmarked", "marked")}
        shown, labels = torch.from_numpy(pixels[rows]), torch.from_numpy(images.labels[rows])
        arms = {NOISE: torch.from_numpy(images.arms[NOISE][rows])}
        splits[name] = Split(shown, labels, None, torch.from_numpy(rows), None, changed=changed, arms=arms)
    return images, splits


def trained(kind: str, images: Images, splits: dict[str, Split], seed: int) -> Classifier:
    """A network of the study, trained with its recipe, or kept from an earlier call."""
    params = parameters.read(PARAMS)
    mean, std = store.statistics(splits["train"].images.numpy())
    data = store.Description(
        source="planted",
        classes=images.classes,
        image_size=params.data.image_size,
        sizes={name: len(split) for name, split in splits.items()},
        mean=mean,
        std=std,
        has_masks=False,
        digest="",
    )
    training = loop.Training(together(params.model, recipe(params.train), params.augment), data, seed)
    place = compute.resolve(params.compute)
    classifier = training.fresh(place.device)
    classifier.classes = images.classes
    kept = NETWORKS / f"{kind}-{seed}.safetensors"
    if kept.exists():
        classifier.load_state_dict(load_file(kept))
        return classifier.eval()
    for _ in training.epochs(classifier, splits["train"], splits["validation"], place, checkpoint=None):
        pass
    kept.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in classifier.state_dict().items()}, kept)
    return classifier.eval()


def recipe(settings: Train) -> Train:
    """The recipe of the study, for fewer images."""
    return settings.model_copy(update={"epochs": EPOCHS, "learning_rate": RATE})


def audited(classifier: Classifier, splits: dict[str, Split], seed: int) -> Audit:
    """What the network leans on, by training images, tested on validation images."""
    train, validation = splits["train"], splits["validation"]
    rows = torch.cat([(train.labels == label).nonzero().flatten()[:SEARCHED] for label in train.labels.unique()])
    return glassbox.find_shortcuts(
        classifier=classifier,
        images=train.images[rows],
        labels=train.labels[rows].tolist(),
        held_out=validation.images,
        held_out_labels=validation.labels.tolist(),
        explainers=EXPLAINERS,
        seed=seed,
        batch_size=128,
    )


def about(kind: str, audit: Audit) -> dict[str, object]:
    """The first finding, whether it is what was planted, and how many findings there are that were not planted."""
    first, right = audit.table.iloc[0], np.array([is_planted(kind, one) for one in audit.candidates])
    confirmed = audit.table["confirmed"].to_numpy(bool)
    return {
        "candidates": len(audit.table),
        "confirmed": int(confirmed.sum()),
        "found": bool((confirmed & right).any()),
        "found_first": bool(confirmed[0] and right[0]),
        "not_planted": int((confirmed & ~right).sum()),
        "first": f"{first['class']}: {first['candidate']}" if confirmed[0] else "",
        **{name: first[name] for name in ("lost", "lost_low", "lost_high", "taken", "taken_low", "taken_high")},
    }


def is_planted(kind: str, candidate: Region | Property) -> bool:
    """Whether a candidate is the kind's shortcut: of its class, mostly at its place, or the property it changes."""
    if kind == "none" or candidate.label != 0:
        return False
    if isinstance(candidate, Property):
        names = {
            "cast": ("share of red", "share of blue"),
            "border": ("brightness of the border",),
            "brightness": ("brightness", "brightness of the border"),
        }
        return candidate.name in names.get(kind, ())
    _, place = MARKS[KINDS[kind][0]]
    near = scipy.ndimage.binary_dilation(place(len(candidate.mask)), iterations=NEAR)
    return bool((candidate.mask & near).sum() >= 0.5 * candidate.mask.sum())


def accuracies(classifier: Classifier, splits: dict[str, Split]) -> dict[str, float]:
    """Of the test images as they are, without the mark, and with the mark on all of them."""
    test = splits["test"]
    versions = {
        "accuracy": test.images,
        "accuracy_unmarked": test.changed["unmarked"],
        "accuracy_marked": test.changed["marked"],
    }
    return {
        name: float((predict(classifier, shown, 128).argmax(dim=1) == test.labels).float().mean())
        for name, shown in versions.items()
    }


def load() -> dict[str, pd.DataFrame]:
    """The tables of all kinds, and those of repairs, called "repair-KIND"."""
    for kind in KINDS:
        if not (MEASURED / f"{kind}.csv").exists():
            raise UserError(f"docs/shortcuts/{kind}.csv is missing: 'python -m docs.shortcuts measure {kind} 0 1'")
    return {path.stem: files.read_csv(path) for path in sorted(MEASURED.glob("*.csv"))}


def page(measured: dict[str, pd.DataFrame]) -> str:
    """The page, from the tables of `load`."""
    rows = []
    for kind, title in TITLES.items():
        runs = measured[kind]
        n, hits, alarms = len(runs), int(runs["found_first"].sum()), int((runs["not_planted"] > 0).sum())
        rows.append(
            [
                title,
                str(n),
                "-" if kind == "none" else _of(hits, n),
                _of(alarms, n),
                *(f"{100 * runs[name].mean():.1f} %" for name in ("accuracy", "accuracy_unmarked", "accuracy_marked")),
                "-" if kind == "none" else f"{_percent(runs['lost'])}, {_percent(runs['taken'])}",
            ]
        )
    head = ["what one class carries", "networks", "found, in first place", "with another finding", "accuracy",
            "without the mark", "all with the mark", "lost, taken (median)"]  # fmt: skip
    repairs = {kind: measured[f"repair-{kind}"] for kind in TITLES if f"repair-{kind}" in measured}
    return TEXT.format(
        table=table(head, rows),
        images=f"{IMAGES:,}",
        epochs=EPOCHS,
        searched=SEARCHED,
        tested=IMAGES // 5,
        further=FURTHER,
        repairs=_repairs(repairs),
        sentences="\n".join(f"- {sentence}" for sentence in _outcomes(repairs)),
    )


def _repairs(repairs: dict[str, pd.DataFrame]) -> str:
    """The accuracies with the planted mark on the wrong classes, before and after, of each kind and way."""
    rows = []
    for kind, pairs in repairs.items():
        for way, part in pairs.groupby("way", sort=False):
            values = part.groupby(["against", "measure"])[["value", "value_against"]].mean()
            moved, clean = (values.xs(measure, level="measure") for measure in (proof.PLANTED, proof.CLEAN))
            without = part["trained_without_the_mark"].mean()
            accuracies = [moved.loc[proof.ORIGINAL, "value"], *moved.loc[[*proof.RIVALS], "value_against"], without]
            cost = 100 * (clean.loc[proof.ORIGINAL, "value"] - clean.loc[proof.ORIGINAL, "value_against"])
            by_seed = part.groupby("repeat")["still_found"].first()
            rows.append(
                [
                    TITLES[kind],
                    f"`{way}`",
                    str(part["repeat"].nunique()),
                    *(f"{100 * value:.1f} %" for value in accuracies),
                    f"{cost:+.1f}".replace("-", MINUS),
                    f"{int(by_seed.sum())} of {len(by_seed)}",
                ]
            )
    head = ["what one class carries", "way", "networks", "repaired", "original", "more training", "same at random",
            "trained without the mark", "clean, points", "found again"]  # fmt: skip
    return table(head, rows)


def _outcomes(repairs: dict[str, pd.DataFrame]) -> list[str]:
    """The outcome of each way in which enough networks of a kind were repaired, in a sentence each."""
    sentences = []
    for kind, pairs in repairs.items():
        several = pairs.groupby("way")["repeat"].transform("nunique") >= ENOUGH
        compared = proof.compared(pairs[several], IMAGES // 5, proof.PLANTED) if several.any() else None
        for way, part in pairs[several].groupby("way", sort=False):
            again = bool(part.groupby("repeat")["still_found"].first().any())
            verdict = proof.verdict(compared, way, again, proof.PLANTED)
            evidence = "; ".join(verdict["evidence"])
            sentences.append(f"{TITLES[kind][0].upper()}{TITLES[kind][1:]}, {verdict['sentence']} That is {evidence}.")
    return sentences


def _percent(shares: pd.Series) -> str:
    return f"{round(100 * shares.median())} %"


def _of(hits: int, n: int) -> str:
    share, low, high = (100 * value for value in accuracy_interval(hits, n, 0.95))
    return f"{hits} of {n} ({share:.0f} % [{low:.0f}, {high:.0f}])"


TEXT = """<!-- Written by docs/shortcuts.py from the files in docs/shortcuts/: change those. -->
# Are planted shortcuts found, and repaired?

The search and the repairs are those of [a study](repair.md); in a notebook the search is `glassbox.find_shortcuts`
([API](api.md)). Neither gets what was planted. The network and recipe are those of the study `watermark`, with
{images} images in all and {epochs} epochs. Each network has images, weights and splits of its own, from its seed. The
search has maps of Integrated Gradients and Grad-CAM of {searched} training images a class, and tests on the validation
images.

## Found

{table}

*Found, in first place*: the first confirmed candidate belongs to the class, and half of its pixels lie within two
pixels of the mark, or it is a property that the mark changes. *With another finding*: some confirmed candidate was
not planted. Intervals are Wilson's, at 95 %. *Lost, taken*: of the class's recognised images that carry the candidate
how many more are lost without it than by the control, and of other images how many more are taken for the class with
it.

## Repaired

The first finding, widened by two pixels, is repaired by {further} further epochs. Accuracies are those of {tested:,}
test images with the planted mark on the wrong classes: images of its class lose it, all others get it.

{repairs}

*Clean, points*: the change of the accuracy on test images as they are. *Found again*: another search finds a region
that touches the repaired one, or the property. Each network has its own original, rivals and network without the mark,
which learnt from the same images with the mark at random.

{sentences}

Here a repeat is another network with other images, so the tests are about networks of this kind, not about one.

To measure a row again: `python -m docs.shortcuts measure ring 0 1 2` and
`python -m docs.shortcuts repair ring randomise,last_layer 0 1 2`;
`python -m docs.shortcuts` writes this page.
"""


def main() -> None:
    match sys.argv[1:]:
        case [what, kind, *_] if kind not in KINDS or (what, kind) == ("repair", "none"):
            raise UserError(f"{kind} is no kind of shortcut to {what}: there are {', '.join(KINDS)}")
        case ["measure", kind, *seeds]:
            measure(kind, [int(seed) for seed in seeds])
        case ["repair", kind, chosen, *seeds]:
            repair(kind, chosen.split(","), [int(seed) for seed in seeds])
        case _:
            files.write_text(PAGE, page(load()))


if __name__ == "__main__":
    run(main)
