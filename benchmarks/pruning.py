"""What median pruning saves: whole searches of the shipped study's space on digits, without pruning (A) and with (B).

20 trials of at most 20 epochs, as in the CNN paper, on each of five seeds; early stopping in a trial is the same in
both. Counted are epochs, which do not depend on the load of the machine, beside the best validation accuracy found.
About 15 minutes on 2 cores, so only when named: python -m benchmarks pruning
"""

import statistics
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import harness
from glassbox.config import parameters
from glassbox.config.hyperparameters import together
from glassbox.config.parameters import Params
from glassbox.data import preparation, store
from glassbox.execution import compute
from glassbox.search import trainer, tuning

SEEDS = range(5)
TRIALS, EPOCHS = 20, 20


def search(params: Params, seed: int, pruned: bool, folder: Path) -> tuple[int, float]:
    """Epochs of all trials, and the best validation accuracy of a complete one."""
    settings = params.tune.model_copy(
        update={"n_trials": TRIALS, "epochs": EPOCHS, "patience": 5, "startup_trials": 6, "pruner_startup_trials": 4,
                "pruner_warmup_epochs": 3 if pruned else EPOCHS}
    )  # fmt: skip
    data = folder / "data"
    place = compute.resolve(params.compute)
    known = together(params.model, params.train, params.augment)
    of_trials = trainer.Trainer(settings, known, seed, store.describe(data), place)
    made = tuning.Search(of_trials, folder / "search")
    for _ in made.run(partial(store.read, data)):
        pass
    return sum(len(trial.curve) for trial in made.trials()), made.best().value


def main() -> None:
    params = parameters.read("studies/digits.yaml")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = preparation.prepare(params.data, params.study.seed)
        store.write(folder / "data", prepared.images, prepared.index, params.data.source)
        for seed in SEEDS:
            (whole, best), (fewer, found) = (search(params, seed, pruned, folder) for pruned in (False, True))
            rows.append({"seed": seed, "epochs": [whole, fewer], "best_validation_accuracy": [best, found]})
            print(f"seed {seed}: {whole} epochs, best {best:.4f}; pruned {fewer} ({fewer / whole:.2f}), {found:.4f}")
    ratio = statistics.median(row["epochs"][1] / row["epochs"][0] for row in rows)
    gain = statistics.mean(row["best_validation_accuracy"][1] - row["best_validation_accuracy"][0] for row in rows)
    print(f"pruning: {ratio:.3f} of the epochs (median), best validation accuracy {100 * gain:+.2f} points (mean)")
    harness.record("pruning", rows)
