"""tune: search the hyperparameters with Optuna's TPE; an interrupted search goes on where it was."""

from functools import partial

from glassbox import models, tracking
from glassbox.config.augment import Augment
from glassbox.config.compute import Compute
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
from glassbox.search import hyperparameters, outcome, trainer, tuning
from stages import check_study

DATA, REPORTS, JOURNALS = "data/prepared", "reports/tune", "data/search"


def main() -> None:
    study, compute, augment, settings, model, train = load(Study, Compute, Augment, Tune, Model, Train)
    known = hyperparameters.unsearched(
        model.name,
        model.normalization,
        model.input_size,
        weights=model.weights,
        stem=model.stem,
        dropout=model.dropout,
        batch_norm_momentum=model.batch_norm_momentum,
    )
    with (
        files.exclusive("data/.tune.lock", "tuning"),
        tracking.stage("tune") as tracked,
        start(compute) as engine,
    ):
        description = store.describe(DATA)
        check_study(data=description)
        for sentence in models.check_data(known, description):
            print(f"note: {sentence}")
        tracked.begin(description)
        tracked.log_params(flatten(settings, "tune."))
        trial_trainer = trainer.Trainer(
            settings=settings,
            known=known,
            how=augment,
            seed=study.seed,
            description=description,
            place=engine.place,
            class_weights=train.class_weights,
            sampling=train.sampling,
            watch=train.watch,
        )
        search = tuning.Search(trial_trainer, JOURNALS, threads=engine.place.threads, apart=engine.apart)
        measure = search.measure
        if search.at_once < settings.workers:
            print(f"tune.workers is {settings.workers}; {search.at_once} trial(s) at a time, one a core")
        done = search.trials()
        for trial in done:
            tracked.log_trial(trial.number, trial.state, trial.params, trial.curve, trial.seconds, measure)
        bar = Bar(total=settings.n_trials, initial=len(done), desc="searching", unit="trial")
        read = engine.lend(partial(store.read, DATA), "train", "validation")
        for number, result in search.run(read, partial(engine.work_off, gpus=settings.gpus)):
            if isinstance(result, outcome.Trial):
                tracked.log_trial(number, result.state, result.params, result.curve, result.seconds, measure)
                bar.update()
            else:
                bar.set_postfix_str(f"trial {number}, epoch {result.epoch}: {100 * getattr(result, measure):.1f} %")
        bar.close()

        from glassbox.figures import search as figures  # matplotlib takes half a second, and draws last

        folder, trials = files.fresh_folder(REPORTS), search.trials()
        best = search.best() if settings.n_trials else None
        table = outcome.table(trials, settings.space, measure)
        files.write_csv(folder / "trials.csv", table)
        files.write_json(folder / "best.json", outcome.summary(best, trials, measure), checked=True)
        seconds = [round(trial.seconds, 3) for trial in trials]
        times = {"machine": engine.machine(), "trials_at_once": search.at_once, "seconds": seconds}
        files.write_times(folder, times)
        if best is not None:
            figures.draw_all(folder, table, [t.curve for t in trials], search.importances(), settings.space, measure)
            tracked.log_headline({f"best_{measure}": best.value})
            named = measure.replace("_", " ")
            value = 100 * table.loc[best.number, measure]
            print(f"best of {len(trials)} trials: number {best.number}, {value:.2f} % {named}")
        tracked.log_metrics({"trials": len(trials), "seconds": sum(trial.seconds for trial in trials)})
        tracked.log_files(record.seal(folder))


if __name__ == "__main__":
    run(main)
