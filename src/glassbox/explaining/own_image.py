"""An image of the user, explained by every explainer."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from glassbox import models
from glassbox.config.parameters import Params
from glassbox.core import files
from glassbox.core.errors import UserError, cut
from glassbox.core.progress import Bar
from glassbox.core.seeds import derive
from glassbox.data import decode, store, user_paths
from glassbox.data.user_paths import shown
from glassbox.evaluation import predictions
from glassbox.evaluation.classification import accuracy_interval
from glassbox.execution import compute
from glassbox.explainers import factory
from glassbox.explainers.base import Request
from glassbox.explainers.catalog import BLACK_BOX, EXPLAINERS, TITLES
from glassbox.explainers.running import Bookkeeping, attribute
from glassbox.explainers.superpixels import segment
from glassbox.explaining import familiarity
from glassbox.explaining.explanations import Explained
from glassbox.xai_metrics.faithfulness import deletion_curves
from glassbox.xai_metrics.intervention import each_region, probabilities_behind

FOLDER, REPORTS = Path("reports/photos"), Path("reports")
NEED_GRADIENTS = set(EXPLAINERS) - set(BLACK_BOX)
EXPLAINED = 2  # classes: the most probable ones
SIMILAR, SIMILAR_WITHIN = 100, 0.1  # test images of the most similar confidence, and how far theirs may be from it
FEWEST = 10  # of them, with fewer of which nothing is said
NEIGHBOURS = 6  # training images that are shown
CROPS = (1.0, 0.75, 0.5)  # sides of the squares that are tried, shares of the image's shorter side

Square = tuple[int, int, int]  # left, top and side of a square in an image, pixels


@dataclass(frozen=True)
class Likeness:
    """How like the training images an image is; see `familiarity`."""

    distance: float
    threshold: float  # above it the image is unlike them
    held_out: int  # validation images that the threshold comes from
    nearest: np.ndarray  # (NEIGHBOURS, H, W, 3) uint8, the nearest training images
    classes: tuple[str, ...]  # theirs
    square: Square | None = None  # the most similar square of an image that is unlike them, if that is like them

    @property
    def is_alike(self) -> bool:
        return self.distance <= self.threshold

    def told(self, name: str) -> list[str]:
        """In sentences; `name` is the file's."""
        held_out = f"of {self.held_out:,} validation images 95 % are nearer than {self.threshold:.2f}"
        if self.is_alike:
            return [f"It is like the training images: distance {self.distance:.2f}; {held_out}."]
        sentences = [
            f"It is UNLIKE the training images: distance {self.distance:.2f}; {held_out}. Its class and its maps may "
            "mean nothing."
        ]
        if self.square:
            given = ",".join(map(str, self.square))
            sentences.append(f"A square of it is like them: make explain IMAGE={name} CROP={given}")
        return sentences


@dataclass(frozen=True)
class Photo:
    """An image, its prediction and explanations."""

    name: str  # the file's name, as it is shown
    image: np.ndarray  # (H, W, 3) uint8, as the classifier sees it
    classes: tuple[str, ...]  # names
    probabilities: np.ndarray  # (K,), with the temperature of the study
    targets: tuple[int, ...]  # the explained classes, the most probable first
    results: list[Explained]  # of every explainer that can explain this network, one map a target
    segments: np.ndarray  # (H, W) labels of its regions
    without: np.ndarray  # (S, K) probabilities with one region at a time in the training images' mean colour
    mean: tuple[float, ...]  # that colour, 0..1
    likeness: Likeness | None = None  # None where the study has not measured it
    confidence: str = ""  # how often the study's test images of similar confidence are recognised, a sentence

    def guessed(self) -> str:
        """The prediction in words."""
        guesses = [f"{self.classes[label]} ({100 * self.probabilities[label]:.1f} %)" for label in self.targets]
        return f"{self.name}: {', then '.join(guesses)}"

    def told(self) -> str:
        """The prediction, how sure it is, and what could not be measured, line by line."""
        lines = [self.guessed(), *filter(None, [self.confidence])]
        lines += self.likeness.told(self.name) if self.likeness else []
        names = {result.name for result in self.results}
        why = "the network has no feature maps" if names & NEED_GRADIENTS else "an ONNX model has no gradients"
        lines += [f"not by {TITLES[name]}: {why}" for name in EXPLAINERS if name not in names]
        return "\n".join(lines)


def find(given: str | Path) -> Path:
    """The file of an image.

    Raises:
        UserError: there is no such file, or its name is too long for the files that are named after it.
    """
    path = user_paths.expanded(given)
    name = f"IMAGE={cut(shown(path))}"
    if not user_paths.is_file(path):
        raise UserError(f"{name}: there is no such file")
    excess = len(named_after(shown(path.name), b"").encode()) - files.LONGEST
    if excess > 0:
        raise UserError(f"{name}: its name is {excess} bytes too long for the figure that is named after it: rename it")
    return path


def named_after(name: str, content: bytes) -> str:
    """The figure's file, the digest in whose name tells pictures of one name apart."""
    return f"{Path(name).stem}-{files.digest(content)[:6]}.png"


def explain(
    path: str | Path,
    params: Params,
    data: str | Path = "data/prepared",
    model: str | Path = "models",
    reports: str | Path = REPORTS,
    square: Square | None = None,
) -> Photo:
    """`Finished.explain`, of the study in these folders."""
    path = find(path)
    return Finished.read(params, data, model, reports).explain(path, square)


@dataclass(frozen=True)
class Finished:
    """What of a finished study explains images."""

    params: Params
    place: compute.Place
    classifier: models.Classifier
    card: models.Card
    data: store.Description
    train: store.Split
    reports: Path
    known: familiarity.Reference | None  # None where the study has not measured it

    @staticmethod
    def read(
        params: Params,
        data: str | Path = "data/prepared",
        model: str | Path = "models",
        reports: str | Path = REPORTS,
    ) -> "Finished":
        """Read a study with these parameters from its folders.

        Raises:
            UserError: there is no classifier, or it was trained on other data.
        """
        place, reports = compute.resolve(params.compute), Path(reports)
        temperature = predictions.temperature(reports / "evaluate/calibration.json")
        classifier, card = models.load(model, place.device, temperature)
        description = store.describe(data)
        if description.digest != card.data_digest:
            raise UserError(f"{model} was trained on other data than {data} holds: run 'dvc repro' first")
        file = reports / "explain/familiarity.npz"
        known = familiarity.Reference.of(files.mapped_npz(file)) if file.exists() else None
        return Finished(params, place, classifier, card, description, store.read(data, "train"), reports, known)

    def explain(self, path: Path, square: Square | None = None) -> Photo:
        """Classify an image and explain the two most probable classes, by every explainer that can explain the network,
        with the settings of the section `explain`. It is read as images of the study are: turned by its EXIF tag, made
        square and resized. Some explainers compare with training images.

        Args:
            path: the image.
            square: the part of the image that is taken; None takes all of it.

        Raises:
            UserError: the image cannot be read, or has no such square.
        """
        params, classifier, colour = self.params, self.classifier, self.data.mean
        shape = replace(decode.Shape.of(params.data), size=self.card.image_size)
        try:
            whole = decode.read_whole(path, params.data.convert)
            image = np.asarray(decode.square(cut_out(whole, square), shape))
        except decode.UnreadableImage as error:
            raise UserError(f"IMAGE={cut(shown(path))} {error.reason}") from None
        except Image.DecompressionBombError as error:
            raise UserError(f"IMAGE={cut(shown(path))} is too large: {error}") from None
        pixels = torch.from_numpy(image.copy())[None]  # (1, H, W, 3)
        probabilities = models.probabilities(classifier, pixels, self.place.batch_size).numpy()[0]
        targets = tuple(np.argsort(-probabilities, kind="stable")[:EXPLAINED].tolist())
        seed = derive(params.study.seed, "explain", "photo")
        request = Request(pixels.repeat(len(targets), 1, 1, 1), torch.tensor(targets), (seed,) * len(targets))
        names = BLACK_BOX if not classifier.has_gradients else EXPLAINERS
        if "grad_cam" in names and not _has_feature_maps(classifier, pixels.shape[1]):
            names = tuple(name for name in names if name != "grad_cam")
        setup = factory.setup(
            classifier=classifier,
            settings=params.explain.model_copy(update={"explainers": names}),
            train=self.train.images,
            mean=colour,
            batch_size=self.place.batch_size,
            seed=params.study.seed,
        )
        with Bar(total=len(names) * len(request), desc=f"explaining {cut(shown(path.name), 40)}", unit="map") as bar:
            books = Bookkeeping(progress=bar.update)
            results = []
            how = {"steps": params.explain.faithfulness.steps, "batch_size": self.place.batch_size}
            for name, explainer in factory.make(setup).items():
                attribution = attribute(explainer, classifier, request, books)
                removal = deletion_curves(classifier, request, attribution.maps, colour=colour, **how)
                results.append(Explained(name, attribution, scores={}, removal=removal))
        segments = segment(image, params.explain.superpixels)
        hidden = each_region(segments)
        return Photo(
            name=shown(path.name),
            image=image,
            classes=self.card.classes,
            probabilities=probabilities,
            targets=targets,
            results=results,
            segments=segments,
            without=probabilities_behind(classifier, pixels[0], hidden, colour, self.place.batch_size),
            mean=colour,
            likeness=self._likeness(pixels, whole, shape),
            confidence=_confidence(float(probabilities.max()), self.reports / "evaluate/predictions.csv"),
        )

    def _likeness(self, pixels: torch.Tensor, whole: Image.Image, shape: decode.Shape) -> Likeness | None:
        """Of an image as the classifier sees it, (1, H, W, 3), and as a whole."""
        known = self.known
        if known is None:
            return None
        features = familiarity.features_of(self.classifier, pixels, batch_size=1)
        rows = torch.from_numpy(known.nearest(features[0], NEIGHBOURS))
        found = Likeness(
            float(known.distances(features)[0]),
            known.threshold,
            known.held_out,
            self.train.images[rows].numpy(),
            tuple(self.data.classes[label] for label in self.train.labels[rows].tolist()),
        )
        return found if found.is_alike else replace(found, square=self._alike(whole, shape))

    def _alike(self, whole: Image.Image, shape: decode.Shape) -> Square | None:
        """The square of an image that is most like the training images, if it is like them."""
        squares = []
        for share in CROPS:
            side = max(1, round(share * min(whole.size)))
            lefts, tops = (sorted({0, (length - side) // 2, length - side}) for length in whole.size)
            squares += [(left, top, side) for top in tops for left in lefts]
        pixels = np.stack([np.asarray(decode.square(cut_out(whole, square), shape)) for square in squares])
        features = familiarity.features_of(self.classifier, torch.from_numpy(pixels), self.place.batch_size)
        distances = self.known.distances(features)
        best = int(distances.argmin())
        return squares[best] if distances[best] <= self.known.threshold else None


def square_of(crop: str) -> Square | None:
    """The square that LEFT,TOP,SIDE names; "" names none.

    Raises:
        UserError: it is something else.
    """
    if not crop:
        return None
    if not re.fullmatch(r"\d+,\d+,\d+", crop):
        raise UserError(f"CROP={crop} must be LEFT,TOP,SIDE: three whole numbers of pixels, like 40,0,200")
    left, top, side = map(int, crop.split(","))
    return left, top, side


def cut_out(image: Image.Image, square: Square | None) -> Image.Image:
    """A square of an image, or all of it.

    Raises:
        UserError: the square does not lie in the image.
    """
    if square is None:
        return image
    left, top, side = square
    width, height = image.size
    if left < 0 or top < 0 or side < 1 or left + side > width or top + side > height:
        raise UserError(
            f"CROP={left},{top},{side} does not lie in the image of {width} x {height} pixels: it must be LEFT,TOP,SIDE"
        )
    return image.crop((left, top, left + side, top + side))


def _confidence(confidence: float, file: Path) -> str:
    """How often the study's test images with the most similar confidence are recognised; nothing without them."""
    if not file.exists():
        return ""
    table = files.read_csv(file)
    distance = (table["confidence"] - confidence).abs().sort_values(kind="stable")
    nearest = table.loc[distance[distance <= SIMILAR_WITHIN].index[:SIMILAR]]
    if len(nearest) < FEWEST:
        how_many = f"Only {len(nearest)}" if len(nearest) else "None"
        return (
            f"{how_many} of {len(table):,} test images have a confidence within {100 * SIMILAR_WITHIN:.0f} % of its "
            "own: how many of such answers are right is not known."
        )
    right = int((nearest["true_class"] == nearest["predicted_class"]).sum())
    share, low, high = (100 * value for value in accuracy_interval(right, len(nearest), 0.95))
    least, most = 100 * nearest["confidence"].min(), 100 * nearest["confidence"].max()
    return (
        f"Of the {len(nearest)} test images with the most similar confidence ({least:.1f} to {most:.1f} %), "
        f"{share:.0f} % are recognised (95 % interval {low:.0f} to {high:.0f} %)."
    )


def _has_feature_maps(classifier: models.Classifier, side: int) -> bool:
    try:
        classifier.grad_cam_layer(side)
    except UserError:
        return False
    return True
