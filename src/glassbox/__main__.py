"""What `make` asks of the library: `python -m glassbox select NAME | check | summary`."""

import shutil
import sys
import time
from pathlib import Path

from glassbox import config
from glassbox.errors import UserError, run

STUDIES = Path("studies")
PARAMS = Path(config.PARAMS_FILE)


def select(name: str) -> None:
    """Make studies/NAME.yaml the parameter file; one that was edited by hand is kept beside it, and that is said.

    Raises:
        UserError: there is no such study, or it is not valid.
    """
    chosen = STUDIES / f"{name}.yaml"
    if not chosen.is_file():
        have = ", ".join(sorted(path.stem for path in STUDIES.glob("*.yaml")))
        raise UserError(f"STUDY={name}: there is no {chosen}; there are {have}")
    config.read(chosen)
    if PARAMS.exists() and PARAMS.read_bytes() == chosen.read_bytes():
        return
    if PARAMS.exists() and PARAMS.read_bytes() not in [path.read_bytes() for path in STUDIES.glob("*.yaml")]:
        kept = Path(f"{PARAMS}.{time.strftime('%Y%m%d-%H%M%S')}.bak")
        shutil.copy2(PARAMS, kept)
        print(f"{PARAMS} was edited by hand: it is kept as {kept}")
    shutil.copyfile(chosen, PARAMS)
    print(f"{PARAMS} is now {chosen}")


def check() -> None:
    """Say in one sentence what is wrong with the parameter file, before DVC removes an output to make it anew."""
    config.read()


def summary() -> None:
    """The end of `make study`: how well it does, which explanation to believe, where to look."""
    from glassbox import report

    params = config.read()
    study = report.read(params)
    m, level = study.metrics, 100 * params.evaluate.confidence
    rows = report.explainer_table(study.scorecard)
    width = max(len(row["title"]) for row in rows)
    print(f"\nStudy {params.study.name}: {m['images']} test images, {len(study.card['classes'])} classes")
    print(
        f"  test accuracy  {100 * m['accuracy']:.2f} %  "
        f"({level:g} % interval {100 * m['accuracy_low']:.2f} to {100 * m['accuracy_high']:.2f} %)"
    )
    print(f"  macro F1       {m['macro_f1']:.3f}")
    print(f"\nExplainers ({rows[0]['n']} images, means with 95 % intervals; arrows point to better)")
    print(f"  {'':{width}}  {'deletion AUC ↓':22}  {'insertion AUC ↑':22}  seconds a map")
    for row in rows:
        print(f"  {row['title']:{width}}  {row['deletion_auc']:22}  {row['insertion_auc']:22}  {row['seconds']}")
    for sentence in report.verdicts(study.scorecard):
        print(f"  {sentence}")
    print("\nReport    reports/index.html (one file, opens in any browser)")
    print("Pictures  reports/explain/figures/ and reports/*/*.png")
    print("MLflow    make ui")


def main() -> None:
    commands = {"select": select, "check": check, "summary": summary}
    name, *arguments = sys.argv[1:] or [""]
    if name not in commands or len(arguments) != (name == "select"):
        raise UserError(f"usage: python -m glassbox {' | '.join(commands)} (select takes the name of a study)")
    commands[name](*arguments)


if __name__ == "__main__":
    run(main)
