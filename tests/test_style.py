"""Docstrings begin with a sentence that a stranger can read on its own."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("degrade_kit", "analysis", "restore", "pipelines")
    for path in (ROOT / package).rglob("*.py")
    if not any(parent.is_symlink() for parent in path.parents)
)
FRAGMENTS = ("Of", "For", "As")
"""Words that begin half a sentence, whose other half is the name of what is documented."""
LEAST_WORDS = 4
NOT_YET = frozenset(
    {
        "analysis/extractors.py",
        "analysis/judge.py",
        "analysis/perceptual.py",
        "degrade_kit/flipnet/loop.py",
        "degrade_kit/reader.py",
        "degrade_kit/store.py",
        "degrade_kit/streaming.py",
        "pipelines/claim.py",
        "pipelines/commands/progress.py",
        "pipelines/executor.py",
        "restore/losses.py",
    }
)
"""Files that do not keep the rule yet. Take a file out when it does; add none."""


def public_docstrings(tree: ast.AST, prefix: str = "") -> Iterator[tuple[int, str, str]]:
    """Yield line, name and first line of the docstring of every public class and function, inner ones too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            hidden = node.name.startswith("_") and not node.name.endswith("__")
            text = ast.get_docstring(node)
            if text and not hidden:
                yield node.lineno, prefix + node.name, text.splitlines()[0]
            if isinstance(node, ast.ClassDef) and not hidden:
                yield from public_docstrings(node, f"{prefix}{node.name}.")
        elif not isinstance(node, ast.expr):
            yield from public_docstrings(node, prefix)


def field_docstrings(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and first line of the text under every field and constant."""
    for node in ast.walk(tree):
        body: list[ast.stmt] = getattr(node, "body", []) if isinstance(node, ast.Module | ast.ClassDef) else []
        for field, text in itertools.pairwise(body):
            match field, text:
                case ast.Assign() | ast.AnnAssign(), ast.Expr(ast.Constant(str(value))):
                    yield field.lineno, ast.unparse(field).partition(":")[0].partition(" =")[0], value.splitlines()[0]
                case _:
                    pass


def fragments(source: str) -> list[str]:
    """List the first lines that do not stand on their own; a field's may be a noun, such as "Side, pixels."."""
    tree = ast.parse(source)
    return [
        *(
            f"{line}: {name}: {first}"
            for line, name, first in public_docstrings(tree)
            if len(first.split()) < LEAST_WORDS or first.split()[0] in FRAGMENTS
        ),
        *(f"{line}: {name}: {first}" for line, name, first in field_docstrings(tree) if first.split()[0] in FRAGMENTS),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in SOURCES if path not in NOT_YET])
def test_every_public_docstring_begins_with_a_sentence(path: str) -> None:
    found = fragments((ROOT / path).read_text(encoding="utf-8"))
    assert not found, f"write a sentence with a verb that says what it does: {found}"


def test_no_file_that_keeps_the_rule_is_let_off() -> None:
    kept = [path for path in NOT_YET if path not in SOURCES or not fragments((ROOT / path).read_text(encoding="utf-8"))]
    assert not kept, f"take these out of NOT_YET: {kept}"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('def run():\n    """Of a step, counted from 0."""', 1),
        ('def run():\n    """For YAML."""', 1),
        ('class Run:\n    """What was found."""', 1),
        ('class Run:\n    """What a run has found."""\n    def of(self):\n        """As it is."""', 1),
        ('if True:\n    def run():\n        """The same."""', 1),
        ('def run():\n    """Count the steps so far."""', 0),
        ('def _run():\n    """The same."""', 0),
        ('class _Run:\n    def run(self):\n        """The same."""', 0),
        ("def run(): ...", 0),
        ('class Run:\n    seed: int = 0\n    """Of all draws."""', 1),
        ('SEED = 0\n"""Of all draws."""', 1),
        ('SEED = 0\n"""Seed."""', 0),
    ],
)
def test_fragments_of_public_names_are_found(source: str, count: int) -> None:
    assert len(fragments(source)) == count
