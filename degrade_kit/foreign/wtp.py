"""WTP Dataset Destroyer's HCL files. What its degradations are is read from its code: ranges, units and chances."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from degrade_kit.chains import FULL_CUBIC
from degrade_kit.checks import Range
from degrade_kit.codec_ops import SUBSAMPLINGS
from degrade_kit.colour_ops import ChannelSpace, DitherMethod, Enlarging
from degrade_kit.errors import ConfigError
from degrade_kit.foreign.values import Options, filters_of, one_of, radians, sometimes
from degrade_kit.print_ops import Inks
from degrade_kit.steps import (
    Option,
    RandomBanding,
    RandomBlur,
    RandomBoxBlur,
    RandomChannelShift,
    RandomChromaSubsampling,
    RandomColorJitter,
    RandomCorrelatedNoise,
    RandomDefocus,
    RandomDenoise,
    RandomDither,
    RandomGaussianNoise,
    RandomGray,
    RandomHalftone,
    RandomHalo,
    RandomImpulseNoise,
    RandomInterference,
    RandomJpeg,
    RandomLevels,
    RandomMotionBlur,
    RandomOutline,
    RandomPixelate,
    RandomResize,
    RandomSharpen,
    RandomUniformNoise,
    RandomVideo,
    RandomWebP,
    Step,
)
from degrade_kit.video_ops import CRF, VideoCodec, crf_of

_RUN: Final = (
    *("input", "output", "num_workers", "map_type", "debug", "only_lq", "real_name", "out_clear", "tile", "size"),
    *("shuffle_dataset", "laplace_filter"),
)
_VIDEO: Final[Mapping[str, VideoCodec]] = {
    **{"h264": "h264", "hevc": "h265", "mpeg2": "mpeg2", "mpeg4": "mpeg4", "vp9": "vp9", "av1": "av1"},
}
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
    left += [f"{key}: {data[key]!r:.100}" for key in data if key not in ("degradation", "gray", *_RUN) and data[key]]
    gray = (RandomGray(target=True),) if data.get("gray") else ()
    return (*steps, *gray, FULL_CUBIC), left


def _block(block: Mapping[str, Any], where: str, left: list[str]) -> list[Step]:
    options = Options(block, where)
    kind = str(options.get("type"))
    prob = options.number("probability", 1.0)
    if kind not in _KINDS:
        left.append(f"degradation {kind}: no such step is known")
        return []
    steps = _KINDS[kind](options, left)
    left += [f"{kind}: {line}" for line in options.left()]
    return sometimes(steps, prob)


def _ends(options: Options, key: str, default: Range) -> Range:
    """The ends of a list of two numbers, or of three, whose last is a step."""
    low, high, *_ = [*(options.numbers(key, None, default) or default), -math.inf]
    return low, max(low, high)


def _resize(options: Options, left: list[str]) -> list[Step]:
    names, scale = options.texts("alg_lq"), options.number("scale", 1)
    low, high = _ends(options, "spread", (1, 1))
    # Its color_fix stretches levels by one of 255.
    options.used |= {"alg_hq", "color_fix", "down_down"}
    if low != high:
        left.append(f"resize: spread [{low:g}, {high:g}] shrinks HQ as well; here LQ alone")
    sizes = (scale * low, scale * high)
    once = [name for name in names if name not in _TWICE]
    found = [
        Option(weight=len(once), steps=(RandomResize(scale=sizes, filter=filters_of(once, None, left, "resize")),))
    ]
    for name, way in _TWICE.items():
        own = options.inside(name)
        if name not in names:
            continue
        by = _ends(own, way, (1, 1))
        first, last = (own.texts(f"alg_{each}", ("linear",)) for each in name.split("_"))
        filters = filters_of(first, None, left, f"resize: {name}")
        there = (
            RandomResize(scale=(sizes[0] * by[0], sizes[1] * by[1]), filter=filters)
            if way == "down"
            else RandomResize(factor=(by[0] / high, by[1] / low), filter=filters)
        )
        back = RandomResize(scale=sizes, filter=filters_of(last, None, left, f"resize: {name}"))
        found.append(Option(weight=names.count(name), steps=(there, back)))
    return one_of(found)


_TWICE: Final = {"down_up": "down", "up_down": "up"}
"""Ways to resize that go by another size, with the key of its factor."""


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
            low, high = options.range("motion_angle", (0, 1))  # counter-clockwise there
            step = RandomMotionBlur(length=options.range("motion_size", (1, 2)), angle=radians(-high, -low))
        elif name == "median":
            step = RandomDenoise(method={"median": 1}, window=(max(low, 1), max(low, high - 1, 1)))
        if step is None:
            left.append(f"blur: filter {name} [{low:g}, {high:g}]")
        else:
            found.append(Option(weight=1, steps=(step,)))
    options.used |= {"motion_size", "motion_angle"}
    return one_of(found)


def _halo(options: Options, left: list[str]) -> list[Step]:
    low, high = (max(end, 0.1) for end in options.range("kernel", (0, 2)))
    amount, threshold = options.range("amount", (1, 1)), options.range("threshold", (0, 0))
    found: list[Option] = []
    for name in options.texts("type_halo", ("unsharp_mask",)):
        if name == "unsharp_mask":
            step: Step = RandomSharpen(amount=amount, radius=(low, high))
            if threshold[1] >= 1:  # of 255 levels
                left.append(f"halo: threshold [{threshold[0]:g}, {threshold[1]:g}] of unsharp_mask")
        else:
            step = RandomHalo(amount=amount, radius=(low, high), threshold=threshold)
            if name != "unsharp_gray":
                left.append(f"halo: {name} draws white lines; bright fringes here")
        found.append(Option(weight=1, steps=(step,)))
    return one_of(found)


def _noise(options: Options, left: list[str]) -> list[Step]:
    alpha, names = _ends(options, "alpha", (1, 1)), options.texts("type_noise", ("uniform",))
    share = options.range("probability_salt_or_pepper", (0, 0.5))
    luma, chroma = options.number("y_noise", 0), options.number("uv_noise", 0)
    if options.get("bias") is not None and options.range("bias", (0, 0)) != (0, 0):
        left.append(f"noise: bias {options.get('bias')!r:.100}")
    options.used |= {"normalize", "octaves", "frequency", "lacunarity"}  # of the clouds
    found: list[Option] = []
    for name in names:
        if name in _WHITE:
            unit, deviation, step = _WHITE[name]
            level, apart = _levels(alpha, unit), _levels(alpha, deviation)
            none = (0.0, 0.0)
            parts = [
                Option(weight=luma, steps=(_of_colour(apart, none),)),
                Option(weight=round((1 - luma) * chroma, 9), steps=(_of_colour(none, apart),)),
                Option(weight=round((1 - luma) * (1 - chroma), 9), steps=(step(level=level),)),
            ]
            found.append(Option(weight=1, steps=tuple(one_of(parts))))
        elif name in _IMPULSES:
            white = _IMPULSES[name]
            found.append(Option(weight=1, steps=(RandomImpulseNoise(share=share, white=(white, white)),)))
            left.append(f"noise: {name} sets channels apart; whole pixels here")
        else:
            left.append(f"noise: {name}")
            found.append(Option(weight=1, steps=()))  # it takes its share of the images with it
    return one_of(found) if any(option.steps for option in found) else []


_WHITE: Final[Mapping[str, tuple[float, float, Callable[..., Step]]]] = {
    "gauss": (_GAUSS, _GAUSS, RandomGaussianNoise),
    "uniform": (255, 255 / math.sqrt(3), RandomUniformNoise),
}
"""Level at an alpha of 1, its standard deviation, both on the 0..255 scale, and the step."""
_IMPULSES: Final = {"salt": 1.0, "pepper": 0.0, "salt_and_pepper": 0.5}
"""Share of white."""


def _levels(alpha: Range, unit: float) -> Range:
    return round(min(alpha[0] * unit, 255), 4), round(min(alpha[1] * unit, 255), 4)


def _of_colour(luma: Range, chroma: Range) -> Step:
    """Noise of luma or colour alone, which there have the narrow ranges of video: 219 and 224 levels of 255."""
    wide, wider = (255 / 219, 255 / 224)
    return RandomCorrelatedNoise(luma=_levels(luma, wide), chroma=_levels(chroma, wider), size=(0, 0))


def _shift(options: Options, left: list[str]) -> list[Step]:
    names = options.texts("shift_type", ("rgb",))
    rest: Any = options.get("not_target", [[0, 0], [0, 0]])
    ranges: list[Any] = []
    for name in ("rgb", "yuv", "cmyk"):
        own = options.inside(name)
        if name in names:
            ranges += [own.get(channel, rest) for channel in name]
    if options.flag("percent"):
        left.append("shift: percent; shifts are pixels here")
        return []
    axes = [Options({"axis": axis}, options.where).range("axis", (0, 0)) for both in ranges for axis in both]
    limit = max(abs(end) for axis in axes for end in axis)
    if any(axis != (-limit, limit) for axis in axes):
        left.append(f"shift: ranges of each channel; up to {limit:g} either way here")
    spaces: dict[ChannelSpace, float] = {_SPACES[name]: float(names.count(name)) for name in names if name in _SPACES}
    return [RandomChannelShift(space=spaces, limit=limit)] if limit else []


_SPACES: Final[Mapping[str, ChannelSpace]] = {"rgb": "rgb", "yuv": "ycc", "cmyk": "cmyk"}


def _subsampling(options: Options, left: list[str]) -> list[Step]:
    names, up = options.texts("sampling", ("4:4:4",)), options.texts("up", ("nearest",))
    options.used.add("down")  # a mean here
    if unknown := [name for name in names if name not in _CHROMA]:
        left.append(f"subsampling: sampling {', '.join(unknown)}")
    if unknown := [name for name in up if name not in ("nearest", "linear")]:
        left.append(f"subsampling: up {', '.join(unknown)}")
    if options.texts("yuv", ("601",)) != ["601"]:
        left.append(f"subsampling: yuv {options.get('yuv')!r:.100}; 601 here")
    if options.get("blur") is not None and options.range("blur", (0, 0))[1]:
        left.append(f"subsampling: blur {options.get('blur')!r:.100}")
    weights: dict[str, float] = {}
    for name in names:
        if known := _CHROMA.get(name):
            weights[known] = weights.get(known, 0) + 1
    enlarging: dict[Enlarging, float] = {name: 1.0 for name in ("linear", "nearest") if name in up}
    if not weights:
        return []
    step = RandomChromaSubsampling(sampling=weights, enlarging=enlarging or {"linear": 1.0})
    return sometimes([step], sum(weights.values()) / len(names))


_CHROMA: Final = {
    **{"4:4:4": "", "4:2:2": "4:2:2", "4:2:0": "4:2:0", "4:2:1": "4:2:0"},
    **{"4:1:1": "4:1:1", "4:1:2": "4:1:1", "4:1:0": "4:1:0", "4:4:0": "4:4:0"},
}
"""Its names of samplings, by what its code does, with ours; none where nothing is taken."""


def _screentone(options: Options, left: list[str]) -> list[Step]:
    sizes = options.numbers("dot_size", None, [7]) or [7]
    angle = radians(*_ends(options, "angle", (0, 0)))
    blocks: Any = options.get("color", [])
    inks = ["gray"]
    if isinstance(blocks, list) and blocks:
        own = Options(cast("list[Mapping[str, Any]]", blocks)[0], f"{options.where}: color")
        inks = own.texts("type_halftone", ("rgb",))
        if own.get("dot") is not None:
            left.append("screentone: dots of each ink; those of a press here")
        if own.get("cmyk_alpha", [1, 1]) != [1, 1]:
            left.append(f"screentone: cmyk_alpha {own.get('cmyk_alpha')!r:.100}")
    if shapes := [name for name in options.texts("dot_type", ("circle",)) if name != "circle"]:
        left.append(f"screentone: dot_type {', '.join(shapes)}")
    if unknown := [name for name in inks if name not in ("cmyk", "gray")]:
        left.append(f"screentone: type_halftone {', '.join(unknown)}")
    # Its screens stand on their corners: rows of dots are so much further apart than its cells are wide.
    period = (round(max(min(sizes) * math.sqrt(2), 1.5), 4), round(max(max(sizes) * math.sqrt(2), 1.5), 4))
    found: list[Option] = []
    for name, ink in _INKS.items():
        step = RandomHalftone(period=period, angle=angle, inks={ink: 1.0}, gain=(0, 0), blur=(0, 0))
        found.append(Option(weight=inks.count(name), steps=(step,)))
    known = sum(option.weight for option in found)
    return one_of([*found, Option(weight=len(inks) - known, steps=())]) if known else []


_INKS: Final[Mapping[str, Inks]] = {"cmyk": "cmyk", "gray": "black"}


def _sin(options: Options, left: list[str]) -> list[Step]:
    alpha, shape, bias = (
        options.range("alpha", (0.1, 0.5)),
        _ends(options, "shape", (100, 1000)),
        options.range("bias", (0.8, 1.2)),
    )
    # A wave of so many pixels whose rows are moved by `bias` each, over the rows or over the columns.
    angle = 90.0 if options.number("vertical", 0.5) else round(math.degrees(math.atan(max(map(abs, bias)))), 1)
    left.append(f"sin: directions by bias and vertical; a normal turn of {angle:g} degrees from level here")
    return [RandomInterference(level=_levels(alpha, 255), period=shape, angle=angle)]


def _canny(options: Options, left: list[str]) -> list[Step]:
    low, high = _ends(options, "scale", (0, 0))
    if (apertures := options.numbers("aperture_size", None, (3, 5))) != [3]:
        left.append(f"canny: aperture_size {apertures}; 3 here")
    return [
        RandomOutline(
            low=_ends(options, "thread1", (10, 10)),
            above=_ends(options, "thread2", (0, 10)),
            width=(max(round(low), 1), max(round(high), 1)),
            opacity=(1, 1),
            white_prob=options.number("white", 0),
        )
    ]


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
    options.used |= {key for key, name in _OF_DITHERS.items() if name not in names}
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
    return one_of(parts)


_OF_DITHERS: Final = {"map_size": "order", "history": "riemersma", "ratio": "riemersma"}
"""Keys that matter to one of the methods alone."""
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
        elif name in _VIDEO:
            fine, coarse = (min(crf_of(_VIDEO[name], number), CRF[1]) for number in (low, high))
            step = RandomVideo(codec={_VIDEO[name]: 1.0}, crf=(fine, coarse), before=(0, 0))
        if step is None:
            left.append(f"compress: {name} [{low:g}, {high:g}]")
        else:
            found.append(Option(weight=1, steps=(step,)))
    if not any(name in _VIDEO for name in options.texts("algorithm")):
        options.used.add("video_sampling")
    return one_of(found)


def _logic(options: Options, left: list[str]) -> list[Step]:
    """Two parts: of `and` the second only behind the first, of `or` the second only in place of the first."""
    both = options.values.get("type") == "and"
    one, two = (
        [step for block in options.get(name, []) for step in _block(block, f"{options.where}.{name}", left)]
        for name in ("one_degradation", "two_degradation")
    )
    first, second = options.number("probability_one", 1.0 if both else 0.5), options.number("probability_two", 0.5)
    options.used.add("type")
    if both:
        return sometimes([*one, *sometimes(two, second)], first)
    chances = (first, round((1 - first) * second, 9), round((1 - first) * (1 - second), 9))
    return one_of(
        [Option(weight=chance, steps=tuple(part)) for chance, part in zip(chances, (one, two, ()), strict=True)]
    )


_KINDS: Final[Mapping[str, Callable[[Options, list[str]], list[Step]]]] = {
    "resize": _resize,
    "blur": _blur,
    "halo": _halo,
    "noise": _noise,
    "shift": _shift,
    "subsampling": _subsampling,
    "screentone": _screentone,
    "canny": _canny,
    "sin": _sin,
    "compress": _compress,
    "color": _color,
    "saturation": _saturation,
    "pixelate": _pixelate,
    "dithering": _dithering,
    "and": _logic,
    "or": _logic,
}
