"""Small stages that log to a store, and what is in it then."""

import io
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from conftest import SMALL_CNN, model
from PIL import Image

from glassbox import models, tracking
from glassbox.data.store import Description
from glassbox.models.preprocessing import Preprocessing
from glassbox.tracking import address
from glassbox.tracking.store import experiment_ids

DATA = Description("toy", ("cat", "dog"), 8, {"train": 4}, (0.5,) * 3, (0.2,) * 3, False, "d" * 64)
OTHER_DATA = Description(**DATA.__dict__ | {"digest": "e" * 64})
SMALL = model("cnn", SMALL_CNN)
ODD = "a?b/pct%41 b/x#y&z=1;@:"  # a folder's name with characters that have a meaning in addresses
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def store_uri(project: Path) -> str:
    return f"sqlite:///{project / address.STORE / address.DATABASE}"


def client(project: Path):
    import mlflow

    return mlflow.MlflowClient(store_uri(project))


def runs(project: Path, **tags: str):
    """Runs with these tags, oldest first."""
    store = client(project)
    query = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
    return sorted(store.search_runs(experiment_ids(store), query), key=lambda r: (r.info.start_time, r.info.run_name))


def statuses(project: Path, **tags: str) -> list[str]:
    return [run.info.status for run in runs(project, **tags)]


def change(project: Path, before: str, after: str) -> None:
    """Change the project's parameters."""
    text = (project / "params.yaml").read_text()
    assert before in text
    (project / "params.yaml").write_text(text.replace(before, after))


def begin(name: str, data: Description = DATA, folder: str = "") -> None:
    """A stage that logs nothing, or the files of a folder."""
    with tracking.stage(name) as tracked:
        tracked.begin(data)
        if folder:
            tracked.log_files(folder)


def begin_and_wait(name: str) -> None:
    """A stage that is at work for long."""
    run = tracking.StageRun(name)  # kept: without it the pipe to the recorder would close
    run.begin(DATA)
    time.sleep(600)


def complete(project: Path) -> None:
    """Fill the row of a study that explained two images by LIME."""
    (project / "reports").mkdir(exist_ok=True)
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
    classifier = models.build(SMALL.name, SMALL.arguments, Preprocessing(DATA.mean, DATA.std), 8, 2)
    models.save(folder, classifier, models.describe(SMALL, classifier, DATA, []))
    return classifier


def log_model(card: str = "# Card", validated: float = 0.5) -> None:
    """Log the model in models/."""
    with tracking.stage("report") as tracked:
        tracked.begin(DATA)
        tracked.log_model(
            "models", {"temperature": 2.0, "shape": {"size": 8}}, DATA.classes, IMAGES[:2], card, validated
        )


def bundle(project: Path) -> Path:
    """The folder of weights and settings of the logged model."""
    (settings,) = (project / address.STORE / "artifacts").rglob("serving.json")
    return settings.parent


def clone_of(project: Path, place: Path) -> Path:
    """Another clone, with a picture in out/."""
    place.mkdir(parents=True)
    shutil.copy2(project / "params.yaml", place)
    (place / "out").mkdir()
    (place / "out" / "picture.txt").write_text("red and blue")
    return place


def pictures(uri: str) -> list[bytes]:
    """The picture of every stage run in a store."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    store = mlflow.MlflowClient()
    stages = store.search_runs(experiment_ids(store), "tags.kind = 'stage'")
    return [Path(store.download_artifacts(run.info.run_id, "picture.txt")).read_bytes() for run in stages]
