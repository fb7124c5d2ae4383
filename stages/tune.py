"""tune: search the hyperparameters with Optuna's TPE; an interrupted search goes on where it was."""

import os
from dataclasses import asdict
from functools import partial

from glassbox import models, tracking
from glassbox.config.augment import Augment
from glassbox.config.compute import Compute
from glassbox.config.hyperparameters import together
from glassbox.config.loading import load
from glassbox.config.model import Model
from glassbox.config.study import Study
from glassbox.config.train import Train
from glassbox.config.tune import Tune
from glassbox.config.yaml_file import flatten
from glassbox.core import files
from glassbox.core.errors import run
from glassbox.core.progress import Bar
from glassbox.data import store
from glassbox.execution.engine import start
from glassbox.provenance import record
from glassbox.search import outcome, trainer, tuning
from glassbox.search.outcome import shown
from glassbox.tracking import address
from stages import check_study

DATA, REPORTS, JOURNALS = "data/prepared", "reports/tune", "data/search"


def main() -> None:
    study, compute, augment, settings, model, train = load(Study, Compute, Augment, Tune, Model, Train)
    known = together(model, train, augment)
    with (
        files.exclusive("data/.tune.lock", "tuning"),
        tracking.stage("tune") as tracked,
        start(compute) as engine,
    ):
        description = store.describe(DATA)
        check_study(data=description)
        for sentence in models.check_data(model, description, trained=train.epochs != 0):
            print(f"note: {sentence}")
        tracked.begin(description)
        tracked.log_params(flatten(settings, "tune."))
        trial_trainer = trainer.Trainer(
            settings=settings,
            known=known,
            seed=study.seed,
            description=description,
            place=engine.place,
        )
        journals = os.path.relpath(address.root() / JOURNALS)  # an experiment's temporary copy of the folder has none
        search = tuning.Search(trial_trainer, journals, threads=engine.place.threads, apart=engine.apart)
        measure, second = search.measure, settings.second_objective
        if search.at_once < settings.workers:
            print(f"tune.workers is {settings.workers}; {search.at_once} trial(s) at a time, one a core")
        with search.alone():
            done = search.trials()
            for trial in done:
                tracked.log_trial(asdict(trial), measure)
            bar = Bar(total=settings.n_trials, initial=len(done), desc="searching", unit="trial")
            read = engine.lend(partial(store.read, DATA), "train", "validation")
            for number, result in search.run(read, partial(engine.work_off, gpus=settings.gpus)):
                if isinstance(result, outcome.Trial):
                    tracked.log_trial(asdict(result), measure)
                    bar.update()
                else:
                    value = shown(getattr(result, measure), measure)
                    bar.set_postfix_str(f"trial {number}, epoch {result.epoch}: {value}")
            bar.close()

        from glassbox.figures import search as figures  # matplotlib takes half a second, and draws last

        folder, trials = files.fresh_folder(REPORTS), search.trials()
        best = search.best() if settings.n_trials else None
        table = outcome.table(trials, settings.options, measure, second)
        files.write_csv(folder / "trials.csv", table)
        files.write_json(folder / "best.json", outcome.summary(best, trials, settings.options, measure), checked=True)
        seconds = [round(trial.seconds, 3) for trial in trials]
        times = {"machine": engine.machine(), "trials_at_once": search.at_once, "seconds": seconds}
        files.write_times(folder, times)
        if best is not None:
            curves = [trial.curve for trial in trials]
            figures.draw_all(folder, table, curves, search.importances(), settings.options, measure, second)
            tracked.log_headline({f"best_{measure}": best.value})
            value = f"{shown(table.loc[best.number, measure], measure, digits=2)} {measure.replace('_', ' ')}"
            print(f"best of {len(trials)} trials: number {best.number}, {value}")
        tracked.log_metrics({"trials": len(trials), "seconds": sum(trial.seconds for trial in trials)})
        tracked.log_files(record.seal(folder))


if __name__ == "__main__":
    run(main)
