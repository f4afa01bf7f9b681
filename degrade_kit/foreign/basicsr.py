"""Options with BasicSR's keys: GFPGAN's and Real-ESRGAN's chains, whoever trains with them.

So GFPGAN, CodeFormer, VQFR, DifFace, RestoreFormer, DAEFR and DiffBIR for faces; Real-ESRGAN, StableSR, SeeSR, PASD,
OSEDiff, ResShift, InvSR, DASR's severe level and others for photographs; traiNNer-redux and neosr. Keys may stand
anywhere in the file; sections for validation and tests are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from degrade_kit.chains import FIRST, FULL, SECOND, ChainPass, second_order
from degrade_kit.checks import Range, numbers_of
from degrade_kit.errors import ConfigError
from degrade_kit.foreign.values import Options, filters_of, sigma_of
from degrade_kit.linear import Filter
from degrade_kit.ops import KernelKind
from degrade_kit.steps import (
    KERNEL_KINDS,
    RandomBlur,
    RandomColorJitter,
    RandomColorShift,
    RandomGaussianNoise,
    RandomGray,
    RandomHaze,
    RandomJpeg,
    RandomResize,
    RandomSharpen,
    RandomShift,
    Step,
    Uneven,
)

_NOT_TRAINING: Final = re.compile(r"^(val|valid|validation|test|test_data|eval)\d*(_|$)")
_MAIN: Final = ("downsample_range", "resize_range")
_DATA_KEYS: Final = (*_MAIN, "blur_sigma", "resize_prob", "jpeg_range")
"""A section that has one of these is a part of the degradation's options."""
_OF_DATA: Final = re.compile(
    r"prob|range|sigma|kernel|jitter|gray|blur|noise|jpeg|resize|usm|sharp|flip|_rot$|corrupt|shift|haz|uneven|exposure"
    r"|motion|crop_components|no_degradation|thicklines|inpaint"
)
_SWITCHED: Final = {
    **{"motion_kernel_prob": "use_motion_kernel", "color_jitter_shift": "color_jitter_prob"},
    **{"exposure_range": "exposure_prob", "lq_usm_radius_range": "lq_usm", "hazy_alpha": "hazy_prob"},
}
"""Keys without effect where another is off."""
_SCALES: Final = ("scale", "sf", "stage2_scale")


def read_options(data: Mapping[str, Any], where: str) -> tuple[tuple[Step, ...], list[str]]:
    """Make steps of options, and name what is left.

    Raises:
        ConfigError: If there is no degradation in them.
    """
    found = dict[str, Any]()
    for values in _sections(data):
        if any(key in _DATA_KEYS for key in values):
            for key, value in values.items():
                if not isinstance(value, Mapping):
                    found.setdefault(key, value)
        elif values is data:
            found.update({key: values[key] for key in _SCALES if key in values})
    if not any(key in found for key in _MAIN):
        raise ConfigError(
            f"{where}: expected options of a degradation, such as `downsample_range` or `resize_range`, found none"
        )
    options = Options({str(key): value for key, value in found.items()}, where)
    left = list[str]()
    steps = _two_passes(options, left) if options.get("resize_range") is not None else _one_pass(options)
    steps = (*_sharpened(options, left), *steps)
    options.used |= {"scale", "gt_size", "out_size", "use_corrupt"}
    options.used |= {key for key, switch in _SWITCHED.items() if not options.get(switch)}
    left += [line for line in options.left() if _OF_DATA.search(line.partition(":")[0])]
    return steps, left


def _sections(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All mappings, those of training before those inside them."""
    yield data
    for key, value in data.items():
        if isinstance(value, Mapping) and not _NOT_TRAINING.match(str(key)):
            yield from _sections(cast("Mapping[str, Any]", value))


def _kernels(options: Options, number: str = "") -> dict[KernelKind, float]:
    kinds = options.texts(f"kernel_list{number}", ("iso",))
    weights = options.numbers(f"kernel_prob{number}", len(kinds), [1.0] * len(kinds))
    where = f"{options.where}: kernel_list{number}"
    return numbers_of(KERNEL_KINDS)(dict(zip(kinds, weights, strict=True)), where)


def _one_pass(options: Options) -> tuple[Step, ...]:
    steps: list[Step] = []
    if shift := options.number("shift_prob", 0):
        unit, most = options.number("shift_unit", 1), options.number("shift_max_num", 32)
        steps.append(RandomShift(limit=int(unit * most), prob=shift))
    chain: list[Step] = []
    size: Any = options.get("blur_kernel_size", 41)
    if isinstance(size, list) and len(cast("list[Any]", size)) == 2:  # RestoreFormer: 2 n + 1, n of these
        low, high = options.range("blur_kernel_size", (20, 20))
        size = [2 * half + 1 for half in range(int(low), int(high) + 1)]
    chain.append(
        RandomBlur(kernels=_kernels(options), sigma=options.range("blur_sigma", (0.1, 10)), support=cast("Any", size))
    )
    if haze := options.number("hazy_prob", 0):
        chain.append(RandomHaze(alpha=options.range("hazy_alpha", (0.75, 0.95)), prob=haze))
    chain.append(RandomResize(scale=options.range("downsample_range", (1, 1))))
    if options.get("noise_range") is not None:
        chain.append(RandomGaussianNoise(level=options.range("noise_range", (0, 0))))
    if options.get("jpeg_range") is not None:
        chain.append(RandomJpeg(quality=options.range("jpeg_range", (100, 100))))
    chain.append(FULL)
    if uneven := options.number("uneven_prob", 0):  # RestoreFormer++: squares of 128 to 256 of 512 pixels
        chain = [Uneven(steps=tuple(chain), square_prob=uneven, side=(0.25, 0.5))]
    steps += chain
    if shifted := options.number("color_jitter_prob", 0):
        steps.append(RandomColorShift(limit=options.number("color_jitter_shift", 20), prob=shifted))
    return (*steps, *_colours(options, "color_jitter_pt_prob"))


def _colours(options: Options, jitter: str) -> Iterator[Step]:
    """Gray and the four of torchvision's jitter, with the key of the latter's probability."""
    target = options.flag("gt_gray")
    if gray := options.number("gray_prob", 0):
        yield RandomGray(prob=gray, target=target)
    if prob := options.number(jitter, 0):
        ranges = {name: options.range(name, (1, 1)) for name in _JITTERS if options.get(name) is not None}
        yield RandomColorJitter(prob=prob, **ranges)


_JITTERS: Final = ("brightness", "contrast", "saturation", "hue")


def _sizes(options: Options, key: str, own: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Sides of kernels, which the code of most tools fixes."""
    options.used.add(own)
    if options.get(key) is not None:  # traiNNer-redux
        low, high = options.range(key, (7, 21))
        return tuple(range(int(low) | 1, int(high) + 1, 2))
    if options.get("second_order_prob") is not None:  # ResShift and InvSR: from 3, below the given size
        return tuple(range(3, int(options.number(own, 21)), 2))
    return default


def _pass(options: Options, number: str, published: ChainPass, filters: tuple[Filter, ...]) -> ChainPass:
    def span(key: str, default: Range) -> Range:
        return options.range(f"{key}{number}", default)

    def share(key: str, default: float) -> float:
        return options.number(f"{key}{number}", default)

    blurred = share("blur_prob", 1.0 if number == "" else options.number("second_blur_prob", published.blur_prob))
    up, down, keep = options.numbers(f"resize_prob{number}", 3, published.up_down_keep)
    return ChainPass(
        kernels=published.kernels if options.get(f"kernel_list{number}") is None else _kernels(options, number),
        sizes=_sizes(options, f"kernel_range{number}", f"blur_kernel_size{number}", published.sizes),
        sigma=span("blur_sigma", published.sigma),
        generalized=span("betag_range", published.generalized),
        plateau=span("betap_range", published.plateau),
        sinc=share("sinc_prob", published.sinc),
        blur_prob=blurred,
        up_down_keep=(up, down, keep),
        factors=span("resize_range", published.factors),
        filters=filters,
        keep_resamples=options.get("resize_mode_list") is None,
        gaussian_prob=share("gaussian_noise_prob", published.gaussian_prob),
        level=span("noise_range", published.level),
        poisson=span("poisson_scale_range", published.poisson),
        gray_prob=share("gray_noise_prob", published.gray_prob),
        jpeg=span("jpeg_range", published.jpeg),
        jpeg_prob=share("jpeg_prob", 1.0),
    )


def _filters(options: Options, number: str, left: list[str]) -> tuple[Filter, ...]:
    names = options.texts(f"resize_mode_list{number}", ("area", "bilinear", "bicubic"))
    weights = options.numbers(f"resize_mode_prob{number}", len(names), [1.0] * len(names))
    return filters_of(names, weights, left, f"resize_mode_list{number}")


def _sharpened(options: Options, left: list[str]) -> tuple[Step, ...]:
    """What traiNNer-redux does to LQ before all else: basicsr's `USMSharp` of half strength."""
    if not options.flag("lq_usm"):
        return ()
    left.append("lq_usm: where it changes more than 10 levels of 255; everywhere here")
    sizes = options.range("lq_usm_radius_range", (1, 25))
    return (RandomSharpen(amount=(0.5, 0.5), radius=sigma_of(sizes)),)


def _two_passes(options: Options, left: list[str]) -> tuple[Step, ...]:
    first = _pass(options, "", FIRST, _filters(options, "", left))
    second = _pass(options, "2", SECOND, _filters(options, "2", left))
    scales = [options.get(key) for key in _SCALES if options.get(key) is not None]
    scale = scales[0] if scales else 4
    if not isinstance(scale, int):
        raise ConfigError(f"{options.where}: scale: expected a whole number, got {scale!r:.100}")
    final = options.get("final_kernel_range")
    steps = second_order(
        first,
        second,
        scale=scale,
        final_sinc=options.number("final_sinc_prob", 0.8),
        final_sizes=_sizes(options, "final_kernel_range", "", ()) if final is not None else None,
        final_filters=_filters(options, "3", left),
        second_prob=options.number("second_order_prob", 1.0),
        clean_prob=options.number("no_degradation_prob", 0.0),
    )
    return (*steps, *_colours(options, "color_jitter_prob"))
