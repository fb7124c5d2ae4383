"""The model of a study in MLflow: logged under the row, registered as a version, and fetched if it is whole."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassbox.core import files
from glassbox.provenance.fingerprint import NETWORKS
from glassbox.tracking import store
from glassbox.tracking.ownership import OWNER
from glassbox.tracking.runs import NOTE, StudyRuns

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SERVING = "serving.json"  # see `serving`, which needs torch
MODEL_DIGEST = "model_digest"  # tag of a logged model: digest of its weights and settings
LISTED = "files.json"  # in a logged model: SHA-256 of each of its other files, by name
LISTED_DIGEST = "files_digest"  # tag of a logged model: SHA-256 of that list
NOT_WHOLE = "Files of this version are missing or damaged: load a later version."
VALIDATED, BEST = "validation_accuracy", "best"  # tag of a version, and the alias of the one in which it is highest
REGISTERED = "glassbox"  # before a study's name: its model in the registry
REQUIREMENTS = (  # of the logged model
    "numpy",
    "pandas",
    "pillow",
    "torch",
    "torchvision",
    "timm",
    "huggingface_hub",
    "safetensors",
    "pydantic",
    "ruamel.yaml",
    "filelock",
    "threadpoolctl",
)


def log(
    runs: StudyRuns,
    folder: str,
    settings: dict[str, Any],
    classes: list[str],
    example: list,
    card: str,
    validation_accuracy: float,
) -> None:
    """See `recorder.Recorder.log_model`."""
    from mlflow.entities import LoggedModelOutput

    digest = files.digest(weights_digest(folder), json.dumps(settings, sort_keys=True))
    model_id = _find_whole(runs, digest) or _save(runs, folder, settings, classes, example, digest)
    linked = {output.model_id for output in runs.client.get_run(runs.row_id).outputs.model_outputs}
    if model_id not in linked:
        runs.client.log_outputs(runs.row_id, [LoggedModelOutput(model_id, step=0)])
    runs.client.set_logged_model_tags(model_id, {NOTE: card})
    _register(runs, model_id, card, validation_accuracy)


def _find_whole(runs: StudyRuns, digest: str) -> str | None:
    """The id of a whole model with these weights and settings, perhaps of another state of the study. Damaged ones are
    marked as such."""
    newest_first = [{"field_name": "creation_timestamp", "ascending": False}]
    same = f"tags.{MODEL_DIGEST} = '{digest}'"
    for model in runs.client.search_logged_models([runs.experiment_id], filter_string=same, order_by=newest_first):
        with tempfile.TemporaryDirectory() as place:
            if fetch(runs.client, model.model_id, place):
                return model.model_id
        if model.status != "PENDING":  # else another recorder is copying it
            runs.client.finalize_logged_model(model.model_id, "FAILED")
            for known in runs.client.search_model_versions(f"name = '{REGISTERED}-{runs.study}'"):
                if known.source == f"models:/{model.model_id}":
                    runs.client.update_model_version(known.name, known.version, NOT_WHOLE)
    return None


def _save(
    runs: StudyRuns, folder: str, settings: dict[str, Any], classes: list[str], example: list, digest: str
) -> str:
    """Log a model under the study's row; its id."""
    from importlib.metadata import version

    import mlflow
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    runtime = ["onnxruntime"] if (Path(folder) / "network.onnx").exists() else []
    probabilities = [ColSpec(DataType.double, f"p({name})") for name in classes]
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        outputs=Schema([ColSpec(DataType.string, "prediction"), *probabilities]),
    )
    # pyfunc.log_model would import torch to try the model on its example. `evaluate` has used the model already, and
    # tests/tracking/test_models.py loads it.
    with tempfile.TemporaryDirectory() as place, mlflow.start_run(run_id=runs.row_id):
        bundle = shutil.copytree(folder, Path(place) / "model")
        files.write_json(bundle / SERVING, settings)
        logged = Model.log(
            artifact_path=None,
            name="model",
            flavor=_Pyfunc,
            validate_serving_input=False,
            loader_module="glassbox.serving",
            data_path=str(bundle),
            code_paths=[str(path) for path in (Path(__file__).parents[1], NETWORKS) if path.is_dir()],
            signature=signature,
            input_example=np.array(example, np.uint8),
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in [*REQUIREMENTS, *runtime]],
            tags={MODEL_DIGEST: digest, OWNER: runs.owner},
        )
    runs.client.update_run(runs.row_id, status="RUNNING")
    return logged.model_id


def _register(runs: StudyRuns, model_id: str, card: str, validation_accuracy: float) -> None:
    """Make a model the latest version of the study's registered model, and the one that validated best its `BEST`."""
    from mlflow.exceptions import MlflowException

    client, name = runs.client, f"{REGISTERED}-{runs.study}"
    with store.lock():
        try:
            about = f"Versions of the classifier of the study {runs.study}, one for each of its states."
            client.create_registered_model(name, description=about)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
        latest = versions[0] if versions else None
        source = f"models:/{model_id}"
        tags = {"study_digest": runs.tags["study_digest"], VALIDATED: f"{validation_accuracy:.6f}"}
        if latest is None or (latest.source, latest.tags) != (source, tags):
            latest = client.create_model_version(name, source, runs.row_id, tags, model_id=model_id)
        client.update_model_version(name, latest.version, card)
        best = _validated_best(client.search_model_versions(f"name = '{name}'"))
        client.set_registered_model_alias(name, BEST, best.version)


def _validated_best(versions: list[Any]) -> Any:
    """The version with the highest validation accuracy, the first of those that share it; of whole ones, and those
    that an older glassbox registered, without that tag, only if there is no other."""
    whole = [version for version in versions if version.description != NOT_WHOLE]
    return max(whole, key=lambda version: (float(version.tags.get(VALIDATED, -1)), -int(version.version)))


class _Pyfunc:
    """mlflow.pyfunc as a flavor, without the argument that only `Model.log` takes, and with a list of the files that it
    writes: MLflow copies them one by one, and may be killed in between."""

    __name__ = "mlflow.pyfunc"

    @staticmethod
    def save_model(path: str, mlflow_model: Any, validate_serving_input: bool, **options: Any) -> None:
        import mlflow

        assert not validate_serving_input
        mlflow.pyfunc.save_model(path=path, mlflow_model=mlflow_model, **options)
        files.write_json(Path(path) / LISTED, _digests(Path(path)))
        tags = {LISTED_DIGEST: files.sha256(Path(path) / LISTED)}
        mlflow.MlflowClient().set_logged_model_tags(mlflow_model.model_id, tags)


def fetch(client: "MlflowClient", model_id: str, place: str | Path) -> Path | None:
    """Copy a logged model to `place`, and return its folder there; None if it is not whole: still being copied, or a
    file is missing or was changed."""
    from mlflow.artifacts import download_artifacts

    model = client.get_logged_model(model_id)
    if model.status != "READY" or LISTED_DIGEST not in model.tags:
        return None
    if LISTED not in [file.path for file in client.list_logged_model_artifacts(model_id)]:
        return None  # its download would fail in the same way as one from a server that is down
    folder = Path(download_artifacts(artifact_uri=f"models:/{model_id}", dst_path=str(place)))
    if not (folder / LISTED).is_file() or files.sha256(folder / LISTED) != model.tags[LISTED_DIGEST]:
        return None
    return folder if files.read_json(folder / LISTED).items() <= _digests(folder).items() else None


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model, by name, without Python's caches."""
    return {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def weights_digest(folder: str | Path) -> str:
    return files.sha256(Path(folder) / "model.safetensors")
