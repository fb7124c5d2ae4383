"""A cluster loses processes and machines in mid-work: it ends as if nothing had happened, and does again at most what
was in hand."""

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import clusters
import machines
import numpy as np
import pytest
import torch

from glassbox.config.explain import Superpixels
from glassbox.execution import engine
from glassbox.execution.ray_cluster import shards
from glassbox.explainers.base import Setup
from glassbox.explainers.running import Bookkeeping
from glassbox.explaining import explanations
from glassbox.explaining.explanations import Plan
from glassbox.explaining.selection import Pick
from glassbox.provenance.resume import Parts
from glassbox.search.outcome import Trial
from glassbox.search.trainer import Trainer
from glassbox.training.loop import Training
from glassbox.training.records import Epoch
from tests import searches
from tests.execution import test_cluster
from tests.execution.test_cluster import curve, training
from tests.searches import InFolder, KilledOnce, attempts, black_and_white, epoch_of, essence, search_of

__all__ = ["training"]  # a fixture
MODULES: list[ModuleType] = [sys.modules[__name__], test_cluster, searches]  # whose functions nodes are sent


@pytest.fixture
def settings(params):
    return params.compute.model_copy(update={"engine": "ray", "threads": 1, "precision": "float32"})


@pytest.fixture
def asked(params, small_cnn):
    """LIME and Integrated Gradients for forty images: what `explaining.explain` takes."""
    small = params.explain.model_copy(
        update={
            "explainers": ("lime", "integrated_gradients"),
            "superpixels": Superpixels(segments=16, compactness=10.0, sigma=0.0),
            "lime": params.explain.lime.model_copy(update={"samples": 300}),
        }
    )
    patches = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    images = torch.from_numpy(patches.repeat(6, 1).repeat(6, 2))
    plan = Plan(explanations.request_for([Pick(row, "correct", "", (row % 4,)) for row in range(40)], images, seed=0))
    return Setup(small_cnn(24).eval(), small, images, (0.5,) * 3, batch_size=64), plan


def undisturbed(settings, asked):
    with engine.start(settings.model_copy(update={"engine": "local"})):
        return list(explanations.explain(*asked))


def the_same(found, wanted) -> None:
    assert [one.name for one in found] == [one.name for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.attribution.maps.tobytes() == other.attribution.maps.tobytes()
        for name, values in (other.attribution.details | other.scores).items():
            assert (one.attribution.details | one.scores)[name].tobytes() == values.tobytes()


def explained(settings, asked, folder: Path, after: int, fault) -> tuple[list, list[int]]:
    """Every explanation, with `fault` after so many parts; and how many parts are on disk."""
    with engine.start(settings) as at:

        def each(*work):
            for arrays in at.each(*work):
                if keep._number == after:
                    fault()
                yield arrays

        keep = Parts("explain", "key", folder, each)
        found = list(explanations.explain(*asked, Bookkeeping(keep)))
    return found, Parts("explain", "key", folder).found


PARTS = 2 * 40 + 3 + 3 * 3  # maps of LIME and the control one by one, all else by 16


def marked(classifier, folder, own):
    (folder / f"{own}-{os.getpid()}").touch()
    time.sleep(0.05)
    # Too large to be sent with the answer: it stays where it was made until it is asked for.
    return {"found": np.array([own]), "large": np.zeros(2**18)}


def one_part(classifier, _, own):
    return {"found": np.array([own])}


def test_a_node_that_is_removed_while_explaining(settings, asked, tmp_path):
    """Two of them: the first costs the parts that it had in hand."""
    wanted, marks, disk = undisturbed(settings, asked), tmp_path / "marks", tmp_path / "disk"
    marks.mkdir()
    with clusters.nodes(*MODULES, _system_config=clusters.SOON) as made:
        second, done = clusters.add(made), []
        there = settings.model_copy(update={"address": made.address})
        with engine.start(there) as at:
            for one in at.each(marked, torch.nn.Identity(), ((marks, n) for n in range(80))):
                done.append(int(one["found"][0]))
                if len(done) == 20:
                    made.remove_node(second, allow_graceful=False)
        third = clusters.add(made)
        found, parts = explained(there, asked, disk, 12, lambda: made.remove_node(third, allow_graceful=False))
    assert done == list(range(80))
    began = Counter(int(mark.name.partition("-")[0]) for mark in marks.iterdir())
    assert sorted(began) == done
    assert sum(began.values()) - 80 <= shards.SECONDS / 0.05 + 1, "one task's"
    the_same(found, wanted)
    assert parts == PARTS


def test_a_node_that_the_network_cuts_off_while_explaining(settings, asked, tmp_path):
    wanted = undisturbed(settings, asked)
    with machines.network(tmp_path) as network:
        there, head = network.machine(), {"node_ip_address": network.host, "_system_config": clusters.SOON}
        with clusters.nodes(*MODULES, **head) as made, clusters.node(there, made):
            at = settings.model_copy(update={"address": made.address})
            found, parts = explained(at, asked, tmp_path, 12, there.cut)
    the_same(found, wanted)
    assert parts == PARTS


def test_a_killed_worker_while_tuning(settings, params, tmp_path):
    """With one worker the history is that of a search by processes of this machine."""
    whole = search_of(Trainer, params, tmp_path / "whole")
    list(whole.run(black_and_white))
    with clusters.nodes(*MODULES) as made:
        clusters.add(made)
        search = search_of(KilledOnce, params, tmp_path)
        with engine.start(settings.model_copy(update={"address": made.address})) as at:
            list(search.run(black_and_white, at.work_off))
    assert essence(search.trials()) == essence(whole.trials())
    assert [len(attempts(search, number)) for number in range(6)] == [1, 2, 1, 1, 1, 1]


@dataclass(frozen=True)
class Slow(InFolder):
    """Its trials train nothing for two seconds, and leave word of where."""

    def epochs(self, number, params, *_):
        import ray

        node = ray.get_runtime_context().get_node_id()
        for epoch in range(1, self.settings.epochs + 1):
            (self.folder / f"{number}-{node}-{epoch}").touch()
            time.sleep(0.5)
            yield epoch_of(epoch, params["dropout_1"])


def test_a_node_that_the_network_cuts_off_while_tuning(settings, params, tmp_path):
    """What it goes on with counts no more."""
    import ray

    with machines.network(tmp_path) as network:
        there, head = network.machine(), {"node_ip_address": network.host, "_system_config": clusters.SOON}
        with clusters.nodes(*MODULES, **head) as made, clusters.node(there, made):
            search = search_of(Slow, params, tmp_path, n_trials=5, workers=2, pruner_startup_trials=99)
            search.apart, lost, told = True, None, []
            with engine.start(settings.model_copy(update={"address": made.address})) as at:
                here = ray.get_runtime_context().get_node_id()
                for number, record in search.run(black_and_white, at.work_off):
                    told += [number] * isinstance(record, Trial)
                    elsewhere = not list(tmp_path.glob(f"{number}-{here}-*"))
                    if lost is None and elsewhere and isinstance(record, Epoch) and record.epoch == 2:
                        lost = number
                        there.cut()
    assert lost is not None, "the node elsewhere had trials"
    assert sorted(told) == list(range(5)) == [trial.number for trial in search.trials()]
    assert {trial.state for trial in search.trials()} == {"complete"}
    assert [len(attempts(search, number)) for number in range(5)] == [1 + (number == lost) for number in range(5)]
    first, second = attempts(search, lost)
    assert first == second


class Unhurried(Training):
    """It is not at its end before a node is removed."""

    def epochs(self, *arguments):
        for epoch in super().epochs(*arguments):
            yield epoch
            time.sleep(1)


def test_a_node_that_is_removed_and_a_stage_that_is_killed_while_training(
    settings, training, tmp_path, monkeypatch, capsys
):
    """The training waits for another node, and goes on after its last whole epoch. What a stage that was killed then
    leaves one process ends: both together have the loss curve and the weights of one that was left in peace."""
    monkeypatch.chdir(tmp_path)
    job, train, validation = training
    two = Unhurried(**vars(job) | {"settings": job.settings.model_copy(update={"workers": 2})})
    with clusters.nodes(*MODULES, _system_config=clusters.SOON) as made:
        second, found = clusters.add(made), []
        with engine.start(settings.model_copy(update={"address": made.address})) as at:
            _, epochs, checkpoint = at.train(two, train, validation)
            for epoch in epochs:
                found.append(epoch)
                if len(found) == 1:
                    made.remove_node(second, allow_graceful=False)
                    clusters.add(made)
                if len(found) == 3:
                    break
            epochs.close()  # the stage is killed here
            place = at.place
            (one,) = at.each(one_part, torch.nn.Identity(), [(None, 1)])
    assert one["found"] == 1, "the training has given its room back"
    assert "a process of the training was lost" in capsys.readouterr().err
    assert checkpoint.path.exists()
    again, epochs, _ = two.begin(train, validation, place)
    told = list(epochs)
    assert curve(told)[:3] == curve(found), "those of the stage, from its checkpoint"
    alone, epochs, _ = job.begin(train, validation, place)
    wanted = list(epochs)
    assert [epoch.epoch for epoch in told] == [epoch.epoch for epoch in wanted]
    assert np.allclose(curve(told), curve(wanted), atol=1e-4)
    for name, weights in alone.state_dict().items():
        assert torch.allclose(again.state_dict()[name].float(), weights.float(), atol=1e-3), name
