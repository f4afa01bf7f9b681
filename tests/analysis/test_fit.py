from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degrade_kit.analysis.distances import Features, kid
from degrade_kit.analysis.fit import FitConfig, fit_mixture, mix, simplex_weights, vary
from degrade_kit.errors import ConfigError
from degrade_kit.presets import preset
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.statistics import values
from degrade_kit.steps import RandomGaussianNoise, RandomJpeg
from tests.distinct import DISTINCT_PRESETS


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 12))
def test_weights_are_the_best_on_the_simplex(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((count, count))
    kernel, affinity = root @ root.T + 0.1 * np.eye(count), rng.standard_normal(count)
    weights = simplex_weights(kernel, affinity)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    # At the optimum no direction to a corner leads down (Frank & Wolfe's gap).
    curved = kernel + np.eye(count) * 1e-3 * np.trace(kernel) / count
    slope = 2 * (curved @ weights - affinity)
    assert weights @ slope - slope.min() < 1e-3


# GCFSR draws from a list, so there is no range to vary.
@pytest.mark.parametrize("name", [name for name in DISTINCT_PRESETS if name != "gcfsr"])
def test_every_preset_can_be_varied_and_drawn_from(name: str) -> None:
    rng = np.random.default_rng(0)
    start = preset(name)
    variants = [vary(start, rng, 0.4) for _ in range(8)]
    assert len({variant.digest() for variant in variants}) > 4
    for variant in variants:
        assert variant.draw(np.random.default_rng(1)).steps is not None
        assert variant.digest() != start.digest() or variant is start


def test_a_recipe_with_a_flipnet_is_varied_beside_it() -> None:
    steps = [{"photo_frame": {"side": [64, 200], "steps": [{"flipnet": {}}, {"jpeg": {"quality": [40, 90]}}]}}]
    start = recipe_from_mapping({"name": "framed", "steps": steps}, "framed")
    variants = [vary(start, np.random.default_rng(seed), 0.4) for seed in range(3)]
    assert len({variant.digest() for variant in variants}) == 3
    assert all(variant.models == start.models != {} for variant in variants)


def noise_of(recipe: Recipe, count: int, seed: int) -> Features:
    """Two numbers in place of images: the drawn noise level and JPEG quality."""
    rng = np.random.default_rng(seed)
    drawn = [values(recipe.draw(rng)) for _ in range(count)]
    level = [(each.get("gaussian_noise.level") or [0.0])[0] / 20 for each in drawn]
    quality = [(each.get("jpeg.quality") or [100.0])[0] / 50 - 1 for each in drawn]
    return np.stack([level, quality], axis=1)


@pytest.mark.slow
def test_a_mixture_is_found_that_is_nearer_by_far() -> None:
    start = Recipe(name="wide", steps=(RandomGaussianNoise(level=(0, 50)), RandomJpeg(quality=(10, 100))))
    one = Recipe(name="one", steps=(RandomGaussianNoise(level=(3, 6)), RandomJpeg(quality=(80, 95))))
    two = Recipe(name="two", steps=(RandomGaussianNoise(level=(25, 30)), RandomJpeg(quality=(30, 40))))
    truth = mix("truth", [(0.75, one), (0.25, two)])
    photographs, held_out = noise_of(truth, 200, 1), noise_of(truth, 200, 2)
    reached: list[float] = []

    def evaluate(recipes: Sequence[Recipe]) -> list[Features]:
        return [noise_of(recipe, 16, 3) for recipe in recipes]

    fitted, parts = fit_mixture(
        start,
        photographs,
        evaluate,
        FitConfig(),
        np.random.default_rng(0),
        lambda number, distance: reached.append(distance),
    )
    before, after = kid(noise_of(start, 400, 4), held_out).value, kid(noise_of(fitted, 400, 5), held_out).value
    assert after < 0.25 * before, (before, after)
    assert len(reached) == 4
    assert reached[-1] <= reached[0]
    assert sum(weight for weight, _ in parts) == pytest.approx(1, abs=0.02)
    assert fitted.name == "wide-fitted"


@pytest.mark.slow
def test_equal_seeds_give_equal_recipes() -> None:
    start = Recipe(name="wide", steps=(RandomGaussianNoise(level=(0, 50)), RandomJpeg(quality=(10, 100))))
    photographs = noise_of(start, 50, 1)
    found = [
        fit_mixture(
            start,
            photographs,
            lambda recipes: [noise_of(recipe, 8, 3) for recipe in recipes],
            FitConfig(candidates=10, rounds=1),
            np.random.default_rng(7),
        )[0].digest()
        for _ in range(2)
    ]
    assert found[0] == found[1]


def test_too_little_effort_is_refused() -> None:
    with pytest.raises(ConfigError, match="parts: expected at least 1, got 0"):
        FitConfig(parts=0)
