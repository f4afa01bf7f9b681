"""Steps of recipes for screens, old video, and pictures with few colours or a stamp on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from degrade_kit import ops
from degrade_kit.checks import (
    Range,
    number,
    numbers_of,
    one_or_several,
    probability,
    span,
    telling,
    text,
    whole_span,
)
from degrade_kit.errors import ConfigError
from degrade_kit.screen_ops import MAX_TEXT, Fields
from degrade_kit.step_base import (
    BaseStep,
    Drawn,
    Rng,
    draw_log_whole,
    draw_weighted,
    draw_whole,
    happens,
    normal,
    uniform,
)
from degrade_kit.weather_steps import turned


@dataclass(frozen=True, kw_only=True)
class RandomScreenCapture(BaseStep):
    """A photograph of a screen, with moire. Source: Liu, Shu and Wu, arXiv 1804.03809 (2018), section 3."""

    name: ClassVar[str] = "screen_capture"
    pitch: Range = field(default=(0.9, 2.2), metadata={"check": span(0.3, 20)})
    """Range of the distance of the screen's pixels, in pixels of the image as it is then."""
    contrast: Range = field(default=(0.05, 0.5), metadata={"check": span(0, 1)})
    """Range of how much of the screen's stripes the lens lets through."""
    angle: float = field(default=4.0, metadata={"check": number(0, 90)})
    """Standard deviation of the screen's turn, degrees."""
    tilt: float = field(default=0.02, metadata={"check": number(0, 0.5)})
    """Standard deviation of how much smaller the screen's pixels are at each edge than in the middle, as a share."""
    bend: float = field(default=0.01, metadata={"check": number(0, 0.5)})
    """Standard deviation of the same at a corner by the lens."""
    glow: Range = field(default=(0.005, 0.05), metadata={"check": span(0, 1)})
    """Range of the light of the screen's black, share of white in linear light."""
    noise: Range = field(default=(0.002, 0.015), metadata={"check": span(0, 1)})
    """Range of the standard deviation of the sensor's noise, share of white in linear light."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        tilt_right, tilt_down, bend = (
            min(max(width * normal(rng), -0.9), 0.9) for width in (self.tilt, self.tilt, self.bend)
        )
        drawn.steps.append(
            ops.ScreenCapture(
                pitch=uniform(rng, self.pitch),
                contrast=uniform(rng, self.contrast),
                angle=turned(rng, self.angle),
                tilt_right=tilt_right,
                tilt_down=tilt_down,
                bend=bend,
                glow=uniform(rng, self.glow),
                noise=uniform(rng, self.noise),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomBanding(BaseStep):
    """Few levels for each channel. Source: Tu et al., BBAND (ICASSP 2020)."""

    name: ClassVar[str] = "banding"
    levels: Range = field(default=(8.0, 48.0), metadata={"check": whole_span(2, 256)})
    """Range of the levels, drawn log-uniformly; whole numbers, both ends included."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.Banding(levels=draw_log_whole(rng, self.levels)))


@dataclass(frozen=True, kw_only=True)
class RandomPixelate(BaseStep):
    """Blocks of one colour each, as faces are made unknown. Source of the idea: WTP Dataset Destroyer."""

    name: ClassVar[str] = "pixelate"
    block: Range = field(default=(2.0, 10.0), metadata={"check": span(1, 512)})
    """Range of a block's side, in pixels of the image as it is then."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.Pixelate(block=uniform(rng, self.block)))


@dataclass(frozen=True, kw_only=True)
class RandomInterference(BaseStep):
    """A wave over the picture: hum in video, lamps that flicker. Source: Gonzalez and Woods, periodic noise."""

    name: ClassVar[str] = "interference"
    level: Range = field(default=(2.0, 16.0), metadata={"check": span(0, 255)})
    """Range of the amplitude, 0..255 scale."""
    period: Range = field(default=(4.0, 80.0), metadata={"check": span(1, 4096)})
    """Range of the wave's length, in pixels of the image as it is then, drawn log-uniformly."""
    angle: float = field(default=3.0, metadata={"check": number(0, 90)})
    """Standard deviation of the stripes' turn from level, degrees."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        low, high = (math.log(end) for end in self.period)
        drawn.steps.append(
            ops.Interference(
                level=uniform(rng, self.level),
                period=math.exp(uniform(rng, (low, high))),
                angle=turned(rng, self.angle),
                phase=uniform(rng, (0, 2 * math.pi)),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomPalette(BaseStep):
    """A few colours for the whole picture, as in GIF files. Sources: Heckbert (1982); Floyd and Steinberg (1976)."""

    name: ClassVar[str] = "palette"
    colours: Range = field(default=(8.0, 256.0), metadata={"check": whole_span(2, 256)})
    """Range of the number of colours, drawn log-uniformly; whole numbers, both ends included."""
    dither_prob: float = field(default=0.7, metadata={"check": probability})
    """Probability of error diffusion."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Palette(colours=draw_log_whole(rng, self.colours), dither=happens(rng, self.dither_prob))
        )


@dataclass(frozen=True, kw_only=True)
class RandomInterlace(BaseStep):
    """Two fields of a moving picture in one. Source: de Haan and Bellers (Proceedings of the IEEE 1998)."""

    name: ClassVar[str] = "interlace"
    motion: Range = field(default=(0.5, 4.0), metadata={"check": span(0, 64)})
    """Range of the movement between the fields, in pixels of the image as it is then."""
    fields: dict[Fields, float] = field(
        default_factory=lambda: {"weave": 1.0}, metadata={"check": numbers_of(("weave", "blend"))}
    )
    """What is made of the two, with weights: weave, blend."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        speed = uniform(rng, self.motion) * (1 if rng.random() < 0.5 else -1)
        # People and cameras move sideways rather than up and down.
        angle = turned(rng, 15.0)
        drawn.steps.append(
            ops.Interlace(
                right=speed * math.cos(angle), down=speed * math.sin(angle), fields=draw_weighted(rng, self.fields)
            )
        )


def _texts(value: Any, key: str) -> tuple[str, ...]:  # noqa: ANN401 (user input)
    """Check of one text or several: printable ASCII, which is what can be drawn."""
    many = cast("list[Any]", value) if isinstance(value, (list, tuple)) else [value]
    found = tuple(text(one, key) for one in many)
    for one in found:
        if not (one.isascii() and one.isprintable() and len(one.strip()) >= 1 and len(one) <= MAX_TEXT):
            raise ConfigError(f"{key}: expected 1 to {MAX_TEXT} printable letters of ASCII, got {one!r:.200}")
    if not found:
        raise ConfigError(f"{key}: expected at least one text")
    return found


telling(
    _texts, one_or_several({"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": "^[ -~]*[!-~][ -~]*$"})
)


@dataclass(frozen=True, kw_only=True)
class RandomWatermark(BaseStep):
    """A text over the picture, half transparent. Source: Dekel et al. (CVPR 2017), equation 1."""

    name: ClassVar[str] = "watermark"
    text: tuple[str, ...] = field(
        default=("SAMPLE", "PREVIEW", "(c) PHOTO AGENCY", "stock photo", "12/08/2004 21:37"),
        metadata={"check": _texts},
    )
    """One or several with equal chances; printable letters of ASCII."""
    opacity: Range = field(default=(0.2, 0.8), metadata={"check": span(0, 1)})
    size: Range = field(default=(0.03, 0.1), metadata={"check": span(0.005, 1)})
    """Range of a capital letter's height, share of the image's shorter side."""
    tiled_prob: float = field(default=0.5, metadata={"check": probability})
    """Probability that the text is repeated over the whole picture, turned by 30 degrees; else it stands once."""
    dark_prob: float = field(default=0.2, metadata={"check": probability})
    """Probability of black in place of white."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        tiled = happens(rng, self.tiled_prob)
        drawn.steps.append(
            ops.Watermark(
                text=self.text[draw_whole(rng, (0, len(self.text) - 1))],
                opacity=uniform(rng, self.opacity),
                size=uniform(rng, self.size),
                across=uniform(rng, (0.3, 0.7)),
                down=uniform(rng, (0.1, 0.9)),
                angle=math.radians(30) if tiled else 0.0,
                tiled=tiled,
                level=0 if happens(rng, self.dark_prob) else 255,
            )
        )
