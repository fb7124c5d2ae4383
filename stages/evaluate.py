"""evaluate: the trained classifier on the test split, which nothing before has looked at."""

from glassbox import chance, config, evaluation, files, models, predictions, record, resume, tracking
from glassbox.data import store
from glassbox.engine import start
from glassbox.errors import run
from glassbox.progress import Bar

DATA, MODEL, REPORTS = "data/prepared", "models", "reports/evaluate"


def main() -> None:
    seed, on, how, settings = config.load("study.seed", "compute", "augment", "evaluate")
    with files.exclusive("data/.evaluate.lock", "evaluating"), tracking.stage("evaluate") as tracked, start(on) as at:
        d = store.describe(DATA)
        tracked.begin(d)
        tracked.log_params(config.flatten(settings, "evaluate."))
        classifier, card = models.load(MODEL, at.device)
        validation, test = store.read(DATA, "validation"), store.read(DATA, "test")
        n, size = len(validation) + len(test) * (1 + how.validation_and_test), at.place.batch_size
        keep = resume.parts("evaluate", at, seed, d.digest, resume.digest(MODEL), how)
        with Bar(total=n, desc="predicting", unit="image") as bar:
            logits = [
                models.predict(classifier, split.images, size, bar.update, keep=keep).numpy()
                for split in (validation, test)
            ]
            if how.validation_and_test:
                changed = evaluation.augmented_accuracy(classifier, test, how, seed, size, bar.update, keep)
        costs = at.costs(keep.began, n)
        names, labels = card.classes, test.labels.numpy()
        found = (logits[0], validation.labels.numpy(), logits[1], labels, test.index.numpy())
        e = evaluation.evaluate(*found, names, settings, seed, test.names)

        from glassbox.figures import evaluation as figures  # matplotlib takes half a second, and draws last

        folder, m = files.fresh_folder(REPORTS), e.metrics
        if how.validation_and_test:
            m["augmented_accuracy"] = changed
        files.write_json(folder / "metrics.json", m)
        files.write_times(folder, {"machine": at.machine()} | costs)
        for name, table in e.tables(names, settings.confused_pairs).items():
            files.write_csv(folder / f"{name}.csv", table)
        predictions.write_scaling(folder, e.scaling.as_dict())
        figures.confusion(folder / "confusion_matrix.png", e.matrix, names)
        figures.reliability(folder / "reliability.png", e.reliability_tables())
        figures.mistakes(folder / "mistakes.png", test.images, labels, e.probabilities, names, settings.gallery)

        tracked.log_metrics(chance.numbers(m) | costs)
        first = ("accuracy", "balanced_accuracy", "majority_share", "macro_f1", "ece")
        tracked.log_headline({f"test_{name}": m[name] for name in first})
        tracked.log_files(record.seal(folder))
        keep.finish()
        interval = f"{100 * m['accuracy_low']:.2f} to {100 * m['accuracy_high']:.2f}"
        if how.validation_and_test:
            print(f"test accuracy on images changed at random {100 * changed:.2f} %")
        print(f"test accuracy {100 * m['accuracy']:.2f} % ({100 * settings.confidence:g} % interval {interval})")
        print(e.scaling.reason)
        print(f"balanced accuracy {chance.balanced(m)}. {chance.sentence(m)}")


if __name__ == "__main__":
    run(main)
