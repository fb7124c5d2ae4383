"""What the tests share: toy classifiers whose explanations can be worked out on paper, and small studies."""

import fcntl
import gc
import importlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from glassbox import models
from glassbox.config import parameters
from glassbox.config.model import Model
from glassbox.config.parameters import Params
from glassbox.core import errors
from glassbox.models import Classifier
from glassbox.models.preprocessing import Preprocessing
from glassbox.provenance import fingerprint

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Where tests run in the background of a script Ctrl-C is ignored, and would be by the studies that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def code_in(monkeypatch) -> Iterator[Callable[[Path], None]]:
    """Lets `fingerprint` read the code of another repository."""

    def read_there(root: Path, *modules: str) -> None:
        monkeypatch.setattr(fingerprint, "ROOT", root)
        monkeypatch.setattr(fingerprint, "PACKAGE", root / "src/glassbox")
        monkeypatch.setattr(fingerprint, "SCRIPTS", modules)
        forget()

    def forget() -> None:
        for known in (fingerprint._reached, fingerprint._imported, fingerprint._is_empty):
            known.cache_clear()

    yield read_there
    monkeypatch.undo()
    forget()


# `model.arguments` of the CNN with little of everything.
SMALL_CNN = {
    "conv1_filters": 4, "conv1_kernel_size": 3, "activation_func1": "relu", "l2_reg_1": 0.0, "pool_size_1": 2,
    "dropout_1": 0.1, "conv2_filters": 8, "conv2_kernel_size": 3, "activation_func2": "leaky_relu",
    "leaky_relu_alpha_2": 0.1, "l2_reg_2": 0.0, "pool_size_2": 2, "dense_units_1": 8, "dense_l2_reg_1": 0.0,
    "activation_func_dense": "relu", "dense_dropout_1": 0.1, "batch_norm_momentum": 0.9,
}  # fmt: skip
NAMES = ["prepare", "tune", "train", "evaluate", "explain", "score", "audit", "repair", "report"]

ALL = os.environ.get("GLASSBOX_FAULTS") == "all"
nightly = pytest.mark.skipif(not ALL, reason="one of `make faults`")

# A small version of the shipped study: the same code, minutes become seconds.
SHRINK = [
    "data.limit=300",
    "tune.n_trials=3",
    "tune.epochs=2",
    "tune.pruner_startup_trials=1",
    "tune.pruner_warmup_epochs=0",
    "tune.space.model.arguments.conv1_filters=[8]",
    "tune.space.model.arguments.conv2_filters=[16]",
    "train.epochs=3",
    "explain.images=[0]",
    "explain.correct_per_class=1",
    "explain.mistakes=1",
    "explain.pairs=1",
    "explain.images_per_pair=1",
    "explain.superpixels.segments=20",
    "explain.lime.samples=60",
    "explain.lime.stability.images=2",
    "explain.lime.stability.samples=[50,60]",
    "explain.lime.stability.seeds=2",
    "explain.kernel_shap.coalitions=64",
    "explain.kernel_shap.background=2",
    "explain.gradient_shap.samples=10",
    "explain.gradient_shap.background=10",
    "explain.integrated_gradients.steps=8",
    "explain.faithfulness.steps=4",
    "score.images=5",
    "score.matched_evaluations=70",
    "score.steps=4",
    "score.correlation.draws=10",
    "score.road.shares=[0.2,0.5,0.8]",
    "score.robustness.images=1",
    "score.robustness.attack_steps=1",
    "score.randomization.images=1",
    "score.randomization.steps=2",
]


@pytest.fixture(scope="session")
def params() -> Params:
    """The parameters of the shipped default study."""
    return parameters.read(ROOT / "params.yaml")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole studies first: with several workers the longest files must not be the last to begin. The first of all
    makes the study that others have copies of; meanwhile studies of other kinds are made."""

    def turn(item: pytest.Item) -> int:
        name = item.path.stem
        if name == "test_study":
            return 0
        return 1 if name.endswith("_studies") else 2 if name.endswith(("_study", "_faults")) else 3

    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """A worker takes whole files, and all those that share `tutorial`. (pytest-xdist's groups would say the same by
    marks, but 3.8 loses them with pytest 9.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "tutorial" if file.endswith(("test_commands_study.py", "test_browser_study.py")) else file

    return Files(config, log)


def made_once(tmp_path_factory, folder: str, work: Callable[[Path], str]) -> tuple[Path, str]:
    """A folder that `work` fills, and the text that it returns. It is filled once for all of pytest-xdist's workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    place, text = shared / folder, shared / f"{Path(folder).parts[0]}.txt"
    with text.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not text.exists():
            shutil.rmtree(place, ignore_errors=True)  # one that failed
            text.write_text(work(place))
    return place, text.read_text()


@pytest.fixture(scope="session")
def first_study(tmp_path_factory) -> tuple[Path, str]:
    """A clone in which the shrunken default study was made, and what was printed. All tests make copies of it."""

    def study(place: Path) -> str:
        return make(clone(place), "study", "STUDY=digits", f"SET={' '.join(SHRINK)}").stdout

    return made_once(tmp_path_factory, "a user's folder/glass box", study)


@pytest.fixture(scope="session")
def made_study(first_study, tmp_path_factory) -> tuple[Path, str]:
    """A copy for tests that change it; each worker has one."""
    first, printed = first_study
    project = tmp_path_factory.mktemp("a user's copy") / "glass box"
    return Path(shutil.copytree(first, project, symlinks=True)), printed


def first_made(made_study: tuple[Path, str], to: Path, *parameters: str) -> Path:
    """A copy of that study as it was made first, whatever tests have changed since: from DVC's cache, where the
    parameters are those of `SHRINK`."""
    project = Path(shutil.copytree(made_study[0], to, symlinks=True))
    shell("python", "-m", "glassbox", "select", "digits", *parameters, cwd=project, PYTHONPATH="src")
    shell("dvc", "repro", cwd=project)
    return project


@pytest.fixture
def run_stages(monkeypatch, capfd) -> Iterator[Callable[..., str]]:
    """Runs stages in a folder, without DVC and MLflow, and gives what they print. They run in this process: the imports
    of a new one take longer than a small stage. A refusal is a SystemExit, as it is there."""
    monkeypatch.setenv("GLASSBOX_TRACKING", "off")
    threads = torch.get_num_threads()

    def run(project: Path, *names: str) -> str:
        monkeypatch.chdir(project)
        capfd.readouterr()
        for name in names:
            errors.run(importlib.import_module(f"stages.{name}").main)
        return capfd.readouterr().out

    yield run
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def commands(page: str) -> list[str]:
    """Those that a page of the documentation tells to type, in order, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [re.sub(r"(^|\s\s+)#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="session")
def tutorial(made_study) -> tuple[Path, str]:
    """The clone in which every command of docs/tutorial.md was run, as it stands there, and what was printed. Only
    MLflow's page, which does not come back, is left to tests of its own."""
    project, _ = made_study
    (project / ".venv").symlink_to(Path(sys.executable).parent.parent)
    shell("git", "checkout", "-q", "-B", "tutorial", cwd=project)
    strokes = np.zeros((300, 400, 3), np.uint8)
    strokes[60:240, 180:220] = 255
    Image.fromarray(strokes).save(project / "photo.jpg")
    script = "\n".join(command for command in commands("docs/tutorial.md") if command != "make ui")
    who = [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    done = shell("bash", "-e", "-c", script, cwd=project, **dict.fromkeys(who, "test@example.org"))
    return project, done.stdout


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium, driven by Playwright: pages are tried as people use them."""
    from docs import pictures

    found = pictures.executable()
    if found is None:
        pytest.skip("there is no browser to look at pages with: install Chromium (Debian: apt-get install chromium)")
    with pictures.chromium(found) as made:
        yield made


class TinyNetwork(nn.Module):
    """A convolutional network of three classes with little of everything, in evaluation mode, its weights drawn from
    seed 0."""

    def __init__(self, n_classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.body = nn.Sequential(first, nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), second, nn.SiLU())
        self.dropout, self.head = nn.Dropout(0.5), nn.Linear(8, n_classes)
        nn.init.uniform_(self.body[1].running_mean, -0.5, 0.5)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.body(x).mean(dim=(2, 3))))


def export(network: nn.Module, file: Path, side: int = 16, fixed: int | None = None) -> str:
    """The file, with a program of a network, for so many images at a time or any number, of `side` pixels."""
    images = torch.zeros(fixed or 2, 3, side, side)
    sizes = None if fixed else ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(network, (images,), dynamic_shapes=sizes), file)
    return str(file)


class LinearNetwork(nn.Module):
    """Two logits: 0 and the weighted sum of all pixels, sum_chw w[h, w] * x[c, h, w]."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = (x * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(score), score], dim=1)


class ProbabilityNetwork(nn.Module):
    """Class 1 has the probability floor + sum_hw w[h, w] * mean_c x[c, h, w], which must stay within 0..1: linear in
    the pixels, so that Shapley values and areas under curves are sums that can be done by hand."""

    def __init__(self, weights: np.ndarray, floor: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))
        self.floor = floor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = self.floor + (x.double().mean(dim=1) * self.weights).sum(dim=(1, 2))
        return torch.log(torch.stack([1 - p, p], dim=1).clamp_min(1e-12)).float()


def model(name: str, arguments: dict | None = None, **changes: object) -> Model:
    """The section `model` of a network with fresh weights, that takes images as they are."""
    others = {"weights": None, "classes": None, "normalization": "data", "input_size": None}
    return Model(name=name, arguments=arguments or {}, **(others | changes))


def plain(network: nn.Module) -> Classifier:
    """A classifier that does not change colours before its network sees them, in training mode as a network starts."""
    return Classifier(network, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture(scope="session")
def small_cnn() -> Callable[[int], Classifier]:
    """A real network of four classes for images of so many pixels a side, its weights drawn from seed 0."""
    how = Preprocessing((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))

    def build(side: int) -> Classifier:
        torch.manual_seed(0)
        return models.build("cnn", SMALL_CNN, how, side, 4)

    return build


@pytest.fixture
def small_transformer(monkeypatch) -> tuple[Model, Classifier]:
    """Torchvision's vit_b_16 of three classes with little of everything, for images of 32 pixels."""
    from torchvision.models import VisionTransformer

    def little(_: str, **asked: object) -> VisionTransformer:
        kept = {"image_size": asked["image_size"], "num_classes": asked["num_classes"]}
        return VisionTransformer(**kept, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16)

    monkeypatch.setattr("torchvision.models.get_model", little)
    torch.manual_seed(0)
    how = Preprocessing((0.5, 0.5, 0.5), (0.3, 0.3, 0.3))
    classifier = models.build("torchvision/vit_b_16", {}, how, 32, 3)
    torch.nn.init.normal_(classifier.network.heads.head.weight)  # torchvision's is zero, and every answer the same
    return model("torchvision/vit_b_16"), classifier


@pytest.fixture
def linear() -> type[LinearNetwork]:
    return lambda weights: plain(LinearNetwork(weights))


@pytest.fixture
def probability() -> type[ProbabilityNetwork]:
    return lambda weights, floor=0.0: plain(ProbabilityNetwork(weights, floor))


def environment(**changes: str) -> dict[str, str]:
    """The environment of a user who has activated this test's environment, and set nothing else."""
    unset = ("DVC_", "MLFLOW_", "GLASSBOX_", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unset)}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | changes


def shell(*command: str, cwd: Path, check: bool = True, **changes: str) -> subprocess.CompletedProcess:
    """Run a command as that user would; a failure shows what it printed."""
    result = subprocess.run(command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, timeout=600)
    assert not check or result.returncode == 0, f"{' '.join(command)}: {result.stdout}\n{result.stderr}"
    return result


def clone(to: Path) -> Path:
    """The project as it is now, uncommitted changes included, as the only commit of a new repository."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    shell("git", "init", "-q", "-b", "main", cwd=to)
    shell("git", "add", "-A", cwd=to)
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    shell("git", *author, "commit", "-qm", "as it is now", cwd=to)
    return to


def make(project: Path, *arguments: str, check: bool = True, **changes: str) -> subprocess.CompletedProcess:
    """`make` with the environment of this test."""
    return shell("make", *arguments, f"VENV={Path(sys.executable).parent.parent}", cwd=project, check=check, **changes)


def ran(output: str) -> list[str]:
    """The stages that DVC ran, in order."""
    return [name for line in output.splitlines() for name in NAMES if line == f"Running stage '{name}':"]


def table(project: Path, name: str) -> pd.DataFrame:
    """Of a study's reports."""
    return pd.read_csv(project / "reports" / name)


def studies(project: Path) -> dict[str, dict[str, str]]:
    """Tags of every parent run in the study's store, by DVC experiment, or by name where it is of none."""
    with sqlite3.connect(project / "mlruns/mlflow.db") as store:
        rows = store.execute(
            "select r.name, t.key, t.value from runs r join tags t on r.run_uuid = t.run_uuid "
            "where r.run_uuid in (select run_uuid from tags where key = 'kind' and value = 'study')"
        ).fetchall()
    found = {name: {key: value for other, key, value in rows if other == name} for name, *_ in rows}
    return {tags.get("dvc_exp_name", name): tags for name, tags in found.items()}


def pytest_collection_finish() -> None:
    """What is there by now stays: looking for garbage in it takes a twentieth of the time."""
    gc.collect()
    gc.freeze()
