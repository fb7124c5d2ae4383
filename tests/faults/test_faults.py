"""What can happen to a study on a real machine, done to a real one. Each docstring states what must hold.

`make faults` is the nightly form: 20 random kills, and every case. `make test` has 3 kills and one case of the most
common kinds.
"""

import hashlib
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mlflow
import psutil
import pytest
from conftest import NAMES, SHRINK, clone, environment, make, ran, shell
from harness import MINUTES, Repro, check_whole, differing, digests, finish, repro, runs, seed, small_study

WHAT = ("stage", "dvc", "all")
KILLS = int(os.environ.get("GLASSBOX_FAULT_KILLS", "3"))
A_STUDY = 4  # kills that one study has to survive at most
ALL = os.environ.get("GLASSBOX_FAULTS") == "all"
nightly = pytest.mark.skipif(not ALL, reason="one of `make faults`")
WITHOUT_MLFLOW = {"GLASSBOX_TRACKING": "off"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A study that was left in peace, the digests of its files, and how many seconds it took."""
    project = small_study(tmp_path_factory.mktemp("in peace") / "study")
    start = time.monotonic()
    repro(project, **WITHOUT_MLFLOW)
    return project, digests(project), time.monotonic() - start


@pytest.fixture
def study(undisturbed, tmp_path):
    """A copy of it, to do harm to."""
    return copy(undisturbed[0], tmp_path / "a study")


def copy(project: Path, place: Path) -> Path:
    return Path(shutil.copytree(project, place, symlinks=True))


OUTS = {"prepare": ["data/prepared", "reports/prepare"], "train": ["models", "reports/train"],
        "report": ["reports/report", "reports/index.html", "reports/summary.json"]}  # fmt: skip


def without_outs(project: Path, name: str) -> None:
    """As DVC leaves a stage's outputs when it runs the stage."""
    for out in OUTS.get(name, [f"reports/{name}"]):
        place = project / out
        shutil.rmtree(place) if place.is_dir() else place.unlink()


def stage(project: Path, name: str, **changes: str) -> subprocess.CompletedProcess:
    """A stage by itself."""
    return shell(sys.executable, "-m", f"stages.{name}", cwd=project, check=False, **(WITHOUT_MLFLOW | changes))


def python(*arguments: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess:
    """Python with the project's own library."""
    return shell(sys.executable, *arguments, cwd=cwd, check=False, PYTHONPATH="src", **(WITHOUT_MLFLOW | changes))


def forget(project: Path, *names: str) -> None:
    """Make DVC run these stages again, as if it had never run them: no cache of theirs, and nothing in dvc.lock."""
    from ruamel.yaml import YAML

    yaml = YAML()
    lock = yaml.load((project / "dvc.lock").read_text())
    for name in names:
        for out in lock["stages"].pop(name)["outs"]:
            place = project / out["path"]
            shutil.rmtree(place) if place.is_dir() else place.unlink()
    with (project / "dvc.lock").open("w") as file:
        yaml.dump(lock, file)
    shutil.rmtree(project / ".dvc/cache/runs")


def one_sentence(result: subprocess.CompletedProcess, part: str) -> None:
    """A refusal: exit code 2, and one line that says it."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert part in line, line


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", range(-(-KILLS // A_STUDY)))
def test_a_study_survives_kills_at_any_moment(undisturbed, tmp_path, number):
    """Must hold: `dvc repro` finishes, with the bytes of a study left in peace (in a clone at another path), and every
    run in MLflow has an end. While a stage is left over from a dvc that was killed, the next says who is at work."""
    _, expected, took = undisturbed
    used = seed() + number
    chance, project = random.Random(used), small_study(tmp_path / "killed again and again")
    print(f"GLASSBOX_FAULT_SEED={used - number}")
    hit = []
    for kill in range(min(A_STUDY, KILLS - A_STUDY * number)):
        work = Repro(project)
        after = chance.uniform(1, took / 2)
        with suppress(psutil.TimeoutExpired):
            work.dvc.wait(timeout=after)
        what = WHAT[(kill + number) % len(WHAT)]
        hit.append((what, work.kill(what), round(after, 1)))
    print(hit)
    finish(project)
    check_whole(project, expected)


def logged_models(project: Path) -> list[int]:
    """Their states, as MLflow's database has them: 1 while one is copied."""
    database = f"{(project / 'mlruns/mlflow.db').as_uri()}?mode=ro"  # else it would be made here
    with suppress(sqlite3.OperationalError), sqlite3.connect(database, uri=True) as store:
        return sorted(status for (status,) in store.execute("select status from logged_models"))
    return []


@nightly
def test_a_model_that_was_being_copied_when_all_was_killed_is_logged_again(study, undisturbed):
    """Must hold: the documented `load_model` loads the latest version, and nothing of MLflow's waits for ever."""
    forget(study, "report")
    work = Repro(study)
    wait_for(lambda: (at := work.stage()) and "stages.report" in at.cmdline() and at.children())
    everything = work.all()  # now: a model is copied faster than they are looked for
    wait_for(lambda: logged_models(study))
    for process in reversed(everything):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    work.dvc.wait()
    assert logged_models(study) == [1], "the kill came too late"
    repro(study)
    assert differing(digests(study), undisturbed[1]) == []
    load = "import mlflow; mlflow.set_tracking_uri('sqlite:///mlruns/mlflow.db'); "
    load += "print(mlflow.pyfunc.load_model('models:/glassbox-digits/latest'))"
    shell(sys.executable, "-c", load, cwd=study)
    assert logged_models(study) == [2, 3], "READY and FAILED"
    with sqlite3.connect(study / "mlruns/mlflow.db") as store:
        assert store.execute("select count(*) from model_versions").fetchone() == (1,)
    assert {run["status"] for run in runs(study)} == {"FINISHED", "KILLED"}


@nightly
def test_a_search_whose_dvc_was_killed_alone_has_one_finished_run(study, undisturbed):
    """Must hold: the search that was left over ends well, DVC runs it again, and of the two runs one is finished."""
    shutil.rmtree(study / "data/search")
    forget(study, "tune")
    work = Repro(study, "tune")
    wait_for(lambda: any(path.stat().st_size for path in (study / "data/search").glob("*.journal")))
    assert work.kill("dvc") == "tune"
    finish(study)
    assert differing(digests(study), undisturbed[1]) == []
    first, second = (run for run in runs(study) if run["name"] == "tune")
    assert (first["status"], second["status"], second["continues"]) == ("KILLED", "FINISHED", first["id"])


def fork_servers(stage: psutil.Process | None) -> list[psutil.Process]:
    """Of a stage, whose children are its trials."""
    with suppress(psutil.NoSuchProcess):
        below = stage.children() if stage else []
        return [process for process in below if "forkserver" in " ".join(process.cmdline())]
    return []


@nightly
@pytest.mark.parametrize("victim", ["trial", "fork server"])
def test_a_trial_that_is_killed_alone_costs_no_result(study, undisturbed, victim):
    """Must hold: the search comes to the same bytes, for the trial is begun again with what it had drawn."""
    expected = undisturbed[1]
    forget(study, "tune")
    shutil.rmtree(study / "data/search")
    work, victims = Repro(study), []

    def found() -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            for server in fork_servers(work.stage()):
                victims.extend([server] if victim == "fork server" and server.children() else server.children())
        return victims

    wait_for(found)
    victims[0].kill()
    assert work.dvc.wait(timeout=60 * MINUTES) == 0, work.text()
    assert "Traceback" not in work.text()
    assert differing(digests(study), expected) == []
    assert [run["status"] for run in runs(study) if run["name"] == "tune"] == ["FINISHED"]


@nightly
@pytest.mark.parametrize("seconds", [0, 0.02, 0.1])
def test_a_comparison_that_is_killed_has_an_end_in_mlflow(study, seconds):
    """Must hold: after the next command no run is shown as running."""
    assert stage(study, "report", GLASSBOX_TRACKING="on").returncode == 0
    command = [sys.executable, "-m", "glassbox", "compare", ".", "."]
    work = subprocess.Popen(command, cwd=study, env=environment(PYTHONPATH="src"), stdout=subprocess.DEVNULL)
    wait_for(lambda: [run for run in runs(study) if run.get("kind") == "comparison"])
    time.sleep(seconds)
    work.kill()
    work.wait()
    shell(*command, cwd=study, PYTHONPATH="src")
    compared = [run["status"] for run in runs(study) if run.get("kind") == "comparison"]
    assert compared in (["KILLED", "FINISHED"], ["FINISHED", "FINISHED"])


@pytest.mark.parametrize("name", [pytest.param("tune", marks=nightly), "train", pytest.param("explain", marks=nightly)])
def test_ctrl_c_ends_a_study_within_seconds_and_it_goes_on_later(study, undisturbed, name):
    """Must hold: all processes are gone, within 5 seconds where the machine is idle, the stage says in its last line
    how to go on, its run is killed, and the same command comes to the same files."""
    shutil.rmtree(study / "data/search")
    forget(study, *["tune", "train", "evaluate", "explain", "score"][["tune", "train", "", "explain"].index(name) :])
    work = Repro(study)
    begun = {"tune": "search/*.journal", "train": "unfinished/train-*", "explain": "unfinished/explain-*/*"}[name]
    wait_for(lambda: any(path.stat().st_size for path in (study / "data").glob(begun)))
    everything = work.all()
    start = time.monotonic()
    os.killpg(work.dvc.pid, signal.SIGINT)
    _, alive = psutil.wait_procs(everything, timeout=30)
    took = time.monotonic() - start
    assert alive == []
    assert took < 5 or not ALL, f"{took:.1f} s"  # `make faults` has the machine to itself, `make test` has not
    assert "stopped by the user; run the same command again to go on" in work.text()
    assert [run["status"] for run in runs(study) if run["name"] == name][-1] == "KILLED"
    if name == "train":
        assert stage(study, name).returncode == 0
        assert digests(study)["models/model.safetensors"] == undisturbed[1]["models/model.safetensors"]
    else:
        finish(study)
        assert differing(digests(study), undisturbed[1]) == []


@pytest.mark.parametrize(
    "name",
    ["train", *(pytest.param(name, marks=nightly) for name in NAMES if name != "train")],
)
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(study, undisturbed, tmp_path, name):
    """Must hold: exit code 2, one sentence, no file half-written; with room on the disk the same command goes on."""
    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place, study) as grow:
        project = place / "study"
        without_outs(project, name)
        before = {path for path in project.rglob("*") if path.is_file()}
        fill(place, leave=random.Random(seed()).choice([0, 1, 2, 5]) * 4096)
        one_sentence(stage(project, name), "No space left on device")
        left = {path for path in project.rglob("*") if path.is_file()} - before
        assert [path for path in left if ".partial" in path.name] == []
        grow()
        (place / "filler").unlink()
        result = stage(project, name)
        assert result.returncode == 0, result.stderr
        assert differing(digests(project), undisturbed[1]) == []


@contextmanager
def small_disk(place: Path, project: Path) -> Iterator:
    """A file system in memory that holds a copy of the project and little more."""
    size = sum(path.stat().st_size + 4096 for path in project.rglob("*") if path.is_file()) // 2**20
    options = f"size={size + 12}m"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    try:
        copy(project, place / "study")
        yield lambda: subprocess.run(["mount", "-o", "remount,size=1g", place], check=True)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path, leave: int) -> None:
    """Leave only so many bytes of the disk."""
    with (place / "filler").open("wb") as filler:
        while (free := shutil.disk_usage(place).free) > leave:
            os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, max(1, min(free - leave, 2**20)))


@nightly
@pytest.mark.parametrize("name", ["train", "report"])
def test_an_output_folder_that_cannot_be_written_is_one_sentence(study, undisturbed, name):
    """Must hold: exit code 2, one sentence that names the folder or file; nothing that was there is lost."""
    reports = study / "reports"
    made = subprocess.run(["mount", "--bind", reports, reports], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", reports], check=True)
        one_sentence(stage(study, name), "Read-only file system")
        assert differing(digests(study), undisturbed[1]) == []
    finally:
        subprocess.run(["umount", reports], check=True)
    assert stage(study, name).returncode == 0
    assert differing(digests(study), undisturbed[1]) == []


@pytest.mark.parametrize(
    ("file", "name", "part"),
    [
        pytest.param("data/prepared/train.safetensors", "train", "is not what was prepared", marks=nightly),
        pytest.param("data/prepared/data.json", "evaluate", "data.json", marks=nightly),
        ("models/model.safetensors", "explain", "model.safetensors cannot be read"),
        pytest.param("models/model.json", "score", "model.json", marks=nightly),
        pytest.param("reports/evaluate/predictions.csv", "explain", "predictions.csv", marks=nightly),
        pytest.param("reports/tune/best.json", "train", "best.json", marks=nightly),
    ],
)
@pytest.mark.parametrize("how", ["cut", pytest.param("changed", marks=nightly), pytest.param("empty", marks=nightly)])
def test_a_damaged_file_between_stages_is_named_and_made_anew(study, undisturbed, file, name, part, how):
    """Must hold: the stage that reads it says which file; `dvc repro` brings it back, and all is as it was."""
    path = study / file
    content = bytearray(path.read_bytes())
    if how == "changed":
        content[len(content) // 2] ^= 0x55
    path.chmod(0o644)
    path.unlink()  # DVC's cache may share its content
    path.write_bytes({"cut": content[: len(content) // 2], "changed": content, "empty": b""}[how])
    one_sentence(stage(study, name), part)
    repro(study, **WITHOUT_MLFLOW)
    assert differing(digests(study), undisturbed[1]) == []


# One of every kind that a study leaves.
FILES = [
    "reports/evaluate/predictions.csv", "data/prepared/data.json", "data/prepared/test.safetensors",
    "models/model.json", "models/model.safetensors",
    *(f"reports/prepare/{name}" for name in ("card.json", "duplicates.csv", "files.sha256", "samples.png")),
    *(f"reports/tune/{name}" for name in ("best.json", "files.sha256", "history.png", "parallel_coordinates.png",
                                          "timing.yaml", "trials.csv", "trials.png")),
    *(f"reports/train/{name}" for name in ("curves.csv", "curves.png", "files.sha256", "hyperparameters.json",
                                           "metrics.json", "timing.yaml")),
    *(f"reports/evaluate/{name}" for name in (
        "calibration.json", "classification_report.csv", "confused_pairs.csv", "confusion_matrix.csv",
        "confusion_matrix.png", "files.sha256", "metrics.json", "mistakes.png", "reliability.csv", "reliability.png",
        "reliability_as_trained.csv", "timing.yaml")),
    *(f"reports/explain/{name}" for name in (
        "analyses/mistakes.png", "analyses/pair-01.png", "analyses/recognised.png", "attributions.npz",
        "figures/00-chosen-0.png", "files.sha256", "index.csv", "lime_stability.csv", "lime_stability.png",
        "mistakes.csv", "pairs.csv", "panels.csv", "recognised.csv", "timing.yaml")),
    *(f"reports/score/{name}" for name in (
        "budgets.csv", "faithfulness_and_cost.png", "files.sha256", "forest/road.png", "gate.json", "outcomes.png",
        "randomization.csv", "randomization.png", "ranking.json", "scorecard.csv", "scorecard.png", "timing.yaml",
        "values.csv")),
    *(f"reports/report/{name}" for name in ("files.sha256", "hypotheses.json", "model_card.md", "record.json",
                                            "sources.zip")),
    "reports/index.html",
]  # fmt: skip


@nightly
def test_files_has_one_of_every_kind(undisturbed):
    """So that what a study leaves some day is damaged here, too."""
    project, kinds = undisturbed[0], {(Path(file).parent, Path(file).suffix) for file in FILES}
    left = [path.relative_to(project) for out in ("reports", "models", "data/prepared")
            for path in (project / out).rglob("*") if path.is_file()]  # fmt: skip
    panels = Path("reports/explain/analyses/panels")  # PNGs as in the folder above
    in_git = Path("reports/summary.json")  # and not in DVC's cache
    assert {(path.parent, path.suffix) for path in left if path != in_git and path.parent != panels} == kinds


@pytest.mark.parametrize("file", [FILES[0], *(pytest.param(file, marks=nightly) for file in FILES[1:])])
def test_a_byte_flipped_in_dvcs_cache_is_no_result(study, undisturbed, file):
    """Must hold: DVC takes the file from its cache and says that nothing has changed, the summary says which file is
    damaged, and what it says to do brings the file back, in the cache as well. *report* is never restored, but runs:
    there no damaged file comes back, and the one in the cache may stay."""
    path = study / file
    content = path.read_bytes()
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    kept = study / ".dvc/cache/files/md5" / name[:2] / name[2:]
    state = kept.stat()
    kept.chmod(0o644)
    middle = len(content) // 2
    kept.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    kept.chmod(state.st_mode)
    os.utime(kept, ns=(state.st_atime_ns, state.st_mtime_ns))
    path.unlink()
    assert "Traceback" not in repro(study, check=False, **WITHOUT_MLFLOW).stderr
    if path.exists() and path.read_bytes() != content:  # else a stage that ran again has seen it
        told = python("-m", "glassbox", "summary", cwd=study)
        one_sentence(told, f"{file} is not what was written" if "sha256" not in file else "files.sha256")
        commands = re.findall(r"(?<= ')((?:chmod|rm|dvc) [^']*)(?=')", told.stderr)
        assert [command.split()[0] for command in commands] == ["chmod", "rm", "dvc"]
        shell("bash", "-e", "-c", "\n".join(commands), cwd=study, **WITHOUT_MLFLOW)
    assert python("-m", "glassbox", "summary", cwd=study).returncode == 0
    assert differing(digests(study), undisturbed[1]) == []
    if Path(file).parent.name not in ("report", "reports") and not file.endswith("timing.yaml"):
        assert kept.read_bytes() == content


@nightly
@pytest.mark.parametrize("how", ["cut", "changed", "empty"])
def test_a_damaged_record_of_the_search_is_said_or_mended(study, undisturbed, how):
    """Must hold: a line that was being written is dropped, other damage is said in one sentence; once the file is
    deleted, as that says, the search begins anew and comes to the same."""
    (journal,) = (study / "data/search").glob("*.journal")
    content = journal.read_bytes()
    middle = content.index(b"\n", len(content) // 2) - 5
    journal.write_bytes({"cut": content[:middle], "changed": content[:middle] + b"\0\0" + content[middle + 2 :],
                         "empty": b""}[how])  # fmt: skip
    result = stage(study, "tune")
    if how == "changed":
        one_sentence(result, "is damaged")
        journal.unlink()
        result = stage(study, "tune")
    assert result.returncode == 0, result.stderr
    assert differing(digests(study), undisturbed[1]) == []


@nightly
def test_damaged_work_of_a_stage_is_done_again(study, undisturbed):
    """Must hold: what was kept of an interrupted stage is checked before it is used."""
    forget(study, "explain", "score")
    work = Repro(study, **WITHOUT_MLFLOW)
    kept = study / "data/unfinished"
    wait_for(lambda: len(list(kept.glob("explain-*/*"))) > 5)
    work.kill("all")
    for part in list(kept.glob("explain-*/*"))[::2]:
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 0x55
        part.write_bytes(content)
    repro(study, **WITHOUT_MLFLOW)
    assert differing(digests(study), undisturbed[1]) == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def mlflow_server(folder: Path, port: int) -> psutil.Popen:
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    server = psutil.Popen(
        command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
    )  # fmt: skip
    for _ in range(240):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
            return server
        time.sleep(0.25)
    raise AssertionError("the server did not start")


def kill_server(server: psutil.Popen) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def stages_of(client: mlflow.MlflowClient) -> list:
    experiment = client.get_experiment_by_name("digits")
    return client.search_runs([experiment.experiment_id], "tags.kind = 'stage'") if experiment else []


@nightly
def test_a_server_that_dies_and_returns_gets_all_of_a_run(study, tmp_path):
    """Must hold: the stage waits for it and ends well; every epoch is there once, and no run is without an end."""
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    server, address = mlflow_server(folder, port), f"http://127.0.0.1:{port}"
    shutil.rmtree(study / "reports/train")
    work = subprocess.Popen(
        [sys.executable, "-m", "stages.train"], cwd=study, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment(MLFLOW_TRACKING_URI=address),
    )  # fmt: skip
    client = mlflow.MlflowClient(address)
    wait_for(lambda: stages_of(client))
    kill_server(server)
    time.sleep(5)
    server = mlflow_server(folder, port)
    try:
        said, _ = work.communicate(timeout=300)
        assert work.returncode == 0, said
        found = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
        assert {run.info.status for run in found} <= {"FINISHED", "KILLED"}
        (train,) = (run for run in found if run.data.tags["kind"] == "stage" and run.info.status == "FINISHED")
        losses = client.get_metric_history(train.info.run_id, "train_loss")
        assert [point.step for point in losses] == [1, 2, 3]
    finally:
        kill_server(server)


@nightly
def test_a_server_that_does_not_return_costs_no_work(study, undisturbed, tmp_path):
    """Must hold: one sentence and exit code 2; the epochs that were trained are not trained again."""
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    server = mlflow_server(folder, port)
    client = mlflow.MlflowClient(f"http://127.0.0.1:{port}")
    shutil.rmtree(study / "reports/train")
    work = subprocess.Popen(
        [sys.executable, "-m", "stages.train"], cwd=study, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}", MLFLOW_HTTP_REQUEST_MAX_RETRIES="1"),
    )  # fmt: skip
    wait_for(lambda: stages_of(client))
    kill_server(server)
    out, err = work.communicate(timeout=300)
    ended = subprocess.CompletedProcess([], work.returncode, out, err)
    one_sentence(ended, f"logging to MLflow at http://127.0.0.1:{port} failed")
    (kept,) = (study / "data/unfinished").glob("train-*")
    before = kept.stat().st_mtime_ns
    result = stage(study, "train")
    assert result.returncode == 0, result.stderr
    (kept,) = (study / "data/unfinished").glob("train-*")
    assert kept.stat().st_mtime_ns == before, "no epoch was trained once more"
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


@nightly
def test_two_studies_at_once_in_one_repository(study, undisturbed):
    """Must hold: the second names who is at work and changes nothing, not even the parameters; the first goes on."""
    forget(study, "tune")
    before = (study / "params.yaml").read_bytes()
    work = Repro(study, "tune", **WITHOUT_MLFLOW)
    wait_for(lambda: (study / "data/.tune.owner").exists())
    owner = (study / "data/.tune.owner").read_text()
    work.stage().suspend()  # so that it is at work as long as the others ask
    for command in (("study", "STUDY=planted"), ("study", "SET=train.epochs=9")):
        result = make(study, *command, check=False)
        assert result.returncode == 2
        assert f"{owner} is at work on a study in this folder: wait for it, or stop it first" in result.stderr
    one_sentence(stage(study, "tune"), f"{owner} is tuning in this folder already: wait for it, or stop it first")
    second = repro(study, check=False, **WITHOUT_MLFLOW)
    assert second.returncode != 0
    assert f"PID {work.dvc.pid}" in second.stderr, "DVC says who holds its lock"
    assert (study / "params.yaml").read_bytes() == before
    work.stage().resume()
    assert work.dvc.wait(timeout=300) == 0, work.text()
    assert differing(digests(study), undisturbed[1]) == []


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
    import json

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
