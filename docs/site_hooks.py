"""mkdocs' hooks: pages outside of docs/ and notebooks become part of the site, and links to the repository's files work
there.

On GitHub a page links to `../params.yaml`; in the site that file has no page, so a copy of it is served.
"""

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of `PAGES`, and every file of the repository that a page links to."""
    linked: set[str] = set()
    for name, page in PAGES.items():
        text = rewritten((ROOT / name).read_text(encoding="utf-8"), "", linked)
        files.append(File.generated(config, page, content=text))
    for path in sorted((ROOT / "docs/notebooks").glob("*.ipynb")):
        page = PurePosixPath("notebooks", path.name).with_suffix(".md")
        files.append(File.generated(config, str(page), content=from_notebook(path.read_text(encoding="utf-8"))))
    for file in files.documentation_pages():
        if file.src_uri not in PAGES.values():
            rewritten(file.content_string, "docs", linked)
    for path in sorted(linked):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the links of a page of docs/."""
    return markdown if page.file.src_uri in PAGES.values() else rewritten(markdown, "docs", set())


def from_notebook(text: str) -> str:
    """A notebook's text and code, without outputs, as a page."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def rewritten(text: str, folder: str, linked: set[str]) -> str:
    """Links of a page in a folder of the repository as links of the site.

    Args:
        text: Markdown.
        folder: of the page, "" or "docs".
        linked: takes the paths of files outside of docs/ that the page links to.
    """

    def target(match: re.Match[str]) -> str:
        label, to, anchor = match[1], match[2], match[3] or ""
        if "://" in to:
            return match[0]
        path = (ROOT / folder / to).resolve().relative_to(ROOT).as_posix()
        if path in PAGES:
            return f"{label}({PAGES[path]}{anchor})"
        if path.startswith("docs/"):
            path = path.removesuffix(".ipynb") + ".md" * path.endswith(".ipynb")
            return f"{label}({PurePosixPath(path).relative_to('docs')}{anchor})"
        if (ROOT / path).is_dir():
            return label.removeprefix("!").strip("[]")  # a folder is no page
        linked.add(path)
        return f"{label}(files/{path}{anchor})"

    return LINK.sub(target, text)
