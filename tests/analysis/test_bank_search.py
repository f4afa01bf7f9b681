"""Photographs choose records: each its nearest, none twice, and nearer from round to round."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.analysis.bank_search import (
    BankConfig,
    Facts,
    _bounded,
    _child,
    balance,
    choose,
    gaps,
    language,
    search_bank,
)
from degrade_kit.errors import ConfigError
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.ops import Blur, Frame, GaussianNoise, Jpeg, Op, Rescale, Resize, ResizeSide, Tone, Unframe, WebP
from degrade_kit.record import Record

Features = npt.NDArray[np.float64]


def squares(one: Features, other: Features) -> Features:
    return ((one[:, None] - other[None]) ** 2).sum(-1)


def test_each_photograph_takes_its_nearest_and_none_is_taken_twice() -> None:
    photographs = np.array([[0.0, 0], [10, 0]])
    points = np.array([[0.1, 0], [0.2, 0], [0.3, 0], [9.9, 0], [10.2, 0], [50, 0]])
    chosen = choose(squares(photographs, points), 2, np.random.default_rng(0))
    assert sorted(chosen[:2]) == [0, 1]
    assert sorted(chosen[2:]) == [3, 4]
    with pytest.raises(ConfigError, match="expected 8 records or more to choose from, got 6"):
        choose(squares(photographs, points), 4, np.random.default_rng(0))


def test_two_photographs_of_one_kind_share_what_is_near() -> None:
    photographs, points = np.zeros((3, 1)), np.arange(30.0)[:, None]
    assert sorted(choose(squares(photographs, points), 3, np.random.default_rng(0))) == list(range(9))


def seen(records: Sequence[Record]) -> Features:
    """What a picture of a record would tell: the face's size and the quality of its last file, in own units."""

    def of(record: Record) -> tuple[float, float]:
        frame = record.steps[0]
        assert isinstance(frame, Frame)
        files = [op.quality for op in record.steps if isinstance(op, Jpeg)]
        return np.log2(frame.side) * 4, (files[-1] if files else 100) / 10

    return np.array([of(record) for record in records])


def test_records_come_nearer_to_the_photographs_from_round_to_round() -> None:
    rng = np.random.default_rng(1)
    photographs = np.stack([rng.normal(np.log2(150) * 4, 0.2, 20), rng.normal(8.8, 0.1, 20)], axis=1)
    told: list[float] = []
    found = search_bank(
        language(),
        photographs,
        seen,
        BankConfig(candidates=120, rounds=3, records=60),
        rng,
        lambda number, distance: told.append(distance),
    )
    assert len(found) == 60
    assert len(told) == 4
    assert told == sorted(told, reverse=True)
    assert told[-1] < 0.7 * told[0]
    assert all(isinstance(ops[-1], Unframe) for ops in found)
    nearest = seen([Record(0, ops) for ops in found]).reshape(20, 3, 2) - photographs[:, None]
    assert np.abs(nearest).mean() < 0.5


def test_sizes_of_the_language_may_be_measured_ones() -> None:
    rng = np.random.default_rng(2)
    sides = [record.steps[0].side for record in (language([60, 70, 90]).draw(rng) for _ in range(200))]  # pyright: ignore[reportAttributeAccessIssue]
    assert min(sides) >= 60
    assert max(sides) <= 90


def test_there_are_records_for_more_photographs_than_candidates() -> None:
    photographs = np.random.default_rng(3).normal(30, 1, (12, 2))
    found = search_bank(
        language(), photographs, seen, BankConfig(candidates=5, rounds=0, records=5), np.random.default_rng(3)
    )
    assert len(found) == 12


def test_a_search_may_begin_with_records_of_other_photographs() -> None:
    """None of the language is near: photographs are as small as known records make them."""
    photographs = np.random.default_rng(3).normal(np.log2(16) * 4, 0.3, (12, 2))
    config = BankConfig(candidates=48, rounds=0, records=12)
    at: dict[str, Any] = {"side": 16, "angle": 0.0, "right": 0.0, "down": 0.0}
    known: list[tuple[Op, ...]] = [(Frame(**at), Unframe(**at))]

    def distance(known: list[tuple[Op, ...]]) -> float:
        told: list[float] = []
        rng = np.random.default_rng(3)
        search_bank(language([200, 256]), photographs, seen, config, rng, lambda _, d: told.append(d), known=known)
        return told[-1]

    assert distance(known) < 0.5 * distance([])


def test_what_is_near_by_the_luck_of_one_face_is_not_taken() -> None:
    """Half of the records look right on the first face alone."""
    photographs = np.zeros((10, 2))
    calls: list[list[Record]] = []

    def measure(records: Sequence[Record]) -> npt.NDArray[np.float64]:
        calls.append(list(records))
        lucky = np.array([record.seed % 2 for record in records], bool)
        far = np.where(lucky & (len(calls) > 1), 5.0, 0.0)
        return np.stack([far, far], axis=1) + np.random.default_rng(len(calls)).normal(0, 0.01, (len(records), 2))

    rng = np.random.default_rng(6)
    found = search_bank(language(), photographs, measure, BankConfig(candidates=80, rounds=0, records=20), rng)
    seeds = {record.steps: record.seed for record in calls[0]}
    assert len(calls) == 3, "on two further faces"
    assert sum(seeds[ops] % 2 for ops in found) <= 2


def test_a_search_for_more_records_than_candidates_is_refused() -> None:
    with pytest.raises(ConfigError, match="as many candidates"):
        BankConfig(candidates=10, records=20)


def test_what_is_settled_has_the_mean_and_the_spread_of_the_photographs() -> None:
    rng = np.random.default_rng(4)
    photographs = rng.normal(0, 1, (60, 3))
    # All that can be had lies to one side, and closer together: the nearest alone keep that trace.
    points = rng.normal(0.6, 0.8, (4000, 3))
    apart = squares(photographs, points)
    near, balanced = choose(apart, 2, rng), balance(photographs, points, apart, 2, rng)
    assert len(set(balanced)) == 120, "none is taken twice"

    def trace(chosen: list[int]) -> float:
        means = points[chosen].mean(0) - photographs.mean(0)
        return float(np.abs(means).max() + np.abs(points[chosen].std(0) / photographs.std(0) - 1).max())

    assert trace(balanced) < 0.6 * trace(near)
    mine = apart[np.repeat(np.arange(60), 2), balanced].mean()
    anyone = apart[np.repeat(np.arange(60), 2), rng.permutation(4000)[:120]].mean()
    assert mine < 0.2 * anyone, "each still lies near its photograph"


# ------------------------------------------------------------------------------------------------ what photographs tell

PLACE: dict[str, Any] = {"side": 100, "angle": 0.1, "right": 2.0, "down": -3.0}
FRAMED: tuple[Op, ...] = (Frame(**PLACE), Tone(exposure=0.2), Jpeg(quality=50), Unframe(**PLACE, filter="linear"))
PLAIN: tuple[Op, ...] = (ResizeSide(side=90), Jpeg(quality=60), Resize(scale=1.0))
FILE = Jpeg(quality=90, subsampling="4:4:4")


def test_a_record_takes_what_its_photograph_tells() -> None:
    assert Facts().apply(FRAMED) == FRAMED
    first, tone, file, last = Facts(side=130.4, angle=-0.2, file=FILE).apply(FRAMED)
    same: dict[str, Any] = {"side": 130, "angle": -0.2, "right": 2.0, "down": -3.0}
    assert first == Frame(**same)
    assert tone == FRAMED[1]
    assert file == FILE
    assert last == Unframe(**same, filter="cubic")
    cut = Facts(side=77.0, cut=True, file=FILE).apply(FRAMED)
    assert cut == (ResizeSide(side=77), FRAMED[1], FILE, Resize(scale=1.0, filter="cubic"))
    assert Facts(side=80.0).apply(cut)[0] == ResizeSide(side=80), "a face that was cut out stays so"
    turned = Facts(side=80.0, angle=0.3).apply(cut)
    at: dict[str, Any] = {"side": 80, "angle": 0.3, "right": 0.0, "down": 0.0}
    assert turned == (Frame(**at), *cut[1:-1], Unframe(**at, filter="cubic")), "where it is turned, it stands in one"


def test_a_file_is_written_at_the_size_of_the_photograph() -> None:
    half = Rescale(factor=0.5)
    resized: tuple[Op, ...] = (Frame(**PLACE), Blur(sigma_x=1.0, sigma_y=1.0), half, Unframe(**PLACE))
    facts = Facts(side=130.0, file=FILE)
    ops = facts.apply(resized)
    assert ops[0].side == ops[-1].side == 260, "it was larger before"  # pyright: ignore[reportAttributeAccessIssue]
    assert ops[2:4] == (half, FILE)
    assert facts.apply(ops) == ops
    assert gap(facts, ops) == pytest.approx(0)
    assert Facts(file=FILE).apply((Frame(**PLACE), WebP(quality=30), Unframe(**PLACE)))[1] == FILE


def gap(facts: Facts, ops: tuple[Op, ...]) -> float:
    return float(gaps([facts], [Record(0, ops)])[0, 0])


def test_what_a_record_does_otherwise_is_a_distance() -> None:
    facts = Facts(side=130.0, cut=True, file=FILE)
    assert gap(facts, facts.apply(FRAMED)) == pytest.approx(0)
    assert gap(Facts(), FRAMED) == 0
    assert gap(Facts(side=130.0), FRAMED) > gap(Facts(side=110.0), FRAMED) > 0
    assert gap(Facts(file=FILE), FRAMED) > gap(Facts(file=Jpeg(quality=55)), FRAMED) > 0
    assert gap(Facts(file=FILE), (*FRAMED[:2], FRAMED[-1])) == 4
    assert gaps([Facts(), facts], [Record(0, FRAMED), Record(1, PLAIN)]).shape == (2, 2)


def test_what_is_told_is_in_every_record_of_a_search() -> None:
    rng = np.random.default_rng(5)
    facts = [Facts(side=60.0 + number, angle=0.01 * number, file=FILE) for number in range(12)]
    photographs = np.array([[np.log2(60 + number) * 4, 9.0] for number in range(12)])
    found = search_bank(
        language(), photographs, seen, BankConfig(candidates=100, rounds=2, records=24), rng, facts=facts
    )
    for number, ops in enumerate(found):
        assert ops[-2] == FILE
        growth = float(np.prod([op.factor for op in ops if isinstance(op, Rescale)]))
        assert abs(ops[0].side * growth - (60 + number // 2)) <= 2  # pyright: ignore[reportAttributeAccessIssue]


def test_variations_of_variations_do_not_go_astray_in_light_and_noise() -> None:
    rng = np.random.default_rng(7)
    tone = Tone(exposure=0.2, gamma=1.05, saturation=1.05)
    record = Record(0, (Frame(**PLACE), tone, GaussianNoise(level=6.0), Unframe(**PLACE)))
    for _ in range(30):
        record = _child(record, Facts(), 0.5, rng)
        _, same, noise, _ = record.steps
        assert same == tone
        assert isinstance(noise, GaussianNoise)
        assert noise.level <= 8


def test_a_tone_is_bounded_as_a_whole() -> None:
    """What makes a face darker and redder adds up: exposure, gamma, contrast, warmth and saturation."""
    dark = Tone(exposure=-0.4, gamma=1.25, contrast=1.2, red=1.1, blue=0.8, saturation=1.25)
    (bounded,) = _bounded([dark])
    assert isinstance(bounded, Tone)
    logs = np.log([bounded.gamma, bounded.contrast, bounded.red, bounded.blue, bounded.saturation])
    whole = np.log([dark.gamma, dark.contrast, dark.red, dark.blue, dark.saturation])
    share = bounded.exposure / dark.exposure
    np.testing.assert_allclose(logs, share * whole)
    assert 0.1 < share < 0.6
    assert _bounded([bounded]) == [bounded], "at the bound"
    drawn = [op for number in range(300) for op in language().draw(np.random.default_rng(number)).steps]
    tones = [op for op in drawn if isinstance(op, Tone)]
    kept = [op for op in tones if _bounded([op]) == [op]]
    assert len(tones) > 150
    assert len(kept) > 0.4 * len(tones), "most that are drawn are near enough"


def test_a_flipnet_softens_a_third_of_the_candidates_like_the_photograph_that_each_is_drawn_for() -> None:
    rng = np.random.default_rng(3)
    own = (0.5,) * 11
    made = language(model="photos", like=[(0.0,) * 11])
    steps = [op for _ in range(300) for op in made.draw(rng).steps if isinstance(op, FlipNetImage)]
    assert 70 < len(steps) < 130
    shown = [op for op in steps if op.description]
    assert 0.5 < len(shown) / len(steps) < 0.8, "the others have words"
    for op in steps:
        _, after, _ = Facts(description=own).apply((ResizeSide(side=40), op, Resize(scale=1.0)))
        assert after == (dataclasses.replace(op, description=own) if op.description else op)
        assert Facts().apply((ResizeSide(side=40), op, Resize(scale=1.0)))[1] == op, "nothing is known of it"
    worded = language(model="photos").draw
    assert not any(getattr(op, "description", ()) for _ in range(100) for op in worded(rng).steps)
    assert language().digest() != made.digest()
