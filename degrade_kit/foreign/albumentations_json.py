"""Pipelines that albumentations saved as JSON, by `A.save`, old and new names of arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from degrade_kit.chains import FULL
from degrade_kit.checks import Range
from degrade_kit.errors import ConfigError
from degrade_kit.foreign.values import Options
from degrade_kit.steps import (
    OneOf,
    Option,
    RandomBanding,
    RandomBlur,
    RandomBoxBlur,
    RandomColorJitter,
    RandomDefocus,
    RandomDenoise,
    RandomGaussianNoise,
    RandomGray,
    RandomImpulseNoise,
    RandomJpeg,
    RandomLevels,
    RandomMotionBlur,
    RandomOcclusion,
    RandomResize,
    RandomSepia,
    RandomSharpen,
    RandomWebP,
    Step,
)

_PLUMBING: Final = frozenset(
    {
        *("__class_fullname__", "p", "always_apply", "transforms", "strict", "seed", "save_applied_params"),
        *("additional_targets", "bbox_params", "keypoint_params", "is_check_shapes", "mask_interpolation"),
    }
)
_NO_PIXELS: Final = ("HorizontalFlip", "VerticalFlip", "NoOp", "Normalize", "ToTensorV2", "ToFloat", "FromFloat")


def read_albumentations(data: Mapping[str, Any], where: str) -> tuple[tuple[Step, ...], list[str]]:
    """Make steps of a saved pipeline, and name what is left.

    Raises:
        ConfigError: If it is none, or has no degradation.
    """
    root = data.get("transform", data)
    if not isinstance(root, Mapping) or "__class_fullname__" not in root:
        raise ConfigError(f"{where}: expected a pipeline of albumentations, with `__class_fullname__`, found none")
    left: list[str] = []
    steps = _made(cast("Mapping[str, Any]", root), where, left)
    if not steps:
        raise ConfigError(f"{where}: expected a degradation, such as GaussianBlur, found none")
    return (*steps, FULL), left


def _made(entry: Mapping[str, Any], where: str, left: list[str]) -> list[Step]:
    name = str(entry.get("__class_fullname__")).rpartition(".")[2]
    options = Options(entry, f"{where}: {name}")
    options.used |= _PLUMBING
    prob = 1.0 if options.values.get("always_apply") else options.number("p", 1.0 if "transforms" in entry else 0.5)
    inside = cast("Sequence[Mapping[str, Any]]", entry.get("transforms") or ())
    if name in ("Compose", "Sequential", "ReplayCompose"):
        steps = [step for each in inside for step in _made(each, where, left)]
    elif name == "OneOf":
        found: list[Option] = []
        for each in inside:
            weight = float(each.get("p", 0.5))
            found.append(Option(weight=weight, steps=tuple(_made({**each, "p": 1.0}, where, left))))
        steps: list[Step] = [OneOf(options=tuple(found))] if found else []
    elif name in _KINDS:
        steps = _KINDS[name](options, left)
        left += [f"{name}: {line}" for line in options.left()]
    else:
        if name not in _NO_PIXELS:
            left.append(f"{name}: no such step is known")
        return []
    if prob == 1 or not steps:
        return steps
    return [OneOf(prob=prob, options=(Option(weight=1, steps=tuple(steps)),))]


def _first(options: Options, keys: Sequence[str], default: Range) -> Range:
    """The range under the first of several names that is given."""
    for key in keys:
        if options.get(key) is not None:
            return options.range(key, default)
    return default


def _sigma_of(sizes: Range) -> Range:
    """Follow OpenCV's rule for a sigma of 0: that of a kernel of so many pixels."""
    low, high = (0.3 * ((max(side, 3) - 1) * 0.5 - 1) + 0.8 for side in sizes)
    return low, high


def _gaussian_blur(options: Options, left: list[str]) -> list[Step]:
    sigma = _first(options, ("sigma_limit", "sigma_range"), (0.5, 3.0))
    size = options.range("blur_limit", (0, 0))
    if not sigma[1]:
        sigma = _sigma_of(size)
    elif size[1]:
        left.append(f"GaussianBlur: blur_limit [{size[0]:g}, {size[1]:g}] cuts kernels")
    return [RandomBlur(sigma=(sigma[0], sigma[1]), support="full")]


def _motion_blur(options: Options, left: list[str]) -> list[Step]:
    options.used |= {"allow_shifted", "angle_range", "direction_range"}
    return [RandomMotionBlur(length=options.range("blur_limit", (3, 7)))]


def _defocus(options: Options, left: list[str]) -> list[Step]:
    options.used.add("alias_blur")
    return [RandomDefocus(radius=options.range("radius", (3, 10)))]


def _median(options: Options, left: list[str]) -> list[Step]:
    return [RandomDenoise(method={"median": 1}, window=options.range("blur_limit", (3, 7)))]


def _box(options: Options, left: list[str]) -> list[Step]:
    return [RandomBoxBlur(side=options.range("blur_limit", (3, 7)))]


def _advanced_blur(options: Options, left: list[str]) -> list[Step]:
    across, down = (options.range(f"sigma_{axis}_limit", (0.2, 1.0)) for axis in ("x", "y"))
    turn, beta = options.range("rotate_limit", (-90, 90)), options.range("beta_limit", (0.5, 8))
    if across != down:
        left.append(f"AdvancedBlur: sigma_y_limit [{down[0]:g}, {down[1]:g}]; both axes have that of x here")
    options.used |= {"blur_limit", "noise_limit"}
    return [
        RandomBlur(
            kernels={"generalized_aniso": 1},
            sigma=across,
            support="full",
            rotation=(math.radians(turn[0]), math.radians(turn[1])),
            beta_generalized=beta,
        )
    ]


def _salt(options: Options, left: list[str]) -> list[Step]:
    salt = options.numbers("salt_vs_pepper", 2, (0.4, 0.6))
    return [RandomImpulseNoise(share=options.range("amount", (0.01, 0.06)), white=(salt[0], salt[1]))]


def _gamma(options: Options, left: list[str]) -> list[Step]:
    low, high = options.range("gamma_limit", (80, 120))
    return [RandomLevels(low=(0, 0), high=(255, 255), gamma=(low / 100, high / 100))]


def _sepia(options: Options, left: list[str]) -> list[Step]:
    return [RandomSepia(amount=(1, 1))]


def _posterize(options: Options, left: list[str]) -> list[Step]:
    low, high = options.range("num_bits", (4, 4))
    return [RandomBanding(levels=(2 ** max(low, 1), 2 ** min(high, 8)))]


def _unsharp(options: Options, left: list[str]) -> list[Step]:
    sigma, sizes = options.range("sigma_limit", (0, 0)), options.range("blur_limit", (3, 7))
    if not sigma[1]:
        sigma = _sigma_of(sizes)
    if options.number("threshold", 10):
        left.append("UnsharpMask: threshold")
    return [RandomSharpen(amount=options.range("alpha", (0.2, 0.5)), radius=(max(sigma[0], 0.1), max(sigma[1], 0.1)))]


def _dropout(options: Options, left: list[str]) -> list[Step]:
    tall, wide = (options.range(f"hole_{side}_range", (0.1, 0.2)) for side in ("height", "width"))
    left.append(f"CoarseDropout: fill {options.get('fill', 0)!r}; turned patches of any colour here")
    if max(*tall, *wide) > 1:
        left.append("CoarseDropout: holes in pixels")
        return []
    size = (max(tall[0], wide[0]), max(tall[1], wide[1]))
    return [RandomOcclusion(count=options.range("num_holes_range", (1, 2)), size=size, ellipse_prob=0)]


def _noise(options: Options, left: list[str]) -> list[Step]:
    if options.get("std_range") is not None:
        low, high = (255 * end for end in options.range("std_range", (0, 0)))
    else:
        low, high = (max(end, 0) ** 0.5 for end in options.range("var_limit", (10, 50)))
    if any(options.range(key, (0, 0)) != (0, 0) for key in ("mean", "mean_range")):
        left.append("GaussNoise: mean")
    options.used |= {"noise_scale_factor"}
    gray = options.get("per_channel") is False
    return [RandomGaussianNoise(level=(min(low, 255), min(high, 255)), gray_prob=float(gray))]


def _compression(options: Options, left: list[str]) -> list[Step]:
    low, high = options.number("quality_lower", 99), options.number("quality_upper", 100)
    quality = _first(options, ("quality_range",), (low, high))
    kind = options.get("compression_type", "jpeg")
    webp = kind in ("webp", 1)
    return [RandomWebP(quality=quality) if webp else RandomJpeg(quality=quality)]


def _downscale(options: Options, left: list[str]) -> list[Step]:
    low, high = options.number("scale_min", 0.25), options.number("scale_max", 0.25)
    options.used |= {"interpolation", "interpolation_pair"}
    left.append("Downscale: its filters; bilinear here")
    return [RandomResize(factor=_first(options, ("scale_range",), (low, high))), FULL]


def _gray(options: Options, left: list[str]) -> list[Step]:
    options.used |= {"method", "num_output_channels"}
    return [RandomGray()]


def _jitter(options: Options, left: list[str]) -> list[Step]:
    def about(key: str, middle: float) -> Range:
        value = options.get(key, 0.2 if middle else 0.0)
        if isinstance(value, (list, tuple)):
            return options.range(key, (middle, middle))
        return max(middle - float(value), 0) if middle else -float(value), middle + float(value)

    brightness, contrast, saturation = (about(key, 1.0) for key in ("brightness", "contrast", "saturation"))
    return [RandomColorJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=about("hue", 0.0))]


_KINDS: Final[Mapping[str, Callable[[Options, list[str]], list[Step]]]] = {
    "GaussianBlur": _gaussian_blur,
    "MotionBlur": _motion_blur,
    "Defocus": _defocus,
    "MedianBlur": _median,
    "Blur": _box,
    "AdvancedBlur": _advanced_blur,
    "SaltAndPepper": _salt,
    "RandomGamma": _gamma,
    "ToSepia": _sepia,
    "Posterize": _posterize,
    "UnsharpMask": _unsharp,
    "CoarseDropout": _dropout,
    "GaussNoise": _noise,
    "ImageCompression": _compression,
    "Downscale": _downscale,
    "ToGray": _gray,
    "ColorJitter": _jitter,
}
