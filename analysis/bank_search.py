"""Search for records whose images lie near photographs: the photographs choose how LQ images are made.

Records are drawn from a broad recipe, each is applied to a face, and for every photograph the records are kept whose
images lie nearest to it in the whitened features. Then what was kept is varied, ever less, and the photographs choose
again. At last those near a photograph are tried on other faces too, since a record may be near by the luck of one face,
and each photograph takes of them the records with which all images together have the photographs' mean and spread: the
nearest alone would leave out what is common to all photographs and hard to reach.

What a photograph tells of itself is not searched for: the size of the face in it, and how its file was written. Records
of a FlipNet, where there are any, are like the photograph that they are drawn for.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from degrade_kit.analysis.distances import Features
from degrade_kit.bank import varied
from degrade_kit.errors import ConfigError
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.ops import Frame, Jpeg, Op, Rescale, Resize, ResizeSide, Tone, Unframe, WebP
from degrade_kit.recipe import Recipe, recipe_from_mapping
from degrade_kit.record import Record

_NEAREST = 60
"""Records that a photograph looks through for one that no other has taken."""
_PROPOSED: Final = 4
"""Records that each photograph proposes for each that it takes at last."""
_TRIED: Final = 2
"""Further faces on which what is proposed is tried."""
TRIALS: Final = _PROPOSED * _TRIED
"""Images by which what is proposed is tried, for each record of the bank."""
_NEAR: Final = 0.02
"""How much a record's squared distance to its photograph counts beside the mean and the spread of all."""
_LIGHT: Final = {
    "exposure": 0.3, "gamma": 0.1, "contrast": 0.06, "red": 0.03, "blue": 0.07, "saturation": 0.06,
}  # fmt: skip
"""Standard deviations of a tone: stops, or the factor's logarithm. On portraits they give faces the spread of light and
colour that they have in photographs; colour varies little, since it varies as much in portraits."""
_LIT: Final = 2.5
"""Most that a tone as a whole may be away from none, in these deviations: several that make a face darker or redder add
up, and what a photograph asks of one face would spoil the next."""
_NOISY: Final = {"gaussian_noise": ("level", 8.0), "isp": ("shot", 0.006)}
"""Strongest noise of a record: one loud picture would stand for the spread of many."""
_LARGEST: Final = 1024
"""Largest side of a face in a photograph, pixels."""

Measure = Callable[[Sequence[Record]], Features]
"""Whitened features of an image of each record, (n, d)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a photograph tells of how it was made; None where it does not."""

    side: float | None = None
    """Side of the face in the photograph, pixels."""
    angle: float | None = None
    """The face's turn, radians; None for a face that was cut out as it stood, or if that is not known."""
    cut: bool = False
    """Whether the face was cut out as it stood and then enlarged, by a cubic filter."""
    file: Jpeg | None = None
    """How the photograph's own file was written."""
    description: tuple[float, ...] = ()
    """How a FlipNet that degrades like it is told what it is like; empty without one."""

    def apply(self, ops: Sequence[Op]) -> tuple[Op, ...]:
        """Let a record do what the photograph tells, and all else as it was.

        Where it resizes the photograph, that had another size before: it has its own when its file is written.
        """
        first, last, inner = ops[0], ops[-1], [self._like(op) for op in ops[1:-1]]
        if self.file is not None:
            if inner and isinstance(inner[-1], (Jpeg, WebP)):
                inner.pop()
            inner.append(self.file)
        if self.side is not None:
            before = min(max(round(self.side / _growth(inner)), 8), _LARGEST)
            if self.cut:
                first, last = ResizeSide(side=before), Resize(scale=1.0, filter="cubic")
            elif isinstance(first, ResizeSide):
                first = dataclasses.replace(first, side=before)
            elif isinstance(first, Frame) and isinstance(last, Unframe):
                first, last = (dataclasses.replace(op, side=before) for op in (first, last))
        if self.angle is not None and isinstance(first, ResizeSide):  # a record of a face that was cut out
            first = Frame(side=first.side, angle=0.0, right=0.0, down=0.0)
            last = Unframe(side=first.side, angle=0.0, right=0.0, down=0.0)
        if self.angle is not None and isinstance(first, Frame) and isinstance(last, Unframe):
            # `degrade_kit.align` enlarges by this filter.
            first = dataclasses.replace(first, angle=self.angle)
            last = dataclasses.replace(last, angle=self.angle, filter="cubic")
        return (first, *inner, last)

    def _like(self, op: Op) -> Op:
        """Let a FlipNet that is shown a photograph be shown this one."""
        if isinstance(op, FlipNetImage) and op.description and self.description:
            return dataclasses.replace(op, description=self.description)
        return op


def _growth(ops: Sequence[Op]) -> float:
    """How much larger a photograph is when its last file is written than at first."""
    return math.prod(op.factor for op in ops if isinstance(op, Rescale))


@dataclass(frozen=True, kw_only=True, slots=True)
class BankConfig:
    """How hard to look."""

    candidates: int = 2000
    """Records that are drawn at first; one for each photograph at least."""
    rounds: int = 3
    """Times that what was kept is varied, and chosen from again."""
    records: int = 320
    """Records of the bank, at least; each photograph has as many as any other."""
    width: float = 0.3
    """Strength of the first variation, as in `degrade_kit.bank.varied`; each further round has two thirds of it."""

    def __post_init__(self) -> None:
        if self.candidates < self.records or self.records < 1 or self.rounds < 0:
            raise ConfigError(
                f"expected at least 1 record, as many candidates and 0 rounds, got {self.records}, {self.candidates} "
                f"and {self.rounds}"
            )


def search_for(
    photographs: int, candidates: int | None = None, rounds: int = 3, records: int | None = None
) -> BankConfig:
    """Say how hard to look for so many photographs, where it is not said: ten should take minutes.

    Args:
        photographs: How many there are.
        candidates: 40 for each of them where None, but at least 600 and at most 2,000.
        rounds: Times that what was kept is varied.
        records: 8 for each where None, but at least 80 and at most 320.

    Raises:
        ConfigError: If more records are asked for than candidates.
    """
    kept = min(max(8 * photographs, 80), 320) if records is None else records
    drawn = max(min(max(40 * photographs, 600), 2000), kept) if candidates is None else candidates
    return BankConfig(candidates=drawn, rounds=rounds, records=kept)


def search_bank(
    language: Recipe,
    photographs: Features,
    measure: Measure,
    config: BankConfig,
    rng: np.random.Generator,
    report: Callable[[int, float], None] = lambda number, distance: None,
    *,
    facts: Sequence[Facts] = (),
    known: Sequence[tuple[Op, ...]] = (),
) -> list[tuple[Op, ...]]:
    """Find records near photographs.

    Args:
        language: What the first records are drawn from.
        photographs: Their whitened features, (m, d); no others are looked at.
        measure: Applies records to faces, and measures the images; each call begins with another face.
        config: How hard to look.
        rng: Draws records and variations.
        report: Called after each round with its number and the mean distance of a photograph to its nearest record.
        facts: What each photograph tells of itself; none by default.
        known: Records that other photographs chose. Where there are any, every second of the first records is a
            variation of one of them.

    Returns:
        The operations of the records, those of one photograph after those of another.
    """
    told_by = list(facts) or [Facts()] * len(photographs)
    each = -(-config.records // len(photographs))
    # Each photograph must find records of its own, also where there are more of them than candidates were asked for.
    whose = [number % len(photographs) for number in range(max(config.candidates, each * len(photographs)))]
    pool: list[Record] = []
    for number, photograph in enumerate(whose):
        if known and number // len(photographs) % 2:
            start = Record(0, known[int(rng.integers(len(known)))])
            pool.append(_child(start, told_by[photograph], config.width, rng))
        else:
            drawn = language.draw(rng)
            pool.append(Record(drawn.seed, told_by[photograph].apply(_bounded(drawn.steps))))
    points = measure(pool)
    told = gaps(told_by, pool)
    width = config.width
    for number in itertools.count():
        squares = _squares(photographs, points) + told
        report(number, float(np.sqrt(squares.min(axis=1)).mean()))
        if number == config.rounds:
            near = choose(squares, min(_PROPOSED * each, len(pool) // len(photographs)), rng)
            tried = np.stack([points[near], *(measure([pool[place] for place in near]) for _ in range(_TRIED))])
            squares = np.mean([_squares(photographs, found) for found in tried], axis=0) + told[:, near]
            return [pool[near[place]].steps for place in balance(photographs, tried, squares, each, rng)]
        # Twice as many as are kept: what is near is more often near again than a new draw is.
        kept = choose(squares, each, rng)
        children = [
            _child(pool[place], told_by[turn // each], width, rng) for turn, place in enumerate(kept) for _ in range(2)
        ]
        pool += children
        points = np.concatenate([points, measure(children)])
        told = np.concatenate([told, gaps(told_by, children)], axis=1)
        width *= 2 / 3
    raise AssertionError("the rounds end above")


def choose(squares: Features, each: int, rng: np.random.Generator) -> list[int]:
    """Let every photograph take its nearest records, in turns; none is taken twice.

    Args:
        squares: Squared distances of photographs and records, (m, n), n at least `each` * m.
        each: Records for each photograph.
        rng: Draws who begins in each turn.

    Returns:
        Which records, photograph by photograph.
    """
    photographs, records = squares.shape
    if records < each * photographs:
        raise ConfigError(f"expected {each * photographs} records or more to choose from, got {records}")
    order = np.argsort(squares, axis=1)
    taken = np.zeros(records, bool)
    rows: list[list[int]] = [list[int]() for _ in range(photographs)]
    for _ in range(each):
        for turn in rng.permutation(photographs):
            photograph = int(turn)
            near = order[photograph]
            free = near[:_NEAREST][~taken[near[:_NEAREST]]]
            place = int(free[0] if len(free) else near[~taken[near]][0])
            taken[place] = True
            rows[photograph].append(place)
    return [place for row in rows for place in row]


def balance(
    photographs: Features, points: Features, squares: Features, each: int, rng: np.random.Generator
) -> list[int]:
    """Let every photograph take records near it, so that all together have the photographs' mean and spread.

    The records that a photograph proposes are its nearest, and no other's; it changes them one by one, so that the
    squared error of the means and mean squares of all features falls, until nothing changes.

    Args:
        photographs: (m, d).
        points: Of the records, (n, d), or on several faces, (faces, n, d).
        squares: Squared distances, (m, n).
        each: Records for each photograph.
        rng: Draws whose turn it is.

    Returns:
        Which records, photograph by photograph.
    """
    count = min(_PROPOSED * each, points.shape[-2] // len(photographs))
    proposed = np.array(choose(squares, count, rng)).reshape(len(photographs), count)
    centre, spread = photographs.mean(0), photographs.std(0) + 1e-9
    scaled = (points.reshape(-1, *points.shape[-2:]) - centre) / spread
    moments = np.concatenate([scaled.mean(0), (scaled**2).mean(0) - 1], axis=1)
    costs = _NEAR * squares / (len(photographs) * each)
    chosen = proposed[:, :each].copy()
    total = moments[chosen.ravel()].sum(0)
    size = chosen.size
    for _ in range(20):
        changed = False
        for turn in rng.permutation(size):
            photograph, slot = divmod(int(turn), each)
            old = chosen[photograph, slot]
            free = proposed[photograph][~np.isin(proposed[photograph], chosen[photograph])]
            options = np.append(free, old)
            errors = (((total - moments[old] + moments[options]) / size) ** 2).sum(1) + costs[photograph, options]
            new = int(options[errors.argmin()])
            if new != old:
                total += moments[new] - moments[old]
                chosen[photograph, slot] = new
                changed = True
        if not changed:
            break
    return [int(place) for place in chosen.ravel()]


def _child(record: Record, facts: Facts, width: float, rng: np.random.Generator) -> Record:
    # The features hardly see light and colour, so nothing would stop variations of variations from going astray.
    return Record(int(rng.integers(1 << 48)), facts.apply(_bounded(varied(record.steps, width, rng, ("tone",)))))


def _bounded(ops: Sequence[Op]) -> list[Op]:
    """Operations whose tone and noise are within bounds."""
    return [_lit(op) if isinstance(op, Tone) else _quiet(op) for op in ops]


def _lit(tone: Tone) -> Tone:
    """A tone within bounds: nearer to none as a whole where it is not."""
    logs = {name: math.log(max(getattr(tone, name), 1e-3)) for name in _LIGHT if name != "exposure"}
    logs["exposure"] = tone.exposure
    away = math.hypot(*(value / _LIGHT[name] for name, value in logs.items()))
    if away <= _LIT:
        return tone
    share = _LIT / away
    return Tone(
        **{name: share * value if name == "exposure" else math.exp(share * value) for name, value in logs.items()}
    )


def _quiet(op: Op) -> Op:
    """An operation whose noise is within bounds."""
    name, most = _NOISY.get(op.name, ("", 0.0))
    if not name or getattr(op, name) <= most:
        return op
    changes: dict[str, Any] = {name: most}
    return dataclasses.replace(op, **changes)


def gaps(known: Sequence[Facts], pool: Sequence[Record]) -> Features:
    """Squared distances of what photographs tell to what records do, beside those of the features.

    Returns:
        (photographs, records); 0 where a record does what is told, or nothing is told.
    """
    found = np.zeros((len(known), len(pool)))
    sides = np.array([_side(record.steps) for record in pool])
    cut = np.array([isinstance(record.steps[0], ResizeSide) for record in pool])
    files = [file if isinstance(file := record.steps[-2], Jpeg) else None for record in pool]
    quality = np.array([np.nan if file is None else file.quality for file in files])
    subsampling = np.array(["" if file is None else file.subsampling for file in files])
    for row, facts in zip(found, known, strict=True):
        if facts.side is not None:
            row += np.nan_to_num((np.log(sides / facts.side) / 0.2) ** 2)
        if facts.cut:
            row += ~cut
        if facts.file is not None:
            apart = ((quality - facts.file.quality) / 10) ** 2 + (subsampling != facts.file.subsampling)
            row += np.nan_to_num(apart, nan=4.0)
    return found


def _side(ops: Sequence[Op]) -> float:
    """Side of the face when the photograph's last file is written; NaN where it does not begin with one."""
    first = ops[0]
    return first.side * _growth(ops) if isinstance(first, (Frame, ResizeSide)) else math.nan


def _squares(one: Features, other: Features) -> Features:
    """Squared distances, (len(one), len(other))."""
    return np.maximum((one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T, 0)


def language(
    sides: Sequence[float] = (40, 256), model: str | None = None, like: Sequence[Sequence[float]] = ()
) -> Recipe:
    """A broad recipe of what happens to faces in photographs: it reaches whatever a bank may need.

    Args:
        sides: Of the faces in pixels: the ends of a log-uniform draw, or measured sizes in order.
        model: A FlipNet that softens a third of the images in place of a blur; none where None.
        like: Descriptions of photographs that it degrades like, where it was trained to; else it has its own prompts.
    """
    network: list[dict[str, Any]] = []
    if model is not None:
        step: dict[str, Any] = {"model": model}
        network = [{"weight": 2 if like else 6, "steps": [{"flipnet": step}]}]
        if like:
            network.append({"weight": 4, "steps": [{"flipnet": {**step, "like": [list(row) for row in like]}}]})
    return recipe_from_mapping(
        {
            "name": "language",
            "steps": [
                {
                    "photo_frame": {
                        "side": list(sides),
                        "steps": [
                            {"tone": {
                                **{name: _LIGHT[name] for name in ("exposure", "gamma", "contrast", "saturation")},
                                "white_balance": _LIGHT["blue"], "prob": 0.6,
                            }},
                            {"one_of": {"options": [
                                {"weight": 5, "steps": [{"blur": {"sigma": [0.3, 1.4]}}]},
                                {"weight": 1, "steps": [{"blur": {"kernels": "aniso", "sigma": [0.3, 2.0]}}]},
                                {"weight": 1, "steps": [{"defocus": {"radius": [0.5, 2.5]}}]},
                                {"weight": 1, "steps": [{"camera_shake": {"length": [1, 6]}}]},
                                {"weight": 4, "steps": []},
                                *network,
                            ]}},
                            {"one_of": {"options": [
                                {"weight": 3, "steps": [{"gaussian_noise": {"level": [0.5, 6], "gray_prob": 0.5}}]},
                                {"weight": 3, "steps": [{"isp": {"shot": [0.00003, 0.004]}}]},
                                {"weight": 4, "steps": []},
                            ]}},
                            {"denoise": {"strength": [8, 35], "radius": [1, 2.5], "prob": 0.25}},
                            {"sharpen": {"amount": [0.1, 0.9], "radius": [0.6, 1.5], "prob": 0.35}},
                            {"jpeg": {
                                "quality": [40, 95], "subsampling": {"4:2:0": 0.6, "4:2:2": 0.1, "4:4:4": 0.3},
                                "any_grid": True, "prob": 0.5,
                            }},
                            # Larger or smaller once; a plain filter shrinks with the stairs that photographs show.
                            {"one_of": {"options": [
                                {"weight": 3, "steps": [
                                    {"enlarge": {"factor": [0.55, 1.0], "filter": ["linear", "cubic", "area"]}}
                                ]},
                                {"weight": 3, "steps": [
                                    {"enlarge": {"factor": [1.0, 2.2], "filter": ["linear", "cubic"]}}
                                ]},
                                {"weight": 3, "steps": []},
                            ]}},
                            {"sharpen": {"amount": [0.1, 0.6], "radius": [0.6, 1.3], "prob": 0.2}},
                            {"gaussian_noise": {"level": [0.3, 2], "gray_prob": 0.5, "prob": 0.15}},
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


def agreed(facts: Collection[Facts]) -> tuple[bool, bool]:
    """Whether all photographs tell the size of the face, and whether all tell how their file was written."""
    return all(entry.side is not None for entry in facts), all(entry.file is not None for entry in facts)
