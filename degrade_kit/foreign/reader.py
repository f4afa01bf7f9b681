"""A file of another tool in, a recipe out, with the names of what could not be carried over."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from degrade_kit.errors import ConfigError
from degrade_kit.files import MAX_YAML_BYTES, local_path, parse_json, parse_yaml, read_regular
from degrade_kit.foreign.albumentations_json import read_albumentations
from degrade_kit.foreign.basicsr import read_options
from degrade_kit.foreign.hcl import parse_hcl
from degrade_kit.foreign.mmagic import read_mmagic
from degrade_kit.foreign.values import Imported
from degrade_kit.foreign.wtp import read_wtp
from degrade_kit.recipe import Recipe

SUFFIXES: Final = (".yml", ".yaml", ".toml", ".hcl", ".py", ".json")


def import_recipe(file: str | os.PathLike[str]) -> Imported:
    """Read an option file of another tool as a recipe; which tool's it is follows from its suffix.

    `.yml` and `.yaml` are options with BasicSR's keys (GFPGAN, CodeFormer, DifFace, Real-ESRGAN, StableSR and others,
    and traiNNer-redux), `.toml` is neosr's, `.hcl` WTP Dataset Destroyer's, `.py` mmagic's and `.json` albumentations'.
    Nothing in a file is run.

    Raises:
        ConfigError: If the file cannot be read, or holds no degradation.
    """
    path = local_path(file)
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path.name}: expected a file that ends in {', '.join(SUFFIXES)}")
    try:
        data = read_regular(path, MAX_YAML_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    tool, steps, left = _read(path, data)
    recipe = Recipe(name=_name(path), steps=steps, source=f"{tool}: {path.name}", notes="")
    return Imported(recipe=recipe, tool=tool, left=tuple(dict.fromkeys(left)))


def _read(path: Path, data: bytes) -> tuple[str, Any, list[str]]:
    where, suffix = path.name, path.suffix.lower()
    if suffix == ".json":
        return "albumentations", *read_albumentations(_mapping(parse_json(data, where), where), where)
    if suffix in (".yml", ".yaml"):
        return "options with BasicSR's keys", *read_options(_mapping(parse_yaml(data, where), where), where)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: expected UTF-8: {error}") from error
    if suffix == ".hcl":
        return "WTP Dataset Destroyer", *read_wtp(parse_hcl(text, where), where)
    if suffix == ".py":
        return "mmagic", *read_mmagic(text, where)
    return "neosr", *read_options(_toml(text, where), where)


def _toml(text: str, where: str) -> Mapping[str, Any]:
    if sys.version_info < (3, 11):
        raise ConfigError(f"{where}: TOML needs Python 3.11; write the same keys into a file that ends in .yml")
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{where}: not TOML: {error}") from error


def _mapping(data: Any, where: str) -> Mapping[str, Any]:  # noqa: ANN401 (parsed YAML)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected keys with values, got {data!r:.80}")
    return cast("Mapping[str, Any]", data)


def _name(path: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "imported"
