"""What the folder of a restorer says of itself, read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from degrade_kit.errors import ConfigError
from degrade_kit.files import local_path
from degrade_kit.flipnet.folder import CONFIG_FILE

RESTORER_FILE: Final = "restorer.json"
SOURCE_CONFIG: Final = "embedding.json"
"""Beside a restorer that was trained with a face embedding."""


def restorer_folder(location: str | Path) -> Path:
    """Find the model of a run, or the folder itself where it is one."""
    folder = local_path(location)
    for candidate in (folder, folder / "restoration" / "model", folder / "model"):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    raise ConfigError(
        f"{folder}: no restorer; expected a run of `degrade-kit train-restore` with a finished or running restoration "
        "stage (restoration/model), or such a model's folder"
    )


def trained_size(folder: Path) -> int:
    """Read the side of the images that a restorer was trained on, pixels.

    Raises:
        ConfigError: If the folder does not say.
    """
    path = folder / RESTORER_FILE
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: cannot be read: {error}; expected a model of `degrade-kit train-restore`"
        ) from error
