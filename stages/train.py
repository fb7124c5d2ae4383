"""train: the network with the values that were given or found; the weights of its best epoch are kept."""

from dataclasses import asdict

import pandas as pd
from tqdm import tqdm

from glassbox import compute, config, files, hyperparameters, models, tracking, training
from glassbox.data import store
from glassbox.errors import run
from glassbox.figures import training as figures
from glassbox.seeds import derive

DATA, BEST, MODEL, REPORTS = "data/prepared", "reports/tune/best.json", "models", "reports/train"


def main() -> None:
    seed, machine, how, model, settings = config.load("study.seed", "compute", "augment", "model", "train")
    with files.exclusive("data/.train.lock", "training"), tracking.stage("train") as tracked:
        d, found = store.describe(DATA), files.read_json(BEST)
        network, optimizer, choices = hyperparameters.resolve(model, settings, found["params"], found["trial"])
        place = compute.resolve(machine)
        tracked.begin(d)
        used = {choice.key: choice.value for choice in choices}
        tracked.log_params(config.flatten(settings, "train.") | used | {"place": str(place)})
        train, validation = (store.read(DATA, split).to(place.device) for split in ("train", "validation"))
        classifier = models.fresh(network, d, derive(seed, "train", "weights"), place.device)
        chosen = training.make_optimizer(classifier, optimizer, settings.weight_decay)
        epochs = training.fit(
            classifier, train, validation, chosen, place=place, epochs=settings.epochs, batch_size=settings.batch_size,
            how=how, patience=settings.patience, min_delta=settings.min_delta, keep=settings.keep,
            schedule=training.make_schedule(settings), head_epochs=settings.head_epochs,
            label_smoothing=settings.label_smoothing, seed=derive(seed, "train", "batches"),
        )  # fmt: skip
        records = []
        for epoch in (bar := tqdm(epochs, total=settings.epochs, desc="training", unit="epoch", disable=None)):
            records.append(epoch)
            tracked.log_metrics(epoch.metrics(), epoch.epoch)
            bar.set_postfix_str(f"validation {100 * epoch.validation_accuracy:.1f} %, loss {epoch.validation_loss:.4f}")

        folder, table = files.fresh_folder(REPORTS), pd.DataFrame(map(asdict, records))
        best = (table if settings.keep == "last" else table[table["is_best"]]).iloc[-1]
        made_from = hyperparameters.table(choices)
        card = models.describe(network, classifier, d, made_from)
        models.save(files.fresh_folder(MODEL), classifier, card)
        files.write_csv(folder / "curves.csv", table.drop(columns=[*training.COSTS, "is_best"]))
        times = table[["epoch", *training.COSTS]].to_dict("list")
        files.write_json(folder / "timing.json", {"machine": compute.machine(place)} | times)
        files.write_json(folder / "hyperparameters.json", made_from)
        headline = {f"best_epoch_{k}": best[k] for k in ("validation_loss", "validation_accuracy", "weight_penalty")}
        files.write_json(folder / "metrics.json", headline | {"best_epoch": int(best["epoch"]), "epochs": len(table)})
        figures.curves(folder / "curves.png", table, int(best["epoch"]))
        tracked.log_headline(headline)
        tracked.log_files(folder)
        tracked.log_model(MODEL, d.image_size, d.classes, validation.images[:2].cpu().numpy())
        accuracy = 100 * best["validation_accuracy"]
        if card.began_fresh:
            print(f"not in {network.hyperparameters['weights']}, so begun fresh: {', '.join(card.began_fresh)}")
        n = card.parameters
        print(f"network of {n['total']:,} parameters, {n['trainable']:,} of them trainable")
        kept = f"kept: epoch {best['epoch']:.0f}, {accuracy:.2f} % validation accuracy"
        print(f"trained {len(table)} epochs on {place}; {kept}")


if __name__ == "__main__":
    run(main)
