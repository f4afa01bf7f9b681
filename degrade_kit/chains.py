"""The two chains that the field trains with, as steps of a recipe; presets and foreign files give the numbers.

`first_order` is GFPGAN's for faces, `ChainPass` and `second_order` are Real-ESRGAN's for photographs. Keys of their
option files stand in the docstrings, since half of the field keeps their names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from degrade_kit.checks import Range
from degrade_kit.codec_steps import Enlarge
from degrade_kit.linear import Filter
from degrade_kit.ops import KernelKind
from degrade_kit.steps import (
    OneOf,
    Option,
    RandomBlur,
    RandomGaussianNoise,
    RandomJpeg,
    RandomPoissonNoise,
    RandomResize,
    RandomSincBlur,
    Step,
)

FULL: Final = RandomResize(scale=(1, 1))
FULL_CUBIC: Final = RandomResize(scale=(1, 1), filter=("cubic",))
ANY_FILTER: Final[tuple[Filter, ...]] = ("area", "linear", "cubic")

_SINC_CUT: Final = 13
"""Sinc kernels of fewer pixels have a lowest cut-off of pi/3, others of pi/5."""


def first_order(
    *,
    sigma: Range,
    scale: Range,
    noise: Range,
    jpeg: Range,
    support: int | tuple[int, ...] = 41,
    kernels: Mapping[KernelKind, float] | None = None,
    after_blur: tuple[Step, ...] = (),
) -> tuple[Step, ...]:
    """Blur, shrink, noise, JPEG, back to full size: the model of GFPGAN (Wang et al., CVPR 2021), equation 1.

    Args:
        sigma: `blur_sigma`, pixels.
        scale: `downsample_range`, HQ side / side.
        noise: `noise_range`, standard deviation on the 0..255 scale.
        jpeg: `jpeg_range`.
        support: `blur_kernel_size`.
        kernels: `kernel_list` with `kernel_prob`; round and elongated ones in equal shares where none is given.
        after_blur: Steps between blur and shrink.
    """
    return (
        RandomBlur(kernels=dict(kernels or {"iso": 0.5, "aniso": 0.5}), sigma=sigma, support=support),
        *after_blur,
        RandomResize(scale=scale),
        RandomGaussianNoise(level=noise),
        RandomJpeg(quality=jpeg),
        FULL,
    )


def _all_kernels() -> dict[KernelKind, float]:
    return {
        "iso": 0.45,
        "aniso": 0.25,
        "generalized_iso": 0.12,
        "generalized_aniso": 0.03,
        "plateau_iso": 0.12,
        "plateau_aniso": 0.03,
    }


@dataclass(frozen=True, kw_only=True)
class ChainPass:
    """One of the two passes of Real-ESRGAN's chain; what is left out is as published there for the first pass."""

    kernels: Mapping[KernelKind, float] = field(default_factory=_all_kernels)
    """`kernel_list` with `kernel_prob`."""
    sizes: tuple[int, ...] = tuple(range(7, 22, 2))
    """Sides of kernels, in the code (`kernel_range`) and not in the options, whose `blur_kernel_size` pads them."""
    sigma: Range = (0.2, 3.0)
    """`blur_sigma`."""
    generalized: Range = (0.5, 4.0)
    """`betag_range`."""
    plateau: Range = (1.0, 2.0)
    """`betap_range`."""
    sinc: float = 0.1
    """`sinc_prob`."""
    blur_prob: float = 1.0
    """`second_blur_prob`, of the second pass; traiNNer-redux has one for each."""
    up_down_keep: tuple[float, float, float] = (0.2, 0.7, 0.1)
    """`resize_prob`."""
    factors: Range = (0.15, 1.5)
    """`resize_range`."""
    filters: tuple[Filter, ...] = ANY_FILTER
    """Filters of the resize, with equal chances."""
    keep_resamples: bool = True
    """Resize also where the size is kept; traiNNer-redux then leaves the image as it is."""
    gaussian_prob: float = 0.5
    """`gaussian_noise_prob`; the rest is Poisson noise."""
    level: Range = (1.0, 30.0)
    """`noise_range`, standard deviation on the 0..255 scale."""
    poisson: Range = (0.05, 3.0)
    """`poisson_scale_range`."""
    gray_prob: float = 0.4
    """`gray_noise_prob`."""
    jpeg: Range = (30.0, 95.0)
    """`jpeg_range`."""
    jpeg_prob: float = 1.0

    def blur(self) -> tuple[Step, ...]:
        """Blur by a kernel of the Gaussian family, or by a sinc."""
        if not self.blur_prob:
            return ()
        kernels: dict[KernelKind, float] = {kind: weight for kind, weight in self.kernels.items() if weight}
        gaussian = RandomBlur(
            kernels=kernels,
            sigma=self.sigma,
            support=self.sizes,
            beta_generalized=self.generalized,
            beta_plateau=self.plateau,
        )
        small, large = (tuple(size for size in self.sizes if (size < _SINC_CUT) == less) for less in (True, False))
        options = (
            Option(weight=1 - self.sinc, steps=(gaussian,)),
            *(
                Option(
                    weight=self.sinc * len(sizes) / len(self.sizes),
                    steps=(RandomSincBlur(support=sizes, cutoff=(lowest, math.pi)),),
                )
                for sizes, lowest in ((small, math.pi / 3), (large, math.pi / 5))
                if sizes
            ),
        )
        return _chosen(options, self.blur_prob)

    def resize(self, base: float = 1.0) -> tuple[Step, ...]:
        """Resize to `base` of the full size, times a factor that enlarges, shrinks or keeps."""
        (up, down, keep), (low, high) = self.up_down_keep, self.factors
        kept = (RandomResize(factor=(base, base), filter=self.filters),) if self.keep_resamples else ()
        return _chosen(
            (
                Option(weight=up, steps=(RandomResize(factor=(base, base * high), filter=self.filters),)),
                Option(weight=down, steps=(RandomResize(factor=(base * low, base), filter=self.filters),)),
                Option(weight=keep, steps=kept),
            )
        )

    def rescale(self) -> tuple[Step, ...]:
        """Resize by such a factor of the size that the image has then."""
        (up, down, keep), (low, high) = self.up_down_keep, self.factors
        return _chosen(
            (
                Option(weight=up, steps=(Enlarge(factor=(1, high), filter=self.filters),)),
                Option(weight=down, steps=(Enlarge(factor=(low, 1), filter=self.filters),)),
                Option(weight=keep, steps=()),
            )
        )

    def noise(self) -> tuple[Step, ...]:
        """Add Gaussian or Poisson noise."""
        gaussian = RandomGaussianNoise(level=self.level, gray_prob=self.gray_prob)
        poisson = RandomPoissonNoise(scale=self.poisson, gray_prob=self.gray_prob)
        if self.level[1] == self.poisson[1] == 0:
            return ()
        return _chosen(
            (
                Option(weight=self.gaussian_prob, steps=(gaussian,)),
                Option(weight=1 - self.gaussian_prob, steps=(poisson,)),
            )
        )

    def compress(self) -> tuple[Step, ...]:
        """Save as JPEG, where the chain does."""
        return (RandomJpeg(quality=self.jpeg, prob=self.jpeg_prob),) if self.jpeg_prob else ()


FIRST: Final = ChainPass()
"""The first pass as Real-ESRGAN published it."""
SECOND: Final = ChainPass(
    sigma=(0.2, 1.5),
    blur_prob=0.8,
    up_down_keep=(0.3, 0.4, 0.3),
    factors=(0.3, 1.2),
    level=(1.0, 25.0),
    poisson=(0.05, 2.5),
)
"""The second."""


def second_order(
    first: ChainPass = FIRST,
    second: ChainPass = SECOND,
    *,
    scale: int = 4,
    final_sinc: float = 0.8,
    final_sizes: Sequence[int] | None = None,
    final_filters: tuple[Filter, ...] = ANY_FILTER,
    second_prob: float = 1.0,
    clean_prob: float = 0.0,
) -> tuple[Step, ...]:
    """Degrade twice, then end with a sinc and JPEG in either order: the model of Real-ESRGAN (Wang et al., ICCVW 2021).

    The image ends at the full size, by a cubic filter.

    Args:
        first: Numbers of the first pass.
        second: Numbers of the second, whose resize starts from 1 / `scale` of the full size.
        scale: HQ side / side of the LQ image.
        final_sinc: `final_sinc_prob`.
        final_sizes: Sides of that kernel; those of the second pass where none are given.
        final_filters: Filters of the resize to the LQ size.
        second_prob: `second_order_prob` of ResShift: probability of the second pass.
        clean_prob: `no_degradation_prob` of StableSR: probability that nothing is done.
    """
    sizes = tuple(final_sizes or second.sizes)
    sinc = (RandomSincBlur(support=sizes, prob=final_sinc),) if final_sinc else ()
    back = (RandomResize(scale=(scale, scale), filter=final_filters), *sinc)
    jpeg = second.compress()
    again = (*second.blur(), *second.resize(1 / scale), *second.noise())
    ending = (Option(weight=0.5, steps=(*back, *jpeg)), Option(weight=0.5, steps=(*jpeg, *back)))
    steps: tuple[Step, ...] = (
        *first.blur(),
        *first.resize(),
        *first.noise(),
        *first.compress(),
        *_sometimes(again, second_prob),
        *(_chosen(ending) if jpeg else back),
    )
    return (*_sometimes(steps, 1 - clean_prob), FULL_CUBIC)


def _sometimes(steps: tuple[Step, ...], prob: float) -> tuple[Step, ...]:
    """All of the steps, or none of them."""
    if prob in (0, 1):
        return steps if prob else ()
    return (OneOf(prob=prob, options=(Option(weight=1, steps=steps),)),)


def _chosen(options: tuple[Option, ...], prob: float = 1.0) -> tuple[Step, ...]:
    """One of the options that have a chance; steps alone where only one has."""
    able = tuple(option for option in options if option.weight)
    if len(able) == 1 and prob == 1:
        return able[0].steps
    return (OneOf(prob=prob, options=able),)
