"""WTP Dataset Destroyer's HCL files. What its degradations are is read from its code: ranges, units and chances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from degrade_kit.chains import FULL_CUBIC
from degrade_kit.codec_ops import SUBSAMPLINGS
from degrade_kit.colour_ops import DitherMethod
from degrade_kit.errors import ConfigError
from degrade_kit.foreign.values import Options, filters_of
from degrade_kit.steps import (
    OneOf,
    Option,
    RandomBanding,
    RandomBlur,
    RandomBoxBlur,
    RandomColorJitter,
    RandomDefocus,
    RandomDenoise,
    RandomDither,
    RandomGaussianNoise,
    RandomJpeg,
    RandomLevels,
    RandomMotionBlur,
    RandomPixelate,
    RandomResize,
    RandomSharpen,
    RandomVideo,
    RandomWebP,
    Step,
)

_RUN: Final = (
    *("input", "output", "num_workers", "map_type", "debug", "only_lq", "real_name", "out_clear", "tile", "size"),
    *("shuffle_dataset", "laplace_filter"),
)
_VIDEO: Final = {"h264": "h264", "hevc": "h265", "vp9": "vp9", "av1": "av1"}
_GAUSS: Final = 0.25 * 255
"""Standard deviation of its Gaussian noise at an alpha of 1, on the 0..255 scale."""


def read_wtp(data: Mapping[str, Any], where: str) -> tuple[tuple[Step, ...], list[str]]:
    """Make steps of a file's blocks, in their order, and name what is left.

    Raises:
        ConfigError: If there is no degradation in it.
    """
    blocks = data.get("degradation")
    if not isinstance(blocks, list):
        raise ConfigError(f"{where}: expected blocks `degradation {{...}}` of WTP Dataset Destroyer, found none")
    left: list[str] = []
    steps: list[Step] = []
    for place, block in enumerate(cast("list[Mapping[str, Any]]", blocks)):
        steps += _block(block, f"{where}: degradation[{place}]", left)
    left += [f"{key}: {data[key]!r:.100}" for key in data if key not in ("degradation", *_RUN) and data[key]]
    return (*steps, FULL_CUBIC), left


def _block(block: Mapping[str, Any], where: str, left: list[str]) -> list[Step]:
    options = Options(block, where)
    kind = str(options.get("type"))
    prob = options.number("probability", 1.0)
    if kind not in _KINDS:
        left.append(f"degradation {kind}: no such step is known")
        return []
    options.used.add("lqhq")
    steps = _KINDS[kind](options, left)
    left += [f"{kind}: {line}" for line in options.left()]
    if not steps or prob == 1:
        return steps
    return [OneOf(prob=prob, options=(Option(weight=1, steps=tuple(steps)),))]


def _resize(options: Options, left: list[str]) -> list[Step]:
    filters = filters_of(options.texts("alg_lq"), left, "resize")
    scale = options.number("scale", 1)
    low, high, *_ = [*options.numbers("spread", None, [1, 1]), 1, 1]
    options.used |= {"alg_hq"}
    if high > low > 0 and low != high:
        left.append(f"resize: spread [{low:g}, {high:g}] shrinks HQ as well; here LQ alone")
    for way in ("down_up", "up_down", "down_down"):
        options.used.add(way)
    return [RandomResize(scale=(scale * low, scale * max(low, high)), filter=filters)]


def _blur(options: Options, left: list[str]) -> list[Step]:
    plain, own = options.range("kernel", (0, 1)), options.inside("target_kernel")
    found: list[Option] = []
    for name in options.texts("filter"):
        low, high = own.range(name, plain)
        step: Step | None = None
        if name == "gauss":
            step = RandomBlur(sigma=(low, high), support="full")
        elif name == "box":
            step = RandomBoxBlur(side=(1 + 2 * low, 1 + 2 * high))
        elif name == "lens":
            step = RandomDefocus(radius=(low, high))
        elif name == "motion":
            step = RandomMotionBlur(length=options.range("motion_size", (1, 2)))
        elif name == "median" and high >= 2:
            step = RandomDenoise(method={"median": 1}, strength=(0, 50) if high > 3 else (0, 24))
        if step is None:
            left.append(f"blur: filter {name} [{low:g}, {high:g}]")
        else:
            found.append(Option(weight=1, steps=(step,)))
    options.used |= {"motion_size", "motion_angle"}
    return _one_of(found)


def _halo(options: Options, left: list[str]) -> list[Step]:
    for name in options.texts("type_halo", ("unsharp_mask",)):
        if name != "unsharp_mask":
            left.append(f"halo: {name} is taken as unsharp_mask")
    low, high = options.range("kernel", (0, 2))
    options.used.add("threshold")
    if options.range("threshold", (0, 0))[1]:
        left.append("halo: threshold")
    return [RandomSharpen(amount=options.range("amount", (1, 1)), radius=(max(low, 0.1), max(high, 0.1)))]


def _noise(options: Options, left: list[str]) -> list[Step]:
    low, high, *_ = [*options.numbers("alpha", None, [1, 1]), 1, 1]
    names = options.texts("type_noise", ("uniform",))
    if unknown := [name for name in names if name != "gauss"]:
        left.append(f"noise: {', '.join(unknown)}")
    level = RandomGaussianNoise(level=(min(low * _GAUSS, 255), min(max(low, high) * _GAUSS, 255)))
    chance = names.count("gauss") / len(names)
    # The noise that is left takes its share of the images with it.
    return _one_of([Option(weight=chance, steps=(level,)), Option(weight=1 - chance, steps=())]) if chance else []


def _color(options: Options, left: list[str]) -> list[Step]:
    low, high = options.range("low", (0, 0)), options.range("high", (255, 255))
    return [RandomLevels(low=low, high=high, gamma=options.range("gamma", (1, 1)))]


def _saturation(options: Options, left: list[str]) -> list[Step]:
    wanted = options.range("rand", (0.5, 1))
    return [RandomColorJitter(brightness=(1, 1), contrast=(1, 1), saturation=wanted, hue=(0, 0))]


def _pixelate(options: Options, left: list[str]) -> list[Step]:
    low, high = options.range("size", (1, 1))
    return [RandomPixelate(block=(max(low, 1), max(high, 1)))]


def _dithering(options: Options, left: list[str]) -> list[Step]:
    levels, names = options.range("color_ch", (2, 10)), options.texts("dithering_type", ("quantize",))
    options.used |= {"map_size", "history", "ratio"}
    found = [name for name in names if name in _DITHERING]
    if unknown := [name for name in names if name not in _DITHERING and name != "quantize"]:
        left.append(f"dithering: {', '.join(unknown)}")
    parts = [Option(weight=names.count("quantize"), steps=(RandomBanding(levels=levels),))]
    parts += [
        Option(
            weight=1,
            steps=(
                RandomDither(
                    levels=levels,
                    method={_DITHERING[name]: 1},
                ),
            ),
        )
        for name in found
    ]
    return _one_of([part for part in parts if part.weight])


_DITHERING: Final[Mapping[str, DitherMethod]] = {
    "floydsteinberg": "floyd_steinberg",
    "jarvisjudiceninke": "jarvis_judice_ninke",
    "stucki": "stucki",
    "atkinson": "atkinson",
    "burkes": "burkes",
    "sierra": "sierra",
    "tworowsierra": "two_row_sierra",
    "sierraLite": "sierra_lite",
    "order": "ordered",
    "riemersma": "riemersma",
}


def _compress(options: Options, left: list[str]) -> list[Step]:
    plain, own = options.range("compress", (90, 100)), options.inside("target_compress")
    sampling = options.texts("jpeg_sampling", ("4:2:2",))
    known = {name: 1.0 for name in sampling if name in SUBSAMPLINGS}
    if unknown := [name for name in sampling if name not in SUBSAMPLINGS]:
        left.append(f"compress: jpeg_sampling {', '.join(unknown)}")
    found: list[Option] = []
    for name in options.texts("algorithm"):
        low, high = own.range(name, plain)
        step: Step | None = None
        if name == "jpeg":
            step = RandomJpeg(quality=(low, high), subsampling=cast("Any", known or {"4:2:0": 1.0}))
        elif name == "webp":
            step = RandomWebP(quality=(low, high))
        elif name in _VIDEO and high <= 51:
            step = RandomVideo(codec=cast("Any", {_VIDEO[name]: 1.0}), crf=(low, high), before=(0, 0))
        if step is None:
            left.append(f"compress: {name} [{low:g}, {high:g}]")
        else:
            found.append(Option(weight=1, steps=(step,)))
    options.used |= {"target_compress", "video_sampling"}
    return _one_of(found)


def _logic(options: Options, left: list[str]) -> list[Step]:
    """Either part, or both: `or` does one of them, `and` the second behind the first."""
    parts = [
        [step for block in options.get(name, []) for step in _block(block, f"{options.where}.{name}", left)]
        for name in ("one_degradation", "two_degradation")
    ]
    shares = [options.number(name, 0.5) for name in ("probability_one", "probability_two")]
    options.used.add("type")
    if options.values.get("type") == "or":
        return _one_of([Option(weight=share, steps=tuple(part)) for share, part in zip(shares, parts, strict=True)])
    return [step for part in parts for step in part]


def _one_of(options: Sequence[Option]) -> list[Step]:
    if not options:
        return []
    return list(options[0].steps) if len(options) == 1 else [OneOf(options=tuple(options))]


_KINDS: Final[Mapping[str, Callable[[Options, list[str]], list[Step]]]] = {
    "resize": _resize,
    "blur": _blur,
    "halo": _halo,
    "noise": _noise,
    "compress": _compress,
    "color": _color,
    "saturation": _saturation,
    "pixelate": _pixelate,
    "dithering": _dithering,
    "and": _logic,
    "or": _logic,
}
