"""Every command of README.md, CONTRIBUTING.md and docs/ is run by a test: by this file, or by a test that it names.
tests/faults/test_cluster_study.py runs those of docs/cluster.md, tests/faults/test_pictures.py takes the pictures."""

import re

import pytest
from conftest import ROOT, commands, shell
from dvc.utils.hydra import apply_overrides

from glassbox import models
from glassbox.config import parameters

TUTORIAL = "docs/tutorial.md"
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if path.stem != "cluster"),
]
STUDY, BROWSER = "tests/test_study.py", "tests/test_browser_study.py"
VERIFIED = "tests/faults/test_surrounding_faults.py::test_a_recorded_study_is_done_again_elsewhere_with_the_same_bytes"
ELSEWHERE = {  # command: where it is run, as file::test
    "make setup": "tests/test_environment.py::test_an_environment_is_made_once_and_then_left_alone",
    "make study": f"{STUDY}::test_a_second_make_study_does_nothing_and_says_so",
    "make ui": f"{BROWSER}::test_mlflows_charts",
    "make ui PORT=5001": "tests/tracking/test_ui.py::test_make_ui_serves_the_runs_and_takes_new_ones",
    "make study STUDY=own-images SET='study.name=my-images \"data.path=data/raw/my images\"'":
    "tests/test_other_studies.py::test_a_folder_of_ones_own_images_of_mixed_sizes_and_modes",
    "python -m docs.imagenet_weights":
    "tests/docs/test_imagenet_weights.py::test_glassbox_gives_the_same_probabilities",
    "python -m glassbox judge --demo": "tests/test_demo.py::test_the_command_writes_a_verdict_in_an_empty_folder",
    "python -m glassbox judge --model timm/resnet18 --weights data/weights/mine.pth --images data/raw/mine":
    "tests/test_judging.py::test_a_network_of_three_outputs_is_judged_on_two_classes_in_another_order",
    "python -m docs.export_planted data/raw/planted":
    "tests/docs/test_export_planted.py::test_the_command_says_what_to_set",
    "make verify": VERIFIED,
    "make verify RUN=0ec0da9": VERIFIED,
    "MLFLOW_TRACKING_URI=sqlite:///mlruns/mlflow.db mlflow models serve -m models:/glassbox-digits/latest "
    "--env-manager local": "tests/tracking/test_models.py::test_mlflow_serves_the_model",
}  # fmt: skip
AS_THEY_ARE = ["make format", "python -m pytest tests/xai_metrics/test_sparseness.py"]
OTHER = "-S model.arguments=null -S tune.space.model=null"  # than the default study's network
# What takes hours, needs a GPU or the network, or is this very run: its parameters and targets are checked instead.
CHECKED = [
    "make test", "make faults", "make bench", "make docs",
    "GLASSBOX_FAULTS=all GLASSBOX_WHOLE_STUDY=1 python -m pytest tests/faults/test_cluster_study.py",
    "make study STUDY=cifar10-cnn",
    "make study STUDY=cifar10-cnn SET='data.limit=6000 tune.n_trials=4 tune.epochs=4 train.epochs=10'",
    "make study STUDY=cifar10-transfer",
    "make study STUDY=tiles",
    "make study STUDY=watermark-repair",
    "make study STUDY=own-model SET='model.name=timm/resnet18 model.weights=data/weights/mine.pth "
    "data.path=data/raw/mine'",
    "make study STUDY=digits SET='model.name=timm/resnet18 model.arguments=null model.arguments.drop_rate=0.1 "
    "tune.space.model=null'",
    f"dvc exp run -S model.name=timm/resnet18 {OTHER}",
    f"dvc exp run -S model.name=torchvision/resnet18 {OTHER} -S +model.arguments.stem=cifar",
    f"dvc exp run -S model.name=timm/vit_tiny_patch16_224 {OTHER} -S +model.arguments.patch_size=4",
    f"dvc exp run -S model.name=python:small:build {OTHER} -S +model.arguments.width=32",
    f"dvc exp run -S model.name=timm/resnet18 {OTHER} -S model.weights=DEFAULT -S model.normalization=weights "
    "-S train.head_epochs=2",
]  # fmt: skip


def test_every_command_is_run_or_checked_and_none_is_listed_that_is_gone():
    everywhere = {command for page in PAGES for command in commands(page)}
    assert everywhere - {*commands(TUTORIAL), *AS_THEY_ARE, *ELSEWHERE, *CHECKED} == set()
    assert {*AS_THEY_ARE, *ELSEWHERE, *CHECKED} - everywhere == set()
    for where in ELSEWHERE.values():
        file, _, name = where.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_the_tutorial_from_the_first_command_to_the_last(tutorial):
    project, output = tutorial
    assert output.index("test accuracy") < output.index("Ran experiment(s): slow") < output.index("train.learning_rate")
    (verdict,) = [line for line in output.splitlines() if line.startswith("On the same ")]
    assert "HEAD" in verdict
    assert "slow" in verdict
    assert re.search(
        r"^(HEAD and slow|slow and HEAD) differ in train\.learning_rate, and by their records", output, re.MULTILINE
    )
    assert (project / "reports/compare/HEAD-vs-slow.html").exists()
    (figure,) = re.findall(r"^Figure +(reports/photos/photo-[0-9a-f]{6}\.png)$", output, re.MULTILINE)
    assert (project / figure).exists()
    assert "learning_rate: 0.0003" in (project / "params.yaml").read_text()  # the experiment was applied at last


@pytest.mark.parametrize("command", AS_THEY_ARE)
def test_commands_that_stand_alone(tutorial, command):
    done = shell("bash", "-e", "-c", f"source .venv/bin/activate; {command}", cwd=tutorial[0], PYTHONPATH="src")
    assert re.search("files left unchanged|100%", done.stdout), done.stdout


def test_the_models_examples_answer(tutorial):
    """One process runs both: mlflow's import takes most of the time."""
    pages = [(ROOT / page).read_text(encoding="utf-8") for page in ("docs/results.md", "docs/mlflow.md")]
    codes = [re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE) for page in pages]
    assert [len(code) for code in codes] == [1, 1]
    output = shell("python", "-c", "\n".join(code for (code,) in codes), cwd=tutorial[0]).stdout
    assert output.count("prediction") == output.count("p(0)") == 2


@pytest.mark.parametrize("command", CHECKED)
def test_what_takes_too_long_is_there_and_its_parameters_are_right(command, tmp_path, monkeypatch):
    from glassbox import cli as main

    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    for folder in ("networks", "studies"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    if command.startswith("make study"):
        study, changes = re.fullmatch(r"make study STUDY=(\S+)(?: SET='(.*)')?", command).groups()
        main.select(study, *(changes or "").split())
    elif command.startswith("dvc exp run"):
        apply_overrides(tmp_path / "params.yaml", re.findall(r"-S (\S+)", command))
        params = parameters.read("params.yaml")
        models.check(params.model, params.tune.options, params.data.image_size, params.explain.explainers)
    elif command.startswith("make "):
        assert re.search(rf"^{command.removeprefix('make ')}:( setup)?$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert (ROOT / command.split()[-1]).exists()
