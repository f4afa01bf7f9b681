"""Lines of `pip install`, as documents and messages show them: can pip read them, and are their extras ours?"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FLAGS = {"--force-reinstall", "--no-build-isolation", "--no-deps", "--no-index", "--upgrade", "-U"}
VALUED = {
    *("--constraint", "-c", "--requirement", "-r", "--index-url", "--extra-index-url", "--find-links", "--only-binary"),
}
EDITABLE = {"--editable", "-e"}


def project_extras(root: Path) -> set[str]:
    """Names of the extras in pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    return set(table["project"]["optional-dependencies"])


def install_problems(words: list[str], root: Path) -> list[str]:
    """List what is wrong with the words behind `pip`; `install` is the one thing that we tell people to do with it."""
    if words[:1] != ["install"]:
        return [f"pip {' '.join(words)}: expected pip install"]
    problems: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        if word in VALUED:
            value = next(rest, "")
            if word in {"-c", "--constraint", "-r", "--requirement"} and not (root / value).is_file():
                problems.append(f"{word} {value}: no such file")
        elif word.startswith("-"):
            if word not in FLAGS | EDITABLE:
                problems.append(f"pip install: unknown option {word}")
        else:
            problems.extend(_requirement_problems(word, root))
    return problems


def _requirement_problems(text: str, root: Path) -> list[str]:
    """A local folder with extras, which pip takes beside requirements, or a requirement."""
    folder = re.fullmatch(r"(\.[\w./-]*)(?:\[([\w,-]+)\])?", text)
    if folder is not None:
        there = (root / folder[1] / "pyproject.toml").is_file()
        return [
            *([] if there else [f"{text}: no project there"]),
            *_unknown(text, set((folder[2] or "").split(",")), root),
        ]
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        return [f"{text}: {str(error).splitlines()[0]}"]
    if requirement.url is not None:
        return [f"{text}: pip takes a URL with a scheme alone behind @; a folder is written as .[extra]"]
    return _unknown(text, requirement.extras, root) if requirement.name == "degrade-kit" else []


def _unknown(text: str, extras: set[str], root: Path) -> list[str]:
    return [f"{text}: no extra {extra}" for extra in sorted(extras - project_extras(root) - {""})]
