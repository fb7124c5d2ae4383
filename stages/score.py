"""score: which explanation to believe, on images drawn before any map is made, beside controls that know nothing."""

from functools import partial

from glassbox import config, explainers, files, gate, models, record, resume, scorecard, scoring, shortcut, tracking
from glassbox.data import store
from glassbox.data.base import NOISE
from glassbox.engine import start
from glassbox.errors import run
from glassbox.predictions import read, temperature
from glassbox.progress import Bar

DATA, MODEL, REPORTS = "data/prepared", "models", "reports/score"
PREDICTIONS, CALIBRATION = "reports/evaluate/predictions.csv", "reports/evaluate/calibration.json"


def main() -> None:
    seed, on, explain, s = config.load("study.seed", "compute", "explain", "score")
    with files.exclusive("data/.score.lock", "scoring"), tracking.stage("score") as tracked, start(on) as at:
        d = store.describe(DATA)
        tracked.begin(d)
        tracked.log_params(config.flatten(s, "score."))
        classifier, card = models.load(MODEL, at.device, t := temperature(CALIBRATION))
        test, train = (store.read(DATA, split) for split in ("test", "train"))
        p = read(PREDICTIONS, len(test), card.classes)
        background = explainers.draw_background(train.images, explainers.n_background(explain), seed)
        keep = resume.parts("score", at, seed, d.digest, resume.digest(MODEL, PREDICTIONS, CALIBRATION), explain, s)
        scored, size, measured, exposed, maps = [], at.place.batch_size, None, None, partial(Bar, unit="map")
        about = (d.mean, background, explain, s, size, seed, keep)
        checks = gate.check(classifier, test, size, keep) if gate.applies(test) else []
        if (refusal := gate.refusal(checks)) is None:
            ground = scoring.prepare(classifier, card, test, p.argmax(axis=1), *about)
            with maps(total=scoring.steps(ground), desc="scoring") as bar:
                scored += scoring.score(ground, bar.update)
        if shortcut.applies(test):
            control, _ = models.load(f"{MODEL}/{NOISE}", at.device, t)
            measured = shortcut.measure(classifier, control, test, size, keep=keep)
            if measured.has_control:
                with maps(total=scoring.steps_to_expose(explain, s, test), desc="exposing") as bar:
                    exposed = scoring.expose(classifier, control, test, *about, bar.update)
        costs = at.costs(keep.began, s.images)

        from glassbox.figures import scorecard as figures  # matplotlib takes half a second, and draws last

        folder, said = files.fresh_folder(REPORTS), [refusal] if refusal else []
        files.write_json(folder / "gate.json", {"checks": [vars(check) for check in checks], "refusal": refusal})
        files.write_times(folder, {"machine": at.machine()} | costs | scoring.costs(scored))
        if scored:
            found = scorecard.make(scored, ground, card.classes, seed)
            for name, table in found.tables.items():
                files.write_csv(folder / f"{name}.csv", table)
            files.write_json(folder / "ranking.json", found.ranking)
            figures.draw_all(folder, found)
            tracked.log_headline(found.headline())
            said += found.ranking["verdicts"]
        if measured:
            told = shortcut.summary(measured, exposed and exposed.contrast)
            files.write_json(folder / "shortcut.json", told)
            if exposed:
                figures.draw_exposed(folder, exposed)
            said += told["verdicts"]
        tracked.log_metrics(costs)
        tracked.log_files(record.seal(folder))
        keep.finish()
        print("\n".join(said))


if __name__ == "__main__":
    run(main)
