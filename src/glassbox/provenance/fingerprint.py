"""The files of this project that a module depends on, and one digest of them.

It determines what DVC counts as a change of a stage's code, and names a search, a checkpoint and a recorded study.
Nothing is imported: files are parsed.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from glassbox.core import files

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]  # of the repository, where the package lies in src/ of one
STAGES = ("prepare", "tune", "train", "evaluate", "explain", "score", "audit", "repair", "report")
SCRIPTS = tuple(f"stages.{stage}" for stage in STAGES)
PAGES = (".css", ".html", ".js")
NETWORKS = Path("networks")  # modules of the user, in the folder where a stage or a worker runs
IMPORTS_NETWORKS = "glassbox.models.networks.own_function"


def digest(*modules: str) -> str:
    """SHA-256 of the names and contents of all `sources` of modules."""
    parts: list[bytes | str] = []
    for path in sources(*modules):
        # A worker of a cluster has the package elsewhere.
        name = path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE) else in_repository(path)
        parts += [str(name), path.read_bytes()]
    return files.digest(*parts)


def sources(*modules: str) -> tuple[Path, ...]:
    """Files that modules depend on: their own, those that they import from this project, directly or indirectly and
    anywhere in a file, the packages around these, and files for pages beside them. Imports for type checkers do not
    count. The user's networks count for modules that can import them.

    Args:
        modules: full names, such as "glassbox.training.loop" or "stages.train".

    Returns:
        Absolute paths, sorted.

    Raises:
        FileNotFoundError: there is no such module in this repository.
    """
    reached, code = _reached(*modules)
    own = set(NETWORKS.resolve().rglob("*.py")) if IMPORTS_NETWORKS in reached else set()
    return tuple(sorted(code | own))


@cache
def _reached(*modules: str) -> tuple[frozenset[str], frozenset[Path]]:
    """All modules that some depend on, and their files with those for pages."""
    reached, waiting = set(), set(modules)
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= _imported(module) - reached
    code = {_existing(module) for module in reached}
    pages = {page for folder in {path.parent for path in code} for page in folder.iterdir() if page.suffix in PAGES}
    return frozenset(reached), frozenset(code | pages)


def in_repository(path: Path) -> str:
    """The path of a source file, relative to the repository."""
    own = NETWORKS.resolve()
    return path.relative_to(own.parent if path.is_relative_to(own) else ROOT).as_posix()


def dependencies(stage: str) -> list[str]:
    """A stage's code for dvc.yaml: sorted paths relative to the repository, a folder instead of its files if the stage
    depends on all of them. Packages with only a docstring are left out."""
    scripts = SCRIPTS if stage == "report" else (f"stages.{stage}",)  # it stores the code of all stages
    left, named = {path for path in sources(*scripts) if not _is_empty(path)}, []
    folders = {parent for path in left for parent in path.parents if parent.is_relative_to(PACKAGE)} - {PACKAGE}
    for folder in sorted(folders):  # an outer one comes first
        inside = {path for path in folder.rglob("*") if path.suffix in (".py", *PAGES) and not _is_empty(path)}
        if len(inside) > 1 and inside <= left:
            named.append(folder)
            left -= inside
    own = {path for path in left if path.is_relative_to(ROOT / NETWORKS)}
    named += [ROOT / NETWORKS] if own else []
    return sorted(path.relative_to(ROOT).as_posix() for path in [*named, *left - own])


def _file(name: str) -> Path | None:
    """The file of a module of this project; None for other names."""
    head, *rest = name.split(".")
    home = {"glassbox": PACKAGE, "stages": ROOT / "stages"}.get(head)
    if home is None:
        return None
    path = home.joinpath(*rest)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _existing(module: str) -> Path:
    if (file := _file(module)) is None:
        raise FileNotFoundError(f"there is no module {module} in {ROOT}")
    return file


@cache
def _is_empty(path: Path) -> bool:
    """Whether it is the `__init__.py` of a package, with only a docstring."""
    if path.name != "__init__.py":
        return False
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text(encoding="utf-8")).body)


@cache
def _imported(module: str) -> frozenset[str]:
    """Modules of this project that a module imports, and the packages around it and them."""
    tree = ast.parse(_existing(module).read_text(encoding="utf-8"))
    names = {module, *(name for node in _nodes(tree) for name in _names(node))}
    around = {".".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 2)}
    return frozenset(name for name in around if _file(name))


def _nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes of a tree, except those below `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


def _names(node: ast.AST) -> Iterable[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module)):
            return [module, *(f"{module}.{alias.name}" for alias in node.names)]
        case ast.Call(
            func=ast.Name(id="import_module"), args=[ast.JoinedStr(values=[ast.Constant(value=str(package)), *_])]
        ):  # by a computed name: any module of the package
            folder = PACKAGE.joinpath(*package.strip(".").split(".")[1:])
            return [f"{package}{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"]
    return []
