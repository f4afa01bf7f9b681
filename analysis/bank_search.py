"""Search for records whose images lie near photographs: the photographs choose how LQ images are made.

Records are drawn from a broad recipe, each is applied to a face, and for every photograph the records are kept whose
images lie nearest to it in the whitened features. Then what was kept is varied, ever less, and the photographs choose
again. So the records are distributed as the photographs are, where a recipe of ranges is wherever its ranges reach.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from degrade_kit.analysis.distances import Features
from degrade_kit.bank import varied
from degrade_kit.errors import ConfigError
from degrade_kit.ops import Op
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.record import Record

_NEAREST = 60
"""Records that a photograph looks through for one that no other has taken."""

Measure = Callable[[Sequence[Record]], Features]
"""Whitened features of an image of each record, (n, d)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BankConfig:
    """How hard to look."""

    candidates: int = 2000
    """Records that are drawn at first."""
    rounds: int = 3
    """Times that what was kept is varied, and chosen from again."""
    records: int = 160
    """Records of the bank, at least; each photograph has as many as any other."""
    width: float = 0.3
    """Strength of the first variation, as in `degrade_kit.bank.varied`; each further round has two thirds of it."""

    def __post_init__(self) -> None:
        if self.candidates < self.records or self.records < 1 or self.rounds < 0:
            raise ConfigError(
                f"expected at least 1 record, as many candidates and 0 rounds, got {self.records}, {self.candidates} "
                f"and {self.rounds}"
            )


def search_bank(
    language: Recipe,
    photographs: Features,
    measure: Measure,
    config: BankConfig,
    rng: np.random.Generator,
    report: Callable[[int, float], None] = lambda number, distance: None,
) -> list[tuple[Op, ...]]:
    """Find records near photographs.

    Args:
        language: What the first records are drawn from.
        photographs: Their whitened features, (m, d); no others are looked at.
        measure: Applies records to faces, and measures the images.
        config: How hard to look.
        rng: Draws records and variations.
        report: Called after each round with its number and the mean distance of a photograph to its nearest record.

    Returns:
        The operations of the records, those of one photograph after those of another.
    """
    pool = [language.draw(rng) for _ in range(config.candidates)]
    points = measure(pool)
    each = -(-config.records // len(photographs))
    width = config.width
    for number in itertools.count():
        kept = choose(photographs, points, each, rng)
        report(number, float(np.sqrt(_squares(photographs, points).min(axis=1)).mean()))
        if number == config.rounds:
            return [pool[place].steps for place in kept]
        # Twice as many as are kept: what is near is more often near again than a new draw is.
        children = [_child(pool[place], width, rng) for place in kept for _ in range(2)]
        pool += children
        points = np.concatenate([points, measure(children)])
        width *= 2 / 3
    raise AssertionError("the rounds end above")


def choose(photographs: Features, points: Features, each: int, rng: np.random.Generator) -> list[int]:
    """Let every photograph take its nearest records, in turns; none is taken twice.

    Args:
        photographs: (m, d).
        points: Of the records, (n, d), n at least `each` * m.
        each: Records for each photograph.
        rng: Draws who begins in each turn.

    Returns:
        Which records, photograph by photograph.
    """
    if len(points) < each * len(photographs):
        raise ConfigError(f"expected {each * len(photographs)} records or more to choose from, got {len(points)}")
    order = np.argsort(_squares(photographs, points), axis=1)
    taken = np.zeros(len(points), bool)
    rows: list[list[int]] = [list[int]() for _ in range(len(photographs))]
    for _ in range(each):
        for turn in rng.permutation(len(photographs)):
            photograph = int(turn)
            near = order[photograph]
            free = near[:_NEAREST][~taken[near[:_NEAREST]]]
            place = int(free[0] if len(free) else near[~taken[near]][0])
            taken[place] = True
            rows[photograph].append(place)
    return [place for row in rows for place in row]


def _child(record: Record, width: float, rng: np.random.Generator) -> Record:
    return Record(int(rng.integers(1 << 48)), varied(record.steps, width, rng))


def _squares(one: Features, other: Features) -> Features:
    """Squared distances, (len(one), len(other))."""
    return np.maximum((one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T, 0)


def language(sides: Sequence[float] = (40, 256)) -> Recipe:
    """A broad recipe of what happens to faces in photographs: it reaches whatever a bank may need.

    Args:
        sides: Of the faces in pixels: the ends of a log-uniform draw, or measured sizes in order.
    """
    return recipe_from_mapping(
        {
            "name": "language",
            "steps": [
                {
                    "photo_frame": {
                        "side": list(sides),
                        "steps": [
                            {"tone": {"prob": 0.6}},
                            {"one_of": {"options": [
                                {"weight": 5, "steps": [{"blur": {"sigma": [0.3, 1.4]}}]},
                                {"weight": 1, "steps": [{"defocus": {"radius": [0.5, 2.5]}}]},
                                {"weight": 1, "steps": [{"camera_shake": {"length": [1, 6]}}]},
                                {"weight": 4, "steps": []},
                            ]}},
                            {"one_of": {"options": [
                                {"weight": 3, "steps": [{"gaussian_noise": {"level": [1, 10], "gray_prob": 0.4}}]},
                                {"weight": 2, "steps": [{"isp": {"shot": [0.0001, 0.01]}}]},
                                {"weight": 5, "steps": []},
                            ]}},
                            {"denoise": {"strength": [8, 35], "radius": [1, 2.5], "prob": 0.3}},
                            {"sharpen": {"amount": [0.1, 0.7], "radius": [0.7, 1.3], "prob": 0.25}},
                            {"repost": {"times": [1, 2], "factor": [0.8, 1.6], "quality": [50, 92], "prob": 0.25}},
                            {"jpeg": {
                                "quality": [45, 97], "subsampling": {"4:2:0": 0.7, "4:4:4": 0.3}, "prob": 0.85
                            }},
                        ],
                    }
                }
            ],
        },
        "language",
    )  # fmt: skip
