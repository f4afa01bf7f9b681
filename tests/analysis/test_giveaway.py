"""What gives a source away is named, the most telling first, once."""

from __future__ import annotations

import numpy as np
import pytest

from degrade_kit.analysis.features import NAMES
from degrade_kit.analysis.giveaway import feature_words, telling_features


def test_what_differs_is_named_first_with_its_size() -> None:
    rng = np.random.default_rng(0)
    real, source = rng.normal(size=(200, len(NAMES))), rng.normal(size=(150, len(NAMES)))
    for name, shift in (("jpeg.grid_chroma_8", 2.0), ("noise.luma_full", -1.2)):
        source[:, NAMES.index(name)] += shift
    first, second, *rest = telling_features(source, real, NAMES)
    assert (first.name, second.name) == ("jpeg.grid_chroma_8", "noise.luma_full")
    assert first.words == "steps in colour on a grid of 8 pixels"
    assert first.difference == pytest.approx(2.0, abs=0.3)
    assert second.difference == pytest.approx(-1.2, abs=0.3)
    assert first.auc > 0.85 > second.auc > 0.7
    assert "JPEG" in first.moved_by
    assert len(rest) == 4
    assert all(each.share < 0.3 * first.share for each in rest)


def test_what_goes_together_is_said_once() -> None:
    rng = np.random.default_rng(0)
    real, source = rng.normal(size=(100, 6)), rng.normal(size=(100, 6))
    source[:, 0] += 2
    for points in (real, source):
        points[:, 1] = points[:, 0] + 0.1 * rng.normal(size=100)  # says the same
        points[:, 5] = 3.0  # says nothing
    found = telling_features(source, real, NAMES[:6])
    assert {found[0].name} < set(NAMES[:2])
    assert not {each.name for each in found[1:]} & {NAMES[0], NAMES[1], NAMES[5]}


def test_too_few_images_name_nothing() -> None:
    assert telling_features(np.zeros((1, 3)), np.zeros((5, 3)), NAMES[:3]) == []


def test_every_feature_has_words_of_its_own() -> None:
    words = [feature_words(name) for name in NAMES]
    assert not set(words) & set(NAMES), "a feature without words is called by its name"
    named = dict(zip(NAMES, words, strict=True))
    assert len(set(words)) == len(NAMES) - 1, "only the two measures of the dark channel may share their words"
    assert named["colour.dark"] == named["colour.dark_log"]
    assert named["spectrum.power_0.500"] == "detail at 0.50 to 0.71 cycles a pixel"
