"""Steps of recipes for noise of other kinds than white Gaussian noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from degrade_kit import ops
from degrade_kit.checks import Range, probability, span, whole_span
from degrade_kit.step_base import BaseStep, Drawn, Rng, draw_whole, happens, uniform


@dataclass(frozen=True, kw_only=True)
class RandomUniformNoise(BaseStep):
    """White noise, all values within a range equally likely. Source: Widrow, Kollar and Liu (IEEE TIM 1996)."""

    name: ClassVar[str] = "uniform_noise"
    level: Range = field(metadata={"check": span(0, 255)})
    """Range of the largest change, 0..255 scale."""
    gray_prob: float = field(default=0.0, metadata={"check": probability})
    """Probability of one field for the three channels."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.UniformNoise(level=uniform(rng, self.level), gray=happens(rng, self.gray_prob)))


@dataclass(frozen=True, kw_only=True)
class RandomSpeckleNoise(BaseStep):
    """Noise in proportion to the image. Sources: Jain (1989), 8.13; ImageNet-C, Hendrycks and Dietterich (2019)."""

    name: ClassVar[str] = "speckle_noise"
    level: Range = field(metadata={"check": span(0, 4)})
    """Range of the factors' standard deviation about 1."""
    gray_prob: float = field(default=0.0, metadata={"check": probability})
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.SpeckleNoise(level=uniform(rng, self.level), gray=happens(rng, self.gray_prob)))


@dataclass(frozen=True, kw_only=True)
class RandomPerlinNoise(BaseStep):
    """Clouds of gradient noise: stains, smoke, uneven paper. Source: Perlin (SIGGRAPH 1985 and 2002)."""

    name: ClassVar[str] = "perlin_noise"
    level: Range = field(default=(4.0, 24.0), metadata={"check": span(0, 255)})
    """Range of the standard deviation, 0..255 scale."""
    period: Range = field(default=(0.05, 0.5), metadata={"check": span(0.005, 4)})
    """Range of the side of the coarsest octave's cells, share of the shorter side, drawn log-uniformly."""
    octaves: Range = field(default=(1.0, 4.0), metadata={"check": whole_span(1, 8)})
    """Range of how many octaves; whole numbers, both ends included."""
    persistence: Range = field(default=(0.4, 0.7), metadata={"check": span(0, 1)})
    """Range of an octave's height over that of the coarser one before it."""
    gray_prob: float = field(default=0.7, metadata={"check": probability})
    """Probability of one field for the three channels."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        low, high = (math.log(end) for end in self.period)
        drawn.steps.append(
            ops.PerlinNoise(
                level=uniform(rng, self.level),
                period=math.exp(uniform(rng, (low, high))),
                octaves=draw_whole(rng, self.octaves),
                persistence=uniform(rng, self.persistence),
                gray=happens(rng, self.gray_prob),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomCorrelatedNoise(BaseStep):
    """Noise of luma and of colour apart, in grains or streaks. Source: Nam et al. (CVPR 2016)."""

    name: ClassVar[str] = "correlated_noise"
    luma: Range = field(default=(1.0, 12.0), metadata={"check": span(0, 255)})
    """Range of luma's standard deviation, 0..255 scale."""
    chroma: Range = field(default=(1.0, 12.0), metadata={"check": span(0, 255)})
    """Range of that of Cb and Cr each."""
    size: Range = field(default=(0.0, 2.0), metadata={"check": span(0, 20)})
    """Range of a grain's standard deviation, in pixels of the image as it is then."""
    length: Range = field(default=(0.0, 0.0), metadata={"check": span(0, 100)})
    """Range of the length of streaks, likewise; none by default."""
    angle: Range = field(default=(0.0, math.pi), metadata={"check": span(-7, 7)})
    """Range of the streaks' direction, radians."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.CorrelatedNoise(
                luma=uniform(rng, self.luma),
                chroma=uniform(rng, self.chroma),
                size=uniform(rng, self.size),
                length=uniform(rng, self.length),
                angle=uniform(rng, self.angle),
            )
        )
