"""evaluate: the trained classifier on the test split, which nothing before has looked at."""

import pandas as pd
from tqdm import tqdm

from glassbox import compute, config, evaluation, files, models, tracking
from glassbox.data import store
from glassbox.errors import run
from glassbox.figures import evaluation as figures

DATA, MODEL, REPORTS = "data/prepared", "models", "reports/evaluate"


def main() -> None:
    machine, settings = config.load("compute", "evaluate")
    with files.exclusive("data/.evaluate.lock", "evaluating"), tracking.stage("evaluate") as tracked:
        d = store.describe(DATA)
        tracked.begin(d)
        tracked.log_params(config.flatten(settings, "evaluate."))
        place = compute.resolve(machine)
        classifier, card = models.load(MODEL, place.device)
        validation, test = store.read(DATA, "validation"), store.read(DATA, "test")
        with tqdm(total=len(validation) + len(test), desc="predicting", unit="image", disable=None) as bar:
            logits = [
                models.predict(classifier, split.images, place.batch_size, bar.update).numpy()
                for split in (validation, test)
            ]
        labels = test.labels.numpy()
        e = evaluation.evaluate(
            logits[0], validation.labels.numpy(), logits[1], labels, test.index.numpy(), card.classes, settings
        )

        folder, m, names = files.fresh_folder(REPORTS), e.metrics, card.classes
        files.write_json(folder / "metrics.json", m)
        files.write_csv(folder / "classification_report.csv", e.report)
        matrix = pd.DataFrame(e.matrix, columns=list(names))
        matrix.insert(0, "true_class", names, allow_duplicates=True)  # a class may have that name
        files.write_csv(folder / "confusion_matrix.csv", matrix)
        if test.names:
            e.predictions.insert(2, "file", test.names)
        files.write_csv(folder / "predictions.csv", e.predictions)
        pairs = [{"a_class": names[p.a], "b_class": names[p.b], "a_as_b": p.ab, "b_as_a": p.ba} for p in e.pairs]
        files.write_csv(folder / "confused_pairs.csv", pd.DataFrame(pairs).head(settings.confused_pairs))
        for name, table in zip(("reliability", "reliability_calibrated"), e.reliability, strict=True):
            files.write_csv(folder / f"{name}.csv", table)
        figures.confusion(folder / "confusion_matrix.png", e.matrix, names)
        figures.reliability(
            folder / "reliability.png", *e.reliability, (m["ece"], m["calibrated_ece"]), m["temperature"]
        )
        figures.mistakes(folder / "mistakes.png", test.images, labels, e.probabilities, names, settings.gallery)

        tracked.log_metrics(m)
        tracked.log_headline({"test_accuracy": m["accuracy"], "test_macro_f1": m["macro_f1"], "test_ece": m["ece"]})
        tracked.log_files(folder)
        interval = f"{100 * m['accuracy_low']:.2f} to {100 * m['accuracy_high']:.2f}"
        print(f"test accuracy {100 * m['accuracy']:.2f} % ({100 * settings.confidence:g} % interval {interval})")


if __name__ == "__main__":
    run(main)
