"""The licence of a model's weights: what is said of it where the model is used."""

from __future__ import annotations

import shutil
from pathlib import Path

LICENSE_FILE = "LICENSE"
"""In a model's folder, where its weights have a licence of their own."""


def copy_licence(source: Path, target: Path) -> None:
    """Copy the LICENSE of a model to the folder of one that was made from it, where there is one."""
    if (source / LICENSE_FILE).is_file():
        shutil.copyfile(source / LICENSE_FILE, target / LICENSE_FILE)


def licence_notice(folder: Path) -> str:
    """Return the first paragraph of the LICENSE of a model on one line; empty where its folder has none."""
    try:
        text = (folder / LICENSE_FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return " ".join(text.strip().split("\n\n")[0].split())
