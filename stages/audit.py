"""audit: what classes lean on where others do not, found in maps and tested by intervention, without any test image."""

from glassbox import tracking
from glassbox.config.audit import Audit
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
from glassbox.provenance import record, resume

DATA, MODEL, CALIBRATION, REPORTS = "data/prepared", "models", "reports/evaluate/calibration.json", "reports/audit"


def search(seed: int, compute: Compute, explain: Explain, settings: Audit, tracked: tracking.StageRun) -> list[str]:
    """Search, test, write and log the findings; they are returned in sentences."""
    from glassbox import models  # imports PyTorch, which takes longer than all else where nothing is searched
    from glassbox.audit import running, stored
    from glassbox.explainers import factory
    from glassbox.explainers.running import Bookkeeping
    from glassbox.figures import audit as figures

    description, train, validation = store.describe(DATA), store.read(DATA, "train"), store.read(DATA, "validation")
    with start(compute) as engine:
        classifier, card = models.load(MODEL, engine.device, predictions.temperature(CALIBRATION))
        setup = factory.setup(
            classifier=classifier,
            settings=explain,
            train=train.images,
            mean=description.mean,
            batch_size=engine.place.batch_size,
            seed=seed,
        )
        known = resume.digest(MODEL, CALIBRATION)
        keep = resume.parts("audit", engine.place, engine.each, seed, description.digest, known, explain, settings)
        images = len(running.drawn(train.labels, settings.images, seed))
        with Bar(total=images * len(settings.explainers), desc="searching shortcuts", unit="map") as bar:
            books = Bookkeeping(keep=keep, progress=bar.update)
            audit = running.audit_of_splits(setup, settings, train, validation, card.classes, books)
        costs, folder = engine.costs(keep.began, images), files.fresh_folder(REPORTS)
        stored.write(folder, audit)
        figures.findings(folder, audit, classifier, validation, batch_size=setup.batch_size, seed=seed)
        files.write_times(folder, {"machine": engine.machine()} | costs)
        tracked.log_metrics(costs)
        tracked.log_headline({"shortcuts_confirmed": len(audit.confirmed), "shortcut_candidates": len(audit.table)})
        keep.finish()
    return audit.sentences()


def main() -> None:
    study, compute, explain, settings = load(Study, Compute, Explain, Audit)
    with files.exclusive("data/.audit.lock", "the search for shortcuts"), tracking.stage("audit") as tracked:
        tracked.begin(store.describe(DATA))
        tracked.log_params(flatten(settings, "audit."))
        said = ["No search for shortcuts: audit.images is 0."]
        if settings.images:
            said = search(study.seed, compute, explain, settings, tracked)
        else:
            files.write_json(files.fresh_folder(REPORTS) / "audit.json", {"searched": False})
        tracked.log_files(record.seal(REPORTS))
        print("\n".join(said))


if __name__ == "__main__":
    run(main)
