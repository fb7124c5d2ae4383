"""Error of Shapley values against evaluations: `shapley.estimate`, shap's KernelExplainer and its PermutationExplainer;
and how many values lie within 1.96 of the standard errors that `shapley.estimate` gives.

All estimate the same games: a small CNN, trained for seconds on scikit-learn's digits, sees a test image with regions,
cells of a grid, behind the training images' mean colour; the value is the probability of the class that it predicts for
the whole image. Exact values come from all coalitions, whose values are computed once and then looked up. Evaluations
are coalitions asked for, everything and nothing among them. An image's error is the length of the difference from the
exact values over the length of these.

With 100 background images the value of a coalition is a mean of 100 games. `shapley.estimate_mean` draws a game for
each pair of coalitions; it is compared with `shapley.estimate` where every coalition is evaluated in all games, at as
many evaluations and at ten times as many.

Coverage is that of the values of the three most probable classes, hidden regions taken from the mean colour or from
training images, as the explainer takes them. Thirty regions have too many coalitions: there what is compared with is an
estimate from 8,192 evaluations, whose own standard error is added.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import harness
from benchmarks.common import AUGMENT, NETWORK, training
from glassbox import models
from glassbox.config import parameters
from glassbox.data.batches import to_float
from glassbox.data.sources import digits
from glassbox.data.store import Split, statistics
from glassbox.execution import compute
from glassbox.explainers import shapley
from glassbox.models import Classifier
from glassbox.models.preprocessing import Preprocessing
from glassbox.training import loop, losses, optimizers, recipe

SIDE, TRAINING, EPOCHS, BATCH = 16, 1400, 15, 1024
BARS = {(12, 256): 0.6, (12, 1024): 0.5}  # by players and evaluations
GRIDS = {(3, 4): 24, (4, 4): 8}  # rows and columns: images
EVALUATIONS = (128, 256, 512, 1024)
DRAWS = 3  # seeds an image; one where the coverage of more than 1,000 evaluations is measured
NORMAL = 1.96  # standard errors, within which 95 % of a normal distribution lie
COVERED = {(3, 4): 12, (4, 4): 6, (5, 6): 6}  # rows and columns: images of which standard errors are checked
COVERAGE = {  # evaluations, by players
    12: (50, 100, 200, 400, 800, 1600, 2400, 3000, 3600, 4000, 4094),
    16: (50, 100, 200, 400, 800, 1600, 3200),
    30: (100, 200, 400, 800, 1600),
}
ENUMERATED = 16  # most players whose exact values are computed from all coalitions
CLASSES, SHOWN, LONG = 3, 5, 8192  # classes an image, images of the background, evaluations of 30 players' values
GAMES, OF_MEANS = 100, {(3, 4): 6, (4, 4): 2}  # background images; rows and columns: images
MEANS = (700, 1100, 2100, 4100)  # evaluations of a mean of games
LOWEST = 0.92  # share of the values within; not judged where one pair is left, on which all values of a class hang
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
    model = models.build("cnn", NETWORK | SMALL, Preprocessing(mean, std), SIDE, len(images.classes)).to(place.device)
    how = AUGMENT.model_copy(update={"flip": False, "crop": 0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0})
    optimizer = optimizers.make_optimizer(model, training())
    made = recipe.Recipe(epochs=EPOCHS, batch_size=128, augment=how, seed=0, patience=EPOCHS)
    for _ in loop.fit(model, learn, test, optimizer, made, place=place):
        pass
    return model.eval(), test, losses.assess(model, test, place).accuracy


def coalitions(players: int) -> np.ndarray:
    """All masks (2^S, S) of bool; that of number n has the bits of n."""
    return (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)


def game_of(
    model: Classifier, image: torch.Tensor, rows: int, columns: int, hidden: torch.Tensor, classes: int = 1
) -> shapley.Game:
    """Probabilities (M, T) of the most probable classes by masks (M, S) of the cells of a grid: means over what takes
    the place of hidden cells, (B, 3, H, W) or colours (B, 3, 1, 1)."""
    y, x = (torch.arange(SIDE, device=image.device) * n // SIDE for n in (rows, columns))
    cells, whole = y[:, None] * columns + x, to_float(image[None])
    with torch.inference_mode():
        targets = model(whole)[0].argsort(descending=True)[:classes]

    @torch.inference_mode()
    def game(masks: np.ndarray) -> np.ndarray:
        parts = []
        for part in torch.from_numpy(masks).to(image.device).split(BATCH):
            mixed = (torch.where(part[:, None, cells], whole, other) for other in hidden)
            parts.append(sum(model(x).double().softmax(dim=1)[:, targets] for x in mixed) / len(hidden))
        return torch.cat(parts).cpu().numpy()

    return game


def looked_up(values: np.ndarray) -> shapley.Game:
    """The game whose values (2^S, T) of all coalitions are known."""
    bits = 1 << np.arange(len(values).bit_length() - 1)
    return lambda masks: values[masks.astype(bool) @ bits]


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


def exact(game: shapley.Game, players: int) -> np.ndarray:
    """Shapley values (T, S) from all coalitions."""
    return shapley.estimate(game, players, 2**players, seed=0).values


def measure(tables: list[np.ndarray], players: int, evaluations: int) -> dict:
    """One row: medians over images and draws of each estimator."""
    asked, errors, correlations = {}, {}, {}
    for number, values in enumerate(tables):
        truth = exact(looked_up(values), players)[0]
        for draw in range(DRAWS):
            count = [0]

            def game(masks: np.ndarray, v: np.ndarray = values, count: list[int] = count) -> np.ndarray:
                count[0] += len(masks)
                return looked_up(v)(masks)

            estimators: dict[str, Estimator] = {
                "ours": lambda *arguments: shapley.estimate(*arguments).values[0],
                "KernelExplainer": kernel_explainer,
                "PermutationExplainer": permutation_explainer,
            }
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
    }
    shown = "  ".join(f"{medians[name]:.4f} / {row['correlation'][name]:.4f} @{asked[name][0]:<4}" for name in medians)
    print(f"{players:7}  {evaluations:11}  {shown}  {row['ratio']:5.2f}", flush=True)
    bar = BARS.get((players, evaluations))
    row["ratios"] = [harness.judged("error: ours / KernelExplainer", row["ratio"], at_most=bar)]
    return row


def cover(
    games: list[shapley.Game], truths: list[tuple[np.ndarray, np.ndarray]], players: int, evaluations: int, name: str
) -> dict[str, Any]:
    """One row: the share of the values of all images, classes and players within 1.96 standard errors of those that
    they are compared with, given with standard errors of their own, (T, S) each."""
    within = []
    for number, (game, (truth, own)) in enumerate(zip(games, truths, strict=True)):
        for draw in range(DRAWS if evaluations <= 1000 else 1):
            made = shapley.estimate(game, players, evaluations, 1000 * draw + number)
            within.append(np.abs(made.values - truth) <= NORMAL * np.hypot(made.standard_errors, own))
    share, bar = float(np.mean(within)), LOWEST if evaluations < 2**players - 2 else None
    print(f"{players:7}  {evaluations:11}  {name:11}  {100 * share:5.1f} %", flush=True)
    return {
        "name": f"Shapley values of {players} players behind {name}, {evaluations} evaluations",
        "images": len(games),
        "classes": CLASSES,
        "ratios": [harness.judged(f"share within {NORMAL} standard errors", share, at_least=bar)],
    }


def tables_of_games(model: Classifier, test: Split, image: torch.Tensor, rows: int, columns: int) -> np.ndarray:
    """Values (B, 2^S, T) of all coalitions in the game of each background image."""
    masks = coalitions(rows * columns)
    others = to_float(test.images[-GAMES:]).split(1)
    return np.stack([game_of(model, image, rows, columns, other, CLASSES)(masks) for other in others])


def measure_mean(tables: list[np.ndarray], players: int, evaluations: int) -> dict[str, Any]:
    """One row: medians over images and draws of the relative error of all classes' values."""
    bits, errors, within = 1 << np.arange(players), {}, []
    for number, values in enumerate(tables):
        mean = looked_up(values.mean(axis=0))
        truth = exact(mean, players)
        for draw in range(DRAWS):
            seed = 1000 * draw + number
            drawn = shapley.estimate_mean(
                lambda masks, which, v=values: v[which, masks @ bits], GAMES, players, evaluations, seed
            )
            within.append(np.abs(drawn.values - truth) <= NORMAL * drawn.standard_errors)
            found = {"drawn": drawn.values}
            for times in (1, 10):
                asked = times * evaluations // GAMES
                if asked >= 2:
                    found[f"all games, {times} x"] = shapley.estimate(mean, players, asked, seed).values
            for name, values_ in found.items():
                errors.setdefault(name, []).append(np.linalg.norm(values_ - truth) / np.linalg.norm(truth))
    medians, share = {name: float(np.median(of)) for name, of in errors.items()}, float(np.mean(within))
    shown = "  ".join(f"{name} {error:.4f}" for name, error in medians.items())
    print(f"{players:7}  {evaluations:11}  {shown}  within {100 * share:.1f} %", flush=True)
    return {
        "name": f"Shapley values of {players} players in the mean of {GAMES} games, {evaluations} evaluations",
        "images": len(tables),
        "draws": DRAWS,
        "relative_error": medians,
        "share_within": share,
        "ratios": [
            harness.judged("error: drawn / all games", medians["drawn"] / medians["all games, 1 x"], at_most=0.7)
        ],
    }


def covered(model: Classifier, test: Split, rows: int, columns: int, images: int) -> list[dict[str, Any]]:
    """All rows of a grid."""
    players, found = rows * columns, []
    colour, others = model.mean.view(1, 3, 1, 1), to_float(test.images[-SHOWN:])
    for name, hidden in (("mean colour", colour), (f"{SHOWN} images", others)):
        games = [game_of(model, image, rows, columns, hidden, CLASSES) for image in test.images[:images]]
        if players <= ENUMERATED:
            games = [looked_up(game(coalitions(players))) for game in games]
            truths = [(exact(game, players), np.zeros((CLASSES, players))) for game in games]
        else:
            longs = [shapley.estimate(game, players, LONG, images + n) for n, game in enumerate(games)]
            truths = [(long.values, long.standard_errors) for long in longs]
        found += [cover(games, truths, players, evaluations, name) for evaluations in COVERAGE[players]]
    return found


def main() -> None:
    place = compute.resolve(parameters.read("params.yaml").compute)
    model, test, accuracy = trained(place)
    print(f"CNN of digits, test accuracy {accuracy:.3f}; median relative error / correlation @evaluations")
    print("players  evaluations  ours                    KernelExplainer         PermutationExplainer    ratio")
    rows = [{"name": "test accuracy of the network", "accuracy": accuracy}]
    for (high, wide), images in GRIDS.items():
        colour, all_ = model.mean.view(1, 3, 1, 1), coalitions(high * wide)
        tables = [game_of(model, image, high, wide, colour)(all_) for image in test.images[:images]]
        rows += [measure(tables, high * wide, evaluations) for evaluations in EVALUATIONS]
    for (high, wide), images in OF_MEANS.items():
        tables = [tables_of_games(model, test, image, high, wide) for image in test.images[:images]]
        rows += [measure_mean(tables, high * wide, evaluations) for evaluations in MEANS]
    print(f"players  evaluations  hidden by    values within {NORMAL} standard errors")
    for (high, wide), images in COVERED.items():
        rows += covered(model, test, high, wide, images)
    harness.record("shapley", rows)


if __name__ == "__main__":
    main()
