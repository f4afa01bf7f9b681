"""The licence of a model's weights: what is said of it where the model is used."""

from __future__ import annotations

from pathlib import Path

LICENSE_FILE = "LICENSE"
"""In a model's folder, where its weights have a licence of their own."""


def licence_notice(folder: Path) -> str:
    """Return the first paragraph of the LICENSE of a model on one line; empty where its folder has none."""
    try:
        text = (folder / LICENSE_FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return " ".join(text.strip().split("\n\n")[0].split())
