"""Processes of a study that are killed or stopped, and two studies at once. Each docstring states what must hold.

`make faults` is the nightly form: 20 random kills, and every case. `make test` has one kill, of a training.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import ALL, environment, make, nightly, ran, shell
from harness import (
    MINUTES,
    WITHOUT_MLFLOW,
    Repro,
    check_whole,
    differing,
    digests,
    finish,
    forget,
    one_sentence,
    repro,
    runs,
    seed,
    small_study,
    stage,
)
from services import wait_until

WHAT = ("stage", "dvc", "all")
KILLS = int(os.environ.get("GLASSBOX_FAULT_KILLS", "1"))
A_STUDY = 4  # kills that one study has to survive at most


def test_a_training_that_was_killed_with_all_is_taken_up_again(study, undisturbed):
    """Must hold: the next `dvc repro` goes on after the epochs that are done and comes to the same weights, so that no
    other stage has to run. Every run in MLflow has an end."""
    forget(study, "train")
    work = Repro(study, "train")
    wait_until(lambda: any(path.stat().st_size for path in (study / "data/unfinished").glob("train-*")))
    assert work.kill("all") == "train"
    again = Repro(study, "train")
    assert again.dvc.wait(timeout=60 * MINUTES) == 0, again.text()
    assert ran(again.text()) == ["train"]
    assert "the training goes on after epoch " in again.text()
    assert differing(digests(study), undisturbed[1]) == []
    assert {run["status"] for run in runs(study)} <= {"FINISHED", "KILLED"}


@nightly
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
    wait_until(lambda: (at := work.stage()) and "stages.report" in at.cmdline() and at.children())
    everything = work.all()  # now: a model is copied faster than they are looked for
    wait_until(lambda: logged_models(study))
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
    wait_until(lambda: any(path.stat().st_size for path in (study / "data/search").glob("*.journal")))
    assert work.kill("dvc") == "tune"
    finish(study)
    assert differing(digests(study), undisturbed[1]) == []
    first, second = (run for run in runs(study) if run["name"] == "tune")
    assert (first["status"], second["status"], second["continues"]) == ("KILLED", "FINISHED", first["id"])


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
            at_work = work.stage()
            for server in at_work.children() if at_work else ():
                if "forkserver" in " ".join(server.cmdline()) and (trials := server.children()):
                    victims.extend([server] if victim == "fork server" else trials)
        return victims

    wait_until(found)
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
    wait_until(lambda: [run for run in runs(study) if run.get("kind") == "comparison"])
    time.sleep(seconds)
    work.kill()
    work.wait()
    shell(*command, cwd=study, PYTHONPATH="src")
    compared = [run["status"] for run in runs(study) if run.get("kind") == "comparison"]
    assert compared in (["KILLED", "FINISHED"], ["FINISHED", "FINISHED"])


@nightly
@pytest.mark.parametrize("name", ["tune", "train", "explain"])
def test_ctrl_c_ends_a_study_within_seconds_and_it_goes_on_later(study, undisturbed, name):
    """Must hold: all processes are gone, within 5 seconds where the machine is idle, the stage says in its last line
    how to go on, its run is killed, and the same command comes to the same files."""
    shutil.rmtree(study / "data/search")
    forget(study, *["tune", "train", "evaluate", "explain", "score"][["tune", "train", "", "explain"].index(name) :])
    work = Repro(study)
    begun = {"tune": "search/*.journal", "train": "unfinished/train-*", "explain": "unfinished/explain-*/*"}[name]
    wait_until(lambda: any(path.stat().st_size for path in (study / "data").glob(begun)))
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


@nightly
def test_two_studies_at_once_in_one_repository(study, undisturbed):
    """Must hold: the second names who is at work and changes nothing, not even the parameters; the first goes on."""
    forget(study, "tune")
    before = (study / "params.yaml").read_bytes()
    work = Repro(study, "tune", **WITHOUT_MLFLOW)
    wait_until(lambda: (study / "data/.tune.owner").exists())
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
