"""Requests to the store: few, and together."""

import threading
from pathlib import Path

import pytest

from glassbox.tracking.writer import REQUESTS, Writer, now, points


class Requests:
    """Takes the place of MLflow's client. It takes files only if REQUESTS of them come at once."""

    def __init__(self) -> None:
        self.batches, self.files = [], []
        self.together = threading.Barrier(REQUESTS, timeout=20)

    def log_batch(self, run_id, metrics=(), params=()):
        self.batches.append((len(params), len(metrics)))

    def log_artifact(self, run_id, path, place=None):
        self.together.wait()
        self.files.append((Path(path).name, place))
        if "broken" in path:
            raise OSError(f"{path} is refused")


@pytest.fixture
def writer():
    return Writer(Requests(), parallel=True)


@pytest.mark.parametrize(
    ("params", "metrics", "batches"),
    [
        (0, 0, []),
        (3, 4, [(3, 4)]),
        (250, 0, [(100, 0), (100, 0), (50, 0)]),
        (0, 2100, [(0, 1000), (0, 1000), (0, 100)]),
        (120, 1000, [(100, 900), (20, 100)]),
    ],
)
def test_parameters_and_metrics_go_in_as_few_batches_as_mlflow_takes(writer, params, metrics, batches):
    values = {f"m{i}": i for i in range(metrics)}
    writer.log_batch("run", {f"p{i}": i for i in range(params)}, points(values, step=0, at=now()))
    assert writer.client.batches == batches


def test_files_go_to_a_server_in_parallel_and_one_that_is_refused_is_an_error(writer, tmp_path):
    (tmp_path / "figures").mkdir()
    for number in range(REQUESTS - 1):
        (tmp_path / "figures" / f"{number}.png").touch()
    (tmp_path / "a.csv").touch()
    writer.log_folder("run", str(tmp_path), "explain")
    assert sorted(writer.client.files) == [
        *((f"{number}.png", "explain/figures") for number in range(REQUESTS - 1)),
        ("a.csv", "explain"),
    ]
    writer.client.files.clear()
    writer.log_folder("run", str(tmp_path))
    assert {place for _, place in writer.client.files} == {None, "figures"}
    (tmp_path / "a.csv").rename(tmp_path / "broken.csv")
    with pytest.raises(OSError, match=r"broken.csv is refused"):
        writer.log_folder("run", str(tmp_path))
