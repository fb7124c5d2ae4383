"""Full disks, folders that cannot be written, and damaged files. Each docstring states what must hold."""

import hashlib
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import NAMES, nightly, shell
from harness import WITHOUT_MLFLOW, Repro, differing, digests, forget, one_sentence, repro, seed, stage
from services import wait_until

OUTS = {"prepare": ["data/prepared", "reports/prepare"], "train": ["models", "reports/train"],
        "repair": ["data/repaired", "reports/repair"],
        "report": ["reports/report", "reports/index.html", "reports/summary.json"]}  # fmt: skip


def without_outs(project: Path, name: str) -> None:
    """As DVC leaves a stage's outputs when it runs the stage."""
    for out in OUTS.get(name, [f"reports/{name}"]):
        place = project / out
        shutil.rmtree(place) if place.is_dir() else place.unlink()


@pytest.mark.parametrize(
    "name",
    ["train", *(pytest.param(name, marks=nightly) for name in NAMES if name != "train")],
)
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(study, undisturbed, tmp_path, name):
    """Must hold: exit code 2, one sentence, no file half-written; with room on the disk the same command goes on."""
    place = tmp_path / "disk"
    place.mkdir()
    size = sum(path.stat().st_size + 4096 for path in study.rglob("*") if path.is_file()) // 2**20
    with mounted(place, "-t", "tmpfs", "-o", f"size={size + 12}m", "tmpfs"):
        project = Path(shutil.copytree(study, place / "study", symlinks=True))
        without_outs(project, name)
        before = {path for path in project.rglob("*") if path.is_file()}
        fill(place, leave=random.Random(seed()).choice([0, 1, 2, 5]) * 4096)
        one_sentence(stage(project, name), "No space left on device")
        left = {path for path in project.rglob("*") if path.is_file()} - before
        assert [path for path in left if ".partial" in path.name] == []
        subprocess.run(["mount", "-o", "remount,size=1g", place], check=True)
        (place / "filler").unlink()
        result = stage(project, name)
        assert result.returncode == 0, result.stderr
        assert differing(digests(project), undisturbed[1]) == []


@contextmanager
def mounted(place: Path, *arguments: str | Path) -> Iterator[None]:
    """A file system at a folder, given the other arguments of `mount`."""
    mount = subprocess.run(["mount", *arguments, place], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.decode().strip()}")
    try:
        yield
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
    with mounted(reports, "--bind", reports):
        subprocess.run(["mount", "-o", "remount,ro,bind", reports], check=True)
        one_sentence(stage(study, name), "Read-only file system")
        assert differing(digests(study), undisturbed[1]) == []
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
        "calibration.json", "classification_report.csv", "confused_pairs.csv", "scores.csv", "confusion_matrix.csv",
        "confusion_matrix.png", "files.sha256", "metrics.json", "mistakes.png", "reliability.csv", "reliability.png",
        "reliability_as_trained.csv", "timing.yaml")),
    *(f"reports/explain/{name}" for name in (
        "analyses/mistakes.png", "analyses/recognised.png", "attributions.npz",
        "familiarity.npz", "figures/image-00000.png", "files.sha256", "index.csv", "lime_stability.csv",
        "lime_stability.png",
        "mistakes.csv", "pairs.csv", "panels.csv", "recognised.csv", "regions.csv", "timing.yaml")),
    *(f"reports/score/{name}" for name in (
        "budgets.csv", "faithfulness_and_cost.png", "files.sha256", "forest/road.png", "gate.json", "maps.csv",
        "maps.npz", "outcomes.png", "randomization.csv", "randomization.png", "ranking.json", "scorecard.csv",
        "scorecard.png", "timing.yaml", "values.csv")),
    *(f"reports/report/{name}" for name in ("classes.html", "files.sha256", "hypotheses.json", "model_card.md",
                                            "record.json", "sources.zip")),
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

    def summary() -> subprocess.CompletedProcess:
        own = {"PYTHONPATH": "src"} | WITHOUT_MLFLOW
        return shell("python", "-m", "glassbox", "summary", cwd=study, check=False, **own)

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
        refused = summary()
        one_sentence(refused, f"{file} is not what was written" if "sha256" not in file else "files.sha256")
        commands = re.findall(r"(?<= ')((?:chmod|rm|dvc) [^']*)(?=')", refused.stderr)
        assert [command.split()[0] for command in commands] == ["chmod", "rm", "dvc"]
        shell("bash", "-e", "-c", "\n".join(commands), cwd=study, **WITHOUT_MLFLOW)
    assert summary().returncode == 0
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
    wait_until(lambda: len(list(kept.glob("explain-*/*"))) > 5)
    work.kill("all")
    for part in list(kept.glob("explain-*/*"))[::2]:
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 0x55
        part.write_bytes(content)
    repro(study, **WITHOUT_MLFLOW)
    assert differing(digests(study), undisturbed[1]) == []
