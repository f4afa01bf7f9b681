"""Configurations of mmagic and mmedit: Python files, whose plain values are read and whose code is never run."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from degrade_kit.chains import FULL_CUBIC, ChainPass
from degrade_kit.checks import numbers_of
from degrade_kit.errors import ConfigError
from degrade_kit.files import MAX_DEPTH
from degrade_kit.foreign.values import Options, filters_of, sometimes, together
from degrade_kit.steps import (
    KERNEL_KINDS,
    RandomJpeg,
    RandomResize,
    RandomSincBlur,
    RandomVideo,
    Shuffle,
    Step,
)

_SILENT: Final = (
    *("Load", "Collect", "Pack", "Copy", "Rescale", "Flip", "RandomTranspose", "FramesToTensor", "ImageToTensor"),
    *(
        "Quantize",
        "GenerateSegment",
        "Mirror",
        "FixedCrop",
        "Crop",
        "Normalize",
        "SetValues",
        "PairedRandomCrop",
        "Clip",
    ),
)
"""What loads, flips and packs, and is no degradation."""
_CODECS: Final = {"libx264": "h264", "h264": "h264", "libx265": "h265", "mpeg4": "mpeg4", "mpeg2video": "mpeg2"}
_OPERATORS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Div: lambda one, other: one / other,
    ast.FloorDiv: lambda one, other: one // other,
    ast.Mult: lambda one, other: one * other,
    ast.Add: lambda one, other: one + other,
    ast.Sub: lambda one, other: one - other,
}
_UNKNOWN: Final = "<an expression>"


def read_mmagic(text: str, where: str) -> tuple[tuple[Step, ...], list[str]]:
    """Make steps of `train_pipeline`, and name what is left.

    Raises:
        ConfigError: If it is no Python, or has no pipeline with a degradation.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{where}: expected a configuration in Python: {error}") from error
    known: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            known[node.targets[0].id] = _value(node.value, known, 0)
    pipeline = known.get("train_pipeline")
    if not isinstance(pipeline, list):
        base = f"; it may be in its `_base_`, {known['_base_']!r:.200}" if "_base_" in known else ""
        raise ConfigError(f"{where}: expected a list `train_pipeline`, found none{base}")
    left: list[str] = []
    reader = _Pipeline(where, left, _side(cast("list[Any]", pipeline), known))
    steps = reader.steps(cast("list[Any]", pipeline))
    if not steps:
        raise ConfigError(f"{where}: expected a degradation in `train_pipeline`, such as RandomBlur, found none")
    return (*steps, FULL_CUBIC), left


def _value(node: ast.expr, known: Mapping[str, Any], depth: int) -> Any:  # noqa: ANN401 (a foreign value)
    """Evaluate a literal, `dict(...)`, a name that was given one, or arithmetic of numbers; all else is unknown."""
    if depth > MAX_DEPTH:
        return _UNKNOWN
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(entry, known, depth + 1) for entry in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(key, known, depth + 1) for key in node.keys]
        return dict(zip(map(str, keys), (_value(entry, known, depth + 1) for entry in node.values), strict=True))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        return {str(word.arg): _value(word.value, known, depth + 1) for word in node.keywords}
    if isinstance(node, ast.Name):
        return known.get(node.id, _UNKNOWN)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number: Any = _value(node.operand, known, depth + 1)
        return -number if isinstance(number, (int, float)) else _UNKNOWN
    if isinstance(node, ast.BinOp) and isinstance(node.op, tuple(_OPERATORS)):
        one, other = (_value(side, known, depth + 1) for side in (node.left, node.right))
        if isinstance(one, (int, float)) and isinstance(other, (int, float)) and math.isfinite(one) and other:
            return _OPERATORS[type(node.op)](one, other)
    return _UNKNOWN


def _side(pipeline: Sequence[Any], known: Mapping[str, Any]) -> float:
    """Side of the HQ images: absolute sizes are reckoned from it."""
    for entry in pipeline:
        if isinstance(entry, dict) and "crop_size" in entry:
            size = cast("dict[str, Any]", entry)["crop_size"]
            size = cast("list[Any]", size)[0] if isinstance(size, list) else size
            if isinstance(size, (int, float)):
                return float(size)
    size, scale = known.get("gt_crop_size"), known.get("scale", 1)
    if isinstance(size, (int, float)):
        return float(size)
    # Uncropped images: as large as the largest size that is named, or `scale` times that of LQ.
    targets = list(_targets(pipeline))
    return float(max(*targets, min(targets) * (scale if isinstance(scale, int) else 1))) if targets else 256.0


def _targets(value: Any) -> Iterator[float]:  # noqa: ANN401 (a foreign value)
    """All sides that `target_size` names, wherever it stands."""
    entries = cast("list[Any]", value if isinstance(value, list) else [])
    if isinstance(value, dict):
        inside = cast("dict[str, Any]", value)
        entries, target = list(inside.values()), inside.get("target_size")
        if isinstance(target, list) and target and isinstance(target[0], (int, float)):
            yield float(target[0])
    for entry in entries:
        yield from _targets(entry)


class _Pipeline:
    def __init__(self, where: str, left: list[str], side: float) -> None:
        self.where, self.left, self.side = where, left, side
        self.scale = 1.0
        """HQ side / side that the next video has, at the middle of the draws."""

    def steps(self, entries: Sequence[Any]) -> list[Step]:
        """Make steps of a list of transforms."""
        found: list[Step] = []
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(cast("dict[str, Any]", entry).get("type"), str):
                self.left.append(f"a transform that is no plain dict(type=...): {entry!r:.80}")
                continue
            values = cast("dict[str, Any]", entry)
            kind = values["type"]
            if kind.startswith(_SILENT):
                continue
            make = self._maker(kind)
            if make is None:
                self.left.append(f"{kind}: no such step is known")
                continue
            given = values.get("params", {})
            options = Options(values if kind == "DegradationsWithShuffle" else given, f"{self.where}: {kind}")
            prob = options.number("prob", 1.0)
            found += sometimes(make(options), prob)
            self.left += [
                f"{kind}: {line}"
                for line in options.left()
                if not line.startswith(("keys", "type", "is_size_even", "color_type: 'color'")) and "_step:" not in line
            ]
        return found

    def _maker(self, kind: str) -> Callable[[Options], list[Step]] | None:
        makers = {
            "RandomBlur": self._blur,
            "RandomResize": self._resize,
            "RandomNoise": self._noise,
            "RandomJPEGCompression": self._jpeg,
            "RandomVideoCompression": self._video,
            "DegradationsWithShuffle": self._shuffle,
        }
        return makers.get(kind)

    def _blur(self, options: Options) -> list[Step]:
        sizes = tuple(int(size) for size in options.numbers("kernel_size", None, [21]))
        kinds = options.texts("kernel_list", ("iso",))
        weights = dict(zip(kinds, options.numbers("kernel_prob", len(kinds), [1.0] * len(kinds)), strict=True))
        sinc = weights.pop("sinc", 0.0)
        weights = {kind: weight for kind, weight in weights.items() if weight}
        turn = options.range("rotate_angle", (-math.pi, math.pi))
        total = sum(weights.values()) + sinc
        if not weights:
            return [RandomSincBlur(support=sizes, cutoff=options.range("omega", (math.pi / 3, math.pi)))]
        if options.range("sigma_x", (0.2, 3)) != options.range("sigma_y", (0.2, 3)):
            self.left.append("RandomBlur: sigma_y differs from sigma_x, which is taken for both")
        if turn[1] - turn[0] < 3.14:  # half a turn is all there is
            self.left.append(f"RandomBlur: rotate_angle [{turn[0]:g}, {turn[1]:g}]; any angle here")
        plain = ChainPass(
            kernels=numbers_of(KERNEL_KINDS)(cast("Any", weights), f"{options.where}: kernel_list"),
            sizes=sizes,
            sigma=options.range("sigma_x", (0.2, 3)),
            generalized=options.range("beta_gaussian", (0.5, 4)),
            plateau=options.range("beta_plateau", (1, 2)),
            sinc=round(sinc / total, 9),
        )
        return list(plain.blur())

    def _resize(self, options: Options) -> list[Step]:
        names = options.texts("resize_opt", ("bilinear",))
        weights = options.numbers("resize_prob", len(names), [1.0] * len(names))
        filters = filters_of(names, weights, self.left, "RandomResize")
        target = options.get("target_size")
        if target is not None:
            side = options.numbers("target_size", 2, [0, 0])[0]
            if side < 1:
                raise ConfigError(f"{options.where}: target_size: expected sides of at least 1, got {side:g}")
            self.scale = self.side / side
            return [RandomResize(scale=(self.scale, self.scale), filter=filters)]
        up, down, keep = options.numbers("resize_mode_prob", 3, (0, 0, 1))
        factors = options.range("resize_scale", (1, 1))
        return list(ChainPass(up_down_keep=(up, down, keep), factors=factors, filters=filters).rescale())

    def _noise(self, options: Options) -> list[Step]:
        kinds = options.texts("noise_type", ("gaussian",))
        shares = dict(zip(kinds, options.numbers("noise_prob", len(kinds), [1.0] * len(kinds)), strict=True))
        grays = [options.number(f"{kind}_gray_noise_prob", 0) for kind in ("gaussian", "poisson")]
        if grays[0] != grays[1]:
            self.left.append(f"RandomNoise: poisson_gray_noise_prob {grays[1]:g}, where {grays[0]:g} is taken")
        if sum(shares.values()) <= 0:
            raise ConfigError(f"{options.where}: noise_prob: expected a positive one, got {list(shares.values())}")
        plain = ChainPass(
            gaussian_prob=shares.get("gaussian", 0) / sum(shares.values()),
            level=options.range("gaussian_sigma", (0, 0)),
            poisson=options.range("poisson_scale", (0, 0)),
            gray_prob=grays[0],
        )
        return list(plain.noise())

    def _jpeg(self, options: Options) -> list[Step]:
        return [RandomJpeg(quality=options.range("quality", (30, 95)))]

    def _video(self, options: Options) -> list[Step]:
        names = options.texts("codec", ("h264",))
        shares = options.numbers("codec_prob", len(names), [1.0] * len(names))
        weights: dict[str, float] = {}
        for name, share in zip(names, shares, strict=True):
            if name in _CODECS:
                weights[_CODECS[name]] = weights.get(_CODECS[name], 0) + share
            else:
                self.left.append(f"RandomVideoCompression: codec {name}")
        if not weights:
            return []
        low, high = options.range("bitrate", (1e4, 1e5))
        pixels = (self.side / self.scale) ** 2
        # A clip has one frame a second there, so a bit rate is that of a frame.
        rates = min(low / pixels, 24), min(high / pixels, 24)
        self.left.append(
            f"RandomVideoCompression: bitrate [{low:g}, {high:g}] a frame is {rates[0]:.3g} to {rates[1]:.3g} a pixel "
            f"of {self.side / self.scale:g} a side, drawn log-uniformly; frames besides the first"
        )
        return [RandomVideo(codec=cast("Any", weights), bitrate=rates)]

    def _shuffle(self, options: Options) -> list[Step]:
        groups = [
            self.steps(cast("list[Any]", entry) if isinstance(entry, list) else [entry])
            for entry in cast("list[Any]", options.get("degradations", []))
        ]
        options.used |= {"shuffle_idx", "type", "keys"}
        return [Shuffle(steps=tuple(together(group) for group in groups if group))]
