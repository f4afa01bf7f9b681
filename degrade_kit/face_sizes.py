"""Sizes that faces have in real photographs, as a file: a distribution, from which no photograph can be told.

`degrade-kit align` measures them, and a recipe draws from them by `side: {from: aligned/sizes.json}`. The numbers
become part of the recipe when it is read, so that its hash covers them and nothing later needs the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from degrade_kit.checks import (
    COUNT,
    FROM_FILE,
    Check,
    Sizes,
    checked,
    each,
    fields,
    number,
    schema_of,
    sizes,
    telling,
)
from degrade_kit.errors import ConfigError
from degrade_kit.files import read_json

_FORMAT: Final = 1
_MAX_BYTES: Final = 1 << 20
QUANTILES: Final = 65
"""Most numbers by which a distribution is told: equally spaced, from the smallest size to the largest."""


def quantiles_of(sides: Sequence[float]) -> Sizes:
    """Describe measured sides by equally spaced quantiles, to a tenth of a pixel.

    Args:
        sides: In pixels, in any order; at least one.
    """
    count = min(max(len(sides), 3), QUANTILES)
    return tuple(round(float(side), 1) for side in np.quantile(np.asarray(sides), np.linspace(0, 1, count)))


def sizes_to_json(sides: Sequence[float]) -> str:
    """Write the file of measured sides, in pixels of their photographs; at least one."""
    data = {"format": _FORMAT, "faces": len(sides), "sides": quantiles_of(sides)}
    return json.dumps(data) + "\n"


def load_sizes(file: str | os.PathLike[str]) -> Sizes:
    """Read the quantiles of a file of sizes, in pixels, in order.

    Raises:
        ConfigError: If it cannot be read, or is no such file.
    """
    path = Path(file)
    if not path.is_file():
        raise ConfigError(
            f"no file of sizes at {path}; `degrade-kit align --input PHOTOS --out OUT` writes OUT/sizes.json"
        )
    data = checked(read_json(path, max_bytes=_MAX_BYTES), _CHECK, str(path))
    if data["format"] != _FORMAT or not data["faces"]:
        raise ConfigError(f"{path}: expected sizes of format {_FORMAT}, of at least one face")
    return tuple(float(side) for side in data["sides"])


def sides(low: int, high: int) -> Check[Sizes]:
    """Check of sides in pixels, as `degrade_kit.checks.sizes`, or of a file of them: `{from: sizes.json}`.

    What a file holds outside [low, high] counts as the end that it is beyond.
    """
    plain = sizes(low, high)

    def check(value: Any, key: str) -> Sizes:  # noqa: ANN401 (user input)
        if not isinstance(value, Mapping):
            return plain(value, key)
        entry = cast("Mapping[str, Any]", value)
        if list(entry) != ["from"] or not isinstance(entry["from"], (str, os.PathLike)):
            raise ConfigError(
                f"{key}: expected `{{from: FILE}}` with a file of `degrade-kit align`, got {value!r:.200}"
            )
        try:
            found = load_sizes(cast("str", entry["from"]))
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from error
        return tuple(min(max(side, float(low)), float(high)) for side in found)

    return telling(check, {"anyOf": [*schema_of(plain)["anyOf"], FROM_FILE]})


def _in_order(value: Any, key: str) -> list[float]:  # noqa: ANN401 (parsed JSON)
    found = each(number(0, 1e6))(value, key)
    if not 3 <= len(found) <= QUANTILES or found != sorted(found):
        raise ConfigError(f"{key}: expected 3 to {QUANTILES} sizes in order")
    return found


_CHECK: Final[Check[dict[str, Any]]] = fields({"format": int, "faces": COUNT, "sides": _in_order})
