"""A public name says one thing: no two modules define the same class or function."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.test_layers import ROOT, modules

SAME_THING = {
    "DegradeKitPairs": "the data set that each adapter gives its trainer, under the name that its configuration has",
    "Uneven": "one degradation: the step of a recipe in `steps`, what it does to pixels in `ops`",
}
"""Names that several modules define since they mean the same in each."""


def test_no_public_name_means_two_things() -> None:
    defined: dict[str, list[str]] = defaultdict(list)
    for file in modules(ROOT / "degrade_kit"):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                defined[node.name].append(str(file.relative_to(ROOT)))
    twice = {name: files for name, files in defined.items() if len(files) > 1}

    assert {name: files for name, files in twice.items() if name not in SAME_THING} == {}
    assert SAME_THING.keys() <= twice.keys()
