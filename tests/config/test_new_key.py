"""A new key of a section reruns the stages that load it, the report, and no others: asked of DVC itself."""

from pathlib import Path

import pytest
from conftest import NAMES, clone, ran, shell
from ruamel.yaml import YAML


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A copy of the project that DVC takes for a finished study: every output is there, and dvc.lock agrees."""
    project = clone(tmp_path_factory.mktemp("new key") / "project")
    stages = YAML(typ="safe", pure=True).load((project / "dvc.yaml").read_text())["stages"]
    for out in [out if isinstance(out, str) else next(iter(out)) for name in NAMES for out in stages[name]["outs"]]:
        path = project / out if Path(out).suffix else project / out / "something"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(out)
    for name in ("tune/best.json", "evaluate/predictions.csv", "evaluate/calibration.json"):  # that others read
        (project / "reports" / name).write_text(name)
    shell("dvc", "commit", "--force", "--quiet", cwd=project)
    assert ran(shell("dvc", "repro", "--dry", cwd=project).stdout) == []
    return project


@pytest.mark.parametrize(
    ("section", "stages"),
    [
        ("score", ["score", "report"]),
        ("explain", ["explain", "score", "report"]),
        ("evaluate", ["evaluate", "report"]),
        ("tune", ["tune", "report"]),
        ("data", ["prepare", "report"]),
    ],
)
def test_a_new_key_reruns_the_stages_of_its_section_and_no_others(done, section, stages):
    schema, params = done / f"src/glassbox/config/{section}.py", done / "params.yaml"
    before = schema.read_text(), params.read_text()
    head = f"class {section.capitalize()}(Section):\n"
    schema.write_text(before[0].replace(head, f"{head}    sharpness: Positive\n"))
    params.write_text(before[1].replace(f"\n{section}:", f"\n{section}:\n  sharpness: 3\n  #", 1))
    try:
        code = f"from glassbox.config import parameters; print(parameters.read().{section}.sharpness)"
        assert shell("python", "-c", code, cwd=done, PYTHONPATH="src").stdout == "3\n"
        assert ran(shell("dvc", "repro", "--dry", cwd=done).stdout) == stages
    finally:
        schema.write_text(before[0])
        params.write_text(before[1])
