"""What a training run names, looked for before torch is imported: a wrong path is said in a second, not in ten.

The runs themselves check more, and later: see `plan_degrade_training` and `check_restore_training`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from degrade_kit.analysis.weights import find
from degrade_kit.errors import ConfigError
from degrade_kit.files import local_path
from degrade_kit.flipnet.folder import check_base, check_model
from degrade_kit.flipnet.pairs import kind_of
from degrade_kit.presets import resolve_recipe
from degrade_kit.shards import open_shards
from degrade_kit.sources import open_sources


def check_degrade_paths(
    sections: Mapping[str, Any],
    *,
    pairs: Sequence[tuple[str, str]],
    faces: str | None,
    start: str | None,
    base_model: str | None,
    download: bool,
) -> None:
    """Make sure that what `train-degrade` is given is there.

    Args:
        sections: The configuration, before it is checked; see `degrade_kit.pipelines.claim.read_run_config`.
        pairs: Kind and folder of each set of real pairs.
        faces: Where the HQ faces are.
        start: FlipNet to train further, if there is one.
        base_model: In place of the configuration's.
        download: Whether a base model may be fetched from a hub.

    Raises:
        ConfigError: If something is not.
    """
    for source, folder in pairs:
        kind_of(source)
        if not local_path(folder).is_dir():
            raise ConfigError(f"pairs {source}={folder}: expected a folder, found none")
    if faces is not None:
        open_sources(faces)
    presets = _section(sections, "data").get("presets")
    for preset in cast("list[Any]", presets) if isinstance(presets, list) else []:
        _check_recipe(preset)
    if start:
        check_model(start, download=download)
    _check_base(sections, base_model, download=download)


def check_distill_paths(flipnet: str, faces: str, *, base_model: str | None, download: bool) -> None:
    """Make sure that what `distill` is given is there.

    Args:
        flipnet: Folder of the teacher, or the name of one that ships.
        faces: Where the HQ faces are.
        base_model: In place of the teacher's own.
        download: Whether a base model may be fetched from a hub.

    Raises:
        ConfigError: If something is not.
    """
    open_sources(faces)
    check_model(flipnet, base_model, download=download)


def check_restore_paths(
    sections: Mapping[str, Any],
    *,
    data_sets: Sequence[str],
    weights: Mapping[str, Path],
    autoencoders: Path | None,
    restores: bool,
    base_model: str | None,
    download: bool,
) -> None:
    """Make sure that what `train-restore` is given is there.

    Args:
        sections: The configuration, before it is checked; see `degrade_kit.pipelines.claim.read_run_config`.
        data_sets: Folders or URLs of shards.
        weights: What `--weights` says, by name.
        autoencoders: Folder of autoencoders, if one is given.
        restores: Whether the restorer is trained, which needs the base model.
        base_model: In place of the configuration's.
        download: Whether a base model may be fetched from a hub.

    Raises:
        ConfigError: If something is not.
        ShardError: If a data set is not whole.
    """
    for place in data_sets:
        open_shards(place)
    for name in weights:
        find(name, weights)
    if autoencoders is not None and not autoencoders.is_dir():
        raise ConfigError(f"--autoencoders: {autoencoders}: no such folder; expected RUN/association/model")
    _check_recipe(_section(sections, "data").get("onthefly"))
    if restores:
        _check_base(sections, base_model, download=download)


def _section(sections: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of a file whose values are checked later, and may be anything now."""
    found = sections.get(name)
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


def _check_recipe(recipe: Any) -> None:  # noqa: ANN401 (parsed YAML)
    if isinstance(recipe, str) and recipe:
        resolve_recipe(recipe)


def _check_base(sections: Mapping[str, Any], base_model: str | None, *, download: bool) -> None:
    location = sections.get("base_model") if base_model is None else base_model
    if isinstance(location, str) and location:
        revision = sections.get("revision")
        check_base(location, revision=revision if isinstance(revision, str) else None, download=download)
