import fcntl
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT
from recorders import fork
from services import wait_until

from glassbox import cli as commands
from glassbox import workspace
from glassbox.config import yaml_file
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.provenance import record


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A repository with the shipped studies and parameters."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_another_shipped_study_takes_the_place_of_a_shipped_one(project, capsys):
    commands.select("cifar10-cnn")
    assert (project / "params.yaml").read_bytes() == (project / "studies/cifar10-cnn.yaml").read_bytes()
    assert capsys.readouterr().out == "params.yaml is now studies/cifar10-cnn.yaml\n"
    assert [*project.glob("*.bak")] == []
    commands.select("cifar10-cnn")
    assert capsys.readouterr().out == ""


def test_an_edited_file_is_backed_up_and_that_is_printed(project, capsys):
    edited = (project / "params.yaml").read_text().replace("seed: 0 ", "seed: 7 ")
    (project / "params.yaml").write_text(edited)
    commands.select("digits")
    (backup,) = project.glob("params.yaml.*.bak")
    assert backup.read_text() == edited
    assert f"it is kept as {backup.name}" in capsys.readouterr().out
    assert "seed: 0 " in (project / "params.yaml").read_text()


@pytest.mark.parametrize("name", ["digits", ""])
def test_changes_are_made_and_the_same_ones_again_change_nothing(project, capsys, name):
    """Without a name they are made in the present file."""
    commands.select(name, "train.epochs=2", "data.limit=300")
    text = (project / "params.yaml").read_text()
    assert "epochs: 2 " in text
    assert "limit: 300 " in text
    capsys.readouterr()
    commands.select(name, "train.epochs=2", "data.limit=300")
    assert capsys.readouterr().out == ""
    assert [*project.glob("*.bak")] == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("mnist",), "there is no studies/mnist.yaml; there are cifar10-cnn"),
        (("digits", "train.epochs=-1"), "train.epochs is -1"),
        (("digits", "epochs"), "no change of a parameter"),
        (
            ("cifar10-resnet18", "model.name=resnet18"),
            "model.name is 'resnet18', but must be cnn, fast_cnn, exported, onnx, ",
        ),
        (("cifar10-resnet18", "model.name=torchvision/resnet19"), r"model.name is .*did you mean .*resnet18\?"),
        (("cifar10-resnet18", "model.name=timm/resnet19"), r"model.name is .*did you mean .*resnet18\?"),
        (("cifar10-resnet18", "model.name=python:nothing:build"), "model.name is .*, but nothing cannot be imported"),
    ],
)
def test_a_wrong_choice_changes_nothing(project, arguments, part):
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(UserError, match=part):
        commands.select(*arguments)
    assert (project / "params.yaml").read_bytes() == before


@pytest.mark.parametrize("command", [lambda: commands.select("digits", "train.epochs=2"), commands.check])
def test_an_archive_without_git_is_refused_before_anything_is_changed(project, command):
    (project / ".git").rmdir()
    (project / "dvc.lock").write_text("schema: '2.0'\nsta")
    before = {path: path.read_bytes() for path in project.iterdir() if path.is_file()}
    sentence = rf"^{project} is in no git repository, and DVC needs one: run 'git init', then"
    with pytest.raises(UserError, match=sentence):
        command()
    assert {path: path.read_bytes() for path in project.iterdir() if path.is_file()} == before
    (project / ".dvc/config").write_text("[core]\n    no_scm = True\n")
    command()


@pytest.mark.parametrize("name", ["{a,b}", "a{b", "}"])
def test_a_folder_with_braces_is_refused_before_anything_is_changed(tmp_path, monkeypatch, name):
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


def test_check_prints_notes_and_refuses_what_was_edited_wrongly(project, capsys):
    file = project / "params.yaml"
    commands.select("cifar10-resnet18", "model.weights=IMAGENET1K_V1")
    capsys.readouterr()
    commands.check()
    lines = capsys.readouterr().out.splitlines()
    sentence = "note: model.normalization is data: the weights IMAGENET1K_V1 of torchvision/resnet18 were trained"
    assert lines[0].startswith(sentence)
    assert lines[1].startswith("note: The network takes images of")
    for text, sentence in (
        (
            file.read_text().replace("IMAGENET1K_V1", "none.pth"),
            "model.weights names the file none.pth, which",
        ),
        (file.read_text().replace("torchvision/resnet18", "torchvision/resnet19"), "model.name is .*resnet19"),
        (file.read_text().replace("stem: cifar", "stems: cifar"), "model.arguments.stems is not taken by torchvision/"),
        ("study: 1", r"params.yaml: study is 1"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=sentence):
            commands.check()


def run(monkeypatch, *arguments: str) -> int:
    """Run the command line; its exit code."""
    monkeypatch.setattr("sys.argv", ["glassbox", *arguments])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    return ended.value.code


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["select"], ["check", "x"], ["restore", "x"], ["verify"]])
def test_wrong_arguments_are_refused_with_the_usage(arguments, monkeypatch, capsys):
    assert run(monkeypatch, *arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("usage: glassbox ")
    assert "error: " in printed


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_every_command_has_help(command, monkeypatch, capsys):
    assert run(monkeypatch, command, "--help") == 0
    purpose = commands.COMMANDS[command][0].__doc__.splitlines()[0]
    assert purpose in " ".join(capsys.readouterr().out.split())


def test_arguments_may_begin_with_a_dash(monkeypatch):
    received = []
    arguments = commands.COMMANDS["select"][1]
    monkeypatch.setitem(commands.COMMANDS, "select", (lambda *values: received.extend(values), arguments))
    monkeypatch.setattr("sys.argv", ["glassbox", "select", "--", "-x", "train.epochs=3", "--y"])
    commands.main()
    assert received == ["-x", "train.epochs=3", "--y"]


def test_parameters_do_not_change_under_a_study_at_work(project):
    def stage() -> None:
        with files.exclusive("data/.train.lock", "training"):
            time.sleep(600)

    stage_id = fork(stage)
    wait_until(workspace.at_work)
    before = (project / "params.yaml").read_bytes()
    commands.select("digits")  # which changes nothing
    with pytest.raises(UserError, match=rf"process {stage_id} is at work on a study in this folder: wait for it"):
        commands.select("cifar10-cnn")
    assert (project / "params.yaml").read_bytes() == before
    os.kill(stage_id, signal.SIGKILL)
    os.waitpid(stage_id, 0)
    commands.select("cifar10-cnn")


def test_dvc_is_seen_between_two_stages_and_during_one(project):
    assert workspace.at_work() is None
    with (project / ".dvc/tmp/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert workspace.at_work() == "dvc"
    assert workspace.at_work() is None
    ended = subprocess.Popen(["true"])
    ended.wait()
    for noted, who in (
        ({"write": {"models": {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}, f"process {os.getpid()} (dvc)"),
        ({"write": {}, "read": {"models": [{"pid": ended.pid, "cmd": "dvc repro"}]}}, None),
    ):
        (project / ".dvc/tmp/rwlock").write_text(json.dumps(noted))
        assert workspace.at_work() == who


@pytest.mark.parametrize("text", ["", "{", "schema: '2.0'\nstages:\n  prep: [", "schema"])
def test_what_dvc_had_half_written_when_it_was_killed_is_put_away(project, capsys, text):
    (project / ".dvc/tmp/rwlock").write_text("{}")
    (project / "dvc.lock").write_text(text)
    commands.check()
    assert capsys.readouterr().out == "dvc.lock was cut off when DVC was stopped: it is now dvc.lock.damaged\n"
    assert (project / "dvc.lock.damaged").read_text() == text
    (project / ".dvc/tmp/rwlock").write_text(text[:1])
    commands.check()
    assert not (project / ".dvc/tmp/rwlock").exists()


def write_study(project: Path, weights: str) -> None:
    """A finished study of one file."""
    for name, text in {
        "models/model.safetensors": weights,
        "dvc.yaml": "stages: {}\n",
        "requirements.lock": "a==1\n",
        "reports/train/timing.yaml": '{"machine": {"threads": 2}}',
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    record.write(yaml_file.read(project / "params.yaml"), "d" * 64)


@pytest.fixture
def again(project, monkeypatch, capsys):
    """A recorded study that was restored to another folder and run again, with the same bytes."""
    monkeypatch.setenv("GLASSBOX_TRACKING", "off")
    write_study(project, "w")
    digest, place = record.read(record.FOLDER)["study_digest"], project / "again"
    commands.restore(digest[:8], str(place))
    assert f"restored study digits, {digest}" in capsys.readouterr().out
    assert (place / "params.yaml").read_bytes() == (project / "params.yaml").read_bytes()
    monkeypatch.chdir(place)
    write_study(place, "w")
    monkeypatch.chdir(project)
    return place


def verify(place: Path) -> int:
    """Verify the study that was run again; the exit code."""
    try:
        commands.verify(str(place))
    except SystemExit as stop:
        return stop.code
    return 0


def test_a_restored_study_is_verified(again, capsys):
    assert verify(again) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("agrees   50e721e49c01  models/model.safetensors\n")
    assert printed.endswith(f"study digits, {record.read(record.FOLDER)['study_digest']}: 1 of 1 files agree\n")
    (again / "models/model.safetensors").write_text("u")
    assert verify(again) == 1
    printed = capsys.readouterr().out
    assert "DIFFERS  50e721e49c01 -> 0bfe935e70c3  models/model.safetensors\n" in printed
    assert "nothing: processor, threads and versions are as they were" in printed
    assert "the images are not those" not in printed
    (again / "data/prepared").mkdir(parents=True)
    (again / "data/prepared/data.json").write_text("{}")
    assert verify(again) == 1
    assert "the images are not those that were recorded" in capsys.readouterr().out


@pytest.mark.parametrize(("weights", "code"), [("w", 0), ("u", 1)])
def test_the_outcome_is_printed_before_it_is_logged_and_stays_if_logging_fails(
    again, monkeypatch, capsys, weights, code
):
    (again / "models/model.safetensors").write_text(weights)
    monkeypatch.setenv("GLASSBOX_TRACKING", "on")

    def note(*_) -> None:
        assert f": {1 - code} of 1 files agree\n" in capsys.readouterr().out
        raise UserError("that server does not answer")

    monkeypatch.setattr(commands.comparisons, "note_verified", note)
    assert verify(again) == code
    warning = "warning: the study's row in MLflow does not show this: that server does not answer\n"
    assert capsys.readouterr() == ("", warning)


@pytest.mark.parametrize("name", [record.SOURCES, record.RECORD])
def test_a_damaged_record_is_not_restored(project, name):
    write_study(project, "w")
    path = record.FOLDER / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=rf"^reports/report/{name} (is not what was written|cannot be read)"):
        commands.restore("", str(project / "again"))


@pytest.mark.parametrize(
    ("a", "b", "part"),
    [
        ("x" * 300, "y", "would have a name of 310 bytes, but a file's has at most 246: name the studies by their"),
        (".", "y" * 251, "would have a name of 264 bytes"),
        ("x\ny", "z", r"^A=x\\ny: it must be text in UTF-8 without control characters$"),
        ("x", "\udcff", r"^B=\\xff: it must be text in UTF-8 without control characters$"),
    ],
)
def test_names_of_studies_that_no_page_can_have_are_refused_before_the_work(a, b, part, monkeypatch):
    monkeypatch.setattr(commands.fetching, "fetch", None)
    with pytest.raises(UserError, match=part):
        commands.compare(a, b)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (commands.summary, r"reports/prepare/files.sha256 is missing: 'dvc repro' makes it"),
        (lambda: commands.restore("", "again"), r"reports/report/record.json is missing: 'dvc repro' makes it"),
        (lambda: commands.compare("slow", ""), "B is not given: name two studies, as in 'make compare A=slow B=fast'"),
        (lambda: commands.compare(".", "fast"), r"A=\.: there is no reports here"),
        (lambda: commands.explain(""), "IMAGE is not given: name a picture"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, command, sentence):
    monkeypatch.setenv("GLASSBOX_TRACKING", "off")
    with pytest.raises(UserError, match=sentence):
        command()
