"""What a study leaves so that anybody can do it again: its sources, and the digest of every file that must come out.

Each stage also writes the digests of all its files (`seal`). DVC takes a file from its cache as it lies there, damaged
or not, so whoever uses it looks first (`check`).
"""

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
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
# Folders and files that the same parameters, data and code make again, byte by byte: numbers, maps, weights.
MADE = (
    "data/prepared/data.json",
    "models",
    "reports/prepare",
    "reports/tune",
    "reports/train",
    "reports/evaluate",
    "reports/explain",
    "reports/score",
    "reports/report",
    "reports/summary.json",
)
COMPARED = (".json", ".csv", ".npz", ".safetensors")
LOCK = "requirements.lock"
CHECKS = "glassbox.checks"  # decides no result, so no stage depends on it, and is needed to run one
BESIDE = ("params.yaml", "dvc.yaml", LOCK)  # what is needed of a study, besides its code
GIVEN = ("data/raw", "data/weights")  # what users put there
SHA256 = re.compile("[0-9a-f]{64}")


def study_digest(values: Mapping[str, Any], data_digest: str) -> str:
    """16 hex digits for the state of a study: parameters, data and code.

    Args:
        values: plain ones, of the parameter file.
        data_digest: of its images.
    """
    tree = json.dumps(_alike(values), sort_keys=True, default=str)
    return files.digest(tree, data_digest, fingerprint.digest(*fingerprint.SCRIPTS))[:16]


def _alike(value: Any) -> Any:
    """The same for 1 and 1.0, which are the same parameter; every key as text."""
    if isinstance(value, Mapping):
        return {str(key): _alike(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_alike(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def digests(root: str | Path = ".") -> dict[str, str]:
    """SHA-256 of every file under `root` that must be the same in every rerun, by name."""
    return {name: files.sha256(Path(root) / name) for name in _made(Path(root))}


def _made(root: Path) -> Iterator[str]:
    for given in MADE:
        path = root / given
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix in COMPARED and file.name != RECORD:
                yield file.relative_to(root).as_posix()


def seal(folder: str | Path, *beside: str | Path) -> Path:
    """Write the digests of the files of a stage, in the form of sha256sum, to files.sha256: the same in every rerun, so
    timing.yaml, which has a checksum of its own, is not among them. To be called when all are written.

    Args:
        folder: of the stage, below reports/.
        beside: its other files and folders.

    Returns:
        The folder.
    """
    sums = Path(folder) / SUMS
    found = [file for path in map(Path, (folder, *beside)) for file in (path.rglob("*") if path.is_dir() else [path])]
    names = sorted(file.as_posix() for file in found if file.is_file() and file.name not in (SUMS, files.TIMES))
    files.write_text(sums, "".join(f"{files.sha256(name)}  {name}\n" for name in names))
    return Path(folder)


def check(*stages: str) -> None:
    """Whether the files of stages are as they wrote them; those in this folder.

    Args:
        stages: by name.

    Raises:
        UserError: one is missing or is not; it is named, with how to restore it.
    """
    for stage in stages:
        sums = Path("reports") / stage / SUMS
        try:
            pairs = [line.split("  ", 1) for line in sums.read_bytes().decode().removesuffix("\n").split("\n")]
        except FileNotFoundError:
            raise UserError(f"{sums} is missing: 'dvc repro' makes it") from None
        except (OSError, ValueError) as error:
            raise UserError(files.damaged(sums, str(error))) from None
        if any(len(pair) != 2 or not SHA256.fullmatch(pair[0]) for pair in pairs):
            raise UserError(files.damaged(sums, "it has lines that are no SHA-256 and file"))
        for written, name in pairs:
            try:
                found = files.sha256(name)
            except FileNotFoundError:
                raise UserError(f"{name}, which {sums} names, is missing: 'dvc repro' makes it") from None
            except (OSError, ValueError) as error:
                raise UserError(f"{name}, which {sums} names, cannot be read ({error})") from None
            if found != written:
                raise UserError(files.damaged(name, f"its SHA-256 is not that in {sums}"))
        times = sums.with_name(files.TIMES)  # other ones in every rerun, so with a checksum of their own
        if times.exists():
            try:
                files.read_json(times)
            except UserError:
                raise UserError(files.damaged(times, f"it is no JSON with its {files.CHECKSUM}")) from None


def write(values: Mapping[str, Any], data_digest: str) -> None:
    """Write the record of the study in this folder, and its sources, beside its report. To be called when all else is
    written.

    Args:
        values: plain ones, of its parameter file.
        data_digest: of its images.
    """
    machine = files.read_json(Path("reports/train") / files.TIMES)["machine"]
    sources = fingerprint.sources(*fingerprint.SCRIPTS, CHECKS)
    code = {path.relative_to(fingerprint.ROOT).as_posix(): path for path in sources}
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
    """An archive that depends on names and contents alone."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in paths.items():
            entry = zipfile.ZipInfo(name)  # of 1980
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def read(folder: str | Path) -> dict[str, Any]:
    """The record in a folder.

    Raises:
        UserError: it is missing or damaged.
    """
    path = Path(folder) / RECORD
    found = files.read_json(path)
    kinds = {"study": str, "study_digest": str, "machine": dict, "files": dict}
    if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in kinds.items()):
        raise UserError(files.damaged(path, f"it must be a mapping with {', '.join(kinds)}"))
    return found


def check_recorded(place: str | Path) -> None:
    """Whether the files of a study that lie in `place`, some or all, are those of its record there.

    Raises:
        UserError: one is not, or the record is damaged.
    """
    for file in compare(read(Path(place) / FOLDER), place):
        if file.recorded and file.found and not file.agrees:
            raise UserError(files.damaged(Path(place) / file.name, f"its SHA-256 is not that in {FOLDER / RECORD}"))


def parameters(folder: str | Path) -> bytes:
    """The parameter file of a recorded study.

    Raises:
        UserError: the sources are damaged.
    """
    return _sources(folder)[PARAMS_FILE]


def recorded_code(folder: str | Path) -> str:
    """SHA-256 of the code of a recorded study: package, stages and dvc.yaml.

    Raises:
        UserError: the sources are damaged.
    """
    kept = _sources(folder)
    names = sorted(kept.keys() - {PARAMS_FILE, LOCK})
    return files.digest(*(part for name in names for part in (name, kept[name])))


def libraries(folder: str | Path) -> dict[str, str]:
    """Versions of the libraries of a recorded study, by name, as requirements.lock has them.

    Raises:
        UserError: the sources are damaged.
    """
    lines = _sources(folder)[LOCK].decode().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def _sources(folder: str | Path) -> dict[str, bytes]:
    """Files by name.

    Raises:
        UserError: the sources are damaged.
    """
    path, recorded = Path(folder) / SOURCES, read(folder).get("sources_sha256")  # older records have none
    try:
        if recorded not in (None, files.sha256(path)):
            raise zipfile.BadZipFile(f"its SHA-256 is not that in {RECORD}")
        with zipfile.ZipFile(path) as archive:
            kept = {name: archive.read(name) for name in archive.namelist()}
        if missing := [name for name in BESIDE if name not in kept]:
            raise zipfile.BadZipFile(f"it has no {', '.join(missing)}")
        kept[LOCK].decode()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: 'dvc repro' makes it") from None
    except Exception as error:  # of a damaged archive: zlib.error, struct.error, NotImplementedError and more
        raise UserError(files.damaged(path, str(error) or type(error).__name__)) from None
    return kept


def restore(folder: str | Path, place: str | Path, root: str | Path = ".") -> None:
    """Put a recorded study to where it can be run: code and parameters from its record, images and weights that users
    provided from this repository.

    Args:
        folder: with record and sources.
        place: an empty folder.
        root: of the repository.

    Raises:
        UserError: the sources are damaged, or name a file outside of `place`.
    """
    place, root = Path(place), Path(root)
    for name, content in _sources(folder).items():
        target = (place / name).resolve()
        if not target.is_relative_to(place.resolve()) or name.endswith("/"):
            raise UserError(f"{Path(folder) / SOURCES} names {name!r}, which is no file of a study")
        files.write_bytes(target, content)
    for given in GIVEN:
        if (root / given).is_dir():
            shutil.copytree(root / given, place / given, copy_function=_link)
        (place / given).mkdir(parents=True, exist_ok=True)
    path = yaml_file.flatten(yaml_file.read(place / PARAMS_FILE)).get("data.path")
    if isinstance(path, str) and path[:1] not in "~/" and not (place / path).exists():
        text = (place / PARAMS_FILE).read_text(encoding="utf-8")
        changed = yaml_file.edit(text, [f"data.path={json.dumps(str((root / path).resolve()))}"])
        files.write_text(place / PARAMS_FILE, changed)  # a place beside the repository


def _link(source: str, target: str) -> None:
    """The same file at another place; a copy where the two lie on different disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@dataclass(frozen=True)
class Compared:
    """A file of a study that was done again.

    Attributes:
        name: of the file.
        recorded, found: SHA-256 of both, None where there is none.
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
    """Every file of a record beside that of the study which was done again in `place`."""
    recorded, found = record["files"], digests(place)
    names = [*recorded, *(name for name in found if name not in recorded)]
    return [Compared(name, recorded.get(name), found.get(name)) for name in names]


def differences(record: dict[str, Any], place: str | Path) -> str:
    """What of the machine is not as it was, in words; "" when nothing is."""
    now = read(Path(place) / FOLDER)["machine"]
    return "; ".join(
        f"{name} was {before} and is {now.get(name)}"
        for name, before in record["machine"].items()
        if now.get(name) != before
    )
