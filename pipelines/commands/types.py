"""What values of options look like: text that is checked as the command line is read, and that shells complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    AnyType: TypeAlias = click.ParamType[Any, Any]
else:  # generic in type stubs alone, before click 8.5
    AnyType = click.ParamType


class Text(AnyType):
    """Text that may have a form, known words, or be a file.

    Args:
        name: For messages and help.
        parse: Makes the value of the text; its `ValueError` says what was expected. Text stays text without it.
        words: Known words, which the shell completes; asked for when needed, since it may import much.
        files: Whether the shell completes names of files as well.
        mappings: Whether a configuration file may give a mapping in place of the text, which `parse` is given too.
    """

    def __init__(
        self,
        name: str,
        *,
        parse: Callable[[Any], Any] = str,
        words: Callable[[], Iterable[str]] = tuple,
        files: bool = False,
        mappings: bool = False,
    ) -> None:
        self.name = name
        self.mappings = mappings
        self._parse, self._words, self._files = parse, words, files

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 (as click has it)
        """Check and parse a value; see `click.ParamType`."""
        if not isinstance(value, (str, dict) if self.mappings else str):
            return value  # parsed before
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the known words; see `click.ParamType`."""
        found = [CompletionItem(word) for word in self._words() if word.startswith(incomplete)]
        if self._files:
            found.append(CompletionItem(incomplete, type="file"))
        return found


class LocalPath(click.Path):
    """A path on this machine, where `~` is the home folder; see `degrade_kit.files.expand_home`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 (as click has it)
        """Check a path; see `click.ParamType`."""
        return super().convert(_parse_place(value), param, ctx)


def _parse_place(text: str) -> str:
    """A place, with its `~` written out; where this is imported, nothing else need be."""
    from degrade_kit.files import expand_home

    return expand_home(text)


class Side(click.IntRange):
    """Side of the HQ images in pixels, where 0 stands for their own."""

    def __init__(self) -> None:
        super().__init__(0, 4096)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 (as click has it)
        """Check and parse a value; see `click.ParamType`."""
        size = click.INT.convert(value, param, ctx)
        if size != 0 and not 16 <= size <= 4096:
            self.fail(f"expected 0 or a number of pixels within [16, 4096], got {size}", param, ctx)
        return size


def parse_assignment(form: str) -> Callable[[str], tuple[str, str]]:
    """A function that parts WORD=VALUE; a value may hold more equals signs.

    >>> parse_assignment("KIND=DIR")("haze=data/a=b")
    ('haze', 'data/a=b')
    """

    def parse(text: str) -> tuple[str, str]:
        word, equals, value = text.partition("=")
        if not (equals and word and value):
            raise ValueError(f"expected {form}, got {text!r}")
        return word, value

    return parse


def parse_place_assignment(form: str) -> Callable[[str], tuple[str, str]]:
    """A function that parts NAME=PLACE, as `parse_assignment`, and writes out the place's `~`."""

    def parse(text: str) -> tuple[str, str]:
        word, place = parse_assignment(form)(text)
        return word, _parse_place(place)

    return parse


def parse_photos(text: str) -> tuple[str, str]:
    """A place of photographs, with a name before it or not.

    >>> parse_photos("press=data/lfw"), parse_photos("data/lfw")
    (('press', 'data/lfw'), ('photo', 'data/lfw'))
    """
    word, equals, place = text.partition("=")
    if equals and place and re.fullmatch(r"[a-z0-9][a-z0-9_-]*", word):
        return word, _parse_place(place)
    return "photo", _parse_place(text)


def parse_plain_prompt(text: str) -> str:
    """A prompt, of which `null` is the empty one.

    >>> parse_plain_prompt(" haze "), parse_plain_prompt("null")
    ('haze', '')
    """
    return "" if text.strip() == "null" else text.strip()


def parse_prompt(text: str) -> tuple[str, float]:
    """A prompt and its weight.

    >>> parse_prompt("dark, strong noise=2"), parse_prompt("null")
    (('dark, strong noise', 2.0), ('', 1.0))
    """
    prompt, equals, weight = text.rpartition("=")
    if not equals:
        prompt, weight = text, "1"
    try:
        number = float(weight)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise ValueError(f"expected TEXT or TEXT=WEIGHT with a positive weight, got {text!r}")
    return parse_plain_prompt(prompt), number


def parse_range(text: str) -> tuple[int, int]:
    """A range START:STOP of whole numbers.

    >>> parse_range("4:8")
    (4, 8)
    """
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
        raise ValueError(f"expected START:STOP with START < STOP, such as 0:8, got {text!r}")
    return int(start), int(stop)


def parse_limit(text: str) -> tuple[str, float]:
    """A measure and the number that it may not exceed.

    >>> parse_limit("kid=0.1")
    ('kid', 0.1)
    """
    measure, number = parse_assignment("MEASURE=NUMBER")(text)
    try:
        return measure, float(number)
    except ValueError as error:
        raise ValueError(f"expected MEASURE=NUMBER, got {text!r}") from error


def parse_count(text: str) -> tuple[str, int]:
    """A kind of pairs and a number of them.

    >>> parse_count("sidd=1000")
    ('sidd', 1000)
    """
    kind, count = parse_assignment("KIND=N")(text)
    if not count.isdecimal():
        raise ValueError(f"expected a whole number of pairs after {kind}=, got {count!r}")
    return kind, int(count)


def _preset_names() -> Iterable[str]:
    from degrade_kit.presets import preset_names

    return preset_names()


def _check_recipe(value: Any) -> Any:  # noqa: ANN401 (text or a mapping)
    """The same value, if it is a recipe."""
    from degrade_kit.presets import resolve_recipe

    resolve_recipe(value)
    return value


def _weight_names() -> Iterable[str]:
    from degrade_kit.analysis.weights import WEIGHTS

    return WEIGHTS


def _weight_assignments() -> Iterable[str]:
    return (f"{name}=" for name in _weight_names())


def _pair_kinds() -> Iterable[str]:
    from degrade_kit.flipnet.pairs import DATA_SETS, KINDS

    return (f"{word}=" for word in (*DATA_SETS, *KINDS))


def _flipnet_names() -> Iterable[str]:
    from degrade_kit.flipnet.folder import SHIPPED

    return SHIPPED


def _base_names() -> Iterable[str]:
    from degrade_kit.flipnet.config import BASES

    return BASES


def _upscaler_names() -> Iterable[str]:
    from degrade_kit.upscale_ops import UPSCALERS

    return UPSCALERS


def _parse_restorer(text: str) -> str:
    """A restorer; of a file or folder its `~` is written out."""
    return text if "{" in text else _parse_place(text)


PLACE: Final = Text("place", parse=_parse_place, files=True)
"""Images or a data set: a path, or a URL where that is said."""
NAMED_PLACE: Final = Text("place", parse=parse_place_assignment("NAME=PLACE"), files=True)
PHOTOS: Final = Text("place", parse=parse_photos, files=True)
RECIPE: Final = Text("recipe", parse=_check_recipe, words=_preset_names, files=True, mappings=True)
PRESET_NAME: Final = Text("preset", words=_preset_names)
FLIPNET: Final = Text("model", parse=_parse_place, words=_flipnet_names, files=True)
MODEL: Final = Text("model", parse=_parse_place, files=True)
BASE_MODEL: Final = Text("model", parse=_parse_place, words=_base_names, files=True)
FEATURES: Final = Text(
    "features",
    words=lambda: (
        *("auto", "whitened", "degradation"),
        *("arniqa", "efficientnet", "inception", "checkpoint:", "dinov2:", "vae:"),
    ),
)
SPACES: Final = Text(
    "spaces",
    words=lambda: ("auto", "none", "arniqa", "efficientnet", "inception", "checkpoint:", "dinov2:", "vae:"),
)
RESTORER: Final = Text("restorer", parse=_parse_restorer, words=_upscaler_names, files=True)
PAIRS: Final = Text("pairs", parse=parse_place_assignment("KIND=DIR"), words=_pair_kinds)
PAIR_COUNT: Final = Text("count", parse=parse_count, words=_pair_kinds)
ONE_PROMPT: Final = Text("prompt", parse=parse_plain_prompt)
PROMPT: Final = Text("prompt", parse=parse_prompt)
SHARD_RANGE: Final = Text("range", parse=parse_range)
MEASURE_LIMIT: Final = Text("limit", parse=parse_limit, words=lambda: ("kid=", "frechet=", "auc="))
WEIGHT: Final = Text("weight", parse=parse_place_assignment("NAME=PATH"), words=_weight_assignments)
WEIGHT_NAME: Final = Text("weight", words=_weight_names)
