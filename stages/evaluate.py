"""evaluate: the trained classifier on the test split, which nothing before has looked at."""

from glassbox import models, tracking
from glassbox.config.augment import Augment
from glassbox.config.compute import Compute
from glassbox.config.data import Data
from glassbox.config.evaluate import Evaluate
from glassbox.config.loading import load
from glassbox.config.study import Study
from glassbox.config.yaml_file import flatten
from glassbox.core import files
from glassbox.core.errors import run
from glassbox.core.progress import Bar
from glassbox.data import store
from glassbox.evaluation import chance_level, evaluate, predictions, preprocessing_check
from glassbox.execution.engine import start
from glassbox.provenance import record, resume
from glassbox.search.hyperparameters import as_trained

DATA, MODEL, REPORTS = "data/prepared", "models", "reports/evaluate"


def main() -> None:
    study, compute, data, augment, settings = load(Study, Compute, Data, Augment, Evaluate)
    with (
        files.exclusive("data/.evaluate.lock", "evaluating"),
        tracking.stage("evaluate") as tracked,
        start(compute) as engine,
    ):
        description = store.describe(DATA)
        tracked.begin(description)
        tracked.log_params(flatten(settings, "evaluate."))
        classifier, card = models.load(MODEL, engine.device)
        augment = as_trained(augment, card.choices)
        validation, test = store.read(DATA, "validation"), store.read(DATA, "test")
        batch_size = engine.place.batch_size
        n_images = len(validation) + len(test) * (1 + augment.validation_and_test + settings.mirror)
        known = resume.digest(MODEL)
        keep = resume.parts("evaluate", engine.place, engine.each, study.seed, description.digest, known, augment)
        with Bar(total=n_images, desc="predicting", unit="image") as bar:
            validation_logits, test_logits = (
                models.predict(classifier, split.images, batch_size, bar.update, keep=keep).numpy()
                for split in (validation, test)
            )
            others, how = {}, (batch_size, bar.update, keep)
            if augment.validation_and_test:
                others["augmented_accuracy"] = evaluate.augmented_accuracy(classifier, test, augment, study.seed, *how)
            if settings.mirror:
                others["mirrored_accuracy"] = evaluate.mirrored_accuracy(classifier, test, test_logits, *how)
        costs = engine.costs(keep.began, n_images)
        evaluation = evaluate.evaluate(
            validation_logits=validation_logits,
            validation_labels=validation.labels.numpy(),
            logits=test_logits,
            labels=test.labels.numpy(),
            source_index=test.index.numpy(),
            classes=card.classes,
            settings=settings,
            seed=study.seed,
            files=test.names,
            n_classes=len(description.classes),
            preprocessing=preprocessing_check.check(classifier, card, data, test, batch_size),
        )

        from glassbox.figures import evaluation as figures  # matplotlib takes half a second, and draws last

        folder, metrics = files.fresh_folder(REPORTS), evaluation.metrics
        metrics.update(others)
        files.write_json(folder / "metrics.json", metrics)
        files.write_times(folder, {"machine": engine.machine()} | costs)
        for name, table in evaluation.tables(settings.confused_pairs).items():
            files.write_csv(folder / f"{name}.csv", table)
        predictions.write_scaling(folder, evaluation.scaling.as_dict())
        figures.confusion(folder / "confusion_matrix.png", evaluation.matrix, evaluation.classes)
        figures.reliability(folder / "reliability.png", evaluation.reliability_tables(), settings.confidence)
        figures.mistakes(
            folder / "mistakes.png",
            images=test.images.numpy(),
            labels=test.labels.numpy(),
            p=evaluation.probabilities,
            classes=card.classes,
            n=settings.gallery,
        )

        tracked.log_metrics(chance_level.numbers(metrics) | costs)
        headline = ("accuracy", "balanced_accuracy", "majority_share", "macro_f1", "ece")
        tracked.log_headline({f"test_{name}": metrics[name] for name in headline})
        tracked.log_files(record.seal(folder))
        keep.finish()
        print("\n".join(evaluation.summary(settings.confidence)))


if __name__ == "__main__":
    run(main)
