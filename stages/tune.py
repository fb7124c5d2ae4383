"""tune: search the hyperparameters with Optuna's TPE; an interrupted search goes on where it was."""

from functools import partial

from glassbox import config, files, hyperparameters, models, postgres, record, tracking, tuning
from glassbox.data import store
from glassbox.engine import start
from glassbox.errors import run
from glassbox.progress import Bar

DATA, REPORTS, JOURNALS = "data/prepared", "reports/tune", "data/search"


def main() -> None:
    seed, on, how, settings, name, normalization, size, weights, stem, dropout, momentum, *as_trained = config.load(
        "study.seed", "compute", "augment", "tune", "model.name", "model.normalization", "model.input_size",
        "model.weights", "model.stem", "model.dropout", "model.batch_norm_momentum", "train.class_weights",
        "train.sampling", "train.watch",
    )  # fmt: skip
    if settings.storage:
        postgres.check(settings.storage)
    known = hyperparameters.unsearched(
        name, normalization, size, weights=weights, stem=stem, dropout=dropout, batch_norm_momentum=momentum
    )
    models.check()
    with files.exclusive("data/.tune.lock", "tuning"), tracking.stage("tune") as tracked, start(on) as at:
        description = store.describe(DATA)
        for sentence in models.check_data(known, description):
            print(f"note: {sentence}")
        tracked.begin(description)
        tracked.log_params(config.flatten(settings, "tune."))
        place = (at.place, JOURNALS, at.place.threads, at.apart)
        search = tuning.Search(settings, known, how, seed, description, *place, *as_trained)
        measure = search.measure
        if search.at_once < settings.workers:
            print(f"tune.workers is {settings.workers}; {search.at_once} trial(s) at a time, one a core")
        done = search.trials()
        for trial in done:
            tracked.log_trial(trial.number, trial.state, trial.params, trial.curve, trial.seconds, measure)
        bar = Bar(total=settings.n_trials, initial=len(done), desc="searching", unit="trial")
        read = at.lend(partial(store.read, DATA), "train", "validation")
        for number, result in search.run(read, partial(at.work_off, gpus=settings.gpus, variables=postgres.variables)):
            if isinstance(result, tuning.Trial):
                tracked.log_trial(number, result.state, result.params, result.curve, result.seconds, measure)
                bar.update()
            else:
                bar.set_postfix_str(f"trial {number}, epoch {result.epoch}: {100 * getattr(result, measure):.1f} %")
        bar.close()

        from glassbox.figures import search as figures  # matplotlib takes half a second, and draws last

        folder, trials = files.fresh_folder(REPORTS), search.trials()
        best = search.best() if settings.n_trials else None
        table = tuning.table(trials, settings.space, measure)
        files.write_csv(folder / "trials.csv", table)
        files.write_json(folder / "best.json", tuning.summary(best, trials, measure), checked=True)
        seconds = [round(trial.seconds, 3) for trial in trials]
        times = {"machine": at.machine(), "trials_at_once": search.at_once, "seconds": seconds}
        files.write_times(folder, times)
        if best:
            figures.draw_all(folder, table, [t.curve for t in trials], search.importances(), settings.space, measure)
            tracked.log_headline({f"best_{measure}": best.value})
            named = measure.replace("_", " ")
            print(f"best of {len(trials)} trials: number {best.number}, {100 * best.value:.2f} % {named}")
        tracked.log_metrics({"trials": len(trials), "seconds": sum(trial.seconds for trial in trials)})
        tracked.log_files(record.seal(folder))


if __name__ == "__main__":
    run(main)
