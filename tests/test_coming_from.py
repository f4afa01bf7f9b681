"""The pages for whoever comes from other tools: they show what `import-recipe` makes, and keys that it knows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from degrade_kit.foreign import reader
from degrade_kit.presets import preset
from degrade_kit.recipe import recipe_from_mapping
from tests.by_path import load_module
from tests.test_docs import ROOT, fenced_blocks, page_id

DOCS = ROOT / "docs"
PAGES = sorted((DOCS / "coming-from").glob("*.md"))
OF_FILES = [page for page in PAGES if page.name != "pipelines.md"]


generator = load_module(DOCS / "generate_coming_from.py")


@pytest.mark.parametrize("page", OF_FILES, ids=page_id)
def test_recipes_are_what_the_command_prints_for_the_files_beside_them(page: Path) -> None:
    text = page.read_text("utf-8")
    files = generator.option_files(text)
    if sys.version_info < (3, 11) and any(name.endswith(".toml") for name in files):
        pytest.skip("TOML needs Python 3.11")
    assert text == generator.render(text), f"{page.name} is stale: run python docs/generate_coming_from.py"
    marks = re.findall(r"^<!-- recipe of (\S+?)(?:, the preset (\S+))? -->$", text, re.MULTILINE)
    assert files
    assert sorted(files) == sorted(name for name, _ in marks)
    recipes = [yaml.safe_load(block.code) for block in fenced_blocks(text) if "\nsteps:\n" in f"\n{block.code}"]
    for (_, equal), recipe in zip(marks, recipes, strict=True):
        found = recipe_from_mapping(recipe, page.name)
        assert not equal or found.digest() == preset(equal).digest()
        assert not equal or f"`{equal}`" in text


@pytest.mark.parametrize("page", OF_FILES, ids=page_id)
def test_every_key_of_the_tables_is_one_that_is_read(page: Path) -> None:
    """Those in the columns of `Key by key` that are theirs: all but the last two, or the last."""
    table = page.read_text("utf-8").partition("## Key by key\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")]
    theirs = sum("their" in title or "its" in title for title in rows[0])
    keys = {key for row in rows[1:] for cell in row[:theirs] for key in re.findall(r"`(\w+)`", cell)}
    code = "\n".join(path.read_text("utf-8") for path in Path(reader.__file__).parent.glob("*.py"))
    templates = [text for text in re.findall(r'f"([\w{}]+)"', code) if re.search(r"\w{4}", re.sub(r"{\w+}", "", text))]
    made = [re.compile(re.sub(r"{\w+}", r"\\w*", text)) for text in templates]
    unknown = {key for key in keys if f'"{key}"' not in code and not any(pattern.fullmatch(key) for pattern in made)}
    assert len(keys) > 5
    assert unknown == set()


def test_a_stale_recipe_is_found() -> None:
    page = "<!-- file: a.yml -->\n```yaml\ndownsample_range: [1, 4]\n```\n<!-- recipe of a.yml -->\n```yaml\nold\n```\n"
    assert "scale: [1, 4]" in generator.render(page)
    assert "old" not in generator.render(page)


def test_the_index_leads_to_every_page() -> None:
    index = (DOCS / "coming-from.md").read_text("utf-8")
    assert {page.name for page in PAGES} == set(re.findall(r"\]\(coming-from/(\S+?\.md)\)", index))
