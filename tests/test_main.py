from pathlib import Path

import pytest

from glassbox import __main__ as commands
from glassbox.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder with the shipped studies and parameters."""
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
    ],
)
def test_a_wrong_choice_changes_nothing(project, arguments, part):
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(UserError, match=part):
        commands.select(*arguments)
    assert (project / "params.yaml").read_bytes() == before


def test_check_refuses_a_wrong_file(project):
    commands.check()
    (project / "params.yaml").write_text("study: 1")
    with pytest.raises(UserError, match=r"params.yaml: study is 1"):
        commands.check()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("model.name=resnet19", r"model.name is 'resnet19' \(did you mean resnet18\?\)"),
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


def test_check_takes_weights_that_may_be_downloaded_or_lie_in_a_file(project):
    commands.select("cifar10-resnet50-paper")  # IMAGENET1K_V2
    commands.check()
    (project / "data/weights").mkdir(parents=True)
    (project / "data/weights/own.pth").touch()
    commands.select("cifar10-resnet18", "model.weights=data/weights/own.pth")
    commands.check()


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["select"], ["check", "x"]])
def test_usage(arguments, monkeypatch):
    monkeypatch.setattr("sys.argv", ["glassbox", *arguments])
    with pytest.raises(UserError, match="usage: python -m glassbox select NAME"):
        commands.main()


def test_a_summary_without_a_study_says_what_is_missing():
    with pytest.raises(UserError, match=r"reports/prepare/card.json is missing: 'dvc repro' makes it"):
        commands.summary()
