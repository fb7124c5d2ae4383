"""score: which explanation to believe, on images drawn before any map is made, beside controls that know nothing."""

import time

from tqdm import tqdm

from glassbox import compute, config, explainers, files, gate, models, scorecard, scoring, tracking
from glassbox.data import store
from glassbox.errors import run
from glassbox.figures import scorecard as figures

DATA, MODEL, PREDICTIONS, REPORTS = "data/prepared", "models", "reports/evaluate/predictions.csv", "reports/score"


def main() -> None:
    seed, machine, explain, s = config.load("study.seed", "compute", "explain", "score")
    with files.exclusive("data/.score.lock", "scoring"), tracking.stage("score") as tracked:
        d = store.describe(DATA)
        tracked.begin(d)
        tracked.log_params(config.flatten(s, "score."))
        place = compute.resolve(machine)
        classifier, card = models.load(MODEL, place.device)
        test, p = store.read(DATA, "test"), files.read_csv(PREDICTIONS).filter(regex=r"^p\(").to_numpy()
        train = store.read(DATA, "train").images
        background = explainers.draw_background(train, explainers.n_background(explain), seed)
        start, scored = time.perf_counter(), []
        checks = gate.check(classifier, test, place.batch_size) if test.masks is not None and test.changed else []
        refusal = gate.refusal(checks)
        if refusal is None:
            about = (d.mean, explain, s, place.batch_size, seed)
            ground = scoring.prepare(classifier, card, test, p.argmax(axis=1), *about)
            with tqdm(total=scoring.steps(ground), desc="scoring", unit="map", disable=None) as bar:
                for one in scoring.score(ground, background, bar.update):
                    scored.append(one)
        costs = compute.costs(place, start, s.images)

        folder = files.fresh_folder(REPORTS)
        files.write_json(folder / "gate.json", {"checks": [vars(check) for check in checks], "refusal": refusal})
        files.write_json(folder / "timing.json", {"machine": compute.machine(place)} | costs | scoring.costs(scored))
        said = [refusal] if refusal else []
        if scored:
            values, curves = scoring.table(scored, ground, card.classes), scoring.curves(scored)
            table, ranking = scorecard.summarise(values, seed), scorecard.rank(values, seed)
            passed = scorecard.passes(table)
            said = scorecard.verdicts(ranking, passed)
            tables = {"values": values, "scorecard": table, "randomization": curves, "budgets": scoring.budgets(scored)}
            for name, rows in tables.items():
                files.write_csv(folder / f"{name}.csv", rows)
            files.write_json(folder / "ranking.json", {"metrics": ranking, "emprt": passed, "verdicts": said})
            figures.draw_all(folder, table, ranking, curves)
            tracked.log_headline(scorecard.headline(table))
        tracked.log_metrics(costs)
        tracked.log_files(folder)
        print("\n".join(said))


if __name__ == "__main__":
    run(main)
