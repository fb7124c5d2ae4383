"""A cluster loses processes, machines and its database in mid-work: it ends as if nothing had happened, and does again
at most what was in hand."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from types import ModuleType

import clusters
import machines
import numpy as np
import pytest
import services
import test_cluster
import test_tuning
import torch
from test_cluster import curve, training
from test_tuning import black_and_white, essence, real

from glassbox import cluster, config, engine, explaining, postgres, tuning
from glassbox.resume import Parts
from glassbox.seeds import derive
from glassbox.selection import Pick
from glassbox.training import Epoch, Training

__all__ = ["training"]  # a fixture
MODULES: list[ModuleType] = [sys.modules[__name__], test_cluster, test_tuning]  # whose functions nodes are sent


@pytest.fixture
def settings(params):
    return params.compute.model_copy(update={"engine": "ray", "threads": 1, "precision": "float32"})


@pytest.fixture
def asked(params, small_cnn):
    """LIME and Integrated Gradients for forty images: what `explaining.explain` takes."""
    small = params.explain.model_copy(
        update={
            "explainers": ("lime", "integrated_gradients"),
            "superpixels": config.Superpixels(segments=16, compactness=10.0, sigma=0.0),
            "lime": params.explain.lime.model_copy(update={"samples": 300}),
        }
    )
    patches = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    images = torch.from_numpy(patches.repeat(6, 1).repeat(6, 2))
    request = explaining.request_for([Pick(row, "correct", "", (row % 4,)) for row in range(40)], images, seed=0)
    return small_cnn(24).eval(), request, images, (0.5,) * 3, small, 64


def undisturbed(settings, asked):
    with engine.start(settings.model_copy(update={"engine": "local"})):
        return list(explaining.explain(*asked))


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
        found = list(explaining.explain(*asked, keep=keep))
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
    assert sum(began.values()) - 80 <= cluster.SHARD / 0.05 + 1, "one task's"
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


class KilledOnce(tuning.Search):
    """The process of the trial that the file `kill` names is killed after its first epoch, the first time."""

    def _fit(self, params, seed, train, validation):
        for epoch in super()._fit(params, seed, train, validation):
            yield epoch
            order = Path(self._arguments[6]) / "kill"
            if order.exists() and seed == derive(self.seed, "tune", "trial", int(order.read_text())):
                order.unlink()
                os.kill(os.getpid(), signal.SIGKILL)


def attempts(made: tuning.Search) -> Counter:
    """How often each trial was begun."""
    found = made.study.get_trials()
    assert "RUNNING" not in {trial.state.name for trial in found}
    return Counter(trial.user_attrs.get("number") for trial in found)


def test_a_killed_worker_and_a_restarted_database_while_tuning(settings, params, tmp_path, monkeypatch):
    """With one worker the history is that of a search in a file by processes of this machine."""
    tune = params.tune.model_copy(
        update={"n_trials": 6, "startup_trials": 2, "epochs": 4, "pruner_startup_trials": 1, "pruner_warmup_epochs": 0}
    )
    whole = real(tuning.Search, tune, params, tmp_path)
    list(whole.run(black_and_white))
    wanted = essence(whole.trials())
    first, *_, last = (trial.number for trial in whole.trials() if len(trial.curve) > 1)
    (tmp_path / "kill").write_text(str(last))
    with services.postgres(tmp_path) as server, clusters.nodes(*MODULES) as made:
        clusters.add(made)
        monkeypatch.setenv("PGPASSWORD", server.password)
        search = real(KilledOnce, tune, params, tmp_path, storage=server.create("search"))
        with engine.start(settings.model_copy(update={"address": made.address})) as at:
            for number, record in search.run(black_and_white, partial(at.work_off, variables=postgres.variables)):
                if number == first and isinstance(record, Epoch) and record.epoch == 1:
                    server.stop(immediate=True)
                    threading.Timer(2, server.start).start()  # meanwhile the trial goes on as far as it can
        assert essence(search.trials()) == wanted
        assert attempts(search) == Counter([*range(6), last])
    assert not (tmp_path / "kill").exists()


class Slow(tuning.Search):
    """Its trials train nothing for two seconds, and leave word of where; two at a time."""

    at_once = 2

    def _fit(self, params, seed, train, validation):
        import ray

        node = ray.get_runtime_context().get_node_id()
        for epoch in range(1, self.settings.epochs + 1):
            (Path(self._arguments[6]) / f"{seed}-{node}-{epoch}").touch()
            time.sleep(0.5)
            yield Epoch(epoch, 1.0, 0.5, 1.0, params["dropout_1"], 0.0, 0.1, True, 0.0, 1.0, 0.5, 0.0)


def test_a_node_that_the_network_cuts_off_while_tuning(settings, params, tmp_path, monkeypatch):
    """It is cut off from the database as well, and what it goes on with counts no more."""
    tune = params.tune.model_copy(update={"n_trials": 5, "workers": 2, "epochs": 4, "pruner_startup_trials": 99})
    with machines.network(tmp_path) as network, services.postgres(tmp_path, network.host) as server:
        monkeypatch.setenv("PGPASSWORD", server.password)
        there, head = network.machine(), {"node_ip_address": network.host, "_system_config": clusters.SOON}
        with clusters.nodes(*MODULES, **head) as made, clusters.node(there, made):
            search = real(Slow, tune, params, tmp_path, storage=server.create("search"))
            lost, told = None, []
            with engine.start(settings.model_copy(update={"address": made.address})) as at:
                here = at._ray.get_runtime_context().get_node_id()
                for number, record in search.run(black_and_white, partial(at.work_off, variables=postgres.variables)):
                    told += [number] * isinstance(record, tuning.Trial)
                    seed = derive(0, "tune", "trial", number)
                    elsewhere = not list(tmp_path.glob(f"{seed}-{here}-*"))
                    if lost is None and elsewhere and isinstance(record, Epoch) and record.epoch == 2:
                        lost = number
                        there.cut()
        assert lost is not None, "the node elsewhere had trials"
        assert sorted(told) == list(range(5)) == [trial.number for trial in search.trials()]
        assert {trial.state for trial in search.trials()} == {"complete"}
        assert attempts(search) == Counter([*range(5), lost])
        first, second = (t.params for t in search.study.get_trials() if t.user_attrs["number"] == lost)
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
