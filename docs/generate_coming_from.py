"""Write the recipes of docs/coming-from/: what `degrade-kit import-recipe` prints for the option files on those pages.

    python docs/generate_coming_from.py

A file stands in the block under `<!-- file: NAME -->`, its recipe in the one under `<!-- recipe of NAME -->`.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from degrade_kit.foreign.reader import import_recipe

PAGES = sorted((Path(__file__).resolve().parent / "coming-from").glob("*.md"))

_FILE = re.compile(r"^<!-- file: (\S+) -->\n(?:<!-- no-run: [^\n]* -->\n)?```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RECIPE = re.compile(
    r"^(<!-- recipe of (\S+?)(?:, the preset \S+)? -->\n```yaml\n).*?(?=^```$)", re.MULTILINE | re.DOTALL
)


def option_files(page: str) -> dict[str, str]:
    """Find the option files that a page shows, with their names."""
    return dict(_FILE.findall(page))


def render(page: str) -> str:
    """Put the recipes of a page's option files where they belong."""
    recipes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in option_files(page).items():
            path = Path(folder) / name
            path.write_text(text, "utf-8")
            recipes[name] = import_recipe(path).text()
    return _RECIPE.sub(lambda found: f"{found[1]}{recipes[found[2]]}", page)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(render(path.read_text("utf-8")), "utf-8")
