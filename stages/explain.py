"""explain: why the classifier decided as it did, image by image and by every explainer."""

from glassbox import (
    analyses,
    config,
    explainers,
    explaining,
    files,
    lime_stability,
    models,
    predictions,
    record,
    resume,
    selection,
    tracking,
)
from glassbox.data import store
from glassbox.engine import start
from glassbox.errors import run
from glassbox.progress import Bar

DATA, MODEL, REPORTS = "data/prepared", "models", "reports/explain"
PREDICTIONS, CALIBRATION = "reports/evaluate/predictions.csv", "reports/evaluate/calibration.json"


def main() -> None:
    seed, on, s = config.load("study.seed", "compute", "explain")
    with files.exclusive("data/.explain.lock", "explaining"), tracking.stage("explain") as tracked, start(on) as at:
        d = store.describe(DATA)
        tracked.begin(d)
        tracked.log_params(config.flatten(s, "explain."))
        classifier, card = models.load(MODEL, at.device, predictions.temperature(CALIBRATION))
        test = store.read(DATA, "test")
        cases = selection.cases(test, predictions.read(PREDICTIONS, len(test), card.classes), card.classes, s, seed)
        picks, size, disk, results = cases.picks, at.place.batch_size, "data", []  # disk: of images and maps meanwhile
        request = explaining.request_for(picks, test.images, seed, folder=disk)
        panels = explaining.panels_for(cases, s, seed, disk)
        background = explainers.draw_background(store.read(DATA, "train").images, explainers.n_background(s), seed)
        again = lime_stability.choose(picks, s.lime.stability.images if "lime" in s.explainers else 0)
        steps = explaining.steps(request, s, panels) + len(again) * lime_stability.runs(s.lime) + len(picks)
        keep = resume.parts("explain", at, seed, d.digest, resume.digest(MODEL, PREDICTIONS, CALIBRATION), s)
        with Bar(total=steps, desc="explaining", unit="step") as bar:
            how = (d.mean, s, size, bar.update, panels, explaining.marker(cases), disk, keep)
            for r in explaining.explain(classifier, request, background, *how):
                results.append(r)
                tracked.log_metrics({f"seconds_a_map/{r.name}": r.attribution.seconds.mean()})
            found = analyses.analyse(classifier, cases, results, s, size, seed, bar.update, keep)
            asked = (s.lime, s.superpixels, size, seed, bar.update, keep)
            stability = lime_stability.measure(classifier, again, cases.images, *asked) if again else None
        costs, additive = at.costs(keep.began, len(picks)), explaining.additivity(results)
        from glassbox.figures import explain as figures  # matplotlib takes half a second, and draws last

        about = (s.superpixels, test.index.numpy(), test.names)
        folder, tables = files.fresh_folder(REPORTS), explaining.tables(cases, results, *about)
        tables |= {"lime_stability": stability.table} if stability else {}
        for name, rows in (tables | found.tables()).items():
            files.write_csv(folder / f"{name}.csv", rows)
        files.write_npz(folder / "attributions.npz", explaining.arrays(results, request, disk))
        files.write_times(folder, explaining.seconds(results) | {"machine": at.machine()} | costs)
        figures.draw_all(folder, cases, request, results, found, stability, again, s)

        tracked.log_metrics(costs | additive)
        tracked.log_files(record.seal(folder))
        keep.finish()
        print(explaining.told(tables["index"], len(s.explainers), additive))


if __name__ == "__main__":
    run(main)
