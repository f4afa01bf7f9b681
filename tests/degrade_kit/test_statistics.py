from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit.ops import Blur, GaussianNoise, Jpeg, Resize, Uneven
from degrade_kit.presets import PRESETS
from degrade_kit.record import Record
from degrade_kit.statistics import BINS, PARAMETERS, Statistics, Summary
from tests.distinct import DISTINCT_PRESETS

LIMITS = (0.0, 10.0)


def drawn(preset: str, count: int) -> list[Record]:
    rng = np.random.default_rng(0)
    return [PRESETS[preset].draw(rng) for _ in range(count)]


def counted(records: list[Record]) -> Statistics:
    statistics = Statistics()
    for record in records:
        statistics.add(record)
    return statistics


def summary_of(values: list[float]) -> Summary:
    summary = Summary()
    for value in values:
        summary.add(value, LIMITS)
    return summary


@pytest.mark.parametrize("preset", DISTINCT_PRESETS)
@pytest.mark.parametrize("cuts", [[0], [1, 5], [10, 10, 30]])
def test_merged_statistics_are_those_of_all_at_once(preset: str, cuts: list[int]) -> None:
    records = drawn(preset, 40)
    merged = Statistics()
    for start, stop in zip([0, *cuts], [*cuts, 40], strict=True):
        # Through JSON, as they come from the shards.
        merged.merge(Statistics.from_plain(json.loads(json.dumps(counted(records[start:stop]).to_plain()))))
    found, expected = merged.to_plain(), counted(records).to_plain()
    assert (found["records"], found["ops"]) == (40, expected["ops"])
    assert list(found["ops"]) == list(expected["ops"])
    assert list(found["parameters"]) == list(expected["parameters"]) != []
    for name, plain in expected["parameters"].items():
        for key, value in plain.items():
            assert found["parameters"][name][key] == (pytest.approx(value) if key.startswith("sum") else value)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50))
def test_a_summary_agrees_with_numpy(values: list[float]) -> None:
    summary = summary_of(values)
    assert summary.count == len(values)
    assert (summary.low, summary.high) == (min(values), max(values))
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert summary.std == pytest.approx(np.std(values), abs=1e-4)
    edges = np.linspace(*LIMITS, BINS + 1)
    inside = np.clip(values, LIMITS[0], LIMITS[1])
    assert sum(summary.bins) == len(values)
    assert (
        np.abs(np.cumsum(summary.bins) - np.cumsum(np.histogram(inside, edges)[0])).max()
        <= np.isin(inside, edges).sum()
    )


def test_values_out_of_range_fall_into_the_outer_bins() -> None:
    assert summary_of([-5.0, 0.0]).bins == [2, *[0] * 19]
    assert summary_of([10.0, 1e9]).bins == [*[0] * 19, 2]
    assert summary_of([0.5, 9.99]).bins == [0, 1, *[0] * 17, 1]


def test_nothing_has_no_mean_and_no_spread() -> None:
    assert (Summary().mean, Summary().std) == (0.0, 0.0)
    assert Statistics().to_plain() == {"records": 0, "ops": {}, "parameters": {}}


@given(st.lists(st.floats(-100, 100), max_size=20), st.lists(st.floats(-100, 100), max_size=20))
def test_merging_changes_the_first_summary_alone(first: list[float], second: list[float]) -> None:
    one, other = summary_of(first), summary_of(second)
    before = other.to_plain()["bins"].copy()
    one.merge(other)
    assert one.bins == summary_of(first + second).bins
    assert (one.count, other.bins) == (len(first) + len(second), before)
    one.add(0.0, LIMITS)
    assert other.bins == before


def test_returning_to_the_full_size_is_not_counted_and_uneven_parts_are() -> None:
    blur = Blur(sigma_x=2.0, sigma_y=3.0)
    uneven = Uneven(side=0.5, left=0.0, top=0.0, inside=(GaussianNoise(level=7.0),), outside=(Jpeg(quality=50), blur))
    statistics = counted([Record(0, (blur, Resize(scale=4.0), uneven, Resize(scale=1.0)))])
    assert statistics.ops == {"blur": 2, "resize": 1, "gaussian_noise": 1, "jpeg": 1}
    assert statistics.parameters["resize.scale"].high == 4.0
    assert statistics.parameters["blur.sigma_y"].mean == 3.0
    assert statistics.parameters["jpeg.quality"].count == 1


def test_every_parameter_belongs_to_an_operation_and_has_a_range() -> None:
    from degrade_kit.ops import OPS

    for name, (low, high) in PARAMETERS.items():
        op, _, field = name.partition(".")
        assert field in OPS[op].__dataclass_fields__
        assert -math.inf < low < high < math.inf


# GCFSR shrinks by up to 64, which the last bin takes: wider bins would tell less of all others.
@pytest.mark.parametrize("preset", [name for name in DISTINCT_PRESETS if name != "gcfsr"])
def test_histograms_cover_what_the_presets_draw(preset: str) -> None:
    statistics = counted(drawn(preset, 60))
    for name, summary in statistics.parameters.items():
        low, high = PARAMETERS[name]
        assert low <= summary.low <= summary.high <= high, name
