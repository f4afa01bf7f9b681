"""Two dimensions to look at. Distances on the picture mean little; the numbers are taken in the feature space."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

from degrade_kit.analysis.distances import Features

Projection = Literal["umap", "pca"]
PROJECTIONS: tuple[Projection, ...] = ("umap", "pca")
_NEIGHBOURS = 15


def project(points: Features, kind: Projection, seed: int) -> Features:
    """Project points (n, D) to (n, 2); equal points and seed give equal results.

    UMAP needs more points than neighbours; below four points it is PCA.

    Source: McInnes et al. 2018, package umap-learn; for the paper's Fig. 5 neither features nor projection are stated.
    """
    if len(points) < 4 or kind == "pca":
        return _principal(points)
    with warnings.catch_warnings():
        # umap-learn tells everybody that its neural variant, which is not used here, lacks TensorFlow.
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        from umap import UMAP

    # With a seed UMAP runs in one thread; said here, so that it need not warn.
    mapper: Any = UMAP(n_neighbors=min(_NEIGHBOURS, len(points) - 1), min_dist=0.1, random_state=seed, n_jobs=1)
    return np.asarray(mapper.fit_transform(points), np.float64)


def _principal(points: Features) -> Features:
    centred = points - points.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(1)])[:, None]
    found = np.zeros((len(points), 2))
    found[:, : len(axes)] = centred @ axes.T
    return found
