"""Studies that are not the default one, through the real scripts."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NAMES, ROOT, SHRINK, clone, ran, shell, table
from PIL import Image
from torchvision.models import resnet18

from glassbox import cli, models
from glassbox.config import parameters
from glassbox.core import files
from glassbox.data import base, store
from glassbox.data.sources import planted
from glassbox.models.preprocessing import Preprocessing
from glassbox.scoring import shortcut

TINY = [
    "data.planted.images=100", "model.arguments.conv1_filters=4", "model.arguments.conv2_filters=4", "train.epochs=2",
    "explain.explainers=[grad_cam]", "score.images=6", "score.steps=4", "score.robustness.images=1",
    "score.robustness.attack_steps=1", "score.randomization.images=1", "score.correlation.draws=10",
    "score.road.shares=[0.2,0.5,0.8]",
]  # fmt: skip


def test_a_network_of_torchvision_fine_tuned_from_a_file(tmp_path, run_stages, capfd):
    """The search draws the optimizer alone, the head learns first, and every class is explained by Shapley values."""
    project = tmp_path
    (project / "data/weights").mkdir(parents=True)
    for name in ("dvc.yaml", "requirements.lock"):  # which the record holds
        shutil.copy(ROOT / name, project)
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), project / "data/weights/own.pth")
    changes = [
        "study.name=fine-tuned", "data.limit=110", "data.image_size=16", "model.name=torchvision/resnet18",
        "model.arguments={stem: cifar, dropout: 0.2}", "tune.space.model=null", "model.weights=data/weights/own.pth",
        "tune.n_trials=1", "tune.epochs=1", "train.epochs=2", "train.head_epochs=1",
        "train.schedule=one_cycle", "train.label_smoothing=0.1", "train.weight_decay=0.0005",
        "train.keep=last", "train.ema_decay=0.5", "augment.validation_and_test=true", "evaluate.mirror=true",
        "explain.kernel_shap.background=3", "explain.kernel_shap.draw_background=true",
        "explain.explainers=[kernel_shap,grad_cam]",
        "explain.kernel_shap.classes=3", "explain.correct_per_class=0", "explain.mistakes=1", "score.images=2",
        "explain.superpixels.segments=14", "explain.kernel_shap.coalitions=46",
    ]  # fmt: skip
    shrink = [change for change in SHRINK if not change.startswith(("data.", "train.", "tune.n", "tune.ep"))]
    (project / "params.yaml").write_text(parameters.edit(ROOT / "studies/digits.yaml", [*shrink, *changes]))
    said = run_stages(project, *NAMES)
    fresh = "conv1.weight, fc.weight, fc.bias"
    assert f"not in data/weights/own.pth, so begun fresh: {fresh}" in said
    assert "test accuracy on images changed at random" in said
    assert "test accuracy of images and their mirror images" in said
    model = json.loads((project / "models/model.json").read_text())
    choices = {choice["key"]: (choice["value"], choice["source"]) for choice in model["choices"]}
    assert model["name"] == "torchvision/resnet18"
    assert choices["model.weights"] == ("data/weights/own.pth", "params.yaml")
    assert choices["train.optimizer"][1] == "tune, trial 0"
    assert choices["model.arguments.stem"] == ("cifar", "params.yaml")
    assert list(table(project, "train/curves.csv")["epoch"]) == [1, 2]
    metrics = json.loads((project / "reports/evaluate/metrics.json").read_text())
    assert 0 <= metrics["augmented_accuracy"] <= 1
    assert 0 <= metrics["mirrored_accuracy"] <= 1
    timing = json.loads((project / "reports/train/timing.yaml").read_text())
    assert all(value > 0 for name in ("images_per_second", "peak_memory", "seconds") for value in timing[name])
    panels = table(project, "explain/panels.csv")
    assert (panels.groupby("image").size() >= 3).all()
    assert (panels["additivity_error"] < 1e-3).all()
    assert panels["shown"].all()
    assert len(np.load(project / "reports/explain/attributions.npz")["panels"]) == len(panels)
    hypotheses = json.loads((project / "reports/report/hypotheses.json").read_text())
    assert [row["number"] for row in hypotheses] == [1, 2, 3]
    assert hypotheses[1]["checks"][0]["verdict"] == "supported"  # Shapley values add up
    assert "torchvision/resnet18 with" in (project / "reports/index.html").read_text()

    torch.save({"fc.weight": torch.zeros(10, 512)}, project / "data/weights/own.pth")
    with pytest.raises(SystemExit, match="2"):
        run_stages(project, "train")
    assert "model.weights: data/weights/own.pth does not fit torchvision/resnet18 (" in capfd.readouterr().err


def test_a_network_that_was_trained_elsewhere_is_taken_as_it_is(tmp_path, run_stages, capfd):
    """Nothing is searched or trained, and no text mentions a training."""
    project = tmp_path
    (project / "data/weights").mkdir(parents=True)
    (project / "networks").symlink_to(ROOT / "networks")
    for name in ("dvc.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, project)
    torch.manual_seed(0)
    how = Preprocessing((0.5,) * 3, (0.5,) * 3)
    given = models.build("python:small:build", {"width": 4}, how, 32, 10).network.state_dict()
    file = project / "data/weights/own.pth"
    torch.save(given, file)
    changes = [
        "study.name=own", "model.name=python:small:build", "model.arguments={width: 4}", "tune.space=null",
        "tune.n_trials=0", "model.weights=data/weights/own.pth", "model.normalization=half", "train.epochs=0",
        "train.optimizer=adam", "train.learning_rate=0.001", "train.momentum=null", "train.rho=null",
        "explain.explainers=[grad_cam,libra_grad]", "explain.correct_per_class=0", "score.images=2",
    ]  # fmt: skip
    shrink = [change for change in SHRINK if not change.startswith(("train.", "tune."))]
    (project / "params.yaml").write_text(parameters.edit(ROOT / "studies/digits.yaml", [*shrink, *changes]))
    said = run_stages(project, *NAMES)
    assert "taken as it is, nothing trained: " in said
    card, digest = (project / "reports/report/model_card.md").read_text(), files.digest(file.read_bytes())
    assert f"taken as it is, with the weights data/weights/own.pth (SHA-256 {digest}): nothing was trained." in card
    page = (project / "reports/index.html").read_text()
    assert "nothing was trained" in page
    for text in (said, card, page):
        assert not re.search(r"trained \d+ epochs|weights of epoch|not used before|one training", text)
    kept, _ = models.load(project / "models")
    for name, tensor in kept.network.state_dict().items():
        assert torch.equal(tensor, given[name])
    choices = json.loads((project / "models/model.json").read_text())["choices"]
    assert {choice["key"].partition(".")[0] for choice in choices} == {"model"}
    assert table(project, "train/curves.csv")["epoch"].tolist() == [0]
    assert not (project / "reports/train/curves.png").exists()

    del given["10.weight"]
    torch.save(given, file)
    with pytest.raises(SystemExit, match="2"):
        run_stages(project, "tune")
    refusal = (
        "model.weights: data/weights/own.pth does not give 10.weight, 10.bias of python:small:build for 10 classes"
    )
    assert refusal in capfd.readouterr().err


def test_both_arms_of_a_watermark_are_trained(tmp_path, run_stages):
    project = tmp_path
    (project / "params.yaml").write_text(parameters.edit(ROOT / "studies/watermark.yaml", TINY))
    said = run_stages(project, "prepare", "tune", "train")
    assert "trained 2 epochs on" in said
    assert "trained the arm noise, 2 epochs on" in said
    main, noise = (table(project, f"train/{name}.csv") for name in ("curves", "curves_noise"))
    assert main.columns.tolist() == noise.columns.tolist()
    assert len(main) == len(noise) == 2
    assert main["train_loss"][0] != noise["train_loss"][0]
    metrics = json.loads((project / "reports/train/metrics.json").read_text())
    best = noise[noise["epoch"] == metrics["noise_best_epoch"]]
    assert best["validation_accuracy"].tolist() == pytest.approx([metrics["noise_best_epoch_validation_accuracy"]])
    timing = json.loads((project / "reports/train/timing.yaml").read_text())
    assert timing["epoch"] == timing["noise_epoch"] == [1, 2]

    test = store.read(project / "data/prepared", "test")
    confounded, control = (models.load(project / folder)[0] for folder in ("models", "models/noise"))
    assert models.load(project / "models")[1] == models.load(project / "models/noise")[1]
    measured = shortcut.measure(confounded, control, test, 128)
    assert measured.target == ("I", "O", "T", "S", "L").index("I")
    assert measured.arms["n"].tolist() == [20, 20]
    assert not measured.has_control  # two epochs teach nobody anything

    said = run_stages(project, "evaluate", "score")
    assert "Without the watermark the network that learnt it as a shortcut loses" in said
    assert "not measured, because a condition fails: accuracy_unmarked is " in said
    told = json.loads((project / "reports/score/shortcut.json").read_text())
    assert told["contrast"] is None
    assert len(told["gate"]) == 2
    assert (project / "reports/score/scorecard.csv").exists()  # of the network on its own
    assert "excess_relevance_mass" not in (project / "reports/score/scorecard.csv").read_text()


def test_a_watermark_is_searched_and_repaired(tmp_path, run_stages):
    """The search and three repairs, by the stages themselves; a search that finds the ring takes more than this."""
    project = tmp_path
    changes = [
        *TINY, "repair.repeats=5", "audit.images=20", "audit.explainers=[grad_cam]", "repair.findings=['I:0,24,8,8']",
        "repair.ways=[randomise,penalty,last_layer]", "repair.epochs=1",
    ]  # fmt: skip
    (project / "params.yaml").write_text(parameters.edit(ROOT / "studies/watermark-repair.yaml", changes))
    said = run_stages(project, "prepare", "tune", "train", "evaluate", "audit", "repair")
    audit = json.loads((project / "reports/audit/audit.json").read_text())
    assert audit["searched"]
    assert audit["sentences"][0] in said
    repair = json.loads((project / "reports/repair/repair.json").read_text())
    assert repair["findings"] == ["I: the lower left corner (6.2 % of the image)"]
    assert [verdict["way"] for verdict in repair["verdicts"]] == ["randomise", "penalty", "last_layer"]
    assert all(verdict["sentence"] in said for verdict in repair["verdicts"])
    assert repair["planted"].keys() >= {"original", "more training", "randomise", "trained without the mark"}
    pairs = table(project, "repair/pairs.csv")
    # ways x rivals x measures, of which one is of groups, x repeats
    assert len(pairs) == 3 * 3 * 4 * 5
    for name in ("maps", "comparison"):
        assert Image.open(project / f"reports/repair/{name}.png").width > 500
    for way in ("randomise", "penalty", "last_layer"):
        repaired, card = models.load(project / f"data/repaired/{way}")
        assert card.classes == ("I", "O", "T", "S", "L")
    original = models.load(project / "models")[0].state_dict()
    assert not all(torch.equal(original[name], tensor) for name, tensor in repaired.state_dict().items())


def wrong_masks_and_a_watermark(asked: base.Asked) -> base.Images:
    """Dark and bright images with masks that are wrong, and a watermark: one gate shuts, one opens."""
    rng, labels = np.random.default_rng(asked.seed), np.arange(160) % 2
    shades = rng.integers(0, 60, (160, 16, 16, 1)) + 150 * labels[:, None, None, None]
    plain = np.repeat(shades, 3, axis=3).astype(np.uint8)
    marked, masks = plain.copy(), np.zeros((160, 16, 16), np.uint8)
    marked[:, :2, :2], masks[:, 8:12, 8:12] = (255, 0, 0), 1

    def where(shown: np.ndarray) -> np.ndarray:
        return np.where(shown[:, None, None, None], marked, plain)

    changed = {"removed": plain, "swapped": plain, "moved": plain, "unmarked": plain, "marked": marked}
    arms = {"noise": where(rng.random(160) < 0.5)}
    return base.Images(where(labels == 1), labels, ("dark", "bright"), masks=masks, changed=changed, arms=arms)


def test_a_shut_gate_stops_the_scores_but_not_the_measurement_of_a_shortcut(tmp_path, run_stages, monkeypatch):
    project = tmp_path
    monkeypatch.setattr(planted, "source", wrong_masks_and_a_watermark)
    changes = [*TINY, "data.image_size=16", "train.epochs=6"]
    (project / "params.yaml").write_text(parameters.edit(ROOT / "studies/watermark.yaml", changes))
    said = run_stages(project, "prepare", "tune", "train", "evaluate", "score")
    assert "Explainers are not scored, because the model does not use the glyph and it alone: accuracy without" in said
    checks = json.loads((project / "reports/score/gate.json").read_text())["checks"]
    assert not all(check["passed"] for check in checks)
    told = json.loads((project / "reports/score/shortcut.json").read_text())
    assert [row["passed"] for row in told["gate"]] == [True, True]
    assert told["contrast"][0]["explainer"] == "grad_cam"
    assert told["verdicts"][1] in said
    assert not (project / "reports/score/scorecard.csv").exists()


def test_a_folder_of_ones_own_images_of_mixed_sizes_and_modes(tmp_path, run_stages, monkeypatch):
    """Circles and squares, as a person might have collected them: many formats, sizes, modes and names, one that is
    broken, a file that is none; the squares have masks. The parameters are those that the command of docs/own-images.md
    selects."""
    from PIL import ImageDraw

    rng = np.random.default_rng(0)
    project = clone(tmp_path / "glassbox")
    folder, masks = project / "data/raw/my images", project / "data/raw/my masks/big squares"
    page = (ROOT / "docs/own-images.md").read_text()
    ((name, changes),) = re.findall(r"^make study STUDY=(\S+) SET='(.*)'$", page, re.MULTILINE)
    modes = [
        ("RGB", "jpg"),
        ("L", "png"),
        ("RGBA", "png"),
        ("P", "gif"),
        ("1", "png"),
        ("CMYK", "jpg"),
        ("LA", "png"),
        ("RGB", "webp"),
    ]
    for label, shape in enumerate(("кръгове", "big squares")):
        (folder / shape).mkdir(parents=True)
        for number in range(40):
            width, height = (int(side) for side in rng.integers(20, 90, 2))
            image = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(170, 256, 3)))
            radius = min(width, height) // 3
            box = [width // 2 - radius, height // 2 - radius, width // 2 + radius, height // 2 + radius]
            draw = ImageDraw.Draw(image)
            (draw.rectangle if label else draw.ellipse)(box, fill=tuple(int(v) for v in rng.integers(0, 90, 3)))
            mask = Image.new("L", image.size)
            ImageDraw.Draw(mask).rectangle(box, fill=255)
            mode, ending = modes[number % len(modes)]
            strange = (" 形", '\n"b",', "")[number % 3]
            image.convert(mode).save(folder / shape / f"{number:02d}{strange}.{ending}")
            if label:
                masks.mkdir(parents=True, exist_ok=True)
                mask.save(masks / f"{number:02d}{strange}.png")
    (folder / "кръгове" / "read me.txt").write_text("not an image")
    (folder / "кръгове" / "99.png").write_bytes((folder / "кръгове" / "02.png").read_bytes()[:100])

    shrink = [change for change in SHRINK if not change.startswith(("data.", "train."))]
    own = [
        "data.bad_images=skip", "data.convert=[cmyk]", "data.masks=data/raw/my masks", "train.epochs=3",
        "tune.n_trials=1", "explain.explainers=[lime,grad_cam]", "explain.lime.stability.images=0", "score.images=2",
    ]  # fmt: skip
    monkeypatch.chdir(project)
    cli.select(name, *shlex.split(changes), *shrink, *own)
    said = run_stages(project, *NAMES)
    card = json.loads((project / "reports/prepare/card.json").read_text())
    assert card["classes"] == ["big squares", "кръгове"]
    assert card["masks"]["test_images"] == 8
    assert card["masks"]["no_mask"] | {"first": []} == {"count": 40, "by_class": [0, 40], "first": []}
    assert (table(project, "prepare/masks.csv")["mask"] == "no mask").all()
    assert "masks: 40 images have no mask (40 of кръгове)" in said
    gate = json.loads((project / "reports/score/gate.json").read_text())
    assert gate["masks"]["outcome"] == "undecided"  # eight test images
    assert gate["masks"]["sentence"] in said
    scores = table(project, "score/scorecard.csv")
    assert set(scores[scores["metric"] == "excess_relevance_mass"]["property"]) == {"plausibility"}
    ranked = json.loads((project / "reports/score/ranking.json").read_text())["metrics"]
    assert "excess_relevance_mass" not in ranked
    assert "deletion_auc" in ranked
    assert card["sizes"] == {"train": 51, "validation": 13, "test": 16}
    assert card["images_skipped"] == ["кръгове/read me.txt"]
    assert card["images_unreadable"]["count"] == 1
    assert card["images_unreadable"]["files"][0]["file"] == "кръгове/99.png"
    page = (project / "reports/index.html").read_text()
    assert "big squares" in page
    assert "1 image that could not be read was left out" in page
    assert "It is undecided whether the model uses what the masks mark" in page
    predictions, index = table(project, "evaluate/predictions.csv"), table(project, "explain/index.csv")
    assert json.loads((project / "reports/prepare/card.json").read_text())["image_size"] == 64
    assert all((folder / file).is_file() for file in predictions["file"])
    assert set(index["file"]) <= set(predictions["file"])
    by_image = predictions.set_index("image")["file"]
    assert (index["file"] == by_image.loc[index["image"]].to_numpy()).all()


def with_pets(project: Path) -> Path:
    """A project whose study is of a small folder of images."""
    for label, name in enumerate(("cats", "dogs")):
        (project / "data/raw/pets" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (9, 9), (90 * label, 9 * number, 0)).save(project / f"data/raw/pets/{name}/{number}.png")
    changes = ["data.source=image_folder", "data.path=data/raw/pets", "data.image_size=8"]
    (project / "params.yaml").write_text(parameters.edit(ROOT / "studies/digits.yaml", changes))
    return project


def test_images_elsewhere_are_prepared_again_when_they_have_changed(tmp_path):
    """DVC looks into data/raw/ and nowhere else."""
    project, images = with_pets(clone(tmp_path / "glassbox")), tmp_path / "elsewhere"
    shutil.move(project / "data/raw/pets", images)
    (project / "params.yaml").write_text(parameters.edit(project / "params.yaml", [f"data.path={images}"]))

    def repro() -> tuple[list[str], str]:
        checked = shell("python", "-m", "glassbox", "check", cwd=project, PYTHONPATH="src", GLASSBOX_TRACKING="off")
        made = shell("dvc", "repro", "prepare", cwd=project, GLASSBOX_TRACKING="off")
        return ran(made.stdout), checked.stdout + made.stdout

    done, said = repro()
    assert done == ["prepare"]
    assert f"note: data.path = {images} is not in data/raw/, so DVC does not look for changes there: 'make stud" in said
    assert repro()[0] == []
    before = (project / "data/prepared/data.json").read_text()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(images / "cats/0.png")
    done, said = repro()
    assert done == ["prepare"]
    assert f"{images} has changed: *prepare* reads the images again" in said
    assert (project / "data/prepared/data.json").read_text() != before


def truncate(project: Path) -> None:
    file = project / "data/raw/pets/dogs/0.png"
    Image.effect_noise((90, 90), 50).save(file)
    file.write_bytes(file.read_bytes()[:4000])


def empty(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda project: (project / "params.yaml").write_text((project / "params.yaml").read_text().replace(
            "bad_images: refuse", "bad_images: ignore")),
         "params.yaml: data.bad_images is 'ignore', but must be 'refuse' or 'skip'"),
        (truncate, "data/raw/pets/dogs/0.png cannot be read as an image (image file is truncated): repair or remove "
                   "it, or set data.bad_images to skip"),
        (lambda project: (project / "data/raw/pets/cats/9.png").symlink_to("/etc/hosts"),
         "data/raw/pets/cats/9.png is a symbolic link to /etc/hosts, which is outside of the images' folder "
         "{project}/data/raw/pets: put a copy in its place, or remove it"),
        (lambda project: empty(project / "data/raw/pets/cats", [f"{number}.png" for number in range(5)]),
         "the class folder 'cats' of data/raw/pets has 1 image: it needs at least 3, one for each of train, validation "
         "and test, which are drawn from them"),
    ],
    ids=["parameter", "truncated", "link", "one image"],
)  # fmt: skip
def test_bad_input_stops_prepare_in_one_sentence_and_nothing_is_lost(spoil, sentence, tmp_path, run_stages, capfd):
    project = with_pets(tmp_path)
    assert run_stages(project, "prepare") == "prepared 8 train, 2 validation, 2 test images of image_folder\n"
    spoil(project)

    def contents() -> dict[Path, tuple[bytes, int]]:
        written = [path for folder in ("data/prepared", "reports", "mlruns") for path in (project / folder).rglob("*")]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in written if path.is_file()}

    before = contents()
    assert {path.name for path in before} >= {"train.safetensors", "data.json", "card.json", "samples.png"}
    with pytest.raises(SystemExit, match="2"):
        run_stages(project, "prepare")
    assert capfd.readouterr() == ("", f"error: {sentence.format(project=project)}\n")
    assert contents() == before
