import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment

from glassbox import cli as commands
from glassbox import workspace
from glassbox.config import parameters, yaml_file
from glassbox.core.errors import UserError
from glassbox.provenance import record

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A repository with the shipped studies and parameters."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "studies").mkdir()
    for study in (ROOT / "studies").glob("*.yaml"):
        (tmp_path / "studies" / study.name).write_bytes(study.read_bytes())
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kept(project):
    return list(project.glob("params.yaml.*.bak"))


def test_another_shipped_study_takes_the_place_of_a_shipped_one(project, capsys):
    commands.select("cifar10-cnn")
    assert (project / "params.yaml").read_bytes() == (project / "studies/cifar10-cnn.yaml").read_bytes()
    assert capsys.readouterr().out == "params.yaml is now studies/cifar10-cnn.yaml\n"
    assert kept(project) == []
    commands.select("cifar10-cnn")
    assert capsys.readouterr().out == ""


def test_an_edited_file_is_kept_and_that_is_said(project, capsys):
    edited = (project / "params.yaml").read_text().replace("seed: 0 ", "seed: 7 ")
    (project / "params.yaml").write_text(edited)
    commands.select("digits")
    (backup,) = kept(project)
    assert backup.read_text() == edited
    assert f"it is kept as {backup.name}" in capsys.readouterr().out
    assert "seed: 0 " in (project / "params.yaml").read_text()


def test_changes_are_made_and_the_same_ones_again_change_nothing(project, capsys):
    commands.select("digits", "train.epochs=2", "data.limit=300")
    text = (project / "params.yaml").read_text()
    assert "epochs: 2 " in text
    assert "limit: 300 " in text
    capsys.readouterr()
    commands.select("digits", "train.epochs=2", "data.limit=300")
    assert capsys.readouterr().out == ""
    assert kept(project) == []


def test_changes_without_a_study_start_from_the_present_file(project):
    commands.select("", "train.epochs=2")
    assert "epochs: 2 " in (project / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("mnist",), "there is no studies/mnist.yaml; there are cifar10-cnn"),
        (("digits", "train.epochs=0"), "train.epochs is 0"),
        (("digits", "epochs"), "no change of a parameter"),
        (("cifar10-resnet18", "model.name=resnet19"), r"model.name is 'resnet19' \(did you mean resnet18\?\)"),
        (("cifar10-resnet18", "model.name=cnn2"), "model.name is 'cnn2', but must be cnn or"),
    ],
)
def test_a_wrong_choice_changes_nothing(project, arguments, part):
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(UserError, match=part):
        commands.select(*arguments)
    assert (project / "params.yaml").read_bytes() == before


@pytest.mark.parametrize("command", [lambda: commands.select("digits", "train.epochs=2"), commands.check])
def test_an_archive_without_git_is_said_before_anything_is_changed(project, command):
    (project / ".git").rmdir()
    (project / "dvc.lock").write_text("schema: '2.0'\nsta")
    before = {path: path.read_bytes() for path in project.iterdir() if path.is_file()}
    with pytest.raises(
        UserError, match=rf"^{project} is in no git repository, and DVC needs one: run 'git init', then"
    ):
        command()
    assert {path: path.read_bytes() for path in project.iterdir() if path.is_file()} == before
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text("[core]\n    no_scm = True\n")
    command()


@pytest.mark.parametrize("name", ["{a,b}", "a{b", "}"])
def test_a_folder_with_braces_is_refused_before_anything_is_changed(project, tmp_path, monkeypatch, name):
    """DVC's progress bar takes them for placeholders, and stops after the stage has done its work."""
    (odd := tmp_path / "odd" / name).mkdir(parents=True)
    monkeypatch.chdir(odd)
    with pytest.raises(UserError, match=re.escape(f"{odd} has braces in its path")):
        commands.check()
    assert [*odd.iterdir()] == []


def test_a_home_that_is_a_file_is_refused_before_dvc_reads_it(project, monkeypatch):
    monkeypatch.setenv("HOME", str(project / "params.yaml"))
    with pytest.raises(UserError, match=r"^HOME is .*/params\.yaml, which is no folder: set it to one"):
        commands.check()
    monkeypatch.setenv("HOME", str(project / "gone"))
    commands.check()


def test_check_refuses_a_wrong_file(project):
    commands.check()
    (project / "params.yaml").write_text("study: 1")
    with pytest.raises(UserError, match=r"params.yaml: study is 1"):
        commands.check()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("model.weights=IMAGENET1K_V9", "model.weights is 'IMAGENET1K_V9', but must be null, a file"),
        ("model.weights=data/weights/none.pth", "the file data/weights/none.pth, which does not exist"),
    ],
)
def test_check_refuses_a_network_that_cannot_be_had(project, change, part):
    commands.select("cifar10-resnet18")
    commands.check()
    commands.select("cifar10-resnet18", change)
    with pytest.raises(UserError, match=part):
        commands.check()


def test_check_refuses_a_name_that_was_written_by_hand(project):
    commands.select("cifar10-resnet18")
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("name: resnet18", "name: resnet19"))
    with pytest.raises(UserError, match=r"model.name is 'resnet19' \(did you mean resnet18\?\)"):
        commands.check()


def test_check_takes_weights_that_may_be_downloaded_or_lie_in_a_file(project):
    commands.select("cifar10-resnet50-paper")  # IMAGENET1K_V2
    commands.check()
    (project / "data/weights").mkdir(parents=True)
    (project / "data/weights/own.pth").touch()
    commands.select("cifar10-resnet18", "model.weights=data/weights/own.pth")
    commands.check()


def test_check_says_what_weights_were_made_for_and_do_not_get(project, capsys):
    wanted = ["model.name=resnet18", "model.weights=IMAGENET1K_V1", "tune.n_trials=0", "train.optimizer=adam",
              "train.learning_rate=0.001"]  # fmt: skip
    Path("params.yaml").write_text(parameters.edit("params.yaml", wanted))
    capsys.readouterr()
    commands.check()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("note: model.normalization is data: the weights IMAGENET1K_V1 of resnet18 were trained")
    assert lines[1].startswith("note: The network takes images of")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["select"], ["check", "x"], ["restore", "x"], ["verify"]])
def test_wrong_arguments_are_said_with_how_it_is_used(arguments, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["glassbox", *arguments])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: glassbox ")
    assert "error: " in said


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_every_command_has_help(command, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["glassbox", command, "--help"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert commands.COMMANDS[command][1] in said


def test_arguments_may_begin_with_a_dash(monkeypatch):
    given = []
    monkeypatch.setitem(
        commands.COMMANDS, "select", (lambda *found: given.extend(found), *commands.COMMANDS["select"][1:])
    )
    monkeypatch.setattr("sys.argv", ["glassbox", "select", "--", "-x", "train.epochs=3", "--y"])
    commands.main()
    assert given == ["-x", "train.epochs=3", "--y"]


def test_a_summary_without_a_study_says_what_is_missing():
    with pytest.raises(UserError, match=r"reports/prepare/files.sha256 is missing: 'dvc repro' makes it"):
        commands.summary()


def hold(path: Path, seconds: float = 60) -> subprocess.Popen:
    """Another process that holds the lock of a stage."""
    code = (
        "import sys, time; from glassbox.core import files\n"
        "with files.exclusive(sys.argv[1], 'training'):\n"
        "    print('held', flush=True); time.sleep(float(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(seconds)], stdout=subprocess.PIPE, text=True,
        env=environment(PYTHONPATH=str(ROOT / "src")),
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    return process


def test_parameters_do_not_change_under_a_study_at_work(project):
    before = (project / "params.yaml").read_bytes()
    other = hold(project / "data" / ".train.lock")
    commands.select("digits")  # which changes nothing
    with pytest.raises(UserError, match=rf"process {other.pid} is at work on a study in this folder: wait for it"):
        commands.select("cifar10-cnn")
    assert (project / "params.yaml").read_bytes() == before
    other.kill()
    other.wait()
    commands.select("cifar10-cnn")


def test_dvc_between_two_stages_and_within_one_is_seen(project):
    (project / ".dvc/tmp").mkdir(parents=True)
    assert workspace.at_work() is None
    with (project / ".dvc/tmp/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code = "from glassbox import workspace; print(workspace.at_work())"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                               env=environment(PYTHONPATH=str(ROOT / "src")))  # fmt: skip
        assert found.stdout == "dvc\n"
    assert workspace.at_work() is None
    noted = {"write": {"models": {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}
    (project / ".dvc/tmp/rwlock").write_text(json.dumps(noted))
    assert workspace.at_work() == f"process {os.getpid()} (dvc)"
    ended = subprocess.Popen(["true"])
    ended.wait()
    noted = {"write": {}, "read": {"models": [{"pid": ended.pid, "cmd": "dvc repro"}]}}
    (project / ".dvc/tmp/rwlock").write_text(json.dumps(noted))
    assert workspace.at_work() is None


@pytest.mark.parametrize("text", ["", "{", "schema: '2.0'\nstages:\n  prep: [", "schema"])
def test_what_dvc_had_half_written_when_it_was_killed_is_put_away(project, capsys, text):
    (project / ".dvc/tmp").mkdir(parents=True)
    (project / ".dvc/tmp/rwlock").write_text("{}")
    (project / "dvc.lock").write_text(text)
    commands.check()
    assert capsys.readouterr().out == "dvc.lock was cut off when DVC was stopped: it is now dvc.lock.damaged\n"
    assert (project / "dvc.lock.damaged").read_text() == text
    (project / ".dvc/tmp/rwlock").write_text(text[:1])
    commands.check()
    assert not (project / ".dvc/tmp/rwlock").exists()
    commands.check()
    assert not (project / "dvc.lock").exists()


def test_what_is_whole_is_left_alone(project, capsys):
    (project / ".dvc/tmp").mkdir(parents=True)
    (project / ".dvc/tmp/rwlock").write_text("{}")
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    commands.check()
    assert capsys.readouterr().out == ""
    assert (project / "dvc.lock").exists()


def recorded(project: Path, weights: str) -> None:
    """A finished study of one file."""
    for name, text in {"models/model.safetensors": weights, "dvc.yaml": "stages: {}\n", "requirements.lock": "a==1\n",
                       "reports/train/timing.yaml": '{"machine": {"threads": 2}}'}.items():  # fmt: skip
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    record.write(yaml_file.read(project / "params.yaml"), "d" * 64)


def test_a_study_is_restored_and_verified(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GLASSBOX_TRACKING", "off")
    recorded(project, "w")
    digest, place = record.read(record.FOLDER)["study_digest"], tmp_path / "again"
    commands.restore(digest[:8], str(place))
    assert f"restored study digits, {digest}" in capsys.readouterr().out
    assert (place / "params.yaml").read_bytes() == (project / "params.yaml").read_bytes()
    monkeypatch.chdir(place)
    recorded(place, "w")
    monkeypatch.chdir(project)
    commands.verify(str(place))
    said = capsys.readouterr().out
    assert said.startswith("agrees   50e721e49c01  models/model.safetensors\n")
    assert said.endswith(f"study digits, {digest}: 1 of 1 files agree\n")
    (place / "models/model.safetensors").write_text("u")
    with pytest.raises(SystemExit) as stop:
        commands.verify(str(place))
    assert stop.value.code == 1
    said = capsys.readouterr().out
    assert "DIFFERS  50e721e49c01 -> 0bfe935e70c3  models/model.safetensors\n" in said
    assert "0 of 1 files agree" in said
    assert "nothing: processor, threads and versions are as they were" in said
    assert "the images are not those" not in said
    (place / "data/prepared").mkdir(parents=True)
    (place / "data/prepared/data.json").write_text("{}")
    with pytest.raises(SystemExit):
        commands.verify(str(place))
    assert "the images are not those that were recorded" in capsys.readouterr().out


@pytest.mark.parametrize("weights", ["w", "u"])
def test_the_verdict_is_told_before_it_is_logged_and_stands_when_it_cannot_be(project, monkeypatch, capsys, weights):
    recorded(project, "w")
    place = project / "again"
    monkeypatch.setenv("GLASSBOX_TRACKING", "off")
    commands.restore("", str(place))
    monkeypatch.chdir(place)
    recorded(place, weights)
    monkeypatch.chdir(project)
    monkeypatch.setenv("GLASSBOX_TRACKING", "on")
    told = []

    def note(digest: str, outcome: str) -> None:
        told.append(capsys.readouterr().out)
        raise UserError("that server does not answer")

    monkeypatch.setattr(commands.tracking, "note_verified", note)
    try:
        commands.verify(str(place))
        code = 0
    except SystemExit as stop:
        code = stop.code
    assert code == (weights != "w")
    agree = 1 - code
    assert f": {agree} of 1 files agree\n" in told[0]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "warning: the study's row in MLflow does not show this: that server does not answer\n"


@pytest.mark.parametrize("name", [record.SOURCES, record.RECORD])
def test_a_damaged_record_is_not_restored(project, tmp_path, name):
    recorded(project, "w")
    path = record.FOLDER / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=rf"^reports/report/{name} (is not what was written|cannot be read)"):
        commands.restore("", str(tmp_path / "again"))


def test_without_a_study_there_is_nothing_to_restore(project, tmp_path):
    with pytest.raises(UserError, match=r"reports/report/record.json is missing: 'dvc repro' makes it"):
        commands.restore("", str(tmp_path / "again"))


@pytest.mark.parametrize(
    ("a", "b", "part"),
    [
        (
            "x" * 300,
            "y",
            "would have a name of 310 bytes, but a file's has at most 246: name the studies by their digests",
        ),
        (".", "y" * 251, "would have a name of 264 bytes"),
        ("x" * 130, "y" * 130, "would have a name of 269 bytes"),
        ("x\ny", "z", r"^A=x\\ny: it must be text in UTF-8 without control characters$"),
        ("x", "\udcff", r"^B=\\xff: it must be text in UTF-8 without control characters$"),
    ],
)
def test_names_of_studies_that_no_page_can_have_are_refused_before_the_work(a, b, part, monkeypatch):
    monkeypatch.setattr(commands, "fetch", None)
    with pytest.raises(UserError, match=part):
        commands.compare(a, b)


def test_a_sentence_about_a_fetched_file_names_the_study(tmp_path):
    with pytest.raises(UserError, match=r"^A=slow: reports/report/sources.zip is not what was written$"):  # noqa: SIM117
        with commands.naming("A=slow", tmp_path / "A"):
            raise UserError(f"{tmp_path / 'A'}/reports/report/sources.zip is not what was written")


def test_what_cannot_be_compared_or_explained_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GLASSBOX_TRACKING", "off")
    with pytest.raises(UserError, match="B is not given: name two studies, as in 'make compare A=slow B=fast'"):
        commands.compare("slow", "")
    with pytest.raises(UserError, match=r"A=\.: there is no reports here"):
        commands.compare(".", "fast")
    with pytest.raises(UserError, match="B=nonsense: no row of MLflow is called so, and as a DVC experiment or git"):
        commands.fetch("B", "nonsense", tmp_path / "there")
    with pytest.raises(UserError, match="IMAGE is not given: name a picture"):
        commands.explain("")
