"""Files of others go through one reader of JSON and one of YAML, which keep to bounds."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from tests.test_style import ROOT, SOURCES

PARSERS = (
    "json.load",
    "json.loads",
    "yaml.load",
    "yaml.safe_load",
    "yaml.full_load",
    "yaml.parse",
    "yaml.compose",
    "yaml.scan",
    "json.JSONDecoder",
)
"""Functions without bounds; those of `degrade_kit.files` are to be called in their place."""
OWN = {
    "degrade_kit/flipnet/checkpoint.py": 1,
    "pipelines/dataset/join.py": 1,
    "pipelines/dataset/lq_only.py": 1,
    "pipelines/synth/output.py": 2,
}
"""Calls on text that the process itself has just written. Take one out when it is gone; add none for what is read."""


def calls(source: str) -> Counter[str]:
    """Count the calls of parsers without bounds, under whatever name they were imported."""
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("json", "yaml")
        for alias in node.names
    }
    modules = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname and alias.name in ("json", "yaml")
    }
    found = Counter[str]()
    for node in ast.walk(tree):
        # Named, too, where they are handed to another function.
        if isinstance(node, ast.Attribute | ast.Name):
            text = ast.unparse(node).replace("cast('Any', yaml)", "yaml")
            module, dot, name = text.rpartition(".")
            text = names.get(text, f"{modules.get(module, module)}{dot}{name}")
            found[text] += text in PARSERS
    return +found


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES)
def test_no_file_is_parsed_without_bounds(path: str) -> None:
    found = calls((ROOT / path).read_text(encoding="utf-8"))
    if path == "degrade_kit/files.py":
        assert found == {"yaml.load": 1, "json.JSONDecoder": 2}  # all made to keep to bounds
    else:
        assert found.total() == OWN.get(path, 0), f"{path}: {dict(found)}; use degrade_kit.files"


def test_every_file_of_the_list_is_there() -> None:
    assert OWN.keys() <= set(SOURCES)


@pytest.mark.parametrize(
    "source",
    [
        "import json\njson.loads(x)",
        "import json as j\nj.load(x)",
        "from json import loads as read\nread(x)",
        "import yaml\nmap(yaml.safe_load, x)",
        "import yaml\ncast('Any', yaml).load(x)",
        "from yaml import safe_load\nsafe_load(x)",
    ],
)
def test_a_call_is_found_however_it_is_written(source: str) -> None:
    assert calls(source).total() == 1
