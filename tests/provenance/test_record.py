import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from glassbox.config import parameters, yaml_file
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.provenance import record

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"processor": "a chip", "threads": 2}


@pytest.fixture
def study(tmp_path, monkeypatch, code_in):
    """A folder as a study leaves it, with a file of every kind."""
    project = tmp_path / "a study"
    for name, text in {
        "params.yaml": (ROOT / "params.yaml").read_text(), "dvc.yaml": "stages: {}\n", "requirements.lock": "a==1\n",
        "src/glassbox/training/loop.py": "x = 1\n", "src/glassbox/training/page.html": "<p>",
        "src/glassbox/training/__init__.py": "", "src/glassbox/__init__.py": "",
        "src/glassbox/checks.py": "", "src/glassbox/unused.py": "",
        "src/glassbox/__pycache__/training.pyc": "no source",
        "stages/train.py": "from glassbox.training import loop\n\ny = loop.x\n",
        "data/raw/mine/cats/1.png": "an image", "data/weights/own.pth": "weights",
        "data/prepared/data.json": "{}", "models/model.safetensors": "w", "models/noise/model.safetensors": "v",
        "reports/train/metrics.json": "{}", "reports/train/curves.png": "a picture",
        "reports/train/timing.yaml": json.dumps({"machine": MACHINE, "seconds": [1.0]}),
        "reports/explain/attributions.npz": "maps", "reports/explain/index.csv": "a,b\n1,2\n",
        "reports/summary.json": "{}", "reports/compare/other.json": "of no stage",
    }.items():  # fmt: skip
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
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


def test_the_record_names_every_file_that_must_be_made_again(study):
    assert list(record.read(record.FOLDER)["files"]) == [
        "data/prepared/data.json", "models/model.safetensors", "models/noise/model.safetensors",
        "reports/train/metrics.json", "reports/explain/attributions.npz", "reports/explain/index.csv",
        "reports/summary.json",
    ]  # fmt: skip
    # printf w | sha256sum
    assert record.digests()["models/model.safetensors"] == (
        "50e721e49c013f00c62cf59f2163542a9d8df02464efeb615d31051b0fddc326"
    )


def test_a_record_is_the_same_bytes_whenever_and_wherever_it_is_written(study):
    before = {path.name: path.read_bytes() for path in record.FOLDER.iterdir()}
    for path in study.rglob("*"):
        os.utime(path, (0, 0))
    record.write(yaml_file.read(), "d" * 64)
    assert {path.name: path.read_bytes() for path in record.FOLDER.iterdir()} == before


def test_a_study_is_known_by_parameters_data_and_code(study):
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
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert found == {
        "params.yaml", "dvc.yaml", "requirements.lock", "src/glassbox/__init__.py", "src/glassbox/checks.py",
        "src/glassbox/training/__init__.py", "src/glassbox/training/loop.py", "src/glassbox/training/page.html",
        "stages/train.py",
        "data/raw/mine/cats/1.png", "data/weights/own.pth",
    }  # fmt: skip
    assert all((place / name).read_bytes() == (study / name).read_bytes() for name in found)


def test_images_beside_the_repository_are_found_from_elsewhere(study, tmp_path):
    (tmp_path / "pictures" / "x").mkdir(parents=True)
    changes = ["data.source=image_folder", "data.path=../pictures"]
    files.write_text("params.yaml", parameters.edit("params.yaml", changes))
    record.write(yaml_file.read(), "d" * 64)
    record.restore(record.FOLDER, tmp_path / "some" / "where")
    assert parameters.read(tmp_path / "some/where/params.yaml").data.path == str((tmp_path / "pictures").resolve())


@pytest.mark.parametrize("name", ["../outside.py", "/tmp/outside.py", "src/../../outside.py"])
def test_sources_cannot_lead_out_of_their_folder(study, tmp_path, name):
    rewrite_sources({name: "x"})
    with pytest.raises(UserError, match=r"which is no file of a study"):
        record.restore(record.FOLDER, tmp_path / "again" / "deep")
    assert not list(tmp_path.rglob("outside.py"))


def test_recorded_code_is_known_by_package_stages_and_pipeline_and_nothing_else(study):
    usual = record.recorded_code(record.FOLDER)
    for name, text, same in (
        ("params.yaml", parameters.edit("params.yaml", ["train.epochs=3"]), True),
        ("requirements.lock", "a==2\n", True),
        ("dvc.yaml", "stages: {other: {}}\n", False),
        ("dvc.yaml", "stages: {}\n", True),
        ("src/glassbox/training/loop.py", "x = 2\n", False),
    ):
        files.write_text(name, text)
        record.write(yaml_file.read(), "d" * 64)
        assert (record.recorded_code(record.FOLDER) == usual) == same


def test_recorded_libraries(study):
    files.write_text("requirements.lock", "# a==0, made by pip\na==1\n\nb-c==2.0.1\n")
    record.write(yaml_file.read(), "d" * 64)
    assert record.libraries(record.FOLDER) == {"a": "1", "b-c": "2.0.1"}


def test_damaged_sources_are_said(study, tmp_path):
    rewrite_sources({"params.yaml": "x"}, without=("dvc.yaml", "requirements.lock"))
    restore = partial(record.restore, place=tmp_path / "again")
    for read in (record.parameters, record.recorded_code, record.libraries, restore):
        with pytest.raises(UserError, match=r"sources.zip is not what was written \(it has no dvc.yaml, require"):
            read(record.FOLDER)
    (record.FOLDER / record.SOURCES).write_bytes(b"no archive")
    for read in (record.parameters, record.recorded_code, record.libraries, restore):
        with pytest.raises(UserError, match=r"sources.zip is not what was written \(its SHA-256 is not that in"):
            read(record.FOLDER)
    (record.FOLDER / record.SOURCES).unlink()
    with pytest.raises(UserError, match=r"sources.zip is missing: 'dvc repro' makes it"):
        restore(record.FOLDER)
    assert not (tmp_path / "again").exists()


def flipped(content: bytes, place: int) -> bytes:
    """The same but for one bit of one byte."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def said_by(read: Callable[[], object]) -> str:
    """What a damaged file is refused by, one sentence; "" where it is read."""
    try:
        read()
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("of_now", [True, False], ids=["of now", "of an older version"])
def test_no_flipped_byte_of_sources_is_a_traceback_and_none_goes_unnoticed(study, of_now):
    """Before records held the digest of the sources, an archive's own checks had to do."""
    if not of_now:
        kept = record.read(record.FOLDER)
        del kept["sources_sha256"]
        files.write_json(record.FOLDER / record.RECORD, kept)
    path = record.FOLDER / record.SOURCES
    whole = path.read_bytes()
    for place in range(0, len(whole), 7 if of_now else 1):
        path.write_bytes(flipped(whole, place))
        for read in (record.parameters, record.recorded_code, record.libraries):
            said = said_by(partial(read, record.FOLDER))
            assert "sources.zip is not what was written" in said or not of_now


def test_no_flipped_byte_of_a_record_goes_unnoticed(study):
    path = record.FOLDER / record.RECORD
    whole, kept = path.read_bytes(), record.read(record.FOLDER)
    for place in range(len(whole)):
        path.write_bytes(flipped(whole, place))
        if not (said := said_by(partial(record.read, record.FOLDER))):
            found = record.read(record.FOLDER)
            assert {key: found[key] for key in kept} == kept  # it was the checksum's own key
        assert not said or "record.json" in said
    for other in ("[]", "{}", '{"study": "x", "study_digest": "y", "machine": {}, "files": []}', "7"):
        path.write_text(other)
        with pytest.raises(UserError, match=r"record.json is not what was written \(it must be a mapping with"):
            record.read(record.FOLDER)


def test_every_file_that_a_stage_wrote_is_compared_with_what_it_wrote(study):
    """A byte flipped in DVC's cache comes back as a result, and DVC says that nothing has changed."""
    assert record.seal("reports/explain") == Path("reports/explain")
    record.seal("reports/train", "models", "data/prepared/data.json")
    record.check("explain", "train")
    sealed = Path("reports/train/files.sha256").read_text()
    assert [line.partition("  ")[2] for line in sealed.splitlines()] == [
        "data/prepared/data.json", "models/model.safetensors", "models/noise/model.safetensors",
        "reports/train/curves.png", "reports/train/metrics.json",
    ]  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--strict", "reports/train/files.sha256"], check=True)
    for line in sealed.splitlines():
        path = Path(line.partition("  ")[2])
        whole = path.read_bytes()
        path.write_bytes(flipped(whole, 0))
        with pytest.raises(UserError) as said:
            record.check("explain", "train")
        assert str(said.value) == (
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
    whole = times.read_text()
    for text in (whole.replace("1.0", "1.5"), whole.replace("1.0", "1:0")):
        times.write_text(text)
        with pytest.raises(UserError, match=r"^reports/train/timing.yaml is not what was written \(it is no JSON with"):
            record.check("train")
    times.unlink()
    for place in range(len(sealed)):
        Path("reports/train/files.sha256").write_bytes(flipped(sealed.encode(), place))
        with pytest.raises(UserError, match=r"files.sha256"):
            record.check("train")
    Path("reports/train/files.sha256").unlink()
    with pytest.raises(UserError, match=r"reports/train/files.sha256 is missing: 'dvc repro' makes it"):
        record.check("train")


def test_what_was_fetched_is_compared_with_its_record(study):
    record.check_recorded(study)
    Path("models/noise/model.safetensors").unlink()  # not all is fetched
    record.check_recorded(study)
    Path("reports/explain/index.csv").write_text("a,b\n1,3\n")
    with pytest.raises(UserError, match=r"index.csv is not what was written \(.*record.json\): run the study that"):
        record.check_recorded(study)


def test_what_agrees_and_what_differs(study):
    kept = record.read(record.FOLDER)
    assert all(file.agrees for file in record.compare(kept, study))
    (study / "models/model.safetensors").write_text("u")
    (study / "reports/explain/index.csv").unlink()
    (study / "reports/score").mkdir()
    (study / "reports/score/new.csv").write_text("x")
    different = {file.name: str(file) for file in record.compare(kept, study) if not file.agrees}
    assert different == {
        "models/model.safetensors": "DIFFERS  50e721e49c01 -> 0bfe935e70c3  models/model.safetensors",
        "reports/explain/index.csv": f"DIFFERS  {kept['files']['reports/explain/index.csv'][:12]} -> (missing)  "
        "reports/explain/index.csv",
        "reports/score/new.csv": "DIFFERS  (missing) -> 2d711642b726  reports/score/new.csv",
    }


def test_another_machine_is_told(study):
    kept = record.read(record.FOLDER)
    assert record.differences(kept, study) == ""
    kept["machine"] = {"processor": "a chip", "threads": 8}
    assert record.differences(kept, study) == "threads was 8 and is 2"
