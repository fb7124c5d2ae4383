"""The processes of a training by Ray Train, its ranks. The first of them reports to the stage."""

import tempfile
import traceback
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import ray
import torch

from glassbox.core.errors import UserError
from glassbox.execution.ray_cluster.actors import ProcessSettings
from glassbox.execution.ray_cluster.object_store import StoredSplits
from glassbox.execution.ray_cluster.resources import Resources
from glassbox.provenance import resume


class Kind(StrEnum):
    """Kinds of messages."""

    EPOCH = "epoch"
    STATE = "state"  # of the training, for its checkpoint
    NOTE = "note"  # about the checkpoint, for the user
    WEIGHTS = "weights"  # the last message
    ERROR = "error"  # the error to raise


@dataclass(frozen=True)
class RankRequest:
    """What each rank is sent."""

    training: Any  # a `glassbox.training.loop.Training`
    data: StoredSplits
    process: ProcessSettings
    queue: Any  # of messages to the stage
    state: Any  # reference to the packed state of the checkpoint, or None


def run_ray_train(request: RankRequest, n_ranks: int, resources: Resources) -> None:
    """A task of the cluster: Ray Train, until its ranks are at their end."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # takes seconds, which the stage is spared
    from ray.train.torch import TorchConfig, TorchTrainer

    on_gpus = resources.gpus > 0
    with tempfile.TemporaryDirectory() as folder:  # Ray Train needs one; checkpoints are sent to the stage
        TorchTrainer(
            train_rank,
            train_loop_config={"request": request},
            torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
            scaling_config=ScalingConfig(num_workers=n_ranks, use_gpu=on_gpus, resources_per_worker=resources.bundle()),
            run_config=RunConfig(storage_path=folder, failure_config=FailureConfig(max_failures=0)),
        ).fit()


def train_rank(config: dict[str, RankRequest]) -> None:
    """One rank of a training."""
    request = config["request"]
    training, place = request.training, request.process.place
    if place.device.type == "cuda":
        from ray.train.torch import get_device

        place = replace(place, device=get_device())
    replace(request.process, place=place).apply()
    ranks = training.ranks()
    is_first = ranks.rank == 0
    stage = StageCheckpoint(request.queue, request.state)
    try:
        classifier = training.fresh(place.device)
        splits = request.data("train"), request.data("validation")
        for epoch in training.epochs(classifier, *splits, place, stage, ranks):
            if is_first:
                stage.send(Kind.EPOCH, asdict(epoch))
        if is_first:
            weights = {name: tensor.cpu() for name, tensor in classifier.state_dict().items()}
            stage.send(Kind.WEIGHTS, resume.packed(weights))
    except UserError as error:
        stage.send(Kind.ERROR, error)
    except Exception as error:
        if not _is_communication_error(error):  # else another rank was lost, which is the error to report
            stage.send(Kind.ERROR, RuntimeError(traceback.format_exc()))
        raise


def _is_communication_error(error: Exception) -> bool:
    message = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or "gloo" in message or "nccl" in message


@dataclass
class StageCheckpoint:
    """Messages to the stage; as a `resume.Saved`, the checkpoint whose file is on the stage's machine."""

    queue: Any
    state: Any

    def send(self, kind: Kind, value: Any) -> None:
        """Values are of plain types, errors apart: the actor that holds the queue need not import PyTorch."""
        self.queue.put((kind.value, value))

    def save(self, state: dict[str, Any]) -> None:
        self.send(Kind.STATE, resume.packed(state))

    def load(self) -> dict[str, Any] | None:
        return None if self.state is None else resume.unpacked(ray.get(self.state))

    def tell(self, what: str) -> None:
        self.send(Kind.NOTE, what)
