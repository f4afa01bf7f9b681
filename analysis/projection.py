"""Two dimensions to look at. Distances on the picture mean little; the numbers are taken in the feature space."""

# numba has no types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from degrade_kit.analysis.distances import Features
from degrade_kit.files import temporary_folder, user_cache

Projection = Literal["umap", "pca"]
PROJECTIONS: tuple[Projection, ...] = ("umap", "pca")
_NEIGHBOURS = 15
_NUMBA_CACHE: Final = "NUMBA_CACHE_DIR"


class Projected(NamedTuple):
    """Points on the picture."""

    points: Features
    """(n, 2)."""
    kind: Projection
    """How they were found."""
    note: str
    """Why by another projection than the one that was asked for; empty where it is that one."""


def project(points: Features, kind: Projection, seed: int) -> Projected:
    """Project points (n, D) to (n, 2); equal points and seed give equal results.

    UMAP needs more points than neighbours; below four points it is PCA, and so it is where UMAP cannot run: a picture
    is no reason to lose the numbers beside it.

    Source: McInnes et al. 2018, package umap-learn; for the paper's Fig. 5 neither features nor projection are stated.
    """
    if len(points) < 4 or kind == "pca":
        return Projected(_principal(points), kind, "")
    try:
        return Projected(_umap(points, seed), "umap", "")
    except Exception as error:  # of numba and LLVM, which it compiles with: they have errors of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Projected(_principal(points), "pca", f"PCA in place of UMAP, which cannot run here: {reason}")


def _umap(points: Features, seed: int) -> Features:
    _let_numba_cache()
    with warnings.catch_warnings():
        # umap-learn tells everybody that its neural variant, which is not used here, lacks TensorFlow.
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        from umap import UMAP

    # With a seed UMAP runs in one thread; said here, so that it need not warn.
    mapper: Any = UMAP(n_neighbors=min(_NEIGHBOURS, len(points) - 1), min_dist=0.1, random_state=seed, n_jobs=1)
    return np.asarray(mapper.fit_transform(points), np.float64)


def _let_numba_cache() -> None:
    """Give numba a folder for what it compiles, where it has none: it refuses to import UMAP without.

    It takes the folder in its variable, that of the installed package or the user's cache; an account without a home
    that runs what root has installed may write to neither. And where nothing says what `~` is, it would make a folder
    of that name in the current one.
    """
    given = os.environ.get(_NUMBA_CACHE)
    if given and _writable(Path(given)):
        return
    found = [importlib.util.find_spec(name) for name in ("umap", "pynndescent")]
    packages = [Path(spec.origin).parent for spec in found if spec is not None and spec.origin is not None]
    cache = user_cache()
    if all(_writable(package / "__pycache__") for package in packages) or (
        cache is not None and _writable(cache / "numba")
    ):
        return
    folder = str(temporary_folder())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[_NUMBA_CACHE] = folder
    if "numba" in sys.modules:  # which reads the environment once
        sys.modules["numba"].config.CACHE_DIR = folder


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, found out as numba does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _principal(points: Features) -> Features:
    centred = points - points.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(1)])[:, None]
    found = np.zeros((len(points), 2))
    found[:, : len(axes)] = centred @ axes.T
    return found
