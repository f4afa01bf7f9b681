"""Steps of recipes for levels and channels: curves, planes that lie apart, colour of fewer pixels, dithering."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, get_args

from degrade_kit import ops
from degrade_kit.checks import Range, number, numbers_of, probability, span, whole_span
from degrade_kit.colour_ops import ChannelSpace, DitherMethod, Enlarging
from degrade_kit.errors import ConfigError
from degrade_kit.step_base import BaseStep, Drawn, Rng, draw_log_whole, draw_weighted, uniform

_SAMPLINGS: dict[str, tuple[int, int]] = {
    "4:2:2": (2, 1),
    "4:2:0": (2, 2),
    "4:4:0": (1, 2),
    "4:1:1": (4, 1),
    "4:1:0": (4, 2),
    "quarter": (4, 4),
}
"""Pixels of luma along a row and a column for one of colour; `quarter` is that of worn VHS and small video calls."""


@dataclass(frozen=True, kw_only=True)
class RandomLevels(BaseStep):
    """Black that is gray, and white that is not white, as in editors' levels and in video's range (ITU-R BT.601)."""

    name: ClassVar[str] = "levels"
    low: Range = field(default=(0.0, 48.0), metadata={"check": span(0, 255)})
    """Range of what black becomes, 0..255 scale."""
    high: Range = field(default=(190.0, 255.0), metadata={"check": span(0, 255)})
    """Range of what white becomes."""
    gamma: Range = field(default=(0.8, 1.25), metadata={"check": span(0.05, 20)})
    """Range of the exponent; above 1 darkens the middle."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low[1] > self.high[0]:
            raise ConfigError(f"levels.low: expected at most levels.high, {self.high[0]:g}, got {self.low[1]:g}")

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Levels(low=uniform(rng, self.low), high=uniform(rng, self.high), gamma=uniform(rng, self.gamma))
        )


@dataclass(frozen=True, kw_only=True)
class RandomChannelShift(BaseStep):
    """Channels that do not lie on each other, as of a press out of register, or the colour of analogue video."""

    name: ClassVar[str] = "channel_shift"
    space: dict[ChannelSpace, float] = field(
        default_factory=lambda: {"rgb": 1.0, "ycc": 1.0, "cmyk": 1.0},
        metadata={"check": numbers_of(get_args(ChannelSpace))},
    )
    """Which channels, with weights: rgb, ycc (luma, Cb and Cr), cmyk (black stays)."""
    limit: float = field(default=2.0, metadata={"check": number(0, 256)})
    """Each of three channels moves by U(-limit, limit) along each axis, in pixels of the image as it is then; luma, and
    of red, green and blue the green one, stays."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        space = draw_weighted(rng, self.space)
        stays = {"rgb": 1, "ycc": 0}.get(space)
        right, down = (
            tuple(0.0 if channel == stays else uniform(rng, (-self.limit, self.limit)) for channel in range(3))
            for _ in range(2)
        )
        drawn.steps.append(ops.ChannelShift(space=space, right=right, down=down))


@dataclass(frozen=True, kw_only=True)
class RandomChromaSubsampling(BaseStep):
    """Colour of fewer pixels than luma, as in video. Source: ITU-R BT.601; Poynton (2002), for the names."""

    name: ClassVar[str] = "chroma_subsampling"
    sampling: dict[str, float] = field(
        default_factory=lambda: {"4:2:0": 1.0, "4:1:1": 1.0, "4:1:0": 1.0, "quarter": 1.0},
        metadata={"check": numbers_of(tuple(_SAMPLINGS))},
    )
    """Names with weights: 4:2:2, 4:2:0, 4:4:0, 4:1:1, 4:1:0, quarter."""
    enlarging: dict[Enlarging, float] = field(
        default_factory=lambda: {"linear": 1.0, "nearest": 1.0}, metadata={"check": numbers_of(get_args(Enlarging))}
    )
    """Filter that brings the colours back, with weights: linear, nearest."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        across, down = _SAMPLINGS[draw_weighted(rng, self.sampling)]
        drawn.steps.append(
            ops.ChromaSubsampling(across=across, down=down, enlarging=draw_weighted(rng, self.enlarging))
        )


@dataclass(frozen=True, kw_only=True)
class RandomDither(BaseStep):
    """Few levels, whose errors neighbours get. Sources: Floyd and Steinberg (1976), and those of `ops.Dither`."""

    name: ClassVar[str] = "dither"
    levels: Range = field(default=(2.0, 16.0), metadata={"check": whole_span(2, 256)})
    """Range of the levels of a channel, drawn log-uniformly; whole numbers, both ends included."""
    method: dict[DitherMethod, float] = field(
        default_factory=lambda: {"floyd_steinberg": 1.0, "atkinson": 1.0, "ordered": 1.0},
        metadata={"check": numbers_of(get_args(DitherMethod))},
    )
    """How, with weights: floyd_steinberg, jarvis_judice_ninke, stucki, atkinson, burkes, sierra, two_row_sierra,
    sierra_lite, ordered, riemersma."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.Dither(levels=draw_log_whole(rng, self.levels), method=draw_weighted(rng, self.method)))
