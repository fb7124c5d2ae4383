"""Small stages that log to a store, and what is in it then."""

import io
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from conftest import ROOT, environment
from PIL import Image

from glassbox import models, tracking
from glassbox.data.store import Description
from glassbox.models.cnn import Hyperparameters
from glassbox.tracking import address
from glassbox.tracking.store import experiment_ids

DATA = Description("toy", ("cat", "dog"), 8, {"train": 4}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64)
OTHER_DATA = Description(**DATA.__dict__ | {"digest": "e" * 64})
SMALL = Hyperparameters(4, 3, "relu", None, 0.0, 2, 0.1, 4, 3, "relu", None, 0.0, 2, 8, 0.0, "relu", None, 0.1, 0.9)
SPEC = models.Spec("cnn", SMALL.__dict__, "data", None)


def store_uri(project: Path) -> str:
    return f"sqlite:///{project / address.STORE / address.DATABASE}"


def client(project: Path):
    import mlflow

    return mlflow.MlflowClient(store_uri(project))


def runs(project: Path, **tags: str):
    store = client(project)
    query = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
    return sorted(store.search_runs(experiment_ids(store), query), key=lambda r: (r.info.start_time, r.info.run_name))


def begin(name: str, data: Description = DATA) -> None:
    with tracking.stage(name) as tracked:
        tracked.begin(data)


def complete(project: Path) -> None:
    """Fill the row of a study that explained two images by LIME."""
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    with tracking.stage("report") as tracked:
        tracked.begin(DATA)
        tracked.complete_study(
            choices=[
                {"key": "train.learning_rate", "value": 0.002, "source": "tune, trial 3"},
                {"key": "train.epochs", "value": 15, "source": "params.yaml"},
                {"key": "train.rho", "value": None, "source": "not used"},
            ],
            headline={"test_accuracy": 0.9},
            curves=[{"epoch": 1, "validation_loss": 0.5}, {"epoch": 2, "validation_loss": 0.4}],
            description="**about** ![a](artifact:evaluate/confusion_matrix.png)",
            best="LIME",
            view="the view",
            reports="reports",
        )
        tracked.log_images([(key, step, content.getvalue()) for key in ("a/LIME", "a/image") for step in (7, 9)])


def save_model(folder: Path) -> models.Classifier:
    torch.manual_seed(0)
    classifier = models.build("cnn", SMALL.__dict__, 8, 2, DATA.mean, DATA.std)
    models.save(folder, classifier, models.describe(SPEC, classifier, DATA, []))
    return classifier


def log_model(project: Path, images: np.ndarray, card: str = "# Card") -> None:
    with tracking.stage("report") as tracked:
        tracked.begin(DATA)
        tracked.log_model("models", {"temperature": 2.0, "resize": "crop"}, DATA.classes, images[:2], card)


def bundle(project: Path) -> Path:
    """The folder of what was logged of the model."""
    (card,) = (project / address.STORE / "artifacts").rglob("serving.json")
    return card.parent


STAGE = """
import os, sys, time
from glassbox import tracking
from glassbox.data.store import Description
with tracking.stage(sys.argv[1]) as tracked:
    tracked.begin(Description("toy", ("cat", "dog"), 8, {}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64))
    tracked.log_metrics({"loss": 1.0})
    time.sleep(float(sys.argv[2]))
"""


def start(project: Path, name: str, seconds: float, **changes: str) -> subprocess.Popen:
    command = [sys.executable, "-c", STAGE, name, str(seconds)]
    return subprocess.Popen(command, cwd=project, env=environment(PYTHONPATH=str(ROOT / "src"), **changes))


def wait_until_it_runs(project: Path, name: str, times: int = 1) -> None:
    deadline = time.monotonic() + 60
    while len(of_stage := runs(project, dvc_stage=name)) < times or of_stage[-1].info.status != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.3)


def clone_of(project: Path, place: Path) -> Path:
    place.mkdir(parents=True)
    shutil.copy2(project / "params.yaml", place)
    (place / "out").mkdir()
    (place / "out" / "picture.txt").write_text("red and blue")
    return place


def log_picture() -> None:
    with tracking.stage("explain") as tracked:
        tracked.begin(DATA)
        tracked.log_files("out")


def pictures(where: str) -> list[bytes]:
    """What every stage run in a store has as its picture."""
    import mlflow

    mlflow.set_tracking_uri(where)
    store = mlflow.MlflowClient()
    stages = store.search_runs(experiment_ids(store), "tags.kind = 'stage'")
    return [Path(store.download_artifacts(run.info.run_id, "picture.txt")).read_bytes() for run in stages]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
