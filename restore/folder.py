"""What the folder of a restorer says of itself, read without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from degrade_kit.checks import checked, fields
from degrade_kit.errors import ConfigError
from degrade_kit.files import local_path, read_json
from degrade_kit.flipnet.folder import CONFIG_FILE
from degrade_kit.hq import MAX_SIDE

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
        return checked(read_json(path), fields({"size": range(1, MAX_SIDE + 1)}), str(path))["size"]
    except ConfigError as error:
        raise ConfigError(f"{error}; expected a model of `degrade-kit train-restore`") from error
