"""Which files of this project a script imports, directly or through others: read from the source, nothing is run."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"glassbox": ROOT / "src" / "glassbox", "stages": ROOT / "stages"}


def _file(module: str) -> Path | None:
    """The file of a module of this project, or None."""
    head, *rest = module.split(".")
    if head not in PACKAGES:
        return None
    path = PACKAGES[head].joinpath(*rest)
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def imported(path: Path) -> set[Path]:
    """The project's files that one file imports anywhere in it, and the packages around them that hold code."""
    modules = set()
    for node in ast.walk(_Run().visit(ast.parse(path.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    parents = {".".join(m.split(".")[:n]) for m in modules for n in range(1, m.count(".") + 2)}
    return {file for module in parents if (file := _file(module)) and not _only_says(file)}


class _Run(ast.NodeTransformer):
    """A source file without what is there for type checkers alone."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if getattr(node.test, "id", "") == "TYPE_CHECKING" else self.generic_visit(node)


def _only_says(path: Path) -> bool:
    """Whether a file holds no code, only a docstring."""
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text(encoding="utf-8")).body)


def _by_name(path: Path) -> set[Path]:
    """Files that are imported by a name that is not known before: explainers, sources and metrics by theirs."""
    folders = {"explainers/__init__.py": "explainers", "data/loading.py": "data/sources", "scoring.py": "xai_metrics"}
    home = PACKAGES["glassbox"]
    return {file for at, folder in folders.items() if path == home / at for file in (home / folder).glob("*.py")}


def transitive(path: Path) -> set[Path]:
    """The same, through every import; with the package of the file itself, and without the file."""
    found: set[Path] = set()
    waiting = {path, path.parent / "__init__.py"}
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting |= imported(file) | _by_name(file)
    return found - {path}
