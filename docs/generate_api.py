"""Write docs/api.md, the reference of the promised names, from their signatures and docstrings.

python docs/generate_api.py
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import degrade_kit as dk

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 100
INTRODUCTION = """\
# Python

What `import degrade_kit as dk` promises: these names, with these arguments. What is not listed here may change without
notice. Names are imported when they are first used, so `import degrade_kit` costs nothing; those of a group that need
PyTorch or another extra need it from then on. This page is generated: after a change to a docstring, run
`python docs/generate_api.py`.
"""
SECTIONS = ("Args", "Returns", "Yields", "Raises", "Source")


def groups(stub: str) -> dict[str, list[str]]:
    """Names of the groups in `degrade_kit/__init__.pyi`, which comments begin, with the promised names of each."""
    found: dict[str, list[str]] = {}
    for part in stub.split("# isort: split\n")[1:]:
        title = re.search(r"^# (.+)$", part, re.MULTILINE)
        assert title is not None, "each group begins with a comment"
        found[title[1]] = re.findall(r"^from [\w.]+ import (\w+) as \1$", part, re.MULTILINE)
    return found


def render_api_reference() -> str:
    """Return the Markdown page."""
    found = groups((ROOT / "degrade_kit" / "__init__.pyi").read_text("utf-8"))
    parts = [INTRODUCTION]
    for title, names in found.items():
        parts.append(f"- **{title}**: " + ", ".join(f"[{name}](#dk{name.lower()})" for name in names))
    parts.append("")
    for title, names in found.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += [f"### dk.{name}\n", *_described(name, getattr(dk, name))]
    return "\n".join(parts)


def _described(name: str, value: object) -> Iterator[str]:
    """Yield the parts of a name's description."""
    if inspect.isclass(value):
        fields = _field_docs(value) if dataclasses.is_dataclass(value) else {}
        if not issubclass(value, Exception):
            yield _signature(name, value)
        yield _markdown(inspect.getdoc(value) or "")
        for field, text in fields.items():
            yield f"- `{field}`{': ' if text else ''}{text}"
        if fields:
            yield ""
        for member, found in vars(value).items():
            if not member.startswith("_") and member not in fields:
                yield from _member(f"{name}.{member}", found)
    elif inspect.isroutine(value):
        yield _signature(name, value)
        yield _markdown(inspect.getdoc(value) or "")
    elif inspect.ismodule(value):
        yield _markdown(inspect.getdoc(value) or "")
    else:
        yield _constant_doc(name) + "\n"


def _member(name: str, value: object) -> Iterator[str]:
    """Yield a method or a property of a class; nothing for what is neither, or says no more than its base."""
    plain: Any = cast("Any", value).__func__ if isinstance(value, (classmethod, staticmethod)) else value
    documented: Any = cast("Any", plain).fget if isinstance(plain, property) else plain
    text = inspect.getdoc(documented) or ""
    if documented is None or not text or text.startswith("See `Report`"):
        return
    if isinstance(plain, property):
        returned = inspect.signature(documented).return_annotation
        yield f"#### {name}\n"
        yield f"```text\n{name}: {_plain(returned)}\n```\n"
    elif inspect.isroutine(plain):
        yield f"#### {name}\n"
        yield _signature(name, plain, bound=not isinstance(value, staticmethod))
    else:
        return
    yield _markdown(text)


def _signature(name: str, value: object, *, bound: bool = False) -> str:
    """A fenced signature as it is written, an argument on each line where one is too short."""
    assert callable(value)
    signature = inspect.signature(value)
    arguments: list[str] = []
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    starred = inspect.Parameter.VAR_POSITIONAL in kinds
    for parameter in list(signature.parameters.values())[bound:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            arguments.append("*")
            starred = True
        stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        default = "" if parameter.default is inspect.Parameter.empty else f" = {_shown(parameter.default)}"
        arguments.append(f"{stars.get(parameter.kind, '')}{parameter.name}: {_plain(parameter.annotation)}{default}")
    returned = signature.return_annotation
    arrow = "" if returned in (inspect.Signature.empty, "None", None) else f" -> {_plain(returned)}"
    line = f"{name}({', '.join(arguments)}){arrow}"
    if len(line) > WIDTH:
        line = f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){arrow}"
    return f"```text\n{line}\n```\n"


def _shown(default: object) -> str:
    """A default value; functions and factories have no text that is the same in each run."""
    text = repr(default)
    return "..." if text.startswith("<") else text.replace("'", '"')


def _plain(annotation: object) -> str:
    """An annotation as it is written, without the modules of its names."""
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", str(annotation))


def _field_docs(value: type) -> dict[str, str]:
    """The docstrings below the fields of a dataclass."""
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, below in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = _text_of(below)
    return {name: text for name, text in found.items() if not name.startswith("_")}


def _constant_doc(name: str) -> str:
    """The docstring below a constant, found in the module that the stub names."""
    stub = (ROOT / "degrade_kit" / "__init__.pyi").read_text("utf-8")
    home = re.search(rf"^from ([\w.]+) import {name} as", stub, re.MULTILINE)
    assert home is not None
    body = ast.parse((ROOT / home[1].replace(".", "/")).with_suffix(".py").read_text("utf-8")).body
    for statement, below in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == name:
            return _text_of(below)
    raise AssertionError(f"{name} has no docstring")


def _text_of(statement: ast.stmt | None) -> str:
    """A docstring on one line, empty where the statement is none."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    return ""


def _markdown(docstring: str) -> str:
    """Turn a docstring in Google's style into Markdown."""
    lines: list[str] = []
    for block in re.split(r"\n{2,}", docstring):
        head, _, rest = block.partition("\n")
        section = head.partition(":")[0]
        if section in SECTIONS and head.startswith(f"{section}:"):
            items = textwrap.dedent(rest) or head.partition(":")[2].strip()
            if section in ("Args", "Raises"):
                lines.append(f"{section}:\n\n{_items(items)}\n")
            else:
                lines.append(f"{section}: {' '.join(items.split())}\n")
        elif block.lstrip().startswith(">>>"):
            lines.append(f"```pycon\n{block}\n```\n")
        elif block.startswith("    "):
            lines.append(f"```text\n{textwrap.dedent(block)}\n```\n")
        else:
            lines.append(f"{block}\n")
    return "\n".join(lines)


def _items(text: str) -> str:
    """A list of `name: description` as Markdown; continued lines are joined."""
    items = re.sub(r"\n\s+", " ", text).splitlines()
    return "\n".join(re.sub(r"^([*\w]+):", r"- `\1`:", item) for item in items)


if __name__ == "__main__":
    Path(__file__).with_name("api.md").write_text(render_api_reference(), encoding="utf-8")
