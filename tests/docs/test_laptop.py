import shutil

import pytest

from docs import laptop
from docs.resnet50_paper import RUNS as OTHERS
from glassbox.core import files
from glassbox.core.errors import UserError

from .conftest import commit

FULL = OTHERS / "transfer"  # the files of a real study, on all of CIFAR-10


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """That study in a repository of its own, and an empty folder for collected runs."""
    monkeypatch.setattr(laptop, "RUNS", tmp_path / "runs")
    root = tmp_path / "study"
    shutil.copytree(FULL, root / "reports")
    shutil.copy(FULL / "params.yaml", root)
    commit(root)
    return root


def with_seed(root, seed, accuracy, seconds):
    """The study once more, with another outcome."""
    params, metrics, timing = root / "params.yaml", "reports/evaluate/metrics.json", "reports/train/timing.yaml"
    lines = [f"  seed: {seed}" if line.startswith("  seed:") else line for line in params.read_text().splitlines()]
    params.write_text("\n".join(lines))
    scores = {"accuracy": accuracy, "mirrored_accuracy": accuracy + 0.01}
    files.write_json(root / metrics, files.read_json(root / metrics) | scores)
    changed = {"seconds": [seconds / 2, seconds / 2], "images_per_second": [99.0, 101.0]}
    files.write_json(root / timing, files.read_json(root / timing) | changed)


def test_means_over_seeds_by_hand(finished, monkeypatch):
    for seed, accuracy, seconds in ((0, 0.93, 600), (1, 0.94, 1200), (2, 0.95, 1800)):
        with_seed(finished, seed, accuracy, seconds)
        laptop.collect(str(finished), "made in a test")
    monkeypatch.setattr(laptop.cnn_paper, "load", lambda: {"paper": [], "search": [], "tuned": []})
    monkeypatch.setattr(laptop.resnet50_paper, "load", list)
    studies = laptop.load()
    assert [made.name for made in studies["cifar10-transfer"]] == [f"cifar10-transfer-{seed}" for seed in range(3)]
    text = laptop.page(studies)
    row = next(line for line in text.splitlines() if line.startswith("| `cifar10-transfer` |"))
    assert "| 94.00 ± 1.00 | 95.00 ± 1.00 | 3 | 2 | 20 min (10 min to 30 min) | 100 | 2 |" in row
    assert "- `cifar10-transfer`: made in a test." in text
    assert text.count("made in a test") == 1


def test_runs_on_a_part_of_the_images_are_left_out():
    assert "cifar10-resnet18" not in laptop.load()  # 12,000 images
    assert "cifar10-transfer" in laptop.load()


def test_a_part_of_the_test_images_is_refused(finished):
    metrics = finished / "reports/evaluate/metrics.json"
    files.write_json(metrics, files.read_json(metrics) | {"images": 400})
    with pytest.raises(UserError, match=r"metrics.json is of 400 images, but CIFAR-10 has 10000"):
        laptop.collect(str(finished))
    (finished / "reports/train/curves.csv").unlink()
    with pytest.raises(UserError, match=r"curves.csv is missing: 'dvc repro' in"):
        laptop.collect(str(finished))
    assert not laptop.RUNS.exists()


def test_an_empty_folder_is_refused():
    with pytest.raises(UserError, match=r"holds no run: 'python -m docs.laptop collect FOLDER' brings one"):
        laptop.page({})
