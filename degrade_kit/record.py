"""A record: everything that was decided about one LQ image, as plain numbers."""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from degrade_kit.files import decode_json
from degrade_kit.ops import OPS, ColorJitter, ColorShift, Gray, Op, Resize, Uneven, Unframe, network_calls

_POINTWISE = (ColorShift, ColorJitter, Gray)
_READER_FILTERS = ("linear", "cubic", "area")

_MAX_BYTES: Final = 1 << 20
_LARGEST: Final = 1e9
"""No number of a record is larger, so that sums and squares stay numbers."""
MAX_LQ_SCALE: Final = 16
"""LQ images are at most so many times smaller than HQ."""
_MAX_OPS: Final = 1000
"""Operations of a record, those inside others too."""
LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "blur.size": (1, 1601),
    "sinc_blur.size": (1, 255),
    "motion_blur.size": (1, 255),
    "motion_blur.length": (0, 255),
    "resize.scale": (0.1, 512),
    "resize_side.side": (1, 8192),
    "rescale.factor": (1 / 64, 16),
    **{
        f"{name}.{key}": limits
        for name in ("frame", "unframe")
        for key, limits in {"side": (1, 4096), "angle": (-7, 7), "right": (-4096, 4096), "down": (-4096, 4096)}.items()
    },
    "jpeg.right": (0, 15),
    "jpeg.down": (0, 15),
    "avif.quality": (0, 100),
    "heic.quality": (0, 100),
    "ai_upscale.factor": (0.5, 8),
    "ai_upscale.strength": (0, 1),
    "video.crf": (0, 51),
    "video.bitrate": (0, 24),
    "video.before": (0, 30),
    "video.right": (-32, 32),
    "video.down": (-32, 32),
    "video.zoom": (0.8, 1.25),
    "tone.exposure": (-16, 16),
    "tone.gamma": (0.01, 100),
    "defocus.radius": (0, 100),
    "camera_shake.length": (0, 200),
    "camera_shake.curl": (0, 1),
    "isp.shot": (0, 1),
    "isp.read": (0, 1),
    "isp.red": (0.1, 10),
    "isp.blue": (0.1, 10),
    "denoise.strength": (0, 255),
    "denoise.radius": (0.1, 10),
    "sharpen.amount": (0, 10),
    "sharpen.radius": (0.1, 50),
    "low_light.gamma": (1, 10),
    "low_light.alpha": (0, 1),
    "low_light.beta": (0, 1),
    "rain.drops": (0, 5000),
    "rain.length": (0, 4),
    "rain.angle": (-7, 7),
    "rain.brightness": (0, 1),
    "rain.veil": (0, 1),
    "snow.flakes": (0, 5000),
    "snow.radius": (0, 0.5),
    "snow.fall": (0, 4),
    "snow.angle": (-7, 7),
    "snow.opacity": (0, 1),
    "snow.veil": (0, 1),
    "depth_haze.density": (0, 100),
    "depth_haze.near": (0, 1),
    "depth_haze.light": (0, 1),
    "depth_haze.warmth": (-1, 1),
    "depth_haze.patches": (0, 1),
    "glare.strength": (0, 100),
    "glare.across": (-10, 10),
    "glare.down": (-10, 10),
    "glare.spread": (0.001, 10),
    "glare.rays": (0, 64),
    "glare.turn": (-7, 7),
    "glare.warmth": (-1, 1),
    "scratches.count": (0, 500),
    "scratches.length": (0, 8),
    "scratches.width": (0, 0.2),
    "scratches.opacity": (0, 1),
    "scratches.angle": (-7, 7),
    "scratches.disorder": (0, 1),
    "scratches.dark": (0, 1),
    "scratches.coloured": (0, 1),
    "creases.count": (0, 50),
    "creases.depth": (0, 1),
    "creases.width": (0.0001, 0.2),
    "dust.specks": (0, 5000),
    "dust.hairs": (0, 100),
    "dust.size": (0, 0.2),
    "dust.opacity": (0, 1),
    "dust.dark": (0, 1),
    "fade.cyan": (0, 1),
    "fade.magenta": (0, 1),
    "fade.yellow": (0, 1),
    "fade.stain": (0, 1),
    "sepia.amount": (0, 1),
    "film_grain.level": (0, 255),
    "film_grain.size": (0, 40),
    "film_grain.colour": (0, 1),
    "halftone.period": (1, 200),
    "halftone.angle": (-7, 7),
    "halftone.gain": (0, 0.25),
    "halftone.blur": (0, 40),
    "screen_capture.pitch": (0.1, 100),
    "screen_capture.contrast": (0, 1),
    "screen_capture.angle": (-7, 7),
    "screen_capture.tilt_right": (-1, 1),
    "screen_capture.tilt_down": (-1, 1),
    "screen_capture.bend": (-1, 1),
    "screen_capture.glow": (0, 1),
    "screen_capture.noise": (0, 1),
    "banding.levels": (2, 256),
    "palette.colours": (2, 256),
    "interlace.right": (-256, 256),
    "interlace.down": (-256, 256),
    "aberration.red": (-0.5, 0.5),
    "aberration.blue": (-0.5, 0.5),
    "impulse_noise.share": (0, 1),
    "impulse_noise.white": (0, 1),
    "pixelate.block": (1, 4096),
    "interference.level": (0, 255),
    "interference.period": (1, 8192),
    "interference.angle": (-7, 7),
    "interference.phase": (-7, 7),
    "uniform_noise.level": (0, 255),
    "speckle_noise.level": (0, 4),
    "perlin_noise.level": (0, 255),
    "perlin_noise.period": (0.001, 8),
    "perlin_noise.octaves": (1, 8),
    "perlin_noise.persistence": (0, 1),
    "correlated_noise.luma": (0, 255),
    "correlated_noise.chroma": (0, 255),
    "correlated_noise.size": (0, 40),
    "correlated_noise.length": (0, 200),
    "correlated_noise.angle": (-7, 7),
    "box_blur.side": (1, 800),
    "box_blur.busy": (0, 100),
    "halo.amount": (0, 50),
    "halo.radius": (0.1, 50),
    "halo.threshold": (0, 255),
    "outline.low": (0, 4000),
    "outline.high": (0, 4000),
    "outline.width": (1, 64),
    "outline.level": (0, 255),
    "outline.opacity": (0, 1),
    "levels.low": (0, 255),
    "levels.high": (0, 255),
    "levels.gamma": (0.01, 100),
    "channel_shift.right": (3, 3),
    "channel_shift.down": (3, 3),
    "chroma_subsampling.across": (1, 16),
    "chroma_subsampling.down": (1, 16),
    "dither.levels": (2, 256),
    "uneven_light.strength": (0, 1),
    "uneven_light.angle": (-7, 7),
    "vignette.strength": (0, 0.99),
    "reflection.strength": (0, 10),
    "reflection.blur": (0, 1),
    "reflection.right": (-1, 1),
    "reflection.down": (-1, 1),
    "reflection.warmth": (-1, 1),
    "lens_distortion.bend": (-0.25, 2),
    "occlusion.count": (0, 50),
    "occlusion.size": (0, 2),
    "occlusion.opacity": (0, 1),
    "watermark.opacity": (0, 1),
    "watermark.size": (0.001, 1),
    "watermark.across": (-4, 4),
    "watermark.down": (-4, 4),
    "watermark.angle": (-7, 7),
    "watermark.level": (0, 255),
    "decimate.size": (1, 255),
    "decimate.factor": (1, 16),
    "jpeg.quality": (0, 100),
    "webp.quality": (0, 100),
    "shift.right": (-256, 256),
    "shift.down": (-256, 256),
    "uneven.side": (0, 1),
    "uneven.left": (0, 1),
    "uneven.top": (0, 1),
    "flipnet.num_steps": (1, 1000),
    "flipnet.guidance": (0, 100),
    "flipnet.phi": (0, 100),
    "flipnet.description": (0, 24),
    "color_jitter.order": (0, 4),
    "covariance_noise.covariance": (9, 9),
}
"""What costs memory or time, or makes other code fail, within what `degrade_kit.steps` draws: a record may be somebody
else's. Of lists it is their length."""


@dataclass(frozen=True, slots=True)
class Record:
    """One drawn degradation: every number that `apply` needs.

    >>> from degrade_kit.ops import Blur, Jpeg
    >>> record = Record(seed=7, steps=(Blur(sigma_x=2.0, sigma_y=2.0), Jpeg(quality=60)))
    >>> Record.from_json(record.to_json()) == record
    True
    """

    seed: int
    """Seed of all noise in the record, 0 <= seed < 2**48, so that JSON readers with doubles keep it."""
    steps: tuple[Op, ...]
    """What makes the LQ image from the HQ image, in order."""
    target: tuple[Op, ...] = ()
    """What makes the training target from the HQ image; nothing in most recipes."""
    lq_scale: int = 1
    """How many times smaller than HQ the LQ image is where nobody asks for another size: the native image, which the
    last step enlarges for whoever wants the full size. 1 in most recipes."""

    @property
    def by_model(self) -> bool:
        """Whether a network does any of it: the record alone cannot make the image again."""
        return network_calls(self.steps) > 0

    def split(self) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
        """Separate the steps up to the *native* LQ image, which a shard stores, from the tail that a reader runs on it.

        The tail is the last resize to the full size, or the cut out of a photograph, and the pointwise colour steps
        behind it; empty if there is none.
        """
        at = len(self.steps)
        while at and isinstance(self.steps[at - 1], _POINTWISE):
            at -= 1
        last = self.steps[at - 1] if at else None
        resized = isinstance(last, Resize) and last.scale == 1.0 and last.filter in _READER_FILTERS
        if resized or isinstance(last, Unframe):
            return self.steps[: at - 1], self.steps[at - 1 :]
        return self.steps, ()

    def to_json(self) -> str:
        """Write compact JSON with the steps in order; `from_json` gives an equal record, floats to the last bit."""
        fields = {"seed": self.seed, "steps": ops_to_plain(self.steps), "target": ops_to_plain(self.target)}
        if self.lq_scale != 1:  # left out where it is 1: records of before stay as they were, to the byte
            fields["lq_scale"] = self.lq_scale
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Parse what `to_json` wrote.

        Raises:
            ValueError: If the text is no record: not JSON, an unknown step, a missing, unknown or mistyped field, or a
                number that no recipe can draw.
        """
        try:
            data = decode_json(text, _MAX_BYTES)
            seed = _value(data["seed"], int, "seed")
            if not 0 <= seed < 2**48:
                raise ValueError(f"seed: expected a whole number within [0, 2**48), got {seed}")
            lq_scale = _value(data.get("lq_scale", 1), int, "lq_scale")
            if not 1 <= lq_scale <= MAX_LQ_SCALE:
                raise ValueError(f"lq_scale: expected a whole number within [1, {MAX_LQ_SCALE}], got {lq_scale}")
            return cls(seed, ops_from_plain(data["steps"]), ops_from_plain(data["target"]), lq_scale)
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a degradation record ({error!r}): {text[:200]}") from error


def lq_scale_of(record: str) -> int:
    """Tell from a record's JSON how many times smaller than HQ its LQ image is; 1 for no record.

    Raises:
        ValueError: If it says so and is no record.
    """
    # Nearly all are as large as HQ, and a reader asks for each image.
    return Record.from_json(record).lq_scale if '"lq_scale"' in record else 1


def ops_to_json(ops: tuple[Op, ...]) -> str:
    """Write a JSON list of operations, as in `Record.to_json`."""
    return json.dumps(ops_to_plain(ops), separators=(",", ":"))


def ops_from_json(text: str) -> tuple[Op, ...]:
    """Parse what `ops_to_json` wrote; errors as `Record.from_json`."""
    try:
        return ops_from_plain(decode_json(text, _MAX_BYTES))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not a list of operations ({error}): {text[:200]}") from error


def ops_from_plain(entries: Any) -> tuple[Op, ...]:  # noqa: ANN401 (parsed JSON)
    """Make operations from plain dictionaries, each naming its class under `op`."""
    if not isinstance(entries, list):
        raise ValueError(f"expected a list of operations in a record, got {entries!r:.80}")
    made = tuple(_op_from_plain(entry) for entry in cast("list[dict[str, Any]]", entries))
    if (total := sum(map(_count, made))) > _MAX_OPS:
        raise ValueError(f"{total} operations in a record; the most is {_MAX_OPS}")
    return made


def _count(op: Op) -> int:
    """How many operations one is, with those inside."""
    return 1 + sum(map(_count, (*op.inside, *op.outside))) if isinstance(op, Uneven) else 1


def _op_from_plain(entry: dict[str, Any]) -> Op:
    fields = dict(entry)
    name = fields.pop("op", None)
    if name not in OPS:
        raise ValueError(f"unknown operation {name!r:.80} in a record; known are {', '.join(OPS)}")
    types = _field_types(OPS[name])
    if unknown := fields.keys() - types.keys():
        raise ValueError(f"operation {name} in a record has no {', '.join(sorted(unknown))}")
    return OPS[name](**{key: _bounded(value, types[key], f"{name}.{key}") for key, value in fields.items()})


@functools.cache
def _field_types(cls: type[Op]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _bounded(value: Any, expected: Any, where: str) -> Any:  # noqa: ANN401 (parsed JSON, and the type of a field)
    found: Any = _value(value, expected, where)
    if where in LIMITS:
        (low, high) = LIMITS[where]
        number = len(cast("tuple[Any, ...]", found)) if isinstance(found, tuple) else found
        if not low <= number <= high:
            raise ValueError(f"{where}: expected a number within [{low:g}, {high:g}] in a record, got {number!r}")
    return cast("Any", found)


def limited(where: str, value: float) -> float:
    """Bring a number to within what a record may hold in this field, such as `blur.sigma_x`."""
    low, high = LIMITS.get(where, (-_LARGEST, _LARGEST))
    return float(min(max(value, low), high))  # a limit of 10 would be written as 10, and be read as 10.0


def _value(value: Any, expected: Any, where: str) -> Any:  # noqa: ANN401 (parsed JSON, and the type of a field)
    """Convert a value of JSON to the type that its field is declared with; numbers must be finite."""
    choices = typing.get_args(expected)
    if typing.get_origin(expected) is tuple:
        if isinstance(value, list):
            entries = cast("list[Any]", value)
            if choices[0] == Op:
                return ops_from_plain(entries)
            return tuple(_value(entry, choices[0], where) for entry in entries)
    elif choices:
        if isinstance(value, str) and value in choices:
            return value
    elif expected is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST:
            return float(value)
    elif type(value) is expected:
        return value
    wanted = f"one of {', '.join(choices)}" if choices and isinstance(choices[0], str) else expected
    raise ValueError(f"{where}: expected {getattr(wanted, '__name__', wanted)} in a record, got {value!r:.80}")


def ops_to_plain(ops: Sequence[Op]) -> list[dict[str, Any]]:
    """Write operations as plain dictionaries, each naming its class under `op`; `ops_from_plain` reads them."""
    return [{"op": op.name, **_fields(op)} for op in ops]


def _fields(op: Op) -> dict[str, Any]:
    # A field that came later is left out where it changes nothing: records of before stay as they were, to the byte.
    later: tuple[str, ...] = getattr(op, "later", ())
    fields = {
        field.name: value
        for field in dataclasses.fields(op)
        if (value := getattr(op, field.name)) != field.default or field.name not in later
    }
    if isinstance(op, Uneven):
        fields |= {"inside": ops_to_plain(op.inside), "outside": ops_to_plain(op.outside)}
    return fields
