"""train: the network with the values given or found, its best epoch kept; the same on other arms of the data."""

from collections.abc import Iterator
from dataclasses import asdict

import pandas as pd

from glassbox import config, files, hyperparameters, models, record, resume, tracking, training
from glassbox.data import store
from glassbox.engine import start
from glassbox.errors import run
from glassbox.progress import Bar

DATA, BEST, MODEL, REPORTS = "data/prepared", "reports/tune/best.json", "models", "reports/train"


def follow(epochs: Iterator[training.Epoch], at_most: int, tracked: tracking.StageRun, arm: str) -> pd.DataFrame:
    """Run a training, show and log it; one row an epoch."""
    records, before = [], arm and f"{arm}_"
    for epoch in (bar := Bar(epochs, f"training {arm}".strip(), at_most, unit="epoch")):
        records.append(epoch)
        tracked.log_metrics({f"{before}{name}": value for name, value in epoch.metrics().items()}, epoch.epoch)
        bar.set_postfix_str(f"validation {100 * epoch.validation_accuracy:.1f} %, loss {epoch.validation_loss:.4f}")
    return pd.DataFrame(map(asdict, records))


def main() -> None:
    seed, on, how, model, settings = config.load("study.seed", "compute", "augment", "model", "train")
    for sentence in models.check():
        print(f"note: {sentence}")
    with files.exclusive("data/.train.lock", "training"), tracking.stage("train") as tracked, start(on) as at:
        d, found = store.describe(DATA), files.read_json(BEST)
        measure = config.judged_by(settings.class_weights, settings.sampling)
        network, optimizer, choices = hyperparameters.resolve(model, settings, found["params"], found["trial"])
        tracked.begin(d)
        used = {choice.key: choice.value for choice in choices} | {"place": str(at.place)}
        tracked.log_params(config.flatten(settings, "train.") | used)
        train, validation = (store.read(DATA, split) for split in ("train", "validation"))
        arms = {"": (train, validation)} | {arm: (train.arm(arm), validation.arm(arm)) for arm in train.arms}
        trained = {}
        for arm, splits in arms.items():
            begun = at.train(training.Training(network, d, optimizer, settings, how, seed, arm), *splits)
            trained[arm] = begun[0], follow(begun[1], settings.epochs, tracked, arm), begun[2]
        folder, model_folder = files.fresh_folder(REPORTS), files.fresh_folder(MODEL)
        card = models.describe(network, trained[""][0], d, made_from := hyperparameters.table(choices))
        for arm, (classifier, *_) in trained.items():
            models.save(model_folder / arm, classifier, card)
        from glassbox.figures import training as figures  # matplotlib takes half a second, and draws last

        metrics, times = {}, {"machine": at.machine()}
        for arm, (_, table, _) in trained.items():
            before, after = (f"{arm}_", f"_{arm}") if arm else ("", "")
            numbers = training.summary(table, settings.keep)
            metrics |= {f"{before}{name}": value for name, value in numbers.items()}
            times |= {f"{before}{name}": table[name].tolist() for name in ("epoch", *training.COSTS)}
            files.write_csv(folder / f"curves{after}.csv", table.drop(columns=[*training.COSTS, "is_best"]))
            figures.curves(folder / f"curves{after}.png", table, numbers["best_epoch"])
            told = training.told(numbers, measure)
            print(f"trained {arm and f'the arm {arm}, '}{len(table)} epochs on {at.place}; {told}")
        for name, content in {"hyperparameters": made_from, "metrics": metrics}.items():
            files.write_json(folder / f"{name}.json", content)
        files.write_times(folder, times)
        tracked.log_headline({name: metrics[name] for name in metrics if "best_epoch_" in name})
        tracked.log_files(record.seal(folder, MODEL))
        resume.finish(*(checkpoint for *_, checkpoint in trained.values()))
        print(card.told())


if __name__ == "__main__":
    run(main)
