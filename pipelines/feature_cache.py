"""Features that were computed once, kept by the content that they were computed of."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt


def cached(folder: Path | None, key: str, make: Callable[[], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Read features from a folder of features by content; make and put there those that it lacks."""
    if folder is None:
        return make()
    path = folder / key[:2] / f"{key}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or cut: made again
        return np.load(path, allow_pickle=False)
    features = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with scratch.open("wb") as file:
        np.save(file, features, allow_pickle=False)
    scratch.replace(path)
    return features
