"""Repairs of a network, each several times, beside as many further trainings without a repair or with one at random."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from glassbox.audit.candidates import Candidate, Region
from glassbox.config.explain import Explain
from glassbox.config.hyperparameters import Hyperparameters
from glassbox.config.repair import Repair as Settings
from glassbox.core.seeds import derive
from glassbox.data import watermark
from glassbox.data.store import Description, Split
from glassbox.execution.compute import Place
from glassbox.explainers import factory
from glassbox.explainers.base import Setup
from glassbox.models import Classifier, predict
from glassbox.provenance.resume import Arrays, Keep, unkept
from glassbox.repair import ways
from glassbox.repair.proof import CLEAN, ELSEWHERE, MORE, MOVED, PLANTED, Answers
from glassbox.training import loop
from glassbox.training.optimizers import make_optimizer
from glassbox.training.recipe import recipe_of

WEIGHTS = "weights/"  # prefix of arrays
PENALISED = 4  # images of a batch, to one whose gradient is penalised: that one costs about as much as four


@dataclass(frozen=True)
class Repair:
    """What is to be repaired, and how.

    Attributes:
        setup: the original network, which is left as it is, and the study's seed.
        candidates: of an audit, or of a person.
        splits: "train", "validation" and "test".
        recipe: of the original; in further trainings only the number of epochs differs, and the last weights are kept.
        settings: the section `repair`.
        place: device, precision and batch size.
    """

    setup: Setup
    candidates: Sequence[Candidate]
    splits: Mapping[str, Split]
    recipe: Hyperparameters
    settings: Settings
    place: Place

    @classmethod
    def of(
        cls,
        classifier: Classifier,
        *,
        explain: Explain,
        description: Description,
        seed: int,
        candidates: Sequence[Candidate],
        splits: Mapping[str, Split],
        recipe: Hyperparameters,
        settings: Settings,
        place: Place,
    ) -> "Repair":
        """The repair of a study's network, from the section `explain`, the description of the data and the study's
        seed; for the others see the attributes."""
        setup = factory.setup(
            classifier=classifier,
            settings=explain,
            train=splits["train"].images,
            mean=description.mean,
            batch_size=place.batch_size,
            seed=seed,
        )
        return cls(setup, candidates, splits, recipe, settings, place)

    @property
    def arms(self) -> list[str]:
        """The further trainings of a repeat: one without a repair, then each way, and the same at random."""
        return [MORE, *(name for way in self.settings.ways for name in (way, f"{way} {ELSEWHERE}"))]

    @property
    def steps(self) -> int:
        """How many trainings `run` reports."""
        return self.settings.repeats * len(self.arms)

    @cached_property
    def versions(self) -> dict[str, torch.Tensor]:
        """The test images (N, H, W, 3) uint8 as they are, with the candidates on the wrong classes, and, where the
        truth is known, with the planted mark there."""
        test = self.splits["test"]
        rng = np.random.default_rng(derive(self.setup.seed, "repair", "moved"))
        wrong = ways.moved(test.images.numpy(), test.labels.numpy(), self.candidates, rng)
        found = {CLEAN: test.images, MOVED: torch.from_numpy(wrong)}
        if watermark.applies(test):
            own = test.labels == watermark.target_of(test)
            unmarked, marked = (test.changed[name] for name in (watermark.UNMARKED, watermark.MARKED))
            found[PLANTED] = torch.where(own[:, None, None, None], unmarked, marked)
        return found

    def run(
        self, keep: Keep = unkept, progress: Callable[[int], object] = int
    ) -> tuple[Answers, dict[str, Classifier]]:
        """All further trainings. A repeat has its own seed, which its arms share.

        Args:
            keep: stores each training as soon as it is done.
            progress: called with 1 after each training.

        Returns:
            The answers of all networks to the test images, and by way the network of the first repeat.

        Raises:
            UserError: a way cannot repair these candidates, or the device refuses.
        """
        for way in self.settings.ways:
            ways.check(way, self.candidates, self.setup.classifier)
        trained: dict[str, list[dict[str, np.ndarray]]] = {arm: [] for arm in self.arms}
        repaired: dict[str, Classifier] = {}
        for repeat in range(self.settings.repeats):
            for arm in self.arms:
                found = keep(f"{arm} {repeat}", partial(self._arrays, arm, repeat))
                trained[arm].append({name: found[name] for name in self.versions})
                if repeat == 0 and arm in self.settings.ways:
                    repaired[arm] = self._from(found)
                progress(1)
        labels = self.splits["test"].labels.numpy()
        return Answers(labels, self.answers(self.setup.classifier), trained), repaired

    def further(self, arm: str, repeat: int) -> Classifier:
        """A further training: a copy of the original that goes on learning, in evaluation mode."""
        seed, epochs = derive(self.setup.seed, "repair", repeat), self.settings.epochs
        rng = np.random.default_rng(derive(self.setup.seed, "repair", "images", repeat))
        classifier = copy.deepcopy(self.setup.classifier)
        classifier.temperature = 1.0
        way = arm.removesuffix(f" {ELSEWHERE}")
        candidates = self.candidates if arm == way else ways.at_random(self.candidates, rng)
        train = ways.changed(way, self.splits["train"], candidates, rng).to(self.place.device)
        validation = self.splits["validation"].to(self.place.device)
        head_epochs = epochs if way == "last_layer" else 0
        changes = {"epochs": epochs, "head_epochs": head_epochs, "patience": epochs, "keep": "last"}
        settings = self.recipe.train.model_copy(update=changes)
        extra = self._penalty(classifier, train, candidates, seed) if way == "penalty" else None
        for _ in loop.fit(
            classifier,
            train,
            validation,
            make_optimizer(classifier, settings),
            recipe_of(settings, self.recipe.augment, seed),
            place=self.place,
            extra_loss=extra,
        ):
            pass
        classifier.temperature = self.setup.classifier.temperature
        return classifier.eval()

    def answers(self, classifier: Classifier) -> dict[str, np.ndarray]:
        """Predicted classes (N,) of the test images by version."""
        size = self.place.batch_size
        return {name: predict(classifier, images, size).argmax(dim=1).numpy() for name, images in self.versions.items()}

    def _penalty(
        self, classifier: Classifier, train: Split, candidates: Sequence[Candidate], seed: int
    ) -> ways.Penalty:
        mask = np.logical_or.reduce([one.mask for one in candidates if isinstance(one, Region)])
        device = train.images.device
        return ways.Penalty(
            classifier=classifier,
            train=train,
            mask=torch.from_numpy(mask).to(device),
            factor=self.settings.penalty,
            batch_size=max(1, self.recipe.train.batch_size // PENALISED),
            generator=torch.Generator(device).manual_seed(seed),
        )

    def _arrays(self, arm: str, repeat: int) -> Arrays:
        classifier = self.further(arm, repeat)
        weights = {}
        if repeat == 0:
            weights = {f"{WEIGHTS}{name}": tensor.cpu().numpy() for name, tensor in classifier.state_dict().items()}
        return self.answers(classifier) | weights

    def _from(self, arrays: Arrays) -> Classifier:
        """The network whose weights were kept."""
        classifier = copy.deepcopy(self.setup.classifier)
        weights = {
            name.removeprefix(WEIGHTS): torch.from_numpy(np.asarray(value))
            for name, value in arrays.items()
            if name.startswith(WEIGHTS)
        }
        classifier.load_state_dict(weights)
        return classifier.eval()
