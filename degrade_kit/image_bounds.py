"""How far the bounds on the decoding of one image are raised, in this process and in the workers that it starts.

The bounds stand where they are kept: in `degrade_kit.image`, `degrade_kit.image_files` and `degrade_kit.sources`.
`degrade-kit --image-bounds 4 COMMAND` multiplies all of them; in Python, the environment variable
DEGRADE_KIT_IMAGE_BOUNDS does.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from degrade_kit.errors import ConfigError

VARIABLE: Final = "DEGRADE_KIT_IMAGE_BOUNDS"
MOST: Final = 10.0
"""Greatest factor: OpenCV decodes no image of more than 2^30 pixels."""
HINT: Final = "; `degrade-kit --image-bounds` raises it"
"""End of the message about an image that is beyond a bound."""


def image_bounds() -> float:
    """Read the factor by which the bounds are raised, 1 where nothing says otherwise.

    Raises:
        ConfigError: If the environment says something else than a number from 1 to 10.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return 1.0
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= MOST:
        raise ConfigError(f"{VARIABLE}={text}: expected a number from 1 to {MOST:g}, which raises the bounds on images")
    return factor


def raised(bound: int) -> int:
    """Multiply a bound by the factor."""
    return int(bound * image_bounds())


@contextmanager
def image_bounds_raised(factor: float) -> Generator[None]:
    """Raise the bounds within the block, for workers that are started there too.

    Args:
        factor: From 1 to 10.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = f"{factor:g}"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
