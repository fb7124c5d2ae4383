"""train: the network with the values given or found, its best epoch kept; the same on other arms of the data."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd

from glassbox import models, tracking
from glassbox.config.augment import Augment
from glassbox.config.compute import Compute
from glassbox.config.hyperparameters import together
from glassbox.config.loading import load
from glassbox.config.model import Model
from glassbox.config.study import Study
from glassbox.config.train import Train, judged_by
from glassbox.config.yaml_file import flatten
from glassbox.core import files
from glassbox.core.errors import run
from glassbox.core.progress import Bar
from glassbox.data import store
from glassbox.execution.engine import start
from glassbox.provenance import record
from glassbox.search import hyperparameters
from glassbox.training import loop, precision, records
from stages import check_study

DATA, BEST, MODEL, REPORTS = "data/prepared", "reports/tune/best.json", "models", "reports/train"


def follow(epochs: Iterator[records.Epoch], at_most: int, tracked: tracking.StageRun, arm: str) -> pd.DataFrame:
    """Run a training, show and log it; one row an epoch."""
    rows, prefix = [], f"{arm}_" if arm else ""
    bar = Bar(epochs, f"training {arm}".strip(), at_most, unit="epoch")
    for epoch in bar:
        rows.append(asdict(epoch))
        tracked.log_metrics({f"{prefix}{name}": value for name, value in epoch.metrics().items()}, epoch.epoch)
        bar.set_postfix_str(f"validation {100 * epoch.validation_accuracy:.1f} %, loss {epoch.validation_loss:.4f}")
    return pd.DataFrame(rows)


def main() -> None:
    study, compute, augment, model, settings = load(Study, Compute, Augment, Model, Train)
    with (
        files.exclusive("data/.train.lock", "training"),
        tracking.stage("train") as tracked,
        start(compute) as engine,
    ):
        description, best = store.describe(DATA), files.read_json(BEST)
        resolved, choices = hyperparameters.resolve(together(model, settings, augment), best)
        settings = resolved.train
        measure = judged_by(settings.class_weights, settings.sampling)
        check_study(data=description)
        tracked.begin(description)
        used = {choice.key: choice.value for choice in choices}
        tracked.log_params(flatten(settings, "train.") | used)
        train, validation = store.read(DATA, "train"), store.read(DATA, "validation")
        arms = {"": (train, validation)} | {arm: (train.arm(arm), validation.arm(arm)) for arm in train.arms}
        classifiers, curves, checkpoints = {}, {}, []
        for arm, splits in arms.items():
            training = loop.Training(
                hyperparameters=resolved,
                data=description,
                seed=study.seed,
                arm=arm,
            )
            classifiers[arm], epochs, checkpoint = engine.train(training, *splits)
            curves[arm] = follow(epochs, int(settings.epochs), tracked, arm)
            checkpoints.append(checkpoint)
        place = precision.suited(engine.place, classifiers[""], description.image_size)
        tracked.log_params({"place": str(place)})
        folder, model_folder = files.fresh_folder(REPORTS), files.fresh_folder(MODEL)
        made_from = hyperparameters.table(choices)
        card = models.describe(resolved.model, classifiers[""], description, made_from)
        for arm, classifier in classifiers.items():
            models.save(model_folder / arm, classifier, card)

        from glassbox.figures import training as figures  # matplotlib takes half a second, and draws last

        metrics: dict[str, float] = {}
        times: dict[str, Any] = {"machine": engine.machine()}
        for arm, table in curves.items():
            prefix, suffix = (f"{arm}_", f"_{arm}") if arm else ("", "")
            summary = records.summary(table, settings.keep)
            metrics |= {f"{prefix}{name}": value for name, value in summary.items()}
            times |= {f"{prefix}{name}": values for name, values in records.costs(table).items()}
            files.write_csv(folder / f"curves{suffix}.csv", table.drop(columns=[*records.COSTS, "is_best"]))
            if summary["epochs"]:
                figures.curves(folder / f"curves{suffix}.png", table, int(summary["best_epoch"]))
            print(records.in_words(summary, measure, arm, str(place)))
        files.write_json(folder / "hyperparameters.json", made_from)
        files.write_json(folder / "metrics.json", metrics)
        files.write_times(folder, times)
        tracked.log_headline({name: metrics[name] for name in metrics if "best_epoch_" in name})
        tracked.log_files(record.seal(folder, MODEL))
        for checkpoint in checkpoints:
            checkpoint.finish()
        print(card.in_words())


if __name__ == "__main__":
    run(main)
