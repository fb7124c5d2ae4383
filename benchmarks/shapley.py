"""Error of Shapley values against evaluations: `shapley.estimate`, shap's KernelExplainer and its PermutationExplainer.

All estimate the same games: a small CNN, trained for seconds on scikit-learn's digits, sees a test image with regions,
cells of a grid, behind the training images' mean colour; the value is the probability of the class that it predicts for
the whole image. Exact values come from all coalitions, whose values are computed once and then looked up. Evaluations
are coalitions asked for, everything and nothing among them. An image's error is the length of the difference from the
exact values over the length of these.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import harness
from benchmarks.common import AUGMENT, NETWORK
from glassbox import compute, config, models, shapley, training
from glassbox.data.batches import to_float
from glassbox.data.sources import digits
from glassbox.data.store import Split, statistics
from glassbox.models import Classifier

SIDE, TRAINING, EPOCHS, BATCH = 16, 1400, 15, 1024
BARS = {(12, 256): 0.6, (12, 1024): 0.5}  # by players and evaluations
GRIDS = {(3, 4): 24, (4, 4): 8}  # rows and columns: images
EVALUATIONS = (128, 256, 512, 1024)
DRAWS = 3  # seeds an image
SMALL = {"conv1_filters": 16, "pool_size_1": 2, "conv2_filters": 32, "batch_norm_momentum": 0.9}

Estimator = Callable[[shapley.Game, int, int, int], np.ndarray]  # game, players, evaluations, seed: values (S,)


def trained(place: compute.Place) -> tuple[Classifier, Split, float]:
    """A network, images that it did not learn from, and its accuracy on these."""
    images = digits.load(SIDE)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    learn, test = (
        Split(pixels[rows], labels[rows], None, rows, None).to(place.device) for rows in order.split(TRAINING)
    )
    torch.manual_seed(0)
    mean, std = statistics(learn.images.cpu().numpy())
    model = models.build("cnn", NETWORK | SMALL, SIDE, len(images.classes), mean, std).to(place.device)
    how = AUGMENT.model_copy(update={"flip": False, "crop": 0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0})
    optimizer = training.make_optimizer(model, training.OptimizerSettings("adam", 1e-3))
    settings = {"epochs": EPOCHS, "batch_size": 128, "how": how, "patience": EPOCHS, "seed": 0}
    for _ in training.fit(model, learn, test, optimizer, place=place, **settings):
        pass
    return model.eval(), test, training.assess(model, test, place)[1]


def coalitions(players: int) -> np.ndarray:
    """All masks (2^S, S) of bool; that of number n has the bits of n."""
    return (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)


@torch.inference_mode()
def table(model: Classifier, image: torch.Tensor, rows: int, columns: int) -> np.ndarray:
    """Probability (2^S, 1) of the predicted class for every coalition of the cells of a grid."""
    y, x = (torch.arange(SIDE, device=image.device) * n // SIDE for n in (rows, columns))
    cells = y[:, None] * columns + x
    whole, colour = to_float(image[None]), model.mean.view(1, 3, 1, 1)
    target = model(whole).argmax().item()
    masks = torch.from_numpy(coalitions(rows * columns)).to(image.device)
    parts = [
        model(torch.where(part[:, None, cells], whole, colour)).double().softmax(dim=1)[:, target]
        for part in masks.split(BATCH)
    ]
    return torch.cat(parts).cpu().numpy()[:, None]


def kernel_explainer(game: shapley.Game, players: int, evaluations: int, seed: int) -> np.ndarray:
    """shap's KernelExplainer without its selection of ten players, on as many coalitions in all."""
    import shap

    np.random.seed(seed)  # noqa: NPY002 (which it draws from)
    explainer = shap.KernelExplainer(game, np.zeros((1, players)))
    # What is asked beside the samples: nothing, for the expected value and again, and everything.
    found = explainer.shap_values(np.ones((1, players)), nsamples=evaluations - 3, l1_reg=False, silent=True)
    return np.asarray(found).reshape(players)


def permutation_explainer(game: shapley.Game, players: int, evaluations: int, seed: int) -> np.ndarray:
    """shap's PermutationExplainer on as many whole permutations, each there and back, as the evaluations allow."""
    import shap

    masker = shap.maskers.Independent(np.zeros((1, players)), max_samples=1)
    explainer = shap.PermutationExplainer(lambda masks: game(masks)[:, 0], masker, seed=seed)
    return explainer(np.ones((1, players)), max_evals=evaluations, silent=True).values[0]


def measure(tables: list[np.ndarray], players: int, evaluations: int) -> dict:
    """One row: medians over images and draws of each estimator."""
    asked, errors, correlations, within = {}, {}, {}, []
    for number, values in enumerate(tables):
        truth = shapley.exact(lambda masks, v=values: v[masks @ (1 << np.arange(players))], players)[0]
        for draw in range(DRAWS):
            count = [0]

            def game(masks: np.ndarray, v: np.ndarray = values, count: list[int] = count) -> np.ndarray:
                count[0] += len(masks)
                return v[masks.astype(bool) @ (1 << np.arange(players))]

            def ours(*arguments: int, truth: np.ndarray = truth) -> np.ndarray:
                made = shapley.estimate(*arguments)
                within.extend(np.abs(made.values[0] - truth) <= 2 * made.standard_errors[0])
                return made.values[0]

            estimators: dict[str, Estimator] = {
                "ours": ours, "KernelExplainer": kernel_explainer, "PermutationExplainer": permutation_explainer
            }  # fmt: skip
            for name, estimator in estimators.items():
                count[0] = 0
                found = estimator(game, players, evaluations, 1000 * draw + number)
                assert count[0] <= evaluations, (name, count[0])
                asked.setdefault(name, []).append(count[0])
                errors.setdefault(name, []).append(np.linalg.norm(found - truth) / np.linalg.norm(truth))
                correlations.setdefault(name, []).append(np.corrcoef(found, truth)[0, 1])
    medians = {name: float(np.median(of)) for name, of in errors.items()}
    row: dict[str, Any] = {
        "name": f"Shapley values of {players} players, at most {evaluations} evaluations",
        "images": len(tables),
        "draws": DRAWS,
        "evaluations": {name: float(np.median(of)) for name, of in asked.items()},
        "relative_error": medians,
        "correlation": {name: float(np.median(of)) for name, of in correlations.items()},
        "ratio": medians["ours"] / medians["KernelExplainer"],
        "within_two_standard_errors": float(np.mean(within)),
    }
    shown = "  ".join(f"{medians[name]:.4f} / {row['correlation'][name]:.4f} @{asked[name][0]:<4}" for name in medians)
    print(f"{players:7}  {evaluations:11}  {shown}  {row['ratio']:5.2f}  {100 * np.mean(within):5.1f} %", flush=True)
    bar = BARS.get((players, evaluations))
    row["ratios"] = [harness.judged("error: ours / KernelExplainer", row["ratio"], at_most=bar)]
    return row


def main() -> None:
    place = compute.resolve(config.read("params.yaml").compute)
    model, test, accuracy = trained(place)
    print(f"CNN of digits, test accuracy {accuracy:.3f}; median relative error / correlation @evaluations")
    print("players  evaluations  ours                    KernelExplainer         PermutationExplainer    ratio  2 se")
    rows = [{"name": "test accuracy of the network", "accuracy": accuracy}]
    for (high, wide), images in GRIDS.items():
        tables = [table(model, image, high, wide) for image in test.images[:images]]
        rows += [measure(tables, high * wide, evaluations) for evaluations in EVALUATIONS]
    harness.record("shapley", rows)


if __name__ == "__main__":
    main()
