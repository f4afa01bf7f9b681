"""Pairs chosen by severity: a range, a curriculum, balance and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import degrade_kit as dk
from degrade_kit.epoch_order import draw_epoch, pick_by_severity, severity_range
from degrade_kit.errors import ConfigError
from degrade_kit.reader import PairReader
from degrade_kit.record import Record
from degrade_kit.record_severity import kinds, severity
from degrade_kit.streaming import PairDataset, PairMapDataset, PairOptions, redrawn
from tests.degrade_kit.test_streaming import SAMPLES, SIZE, made

assert made  # a fixture

GRADED = np.array([[0.1, 0.5], [0.6, 0.9], [0.2, 0.25], [0.7, 0.75]])


def test_a_range_keeps_what_lies_in_it_and_replaces_the_rest() -> None:
    draws = draw_epoch(4, 2, 0, 0)
    picked = pick_by_severity(draws, GRADED, (0.0, 0.55), 0, 0, stay=True)
    assert len(picked.sample) == 4
    found = GRADED[picked.sample, picked.variant]
    assert found.max() <= 0.55
    inside = GRADED[draws.sample, draws.variant] <= 0.55
    assert np.array_equal(picked.sample[inside], draws.sample[inside])
    assert np.array_equal(picked.variant[inside], draws.variant[inside])
    assert picked.sample[0] == 0
    assert picked.sample[2] == 2, "a sample that has such an image gives it"
    again = pick_by_severity(draws, GRADED, (0.0, 0.55), 0, 0, stay=True)
    assert np.array_equal(again.sample, picked.sample)


def test_an_item_takes_each_of_its_own_images_in_the_range() -> None:
    graded = np.array([[0.9, 0.1, 0.2, 0.3]])
    chosen = set()
    for epoch in range(40):
        draws = draw_epoch(1, 4, 0, epoch, variant=0)
        chosen.add(int(pick_by_severity(draws, graded, (0.0, 0.5), 0, epoch, stay=True).variant[0]))
    assert chosen == {1, 2, 3}


def test_an_empty_range_is_an_error() -> None:
    with pytest.raises(ValueError, match="no LQ image has a severity"):
        pick_by_severity(draw_epoch(4, 2, 0, 0), GRADED, (0.95, 1.0), 0, 0, stay=True)


def test_balanced_severities_are_even() -> None:
    rng = np.random.default_rng(0)
    graded = rng.random((3000, 1)) ** 3  # most are mild
    draws = draw_epoch(3000, 1, 0, 0)
    before = np.histogram(graded[draws.sample, draws.variant], 10, (0, 1))[0]
    picked = pick_by_severity(draws, graded, (0.0, 1.0), 0, 0, stay=True, balanced=True)
    after = np.histogram(graded[picked.sample, picked.variant], 10, (0, 1))[0]
    assert before.max() > 5 * before.min()
    assert after.max() < 1.5 * after.min()


def test_a_curriculum_opens_up() -> None:
    ends = [severity_range((0.1, 0.4), epoch, 4)[1] for epoch in range(6)]
    assert ends == sorted(ends)
    assert ends[0] == 0.4
    assert ends[4] == ends[5] == 1.0


# -------------------------------------------------------------------------------------------------------- of a data set


@pytest.mark.slow
def test_a_data_set_gives_pairs_of_the_range_alone_and_their_labels(made: Path) -> None:
    found = PairReader(made).severities()
    assert found.shape == (SAMPLES, 2)
    middle = float(np.median(found))
    for wanted in ((0.0, middle), (middle, 1.0)):
        pairs = PairDataset(made, PairOptions(severity=wanted, labels=True))
        assert len(pairs) == SAMPLES
        got = list(pairs)
        assert len(got) == SAMPLES
        for pair in got:
            assert wanted[0] <= pair["severity"] <= wanted[1]
            record = Record.from_json(pair["record"])
            assert pair["severity"] == severity(record, SIZE)
            assert pair["kinds"].split() == list(kinds(record))
            assert pair["severity"] in found


def test_without_options_pairs_are_as_they_were(made: Path) -> None:
    plain, asked = PairMapDataset(made), PairMapDataset(made, PairOptions(severity=(0.0, 1.0)))
    assert set(plain[0]) == {"hq", "lq", "record", "key", "source", "variant"}
    assert all(torch.equal(plain[i]["lq"], asked[i]["lq"]) for i in range(len(plain)))


def test_a_curriculum_of_a_data_set_reaches_all_of_it(made: Path) -> None:
    low = float(PairReader(made).severities().min()) + 1e-6
    pairs = PairMapDataset(made, PairOptions(severity=(0.0, low), curriculum=3, labels=True))
    assert all(pairs.at(0, item)["severity"] <= low for item in range(len(pairs)))
    assert len({pairs.at(3, item)["severity"] for item in range(len(pairs))}) > 1


def test_images_made_on_the_fly_are_of_the_range(made: Path) -> None:
    options = PairOptions(onthefly=dk.preset("gfpgan"), onthefly_prob=1, severity=(0.5, 0.75), labels=True)
    found = [pair["severity"] for pair in PairDataset(made, options)]
    assert len(found) == SAMPLES
    assert all(0.5 <= one <= 0.75 for one in found)


def test_the_nearest_record_is_taken_where_none_is_in_the_range() -> None:
    recipe = dk.preset("codeformer")
    rng = np.random.default_rng(0)
    first = recipe.draw(rng)
    found = redrawn(first, lambda: recipe.draw(rng), (0.0, 0.01), SIZE)
    assert severity(found, SIZE) <= severity(first, SIZE)


def test_a_range_that_holds_nothing_names_what_there_is(made: Path) -> None:
    with pytest.raises(ConfigError, match=r"no LQ image has a severity within \[0, 0.001\] in .*severities are 0\."):
        PairMapDataset(made, PairOptions(severity=(0.0, 0.001)))[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"severity": (0.5, 0.2)}, "severity: expected two numbers"),
        ({"severity": (-0.1, 0.2)}, "severity: expected two numbers"),
        ({"curriculum": -1, "severity": (0, 0.2)}, "curriculum: expected a number of epochs"),
        ({"curriculum": 5}, "curriculum: expected a severity whose upper end is below 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PairOptions(**options)  # pyright: ignore[reportArgumentType] (wrong on purpose)


def test_a_webdataset_pipeline_cannot_choose(made: Path) -> None:
    pytest.importorskip("webdataset")
    with pytest.raises(ConfigError, match="cannot choose; use `PairDataset`"):
        dk.webdataset(made, PairOptions(severity=(0.0, 0.5)))
