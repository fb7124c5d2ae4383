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
from glassbox.explaining import analyses, explanations, lime_stability, map_tables, selection
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
        description = store.describe(DATA)
        tracked.begin(description)
        tracked.log_params(flatten(settings, "explain."))
        classifier, card = models.load(MODEL, engine.device, predictions.temperature(CALIBRATION))
        test = store.read(DATA, "test")
        probabilities = predictions.read(PREDICTIONS, len(test), card.classes)
        on_disk = "data"  # images and maps are kept there meanwhile
        cases = selection.cases(test, probabilities, card.classes, settings, study.seed)
        request = explanations.request_for(cases.picks, test.images, study.seed, folder=on_disk)
        panels = explanations.panels_for(cases, settings, study.seed, on_disk)
        background = factory.draw_background(
            store.read(DATA, "train").images, factory.n_background(settings), study.seed
        )
        repeated = lime_stability.choose(
            cases.picks, settings.lime.stability.images if "lime" in settings.explainers else 0
        )
        known = resume.digest(MODEL, PREDICTIONS, CALIBRATION)
        keep = resume.parts("explain", engine.place, engine.each, study.seed, description.digest, known, settings)
        steps = explanations.steps(request, settings, panels) + len(repeated) * lime_stability.runs(settings.lime)
        with Bar(total=steps + len(cases.picks), desc="explaining", unit="step") as bar:
            results = []
            for result in explanations.explain(
                classifier=classifier,
                request=request,
                background=background,
                mean=description.mean,
                settings=settings,
                batch_size=engine.place.batch_size,
                progress=bar.update,
                panels=panels,
                marked=explanations.marker(cases),
                folder=on_disk,
                keep=keep,
            ):
                results.append(result)
                tracked.log_metrics({f"seconds_a_map/{result.name}": result.attribution.seconds.mean()})
            common = {"batch_size": engine.place.batch_size, "seed": study.seed, "progress": bar.update, "keep": keep}
            analysed = analyses.analyse(classifier, cases, results, settings, **common)
            stability = None
            if repeated:
                stability = lime_stability.measure(
                    classifier, repeated, cases.images, settings.lime, settings.superpixels, **common
                )
        costs, additivity = engine.costs(keep.began, len(cases.picks)), map_tables.additivity(results)

        from glassbox.figures import explain as figures  # matplotlib takes half a second, and draws last

        folder = files.fresh_folder(REPORTS)
        tables = map_tables.tables(cases, results, settings.superpixels, test.index.numpy(), test.names)
        stability_table = {"lime_stability": stability.table} if stability else {}
        for name, table in (tables | stability_table | analysed.tables()).items():
            files.write_csv(folder / f"{name}.csv", table)
        files.write_npz(folder / "attributions.npz", map_tables.arrays(results, request, on_disk))
        files.write_times(folder, map_tables.seconds(results) | {"machine": engine.machine()} | costs)
        figures.draw_all(folder, cases, request, results, analysed, stability, repeated, settings)

        tracked.log_metrics(costs | additivity)
        tracked.log_files(record.seal(folder))
        keep.finish()
        print(map_tables.told(tables["index"], len(settings.explainers), additivity))


if __name__ == "__main__":
    run(main)
