"""repair: the network goes on learning without what the audit found, and is compared with further training as it is."""

from dataclasses import replace

from glassbox import tracking
from glassbox.config.audit import Audit
from glassbox.config.augment import Augment
from glassbox.config.compute import Compute
from glassbox.config.explain import Explain
from glassbox.config.hyperparameters import together
from glassbox.config.loading import load
from glassbox.config.model import Model
from glassbox.config.repair import Repair
from glassbox.config.study import Study
from glassbox.config.train import Train
from glassbox.config.yaml_file import flatten
from glassbox.core import files
from glassbox.core.errors import run
from glassbox.core.progress import Bar
from glassbox.data import store, watermark
from glassbox.data.base import NOISE
from glassbox.evaluation import predictions
from glassbox.execution.engine import start
from glassbox.provenance import record, resume

DATA, MODEL, CALIBRATION = "data/prepared", "models", "reports/evaluate/calibration.json"
AUDIT, BEST, REPORTS, REPAIRED = "reports/audit", "reports/tune/best.json", "reports/repair", "data/repaired"


def mend(tracked: tracking.StageRun) -> list[str]:
    """Repair, compare, write and log; the outcomes are returned in sentences."""
    from glassbox import models  # imports PyTorch, which takes longer than all else where nothing is repaired
    from glassbox.audit import stored
    from glassbox.figures import repair as figures
    from glassbox.repair import outcome, running
    from glassbox.search import hyperparameters

    study, compute, augment, model, train = load(Study, Compute, Augment, Model, Train)
    explain, audit, settings = load(Explain, Audit, Repair)
    description, best = store.describe(DATA), files.read_json(BEST)
    resolved, _ = hyperparameters.resolve(together(model, train, augment), best)
    with start(compute) as engine:
        classifier, card = models.load(MODEL, engine.device, predictions.temperature(CALIBRATION))
        splits = {split: store.read(DATA, split) for split in ("train", "validation", "test")}
        repair = running.Repair.of(
            classifier,
            explain=explain,
            description=description,
            splits=splits,
            seed=study.seed,
            candidates=stored.accepted(settings.findings, AUDIT, card.classes, description.image_size, settings.margin),
            recipe=resolved,
            settings=settings,
            place=replace(engine.place, device=engine.device),  # on a cluster, too, this process trains
        )
        known = resume.digest(MODEL, CALIBRATION, AUDIT, BEST)
        decides = study.seed, description.digest, known, resolved, explain, audit, settings
        keep = resume.parts("repair", engine.place, engine.each, *decides)
        with Bar(total=repair.steps, desc="repairing", unit="training") as bar:
            answers, repaired = repair.run(keep, bar.update)
        control = models.load(f"{MODEL}/{NOISE}", engine.device)[0] if watermark.applies(splits["test"]) else None
        result = outcome.of(repair, answers, repaired, audit, card.classes, control, keep)
        folder = files.fresh_folder(REPORTS)
        outcome.write(folder, result)
        figures.draw_all(folder, result)
        for way, network in repaired.items():
            models.save(f"{REPAIRED}/{way}", network, card)
        costs = engine.costs(keep.began, repair.steps)
        files.write_times(folder, {"machine": engine.machine()} | costs)
        tracked.log_metrics(costs)
        tracked.log_headline(result.headline())
        keep.finish()
    return result.sentences


def main() -> None:
    (settings,) = load(Repair)
    with files.exclusive("data/.repair.lock", "repairing"), tracking.stage("repair") as tracked:
        tracked.begin(store.describe(DATA))
        tracked.log_params(flatten(settings, "repair."))
        files.fresh_folder(REPAIRED)
        said = ["Nothing is repaired: repair.findings is []."]
        if settings.findings:
            said = mend(tracked)
        else:
            files.write_json(files.fresh_folder(REPORTS) / "repair.json", {"repaired": False})
        tracked.log_files(record.seal(REPORTS, REPAIRED))
        print("\n".join(said))


if __name__ == "__main__":
    run(main)
