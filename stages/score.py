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
from glassbox.data import store, watermark
from glassbox.data.base import NOISE
from glassbox.evaluation import predictions
from glassbox.execution.engine import start
from glassbox.explainers import factory
from glassbox.explainers.running import Bookkeeping
from glassbox.provenance import record, resume
from glassbox.scoring import exposure, gates, measurement, preparation, score_tables, scorecard, shortcut

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
        temperature = predictions.temperature(CALIBRATION)
        classifier, card = models.load(MODEL, engine.device, temperature)
        test = store.read(DATA, "test")
        probabilities = predictions.read(PREDICTIONS, len(test), card.classes)
        setup = factory.setup(
            classifier=classifier,
            settings=explain,
            train=store.read(DATA, "train").images,
            mean=description.mean,
            batch_size=engine.place.batch_size,
            seed=study.seed,
        )
        known = resume.digest(MODEL, PREDICTIONS, CALIBRATION)
        keep = resume.parts(
            "score", engine.place, engine.each, study.seed, description.digest, known, explain, settings
        )
        predicted, scored = probabilities.argmax(axis=1), []
        gate = gates.check(setup, test, predicted, len(card.classes), keep)
        if gate["refusal"] is None:
            ground = preparation.prepare(setup, settings, card=card, test=test, predicted=predicted, keep=keep)
            with Bar(total=measurement.steps(ground), desc="scoring", unit="map") as bar:
                scored = list(measurement.score(ground, bar.update))
        measured = exposed = None
        if watermark.applies(test):
            control, _ = models.load(f"{MODEL}/{NOISE}", engine.device, temperature)
            measured = shortcut.measure(classifier, control, test, setup.batch_size, keep=keep)
            if measured.has_control:
                with Bar(total=exposure.steps(explain, settings, test), desc="exposing", unit="map") as bar:
                    books = Bookkeeping(keep=keep, progress=bar.update)
                    exposed = exposure.expose(setup, settings, control=control, test=test, books=books)
        costs = engine.costs(keep.began, settings.images)

        from glassbox.figures import scorecard as figures  # matplotlib takes half a second, and draws last

        folder, sentences = files.fresh_folder(REPORTS), gates.sentences(gate)
        files.write_json(folder / "gate.json", gate)
        files.write_times(folder, {"machine": engine.machine()} | costs | score_tables.costs(scored))
        if scored:
            result = scorecard.make(scored, ground, card.classes, gate)
            for name, table in result.tables.items():
                files.write_csv(folder / f"{name}.csv", table)
            files.write_json(folder / "ranking.json", result.ranking)
            index, maps = score_tables.kept_maps(scored, ground, card.classes)
            files.write_csv(folder / "maps.csv", index)
            files.write_npz(folder / "maps.npz", {"maps": maps})
            figures.draw_all(folder, result)
            tracked.log_headline(result.headline())
            sentences += result.ranking["verdicts"]
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
