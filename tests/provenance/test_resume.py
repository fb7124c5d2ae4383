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
    raise AssertionError("this part was made before")


def test_parts_that_were_made_are_not_made_again(tmp_path, capsys):
    first = Parts("explain", "key", tmp_path)
    assert [first("lime", lambda n=n: arrays(n))["maps"][0, 0] for n in range(3)] == [0, 1, 2]
    # The process is killed here: nothing is closed.
    second = Parts("explain", "key", tmp_path)
    assert "explain goes on after 3 parts" in capsys.readouterr().err
    for n in range(3):
        found = second("lime", never)
        assert list(found) == ["maps", "kept"], "tables have their columns in this order"
        assert all(np.array_equal(found[name], value) for name, value in arrays(n).items())
        assert found["maps"].dtype == np.float32
    assert second("lime", lambda: arrays(3))["maps"][0, 0] == 3
    assert Parts("explain", "key", tmp_path).found == 4


def test_a_part_that_was_being_written_is_made_again(tmp_path):
    work = Parts("explain", "key", tmp_path)
    work("lime", lambda: arrays(1))
    whole = work.path.stat().st_size
    work("lime", lambda: arrays(2))
    content = work.path.read_bytes()
    for left in range(len(content) - whole):  # wherever the process ended
        work.path.write_bytes(content[: whole + left])
        again = Parts("explain", "key", tmp_path)
        assert again.found == 1
        again("lime", never)
        again("lime", lambda: arrays(2))
        assert Parts("explain", "key", tmp_path).found == 2


def test_a_damaged_part_and_what_follows_it_are_made_again(tmp_path):
    work = Parts("explain", "key", tmp_path)
    places = [0]
    for n in range(3):
        work("lime", lambda n=n: arrays(n))
        places.append(work.path.stat().st_size)
    content = bytearray(work.path.read_bytes())
    content[places[2] - 1] ^= 1
    work.path.write_bytes(content)
    assert Parts("explain", "key", tmp_path).found == 1
    content[:8] = b"\xff" * 8  # a length that no memory could hold
    work.path.write_bytes(content)
    assert Parts("explain", "key", tmp_path).found == 0


def test_another_order_of_parts_is_an_error(tmp_path):
    Parts("explain", "key", tmp_path)("lime", lambda: arrays(0))
    with pytest.raises(RuntimeError, match=r"part 0 of .* is not grad_cam: delete the file"):
        Parts("explain", "key", tmp_path)("grad_cam", lambda: arrays(0))


def test_the_time_of_parts_counts_where_they_are_read(tmp_path, monkeypatch):
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


def test_what_is_finished_is_found_until_it_is_forgotten(tmp_path):
    work = Parts("explain", "key", tmp_path)
    work("lime", lambda: arrays(0))
    checkpoint = Checkpoint("train", "key", tmp_path)
    checkpoint.save({"epoch": 1})
    other = Checkpoint("train", "other", tmp_path)
    other.save({"epoch": 2})
    resume.finish(work, checkpoint)
    again = Parts("explain", "key", tmp_path)  # DVC was killed before it took note
    assert again.found == 1
    again.finish()
    resume.forget(tmp_path)
    assert Parts("explain", "key", tmp_path).found == 0
    assert Checkpoint("train", "key", tmp_path).load() is None
    assert other.load() == {"epoch": 2}, "another study's unfinished work is no finished one"


def test_a_checkpoint_holds_tensors_numbers_and_what_they_are_in(tmp_path):
    state = {
        "weights": {"w": torch.arange(6.0).view(2, 3)}, "betas": (0.9, 0.999), "best": float("inf"), "rates": [1, 2.5],
        3: None, "random": torch.get_rng_state(), "name": "cos", "stale": True,
    }  # fmt: skip
    checkpoint = Checkpoint("train", "key", tmp_path)
    assert checkpoint.load() is None
    checkpoint.save(state | {"stale": False})
    checkpoint.save(state)
    found = Checkpoint("train", "key", tmp_path).load()
    for name in ("weights", "random"):
        wanted, got = (value["w"] if name == "weights" else value for value in (state[name], found.pop(name)))
        assert torch.equal(wanted, got)
    assert found == {name: value for name, value in state.items() if name not in ("weights", "random")}
    assert [path.name for path in tmp_path.iterdir()] == ["train-key.unfinished"]


def test_everything_that_decides_a_result_is_in_its_identity(params, monkeypatch):
    usual = resume.identity("glassbox.training.loop", PLACE, 0, "d", params.explain)
    assert resume.identity("glassbox.training.loop", PLACE, 0, "d", params.explain) == usual
    others = [
        resume.identity("glassbox.training.loop", PLACE, 1, "d", params.explain),
        resume.identity("glassbox.training.loop", PLACE, 0, "e", params.explain),
        resume.identity("glassbox.training.loop", PLACE, 0, "d", params.explain.model_copy(update={"mistakes": 99})),
        resume.identity("glassbox.training.loop", replace(PLACE, dtype=torch.bfloat16), 0, "d", params.explain),
        resume.identity("glassbox.training.loop", replace(PLACE, batch_size=3), 0, "d", params.explain),
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    others.append(resume.identity("glassbox.training.loop", PLACE, 0, "d", params.explain))
    torch.set_num_threads(threads)
    others.append(resume.identity("glassbox.data.batches", PLACE, 0, "d", params.explain))
    monkeypatch.setattr(fingerprint, "digest", lambda module: "another version")
    others.append(resume.identity("glassbox.training.loop", PLACE, 0, "d", params.explain))
    assert len({usual, *others}) == len(others) + 1


def test_a_digest_is_of_names_and_contents(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a").write_text("1")
    one = resume.digest(tmp_path / "models")
    (tmp_path / "models" / "a").rename(tmp_path / "models" / "b")
    two = resume.digest(tmp_path / "models")
    (tmp_path / "models" / "b").write_text("2")
    assert len({one, two, resume.digest(tmp_path / "models")}) == 3
