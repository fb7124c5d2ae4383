"""The study's files as they are read, its summary, its row in MLflow, and its tables of explainers."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from glassbox import cli
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.explainers.catalog import CONTROLS
from glassbox.provenance import fingerprint, record
from glassbox.report import contents
from glassbox.report import study as finished
from glassbox.scoring import scorecard as scorecards
from glassbox.scoring.summary_metrics import strongest_controls
from glassbox.statistics.outcomes import OUTCOMES

from .conftest import against_all, shown
from .conftest import contents as json_files
from .test_card import FEW


def test_a_missing_file_is_named(folder, params):
    (folder / "reports/evaluate/metrics.json").unlink()
    with pytest.raises(UserError, match=r"evaluate/metrics.json is missing: 'dvc repro' makes it"):
        finished.read(params, folder / "reports", folder / "models")


def test_summary_and_headline(study):
    summary = json.loads(json.dumps(contents.summary(study)))
    shares = ["accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "majority_share"]
    tests = [f"test_{name}" for name in [*shares, "macro_f1", "ece", "log_loss"]]
    assert list(summary) == [*tests, "against_majority", "best_epoch", "best_explainer"]
    assert (summary["test_balanced_accuracy"], summary["test_majority_share"]) == (0.9, 0.5)
    assert summary["against_majority"] == "undecided"  # 5 images only the model recognises, 1 only the rule
    assert (summary["test_accuracy"], summary["best_explainer"]) == (0.5, study.best_explainer)
    row = contents.headline(study)
    means = {key: value for key, value in row.items() if key.startswith("deletion_auc/") and "control" not in key}
    assert means == {f"deletion_auc/{name}": 0.5 for name in ("lime", "grad_cam", "random")}
    assert (row["test_accuracy"], row["test_balanced_accuracy"], row["test_majority_share"]) == (0.5, 0.9, 0.5)
    errors = [row[f"test_{name}_percent"] for name in ("error", "balanced_error", "ece")]
    assert errors == pytest.approx([50, 10, 50])
    ends = [row[f"deletion_auc/strongest_control{end}"] for end in ("", "_low", "_high")]
    assert ends == [0.5, 0.4, 0.6]
    assert "test_balanced_accuracy_low" not in row  # five images of each class are too few
    assert row["best_validation_accuracy"] == 0.9
    assert {key: value for key, value in row.items() if key.startswith("controls_")} == {
        "controls_better/lime": 7,
        "controls_worse/lime": 0,
        "controls_undecided/lime": 0,
        "controls_better/grad_cam": 4,
        "controls_worse/grad_cam": 1,
        "controls_undecided/grad_cam": 2,
    }
    assert "local_r2/lime" not in contents.headline(replace(study, index=study.index.assign(local_r2=np.nan)))
    row = contents.headline(replace(study, index=study.index.assign(local_r2=[0.5, np.nan])))
    assert (row["local_r2/lime"], row["local_r2_maps/lime"]) == (0.5, 1)  # the mean is over maps that have one


def test_the_terminal_shows_the_accuracy_beside_the_majority_class(folder, monkeypatch, capsys):
    files.write_json(folder / "reports/score/gate.json", {"checks": [], "refusal": "Nothing is scored."})
    shutil.copy(ROOT / "params.yaml", folder)
    monkeypatch.chdir(folder)
    for stage in fingerprint.STAGES:
        record.seal(f"reports/{stage}", "params.yaml")
    cli.summary()
    printed = capsys.readouterr().out
    assert f"  balanced       90.00 % ({FEW})\n  largest class  50.00 %  (cat <b>)\n" in printed
    assert "  It is not shown to do better than always answering cat <b>, 50.0 % of the test images (McNemar" in printed


def test_the_table_of_explainers(study):
    lime, cam, random, edges = contents.explainer_table(study)
    assert [row["title"] for row in (lime, cam, random, edges)] == ["LIME", "Grad-CAM", "random", "Sobel edges"]
    assert [row["control"] for row in (lime, cam, random, edges)] == [False, False, True, True]
    assert lime["deletion_auc"] == "0.500 [0.400, 0.600]"
    assert (lime["milliseconds"], lime["forward_passes"], lime["backward_passes"]) == (2.5, 20, 10)
    assert lime["matched"] == {"forward_passes": 20, "deletion_auc": "0.500 [0.400, 0.600]", "emprt": ""}
    assert cam["matched"] is random["matched"] is None
    assert [row["constant_maps"] for row in (lime, cam, random, edges)] == ["0 of 14", "3 of 14", "0 of 14", "1 of 14"]
    assert [row["emprt_outcome"] for row in (lime, cam, random)] == ["passes", "depends on the bins", ""]
    assert contents.columns(study) == {"against the controls": {"deletion_auc": "deletion AUC ↓"}, "further": {}}
    assert (
        "Deletion AUC: LIME is better than every control; Grad-CAM is better than random, smooth random, random "
        "regions and centred Gaussian, worse than Sobel edges, undecided against |x| and its own map of an untrained "
        "network. (11 images find a typical difference of 0.04 four times in five; half of the 2 undecided would take "
        "about 400.)"
    ) in shown(study)


def test_the_ranking_of_these_tests_has_the_form_that_score_writes():
    rng, parts = np.random.default_rng(0), []
    subjects = [(kind, name) for kind in ("explainer", "untrained") for name in ("lime", "grad_cam")]
    for kind, name in [*subjects, *(("control", name) for name in CONTROLS)]:
        about = {"explainer": name, "kind": kind, "image": range(12), "constant_map": False}
        about |= {"forward_passes": 1.0, "backward_passes": 0.0, "emprt[100 bins]": 0.5}
        scores = {f"deletion_auc[{setting}]": rng.normal(size=12) for setting in ("mean", "blur")}
        parts.append(pd.DataFrame(about | scores))
    real = scorecards.rank(pd.concat(parts), seed=0)
    toy = json_files()["reports/score/ranking.json"]
    assert set(toy) - set(real) == {"baselines", "verdicts"}
    assert set(real) <= set(toy)
    real_metric, toy_metric = real["metrics"]["deletion_auc"], toy["metrics"]["deletion_auc"]
    assert set(real_metric) == set(toy_metric)
    assert set(real_metric["controls"][0]) == set(toy_metric["controls"][0])
    controls = ({test["control"] for test in metric["controls"]} for metric in (real_metric, toy_metric))
    assert next(controls) == next(controls)
    assert set(toy_metric["pairs"][0]) <= set(real_metric["pairs"][0])
    assert set(real_metric["power"]) == set(toy_metric["power"])
    for part in ("emprt", "constant_maps"):
        assert set(real[part]["lime"]) == set(toy[part]["lime"])


def test_a_study_that_was_not_scored(folder, params):
    refusal = "Explainers are not scored."
    checks = [{"name": "accuracy", "value": 0.5, "limit": "at least 0.99", "passed": False}]
    files.write_json(folder / "reports/score/gate.json", {"checks": checks, "refusal": refusal})
    files.write_json(folder / "reports/score/timing.yaml", {})
    for name in ("scorecard.csv", "ranking.json", "maps.csv", "values.csv"):
        (folder / "reports/score" / name).unlink()
    study = finished.read(params, folder / "reports", folder / "models")
    text = shown(study)
    assert f"<strong>Not tested.</strong> {refusal}" in text
    assert "<td>0.5000</td><td>at least 0.99</td><td>no</td>" in text
    assert "Below each mean" not in text
    assert contents.summary(study)["best_explainer"] == study.best_explainer == "Not scored."
    assert contents.explainer_table(study) == []
    assert refusal in contents.description(study, "0123456789abcdef")


def test_a_version_is_described_by_its_accuracies(study):
    first, _, card = contents.of_version(study).partition("\n\n")
    assert first == (
        "Test accuracy **50.00 %** (95 % interval 50.00 % to 50.00 %, n = 10); validation accuracy 90.00 %."
    )
    assert card.startswith("## Model")


def test_the_strongest_control_is_the_best_by_the_metrics_direction():
    table = {"kind": "control", "explainer": ["edges", "centre"] * 2, "metric": ["road"] * 2 + ["deletion_auc"] * 2}
    table |= {"direction": ["higher is better"] * 2 + ["lower is better"] * 2, "mean": [0.25, 0.5, 0.25, 0.5]}
    found = strongest_controls(pd.DataFrame(table | {"ranks": True, "n": 3, "low": np.nan, "high": np.nan}))
    assert found == {"road/strongest_control": 0.5, "deletion_auc/strongest_control": 0.25}


def test_the_description_for_mlflow(study):
    text = contents.description(study, "0123456789abcdef")
    assert "test accuracy **50.00 %** (95 % interval 50.00 to 50.00)" in text
    assert "| train.learning_rate | 0.001 | tune, trial 1 |" in text
    assert "train.rho" not in text
    assert "make verify RUN=012345678`" in text
    assert len(text) < 8000  # MLflow cuts longer tags


def test_the_best_explainer_is_better_than_every_control_by_most_measures(study):
    assert study.best_explainer == "LIME is better than every control by 1 of 1 measures, no other explainer by any."
    metrics = study.ranking["metrics"]
    both = metrics["deletion_auc"] | {"controls": against_all("lime", edges="undecided") + against_all("grad_cam")}
    both["pairs"] = [{"a": "lime", "b": "grad_cam", "outcome": "worse"}]
    metrics["road"] = both
    assert study.best_explainer == (
        "Undecided between LIME and Grad-CAM: they are better than every control by 1 of 2 measures; none with the "
        "most is better than all of the others."
    )
    metrics["insertion_auc"] = both
    assert study.best_explainer == (
        "Grad-CAM is better than every control by 2 of 3 measures, and better than 1 other explainer that beats them "
        "by any."
    )
    for row in metrics.values():
        row["controls"] = against_all("lime", random="undecided") + against_all("grad_cam", edges="worse")
    assert study.best_explainer == "No explainer is shown to be better than every control by any measure."
    assert contents.summary(study)["best_explainer"] == study.best_explainer


def test_without_a_test_no_explainer_is_the_best(study):
    row = study.ranking["metrics"]["deletion_auc"]
    row |= {"n": 3, "decidable": False}
    assert study.best_explainer == "Not tested: 3 images are too few for any comparison, 10 at least."
    row["controls"] = []
    assert study.best_explainer.startswith("Not tested: ")
    study.ranking.update(metrics={}, outcomes=dict.fromkeys(OUTCOMES, 0))
    assert study.best_explainer.startswith("Not tested: ")
    assert [name for name in contents.headline(study) if name.startswith("controls_")] == []
