from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.core.errors import UserError
from glassbox.data.store import Split
from glassbox.evaluation.classification import ConfusedPair, confused_pairs, confusion
from glassbox.explaining.selection import cases, pick, some_drawn

CLASSES = ("cat", "dog", "ship")


def case(n: int = 90):
    """A third of each class; every tenth image is predicted as the next class; 0..8 are torn between cat, dog."""
    labels = np.arange(n) % 3
    predicted = labels.copy()
    predicted[9::10] = (labels[9::10] + 1) % 3
    p = np.full((n, 3), 0.05)
    p[np.arange(n), predicted] = 0.9
    p[np.arange(n), (predicted + 2) % 3] = 0.06  # the runner-up of a cat is a ship
    for row in range(9):
        if labels[row] < 2:
            p[row] = [0.5, 0.45, 0.05] if labels[row] == 0 else [0.45, 0.5, 0.05]
    return labels, predicted, p


def choose(seed: int = 0, **changes):
    labels, predicted, p = case()
    pairs = [ConfusedPair(0, 1, 3, 3)]
    counts = {"correct_per_class": 2, "mistakes": 4, "images_per_pair": 3} | changes
    return pick(labels, predicted, p, pairs, CLASSES, **counts, seed=seed), labels, predicted


def test_every_group_follows_its_rule():
    picks, labels, predicted = choose()
    assert len({p.row for p in picks}) == len(picks)
    correct, mistakes, pairs = ([p for p in picks if p.group == group] for group in ("correct", "mistake", "pair"))
    assert sorted(labels[p.row] for p in correct) == [0, 0, 1, 1, 2, 2]
    assert all(labels[p.row] == predicted[p.row] == p.targets[0] and len(p.targets) == 1 for p in correct)
    assert len(mistakes) == 4
    for p in mistakes:
        assert p.targets == (predicted[p.row], labels[p.row])
        assert p.note == f"{CLASSES[labels[p.row]]}, taken for {CLASSES[predicted[p.row]]}"
    assert len(pairs) == 3
    for p in pairs:
        assert labels[p.row] in (0, 1)
        assert p.targets[0] == predicted[p.row]
        assert set(p.targets) >= {0, 1}
        assert p.note == "cat or dog?"
        assert p.pair == (0, 1)
    assert all(p.pair is None for p in correct + mistakes)


def test_the_section_explain_decides_and_masks_are_those_of_the_source(params):
    labels, predicted, p = case()
    settings = params.explain.model_copy(update={"pairs": 1, "images": (7,), "mistakes": 4})
    masks = torch.zeros(90, 2, 2, dtype=torch.uint8)
    masks[4, 0, 0] = 1
    test = Split(torch.zeros(90, 2, 2, 3, dtype=torch.uint8), torch.from_numpy(labels), masks, torch.arange(90), None)
    made = cases(test, p, CLASSES, settings, seed=5)
    assert made.masks.dtype == bool
    assert made.masks[[4, 5]].sum(axis=(1, 2)).tolist() == [1, 0]
    assert cases(replace(test, masks=None), p, CLASSES, settings, seed=5).masks is None
    assert (made.predicted == predicted).all()
    groups = Counter(pick.group for pick in made.picks)
    assert groups == {"chosen": 1, "correct": 3, "mistake": settings.mistakes, "pair": settings.images_per_pair}
    confused = confused_pairs(confusion(labels, predicted, 3), p, labels)[0]
    assert made.picks[-1].pair == (confused.a, confused.b)


def test_images_torn_between_the_pair_come_first():
    labels, _, p = case()
    torn = {int(row) for row in np.flatnonzero(labels < 2) if p[row, 2] < min(p[row, :2])}
    few, *_ = choose(correct_per_class=0, mistakes=0)
    assert {pick.row for pick in few} < torn
    many, *_ = choose(correct_per_class=0, mistakes=0, images_per_pair=len(torn) + 5)
    assert len(many) == len(torn) + 5
    assert {pick.row for pick in many} > torn


def test_the_seed_decides_and_another_group_does_not_move_the_draws():
    assert choose(seed=1)[0] == choose(seed=1)[0]
    assert choose(seed=1)[0] != choose(seed=2)[0]
    alone, both = (choose(correct_per_class=n, images_per_pair=1)[0] for n in (0, 2))
    assert [p for p in alone if p.group == "mistake"] == [p for p in both if p.group == "mistake"]


def test_fewer_are_taken_where_there_are_fewer_and_none_is_refused():
    labels, how = np.array([0, 1, 2]), {"mistakes": 5, "images_per_pair": 1, "seed": 0}
    picks = pick(labels, labels, np.eye(3), [], CLASSES, correct_per_class=5, **how)
    assert [p.group for p in picks] == ["correct"] * 3
    with pytest.raises(UserError, match=r"asks for 0 correct images a class, 5 mistakes and 0 pairs, and among the 0 "):
        pick(labels, labels, np.eye(3), [], CLASSES, correct_per_class=0, **how)


def test_chosen_images_come_first_and_once():
    picks, labels, predicted = choose(images=(9, 1))
    assert [(p.row, p.group) for p in picks[:2]] == [(9, "chosen"), (1, "chosen")]
    assert picks[0].targets == (predicted[9], labels[9])  # every tenth image is a mistake
    assert picks[1].targets == (labels[1],)
    assert picks[1].note == "dog, recognised"
    assert len({p.row for p in picks}) == len(picks)
    with pytest.raises(UserError, match=r"explain.images names 90, but must name test images, 0 to 89"):
        choose(images=(90,))


def test_of_many_some_of_each_kind_are_drawn():
    picks, *_ = choose(images=(80, 70), correct_per_class=20, mistakes=9, images_per_pair=20)
    kinds = Counter((one.group, one.targets if one.group == "correct" else one.pair) for one in picks)
    assert kinds["chosen", None] == 2
    assert len(kinds) == 6, "three classes, mistakes, a pair"

    def drawn(most):
        some = some_drawn(picks, most)
        assert [replace(one, drawn=True) for one in some] == picks, "nothing else is changed"
        return [one for one in some if one.drawn]

    assert len(drawn(None)) == len(drawn(1000)) == len(picks)
    assert [one.group for one in drawn(2)] == ["chosen", "chosen"]
    assert [one.row for one in drawn(1)] == [80]
    assert Counter(one.group for one in drawn(12)) == {"chosen": 2, "correct": 6, "mistake": 2, "pair": 2}
    some = drawn(12)
    for kind in ("mistake", "pair"):
        assert [one for one in some if one.group == kind] == [one for one in picks if one.group == kind][:2]
    assert len(drawn(40)) == 40
    assert sum(one.group == "mistake" for one in drawn(60)) == kinds["mistake", None], "those that there are"
