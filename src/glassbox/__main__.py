"""What `make` asks of the library: `python -m glassbox select NAME [KEY=VALUE ...] | check | summary |
restore RUN FOLDER | verify FOLDER | explain IMAGE | compare A B`."""

import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from glassbox import config, files, postgres, reach, record, tracking
from glassbox.data import outside
from glassbox.data.places import shown
from glassbox.errors import UserError, cut, run

STUDIES = Path("studies")
PARAMS = Path(config.PARAMS_FILE)
DATA = Path("data/prepared")
DVC = Path(".dvc/tmp")
RECORDED = "recorded"  # folder of a restored study that holds what was recorded of it


def check_repository() -> None:
    """Whether DVC can work in this folder.

    Raises:
        UserError: it is in no git repository, as when the project was downloaded as an archive, or has braces in its
            path, which stop DVC's progress bar after a stage, or the user's home, where DVC reads settings, is a file.
    """
    here, home = Path.cwd(), Path(os.environ.get("HOME", "/"))
    if home.exists() and not home.is_dir():
        raise UserError(f"HOME is {home}, which is no folder: set it to one, DVC reads its settings there")
    if set("{}") & set(str(here)):
        raise UserError(f"{here} has braces in its path, which DVC takes for placeholders: rename that folder")
    settings = [path.read_text() for path in Path(".dvc").glob("config*") if path.is_file()]
    if any((folder / ".git").exists() for folder in (here, *here.parents)) or "no_scm" in "".join(settings):
        return
    raise UserError(f"{here} is in no git repository, and DVC needs one: run 'git init', then the same command again")


def select(name: str, *changes: str) -> None:
    """Make studies/NAME.yaml, with `changes`, the parameter file; one edited by hand is kept, and that is said.

    Args:
        name: of the study; "" = keep the parameter file, with `changes`.
        changes: like "train.epochs=3".

    Raises:
        UserError: there is no such study or network, it is not valid with these changes, or a study is at work, whose
            next stage would be run with parameters of another one.
    """
    check_repository()
    chosen = STUDIES / f"{name}.yaml" if name else PARAMS
    if not chosen.is_file():
        have = ", ".join(sorted(path.stem for path in STUDIES.glob("*.yaml")))
        raise UserError(f"STUDY={name}: there is no {chosen}; there are {have}")
    wanted = config.edit(chosen, changes)
    current = PARAMS.read_bytes() if PARAMS.exists() else None
    if current == wanted.encode():
        return
    if (network := config.parse(wanted, chosen).model.name) != config.CNN:
        from glassbox.models import registry  # torchvision takes its time, and the CNN has no need of it

        registry.check_name(network)
    if who := at_work():
        raise UserError(
            f"{who} is at work on a study in this folder: wait for it, or stop it first; {PARAMS} is as it was"
        )
    if current is not None and current not in [path.read_bytes() for path in STUDIES.glob("*.yaml")]:
        kept = Path(f"{PARAMS}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
        files.write_bytes(kept, current)
        print(f"{PARAMS} was no shipped study: it is kept as {kept}")
    files.write_text(PARAMS, wanted)
    print(f"{PARAMS} is now {' with '.join([str(chosen), *([', '.join(changes)] if changes else [])])}")


def at_work() -> str | None:
    """Who is running a study in this folder, in words: a stage, which holds a lock, or DVC, which holds another between
    two stages, and notes its process while one runs."""
    for lock in sorted(Path("data").glob(".*.lock")):
        if who := files.holder(lock):
            return who
    for path in (DVC / "lock", DVC / "rwlock.lock"):
        if path.exists():
            with path.open("r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return "dvc"
    return next((f"process {pid} (dvc)" for pid in _noted_by_dvc() if psutil.pid_exists(pid)), None)


def _noted_by_dvc() -> set[int]:
    """Processes that read or write something for DVC."""
    if not (DVC / "rwlock").exists():
        return set()
    try:
        noted = json.loads((DVC / "rwlock").read_text())
    except ValueError:  # half written: see `mend`
        return set()
    writers = [info["pid"] for info in noted.get("write", {}).values()]
    return {*writers, *(info["pid"] for readers in noted.get("read", {}).values() for info in readers)}


def mend() -> None:
    """Put away what DVC was writing when it was killed. It writes these files in place, and refuses half of one for
    ever; without them it looks itself what is up to date."""
    if at_work():
        return
    for path, parse in ((DVC / "rwlock", json.loads), (Path("dvc.lock"), YAML(typ="safe", pure=True).load)):
        try:
            whole = not path.exists() or isinstance(parse(path.read_text(encoding="utf-8")), dict)
        except (ValueError, YAMLError):
            whole = False
        if not whole:
            path.replace(kept := path.with_name(f"{path.name}.damaged"))
            print(f"{path} was cut off when DVC was stopped: it is now {kept}")


def check() -> None:
    """Say in one sentence what is wrong with the parameter file, that the network cannot be explained as it asks, or
    that the cluster, MLflow's server or the search's database does not answer, before DVC removes an output to make it
    again. Images where DVC does not look for changes are looked at here."""
    check_repository()
    mend()
    params = config.read()
    outside.watch(params.data)
    model, storage = params.model, params.tune.storage
    if model.name != config.CNN:
        from glassbox import models  # torchvision takes its time, and the CNN has no need of it

        for sentence in models.check():
            print(f"note: {sentence}")
    reach.check(params.compute)
    if storage:
        postgres.check(storage)
    if tracking.is_on():
        tracking.check()


def summary() -> None:
    """The end of `make study`: how well it does, which explanation to believe, where to look."""
    from glassbox import chance, report, verdicts
    from glassbox.report import calibration

    params = config.read()
    record.check(*record.STAGES, "report")
    study = report.read(params)
    m, level = study.metrics, 100 * params.evaluate.confidence
    rows = report.explainer_table(study)
    width = max((len(row["title"]) for row in rows), default=0)
    print(f"\nStudy {params.study.name}: {m['images']} test images, {len(study.card['classes'])} classes")
    print(
        f"  test accuracy  {100 * m['accuracy']:.2f} %  "
        f"({level:g} % interval {100 * m['accuracy_low']:.2f} to {100 * m['accuracy_high']:.2f} %)"
    )
    print(f"  balanced       {chance.balanced(m)}")
    print(f"  largest class  {100 * m['majority_share']:.2f} %  ({m['majority_class']})")
    print(f"  macro F1       {m['macro_f1']:.3f}")
    print(f"  ECE            {calibration.error(m, study.calibration, params.evaluate.calibration_bins)}")
    print(f"                 {study.calibration['reason']}")
    print(f"  {chance.sentence(m)}")
    measures = ["deletion_auc", "insertion_auc"]
    if any(row.get("excess_relevance_mass") for row in rows):
        measures.append("excess_relevance_mass")
    print("\nWhich explanation to believe (means with 95 % intervals; arrows point to better)")
    if rows:
        shown = report.columns(study)["against the controls"]
        print(f"  {'':{width}}  {'  '.join(f'{shown[name]:23}' for name in measures)}  ms a map")
    for row in rows:
        cells = "  ".join(f"{row.get(name, ''):23}" for name in measures)
        print(f"  {row['title']:{width}}  {cells}  {row['milliseconds']:.3g}")
    if study.ranking is not None:
        print(f"  {verdicts.overview(study.ranking)}")
    for sentence in study.verdicts:
        print(f"  {sentence}")
    print("\nReport    reports/index.html (one file, opens in any browser)")
    print("Pictures  reports/explain/figures/ and reports/*/*.png")
    print("MLflow    make ui")


def restore(which: str, place: str) -> None:
    """Put a recorded study into an empty folder, where it can be run again.

    Args:
        which: the digest of a study, or its row in MLflow by name or id; "" = the study in reports/.
        place: the folder; what was recorded is kept in it as well, for `verify`.

    Raises:
        UserError: there is no such study, or it has no record.
    """
    kept, here = Path(place) / RECORDED, record.FOLDER
    kept.mkdir(parents=True)
    if not which or ((here / record.RECORD).exists() and record.read(here)["study_digest"].startswith(which)):
        record.parameters(here)  # whether both are whole
        for name in (record.RECORD, record.SOURCES):
            files.write_bytes(kept / name, (here / name).read_bytes())
    else:
        tracking.fetch_record(which, kept)
    record.restore(kept, place)
    found = record.read(kept)
    print(f"restored study {found['study']}, {found['study_digest']}; it runs once more, from its images on")


def verify(place: str) -> None:
    """Say of every file of a recorded study that holds numbers, maps or weights whether the study that was run again in
    `place` has made the same bytes; exit code 1 where not."""
    recorded = record.read(Path(place) / RECORDED)
    files_of_both = record.compare(recorded, place)
    print("\n".join(map(str, files_of_both)))
    same = sum(file.agrees for file in files_of_both)
    outcome = f"{same} of {len(files_of_both)} files agree"
    print(f"study {recorded['study']}, {recorded['study_digest']}: {outcome}", flush=True)
    if same < len(files_of_both):
        told = record.differences(recorded, place) or "nothing: processor, threads and versions are as they were"
        if any(file.name == f"{DATA / 'data.json'}" and not file.agrees for file in files_of_both):
            print("the images are not those that were recorded: their source, or what lies in data/raw, has changed")
        print(f"what is different about the machine: {told}\nthe files of the second run are in {place}", flush=True)
    if tracking.is_on():
        try:
            tracking.note_verified(recorded["study_digest"], outcome)
        except UserError as error:  # the verdict is told, and stands
            print(f"warning: the study's row in MLflow does not show this: {error}", file=sys.stderr)
    if same < len(files_of_both):
        sys.exit(1)


def explain(path: str) -> None:
    """Explain a picture of one's own by every explainer, and say where the figure is.

    Raises:
        UserError: it cannot be read, or there is no classifier yet.
    """
    from glassbox import photo

    if not path:
        raise UserError("IMAGE is not given: name a picture, as in 'make explain IMAGE=photo.jpg'")
    params = config.read()
    explained = photo.explain(path, params)
    figure = photo.write(explained, photo.find(path).read_bytes(), params.explain.lime.regions)
    print(f"{explained.told()}\nFigure  {figure}\nMaps    {figure.with_suffix('.npz')}")


def compare(a: str, b: str) -> None:
    """Compare two finished studies on one page, and say in which metrics one is better, and what is undecided.

    Args:
        a, b: each the digest of a study, its row in MLflow by name or id, a DVC experiment, a git revision, or "." for
            the study in this folder.

    Raises:
        UserError: there is no such study, or the two have other test images.
    """
    from glassbox import sides
    from glassbox.report import compare as pages

    for name, given in (("A", a), ("B", b)):
        if not given:
            raise UserError(f"{name} is not given: name two studies, as in 'make compare A=slow B=fast'")
        if shown(given) != given:
            raise UserError(f"{name}={shown(given)}: it must be text in UTF-8 without control characters")
    names = tuple("here" if given == "." else given for given in (a, b))
    page = Path("reports/compare") / f"{'-vs-'.join(re.sub(r'[^A-Za-z0-9._-]+', '_', name) for name in names)}.html"
    if len(page.name) > files.LONGEST:
        raise UserError(
            f"A={cut(a)} and B={cut(b)}: the page that is named after both would have a name of {len(page.name)} "
            f"bytes, but a file's has at most {files.LONGEST}: name the studies by their digests"
        )
    with tempfile.TemporaryDirectory() as place:
        both = []
        for argument, given, name in zip("AB", (a, b), names, strict=True):
            with naming(f"{argument}={given}", Path(place) / argument):
                fetch(argument, given, Path(place) / argument)
                both.append(sides.read(name, Path(place) / argument))
        sides.same_images(*both)
        data = next((d for d in (*(one.folder / DATA for one in both), DATA) if (d / "data.json").exists()), DATA)
        with naming(f"A={a}", both[0].folder), naming(f"B={b}", both[1].folder):
            made = sides.compare(*both, data)
    files.write_text(page, pages.page(made))
    print("\n".join([*pages.sentences(made), f"Page    {page}"]), flush=True)
    if tracking.is_on():
        tracking.log_comparison(
            made.a.params.study.name, names, pages.summary(made), pages.outcomes(made), pages.sentences(made), page
        )


@contextmanager
def naming(study: str, place: Path) -> Iterator[None]:
    """Let a sentence about a file name the study that it is of, and not the folder that it was fetched to."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(f"{place}/", f"{study}: ")) from None


def fetch(name: str, which: str, place: Path) -> None:
    """Put params.yaml, reports/ and models/ of a finished study into `place`, and data/prepared where it comes from
    DVC.

    Args:
        name: "A" or "B", for messages.
        which: see `compare`.
        place: a folder to be made.

    Raises:
        UserError: there is no such study.
    """
    place.mkdir(parents=True)
    if which == ".":
        for path in (PARAMS, Path("reports"), Path("models")):
            if not path.exists():
                raise UserError(f"{name}=.: there is no {path} here: 'dvc repro' makes it")
            (place / path).symlink_to(path.resolve())
        record.check(*record.STAGES, "report")
        return
    if tracking.is_on():
        with suppress(tracking.NoSuchStudy):  # then it may be one that only DVC knows
            tracking.fetch_study(which, place, name)
            return
    for path in (PARAMS, Path("reports"), Path("models"), DATA):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        command = ["dvc", "get", ".", str(path), "--rev", which, "-o", str(place / path)]
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            told = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
            reason = cut(told[0]) if told else f"dvc ended with {done.returncode}"
            raise UserError(
                f"{name}={which}: no row of MLflow is called so, and as a DVC experiment or git revision it has no "
                f"{path} ({reason})"
            )


def main() -> None:
    commands = {
        "select": select, "check": check, "summary": summary, "restore": restore, "verify": verify, "explain": explain,
        "compare": compare,
    }  # fmt: skip
    least = {"select": 1, "restore": 2, "verify": 1, "explain": 1, "compare": 2}
    name, *arguments = sys.argv[1:] or [""]
    wanted = least.get(name, 0)
    if name not in commands or not (len(arguments) == wanted or (name == "select" and len(arguments) > wanted)):
        raise UserError(
            "usage: python -m glassbox select NAME [KEY=VALUE ...] | check | summary | restore RUN FOLDER | verify "
            "FOLDER | explain IMAGE | compare A B"
        )
    tracking.with_little_patience()
    commands[name](*arguments)


if __name__ == "__main__":
    run(main)
