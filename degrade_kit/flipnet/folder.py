"""What the folder of a FlipNet says of itself, read without torch: so that a wrong name costs no more than a look.

`degrade_kit.flipnet.checkpoint` says what is in it, and loads it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from degrade_kit.checks import checked, each, number, of_kind
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.files import local_path, read_json, utf8, write_whole
from degrade_kit.flipnet.config import FlipNetConfig, Mode, SamplingConfig, base_place, read_fields
from degrade_kit.sources import data_files

SMALL = Path(__file__).parent / "small"
"""The FlipNet of 13 words that ships with this package: `--flipnet small`."""
PHOTOS = Path(__file__).parent / "photos"
"""The same, trained further on pairs of photographs and distilled to four steps: `--flipnet photos`."""
PHOTOS_TEACHER = Path(__file__).parent / "photos-teacher"
"""What `photos` was distilled from, in as many steps as one likes: to be trained further, and distilled."""
SHIPPED: Final = {folder.name: folder for folder in (SMALL, PHOTOS, PHOTOS_TEACHER)}
"""The models that ship with this package, by name."""

CONFIG_FILE = "flipnet.json"
BASE_DIR = "base"
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
"""Folders of a base model."""
NETWORKS = PARTS[:3]
"""Those that hold weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseReference:
    """Which base model a FlipNet stands on."""

    location: str
    """A hub id, a local folder, or `base` for the bundled one."""
    revision: str | None = None
    """Revision of a hub id."""
    fingerprint: str = ""
    """See `degrade_kit.flipnet.weights.network_fingerprint`; empty is not checked."""


Prompts = tuple[tuple[str, float], ...]
"""Prompts to sample with, and how often each is drawn."""


def model_folder(location: str | Path) -> Path:
    """Find the folder of a model: a name of `SHIPPED`, or a path."""
    return SHIPPED.get(str(location)) or local_path(location)


def read_config(folder: Path) -> tuple[FlipNetConfig, BaseReference, Prompts, SamplingConfig]:
    """Read the configuration in `flipnet.json`.

    Raises:
        ConfigError: If it is missing or says something else.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        if folder in SHIPPED.values():
            raise ConfigError(
                f"the FlipNet {folder.name} is not in this installation (expected in {folder}); give a folder that `"
                "degrade-kit train-degrade` wrote"
            )
        raise ConfigError(
            f"{folder}: no {CONFIG_FILE}: not a FlipNet; give a folder that `degrade-kit train-degrade` wrote, or "
            f"{' or '.join(SHIPPED)}"
        )
    fields = checked(read_json(path), of_kind(dict), str(path))
    reference = read_fields(BaseReference, fields.pop("base", None), f"{path}: base")
    prompts = checked(fields.pop("prompts", []), each(_prompt), str(path))
    sampling = read_fields(SamplingConfig, fields.pop("sampling", {}), f"{path}: sampling")
    return FlipNetConfig.from_mapping(fields, str(path)), reference, tuple(prompts), sampling


def write_prompts(folder: Path, prompts: Prompts) -> None:
    """Replace the prompts of a model; nothing else of it changes.

    Raises:
        ConfigError: If the folder is no model.
        RunError: If it cannot be written.
    """
    path = folder / CONFIG_FILE
    fields = checked(read_json(path), of_kind(dict), str(path))
    try:
        write_whole(path, json.dumps({**fields, "prompts": [list(entry) for entry in prompts]}, indent=2) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def check_teaches(location: str | Path, sampling: SamplingConfig) -> None:
    """Make sure that a FlipNet can be trained further or distilled: one of few steps knows these few alone.

    Args:
        location: Its folder, or the name of one that ships.
        sampling: What its folder says of sampling.

    Raises:
        ConfigError: If it was distilled itself.
    """
    if sampling.solver == "lcm":
        raise ConfigError(
            f"{location}: this FlipNet was distilled, and knows the {sampling.num_steps} steps of its own solver "
            "alone; give the one that it was distilled from (of `photos`, photos-teacher)"
        )


def degrading_model(location: str | Path) -> tuple[str, Prompts, SamplingConfig]:
    """Read what the folder of a FlipNet in degradation mode says: its digest, its prompts and its settings.

    Raises:
        ConfigError: If there is no such model, or it restores.
    """
    folder = model_folder(location)
    config, _, prompts, sampling = read_config(folder)
    if config.mode is not Mode.DEGRADE:
        raise ConfigError(f"{folder}: a FlipNet that restores; give one that degrades")
    digest = _digest_of_shipped(folder) if folder in SHIPPED.values() else folder_digest(folder)
    return digest, prompts, sampling


@functools.lru_cache(maxsize=len(SHIPPED))
def _digest_of_shipped(folder: Path) -> str:
    """Hash a model of the package once: no run changes it, and a recipe may have several steps of it."""
    return folder_digest(folder)


def _prompt(value: Any, key: str) -> tuple[str, float]:  # noqa: ANN401 (parsed JSON)
    entry = cast("list[Any]", value) if isinstance(value, list) else []
    if len(entry) != 2 or not isinstance(entry[0], str):
        raise ConfigError(f"prompts{key}: expected [text, weight], got {value!r:.80}")
    return entry[0], number(0, 1e9)(entry[1], f"prompts{key}[1]")


def folder_digest(folder: Path) -> str:
    """Hash the files of weights that the folder itself holds, and its configuration: twelve hexadecimal digits."""
    digest = hashlib.sha256()
    for path in data_files(folder):
        if path.suffix in (".json", ".safetensors"):
            digest.update(utf8(path.relative_to(folder).as_posix()))
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
    return digest.hexdigest()[:12]


def check_base(location: str, *, revision: str | None = None, download: bool = False) -> None:
    """Make sure that a base model is here, without reading its weights.

    Args:
        location: A local folder, a hub id, or a name of `degrade_kit.flipnet.config.BASES`.
        revision: Revision of a hub id.
        download: Whether a hub id that is not in the local cache may be fetched, and so need not be here.

    Raises:
        ConfigError: If it is not, or a part of it is missing.
    """
    location, revision = base_place(location, revision)
    if local_path(location).is_dir():
        check_parts(local_path(location))
    elif not is_hub_id(location):
        raise ConfigError(f"base model {location}: no such folder")
    elif not download:
        from huggingface_hub import try_to_load_from_cache

        try:
            cached = try_to_load_from_cache(location, "unet/config.json", revision=revision)
        except ValueError as error:
            raise ConfigError(f"base model {location}: neither a folder nor a hub id: {error}") from error
        if not isinstance(cached, str):
            raise ConfigError(
                f"base model {location}: it is not in the local cache: allow the download (--download), or give a "
                "folder in diffusers' layout (--base-model)"
            )


def check_model(location: str | Path, base_model: str | None = None, *, download: bool = False) -> Path:
    """Make sure that a FlipNet and its base model are here, without reading their weights; return its folder.

    Args:
        location: A folder, or a name of `SHIPPED`.
        base_model: In place of the base model that the folder names.
        download: Whether a base model may be fetched from a hub.

    Raises:
        ConfigError: If one of them is not.
    """
    folder = model_folder(location)
    _, reference, _, _ = read_config(folder)
    if base_model is not None:
        check_base(base_model, download=download)
    elif reference.location == BASE_DIR:
        check_parts(folder / BASE_DIR)
    else:
        check_base(reference.location, revision=reference.revision, download=download)
    return folder


def is_hub_id(location: str) -> bool:
    """Whether a text has the form of a hub id, such as `owner/model`, and not of a path."""
    return os.sep not in location or not (location.startswith((".", os.sep, "~")) or location.count("/") != 1)


def weight_files(folder: Path) -> list[Path]:
    """List the weights of a network that diffusers loads: published folders have half precision and others beside."""
    return [path for path in data_files(folder, "*.safetensors") if "." not in path.stem]


def check_parts(folder: Path) -> None:
    """Make sure that a base model's folder has the layout of diffusers, with weights as safetensors.

    Raises:
        ConfigError: If a part is missing.
    """
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise ConfigError(
            f"base model {folder}: no folder {', '.join(missing)}; expected diffusers' layout, with {', '.join(PARTS)}"
        )
    for part in NETWORKS:
        if not weight_files(folder / part):
            pickled = next(iter((folder / part).glob("*.bin")), None)
            found = f"{pickled.name}, a pickled file; convert it to safetensors" if pickled else "none"
            raise ConfigError(f"base model {folder}: expected {part}/*.safetensors, found {found}")
