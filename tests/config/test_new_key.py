"""A new key of a section makes DVC rerun the stages that load it, the report, and no others."""

from pathlib import Path

from conftest import NAMES, clone, ran, shell
from ruamel.yaml import YAML


def test_a_new_key_reruns_the_stages_of_its_section_and_no_others(tmp_path):
    """In a project that DVC takes for a finished study. `tests/test_pipeline.py` checks the sections of all stages."""
    project = clone(tmp_path / "project")
    stages = YAML(typ="safe", pure=True).load((project / "dvc.yaml").read_text())["stages"]
    outs = [out if isinstance(out, str) else next(iter(out)) for name in NAMES for out in stages[name]["outs"]]
    read_by_others = ["reports/tune/best.json", "reports/evaluate/predictions.csv", "reports/evaluate/calibration.json"]
    for path in [*(project / out for out in outs if Path(out).suffix), *(project / name for name in read_by_others)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    for out in outs:
        if not Path(out).suffix:
            (project / out).mkdir(parents=True, exist_ok=True)
            (project / out / "something").write_text(out)
    shell("dvc", "commit", "--force", "--quiet", cwd=project)
    for section, head in (("src/glassbox/config/tune.py", "class Tune(Section):\n"), ("params.yaml", "\ntune:\n")):
        text = (project / section).read_text()
        key = "    sharpness: Positive\n" if section.endswith(".py") else "  sharpness: 3\n"
        assert text.count(head) == 1
        (project / section).write_text(text.replace(head, f"{head}{key}"))
    assert ran(shell("dvc", "repro", "--dry", cwd=project).stdout) == ["tune", "report"]
