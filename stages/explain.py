"""explain: why the classifier decided as it did, image by image and by every explainer."""

from glassbox import models, tracking
from glassbox.config.compute import Compute
from glassbox.config.explain import Explain
from glassbox.config.loading import load
from glassbox.config.study import Study
from glassbox.config.yaml_file import flatten
from glassbox.core import files
from glassbox.core.errors import run
from glassbox.core.progress import Bar
from glassbox.data import store
from glassbox.evaluation import predictions
from glassbox.execution.engine import start
from glassbox.explainers import factory
from glassbox.explainers.running import Bookkeeping
from glassbox.explaining import analyses, explanations, familiarity, lime_stability, map_tables, selection
from glassbox.provenance import record, resume

DATA, MODEL, REPORTS = "data/prepared", "models", "reports/explain"
PREDICTIONS, CALIBRATION = "reports/evaluate/predictions.csv", "reports/evaluate/calibration.json"


def main() -> None:
    study, compute, settings = load(Study, Compute, Explain)
    with (
        files.exclusive("data/.explain.lock", "explaining"),
        tracking.stage("explain") as tracked,
        start(compute) as engine,
    ):
        on_disk = "data"  # images and maps lie in files there meanwhile
        description = store.describe(DATA)
        tracked.begin(description)
        tracked.log_params(flatten(settings, "explain."))
        classifier, card = models.load(MODEL, engine.device, predictions.temperature(CALIBRATION))
        test = store.read(DATA, "test")
        probabilities = predictions.read(PREDICTIONS, len(test), card.classes)
        cases = selection.cases(test, probabilities, card.classes, settings, study.seed)
        plan = explanations.plan(cases, settings, study.seed, on_disk)
        repeated = lime_stability.choose(cases.picks, settings)
        train, validation = (store.read(DATA, name).images for name in ("train", "validation"))
        setup = factory.setup(
            classifier=classifier,
            settings=settings,
            train=train,
            mean=description.mean,
            batch_size=engine.place.batch_size,
            seed=study.seed,
        )
        known = resume.digest(MODEL, PREDICTIONS, CALIBRATION)
        keep = resume.parts("explain", engine.place, engine.each, study.seed, description.digest, known, settings)
        steps = explanations.steps(plan, settings) + len(repeated) * lime_stability.runs(settings.lime)
        with Bar(total=steps + len(cases.picks), desc="explaining", unit="step") as bar:
            books = Bookkeeping(keep=keep, folder=on_disk, progress=bar.update)
            results = []
            for result in explanations.explain(setup, plan, books):
                results.append(result)
                tracked.log_metrics({f"seconds_a_map/{result.name}": result.attribution.seconds.mean()})
            analysed = analyses.analyse(setup, cases, results, books)
            stability = lime_stability.measure(setup, repeated, cases.images, books)
            known_images = familiarity.reference(
                classifier, train, validation, batch_size=engine.place.batch_size, seed=study.seed
            )
        costs, additivity = engine.costs(keep.began, len(cases.picks)), map_tables.additivity(results)

        from glassbox.figures import explain as figures  # matplotlib takes half a second, and draws last

        folder = files.fresh_folder(REPORTS)
        tables = map_tables.tables(cases, results, settings.superpixels, test)
        for name, table in (tables | lime_stability.tables(stability) | analysed.tables()).items():
            files.write_csv(folder / f"{name}.csv", table)
        files.write_npz(folder / "attributions.npz", map_tables.arrays(results, plan, on_disk) | analysed.arrays())
        if known_images:
            files.write_npz(folder / "familiarity.npz", known_images.arrays())
        files.write_times(folder, map_tables.seconds(results) | {"machine": engine.machine()} | costs)
        figures.draw_all(folder, cases, plan.request, results, analysed, stability, repeated, settings)

        tracked.log_metrics(costs | additivity)
        tracked.log_files(record.seal(folder))
        keep.finish()
        print(map_tables.summary(tables["index"], len(settings.explainers), additivity))


if __name__ == "__main__":
    run(main)
