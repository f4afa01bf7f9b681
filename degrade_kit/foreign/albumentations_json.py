"""Pipelines that albumentations saved as JSON, by `A.save`, old and new names of arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from degrade_kit.chains import FULL
from degrade_kit.checks import Range
from degrade_kit.errors import ConfigError
from degrade_kit.foreign.values import Options
from degrade_kit.steps import (
    OneOf,
    Option,
    RandomBlur,
    RandomColorJitter,
    RandomDefocus,
    RandomDenoise,
    RandomGaussianNoise,
    RandomGray,
    RandomJpeg,
    RandomMotionBlur,
    RandomResize,
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


def _gaussian_blur(options: Options, left: list[str]) -> list[Step]:
    sigma = _first(options, ("sigma_limit", "sigma_range"), (0.5, 3.0))
    size = options.range("blur_limit", (0, 0))
    if not sigma[1]:
        # OpenCV's rule for a sigma of 0.
        sigma = tuple(0.3 * ((max(side, 3) - 1) * 0.5 - 1) + 0.8 for side in size)
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
    low, high = options.range("blur_limit", (3, 7))
    if high > 5:
        left.append(f"MedianBlur: blur_limit [{low:g}, {high:g}]; no more than 5")
    return [RandomDenoise(method={"median": 1}, strength=(0 if low <= 3 else 26, 24 if high <= 3 else 50))]


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
    "GaussNoise": _noise,
    "ImageCompression": _compression,
    "Downscale": _downscale,
    "ToGray": _gray,
    "ColorJitter": _jitter,
}
