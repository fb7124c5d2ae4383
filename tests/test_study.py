"""The whole study through the real scripts: `make study` in a fresh clone with a space in its path, then what users do
with it. The shipped default study, only shrunk."""

import json
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import NAMES, SHRINK, clone, environment, make, ran, shell, studies, table
from PIL import Image
from services import wait_until

from glassbox import serving
from glassbox.config import parameters, yaml_file
from glassbox.config.parameters import Params
from glassbox.config.space import Option
from glassbox.data import store
from glassbox.explaining import own_image
from glassbox.figures.style import COLUMN, DPI


@pytest.fixture
def study(made_study) -> tuple[Path, str]:
    """The clone, and what was printed."""
    return made_study


def test_it_ends_with_a_summary(study):
    project, said = study
    assert ran(said) == NAMES
    summary = said[said.index("\nStudy digits: ") :]
    accuracy = json.loads((project / "reports/evaluate/metrics.json").read_text())["accuracy"]
    assert f"test accuracy  {100 * accuracy:.2f} %  (95 % interval" in summary
    for title in (
        "LIME",
        "Shapley values (superpixels)",
        "GradientSHAP",
        "Integrated Gradients",
        "Grad-CAM",
        "random",
        "Sobel edges",
    ):
        assert f"\n  {title} " in summary
    assert "reports/index.html" in summary
    assert "make ui" in summary


def test_everything_that_the_readme_promises_is_there(study):
    reports = study[0] / "reports"
    expected = {
        "prepare": ["card.json", "duplicates.csv", "samples.png"],
        "tune": ["best.json", "trials.csv", "timing.yaml", "history.png", "trials.png", "parallel_coordinates.png"],
        "train": ["curves.csv", "curves.png", "hyperparameters.json", "metrics.json", "timing.yaml"],
        "evaluate": ["metrics.json", "scores.csv", "classification_report.csv", "confusion_matrix.csv",
                     "predictions.csv", "confused_pairs.csv", "reliability.csv", "reliability_as_trained.csv",
                     "confusion_matrix.png", "calibration.json", "reliability.png", "mistakes.png", "timing.yaml"],
        "explain": ["attributions.npz", "index.csv", "lime_stability.csv", "familiarity.npz", "regions.csv",
                    "lime_stability.png", "timing.yaml", "figures", "analyses", "panels.csv", "recognised.csv",
                    "mistakes.csv", "pairs.csv"],
        "score": ["scorecard.csv", "values.csv", "randomization.csv", "budgets.csv", "ranking.json", "gate.json",
                  "maps.csv", "maps.npz", "timing.yaml", "scorecard.png", "outcomes.png", "faithfulness_and_cost.png",
                  "randomization.png", "forest"],  # and "ranks", where there are images enough to tell explainers apart
        "audit": ["audit.json"],
        "repair": ["repair.json"],
        "report": ["classes.html", "hypotheses.json", "model_card.md", "record.json", "sources.zip"],
    }  # fmt: skip
    for stage, names in expected.items():
        there = {path.name for path in (reports / stage).iterdir()} - {"importance.png"}
        assert there == {*names, "files.sha256"}
    assert (reports / "index.html").stat().st_size > 100_000
    assert {path.name for path in (study[0] / "models").iterdir()} == {"model.json", "model.safetensors"}
    for path in reports.rglob("*.png"):
        assert Image.open(path).convert("L").getextrema()[0] < 255, f"{path} is empty"
        assert Image.open(path).width <= COLUMN * DPI, f"{path} is wider than a column of text"


def test_the_files_agree_with_each_other(study):
    project, _ = study
    metrics = json.loads((project / "reports/evaluate/metrics.json").read_text())
    predictions = table(project, "evaluate/predictions.csv").astype({"true_class": str, "predicted_class": str})
    card = json.loads((project / "reports/prepare/card.json").read_text())
    assert len(predictions) == card["sizes"]["test"] == metrics["images"]
    assert sum(card["sizes"].values()) == 300
    right = predictions["true_class"] == predictions["predicted_class"]
    assert right.mean() == pytest.approx(metrics["accuracy"])
    matrix = table(project, "evaluate/confusion_matrix.csv").set_index("true_class")
    assert np.trace(matrix.to_numpy()) == right.sum()

    trials = table(project, "tune/trials.csv")
    best = json.loads((project / "reports/tune/best.json").read_text())
    assert len(trials) == 3
    complete = trials[trials["state"] == "complete"]
    assert best["measure"] == "validation_accuracy"
    assert best["value"] == pytest.approx(complete["validation_accuracy"].max())
    model = json.loads((project / "models/model.json").read_text())
    assert model["data_digest"] == card["digest"]
    values = {choice["key"]: choice for choice in model["choices"]}
    filters = values["model.arguments.conv1_filters"]
    assert filters["value"] == best["params"]["model.arguments.conv1_filters"] == 8
    assert filters["source"] == f"tune, trial {best['trial']}"
    assert values["model.arguments.batch_norm_momentum"]["source"] == "params.yaml"

    index = table(project, "explain/index.csv")
    maps = np.load(project / "reports/explain/attributions.npz", allow_pickle=False)["maps"]
    assert maps.shape == (len(index), 32, 32)
    assert maps.dtype == np.float32
    assert index["map"].tolist() == list(range(len(index)))
    assert (index["additivity_error"].dropna() < 1e-3).all()
    assert set(index["group"]) == {"chosen", "correct", "mistake", "pair"}
    assert index["image"].iloc[0] == 0
    stability = table(project, "explain/lime_stability.csv")
    assert stability["samples"].tolist() == [50, 60, 50, 60]
    assert (stability["regions"] >= 8).all()
    assert len(list((project / "reports/explain/figures").iterdir())) == index["image"].nunique()
    mistakes = index[index["group"] == "mistake"].groupby(["image", "explainer"])["explained_class"].nunique()
    assert (mistakes == 2).all()


def test_the_probability_of_an_image_is_one_number_everywhere(study, tmp_path):
    """In predictions.csv, in the panels of Shapley values, in `make explain` and from the served model."""
    import mlflow

    project, _ = study
    names = json.loads((project / "reports/prepare/card.json").read_text())["classes"]
    predictions = table(project, "evaluate/predictions.csv")[[f"p({name})" for name in names]].to_numpy()
    panels = table(project, "explain/panels.csv").astype({"explained_class": str})
    known = predictions[panels["image"], [names.index(name) for name in panels["explained_class"]]]
    assert panels["probability"].to_numpy() == pytest.approx(known, abs=1e-9)
    sums = panels["base_value"] + panels["evidence_for"] + panels["evidence_against"]
    assert sums.to_numpy() == pytest.approx(known, abs=1e-4)

    images = store.read(project / "data/prepared", "test").images.numpy()
    Image.fromarray(images[0]).save(tmp_path / "photo.png")
    params = parameters.read(project / "params.yaml")
    folders = (project / "data/prepared", project / "models", project / "reports")
    own = own_image.explain(tmp_path / "photo.png", params, *folders)
    assert own.probabilities == pytest.approx(predictions[0], abs=1e-6)

    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlruns/mlflow.db'}")
    (newest, *_) = client.search_model_versions("name = 'glassbox-digits'", order_by=["version_number DESC"])
    (bundle,) = (project / "mlruns").glob(f"**/{newest.source.removeprefix('models:/')}/**/serving.json")
    served = serving.Predictor(bundle.parent).predict(images)
    assert served[[f"p({name})" for name in names]].to_numpy() == pytest.approx(predictions, abs=1e-6)


def test_a_second_make_study_does_nothing_and_says_so(study):
    project, _ = study
    before = {path: path.stat().st_mtime_ns for path in (project / "reports").rglob("*")}
    said = make(project, "study").stdout
    assert ran(said) == []
    assert "Data and pipelines are up to date." in said
    assert "installing" not in said
    assert {path: path.stat().st_mtime_ns for path in (project / "reports").rglob("*")} == before


def test_every_stage_is_in_mlflow(study):
    import mlflow

    project, _ = study
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlruns/mlflow.db'}")
    experiment = client.get_experiment_by_name("digits")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    by_kind = {kind: [run for run in runs if run.data.tags["kind"] == kind] for kind in ("study", "stage", "trial")}
    first = min(by_kind["study"], key=lambda run: run.info.start_time)
    stages = [run for run in by_kind["stage"] if run.data.tags["mlflow.parentRunId"] == first.info.run_id]
    assert sorted(run.info.run_name for run in stages) == sorted(NAMES)
    assert {run.data.tags["dvc_stage"] for run in stages} == set(NAMES)
    tune = next(run for run in stages if run.info.run_name == "tune")
    assert len([t for t in by_kind["trial"] if t.data.tags["mlflow.parentRunId"] == tune.info.run_id]) == 3
    assert all(run.info.status == "FINISHED" for run in [first, *stages])

    metrics = json.loads((project / "reports/evaluate/metrics.json").read_text())
    assert first.data.metrics["test_accuracy"] == metrics["accuracy"]
    assert {"test_macro_f1", "test_ece", "validation_loss", "train_accuracy", "deletion_auc/lime"} <= set(
        first.data.metrics
    )
    assert first.data.params["train.epochs"] == "3"
    assert float(first.data.params["train.learning_rate"]) > 0
    assert "test accuracy" in first.data.tags["mlflow.note.content"]
    assert first.outputs.model_outputs
    artifacts = {file.path for file in client.list_artifacts(first.info.run_id)}
    assert artifacts == {*NAMES, "images", "index.html", "summary.json"}
    assert first.info.run_name == f"digits ({first.data.tags['study_digest'][:7]})"
    assert first.data.tags["best_explainer"]
    pictures = {file.path for file in client.list_artifacts(first.info.run_id, "explain/figures")}
    assert len(pictures) == len(list((project / "reports/explain/figures").iterdir()))
    assert [dataset.dataset.name for dataset in first.inputs.dataset_inputs] == ["digits"]


def test_a_temporary_experiment_reruns_what_it_changes_and_is_applied_and_taken_back(study, tmp_path):
    project, _ = study
    rows, text = len(studies(project)), (project / "params.yaml").read_text()
    before = (project / "reports/index.html").read_bytes()
    said = shell("dvc", "exp", "run", "--temp", "-n", "aside", "-S", "evaluate.gallery=2", cwd=project).stdout
    assert ran(said) == ["evaluate", "report"]
    after = studies(project)
    assert len(after) == rows + 1
    assert after["aside"]["dvc_exp_name"] == "aside"
    assert "mlflow.note.content" in after["aside"]
    assert (project / "reports/index.html").read_bytes() == before
    shell("dvc", "exp", "apply", "aside", cwd=project)
    assert (project / "reports/index.html").read_bytes() != before
    status = shell("dvc", "status", cwd=project).stdout
    assert "Data and pipelines are up to date." in status

    # DVC has seen the state before, and runs no stage but report for it: report completes the row.
    (project / "params.yaml").write_text(text)
    said = shell("dvc", "repro", cwd=project, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'another.db'}").stdout
    assert ran(said) == ["report"]
    with sqlite3.connect(tmp_path / "another.db") as database:
        metrics = dict(database.execute("select key, value from latest_metrics").fetchall())
        kinds = [kind for (kind,) in database.execute("select value from tags where key = 'kind' order by value")]
    assert kinds == ["stage", "study"]
    assert metrics["test_accuracy"] == json.loads((project / "reports/evaluate/metrics.json").read_text())["accuracy"]
    assert "validation_loss" in metrics


def test_dvcs_own_views(study):
    project, _ = study
    compared = ["test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_balanced_accuracy",
                "test_majority_share", "test_macro_f1", "test_ece", "test_log_loss", "against_majority", "best_epoch",
                "best_explainer"]  # fmt: skip
    shown = json.loads(shell("dvc", "metrics", "show", "--json", cwd=project).stdout)
    assert set(shown[""]["data"]["reports/summary.json"]["data"]) == set(compared)
    columns = shell("dvc", "exp", "show", "--only-changed", "--csv", cwd=project).stdout.splitlines()[0].split(",")
    assert columns[4 : 4 + len(compared)] == compared
    shell("dvc", "plots", "show", "--out", "dvc_plots", cwd=project)
    page = (project / "dvc_plots/index.html").read_text()
    assert "Confusion matrix" in page
    assert "validation_loss" in page
    assert "cdn." not in page
    assert len(list((project / "dvc_plots/static").glob("*.png"))) > 8
    changed = shell("dvc", "params", "diff", cwd=project).stdout
    assert "train.epochs" in changed
    # What the extension of VS Code asks for: templates whose parts it fills in by itself.
    asked = ("dvc", "plots", "diff", "workspace", "--split", "--json", "--out", "dvc_plots")
    plots = json.loads(shell(*asked, cwd=project).stdout)["data"]
    for name in ("Test scores", "Confusion matrix", "Loss", "Accuracy"):
        (plot,) = plots[name]
        assert plot["type"] == "vega"
        assert {"<DVC_METRIC_DATA>", "<DVC_METRIC_TITLE>", "<DVC_METRIC_PLOT_WIDTH>"} <= set(plot["anchor_definitions"])
    assert plots["reports/evaluate/reliability.png"][0]["type"] == "image"


def test_the_search_killed_and_taken_up_again_with_two_workers(study, tmp_path):
    """kill -9 of the stage itself, not of dvc: what a user's `kill`, or a lack of memory, would do."""
    project = clone(tmp_path / "project")
    shutil.copytree(study[0] / "data/prepared", project / "data/prepared")
    select = ["python", "-m", "glassbox", "select", "digits", *SHRINK, "tune.n_trials=5", "tune.workers=2"]
    shell(*select, cwd=project, PYTHONPATH="src")  # the installed one may be another clone's
    stage = subprocess.Popen(
        ["python", "-m", "stages.tune"], cwd=project, env=environment(GLASSBOX_TRACKING="off", OMP_NUM_THREADS="2"),
        start_new_session=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    search = project / "data/search"
    deadline = time.monotonic() + 200
    while not any('"op_code":7' in path.read_text() for path in search.glob("*.journal")):  # an epoch was reported
        assert time.monotonic() < deadline
        assert stage.poll() is None
        time.sleep(0.05)
    stage.kill()
    stage.wait()
    shell("python", "-m", "stages.tune", cwd=project, GLASSBOX_TRACKING="off")
    trials = table(project, "tune/trials.csv")
    assert trials["trial"].tolist() == [0, 1, 2, 3, 4]
    assert set(trials["state"]) <= {"complete", "pruned"}
    of_the_killed = ["pgrep", "-s", str(stage.pid)]
    wait_until(lambda: not subprocess.run(of_the_killed, capture_output=True).stdout)  # its workers end by themselves


def test_a_wrong_parameter_stops_everything_in_one_sentence(study):
    project, _ = study
    files = {
        path: path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file() and ".git/" not in str(path)
    }
    said = make(project, "study", "SET=train.epochs=-1", check=False)
    assert said.returncode == 2
    assert said.stderr.splitlines()[0] == (
        "error: params.yaml: train.epochs is -1, but must be greater than or equal to 0 or 'tuned'"
    )
    assert "Traceback" not in said.stderr
    after = {
        path: path.stat().st_mtime_ns for path in project.rglob("*") if path.is_file() and ".git/" not in str(path)
    }
    assert after == files

    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("epochs: 3 ", "epochs: many "))
    for name in ("prepare", "train", "report"):
        alone = shell("python", "-m", f"stages.{name}", cwd=project, check=False)
        assert alone.returncode == 2
        assert alone.stderr == "error: params.yaml: train.epochs is 'many', but must be a whole number or 'tuned'\n"
    (project / "params.yaml").write_text(text)
    assert {path: path.stat().st_mtime_ns for path in files if path.name != "params.yaml"} == {
        path: time for path, time in files.items() if path.name != "params.yaml"
    }


def test_an_unreachable_server_stops_before_any_work(study):
    """A stage that begins says so too, but DVC has removed its files by then; see tests/tracking/test_store.py."""
    project, _ = study
    shell("dvc", "repro", cwd=project)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("calibration_bins: 15", "calibration_bins: 10"))
    refused = make(project, "study", check=False, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: MLFLOW_TRACKING_URI = http://127.0.0.1:9 does not answer")
    assert (project / "reports/evaluate/metrics.json").exists()  # DVC would have removed it
    (project / "params.yaml").write_text(text)


def queued(project: Path, *changes: str) -> Params:
    """The parameters that `dvc exp run -S CHANGE` writes, without running."""
    text = (project / "params.yaml").read_text()
    arguments = [part for change in changes for part in ("-S", change)]
    shell("dvc", "exp", "run", "--queue", "-n", "changed", *arguments, cwd=project)
    assert "changed" in shell("dvc", "queue", "status", cwd=project).stdout
    revision = shell("git", "rev-parse", "refs/exps/celery/stash", cwd=project).stdout.strip()
    file = project.parent / "queued.yaml"
    file.write_text(shell("git", "show", f"{revision}:params.yaml", cwd=project).stdout)
    assert (project / "params.yaml").read_text() == text
    shell("dvc", "queue", "remove", "--all", cwd=project)
    return parameters.read(file)


def test_every_key_can_be_changed_from_the_command_line(study):
    """What `dvc exp run -S KEY=VALUE` writes must be what the schema takes."""
    project, _ = study
    before = yaml_file.flatten(parameters.read(project / "params.yaml"))
    conditions = {key for key in before if ".when." in key}  # which name keys with dots, as DVC cannot
    assert set(OTHER_VALUES) == set(before) - EXCLUDED - conditions
    after = yaml_file.flatten(queued(project, *(f"{key}={value}" for key, value in OTHER_VALUES.items())))
    assert {key for key in before if after[key] == before[key]} == EXCLUDED | conditions


def test_another_network_with_arguments_of_its_own_is_chosen_from_the_command_line(study):
    project, _ = study
    network = ["model.name=timm/resnet18", "model.arguments=null", "tune.n_trials=0", "train.optimizer=adam",
               "train.learning_rate=0.001"]  # fmt: skip
    assert queued(project, *network).model.arguments == {}
    searched = "+tune.space.train.weight_decay={low: 1e-5, high: 1e-3, log: true}"
    params = queued(project, "+model.arguments.drop_rate=0.1", searched)
    assert params.model.arguments["drop_rate"] == 0.1
    assert params.tune.space["train.weight_decay"] == {"": Option(low=1e-5, high=1e-3, log=True)}


# Their other values are refused beside those of train.class_weights, data.resize and train.optimizer.
EXCLUDED = {"train.sampling", "data.shorter_side", "train.nesterov"}
# Another value than the shipped one, for every other key.
_CHANGES = """
study.name=other study.seed=1 compute.device=cuda compute.precision=float32 compute.batch_size=64 compute.threads=1
compute.engine=ray compute.address=auto compute.workers=3 compute.cpus=1 compute.gpus=2
compute.tf32=true compute.deterministic=false compute.compile=true
data.source=image_folder data.path=/images data.image_size=28 data.resize=pad data.interpolation=bilinear
data.test_fraction=0.3 data.validation_fraction=0.1 data.groups=groups.csv
data.drop_duplicates=true data.limit=null data.bad_images=skip
data.convert=[16-bit,animation] data.masks=_mask.png data.mask_values=[cat:1,dog:2] augment.flip=true augment.crop=1
augment.padding=reflect augment.cutout=3
augment.brightness=0.1 augment.resize_first=true augment.validation_and_test=true
augment.contrast=0.1 augment.saturation=0.1 tune.n_trials=0 tune.gpus=0.25 tune.workers=2 tune.startup_trials=2
tune.epochs=1 tune.objective=loss tune.second_objective=parameters
tune.patience=1 tune.pruner_startup_trials=0 tune.pruner_warmup_epochs=1
tune.space.train.optimizer=[adam,sgd] model.name=torchvision/resnet18 model.normalization=none
model.input_size=64 model.weights=DEFAULT model.classes=imagenet-1k
train.base_batch_size=32 train.decay_biases=false train.bias_rate=2 train.ema_decay=0.9 evaluate.mirror=true
train.epochs=5 train.batch_size=16 train.optimizer=adam train.learning_rate=0.001
train.momentum=0.9 train.rho=0.9 train.patience=2 train.min_delta=0.001 train.lr_factor=0.1 train.lr_patience=1
train.min_learning_rate=0.0001 train.head_epochs=1 train.weight_decay=0.001 train.label_smoothing=0.1
train.class_weights=balanced
train.workers=2 train.watch=penalized_loss train.keep=last train.schedule=one_cycle train.warmup=0.1
evaluate.confidence=0.9 evaluate.calibration_bins=10 evaluate.confused_pairs=3
evaluate.gallery=5 explain.images=[3,5] explain.precision=float32
explain.correct_per_class=2 explain.mistakes=3 explain.figures=9 explain.pairs=2 explain.images_per_pair=3
explain.explainers=[lime,grad_cam] explain.superpixels.segments=40 explain.superpixels.compactness=5.0
explain.superpixels.sigma=0.5 explain.lime.samples=100 explain.lime.regions=3
explain.lime.stability.images=1 explain.lime.stability.samples=[60,70] explain.lime.stability.seeds=3
explain.kernel_shap.coalitions=128 explain.kernel_shap.tolerance=0.05
explain.kernel_shap.background=3 explain.kernel_shap.draw_background=true
explain.gradient_shap.samples=5 explain.gradient_shap.background=5
explain.integrated_gradients.steps=4 explain.integrated_gradients.baseline=mean explain.grad_cam.relu=false
explain.partition_shap.evaluations=60 explain.occlusion.window=6 explain.occlusion.stride=3
explain.rise.masks=60 explain.rise.cells=5 explain.rise.probability=0.4
explain.faithfulness.steps=8 explain.faithfulness.blur_sigma=2.0 explain.kernel_shap.classes=0
explain.analyses.hidden=0.3 explain.analyses.random_draws=5 evaluate.target_accuracy=0.9
score.images=9 score.draw=by_class score.matched_evaluations=700 score.steps=8
score.deletion=[blur,mean,black] score.insertion=[mean,blur,black]
score.correlation.cells=4 score.correlation.shares=[0.2,0.3,0.4] score.correlation.draws=20
score.road.shares=[0.2,0.4,0.6] score.road.noise=0.02 score.margins=[1,0,2]
score.robustness.images=3 score.robustness.draws=2 score.robustness.noise=[0.03,0.04,0.05]
score.robustness.brightness=[0.2,0.1,0.3] score.robustness.shift=[2,1,3] score.robustness.attack=[0.01,0.02,0.03]
score.robustness.attack_steps=2 score.randomization.images=3 score.randomization.steps=4
score.randomization.bins=[20,30,40]
audit.images=30 audit.explainers=[grad_cam] repair.findings=[cat:contrast] repair.ways=[paste,remove] repair.epochs=2
repair.repeats=6 repair.margin=1 repair.penalty=0.5
"""
_ARGUMENTS = """
conv1_filters=8 conv1_kernel_size=5 activation_func1=relu leaky_relu_alpha_1=0.1 l2_reg_1=1e-4 pool_size_1=2
dropout_1=0.1 conv2_filters=8 conv2_kernel_size=5 activation_func2=relu leaky_relu_alpha_2=0.1 l2_reg_2=0.0001
pool_size_2=2 dense_units_1=16 dense_l2_reg_1=0.001 activation_func_dense=relu leaky_relu_alpha_3=0.1
dense_dropout_1=0.2 batch_norm_momentum=0.8
"""
_CHOICES = """
conv1_filters=[4,8] conv1_kernel_size=[3] activation_func1=[relu] pool_size_1=[2] conv2_filters=[4]
conv2_kernel_size=[7] activation_func2=[leaky_relu] pool_size_2=[2] dense_units_1=[8] activation_func_dense=[relu]
"""
_LINEAR = """
model.arguments.leaky_relu_alpha_1 model.arguments.leaky_relu_alpha_2 model.arguments.leaky_relu_alpha_3
model.arguments.dropout_1 model.arguments.dense_dropout_1 train.momentum.sgd_momentum train.rho.rmsprop_rho
"""
_LOGARITHMIC = """
model.arguments.l2_reg_1 model.arguments.l2_reg_2 model.arguments.dense_l2_reg_1
train.learning_rate.adam_lr train.learning_rate.sgd_lr train.learning_rate.rmsprop_lr
"""
OTHER_VALUES = {}
for _prefix, _text in (("", _CHANGES), ("model.arguments.", _ARGUMENTS), ("tune.space.model.arguments.", _CHOICES)):
    OTHER_VALUES |= dict(f"{_prefix}{change}".split("=") for change in _text.split())
for _log, _text in (("true", _LINEAR), ("false", _LOGARITHMIC)):
    for _place in _text.split():
        OTHER_VALUES |= {f"tune.space.{_place}.{end}": value for end, value in (("low", "0.002"), ("high", "0.25"))}
        OTHER_VALUES[f"tune.space.{_place}.log"] = _log
