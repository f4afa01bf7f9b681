"""Fit a recipe to photographs: which parts of its ranges, and how often, make LQ images like theirs.

Many variants of the recipe with narrower or shifted ranges are drawn from; how much of each the photographs call for
follows from the kernel mean embedding, by non-negative least squares on the simplex: the mixture with the least squared
MMD to them (Zhang et al., arXiv 2305.18107, weigh bins of the degradation space to the same end). The best variants are
varied again. The result is the mixture as a recipe of its own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from degrade_kit.analysis.distances import Features
from degrade_kit.errors import ConfigError
from degrade_kit.recipe import Recipe, recipe_from_mapping

RANGES = {
    "sigma": (0.0, 20.0),
    "variance": (0.0, 400.0),
    "scale": (0.5, 64.0),
    "factor": (1 / 64, 2.0),
    "level": (0.0, 60.0),
    "quality": (5.0, 100.0),
    "length": (0.0, 80.0),
    "alpha": (0.0, 1.0),
    "brightness": (0.1, 2.0),
    "contrast": (0.1, 2.0),
    "saturation": (0.0, 2.0),
}
"""Ranges that are fitted, by the key of a step, and how far they may be shifted."""
_LOGARITHMIC = {"sigma", "scale", "factor", "variance", "length"}
_OPTIONAL = {
    "blur",
    "gaussian_noise",
    "poisson_noise",
    "jpeg",
    "sinc_blur",
    "motion_blur",
    "haze",
    "color_jitter",
    "gray",
}
"""Steps whose probability is fitted; without a resize the sizes would not end where they must."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant of a recipe, and the features of images that it made."""

    recipe: Recipe
    points: Features
    """(n, d)."""


Evaluate = Callable[[Sequence[Recipe]], list[Features]]
"""Features of images of each recipe, (n, d) each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """How hard to look."""

    candidates: int = 60
    """Variations of the recipe that are tried at first."""
    rounds: int = 3
    """Rounds of variation of the best."""
    children: int = 5
    """Variants of each of the best in a round."""
    parts: int = 6
    """Parts of the mixture at most."""

    def __post_init__(self) -> None:
        for name in ("candidates", "rounds", "children", "parts"):
            if getattr(self, name) < (0 if name == "rounds" else 1):
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")


def fit_mixture(
    start: Recipe,
    photographs: Features,
    evaluate: Evaluate,
    config: FitConfig,
    rng: np.random.Generator,
    report: Callable[[int, float], None] = lambda number, distance: None,
) -> tuple[Recipe, list[tuple[float, Recipe]]]:
    """Search for the mixture of variants of a recipe that is nearest to photographs.

    Args:
        start: Where to begin; it is a candidate itself.
        photographs: Their features, (m, d); no others are looked at.
        evaluate: Makes images of recipes, and measures them.
        config: How hard to look.
        rng: Draws the variants.
        report: Called after each round with its number and the squared MMD reached.

    Returns:
        The mixture as a recipe, and its parts with their weights.
    """
    pool: list[Candidate] = []
    seen: set[str] = set()

    def add(recipes: Sequence[Recipe]) -> None:
        fresh = [recipe for recipe in recipes if recipe.digest() not in seen]
        seen.update(recipe.digest() for recipe in fresh)
        pool.extend(Candidate(*pair) for pair in zip(fresh, evaluate(fresh), strict=True))

    add([start, *(vary(start, rng, width) for width, _ in zip(_widths(rng), range(config.candidates), strict=False))])
    number = 0
    while True:
        kernel, affinity, own = _embedding(pool, photographs)
        weights = simplex_weights(kernel, affinity)
        report(number, float(weights @ kernel @ weights - 2 * weights @ affinity + own))
        kept = [int(place) for place in np.argsort(-weights)[: config.parts] if weights[place] > 1e-3]
        if number == config.rounds:
            break
        number += 1
        add([vary(pool[place].recipe, rng, 0.6) for place in kept for _ in range(config.children)])
    final = simplex_weights(kernel[np.ix_(kept, kept)], affinity[kept])
    parts = [(float(weight), pool[place].recipe) for weight, place in zip(final, kept, strict=True) if weight > 0.01]
    return mix(start.name, parts), parts


def _widths(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield float(rng.uniform(0.1, 0.8))


def _embedding(pool: Sequence[Candidate], photographs: Features) -> tuple[Features, Features, float]:
    """Mean kernels between candidates, unbiased on the diagonal, to the photographs, and among them."""
    points = np.concatenate([candidate.points for candidate in pool])
    ends = np.cumsum([0, *(len(candidate.points) for candidate in pool)])
    sizes = np.diff(ends)
    full = _kernel(points, points)
    sums = np.add.reduceat(np.add.reduceat(full, ends[:-1], axis=0), ends[:-1], axis=1)
    inner = np.add.reduceat(np.diag(full), ends[:-1])
    kernel = sums / np.outer(sizes, sizes)
    np.fill_diagonal(kernel, (np.diag(sums) - inner) / (sizes * np.maximum(sizes - 1, 1)))
    affinity = np.add.reduceat(_kernel(points, photographs).mean(1), ends[:-1]) / sizes
    own = _kernel(photographs, photographs)
    count = len(photographs)
    return kernel, affinity, float((own.sum() - np.trace(own)) / (count * (count - 1)))


def _kernel(first: Features, second: Features) -> Features:
    return (first @ second.T / first.shape[1] + 1) ** 3


def simplex_weights(kernel: Features, affinity: Features, steps: int = 2000) -> npt.NDArray[np.float64]:
    """Find weights w >= 0, sum 1, of the least w K w - 2 w k, by projected gradients with momentum.

    Args:
        kernel: K, (n, n), symmetric.
        affinity: k, (n,).
        steps: How many.
    """
    count = len(affinity)
    # A little curvature: an unbiased K from few images need not be positive definite.
    curved = kernel + np.eye(count) * 1e-3 * float(np.trace(np.abs(kernel))) / count
    rate = 1 / (2 * float(np.abs(np.linalg.eigvalsh(curved)).max()) + 1e-12)
    weights = ahead = np.full(count, 1 / count)
    momentum = 1.0
    for _ in range(steps):
        following = _to_simplex(ahead - rate * 2 * (curved @ ahead - affinity))
        faster = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / faster * (following - weights)
        weights, momentum = following, faster
    return weights


def _to_simplex(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The nearest point of the simplex. Source: Duchi et al. 2008, algorithm 1."""
    ordered = np.sort(vector)[::-1]
    excess = (np.cumsum(ordered) - 1) / np.arange(1, len(vector) + 1)
    last = int(np.flatnonzero(ordered > excess)[-1])
    return np.maximum(vector - excess[last], 0)


def vary(recipe: Recipe, rng: np.random.Generator, width: float) -> Recipe:
    """Draw a variant: each fitted range becomes a part of about this width in or near it, and chances change.

    A recipe that a variant breaks comes back as it is: the ranges of some steps depend on each other.
    """
    mapping = copy.deepcopy(recipe.to_mapping())
    for name, fields in _steps(mapping["steps"]):
        for key, limits in RANGES.items():
            value = cast("Any", fields.get(key))
            if isinstance(value, list) and len(cast("list[float]", value)) == 2 and value[0] < value[1]:
                fields[key] = _narrow(cast("list[float]", value), limits, key, rng, width)
        if name in _OPTIONAL and rng.random() < 0.4:
            fields["prob"] = round(float(np.clip(fields.get("prob", 1.0) + rng.uniform(-0.7, 0.4), 0, 1)), 2)
    try:
        return recipe_from_mapping(mapping, recipe.name)
    except ConfigError:
        return recipe


def _steps(plain: Any) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401 (a recipe's mapping)
    """Name and parameters of every step, at any depth."""
    for entry in plain:
        if "weight" in entry:
            yield from _steps(entry["steps"])
            continue
        for name, fields in entry.items():
            if isinstance(fields, dict):
                parameters = cast("dict[str, Any]", fields)
                yield name, parameters
                for inner in ("steps", "options"):
                    if isinstance(parameters.get(inner), list):  # the `steps` of a FlipNet are a number
                        yield from _steps(parameters[inner])


def _narrow(
    value: list[float], limits: tuple[float, float], key: str, rng: np.random.Generator, width: float
) -> list[float]:
    """A part of a range, in the logarithm where sizes are ratios; it may reach a quarter of its width beyond."""
    low, high = value
    shift = 0.2 if key in _LOGARITHMIC else 0.0  # zero has no logarithm

    def forward(number: float) -> float:
        return math.log(number + shift) if key in _LOGARITHMIC else number

    def backward(number: float) -> float:
        return math.exp(number) - shift if key in _LOGARITHMIC else number

    start, stop = forward(low), forward(high)
    span = (stop - start) * width * float(rng.uniform(0.5, 1.5))
    centre = float(rng.uniform(start - 0.1 * (stop - start), stop + 0.1 * (stop - start)))
    ends = [backward(centre - span / 2), backward(centre + span / 2)]
    clipped = [float(np.clip(end, *limits)) for end in ends]
    if key == "quality":
        return [float(round(end)) for end in clipped]
    return [round(end, 3) for end in clipped]


def mix(name: str, parts: Sequence[tuple[float, Recipe]]) -> Recipe:
    """Make a recipe that draws one of the parts by weight."""
    total = sum(weight for weight, _ in parts)
    options = [{"weight": round(weight / total, 3), "steps": recipe.to_mapping()["steps"]} for weight, recipe in parts]
    return recipe_from_mapping({"name": f"{name}-fitted", "steps": [{"one_of": {"options": options}}]}, name)
