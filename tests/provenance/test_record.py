import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT

from glassbox.config import parameters, yaml_file
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.provenance import record

MACHINE = {"processor": "a chip", "threads": 2}
# What a study leaves, a file of every kind; each holds its own name, except those of `CONTENTS`.
USER = ["data/raw/mine/cats/1.png", "data/weights/own.pth"]
BESIDE = ["params.yaml", "dvc.yaml", "requirements.lock"]
TRAINING = ["src/glassbox/training/__init__.py", "src/glassbox/training/loop.py", "src/glassbox/training/page.html"]
NETWORKS = ["src/glassbox/models/networks/own_function.py", "networks/mine.py"]
CODE = ["src/glassbox/__init__.py", "src/glassbox/checks.py", *TRAINING, *NETWORKS, "stages/train.py"]
MODELS = ["models/model.safetensors", "models/noise/model.safetensors"]
EXPLAINED = ["reports/explain/attributions.npz", "reports/explain/index.csv"]
REPRODUCED = ["data/prepared/data.json", *MODELS, "reports/train/metrics.json", *EXPLAINED, "reports/summary.json"]
OTHERS = ["src/glassbox/unused.py", "src/glassbox/__pycache__/training.pyc", "reports/train/curves.png"]
CONTENTS = {
    "params.yaml": (ROOT / "params.yaml").read_text(),
    "stages/train.py": (
        "from glassbox.models.networks import own_function\nfrom glassbox.training import loop\n\ny = loop.x\n"
    ),
    "reports/train/timing.yaml": json.dumps({"machine": MACHINE, "seconds": [1.0]}),
    "reports/compare/other.json": "no stage's",
    "models/model.safetensors": "w",
} | dict.fromkeys([*CODE[:-1], OTHERS[0]], "x = 1\n")


@pytest.fixture
def study(tmp_path, monkeypatch, code_in):
    """A folder as a study leaves it."""
    project = tmp_path / "a study"
    for name in {*USER, *BESIDE, *CODE, *REPRODUCED, *OTHERS, *CONTENTS}:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(CONTENTS.get(name, name))
    monkeypatch.chdir(project)
    code_in(project, "stages.train")
    record.write(yaml_file.read(), "d" * 64)
    return project


def rewrite_sources(changes: dict[str, str], without: tuple[str, ...] = ()) -> None:
    """Change what is in the sources, and their digest in the record."""
    path = record.FOLDER / record.SOURCES
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if name not in without}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (kept | changes).items():
            archive.writestr(name, content)
    written = record.read(record.FOLDER) | {"sources_sha256": files.sha256(path)}
    files.write_json(record.FOLDER / record.RECORD, written, checked=True)


def test_the_record_names_every_file_that_must_be_reproduced(study):
    assert list(record.read(record.FOLDER)["files"]) == REPRODUCED
    # printf w | sha256sum
    assert record.digests()["models/model.safetensors"] == (
        "50e721e49c013f00c62cf59f2163542a9d8df02464efeb615d31051b0fddc326"
    )


def test_a_record_is_the_same_bytes_whenever_it_is_written(study):
    before = {path.name: path.read_bytes() for path in record.FOLDER.iterdir()}
    for path in study.rglob("*"):
        os.utime(path, (0, 0))
    record.write(yaml_file.read(), "d" * 64)
    assert {path.name: path.read_bytes() for path in record.FOLDER.iterdir()} == before


def test_a_study_is_identified_by_parameters_data_and_code(study):
    params = yaml_file.read()
    usual = record.study_digest(params, "d")
    assert record.study_digest(params, "d") == usual
    assert record.study_digest(params, "e") != usual
    assert record.study_digest(params | {"study": params["study"] | {"seed": 5}}, "d") != usual
    assert record.study_digest(params | {"study": params["study"] | {"seed": 0.0}}, "d") == usual, "the same number"
    (study / "stages" / "train.py").write_text("y = 2\n")
    assert record.study_digest(params, "d") != usual


def test_a_study_is_restored_to_where_it_can_run(study, tmp_path):
    place = tmp_path / "again"
    place.mkdir()
    record.restore(record.FOLDER, place)
    restored = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert restored == {*BESIDE, *CODE, *USER}
    assert all((place / name).read_bytes() == (study / name).read_bytes() for name in restored)


def test_images_beside_the_repository_are_found_from_elsewhere(study, tmp_path):
    (tmp_path / "pictures" / "x").mkdir(parents=True)
    changes = ["data.source=image_folder", "data.path=../pictures"]
    files.write_text("params.yaml", parameters.edit("params.yaml", changes))
    record.write(yaml_file.read(), "d" * 64)
    record.restore(record.FOLDER, tmp_path / "some" / "where")
    assert parameters.read(tmp_path / "some/where/params.yaml").data.path == str((tmp_path / "pictures").resolve())


@pytest.mark.parametrize("name", ["../outside.py", "/tmp/outside.py", "src/../../outside.py"])
def test_sources_cannot_leave_their_folder(study, tmp_path, name):
    rewrite_sources({name: "x"})
    with pytest.raises(UserError, match=r"which is no file of a study"):
        record.restore(record.FOLDER, tmp_path / "again" / "deep")
    assert not list(tmp_path.rglob("outside.py"))


def test_recorded_code_is_identified_by_package_stages_and_pipeline_alone(study):
    usual = record.recorded_code(record.FOLDER)
    for name, text, same in (
        ("params.yaml", parameters.edit("params.yaml", ["train.epochs=3"]), True),
        ("requirements.lock", "# a==0, made by pip\na==1\n\nb-c==2.0.1\n", True),
        ("dvc.yaml", "stages: {other: {}}\n", False),
        ("dvc.yaml", "dvc.yaml", True),
        ("src/glassbox/training/loop.py", "x = 2\n", False),
    ):
        files.write_text(name, text)
        record.write(yaml_file.read(), "d" * 64)
        assert (record.recorded_code(record.FOLDER) == usual) == same
    assert record.libraries(record.FOLDER) == {"a": "1", "b-c": "2.0.1"}


def test_damaged_sources_are_reported(study, tmp_path):
    rewrite_sources({"params.yaml": "x"}, without=("dvc.yaml", "requirements.lock"))
    restore = partial(record.restore, place=tmp_path / "again")
    for read in (record.parameters, record.recorded_code, record.libraries, restore):
        with pytest.raises(UserError, match=r"sources.zip is not what was written \(it has no dvc.yaml, require"):
            read(record.FOLDER)
    (record.FOLDER / record.SOURCES).write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"sources.zip is not what was written \(its SHA-256 is not that in"):
        restore(record.FOLDER)
    (record.FOLDER / record.SOURCES).unlink()
    with pytest.raises(UserError, match=r"sources.zip is missing: 'dvc repro' makes it"):
        restore(record.FOLDER)
    assert not (tmp_path / "again").exists()


def flipped(content: bytes, place: int) -> bytes:
    """The content with one bit changed."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def refusal(read: Callable[[], object]) -> str:
    """The sentence that refuses a damaged file; "" if it is read."""
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


def test_no_flipped_byte_of_sources_without_a_digest_is_a_traceback(study):
    """Records of older versions have no digest of the sources: the archive's own checks must do."""
    rewrite_sources({"params.yaml": "x"})  # a small archive
    written = record.read(record.FOLDER)
    del written["sources_sha256"]
    files.write_json(record.FOLDER / record.RECORD, written)
    path = record.FOLDER / record.SOURCES
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(flipped(whole, place))
        refusal(partial(record.libraries, record.FOLDER))


@pytest.mark.parametrize("text", ["[]", "{}", '{"study": "x", "study_digest": "", "machine": {}, "files": []}', "7"])
def test_a_record_without_its_keys_is_damaged(study, text):
    (record.FOLDER / record.RECORD).write_text(text)
    with pytest.raises(UserError, match=r"record.json is not what was written \(it must be a mapping with"):
        record.read(record.FOLDER)


def test_every_file_of_a_stage_is_compared_with_what_it_wrote(study):
    """DVC restores a damaged file from its cache, and reports no change."""
    assert record.seal("reports/explain") == Path("reports/explain")
    record.seal("reports/train", "models", "data/prepared/data.json")
    record.check("explain", "train")
    sums = Path("reports/train/files.sha256")
    names = [line.partition("  ")[2] for line in sums.read_text().splitlines()]
    assert names == ["data/prepared/data.json", *MODELS, "reports/train/curves.png", "reports/train/metrics.json"]
    subprocess.run(["sha256sum", "--check", "--strict", sums], check=True)
    for path in map(Path, names):
        whole = path.read_bytes()
        path.write_bytes(flipped(whole, 0))
        assert refusal(partial(record.check, "explain", "train")) == (
            f"{path} is not what was written (its SHA-256 is not that in reports/train/files.sha256): run "
            "'chmod -R u+w \"$(dvc cache dir)\"', so that DVC looks for damage in its cache, too, then "
            f"'rm {path}' and 'dvc repro', which makes the file again"
        )
        path.unlink()
        with pytest.raises(UserError, match=rf"{path}, which reports/train/files.sha256 names, is missing: 'dvc"):
            record.check("train")
        path.write_bytes(whole)
    files.write_times("reports/train", {"seconds": [1.0]})
    record.check("train")
    times = Path("reports/train/timing.yaml")
    text = times.read_text()
    for number in ("1.5", "1:0"):
        times.write_text(text.replace("1.0", number))
        with pytest.raises(UserError, match=r"^reports/train/timing.yaml is not what was written \(it is no JSON with"):
            record.check("train")
    times.unlink()
    sealed = sums.read_bytes()
    for place in range(len(sealed)):
        sums.write_bytes(flipped(sealed, place))
        assert "files.sha256" in refusal(partial(record.check, "train"))
    sums.unlink()
    with pytest.raises(UserError, match=r"reports/train/files.sha256 is missing: 'dvc repro' makes it"):
        record.check("train")


def test_fetched_files_are_compared_with_their_record(study):
    record.check_recorded(study)
    Path("models/noise/model.safetensors").unlink()  # not all are fetched
    record.check_recorded(study)
    Path("reports/explain/index.csv").write_text("a,b\n1,3\n")
    with pytest.raises(UserError, match=r"index.csv is not what was written \(.*record.json\): run its study again"):
        record.check_recorded(study)


def test_files_that_agree_and_differ_and_another_machine(study):
    written = record.read(record.FOLDER)
    assert all(file.agrees for file in record.compare(written, study))
    assert record.differences(written, study) == ""
    (study / "models/model.safetensors").write_text("u")
    (study / "reports/explain/index.csv").unlink()
    (study / "reports/score").mkdir()
    (study / "reports/score/new.csv").write_text("x")
    before = written["files"]["reports/explain/index.csv"][:12]
    assert {file.name: str(file) for file in record.compare(written, study) if not file.agrees} == {
        "models/model.safetensors": "DIFFERS  50e721e49c01 -> 0bfe935e70c3  models/model.safetensors",
        "reports/explain/index.csv": f"DIFFERS  {before} -> (missing)  reports/explain/index.csv",
        "reports/score/new.csv": "DIFFERS  (missing) -> 2d711642b726  reports/score/new.csv",
    }
    written["machine"] = {"processor": "a chip", "threads": 8}
    assert record.differences(written, study) == "threads was 8 and is 2"
