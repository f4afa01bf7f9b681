from __future__ import annotations

import numpy as np
import pytest

from degrade_kit.analysis.whitening import Scaler, Whitening


def paired(draws: int = 30, images: int = 10, size: int = 12, seed: int = 0) -> np.ndarray:
    """Degradations move the first three features; faces move the next three five times as much."""
    rng = np.random.default_rng(seed)
    features = 0.1 * rng.standard_normal((draws, images, size))
    features[:, :, :3] += rng.standard_normal((draws, 1, 3))
    features[:, :, 3:6] += 5 * rng.standard_normal((1, images, 3))
    return features


def test_content_is_taken_out_and_degradation_kept() -> None:
    whitening = Whitening.fit(paired(), dimensions=3)
    fresh = paired(seed=1)
    space = whitening(fresh.reshape(-1, 12)).reshape(30, 10, 3)
    within = (space - space.mean(1, keepdims=True)).var()
    between = space.mean(1).var()
    assert between > 20 * within
    raw = Scaler.fit(fresh.reshape(-1, 12))(fresh.reshape(-1, 12)).reshape(30, 10, 12)
    assert raw.mean(1).var() < 2 * (raw - raw.mean(1, keepdims=True)).var(), "which the raw features do not"


def test_content_has_equal_variance_in_every_direction_and_all_have_one_on_average() -> None:
    features = paired(draws=60, images=20)
    space = Whitening.fit(features, dimensions=6)(features.reshape(-1, 12)).reshape(60, 20, -1)
    content = (space - space.mean(1, keepdims=True)).reshape(-1, space.shape[-1])
    covariance = content.T @ content / (60 * 19)
    assert np.abs(np.diag(covariance)).max() < 1.5 * np.diag(covariance).mean()
    # A small ridge keeps it from being diagonal.
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.35 * np.diag(covariance).mean()
    assert space.reshape(-1, space.shape[-1]).var(0).mean() == pytest.approx(1, rel=0.1)


def test_ratios_fall() -> None:
    ratios = Whitening.fit(paired(), dimensions=8).ratios
    assert (np.diff(ratios) <= 0).all()
    assert ratios[2] > 10 * ratios[3]


def test_one_odd_image_is_held_at_eight_deviations() -> None:
    scaler = Scaler.fit(np.random.default_rng(0).standard_normal((100, 3)))
    assert np.abs(scaler(np.full((1, 3), 1e9))).max() == 8


def test_a_constant_feature_does_no_harm() -> None:
    features = paired()
    features[:, :, 7] = 3
    assert np.isfinite(Whitening.fit(features)(features.reshape(-1, 12))).all()
    assert np.isfinite(Scaler.fit(features.reshape(-1, 12))(features.reshape(-1, 12))).all()


def test_digests_name_the_space() -> None:
    first, again, other = Whitening.fit(paired()), Whitening.fit(paired()), Whitening.fit(paired(seed=2))
    assert first.digest() == again.digest() != other.digest()


@pytest.mark.parametrize("shape", [(1, 5, 3), (5, 1, 3), (5, 3)])
def test_too_little_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected features of at least 2 degradations of 2 images"):
        Whitening.fit(np.zeros(shape))
