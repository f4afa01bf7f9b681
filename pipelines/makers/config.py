"""What a data set is to be: the configuration that decides its bytes, and what a finished one keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from degrade_kit.checks import Kind, by_name, checked, choice, fields, of_kind, optional, whole
from degrade_kit.errors import ConfigError, RunError
from degrade_kit.face_points import LandmarkFile
from degrade_kit.files import parse_yaml, sha256
from degrade_kit.flipnet.config import read_fields
from degrade_kit.hq import HQ_FORMATS, HqConfig
from degrade_kit.pipelines.claim import without
from degrade_kit.pipelines.makers.captions import Captions
from degrade_kit.pipelines.makers.networks import NetworkSettings, licences
from degrade_kit.recipe import Recipe, without_places
from degrade_kit.shards import CONFIG, MANIFEST, ShardSet, read_part
from degrade_kit.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthConfig:
    """Everything that changes the bytes of a data set."""

    hq: str
    """Where the faces are: see `degrade_kit.sources.open_sources`."""
    include: str | None = None
    """Glob that the names of the sources must match."""
    lq: tuple[str, ...] = ()
    """Where LQ images of these faces are, one of each face in each place; none are made then."""
    lq_include: str | None = None
    """Glob that their names must match."""
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
    network: NetworkSettings = field(default_factory=NetworkSettings)
    """Where and how the FlipNets of the recipe run, if it has any."""
    captions: Captions | None = None
    """What a FlipNet is prompted with, where the recipe wants captions."""
    landmarks: LandmarkFile | None = None
    """Points of the faces, by the names of the sources; a source without them cannot be used then."""

    def __post_init__(self) -> None:
        whole(1, 1000)(self.variants, "variants")
        whole(0, 2**63 - 1)(self.seed, "seed")
        if self.samples_per_shard < 0:
            raise ConfigError(f"samples_per_shard: expected 0 (automatic) or more, got {self.samples_per_shard}")
        choice(("native", "full"))(self.lq_size, "lq_size")
        choice(("auto", *HQ_FORMATS))(self.hq_format, "hq_format")
        if self.image.size % self.recipe.lq_scale:
            raise ConfigError(
                f"size: expected a multiple of {self.recipe.lq_scale}, which is the lq_scale of the recipe "
                f"{self.recipe.name}, got {self.image.size}"
            )

    @property
    def licence(self) -> str:
        """What the licences of the FlipNets' weights say first; empty where there is no FlipNet, or none beside it."""
        return " ".join(licences(self.recipe))

    @property
    def maker(self) -> str:
        """Name of what makes the LQ images."""
        if self.lq:
            return f"LQ images given in {', '.join(self.lq)}"
        models = "".join(f", FlipNet {model} ({digest})" for digest, model in self.recipe.models.items())
        return f"recipe {self.recipe.name} ({self.recipe.digest()}){models}"


def comparable(resolved: dict[str, Any]) -> dict[str, Any]:
    """What of a resolved configuration decides bytes: of a FlipNet its digest, not its place nor its licence."""
    recipe = resolved.get("recipe")
    if isinstance(recipe, dict) and "steps" in recipe:
        plain = cast("dict[str, Any]", recipe)
        resolved = {**resolved, "recipe": {**plain, "steps": without_places(plain["steps"])}}
    for name in ("captions", "landmarks"):
        if name in resolved:
            resolved = {**resolved, name: without(resolved[name], ("file",))}
    flipnet = without(resolved.get("flipnet"), ("licence",))
    if not isinstance(flipnet, dict):
        return resolved
    named = cast("dict[str, Any]", flipnet)
    if "models" in named:
        return {**resolved, "flipnet": {**named, "models": list(named["models"]), "base_model": ""}}
    return {**resolved, "flipnet": {**named, "model": "", "base_model": ""}}


def fingerprint(resolved: dict[str, Any]) -> str:
    """Hash of a resolved configuration: shards of equal fingerprints belong together."""
    resolved = comparable(resolved)
    return sha256(json.dumps(resolved, sort_keys=True))


def load_plan_config(store: Store) -> dict[str, Any]:
    """The resolved configuration of a data set.

    Raises:
        RunError: If there is none, or it is damaged.
    """
    try:
        found = parse_yaml(read_part(store, CONFIG), CONFIG)
    except FileNotFoundError as error:
        raise RunError(f"{store.url}: no {CONFIG}: not a data set of degrade-kit") from error
    except ConfigError as error:
        raise RunError(f"{store.url}/{CONFIG} is damaged: {error}") from error
    where = f"{store.url}/{CONFIG}"
    return checked(checked(found, _named, where, RunError), _PLAN, where, RunError)


def plan_of(shards: ShardSet) -> dict[str, Any]:
    """The resolved configuration of a data set that can be opened.

    Raises:
        RunError: As `load_plan_config`, or if it says nothing of the recipe or the FlipNet that the manifest names.
    """
    resolved = load_plan_config(shards.store)
    if shards.manifest.get("mode", "onthefly") != "flipnet" and not isinstance(resolved["recipe"].get("steps"), list):
        raise RunError(f"damaged: {shards.store.url}/{CONFIG}: field recipe.steps: expected a list of steps")
    if "flipnet" in shards.manifest and "flipnet" not in resolved:
        raise RunError(f"damaged: {shards.store.url}/{CONFIG}: field flipnet: expected that of {MANIFEST}, found none")
    return resolved


def image_config(resolved: Mapping[str, Any]) -> HqConfig:
    """How the HQ images of a data set were made, of its resolved configuration."""
    return read_fields(HqConfig, resolved["image"], "image")


def _named(value: Any, key: str) -> Any:  # noqa: ANN401 (parsed YAML)
    """A value all of whose keys are text, so that it can be hashed."""
    if isinstance(value, dict):
        for name, entry in cast("dict[Any, Any]", value).items():
            if not isinstance(name, str):
                raise ConfigError(f"{key or 'all of it'}: expected text as key, got {name!r:.80}")
            _named(entry, f"{key}.{name:.80}" if key else f"field {name:.80}")
    elif isinstance(value, list):
        for place, entry in enumerate(cast("list[Any]", value)):
            _named(entry, f"{key}[{place}]")
    return cast("Any", value)


def _image(value: Any, key: str) -> HqConfig:  # noqa: ANN401 (parsed YAML)
    return read_fields(HqConfig, value, key)


def _flipnet(value: Any, key: str) -> dict[str, Any]:  # noqa: ANN401 (parsed YAML)
    """Check of what a data set keeps of its FlipNets, or of its one FlipNet, before that was a step of the recipe."""
    common: dict[str, Kind] = {"dtype": str, "base_model": optional(of_kind(str)), "versions": dict}
    if isinstance(value, dict) and "models" in value:
        return fields({**common, "models": by_name(str)}, may={"licence": str})(value, key)
    one = {**dict.fromkeys(("model", "digest"), str), "batch_size": range(1, 10_001), "prompts": list, "sampling": dict}
    return fields({**common, **one}, may={"licence": str})(value, key)


_PLAN = fields(
    {
        "recipe": fields({}, may={"source": str}),
        "image": _image,
    },
    may={"flipnet": _flipnet, **dict.fromkeys(("captions", "landmarks"), fields({"file": str, "sha256": str}))},
)
"""What of a data set's configuration is read again."""
