"""Targets of the links, anchors and names in the pages exist."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
BESIDE = ["CHANGELOG.md", "data/raw/README.md", "data/weights/README.md", "mlruns/README.md"]


def parsed(path: Path) -> SyntaxTreeNode:
    return SyntaxTreeNode(MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8")))


def text_of(node: SyntaxTreeNode) -> str:
    return node.content if not node.children else "".join(map(text_of, node.children))


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    names = [
        re.sub(r"[^\w\- ]", "", text_of(heading).strip().lower()).replace(" ", "-")
        for heading in parsed(path).walk()
        if heading.type == "heading"
    ]
    repeated = {f"{name}-{n}" for name in names for n in range(1, names.count(name))}
    return {*names, *repeated}


def links(path: Path) -> list[str]:
    nodes = list(parsed(path).walk())
    targets = [str(node.attrs["href"]) for node in nodes if node.type == "link"]
    return targets + [str(node.attrs["src"]) for node in nodes if node.type == "image"]


def broken(path: Path) -> list[str]:
    """Relative links of a page whose file or heading does not exist."""
    missing = []
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.replace("%20", " ").partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    return missing


@pytest.mark.parametrize("page", [*PAGES, *BESIDE])
def test_relative_links_and_anchors_exist(page):
    assert broken(ROOT / page) == []


def test_broken_ones_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# One: `two`, three?\n\n# One two three\n\n# Same\n\n# Same\n")
    good = ["other.md", "other.md#one-two-three", "other.md#one-two-three-1", "other.md#same-1", "#here", "https://a.b"]
    bad = ["gone.md", "other.md#four", "#there", "other.md#same-2"]
    page = tmp_path / "page.md"
    page.write_text("# Here\n\n" + "\n".join(f"| a |\n|---|\n| [text `code`]({link}) |\n" for link in [*good, *bad]))
    assert broken(page) == bad


def test_the_readme_leads_to_every_page_and_is_one_screen():
    readme = ROOT / "README.md"
    notebooks = {f"docs/notebooks/{path.name}" for path in (ROOT / "docs/notebooks").glob("*.ipynb")}
    assert (set(PAGES) - {"README.md"}) | notebooks <= set(links(readme))
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= 80


def test_the_site_has_every_page():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2].partition("\nvalidation:")[0]
    listed = re.findall(r": (\S+\.md)$", nav, re.MULTILINE)
    own = {Path(page).name for page in PAGES if page.startswith("docs/")}
    notebooks = {f"notebooks/{path.stem}.md" for path in (ROOT / "docs/notebooks").glob("*.ipynb")}
    assert sorted(listed) == sorted({"index.md", "contributing.md", *own, *notebooks})


def test_the_api_names_what_exists():
    text = (ROOT / "docs/api.md").read_text()
    for module, members in re.findall(r"^::: (\S+)\n(?:    options:\n      members: \[(.*)\])?", text, re.MULTILINE):
        folder = ROOT / "src" / module.replace(".", "/")
        file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        tree = ast.parse(file.read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        assert set(filter(None, members.split(", "))) <= defined, module


def test_the_layout_has_every_package_in_the_order_of_the_layers():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page[page.index("## Layout") :], re.MULTILINE)
    assert rows == [*contract["layers"], *contract["exhaustive_ignores"]]
