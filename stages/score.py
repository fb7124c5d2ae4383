"""score: which explanation to believe, on images drawn before any map is made, beside controls that know nothing."""

from glassbox import models, tracking
from glassbox.config.compute import Compute
from glassbox.config.explain import Explain
from glassbox.config.loading import load
from glassbox.config.score import Score
from glassbox.config.study import Study
from glassbox.config.yaml_file import flatten
from glassbox.core import files
from glassbox.core.errors import run
from glassbox.core.progress import Bar
from glassbox.data import store
from glassbox.data.base import NOISE
from glassbox.evaluation import predictions
from glassbox.execution.engine import start
from glassbox.explainers import factory
from glassbox.provenance import record, resume
from glassbox.scoring import exposure, measurement, planted_gate, preparation, score_tables, scorecard, shortcut

DATA, MODEL, REPORTS = "data/prepared", "models", "reports/score"
PREDICTIONS, CALIBRATION = "reports/evaluate/predictions.csv", "reports/evaluate/calibration.json"


def main() -> None:
    study, compute, explain, settings = load(Study, Compute, Explain, Score)
    with (
        files.exclusive("data/.score.lock", "scoring"),
        tracking.stage("score") as tracked,
        start(compute) as engine,
    ):
        description = store.describe(DATA)
        tracked.begin(description)
        tracked.log_params(flatten(settings, "score."))
        temperature, batch_size = predictions.temperature(CALIBRATION), engine.place.batch_size
        classifier, card = models.load(MODEL, engine.device, temperature)
        test, train = store.read(DATA, "test"), store.read(DATA, "train")
        probabilities = predictions.read(PREDICTIONS, len(test), card.classes)
        known = resume.digest(MODEL, PREDICTIONS, CALIBRATION)
        keep = resume.parts(
            "score", engine.place, engine.each, study.seed, description.digest, known, explain, settings
        )
        common = {
            "mean": description.mean,
            "background": factory.draw_background(train.images, factory.n_background(explain), study.seed),
            "explain": explain,
            "settings": settings,
            "batch_size": batch_size,
            "seed": study.seed,
            "keep": keep,
        }
        checks = planted_gate.check(classifier, test, batch_size, keep) if planted_gate.applies(test) else []
        refusal = planted_gate.refusal(checks)
        scored = []
        if refusal is None:
            ground = preparation.prepare(classifier, card, test, probabilities.argmax(axis=1), **common)
            with Bar(total=measurement.steps(ground), desc="scoring", unit="map") as bar:
                scored = list(measurement.score(ground, bar.update))
        measured = exposed = None
        if shortcut.applies(test):
            control, _ = models.load(f"{MODEL}/{NOISE}", engine.device, temperature)
            measured = shortcut.measure(classifier, control, test, batch_size, keep=keep)
            if measured.has_control:
                steps = exposure.steps_to_expose(explain, settings, test)
                with Bar(total=steps, desc="exposing", unit="map") as bar:
                    exposed = exposure.expose(classifier, control, test, **common, progress=bar.update)
        costs = engine.costs(keep.began, settings.images)

        from glassbox.figures import scorecard as figures  # matplotlib takes half a second, and draws last

        folder, sentences = files.fresh_folder(REPORTS), [refusal] if refusal else []
        files.write_json(folder / "gate.json", {"checks": [vars(check) for check in checks], "refusal": refusal})
        files.write_times(folder, {"machine": engine.machine()} | costs | score_tables.costs(scored))
        if scored:
            found = scorecard.make(scored, ground, card.classes, study.seed)
            for name, table in found.tables.items():
                files.write_csv(folder / f"{name}.csv", table)
            files.write_json(folder / "ranking.json", found.ranking)
            figures.draw_all(folder, found)
            tracked.log_headline(found.headline())
            sentences += found.ranking["verdicts"]
        if measured:
            summary = shortcut.summary(measured, exposed and exposed.contrast)
            files.write_json(folder / "shortcut.json", summary)
            if exposed:
                figures.draw_exposed(folder, exposed)
            sentences += summary["verdicts"]
        tracked.log_metrics(costs)
        tracked.log_files(record.seal(folder))
        keep.finish()
        print("\n".join(sentences))


if __name__ == "__main__":
    run(main)
