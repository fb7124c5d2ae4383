"""The command line: `python -m glassbox --help`. `make` calls it. Wrong arguments raise a UserError."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from glassbox import __version__, tracking, workspace
from glassbox.checks import check_study
from glassbox.comparing import fetching
from glassbox.config import parameters
from glassbox.config.types import CNN, TUNED
from glassbox.config.yaml_file import PARAMS_FILE
from glassbox.core import files
from glassbox.core.errors import UserError, cut, run
from glassbox.core.text import listed
from glassbox.data import outside_images
from glassbox.data.user_paths import shown
from glassbox.execution.ray_cluster import address
from glassbox.provenance import fingerprint, pipeline, record
from glassbox.tracking import comparisons, lookup, store, ui

STUDIES = Path("studies")
PARAMS = Path(PARAMS_FILE)
DATA = Path("data/prepared")
RECORDED = "recorded"  # folder of a restored study that holds what was recorded of it


def select(name: str, *changes: str) -> None:
    """Copy studies/NAME.yaml, with changes, to the parameter file; an edited one is backed up first.

    Args:
        name: the study's name; "" = keep the parameter file, with `changes`.
        changes: like "train.epochs=3".

    Raises:
        UserError: a wrong argument, or a study is running here, whose next stage would read the new parameters.
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
    if (model := parameters.parse(wanted, chosen).model).name not in (CNN, TUNED):
        from glassbox.models import networks  # imports PyTorch

        networks.source_of(model.name, model.weights).check_name(networks.bare(model.name))
    if who := workspace.at_work():
        raise UserError(
            f"{who} is at work on a study in this folder: wait for it, or stop it first; {PARAMS} is as it was"
        )
    if current is not None and current not in [path.read_bytes() for path in STUDIES.glob("*.yaml")]:
        kept = Path(f"{PARAMS}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
        files.write_bytes(kept, current)
        print(f"{PARAMS} was no shipped study: it is kept as {kept}")
    files.write_text(PARAMS, wanted)
    print(f"{PARAMS} is now {chosen}{' with ' if changes else ''}{', '.join(changes)}")


def check() -> None:
    """Check parameters, network, cluster and MLflow's server before DVC removes an output to make it again.

    Images outside the repository, which DVC does not watch, are checked for changes.
    """
    workspace.check_repository()
    workspace.mend()
    params = check_study()
    outside_images.watch(params.data)
    address.check(params.compute)
    if tracking.is_on():
        store.check()


def demo() -> None:
    """Judge a bundled network on bundled images, and show the page."""
    import webbrowser

    from glassbox.demo import run  # imports PyTorch

    page = run()
    if ui.can_open_browser():
        webbrowser.open(page.as_uri())


def judge(*changes: str, anyway: bool = False, **given: str) -> None:
    """Judge a trained network of your own: explain it, and say which explanation to believe.

    It runs the study own-model in this folder, with the preprocessing of the weights where that is known. After
    *evaluate* it stops if outputs or preprocessing are not those that the owner knows. With --demo it judges a bundled
    network on bundled images instead, in any folder, within a minute.

    Args:
        changes: of other parameters, like "score.images=100".
        anyway: go on after such a finding.
        given: see `judging.changes`.
    """
    from glassbox import judging  # imports PyTorch
    from glassbox.report.first_page import PAGE, first_page

    select(judging.STUDY, *judging.changes(**given), *changes)
    check()
    start = time.monotonic()
    _reproduce("evaluate")
    if not anyway:
        judging.check_results()
    params = parameters.read()
    expected = judging.foretold(params)
    begun = time.monotonic()
    print(
        f"about {minutes(expected.explain)} to explain, then {PAGE}; after it about {minutes(expected.score)} to "
        f"score {params.score.images} images, then the report",
        flush=True,
    )
    _reproduce("explain")
    files.write_text(PAGE, first_page(params, files.read_json("models/model.json")))
    print(f"first page: {PAGE}, after {minutes(time.monotonic() - start)}", flush=True)
    _reproduce()
    took = time.monotonic() - begun
    print(f"explain, score and report took {minutes(took)}; foretold were {minutes(expected.explain + expected.score)}")
    summary()


def minutes(seconds: float) -> str:
    """A time in words.

    >>> minutes(40), minutes(130)
    ('40 s', '2.2 min')
    """
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def _reproduce(*stages: str) -> None:
    """Run DVC, up to a stage or to the end; if it fails, exit with its code; DVC prints the reason."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # dvc.yaml has `python`
    command = [sys.executable, "-m", "dvc", "repro", *stages]
    code = subprocess.run(command, check=False, env=os.environ | {"PATH": path}).returncode
    if code:
        sys.exit(code)


def summary() -> None:
    """Print the summary of the finished study: test scores, and which explanation to believe."""
    from glassbox.evaluation import chance_level
    from glassbox.report import calibration, contents
    from glassbox.report.study import read
    from glassbox.scoring import verdicts

    params = parameters.read()
    record.check(*fingerprint.STAGES)
    study = read(params)
    metrics, level = study.metrics, 100 * params.evaluate.confidence
    rows = contents.explainer_table(study)
    width = max((len(row["title"]) for row in rows), default=0)
    print(f"\nStudy {params.study.name}: {metrics['images']} test images, {len(study.card['classes'])} classes")
    interval = f"{100 * metrics['accuracy_low']:.2f} to {100 * metrics['accuracy_high']:.2f} %"
    print(f"  test accuracy  {100 * metrics['accuracy']:.2f} %  ({level:g} % interval {interval})")
    print(f"  balanced       {chance_level.balanced(metrics)}")
    print(f"  largest class  {100 * metrics['majority_share']:.2f} %  ({metrics['majority_class']})")
    print(f"  macro F1       {metrics['macro_f1']:.3f}")
    print(f"  ECE            {calibration.error(metrics, study.calibration, params.evaluate.calibration_bins)}")
    print(f"                 {study.calibration['reason']}")
    print(f"  {chance_level.sentence(metrics)}")
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
    if study.shortcuts:
        print("\n".join(["\nShortcuts", *(f"  {sentence}" for sentence in study.shortcuts)]))
    print("\nReport    reports/index.html (one file, opens in any browser)")
    print("Pictures  reports/explain/figures/ and reports/*/*.png")
    print("MLflow    make ui")


def restore(which: str, place: str) -> None:
    """Put a recorded study into an empty folder, where it can be run again.

    Args:
        which: the digest of a study, or its row in MLflow by name or id; "" = the study in reports/.
        place: the folder; the record is kept in it as well, for `verify`.
    """
    kept, here = Path(place) / RECORDED, record.FOLDER
    kept.mkdir(parents=True)
    if not which or ((here / record.RECORD).exists() and record.read(here)["study_digest"].startswith(which)):
        record.parameters(here)  # checks that both files are whole
        for name in (record.RECORD, record.SOURCES):
            files.write_bytes(kept / name, (here / name).read_bytes())
    else:
        lookup.fetch_record(which, kept)
    record.restore(kept, place)
    restored = record.read(kept)
    print(f"restored study {restored['study']}, {restored['study_digest']}; it is run again from its images on")


def verify(place: str) -> None:
    """Compare numbers, maps and weights of a restored study that was run again with its record.

    It exits with code 1 if the bytes of one file differ.
    """
    recorded = record.read(Path(place) / RECORDED)
    compared = record.compare(recorded, place)
    print("\n".join(map(str, compared)))
    n_same = sum(file.agrees for file in compared)
    outcome = f"{n_same} of {len(compared)} files agree"
    print(f"study {recorded['study']}, {recorded['study_digest']}: {outcome}", flush=True)
    if n_same < len(compared):
        machine = record.differences(recorded, place) or "nothing: processor, threads and versions are as they were"
        if any(file.name == f"{DATA / 'data.json'}" and not file.agrees for file in compared):
            print("the images are not those that were recorded: their source, or what lies in data/raw, has changed")
        print(f"what is different about the machine: {machine}\nthe files of the second run are in {place}", flush=True)
    if tracking.is_on():
        try:
            comparisons.note_verified(recorded["study_digest"], outcome)
        except UserError as error:  # does not change the outcome
            print(f"warning: the study's row in MLflow does not show this: {error}", file=sys.stderr)
    if n_same < len(compared):
        sys.exit(1)


def explain(path: str, *crops: str) -> None:
    """Explain a picture of your own, or a square of it, by every explainer."""
    from glassbox.explaining import own_image
    from glassbox.figures.own_image import write
    from glassbox.report import photo as pages

    if not path:
        raise UserError("IMAGE is not given: name a picture, as in 'make explain IMAGE=photo.jpg'")
    params = parameters.read()
    crop = " ".join(crops)
    explained = own_image.explain(path, params, square=own_image.square_of(crop))
    figure = write(explained, own_image.find(path).read_bytes() + crop.encode(), params.explain.lime.regions)
    ranking, page = own_image.REPORTS / "score/ranking.json", figure.with_suffix(".html")
    pages.write(explained, ranking, page)
    print("\n".join(filter(None, [explained.told(), pages.advice(ranking)[0]])))
    print(f"Page    {page}\nFigure  {figure}\nMaps    {figure.with_suffix('.npz')}")


def live(port: str) -> None:
    """Explain pictures that are dropped onto a page on this machine, until Ctrl-C."""
    from glassbox.live import serve

    if not port.isdecimal() or not 0 <= int(port) < 2**16:
        raise UserError(f"DEMO_PORT={port} must be a whole number of 0 to 65535; 0 = any that is free")
    serve(parameters.read(), int(port))


def compare(a: str, b: str) -> None:
    """Compare two finished studies on one page: in which metrics one is better, and which are undecided.

    Args:
        a, b: for each study, its digest, its row in MLflow by name or id, a DVC experiment, a git revision, or "." for
            the study in this folder.
    """
    from glassbox.comparing import studies
    from glassbox.report import compare as pages

    for argument, value in (("A", a), ("B", b)):
        if not value:
            raise UserError(f"{argument} is not given: name two studies, as in 'make compare A=slow B=fast'")
        if shown(value) != value:
            raise UserError(f"{argument}={shown(value)}: it must be text in UTF-8 without control characters")
    names = tuple("here" if value == "." else value for value in (a, b))
    page = Path("reports/compare") / f"{'-vs-'.join(re.sub(r'[^A-Za-z0-9._-]+', '_', name) for name in names)}.html"
    if len(page.name) > files.LONGEST:
        raise UserError(
            f"A={cut(a)} and B={cut(b)}: the page that is named after both would have a name of {len(page.name)} "
            f"bytes, but a file's has at most {files.LONGEST}: name the studies by their digests"
        )
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        both = []
        for argument, which, name in zip("AB", (a, b), names, strict=True):
            place = Path(temporary) / argument
            stack.enter_context(fetching.naming(f"{argument}={which}", place))
            fetching.fetch(argument, which, place)
            both.append(studies.read(name, place))
        studies.same_images(*both)
        folders = [*(study.folder / DATA for study in both), DATA]
        data = next((folder for folder in folders if (folder / "data.json").exists()), DATA)
        sides = studies.compare(*both, data)
    files.write_text(page, pages.page(sides))
    sentences = pages.sentences(sides)
    print("\n".join([*sentences, f"Page    {page}"]), flush=True)
    if tracking.is_on():
        study = sides.a.params.study.name
        comparisons.log_comparison(study, names, pages.summary(sides), pages.outcomes(sides), sentences, page)


def write_pipeline() -> None:
    """Write the code that each stage imports to dvc.yaml; needed after a change of imports."""
    changed = pipeline.write()
    print(f"dvc.yaml: the code of {listed(changed)} is new" if changed else "dvc.yaml is up to date")


JUDGED = {  # options of judge: what they mean, and whether they are needed
    "model": ("torchvision/NAME, timm/NAME, python:MODULE:FUNCTION, or another model.name", True),
    "weights": ("a file in data/weights/, or a name in the registry, like DEFAULT", True),
    "images": ("folder of test images, with a sub-folder for each class", True),
    "masks": ("where their evidence is: see data.masks", False),
    "classes": ("names of the outputs in their order: a file, or imagenet-1k", False),
    "name": ("of the study", False),
}
A_STUDY = "a study's digest, its row in MLflow, a DVC experiment, a git revision, or . for the one here"
# By name: the function, of whose docstring the first line is the command's help, and its arguments in order.
COMMANDS: dict[str, tuple[Callable[..., None], dict[str, str]]] = {
    "select": (
        select,
        {"NAME": "a study of studies/, or '' to keep the parameter file", "KEY=VALUE": "such as train.epochs=3"},
    ),
    "check": (check, {}),
    "summary": (summary, {}),
    "explain": (explain, {"IMAGE": "the picture", "[LEFT,TOP,SIDE]": "the square of it that is taken, pixels"}),
    "live": (live, {"PORT": "of 127.0.0.1"}),
    "compare": (compare, {"A": A_STUDY, "B": "the other one"}),
    "restore": (
        restore,
        {"RUN": "a study's digest or row in MLflow, or '' for the one in reports/", "FOLDER": "an empty folder"},
    ),
    "verify": (verify, {"FOLDER": "the folder of the restored study"}),
    "pipeline": (write_pipeline, {}),
}


def parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    top = argparse.ArgumentParser(prog="glassbox", description="Train an image classifier and explain it.")
    top.add_argument("--version", action="version", version=f"glassbox {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    command = commands.add_parser(
        "judge", help=str(judge.__doc__).partition("\n")[0], description=str(judge.__doc__).partition("Args:")[0]
    )
    command.add_argument("--demo", action="store_true", help="a bundled network and images; takes nothing else")
    for option, (meaning, needed) in JUDGED.items():
        command.add_argument(f"--{option}", default="", help=f"{'needed: ' if needed else ''}{meaning}")
    command.add_argument("--anyway", action="store_true", help="explain it whatever *evaluate* finds")
    command.add_argument("arguments", nargs="*", metavar="KEY=VALUE", help="other parameters, as score.images=100")
    for name, (function, arguments) in COMMANDS.items():
        purpose = str(function.__doc__).partition("\n")[0]
        command = commands.add_parser(name, help=purpose, description=purpose)
        for argument, meaning in arguments.items():
            number = "*" if "=" in argument or argument.startswith("[") else 1
            command.add_argument("arguments", nargs=number, action="extend", metavar=argument, help=meaning)
        command.set_defaults(arguments=[])
    return top


def check_options(is_demo: bool, changes: list[str], anyway: bool, given: dict[str, str]) -> None:
    """Check that `judge` has what it needs, and with --demo nothing else; arguments are those of `judge`.

    Raises:
        UserError: it has not.
    """
    options = [f"--{option}" for option, value in given.items() if value] + ["--anyway"] * anyway
    if is_demo and (more := [*options, *changes]):
        raise UserError(
            f"--demo judges a bundled network on bundled images and takes nothing else: leave out {listed(more)}"
        )
    missing = [f"--{option}" for option, (_, needed) in JUDGED.items() if needed and not given[option]]
    if missing and not is_demo:
        raise UserError(
            f"judge needs {listed(missing)}, or --demo alone, which judges a bundled network on bundled images"
        )


def main() -> None:
    """Run the command that the arguments name."""
    command_line = parser().parse_args()
    store.with_little_patience()
    if command_line.command == "judge":
        given = {option: getattr(command_line, option) for option in JUDGED}
        check_options(command_line.demo, command_line.arguments, command_line.anyway, given)
        if command_line.demo:
            demo()
        else:
            judge(*command_line.arguments, anyway=command_line.anyway, **given)
    else:
        COMMANDS[command_line.command][0](*command_line.arguments)


def entry() -> None:
    """The program `glassbox`."""
    run(main)
