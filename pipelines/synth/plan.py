"""What a run is to make: its configuration, resolved to the last detail, and its sources."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from degrade_kit.errors import ImageError
from degrade_kit.files import sha256
from degrade_kit.hq import HQ_FORMATS, HqFormat, likely_format, versions
from degrade_kit.image import Decoded, decode_image
from degrade_kit.pipelines.images import list_images
from degrade_kit.pipelines.makers.captions import open_captions
from degrade_kit.pipelines.makers.config import SynthConfig, fingerprint
from degrade_kit.pipelines.makers.networks import check_networks, network_mapping
from degrade_kit.pipelines.synth.given import GivenImages, find_given, likely_lq_format
from degrade_kit.sources import Sources, display_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A resolved configuration with its sources."""

    config: SynthConfig
    sources: Sources
    lq_extension: str
    given: tuple[GivenImages, ...]
    """The LQ images that were given, one of each source in each."""
    num_shards: int
    resolved: dict[str, Any]
    """The configuration as saved beside the data."""

    def extent(self, index: int) -> tuple[int, int]:
        """Return the first source of a shard, and one past its last."""
        first = index * self.config.samples_per_shard
        return first, min(first + self.config.samples_per_shard, len(self.sources.names))

    def count(self, shards: Iterable[int]) -> int:
        """Sources in some shards."""
        return sum(last - first for first, last in map(self.extent, shards))

    @property
    def fingerprint(self) -> str:
        """The hash of the resolved configuration."""
        return fingerprint(self.resolved)


def make_plan(config: SynthConfig) -> Plan:
    """List the sources and resolve everything that was left open.

    Raises:
        ConfigError: If there are no sources, or an option does not fit.
    """
    sources, given = list_images(config.hq, include=config.include), list[GivenImages]()
    if config.lq:
        given, sources = find_given(sources, config.lq, config.lq_include)
    count = len(sources.names)
    config = replace(
        config,
        samples_per_shard=config.samples_per_shard or min(1000, max(1, -(-count // 8))),
        image=replace(config.image, format=_hq_format(config, sources)),
    )
    check_networks(config.recipe, config.network)
    if config.recipe.captioned and config.captions is None:
        config = replace(config, captions=open_captions(None, config.recipe))
    native = config.recipe.native_format() if config.lq_size == "native" else None
    if given and config.lq_size == "native":
        native = likely_lq_format(given, config.image.size)
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
        "sources_sha256": sha256("\n".join(map(display_name, sources.names))),
        "versions": versions(config.recipe),
    }
    if config.recipe.models:
        resolved["flipnet"] = network_mapping(config.recipe, config.network)
    if config.captions is not None:
        resolved["captions"] = config.captions.to_mapping()
    if given:
        names = [[display_name(images.sources.names[place]) for place in images.places] for images in given]
        resolved["lq"] = {"include": config.lq_include or "", "sources_sha256": sha256(json.dumps(names))}
    if config.landmarks is not None:
        resolved["landmarks"] = config.landmarks.to_mapping()
    return Plan(
        config=config,
        sources=sources,
        lq_extension=native or "png",
        given=tuple(given),
        num_shards=-(-count // config.samples_per_shard),
        resolved=resolved,
    )


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
