"""Quantisation tables of JPEG files: those of cameras and platforms, as photographs have them.

Lists of cameras' tables that are published give hashes alone, so the numbers come from where they are known: from a
user's own photographs, of which `degrade-kit align` counts them, and from Pillow, which carries Photoshop's. A table is
told as text: the chroma subsampling and 128 numbers, row by row, luma first.
"""

from __future__ import annotations

import functools
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from degrade_kit.checks import (
    COUNT,
    FROM_FILE,
    SOME_WEIGHT,
    Check,
    Schema,
    by_name,
    checked,
    fields,
    number,
    one_or_several,
    telling,
    text,
)
from degrade_kit.errors import ConfigError, nearest
from degrade_kit.files import read_json

STANDARD: Final = "standard"
"""The tables of ITU-T T.81, annex K, which most programs scale by a quality."""
_WEB: Final = ("web-low", "web-medium", "web-high", "web-very-high", "web-maximum")
PHOTOSHOP: Final = tuple(f"photoshop-{setting}" for setting in (*_WEB, "low", "medium", "high", "maximum"))
"""Photoshop's settings, as Pillow has them."""

_FORMAT: Final = 1
_MAX_BYTES: Final = 1 << 20
_MOST: Final = 64
"""Most tables of a file: the most frequent ones."""
_SAMPLINGS: Final = ("4:4:4", "4:2:2", "4:2:0")
"""In the order of Pillow's numbers."""


def tables_of(data: bytes) -> str:
    """Read the tables and the chroma subsampling of a JPEG file; empty for other files.

    A gray file's one table stands for chroma too. Tables of 16 bits, and other subsamplings than 4:4:4, 4:2:2 and
    4:2:0, are passed over.
    """
    if not data.startswith(b"\xff\xd8"):
        return ""
    from PIL import Image as PillowImage  # not needed by most recipes
    from PIL import JpegImagePlugin

    try:
        with PillowImage.open(io.BytesIO(data), formats=["JPEG"]) as image:
            tables = list(cast("Any", image).quantization.values())
            sampling = JpegImagePlugin.get_sampling(image)
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
        return ""
    numbers = [*tables[0], *tables[min(1, len(tables) - 1)]] if tables else []
    gray = len(tables) == 1
    if len(numbers) != 128 or max(numbers) > 255 or not (gray or 0 <= sampling < len(_SAMPLINGS)):
        return ""
    return " ".join([_SAMPLINGS[2 if gray else sampling], *map(str, numbers)])


def tables_to_json(found: Iterable[str]) -> str:
    """Write the file of the tables of some photographs, given by `tables_of`: the most frequent, with their counts."""
    counts = Counter(found)
    data = {"format": _FORMAT, "photos": counts.total(), "tables": dict(counts.most_common(_MOST))}
    return json.dumps(data, indent=1) + "\n"


def load_tables(file: str | os.PathLike[str]) -> dict[str, float]:
    """Read a file of tables: each with its count.

    Raises:
        ConfigError: If it cannot be read, or is no such file.
    """
    path = Path(file)
    if not path.is_file():
        raise ConfigError(
            f"no file of tables at {path}; `degrade-kit align --input PHOTOS --out OUT` writes OUT/jpeg_tables.json "
            "where photos are JPEG files"
        )
    data = checked(read_json(path, max_bytes=_MAX_BYTES), _CHECK, str(path))
    if data["format"] != _FORMAT or not data["tables"]:
        raise ConfigError(f"{path}: expected tables of format {_FORMAT}, at least one")
    return {_spelled(text, str(path)): float(count) for text, count in data["tables"].items()}


def jpeg_tables(value: Any, key: str) -> dict[str, float]:  # noqa: ANN401 (user input)
    """Check names of tables or tables themselves, with weights, or a file of them: `{from: jpeg_tables.json}`."""
    entries = value
    if isinstance(entries, str):
        entries = {entries: 1.0}
    elif isinstance(entries, (list, tuple)):
        entries = dict.fromkeys((text(name, key) for name in cast("list[Any]", entries)), 1.0)
    if not isinstance(entries, Mapping) or not entries:
        raise ConfigError(f"{key}: expected names of tables with weights, or `{{from: FILE}}`, got {value!r:.200}")
    named = cast("Mapping[Any, Any]", entries)
    if list(named) == ["from"]:
        try:
            return load_tables(named["from"])
        except (ConfigError, TypeError) as error:
            raise ConfigError(f"{key}: {error}") from error
    weights = {_spelled(name, key): number(0, 1e6)(weight, f"{key}.{name!s:.40}") for name, weight in named.items()}
    if sum(weights.values()) <= 0:
        raise ConfigError(f"{key}: expected a positive weight for at least one of them")
    return weights


_NAME: Final[Schema] = {
    "anyOf": [{"enum": [STANDARD, *PHOTOSHOP]}, {"type": "string", "pattern": "^4:[24]:[024]( [1-9][0-9]{0,2}){128}$"}]
}
"""A name of tables, or their text."""

telling(
    jpeg_tables,
    {
        "anyOf": [
            *one_or_several(_NAME)["anyOf"],
            FROM_FILE,
            {**SOME_WEIGHT, "propertyNames": _NAME},
        ]
    },
)


@functools.lru_cache(maxsize=64)
def scaled_tables(tables: str, quality: int) -> tuple[list[int], list[int]]:
    """Scale 128 numbers as libjpeg does: 50 leaves them as they are, 100 makes all of them 1.

    Returns:
        Luma and chroma, each of 64 numbers, row by row, 1 to 255.

    Raises:
        ValueError: If they are not 128 numbers from 1 to 255.
    """
    numbers = parsed(tables)
    percent = 5000 // max(quality, 1) if quality < 50 else 200 - 2 * quality
    values = [min(max((value * percent + 50) // 100, 1), 255) for value in numbers]
    return values[:64], values[64:]


def parsed(tables: str) -> list[int]:
    """Read 128 numbers from 1 to 255.

    Raises:
        ValueError: If it is anything else.
    """
    words = tables.split(" ")
    numbers = [int(word) for word in words] if all(word.isascii() and word.isdigit() for word in words) else []
    if len(numbers) != 128 or not 1 <= min(numbers) <= max(numbers) <= 255:
        raise ValueError(f"expected 128 numbers from 1 to 255 in JPEG tables, got {tables[:80]!r}")
    return numbers


def _spelled(name: Any, key: str) -> str:  # noqa: ANN401 (user input)
    """The text of tables that are given by their name or by that text."""
    if name == STANDARD:
        return STANDARD
    if name in PHOTOSHOP:
        from PIL import JpegPresets

        preset: Any = JpegPresets.presets[str(name).removeprefix("photoshop-").replace("-", "_")]
        numbers = (str(value) for table in preset["quantization"] for value in table)
        return f"{_SAMPLINGS[preset['subsampling']]} {' '.join(numbers)}"
    if isinstance(name, str) and name[:6] in tuple(f"{sampling} " for sampling in _SAMPLINGS):
        try:
            parsed(name[6:])
        except ValueError as error:
            raise ConfigError(f"{key}: {error}") from error
        return name
    raise ConfigError(f"{key}: unknown tables {name!r:.80}; {nearest(str(name), (STANDARD, *PHOTOSHOP))}")


_CHECK: Final[Check[dict[str, Any]]] = fields({"format": int, "photos": COUNT, "tables": by_name(COUNT)})
