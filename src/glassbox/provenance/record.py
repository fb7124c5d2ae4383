"""The record of a study, by which anybody can repeat it: its sources, and the digest of every file that must result.

Each stage also writes the digests of all its files (`seal`). DVC restores files from its cache without looking for
damage, so stages that use them do (`check`).
"""

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassbox.config import yaml_file
from glassbox.config.yaml_file import PARAMS_FILE
from glassbox.core import files
from glassbox.core.errors import UserError
from glassbox.provenance import fingerprint

RECORD, SOURCES, SUMS = "record.json", "sources.zip", "files.sha256"
FOLDER = Path("reports/report")
# Folders and files that the same parameters, data and code reproduce byte by byte: numbers, maps, weights.
REPORTS = tuple(f"reports/{stage}" for stage in fingerprint.STAGES)
MADE = ("data/prepared/data.json", "models", "data/repaired", *REPORTS, "reports/summary.json")
COMPARED = (".json", ".csv", ".npz", ".safetensors")
LOCK = "requirements.lock"
CHECKS = "glassbox.checks"  # no stage depends on it, since it determines no result, but running one needs it
BESIDE = (PARAMS_FILE, "dvc.yaml", LOCK)  # what a study needs besides its code
OF_THE_USER = ("data/raw", "data/weights")
SHA256 = re.compile("[0-9a-f]{64}")


def study_digest(values: Mapping[str, Any], data_digest: str) -> str:
    """16 hex digits for a study: the plain values of its parameter file, the digest of its images, and its code."""
    tree = json.dumps(_alike(values), sort_keys=True, default=str)
    return files.digest(tree, data_digest, fingerprint.digest(*fingerprint.SCRIPTS))[:16]


def _alike(value: Any) -> Any:
    """A value with 1.0 as 1, which is the same parameter, and every key as text."""
    if isinstance(value, Mapping):
        return {str(key): _alike(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_alike(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def digests(root: str | Path = ".") -> dict[str, str]:
    """SHA-256 of every file under `root` that must be the same in every run, by name."""
    paths = files.inside(*(Path(root) / name for name in MADE))
    compared = [path for path in paths if path.suffix in COMPARED and path.name != RECORD]
    return {path.relative_to(root).as_posix(): files.sha256(path) for path in compared}


def seal(folder: str | Path, *beside: str | Path) -> Path:
    """Write the digests of a stage's files, in sha256sum's format, to files.sha256, when all are written. timing.yaml,
    which differs between runs and has its own checksum, is left out.

    Args:
        folder: the stage's folder below reports/, which is also returned.
        beside: its other files and folders.
    """
    sums = Path(folder) / SUMS
    written = files.inside(folder, *beside)
    names = sorted(file.as_posix() for file in written if file.name not in (SUMS, files.TIMES))
    files.write_text(sums, "".join(f"{files.sha256(name)}  {name}\n" for name in names))
    return Path(folder)


def check(*stages: str) -> None:
    """Check that the files of some stages in this folder are as the stages wrote them.

    Raises:
        UserError: one is missing or damaged; the message names it, and how to restore it.
    """
    for stage in stages:
        sums = Path("reports") / stage / SUMS
        for written, name in _sums(sums):
            try:
                digest = files.sha256(name)
            except FileNotFoundError:
                raise UserError(f"{name}, which {sums} names, is missing: 'dvc repro' makes it") from None
            except (OSError, ValueError) as error:
                raise UserError(f"{name}, which {sums} names, cannot be read ({error})") from None
            if digest != written:
                raise UserError(files.damaged(name, f"its SHA-256 is not that in {sums}"))
        times = sums.with_name(files.TIMES)
        if times.exists():
            try:
                files.read_json(times)
            except UserError:
                raise UserError(files.damaged(times, f"it is no JSON with its {files.CHECKSUM}")) from None


def _sums(path: Path) -> list[list[str]]:
    """SHA-256 and name of each file that files.sha256 lists."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: 'dvc repro' makes it") from None
    except (OSError, ValueError) as error:
        raise UserError(files.damaged(path, str(error))) from None
    pairs = [line.split("  ", 1) for line in text.removesuffix("\n").split("\n")]
    if any(len(pair) != 2 or not SHA256.fullmatch(pair[0]) for pair in pairs):
        raise UserError(files.damaged(path, "it has lines without a SHA-256 and a file"))
    return pairs


def write(values: Mapping[str, Any], data_digest: str) -> None:
    """Write the record and the sources of the study in this folder beside its report, when all else is written; see
    `study_digest`."""
    machine = files.read_json(Path("reports/train") / files.TIMES)["machine"]
    sources = fingerprint.sources(*fingerprint.SCRIPTS, CHECKS)
    code = {fingerprint.in_repository(path): path for path in sources}
    files.write_bytes(FOLDER / SOURCES, _zipped({name: Path(name) for name in BESIDE} | code))
    record = {
        "study": values["study"]["name"],
        "study_digest": study_digest(values, data_digest),
        "machine": machine,
        "sources_sha256": files.sha256(FOLDER / SOURCES),
        "files": digests(),
    }
    files.write_json(FOLDER / RECORD, record, checked=True)


def _zipped(paths: dict[str, Path]) -> bytes:
    """An archive that depends only on names and contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in paths.items():
            entry = zipfile.ZipInfo(name)  # dated 1980
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def read(folder: str | Path) -> dict[str, Any]:
    """The record in a folder.

    Raises:
        UserError: it is missing or damaged.
    """
    path = Path(folder) / RECORD
    record = files.read_json(path)
    kinds = {"study": str, "study_digest": str, "machine": dict, "files": dict}
    if not isinstance(record, dict) or not all(isinstance(record.get(key), kind) for key, kind in kinds.items()):
        raise UserError(files.damaged(path, f"it must be a mapping with {', '.join(kinds)}"))
    return record


def check_recorded(place: str | Path) -> None:
    """Check that a study's files in `place`, some or all of them, are those of the record there.

    Raises:
        UserError: one differs, or the record is damaged.
    """
    for file in compare(read(Path(place) / FOLDER), place):
        if file.recorded and file.found and not file.agrees:
            raise UserError(files.damaged(Path(place) / file.name, f"its SHA-256 is not that in {FOLDER / RECORD}"))


def parameters(folder: str | Path) -> bytes:
    """The parameter file of a recorded study. Like what follows, it raises a UserError for damaged sources."""
    return _sources(folder)[PARAMS_FILE]


def recorded_code(folder: str | Path) -> str:
    """SHA-256 of the code of a recorded study: package, stages and dvc.yaml."""
    sources = _sources(folder)
    names = sorted(sources.keys() - {PARAMS_FILE, LOCK})
    return files.digest(*(part for name in names for part in (name, sources[name])))


def libraries(folder: str | Path) -> dict[str, str]:
    """Versions of a recorded study's libraries, by name, from requirements.lock."""
    lines = _sources(folder)[LOCK].decode().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def _sources(folder: str | Path) -> dict[str, bytes]:
    """Contents of the files in sources.zip, by name."""
    path, recorded = Path(folder) / SOURCES, read(folder).get("sources_sha256")  # older records have none
    try:
        if recorded not in (None, files.sha256(path)):
            raise zipfile.BadZipFile(f"its SHA-256 is not that in {RECORD}")
        with zipfile.ZipFile(path) as archive:
            sources = {name: archive.read(name) for name in archive.namelist()}
        if missing := [name for name in BESIDE if name not in sources]:
            raise zipfile.BadZipFile(f"it has no {', '.join(missing)}")
        sources[LOCK].decode()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: 'dvc repro' makes it") from None
    except Exception as error:  # a damaged archive raises zlib.error, struct.error, NotImplementedError and more
        raise UserError(files.damaged(path, str(error) or type(error).__name__)) from None
    return sources


def restore(folder: str | Path, place: str | Path, root: str | Path = ".") -> None:
    """Copy a recorded study to where it can be run: code and parameters from its record, the user's images and weights
    from this repository.

    Args:
        folder: holds record and sources.
        place: an empty folder.
        root: the repository's folder.

    Raises:
        UserError: the sources are damaged, or name a file outside `place`.
    """
    place, root = Path(place), Path(root)
    for name, content in _sources(folder).items():
        target = (place / name).resolve()
        if not target.is_relative_to(place.resolve()) or name.endswith("/"):
            raise UserError(f"{Path(folder) / SOURCES} names {name!r}, which is no file of a study")
        files.write_bytes(target, content)
    for inputs in OF_THE_USER:
        if (root / inputs).is_dir():
            shutil.copytree(root / inputs, place / inputs, copy_function=_link)
        (place / inputs).mkdir(parents=True, exist_ok=True)
    path = yaml_file.flatten(yaml_file.read(place / PARAMS_FILE)).get("data.path")
    if isinstance(path, str) and path[:1] not in "~/" and not (place / path).exists():
        text = (place / PARAMS_FILE).read_text(encoding="utf-8")
        changed = yaml_file.edit(text, [f"data.path={json.dumps(str((root / path).resolve()))}"])
        files.write_text(place / PARAMS_FILE, changed)  # images beside the repository


def _link(source: str, target: str) -> None:
    """Link a file to another place; copy it if the two are on different disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@dataclass(frozen=True)
class Compared:
    """A file of a repeated study.

    Attributes:
        name: its path.
        recorded, found: SHA-256 in the record and now; None if there is no file.
    """

    name: str
    recorded: str | None
    found: str | None

    @property
    def agrees(self) -> bool:
        return self.recorded == self.found

    def __str__(self) -> str:
        if self.agrees:
            return f"agrees   {self.found[:12]}  {self.name}"
        before, after = ((digest or "(missing)")[:12] for digest in (self.recorded, self.found))
        return f"DIFFERS  {before} -> {after}  {self.name}"


def compare(record: dict[str, Any], place: str | Path) -> list[Compared]:
    """The files of a record and of the study that was repeated in `place`."""
    recorded, found = record["files"], digests(place)
    return [Compared(name, recorded.get(name), found.get(name)) for name in recorded | found]


def differences(record: dict[str, Any], place: str | Path) -> str:
    """How the machine differs from the record, in words; "" if it does not."""
    now = read(Path(place) / FOLDER)["machine"]
    return "; ".join(
        f"{name} was {before} and is {now.get(name)}"
        for name, before in record["machine"].items()
        if now.get(name) != before
    )
