"""MLflow servers that die, another place, a clock that jumps, another kind of network. Each docstring states what must
hold."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import psutil
import pytest
from conftest import NAMES, SHRINK, clone, environment, make, nightly, ran
from harness import WITHOUT_MLFLOW, differing, digests, one_sentence, stage
from services import free_port, wait_for_page, wait_until


class Server:
    """An MLflow server, which can be killed and started again at its address."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.client = mlflow.MlflowClient(self.address)
        self.start()

    def start(self) -> None:
        stores = (
            f"--backend-store-uri=sqlite:///{self.folder}/server.db",
            f"--artifacts-destination={self.folder}/files",
        )
        options = ["--host=127.0.0.1", f"--port={self.port}", "--workers=1", *stores]
        command = [sys.executable, "-m", "mlflow", "server", *options]
        log, variables = self.folder / "server.log", environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        with log.open("a") as file:
            self.process = psutil.Popen(
                command, cwd=self.folder, env=variables, stdout=file, stderr=file, start_new_session=True
            )
        wait_for_page(f"{self.address}/health", log)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def runs(self, query: str = "") -> list:
        experiment = self.client.get_experiment_by_name("digits")
        return self.client.search_runs([experiment.experiment_id], query) if experiment else []


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    yield server
    if server.process.is_running():
        server.kill()


def train_until_it_dies(study: Path, server: Server, **changes: str) -> subprocess.Popen:
    """A training whose server is killed once it has the stage's run."""
    shutil.rmtree(study / "reports/train")
    variables = environment(MLFLOW_TRACKING_URI=server.address, **changes)
    command, pipes = [sys.executable, "-m", "stages.train"], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    training = subprocess.Popen(command, cwd=study, env=variables, text=True, **pipes)
    wait_until(lambda: server.runs("tags.kind = 'stage'"))
    server.kill()
    return training


@nightly
def test_a_server_that_dies_and_returns_gets_all_of_a_run(study, server):
    """Must hold: the stage waits for it and ends well; every epoch is there once, and no run is without an end."""
    training = train_until_it_dies(study, server)
    time.sleep(5)
    server.start()
    _, err = training.communicate(timeout=300)
    assert training.returncode == 0, err
    assert {run.info.status for run in server.runs()} <= {"FINISHED", "KILLED"}
    (train,) = server.runs("tags.kind = 'stage' and attributes.status = 'FINISHED'")
    losses = server.client.get_metric_history(train.info.run_id, "train_loss")
    assert [point.step for point in losses] == [1, 2, 3]


@nightly
def test_a_server_that_does_not_return_costs_no_work(study, undisturbed, server):
    """Must hold: one sentence and exit code 2; the epochs that were trained are not trained again."""
    training = train_until_it_dies(study, server, MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
    output = training.communicate(timeout=300)
    ended = subprocess.CompletedProcess([], training.returncode, *output)
    one_sentence(ended, f"logging to MLflow at {server.address} failed")
    result = stage(study, "train")
    assert result.returncode == 0, result.stderr
    assert re.search(r"the training goes on after epoch [1-3]$", result.stderr, re.MULTILINE)
    assert differing(digests(study), undisturbed[1]) == []


@nightly
def test_a_recorded_study_is_done_again_elsewhere_with_the_same_bytes(undisturbed):
    """`make verify`: code and parameters from the record, and every file of numbers, maps and weights. That MLflow's
    server is away costs a warning."""
    project, expected, _ = undisturbed
    done = make(project, "verify", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    said = done.stdout
    assert "MLFLOW_TRACKING_URI = http://127.0.0.1:9 does not answer" in done.stderr.splitlines()[-1]
    assert ran(said) == NAMES
    lines = [line for line in said.splitlines() if line.startswith("agrees ")]
    recorded = {name for name in expected if not name.endswith(("record.json", "train.safetensors", "test.safetensors",
                                                                "validation.safetensors"))}  # fmt: skip
    assert {line.split("  ")[-1] for line in lines} == recorded
    assert said.endswith(f": {len(lines)} of {len(lines)} files agree\n")


@pytest.fixture(scope="module")
def jumping_clock(tmp_path_factory):
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("a clock that jumps needs Linux and a C compiler")
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@nightly
@pytest.mark.parametrize("seconds", [-86400, 10**7])
def test_a_clock_that_jumps_changes_no_result(study, undisturbed, jumping_clock, seconds):
    """Must hold: the same files, no negative duration, and every run ends after it began."""
    for name in ("tune", "train"):
        shutil.rmtree(study / "reports" / name)
    shutil.rmtree(study / "data/search")
    changes = {"LD_PRELOAD": str(jumping_clock), "GLASSBOX_JUMP": str(seconds), "GLASSBOX_JUMP_AFTER": "200"}
    for name in ("tune", "train"):
        result = stage(study, name, GLASSBOX_TRACKING="on", **changes)
        assert result.returncode == 0, result.stderr
    assert differing(digests(study), undisturbed[1]) == []
    for name in ("tune", "train"):
        times = json.loads((study / f"reports/{name}/timing.yaml").read_text())
        assert all(0 < value < 600 for value in times["seconds"])
    with sqlite3.connect(study / "mlruns/mlflow.db") as store:
        spans = store.execute("select end_time - start_time, status from runs").fetchall()
    assert all(span >= 0 for span, _ in spans)
    assert {status for _, status in spans} == {"FINISHED"}


@nightly
@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_a_vision_transformer_is_finished_by_explainers_that_need_no_feature_maps(tmp_path, name):
    """Must hold: with grad_cam the study is refused before anything is trained, without it it comes to its report."""
    changes = [
        "data.limit=120", f"model.name={name}", "tune.n_trials=0", "train.optimizer=adam", "train.learning_rate=0.001",
        "train.epochs=2", "explain.correct_per_class=0", "explain.mistakes=2", "explain.pairs=0", "score.images=3",
    ]  # fmt: skip
    shrink = [change for change in SHRINK if not change.startswith(("data.", "train.", "tune."))]
    project = clone(tmp_path / "a transformer")

    def study(explainers: str) -> subprocess.CompletedProcess:
        asked = [*shrink, *changes, f"explain.explainers={explainers}"]
        return make(project, "study", "STUDY=digits", f"SET={' '.join(asked)}", check=False, **WITHOUT_MLFLOW)

    refused = study("[lime,grad_cam]")
    assert refused.returncode != 0
    assert "take grad_cam out of explain.explainers" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert ran(refused.stdout) == []
    done = study("[lime,kernel_shap,integrated_gradients]")
    assert done.returncode == 0, done.stderr
    assert (project / "reports/index.html").exists()
