"""What a run is to make: its configuration, resolved to the last detail, and its sources."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast

from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.image import Decoded, decode_image
from degrade_kit.prepare import HQ_FORMATS, HqConfig, HqFormat, likely_format, versions
from degrade_kit.presets import PRESETS, preset
from degrade_kit.recipe import Recipe, load_recipe, nearest, parse_yaml, recipe_from_mapping
from degrade_kit.shards import CONFIG
from degrade_kit.sources import Sources, display_name, open_sources
from degrade_kit.store import Store
from pipelines.flipnet_settings import FlipNetSettings, flipnet_mapping, resolve_flipnet

Mode = Literal["onthefly", "flipnet", "mix"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthConfig:
    """Everything that changes the bytes of a data set."""

    hq: str
    """Where the faces are: see `degrade_kit.sources.open_sources`."""
    include: str | None = None
    """Glob that the names of the sources must match."""
    recipe: Recipe
    variants: int = 1
    """LQ images for each HQ image."""
    seed: int = 0
    samples_per_shard: int = 0
    """0 chooses from the number of sources: an eighth of them, 1000 at most."""
    lq_size: Literal["native", "full"] = "native"
    """`full` stores LQ images already enlarged to the HQ size."""
    image: HqConfig = field(default_factory=HqConfig)
    hq_format: Literal["auto", "png", "jpg", "webp"] = "auto"
    """`auto` looks at some sources: their format if all of them can be passed through, else PNG."""
    mode: Mode = "onthefly"
    """What makes LQ images: the recipe, a FlipNet, or either."""
    mix: float = 0.5
    """In the mode `mix`, the chance of each variant to be the FlipNet's."""
    flipnet: FlipNetSettings | None = None
    """Of the modes `flipnet` and `mix`."""

    def __post_init__(self) -> None:
        if not 1 <= self.variants <= 1000:
            raise ConfigError(f"variants: expected a whole number within [1, 1000], got {self.variants}")
        if self.samples_per_shard < 0:
            raise ConfigError(f"samples_per_shard: expected 0 (automatic) or more, got {self.samples_per_shard}")
        if not 0 <= self.mix <= 1:
            raise ConfigError(f"mix: expected a number within [0, 1], got {self.mix}")

    @property
    def maker(self) -> str:
        """Name of what makes the LQ images."""
        recipe = f"recipe {self.recipe.name} ({self.recipe.digest()})"
        if self.mode == "onthefly" or self.flipnet is None:
            return recipe
        flipnet = f"FlipNet {self.flipnet.model} ({self.flipnet.digest})"
        return flipnet if self.mode == "flipnet" else f"{flipnet} for a share of {self.mix:g}, else {recipe}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A resolved configuration with its sources."""

    config: SynthConfig
    sources: Sources
    lq_extension: str
    num_shards: int
    resolved: dict[str, Any]
    """The configuration as saved beside the data."""

    def extent(self, index: int) -> tuple[int, int]:
        """First source of a shard, and one past its last."""
        first = index * self.config.samples_per_shard
        return first, min(first + self.config.samples_per_shard, len(self.sources.names))

    @property
    def fingerprint(self) -> str:
        """Of the resolved configuration."""
        return fingerprint(self.resolved)


def resolve_recipe(name: str) -> Recipe:
    """A preset by name, or a recipe file.

    Raises:
        ConfigError: If it is neither, or the file is wrong.
    """
    if name in PRESETS:
        return preset(name)
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return load_recipe(name)
    raise ConfigError(f"unknown preset `{name}`; {nearest(name, PRESETS)} (a recipe file ends in .yaml)")


def make_plan(config: SynthConfig) -> Plan:
    """List the sources and settle everything that was left open.

    Raises:
        ConfigError: If there are no sources, or an option does not fit.
    """
    sources = open_sources(config.hq, include=config.include)
    count = len(sources.names)
    config = replace(
        config,
        samples_per_shard=config.samples_per_shard or min(1000, max(1, -(-count // 8))),
        image=replace(config.image, format=_hq_format(config, sources)),
    )
    if config.mode != "onthefly":
        from degrade_kit.flipnet.config import require_packages

        require_packages()
        config = replace(config, flipnet=resolve_flipnet(config.flipnet or FlipNetSettings()))
    native = config.recipe.native_format() if config.lq_size == "native" and config.mode == "onthefly" else None
    resolved: dict[str, Any] = {
        "format": 1,
        "recipe": config.recipe.to_mapping(),
        "variants": config.variants,
        "seed": config.seed,
        "samples_per_shard": config.samples_per_shard,
        "lq_size": config.lq_size,
        "lq_extension": native or "png",
        "include": config.include or "",
        "image": asdict(config.image),
        "num_sources": count,
        "sources_sha256": hashlib.sha256("\n".join(map(display_name, sources.names)).encode()).hexdigest(),
        "versions": versions(),
    }
    if config.flipnet is not None and config.mode != "onthefly":
        resolved |= {"mode": config.mode, "mix": config.mix, "flipnet": flipnet_mapping(config.flipnet)}
    return Plan(
        config=config,
        sources=sources,
        lq_extension=native or "png",
        num_shards=-(-count // config.samples_per_shard),
        resolved=resolved,
    )


def comparable(resolved: dict[str, Any]) -> dict[str, Any]:
    """What of a resolved configuration decides bytes: not where a FlipNet lies, whose digest is there."""
    if "flipnet" not in resolved:
        return resolved
    return {**resolved, "flipnet": {**resolved["flipnet"], "model": "", "base_model": ""}}


def fingerprint(resolved: dict[str, Any]) -> str:
    """Hash of a resolved configuration: shards of equal fingerprints belong together."""
    resolved = comparable(resolved)
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()


def load_plan_config(store: Store) -> dict[str, Any]:
    """The resolved configuration of a data set.

    Raises:
        RunError: If there is none.
    """
    try:
        found = parse_yaml(store.read(CONFIG).decode("utf-8"), CONFIG)
    except FileNotFoundError as error:
        raise RunError(f"{store.url}: no {CONFIG}: not a data set of degrade-kit") from error
    except (ConfigError, UnicodeDecodeError) as error:
        raise RunError(f"{store.url}/{CONFIG} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise RunError(f"{store.url}/{CONFIG} is damaged: expected `key: value` pairs, got {found!r}")
    return cast("dict[str, Any]", found)


def stored_recipe(resolved: dict[str, Any]) -> Recipe:
    """The recipe of a resolved configuration."""
    return recipe_from_mapping(resolved["recipe"], CONFIG)


def _hq_format(config: SynthConfig, sources: Sources) -> HqFormat:
    if config.hq_format != "auto":
        assert config.hq_format in HQ_FORMATS
        return config.hq_format
    count = len(sources.names)
    probes = sorted({i * (count - 1) // 15 for i in range(16)}) if count > 1 else [0]
    return likely_format([_probe(sources, index, config.image.min_side) for index in probes], config.image.size)


def _probe(sources: Sources, index: int, min_side: int) -> Decoded | None:
    try:
        return decode_image(sources.read(index), min_side=min_side)
    except ImageError:
        return None
