"""The command line: `python -m glassbox --help`. `make` calls it."""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glassbox import __version__, tracking, workspace
from glassbox.checks import check_study
from glassbox.config import parameters
from glassbox.config.types import CNN
from glassbox.config.yaml_file import PARAMS_FILE
from glassbox.core import files
from glassbox.core.errors import UserError, cut, run
from glassbox.core.text import listed
from glassbox.data import outside_images
from glassbox.data.user_paths import shown
from glassbox.execution.ray_cluster import address
from glassbox.provenance import fingerprint, pipeline, record

STUDIES = Path("studies")
PARAMS = Path(PARAMS_FILE)
DATA = Path("data/prepared")
RECORDED = "recorded"  # folder of a restored study that holds what was recorded of it


def select(name: str, *changes: str) -> None:
    """Make studies/NAME.yaml, with `changes`, the parameter file; one edited by hand is kept, and that is said.

    Args:
        name: of the study; "" = keep the parameter file, with `changes`.
        changes: like "train.epochs=3".

    Raises:
        UserError: there is no such study or network, it is not valid with these changes, or a study is at work, whose
            next stage would be run with parameters of another one.
    """
    workspace.check_repository()
    chosen = STUDIES / f"{name}.yaml" if name else PARAMS
    if not chosen.is_file():
        have = ", ".join(sorted(path.stem for path in STUDIES.glob("*.yaml")))
        raise UserError(f"STUDY={name}: there is no {chosen}; there are {have}")
    wanted = parameters.edit(chosen, changes)
    current = PARAMS.read_bytes() if PARAMS.exists() else None
    if current == wanted.encode():
        return
    if (network := parameters.parse(wanted, chosen).model.name) != CNN:
        from glassbox.models import registry  # torchvision takes its time, and the CNN has no need of it

        registry.check_name(network)
    if who := workspace.at_work():
        raise UserError(
            f"{who} is at work on a study in this folder: wait for it, or stop it first; {PARAMS} is as it was"
        )
    if current is not None and current not in [path.read_bytes() for path in STUDIES.glob("*.yaml")]:
        kept = Path(f"{PARAMS}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
        files.write_bytes(kept, current)
        print(f"{PARAMS} was no shipped study: it is kept as {kept}")
    files.write_text(PARAMS, wanted)
    print(f"{PARAMS} is now {' with '.join([str(chosen), *([', '.join(changes)] if changes else [])])}")


def check() -> None:
    """Say in one sentence what is wrong with the parameter file, that the network cannot be explained as it asks, or
    that the cluster or MLflow's server does not answer, before DVC removes an output to make it again. Images where DVC
    does not look for changes are looked at here."""
    workspace.check_repository()
    workspace.mend()
    params = check_study()
    outside_images.watch(params.data)
    address.check(params.compute)
    if tracking.is_on():
        tracking.check()


def summary() -> None:
    """The end of `make study`: how well it does, which explanation to believe, where to look."""
    from glassbox.evaluation import chance_level
    from glassbox.report import calibration, contents
    from glassbox.report.study import read
    from glassbox.scoring import verdicts

    params = parameters.read()
    record.check(*fingerprint.STAGES)
    study = read(params)
    m, level = study.metrics, 100 * params.evaluate.confidence
    rows = contents.explainer_table(study)
    width = max((len(row["title"]) for row in rows), default=0)
    print(f"\nStudy {params.study.name}: {m['images']} test images, {len(study.card['classes'])} classes")
    print(
        f"  test accuracy  {100 * m['accuracy']:.2f} %  "
        f"({level:g} % interval {100 * m['accuracy_low']:.2f} to {100 * m['accuracy_high']:.2f} %)"
    )
    print(f"  balanced       {chance_level.balanced(m)}")
    print(f"  largest class  {100 * m['majority_share']:.2f} %  ({m['majority_class']})")
    print(f"  macro F1       {m['macro_f1']:.3f}")
    print(f"  ECE            {calibration.error(m, study.calibration, params.evaluate.calibration_bins)}")
    print(f"                 {study.calibration['reason']}")
    print(f"  {chance_level.sentence(m)}")
    measures = ["deletion_auc", "insertion_auc"]
    if any(row.get("excess_relevance_mass") for row in rows):
        measures.append("excess_relevance_mass")
    print("\nWhich explanation to believe (means with 95 % intervals; arrows point to better)")
    if rows:
        shown = contents.columns(study)["against the controls"]
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
    from glassbox.explaining import own_image
    from glassbox.figures.own_image import write

    if not path:
        raise UserError("IMAGE is not given: name a picture, as in 'make explain IMAGE=photo.jpg'")
    params = parameters.read()
    explained = own_image.explain(path, params)
    figure = write(explained, own_image.find(path).read_bytes(), params.explain.lime.regions)
    print(f"{explained.told()}\nFigure  {figure}\nMaps    {figure.with_suffix('.npz')}")


def compare(a: str, b: str) -> None:
    """Compare two finished studies on one page, and say in which metrics one is better, and what is undecided.

    Args:
        a, b: each the digest of a study, its row in MLflow by name or id, a DVC experiment, a git revision, or "." for
            the study in this folder.

    Raises:
        UserError: there is no such study, or the two have other test images.
    """
    from glassbox.comparing import studies
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
                both.append(studies.read(name, Path(place) / argument))
        studies.same_images(*both)
        data = next((d for d in (*(one.folder / DATA for one in both), DATA) if (d / "data.json").exists()), DATA)
        with naming(f"A={a}", both[0].folder), naming(f"B={b}", both[1].folder):
            made = studies.compare(*both, data)
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
        record.check(*fingerprint.STAGES)
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


def write_pipeline() -> None:
    """Write the code that each stage imports to dvc.yaml; needed after a change of imports."""
    changed = pipeline.write()
    print(f"dvc.yaml: the code of {listed(changed)} is new" if changed else "dvc.yaml is as it should be")


A_STUDY = "a study's digest, its row in MLflow, a DVC experiment, a git revision, or . for the one here"
# By name: what is called, what it is for, and its arguments in order.
COMMANDS: dict[str, tuple[Callable[..., None], str, dict[str, str]]] = {
    "select": (
        select,
        "make a study of studies/ the parameter file, with some values changed",
        {"NAME": "a study of studies/, or '' to keep the parameter file", "KEY=VALUE": "such as train.epochs=3"},
    ),
    "check": (check, "find what is wrong with the study before anything is run", {}),
    "summary": (summary, "how well the finished study does, and which explanation to believe", {}),
    "explain": (explain, "explain a picture of your own by every explainer", {"IMAGE": "the picture"}),
    "compare": (compare, "compare two finished studies on one page", {"A": A_STUDY, "B": "the other one"}),
    "restore": (
        restore,
        "put a recorded study into a folder where it can be run again",
        {"RUN": "a study's digest or row in MLflow, or '' for the one in reports/", "FOLDER": "an empty one"},
    ),
    "verify": (
        verify,
        "compare the files of a restored study, run again, with its record",
        {"FOLDER": "of the restored study"},
    ),
    "pipeline": (write_pipeline, "write the code that each stage imports to dvc.yaml", {}),
}


def parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    top = argparse.ArgumentParser(prog="glassbox", description="Train an image classifier and explain it.")
    top.add_argument("--version", action="version", version=f"glassbox {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (_, purpose, arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose)
        for argument, meaning in arguments.items():
            number = "*" if "=" in argument else 1
            command.add_argument("arguments", nargs=number, action="extend", metavar=argument, help=meaning)
        command.set_defaults(arguments=[])
    return top


def main() -> None:
    """Run the command that the arguments name."""
    given = parser().parse_args()
    function, *_ = COMMANDS[given.command]
    tracking.with_little_patience()
    function(*given.arguments)


def entry() -> None:
    """What the program `glassbox` runs."""
    run(main)
