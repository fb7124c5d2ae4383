"""What `make` asks of the library: `python -m glassbox select NAME [KEY=VALUE ...] | check | summary`."""

import sys
import time
from pathlib import Path

from glassbox import config, files, tracking
from glassbox.errors import UserError, run

STUDIES = Path("studies")
PARAMS = Path(config.PARAMS_FILE)


def select(name: str, *changes: str) -> None:
    """Make studies/NAME.yaml, with `changes`, the parameter file; one edited by hand is kept, and that is said.

    Args:
        name: of the study; "" = keep the parameter file, with `changes`.
        changes: like "train.epochs=3".

    Raises:
        UserError: there is no such study, or it is not valid with these changes.
    """
    chosen = STUDIES / f"{name}.yaml" if name else PARAMS
    if not chosen.is_file():
        have = ", ".join(sorted(path.stem for path in STUDIES.glob("*.yaml")))
        raise UserError(f"STUDY={name}: there is no {chosen}; there are {have}")
    wanted = config.edit(chosen, changes)
    current = PARAMS.read_bytes() if PARAMS.exists() else None
    if current == wanted.encode():
        return
    if current is not None and current not in [path.read_bytes() for path in STUDIES.glob("*.yaml")]:
        kept = Path(f"{PARAMS}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
        with files.replacing(kept) as partial:
            partial.write_bytes(current)
        print(f"{PARAMS} was no shipped study: it is kept as {kept}")
    files.write_text(PARAMS, wanted)
    print(f"{PARAMS} is now {' with '.join([str(chosen), *([', '.join(changes)] if changes else [])])}")


def check() -> None:
    """Say in one sentence what is wrong with the parameter file, or that MLflow's server does not answer, before DVC
    removes an output to make it anew."""
    model = config.read().model
    if model.name != config.CNN:
        from glassbox.models import registry  # torchvision takes its time, and the CNN has no need of it

        registry.check(model.name, model.weights)
    if tracking.is_on():
        tracking.check()


def summary() -> None:
    """The end of `make study`: how well it does, which explanation to believe, where to look."""
    from glassbox import report

    params = config.read()
    study = report.read(params)
    m, level = study.metrics, 100 * params.evaluate.confidence
    rows = report.explainer_table(study)
    width = max((len(row["title"]) for row in rows), default=0)
    print(f"\nStudy {params.study.name}: {m['images']} test images, {len(study.card['classes'])} classes")
    print(
        f"  test accuracy  {100 * m['accuracy']:.2f} %  "
        f"({level:g} % interval {100 * m['accuracy_low']:.2f} to {100 * m['accuracy_high']:.2f} %)"
    )
    print(f"  macro F1       {m['macro_f1']:.3f}")
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
    for sentence in report.verdicts(study):
        print(f"  {sentence}")
    print("\nReport    reports/index.html (one file, opens in any browser)")
    print("Pictures  reports/explain/figures/ and reports/*/*.png")
    print("MLflow    make ui")


def main() -> None:
    commands = {"select": select, "check": check, "summary": summary}
    name, *arguments = sys.argv[1:] or [""]
    if name not in commands or bool(arguments) != (name == "select"):
        raise UserError("usage: python -m glassbox select NAME [KEY=VALUE ...] | check | summary")
    commands[name](*arguments)


if __name__ == "__main__":
    run(main)
