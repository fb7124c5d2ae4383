"""Who may import whom: the layers of pyproject.toml, and no circle anywhere, annotations included. The types of the API
and of the stages, and the length of modules."""

import subprocess
import sys

import grimp
from conftest import ROOT
from importlinter import cli


def test_layers_are_kept(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports(no_cache=True) == cli.EXIT_STATUS_SUCCESS, "run 'lint-imports'"


def test_no_module_imports_itself_through_others():
    graph = grimp.build_graph("glassbox", cache_dir=None)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            chain = graph.find_shortest_chain(imported, module)
            assert chain is None, f"{module} -> {' -> '.join(chain)}"


def test_the_api_and_the_stages_are_typed():
    checked = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_every_package_says_what_it_is_for():
    for path in (ROOT / "src/glassbox").rglob("__init__.py"):
        assert path.read_text(encoding="utf-8").startswith('"""'), path


def test_no_module_is_longer_than_400_lines():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert [path for path, lines in lengths.items() if lines > 400] == []
