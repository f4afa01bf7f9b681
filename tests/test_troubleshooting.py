"""The page of error messages quotes messages that the code has, so that a reader who searches for one finds it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.test_docs import ROOT, fenced_blocks

PAGE = ROOT / "docs" / "troubleshooting.md"
FROM = re.compile(r"<!-- from: (\w+) -->")


def quoted() -> Iterator[tuple[str, str]]:
    """Each message on the page, and who writes it: `ours`, or the name in the mark above its block."""
    lines = PAGE.read_text("utf-8").splitlines()
    for block in fenced_blocks("\n".join(lines)):
        mark = FROM.fullmatch(lines[block.line - 2])
        assert block.language == "text"
        for message in block.code.splitlines():
            yield message, mark.group(1) if mark else "ours"


@cache
def literals() -> list[str]:
    """Texts in the code, with `…` where a value is put in, and the lines of the Makefile."""
    found = (ROOT / "Makefile").read_text("utf-8").splitlines()
    for folder in ("degrade_kit", "analysis", "restore", "pipelines"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    found.append(
                        "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def is_said(message: str, text: str) -> bool:
    """Whether the constant parts of a message stand in a text, in order, and only values between them."""
    parts = [re.escape(part.strip()) for part in message.split("…") if part.strip()]
    return re.search(r"\s*…\s*".join(parts), text) is not None


@pytest.mark.slow
@pytest.mark.parametrize("message", [message for message, who in quoted() if who == "ours"])
def test_every_message_that_is_called_ours_is_in_the_code(message: str) -> None:
    assert any(is_said(message, text) for text in literals())


def test_messages_of_others_name_who_says_them() -> None:
    assert {who for _, who in quoted()} == {"ours", "pip", "OpenCV", "Python", "click", "PyTorch"}


@pytest.mark.parametrize(
    ("message", "text", "said"),
    [
        ("no … here", "there is no … here", True),
        ("no … here", "there is no key here", False),
        ("… are free", "… are free in …", True),
        ("holds", "is held", False),
    ],
)
def test_a_message_is_found_by_its_constant_parts(message: str, text: str, said: bool) -> None:
    assert is_said(message, text) is said
