"""The steps of a recipe: ranges and probabilities from which the operations of a record are drawn.

Every class draws from `np.random.Generator.random` alone, whose stream NumPy keeps, so a seed gives the same record on
every version. Fields are checked when a step is made, by hand or from YAML, with one error message for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias, cast

import numpy as np

from degrade_kit import ops
from degrade_kit.bank import Told, load_bank, shipped_banks, varied
from degrade_kit.camera_steps import (
    RandomAberration,
    RandomCameraShake,
    RandomDefocus,
    RandomDenoise,
    RandomIsp,
    RandomSharpen,
    RandomTone,
)
from degrade_kit.checks import (
    Range,
    Sizes,
    flag,
    hexadecimal,
    kernel_size,
    named_or_file,
    names,
    number,
    numbers_of,
    optional,
    positions,
    probability,
    span,
    telling,
    whole,
    whole_span,
)
from degrade_kit.codec_steps import (
    Enlarge,
    RandomAiUpscale,
    RandomAvif,
    RandomHeic,
    RandomJpeg,
    RandomVideo,
    RandomWebP,
    Repost,
)
from degrade_kit.colour_steps import (
    RandomChannelShift,
    RandomChromaSubsampling,
    RandomDither,
    RandomLevels,
)
from degrade_kit.edge_steps import (
    RandomBoxBlur,
    RandomHalo,
    RandomOutline,
)
from degrade_kit.errors import ConfigError
from degrade_kit.face_sizes import sides
from degrade_kit.frame_ops import WARP_FILTERS, WarpFilter
from degrade_kit.light_steps import (
    RandomLensDistortion,
    RandomOcclusion,
    RandomReflection,
    RandomUnevenLight,
    RandomVignette,
)
from degrade_kit.linear import FILTERS, Filter
from degrade_kit.network_steps import RandomFlipNet, known_model
from degrade_kit.noise_steps import (
    RandomCorrelatedNoise,
    RandomPerlinNoise,
    RandomSpeckleNoise,
    RandomUniformNoise,
)
from degrade_kit.print_steps import (
    RandomCreases,
    RandomDust,
    RandomFade,
    RandomFilmGrain,
    RandomHalftone,
    RandomScratches,
    RandomSepia,
)
from degrade_kit.screen_steps import (
    RandomBanding,
    RandomInterference,
    RandomInterlace,
    RandomPalette,
    RandomPixelate,
    RandomScreenCapture,
    RandomWatermark,
)
from degrade_kit.step_base import (
    NOMINAL_SIDE,
    BaseStep,
    Drawn,
    Rng,
    draw_side,
    draw_size,
    draw_weighted,
    draw_whole,
    happens,
    normal,
    permutation,
    uniform,
)
from degrade_kit.weather_steps import RandomDepthHaze, RandomGlare, RandomLowLight, RandomRain, RandomSnow

KERNEL_KINDS: tuple[ops.KernelKind, ...] = (
    "iso",
    "aniso",
    "generalized_iso",
    "generalized_aniso",
    "plateau_iso",
    "plateau_aniso",
)


def _any_steps(value: Any, key: str) -> tuple[Step, ...]:  # noqa: ANN401 (user input)
    """Check of a list of steps, which may be empty."""
    steps = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else None
    if steps is None or not all(isinstance(step, BaseStep) for step in steps):
        raise ConfigError(f"{key}: expected a list of steps, got {value!r}")
    return tuple(cast("Sequence[Step]", steps))


telling(_any_steps, {"type": "array", "items": {"$ref": "#/$defs/step"}})


def _some_steps(value: Any, key: str) -> tuple[Step, ...]:  # noqa: ANN401 (user input)
    """Check of a list of at least one step."""
    steps = _any_steps(value, key)
    if not steps:
        raise ConfigError(f"{key}: expected at least one step")
    return steps


telling(_some_steps, {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1})


@dataclass(frozen=True, kw_only=True)
class RandomBlur(BaseStep):
    """Blur by a kernel of the Gaussian family. Source of the draws: basicsr `random_mixed_kernels`."""

    name: ClassVar[str] = "blur"
    alternatives = ("sigma", "variance")
    kernels: dict[ops.KernelKind, float] = field(
        default_factory=lambda: {"iso": 1.0}, metadata={"check": numbers_of(KERNEL_KINDS)}
    )
    """Kinds with their weights, which need not sum to 1."""
    sigma: Range | None = field(default=None, metadata={"check": optional(span(0, 200))})
    """Range of the standard deviation in pixels; an anisotropic kernel draws one for each axis."""
    variance: Range | None = field(default=None, metadata={"check": optional(span(0, 40000))})
    """Instead of `sigma`: range of its square (BSRGAN draws eigenvalues)."""
    support: int | str | tuple[int, ...] = field(default=41, metadata={"check": kernel_size(full=True)})
    """Side of the kernel: odd number (published face recipes: 41), several to choose from, or `full` (see
    `degrade_kit.kernels.full_size`)."""
    rotation: Range = field(default=(-math.pi, math.pi), metadata={"check": span(-7, 7)})
    """Range of the angle of anisotropic kernels, radians."""
    beta_generalized: Range = field(default=(0.5, 4.0), metadata={"check": span(0.01, 20)})
    """Shape of generalised kernels: half of the draws below 1, half above."""
    beta_plateau: Range = field(default=(1.0, 2.0), metadata={"check": span(0.01, 20)})
    """Shape of plateau kernels, likewise."""
    full_size_pixels: bool = field(default=False, metadata={"check": flag})
    """Read `sigma` in pixels of the full size: an image already shrunk by s is blurred with sigma / s. Without it, a
    blur that a shuffle puts behind a shrink to 16 pixels leaves one flat colour."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.sigma is None) == (self.variance is None):
            raise ConfigError("blur: expected exactly one of `sigma` and `variance`")

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        kind = draw_weighted(rng, self.kernels)
        sigma_x = self._sigma(rng, drawn.scale)
        sigma_y, rotation, beta = sigma_x, 0.0, 1.0
        if kind.endswith("aniso"):
            sigma_y, rotation = self._sigma(rng, drawn.scale), uniform(rng, self.rotation)
        if kind.startswith(("generalized", "plateau")):
            low, high = self.beta_generalized if kind.startswith("generalized") else self.beta_plateau
            below = rng.random() < 0.5
            beta = uniform(rng, (low, max(low, 1.0)) if below else (min(high, 1.0), high))
        size = draw_size(rng, self.support, max(sigma_x, sigma_y))
        drawn.steps.append(
            ops.Blur(kernel=kind, size=size, sigma_x=sigma_x, sigma_y=sigma_y, rotation=rotation, beta=beta)
        )

    def _sigma(self, rng: Rng, scale: float) -> float:
        unit = max(scale, 1.0) if self.full_size_pixels else 1.0
        if self.sigma is not None:
            return uniform(rng, self.sigma) / unit
        assert self.variance is not None
        return math.sqrt(uniform(rng, self.variance)) / unit


@dataclass(frozen=True, kw_only=True)
class RandomSincBlur(BaseStep):
    """Circular low-pass filter that rings. Source: Real-ESRGAN, section 3.3."""

    name: ClassVar[str] = "sinc_blur"
    support: int | str | tuple[int, ...] = field(metadata={"check": kernel_size(full=False)})
    cutoff: Range = field(default=(math.pi / 3, math.pi), metadata={"check": span(0.01, 3.1416)})
    """Range of the cut-off frequency, radians per pixel."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        size = draw_size(rng, self.support, 0.0)
        drawn.steps.append(ops.SincBlur(size=size, cutoff=min(uniform(rng, self.cutoff), math.pi)))


@dataclass(frozen=True, kw_only=True)
class RandomMotionBlur(BaseStep):
    """Blur along a straight line of any direction."""

    name: ClassVar[str] = "motion_blur"
    length: Range = field(metadata={"check": span(0, 200)})
    """Range of the path's length in pixels."""
    angle: Range = field(default=(0.0, math.pi), metadata={"check": span(-7, 7)})
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        length = uniform(rng, self.length)
        size = 2 * math.ceil(length / 2) + 1
        drawn.steps.append(ops.MotionBlur(size=size, length=length, angle=uniform(rng, self.angle)))


@dataclass(frozen=True, kw_only=True)
class RandomResize(BaseStep):
    """Resampling to a drawn size. The last one of a recipe goes back to the full size: `resize: {scale: 1}`."""

    name: ClassVar[str] = "resize"
    alternatives = ("scale", "factor", "side")
    scale: Range | None = field(default=None, metadata={"check": optional(span(0.1, 512))})
    """Range of HQ side / side after this step, drawn uniformly; below 1 enlarges."""
    factor: Range | None = field(default=None, metadata={"check": optional(span(1 / 512, 10))})
    """Instead of `scale`: range of its inverse, drawn uniformly (Real-ESRGAN draws so)."""
    side: Sizes | None = field(default=None, metadata={"check": optional(sides(1, 4096))})
    """Instead of `scale`: pixels of the shorter side after this step; see `degrade_kit.face_sizes.sides`."""
    filter: tuple[Filter, ...] = field(default=("linear",), metadata={"check": names(FILTERS)})
    """One of linear, cubic, area, cubic_aa, or several with equal chances."""
    clip: bool = field(default=False, metadata={"check": flag})
    """Clip to [0, 255] afterwards, as BSRGAN does."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def __post_init__(self) -> None:
        super().__post_init__()
        if [self.scale, self.factor, self.side].count(None) != 2:
            raise ConfigError("resize: expected exactly one of `scale`, `factor` and `side`")

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        side, scale = 0, 1.0
        if self.side is not None:
            side = draw_side(rng, self.side)
            scale = NOMINAL_SIDE / side
        elif self.scale is not None:
            scale = uniform(rng, self.scale)
        else:
            assert self.factor is not None
            scale = 1.0 / uniform(rng, self.factor)
        chosen = self.filter[draw_whole(rng, (0, len(self.filter) - 1))]
        drawn.scale = scale
        drawn.steps.append(ops.ResizeSide(side=side, filter=chosen) if side else ops.Resize(scale=scale, filter=chosen))
        if self.clip and chosen in ("cubic", "cubic_aa"):  # the others cannot leave the range
            drawn.steps.append(ops.Clip())


@dataclass(frozen=True, kw_only=True)
class RandomDecimate(BaseStep):
    """Gaussian blur and every n-th pixel. Source: BSRGAN, second branch of `downsample2`."""

    name: ClassVar[str] = "decimate"
    factor: int = field(metadata={"check": whole(1, 16)})
    """The kernel of 25 pixels can be moved by less than half of that, with its tails."""
    sigma: Range = field(metadata={"check": span(0, 100)})
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.scale *= self.factor
        drawn.steps.append(ops.Decimate(factor=self.factor, sigma=uniform(rng, self.sigma)))


@dataclass(frozen=True, kw_only=True)
class RandomGaussianNoise(BaseStep):
    """White Gaussian noise of a drawn strength."""

    name: ClassVar[str] = "gaussian_noise"
    level: Range = field(metadata={"check": span(0, 255)})
    """Range of the standard deviation on the 0..255 scale."""
    whole: bool = field(default=False, metadata={"check": flag})
    """Draw whole numbers, both ends included."""
    gray_prob: float = field(default=0.0, metadata={"check": probability})
    """Probability of one field for the three channels."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.whole:
            whole_span(0, 255)(self.level, f"{self.name}.level")

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        level = float(draw_whole(rng, self.level)) if self.whole else uniform(rng, self.level)
        drawn.steps.append(ops.GaussianNoise(level=level, gray=happens(rng, self.gray_prob)))


@dataclass(frozen=True, kw_only=True)
class RandomCovarianceNoise(BaseStep):
    """Gaussian noise with a random covariance of the channels. Source: BSRGAN `add_Gaussian_noise`, third kind."""

    name: ClassVar[str] = "covariance_noise"
    level: float = field(default=25.0, metadata={"check": number(0, 255)})
    """Largest standard deviation on the 0..255 scale."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        spread = np.diag([rng.random() for _ in range(3)])
        basis = np.linalg.svd(np.array([[rng.random() for _ in range(3)] for _ in range(3)]))[0]
        covariance = np.abs(self.level**2 * basis.T @ spread @ basis)
        drawn.steps.append(ops.CovarianceNoise(covariance=tuple(float(value) for value in covariance.ravel())))


@dataclass(frozen=True, kw_only=True)
class RandomPoissonNoise(BaseStep):
    """Shot noise. Source: basicsr `random_generate_poisson_noise`."""

    name: ClassVar[str] = "poisson_noise"
    scale: Range = field(metadata={"check": span(0, 20)})
    """Range of the multiple of the natural strength."""
    gray_prob: float = field(default=0.0, metadata={"check": probability})
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.PoissonNoise(scale=uniform(rng, self.scale), gray=happens(rng, self.gray_prob)))


@dataclass(frozen=True, kw_only=True)
class RandomImpulseNoise(BaseStep):
    """Single pixels black or white. Source: Gonzalez and Woods, salt-and-pepper noise."""

    name: ClassVar[str] = "impulse_noise"
    share: Range = field(metadata={"check": span(0, 1)})
    """Range of the share of the pixels."""
    white: Range = field(default=(0.3, 0.7), metadata={"check": span(0, 1)})
    """Range of the share of these that are white."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.ImpulseNoise(share=uniform(rng, self.share), white=uniform(rng, self.white)))


@dataclass(frozen=True, kw_only=True)
class RandomColorShift(BaseStep):
    """A constant for each channel. Source: GFPGAN `color_jitter`."""

    name: ClassVar[str] = "color_shift"
    limit: float = field(default=20.0, metadata={"check": number(0, 255)})
    """Each channel moves by U(-limit, limit) on the 0..255 scale."""
    gray_prob: float = field(default=0.0, metadata={"check": probability})
    """Probability of one constant for the three channels."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        ends = (-self.limit, self.limit)
        if happens(rng, self.gray_prob):
            red = green = blue = uniform(rng, ends)
        else:
            red, green, blue = (uniform(rng, ends) for _ in range(3))
        drawn.steps.append(ops.ColorShift(red=red, green=green, blue=blue))


@dataclass(frozen=True, kw_only=True)
class RandomColorJitter(BaseStep):
    """Brightness, contrast, saturation and hue in random order. Source: GFPGAN `color_jitter_pt`."""

    name: ClassVar[str] = "color_jitter"
    brightness: Range = field(default=(0.5, 1.5), metadata={"check": span(0, 10)})
    contrast: Range = field(default=(0.5, 1.5), metadata={"check": span(0, 10)})
    saturation: Range = field(default=(0.0, 1.5), metadata={"check": span(0, 10)})
    hue: Range = field(default=(-0.1, 0.1), metadata={"check": span(-0.5, 0.5)})
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        parts = tuple(ops.JITTERS)
        drawn.steps.append(
            ops.ColorJitter(
                order=tuple(parts[i] for i in permutation(rng, len(parts))),
                brightness=uniform(rng, self.brightness),
                contrast=uniform(rng, self.contrast),
                saturation=uniform(rng, self.saturation),
                hue=uniform(rng, self.hue),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomGray(BaseStep):
    """Gray LQ, and a gray target too if asked, so that a restorer does not learn to invent colours."""

    name: ClassVar[str] = "gray"
    target: bool = field(default=False, metadata={"check": flag})
    """Make the training target gray as well (`gt_gray` of GFPGAN's options)."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        del rng
        drawn.steps.append(ops.Gray())
        if self.target:
            drawn.target.append(ops.Gray())


@dataclass(frozen=True, kw_only=True)
class RandomHaze(BaseStep):
    """Blend towards white. Source: RestoreFormer++ `hazy_prob`."""

    name: ClassVar[str] = "haze"
    alpha: Range = field(metadata={"check": span(0, 1)})
    """Range of the share that the image keeps."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.Haze(alpha=uniform(rng, self.alpha)))


@dataclass(frozen=True, kw_only=True)
class RandomShift(BaseStep):
    """Move the face, in the target and in the LQ image. Source: RestoreFormer++ `shift_prob`."""

    name: ClassVar[str] = "shift"
    limit: int = field(default=32, metadata={"check": whole(0, 256)})
    """Each axis moves by a whole number of pixels in [-limit, limit]."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        right, down = (draw_whole(rng, (-self.limit, self.limit)) for _ in range(2))
        shift = ops.Shift(right=right, down=down)
        drawn.steps.append(shift)
        drawn.target.append(shift)


@dataclass(frozen=True, kw_only=True)
class Shuffle(BaseStep):
    """Steps in random order."""

    name: ClassVar[str] = "shuffle"
    steps: tuple[Step, ...] = field(metadata={"check": _some_steps})
    in_order: tuple[int, ...] = field(default=(), metadata={"check": positions})
    """Positions in `steps`, from 0, that keep their order among themselves (BSRGAN's two resizes)."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(position >= len(self.steps) for position in self.in_order):
            raise ConfigError(f"shuffle.in_order: expected positions below {len(self.steps)}, got {self.in_order}")

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        order = permutation(rng, len(self.steps))
        ordered = iter(sorted(self.in_order))
        for position in [next(ordered) if at in self.in_order else at for at in order]:
            self.steps[position].draw(rng, drawn)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One choice of `one_of`."""

    weight: float = field(metadata={"check": number(0, 1e6)})
    steps: tuple[Step, ...] = field(metadata={"check": _any_steps})

    def __post_init__(self) -> None:
        for item in fields(self):
            object.__setattr__(self, item.name, item.metadata["check"](getattr(self, item.name), item.name))


def _options(value: Any, key: str) -> tuple[Option, ...]:  # noqa: ANN401 (user input)
    """Check of a list of options, one of them with a chance."""
    options = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else ()
    if not options or not all(isinstance(option, Option) for option in options):
        raise ConfigError(f"{key}: expected a list of `weight` and `steps`, got {value!r}")
    if sum(cast("Option", option).weight for option in options) <= 0:
        raise ConfigError(f"{key}: expected a positive weight for at least one option")
    return tuple(cast("Sequence[Option]", options))


telling(
    _options,
    {
        "type": "array",
        "items": {"$ref": "#/$defs/option"},
        "contains": {"properties": {"weight": {"exclusiveMinimum": 0}}},
    },
)


@dataclass(frozen=True, kw_only=True)
class OneOf(BaseStep):
    """One of several lists of steps, by weight; an empty list is a choice too."""

    name: ClassVar[str] = "one_of"
    options: tuple[Option, ...] = field(metadata={"check": _options})
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        option = self.options[draw_weighted(rng, {i: option.weight for i, option in enumerate(self.options)})]
        for step in option.steps:
            step.draw(rng, drawn)


@dataclass(frozen=True, kw_only=True)
class FromBank(BaseStep):
    """A record of a bank, varied: how photographs of a set are degraded, as often as they are; `degrade_kit.bank`."""

    name: ClassVar[str] = "bank"
    file: str = field(metadata={"check": named_or_file(shipped_banks(), ".json")})
    """Name of a bank that comes with the package, or a file that ends in .json."""
    vary: float = field(default=0.1, metadata={"check": number(0, 1)})
    """Standard deviation of the logarithm of the factors by which strengths are varied."""
    digest: str = field(default="", metadata={"check": hexadecimal})
    """Hash of the bank's records; filled in, and checked where it is given."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def __post_init__(self) -> None:
        super().__post_init__()
        bank = load_bank(self.file)
        digest = bank.digest
        if self.digest not in ("", digest):
            raise ConfigError(f"bank {self.file}: expected the bank {self.digest}, found {digest}")
        for model, place in bank.models.items():
            known_model(place, model)
        object.__setattr__(self, "digest", digest)
        # Not a field, but pickled with the step: a worker elsewhere need not have the file.
        object.__setattr__(self, "_records", bank.records)
        object.__setattr__(self, "_told", bank.told)
        object.__setattr__(self, "_models", dict(bank.models))

    @property
    def models(self) -> dict[str, str]:
        """Where each FlipNet is that a record of the bank needs, by its digest."""
        return cast("dict[str, str]", getattr(self, "_models"))  # noqa: B009

    @property
    def records(self) -> tuple[tuple[ops.Op, ...], ...]:
        """List the records of the bank."""
        return cast("tuple[tuple[ops.Op, ...], ...]", getattr(self, "_records"))  # noqa: B009

    def libraries(self) -> dict[str, str]:
        """List the libraries that the bank's records need, with their versions."""
        return ops.libraries_of(op for record in self.records for op in record)

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        chosen = self.records[draw_whole(rng, (0, len(self.records) - 1))]
        told = cast("tuple[Told, ...]", getattr(self, "_told"))  # noqa: B009
        drawn.steps.extend(varied(chosen, self.vary, rng, told))
        drawn.scale = 1.0


@dataclass(frozen=True, kw_only=True)
class PhotoFrame(BaseStep):
    """A photograph round the face, which is small and turned in it; `steps` degrade it, and an aligner cuts it out.

    So noise, blocks and blur have the size and direction that they have in photographs, and LQ and HQ stay registered.
    It always ends at the full size.
    """

    name: ClassVar[str] = "photo_frame"
    side: Sizes = field(metadata={"check": sides(8, 2048)})
    """Pixels of the face's side in the photograph; see `degrade_kit.face_sizes.sides`."""
    steps: tuple[Step, ...] = field(default=(), metadata={"check": _any_steps})
    """What happens to the photograph."""
    turn: float = field(default=9.0, metadata={"check": number(0, 90)})
    """Standard deviation of the face's turn, degrees; faces of photographs: 9."""
    filter: dict[WarpFilter, float] = field(
        default_factory=lambda: {"linear": 1.0, "cubic": 1.0}, metadata={"check": numbers_of(tuple(WARP_FILTERS))}
    )
    """Filter of the aligner: linear, cubic or lanczos, with weights."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        side = draw_side(rng, self.side)
        angle = math.radians(self.turn) * normal(rng)
        # A codec's blocks, which repeat after 16 pixels at most, lie anywhere on the face.
        right, down = (uniform(rng, (-8.0, 8.0)) for _ in range(2))
        drawn.steps.append(ops.Frame(side=side, angle=angle, right=right, down=down))
        drawn.scale = NOMINAL_SIDE / side
        for step in self.steps:
            step.draw(rng, drawn)
        chosen = draw_weighted(rng, self.filter)
        drawn.steps.append(ops.Unframe(side=side, angle=angle, right=right, down=down, filter=chosen))
        drawn.scale = 1.0


@dataclass(frozen=True, kw_only=True)
class Uneven(BaseStep):
    """`steps` drawn once for the whole image, or, with `square_prob`, once for a square and again for the rest.

    Source: RestoreFormer++ `uneven_prob`.
    """

    name: ClassVar[str] = "uneven"
    steps: tuple[Step, ...] = field(metadata={"check": _some_steps})
    """Must end at the full size if they resize."""
    square_prob: float = field(metadata={"check": probability})
    side: Range = field(default=(0.25, 0.5), metadata={"check": span(0.01, 1)})
    """Range of the square's side as a share of the image's."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        if rng.random() >= self.square_prob:
            for step in self.steps:
                step.draw(rng, drawn)
            return
        inside, outside = (Drawn(scale=drawn.scale, caption=drawn.caption) for _ in range(2))
        for half in (inside, outside):
            for step in self.steps:
                step.draw(rng, half)
        drawn.scale = outside.scale
        drawn.steps.append(
            ops.Uneven(
                side=uniform(rng, self.side),
                left=rng.random(),
                top=rng.random(),
                inside=tuple(inside.steps),
                outside=tuple(outside.steps),
            )
        )


Step: TypeAlias = (
    RandomBlur
    | RandomSincBlur
    | RandomMotionBlur
    | RandomResize
    | RandomDecimate
    | RandomGaussianNoise
    | RandomCovarianceNoise
    | RandomPoissonNoise
    | RandomJpeg
    | RandomWebP
    | RandomAvif
    | RandomHeic
    | RandomVideo
    | Repost
    | RandomColorShift
    | RandomColorJitter
    | RandomGray
    | RandomHaze
    | RandomShift
    | Enlarge
    | RandomAiUpscale
    | RandomTone
    | RandomDefocus
    | RandomCameraShake
    | RandomIsp
    | RandomDenoise
    | RandomSharpen
    | RandomLowLight
    | RandomRain
    | RandomSnow
    | RandomDepthHaze
    | RandomGlare
    | RandomScratches
    | RandomCreases
    | RandomDust
    | RandomFade
    | RandomSepia
    | RandomFilmGrain
    | RandomHalftone
    | RandomScreenCapture
    | RandomBanding
    | RandomPalette
    | RandomInterlace
    | RandomWatermark
    | RandomAberration
    | RandomImpulseNoise
    | RandomPixelate
    | RandomInterference
    | RandomUniformNoise
    | RandomSpeckleNoise
    | RandomPerlinNoise
    | RandomCorrelatedNoise
    | RandomBoxBlur
    | RandomHalo
    | RandomOutline
    | RandomLevels
    | RandomChannelShift
    | RandomChromaSubsampling
    | RandomDither
    | RandomUnevenLight
    | RandomVignette
    | RandomReflection
    | RandomLensDistortion
    | RandomOcclusion
    | RandomFlipNet
    | Shuffle
    | OneOf
    | PhotoFrame
    | FromBank
    | Uneven
)

STEPS: dict[str, type[Step]] = {
    step.name: step
    for step in (
        RandomBlur,
        RandomSincBlur,
        RandomMotionBlur,
        RandomResize,
        RandomDecimate,
        RandomGaussianNoise,
        RandomCovarianceNoise,
        RandomPoissonNoise,
        RandomJpeg,
        RandomWebP,
        RandomAvif,
        RandomHeic,
        RandomVideo,
        Repost,
        RandomColorShift,
        RandomColorJitter,
        RandomGray,
        RandomHaze,
        RandomShift,
        Enlarge,
        RandomAiUpscale,
        RandomTone,
        RandomDefocus,
        RandomCameraShake,
        RandomIsp,
        RandomDenoise,
        RandomSharpen,
        RandomLowLight,
        RandomRain,
        RandomSnow,
        RandomDepthHaze,
        RandomGlare,
        RandomScratches,
        RandomCreases,
        RandomDust,
        RandomFade,
        RandomSepia,
        RandomFilmGrain,
        RandomHalftone,
        RandomScreenCapture,
        RandomBanding,
        RandomPalette,
        RandomInterlace,
        RandomWatermark,
        RandomAberration,
        RandomImpulseNoise,
        RandomPixelate,
        RandomInterference,
        RandomUniformNoise,
        RandomSpeckleNoise,
        RandomPerlinNoise,
        RandomCorrelatedNoise,
        RandomBoxBlur,
        RandomHalo,
        RandomOutline,
        RandomLevels,
        RandomChannelShift,
        RandomChromaSubsampling,
        RandomDither,
        RandomUnevenLight,
        RandomVignette,
        RandomReflection,
        RandomLensDistortion,
        RandomOcclusion,
        RandomFlipNet,
        Shuffle,
        OneOf,
        PhotoFrame,
        FromBank,
        Uneven,
    )
}
"""Every step by the name that a recipe file gives it."""
