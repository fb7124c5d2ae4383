"""explain: why the classifier decided as it did, by every explainer, and how far each can be believed."""

import numpy as np
from tqdm import tqdm

from glassbox import compute, config, explaining, files, lime_stability, models, names, selection, tracking
from glassbox.data import store
from glassbox.errors import run
from glassbox.evaluation.classification import confused_pairs, confusion
from glassbox.figures import explanations as figures
from glassbox.figures import lime_stability as stability_figure
from glassbox.figures import scorecard as scorecard_figure

DATA, MODEL, PREDICTIONS, REPORTS = "data/prepared", "models", "reports/evaluate/predictions.csv", "reports/explain"


def main() -> None:
    seed, machine, s = config.load("study.seed", "compute", "explain")
    with files.exclusive("data/.explain.lock", "explaining"), tracking.stage("explain") as tracked:
        d = store.describe(DATA)
        tracked.begin(d)
        tracked.log_params(config.flatten(s, "explain."))
        place = compute.resolve(machine)
        classifier, card = models.load(MODEL, place.device)
        test, classes = store.read(DATA, "test"), card.classes
        labels, p = test.labels.numpy(), files.read_csv(PREDICTIONS).filter(regex=r"^p\(").to_numpy()
        predicted = p.argmax(axis=1)
        pairs = confused_pairs(confusion(labels, predicted, len(classes)), p, labels)[: s.pairs]
        picks = selection.pick(
            labels, predicted, p, pairs, classes, images=s.images, correct_per_class=s.correct_per_class,
            mistakes=s.mistakes, images_per_pair=s.images_per_pair, seed=seed,
        )  # fmt: skip
        request = explaining.request_for(picks, test.images, seed)
        background = explaining.draw_background(store.read(DATA, "train").images, explaining.n_background(s), seed)
        again = lime_stability.choose(picks, s.lime.stability.images if "lime" in s.explainers else 0)
        steps = explaining.steps(request, s) + len(again) * lime_stability.runs(s.lime)
        with tqdm(total=steps, desc="explaining", unit="step", disable=None) as bar:
            results = []
            for r in explaining.explain(classifier, request, background, d.mean, s, place.batch_size, bar.update):
                results.append(r)
                tracked.log_metrics({f"seconds_a_map/{r.name}": r.attribution.seconds.mean()})
            if again:
                how = (s.lime, s.superpixels, place.batch_size, seed)
                stability = lime_stability.measure(classifier, again, test.images, *how, bar.update)

        folder = files.fresh_folder(REPORTS)
        index = explaining.index_table(picks, results, labels, predicted, test.index.numpy(), classes, test.names)
        table = explaining.scorecard(index, seed)
        with files.replacing(folder / "attributions.npz") as partial:
            np.savez(partial, maps=np.concatenate([r.attribution.maps for r in results]), images=request.images.numpy())
        files.write_csv(folder / "index.csv", index)
        files.write_csv(folder / "scorecard.csv", table)
        scorecard_figure.forest(folder / "scorecard.png", table, names.TITLES, names.CONTROL)
        if again:
            files.write_csv(folder / "lime_stability.csv", stability.table)
            picture = folder / "lime_stability.png"
            stability_figure.draw(picture, stability, again, test.images.numpy(), s.lime.regions)
        figures.draw_all(folder / "figures", picks, results, request.images.numpy(), p, labels, classes, s.lime.regions)

        measured = table[table["metric"].isin(names.MEASURES)]
        tracked.log_headline({f"{row.metric}/{row.explainer}": row.mean for row in measured.itertuples(index=False)})
        tracked.log_files(folder)
        print(f"explained {len(picks)} images with {len(s.explainers)} explainers: {len(index)} maps")


if __name__ == "__main__":
    run(main)
