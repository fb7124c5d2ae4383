"""What a study leaves so that anybody can do it again: its sources, and the digest of every file that must come out."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassbox import config, files
from glassbox.errors import UserError

RECORD, SOURCES = "record.json", "sources.zip"
FOLDER = Path("reports/report")
# Folders and files that the same parameters, data and code make again, byte by byte: numbers, maps, weights.
MADE = (
    "data/prepared/data.json", "models", "reports/prepare", "reports/tune", "reports/train", "reports/evaluate",
    "reports/explain", "reports/score", "reports/report", "reports/summary.json",
)  # fmt: skip
COMPARED = (".json", ".csv", ".npz", ".safetensors")
LOCK = "requirements.lock"
BESIDE = ("params.yaml", "dvc.yaml", LOCK)  # what is needed of a study, besides its code
GIVEN = ("data/raw", "data/weights")  # what users put there
CODE = (".py", ".html", ".css", ".js")


def code(root: str | Path = ".") -> list[Path]:
    """The code of a study, relative to `root`: the package that is at work, which must lie in it, and the stages."""
    root = Path(root)
    found = [*(root / "src/glassbox").rglob("*"), *(root / "stages").glob("*.py")]
    return sorted(path.relative_to(root) for path in found if path.suffix in CODE)


def code_digest() -> str:
    """SHA-256 of the code that runs: the package and the stages."""
    package = Path(__file__).parent
    named = {path.relative_to(package).as_posix(): path for path in package.rglob("*") if path.suffix in CODE}
    named |= {path.as_posix(): path for path in Path("stages").glob("*.py")}
    return files.digest(*(part for name in sorted(named) for part in (name, named[name].read_bytes())))


def study_digest(params: config.Params, data_digest: str) -> str:
    """16 hex digits for the state of a study: parameters, data and code."""
    tree = json.dumps(params.model_dump(mode="json"), sort_keys=True)
    return files.digest(tree, data_digest, code_digest())[:16]


def digests(root: str | Path = ".") -> dict[str, str]:
    """SHA-256 of every file under `root` that must be the same in every rerun, by name."""
    return {name: files.sha256(Path(root) / name) for name in _made(Path(root))}


def _made(root: Path) -> Iterator[str]:
    for given in MADE:
        path = root / given
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix in COMPARED and file.name != RECORD:
                yield file.relative_to(root).as_posix()


def write(params: config.Params, data_digest: str) -> None:
    """Write the record of the study in this folder, and its sources, beside its report. To be called when all else is
    written.

    Args:
        params: of the study.
        data_digest: of its images.
    """
    machine = files.read_json(Path("reports/train") / files.TIMES)["machine"]
    record = {
        "study": params.study.name, "study_digest": study_digest(params, data_digest), "machine": machine,
        "files": digests(),
    }  # fmt: skip
    files.write_bytes(FOLDER / SOURCES, _zipped([Path(name) for name in BESIDE] + code()))
    files.write_json(FOLDER / RECORD, record)


def _zipped(paths: list[Path]) -> bytes:
    """An archive that depends on names and contents alone."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            entry = zipfile.ZipInfo(path.as_posix())  # of 1980
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def read(folder: str | Path) -> dict[str, Any]:
    """The record in a folder.

    Raises:
        UserError: it is missing or damaged.
    """
    return files.read_json(Path(folder) / RECORD)


def parameters(folder: str | Path) -> bytes:
    """The parameter file of a recorded study.

    Raises:
        UserError: the sources are damaged.
    """
    return _sources(folder)[config.PARAMS_FILE]


def recorded_code(folder: str | Path) -> str:
    """SHA-256 of the code of a recorded study: package, stages and dvc.yaml.

    Raises:
        UserError: the sources are damaged.
    """
    kept = _sources(folder)
    names = sorted(kept.keys() - {config.PARAMS_FILE, LOCK})
    return files.digest(*(part for name in names for part in (name, kept[name])))


def libraries(folder: str | Path) -> dict[str, str]:
    """Versions of the libraries of a recorded study, by name, as requirements.lock has them.

    Raises:
        UserError: the sources are damaged.
    """
    lines = _sources(folder)[LOCK].decode().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def _sources(folder: str | Path) -> dict[str, bytes]:
    """Files by name."""
    try:
        with zipfile.ZipFile(Path(folder) / SOURCES) as archive:
            kept = {name: archive.read(name) for name in archive.namelist()}
        if missing := [name for name in BESIDE if name not in kept]:
            raise zipfile.BadZipFile(f"it has no {', '.join(missing)}")
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{Path(folder) / SOURCES} cannot be read ({error}): run the study again") from None
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
    try:
        with zipfile.ZipFile(Path(folder) / SOURCES) as archive:
            for entry in archive.infolist():
                target = (place / entry.filename).resolve()
                if not target.is_relative_to(place.resolve()) or entry.is_dir():
                    raise UserError(f"{Path(folder) / SOURCES} names {entry.filename!r}, which is no file of a study")
                files.write_bytes(target, archive.read(entry))
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{Path(folder) / SOURCES} cannot be read ({error}): the study cannot be restored") from None
    for given in GIVEN:
        if (root / given).is_dir():
            shutil.copytree(root / given, place / given, copy_function=_link)
        (place / given).mkdir(parents=True, exist_ok=True)
    path = config.read(place / config.PARAMS_FILE).data.path
    if path is not None and not Path(path).expanduser().is_absolute() and not (place / path).exists():
        changed = config.edit(place / config.PARAMS_FILE, [f"data.path={json.dumps(str((root / path).resolve()))}"])
        files.write_text(place / config.PARAMS_FILE, changed)  # a place beside the repository


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
