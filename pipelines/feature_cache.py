"""Features that were computed once, kept by the content that they were computed of."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from degrade_kit.errors import RunError
from degrade_kit.files import whole_file


def cached(folder: Path | None, key: str, make: Callable[[], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Read features from a folder of features by content; make and put there those that it lacks.

    Raises:
        RunError: If they cannot be written.
    """
    if folder is None:
        return make()
    path = folder / key[:2] / f"{key}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or cut: made again
        return np.load(path, allow_pickle=False)
    features = make()
    try:
        with whole_file(path) as scratch, scratch.open("wb") as file:
            np.save(file, features, allow_pickle=False)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return features
