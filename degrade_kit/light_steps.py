"""Steps of recipes for light and lens: side light, dark corners, reflections, bent lines, things in the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from degrade_kit import ops
from degrade_kit.checks import Range, flag, probability, span, whole_span
from degrade_kit.step_base import BaseStep, Drawn, Rng, draw_whole, happens, uniform


@dataclass(frozen=True, kw_only=True)
class RandomUnevenLight(BaseStep):
    """Light from one side. Source: ISO/IEC 29794-5:2025, 7.3.3, illumination uniformity."""

    name: ClassVar[str] = "uneven_light"
    strength: Range = field(default=(0.3, 0.9), metadata={"check": span(0, 1)})
    """Range of the share of the light that the darkest place lacks."""
    angle: Range = field(default=(-math.pi, math.pi), metadata={"check": span(-7, 7)})
    """Range of where the shadow lies, radians from the right, counter-clockwise."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.UnevenLight(strength=uniform(rng, self.strength), angle=uniform(rng, self.angle)))


@dataclass(frozen=True, kw_only=True)
class RandomVignette(BaseStep):
    """Dark corners of a lens. Source: Goldman (PAMI 2010), the fourth power of the cosine."""

    name: ClassVar[str] = "vignette"
    strength: Range = field(default=(0.1, 0.7), metadata={"check": span(0, 0.99)})
    """Range of the share of the light that a corner lacks."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.Vignette(strength=uniform(rng, self.strength)))


@dataclass(frozen=True, kw_only=True)
class RandomReflection(BaseStep):
    """Windows and lamps in a pane before the face. Sources: Shih et al. (CVPR 2015); Fan et al. (ICCV 2017)."""

    name: ClassVar[str] = "reflection"
    strength: Range = field(default=(0.05, 0.5), metadata={"check": span(0, 10)})
    """Range of the brightest window's light, share of white in linear light."""
    blur: Range = field(default=(0.003, 0.03), metadata={"check": span(0, 1)})
    """Range of the room's blur, standard deviation as a share of the shorter side."""
    ghost: Range = field(default=(0.0, 0.05), metadata={"check": span(0, 1)})
    """Range of the distance of the second image, share of the shorter side."""
    warmth: Range = field(default=(-0.6, 0.8), metadata={"check": span(-1, 1)})
    """Range from -1, blue daylight, to 1, yellow lamps."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        ghost, angle = uniform(rng, self.ghost), uniform(rng, (-math.pi, math.pi))
        drawn.steps.append(
            ops.Reflection(
                strength=uniform(rng, self.strength),
                blur=uniform(rng, self.blur),
                right=ghost * math.cos(angle),
                down=ghost * math.sin(angle),
                warmth=uniform(rng, self.warmth),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomLensDistortion(BaseStep):
    """Straight lines that a lens bends. Source: Brown (1966), the first radial term."""

    name: ClassVar[str] = "lens_distortion"
    bend: Range = field(default=(-0.1, 0.3), metadata={"check": span(-0.25, 2)})
    """Range from a pincushion, below 0, to a barrel: how much more a corner's radius grows than the middle's."""
    target: bool = field(default=True, metadata={"check": flag})
    """Bend the training target alike, so that the two fit together."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        bent = ops.LensDistortion(bend=uniform(rng, self.bend))
        drawn.steps.append(bent)
        if self.target:
            drawn.target.append(bent)


@dataclass(frozen=True, kw_only=True)
class RandomOcclusion(BaseStep):
    """Patches that hide the picture. Source: Zhong et al., random erasing (AAAI 2020)."""

    name: ClassVar[str] = "occlusion"
    count: Range = field(default=(1.0, 3.0), metadata={"check": whole_span(0, 50)})
    """Range of how many; whole numbers, both ends included."""
    size: Range = field(default=(0.1, 0.4), metadata={"check": span(0, 2)})
    """Range of the largest one's side, share of the shorter side."""
    ellipse_prob: float = field(default=0.5, metadata={"check": probability})
    """Probability of ellipses in place of rectangles."""
    opacity: Range = field(default=(1.0, 1.0), metadata={"check": span(0, 1)})
    """Range of how much they hide."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(
            ops.Occlusion(
                count=draw_whole(rng, self.count),
                size=uniform(rng, self.size),
                ellipses=happens(rng, self.ellipse_prob),
                opacity=uniform(rng, self.opacity),
            )
        )
