from dataclasses import replace

import numpy as np
import pytest
import torch

from glassbox.execution.compute import Place
from glassbox.provenance import fingerprint, resume
from glassbox.provenance.resume import Checkpoint, Parts

PLACE = Place(torch.device("cpu"), torch.float32, 64)


def arrays(n: int) -> dict[str, np.ndarray]:
    return {"maps": np.full((2, 3), n, np.float32), "kept": np.array([True, n > 1])}


def never():
    raise AssertionError("this part was computed before")


def written(folder, n: int) -> Parts:
    """`n` parts of a process that was killed: nothing is closed."""
    work = Parts("explain", "key", folder)
    for number in range(n):
        work("lime", lambda number=number: arrays(number))
    return work


def test_stored_parts_are_not_computed_again(tmp_path, capsys):
    assert written(tmp_path, 3).path.name == "explain-key.unfinished"
    again = Parts("explain", "key", tmp_path)
    assert "explain goes on after 3 parts" in capsys.readouterr().err
    for n in range(3):
        part = again("lime", never)
        assert list(part) == ["maps", "kept"], "tables have their columns in this order"
        assert all(np.array_equal(part[name], value) for name, value in arrays(n).items())
        assert part["maps"].dtype == np.float32
    assert again("lime", lambda: arrays(3))["maps"][0, 0] == 3
    assert Parts("explain", "key", tmp_path).found == 4


def test_a_damaged_part_and_those_after_it_are_computed_again(tmp_path):
    work = written(tmp_path, 3)
    whole = (work.path / "1").read_bytes()
    flips = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in range(0, len(whole), 5)]
    for content in [*flips, whole[:-1], whole[:32], b""]:
        (work.path / "1").write_bytes(content)
        assert Parts("explain", "key", tmp_path).found == 1
    again = Parts("explain", "key", tmp_path)
    again("lime", never)
    again("lime", lambda: arrays(1))
    assert (work.path / ".1.partial").write_bytes(whole[:50]), "which a killed process leaves"
    assert Parts("explain", "key", tmp_path).found == 3


def test_another_order_of_parts_is_an_error(tmp_path):
    written(tmp_path, 1)
    with pytest.raises(RuntimeError, match=r"part 0 of .* is not grad_cam: delete that folder"):
        Parts("explain", "key", tmp_path)("grad_cam", lambda: arrays(0))


def test_the_time_of_stored_parts_counts(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(resume.time, "perf_counter", lambda: now[0])

    def slow():
        now[0] += 7
        return arrays(0)

    work = Parts("explain", "key", tmp_path)
    assert work.began == 100
    work("lime", slow)
    now[0] = 500.0
    assert Parts("explain", "key", tmp_path).began == 493


def test_finished_work_is_kept_until_it_is_forgotten(tmp_path):
    checkpoint, other = Checkpoint("train", "key", tmp_path), Checkpoint("train", "other", tmp_path)
    checkpoint.save({"epoch": 1})
    other.save({"epoch": 2})
    for work in (written(tmp_path, 1), checkpoint):
        work.finish()
    again = Parts("explain", "key", tmp_path)  # DVC was killed before it recorded the results
    assert again.found == 1
    again.finish()
    resume.forget(tmp_path)
    assert Parts("explain", "key", tmp_path).found == 0
    assert Checkpoint("train", "key", tmp_path).load() is None
    assert other.load() == {"epoch": 2}, "another study's unfinished work stays"


def test_a_checkpoint_holds_tensors_numbers_and_containers(tmp_path):
    weights, random = torch.arange(6.0).view(2, 3), torch.get_rng_state()
    plain = {"betas": (0.9, 0.999), "best": float("inf"), "rates": [1, 2.5], 3: None, "name": "cos", "stale": True}
    checkpoint = Checkpoint("train", "key", tmp_path)
    assert checkpoint.load() is None
    checkpoint.save({"stale": False})
    checkpoint.save({"weights": {"w": weights}, "random": random} | plain)
    state = Checkpoint("train", "key", tmp_path).load()
    assert torch.equal(state.pop("weights")["w"], weights)
    assert torch.equal(state.pop("random"), random)
    assert state == plain
    assert [path.name for path in tmp_path.iterdir()] == ["train-key.unfinished"]


def test_an_identity_changes_with_all_that_determines_a_result(params, monkeypatch):
    def identity(place=PLACE, seed=0, data="d", section=params.explain, module="glassbox.training.loop"):
        return resume.identity(module, place, seed, data, section)

    usual = identity()
    assert identity() == usual
    others = [
        identity(seed=1),
        identity(data="e"),
        identity(section=params.explain.model_copy(update={"mistakes": 99})),
        identity(place=replace(PLACE, dtype=torch.bfloat16)),
        identity(place=replace(PLACE, batch_size=3)),
        identity(module="glassbox.data.batches"),
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    others.append(identity())
    torch.set_num_threads(threads)
    monkeypatch.setattr(fingerprint, "digest", lambda module: "another version")
    others.append(identity())
    assert len({usual, *others}) == len(others) + 1


def test_a_digest_depends_on_names_and_contents(tmp_path):
    (tmp_path / "models").mkdir()
    digests = []
    for name, content in (("a", "1"), ("b", "1"), ("b", "2")):
        (tmp_path / "models" / name).write_text(content)
        digests.append(resume.digest(tmp_path / "models"))
        (tmp_path / "models" / name).unlink()
    assert len(set(digests)) == 3
