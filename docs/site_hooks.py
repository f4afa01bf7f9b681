"""What mkdocs needs beside docs/: README.md as the first page, and the files of the repository that pages lead to."""

from __future__ import annotations

import importlib
import json
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md", "CONTRIBUTING.md": "CONTRIBUTING.md"}
"""Pages at the top of the repository, with their names in the site."""
SOURCE = "source"
"""Folder of the site for other files of the repository, as text."""
_LINK = re.compile(r"(?P<text>\]\()(?!\w+:|#)(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_TIGHT_LIST = re.compile(r"^(?![ |#]|[-*] |\d+\. )(?P<line>[^\n]+\n)(?=- |1\. )", re.MULTILINE)


def site_path(place: str) -> str:
    """Where a file of the repository is in the site, of which docs/ is the root.

    >>> site_path("docs/cli.md"), site_path("docs/a.ipynb"), site_path("README.md"), site_path("LICENSE")
    ('cli.md', 'a.md', 'index.md', 'source/LICENSE.txt')
    """
    if place.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", place.removeprefix("docs/"))
    return PAGES.get(place, f"{SOURCE}/{place}.txt")


def linked(text: str, page: str) -> list[str]:
    """List the places in the repository that a page's links lead to."""
    folder = posixpath.dirname(page)
    parts = _FENCE.split(text)[::2]
    return [posixpath.normpath(posixpath.join(folder, link["path"])) for part in parts for link in _LINK.finditer(part)]


def for_site(text: str, page: str) -> str:
    """Make a page of the repository one of the site: its links, and lists, which want an empty line before them.

    Args:
        text: Markdown as GitHub reads it.
        page: Its place in the repository.
    """
    folder, here = posixpath.dirname(page), posixpath.dirname(site_path(page))

    def replace(link: re.Match[str]) -> str:
        place = site_path(posixpath.normpath(posixpath.join(folder, link["path"])))
        return f"{link['text']}{posixpath.relpath(place, here or '.')}{link['anchor'] or ''}"

    parts = _FENCE.split(text)
    parts[::2] = [_TIGHT_LIST.sub(r"\g<line>\n", _LINK.sub(replace, part)) for part in parts[::2]]
    return "".join(parts)


def notebook_page(path: Path) -> str:
    """Make Markdown of a notebook: its text, and its code in blocks."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    return "\n\n".join(f"```python\n{text}\n```" if code else text for text, code in texts) + "\n"


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401 (mkdocs has no types)
    """Add the pages at the top of the repository, and what any page leads to; see mkdocs."""
    generated = importlib.import_module("mkdocs.structure.files").File.generated
    for name, place in PAGES.items():
        files.append(generated(config, place, content=(ROOT / name).read_text("utf-8")))
    for path in sorted((ROOT / "docs").glob("*.ipynb")):
        files.append(generated(config, f"{path.stem}.md", content=notebook_page(path)))
    known = {file.src_uri for file in files}
    pages = [*PAGES, *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))]
    for page in pages:
        for place in linked((ROOT / page).read_text("utf-8"), page):
            target = site_path(place)
            if target.startswith(f"{SOURCE}/") and target not in known and (ROOT / place).is_file():
                known.add(target)
                files.append(generated(config, target, content=(ROOT / place).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:  # noqa: ANN401 (mkdocs has no types)
    """Rewrite a page; see mkdocs."""
    uri = page.file.src_uri
    place = next((name for name, target in PAGES.items() if target == uri), f"docs/{uri}")
    return for_site(markdown, place)
