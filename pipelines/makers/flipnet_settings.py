"""Which FlipNet makes LQ images: what is asked for, what its folder says, and what a data set keeps of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from degrade_kit.checks import choice, whole
from degrade_kit.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipNetSettings:
    """Which FlipNet makes LQ images, and how."""

    model: str = "small"
    """Folder of a model, or `small` for the one that ships."""
    base_model: str | None = None
    """Base model to use in place of the one that the folder names."""
    prompts: tuple[tuple[str, float], ...] | None = None
    """Prompts and how often each is drawn; none at all is the null prompt, None stands for the model's own list."""
    overrides: dict[str, Any] = field(default_factory=dict[str, Any])
    """Fields of its sampling that are not to be the model's own."""
    batch_size: int = 10
    """Most images of a face that are made at once."""
    device: str | None = None
    dtype: str = "float32"
    download: bool = False
    """Whether its base model may be fetched from a hub."""
    digest: str = ""
    """Digest of the model; found by `resolve_flipnet`."""
    sampling: Any = None
    """`degrade_kit.flipnet.sampling.SamplingConfig`; found by `resolve_flipnet`."""
    licence: str = ""
    """What the LICENSE of the model says first; found by `resolve_flipnet`, empty where there is none."""

    def __post_init__(self) -> None:
        whole(1, 10_000)(self.batch_size, "batch_size")
        choice(("float32", "bfloat16", "float16"))(self.dtype, "dtype")


def weighted_prompts(prompts: Mapping[str, float] | Sequence[str] | None) -> tuple[tuple[str, float], ...] | None:
    """Prompts with how often each is drawn, in order; equally often where only names are given.

    Raises:
        ConfigError: If a weight is not positive.
    """
    if prompts is None:
        return None
    weights = prompts if isinstance(prompts, Mapping) else dict.fromkeys(prompts, 1.0)
    for prompt, weight in weights.items():
        if not 0 < weight < 1e9:
            raise ConfigError(f"prompts: expected a positive weight for {prompt!r}, got {weight}")
    return tuple(weights.items())


def resolve_flipnet(settings: FlipNetSettings) -> FlipNetSettings:
    """Resolve what the settings leave open from the model's folder.

    Raises:
        ConfigError: If there is no such model, or it does not degrade.
    """
    from degrade_kit.flipnet.folder import check_model, folder_digest, read_config
    from degrade_kit.flipnet.licence import licence_notice

    folder = check_model(settings.model, settings.base_model, download=settings.download)
    config, _, prompts, sampling = read_config(folder)
    if config.mode.value != "degrade":
        raise ConfigError(f"{folder}: a FlipNet that restores; `synth` needs one that degrades")
    overrides = {key: value for key, value in settings.overrides.items() if value is not None}
    return dataclasses.replace(
        settings,
        digest=folder_digest(folder),
        prompts=prompts if settings.prompts is None else settings.prompts,
        sampling=dataclasses.replace(sampling, **overrides),
        licence=licence_notice(folder),
    )


def stored_flipnet(resolved: dict[str, Any]) -> FlipNetSettings | None:
    """The FlipNet of a resolved configuration; None where a recipe made everything."""
    if "flipnet" not in resolved:
        return None
    found = resolved["flipnet"]
    # Not the device: it may be looked at on another machine.
    return FlipNetSettings(**{key: found[key] for key in ("model", "base_model", "dtype", "digest", "batch_size")})


def flipnet_mapping(settings: FlipNetSettings) -> dict[str, Any]:
    """What of a FlipNet decides pixels, and its licence, for the saved configuration."""
    from importlib.metadata import version

    return {
        "model": settings.model,
        "base_model": settings.base_model,
        "digest": settings.digest,
        "licence": settings.licence,
        "prompts": [list(entry) for entry in settings.prompts or ()],
        "sampling": asdict(settings.sampling),
        "batch_size": settings.batch_size,
        "device": settings.device,
        "dtype": settings.dtype,
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
