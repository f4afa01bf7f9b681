"""Photographs choose records: each its nearest, none twice, and nearer from round to round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.analysis.bank_search import BankConfig, choose, language, search_bank
from degrade_kit.errors import ConfigError
from degrade_kit.ops import Frame, Jpeg, Unframe
from degrade_kit.record import Record

Features = npt.NDArray[np.float64]


def test_each_photograph_takes_its_nearest_and_none_is_taken_twice() -> None:
    photographs = np.array([[0.0, 0], [10, 0]])
    points = np.array([[0.1, 0], [0.2, 0], [0.3, 0], [9.9, 0], [10.2, 0], [50, 0]])
    chosen = choose(photographs, points, 2, np.random.default_rng(0))
    assert sorted(chosen[:2]) == [0, 1]
    assert sorted(chosen[2:]) == [3, 4]
    with pytest.raises(ConfigError, match="expected 8 records or more to choose from, got 6"):
        choose(photographs, points, 4, np.random.default_rng(0))


def test_two_photographs_of_one_kind_share_what_is_near() -> None:
    photographs, points = np.zeros((3, 1)), np.arange(30.0)[:, None]
    assert sorted(choose(photographs, points, 3, np.random.default_rng(0))) == list(range(9))


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
    assert told[-1] < told[0] / 2
    assert all(isinstance(ops[-1], Unframe) for ops in found)
    nearest = seen([Record(0, ops) for ops in found]).reshape(20, 3, 2) - photographs[:, None]
    assert np.abs(nearest).mean() < 0.5


def test_sizes_of_the_language_may_be_measured_ones() -> None:
    rng = np.random.default_rng(2)
    sides = [record.steps[0].side for record in (language([60, 70, 90]).draw(rng) for _ in range(200))]  # pyright: ignore[reportAttributeAccessIssue]
    assert min(sides) >= 60
    assert max(sides) <= 90


def test_a_search_for_more_records_than_candidates_is_refused() -> None:
    with pytest.raises(ConfigError, match="as many candidates"):
        BankConfig(candidates=10, records=20)
