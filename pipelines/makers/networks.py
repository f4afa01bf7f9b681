"""The FlipNets that a recipe runs: where and how they do, and what a data set keeps of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from degrade_kit.checks import choice, probability, whole
from degrade_kit.errors import ConfigError
from degrade_kit.network_steps import CAPTIONS, RandomFlipNet
from degrade_kit.presets import in_a_photograph, resolve_recipe
from degrade_kit.recipe import Recipe
from degrade_kit.steps import OneOf, Option

if TYPE_CHECKING:
    from degrade_kit.flipnet.degrader import Networks

Mode: TypeAlias = Literal["onthefly", "flipnet", "mix"]
"""Shorthands for recipes: the recipe itself, a FlipNet, or for each variant one of both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSettings:
    """Where the FlipNets of a recipe run, and how."""

    base_model: str | None = None
    """Base model to use in place of the one that their folders name."""
    batch_size: int = 32
    """Images that are given to a FlipNet at a time, of any faces; changes no bytes."""
    device: str | None = None
    """The first GPU, or else the CPU, where None."""
    dtype: str = "float32"
    download: bool = False
    """Whether a base model may be fetched from a hub."""

    def __post_init__(self) -> None:
        whole(1, 10_000)(self.batch_size, "batch_size")
        choice(("float32", "bfloat16", "float16"))(self.dtype, "dtype")


def flipnet_step(
    model: str,
    prompts: Mapping[str, float] | Sequence[str] | str | None = None,
    **settings: Any,  # noqa: ANN401 (fields of the step, which checks them)
) -> RandomFlipNet:
    """The step that the options of a command stand for.

    Args:
        model: Folder, or the name of a model that ships: `small` or `photos`.
        prompts: With how often each is drawn, equally often where only names are given, or `captions`; the model's own
            where None.
        **settings: Of `RandomFlipNet`; None is the model's own.

    Raises:
        ConfigError: If there is no such model, it restores, or a setting does not fit.
    """
    from degrade_kit.flipnet.config import require_packages

    require_packages()
    chosen: dict[str, Any] = {} if prompts is None else {"prompt": _given(prompts)}
    return RandomFlipNet(model=model, **chosen, **settings)


def _given(prompts: Mapping[str, float] | Sequence[str] | str) -> Any:  # noqa: ANN401 (as the step checks it)
    if isinstance(prompts, str):
        return prompts
    weights = prompts if isinstance(prompts, Mapping) else dict.fromkeys(prompts, 1.0)
    for prompt, weight in weights.items():
        if not 0 < weight < 1e9:
            raise ConfigError(f"prompts: expected a positive weight for {prompt!r}, got {weight}")
    if CAPTIONS in weights and len(weights) > 1:
        raise ConfigError(f"prompts: {CAPTIONS} stands for the caption of each image and takes no other beside it")
    return CAPTIONS if CAPTIONS in weights else dict(weights)


def flipnet_recipe(step: RandomFlipNet) -> Recipe:
    """The recipe of `--mode flipnet`: every LQ image is the FlipNet's, where the FlipNet is to act.

    That is the full size, or, of one that was trained on photographs' own pixels, a photograph in which the face is as
    large as in those; it is then written to a file, since what such a network leaves out is a camera's own JPEG.
    """
    source = "FlipNet (ICCV 2025, arXiv 2508.08556), off-shelf degradation"
    if not (sides := _face_sides(step.model)):
        return Recipe(name="flipnet", steps=(step,), source=f"{source}: degradation mode on the whole image")
    return Recipe(
        name="flipnet",
        steps=(in_a_photograph(step, sides),),
        source=f"{source}, at the size that faces have in the photographs of its training, with a file behind it",
    )


def _face_sides(model: str) -> tuple[int, ...]:
    from degrade_kit.flipnet.folder import model_folder, read_config

    return read_config(model_folder(model))[0].face_sides


def mixed_recipe(step: RandomFlipNet, share: float, recipe: Recipe) -> Recipe:
    """The recipe of `--mode mix`: an LQ image is the FlipNet's with a chance of `share`, else the recipe's."""
    options = Option(weight=share, steps=flipnet_recipe(step).steps), Option(weight=1 - share, steps=recipe.steps)
    return Recipe(
        name=f"flipnet+{recipe.name}",
        steps=(OneOf(options=options),),
        source=f"FlipNet for a share of {share:g}, else {recipe.name}. {recipe.source}".rstrip(),
        notes=recipe.notes,
    )


def shorthand_recipe(
    mode: Mode,
    mix: float,
    recipe: str | os.PathLike[str] | Recipe,
    model: str = "photos",
    prompts: Mapping[str, float] | Sequence[str] | str | None = None,
    **settings: Any,  # noqa: ANN401 (fields of the step, which checks them)
) -> Recipe:
    """The recipe that `--mode` stands for.

    Args:
        mode: What makes LQ images.
        mix: The FlipNet's share in the mode `mix`, in [0, 1].
        recipe: Name, file or recipe of the modes `onthefly` and `mix`.
        model: As for `flipnet_step`, as what follows.
        prompts: Of the FlipNet.
        **settings: Of its step.

    Raises:
        ConfigError: As `flipnet_step`, or if there is no such recipe.
    """
    choice(("onthefly", "flipnet", "mix"))(mode, "mode")
    probability(mix, "mix")
    if prompts is not None:
        _given(prompts)
    if mode == "onthefly":
        return resolve_recipe(recipe)
    step = flipnet_step(model, prompts, **settings)
    return flipnet_recipe(step) if mode == "flipnet" else mixed_recipe(step, mix, resolve_recipe(recipe))


def check_networks(recipe: Recipe, settings: NetworkSettings) -> None:
    """Make sure that all is here that the FlipNets of a recipe need, without reading weights.

    Raises:
        ConfigError: If packages, a model or its base model are missing.
    """
    if not recipe.models:
        return
    from degrade_kit.flipnet.config import require_packages
    from degrade_kit.flipnet.folder import check_model

    require_packages()
    for location in recipe.models.values():
        check_model(location, settings.base_model, download=settings.download)


def licences(recipe: Recipe) -> list[str]:
    """What the licences of the FlipNets' weights say first, each once."""
    from degrade_kit.flipnet.folder import model_folder
    from degrade_kit.flipnet.licence import licence_notice

    found = [licence_notice(model_folder(location)) for location in recipe.models.values()]
    return [notice for notice in dict.fromkeys(found) if notice]


def network_mapping(recipe: Recipe, settings: NetworkSettings) -> dict[str, Any]:
    """What of the FlipNets decides pixels beside the recipe, where they are, and their licences, for saving."""
    from importlib.metadata import version

    return {
        "models": recipe.models,
        "base_model": settings.base_model,
        "licence": " ".join(licences(recipe)),
        "device": settings.device,
        "dtype": settings.dtype,
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }


def stored_networks(resolved: Mapping[str, Any]) -> tuple[dict[str, str], NetworkSettings]:
    """The FlipNets of a resolved configuration, by digest, and how they ran; none where a CPU made everything.

    The device is not in it: the data set may be looked at on another machine.
    """
    found = cast("dict[str, Any]", resolved.get("flipnet", {}))
    if not found:
        return {}, NetworkSettings()
    # Before a FlipNet was a step, a data set had one, and the configuration named it so.
    models: dict[str, str] = found["models"] if "models" in found else {found["digest"]: found["model"]}
    return models, NetworkSettings(base_model=found["base_model"], dtype=found["dtype"])


def load_networks(
    models: Recipe | Mapping[str, str], settings: NetworkSettings, *, threads: int | None = None
) -> Networks:
    """Load the FlipNets that records need.

    Args:
        models: A recipe that runs them, or where they are, by digest.
        settings: How.
        threads: Of PyTorch, in this process; another number may round a pixel another way. As they are where None.

    Raises:
        ConfigError: If one is not there, or not the same any more.
    """
    import torch

    from degrade_kit.flipnet.degrader import Networks

    if threads is not None:
        torch.set_num_threads(max(1, threads))
    return Networks(
        models,
        base_model=settings.base_model,
        download=settings.download,
        device=settings.device,
        dtype=settings.dtype,
    ).load()
