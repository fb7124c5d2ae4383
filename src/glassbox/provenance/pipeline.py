"""The code that dvc.yaml lists for each stage, written from the imports of the stages' scripts."""

from pathlib import Path

from ruamel.yaml import YAML

from glassbox.core import files
from glassbox.provenance import fingerprint

FILE = "dvc.yaml"
CODE = ("src/", "stages/", f"{fingerprint.NETWORKS}/")


def write(root: str | Path = fingerprint.ROOT) -> list[str]:
    """Write the code that each stage depends on into dvc.yaml in `root`, and return the stages whose lists changed."""
    path, yaml = Path(root) / FILE, YAML()
    yaml.width = 1000
    yaml.indent(mapping=2, sequence=4, offset=2)
    pipeline = yaml.load(path.read_text(encoding="utf-8"))
    changed = []
    for name, stage in pipeline["stages"].items():
        deps = [dep for dep in stage["deps"] if not f"{dep}/".startswith(CODE)] + fingerprint.dependencies(name)
        if deps != stage["deps"]:
            stage["deps"][:] = deps
            changed.append(name)
    if changed:
        with files.replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
            yaml.dump(pipeline, file)
    return changed
