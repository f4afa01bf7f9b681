"""Steps of recipes for weather and light."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from degrade_kit import ops
from degrade_kit.camera_steps import RandomIsp
from degrade_kit.checks import Range, number, probability, span, whole_span
from degrade_kit.step_base import BaseStep, Drawn, Rng, draw_whole, normal, uniform


@dataclass(frozen=True, kw_only=True)
class RandomLowLight(BaseStep):
    """A photograph in the dark: a curve that darkens, then the sensor's noise, which is strong where light is scarce.

    Source: Lv, Li and Lu (IJCV 2021), section 3, whose ranges are the defaults; the sensor is that of `isp`.
    """

    name: ClassVar[str] = "low_light"
    gamma: Range = field(default=(1.5, 5.0), metadata={"check": span(1, 10)})
    """Range of the curve's exponent."""
    alpha: Range = field(default=(0.9, 1.0), metadata={"check": span(0, 1)})
    """Range of the factor in front of the curve."""
    beta: Range = field(default=(0.5, 1.0), metadata={"check": span(0, 1)})
    """Range of the factor behind it."""
    shot: Range = field(default=(0.0003, 0.006), metadata={"check": span(1e-7, 1)})
    """Range of the noise's variance for each unit of light in [0, 1], drawn log-uniform; see `isp`."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.LowLight(gamma=uniform(rng, self.gamma), alpha=uniform(rng, self.alpha), beta=uniform(rng, self.beta))
        )
        RandomIsp(shot=self.shot).draw(rng, drawn)


@dataclass(frozen=True, kw_only=True)
class RandomRain(BaseStep):
    """Rain: streaks at many distances, and a veil. Sources: Garg and Nayar (IJCV 2007); Yang et al. (CVPR 2017)."""

    name: ClassVar[str] = "rain"
    drops: Range = field(default=(100.0, 800.0), metadata={"check": whole_span(0, 5000)})
    """Range of the streaks in a square of the image's shorter side; whole numbers, both ends included."""
    length: Range = field(default=(0.08, 0.25), metadata={"check": span(0, 1)})
    """Range of the nearest streak's length, share of the shorter side."""
    angle: float = field(default=12.0, metadata={"check": number(0, 90)})
    """Standard deviation of the turn from straight down, degrees: wind."""
    brightness: Range = field(default=(0.25, 0.7), metadata={"check": span(0, 1)})
    """Range of what the nearest drop adds, share of white."""
    veil: Range = field(default=(0.0, 0.25), metadata={"check": span(0, 1)})
    """Range of the share of the air's light."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Rain(
                drops=draw_whole(rng, self.drops),
                length=uniform(rng, self.length),
                angle=turned(rng, self.angle),
                brightness=uniform(rng, self.brightness),
                veil=uniform(rng, self.veil),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomSnow(BaseStep):
    """Falling snow: flakes at many distances, and a veil. Source: Liu et al., DesnowNet (TIP 2018)."""

    name: ClassVar[str] = "snow"
    flakes: Range = field(default=(60.0, 500.0), metadata={"check": whole_span(0, 5000)})
    """Range of the flakes in a square of the image's shorter side; whole numbers, both ends included."""
    radius: Range = field(default=(0.01, 0.03), metadata={"check": span(0.0005, 0.2)})
    """Range of the nearest flake's radius, share of the shorter side."""
    fall: Range = field(default=(0.0, 0.05), metadata={"check": span(0, 1)})
    """Range of the nearest flake's path while the shutter is open, share of the shorter side."""
    angle: float = field(default=20.0, metadata={"check": number(0, 90)})
    """Standard deviation of the turn from straight down, degrees: wind."""
    opacity: Range = field(default=(0.5, 0.95), metadata={"check": span(0, 1)})
    """Range of how much the flakes hide."""
    veil: Range = field(default=(0.0, 0.25), metadata={"check": span(0, 1)})
    """Range of the share of white that the far snow adds."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Snow(
                flakes=draw_whole(rng, self.flakes),
                radius=uniform(rng, self.radius),
                fall=uniform(rng, self.fall),
                angle=turned(rng, self.angle),
                opacity=uniform(rng, self.opacity),
                veil=uniform(rng, self.veil),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomDepthHaze(BaseStep):
    """Haze by distance: the face is near, what is behind it far. Sources: Koschmieder; RESIDE (Li et al., TIP 2019)."""

    name: ClassVar[str] = "depth_haze"
    density: Range = field(default=(0.6, 1.8), metadata={"check": span(0, 10)})
    """Range of the air's density, for the distance of what is farthest; RESIDE's."""
    near: Range = field(default=(0.15, 0.5), metadata={"check": span(0, 1)})
    """Range of the face's distance, share of the farthest."""
    light: Range = field(default=(0.7, 1.0), metadata={"check": span(0, 1)})
    """Range of the air's light, share of white; RESIDE's."""
    warmth: float = field(default=0.04, metadata={"check": number(0, 0.5)})
    """Standard deviation of how much redder the light is than blue, share of white."""
    patches: Range = field(default=(0.0, 0.3), metadata={"check": span(0, 1)})
    """Range of the standard deviation of the density from place to place, as a share."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.DepthHaze(
                density=uniform(rng, self.density),
                near=uniform(rng, self.near),
                light=uniform(rng, self.light),
                warmth=self.warmth * normal(rng),
                patches=uniform(rng, self.patches),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomGlare(BaseStep):
    """A lamp or the sun in the picture or beside it. Sources: Spencer et al. (1995); Wu et al. (ICCV 2021)."""

    name: ClassVar[str] = "glare"
    strength: Range = field(default=(0.2, 1.5), metadata={"check": span(0, 20)})
    """Range of the light at the glow's middle, share of white in linear light."""
    across: Range = field(default=(-0.2, 1.2), metadata={"check": span(-2, 3)})
    """Range of the light's place, share of the width from the left."""
    down: Range = field(default=(-0.2, 0.5), metadata={"check": span(-2, 3)})
    """The same, share of the height from the top."""
    spread: Range = field(default=(0.08, 0.35), metadata={"check": span(0.005, 5)})
    """Range of the distance at which the glow is half as strong, share of the image's shorter side."""
    rays: Range = field(default=(0.0, 8.0), metadata={"check": whole_span(0, 32)})
    """Range of the points of the star; whole numbers, both ends included."""
    warmth: Range = field(default=(-0.2, 0.8), metadata={"check": span(-1, 1)})
    """Range of how much redder than white the light is."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Glare(
                strength=uniform(rng, self.strength),
                across=uniform(rng, self.across),
                down=uniform(rng, self.down),
                spread=uniform(rng, self.spread),
                rays=draw_whole(rng, self.rays),
                turn=uniform(rng, (0, math.pi)),
                warmth=uniform(rng, self.warmth),
            )
        )


def turned(rng: Rng, degrees: float) -> float:
    """A normal turn of this standard deviation in degrees, in radians, a quarter turn at most."""
    return min(max(math.radians(degrees) * normal(rng), -math.pi / 2), math.pi / 2)
