"""Pipelines that albumentations or albumentationsx saved as JSON, by `A.save`, old and new names of arguments.

The names here are those of albumentations 2.0; see `_Arguments` for those of albumentationsx.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from degrade_kit.chains import FULL
from degrade_kit.checks import Range
from degrade_kit.errors import ConfigError
from degrade_kit.foreign.values import FILTERS, Options, one_of, radians, sigma_of, sometimes, together
from degrade_kit.linear import Filter
from degrade_kit.steps import (
    OneOf,
    Option,
    RandomBanding,
    RandomBlur,
    RandomBoxBlur,
    RandomColorJitter,
    RandomColorShift,
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
    RandomSincBlur,
    RandomWebP,
    Shuffle,
    Step,
)

_PLUMBING: Final = frozenset(
    {
        *("__class_fullname__", "p", "always_apply", "transforms", "strict", "seed", "save_applied_params"),
        *("additional_targets", "bbox_params", "keypoint_params", "is_check_shapes", "mask_interpolation"),
        *("instance_binding", "frame_binding", "semantic_mask_label_mappings", "telemetry", "volume_mode"),
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


class _Arguments(Options):
    """Arguments of a transform; albumentationsx has `blur_range` and `radius_range` for `blur_limit` and `radius`."""

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 (a foreign value)
        """Look a value up under either name."""
        renamed = f"{key.removesuffix('_limit')}_range"
        return super().get(renamed if renamed in self.values else key, default)


def _made(entry: Mapping[str, Any], where: str, left: list[str]) -> list[Step]:
    name = str(entry.get("__class_fullname__")).rpartition(".")[2]
    options = _Arguments(entry, f"{where}: {name}")
    options.used |= _PLUMBING
    prob = 1.0 if options.values.get("always_apply") else options.number("p", 1.0 if "transforms" in entry else 0.5)
    inside = _inside(options)
    if name in ("Compose", "Sequential", "ReplayCompose"):
        steps = [step for each in inside for step in _made(each, where, left)]
    elif name == "OneOf":
        found: list[Option] = []
        for each in inside:
            weight = _Arguments(each, options.where).number("p", 0.5)
            found.append(Option(weight=weight, steps=tuple(_made({**each, "p": 1.0}, where, left))))
        steps: list[Step] = [OneOf(options=tuple(found))] if found else []
    elif name in ("SomeOf", "RandomOrder"):
        steps = _some_of(name, options, [_made(each, where, left) for each in inside], left)
    elif name in _KINDS:
        steps = _KINDS[name](options, left)
        left += [f"{name}: {line}" for line in options.left()]
    else:
        if name not in _NO_PIXELS:
            left.append(f"{name}: no such step is known")
        return []
    return sometimes(steps, prob)


def _inside(options: Options) -> list[Mapping[str, Any]]:
    """The transforms of a composition; none of another one."""
    found = options.get("transforms", [])
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in cast("list[Any]", found)):
        raise ConfigError(f"{options.where}: transforms: expected a list of transforms, got {found!r:.200}")
    return cast("list[Mapping[str, Any]]", found)


def _some_of(name: str, options: Options, parts: Sequence[list[Step]], left: list[str]) -> list[Step]:
    """One of the parts, or all of them; how many stay in between cannot be said."""
    count, again = options.number("n", 1), options.flag("replace")
    if count == 1:
        return one_of([Option(weight=1, steps=tuple(part)) for part in parts])
    if count < len(parts) or again:
        left.append(f"{name}: {count:g} of {len(parts)}{', with repeats' if again else ''}; name one, or all")
        return []
    if name == "SomeOf":
        return [step for part in parts for step in part]
    return [Shuffle(steps=tuple(together(part) for part in parts if part))]


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
        sigma = sigma_of(size)
    elif size[1]:
        left.append(f"GaussianBlur: blur_limit [{size[0]:g}, {size[1]:g}] cuts kernels")
    return [RandomBlur(sigma=(sigma[0], sigma[1]), support="full")]


def _motion_blur(options: Options, left: list[str]) -> list[Step]:
    options.used |= {"allow_shifted", "direction_range"}
    low, high = options.range("angle_range", (0, 360))
    angle = (0.0, math.pi) if high - low >= 180 else radians(low, high)
    return [RandomMotionBlur(length=options.range("blur_limit", (3, 7)), angle=angle)]


def _defocus(options: Options, left: list[str]) -> list[Step]:
    options.get("alias_blur")
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
    for key in ("blur_limit", "noise_limit"):
        options.get(key)
    return [
        RandomBlur(
            kernels={"generalized_aniso": 1},
            sigma=across,
            support="full",
            rotation=radians(*turn),
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
        sigma = sigma_of(sizes)
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
        low, high = (round(255 * end, 4) for end in options.range("std_range", (0, 0)))
    else:
        low, high = (round(max(end, 0) ** 0.5, 4) for end in options.range("var_limit", (10, 50)))
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
    both = "interpolation" if isinstance(options.get("interpolation"), Mapping) else "interpolation_pair"
    plain = options.number("interpolation", 0) if both == "interpolation_pair" else 0
    given = [options.inside(both).number(way, plain) for way in ("downscale", "upscale")]
    if unknown := [code for code in given if code not in _FILTERS]:
        left.append(f"Downscale: filter {', '.join(_CODES.get(code, f'{code:g}') for code in dict.fromkeys(unknown))}")
    filters: list[Filter] = [_FILTERS.get(code, "linear") for code in given]
    factor = _first(options, ("scale_range",), (low, high))
    return [RandomResize(factor=factor, filter=(filters[0],)), RandomResize(scale=(1, 1), filter=(filters[1],))]


_CODES: Final[Mapping[float, str]] = {0: "nearest", 1: "bilinear", 2: "bicubic", 3: "area", 4: "lanczos", 6: "nearest"}
"""OpenCV's numbers of filters."""
_FILTERS: Final[Mapping[float, Filter]] = {code: FILTERS[name] for code, name in _CODES.items() if name in FILTERS}


def _gray(options: Options, left: list[str]) -> list[Step]:
    options.used |= {"method", "num_output_channels"}
    return [RandomGray()]


def _color(
    brightness: Range = (1, 1), contrast: Range = (1, 1), saturation: Range = (1, 1), hue: Range = (0, 0)
) -> Step:
    return RandomColorJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)


def _middle(limits: Range, what: str, left: list[str]) -> float:
    """What a range about 0 reaches; one about another number is named."""
    reach = max(map(abs, limits))
    if limits != (-reach, reach):
        left.append(f"{what} [{limits[0]:g}, {limits[1]:g}]; up to {reach:g} either way here")
    return reach


def _brightness_contrast(options: Options, left: list[str]) -> list[Step]:
    added, times = (_symmetric(options, f"{part}_limit", 0.2) for part in ("brightness", "contrast"))
    options.used |= {"ensure_safe_range", "ensure_safe_output"}
    level = 255.0
    if options.get("brightness_by_max") is False and added != (0, 0):
        level /= 2
        left.append("RandomBrightnessContrast: brightness_by_max False, a share of the mean; of middle gray here")
    found = [_color(brightness=(1 + times[0], 1 + times[1]))] if times != (0, 0) else []
    if reach := _middle(added, "RandomBrightnessContrast: brightness_limit", left):
        found.append(RandomColorShift(limit=round(min(level * reach, 255), 4), gray_prob=1))
    return found


def _symmetric(options: Options, key: str, default: float) -> Range:
    """A range; one number stands for both ends about 0."""
    if isinstance(options.get(key), (list, tuple)):
        return options.range(key, (-default, default))
    reach = options.number(key, default)
    return -reach, reach


def _rgb_shift(options: Options, left: list[str]) -> list[Step]:
    limits = [_symmetric(options, f"{channel}_shift_limit", 20) for channel in "rgb"]
    reaches = [
        _middle(limit, f"RGBShift: {channel}_shift_limit", left) for channel, limit in zip("rgb", limits, strict=True)
    ]
    if len(set(reaches)) > 1:
        left.append(f"RGBShift: limits {reaches}; {max(reaches):g} for each channel here")
    reach = max(reaches)
    return [RandomColorShift(limit=min(255 * reach if reach <= 1 else reach, 255))]


def _hue(options: Options, left: list[str]) -> list[Step]:
    limits = {
        key: _symmetric(options, f"{key}_shift_limit", reach) for key, reach in (("hue", 20), ("sat", 30), ("val", 20))
    }
    for key in ("sat", "val"):
        if limits[key] != (0, 0):
            left.append(f"HueSaturationValue: {key}_shift_limit [{limits[key][0]:g}, {limits[key][1]:g}]")
    low, high = (round(min(max(end / 180, -0.5), 0.5), 4) for end in limits["hue"])  # OpenCV's circle has 180 degrees
    return [_color(hue=(low, high))] if (low, high) != (0, 0) else []


def _ringing(options: Options, left: list[str]) -> list[Step]:
    low, high = options.range("blur_limit", (7, 15))
    sizes = tuple(int(low) // 2 * 2 + 1 + step for step in range(0, int(high - low) + 1, 2))
    return [RandomSincBlur(support=sizes, cutoff=options.range("cutoff", (math.pi / 4, math.pi / 2)))]


def _multiplied(options: Options, left: list[str]) -> list[Step]:
    factor = options.range("multiplier", (0.9, 1.1))
    if options.flag("elementwise") or options.flag("per_channel"):
        left.append(f"MultiplicativeNoise: [{factor[0]:g}, {factor[1]:g}] for each pixel or channel")
        return []
    return [_color(brightness=factor)]


def _dropped(options: Options, left: list[str]) -> list[Step]:
    share, value = options.number("dropout_prob", 0.01), options.get("drop_value", 0)
    options.used.add("mask_drop_value")
    if options.flag("per_channel") or value not in (0, 1, 255):
        left.append(f"PixelDropout: drop_value {value!r}, per_channel {options.flag('per_channel')}")
        return []
    white = float(value > 0)
    return [RandomImpulseNoise(share=(share, share), white=(white, white))]


def _sharpen(options: Options, left: list[str]) -> list[Step]:
    alpha, light = options.range("alpha", (0.2, 0.5)), options.range("lightness", (0.5, 1.0))
    sigma = options.number("sigma", 1.0)
    options.used.add("kernel_size")
    if options.get("method", "kernel") == "gaussian":
        return [RandomSharpen(amount=alpha, radius=(sigma, sigma))]
    if light != (1, 1):
        left.append(f"Sharpen: lightness [{light[0]:g}, {light[1]:g}]; 1 here")
    # Its kernel takes nine times the mean of 3 x 3 pixels off, whose variance is that of a Gaussian blur of this sigma.
    sigma = round(math.sqrt(2 / 3), 4)
    return [RandomSharpen(amount=(min(9 * alpha[0], 10), min(9 * alpha[1], 10)), radius=(sigma, sigma))]


def _jitter(options: Options, left: list[str]) -> list[Step]:
    def factor(key: str) -> Range:
        if isinstance(options.get(key), (list, tuple)):
            return options.range(key, (1, 1))
        reach = options.number(key, 0.2)
        return max(1 - reach, 0), 1 + reach

    brightness, contrast, saturation = (factor(key) for key in ("brightness", "contrast", "saturation"))
    return [_color(brightness, contrast, saturation, _symmetric(options, "hue", 0))]


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
    "RandomBrightnessContrast": _brightness_contrast,
    "RGBShift": _rgb_shift,
    "HueSaturationValue": _hue,
    "RingingOvershoot": _ringing,
    "MultiplicativeNoise": _multiplied,
    "PixelDropout": _dropped,
    "Sharpen": _sharpen,
}
