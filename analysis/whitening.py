"""Feature spaces that measure degradation and not faces.

`Scaler` brings features to unit variance over a reference set. `Whitening` also takes out what differs between faces:
the same degradations are applied to several faces; what then varies within one degradation is content, and the space
is turned and scaled so that content has equal variance in every direction, and only the directions are kept in which
degradations differ most. ARNIQA (Agnolucci et al., WACV 2024) trains a network to the same end; this is linear.
"""

# scikit-learn and scipy have parts without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from degrade_kit.analysis.distances import Features
from degrade_kit.files import sha256

DIMENSIONS = 24
_LIMIT = 8.0
"""In standard deviations of the reference: no single odd image may span a distance by itself."""


@dataclass(frozen=True, slots=True)
class Scaler:
    """z = (x - mean) / scale, clipped at 8."""

    mean: Features
    scale: Features

    @classmethod
    def fit(cls, features: Features) -> Scaler:
        """Fit centre and scale to features (n, D)."""
        scale = features.std(0)
        return cls(features.mean(0), np.where(scale > 1e-9, scale, 1.0))

    def __call__(self, features: Features) -> Features:
        """Map features (n, D) to points (n, D)."""
        return ((features - self.mean) / self.scale).clip(-_LIMIT, _LIMIT)

    def digest(self) -> str:
        """Name this space: where digests are equal, numbers can be compared."""
        return _digest(self.mean, self.scale)


@dataclass(frozen=True, slots=True)
class Whitening:
    """(x scaled) @ matrix, (D, d)."""

    scaler: Scaler
    matrix: Features
    ratios: Features
    """Variance between degradations over that within them, for each of the d directions, falling."""

    @classmethod
    def fit(cls, features: Features, dimensions: int = DIMENSIONS) -> Whitening:
        """Fit to the features of equal degradations of several images.

        Solves S_b v = r S_w v for the covariances between and within degradations; as Fisher's discriminants, with
        degradations as classes.

        Args:
            features: (degradations, images, D).
            dimensions: How many directions to keep.

        Raises:
            ValueError: If there are fewer than two of either.
        """
        if features.ndim != 3 or min(features.shape[:2]) < 2:
            raise ValueError(f"expected features of at least 2 degradations of 2 images, got shape {features.shape}")
        from scipy.linalg import eigh

        draws, images, size = features.shape
        scaler = Scaler.fit(features.reshape(-1, size))
        scaled = scaler(features.reshape(-1, size)).reshape(features.shape)
        centres = scaled.mean(1)
        content = (scaled - centres[:, None]).reshape(-1, size)
        within = content.T @ content / (draws * (images - 1))
        # A feature that no content moves would otherwise count without limit.
        within += np.eye(size) * 0.02 * np.trace(within) / size
        between = np.atleast_2d(np.cov(centres, rowvar=False))
        values, vectors = eigh(between, within)
        chosen = np.argsort(values)[::-1][: min(dimensions, draws - 1)]
        matrix = np.asarray(vectors)[:, chosen]
        # A direction's sign is arbitrary; let its largest entry be positive.
        matrix = matrix * np.sign(matrix[np.abs(matrix).argmax(0), np.arange(matrix.shape[1])])
        ratios = values[chosen]
        # Content has variance 1 now, and degradations 1 + r in all: bring their mean to 1, where KID's kernel is meant
        # to work. One factor for all directions leaves their balance as it is.
        matrix = matrix / np.sqrt(np.mean(1 + ratios))
        return cls(scaler, np.ascontiguousarray(matrix), ratios)

    def __call__(self, features: Features) -> Features:
        """Map features (n, D) to points (n, d)."""
        return self.scaler(features) @ self.matrix

    def digest(self) -> str:
        """Name this space: where digests are equal, numbers can be compared."""
        return _digest(self.scaler.mean, self.scaler.scale, self.matrix)


@dataclass(frozen=True, slots=True)
class Identity:
    """A learned space as it is."""

    def __call__(self, features: Features) -> Features:
        """Return the features as they are."""
        return features

    def digest(self) -> str:
        """Return the name of this space."""
        return "identity"


Space: TypeAlias = Scaler | Whitening | Identity


def _digest(*arrays: Features) -> str:
    # Rounded: the last bits of a covariance differ between machines.
    return sha256(b"".join(np.round(array, 6).tobytes() for array in arrays))[:16]
