"""Repairs of a small network that looks at a bright corner, from end to end."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from glassbox.audit.candidates import Property, Region
from glassbox.audit.report import Audit as Report
from glassbox.config.audit import Audit
from glassbox.config.hyperparameters import together
from glassbox.config.repair import Repair as Settings
from glassbox.core.errors import UserError
from glassbox.data.store import Split
from glassbox.execution.compute import Place
from glassbox.explainers.base import Setup
from glassbox.models import Classifier
from glassbox.provenance.resume import Keep
from glassbox.repair import outcome, proof, running

SIDE, N = 8, 120
CORNER, MIDDLE = np.zeros((2, SIDE, SIDE), bool)
CORNER[6:, :2], MIDDLE[3:5, 3:5] = True, True
MARK = Region(1, "by hand", CORNER, 1.0, CORNER[..., None] * np.ones(3), 12 * 120.0)


class Two(nn.Module):
    """A logistic regression on the mean of the corner and that of the middle, through a last layer."""

    def __init__(self, corner: float = 2.0, middle: float = 0.25) -> None:
        super().__init__()
        self.register_buffer("masks", torch.from_numpy(np.stack([CORNER, MIDDLE]) / 4).float())
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[-corner, -middle], [corner, middle]]))
            self.head.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.einsum("nchw,mhw->nm", x, self.masks) / 3 - 0.5)


def split(seed: int) -> Split:
    """Noise; in class 1 corner and middle are bright, in class 0 dark."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(60, 190, (N, SIDE, SIDE, 3)).astype(np.uint8), np.arange(N) % 2
    for mask in (CORNER, MIDDLE):
        images[(labels == 1)[:, None, None] & mask], images[(labels == 0)[:, None, None] & mask] = 230, 30
    return Split(torch.from_numpy(images), torch.from_numpy(labels), None, torch.arange(N), None)


def repair_of(params, *, ways=("randomise",), epochs=12, penalty=0.05) -> running.Repair:
    classifier = Classifier(Two(), classes=("dark", "bright"))
    classifier.heads = ("head",)
    plain = params.augment.model_copy(update={"flip": False, "crop": 0, "brightness": 0.0, "contrast": 0.0})
    changes = {"optimizer": "sgd", "learning_rate": 10.0, "momentum": 0.0, "batch_size": 20, "schedule": "constant"}
    train = params.train.model_copy(update=changes | {"sampling": "shuffle", "watch": "loss"})
    return running.Repair(
        setup=Setup(classifier.eval(), params.explain, split(3).images, (0.5, 0.5, 0.5), 64, 0),
        candidates=[MARK],
        splits={"train": split(0), "validation": split(1), "test": split(2)},
        recipe=together(params.model, train, plain),
        settings=Settings(findings=(1,), ways=ways, epochs=epochs, repeats=5, penalty=penalty, margin=0),
        place=Place(torch.device("cpu"), torch.float32, 64),
    )


def test_the_network_learns_to_look_at_the_middle(params):
    repair = repair_of(params, ways=("randomise", "penalty", "last_layer"))
    answers, repaired = repair.run()
    assert set(repaired) == {"randomise", "penalty", "last_layer"}
    assert answers.accuracy(proof.ORIGINAL, 0, proof.CLEAN) == 1
    assert answers.accuracy(proof.ORIGINAL, 0, proof.MOVED) == 0
    for way in repaired:
        assert answers.accuracy(way, 0, proof.CLEAN) == 1
        assert answers.accuracy(way, 0, proof.MOVED) == 1, way
    assert answers.accuracy(proof.MORE, 0, proof.MOVED) == 0
    assert answers.accuracy(f"randomise {proof.ELSEWHERE}", 0, proof.MOVED) == 0
    assert len(answers.trained["randomise"]) == 5
    weight = repair.setup.classifier.network.head.weight
    assert weight[1].tolist() == [2.0, 0.25], "the original is left as it is"

    settings = Audit(images=0, explainers=("integrated_gradients",))
    result = outcome.of(repair, answers, repaired, settings, ("dark", "bright"))
    assert [verdict["outcome"] for verdict in result.verdicts] == ["fixed"] * 3
    assert result.findings[0].startswith("bright: the lower left corner")
    assert result.headline()["repair_original_accuracy_moved"] == 0
    assert result.headline()["repair_randomise_fixed"] == 1
    assert result.maps.networks.keys() == {"original", *repaired}
    # The share of the corner falls: by hand 2 of 2.25 before, for corner and middle are as bright.
    shares = {
        name: np.abs(maps[:3, CORNER]).sum() / np.abs(maps[:3]).sum() for name, maps in result.maps.networks.items()
    }
    assert shares["original"] == pytest.approx(2 / 2.25, abs=0.01)
    assert max(shares[way] for way in repaired) < 0.5
    assert result.audits == {}
    assert result.planted == {}


def test_a_candidate_is_found_again_if_a_region_of_its_class_touches_it():
    part = CORNER & (np.arange(SIDE) < 1)
    regions = [Region(1, "maps", MIDDLE), Region(1, "maps", part), Region(0, "maps", CORNER)]
    found = [*regions, Property(1, "images", "contrast")]

    def again(*confirmed: bool) -> bool:
        return outcome.is_found(Report(found, pd.DataFrame({"confirmed": confirmed}), (1, 1)), [MARK])

    assert not again(False, False, False, False)
    assert not again(True, False, True, True)
    assert again(False, True, False, False)
    of_property = Report(found, pd.DataFrame({"confirmed": [True] * 4}), (1, 1))
    assert outcome.is_found(of_property, [Property(1, "params.yaml", "contrast")])
    assert not outcome.is_found(of_property, [Property(0, "params.yaml", "contrast")])


def test_what_was_trained_is_not_trained_again(params):
    class Kept(Keep):
        def __init__(self) -> None:
            self.parts, self.made = {}, 0

        def __call__(self, name, make):
            if name not in self.parts:
                self.made += 1
                self.parts[name] = make()
            return self.parts[name]

    keep, repair, steps = Kept(), repair_of(params, epochs=1), []
    first, networks = repair.run(keep, steps.append)
    assert (keep.made, len(steps), repair.steps) == (15, 15, 15)
    again, kept = repair.run(keep)
    assert keep.made == 15
    for arm in repair.arms:
        assert (first.of(arm, 4)[proof.MOVED] == again.of(arm, 4)[proof.MOVED]).all()
    assert torch.equal(networks["randomise"].network.head.weight, kept["randomise"].network.head.weight)


def test_arms_of_a_repeat_share_their_seed_and_repeats_do_not(params):
    repair = repair_of(params, epochs=1)
    same = [repair.further(proof.MORE, 0).network.head.weight for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], repair.further(proof.MORE, 1).network.head.weight)


def test_a_way_that_cannot_be_taken_is_refused_before_any_training(params):
    repair = repair_of(params, ways=("randomise", "last_layer"))
    repair.setup.classifier.heads = ()
    with pytest.raises(UserError, match="last layer of this network is not known"):
        repair.run(lambda name, make: pytest.fail(f"{name} was trained"))


def test_another_audit_of_the_repaired_network(params):
    repair = repair_of(params)
    answers, repaired = repair.run()
    result = outcome.of(
        repair, answers, repaired, Audit(images=40, explainers=("integrated_gradients",)), ("dark", "bright")
    )
    (audit,) = result.audits.values()
    assert audit.images == (80, N)
