"""Steps of recipes for what cameras do, and for what is done to their photographs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from degrade_kit import ops
from degrade_kit.camera_ops import Demosaic, DenoiseMethod
from degrade_kit.checks import Range, flag, number, numbers_of, optional, probability, span, whole_span
from degrade_kit.step_base import BaseStep, Drawn, Rng, draw_weighted, draw_whole, normal, uniform


@dataclass(frozen=True, kw_only=True)
class RandomTone(BaseStep):
    """Other light and another development: people in the wild are lit otherwise than in portraits.

    Each field is a standard deviation: factors are drawn log-normal about 1, `exposure` normal about 0. By default,
    colours vary by what they do more in 600 faces of LFW than in 165 portraits of FFHQ, CelebA and others, and light
    about half as much as in film stills.
    """

    name: ClassVar[str] = "tone"
    exposure: float = field(default=0.3, metadata={"check": number(0, 4)})
    """Deviation of the light, in stops."""
    gamma: float = field(default=0.15, metadata={"check": number(0, 2)})
    """Deviation of the exponent's logarithm."""
    contrast: float = field(default=0.1, metadata={"check": number(0, 2)})
    """Deviation of the factor's logarithm."""
    white_balance: float = field(default=0.1, metadata={"check": number(0, 1)})
    """Deviation of the logarithm of blue's factor; red's has a bit less than half of it, rather against blue, as
    between lamps and daylight."""
    saturation: float = field(default=0.17, metadata={"check": number(0, 2)})
    """Deviation of the factor's logarithm."""
    target: bool = field(default=False, metadata={"check": flag})
    """Develop the training target alike, so that a restorer does not learn to change the light."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        warmth, tint = normal(rng), normal(rng)
        tone = ops.Tone(
            exposure=self.exposure * normal(rng),
            gamma=math.exp(self.gamma * normal(rng)),
            contrast=math.exp(self.contrast * normal(rng)),
            red=math.exp(self.white_balance * (0.24 * warmth + 0.39 * tint)),
            blue=math.exp(-self.white_balance * warmth),
            saturation=math.exp(self.saturation * normal(rng)),
        )
        drawn.steps.append(tone)
        if self.target:
            drawn.target.append(tone)


@dataclass(frozen=True, kw_only=True)
class RandomDefocus(BaseStep):
    """Blur of a lens out of focus, a disk."""

    name: ClassVar[str] = "defocus"
    radius: Range = field(metadata={"check": span(0, 100)})
    """Range of the radius of the circle of confusion, in pixels of the image as it is then."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.Defocus(radius=uniform(rng, self.radius)))


@dataclass(frozen=True, kw_only=True)
class RandomCameraShake(BaseStep):
    """Blur along the path of a shaking hand. Source: Boracchi and Foi (IEEE TIP 2012)."""

    name: ClassVar[str] = "camera_shake"
    length: Range = field(metadata={"check": span(0, 200)})
    """Range of the path's length, in pixels of the image as it is then."""
    curl: Range = field(default=(0.0, 1.0), metadata={"check": span(0, 1)})
    """Range of how much the path turns."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.CameraShake(length=uniform(rng, self.length), curl=uniform(rng, self.curl)))


@dataclass(frozen=True, kw_only=True)
class RandomAberration(BaseStep):
    """Colour fringes of a lens, the wider the farther out. Source: Kang (CVPR 2007)."""

    name: ClassVar[str] = "aberration"
    reach: Range = field(default=(0.001, 0.008), metadata={"check": span(0, 0.5)})
    """Range of how far red and blue reach apart at a corner, share of the half diagonal."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        reach = uniform(rng, self.reach) * (1 if rng.random() < 0.5 else -1)
        part = rng.random()  # of it that is red's
        drawn.steps.append(ops.Aberration(red=reach * part, blue=-reach * (1 - part)))


@dataclass(frozen=True, kw_only=True)
class RandomIsp(BaseStep):
    """A camera's sensor and processor: shot and read noise on raw, demosaicing, white balance, tone curve.

    Source: Brooks et al., "Unprocessing images for learned raw denoising" (CVPR 2019), `random_noise_levels`: the shot
    noise is drawn log-uniform, the read noise follows it on a line with a normal error.
    """

    name: ClassVar[str] = "isp"
    shot: Range = field(default=(0.0001, 0.012), metadata={"check": span(1e-7, 1)})
    """Range of the variance for each unit of light in [0, 1], drawn log-uniform."""
    read_spread: float = field(default=0.26, metadata={"check": number(0, 3)})
    """Standard deviation of the logarithm of the read noise about 2.18 log(shot) + 1.2."""
    red: Range = field(default=(1.9, 2.4), metadata={"check": span(0.5, 4)})
    """Range of the white balance's gain for red."""
    blue: Range = field(default=(1.5, 1.9), metadata={"check": span(0.5, 4)})
    demosaic: dict[Demosaic, float] = field(
        default_factory=lambda: {"linear": 1.0, "edge": 1.0}, metadata={"check": numbers_of(("linear", "edge"))}
    )
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        low, high = (math.log(end) for end in self.shot)
        log_shot = uniform(rng, (low, high))
        drawn.steps.append(
            ops.Isp(
                shot=math.exp(log_shot),
                read=min(math.exp(2.18 * log_shot + 1.2 + self.read_spread * normal(rng)), 1.0),
                red=uniform(rng, self.red),
                blue=uniform(rng, self.blue),
                demosaic=draw_weighted(rng, self.demosaic),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomDenoise(BaseStep):
    """A denoiser of a camera, phone or platform, which smooths skin as well."""

    name: ClassVar[str] = "denoise"
    method: dict[DenoiseMethod, float] = field(
        default_factory=lambda: {"bilateral": 1.0}, metadata={"check": numbers_of(("bilateral", "nlm", "median"))}
    )
    """Methods with weights: bilateral, nlm (non-local means; slow), median."""
    strength: Range = field(default=(8.0, 35.0), metadata={"check": span(0, 255)})
    """Range of what counts as noise, on the 0..255 scale; non-local means takes a third of it, and the median has a
    square of 3 pixels below 25 and of 5 above."""
    radius: Range = field(default=(1.0, 2.5), metadata={"check": span(0.1, 10)})
    """Range of the bilateral filter's radius, in pixels of the image as it is then."""
    window: Range | None = field(default=None, metadata={"check": optional(whole_span(1, 99))})
    """Range of the side of the median's square, made odd, in place of what `strength` says."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        method, strength, radius = (
            draw_weighted(rng, self.method),
            uniform(rng, self.strength),
            uniform(rng, self.radius),
        )
        if method == "bilateral":
            drawn.steps.append(ops.Denoise(method=method, strength=strength, radius=radius))
        elif method == "nlm":
            drawn.steps.append(ops.Denoise(method=method, strength=strength / 3))
        elif self.window is not None:
            drawn.steps.append(ops.Denoise(method=method, strength=float(draw_whole(rng, self.window) | 1)))
        else:
            drawn.steps.append(ops.Denoise(method=method, strength=3.0 if strength < 25 else 5.0))


@dataclass(frozen=True, kw_only=True)
class RandomSharpen(BaseStep):
    """Unsharp masking by a camera or an editor; with a large radius, halos."""

    name: ClassVar[str] = "sharpen"
    amount: Range = field(default=(0.1, 0.7), metadata={"check": span(0, 10)})
    radius: Range = field(default=(0.7, 1.3), metadata={"check": span(0.1, 50)})
    """Range of the radius, in pixels of the image as it is then; halos: 3 to 8."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.Sharpen(amount=uniform(rng, self.amount), radius=uniform(rng, self.radius)))
