"""A recipe: steps with ranges, from a published method or a user's YAML file, that draws records."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from degrade_kit.checks import whole
from degrade_kit.errors import ConfigError, nearest
from degrade_kit.files import MAX_YAML_BYTES, local_path, parse_yaml, read_regular, sha256
from degrade_kit.network_steps import CAPTIONS
from degrade_kit.ops import Jpeg, Op, Resize, WebP
from degrade_kit.record import MAX_LQ_SCALE, Record
from degrade_kit.step_base import merged
from degrade_kit.steps import (
    STEPS,
    Drawn,
    Enlarge,
    FromBank,
    OneOf,
    Option,
    PhotoFrame,
    RandomAiUpscale,
    RandomDecimate,
    RandomFlipNet,
    RandomJpeg,
    RandomLensDistortion,
    RandomResize,
    RandomShift,
    RandomWebP,
    Repost,
    Shuffle,
    Step,
    Uneven,
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What may happen to an image, step by step.

    >>> from degrade_kit.steps import RandomBlur, RandomResize
    >>> recipe = Recipe(name="blurry", steps=(RandomBlur(sigma=(1, 3)), RandomResize(scale=4), RandomResize(scale=1)))
    >>> [op.name for op in recipe.draw(np.random.default_rng(0)).steps]
    ['blur', 'resize', 'resize']
    """

    name: str
    """Lower case, words joined by dashes or plus signs."""
    steps: tuple[Step, ...]
    source: str = ""
    """Where the numbers come from: paper, file and keys."""
    notes: str = ""
    """Where it departs from its source, and why."""
    lq_scale: int = 1
    """How many times smaller than HQ its LQ images are, such as 4 for super-resolution by 4: its steps end at that
    size. Whoever wants LQ as large as HQ gets it enlarged by a cubic filter."""

    def __post_init__(self) -> None:
        if not self.steps:
            raise ConfigError(f"recipe {self.name}: expected at least one step")
        whole(1, MAX_LQ_SCALE)(self.lq_scale, f"recipe {self.name}: lq_scale")
        if self.lq_scale > 1 and not _ends_at(self.steps, self.lq_scale, start=False):
            raise ConfigError(
                f"recipe {self.name}: its last resize must go to HQ's size over lq_scale, since its LQ images are "
                f"{self.lq_scale} times smaller; end it with `- resize: {{scale: {self.lq_scale}}}`, and put only what "
                "keeps the size behind that"
            )
        if self.lq_scale == 1 and not _ends_at(self.steps, 1, start=True):
            raise ConfigError(
                f"recipe {self.name}: its last resize must go back to the full size, since LQ and HQ reach a trainer "
                f"at one size; end it with `- resize: {{scale: 1}}`"
            )
        for step in _walk(self.steps):
            inside = _walk(step.steps) if isinstance(step, PhotoFrame) else ()
            for inner in inside:
                if isinstance(inner, (RandomShift, RandomLensDistortion, Uneven, PhotoFrame, FromBank)):
                    raise ConfigError(
                        f"recipe {self.name}: `{inner.name}` is a step of the whole image; put it before or behind "
                        "`photo_frame`, not in it"
                    )
            if isinstance(step, Uneven) and _resizes(step.steps) and not _ends_at(step.steps, 1, start=False):
                raise ConfigError(
                    f"recipe {self.name}: the steps of `uneven` must go back to the full size, since the square and "
                    f"the rest are drawn apart and fit together at one size; end them with `- resize: {{scale: 1}}`"
                )

    def draw(self, rng: np.random.Generator, caption: str | None = None) -> Record:
        """Decide everything about one LQ image.

        Args:
            rng: Source of all decisions; `degrade_kit.seeding.generator` gives one per sample.
            caption: Of the HQ image, for a recipe whose FlipNet is prompted with captions.

        Raises:
            ConfigError: If such a recipe gets no caption.
        """
        drawn = Drawn(caption=caption)
        for step in self.steps:
            step.draw(rng, drawn)
        seed = int(rng.bit_generator.random_raw()) >> 16
        if self.lq_scale > 1:
            drawn.steps.append(Resize(scale=1.0, filter="cubic"))
        return Record(seed, tuple(drawn.steps), tuple(drawn.target), self.lq_scale)

    def native_format(self) -> str | None:
        """Return `jpg` or `webp` if the native part of every record ends with that file, else None."""
        return _last_format(self.steps) if self.lq_scale == 1 else _file_at_end(self.steps)

    def libraries(self) -> dict[str, str]:
        """List the libraries that its steps need beyond the base's, with their versions: codecs decide pixels.

        Raises:
            ConfigError: If one is missing, or lacks a codec; it names the package to install.
        """
        return merged(step.libraries() for step in _walk(self.steps))

    @property
    def models(self) -> dict[str, str]:
        """Where each FlipNet is that a step may run, by its digest; none in most recipes."""
        found: dict[str, str] = {}
        for step in _walk(self.steps):
            if isinstance(step, RandomFlipNet):
                found[step.digest] = step.model
            elif isinstance(step, FromBank):
                found |= step.models
        return found

    @property
    def captioned(self) -> bool:
        """Whether a FlipNet is prompted with the captions of the HQ images."""
        return any(isinstance(step, RandomFlipNet) and step.prompt == CAPTIONS for step in _walk(self.steps))

    def to_mapping(self) -> dict[str, Any]:
        """Convert to plain lists and dictionaries, as in a YAML file; defaults are left out."""
        head = {key: value for key in ("name", "source", "notes") if (value := getattr(self, key))}
        ends = {"lq_scale": self.lq_scale} if self.lq_scale > 1 else {}
        return {**head, **ends, "steps": [_step_to_plain(step) for step in self.steps]}

    def digest(self) -> str:
        """Hash of everything that changes pixels: twelve hexadecimal digits."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        steps = json.dumps(without_places(self.to_mapping()["steps"]), sort_keys=True)
        return sha256(steps if self.lq_scale == 1 else f"{steps}\nlq_scale {self.lq_scale}")[:12]


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a YAML file; see docs/recipes.md for the format.

    Raises:
        ConfigError: If the file cannot be read or says something else than a recipe.
    """
    path = local_path(path)
    try:
        text = read_regular(path, MAX_YAML_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read recipe {path}: {error.strerror or error}") from error
    data = parse_yaml(text, path.name)
    _locate_files(data, path.parent)
    return recipe_from_mapping(data, path.name)


def _locate_files(data: Any, folder: Path) -> None:  # noqa: ANN401 (parsed YAML)
    """Let a bank or exemplars that are named relative be those beside the recipe, where there are such."""
    if isinstance(data, list):
        for entry in cast("list[Any]", data):
            _locate_files(entry, folder)
    elif isinstance(data, dict):
        for key, entry in cast("dict[Any, Any]", data).items():
            if isinstance(entry, dict) and key in _FILES:
                field = _FILES[cast("str", key)]
                file = cast("dict[Any, Any]", entry).get(field)
                # A bank that ships is called by its name alone.
                if isinstance(file, str) and file and (key != "bank" or file.endswith(".json")):
                    beside = folder / file
                    if not Path(file).is_absolute() and beside.exists():
                        entry[field] = str(beside)
            _locate_files(entry, folder)


_FILES: Final = {"bank": "file", "flipnet": "like"}
"""Fields of steps that name a file or a folder."""


def recipe_from_mapping(data: Any, where: str) -> Recipe:  # noqa: ANN401 (parsed YAML)
    """Build a recipe from what `Recipe.to_mapping` gives or a YAML file holds; `where` starts every error message."""
    mapping = _mapping(data, where)
    _refuse_unknown(mapping, ("name", "source", "notes", "lq_scale", "steps"), where)
    for key in ("name", "steps"):
        if key not in mapping:
            raise ConfigError(f"{where}: `{key}` is missing")
    texts = {key: _text(mapping, key, where) for key in ("name", "source", "notes")}
    lq_scale = whole(1, MAX_LQ_SCALE)(mapping.get("lq_scale", 1), f"{where}: lq_scale")
    return Recipe(steps=_steps_from_plain(mapping["steps"], f"{where}: steps"), lq_scale=lq_scale, **texts)


def without_places(steps: Any) -> Any:  # noqa: ANN401 (parsed YAML)
    """The steps of `Recipe.to_mapping` without where their models are, which changes no pixels: digests name them."""
    if isinstance(steps, list):
        return [without_places(entry) for entry in cast("list[Any]", steps)]
    if not isinstance(steps, dict):
        return steps
    plain = cast("dict[Any, Any]", steps)
    if isinstance(model := plain.get("flipnet"), dict) and len(plain) == 1:
        return {"flipnet": {key: value for key, value in cast("dict[Any, Any]", model).items() if key != "model"}}
    return {key: without_places(value) for key, value in plain.items()}


def _steps_from_plain(data: Any, where: str) -> tuple[Step, ...]:  # noqa: ANN401 (parsed YAML)
    if not isinstance(data, (list, tuple)):
        raise ConfigError(f"{where}: expected a list of steps, got {data!r:.200}")
    return tuple(_step_from_plain(entry, f"{where}[{i}]") for i, entry in enumerate(cast("list[Any]", data)))


def _step_from_plain(entry: Any, where: str) -> Step:  # noqa: ANN401 (parsed YAML)
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, Mapping) or len(cast("Mapping[str, Any]", entry)) != 1:
        raise ConfigError(f"{where}: expected one step as `name: {{...}}`, got {entry!r:.200}")
    name, params = next(iter(cast("Mapping[str, Any]", entry).items()))
    if name not in STEPS:
        raise ConfigError(f"{where}: unknown step `{name}`; {nearest(str(name), STEPS)}")
    return _build(STEPS[name], params, where, f"{where}.{name}")


def _option_from_plain(entry: Any, where: str) -> Option:  # noqa: ANN401 (parsed YAML)
    return _build(Option, entry, where, where)


def _build(cls: type[Any], params: Any, parent: str, where: str) -> Any:  # noqa: ANN401 (parsed YAML)
    """Make a step or an option of a dictionary of its fields.

    Its own errors start with the name of the step, if it is one: they go behind `parent`, all others behind `where`.
    """
    values = dict(_mapping({} if params is None else params, where))
    known = {field.name: field for field in dataclasses.fields(cls)}
    _refuse_unknown(values, known, where)
    for name, field in known.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: `{name}` is missing")
    if "steps" in values and cls is not RandomFlipNet:  # whose steps are those of its solver
        values["steps"] = _steps_from_plain(values["steps"], f"{where}.steps")
    if "options" in values and isinstance(values["options"], list):
        entries = cast("list[Any]", values["options"])
        values["options"] = [_option_from_plain(entry, f"{where}.options[{i}]") for i, entry in enumerate(entries)]
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{parent}.{error}") from error


def _text(mapping: Mapping[str, Any], key: str, where: str) -> str:
    value = mapping.get(key)
    if value is None and key != "name":
        return ""  # `notes:` alone
    if not isinstance(value, str) or (key == "name" and not value):
        raise ConfigError(
            f"{where}: {key}: expected text, got {value!r:.200}; put it in quotes if it is a number or a date"
        )
    return value


def _mapping(data: Any, where: str) -> Mapping[str, Any]:  # noqa: ANN401 (parsed YAML)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected `key: value` pairs, got {data!r:.200}")
    return cast("Mapping[str, Any]", data)


def _refuse_unknown(values: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    names = list(known)
    for key in values:
        if key not in names:
            raise ConfigError(f"{where}: unknown key `{key}`; {nearest(str(key), names)}")


def _step_to_plain(step: Step) -> dict[str, Any]:
    return {step.name: _fields_to_plain(step)}


def _fields_to_plain(step: Step | Option) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(step):
        value = getattr(step, field.name)
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if value == default:
            continue
        if field.name == "steps" and not isinstance(step, RandomFlipNet):
            value = [_step_to_plain(inner) for inner in value]
        elif field.name == "options":
            value = [_fields_to_plain(option) for option in value]
        elif isinstance(value, tuple):
            entries = cast("tuple[Any, ...]", value)
            value = [list(cast("tuple[Any, ...]", entry)) if isinstance(entry, tuple) else entry for entry in entries]
        elif isinstance(value, dict):  # a copy: YAML would write what two steps share as an alias
            value = dict(cast("dict[Any, Any]", value))
        plain[field.name] = value
    return plain


def _ends_at(steps: Sequence[Step], scale: int, *, start: bool) -> bool:
    """Whether an image at HQ's size over `scale` (or not: `start`) is sure to have that size after `steps`."""
    there = start
    for step in steps:
        # A step that may be left out brings nothing to the size for sure, but may take it away.
        there = _leaves_at(step, scale, start=there) and (there or step.prob == 1.0)
    return there


def _leaves_at(step: Step, scale: int, *, start: bool) -> bool:
    """Do the same for one step that does happen."""
    if isinstance(step, Uneven):
        return _ends_at(step.steps, scale, start=start)
    if isinstance(step, Shuffle):
        return start and all(_ends_at((inner,), scale, start=True) for inner in step.steps)
    if isinstance(step, OneOf):
        return all(_ends_at(option.steps, scale, start=start) for option in step.options if option.weight)
    if isinstance(step, (PhotoFrame, FromBank)):
        return scale == 1
    if isinstance(step, RandomResize):
        return step.scale == (scale, scale) or step.factor == (1 / scale, 1 / scale)
    return start and not isinstance(step, (RandomDecimate, Enlarge, RandomAiUpscale, Repost))


def _walk(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps, those inside others too."""
    for step in steps:
        yield step
        if isinstance(step, (Shuffle, Uneven, PhotoFrame)):
            yield from _walk(step.steps)
        elif isinstance(step, OneOf):
            yield from _walk(inner for option in step.options for inner in option.steps)


def _resizes(steps: Iterable[Step]) -> bool:
    return any(
        isinstance(step, (RandomResize, RandomDecimate, Enlarge, RandomAiUpscale, Repost)) for step in _walk(steps)
    )


def _last_format(steps: tuple[Step, ...]) -> str | None:
    """Extension of the file that the native part of every record ends with; `Record.split` says which part that is."""
    rest = list(steps)
    while rest and rest[-1].name in ("color_shift", "color_jitter", "gray"):
        rest.pop()
    last = rest[-1] if rest else None
    if isinstance(last, PhotoFrame):
        return _file_at_end(last.steps) if last.prob == 1.0 else None
    if isinstance(last, OneOf) and last.prob == 1.0:
        chosen = [option.steps for option in last.options if option.weight]
        if all(inner and isinstance(inner[-1], PhotoFrame) for inner in chosen):
            formats = {_last_format(inner) for inner in chosen}
            return formats.pop() if len(formats) == 1 else None
    if isinstance(last, FromBank):
        return _common_format(last.records) if last.prob == 1.0 else None
    if isinstance(last, RandomResize):
        always = last.scale == (1.0, 1.0) and last.prob == 1.0 and not last.clip and "cubic_aa" not in last.filter
        return _file_at_end(rest[:-1]) if always else None
    # Without that resize, colour steps are no tail: they change the image that the file holds.
    return _file_at_end(steps) if len(rest) == len(steps) else None


def _common_format(records: Iterable[tuple[Op, ...]]) -> str | None:
    """Extension of the file that the native part of all these records ends with."""
    formats = set[str | None]()
    for ops in records:
        native = Record(0, ops).split()[0]
        last = native[-1] if native else None
        plain = isinstance(last, (Jpeg, WebP)) and not getattr(last, "right", 0) and not getattr(last, "down", 0)
        formats.add({"jpeg": "jpg", "webp": "webp"}[last.name] if plain and last is not None else None)
    return formats.pop() if len(formats) == 1 else None


def _file_at_end(steps: Sequence[Step]) -> str | None:
    last = steps[-1] if steps else None
    if last is None or last.prob < 1.0:
        return None
    if isinstance(last, RandomJpeg):
        return None if last.any_grid else "jpg"
    if isinstance(last, Repost) and len(last.codec) == 1:
        return {"jpeg": "jpg", "webp": "webp"}.get(next(iter(last.codec)))
    if isinstance(last, RandomWebP):
        return "webp"
    if isinstance(last, OneOf):
        formats = {_file_at_end(option.steps) for option in last.options if option.weight}
        return formats.pop() if len(formats) == 1 else None
    return None
